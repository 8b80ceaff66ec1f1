//! The rules for clients of Engine.IO 3 (Socket.IO 1 and 2), where they are allowed: the official specification, what the
//! Node implementation does where the specification is silent, and our deliberate deviations (each says so). What is not
//! here is as in version 4.
//!
//! Every rule is judged on one node and on three nodes behind a stateless round-robin load balancer.
#![expect(clippy::panic, reason = "tests fail by panicking")]

use std::time::Duration;

use cluster_tests::{
    app::connected,
    deadline::{in_time, within},
    http::Reply,
    messages::{Messages, Received},
    nodes::Nodes,
    on_every_target,
    polling::{Polling, handshake, upgrade_beside_a_poll},
    target::Target,
    websocket::WebSocket,
};
use hyper::Method;
use serde_json::{Value, json};
use socketmesh::{Node, Socket, engine, namespace, socket};
use tokio::time::{Instant, sleep};

// --- handshake ---

async fn a_polling_handshake_is_a_packet_with_its_length(target: Target) {
    let reply = target.get("EIO=3&transport=polling").await;
    assert_eq!(reply.status(), 200);
    assert_eq!(reply.header("content-type"), Some("text/plain; charset=UTF-8"));
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    let (length, packet) = reply.text().split_once(':').expect("a length");
    assert_eq!(length, packet.len().to_string());
    assert_handshake(packet, &json!(["websocket"]));
}

async fn a_websocket_handshake_opens_a_session_without_upgrades(target: Target) {
    let mut ws = target.upgrade("EIO=3&transport=websocket").await.expect("accepted");
    assert_handshake(&ws.recv_text().await, &json!([]));
}

async fn a_handshake_without_version_4_is_one_of_version_3(target: Target) {
    for version in ["EIO=3", "EIO=abc", "EIO=5", "x=4"] {
        let reply = target.get(&format!("{version}&transport=polling")).await;
        assert_eq!(reply.status(), 200, "{version}");
        assert!(reply.text().contains(":0{"), "{version}: {}", reply.text());
        let mut ws = target.upgrade(&format!("{version}&transport=websocket")).await.expect("accepted");
        ws.recv_text().await;
        ws.send("2").await;
        assert_eq!(ws.recv_text().await, "3", "{version}");
    }
}

async fn clients_of_version_4_are_served_as_well(target: Target) {
    let session = target.polling().await;
    session.send("4hello\x1ebAQIDBA==").await;
    assert_eq!(session.packets(2).await, ["4hello", "bAQIDBA=="]);
    let mut ws = target.websocket().await;
    ws.send_binary(&[1, 2]).await;
    assert_eq!(ws.packet().await, Received::Binary(vec![1, 2]));
    ws.send("2").await;
    assert_eq!(ws.closed().await, None);
}

async fn a_wrong_handshake_is_refused_as_in_version_4(target: Target) {
    for query in ["EIO=3", "EIO=3&transport=abc"] {
        assert_eq!(target.get(query).await.outcome(), (400, TRANSPORT_UNKNOWN), "{query}");
        assert_eq!(target.refusal(query).await.outcome(), (400, "Transport unknown"), "{query}");
    }
    let post = target.call(Method::POST, "EIO=3&transport=polling").send().await;
    assert_eq!(post.outcome(), (400, BAD_METHOD));
    assert_eq!(target.get("EIO=3&transport=polling&sid=unknown").await.outcome(), (400, SESSION_UNKNOWN));
}

async fn another_version_than_the_sessions_is_code_3(target: Target) {
    let old = polling(&target).await;
    let new = target.polling().await;
    for (session, version) in [(&old, 4), (&new, 3)] {
        let query = format!("EIO={version}&transport=polling&sid={}", session.sid());
        assert_eq!(target.get(&query).await.outcome(), (400, BAD_REQUEST), "{version}");
        session.settled().await;
    }
}

// --- payloads ---

async fn a_packet_follows_its_length(target: Target) {
    let session = polling(&target).await;
    let post = session.post("6:4hello").await;
    assert_eq!(post.outcome(), (200, "ok"));
    assert_eq!(post.header("content-type"), Some("text/html"));
    let poll = session.poll().await;
    assert_eq!(poll.outcome(), (200, "6:4hello"));
    assert_eq!(poll.header("content-type"), Some("text/plain; charset=UTF-8"));
}

async fn several_packets_travel_in_one_payload(target: Target) {
    let session = polling(&target).await;
    session.send("6:4test16:4test26:4test3").await;
    assert_eq!(session.poll().await.outcome(), (200, "6:4test16:4test26:4test3"));
}

async fn a_length_counts_utf16_code_units(target: Target) {
    let session = polling(&target).await;
    session.send("5:4€😀é3:4\x1e:").await;
    assert_eq!(session.poll().await.outcome(), (200, "5:4€😀é3:4\x1e:"));
}

async fn bytes_are_base64_behind_their_type_for_clients_that_ask(target: Target) {
    let session = Polling::open_v3(&target, "&b64=1").await;
    session.send("6:4hello10:b4AQIDBA==").await;
    let poll = session.poll().await;
    assert_eq!(poll.outcome(), (200, "6:4hello10:b4AQIDBA=="));
    assert_eq!(poll.header("content-type"), Some("text/plain; charset=UTF-8"));
}

async fn a_payload_with_bytes_is_bytes_for_the_others(target: Target) {
    let session = polling(&target).await;
    session.send("6:4hello10:b4AQIDBA==").await;
    let poll = session.poll().await;
    assert_eq!(poll.header("content-type"), Some("application/octet-stream"));
    let hello = [0, 6, 255, b'4', b'h', b'e', b'l', b'l', b'o'];
    assert_eq!(poll.bytes(), [&hello[..], &[1, 5, 255, 4, 1, 2, 3, 4]].concat());
    session.send("2:4x").await;
    assert_eq!(session.poll().await.outcome(), (200, "2:4x"), "without bytes it is text");
}

async fn a_payload_of_bytes_may_be_posted(target: Target) {
    let session = polling(&target).await;
    let bytes = [&[0, 4, 255][..], "4€".as_bytes(), &[1, 1, 2, 255, 4], &[7; 11]].concat();
    assert_eq!(post_bytes(&session, bytes.clone()).await.outcome(), (200, "ok"));
    assert_eq!(session.poll().await.bytes(), bytes);
}

async fn a_payload_of_exactly_the_limit_is_taken(target: Target) {
    let session = polling(&target).await;
    // 8 + 999 990 + 2 bytes; the length counts characters.
    let message = format!("333333:4{}xx", "€".repeat(333_330));
    session.send(message.clone()).await;
    assert!(session.poll().await.text() == message, "the message came back changed");
}

async fn an_invalid_payload_is_400_and_closes(target: Target) {
    for body in ["abc", "", "4hello", "7:4hello", "2:4a2:x", "1:7", "3:bQQ"] {
        let session = polling(&target).await;
        assert_eq!(session.post(body).await.outcome(), (400, ""), "{body:?}");
        session.gone().await;
    }
    for body in [&b""[..], b"6:4hello", &[0, 9, 255, b'4'], &[1, 2, 255, 1, 1]] {
        let session = polling(&target).await;
        assert_eq!(post_bytes(&session, body.to_vec()).await.outcome(), (400, ""), "{body:?}");
        session.gone().await;
    }
}

async fn a_second_concurrent_poll_closes_the_session(target: Target) {
    let session = polling(&target).await;
    let first = session.pending_poll().await;
    let (second, first) = (session.poll().await, first.reply().await);
    // On a busy machine the one that was sent later may arrive first.
    let mut outcomes = [first.outcome(), second.outcome()];
    outcomes.sort_unstable();
    assert_eq!(outcomes, [(200, "1:1"), (400, "")]);
    session.gone().await;
}

// --- WebSocket ---

async fn text_over_websocket_has_no_length(target: Target) {
    let mut ws = websocket(&target).await;
    for text in ["4hello", "4", "4€ 😀"] {
        ws.send(text).await;
        assert_eq!(ws.recv_text().await, text);
    }
}

async fn bytes_over_websocket_begin_with_their_type(target: Target) {
    let mut ws = websocket(&target).await;
    for bytes in [&[4, 1, 2, 3, 4][..], &[4], &[4; 126], &[4; 70_000]] {
        ws.send_binary(bytes).await;
        assert_eq!(ws.recv().await, Received::Binary(bytes.to_vec()));
    }
    ws.send("b4AQIDBA==").await;
    assert_eq!(ws.recv().await, Received::Binary(vec![4, 1, 2, 3, 4]));
}

async fn b64_asks_for_base64_even_over_websocket(target: Target) {
    let mut ws = target.upgrade("EIO=3&transport=websocket&b64=1").await.expect("accepted");
    ws.recv_text().await;
    ws.send_binary(&[4, 1, 2, 3, 4]).await;
    assert_eq!(ws.recv_text().await, "b4AQIDBA==");
}

async fn an_invalid_packet_over_websocket_closes(target: Target) {
    for text in ["abc", "", "bAQID"] {
        let mut ws = websocket(&target).await;
        ws.send(text).await;
        assert_eq!(ws.recv().await, Received::Closed(None), "{text:?}");
    }
    for bytes in [&[][..], &[1, 2, 3], b"4hello"] {
        let mut ws = websocket(&target).await;
        ws.send_binary(bytes).await;
        assert_eq!(ws.recv().await, Received::Closed(None), "{bytes:?}");
    }
}

// --- heartbeat: the client pings ---

async fn a_ping_over_polling_is_answered(target: Target) {
    let session = polling(&target).await;
    for _ in 0..2 {
        session.send("1:2").await;
        assert_eq!(session.poll().await.outcome(), (200, "1:3"));
    }
    let poll = session.pending_poll().await;
    session.send("1:2").await;
    assert_eq!(poll.reply().await.outcome(), (200, "1:3"));
}

/// Deviation: Node forgets the data.
async fn a_ping_over_polling_is_answered_with_its_data(target: Target) {
    let session = polling(&target).await;
    session.send("4:2abc").await;
    assert_eq!(session.poll().await.outcome(), (200, "4:3abc"));
}

/// Deviation, as above.
async fn a_ping_over_websocket_is_answered_with_its_data(target: Target) {
    let mut ws = websocket(&target).await;
    for (ping, pong) in [("2", "3"), ("2abc", "3abc"), ("2probe", "3probe")] {
        ws.send(ping).await;
        assert_eq!(ws.recv_text().await, pong);
    }
}

async fn a_silent_session_ends_after_interval_and_timeout(target: Target) {
    let opened = Instant::now();
    let mut ws = websocket(&target).await;
    assert_eq!(ws.recv().await, Received::Closed(None), "and the server pings nobody");
    assert!(opened.elapsed() > Duration::from_millis(400), "{:?}", opened.elapsed());
    in_time(Duration::from_millis(500), async || {
        let opened = Instant::now();
        let session = polling(&target).await;
        if session.poll().await.outcome() != (200, "1:1") {
            return Err(opened);
        }
        session.gone().await;
        Ok(())
    })
    .await;
}

/// Deviation: for Node only pings count; the specification counts every packet.
async fn any_packet_keeps_a_session_alive(target: Target) {
    in_time(Duration::from_millis(500), async || {
        let mut last = Instant::now();
        let mut ws = websocket(&target).await;
        for packet in ["4a", "6", "4b", "2"] {
            sleep(Duration::from_millis(300)).await;
            let sent = Instant::now();
            let is_open =
                ws.try_send(packet).await && (packet == "6" || matches!(ws.recv().await, Received::Text(_)));
            if !is_open {
                return Err(last);
            }
            last = sent;
        }
        Ok(())
    })
    .await;
}

async fn a_pong_of_the_client_closes_the_session(target: Target) {
    let session = polling(&target).await;
    assert_eq!(session.post("1:3").await.outcome(), (200, "ok"));
    session.gone().await;
    let mut ws = websocket(&target).await;
    ws.send("3").await;
    assert_eq!(ws.recv().await, Received::Closed(None));
}

/// Deviation: Node queues as many pongs as there are pings.
async fn one_pong_waits_however_often_a_client_pings(target: Target) {
    let session = polling(&target).await;
    session.send("1:2".repeat(1000)).await;
    session.send("2:4x").await;
    session.send("1:2".repeat(1000)).await;
    assert_eq!(session.poll().await.outcome(), (200, "1:32:4x"));
}

// --- close ---

async fn a_close_over_polling_releases_the_poll_with_a_noop(target: Target) {
    let session = polling(&target).await;
    let (poll, close) = tokio::join!(session.poll(), session.post("1:12:4late"));
    assert_eq!((poll.outcome(), close.outcome()), ((200, "1:6"), (200, "ok")));
    assert_eq!(session.poll().await.outcome(), (400, SESSION_UNKNOWN));
}

async fn a_close_over_websocket_closes_at_once(target: Target) {
    let mut ws = websocket(&target).await;
    ws.send("1").await;
    assert_eq!(ws.recv().await, Received::Closed(None));
}

// --- upgrade ---

async fn a_session_moves_to_websocket(target: Target) {
    let session = polling(&target).await;
    let mut ws = session.probe().await;
    assert_eq!(session.poll().await.outcome(), (200, "1:6"));
    ws.send("5").await;
    ws.send("4hello").await;
    assert_eq!(ws.recv_text().await, "4hello");
    ws.send("2").await;
    assert_eq!(ws.recv_text().await, "3");
}

async fn packets_queued_at_the_upgrade_follow_on_the_websocket(target: Target) {
    let session = polling(&target).await;
    session.send("2:4a10:b4AQIDBA==").await;
    let mut ws = session.probe().await;
    ws.send("5").await;
    assert_eq!(ws.recv_text().await, "4a");
    assert_eq!(ws.recv().await, Received::Binary(vec![4, 1, 2, 3, 4]));
}

/// Old clients in Node.js poll for base64, and take bytes over WebSocket.
async fn b64_counts_for_the_transport_that_asked(target: Target) {
    let session = Polling::open_v3(&target, "&b64=1").await;
    let mut ws = session.probe().await;
    ws.send("5").await;
    ws.send("b4AQIDBA==").await;
    assert_eq!(ws.recv().await, Received::Binary(vec![4, 1, 2, 3, 4]));
    let session = polling(&target).await;
    let mut ws = target.upgrade(&format!("{}&b64=1", session.query("websocket"))).await.expect("accepted");
    ws.send("2probe").await;
    assert_eq!(ws.recv_text().await, "3probe");
    ws.send("5").await;
    ws.send_binary(&[4, 1, 2, 3, 4]).await;
    assert_eq!(ws.recv_text().await, "b4AQIDBA==");
}

async fn requests_after_the_upgrade_are_refused_and_harmless(target: Target) {
    let ((session, mut ws), racing) = upgrade_beside_a_poll(async || {
        let session = polling(&target).await;
        let mut ws = session.probe().await;
        ws.send("5").await;
        let racing = session.poll().await;
        ((session, ws), racing)
    })
    .await;
    assert_eq!(racing.outcome(), (400, BAD_REQUEST));
    assert_eq!(session.websocket().await.closed().await, None);
    ws.send("4hello").await;
    assert_eq!(ws.recv_text().await, "4hello");
}

async fn three_nodes_take_part_in_one_session(target: Target) {
    for (owner, poller, other) in [(0, 1, 2), (1, 2, 0), (2, 0, 1)] {
        let session = polling(&target.at(owner)).await;
        let poll = session.at(poller).pending_poll().await;
        session.at(other).send("8:b4AQIDBA").await;
        assert_eq!(poll.reply().await.bytes(), [1, 5, 255, 4, 1, 2, 3, 4]);
        assert_eq!(post_bytes(&session.at(other), vec![0, 2, 255, b'4', b'x']).await.outcome(), (200, "ok"));
        assert_eq!(session.at(poller).poll().await.outcome(), (200, "2:4x"));
        let mut ws = session.at(other).probe().await;
        assert_eq!(session.at(poller).poll().await.outcome(), (200, "1:6"));
        ws.send("5").await;
        ws.send_binary(&[4, 1]).await;
        assert_eq!(ws.recv().await, Received::Binary(vec![4, 1]), "{owner} {poller} {other}");
    }
}

// --- JSONP ---

async fn with_j_a_payload_is_a_script(target: Target) {
    let reply = target.get("EIO=3&transport=polling&b64=1&j=7").await;
    assert_eq!(reply.status(), 200);
    assert_eq!(reply.header("content-type"), Some("text/javascript; charset=UTF-8"));
    assert_eq!(reply.header("x-xss-protection"), Some("0"));
    let payload = argument(&reply, "7");
    let (_, packet) = payload.split_once(':').expect("a length");
    assert!(packet.starts_with("0{"), "{packet}");

    let session = Polling::opened_v3(&target, reply.text());
    let post = post_form(&session, "d=6%3A4hello10:b4AQIDBA%3D%3D").await;
    assert_eq!(post.outcome(), (200, "ok"));
    assert_eq!(post.header("content-type"), Some("text/html"));
    assert_eq!(session.poll().await.text(), r#"___eio[7]("6:4hello10:b4AQIDBA==");"#);
}

async fn a_script_is_escaped_and_a_form_unescaped(target: Target) {
    let session = Polling::open_v3(&target, "&j=0").await;
    post_form(&session, r"d=9:4%22\n%5C%5Cn%E2%80%A8%E2%80%A9%3C/").await;
    assert_eq!(session.poll().await.text(), r#"___eio[0]("9:4\"\n\\n\u2028\u2029</");"#);
}

async fn only_the_digits_of_j_count(target: Target) {
    let reply = target.get("EIO=3&transport=polling&j=1](alert(2));//3").await;
    assert!(argument(&reply, "123").contains(":0{"), "{}", reply.text());
}

async fn scripts_get_bytes_as_base64_only_and_post_forms_only(target: Target) {
    let session = Polling::open_v3(&target, "&j=0").await;
    post_form(&session, "d=8:b4AQIDBA").await;
    assert_eq!(session.poll().await.text(), r#"___eio[0]("10:b4AQIDBA==");"#);
    assert_eq!(post_bytes(&session, vec![0, 2, 255, b'4', b'x']).await.outcome(), (400, ""));
    session.gone().await;
    for form in ["x=1", "", "6:4hello"] {
        let session = Polling::open_v3(&target, "&j=0").await;
        assert_eq!(post_form(&session, form).await.outcome(), (400, ""), "{form:?}");
        session.gone().await;
    }
}

async fn scripts_release_polls_and_upgrade(target: Target) {
    let session = Polling::open_v3(&target, "&j=3").await;
    let mut ws = session.probe().await;
    assert_eq!(session.poll().await.text(), r#"___eio[3]("1:6");"#);
    ws.send("5").await;
    ws.send_binary(&[4, 1]).await;
    assert_eq!(ws.recv().await, Received::Binary(vec![4, 1]));
    let session = Polling::open_v3(&target, "&j=3").await;
    let poll = session.pending_poll().await;
    let (poll, _close) = tokio::join!(poll.reply(), post_form(&session, "d=1:1"));
    assert_eq!(poll.text(), r#"___eio[3]("1:6");"#);
}

async fn clients_of_version_4_may_use_scripts_too(target: Target) {
    let reply = target.get("EIO=4&transport=polling&j=0").await;
    assert_handshake(&argument(&reply, "0"), &json!(["websocket"]));
}

// Rules about the heartbeat need the timings of the suite.
on_every_target! {
    EngineV3:
    a_polling_handshake_is_a_packet_with_its_length,
    a_websocket_handshake_opens_a_session_without_upgrades,
    clients_of_version_4_may_use_scripts_too,
    a_silent_session_ends_after_interval_and_timeout,
    any_packet_keeps_a_session_alive,
}

on_every_target! {
    EngineV3Patient:
    a_handshake_without_version_4_is_one_of_version_3,
    clients_of_version_4_are_served_as_well,
    a_wrong_handshake_is_refused_as_in_version_4,
    another_version_than_the_sessions_is_code_3,
    a_packet_follows_its_length,
    several_packets_travel_in_one_payload,
    a_length_counts_utf16_code_units,
    bytes_are_base64_behind_their_type_for_clients_that_ask,
    a_payload_with_bytes_is_bytes_for_the_others,
    a_payload_of_bytes_may_be_posted,
    a_payload_of_exactly_the_limit_is_taken,
    an_invalid_payload_is_400_and_closes,
    a_second_concurrent_poll_closes_the_session,
    text_over_websocket_has_no_length,
    bytes_over_websocket_begin_with_their_type,
    b64_asks_for_base64_even_over_websocket,
    an_invalid_packet_over_websocket_closes,
    a_ping_over_polling_is_answered,
    a_ping_over_polling_is_answered_with_its_data,
    a_ping_over_websocket_is_answered_with_its_data,
    a_pong_of_the_client_closes_the_session,
    one_pong_waits_however_often_a_client_pings,
    a_close_over_polling_releases_the_poll_with_a_noop,
    a_close_over_websocket_closes_at_once,
    a_session_moves_to_websocket,
    packets_queued_at_the_upgrade_follow_on_the_websocket,
    b64_counts_for_the_transport_that_asked,
    requests_after_the_upgrade_are_refused_and_harmless,
    three_nodes_take_part_in_one_session,
    with_j_a_payload_is_a_script,
    a_script_is_escaped_and_a_form_unescaped,
    only_the_digits_of_j_count,
    scripts_get_bytes_as_base64_only_and_post_forms_only,
    scripts_release_polls_and_upgrade,
}

mod where_version_3_is_not_allowed {
    use super::*;

    /// Deviation: Node answers with scripts even where version 3 is not allowed.
    async fn without_version_3_no_client_gets_a_script(target: Target) {
        let reply = target.get("EIO=4&transport=polling&j=0").await;
        assert_handshake(reply.text(), &json!(["websocket"]));
    }

    async fn version_3_is_code_5(target: Target) {
        let unsupported = r#"{"code":5,"message":"Unsupported protocol version"}"#;
        assert_eq!(target.get("EIO=3&transport=polling&j=0").await.outcome(), (400, unsupported));
    }

    on_every_target! { Engine: without_version_3_no_client_gets_a_script, version_3_is_code_5 }
}

/// Protocol 4 of Socket.IO, which these clients speak.
mod under_socket_io {
    use super::*;

    async fn the_main_namespace_is_joined_without_asking(target: Target) {
        joined_polling(&target, "").await;
        let mut ws = joined(&target).await;
        assert_eq!(ws.recv_text().await, r#"42["auth",{}]"#);
    }

    async fn a_namespace_may_carry_a_query_as_its_auth_payload(target: Target) {
        let mut ws = joined(&target).await;
        ws.recv_text().await;
        for (connect, auth) in [
            ("40/custom?token=a%20b&x=1,", r#"{"token":"a b","x":"1"}"#),
            ("40/custom,", "{}"),
            ("40/custom", "{}"),
        ] {
            ws.send(connect).await;
            assert_eq!(ws.recv_text().await, "40/custom,", "{connect}: no payload in the answer");
            assert_eq!(ws.recv_text().await, format!(r#"42/custom,["auth",{auth}]"#), "{connect}");
            ws.send("41/custom?token=a,").await;
            ws.send(r#"420["message-with-ack"]"#).await;
            assert_eq!(ws.recv_text().await, "430[]");
        }
    }

    /// Deviation: Node reads it as a URL, with `%22`.
    async fn a_namespace_is_text_as_for_other_clients(target: Target) {
        let mut ws = joined(&target).await;
        ws.recv_text().await;
        ws.send("40/a\"b?c=d,").await;
        assert_eq!(ws.recv_text().await, r#"44/a"b,{"message":"Invalid namespace"}"#);
    }

    async fn a_payload_of_connect_means_nothing(target: Target) {
        let mut ws = joined(&target).await;
        ws.recv_text().await;
        ws.send(r#"40/guarded,{"word":"please"}"#).await;
        assert_eq!(ws.recv_text().await, r#"44/guarded,"invalid auth""#);
    }

    async fn a_refusal_is_one_value(target: Target) {
        let mut ws = joined(&target).await;
        ws.recv_text().await;
        for (connect, refusal) in [
            ("40/random", r#"44/random,{"message":"Invalid namespace"}"#),
            ("40/random?a=b,", r#"44/random,{"message":"Invalid namespace"}"#),
            ("40/guarded,", r#"44/guarded,"invalid auth""#),
            ("40/guarded?word=sesame,", "44/guarded,6"),
            ("40/guarded?word=please,", "40/guarded,"),
        ] {
            ws.send(connect).await;
            assert_eq!(ws.recv_text().await, refusal, "{connect}");
        }
    }

    async fn events_and_acks_are_as_in_protocol_5(target: Target) {
        let mut ws = joined(&target).await;
        ws.recv_text().await;
        ws.send(r#"42["message",1,"2",{"a":[]}]"#).await;
        assert_eq!(ws.recv_text().await, r#"42["message-back",1,"2",{"a":[]}]"#);
        ws.send(r#"4207["message-with-ack","€"]"#).await;
        assert_eq!(ws.recv_text().await, r#"437["€"]"#);
    }

    async fn attachments_are_as_in_protocol_5(target: Target) {
        let placeholder = r#"{"_placeholder":true,"num":0}"#;
        let mut ws = joined(&target).await;
        ws.recv_text().await;
        ws.send(&format!(r#"451-["message",{placeholder}]"#)).await;
        ws.send_binary(&[4, 1, 2, 3]).await;
        assert_eq!(ws.recv_text().await, format!(r#"451-["message-back",{placeholder}]"#));
        assert_eq!(ws.recv().await, Received::Binary(vec![4, 1, 2, 3]));

        let session = joined_polling(&target, "&b64=1").await;
        let event = format!(r#"451-9["message-with-ack",{placeholder}]"#);
        session.send(format!("{}:{event}6:b4AQID", event.len())).await;
        let ack = format!("461-9[{placeholder}]");
        assert_eq!(session.poll().await.outcome(), (200, &*format!("{}:{ack}6:b4AQID", ack.len())));
    }

    async fn a_protocol_violation_closes_the_connection(target: Target) {
        for packet in ["40", "44\"x\"", r#"42/custom,["message"]"#, "4x"] {
            let mut ws = joined(&target).await;
            ws.recv_text().await;
            ws.send(packet).await;
            assert_eq!(ws.recv().await, Received::Closed(None), "{packet}");
        }
    }

    async fn the_connect_timeout_does_not_close_a_joined_client(target: Target) {
        let mut ws = joined(&target).await;
        ws.recv_text().await;
        // `connect_timeout` is one second.
        for _ in 0..5 {
            sleep(Duration::from_millis(300)).await;
            ws.send("2").await;
            assert_eq!(ws.recv_text().await, "3");
        }
    }

    /// Deviation: in Node the ids of these clients are made of their session ids, which are secrets. They know no other,
    /// but on the server a socket has its own id, and only that reaches it.
    async fn the_id_that_a_client_makes_of_its_session_reaches_nobody(target: Target) {
        let session = Polling::open_v3(&target, "&b64=1").await;
        let sid = session.sid().to_owned();
        let mut one = session.probe().await;
        one.send("5").await;
        one.send("40/rooms,").await;
        while one.recv_text().await != "40/rooms," {}
        one.send(r#"42/rooms,0["whoami"]"#).await;
        let answer = one.recv_text().await;
        let id: Vec<String> =
            serde_json::from_str(answer.strip_prefix("43/rooms,0").expect("an ack")).expect("an id");
        let id = id.first().expect("one argument");
        assert!(!id.contains(&sid) && id.len() == 20, "{id}");

        let mut other = joined(&target).await;
        other.recv_text().await;
        other.send("40/rooms,").await;
        assert_eq!(other.recv_text().await, "40/rooms,");
        for (n, to) in [&*sid, &*format!("/rooms#{sid}"), id].into_iter().enumerate() {
            other.send(&format!(r#"42/rooms,{n}["direct","{to}","{n}"]"#)).await;
            assert_eq!(other.recv_text().await, format!("43/rooms,{n}[]"));
        }
        assert_eq!(one.recv_text().await, r#"42/rooms,["direct","2"]"#);
    }

    /// Where the application says so they reach it, from every node and in every namespace, as in Node.
    #[tokio::test]
    async fn with_version_2_ids_the_id_that_a_client_makes_of_its_session_reaches_it() {
        let reaching = |_| {
            let engine = engine::Config::default().allow_eio3(true);
            let socket = socket::Config::default().version_2_ids(true);
            let builder = Node::builder().engine(engine).socket(socket);
            let alone = async |socket: Socket, (): ()| {
                socket.leave(socket.rooms());
                Ok(socket.rooms().len())
            };
            builder
                .namespace(namespace("/").on("alone", alone))
                .namespace(namespace("/rooms").on("alone", alone))
        };
        for count in [1, 3] {
            let nodes = Nodes::start(count, reaching).await;
            let session = Polling::open_v3(&nodes.target, "&b64=1").await;
            let sid = session.sid().to_owned();
            let mut old = session.probe().await;
            old.send("5").await;
            old.send("40/rooms,").await;
            while old.recv_text().await != "40/rooms," {}
            for (path, ack) in [("", "431[1]"), ("/rooms,", "43/rooms,1[1]")] {
                old.send(&format!(r#"42{path}1["alone"]"#)).await;
                assert_eq!(old.recv_text().await, ack, "it cannot be left");
            }
            let mut new = nodes.target.websocket().await;
            new.send("40").await;
            let other = connected(&new.packet_text().await, "/");

            for (n, node) in nodes.nodes.iter().enumerate() {
                let (main, rooms) = (node.of("/"), node.of("/rooms"));
                for to in [&*sid, &*format!("/rooms#{sid}"), &*other] {
                    main.to(to).emit("main", &n).expect("it encodes");
                    rooms.to(to).emit("rooms", &n).expect("it encodes");
                }
                let mut heard = [old.recv_text().await, old.recv_text().await];
                heard.sort();
                assert_eq!(heard, [format!(r#"42/rooms,["rooms",{n}]"#), format!(r#"42["main",{n}]"#)]);
                assert_eq!(new.packet_text().await, format!(r#"42["main",{n}]"#), "it has one id");
                let found = main.to(&sid).fetch_sockets().await.found;
                let [socket] = &found[..] else { panic!("one socket, not {found:?}") };
                assert_eq!(socket.rooms, [socket.id], "a secret is in no list");
                assert_eq!(main.all_rooms().await.found.len(), 2);
            }
            drop(old);
            let left = || async { nodes.nodes[0].of("/").all_rooms().await.found == [other.as_str()] };
            let gone = async {
                while !left().await {
                    tokio::task::yield_now().await;
                }
            };
            within("its rooms to be gone", gone).await;
        }
    }

    async fn clients_of_every_version_meet_in_a_room(target: Target) {
        let mut old = joined(&target).await;
        old.recv_text().await;
        let polling = joined_polling(&target, "").await;
        let mut new = target.websocket().await;
        for ws in [&mut old, &mut new] {
            ws.send("40/rooms,").await;
            assert!(ws.packet_text().await.starts_with("40/rooms,"));
            // A join that another node was too busy to confirm in time is told so, and is asked for again.
            let joining = async {
                let mut answer = String::new();
                while answer != "43/rooms,0[[]]" {
                    ws.send(r#"42/rooms,0["join","all"]"#).await;
                    answer = ws.packet_text().await;
                    assert!(answer.starts_with("43/rooms,0[["), "{answer}");
                }
            };
            within("a join that every node has confirmed", joining).await;
        }
        polling.send("9:40/rooms,").await;
        within("the namespace", async { while !polling.poll().await.text().contains("40/rooms,") {} }).await;
        let joining = async {
            let mut answer = String::new();
            while answer != "14:43/rooms,0[[]]" {
                polling.send(r#"24:42/rooms,0["join","all"]"#).await;
                answer = polling.poll().await.text().to_owned();
                assert!(answer.contains(":43/rooms,0[["), "{answer}");
            }
        };
        within("a join that every node has confirmed", joining).await;

        let event = r#"51-/rooms,["msg",{"_placeholder":true,"num":0}]"#;
        let emit = r#"451-/rooms,["msg","all",{"_placeholder":true,"num":0}]"#;
        new.send(emit).await;
        new.send_binary(&[1, 2]).await;
        assert_eq!(old.recv_text().await, format!("4{event}"));
        assert_eq!(old.recv().await, Received::Binary(vec![4, 1, 2]));
        let text = [b"4", event.as_bytes()].concat();
        let length = text.len().to_string().bytes().map(|digit| digit - b'0').collect::<Vec<_>>();
        let wanted = [&[0], &*length, &[255], &*text, &[1, 3, 255, 4, 1, 2]].concat();
        assert_eq!(polling.poll().await.bytes(), wanted);
        old.send(emit).await;
        old.send_binary(&[4, 1, 2]).await;
        assert_eq!(new.packet_text().await, format!("4{event}"));
        assert_eq!(new.packet().await, Received::Binary(vec![1, 2]));
    }

    /// A session over WebSocket that is in the main namespace.
    async fn joined(target: &Target) -> WebSocket {
        let mut ws = websocket(target).await;
        assert_eq!(ws.recv_text().await, "40");
        ws
    }

    /// A session over polling that is in the main namespace and was greeted there.
    async fn joined_polling(target: &Target, more: &str) -> Polling {
        let opened = target.get(&format!("EIO=3&transport=polling{more}")).await;
        let session = Polling::opened_v3(target, opened.text());
        let mut received = opened.text().to_owned();
        let greeting = async {
            while !received.contains("auth") {
                received.push_str(session.poll().await.text());
            }
        };
        within("the greeting", greeting).await;
        assert!(received.ends_with(r#"}2:4013:42["auth",{}]"#), "{received}");
        session
    }

    on_every_target! {
        SocketV3:
        the_main_namespace_is_joined_without_asking,
        a_namespace_may_carry_a_query_as_its_auth_payload,
        a_namespace_is_text_as_for_other_clients,
        a_payload_of_connect_means_nothing,
        a_refusal_is_one_value,
        events_and_acks_are_as_in_protocol_5,
        attachments_are_as_in_protocol_5,
        a_protocol_violation_closes_the_connection,
        the_id_that_a_client_makes_of_its_session_reaches_nobody,
        clients_of_every_version_meet_in_a_room,
    }

    on_every_target! { SocketV3JoinSoon: the_connect_timeout_does_not_close_a_joined_client }

    /// Not even if no `auth` has to decide.
    async fn the_answer_to_a_polling_handshake_holds_nothing_else(target: Target) {
        for version in [3, 4] {
            let reply = target.get(&format!("EIO={version}&transport=polling")).await;
            assert!(reply.text().ends_with('}'), "{}", reply.text());
        }
        let session = polling(&target).await;
        assert_eq!(session.poll().await.outcome(), (200, "2:40"));
    }

    #[tokio::test]
    async fn where_the_main_namespace_is_not_served_the_others_can_be_joined() {
        let only = |_| {
            let config = engine::Config::default().allow_eio3(true);
            Node::builder().engine(config).namespace(namespace("/only"))
        };
        for count in [1, 3] {
            let nodes = Nodes::start(count, only).await;
            let query = "EIO=3&transport=websocket";
            let mut ws = nodes.target.upgrade(query).await.expect("accepted");
            ws.recv_text().await;
            ws.send("40/only,").await;
            assert_eq!(ws.recv_text().await, "40/only,");
            ws.send(r#"42["message"]"#).await;
            assert_eq!(ws.recv().await, Received::Closed(None));
        }
    }

    mod without_auth {
        use super::*;

        on_every_target! { Bench: the_answer_to_a_polling_handshake_holds_nothing_else }
    }
}

// --- what the rules share ---

/// A session over polling that takes bytes.
async fn polling(target: &Target) -> Polling {
    Polling::open_v3(target, "").await
}

/// A session over WebSocket; its handshake is read.
async fn websocket(target: &Target) -> WebSocket {
    let mut ws = target.upgrade("EIO=3&transport=websocket").await.expect("accepted");
    let open = ws.recv_text().await;
    assert!(open.starts_with("0{"), "a session begins with its handshake, not {open}");
    ws
}

async fn post_bytes(session: &Polling, body: Vec<u8>) -> Reply {
    session.call(Method::POST).header("content-type", "application/octet-stream").body(body).send().await
}

async fn post_form(session: &Polling, form: &'static str) -> Reply {
    let call = session.call(Method::POST).header("content-type", "application/x-www-form-urlencoded");
    call.body(form).send().await
}

/// The argument that a script passes to callback `j`.
fn argument(reply: &Reply, j: &str) -> String {
    let script = reply.text();
    let json = script.strip_prefix(&format!("___eio[{j}](")).and_then(|rest| rest.strip_suffix(");"));
    let json = json.unwrap_or_else(|| panic!("a script for callback {j}, not {script}"));
    serde_json::from_str(json).unwrap_or_else(|error| panic!("a string of JavaScript, not {json}: {error}"))
}

fn assert_handshake(packet: &str, upgrades: &Value) {
    let handshake = handshake(packet);
    let sid = handshake.get("sid").and_then(Value::as_str).unwrap_or_default();
    assert_eq!(sid.len(), 20, "{handshake}");
    let wanted = json!({
        "sid": sid, "upgrades": upgrades, "pingInterval": 300, "pingTimeout": 200, "maxPayload": 1_000_000,
    });
    assert_eq!(handshake, wanted);
}

const TRANSPORT_UNKNOWN: &str = r#"{"code":0,"message":"Transport unknown"}"#;
const SESSION_UNKNOWN: &str = r#"{"code":1,"message":"Session ID unknown"}"#;
const BAD_METHOD: &str = r#"{"code":2,"message":"Bad handshake method"}"#;
const BAD_REQUEST: &str = r#"{"code":3,"message":"Bad request"}"#;
