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
    if let Some(bytes) = resident_bytes() {
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

fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
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
        assert!(resident_bytes().is_some_and(|bytes| bytes > 1 << 20));
        assert!(cpu_seconds().is_some() && open_files() > Some(2) && most_files() > Some(10));
    }
}
