//! The manifests and the chart for Kubernetes: rendered, against the schemas, and pods by them without a Kubernetes.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::tools::{complaint, objects, output, tool};

#[tokio::test]
async fn all_manifests_and_the_chart_with_all_kinds_of_values_fit_the_schemas() {
    for folder in ["statefulset", "deployment", "autoscaling-by-sessions", "ingress-nginx", "ingress-traefik"]
    {
        let rendered = kustomized(folder).await;
        assert!(!rendered.is_empty(), "{folder}");
    }
    for values in VALUES {
        let rendered = chart(values).await;
        assert!(rendered.len() >= 7, "{values:?}: {}", rendered.len());
    }
}

#[tokio::test]
async fn a_manifest_with_a_mistyped_key_would_be_noticed() {
    let service = "{apiVersion: v1, kind: Service, metadata: {name: mesh}, spec: {ports: [{port: 1}]";
    let rendered = |more: &str| format!("{service}{more}}}}}");
    objects(&rendered("")).await.expect("it fits");
    let complaint = objects(&rendered(", publishNotReadyAddress: true")).await.expect_err("it does not");
    assert!(
        complaint.contains("Service mesh") && complaint.contains("publishNotReadyAddress"),
        "{complaint}"
    );
}

#[tokio::test]
async fn the_chart_is_in_order_and_refuses_values_that_make_no_sense() {
    output(tool("helm").await.args(["lint", "--strict", CHART])).await;
    for (wrong, named) in [
        ("replicas=many", "replicas"),
        ("replica=3", "replica"),
        ("kind=DaemonSet", "kind"),
        ("settings.http=0.0.0.0:80", "http"),
        ("settings.pingInterval=10s", "pingInterval"),
        ("service.sessionAffinity=ClientIP", "sessionAffinity"),
    ] {
        let refused = complaint(tool("helm").await.args(["template", "chat", CHART, "--set", wrong])).await;
        let refused = refused.unwrap_or_else(|| panic!("{wrong} was taken"));
        assert!(refused.contains(named), "{wrong}: {refused}");
    }
}

#[tokio::test]
async fn the_chart_the_stateful_set_and_the_deployment_run_the_same_pods_with_the_same_settings() {
    let stateful_set = kustomized("statefulset").await;
    let others = [kustomized("deployment").await, chart(&[]).await, chart(&["kind=Deployment"]).await];
    let (pod, settings) = (pod(&stateful_set), settings(&stateful_set));
    for other in others {
        assert_eq!(self::pod(&other), pod);
        assert_eq!(self::settings(&other), settings);
    }
}

#[tokio::test]
async fn nothing_is_sticky_anywhere() {
    let mut all = Vec::new();
    for folder in ["statefulset", "deployment", "ingress-nginx", "ingress-traefik"] {
        all.extend(kustomized(folder).await);
    }
    for values in VALUES {
        all.extend(chart(values).await);
    }
    let services =
        all.iter().filter(|object| object["kind"] == "Service" && object["spec"]["clusterIP"] != "None");
    assert!(services.clone().count() >= 2);
    for service in services {
        assert_eq!(service["spec"]["sessionAffinity"], "None");
    }
    let ingresses = all.iter().filter(|object| object["kind"] == "Ingress");
    assert!(ingresses.clone().count() >= 3);
    for ingress in ingresses {
        let annotations = ingress["metadata"]["annotations"].to_string();
        for sticky in ["affinity", "sticky", "hash", "cookie"] {
            assert!(!annotations.contains(sticky), "{annotations}");
        }
    }
}

#[tokio::test]
async fn a_pod_has_time_to_stop_in_good_order() {
    for rendered in [kustomized("statefulset").await, chart(&[]).await] {
        let pod = pod(&rendered);
        let number = |value: &Value| value.as_u64().expect("a number of seconds");
        let sleep = number(&pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]);
        let settings = settings(&rendered);
        let seconds =
            |name: &str| settings[name].trim_end_matches('s').parse::<u64>().expect("a number of seconds");
        let [drain, notice] = ["SOCKETMESH_DRAIN", "SOCKETMESH_DRAIN_NOTICE"].map(seconds);
        assert!(notice < drain, "there is time for sessions to go one after another");
        // A stop takes up to 10 s beside the drain (docs/reference/configuration.md).
        assert!(number(&pod["terminationGracePeriodSeconds"]) >= sleep + drain + 10);
    }
}

/// What a folder of manifests is for the cluster.
pub(crate) async fn kustomized(folder: &str) -> Vec<Value> {
    let rendered = output(tool("kubectl").await.args(["kustomize", &format!("kubernetes/{folder}")])).await;
    objects(&rendered).await.unwrap_or_else(|wrong| panic!("{folder}: {wrong}"))
}

/// What the chart is for the cluster, with these values.
async fn chart(values: &[&str]) -> Vec<Value> {
    let mut helm = tool("helm").await;
    helm.args(["template", "socketmesh", CHART]).args(values.iter().flat_map(|value| ["--set", value]));
    objects(&output(&mut helm).await).await.unwrap_or_else(|wrong| panic!("{values:?}: {wrong}"))
}

/// The pods of the workload, but for their labels and the tag of the image.
pub(crate) fn pod(objects: &[Value]) -> Value {
    let workload =
        objects.iter().find(|object| object["kind"] == "StatefulSet" || object["kind"] == "Deployment");
    let mut pod = workload.expect("a workload")["spec"]["template"]["spec"].clone();
    pod["topologySpreadConstraints"].take();
    let container = &mut pod["containers"][0];
    let image = container["image"].as_str().expect("a name").split(':').next().map(str::to_owned);
    container["image"] = json!(image);
    container["imagePullPolicy"].take();
    container["envFrom"].take();
    pod
}

/// The variables that all pods have.
pub(crate) fn settings(objects: &[Value]) -> BTreeMap<String, String> {
    let settings = objects.iter().find(|object| object["kind"] == "ConfigMap").expect("settings");
    serde_json::from_value(settings["data"].clone()).expect("texts")
}

const CHART: &str = "helm/socketmesh";
/// Values that between them use everything that the chart has.
const VALUES: [&[&str]; 3] = [
    &[],
    &[
        "kind=Deployment",
        "autoscaling.enabled=true",
        "autoscaling.sessionsPerNode=20000",
        "ingress.enabled=true",
        "ingress.tlsSecret=chat-tls",
        "service.type=LoadBalancer",
        "settings.max_payload=2000000",
        "settings.allow_eio3=true",
    ],
    &[
        "fullnameOverride=chat",
        "ipv6=true",
        "secret.name=chat-secrets",
        "ingress.enabled=true",
        "ingress.className=traefik",
        "image.tag=1.2.3",
        "imagePullSecrets[0].name=registry",
        "env[0].name=DATABASE_URL",
        "env[0].value=postgres://db/chat",
        "volumes[0].name=cache",
        "volumes[0].emptyDir.sizeLimit=1Gi",
        "volumeMounts[0].name=cache",
        "volumeMounts[0].mountPath=/cache",
        "priorityClassName=high",
        "nodeSelector.disk=ssd",
        "networkPolicy.enabled=false",
        "podAnnotations.team=chat",
        "podLabels.team=chat",
    ],
];
