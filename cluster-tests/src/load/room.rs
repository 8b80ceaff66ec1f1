//! Broadcasts to the members of one room: what a delivery costs, how long it takes, and whether all arrive in order.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::client::Client;
use super::measure::{Durations, Measure, per, to_f64};
use super::report::Report;

/// Publishers on the first server emit to a room whose members are on the second.
///
/// In a closed loop each publisher has a window of messages in flight: it sends the next one when every member has received
/// an earlier one.
#[derive(Debug, clap::Args)]
pub struct Room {
    /// Process of a server; may be repeated.
    #[arg(long, required = true)]
    pid: Vec<u32>,
    /// Where the publishers connect; given a second time, where the members do.
    #[arg(long, required = true)]
    addr: Vec<SocketAddr>,
    /// The members connect where the publishers do.
    #[arg(long)]
    local: bool,
    /// How many members.
    #[arg(long, default_value_t = 1000)]
    members: usize,
    /// How many publishers; they are no members.
    #[arg(long, default_value_t = 1)]
    publishers: usize,
    /// Bytes of the payload.
    #[arg(long, default_value_t = 64)]
    payload: usize,
    /// Messages on their way for each publisher.
    #[arg(long, default_value_t = 8)]
    window: usize,
    /// Messages per second of each publisher, instead of the closed loop; latencies are reported.
    #[arg(long)]
    rate: Option<u32>,
    /// How long to measure.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
}

impl Room {
    pub(super) async fn run(self) -> io::Result<Report> {
        let traffic = Rc::new(Traffic::new(self.publishers, self.members, self.rate.is_some()));
        let _members = self.join(&traffic).await?;
        let publishers = self.publish(&traffic).await?;
        sleep(WARM_UP).await;
        traffic.durations.take();
        let before = traffic.delivered.get();
        let measure = Measure::begin(&self.pid)?;
        sleep(Duration::from_secs(self.seconds)).await;
        let cost = measure.end()?;
        let delivered = traffic.delivered.get() - before;
        let mut durations = traffic.durations.take();
        drop(publishers);
        traffic.settle().await;

        let mut report = Report::default();
        report.row("deliveries", to_f64(delivered), "");
        report.row("deliveries_per_second", cost.each_second(delivered), "/s");
        report.row("cpu", cost.micros_each(delivered), "s/million deliveries");
        report.row("deliveries_per_read", per(to_f64(traffic.delivered.get()), traffic.reads.get()), "");
        report.row("order_violations", to_f64(traffic.violations.get()), "");
        report.row("lost", to_f64(traffic.missing()), "");
        report.row("failed", to_f64(traffic.failed.get()), "");
        durations.report(&mut report, "latency");
        cost.report(&mut report);
        Ok(report)
    }

    async fn join(&self, traffic: &Rc<Traffic>) -> io::Result<JoinSet<()>> {
        let mut addrs = self.addr.iter().copied();
        let first = addrs.next();
        let addr = if self.local { first } else { addrs.next().or(first) };
        let mut members = JoinSet::new();
        for (number, addr) in addr.into_iter().cycle().take(self.members).enumerate() {
            let mut client = Client::connect(addr, number).await?;
            client.send(r#"420["join","room"]"#).await?;
            let mut acked = false;
            while !acked {
                client.receive(|packet| acked = packet.starts_with(b"430")).await?;
            }
            let traffic = Rc::clone(traffic);
            members.spawn_local(async move { traffic.member(client).await });
        }
        Ok(members)
    }

    async fn publish(&self, traffic: &Rc<Traffic>) -> io::Result<JoinSet<()>> {
        let mut publishers = JoinSet::new();
        for (number, addr) in self.addr.iter().copied().take(1).cycle().take(self.publishers).enumerate() {
            let client = Client::connect(addr, number).await?;
            let publisher = Publisher { client, number, payload: self.payload, traffic: Rc::clone(traffic) };
            let (rate, window) = (self.rate, self.window);
            publishers.spawn_local(async move {
                match rate {
                    Some(rate) => publisher.at_rate(rate).await,
                    None => publisher.in_window(window).await,
                }
            });
        }
        Ok(publishers)
    }
}

/// The state of the messages that all clients share.
#[derive(Debug)]
struct Traffic {
    members: usize,
    flows: Vec<Flow>,
    delivered: Cell<u64>,
    reads: Cell<u64>,
    violations: Cell<u64>,
    /// Clients whose connection ended.
    failed: Cell<u64>,
    timed: bool,
    durations: RefCell<Durations>,
}

/// The messages of one publisher that are still missing at some member.
#[derive(Debug, Default)]
struct Flow {
    under_way: RefCell<UnderWay>,
    /// Notified when a message has arrived at every member.
    arrived: Notify,
}

#[derive(Debug, Default)]
struct UnderWay {
    first: u64,
    messages: VecDeque<Message>,
}

#[derive(Debug)]
struct Message {
    missing: usize,
    sent: Instant,
}

impl Traffic {
    fn new(publishers: usize, members: usize, timed: bool) -> Self {
        Self {
            members,
            flows: (0..publishers).map(|_| Flow::default()).collect(),
            delivered: Cell::default(),
            reads: Cell::default(),
            violations: Cell::default(),
            failed: Cell::default(),
            timed,
            durations: RefCell::default(),
        }
    }

    async fn member(&self, mut client: Client) {
        let mut next = vec![0; self.flows.len()];
        loop {
            let mut now = None;
            let received = client
                .receive(|packet| {
                    if let Some((publisher, number)) = parse(packet) {
                        let now = *now.get_or_insert_with(Instant::now);
                        self.deliver(publisher, number, now);
                        if let Some(next) = next.get_mut(publisher) {
                            self.violations.set(self.violations.get() + u64::from(number < *next));
                            *next = number + 1;
                        }
                    }
                })
                .await;
            self.reads.set(self.reads.get() + 1);
            if received.is_err() {
                self.failed.set(self.failed.get() + 1);
                return;
            }
        }
    }

    fn deliver(&self, publisher: usize, number: u64, now: Instant) {
        self.delivered.set(self.delivered.get() + 1);
        let Some(flow) = self.flows.get(publisher) else { return };
        let mut under_way = flow.under_way.borrow_mut();
        let index = number.checked_sub(under_way.first).and_then(|index| usize::try_from(index).ok());
        if let Some(message) = index.and_then(|index| under_way.messages.get_mut(index)) {
            message.missing = message.missing.saturating_sub(1);
            if self.timed {
                self.durations.borrow_mut().push(now - message.sent);
            }
        }
        while under_way.messages.front().is_some_and(|message| message.missing == 0) {
            under_way.messages.pop_front();
            under_way.first += 1;
            flow.arrived.notify_one();
        }
    }

    /// Waits until everything has arrived, or nothing arrives any more.
    async fn settle(&self) {
        let mut before = u64::MAX;
        while self.missing() > 0 && self.missing() < before {
            before = self.missing();
            sleep(SETTLE).await;
        }
    }

    fn missing(&self) -> u64 {
        let missing = |flow: &Flow| {
            flow.under_way.borrow().messages.iter().map(|message| message.missing).sum::<usize>()
        };
        self.flows.iter().map(missing).sum::<usize>() as u64
    }
}

struct Publisher {
    client: Client,
    number: usize,
    payload: usize,
    traffic: Rc<Traffic>,
}

impl Publisher {
    async fn in_window(mut self, window: usize) {
        let traffic = Rc::clone(&self.traffic);
        let Some(flow) = traffic.flows.get(self.number) else { return };
        loop {
            while flow.under_way.borrow().messages.len() < window {
                if self.emit(flow).await.is_err() {
                    return traffic.failed.set(traffic.failed.get() + 1);
                }
            }
            tokio::select! {
                () = flow.arrived.notified() => {}
                received = self.client.receive(|_| {}) => if received.is_err() {
                    return traffic.failed.set(traffic.failed.get() + 1);
                }
            }
        }
    }

    async fn at_rate(mut self, rate: u32) {
        let traffic = Rc::clone(&self.traffic);
        let Some(flow) = traffic.flows.get(self.number) else { return };
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / rate);
        loop {
            let alive = tokio::select! {
                _ = ticks.tick() => self.emit(flow).await,
                received = self.client.receive(|_| {}) => received,
            };
            if alive.is_err() {
                return traffic.failed.set(traffic.failed.get() + 1);
            }
        }
    }

    async fn emit(&mut self, flow: &Flow) -> io::Result<()> {
        let number = {
            let mut under_way = flow.under_way.borrow_mut();
            under_way.messages.push_back(Message { missing: self.traffic.members, sent: Instant::now() });
            under_way.first + under_way.messages.len() as u64 - 1
        };
        let stamp = format!("{:04}{number:012}", self.number);
        let width = self.payload;
        self.client.send(&format!("42[\"msg\",\"room\",\"{stamp:x<width$}\"]")).await
    }
}

/// The publisher of a message, and its number.
fn parse(packet: &[u8]) -> Option<(usize, u64)> {
    let stamp = packet.strip_prefix(b"42[\"msg\",\"")?;
    let (publisher, number) = stamp.get(..16)?.split_at_checked(4)?;
    let decimal = |digits: &[u8]| digits.iter().fold(0, |value, digit| value * 10 + u64::from(digit & 0x0f));
    Some((usize::try_from(decimal(publisher)).ok()?, decimal(number)))
}

const WARM_UP: Duration = Duration::from_secs(1);

/// After this time without a delivery the rest counts as lost.
const SETTLE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_says_who_sent_it_and_which_it_is() {
        assert_eq!(parse(br#"42["msg","0003000000000712xxxx"]"#), Some((3, 712)));
        for other in [&b"2"[..], br#"42["msg","short"]"#, br#"42["direct","0003000000000712"]"#] {
            assert_eq!(parse(other), None);
        }
    }

    #[test]
    fn a_message_is_under_way_until_every_member_has_it() {
        let traffic = Traffic::new(1, 2, true);
        let now = Instant::now();
        traffic.flows[0]
            .under_way
            .borrow_mut()
            .messages
            .extend([2, 2].map(|missing| Message { missing, sent: now }));
        for (number, missing) in [(1, 3), (0, 2), (1, 1), (0, 0), (0, 0)] {
            traffic.deliver(0, number, now);
            assert_eq!(traffic.missing(), missing);
        }
        assert_eq!(traffic.delivered.get(), 5);
    }
}
