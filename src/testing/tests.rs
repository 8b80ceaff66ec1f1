//! Tests of the test kit: a cluster of an application with rooms, its clients and its faults, in virtual time.

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

/// The disconnects that the application saw: the number of the node, and the reason.
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
        .on("fail with data", async |_: Socket, (): ()| {
            Err::<(), _>(EventError::new("full", "no room left").with_data(json!({ "free": 0 })))
        })
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
async fn nodes_without_clients_send_each_other_little() {
    let cluster = TestCluster::start(2, |_| Node::builder()).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let before = cluster.datagrams();
    tokio::time::sleep(Duration::from_secs(10)).await;
    let sent = cluster.datagrams() - before;
    // Each second two pings with an answer and its confirmation, and one exchange of gossip.
    assert!((60..140).contains(&sent), "{sent}");
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
async fn a_partition_splits_the_views_and_healing_merges_them() {
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
    // The event that was kept during the partition comes first.
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
async fn events_arrive_once_and_in_order_despite_loss_and_reordering() {
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
async fn events_are_relayed_where_one_direction_is_cut() {
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
async fn a_killed_node_leaves_every_view_and_its_clients_reconnect_to_another_node() {
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
    assert!(before.elapsed() < Duration::from_secs(1), "declared dead after {:?}", before.elapsed());
    let old = ann.id().to_owned();
    ann.reconnect(cluster.node(2)).await.unwrap();
    assert_ne!(ann.id(), old);
    ann.call::<()>("say", &Args(("room", "back"))).await.unwrap();
    assert_eq!(bob.recv::<String>("said").await, "back");
    bob.silent().await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(seen.lock().is_empty(), "handlers of a killed node ran: {:?}", seen.lock());
}

/// Two nodes whose handler of the server event "work" takes a second. `done` counts the handlers that finished.
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
async fn a_node_handles_the_server_events_it_received_before_it_shuts_down() {
    let done = Arc::default();
    let mut cluster = working(&done).await;
    cluster.node(0).node().of("/").server_side_emit("work", &()).unwrap();
    cluster.settled().await;
    cluster.shutdown(1).await;
    assert_eq!(*done.lock(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_handlers_of_server_events_stop_when_their_node_is_killed() {
    let done = Arc::default();
    let mut cluster = working(&done).await;
    cluster.node(0).node().of("/").server_side_emit("work", &()).unwrap();
    cluster.settled().await;
    cluster.kill(1).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(*done.lock(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_dynamic_namespace_that_was_removed_and_created_again_receives_every_event_of_other_nodes() {
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

/// The rooms of one node and their members, as its room events describe them.
#[derive(Default)]
struct ObservedRooms {
    rooms: HashSet<Room>,
    members: HashSet<(Room, SocketId)>,
    changes: usize,
    /// Events that contradict the ones before.
    faults: Vec<RoomEvent>,
}

impl ObservedRooms {
    fn change(&mut self, event: RoomEvent) {
        self.changes += 1;
        let consistent = match event.clone() {
            RoomEvent::Created { room } => self.rooms.insert(room),
            RoomEvent::Joined { room, socket } => {
                self.rooms.contains(&room) && self.members.insert((room, socket))
            }
            RoomEvent::Left { room, socket } => self.members.remove(&(room, socket)),
            RoomEvent::Deleted { room } => {
                self.members.iter().all(|(of, _)| *of != room) && self.rooms.remove(&room)
            }
        };
        if !consistent {
            self.faults.push(event);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn room_events_balance_under_concurrent_changes_from_all_nodes() {
    let observed = [(); 3].map(|()| Arc::new(Mutex::new(ObservedRooms::default())));
    let seen = observed.clone();
    let cluster = TestCluster::start(3, move |number| {
        let observed = Arc::clone(&observed[number]);
        let watched = namespace("/")
            .on("join", async |socket: Socket, room: String| Ok(socket.join(room).await?))
            .on_room(move |_, event| {
                observed.lock().change(event);
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
                all.join(room);
                all.to(room).leave(other);
                all.local().join(other);
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
            let gone = cluster.node(round % 3).node().of("/").disconnect();
            drop(gone.await);
        }
        drop(clients);
    }
    for commanded in commands {
        commanded.await.unwrap();
    }
    let balanced = async {
        while !seen.iter().all(|observed| observed.lock().rooms.is_empty()) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Client::PATIENCE, balanced).await.unwrap();
    for observed in seen {
        let ObservedRooms { members, changes, faults, .. } = &*observed.lock();
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
async fn silent_panics_when_the_client_is_disconnected() {
    let mut cluster = three().await;
    let mut ann = member(&cluster, 0, "room").await;
    let killing = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        cluster.kill(0).await;
    };
    tokio::join!(ann.silent(), killing);
}

#[tokio::test(start_paused = true)]
async fn a_restarted_node_rejoins_and_emits_again() {
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
async fn a_node_that_shuts_down_leaves_every_view_at_once_and_tells_its_clients() {
    let left = Left::default();
    let seen = Arc::clone(&left);
    let mut cluster = TestCluster::start(3, move |number| app_of(number, &left)).await;
    let mut ann = member(&cluster, 0, "room").await;
    let before = Instant::now();
    cluster.shutdown(0).await;
    assert_eq!(ann.disconnected().await, "transport close");
    cluster.node(1).sees(&[1, 2]).await;
    assert!(before.elapsed() < Duration::from_millis(1500), "took {:?}", before.elapsed());
    assert_eq!(*seen.lock(), [(0, DisconnectReason::ServerShuttingDown)]);
    cluster.restart(0).await;
    cluster.settled().await;
    ann.reconnect(cluster.node(0)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_event_emitted_after_an_awaited_join_arrives() {
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
async fn each_request_of_a_polling_client_may_go_to_another_node() {
    let cluster = three().await;
    let mut ann = cluster.polling(&[0, 1, 2]).connect("/", &()).await.unwrap();
    ann.call::<()>("join", "room").await.unwrap();
    let bob = member(&cluster, 1, "room").await;
    for number in 0..10 {
        bob.emit("say", &Args(("room", number))).await;
        assert_eq!(ann.recv::<u32>("said").await, number);
    }
    assert_eq!(ann.call::<Bytes>("echo", &Bytes::from_static(&[1, 2, 255])).await.unwrap(), &[1, 2, 255][..]);
    ann.reroute(cluster.node(2).polling());
    bob.emit("say", &Args(("room", "still there"))).await;
    assert_eq!(ann.recv::<String>("said").await, "still there");
    ann.disconnect().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_receives_acks_errors_and_bytes() {
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
async fn a_client_receives_the_data_of_an_error() {
    let cluster = TestCluster::start(1, |_| app()).await;
    let ann = cluster.node(0).connect("/", &()).await.unwrap();
    let Err(CallError::Handler(error)) = ann.call::<()>("fail with data", &()).await else {
        panic!("the error of the handler")
    };
    assert_eq!((error.code(), error.message()), ("full", "no room left"));
    assert_eq!(error.data(), Some(&json!({ "free": 0 })));
}

#[tokio::test(start_paused = true)]
async fn clients_ack_the_calls_of_the_application() {
    let cluster = three().await;
    let mut ann = cluster.node(0).connect("/", &()).await.unwrap();
    let bob = cluster.node(1).connect("/", &()).await.unwrap();
    bob.on_call("double", |number: u32| 2 * number);
    let all = cluster.node(2).node().of("/");
    let asking = tokio::spawn(async move { all.emit_with_ack::<u32, _>("double", &21).await });
    let call = ann.recv_call::<u32>("double").await;
    assert_eq!(call.args, 21);
    call.ack(&43).await;
    let mut answers = asking.await.unwrap().unwrap().replies;
    answers.sort_unstable();
    assert_eq!(answers, [42, 43]);
}

#[tokio::test(start_paused = true)]
async fn connect_returns_the_refusal_of_the_namespace() {
    let cluster = TestCluster::start(1, |_| app()).await;
    let node = cluster.node(0);
    let refusal = node.connect("/private", &json!({ "token": "guess" })).await.unwrap_err();
    assert_eq!((refusal.message(), refusal.data()), ("unauthorized", Some(&json!({ "try": "again" }))));
    assert_eq!(node.connect("/private", &()).await.unwrap_err().message(), "invalid auth");
    assert_eq!(node.connect("/nowhere", &()).await.unwrap_err().message(), "Invalid namespace");
    assert!(node.connect("private", &json!({ "token": "secret" })).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn connect_returns_the_status_and_text_of_a_refused_handshake() {
    let polling = engine::Config::default().transports([engine::Transport::Polling]);
    let cluster = TestCluster::start(1, move |_| app().engine(polling.clone())).await;
    let refusal = cluster.node(0).connect("/", &()).await.unwrap_err();
    assert!(refusal.message().starts_with("400 Bad Request: "), "{refusal}");
    assert!(cluster.node(0).polling().connect("/", &()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn loss_and_delay_between_two_nodes_leave_the_third_alone() {
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
async fn a_polling_client_notices_that_its_node_was_killed() {
    let mut cluster = TestCluster::start(2, |_| app()).await;
    let mut ann = cluster.polling(&[0]).connect("/", &()).await.unwrap();
    cluster.kill(0).await;
    assert_eq!(ann.disconnected().await, "transport error");
    ann.reconnect(cluster.polling(&[1])).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn each_side_of_a_partition_settles() {
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
async fn a_killed_node_refuses_connections() {
    let mut cluster = TestCluster::start(2, |_| app()).await;
    let websocket = cluster.node(0).websocket();
    let polling = cluster.node(0).polling();
    cluster.kill(0).await;
    for route in [websocket, polling] {
        assert_eq!(route.connect("/", &()).await.unwrap_err().message(), "connection refused");
    }
}

#[tokio::test(start_paused = true)]
async fn the_server_learns_why_a_client_disconnected() {
    let left = Left::default();
    let seen = Arc::clone(&left);
    let cluster = TestCluster::start(1, move |number| app_of(number, &left)).await;
    let mut reasons = Vec::new();
    for (polls, cut) in [(false, false), (false, true), (true, false)] {
        let route = if polls { cluster.node(0).polling() } else { cluster.node(0).websocket() };
        let mut client = route.connect("/", &()).await.unwrap();
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
    engine::Config::default().ping_interval(ping_interval).ping_timeout(ping_timeout)
}

#[tokio::test]
#[should_panic(
    expected = r#"waits for "said", but was disconnected (io server disconnect); it received "other" RawArgs([1]"#
)]
async fn a_failure_lists_the_events_received_instead() {
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
async fn a_cluster_works_in_real_time_and_on_several_threads() {
    let cluster = three().await;
    let ann = member(&cluster, 0, "room").await;
    let mut bob = member(&cluster, 1, "room").await;
    ann.call::<()>("say", &Args(("room", "hello"))).await.unwrap();
    assert_eq!(bob.recv::<String>("said").await, "hello");
}
