//! The demo in a real browser: what is drawn on a page of one node appears on a page of another. And WebTransport, which
//! only browsers speak.
#![expect(clippy::panic, reason = "tests fail by panicking")]

use std::{
    env,
    path::{Path, PathBuf},
    process::Stdio,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use cluster_tests::app::{App, plain};
use cluster_tests::webtransport::Entrance;
use cluster_tests::{deadline::within, interop, server};
use socketmesh::Node;
use socketmesh::engine::{self, Transport};
use socketmesh::id::SocketId;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

#[tokio::test]
async fn what_is_drawn_at_one_node_appears_at_another() {
    let chromium = chromium();
    let demo = Demo::start(&server::build().await).await;
    let screenshot = Path::new(env!("CARGO_TARGET_TMPDIR")).join("demo.png");
    let arguments = [chromium.as_os_str(), demo.url.as_ref(), screenshot.as_os_str()];
    interop::run("browser.mjs", arguments).await;
    assert!(screenshot.is_file(), "a screenshot at {}", screenshot.display());
}

#[tokio::test]
async fn the_official_client_speaks_webtransport_alone_and_by_upgrade() {
    let transports = vec![Transport::Polling, Transport::WebSocket, Transport::WebTransport];
    let config = engine::Config { transports, ..engine::Config::default() };
    let app = App::start(3, |seen| Node::builder().engine(config.clone()).namespace(plain("/", seen))).await;
    // The client goes to the port it polls: sessions that any node opened come to the last one.
    let entrance = Entrance::at(app.node(2), app.nodes.target.addr()).await;
    let (chromium, url) = (chromium(), format!("http://{}/", entrance.addr));
    let hash = BASE64_STANDARD.encode(entrance.sha256);
    let bundle = interop::installed().await.join("node_modules/socket.io-client/dist/socket.io.min.js");
    let arguments = [chromium.as_os_str(), url.as_ref(), hash.as_ref(), bundle.as_os_str()];
    // Whoever asks for it is closed, one after the other, and at last its node stopped.
    let closing = async {
        let mut closed = Vec::new();
        loop {
            let asks = |(id, what): &(SocketId, String)| {
                (what != "left" && !closed.contains(id)).then_some((*id, what == "stop"))
            };
            match app.seen.handled.find_however_late(asks).await {
                (id, false) => {
                    app.seen.socket(&id.to_string()).await.close();
                    closed.push(id);
                }
                (id, true) => {
                    app.node(2).shutdown().await;
                    closed.push(id);
                }
            }
        }
    };
    tokio::select! {
        _ = interop::run("webtransport.mjs", arguments) => {}
        never = closing => never,
    }
}

/// Debian's, unless another is named.
fn chromium() -> PathBuf {
    let path =
        env::var_os("SOCKETMESH_CHROMIUM").map_or_else(|| PathBuf::from("/usr/bin/chromium"), PathBuf::from);
    let advice = "install Debian's package chromium, or name another by SOCKETMESH_CHROMIUM";
    assert!(path.is_file(), "this test needs a browser, and {} is not there: {advice}", path.display());
    path
}

/// A running demo.
struct Demo {
    url: String,
    _child: Child,
    _stdout: Lines<BufReader<ChildStdout>>,
}

impl Demo {
    async fn start(binary: &Path) -> Self {
        let mut command = Command::new(binary);
        let client = interop::installed().await.join("node_modules/socket.io-client");
        command
            .args(["demo", "--port", "0", "--client-dir"])
            .arg(client)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        let mut child =
            command.spawn().unwrap_or_else(|error| panic!("executing {}: {error}", binary.display()));
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
