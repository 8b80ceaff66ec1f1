//! Events of the server that clients acknowledge.

use std::time::Duration;

use cluster_tests::app::{App, Guest};
use cluster_tests::on_one_and_three_nodes;
use serde_json::Value;
use socketmesh::{AckError, Args, RawArgs};

/// The ack id of the next event, and the event.
async fn question(guest: &mut Guest) -> (u64, String) {
    let question = guest.event().await;
    let (id, event) = question.split_once('[').expect("an event");
    (id.parse().expect("an id"), format!("[{event}"))
}

async fn a_client_acks_an_event_of_the_server(app: &App) {
    let mut guest = app.guest(0).await;
    let socket = guest.socket.clone();
    let answering = async {
        let (id, event) = question(&mut guest).await;
        assert_eq!(event, r#"["sum",1,2]"#);
        guest.ws.send(&format!(r#"43{id}[3,"surplus"]"#)).await;
    };
    let (answer, ()) = tokio::join!(socket.emit_with_ack::<u8, _>("sum", &Args((1, 2))), answering);
    assert_eq!(answer.expect("an answer"), 3);
}

async fn a_client_acks_over_polling(app: &App) {
    let (polling, socket) = app.polling_guest("/").await;
    let answering = async {
        let packet = polling.packets(1).await.remove(0);
        let id = packet.strip_prefix("42").and_then(|packet| packet.strip_suffix(r#"["size"]"#));
        polling.send(format!(r#"43{}["large",1]"#, id.expect("the question"))).await;
    };
    let asking = socket.emit_with_ack::<Args<(String, u8)>, _>("size", &());
    let (answer, ()) = tokio::join!(asking, answering);
    let Args((size, number)) = answer.expect("an answer");
    assert_eq!((size.as_str(), number), ("large", 1));
}

async fn an_ack_may_have_attachments(app: &App) {
    let mut guest = app.guest(0).await;
    let socket = guest.socket.clone();
    let answering = async {
        let (id, _) = question(&mut guest).await;
        guest.ws.send(&format!(r#"461-{id}[{{"_placeholder":true,"num":0}}]"#)).await;
        guest.ws.send_binary(&[5, 6]).await;
    };
    let (answer, ()) = tokio::join!(socket.emit_with_ack::<bytes::Bytes, _>("draw", &()), answering);
    assert_eq!(*answer.expect("an answer"), [5, 6]);
}

async fn an_ack_of_another_type_is_an_error(app: &App) {
    let mut guest = app.guest(0).await;
    let socket = guest.socket.clone();
    let answering = async {
        let (id, _) = question(&mut guest).await;
        guest.ws.send(&format!(r#"43{id}["three"]"#)).await;
    };
    let (answer, ()) = tokio::join!(socket.emit_with_ack::<u8, _>("sum", &()), answering);
    assert!(matches!(answer, Err(AckError::Decode(_))), "{answer:?}");
}

async fn a_late_ack_is_an_error_and_is_ignored_when_it_arrives(app: &App) {
    let mut guest = app.guest(0).await;
    let asking = guest.socket.timeout(Duration::from_millis(20)).emit_with_ack::<RawArgs, _>("sum", &());
    let answer = asking.await;
    assert!(matches!(answer, Err(AckError::Timeout)), "{answer:?}");
    let (id, _) = question(&mut guest).await;
    guest.ws.send(&format!("43{id}[1]")).await;
    guest.ws.send("4399999[1]").await;
    assert_eq!(guest.ask(r#"["echo",1]"#).await, "[1]");
}

async fn a_pending_ack_fails_when_its_client_disconnects(app: &App) {
    let mut guest = app.guest(0).await;
    let socket = guest.socket.clone();
    let leaving = async {
        question(&mut guest).await;
        guest.ws.send("41").await;
    };
    let (answer, ()) = tokio::join!(socket.emit_with_ack::<u8, _>("sum", &()), leaving);
    assert!(matches!(answer, Err(AckError::Disconnected)), "{answer:?}");
    let answer = socket.emit_with_ack::<u8, _>("sum", &()).await;
    assert!(matches!(answer, Err(AckError::Disconnected)), "{answer:?}");
}

async fn a_pending_ack_fails_when_the_connection_breaks(app: &App) {
    let mut guest = app.guest(0).await;
    let socket = guest.socket.clone();
    let breaking = async {
        question(&mut guest).await;
        drop(guest);
    };
    let (answer, ()) = tokio::join!(socket.emit_with_ack::<u8, _>("sum", &()), breaking);
    assert!(matches!(answer, Err(AckError::Disconnected)), "{answer:?}");
}

async fn many_acks_may_be_pending_and_arrive_in_any_order(app: &App) {
    let mut guest = app.guest(0).await;
    let socket = guest.socket.clone();
    let ask = |number: usize| {
        let socket = socket.clone();
        async move { socket.emit_with_ack::<usize, _>("double", &number).await.expect("an answer") }
    };
    let asking = async { tokio::join!(ask(1), ask(2), ask(3), ask(4)) };
    let answering = async {
        let mut open = Vec::new();
        for _ in 0..4 {
            let (id, event) = question(&mut guest).await;
            let event: Vec<Value> = serde_json::from_str(&event).expect("an event");
            open.push((id, event[1].as_u64().expect("a number")));
        }
        for (id, number) in open.into_iter().rev() {
            guest.ws.send(&format!("43{id}[{}]", number * 2)).await;
        }
    };
    let (answers, ()) = tokio::join!(asking, answering);
    assert_eq!(answers, (2, 4, 6, 8));
}

on_one_and_three_nodes! {
    crate::app:
    a_client_acks_an_event_of_the_server,
    a_client_acks_over_polling,
    an_ack_may_have_attachments,
    an_ack_of_another_type_is_an_error,
    a_late_ack_is_an_error_and_is_ignored_when_it_arrives,
    a_pending_ack_fails_when_its_client_disconnects,
    a_pending_ack_fails_when_the_connection_breaks,
    many_acks_may_be_pending_and_arrive_in_any_order,
}
