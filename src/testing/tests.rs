//! The kit by its own means: a cluster of an application with rooms, and what befalls it, in virtual time.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use super::{CallError, Client, TestCluster};
use crate::engine;
use crate::id::SocketId;
use crate::socket::{
    Args, DisconnectReason, EventError, Handshake, Refusal, Room, RoomEvent, Socket, namespace, namespaces,
};
use crate::{Node, NodeBuilder};

/// Who left, why, and from which node.
type Left = Arc<Mutex<Vec<(usize, DisconnectReason)>>>;

fn app() -> NodeBuilder {
    app_of(0, &Left::default())
}

fn app_of(number: usize, left: &Left) -> NodeBuilder {
    let left = Arc::clone(left);
    let chat = namespace("/")
        .on("join", async |socket: Socket, room: String| Ok(socket.join(room).await?))
        .on("say", async |socket: Socket, Args((room, what)): Args<(String, Value)>| {
            Ok(socket.to(room).emit("said", &what)?)
        })
        .on("echo", async |_: Socket, bytes: Bytes| Ok(bytes))
        .on("fail", async |_: Socket, (): ()| Err::<(), _>(EventError::new("full", "no room left")))
        .on("leave me", async |socket: Socket, (): ()| {
            socket.disconnect();
            Ok(())
        })
        .on_disconnect(async move |_: Socket, why| {
            left.lock().push((number, why));
            Ok(())
        });
    let private = namespace("/private").auth(async |handshake: Handshake| {
        let Login { token } = handshake.auth()?;
        if token == "secret" {
            Ok(token)
        } else {
            Err(Refusal::new("unauthorized").with_data(json!({ "try": "again" })))
        }
    });
    Node::builder().namespace(chat).namespace(private)
}

#[derive(serde::Deserialize)]
struct Login {
    token: String,
}

async fn three() -> TestCluster {
    TestCluster::start(3, |_| app()).await
}

async fn member(cluster: &TestCluster, node: usize, room: &str) -> Client {
    let client = cluster.node(node).connect("/", &()).await.unwrap();
    client.call::<()>("join", room).await.unwrap();
    client
}

#[tokio::test(start_paused = true)]
async fn a_room_spans_the_nodes() {
    let cluster = three().await;
    let ann = member(&cluster, 0, "room").await;
    let mut bob = member(&cluster, 1, "room").await;
    let mut cid = member(&cluster, 2, "room").await;
    let mut dan = member(&cluster, 2, "elsewhere").await;
    ann.call::<()>("say", &Args(("room", "hello"))).await.unwrap();
    assert_eq!(bob.recv::<String>("said").await, "hello");
    assert_eq!(cid.recv::<String>("said").await, "hello");
    dan.silent().await;
    for number in 0..3 {
        ann.call::<()>("say", &Args(("room", number))).await.unwrap();
    }
    cluster.settled().await;
    bob.recv::<u32>("said").await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(bob.unread(), ["said", "said"]);
    assert_eq!((bob.take::<u32>("said"), bob.take::<u32>("said")), (vec![1, 2], vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_partition_splits_the_views_and_healing_joins_them() {
    let cluster = three().await;
    let ann = member(&cluster, 0, "room").await;
    let mut bob = member(&cluster, 1, "room").await;
    let mut cid = member(&cluster, 2, "room").await;
    cluster.partition(&[0], &[1, 2]);
    ann.emit("say", &Args(("room", "over there"))).await;
    bob.silent().await;
    cluster.settled().await;
    cluster.node(0).sees(&[0]).await;
    cluster.node(1).sees(&[1, 2]).await;
    let dan = cluster.node(2).connect("/", &()).await.unwrap();
    dan.emit("say", &Args(("room", "here"))).await;
    assert_eq!(bob.recv::<String>("said").await, "here");
    assert_eq!(cid.recv::<String>("said").await, "here");
    cluster.heal();
    cluster.settled().await;
    cluster.node(0).sees(&[0, 1, 2]).await;
    ann.emit("say", &Args(("room", "again"))).await;
    // What was kept comes first.
    assert_eq!(bob.recv::<String>("said").await, "over there");
    assert_eq!(bob.recv::<String>("said").await, "again");
}

#[tokio::test(start_paused = true)]
async fn a_short_partition_delays_and_loses_nothing() {
    let cluster = three().await;
    let ann = member(&cluster, 0, "room").await;
    let mut bob = member(&cluster, 1, "room").await;
    cluster.partition(&[0], &[1, 2]);
    for number in 0..50 {
        ann.emit("say", &Args(("room", number))).await;
    }
    bob.silent().await;
    cluster.heal();
    for number in 0..50 {
        assert_eq!(bob.recv::<u32>("said").await, number);
    }
    bob.silent().await;
}

#[tokio::test(start_paused = true)]
async fn loss_and_reordering_cost_neither_order_nor_messages() {
    let cluster = three().await;
    let ann = member(&cluster, 0, "room").await;
    let mut bob = member(&cluster, 1, "room").await;
    cluster.loss(0.2);
    cluster.delay(Duration::from_millis(1)..=Duration::from_millis(20));
    for number in 0..200 {
        ann.emit("say", &Args(("room", number))).await;
    }
    for number in 0..200 {
        assert_eq!(bob.recv::<u32>("said").await, number);
    }
    cluster.settled().await;
    bob.silent().await;
}

#[tokio::test(start_paused = true)]
async fn where_one_direction_is_cut_messages_take_another_way() {
    let cluster = three().await;
    let ann = member(&cluster, 0, "room").await;
    let mut bob = member(&cluster, 1, "room").await;
    cluster.cut(&[0], &[1]);
    ann.emit("say", &Args(("room", "around"))).await;
    assert_eq!(bob.recv::<String>("said").await, "around");
    cluster.settled().await;
    cluster.node(0).sees(&[0, 1, 2]).await;
}

#[tokio::test(start_paused = true)]
async fn who_is_killed_leaves_every_view_and_its_clients_reconnect_elsewhere() {
    let left = Left::default();
    let seen = Arc::clone(&left);
    let mut cluster = TestCluster::start(3, move |number| app_of(number, &left).engine(heartbeat())).await;
    let mut ann = member(&cluster, 0, "room").await;
    let mut bob = member(&cluster, 1, "room").await;
    let before = Instant::now();
    cluster.kill(0).await;
    assert_eq!(ann.disconnected().await, "transport close");
    cluster.node(1).sees(&[1, 2]).await;
    cluster.node(2).sees(&[1, 2]).await;
    assert!(before.elapsed() < Duration::from_secs(6), "found dead after {:?}", before.elapsed());
    assert!(before.elapsed() > Duration::from_secs(1), "nobody told them: {:?}", before.elapsed());
    let old = ann.id().to_owned();
    ann.reconnect(cluster.node(2)).await.unwrap();
    assert_ne!(ann.id(), old);
    ann.call::<()>("say", &Args(("room", "back"))).await.unwrap();
    assert_eq!(bob.recv::<String>("said").await, "back");
    bob.silent().await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(seen.lock().is_empty(), "handlers of a killed node ran: {:?}", seen.lock());
}

/// Two nodes whose handler of the server event "work" takes a second, and a client to ask them.
async fn working(done: &Arc<Mutex<u32>>) -> TestCluster {
    let done = Arc::clone(done);
    TestCluster::start(2, move |_| {
        let done = Arc::clone(&done);
        let slow = namespace("/").on_server_event("work", async move |()| {
            tokio::time::sleep(Duration::from_secs(1)).await;
            *done.lock() += 1;
            Ok(())
        });
        Node::builder().namespace(slow)
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn a_node_that_leaves_has_handled_the_server_events_that_it_got() {
    let done = Arc::default();
    let mut cluster = working(&done).await;
    cluster.node(0).node().of("/").server_side_emit("work", &()).unwrap();
    cluster.settled().await;
    cluster.leave(1).await;
    assert_eq!(*done.lock(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_killed_node_handles_no_server_event_any_further() {
    let done = Arc::default();
    let mut cluster = working(&done).await;
    cluster.node(0).node().of("/").server_side_emit("work", &()).unwrap();
    cluster.settled().await;
    cluster.kill(1).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(*done.lock(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_comes_and_goes_misses_nothing_of_other_nodes() {
    let rooms = || {
        namespaces("^/room-").on("join", async |socket: Socket, room: String| Ok(socket.join(room).await?))
    };
    let cluster = TestCluster::start(3, move |_| Node::builder().namespace(rooms())).await;
    cluster.delay(Duration::from_millis(1)..=Duration::from_millis(30));
    for round in 0..30 {
        let (one, other) = (round % 3, (round + 1) % 3);
        let mut ann = cluster.node(one).connect("/room-1", &()).await.unwrap();
        ann.call::<()>("join", "red").await.unwrap();
        let emitted = cluster.node(other).node().of("/room-1").to("red").emit("round", &round);
        emitted.unwrap();
        assert_eq!(ann.recv::<usize>("round").await, round);
        if round % 2 == 0 { ann.disconnect().await } else { ann.drop_connection() }
    }
}

/// What was told of the rooms of one node: which there are, and who is in them.
#[derive(Default)]
struct Told {
    rooms: HashSet<Room>,
    members: HashSet<(Room, SocketId)>,
    changes: usize,
    /// What cannot be.
    faults: Vec<RoomEvent>,
}

impl Told {
    fn change(&mut self, event: RoomEvent) {
        self.changes += 1;
        let right = match event.clone() {
            RoomEvent::Created { room } => self.rooms.insert(room),
            RoomEvent::Joined { room, socket } => {
                self.rooms.contains(&room) && self.members.insert((room, socket))
            }
            RoomEvent::Left { room, socket } => self.members.remove(&(room, socket)),
            RoomEvent::Deleted { room } => {
                self.members.iter().all(|(of, _)| *of != room) && self.rooms.remove(&room)
            }
        };
        if !right {
            self.faults.push(event);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_told_of_rooms_is_balanced_whoever_changes_them_at_once() {
    let told = [(); 3].map(|()| Arc::new(Mutex::new(Told::default())));
    let seen = told.clone();
    let cluster = TestCluster::start(3, move |number| {
        let told = Arc::clone(&told[number]);
        let watched = namespace("/")
            .on("join", async |socket: Socket, room: String| Ok(socket.join(room).await?))
            .on_room(move |_, event| {
                told.lock().change(event);
                std::future::ready(())
            });
        Node::builder().namespace(watched)
    })
    .await;
    let commands = (0..3).map(|number| {
        let all = cluster.node(number).node().of("/");
        tokio::spawn(async move {
            for round in 0..50 {
                let rooms = ["red", "blue", "green"];
                let (room, other) = (rooms[round % 3], rooms[(round + number) % 3]);
                all.sockets_join([room]);
                all.to(room).sockets_leave([other]);
                all.local().sockets_join([other]);
                tokio::task::yield_now().await;
            }
        })
    });
    let commands: Vec<_> = commands.collect();
    for round in 0..20 {
        let mut clients = Vec::new();
        for number in 0..3 {
            clients.push(member(&cluster, number, "red").await);
        }
        if round % 2 == 0 {
            let gone = cluster.node(round % 3).node().of("/").disconnect_sockets(false);
            drop(gone.await);
        }
        drop(clients);
    }
    for commanded in commands {
        commanded.await.unwrap();
    }
    let balanced = async {
        while !seen.iter().all(|told| told.lock().rooms.is_empty()) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Client::PATIENCE, balanced).await.unwrap();
    for told in seen {
        let Told { members, changes, faults, .. } = &*told.lock();
        assert!(
            faults.is_empty() && members.is_empty() && *changes > 100,
            "{faults:?} {members:?} {changes}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn virtual_time_waits_for_blocking_work() {
    let slow = namespace("/").on("read", async |_: Socket, (): ()| {
        let before = Instant::now();
        tokio::task::spawn_blocking(|| std::thread::sleep(Duration::from_millis(100))).await?;
        Ok(before.elapsed() < Duration::from_millis(500))
    });
    let slow = Mutex::new(Some(slow));
    let cluster =
        TestCluster::start(1, move |_| Node::builder().namespace(slow.lock().take().unwrap())).await;
    let ann = cluster.node(0).connect("/", &()).await.unwrap();
    assert!(ann.call::<bool>("read", &()).await.unwrap());
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "was disconnected (transport close)")]
async fn who_is_disconnected_is_not_merely_silent() {
    let mut cluster = three().await;
    let mut ann = member(&cluster, 0, "room").await;
    let killing = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        cluster.kill(0).await;
    };
    tokio::join!(ann.silent(), killing);
}

#[tokio::test(start_paused = true)]
async fn a_restarted_node_takes_part_again() {
    let mut cluster = three().await;
    let mut bob = member(&cluster, 1, "room").await;
    for number in [0, 2] {
        cluster.restart(number).await;
        cluster.settled().await;
        let ann = member(&cluster, number, "room").await;
        ann.call::<()>("say", &Args(("room", number))).await.unwrap();
        assert_eq!(bob.recv::<usize>("said").await, number);
    }
}

#[tokio::test(start_paused = true)]
async fn who_leaves_in_good_order_is_gone_at_once_and_its_clients_are_told() {
    let left = Left::default();
    let seen = Arc::clone(&left);
    let mut cluster = TestCluster::start(3, move |number| app_of(number, &left)).await;
    let mut ann = member(&cluster, 0, "room").await;
    let before = Instant::now();
    cluster.leave(0).await;
    assert_eq!(ann.disconnected().await, "transport close");
    cluster.node(1).sees(&[1, 2]).await;
    assert!(before.elapsed() < Duration::from_millis(1500), "took {:?}", before.elapsed());
    assert_eq!(*seen.lock(), [(0, DisconnectReason::ServerShuttingDown)]);
    cluster.restart(0).await;
    cluster.settled().await;
    ann.reconnect(cluster.node(0)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_is_emitted_after_an_awaited_join_arrives() {
    let cluster = three().await;
    cluster.delay(Duration::from_millis(1)..=Duration::from_millis(30));
    let ann = cluster.node(0).connect("/", &()).await.unwrap();
    for round in 0..20 {
        let room = format!("room {round}");
        let mut bob = member(&cluster, 1, &room).await;
        ann.emit("say", &Args((&room, round))).await;
        assert_eq!(bob.recv::<u32>("said").await, round);
    }
}

#[tokio::test(start_paused = true)]
async fn a_polling_client_may_send_every_request_to_another_node() {
    let cluster = three().await;
    let mut ann = cluster.polling(&[0, 1, 2]).connect("/", &()).await.unwrap();
    ann.call::<()>("join", "room").await.unwrap();
    let bob = member(&cluster, 1, "room").await;
    for number in 0..10 {
        bob.emit("say", &Args(("room", number))).await;
        assert_eq!(ann.recv::<u32>("said").await, number);
    }
    assert_eq!(ann.call::<Bytes>("echo", &Bytes::from_static(&[1, 2, 255])).await.unwrap(), &[1, 2, 255][..]);
    ann.goes_through(cluster.node(2).polling());
    bob.emit("say", &Args(("room", "still there"))).await;
    assert_eq!(ann.recv::<String>("said").await, "still there");
    ann.disconnect().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_sees_acks_errors_and_bytes() {
    let cluster = TestCluster::start(1, |_| app()).await;
    let ann = cluster.node(0).connect("/", &()).await.unwrap();
    let bytes = Bytes::from(vec![7; 100_000]);
    assert_eq!(ann.call::<Bytes>("echo", &bytes).await.unwrap(), bytes);
    let error = ann.call::<()>("fail", &()).await.unwrap_err();
    assert_eq!(
        (error.code(), error.to_string().as_str()),
        (Some("full"), "the handler failed: full: no room left")
    );
    assert!(matches!(ann.call::<u8>("echo", &bytes).await, Err(CallError::Decode(_))));
    assert!(matches!(ann.call::<u8>("leave me", &()).await, Err(CallError::Disconnected)));
}

#[tokio::test(start_paused = true)]
async fn a_client_answers_what_the_application_asks() {
    let cluster = three().await;
    let mut ann = cluster.node(0).connect("/", &()).await.unwrap();
    let bob = cluster.node(1).connect("/", &()).await.unwrap();
    bob.answers("double", |number: u32| 2 * number);
    let all = cluster.node(2).node().of("/");
    let asking = tokio::spawn(async move { all.emit_with_ack::<u32, _>("double", &21).await });
    let call = ann.recv_call::<u32>("double").await;
    assert_eq!(call.args, 21);
    call.answer(&43).await;
    let mut answers = asking.await.unwrap().unwrap().replies;
    answers.sort_unstable();
    assert_eq!(answers, [42, 43]);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_what_the_client_sees() {
    let cluster = TestCluster::start(1, |_| app()).await;
    let door = cluster.node(0);
    let refusal = door.connect("/private", &json!({ "token": "guess" })).await.unwrap_err();
    assert_eq!((refusal.message(), refusal.data()), ("unauthorized", Some(&json!({ "try": "again" }))));
    assert_eq!(door.connect("/private", &()).await.unwrap_err().message(), "invalid auth");
    assert_eq!(door.connect("/nowhere", &()).await.unwrap_err().message(), "Invalid namespace");
    assert!(door.connect("private", &json!({ "token": "secret" })).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn what_the_http_side_refuses_is_said_in_words() {
    let polling =
        engine::Config { transports: vec![engine::Transport::Polling], ..engine::Config::default() };
    let cluster = TestCluster::start(1, move |_| app().engine(polling.clone())).await;
    let refusal = cluster.node(0).connect("/", &()).await.unwrap_err();
    assert!(refusal.message().starts_with("400 Bad Request: "), "{refusal}");
    assert!(cluster.node(0).polling().connect("/", &()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_bad_link_between_two_nodes_concerns_no_third() {
    let cluster = three().await;
    cluster.loss_between(&[0], &[1], 1.0);
    cluster.delay_between(&[0, 1], &[2], Duration::from_millis(40)..=Duration::from_millis(50));
    cluster.settled().await;
    let ann = member(&cluster, 0, "room").await;
    let mut bob = member(&cluster, 1, "room").await;
    let before = Instant::now();
    ann.emit("say", &Args(("room", "through node 2"))).await;
    assert_eq!(bob.recv::<String>("said").await, "through node 2");
    assert!(before.elapsed() >= Duration::from_millis(80), "two slow hops took {:?}", before.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_polling_client_notices_that_its_node_is_gone() {
    let mut cluster = TestCluster::start(2, |_| app()).await;
    let mut ann = cluster.polling(&[0]).connect("/", &()).await.unwrap();
    cluster.kill(0).await;
    assert_eq!(ann.disconnected().await, "transport error");
    ann.reconnect(cluster.polling(&[1])).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn both_sides_of_a_partition_settle() {
    let mut cluster = TestCluster::start(5, |_| app()).await;
    cluster.partition(&[0, 1], &[2, 3, 4]);
    cluster.kill(4).await;
    cluster.settled().await;
    cluster.node(0).sees(&[0, 1]).await;
    cluster.node(2).sees(&[2, 3]).await;
    cluster.heal();
    cluster.restart(4).await;
    cluster.settled().await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_gone_lets_nobody_in() {
    let mut cluster = TestCluster::start(2, |_| app()).await;
    let gone = cluster.node(0).websocket();
    let polling = cluster.node(0).polling();
    cluster.kill(0).await;
    for entrance in [gone, polling] {
        assert_eq!(entrance.connect("/", &()).await.unwrap_err().message(), "connection refused");
    }
}

#[tokio::test(start_paused = true)]
async fn the_server_learns_how_a_client_left() {
    let left = Left::default();
    let seen = Arc::clone(&left);
    let cluster = TestCluster::start(1, move |number| app_of(number, &left)).await;
    let mut reasons = Vec::new();
    for (way, cut) in [(false, false), (false, true), (true, false)] {
        let entrance = if way { cluster.node(0).polling() } else { cluster.node(0).websocket() };
        let mut client = entrance.connect("/", &()).await.unwrap();
        if cut {
            client.drop_connection();
        } else {
            client.disconnect().await;
        }
        assert!(!client.is_connected());
        cluster.until_seen(&seen, reasons.len() + 1).await;
        reasons = seen.lock().iter().map(|(_, why)| *why).collect();
    }
    use DisconnectReason::{ClientNamespaceDisconnect, TransportClose};
    assert_eq!(reasons, [ClientNamespaceDisconnect, TransportClose, ClientNamespaceDisconnect]);
}

impl TestCluster {
    async fn until_seen(&self, left: &Left, count: usize) {
        let seen = async {
            while left.lock().len() < count {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Client::PATIENCE, seen).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn clients_answer_pings() {
    let cluster = TestCluster::start(1, |_| app().engine(heartbeat())).await;
    let ann = cluster.node(0).connect("/", &()).await.unwrap();
    let bob = cluster.node(0).polling().connect("/", &()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(ann.is_connected() && bob.is_connected());
}

fn heartbeat() -> engine::Config {
    let (ping_interval, ping_timeout) = (Duration::from_secs(5), Duration::from_secs(2));
    engine::Config { ping_interval, ping_timeout, ..engine::Config::default() }
}

#[tokio::test]
#[should_panic(
    expected = r#"waits for "said", but was disconnected (io server disconnect); it received "other" RawArgs([1]"#
)]
async fn a_failure_says_what_was_received_instead() {
    tokio::time::pause();
    let odd = namespace("/").on_connect(async |socket: Socket| {
        socket.emit("other", &1)?;
        socket.disconnect();
        Ok(())
    });
    let odd = Mutex::new(Some(odd));
    let cluster = TestCluster::start(1, move |_| Node::builder().namespace(odd.lock().take().unwrap())).await;
    let mut ann = cluster.node(0).connect("/", &()).await.unwrap();
    ann.recv::<String>("said").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_real_time_and_on_several_threads_the_same_happens() {
    let cluster = three().await;
    let ann = member(&cluster, 0, "room").await;
    let mut bob = member(&cluster, 1, "room").await;
    ann.call::<()>("say", &Args(("room", "hello"))).await.unwrap();
    assert_eq!(bob.recv::<String>("said").await, "hello");
}
