//! What processes use of the machine, read from `/proc` (proc(5)).

use std::fs;
use std::io;
use std::time::Duration;

/// Processor time of a process since it began, all threads, user and system.
pub(crate) fn cpu(pid: u32) -> io::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name may contain anything, also spaces and parentheses.
    let fields = stat.rsplit_once(") ").map(|(_, fields)| fields).unwrap_or_default();
    let ticks: u64 = fields.split(' ').skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    Ok(TICK * u32::try_from(ticks).unwrap_or(u32::MAX))
}

/// Resident memory of a process in bytes.
pub(crate) fn resident(pid: u32) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().map_err(io::Error::other)?;
    Ok(kib * 1024)
}

/// Processor time spent by the whole machine.
pub(crate) fn busy() -> io::Result<Duration> {
    let stat = fs::read_to_string("/proc/stat")?;
    let ticks = stat.lines().next().unwrap_or_default().split_whitespace().skip(1);
    let ticks: Vec<u64> = ticks.filter_map(|ticks| ticks.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal; guests are counted in user.
    let spent = |index: &usize| ticks.get(*index).copied().unwrap_or_default();
    let ticks = [0, 1, 2, 5, 6].iter().map(spent).sum::<u64>();
    Ok(TICK * u32::try_from(ticks).unwrap_or(u32::MAX))
}

/// How many files a process may have open.
pub(crate) fn open_files(pid: u32) -> io::Result<usize> {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits"))?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap_or_default();
    Ok(line.split_whitespace().next().and_then(|limit| limit.parse().ok()).unwrap_or(usize::MAX))
}

/// Linux reports times to programs in hundredths of a second on every architecture.
const TICK: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_files_and_a_share_of_the_processor_time() {
        let me = std::process::id();
        assert!(resident(me).unwrap() > 1 << 20);
        assert!(open_files(me).unwrap() > 10);
        assert!(cpu(me).unwrap() <= busy().unwrap());
        assert!(cpu(0).is_err());
    }
}
