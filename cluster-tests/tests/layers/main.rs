//! The layers of the architecture, held against the imports of every source file.
//!
//! An import is a file's need of a name that another file defines, wherever the name was re-exported on the way. A
//! facade that only re-exports imports nothing, and `mod name;` is no import of the child.

#![expect(clippy::panic, clippy::indexing_slicing, reason = "a test fails by a panic")]

mod graph;
mod made_up;
mod names;
mod source;
mod workspace;

use std::collections::BTreeSet;
use std::fs;

use cluster_tests::sources::root;

use crate::graph::Graph;
use crate::names::Import;
use crate::source::Kind;
use crate::workspace::{imports, modules};

/// A layer, and the layers it may import from. What happens within a layer, `FLOORS` says.
const LAYERS: &[(&str, &[&str])] = &[
    ("random", &[]),
    ("id", &["random"]),
    ("catch_panic", &[]),
    ("counter", &[]),
    ("excerpt", &[]),
    ("log_limit", &[]),
    ("per_address", &[]),
    ("setters", &[]),
    ("trace", &[]),
    (
        "engine",
        &[
            "catch_panic",
            "counter",
            "excerpt",
            "id",
            "log_limit",
            "per_address",
            "random",
            "setters",
            "trace",
        ],
    ),
    (
        "socket",
        &["catch_panic", "counter", "excerpt", "setters", "id", "engine", "log_limit", "random", "trace"],
    ),
    ("cluster", &["catch_panic", "counter", "excerpt", "id", "log_limit", "random", "socket", "trace"]),
    (
        "http",
        &[
            "catch_panic",
            "counter",
            "excerpt",
            "setters",
            "id",
            "engine",
            "cluster",
            "log_limit",
            "per_address",
            "random",
            "trace",
        ],
    ),
    ("node", &["counter", "setters", "id", "random", "engine", "socket", "cluster", "http", "trace"]),
    ("admin", &["id", "engine", "socket", "cluster", "http", "node"]),
    ("testing", &["id", "random", "engine", "socket", "cluster", "http", "node"]),
    ("fuzzing", &["id", "engine", "socket", "cluster", "http", "node"]),
    ("lib", &["admin", "cluster", "engine", "http", "id", "node", "random", "socket", "testing"]),
];

/// The floors of a layer, and the floors that each may import from. A floor is a file or a folder right below the layer.
const FLOORS: &[(&str, Floors)] = &[
    (
        "socket",
        &[
            ("protocol", &[]),
            ("room", &[]),
            ("messages", &["protocol", "room"]),
            ("peers", &["messages", "room"]),
            ("recovery", &["room", "messages"]),
            ("config", &["protocol", "recovery"]),
            ("hub", &["protocol", "room", "messages", "peers", "recovery"]),
            ("connection", &["protocol", "config", "messages", "hub"]),
            ("api", &["protocol", "room", "messages", "recovery", "hub"]),
            ("application", &["config", "messages", "peers", "recovery", "hub", "connection", "api"]),
        ],
    ),
    (
        "cluster",
        &[
            ("wire", &[]),
            ("ring", &[]),
            ("view", &["ring"]),
            ("address", &[]),
            ("hello", &["address", "view", "wire"]),
            ("secret", &[]),
            ("identity", &["secret"]),
            ("error", &["identity"]),
            ("delivery", &["hello", "wire"]),
            ("gossip_filter", &["hello", "wire"]),
            ("control", &["address", "delivery", "hello", "view", "wire"]),
            ("transport", &["address", "control", "error", "hello", "identity", "wire"]),
            ("config", &["address", "error", "identity", "secret", "transport"]),
            ("published", &["address", "control", "delivery", "hello", "ring", "transport", "view", "wire"]),
            (
                "tasks",
                &[
                    "address",
                    "control",
                    "delivery",
                    "error",
                    "identity",
                    "gossip_filter",
                    "hello",
                    "published",
                    "transport",
                    "view",
                    "wire",
                ],
            ),
            (
                "mesh",
                &[
                    "config",
                    "control",
                    "delivery",
                    "error",
                    "identity",
                    "hello",
                    "published",
                    "ring",
                    "tasks",
                    "transport",
                    "view",
                    "wire",
                ],
            ),
        ],
    ),
    (
        "testing",
        &[
            ("random", &[]),
            ("frames", &[]),
            ("packet", &[]),
            ("listener", &[]),
            ("network", &["random"]),
            ("route", &["listener"]),
            ("transport", &["frames", "packet", "listener", "route"]),
            ("session", &["packet", "transport"]),
            ("client", &["packet", "route", "transport", "session"]),
            ("cluster", &["listener", "network", "route", "client"]),
        ],
    ),
];

type Floors = &'static [(&'static str, &'static [&'static str])];

/// Of the layer below, `cluster` may know the values that travel and the port it implements, but no session.
const CLUSTER_SEES: &[&str] = &[
    "src/socket/protocol/args/raw.rs",
    "src/socket/messages.rs",
    "src/socket/messages/recovery.rs",
    "src/socket/peers.rs",
    "src/socket/room.rs",
];

/// Files without clock, randomness, tasks or actors: they take `now` and a seed.
const SANS_IO: &[&str] = &[
    "engine/error.rs",
    "engine/fifo.rs",
    "engine/frame.rs",
    "engine/handshake.rs",
    "engine/outbox.rs",
    "engine/packet.rs",
    "engine/payload.rs",
    "engine/payload/body.rs",
    "engine/payload/v3.rs",
    "engine/payload/v4.rs",
    "engine/protocol.rs",
    "engine/query.rs",
    "engine/release.rs",
    "engine/session.rs",
    "engine/session/caller.rs",
    "engine/session/heartbeat.rs",
    "engine/session/output.rs",
    "engine/session/probe.rs",
    "engine/transport_stage.rs",
    "engine/verify.rs",
    "engine/websocket.rs",
    "engine/websocket/client_header.rs",
    "engine/websocket/decoder.rs",
    "engine/websocket/deflate.rs",
    "engine/websocket/extension.rs",
    "engine/websocket/upgrade.rs",
    "engine/webtransport.rs",
    "http/compression.rs",
    "http/forwarded_header.rs",
    "http/jsonp.rs",
    "http/plain_http.rs",
    "socket/messages.rs",
    "socket/messages/recovery.rs",
    "socket/protocol/args.rs",
    "socket/protocol/args/check.rs",
    "socket/protocol/args/decode.rs",
    "socket/protocol/args/encode.rs",
    "socket/protocol/args/events.rs",
    "socket/protocol/args/raw.rs",
    "socket/protocol/args/scan.rs",
    "socket/protocol/args/tree.rs",
    "socket/protocol/args/tuples.rs",
    "socket/protocol/date.rs",
    "socket/protocol/decoder.rs",
    "socket/protocol/encode.rs",
    "socket/protocol/error.rs",
    "socket/protocol/msgpack.rs",
    "socket/protocol/msgpack/fields.rs",
    "socket/protocol/msgpack/read.rs",
    "socket/protocol/msgpack/write.rs",
    "socket/protocol/packet.rs",
    "socket/protocol/parser.rs",
    "socket/protocol/text.rs",
    "socket/recovery/journal.rs",
    "socket/recovery/log.rs",
    "socket/recovery/membership.rs",
    "socket/recovery/position.rs",
    "socket/recovery/recovering.rs",
    "socket/recovery/settings.rs",
    "socket/recovery/states.rs",
    "socket/recovery/unrecovered.rs",
    "socket/room.rs",
    "socket/hub/acks.rs",
    "socket/hub/limit.rs",
    "socket/hub/notice.rs",
    "socket/hub/observation.rs",
    "socket/hub/recovery/keep.rs",
    "socket/hub/room_index.rs",
    "socket/hub/term.rs",
    "socket/hub/work_queue.rs",
    "cluster/address.rs",
    "cluster/control.rs",
    "cluster/control/addresses.rs",
    "cluster/control/completeness.rs",
    "cluster/control/dial.rs",
    "cluster/control/dialling.rs",
    "cluster/control/link_choice.rs",
    "cluster/control/links.rs",
    "cluster/control/liveness.rs",
    "cluster/control/lookup.rs",
    "cluster/control/members.rs",
    "cluster/control/output.rs",
    "cluster/control/publishing.rs",
    "cluster/control/pulse.rs",
    "cluster/control/readiness.rs",
    "cluster/control/remote_node.rs",
    "cluster/control/seeds.rs",
    "cluster/delivery/batch.rs",
    "cluster/delivery/inbound.rs",
    "cluster/delivery/interest.rs",
    "cluster/delivery/outbound.rs",
    "cluster/delivery/peer_counters.rs",
    "cluster/delivery/pending_requests.rs",
    "cluster/delivery/replay_log.rs",
    "cluster/delivery/replicated_set.rs",
    "cluster/gossip_filter.rs",
    "cluster/hello.rs",
    "cluster/ring.rs",
    "cluster/wire.rs",
    "cluster/wire/error.rs",
    "cluster/wire/frame.rs",
    "cluster/wire/gossip.rs",
    "cluster/wire/message.rs",
    "cluster/wire/recovery.rs",
    "cluster/wire/values.rs",
    "testing/frames.rs",
    "testing/packet.rs",
    "testing/random.rs",
];

/// What a sans-IO file does not name.
const IO: &[&str] = &[
    "getrandom",
    "hyper_util",
    "quinn",
    "ractor",
    "std::fs",
    "std::net::TcpListener",
    "std::net::TcpStream",
    "std::net::UdpSocket",
    "std::sync::mpsc",
    "std::thread",
    "tokio::fs",
    "tokio::io",
    "tokio::net",
    "tokio::runtime",
    "tokio::select",
    "tokio::spawn",
    "tokio::sync",
    "tokio::task",
    "tokio::time::interval",
    "tokio::time::sleep",
    "tokio::time::timeout",
];

/// What it does not call, wherever it was imported from.
const CLOCKS: &[&str] = &["Instant::now", "SystemTime::now"];

/// The only files that import each other in a cycle: a member belongs to its namespace, a namespace has members and
/// handlers, and handlers are given both. The list has five files of the hub at most, and only shrinks.
const CYCLE_OF_THE_HUB: &[&str] =
    &["src/socket/hub/handlers.rs", "src/socket/hub/member.rs", "src/socket/hub/namespace.rs"];

#[test]
fn no_import_points_up() {
    let mut breaches = Vec::new();
    for Import { from, line, to, .. } in imports().iter().filter(|import| import.from.starts_with("src/")) {
        let (layer, imported) = (layer(from), layer(to));
        match LAYERS.iter().find(|(name, _)| *name == layer) {
            None => breaches.push(format!("{from}: no layer is called {layer:?}")),
            Some((_, allowed)) if imported == layer || allowed.contains(&imported) => {}
            Some(_) => breaches.push(format!("{from}:{line}: {layer} imports {imported} ({to})")),
        }
    }
    assert!(breaches.is_empty(), "arrows that point up:\n{}", breaches.join("\n"));
}

#[test]
fn floors_hold_inside_the_layers() {
    let breaches: Vec<_> =
        FLOORS.iter().flat_map(|(layer, floors)| breaches_of_floors(layer, floors, imports())).collect();
    assert!(breaches.is_empty(), "imports from a higher floor:\n{}", breaches.join("\n"));
}

#[test]
fn the_cluster_knows_values_of_socket_io_and_no_session() {
    let crossing = |import: &&Import| layer(&import.from) == "cluster" && layer(&import.to) == "socket";
    let breaches: Vec<_> = imports()
        .iter()
        .filter(crossing)
        .filter(|import| !CLUSTER_SEES.contains(&import.to.as_str()))
        .map(|Import { from, line, to, .. }| format!("{from}:{line} imports {to}"))
        .collect();
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}

#[test]
fn no_files_import_each_other_in_a_cycle() {
    let mut graph = Graph::default();
    for import in imports().iter().filter(|import| import.kind != Kind::ReExport) {
        graph.add(&import.from, import.line, &import.to);
    }
    let cycles = graph.cycles();
    list(&cycles);
    let others: Vec<_> = cycles
        .iter()
        .filter(|cycle| !cycle.iter().all(|file| CYCLE_OF_THE_HUB.contains(file)))
        .map(|cycle| format!("{} files: {cycle:#?}\n{}", cycle.len(), graph.describe(cycle)))
        .collect();
    assert!(others.is_empty(), "import cycles:\n{}", others.join("\n"));
    let cyclic: BTreeSet<_> = cycles.iter().flatten().copied().collect();
    let gone: Vec<_> = CYCLE_OF_THE_HUB.iter().filter(|file| !cyclic.contains(**file)).collect();
    assert!(gone.is_empty(), "no longer in a cycle, so take them off CYCLE_OF_THE_HUB: {gone:#?}");
}

#[test]
fn only_a_few_files_of_the_hub_may_form_a_cycle() {
    assert!(CYCLE_OF_THE_HUB.len() <= 5, "{CYCLE_OF_THE_HUB:#?}");
    assert!(CYCLE_OF_THE_HUB.iter().all(|file| file.starts_with("src/socket/hub/")), "{CYCLE_OF_THE_HUB:#?}");
}

#[test]
fn sans_io_files_have_no_tasks_clock_or_randomness() {
    let mut breaches = Vec::new();
    for name in SANS_IO {
        let file = format!("src/{name}");
        let mut modules = modules().filter(|module| module.file == file).peekable();
        assert!(modules.peek().is_some(), "{file} is on the list, and no module is there");
        for module in modules {
            breaches.extend(module.asynchronous.iter().map(|line| format!("{file}:{line} is asynchronous")));
            let mentions = module.mentions.iter().map(|mention| (mention.line, mention.path.join("::")));
            let io = mentions.filter(|(_, path)| is_io(path));
            breaches.extend(io.map(|(line, path)| format!("{file}:{line} names {path}")));
        }
    }
    assert!(breaches.is_empty(), "sans-IO files:\n{}", breaches.join("\n"));
}

#[test]
fn only_one_file_and_its_tests_name_chitchat() {
    let mut files = files_that_name("chitchat");
    for file in ["hearing", "tests"] {
        files.remove(&format!("src/cluster/tasks/gossip/{file}.rs"));
    }
    assert_eq!(files, BTreeSet::from(["src/cluster/tasks/gossip.rs".to_owned()]));
}

#[test]
fn only_one_file_and_its_parts_name_wtransport() {
    let mut files = files_that_name("wtransport");
    files.retain(|file| !file.starts_with("src/http/webtransport/"));
    assert_eq!(files, BTreeSet::from(["src/http/webtransport.rs".to_owned()]));
}

/// Prints the cycles with the size of their files: `cargo test --test layers cycle -- --nocapture`.
#[expect(clippy::print_stdout, reason = "it is shown on demand")]
fn list(cycles: &[BTreeSet<&str>]) {
    let lines = |file: &str| fs::read_to_string(root().join(file)).map_or(0, |text| text.lines().count());
    for cycle in cycles {
        println!("{} files, {} lines:", cycle.len(), cycle.iter().map(|file| lines(file)).sum::<usize>());
        cycle.iter().for_each(|file| println!("{:>6}  {file}", lines(file)));
    }
}

/// The imports of `layer` that its floors forbid. The file of the layer itself stands above all floors.
fn breaches_of_floors(layer: &str, floors: Floors, imports: &[Import]) -> Vec<String> {
    let below = format!("src/{layer}/");
    let floor = |file: &str| -> Option<String> {
        let inside = file.strip_prefix(&below)?;
        Some(inside.split('/').next()?.trim_end_matches(".rs").to_owned())
    };
    let own = format!("src/{layer}.rs");
    let mut breaches = Vec::new();
    for Import { from, line, to, .. } in imports {
        let Some(upper) = floor(from) else { continue };
        let lower = if *to == own { Some(layer.to_owned()) } else { floor(to) };
        let Some(lower) = lower.filter(|lower| *lower != upper) else { continue };
        match floors.iter().find(|(name, _)| *name == upper) {
            None => breaches.push(format!("{from}: no floor of {layer} is called {upper:?}")),
            Some((_, allowed)) if allowed.contains(&lower.as_str()) => {}
            Some(_) => breaches.push(format!("{from}:{line}: {upper} imports {lower} ({to})")),
        }
    }
    breaches
}

/// `src/engine/session.rs` and `src/engine.rs` are both of the layer `engine`.
fn layer(file: &str) -> &str {
    let inside = file.strip_prefix("src/").unwrap_or_default();
    inside.split('/').next().unwrap_or_default().trim_end_matches(".rs")
}

fn is_io(path: &str) -> bool {
    let below =
        |name: &str| path.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
    IO.iter().any(|name| below(name)) || CLOCKS.iter().any(|clock| path.ends_with(clock))
}

/// The files of the library that mention something of another crate.
fn files_that_name(name: &str) -> BTreeSet<String> {
    modules()
        .filter(|module| module.mentions.iter().any(|mention| mention.path[0] == name))
        .filter(|module| module.file.starts_with("src/"))
        .map(|module| module.file.clone())
        .collect()
}
