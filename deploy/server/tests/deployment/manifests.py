# python3 manifests.py: reads manifests from standard input, checks each against the schemas of the oldest version of Kubernetes that
# they are made for and of the newest one, and prints them as a JSON array.
import json
import sys

import kubernetes_validate
import yaml

VERSIONS = ("1.30", "1.37")
documents = [document for document in yaml.safe_load_all(sys.stdin) if document]
for document in documents:
    for version in VERSIONS:
        try:
            kubernetes_validate.validate(document, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            name = document["metadata"]["name"]
            sys.exit(f"{document['kind']} {name}, Kubernetes {version}: {error.json_path}: {error.message}")
print(json.dumps(documents))
