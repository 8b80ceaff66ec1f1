//! The rules of Engine.IO, protocol 4, as a client sees them: the official specification, what the Node implementation
//! does where the specification is silent, and our deliberate deviations (each says so).
//!
//! Every rule is judged on one node and on three nodes behind a balancer without memory.
#![expect(clippy::panic, reason = "tests fail by panicking")]

use std::time::Duration;

use cluster_tests::{
    deadline::within,
    http::{InFlight, Reply},
    messages::{Messages, Received},
    on_every_target,
    polling::{Polling, handshake},
    target::Target,
    websocket::WebSocket,
};
use hyper::Method;
use serde_json::{Value, json};
use tokio::time::{Instant, interval, sleep_until};

// --- handshake ---

async fn a_polling_handshake_opens_a_session(target: Target) {
    let reply = target.get("EIO=4&transport=polling").await;
    assert_eq!(reply.status(), 200);
    assert_eq!(reply.header("content-type"), Some("text/plain; charset=UTF-8"));
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    assert_eq!(reply.header("set-cookie"), None);
    assert_handshake(reply.text(), &json!(["websocket"]));
}

async fn a_websocket_handshake_opens_a_session_without_upgrades(target: Target) {
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

// --- refused requests, and which reason wins ---

async fn an_unsupported_version_is_code_5(target: Target) {
    for query in ["transport=polling", "EIO=abc&transport=polling", "EIO=3&transport=polling"] {
        assert_eq!(target.get(query).await.outcome(), (400, UNSUPPORTED_VERSION), "{query}");
    }
}

async fn an_unknown_transport_is_code_0(target: Target) {
    for transport in ["", "&transport=", "&transport=abc", "&transport=webtransport", "&transport=__proto__"]
    {
        let reply = target.get(&format!("EIO=4{transport}")).await;
        assert_eq!(reply.outcome(), (400, TRANSPORT_UNKNOWN), "{transport}");
    }
}

async fn an_unknown_session_is_code_1(target: Target) {
    for sid in ["aaaaaaaaaaaaaaaaaaaa", "x", "..%2F..", "%F0%9F%98%80", &"a".repeat(4000)] {
        let query = format!("EIO=4&transport=polling&sid={sid}");
        assert_eq!(target.get(&query).await.outcome(), (400, SESSION_UNKNOWN), "{sid}");
        let post = target.call(Method::POST, &query).body("4x").send().await;
        assert_eq!(post.outcome(), (400, SESSION_UNKNOWN), "{sid}");
    }
}

async fn a_handshake_by_another_method_is_code_2(target: Target) {
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH] {
        let reply = target.call(method.clone(), "EIO=4&transport=polling").send().await;
        assert_eq!(reply.outcome(), (400, BAD_METHOD), "{method}");
    }
    let head = target.call(Method::HEAD, "EIO=4&transport=polling").send().await;
    assert_eq!(head.outcome(), (400, ""));
}

async fn a_websocket_without_an_upgrade_is_code_3(target: Target) {
    assert_eq!(target.get("EIO=4&transport=websocket").await.outcome(), (400, BAD_REQUEST));
}

async fn another_transport_than_the_sessions_is_code_3(target: Target) {
    let session = target.polling().await;
    assert_eq!(target.get(&session.query("websocket")).await.outcome(), (400, BAD_REQUEST));
    let mut ws = target.upgrade("EIO=4&transport=websocket").await.expect("accepted");
    let query = format!("EIO=4&transport=polling&sid={}", sid_of(&ws.recv_text().await));
    assert_eq!(target.get(&query).await.outcome(), (400, BAD_REQUEST));
    ws.send("4alive").await;
    assert_eq!(ws.packet_text().await, "4alive");
}

async fn another_version_than_the_sessions_is_code_3(target: Target) {
    let session = target.polling().await;
    let query = format!("EIO=3&transport=polling&sid={}", session.sid());
    assert_eq!(target.get(&query).await.outcome(), (400, BAD_REQUEST));
    session.settled().await;
}

async fn an_origin_with_a_control_character_is_refused(target: Target) {
    let uri = target.uri("EIO=4&transport=polling");
    let request = format!("GET {uri} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nOrigin: a\u{1}b\r\n\r\n");
    let answer = target.raw(&request, "\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
}

async fn the_first_reason_of_a_refusal_wins(target: Target) {
    let refused = [
        (Method::GET, "EIO=4&transport=abc&sid=unknown", TRANSPORT_UNKNOWN),
        (Method::POST, "EIO=3", TRANSPORT_UNKNOWN),
        (Method::POST, "EIO=4&transport=polling&sid=unknown", SESSION_UNKNOWN),
        (Method::GET, "EIO=3&transport=websocket&sid=unknown", SESSION_UNKNOWN),
        (Method::POST, "EIO=4&transport=websocket", BAD_METHOD),
        (Method::POST, "EIO=3&transport=polling", BAD_METHOD),
        (Method::GET, "EIO=3&transport=websocket", BAD_REQUEST),
    ];
    for (method, query, body) in refused {
        let reply = target.call(method.clone(), query).send().await;
        assert_eq!(reply.outcome(), (400, body), "{method} {query}");
    }
}

async fn a_refusal_is_json_that_may_be_cached_by_nobodys_order(target: Target) {
    let reply = target.get("EIO=4&transport=polling&sid=unknown").await;
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert_eq!(reply.header("cache-control"), None);
}

async fn a_refused_websocket_gets_the_plain_message_before_any_101(target: Target) {
    // EIO=3 is a deviation: Node answers 101 first and then breaks the WebSocket.
    let refused = [
        ("EIO=4", "Transport unknown"),
        ("EIO=4&transport=abc", "Transport unknown"),
        ("EIO=4&transport=websocket&sid=unknown", "Session ID unknown"),
        ("transport=websocket", "Unsupported protocol version"),
        ("EIO=abc&transport=websocket", "Unsupported protocol version"),
        ("EIO=3&transport=websocket", "Unsupported protocol version"),
    ];
    for (query, message) in refused {
        let reply = target.refusal(query).await;
        assert_eq!(reply.outcome(), (400, message), "{query}");
        assert_eq!(reply.header("content-type"), Some("text/html"), "{query}");
        assert_eq!(reply.header("content-length"), Some(message.len().to_string().as_str()), "{query}");
    }
}

async fn a_websocket_that_says_polling_is_closed(target: Target) {
    let mut ws = target.upgrade("EIO=4&transport=polling").await.expect("accepted, then closed");
    assert_eq!(ws.recv().await, Received::Closed(None));
}

async fn an_unknown_method_of_a_session_is_500_and_harmless(target: Target) {
    let session = target.polling().await;
    for method in [Method::PUT, Method::DELETE, Method::PATCH] {
        assert_eq!(session.call(method.clone()).send().await.outcome(), (500, ""), "{method}");
    }
    session.send("4alive").await;
    assert_eq!(session.packets(1).await, ["4alive"]);
}

// --- CORS (the fixture allows every origin) ---

async fn a_preflight_is_204_and_reflects_the_headers(target: Target) {
    let session = target.polling().await;
    for query in ["EIO=4&transport=polling".to_owned(), session.query("polling")] {
        let call = target.call(Method::OPTIONS, &query).header("origin", "http://example.com");
        let call = call.header("access-control-request-method", "POST");
        let reply = call.header("access-control-request-headers", "x-one, x-two").send().await;
        assert_eq!(reply.outcome(), (204, ""), "{query}");
        assert_eq!(reply.header("access-control-allow-origin"), Some("*"));
        let methods = Some("GET,HEAD,PUT,PATCH,POST,DELETE");
        assert_eq!(reply.header("access-control-allow-methods"), methods);
        assert_eq!(reply.header("access-control-allow-headers"), Some("x-one, x-two"));
        assert_eq!(reply.header("vary"), Some("Access-Control-Request-Headers"));
        assert_eq!(reply.header("access-control-allow-credentials"), None);
    }
    session.settled().await;
}

async fn every_answer_allows_the_origin(target: Target) {
    let session = target.polling().await;
    let answers = [
        ("a handshake", target.get("EIO=4&transport=polling").await),
        ("a POST", session.post("4x").await),
        ("a poll", session.poll().await),
        ("an error", target.get("EIO=4").await),
        ("a payload too large", session.post(vec![b'4'; MAX_PAYLOAD + 1]).await),
        ("a 101", target.websocket().await.opened),
    ];
    for (what, answer) in answers {
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{what}");
        assert_eq!(answer.header("vary"), None, "{what}: the answer is the same for every origin");
        assert_eq!(answer.header("access-control-allow-methods"), None, "{what}: that is for preflights");
    }
}

// --- messages over polling ---

async fn a_post_is_answered_ok(target: Target) {
    let session = target.polling().await;
    let reply = session.post("4hello").await;
    assert_eq!(reply.outcome(), (200, "ok"));
    assert_eq!(reply.header("content-type"), Some("text/html"));
    assert_eq!(reply.header("content-length"), Some("2"));
    assert_eq!(reply.header("cache-control"), Some("no-store"));
}

async fn a_poll_returns_what_waits(target: Target) {
    let session = target.polling().await;
    session.send("4hello").await;
    let reply = session.poll().await;
    assert_eq!(reply.outcome(), (200, "4hello"));
    assert_eq!(reply.header("content-type"), Some("text/plain; charset=UTF-8"));
    assert_eq!(reply.header("cache-control"), Some("no-store"));
}

async fn a_pending_poll_returns_what_comes(target: Target) {
    let session = target.polling().await;
    let poll = session.pending_poll().await;
    session.send("4hello").await;
    assert_eq!(poll.reply().await.outcome(), (200, "4hello"));
}

async fn several_packets_travel_in_one_payload(target: Target) {
    let session = target.polling().await;
    session.send("4test1\x1e4test2\x1e4test3").await;
    assert_eq!(session.poll().await.outcome(), (200, "4test1\x1e4test2\x1e4test3"));
}

async fn binary_is_base64_without_a_type(target: Target) {
    let session = target.polling().await;
    session.send("4hello\x1ebAQIDBA==").await;
    assert_eq!(session.poll().await.outcome(), (200, "4hello\x1ebAQIDBA=="));
}

async fn text_is_utf_8(target: Target) {
    let session = target.polling().await;
    session.send("4€ 😀 \u{1}\u{7f}\"\\").await;
    session.send(b"4\xff\xfeend".to_vec()).await;
    // As in Node, broken UTF-8 is replaced and no error.
    assert_eq!(session.packets(2).await, ["4€ 😀 \u{1}\u{7f}\"\\", "4\u{fffd}\u{fffd}end"]);
}

async fn messages_keep_their_order_over_many_requests(target: Target) {
    let session = target.polling().await;
    let sent: Vec<_> = (0..30).map(|n| format!("4{n}")).collect();
    for message in &sent {
        session.send(message.clone()).await;
    }
    assert_eq!(session.packets(sent.len()).await, sent);
}

async fn packets_of_no_meaning_are_ignored_over_polling(target: Target) {
    let session = target.polling().await;
    session.send("6\x1e5\x1e0\x1e4alive").await;
    assert_eq!(session.packets(1).await, ["4alive"]);
}

async fn old_internet_explorers_are_told_not_to_look_for_attacks(target: Target) {
    let session = target.polling().await;
    for agent in ["Mozilla/4.0 (compatible;MSIE 8.0)", "Mozilla/5.0 (Windows NT 6.1; Trident/7.0)"] {
        let get =
            target.call(Method::GET, "EIO=4&transport=polling").header("user-agent", agent).send().await;
        assert_eq!(get.header("x-xss-protection"), Some("0"), "{agent}");
        let post = session.call(Method::POST).header("user-agent", agent).body("4x").send().await;
        assert_eq!(post.header("x-xss-protection"), Some("0"), "{agent}");
    }
    assert_eq!(session.post("4x").await.header("x-xss-protection"), None);
}

// --- limits and broken requests over polling ---

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
    // Never finished: the answer comes at the byte that is too much.
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

async fn what_is_before_an_invalid_packet_does_not_save_the_session(target: Target) {
    let session = target.polling().await;
    session.post("4fine\x1eabc").await;
    session.gone().await;
}

async fn a_ping_of_the_client_is_taken_and_closes(target: Target) {
    let session = target.polling().await;
    assert_eq!(session.post("2").await.outcome(), (200, "ok"));
    session.gone().await;
}

async fn a_second_concurrent_poll_closes_the_session(target: Target) {
    let session = target.polling().await;
    let first = session.pending_poll().await;
    assert_eq!(session.poll().await.outcome(), (400, ""));
    assert_eq!(first.reply().await.outcome(), (200, "1"));
    session.gone().await;
    assert_eq!(session.poll().await.outcome(), (400, SESSION_UNKNOWN));
}

/// Deviation: Node resets the connection of the first.
async fn a_second_concurrent_post_closes_the_session(target: Target) {
    let session = target.polling().await;
    let (body, first) = session.pending_post(10).await;
    body.send("4half").await;
    assert_eq!(session.post("4x").await.outcome(), (400, ""));
    assert_eq!(first.reply().await.outcome(), (400, ""));
    session.gone().await;
}

async fn an_aborted_poll_closes_the_session(target: Target) {
    let session = target.polling().await;
    session.pending_poll().await.abort();
    session.gone().await;
    assert_eq!(session.poll().await.outcome(), (400, SESSION_UNKNOWN));
}

async fn an_aborted_post_closes_the_session(target: Target) {
    let session = target.polling().await;
    let (body, post) = session.pending_post(10).await;
    body.send("4half").await;
    post.abort();
    session.gone().await;
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

async fn requests_of_one_session_may_come_to_any_two_nodes(target: Target) {
    for (owner, one, other) in [(0, 1, 2), (1, 2, 0), (2, 0, 1), (0, 0, 1), (0, 1, 1)] {
        let session = target.at(owner).polling().await;
        let poll = session.at(one).pending_poll().await;
        session.at(other).send("4across").await;
        assert_eq!(poll.reply().await.outcome(), (200, "4across"), "{owner} {one} {other}");
        let first = session.at(one).pending_poll().await;
        assert_eq!(session.at(other).poll().await.outcome(), (400, ""), "{owner} {one} {other}");
        assert_eq!(first.reply().await.outcome(), (200, "1"), "{owner} {one} {other}");
    }
}

// --- close ---

async fn a_close_over_polling_releases_the_poll_with_a_noop(target: Target) {
    let session = target.polling().await;
    let poll = session.pending_poll().await;
    assert_eq!(session.post("1").await.outcome(), (200, "ok"));
    assert_eq!(poll.reply().await.outcome(), (200, "6"));
    session.gone().await;
    assert_eq!(session.poll().await.outcome(), (400, SESSION_UNKNOWN));
}

async fn what_follows_a_close_in_its_payload_is_dropped(target: Target) {
    let session = target.polling().await;
    let poll = session.pending_poll().await;
    assert_eq!(session.post("1\x1e4late").await.outcome(), (200, "ok"));
    assert_eq!(poll.reply().await.outcome(), (200, "6"));
}

/// Deviation: a balancer without memory may let the close overtake the poll that was sent before it.
async fn a_close_that_overtook_the_poll_still_releases_it(target: Target) {
    let session = target.polling().await;
    assert_eq!(session.post("1").await.outcome(), (200, "ok"));
    assert_eq!(session.poll().await.outcome(), (200, "6"));
    assert_eq!(session.poll().await.outcome(), (400, SESSION_UNKNOWN));
}

async fn a_poll_and_a_close_at_once_end_as_the_official_suite_wants(target: Target) {
    let session = target.polling().await;
    let (poll, close) = tokio::join!(session.poll(), session.post("1"));
    assert_eq!((poll.outcome(), close.outcome()), ((200, "6"), (200, "ok")));
    assert_eq!(session.poll().await.outcome(), (400, SESSION_UNKNOWN));
}

/// Deviation: Node ignores it.
async fn a_close_over_websocket_closes_at_once(target: Target) {
    let mut ws = target.websocket().await;
    ws.send("1").await;
    assert_eq!(ws.recv().await, Received::Closed(None));
}

async fn a_closed_websocket_ends_its_session(target: Target) {
    let mut ws = target.upgrade("EIO=4&transport=websocket").await.expect("accepted");
    let sid = sid_of(&ws.recv_text().await);
    ws.send_close().await;
    ws.closed().await;
    let query = format!("EIO=4&transport=websocket&sid={sid}");
    let ending = async { while target.upgrade(&query).await.is_ok() {} };
    within("the end of a session without its WebSocket", ending).await;
    assert_eq!(target.refusal(&query).await.outcome(), (400, "Session ID unknown"));
}

// --- messages over WebSocket ---

async fn text_over_websocket_is_echoed(target: Target) {
    let mut ws = target.websocket().await;
    for text in ["4hello", "4", "4€ 😀", "4\x1e4"] {
        ws.send(text).await;
        assert_eq!(ws.packet().await, text.into());
    }
}

async fn binary_over_websocket_has_no_type(target: Target) {
    let mut ws = target.websocket().await;
    for bytes in [&[1, 2, 3, 4][..], &[], &[0; 70_000]] {
        ws.send_binary(bytes).await;
        assert_eq!(ws.packet().await, Received::Binary(bytes.to_vec()));
    }
}

async fn base64_in_a_text_frame_is_binary(target: Target) {
    let mut ws = target.websocket().await;
    ws.send("bAQIDBA==").await;
    assert_eq!(ws.packet().await, Received::Binary(vec![1, 2, 3, 4]));
}

async fn b64_asks_for_base64_even_over_websocket(target: Target) {
    let mut ws = target.upgrade("EIO=4&transport=websocket&b64=1").await.expect("accepted");
    assert!(ws.recv_text().await.starts_with("0{"));
    ws.send_binary(&[1, 2, 3, 4]).await;
    assert_eq!(ws.packet().await, "bAQIDBA==".into());
}

async fn a_message_in_fragments_is_one_message(target: Target) {
    let mut ws = target.websocket().await;
    ws.send_text_frame(b"4one, ", true, false).await;
    ws.send_ping(b"between").await;
    ws.send_text_frame(b"two", false, true).await;
    assert_eq!(ws.packet().await, Received::Pong(b"between".to_vec()));
    assert_eq!(ws.packet().await, "4one, two".into());
}

async fn messages_over_websocket_keep_their_order(target: Target) {
    let mut ws = target.websocket().await;
    for n in 0..200 {
        ws.send(&format!("4{n}")).await;
    }
    for n in 0..200 {
        assert_eq!(ws.packet_text().await, format!("4{n}"));
    }
}

async fn a_message_of_exactly_the_limit_is_taken_over_websocket(target: Target) {
    let mut ws = target.websocket().await;
    let message = "4".repeat(MAX_PAYLOAD);
    ws.send(&message).await;
    assert!(ws.packet().await == Received::Text(message), "the message came back changed");
}

async fn a_message_over_the_limit_closes_with_1009(target: Target) {
    let mut ws = target.websocket().await;
    ws.try_send(&"4".repeat(MAX_PAYLOAD + 1)).await;
    assert_eq!(ws.closed().await, Some(1009));
}

async fn broken_utf_8_over_websocket_closes_with_1007(target: Target) {
    let mut ws = target.websocket().await;
    ws.send_text_frame(b"4\xff\xff", true, true).await;
    assert_eq!(ws.closed().await, Some(1007));
}

async fn an_invalid_packet_over_websocket_closes_without_a_code(target: Target) {
    for text in ["abc", "", "7"] {
        let mut ws = target.websocket().await;
        ws.send(text).await;
        assert_eq!(ws.recv().await, Received::Closed(None), "{text:?}");
    }
}

async fn a_ping_of_the_client_closes_its_websocket(target: Target) {
    let mut ws = target.websocket().await;
    ws.send("2").await;
    assert_eq!(ws.recv().await, Received::Closed(None));
}

async fn packets_of_no_meaning_are_ignored_over_websocket(target: Target) {
    let mut ws = target.websocket().await;
    for text in ["0", "5", "6", "4alive"] {
        ws.send(text).await;
    }
    assert_eq!(ws.packet_text().await, "4alive");
}

// --- heartbeat ---

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

async fn a_websocket_that_does_not_pong_is_closed(target: Target) {
    let mut ws = target.websocket().await;
    assert_eq!(ws.recv_text().await, "2");
    assert_eq!(ws.recv().await, Received::Closed(None));
}

async fn a_polling_client_that_is_silent_loses_its_session(target: Target) {
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

async fn another_packet_buys_time_for_the_pong(target: Target) {
    let mut ws = target.websocket().await;
    assert_eq!(ws.recv_text().await, "2");
    sleep_until(Instant::now() + PING_TIMEOUT / 2).await;
    let sent = Instant::now();
    ws.send("4busy").await;
    assert_eq!(ws.recv_text().await, "4busy");
    assert_eq!(ws.recv().await, Received::Closed(None));
    assert!(sent.elapsed() >= PING_TIMEOUT - TIMER_SLACK, "closed after {:?}", sent.elapsed());
}

async fn other_packets_buy_time_only_once_per_ping(target: Target) {
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

async fn an_unsolicited_pong_puts_the_ping_off(target: Target) {
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
            // A machine that slept that long proves nothing.
            "2" if last.elapsed() >= PING_INTERVAL => return,
            other => panic!("{other:?} {:?} after a pong", last.elapsed()),
        }
    }
    assert_eq!(ws.recv_text().await, "2");
    assert!(last.elapsed() >= PING_INTERVAL - TIMER_SLACK, "after {:?}", last.elapsed());
}

// --- upgrade ---

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
    let session = target.polling().await;
    let mut ws = session.probe().await;
    let pinged = async {
        loop {
            match session.poll().await.outcome() {
                (200, "6") => {}
                (200, "2") => break,
                other => panic!("a noop or a ping, not {other:?}"),
            }
        }
    };
    within("a ping over polling", pinged).await;
    session.send("3").await;
    ws.send("5").await;
    ws.send("4after").await;
    assert_eq!(ws.recv_text().await, "4after");
}

async fn heartbeats_follow_the_session_to_websocket(target: Target) {
    let session = target.polling().await;
    let mut ws = session.upgraded().await;
    for _ in 0..2 {
        assert_eq!(ws.recv_text().await, "2");
        ws.send("3").await;
    }
}

/// Deviation: Node forgives it too, but sends no ping any more until a pong comes.
async fn a_pong_that_is_due_is_forgiven_by_the_upgrade(target: Target) {
    let session = target.polling().await;
    assert_eq!(session.poll().await.outcome(), (200, "2"));
    let mut ws = session.probe().await;
    ws.send("5").await;
    assert_eq!(ws.recv_text().await, "2", "a new ping, not the end for the pong that never came");
}

async fn what_waits_at_the_upgrade_follows_on_the_websocket_in_order(target: Target) {
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

async fn a_poll_from_before_the_probe_ends_with_the_upgrade(target: Target) {
    let (mut ws, leftover) = upgrade_under_a_poll(async || {
        let session = target.polling().await;
        let poll = session.pending_poll().await;
        (session.probe().await, poll)
    })
    .await;
    assert_eq!(leftover.outcome(), (200, "1"));
    ws.send("4alive").await;
    assert_eq!(ws.packet_text().await, "4alive");
}

/// Deviation: Node answers `1`. But a balancer without memory may let a poll that was sent after the `5` overtake it,
/// and to that one the answer is code 3.
async fn a_poll_from_after_the_probe_is_refused_by_the_upgrade(target: Target) {
    let (mut ws, leftover) = upgrade_under_a_poll(async || {
        let session = target.polling().await;
        let ws = session.probe().await;
        (ws, session.pending_poll().await)
    })
    .await;
    assert_eq!(leftover.outcome(), (400, BAD_REQUEST));
    ws.send("4alive").await;
    assert_eq!(ws.packet_text().await, "4alive");
}

async fn a_poll_that_races_the_upgrade_is_refused(target: Target) {
    let session = target.polling().await;
    let mut ws = session.probe().await;
    ws.send("5").await;
    assert_eq!(session.poll().await.outcome(), (400, BAD_REQUEST));
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

async fn a_websocket_that_never_probes_harms_nothing(target: Target) {
    let session = target.polling().await;
    let mut ws = session.websocket().await;
    ws.send("4early").await;
    assert_eq!(ws.recv().await, Received::Closed(None));
    assert_session_can_still_move(&session).await;
}

async fn a_probe_that_says_goodbye_harms_nothing(target: Target) {
    let session = target.polling().await;
    let mut ws = session.probe().await;
    ws.send_close().await;
    ws.closed().await;
    drop(ws);
    assert_session_can_still_move(&session).await;
}

async fn a_probe_that_breaks_off_harms_nothing(target: Target) {
    let session = target.polling().await;
    drop(session.probe().await);
    assert_session_can_still_move(&session).await;
}

async fn a_session_that_closes_takes_its_probe_along(target: Target) {
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

// --- what several rules need ---

#[track_caller]
fn assert_handshake(packet: &str, upgrades: &Value) {
    let handshake = handshake(packet);
    let sid = handshake.get("sid").and_then(Value::as_str).expect("a sid");
    let urlsafe = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    assert!(sid.len() == 20 && sid.chars().all(urlsafe), "sid {sid:?}");
    let expected = json!({"sid": sid, "upgrades": upgrades, "pingInterval": 300, "pingTimeout": 200, "maxPayload": MAX_PAYLOAD});
    assert_eq!(handshake, expected);
}

fn sid_of(open: &str) -> String {
    handshake(open).get("sid").and_then(Value::as_str).expect("a sid").to_owned()
}

/// Upgrades with a poll pending, before the noop releases it 100 ms after the probe; tries again when the machine was
/// too slow for that.
async fn upgrade_under_a_poll(prepare: impl AsyncFn() -> (WebSocket, InFlight)) -> (WebSocket, Reply) {
    within("an upgrade within 100 ms of its probe", async {
        loop {
            let (mut ws, poll) = prepare().await;
            ws.send("5").await;
            let leftover = poll.reply().await;
            if leftover.outcome() != (200, "6") {
                return (ws, leftover);
            }
        }
    })
    .await
}

/// The session lives over polling, and takes another probe as soon as the server has seen the end of the last.
async fn assert_session_can_still_move(session: &Polling) {
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

const MAX_PAYLOAD: usize = 1_000_000;
const PING_INTERVAL: Duration = Duration::from_millis(300);
const PING_TIMEOUT: Duration = Duration::from_millis(200);
/// Timers count whole milliseconds, and the two sides round differently.
const TIMER_SLACK: Duration = Duration::from_millis(5);

const TRANSPORT_UNKNOWN: &str = r#"{"code":0,"message":"Transport unknown"}"#;
const SESSION_UNKNOWN: &str = r#"{"code":1,"message":"Session ID unknown"}"#;
const BAD_METHOD: &str = r#"{"code":2,"message":"Bad handshake method"}"#;
const BAD_REQUEST: &str = r#"{"code":3,"message":"Bad request"}"#;
const UNSUPPORTED_VERSION: &str = r#"{"code":5,"message":"Unsupported protocol version"}"#;

on_every_target! {
    Engine:
    a_polling_handshake_opens_a_session,
    a_websocket_handshake_opens_a_session_without_upgrades,
    every_session_has_an_id_of_its_own,
    a_websocket_is_accepted_as_rfc_6455_says,
    any_path_below_the_protocol_path_is_served,
    the_path_ends_with_a_slash,
    an_unsupported_version_is_code_5,
    an_unknown_transport_is_code_0,
    an_unknown_session_is_code_1,
    a_handshake_by_another_method_is_code_2,
    a_websocket_without_an_upgrade_is_code_3,
    another_transport_than_the_sessions_is_code_3,
    another_version_than_the_sessions_is_code_3,
    an_origin_with_a_control_character_is_refused,
    the_first_reason_of_a_refusal_wins,
    a_refusal_is_json_that_may_be_cached_by_nobodys_order,
    a_refused_websocket_gets_the_plain_message_before_any_101,
    a_websocket_that_says_polling_is_closed,
    an_unknown_method_of_a_session_is_500_and_harmless,
    a_preflight_is_204_and_reflects_the_headers,
    every_answer_allows_the_origin,
    a_post_is_answered_ok,
    a_poll_returns_what_waits,
    a_pending_poll_returns_what_comes,
    several_packets_travel_in_one_payload,
    binary_is_base64_without_a_type,
    text_is_utf_8,
    messages_keep_their_order_over_many_requests,
    packets_of_no_meaning_are_ignored_over_polling,
    old_internet_explorers_are_told_not_to_look_for_attacks,
    a_payload_of_exactly_the_limit_is_taken,
    a_payload_over_the_limit_is_413_and_the_session_lives,
    a_chunked_payload_is_counted_as_it_comes,
    an_octet_stream_is_400_and_closes,
    an_invalid_packet_is_400_and_closes,
    what_is_before_an_invalid_packet_does_not_save_the_session,
    a_ping_of_the_client_is_taken_and_closes,
    a_second_concurrent_poll_closes_the_session,
    a_second_concurrent_post_closes_the_session,
    an_aborted_poll_closes_the_session,
    an_aborted_post_closes_the_session,
    a_poll_and_a_post_at_once_are_no_overlap,
    requests_of_one_session_may_come_to_any_two_nodes,
    a_close_over_polling_releases_the_poll_with_a_noop,
    what_follows_a_close_in_its_payload_is_dropped,
    a_close_that_overtook_the_poll_still_releases_it,
    a_poll_and_a_close_at_once_end_as_the_official_suite_wants,
    a_close_over_websocket_closes_at_once,
    a_closed_websocket_ends_its_session,
    text_over_websocket_is_echoed,
    binary_over_websocket_has_no_type,
    base64_in_a_text_frame_is_binary,
    b64_asks_for_base64_even_over_websocket,
    a_message_in_fragments_is_one_message,
    messages_over_websocket_keep_their_order,
    a_message_of_exactly_the_limit_is_taken_over_websocket,
    a_message_over_the_limit_closes_with_1009,
    broken_utf_8_over_websocket_closes_with_1007,
    an_invalid_packet_over_websocket_closes_without_a_code,
    a_ping_of_the_client_closes_its_websocket,
    packets_of_no_meaning_are_ignored_over_websocket,
    pings_over_polling_follow_the_pongs,
    pings_over_websocket_follow_the_pongs,
    a_websocket_that_does_not_pong_is_closed,
    a_polling_client_that_is_silent_loses_its_session,
    a_polling_client_that_does_not_pong_is_told_of_the_end,
    another_packet_buys_time_for_the_pong,
    other_packets_buy_time_only_once_per_ping,
    an_unsolicited_pong_puts_the_ping_off,
    a_session_moves_to_websocket,
    a_poll_from_before_the_probe_is_released_with_a_noop,
    the_upgrade_may_follow_without_a_poll_in_between,
    until_the_upgrade_everything_flows_over_polling,
    heartbeats_keep_to_polling_until_the_upgrade,
    heartbeats_follow_the_session_to_websocket,
    a_pong_that_is_due_is_forgiven_by_the_upgrade,
    what_waits_at_the_upgrade_follows_on_the_websocket_in_order,
    a_poll_from_before_the_probe_ends_with_the_upgrade,
    a_poll_from_after_the_probe_is_refused_by_the_upgrade,
    a_poll_that_races_the_upgrade_is_refused,
    http_after_the_upgrade_is_code_3_and_harmless,
    a_second_websocket_during_the_upgrade_is_closed,
    a_second_websocket_after_the_upgrade_is_closed,
    a_second_websocket_of_a_websocket_session_is_closed,
    a_message_before_the_upgrade_ends_the_probe_only,
    a_websocket_that_never_probes_harms_nothing,
    a_probe_that_says_goodbye_harms_nothing,
    a_probe_that_breaks_off_harms_nothing,
    a_session_that_closes_takes_its_probe_along,
    three_nodes_take_part_in_one_upgrade,
    a_websocket_that_breaks_off_ends_its_session,
}

/// The same server speaks Engine.IO under Socket.IO: what does not depend on an echo holds there as well.
mod under_socket_io {
    use super::*;

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
        let session = target.polling().await;
        let mut ws = session.probe().await;
        ws.send("5").await;
        assert_eq!(session.poll().await.outcome(), (400, BAD_REQUEST));
        assert_eq!(ws.recv_text().await, "2");
    }

    async fn a_second_websocket_during_the_upgrade_closes_under_socket_io(target: Target) {
        let session = target.polling().await;
        let mut ws = session.probe().await;
        assert_eq!(session.websocket().await.closed().await, None);
        ws.send("5").await;
        assert_eq!(ws.recv_text().await, "2");
    }
}
