//! A chat with rooms, who is in them and what was said before, private messages, and a notice of who is typing: on one node or on many.

use axum::Router;
use axum::response::Html;
use axum::routing::get;
use examples::{BoxError, builder, chat, serve};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let node = builder()?.namespace(chat::app()).start().await?;
    serve(node, Router::new().route("/", get(async || Html(include_str!("chat.html"))))).await
}
