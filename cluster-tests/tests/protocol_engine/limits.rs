//! Limits of polling, and requests that break its rules.

use cluster_tests::deadline::within;
use cluster_tests::on_every_target;
use cluster_tests::target::Target;
use hyper::Method;

use crate::common::{MAX_PAYLOAD, SESSION_UNKNOWN};

async fn a_payload_of_exactly_the_limit_is_taken(target: Target) {
    let session = target.polling().await;
    let message = "4".repeat(MAX_PAYLOAD);
    session.send(message.clone()).await;
    assert!(session.packets(1).await == [message], "the message came back changed");
}

async fn a_payload_over_the_limit_is_413_and_the_session_lives(target: Target) {
    let session = target.polling().await;
    let reply = session.post("4".repeat(MAX_PAYLOAD + 1)).await;
    assert_eq!(reply.outcome(), (413, ""));
    assert_eq!(reply.header("cache-control"), None);
    session.send("4alive").await;
    assert_eq!(session.packets(1).await, ["4alive"]);
}

async fn a_chunked_payload_is_counted_as_it_comes(target: Target) {
    let session = target.polling().await;
    let (body, reply) = session.call(Method::POST).start_slow(None).await;
    // The body never ends: the response arrives with the first byte above the limit.
    for _ in 0..=10 {
        body.send("4".repeat(MAX_PAYLOAD / 10)).await;
    }
    assert_eq!(reply.reply().await.outcome(), (413, ""));
    session.send("4alive").await;
    assert_eq!(session.packets(1).await, ["4alive"]);
}

async fn an_octet_stream_is_400_and_closes(target: Target) {
    let session = target.polling().await;
    let call = session.call(Method::POST).header("content-type", "application/octet-stream");
    assert_eq!(call.body("4x").send().await.outcome(), (400, ""));
    session.gone().await;
}

/// Deviation: Node answers `ok` before it closes.
async fn an_invalid_packet_is_400_and_closes(target: Target) {
    for body in ["abc", "", "\x1e4x", "7"] {
        let session = target.polling().await;
        assert_eq!(session.post(body).await.outcome(), (400, ""), "{body:?}");
        session.gone().await;
    }
}

async fn valid_packets_before_an_invalid_one_do_not_save_the_session(target: Target) {
    let session = target.polling().await;
    session.post("4fine\x1eabc").await;
    session.gone().await;
}

async fn a_ping_of_the_client_is_taken_and_closes(target: Target) {
    let session = target.polling().await;
    assert_eq!(session.post("2").await.outcome(), (200, "ok"));
    session.gone().await;
}

pub(crate) async fn a_second_concurrent_poll_closes_the_session(target: Target) {
    let session = target.polling().await;
    let first = session.pending_poll().await;
    let (second, first) = (session.poll().await, first.reply().await);
    // On a busy machine the one that was sent later may arrive first.
    let mut outcomes = [first.outcome(), second.outcome()];
    outcomes.sort_unstable();
    assert_eq!(outcomes, [(200, "1"), (400, "")]);
    session.gone().await;
    assert_eq!(session.poll().await.outcome(), (400, SESSION_UNKNOWN));
}

/// Deviation: Node resets the connection of the first.
pub(crate) async fn a_second_concurrent_post_closes_the_session(target: Target) {
    let session = target.polling().await;
    let (body, first) = session.pending_post(10).await;
    body.send("4half").await;
    let overlapping = async {
        loop {
            let reply = session.post("4x").await;
            // On a busy machine this one may be over before the first arrives.
            if reply.outcome() != (200, "ok") {
                return reply;
            }
        }
    };
    assert_eq!(within("two POSTs at once", overlapping).await.outcome(), (400, ""));
    assert_eq!(first.reply().await.outcome(), (400, ""));
    session.gone().await;
}

pub(crate) async fn an_aborted_poll_closes_the_session(target: Target) {
    let session = target.polling().await;
    session.gone_when_given_up(async || session.pending_poll().await).await;
    assert_eq!(session.poll().await.outcome(), (400, SESSION_UNKNOWN));
}

async fn an_aborted_post_closes_the_session(target: Target) {
    let session = target.polling().await;
    let post = async || {
        let (body, post) = session.pending_post(10).await;
        body.send("4half").await;
        (post, body)
    };
    session.gone_when_given_up(post).await;
}

async fn a_poll_and_a_post_at_once_are_no_overlap(target: Target) {
    let session = target.polling().await;
    let poll = session.pending_poll().await;
    let (body, post) = session.pending_post(2).await;
    body.send("4").await;
    session.settled().await;
    body.send("x").await;
    assert_eq!(post.reply().await.outcome(), (200, "ok"));
    assert_eq!(poll.reply().await.outcome(), (200, "4x"));
}

async fn requests_of_one_session_may_reach_any_two_nodes(target: Target) {
    for (owner, one, other) in [(0, 1, 2), (1, 2, 0), (2, 0, 1), (0, 0, 1), (0, 1, 1)] {
        let session = target.at(owner).polling().await;
        let poll = session.at(one).pending_poll().await;
        session.at(other).send("4across").await;
        assert_eq!(poll.reply().await.outcome(), (200, "4across"), "{owner} {one} {other}");
        let first = session.at(one).pending_poll().await;
        let (second, first) = (session.at(other).poll().await, first.reply().await);
        let mut outcomes = [first.outcome(), second.outcome()];
        outcomes.sort_unstable();
        assert_eq!(outcomes, [(200, "1"), (400, "")], "{owner} {one} {other}");
    }
}

on_every_target! {
    EngineV3Patient:
    a_payload_of_exactly_the_limit_is_taken,
    a_payload_over_the_limit_is_413_and_the_session_lives,
    a_chunked_payload_is_counted_as_it_comes,
    an_octet_stream_is_400_and_closes,
    an_invalid_packet_is_400_and_closes,
    valid_packets_before_an_invalid_one_do_not_save_the_session,
    a_ping_of_the_client_is_taken_and_closes,
    a_second_concurrent_poll_closes_the_session,
    a_second_concurrent_post_closes_the_session,
    an_aborted_poll_closes_the_session,
    an_aborted_post_closes_the_session,
    a_poll_and_a_post_at_once_are_no_overlap,
    requests_of_one_session_may_reach_any_two_nodes,
}
