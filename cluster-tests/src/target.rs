//! The server that a protocol rule is checked against: one node, or three nodes behind a stateless round-robin load balancer.

use std::{
    env,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, OnceLock},
};

use balancer::Balancer;
use hyper::Method;

use crate::{
    background,
    fixture::{self, Suite},
    host::Host,
    http::{self, Call, Reply},
    messages::Messages,
    oracle::Oracle,
    websocket::WebSocket,
};

/// The address of a server under test, and the form of its requests. All tests of one process share it.
#[derive(Clone, Debug)]
pub struct Target {
    addr: SocketAddr,
    nodes: Arc<[SocketAddr]>,
    path: &'static str,
}

impl Target {
    /// One node, without a load balancer.
    #[must_use]
    pub fn one_node(suite: Suite) -> Self {
        static TARGETS: PerSuite = PerSuite::new();
        TARGETS.of(suite, Server::Nodes(1))
    }

    /// Three nodes behind the load balancer: no two requests in a row reach the same node.
    #[must_use]
    pub fn three_nodes(suite: Suite) -> Self {
        static TARGETS: PerSuite = PerSuite::new();
        TARGETS.of(suite, Server::Nodes(3))
    }

    /// The same three nodes as services in axum.
    #[must_use]
    pub fn three_nodes_in_axum(suite: Suite) -> Self {
        static TARGETS: PerSuite = PerSuite::new();
        TARGETS.of(suite, Server::InAxum(3))
    }

    /// Node's own server, with the same application.
    #[must_use]
    pub fn node_js(suite: Suite) -> Self {
        static TARGETS: PerSuite = PerSuite::new();
        TARGETS.of(suite, Server::NodeJs)
    }

    /// A server that the test started itself, at `addr`, with these nodes behind it.
    #[must_use]
    pub fn of(suite: Suite, addr: SocketAddr, nodes: &[SocketAddr]) -> Self {
        Self { addr, nodes: nodes.into(), path: suite.path() }
    }

    /// The `n`th node of the server alone; after the last node follows the first.
    ///
    /// # Panics
    /// The target has no nodes.
    #[must_use]
    pub fn at(&self, n: usize) -> Self {
        let addr = self.nodes.iter().cycle().nth(n).expect("a target has nodes");
        Self { addr: *addr, ..self.clone() }
    }

    /// Its address.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The path of the protocol with `query`.
    #[must_use]
    pub fn uri(&self, query: &str) -> String {
        format!("{}?{query}", self.path)
    }

    /// A request with this query.
    #[must_use]
    pub fn call(&self, method: Method, query: &str) -> Call {
        Call::new(self.addr, method, &self.uri(query))
    }

    /// Sends a GET with this query and returns the response.
    pub async fn get(&self, query: &str) -> Reply {
        self.call(Method::GET, query).send().await
    }

    /// Sends a GET of any path and returns the response.
    pub async fn get_path(&self, path: &str) -> Reply {
        Call::new(self.addr, Method::GET, path).send().await
    }

    /// Sends raw bytes and returns the response.
    pub async fn raw(&self, request: &str, until: &str) -> String {
        http::raw(self.addr, request.as_bytes(), until).await
    }

    /// Asks for a WebSocket with this query.
    ///
    /// # Errors
    /// The response, when it is not 101.
    pub async fn upgrade(&self, query: &str) -> Result<WebSocket, Reply> {
        WebSocket::open(self.addr, &self.uri(query)).await
    }

    /// The response that refuses a WebSocket with this query.
    ///
    /// # Panics
    /// The WebSocket is accepted.
    pub async fn refusal(&self, query: &str) -> Reply {
        match self.upgrade(query).await {
            Ok(_) => panic!("a WebSocket with {query} was accepted"),
            Err(reply) => reply,
        }
    }

    /// Opens a session over WebSocket; its handshake is read.
    ///
    /// # Panics
    /// It is refused, or does not begin with a handshake.
    pub async fn websocket(&self) -> WebSocket {
        let opened = self.upgrade("EIO=4&transport=websocket").await;
        let mut ws = opened.unwrap_or_else(|reply| panic!("the WebSocket was refused: {reply:?}"));
        let open = ws.recv_text().await;
        assert!(open.starts_with("0{"), "a session begins with its handshake, not {open}");
        ws
    }
}

/// The targets that all tests of a process share. The first test that needs one starts it.
#[derive(Debug)]
struct PerSuite {
    engine: OnceLock<Running>,
    engine_v3: OnceLock<Running>,
    engine_v3_patient: OnceLock<Running>,
    socket: OnceLock<Running>,
    socket_v3: OnceLock<Running>,
    socket_v3_join_soon: OnceLock<Running>,
    recovery: OnceLock<Running>,
    bench: OnceLock<Running>,
}

impl PerSuite {
    const fn new() -> Self {
        Self {
            engine: OnceLock::new(),
            engine_v3: OnceLock::new(),
            engine_v3_patient: OnceLock::new(),
            socket: OnceLock::new(),
            socket_v3: OnceLock::new(),
            socket_v3_join_soon: OnceLock::new(),
            recovery: OnceLock::new(),
            bench: OnceLock::new(),
        }
    }

    fn of(&self, suite: Suite, server: Server) -> Target {
        let running = match suite {
            Suite::Engine => &self.engine,
            Suite::EngineV3 => &self.engine_v3,
            Suite::EngineV3Patient => &self.engine_v3_patient,
            Suite::Socket => &self.socket,
            Suite::SocketV3 => &self.socket_v3,
            Suite::SocketV3JoinSoon => &self.socket_v3_join_soon,
            Suite::Recovery => &self.recovery,
            Suite::Bench => &self.bench,
        };
        let name = format!("{server:?} of suite {suite:?}");
        running.get_or_init(|| background::run(&name, move || Running::start(suite, server))).target.clone()
    }
}

/// What serves a suite.
#[derive(Debug, Clone, Copy)]
enum Server {
    Nodes(usize),
    InAxum(usize),
    NodeJs,
}

/// The address of another server to check by the same rules, such as the Node implementation with the same fixture.
fn external_server(suite: Suite) -> Option<SocketAddr> {
    let key = match suite {
        Suite::Engine => "SOCKETMESH_TEST_TARGET_ENGINE",
        Suite::EngineV3 => "SOCKETMESH_TEST_TARGET_ENGINE_V3",
        Suite::EngineV3Patient => "SOCKETMESH_TEST_TARGET_ENGINE_V3_PATIENT",
        Suite::Socket => "SOCKETMESH_TEST_TARGET_SOCKET",
        Suite::SocketV3 => "SOCKETMESH_TEST_TARGET_SOCKET_V3",
        Suite::SocketV3JoinSoon => "SOCKETMESH_TEST_TARGET_SOCKET_V3_JOIN_SOON",
        Suite::Recovery => "SOCKETMESH_TEST_TARGET_RECOVERY",
        Suite::Bench => "SOCKETMESH_TEST_TARGET_BENCH",
    };
    let addr = env::var(key).ok()?;
    Some(addr.parse().unwrap_or_else(|_| panic!("{key}={addr}: expected an address like 127.0.0.1:3000")))
}

/// A target, and what it needs to stay alive.
#[derive(Debug)]
struct Running {
    target: Target,
    _fixture: Option<fixture::Nodes>,
    _balancer: Option<Balancer>,
    _node_js: Option<Oracle>,
}

impl Running {
    async fn start(suite: Suite, server: Server) -> Self {
        let (host, count) = match server {
            Server::Nodes(count) => (Host::Own, count),
            Server::InAxum(count) => (Host::Axum, count),
            Server::NodeJs => {
                let oracle = Oracle::start(suite).await;
                let target = Target::of(suite, oracle.addr, &[oracle.addr]);
                return Self { target, _fixture: None, _balancer: None, _node_js: Some(oracle) };
            }
        };
        let (nodes, fixture) = if let Some(addr) = external_server(suite) {
            (vec![addr; count], None)
        } else {
            let fixture = fixture::start_in(host, suite, count).await;
            (fixture.http.clone(), Some(fixture))
        };
        if let [only] = *nodes {
            let target = Target::of(suite, only, &nodes);
            return Self { target, _fixture: fixture, _balancer: None, _node_js: None };
        }
        let balancer = Balancer::start((Ipv4Addr::LOCALHOST, 0).into(), nodes.clone()).await;
        let balancer = balancer.expect("a free port on loopback");
        let target = Target::of(suite, balancer.addr(), &nodes);
        Self { target, _fixture: fixture, _balancer: Some(balancer), _node_js: None }
    }
}

/// Makes four tests of every rule, an `async fn(Target)`: `rule::on_one_node`,
/// `rule::on_three_nodes_behind_the_balancer`, the same with `rule::on_three_nodes_in_axum`, and `rule::on_node_js`, which Node's
/// own server passes unless the documents say otherwise.
#[macro_export]
macro_rules! on_every_target {
    ($suite:ident: $($rule:ident),+ $(,)?) => {$(
        mod $rule {
            use $crate::{fixture::Suite, judge, target::Target};

            #[tokio::test]
            async fn on_one_node() {
                super::$rule(Target::one_node(Suite::$suite)).await;
            }

            #[tokio::test]
            async fn on_three_nodes_behind_the_balancer() {
                super::$rule(Target::three_nodes(Suite::$suite)).await;
            }

            #[tokio::test]
            async fn on_three_nodes_in_axum() {
                super::$rule(Target::three_nodes_in_axum(Suite::$suite)).await;
            }

            #[tokio::test]
            async fn on_node_js() {
                judge::on_node_js(module_path!(), Suite::$suite, super::$rule).await;
            }
        }
    )+};
}
