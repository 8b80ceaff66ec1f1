//! The load generator of the program, as a process.

use cluster_tests::fixture;
use serde_json::Value;
use tokio::process::Command;

#[tokio::test(flavor = "multi_thread")]
async fn load_reports_what_it_cost_two_nodes() {
    let nodes = fixture::bench(2).await;
    let addresses = nodes.http.iter().map(|address| format!("http://{address}"));
    let pid = format!("--pid=nodes={}", std::process::id());
    let line = ["room", "--clients", "20", "--rooms", "2", "--rate", "100", "--seconds", "2", &pid];
    let line: Vec<_> = line.into_iter().map(str::to_owned).chain(addresses).collect();

    let (said, _) = load(&line).await;
    for row in [
        "connections",
        "22   0 failed   0 lost later",
        "0 lost   0 out of order",
        "at other servers",
        "process nodes",
    ] {
        assert!(said.contains(row), "{said}");
    }
    let json: Vec<_> = std::iter::once("--json".to_owned()).chain(line).collect();
    let report: Value = serde_json::from_str(&load(&json).await.0).expect("JSON");
    let figure = |path: &str| report.pointer(path).and_then(Value::as_f64).expect(path);
    assert_eq!(figure("/deliveries/delivered"), figure("/deliveries/expected"));
    assert!(figure("/deliveries/per_second") > 0., "{report}");
    assert!(figure("/cpu_per_delivery") > 0. && figure("/deliveries/other_servers/p50") > 0., "{report}");
}

#[tokio::test]
async fn load_says_what_a_server_has_to_answer_and_that_nobody_is_there() {
    let (help, _) = load(&["--help".to_owned()]).await;
    for event in ["join(room)", "msg(room, payload)", "direct(id, payload)", "echo(payload)"] {
        assert!(help.contains(event), "{help}");
    }
    let (said, error) = load(&["idle".to_owned(), "127.0.0.1:1".to_owned()]).await;
    assert_eq!(said, "");
    assert!(error.starts_with("socketmesh: a client could not connect: "), "{error}");
}

async fn load(arguments: &[String]) -> (String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_socketmesh"));
    let output = command.arg("load").args(arguments).output().await.expect("the program can be executed");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (text(output.stdout), text(output.stderr))
}
