//! What processes use of the machine, read from `/proc` (proc(5)), so on Linux only.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Processor time of a process since it began, all threads, user and system.
///
/// # Errors
/// The process is gone.
pub fn cpu(pid: u32) -> io::Result<Duration> {
    spent(&format!("/proc/{pid}/stat"))
}

/// The calling thread, as [`thread_cpu`] wants it.
///
/// # Errors
/// There is no `/proc`.
pub fn this_thread() -> io::Result<PathBuf> {
    fs::read_link("/proc/thread-self")
}

/// Processor time of a thread.
///
/// # Errors
/// The thread is gone.
pub fn thread_cpu(thread: &Path) -> io::Result<Duration> {
    spent(&format!("/proc/{}/stat", thread.display()))
}

fn spent(stat: &str) -> io::Result<Duration> {
    let stat = fs::read_to_string(stat)?;
    // The name may contain anything, also spaces and parentheses.
    let fields = stat.rsplit_once(") ").map(|(_, fields)| fields).unwrap_or_default();
    let ticks: u64 = fields.split(' ').skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    Ok(TICK * u32::try_from(ticks).unwrap_or(u32::MAX))
}

/// Resident memory of a process in bytes.
///
/// # Errors
/// The process is gone.
pub fn resident(pid: u32) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().map_err(io::Error::other)?;
    Ok(kib * 1024)
}

/// Processor time spent by the whole machine.
///
/// # Errors
/// There is no `/proc`.
pub fn busy() -> io::Result<Duration> {
    let stat = fs::read_to_string("/proc/stat")?;
    let ticks = stat.lines().next().unwrap_or_default().split_whitespace().skip(1);
    let ticks: Vec<u64> = ticks.filter_map(|ticks| ticks.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal; guests are counted in user.
    let spent = |index: &usize| ticks.get(*index).copied().unwrap_or_default();
    let ticks = [0, 1, 2, 5, 6].iter().map(spent).sum::<u64>();
    Ok(TICK * u32::try_from(ticks).unwrap_or(u32::MAX))
}

/// Lets this process, and those that it starts, open as many files as the system allows it to, and says how many these are.
///
/// # Errors
/// The system refuses.
#[cfg(target_os = "linux")]
pub fn allow_open_files() -> io::Result<usize> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    Ok(maximum.map_or(usize::MAX, |maximum| usize::try_from(maximum).unwrap_or(usize::MAX)))
}

/// On other systems it is known when they refuse.
///
/// # Errors
/// None.
#[cfg(not(target_os = "linux"))]
pub fn allow_open_files() -> io::Result<usize> {
    Ok(usize::MAX)
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
        assert!(allow_open_files().unwrap() > 10);
        assert!(cpu(me).unwrap() <= busy().unwrap());
        assert!(thread_cpu(&this_thread().unwrap()).unwrap() <= cpu(me).unwrap());
        assert!(cpu(0).is_err());
    }
}
