//! The phases of a run, and what is read at their ends.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::watch;

use crate::clock::Clock;
use crate::machine;
use crate::options::{Common, Scenario, Transport, Watched};
use crate::plan::Plan;
use crate::report::{Connections, Deliveries, Generator, Percentiles, Process, Report};
use crate::shared::{Phase, Shared};
use crate::traffic::{Durations, Traffic};
use crate::worker::work;

/// Runs a scenario. It blocks the calling thread until the end.
///
/// # Errors
/// Nobody can connect, a watched process is gone, or this process may not open files enough.
pub fn run(scenario: &Scenario) -> io::Result<Report> {
    let mut plan = Plan::new(scenario).map_err(|why| io::Error::new(io::ErrorKind::InvalidInput, why))?;
    let common = Arc::new(scenario.common().clone());
    let (needed, allowed) = (files_of(&common, plan.clients.len()), machine::allow_open_files()?);
    if needed > allowed {
        let why = format!(
            "{needed} files are needed, and this process may open {allowed}: raise `ulimit -Hn`, or use less clients"
        );
        return Err(io::Error::other(why));
    }
    let clock = Clock::start();
    let shared = Arc::new(Shared {
        scenario: scenario.clone(),
        common: Arc::clone(&common),
        traffic: Traffic::new(&plan, common.threads.into()),
        sources: std::mem::take(&mut plan.sources),
        clock,
        rooms: format!("load-{:x}-", std::process::id() as u64 ^ nonce()),
    });
    let stays = !matches!(scenario, Scenario::Storm(_));
    let wanted = if stays { plan.clients.len() as u64 } else { 0 };
    let (phase, watching) = watch::channel(Phase::Connecting);
    let nothing = Sample::take(&shared, &[])?;
    let mut threads = Threads::start(plan, &shared, &watching)?;

    // However it ends, the threads do.
    let measured = measure(&shared, &phase, wanted, &threads.names, nothing);
    phase.send_replace(Phase::Ended);
    let durations = threads.join()?;
    Ok(measured?.report(&shared, &durations))
}

/// Whoever draws two of them draws different ones.
fn nonce() -> u64 {
    use std::hash::{BuildHasher as _, RandomState};
    RandomState::new().hash_one(0)
}

struct Threads {
    running: Vec<JoinHandle<io::Result<Durations>>>,
    /// As `machine` knows them.
    names: Vec<PathBuf>,
}

impl Threads {
    fn start(plan: Plan, shared: &Arc<Shared>, phase: &watch::Receiver<Phase>) -> io::Result<Self> {
        let (named, names) = mpsc::channel();
        let mut running = Vec::new();
        for (number, counts) in shared.traffic.counts.iter().enumerate() {
            let clients = plan.clients.iter().filter(|client| client.thread == number).copied().collect();
            let (shared, counts, phase, named) =
                (Arc::clone(shared), Arc::clone(counts), phase.clone(), named.clone());
            let thread = thread::Builder::new().name(format!("load-{number}"));
            running.push(thread.spawn(move || {
                // Without `/proc` nothing is said of threads.
                machine::this_thread().map(|name| named.send(name)).map(drop).ok();
                drop(named);
                work(clients, shared, counts, phase)
            })?);
        }
        drop(named);
        Ok(Self { running, names: names.iter().collect() })
    }

    fn join(&mut self) -> io::Result<Durations> {
        let mut all = Durations::default();
        for thread in self.running.drain(..) {
            let durations =
                thread.join().map_err(|_panic| io::Error::other("a thread of the generator panicked"))?;
            all.add(&durations?);
        }
        Ok(all)
    }
}

/// Everything that is read of the machine and the counters at one time.
struct Sample {
    at: Duration,
    processes: Vec<(Duration, u64)>,
    threads: Vec<Duration>,
    own: Duration,
    machine: Duration,
    connected: u64,
    sent: u64,
    delivered: u64,
}

impl Sample {
    fn take(shared: &Shared, threads: &[PathBuf]) -> io::Result<Self> {
        let process = |Watched { name, pid }: &Watched| {
            let gone = |error| io::Error::other(format!("the process {name} cannot be watched: {error}"));
            Ok((machine::cpu(*pid).map_err(gone)?, machine::resident(*pid).map_err(gone)?))
        };
        let traffic = &shared.traffic;
        Ok(Self {
            at: Duration::from_nanos(shared.clock.now()),
            processes: shared.common.pid.iter().map(process).collect::<io::Result<_>>()?,
            threads: threads.iter().map(|name| machine::thread_cpu(name).unwrap_or_default()).collect(),
            own: machine::cpu(std::process::id()).unwrap_or_default(),
            machine: machine::busy().unwrap_or_default(),
            connected: traffic.total(|counts| &counts.connected),
            sent: traffic.sum(|flow| &flow.sent),
            delivered: traffic.total(|counts| &counts.delivered),
        })
    }

    fn cpu(&self) -> Duration {
        self.processes.iter().map(|(cpu, _)| *cpu).sum()
    }

    fn memory(&self) -> f64 {
        self.processes.iter().map(|(_, memory)| *memory as f64).sum()
    }
}

/// The samples of a run.
struct Measured {
    nothing: Sample,
    connected: Sample,
    began: Sample,
    ended: Sample,
}

fn measure(
    shared: &Shared,
    phase: &watch::Sender<Phase>,
    wanted: u64,
    threads: &[PathBuf],
    nothing: Sample,
) -> io::Result<Measured> {
    let traffic = &shared.traffic;
    let settled = || traffic.total(|counts| &counts.connected) + traffic.total(|counts| &counts.failed);
    while settled() < wanted {
        thread::sleep(TICK);
    }
    let connected = Sample::take(shared, threads)?;
    if wanted > 0 && connected.connected == 0 {
        return Err(io::Error::other(traffic.problem().unwrap_or_default()));
    }
    phase.send_replace(Phase::Sending);
    thread::sleep(Duration::from_secs_f64(shared.common.warm_up.max(0.)));
    let began = Sample::take(shared, threads)?;
    traffic.from.store(shared.clock.now(), Relaxed);
    thread::sleep(Duration::from_secs_f64(shared.common.seconds.max(0.)));
    traffic.until.store(shared.clock.now(), Relaxed);
    let ended = Sample::take(shared, threads)?;
    phase.send_replace(Phase::Draining);
    drain(traffic);
    Ok(Measured { nothing, connected, began, ended })
}

/// Waits until everything has arrived, or nothing arrives any more.
fn drain(traffic: &Traffic) {
    let (mut before, mut silent) = (u64::MAX, Duration::ZERO);
    loop {
        let delivered = traffic.total(|counts| &counts.delivered);
        let is_all = delivered >= traffic.sum(|flow| &flow.expected);
        // What was just sent, or comes twice, comes within a tick.
        if delivered == before && (is_all || silent >= SILENCE) {
            return;
        }
        silent = if delivered == before { silent + TICK } else { Duration::ZERO };
        before = delivered;
        thread::sleep(TICK);
    }
}

impl Measured {
    fn report(self, shared: &Shared, durations: &Durations) -> Report {
        let Self { nothing, connected, began, ended } = self;
        let (traffic, common) = (&shared.traffic, &shared.common);
        let seconds = (ended.at - began.at).as_secs_f64();
        let is_storm = matches!(shared.scenario, Scenario::Storm(_));
        let (first, last) = if is_storm { (&began, &ended) } else { (&nothing, &connected) };
        let connections = Connections {
            connected: traffic.total(|counts| &counts.connected),
            failed: traffic.total(|counts| &counts.failed),
            disconnected: traffic.total(|counts| &counts.disconnected),
            per_second: per((last.connected - first.connected) as f64, (last.at - first.at).as_secs_f64()),
            durations: Percentiles::from(&durations.connect),
        };
        let deliveries = shared.scenario.pace().map(|_| {
            let (expected, delivered) =
                (traffic.sum(|flow| &flow.expected), traffic.total(|counts| &counts.delivered));
            Deliveries {
                sent_per_second: (ended.sent - began.sent) as f64 / seconds,
                per_second: (ended.delivered - began.delivered) as f64 / seconds,
                expected,
                delivered,
                lost: expected.saturating_sub(delivered),
                out_of_order: traffic.total(|counts| &counts.out_of_order),
                same_server: Percentiles::from(&durations.same),
                other_servers: Percentiles::from(&durations.other),
            }
        });
        let connecting = (last.connected - first.connected) as f64;
        let delivered = (ended.delivered - began.delivered) as f64;
        let watched = !common.pid.is_empty();
        let micros = |time: Duration, count: f64| per(time.as_secs_f64() * 1e6, count);
        let memory_each = per(ended.memory() - nothing.memory(), connected.connected as f64) / 1024.;
        let mut report = Report {
            scenario: shared.scenario.name().to_owned(),
            servers: common.servers.iter().map(|server| server.host.clone()).collect(),
            seconds,
            cpu_per_connection: (watched && connecting > 0.)
                .then(|| micros(last.cpu().saturating_sub(first.cpu()), connecting)),
            cpu_per_delivery: (watched && deliveries.is_some())
                .then(|| micros(ended.cpu().saturating_sub(began.cpu()), delivered)),
            memory_per_connection: (watched && !is_storm && connecting > 0.).then_some(memory_each),
            processes: processes(&common.pid, &nothing, &began, &ended),
            generator: generator(&began, &ended, durations, if is_storm { connecting } else { delivered }),
            connections,
            deliveries,
            warnings: Vec::new(),
        };
        report.warnings = warnings(&report, traffic.problem());
        report
    }
}

fn processes(watched: &[Watched], nothing: &Sample, began: &Sample, ended: &Sample) -> Vec<Process> {
    let mebibytes = |bytes: u64| bytes as f64 / 1024. / 1024.;
    let samples = nothing.processes.iter().zip(&began.processes).zip(&ended.processes);
    let all = watched.iter().zip(samples);
    let elapsed = ended.at.saturating_sub(began.at);
    all.map(|(Watched { name, .. }, ((before, first), last))| Process {
        name: name.clone(),
        cpu: share(last.0.saturating_sub(first.0), elapsed),
        memory_before: mebibytes(before.1),
        memory: mebibytes(last.1),
    })
    .collect()
}

fn generator(began: &Sample, ended: &Sample, durations: &Durations, operations: f64) -> Generator {
    let elapsed = ended.at.saturating_sub(began.at);
    let own = ended.own.saturating_sub(began.own);
    let threads = began.threads.iter().zip(&ended.threads);
    let known = ended.cpu().saturating_sub(began.cpu()) + own;
    Generator {
        cpu_per_operation: per(own.as_secs_f64() * 1e6, operations),
        threads: threads.map(|(began, ended)| share(ended.saturating_sub(*began), elapsed)).collect(),
        late: Percentiles::from(&durations.late),
        others_cpu: share(ended.machine.saturating_sub(began.machine + known), elapsed),
    }
}

fn warnings(report: &Report, problem: Option<String>) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Some(busiest) =
        report.generator.threads.iter().copied().reduce(f64::max).filter(|busy| *busy > BUSY)
    {
        warnings.push(format!(
            "a thread of the generator was busy for {busiest:.0} % of the time, so the figures may be its own: use more --threads"
        ));
    }
    if let Some(Deliveries { lost, out_of_order, delivered, expected, .. }) = &report.deliveries {
        if *lost > 0 {
            warnings.push(format!("{lost} of {expected} deliveries are missing"));
        }
        if *out_of_order > 0 || delivered > expected {
            warnings.push(format!("{out_of_order} of {delivered} deliveries were out of order or doubled"));
        }
    }
    let Connections { failed, disconnected, .. } = report.connections;
    if failed + disconnected > 0 {
        warnings.push(format!("{failed} clients could not connect, {disconnected} were disconnected"));
    }
    warnings.extend(problem);
    warnings
}

/// In percent.
fn share(part: Duration, whole: Duration) -> f64 {
    100. * per(part.as_secs_f64(), whole.as_secs_f64())
}

fn per(total: f64, count: f64) -> f64 {
    if count > 0. { total / count } else { 0. }
}

/// A client has one connection, or over polling two to each address.
fn files_of(common: &Common, clients: usize) -> usize {
    let each = match (common.transport, common.not_sticky) {
        (Transport::Polling, true) => 2 * common.servers.len(),
        (Transport::Polling, false) => 2,
        (Transport::Websocket | Transport::Upgrade, _) => 1,
    };
    clients * each + common.connecting + SPARE_FILES
}

/// How often the counters are looked at.
const TICK: Duration = Duration::from_millis(10);

/// What has not arrived when nothing has for so long is lost.
const SILENCE: Duration = Duration::from_secs(10);

/// From this share of its time on, in percent, a thread may be what holds everything up.
const BUSY: f64 = 90.;

/// Beside its clients a process has these open: runtimes, timers, standard streams.
const SPARE_FILES: usize = 200;
