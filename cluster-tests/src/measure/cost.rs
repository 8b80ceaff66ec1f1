//! What processes cost, and the durations of single operations.

use std::io;
use std::time::Duration;

use socketmesh_load::machine;
use tokio::time::Instant;

use super::report::Report;

/// A measurement under way.
#[derive(Debug)]
pub(crate) struct Measure {
    pids: Vec<u32>,
    began: Instant,
    servers: Duration,
    own: Duration,
    machine: Duration,
}

/// The result of a measurement.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    pub(crate) elapsed: Duration,
    /// Processor time of the servers.
    pub(crate) servers: Duration,
    /// Processor time of this process.
    own: Duration,
    /// Processor time of everything else on this machine.
    others: Duration,
}

impl Measure {
    /// Begins now.
    pub(crate) fn begin(pids: &[u32]) -> io::Result<Self> {
        Ok(Self {
            pids: pids.to_vec(),
            began: Instant::now(),
            servers: sum(pids)?,
            own: machine::cpu(std::process::id())?,
            machine: machine::busy()?,
        })
    }

    /// Processor time of these processes since they began.
    pub(crate) fn total(pids: &[u32]) -> io::Result<Duration> {
        sum(pids)
    }

    /// Ends now.
    pub(crate) fn end(&self) -> io::Result<Cost> {
        let servers = sum(&self.pids)?.saturating_sub(self.servers);
        let own = machine::cpu(std::process::id())?.saturating_sub(self.own);
        let others = machine::busy()?.saturating_sub(self.machine + servers + own);
        Ok(Cost { elapsed: self.began.elapsed(), servers, own, others })
    }
}

impl Cost {
    /// What the servers used, in percent of a core.
    pub(crate) fn servers_share(&self) -> f64 {
        100. * self.servers.as_secs_f64() / self.elapsed.as_secs_f64()
    }

    /// The rows about other load on this machine, with which every measurement ends.
    pub(crate) fn report(&self, report: &mut Report) {
        let share = |time: Duration| 100. * time.as_secs_f64() / self.elapsed.as_secs_f64();
        report.row("servers_cpu", share(self.servers), "% of a core");
        report.row("own_cpu", share(self.own), "% of a core");
        report.row("others_cpu", share(self.others), "% of a core");
    }
}

/// Durations of single things.
#[derive(Debug, Default)]
pub(crate) struct Durations(Vec<Duration>);

impl Durations {
    pub(crate) fn push(&mut self, duration: Duration) {
        self.0.push(duration);
    }

    /// Rows of percentiles in milliseconds.
    pub(crate) fn report(&mut self, report: &mut Report, name: &str) {
        self.0.sort_unstable();
        for (percentile, part) in [("p50", 50), ("p99", 99), ("max", 100)] {
            let index = (self.0.len() * part / 100).min(self.0.len().saturating_sub(1));
            if let Some(duration) = self.0.get(index) {
                report.row(&format!("{name}_{percentile}"), duration.as_secs_f64() * 1e3, "ms");
            }
        }
    }
}

/// Exact up to 2^53, which is more than anything counted here.
pub(crate) const fn to_f64(count: u64) -> f64 {
    count as f64
}

fn sum(pids: &[u32]) -> io::Result<Duration> {
    pids.iter().map(|pid| machine::cpu(*pid)).sum()
}
