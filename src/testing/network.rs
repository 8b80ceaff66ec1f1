//! The network between the nodes of a test: datagrams in memory that are delayed, lost and cut off by rule and seed.

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
use crate::cluster;
use crate::id::Incarnation;

/// The addresses of nodes, and what happens to a datagram from one to another.
///
/// Node `n` lives at one address, over all its lives. Rules hold for datagrams that are sent from now on.
#[derive(Debug, Clone)]
pub(super) struct Network(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    random: Random,
    /// The living, by number.
    ports: HashMap<usize, Weak<Port>>,
    /// Links whose rule is not the usual one, by sender and receiver.
    links: HashMap<(usize, usize), Link>,
    usual: Link,
    born: Instant,
    lives: u64,
    sent: u64,
}

/// What happens between a sender and a receiver.
#[derive(Debug, Clone)]
pub(super) struct Link {
    pub(super) cut: bool,
    /// From 0, nothing is lost, to 1.
    pub(super) loss: f64,
    pub(super) delay: RangeInclusive<Duration>,
}

impl Default for Link {
    fn default() -> Self {
        Self { cut: false, loss: 0.0, delay: USUAL_DELAY..=USUAL_DELAY }
    }
}

impl Network {
    pub(super) fn new(seed: u64) -> Self {
        let state = State {
            random: Random::new(seed),
            ports: HashMap::new(),
            links: HashMap::new(),
            usual: Link::default(),
            born: Instant::now(),
            lives: 0,
            sent: 0,
        };
        Self(Arc::new(Mutex::new(state)))
    }

    /// Where node `number` lives.
    pub(super) fn address(number: usize) -> SocketAddr {
        let [.., high, low] = (number + 1).to_be_bytes();
        SocketAddr::from(([10, 0, high, low], PORT))
    }

    /// Changes the rule from each of these to each of those.
    pub(super) fn change(&self, from: &[usize], to: &[usize], change: impl Fn(&mut Link)) {
        let mut state = self.0.lock();
        for pair in from.iter().flat_map(|from| to.iter().map(move |to| (*from, *to))) {
            let usual = state.usual.clone();
            change(state.links.entry(pair).or_insert(usual));
        }
    }

    /// Changes every rule.
    pub(super) fn change_all(&self, change: impl Fn(&mut Link)) {
        let mut state = self.0.lock();
        state.links.values_mut().for_each(&change);
        change(&mut state.usual);
    }

    /// Every link is as it was in the beginning.
    pub(super) fn heal(&self) {
        let mut state = self.0.lock();
        state.links.clear();
        state.usual = Link::default();
    }

    /// Whether datagrams get through from one node to another, now and then at least.
    pub(super) fn reaches(&self, from: usize, to: usize) -> bool {
        let state = self.0.lock();
        let link = state.links.get(&(from, to)).unwrap_or(&state.usual);
        !link.cut && link.loss < 1.0
    }

    /// From now on nothing gets in or out of this life of a node.
    pub(super) fn unplug(&self, number: usize) {
        self.0.lock().ports.remove(&number);
    }

    fn send(&self, from: &Port, transmit: &Transmit<'_>) {
        let Some(to) = number(transmit.destination) else { return };
        let mut state = self.0.lock();
        let Some(port) = state.route(from, to) else { return };
        let Some(delay) = state.delay(from.number, to) else { return };
        let datagram = Datagram {
            due: Reverse((Instant::now() + delay, state.sent)),
            from: Self::address(from.number),
            ecn: transmit.ecn,
            bytes: transmit.contents.into(),
        };
        state.sent += 1;
        drop(state);
        port.push(datagram);
    }
}

impl State {
    /// Where a datagram goes, if both ends are alive.
    fn route(&self, from: &Port, to: usize) -> Option<Arc<Port>> {
        let sender = self.ports.get(&from.number)?;
        if !std::ptr::eq(sender.as_ptr(), from) {
            return None;
        }
        self.ports.get(&to)?.upgrade()
    }

    /// How long a datagram takes; `None` when it is lost.
    fn delay(&mut self, from: usize, to: usize) -> Option<Duration> {
        let link = self.links.get(&(from, to)).unwrap_or(&self.usual);
        if link.cut {
            return None;
        }
        let (loss, shortest) = (link.loss, *link.delay.start());
        let spread = link.delay.end().saturating_sub(shortest);
        if loss > 0.0 && self.random.share() < loss {
            return None;
        }
        let more = if spread.is_zero() { spread } else { spread.mul_f64(self.random.share()) };
        Some(shortest + more)
    }
}

impl cluster::Network for Network {
    fn bind(&self, address: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let number = number(address).ok_or(io::ErrorKind::AddrNotAvailable)?;
        let port = Arc::new(Port { number, network: self.clone(), inbox: Mutex::default() });
        // A life that was not unplugged is: two nodes at one address are one too many.
        self.0.lock().ports.insert(number, Arc::downgrade(&port));
        Ok(port)
    }

    fn next_life(&self) -> Incarnation {
        let mut state = self.0.lock();
        let age = u64::try_from(state.born.elapsed().as_millis()).unwrap_or(u64::MAX);
        state.lives = age.max(state.lives + 1);
        Incarnation(state.lives)
    }

    fn seed(&self) -> [u8; 32] {
        self.0.lock().random.bytes()
    }
}

/// Which node lives at an address.
fn number(address: SocketAddr) -> Option<usize> {
    let SocketAddr::V4(address) = address else { return None };
    let [_, _, high, low] = address.ip().octets();
    usize::from(u16::from_be_bytes([high, low])).checked_sub(1)
}

/// One life of a node, as the network sees it.
struct Port {
    number: usize,
    network: Network,
    inbox: Mutex<Inbox>,
}

/// What is on its way to a node.
#[derive(Default)]
struct Inbox {
    queue: BinaryHeap<Datagram>,
    /// Wakes the reader when the next datagram is due.
    alarm: Option<Pin<Box<Sleep>>>,
    reader: Option<Waker>,
}

struct Datagram {
    /// The earliest first, of two at once the one that was sent first.
    due: Reverse<(Instant, u64)>,
    from: SocketAddr,
    ecn: Option<EcnCodepoint>,
    bytes: Box<[u8]>,
}

impl Port {
    fn push(&self, datagram: Datagram) {
        let mut inbox = self.inbox.lock();
        if inbox.queue.len() < MAX_QUEUED {
            inbox.queue.push(datagram);
            if let Some(reader) = inbox.reader.take() {
                reader.wake();
            }
        }
    }
}

impl Inbox {
    /// What has arrived by now.
    fn pop(&mut self, now: Instant) -> Option<Datagram> {
        let Reverse((due, _)) = self.queue.peek()?.due;
        if due <= now { self.queue.pop() } else { None }
    }

    /// Registers the reader, and the time of the next arrival.
    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.reader = Some(cx.waker().clone());
        let Some(Reverse((due, _))) = self.queue.peek().map(|datagram| datagram.due) else {
            self.alarm = None;
            return Poll::Pending;
        };
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if alarm.deadline() != due {
            alarm.as_mut().reset(due);
        }
        alarm.as_mut().poll(cx)
    }
}

impl AsyncUdpSocket for Port {
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
        let mut inbox = self.inbox.lock();
        loop {
            let mut received = 0;
            for (buffer, meta) in buffers.iter_mut().zip(metas.iter_mut()) {
                let Some(datagram) = inbox.pop(Instant::now()) else { break };
                *meta = datagram.read_into(buffer);
                received += 1;
            }
            if received > 0 {
                return Poll::Ready(Ok(received));
            }
            if inbox.wait(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(Network::address(self.number))
    }

    fn may_fragment(&self) -> bool {
        false
    }
}

impl Datagram {
    /// Whatever does not fit is cut off, as by a socket.
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

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Port").field("number", &self.number).finish_non_exhaustive()
    }
}

/// What does not fit a receiver's queue is lost, so no sender ever waits.
#[derive(Debug)]
struct AlwaysWritable;

impl UdpPoller for AlwaysWritable {
    fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// About that of one data centre.
const USUAL_DELAY: Duration = Duration::from_millis(1);
const PORT: u16 = 7946;
/// About what a socket of the system buffers: 3 MB of full datagrams.
const MAX_QUEUED: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    fn chances(seed: u64, change: impl Fn(&mut Link)) -> Vec<Option<Duration>> {
        let network = Network::new(seed);
        network.change(&[0], &[1], change);
        let mut state = network.0.lock();
        (0..100).map(|_| state.delay(0, 1)).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_seed_gives_the_same_losses_and_delays() {
        let rough = |link: &mut Link| {
            link.loss = 0.5;
            link.delay = Duration::from_millis(1)..=Duration::from_millis(100);
        };
        let chances = |seed| chances(seed, rough);
        assert_eq!(chances(1), chances(1));
        assert_ne!(chances(1), chances(2));
        let lost = chances(1).iter().filter(|delay| delay.is_none()).count();
        assert!((30..70).contains(&lost), "{lost}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_cut_has_one_direction_and_heals() {
        let network = Network::new(0);
        network.change(&[0], &[1], |link| link.cut = true);
        assert!(!network.reaches(0, 1) && network.reaches(1, 0) && network.reaches(0, 2));
        network.change_all(|link| link.loss = 1.0);
        assert!(!network.reaches(1, 0));
        network.heal();
        assert!(network.reaches(0, 1) && network.reaches(1, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_later_life_is_a_larger_incarnation_even_at_once() {
        let network = Network::new(0);
        let lives = [(); 3].map(|()| cluster::Network::next_life(&network).0);
        assert!(lives.is_sorted_by(|a, b| a < b), "{lives:?}");
    }

    #[test]
    fn every_node_has_an_address_of_its_own() {
        for known in [0, 1, 254, 255, 256, 65_534] {
            assert_eq!(number(Network::address(known)), Some(known));
        }
        assert_eq!(number(SocketAddr::from(([10, 0, 0, 0], PORT))), None);
    }
}
