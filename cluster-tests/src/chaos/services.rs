//! What nodes find around them in some scenarios: a name server, and a virtual address in front of all of them.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::dice::Dice;

/// A name server that knows one set of addresses for every name, as long as it answers at all; dropping it ends it.
#[derive(Debug)]
pub struct NameServer {
    answers: Arc<AtomicBool>,
    _serving: JoinSet<()>,
}

impl NameServer {
    /// Serves at port 53 of an address.
    ///
    /// # Errors
    /// The port is taken.
    pub async fn start(at: Ipv4Addr, addresses: Vec<Ipv4Addr>) -> io::Result<Self> {
        let socket = UdpSocket::bind((at, 53)).await?;
        let answers = Arc::new(AtomicBool::new(true));
        let answering = Arc::clone(&answers);
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut query = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut query).await {
                let answer = query.get(..length).and_then(|query| answer(query, &addresses));
                if let Some(answer) = answer.filter(|_| answering.load(Ordering::Relaxed)) {
                    // Who asked may be gone.
                    socket.send_to(&answer, from).await.ok();
                }
            }
        });
        Ok(Self { answers, _serving: serving })
    }

    /// Whether it answers from now on.
    pub fn set(&self, answers: bool) {
        self.answers.store(answers, Ordering::Relaxed);
    }
}

/// The answer to a query (RFC 1035): the addresses to a question for addresses, nothing to any other.
fn answer(query: &[u8], addresses: &[Ipv4Addr]) -> Option<Vec<u8>> {
    let name = query.get(12..)?.iter().position(|byte| *byte == 0)?;
    let question = query.get(12..12 + name + 5)?;
    let asks_for_addresses = question.get(name + 1..name + 3)? == [0, 1];
    let addresses = if asks_for_addresses { addresses } else { &[] };
    let count = u16::try_from(addresses.len()).ok()?;
    let mut answer = query.get(..2)?.to_vec();
    answer.extend([0x81, 0x80, 0, 1]);
    answer.extend(count.to_be_bytes());
    answer.extend([0; 4]);
    answer.extend(question);
    for address in addresses {
        // The name of the question, an address, for one second.
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]);
        answer.extend(address.octets());
    }
    Some(answer)
}

/// An address that leads every new connection to any node, as a virtual address of an orchestrator does; dropping it ends it.
#[derive(Debug)]
pub struct VirtualAddress {
    _serving: JoinSet<()>,
}

/// The way of one node through the virtual address.
struct Flow {
    out: Arc<UdpSocket>,
    since: Instant,
    _back: JoinSet<()>,
}

impl VirtualAddress {
    /// Forwards what comes to `at` to `nodes`.
    ///
    /// # Errors
    /// The port is taken.
    pub async fn start(at: SocketAddr, nodes: Vec<SocketAddr>, mut dice: Dice) -> io::Result<Self> {
        let front = Arc::new(UdpSocket::bind(at).await?);
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut flows: HashMap<SocketAddr, Flow> = HashMap::new();
            let mut datagram = vec![0; 65_536];
            while let Ok((length, from)) = front.recv_from(&mut datagram).await {
                let Some(datagram) = datagram.get(..length) else { continue };
                let now = Instant::now();
                let stays = flows.get(&from).is_some_and(|flow| !begins(datagram) || now - flow.since < SAME);
                if !stays
                    && let Some(node) = nodes.get(dice.below(0..nodes.len()))
                    && let Ok(flow) = Flow::open(at, *node, Arc::clone(&front), from).await
                {
                    flows.insert(from, flow);
                }
                if let Some(flow) = flows.get(&from) {
                    // A datagram may always be lost.
                    flow.out.send(datagram).await.ok();
                }
            }
        });
        Ok(Self { _serving: serving })
    }
}

impl Flow {
    async fn open(
        at: SocketAddr,
        node: SocketAddr,
        front: Arc<UdpSocket>,
        from: SocketAddr,
    ) -> io::Result<Self> {
        let out = Arc::new(UdpSocket::bind((at.ip(), 0)).await?);
        out.connect(node).await?;
        let (back, answers) = (Arc::clone(&out), front);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut datagram = vec![0; 65_536];
            loop {
                // An error says that the port of a node is closed at the moment.
                let Ok(length) = back.recv(&mut datagram).await else { continue };
                answers.send_to(datagram.get(..length).unwrap_or_default(), from).await.ok();
            }
        });
        Ok(Self { out, since: Instant::now(), _back: task })
    }
}

/// Whether a datagram opens a QUIC connection (RFC 9000, section 17.2.2).
fn begins(datagram: &[u8]) -> bool {
    datagram.len() >= 1200 && datagram.first().is_some_and(|first| first & 0xf0 == 0xc0)
}

/// The same attempt to connect sends its first datagram again within this time.
const SAME: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_for_addresses_is_answered_with_them_and_any_other_with_none() {
        let query =
            |kind: u8| [&[7, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, b'a', 0, 0][..], &[kind, 0, 1]].concat();
        let answered = answer(&query(1), &[Ipv4Addr::new(10, 77, 0, 1)]).unwrap();
        assert_eq!(answered[..8], [7, 9, 0x81, 0x80, 0, 1, 0, 1]);
        assert!(answered.ends_with(&[0, 4, 10, 77, 0, 1]));
        assert_eq!(answer(&query(28), &[Ipv4Addr::LOCALHOST]).unwrap()[6..8], [0, 0]);
        assert_eq!(answer(&[0; 12], &[]), None);
    }
}
