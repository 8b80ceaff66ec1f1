//! A node of a cluster is killed without a warning: how long the others take to notice.

use std::env;
use std::io;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::cost::{Durations, to_f64};
use super::report::Report;
use crate::process::{Launch, Node};

/// Starts nodes of one cluster as processes, kills one, and waits until each survivor reports that it is gone; repeatedly.
#[derive(Debug, clap::Args)]
pub struct Kill {
    /// How many nodes.
    #[arg(long, default_value_t = 3)]
    nodes: usize,
    /// How often.
    #[arg(long, default_value_t = 10)]
    times: usize,
    /// Between two kills, for the failure detectors to see a steady cluster.
    #[arg(long, default_value_t = 3)]
    calm: u64,
}

impl Kill {
    pub(super) async fn run(self) -> io::Result<Report> {
        let binary = env::current_exe()?.with_file_name("fixture");
        let binary: &'static str = binary.to_string_lossy().into_owned().leak();
        let mut survivors: Vec<Node> = Vec::new();
        for number in 1..self.nodes {
            let launch = launch(binary, &format!("node-{number}"), &survivors);
            survivors.push(launch.start().await);
        }
        let (mut each, mut last) = (Durations::default(), Durations::default());
        let mut victim = launch(binary, "victim-1", &survivors);
        for time in 1..=self.times {
            let node = victim.start().await;
            // Not always at the same time after its start, to which the heartbeats of all nodes are tied.
            sleep(Duration::from_secs(self.calm) + PHASE * u32::try_from(time % 10).unwrap_or_default())
                .await;
            let (again, noticed) = kill(node, time, &mut survivors).await;
            noticed.iter().for_each(|noticed| each.push(*noticed));
            noticed.iter().max().into_iter().for_each(|noticed| last.push(*noticed));
            // A new name, so that reports about this node are not about the one before.
            let seeds = survivors.iter().map(|node| node.mesh).collect();
            victim = Launch { id: format!("victim-{}", time + 1), seeds, ..again };
        }
        let mut report = Report::default();
        report.row("kills", to_f64(self.times as u64), "");
        each.report(&mut report, "one_survivor");
        last.report(&mut report, "all_survivors");
        Ok(report)
    }
}

/// A tenth of the second in which everything happens again that a node does again and again, and a little more.
const PHASE: Duration = Duration::from_millis(107);

/// Kills a node. Returns how to start it again, and the time after which each survivor reported it as gone.
async fn kill(node: Node, time: usize, survivors: &mut Vec<Node>) -> (Launch, Vec<Duration>) {
    let gone = format!("gone=victim-{time};");
    let began = Instant::now();
    let launch = node.kill(&[]).await;
    let mut waiting = JoinSet::new();
    for mut survivor in survivors.drain(..) {
        let gone = gone.clone();
        waiting.spawn(async move {
            survivor.says(&gone).await;
            (survivor, began.elapsed())
        });
    }
    let (mut back, noticed) = waiting.join_all().await.into_iter().unzip::<_, _, Vec<_>, Vec<_>>();
    back.sort_by_key(|node| node.mesh);
    *survivors = back;
    (launch, noticed)
}

fn launch(binary: &'static str, id: &str, others: &[Node]) -> Launch {
    let seeds = others.iter().map(|node| node.mesh).collect();
    Launch { seeds, arguments: vec!["--log-views"], ..Launch::bench(Some(binary), id) }
}
