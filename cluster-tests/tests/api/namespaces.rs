//! Dynamic namespaces, by pattern and by predicate.

use std::sync::Arc;

use cluster_tests::app::{App, Guest, Seen, connected, plain, prefix, with_plain_handlers};
use cluster_tests::deadline::within;
use cluster_tests::messages::Messages;
use cluster_tests::on_one_and_three_nodes;
use cluster_tests::websocket::WebSocket;
use serde::Deserialize;
use socketmesh::{
    EventError, Handshake, Namespace, NamespaceRef, Node, Refusal, Socket, namespace, namespaces,
    namespaces_where, socket,
};

pub(crate) fn of_its_own(seen: &Arc<Seen>) -> Namespace {
    with_plain_handlers(namespace("/room-own"), seen).on("which", async |_: Socket, ()| Ok("its own"))
}

pub(crate) fn rooms(seen: &Arc<Seen>) -> Namespace {
    with_plain_handlers(namespaces(r"^/room-[a-z0-9-]+$"), seen)
        .on("which", async |socket: Socket, ()| Ok(socket.namespace().to_owned()))
        .on_server_event_in("here", async |of: NamespaceRef, more: usize| {
            Ok(format!("{} {}", of.path(), of.local_count() + more))
        })
}

/// The answers of the two predicates, which the client chooses.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Wish {
    first: String,
    second: String,
    refuse: bool,
    /// The gate at which the `auth` of the second one waits.
    gate: Option<String>,
}

pub(crate) fn first_parent(seen: &Arc<Seen>) -> Namespace {
    let seen = Arc::clone(seen);
    namespaces_where(async move |handshake: Handshake| answer(&seen, "first", &handshake).await)
        .on("which", async |_: Socket, ()| Ok("first"))
        .on("say", async |socket: Socket, what: String| Ok(socket.broadcast().emit("said", &what)?))
}

pub(crate) fn second_parent(seen: &Arc<Seen>) -> Namespace {
    let (seen, deciding) = (Arc::clone(seen), Arc::clone(seen));
    namespaces_where(async move |handshake: Handshake| answer(&seen, "second", &handshake).await)
        .auth(async move |handshake: Handshake| {
            let Wish { refuse, gate, .. } = wish(&handshake);
            if let Some(gate) = gate {
                deciding.gate(&gate).await;
            }
            match refuse {
                true => Err(Refusal::new("refused by auth")),
                false => Ok(()),
            }
        })
        .on("which", async |_: Socket, ()| Ok("second"))
}

fn wish(handshake: &Handshake) -> Wish {
    handshake.auth().unwrap_or_default()
}

async fn answer(seen: &Seen, name: &str, handshake: &Handshake) -> Result<bool, EventError> {
    let path = handshake.namespace();
    if !path.starts_with("/asked-") {
        return Ok(false);
    }
    seen.open(format!("{name} was asked for {path}"));
    let Wish { first, second, .. } = wish(handshake);
    match if name == "first" { first } else { second }.as_str() {
        "yes" => Ok(true),
        "fail" => Ok("x".parse::<u8>()? > 0),
        "panic" => panic!("who is asked panics in the tests"),
        gate if gate.starts_with("gate") => {
            seen.gate(gate).await;
            Ok(true)
        }
        _ => Ok(false),
    }
}

/// How often the predicate of a parent namespace ran.
fn asked(app: &App, name: &str, path: &str) -> usize {
    app.seen.gates.all(|entry| (*entry == format!("{name} was asked for {path}")).then_some(())).len()
}

/// Connects to a namespace and returns the answer.
async fn ask_for(ws: &mut WebSocket, path: &str, auth: &str) -> String {
    ws.send(&format!("40{}{auth}", prefix(path))).await;
    ws.packet_text().await
}

fn invalid(path: &str) -> String {
    format!(r#"44{path},{{"message":"Invalid namespace"}}"#)
}

/// The parent namespace whose handlers serve this connection.
async fn which(ws: &mut WebSocket, path: &str) -> String {
    ws.send(&format!(r#"42{path},7["which"]"#)).await;
    ws.packet_text().await
}

async fn a_dynamic_namespace_is_created_for_its_first_client(app: &App) {
    let mut guest = app.guest_in("/room-a1", 1).await;
    assert_eq!(guest.socket.namespace(), "/room-a1");
    assert_eq!(guest.socket.handshake().namespace(), "/room-a1");
    assert_eq!(guest.ask(r#"["which"]"#).await, r#"["/room-a1"]"#);
    for other in ["/room-A", "/room-", "/a/room-a1", "/room-a1/", "/room-a1?x=1"] {
        assert_eq!(ask_for(&mut guest.ws, other, "").await, invalid(other));
    }
    assert_eq!(guest.ask(r#"["echo",1]"#).await, "[1]", "the connection stays");
}

async fn a_static_namespace_takes_precedence_over_patterns(app: &App) {
    let mut guest = app.guest_in("/room-own", 2).await;
    assert_eq!(guest.ask(r#"["which"]"#).await, r#"["its own"]"#);
}

async fn a_path_longer_than_a_kilobyte_matches_no_pattern(app: &App) {
    let mut ws = app.nodes.target.websocket().await;
    let path = |length| format!("/room-{}", "x".repeat(length - "/room-".len()));
    connected(&ask_for(&mut ws, &path(1024), "").await, &path(1024));
    assert_eq!(ask_for(&mut ws, &path(1025), "").await, invalid(&path(1025)));
    let asked = format!("/asked-{}", "x".repeat(1024));
    assert_eq!(ask_for(&mut ws, &asked, r#"{"first":"yes"}"#).await, invalid(&asked));
}

async fn namespaces_of_one_pattern_share_only_their_handlers(app: &App) {
    let mut here = app.guest_in("/room-b1", 0).await;
    let mut there = app.guest_in("/room-b2", 0).await;
    for guest in [&here, &there] {
        guest.socket.join("same").await.expect("connected");
    }
    let to = app.of(1, "/room-b1").to("same");
    to.emit("said", "one").expect("it encodes");
    app.of(1, "/room-b2").emit("said", "two").expect("it encodes");
    assert_eq!(here.event().await, r#"["said","one"]"#);
    assert_eq!(there.event().await, r#"["said","two"]"#);
}

async fn a_dynamic_namespace_spans_the_nodes(app: &App) {
    let path = "/room-span";
    let mut guests = [app.guest_in(path, 0).await, app.guest_in(path, 1).await, app.guest_in(path, 2).await];
    for guest in &guests[..2] {
        guest.socket.join("red").await.expect("connected");
    }
    for n in 0..3 {
        app.of(n, path).to("red").emit("said", "red").expect("it encodes");
        app.of(n, path).emit("said", "all").expect("it encodes");
        for (guest, red) in guests.iter_mut().zip([true, true, false]) {
            if red {
                assert_eq!(guest.event().await, r#"["said","red"]"#);
            }
            assert_eq!(guest.event().await, r#"["said","all"]"#);
        }
        let found = app.of(n, path).fetch_sockets().await;
        assert_eq!((found.found.len(), found.missing.len()), (3, 0));
    }
    assert!(app.of(1, path).join("blue").await.missing.is_empty());
    app.of(2, path).to("blue").except("red").emit("said", "blue").expect("it encodes");
    assert_eq!(guests[2].event().await, r#"["said","blue"]"#);
}

async fn a_reference_taken_before_the_first_client_is_to_the_same_namespace(app: &App) {
    let path = "/room-early";
    let early = app.of(0, path);
    assert_eq!(early.local_count(), 0);
    let mut guest = app.guest_in(path, 0).await;
    assert_eq!(early.local_count(), 1);
    early.emit("said", "early").expect("it encodes");
    assert_eq!(guest.event().await, r#"["said","early"]"#);
}

async fn server_events_reach_a_dynamic_namespace_on_every_node(app: &App) {
    let path = "/room-events";
    let _guest = app.guest_in(path, 1).await;
    let replies = app.of(0, path).server_side_emit_with_ack::<String, _>("here", &40).await;
    let mut replies: Vec<_> =
        replies.expect("it encodes").replies.into_iter().map(|(_, said)| said).collect();
    replies.sort();
    let expected: &[&str] = match app.nodes.nodes.len() {
        1 => &[],
        _ => &["/room-events 40", "/room-events 41"],
    };
    assert_eq!(replies, expected, "with and without clients");
}

async fn the_first_matching_predicate_takes_the_client(app: &App) {
    let mut ws = app.nodes.target.websocket().await;
    for (path, wish, served_by) in [
        ("/asked-1", r#"{"first":"yes","second":"yes"}"#, Some("first")),
        ("/asked-2", r#"{"first":"no","second":"yes"}"#, Some("second")),
        ("/asked-3", r#"{"first":"fail","second":"yes"}"#, Some("second")),
        ("/asked-4", r#"{"first":"panic","second":"yes"}"#, Some("second")),
        ("/asked-5", r#"{"first":"fail","second":"panic"}"#, None),
        ("/asked-6", "", None),
        ("/not-asked", r#"{"first":"yes"}"#, None),
    ] {
        let answer = ask_for(&mut ws, path, wish).await;
        match served_by {
            Some(parent) => {
                connected(&answer, path);
                assert_eq!(which(&mut ws, path).await, format!(r#"43{path},7["{parent}"]"#));
            }
            None => assert_eq!(answer, invalid(path)),
        }
    }
    assert_eq!((asked(app, "first", "/asked-1"), asked(app, "second", "/asked-1")), (1, 0));
}

async fn events_sent_while_a_predicate_runs_are_handled_after_it(app: &App) {
    let mut guest = app.guest(0).await;
    guest.ws.send(r#"40/asked-late,{"first":"gate of late"}"#).await;
    guest.ws.send(r#"42/asked-late,7["which"]"#).await;
    assert_eq!(guest.ask(r#"["echo",1]"#).await, "[1]", "the other namespace goes on");
    app.seen.open("gate of late");
    connected(&guest.hears().await, "/asked-late");
    assert_eq!(guest.hears().await, r#"43/asked-late,7["first"]"#);
}

async fn two_clients_that_connect_at_once_meet_in_one_namespace(app: &App) {
    let (path, wish) = ("/asked-both", r#"{"first":"gate of both"}"#);
    let (mut one, mut other) =
        (app.nodes.target.at(0).websocket().await, app.nodes.target.at(0).websocket().await);
    for ws in [&mut one, &mut other] {
        ws.send(&format!("40{path},{wish}")).await;
    }
    let both = async {
        while asked(app, "first", path) < 2 {
            tokio::task::yield_now().await;
        }
    };
    within("both to be asked about", both).await;
    app.seen.open("gate of both");
    for ws in [&mut one, &mut other] {
        connected(&ws.packet_text().await, path);
    }
    assert_eq!(app.of(0, path).local_count(), 2);
    one.send(&format!(r#"42{path},["say","hello"]"#)).await;
    assert_eq!(other.packet_text().await, format!(r#"42{path},["said","hello"]"#));
}

async fn the_predicate_that_created_a_namespace_decides_about_every_client(app: &App) {
    let path = "/asked-second";
    let at = app.nodes.target.at(1);
    let (mut first, mut other) = (at.websocket().await, at.websocket().await);
    connected(&ask_for(&mut first, path, r#"{"second":"yes"}"#).await, path);
    assert_eq!((asked(app, "first", path), asked(app, "second", path)), (1, 1));
    assert_eq!(ask_for(&mut other, path, r#"{"first":"yes"}"#).await, invalid(path));
    connected(&ask_for(&mut other, path, r#"{"second":"yes"}"#).await, path);
    assert_eq!((asked(app, "first", path), asked(app, "second", path)), (1, 3));
}

/// Until the handlers of those that left have ended, the namespace is still the second's.
async fn becomes_the_firsts(ws: &mut WebSocket, path: &str) {
    let entering = async {
        while ask_for(ws, path, r#"{"first":"yes"}"#).await == invalid(path) {
            tokio::task::yield_now().await;
        }
    };
    within("a namespace that nobody is in to be forgotten", entering).await;
    assert_eq!(which(ws, path).await, format!(r#"43{path},7["first"]"#));
}

async fn a_dynamic_namespace_is_removed_when_its_last_client_leaves(app: &App) {
    let path = "/asked-left";
    let mut ws = app.nodes.target.at(2).websocket().await;
    connected(&ask_for(&mut ws, path, r#"{"second":"yes"}"#).await, path);
    ws.send(&format!("41{path},")).await;
    becomes_the_firsts(&mut ws, path).await;
}

async fn a_dynamic_namespace_is_removed_when_its_only_client_is_refused(app: &App) {
    let path = "/asked-refused";
    let mut ws = app.nodes.target.at(2).websocket().await;
    let refused = ask_for(&mut ws, path, r#"{"second":"yes","refuse":true}"#).await;
    assert_eq!(refused, format!(r#"44{path},{{"message":"refused by auth"}}"#));
    becomes_the_firsts(&mut ws, path).await;
}

async fn a_pending_client_blocks_no_other_client(app: &App) {
    let at = app.nodes.target.at(1);
    for (path, refuse) in [("/asked-squat", true), ("/asked-slow", false)] {
        let gate = format!("gate of {path}");
        let (mut slow, mut quick) = (at.websocket().await, at.websocket().await);
        slow.send(&format!(r#"40{path},{{"second":"yes","refuse":{refuse},"gate":"{gate}"}}"#)).await;
        let taken = async {
            while asked(app, "second", path) < 1 {
                tokio::task::yield_now().await;
            }
        };
        within("the second to be asked", taken).await;
        connected(&ask_for(&mut quick, path, r#"{"first":"yes"}"#).await, path);
        assert_eq!(which(&mut quick, path).await, format!(r#"43{path},7["first"]"#));
        app.seen.open(gate);
        // Admitted or not, by now it is the namespace of another.
        let told = if refuse { "refused by auth" } else { "Invalid namespace" };
        assert_eq!(slow.packet_text().await, format!(r#"44{path},{{"message":"{told}"}}"#));
    }
}

#[tokio::test]
async fn a_client_may_join_a_limited_number_of_namespaces() {
    let app = App::start(1, |seen| {
        let config = socket::Config::default().max_namespaces(3);
        Node::builder().namespace(plain("/", seen)).namespace(rooms(seen)).socket(config)
    })
    .await;
    let mut guest: Guest = app.guest(0).await;
    for path in ["/room-1", "/room-2"] {
        connected(&ask_for(&mut guest.ws, path, "").await, path);
    }
    let refused = r#"44/room-3,{"message":"too many namespaces"}"#;
    assert_eq!(ask_for(&mut guest.ws, "/room-3", "").await, refused);
    guest.ws.send("41/room-1,").await;
    connected(&ask_for(&mut guest.ws, "/room-3", "").await, "/room-3");
    // Those that the server put it out of do not count, however many they are.
    for n in 4..10 {
        let (last, next) = (format!("/room-{}", n - 1), format!("/room-{n}"));
        app.of(0, &last).disconnect().await;
        assert_eq!(guest.hears().await, format!("41{last},"));
        connected(&ask_for(&mut guest.ws, &next, "").await, &next);
    }
    assert_eq!(guest.ask(r#"["echo",1]"#).await, "[1]");
}

on_one_and_three_nodes! {
    crate::app:
    a_dynamic_namespace_is_created_for_its_first_client,
    a_static_namespace_takes_precedence_over_patterns,
    a_path_longer_than_a_kilobyte_matches_no_pattern,
    namespaces_of_one_pattern_share_only_their_handlers,
    a_dynamic_namespace_spans_the_nodes,
    a_reference_taken_before_the_first_client_is_to_the_same_namespace,
    server_events_reach_a_dynamic_namespace_on_every_node,
    the_first_matching_predicate_takes_the_client,
    events_sent_while_a_predicate_runs_are_handled_after_it,
    two_clients_that_connect_at_once_meet_in_one_namespace,
    the_predicate_that_created_a_namespace_decides_about_every_client,
    a_dynamic_namespace_is_removed_when_its_last_client_leaves,
    a_dynamic_namespace_is_removed_when_its_only_client_is_refused,
    a_pending_client_blocks_no_other_client,
}
