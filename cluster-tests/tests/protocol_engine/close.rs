//! The end of a session.

use cluster_tests::deadline::within;
use cluster_tests::messages::{Messages, Received};
use cluster_tests::on_every_target;
use cluster_tests::target::Target;

use crate::common::{SESSION_UNKNOWN, sid_of};

pub(crate) async fn a_close_over_polling_releases_the_poll_with_a_noop(target: Target) {
    let session = target.polling().await;
    let poll = session.pending_poll().await;
    assert_eq!(session.post("1").await.outcome(), (200, "ok"));
    assert_eq!(poll.reply().await.outcome(), (200, "6"));
    session.gone().await;
    assert_eq!(session.poll().await.outcome(), (400, SESSION_UNKNOWN));
}

async fn packets_after_a_close_in_its_payload_are_dropped(target: Target) {
    let session = target.polling().await;
    let poll = session.pending_poll().await;
    assert_eq!(session.post("1\x1e4late").await.outcome(), (200, "ok"));
    assert_eq!(poll.reply().await.outcome(), (200, "6"));
}

/// Deviation: a stateless round-robin load balancer may let the close overtake the poll that was sent before it.
async fn a_close_that_overtook_the_poll_still_releases_it(target: Target) {
    let session = target.polling().await;
    assert_eq!(session.post("1").await.outcome(), (200, "ok"));
    assert_eq!(session.poll().await.outcome(), (200, "6"));
    assert_eq!(session.poll().await.outcome(), (400, SESSION_UNKNOWN));
}

pub(crate) async fn a_poll_and_a_close_at_once_end_as_the_official_suite_wants(target: Target) {
    let session = target.polling().await;
    let (poll, close) = tokio::join!(session.poll(), session.post("1"));
    assert_eq!((poll.outcome(), close.outcome()), ((200, "6"), (200, "ok")));
    assert_eq!(session.poll().await.outcome(), (400, SESSION_UNKNOWN));
}

/// Deviation: Node ignores it.
pub(crate) async fn a_close_over_websocket_closes_at_once(target: Target) {
    let mut ws = target.websocket().await;
    ws.send("1").await;
    assert_eq!(ws.recv().await, Received::Closed(None));
}

async fn a_closed_websocket_ends_its_session(target: Target) {
    let mut ws = target.upgrade("EIO=4&transport=websocket").await.expect("accepted");
    let sid = sid_of(&ws.recv_text().await);
    ws.send_close().await;
    ws.closed().await;
    // Node waits for the client to hang up.
    drop(ws);
    let by = |transport| format!("EIO=4&transport={transport}&sid={sid}");
    let ending = async { while target.get(&by("polling")).await.outcome() != (400, SESSION_UNKNOWN) {} };
    within("the end of a session without its WebSocket", ending).await;
    assert_eq!(target.refusal(&by("websocket")).await.outcome(), (400, "Session ID unknown"));
}

on_every_target! {
    EngineV3Patient:
    a_close_over_polling_releases_the_poll_with_a_noop,
    packets_after_a_close_in_its_payload_are_dropped,
    a_close_that_overtook_the_poll_still_releases_it,
    a_poll_and_a_close_at_once_end_as_the_official_suite_wants,
    a_close_over_websocket_closes_at_once,
    a_closed_websocket_ends_its_session,
}
