//! Private messages to a user, on whichever node and devices: a room for each user.

use std::sync::Arc;

use axum::Router;
use examples::{BoxError, builder, serve};
use serde::{Deserialize, Serialize};
use socketmesh::{Args, Handshake, Namespace, Result, Socket, namespace};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let node = builder()?.namespace(app()).start().await?;
    serve(node, Router::new()).await
}

/// Clients connect with `auth: { name }`. `tell`, with a name and a text, reaches every device of that user as `told`; so
/// do the sender's other devices get it. Its ack says on how many devices the user is online.
fn app() -> Namespace<User> {
    namespace("/")
        .auth(async |handshake: Handshake| handshake.auth::<User>())
        .on_connect(async |socket: Socket<User>| Ok(socket.join(socket.data().room()).await?))
        .on("tell", tell)
}

/// Who a connection belongs to. Here anybody may say so; see the example `login` for proof.
#[derive(Debug, Deserialize)]
struct User {
    name: Arc<str>,
}

impl User {
    /// A prefix keeps users out of other rooms: the room of a socket, for example, has its id for a name.
    fn room(&self) -> String {
        format!("user:{}", self.name)
    }
}

#[derive(Debug, Serialize)]
struct Told<'a> {
    from: &'a str,
    to: &'a str,
    text: &'a str,
}

async fn tell(socket: Socket<User>, Args((to, text)): Args<(String, String)>) -> Result<usize> {
    let (from, to) = (socket.data(), User { name: to.into() });
    let told = Told { from: &from.name, to: &to.name, text: &text };
    // `socket.to` leaves out this very device, which knows.
    socket.to(to.room()).to(from.room()).emit("told", &told)?;
    let online = socket.to(to.room()).fetch_sockets().await;
    Ok(online.found.len())
}
