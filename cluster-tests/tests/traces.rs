//! Traces: one from the edge over the owner of a session to the deliveries on other nodes, as the SDK of OpenTelemetry
//! records it. Three nodes, a talker of the first and a listener on each of the others.

#![expect(clippy::panic, reason = "a test fails by a panic")]

use std::sync::OnceLock;
use std::time::Duration;

use cluster_tests::deadline::within;
use cluster_tests::http::Call;
use cluster_tests::messages::Messages;
use cluster_tests::nodes::Nodes;
use cluster_tests::polling::Polling;
use cluster_tests::target::Target;
use cluster_tests::websocket::WebSocket;
use cluster_tests::webtransport::WebTransportTarget;
use hyper::Method;
use opentelemetry::trace::{SpanId, SpanKind, Status, TraceId};
use opentelemetry::{Value, global};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use socketmesh::engine::{self, Transport};
use socketmesh::{EventError, Node, RawArg, Socket, namespace};
use tokio::time::sleep;

/// A namespace for each test: the spans of all tests are in one place.
const PATHS: [&str; 11] = [
    "/polling",
    "/websocket",
    "/upgrade",
    "/webtransport",
    "/auth",
    "/own",
    "/malformed",
    "/unsampled",
    "/outside",
    "/hostile",
    "/acks",
];

/// What all tests share: three nodes, and the spans that they made.
struct Traced {
    nodes: Nodes,
    spans: InMemorySpanExporter,
}

fn traced() -> &'static Traced {
    static TRACED: OnceLock<Traced> = OnceLock::new();
    Nodes::shared(&TRACED, || async {
        let spans = InMemorySpanExporter::default();
        global::set_tracer_provider(SdkTracerProvider::builder().with_simple_exporter(spans.clone()).build());
        let transports = [Transport::Polling, Transport::WebSocket, Transport::WebTransport];
        let node = move || Node::builder().engine(engine::Config::default().transports(transports));
        let app = |_| PATHS.iter().fold(node(), |node, path| node.namespace(talk(path)));
        Traced { nodes: Nodes::start(3, app).await, spans }
    })
}

fn talk(path: &str) -> socketmesh::Namespace {
    namespace(path)
        .on("listen", async |socket: Socket, (): ()| Ok(socket.join("listeners").await?))
        .on("say", async |socket: Socket, what: RawArg| Ok(socket.to("listeners").emit("said", &what)?))
        .on("ask", async |socket: Socket, (): ()| {
            Ok(socket.to("listeners").emit_with_ack::<RawArg, _>("question", &()).await?.replies.len())
        })
        .on("panic", async |_: Socket, (): ()| -> socketmesh::Result<()> { panic!("on purpose") })
        .on("fail", async |_: Socket, (): ()| Err::<(), _>(EventError::new("failed", "on purpose")))
        .on("tell", async |socket: Socket, (): ()| Ok(socket.nsp().server_side_emit("told", &())?))
        .on_server_event("told", async |(): ()| Ok(()))
}

impl Traced {
    fn target(&self, n: usize) -> Target {
        self.nodes.target.at(n)
    }

    /// A client on each of the other nodes, in the room.
    async fn listeners(&self, path: &str) -> [WebSocket; 2] {
        [self.listener(1, path).await, self.listener(2, path).await]
    }

    async fn listener(&self, n: usize, path: &str) -> WebSocket {
        let mut ws = self.target(n).websocket().await;
        ws.send(&format!("40{path},")).await;
        connected(&ws.packet_text().await, path);
        ws.send(&format!(r#"42{path},0["listen"]"#)).await;
        assert_eq!(ws.packet_text().await, format!("43{path},0[]"));
        ws
    }

    /// The ended spans of a trace.
    fn trace(&self, id: TraceId) -> Vec<SpanData> {
        self.all().into_iter().filter(|span| span.span_context.trace_id() == id).collect()
    }

    fn all(&self) -> Vec<SpanData> {
        self.spans.get_finished_spans().unwrap_or_default()
    }

    /// The spans of this name in a namespace, once there are so many.
    async fn spans(&self, path: &str, name: &str, count: usize) -> Vec<SpanData> {
        let wanted = |span: &SpanData| span.name == name && attribute(span, "socketmesh.namespace") == path;
        within(format!("{count} spans {name} in {path}"), async {
            loop {
                let found: Vec<_> = self.all().into_iter().filter(wanted).collect();
                if found.len() >= count {
                    return found;
                }
                sleep(Duration::from_millis(5)).await;
            }
        })
        .await
    }

    /// What a span is a part of, from itself up to the first span of these nodes, and the parent of that.
    async fn ancestry(&self, span: &SpanData) -> (Vec<String>, SpanId) {
        let (mut line, mut span) = (vec![shown(span)], span.clone());
        while span.parent_span_id != SpanId::INVALID {
            let Some(parent) = self.ended(span.span_context.trace_id(), span.parent_span_id).await else {
                break;
            };
            line.push(shown(&parent));
            span = parent;
        }
        (line, span.parent_span_id)
    }

    /// A span, which may end a moment later than its children; `None` if it is one of the client.
    async fn ended(&self, trace: TraceId, id: SpanId) -> Option<SpanData> {
        if id == client_span() {
            return None;
        }
        within(format!("the end of span {id}"), async {
            loop {
                let found = self.trace(trace).into_iter().find(|span| span.span_context.span_id() == id);
                if found.is_some() {
                    return found;
                }
                sleep(Duration::from_millis(5)).await;
            }
        })
        .await
    }

    /// The lines of the deliveries in a namespace, which must be one on each of the other nodes, in one trace.
    async fn deliveries(&self, path: &str) -> (TraceId, Vec<String>, SpanId) {
        let deliveries = self.spans(path, "deliver", 2).await;
        let [(first, top), (second, other_top)] = match &deliveries[..] {
            [a, b] => [self.ancestry(a).await, self.ancestry(b).await],
            more => panic!("two deliveries, not {more:?}"),
        };
        let (mut nodes, mut above) = (Vec::new(), Vec::new());
        for line in [first, second] {
            let mut line = line.into_iter();
            nodes.extend(line.next());
            above.push(line.collect::<Vec<_>>());
        }
        nodes.sort_unstable();
        assert_eq!(nodes, ["deliver at node-1", "deliver at node-2"]);
        assert_eq!((&above.first(), top), (&above.last(), other_top), "both are part of one emit");
        let trace = deliveries.first().map_or(TraceId::INVALID, |span| span.span_context.trace_id());
        assert!(deliveries.iter().all(|span| span.span_context.trace_id() == trace));
        (trace, above.pop().unwrap_or_default(), top)
    }
}

/// The name of a span, and of its node if it has one.
fn shown(span: &SpanData) -> String {
    match attribute(span, "socketmesh.node").as_str() {
        "" => span.name.to_string(),
        node => format!("{} at {node}", span.name),
    }
}

fn attribute(span: &SpanData, name: &str) -> String {
    let found = span.attributes.iter().find(|attribute| attribute.key.as_str() == name);
    found.map(|attribute| Value::to_string(&attribute.value)).unwrap_or_default()
}

/// A `traceparent` of a client, of a trace of its own.
fn traceparent(trace: u128, sampled: bool) -> String {
    format!("00-{trace:032x}-{}-{:02x}", client_span(), u8::from(sampled))
}

fn client_span() -> SpanId {
    SpanId::from(0xc11e)
}

fn connected(packet: &str, path: &str) {
    assert!(packet.starts_with(&format!(r#"40{path},{{"sid""#)), "{packet}");
}

/// A session over polling of the first node.
async fn polling(path: &str) -> Polling {
    let polling = traced().target(0).polling().await;
    polling.send(format!("40{path},")).await;
    connected(&polling.packets(1).await.concat(), path);
    polling
}

/// Sends an event in a POST through the second node, which does not own the session.
async fn post(polling: &Polling, packet: String, headers: impl FnOnce(Call) -> Call) {
    let posted = headers(polling.at(1).call(Method::POST)).body(packet).send().await;
    assert_eq!(posted.outcome(), (200, "ok"));
}

async fn hear(listeners: &mut [WebSocket; 2], path: &str, what: &str) {
    for listener in listeners {
        assert_eq!(listener.packet_text().await, format!(r#"42{path},["said","{what}"]"#));
    }
}

const OVER_TWO_NODES: [&str; 5] =
    ["emit", "handle say at node-0", "POST at node-0", "forward", "POST at node-1"];

#[tokio::test]
async fn a_post_through_another_node_is_in_one_trace_with_what_it_causes_on_every_node() {
    let mut listeners = traced().listeners("/polling").await;
    let polling = polling("/polling").await;
    let headers =
        |call: Call| call.header("traceparent", &traceparent(0xa1, true)).header("tracestate", "a=1");
    post(&polling, r#"42/polling,["say","hello"]"#.to_owned(), headers).await;
    hear(&mut listeners, "/polling", "hello").await;
    let (trace, line, top) = traced().deliveries("/polling").await;
    assert_eq!((trace, top), (TraceId::from(0xa1), client_span()));
    assert_eq!(line, OVER_TWO_NODES);

    let spans = traced().trace(trace);
    let kind = |name: &str, node: &str| {
        let found = spans.iter().find(|span| span.name == name && attribute(span, "socketmesh.node") == node);
        found.unwrap_or_else(|| panic!("{name} at {node}")).span_kind.clone()
    };
    assert_eq!(kind("POST", "node-1"), SpanKind::Server);
    assert_eq!(kind("forward", ""), SpanKind::Client);
    assert_eq!(kind("POST", "node-0"), SpanKind::Server);
    assert_eq!(kind("handle say", "node-0"), SpanKind::Consumer);
    assert_eq!(kind("emit", ""), SpanKind::Producer);
    assert_eq!(kind("deliver", "node-2"), SpanKind::Consumer);
    for span in &spans {
        assert_eq!(span.span_context.trace_state().header(), "a=1", "{}", span.name);
        if span.name == "POST" {
            assert_eq!(attribute(span, "http.response.status_code"), "200");
            assert_eq!(attribute(span, "url.path"), "/socket.io/");
        }
        let texts = span.attributes.iter().map(|attribute| attribute.value.to_string());
        assert!(!texts.into_iter().any(|text| text.contains("hello") || text.contains(polling.sid())));
    }
}

#[tokio::test]
async fn events_of_a_websocket_are_part_of_its_handshake() {
    let mut listeners = traced().listeners("/websocket").await;
    let target = traced().target(0);
    let call = target.call(Method::GET, "EIO=4&transport=websocket").upgrade();
    let opened = WebSocket::from_call(call.header("traceparent", &traceparent(0xa2, true))).await;
    let mut ws = opened.unwrap_or_else(|reply| panic!("{reply:?}"));
    assert!(ws.recv_text().await.starts_with('0'));
    ws.send("40/websocket,").await;
    connected(&ws.packet_text().await, "/websocket");
    ws.send(r#"42/websocket,["say","hello"]"#).await;
    hear(&mut listeners, "/websocket", "hello").await;
    let (trace, line, top) = traced().deliveries("/websocket").await;
    assert_eq!((trace, top), (TraceId::from(0xa2), client_span()));
    assert_eq!(line, ["emit", "handle say at node-0", "GET at node-0"]);
}

#[tokio::test]
async fn events_after_an_upgrade_through_another_node_are_part_of_the_handshake() {
    let mut listeners = traced().listeners("/upgrade").await;
    let target = traced().target(0);
    let opening = target.call(Method::GET, "EIO=4&transport=polling");
    let opened = opening.header("traceparent", &traceparent(0xa3, true)).send().await;
    let sid = cluster_tests::polling::handshake(opened.text());
    let sid = sid.get("sid").and_then(serde_json::Value::as_str).unwrap_or_else(|| panic!("{opened:?}"));
    let upgrading = traced().target(1).upgrade(&format!("EIO=4&transport=websocket&sid={sid}")).await;
    let mut ws = upgrading.unwrap_or_else(|reply| panic!("{reply:?}"));
    ws.send("2probe").await;
    assert_eq!(ws.recv_text().await, "3probe");
    ws.send("5").await;
    ws.send("40/upgrade,").await;
    connected(&ws.packet_text().await, "/upgrade");
    ws.send(r#"42/upgrade,["say","hello"]"#).await;
    hear(&mut listeners, "/upgrade", "hello").await;
    let (trace, line, top) = traced().deliveries("/upgrade").await;
    assert_eq!((trace, top), (TraceId::from(0xa3), client_span()));
    assert_eq!(line, ["emit", "handle say at node-0", "GET at node-0"]);
}

#[tokio::test]
async fn events_over_webtransport_are_part_of_the_request_that_opened_the_session() {
    let mut listeners = traced().listeners("/webtransport").await;
    let first = traced().nodes.nodes.first().unwrap_or_else(|| panic!("a node"));
    let (mut stream, _) = WebTransportTarget::of(first).await.open().await;
    stream.send("40/webtransport,").await;
    connected(&stream.packet_text().await, "/webtransport");
    stream.send(r#"42/webtransport,["say","hello"]"#).await;
    hear(&mut listeners, "/webtransport", "hello").await;
    let (_, line, top) = traced().deliveries("/webtransport").await;
    assert_eq!(line, ["emit", "handle say at node-0", "CONNECT at node-0"]);
    assert_eq!(top, SpanId::INVALID);
}

#[tokio::test]
async fn a_context_in_the_auth_payload_comes_before_that_of_requests() {
    let mut listeners = traced().listeners("/auth").await;
    let polling = traced().target(0).polling().await;
    polling.send(format!(r#"40/auth,{{"traceparent":"{}"}}"#, traceparent(0xa4, true))).await;
    connected(&polling.packets(1).await.concat(), "/auth");
    let headers = |call: Call| call.header("traceparent", &traceparent(0xa5, true));
    post(&polling, r#"42/auth,["say","hello"]"#.to_owned(), headers).await;
    hear(&mut listeners, "/auth", "hello").await;
    let (trace, line, top) = traced().deliveries("/auth").await;
    assert_eq!((trace, top), (TraceId::from(0xa4), client_span()));
    assert_eq!(line, ["emit", "handle say at node-0"]);
}

#[tokio::test]
async fn without_a_context_of_the_client_the_edge_begins_a_trace() {
    let mut listeners = traced().listeners("/own").await;
    let polling = polling("/own").await;
    post(&polling, r#"42/own,["say","hello"]"#.to_owned(), |call| call).await;
    hear(&mut listeners, "/own", "hello").await;
    let (_, line, top) = traced().deliveries("/own").await;
    assert_eq!(line, OVER_TWO_NODES);
    assert_eq!(top, SpanId::INVALID);
}

#[tokio::test]
async fn a_malformed_context_is_as_none() {
    let mut listeners = traced().listeners("/malformed").await;
    let polling = polling("/malformed").await;
    let malformed = traceparent(0xa6, true).to_uppercase();
    let headers = |call: Call| call.header("traceparent", &malformed).header("tracestate", "a=1");
    post(&polling, r#"42/malformed,["say","hello"]"#.to_owned(), headers).await;
    hear(&mut listeners, "/malformed", "hello").await;
    let (trace, line, top) = traced().deliveries("/malformed").await;
    assert_eq!(line, OVER_TWO_NODES);
    assert_eq!(top, SpanId::INVALID);
    assert_ne!(trace, TraceId::from(0xa6));
    assert!(traced().trace(trace).iter().all(|span| span.span_context.trace_state().header().is_empty()));
}

#[tokio::test]
async fn what_a_client_does_not_want_sampled_leaves_no_span_on_any_node() {
    let mut listeners = traced().listeners("/unsampled").await;
    let polling = polling("/unsampled").await;
    let headers = |call: Call| call.header("traceparent", &traceparent(0xa7, false));
    post(&polling, r#"42/unsampled,["say","hello"]"#.to_owned(), headers).await;
    hear(&mut listeners, "/unsampled", "hello").await;
    // What follows is sampled, and delivered behind it.
    post(&polling, r#"42/unsampled,["say","again"]"#.to_owned(), |call| call).await;
    hear(&mut listeners, "/unsampled", "again").await;
    let (_, line, _) = traced().deliveries("/unsampled").await;
    assert_eq!(line, OVER_TWO_NODES);
    assert_eq!(traced().spans("/unsampled", "handle say", 1).await.len(), 1);
    assert_eq!(traced().trace(TraceId::from(0xa7)).len(), 0);
}

#[tokio::test]
async fn an_emit_outside_of_any_request_begins_no_trace() {
    let mut listeners = traced().listeners("/outside").await;
    let first = traced().nodes.nodes.first().unwrap_or_else(|| panic!("a node"));
    first.of("/outside").to("listeners").emit("said", "nothing").unwrap_or_else(|error| panic!("{error}"));
    hear(&mut listeners, "/outside", "nothing").await;
    let polling = polling("/outside").await;
    post(&polling, r#"42/outside,["say","hello"]"#.to_owned(), |call| call).await;
    hear(&mut listeners, "/outside", "hello").await;
    // These are of the second one.
    assert_eq!(traced().deliveries("/outside").await.1, OVER_TWO_NODES);
}

#[tokio::test]
async fn long_names_of_a_client_are_cut_and_name_no_span_and_failures_are_marked() {
    let polling = polling("/hostile").await;
    let name = "ä".repeat(20_000);
    let agent = "x".repeat(8000);
    let headers =
        |call: Call| call.header("traceparent", &traceparent(0xa8, true)).header("user-agent", &agent);
    post(&polling, format!(r#"42/hostile,["{name}"]"#), headers).await;
    let unknown = traced().spans("/hostile", "handle", 1).await;
    let unknown = unknown.first().unwrap_or_else(|| panic!("a span"));
    assert_eq!(attribute(unknown, "socketmesh.event"), "ä".repeat(128));
    assert_eq!(unknown.status, Status::error(""));
    traced().ancestry(unknown).await;
    for span in traced().trace(TraceId::from(0xa8)) {
        let longest = span.attributes.iter().map(|attribute| attribute.value.to_string().len()).max();
        assert!(longest <= Some(256) && span.name.len() <= 256, "{span:?}");
    }
    for how in ["fail", "panic"] {
        post(&polling, format!(r#"42/hostile,["{how}"]"#), |call| call).await;
        let failed = traced().spans("/hostile", &format!("handle {how}"), 1).await;
        assert!(failed.iter().all(|span| span.status == Status::error("")), "{how}");
    }
}

#[tokio::test]
async fn acks_of_many_sockets_and_server_events_are_part_of_the_trace_on_other_nodes() {
    let mut listeners = traced().listeners("/acks").await;
    let polling = polling("/acks").await;
    let headers = |call: Call| call.header("traceparent", &traceparent(0xa9, true));
    post(&polling, r#"42/acks,["ask"]"#.to_owned(), headers).await;
    for listener in &mut listeners {
        let question = listener.packet_text().await;
        let id = question.strip_prefix("42/acks,").and_then(|rest| rest.split_once('[')).map(|(id, _)| id);
        let id = id.unwrap_or_else(|| panic!("a question, not {question}"));
        listener.send(&format!(r#"43/acks,{id}["yes"]"#)).await;
    }
    let (trace, line, _) = traced().deliveries("/acks").await;
    assert_eq!(trace, TraceId::from(0xa9));
    assert_eq!(line.first().map(String::as_str), Some("emit"));
    assert_eq!(line.get(1).map(String::as_str), Some("handle ask at node-0"));
    let headers = |call: Call| call.header("traceparent", &traceparent(0xaa, true));
    post(&polling, r#"42/acks,["tell"]"#.to_owned(), headers).await;
    for told in traced().spans("/acks", "handle told", 2).await {
        assert_eq!(told.span_context.trace_id(), TraceId::from(0xaa));
        let (line, _) = traced().ancestry(&told).await;
        assert_eq!(line.get(1..3).unwrap_or_default(), ["emit", "handle tell at node-0"]);
    }
}
