//! The smallest application: Socket.IO beside the routes of an axum application.

use axum::Router;
use axum::routing::get;
use socketmesh::{Node, Socket, namespace};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let hello = namespace("/").on("hello", async |_: Socket, name: String| Ok(format!("Hello, {name}!")));
    let node = Node::builder().namespace(hello).start().await?;
    let app = Router::new()
        .route("/", get(async || "Connect a Socket.IO client to this address."))
        .nest_service("/socket.io", node.service());
    let listener = TcpListener::bind("127.0.0.1:3000").await?;
    Ok(axum::serve(listener, app).await?)
}
