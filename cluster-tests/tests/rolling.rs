//! Official clients stay while every node is restarted: the bounded form of `rolling`, which plays it at length.

use std::path::Path;
use std::time::Duration;

use clap::Parser;
use cluster_tests::rolling::run::{Options, run};

#[tokio::test(flavor = "multi_thread")]
async fn sixty_clients_behind_two_balancers_lose_nothing_while_each_of_three_nodes_is_restarted() {
    let binary = env!("CARGO_BIN_EXE_rolling");
    let options = Options { nodes: 3, clients: 60, rounds: 1, drain: Duration::from_secs(3), ..usual() };
    let mut said = String::new();
    let report = run(&options, Path::new(binary), |line| said.extend([line, "\n"])).await;
    match report {
        Ok(report) => assert!(report.kept(), "\n{said}\n{report}"),
        Err(error) => panic!("{error}\n{said}"),
    }
}

/// What the command does when it is told nothing.
fn usual() -> Options {
    #[derive(Parser)]
    struct Arguments {
        #[command(flatten)]
        options: Options,
    }
    Arguments::parse_from(["rolling"]).options
}
