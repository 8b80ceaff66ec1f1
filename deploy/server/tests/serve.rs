//! The server binary: what its flags and variables do, and what it does on signals.

use std::collections::BTreeSet;
use std::fs::Permissions;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use cluster_tests::client::Client;
use cluster_tests::deadline::within;
use cluster_tests::fixture::Suite;
use cluster_tests::http::Call;
use cluster_tests::messages::Messages;
use cluster_tests::secure::{Authority, Trust};
use cluster_tests::server::Server;
use cluster_tests::sources::root;
use cluster_tests::target::Target;
use hyper::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixDatagram};

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
        // Keys and secrets that everybody can read are refused.
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("it is ours");
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
    server.says("what was to be renewed stays as it was what=\"the certificate for clients\"").await;
    old.connect(addr, &[]).await.expect("still trusted");

    files.write("chain.pem", &new.chain);
    files.write("key.pem", &new.key);
    server.signal("HUP").await.expect("it is sent");
    server.says("read again what=\"the certificate for clients\"").await;
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
    let mut server = Server::start(PROGRAM, ["--drain", "1h", "--drain-notice", "1h"], &[]);
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
    server.signal("TERM").await.expect("it is sent");
    assert!(server.ended().await.success());
    TcpStream::connect(addr).await.expect_err("nobody listens");
}

#[tokio::test]
async fn a_node_that_is_told_to_stop_has_another_one_take_its_newcomers_and_says_what_it_did() {
    let (mut first, at) = Server::member(PROGRAM, 1, None, &["--serve-alone"], &[]).await;
    first.ready().await;
    let arguments = ["--drain", "6s", "--drain-notice", "5s"];
    let (mut second, other) = Server::member(PROGRAM, 2, at.mesh, &arguments, &[]).await;
    second.ready().await;
    assert_eq!(get(other.clients, &format!("/socket.io/?{POLLING}")).send().await.status(), 200);
    second.signal("TERM").await.expect("it is sent");
    let unready = async { while get(other.clients, "/readyz").send().await.status() == 200 {} };
    within("the node to say that it stops", unready).await;
    for _ in 0..3 {
        assert_eq!(get(other.clients, &format!("/socket.io/?{POLLING}")).send().await.status(), 200);
    }
    let log = second.log_of_its_life().await;
    let last = log.lines().find(|line| line.contains("stopped")).unwrap_or_else(|| panic!("{log}"));
    assert!(last.contains("moved=3 closed=1 outstanding=0"), "{last}");
    first.signal("TERM").await.expect("it is sent");
    assert!(first.ended().await.success());
}

#[tokio::test]
async fn a_node_that_is_told_to_stop_twice_ends_at_once_and_in_order() {
    let mut server = Server::start(PROGRAM, ["--drain", "1h", "--drain-notice", "1h"], &[]);
    let (addr, _) = server.listening().await;
    assert_eq!(get(addr, &format!("/socket.io/?{POLLING}")).send().await.status(), 200);
    server.signal("TERM").await.expect("it is sent");
    server.says("stopping: the node takes no new clients").await;
    server.signal("TERM").await.expect("it is sent");
    server.says("told to stop again").await;
    assert!(server.ended().await.success());
}

#[tokio::test]
async fn a_node_that_is_told_to_stop_twice_says_as_well_what_it_did_in_between() {
    let (mut first, at) = Server::member(PROGRAM, 1, None, &["--serve-alone"], &[]).await;
    first.ready().await;
    let arguments = ["--drain", "1h", "--drain-notice", "1h"];
    let (mut second, other) = Server::member(PROGRAM, 2, at.mesh, &arguments, &[]).await;
    second.ready().await;
    second.signal("TERM").await.expect("it is sent");
    second.says("stopping: the node takes no new clients").await;
    for _ in 0..2 {
        assert_eq!(get(other.clients, &format!("/socket.io/?{POLLING}")).send().await.status(), 200);
    }
    second.signal("TERM").await.expect("it is sent");
    let log = second.log_of_its_life().await;
    assert!(log.contains("moved=2 closed=0 outstanding=0"), "{log}");
    first.signal("TERM").await.expect("it is sent");
    assert!(first.ended().await.success());
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
    server
        .says("--webtransport needs a certificate: set tls_cert and tls_key, or webtransport_self_signed")
        .await;
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
    server.says("--max-payload 0: expected 1 to 268435456 bytes").await;
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
        // As templates leave what nobody chose.
        ("SOCKETMESH_CONFIG", ""),
        ("SOCKETMESH_ADMIN", ""),
        ("SOCKETMESH_MESH", " "),
        ("SOCKETMESH_MAX_SESSIONS", ""),
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
    server.says("read again").await;
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

#[tokio::test]
async fn what_a_configuration_file_says_counts_where_neither_a_variable_nor_a_flag_does() {
    let files = Files::new("configuration");
    let file = files.write(
        "node.toml",
        "ping_interval = \"1500ms\"\nping_timeout = \"9s\"\nmax_payload = \"5kB\"\ntransports = [\"websocket\"]\n\
            allow_eio3 = true\n",
    );
    let variables = [("SOCKETMESH_CONFIG", &*file), ("SOCKETMESH_PING_TIMEOUT", "7s")];
    let mut server = Server::start(PROGRAM, ["--transports", "polling"], &variables);
    let (addr, _) = server.listening().await;
    let reply = get(addr, "/socket.io/?transport=polling&EIO=3").send().await;
    assert!(reply.text().contains(SETTINGS), "{}", reply.text());
    server.says("ping_interval=1500ms ping_timeout=7s").await;

    let (success, said) = config(&["print", "--config", &file, "--transports=polling"]).await;
    assert!(success, "{said}");
    for line in [
        &format!("ping_interval = \"1500ms\"  # {file}:1"),
        "transports = [\"polling\"]  # --transports",
        "max_sessions = 1000000  # default",
        "# tls_cert: not set",
    ] {
        assert!(said.lines().any(|said| said == line), "{line}: {said}");
    }
}

#[tokio::test]
async fn a_configuration_file_is_checked_before_it_counts() {
    let files = Files::new("checked");
    let fine =
        files.write("fine.toml", "mesh = \"0.0.0.0:7946\"\nseed = [\"nodes:7946\"]\nnode_id = \"a\"\n");
    assert_eq!(config(&["check", &fine]).await, (true, format!("{fine} can be used\n")));
    let mistyped = files.write("mistyped.toml", "mesh = \"0.0.0.0:7946\"\nseeds = [\"nodes:7946\"]\n");
    let missing = files.write("missing.toml", "mesh = \"0.0.0.0:7946\"\n\ntls_key = \"key.pem\"\n");
    for (arguments, why) in [
        (["check", &mistyped], format!("{mistyped}:2: there is no setting seeds; is seed meant?")),
        (["check", &missing], format!("{missing}:3: tls_key needs tls_cert as well")),
        (["check", "/nowhere.toml"], "cannot read the configuration /nowhere.toml: No such file".to_owned()),
    ] {
        let (success, said) = config(&arguments).await;
        assert!(!success && said.contains(&why), "{said}");
        let mut server = Server::start(PROGRAM, ["--config", arguments[1]], &[]);
        server.says(&why).await;
        assert!(!server.ended().await.success());
    }
    let (_, schema) = config(&["schema"]).await;
    let schema: Value = serde_json::from_str(&schema).expect("a schema in JSON");
    assert_eq!(schema["properties"]["mesh"]["type"], json!(["string", "integer"]));
}

#[tokio::test]
async fn what_is_wrong_is_named_with_its_variable_or_flag() {
    for (flag, variable, why) in [
        ("--allow-eio3", "25", "SOCKETMESH_PING_INTERVAL=25: expected a time with its unit"),
        ("--ping-interval=26", "25s", "--ping-interval 26: expected a time with its unit"),
    ] {
        let mut server = Server::start(PROGRAM, [flag], &[("SOCKETMESH_PING_INTERVAL", variable)]);
        server.says(why).await;
        assert!(!server.ended().await.success());
    }
}

#[tokio::test]
async fn files_that_hold_secrets_are_refused_where_everybody_can_read_them() {
    let (files, trust) = (Files::new("open"), Trust::new());
    let chain = files.write("chain.pem", &trust.chain);
    let names = ["key.pem", "token", "secret"];
    let [key, token, secret] =
        names.map(|name| files.write(name, if name == "key.pem" { &trust.key } else { SECRET }));
    for (file, arguments) in [
        (&key, ["--tls-cert", &*chain, "--tls-key", &*key]),
        (&token, ["--admin", "0.0.0.0:0", "--admin-token-file", &*token]),
        (&secret, ["--mesh", "127.0.0.1:0", "--secret-file", &*secret]),
    ] {
        std::fs::set_permissions(file, Permissions::from_mode(0o644)).expect("it is ours");
        let mut server = Server::start(PROGRAM, arguments, &[]);
        server.says(&format!("chmod o= {file}")).await;
        assert!(!server.ended().await.success());
    }
}

#[tokio::test]
async fn operators_may_bring_certificates_instead_of_a_token() {
    let (files, trust, authority) = (Files::new("operators"), Trust::new(), Authority::new());
    let chain = files.write("chain.pem", &trust.chain);
    let key = files.write("key.pem", &trust.key);
    let roots = files.write("roots.pem", &authority.certificate);
    let arguments = ["--admin", "0.0.0.0:0", "--tls-cert", &chain, "--tls-key", &key, "--admin-ca", &roots];
    let mut server = Server::start(PROGRAM, arguments, &[]);
    let admin = server.admin().await;
    let asks = async |own: &Trust| {
        let mut stream = trust.connect_as(Some(own), admin, &[]).await?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").await?;
        let mut answer = [0; 15];
        stream.read_exact(&mut answer).await?;
        Ok::<_, std::io::Error>(String::from_utf8_lossy(&answer).into_owned())
    };
    assert_eq!(asks(&authority.node("operator")).await.expect("an answer"), "HTTP/1.1 200 OK");
    asks(&Authority::new().node("stranger")).await.expect_err("a certificate of somebody else");
    let mut stream = trust.connect(admin, &[]).await.expect("TLS 1.3 says no after the handshake");
    assert!(stream.read_u8().await.is_err(), "without a certificate");
}

#[tokio::test]
async fn log_lines_are_json_where_that_is_asked_for() {
    let mut server = Server::start(PROGRAM, ["--log-format", "json", "--log", "debug"], &[]);
    server.listening().await;
    server.signal("HUP").await.expect("it is sent");
    server.says("read again").await;
    server.signal("TERM").await.expect("it is sent");
    let log = server.log_of_its_life().await;
    assert!(log.lines().count() >= 3, "{log}");
    for line in log.lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        assert!(
            line["level"].is_string() && line["message"].is_string() && line["target"].is_string(),
            "{line}"
        );
    }
}

#[tokio::test]
async fn a_service_manager_is_told_what_the_process_does() {
    let files = Files::new("notified");
    let path = files.0.join("notify");
    let manager = UnixDatagram::bind(&path).expect("a socket in a folder of ours");
    let told = async |what: &str| {
        let mut buffer = [0; 512];
        let waiting = async {
            loop {
                let length = manager.recv(&mut buffer).await.expect("a datagram");
                let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                if text.lines().any(|line| line.starts_with(what)) {
                    return;
                }
            }
        };
        within(format!("the service manager to be told {what}"), waiting).await;
    };
    let path = path.to_str().expect("a path in UTF-8");
    let mut server = Server::start(PROGRAM, NONE, &[("NOTIFY_SOCKET", path), ("WATCHDOG_USEC", "600000")]);
    server.listening().await;
    told("READY=1").await;
    told("STATUS=taking clients").await;
    told("WATCHDOG=1").await;
    told("WATCHDOG=1").await;
    server.signal("HUP").await.expect("it is sent");
    told("RELOADING=1").await;
    told("READY=1").await;
    server.signal("TERM").await.expect("it is sent");
    told("STOPPING=1").await;
    assert!(server.ended().await.success());
}

#[tokio::test]
async fn a_listener_that_is_handed_over_is_the_port_for_clients() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = listener.local_addr().expect("an address");
    let mut command = tokio::process::Command::new("sh");
    // File descriptor 3 is the first one that is handed over, to the process of this number.
    let script = "LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" serve 3<&0 </dev/null";
    command.args(["-c", script, PROGRAM]).stdin(Stdio::from(OwnedFd::from(listener)));
    let mut server = Server::run(command);
    assert_eq!(server.listening().await.0, addr);
    assert_eq!(get(addr, &format!("/socket.io/?{POLLING}")).send().await.status(), 200);
}

#[tokio::test]
async fn processes_share_a_port_and_one_that_dies_takes_no_other_along() {
    let any = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let http = any.local_addr().expect("an address").to_string();
    drop(any);
    let start = |id: &str, seed: Option<SocketAddr>| {
        let mut command = tokio::process::Command::new(PROGRAM);
        command.args(["serve", "--reuse-port", "--http", &http, "--mesh", "127.0.0.1:0", "--node-id", id]);
        command.args(seed.iter().flat_map(|seed| ["--seed".to_owned(), seed.to_string()]));
        command.env("SOCKETMESH_SECRET", SECRET).stdin(Stdio::null());
        Server::run(command)
    };
    let mut one = start("one", None);
    let (addr, seed) = one.listening().await;
    let mut two = start("two", seed);
    two.ready().await;
    // Whichever process takes a connection, the session of it lives on one of both.
    let mut clients = Vec::new();
    let mut owners = BTreeSet::new();
    while owners.len() < 2 || clients.len() < 6 {
        let client = Client::connect(&Target::of(Suite::Bench, addr, &[])).await;
        let owner = node_of(&client).await;
        owners.insert(owner.clone());
        clients.push((owner, client));
    }
    one.signal("KILL").await.expect("it is sent");
    one.ended().await;
    for (owner, client) in clients.iter().filter(|(owner, _)| owner == "two") {
        assert_eq!(&node_of(client).await, owner, "it goes on");
    }
    let client = Client::connect(&Target::of(Suite::Bench, addr, &[])).await;
    assert_eq!(node_of(&client).await, "two");
}

/// The files of the secrets stay at their places; what is in them changes, and a hangup says so.
#[tokio::test]
async fn secrets_are_changed_on_three_nodes_by_hangups_while_clients_talk() {
    const OLD: &str = SECRET;
    const NEW: &str = "another secret of the tests, as long as the first";
    let files = Files::new("rotation");
    let put = |id: &str, own: &str, also: Option<&str>| {
        let own = files.write(&format!("{id}.secret"), own);
        let other = files.0.join(format!("{id}.also"));
        match also {
            Some(also) => drop(files.write(&format!("{id}.also"), also)),
            None => drop(std::fs::remove_file(&other)),
        }
        [own, other.to_str().expect("a path in UTF-8").to_owned()]
    };
    let start = |id: &'static str, [own, also]: &[String; 2], seeds: &[SocketAddr]| {
        let seeds: Vec<_> = seeds.iter().map(ToString::to_string).collect();
        let seeds = seeds.join(",");
        let mut arguments = vec!["--mesh", "127.0.0.1:0", "--node-id", id, "--secret-file", own];
        arguments.extend(["--secret-also-file", also]);
        if !seeds.is_empty() {
            arguments.extend(["--seed", &seeds]);
        }
        Server::start(PROGRAM, arguments, &[])
    };
    let ids = ["one", "two", "three"];
    let mut nodes: Vec<Server> = Vec::new();
    let (mut meshes, mut addrs) = (Vec::new(), Vec::new());
    for id in ids {
        let mut node = start(id, &put(id, OLD, None), &meshes);
        let (addr, mesh) = node.listening().await;
        node.ready().await;
        nodes.push(node);
        addrs.push(addr);
        meshes.extend(mesh);
    }
    let talker = Client::connect(&Target::of(Suite::Bench, addrs[0], &[])).await;
    let mut listeners = Vec::new();
    for addr in &addrs[1..] {
        listeners.push(Client::connect(&Target::of(Suite::Bench, *addr, &[])).await);
    }
    let mut said = 0;
    for (own, also) in [(OLD, Some(NEW)), (NEW, Some(OLD)), (NEW, None)] {
        for (id, node) in ids.iter().zip(&mut nodes) {
            put(id, own, also);
            node.renewed("the secret or the certificate for other nodes").await;
            node.says(if also.is_some() {
                "another secret is accepted as well"
            } else {
                "there is no such file"
            })
            .await;
            // Everything that is said in the middle of it arrives, once and in order.
            said += 1;
            let text = format!("number {said}");
            talker.emit_with_ack("chat", &[json!({ "text": text })]).await.expect("it is said");
            for listener in &mut listeners {
                let (_, chat) = within("what is said", listener.named("chat")).await.expect("a connection");
                assert_eq!(chat[0]["text"], text);
            }
        }
        if own == NEW && also.is_some() {
            // A node that is killed in between comes back among those that are at another step.
            let last = nodes.pop().expect("three nodes");
            last.signal("KILL").await.expect("it is sent");
            last.ended().await;
            listeners.pop();
            let mut again = start("three", &put("three", own, also), &meshes[..2]);
            again.listening().await;
            again.ready().await;
            nodes.push(again);
        }
    }
    let mut fourth = start("four", &put("four", NEW, None), &meshes[..2]);
    fourth.listening().await;
    fourth.ready().await;
    let mut stranger = start("five", &put("five", OLD, None), &meshes[..2]);
    stranger.listening().await;
    stranger.says("does the other node have the same secret?").await;
}

/// What `socketmesh config` says, and whether it succeeds.
async fn config(arguments: &[&str]) -> (bool, String) {
    let mut command = tokio::process::Command::new(PROGRAM);
    command.arg("config").args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    let output = within("the program to end", command.output()).await.expect("it can be executed");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).expect("words in UTF-8"))
}

/// The node that owns the connection of a client.
async fn node_of(client: &Client) -> String {
    let answer = client.emit_with_ack("where", &[]).await.expect("an answer");
    answer.pointer("/0/node").and_then(Value::as_str).expect("the name of a node").to_owned()
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
