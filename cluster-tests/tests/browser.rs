//! The official client over WebTransport in a real browser: only browsers speak it.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use cluster_tests::app::{App, plain};
use cluster_tests::webtransport::WebTransportTarget;
use cluster_tests::{browser, interop};
use socketmesh::Node;
use socketmesh::engine::{self, Transport};
use socketmesh::id::SocketId;

#[tokio::test]
async fn the_official_client_speaks_webtransport_alone_and_by_upgrade() {
    let transports = vec![Transport::Polling, Transport::WebSocket, Transport::WebTransport];
    let config = engine::Config::default().transports(transports);
    let app = App::start(3, |seen| Node::builder().engine(config.clone()).namespace(plain("/", seen))).await;
    // The client goes to the port it polls: sessions that any node opened come to the last one.
    let target = WebTransportTarget::at(app.node(2), app.nodes.target.addr()).await;
    let (chromium, url) = (browser::chromium(), format!("http://{}/", target.addr));
    let hash = BASE64_STANDARD.encode(target.sha256);
    let bundle = interop::installed().await.join("node_modules/socket.io-client/dist/socket.io.min.js");
    let arguments = [chromium.as_os_str(), url.as_ref(), hash.as_ref(), bundle.as_os_str()];
    // Each client that asks for it is closed, one after the other; the last request stops its node.
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
