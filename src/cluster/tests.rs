//! Several meshes in one process: over UDP on the loopback or, where packets are to be lost, on a network in memory with virtual
//! time. Nothing sleeps: every step waits for a state.

mod addresses;
mod parts;

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytestring::ByteString;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::runtime::{Builder, Handle};
use tokio::sync::{SetOnce, mpsc};
use tokio::time::{Instant, sleep, timeout};

use super::delivery::interest::room_hash;
use super::transport::stream_limits::{FIRST, STREAM_WINDOW};
use super::wire::CloseCode;
use super::{BiStream, Cluster, LinkState, Mesh, NodeState, OpenError, Secret, SessionOwner, Upward, View};
use crate::id::{Key, NodeId, SocketId};
use crate::socket::messages::{
    Broadcast, Command, CommandKind, Flags, Inbound, Request, RequestKind, Response, ResponsePart, Responses,
    Room, Selection,
};
use crate::socket::peers::{CONFIRMATION, Peers as _};
use crate::testing::network::SimulatedNetwork;

/// One node of a test cluster.
struct Node {
    mesh: Arc<Mesh>,
    inbox: mpsc::Receiver<Inbound>,
}

impl Node {
    async fn start(cluster: Cluster) -> Self {
        Self::start_for(cluster, Handle::current()).await
    }

    /// Starts the mesh of an application with a runtime of its own.
    async fn start_for(cluster: Cluster, app: Handle) -> Self {
        Self::start_before(begun(), cluster, app).await
    }

    /// Starts the mesh of an application that does not hear anything before `begun`.
    async fn start_before(begun: Arc<SetOnce<()>>, cluster: Cluster, app: Handle) -> Self {
        let (outbox, inbox) = mpsc::channel(100_000);
        // Links begin whenever they like.
        let deliver = Arc::new(move |inbound| match inbound {
            Inbound::Linked(_) => {}
            inbound => outbox.try_send(inbound).unwrap(),
        });
        let serve = Arc::new(|stream| drop(tokio::spawn(shout(stream))));
        let upward = Upward { serve, deliver, begun };
        Self { mesh: Mesh::start(cluster, app, upward).await.unwrap(), inbox }
    }

    fn address(&self) -> SocketAddr {
        self.mesh.local_addr()
    }

    fn id(&self) -> NodeId {
        self.mesh.id().clone()
    }

    /// Waits until the view is so.
    async fn sees(&self, what: &str, is_so: impl Fn(&View) -> bool) -> Arc<View> {
        let mut view = self.mesh.view();
        match timeout(DEADLINE, view.wait_for(|view| is_so(view))).await {
            Ok(view) => Arc::clone(&view.unwrap()),
            Err(_) => panic!("{} does not see {what}: {:?}", self.id(), self.mesh.view().borrow().members),
        }
    }

    async fn sees_link(&self, other: &NodeId, link: LinkState) {
        let is_so = |view: &View| view.member(other).is_some_and(|member| member.link == link);
        self.sees(&format!("{other} {link:?}"), is_so).await;
    }

    async fn receives(&mut self) -> ByteString {
        match self.receives_something().await {
            Inbound::Broadcast(broadcast) => broadcast.text,
            other => panic!("a broadcast, not {other:?}"),
        }
    }

    async fn receives_something(&mut self) -> Inbound {
        let inbound = timeout(DEADLINE, self.inbox.recv()).await;
        inbound.unwrap_or_else(|_| panic!("{} receives nothing", self.mesh.id())).unwrap()
    }

    /// Receives a request and completes the response with this count.
    async fn responds(&mut self, count: u64) {
        match self.receives_something().await {
            Inbound::Request(requester, _) => {
                self.mesh.respond(&requester, Response::done(Some(ResponsePart::ExpectedAcks(count)))).await;
            }
            other => panic!("an ask, not {other:?}"),
        }
    }

    async fn joins(&self, room: &str) {
        self.mesh.interest("/", &room.into(), true);
        let missing = self.mesh.confirmed(self.mesh.version(), CONFIRMATION).await;
        assert!(missing.is_empty(), "{missing:?} did not confirm");
    }

    /// Waits until it would not send another node what is for this room.
    async fn knows_that_nobody_is_in(&self, room: &str, other: &Self) {
        let other = self.mesh.published.peer(&other.id()).unwrap();
        let narrow = async {
            while other.wants(&[room_hash("/", room)], Instant::now()) {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(DEADLINE, narrow).await.unwrap();
    }

    fn counted(&self, what: &str) -> u64 {
        let name = format!("socketmesh_cluster_{what}_total");
        self.mesh.counts().into_iter().find(|count| count.name == name).unwrap().value
    }

    fn emits(&self, rooms: &[&str], text: &str) {
        self.mesh.broadcast(&broadcast(rooms, text));
    }
}

fn begun() -> Arc<SetOnce<()>> {
    Arc::new(SetOnce::new_with(Some(())))
}

/// Answers every byte in upper case.
async fn shout(mut stream: BiStream) {
    let mut buffer = [0; 1024];
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        buffer[..count].make_ascii_uppercase();
        stream.write_all(&buffer[..count]).await.unwrap();
    }
    stream.shutdown().await.unwrap();
}

fn broadcast(rooms: &[&str], text: &str) -> Broadcast<'static> {
    let rooms = rooms.iter().map(Room::from).collect();
    Broadcast {
        namespace: "/".into(),
        selection: Cow::Owned(Selection { rooms, ..Selection::default() }),
        text: text.into(),
        attachments: Vec::new(),
        flags: Flags::default(),
        number: None,
    }
}

fn id(name: &str) -> NodeId {
    name.parse().unwrap()
}

fn secret(name: &str) -> Secret {
    format!("{name}, a secret of the tests, long enough").parse().unwrap()
}

fn config(name: &str, seeds: &[SocketAddr]) -> Cluster {
    Cluster::bind("127.0.0.1:0")
        .node_id(id(name))
        .secret(secret("ours"))
        .seeds(seeds.iter().map(SocketAddr::to_string))
}

/// Nodes a, b, c, … that all see each other, ready and linked.
async fn cluster<const N: usize>() -> [Node; N] {
    let first = Node::start(config("a", &[])).await;
    let seed = first.address();
    let mut nodes = vec![first];
    for name in NAMES.into_iter().take(N).skip(1) {
        nodes.push(Node::start(config(name, &[seed])).await);
    }
    for node in &nodes {
        node.sees("everyone", |view| settled(view, N)).await;
    }
    nodes.try_into().unwrap_or_else(|_| unreachable!("N nodes were started"))
}

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

/// Nodes on a network in memory, which can be cut. Node number 0 is called `a`, and so on.
struct Simulation(SimulatedNetwork);

impl Simulation {
    /// Nodes a, b, c, … that all see each other, ready and linked.
    async fn cluster<const N: usize>() -> (Self, [Node; N]) {
        let simulation = Self(SimulatedNetwork::new(1));
        let mut nodes = Vec::new();
        for number in 0..N {
            let seeds: &[usize] = if number == 0 { &[] } else { &[0] };
            nodes.push(Node::start(simulation.config(number, seeds)).await);
        }
        for node in &nodes {
            node.sees("everyone", |view| settled(view, N)).await;
        }
        (simulation, nodes.try_into().unwrap_or_else(|_| unreachable!("N nodes were started")))
    }

    fn config(&self, number: usize, seeds: &[usize]) -> Cluster {
        Cluster::bind_on(Arc::new(self.0.clone()), SimulatedNetwork::address(number).to_string())
            .node_id(id(NAMES[number]))
            .secret(secret("ours"))
            .seeds(seeds.iter().map(|seed| SimulatedNetwork::address(*seed).to_string()))
    }

    /// Loses all packets between these nodes.
    fn cut(&self, one: &[usize], other: &[usize]) {
        self.0.change(one, other, |link| link.cut = true);
        self.0.change(other, one, |link| link.cut = true);
    }

    /// Ends a node without a word to the others.
    async fn kill(&self, number: usize, node: &Node) {
        self.0.disconnect(number);
        node.mesh.stop().await;
    }
}

fn settled(view: &View, nodes: usize) -> bool {
    let settled =
        |member: &super::MemberView| member.state == NodeState::Ready && member.link == LinkState::Up;
    view.members.len() == nodes && view.members.iter().all(settled)
}

/// Far above every bound that is promised: the machine may be busy.
const DEADLINE: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_form_one_view_and_one_ring() {
    let nodes = cluster::<3>().await;
    let views: Vec<_> = nodes.iter().map(|node| Arc::clone(&node.mesh.view().borrow())).collect();
    assert!(views.iter().all(|view| view.ring == views[0].ring));
    for node in &nodes {
        let key = node.mesh.mint_key();
        assert_eq!(node.mesh.owner(key), SessionOwner::Here);
        for other in nodes.iter().filter(|other| other.id() != node.id()) {
            assert_eq!(other.mesh.owner(key), SessionOwner::There(node.id()));
        }
    }
    assert_eq!(nodes[0].mesh.owner(Key::from_hash(0)), SessionOwner::Nobody);
}

#[tokio::test(start_paused = true)]
async fn a_node_without_seeds_is_ready_alone() {
    let start = Instant::now();
    let alone = Node::start(Simulation(SimulatedNetwork::new(1)).config(0, &[])).await;
    timeout(DEADLINE, alone.mesh.ready()).await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(3), "took {:?}", start.elapsed());
    assert!(alone.mesh.is_ready());
    assert_eq!(alone.mesh.owner(alone.mesh.mint_key()), SessionOwner::Here);
}

#[tokio::test(start_paused = true)]
async fn what_others_say_waits_until_a_node_has_somebody_who_hears_it() {
    let simulation = Simulation(SimulatedNetwork::new(1));
    let a = Node::start(simulation.config(0, &[])).await;
    let begun = Arc::<SetOnce<()>>::default();
    let mut b = Node::start_before(Arc::clone(&begun), simulation.config(1, &[0]), Handle::current()).await;
    a.sees_link(&b.id(), LinkState::Up).await;
    a.emits(&[], "early");
    sleep(Duration::from_secs(1)).await;
    assert!(b.inbox.try_recv().is_err());
    begun.set(()).unwrap();
    assert_eq!(b.receives().await, "early");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ready_node_is_in_everybodys_ring() {
    let [a, b] = cluster::<2>().await;
    let c = Node::start(config("c", &[a.address()])).await;
    timeout(DEADLINE, c.mesh.ready()).await.unwrap();
    let key = c.mesh.mint_key();
    assert_eq!(a.mesh.owner(key), SessionOwner::There(c.id()));
    assert_eq!(b.mesh.owner(key), SessionOwner::There(c.id()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broadcast_reaches_exactly_the_interested() {
    let [a, mut b, mut c] = cluster::<3>().await;
    b.joins("red").await;
    c.joins("blue").await;
    a.emits(&["red"], "to b");
    a.emits(&["blue"], "to c");
    a.emits(&["red", "blue"], "to both");
    a.emits(&["green"], "to nobody");
    a.emits(&[], "to all");
    for (node, own) in [(&mut b, "to b"), (&mut c, "to c")] {
        assert_eq!(
            [node.receives().await, node.receives().await, node.receives().await],
            [own, "to both", "to all"]
        );
    }
    assert_eq!(a.counted("messages_sent"), 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broadcast_to_a_socket_id_goes_to_its_owner_alone() {
    let [a, mut b, mut c] = cluster::<3>().await;
    b.joins("red").await;
    c.joins("red").await;
    let socket = SocketId::new(b.mesh.mint_key(), [1; 10]).to_string();
    a.emits(&[&socket], "to the socket");
    a.emits(&["red"], "end");
    assert_eq!([b.receives().await, b.receives().await], ["to the socket", "end"]);
    assert_eq!(c.receives().await, "end");
}

#[tokio::test(start_paused = true)]
async fn an_id_may_be_that_of_a_socket_if_a_node_gave_it_or_says_that_its_client_came_back() {
    let (simulation, [a, b, c]) = Simulation::cluster::<3>().await;
    let [given, other] = [c.mesh.mint_key(), Key::from_hash(0)].map(|key| SocketId::new(key, [1; 10]));
    for node in [&a, &b, &c] {
        assert!(node.mesh.may_have("/", given) && !node.mesh.may_have("/", other));
    }
    b.joins(&other.to_string()).await;
    assert!(!a.mesh.may_have("/", other), "any client may be in a room of that name");
    b.joins(&Room::mark_of(other).to_string()).await;
    assert!(a.mesh.may_have("/", other) && !a.mesh.may_have("/other", other));
    simulation.kill(2, &c).await;
    a.sees("c gone", |view| view.members.len() == 2).await;
    assert!(a.mesh.may_have("/", given), "its client may come back");
    sleep(Duration::from_secs(5)).await;
    assert!(!a.mesh.may_have("/other", other), "who is gone says nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_emitted_after_a_join_was_confirmed_always_arrives() {
    let [a, mut b, c] = cluster::<3>().await;
    for round in 0..200 {
        let room = format!("room-{round}");
        b.joins(&room).await;
        let emitter = if round % 2 == 0 { &a } else { &c };
        emitter.emits(&[&room], &room);
        assert_eq!(b.receives().await, room);
        b.mesh.interest("/", &room.as_str().into(), false);
    }
}

#[tokio::test(start_paused = true)]
async fn an_awaited_join_says_who_did_not_confirm_it() {
    let (simulation, [a, b, c]) = Simulation::cluster::<3>().await;
    simulation.cut(&[1], &[0, 2]);
    for other in [&a, &c] {
        b.mesh.published.connection(&other.id()).unwrap().close(CloseCode::Silent);
    }
    // Without a link in any direction, they still are members for a while.
    b.sees("no link", |view| {
        view.members.iter().all(|node| node.id == b.id() || node.link == LinkState::Down)
    })
    .await;
    b.mesh.interest("/", &"red".into(), true);
    assert_eq!(b.mesh.confirmed(b.mesh.version(), CONFIRMATION).await, [a.id(), c.id()]);
    assert_eq!(b.counted("joins_unconfirmed"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broadcasts_of_one_node_arrive_in_order() {
    let [a, mut b] = cluster::<2>().await;
    for number in 0..5000 {
        a.emits(&[], &number.to_string());
    }
    for number in 0..5000 {
        assert_eq!(b.receives().await, number.to_string());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_another_secret_is_refused() {
    let [a] = cluster::<1>().await;
    let stranger = config("x", &[a.address()]).secret(secret("theirs"));
    let stranger = Node::start(stranger).await;
    let compatible = Node::start(config("b", &[a.address()])).await;
    a.sees("b", |view| settled(view, 2)).await;
    compatible.sees("a", |view| settled(view, 2)).await;
    assert!(!stranger.mesh.is_ready());
    assert_eq!(stranger.mesh.view().borrow().members.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_is_changed_while_nodes_run() {
    let [old, new] = ["ours", "theirs"].map(secret);
    // What each node of the pair has, as one after another is started anew.
    for pair in [
        [old.clone(), old.clone().accepting(new.clone())],
        [old.clone().accepting(new.clone()), new.clone().accepting(old.clone())],
        [new.clone().accepting(old.clone()), new.clone()],
    ] {
        let [has_a, has_b] = pair;
        let a = Node::start(config("a", &[]).secret(has_a)).await;
        let b = Node::start(config("b", &[a.address()]).secret(has_b)).await;
        a.sees("b", |view| settled(view, 2)).await;
        b.sees("a", |view| settled(view, 2)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_of_another_cluster_name_is_refused() {
    let [a] = cluster::<1>().await;
    let stranger = Node::start(config("x", &[a.address()]).name("other")).await;
    let compatible = Node::start(config("b", &[a.address()])).await;
    a.sees("b", |view| settled(view, 2)).await;
    compatible.sees("a", |view| settled(view, 2)).await;
    assert!(!stranger.mesh.is_ready());
    assert!(a.mesh.view().borrow().member(&id("x")).is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_another_parser_is_refused() {
    let [a] = cluster::<1>().await;
    let stranger = Node::start(config("x", &[a.address()]).parser("msgpack")).await;
    let compatible = Node::start(config("b", &[a.address()])).await;
    a.sees("b", |view| settled(view, 2)).await;
    compatible.sees("a", |view| settled(view, 2)).await;
    assert!(!stranger.mesh.is_ready());
    assert!(a.mesh.view().borrow().member(&id("x")).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_restart_at_the_same_address_rejoins_at_once_with_new_tokens() {
    let (simulation, [a, mut b, c]) = Simulation::cluster::<3>().await;
    let old = c.mesh.mint_key();
    simulation.kill(2, &c).await;
    let start = Instant::now();
    let c = Node::start(simulation.config(2, &[0])).await;
    let incarnation = c.mesh.published.me.incarnation;
    for node in [&a, &b] {
        let newer = |view: &View| view.member(&id("c")).is_some_and(|c| c.incarnation == incarnation);
        node.sees("the new c", newer).await;
        assert_eq!(node.mesh.owner(old), SessionOwner::Nobody);
        node.sees_link(&id("c"), LinkState::Up).await;
    }
    assert!(start.elapsed() < Duration::from_secs(5), "took {:?}", start.elapsed());
    timeout(DEADLINE, c.mesh.ready()).await.unwrap();
    c.emits(&[], "back");
    assert_eq!(b.receives().await, "back");
}

#[tokio::test(start_paused = true)]
async fn a_restarted_node_without_seeds_is_found_by_the_others_before_it_is_ready() {
    let (simulation, [a, b]) = Simulation::cluster::<2>().await;
    simulation.kill(0, &a).await;
    b.sees("a gone", |view| view.members.len() == 1).await;
    let a = Node::start(simulation.config(0, &[])).await;
    timeout(DEADLINE, a.mesh.ready()).await.unwrap();
    assert_eq!(a.mesh.view().borrow().members.len(), 2);
    assert_eq!(b.mesh.owner(a.mesh.mint_key()), SessionOwner::There(a.id()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_nodes_with_one_id_the_older_is_not_ready_any_more() {
    let [a, b] = cluster::<2>().await;
    let twin = Node::start(config("b", &[a.address()])).await;
    timeout(DEADLINE, twin.mesh.ready()).await.unwrap();
    let mut state = b.mesh.state();
    timeout(DEADLINE, state.wait_for(|state| *state == NodeState::Joining)).await.unwrap().unwrap();
    assert!(twin.mesh.is_ready());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_control_actor_failed_is_not_ready() {
    let [a] = cluster::<1>().await;
    timeout(DEADLINE, a.mesh.ready()).await.unwrap();
    let mut state = a.mesh.state();
    a.mesh.control.kill();
    timeout(DEADLINE, state.wait_for(|state| *state == NodeState::Joining)).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_killed_node_leaves_every_ring() {
    let (simulation, [a, b, c]) = Simulation::cluster::<3>().await;
    let key = c.mesh.mint_key();
    simulation.kill(2, &c).await;
    for node in [&a, &b] {
        node.sees("c gone", |view| view.members.len() == 2).await;
        assert_eq!(node.mesh.owner(key), SessionOwner::Nobody);
        assert_eq!(node.mesh.open(&id("c")).await.unwrap_err(), OpenError::Unreachable);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blocked_application_leaves_every_ring_and_comes_back_as_it_was() {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let [a, b] = cluster::<2>().await;
    let mut c = Node::start_for(config("c", &[a.address()]), runtime.handle().clone()).await;
    let before = a.sees("everyone", |view| settled(view, 3)).await;
    let (block, blocked) = std::sync::mpsc::sync_channel::<()>(0);
    let blocked = Arc::new(parking_lot::Mutex::new(blocked));
    for _ in 0..2 {
        let blocked = Arc::clone(&blocked);
        runtime.spawn(async move { blocked.lock().recv() });
    }
    for other in [&a, &b] {
        other.sees("c hang", |view| view.member(&id("c")).is_none()).await;
        assert_eq!(other.mesh.owner(c.mesh.mint_key()), SessionOwner::Nobody);
        other.mesh.interest("/", &"room".into(), true);
        assert!(
            other.mesh.confirmed(other.mesh.version(), CONFIRMATION).await.is_empty(),
            "no join waits for it"
        );
        assert!(other.mesh.is_ready());
    }
    assert!(!c.mesh.is_ready());
    drop(block);
    let after = a.sees("everyone", |view| settled(view, 3)).await;
    assert!(after.members == before.members && c.mesh.is_ready());
    a.emits(&[], "welcome");
    assert_eq!(c.receives().await, "welcome");
    runtime.shutdown_background();
}

#[tokio::test(start_paused = true)]
async fn a_goodbye_is_known_at_once_and_brings_what_was_queued() {
    let (_simulation, [a, mut b]) = Simulation::cluster::<2>().await;
    for number in 0..100 {
        a.emits(&[], &number.to_string());
    }
    let start = Instant::now();
    a.mesh.leave().await;
    b.sees("a gone", |view| view.members.len() == 1).await;
    assert!(start.elapsed() < Duration::from_millis(1500), "took {:?}", start.elapsed());
    for number in 0..100 {
        assert_eq!(b.receives().await, number.to_string());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn draining_is_known_everywhere() {
    let [a, b] = cluster::<2>().await;
    a.mesh.drain();
    b.sees("a draining", |view| view.member(&id("a")).unwrap().state == NodeState::Draining).await;
    assert!(!a.mesh.is_ready());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_carries_bytes_to_another_node() {
    let [a, b] = cluster::<2>().await;
    shouts(&a, &b.id()).await;
    shouts(&b, &a.id()).await;
}

async fn shouts(from: &Node, to: &NodeId) {
    let mut stream = from.mesh.open(to).await.unwrap().0;
    stream.write_all(b"hello").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    timeout(DEADLINE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert_eq!(answer, "HELLO");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_a_stream_aborts_it_at_the_other_end() {
    let (ended, mut end) = mpsc::channel(1);
    let serve = Arc::new(move |mut stream: BiStream| {
        let ended = ended.clone();
        tokio::spawn(async move {
            let mut buffer = [0; 8];
            stream.read_exact(&mut buffer[..4]).await.unwrap();
            stream.write_all(b"seen").await.unwrap();
            let end = stream.read(&mut buffer).await;
            ended.send(end.is_err()).await.unwrap();
        });
    });
    let upward = Upward { serve, deliver: Arc::new(|_| {}), begun: begun() };
    let b = Mesh::start(config("b", &[]), Handle::current(), upward).await.unwrap();
    let a = Node::start(config("a", &[b.local_addr()])).await;
    a.sees_link(&id("b"), LinkState::Up).await;
    let mut stream = a.mesh.open(&id("b")).await.unwrap().0;
    stream.write_all(b"half").await.unwrap();
    stream.read_exact(&mut [0; 4]).await.unwrap();
    drop(stream);
    assert!(timeout(DEADLINE, end.recv()).await.unwrap().unwrap());
}

/// Directly and through a relay.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_other_end_hears_of_a_request_that_is_given_up_after_it_was_sent_whole_and_whether_it_was_lost() {
    let (heard, mut hears) = mpsc::channel(1);
    let serve = Arc::new(move |mut stream: BiStream| {
        let heard = heard.clone();
        tokio::spawn(async move {
            let mut request = String::new();
            stream.read_to_string(&mut request).await.unwrap();
            heard.send((request, false)).await.unwrap();
            let error = stream.send.refused().await;
            heard.send((error.to_string(), stream.loss().is_lost())).await.unwrap();
        });
    });
    let upward = Upward { serve, deliver: Arc::new(|_| {}), begun: begun() };
    let b = Mesh::start(config("b", &[]), Handle::current(), upward).await.unwrap();
    let a = Node::start(config("a", &[b.local_addr()])).await;
    let c = Node::start(config("c", &[b.local_addr()])).await;
    a.sees_link(&id("b"), LinkState::Up).await;
    a.sees_link(&id("c"), LinkState::Up).await;
    c.sees_link(&id("b"), LinkState::Up).await;
    for (around, lost) in [(false, false), (false, true), (true, false), (true, true)] {
        let opened = if around { a.mesh.open_around(&id("b")).await } else { a.mesh.open(&id("b")).await };
        let mut stream = opened.unwrap().0;
        stream.write_all(b"whole").await.unwrap();
        stream.shutdown().await.unwrap();
        assert_eq!(timeout(DEADLINE, hears.recv()).await.unwrap().unwrap().0, "whole");
        if lost {
            stream.loss().declare();
        }
        drop(stream);
        let (error, is_lost) = timeout(DEADLINE, hears.recv()).await.unwrap().unwrap();
        assert_eq!(is_lost, lost, "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_nobody_reads_do_not_hold_up_the_link() {
    let (stuck, mut filled) = mpsc::channel(STREAMS);
    let serve = Arc::new(move |mut stream: BiStream| {
        let stuck = stuck.clone();
        tokio::spawn(async move {
            stream.write_all(&vec![0; STREAM_WINDOW as usize]).await.unwrap();
            stuck.send(stream).await.unwrap();
        });
    });
    let upward = Upward { serve, deliver: Arc::new(|_| {}), begun: begun() };
    let b = Mesh::start(config("b", &[]), Handle::current(), upward).await.unwrap();
    let mut a = Node::start(config("a", &[b.local_addr()])).await;
    a.sees_link(&id("b"), LinkState::Up).await;
    let (mut unread, mut full) = (Vec::new(), Vec::new());
    for _ in 0..STREAMS {
        let mut stream = a.mesh.open(&id("b")).await.unwrap().0;
        stream.write_all(b"fill it").await.unwrap();
        unread.push(stream);
    }
    for _ in 0..STREAMS {
        full.push(timeout(DEADLINE, filled.recv()).await.unwrap().unwrap());
    }
    b.broadcast(&broadcast(&[], "past them"));
    assert_eq!(a.receives().await, "past them");
}

/// Each with a window of 2 MiB, they would fill a connection window of 128 MiB and the link with it.
const STREAMS: usize = 100;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_carries_more_streams_than_it_starts_with() {
    let [a, mut b] = cluster::<2>().await;
    let mut open = Vec::new();
    for _ in 0..3 * FIRST {
        let mut stream = a.mesh.open(&b.id()).await.unwrap().0;
        stream.write_all(b"hi").await.unwrap();
        stream.read_exact(&mut [0; 2]).await.unwrap();
        open.push(stream);
    }
    a.emits(&[], "beside them");
    assert_eq!(b.receives().await, "beside them");
    // The other end has as many in use, and may open its own.
    shouts(&b, &a.id()).await;
}

#[tokio::test(start_paused = true)]
async fn where_the_direct_way_is_cut_one_hop_carries_everything() {
    let (simulation, [mut a, mut b, c]) = Simulation::cluster::<3>().await;
    simulation.cut(&[0], &[1]);
    a.sees_link(&b.id(), LinkState::Relayed).await;
    b.sees_link(&a.id(), LinkState::Relayed).await;
    b.joins("red").await;
    a.emits(&["red"], "there");
    assert_eq!(b.receives().await, "there");
    b.emits(&[], "and back");
    assert_eq!(a.receives().await, "and back");
    shouts(&a, &b.id()).await;
    shouts(&b, &a.id()).await;
    assert!(c.counted("streams_relayed") >= 3);
    simulation.0.heal();
    a.sees_link(&b.id(), LinkState::Up).await;
    b.sees_link(&a.id(), LinkState::Up).await;
    a.emits(&["red"], "direct again");
    assert_eq!(b.receives().await, "direct again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_connection_loses_nothing_and_repeats_nothing() {
    let [a, mut b] = cluster::<2>().await;
    let emitter = {
        let (a, b) = (Arc::clone(&a.mesh), b.id());
        tokio::spawn(async move {
            for number in 0..3000 {
                a.broadcast(&broadcast(&[], &number.to_string()));
                if let Some(connection) = a.published.connection(&b).filter(|_| number % 500 == 250) {
                    connection.close(CloseCode::Silent);
                }
                tokio::task::yield_now().await;
            }
        })
    };
    for number in 0..3000 {
        assert_eq!(b.receives().await, number.to_string());
    }
    emitter.await.unwrap();
    assert_eq!(b.counted("messages_lost"), 0);
}

/// Asks the nodes with sockets in these rooms, and does not give up.
fn requests(from: &Node, rooms: &[&str]) -> tokio::task::JoinHandle<Responses> {
    let selection = broadcast(rooms, "").selection.into_owned();
    let timeout = Duration::MAX;
    let request = Request { namespace: "/".into(), selection, kind: RequestKind::Rooms, timeout };
    let mesh = Arc::clone(&from.mesh);
    tokio::spawn(async move { mesh.request(request).await })
}

async fn result_of(requesting: tokio::task::JoinHandle<Responses>) -> Responses {
    timeout(DEADLINE, requesting).await.expect("all have responded or are gone").unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_goes_to_the_nodes_concerned_and_ends_when_all_have_responded() {
    let [a, mut b, mut c] = cluster::<3>().await;
    b.joins("red").await;
    let requesting = requests(&a, &["red"]);
    b.responds(2).await;
    let expected = Responses { parts: vec![(b.id(), ResponsePart::ExpectedAcks(2))], ..Responses::default() };
    assert_eq!(result_of(requesting).await, expected);
    assert_eq!(result_of(requests(&a, &["nobody's"])).await, Responses::default());
    a.emits(&[], "end");
    assert_eq!(c.receives().await, "end", "and nothing before it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_nobody_waits_for_any_more_is_withdrawn() {
    let [a, mut b] = cluster::<2>().await;
    let requesting = requests(&a, &[]);
    let Inbound::Request(requester, _) = b.receives_something().await else { panic!("a request") };
    requesting.abort();
    assert_eq!(b.receives_something().await, Inbound::Withdrawn(requester));
    let answered = requests(&a, &[]);
    b.responds(1).await;
    assert_eq!(result_of(answered).await.parts.len(), 1);
    a.emits(&[], "end");
    assert_eq!(b.receives().await, "end", "what was answered is not withdrawn");
}

#[tokio::test(start_paused = true)]
async fn a_request_without_a_timeout_ends_with_the_node_that_made_it() {
    let (simulation, [a, mut b]) = Simulation::cluster::<2>().await;
    drop(requests(&a, &[]));
    let Inbound::Request(requester, request) = b.receives_something().await else { panic!("a request") };
    assert_eq!(request.timeout, Duration::MAX);
    let mut gone = b.mesh.gone(&requester);
    assert!(timeout(Duration::from_secs(60), &mut gone).await.is_err(), "it lives");
    simulation.kill(0, &a).await;
    timeout(DEADLINE, gone).await.expect("it is gone");
}

#[tokio::test(start_paused = true)]
async fn a_killed_node_is_not_waited_for() {
    let (simulation, [a, mut b, mut c]) = Simulation::cluster::<3>().await;
    let requesting = requests(&a, &[]);
    b.responds(1).await;
    assert!(matches!(c.receives_something().await, Inbound::Request(..)));
    simulation.kill(2, &c).await;
    let responses = result_of(requesting).await;
    assert_eq!(responses.parts, [(b.id(), ResponsePart::ExpectedAcks(1))]);
    assert_eq!((responses.lost, responses.late), (vec![c.id()], vec![]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_and_its_response_survive_a_lost_connection() {
    let [a, mut b] = cluster::<2>().await;
    a.mesh.published.connection(&b.id()).unwrap().close(CloseCode::Silent);
    let requesting = requests(&a, &[]);
    let Inbound::Request(requester, _) = b.receives_something().await else { panic!("a request") };
    b.mesh.published.connection(&a.id()).unwrap().close(CloseCode::Silent);
    b.mesh.respond(&requester, Response::done(Some(ResponsePart::ExpectedAcks(1)))).await;
    assert_eq!(result_of(requesting).await.parts, [(b.id(), ResponsePart::ExpectedAcks(1))]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broadcast_behind_a_join_by_command_follows_it() {
    let [a, mut b] = cluster::<2>().await;
    b.joins("red").await;
    for round in 0..200 {
        let (room, selection) = (format!("room-{round}"), broadcast(&["red"], "").selection.into_owned());
        let kind = CommandKind::Join(vec![room.as_str().into()]);
        a.mesh.command(&Command { namespace: "/".into(), selection, kind: kind.clone() });
        a.emits(&[&room], &room);
        assert!(matches!(b.receives_something().await, Inbound::Command(command) if command.kind == kind));
        assert_eq!(b.receives().await, room);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn responses_wait_for_room_on_the_link() {
    let [a, mut b] = cluster::<2>().await;
    let requesting = requests(&a, &[]);
    let Inbound::Request(requester, _) = b.receives_something().await else { panic!("a request") };
    let room: Room = "x".repeat(200 << 10).into();
    for _ in 0..200 {
        let part = ResponsePart::Rooms(vec![room.clone()]);
        timeout(DEADLINE, b.mesh.respond(&requester, Response::more(part))).await.unwrap();
    }
    b.mesh.respond(&requester, Response::done(None)).await;
    assert_eq!(result_of(requesting).await.parts.len(), 200, "forty megabytes, where a link keeps sixteen");
}

#[tokio::test(start_paused = true)]
async fn a_partition_longer_than_death_but_shorter_than_the_buffer_loses_nothing() {
    let (simulation, [a, mut b]) = Simulation::cluster::<2>().await;
    simulation.cut(&[0], &[1]);
    a.emits(&[], "at the cut");
    a.sees("b dead", |view| view.members.len() == 1).await;
    a.emits(&["a room that b never named"], "during the cut");
    simulation.0.heal();
    a.sees("b again", |view| settled(view, 2)).await;
    assert_eq!([b.receives().await, b.receives().await], ["at the cut", "during the cut"]);
    b.sees("a again", |view| settled(view, 2)).await;
}

#[tokio::test(start_paused = true)]
async fn a_room_joined_during_a_cut_that_nobody_has_noticed_gets_what_is_emitted() {
    let (simulation, [a, mut b]) = Simulation::cluster::<2>().await;
    a.knows_that_nobody_is_in("red", &b).await;
    simulation.cut(&[0], &[1]);
    b.mesh.interest("/", &"red".into(), true);
    sleep(Duration::from_millis(1100)).await;
    assert_eq!(
        a.mesh.view().borrow().member(&b.id()).unwrap().link,
        LinkState::Up,
        "nobody has noticed the cut"
    );
    a.emits(&["red"], "during the cut");
    simulation.0.heal();
    assert_eq!(b.receives().await, "during the cut");
    a.knows_that_nobody_is_in("blue", &b).await;
    a.emits(&["blue"], "to nobody");
    a.emits(&["red"], "end");
    assert_eq!(b.receives().await, "end", "what was known before counts again");
}

#[tokio::test(start_paused = true)]
async fn a_room_joined_behind_a_relay_that_was_cut_gets_what_is_emitted() {
    let (simulation, [a, mut b, c]) = Simulation::cluster::<3>().await;
    simulation.cut(&[0], &[1]);
    a.sees_link(&b.id(), LinkState::Relayed).await;
    a.knows_that_nobody_is_in("red", &b).await;
    sleep(Duration::from_secs(20)).await;
    a.knows_that_nobody_is_in("red", &b).await;
    simulation.cut(&[1], &[2]);
    b.mesh.interest("/", &"red".into(), true);
    sleep(Duration::from_millis(1700)).await;
    c.sees_link(&b.id(), LinkState::Up).await;
    a.emits(&["red"], "during the cut");
    simulation.0.heal();
    assert_eq!(b.receives().await, "during the cut");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broadcast_of_a_node_that_is_just_ready_reaches_the_rooms_of_all() {
    let [a, mut b] = cluster::<2>().await;
    b.joins("red").await;
    let c = Node::start(config("c", &[a.address()])).await;
    timeout(DEADLINE, c.mesh.ready()).await.unwrap();
    c.emits(&["red"], "from the new one");
    assert_eq!(b.receives().await, "from the new one", "whatever c has not heard yet counts as interest");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_nodes_that_start_together_become_one_cluster() {
    let [a] = cluster::<1>().await;
    let mut nodes = Vec::new();
    for name in ["b", "c", "d", "e"] {
        nodes.push(Node::start(config(name, &[a.address()])).await);
    }
    for node in &nodes {
        timeout(DEADLINE, node.mesh.ready()).await.unwrap();
        node.sees("everyone", |view| settled(view, 5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_only_know_each_other_as_seeds_meet() {
    let sockets: Vec<_> = (0..2).map(|_| std::net::UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
    let seeds: Vec<_> = sockets.iter().map(|socket| socket.local_addr().unwrap()).collect();
    drop(sockets);
    let at = |name, bind: SocketAddr| Cluster { bind: bind.to_string(), ..config(name, &seeds) };
    let a = Node::start(at("a", seeds[0])).await;
    assert!(!a.mesh.is_ready(), "a seed has not answered yet");
    let b = Node::start(at("b", seeds[1])).await;
    for node in [&a, &b] {
        node.sees("both", |view| settled(view, 2)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_may_serve_alone_when_told_so() {
    let nowhere = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let seed = nowhere.local_addr().unwrap();
    let alone = Node::start(config("a", &[seed]).serve_alone(true)).await;
    timeout(DEADLINE, alone.mesh.ready()).await.unwrap();
}
