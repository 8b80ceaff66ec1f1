//! Addresses of services, addresses that nobody reaches, and what the log says about them.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;

use parking_lot::Mutex;
use tokio::net::UdpSocket;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use super::*;
use crate::cluster::control::DialError;
use crate::cluster::transport::endpoint::Endpoint;

/// Collects the warnings of everything on the thread of a test.
#[derive(Clone, Default)]
struct Warnings(Arc<Mutex<Vec<String>>>);

impl Warnings {
    fn of(&self, node: &str, part: &str) -> usize {
        let name = format!("node={node} ");
        self.0.lock().iter().filter(|line| line.contains(&name) && line.contains(part)).count()
    }
}

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::WARN
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        self.0.lock().push(line.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[derive(Default)]
struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.push_str(&format!("{}={value:?} ", field.name()));
    }
}

/// The address of a service in front of these nodes: what comes from the port of a node leads back to it, and every other port
/// to the next node.
async fn service(nodes: Arc<Mutex<Vec<SocketAddr>>>) -> SocketAddr {
    let front = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
    let address = front.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut ways, mut buffer, mut next) = (HashMap::new(), [0; 2048], 0_usize);
        while let Ok((length, from)) = front.recv_from(&mut buffer).await {
            if let Entry::Vacant(way) = ways.entry(from) {
                next += 1;
                let to = {
                    let nodes = nodes.lock();
                    nodes
                        .iter()
                        .find(|node| **node == from)
                        .or_else(|| nodes.get(next.checked_rem(nodes.len())?))
                        .copied()
                };
                let Some(to) = to else { continue };
                let back = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
                back.connect(to).await.unwrap();
                way.insert(Arc::clone(&back));
                tokio::spawn(carry_back(back, Arc::clone(&front), from));
            }
            // A node that has stopped is none of the service's business.
            let _sent = ways[&from].send(&buffer[..length]).await;
        }
    });
    address
}

async fn carry_back(back: Arc<UdpSocket>, front: Arc<UdpSocket>, to: SocketAddr) {
    let mut buffer = [0; 2048];
    while let Ok(length) = back.recv(&mut buffer).await {
        let _sent = front.send_to(&buffer[..length], to).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_behind_a_service_learns_who_answers_there() {
    let nodes = Arc::default();
    let seed = service(Arc::clone(&nodes)).await;
    let a = Node::start(config("a", &[seed])).await;
    nodes.lock().push(a.address());
    let b = Node::start(config("b", &[seed])).await;
    nodes.lock().push(b.address());
    for node in [&a, &b] {
        node.sees("both", |view| settled(view, 2)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_hears_that_it_is_not_reached_where_it_says() {
    let warnings = Warnings::default();
    let _guard = tracing::subscriber::set_default(warnings.clone());
    let (simulation, [a, b]) = Simulation::cluster::<2>().await;
    let nowhere = SimulatedNetwork::address(99);
    let c = Node::start(simulation.config(2, &[0]).advertise(nowhere.to_string())).await;
    for node in [&a, &b, &c] {
        node.sees("everyone", |view| settled(view, 3)).await;
    }
    let seen = |view: &View| view.member(&id("c")).unwrap().address == SimulatedNetwork::address(2);
    for node in [&a, &b] {
        node.sees("where packets of c come from", seen).await;
    }
    sleep(Duration::from_secs(10)).await;
    let told = |node| warnings.of(node, "at the address that it advertises");
    assert_eq!((told("a"), told("b"), told("c")), (1, 1, 2), "{:?}", warnings.0.lock());
}

#[tokio::test(start_paused = true)]
async fn a_dial_that_its_own_end_gives_up_is_no_warning() {
    let warnings = Warnings::default();
    let _guard = tracing::subscriber::set_default(warnings.clone());
    let (simulation, [_a, _b]) = Simulation::cluster::<2>().await;
    simulation.0.change_all(|link| link.delay = Duration::from_millis(50)..=Duration::from_millis(50));
    let dialler = simulation.config(2, &[]);
    let endpoint =
        Endpoint::new(dialler.socket().unwrap(), &dialler.identity().unwrap(), Duration::from_secs(3))
            .unwrap();
    let cut_short = timeout(Duration::from_millis(120), endpoint.dial(SimulatedNetwork::address(0))).await;
    assert!(!matches!(cut_short, Ok(Err(DialError::Untrusted(_)))), "{cut_short:?}");
    // Or the connection itself, before the other end has it.
    drop(cut_short);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(warnings.0.lock().as_slice(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn an_awaited_join_does_not_wait_for_a_member_to_which_there_is_no_way() {
    let (simulation, [a, b, _c, d]) = Simulation::cluster::<4>().await;
    simulation.cut(&[0], &[2, 3]);
    simulation.cut(&[1], &[3]);
    let deadline = Instant::now() + Duration::from_secs(60);
    while *a.mesh.published.unreached.read() != [d.id()] {
        assert!(Instant::now() < deadline, "{:?}", a.mesh.view().borrow().members);
        sleep(Duration::from_millis(50)).await;
    }
    a.mesh.interest("/", &"red".into(), true);
    let start = Instant::now();
    assert_eq!(a.mesh.confirmed(a.mesh.version(), CONFIRMATION).await, [d.id()], "it is named");
    assert!(start.elapsed() < Duration::from_millis(100), "virtual time: {:?}", start.elapsed());
    let mut state = d.mesh.state();
    timeout(DEADLINE, state.wait_for(|state| *state == NodeState::Joining)).await.unwrap().unwrap();
    assert!(a.mesh.is_ready() && b.mesh.is_ready(), "the side that goes on serving");
    let obstacle = d.mesh.obstacle().unwrap_or_default();
    assert!(obstacle.contains("misses members that others reach: a"), "{obstacle}");
}

#[tokio::test(start_paused = true)]
async fn a_hello_names_the_life_of_its_receiver_first() {
    let (_simulation, [a, _b, c]) = Simulation::cluster::<3>().await;
    let hello = a.mesh.published.hello(&c.id(), None);
    let named: Vec<_> = hello.members.iter().map(|member| member.node_id.as_str()).collect();
    assert_eq!(named, ["c", "b"]);
    assert_eq!(hello.members[0].incarnation, c.mesh.published.me.incarnation.0);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_serves_alone_goes_on_saying_that_no_seed_answers() {
    let warnings = Warnings::default();
    let _guard = tracing::subscriber::set_default(warnings.clone());
    let simulation = Simulation(SimulatedNetwork::new(1));
    let alone = Node::start(simulation.config(0, &[3]).serve_alone(true)).await;
    timeout(DEADLINE, alone.mesh.ready()).await.unwrap();
    let before = warnings.of("a", "no seed answers");
    sleep(Duration::from_secs(10)).await;
    assert!(warnings.of("a", "no seed answers") > before, "{:?}", warnings.0.lock());
}
