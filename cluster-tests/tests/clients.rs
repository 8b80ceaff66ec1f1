//! Clients of other languages against three node processes behind a stateless round-robin load balancer: `python-socketio` with
//! threads and with asyncio, and `rust_socketio`.
#![expect(clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::time::Duration;

use bytes::Bytes;
use cluster_tests::deadline::within;
use cluster_tests::process::Nodes;
use cluster_tests::python;
use futures_util::FutureExt;
use rust_socketio::asynchronous::{Client, ClientBuilder};
use rust_socketio::{Event, Payload, TransportType};
use serde_json::{Value, json};
use tokio::sync::{Mutex, mpsc};

#[tokio::test]
async fn python_with_threads_works_over_polling_and_survives_its_node() {
    python("sync", "polling").await;
}

#[tokio::test]
async fn python_with_threads_works_over_websocket_and_survives_its_node() {
    python("sync", "websocket").await;
}

#[tokio::test]
async fn python_with_threads_upgrades_and_survives_its_node() {
    python("sync", "polling,websocket").await;
}

#[tokio::test]
async fn python_with_asyncio_works_over_polling_and_survives_its_node() {
    python("asyncio", "polling").await;
}

#[tokio::test]
async fn python_with_asyncio_works_over_websocket_and_survives_its_node() {
    python("asyncio", "websocket").await;
}

#[tokio::test]
async fn python_with_asyncio_upgrades_and_survives_its_node() {
    python("asyncio", "polling,websocket").await;
}

#[tokio::test]
async fn rust_socketio_works_over_polling_and_survives_its_node() {
    rust(TransportType::Polling).await;
}

#[tokio::test]
async fn rust_socketio_works_over_websocket_and_survives_its_node() {
    rust(TransportType::Websocket).await;
}

#[tokio::test]
async fn rust_socketio_upgrades_and_survives_its_node() {
    rust(TransportType::WebsocketUpgrade).await;
}

/// Runs `interop/python/clients.py` against nodes of its own.
async fn python(flavour: &str, transports: &str) {
    let nodes = Nodes::start(option_env!("CARGO_BIN_EXE_fixture"), 3).await;
    let addrs = std::iter::once(nodes.target().addr()).chain(nodes.nodes.iter().map(|node| node.http));
    let urls = addrs.map(|addr| format!("http://{addr}"));
    let arguments = [flavour.to_owned(), transports.to_owned()].into_iter().chain(urls);
    python::run("clients.py", arguments).await;
}

/// The same with this library, without what it cannot do (docs/testing.md).
async fn rust(transport: TransportType) {
    let mut nodes = Nodes::start(option_env!("CARGO_BIN_EXE_fixture"), 3).await;
    let one = Rust::connect(&nodes.target().addr().to_string(), transport).await;
    one.talks().await;
    one.shares_a_room(&nodes, "before").await;

    let owner = one.ask("pid", json!(null)).await;
    let killed = nodes.nodes.iter().position(|node| node.pid().map(Value::from).as_ref() == Some(&owner));
    nodes.nodes.remove(killed.expect("one of the nodes owns it")).kill(&[]).await;
    one.connected().await;
    let moved = one.ask("pid", json!(null)).await;
    assert_ne!(moved, owner);
    one.talks().await;
    one.shares_a_room(&nodes, "after").await;
}

/// A client of the library, and the events that it receives.
struct Rust {
    client: Client,
    heard: Mutex<mpsc::Receiver<(Event, Payload)>>,
}

impl Rust {
    async fn connect(addr: &str, transport: TransportType) -> Self {
        let (tell, heard) = mpsc::channel(256);
        let hear = move |event: Event| {
            let tell = tell.clone();
            move |payload: Payload, _: Client| {
                let (tell, event) = (tell.clone(), event.clone());
                async move { tell.send((event, payload)).await.unwrap_or_default() }.boxed()
            }
        };
        let mut builder = ClientBuilder::new(format!("http://{addr}"))
            .transport_type(transport)
            .reconnect(true)
            .reconnect_on_disconnect(true)
            .reconnect_delay(50, 500);
        for event in [Event::Connect, "msg".into(), "mirrored".into()] {
            builder = builder.on(event.clone(), hear(event));
        }
        let client = within("a connection", Box::pin(builder.connect())).await.expect("it connects");
        let one = Self { client, heard: Mutex::new(heard) };
        one.connected().await;
        one
    }

    async fn connected(&self) {
        self.hears(&Event::Connect).await;
    }

    async fn hears(&self, wanted: &Event) -> Payload {
        let heard = async { self.heard.lock().await.recv().await.expect("the client lives") };
        let (event, payload) = within(format!("{wanted}"), heard).await;
        assert_eq!(event, *wanted, "{payload:?}");
        payload
    }

    async fn emit(&self, event: &str, payload: impl Into<Payload>) {
        self.client.emit(event, payload).await.unwrap_or_else(|error| panic!("emitting {event}: {error}"));
    }

    /// The first argument of the ack.
    async fn ask(&self, event: &str, argument: Value) -> Value {
        let (tell, mut answer) = mpsc::channel(2);
        let told = move |payload: Payload, _: Client| {
            let tell = tell.clone();
            async move { tell.send(payload).await.unwrap_or_default() }.boxed()
        };
        let asked = self.client.emit_with_ack(event, argument, PATIENCE, told).await;
        asked.unwrap_or_else(|error| panic!("asking {event}: {error}"));
        match within(format!("the ack of {event}"), answer.recv()).await {
            Some(Payload::Text(arguments)) => arguments[0][0].clone(),
            other => panic!("the ack of {event}, not {other:?}"),
        }
    }

    /// Acks, and bytes each way.
    async fn talks(&self) {
        for value in
            [json!(0), json!("€ 😀"), json!([1, [2]]), json!({"a": {"b": "c"}}), json!("x".repeat(1000))]
        {
            assert_eq!(self.ask("echo", value.clone()).await, value);
        }
        let bytes = Bytes::from_iter((0..=u8::MAX).filter(|byte| *byte != TAKEN_FOR_A_SEPARATOR));
        self.emit("mirror", Payload::Binary(bytes.clone())).await;
        assert_eq!(self.hears(&"mirrored".into()).await, Payload::Binary(bytes));
    }

    /// Checks that it reaches a client of every node, and that every such client reaches it.
    async fn shares_a_room(&self, nodes: &Nodes, room: &str) {
        self.ask("join", json!(room)).await;
        for node in &nodes.nodes {
            let other = Self::connect(&node.http.to_string(), TransportType::Websocket).await;
            other.ask("join", json!(room)).await;
            for (from, to) in [(self, &other), (&other, self)] {
                from.emit("msg", vec![json!(room), json!("hello")]).await;
                assert_eq!(to.hears(&"msg".into()).await, Payload::Text(vec![json!("hello")]));
            }
            other.client.disconnect().await.expect("it disconnects");
        }
    }
}

/// The library splits received payloads at this byte, even within bytes.
const TAKEN_FOR_A_SEPARATOR: u8 = 0x1e;
const PATIENCE: Duration = Duration::from_secs(20);
