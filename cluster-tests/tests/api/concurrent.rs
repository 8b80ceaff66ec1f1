//! Handlers of one socket that overlap.

use std::sync::Arc;

use cluster_tests::app::{App, Guest, Seen, connected, with_plain_handlers};
use cluster_tests::on_one_and_three_nodes;
use socketmesh::{Namespace, Socket, namespace};

/// Two handlers of a socket at once, whatever they are of.
pub(crate) fn whole(seen: &Arc<Seen>) -> Namespace {
    with_slow_handlers(namespace("/concurrent"), seen).concurrent(2)
}

/// "slow" overlaps with everything, twice at most.
pub(crate) fn beside(seen: &Arc<Seen>) -> Namespace {
    with_slow_handlers(namespace("/beside"), seen).concurrent_event("slow", 2).concurrent_event("falls", 1)
}

fn with_slow_handlers<Stage>(described: Namespace<(), Stage>, seen: &Arc<Seen>) -> Namespace {
    let slow = {
        let seen = Arc::clone(seen);
        async move |socket: Socket, what: String| {
            seen.handled.note((socket.id(), format!("{what} begins")));
            seen.gate(&format!("{what}-{}", socket.id())).await;
            seen.handled.note((socket.id(), format!("{what} ends")));
            Ok(what)
        }
    };
    let falls = {
        let seen = Arc::clone(seen);
        async move |socket: Socket, what: String| {
            seen.gate(&format!("{what}-{}", socket.id())).await;
            if true { panic!("a handler of the tests panics") } else { Ok(()) }
        }
    };
    with_plain_handlers(described, seen)
        .on("slow", slow.clone())
        .on("strict", slow)
        .on("falls", falls)
        .on("ask", async |socket: Socket, (): ()| {
            Ok(socket.emit_with_ack::<String, _>("question", &()).await?)
        })
}

/// Lets the handler that waits with this word go on.
fn go_on(app: &App, guest: &Guest, what: &str) {
    app.seen.open(format!("{what}-{}", guest.id()));
}

/// Waits until the handlers of a client have noted this.
async fn noted(app: &App, guest: &Guest, what: &str) {
    let id = guest.socket.id();
    app.seen.handled.find(what, |(of, noted)| (*of == id && noted == what).then_some(())).await;
}

/// Waits until everything that the client sent so far was taken from it.
async fn read(guest: &mut Guest) {
    guest.ws.send("40/other,").await;
    connected(&guest.hears().await, "/other");
}

async fn handlers_of_a_concurrent_namespace_begin_in_order_and_end_in_any(app: &App) {
    let mut guest = app.guest_in("/concurrent", 0).await;
    guest.emit(r#"1["slow","a"]"#).await;
    guest.emit(r#"2["strict","b"]"#).await;
    guest.emit(r#"3["note","c"]"#).await;
    noted(app, &guest, "b begins").await;
    read(&mut guest).await;
    assert_eq!(app.seen.handled_of(guest.socket.id()), ["a begins", "b begins"], "two at once");
    go_on(app, &guest, "b");
    assert_eq!(guest.hears().await, r#"43/concurrent,2["b"]"#);
    assert_eq!(guest.hears().await, "43/concurrent,3[]");
    go_on(app, &guest, "a");
    assert_eq!(guest.hears().await, r#"43/concurrent,1["a"]"#);
    let handled = app.seen.handled_of(guest.socket.id());
    assert_eq!(handled, ["a begins", "b begins", "b ends", "c", "a ends"]);
}

async fn handlers_that_do_not_wait_run_in_the_order_of_their_events(app: &App) {
    let mut guest = app.guest_in("/concurrent", 0).await;
    for number in 0..100 {
        guest.emit(&format!(r#"{number}["note","{number}"]"#)).await;
    }
    for number in 0..100 {
        assert_eq!(guest.hears().await, format!("43/concurrent,{number}[]"));
    }
    let numbers: Vec<_> = (0..100).map(|number: u8| number.to_string()).collect();
    assert_eq!(app.seen.handled_of(guest.socket.id()), numbers);
}

async fn a_concurrent_event_does_not_hold_up_others(app: &App) {
    let mut guest = app.guest_in("/beside", 0).await;
    guest.emit(r#"1["slow","a"]"#).await;
    assert_eq!(guest.ask(r#"["echo",1]"#).await, "[1]");
    guest.emit(r#"2["slow","b"]"#).await;
    assert_eq!(guest.ask(r#"["echo",2]"#).await, "[2]");
    // The third one waits for its turn, and what comes after it for its beginning.
    guest.emit(r#"3["slow","c"]"#).await;
    guest.emit(r#"4["echo",3]"#).await;
    read(&mut guest).await;
    assert_eq!(app.seen.handled_of(guest.socket.id()), ["a begins", "b begins"]);
    go_on(app, &guest, "a");
    assert_eq!(guest.hears().await, r#"43/beside,1["a"]"#);
    assert_eq!(guest.hears().await, "43/beside,4[3]");
    for (number, what) in [(3, "c"), (2, "b")] {
        go_on(app, &guest, what);
        assert_eq!(guest.hears().await, format!(r#"43/beside,{number}["{what}"]"#));
    }
}

async fn a_concurrent_event_sees_what_the_events_before_it_did(app: &App) {
    let mut guest = app.guest_in("/beside", 0).await;
    guest.emit(r#"1["strict","a"]"#).await;
    guest.emit(r#"2["slow","b"]"#).await;
    noted(app, &guest, "a begins").await;
    read(&mut guest).await;
    assert_eq!(app.seen.handled_of(guest.socket.id()), ["a begins"]);
    go_on(app, &guest, "b");
    go_on(app, &guest, "a");
    assert_eq!(guest.hears().await, r#"43/beside,1["a"]"#);
    assert_eq!(guest.hears().await, r#"43/beside,2["b"]"#);
    assert_eq!(app.seen.handled_of(guest.socket.id()), ["a begins", "a ends", "b begins", "b ends"]);
}

async fn on_disconnect_waits_for_every_handler(app: &App) {
    for path in ["/concurrent", "/beside"] {
        let mut guest = app.guest_in(path, 0).await;
        guest.emit(r#"["slow","a"]"#).await;
        guest.emit(r#"["slow","b"]"#).await;
        guest.emit(r#"["note","c"]"#).await;
        noted(app, &guest, "b begins").await;
        guest.ws.send(&format!("41{path},")).await;
        read(&mut guest).await;
        go_on(app, &guest, "b");
        noted(app, &guest, "b ends").await;
        noted(app, &guest, "c").await;
        go_on(app, &guest, "a");
        assert_eq!(app.seen.reason(guest.socket.id()).await.as_str(), "client namespace disconnect");
        let mut handled = app.seen.handled_of(guest.socket.id());
        assert_eq!(handled.split_off(handled.len() - 2), ["a ends", "left"], "{path}");
    }
}

async fn a_disconnect_by_the_server_drops_what_has_not_begun(app: &App) {
    let mut guest = app.guest_in("/concurrent", 0).await;
    guest.emit(r#"["slow","a"]"#).await;
    guest.emit(r#"["slow","b"]"#).await;
    guest.emit(r#"["note","c"]"#).await;
    noted(app, &guest, "b begins").await;
    read(&mut guest).await;
    guest.socket.disconnect();
    assert_eq!(guest.hears().await, "41/concurrent,");
    go_on(app, &guest, "a");
    noted(app, &guest, "a ends").await;
    go_on(app, &guest, "b");
    assert_eq!(app.seen.reason(guest.socket.id()).await.as_str(), "server namespace disconnect");
    let handled = app.seen.handled_of(guest.socket.id());
    assert_eq!(handled, ["a begins", "b begins", "a ends", "b ends", "left"]);
}

async fn a_panic_disconnects_the_socket_when_the_handlers_beside_it_have_ended(app: &App) {
    let mut guest = app.guest_in("/beside", 0).await;
    guest.emit(r#"["slow","a"]"#).await;
    guest.emit(r#"["falls","b"]"#).await;
    noted(app, &guest, "a begins").await;
    go_on(app, &guest, "b");
    assert_eq!(guest.hears().await, "41/beside,");
    read(&mut guest).await;
    assert_eq!(app.seen.handled_of(guest.socket.id()), ["a begins"], "the other handler still runs");
    go_on(app, &guest, "a");
    assert_eq!(app.seen.reason(guest.socket.id()).await.as_str(), "server namespace disconnect");
    assert_eq!(app.seen.handled_of(guest.socket.id()), ["a begins", "a ends", "left"]);
}

/// Otherwise each would wait for the other until the time of the ack is over.
async fn a_client_may_ask_back_before_it_answers(app: &App) {
    let mut guest = app.guest_in("/concurrent", 0).await;
    guest.emit(r#"1["ask"]"#).await;
    let question = guest.event().await;
    let id = question.strip_suffix(r#"["question"]"#).expect("the question").to_owned();
    assert_eq!(guest.ask(r#"["echo","which?"]"#).await, r#"["which?"]"#);
    guest.ws.send(&format!(r#"43/concurrent,{id}["this one"]"#)).await;
    assert_eq!(guest.hears().await, r#"43/concurrent,1["this one"]"#);
}

on_one_and_three_nodes! {
    crate::app:
    handlers_of_a_concurrent_namespace_begin_in_order_and_end_in_any,
    handlers_that_do_not_wait_run_in_the_order_of_their_events,
    a_concurrent_event_does_not_hold_up_others,
    a_concurrent_event_sees_what_the_events_before_it_did,
    on_disconnect_waits_for_every_handler,
    a_disconnect_by_the_server_drops_what_has_not_begun,
    a_panic_disconnects_the_socket_when_the_handlers_beside_it_have_ended,
    a_client_may_ask_back_before_it_answers,
}
