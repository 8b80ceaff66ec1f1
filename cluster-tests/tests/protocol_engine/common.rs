//! What the rules of several files need.

use std::time::Duration;

use cluster_tests::deadline::within;
use cluster_tests::messages::{Messages, Received};
use cluster_tests::polling::{Polling, handshake};
use serde_json::{Value, json};

#[track_caller]
pub(crate) fn assert_handshake(packet: &str, upgrades: &Value) {
    let handshake = handshake(packet);
    let sid = handshake.get("sid").and_then(Value::as_str).expect("a sid");
    let urlsafe = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    assert!(sid.len() == 20 && sid.chars().all(urlsafe), "sid {sid:?}");
    let expected = json!({"sid": sid, "upgrades": upgrades, "pingInterval": 300, "pingTimeout": 200, "maxPayload": MAX_PAYLOAD});
    assert_eq!(handshake, expected);
}

pub(crate) fn sid_of(open: &str) -> String {
    handshake(open).get("sid").and_then(Value::as_str).expect("a sid").to_owned()
}

/// The session lives over polling, and takes another probe as soon as the server has seen the end of the last.
pub(crate) async fn assert_session_can_still_move(session: &Polling) {
    session.send("4alive").await;
    assert_eq!(session.packets(1).await, ["4alive"]);
    let probing = async {
        loop {
            let mut ws = session.websocket().await;
            ws.try_send("2probe").await;
            match ws.recv().await {
                Received::Closed(_) => {}
                answer => return (ws, answer),
            }
        }
    };
    let (mut ws, answer) = within("another probe", probing).await;
    assert_eq!(answer, "3probe".into());
    ws.send("5").await;
    ws.send("4moved").await;
    assert_eq!(ws.packet_text().await, "4moved");
}

pub(crate) const MAX_PAYLOAD: usize = 1_000_000;
pub(crate) const PING_INTERVAL: Duration = Duration::from_millis(300);
pub(crate) const PING_TIMEOUT: Duration = Duration::from_millis(200);
/// Timers count whole milliseconds, and the two sides round differently.
pub(crate) const TIMER_SLACK: Duration = Duration::from_millis(5);

pub(crate) const TRANSPORT_UNKNOWN: &str = r#"{"code":0,"message":"Transport unknown"}"#;
pub(crate) const SESSION_UNKNOWN: &str = r#"{"code":1,"message":"Session ID unknown"}"#;
pub(crate) const BAD_METHOD: &str = r#"{"code":2,"message":"Bad handshake method"}"#;
pub(crate) const BAD_REQUEST: &str = r#"{"code":3,"message":"Bad request"}"#;
pub(crate) const UNSUPPORTED_VERSION: &str = r#"{"code":5,"message":"Unsupported protocol version"}"#;
