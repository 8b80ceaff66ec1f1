//! A switch between TUN devices: it carries IP packets from one to another, and treats each as the link between the two
//! says ([`super::link`]). The kernel's own means for that are not compiled into every kernel.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use netns::Device;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::link::{Condition, Link};
use super::packet;
use crate::dice::Dice;

/// One device, and the address that leads to it.
#[derive(Debug)]
pub struct Port {
    /// The device.
    pub device: File,
    /// Where packets for it go.
    pub address: Ipv4Addr,
    /// Its own address, where it is another: the switch translates between the two, as a gateway does.
    pub inside: Option<Ipv4Addr>,
}

/// A running switch; dropping it ends it.
#[derive(Debug)]
pub struct Switch {
    wires: Arc<Wires>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Wires {
    addresses: Vec<(Ipv4Addr, Option<Ipv4Addr>)>,
    state: Mutex<State>,
    /// A packet is on its way that arrives earlier than all others.
    earlier: Notify,
}

#[derive(Debug)]
struct State {
    /// By sender and receiver.
    links: Vec<Vec<Link>>,
    dice: Dice,
    /// Packets on their way, the next one first; of equal times the one sent first.
    travelling: BinaryHeap<Reverse<(Instant, u64, Travelling)>>,
    sent: u64,
    carried: u64,
    lost: u64,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Travelling {
    from: usize,
    to: usize,
    packet: Vec<u8>,
}

impl Switch {
    /// Starts to carry packets, on a thread of its own. The seed decides which are lost.
    ///
    /// # Errors
    /// A device cannot be waited for, or there is no thread.
    pub fn start(ports: Vec<Port>, seed: u64) -> io::Result<Self> {
        let links = ports.iter().map(|_| ports.iter().map(|_| Link::default()).collect()).collect();
        let state = State {
            links,
            dice: Dice::new(seed),
            travelling: BinaryHeap::new(),
            sent: 0,
            carried: 0,
            lost: 0,
        };
        let addresses = ports.iter().map(|port| (port.address, port.inside)).collect();
        let wires = Arc::new(Wires { addresses, state: Mutex::new(state), earlier: Notify::new() });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let carried = Arc::clone(&wires);
        let carry = move || {
            let devices = ports.into_iter().map(|port| port.device).collect();
            runtime.block_on(async {
                tokio::select! {
                    _ = stopped => {}
                    () = carry(carried, devices) => {}
                }
            });
        };
        let thread = thread::Builder::new().name("switch".to_owned()).spawn(carry)?;
        Ok(Self { wires, stop: Some(stop), thread: Some(thread) })
    }

    /// From now on packets from one port to another are treated like this, until the next change.
    pub fn set(&self, from: usize, to: usize, condition: Condition) {
        self.wires.with(|state| {
            if let Some(link) = state.links.get_mut(from).and_then(|links| links.get_mut(to)) {
                link.set(condition);
            }
        });
    }

    /// How many packets arrived, and how many were lost.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        self.wires.with(|state| (state.carried, state.lost))
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It ends with its devices; what it did before does not matter any more.
            thread.join().ok();
        }
    }
}

async fn carry(wires: Arc<Wires>, devices: Vec<File>) {
    let devices: Option<Vec<_>> = devices.into_iter().map(|device| Device::new(device).ok()).collect();
    let Some(devices) = devices.map(Arc::new) else { return };
    let mut tasks = JoinSet::new();
    for port in 0..devices.len() {
        tasks.spawn(read(Arc::clone(&wires), Arc::clone(&devices), port));
    }
    tasks.spawn(deliver(wires, devices));
    while tasks.join_next().await.is_some() {}
}

/// Takes what a device sends.
async fn read(wires: Arc<Wires>, devices: Arc<Vec<Device>>, port: usize) {
    let Some(device) = devices.get(port) else { return };
    let mut buffer = vec![0; LARGEST];
    loop {
        // A device that is not up yet, or not any more, has nothing.
        let Ok(length) = device.receive(&mut buffer).await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let packet = buffer.get(..length).unwrap_or_default().to_vec();
        for (to, packet) in wires.route(port, packet).into_iter().flatten() {
            write(&devices, to, &packet);
        }
    }
}

/// Hands over what was on its way for long enough.
async fn deliver(wires: Arc<Wires>, devices: Arc<Vec<Device>>) {
    loop {
        let (arrived, next) = wires.arrived(Instant::now());
        for Travelling { to, packet, .. } in arrived {
            write(&devices, to, &packet);
        }
        tokio::select! {
            () = sleep_until(next.unwrap_or_else(|| Instant::now() + PAUSE * 100)) => {}
            () = wires.earlier.notified() => {}
        }
    }
}

fn write(devices: &[Device], to: usize, packet: &[u8]) {
    if let Some(device) = devices.get(to) {
        // A device that takes no packet loses it, as any network.
        device.send(packet).ok();
    }
}

impl Wires {
    /// Sends a packet on its way, and returns what arrives at once.
    fn route(&self, from: usize, mut packet: Vec<u8>) -> Option<Vec<(usize, Vec<u8>)>> {
        let to = packet::destination(&packet)?;
        let to = self.addresses.iter().position(|(address, _)| *address == to).filter(|to| *to != from)?;
        if let Some((outside, Some(inside))) = self.addresses.get(from)
            && packet::source(&packet) == Some(*inside)
        {
            packet::set_source(&mut packet, *outside);
        }
        if let Some((_, Some(inside))) = self.addresses.get(to) {
            packet::set_destination(&mut packet, *inside);
        }
        let now = Instant::now();
        self.with(|state| {
            let State { links, dice, .. } = state;
            let link = links.get_mut(from)?.get_mut(to)?;
            let arrivals = link.send(packet.len(), now, dice);
            state.lost += u64::from(arrivals.iter().all(Option::is_none));
            let (mut at_once, mut earlier) = (Vec::new(), false);
            for at in arrivals.into_iter().flatten() {
                if at <= now {
                    state.carried += 1;
                    at_once.push((to, packet.clone()));
                    continue;
                }
                let first = state.travelling.peek().is_none_or(|Reverse((first, ..))| at < *first);
                earlier |= first;
                state.sent += 1;
                let travelling = Travelling { from, to, packet: packet.clone() };
                state.travelling.push(Reverse((at, state.sent, travelling)));
            }
            if earlier {
                self.earlier.notify_one();
            }
            Some(at_once)
        })
    }

    /// What has arrived by now, and when the next packet does.
    fn arrived(&self, now: Instant) -> (Vec<Travelling>, Option<Instant>) {
        self.with(|state| {
            let mut arrived = Vec::new();
            while state.travelling.peek().is_some_and(|Reverse((at, ..))| *at <= now) {
                let Some(Reverse((.., packet))) = state.travelling.pop() else { break };
                let link = state.links.get(packet.from).and_then(|links| links.get(packet.to));
                // A cut catches what is on its way.
                if link.is_some_and(|link| !link.condition().cut) {
                    state.carried += 1;
                    arrived.push(packet);
                } else {
                    state.lost += 1;
                }
            }
            (arrived, state.travelling.peek().map(|Reverse((at, ..))| *at))
        })
    }

    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The largest IP packet.
const LARGEST: usize = 65_536;
/// Between two looks at a device that is not up.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(10);
