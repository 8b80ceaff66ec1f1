//! Compressed messages and answers, as clients see them (RFC 7692; RFC 9110 §8.4), on one node and on three.
#![expect(clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::io::{Read, Write};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use cluster_tests::app::{App, Seen, connected, plain};
use cluster_tests::frames::{Frames, deflated};
use cluster_tests::http::Reply;
use cluster_tests::nodes::Nodes;
use cluster_tests::on_one_and_three_nodes;
use cluster_tests::polling::Polling;
use flate2::read::{GzDecoder, ZlibDecoder};
use flate2::write::GzEncoder;
use hyper::Method;
use socketmesh::engine::{self, Compression};
use socketmesh::http::ClientFiles;
use socketmesh::{Acks, Node, NodeBuilder, Socket, http};

/// The application on this many nodes, for all tests but those of other settings.
fn app(count: usize) -> &'static App {
    static ONE: OnceLock<App> = OnceLock::new();
    static THREE: OnceLock<App> = OnceLock::new();
    Nodes::shared(if count == 1 { &ONE } else { &THREE }, move || App::start(count, compressing))
}

fn compressing(seen: &Arc<Seen>) -> NodeBuilder {
    let config = engine::Config::default().per_message_deflate(Compression::default()).allow_eio3(true);
    Node::builder().engine(config).namespace(plain("/", seen)).namespace(plain("/everybody", seen))
}

/// A client in a namespace on the `n`th node that reads deflated messages.
async fn guest(app: &App, path: &'static str, n: usize) -> (Frames, Socket) {
    let call = app.nodes.target.at(n).call(Method::GET, "EIO=4&transport=websocket");
    let mut frames = Frames::open(call, OFFER).await;
    assert!(frames.message().await.text().starts_with("0{"));
    frames.send(0x81, format!("40{}", cluster_tests::app::prefix(path)).as_bytes()).await;
    let socket = app.seen.socket(&connected(frames.message().await.text(), path)).await;
    (frames, socket)
}

fn long() -> String {
    "all work and no play ".repeat(100)
}

/// The packet of an event with one text.
fn packet(event: &str, text: &str) -> String {
    format!(r#"42["{event}","{text}"]"#)
}

// --- permessage-deflate ---

on_one_and_three_nodes! { crate::app:
    long_messages_are_deflated_and_short_ones_are_not,
    bytes_are_deflated,
    a_message_that_does_not_shrink_is_sent_uncompressed,
    a_client_without_the_extension_gets_plain_messages,
    a_broadcast_is_deflated_for_clients_with_the_extension,
    the_extension_passes_an_upgrade_through_another_node,
    deflated_messages_are_read,
    a_large_message_arrives_in_its_place,
    a_bomb_closes_with_1009,
    a_message_that_does_not_inflate_closes_with_1007,
    a_deflated_frame_without_the_extension_closes_with_1002,
}

async fn long_messages_are_deflated_and_short_ones_are_not(app: &App) {
    let (mut frames, socket) = guest(app, "/", 0).await;
    assert_eq!(frames.opened.headers("sec-websocket-extensions"), [ACCEPTED]);
    // The threshold counts the packet with its type.
    for (length, is_long) in [(1023 - 13, false), (1024 - 13, true)] {
        let text = "x".repeat(length);
        socket.emit("news", &text).expect("it encodes");
        let seen = frames.message().await;
        assert_eq!(seen.text(), packet("news", &text));
        assert_eq!(seen.message.len() >= 1024, is_long);
        assert_eq!(seen.deflated.is_some(), is_long);
        assert!(seen.deflated.is_none_or(|bytes| bytes < 100));
    }
}

async fn bytes_are_deflated(app: &App) {
    let (mut frames, socket) = guest(app, "/", 1).await;
    let bytes = Bytes::from(vec![7; 5000]);
    socket.emit("news", &bytes).expect("it encodes");
    let text = frames.message().await;
    assert_eq!((text.deflated, text.text()), (None, r#"451-["news",{"_placeholder":true,"num":0}]"#));
    let attachment = frames.message().await;
    assert_eq!((attachment.deflated.is_some(), attachment.message), (true, bytes.to_vec()));
}

async fn a_message_that_does_not_shrink_is_sent_uncompressed(app: &App) {
    let (mut frames, socket) = guest(app, "/", 2).await;
    let noise = noise(5000);
    socket.emit("news", &Bytes::from(noise.clone())).expect("it encodes");
    frames.message().await;
    let attachment = frames.message().await;
    assert_eq!((attachment.deflated, attachment.message), (None, noise));
}

async fn a_client_without_the_extension_gets_plain_messages(app: &App) {
    let mut guest = app.guest(0).await;
    assert_eq!(guest.ws.opened.header("sec-websocket-extensions"), None);
    guest.socket.emit("news", &long()).expect("it encodes");
    assert_eq!(guest.hears().await, packet("news", &long()));

    // An offer that is declined is no reason to refuse the client.
    let call = app.nodes.target.call(Method::GET, "EIO=4&transport=websocket");
    let mut frames = Frames::open(call, "permessage-deflate; server_max_window_bits=9, other").await;
    assert_eq!(frames.opened.header("sec-websocket-extensions"), None);
    assert!(frames.message().await.text().starts_with("0{"));
}

async fn a_broadcast_is_deflated_for_clients_with_the_extension(app: &App) {
    let mut deflating = Vec::new();
    for n in 0..3 {
        deflating.push(guest(app, "/", n).await);
    }
    let mut other = app.guest(1).await;
    let room = format!("around {}", other.id());
    for socket in deflating.iter().map(|(_, socket)| socket).chain([&other.socket]) {
        socket.join(&room).await.expect("connected");
    }
    app.of(0, "/").to(&room).emit("news", &long()).expect("it encodes");
    for (frames, _) in &mut deflating {
        let seen = frames.message().await;
        assert_eq!((seen.deflated.is_some(), seen.text()), (true, &*packet("news", &long())));
    }
    assert_eq!(other.hears().await, packet("news", &long()));
}

async fn the_extension_passes_an_upgrade_through_another_node(app: &App) {
    let (polling, socket) = app.polling_guest("/").await;
    let call = app.nodes.target.at(1).call(Method::GET, &polling.query("websocket"));
    let mut frames = Frames::open(call, OFFER).await;
    assert_eq!(frames.opened.headers("sec-websocket-extensions"), [ACCEPTED]);
    frames.send(0x81, b"2probe").await;
    assert_eq!(frames.message().await.text(), "3probe");
    frames.send(0x81, b"5").await;
    frames.send_deflated(&format!(r#"427["echo","{}"]"#, long())).await;
    let echo = frames.message().await;
    assert_eq!((echo.deflated.is_some(), echo.text()), (true, &*format!(r#"437["{}"]"#, long())));
    socket.emit("news", &long()).expect("it encodes");
    assert!(frames.message().await.deflated.is_some());
}

async fn deflated_messages_are_read(app: &App) {
    let (mut frames, _) = guest(app, "/", 1).await;
    for text in ["", "short", &long()] {
        frames.send_deflated(&format!(r#"427["echo","{text}"]"#)).await;
        assert_eq!(frames.message().await.text(), format!(r#"437["{text}"]"#));
    }
    let message = deflated(br#"427["echo","in fragments"]"#);
    let (start, end) = message.split_at(message.len() / 2);
    frames.send(0x41, start).await;
    frames.send(0x89, b"in between").await;
    assert_eq!(frames.frame().await, (0x8a, b"in between".to_vec()));
    frames.send(0x80, end).await;
    assert_eq!(frames.message().await.text(), r#"437["in fragments"]"#);
}

async fn a_large_message_arrives_in_its_place(app: &App) {
    let (mut frames, socket) = guest(app, "/", 2).await;
    let large = Bytes::from((0..1_000_000_u32).map(|n| (n / 1000).to_be_bytes()[3]).collect::<Vec<_>>());
    for number in 0..3 {
        socket.emit("before", &number).expect("it encodes");
        socket.emit("large", &large).expect("it encodes");
        socket.emit("after", &number).expect("it encodes");
    }
    for number in 0..3 {
        assert_eq!(frames.message().await.text(), format!(r#"42["before",{number}]"#));
        assert!(frames.message().await.text().starts_with(r#"451-["large""#));
        let attachment = frames.message().await;
        assert!(attachment.message == large, "another attachment");
        assert!(attachment.deflated.is_some_and(|bytes| bytes < 100_000));
        assert_eq!(frames.message().await.text(), format!(r#"42["after",{number}]"#));
    }
}

async fn a_bomb_closes_with_1009(app: &App) {
    let (mut frames, socket) = guest(app, "/", 0).await;
    // It inflates to a thousand times its length, which is one byte too long.
    let limit = engine::Config::default().max_payload;
    let exact = format!(r#"42["note","{}"]"#, "x".repeat(limit - r#"42["note",""]"#.len()));
    assert_eq!(exact.len(), limit);
    frames.send_deflated(&exact).await;
    frames.send_deflated(&format!("{exact} ")).await;
    assert_eq!(frames.closed().await, Some(1009));
    assert_eq!(app.seen.reason(socket.id()).await.as_str(), "transport error");
    assert_eq!(app.seen.handled_of(socket.id()).first().map(String::len), Some(limit - 13));
}

async fn a_message_that_does_not_inflate_closes_with_1007(app: &App) {
    let (mut frames, socket) = guest(app, "/", 1).await;
    frames.send(0xc1, b"\xff\xff\xff\xff").await;
    assert_eq!(frames.closed().await, Some(1007));
    assert_eq!(app.seen.reason(socket.id()).await.as_str(), "transport error");
}

async fn a_deflated_frame_without_the_extension_closes_with_1002(app: &App) {
    let call = app.nodes.target.call(Method::GET, "EIO=4&transport=websocket");
    let mut frames = Frames::open(call, "permessage-nothing").await;
    frames.send_deflated("40").await;
    assert_eq!(frames.closed().await, Some(1002));
}

// --- compress(false) ---

on_one_and_three_nodes! { crate::app:
    compress_false_applies_on_every_node,
    compress_false_sends_plain_messages_to_every_client,
    compress_applies_to_events_with_acks,
}

async fn compress_false_applies_on_every_node(app: &App) {
    for n in 0..3 {
        let (mut frames, socket) = guest(app, "/", n).await;
        let own = socket.id().to_string();
        app.of(0, "/").to(&own).compress(false).emit("news", &long()).expect("it encodes");
        assert_eq!(frames.message().await.deflated, None);
        app.of(0, "/").to(&own).emit("news", &long()).expect("it encodes");
        assert!(frames.message().await.deflated.is_some());
        app.of(0, "/").to(&own).compress(false).compress(true).emit("news", &long()).expect("it encodes");
        assert!(frames.message().await.deflated.is_some());
        socket.compress(false).emit("news", &long()).expect("it encodes");
        assert_eq!(frames.message().await.deflated, None);
        socket
            .timeout(Duration::ZERO)
            .compress(false)
            .emit("news", &Bytes::from(vec![0; 5000]))
            .expect("it encodes");
        assert_eq!((frames.message().await.deflated, frames.message().await.deflated), (None, None));
    }
}

async fn compress_false_sends_plain_messages_to_every_client(app: &App) {
    let mut guests = Vec::new();
    for n in 0..3 {
        guests.push(guest(app, "/everybody", n).await.0);
    }
    app.of(2, "/everybody").compress(false).emit("news", &long()).expect("it encodes");
    app.of(2, "/everybody").emit("news", &long()).expect("it encodes");
    for frames in &mut guests {
        assert_eq!(frames.message().await.deflated, None);
        assert!(frames.message().await.deflated.is_some());
    }
}

async fn compress_applies_to_events_with_acks(app: &App) {
    for compress in [true, false] {
        let (mut frames, socket) = guest(app, "/", 1).await;
        let target = app.of(0, "/").to(socket.id().to_string()).compress(compress);
        let asked = tokio::spawn(async move { target.emit_with_ack::<u8, _>("vote", &long()).await });
        assert_eq!(answer(&mut frames).await, compress);
        let acks: Acks<u8> = asked.await.expect("no panic").expect("it encodes");
        assert_eq!((acks.replies, acks.missing.len()), (vec![7], 0));

        let emitter = async {
            let emitter = socket.compress(compress).timeout(Duration::from_secs(9));
            emitter.emit_with_ack::<u8, _>("vote", &long()).await
        };
        let (answered, compressed) = tokio::join!(emitter, answer(&mut frames));
        assert_eq!((answered.expect("an ack"), compressed), (7, compress));
    }
}

/// Acks the next event with 7, and returns whether the event was compressed.
async fn answer(frames: &mut Frames) -> bool {
    let seen = frames.message().await;
    let id: String = seen.text().chars().skip(2).take_while(char::is_ascii_digit).collect();
    frames.send(0x81, format!("43{id}[7]").as_bytes()).await;
    seen.deflated.is_some()
}

// --- polls ---

on_one_and_three_nodes! { crate::app:
    a_long_response_is_compressed_with_a_coding_the_client_accepts,
    a_short_response_is_not_compressed,
    a_response_is_compressed_if_any_of_its_packets_may_be,
    a_large_response_is_compressed,
    a_script_is_compressed,
    a_compressed_post_is_an_invalid_payload,
}

/// The response to a GET that accepts this coding, and the packets in it.
async fn poll(polling: &Polling, accept: &str) -> (Reply, String) {
    let reply = polling.call(Method::GET).header("accept-encoding", accept).send().await;
    assert_eq!(reply.status(), 200);
    let text = decoded(&reply);
    (reply, text)
}

fn decoded(reply: &Reply) -> String {
    let mut text = String::new();
    match reply.header("content-encoding") {
        None => return reply.text().to_owned(),
        Some("gzip") => GzDecoder::new(reply.bytes()).read_to_string(&mut text).expect("gzip"),
        Some("deflate") => ZlibDecoder::new(reply.bytes()).read_to_string(&mut text).expect("zlib"),
        Some(other) => panic!("nobody asked for {other}"),
    };
    text
}

async fn a_long_response_is_compressed_with_a_coding_the_client_accepts(app: &App) {
    let (polling, socket) = app.polling_guest("/").await;
    for (accept, coding) in [
        ("gzip, deflate, br", Some("gzip")),
        ("gzip;q=0.5, deflate", Some("deflate")),
        ("gzip;q=0, deflate;q=0.1", Some("deflate")),
        ("br", None),
        ("identity, gzip;q=0.1", None),
        ("", None),
    ] {
        socket.emit("news", &long()).expect("it encodes");
        let (reply, text) = poll(&polling, accept).await;
        assert_eq!((reply.header("content-encoding"), text), (coding, packet("news", &long())), "{accept}");
        assert_eq!(reply.bytes().len() < 200, coding.is_some());
        assert_eq!(reply.header("content-type"), Some("text/plain; charset=UTF-8"));
        assert_eq!(reply.header("cache-control"), Some("no-store"));
    }
    socket.emit("news", &long()).expect("it encodes");
    let reply = polling.poll().await;
    assert_eq!((reply.header("content-encoding"), reply.text()), (None, &*packet("news", &long())));
}

async fn a_short_response_is_not_compressed(app: &App) {
    let (polling, socket) = app.polling_guest("/").await;
    for (length, is_long) in [(1023 - 13, false), (1024 - 13, true)] {
        let text = "x".repeat(length);
        socket.emit("news", &text).expect("it encodes");
        let (reply, read) = poll(&polling, "gzip").await;
        assert_eq!(reply.header("content-encoding").is_some(), read.len() >= 1024);
        assert_eq!(read.len() >= 1024, is_long);
    }
    // A response is compressed as a whole.
    for _ in 0..100 {
        socket.emit("news", "short").expect("it encodes");
    }
    let (mut count, mut compressed) = (0, 0);
    while count < 100 {
        let (reply, text) = poll(&polling, "gzip").await;
        count += text.split('\x1e').filter(|packet| packet.starts_with('4')).count();
        compressed += usize::from(reply.header("content-encoding").is_some());
    }
    assert!(compressed > 0);
}

async fn a_response_is_compressed_if_any_of_its_packets_may_be(app: &App) {
    let (polling, socket) = app.polling_guest("/").await;
    let own = socket.id().to_string();
    app.of(1, "/").to(&own).compress(false).emit("news", &long()).expect("it encodes");
    let (reply, text) = poll(&polling, "gzip").await;
    assert_eq!((reply.header("content-encoding"), text), (None, packet("news", &long())));

    // Both are in one response, because they are emitted while no poll waits.
    socket.compress(false).emit("news", &long()).expect("it encodes");
    socket.emit("news", "short").expect("it encodes");
    let (reply, text) = poll(&polling, "gzip").await;
    assert_eq!(reply.header("content-encoding"), Some("gzip"));
    assert_eq!(text, [packet("news", &long()), packet("news", "short")].join("\x1e"));
}

async fn a_large_response_is_compressed(app: &App) {
    let (polling, socket) = app.polling_guest("/").await;
    let large: String = (0..300_000).map(|number| char::from(b'a' + (number / 7 % 26) as u8)).collect();
    for coding in ["gzip", "deflate"] {
        socket.emit("news", &large).expect("it encodes");
        let (reply, text) = poll(&polling, coding).await;
        assert_eq!(reply.header("content-encoding"), Some(coding));
        assert!(text == packet("news", &large), "another answer");
    }
}

async fn a_script_is_compressed(app: &App) {
    let opened = app.nodes.target.at(0).get("EIO=4&transport=polling&j=3").await;
    let session = opened.text().replace('\\', "");
    let sid = session.split_once(r#""sid":""#).and_then(|(_, sid)| sid.get(..20)).expect("a sid");
    let query = format!("EIO=4&transport=polling&j=3&sid={sid}");
    let post = app.nodes.target.call(Method::POST, &query).body("d=40").send().await;
    assert_eq!(post.outcome(), (200, "ok"));
    app.nodes.target.get(&query).await;
    let ask = format!("d=427[\"echo\",\"{}\"]", long());
    assert_eq!(app.nodes.target.call(Method::POST, &query).body(ask).send().await.outcome(), (200, "ok"));
    let reply = app.nodes.target.call(Method::GET, &query).header("accept-encoding", "gzip").send().await;
    assert_eq!(reply.header("content-encoding"), Some("gzip"));
    assert_eq!(reply.header("content-type"), Some("text/javascript; charset=UTF-8"));
    assert_eq!(decoded(&reply), format!(r#"___eio[3]("437[\"{}\"]");"#, long()));
}

async fn a_compressed_post_is_an_invalid_payload(app: &App) {
    let (polling, socket) = app.polling_guest("/").await;
    let mut body = GzEncoder::new(Vec::new(), flate2::Compression::default());
    body.write_all(br#"42["note","compressed"]"#).expect("memory");
    let body = body.finish().expect("memory");
    let reply = polling.call(Method::POST).header("content-encoding", "gzip").body(body).send().await;
    let plain = app.polling_guest("/").await.0.post("x").await;
    assert_eq!(reply.outcome(), plain.outcome(), "as any other body that is no payload");
    assert_eq!(app.seen.reason(socket.id()).await.as_str(), "parse error");
    assert_eq!(app.seen.handled_of(socket.id()), ["left"]);
}

// --- other settings ---

#[tokio::test]
async fn nothing_is_compressed_where_that_is_off() {
    let off = engine::Config::default().http_compression(None);
    let app = App::start(1, |seen| Node::builder().engine(off.clone()).namespace(plain("/", seen))).await;
    let (polling, socket) = app.polling_guest("/").await;
    socket.emit("news", &long()).expect("it encodes");
    let (reply, text) = poll(&polling, "gzip").await;
    assert_eq!((reply.header("content-encoding"), text), (None, packet("news", &long())));

    let call = app.nodes.target.call(Method::GET, "EIO=4&transport=websocket");
    let frames = Frames::open(call, OFFER).await;
    assert_eq!(frames.opened.header("sec-websocket-extensions"), None);
}

#[tokio::test]
async fn a_threshold_is_obeyed() {
    let from = |threshold| Some(Compression::default().threshold(threshold));
    let config = engine::Config::default().per_message_deflate(from(100)).http_compression(from(100));
    let app = App::start(1, |seen| Node::builder().engine(config.clone()).namespace(plain("/", seen))).await;
    let (mut frames, socket) = guest(&app, "/", 0).await;
    let (polling, polled) = app.polling_guest("/").await;
    for (length, is_long) in [(50, false), (100, true)] {
        let text = "x".repeat(length);
        socket.emit("news", &text).expect("it encodes");
        assert_eq!(frames.message().await.deflated.is_some(), is_long);
        polled.emit("news", &text).expect("it encodes");
        assert_eq!(poll(&polling, "gzip").await.0.header("content-encoding").is_some(), is_long);
    }
}

on_one_and_three_nodes! { crate::small:
    a_smaller_window_is_told_and_a_client_that_wants_a_smaller_one_is_served_plainly,
    a_level_is_obeyed,
}

/// Deflates as small as it goes, with a window of 512 bytes on WebSockets.
fn small(count: usize) -> &'static App {
    static ONE: OnceLock<App> = OnceLock::new();
    static THREE: OnceLock<App> = OnceLock::new();
    let hard = Compression::default().level(9);
    let config = engine::Config::default().per_message_deflate(hard.window_bits(9)).http_compression(hard);
    let described =
        move |seen: &Arc<Seen>| Node::builder().engine(config.clone()).namespace(plain("/", seen));
    Nodes::shared(if count == 1 { &ONE } else { &THREE }, move || App::start(count, described))
}

async fn a_smaller_window_is_told_and_a_client_that_wants_a_smaller_one_is_served_plainly(app: &App) {
    // A kilobyte of noise, twice: the second time is beyond the window.
    let far: String = noise(1000).iter().map(|byte| char::from(b'a' + byte % 26)).collect();
    let twice = far.repeat(2);
    for offer in [OFFER, "permessage-deflate; server_max_window_bits=10"] {
        let call = app.nodes.target.at(1).call(Method::GET, "EIO=4&transport=websocket");
        let mut frames = Frames::open(call, offer).await;
        let accepted = format!("{ACCEPTED}; server_max_window_bits=9");
        assert_eq!(frames.opened.headers("sec-websocket-extensions"), [accepted]);
        assert!(frames.message().await.text().starts_with("0{"));
        frames.send(0x81, b"40").await;
        let socket = app.seen.socket(&connected(frames.message().await.text(), "/")).await;
        app.of(2, "/").to(socket.id().to_string()).emit("news", &twice).expect("it encodes");
        let seen = frames.message().await;
        assert_eq!(seen.text(), packet("news", &twice));
        assert!(seen.deflated.is_some_and(|bytes| bytes > 1000), "{:?}", seen.deflated);
    }
    let call = app.nodes.target.call(Method::GET, "EIO=4&transport=websocket");
    let mut frames = Frames::open(call, "permessage-deflate; server_max_window_bits=8").await;
    assert_eq!(frames.opened.header("sec-websocket-extensions"), None);
    assert!(frames.message().await.text().starts_with("0{"));
}

async fn a_level_is_obeyed(app: &App) {
    let usual = engine::Config::default();
    let usual = App::start(1, |seen| Node::builder().engine(usual.clone()).namespace(plain("/", seen))).await;
    let words = ["work", "play", "jack", "dull", "all", "no", "and", "boy"];
    let text: String = noise(20_000).iter().flat_map(|byte| [words[usize::from(byte % 8)], " "]).collect();
    let mut sizes = Vec::new();
    for app in [&usual, app] {
        let (polling, socket) = app.polling_guest("/").await;
        socket.emit("news", &text).expect("it encodes");
        let (reply, read) = poll(&polling, "gzip").await;
        assert_eq!(read, packet("news", &text));
        sizes.push(reply.bytes().len());
    }
    assert!(sizes[1] < sizes[0], "{sizes:?}");
}

#[tokio::test]
async fn client_files_are_compressed() {
    let folder = std::env::temp_dir().join(format!("socketmesh-compressed-files-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(folder.join("socket.io.js"), long()).expect("a file");
    let http = http::Config::default().client(ClientFiles::Folder(folder.clone()));
    let app = App::start(1, |seen| Node::builder().http(http.clone()).namespace(plain("/", seen))).await;
    for (accept, coding) in [("gzip, deflate, br", Some("gzip")), ("deflate", Some("deflate")), ("br", None)]
    {
        let call =
            cluster_tests::http::Call::new(app.nodes.target.addr(), Method::GET, "/socket.io/socket.io.js");
        let reply = call.header("accept-encoding", accept).send().await;
        assert_eq!((reply.status(), reply.header("content-encoding")), (200, coding));
        assert_eq!(decoded(&reply), long());
        assert_eq!(reply.header("vary"), Some("accept-encoding"));
    }
    std::fs::remove_dir_all(folder).expect("the folder is there");
}

fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(length).collect()
}

const OFFER: &str = "permessage-deflate; client_max_window_bits";
const ACCEPTED: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
