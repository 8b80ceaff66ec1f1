//! Clients that come back, beside everything else that a namespace may have: logins, limits, blocks, dynamic namespaces, commands,
//! acks, and nodes that even out their sessions. In virtual time, with the test kit.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;
use socketmesh::id::SocketId;
use socketmesh::socket::{BeforeHandlers, Excess, Limit, Login, LostSession, Recovery, Room};
use socketmesh::testing::{Client, TestCluster};
use socketmesh::{
    AckError, Args, EvenOut, Handshake, Namespace, NamespaceRef, Node, NodeBuilder, Refusal, Socket, engine,
    namespace, namespaces, namespaces_where,
};
use tokio::time::{Instant, sleep};

/// What the application was asked and told.
#[derive(Debug, Default, Clone)]
struct Told(Arc<Mutex<Vec<String>>>);

impl Told {
    fn tell(&self, what: impl Into<String>) {
        self.0.lock().unwrap().push(what.into());
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

/// Who it is, and how often it was counted.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Guest {
    name: String,
    #[serde(default)]
    count: AtomicU32,
}

#[derive(Deserialize)]
struct Name {
    name: String,
}

async fn cluster(count: usize, app: impl Fn() -> NodeBuilder + Send + Sync + 'static) -> TestCluster {
    TestCluster::start(count, move |_| app()).await
}

/// A main namespace without anything special.
fn plain() -> NodeBuilder {
    let main = namespace("/")
        .recover(Recovery::default())
        .on("join", async |socket: Socket, room: String| Ok(socket.join(room).await?))
        .on("tell", async |socket: Socket, Args((room, number)): Args<(String, u32)>| {
            Ok(socket.to(room).emit("said", &number)?)
        })
        .on("rooms", async |socket: Socket, (): ()| Ok(rooms_of(&socket)));
    Node::builder().namespace(main)
}

/// The rooms of a socket but its own, sorted.
fn rooms_of<S: Send + Sync + 'static>(socket: &Socket<S>) -> Vec<String> {
    let mut rooms: Vec<_> = socket.rooms().iter().skip(1).map(ToString::to_string).collect();
    rooms.sort();
    rooms
}

/// A client that has a position.
async fn enter(cluster: &TestCluster, node: usize, path: &str, auth: &serde_json::Value) -> Client {
    let mut client = cluster.node(node).connect(path, auth).await.unwrap();
    cluster.node(node).node().of(path).to(client.id()).emit("hello", &()).unwrap();
    client.recv::<Args<(String,)>>("hello").await;
    client
}

async fn back(client: &mut Client, cluster: &TestCluster, node: usize) -> bool {
    client.come_back(cluster.node(node).websocket()).await.unwrap()
}

/// What takes longer than anything on its way.
async fn settle() {
    sleep(Duration::from_millis(300)).await;
}

// --- namespaces ---

#[tokio::test(start_paused = true)]
async fn a_client_comes_back_to_a_dynamic_namespace_that_its_new_node_has_not_made() {
    let told = Told::default();
    let made = told.clone();
    let cluster = cluster(3, move || {
        let (asked, predicate) = (made.clone(), made.clone());
        let accepts = async move |client: Handshake| {
            predicate.tell(format!("accepts {}", client.namespace()));
            Ok(client.namespace().starts_with("/document/"))
        };
        let described = |dynamic: Namespace<(), BeforeHandlers>| {
            let asked = asked.clone();
            dynamic
                .auth(async move |handshake: Handshake| {
                    let Name { name } = handshake.auth()?;
                    asked.tell(format!("asked {name}"));
                    Ok::<_, Refusal>(Guest { name, count: AtomicU32::new(0) })
                })
                .recover(Recovery::default())
                .on("count", async |socket: Socket<Guest>, (): ()| {
                    socket.join("counted").await?;
                    Ok(socket.data().count.fetch_add(1, Ordering::Relaxed) + 1)
                })
        };
        Node::builder()
            .namespace(described(namespaces(r"^/room-\d+$")))
            .namespace(described(namespaces_where(accepts)))
    })
    .await;
    for path in ["/room-7", "/document/7"] {
        let mut client = enter(&cluster, 0, path, &json!({ "name": "ann" })).await;
        assert_eq!(client.call::<u32>("count", &()).await.unwrap(), 1);
        assert_eq!(told.take().last().map(String::as_str), Some("asked ann"));
        client.drop_connection();
        settle().await;
        cluster.node(2).node().of(path).to("counted").emit("said", &7).unwrap();
        assert!(back(&mut client, &cluster, 1).await, "{path}");
        assert_eq!(client.take::<u32>("said"), [7]);
        assert_eq!(client.call::<u32>("count", &()).await.unwrap(), 2, "the data came along");
        let asked = told.take();
        assert!(!asked.contains(&"asked ann".to_owned()), "{path}: the middleware is skipped: {asked:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_node_that_left_emitted_to_a_namespace_of_a_predicate_is_known_where_nobody_has_entered_it() {
    for to in [1, 2] {
        let mut cluster = cluster(3, || {
            let accepts = async |client: Handshake| Ok(client.namespace().starts_with("/document/"));
            Node::builder().namespace(namespaces_where(accepts).recover(Recovery::default()))
        })
        .await;
        let mut client = enter(&cluster, 0, "/document/7", &json!({})).await;
        client.drop_connection();
        settle().await;
        cluster.node(0).node().of("/document/7").to(client.id()).emit("said", &7).unwrap();
        cluster.shutdown(0).await;
        assert!(back(&mut client, &cluster, to).await, "at {to}");
        assert_eq!(client.take::<u32>("said"), [7], "at {to}");
    }
}

#[tokio::test(start_paused = true)]
async fn data_that_a_node_cannot_read_make_a_client_a_new_one() {
    #[derive(Debug, Serialize, Deserialize)]
    struct Newer {
        name: String,
        team: String,
    }
    let told = Told::default();
    let made = told.clone();
    let cluster = TestCluster::start(2, move |node| {
        let (asked, lost) = (made.clone(), made.clone());
        if node == 0 {
            let older = namespace("/")
                .auth(async |handshake: Handshake| {
                    let Name { name } = handshake.auth()?;
                    Ok::<_, Refusal>(Guest { name, ..Guest::default() })
                })
                .recover(Recovery::default());
            return Node::builder().namespace(older);
        }
        let newer = namespace("/")
            .auth(async move |handshake: Handshake| {
                let Name { name } = handshake.auth()?;
                asked.tell(format!("asked {name}"));
                Ok::<_, Refusal>(Newer { name, team: "red".into() })
            })
            .recover(Recovery::default())
            .on_lost(async move |_: NamespaceRef, session: LostSession<Newer>| {
                lost.tell(format!("lost, with data: {}", session.data.is_some()));
                Ok(())
            })
            .on("who", async |socket: Socket<Newer>, (): ()| {
                Ok(format!("{} of {}", socket.data().name, socket.data().team))
            });
        Node::builder().namespace(newer)
    })
    .await;
    let mut client = enter(&cluster, 0, "/", &json!({ "name": "ann" })).await;
    client.drop_connection();
    cluster.node(0).node().of("/").emit("said", &1).unwrap();
    assert!(!back(&mut client, &cluster, 1).await);
    assert_eq!(client.call::<String>("who", &()).await.unwrap(), "ann of red");
    settle().await;
    assert_eq!(told.take(), ["asked ann", "lost, with data: false"]);
    assert_eq!(client.take::<u32>("said"), [0; 0]);
}

// --- who may come back ---

/// A namespace whose logins last as long as clients say.
fn logins(told: &Told) -> NodeBuilder {
    #[derive(Deserialize)]
    struct Auth {
        name: String,
        seconds: u64,
    }
    let (asked, lost) = (told.clone(), told.clone());
    let chat = namespace("/")
        .login(async move |handshake: Handshake| {
            let Auth { name, seconds } = handshake.auth()?;
            asked.tell(format!("asked {name}"));
            let login = Login::new(Guest { name: name.clone(), ..Guest::default() });
            Ok(login.expires_in(Duration::from_secs(seconds)).user(name))
        })
        .recover(Recovery::default())
        .limit(Limit::events(10).beyond(Excess::Disconnect))
        .renew_event("renew")
        .on("nothing", async |_: Socket<Guest>, (): ()| Ok(()))
        .on_lost(async move |_: NamespaceRef, session: LostSession<Guest>| {
            lost.tell(format!("lost {}", session.user.as_deref().unwrap_or_default()));
            Ok(())
        });
    Node::builder().namespace(chat)
}

async fn logins_on(count: usize) -> (TestCluster, Told) {
    let told = Told::default();
    let made = told.clone();
    (cluster(count, move || logins(&made)).await, told)
}

#[tokio::test(start_paused = true)]
async fn a_login_goes_on_where_its_client_comes_back_and_ends_when_it_would_have_ended() {
    let (cluster, told) = logins_on(3).await;
    for renewed in [false, true] {
        let began = Instant::now();
        let auth = json!({ "name": "ann", "seconds": 40 });
        let mut client = enter(&cluster, 0, "/", &auth).await;
        client.drop_connection();
        sleep(Duration::from_secs(20)).await;
        assert!(back(&mut client, &cluster, 1).await);
        assert_eq!(told.take(), ["asked ann"]);
        if renewed {
            client.call::<()>("renew", &auth).await.unwrap();
            assert_eq!(told.take(), ["asked ann"]);
        }
        assert_eq!(client.disconnected().await, "io server disconnect");
        let expected = if renewed { 60 } else { 40 };
        let lasted = began.elapsed().as_secs_f64();
        assert!((lasted - f64::from(expected)).abs() < 2.0, "{lasted} s instead of {expected} s");
        assert!(!back(&mut client, &cluster, 2).await, "its login ended");
        client.disconnect().await;
        told.take();
    }
}

#[tokio::test(start_paused = true)]
async fn a_login_that_ends_while_its_client_is_away_is_asked_for_again() {
    let (cluster, told) = logins_on(3).await;
    let mut client = enter(&cluster, 0, "/", &json!({ "name": "ann", "seconds": 30 })).await;
    let id = client.id().to_owned();
    client.drop_connection();
    sleep(Duration::from_secs(40)).await;
    assert!(!back(&mut client, &cluster, 1).await);
    assert_ne!(client.id(), id);
    settle().await;
    let mut told = told.take();
    told.sort();
    assert_eq!(told, ["asked ann", "asked ann", "lost ann"]);
}

#[tokio::test(start_paused = true)]
async fn a_user_that_is_blocked_is_not_recovered_and_neither_is_its_session_later() {
    let (cluster, told) = logins_on(3).await;
    let auth = json!({ "name": "ann", "seconds": 3600 });
    for (time, away) in [(60, true), (60, false), (3, true)] {
        let mut client = enter(&cluster, 0, "/", &auth).await;
        if away {
            client.drop_connection();
            settle().await;
        }
        let blocked = cluster.node(2).node().user("ann").block(Duration::from_secs(time)).await;
        assert_eq!(blocked.missing, []);
        let refusal = client.come_back(cluster.node(1).websocket()).await.unwrap_err();
        assert_eq!(refusal.message(), "blocked");
        sleep(Duration::from_secs(time)).await;
        told.take();
        assert!(!back(&mut client, &cluster, 1).await, "blocked for {time} s, away: {away}");
        assert_eq!(told.take(), ["asked ann"]);
        client.disconnect().await;
    }
}

#[tokio::test(start_paused = true)]
async fn who_was_away_while_its_user_was_blocked_is_asked_who_it_is() {
    let (cluster, told) = logins_on(3).await;
    let mut client = enter(&cluster, 0, "/", &json!({ "name": "ann", "seconds": 3600 })).await;
    client.drop_connection();
    settle().await;
    told.take();
    cluster.node(2).node().user("ann").disconnect().await;
    sleep(Duration::from_secs(3)).await;
    assert!(!back(&mut client, &cluster, 1).await);
    settle().await;
    let mut told = told.take();
    told.sort();
    assert_eq!(told, ["asked ann", "lost ann"], "once in the cluster");
}

#[tokio::test(start_paused = true)]
async fn who_was_disconnected_when_nobody_knew_yet_that_its_node_was_dead_is_asked_who_it_is() {
    let (mut cluster, told) = logins_on(3).await;
    let mut client = enter(&cluster, 0, "/", &json!({ "name": "ann", "seconds": 3600 })).await;
    settle().await;
    told.take();
    cluster.kill(0).await;
    let _told_the_living = cluster.node(2).node().user("ann").disconnect();
    sleep(Duration::from_secs(12)).await;
    assert_eq!(told.take(), ["lost ann"], "once in the cluster");
    assert!(!back(&mut client, &cluster, 1).await);
    assert_eq!(told.take(), ["asked ann"]);
}

#[tokio::test(start_paused = true)]
async fn that_a_client_does_not_come_back_is_told_once_though_who_was_to_tell_it_died_a_moment_before() {
    let (mut cluster, told) = logins_on(3).await;
    let mut client = enter(&cluster, 0, "/", &json!({ "name": "ann", "seconds": 3600 })).await;
    client.drop_connection();
    sleep(Duration::from_secs(119)).await;
    told.take();
    // Its machine is gone, too: nobody notices for some seconds.
    cluster.partition(&[0], &[1, 2]);
    cluster.kill(0).await;
    sleep(Duration::from_secs(30)).await;
    assert_eq!(told.take(), ["lost ann"]);
}

/// `socket.disconnect().connect()`, with other credentials perhaps: the new connection may be quicker than the last words on the old one.
#[tokio::test(start_paused = true)]
async fn who_leaves_and_comes_again_at_once_is_a_new_client() {
    let (cluster, told) = logins_on(3).await;
    for (before, after) in [(0, 1), (1, 1), (2, 0)] {
        let mut client = enter(&cluster, before, "/", &json!({ "name": "ann", "seconds": 3600 })).await;
        let (id, mut auth) = (client.id().to_owned(), client.returning_auth());
        auth.as_object_mut().unwrap().insert("name".into(), json!("bob"));
        told.take();
        let node = cluster.node(after);
        let (again, ()) = tokio::join!(node.connect("/", &auth), async {
            sleep(Duration::from_millis(100)).await;
            client.disconnect().await;
        });
        assert_ne!(again.unwrap().id(), id);
        assert_eq!(told.take(), ["asked bob"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_whose_next_connection_is_lost_as_well_is_recovered_on_the_one_behind() {
    let cluster = cluster(3, plain).await;
    for lost_after in [20, 100, 240, 300] {
        for noticed in [false, true] {
            let mut client = enter(&cluster, 0, "/", &json!(null)).await;
            let (id, auth) = (client.id().to_owned(), client.returning_auth());
            if noticed {
                client.drop_connection();
            }
            let second = async {
                let _client = cluster.node(1).connect("/", &auth).await.unwrap();
                sleep(Duration::from_secs(1)).await;
            };
            let lost = tokio::time::timeout(Duration::from_millis(lost_after), second).await;
            assert!(lost.is_err());
            let third = cluster.node(2).connect("/", &auth).await.unwrap();
            assert_eq!(third.id(), id, "lost after {lost_after} ms, noticed: {noticed}");
            settle().await;
            assert!(third.is_connected());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_was_disconnected_beyond_a_limit_gets_another_socket() {
    let (cluster, _) = logins_on(2).await;
    let mut client = enter(&cluster, 0, "/", &json!({ "name": "ann", "seconds": 3600 })).await;
    for _ in 0..20 {
        client.emit("nothing", &()).await;
    }
    client.disconnected().await;
    assert!(!back(&mut client, &cluster, 1).await);
    client.call::<()>("nothing", &()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_limit_holds_for_a_client_that_came_back() {
    let (cluster, _) = logins_on(2).await;
    let mut client = enter(&cluster, 0, "/", &json!({ "name": "ann", "seconds": 3600 })).await;
    client.drop_connection();
    assert!(back(&mut client, &cluster, 1).await);
    for _ in 0..20 {
        client.emit("nothing", &()).await;
    }
    client.disconnected().await;
}

#[tokio::test(start_paused = true)]
async fn rooms_that_clients_choose_come_back_and_can_be_left() {
    let cluster = cluster(3, || {
        let boards = namespace("/")
            .recover(Recovery::default())
            .room_events("watch", "unwatch", async |_: Socket, room: String| Ok(room.starts_with("open")))
            .on("rooms", async |socket: Socket, (): ()| Ok(rooms_of(&socket)));
        Node::builder().namespace(boards)
    })
    .await;
    let mut client = enter(&cluster, 0, "/", &json!(null)).await;
    client.call::<()>("watch", "open 1").await.unwrap();
    client.call::<()>("watch", "open 2").await.unwrap();
    assert!(client.call::<()>("watch", "closed").await.is_err());
    client.drop_connection();
    let boards = |node: usize| cluster.node(node).node().of("/");
    boards(2).to("open 1").emit("said", &1).unwrap();
    assert!(back(&mut client, &cluster, 1).await);
    assert_eq!(client.call::<Vec<String>>("rooms", &()).await.unwrap(), ["open 1", "open 2"]);
    client.call::<()>("unwatch", "open 1").await.unwrap();
    client.drop_connection();
    boards(2).to("open 1").emit("said", &2).unwrap();
    boards(2).to("open 2").emit("said", &3).unwrap();
    assert!(back(&mut client, &cluster, 0).await);
    assert_eq!(client.call::<Vec<String>>("rooms", &()).await.unwrap(), ["open 2"]);
    assert_eq!(client.take::<u32>("said"), [1, 3]);
}

#[tokio::test(start_paused = true)]
async fn nobody_joins_the_own_room_of_who_came_back_however_long_ago_its_first_node_has_gone() {
    let mut cluster = cluster(3, || {
        let boards = namespace("/").recover(Recovery::default());
        Node::builder()
            .namespace(boards.room_events("watch", "unwatch", async |_: Socket, _: String| Ok(true)))
    })
    .await;
    let mut client = enter(&cluster, 0, "/", &json!(null)).await;
    let own = client.id().to_owned();
    client.drop_connection();
    assert!(back(&mut client, &cluster, 1).await);
    cluster.kill(0).await;
    let other = enter(&cluster, 2, "/", &json!(null)).await;
    for seconds in [5, 700] {
        sleep(Duration::from_secs(seconds)).await;
        let refused = other.call::<()>("watch", &own).await.unwrap_err();
        assert_eq!(refused.code(), Some("forbidden"), "after {seconds} s");
    }
    client.disconnect().await;
    settle().await;
    other.call::<()>("watch", &own).await.expect("nobody has this id any more");
}

// --- what happens while it is away ---

#[tokio::test(start_paused = true)]
async fn who_is_away_is_in_no_list_and_no_command_reaches_it() {
    let cluster = cluster(3, plain).await;
    let mut client = enter(&cluster, 0, "/", &json!(null)).await;
    client.call::<()>("join", "lobby").await.unwrap();
    let id = client.id().to_owned();
    client.drop_connection();
    settle().await;
    for node in 0..3 {
        let all = cluster.node(node).node().of("/");
        assert_eq!(all.count().await.sockets, 0);
        assert_eq!(all.to("lobby").count().await.sockets, 0);
        assert_eq!(all.to(&id).fetch_sockets().await.found.len(), 0);
        assert_eq!(all.all_rooms().await.found, [] as [Room; 0]);
        assert!(all.room("lobby").is_empty());
    }
    let all = cluster.node(2).node().of("/");
    for selected in [all.to("lobby"), all.to(&id), all.all()] {
        assert_eq!(selected.join("joined").await.missing, []);
        assert_eq!(selected.leave("lobby").await.missing, []);
        assert_eq!(selected.disconnect().await.missing, []);
        assert_eq!(selected.close().await.missing, []);
    }
    assert!(back(&mut client, &cluster, 1).await);
    assert_eq!(client.call::<Vec<String>>("rooms", &()).await.unwrap(), ["lobby"]);
    assert_eq!(all.count().await.sockets, 1);
    assert_eq!(all.to("lobby").fetch_sockets().await.found.len(), 1);
    // From now on they do.
    all.to(&id).join("joined").await;
    assert_eq!(client.call::<Vec<String>>("rooms", &()).await.unwrap(), ["joined", "lobby"]);
    all.to(&id).disconnect().await;
    assert_eq!(client.disconnected().await, "io server disconnect");
    assert!(!back(&mut client, &cluster, 1).await);
}

#[tokio::test(start_paused = true)]
async fn acks_are_not_asked_of_who_is_away_and_those_that_it_owes_are_missing() {
    let cluster = cluster(3, plain).await;
    let mut client = enter(&cluster, 0, "/", &json!(null)).await;
    let mut other = enter(&cluster, 2, "/", &json!(null)).await;
    for client in [&client, &other] {
        client.call::<()>("join", "lobby").await.unwrap();
    }
    other.on_call("ask", |_: String| 7);
    let lobby = cluster.node(1).node().of("/").to("lobby").timeout(Duration::from_secs(5));
    let asking = tokio::spawn(lobby.emit_with_ack::<u32, _>("ask", "text"));
    let owed = client.recv_call::<Args<(String, Option<String>)>>("ask").await;
    assert_eq!(owed.args.0.1, None, "no position where an ack is asked");
    let id: SocketId = client.id().parse().unwrap();
    client.drop_connection();
    let acks = asking.await.unwrap().unwrap();
    assert_eq!((acks.replies, acks.missing.len()), (vec![7], 1));
    assert_eq!(acks.missing.first().map(|missing| missing.socket), Some(id));
    let acks = lobby.emit_with_ack::<u32, _>("ask", "text").await.unwrap();
    assert_eq!((acks.replies, acks.missing.len()), (vec![7], 0));
    let one = cluster.node(1).node().of("/").to(client.id()).emit_with_ack::<u32, _>("ask", "text");
    let one = one.await.unwrap();
    assert_eq!((one.replies.len(), one.missing.len()), (0, 0));
    assert!(back(&mut client, &cluster, 1).await);
    assert_eq!(client.unread(), [] as [&str; 0]);
    client.on_call("ask", |_: String| 8);
    let mut acks = lobby.emit_with_ack::<u32, _>("ask", "text").await.unwrap();
    acks.replies.sort_unstable();
    assert_eq!((acks.replies, acks.missing.len()), (vec![7, 8], 0));
    other.disconnect().await;
}

#[tokio::test(start_paused = true)]
async fn the_handle_of_a_socket_whose_client_is_away_has_no_acks_and_its_emits_are_kept() {
    let cluster = cluster(2, plain).await;
    let mut client = enter(&cluster, 0, "/", &json!(null)).await;
    let socket = cluster.node(0).node().of("/").sockets::<()>().unwrap().remove(0);
    let asking = tokio::spawn({
        let socket = socket.clone();
        async move { socket.emit_with_ack::<u32, _>("ask", "text").await }
    });
    let owed = client.recv_call::<Args<(String, Option<String>)>>("ask").await;
    assert_eq!(owed.args.0.1, None, "no position where an ack is asked");
    client.drop_connection();
    assert!(matches!(asking.await.unwrap(), Err(AckError::Disconnected)));
    assert!(matches!(socket.emit_with_ack::<u32, _>("ask", "text").await, Err(AckError::Disconnected)));
    socket.emit("said", &1).unwrap();
    socket.volatile().emit("said", &2).unwrap();
    assert!(back(&mut client, &cluster, 1).await);
    assert_eq!(client.take::<u32>("said"), [1]);
    socket.emit("said", &3).unwrap();
    assert_eq!(client.recv::<u32>("said").await, 3, "the older handle reaches it where it is now");
    assert_eq!(client.take::<u32>("ask"), [0; 0]);
}

#[tokio::test(start_paused = true)]
async fn of_exceptions_and_local_emits_a_client_that_comes_back_gets_what_it_would_have_got() {
    let cluster = cluster(3, plain).await;
    let mut client = enter(&cluster, 0, "/", &json!(null)).await;
    client.call::<()>("join", "lobby").await.unwrap();
    client.call::<()>("tell", &Args(("lobby", 100))).await.unwrap();
    let id = client.id().to_owned();
    client.drop_connection();
    settle().await;
    let all = |node: usize| cluster.node(node).node().of("/");
    for node in 0..3 {
        all(node).except(&id).emit("said", &101).unwrap();
        all(node).except("lobby").emit("said", &102).unwrap();
        all(node).to("lobby").except(&id).emit("said", &103).unwrap();
        all(node).local().emit("said", &104).unwrap();
        all(node).to("lobby").volatile().emit("said", &105).unwrap();
    }
    all(2).to(["lobby", "elsewhere"]).except("nobody").emit("said", &1).unwrap();
    assert!(back(&mut client, &cluster, 1).await);
    all(1).to("lobby").local().emit("said", &2).unwrap();
    all(0).to("lobby").local().emit("said", &106).unwrap();
    all(0).to("lobby").volatile().emit("said", &3).unwrap();
    settle().await;
    client.call::<()>("tell", &Args(("lobby", 107))).await.unwrap();
    settle().await;
    assert_eq!(client.take::<u32>("said"), [1, 2, 3]);
}

/// The official client keeps the last position that it got, also when its session is a new one.
#[tokio::test(start_paused = true)]
async fn a_position_of_an_earlier_session_brings_nothing_that_was_emitted_before_the_new_one() {
    let cluster = cluster(2, || {
        let late = Recovery::default().max_disconnection(Duration::from_secs(10));
        Node::builder().namespace(
            namespace("/")
                .recover(late)
                .on("join", async |socket: Socket, room: String| Ok(socket.join(room).await?)),
        )
    })
    .await;
    let mut client = enter(&cluster, 0, "/", &json!(null)).await;
    client.drop_connection();
    sleep(Duration::from_secs(12)).await;
    let say = |node: usize, number: u32| {
        let all = cluster.node(node).node().of("/");
        all.emit("said", &number).unwrap();
        all.to("lobby").emit("said", &(10 * number)).unwrap();
    };
    say(0, 1);
    say(1, 2);
    sleep(Duration::from_secs(2)).await;
    assert!(!back(&mut client, &cluster, 1).await);
    client.call::<()>("join", "lobby").await.unwrap();
    // It gets no event in this session, and says the position of the one before.
    client.drop_connection();
    sleep(Duration::from_secs(1)).await;
    say(0, 3);
    assert!(back(&mut client, &cluster, 0).await);
    assert_eq!(client.take::<u32>("said"), [3, 30]);
}

#[tokio::test(start_paused = true)]
async fn who_polls_comes_back_as_who_has_a_websocket_and_may_change() {
    let cluster = cluster(3, plain).await;
    let mut client = enter(&cluster, 0, "/", &json!(null)).await;
    client.call::<()>("join", "lobby").await.unwrap();
    let mut expected = Vec::new();
    for number in 0..6 {
        client.drop_connection();
        cluster.node(2).node().of("/").to("lobby").emit("said", &number).unwrap();
        expected.push(number);
        let route = match number % 3 {
            0 => cluster.polling(&[0, 1, 2]),
            1 => cluster.node(1).websocket(),
            _ => cluster.node(0).polling(),
        };
        assert!(client.come_back(route).await.unwrap(), "{number}");
    }
    assert_eq!(client.take::<u32>("said"), expected);
}

// --- sessions even out ---

#[tokio::test(start_paused = true)]
async fn who_may_come_back_is_let_go_first_and_is_recovered_on_the_new_node() {
    let app = || {
        // Pings are not what this is about, and take time.
        let quiet = engine::Config::default().ping_interval(Duration::from_secs(120));
        let recovered = namespace("/recovered")
            .recover(Recovery::default())
            .on("join", async |socket: Socket, room: String| Ok(socket.join(room).await?));
        let builder = Node::builder().engine(quiet).namespace(namespace("/")).namespace(recovered);
        builder.even_out(EvenOut::default().rate(0.2).most(2.0))
    };
    let mut cluster = cluster(3, app).await;
    cluster.shutdown(2).await;
    let (mut kept, mut plain) = (Vec::new(), Vec::new());
    for number in 0..60 {
        plain.push(cluster.node(number % 2).connect("/", &()).await.unwrap());
        let client = enter(&cluster, number % 2, "/recovered", &json!(null)).await;
        client.call::<()>("join", "lobby").await.unwrap();
        kept.push((client, None::<Instant>, 0));
    }
    sleep(Duration::from_secs(300)).await;
    cluster.restart(2).await;
    cluster.settled().await;
    let (mut moved, mut emitted) = (0, 0_u32);
    // Those that are let go once are young for ten minutes: 20 of each of the two nodes go.
    for second in 0..900 {
        sleep(Duration::from_secs(1)).await;
        if second % 30 == 0 {
            let node = usize::try_from(emitted).unwrap() % 3;
            cluster.node(node).node().of("/recovered").to("lobby").emit("said", &emitted).unwrap();
            emitted += 1;
        }
        for (client, last, _) in kept.iter_mut().filter(|(client, ..)| !client.is_connected()) {
            let now = Instant::now();
            assert!(last.is_none_or(|last| now - last > Duration::from_secs(600)), "twice");
            *last = Some(now);
            assert!(back(client, &cluster, 2).await);
            moved += 1;
        }
        assert!(plain.iter().all(Client::is_connected), "after {moved}: those that lose something come last");
    }
    let counts = [0, 1, 2].map(|node| cluster.node(node).node().sessions());
    assert!(
        (24..=40).contains(&moved) && counts.iter().all(|count| (24..=48).contains(count)),
        "{moved} {counts:?}"
    );
    settle().await;
    for (client, ..) in &mut kept {
        assert_eq!(client.take::<u32>("said"), (0..emitted).collect::<Vec<_>>());
    }
}
