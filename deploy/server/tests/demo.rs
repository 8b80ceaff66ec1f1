//! The demo in a real browser: what is drawn on a page of one node appears on a page of another.
#![expect(clippy::panic, reason = "tests fail by panicking")]

use std::path::Path;
use std::process::Stdio;

use cluster_tests::deadline::within;
use cluster_tests::{browser, interop};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

#[tokio::test]
async fn what_is_drawn_at_one_node_appears_at_another() {
    let chromium = browser::chromium();
    let demo = Demo::start().await;
    let screenshot = Path::new(env!("CARGO_TARGET_TMPDIR")).join("demo.png");
    let arguments = [chromium.as_os_str(), demo.url.as_ref(), screenshot.as_os_str()];
    interop::run("browser.mjs", arguments).await;
    assert!(screenshot.is_file(), "a screenshot at {}", screenshot.display());
}

/// A running demo.
struct Demo {
    url: String,
    _child: Child,
    _stdout: Lines<BufReader<ChildStdout>>,
}

impl Demo {
    async fn start() -> Self {
        let mut command = Command::new(PROGRAM);
        let client = interop::installed().await.join("node_modules/socket.io-client");
        command
            .args(["demo", "--port", "0", "--client-dir"])
            .arg(client)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().expect("the program can be executed");
        let mut stdout = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let url = within("the demo to say where it is", async {
            while let Ok(Some(line)) = stdout.next_line().await {
                if let Some(url) = line.strip_prefix("demo: ") {
                    return url.trim().to_owned();
                }
            }
            panic!("the demo ended before it said where it is")
        });
        Self { url: url.await, _child: child, _stdout: stdout }
    }
}

const PROGRAM: &str = env!("CARGO_BIN_EXE_socketmesh");
