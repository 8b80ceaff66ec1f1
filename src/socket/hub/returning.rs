//! Clients that come back: who decides about their sessions, and how they get what they missed (docs/protocol/mesh.md,
//! "Recovery").

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use std::vec;

use serde::Deserialize;
use serde_json::Value;
use tokio::task::coop;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::admission::{Admission, Admitted};
use super::counters::NamespaceCounters;
use super::error::Refusal;
use super::handlers::Description;
use super::handshake::Handshake;
use super::keeping::{AT_ONCE, Claimed, KEEPERS, Keeping, KeptSocket, Turn};
use super::member::Member;
use super::namespace::LocalNamespace;
use super::records::Records;
use super::registry::NamespaceRegistry;
use super::requests::OpenRequest;
use super::responder::Responder;
use crate::catch_panic;
use crate::engine::Protocol;
use crate::excerpt::Excerpt;
use crate::id::{Incarnation, NodeId, SocketId};
use crate::socket::messages::recovery::{Number, Origin, Pid, SessionQuestion, SessionState, Standing};
use crate::socket::messages::{
    Recover, RecoveryMessage, Replay, ReplayEnd, Request, RequestKind, ResponsePart, Selection,
};
use crate::socket::recovery::{
    Claim, MARGIN, Membership, Position, Recovering, Recovery, TooMuch, Unrecovered,
};

/// What a client says that wants its socket back.
#[derive(Debug)]
pub(crate) struct Returning {
    handshake: Handshake,
    pid: Pid,
    /// The last position that it got.
    offset: Result<Position, Unrecovered>,
}

impl Returning {
    /// What a client says when it connects, if it wants a socket back.
    pub(crate) fn of(handshake: &Handshake) -> Option<Self> {
        #[derive(Deserialize)]
        struct Said {
            pid: Option<Value>,
            offset: Option<Value>,
        }
        if handshake.request().protocol() != Protocol::V4 || !handshake.says("\"pid\"") {
            return None;
        }
        let Said { pid, offset } = handshake.auth().ok()?;
        let pid = Pid(pid?.as_str()?.parse().ok()?);
        let offset = match &offset {
            Some(offset) => offset.as_str().and_then(Position::parse).ok_or(Unrecovered::NoPosition),
            None => Err(Unrecovered::NoEvent),
        };
        Some(Self { handshake: handshake.clone(), pid, offset })
    }
}

/// What the node that decides says to who asks for a session.
enum Decision {
    Granted(Box<SessionState>),
    /// There is none.
    Refused,
    /// Somebody else decides, or asked for it before, or it is not known yet.
    Later,
}

/// How a client enters a namespace.
pub(crate) enum Entry {
    New(Admitted),
    /// With the socket that it had.
    Back(Box<Claimed>, Admitted),
}

impl NamespaceRegistry {
    /// Decides about a client that may want its socket back.
    ///
    /// # Errors
    /// When the namespace refuses it.
    pub(crate) async fn enter_again(
        self: &Arc<Self>,
        namespace: &Arc<LocalNamespace>,
        admission: Admission,
        returning: Option<Returning>,
    ) -> Result<Entry, Refusal> {
        let Some(returning) = returning else { return Ok(Entry::New(admission.decided().await?)) };
        // A node that has not made a dynamic namespace does not know yet whether its clients come back.
        let accepted = self.parents().accept(namespace, &returning.handshake).await?;
        let admit = || self.parents().admit_by(&accepted, namespace, returning.handshake.clone());
        let skips = accepted.recovery.as_ref().is_some_and(|settings| settings.skip_middleware);
        if skips && accepted.handlers.carries_data() {
            if let Some(claimed) = self.take_back(namespace, &accepted, &returning).await {
                match admitted_before(namespace, &claimed.state) {
                    Some(admitted) => return Ok(Entry::Back(Box::new(claimed), admitted)),
                    None => self.give_up(claimed, Unrecovered::Data),
                }
            }
            return Ok(Entry::New(admit().await?));
        }
        let admitted = admit().await?;
        Ok(match self.take_back(namespace, &accepted, &returning).await {
            Some(claimed) => Entry::Back(Box::new(claimed), admitted),
            None => Entry::New(admitted),
        })
    }

    /// Gets the session of a client that is back, and what it missed. Without one the client is as any other.
    async fn take_back(
        self: &Arc<Self>,
        namespace: &Arc<LocalNamespace>,
        accepted: &Arc<Description>,
        returning: &Returning,
    ) -> Option<Claimed> {
        let settings = accepted.recovery.as_ref()?;
        let granted = async {
            // A node that cannot say what its packets were would leave a hole.
            if !namespace.keeping().peers.recover() {
                return Err(Unrecovered::Version);
            }
            let position = match &returning.offset {
                Err(Unrecovered::NoEvent) if settings.before_first_event => Position::default(),
                offset => offset.clone()?,
            };
            let claim = Arc::clone(self).claim(Arc::clone(namespace), returning.pid, settings.clone());
            // To its end, even if the client goes meanwhile: what was granted is given back then.
            let claimed = tokio::spawn(claim).await.map_err(|_ended| Unrecovered::Undecided)?;
            Ok((claimed?, position))
        };
        let (claimed, position) = match granted.await {
            Ok(granted) => granted,
            Err(why) => {
                accepted.counters.session_refused(why);
                tell_refused(namespace, why);
                return None;
            }
        };
        // Its client was admitted before, by this description or that of another node.
        namespace.describe(accepted);
        let caught_up = self.catch_up(claimed, position).await;
        let claimed = caught_up.map_err(|(claimed, why)| self.give_up(*claimed, why)).ok()?;
        let is_accepted = match namespace.description() {
            Some(description) if Arc::ptr_eq(description, accepted) => true,
            Some(quicker) => quicker.recovery.is_some() && quicker.paths.accept(&returning.handshake).await,
            None => false,
        };
        if is_accepted {
            return Some(claimed);
        }
        self.give_up(claimed, Unrecovered::Unknown);
        None
    }

    /// The client of a session is refused after all.
    pub(crate) fn refuse(&self, claimed: Claimed) {
        self.give_up(claimed, Unrecovered::Login);
    }

    /// A session that cannot be recovered: its client gets another socket.
    fn give_up(&self, claimed: Claimed, why: Unrecovered) {
        let state = claimed.give_up(Instant::now());
        tell_refused(&self.of(&state.namespace), why);
        self.tell_lost(state, |counters| counters.session_refused(why));
    }

    /// Asks for a session, whoever decides about it now.
    async fn claim(
        self: Arc<Self>,
        namespace: Arc<LocalNamespace>,
        pid: Pid,
        settings: Recovery,
    ) -> Result<Claimed, Unrecovered> {
        let (namespace, keeping) = (&namespace, namespace.keeping());
        let (deadline, me) = (Instant::now() + PATIENCE, (keeping.me.clone(), keeping.origin));
        let turn = match keeping.turn(pid) {
            Ok(turn) => turn,
            Err(first) => second_turn(keeping, pid, &first, deadline).await?,
        };
        while Instant::now() < deadline {
            let decider = keeping.keepers(pid.0.key()).first().cloned();
            let decision = match decider {
                Some(node) if node != me.0 => {
                    let (asked, request) =
                        (Instant::now(), question(&namespace.path, pid, SessionQuestion::Claim, deadline));
                    let responses = keeping.peers.ask(&node, request).await;
                    let is_answered = responses.lost.is_empty() && responses.late.is_empty();
                    match session_of(responses.parts, asked) {
                        Some(state) => Decision::Granted(state),
                        None if is_answered => Decision::Refused,
                        None => Decision::Later,
                    }
                }
                _ => self.decide(namespace, pid, &me, deadline).await,
            };
            match decision {
                Decision::Granted(state) => {
                    let records = keeping.records.of(&namespace.path, &settings, Instant::now());
                    return Ok(Claimed::new(Arc::clone(keeping), records, *state, turn));
                }
                Decision::Refused => {
                    turn.decided();
                    return Err(Unrecovered::Unknown);
                }
                Decision::Later => sleep(PAUSE).await,
            }
        }
        Err(Unrecovered::Undecided)
    }

    /// Decides about a session that a node asks for, if it is this node that does.
    async fn decide(
        &self,
        namespace: &Arc<LocalNamespace>,
        pid: Pid,
        claimant: &(NodeId, Origin),
        deadline: Instant,
    ) -> Decision {
        let keeping = namespace.keeping();
        if keeping.keepers(pid.0.key()).first() != Some(&keeping.me) {
            return Decision::Later;
        }
        if timeout_at(deadline, keeping.settled()).await.is_err() {
            return Decision::Later;
        }
        let claim = |now| keeping.states.lock().claim(pid, &namespace.path, claimant, keeping.lives(), now);
        let mut claimed = claim(Instant::now());
        if claimed == Claim::Unknown && self.fetch(namespace, pid, deadline).await {
            claimed = claim(Instant::now());
        }
        // Whoever asked before may be the same client, over a connection that is lost again: then the session is given back.
        let is_second = claimed == Claim::Busy;
        while claimed == Claim::Busy && Instant::now() < deadline {
            sleep(LOOK).await;
            claimed = claim(Instant::now());
        }
        if is_second && matches!(claimed, Claim::At(_)) {
            keeping.states.lock().release(pid);
            return Decision::Refused;
        }
        if let Claim::At(node) = claimed {
            claimed = match self.surrendered(namespace, pid, &node, deadline).await {
                true => keeping.states.lock().grant(pid, claimant, Instant::now()),
                false => {
                    keeping.states.lock().release(pid);
                    return Decision::Later;
                }
            };
        }
        match claimed {
            Claim::Granted(state) => {
                keeping.publish((*state).clone(), Instant::now());
                Decision::Granted(state)
            }
            Claim::Busy => Decision::Later,
            Claim::Unknown | Claim::At(_) => Decision::Refused,
        }
    }

    /// Asks the others for a session that this node may have inherited a moment ago. Returns whether one of them had it.
    async fn fetch(&self, namespace: &Arc<LocalNamespace>, pid: Pid, deadline: Instant) -> bool {
        let keeping = namespace.keeping();
        let mut found = false;
        for node in keeping.peers.successors(pid.0.key(), KEEPERS + 1) {
            if node != keeping.me {
                let (asked, request) =
                    (Instant::now(), question(&namespace.path, pid, SessionQuestion::Fetch, deadline));
                let responses = keeping.peers.ask(&node, request).await;
                if let Some(state) = session_of(responses.parts, asked) {
                    keeping.take(&node, *state, Instant::now());
                    found = true;
                }
            }
        }
        found
    }

    /// Has the node that has a session end its socket. Returns whether it has, or is dead.
    async fn surrendered(
        &self,
        namespace: &Arc<LocalNamespace>,
        pid: Pid,
        node: &NodeId,
        deadline: Instant,
    ) -> bool {
        let keeping = namespace.keeping();
        let Some(known) = keeping.states.lock().get(pid, Instant::now()) else { return false };
        if *node == keeping.me {
            surrender(namespace, known.socket, pid).await;
            return true;
        }
        let asked = Instant::now();
        let request = question(&namespace.path, pid, SessionQuestion::Surrender(known.socket), deadline);
        let responses = keeping.peers.ask(node, request).await;
        let is_answered = responses.lost.is_empty() && responses.late.is_empty();
        if let Some(state) = session_of(responses.parts, asked) {
            keeping.take(node, *state, Instant::now());
        }
        is_answered || !keeping.lives()(known.life.at)
    }

    /// Collects what the client missed, from every node. Who is answered late asks again.
    async fn catch_up(
        &self,
        mut claimed: Claimed,
        mut position: Position,
    ) -> Result<Claimed, (Box<Claimed>, Unrecovered)> {
        // A client may say a position that it had in an earlier session. Nothing that old is kept of a session that is older.
        if claimed.state.age < claimed.records.retention {
            claimed.state.start.iter().for_each(|(origin, number)| {
                position.advance(Number { origin: *origin, number: *number });
            });
        }
        if claimed.state.forgotten.is_some_and(|over| over < claimed.records.retention) {
            return Err((Box::new(claimed), Unrecovered::TooMuch));
        }
        if claimed.state.login.is_some_and(|left| left.is_zero()) {
            return Err((Box::new(claimed), Unrecovered::Login));
        }
        let mut now = Instant::now();
        let deadline = now + PATIENCE;
        loop {
            match ask_all(&claimed, &position, now, deadline).await {
                Ok(true) => return Ok(claimed),
                Ok(false) if Instant::now() < deadline => {}
                Ok(false) => return Err((Box::new(claimed), Unrecovered::Unanswered)),
                Err(why) => return Err((Box::new(claimed), why)),
            }
            let asked = std::mem::replace(&mut now, Instant::now());
            claimed.begin_again(now.saturating_duration_since(asked));
        }
    }

    /// What another node tells about sessions, in the order of what it emits.
    pub(super) fn handle_recovery(&self, node: &NodeId, incarnation: Incarnation, message: RecoveryMessage) {
        let now = Instant::now();
        let from = Origin::of(node, incarnation);
        match message {
            RecoveryMessage::Copies { clock, states } => {
                let late = self.keeping().lateness(from, clock, now);
                for state in states.into_iter().map(|state| state.later(late)) {
                    let (namespace, socket) = (self.find(&state.namespace), state.socket);
                    let (pid, life) = (state.pid, state.life);
                    if self.keeping().take(node, state, now)
                        && let Some(member) =
                            namespace.and_then(|namespace| namespace.kept_member(socket, pid))
                    {
                        member.outlived(life);
                    }
                }
            }
            RecoveryMessage::Close { pid, namespace, socket, life } => {
                let namespace = self.find(&namespace);
                if let Some(member) = namespace.and_then(|namespace| namespace.kept_member(socket, pid)) {
                    member.outlived(life);
                }
            }
            RecoveryMessage::Recover(recover) => self.answer(node, recover, now),
            RecoveryMessage::Replay(Replay { id, namespace, packets, waited, end }) => {
                let Some(records) = self.keeping().records.get(&namespace) else { return };
                if let ReplayEnd::Done(reached) = &end {
                    // Who has sent nothing is behind nobody.
                    let sent = reached.numbers.iter().filter(|(_, number)| *number > 0);
                    self.hear(&namespace, &records, sent.map(|(origin, _)| *origin));
                }
                let mut journal = records.journal();
                if let Some(back) = journal.recovering(id) {
                    back.replay(packets);
                }
                match end {
                    ReplayEnd::More => return,
                    ReplayEnd::Done(reached) => {
                        journal.answered(id, from, reached, now);
                        if let Some(back) = journal.recovering(id) {
                            back.note_answer(now.checked_sub(waited).unwrap_or(now));
                        }
                    }
                    ReplayEnd::Refused => {
                        if let Some(back) = journal.recovering(id) {
                            back.fail();
                        }
                    }
                }
                drop(journal);
                records.answers.notify_waiters();
            }
            RecoveryMessage::Log(part) => {
                if let Some(records) = self.records_of(&part.namespace) {
                    self.hear(&part.namespace, &records, [part.origin]);
                    let mut journal = records.journal();
                    journal.inherit(part, now);
                    self.keeping().follow(&records.path, &mut journal, now);
                }
            }
            RecoveryMessage::Again => {
                self.tell_again(node);
            }
        }
    }

    /// These origins are heard: sockets that they did not answer for have to ask them first.
    fn hear(&self, namespace: &str, records: &Records, origins: impl IntoIterator<Item = Origin>) {
        for origin in origins {
            let is_unheard = records.journal().take_unheard(origin);
            if is_unheard {
                let namespace = self.find(namespace);
                namespace.into_iter().for_each(|namespace| namespace.lose_those_without(origin));
                records.journal().lost(origin);
            }
        }
    }

    /// What another node was told of sessions says how old they were when it was told. Over a link that was down it came late, so it
    /// is told again: a room that seems younger than it is would hide what was sent to it.
    pub(super) fn tell_again(&self, node: &NodeId) {
        if self.keeps() {
            self.begin_keeping();
            self.keeping().tell_time(node);
            self.keeping().tell_again(node);
        }
    }

    /// Something of another node is lost. Whoever may have missed it comes again and asks, and so does this node.
    pub(super) fn handle_loss(&self, node: &NodeId, incarnation: Incarnation) {
        if !self.keeps() {
            return;
        }
        let keeping = self.keeping();
        keeping.peers.tell(node, &RecoveryMessage::Again);
        keeping.states.lock().doubt(node, Instant::now());
        // Who catches up first: from here on none of them gets in with a hole.
        for records in keeping.records.all() {
            records.journal().lose(Origin::of(node, incarnation));
            records.answers.notify_waiters();
        }
        self.all().iter().for_each(|namespace| namespace.lose_all());
    }

    /// Answers what another node asks about a session.
    pub(super) fn handle_session_request(
        &self,
        namespace: &Arc<LocalNamespace>,
        (pid, question): (Pid, SessionQuestion),
        responder: Responder,
        open: OpenRequest,
    ) {
        let (keeping, requester) = (Arc::clone(namespace.keeping()), responder.requester().clone());
        match question {
            SessionQuestion::Claim => {
                let claimant = (requester.node.clone(), Origin::of(&requester.node, requester.incarnation));
                let (registry, namespace) = (self.me(), Arc::clone(namespace));
                namespace.tasks().clone().spawn(async move {
                    let Some(registry) = registry.upgrade() else { return };
                    let deadline = Instant::now() + PATIENCE;
                    match registry.decide(&namespace, pid, &claimant, deadline).await {
                        Decision::Granted(state) => responder.done(Some(ResponsePart::Session(state))),
                        Decision::Refused => responder.done(None),
                        Decision::Later => responder.failed(),
                    }
                    drop(open);
                });
            }
            SessionQuestion::Surrender(socket) => {
                let namespace = Arc::clone(namespace);
                namespace.tasks().clone().spawn(async move {
                    let ended = surrender(&namespace, socket, pid).await;
                    let known = || keeping.states.lock().get(pid, Instant::now());
                    responder.done(ended.or_else(known).map(as_part));
                    drop(open);
                });
            }
            SessionQuestion::Fetch => {
                namespace.tasks().clone().spawn(async move {
                    let _late = timeout(PATIENCE, keeping.settled()).await;
                    let known = keeping.states.lock().get(pid, Instant::now());
                    responder.done(known.map(as_part));
                    drop(open);
                });
            }
        }
    }

    /// Tells the application that the client of a session did not come back.
    pub(crate) fn tell_lost(&self, state: SessionState, count: impl FnOnce(&NamespaceCounters)) {
        self.of(&state.namespace).tell_lost(state, count);
    }

    /// What was sent in a namespace, if clients of it may come back.
    pub(super) fn records_of(&self, path: &Arc<str>) -> Option<Arc<Records>> {
        let known = self.keeping().records.get(path);
        known.or_else(|| {
            let namespace = self.find_or_make(path);
            namespace.records().cloned().or_else(|| namespace.expected_records())
        })
    }

    /// Tells other nodes what changed, follows the members, and gives up what is over, as long as the node lives.
    pub(super) async fn keep(registry: Weak<Self>) {
        let (mut members, mut told, mut swept) = (None, Instant::now(), Instant::now());
        let mut rounds: VecDeque<Round> = VecDeque::new();
        loop {
            let Some(strong) = registry.upgrade() else { return };
            let (keeping, now) = (Arc::clone(strong.keeping()), Instant::now());
            keeping.flush(now);
            let present = keeping.peers.members();
            if members.as_ref() != Some(&present) {
                rounds.retain(|round| round.to.is_some());
                rounds.push_back(Round::of(&strong, None));
                members = Some(present);
            }
            for node in keeping.take_again() {
                keeping.begin_again(&node, now);
                rounds.retain(|round| round.to.as_ref() != Some(&node));
                rounds.push_back(Round::of(&strong, Some(node)));
            }
            while !keeping.waits_to_tell()
                && let Some(round) = rounds.front_mut()
            {
                if !round.go_on(&keeping, Instant::now()) {
                    rounds.pop_front();
                }
                coop::consume_budget().await;
            }
            if now >= told + CLOCKS {
                keeping.peers.members().iter().for_each(|(node, _)| keeping.tell_time(node));
                told = now;
            }
            if now >= swept + SWEEP {
                for state in keeping.expire(now) {
                    strong.tell_lost(state, NamespaceCounters::session_lost);
                }
                swept = now;
            }
            drop(strong);
            let next = now + if keeping.records.len() == 0 { SWEEP } else { MEMBERS };
            if rounds.is_empty() && !keeping.has_news() {
                let _timeout = timeout_at(next, keeping.wake.notified()).await;
            }
            // What changes together is told together.
            sleep(TOGETHER).await;
        }
    }
}

/// What is left to be looked at of all sockets and sessions of a node, whether others are to be told of them. It goes on while links have
/// room.
struct Round {
    /// The node that is told again; without one it is looked who keeps them now.
    to: Option<NodeId>,
    members: vec::IntoIter<Weak<Member>>,
    sessions: vec::IntoIter<Pid>,
    /// Those that others have been told of, and keep from now on.
    others: Vec<Pid>,
}

impl Round {
    fn of(registry: &NamespaceRegistry, to: Option<NodeId>) -> Self {
        let members = registry.all().into_iter().flat_map(|namespace| namespace.kept_members());
        let members: Vec<_> = members.map(|member| Arc::downgrade(&member)).collect();
        let sessions = registry.keeping().states.lock().sessions();
        Self { to, members: members.into_iter(), sessions: sessions.into_iter(), others: Vec::new() }
    }

    /// Goes on with some of them. Returns whether there were any. What it told before has gone.
    fn go_on(&mut self, keeping: &Arc<Keeping>, now: Instant) -> bool {
        keeping.forget(std::mem::take(&mut self.others));
        if self.members.len() > 0 {
            for member in self.members.by_ref().take(AT_ONCE).filter_map(|member| member.upgrade()) {
                match &self.to {
                    Some(node) => member.note_again(node),
                    None => member.note_keepers(&|key| keeping.keepers(key)),
                }
            }
            keeping.flush(now);
            return true;
        }
        let sessions: Vec<_> = self.sessions.by_ref().take(AT_ONCE).collect();
        self.others = keeping.move_states(&sessions, now);
        !sessions.is_empty()
    }
}

/// Asks every node what the client missed, and waits. Returns whether the answers are what it missed: an age that was told late lets
/// the first packets after a join pass for earlier ones, and one that left meanwhile may have told its heir more behind the answer of
/// that.
async fn ask_all(
    claimed: &Claimed,
    position: &Position,
    now: Instant,
    deadline: Instant,
) -> Result<bool, Unrecovered> {
    let Claimed { keeping, records, id, state, .. } = claimed;
    let membership = Membership::new(state.socket, state.age, &state.rooms, now).with_left(&state.left, now);
    let limit = records.settings.max_replay;
    let asked = keeping.peers.members();
    let origins = asked.iter().map(|(node, incarnation)| Origin::of(node, *incarnation));
    {
        let mut journal = records.journal();
        if journal.recoveries() >= RECOVERIES {
            return Err(Unrecovered::Busy);
        }
        let back = Recovering::new(membership, position.clone(), origins, limit, keeping.waiting());
        journal.begin(*id, back, now).map_err(|TooMuch| Unrecovered::TooMuch)?;
    }
    let recover = RecoveryMessage::Recover(Recover {
        id: *id,
        namespace: Arc::clone(&records.path),
        socket: state.socket,
        age: state.age,
        rooms: state.rooms.clone(),
        left: state.left.clone(),
        after: position.to_vec(),
        limit: limit as u64,
        interest: keeping.peers.version(),
    });
    asked.iter().for_each(|(node, _)| keeping.peers.tell(node, &recover));
    if !all_answered(claimed, deadline).await? {
        return Ok(false);
    }
    let last = records.journal().recovering(*id).and_then(|back| back.last_answer());
    let is_late = last.is_some_and(|last| last.saturating_duration_since(now) > MARGIN);
    let is_new = |(_, age): &(_, Duration)| *age < records.retention;
    Ok(!is_late || !state.rooms.iter().any(is_new))
}

/// Waits until every node that lives has answered, with everything that was missed. Returns whether all that were asked did, nothing is
/// lost of that, and no member has come meanwhile, which was not asked.
async fn all_answered(claimed: &Claimed, deadline: Instant) -> Result<bool, Unrecovered> {
    let Claimed { keeping, records, id, .. } = claimed;
    let mut all = true;
    loop {
        let answer = records.answers.notified();
        {
            let mut journal = records.journal();
            let back = journal.recovering(*id).ok_or(Unrecovered::Unanswered)?;
            let lives = keeping.lives();
            for origin in back.waits_for().to_vec() {
                if !lives(origin) {
                    back.gone(origin);
                    all = false;
                }
            }
            if back.has_failed() {
                return Err(Unrecovered::TooMuch);
            }
            let is_whole = all && back.is_whole(&keeping.others());
            if back.is_complete() && is_whole && back.is_lacking() {
                return Err(Unrecovered::TooMuch);
            }
            if back.is_complete() || back.has_gap() {
                return Ok(is_whole);
            }
        }
        if Instant::now() >= deadline {
            return Err(Unrecovered::Unanswered);
        }
        let _woken = timeout(LOOK, answer).await;
    }
}

/// Waits for the first client of this node that asks for a session: it may be the same one, over a connection that is lost again.
async fn second_turn(
    keeping: &Arc<Keeping>,
    pid: Pid,
    first: &AtomicBool,
    deadline: Instant,
) -> Result<Turn, Unrecovered> {
    while Instant::now() < deadline && !first.load(Ordering::Relaxed) {
        sleep(LOOK).await;
        if let Ok(turn) = keeping.turn(pid) {
            return if first.load(Ordering::Relaxed) { Err(Unrecovered::Unknown) } else { Ok(turn) };
        }
    }
    Err(Unrecovered::Unknown)
}

fn tell_refused(namespace: &LocalNamespace, why: Unrecovered) {
    tracing::debug!(ns = %Excerpt::name(&namespace.path), reason = why.as_str(), "a client that came back gets another socket");
}

/// What was decided about a client when it came first.
fn admitted_before(namespace: &LocalNamespace, state: &SessionState) -> Option<Admitted> {
    let data = catch_panic::call(|| namespace.handlers().load(&state.data)).flatten()?;
    let until = state.login.and_then(|left| Instant::now().checked_add(left));
    Some(Admitted { data, until, user: state.user.clone() })
}

/// Ends the socket of a client that is elsewhere now. Returns what is left of its session.
///
/// A client that left, and came again at once, is a new one: what it said last may still be on its way, over another connection.
async fn surrender(namespace: &LocalNamespace, socket: SocketId, pid: Pid) -> Option<SessionState> {
    let member = namespace.kept_member(socket, pid);
    if let Some(member) = &member {
        let until = Instant::now() + LAST_WORDS;
        while member.is_connected() && Instant::now() < until {
            sleep(LOOK).await;
        }
        member.lose();
    }
    // Another task may be about to say that it left.
    let _late = timeout(PATIENCE, namespace.keeping().settled()).await;
    let member = member?;
    let standing = match member.may_get_kept() {
        true => Standing::Away(Duration::ZERO),
        false => Standing::Over,
    };
    member.session_state(standing)
}

fn as_part(state: SessionState) -> ResponsePart {
    ResponsePart::Session(Box::new(state))
}

fn question(path: &Arc<str>, pid: Pid, question: SessionQuestion, deadline: Instant) -> Request {
    Request {
        namespace: Arc::clone(path),
        selection: Selection::default(),
        kind: RequestKind::Session { pid, question },
        timeout: deadline.saturating_duration_since(Instant::now()).min(QUESTION),
    }
}

/// What was answered. It may have been on its way since the question was asked, and nothing is to seem younger than it is.
fn session_of(parts: Vec<(NodeId, ResponsePart)>, asked: Instant) -> Option<Box<SessionState>> {
    parts.into_iter().find_map(|(_, part)| match part {
        ResponsePart::Session(state) => Some(Box::new(state.later(asked.elapsed()))),
        _ => None,
    })
}

/// How long a client waits for its session: a node that dies is known as dead before.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// How long one node is waited for.
const QUESTION: Duration = Duration::from_secs(5);
/// From one question to the next, when nobody decides.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a client that is elsewhere may still say that it left.
const LAST_WORDS: Duration = Duration::from_millis(250);
/// How often it is looked whether a node that has not answered is dead, or a client has left.
const LOOK: Duration = Duration::from_millis(50);
/// How many clients may come back to a namespace of a node at once.
const RECOVERIES: usize = 4096;
/// How long a change waits for others.
const TOGETHER: Duration = Duration::from_millis(40);
/// How often it is looked who is a member: a session is on one node only until another keeper has it.
const MEMBERS: Duration = Duration::from_millis(100);
/// How often it is looked for what is over.
const SWEEP: Duration = Duration::from_secs(1);
/// How often nodes tell each other what their clocks say.
const CLOCKS: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;
