//! Judges a history: what was lost, came twice, out of order, to the wrong client, or out of nowhere; and whether the
//! nodes counted exactly what was lost. No I/O.
//!
//! An emit is *owed* to a client if its node said that it emitted it, and the client was in the room from before it was
//! sent, as its acknowledged join says. What is not owed may arrive, and does not have to.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use super::history::{ClientLife, Emit, Ending, History, Membership, Room, Target};

/// Two lives of nodes: of the sender, and of the receiver.
pub type Pair = (usize, usize);

/// What is wrong with a history, and its figures.
#[derive(Debug, Default)]
pub struct Verdict {
    /// How much was emitted.
    pub emits: usize,
    /// How much was owed.
    pub owed: usize,
    /// How much arrived.
    pub received: usize,
    /// Owed and not received, in time order: when it was sent, the receiver, and the sender with the number.
    pub lost: Vec<(Duration, usize, (usize, usize))>,
    /// Came again.
    pub duplicated: Vec<Fault>,
    /// Came after what was emitted later.
    pub reordered: Vec<Fault>,
    /// Came to a client for which it was not.
    pub misdelivered: Vec<Fault>,
    /// Was never emitted.
    pub phantom: Vec<Fault>,
    /// Lost right after a join that was acknowledged.
    pub joins_missed: Vec<Fault>,
    /// Lost although its node had it.
    pub lost_at_home: Vec<Fault>,
    /// How many messages one node owes another that never reached it: the fewest and the most that it can be.
    pub missing: BTreeMap<Pair, (u64, u64)>,
    /// From emit to arrival, sorted.
    pub latencies: Vec<Duration>,
}

/// When something wrong happened, and what.
pub type Fault = (Duration, String);

impl Verdict {
    /// Judges a history.
    #[must_use]
    pub fn of(history: &History) -> Self {
        let arrivals = Arrivals::of(history);
        let mut verdict = Self { received: history.receipts.len(), ..Self::default() };
        verdict.emits = history.clients.iter().map(|client| client.emits.len()).sum();
        verdict.judge_receipts(history);
        verdict.judge_losses(history, &arrivals);
        verdict.count_missing(history, &arrivals);
        verdict.latencies.sort_unstable();
        verdict.lost.sort_unstable();
        verdict
    }

    /// The latency that this share of the arrivals did not exceed.
    #[must_use]
    pub fn latency(&self, percent: usize) -> Duration {
        let at = (self.latencies.len() * percent / 100).min(self.latencies.len().saturating_sub(1));
        self.latencies.get(at).copied().unwrap_or_default()
    }

    /// Everything that nothing excuses, with its kind.
    pub fn faults(&self) -> impl Iterator<Item = Fault> {
        let kinds = [
            ("twice", &self.duplicated),
            ("out of order", &self.reordered),
            ("misdelivered", &self.misdelivered),
            ("phantom", &self.phantom),
            ("lost at home", &self.lost_at_home),
        ];
        kinds
            .into_iter()
            .flat_map(|(kind, faults)| faults.iter().map(move |(at, what)| (*at, format!("{kind}: {what}"))))
    }

    fn judge_receipts(&mut self, history: &History) {
        let mut seen = HashSet::new();
        let mut last: HashMap<(usize, usize), usize> = HashMap::new();
        for receipt in &history.receipts {
            let name = |client: usize| history.clients.get(client).map_or("nobody", |client| &client.name);
            let (by, at) = (receipt.by, receipt.at);
            let known = receipt.from.and_then(|from| Some((from, history.emit(from.0, from.1)?)));
            let Some(((from, number), emit)) = known else {
                self.phantom.push((at, format!("{} got what nobody sent: {:?}", name(by), receipt.from)));
                continue;
            };
            let what = format!("{} got {number} of {}", name(by), name(from));
            self.latencies.push(at.saturating_sub(emit.asked));
            if !may_get(history, by, from, emit, at) {
                self.misdelivered.push((at, format!("{what}, which was for {:?}", emit.target)));
            }
            if !seen.insert((by, from, number)) {
                self.duplicated.push((at, format!("{what} again")));
                continue;
            }
            let before = last.get(&(by, from)).copied();
            if let Some(before) = before.filter(|before| number < *before) {
                self.reordered.push((at, format!("{what} after {before}")));
            }
            last.insert((by, from), before.map_or(number, |before| before.max(number)));
        }
    }

    fn judge_losses(&mut self, history: &History, arrivals: &Arrivals) {
        for (by, receiver) in history.clients.iter().enumerate() {
            for (from, sender) in history.clients.iter().enumerate() {
                for (number, emit) in sender.emits.iter().enumerate() {
                    let Some(since) = owed(history, arrivals, (by, receiver), (from, sender), number, emit)
                    else {
                        continue;
                    };
                    self.owed += 1;
                    if arrivals.at_client(by, from).is_some_and(|numbers| numbers.contains(&number)) {
                        continue;
                    }
                    let what = format!("{} never got {number} of {}", receiver.name, sender.name);
                    self.lost.push((emit.asked, by, (from, number)));
                    let had_it =
                        arrivals.at_node(receiver.node, from).is_some_and(|got| got.contains(&number));
                    if sender.node == receiver.node || had_it {
                        self.lost_at_home.push((emit.asked, format!("{what}, though its node had it")));
                    } else if emit.asked < since + FRESH {
                        self.joins_missed.push((emit.asked, what));
                    }
                }
            }
        }
    }

    /// Counts for each pair of lives the emits that did not reach any client of the receiver, though one was there for it.
    /// What may have been sent to the receiver, without anybody there to whom it was owed, makes the range.
    fn count_missing(&mut self, history: &History, arrivals: &Arrivals) {
        let lost: BTreeSet<(usize, usize, usize)> = (self.lost.iter())
            .filter_map(|(_, by, (from, number))| Some((history.clients.get(*by)?.node, *from, *number)))
            .collect();
        for (receiver, here) in history.nodes.iter().enumerate() {
            for (from, sender) in history.clients.iter().enumerate() {
                let there = history.nodes.get(sender.node);
                if sender.node == receiver || there.is_none_or(|there| there.cluster != here.cluster) {
                    continue;
                }
                let arrived = arrivals.at_node(receiver, from);
                let (fewest, most) = self.missing.entry((sender.node, receiver)).or_default();
                for (number, emit) in sender.emits.iter().enumerate() {
                    let before_its_life = emit.confirmed.is_some_and(|confirmed| confirmed < here.started);
                    if before_its_life || arrived.is_some_and(|numbers| numbers.contains(&number)) {
                        continue;
                    }
                    *fewest += u64::from(lost.contains(&(receiver, from, number)));
                    *most += 1;
                }
            }
        }
    }
}

/// Which numbers of whom arrived where.
#[derive(Debug)]
struct Arrivals {
    /// By receiver and sender.
    clients: HashMap<(usize, usize), BTreeSet<usize>>,
    /// By the receiver's node and the sender.
    nodes: HashMap<(usize, usize), BTreeSet<usize>>,
    /// The largest number that a client had of a sender, and since when.
    latest: HashMap<(usize, usize), Vec<(Duration, usize)>>,
    /// When a client got what a node emitted to a room, in time order.
    heard: HashMap<(usize, usize, Room), Vec<Duration>>,
}

impl Arrivals {
    fn of(history: &History) -> Self {
        let (clients, nodes, latest) = (HashMap::new(), HashMap::new(), HashMap::new());
        let mut this = Self { clients, nodes, latest, heard: HashMap::new() };
        for receipt in &history.receipts {
            let Some((from, number)) = receipt.from else { continue };
            let (Some(receiver), Some(sender)) = (history.clients.get(receipt.by), history.clients.get(from))
            else {
                continue;
            };
            this.clients.entry((receipt.by, from)).or_default().insert(number);
            this.nodes.entry((receiver.node, from)).or_default().insert(number);
            let latest: &mut Vec<(Duration, usize)> = this.latest.entry((receipt.by, from)).or_default();
            if latest.last().is_none_or(|(_, last)| number > *last) {
                latest.push((receipt.at, number));
            }
            if let Some(Target::Room(room)) = sender.emits.get(number).map(|emit| &emit.target) {
                let heard = this.heard.entry((receipt.by, sender.node, room.clone())).or_default();
                heard.push(receipt.at);
            }
        }
        this
    }

    fn at_client(&self, by: usize, from: usize) -> Option<&BTreeSet<usize>> {
        self.clients.get(&(by, from))
    }

    /// The largest number that a client had of a sender at this time.
    fn last_by(&self, by: usize, from: usize, time: Duration) -> Option<usize> {
        let latest = self.latest.get(&(by, from))?;
        let count = latest.partition_point(|(at, _)| *at <= time);
        latest.get(count.checked_sub(1)?).map(|(_, number)| *number)
    }

    /// When a client first got what a node emitted to a room, from this time on.
    fn heard_since(&self, by: usize, node: usize, room: &Room, time: Duration) -> Option<Duration> {
        let heard = self.heard.get(&(by, node, room.clone()))?;
        heard.get(heard.partition_point(|at| *at < time)).copied()
    }

    fn at_node(&self, node: usize, from: usize) -> Option<&BTreeSet<usize>> {
        self.nodes.get(&(node, from))
    }
}

/// Since when a client is among those that an emit is for, if it is owed to it.
fn owed(
    history: &History,
    arrivals: &Arrivals,
    (by, receiver): (usize, &ClientLife),
    (from, sender): (usize, &ClientLife),
    number: usize,
    emit: &Emit,
) -> Option<Duration> {
    emit.confirmed?;
    let (here, there) = (history.nodes.get(receiver.node)?, history.nodes.get(sender.node)?);
    if by == from || here.cluster != there.cluster {
        return None;
    }
    let margin = receiver.skew + sender.skew;
    let is_in = |stay: &&Membership| {
        stay.joined.is_some_and(|joined| emit.asked >= joined + margin)
            // Order has no holes: what was emitted before what it got in time would have been in time.
            && stay.leaving.is_none_or(|leaving| arrivals.last_by(by, from, leaving) > Some(number))
    };
    let since = match &emit.target {
        Target::Client(client) => {
            (*client == by && emit.asked > receiver.connected + margin).then_some(receiver.connected)?
        }
        Target::Room(room) => {
            let stay = receiver.rooms.iter().filter(|stay| stay.room == *room).find(is_in)?;
            let confirmed = !stay.unconfirmed.contains(&there.number);
            // Who did not confirm a join knows of it once something came.
            (confirmed || arrivals.heard_since(by, sender.node, room, stay.asked)? < emit.asked)
                .then_some(())?;
            stay.joined?
        }
    };
    let precedes = |numbers: Option<&BTreeSet<usize>>| (number < *numbers?.last()?).then_some(());
    // What a client did not get before it went away went away with it; but order has no holes.
    if receiver.ended.is_some() || here.ended.is_some() {
        precedes(arrivals.at_client(by, from))?;
    }
    // What a killed node had not sent yet died with it.
    if there.ended.is_some_and(|(_, ending)| ending == Ending::Killed) {
        precedes(arrivals.at_node(receiver.node, from))?;
    }
    Some(since)
}

/// Whether a client may get an emit at this time.
fn may_get(history: &History, by: usize, from: usize, emit: &Emit, at: Duration) -> bool {
    let (Some(receiver), Some(sender)) = (history.clients.get(by), history.clients.get(from)) else {
        return false;
    };
    let cluster = |client: usize| history.node_of(client).map(|node| node.cluster);
    let margin = receiver.skew + sender.skew;
    let addressed = match &emit.target {
        Target::Client(client) => *client == by,
        Target::Room(room) => receiver.rooms.iter().any(|stay| {
            stay.room == *room
                && stay.asked <= at + margin
                && stay.left.is_none_or(|left| emit.asked <= left + margin)
        }),
    };
    addressed && by != from && cluster(by) == cluster(from)
}

/// A loss this soon after a join is one of the join.
const FRESH: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
