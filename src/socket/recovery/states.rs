//! The sessions that a node keeps: copies of what is known of them, and who has them.
//!
//! The first living successor of a session's key decides who gets it. It grants a session once: then that node has it, and the next
//! one that asks has to take it from there.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use bytes::Bytes;
use smallvec::SmallVec;
use tokio::time::Instant;

use crate::id::NodeId;
use crate::socket::messages::recovery::{Life, Origin, Pid, SessionState, Standing};

/// The sessions that a node keeps.
#[derive(Debug)]
pub(crate) struct States {
    /// In boxes, because up to half of the places of a map are free.
    kept: HashMap<Pid, Box<Kept>>,
    bytes: usize,
    limits: StatesLimits,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct StatesLimits {
    pub(crate) sessions: usize,
    pub(crate) bytes: usize,
}

/// A session, as it was known at some time.
#[derive(Debug)]
pub(crate) struct Kept {
    state: SessionState,
    at: Instant,
    /// When it is given up, or forgotten.
    until: Option<Instant>,
    /// The node that has it has not said so.
    doubtful: bool,
    /// Its user was blocked in this life of it: nobody gets it any more.
    revoked: bool,
    /// Its client will not come back, which another node is to report. Until when this one does if that is gone.
    unreported: Option<Instant>,
    /// When somebody got it last who asked this node.
    granted: Option<Instant>,
    /// The node that asked for it, and until when it waits for the node that has it.
    claimed: Option<(Origin, Instant)>,
    /// The nodes that keep a copy of this.
    pub(crate) told: SmallVec<[NodeId; 2]>,
}

/// What became of a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Put {
    Kept,
    /// What is known is newer, and of this life.
    Older(Life),
    /// There is no room for another session.
    Full,
}

/// What is said to who asks for a session.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Claim {
    /// There is no such session.
    Unknown,
    /// Somebody else asked before.
    Busy,
    /// That node has it, and has to end it first.
    At(NodeId),
    /// Whoever asked has it now.
    Granted(Box<SessionState>),
}

impl States {
    pub(crate) fn new(limits: StatesLimits) -> Self {
        Self { kept: HashMap::new(), bytes: 0, limits }
    }

    /// Takes what is known of a session, unless something newer is. These nodes are told it, too.
    ///
    /// It may have been on its way for long. So nothing becomes younger than it was known to be.
    pub(crate) fn put(&mut self, mut state: SessionState, told: SmallVec<[NodeId; 2]>, now: Instant) -> Put {
        let (mut claimed, mut granted, mut revoked, mut replaced) = (None, None, false, 0);
        match self.kept.get(&state.pid) {
            Some(known) if age(&known.state) > age(&state) => return Put::Older(known.state.life),
            Some(known) => {
                (claimed, granted) = (known.claimed, known.granted);
                revoked = known.revoked && known.state.life == state.life && known.state.user == state.user;
                replaced = known.cost();
                state.age_as(&known.now(now));
            }
            None if self.kept.len() >= self.limits.sessions => return Put::Full,
            None => {}
        }
        // Whoever decides says that it was granted, and only then the node that has it.
        let doubtful = is_granted(&state);
        let until = match &state.standing {
            Standing::Live(_) => doubtful.then(|| now + state.lasts.max(TOMBSTONE)),
            Standing::Away(left) => Some(now + *left),
            Standing::Over => Some(now + TOMBSTONE),
        };
        let unreported = None;
        let kept = Kept { state, at: now, until, doubtful, revoked, unreported, granted, claimed, told };
        let mut kept = Box::new(kept);
        let rest = self.bytes - replaced;
        let has_room = rest + kept.cost() <= self.limits.bytes;
        if !has_room {
            if replaced == 0 {
                return Put::Full;
            }
            kept.bury(now);
        }
        self.bytes = rest + kept.cost();
        self.kept.insert(kept.state.pid, kept);
        if has_room { Put::Kept } else { Put::Full }
    }

    /// What is known of a session now.
    pub(crate) fn get(&self, pid: Pid, now: Instant) -> Option<SessionState> {
        self.kept.get(&pid).map(|kept| kept.now(now))
    }

    /// A node asks for a session: its client is there.
    pub(crate) fn claim(
        &mut self,
        pid: Pid,
        namespace: &str,
        claimant: &(NodeId, Origin),
        lives: impl Fn(Origin) -> bool,
        now: Instant,
    ) -> Claim {
        let Some(kept) = self.kept.get_mut(&pid).filter(|kept| *kept.state.namespace == *namespace) else {
            return Claim::Unknown;
        };
        if kept.claimed.is_some_and(|(by, until)| now < until && lives(by)) {
            return Claim::Busy;
        }
        match &kept.state.standing {
            Standing::Over => Claim::Unknown,
            Standing::Away(_) if kept.revoked => Claim::Unknown,
            Standing::Live(_) if kept.revoked && !lives(kept.state.life.at) => Claim::Unknown,
            Standing::Live(_) if lives(kept.state.life.at) && kept.is_of_a_rival_of(claimant.1, now) => {
                Claim::Busy
            }
            Standing::Live(node) if lives(kept.state.life.at) => {
                kept.claimed = Some((claimant.1, now + SURRENDER));
                Claim::At(node.clone())
            }
            Standing::Away(_) if kept.until.is_some_and(|until| until <= now) => Claim::Unknown,
            Standing::Away(_) | Standing::Live(_) => self.grant(pid, claimant, now),
        }
    }

    /// Whoever asked for a session gets it. Of a session that its node has ended meanwhile it gets what that said.
    pub(crate) fn grant(&mut self, pid: Pid, (node, origin): &(NodeId, Origin), now: Instant) -> Claim {
        let Some(kept) = self.kept.get_mut(&pid) else { return Claim::Unknown };
        kept.claimed = None;
        if kept.state.standing == Standing::Over || kept.revoked {
            return Claim::Unknown;
        }
        let mut state = kept.now(now);
        state.life = Life { count: state.life.count + 1, at: *origin };
        state.version = 0;
        state.standing = Standing::Live(node.clone());
        (kept.state, kept.at, kept.granted) = (state.clone(), now, Some(now));
        kept.doubt(now);
        kept.told.clear();
        Claim::Granted(Box::new(state))
    }

    /// Something that this node said was lost. A session that it does not have any more is over in time, unless it says that it has.
    pub(crate) fn doubt(&mut self, node: &NodeId, now: Instant) {
        let is_its = |kept: &&mut Box<Kept>| matches!(&kept.state.standing, Standing::Live(at) if at == node);
        self.kept.values_mut().filter(is_its).for_each(|kept| kept.doubt(now));
    }

    /// Nobody gets the session now: the node that has it does not answer.
    pub(crate) fn release(&mut self, pid: Pid) {
        if let Some(kept) = self.kept.get_mut(&pid) {
            kept.claimed = None;
        }
    }

    /// Drops what is over. Returns the sessions whose clients did not come back in time and that this node is to report, in the order
    /// of their names: it `reports` those of which it is the first keeper. If another one is, that may have died a moment ago, so
    /// they are remembered until that is known.
    ///
    /// The client of a session whose node has ended is away.
    pub(crate) fn expire(
        &mut self,
        lives: impl Fn(Origin) -> bool,
        reports: impl Fn(Pid) -> bool,
        now: Instant,
    ) -> Vec<SessionState> {
        let mut lost = Vec::new();
        let bytes = &mut self.bytes;
        self.kept.retain(|pid, kept| {
            kept.end_if_revoked(&lives, now);
            if matches!(kept.state.standing, Standing::Live(_)) {
                let away = || Some(now + kept.state.lasts);
                let is_sure = lives(kept.state.life.at) && !kept.doubtful;
                kept.until = if is_sure { None } else { kept.until.or_else(away) };
            }
            // Whoever asks for one that its node has just ended gets it.
            let is_asked_for = kept.claimed.is_some_and(|(_, until)| now < until);
            let is_due = !is_asked_for && kept.until.is_some_and(|until| until <= now);
            if is_due && kept.state.standing != Standing::Over && kept.unreported.is_none() {
                // Whoever asks for it finds that its time is over.
                kept.state.standing = Standing::Away(Duration::ZERO);
                kept.unreported = Some(now + HEIRS);
            }
            if kept.unreported.is_some() && reports(*pid) {
                lost.push(kept.now(now));
                kept.unreported = None;
            }
            kept.unreported = kept.unreported.filter(|until| now < *until);
            let stays = !is_due || kept.unreported.is_some();
            if !stays {
                *bytes -= kept.cost();
            }
            stays
        });
        lost.sort_unstable_by_key(|state| state.pid);
        lost
    }

    /// Ends the sessions of these users: at once where the client is away, and else when it is. Its node may have died unnoticed, or
    /// not have heard of this when its client is back there. [`expire`](Self::expire) returns them.
    pub(crate) fn end(&mut self, users: &HashSet<&str>, lives: impl Fn(Origin) -> bool, now: Instant) {
        for kept in self.kept.values_mut() {
            if kept.state.user.as_deref().is_some_and(|user| users.contains(user)) {
                kept.revoked = true;
                kept.end_if_revoked(&lives, now);
            }
        }
    }

    /// Every session that is kept.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (Pid, &mut Kept)> {
        self.kept.iter_mut().map(|(pid, kept)| (*pid, &mut **kept))
    }

    /// The names of all of them, in their order.
    pub(crate) fn sessions(&self) -> Vec<Pid> {
        let mut all: Vec<_> = self.kept.keys().copied().collect();
        all.sort_unstable();
        all
    }

    /// One that is kept.
    pub(crate) fn kept_mut(&mut self, pid: Pid) -> Option<&mut Kept> {
        self.kept.get_mut(&pid).map(Box::as_mut)
    }

    /// Another node keeps it from now on.
    pub(crate) fn forget(&mut self, pid: Pid) {
        if let Some(kept) = self.kept.remove(&pid) {
            self.bytes -= kept.cost();
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.kept.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Kept {
    /// Whether the node that has its socket lives, and tells everybody else.
    pub(crate) fn is_told(&self, lives: impl Fn(Origin) -> bool) -> bool {
        matches!(self.state.standing, Standing::Live(_)) && lives(self.state.life.at)
    }

    /// Whether another client got it a moment ago: nobody comes back that fast, so it asked at the same time. A node that asks again for
    /// what it was granted did not get the answer.
    fn is_of_a_rival_of(&self, claimant: Origin, now: Instant) -> bool {
        let is_unused = is_granted(&self.state);
        let is_fresh = is_unused || self.granted.is_some_and(|at| now < at + RIVALS);
        is_fresh && !(is_unused && self.state.life.at == claimant)
    }

    /// A session that nobody gets any more is over when its client is away.
    fn end_if_revoked(&mut self, lives: impl Fn(Origin) -> bool, now: Instant) {
        let is_away = match &self.state.standing {
            Standing::Live(_) => !lives(self.state.life.at),
            Standing::Away(_) => true,
            Standing::Over => false,
        };
        if self.revoked && is_away {
            (self.state.standing, self.until) = (Standing::Over, Some(now + TOMBSTONE));
            self.state.version = self.state.version.saturating_add(1);
            self.unreported = Some(now + HEIRS);
        }
    }

    /// It is over in time, unless the node that has it says that it has.
    fn doubt(&mut self, now: Instant) {
        self.doubtful = true;
        self.until = Some(now + self.state.lasts.max(TOMBSTONE));
    }

    /// The state with what has passed since it was told.
    pub(crate) fn now(&self, now: Instant) -> SessionState {
        self.state.clone().later(now.saturating_duration_since(self.at))
    }

    /// It has grown beyond what there is room for. What is older is not to bring it back.
    fn bury(&mut self, now: Instant) {
        let state = &mut self.state;
        (state.standing, self.until) = (Standing::Over, Some(now + TOMBSTONE));
        (state.rooms, state.left, state.data) = (Vec::new(), Vec::new(), Bytes::new());
        (state.user, state.start) = (None, Vec::new());
    }

    /// About how much memory it takes.
    fn cost(&self) -> usize {
        let SessionState { rooms, left, data, user, start, .. } = &self.state;
        let rooms: usize = rooms.iter().map(|(room, _)| room.name_length() + ROOM).sum();
        let left = left.iter().map(|left| left.room.name_length() + ROOM + left.until.len() * ORIGIN);
        let rooms = rooms + left.sum::<usize>();
        let user = user.as_ref().map_or(0, |user| user.len());
        FIXED + rooms + data.len() + user + start.len() * ORIGIN
    }
}

/// Whether the node to which it was granted has not said yet that it has it.
fn is_granted(state: &SessionState) -> bool {
    state.version == 0 && state.life.count > 0
}

/// Within one life nobody who has left comes back.
fn age(state: &SessionState) -> (Life, bool, u64, bool) {
    let has_left = !matches!(state.standing, Standing::Live(_));
    (state.life, state.standing == Standing::Over, state.version, has_left)
}

/// A session that is over is remembered for that long, so that what is still on its way does not bring it back.
const TOMBSTONE: Duration = Duration::from_secs(60);
/// Who is to report that a client does not come back is dead for everybody after this time, or reports it.
const HEIRS: Duration = Duration::from_secs(10);
/// Of those that ask within this time one gets a session. Clients that have lost a connection wait longer.
const RIVALS: Duration = Duration::from_millis(400);
/// The node that has a session ends it within this time, or is dead.
const SURRENDER: Duration = Duration::from_secs(5);
/// With its place in the map.
const FIXED: usize = size_of::<Kept>() + 64;
const ROOM: usize = 48;
const ORIGIN: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{Key, SocketId};

    fn pid(number: u8) -> Pid {
        Pid(SocketId::new(Key::from_hash(7 << 40), [number; 10]))
    }

    fn node(name: &str) -> (NodeId, Origin) {
        (name.parse().unwrap(), Origin::from_u64(u64::from(name.as_bytes()[0])))
    }

    fn state(count: u64, version: u64, standing: Standing) -> SessionState {
        SessionState {
            pid: pid(1),
            namespace: "/".into(),
            socket: SocketId::new(Key::from_hash(7 << 40), [9; 10]),
            life: Life { count, at: node("a").1 },
            version,
            standing,
            lasts: MINUTE,
            age: MINUTE,
            rooms: vec![("r".into(), MINUTE)],
            left: Vec::new(),
            forgotten: None,
            data: Bytes::new(),
            user: None,
            login: Some(MINUTE),
            start: Vec::new(),
        }
    }

    fn live(name: &str) -> Standing {
        Standing::Live(node(name).0)
    }

    fn states() -> States {
        States::new(StatesLimits { sessions: 2, bytes: 1 << 20 })
    }

    const MINUTE: Duration = Duration::from_secs(60);

    /// Of every session this node is the first keeper.
    fn first(_: Pid) -> bool {
        true
    }

    #[test]
    fn of_two_states_the_newer_one_is_kept() {
        let (mut states, now) = (states(), Instant::now());
        assert_eq!(states.put(state(1, 3, live("a")), SmallVec::new(), now), Put::Kept);
        let life = state(1, 3, live("a")).life;
        assert_eq!(states.put(state(1, 2, Standing::Away(MINUTE)), SmallVec::new(), now), Put::Older(life));
        assert_eq!(states.put(state(0, 9, live("b")), SmallVec::new(), now), Put::Older(life));
        assert_eq!(states.put(state(1, 3, Standing::Away(MINUTE)), SmallVec::new(), now), Put::Kept);
        assert_eq!(states.put(state(1, 3, live("a")), SmallVec::new(), now), Put::Older(life), "it has left");
        assert_eq!(states.put(state(1, 4, Standing::Over), SmallVec::new(), now), Put::Kept);
        assert_eq!(
            states.put(state(1, 5, Standing::Away(MINUTE)), SmallVec::new(), now),
            Put::Older(life),
            "it is over"
        );
        assert_eq!(states.put(state(2, 0, live("b")), SmallVec::new(), now), Put::Kept);
    }

    #[test]
    fn what_comes_late_makes_nothing_younger() {
        let (mut states, now) = (states(), Instant::now());
        states.put(state(0, 1, live("a")), SmallVec::new(), now);
        let mut late = state(0, 2, live("a"));
        late.rooms.push(("s".into(), MINUTE));
        states.put(late, SmallVec::new(), now + MINUTE);
        let known = states.get(pid(1), now + MINUTE).unwrap();
        assert_eq!(known.age, 2 * MINUTE);
        assert_eq!(known.rooms, [("r".into(), 2 * MINUTE), ("s".into(), MINUTE)]);
    }

    #[test]
    fn a_session_is_granted_once() {
        let (mut states, now) = (states(), Instant::now());
        let everybody = |_: Origin| true;
        states.put(state(0, 5, Standing::Away(MINUTE)), SmallVec::new(), now);
        let Claim::Granted(granted) = states.claim(pid(1), "/", &node("b"), everybody, now) else {
            panic!("it is there")
        };
        assert_eq!((granted.life.count, &granted.standing), (1, &live("b")));
        assert_eq!(states.claim(pid(1), "/", &node("c"), everybody, now), Claim::Busy, "it is not used yet");
        let used = SessionState { version: 1, ..(*granted).clone() };
        states.put(used, SmallVec::new(), now);
        assert_eq!(states.claim(pid(1), "/", &node("c"), everybody, now), Claim::Busy, "it asked at once");
        let now = now + RIVALS;
        assert_eq!(states.claim(pid(1), "/", &node("c"), everybody, now), Claim::At(node("b").0));
        assert_eq!(states.claim(pid(1), "/", &node("d"), everybody, now), Claim::Busy);
        assert_eq!(
            states.put(state(0, 6, Standing::Away(MINUTE)), SmallVec::new(), now),
            Put::Older(granted.life),
            "of the life before"
        );
        let mut ended = state(1, 2, Standing::Away(MINUTE));
        ended.life = granted.life;
        ended.rooms.push(("s".into(), MINUTE));
        states.put(ended, SmallVec::new(), now);
        let Claim::Granted(granted) = states.grant(pid(1), &node("c"), now) else { panic!("it is there") };
        assert_eq!((granted.life.count, granted.rooms.len()), (2, 2));
        assert_eq!(states.claim(pid(2), "/", &node("c"), everybody, now), Claim::Unknown);
        assert_eq!(states.claim(pid(1), "/other", &node("c"), everybody, now), Claim::Unknown);
    }

    #[test]
    fn who_does_not_get_an_answer_does_not_keep_others_from_asking() {
        let (mut states, now) = (states(), Instant::now());
        states.put(state(0, 5, live("a")), SmallVec::new(), now);
        assert_eq!(states.claim(pid(1), "/", &node("b"), |_| true, now), Claim::At(node("a").0));
        states.release(pid(1));
        assert_eq!(states.claim(pid(1), "/", &node("b"), |_| true, now), Claim::At(node("a").0));
        let later = now + SURRENDER;
        assert!(
            matches!(states.claim(pid(1), "/", &node("b"), |_| false, later), Claim::Granted(_)),
            "it is dead"
        );
    }

    #[test]
    fn who_asked_for_a_session_gets_it_although_its_time_is_over_when_its_node_has_ended_it() {
        let (mut states, now, everybody) = (states(), Instant::now(), |_: Origin| true);
        states.put(state(0, 5, live("a")), SmallVec::new(), now);
        assert_eq!(states.claim(pid(1), "/", &node("b"), everybody, now), Claim::At(node("a").0));
        states.put(state(0, 6, Standing::Away(Duration::ZERO)), SmallVec::new(), now);
        assert!(states.expire(everybody, first, now).is_empty());
        assert!(matches!(states.grant(pid(1), &node("b"), now), Claim::Granted(_)));
    }

    #[test]
    fn who_is_dead_does_not_keep_others_from_asking_and_has_no_session_when_its_node_is_back() {
        let (mut states, now) = (states(), Instant::now());
        let (owner, claimant) = (state(0, 5, live("a")).life.at, node("b").1);
        states.put(state(0, 5, live("a")), SmallVec::new(), now);
        assert_eq!(states.claim(pid(1), "/", &node("b"), |_| true, now), Claim::At(node("a").0));
        assert_eq!(states.claim(pid(1), "/", &node("c"), |_| true, now), Claim::Busy);
        assert_eq!(
            states.claim(pid(1), "/", &node("c"), |life| life != claimant, now),
            Claim::At(node("a").0)
        );
        // Another life of the node may be there.
        assert!(states.expire(|life| life != owner, first, now).is_empty());
        assert_eq!(states.expire(|life| life != owner, first, now + MINUTE).len(), 1);
    }

    #[test]
    fn a_client_that_does_not_come_back_is_lost_once_and_so_is_one_whose_node_died() {
        let (mut states, now) = (states(), Instant::now());
        states.put(state(0, 5, Standing::Away(MINUTE)), SmallVec::new(), now);
        assert!(states.expire(|_| true, first, now + MINUTE / 2).is_empty());
        let lost = states.expire(|_| true, first, now + MINUTE);
        assert_eq!((lost.len(), lost[0].age), (1, 2 * MINUTE));
        assert_eq!((states.len(), states.bytes()), (0, 0));
        states.put(state(0, 5, live("a")), SmallVec::new(), now);
        assert!(states.expire(|_| false, first, now + 5 * MINUTE).is_empty());
        assert!(states.expire(|_| true, first, now + 9 * MINUTE).is_empty(), "it was a partition");
        assert!(states.expire(|_| false, first, now + 10 * MINUTE).is_empty());
        assert_eq!(states.expire(|_| false, first, now + 11 * MINUTE).len(), 1);
    }

    #[test]
    fn who_keeps_a_session_second_reports_that_it_is_lost_if_the_first_keeper_dies_meanwhile() {
        let (now, dead, other) = (Instant::now(), |_: Origin| false, |_: Pid| false);
        let kept = || {
            let mut states = states();
            states.put(state(0, 5, Standing::Away(MINUTE)), SmallVec::new(), now);
            assert!(states.expire(dead, other, now + MINUTE).is_empty(), "that is for the first one to say");
            assert_eq!(states.claim(pid(1), "/", &node("b"), dead, now + MINUTE), Claim::Unknown);
            states
        };
        let mut heir = kept();
        assert_eq!(heir.expire(dead, first, now + MINUTE + HEIRS / 2).len(), 1);
        assert!(heir.expire(dead, first, now + MINUTE + HEIRS / 2).is_empty(), "once");
        assert_eq!((heir.len(), heir.bytes()), (0, 0));
        let mut second = kept();
        assert!(second.expire(dead, other, now + MINUTE + HEIRS).is_empty());
        assert_eq!((second.len(), second.bytes()), (0, 0), "the first one has reported it");
        let mut told = kept();
        told.put(state(0, 5, Standing::Away(MINUTE)).reported(), SmallVec::new(), now + MINUTE);
        assert!(told.expire(dead, first, now + MINUTE + HEIRS / 2).is_empty(), "it is known that it has");
        // What is still on its way brings it back.
        let mut back = kept();
        back.put(state(0, 6, live("a")), SmallVec::new(), now + MINUTE);
        assert!(back.expire(|_| true, first, now + 5 * MINUTE).is_empty());
    }

    #[test]
    fn the_session_of_a_blocked_user_goes_to_nobody_and_ends_when_its_client_is_away() {
        let (now, users, everybody) = (Instant::now(), HashSet::from(["ann"]), |_: Origin| true);
        let of_ann =
            |version, standing| SessionState { user: Some("ann".into()), ..state(0, version, standing) };
        let blocked = || {
            let mut states = states();
            states.put(of_ann(1, live("a")), SmallVec::new(), now);
            states.end(&users, everybody, now);
            assert!(states.expire(everybody, first, now).is_empty(), "its node closes it");
            states
        };
        // Its node is dead, and nobody knew.
        let mut states = blocked();
        assert_eq!(states.claim(pid(1), "/", &node("b"), |_| false, now), Claim::Unknown);
        assert_eq!(states.expire(|_| false, first, now).len(), 1);
        // It answers, and has not heard of the block.
        let mut states = blocked();
        assert_eq!(states.claim(pid(1), "/", &node("b"), everybody, now), Claim::At(node("a").0));
        states.put(of_ann(2, Standing::Away(Duration::ZERO)), SmallVec::new(), now);
        assert_eq!(states.grant(pid(1), &node("b"), now), Claim::Unknown);
        assert_eq!(states.expire(everybody, first, now).len(), 1);
        // It is another user's meanwhile.
        let mut states = blocked();
        states.put(state(0, 2, Standing::Away(MINUTE)), SmallVec::new(), now);
        assert!(matches!(states.claim(pid(1), "/", &node("b"), everybody, now), Claim::Granted(_)));
        // Whoever has asked for it just now gets it no more when it is given back.
        let mut states = self::states();
        states.put(of_ann(1, Standing::Away(MINUTE)), SmallVec::new(), now);
        let Claim::Granted(granted) = states.claim(pid(1), "/", &node("b"), everybody, now) else {
            panic!("it is there")
        };
        states.end(&users, everybody, now);
        let back = SessionState { version: 1, standing: Standing::Away(MINUTE), ..*granted };
        states.put(back, SmallVec::new(), now);
        assert_eq!(states.claim(pid(1), "/", &node("c"), everybody, now + RIVALS), Claim::Unknown);
        assert_eq!(states.expire(everybody, first, now).len(), 1);
    }

    #[test]
    fn a_session_that_was_granted_and_never_used_is_lost_and_one_that_its_node_does_not_confirm() {
        let (mut states, now) = (states(), Instant::now());
        let everybody = |_: Origin| true;
        states.put(state(0, 5, Standing::Away(MINUTE)), SmallVec::new(), now);
        let Claim::Granted(granted) = states.claim(pid(1), "/", &node("b"), everybody, now) else {
            panic!("it is there")
        };
        let mut other = self::states();
        other.put((*granted).clone(), SmallVec::new(), now);
        for states in [&mut states, &mut other] {
            assert!(states.expire(everybody, first, now + MINUTE / 2).is_empty());
            let confirmed = SessionState { version: 1, ..(*granted).clone() };
            states.put(confirmed, SmallVec::new(), now + MINUTE / 2);
            assert!(states.expire(everybody, first, now + 9 * MINUTE).is_empty(), "it is used");
            states.doubt(&node("c").0, now + 9 * MINUTE);
            assert!(states.expire(everybody, first, now + 11 * MINUTE).is_empty());
            states.doubt(&node("b").0, now + 11 * MINUTE);
            assert!(states.expire(everybody, first, now + 11 * MINUTE).is_empty());
            assert_eq!(states.expire(everybody, first, now + 12 * MINUTE).len(), 1);
        }
        states.put(state(0, 5, Standing::Away(MINUTE)), SmallVec::new(), now);
        states.claim(pid(1), "/", &node("b"), everybody, now);
        assert_eq!(states.expire(everybody, first, now + MINUTE).len(), 1, "it was never used");
    }

    #[test]
    fn what_has_passed_counts() {
        let (mut states, now) = (states(), Instant::now());
        states.put(state(0, 5, Standing::Away(2 * MINUTE)), SmallVec::new(), now);
        let then = states.get(pid(1), now + MINUTE / 2).unwrap();
        assert_eq!(then.rooms[0].1, MINUTE * 3 / 2);
        assert_eq!((then.login, then.standing), (Some(MINUTE / 2), Standing::Away(MINUTE * 3 / 2)));
    }

    #[test]
    fn sessions_are_bounded_in_number_and_bytes() {
        let (mut states, now) = (states(), Instant::now());
        let put = |states: &mut States, number, bytes| {
            let data = Bytes::from(vec![0; bytes]);
            states.put(
                SessionState { pid: pid(number), data, ..state(0, 0, live("a")) },
                SmallVec::new(),
                now,
            )
        };
        assert_eq!(put(&mut states, 1, 1 << 20), Put::Full);
        assert_eq!(put(&mut states, 1, 9), Put::Kept);
        assert_eq!(put(&mut states, 2, 9), Put::Kept);
        assert_eq!(put(&mut states, 3, 9), Put::Full);
        states.forget(pid(1));
        assert_eq!(put(&mut states, 3, 9), Put::Kept);
    }

    #[test]
    fn a_session_that_grows_beyond_the_bound_is_over_and_nothing_older_brings_it_back() {
        let (mut states, now) = (states(), Instant::now());
        let of = |version, bytes| SessionState {
            data: Bytes::from(vec![0; bytes]),
            ..state(0, version, live("a"))
        };
        assert_eq!(states.put(of(1, 9), SmallVec::new(), now), Put::Kept);
        assert_eq!(states.put(of(2, 1 << 20), SmallVec::new(), now), Put::Full);
        assert_eq!((states.len(), states.bytes()), (1, FIXED));
        let life = state(0, 0, live("a")).life;
        assert_eq!(states.put(of(1, 9), SmallVec::new(), now), Put::Older(life));
        assert_eq!(states.claim(pid(1), "/", &node("b"), |_| true, now), Claim::Unknown);
        assert!(states.expire(|_| true, first, now + TOMBSTONE).is_empty());
        assert_eq!((states.len(), states.bytes()), (0, 0));
    }
}
