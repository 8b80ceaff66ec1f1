//! Clients that come back (`Namespace::recover`): what they get, on one node and on several, whatever happened to the node that they
//! were on. In virtual time, with the test kit.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::json;
use socketmesh::socket::{self, LostSession, Recovery};
use socketmesh::testing::{Client, TestCluster};
use socketmesh::{Args, Drain, Handshake, NamespaceRef, Node, NodeBuilder, Refusal, Socket, namespace};
use tokio::time::{sleep, timeout};
use tower_service::Service as _;

/// The name of a client, and how often it changed its mind.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Guest {
    name: String,
    changes: Mutex<u32>,
}

/// What happened to sessions.
#[derive(Debug, Default, Clone)]
struct Told(Arc<Mutex<Vec<String>>>);

impl Told {
    fn tell(&self, what: String) {
        self.0.lock().unwrap().push(what);
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

fn app(recovery: Recovery, told: Told) -> NodeBuilder {
    let (asked, lost) = (told.clone(), told);
    let chat = namespace("/")
        .auth(async move |handshake: Handshake| {
            #[derive(Deserialize)]
            struct Auth {
                name: String,
            }
            let Auth { name } = handshake.auth()?;
            asked.tell(format!("asked {name}"));
            Ok::<_, Refusal>(Guest { name, changes: Mutex::default() })
        })
        .recover(recovery)
        .on_connect(async |socket: Socket<Guest>| {
            if !socket.recovered() {
                socket.join("lobby").await?;
            }
            Ok(())
        })
        .on("join", async |socket: Socket<Guest>, room: String| Ok(socket.join(room).await?))
        .on("change", async |socket: Socket<Guest>, (): ()| {
            *socket.data().changes.lock().unwrap() += 1;
            socket.save();
            Ok(())
        })
        .on("who", async |socket: Socket<Guest>, (): ()| {
            let rooms: Vec<_> = socket.rooms().iter().skip(1).map(ToString::to_string).collect();
            let (name, changes) = (socket.data().name.clone(), *socket.data().changes.lock().unwrap());
            Ok((name, changes, rooms, socket.recovered()))
        })
        .on_lost(async move |_: NamespaceRef, session: LostSession<Guest>| {
            let name = session.data.map(|data| data.name.clone());
            lost.tell(format!("lost {} of {:?}", name.unwrap_or_default(), session.rooms));
            Ok(())
        });
    Node::builder().namespace(chat)
}

async fn cluster(nodes: usize) -> TestCluster {
    TestCluster::start(nodes, |_| app(Recovery::default(), Told::default())).await
}

async fn connect(cluster: &TestCluster, node: usize, name: &str) -> Client {
    let mut client = cluster.node(node).connect("/", &json!({ "name": name })).await.unwrap();
    // It is in its room, and has a position.
    client.call::<()>("join", "known").await.unwrap();
    cluster.node(node).node().of("/").to(client.id()).emit("hello", &()).unwrap();
    client.recv::<Args<(Option<String>,)>>("hello").await;
    client
}

/// What a client says that lies: of each origin this number (docs/protocol/mesh.md, "Recovery").
fn forged(numbers: impl IntoIterator<Item = ([u8; 5], u64)>) -> String {
    let mut bytes = vec![1];
    for (origin, mut number) in numbers {
        bytes.extend(origin);
        while number >= 0x80 {
            bytes.push(u8::try_from(number & 0x7f).unwrap() | 0x80);
            number >>= 7;
        }
        bytes.push(u8::try_from(number).unwrap());
    }
    let hash =
        bytes.iter().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    let hash = (hash ^ (hash >> 16)).wrapping_mul(0x85eb_ca6b);
    bytes.extend(&(hash ^ (hash >> 13)).to_be_bytes()[1..]);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The origins of a position in which none has a large number.
fn origins(position: &str) -> Vec<[u8; 5]> {
    let bytes = URL_SAFE_NO_PAD.decode(position).unwrap();
    let numbers = bytes.get(1..bytes.len() - 3).unwrap();
    numbers.chunks(6).map(|chunk| *chunk.first_chunk().unwrap()).collect()
}

/// Emits numbers to a room, from a node.
fn say(cluster: &TestCluster, node: usize, room: &str, numbers: impl IntoIterator<Item = u32>) {
    let room = cluster.node(node).node().of("/").to(room);
    numbers.into_iter().for_each(|number| room.clone().emit("said", &number).unwrap());
}

fn heard(client: &mut Client) -> Vec<u32> {
    client.take::<u32>("said")
}

async fn who(client: &Client) -> (String, u32, Vec<String>, bool) {
    let (name, changes, mut rooms, recovered): (String, u32, Vec<String>, bool) =
        client.call("who", &()).await.unwrap();
    rooms.sort();
    (name, changes, rooms, recovered)
}

/// What takes longer than anything on its way.
async fn settle() {
    sleep(Duration::from_millis(300)).await;
}

#[tokio::test(start_paused = true)]
async fn a_client_gets_back_its_socket_and_what_it_missed_before_anything_new() {
    let cluster = cluster(1).await;
    let mut client = connect(&cluster, 0, "ann").await;
    client.call::<()>("join", "room").await.unwrap();
    client.call::<()>("change", &()).await.unwrap();
    say(&cluster, 0, "lobby", 0..2);
    assert_eq!((client.recv::<u32>("said").await, client.recv::<u32>("said").await), (0, 1));
    let id = client.id().to_owned();
    client.drop_connection();
    settle().await;
    let all = cluster.node(0).node().of("/");
    assert_eq!(all.clone().count().await.sockets, 0, "who is away does not count");
    say(&cluster, 0, "lobby", [2]);
    say(&cluster, 0, "elsewhere", [100]);
    say(&cluster, 0, "room", [3]);
    all.except("lobby").emit("said", &101).unwrap();
    all.emit("said", &4).unwrap();
    all.to(&id).emit("said", &5).unwrap();
    all.to("lobby").volatile().emit("said", &102).unwrap();
    all.emit("bytes", &Bytes::from_static(b"1234")).unwrap();
    assert!(client.come_back(cluster.node(0).websocket()).await.unwrap());
    assert_eq!(client.id(), id);
    assert_eq!(client.unread(), ["said", "said", "said", "said", "bytes"], "before the answer to CONNECT");
    assert_eq!(heard(&mut client), [2, 3, 4, 5]);
    assert_eq!(client.recv::<Bytes>("bytes").await, "1234");
    let rooms = ["known", "lobby", "room"].map(str::to_owned).to_vec();
    assert_eq!(who(&client).await, ("ann".to_owned(), 1, rooms, true));
    say(&cluster, 0, "room", [6]);
    assert_eq!(client.recv::<u32>("said").await, 6);
    client.silent().await;
}

#[tokio::test(start_paused = true)]
async fn a_session_is_recovered_again_and_again_and_everything_comes_once() {
    let cluster = cluster(3).await;
    let mut client = connect(&cluster, 0, "ann").await;
    let mut all = Vec::new();
    for round in 0..12_u32 {
        client.drop_connection();
        for node in 0..3 {
            let first = 100 * round + 10 * u32::try_from(node).unwrap();
            say(&cluster, node, "lobby", first..first + 3);
        }
        if round % 3 == 0 {
            settle().await;
        }
        let node = usize::try_from(round).unwrap() % 3;
        assert!(client.come_back(cluster.node(node).websocket()).await.unwrap(), "round {round}");
        settle().await;
        let mut said = heard(&mut client);
        said.sort_unstable();
        all.extend(said);
    }
    let expected: Vec<_> = (0..12)
        .flat_map(|round| (0..3).flat_map(move |node| (0..3).map(move |n| 100 * round + 10 * node + n)))
        .collect();
    assert_eq!(all, expected);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_session_and_one_that_is_over_get_another_socket() {
    let told = Told::default();
    let made = told.clone();
    let recovery = Recovery::default().max_disconnection(Duration::from_secs(60));
    let cluster = TestCluster::start(3, move |_| app(recovery.clone(), made.clone())).await;
    let mut client = connect(&cluster, 0, "ann").await;
    let id = client.id().to_owned();
    client.drop_connection();
    sleep(Duration::from_secs(58)).await;
    assert!(client.come_back(cluster.node(1).websocket()).await.unwrap());
    assert_eq!(told.take(), ["asked ann"], "the middleware is skipped");
    client.drop_connection();
    sleep(Duration::from_secs(63)).await;
    assert_eq!(told.take(), [r#"lost ann of ["known", "lobby"]"#], "once in the cluster");
    assert!(!client.come_back(cluster.node(2).websocket()).await.unwrap());
    assert_ne!(client.id(), id);
    assert!(!who(&client).await.3);
    assert_eq!(told.take(), ["asked ann"]);
    client.disconnect().await;
    settle().await;
    assert!(!client.come_back(cluster.node(0).websocket()).await.unwrap(), "it left for good");
}

#[tokio::test(start_paused = true)]
async fn a_client_without_an_event_is_recovered_only_where_that_is_wanted() {
    for wanted in [false, true] {
        let recovery = Recovery::default().before_first_event(wanted);
        let cluster = TestCluster::start(2, move |_| app(recovery.clone(), Told::default())).await;
        let mut client = cluster.node(0).connect("/", &json!({ "name": "ann" })).await.unwrap();
        client.call::<()>("join", "room").await.unwrap();
        client.drop_connection();
        say(&cluster, 1, "room", [1]);
        settle().await;
        assert_eq!(client.come_back(cluster.node(1).websocket()).await.unwrap(), wanted);
        assert_eq!(heard(&mut client), [1][..usize::from(wanted)]);
    }
}

#[tokio::test(start_paused = true)]
async fn recovery_is_off_unless_it_is_switched_on_for_one_namespace_or_for_all() {
    let plain = || namespace("/").on_connect(async |socket: Socket| Ok(socket.emit("hi", "there")?));
    for all in [false, true] {
        let config = socket::Config::default();
        let config = if all { config.recover(Recovery::default()) } else { config };
        let cluster =
            TestCluster::start(1, move |_| Node::builder().socket(config.clone()).namespace(plain())).await;
        let mut client = cluster.node(0).connect("/", &()).await.unwrap();
        let said = client.recv::<Args<(String, Option<String>)>>("hi").await;
        assert_eq!(said.0.1.is_some(), all, "a position follows the arguments");
        assert_eq!(client.come_back(cluster.node(0).websocket()).await.unwrap(), all);
    }
}

#[tokio::test(start_paused = true)]
async fn the_middleware_runs_where_it_is_wanted_and_may_refuse() {
    let told = Told::default();
    let made = told.clone();
    let recovery = Recovery::default().skip_middleware(false);
    let cluster = TestCluster::start(1, move |_| app(recovery.clone(), made.clone())).await;
    let mut client = connect(&cluster, 0, "ann").await;
    assert!(client.come_back(cluster.node(0).websocket()).await.unwrap());
    assert_eq!(told.take(), ["asked ann", "asked ann"]);
}

#[tokio::test(start_paused = true)]
async fn of_two_that_claim_one_session_at_once_one_gets_it() {
    let cluster = cluster(3).await;
    for attempt in 0..12_u64 {
        let node = usize::try_from(attempt % 3).unwrap();
        let mut client = connect(&cluster, node, "ann").await;
        let (id, auth) = (client.id().to_owned(), client.returning_auth());
        client.drop_connection();
        let claim = async |node: usize, behind: u64| {
            sleep(Duration::from_millis(behind)).await;
            cluster.node(node).connect("/", &auth).await.unwrap()
        };
        let (one, two, three) = tokio::join!(claim(0, 0), claim(1, attempt / 3), claim(0, attempt / 3));
        settle().await;
        let back: Vec<_> = [&one, &two, &three].into_iter().filter(|client| client.id() == id).collect();
        assert_eq!(back.len(), 1, "attempt {attempt}");
        assert!(back[0].is_connected());
        let found = cluster.node(2).node().of("/").to(&id).fetch_sockets().await.found;
        assert_eq!(found.len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_is_back_before_its_node_noticed_that_it_was_gone() {
    let cluster = cluster(3).await;
    for (before, after) in [(0, 1), (1, 1), (2, 0)] {
        let mut client = connect(&cluster, before, "ann").await;
        let (id, auth) = (client.id().to_owned(), client.returning_auth());
        // The first connection is still open.
        say(&cluster, 2, &id, [1]);
        let mut back = cluster.node(after).connect("/", &auth).await.unwrap();
        assert_eq!(back.id(), id);
        assert_eq!(client.disconnected().await, "transport close");
        settle().await;
        assert_eq!(heard(&mut back), [1]);
        assert_eq!(cluster.node(2).node().of("/").to(&id).fetch_sockets().await.found.len(), 1);
        say(&cluster, 2, &id, [2]);
        say(&cluster, 0, &id, [3]);
        settle().await;
        let mut said = heard(&mut back);
        said.sort_unstable();
        assert_eq!(said, [2, 3], "it is found by its id where it is now");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_sent_to_a_room_before_a_client_left_it_is_not_missed_although_it_left_before_its_loss_was_noticed()
 {
    let cluster = cluster(3).await;
    for (before, after, emitter) in [(0, 0, 0), (0, 1, 2), (1, 1, 0), (2, 0, 2)] {
        let mut client = connect(&cluster, before, "ann").await;
        client.call::<()>("join", "room").await.unwrap();
        settle().await;
        let (id, auth) = (client.id().to_owned(), client.returning_auth());
        let all = cluster.node(emitter).node().of("/");
        for round in 0..2 {
            say(&cluster, emitter, "room", [2 * round]);
            settle().await;
            all.to(&id).leave("room").await;
            say(&cluster, emitter, "room", [101]);
            all.except("room").emit("said", &(2 * round + 1)).unwrap();
            settle().await;
            // What comes less than a second before a join may count.
            sleep(Duration::from_secs(2)).await;
            if round == 0 {
                all.to(&id).join("room").await;
                settle().await;
            }
        }
        // It comes twice, because it is lost again before it gets anything.
        for _ in 0..2 {
            let mut back = cluster.node(after).connect("/", &auth).await.unwrap();
            assert_eq!(back.id(), id);
            assert_eq!(heard(&mut back), [0, 1, 2, 3], "{before} {after} {emitter}");
            assert_eq!(who(&back).await.2, ["known", "lobby"], "{before} {after} {emitter}");
            sleep(Duration::from_secs(1)).await;
        }
        client.disconnected().await;
    }
}

/// What the answer to a handshake, or to CONNECT, says.
#[derive(Deserialize)]
struct Opened {
    sid: String,
    pid: Option<String>,
}

/// A client that polls by hand, and as slowly as it likes.
struct Slow(socketmesh::http::Service, String);

impl Slow {
    /// It is in the lobby, and has a position.
    async fn connect(node: &Node, name: &str) -> (Self, String, serde_json::Value) {
        let mut this = Self(node.service(), String::new());
        let Opened { sid, .. } = serde_json::from_str(this.get().await.get(1..).unwrap()).unwrap();
        this.1 = format!("&sid={sid}");
        this.post(&format!("40{}", json!({ "name": name }))).await;
        let Opened { sid, pid } = serde_json::from_str(this.get().await.get(2..).unwrap()).unwrap();
        settle().await;
        node.of("/").to(&sid).emit("hello", &()).unwrap();
        let (_, offset): (String, String) = serde_json::from_str(this.get().await.get(2..).unwrap()).unwrap();
        (this, sid, json!({ "name": name, "pid": pid, "offset": offset }))
    }

    async fn get(&mut self) -> String {
        self.call("GET", String::new()).await
    }

    async fn post(&mut self, body: &str) {
        assert_eq!(self.call("POST", body.to_owned()).await, "ok");
    }

    async fn call(&mut self, method: &str, body: String) -> String {
        let path = format!("/socket.io/?EIO=4&transport=polling{}", self.1);
        let request = hyper::Request::builder().method(method).uri(path).header("host", "a");
        let request = request.body(http_body_util::Full::new(Bytes::from(body))).unwrap();
        let answer = self.0.call(request).await.unwrap();
        String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_vanishes_from_a_busy_room_is_recovered_and_one_that_is_behind_for_too_long_is_not() {
    let told = Told::default();
    let of_nodes = told.clone();
    let cluster = TestCluster::start(2, move |_| app(Recovery::default(), of_nodes.clone())).await;
    let large = "x".repeat(100_000);
    let lobby = cluster.node(1).node().of("/").to("lobby");
    let emit = |count: usize| (0..count).for_each(|_| lobby.clone().emit("large", &large).unwrap());
    for (polls, is_recovered) in [(0, true), (5, false)] {
        let (mut slow, id, auth) = Slow::connect(cluster.node(0).node(), "ann").await;
        emit(15);
        // Never all of it: a response has a megabyte.
        for _ in 0..polls {
            sleep(Duration::from_secs(14)).await;
            if slow.get().await.starts_with("2\u{1e}") {
                slow.post("3").await;
            }
            emit(12);
        }
        told.take();
        // It is known as lost when a pong is missing.
        sleep(Duration::from_secs(50)).await;
        let lost = if is_recovered { vec![] } else { vec!["lost ann of [\"lobby\"]".to_owned()] };
        assert_eq!(told.take(), lost);
        let back = cluster.node(1).connect("/", &auth).await.unwrap();
        assert_eq!(back.id() == id, is_recovered);
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_left_more_rooms_than_are_known_is_not_recovered() {
    let cluster = cluster(2).await;
    for (count, is_recovered) in [(64, true), (65, false)] {
        let mut client = connect(&cluster, 0, "ann").await;
        for room in 0..count {
            let room = room.to_string();
            client.call::<()>("join", &room).await.unwrap();
            cluster.node(0).node().of("/").to(client.id()).leave(room).await;
        }
        client.drop_connection();
        settle().await;
        assert_eq!(client.come_back(cluster.node(1).websocket()).await.unwrap(), is_recovered, "{count}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_comes_back_elsewhere_when_its_node_was_killed() {
    let mut cluster = cluster(3).await;
    let mut client = connect(&cluster, 0, "ann").await;
    client.call::<()>("join", "room").await.unwrap();
    client.call::<()>("change", &()).await.unwrap();
    // So old what another node knows may be.
    sleep(Duration::from_millis(50)).await;
    let id = client.id().to_owned();
    cluster.kill(0).await;
    say(&cluster, 1, "room", [1]);
    say(&cluster, 2, "room", [2]);
    assert!(client.come_back(cluster.node(2).websocket()).await.unwrap());
    assert_eq!(client.id(), id);
    settle().await;
    let mut said = heard(&mut client);
    said.sort_unstable();
    assert_eq!(said, [1, 2]);
    let rooms = ["known", "lobby", "room"].map(str::to_owned).to_vec();
    assert_eq!(who(&client).await, ("ann".to_owned(), 1, rooms, true));
    cluster.restart(0).await;
    say(&cluster, 0, "room", [3]);
    assert_eq!(client.recv::<u32>("said").await, 3);
    assert!(client.come_back(cluster.node(0).websocket()).await.unwrap(), "the restarted node takes it");
    assert!(client.is_connected());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_away_through_a_rolling_restart_misses_nothing() {
    let mut cluster = cluster(3).await;
    let mut client = connect(&cluster, 0, "ann").await;
    client.drop_connection();
    let mut number = 0..;
    for node in 0..3 {
        say(&cluster, node, "lobby", number.by_ref().take(5));
        cluster.shutdown(node).await;
        say(&cluster, (node + 1) % 3, "lobby", number.by_ref().take(5));
        cluster.restart(node).await;
    }
    assert!(client.come_back(cluster.node(1).websocket()).await.unwrap());
    settle().await;
    let mut said = heard(&mut client);
    said.sort_unstable();
    assert_eq!(said, (0..30).collect::<Vec<_>>());
}

/// The application goes on, and what it emits is on its way to the heir and to others for different times.
#[tokio::test(start_paused = true)]
async fn what_a_node_emits_until_it_has_left_is_missed_by_nobody_who_was_away() {
    let cluster = cluster(3).await;
    let mut witness = connect(&cluster, 1, "bob").await;
    let mut client = connect(&cluster, 2, "ann").await;
    client.drop_connection();
    cluster.delay(Duration::from_millis(20)..=Duration::from_millis(80));
    let node = cluster.node(0).node().clone();
    let emitting = {
        let node = node.clone();
        tokio::spawn(async move {
            for number in 0.. {
                node.of("/").to("known").emit("said", &number).unwrap();
                sleep(Duration::from_millis(1)).await;
            }
        })
    };
    node.drain(Drain::default().notice(Duration::from_millis(200))).await;
    emitting.abort();
    cluster.heal();
    assert!(client.come_back(cluster.node(1).websocket()).await.unwrap());
    sleep(Duration::from_secs(1)).await;
    let said: Vec<u32> = heard(&mut witness);
    assert!(said.len() >= 190, "{}", said.len());
    assert_eq!(heard(&mut client), said);
}

/// Each has the sessions and the packets of the others for a while, and none of them stays.
#[tokio::test(start_paused = true)]
async fn who_is_away_while_several_nodes_leave_at_once_misses_nothing() {
    let cluster = cluster(5).await;
    let mut clients = Vec::new();
    for number in 0..30 {
        clients.push(connect(&cluster, number % 3, "ann").await);
    }
    settle().await;
    clients.iter_mut().for_each(Client::drop_connection);
    say(&cluster, 0, "known", [1]);
    let leaving: Vec<_> = (0..3).map(|node| cluster.node(node).node().clone()).collect();
    let drain = Drain::default().notice(Duration::from_secs(2));
    let drains = leaving.into_iter().map(|node| tokio::spawn(async move { node.drain(drain).await }));
    for drained in drains.collect::<Vec<_>>() {
        drained.await.unwrap();
    }
    for client in &mut clients {
        assert!(client.come_back(cluster.node(3).websocket()).await.unwrap());
        settle().await;
        assert_eq!(heard(client), [1]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_away_while_one_node_after_the_other_is_killed_is_recovered() {
    let mut cluster = cluster(4).await;
    let mut client = connect(&cluster, 0, "ann").await;
    settle().await;
    for node in 0..4 {
        cluster.kill(node).await;
        cluster.restart(node).await;
        settle().await;
    }
    say(&cluster, 3, "lobby", [1]);
    assert!(client.come_back(cluster.node(1).websocket()).await.unwrap());
    settle().await;
    assert_eq!(heard(&mut client), [1]);
}

/// No link begins in between, so nothing but the change of the members has a session told to another node.
#[tokio::test(start_paused = true)]
async fn sessions_outlive_one_node_after_the_other_down_to_the_last() {
    let mut cluster = cluster(4).await;
    let mut clients = Vec::new();
    for number in 0..8 {
        clients.push(connect(&cluster, 0, "ann").await);
        if number % 2 == 0 {
            clients[number].drop_connection();
        }
    }
    settle().await;
    for node in 0..3 {
        cluster.kill(node).await;
        cluster.settled().await;
        // A node looks for other members every 100 ms.
        sleep(Duration::from_millis(250)).await;
    }
    say(&cluster, 3, "lobby", [1]);
    for (number, client) in clients.iter_mut().enumerate() {
        assert!(client.come_back(cluster.node(3).websocket()).await.unwrap(), "client {number}");
        assert_eq!(heard(client), [1], "client {number}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_of_a_node_that_was_killed_and_is_back_is_given_up_in_time() {
    let told = Told::default();
    let made = told.clone();
    let recovery = Recovery::default().max_disconnection(Duration::from_secs(60));
    let mut cluster = TestCluster::start(3, move |_| app(recovery.clone(), made.clone())).await;
    let _client = connect(&cluster, 0, "ann").await;
    settle().await;
    cluster.kill(0).await;
    cluster.restart(0).await;
    sleep(Duration::from_secs(70)).await;
    assert_eq!(told.take(), ["asked ann", r#"lost ann of ["known", "lobby"]"#]);
}

#[tokio::test(start_paused = true)]
async fn who_is_answered_late_asks_again_and_is_recovered() {
    let cluster = cluster(2).await;
    // Some of them are decided about by the one node, some by the other.
    for number in 0..6 {
        let mut client = connect(&cluster, 0, "ann").await;
        settle().await;
        client.drop_connection();
        cluster.partition(&[0], &[1]);
        say(&cluster, 1, "lobby", [number]);
        let healing = async {
            sleep(Duration::from_secs(2)).await;
            cluster.heal();
        };
        let (back, ()) = tokio::join!(client.come_back(cluster.node(0).websocket()), healing);
        assert!(back.unwrap(), "client {number}");
        settle().await;
        assert_eq!(heard(&mut client), [number]);
        client.disconnect().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_missed_too_much_gets_another_socket() {
    let told = Told::default();
    let made = told.clone();
    let recovery = Recovery::default().max_log(4096);
    let cluster = TestCluster::start(3, move |_| app(recovery.clone(), made.clone())).await;
    for node in 0..3 {
        let mut client = connect(&cluster, 0, "ann").await;
        client.drop_connection();
        settle().await;
        say(&cluster, node, "lobby", 0..100);
        assert!(!client.come_back(cluster.node(1).websocket()).await.unwrap(), "node {node}");
        assert_eq!(heard(&mut client), Vec::<u32>::new());
        assert!(told.take().contains(&r#"lost ann of ["known", "lobby"]"#.to_owned()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_nobody_is_at_takes_no_number_twice_for_a_dynamic_namespace() {
    let cluster = TestCluster::start(2, |_| {
        Node::builder().namespace(socketmesh::namespaces("^/game-").recover(Recovery::default()))
    })
    .await;
    let mut client = cluster.node(0).connect("/game-1", &json!({})).await.unwrap();
    let say = |number: u32| cluster.node(1).node().of("/game-1").emit("said", &number).unwrap();
    (1..4).for_each(say);
    while client.recv::<u32>("said").await < 3 {}
    // Node 1 has forgotten that namespace.
    sleep(Duration::from_secs(600)).await;
    client.drop_connection();
    settle().await;
    (4..6).for_each(say);
    assert!(client.come_back(cluster.node(0).websocket()).await.unwrap());
    assert_eq!(heard(&mut client), [4, 5]);
    say(6);
    assert_eq!(client.recv::<u32>("said").await, 6);
}

#[tokio::test(start_paused = true)]
async fn the_packets_of_all_namespaces_of_a_node_are_bounded_together() {
    let config = socket::Config::default().recover(Recovery::default()).max_log_total(8 << 10);
    let cluster = TestCluster::start(1, move |_| {
        Node::builder().socket(config.clone()).namespace(socketmesh::namespaces("^/game-"))
    })
    .await;
    let games: Vec<_> =
        (0..100).map(|number| cluster.node(0).node().of(&format!("/game-{number}"))).collect();
    let mut clients = Vec::new();
    for (number, game) in games.iter().enumerate() {
        let mut client = cluster.node(0).connect(&format!("/game-{number}"), &json!({})).await.unwrap();
        game.emit("said", &0).unwrap();
        client.recv::<u32>("said").await;
        client.drop_connection();
        clients.push(client);
    }
    settle().await;
    games.iter().for_each(|game| game.emit("said", &1).unwrap());
    let mut recovered = 0;
    for client in &mut clients {
        let is_recovered = client.come_back(cluster.node(0).websocket()).await.unwrap();
        recovered += usize::from(is_recovered);
        assert_eq!(heard(client), if is_recovered { vec![1] } else { Vec::new() }, "no hole");
    }
    // A packet takes more than 200 bytes.
    assert!((1..=40).contains(&recovered), "{recovered}");
}

#[tokio::test(start_paused = true)]
async fn after_a_partition_with_a_life_on_both_sides_the_younger_one_stays() {
    let cluster = cluster(3).await;
    let client = connect(&cluster, 0, "ann").await;
    let (id, auth) = (client.id().to_owned(), client.returning_auth());
    settle().await;
    cluster.partition(&[0], &[1, 2]);
    cluster.settled().await;
    let younger = cluster.node(2).connect("/", &auth).await.unwrap();
    assert_eq!(younger.id(), id);
    assert!(client.is_connected(), "each side has a life");
    cluster.heal();
    cluster.settled().await;
    sleep(Duration::from_secs(5)).await;
    assert!(!client.is_connected(), "the older life is over");
    let found = cluster.node(1).node().of("/").to(&id).fetch_sockets().await.found;
    assert!(found.len() <= 1, "{found:?}");
}

/// Nothing was emitted, so no link lost anything. The nodes that keep a session are that of its first connection and one other.
#[tokio::test(start_paused = true)]
async fn an_older_life_on_a_node_that_does_not_keep_the_session_ends_when_the_parts_meet() {
    let cluster = cluster(5).await;
    let mut clients = Vec::new();
    for _ in 0..6 {
        let mut client = connect(&cluster, 0, "ann").await;
        assert!(client.come_back(cluster.node(4).websocket()).await.unwrap());
        clients.push(client);
    }
    settle().await;
    cluster.partition(&[4], &[0, 1, 2, 3]);
    cluster.settled().await;
    let mut younger = Vec::new();
    for older in &clients {
        younger.push(cluster.node(1).connect("/", &older.returning_auth()).await.unwrap());
    }
    assert!(clients.iter().all(Client::is_connected), "each side has a life");
    cluster.heal();
    cluster.settled().await;
    // A node looks for other members every second.
    sleep(Duration::from_secs(2)).await;
    for (older, younger) in clients.iter().zip(&younger) {
        assert_eq!((older.id(), older.is_connected()), (younger.id(), false));
        assert!(younger.is_connected());
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_partition_cost_is_replayed_to_who_could_have_missed_it() {
    let cluster = cluster(3).await;
    let mut client = connect(&cluster, 0, "ann").await;
    cluster.partition(&[0], &[1, 2]);
    // Longer than links keep anything.
    for number in 0..40 {
        say(&cluster, 1, "lobby", [number]);
        sleep(Duration::from_millis(500)).await;
    }
    cluster.heal();
    cluster.settled().await;
    say(&cluster, 1, "lobby", [40]);
    assert_eq!(client.disconnected().await, "transport close", "there would be a hole");
    assert!(client.come_back(cluster.node(0).websocket()).await.unwrap());
    settle().await;
    assert_eq!(heard(&mut client), (0..41).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_position_follows_whatever_a_client_would_take_for_one() {
    let cluster = cluster(2).await;
    let mut client = connect(&cluster, 0, "ann").await;
    let lobby = || cluster.node(0).node().of("/").to("lobby");
    say(&cluster, 1, "lobby", [1]);
    assert_eq!(client.recv::<u32>("said").await, 1);
    // They are not kept, and the client takes the last text that it sees for its position.
    lobby().volatile().emit("volatile", "text").unwrap();
    lobby().local().emit("local", &()).unwrap();
    let Args((text, position)) = client.recv::<Args<(String, Option<String>)>>("volatile").await;
    assert!(text == "text" && position.is_some());
    client.recv::<Args<(Option<String>,)>>("local").await;
    lobby().volatile().emit("number", &7).unwrap();
    assert_eq!(client.recv::<Args<(u32, Option<String>)>>("number").await.0.1, None);
    client.drop_connection();
    say(&cluster, 1, "lobby", [2]);
    assert!(client.come_back(cluster.node(1).websocket()).await.unwrap());
    assert_eq!(heard(&mut client), [2]);
}

/// What was told of a session over a link that is down comes late, and says how old it was then. The node that decides, which is that
/// of its first connection, knows it from there alone.
#[tokio::test(start_paused = true)]
async fn a_client_that_left_a_node_while_that_was_cut_off_misses_nothing_that_came_before() {
    // After the longer cut the link has given up what it had.
    for (node, cut) in (0..4).flat_map(|node| [(node, 2500), (node, 15_000)]) {
        let cluster = cluster(4).await;
        let mut client = connect(&cluster, 0, "ann").await;
        assert!(client.come_back(cluster.node(3).websocket()).await.unwrap());
        cluster.partition(&[3], &[0, 1, 2]);
        client.call::<()>("join", "room").await.unwrap();
        client.drop_connection();
        say(&cluster, 3, "room", [1]);
        sleep(Duration::from_millis(cut)).await;
        cluster.heal();
        cluster.settled().await;
        sleep(Duration::from_secs(2)).await;
        assert!(client.come_back(cluster.node(node).websocket()).await.unwrap());
        assert_eq!(heard(&mut client), [1], "node {node}, cut off for {cut} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_lies_about_its_position_harms_nobody_else() {
    let mut cluster = cluster(3).await;
    let mut bob = connect(&cluster, 1, "bob").await;
    let mut liar = connect(&cluster, 0, "liar").await;
    (0..3).for_each(|node| say(&cluster, node, "lobby", [0]));
    settle().await;
    heard(&mut bob);
    heard(&mut liar);
    let mut auth = liar.returning_auth();
    let known = origins(auth["offset"].as_str().unwrap());
    assert_eq!(known.len(), 3);
    let unknown = |byte: u8| (0..29).map(move |number| [byte, number, 7, 7, 7]);
    for round in 0..4 {
        let numbers = known
            .iter()
            .copied()
            .chain(unknown(round))
            .zip([u64::MAX, u64::MAX - 1, 1 << 40].into_iter().cycle());
        auth["offset"] = forged(numbers).into();
        let back = cluster.node(1).connect("/", &auth).await.unwrap();
        (0..3).for_each(|node| say(&cluster, node, "lobby", [1]));
        settle().await;
        assert_eq!(heard(&mut bob), [1, 1, 1], "round {round}");
        auth = back.returning_auth();
    }
    // A node that does not answer when bob comes back is still known as such when it is heard again.
    cluster.partition(&[2], &[0, 1]);
    cluster.settled().await;
    say(&cluster, 2, "lobby", [2]);
    assert!(bob.come_back(cluster.node(1).websocket()).await.unwrap());
    cluster.heal();
    cluster.settled().await;
    say(&cluster, 2, "lobby", [3]);
    assert_eq!(bob.disconnected().await, "transport close", "there would be a hole");
    assert!(bob.come_back(cluster.node(0).websocket()).await.unwrap());
    assert_eq!(heard(&mut bob), [2, 3]);
    // Nor does it keep anybody from coming back.
    cluster.kill(2).await;
    say(&cluster, 1, "lobby", [4]);
    assert!(bob.come_back(cluster.node(0).websocket()).await.unwrap());
    assert_eq!(heard(&mut bob), [4]);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_while_it_is_given_its_session_is_told_as_lost_in_time() {
    let told = Told::default();
    let made = told.clone();
    let recovery = Recovery::default().max_disconnection(Duration::from_secs(60));
    let cluster = TestCluster::start(3, move |_| app(recovery.clone(), made.clone())).await;
    cluster.delay(Duration::from_millis(5)..=Duration::from_millis(15));
    let mut expected = 0;
    for attempt in 0..40 {
        let mut client = connect(&cluster, 0, "ann").await;
        let auth = client.returning_auth();
        client.drop_connection();
        settle().await;
        let back = async { cluster.node(1).connect("/", &auth).await.unwrap() };
        drop(timeout(Duration::from_millis(2 * attempt), back).await);
        expected += 1;
    }
    sleep(Duration::from_secs(150)).await;
    let lost = told.take().into_iter().filter(|what| what.starts_with("lost")).count();
    assert_eq!(lost, expected);
    assert_eq!(cluster.node(1).node().of("/").count().await.sockets, 0);
}

/// Data that nobody is told of while the gate is closed.
#[derive(Debug)]
struct Gated(Gate);

impl<'de> Deserialize<'de> for Gated {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <()>::deserialize(deserializer).map(|()| Self(Gate::default()))
    }
}

impl Serialize for Gated {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.pass();
        serializer.serialize_unit()
    }
}

/// Whether it is closed, and how many wait.
#[derive(Debug, Clone, Default)]
struct Gate(Arc<(Mutex<(bool, u32)>, Condvar)>);

impl Gate {
    fn close(&self, is_closed: bool) {
        self.0.0.lock().unwrap().0 = is_closed;
        self.0.1.notify_all();
    }

    fn pass(&self) {
        self.0.0.lock().unwrap().1 += 1;
        let mut state = self.0.1.wait_while(self.0.0.lock().unwrap(), |(is_closed, _)| *is_closed).unwrap();
        state.1 -= 1;
    }

    async fn is_waited_at(&self) {
        while self.0.0.lock().unwrap().1 == 0 {
            sleep(Duration::from_millis(1)).await;
        }
    }
}

/// In real time, because a thread waits in the middle of saying what is known of a session.
#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn nobody_gets_a_session_before_the_last_word_on_it_is_known() {
    let gate = Gate::default();
    let of_app = gate.clone();
    let app = move |_| {
        let gate = of_app.clone();
        let chat = namespace("/")
            .auth(async move |_: Handshake| Ok::<_, Refusal>(Gated(gate.clone())))
            .recover(Recovery::default())
            .on("join", async |socket: Socket<Gated>, room: String| Ok(socket.join(room).await?))
            .on("who", async |socket: Socket<Gated>, (): ()| {
                let rooms: Vec<_> = socket.rooms().iter().skip(1).map(ToString::to_string).collect();
                Ok((String::from("ann"), 0, rooms, socket.recovered()))
            });
        Node::builder().namespace(chat)
    };
    let cluster = TestCluster::start(3, app).await;
    for (room, home) in ["a", "b", "c"].into_iter().zip([0, 1, 2]) {
        let mut client = connect(&cluster, home, "ann").await;
        // It may be told of the room, or that its client has gone, or both: neither is known.
        gate.close(true);
        client.call::<()>("join", room).await.unwrap();
        client.drop_connection();
        timeout(Duration::from_secs(60), gate.is_waited_at()).await.unwrap();
        let mut back = Box::pin(client.come_back(cluster.node((home + 1) % 3).websocket()));
        let early = timeout(Duration::from_millis(500), &mut back).await;
        assert!(early.is_err(), "{early:?} before it is known what it was");
        gate.close(false);
        assert!(back.await.unwrap());
        let rooms = [room, "known"].map(str::to_owned).to_vec();
        assert_eq!(who(&client).await, ("ann".to_owned(), 0, rooms, true));
    }
}
