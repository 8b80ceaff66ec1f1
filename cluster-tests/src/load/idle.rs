//! Clients that do nothing: what each costs to connect and to keep.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::client::Client;
use super::machine;
use super::measure::{Measure, per, to_f64};
use super::report::Report;

/// Opens that many clients, spread over the addresses, and keeps them.
#[derive(Debug, clap::Args)]
pub struct Idle {
    /// Process of a server; may be repeated.
    #[arg(long, required = true)]
    pid: Vec<u32>,
    /// Address of a server for clients; may be repeated.
    #[arg(long, required = true)]
    addr: Vec<SocketAddr>,
    /// How many clients.
    #[arg(long, default_value_t = 10_000)]
    clients: usize,
    /// How many connect at once.
    #[arg(long, default_value_t = 64)]
    concurrency: usize,
    /// How long they are kept, to see what idling costs.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// How long to wait after all of them are gone, to see how much memory comes back.
    #[arg(long)]
    rest: Option<u64>,
}

impl Idle {
    pub(super) async fn run(self) -> io::Result<Report> {
        self.check_limits()?;
        let empty = self.resident()?;
        let connecting = Measure::begin(&self.pid)?;
        let (clients, failed) = self.connect().await;
        let connected = clients.len() as u64;
        let cost = connecting.end()?;
        // Buffers of the connects are freed a moment later.
        sleep(SETTLE).await;
        let idling = Measure::begin(&self.pid)?;
        sleep(Duration::from_secs(self.seconds)).await;
        let idle = idling.end()?;
        let full = self.resident()?;
        drop(clients);

        let mut report = Report::default();
        report.row("connections", to_f64(connected), "");
        report.row("failed", to_f64(failed), "");
        report.row("connects_per_second", cost.each_second(connected), "/s");
        report.row("connect_cpu", cost.micros_each(connected), "us/connection");
        report.row("memory", per(full - empty, connected) / 1024., "KiB/connection");
        report.row("memory_with_process", per(full, connected) / 1024., "KiB/connection");
        report.row("memory_empty_process", empty / 1024. / 1024., "MiB");
        if let Some(rest) = self.rest {
            sleep(Duration::from_secs(rest)).await;
            report.row("memory_with_clients", full / 1024. / 1024., "MiB");
            report.row("memory_after_clients", self.resident()? / 1024. / 1024., "MiB");
        }
        idle.report(&mut report);
        Ok(report)
    }

    /// Each client takes one file here and one at its server.
    fn check_limits(&self) -> io::Result<()> {
        let share = self.clients / self.addr.len().max(1);
        let own = (std::process::id(), self.clients);
        for (pid, clients) in self.pid.iter().map(|pid| (*pid, share)).chain([own]) {
            let limit = machine::open_files(pid)?;
            if limit < clients + SPARE_FILES {
                let message =
                    format!("process {pid} may open {limit} files: raise `ulimit -n` where it is started");
                return Err(io::Error::other(message));
            }
        }
        Ok(())
    }

    fn resident(&self) -> io::Result<f64> {
        let bytes: io::Result<u64> = self.pid.iter().map(|pid| machine::resident(*pid)).sum();
        bytes.map(to_f64)
    }

    /// The connected clients, each in a task of its own, and how many failed.
    async fn connect(&self) -> (JoinSet<()>, u64) {
        let permits = Rc::new(Semaphore::new(self.concurrency));
        let mut connecting = JoinSet::new();
        for (number, addr) in self.addr.iter().copied().cycle().take(self.clients).enumerate() {
            let permits = Rc::clone(&permits);
            connecting.spawn_local(async move {
                let _permit = permits.acquire().await;
                Client::connect(addr, number).await
            });
        }
        let (mut clients, mut failed) = (JoinSet::new(), 0);
        while let Some(connected) = connecting.join_next().await {
            match connected {
                Ok(Ok(client)) => {
                    clients.spawn_local(client.idle());
                }
                _ => failed += 1,
            }
        }
        (clients, failed)
    }
}

/// Longer than the buffers of a new connection live.
const SETTLE: Duration = Duration::from_secs(1);

/// Beside its clients a process has these open: listener, runtime, standard streams, mesh.
const SPARE_FILES: usize = 50;
