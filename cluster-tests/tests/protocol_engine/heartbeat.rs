//! The heartbeat.

use cluster_tests::deadline::within;
use cluster_tests::messages::{Messages, Received};
use cluster_tests::on_every_target;
use cluster_tests::target::Target;
use tokio::time::{Instant, interval, sleep_until};

use crate::common::{PING_INTERVAL, PING_TIMEOUT, SESSION_UNKNOWN, TIMER_SLACK};

async fn pings_over_polling_follow_the_pongs(target: Target) {
    let session = target.polling().await;
    for _ in 0..3 {
        let asked = Instant::now();
        assert_eq!(session.poll().await.outcome(), (200, "2"));
        assert!(asked.elapsed() > PING_INTERVAL - PING_TIMEOUT, "after {:?}", asked.elapsed());
        session.send("3").await;
    }
}

async fn pings_over_websocket_follow_the_pongs(target: Target) {
    let mut ws = target.websocket().await;
    for _ in 0..3 {
        assert_eq!(ws.recv_text().await, "2");
        let answered = Instant::now();
        ws.send("3").await;
        assert_eq!(ws.recv_text().await, "2");
        assert!(answered.elapsed() >= PING_INTERVAL - TIMER_SLACK, "after {:?}", answered.elapsed());
        ws.send("3").await;
    }
}

pub(crate) async fn a_websocket_that_does_not_pong_is_closed(target: Target) {
    let mut ws = target.websocket().await;
    assert_eq!(ws.recv_text().await, "2");
    assert_eq!(ws.recv().await, Received::Closed(None));
}

pub(crate) async fn a_polling_client_that_is_silent_loses_its_session(target: Target) {
    let session = target.polling().await;
    session.gone().await;
    assert_eq!(session.poll().await.outcome(), (400, SESSION_UNKNOWN));
}

async fn a_polling_client_that_does_not_pong_is_told_of_the_end(target: Target) {
    let session = target.polling().await;
    assert_eq!(session.poll().await.outcome(), (200, "2"));
    assert_eq!(session.poll().await.outcome(), (200, "1"));
    session.gone().await;
}

async fn another_packet_extends_the_deadline_of_the_pong(target: Target) {
    let mut ws = target.websocket().await;
    assert_eq!(ws.recv_text().await, "2");
    sleep_until(Instant::now() + PING_TIMEOUT / 2).await;
    let sent = Instant::now();
    ws.send("4busy").await;
    assert_eq!(ws.recv_text().await, "4busy");
    assert_eq!(ws.recv().await, Received::Closed(None));
    assert!(sent.elapsed() >= PING_TIMEOUT - TIMER_SLACK, "closed after {:?}", sent.elapsed());
}

async fn other_packets_extend_the_deadline_only_once_per_ping(target: Target) {
    let mut ws = target.websocket().await;
    assert_eq!(ws.recv_text().await, "2");
    let mut ticks = interval(PING_TIMEOUT / 4);
    let talking = async {
        loop {
            ticks.tick().await;
            if !ws.try_send("4busy").await || matches!(ws.recv().await, Received::Closed(_)) {
                break;
            }
        }
    };
    within("the end of a client that talks and does not pong", talking).await;
}

async fn an_unsolicited_pong_delays_the_next_ping(target: Target) {
    let mut ws = target.websocket().await;
    let mut ticks = interval(PING_INTERVAL / 6);
    let mut last = Instant::now();
    for _ in 0..12 {
        ticks.tick().await;
        ws.send("3").await;
        last = Instant::now();
        ws.send("4there?").await;
        match ws.recv_text().await.as_str() {
            "4there?" => {}
            // The measurement is void when the machine was too slow.
            "2" if last.elapsed() >= PING_INTERVAL => return,
            other => panic!("{other:?} {:?} after a pong", last.elapsed()),
        }
    }
    assert_eq!(ws.recv_text().await, "2");
    assert!(last.elapsed() >= PING_INTERVAL - TIMER_SLACK, "after {:?}", last.elapsed());
}

on_every_target! {
    Engine:
    pings_over_polling_follow_the_pongs,
    pings_over_websocket_follow_the_pongs,
    a_websocket_that_does_not_pong_is_closed,
    a_polling_client_that_is_silent_loses_its_session,
    a_polling_client_that_does_not_pong_is_told_of_the_end,
    another_packet_extends_the_deadline_of_the_pong,
    other_packets_extend_the_deadline_only_once_per_ping,
    an_unsolicited_pong_delays_the_next_ping,
}
