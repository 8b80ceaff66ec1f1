//! Who decides about a session, and how: the first living successor of its key grants it once, and has the node that has it end
//! its socket first.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::super::namespace::LocalNamespace;
use super::super::registry::NamespaceRegistry;
use super::super::requests::OpenRequest;
use super::super::responder::Responder;
use super::keeping::KEEPERS;
use super::{LOOK, PATIENCE};
use crate::id::{NodeId, SocketId};
use crate::socket::messages::recovery::{Origin, Pid, SessionQuestion, SessionState, Standing};
use crate::socket::messages::{Request, RequestKind, ResponsePart, Selection};
use crate::socket::recovery::Claim;

/// What the node that decides says to who asks for a session.
pub(super) enum Decision {
    Granted(Box<SessionState>),
    /// There is none.
    Refused,
    /// Somebody else decides, or asked for it before, or it is not known yet.
    Later,
}

/// What others know of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fetched {
    Found,
    Nothing,
    /// One of them has died, or is slow, and may have been the one that had it.
    Unanswered,
}

impl NamespaceRegistry {
    /// Decides about a session that a node asks for, if it is this node that does.
    pub(super) async fn decide(
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
        if claimed == Claim::Unknown {
            match self.fetch(namespace, pid, deadline).await {
                Fetched::Found => claimed = claim(Instant::now()),
                Fetched::Nothing => {}
                Fetched::Unanswered => return Decision::Later,
            }
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

    /// Asks the others for a session that this node may have inherited a moment ago.
    async fn fetch(&self, namespace: &Arc<LocalNamespace>, pid: Pid, deadline: Instant) -> Fetched {
        let keeping = namespace.keeping();
        let mut fetched = Fetched::Nothing;
        for (place, node) in keeping.peers.successors(pid.0.key(), KEEPERS + 1).into_iter().enumerate() {
            if node != keeping.me {
                let (asked, request) =
                    (Instant::now(), question(&namespace.path, pid, SessionQuestion::Fetch, deadline));
                let responses = keeping.peers.ask(&node, request).await;
                let is_answered = responses.missing().is_empty();
                if let Some(state) = session_of(responses.parts, asked) {
                    keeping.take(&node, *state, Instant::now());
                    fetched = Fetched::Found;
                } else if !is_answered && place < KEEPERS && fetched == Fetched::Nothing {
                    fetched = Fetched::Unanswered;
                }
            }
        }
        fetched
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
        let is_answered = responses.missing().is_empty();
        if let Some(state) = session_of(responses.parts, asked) {
            keeping.take(node, *state, Instant::now());
        }
        is_answered || !keeping.lives()(known.life.at)
    }

    /// Answers what another node asks about a session.
    pub(in super::super) fn handle_session_request(
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

pub(super) fn question(path: &Arc<str>, pid: Pid, question: SessionQuestion, deadline: Instant) -> Request {
    Request {
        namespace: Arc::clone(path),
        selection: Selection::default(),
        kind: RequestKind::Session { pid, question },
        timeout: deadline.saturating_duration_since(Instant::now()).min(QUESTION),
    }
}

/// What was answered. It may have been on its way since the question was asked, and nothing is to seem younger than it is.
pub(super) fn session_of(parts: Vec<(NodeId, ResponsePart)>, asked: Instant) -> Option<Box<SessionState>> {
    parts.into_iter().find_map(|(_, part)| match part {
        ResponsePart::Session(state) => Some(Box::new(state.later(asked.elapsed()))),
        _ => None,
    })
}

/// How long one node is waited for.
const QUESTION: Duration = Duration::from_secs(5);
/// How long a client that is elsewhere may still say that it left.
const LAST_WORDS: Duration = Duration::from_millis(250);
