//! An application that does with its sockets what its clients ask for, and remembers which sockets there are.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::Value;
use tokio::time::sleep;

use crate::id::SocketId;
use crate::socket::{
    Ack, AckError, Description, EventError, Handshake, Incoming, Namespace, RawArgs, Refusal, Socket,
    namespace, namespaces, namespaces_where,
};

/// The sockets that have connected, and of which it was not said that they are gone.
pub(super) type Present = Arc<Mutex<HashSet<SocketId>>>;

/// Namespaces of every kind.
pub(super) fn namespaces_of_all_kinds(present: &Present) -> Vec<Description> {
    let observed = handling(namespace("/observed"), present)
        .on_any(async |_: Socket, _: String, _: RawArgs| {})
        .on_any_outgoing(async |_: Socket, _: String, _: RawArgs| {})
        .on_room(async |_, _| {})
        .on_disconnecting(async |socket: Socket, _| {
            assert!(!socket.is_connected());
            Ok(())
        })
        .middleware(async |_: Socket, event: Incoming| match event.name() {
            "forbidden" => Err(EventError::new("forbidden", "not here")),
            "dropped" => Ok(None),
            "shout" => Ok(Some(event.renamed("echo"))),
            _ => Ok(Some(event)),
        })
        .concurrent(3);
    let chosen = namespaces_where(async |client: Handshake| Ok(client.namespace().ends_with("/chosen")));
    vec![
        handling(namespace("/"), present).described(),
        observed.described(),
        handling(namespace("/asked").auth(login), present).described(),
        handling(namespaces(r"^/room-\d+$"), present).described(),
        handling(chosen.admit(async |_: Handshake| Ok(())), present).described(),
    ]
}

async fn login(client: Handshake) -> Result<Value, Refusal> {
    let auth: Value = client.auth()?;
    if let Some(seconds) = auth.get("wait").and_then(Value::as_u64) {
        sleep(Duration::from_secs(seconds % 60)).await;
    }
    if auth.get("refused").is_some() { Err(Refusal::new("refused").with_data(auth)) } else { Ok(auth) }
}

fn handling<S: Send + Sync + 'static, Stage>(
    namespace: Namespace<S, Stage>,
    present: &Present,
) -> Namespace<S> {
    let (came, left) = (Arc::clone(present), Arc::clone(present));
    namespace
        .on_connect(async move |socket: Socket<S>| {
            assert!(came.lock().insert(socket.id()), "a socket connected twice");
            Ok(())
        })
        .on_disconnect(async move |socket: Socket<S>, _| {
            assert!(left.lock().remove(&socket.id()), "a socket left that had not come, or left twice");
            assert!(socket.rooms().is_empty(), "a socket that left is in a room");
            Ok(())
        })
        .on("echo", async |_: Socket<S>, args: RawArgs| Ok(args))
        .on("decode", async |_: Socket<S>, value: Value| Ok(value))
        .on("join", async |socket: Socket<S>, room: String| Ok(socket.join(room).await?))
        .on("leave", async |socket: Socket<S>, room: String| {
            socket.leave(room);
            Ok(())
        })
        .on("say", async |socket: Socket<S>, room: String| Ok(socket.to(room).emit("said", &"something")?))
        .on("ask", async |socket: Socket<S>, question: Value| {
            let asking = socket.timeout(Duration::from_secs(1));
            let answer: Result<RawArgs, AckError> = asking.emit_with_ack("question", &question).await;
            Ok(answer.is_ok())
        })
        .on("ask all", async |socket: Socket<S>, question: Value| {
            let asking = socket.nsp().timeout(Duration::from_secs(1));
            drop(asking.emit_with_ack::<RawArgs, _>("question", &question).await);
            Ok(())
        })
        .on("flood", async |socket: Socket<S>, times: u8| {
            let large = "x".repeat(500);
            (0..times).try_for_each(|_| socket.emit("flood", &large))?;
            Ok(())
        })
        .on("wait", async |_: Socket<S>, millis: u16| {
            sleep(Duration::from_millis(millis.into())).await;
            Ok(())
        })
        .on("later", async |_: Socket<S>, millis: u16, ack: Ack| {
            tokio::spawn(async move {
                sleep(Duration::from_millis(millis.into())).await;
                ack.send(&millis).ok();
            });
        })
        .concurrent_event("later", 1)
        .on("fail", async |_: Socket<S>, text: String| Err::<(), _>(EventError::new("failed", text)))
        .on("kick", async |socket: Socket<S>, close: bool| {
            if close {
                socket.close();
            } else {
                socket.disconnect();
            }
            Ok(())
        })
        .on("kick all", async |socket: Socket<S>, close: bool| {
            let all = socket.nsp().all();
            if close { all.close() } else { all.disconnect() }.await;
            Ok(())
        })
}
