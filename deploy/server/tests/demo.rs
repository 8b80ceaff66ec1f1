//! The demo as a process: what it prints, how it ends, and what becomes of its board when nodes are stopped.

use std::process::Stdio;

use cluster_tests::client::Client;
use cluster_tests::deadline::within;
use cluster_tests::demo::Demo;
use cluster_tests::target::Target;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::process::Command;

#[tokio::test]
async fn a_newcomer_sees_the_board_and_the_last_lines_whichever_node_it_reaches() {
    let demo = Demo::start(PROGRAM, NOTHING, &[]).await;
    let ann = Client::connect(&demo.node(1)).await;
    ann.emit("stroke", &[stroke(0.25)]).await;
    ann.emit_with_ack("chat", &[json!({ "text": "hello" })]).await.expect("it is said");
    for node in 1..=3 {
        sees(&demo.node(node), &[0.25], &["hello"]).await;
    }
    ann.emit("clear", &[]).await;
    ann.emit("stroke", &[stroke(0.5)]).await;
    for node in 1..=3 {
        sees(&demo.node(node), &[0.5], &["hello"]).await;
    }
}

#[tokio::test]
async fn a_node_that_is_stopped_takes_nothing_with_it_and_comes_back_with_everything() {
    let demo = Demo::start(PROGRAM, NOTHING, &[]).await;
    let mut victim = Client::connect(&demo.node(1)).await;
    let bob = Client::connect(&demo.node(2)).await;
    let mut carol = Client::connect(&demo.node(3)).await;
    victim.emit("stroke", &[stroke(0.1)]).await;
    victim.emit_with_ack("chat", &[json!({ "text": "before" })]).await.expect("it is said");
    sees(&demo.node(2), &[0.1], &["before"]).await;

    bob.emit_with_ack("order", &[json!({ "order": "stop", "node": "node-1" })]).await.expect("it is ordered");
    victim.closed().await;
    until(&mut carol, "members", |shown| member(shown, "node-1")["phase"] == "stopped").await;
    // The others go on drawing, and draw on after they have found out.
    bob.emit("stroke", &[stroke(0.2)]).await;
    until(&mut carol, "stroke", |stroke| stroke["x0"] == 0.2).await;
    until(&mut carol, "members", |shown| member(shown, "node-1")["state"].is_null()).await;
    bob.emit("stroke", &[stroke(0.3)]).await;
    until(&mut carol, "stroke", |stroke| stroke["x0"] == 0.3).await;
    sees(&demo.node(3), &[0.1, 0.2, 0.3], &["before"]).await;
    assert!(tokio::net::TcpStream::connect(demo.nodes[0]).await.is_err(), "nobody listens where it was");

    bob.emit_with_ack("order", &[json!({ "order": "start", "node": "node-1" })])
        .await
        .expect("it is ordered");
    let is_back = |shown: &Value| {
        let (back, other) = (member(shown, "node-1"), member(shown, "node-2"));
        back["state"] == "ready" && back["links"]["node-2"] == "up" && other["links"]["node-1"] == "up"
    };
    until(&mut carol, "members", is_back).await;
    sees(&demo.node(1), &[0.1, 0.2, 0.3], &["before"]).await;
}

#[tokio::test]
async fn the_last_node_is_not_stopped() {
    let demo = Demo::start(PROGRAM, ["--nodes", "1"], &[]).await;
    let ann = Client::connect(&demo.target()).await;
    let answer = ann.emit_with_ack("order", &[json!({ "order": "stop", "node": "node-1" })]).await;
    assert_eq!(answer.expect("an answer")[0]["error"]["message"], "the last node is not stopped");
    assert_eq!(ann.emit_with_ack("where", &[]).await, Some(json!([{ "node": "node-1" }])));
}

#[tokio::test]
async fn the_page_and_its_parts_come_from_the_demo_itself() {
    let demo = Demo::start(PROGRAM, NOTHING, &[]).await;
    for (path, kind, content) in [
        ("/", "text/html", "data-path=\"/socket.io/\""),
        ("/demo.css", "text/css", "#board"),
        ("/demo.mjs", "text/javascript", "client.mjs"),
        ("/client.mjs", "text/javascript", "export function io"),
    ] {
        let call = cluster_tests::http::Call::new(demo.entry, hyper::Method::GET, path);
        let reply = call.send().await;
        assert_eq!(reply.status(), 200, "{path}");
        assert_eq!(reply.header("content-type").unwrap_or_default(), format!("{kind}; charset=utf-8"));
        assert!(reply.text().contains(content), "{path}");
    }
}

#[tokio::test]
async fn it_ends_soon_and_well_when_it_is_asked_to_even_if_nobody_reads_what_it_prints() {
    for signal in ["INT", "TERM"] {
        let mut demo = Demo::start(PROGRAM, NOTHING, &[]).await;
        let mut ann = Client::connect(&demo.target()).await;
        demo.close_stdout();
        demo.signal(signal).await.expect("it is sent");
        ann.closed().await;
        let (status, log) = demo.ended().await;
        assert!(status.success(), "{signal}: {status}");
        // A busy machine may not say goodbye in time.
        let complaint = log.lines().find(|line| !line.contains("left without a goodbye to every node"));
        assert_eq!(complaint, None, "{signal}");
    }
}

#[tokio::test]
async fn log_lines_come_when_they_are_asked_for_and_have_no_colours_outside_of_a_terminal() {
    let demo = Demo::start(PROGRAM, NOTHING, &[("RUST_LOG", "debug")]).await;
    demo.signal("TERM").await.expect("it is sent");
    let (_, log) = demo.ended().await;
    assert!(log.contains("DEBUG"), "{log}");
    assert!(!log.contains('\x1b'), "{log}");
}

#[tokio::test]
async fn a_port_that_is_in_use_is_named_with_the_way_to_choose_another() {
    let taken = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = taken.local_addr().expect("an address");
    let (port, http) = (addr.port().to_string(), addr.to_string());
    for (arguments, advice) in [(["demo", "--port", &port], "--port"), (["serve", "--http", &http], "--http")]
    {
        let mut command = Command::new(PROGRAM);
        command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
        let output = within("the program to give up", command.output()).await.expect("it can be executed");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success());
        assert!(
            said.contains(&format!("port {port} of 127.0.0.1 is in use")) && said.contains(advice),
            "{said}"
        );
        // The node of the second says before that it starts.
        let complaints = said.lines().filter(|line| line.starts_with("socketmesh: "));
        assert_eq!(complaints.count(), 1, "{said}");
    }
}

fn stroke(x0: f64) -> Value {
    json!({ "x0": x0, "y0": 0.5, "x1": 0.75, "y1": 0.5, "color": "#2f7fe0" })
}

/// A client that connects now is shown exactly these strokes and lines, at once or when other nodes have been asked.
async fn sees(node: &Target, strokes: &[f64], lines: &[&str]) {
    let mut newcomer = Client::connect(node).await;
    let all = |board: &Value, list: &str, key: &str| -> Vec<Value> {
        board[list].as_array().into_iter().flatten().map(|one| one[key].clone()).collect()
    };
    until(&mut newcomer, "board", |board| {
        all(board, "strokes", "x0") == strokes && all(board, "lines", "text") == lines
    })
    .await;
}

/// Waits for an event of that name that is as it should be.
async fn until(client: &mut Client, name: &str, condition: impl Fn(&Value) -> bool) {
    let found = async {
        while let Some((event, arguments)) = client.next().await {
            if event == name && arguments.first().is_some_and(&condition) {
                return true;
            }
        }
        false
    };
    assert!(within(format!("a {name} that is as it should be"), found).await, "the connection ended");
}

fn member<'a>(shown: &'a Value, name: &str) -> &'a Value {
    let members = shown["members"].as_array().into_iter().flatten();
    members.into_iter().find(|member| member["node"] == name).unwrap_or(&Value::Null)
}

const PROGRAM: &str = env!("CARGO_BIN_EXE_socketmesh");
const NOTHING: [&str; 0] = [];
