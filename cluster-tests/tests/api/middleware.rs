//! Checks before `auth`, and middleware before handlers.

use std::sync::Arc;

use cluster_tests::app::{App, Guest, Seen, connected};
use cluster_tests::messages::Messages;
use cluster_tests::on_one_and_three_nodes;
use serde::Deserialize;
use socketmesh::id::SocketId;
use socketmesh::{
    Ack, DisconnectReason, EventError, Handshake, Incoming, Namespace, RawArgs, Refusal, Socket, namespace,
};

pub(crate) fn described(seen: &Arc<Seen>) -> Namespace<impl Send + Sync + 'static> {
    let [any, first, second, noting, out, left] = [(); 6].map(|()| Arc::clone(seen));
    let note = |seen: &Seen, socket: &Socket<String>, what: String| seen.handled.note((socket.id(), what));
    namespace("/checked")
        .admit(async |handshake: Handshake| admitted(&handshake, "first"))
        .auth(async |handshake: Handshake| {
            admitted(&handshake, "auth")?;
            Ok::<_, Refusal>(stages(&handshake).join(" "))
        })
        .admit(async |handshake: Handshake| admitted(&handshake, "second"))
        .on_connect(async |socket: Socket<String>| Ok(socket.emit("welcome", socket.data())?))
        .on_any(async move |socket: Socket<String>, event: String, args: RawArgs| {
            note(&any, &socket, format!("any {event} {}", args.json()));
        })
        .middleware(async move |socket: Socket<String>, event: Incoming| {
            note(&first, &socket, format!("first {} {}", event.name(), event.args().json()));
            match event.name() {
                "forbidden" => Err(EventError::new("forbidden", "not for you")),
                "broken" => Ok("x".parse::<u8>().map(|_| Some(event))?),
                "renamed" => Ok(Some(event.renamed("do"))),
                "rewritten" => Ok(Some(event.with_args("that")?)),
                "stopped" => Ok(None),
                "muted" => {
                    drop(event.take_ack());
                    Ok(Some(event.renamed("do")))
                }
                "failed and muted" => {
                    drop(event.take_ack());
                    Err(EventError::new("failed", "nobody is told"))
                }
                "answered" => {
                    event.take_ack().send("by the middleware")?;
                    Ok(Some(event.renamed("do later")))
                }
                "wrapped" | "wrapped later" => {
                    let ack = event.take_ack();
                    let seen = ack.through(|answer, ack| {
                        ack.send(&("wrapped", answer.json())).ok();
                    });
                    let name = event.name().replace("wrapped", "do");
                    Ok(Some(event.with_ack(seen).renamed(name)))
                }
                "panic" => panic!("a middleware of the tests panics"),
                "out" => {
                    socket.disconnect();
                    Ok(Some(event))
                }
                _ => Ok(Some(event)),
            }
        })
        .middleware(async move |socket: Socket<String>, event: Incoming| {
            note(&second, &socket, format!("second {}", event.name()));
            Ok(event)
        })
        .on("do", async move |socket: Socket<String>, what: String| {
            note(&noting, &socket, format!("does {what}"));
            Ok(what)
        })
        .on("rewritten", async |_: Socket<String>, what: String| Ok(what))
        .on("do later", async |_: Socket<String>, what: String, ack: Ack| {
            tokio::spawn(async move { ack.send(&what) });
        })
        .on("out", async move |socket: Socket<String>, ()| {
            note(&out, &socket, "goes out".to_owned());
            Ok(())
        })
        .on("forbidden", async |_: Socket<String>, (): ()| Ok("allowed"))
        .on_disconnect(async move |socket: Socket<String>, reason| {
            left.left.note((socket.id(), reason));
            Ok(())
        })
}

#[derive(Default, Deserialize)]
struct Asked {
    refusing: Vec<String>,
}

/// The check that the client names in its auth payload refuses it, and panics if three are named.
fn admitted(handshake: &Handshake, stage: &str) -> Result<(), Refusal> {
    assert_eq!(handshake.namespace(), "/checked");
    match stages(handshake).iter().any(|refusing| refusing == stage) {
        true if stages(handshake).len() > 2 => panic!("a check of the tests panics"),
        true => Err(Refusal::new(format!("refused by {stage}"))),
        false => Ok(()),
    }
}

fn stages(handshake: &Handshake) -> Vec<String> {
    handshake.auth::<Asked>().unwrap_or_default().refusing
}

/// A client in the namespace: its connection and the id of its socket.
async fn enter(app: &App) -> (Guest, String) {
    let mut guest = app.guest(1).await;
    guest.path = "/checked";
    guest.ws.send("40/checked,").await;
    let id = connected(&guest.hears().await, "/checked");
    assert_eq!(guest.event().await, r#"["welcome",""]"#);
    (guest, id)
}

fn handled(app: &App, id: &str) -> Vec<String> {
    app.seen.handled.all(|(of, what)| (of.to_string() == id).then(|| what.clone()))
}

/// Why a socket left, as soon as its `on_disconnect` ran.
async fn reason(app: &App, id: &str) -> &'static str {
    let left =
        |(left, reason): &(SocketId, DisconnectReason)| (left.to_string() == id).then(|| reason.as_str());
    app.seen.left.find("on_disconnect", left).await
}

async fn middleware_runs_in_order_before_the_handler(app: &App) {
    let (mut guest, id) = enter(app).await;
    assert_eq!(guest.ask(r#"["do","this"]"#).await, r#"["this"]"#);
    let expected = [r#"any do "this""#, r#"first do "this""#, "second do", "does this"];
    assert_eq!(handled(app, &id), expected);
}

async fn an_error_of_a_middleware_stops_the_event_and_is_its_ack(app: &App) {
    let (mut guest, id) = enter(app).await;
    let refused = r#"[{"error":{"code":"forbidden","message":"not for you"}}]"#;
    assert_eq!(guest.ask(r#"["forbidden",1]"#).await, refused);
    let masked = r#"[{"error":{"code":"internal","message":"internal error"}}]"#;
    assert_eq!(guest.ask(r#"["broken"]"#).await, masked);
    guest.emit(r#"["forbidden",2]"#).await;
    assert_eq!(guest.ask(r#"["do","it"]"#).await, r#"["it"]"#, "the socket lives on");
    let handled = handled(app, &id);
    let before: Vec<_> = handled.iter().take_while(|what| !what.contains("do")).collect();
    assert_eq!(
        before,
        [
            "any forbidden 1",
            "first forbidden 1",
            "any broken ",
            "first broken ",
            "any forbidden 2",
            "first forbidden 2"
        ]
    );
}

async fn unhandled_events_pass_observers_and_middleware_too(app: &App) {
    let (mut guest, id) = enter(app).await;
    guest.emit(r#"1["else"]"#).await;
    assert_eq!(guest.ask(r#"["do","it"]"#).await, r#"["it"]"#, "nothing is acked but what is handled");
    assert_eq!(handled(app, &id)[..3], ["any else ", "first else ", "second else"]);
}

async fn a_middleware_may_change_the_event(app: &App) {
    let (mut guest, id) = enter(app).await;
    assert_eq!(guest.ask(r#"["renamed","it"]"#).await, r#"["it"]"#);
    assert_eq!(handled(app, &id), [r#"any renamed "it""#, r#"first renamed "it""#, "second do", "does it"]);
    assert_eq!(guest.ask(r#"["rewritten","this"]"#).await, r#"["that"]"#);
}

async fn a_middleware_may_stop_an_event_and_tell_nobody(app: &App) {
    let (mut guest, id) = enter(app).await;
    guest.emit(r#"1["stopped"]"#).await;
    guest.emit(r#"2["failed and muted"]"#).await;
    assert_eq!(guest.ask(r#"["do","it"]"#).await, r#"["it"]"#);
    let handled = handled(app, &id);
    let before = ["any stopped ", "first stopped ", "any failed and muted ", "first failed and muted "];
    assert_eq!(handled[..4], before);
}

async fn a_middleware_may_take_or_replace_the_ack(app: &App) {
    let (mut guest, id) = enter(app).await;
    guest.emit(r#"1["muted","it"]"#).await;
    assert_eq!(guest.ask(r#"["answered","it"]"#).await, r#"["by the middleware"]"#);
    assert!(handled(app, &id).contains(&"does it".to_owned()), "without an ack");
    assert_eq!(guest.ask(r#"["wrapped","it"]"#).await, r#"[["wrapped","\"it\""]]"#);
    assert_eq!(guest.ask(r#"["wrapped later","it"]"#).await, r#"[["wrapped","\"it\""]]"#);
    let refused = guest.ask(r#"["wrapped",1]"#).await;
    assert!(refused.starts_with(r#"[["wrapped","{\"error\":{\"code\":\"invalid_arguments\""#), "{refused}");
    // Where nobody asked for an ack, none is made.
    guest.emit(r#"["wrapped","it"]"#).await;
    assert_eq!(guest.ask(r#"["do","it"]"#).await, r#"["it"]"#);
}

async fn a_panic_in_middleware_disconnects_its_socket(app: &App) {
    let (mut guest, id) = enter(app).await;
    guest.emit(r#"["panic"]"#).await;
    assert_eq!(guest.hears().await, "41/checked,");
    assert_eq!(reason(app, &id).await, "server namespace disconnect");
    assert_eq!(handled(app, &id), ["any panic ", "first panic "]);
}

async fn an_event_whose_middleware_disconnects_the_socket_is_not_handled(app: &App) {
    let (mut guest, id) = enter(app).await;
    guest.emit(r#"["out"]"#).await;
    assert_eq!(guest.hears().await, "41/checked,");
    assert_eq!(reason(app, &id).await, "server namespace disconnect");
    assert_eq!(handled(app, &id), ["any out ", "first out "]);
}

async fn checks_run_in_order_before_auth_and_the_first_refusal_ends_it(app: &App) {
    let mut ws = app.nodes.target.websocket().await;
    for (refusing, told) in [
        (r#"["auth"]"#, "refused by auth"),
        (r#"["second","auth"]"#, "refused by second"),
        (r#"["first","second"]"#, "refused by first"),
        (r#"["second","first"]"#, "refused by first"),
        (r#"["x","x","second"]"#, "internal error"),
    ] {
        ws.send(&format!(r#"40/checked,{{"refusing":{refusing}}}"#)).await;
        assert_eq!(ws.packet_text().await, format!(r#"44/checked,{{"message":"{told}"}}"#));
    }
    ws.send(r#"40/checked,{"refusing":["nobody"]}"#).await;
    connected(&ws.packet_text().await, "/checked");
    assert_eq!(ws.packet_text().await, r#"42/checked,["welcome","nobody"]"#);
}

on_one_and_three_nodes! {
    crate::app:
    middleware_runs_in_order_before_the_handler,
    an_error_of_a_middleware_stops_the_event_and_is_its_ack,
    unhandled_events_pass_observers_and_middleware_too,
    a_middleware_may_change_the_event,
    a_middleware_may_stop_an_event_and_tell_nobody,
    a_middleware_may_take_or_replace_the_ack,
    a_panic_in_middleware_disconnects_its_socket,
    an_event_whose_middleware_disconnects_the_socket_is_not_handled,
    checks_run_in_order_before_auth_and_the_first_refusal_ends_it,
}
