//! A fleet of bare machines, upgraded as docs/guides/operations.md says: a new binary on one machine after another, under load.

use std::fs::{self, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use cluster_tests::chaos::network::{self, Network, http_address, mesh_address};
use cluster_tests::chaos::services::NameServer;
use cluster_tests::client::Client;
use cluster_tests::deadline::within;
use cluster_tests::fixture::Suite;
use cluster_tests::http::Call;
use cluster_tests::load_balancer::{LoadBalancer, Program};
use cluster_tests::server::Server;
use cluster_tests::sources::root;
use cluster_tests::target::Target;
use hyper::Method;
use serde_json::json;
use tokio::process::Command;
use tokio::sync::{RwLock, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep, timeout};

use super::network::{MESH, among};
use super::official::Official;
use super::tools::{complaint, output};

#[test]
fn a_fleet_that_finds_itself_by_a_name_is_upgraded_machine_by_machine() {
    among(MACHINES, async |network| {
        network.set_resolver(network::clients_address().into()).expect("a file for the resolver");
        let addresses = (0..MACHINES).map(mesh_address).collect();
        let _names = NameServer::start(network::clients_address(), addresses).await.expect("a name server");
        upgrade(&network, "name", vec![format!("nodes.test:{MESH}")]).await;
    });
}

#[test]
fn a_fleet_with_fixed_seeds_behind_the_firewall_of_the_guide_is_upgraded_machine_by_machine() {
    among(MACHINES, async |network| {
        firewall(&network).await;
        let seeds = (0..3).map(|machine| format!("{}:{MESH}", mesh_address(machine))).collect();
        upgrade(&network, "fixed", seeds).await;
    });
}

#[test]
#[should_panic(expected = "each once, in order, without a hole")]
fn a_hole_in_what_somebody_heard_would_be_noticed() {
    let (since, name) = (Instant::now(), "speaker".to_owned());
    let said = Spoken { name: name.clone(), since, acknowledged: 3, until: since };
    let heard = [0, 2].map(|number| (name.clone(), number)).to_vec();
    Listened { machine: 0, since, lasted: true, heard }.is_without_a_hole_in(&said);
}

async fn upgrade(network: &Network, name: &str, seeds: Vec<String>) {
    let mut fleet = Fleet::install(network, name, &seeds).await;
    let addresses: Vec<_> = (0..MACHINES).map(http_address).collect();
    let nginx = LoadBalancer::start(Program::Nginx, "nginx.conf", &addresses).await;
    let official = Official::start(&format!("http://{}", nginx.addr)).await;
    let mut crowd = Crowd::gather(&fleet.up).await;
    for machine in 0..MACHINES {
        sleep(Duration::from_millis(500)).await;
        fleet.upgrade(machine).await;
    }
    sleep(Duration::from_millis(500)).await;
    crowd.judge().await;
    official.judge().await;
}

/// Gives every machine the rules of docs/guides/operations.md, with the addresses of this network.
async fn firewall(network: &Network) {
    let guide = fs::read_to_string(root().join("docs/guides/operations.md")).expect("the guide");
    let (_, rules) = guide.split_once("```text\n").expect("the sample of rules");
    let (rules, _) = rules.split_once("```").expect("its end");
    let nodes: Vec<_> = (0..MACHINES).map(|machine| mesh_address(machine).to_string()).collect();
    let rules = rules.replace("10.0.0.1, 10.0.0.2, 10.0.0.3", &nodes.join(", "));
    let rules = rules.replace("10.0.0.10 ", &format!("{} ", network::clients_address()));
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("rules.nft");
    fs::write(&file, rules).expect("a file");
    for machine in 0..MACHINES {
        output(on(network, machine).arg("nft").arg("--file").arg(&file)).await;
    }
    // Others do not get through: here a neighbour, who tries the port of clients.
    let neighbour = format!("exec 3<>/dev/tcp/{}/{}", http_address(0).ip(), http_address(0).port());
    let refused = complaint(on(network, 1).args(["timeout", "1", "bash", "-c", &neighbour])).await;
    assert_eq!(refused.as_deref(), Some(""), "it is dropped, so the time is over");
}

/// A command on a machine.
fn on(network: &Network, machine: usize) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &network.space_of(machine)]);
    command
}

/// The machines, with the binary that they have now.
struct Fleet<'a> {
    network: &'a Network,
    folder: PathBuf,
    nodes: Vec<Option<Server>>,
    up: Up,
}

/// Which machines take clients. Who opens a connection holds it, so that none is taken down meanwhile.
type Up = Arc<Vec<RwLock<watch::Sender<bool>>>>;

impl<'a> Fleet<'a> {
    /// Starts a node on every machine, with the old binary.
    async fn install(network: &'a Network, name: &str, seeds: &[String]) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fleet-{name}"));
        fs::remove_dir_all(&folder).ok();
        fs::create_dir_all(&folder).expect("a folder");
        // The new version is another file; what is behind the end of a program is not run.
        let mut new = fs::read(env!("CARGO_BIN_EXE_socketmesh")).expect("the program");
        new.extend(b"new");
        fs::write(folder.join("new"), new).expect("a file");
        let mode = fs::metadata(env!("CARGO_BIN_EXE_socketmesh")).expect("the program").permissions();
        fs::set_permissions(folder.join("new"), mode).expect("it is ours");

        // The same settings everywhere; only the name of a machine is a variable.
        let secret = folder.join("mesh");
        fs::write(&secret, "a secret of the tests, long enough to be one").expect("a file");
        fs::set_permissions(&secret, Permissions::from_mode(0o640)).expect("it is ours");
        let settings = [
            format!("http = \"0.0.0.0:{}\"", http_address(0).port()),
            format!("mesh = \"0.0.0.0:{MESH}\""),
            format!("seed = {seeds:?}"),
            format!("secret_file = {secret:?}"),
            "drain = \"3s\"".to_owned(),
        ];
        fs::write(folder.join("socketmesh.toml"), settings.join("\n")).expect("a file");

        let up = (0..MACHINES).map(|_| RwLock::new(watch::Sender::new(false))).collect();
        let mut fleet = Self { network, folder, nodes: Vec::new(), up: Arc::new(up) };
        for machine in 0..MACHINES {
            fs::create_dir(fleet.folder.join(machine.to_string())).expect("a folder");
            fs::hard_link(env!("CARGO_BIN_EXE_socketmesh"), fleet.binary(machine)).expect("the same disk");
            let started = fleet.start(machine);
            fleet.nodes.push(Some(started));
        }
        for machine in 0..MACHINES {
            fleet.ready(machine).await;
        }
        fleet
    }

    /// What the guide says: the binary is exchanged, the node is asked to stop, started again, and waited for.
    async fn upgrade(&mut self, machine: usize) {
        let (binary, new) = (self.binary(machine), self.folder.join("new"));
        let beside = binary.with_extension("new");
        fs::hard_link(&new, &beside).expect("the same disk");
        fs::rename(&beside, &binary).expect("it is exchanged");
        self.up[machine].write().await.send_replace(false);
        let old = self.nodes[machine].take().expect("it runs");
        old.signal("TERM").await.expect("it runs");
        assert!(old.ended().await.success());
        self.nodes[machine] = Some(self.start(machine));
        self.ready(machine).await;
        let pid = self.nodes[machine].as_ref().and_then(Server::pid).expect("it runs");
        let runs = fs::metadata(format!("/proc/{pid}/exe")).expect("it runs");
        assert_eq!(runs.ino(), fs::metadata(new).expect("it is there").ino(), "the new binary runs");
    }

    fn start(&self, machine: usize) -> Server {
        let mut command = on(self.network, machine);
        command
            .arg(self.binary(machine))
            .args(["serve", "--config"])
            .arg(self.folder.join("socketmesh.toml"));
        command.env("SOCKETMESH_NODE_ID", format!("machine-{machine}")).stdin(Stdio::null());
        Server::run(command)
    }

    async fn ready(&mut self, machine: usize) {
        self.nodes[machine].as_mut().expect("it was started").ready().await;
        self.up[machine].write().await.send_replace(true);
    }

    fn binary(&self, machine: usize) -> PathBuf {
        self.folder.join(machine.to_string()).join("socketmesh")
    }
}

impl Drop for Fleet<'_> {
    fn drop(&mut self) {
        self.nodes.clear();
        fs::remove_dir_all(&self.folder).ok();
    }
}

/// Clients that stay at their machine: on each somebody who speaks, and somebody who listens to everybody. And newcomers, who come
/// to every machine that takes clients, all the time.
struct Crowd {
    speaking: watch::Sender<bool>,
    speakers: JoinSet<Vec<Spoken>>,
    listeners: JoinSet<Vec<Listened>>,
    newcomers: JoinSet<usize>,
}

/// What somebody said over one connection: the numbers from 0 on.
struct Spoken {
    name: String,
    since: Instant,
    acknowledged: u64,
    /// When the last one of those was sent.
    until: Instant,
}

/// What somebody heard over one connection: who said which number.
struct Listened {
    machine: usize,
    since: Instant,
    lasted: bool,
    heard: Vec<(String, u64)>,
}

impl Crowd {
    async fn gather(up: &Up) -> Self {
        let speaking = watch::Sender::new(true);
        let mut crowd =
            Self { speakers: JoinSet::new(), listeners: JoinSet::new(), newcomers: JoinSet::new(), speaking };
        for machine in 0..MACHINES {
            let first = connect(up, machine).await;
            crowd.listeners.spawn(listen(Arc::clone(up), machine, first, crowd.speaking.subscribe()));
        }
        for machine in 0..MACHINES {
            crowd.speakers.spawn(speak(Arc::clone(up), machine, crowd.speaking.subscribe()));
            crowd.newcomers.spawn(come(Arc::clone(up), machine, crowd.speaking.subscribe()));
        }
        crowd
    }

    /// Nobody lost a connection but to the own machine, and nobody missed anything that was acknowledged.
    async fn judge(&mut self) {
        self.speaking.send_replace(false);
        let came: usize = all(&mut self.newcomers).await.into_iter().sum();
        assert!(came > 20 * MACHINES, "{came} newcomers");
        let spoken: Vec<_> = all(&mut self.speakers).await;
        for lives in &spoken {
            assert_eq!(lives.len(), 2, "one end, with the own machine");
            assert!(lives.iter().map(|life| life.acknowledged).sum::<u64>() > 30, "there was traffic");
        }
        for lives in all(&mut self.listeners).await {
            assert_eq!(lives.len(), 2, "one end, with the own machine");
            for (life, said) in
                lives.iter().flat_map(|life| spoken.iter().flatten().map(move |said| (life, said)))
            {
                life.is_without_a_hole_in(said);
            }
        }
    }
}

impl Listened {
    fn is_without_a_hole_in(&self, said: &Spoken) {
        let numbers: Vec<_> =
            self.heard.iter().filter(|(name, _)| *name == said.name).map(|(_, n)| *n).collect();
        let first = numbers.first().copied().unwrap_or_default();
        let expected: Vec<_> = (first..).take(numbers.len()).collect();
        let who = format!("what {} said, at machine {}", said.name, self.machine);
        assert_eq!(numbers, expected, "{who}: each once, in order, without a hole");
        if said.since > self.since && !numbers.is_empty() {
            assert_eq!(first, 0, "{who}");
        }
        if self.lasted && said.until > self.since {
            let last = numbers.last().map_or(0, |last| last + 1);
            assert!(last >= said.acknowledged, "{who}: {last} of {}", said.acknowledged);
        }
    }
}

/// Speaks until it is told to be quiet, also after its machine was upgraded.
async fn speak(up: Up, machine: usize, mut speaking: watch::Receiver<bool>) -> Vec<Spoken> {
    let mut lives: Vec<Spoken> = Vec::new();
    while *speaking.borrow() {
        let mut client = connect(&up, machine).await;
        let name = format!("speaker-{machine}.{}", lives.len());
        let now = Instant::now();
        let mut life = Spoken { name, since: now, acknowledged: 0, until: now };
        let mut pace = interval(PACE);
        while *speaking.borrow_and_update() {
            pace.tick().await;
            let text = json!({ "text": format!("{} {}", life.name, life.acknowledged) });
            let sent = Instant::now();
            if client.emit_with_ack("chat", &[text]).await.is_none() {
                break;
            }
            (life.acknowledged, life.until) = (life.acknowledged + 1, sent);
            while !client.is_drained() {
                client.next().await;
            }
        }
        lives.push(life);
    }
    lives
}

/// Listens until everybody is quiet, and everything that was said has had time to come.
async fn listen(up: Up, machine: usize, first: Client, mut speaking: watch::Receiver<bool>) -> Vec<Listened> {
    let (mut lives, mut next) = (Vec::new(), Some(first));
    loop {
        let mut client = match next.take() {
            Some(client) => client,
            None => connect(&up, machine).await,
        };
        let mut life = Listened { machine, since: Instant::now(), lasted: true, heard: Vec::new() };
        let quiet = async {
            speaking.wait_for(|speaking| !speaking).await.expect("somebody tells");
            sleep(Duration::from_secs(6)).await;
        };
        tokio::pin!(quiet);
        let ended = loop {
            tokio::select! {
                () = &mut quiet => break false,
                event = client.next() => match event {
                    Some((event, arguments)) if event == "chat" => {
                        let said = arguments[0]["text"].as_str().and_then(|text| text.split_once(' '));
                        let (name, number) = said.expect("a name and a number");
                        life.heard.push((name.to_owned(), number.parse().expect("a number")));
                    }
                    Some(_) => {}
                    None => break true,
                },
            }
        };
        life.lasted = !ended;
        lives.push(life);
        if !ended {
            return lives;
        }
    }
}

/// Opens sessions at a machine whenever it takes clients, and tells how many.
async fn come(up: Up, machine: usize, speaking: watch::Receiver<bool>) -> usize {
    let (mut came, mut pace) = (0, interval(PACE));
    while *speaking.borrow() {
        pace.tick().await;
        let held = up[machine].read().await;
        if *held.borrow() {
            let handshake =
                Call::new(http_address(machine), Method::GET, "/socket.io/?EIO=4&transport=polling");
            let answer = handshake.send().await;
            assert_eq!(answer.status(), 200, "at machine {machine}: {}", answer.text());
            came += 1;
        }
    }
    came
}

async fn connect(up: &Up, machine: usize) -> Client {
    let address: SocketAddr = http_address(machine);
    loop {
        let mut changes = {
            let held = up[machine].read().await;
            if *held.borrow() {
                return Client::connect(&Target::of(Suite::Bench, address, &[address])).await;
            }
            held.subscribe()
        };
        within("a machine to be upgraded", changes.wait_for(|up| *up)).await.expect("the fleet is there");
    }
}

async fn all<T: 'static>(tasks: &mut JoinSet<T>) -> Vec<T> {
    let mut ended = Vec::new();
    while let Some(task) = timeout(LAST, tasks.join_next()).await.expect("everybody ends") {
        ended.push(task.unwrap_or_else(|failed| std::panic::resume_unwind(failed.into_panic())));
    }
    ended
}

const MACHINES: usize = 5;
const PACE: Duration = Duration::from_millis(100);
/// Everybody has ended then, on a busy machine.
const LAST: Duration = Duration::from_secs(60);
