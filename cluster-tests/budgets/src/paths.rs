//! The hot paths: single operations of the library's insides, and whole events on nodes with clients.

use std::hint::black_box;
use std::time::Duration;

use socketmesh::fuzzing::operations::{self, TEXT};
use socketmesh::socket::Recovery;
use socketmesh::testing::TestCluster;
use socketmesh::{Args, Namespace, Node, NodeBuilder, RawArg, RawArgs, Socket, namespace};
use tokio::runtime::Builder;
use tokio::time::sleep;

use crate::client::{Client, frame, get, post};

/// Something that is done often.
pub(crate) struct Path {
    pub(crate) name: &'static str,
    /// What one operation is.
    pub(crate) what: &'static str,
    /// How many of them are counted.
    pub(crate) operations: u32,
    body: fn(u32),
}

impl Path {
    /// Does it, first so often that everything has its size, then as often as it is counted between two marks.
    pub(crate) fn run(&self) {
        (self.body)(self.operations);
    }
}

pub(crate) const PATHS: &[Path] = &[
    Path {
        name: "packet-decode",
        what: "From the frame of a client to the argument of a handler",
        operations: 1000,
        body: |times| repeat(times, operations::packet_decode()),
    },
    Path {
        name: "packet-encode",
        what: "From a value to the frame that its receivers share",
        operations: 1000,
        body: |times| repeat(times, operations::packet_encode()),
    },
    Path {
        name: "selection-of-a-room",
        what: "Visits the 10 sockets of a room",
        operations: 1000,
        body: |times| repeat(times, operations::selection_of_a_room()),
    },
    Path {
        name: "selection-of-rooms",
        what: "Visits the sockets of two rooms of 10 that are not in a third one",
        operations: 1000,
        body: |times| repeat(times, operations::selection_of_rooms_but_one()),
    },
    Path {
        name: "outbox-append",
        what: "Appends a frame to what waits for a client, with its part in taking 32 of them",
        operations: 3200,
        body: |times| repeat(times, operations::outbox_append()),
    },
    Path {
        name: "ring-lookup",
        what: "Finds the owner of an id among five nodes",
        operations: 3200,
        body: |times| repeat(times, operations::ring_lookup()),
    },
    Path {
        name: "envelope-encode",
        what: "Encodes an event for other nodes",
        operations: 1000,
        body: |times| repeat(times, operations::envelope_encode()),
    },
    Path {
        name: "envelope-decode",
        what: "Decodes it there",
        operations: 1000,
        body: |times| repeat(times, operations::envelope_decode()),
    },
    Path {
        name: "fan-out-1000",
        what: "An event to a room of 1000 WebSockets of one node, until it is written to all of them",
        operations: 20,
        body: |times| on_nodes(fan_out(times, false)),
    },
    Path {
        name: "fan-out-1000-recovery",
        what: "The same where clients may come back",
        operations: 20,
        body: |times| on_nodes(fan_out(times, true)),
    },
    Path {
        name: "echo",
        what: "A WebSocket's event and its ack",
        operations: 500,
        body: |times| on_nodes(echo(times)),
    },
    Path {
        name: "targeted-emit",
        what: "A WebSocket's event that its handler emits to a socket of another node: both nodes",
        operations: 500,
        body: |times| on_nodes(targeted_emit(times)),
    },
    Path {
        name: "echo-carried",
        what: "A WebSocket's event and its ack where another node owns the session: both nodes",
        operations: 500,
        body: |times| on_nodes(echo_carried(times)),
    },
    Path {
        name: "poll",
        what: "A POST with an event, and the GET with its ack",
        operations: 300,
        body: |times| on_nodes(poll(times, 0)),
    },
    Path {
        name: "poll-carried",
        what: "The same where another node owns the session: both nodes",
        operations: 300,
        body: |times| on_nodes(poll(times, 1)),
    },
];

/// What is counted begins with a call of this and ends with the next one: callgrind knows it by its name.
#[inline(never)]
pub(crate) fn mark() {
    black_box("mark");
}

fn repeat(times: u32, mut operation: impl FnMut()) {
    (0..times).for_each(|_| operation());
    mark();
    (0..times).for_each(|_| operation());
    mark();
}

async fn repeat_async(times: u32, mut operation: impl AsyncFnMut()) {
    for _ in 0..times {
        operation().await;
    }
    mark();
    for _ in 0..times {
        operation().await;
    }
    mark();
}

/// On one thread and in virtual time, so that each run is as the one before.
fn on_nodes(path: impl Future<Output = ()>) {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime without I/O").block_on(path);
}

/// Nodes whose packets take a tenth of a millisecond: while they are on their way, little else happens.
async fn nodes(count: usize) -> TestCluster {
    nodes_of(count, app).await
}

async fn nodes_of(count: usize, app: fn() -> NodeBuilder) -> TestCluster {
    let cluster = TestCluster::start_seeded(1, count, move |_| app()).await;
    let delay = Duration::from_micros(100);
    cluster.delay(delay..=delay);
    // What follows the meeting of the nodes.
    sleep(Duration::from_secs(5)).await;
    cluster
}

fn app() -> NodeBuilder {
    Node::builder().namespace(rooms())
}

/// Whose clients may come back.
fn recovering_app() -> NodeBuilder {
    Node::builder().namespace(rooms().recover(Recovery::default()))
}

fn rooms() -> Namespace {
    namespace("/")
        .on("echo", async |_: Socket, args: RawArgs| Ok(args))
        .on("join", async |socket: Socket, room: String| Ok(socket.join(room).await?))
        .on("direct", async |socket: Socket, Args((to, text)): Args<(String, RawArg)>| {
            Ok(socket.to(to).emit("direct", &text)?)
        })
}

async fn fan_out(times: u32, recovery: bool) {
    let cluster = nodes_of(1, if recovery { recovering_app } else { app }).await;
    let node = cluster.node(0);
    let node = node.node();
    let mut clients = Vec::new();
    for _ in 0..1000 {
        let (mut client, _) = Client::websocket(node).await;
        client.send(&frame(r#"421["join","lobby"]"#)).await;
        let _joined = client.frame().await;
        clients.push(client);
    }
    let room = node.of("/").to("lobby");
    repeat_async(times, async || {
        room.clone().emit("message", TEXT).expect("a text");
        // The clock moves when nobody has anything to do. What the clients do not read has room in their connections.
        sleep(Duration::from_millis(1)).await;
    })
    .await;
    for client in &mut clients {
        for _ in 0..2 * times {
            assert!(client.frame().await.contains(r#"no longer""#), "an event");
        }
    }
}

async fn echo(times: u32) {
    let cluster = nodes(1).await;
    let (client, _) = Client::websocket(cluster.node(0).node()).await;
    echoes(times, client).await;
}

async fn echo_carried(times: u32) {
    let cluster = nodes(2).await;
    let (client, _) = Client::spliced(cluster.node(1).node(), cluster.node(0).node()).await;
    echoes(times, client).await;
}

async fn echoes(times: u32, mut client: Client) {
    let event = frame(&format!(r#"421["echo","{TEXT}"]"#));
    repeat_async(times, async || {
        client.send(&event).await;
        assert!(client.frame().await.starts_with("431["), "an ack");
    })
    .await;
}

async fn targeted_emit(times: u32) {
    let cluster = nodes(2).await;
    let (mut sender, _) = Client::websocket(cluster.node(0).node()).await;
    let (mut receiver, id) = Client::websocket(cluster.node(1).node()).await;
    let event = frame(&format!(r#"42["direct","{id}","{TEXT}"]"#));
    repeat_async(times, async || {
        sender.send(&event).await;
        assert!(receiver.frame().await.starts_with(r#"42["direct""#), "an event");
    })
    .await;
}

/// Polls node 0 for a session of this node.
async fn poll(times: u32, owner: usize) {
    let cluster = nodes(2).await;
    let (mut client, sid) = Client::polling(cluster.node(owner).node(), cluster.node(0).node()).await;
    let sid = format!("&sid={sid}");
    let get = get(&sid);
    client.send(&post(&sid, "40")).await;
    let _taken = client.answer().await;
    client.send(&get).await;
    let _connected = client.answer().await;
    let event = post(&sid, &format!(r#"421["echo","{TEXT}"]"#));
    repeat_async(times, async || {
        client.send(&event).await;
        assert_eq!(client.answer().await, "ok");
        client.send(&get).await;
        assert!(client.answer().await.starts_with("431["), "an ack");
    })
    .await;
}
