//! The rules of Socket.IO, protocol 5, as a client sees them: the official specification, what the Node implementation
//! does where the specification is silent, and our deliberate deviations (each says so).
//!
//! Every rule is judged on one node and on three nodes behind a stateless round-robin load balancer.
#![expect(clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::time::Duration;

use cluster_tests::{
    deadline::{in_time, within},
    http::Reply,
    messages::{Messages, Received},
    on_every_target,
    polling::{Polling, handshake},
    target::Target,
    websocket::WebSocket,
};
use serde_json::Value;
use tokio::time::Instant;

// --- connect ---

async fn the_main_namespace_is_joined_without_a_payload(target: Target) {
    let mut ws = target.websocket().await;
    ws.send("40").await;
    assert_connected(&ws.packet_text().await, "40");
    assert_eq!(ws.packet_text().await, r#"42["auth",{}]"#);
}

async fn the_main_namespace_is_joined_with_a_payload(target: Target) {
    let mut ws = target.websocket().await;
    ws.send(r#"40{"token":"123"}"#).await;
    assert_connected(&ws.packet_text().await, "40");
    assert_eq!(ws.packet_text().await, r#"42["auth",{"token":"123"}]"#);
}

async fn a_custom_namespace_is_joined_with_or_without_a_payload(target: Target) {
    for (connect, auth) in
        [("40/custom,", "{}"), ("40/custom", "{}"), (r#"40/custom,{"token":"abc"}"#, r#"{"token":"abc"}"#)]
    {
        let mut ws = target.websocket().await;
        ws.send(connect).await;
        assert_connected(&ws.packet_text().await, "40/custom,");
        assert_eq!(ws.packet_text().await, format!(r#"42/custom,["auth",{auth}]"#), "{connect}");
    }
}

async fn the_main_namespace_may_be_named(target: Target) {
    let mut ws = target.websocket().await;
    ws.send("40/,").await;
    assert_connected(&ws.packet_text().await, "40");
    assert_eq!(ws.packet_text().await, r#"42["auth",{}]"#);
}

async fn an_unknown_namespace_is_refused_and_the_connection_stays(target: Target) {
    let mut ws = target.websocket().await;
    ws.send("40/random").await;
    assert_eq!(ws.packet_text().await, r#"44/random,{"message":"Invalid namespace"}"#);
    ws.send("40").await;
    assert_connected(&ws.packet_text().await, "40");
}

async fn a_namespace_is_an_opaque_string(target: Target) {
    let mut ws = target.websocket().await;
    for namespace in ["/custom?x=1", "/Custom", "/custom/", "/a/b"] {
        ws.send(&format!("40{namespace},")).await;
        assert_eq!(ws.packet_text().await, format!(r#"44{namespace},{{"message":"Invalid namespace"}}"#));
    }
}

async fn a_socket_id_differs_from_the_session_id_and_every_other_id(target: Target) {
    let mut ws = target.upgrade("EIO=4&transport=websocket").await.expect("accepted");
    let session = handshake(&ws.recv_text().await);
    ws.send("40").await;
    let main = assert_connected(&ws.packet_text().await, "40");
    assert_eq!(ws.packet_text().await, r#"42["auth",{}]"#);
    ws.send("40/custom").await;
    let custom = assert_connected(&ws.packet_text().await, "40/custom,");
    assert_ne!(main, custom);
    let sid = session.get("sid").and_then(Value::as_str).expect("a sid");
    assert!(main != sid && custom != sid, "the session id is a secret");
}

async fn a_session_may_begin_over_polling(target: Target) {
    let session = target.polling().await;
    session.send(r#"40{"token":"123"}"#).await;
    let packets = session.packets(2).await;
    assert_connected(&packets[0], "40");
    assert_eq!(packets[1], r#"42["auth",{"token":"123"}]"#);
}

/// Deviation: for Node an event before the answer to CONNECT is an invalid state.
async fn an_event_right_behind_connect_finds_its_handler(target: Target) {
    let mut ws = target.websocket().await;
    ws.send_together(&["40", r#"42["message",1]"#]).await;
    assert_connected(&ws.packet_text().await, "40");
    assert_eq!(ws.packet_text().await, r#"42["auth",{}]"#);
    assert_eq!(ws.packet_text().await, r#"42["message-back",1]"#);
}

/// Deviation, as above.
async fn an_event_right_behind_connect_in_one_payload_finds_its_handler(target: Target) {
    let session = target.polling().await;
    session.send("40\x1e42[\"message\",1]\x1e421[\"message-with-ack\",2]").await;
    let packets = session.packets(4).await;
    assert_connected(&packets[0], "40");
    assert_eq!(packets[1..], [r#"42["auth",{}]"#, r#"42["message-back",1]"#, "431[2]"]);
}

async fn without_connect_the_connection_ends_after_a_while(target: Target) {
    let opened = Instant::now();
    let mut ws = target.websocket().await;
    assert_eq!(ws.packet().await, Received::Closed(None));
    assert!(opened.elapsed() >= CONNECT_TIMEOUT, "closed after {:?}", opened.elapsed());
}

async fn without_connect_a_polling_session_is_told_of_the_end(target: Target) {
    let opened = Instant::now();
    let session = target.polling().await;
    assert_eq!(session.packets(1).await, ["1"]);
    assert!(opened.elapsed() >= CONNECT_TIMEOUT - TIMER_SLACK, "closed after {:?}", opened.elapsed());
    session.gone().await;
}

async fn a_graceful_close_waits_for_the_next_poll(target: Target) {
    let (session, told) =
        after_a_graceful_close(&target, None, async |session| Some(session.poll().await)).await;
    assert_eq!(told.outcome(), (200, "6\x1e1"));
    session.gone().await;
}

async fn a_graceful_close_delivers_what_waits_first(target: Target) {
    let (session, told) = after_a_graceful_close(&target, Some("40/random"), async |session| {
        let refusal = r#"44/random,{"message":"Invalid namespace"}"#;
        (session.poll().await.outcome() == (200, refusal)).then_some(session.poll().await)
    })
    .await;
    assert_eq!(told.outcome(), (200, "6\x1e1"));
    session.gone().await;
}

async fn nothing_sent_after_a_graceful_close_is_answered(target: Target) {
    let (_, told) = after_a_graceful_close(&target, None, async |session| {
        session.post("40").await;
        let told = session.poll().await;
        (!told.text().starts_with("40{")).then_some(told)
    })
    .await;
    assert_eq!(told.outcome(), (200, "6\x1e1"));
}

async fn the_connect_timeout_does_not_return_after_the_first_connect(target: Target) {
    let mut ws = connected(&target).await;
    ws.send("41").await;
    ws.send("40/random").await;
    assert!(ws.packet_text().await.starts_with("44/random,"));
    end_of(target.websocket().await).await;
    ws.send("40").await;
    assert_connected(&ws.packet_text().await, "40");
}

async fn heartbeats_follow_the_pongs(target: Target) {
    in_time(PING_INTERVAL + PING_TIMEOUT, async || {
        let mut last = Instant::now();
        let (mut ws, session) = tokio::join!(target.websocket(), target.polling());
        tokio::join!(ws.try_send("40"), session.post("40"));
        for _ in 0..3 {
            let ping = async {
                loop {
                    match ws.recv().await {
                        Received::Text(event) if event.starts_with('4') => {}
                        other => return other,
                    }
                }
            };
            let poll = async {
                loop {
                    let reply = session.poll().await;
                    if !reply.text().starts_with('4') {
                        return reply;
                    }
                }
            };
            let (ping, poll) = tokio::join!(ping, poll);
            if (ping, poll.outcome()) != ("2".into(), (200, "2")) {
                return Err(last);
            }
            let pong = Instant::now();
            let (was_sent, post) = tokio::join!(ws.try_send("3"), session.post("3"));
            if !was_sent || post.outcome() != (200, "ok") {
                return Err(last);
            }
            last = pong;
        }
        Ok(())
    })
    .await;
}

// --- disconnect ---

async fn leaving_the_main_namespace_keeps_the_connection(target: Target) {
    let mut ws = connected(&target).await;
    ws.send("41").await;
    ws.send("40/custom").await;
    assert_connected(&ws.packet_text().await, "40/custom,");
}

async fn a_namespace_can_be_joined_again(target: Target) {
    let session = connected_over_polling(&target).await;
    for _ in 0..3 {
        session.send("41").await;
        session.send("40").await;
        assert_eq!(session.packets(2).await[1], r#"42["auth",{}]"#);
    }
}

/// Deviation: Node takes the CONNECT before it is done with the DISCONNECT, and closes.
async fn a_namespace_can_be_joined_again_at_once(target: Target) {
    let mut ws = connected(&target).await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ws.send_together(&["41", "40"]).await;
        ids.push(assert_connected(&ws.packet_text().await, "40"));
        assert_eq!(ws.packet_text().await, r#"42["auth",{}]"#);
    }
    ids.dedup();
    assert_eq!(ids.len(), 3, "every connect is a new socket");
}

async fn leaving_one_namespace_keeps_the_other(target: Target) {
    let mut ws = connected(&target).await;
    ws.send("40/custom").await;
    assert_connected(&ws.packet_text().await, "40/custom,");
    assert_eq!(ws.packet_text().await, r#"42/custom,["auth",{}]"#);
    ws.send("41/custom").await;
    ws.send(r#"42["message","message to main namespace"]"#).await;
    assert_eq!(ws.packet_text().await, r#"42["message-back","message to main namespace"]"#);
}

// --- events ---

async fn an_event_reaches_its_handler(target: Target) {
    let mut ws = connected(&target).await;
    for arguments in [r#",1,"2",{"3":[true]}"#, "", ",null", r#","€ 😀 \"\\ \n""#, r#",[],{},"""#] {
        ws.send(&format!(r#"42["message"{arguments}]"#)).await;
        assert_eq!(ws.packet_text().await, format!(r#"42["message-back"{arguments}]"#));
    }
}

async fn events_keep_their_order(target: Target) {
    let mut ws = connected(&target).await;
    for n in 0..200 {
        ws.send(&format!(r#"42["message",{n}]"#)).await;
    }
    for n in 0..200 {
        assert_eq!(ws.packet_text().await, format!(r#"42["message-back",{n}]"#));
    }
}

async fn events_over_polling_keep_their_order(target: Target) {
    let session = connected_over_polling(&target).await;
    for n in 0..20 {
        session.send(format!(r#"42["message",{n}]"#)).await;
    }
    let expected: Vec<_> = (0..20).map(|n| format!(r#"42["message-back",{n}]"#)).collect();
    assert_eq!(session.packets(20).await, expected);
}

async fn events_keep_their_order_over_an_upgrade(target: Target) {
    let session = connected_over_polling(&target).await;
    for n in 0..5 {
        session.send(format!(r#"42["message",{n}]"#)).await;
    }
    let mut ws = session.probe().await;
    for n in 5..10 {
        session.send(format!(r#"42["message",{n}]"#)).await;
    }
    ws.send("5").await;
    for n in 10..15 {
        ws.send(&format!(r#"42["message",{n}]"#)).await;
    }
    for n in 0..15 {
        assert_eq!(ws.packet_text().await, format!(r#"42["message-back",{n}]"#));
    }
}

/// Deviation: Node converts numbers to those of JavaScript.
async fn numbers_and_the_order_of_keys_survive(target: Target) {
    let mut ws = connected(&target).await;
    let arguments = r#"{"b":1,"a":[1.0,1e2,12345678901234567890]}"#;
    ws.send(&format!(r#"42["message",{arguments}]"#)).await;
    assert_eq!(ws.packet_text().await, format!(r#"42["message-back",{arguments}]"#));
}

async fn an_unhandled_event_is_harmless(target: Target) {
    let events =
        [r#"["nobody",1]"#, r#"["error","x"]"#, r#"["connection"]"#, "[1,2]", r#"["new_namespace"]"#];
    let mut ws = connected(&target).await;
    for event in events {
        ws.send(&format!("42{event}")).await;
        assert_answers(&mut ws, event).await;
    }
}

async fn an_event_without_a_handler_is_not_acknowledged(target: Target) {
    let mut ws = connected(&target).await;
    ws.send(r#"427["nobody",1]"#).await;
    ws.send(r#"428["message-with-ack",2]"#).await;
    assert_eq!(ws.packet_text().await, "438[2]");
}

async fn a_placeholder_in_a_plain_event_is_plain_data(target: Target) {
    let mut ws = connected(&target).await;
    ws.send(r#"42["message",{"_placeholder":true,"num":0}]"#).await;
    assert_eq!(ws.packet_text().await, r#"42["message-back",{"_placeholder":true,"num":0}]"#);
}

// --- acks ---

async fn an_event_with_an_id_is_acknowledged(target: Target) {
    let mut ws = connected(&target).await;
    ws.send(r#"42456["message-with-ack",1,"2",{"3":[false]}]"#).await;
    assert_eq!(ws.packet_text().await, r#"43456[1,"2",{"3":[false]}]"#);
    ws.send(r#"427["message-with-ack"]"#).await;
    assert_eq!(ws.packet_text().await, "437[]");
}

async fn every_id_up_to_the_largest_safe_integer_is_good(target: Target) {
    let mut ws = connected(&target).await;
    for (sent, answered) in [("0", "0"), ("007", "7"), ("9007199254740991", "9007199254740991")] {
        ws.send(&format!(r#"42{sent}["message-with-ack","x"]"#)).await;
        assert_eq!(ws.packet_text().await, format!(r#"43{answered}["x"]"#));
    }
}

async fn an_unexpected_ack_is_ignored(target: Target) {
    let mut ws = connected(&target).await;
    for ack in ["4399[]", r#"430["x"]"#, "43[]"] {
        ws.send(ack).await;
        assert_answers(&mut ws, ack).await;
    }
}

async fn an_ack_event_without_an_id_is_harmless(target: Target) {
    let mut ws = connected(&target).await;
    ws.send(r#"42["nobody-with-ack",1]"#).await;
    assert_answers(&mut ws, "no id").await;
}

// --- binary ---

async fn attachments_travel_with_their_event(target: Target) {
    let mut ws = connected(&target).await;
    ws.send(r#"452-["message",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#).await;
    ws.send_binary(&[1, 2, 3]).await;
    ws.send_binary(&[4, 5, 6]).await;
    let header = r#"452-["message-back",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#;
    assert_eq!(ws.packet_text().await, header);
    assert_eq!(ws.packet().await, Received::Binary(vec![1, 2, 3]));
    assert_eq!(ws.packet().await, Received::Binary(vec![4, 5, 6]));
}

async fn attachments_travel_with_their_ack(target: Target) {
    let mut ws = connected(&target).await;
    ws.send(r#"452-789["message-with-ack",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#)
        .await;
    ws.send_binary(&[1, 2, 3]).await;
    ws.send_binary(&[4, 5, 6]).await;
    let header = r#"462-789[{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#;
    assert_eq!(ws.packet_text().await, header);
    assert_eq!(ws.packet().await, Received::Binary(vec![1, 2, 3]));
    assert_eq!(ws.packet().await, Received::Binary(vec![4, 5, 6]));
}

async fn attachments_may_be_nested(target: Target) {
    let mut ws = connected(&target).await;
    let arguments = r#"{"a":[{"_placeholder":true,"num":0}],"b":"c"}"#;
    ws.send(&format!(r#"451-["message",{arguments}]"#)).await;
    ws.send_binary(&[9]).await;
    assert_eq!(ws.packet_text().await, format!(r#"451-["message-back",{arguments}]"#));
    assert_eq!(ws.packet().await, Received::Binary(vec![9]));
}

async fn attachments_travel_over_polling(target: Target) {
    let session = connected_over_polling(&target).await;
    let arguments = r#"{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}"#;
    let expected = [format!(r#"452-["message-back",{arguments}]"#), "bAQID".to_owned(), "bBAUG".to_owned()];
    // In one payload, and in three requests.
    session.send(format!("452-[\"message\",{arguments}]\x1ebAQID\x1ebBAUG")).await;
    assert_eq!(session.packets(3).await, expected);
    session.send(format!("452-[\"message\",{arguments}]")).await;
    session.send("bAQID").await;
    session.send("bBAUG").await;
    assert_eq!(session.packets(3).await, expected);
}

async fn ten_attachments_are_allowed(target: Target) {
    let mut ws = connected(&target).await;
    let arguments = placeholders(10);
    ws.send(&format!(r#"4510-["message",{arguments}]"#)).await;
    for n in 0..10 {
        ws.send_binary(&[n]).await;
    }
    assert_eq!(ws.packet_text().await, format!(r#"4510-["message-back",{arguments}]"#));
    for n in 0..10 {
        assert_eq!(ws.packet().await, Received::Binary(vec![n]));
    }
}

async fn attachments_need_not_be_used_once_each(target: Target) {
    let mut ws = connected(&target).await;
    let placeholder = r#"{"_placeholder":true,"num":0}"#;
    ws.send(&format!(r#"451-["message",{placeholder},{placeholder}]"#)).await;
    ws.send_binary(&[1]).await;
    let header = ws.packet_text().await;
    let (count, arguments) =
        header.strip_prefix("45").and_then(|rest| rest.split_once('-')).expect("a binary event");
    let mut attachments = Vec::new();
    for _ in 0..count.parse().expect("a number") {
        attachments.push(ws.packet().await);
    }
    let arguments: Value = serde_json::from_str(arguments).expect("JSON");
    let attachment = |argument: usize| {
        let num = arguments[argument]["num"].as_u64().expect("a placeholder");
        &attachments[usize::try_from(num).expect("a small number")]
    };
    assert_eq!([attachment(1), attachment(2)], [&Received::Binary(vec![1]); 2], "both are the same bytes");

    ws.send(r#"452-["message",1]"#).await;
    ws.send_binary(&[1]).await;
    ws.send_binary(&[2]).await;
    let header = ws.packet_text().await;
    assert!(header.ends_with(r#"["message-back",1]"#), "{header}");
}

async fn heartbeats_may_come_between_attachments(target: Target) {
    let mut ws = connected(&target).await;
    ws.send(r#"451-["message",{"_placeholder":true,"num":0}]"#).await;
    ws.send("3").await;
    ws.send_binary(&[1]).await;
    assert_eq!(ws.packet_text().await, r#"451-["message-back",{"_placeholder":true,"num":0}]"#);
    assert_eq!(ws.packet().await, Received::Binary(vec![1]));
}

// --- what closes the connection ---

async fn a_first_packet_that_is_no_connect_closes(target: Target) {
    for packet in ["4abc", r#"42["message",1]"#, "41", "431[]", "4", r#"44{"message":"x"}"#] {
        let mut ws = target.websocket().await;
        ws.send(packet).await;
        assert_eq!(ws.packet().await, Received::Closed(None), "{packet}");
    }
}

async fn a_connect_with_a_bad_payload_closes(target: Target) {
    for packet in ["40null", "40[]", r#"40"x""#, "40{", "40/custom,[]"] {
        let mut ws = target.websocket().await;
        ws.send(packet).await;
        assert_eq!(ws.packet().await, Received::Closed(None), "{packet}");
    }
}

async fn a_broken_packet_closes(target: Target) {
    let packets = [
        // Unknown type; no type.
        "4abc",
        "49",
        "4",
        // An event must be an array that begins with a name, and not with a reserved one.
        "42{}",
        "42[]",
        "42[true]",
        "42[null]",
        "42[[]]",
        r#"42["message""#,
        r#"42["connect"]"#,
        r#"42["connect_error"]"#,
        r#"42["disconnect"]"#,
        r#"42["disconnecting"]"#,
        r#"42["newListener"]"#,
        r#"42["removeListener"]"#,
        // An id is digits.
        r#"42abc["message-with-ack",1]"#,
        // Payloads of the wrong kind.
        r#"41["x"]"#,
        "431{}",
        r#"431"x""#,
    ];
    for packet in packets {
        let mut ws = connected(&target).await;
        ws.send(packet).await;
        assert_eq!(ws.packet().await, Received::Closed(None), "{packet}");
    }
}

/// Deviation: Node accepts everything that JavaScript converts to a number.
async fn an_id_that_is_no_safe_integer_closes(target: Target) {
    for id in ["9007199254740992", "100000000000000000000", " 1", "-1", "1.5", "+1"] {
        let mut ws = connected(&target).await;
        ws.send(&format!(r#"42{id}["message-with-ack",1]"#)).await;
        assert_eq!(ws.packet().await, Received::Closed(None), "{id:?}");
    }
}

async fn attachments_that_were_not_announced_close(target: Target) {
    let mut ws = connected(&target).await;
    ws.send_binary(&[1]).await;
    assert_eq!(ws.packet().await, Received::Closed(None));
}

async fn text_in_place_of_an_attachment_closes(target: Target) {
    let mut ws = connected(&target).await;
    ws.send(r#"451-["message",{"_placeholder":true,"num":0}]"#).await;
    ws.send(r#"42["message",1]"#).await;
    assert_eq!(ws.packet().await, Received::Closed(None));
}

async fn illegal_numbers_of_attachments_close(target: Target) {
    let eleven = format!(r#"4511-["message",{}]"#, placeholders(11));
    for packet in
        [r#"450-["message"]"#, r#"45-["message"]"#, r#"45["message"]"#, r#"45x-["message"]"#, &eleven]
    {
        let mut ws = connected(&target).await;
        ws.send(packet).await;
        assert_eq!(ws.packet().await, Received::Closed(None), "{packet}");
    }
}

async fn a_placeholder_of_no_attachment_closes(target: Target) {
    for num in ["1", "-1", r#""0""#, "null"] {
        let mut ws = connected(&target).await;
        ws.send(&format!(r#"451-["message",{{"_placeholder":true,"num":{num}}}]"#)).await;
        ws.send_binary(&[1]).await;
        assert_eq!(ws.packet().await, Received::Closed(None), "{num}");
    }
}

/// Deviation: for Node a number is a number, however it is spelled.
async fn a_placeholder_whose_number_is_not_digits_closes(target: Target) {
    for num in ["0.0", "0e1"] {
        let mut ws = connected(&target).await;
        ws.send(&format!(r#"451-["message",{{"_placeholder":true,"num":{num}}}]"#)).await;
        ws.send_binary(&[1]).await;
        assert_eq!(ws.packet().await, Received::Closed(None), "{num}");
    }
}

/// Deviation: Node ignores it.
async fn attachments_of_no_payload_close(target: Target) {
    let mut ws = connected(&target).await;
    ws.send("451-").await;
    ws.try_send("bAQ==").await;
    assert_eq!(ws.packet().await, Received::Closed(None));
}

async fn a_second_connect_closes(target: Target) {
    let mut ws = connected(&target).await;
    ws.send("40").await;
    assert_eq!(ws.packet().await, Received::Closed(None));
}

async fn a_connect_error_of_a_client_closes(target: Target) {
    let mut ws = connected(&target).await;
    ws.send(r#"44{"message":"x"}"#).await;
    assert_eq!(ws.packet().await, Received::Closed(None));
}

async fn a_packet_for_a_namespace_never_joined_closes(target: Target) {
    for packet in [r#"42/custom,["message",1]"#, "41/custom", "43/custom,1[]", r#"42/random,["message",1]"#] {
        let mut ws = connected(&target).await;
        ws.send(packet).await;
        assert_eq!(ws.packet().await, Received::Closed(None), "{packet}");
    }
}

async fn a_broken_packet_over_polling_closes_the_session(target: Target) {
    let session = connected_over_polling(&target).await;
    assert_eq!(session.post("42{}").await.outcome(), (200, "ok"));
    // A poll reports the end; after that the session is unknown.
    within("the end of the session", async { while session.poll().await.status() == 200 {} }).await;
    session.gone().await;
}

async fn invalid_packets_of_one_client_do_not_affect_the_others(target: Target) {
    let mut witness = connected(&target).await;
    let announced = r#"459999999999999999999-["message"]"#;
    for packet in [r#"42["message","\ud800"]"#, announced, "42/", "4/,", "42999999999999999999"] {
        let mut ws = connected(&target).await;
        ws.send(packet).await;
        // The packet may be answered, ignored, or close the connection; the node must not be affected.
        ws.try_send(r#"42["message","end"]"#).await;
        ws.packet().await;
        assert_answers(&mut witness, packet).await;
    }
}

/// Deviation: Node's process ends when the event is emitted again.
async fn an_event_of_ten_thousand_arrays_in_each_other_harms_nobody(target: Target) {
    let (mut witness, mut ws) = tokio::join!(connected(&target), connected(&target));
    ws.send(&format!(r#"42["message",{}{}]"#, "[".repeat(10_000), "]".repeat(10_000))).await;
    ws.packet().await;
    assert_answers(&mut witness, "the arrays").await;
}

// --- what several rules need ---

/// A WebSocket connected to the main namespace; the packets of the connect are read.
async fn connected(target: &Target) -> WebSocket {
    let mut ws = target.websocket().await;
    ws.send("40").await;
    assert_connected(&ws.packet_text().await, "40");
    assert_eq!(ws.packet_text().await, r#"42["auth",{}]"#);
    ws
}

async fn connected_over_polling(target: &Target) -> Polling {
    let session = target.polling().await;
    session.send("40").await;
    assert_eq!(session.packets(2).await[1], r#"42["auth",{}]"#);
    session
}

/// Checks that the packet is CONNECT with a socket id and nothing else, and returns the id.
#[track_caller]
fn assert_connected(packet: &str, prefix: &str) -> String {
    let json = packet.strip_prefix(prefix).unwrap_or_default();
    let payload: serde_json::Map<String, Value> = serde_json::from_str(json)
        .unwrap_or_else(|error| panic!("{prefix}{{\"sid\":…}}, not {packet}: {error}"));
    let sid = payload.get("sid").and_then(Value::as_str).unwrap_or_default();
    assert!(payload.len() == 1 && sid.len() == 20, "{packet}");
    sid.to_owned()
}

/// Checks that the connection is open and that no packet arrives before this ack.
async fn assert_answers(ws: &mut WebSocket, after: &str) {
    ws.send(r#"425["message-with-ack","there?"]"#).await;
    assert_eq!(ws.packet().await, r#"435["there?"]"#.into(), "after {after}");
}

fn placeholders(count: usize) -> String {
    let one = |num| format!(r#"{{"_placeholder":true,"num":{num}}}"#);
    (0..count).map(one).collect::<Vec<_>>().join(",")
}

/// What a session that joins nothing is told after its time was over while nobody polled. The clock is a session that is opened after
/// it, and is closed for the same reason later. Tries again when the machine was too slow for this order: `then` gives nothing, or it
/// was polled in time.
async fn after_a_graceful_close(
    target: &Target,
    before: Option<&'static str>,
    then: impl AsyncFn(&Polling) -> Option<Reply>,
) -> (Polling, Reply) {
    within("a session that ends while nobody polls", async {
        loop {
            let session = target.polling().await;
            if let Some(packet) = before {
                session.post(packet).await;
            }
            end_of(target.websocket().await).await;
            match then(&session).await {
                Some(told) if told.outcome() != (200, "1") => return (session, told),
                _ => {}
            }
        }
    })
    .await
}

async fn end_of(mut clock: WebSocket) {
    assert_eq!(clock.packet().await, Received::Closed(None));
}

const CONNECT_TIMEOUT: Duration = Duration::from_millis(1000);
const PING_INTERVAL: Duration = Duration::from_millis(300);
const PING_TIMEOUT: Duration = Duration::from_millis(200);
/// Timers count whole milliseconds, and the two sides round differently.
const TIMER_SLACK: Duration = Duration::from_millis(5);

on_every_target! { Socket: heartbeats_follow_the_pongs }

on_every_target! {
    SocketV3JoinSoon:
    without_connect_the_connection_ends_after_a_while,
    without_connect_a_polling_session_is_told_of_the_end,
    a_graceful_close_waits_for_the_next_poll,
    a_graceful_close_delivers_what_waits_first,
    nothing_sent_after_a_graceful_close_is_answered,
    the_connect_timeout_does_not_return_after_the_first_connect,
}

on_every_target! {
    SocketV3:
    the_main_namespace_is_joined_without_a_payload,
    the_main_namespace_is_joined_with_a_payload,
    a_custom_namespace_is_joined_with_or_without_a_payload,
    the_main_namespace_may_be_named,
    an_unknown_namespace_is_refused_and_the_connection_stays,
    a_namespace_is_an_opaque_string,
    a_socket_id_differs_from_the_session_id_and_every_other_id,
    a_session_may_begin_over_polling,
    an_event_right_behind_connect_finds_its_handler,
    an_event_right_behind_connect_in_one_payload_finds_its_handler,
    leaving_the_main_namespace_keeps_the_connection,
    a_namespace_can_be_joined_again,
    a_namespace_can_be_joined_again_at_once,
    leaving_one_namespace_keeps_the_other,
    an_event_reaches_its_handler,
    events_keep_their_order,
    events_over_polling_keep_their_order,
    events_keep_their_order_over_an_upgrade,
    numbers_and_the_order_of_keys_survive,
    an_unhandled_event_is_harmless,
    an_event_without_a_handler_is_not_acknowledged,
    a_placeholder_in_a_plain_event_is_plain_data,
    an_event_with_an_id_is_acknowledged,
    every_id_up_to_the_largest_safe_integer_is_good,
    an_unexpected_ack_is_ignored,
    an_ack_event_without_an_id_is_harmless,
    attachments_travel_with_their_event,
    attachments_travel_with_their_ack,
    attachments_may_be_nested,
    attachments_travel_over_polling,
    ten_attachments_are_allowed,
    attachments_need_not_be_used_once_each,
    heartbeats_may_come_between_attachments,
    a_first_packet_that_is_no_connect_closes,
    a_connect_with_a_bad_payload_closes,
    a_broken_packet_closes,
    an_id_that_is_no_safe_integer_closes,
    attachments_that_were_not_announced_close,
    text_in_place_of_an_attachment_closes,
    illegal_numbers_of_attachments_close,
    a_placeholder_of_no_attachment_closes,
    a_placeholder_whose_number_is_not_digits_closes,
    attachments_of_no_payload_close,
    a_second_connect_closes,
    a_connect_error_of_a_client_closes,
    a_packet_for_a_namespace_never_joined_closes,
    a_broken_packet_over_polling_closes_the_session,
    invalid_packets_of_one_client_do_not_affect_the_others,
    an_event_of_ten_thousand_arrays_in_each_other_harms_nobody,
}
