//! Admission of clients by `auth`.

use std::sync::Arc;

use cluster_tests::app::{App, Seen, connected};
use cluster_tests::messages::Messages;
use cluster_tests::on_one_and_three_nodes;
use serde::Deserialize;
use serde_json::json;
use socketmesh::{Handshake, Namespace, Refusal, Socket, namespace};

/// The data that `auth` gives a client.
#[derive(Debug)]
struct User {
    name: String,
}

#[derive(Deserialize)]
struct Login {
    token: String,
}

pub(crate) fn described(seen: &Arc<Seen>) -> Namespace<impl Send + Sync + 'static> {
    let (deciding, noting) = (Arc::clone(seen), Arc::clone(seen));
    namespace("/auth")
        .auth(async move |handshake: Handshake| login(&deciding, &handshake).await)
        .on_connect(async |socket: Socket<User>| Ok(socket.emit("welcome", &socket.data().name)?))
        .on("note", async move |socket: Socket<User>, what: String| {
            noting.handled.note((socket.id(), what.clone()));
            Ok(socket.emit("noted", &what)?)
        })
}

async fn login(seen: &Seen, handshake: &Handshake) -> Result<User, Refusal> {
    let Login { token } = handshake.auth()?;
    match token.split_once(':') {
        Some(("gate", gate)) => seen.gate(gate).await,
        Some(("number", number)) => drop(number.parse::<u8>()?),
        Some(("panic", _)) => panic!("an auth of the tests panics"),
        _ if token == "wrong" => {
            return Err(Refusal::new("not \"authorized\"").with_data(json!({ "retry": true })));
        }
        _ => {}
    }
    Ok(User { name: token })
}

async fn a_refused_client_learns_the_reason_and_may_try_again(app: &App) {
    let mut ws = app.nodes.target.websocket().await;
    ws.send(r#"40/auth,{"token":"wrong"}"#).await;
    assert_eq!(ws.packet_text().await, r#"44/auth,{"message":"not \"authorized\"","data":{"retry":true}}"#);
    ws.send(r#"40/auth,{"token":"anna"}"#).await;
    connected(&ws.packet_text().await, "/auth");
    assert_eq!(ws.packet_text().await, r#"42/auth,["welcome","anna"]"#);
}

async fn a_refused_client_may_try_again_over_polling(app: &App) {
    let polling = app.nodes.target.polling().await;
    polling.send(r#"40/auth,{"token":"number:x"}"#).await;
    assert_eq!(polling.packets(1).await, [r#"44/auth,{"message":"internal error"}"#]);
    polling.send(r#"40/auth,{"token":"number:7"}"#).await;
    let packets = polling.packets(2).await;
    connected(&packets[0], "/auth");
    assert_eq!(packets[1], r#"42/auth,["welcome","number:7"]"#);
}

async fn an_auth_payload_of_another_shape_is_refused(app: &App) {
    let mut ws = app.nodes.target.websocket().await;
    for payload in ["", "{}", r#"{"token":7}"#, r#"{"tokens":"anna"}"#] {
        ws.send(&format!("40/auth,{payload}")).await;
        assert_eq!(ws.packet_text().await, r#"44/auth,{"message":"invalid auth"}"#, "{payload}");
    }
}

async fn an_internal_error_of_auth_is_hidden_from_the_client(app: &App) {
    let mut ws = app.nodes.target.websocket().await;
    ws.send(r#"40/auth,{"token":"number:300"}"#).await;
    assert_eq!(ws.packet_text().await, r#"44/auth,{"message":"internal error"}"#);
}

async fn a_panic_in_auth_refuses_its_client_and_harms_nothing(app: &App) {
    let mut guest = app.guest(0).await;
    guest.ws.send(r#"40/auth,{"token":"panic:"}"#).await;
    assert_eq!(guest.hears().await, r#"44/auth,{"message":"internal error"}"#);
    guest.ws.send(r#"40/auth,{"token":"bert"}"#).await;
    connected(&guest.hears().await, "/auth");
    assert_eq!(guest.hears().await, r#"42/auth,["welcome","bert"]"#);
    assert_eq!(guest.ask(r#"["echo",1]"#).await, "[1]");
}

async fn events_sent_during_auth_are_handled_after_on_connect(app: &App) {
    let mut guest = app.guest(0).await;
    let gate = format!("late-{}", guest.id());
    guest.ws.send(&format!(r#"40/auth,{{"token":"gate:{gate}"}}"#)).await;
    guest.ws.send(r#"42/auth,["note","early"]"#).await;
    guest.ws.send(r#"42/auth,["note","still early"]"#).await;
    // All of it has arrived, and the other namespace goes on.
    assert_eq!(guest.ask(r#"["echo",1]"#).await, "[1]");
    app.seen.open(&gate);
    connected(&guest.hears().await, "/auth");
    assert_eq!(guest.hears().await, format!(r#"42/auth,["welcome","gate:{gate}"]"#));
    assert_eq!(guest.hears().await, r#"42/auth,["noted","early"]"#);
    assert_eq!(guest.hears().await, r#"42/auth,["noted","still early"]"#);
}

async fn a_client_that_leaves_during_auth_never_connects(app: &App) {
    let mut guest = app.guest(0).await;
    let gate = format!("left-{}", guest.id());
    guest.ws.send(&format!(r#"40/auth,{{"token":"gate:{gate}"}}"#)).await;
    guest.ws.send("41/auth,").await;
    guest.ws.send(r#"40/auth,{"token":"carla"}"#).await;
    connected(&guest.hears().await, "/auth");
    assert_eq!(guest.hears().await, r#"42/auth,["welcome","carla"]"#);
    app.seen.open(&gate);
    assert_eq!(guest.ask(r#"["echo",1]"#).await, "[1]", "nothing came of the first");
}

on_one_and_three_nodes! {
    crate::app:
    a_refused_client_learns_the_reason_and_may_try_again,
    a_refused_client_may_try_again_over_polling,
    an_auth_payload_of_another_shape_is_refused,
    an_internal_error_of_auth_is_hidden_from_the_client,
    a_panic_in_auth_refuses_its_client_and_harms_nothing,
    events_sent_during_auth_are_handled_after_on_connect,
    a_client_that_leaves_during_auth_never_connects,
}
