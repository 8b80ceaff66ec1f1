//! The heartbeat.

use cluster_tests::deadline::{in_time, within};
use cluster_tests::messages::{Messages, Received};
use cluster_tests::on_every_target;
use cluster_tests::target::Target;
use tokio::time::{Instant, interval, sleep_until};

use crate::common::{PING_INTERVAL, PING_TIMEOUT, SESSION_UNKNOWN, TIMER_SLACK};

async fn pings_over_polling_follow_the_pongs(target: Target) {
    in_time(PING_INTERVAL + PING_TIMEOUT, async || {
        let mut last = Instant::now();
        let session = target.polling().await;
        for _ in 0..3 {
            if session.poll().await.outcome() != (200, "2") {
                return Err(last);
            }
            assert!(last.elapsed() >= PING_INTERVAL - TIMER_SLACK, "after {:?}", last.elapsed());
            let pong = Instant::now();
            if session.post("3").await.outcome() != (200, "ok") {
                return Err(last);
            }
            last = pong;
        }
        Ok(())
    })
    .await;
}

async fn pings_over_websocket_follow_the_pongs(target: Target) {
    in_time(PING_INTERVAL + PING_TIMEOUT, async || {
        let mut last = Instant::now();
        let mut ws = target.websocket().await;
        for _ in 0..6 {
            if ws.recv().await != "2".into() {
                return Err(last);
            }
            assert!(last.elapsed() >= PING_INTERVAL - TIMER_SLACK, "after {:?}", last.elapsed());
            let pong = Instant::now();
            if !ws.try_send("3").await {
                return Err(last);
            }
            last = pong;
        }
        Ok(())
    })
    .await;
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
    in_time(PING_INTERVAL + PING_TIMEOUT, async || {
        let opened = Instant::now();
        let session = target.polling().await;
        let (ping, end) = (session.poll().await, session.poll().await);
        if (ping.outcome(), end.outcome()) != ((200, "2"), (200, "1")) {
            return Err(opened);
        }
        session.gone().await;
        Ok(())
    })
    .await;
}

async fn another_packet_extends_the_deadline_of_the_pong(target: Target) {
    in_time(PING_INTERVAL + PING_TIMEOUT, async || {
        let opened = Instant::now();
        let mut ws = target.websocket().await;
        assert_eq!(ws.recv_text().await, "2");
        sleep_until(Instant::now() + PING_TIMEOUT / 2).await;
        let sent = Instant::now();
        if !ws.try_send("4busy").await || ws.recv().await != "4busy".into() {
            return Err(opened);
        }
        assert_eq!(ws.recv().await, Received::Closed(None));
        assert!(sent.elapsed() >= PING_TIMEOUT - TIMER_SLACK, "closed after {:?}", sent.elapsed());
        Ok(())
    })
    .await;
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
    in_time(PING_INTERVAL - TIMER_SLACK, async || {
        let mut last = Instant::now();
        let mut ws = target.websocket().await;
        let mut ticks = interval(PING_INTERVAL / 6);
        for _ in 0..12 {
            ticks.tick().await;
            let pong = Instant::now();
            let were_sent = ws.try_send("3").await && ws.try_send("4there?").await;
            if !were_sent || ws.recv().await != "4there?".into() {
                return Err(last);
            }
            last = pong;
        }
        assert_eq!(ws.recv_text().await, "2");
        assert!(last.elapsed() >= PING_INTERVAL - TIMER_SLACK, "after {:?}", last.elapsed());
        Ok(())
    })
    .await;
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
