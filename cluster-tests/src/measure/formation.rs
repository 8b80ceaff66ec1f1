//! Many nodes that start at once on this machine: how long they take to become one cluster, what that costs, and what it costs
//! them to do nothing afterwards.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::sleep;

use super::cluster::Cluster;
use super::cost::{Durations, Measure, to_f64};
use super::report::Report;

/// Starts clusters of these sizes, one after the other, all nodes at once and with one of them as the seed of all.
#[derive(Debug, clap::Args)]
pub struct Formation {
    /// How many nodes; may be repeated.
    #[arg(long, default_values_t = [3, 10, 20, 40, 60])]
    nodes: Vec<usize>,
    /// How long each cluster is watched after all are ready.
    #[arg(long, default_value_t = 15)]
    seconds: u64,
    /// Until when all have to be ready.
    #[arg(long, default_value_t = 120)]
    patience: u64,
}

impl Formation {
    pub(super) async fn run(self) -> io::Result<Report> {
        let mut report = Report::default();
        for nodes in &self.nodes {
            self.form(*nodes, &mut report).await?;
        }
        Ok(report)
    }

    async fn form(&self, count: usize, report: &mut Report) -> io::Result<()> {
        let cluster = Cluster::start(count)?;
        let (pids, seen) = (cluster.pids(), &cluster.seen);
        let took = cluster.complete(Duration::from_secs(self.patience)).await;
        let formed = Measure::total(&pids)?;
        // The last news spread.
        sleep(SETTLE).await;
        seen.lost.store(0, Ordering::Relaxed);
        let idling = Measure::begin(&pids)?;
        sleep(Duration::from_secs(self.seconds)).await;
        let idle = idling.end()?;

        let name = |what: &str| format!("{count}_nodes_{what}");
        let mut ready = Durations::default();
        seen.ready().iter().for_each(|at| ready.push(at.duration_since(cluster.began)));
        report.row(&name("ready"), to_f64(seen.ready().len() as u64), "");
        report.row(&name("complete"), to_f64(seen.complete(count) as u64), "");
        ready.report(report, &name("ready"));
        report.row(&name("all_complete"), took.map_or(f64::NAN, |took| took.as_secs_f64()), "s");
        report.row(&name("cpu"), formed.as_secs_f64() / to_f64(count as u64), "s/node");
        report.row(&name("lost_again"), to_f64(seen.lost.load(Ordering::Relaxed) as u64), "");
        report.row(&name("idle_cpu"), idle.servers_share() / to_f64(count as u64), "% of a core/node");
        Ok(())
    }
}

const SETTLE: Duration = Duration::from_secs(2);
