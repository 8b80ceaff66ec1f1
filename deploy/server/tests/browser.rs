//! The demo in a real browser: with the official client and with its own, while nodes are stopped and started.

use std::ffi::OsStr;
use std::path::Path;

use cluster_tests::demo::Demo;
use cluster_tests::{browser, interop};
use tokio::net::TcpListener;

#[tokio::test]
async fn the_page_works_with_the_official_client_from_a_folder() {
    let client = interop::installed().await.join("node_modules/socket.io-client");
    let demo = Demo::start(PROGRAM, [OsStr::new("--client-dir"), client.as_os_str()], &[]).await;
    visit(&demo, "official", NOWHERE).await;
}

#[tokio::test]
async fn the_page_works_with_its_own_client_where_the_cdn_has_no_address() {
    let demo = Demo::start(PROGRAM, NOTHING, &[]).await;
    visit(&demo, "own", NOWHERE).await;
}

#[tokio::test]
async fn the_page_works_with_its_own_client_where_the_cdn_does_not_answer() {
    let demo = Demo::start(PROGRAM, NOTHING, &[]).await;
    // It takes connections and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    visit(&demo, "own", &silent.local_addr().expect("an address").to_string()).await;
}

/// Draws, chats, stops a node and starts it again, in several windows. `cdn` is where the browser finds the official CDN.
async fn visit(demo: &Demo, client: &str, cdn: &str) {
    let chromium = browser::chromium();
    let url = format!("http://{}/", demo.entry);
    let screenshots = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let arguments =
        [chromium.as_os_str(), url.as_ref(), client.as_ref(), cdn.as_ref(), screenshots.as_os_str()];
    interop::run("browser.mjs", arguments).await;
}

const PROGRAM: &str = env!("CARGO_BIN_EXE_socketmesh");
const NOTHING: [&str; 0] = [];
/// A name that does not resolve.
const NOWHERE: &str = "~NOTFOUND";
