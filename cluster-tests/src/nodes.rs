//! Nodes of one application in this process: alone, or a cluster over real QUIC behind a stateless round-robin load balancer.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::OnceLock;

use balancer::Balancer;
use socketmesh::{Node, NodeBuilder};
use tokio::net::TcpListener;

use crate::background;
use crate::fixture::Suite;
use crate::member::member;
use crate::target::Target;

/// Ready nodes, each with an HTTP listener of its own.
#[derive(Debug)]
pub struct Nodes {
    /// The nodes themselves.
    pub nodes: Vec<Node>,
    /// Reaches them, through the load balancer if they are several. [`Target::at`] reaches one of them.
    pub target: Target,
    _balancer: Option<Balancer>,
}

impl Nodes {
    /// Starts `count` nodes. `app` builds the node of a number.
    ///
    /// # Panics
    /// A node does not start.
    pub async fn start(count: usize, app: impl Fn(usize) -> NodeBuilder) -> Self {
        let (mut nodes, mut http) = (Vec::new(), Vec::new());
        for number in 0..count {
            let builder = match (count, nodes.first().and_then(Node::mesh_addr)) {
                (1, _) => app(number),
                (_, seed) => app(number).cluster(member(number, seed)),
            };
            let node = builder.start().await.expect("the node starts");
            http.push(serve(&node).await);
            nodes.push(node);
        }
        for node in &nodes {
            node.ready().await;
        }
        let balancer = match *http {
            [_] => None,
            _ => Some(Balancer::start(LOOPBACK, http.clone()).await.expect("a free port on loopback")),
        };
        let addr = balancer.as_ref().map(Balancer::addr).or_else(|| http.first().copied());
        let target = Target::of(Suite::Socket, addr.expect("at least one node"), &http);
        Self { nodes, target, _balancer: balancer }
    }

    /// Starts nodes that all tests of a process share; they keep running in the [background](background::run).
    ///
    /// # Panics
    /// A node does not start.
    pub fn shared<T, F>(cell: &'static OnceLock<T>, start: impl FnOnce() -> F + Send + 'static) -> &'static T
    where
        T: Send + Sync + 'static,
        F: Future<Output = T>,
    {
        cell.get_or_init(|| background::run("nodes", start))
    }
}

/// Serves clients of a node at a free port until it shuts down, and returns the address.
///
/// # Panics
/// There is no free port.
pub async fn serve(node: &Node) -> SocketAddr {
    let listener = TcpListener::bind(LOOPBACK).await.expect("a port");
    let addr = listener.local_addr().expect("an address");
    let node = node.clone();
    tokio::spawn(async move { node.serve(listener).await });
    addr
}

/// Makes two tests of every rule: `rule::on_one_node` and `rule::on_three_nodes`. A rule is an `async fn` that takes what
/// `start(count)` returns.
#[macro_export]
macro_rules! on_one_and_three_nodes {
    ($start:path: $($rule:ident),+ $(,)?) => {$(
        mod $rule {
            #[tokio::test]
            async fn on_one_node() {
                super::$rule($start(1)).await;
            }

            #[tokio::test]
            async fn on_three_nodes() {
                super::$rule($start(3)).await;
            }
        }
    )+};
}

const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
