//! Payloads: serde values, enums of events, attachments, and what passes through undecoded.

use bytes::Bytes;
use cluster_tests::app::{App, Picture, connected};
use cluster_tests::messages::{Messages, Received};
use cluster_tests::on_one_and_three_nodes;
use cluster_tests::websocket::WebSocket;
use serde::{Deserialize, Serialize};
use socketmesh::{AckError, EventError, Namespace, RawArgs, Socket, namespace, reply};

/// All events of a namespace, in both directions.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Said {
    Bare,
    Message(String),
    Move(i32, Option<i32>),
    Typing {
        room: String,
        #[serde(default)]
        fast: bool,
    },
    Drawn(Picture),
}

pub(crate) fn typed() -> Namespace {
    namespace("/typed")
        .on("plain", async |_: Socket, (): ()| Ok("an `on` comes first"))
        .events(async |socket: Socket, said: Said| Ok(socket.emit_event(&said)?))
}

/// The events of a client; each has its own type of ack.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Asked {
    Name,
    Add(i32, i32),
    Thumbnail {
        data: Bytes,
        size: usize,
    },
    Reserve(u32),
    /// Emits to the client with an ack, and acks with the value of that.
    Back,
}

/// The events of the server that want acks.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Question {
    Color,
    Guess { from: u8, to: u8 },
    Sign(Bytes),
}

/// An error of the application that clients see as it is.
struct Sold {
    left: u32,
}

impl From<Sold> for EventError {
    fn from(sold: Sold) -> Self {
        Self::new("sold", "not enough left").with_data(sold.left)
    }
}

fn reserve(count: u32) -> Result<u32, Sold> {
    if count > 3 { Err(Sold { left: 3 }) } else { Ok(3 - count) }
}

pub(crate) fn asking() -> Namespace {
    let others = async |_: Socket, name: String, _: RawArgs| Ok(("no variant", name));
    let described = namespace("/asking").fallback(others);
    described.events(async |socket: Socket, asked: Asked| match asked {
        Asked::Name => reply("server"),
        Asked::Add(a, b) => reply(&(a + b)),
        Asked::Thumbnail { data, size } => reply(&data.slice(..size.min(data.len()))),
        Asked::Reserve(count) => reply(&reserve(count)?),
        Asked::Back => {
            let color: String = socket.emit_event_with_ack(&Question::Color).await?;
            let guess: u8 = socket.emit_event_with_ack(&Question::Guess { from: 1, to: 6 }).await?;
            let signed: Bytes = socket.emit_event_with_ack(&Question::Sign(Bytes::from_static(b"x"))).await?;
            let all = socket.to(socket.id().to_string()).emit_event_with_ack::<RawArgs, _>(&Question::Color);
            let wrong = socket.emit_event_with_ack::<u8, _>(&"no variant").await;
            assert!(matches!(wrong, Err(AckError::Encode(_))));
            reply(&(color, guess, signed, all.await?.replies.len()))
        }
    })
}

/// Sends an event to `/typed` and returns the packet that arrives before its ack.
async fn typed_echo(ws: &mut WebSocket, event: &str) -> (String, String) {
    ws.send(&format!("42/typed,7{event}")).await;
    let echo = ws.packet_text().await;
    match echo.strip_prefix("43/typed,7") {
        Some(ack) => (String::new(), ack.to_owned()),
        None => (echo, ws.packet_text().await),
    }
}

async fn an_enum_is_the_table_of_events(app: &App) {
    let mut ws = app.nodes.target.websocket().await;
    ws.send("40/typed,").await;
    connected(&ws.packet_text().await, "/typed");
    for (event, echo) in [
        (r#"["bare"]"#, r#"["bare"]"#),
        (r#"["bare","surplus"]"#, r#"["bare"]"#),
        (r#"["message","hi"]"#, r#"["message","hi"]"#),
        (r#"["move",1,2]"#, r#"["move",1,2]"#),
        (r#"["move",1]"#, r#"["move",1,null]"#),
        (r#"["typing",{"room":"red"}]"#, r#"["typing",{"room":"red","fast":false}]"#),
        (r#"["typing",{"fast":true,"room":"red","more":0}]"#, r#"["typing",{"room":"red","fast":true}]"#),
    ] {
        let expected = (format!("42/typed,{echo}"), "43/typed,7[]".to_owned());
        assert_eq!(typed_echo(&mut ws, event).await, expected, "{event}");
    }
    assert_eq!(typed_echo(&mut ws, r#"["plain"]"#).await.1, r#"["an `on` comes first"]"#);
}

async fn an_event_that_is_no_variant_goes_to_the_fallback_or_is_never_acked(app: &App) {
    let mut typed = app.nodes.target.websocket().await;
    typed.send("40/typed,").await;
    connected(&typed.packet_text().await, "/typed");
    typed.send(r#"42/typed,1["sing",1]"#).await;
    typed.send(r#"42/typed,2["plain"]"#).await;
    assert_eq!(typed.packet_text().await, r#"43/typed,2["an `on` comes first"]"#);
    typed.send("40/asking,").await;
    connected(&typed.packet_text().await, "/asking");
    typed.send(r#"42/asking,1["sing",1]"#).await;
    assert_eq!(typed.packet_text().await, r#"43/asking,1[["no variant","sing"]]"#);
}

async fn an_event_that_does_not_fit_its_variant_is_reported_in_the_ack(app: &App) {
    let mut ws = app.nodes.target.websocket().await;
    ws.send("40/typed,").await;
    connected(&ws.packet_text().await, "/typed");
    for event in [r#"["message"]"#, r#"["message",1]"#, r#"["move","up"]"#, r#"["typing",{}]"#] {
        let (_, ack) = typed_echo(&mut ws, event).await;
        assert!(ack.starts_with(r#"[{"error":{"code":"invalid_arguments","message":"argument 1: "#), "{ack}");
    }
}

async fn bytes_inside_of_a_value_are_attachments_both_ways(app: &App) {
    let mut guest = app.guest(0).await;
    let picture = r#"{"name":"p","layers":[{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]}"#;
    guest.ws.send(&format!(r#"452-9["reverse",{picture}]"#)).await;
    guest.ws.send_binary(&[1, 2, 3]).await;
    guest.ws.send_binary(&[4]).await;
    assert_eq!(guest.hears().await, format!("462-9[{picture}]"));
    assert_eq!(guest.ws.packet().await, Received::Binary(vec![3, 2, 1]));
    assert_eq!(guest.ws.packet().await, Received::Binary(vec![4]));
}

async fn an_enum_may_hold_attachments(app: &App) {
    let mut ws = app.nodes.target.websocket().await;
    ws.send("40/typed,").await;
    connected(&ws.packet_text().await, "/typed");
    let event = r#"451-/typed,["drawn",{"name":"p","layers":[{"_placeholder":true,"num":0}]}]"#;
    ws.send(event).await;
    ws.send_binary(&[7, 8]).await;
    assert_eq!(ws.packet_text().await, event);
    assert_eq!(ws.packet().await, Received::Binary(vec![7, 8]));
}

async fn each_variant_acks_with_its_own_type(app: &App) {
    let mut ws = app.nodes.target.websocket().await;
    ws.send("40/asking,").await;
    connected(&ws.packet_text().await, "/asking");
    for (event, ack) in [
        (r#"["name"]"#, r#"["server"]"#),
        (r#"["add",2,3]"#, "[5]"),
        (r#"["reserve",1]"#, "[2]"),
        (r#"["reserve",9]"#, r#"[{"error":{"code":"sold","data":3,"message":"not enough left"}}]"#),
    ] {
        ws.send(&format!("42/asking,7{event}")).await;
        assert_eq!(ws.packet_text().await, format!("43/asking,7{ack}"), "{event}");
    }
    ws.send(r#"451-/asking,7["thumbnail",{"size":2,"data":{"_placeholder":true,"num":0}}]"#).await;
    ws.send_binary(&[1, 2, 3]).await;
    assert_eq!(ws.packet_text().await, r#"461-/asking,7[{"_placeholder":true,"num":0}]"#);
    assert_eq!(ws.packet().await, Received::Binary(vec![1, 2]));
}

async fn an_enum_of_events_is_emitted_with_acks(app: &App) {
    let mut ws = app.nodes.target.websocket().await;
    ws.send("40/asking,").await;
    connected(&ws.packet_text().await, "/asking");
    ws.send(r#"42/asking,7["back"]"#).await;
    answer(&mut ws, "42/asking,", r#"["color"]"#, r#"["blue"]"#).await;
    answer(&mut ws, "42/asking,", r#"["guess",{"from":1,"to":6}]"#, "[4]").await;
    let id = asked(&ws.packet_text().await, "451-/asking,", r#"["sign",{"_placeholder":true,"num":0}]"#);
    assert_eq!(ws.packet().await, Received::Binary(b"x".to_vec()));
    ws.send(&format!(r#"461-/asking,{id}[{{"_placeholder":true,"num":0}}]"#)).await;
    ws.send_binary(b"signed").await;
    let ack = ws.packet_text().await;
    assert_eq!(ack, r#"461-/asking,7[["blue",4,{"_placeholder":true,"num":0},0]]"#);
    assert_eq!(ws.packet().await, Received::Binary(b"signed".to_vec()));
}

/// Acks the next packet, which must be this event.
async fn answer(ws: &mut WebSocket, start: &str, question: &str, answer: &str) {
    let id = asked(&ws.packet_text().await, start, question);
    ws.send(&format!("43/asking,{id}{answer}")).await;
}

/// The ack id of a packet, which must be this event.
#[track_caller]
fn asked(packet: &str, start: &str, question: &str) -> u64 {
    let id = packet.strip_prefix(start).and_then(|rest| rest.strip_suffix(question)?.parse().ok());
    id.unwrap_or_else(|| panic!("{start}…{question}, not {packet}"))
}

async fn unreferenced_attachments_pass_only_with_undecoded_arguments(app: &App) {
    let mut guest = app.guest(0).await;
    let event = r#"{"_placeholder":true,"num":1},"text""#;
    guest.ws.send(&format!(r#"452-9["echo",{event}]"#)).await;
    guest.ws.send_binary(&[1]).await;
    guest.ws.send_binary(&[2]).await;
    assert_eq!(guest.hears().await, format!("462-9[{event}]"), "all, under their numbers");
    assert_eq!(guest.ws.packet().await, Received::Binary(vec![1]));
    assert_eq!(guest.ws.packet().await, Received::Binary(vec![2]));

    let picture = r#"{"name":"p","layers":[{"_placeholder":true,"num":1}]}"#;
    guest.ws.send(&format!(r#"452-9["reverse",{picture}]"#)).await;
    guest.ws.send_binary(&[1]).await;
    guest.ws.send_binary(&[2, 3]).await;
    let decoded = r#"461-9[{"name":"p","layers":[{"_placeholder":true,"num":0}]}]"#;
    assert_eq!(guest.hears().await, decoded, "only what the handler took");
    assert_eq!(guest.ws.packet().await, Received::Binary(vec![3, 2]));
}

async fn attachments_reach_every_member_of_a_room(app: &App) {
    let guests = [app.guest(0).await, app.guest(1).await, app.guest(2).await];
    let (polling, polled) = app.polling_guest("/").await;
    let room = format!("pictures-{}", guests[0].id());
    for socket in guests.iter().map(|guest| &guest.socket).chain([&polled]) {
        socket.join(&room).await.expect("connected");
    }
    let layers = vec![Bytes::from_static(&[0, 255]), Bytes::from_static(&[1])];
    let picture = Picture { name: "p".to_owned(), layers };
    app.of(1, "/").to(&room).emit("picture", &picture).expect("it encodes");
    let text = r#"452-["picture",{"name":"p","layers":[{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]}]"#;
    for mut guest in guests {
        assert_eq!(guest.hears().await, text);
        assert_eq!(guest.ws.packet().await, Received::Binary(vec![0, 255]));
        assert_eq!(guest.ws.packet().await, Received::Binary(vec![1]));
    }
    assert_eq!(polling.packets(3).await, [text, "bAP8=", "bAQ=="]);
}

async fn an_undecoded_argument_is_relayed_unchanged(app: &App) {
    let (mut sender, mut receiver) = (app.guest(0).await, app.guest(1).await);
    let odd = r#"{"z":1.50,"a":1e2,"big":12345678901234567890123,"é":"é","list":[ 1 , -0.0 ]}"#;
    let to = receiver.id();
    assert_eq!(sender.ask(&format!(r#"["relay","{to}",{odd},"dropped"]"#)).await, "[]");
    assert_eq!(receiver.event().await, format!(r#"["relayed",{odd}]"#));

    // One argument of several takes its attachments along, and only those.
    let attached = r#"{"_placeholder":true,"num":1}"#;
    let unused = r#"{"_placeholder":true,"num":0}"#;
    sender.ws.send(&format!(r#"452-["relay","{to}",{attached},{unused}]"#)).await;
    sender.ws.send_binary(&[1]).await;
    sender.ws.send_binary(&[2]).await;
    assert_eq!(receiver.hears().await, r#"451-["relayed",{"_placeholder":true,"num":0}]"#);
    assert_eq!(receiver.ws.packet().await, Received::Binary(vec![2]));
}

async fn arguments_may_be_left_out(app: &App) {
    let mut guest = app.guest(0).await;
    for (event, ack) in [
        (r#"["optional"]"#, "[[null,null]]"),
        (r#"["optional",1]"#, "[[1,null]]"),
        (r#"["optional",null,"x"]"#, r#"[[null,"x"]]"#),
        (r#"["optional",1,"x",2]"#, r#"[[1,"x"]]"#),
        (r#"["echo",null]"#, "[null]"),
    ] {
        assert_eq!(guest.ask(event).await, ack, "{event}");
    }
}

async fn an_unencodable_payload_is_an_error_and_sends_nothing(app: &App) {
    let mut guest = app.guest(0).await;
    let no_json = std::collections::HashMap::from([((1, 2), 3)]);
    let blobs = vec![Bytes::from_static(b"x"); 11];
    assert!(guest.socket.emit("map", &no_json).is_err());
    assert!(guest.socket.emit("blobs", &blobs).is_err());
    for reserved in
        ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"]
    {
        assert!(guest.socket.emit(reserved, &()).is_err(), "{reserved}");
        assert!(guest.socket.broadcast().emit(reserved, &()).is_err(), "{reserved}");
    }
    assert!(guest.socket.emit_with_ack::<(), _>("blobs", &blobs).await.is_err());
    assert_eq!(guest.ask(r#"["echo",1]"#).await, "[1]");
}

on_one_and_three_nodes! {
    crate::app:
    an_enum_is_the_table_of_events,
    an_event_that_is_no_variant_goes_to_the_fallback_or_is_never_acked,
    an_event_that_does_not_fit_its_variant_is_reported_in_the_ack,
    bytes_inside_of_a_value_are_attachments_both_ways,
    an_enum_may_hold_attachments,
    each_variant_acks_with_its_own_type,
    an_enum_of_events_is_emitted_with_acks,
    unreferenced_attachments_pass_only_with_undecoded_arguments,
    attachments_reach_every_member_of_a_room,
    an_undecoded_argument_is_relayed_unchanged,
    arguments_may_be_left_out,
    an_unencodable_payload_is_an_error_and_sends_nothing,
}
