//! Clients that come back, and ask whoever decides about it for their session.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::super::admission::{Admission, Admitted};
use super::super::counters::NamespaceCounters;
use super::super::error::Refusal;
use super::super::handlers::Description;
use super::super::handshake::Handshake;
use super::super::namespace::LocalNamespace;
use super::super::registry::NamespaceRegistry;
use super::PATIENCE;
use super::claimed::Claimed;
use super::deciding::{Decision, question, session_of};
use crate::catch_panic;
use crate::engine::Protocol;
use crate::excerpt::Excerpt;
use crate::socket::messages::recovery::{Pid, SessionQuestion, SessionState};
use crate::socket::recovery::{Position, Recovery, Unrecovered};

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

    /// Asks for a session, whoever decides about it now.
    async fn claim(
        self: Arc<Self>,
        namespace: Arc<LocalNamespace>,
        pid: Pid,
        settings: Recovery,
    ) -> Result<Claimed, Unrecovered> {
        let (namespace, keeping) = (&namespace, namespace.keeping());
        let (deadline, me) = (Instant::now() + PATIENCE, (keeping.me.clone(), keeping.origin));
        let turn = keeping.turns.take(pid, deadline).await?;
        while Instant::now() < deadline {
            let decider = keeping.keepers(pid.0.key()).first().cloned();
            let decision = match decider {
                Some(node) if node != me.0 => {
                    let (asked, request) =
                        (Instant::now(), question(&namespace.path, pid, SessionQuestion::Claim, deadline));
                    let responses = keeping.peers.ask(&node, request).await;
                    let is_answered = responses.missing().is_empty();
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

    /// Tells the application that the client of a session did not come back.
    pub(crate) fn tell_lost(&self, state: SessionState, count: impl FnOnce(&NamespaceCounters)) {
        self.of(&state.namespace).tell_lost(state, count);
    }
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

/// From one question to the next, when nobody decides.
const PAUSE: Duration = Duration::from_millis(100);
