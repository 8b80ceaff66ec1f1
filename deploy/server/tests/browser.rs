//! The demo in a real browser: with the official client and with its own, while nodes are stopped and started.

use std::ffi::OsStr;
use std::path::Path;

use cluster_tests::demo::Demo;
use cluster_tests::server::Server;
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

#[tokio::test]
async fn the_page_of_operators_shows_the_cluster_and_the_end_of_a_node() {
    let token = [("SOCKETMESH_ADMIN_TOKEN", TOKEN)];
    let (_first, seen) = Server::member(PROGRAM, 1, None, &[], &token).await;
    let (_second, second) = Server::member(PROGRAM, 2, seen.mesh, &[], &token).await;
    let (third, _) = Server::member(PROGRAM, 3, seen.mesh, &[], &token).await;
    let chromium = browser::chromium();
    let page = format!("http://{}/", seen.operators.expect("an address for operators"));
    let (clients, victim) = (format!("http://{}", second.clients), third.process().to_string());
    let screenshots = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let arguments = [&*page, TOKEN, &clients, &victim].map(OsStr::new);
    let arguments = [chromium.as_os_str()].into_iter().chain(arguments).chain([screenshots.as_os_str()]);
    interop::run("cluster-page.mjs", arguments).await;
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
const TOKEN: &str = "a token of operators, long enough";
const NOTHING: [&str; 0] = [];
/// A name that does not resolve.
const NOWHERE: &str = "~NOTFOUND";
