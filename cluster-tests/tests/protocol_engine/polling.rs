//! Messages over polling.

use cluster_tests::on_every_target;
use cluster_tests::target::Target;
use hyper::Method;

async fn a_post_is_answered_ok(target: Target) {
    let session = target.polling().await;
    let reply = session.post("4hello").await;
    assert_eq!(reply.outcome(), (200, "ok"));
    assert_eq!(reply.header("content-type"), Some("text/html"));
    assert_eq!(reply.header("content-length"), Some("2"));
    assert_eq!(reply.header("cache-control"), Some("no-store"));
}

async fn a_poll_returns_the_queued_packets(target: Target) {
    let session = target.polling().await;
    session.send("4hello").await;
    let reply = session.poll().await;
    assert_eq!(reply.outcome(), (200, "4hello"));
    assert_eq!(reply.header("content-type"), Some("text/plain; charset=UTF-8"));
    assert_eq!(reply.header("cache-control"), Some("no-store"));
}

async fn a_pending_poll_returns_the_next_packets(target: Target) {
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

async fn packets_without_effect_are_ignored_over_polling(target: Target) {
    let session = target.polling().await;
    session.send("6\x1e5\x1e0\x1e4alive").await;
    assert_eq!(session.packets(1).await, ["4alive"]);
}

async fn the_xss_filter_of_old_internet_explorers_is_switched_off(target: Target) {
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

on_every_target! {
    EngineV3Patient:
    a_post_is_answered_ok,
    a_poll_returns_the_queued_packets,
    a_pending_poll_returns_the_next_packets,
    several_packets_travel_in_one_payload,
    binary_is_base64_without_a_type,
    text_is_utf_8,
    messages_keep_their_order_over_many_requests,
    packets_without_effect_are_ignored_over_polling,
    the_xss_filter_of_old_internet_explorers_is_switched_off,
}
