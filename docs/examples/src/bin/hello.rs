//! The smallest application: Socket.IO beside the routes of an axum application.

use axum::Router;
use axum::routing::get;
use examples::{BoxError, listen, serve_app};
use socketmesh::{Node, Socket, namespace};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let hello = namespace("/").on("hello", async |_: Socket, name: String| Ok(format!("Hello, {name}!")));
    let node = Node::builder().namespace(hello).start().await?;
    let app = Router::new()
        .route("/", get(async || "Connect a Socket.IO client to this address."))
        .nest_service("/socket.io", node.service());
    serve_app(&node, listen().await?, app).await
}
