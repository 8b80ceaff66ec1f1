//! Acks in the hands of handlers: answered later, from anywhere, or never.

use std::collections::HashMap;
use std::sync::Arc;

use cluster_tests::app::{App, Seen, connected, with_plain_handlers};
use cluster_tests::on_one_and_three_nodes;
use socketmesh::{Ack, AckError, EventError, Namespace, RawArgs, Socket, namespace};

pub(crate) fn described(seen: &Arc<Seen>) -> Namespace {
    let [later, wanted, unsent] = [(); 3].map(|()| Arc::clone(seen));
    with_plain_handlers(namespace("/answers"), seen)
        .on("later", async move |socket: Socket, gate: String, ack: Ack| {
            later.handled.note((socket.id(), "keeps it".to_owned()));
            tokio::spawn(async move {
                later.gate(&gate).await;
                let there = ack.is_connected();
                let gone = matches!(ack.send(&"late"), Err(AckError::Disconnected));
                later.handled.note((socket.id(), format!("there: {there}, gone: {gone}")));
            });
        })
        .on("at once", async |_: Socket, number: u8, ack: Ack| Ok(ack.send(&(number + 1))?))
        .on("never", async |_: Socket, (): (), _: Ack| {})
        .on("drops it", async |_: Socket, (): (), _: Ack| Err::<(), _>(EventError::new("full", "no room")))
        .on("parse", async |_: Socket, text: String, ack: Ack| {
            ack.answer(text.parse::<u8>().map_err(EventError::from)).ok();
        })
        .on("cannot be sent", async move |socket: Socket, (): (), ack: Ack| {
            let answer = ack.send(&HashMap::from([([1], 2)]));
            unsent.handled.note((socket.id(), format!("{}", matches!(answer, Err(AckError::Encode(_))))));
        })
        .on("wanted", async move |socket: Socket, (): (), ack: Ack| {
            wanted.handled.note((socket.id(), format!("{}: {}", ack.event(), ack.is_wanted())));
            Ok(ack.send("an answer")?)
        })
        .fallback(async |_: Socket, _: String, _: RawArgs, _: Ack| {})
}

async fn an_ack_may_be_answered_when_its_handler_has_ended(app: &App) {
    let mut guest = app.guest_in("/answers", 0).await;
    let gate = format!("later-{}", guest.id());
    guest.emit(&format!(r#"1["later","{gate}"]"#)).await;
    guest.emit(r#"2["echo","meanwhile"]"#).await;
    assert_eq!(guest.hears().await, r#"43/answers,2["meanwhile"]"#);
    app.seen.open(&gate);
    assert_eq!(guest.hears().await, r#"43/answers,1["late"]"#);
}

async fn acks_are_answered_in_any_order_over_polling(app: &App) {
    let (polling, socket) = app.polling_guest("/answers").await;
    let [first, second] = ["first", "second"].map(|gate| format!("{gate}-{}", socket.id()));
    polling.send(format!(r#"42/answers,1["later","{first}"]"#)).await;
    polling.send(format!(r#"42/answers,2["later","{second}"]"#)).await;
    app.seen.open(second);
    assert_eq!(polling.packets(1).await, [r#"43/answers,2["late"]"#]);
    app.seen.open(first);
    assert_eq!(polling.packets(1).await, [r#"43/answers,1["late"]"#]);
}

async fn an_ack_that_is_dropped_is_never_answered(app: &App) {
    let mut guest = app.guest_in("/answers", 0).await;
    for event in ["never", "drops it", "what a silent fallback gets"] {
        guest.emit(&format!(r#"1["{event}"]"#)).await;
        assert_eq!(guest.ask(r#"["echo","next"]"#).await, r#"["next"]"#, "{event}");
    }
}

async fn an_ack_is_a_value_or_an_error(app: &App) {
    let mut guest = app.guest_in("/answers", 0).await;
    assert_eq!(guest.ask(r#"["at once",41]"#).await, "[42]");
    assert_eq!(guest.ask(r#"["parse","7"]"#).await, "[7]");
    let masked = r#"[{"error":{"code":"internal","message":"internal error"}}]"#;
    assert_eq!(guest.ask(r#"["parse","seven"]"#).await, masked);
    assert_eq!(guest.ask(r#"["cannot be sent"]"#).await, masked, "a map whose keys are no text");
    assert_eq!(app.seen.handled_of(guest.socket.id()), ["true"], "and the handler is told");
    let told = guest.ask(r#"["at once","a"]"#).await;
    assert!(told.starts_with(r#"[{"error":{"code":"invalid_arguments""#), "{told}");
}

async fn an_ack_that_nobody_asked_for_is_not_sent(app: &App) {
    let mut guest = app.guest_in("/answers", 0).await;
    guest.emit(r#"["wanted"]"#).await;
    assert_eq!(guest.ask(r#"["wanted"]"#).await, r#"["an answer"]"#);
    assert_eq!(app.seen.handled_of(guest.socket.id()), ["wanted: false", "wanted: true"]);
}

async fn an_ack_for_a_client_that_has_left_is_an_error_and_is_not_sent(app: &App) {
    let mut guest = app.guest_in("/answers", 0).await;
    let id = guest.socket.id();
    let gate = format!("left-{id}");
    guest.emit(&format!(r#"1["later","{gate}"]"#)).await;
    guest.ws.send("41/answers,").await;
    app.seen.reason(id).await;
    app.seen.open(gate);
    let told = |(of, what): &(_, String)| (*of == id && what == "there: false, gone: true").then_some(());
    app.seen.handled.find("the task that answers", told).await;
    guest.ws.send("40/other,").await;
    connected(&guest.hears().await, "/other");
}

on_one_and_three_nodes! {
    crate::app:
    an_ack_may_be_answered_when_its_handler_has_ended,
    acks_are_answered_in_any_order_over_polling,
    an_ack_that_is_dropped_is_never_answered,
    an_ack_is_a_value_or_an_error,
    an_ack_that_nobody_asked_for_is_not_sent,
    an_ack_for_a_client_that_has_left_is_an_error_and_is_not_sent,
}
