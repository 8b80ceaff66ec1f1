//! The simulated network between the nodes of a test. Datagrams stay in memory; rules and a seed decide which of them
//! are lost and how long the others take.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::Mutex;
use quinn::udp::{EcnCodepoint, RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use tokio::time::{Instant, Sleep, sleep_until};

use super::random::Random;
use crate::cluster::transport::network::{BoundSocket, Network};
use crate::cluster::transport::refused_packets::RefusedPackets;
use crate::id::Incarnation;

/// The network. Clones share their state.
///
/// Node `n` keeps its address when it is restarted. A changed rule holds for the datagrams that are sent afterwards.
#[derive(Debug, Clone)]
pub(crate) struct SimulatedNetwork(Arc<Mutex<NetworkState>>);

#[derive(Debug)]
struct NetworkState {
    random: Random,
    /// The sockets of the running nodes, by number.
    sockets: HashMap<usize, Weak<NodeSocket>>,
    /// The rules that are not the default, by sender and receiver.
    rules: HashMap<(usize, usize), LinkRule>,
    default_rule: LinkRule,
    started_at: Instant,
    last_incarnation: u64,
    /// How many datagrams were sent. It orders datagrams that are due at the same time.
    sent: u64,
}

/// What happens to the datagrams from one node to another.
#[derive(Debug, Clone)]
pub(crate) struct LinkRule {
    pub(crate) cut: bool,
    /// The probability that a datagram is lost, from 0 to 1.
    pub(crate) loss: f64,
    pub(crate) delay: RangeInclusive<Duration>,
}

impl Default for LinkRule {
    fn default() -> Self {
        Self { cut: false, loss: 0.0, delay: DEFAULT_DELAY..=DEFAULT_DELAY }
    }
}

impl SimulatedNetwork {
    pub(crate) fn new(seed: u64) -> Self {
        let state = NetworkState {
            random: Random::new(seed),
            sockets: HashMap::new(),
            rules: HashMap::new(),
            default_rule: LinkRule::default(),
            started_at: Instant::now(),
            last_incarnation: 0,
            sent: 0,
        };
        Self(Arc::new(Mutex::new(state)))
    }

    /// The address of node `number`.
    pub(crate) fn address(number: usize) -> SocketAddr {
        let [.., high, low] = (number + 1).to_be_bytes();
        SocketAddr::from(([10, 0, high, low], PORT))
    }

    /// Changes the rules from each node of `from` to each node of `to`.
    pub(crate) fn change(&self, from: &[usize], to: &[usize], change: impl Fn(&mut LinkRule)) {
        let mut state = self.0.lock();
        for pair in from.iter().flat_map(|from| to.iter().map(move |to| (*from, *to))) {
            let default_rule = state.default_rule.clone();
            change(state.rules.entry(pair).or_insert(default_rule));
        }
    }

    /// Changes every rule.
    pub(crate) fn change_all(&self, change: impl Fn(&mut LinkRule)) {
        let mut state = self.0.lock();
        state.rules.values_mut().for_each(&change);
        change(&mut state.default_rule);
    }

    /// Resets every rule to the default.
    pub(crate) fn heal(&self) {
        let mut state = self.0.lock();
        state.rules.clear();
        state.default_rule = LinkRule::default();
    }

    /// Whether at least some datagrams arrive from one node at another.
    pub(crate) fn reaches(&self, from: usize, to: usize) -> bool {
        self.0.lock().lets_through(from, to)
    }

    /// How many datagrams were sent.
    #[cfg(test)]
    pub(crate) fn sent(&self) -> u64 {
        self.0.lock().sent
    }

    /// Disconnects the present socket of a node: it neither sends nor receives any more.
    pub(crate) fn disconnect(&self, number: usize) {
        self.0.lock().sockets.remove(&number);
    }

    fn send(&self, from: &NodeSocket, transmit: &Transmit<'_>) {
        let Some(to) = number(transmit.destination) else { return };
        let mut state = self.0.lock();
        let Some(socket) = state.receiver(from, to) else {
            // A socket that is gone was that of a process that ended on a machine that runs.
            if state.is_refused(from, to) {
                from.refused.0.lock().insert(transmit.destination, Instant::now());
            }
            return;
        };
        let Some(delay) = state.delay(from.number, to) else { return };
        let datagram = Datagram {
            due: Reverse((Instant::now() + delay, state.sent)),
            from: Self::address(from.number),
            ecn: transmit.ecn,
            bytes: transmit.contents.into(),
        };
        state.sent += 1;
        drop(state);
        socket.push(datagram);
    }
}

impl NetworkState {
    fn rule(&self, from: usize, to: usize) -> &LinkRule {
        self.rules.get(&(from, to)).unwrap_or(&self.default_rule)
    }

    /// The socket that receives a datagram; `None` when one of the two nodes is disconnected.
    fn receiver(&self, from: &NodeSocket, to: usize) -> Option<Arc<NodeSocket>> {
        if self.is_connected(from) { self.sockets.get(&to)?.upgrade() } else { None }
    }

    /// A node that was restarted has another socket.
    fn is_connected(&self, socket: &NodeSocket) -> bool {
        self.sockets.get(&socket.number).is_some_and(|present| std::ptr::eq(present.as_ptr(), socket))
    }

    /// Whether the machine of a node without a socket answers that there is none.
    fn is_refused(&self, from: &NodeSocket, to: usize) -> bool {
        self.is_connected(from) && self.lets_through(from.number, to) && self.lets_through(to, from.number)
    }

    /// Whether at least some datagrams arrive.
    fn lets_through(&self, from: usize, to: usize) -> bool {
        let rule = self.rule(from, to);
        !rule.cut && rule.loss < 1.0
    }

    /// Decides how long a datagram takes; `None` when it is lost.
    fn delay(&mut self, from: usize, to: usize) -> Option<Duration> {
        let rule = self.rule(from, to);
        if rule.cut {
            return None;
        }
        let (loss, shortest) = (rule.loss, *rule.delay.start());
        let spread = rule.delay.end().saturating_sub(shortest);
        if loss > 0.0 && self.random.fraction() < loss {
            return None;
        }
        let more = if spread.is_zero() { spread } else { spread.mul_f64(self.random.fraction()) };
        Some(shortest + more)
    }
}

impl Network for SimulatedNetwork {
    fn bind(&self, address: SocketAddr) -> io::Result<BoundSocket> {
        let number = number(address).ok_or(io::ErrorKind::AddrNotAvailable)?;
        let (network, refused) = (self.clone(), Arc::<Refused>::default());
        let socket =
            NodeSocket { number, network, arrivals: Mutex::default(), refused: Arc::clone(&refused) };
        let socket = Arc::new(socket);
        let mut state = self.0.lock();
        // It replaces, and so disconnects, an earlier socket at this address.
        state.sockets.insert(number, Arc::downgrade(&socket));
        let rng_seed = Some(state.random.bytes());
        Ok(BoundSocket {
            local: Self::address(number),
            rng_seed,
            has_other_ports: false,
            refused,
            open: Box::new(|| Ok(socket)),
        })
    }

    fn next_incarnation(&self) -> Incarnation {
        let mut state = self.0.lock();
        let age = u64::try_from(state.started_at.elapsed().as_millis()).unwrap_or(u64::MAX);
        state.last_incarnation = age.max(state.last_incarnation + 1);
        Incarnation(state.last_incarnation)
    }

    fn shares_runtime(&self) -> bool {
        true
    }
}

/// The number of the node with this address.
fn number(address: SocketAddr) -> Option<usize> {
    let SocketAddr::V4(address) = address else { return None };
    let [_, _, high, low] = address.ip().octets();
    usize::from(u16::from_be_bytes([high, low])).checked_sub(1)
}

/// The UDP socket of a node, from its start to its end.
struct NodeSocket {
    number: usize,
    network: SimulatedNetwork,
    arrivals: Mutex<Arrivals>,
    refused: Arc<Refused>,
}

/// When a datagram to another node was last refused. A socket that is gone is counted by its last owner, so this is apart.
#[derive(Debug, Default)]
struct Refused(Mutex<HashMap<SocketAddr, Instant>>);

impl RefusedPackets for Refused {
    fn last(&self, to: SocketAddr) -> Option<Instant> {
        self.0.lock().get(&to).copied()
    }
}

/// The datagrams on their way to a node.
#[derive(Default)]
struct Arrivals {
    queue: BinaryHeap<Datagram>,
    /// Wakes the reader when the next datagram is due.
    timer: Option<Pin<Box<Sleep>>>,
    reader: Option<Waker>,
}

struct Datagram {
    /// The time of arrival, and the number of the datagram. A heap pops the earliest one first.
    due: Reverse<(Instant, u64)>,
    from: SocketAddr,
    ecn: Option<EcnCodepoint>,
    bytes: Box<[u8]>,
}

impl NodeSocket {
    fn push(&self, datagram: Datagram) {
        let mut arrivals = self.arrivals.lock();
        if arrivals.queue.len() < MAX_QUEUED {
            arrivals.queue.push(datagram);
            if let Some(reader) = arrivals.reader.take() {
                reader.wake();
            }
        }
    }
}

impl Arrivals {
    /// Takes a datagram that has arrived by now.
    fn pop(&mut self, now: Instant) -> Option<Datagram> {
        let Reverse((due, _)) = self.queue.peek()?.due;
        if due <= now { self.queue.pop() } else { None }
    }

    /// Registers the reader to be woken at the next arrival.
    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.reader = Some(cx.waker().clone());
        let Some(Reverse((due, _))) = self.queue.peek().map(|datagram| datagram.due) else {
            self.timer = None;
            return Poll::Pending;
        };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if timer.deadline() != due {
            timer.as_mut().reset(due);
        }
        timer.as_mut().poll(cx)
    }
}

impl AsyncUdpSocket for NodeSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(AlwaysWritable)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.network.send(self, transmit);
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut arrivals = self.arrivals.lock();
        loop {
            let mut received = 0;
            for (buffer, meta) in buffers.iter_mut().zip(metas.iter_mut()) {
                let Some(datagram) = arrivals.pop(Instant::now()) else { break };
                *meta = datagram.read_into(buffer);
                received += 1;
            }
            if received > 0 {
                return Poll::Ready(Ok(received));
            }
            if arrivals.wait(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(SimulatedNetwork::address(self.number))
    }

    fn may_fragment(&self) -> bool {
        false
    }
}

impl Datagram {
    /// Copies the datagram. What does not fit into the buffer is cut off, as by a socket of the operating system.
    fn read_into(&self, buffer: &mut [u8]) -> RecvMeta {
        let length = self.bytes.len().min(buffer.len());
        buffer.iter_mut().zip(self.bytes.iter()).for_each(|(to, from)| *to = *from);
        RecvMeta { addr: self.from, len: length, stride: length, ecn: self.ecn, dst_ip: None }
    }
}

impl PartialEq for Datagram {
    fn eq(&self, other: &Self) -> bool {
        self.due == other.due
    }
}

impl Eq for Datagram {}

impl PartialOrd for Datagram {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Datagram {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.due.cmp(&other.due)
    }
}

impl fmt::Debug for NodeSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeSocket").field("number", &self.number).finish_non_exhaustive()
    }
}

/// Sockets of the simulation are always writable: a full queue of a receiver loses datagrams instead.
#[derive(Debug)]
struct AlwaysWritable;

impl UdpPoller for AlwaysWritable {
    fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A round trip of 2 ms, as within one region of a data centre.
const DEFAULT_DELAY: Duration = Duration::from_millis(1);
const PORT: u16 = 7946;
/// How many datagrams wait for a node, about 3 MB: as many as a socket of the operating system buffers.
const MAX_QUEUED: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    fn delays(seed: u64, change: impl Fn(&mut LinkRule)) -> Vec<Option<Duration>> {
        let network = SimulatedNetwork::new(seed);
        network.change(&[0], &[1], change);
        let mut state = network.0.lock();
        (0..100).map(|_| state.delay(0, 1)).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_seed_gives_the_same_losses_and_delays() {
        let rough = |link: &mut LinkRule| {
            link.loss = 0.5;
            link.delay = Duration::from_millis(1)..=Duration::from_millis(100);
        };
        let delays = |seed| delays(seed, rough);
        assert_eq!(delays(1), delays(1));
        assert_ne!(delays(1), delays(2));
        let lost = delays(1).iter().filter(|delay| delay.is_none()).count();
        assert!((30..70).contains(&lost), "{lost}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_cut_has_one_direction_and_heals() {
        let network = SimulatedNetwork::new(0);
        network.change(&[0], &[1], |link| link.cut = true);
        assert!(!network.reaches(0, 1) && network.reaches(1, 0) && network.reaches(0, 2));
        network.change_all(|link| link.loss = 1.0);
        assert!(!network.reaches(1, 0));
        network.heal();
        assert!(network.reaches(0, 1) && network.reaches(1, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_later_incarnation_is_larger_even_at_the_same_time() {
        let network = SimulatedNetwork::new(0);
        let incarnations = [(); 3].map(|()| network.next_incarnation().0);
        assert!(incarnations.is_sorted_by(|a, b| a < b), "{incarnations:?}");
    }

    #[test]
    fn every_node_has_an_address_of_its_own() {
        for known in [0, 1, 254, 255, 256, 65_534] {
            assert_eq!(number(SimulatedNetwork::address(known)), Some(known));
        }
        assert_eq!(number(SocketAddr::from(([10, 0, 0, 0], PORT))), None);
    }
}
