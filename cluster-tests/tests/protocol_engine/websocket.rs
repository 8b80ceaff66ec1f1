//! Messages over a WebSocket.

use cluster_tests::messages::{Messages, Received};
use cluster_tests::on_every_target;
use cluster_tests::target::Target;

use crate::common::MAX_PAYLOAD;

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

async fn base64_is_read_as_far_as_it_is_some(target: Target) {
    let mut ws = target.websocket().await;
    for (text, bytes) in [("bAQ!I D", &[1, 2, 3][..]), ("bA", &[]), ("b-_8", &[251, 255]), ("b!", &[])] {
        ws.send(text).await;
        assert_eq!(ws.packet().await, Received::Binary(bytes.to_vec()), "{text:?}");
    }
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

async fn a_pong_comes_before_the_answer_to_what_came_behind_its_ping(target: Target) {
    let mut ws = target.websocket().await;
    for _ in 0..50 {
        ws.send_ping(b"first").await;
        ws.send("4second").await;
        assert_eq!(ws.packet().await, Received::Pong(b"first".to_vec()));
        assert_eq!(ws.packet().await, "4second".into());
    }
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

async fn packets_without_effect_are_ignored_over_websocket(target: Target) {
    let mut ws = target.websocket().await;
    for text in ["0", "5", "6", "4alive"] {
        ws.send(text).await;
    }
    assert_eq!(ws.packet_text().await, "4alive");
}

on_every_target! {
    EngineV3Patient:
    text_over_websocket_is_echoed,
    binary_over_websocket_has_no_type,
    base64_in_a_text_frame_is_binary,
    base64_is_read_as_far_as_it_is_some,
    b64_asks_for_base64_even_over_websocket,
    a_message_in_fragments_is_one_message,
    a_pong_comes_before_the_answer_to_what_came_behind_its_ping,
    messages_over_websocket_keep_their_order,
    a_message_of_exactly_the_limit_is_taken_over_websocket,
    a_message_over_the_limit_closes_with_1009,
    broken_utf_8_over_websocket_closes_with_1007,
    an_invalid_packet_over_websocket_closes_without_a_code,
    a_ping_of_the_client_closes_its_websocket,
    packets_without_effect_are_ignored_over_websocket,
}
