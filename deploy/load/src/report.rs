//! The figures of a run.

use std::fmt;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// What a run has found.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// What the clients did.
    pub scenario: String,
    /// Where they connected.
    pub servers: Vec<String>,
    /// How long the measurement took.
    pub seconds: f64,
    /// What became of connections.
    pub connections: Connections,
    /// What became of messages; `None` where none are sent.
    pub deliveries: Option<Deliveries>,
    /// What the watched processes used.
    pub processes: Vec<Process>,
    /// Processor time of all watched processes, in microseconds, for each connection.
    pub cpu_per_connection: Option<f64>,
    /// The same for each delivery.
    pub cpu_per_delivery: Option<f64>,
    /// Memory that the watched processes took, in KiB, for each connection.
    pub memory_per_connection: Option<f64>,
    /// What the generator itself did.
    pub generator: Generator,
    /// What is wrong with the figures, or with the servers.
    pub warnings: Vec<String>,
}

/// Connections.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Connections {
    /// Those that came about.
    pub connected: u64,
    /// Those that did not.
    pub failed: u64,
    /// Those that ended before the run did.
    pub disconnected: u64,
    /// How many came about in a second.
    pub per_second: f64,
    /// How long each took, until the client had joined the namespace.
    pub durations: Percentiles,
}

/// Messages. What is counted for a second is counted in the measurement, all else in the whole run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Deliveries {
    /// Messages sent in a second.
    pub sent_per_second: f64,
    /// Deliveries, or acknowledgements, in a second.
    pub per_second: f64,
    /// How many there should have been.
    pub expected: u64,
    /// How many there were.
    pub delivered: u64,
    /// How many are missing.
    pub lost: u64,
    /// Deliveries with a number that is not higher than the one before, from the same sender to the same receiver.
    pub out_of_order: u64,
    /// How long those took that reached a client at the address of the sender; or whole round trips, where the server
    /// acknowledges.
    pub same_server: Percentiles,
    /// How long the others took.
    pub other_servers: Percentiles,
}

/// A watched process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Process {
    /// Its name.
    pub name: String,
    /// Processor time in the measurement, in percent of a core.
    pub cpu: f64,
    /// Memory before the first client came, in MiB.
    pub memory_before: f64,
    /// Memory at the end of the measurement, in MiB.
    pub memory: f64,
}

/// The generator.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Generator {
    /// Processor time for each delivery, or connection, in microseconds.
    pub cpu_per_operation: f64,
    /// How busy each thread was, in percent.
    pub threads: Vec<f64>,
    /// How much later messages were sent than they were to be, at a fixed rate. It is part of the durations.
    pub late: Percentiles,
    /// Processor time of everything else on this machine, in percent of a core.
    pub others_cpu: f64,
}

/// Durations in milliseconds; all 0 where there are none.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Percentiles {
    /// How many.
    pub count: u64,
    /// Half took no longer.
    pub p50: f64,
    /// 99 of 100 took no longer.
    pub p99: f64,
    /// 999 of 1000 took no longer.
    pub p999: f64,
    /// The longest.
    pub max: f64,
}

impl From<&Histogram<u64>> for Percentiles {
    fn from(nanoseconds: &Histogram<u64>) -> Self {
        let at = |quantile| nanoseconds.value_at_quantile(quantile) as f64 / 1e6;
        match nanoseconds.len() {
            0 => Self::default(),
            count => Self { count, p50: at(0.5), p99: at(0.99), p999: at(0.999), max: at(1.0) },
        }
    }
}

impl fmt::Display for Percentiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { p50, p99, p999, max, .. } = self;
        write!(f, "p50 {p50:.2}   p99 {p99:.2}   p99.9 {p999:.2}   max {max:.2} ms")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut row = |name: &str, value: fmt::Arguments<'_>| writeln!(f, "{name:26} {value}");
        let Connections { connected, failed, disconnected, per_second, durations } = &self.connections;
        row(
            "connections",
            format_args!(
                "{connected}   {failed} failed   {disconnected} lost later   {per_second:.0} per second"
            ),
        )?;
        row("  until joined", format_args!("{durations}"))?;
        if let Some(deliveries) = &self.deliveries {
            let Deliveries { delivered, lost, out_of_order, .. } = deliveries;
            row("deliveries", format_args!("{delivered}   {lost} lost   {out_of_order} out of order"))?;
            let Deliveries { sent_per_second, per_second, same_server, other_servers, .. } = deliveries;
            row("  per second", format_args!("{per_second:.0}   of {sent_per_second:.0} messages"))?;
            for (name, durations) in
                [("  at the same server", same_server), ("  at other servers", other_servers)]
            {
                if durations.count > 0 {
                    row(name, format_args!("{durations}"))?;
                }
            }
        }
        for Process { name, cpu, memory_before, memory } in &self.processes {
            let name = format!("process {name}");
            row(
                &name,
                format_args!("{cpu:.1} % of a core   {memory_before:.1} MiB before, {memory:.1} MiB now"),
            )?;
        }
        for (what, cpu) in [("connection", self.cpu_per_connection), ("delivery", self.cpu_per_delivery)] {
            if let Some(cpu) = cpu {
                row(&format!("processor, per {what}"), format_args!("{cpu:.2} µs"))?;
            }
        }
        if let Some(memory) = self.memory_per_connection {
            row("memory, per connection", format_args!("{memory:.1} KiB"))?;
        }
        let Generator { cpu_per_operation, threads, late, others_cpu } = &self.generator;
        let threads: Vec<_> = threads.iter().map(|busy| format!("{busy:.0} %")).collect();
        let threads = threads.join(" and ");
        row("generator", format_args!("{cpu_per_operation:.2} µs each   threads busy {threads}"))?;
        if late.count > 0 {
            row("  late", format_args!("{late}"))?;
        }
        row("everything else", format_args!("{others_cpu:.0} % of a core"))?;
        self.warnings.iter().try_for_each(|warning| writeln!(f, "warning: {warning}"))
    }
}
