//! Nodes on a machine that is far too busy, and that stand still again and again: nobody may take them for dead.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::{Instant, sleep};

use super::cluster::Cluster;
use super::cost::{Measure, to_f64};
use super::report::Report;

/// Starts nodes of one cluster as processes beside threads that never rest, stops one node after the other for a while, and
/// counts the deaths that the others believe in.
#[derive(Debug, clap::Args)]
pub struct Pauses {
    /// How many nodes.
    #[arg(long, default_value_t = 5)]
    nodes: usize,
    /// How many threads compute all the time.
    #[arg(long, default_value_t = 16)]
    loops: usize,
    /// For how long.
    #[arg(long, default_value_t = 30)]
    minutes: u64,
    /// How long a node is stopped, in milliseconds.
    #[arg(long, default_value_t = 2000)]
    pause: u64,
    /// From the end of one pause to the next.
    #[arg(long, default_value_t = 3)]
    calm: u64,
}

impl Pauses {
    pub(super) async fn run(self) -> io::Result<Report> {
        let cluster = Cluster::start(self.nodes)?;
        let formed = cluster.complete(Duration::from_secs(60)).await;
        formed.ok_or_else(|| io::Error::other("the nodes did not become a cluster"))?;
        let (pids, seen) = (cluster.pids(), &cluster.seen);
        sleep(Duration::from_secs(self.calm)).await;
        seen.lost.store(0, Ordering::Relaxed);
        let measure = Measure::begin(&pids)?;
        let _busy = Busy::start(self.loops);
        let end = Instant::now() + Duration::from_secs(60 * self.minutes);
        let (mut pauses, mut victims) = (0, pids.iter().cycle());
        while Instant::now() < end {
            sleep(Duration::from_secs(self.calm)).await;
            let Some(victim) = victims.next() else { break };
            signal("STOP", *victim).await?;
            sleep(Duration::from_millis(self.pause)).await;
            signal("CONT", *victim).await?;
            pauses += 1;
        }
        sleep(Duration::from_secs(self.calm)).await;
        let mut report = Report::default();
        report.row("pauses", to_f64(pauses), "");
        report.row("false_deaths", to_f64(seen.lost.load(Ordering::Relaxed) as u64), "");
        report.row("complete_at_the_end", to_f64(seen.complete(self.nodes) as u64), "nodes");
        measure.end()?.report(&mut report);
        Ok(report)
    }
}

async fn signal(name: &str, pid: u32) -> io::Result<()> {
    let sent = Command::new("kill").args(["-s", name, &pid.to_string()]).status().await?;
    if sent.success() { Ok(()) } else { Err(io::Error::other(format!("kill -s {name} {pid}: {sent}"))) }
}

/// Threads that compute until this is dropped.
struct Busy(Arc<AtomicBool>);

impl Busy {
    fn start(threads: usize) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        for _ in 0..threads {
            let ended = Arc::clone(&ended);
            thread::spawn(move || {
                while !ended.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        Self(ended)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
