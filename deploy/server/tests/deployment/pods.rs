//! The pods of the manifests as Kubernetes would start them, without a Kubernetes: each in a network of its own, with the variables, the
//! Secret, the user and the read-only root that the manifest says.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use cluster_tests::chaos::network::{self, Network, http_address, mesh_address};
use cluster_tests::chaos::services::NameServer;
use cluster_tests::deadline::within;
use cluster_tests::http::{Call, Reply};
use cluster_tests::server::Server;
use hyper::Method;
use serde_json::Value;
use tokio::process::Command;
use tokio::time::sleep;

use super::kubernetes::{kustomized, pod, settings};
use super::network::among;

#[test]
fn the_pods_of_the_manifests_are_a_cluster_and_stop_in_good_order() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let objects = runtime.block_on(kustomized("statefulset"));
    among(PODS, async move |network| {
        // The headless Service.
        network.set_resolver(network::clients_address().into()).expect("a file for the resolver");
        let addresses = (0..PODS).map(mesh_address).collect();
        let _names = NameServer::start(network::clients_address(), addresses).await.expect("a name server");
        let kubelet = Kubelet::new(&network, &objects);

        let mut pods: Vec<_> = (0..PODS).map(|number| kubelet.start(number, "0440")).collect();
        for number in 0..PODS {
            for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
                kubelet.until(number, probe, 200).await;
            }
        }
        for number in 0..PODS {
            let sees_all = async || {
                let seen = kubelet.get(number, "admin", "/cluster", &format!("Bearer {TOKEN}")).await;
                (0..PODS).all(|other| seen.text().contains(&format!("\"socketmesh-{other}\"")))
            };
            let all = async {
                while !sees_all().await {
                    sleep(Duration::from_millis(20)).await;
                }
            };
            within(format!("pod {number} to see all"), all).await;
            assert_ne!(kubelet.get(number, "admin", "/metrics", "").await.status(), 200, "without a token");
        }

        let leaving = pods.remove(0);
        leaving.signal("TERM").await.expect("it runs");
        kubelet.until(0, "readinessProbe", 503).await;
        assert_eq!(kubelet.ask(0, "livenessProbe").await, Some(200), "it is not killed while it drains");
        assert!(leaving.ended().await.success());
        let _replacement = kubelet.start(0, "0440");
        kubelet.until(0, "readinessProbe", 200).await;

        let mut refused = kubelet.start(1, "0444");
        refused.says("every user of this machine can read").await;
        assert!(!refused.ended().await.success(), "a secret that everybody can read");
    });
}

/// What starts pods on the machines of a network, and asks how they are.
struct Kubelet<'a> {
    network: &'a Network,
    pod: Value,
    settings: BTreeMap<String, String>,
    secret: PathBuf,
}

impl<'a> Kubelet<'a> {
    fn new(network: &'a Network, objects: &[Value]) -> Self {
        let secret = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pod-secret");
        fs::create_dir_all(&secret).expect("a folder");
        fs::write(secret.join("mesh"), "a secret of the tests, long enough to be one").expect("a file");
        fs::write(secret.join("admin-token"), TOKEN).expect("a file");
        Self { network, pod: pod(objects), settings: settings(objects), secret }
    }

    /// Starts a pod, with the files of the Secret in this mode.
    fn start(&self, number: usize, mode: &str) -> Server {
        let (container, security) = (&self.pod["containers"][0], &self.pod["securityContext"]);
        assert_eq!(self.pod["volumes"][0]["secret"]["defaultMode"], 0o440);
        assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
        assert_eq!(container["securityContext"]["capabilities"]["drop"][0], "ALL");
        let mut command = Command::new("ip");
        command.stdin(Stdio::null()).args([
            "netns",
            "exec",
            &self.network.space_of(number),
            "env",
            "--ignore-environment",
        ]);
        command.arg("PATH=/usr/sbin:/usr/bin:/sbin:/bin").args(self.variables(number));
        command.args(["sh", "-euc", START, "pod", env!("CARGO_BIN_EXE_socketmesh")]).arg(&self.secret);
        command.args([container["volumeMounts"][0]["mountPath"].as_str().expect("a path"), mode]);
        for id in ["runAsUser", "runAsGroup", "fsGroup"] {
            command.arg(security[id].to_string());
        }
        let arguments = container["args"].as_array().expect("arguments").iter();
        command.args(arguments.map(|argument| argument.as_str().expect("a text")));
        Server::run(command)
    }

    /// The variables of a pod, `NAME=value`.
    fn variables(&self, number: usize) -> Vec<String> {
        let mut variables = self.settings.clone();
        for variable in self.pod["containers"][0]["env"].as_array().expect("variables") {
            let value = match variable["valueFrom"]["fieldRef"]["fieldPath"].as_str() {
                Some("metadata.name") => format!("socketmesh-{number}"),
                Some("status.podIP") => mesh_address(number).to_string(),
                other => {
                    assert_eq!(other, None);
                    let value = variable["value"].as_str().expect("a value").to_owned();
                    variables.iter().fold(value, |value, (name, it)| value.replace(&format!("$({name})"), it))
                }
            };
            variables.insert(variable["name"].as_str().expect("a name").to_owned(), value);
        }
        variables.iter().map(|(name, value)| format!("{name}={value}")).collect()
    }

    async fn until(&self, number: usize, probe: &str, status: u16) {
        let asked = async {
            while self.ask(number, probe).await != Some(status) {
                sleep(Duration::from_millis(20)).await;
            }
        };
        within(format!("the {probe} of pod {number} to be answered {status}"), asked).await;
    }

    /// What a probe is answered; nothing, where nobody listens.
    async fn ask(&self, number: usize, probe: &str) -> Option<u16> {
        let asks = &self.pod["containers"][0][probe]["httpGet"];
        let (port, path) = (asks["port"].as_str().expect("a name"), asks["path"].as_str().expect("a path"));
        tokio::net::TcpStream::connect(self.address(number, port)).await.ok()?;
        Some(self.get(number, port, path, "").await.status())
    }

    async fn get(&self, number: usize, port: &str, path: &str, authorization: &str) -> Reply {
        let call = Call::new(self.address(number, port), Method::GET, path);
        call.header("authorization", authorization).send().await
    }

    fn address(&self, number: usize, port: &str) -> SocketAddr {
        let ports = self.pod["containers"][0]["ports"].as_array().expect("ports");
        let named = ports.iter().find(|it| it["name"] == port).expect("a port of this name");
        let port = named["containerPort"].as_u64().and_then(|port| u16::try_from(port).ok());
        SocketAddr::new(http_address(number).ip(), port.expect("a port"))
    }
}

/// `pod <program> <secret> <mount path> <mode> <user> <group> <group of files> <argument>...`, in a mount namespace of its own.
const START: &str = r#"
    program=$1 secret=$2 path=$3 mode=$4 user=$5 group=$6 files=$7
    shift 7
    mount -t tmpfs tmpfs /run
    mkdir -p "$path"
    cp "$secret"/* "$path"
    chown "root:$files" "$path"/*
    chmod "$mode" "$path"/*
    touch /run/program
    mount --bind "$program" /run/program
    mount -o remount,bind,ro /
    mount -o remount,ro /run
    exec setpriv --reuid "$user" --regid "$group" --groups "$files" --bounding-set=-all --inh-caps=-all \
        --no-new-privs /run/program "$@"
"#;
const PODS: usize = 3;
const TOKEN: &str = "a token of the tests";
