//! What serves the clients of a node: a listener of its own, or axum, as in an application.

use std::net::SocketAddr;

use axum::Router;
use axum::serve::ListenerExt as _;
use socketmesh::Node;
use socketmesh::engine::Application;
use socketmesh::http::{AxumListener, ClientAddr};
use tokio::net::{TcpListener, TcpStream};

/// What serves the clients of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Host {
    /// A listener of the node.
    Own,
    /// `axum::serve`.
    Axum,
}

/// The service of a node at `path` of an application in axum.
pub fn mounted<A: Application>(node: &Node<A>, path: &str) -> Router {
    Router::new().nest_service(path.trim_end_matches('/'), node.service())
}

/// Serves an application in axum, as the documentation says, until the task is dropped.
///
/// # Panics
/// Never: axum goes on whatever happens.
pub async fn serve_in_axum(listener: TcpListener, app: Router) {
    serve_tapped(listener, app, |connection| {
        let _gone = connection.set_nodelay(true);
    })
    .await;
}

/// Serves an application in axum by what a node has for it, until `stopped`.
///
/// # Panics
/// Never: axum goes on whatever happens.
pub async fn serve_until(
    stopped: impl Future<Output = ()> + Send + 'static,
    listener: AxumListener,
    app: Router,
) {
    let app = app.into_make_service_with_connect_info::<ClientAddr>();
    axum::serve(listener, app).with_graceful_shutdown(stopped).await.expect("it returns no error");
}

/// The first of these, with `tap` for each connection.
///
/// # Panics
/// Never: axum goes on whatever happens.
pub async fn serve_tapped(
    listener: TcpListener,
    app: Router,
    tap: impl FnMut(&mut TcpStream) + Send + 'static,
) {
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener.tap_io(tap), app).await.expect("it returns no error");
}
