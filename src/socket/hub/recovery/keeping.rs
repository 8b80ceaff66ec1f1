//! What lets clients of this node come back: what was sent in each namespace that permits it, and the sessions that this node keeps,
//! its own and copies of those of others.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Waker};
use std::time::Duration;

use parking_lot::Mutex;
use smallvec::SmallVec;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::records::{AllRecords, MARGIN};
use super::telling::Telling;
use super::turns::Turns;
use crate::catch_panic;
use crate::engine::{Budget, Charge};
use crate::id::{Key, NodeId};
use crate::socket::messages::RecoveryMessage;
use crate::socket::messages::recovery::{Life, Origin, Pid, SessionState, Standing};
use crate::socket::peers::Peers;
use crate::socket::recovery::{Lateness, Put, Recovery, States, StatesLimits};

/// What lets clients come back, for all namespaces of a node.
pub(crate) struct Keeping {
    pub(crate) me: NodeId,
    pub(crate) origin: Origin,
    pub(crate) peers: Arc<dyn Peers>,
    /// Of every namespace without a setting of its own.
    pub(crate) default: Option<Recovery>,
    pub(crate) records: AllRecords,
    /// What waits for clients that are back.
    waiting: Arc<Budget>,
    pub(crate) states: Mutex<States>,
    lateness: Mutex<Lateness>,
    pub(super) turns: Arc<Turns>,
    /// What was told last of sessions that ended here or went elsewhere, and when.
    departed: Mutex<VecDeque<(Instant, SessionState)>>,
    /// What waits for room on the links to other nodes.
    telling: Mutex<Telling>,
    /// The nodes that are to be told again.
    again: Mutex<BTreeSet<NodeId>>,
    /// The sockets of which something changed.
    changed: Mutex<Vec<Weak<dyn KeptSocket>>>,
    /// Wakes who tells it to the other nodes.
    pub(crate) wake: Notify,
    news: Mutex<NewsInHand>,
    /// Wakes who waits for news in hand.
    told: Notify,
    next: AtomicU64,
}

/// What was taken from sockets, and is not known to their keepers yet.
#[derive(Default)]
struct NewsInHand {
    begun: u64,
    open: BTreeSet<u64>,
}

/// While it is there, somebody has news of sockets in hand: nobody decides about a session meanwhile.
pub(crate) struct InHand(Arc<Keeping>, u64);

/// The settings of a node.
#[derive(Debug)]
pub(crate) struct KeepingSettings {
    /// Of every namespace without a setting of its own.
    pub(crate) default: Option<Recovery>,
    /// What is sent to a client that is gone may take that long to be known as lost.
    pub(crate) heartbeat: Duration,
    pub(crate) limits: StatesLimits,
    /// Bytes of packets, of all namespaces.
    pub(crate) packet_bytes: usize,
}

/// A socket that its client may come back to. [`Member`](super::Member) is one, which this file is not to know.
pub(crate) trait KeptSocket: Send + Sync {
    /// What is known of it, if it is still connected. It is told to these nodes.
    fn changed(&self, told: &dyn Fn(Key) -> Keepers) -> Option<SessionState>;

    /// Its client is elsewhere, by a younger life of the session.
    fn outlived(self: Arc<Self>, by: Life);
}

/// The nodes that keep a session, the one that decides first.
pub(crate) type Keepers = SmallVec<[NodeId; 2]>;

impl Keeping {
    pub(crate) fn new(me: NodeId, peers: Arc<dyn Peers>, settings: KeepingSettings) -> Arc<Self> {
        let KeepingSettings { default, heartbeat, limits, packet_bytes } = settings;
        let origin = Origin::of(&me, peers.incarnation());
        Arc::new(Self {
            origin,
            me,
            peers,
            default,
            records: AllRecords::new(origin, heartbeat + MARGIN, packet_bytes),
            waiting: Budget::new(packet_bytes),
            states: Mutex::new(States::new(limits)),
            lateness: Mutex::new(Lateness::new(Instant::now())),
            turns: Arc::default(),
            departed: Mutex::default(),
            telling: Mutex::default(),
            again: Mutex::default(),
            changed: Mutex::default(),
            wake: Notify::new(),
            news: Mutex::default(),
            told: Notify::new(),
            next: AtomicU64::new(0),
        })
    }

    /// What waits for one client that is back.
    pub(crate) fn waiting(&self) -> Charge {
        Arc::clone(&self.waiting).charge()
    }

    /// A number for something that this node asks of others.
    pub(crate) fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// The nodes that keep a session with this key.
    pub(crate) fn keepers(&self, key: Key) -> Keepers {
        let successors = self.peers.successors(key, KEEPERS);
        if successors.is_empty() {
            [self.me.clone()].into_iter().collect()
        } else {
            successors.into_iter().collect()
        }
    }

    /// Whether a life of a node is a member, this one included. One that ended is none, though its node is back.
    pub(crate) fn lives(&self) -> impl Fn(Origin) -> bool + use<> {
        let mut lives = self.others();
        lives.push(self.origin);
        move |origin| lives.contains(&origin)
    }

    /// The lives of the other members.
    pub(crate) fn others(&self) -> Vec<Origin> {
        let members = self.peers.members();
        members.iter().map(|(node, incarnation)| Origin::of(node, *incarnation)).collect()
    }

    /// Something of a socket changed: its keepers are told soon.
    pub(crate) fn note(&self, socket: Weak<dyn KeptSocket>) {
        let mut changed = self.changed.lock();
        changed.push(socket);
        if changed.len() == 1 {
            self.wake.notify_one();
        }
    }

    /// Whether something waits to be told.
    pub(crate) fn has_news(&self) -> bool {
        !self.changed.lock().is_empty() || !self.again.lock().is_empty() || self.waits_to_tell()
    }

    /// Who takes news of sockets says so first.
    pub(crate) fn in_hand(self: &Arc<Self>) -> InHand {
        let mut news = self.news.lock();
        news.begun += 1;
        let number = news.begun;
        news.open.insert(number);
        InHand(Arc::clone(self), number)
    }

    /// Tells the keepers what changed until now, and waits for what others have in hand: of a socket that has just left, or that
    /// somebody else has begun to tell of, the last word is not known before.
    pub(crate) async fn settled(self: &Arc<Self>) {
        self.flush(Instant::now());
        let last = self.news.lock().begun;
        loop {
            let told = self.told.notified();
            if self.news.lock().open.first().is_none_or(|first| *first > last) {
                return;
            }
            told.await;
        }
    }

    /// Tells the keepers what changed until now.
    pub(crate) fn flush(self: &Arc<Self>, now: Instant) {
        let _in_hand = self.in_hand();
        let changed = std::mem::take(&mut *self.changed.lock());
        for socket in changed {
            // Data that end here may panic. The others are told all the same.
            let _told = catch_panic::call(|| {
                let socket = socket.upgrade()?;
                let state = socket.changed(&|key| self.keepers(key))?;
                if let Some(Put::Older(by)) = self.place(state, now) {
                    socket.outlived(by);
                }
                Some(())
            });
        }
        self.tell_some(now);
    }

    /// Tells the keepers of a session that leaves this node what is known of it now.
    pub(crate) fn publish(&self, state: SessionState, now: Instant) {
        let mut departed = self.departed.lock();
        departed.push_back((now, state.clone()));
        while departed.front().is_some_and(|(at, _)| departed.len() > MAX_DEPARTED || now >= *at + DEPARTED) {
            departed.pop_front();
        }
        drop(departed);
        self.place(state, now);
        self.tell_some(now);
    }

    /// Keeps a state if this node is a keeper; the others are to be told it. Returns what became of it here.
    fn place(&self, state: SessionState, now: Instant) -> Option<Put> {
        let keepers = self.keepers(state.pid.0.key());
        for keeper in keepers.iter().filter(|keeper| **keeper != self.me) {
            self.telling.lock().push(keeper.clone(), state.clone(), now);
        }
        let is_mine = keepers.contains(&self.me);
        is_mine.then(|| self.states.lock().put(state, keepers, now))
    }

    /// Tells the other nodes what waits, as far as their links take it now. Returns whether something is left, which is told later.
    pub(crate) fn tell_some(&self, now: Instant) -> bool {
        self.tell_where(now, |node| self.has_room(node));
        let is_left = self.waits_to_tell();
        if is_left {
            self.wake.notify_one();
        }
        is_left
    }

    pub(super) fn tell_where(&self, now: Instant, has_room: impl Fn(&NodeId) -> bool) {
        let nodes = self.telling.lock().nodes();
        for node in nodes {
            loop {
                let has_room = has_room(&node);
                let states = self.telling.lock().next(&node, has_room, now);
                if states.is_empty() {
                    break;
                }
                self.tell(&node, states);
            }
        }
    }

    fn has_room(&self, node: &NodeId) -> bool {
        let room = pin!(self.peers.has_room(node));
        room.poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    /// Whether something waits for room on a link.
    pub(crate) fn waits_to_tell(&self) -> bool {
        !self.telling.lock().is_empty()
    }

    /// How much waits for room on links.
    pub(super) fn waiting_to_tell(&self) -> usize {
        self.telling.lock().len()
    }

    /// Tells a node what the clock of this one says, so that it knows later what comes late.
    pub(crate) fn tell_time(&self, node: &NodeId) {
        if self.records.len() > 0 {
            self.tell(node, Vec::new());
        }
    }

    fn tell(&self, node: &NodeId, states: Vec<SessionState>) {
        let clock = Some(self.lateness.lock().clock(Instant::now()));
        self.peers.tell(node, &RecoveryMessage::Copies { clock, states });
    }

    /// For how much longer than usual something was on its way that another node told.
    pub(crate) fn lateness(&self, from: Origin, clock: Option<Duration>, now: Instant) -> Duration {
        clock.map_or(Duration::ZERO, |clock| self.lateness.lock().of(from, clock, now))
    }

    /// Another node tells what it knows of a session. Returns whether it was news.
    pub(crate) fn take(&self, from: &NodeId, state: SessionState, now: Instant) -> bool {
        let (pid, namespace, socket, life) =
            (state.pid, Arc::clone(&state.namespace), state.socket, state.life);
        let is_live = matches!(state.standing, Standing::Live(_));
        let told = self.keepers(pid.0.key());
        match self.states.lock().put(state, told, now) {
            Put::Kept => return true,
            Put::Older(by) if is_live && life < by => {}
            Put::Older(_) | Put::Full => return false,
        }
        let by = self.states.lock().get(pid, now).map(|state| state.life);
        if let Some(life) = by {
            self.peers.tell(from, &RecoveryMessage::Close { pid, namespace, socket, life });
        }
        false
    }

    /// Hands these sessions on to who keeps them now. Returns those that are none of this node's: they are to be forgotten when that has
    /// been told.
    pub(crate) fn move_states(&self, sessions: &[Pid], now: Instant) -> Vec<Pid> {
        let (mut copies, lives) = (Vec::new(), self.lives());
        let mut states = self.states.lock();
        let mut others = Vec::new();
        for pid in sessions {
            let Some(kept) = states.kept_mut(*pid) else { continue };
            let keepers = self.keepers(pid.0.key());
            let is_mine = keepers.contains(&self.me);
            if !is_mine || !kept.is_told(&lives) {
                let news = keepers.iter().filter(|keeper| **keeper != self.me && !kept.told.contains(keeper));
                copies.extend(news.map(|keeper| (keeper.clone(), kept.now(now))));
                kept.told = keepers;
            }
            if !is_mine {
                others.push(*pid);
            }
        }
        drop(states);
        self.push(copies, now);
        self.tell_some(now);
        others
    }

    /// Forgets those of these sessions that others keep, and know by now.
    pub(crate) fn forget(&self, sessions: Vec<Pid>) {
        let others = sessions.into_iter().filter(|pid| !self.keepers(pid.0.key()).contains(&self.me));
        let others: Vec<_> = others.collect();
        let mut states = self.states.lock();
        others.into_iter().for_each(|pid| states.forget(pid));
    }

    pub(super) fn push(&self, copies: Vec<(NodeId, SessionState)>, now: Instant) {
        let mut telling = self.telling.lock();
        copies.into_iter().for_each(|(node, state)| telling.push(node, state, now));
    }

    /// A node is told once more what it keeps for this one: soon, and no faster than its link takes it.
    pub(crate) fn tell_again(&self, node: &NodeId) {
        self.again.lock().insert(node.clone());
        self.wake.notify_one();
    }

    /// The nodes that are to be told once more what they keep.
    pub(crate) fn take_again(&self) -> BTreeSet<NodeId> {
        std::mem::take(&mut self.again.lock())
    }

    /// Begins to tell a node once more what it keeps: of what has left this one. What this one keeps is to be moved there again.
    pub(crate) fn begin_again(&self, node: &NodeId, now: Instant) {
        let departed = self.departed.lock();
        let again = departed.iter().filter(|(_, state)| self.keepers(state.pid.0.key()).contains(node));
        let states: Vec<_> =
            again.map(|(at, state)| state.clone().later(now.saturating_duration_since(*at))).collect();
        drop(departed);
        if *node != self.me && !states.is_empty() {
            self.push(states.into_iter().map(|state| (node.clone(), state)).collect(), now);
        }
        self.states.lock().iter_mut().for_each(|(_, kept)| kept.told.retain(|told| *told != *node));
    }

    /// Drops what is too old. Returns the sessions whose clients did not come back.
    pub(crate) fn expire(&self, now: Instant) -> Vec<SessionState> {
        self.records.expire(now);
        self.lateness.lock().retain(self.lives());
        self.telling.lock().tidy(now);
        self.give_up(now)
    }

    /// The sessions whose clients do not come back. The other keepers hear that this node has reported them.
    fn give_up(&self, now: Instant) -> Vec<SessionState> {
        let reports = |pid: Pid| self.keepers(pid.0.key()).first() == Some(&self.me);
        let lost = self.states.lock().expire(self.lives(), reports, now);
        for state in &lost {
            let keepers = self.keepers(state.pid.0.key()).into_iter().filter(|keeper| *keeper != self.me);
            keepers.for_each(|keeper| self.telling.lock().push(keeper, state.clone().reported(), now));
        }
        self.tell_some(now);
        lost
    }

    /// These users are blocked: who of them is away does not come back. Returns the sessions that end by it.
    pub(crate) fn block(&self, users: &[Arc<str>], now: Instant) -> Vec<SessionState> {
        let users: HashSet<&str> = users.iter().map(|user| &**user).collect();
        self.states.lock().end(&users, self.lives(), now);
        self.give_up(now)
    }

    /// How much is kept.
    pub(crate) fn figures(&self) -> KeepingFigures {
        let (namespaces, room) = (self.records.len(), self.records.room());
        let (packet_bytes, packets_dropped) = (room.used(), room.dropped());
        let states = self.states.lock();
        let (sessions, session_bytes) = (states.len(), states.bytes());
        KeepingFigures { sessions, session_bytes, packet_bytes, packets_dropped, namespaces }
    }
}

/// What a node keeps for clients that may come back.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct KeepingFigures {
    pub(crate) sessions: usize,
    pub(crate) session_bytes: usize,
    pub(crate) packet_bytes: usize,
    /// How many were dropped because there were too many.
    pub(crate) packets_dropped: u64,
    /// Those of which something is kept.
    pub(crate) namespaces: usize,
}

impl Drop for InHand {
    fn drop(&mut self) {
        let Self(keeping, number) = self;
        keeping.news.lock().open.remove(number);
        keeping.told.notify_waiters();
    }
}

impl fmt::Debug for Keeping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeping").field("origin", &self.origin).finish_non_exhaustive()
    }
}

/// Of so many sessions that left a node tells again what it told last,
const MAX_DEPARTED: usize = 8192;
/// for so long: then a link that was down is up again, or its node is dead.
const DEPARTED: Duration = Duration::from_secs(30);
/// How many nodes keep a session.
pub(crate) const KEEPERS: usize = 2;
/// How many sessions are looked at before it is seen whether the links have room for more.
pub(crate) const AT_ONCE: usize = 64;

/// The secret and its node, for a new session.
pub(crate) fn pid_of(key: Key, random: [u8; 10]) -> Pid {
    Pid(crate::id::SocketId::new(key, random))
}
