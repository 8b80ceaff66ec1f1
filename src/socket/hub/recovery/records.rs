//! What was sent in each namespace of a node whose clients may come back, bounded over all of them.

use std::collections::{BinaryHeap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::id::NodeId;
use crate::socket::messages::recovery::Origin;
use crate::socket::recovery::{Journal, LogLimits, LogRoom, Recovery};

/// What was sent in one namespace.
#[derive(Debug)]
pub(crate) struct Records {
    pub(crate) path: Arc<str>,
    pub(crate) settings: Recovery,
    /// For how long packets are kept.
    pub(crate) retention: Duration,
    journal: Mutex<Journal>,
    /// Wakes who waits for answers of other nodes.
    pub(crate) answers: Notify,
}

/// What was sent in all namespaces of a node.
pub(crate) struct AllRecords {
    origin: Origin,
    /// For how much longer than clients may be away packets are kept.
    longer: Duration,
    /// For the packets of all namespaces.
    room: Arc<LogRoom>,
    /// So many are kept for clients that are away alone.
    most: usize,
    known: Mutex<Known>,
}

/// They outlive their namespaces: who is away holds none.
#[derive(Debug)]
struct Known {
    by_path: HashMap<Arc<str>, Arc<Records>>,
    /// With so many, those that nobody holds are looked for.
    look: usize,
    /// The last number of any that was forgotten. Numbers go on behind it: none is taken twice in one life of a node.
    last: u64,
    /// Until when somebody may miss something of one that was forgotten early.
    missing: Option<Instant>,
    /// Who answers for this node when it is gone, if it leaves.
    heir: Option<NodeId>,
    /// Whether nothing is kept any more.
    is_closed: bool,
}

impl Records {
    /// For how long a packet may have been on its way to a client that is lost: so long after a client has gone nobody may know of it.
    pub(crate) fn slack(&self) -> Duration {
        self.retention.saturating_sub(self.settings.max_disconnection)
    }

    /// Locked before the room index, the interest of this node and the roster of peers.
    pub(crate) fn journal(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock()
    }

    /// Whether a namespace of this node has it, or a client that is coming back.
    fn is_held(self: &Arc<Self>) -> bool {
        Arc::strong_count(self) > 1
    }
}

impl AllRecords {
    /// Packets are kept for so much longer than clients may be away, and have so many bytes together.
    pub(crate) fn new(origin: Origin, longer: Duration, bytes: usize) -> Self {
        let most = bytes / RECORD;
        let (by_path, look) = (HashMap::new(), most);
        let known = Known { by_path, look, last: 0, missing: None, heir: None, is_closed: false };
        Self { origin, longer, room: LogRoom::new(bytes), most, known: Mutex::new(known) }
    }

    /// What was sent in a namespace.
    pub(crate) fn of(&self, path: &Arc<str>, settings: &Recovery, now: Instant) -> Arc<Records> {
        let mut known = self.known.lock();
        if let Some(records) = known.by_path.get(path) {
            return Arc::clone(records);
        }
        if known.by_path.len() >= known.look {
            known.forget_early(self.most, now);
        }
        let mut settings = settings.clone();
        settings.max_disconnection = settings.max_disconnection.min(LONGEST);
        let retention = settings.max_disconnection + self.longer;
        let limits = LogLimits { bytes: settings.max_log, age: retention };
        let mut journal = Journal::new(self.origin, limits, &self.room);
        journal.resume(known.last, known.missing.filter(|until| now < *until), now);
        if let Some(heir) = &known.heir {
            journal.leave_from_the_beginning_to(heir);
        }
        if known.is_closed {
            journal.close();
        }
        let records = Arc::new(Records {
            path: Arc::clone(path),
            settings,
            retention,
            journal: Mutex::new(journal),
            answers: Notify::new(),
        });
        known.by_path.insert(Arc::clone(path), Arc::clone(&records));
        records
    }

    /// The same, if there is anything.
    pub(crate) fn get(&self, path: &str) -> Option<Arc<Records>> {
        self.known.lock().by_path.get(path).cloned()
    }

    /// Every namespace of which there is anything, in the order of their paths.
    pub(crate) fn all(&self) -> Vec<Arc<Records>> {
        let mut all: Vec<_> = self.known.lock().by_path.values().cloned().collect();
        all.sort_unstable_by(|one, other| one.path.cmp(&other.path));
        all
    }

    /// This node leaves, and that one is to answer for it, in those namespaces as well that begin from now on. Returns the others.
    pub(crate) fn leave_to(&self, heir: &NodeId) -> Vec<Arc<Records>> {
        self.known.lock().heir = Some(heir.clone());
        self.all()
    }

    /// Nothing is kept any more. Returns how many packets nobody answers for.
    pub(crate) fn close(&self) -> u64 {
        let mut known = self.known.lock();
        known.is_closed = true;
        let left = known.by_path.values().map(|records| records.journal().close() as u64).sum();
        if known.heir.is_some() { left } else { 0 }
    }

    /// Drops what is too old, and of the largest what leaves no room for the others.
    pub(crate) fn expire(&self, now: Instant) {
        // Whoever names a namespace waits for none that is busy.
        for records in self.all() {
            records.journal().expire(now);
        }
        let mut known = self.known.lock();
        let Known { by_path, last, .. } = &mut *known;
        by_path.retain(|_, records| {
            let Some(mut journal) = records.journal.try_lock() else { return true };
            let is_used = journal.expire(now) || records.is_held();
            if !is_used {
                *last = journal.last().max(*last);
            }
            is_used
        });
        known.look_later(self.most);
        drop(known);
        if !self.room.has_slack() {
            self.trim();
        }
    }

    /// Halves the largest until an eighth of the room is free: one that rests must not starve the others.
    fn trim(&self) {
        let all = self.all();
        let mut largest: BinaryHeap<_> =
            all.iter().enumerate().map(|(at, records)| (records.journal().bytes(), at)).collect();
        while !self.room.has_slack()
            && let Some((bytes, at)) = largest.pop()
            && let Some(records) = all.get(at)
            && bytes > 0
        {
            let mut journal = records.journal();
            journal.shed();
            largest.push((journal.bytes(), at));
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.known.lock().by_path.len()
    }

    /// What their packets share.
    pub(crate) fn room(&self) -> &LogRoom {
        &self.room
    }
}

impl Known {
    /// Forgets those that are kept for clients that are away alone, until there are few. Clients name paths, so they are not to
    /// make a node keep something for each. Who is away from one of them, and missed something of this node, is not recovered.
    fn forget_early(&mut self, most: usize, now: Instant) {
        let mut over = self.by_path.len().saturating_sub(most - most / 8);
        let Self { by_path, last, missing, .. } = self;
        by_path.retain(|_, records| {
            if over == 0 || records.is_held() {
                return true;
            }
            let journal = records.journal();
            if !journal.is_its_own() {
                return true;
            }
            over -= 1;
            *last = journal.last().max(*last);
            if !journal.is_empty() {
                *missing = (*missing).max(Some(now + records.retention));
            }
            false
        });
        self.look_later(most);
    }

    /// Not for each new one if most of them are held.
    fn look_later(&mut self, most: usize) {
        let known = self.by_path.len();
        self.look = most.max(known + known / 8);
    }
}

impl fmt::Debug for AllRecords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AllRecords").field("room", &self.room).finish_non_exhaustive()
    }
}

/// Packets are kept for longer than clients may be away and heartbeats take: what was on its way when the connection was lost counts.
pub(crate) const MARGIN: Duration = Duration::from_secs(15);
/// Nobody is away for longer.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);
/// One namespace more for so many bytes that packets may have.
const RECORD: usize = 1 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socket::messages::{Broadcast, Flags, InheritedLog, Selection};
    use crate::socket::recovery::Membership;
    use std::borrow::Cow;

    fn records(bytes: usize) -> AllRecords {
        AllRecords::new(Origin::from_u64(1), MARGIN, bytes)
    }

    fn of(all: &AllRecords, path: &str, now: Instant) -> Arc<Records> {
        all.of(&path.into(), &Recovery::default(), now)
    }

    fn emit(records: &Records, now: Instant) {
        let mut journal = records.journal();
        let packet = Broadcast {
            namespace: Arc::clone(&records.path),
            selection: Cow::Owned(Selection::default()),
            text: r#"2["e",1]"#.into(),
            attachments: Vec::new(),
            flags: Flags::default(),
            number: Some(journal.next()),
        };
        journal.keep(&Arc::new(packet), now);
    }

    /// How much a client that has this missed, if it is known.
    fn missed(records: &Records, after: u64, now: Instant) -> Option<usize> {
        let ever = Duration::from_secs(1_000_000);
        let socket = crate::id::SocketId::new(crate::id::Key::from_hash(1), [1; 10]);
        let membership = Membership::new(socket, ever, &[], now);
        let answer = records.journal().answer(&membership, |_| after, now, usize::MAX);
        answer.ok().map(|(packets, _)| packets.len())
    }

    #[test]
    fn numbers_go_on_when_everything_of_a_namespace_is_too_old() {
        let (all, now) = (records(1 << 20), Instant::now());
        (0..5).for_each(|_| emit(&of(&all, "/game", now), now));
        let later = now + Duration::from_secs(600);
        all.expire(later);
        assert_eq!(all.len(), 0, "nobody holds it");
        let again = of(&all, "/game", later);
        emit(&again, later);
        assert_eq!(again.journal().last(), 6, "a client that has the fifth misses this one");
        assert_eq!((missed(&again, 5, later), missed(&again, 0, later)), (Some(1), Some(1)));
    }

    #[test]
    fn paths_that_clients_invent_leave_a_bounded_number_behind_and_whoever_missed_something_is_told_so() {
        let (all, now) = (records(100 * RECORD), Instant::now());
        let (held, mut most) = (of(&all, "/held", now), 0);
        emit(&held, now);
        for number in 0..1000 {
            emit(&of(&all, &format!("/invented-{number}"), now), now);
            most = most.max(all.len());
        }
        assert!(most <= 100, "{most}");
        assert!(Arc::ptr_eq(&held, &of(&all, "/held", now)));
        let mut paths = (0..1000).map(|number| format!("/invented-{number}"));
        let forgotten = of(&all, &paths.find(|path| all.get(path).is_none()).unwrap(), now);
        let (last, later) = (forgotten.journal().last(), now + Duration::from_secs(1));
        assert!(last > 1);
        assert_eq!((missed(&forgotten, 1, now), missed(&forgotten, last, now)), (None, Some(0)));
        emit(&forgotten, later);
        let position = forgotten.journal().position().to_vec();
        assert_eq!(position, [(Origin::from_u64(1), last + 1)]);
        assert_eq!(missed(&forgotten, last, later), Some(1));
    }

    #[test]
    fn namespaces_that_are_held_are_never_forgotten_and_looked_through_seldom() {
        let (all, now) = (records(10 * RECORD), Instant::now());
        let held: Vec<_> = (0..1000).map(|number| of(&all, &format!("/{number}"), now)).collect();
        assert_eq!(all.len(), 1000);
        assert!(all.known.lock().look >= 1000);
        drop(held);
        all.expire(now);
        assert_eq!(all.len(), 0);
    }

    #[test]
    fn what_this_node_answers_for_in_the_place_of_another_is_not_forgotten_early() {
        let (all, now) = (records(10 * RECORD), Instant::now());
        let heir = of(&all, "/heir", now);
        let (origin, namespace) = (Origin::from_u64(2), Arc::clone(&heir.path));
        let (packets, cut) = (Vec::new(), Some((7, MARGIN)));
        let part = InheritedLog { namespace, origin, packets, last: 7, cut, more: false };
        heir.journal().inherit(part, now);
        drop(heir);
        (0..100).for_each(|number| emit(&of(&all, &format!("/{number}"), now), now));
        assert!(all.get("/heir").is_some());
    }

    #[test]
    fn one_that_rests_does_not_starve_the_others() {
        let (all, now) = (records(100 << 10), Instant::now());
        let (idle, busy) = (of(&all, "/idle", now), of(&all, "/busy", now));
        (0..1000).for_each(|_| emit(&idle, now));
        assert!(all.room().used() <= 100 << 10 && !all.room().has_slack());
        emit(&busy, now);
        all.expire(now);
        assert!(all.room().has_slack());
        (0..20).for_each(|_| emit(&busy, now));
        assert_eq!(missed(&busy, 1, now), Some(20));
        assert_eq!(missed(&idle, 0, now), None);
    }
}
