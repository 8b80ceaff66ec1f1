//! The same server speaks Engine.IO under Socket.IO: rules that do not depend on an echo hold there as well.

use cluster_tests::messages::Messages;
use cluster_tests::on_every_target;
use cluster_tests::polling::upgrade_beside_a_poll;
use cluster_tests::target::Target;

use crate::close::{
    a_close_over_polling_releases_the_poll_with_a_noop, a_close_over_websocket_closes_at_once,
    a_poll_and_a_close_at_once_end_as_the_official_suite_wants,
};
use crate::common::BAD_REQUEST;
use crate::handshake::{
    a_polling_handshake_opens_a_session, a_websocket_handshake_opens_a_session_without_upgrades,
};
use crate::heartbeat::{
    a_polling_client_that_is_silent_loses_its_session, a_websocket_that_does_not_pong_is_closed,
};
use crate::limits::{
    a_second_concurrent_poll_closes_the_session, a_second_concurrent_post_closes_the_session,
    an_aborted_poll_closes_the_session,
};
use crate::refusals::{
    a_handshake_by_another_method_is_code_2, a_refused_websocket_gets_the_plain_message_before_any_101,
    an_unknown_session_is_code_1, an_unknown_transport_is_code_0, an_unsupported_version_is_code_5,
};

on_every_target! {
    Socket:
    a_polling_handshake_opens_a_session,
    a_websocket_handshake_opens_a_session_without_upgrades,
    an_unsupported_version_is_code_5,
    an_unknown_transport_is_code_0,
    an_unknown_session_is_code_1,
    a_handshake_by_another_method_is_code_2,
    a_refused_websocket_gets_the_plain_message_before_any_101,
    a_websocket_that_does_not_pong_is_closed,
    a_polling_client_that_is_silent_loses_its_session,
}

on_every_target! {
    SocketV3:
    a_close_over_polling_releases_the_poll_with_a_noop,
    a_poll_and_a_close_at_once_end_as_the_official_suite_wants,
    a_close_over_websocket_closes_at_once,
    a_second_concurrent_poll_closes_the_session,
    a_second_concurrent_post_closes_the_session,
    an_aborted_poll_closes_the_session,
    a_poll_that_races_the_upgrade_is_refused_under_socket_io,
    a_second_websocket_during_the_upgrade_closes_under_socket_io,
}

async fn a_poll_that_races_the_upgrade_is_refused_under_socket_io(target: Target) {
    let (mut ws, racing) = upgrade_beside_a_poll(async || {
        let session = target.polling().await;
        let mut ws = session.probe().await;
        ws.send("5").await;
        (ws, session.poll().await)
    })
    .await;
    assert_eq!(racing.outcome(), (400, BAD_REQUEST));
    ws.send("40").await;
    assert!(ws.packet_text().await.starts_with("40{"));
}

async fn a_second_websocket_during_the_upgrade_closes_under_socket_io(target: Target) {
    let session = target.polling().await;
    let mut ws = session.probe().await;
    assert_eq!(session.websocket().await.closed().await, None);
    ws.send("5").await;
    ws.send("40").await;
    assert!(ws.packet_text().await.starts_with("40{"));
}
