//! The layers of the architecture, held against the imports of every source file.
#![expect(clippy::string_slice, reason = "the places come from the search itself")]

use std::fs;
use std::path::{Path, PathBuf};

/// A layer, and the layers it may name with `crate::`. Within a layer everything may import everything.
const LAYERS: &[(&str, &[&str])] = &[
    ("id", &[]),
    ("telemetry", &[]),
    ("engine", &["id"]),
    ("socket", &["id", "engine", "telemetry"]),
    ("cluster", &["id", "socket", "telemetry"]),
    ("http", &["id", "engine", "cluster"]),
    ("balancer", &["http"]),
    ("node", &["id", "engine", "socket", "cluster", "http"]),
    ("testing", &["id", "engine", "socket", "cluster", "http", "node"]),
    ("fuzzing", &["engine", "socket", "cluster"]),
    ("lib", &["balancer", "cluster", "engine", "http", "id", "node", "socket", "telemetry", "testing"]),
    // The binary uses the library as any other program does.
    ("main", &["demo", "process", "serve"]),
    ("serve", &["demo", "process"]),
    ("demo", &["process"]),
    ("process", &[]),
];

/// Of the layer below, `cluster` may know the values that travel and the port it implements, but no session.
const CLUSTER_SEES: &[&str] =
    &["crate::socket::broadcast", "crate::socket::exchange", "crate::socket::peers", "crate::socket::rooms"];

/// Files without clock, randomness, tasks or actors: they take `now` and a seed.
const SANS_IO: &[&str] = &[
    "engine/packet.rs",
    "engine/payload.rs",
    "engine/payload/v3.rs",
    "engine/payload/v4.rs",
    "engine/frame.rs",
    "engine/handshake.rs",
    "engine/session.rs",
    "engine/outbox.rs",
    "engine/line.rs",
    "engine/websocket/codec.rs",
    "engine/websocket/codec/client_header.rs",
    "engine/websocket/codec/decoder.rs",
    "engine/webtransport/codec.rs",
    "engine/websocket/codec/deflate.rs",
    "engine/websocket/codec/extension.rs",
    "http/compression.rs",
    "http/jsonp.rs",
    "socket/packet.rs",
    "socket/packet/encode.rs",
    "socket/packet/msgpack.rs",
    "socket/packet/msgpack/date.rs",
    "socket/packet/msgpack/read.rs",
    "socket/packet/msgpack/write.rs",
    "socket/args.rs",
    "socket/rooms.rs",
    "socket/acks.rs",
    "socket/exchange.rs",
    "cluster/asks.rs",
    "cluster/ring.rs",
    "cluster/interest.rs",
    "cluster/sequence.rs",
    "cluster/liveness.rs",
    "cluster/wire.rs",
    "cluster/hello.rs",
    "cluster/wire/exchange.rs",
    "testing/frames.rs",
    "testing/packet.rs",
    "testing/random.rs",
];

#[test]
fn no_import_points_up() {
    let mut breaches = Vec::new();
    for (path, source) in sources() {
        let layer = layer_of(&path);
        let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| *name == layer) else {
            breaches.push(format!("{}: no layer is called {layer:?}", path.display()));
            continue;
        };
        for (line, imported) in imports(&source) {
            if imported != layer && !allowed.contains(&imported.as_str()) {
                breaches.push(format!("{}:{line}: {layer} imports {imported}", path.display()));
            }
        }
    }
    assert!(breaches.is_empty(), "arrows that point up:\n{}", breaches.join("\n"));
}

#[test]
fn the_cluster_knows_values_of_socket_io_and_no_session() {
    let mut breaches = Vec::new();
    for (path, source) in sources().filter(|(path, _)| layer_of(path) == "cluster") {
        for (number, line) in source.lines().enumerate().filter(|(_, line)| line.contains("crate::socket::"))
        {
            if !CLUSTER_SEES.iter().any(|seen| line.contains(seen)) {
                breaches.push(format!("{}:{}: {}", path.display(), number + 1, line.trim()));
            }
        }
    }
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}

#[test]
fn sans_io_files_have_no_tasks_clock_or_randomness() {
    for name in SANS_IO {
        let path = src().join(name);
        let source = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let source = source.split("#[cfg(test)]\nmod").next().unwrap_or_default();
        for forbidden in [
            "tokio::spawn",
            "tokio::sync",
            "ractor",
            "Instant::now",
            "getrandom",
            "async fn",
            ".await;",
            ".await?",
        ] {
            assert!(!source.contains(forbidden), "{name} is sans-IO and names {forbidden}");
        }
    }
}

#[test]
fn only_one_file_names_chitchat() {
    let named: Vec<PathBuf> = sources()
        .filter(|(_, source)| source.contains("use chitchat") || source.contains("chitchat::"))
        .map(|(path, _)| path)
        .collect();
    assert_eq!(named, [src().join("cluster/membership.rs")]);
}

#[test]
fn only_one_file_and_its_parts_name_wtransport() {
    let named =
        sources().filter(|(_, source)| source.contains("use wtransport") || source.contains("wtransport::"));
    let others: Vec<PathBuf> = named
        .map(|(path, _)| path)
        .filter(|path| !path.starts_with(src().join("http/webtransport")))
        .collect();
    assert_eq!(others, [src().join("http/webtransport.rs")]);
}

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../src")
}

fn sources() -> impl Iterator<Item = (PathBuf, String)> {
    let mut folders = vec![src()];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files.into_iter().map(|path| {
        let source = fs::read_to_string(&path).expect("a source file");
        (path, source)
    })
}

/// `src/engine/session.rs` and `src/engine.rs` are both of the layer `engine`.
fn layer_of(path: &Path) -> String {
    let inside = path.strip_prefix(src()).expect("a file of src");
    let first = inside.iter().next().expect("a name").to_string_lossy();
    first.trim_end_matches(".rs").to_owned()
}

/// The first name behind each `crate::`, and every one behind `crate::{`, with its line; comments aside.
fn imports(source: &str) -> Vec<(usize, String)> {
    let code: Vec<&str> =
        source.lines().map(|line| if line.trim_start().starts_with("//") { "" } else { line }).collect();
    let code = code.join("\n");
    let mut imports = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let line = code[..at].matches('\n').count() + 1;
        let rest = &code[at + "crate::".len()..];
        let names = rest.strip_prefix('{').map_or_else(|| vec![rest], top_level);
        for name in names {
            let name: String = name.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            // `crate::Node` is the library's face, not a layer.
            if name.starts_with(char::is_lowercase) && name != "self" {
                imports.push((line, name));
            }
        }
    }
    imports
}

/// The items of a list in braces, up to its end, whatever braces they hold themselves.
fn top_level(list: &str) -> Vec<&str> {
    let (mut depth, mut start, mut items) = (0, 0, Vec::new());
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                items.push(&list[start..at]);
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                items.push(&list[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    items
}

#[test]
fn imports_are_found_in_every_form() {
    let source = "use crate::a::B;\nuse crate::{\n    c::{d, e},\n    f,\n};\n// crate::g\nlet x = crate::h::i(); // fine\n";
    let found: Vec<_> = imports(source).into_iter().map(|(line, name)| format!("{line}{name}")).collect();
    assert_eq!(found, ["1a", "2c", "2f", "7h"]);
}
