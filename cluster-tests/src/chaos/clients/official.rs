//! The official JavaScript client, over polling, over WebSocket, and upgrading, through load balancers: a process that
//! reports what it does (`cluster-tests/interop/chaos.mjs`).

use std::collections::HashMap;
use std::io;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{ALL, Pace};
use crate::chaos::history::{ClientLife, Recorder, Target};
use crate::chaos::process::number_of;
use crate::interop;

/// The lives of nodes by the ids of their processes.
pub type Processes = Arc<Mutex<HashMap<u64, usize>>>;

/// The running process; dropping it ends it.
#[derive(Debug)]
pub struct Official {
    _process: Child,
    orders: ChildStdin,
    _following: JoinSet<()>,
}

/// What turns its lines into records.
struct Reader {
    recorder: Recorder,
    processes: Processes,
    /// Their clock when that of the run was 0, and how wrong that may be.
    epoch: i64,
    skew: Duration,
    clients: HashMap<String, usize>,
    /// Why connections ended, for people.
    ends: Arc<Mutex<Vec<(Duration, String)>>>,
}

impl Official {
    /// Starts three clients for each of these balancers, in the network of the calling thread. The ends of their connections
    /// are noted in `ends`.
    ///
    /// # Errors
    /// Node.js is missing, or the script does not start.
    pub async fn start(
        balancers: &[String],
        recorder: &Recorder,
        processes: &Processes,
        ends: &Arc<Mutex<Vec<(Duration, String)>>>,
    ) -> io::Result<Self> {
        let mut command = Command::new("node");
        command.arg("chaos.mjs").args(balancers).current_dir(interop::package());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn()?;
        let closed = || io::Error::other("the official clients have no pipes");
        let mut orders = process.stdin.take().ok_or_else(closed)?;
        let mut lines = BufReader::new(process.stdout.take().ok_or_else(closed)?).lines();
        let (epoch, skew) = compare_clocks(&mut orders, &mut lines, recorder).await?;
        orders.write_all(b"start\n").await?;
        let reader = Reader {
            recorder: recorder.clone(),
            processes: Arc::clone(processes),
            epoch,
            skew,
            clients: HashMap::new(),
            ends: Arc::clone(ends),
        };
        let mut following = JoinSet::new();
        following.spawn(reader.follow(lines));
        Ok(Self { _process: process, orders, _following: following })
    }

    /// Tells the clients what to do.
    ///
    /// # Errors
    /// The process has ended.
    pub async fn set(&mut self, pace: Pace) -> io::Result<()> {
        let order = match pace.every {
            Some(every) => format!("talk {}\n", every.as_millis().max(50)),
            None => "quiet\n".to_owned(),
        };
        self.orders.write_all(order.as_bytes()).await
    }
}

/// Asks for the time until the answer comes quickly.
async fn compare_clocks(
    orders: &mut ChildStdin,
    lines: &mut Lines<BufReader<ChildStdout>>,
    recorder: &Recorder,
) -> io::Result<(i64, Duration)> {
    let mut best: Option<(i64, Duration)> = None;
    for _ in 0..QUESTIONS {
        let asked = recorder.now();
        orders.write_all(b"clock\n").await?;
        let answer = async {
            while let Some(line) = lines.next_line().await? {
                if let Ok((time, what)) = serde_json::from_str::<(i64, String)>(&line)
                    && what == "clock"
                {
                    return Ok(time);
                }
            }
            Err(io::Error::other("the official clients ended"))
        };
        let theirs = timeout(START, answer).await.map_err(io::Error::other)??;
        let answered = recorder.now();
        let skew = answered - asked;
        if best.is_none_or(|(_, before)| skew < before) {
            best = Some((theirs - micros(asked + skew / 2), skew));
        }
    }
    best.ok_or_else(|| io::Error::other("no clock"))
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

impl Reader {
    async fn follow(mut self, mut lines: Lines<BufReader<ChildStdout>>) {
        while let Ok(Some(line)) = lines.next_line().await {
            self.record(&Line(serde_json::from_str(&line).unwrap_or_default()));
        }
    }

    fn record(&mut self, line: &Line) {
        let at = line.time(self.epoch);
        let (what, name) = (line.text(1), line.text(2));
        if what == "connect" {
            let process = line.number(3).unwrap_or_default();
            let node = self.processes.lock().unwrap_or_else(PoisonError::into_inner).get(&process).copied();
            // It may come from a process that nobody knows any more.
            let Some(node) = node else { return };
            let life =
                ClientLife { resident: false, skew: self.skew, ..ClientLife::new(name.to_owned(), node, at) };
            self.clients.insert(name.to_owned(), self.recorder.admit(life));
            return;
        }
        let Some(client) = self.clients.get(name).copied() else { return };
        if what == "got" {
            let number = line.size(4).filter(|_| line.is_true(5));
            self.recorder.receive(client, number.map(|number| (line.text(3).to_owned(), number)), at);
            return;
        }
        if what == "end" {
            let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
            ends.push((at, format!("{name} lost its connection: {}", line.text(3))));
        }
        self.recorder.client(client, |life, _| match what {
            "join" => life.join(ALL, at),
            "joined" => life.joined(ALL, line.nodes(3), at),
            "emit" => _ = life.emit(Target::Room(ALL.to_owned()), at),
            "done" => life.confirmed(line.size(3).unwrap_or(usize::MAX), at),
            "end" => life.ended = Some(at),
            _ => {}
        });
    }
}

/// One line of the process: its time, what happened, and more.
struct Line(Vec<Value>);

impl Line {
    fn time(&self, epoch: i64) -> Duration {
        let micros = self.0.first().and_then(Value::as_i64).map(|time| time - epoch);
        Duration::from_micros(micros.and_then(|micros| u64::try_from(micros).ok()).unwrap_or_default())
    }

    fn text(&self, at: usize) -> &str {
        self.0.get(at).and_then(Value::as_str).unwrap_or_default()
    }

    fn number(&self, at: usize) -> Option<u64> {
        self.0.get(at).and_then(Value::as_u64)
    }

    fn size(&self, at: usize) -> Option<usize> {
        self.number(at).and_then(|number| usize::try_from(number).ok())
    }

    fn is_true(&self, at: usize) -> bool {
        self.0.get(at).and_then(Value::as_bool).unwrap_or_default()
    }

    /// The numbers of the nodes with these names.
    fn nodes(&self, at: usize) -> Vec<usize> {
        let names = self.0.get(at).and_then(Value::as_array).into_iter().flatten();
        names.filter_map(Value::as_str).filter_map(number_of).collect()
    }
}

/// How often the clocks are compared.
const QUESTIONS: usize = 10;
/// How long the start of Node.js may take.
const START: Duration = Duration::from_secs(20);
