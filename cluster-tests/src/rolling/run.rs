//! A play: nodes, what stands before them, clients; then the nodes end one after another, and what the clients met is judged.

use std::fmt;
use std::io;
use std::path::Path;
use std::time::Duration;

use clap::ValueEnum as _;
use socketmesh_load::machine;
use tokio::time::{Instant, sleep};

use super::app::{room, room_of_user};
use super::checker::{History, Kind, Millis, Verdict};
use super::clients::{Officials, Plan};
use super::cluster::Cluster;
use super::entrance::Entrance;
use super::milliseconds;
use super::report::{Report, Requirements};
use crate::dice::Dice;

pub use super::entrance::Through;

/// What to play.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// How many nodes.
    #[arg(long, default_value_t = 5)]
    pub nodes: usize,
    /// How many official clients.
    #[arg(long, default_value_t = 500)]
    pub clients: usize,
    /// What stands before the nodes.
    #[arg(long, value_enum, default_value_t = Through::Both)]
    pub through: Through,
    /// What clients use, in turn.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Transport::ALL)]
    pub transports: Vec<Transport>,
    /// How often every node is restarted.
    #[arg(long, default_value_t = 2)]
    pub rounds: usize,
    /// In place of that, nodes are killed without a warning, so many times.
    #[arg(long)]
    pub kill: Option<usize>,
    /// Sessions are recovered. Without that clients come back as fresh sockets.
    #[arg(long, value_enum, default_value_t = Switch::On)]
    pub recovery: Switch,
    /// The time in which a node that stops hands its clients over.
    #[arg(long, default_value = "10s", value_parser = duration)]
    pub drain: Duration,
    /// How long nothing happens before the first end and after the last, and after each kill.
    #[arg(long, default_value = "3s", value_parser = duration)]
    pub calm: Duration,
    /// How long to wait when a node is back before the next one is stopped: load balancers that have noticed that it was away are not
    /// faster. With nginx that is its `fail_timeout`.
    #[arg(long, default_value = "2s", value_parser = duration)]
    pub pause: Duration,
    /// How many messages each node emits in a second.
    #[arg(long, default_value_t = 20)]
    pub rate: u32,
    /// How much longer than promised clients may take to notice and to be back, on a machine that has other work.
    #[arg(long, default_value = "0s", value_parser = duration)]
    pub slack: Duration,
    /// Who joins what, and in which order nodes end, as in that run.
    #[arg(long)]
    pub seed: Option<u64>,
}

/// The transports of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Transport {
    /// HTTP alone.
    Polling,
    /// WebSocket alone.
    Websocket,
    /// From the one to the other, as clients do that say nothing else.
    Both,
}

/// Whether something is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Switch {
    /// It is.
    On,
    /// It is not.
    Off,
}

impl Transport {
    const ALL: [Self; 3] = [Self::Polling, Self::Websocket, Self::Both];

    const fn names(self) -> &'static [&'static str] {
        match self {
            Self::Polling => &["polling"],
            Self::Websocket => &["websocket"],
            Self::Both => &["polling", "websocket"],
        }
    }
}

/// Plays, with nodes of this executable. `say` is told what happens.
///
/// # Errors
/// Something that is needed is missing, or a node did not stop in good order.
///
/// # Panics
/// A node does not become ready, or nginx does not start.
pub async fn run(options: &Options, binary: &Path, mut say: impl FnMut(&str)) -> io::Result<Report> {
    let began = milliseconds();
    let seed = options.seed.unwrap_or_else(Dice::fresh_seed);
    let mut dice = Dice::new(seed);
    let again = options.repeated(seed);
    say(&again);
    machine::allow_open_files()?;
    let mut cluster = Cluster::start(binary, options.nodes, &options.of_nodes()).await;
    let entrance = Entrance::start(options.through, cluster.addresses()).await?;
    let mut clients = Officials::start(&plans(options, &entrance, &mut dice), seed).await?;
    say(&format!("{} clients at {} nodes", options.clients, options.nodes));
    cluster.order("/talk").await?;
    clients.order("talk").await?;
    sleep(options.calm).await;
    match options.kill {
        None => restart_all(options, &mut cluster, &mut dice, &mut say).await?,
        Some(times) => {
            for time in 1..=times {
                let number = dice.below(0..options.nodes);
                say(&format!("kill {time}: node {}", number + 1));
                cluster.kill(number, dice.up_to(DEAD)).await?;
                all_back(options, &mut clients).await?;
                sleep(options.calm).await;
            }
        }
    }
    sleep(options.calm).await;
    all_back(options, &mut clients).await?;
    clients.order("quiet").await?;
    cluster.order("/quiet").await?;
    let verdict = settled(options, &mut cluster, &mut clients).await?;
    let lives = cluster.lives.clone();
    cluster.note_all_refused().await;
    let refused = &cluster.refused;
    let refused = refused.iter().map(|(why, count)| format!("nodes say why not recovered: {why} {count}"));
    let notes = cluster
        .warnings
        .iter()
        .take(NOTES)
        .map(|line| format!("said at its end: {line}"))
        .chain(refused)
        .collect();
    let mut report = Report { rows: Vec::new(), verdict, lives, notes, began, again };
    report.judge(Requirements {
        recovery: options.recovery == Switch::On,
        in_order: options.kill.is_none(),
        balanced: options.through != Through::None,
        slack: options.slack(),
    });
    let ends = cluster.lives.iter().filter(|life| life.ended.is_some()).count();
    report.row(if options.kill.is_some() { "kills" } else { "restarts" }, ends);
    report.notes.extend(
        entrance.statuses().into_iter().map(|(what, count)| format!("nginx answered {what}: {count}")),
    );
    Ok(report)
}

async fn restart_all(
    options: &Options,
    cluster: &mut Cluster,
    dice: &mut Dice,
    say: &mut impl FnMut(&str),
) -> io::Result<()> {
    let mut order: Vec<_> = (0..options.nodes).collect();
    for round in 1..=options.rounds {
        dice.shuffle(&mut order);
        for number in &order {
            let stopped = Instant::now();
            cluster.restart(*number, options.drain + STOP).await?;
            let seconds = stopped.elapsed().as_secs_f64();
            say(&format!("round {round}: node {} is back after {seconds:.1} s", number + 1));
            sleep(options.pause).await;
        }
    }
    Ok(())
}

/// Waits until all clients are connected, if that happens in time.
async fn all_back(options: &Options, clients: &mut Officials) -> io::Result<()> {
    let until = Instant::now() + BACK;
    while clients.connected().await? < options.clients && Instant::now() < until {
        sleep(PAUSE).await;
    }
    Ok(())
}

/// Waits until everything that was emitted has come, if that happens in time.
async fn settled(options: &Options, cluster: &mut Cluster, clients: &mut Officials) -> io::Result<Verdict> {
    let until = Instant::now() + SETTLED;
    loop {
        sleep(PAUSE).await;
        let slack = options.slack();
        let history = |cluster: &Cluster, clients| History { lives: cluster.lives.clone(), clients, slack };
        // What clients said last may be emitted meanwhile: what has come is read before what it is compared with.
        let met = clients.report().await?;
        cluster.order("/emitted").await?;
        let verdict = Verdict::of(&history(cluster, met));
        if verdict.count(Kind::Lost) + verdict.count(Kind::Absent) == 0 || Instant::now() > until {
            return Ok(verdict);
        }
    }
}

/// Every client is a user, and in two rooms of about twenty.
fn plans(options: &Options, entrance: &Entrance, dice: &mut Dice) -> Vec<Plan> {
    let mut plans = Vec::new();
    for user in 0..options.clients {
        let transport = options
            .transports
            .get(user % options.transports.len().max(1))
            .copied()
            .unwrap_or(Transport::Both);
        let first = dice.below(0..options.rooms());
        let second = dice.below(0..options.rooms());
        let mut rooms = vec![room(first), room(second), room_of_user(user)];
        rooms.dedup();
        // Each transport is used through each entrance.
        let urls = entrance.urls(user / options.transports.len().max(1));
        let name = format!("client {user} ({transport})");
        plans.push(Plan { name, urls, transports: transport.names(), user, rooms });
    }
    plans
}

impl Options {
    const fn rooms(&self) -> usize {
        if self.clients < 20 { 2 } else { self.clients / 10 }
    }

    fn slack(&self) -> Millis {
        Millis::try_from(self.slack.as_millis()).unwrap_or(Millis::MAX)
    }

    /// The arguments of its nodes.
    fn of_nodes(&self) -> Vec<String> {
        let (rooms, users) = (self.rooms(), self.clients);
        let numbers = [("--drain", self.drain.as_millis().to_string()), ("--rate", self.rate.to_string())];
        let sizes = [("--rooms", rooms.to_string()), ("--users", users.to_string())];
        let pairs = numbers.into_iter().chain(sizes).flat_map(|(name, value)| [name.to_owned(), value]);
        let recovery = (self.recovery == Switch::On).then(|| "--recovery".to_owned());
        pairs.chain(recovery).collect()
    }

    /// The command that plays this again.
    fn repeated(&self, seed: u64) -> String {
        let Self {
            nodes,
            clients,
            through,
            transports,
            rounds,
            kill,
            recovery,
            drain,
            calm,
            pause,
            rate,
            slack,
            ..
        } = self;
        let transports: Vec<_> = transports.iter().map(ToString::to_string).collect();
        let ends = kill.map_or_else(|| format!("--rounds {rounds}"), |kills| format!("--kill {kills}"));
        let transports = transports.join(",");
        let [drain, calm, pause, slack] = [drain, calm, pause, slack].map(|time| time.as_secs_f64());
        format!(
            "rolling --nodes {nodes} --clients {clients} --through {through} --transports {transports} {ends} \
             --recovery {recovery} --drain {drain}s --calm {calm}s --pause {pause}s --rate {rate} --slack {slack}s --seed {seed}"
        )
    }
}

macro_rules! shown_as_written {
    ($($name:ident),*) => { $(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.to_possible_value().as_ref().map_or("", |value| value.get_name()))
            }
        }
    )* };
}
shown_as_written!(Transport, Switch, Through);

/// `10s` or `500ms`.
fn duration(said: &str) -> Result<Duration, String> {
    let (number, unit) = match said.strip_suffix("ms") {
        Some(number) => (number, 0.001),
        None => (said.trim_end_matches('s'), 1.0),
    };
    let seconds =
        number.parse::<f64>().ok().and_then(|number| Duration::try_from_secs_f64(number * unit).ok());
    seconds.filter(|_| said.ends_with('s')).ok_or_else(|| "expected a time, such as 500ms or 10s".to_owned())
}

const PAUSE: Duration = Duration::from_millis(200);
/// How long a node may take to stop beside its drain: for handlers, requests and the mesh.
const STOP: Duration = Duration::from_secs(20);
/// How long a killed node is not started again, at most.
const DEAD: Duration = Duration::from_secs(3);
const BACK: Duration = Duration::from_secs(30);
const SETTLED: Duration = Duration::from_secs(15);
/// How much of what nodes said is told.
const NOTES: usize = 20;
