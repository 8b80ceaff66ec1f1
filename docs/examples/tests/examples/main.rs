//! Every example as a process, driven by the official JavaScript client.
#![expect(clippy::panic, reason = "tests fail by panicking")]

#[cfg(feature = "balancers")]
mod deployments;

use std::path::Path;
use std::process::Stdio;

use cluster_tests::deadline::within;
use cluster_tests::interop;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

#[tokio::test]
async fn hello_answers_beside_the_routes_of_axum() {
    let node = Example::alone(env!("CARGO_BIN_EXE_hello")).await;
    drive("hello.mjs", &[&node.url]).await;
}

#[tokio::test]
async fn the_chat_keeps_what_is_said_in_a_room_and_knows_who_is_there_and_what_was_said_on_one_node_and_on_three()
 {
    for nodes in Example::one_and_three(env!("CARGO_BIN_EXE_chat"), &[]).await {
        drive("chat.mjs", &urls(&nodes)).await;
    }
}

#[tokio::test]
async fn a_game_tells_its_players_where_all_are_and_keeps_the_seats_of_those_who_are_away() {
    for nodes in Example::one_and_three(env!("CARGO_BIN_EXE_game"), &[("PATIENCE_MS", "3000")]).await {
        drive("game.mjs", &[&urls(&nodes)[..], &[&*pid_of_last(&nodes)]].concat()).await;
    }
}

#[tokio::test]
async fn a_job_is_done_however_long_it_takes_and_by_another_worker_if_one_or_its_node_is_lost() {
    for nodes in Example::one_and_three(env!("CARGO_BIN_EXE_jobs"), &[]).await {
        drive("jobs.mjs", &[&urls(&nodes)[..], &[&*pid_of_last(&nodes)]].concat()).await;
    }
}

#[tokio::test]
async fn a_dashboard_belongs_to_the_session_of_the_application_that_it_is_nested_in() {
    let other = "https://status.shop.example";
    for nodes in Example::one_and_three(env!("CARGO_BIN_EXE_dashboard"), &[("OTHER_ORIGIN", other)]).await {
        drive("dashboard.mjs", &[&urls(&nodes)[..], &[PASSWORD, other]].concat()).await;
    }
}

#[tokio::test]
async fn the_whiteboard_shows_the_strokes_of_another_node_in_their_order() {
    let nodes = Example::two(env!("CARGO_BIN_EXE_whiteboard")).await;
    drive("whiteboard.mjs", &nodes.each_ref().map(|node| &*node.url)).await;
}

#[tokio::test]
async fn private_messages_reach_every_device_of_the_user_on_two_nodes_and_nobody_else() {
    let nodes = Example::two(env!("CARGO_BIN_EXE_private")).await;
    drive("private.mjs", &nodes.each_ref().map(|node| &*node.url)).await;
}

#[tokio::test]
async fn a_login_takes_valid_tokens_and_says_what_is_wrong_with_others() {
    let node = Example::alone(env!("CARGO_BIN_EXE_login")).await;
    drive("login.mjs", &[&node.url, SECRET]).await;
}

#[tokio::test]
async fn typed_events_arrive_as_their_variants_say() {
    let nodes = Example::two(env!("CARGO_BIN_EXE_typed")).await;
    drive("typed.mjs", &nodes.each_ref().map(|node| &*node.url)).await;
}

#[tokio::test]
async fn the_ticker_of_each_node_tells_the_clients_of_that_node() {
    let nodes = Example::two(env!("CARGO_BIN_EXE_ticker")).await;
    drive("ticker.mjs", &nodes.each_ref().map(|node| &*node.url)).await;
}

#[tokio::test]
async fn one_node_of_two_greets_the_clients_of_both() {
    let nodes = Example::two_with(env!("CARGO_BIN_EXE_leader"), &[("PERIOD_MS", "100")]).await;
    drive("leader.mjs", &nodes.each_ref().map(|node| &*node.url)).await;
}

#[tokio::test]
async fn ctrl_c_and_sigterm_end_every_example_in_good_order() {
    for (binary, signal) in ALL.iter().flat_map(|binary| [(binary, "INT"), (binary, "TERM")]) {
        let mut node = Example::alone(binary).await;
        node.signal(signal).await;
        let ended =
            within(format!("{binary} to end"), node.child.wait()).await.expect("a child can be awaited");
        assert!(ended.success(), "{binary}: {ended}");
    }
}

/// Every example is here, in the list of the README, and in a test of its own above.
#[test]
fn the_list_of_examples_is_complete() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| std::fs::read_to_string(folder.join(path)).expect(path);
    let (readme, tests) = (read("README.md"), read("tests/examples/main.rs"));
    let mut found = 0;
    for entry in std::fs::read_dir(folder.join("src/bin")).expect("the examples") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let name = path.file_stem().and_then(|name| name.to_str()).expect("a name");
        assert!(readme.contains(&format!("--bin {name}\n")), "the README does not say how to run {name}");
        assert!(tests.contains(&format!("drive(\"{name}.mjs\"")), "no test drives {name}");
        found += 1;
    }
    assert_eq!(found, ALL.len(), "the list of binaries");
}

const ALL: [&str; 11] = [
    env!("CARGO_BIN_EXE_hello"),
    env!("CARGO_BIN_EXE_chat"),
    env!("CARGO_BIN_EXE_game"),
    env!("CARGO_BIN_EXE_jobs"),
    env!("CARGO_BIN_EXE_dashboard"),
    env!("CARGO_BIN_EXE_whiteboard"),
    env!("CARGO_BIN_EXE_private"),
    env!("CARGO_BIN_EXE_login"),
    env!("CARGO_BIN_EXE_typed"),
    env!("CARGO_BIN_EXE_ticker"),
    env!("CARGO_BIN_EXE_leader"),
];

/// A running example. Dropping it kills the process.
struct Example {
    /// Where its clients connect.
    url: String,
    /// Where other nodes reach it.
    mesh: Option<String>,
    child: Child,
    /// Kept open: a closed pipe would fail its next line.
    _stdout: Lines<BufReader<ChildStdout>>,
}

impl Example {
    async fn alone(binary: &str) -> Self {
        Self::start(binary, &[]).await
    }

    /// Two nodes of one cluster.
    async fn two(binary: &str) -> [Self; 2] {
        Self::two_with(binary, &[]).await
    }

    async fn two_with(binary: &str, environment: &[(&str, &str)]) -> [Self; 2] {
        let first = Self::member(binary, None, environment).await;
        let second = Self::member(binary, Some(&first), environment).await;
        [first, second]
    }

    /// One node, and three of one cluster.
    async fn one_and_three(binary: &str, environment: &[(&str, &str)]) -> [Vec<Self>; 2] {
        let one = Self::start(binary, environment).await;
        let [first, second] = Self::two_with(binary, environment).await;
        let third = Self::member(binary, Some(&second), environment).await;
        [vec![one], vec![first, second, third]]
    }

    /// A node of the cluster that another one is in.
    async fn member(binary: &str, other: Option<&Self>, environment: &[(&str, &str)]) -> Self {
        let seed =
            other.map_or("", |other| other.mesh.as_deref().expect("a member says where others reach it"));
        let member =
            [("SOCKETMESH_MESH", "127.0.0.1:0"), ("SOCKETMESH_SECRET", SECRET), ("SOCKETMESH_SEED", seed)];
        Self::start(binary, &[&member, environment].concat()).await
    }

    async fn start(binary: &str, environment: &[(&str, &str)]) -> Self {
        let mut command = Command::new(binary);
        for inherited in ["SOCKETMESH_MESH", "SOCKETMESH_SEED", "SOCKETMESH_SECRET", "SOCKETMESH_SECRET_FILE"]
        {
            command.env_remove(inherited);
        }
        command.env("PORT", "0").envs([
            ("JWT_SECRET", SECRET),
            ("SESSION_SECRET", SECRET),
            ("PASSWORD", PASSWORD),
        ]);
        command.envs(environment.iter().copied());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap_or_else(|error| panic!("executing {binary}: {error}"));
        let mut stdout = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let line = within(format!("{binary} to say where it is"), stdout.next_line()).await;
        let line =
            line.expect("a pipe").unwrap_or_else(|| panic!("{binary} ended before it said where it is"));
        let (url, mesh) = line.split_once(" (mesh ").map_or((&*line, None), |(url, mesh)| (url, Some(mesh)));
        let mesh = mesh.map(|mesh| mesh.trim_end_matches(')').to_owned());
        Self { url: url.to_owned(), mesh, child, _stdout: stdout }
    }

    fn pid(&self) -> String {
        self.child.id().expect("it runs").to_string()
    }

    async fn signal(&self, signal: &str) {
        let pid = self.pid();
        let sent =
            Command::new("kill").args(["-s", signal, &pid]).status().await.expect("kill can be executed");
        assert!(sent.success(), "kill -s {signal} {pid}: {sent}");
    }
}

/// Where clients of the first and of the last node connect, which may be the same.
fn urls(nodes: &[Example]) -> [&str; 2] {
    [nodes.first(), nodes.last()].map(|node| &*node.expect("a node").url)
}

/// For a script that kills that node at its end. Empty if there is no other.
fn pid_of_last(nodes: &[Example]) -> String {
    nodes.get(1..).and_then(<[Example]>::last).map(Example::pid).unwrap_or_default()
}

/// Runs a script beside this file with the official client.
async fn drive(script: &str, arguments: &[&str]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(script);
    interop::run(path.to_str().expect("the path is UTF-8"), arguments).await;
}

const SECRET: &str = "a secret of the tests, long enough to be one";
const PASSWORD: &str = "a password of the tests";
