//! Limits that protect a node and its clients: of time, of bytes, and of queues.
#![expect(clippy::panic, reason = "tests fail by panicking")]

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use cluster_tests::app::{App, Guest, connected, plain};
use cluster_tests::deadline::within;
use cluster_tests::messages::{Messages, Received};
use hyper::Method;
use socketmesh::{Handshake, Node, NodeBuilder, Refusal, Socket, engine, namespace, namespaces, socket};
use tokio::task::yield_now;
use tokio::time::timeout;

/// Nodes of one test, with two namespaces.
async fn app(count: usize, configured: impl Fn(NodeBuilder) -> NodeBuilder) -> App {
    App::start(count, |seen| {
        let undecided =
            namespace("/undecided").auth(async |_: Handshake| pending::<Result<(), Refusal>>().await);
        let decided = Arc::clone(seen);
        let late = namespaces("^/late-").auth(async move |_: Handshake| {
            decided.gate("late").await;
            Ok::<(), Refusal>(())
        });
        configured(Node::builder())
            .namespace(late)
            .namespace(plain("/", seen))
            .namespace(plain("/other", seen))
            .namespace(plain("/overlapping", seen).concurrent(100))
            .namespace(undecided)
    })
    .await
}

/// The same limit for ever and for a burst.
fn buffering(bytes: usize) -> impl Fn(NodeBuilder) -> NodeBuilder {
    move |node| node.engine(engine::Config::default().max_buffered(bytes).max_burst(bytes))
}

fn counter(node: &Node, name: &str) -> u64 {
    node.counters().into_iter().find_map(|(counted, value)| (counted == name).then_some(value)).expect(name)
}

/// Emits to a room until one member is disconnected, at the pace of another; gives how many it took.
async fn emit_until_gone(app: &App, room: &str, slow: &Socket, witness: &mut Guest) -> usize {
    let load = "x".repeat(64 * 1024);
    for number in 0..2000 {
        app.of(0, "/").to(room).emit("load", &(number, &load)).expect("it encodes");
        assert!(witness.event().await.starts_with(&format!(r#"["load",[{number},"#)));
        if !slow.is_connected() {
            return number;
        }
    }
    panic!("a client that reads nothing was sent 128 MB and is still there");
}

// --- slow clients ---

async fn a_client_that_does_not_read_is_closed_and_others_are_not_affected(count: usize) {
    let app = app(count, buffering(1 << 20)).await;
    let (slow, mut witness) = (app.guest(1).await, app.guest(2).await);
    for guest in [&slow, &witness] {
        guest.socket.join("room").await.expect("connected");
    }
    emit_until_gone(&app, "room", &slow.socket, &mut witness).await;
    assert_eq!(app.seen.reason(slow.socket.id()).await.as_str(), "transport error");
    assert_eq!(counter(app.node(1), SLOW_CLIENTS), 1);
    assert_eq!(witness.ask(r#"["echo",1]"#).await, "[1]");
}

#[tokio::test]
async fn a_client_that_does_not_read_is_closed_on_one_node() {
    a_client_that_does_not_read_is_closed_and_others_are_not_affected(1).await;
}

#[tokio::test]
async fn a_client_that_does_not_read_is_closed_on_three_nodes() {
    a_client_that_does_not_read_is_closed_and_others_are_not_affected(3).await;
}

#[tokio::test]
async fn a_client_that_does_not_read_through_another_node_is_closed() {
    let app = app(3, buffering(1 << 20)).await;
    let (polling, slow) = app.polling_guest("/").await;
    let ws = polling.at(1).upgraded().await;
    let mut witness = app.guest(2).await;
    for socket in [&slow, &witness.socket] {
        socket.join("room").await.expect("connected");
    }
    emit_until_gone(&app, "room", &slow, &mut witness).await;
    assert_eq!(app.seen.reason(slow.id()).await.as_str(), "transport error");
    assert_eq!(counter(app.node(0), SLOW_CLIENTS), 1);
    drop(ws);
}

#[tokio::test]
async fn a_client_that_does_not_poll_is_closed() {
    let app = app(3, buffering(64 * 1024)).await;
    let (polling, slow) = app.polling_guest("/").await;
    let load = "x".repeat(10_000);
    // Six fit, with their framing; the seventh does not.
    for _ in 0..6 {
        slow.emit("load", &load).expect("it encodes");
    }
    assert!(slow.is_connected());
    slow.emit("load", &load).expect("it encodes");
    assert_eq!(app.seen.reason(slow.id()).await.as_str(), "transport error");
    assert_eq!(counter(app.node(0), SLOW_CLIENTS), 1);
    polling.gone().await;
}

/// Sends bursts of 1, 10 and 50 MB to everybody in a room, among whom is somebody who reads nothing.
async fn whoever_reads_gets_a_burst_whole(count: usize, polls: bool) {
    let app = app(count, |node| node).await;
    // On the node that has most for it.
    let stuck = app.guest(0).await;
    stuck.socket.join("room").await.expect("connected");
    let load = "x".repeat(100_000);
    for pieces in [10, 100, 500] {
        // A node keeps 16 MiB for another one.
        let from = if pieces > 100 { 0 } else { 2 };
        let emit = || {
            for number in 0..pieces {
                app.of(from, "/").to("room").emit("load", &(number, &load)).expect("it encodes");
            }
        };
        let start = |number: usize| format!(r#"42["load",[{number},"#);
        if polls {
            let (polling, socket) = app.polling_guest("/").await;
            socket.join("room").await.expect("connected");
            emit();
            // Another node carries its requests.
            let polling = polling.at(1);
            for (number, packet) in polling.packets(pieces).await.iter().enumerate() {
                assert!(packet.starts_with(&start(number)), "{pieces} {number}");
            }
            assert!(socket.is_connected());
        } else {
            let mut guest = app.guest(0).await;
            guest.socket.join("room").await.expect("connected");
            emit();
            for number in 0..pieces {
                assert!(
                    guest.event().await.starts_with(start(number).trim_start_matches("42")),
                    "{pieces} {number}"
                );
            }
            assert!(guest.socket.is_connected());
            guest.socket.room().await;
            assert!(guest.socket.buffered() <= 4 << 20);
        }
    }
    // It took nothing while more waited for it than may for long, which takes longer than other things here.
    timeout(Duration::from_secs(60), stuck.socket.room()).await.expect("its end");
    assert_eq!(app.seen.reason(stuck.socket.id()).await.as_str(), "transport error");
    assert_eq!(counter(app.node(0), SLOW_CLIENTS), 1);
}

#[tokio::test]
async fn whoever_reads_a_websocket_gets_a_burst_whole_on_one_node() {
    whoever_reads_gets_a_burst_whole(1, false).await;
}

#[tokio::test]
async fn whoever_reads_a_websocket_gets_a_burst_whole_on_three_nodes() {
    whoever_reads_gets_a_burst_whole(3, false).await;
}

#[tokio::test]
async fn whoever_polls_gets_a_burst_whole_on_one_node() {
    whoever_reads_gets_a_burst_whole(1, true).await;
}

#[tokio::test]
async fn whoever_polls_gets_a_burst_whole_on_three_nodes() {
    whoever_reads_gets_a_burst_whole(3, true).await;
}

#[tokio::test]
async fn who_takes_nothing_of_a_burst_is_closed_after_some_seconds_without_another_emit() {
    let app = app(1, |node| node.engine(engine::Config::default().max_buffered(64 << 10))).await;
    let slow = app.guest(0).await;
    let load = "x".repeat(1 << 20);
    for _ in 0..32 {
        slow.socket.emit("load", &load).expect("it encodes");
    }
    assert!(slow.socket.is_connected(), "it may be about to read");
    // Longer than it may take nothing.
    timeout(Duration::from_secs(60), slow.socket.room()).await.expect("the end of who waits for room");
    assert_eq!(app.seen.reason(slow.socket.id()).await.as_str(), "transport error");
    assert_eq!(counter(app.node(0), SLOW_CLIENTS), 1);
}

#[tokio::test]
async fn where_too_much_waits_for_all_clients_together_the_slowest_one_is_closed() {
    let config = engine::Config::default().max_buffered(4 << 20).max_buffered_total(5 << 20);
    let app = app(1, |node| node.engine(config.clone())).await;
    let [slow, other] = [app.polling_guest("/").await, app.polling_guest("/").await];
    let idle = app.polling_guest("/").await;
    idle.1.emit("little", &()).expect("it encodes");
    let load = |from: &str| from.repeat(1 << 20);
    for from in ["a", "b", "c"] {
        slow.1.emit("load", &load(from)).expect("it encodes");
    }
    assert!(slow.1.is_connected());
    for from in ["d", "e", "f"] {
        other.1.emit("load", &load(from)).expect("it encodes");
    }
    assert_eq!(app.seen.reason(slow.1.id()).await.as_str(), "transport error");
    assert_eq!(other.0.packets(3).await.len(), 3);
    assert!(idle.1.is_connected(), "for whom little waits is not to blame");
    assert_eq!(counter(app.node(0), SLOW_CLIENTS), 1);
}

#[tokio::test]
async fn a_single_packet_may_exceed_the_limit_of_queued_bytes() {
    let app = app(1, buffering(4096)).await;
    let mut guest = app.guest(0).await;
    let large = "x".repeat(100_000);
    assert_eq!(guest.ask(&format!(r#"["echo","{large}"]"#)).await, format!(r#"["{large}"]"#));
}

#[tokio::test]
async fn a_response_may_be_larger_than_max_payload() {
    let app = app(3, |node| node).await;
    let (polling, socket) = app.polling_guest("/").await;
    let large = "x".repeat(1_500_000);
    socket.emit("large", &large).expect("it encodes");
    assert_eq!(polling.packets(1).await, [format!(r#"42["large","{large}"]"#)]);
}

// --- volatile packets ---

#[tokio::test]
async fn a_volatile_packet_is_dropped_for_a_client_that_does_not_poll() {
    let app = app(3, |node| node).await;
    let (polling, socket) = app.polling_guest("/").await;
    socket.join("room").await.expect("connected");
    socket.volatile().emit("lost", &1).expect("it encodes");
    app.of(0, "/").to("room").volatile().emit("lost", &2).expect("it encodes");
    assert_eq!(counter(app.node(0), VOLATILE_DROPPED), 2);
    socket.emit("kept", &3).expect("it encodes");
    assert_eq!(polling.packets(1).await, [r#"42["kept",3]"#]);
}

#[tokio::test]
async fn a_volatile_packet_reaches_a_client_that_polls() {
    let app = app(3, |node| node).await;
    let (polling, socket) = app.polling_guest("/").await;
    let mut poll = tokio::spawn(polling.pending_poll().await.reply());
    let emitting = async {
        loop {
            socket.volatile().emit("seen", &()).expect("it encodes");
            yield_now().await;
        }
    };
    let reply = tokio::select! {
        reply = &mut poll => reply.expect("an answer"),
        () = emitting => unreachable!("it never ends"),
    };
    assert_eq!(reply.outcome(), (200, r#"42["seen"]"#), "one, and not what came after it");
}

#[tokio::test]
async fn a_volatile_packet_is_dropped_for_a_websocket_that_is_still_writing() {
    let app = app(1, buffering(64 << 20)).await;
    let mut guest = app.guest(0).await;
    let load = "x".repeat(64 * 1024);
    let mut sent = 0;
    // The client does not read, so a write has to wait at some point.
    while counter(app.node(0), VOLATILE_DROPPED) < 100 {
        guest.socket.volatile().emit("load", &(sent, &load)).expect("it encodes");
        sent += 1;
        yield_now().await;
    }
    guest.socket.emit("end", &()).expect("it encodes");
    let mut received: Vec<u64> = Vec::new();
    loop {
        let event = guest.event().await;
        if event == r#"["end"]"# {
            break;
        }
        let (_, values): (String, (u64, String)) = serde_json::from_str(&event).expect("a whole packet");
        received.push(values.0);
    }
    assert!(received.is_sorted_by(|one, next| one < next), "in order, and none twice: {received:?}");
    assert_eq!(received.len() as u64 + counter(app.node(0), VOLATILE_DROPPED), sent);
    assert!(guest.socket.is_connected());
}

// --- floods ---

#[tokio::test]
async fn a_flood_of_events_is_held_back_and_loses_nothing() {
    for count in [1, 3] {
        let app = app(count, |node| node).await;
        let mut guest = app.guest(1).await;
        let (gate, id) = (format!("flood-{}", guest.id()), guest.socket.id());
        let load = "x".repeat(10_000);
        guest.emit(&format!(r#"["wait","{gate}"]"#)).await;
        app.seen.waits(id).await;
        // 20 MB: more than all buffers between client and handler hold together.
        let flood = async {
            for number in 0..2000 {
                guest.emit(&format!(r#"["note","{number}:{load}"]"#)).await;
            }
        };
        let mut flood = Box::pin(flood);
        let stuck = timeout(STUCK, &mut flood).await;
        assert!(stuck.is_err(), "the node took 20 MB that nobody handles");
        assert_eq!(app.seen.handled_of(id), ["waits"]);
        app.seen.open(&gate);
        within("the flood to be taken", flood).await;
        assert_eq!(guest.ask(r#"["echo",1]"#).await, "[1]");
        let handled = app.seen.handled_of(id);
        let numbers = handled[2..].iter().map(|note| note.split_once(':').expect("a number").0.parse());
        let numbers: Vec<usize> = numbers.collect::<Result<_, _>>().expect("numbers");
        assert_eq!(numbers, (0..2000).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_flood_over_polling_is_answered_when_the_queue_has_room() {
    let app = app(3, |node| node).await;
    let (polling, socket) = app.polling_guest("/").await;
    let (gate, id) = (format!("flood-{}", socket.id()), socket.id());
    let mut packets = vec![format!(r#"42["wait","{gate}"]"#)];
    packets.extend((0..1000).map(|number| format!(r#"42["note","{number}"]"#)));
    let mut post = Box::pin(polling.post(packets.join("\x1e")));
    tokio::select! {
        reply = &mut post => panic!("answered while a thousand events wait: {reply:?}"),
        () = app.seen.waits(id) => {}
    }
    app.seen.open(&gate);
    assert_eq!(post.await.outcome(), (200, "ok"));
    polling.send(r#"421["echo",1]"#).await;
    assert_eq!(polling.packets(1).await, ["431[1]"]);
    let expected: Vec<String> = (0..1000).map(|number| number.to_string()).collect();
    assert_eq!(app.seen.handled_of(id)[2..], expected);
}

/// Checks that an event is not read while the gate is shut, and acked when it is open.
async fn waits_behind(app: &App, guest: &mut Guest, gate: &str) {
    guest.emit(r#"1["echo",1]"#).await;
    let answered = async { while guest.hears().await != "431[1]" {} };
    let mut answered = std::pin::pin!(answered);
    assert!(timeout(STUCK, &mut answered).await.is_err(), "the client is still read from");
    app.seen.open(gate);
    within("the answer", answered).await;
}

#[tokio::test]
async fn the_limit_of_queued_events_spans_all_namespaces() {
    for count in [1, 3] {
        let app = app(count, |node| node).await;
        let mut guest = app.guest(2).await;
        for n in 0..10 {
            guest.ws.send(&format!("40/late-{n},")).await;
            for _ in 0..50 {
                guest.ws.send(&format!(r#"42/late-{n},["early"]"#)).await;
            }
        }
        waits_behind(&app, &mut guest, "late").await;
    }
}

#[tokio::test]
async fn handlers_that_overlap_do_not_lift_the_limit_of_queued_events() {
    for count in [1, 3] {
        let app = app(count, |node| node).await;
        let mut guest = app.guest(1).await;
        guest.ws.send("40/overlapping,").await;
        for _ in 0..400 {
            guest.ws.send(r#"42/overlapping,["wait","apart"]"#).await;
        }
        waits_behind(&app, &mut guest, "apart").await;
    }
}

#[tokio::test]
async fn rejoining_does_not_raise_the_limit_of_queued_events() {
    for count in [1, 3] {
        let app = app(count, |node| node).await;
        let mut guest = app.guest(1).await;
        for _ in 0..300 {
            guest.ws.send("40/other,").await;
            guest.ws.send(r#"42/other,["wait","back"]"#).await;
            guest.ws.send("41/other,").await;
        }
        waits_behind(&app, &mut guest, "back").await;
    }
}

#[tokio::test]
async fn a_flood_that_lasts_ends_by_ping_timeout() {
    let app = app(1, pinging).await;
    let mut guest = app.guest(0).await;
    let id = guest.socket.id();
    guest.emit(r#"["wait","never"]"#).await;
    for number in 0..20_000 {
        guest.ws.try_send(&format!(r#"42["note","{number}"]"#)).await;
    }
    // The client answers every ping, but its pongs are not read.
    let answering = async {
        loop {
            if let Received::Closed(code) = guest.ws.packet().await {
                return code;
            }
        }
    };
    assert_eq!(within("the end of the flood", answering).await, None);
    // `on_disconnect` waits for the handler.
    app.seen.open("never");
    assert_eq!(app.seen.reason(id).await.as_str(), "ping timeout");
    // The events that were read before are handled, in order; the others are lost with the connection.
    let handled = app.seen.handled_of(id);
    let waited = handled.len() - 3;
    assert!((255..19_999).contains(&waited), "{waited} of 20000 were read");
    let expected = ["waits", "passed"].into_iter().map(str::to_owned);
    let expected = expected.chain((0..waited).map(|number| number.to_string())).chain(["left".to_owned()]);
    assert_eq!(handled, expected.collect::<Vec<_>>());
}

#[tokio::test]
async fn a_slow_handler_alone_is_no_reason_to_close() {
    let app = app(1, pinging).await;
    let mut guest = app.guest(0).await;
    guest.emit(r#"1["wait","later"]"#).await;
    // The pongs come behind them.
    for number in 0..1500 {
        guest.emit(&format!(r#"["note","{number}"]"#)).await;
    }
    for _ in 0..4 {
        assert_eq!(guest.ws.recv_text().await, "2");
        guest.ws.send("3").await;
    }
    app.seen.open("later");
    assert_eq!(guest.hears().await, r#"431["passed"]"#);
}

#[tokio::test]
async fn reading_resumes_when_the_blocked_socket_leaves() {
    let app = app(1, |node| node).await;
    for round in 0..10 {
        let guest = app.guest(0).await;
        let main = guest.socket.clone();
        let mut other = app.enter(guest.ws, "/other").await;
        let gate = format!("leaving-{round}");
        other.ws.send(&format!(r#"42["wait","{gate}"]"#)).await;
        app.seen.waits(main.id()).await;
        for number in 0..1500 {
            other.ws.send(&format!(r#"42["note","{number}"]"#)).await;
        }
        let asking = other.socket.emit_with_ack::<u8, _>("there?", &());
        let answering = async {
            let question = other.ws.packet_text().await;
            let id = question.strip_prefix("42/other,").and_then(|rest| rest.strip_suffix(r#"["there?"]"#));
            main.disconnect();
            assert_eq!(other.ws.packet_text().await, "41");
            other.ws.send(&format!("43/other,{}[1]", id.expect("the question"))).await;
        };
        let (answer, ()) = tokio::join!(asking, answering);
        assert_eq!(answer.expect("an answer"), 1);
        app.seen.open(&gate);
    }
}

// --- time ---

#[tokio::test]
async fn attachments_that_never_come_close_the_connection() {
    let attachment_timeout = Duration::from_secs(2);
    let config = socket::Config::default().attachment_timeout(attachment_timeout);
    let app = app(3, |node| node.socket(config.clone())).await;
    let mut guest = app.guest(0).await;
    let announced = r#"452-["echo",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#;
    let (polling, socket) = app.polling_guest("/").await;
    guest.ws.send(announced).await;
    guest.ws.send_binary(&[1]).await;
    polling.send(announced).await;
    assert_eq!(guest.ws.packet().await, Received::Closed(None));
    assert_eq!(app.seen.reason(guest.socket.id()).await.as_str(), "forced close");
    assert_eq!(app.seen.reason(socket.id()).await.as_str(), "forced close");
    assert_eq!(polling.poll().await.outcome(), (200, "6\x1e1"));
    polling.gone().await;

    // Those that come in time are the end of it.
    let mut guest = app.guest(1).await;
    guest.ws.send(r#"451-["echo",{"_placeholder":true,"num":0}]"#).await;
    guest.ws.send_binary(&[1]).await;
    let mut late = app.guest(1).await;
    late.ws.send(announced).await;
    assert_eq!(late.ws.packet().await, Received::Closed(None));
    assert_eq!(guest.ask(r#"["echo",1]"#).await, "[1]");
}

#[tokio::test]
async fn a_connection_that_joins_no_namespace_in_time_is_closed() {
    let connect_timeout = Duration::from_secs(2);
    let config = socket::Config::default().connect_timeout(connect_timeout);
    let app = app(3, |node| node.socket(config.clone())).await;
    let mut member = app.guest(0).await;
    let polling = app.nodes.target.polling().await;
    let ends = async |said: Option<&str>| {
        let mut ws = app.nodes.target.websocket().await;
        if let Some(said) = said {
            ws.send(said).await;
        }
        assert_eq!(ws.closed().await, None, "{said:?}");
    };
    tokio::join!(ends(None), ends(Some("40/unknown,")), ends(Some("40/undecided,")));
    within("the end of a session", async { while polling.poll().await.status() == 200 {} }).await;
    assert_eq!(member.ask(r#"["echo",1]"#).await, "[1]", "who joined stays");
}

#[tokio::test]
async fn an_upgrade_that_takes_too_long_costs_only_its_websocket() {
    let upgrade_timeout = Duration::from_secs(2);
    let config = engine::Config::default().upgrade_timeout(upgrade_timeout);
    let app = app(3, |node| node.engine(config.clone())).await;
    let (polling, socket) = app.polling_guest("/").await;
    let mut silent = polling.websocket().await;
    assert_eq!(silent.closed().await, None);
    let mut probing = polling.websocket().await;
    probing.send("2probe").await;
    assert_eq!(probing.recv_text().await, "3probe");
    assert_eq!(probing.closed().await, None);
    polling.send(r#"421["echo",1]"#).await;
    assert_eq!(polling.packets(1).await, ["431[1]"]);
    assert!(socket.is_connected());
    let mut ws = polling.upgraded().await;
    ws.send(r#"422["echo",2]"#).await;
    assert_eq!(ws.packet_text().await, "432[2]");
}

// --- bytes ---

#[tokio::test]
async fn a_message_over_the_limit_closes_a_websocket_with_1009() {
    let config = engine::Config::default().max_payload(1000);
    let app = app(3, |node| node.engine(config.clone())).await;
    let mut guest = app.guest(1).await;
    let fits = format!(r#"["echo","{}"]"#, "x".repeat(900));
    assert!(guest.ask(&fits).await.len() > 900);
    guest.emit(&format!(r#"["echo","{}"]"#, "x".repeat(1000))).await;
    assert_eq!(guest.ws.packet().await, Received::Closed(Some(1009)));
    assert_eq!(app.seen.reason(guest.socket.id()).await.as_str(), "transport error");

    // The same through a node that does not own the session.
    let (polling, socket) = app.polling_guest("/").await;
    let mut ws = polling.at(2).upgraded().await;
    ws.send(&format!(r#"42["echo","{}"]"#, "x".repeat(1000))).await;
    assert_eq!(ws.packet().await, Received::Closed(Some(1009)));
    assert_eq!(app.seen.reason(socket.id()).await.as_str(), "transport error");
}

#[tokio::test]
async fn a_post_over_the_limit_is_413_on_every_node_and_the_session_lives() {
    let config = engine::Config::default().max_payload(1000);
    let app = app(3, |node| node.engine(config.clone())).await;
    let (polling, socket) = app.polling_guest("/").await;
    let large = format!(r#"42["echo","{}"]"#, "x".repeat(1000));
    for n in 0..3 {
        assert_eq!(polling.at(n).post(large.clone()).await.outcome(), (413, ""), "at node {n}");
        let (body, chunked) = polling.at(n).call(Method::POST).start_slow(None).await;
        body.send(large.clone()).await;
        assert_eq!(chunked.reply().await.outcome(), (413, ""), "chunked, at node {n}");
        polling.at(n).send(r#"421["echo",1]"#).await;
        assert_eq!(polling.packets(1).await, ["431[1]"]);
    }
    assert!(socket.is_connected());
}

#[tokio::test]
async fn a_refusal_reaches_a_client_that_is_still_sending() {
    let app = app(3, |node| node).await;
    let (polling, _) = app.polling_guest("/").await;
    let large = vec![b'4'; 8_000_000];
    for round in 0..10 {
        for n in 0..3 {
            let refused = polling.at(n).post(large.clone()).await;
            assert_eq!(refused.outcome(), (413, ""), "round {round} at node {n}");
            let query = "EIO=4&transport=polling&sid=unknown";
            let unknown = app.nodes.target.at(n).call(Method::POST, query).body(large.clone()).send().await;
            assert_eq!(unknown.outcome(), (400, SESSION_UNKNOWN), "round {round} at node {n}");
        }
    }
}

#[tokio::test]
async fn more_bytes_than_may_be_pending_close_the_connection() {
    let config = socket::Config::default().max_pending_bytes(1000);
    let app = app(1, |node| node.socket(config.clone())).await;
    let mut ws = app.nodes.target.websocket().await;
    ws.send("40").await;
    connected(&ws.packet_text().await, "/");
    ws.send(r#"452-["echo",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#).await;
    ws.send_binary(&[0; 1001]).await;
    assert_eq!(ws.packet().await, Received::Closed(None));
}

/// Short heartbeats, with room for a loaded machine.
fn pinging(node: NodeBuilder) -> NodeBuilder {
    let (ping_interval, ping_timeout) = (Duration::from_millis(100), Duration::from_secs(4));
    node.engine(engine::Config::default().ping_interval(ping_interval).ping_timeout(ping_timeout))
}

const SESSION_UNKNOWN: &str = r#"{"code":1,"message":"Session ID unknown"}"#;
const SLOW_CLIENTS: &str = "socketmesh_engine_slow_clients_closed_total";
const VOLATILE_DROPPED: &str = "socketmesh_engine_volatile_packets_dropped_total";
/// The deadline for a flood to be handled.
const STUCK: Duration = Duration::from_millis(500);
