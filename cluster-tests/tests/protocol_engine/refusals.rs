//! Refused requests, and which failed check decides.

use cluster_tests::messages::{Messages, Received};
use cluster_tests::on_every_target;
use cluster_tests::target::Target;
use hyper::Method;

use crate::common::{
    BAD_METHOD, BAD_REQUEST, SESSION_UNKNOWN, TRANSPORT_UNKNOWN, UNSUPPORTED_VERSION, sid_of,
};

pub(crate) async fn an_unsupported_version_is_code_5(target: Target) {
    for query in ["transport=polling", "EIO=abc&transport=polling", "EIO=3&transport=polling"] {
        assert_eq!(target.get(query).await.outcome(), (400, UNSUPPORTED_VERSION), "{query}");
    }
}

pub(crate) async fn an_unknown_transport_is_code_0(target: Target) {
    for transport in ["", "&transport=", "&transport=abc", "&transport=webtransport", "&transport=__proto__"]
    {
        let reply = target.get(&format!("EIO=4{transport}")).await;
        assert_eq!(reply.outcome(), (400, TRANSPORT_UNKNOWN), "{transport}");
    }
}

pub(crate) async fn an_unknown_session_is_code_1(target: Target) {
    for sid in ["aaaaaaaaaaaaaaaaaaaa", "x", "..%2F..", "%F0%9F%98%80", &"a".repeat(4000)] {
        let query = format!("EIO=4&transport=polling&sid={sid}");
        assert_eq!(target.get(&query).await.outcome(), (400, SESSION_UNKNOWN), "{sid}");
        let post = target.call(Method::POST, &query).body("4x").send().await;
        assert_eq!(post.outcome(), (400, SESSION_UNKNOWN), "{sid}");
    }
}

pub(crate) async fn a_handshake_by_another_method_is_code_2(target: Target) {
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

async fn a_header_with_a_control_character_is_refused(target: Target) {
    let uri = target.uri("EIO=4&transport=polling");
    let request = format!("GET {uri} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nOrigin: a\u{1}b\r\n\r\n");
    let answer = target.raw(&request, "\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
}

async fn the_first_failed_check_decides_the_refusal(target: Target) {
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

async fn a_refusal_is_json_without_cache_headers(target: Target) {
    let reply = target.get("EIO=4&transport=polling&sid=unknown").await;
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert_eq!(reply.header("cache-control"), None);
}

/// Deviation: Node sends it in chunks.
async fn a_refusal_says_how_long_it_is(target: Target) {
    let reply = target.get("EIO=4&transport=polling&sid=unknown").await;
    assert_eq!(reply.header("content-length"), Some(SESSION_UNKNOWN.len().to_string().as_str()));
}

pub(crate) async fn a_refused_websocket_gets_the_plain_message_before_any_101(target: Target) {
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

/// Deviation: Node names the header, and not the origin.
async fn a_refused_websocket_allows_the_origin_and_is_a_bad_request(target: Target) {
    let reply = target.refusal("EIO=4").await;
    assert_eq!(reply.header("access-control-allow-origin"), Some("*"));
    let call = target.call(Method::GET, "EIO=4&transport=websocket").header("connection", "Upgrade");
    let reply = call.header("upgrade", "websocket").header("sec-websocket-version", "13").send().await;
    assert_eq!(reply.outcome(), (400, "Bad request"), "without a key");
}

/// Deviation: for Node the last one counts.
async fn a_parameter_that_is_repeated_counts_as_missing(target: Target) {
    for (query, body) in [
        ("EIO=4&transport=polling&transport=polling", TRANSPORT_UNKNOWN),
        ("EIO=4&transport=polling&sid=&sid=", SESSION_UNKNOWN),
        ("EIO=4&transport=polling&EIO=4", UNSUPPORTED_VERSION),
    ] {
        assert_eq!(target.get(query).await.outcome(), (400, body), "{query}");
    }
}

/// Deviation: Node's parser refuses it without a body.
async fn a_method_that_http_does_not_have_is_code_2(target: Target) {
    let method = Method::from_bytes(b"get").expect("a token");
    let reply = target.call(method, "EIO=4&transport=polling").send().await;
    assert_eq!(reply.outcome(), (400, BAD_METHOD));
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

on_every_target! {
    Engine:
    an_unsupported_version_is_code_5,
    an_unknown_transport_is_code_0,
    an_unknown_session_is_code_1,
    a_handshake_by_another_method_is_code_2,
    a_websocket_without_an_upgrade_is_code_3,
    a_header_with_a_control_character_is_refused,
    the_first_failed_check_decides_the_refusal,
    a_refusal_is_json_without_cache_headers,
    a_refusal_says_how_long_it_is,
    a_refused_websocket_gets_the_plain_message_before_any_101,
    a_refused_websocket_allows_the_origin_and_is_a_bad_request,
    a_parameter_that_is_repeated_counts_as_missing,
    a_method_that_http_does_not_have_is_code_2,
    a_websocket_that_says_polling_is_closed,
}

on_every_target! {
    EngineV3Patient:
    another_transport_than_the_sessions_is_code_3,
    another_version_than_the_sessions_is_code_3,
    an_unknown_method_of_a_session_is_500_and_harmless,
}
