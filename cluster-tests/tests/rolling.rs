//! Official clients stay while every node is restarted, or some are killed: the bounded form of `rolling`, which plays it at length.
#![expect(clippy::panic, reason = "tests fail by panicking")]

use std::path::Path;
use std::time::Duration;

use clap::Parser;
use cluster_tests::rolling::run::{Options, Switch, run};
use tokio::sync::Mutex;

#[tokio::test(flavor = "multi_thread")]
async fn sixty_clients_behind_two_balancers_lose_nothing_while_each_of_three_nodes_is_restarted() {
    play(Options { clients: 60, drain: Duration::from_secs(3), ..small() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_recovery_no_client_meets_an_error_and_no_session_of_a_node_that_stays_is_closed() {
    play(Options { recovery: Switch::Off, ..small() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_killed_nodes_are_recovered_without_a_hole_and_nothing_comes_twice() {
    play(Options { kill: Some(3), ..small() }).await;
}

/// One at a time: each has a machine of its own, as it were.
async fn play(options: Options) {
    static PLAYING: Mutex<()> = Mutex::const_new(());
    let _playing = PLAYING.lock().await;
    let binary = env!("CARGO_BIN_EXE_rolling");
    let mut said = String::new();
    let report = run(&options, Path::new(binary), |line| said.extend([line, "\n"])).await;
    match report {
        Ok(report) => assert!(report.kept(), "\n{said}\n{report}"),
        Err(error) => panic!("{error}\n{said}"),
    }
}

/// What the command does when it is told nothing, in small.
fn small() -> Options {
    #[derive(Parser)]
    struct Arguments {
        #[command(flatten)]
        options: Options,
    }
    let Arguments { options } = Arguments::parse_from(["rolling"]);
    let (drain, slack) = (Duration::from_secs(2), Duration::from_secs(4));
    Options { nodes: 3, clients: 30, rounds: 1, drain, slack, ..options }
}
