//! The switch between real namespaces, behind the feature `networks`. Without root they fail, saying so: a network that cannot
//! be made proves nothing.

use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout};

use super::*;

/// Two namespaces, and a socket in each.
struct Pair {
    network: Network,
    one: UdpSocket,
    other: UdpSocket,
}

impl Pair {
    fn start(inside: Option<Ipv4Addr>) -> Self {
        let network = Network::start(2, inside, 7).expect("a network of its own");
        let [one, other] = [0, 1].map(|node| socket_in(&network, node));
        Self { network, one, other }
    }

    /// Sends that many numbered datagrams from one to the other, and returns those that arrive.
    async fn send(&self, count: u32) -> Vec<u32> {
        let to = SocketAddr::new(mesh_address(1).into(), PORT);
        let mut received = Vec::new();
        for number in 0..count {
            self.one.send_to(&number.to_be_bytes(), to).await.expect("it is sent");
            self.collect(&mut received, Duration::ZERO).await;
        }
        self.collect(&mut received, Duration::from_millis(300)).await;
        received
    }

    async fn collect(&self, received: &mut Vec<u32>, wait: Duration) {
        let mut buffer = [0; 4];
        while timeout(wait, self.other.recv(&mut buffer)).await.is_ok_and(|read| read.is_ok()) {
            received.push(u32::from_be_bytes(buffer));
        }
    }
}

fn socket_in(network: &Network, node: usize) -> UdpSocket {
    let space = network.space_of(node);
    let bound = thread::spawn(move || {
        enter(&space)?;
        let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT))?;
        socket.set_nonblocking(true).map(|()| socket)
    });
    let socket = bound.join().expect("it does not panic").expect("a socket");
    UdpSocket::from_std(socket).expect("a socket")
}

#[tokio::test]
async fn packets_pass_between_namespaces_as_the_link_says() {
    let pair = Pair::start(None);
    let switch = pair.network.switch();
    assert_eq!(pair.send(200).await, (0..200).collect::<Vec<_>>(), "a perfect link");

    switch.set(0, 1, Condition::CUT);
    assert_eq!(pair.send(20).await, [0; 0], "a cut");
    switch.set(0, 1, Condition { loss: 0.5, ..Condition::PERFECT });
    assert!((100..300).contains(&pair.send(400).await.len()), "half of them");
    switch.set(0, 1, Condition { duplication: 1.0, ..Condition::PERFECT });
    assert_eq!(pair.send(20).await.len(), 40, "each twice");

    let jitter = Duration::from_millis(20);
    switch.set(0, 1, Condition { jitter, ..Condition::PERFECT });
    let received = pair.send(200).await;
    assert_eq!(received.len(), 200);
    assert!(!received.is_sorted(), "some overtake others");

    let delay = Duration::from_millis(50);
    switch.set(0, 1, Condition { delay, ..Condition::PERFECT });
    let sent = Instant::now();
    assert_eq!(pair.send(1).await, [0]);
    assert!(sent.elapsed() >= delay);

    pair.network.heal();
    assert_eq!(pair.send(20).await.len(), 20, "healed");
    let (carried, lost) = switch.counts();
    assert!(carried > 500 && lost > 100, "{carried} {lost}");
}

#[tokio::test]
async fn nodes_with_one_address_inside_reach_each_other_from_outside() {
    let inside = Ipv4Addr::new(172, 17, 0, 2);
    let pair = Pair::start(Some(inside));
    assert_eq!(pair.send(20).await.len(), 20);
    let mut buffer = [0; 4];
    let to = SocketAddr::new(mesh_address(1).into(), PORT);
    pair.one.send_to(&[0; 4], to).await.expect("it is sent");
    let (_, from) = pair.other.recv_from(&mut buffer).await.expect("it arrives");
    assert_eq!(from, SocketAddr::new(mesh_address(0).into(), PORT));
}

#[tokio::test]
async fn the_namespaces_of_a_run_end_with_it() {
    let pair = Pair::start(None);
    let space = Path::new(SPACES).join(pair.network.space_of(0));
    assert!(space.exists());
    drop(pair);
    assert!(!space.exists());
}

const PORT: u16 = 7946;
