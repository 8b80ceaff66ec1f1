//! The server binary: what its flags and variables do, and what it does on signals.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use cluster_tests::deadline::within;
use cluster_tests::http::Call;
use cluster_tests::messages::Messages;
use cluster_tests::secure::{Authority, Trust};
use cluster_tests::server::Server;
use cluster_tests::sources::root;
use hyper::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const PROGRAM: &str = env!("CARGO_BIN_EXE_socketmesh");

/// Files of a test, removed with it.
struct Files(PathBuf);

impl Files {
    fn new(test: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("socketmesh-{test}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder for temporary files");
        Self(folder)
    }

    fn write(&self, name: &str, content: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, content).expect("a file can be written");
        path.to_str().expect("a path in UTF-8").to_owned()
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

fn get(addr: SocketAddr, path: &str) -> Call {
    Call::new(addr, Method::GET, path)
}

#[tokio::test]
async fn sighup_reloads_the_certificate_and_ignores_a_broken_one() {
    let (files, old, new) = (Files::new("renewal"), Trust::new(), Trust::new());
    let chain = files.write("chain.pem", &old.chain);
    let key = files.write("key.pem", &old.key);
    let mut server = Server::start(PROGRAM, ["--tls-cert", &chain, "--tls-key", &key], &[]);
    let (addr, _) = server.listening().await;
    let mut stream = old.connect(addr, &[]).await.expect("trusted");

    files.write("chain.pem", "no certificate");
    server.signal("HUP").await.expect("it is sent");
    server.says("the certificate stays as it was").await;
    old.connect(addr, &[]).await.expect("still trusted");

    files.write("chain.pem", &new.chain);
    files.write("key.pem", &new.key);
    server.signal("HUP").await.expect("it is sent");
    server.says("the certificate was read again").await;
    new.connect(addr, &[]).await.expect("trusted");
    assert!(old.connect(addr, &[]).await.is_err());

    let request = format!("GET /socket.io/?{POLLING} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("the connection from before lives");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("a clean end");
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    server.signal("TERM").await.expect("it is sent");
    assert!(server.ended().await.success());
}

#[tokio::test]
async fn a_node_that_is_told_to_stop_refuses_new_clients_before_it_closes_its_port() {
    let mut server = Server::start(PROGRAM, ["--drain-delay", "3s"], &[]);
    let (addr, _) = server.listening().await;
    assert_eq!(get(addr, &format!("/socket.io/?{POLLING}")).send().await.status(), 200);
    server.signal("TERM").await.expect("it is sent");
    let refused = async {
        loop {
            let answer = get(addr, &format!("/socket.io/?{POLLING}")).send().await;
            if answer.status() == 503 {
                return answer;
            }
        }
    };
    let refused = within("a refusal", refused).await;
    assert_eq!(refused.text(), "this node is stopping: it takes no new clients");
    assert!(server.ended().await.success());
    TcpStream::connect(addr).await.expect_err("nobody listens");
}

#[tokio::test]
async fn webtransport_is_served_at_its_address_and_path_with_the_certificate_it_names() {
    let arguments = ["--webtransport", "127.0.0.1:0", "--webtransport-self-signed", "--path", "/realtime"];
    let mut server = Server::start(PROGRAM, arguments, &[]);
    let target = server.webtransport().await;
    let (addr, _) = server.listening().await;
    let offered = get(addr, &format!("/realtime/?{POLLING}")).send().await;
    assert!(offered.text().contains(r#""upgrades":["websocket","webtransport"]"#), "{offered:?}");
    target.connect("/socket.io/").await.expect_err("another path");
    let mut stream = target.connect("/realtime/").await.expect("its path").stream().await;
    stream.send("0").await;
    assert!(stream.recv_text().await.starts_with("0{"));
}

#[tokio::test]
async fn webtransport_without_a_certificate_is_refused_at_start() {
    let mut server = Server::start(PROGRAM, ["--webtransport", "127.0.0.1:0"], &[]);
    server.says("--webtransport needs --tls-cert or --webtransport-self-signed").await;
    assert!(!server.ended().await.success());
}

#[tokio::test]
async fn flags_and_variables_shape_the_sessions() {
    let arguments = [
        "--path",
        "/realtime",
        "--ping-interval",
        "1500ms",
        "--cors-origin",
        "http://a.example,http://b.example",
    ];
    let variables = [
        ("SOCKETMESH_PING_TIMEOUT", "7s"),
        ("SOCKETMESH_MAX_PAYLOAD", "5000"),
        ("SOCKETMESH_TRANSPORTS", "polling"),
        ("SOCKETMESH_ALLOW_EIO3", "true"),
    ];
    let mut server = Server::start(PROGRAM, arguments, &variables);
    let (addr, _) = server.listening().await;
    for (query, start) in [(POLLING, "0{"), ("transport=polling&EIO=3", "")] {
        let reply =
            get(addr, &format!("/realtime/?{query}")).header("origin", "http://b.example").send().await;
        assert_eq!(reply.status(), 200, "{query}");
        assert!(reply.text().starts_with(start) && reply.text().contains(SETTINGS), "{}", reply.text());
        assert_eq!(reply.header("access-control-allow-origin"), Some("http://b.example"));
    }
    let reply = get(addr, "/realtime/?EIO=4&transport=websocket").send().await;
    assert_eq!(reply.outcome(), (400, r#"{"code":0,"message":"Transport unknown"}"#));
    assert_eq!(get(addr, &format!("/socket.io/?{POLLING}")).send().await.status(), 404);
    assert_eq!(get(addr, "/").send().await.status(), 200, "the demo's page");
}

#[tokio::test]
async fn a_value_outside_its_range_is_named() {
    let mut server = Server::start(PROGRAM, ["--max-payload", "0"], &[]);
    server.says("max_payload = 0: expected").await;
    assert!(!server.ended().await.success());
}

#[tokio::test]
async fn a_mistyped_variable_is_refused_with_the_right_name() {
    let mesh = [("SOCKETMESH_MESH", "127.0.0.1:0"), ("SOCKETMESH_SEEDS", "127.0.0.1:1")];
    let mut server = Server::start(PROGRAM, NONE, &mesh);
    server.says("there is no variable SOCKETMESH_SEEDS; is SOCKETMESH_SEED meant?").await;
    assert!(!server.ended().await.success());
}

#[tokio::test]
async fn values_may_have_spaces_around_them_and_switches_the_usual_spellings() {
    let variables = [
        ("SOCKETMESH_PING_INTERVAL", " 1500ms\r"),
        ("SOCKETMESH_PING_TIMEOUT", "7s "),
        ("SOCKETMESH_MAX_PAYLOAD", "5000\r"),
        ("SOCKETMESH_TRANSPORTS", "polling\r"),
        ("SOCKETMESH_ALLOW_EIO3", "Yes\r"),
    ];
    let mut server = Server::start(PROGRAM, NONE, &variables);
    let (addr, _) = server.listening().await;
    let reply = get(addr, "/socket.io/?transport=polling&EIO=3").send().await;
    assert!(reply.text().contains(SETTINGS), "{}", reply.text());
}

#[tokio::test]
async fn seeds_that_are_none_are_refused_by_name() {
    let secret = ("SOCKETMESH_SECRET", SECRET);
    for (seed, said) in [
        ("", "SOCKETMESH_SEED) is empty"),
        ("127.0.0.1:1, nowhere", r#"the seed "nowhere" is no host:port"#),
        ("http://nodes:7946", r#"the seed "http://nodes:7946" is no host:port"#),
        ("nodes:0", r#"the seed "nodes:0" is no host:port"#),
    ] {
        let mut server =
            Server::start(PROGRAM, ["--mesh", "127.0.0.1:0"], &[secret, ("SOCKETMESH_SEED", seed)]);
        server.says(said).await;
        assert!(!server.ended().await.success());
    }
}

#[tokio::test]
async fn a_seed_whose_name_is_not_known_is_said_with_the_cause() {
    let variables = [("SOCKETMESH_SECRET", SECRET), ("SOCKETMESH_SEED", "no-such-host.invalid:7946")];
    let mut server = Server::start(PROGRAM, ["--mesh", "127.0.0.1:0"], &variables);
    server.listening().await;
    server.says("the name of a seed gives no address").await;
    server.says("no-such-host.invalid:7946").await;
}

#[tokio::test]
async fn settings_of_sessions_that_differ_are_said_on_both_nodes_with_both_values() {
    let secret = [("SOCKETMESH_SECRET", SECRET)];
    let mut first = Server::start(PROGRAM, ["--mesh", "127.0.0.1:0", "--ping-interval", "10s"], &secret);
    let seed = first.listening().await.1.expect("a mesh address").to_string();
    let mut second = Server::start(PROGRAM, ["--mesh", "127.0.0.1:0", "--seed", &seed], &secret);
    second.says("ping_interval is 25s here and 10s there").await;
    first.says("ping_interval is 10s here and 25s there").await;
    second.ready().await;
}

#[tokio::test]
async fn an_address_that_is_taken_is_named_with_the_cause() {
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let taken = (taken.local_addr().expect("an address").to_string(), taken);
    let mut server = Server::start(PROGRAM, ["--mesh", &taken.0], &[]);
    server.says(&format!("cannot bind the cluster's UDP address {}: Address already in use", taken.0)).await;
    assert!(!server.ended().await.success());

    let arguments = ["--webtransport", &taken.0, "--webtransport-self-signed"];
    let mut server = Server::start(PROGRAM, arguments, &[]);
    server.says(&format!("{} (UDP): Address already in use", taken.0)).await;
    assert!(!server.ended().await.success());
}

#[tokio::test]
async fn a_hangup_without_a_certificate_ends_nothing() {
    let mut server = Server::start(PROGRAM, NONE, &[]);
    let (addr, _) = server.listening().await;
    server.signal("HUP").await.expect("it is sent");
    server.says("there is no certificate to be read again").await;
    assert_eq!(get(addr, &format!("/socket.io/?{POLLING}")).send().await.status(), 200);
    server.signal("TERM").await.expect("it is sent");
    assert!(server.ended().await.success());
}

#[tokio::test]
async fn a_pipe_that_nobody_reads_any_more_ends_nothing() {
    let mut server = Server::start(PROGRAM, NONE, &[]);
    let (addr, _) = server.listening().await;
    // As `socketmesh serve 2>&1 | head -1` does.
    server.close_pipes().await;
    for _ in 0..3 {
        // Each is a line of the log.
        server.signal("HUP").await.expect("it is sent");
        assert_eq!(get(addr, &format!("/socket.io/?{POLLING}")).send().await.status(), 200);
    }
    server.signal("TERM").await.expect("it is sent");
    assert!(server.ended().await.success());
}

#[tokio::test]
async fn nodes_with_certificates_of_their_own_form_a_cluster() {
    let (files, authority) = (Files::new("mesh"), Authority::new());
    let ca = files.write("ca.pem", &authority.certificate);
    let start = async |id: &'static str, seed: Option<SocketAddr>| {
        let own = authority.node(id);
        let chain = files.write(&format!("{id}.pem"), &own.chain);
        let key = files.write(&format!("{id}.key"), &own.key);
        let mut arguments = vec!["--mesh", "127.0.0.1:0", "--node-id", id];
        arguments.extend(["--mesh-ca", &ca, "--mesh-cert", &chain, "--mesh-key", &key]);
        let seed = seed.map(|seed| seed.to_string());
        arguments.extend(seed.iter().flat_map(|seed| ["--seed", seed]));
        Server::start(PROGRAM, arguments, &[])
    };
    let mut first = start("one", None).await;
    let (_, mesh) = first.listening().await;
    // Ready only once its seed has let it in.
    let mut second = start("two", mesh).await;
    second.ready().await;
    first.ready().await;
}

#[test]
fn every_flag_and_variable_is_in_the_reference_and_the_reference_invents_none() {
    let page = root().join("docs/reference/configuration.md");
    let page = std::fs::read_to_string(page).expect("the page about configuration");
    for command in ["serve", "demo"] {
        let help =
            Command::new(PROGRAM).args([command, "--help"]).output().expect("it can be executed").stdout;
        let help = String::from_utf8(help).expect("help in UTF-8");
        let said: BTreeSet<&str> = help.lines().flat_map(flags_and_variables).collect();
        let section = page
            .split("\n## ")
            .find(|section| section.starts_with(&format!("The program: socketmesh {command}")));
        let section = section.expect("a section for each command");
        let rows = section.lines().filter(|line| line.starts_with("| "));
        let told: BTreeSet<&str> = rows.flat_map(flags_and_variables).collect();
        assert_eq!(said, told, "left: what the program says of itself, right: the section of {command}");
    }
}

/// Flags of a row or of a line of help, and variables of the server; what clap itself adds is not counted.
fn flags_and_variables(line: &str) -> impl Iterator<Item = &str> {
    let words = line.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_'));
    let is_one = |word: &&str| {
        let flag =
            word.strip_prefix("--").is_some_and(|name| name.starts_with(|c: char| c.is_ascii_lowercase()));
        flag || word.starts_with("SOCKETMESH_")
    };
    words.filter(is_one).filter(|word| !["--help", "--version"].contains(word))
}

const NONE: [&str; 0] = [];
const SECRET: &str = "a secret of the tests, long enough to be one";
const POLLING: &str = "EIO=4&transport=polling";
const SETTINGS: &str = r#""upgrades":[],"pingInterval":1500,"pingTimeout":7000,"maxPayload":5000"#;
