//! Plays one scenario: a network, nodes, clients, what is done to them, and the end, at which all must be well again.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use balancer::Balancer;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::clients::official::{Official, Processes};
use super::clients::resident::Resident;
use super::clients::{Directory, Pace};
use super::history::{Ending, History, Recorder};
use super::machine::{Clocks, Quota};
use super::network::link::Condition;
use super::network::{self, Network};
use super::process::{self, Counted, Launch, Process, Said, name_of};
use super::scenario::{Cast, EVERYBODY, READY, Role, Scenario, Seeds, Step};
use super::services::{NameServer, VirtualAddress};
use crate::dice::Dice;

/// What happened in a play, and what was seen at its end.
#[derive(Debug)]
pub struct Played {
    /// Who played what.
    pub cast: Cast,
    /// What nodes and clients did.
    pub history: History,
    /// What was done to them, and what went wrong meanwhile.
    pub faults: Vec<(Duration, String)>,
    /// What nodes said.
    pub said: Said,
    /// Which connections of official clients ended.
    pub ends: Vec<(Duration, String)>,
    /// What the nodes counted, at the end.
    pub counted: Counted,
    /// What did not become well again.
    pub unwell: Vec<(Duration, String)>,
    /// How many packets arrived, and how many were lost in the network.
    pub packets: (u64, u64),
}

/// Plays a scenario with processes of this fixture. Returns when everything that was started has ended.
///
/// # Errors
/// The machine lacks what the scenario needs.
pub fn play(scenario: &'static Scenario, seed: u64, fixture: &Path) -> io::Result<Played> {
    let fixture = fixture.to_owned();
    // The thread is lost to the network that it enters.
    let playing = thread::Builder::new().name("stage".to_owned()).spawn(move || {
        let inside = scenario.setting.same_address.then_some(INSIDE);
        let network = Network::start(EVERYBODY.len(), inside, seed)?;
        network::enter(&network.space_of_clients())?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async { Stage::prepare(scenario, seed, fixture, network).await?.play().await })
    })?;
    playing.join().unwrap_or_else(|_| Err(io::Error::other("the stage panicked")))
}

/// Everything that takes part.
struct Stage {
    scenario: &'static Scenario,
    cast: Cast,
    dice: Dice,
    fixture: PathBuf,
    /// Indexed by the number of the node. They end before their network.
    nodes: Vec<Option<Process>>,
    impostor: Option<Process>,
    residents: JoinSet<()>,
    official: Option<Official>,
    balancers: Vec<Balancer>,
    name_server: Option<NameServer>,
    _virtual_address: Option<VirtualAddress>,
    clocks: Option<Clocks>,
    quotas: Vec<Quota>,
    network: Network,
    recorder: Recorder,
    said: Said,
    processes: Processes,
    pace: watch::Sender<Pace>,
    directory: Directory,
    faults: Vec<(Duration, String)>,
    unwell: Vec<(Duration, String)>,
    ends: Arc<Mutex<Vec<(Duration, String)>>>,
}

impl Stage {
    async fn prepare(
        scenario: &'static Scenario,
        seed: u64,
        fixture: PathBuf,
        network: Network,
    ) -> io::Result<Self> {
        let mut dice = Dice::new(seed);
        let cast = Cast::new(&mut dice);
        let setting = scenario.setting;
        let name_server = if setting.seeds == Seeds::Name {
            network.set_resolver(network::clients_address().into())?;
            let addresses = (0..EVERYBODY.len()).map(network::mesh_address).collect();
            Some(NameServer::start(network::clients_address(), addresses).await?)
        } else {
            None
        };
        let virtual_address = if setting.seeds == Seeds::Virtual {
            let nodes = (0..EVERYBODY.len()).map(mesh).collect();
            Some(VirtualAddress::start(virtual_address(), nodes, Dice::new(dice.number())).await?)
        } else {
            None
        };
        let folder = std::env::temp_dir().join(format!("{}-clocks", network.space_of_clients()));
        let clocks = if setting.clocks { Some(Clocks::new(folder)?) } else { None };
        Ok(Self {
            scenario,
            cast,
            dice,
            fixture,
            nodes: EVERYBODY.iter().map(|_| None).collect(),
            impostor: None,
            residents: JoinSet::new(),
            official: None,
            balancers: Vec::new(),
            name_server,
            _virtual_address: virtual_address,
            clocks,
            quotas: Vec::new(),
            network,
            recorder: Recorder::new(),
            said: Said::default(),
            processes: Processes::default(),
            pace: watch::Sender::new(Pace::QUIET),
            directory: Directory::default(),
            faults: Vec::new(),
            unwell: Vec::new(),
            ends: Arc::default(),
        })
    }

    async fn play(mut self) -> io::Result<Played> {
        for role in EVERYBODY {
            self.start(*role)?;
        }
        self.become_ready(EVERYBODY).await;
        if self.unwell.is_empty() {
            self.admit_clients().await?;
        }
        // What does not begin well is not disturbed further.
        if self.unwell.is_empty() {
            self.talk(USUAL).await?;
            self.act().await?;
            self.recover().await?;
        }
        self.finish().await
    }

    fn cluster_of(&self, node: usize) -> usize {
        let apart = [Role::D, Role::E].map(|role| self.cast.node(role));
        usize::from(self.scenario.setting.two_clusters && apart.contains(&node))
    }

    fn launch(&self, number: usize) -> io::Result<Launch> {
        let setting = self.scenario.setting;
        let firsts = if setting.two_clusters { EVERYBODY } else { &[Role::A, Role::B] };
        let seeds = match setting.seeds {
            Seeds::Addresses => firsts.iter().map(|role| mesh(self.cast.node(*role)).to_string()).collect(),
            Seeds::Name => vec![format!("mesh.test:{MESH}")],
            Seeds::Virtual => vec![virtual_address().to_string()],
        };
        let anywhere = SocketAddr::from(([0, 0, 0, 0], MESH));
        Ok(Launch {
            binary: self.fixture.clone(),
            space: self.network.space_of(number),
            number,
            http: network::http_address(number),
            mesh: if setting.same_address { anywhere } else { mesh(number) },
            seeds,
            secret: if self.cluster_of(number) == 0 { SECRET } else { OTHER_SECRET },
            environment: match &self.clocks {
                Some(clocks) => clocks.environment(number)?,
                None => Vec::new(),
            },
        })
    }

    fn start(&mut self, role: Role) -> io::Result<()> {
        let number = self.cast.node(role);
        let life = self.recorder.node_started(number, self.cluster_of(number));
        let process = self.launch(number)?.start(life, &self.recorder, &self.said)?;
        let mut processes = self.processes.lock().unwrap_or_else(PoisonError::into_inner);
        processes.insert(process.pid.into(), life);
        drop(processes);
        if let Some(node) = self.nodes.get_mut(number) {
            *node = Some(process);
        }
        Ok(())
    }

    /// Waits until these nodes are ready.
    async fn become_ready(&mut self, roles: &'static [Role]) {
        let deadline = Instant::now() + READY;
        for number in self.cast.nodes(roles) {
            let Some(Some(node)) = self.nodes.get(number) else { continue };
            let ready = timeout(deadline.saturating_duration_since(Instant::now()), node.ready()).await;
            if !matches!(ready, Ok(true)) {
                let what = format!("{} is not ready after {READY:?}", name_of(number));
                self.unwell.push((self.recorder.now(), what));
            }
        }
    }

    async fn admit_clients(&mut self) -> io::Result<()> {
        for number in 0..EVERYBODY.len() {
            for (at, room) in ROOMS.iter().enumerate() {
                let resident = Resident {
                    name: resident_name(number, room),
                    node: number,
                    cluster: self.cluster_of(number),
                    address: network::http_address(number),
                    room: (*room).to_owned(),
                    recorder: self.recorder.clone(),
                    pace: self.pace.subscribe(),
                    directory: self.directory.clone(),
                    dice: Dice::new(self.dice.number() ^ at as u64),
                };
                self.residents.spawn(resident.live());
            }
        }
        let nodes: Vec<_> = (0..EVERYBODY.len())
            .filter(|node| self.cluster_of(*node) == 0)
            .map(network::http_address)
            .collect();
        for _ in 0..BALANCERS {
            self.balancers.push(Balancer::start(([127, 0, 0, 1], 0).into(), nodes.clone()).await?);
        }
        let urls: Vec<_> =
            self.balancers.iter().map(|balancer| format!("http://{}", balancer.addr())).collect();
        self.official = Some(Official::start(&urls, &self.recorder, &self.processes, &self.ends).await?);
        self.clients_are_there("at the start").await;
        Ok(())
    }

    /// Waits until every client is connected and in its rooms.
    async fn clients_are_there(&mut self, when: &str) {
        let there = async {
            while let Some(missing) = self.missing_clients() {
                sleep(LOOK).await;
                drop(missing);
            }
        };
        if timeout(READY, there).await.is_err() {
            let missing = self.missing_clients().unwrap_or_default();
            self.unwell.push((self.recorder.now(), format!("{when} clients are missing: {missing}")));
        }
    }

    /// The clients that are not there.
    fn missing_clients(&self) -> Option<String> {
        let history = self.recorder.snapshot();
        let residents = (0..EVERYBODY.len()).flat_map(|node| ROOMS.map(|room| resident_name(node, room)));
        let official = (0..BALANCERS).flat_map(|at| KINDS.map(|kind| format!("o{kind}{at}")));
        let missing = residents.chain(official).filter(|name| {
            let lives = history.clients.iter().filter(|client| client.name.split('.').next() == Some(name));
            !lives
                .into_iter()
                .any(|client| client.ended.is_none() && client.rooms.iter().any(|stay| stay.joined.is_some()))
        });
        let missing: Vec<_> = missing.collect();
        (!missing.is_empty()).then(|| missing.join(", "))
    }

    async fn talk(&mut self, every: Option<Duration>) -> io::Result<()> {
        let lossless = self.scenario.promise.may_lose.is_empty();
        let pace = Pace { every, direct: lossless, storm: self.scenario.setting.storm && every < USUAL };
        self.pace.send_replace(pace);
        match &mut self.official {
            Some(official) => official.set(pace).await,
            None => Ok(()),
        }
    }

    async fn act(&mut self) -> io::Result<()> {
        let began = Instant::now();
        for (at, step) in self.scenario.steps {
            sleep_until(began + Duration::from_secs_f32(*at)).await;
            self.faults.push((self.recorder.now(), describe(*step, &self.cast)));
            if let Err(error) = self.step(*step).await {
                self.unwell.push((self.recorder.now(), format!("{}: {error}", describe(*step, &self.cast))));
            }
        }
        Ok(())
    }

    async fn step(&mut self, step: Step) -> io::Result<()> {
        match step {
            Step::Between(these, those, condition) => {
                self.treat(these, those, condition);
                self.treat(those, these, condition);
            }
            Step::From(these, those, condition) => self.treat(these, those, condition),
            Step::Heal => self.network.heal(),
            Step::Kill(roles) => self.kill(roles).await?,
            Step::Stop(role) => self.stop(role).await?,
            Step::Start(roles) => roles.iter().try_for_each(|role| self.start(*role))?,
            Step::Ready(roles) => self.become_ready(roles).await,
            Step::Pause(role) => self.signal(role, "STOP").await?,
            Step::Resume(role) => self.signal(role, "CONT").await?,
            Step::Hang(role) => self.signal(role, "USR1").await?,
            Step::Clock(role, seconds) => {
                if let Some(clocks) = &self.clocks {
                    clocks.jump(self.cast.node(role), seconds)?;
                }
            }
            Step::Share(role, percent) => {
                if let Some(Some(node)) = self.nodes.get(self.cast.node(role)) {
                    self.quotas.push(Quota::set(node.pid, percent)?);
                }
            }
            Step::AllShares => self.quotas.clear(),
            Step::NameServer(answers) => {
                if let Some(server) = &self.name_server {
                    server.set(answers);
                }
            }
            Step::Every(interval) => self.talk(Some(Duration::from_millis(interval))).await?,
            Step::Impostor(role) => self.start_impostor(role)?,
            Step::NoImpostor => {
                if let Some(impostor) = self.impostor.take() {
                    impostor.kill().await?;
                }
            }
        }
        Ok(())
    }

    fn treat(&self, these: &'static [Role], those: &'static [Role], condition: Condition) {
        for from in self.cast.nodes(these) {
            for to in self.cast.nodes(those).filter(|to| *to != from) {
                self.network.switch().set(from, to, condition);
            }
        }
    }

    async fn kill(&mut self, roles: &'static [Role]) -> io::Result<()> {
        for role in roles {
            let number = self.cast.node(*role);
            if let Some(process) = self.nodes.get_mut(number).and_then(Option::take) {
                self.recorder.node_ended(process.life, Ending::Killed);
                process.kill().await?;
            }
        }
        Ok(())
    }

    async fn stop(&mut self, role: Role) -> io::Result<()> {
        let number = self.cast.node(role);
        let Some(process) = self.nodes.get_mut(number).and_then(Option::take) else { return Ok(()) };
        self.recorder.node_ended(process.life, Ending::Stopped);
        process.stop().await
    }

    async fn signal(&self, role: Role, signal: &str) -> io::Result<()> {
        match self.nodes.get(self.cast.node(role)) {
            Some(Some(node)) => node.signal(signal).await,
            _ => Ok(()),
        }
    }

    /// Starts a process with the name of a node in the namespace of another.
    fn start_impostor(&mut self, role: Role) -> io::Result<()> {
        let (number, other) = (self.cast.node(role), self.cast.node(Role::E));
        let mut launch = self.launch(number)?;
        launch.space = self.network.space_of(other);
        launch.http = SocketAddr::new(network::http_address(other).ip(), 3001);
        launch.mesh = SocketAddr::new(network::mesh_address(other).into(), MESH + 1);
        self.impostor = Some(launch.start(usize::MAX, &self.recorder, &Said::default())?);
        Ok(())
    }

    /// Waits until everybody sees everybody and every client is back, and lets them talk for a while.
    async fn recover(&mut self) -> io::Result<()> {
        self.network.heal();
        let whole = async {
            while self.incomplete_views().next().is_some() {
                sleep(LOOK).await;
            }
        };
        if timeout(READY, whole).await.is_err() {
            let now = self.recorder.now();
            let views: Vec<_> = self.incomplete_views().map(|view| (now, view)).collect();
            self.unwell.extend(views);
        }
        self.clients_are_there("at the end").await;
        self.talk(USUAL).await?;
        sleep(CALM).await;
        self.talk(None).await
    }

    /// The nodes that do not see what they should.
    fn incomplete_views(&self) -> impl Iterator<Item = String> {
        let numbers = 0..EVERYBODY.len();
        numbers.filter(|number| self.nodes.get(*number).is_some_and(Option::is_some)).filter_map(|number| {
            let here = self.cluster_of(number);
            let all: Vec<_> =
                (0..EVERYBODY.len()).filter(|other| self.cluster_of(*other) == here).map(name_of).collect();
            let view = self.said.view_of(number);
            (view != all).then(|| format!("{} sees only {}", name_of(number), view.join(", ")))
        })
    }

    /// Waits until nothing arrives any more, and collects what was seen.
    async fn finish(mut self) -> io::Result<Played> {
        let deadline = Instant::now() + SETTLED;
        let (mut before, mut since) = (self.recorder.received(), Instant::now());
        while since.elapsed() < SILENCE && Instant::now() < deadline {
            sleep(LOOK).await;
            let received = self.recorder.received();
            if received != before {
                (before, since) = (received, Instant::now());
            }
        }
        let mut counted: Counted = BTreeMap::new();
        for number in 0..EVERYBODY.len() {
            if self.nodes.get(number).is_none_or(Option::is_none) {
                continue;
            }
            match process::counters(network::http_address(number)).await {
                Ok(counters) => drop(counted.insert(number, counters)),
                Err(error) => {
                    let what = format!("{} does not tell what it counted: {error}", name_of(number));
                    self.unwell.push((self.recorder.now(), what));
                }
            }
        }
        let history = self.recorder.snapshot();
        let ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(Played {
            cast: self.cast,
            history,
            faults: self.faults,
            said: self.said,
            ends,
            counted,
            unwell: self.unwell,
            packets: self.network.switch().counts(),
        })
    }
}

/// A step, with the names of the nodes.
fn describe(step: Step, cast: &Cast) -> String {
    let names = |roles: &'static [Role]| cast.nodes(roles).map(name_of).collect::<Vec<_>>().join(", ");
    let name = |role| name_of(cast.node(role));
    let treated = |condition: Condition| match condition {
        Condition::CUT => "nothing passes".to_owned(),
        Condition::PERFECT => "everything passes".to_owned(),
        Condition { loss, burst, delay, jitter, duplication, rate, mtu, .. } => format!(
            "loss {loss}, bursts {burst:?}, delay {delay:?}+{jitter:?}, twice {duplication}, bytes/s {rate:?}, mtu {mtu}"
        ),
    };
    match step {
        Step::Between(these, those, condition) => {
            format!("between {} and {}: {}", names(these), names(those), treated(condition))
        }
        Step::From(these, those, condition) => {
            format!("from {} to {}: {}", names(these), names(those), treated(condition))
        }
        Step::Kill(roles) => format!("kill {}", names(roles)),
        Step::Start(roles) => format!("start {}", names(roles)),
        Step::Ready(roles) => format!("wait until {} ready", names(roles)),
        Step::Stop(role) => format!("stop {}", name(role)),
        Step::Pause(role) => format!("pause {}", name(role)),
        Step::Resume(role) => format!("resume {}", name(role)),
        Step::Hang(role) => format!("hang the application of {}", name(role)),
        Step::Clock(role, seconds) => format!("the clock of {} is {seconds} s ahead", name(role)),
        Step::Share(role, percent) => format!("{} has {percent} % of a core", name(role)),
        Step::Impostor(role) => format!("another process calls itself {}", name(role)),
        Step::Heal | Step::AllShares | Step::NameServer(_) | Step::Every(_) | Step::NoImpostor => {
            format!("{step:?}")
        }
    }
}

fn resident_name(node: usize, room: &str) -> String {
    format!("r{node}{room}")
}

fn mesh(number: usize) -> SocketAddr {
    SocketAddr::new(network::mesh_address(number).into(), MESH)
}

fn virtual_address() -> SocketAddr {
    SocketAddr::new(network::balancer_address().into(), MESH)
}

const MESH: u16 = 7946;
/// The address of all nodes, where they have the same one.
const INSIDE: std::net::Ipv4Addr = std::net::Ipv4Addr::new(172, 17, 0, 2);
const SECRET: &str = "a secret of the tests, long enough to be one";
const OTHER_SECRET: &str = "another secret of the tests, as long as the first";
/// Every node has a client in each of these rooms, so every emit to one is for every node.
const ROOMS: [&str; 3] = ["x", "y", "z"];
/// The transports of the official clients: polling, WebSocket, upgrading.
const KINDS: [&str; 3] = ["p", "w", "u"];
/// Load balancers, with three official clients behind each.
const BALANCERS: usize = 2;
/// The usual interval between two emits of a client.
const USUAL: Option<Duration> = Some(Duration::from_millis(100));
/// The time for which clients go on after everything is well again.
const CALM: Duration = Duration::from_secs(3);
/// Everything has arrived when nothing did for this long: acknowledgements between nodes take no longer.
const SILENCE: Duration = Duration::from_millis(1500);
/// The longest time to wait for that.
const SETTLED: Duration = Duration::from_secs(15);
const LOOK: Duration = Duration::from_millis(50);
