//! A machine in namespaces of its own: another network, other processes, this machine's disk without writing to it, and a systemd.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use super::tools::{complaint, folder, output};

/// A machine that runs; dropping it ends everything on it.
#[derive(Debug)]
pub(crate) struct Machine {
    /// The folder that is `/mnt` there.
    pub(crate) shared: PathBuf,
    /// The first process, as this machine counts them.
    init: u32,
    _namespaces: Child,
}

impl Machine {
    /// Boots a machine, and waits until it has.
    pub(crate) async fn boot() -> Self {
        let shared = Path::new(env!("CARGO_TARGET_TMPDIR")).join("machine");
        fs::remove_dir_all(&shared).ok();
        fs::create_dir_all(&shared).expect("a folder");
        let mut unshare = Command::new("unshare");
        unshare.args(["--mount", "--pid", "--uts", "--ipc", "--cgroup", "--net", "--fork", "--kill-child"]);
        unshare.arg(folder().join("boot.sh")).arg(&shared);
        let log = fs::File::create(shared.join("console")).expect("a file");
        unshare.stdin(Stdio::null()).stdout(log.try_clone().expect("a file")).stderr(log).kill_on_drop(true);
        let namespaces = unshare.spawn().expect("unshare is there");
        let id = namespaces.id().expect("it runs");
        let mut machine = Self { shared, init: 0, _namespaces: namespaces };
        let booted = async {
            while machine.init == 0 || machine.complaint("systemctl is-system-running").await.is_some() {
                machine.init = child_of(id).unwrap_or_default();
                sleep(Duration::from_millis(50)).await;
            }
        };
        if timeout(PATIENCE, booted).await.is_err() {
            let console = fs::read_to_string(machine.shared.join("console"));
            panic!(
                "the machine did not boot within {PATIENCE:?}; it needs root and systemd:\n{}",
                console.unwrap_or_default()
            );
        }
        machine
    }

    /// What a command line of the shell prints there that ends well.
    pub(crate) async fn run(&self, line: &str) -> String {
        let ended = patiently(line, self.shell(line).output()).await.expect("nsenter is there");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if !ended.status.success() {
            let journal =
                self.shell("journalctl --no-pager --lines 40 --identifier socketmesh --identifier systemd");
            let journal = output(&mut { journal }).await;
            panic!("{line}: {}\n{}\n{}\n{journal}", ended.status, text(&ended.stdout), text(&ended.stderr));
        }
        text(&ended.stdout)
    }

    /// Whether a command line fails there, and what it complains about.
    pub(crate) async fn complaint(&self, line: &str) -> Option<String> {
        complaint(&mut self.shell(line)).await
    }

    /// Waits until a command line ends well.
    pub(crate) async fn until(&self, line: &str) {
        let well = async {
            while self.complaint(line).await.is_some() {
                sleep(Duration::from_millis(50)).await;
            }
        };
        patiently(line, well).await;
    }

    fn shell(&self, line: &str) -> Command {
        let mut shell = Command::new("nsenter");
        shell.arg(format!("--target={}", self.init));
        shell.args(["--mount", "--pid", "--uts", "--ipc", "--cgroup", "--net", "--wd=/"]);
        shell.args(["env", "-i", PATH, "DEBIAN_FRONTEND=noninteractive", "sh", "-c", line]);
        shell
    }
}

async fn patiently<T>(line: &str, future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.unwrap_or_else(|_late| panic!("waited {PATIENCE:?} for {line}"))
}

fn child_of(process: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{process}/task/{process}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

const PATH: &str = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";
/// Many times longer than anything takes, a package to be unpacked and a node to stop and start again included.
const PATIENCE: Duration = Duration::from_secs(60);
