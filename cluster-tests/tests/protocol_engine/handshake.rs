//! Handshakes over polling and WebSocket.

use cluster_tests::messages::Messages;
use cluster_tests::on_every_target;
use cluster_tests::target::Target;
use serde_json::json;

use crate::common::assert_handshake;

pub(crate) async fn a_polling_handshake_opens_a_session(target: Target) {
    let reply = target.get("EIO=4&transport=polling").await;
    assert_eq!(reply.status(), 200);
    assert_eq!(reply.header("content-type"), Some("text/plain; charset=UTF-8"));
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    assert_eq!(reply.header("set-cookie"), None);
    assert_handshake(reply.text(), &json!(["websocket"]));
}

pub(crate) async fn a_websocket_handshake_opens_a_session_without_upgrades(target: Target) {
    let mut ws = target.upgrade("EIO=4&transport=websocket").await.expect("accepted");
    assert_handshake(&ws.recv_text().await, &json!([]));
}

async fn every_session_has_an_id_of_its_own(target: Target) {
    let (one, other) = tokio::join!(target.polling(), target.polling());
    assert_ne!(one.sid(), other.sid());
}

async fn a_websocket_is_accepted_as_rfc_6455_says(target: Target) {
    let ws = target.upgrade("EIO=4&transport=websocket").await.expect("accepted");
    let accept = tokio_tungstenite::tungstenite::handshake::derive_accept_key(b"c29ja2V0bWVzaCB0ZXN0cw==");
    assert_eq!(ws.opened.header("sec-websocket-accept"), Some(accept.as_str()));
    assert_eq!(ws.opened.header("sec-websocket-extensions"), None, "compression is off");
    assert_eq!(ws.opened.header("set-cookie"), None, "a cookie belongs to the polling handshake only");
}

async fn any_path_below_the_protocol_path_is_served(target: Target) {
    let reply = target.get_path("/engine.io/foo/bar?EIO=4&transport=polling").await;
    assert_handshake(reply.text(), &json!(["websocket"]));
}

async fn the_path_ends_with_a_slash(target: Target) {
    assert_eq!(target.get_path("/engine.io?EIO=4&transport=polling").await.status(), 404);
    assert_eq!(target.get_path("/other/?EIO=4&transport=polling").await.status(), 404);
}

on_every_target! {
    Engine:
    a_polling_handshake_opens_a_session,
    a_websocket_handshake_opens_a_session_without_upgrades,
    every_session_has_an_id_of_its_own,
    a_websocket_is_accepted_as_rfc_6455_says,
    any_path_below_the_protocol_path_is_served,
    the_path_ends_with_a_slash,
}
