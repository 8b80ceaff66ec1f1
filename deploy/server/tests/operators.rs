//! What operators ask from a terminal: `socketmesh status`, `top` and `drain`.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use cluster_tests::deadline::within;
use cluster_tests::server::{Addresses, Server};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

const PROGRAM: &str = env!("CARGO_BIN_EXE_socketmesh");
const TOKEN: &str = "a token of operators, long enough";

/// What a command says, and whether it did what it should.
struct Said {
    success: bool,
    out: String,
    err: String,
}

async fn ask(arguments: &[&str], admin: SocketAddr, variables: &[(&str, &str)]) -> Said {
    let mut command = Command::new(PROGRAM);
    for name in ["SOCKETMESH_ADMIN", "SOCKETMESH_ADMIN_TOKEN", "SOCKETMESH_ADMIN_TOKEN_FILE"] {
        command.env_remove(name);
    }
    command.args(arguments).arg("--admin").arg(admin.to_string()).envs(variables.iter().copied());
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = within("the command to end", command.output()).await.expect("it can be executed");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    Said { success: output.status.success(), out: text(output.stdout), err: text(output.stderr) }
}

fn operators(addresses: Addresses) -> SocketAddr {
    addresses.operators.expect("an address for operators")
}

/// Two nodes that are ready, and see each other so.
async fn pair(variables: &[(&str, &str)]) -> [(Server, SocketAddr); 2] {
    let (mut first, seen) = Server::member(PROGRAM, 1, None, &[], variables).await;
    let (mut second, other) = Server::member(PROGRAM, 2, seen.mesh, &[], variables).await;
    first.ready().await;
    second.ready().await;
    for admin in [operators(seen), operators(other)] {
        let both =
            async { while ask(&["status"], admin, variables).await.out.matches("ready").count() < 2 {} };
        within("two nodes that are ready", both).await;
    }
    [(first, operators(seen)), (second, operators(other))]
}

#[tokio::test]
async fn status_prints_the_cluster_once_as_a_table_or_as_json() {
    let [(_first, admin), _second] = pair(&[]).await;
    let said = ask(&["status"], admin, &[]).await;
    assert!(said.success, "{}", said.err);
    let lines: Vec<&str> = said.out.lines().collect();
    assert!(lines[0].starts_with("2 nodes as node-1 sees it: 0 sessions"), "{}", said.out);
    assert!(lines[1].starts_with("NODE    STATE"), "{}", said.out);
    assert!(lines[2].starts_with("node-1  ready") && lines[3].starts_with("node-2  ready"), "{}", said.out);
    let json = ask(&["status", "--json"], admin, &[]).await;
    let cluster: Value = serde_json::from_str(&json.out).expect("JSON");
    assert_eq!(cluster["members"][1]["report"]["sessions"], 0);
}

#[tokio::test]
async fn status_brings_the_token_from_a_file_or_a_variable_and_says_when_it_is_missing() {
    let token = [("SOCKETMESH_ADMIN_TOKEN", TOKEN)];
    let (_server, addresses) = Server::member(PROGRAM, 1, None, &["--serve-alone"], &token).await;
    let admin = operators(addresses);
    let without = ask(&["status"], admin, &[]).await;
    assert!(!without.success && without.err.contains("asks for a token: --token-file"), "{}", without.err);
    assert!(ask(&["status"], admin, &token).await.success);
    let file = std::env::temp_dir().join(format!("socketmesh-token-{}", std::process::id()));
    std::fs::write(&file, format!("{TOKEN}\r\n")).expect("a file");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("it is ours");
    let path = file.to_str().expect("UTF-8");
    assert!(ask(&["status", "--token-file", path], admin, &[]).await.success);
    std::fs::remove_file(&file).expect("it is there");
    let nowhere =
        std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let nobody = ask(&["status"], nowhere, &[]).await;
    assert!(
        !nobody.success && nobody.err.contains(&format!("no node answers at {nowhere}")),
        "{}",
        nobody.err
    );
}

#[tokio::test]
async fn drain_stops_a_node_in_good_order_through_any_other_and_waits_until_it_is_gone() {
    let [(first, admin), (mut second, _)] = pair(&[]).await;
    let unknown = ask(&["drain", "node-9"], admin, &[]).await;
    assert!(!unknown.success && unknown.err.contains("the members are node-1, node-2"), "{}", unknown.err);
    let drained = ask(&["drain", "node-2"], admin, &[]).await;
    assert!(drained.success, "{}", drained.err);
    let lines: Vec<&str> = drained.out.lines().collect();
    assert_eq!(lines[0], "node-2 was asked to stop; it serves 0 sessions");
    assert!(lines[1].starts_with("node-2 is gone after "), "{}", drained.out);
    second.says("an operator asks this node to stop by=\"127.0.0.1:").await;
    assert!(second.ended().await.success());
    // The last one asks itself.
    assert!(ask(&["drain", "node-1"], admin, &[]).await.success);
    assert!(first.ended().await.success());
}

#[tokio::test]
async fn drain_says_so_if_the_node_is_not_gone_in_time() {
    let (server, addresses) =
        Server::member(PROGRAM, 1, None, &["--serve-alone", "--drain", "5s", "--drain-notice", "5s"], &[])
            .await;
    let late = ask(&["drain", "node-1", "--timeout", "1"], operators(addresses), &[]).await;
    assert!(
        !late.success && late.err.contains("node-1 is not gone after 1 s: it is draining"),
        "{}",
        late.err
    );
    assert!(server.ended().await.success());
}

#[tokio::test]
async fn top_says_where_there_is_no_terminal() {
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 9));
    let said = ask(&["top"], nowhere, &[]).await;
    assert!(!said.success && said.err.contains("top needs a terminal"), "{}", said.err);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn top_shows_the_cluster_on_a_terminal_and_gives_it_back() {
    let [(_first, admin), _second] = pair(&[]).await;
    for end in ["q", "\u{1b}", "\u{3}"] {
        // The terminal is one that `script`, of util-linux, makes.
        let command = format!("stty cols 100 rows 24; {PROGRAM} top --admin {admin}");
        let mut terminal = Command::new("script")
            .args(["-qec", &command, "/dev/null"])
            .env("TERM", "xterm")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("util-linux has it");
        let (mut keys, mut screen) =
            (terminal.stdin.take().expect("piped"), terminal.stdout.take().expect("piped"));
        let mut shown = String::new();
        let mut bytes = [0; 4096];
        let drawn = async {
            while !(shown.contains("node-2") && shown.contains("q ends")) {
                let read = screen.read(&mut bytes).await.expect("a terminal");
                assert_ne!(read, 0, "it ended: {shown}");
                shown.push_str(&String::from_utf8_lossy(&bytes[..read]));
            }
        };
        within("the cluster on the screen", drawn).await;
        keys.write_all(end.as_bytes()).await.expect("it reads keys");
        let mut rest = Vec::new();
        within("the end", screen.read_to_end(&mut rest)).await.expect("a terminal");
        let rest = String::from_utf8_lossy(&rest);
        assert!(rest.contains("\u{1b}[?1049l"), "the screen from before is back: {rest:?}");
        assert!(within("the end", terminal.wait()).await.expect("it ends").success(), "{end:?}");
    }
}
