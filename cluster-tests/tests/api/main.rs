//! The promises to applications about namespaces, handlers, emits, sockets and rooms, checked with clients that speak the protocol
//! by hand.
//!
//! Every promise is held on one node, and on three nodes of a cluster behind a stateless round-robin load balancer.
#![expect(clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod acks;
mod auth;
mod concurrent;
mod connections;
mod handlers;
mod late;
mod leaving;
mod limits;
mod local;
mod logins;
mod middleware;
mod namespaces;
mod observers;
mod order;
mod own_acks;
mod payloads;
mod room_events;
mod rooms;
mod start;
mod updates;
mod users;
mod verbs;

use std::sync::{Arc, OnceLock};

use cluster_tests::app::{App, Seen, plain};
use cluster_tests::nodes::Nodes;
use socketmesh::{Node, NodeBuilder};

/// The application on this many nodes, for all tests.
fn app(count: usize) -> &'static App {
    static ONE: OnceLock<App> = OnceLock::new();
    static THREE: OnceLock<App> = OnceLock::new();
    Nodes::shared(if count == 1 { &ONE } else { &THREE }, move || App::start(count, described))
}

fn described(seen: &Arc<Seen>) -> NodeBuilder {
    let plain = PLAIN.iter().fold(Node::builder(), |node, path| node.namespace(plain(path, seen)));
    plain
        .namespace(auth::described(seen))
        .namespace(handlers::refusing_itself())
        .namespace(handlers::with_fallback())
        .namespace(own_acks::described(seen))
        .namespace(concurrent::whole(seen))
        .namespace(concurrent::beside(seen))
        .namespace(payloads::typed())
        .namespace(middleware::described(seen))
        .namespace(observers::described(seen))
        .namespace(leaving::described(seen))
        .namespace(local::described(seen))
        .namespace(updates::described())
        .namespace(room_events::described(seen))
        .namespace(limits::described())
        .namespace(namespaces::of_its_own(seen))
        .namespace(namespaces::rooms(seen))
        .namespace(namespaces::first_parent(seen))
        .namespace(namespaces::second_parent(seen))
        .namespace(payloads::asking())
        .namespace(verbs::described(seen))
}

/// The main namespace, and one for each test that broadcasts to all its sockets.
const PLAIN: [&str; 9] = [
    "/",
    "/other",
    "/everybody",
    "/everybody-else",
    "/all-others",
    "/except",
    "/local",
    "/mixed",
    "/counted",
];
