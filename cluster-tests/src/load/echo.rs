//! Acknowledgements in a closed loop: what a round trip costs and how long it takes.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::client::Client;
use super::measure::{Durations, Measure, to_f64};
use super::report::Report;

/// Every client keeps a window of events in flight and waits for their acks.
#[derive(Debug, clap::Args)]
pub struct Echo {
    /// Process of a server; may be repeated.
    #[arg(long, required = true)]
    pid: Vec<u32>,
    /// Address of a server for clients; may be repeated.
    #[arg(long, required = true)]
    addr: Vec<SocketAddr>,
    /// How many clients.
    #[arg(long, default_value_t = 50)]
    clients: usize,
    /// Events in flight for each client.
    #[arg(long, default_value_t = 8)]
    window: usize,
    /// Bytes of the payload.
    #[arg(long, default_value_t = 64)]
    payload: usize,
    /// How long to measure.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
}

#[derive(Debug, Default)]
struct Seen {
    acks: Cell<u64>,
    failed: Cell<u64>,
    durations: RefCell<Durations>,
}

impl Echo {
    pub(super) async fn run(self) -> io::Result<Report> {
        let seen = Rc::new(Seen::default());
        let payload: Rc<str> = "x".repeat(self.payload).into();
        let mut clients = JoinSet::new();
        for (number, addr) in self.addr.iter().copied().cycle().take(self.clients).enumerate() {
            let client = Client::connect(addr, number).await?;
            let (seen, payload, window) = (Rc::clone(&seen), Rc::clone(&payload), self.window);
            clients.spawn_local(async move {
                if repeat(client, &payload, window, &seen).await.is_err() {
                    seen.failed.set(seen.failed.get() + 1);
                }
            });
        }
        sleep(WARM_UP).await;
        seen.durations.take();
        let before = seen.acks.get();
        let measure = Measure::begin(&self.pid)?;
        sleep(Duration::from_secs(self.seconds)).await;
        let cost = measure.end()?;
        let acks = seen.acks.get() - before;

        let mut report = Report::default();
        report.row("acks", to_f64(acks), "");
        report.row("failed", to_f64(seen.failed.get()), "");
        report.row("acks_per_second", cost.each_second(acks), "/s");
        report.row("cpu", cost.micros_each(acks), "us/ack");
        seen.durations.take().report(&mut report, "round_trip");
        cost.report(&mut report);
        Ok(report)
    }
}

/// Acks come in the order of the events, because a server handles those of one client in order.
async fn repeat(mut client: Client, payload: &str, window: usize, seen: &Seen) -> io::Result<()> {
    let mut sent = VecDeque::new();
    let mut id = 0_u64;
    loop {
        while sent.len() < window {
            client.send(&format!("42{id}[\"echo\",\"{payload}\"]")).await?;
            sent.push_back(Instant::now());
            id += 1;
        }
        let mut acks = 0;
        client.receive(|packet| acks += u64::from(packet.starts_with(b"43"))).await?;
        let now = Instant::now();
        for _ in 0..acks {
            if let Some(sent) = sent.pop_front() {
                seen.durations.borrow_mut().push(now - sent);
            }
        }
        seen.acks.set(seen.acks.get() + acks);
    }
}

const WARM_UP: Duration = Duration::from_secs(1);
