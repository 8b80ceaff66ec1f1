//! Private messages to a user, on whichever node and devices: a room for each user. Every device confirms.

use std::sync::Arc;
use std::time::Duration;

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
/// do the sender's other devices get it. Each device acknowledges, and so the sender's ack says how many have it: `{ heard, missing }`.
/// `where` answers with the name of the node.
fn app() -> Namespace<User> {
    namespace("/")
        .auth(async |handshake: Handshake| handshake.auth::<User>())
        .on_connect(async |socket: Socket<User>| Ok(socket.join(socket.data().room()).await?))
        .on("tell", tell)
        .on("where", async |socket: Socket<User>, ()| Ok(socket.node().to_string()))
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

/// How many devices of the user confirmed, and how many did not in time. A user with none is not there.
#[derive(Debug, Serialize)]
struct Delivered {
    heard: usize,
    missing: usize,
}

async fn tell(socket: Socket<User>, Args((to, text)): Args<(String, String)>) -> Result<Delivered> {
    let (from, to) = (socket.data(), User { name: to.into() });
    let told = Told { from: &from.name, to: &to.name, text: &text };
    // `socket.to` leaves out this very device, which knows.
    socket.to(from.room()).except(to.room()).emit("told", &told)?;
    let acks = socket.to(to.room()).timeout(PATIENCE).emit_with_ack::<(), _>("told", &told).await?;
    Ok(Delivered { heard: acks.replies.len(), missing: acks.missing.len() })
}

const PATIENCE: Duration = Duration::from_secs(3);
