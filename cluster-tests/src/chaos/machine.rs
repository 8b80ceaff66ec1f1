//! What can be done to the machine of one process: its share of the processor, and its clock.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A share of the processor for one process (control groups, version 1). Dropping it ends the group.
#[derive(Debug)]
pub struct Quota(PathBuf);

impl Quota {
    /// Gives a process at most this share of one core, in percent.
    ///
    /// # Errors
    /// The machine has no such control group.
    pub fn set(pid: u32, percent: u32) -> io::Result<Self> {
        let group = Path::new(CPU_GROUPS).join(format!("smchaos{pid}"));
        fs::create_dir(&group)?;
        let quota = Self(group);
        fs::write(quota.0.join("cpu.cfs_period_us"), "100000")?;
        fs::write(quota.0.join("cpu.cfs_quota_us"), (percent * 1000).to_string())?;
        fs::write(quota.0.join("cgroup.procs"), pid.to_string())?;
        Ok(quota)
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        // What is still in there moves to the group above, which has no limit.
        let processes = fs::read_to_string(self.0.join("cgroup.procs")).unwrap_or_default();
        for process in processes.lines() {
            fs::write(Path::new(CPU_GROUPS).join("cgroup.procs"), process).ok();
        }
        fs::remove_dir(&self.0).ok();
    }
}

/// The wall clocks of nodes, each of which a file moves (libfaketime).
#[derive(Debug)]
pub struct Clocks {
    folder: PathBuf,
    library: PathBuf,
}

impl Clocks {
    /// # Errors
    /// The library is not installed.
    pub fn new(folder: PathBuf) -> io::Result<Self> {
        let mut candidates = fs::read_dir("/usr/lib")?.flatten().map(|entry| entry.path().join(FAKETIME));
        let library = candidates.find(|path| path.exists());
        let library = library.ok_or_else(|| {
            io::Error::new(io::ErrorKind::NotFound, "libfaketime is not installed (apt-get install faketime)")
        })?;
        fs::create_dir_all(&folder)?;
        Ok(Self { folder, library })
    }

    /// What a node needs so that its clock can be moved.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn environment(&self, number: usize) -> io::Result<Vec<(&'static str, String)>> {
        self.jump(number, 0)?;
        let path = |path: &Path| path.display().to_string();
        Ok(vec![
            ("LD_PRELOAD", path(&self.library)),
            ("FAKETIME_TIMESTAMP_FILE", path(&self.file(number))),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            // Only the wall clock jumps in reality.
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ])
    }

    /// Sets a node's clock that many seconds ahead of the true time.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn jump(&self, number: usize, seconds: i64) -> io::Result<()> {
        fs::write(self.file(number), format!("{seconds:+}\n"))
    }

    fn file(&self, number: usize) -> PathBuf {
        self.folder.join(format!("clock-{number}"))
    }
}

impl Drop for Clocks {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.folder).ok();
    }
}

const CPU_GROUPS: &str = "/sys/fs/cgroup/cpu";
const FAKETIME: &str = "faketime/libfaketimeMT.so.1";
