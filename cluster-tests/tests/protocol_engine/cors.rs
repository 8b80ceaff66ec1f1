//! CORS; the fixture allows every origin.

use cluster_tests::on_every_target;
use cluster_tests::target::Target;
use hyper::Method;

use crate::common::MAX_PAYLOAD;

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

/// Deviation: Node never answers it.
async fn a_preflight_that_asks_for_a_websocket_is_answered(target: Target) {
    let reply = target.call(Method::OPTIONS, "EIO=4&transport=websocket").upgrade().send().await;
    assert_eq!(reply.outcome(), (204, ""));
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

on_every_target! {
    EngineV3Patient:
    a_preflight_is_204_and_reflects_the_headers,
    a_preflight_that_asks_for_a_websocket_is_answered,
    every_answer_allows_the_origin,
}
