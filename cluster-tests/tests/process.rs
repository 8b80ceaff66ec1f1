//! Real node processes: one is killed under load, seeds do not answer, a secret is missing.
#![expect(clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::{
    collections::BTreeMap,
    net::{SocketAddr, UdpSocket},
    time::Duration,
};

use cluster_tests::{
    client::Client,
    deadline::within,
    process::{Launch, Nodes},
    target::Target,
};
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::{interval, timeout},
};

#[tokio::test]
async fn a_killed_node_does_not_affect_clients_of_other_nodes() {
    let mut nodes = Nodes::start(FIXTURE, 3).await;
    let survivors = members(&[nodes.nodes[0].target(), nodes.nodes[2].target()], 5).await;
    let victims = members(&[nodes.nodes[1].target()], 5).await;

    let receiving = collect(survivors, &["first", "third"], 0..1000);
    let (first, at_first) = load(&nodes.nodes[0].target(), "first", 0..1000).await;
    let (third, _) = load(&nodes.nodes[2].target(), "third", 0..1000).await;
    reached(at_first, 200).await;
    let seeds = [nodes.nodes[0].mesh, nodes.nodes[2].mesh];
    let victim = nodes.nodes.remove(1).kill(&seeds).await;

    let survivors = receiving.await.expect("the receivers end");
    let (first, third) = (first.await.expect("it ends"), third.await.expect("it ends"));
    let mut homeless = 0;
    for mut client in victims {
        client.closed().await;
        homeless += 1;
    }

    // Through the balancer, which still knows the dead node's address.
    let moved = members(&[nodes.target()], homeless).await;
    let all: Vec<_> = survivors.into_iter().chain(moved).collect();
    let receiving = collect(all, &["first", "third"], 1000..1050);
    tokio::join!(send(&first, "first", 1000..1050), send(&third, "third", 1000..1050));
    let mut all = receiving.await.expect("the receivers end");

    let restarted = victim.start().await;
    all.extend(members(&[restarted.target()], 5).await);
    let second = Client::connect(&restarted.target()).await;
    let receiving = collect(all, &["first", "second"], 0..50);
    tokio::join!(send(&first, "first", 0..50), send(&second, "second", 0..50));
    receiving.await.expect("the receivers end");
}

#[tokio::test]
async fn a_node_without_reachable_seeds_reports_it_and_joins_when_they_appear() {
    let seed = silent_address();
    let mut waiting = Launch { seeds: vec![seed.addr], ..Launch::bench(FIXTURE, "waiting") }.spawn();
    waiting.says(&seed.addr.to_string()).await;

    let appeared = Launch { mesh: seed.release(), ..Launch::bench(FIXTURE, "seed") }.start().await;
    let waiting = waiting.ready().await;
    assert_one_cluster(&appeared.target(), &waiting.target()).await;
}

#[tokio::test]
async fn a_node_that_may_serve_alone_does_and_joins_when_its_seeds_appear() {
    let seed = silent_address();
    let launch = Launch {
        seeds: vec![seed.addr],
        arguments: vec!["--serve-alone"],
        ..Launch::bench(FIXTURE, "alone")
    };
    let mut alone = launch.start().await;
    alone.says(&seed.addr.to_string()).await;
    let client = Client::connect(&alone.target()).await;
    assert_eq!(client.emit_with_ack("echo", &[json!("alone")]).await, Some(json!(["alone"])));

    let appeared = Launch { mesh: seed.release(), ..Launch::bench(FIXTURE, "seed") }.start().await;
    assert_one_cluster(&appeared.target(), &alone.target()).await;
    assert_eq!(client.emit_with_ack("echo", &[json!("still")]).await, Some(json!(["still"])));
}

#[tokio::test]
async fn without_a_secret_only_loopback_can_be_bound() {
    let public = SocketAddr::from(([0, 0, 0, 0], 0));
    let launch = Launch { mesh: public, secret: None, ..Launch::bench(FIXTURE, "open") };
    let (status, said) = launch.spawn().fails().await;
    assert!(!status.success(), "{status}");
    assert!(said.to_lowercase().contains("secret"), "{said}");
}

#[tokio::test]
async fn without_a_secret_no_cluster_is_joined() {
    let seed = silent_address();
    let launch = Launch { seeds: vec![seed.addr], secret: None, ..Launch::bench(FIXTURE, "open") };
    let (status, said) = launch.spawn().fails().await;
    assert!(!status.success(), "{status}");
    assert!(said.to_lowercase().contains("secret"), "{said}");
}

/// `count` clients of each target, all in the room.
async fn members(targets: &[Target], count: usize) -> Vec<Client> {
    let mut members = Vec::new();
    for target in targets {
        for _ in 0..count {
            let client = Client::connect(target).await;
            // A join that another node was too busy to confirm in time is told so, and is asked for again.
            let joining = async {
                while client.emit_with_ack("join", &[json!(ROOM)]).await.expect("an ack") != json!([[]]) {}
            };
            within("a join that every node has confirmed", joining).await;
            members.push(client);
        }
    }
    members
}

/// Sends numbers to the room at a steady pace, and tells how far it is. Ends with the sending client.
async fn load(
    target: &Target,
    from: &'static str,
    numbers: std::ops::Range<u64>,
) -> (JoinHandle<Client>, watch::Receiver<u64>) {
    let client = Client::connect(target).await;
    let (sent, progress) = watch::channel(0);
    let loading = tokio::spawn(async move {
        let mut pace = interval(Duration::from_millis(2));
        for number in numbers {
            pace.tick().await;
            send(&client, from, number..number + 1).await;
            sent.send_replace(number);
        }
        client
    });
    (loading, progress)
}

async fn reached(mut progress: watch::Receiver<u64>, number: u64) {
    progress.wait_for(|sent| *sent >= number).await.expect("the load goes on");
}

async fn send(client: &Client, from: &str, numbers: std::ops::Range<u64>) {
    for number in numbers {
        client.emit("msg", &[json!(ROOM), json!({"from": from, "number": number})]).await;
    }
}

/// Checks in the background that every client receives exactly these numbers of every sender, in order.
fn collect(
    clients: Vec<Client>,
    senders: &'static [&str],
    numbers: std::ops::Range<u64>,
) -> JoinHandle<Vec<Client>> {
    let mut collecting = JoinSet::new();
    for mut client in clients {
        let numbers = numbers.clone();
        collecting.spawn(async move {
            let expected: BTreeMap<_, Vec<_>> =
                senders.iter().map(|from| ((*from).to_owned(), numbers.clone().collect())).collect();
            let mut received = BTreeMap::new();
            for _ in 0..expected.values().map(Vec::len).sum() {
                // The check below names what is missing.
                let Ok((from, number)) = timeout(SILENCE, next_number(&mut client)).await else { break };
                received.entry(from).or_insert_with(Vec::new).push(number);
            }
            assert!(received == expected, "client {}: {}", client.id(), difference(&received, &expected));
            client.emit_with_ack("echo", &[json!("drained?")]).await.expect("the client lives");
            assert!(client.is_drained(), "client {} got more than was sent", client.id());
            client
        });
    }
    tokio::spawn(collecting.join_all())
}

async fn next_number(client: &mut Client) -> (String, u64) {
    let (name, arguments) = client.event().await.expect("the client lives");
    let payload = arguments.first().unwrap_or(&Value::Null);
    let from = payload.get("from").and_then(Value::as_str);
    let number = payload.get("number").and_then(Value::as_u64);
    match (name.as_str(), from, number) {
        ("msg", Some(from), Some(number)) => (from.to_owned(), number),
        _ => panic!("a numbered message, not {name} {arguments:?}"),
    }
}

type Numbers = BTreeMap<String, Vec<u64>>;

/// The first unexpected number of each sender, because thousands of numbers would not be readable.
fn difference(received: &Numbers, expected: &Numbers) -> String {
    let mut text = String::new();
    for (from, expected) in expected {
        let received = received.get(from).map_or(&[][..], Vec::as_slice);
        let agree =
            received.iter().zip(expected).take_while(|(received, expected)| received == expected).count();
        let (got, want) = (received.get(agree), expected.get(agree));
        text += &format!(
            "from {from} {} of {}, differing at {got:?} for {want:?}; ",
            received.len(),
            expected.len()
        );
    }
    text
}

/// Checks that an event to a room from one node reaches a member on the other, in both directions.
async fn assert_one_cluster(one: &Target, other: &Target) {
    for (from, to) in [(one, other), (other, one)] {
        let mut member = members(std::slice::from_ref(to), 1).await;
        let sender = Client::connect(from).await;
        let mut calling = interval(Duration::from_millis(20));
        let heard = async {
            // Until the nodes have found each other, no event arrives.
            loop {
                calling.tick().await;
                send(&sender, "sender", 0..1).await;
            }
        };
        tokio::select! {
            () = heard => {}
            (from, _) = next_number(&mut member[0]) => assert_eq!(from, "sender"),
        }
    }
}

/// A reserved address where nothing answers until it is released.
struct Silent {
    addr: SocketAddr,
    socket: UdpSocket,
}

impl Silent {
    fn release(self) -> SocketAddr {
        drop(self.socket);
        self.addr
    }
}

fn silent_address() -> Silent {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    Silent { addr: socket.local_addr().expect("it is bound"), socket }
}

const FIXTURE: Option<&str> = option_env!("CARGO_BIN_EXE_fixture");
const ROOM: &str = "room";
/// A message under way for so long is lost; shorter than the deadline of the harness.
const SILENCE: Duration = Duration::from_secs(8);
