//! What the process uses of its machine, under the names that all clients of Prometheus use; on Linux, where `/proc` tells.

use std::fmt;

use super::writer::Metrics;

/// Processor time, memory and files of this process. Nothing where the system does not tell.
pub(super) fn encode(metrics: &mut Metrics<'_>) -> fmt::Result {
    if let Some(seconds) = cpu_seconds() {
        metrics.counters(
            "process_cpu_seconds_total",
            "Processor time of the process so far, user and system",
            [([], seconds)],
        )?;
    }
    if let Some(seconds) = started() {
        metrics.gauges(
            "process_start_time_seconds",
            "When the process started, in seconds since 1970",
            [([], seconds)],
        )?;
    }
    if let Some(bytes) = memory("VmSize:") {
        metrics.gauges("process_virtual_memory_bytes", "Virtual memory of the process", [([], bytes)])?;
    }
    if let Some(bytes) = memory("VmRSS:") {
        metrics.gauges("process_resident_memory_bytes", "Resident memory of the process", [([], bytes)])?;
    }
    if let Some(files) = open_files() {
        metrics.gauges("process_open_fds", "Files that the process has open", [([], files)])?;
    }
    if let Some(files) = most_files() {
        metrics.gauges("process_max_fds", "Files that the process may have open", [([], files)])?;
    }
    Ok(())
}

fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name may contain anything, also spaces and parentheses.
    let (_, fields) = stat.rsplit_once(") ")?;
    let ticks: u32 = fields.split(' ').skip(11).take(2).filter_map(|ticks| ticks.parse::<u32>().ok()).sum();
    Some(f64::from(ticks) / TICKS)
}

/// The seconds from 1970 to the start of the machine, and from there to that of the process.
fn started() -> Option<f64> {
    let machine = std::fs::read_to_string("/proc/stat").ok()?;
    let machine: u32 = machine.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let (_, fields) = stat.rsplit_once(") ")?;
    let ticks: f64 = fields.split(' ').nth(19)?.parse().ok()?;
    Some(f64::from(machine) + ticks / TICKS)
}

fn memory(kind: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(kind))?;
    line.trim().trim_end_matches(" kB").parse::<u64>().ok().map(|kib| kib * 1024)
}

fn open_files() -> Option<usize> {
    Some(std::fs::read_dir("/proc/self/fd").ok()?.count())
}

fn most_files() -> Option<u64> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Linux reports times to programs in hundredths of a second on every architecture.
const TICKS: f64 = 100.;

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn linux_tells_what_this_process_uses() {
        assert!(
            memory("VmRSS:").is_some_and(|bytes| bytes > 1 << 20) && memory("VmSize:") > memory("VmRSS:")
        );
        assert!(started().is_some_and(|seconds| seconds > 1.6e9), "{:?}", started());
        assert!(cpu_seconds().is_some() && open_files() > Some(2) && most_files() > Some(10));
    }
}
