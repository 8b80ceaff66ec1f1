//! The upgrade from polling to a WebSocket.

use cluster_tests::deadline::in_time;
use cluster_tests::messages::{Messages, Received};
use cluster_tests::on_every_target;
use cluster_tests::polling::{Polling, upgrade_beside_a_poll};
use cluster_tests::target::Target;
use cluster_tests::websocket::WebSocket;
use tokio::time::Instant;

use crate::common::{BAD_REQUEST, PING_INTERVAL, PING_TIMEOUT, assert_session_can_still_move, sid_of};

async fn a_session_moves_to_websocket(target: Target) {
    let session = target.polling().await;
    let mut ws = session.probe().await;
    assert_eq!(session.poll().await.outcome(), (200, "6"));
    ws.send("5").await;
    ws.send("4hello").await;
    assert_eq!(ws.packet_text().await, "4hello");
}

async fn a_poll_from_before_the_probe_is_released_with_a_noop(target: Target) {
    let session = target.polling().await;
    let poll = session.pending_poll().await;
    let mut ws = session.probe().await;
    assert_eq!(poll.reply().await.outcome(), (200, "6"));
    // And so is every other while the client makes up its mind.
    assert_eq!(session.poll().await.outcome(), (200, "6"));
    ws.send("5").await;
    ws.send("4hello").await;
    assert_eq!(ws.packet_text().await, "4hello");
}

async fn the_upgrade_may_follow_without_a_poll_in_between(target: Target) {
    let session = target.polling().await;
    let mut ws = session.probe().await;
    ws.send("5").await;
    ws.send("4hello").await;
    assert_eq!(ws.packet_text().await, "4hello");
}

async fn until_the_upgrade_everything_flows_over_polling(target: Target) {
    let session = target.polling().await;
    let mut ws = session.probe().await;
    session.send("4before").await;
    assert_eq!(session.packets(1).await, ["4before"]);
    ws.send("5").await;
    ws.send("4after").await;
    assert_eq!(ws.packet_text().await, "4after");
}

async fn heartbeats_keep_to_polling_until_the_upgrade(target: Target) {
    in_time(PING_INTERVAL, async || {
        let opened = Instant::now();
        let session = target.polling().await;
        let mut ws = probe(&target, &session).await.ok_or(opened)?;
        loop {
            match session.poll().await.outcome() {
                (200, "6") => {}
                (200, "2") => break,
                _ => return Err(opened),
            }
        }
        let pong = Instant::now();
        if session.post("3").await.outcome() != (200, "ok") {
            return Err(opened);
        }
        let were_sent = ws.try_send("5").await && ws.try_send("4after").await;
        if were_sent && ws.recv().await == "4after".into() { Ok(()) } else { Err(pong) }
    })
    .await;
}

async fn heartbeats_follow_the_session_to_websocket(target: Target) {
    in_time(PING_INTERVAL + PING_TIMEOUT, async || {
        let mut last = Instant::now();
        let session = target.polling().await;
        let mut ws = probe(&target, &session).await.ok_or(last)?;
        let mut next = "5";
        for _ in 0..2 {
            let sent = Instant::now();
            if !ws.try_send(next).await || ws.recv().await != "2".into() {
                return Err(last);
            }
            (last, next) = (sent, "3");
        }
        Ok(())
    })
    .await;
}

/// Deviation: Node forgives it too, but sends no ping any more until a pong comes.
async fn the_upgrade_cancels_a_pong_that_is_due(target: Target) {
    in_time(PING_INTERVAL + PING_TIMEOUT, async || {
        let opened = Instant::now();
        let session = target.polling().await;
        if session.poll().await.outcome() != (200, "2") {
            return Err(opened);
        }
        let mut ws = probe(&target, &session).await.ok_or(opened)?;
        // A new ping, not the end for the pong that never came.
        if ws.try_send("5").await && ws.recv().await == "2".into() { Ok(()) } else { Err(opened) }
    })
    .await;
}

/// The WebSocket of an upgrade with its probe answered; `None` if the session has ended.
async fn probe(target: &Target, session: &Polling) -> Option<WebSocket> {
    let mut ws = target.upgrade(&session.query("websocket")).await.ok()?;
    ws.try_send("2probe").await;
    (ws.recv().await == "3probe".into()).then_some(ws)
}

async fn packets_queued_at_the_upgrade_follow_on_the_websocket_in_order(target: Target) {
    let session = target.polling().await;
    let mut ws = session.probe().await;
    for message in ["4a", "4b", "bAQIDBA==", "4c"] {
        session.send(message).await;
    }
    ws.send("5").await;
    ws.send("4d").await;
    let expected = ["4a".into(), "4b".into(), Received::Binary(vec![1, 2, 3, 4]), "4c".into(), "4d".into()];
    for message in expected {
        assert_eq!(ws.packet().await, message);
    }
}

/// Deviation: Node answers `1`. But a stateless round-robin load balancer may let a poll that was sent after the `5` overtake it,
/// and to that one the answer is code 3.
async fn a_poll_from_after_the_probe_is_refused_by_the_upgrade(target: Target) {
    let (mut ws, leftover) = upgrade_beside_a_poll(async || {
        let session = target.polling().await;
        let mut ws = session.probe().await;
        // Each waits longer than the one before.
        for _ in 0..5 {
            assert_eq!(session.poll().await.outcome(), (200, "6"));
        }
        let poll = session.pending_poll().await;
        ws.send("5").await;
        (ws, poll.reply().await)
    })
    .await;
    assert_eq!(leftover.outcome(), (400, BAD_REQUEST));
    ws.send("4alive").await;
    assert_eq!(ws.packet_text().await, "4alive");
}

async fn a_poll_that_races_the_upgrade_is_refused(target: Target) {
    let (mut ws, racing) = upgrade_beside_a_poll(async || {
        let session = target.polling().await;
        let mut ws = session.probe().await;
        ws.send("5").await;
        (ws, session.poll().await)
    })
    .await;
    assert_eq!(racing.outcome(), (400, BAD_REQUEST));
    ws.send("4alive").await;
    assert_eq!(ws.packet_text().await, "4alive");
}

async fn http_after_the_upgrade_is_code_3_and_harmless(target: Target) {
    let session = target.polling().await;
    let mut ws = session.upgraded().await;
    assert_eq!(session.poll().await.outcome(), (400, BAD_REQUEST));
    assert_eq!(session.post("4x").await.outcome(), (400, BAD_REQUEST));
    ws.send("4alive").await;
    assert_eq!(ws.packet_text().await, "4alive");
}

async fn a_second_websocket_during_the_upgrade_is_closed(target: Target) {
    let session = target.polling().await;
    let mut ws = session.probe().await;
    assert_eq!(session.websocket().await.closed().await, None);
    ws.send("5").await;
    ws.send("4alive").await;
    assert_eq!(ws.packet_text().await, "4alive");
}

async fn a_second_websocket_after_the_upgrade_is_closed(target: Target) {
    let session = target.polling().await;
    let mut ws = session.upgraded().await;
    assert_eq!(session.websocket().await.closed().await, None);
    ws.send("4alive").await;
    assert_eq!(ws.packet_text().await, "4alive");
}

/// Deviation: Node accepts it and lets it take the session over.
async fn a_second_websocket_of_a_websocket_session_is_closed(target: Target) {
    let mut ws = target.upgrade("EIO=4&transport=websocket").await.expect("accepted");
    let sid = sid_of(&ws.recv_text().await);
    let second = target.upgrade(&format!("EIO=4&transport=websocket&sid={sid}")).await;
    let mut second = second.expect("accepted, then closed");
    second.try_send("2probe").await;
    assert_eq!(second.recv().await, Received::Closed(None));
    ws.send("4alive").await;
    assert_eq!(ws.packet_text().await, "4alive");
}

async fn a_message_before_the_upgrade_ends_the_probe_only(target: Target) {
    for early in ["4early", "2", "abc"] {
        let session = target.polling().await;
        let mut ws = session.probe().await;
        ws.send(early).await;
        assert_eq!(ws.recv().await, Received::Closed(None), "{early}");
        assert_session_can_still_move(&session).await;
    }
}

/// Deviation: Node answers it again.
async fn a_second_probe_on_one_websocket_ends_the_probe_only(target: Target) {
    let session = target.polling().await;
    let mut ws = session.probe().await;
    ws.send("2probe").await;
    assert_eq!(ws.recv().await, Received::Closed(None));
    assert_session_can_still_move(&session).await;
}

async fn a_websocket_that_never_probes_does_not_affect_the_session(target: Target) {
    let session = target.polling().await;
    let mut ws = session.websocket().await;
    ws.send("4early").await;
    assert_eq!(ws.recv().await, Received::Closed(None));
    assert_session_can_still_move(&session).await;
}

async fn a_probe_that_closes_does_not_affect_the_session(target: Target) {
    let session = target.polling().await;
    let mut ws = session.probe().await;
    ws.send_close().await;
    ws.closed().await;
    drop(ws);
    assert_session_can_still_move(&session).await;
}

async fn a_probe_that_breaks_off_does_not_affect_the_session(target: Target) {
    let session = target.polling().await;
    drop(session.probe().await);
    assert_session_can_still_move(&session).await;
}

async fn a_session_that_closes_also_closes_its_probe(target: Target) {
    let session = target.polling().await;
    let mut ws = session.probe().await;
    assert_eq!(session.post("1").await.outcome(), (200, "ok"));
    assert_eq!(ws.recv().await, Received::Closed(None));
}

async fn three_nodes_take_part_in_one_upgrade(target: Target) {
    for (owner, poller, upgrader) in [(0, 1, 2), (1, 2, 0), (2, 0, 1), (0, 0, 1), (0, 1, 0), (0, 1, 1)] {
        let session = target.at(owner).polling().await;
        let poll = session.at(poller).pending_poll().await;
        let mut ws = session.at(upgrader).probe().await;
        assert_eq!(poll.reply().await.outcome(), (200, "6"), "{owner} {poller} {upgrader}");
        session.at(poller).send("4buffered").await;
        ws.send("5").await;
        ws.send("4live").await;
        assert_eq!(ws.packet_text().await, "4buffered", "{owner} {poller} {upgrader}");
        assert_eq!(ws.packet_text().await, "4live", "{owner} {poller} {upgrader}");
        assert_eq!(session.at(poller).poll().await.outcome(), (400, BAD_REQUEST));
    }
}

async fn a_websocket_that_breaks_off_ends_its_session(target: Target) {
    let session = target.polling().await;
    drop(session.upgraded().await);
    session.gone_after_upgrade().await;
}

on_every_target! {
    Engine:
    heartbeats_keep_to_polling_until_the_upgrade,
    heartbeats_follow_the_session_to_websocket,
    the_upgrade_cancels_a_pong_that_is_due,
}

on_every_target! {
    EngineV3Patient:
    a_session_moves_to_websocket,
    a_poll_from_before_the_probe_is_released_with_a_noop,
    the_upgrade_may_follow_without_a_poll_in_between,
    until_the_upgrade_everything_flows_over_polling,
    packets_queued_at_the_upgrade_follow_on_the_websocket_in_order,
    a_poll_from_after_the_probe_is_refused_by_the_upgrade,
    a_poll_that_races_the_upgrade_is_refused,
    http_after_the_upgrade_is_code_3_and_harmless,
    a_second_websocket_during_the_upgrade_is_closed,
    a_second_websocket_after_the_upgrade_is_closed,
    a_second_websocket_of_a_websocket_session_is_closed,
    a_message_before_the_upgrade_ends_the_probe_only,
    a_second_probe_on_one_websocket_ends_the_probe_only,
    a_websocket_that_never_probes_does_not_affect_the_session,
    a_probe_that_closes_does_not_affect_the_session,
    a_probe_that_breaks_off_does_not_affect_the_session,
    a_session_that_closes_also_closes_its_probe,
    three_nodes_take_part_in_one_upgrade,
    a_websocket_that_breaks_off_ends_its_session,
}
