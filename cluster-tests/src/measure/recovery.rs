//! What it costs that clients may come back: bytes of each event, memory of what is kept, traffic between nodes, processor time.

use std::fs;
use std::io;
use std::process;
use std::time::Duration;

use socketmesh::socket::{self, Recovery as Settings};
use socketmesh::{Node, NodeBuilder, Refusal, Socket, namespace};
use socketmesh_load::machine;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::cluster::free_ports;
use super::cost::to_f64;
use super::report::Report;
use crate::messages::Messages as _;
use crate::nodes::Nodes;
use crate::process::Launch;
use crate::websocket::WebSocket;

/// Measures nodes with recovery beside nodes without. Traffic is that of the loopback interface: `unshare --net` keeps others out,
/// with `ip link set lo up` in it.
#[derive(Debug, clap::Args)]
pub struct Recovery {
    /// How many sessions are kept.
    #[arg(long, default_value_t = 20_000)]
    sessions: usize,
    /// How many packets are kept; `max_log` has to have room for them.
    #[arg(long, default_value_t = 50_000)]
    packets: usize,
    /// How many clients do the same while the traffic between nodes is counted.
    #[arg(long, default_value_t = 500)]
    clients: usize,
    /// How often processor time is taken with recovery and without.
    #[arg(long, default_value_t = 8)]
    pairs: usize,
}

impl Recovery {
    pub(super) async fn run(self) -> io::Result<Report> {
        let mut report = Report::default();
        for origins in [1, 3, 5] {
            position(origins, &mut report).await;
        }
        // They end later: memory that is free again would be taken first, and not counted.
        let packets = self.packets(&mut report).await?;
        let sessions = [self.sessions(0, &mut report).await?, self.sessions(100, &mut report).await?];
        stop(packets).await;
        for nodes in sessions {
            stop(nodes).await;
        }
        self.traffic(&mut report).await?;
        self.processor(&mut report).await?;
        Ok(report)
    }

    /// Clients that come and lose their connections, a few at a time: what grows then is what is kept of them, on two nodes.
    async fn sessions(&self, data: usize, report: &mut Report) -> io::Result<Nodes> {
        let nodes = Nodes::start(2, |_| app(Some(data))).await;
        come_and_go(&nodes, 2 * AT_ONCE).await;
        let before = machine::resident(process::id())?;
        come_and_go(&nodes, self.sessions).await;
        let grown = machine::resident(process::id())?.saturating_sub(before);
        let each = to_f64(grown) / (2. * to_f64(self.sessions as u64));
        report.row(&format!("session_with_{data}_bytes"), each, "B/keeper");
        Ok(nodes)
    }

    /// Packets of 100 bytes to a room that nobody is in any more.
    async fn packets(&self, report: &mut Report) -> io::Result<Nodes> {
        let nodes = Nodes::start(1, |_| app(Some(0))).await;
        let room = nodes.nodes.iter().map(|node| node.of("/").to("lobby")).next();
        let room = room.ok_or(io::ErrorKind::NotFound)?;
        let text = "x".repeat(100);
        let before = machine::resident(process::id())?;
        for _ in 0..self.packets {
            room.clone().emit("message", &text).map_err(io::Error::other)?;
        }
        let grown = machine::resident(process::id())?.saturating_sub(before);
        let each = to_f64(grown) / to_f64(self.packets as u64);
        report.row("packet_of_100_bytes", each, "B");
        report.row("second_of_1000_packets", each * 1000. / 1024., "KiB");
        Ok(nodes)
    }

    /// What the same costs with recovery and without: the difference is what nodes tell each other of sessions.
    async fn traffic(&self, report: &mut Report) -> io::Result<()> {
        let mut counted = Vec::new();
        for data in [None, Some(0)] {
            let nodes = Nodes::start(3, |_| app(data)).await;
            sleep(SETTLE).await;
            counted.push(self.count(&nodes).await?);
            stop(nodes).await;
        }
        let [without, with] = counted.as_slice() else { return Ok(()) };
        for ((what, without), (_, with)) in without.iter().zip(with) {
            report.row(&format!("{what}_without"), *without, "B");
            report.row(&format!("{what}_with"), *with, "B");
        }
        Ok(())
    }

    /// The bytes of each thing that a client does.
    async fn count(&self, nodes: &Nodes) -> io::Result<Vec<(&'static str, f64)>> {
        let idle = per_second().await?;
        let mut clients = Vec::new();
        let mut counted = Vec::new();
        for what in ["connect", "join", "leave", "disconnect"] {
            let (before, began) = (loopback()?, tokio::time::Instant::now());
            for number in 0..self.clients {
                match (what, clients.get_mut(number)) {
                    ("connect", _) => clients.push(enter(nodes, number).await),
                    ("disconnect", _) => drop(clients.pop()),
                    (_, Some(client)) => {
                        client.send(&format!("420[\"{what}\",\"room\"]")).await;
                        client.packet().await;
                    }
                    (_, None) => {}
                }
                sleep(PACE).await;
            }
            sleep(SETTLE).await;
            let bytes = to_f64(loopback()? - before) - idle * began.elapsed().as_secs_f64();
            counted.push((what, bytes / to_f64(self.clients as u64)));
        }
        Ok(counted)
    }

    /// A broadcast to many clients of a process, in a namespace with recovery and in one without, in turn.
    async fn processor(&self, report: &mut Report) -> io::Result<()> {
        let binary = std::env::current_exe()?.with_file_name("fixture");
        let binary: &'static str = Box::leak(binary.to_string_lossy().into_owned().into_boxed_str());
        let mesh = free_ports(1)?.into_iter().next().ok_or(io::ErrorKind::AddrInUse)?;
        let node = Launch { mesh, ..Launch::bench(Some(binary), "node-0") }.start().await;
        let pid = node.pid().ok_or(io::ErrorKind::NotFound)?;
        let addr = node.target().addr();
        let mut took = [Vec::new(), Vec::new()];
        let mut rooms = [Crowd::gather(addr, "").await, Crowd::gather(addr, "/recovered,").await];
        for _ in 0..self.pairs {
            for (room, took) in rooms.iter_mut().zip(&mut took) {
                let before = machine::cpu(pid)?;
                room.broadcast().await;
                let spent = machine::cpu(pid)?.saturating_sub(before);
                took.push(1e6 * spent.as_secs_f64() / to_f64((CROWD * MESSAGES) as u64));
            }
        }
        let [without, with] = &took;
        let mut ratios: Vec<_> = without.iter().zip(with).map(|(without, with)| with / without).collect();
        let [without, with] = took.map(|took| took.iter().sum::<f64>() / to_f64(took.len() as u64));
        ratios.sort_unstable_by(f64::total_cmp);
        report.row("delivery_without", without, "us");
        report.row("delivery_with", with, "us");
        for (name, at) in [("min", 0), ("median", ratios.len() / 2), ("max", ratios.len().saturating_sub(1))]
        {
            ratios
                .get(at)
                .into_iter()
                .for_each(|ratio| report.row(&format!("delivery_ratio_{name}"), *ratio, ""));
        }
        node.stop().await;
        Ok(())
    }
}

/// What stands behind an event of a client when that many nodes have emitted.
async fn position(origins: usize, report: &mut Report) {
    let nodes = Nodes::start(origins, |_| app(Some(0))).await;
    let mut client = enter(&nodes, 0).await;
    let mut length = 0;
    for node in &nodes.nodes {
        // That all nodes know the room takes a moment.
        loop {
            node.of("/").to("lobby").emit("m", &0).expect("a number");
            let told = tokio::time::timeout(Duration::from_millis(200), client.packet()).await;
            if let Ok(crate::messages::Received::Text(text)) = told {
                length = text.len();
                break;
            }
        }
    }
    report.row(&format!("position_of_{origins}"), to_f64((length - "42[\"m\",0]".len()) as u64), "B");
    stop(nodes).await;
}

/// Whose clients are in three rooms; with data of so many bytes they may come back.
fn app(data: Option<usize>) -> NodeBuilder {
    let text = "x".repeat(data.unwrap_or_default());
    let chat = namespace("/")
        .auth(async move |_: socketmesh::Handshake| Ok::<_, Refusal>(text.clone()))
        .on("join", async |socket: Socket<String>, room: String| {
            drop(socket.join(room));
            Ok(())
        })
        .on("leave", async |socket: Socket<String>, room: String| {
            socket.leave(room);
            Ok(())
        })
        .on_connect(async |socket: Socket<String>| {
            for room in ["lobby", "news", "team"] {
                drop(socket.join(room));
            }
            Ok(())
        });
    let config = socket::Config::default().max_log_total(1 << 30);
    let settings = Settings::default().max_log(1 << 30);
    Node::builder().socket(config).namespace(if data.is_some() { chat.recover(settings) } else { chat })
}

async fn enter(nodes: &Nodes, number: usize) -> WebSocket {
    let at = nodes.target.at(number % nodes.nodes.len()).addr();
    enter_at(at, "").await
}

async fn enter_at(at: std::net::SocketAddr, prefix: &str) -> WebSocket {
    let mut client = WebSocket::open(at, "/socket.io/?EIO=4&transport=websocket").await.expect("a session");
    client.packet().await;
    client.send(&format!("40{prefix}")).await;
    client.packet().await;
    client
}

async fn come_and_go(nodes: &Nodes, count: usize) {
    for first in (0..count).step_by(AT_ONCE) {
        let mut clients = Vec::new();
        for number in first..count.min(first + AT_ONCE) {
            clients.push(enter(nodes, number).await);
        }
        drop(clients);
    }
    sleep(SETTLE).await;
}

async fn stop(nodes: Nodes) {
    for node in &nodes.nodes {
        node.shutdown().await;
    }
}

/// Clients in one room, and one that emits to it.
struct Crowd {
    speaker: WebSocket,
    clients: Vec<WebSocket>,
    prefix: &'static str,
}

impl Crowd {
    async fn gather(at: std::net::SocketAddr, prefix: &'static str) -> Self {
        let speaker = enter_at(at, prefix).await;
        let mut clients = Vec::new();
        for _ in 0..CROWD {
            let mut client = enter_at(at, prefix).await;
            client.send(&format!("42{prefix}0[\"join\",\"all\"]")).await;
            client.packet().await;
            clients.push(client);
        }
        Self { speaker, clients, prefix }
    }

    async fn broadcast(&mut self) {
        let mut reading = JoinSet::new();
        for mut client in self.clients.drain(..) {
            reading.spawn(async move {
                for _ in 0..MESSAGES {
                    client.packet().await;
                }
                client
            });
        }
        let message = format!("42{}[\"msg\",\"all\",\"{}\"]", self.prefix, "x".repeat(100));
        for _ in 0..MESSAGES {
            self.speaker.send(&message).await;
        }
        self.clients = reading.join_all().await;
    }
}

/// What this interface has carried.
fn loopback() -> io::Result<u64> {
    let devices = fs::read_to_string("/proc/net/dev")?;
    let line = devices.lines().find_map(|line| line.trim().strip_prefix("lo:")).unwrap_or_default();
    let received = line.split_whitespace().next().unwrap_or_default();
    received.parse().map_err(io::Error::other)
}

async fn per_second() -> io::Result<f64> {
    let before = loopback()?;
    sleep(IDLE).await;
    Ok(to_f64(loopback()? - before) / IDLE.as_secs_f64())
}

/// So many clients are connected at the same time, while what is kept of them is measured.
const AT_ONCE: usize = 250;
/// What changed was told.
const SETTLE: Duration = Duration::from_secs(2);
const IDLE: Duration = Duration::from_secs(5);
/// From one client to the next.
const PACE: Duration = Duration::from_millis(5);
/// Clients in a room, and messages to it.
const CROWD: usize = 200;
const MESSAGES: usize = 2500;
