//! What was handed out to the sockets of a namespace on this node, in one order, and what of it this node can hand out again.
//!
//! Everything that takes a number goes through here, and out to the sockets and the other nodes, under one lock. So what a socket got
//! of an origin is everything for it up to the number that the node's position says.

use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;
use tokio::time::Instant;

use super::log::{Log, LogLimits, LogPart, LogRoom, TooMuch};
use super::membership::Membership;
use super::position::Position;
use super::recovering::Recovering;
use crate::id::NodeId;
use crate::socket::messages::recovery::{Number, Origin};
use crate::socket::messages::{InheritedLog, KeptPacket, Reached};

/// The packets of one namespace on one node.
#[derive(Debug)]
pub(crate) struct Journal {
    me: Origin,
    log: Log,
    /// Logs of nodes that have left, which this one answers for.
    inherited: Vec<(Origin, Log)>,
    /// Those of which a part has not come, and until when somebody may miss it.
    unfinished: Vec<(Origin, Instant)>,
    bequest: Bequest,
    /// What was handed out here.
    position: Position,
    /// When something of each origin was handed out last.
    last: SmallVec<[(Origin, Instant); 4]>,
    recovering: Vec<(u64, Recovering)>,
    /// Origins of the position that did not answer when a client was recovered here.
    unheard: SmallVec<[Origin; 4]>,
    /// Origins that are heard, while clients that they did not answer for are sent away.
    losing: SmallVec<[Origin; 1]>,
    limits: LogLimits,
    room: Arc<LogRoom>,
}

/// What a node that leaves has told the one that answers for it then.
#[derive(Debug, Default)]
struct Bequest {
    heir: Option<NodeId>,
    stage: Stage,
    /// Of each origin the last number, and whether it is unfinished.
    told: Vec<(Origin, (u64, bool))>,
}

/// How far a node is that leaves.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The heir lacks something.
    #[default]
    Begun,
    /// It has everything, and is told what follows.
    Followed,
    /// Nothing follows.
    Closed,
}

/// What a node has to say to a client that is back: packets, and how far they reach.
pub(crate) type Answer = (Vec<KeptPacket>, Reached);

impl Journal {
    /// Nothing was sent yet.
    pub(crate) fn new(me: Origin, limits: LogLimits, room: &Arc<LogRoom>) -> Self {
        Self {
            me,
            log: Log::new(limits, room),
            inherited: Vec::new(),
            unfinished: Vec::new(),
            bequest: Bequest::default(),
            position: Position::default(),
            last: SmallVec::new(),
            recovering: Vec::new(),
            unheard: SmallVec::new(),
            losing: SmallVec::new(),
            limits,
            room: Arc::clone(room),
        }
    }

    /// Goes on behind this number, up to which there may have been packets before it was forgotten. Until then they may be missed.
    pub(crate) fn resume(&mut self, last: u64, until: Option<Instant>, now: Instant) {
        self.log.resume(last, until);
        // Whoever comes now misses none of them.
        if until.is_some() {
            self.advance(Number { origin: self.me, number: last }, now);
        }
    }

    /// The number of the last packet of this node.
    pub(crate) fn last(&self) -> u64 {
        self.log.last()
    }

    /// The number of the next packet of this node.
    pub(crate) fn next(&self) -> Number {
        Number { origin: self.me, number: self.log.next() }
    }

    /// Keeps the next packet of this node, which is handed out now.
    pub(crate) fn keep(&mut self, packet: &KeptPacket, now: Instant) {
        let number = self.next();
        self.log.push(Arc::clone(packet), now);
        self.advance(number, now);
        self.recovering.iter_mut().for_each(|(_, back)| back.live(packet, now));
    }

    /// A packet of another node arrived. Returns whether it is to be handed out: what was is not handed out again.
    pub(crate) fn receive(&mut self, packet: &KeptPacket, now: Instant) -> bool {
        let Some(number) = packet.number else { return true };
        if self.position.get(number.origin).is_some_and(|last| number.number <= last) {
            return false;
        }
        self.advance(number, now);
        self.recovering.iter_mut().for_each(|(_, back)| back.live(packet, now));
        true
    }

    /// What was handed out here.
    pub(crate) fn position(&self) -> &Position {
        &self.position
    }

    /// A client is back at this node. This node answers at once; the others that it asks will.
    ///
    /// # Errors
    /// When this node cannot say what it missed.
    pub(crate) fn begin(&mut self, id: u64, mut back: Recovering, now: Instant) -> Result<(), TooMuch> {
        let (packets, reached) =
            self.answer(back.membership(), |origin| back.has(origin), now, back.limit())?;
        back.replay(packets);
        back.answered(self.me, reached.numbers);
        back.lack(reached.unfinished);
        self.recovering.push((id, back));
        Ok(())
    }

    /// What a client missed of this node, and of those that it answers for. One of those that still lives may say more than is known
    /// here.
    ///
    /// # Errors
    /// When what this node itself sent is not known any more, or too much.
    pub(crate) fn answer(
        &mut self,
        membership: &Membership,
        after: impl Fn(Origin) -> u64,
        now: Instant,
        limit: usize,
    ) -> Result<Answer, TooMuch> {
        let mut packets = self.log.after(after(self.me), membership, now, limit)?;
        let mut reached =
            Reached { numbers: vec![(self.me, self.log.last())], unfinished: self.unfinished(now) };
        for (origin, log) in &mut self.inherited {
            if reached.unfinished.contains(origin) {
                continue;
            }
            match log.after(after(*origin), membership, now, limit) {
                Ok(missed) => {
                    packets.extend(missed);
                    reached.numbers.push((*origin, log.last()));
                }
                Err(TooMuch) => reached.unfinished.push(*origin),
            }
        }
        Ok((packets, reached))
    }

    /// A client that is back, and does not know it yet.
    pub(crate) fn recovering(&mut self, id: u64) -> Option<&mut Recovering> {
        self.recovering.iter_mut().find(|(known, _)| *known == id).map(|(_, back)| back)
    }

    /// How many there are.
    pub(crate) fn recoveries(&self) -> usize {
        self.recovering.len()
    }

    /// The answer of another node is complete. What it says that it has sent has arrived here, or is for nobody here.
    pub(crate) fn answered(&mut self, id: u64, from: Origin, reached: Reached, now: Instant) {
        let Reached { numbers, unfinished } = reached;
        for (origin, number) in &numbers {
            if *origin == from {
                self.advance(Number { origin: *origin, number: *number }, now);
            }
        }
        if let Some(back) = self.recovering(id) {
            back.answered(from, numbers);
            back.lack(unfinished);
        }
    }

    /// Whether a client that is back has everything that it missed, when these are the other members. Of an origin that is heard right
    /// now it would get what it may have.
    pub(crate) fn is_ready(&mut self, id: u64, members: &[Origin]) -> bool {
        let losing = std::mem::take(&mut self.losing);
        let is_ready = self.recovering(id).is_some_and(|back| {
            let is_whole = back.is_complete() && !back.has_failed() && back.is_whole(members);
            is_whole && losing.iter().all(|origin| back.has_heard(*origin))
        });
        self.losing = losing;
        is_ready
    }

    /// Something of another node will never arrive here: who waits for it asks again.
    pub(crate) fn lose(&mut self, from: Origin) {
        self.recovering.iter_mut().for_each(|(_, back)| back.lose(from));
    }

    /// Takes out a client that knows it now, or will not.
    pub(crate) fn take(&mut self, id: u64) -> Option<Recovering> {
        let at = self.recovering.iter().position(|(known, _)| *known == id)?;
        Some(self.recovering.swap_remove(at).1)
    }

    /// What these origins said they have sent was handed out here, or is for nobody here.
    pub(crate) fn reached(&mut self, numbers: impl IntoIterator<Item = (Origin, u64)>, now: Instant) {
        numbers.into_iter().for_each(|(origin, number)| self.advance(Number { origin, number }, now));
    }

    /// These origins did not answer for a client that was recovered. Clients may name any, so those that are not known here are not
    /// remembered.
    pub(crate) fn note_unheard(&mut self, origins: impl IntoIterator<Item = Origin>) {
        for origin in origins {
            if self.position.get(origin).is_some() && !self.unheard.contains(&origin) {
                self.unheard.push(origin);
            }
        }
    }

    /// Whether an origin that is heard now may not have answered for a client here. It is told once. Then nobody whom it did not
    /// answer gets in until [`lost`](Self::lost) says that those who are here have gone.
    pub(crate) fn take_unheard(&mut self, origin: Origin) -> bool {
        let before = self.unheard.len();
        self.unheard.retain(|unheard| *unheard != origin);
        let is_unheard =
            self.unheard.len() < before || origin != self.me && self.position.get(origin).is_none();
        if is_unheard {
            self.losing.push(origin);
        }
        is_unheard
    }

    /// Whoever an origin that is heard did not answer for has gone.
    pub(crate) fn lost(&mut self, origin: Origin) {
        if let Some(at) = self.losing.iter().position(|losing| *losing == origin) {
            self.losing.swap_remove(at);
        }
    }

    /// Answers for a node that leaves from now on.
    pub(crate) fn inherit(&mut self, part: InheritedLog, now: Instant) {
        let InheritedLog { origin, packets, last, cut, more, .. } = part;
        if origin == self.me {
            return;
        }
        let at = self.inherited.iter().position(|(known, _)| *known == origin).unwrap_or_else(|| {
            self.inherited.push((origin, Log::new(self.limits, &self.room)));
            self.inherited.len() - 1
        });
        if let Some((_, log)) = self.inherited.get_mut(at) {
            log.extend(packets, last, cut, now);
        }
        self.unfinished.retain(|(known, _)| *known != origin);
        if more {
            self.unfinished.push((origin, now + self.limits.age));
        }
    }

    /// The origins that this node answers for and of which something may be missing.
    fn unfinished(&self, now: Instant) -> Vec<Origin> {
        let unfinished = self.unfinished.iter().filter(|(_, until)| now < *until);
        unfinished.map(|(origin, _)| *origin).collect()
    }

    /// This node leaves, and that one is to answer for it. Returns what it has to know before anything else: of what will be more.
    pub(crate) fn leave_to(&mut self, heir: &NodeId, now: Instant) -> Vec<(Origin, LogPart)> {
        if self.bequest.heir.as_ref() == Some(heir) {
            return Vec::new();
        }
        self.bequest = Bequest { heir: Some(heir.clone()), ..Bequest::default() };
        let own = (self.me, &self.log);
        let logs = std::iter::once(own).chain(self.inherited.iter().map(|(origin, log)| (*origin, log)));
        let unfinished = self.unfinished(now);
        let sent = logs.filter(|(origin, log)| log.last() > 0 || unfinished.contains(origin));
        let nothing = |log: &Log| LogPart { packets: Vec::new(), last: 0, cut: log.cut(now), more: true };
        sent.map(|(origin, log)| (origin, nothing(log))).collect()
    }

    /// The same for one of which nothing is known yet, so that there is nothing to come.
    pub(crate) fn leave_from_the_beginning_to(&mut self, heir: &NodeId) {
        self.bequest = Bequest { heir: Some(heir.clone()), stage: Stage::Followed, told: Vec::new() };
    }

    /// The next part of what this node keeps that its heir has not been told, of about so many bytes. Without one it has everything, and
    /// is told what follows.
    pub(crate) fn hand_over(&mut self, most: usize, now: Instant) -> Option<(Origin, LogPart)> {
        let part = self.untold(most, now);
        if part.is_none() && self.bequest.stage == Stage::Begun {
            self.bequest.stage = Stage::Followed;
        }
        part
    }

    /// What an heir has to be told that had everything before.
    pub(crate) fn follow(&mut self, now: Instant) -> Option<(NodeId, Origin, LogPart)> {
        let heir = self.bequest.heir.clone().filter(|_| self.bequest.stage == Stage::Followed)?;
        let (origin, part) = self.untold(usize::MAX, now)?;
        Some((heir, origin, part))
    }

    fn untold(&mut self, most: usize, now: Instant) -> Option<(Origin, LogPart)> {
        let unfinished = self.unfinished(now);
        let own = (self.me, &mut self.log);
        let logs = std::iter::once(own).chain(self.inherited.iter_mut().map(|(origin, log)| (*origin, log)));
        for (origin, log) in logs {
            let told = self.bequest.told.iter_mut().find(|(known, _)| *known == origin);
            let after = told.as_ref().map_or((0, false), |(_, told)| *told);
            if after == (log.last(), unfinished.contains(&origin)) {
                continue;
            }
            let mut part = log.part(after.0, most, now);
            let is_whole = !part.more;
            part.more |= unfinished.contains(&origin);
            let reached = (part.last, is_whole && part.more);
            match told {
                Some((_, told)) => *told = reached,
                None => self.bequest.told.push((origin, reached)),
            }
            return Some((origin, part));
        }
        None
    }

    /// Nothing is kept any more, because the heir would not learn of it. Returns how many packets it lacks.
    pub(crate) fn close(&mut self) -> usize {
        self.bequest.stage = Stage::Closed;
        let own = (self.me, &self.log);
        let logs = std::iter::once(own).chain(self.inherited.iter().map(|(origin, log)| (*origin, log)));
        let told = |origin| self.bequest.told.iter().find(|(known, _)| *known == origin);
        logs.map(|(origin, log)| log.count_behind(told(origin).map_or(0, |(_, (last, _))| *last))).sum()
    }

    /// Whether nothing is kept any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.bequest.stage == Stage::Closed
    }

    /// Drops what is too old. Returns whether anything is left.
    pub(crate) fn expire(&mut self, now: Instant) -> bool {
        self.log.expire(now);
        self.unfinished.retain(|(_, until)| now < *until);
        let unfinished = self.unfinished(now);
        self.inherited.retain_mut(|(origin, log)| {
            log.expire(now);
            !log.is_empty() || unfinished.contains(origin)
        });
        let (age, position) = (self.limits.age + MARGIN, &mut self.position);
        self.last.retain(|(origin, at)| {
            let lasts = now < *at + age;
            if !lasts {
                position.remove(*origin);
            }
            lasts
        });
        self.unheard.retain(|origin| position.get(*origin).is_some());
        !(self.log.is_empty()
            && self.inherited.is_empty()
            && self.last.is_empty()
            && self.recovering.is_empty())
    }

    /// Whether it keeps nothing of other nodes, which nobody else would answer for.
    pub(crate) const fn is_its_own(&self) -> bool {
        self.inherited.is_empty()
    }

    /// Whether nobody misses anything of this node.
    pub(crate) fn is_empty(&self) -> bool {
        self.log.is_empty()
    }

    /// Keeps half of the bytes.
    pub(crate) fn shed(&mut self) {
        let logs = std::iter::once(&mut self.log).chain(self.inherited.iter_mut().map(|(_, log)| log));
        logs.for_each(|log| log.shed(log.bytes() / 2));
    }

    /// How many bytes are kept.
    pub(crate) fn bytes(&self) -> usize {
        self.log.bytes() + self.inherited.iter().map(|(_, log)| log.bytes()).sum::<usize>()
    }

    fn advance(&mut self, number: Number, now: Instant) {
        // An origin that has sent nothing is no part of any position.
        if number.number == 0 {
            return;
        }
        self.position.advance(number);
        match self.last.iter_mut().find(|(origin, _)| *origin == number.origin) {
            Some((_, at)) => *at = now,
            None => self.last.push((number.origin, now)),
        }
    }
}

/// For how much longer than packets are kept their origin is a part of the position: so long one may have been on its way.
const MARGIN: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::super::log::tests::{AGE, member, numbers, packet};
    use super::super::recovering::tests::waiting;
    use super::*;

    fn origin(number: u64) -> Origin {
        Origin::from_u64(number)
    }

    fn journal(me: u64) -> Journal {
        Journal::new(origin(me), LogLimits { bytes: 1 << 20, age: AGE }, &LogRoom::new(usize::MAX))
    }

    fn emit(journal: &mut Journal, room: &str, now: Instant) {
        let number = journal.next();
        journal.keep(&packet(number.origin.as_u64(), number.number, room), now);
    }

    #[test]
    fn what_was_handed_out_is_not_handed_out_again() {
        let (mut journal, now) = (journal(1), Instant::now());
        assert!(journal.receive(&packet(2, 3, "a"), now));
        assert!(!journal.receive(&packet(2, 3, "a"), now) && !journal.receive(&packet(2, 2, "a"), now));
        assert!(journal.receive(&packet(2, 7, "a"), now));
        assert_eq!(journal.position().to_vec(), [(origin(2), 7)]);
    }

    #[test]
    fn an_origin_leaves_the_position_when_nothing_of_it_is_kept_anywhere() {
        let (mut journal, now) = (journal(1), Instant::now());
        emit(&mut journal, "a", now);
        journal.receive(&packet(2, 3, "a"), now);
        let later = now + AGE;
        journal.receive(&packet(3, 1, "a"), later);
        assert!(journal.expire(later) && journal.position().to_vec().len() == 3);
        assert!(journal.expire(now + AGE + MARGIN));
        assert_eq!(journal.position().to_vec(), [(origin(3), 1)]);
        assert!(!journal.expire(later + AGE + MARGIN));
        assert_eq!(journal.next().number, 2, "numbers go on");
    }

    #[test]
    fn a_client_that_is_back_gets_what_this_node_kept_and_what_it_sends_meanwhile() {
        let (mut journal, now) = (journal(1), Instant::now());
        (0..4).for_each(|_| emit(&mut journal, "a", now));
        let position = [(origin(1), 2)].into_iter().collect();
        assert_eq!(
            journal.begin(
                9,
                Recovering::new(member(&["a"], now), position, [origin(2)], 1 << 20, waiting()),
                now
            ),
            Ok(())
        );
        emit(&mut journal, "a", now);
        emit(&mut journal, "b", now);
        journal.receive(&packet(2, 5, "a"), now);
        journal.recovering(9).unwrap().replay([packet(2, 5, "a")]);
        let reached = Reached { numbers: vec![(origin(2), 6)], ..Reached::default() };
        journal.answered(9, origin(2), reached, now);
        assert_eq!(journal.position().get(origin(2)), Some(6));
        let (replayed, _) = journal.take(9).unwrap().finish();
        let packets: Vec<_> = replayed.into_iter().map(|(packet, _)| packet).collect();
        assert_eq!(numbers(&packets), [3, 4, 5, 5]);
        assert_eq!(journal.recoveries(), 0);
    }

    #[test]
    fn a_node_answers_for_one_that_has_left() {
        let (mut old, mut heir, now) = (journal(1), journal(2), Instant::now());
        (0..5).for_each(|_| emit(&mut old, "a", now));
        emit(&mut heir, "a", now);
        let parts = leave(&mut old, now);
        assert_eq!(parts.len(), 6, "what is to come, and one packet in each part");
        parts.into_iter().for_each(|part| heir.inherit(part, now));
        assert_eq!(
            answer(&mut heir, now),
            (vec![1, 1, 2, 3, 4, 5], vec![(origin(2), 1), (origin(1), 5)], vec![])
        );
        assert!(!heir.expire(now + AGE + MARGIN) && heir.bytes() == 0);
    }

    fn inherited(origin: Origin, part: LogPart) -> InheritedLog {
        let LogPart { packets, last, cut, more } = part;
        InheritedLog { namespace: "/".into(), origin, packets, last, cut, more }
    }

    /// Leaves, and returns what the heir is told, with one packet in each part.
    fn leave(journal: &mut Journal, now: Instant) -> Vec<InheritedLog> {
        let mut told = journal.leave_to(&"heir".parse().unwrap(), now);
        while let Some(part) = journal.hand_over(1, now) {
            told.push(part);
        }
        told.into_iter().map(|(origin, part)| inherited(origin, part)).collect()
    }

    /// What a client that has nothing is told: the numbers of the packets, how far they reach, and what is unfinished.
    fn answer(journal: &mut Journal, now: Instant) -> (Vec<u64>, Vec<(Origin, u64)>, Vec<Origin>) {
        let (packets, Reached { numbers: reached, unfinished }) =
            journal.answer(&member(&["a"], now), |_| 0, now, usize::MAX).unwrap();
        (numbers(&packets), reached, unfinished)
    }

    #[test]
    fn a_log_of_which_a_part_never_came_is_not_taken_for_a_whole_one_however_little_came() {
        let (mut old, now) = (journal(1), Instant::now());
        (0..5).for_each(|_| emit(&mut old, "a", now));
        let parts = leave(&mut old, now);
        for came in 1..parts.len() {
            let mut heir = journal(2);
            parts[..came].iter().for_each(|part| heir.inherit(part.clone(), now));
            assert_eq!(
                answer(&mut heir, now),
                (vec![], vec![(origin(2), 0)], vec![origin(1)]),
                "{came} came"
            );
            assert!(heir.expire(now + AGE / 2));
            // An heir that leaves hands on no more than it has.
            let mut next = journal(3);
            leave(&mut heir, now).into_iter().for_each(|part| next.inherit(part, now));
            assert_eq!(answer(&mut next, now).2, [origin(1)], "{came} came");
            assert!(!heir.expire(now + AGE), "nobody misses it any more");
        }
    }

    #[test]
    fn what_a_node_sends_that_has_handed_on_its_log_comes_behind_it() {
        let (mut old, mut heir, now) = (journal(1), journal(2), Instant::now());
        emit(&mut old, "a", now);
        let announced = old.leave_to(&"heir".parse().unwrap(), now);
        announced.into_iter().for_each(|(origin, part)| heir.inherit(inherited(origin, part), now));
        emit(&mut old, "a", now);
        assert!(old.follow(now).is_none(), "what is before it comes first");
        while let Some((origin, part)) = old.hand_over(1, now) {
            heir.inherit(inherited(origin, part), now);
        }
        for number in 3..6 {
            emit(&mut old, "a", now);
            let (to, origin, part) = old.follow(now).unwrap();
            assert_eq!((to.as_str(), part.packets.len(), part.last), ("heir", 1, number));
            heir.inherit(inherited(origin, part), now);
        }
        assert_eq!(answer(&mut heir, now).0, [1, 2, 3, 4, 5]);
        emit(&mut old, "a", now);
        assert_eq!((old.close(), old.is_closed()), (1, true), "it is not told of the last one");
    }

    #[test]
    fn an_origin_that_did_not_answer_is_told_once_when_it_is_heard() {
        let mut journal = journal(1);
        let now = Instant::now();
        assert!([2, 3].into_iter().all(|number| journal.receive(&packet(number, 1, "a"), now)));
        journal.note_unheard([origin(2), origin(2)]);
        assert!(!journal.take_unheard(origin(3)));
        assert!(journal.take_unheard(origin(2)) && !journal.take_unheard(origin(2)));
    }

    /// Begins to recover a client that asks these origins, which answer.
    fn answered(journal: &mut Journal, id: u64, asked: &[u64], now: Instant) {
        let origins = asked.iter().map(|number| origin(*number));
        let back = Recovering::new(member(&["a"], now), Position::default(), origins, 1 << 20, waiting());
        journal.begin(id, back, now).unwrap();
        for number in asked {
            let reached = Reached { numbers: vec![(origin(*number), 1)], ..Reached::default() };
            journal.answered(id, origin(*number), reached, now);
        }
    }

    #[test]
    fn a_client_is_not_ready_when_something_is_lost_that_it_may_have_missed() {
        let (mut journal, now) = (journal(1), Instant::now());
        answered(&mut journal, 7, &[2, 3], now);
        let members = [origin(2), origin(3)];
        journal.lose(origin(4));
        assert!(journal.is_ready(7, &members), "it did not ask that one");
        journal.lose(origin(3));
        assert!(!journal.is_ready(7, &members));
        answered(&mut journal, 8, &[2, 3], now);
        assert!(journal.is_ready(8, &members), "it asked again");
    }

    #[test]
    fn a_client_is_not_ready_while_a_member_has_not_answered_that_was_none_when_it_asked() {
        let (mut journal, now) = (journal(1), Instant::now());
        answered(&mut journal, 7, &[2], now);
        assert!(journal.is_ready(7, &[origin(2)]));
        assert!(!journal.is_ready(7, &[origin(2), origin(3)]));
        assert!(journal.is_ready(7, &[]), "it has left meanwhile");
    }

    #[test]
    fn nobody_whom_an_origin_did_not_answer_gets_in_while_others_are_sent_away_because_it_is_heard() {
        let (mut journal, now) = (journal(1), Instant::now());
        answered(&mut journal, 7, &[2], now);
        assert!(journal.take_unheard(origin(3)));
        assert!(!journal.is_ready(7, &[origin(2)]));
        answered(&mut journal, 8, &[2, 3], now);
        assert!(journal.is_ready(8, &[origin(2)]), "it has what that one sent");
        journal.lost(origin(3));
        assert!(journal.is_ready(7, &[origin(2)]));
    }
}
