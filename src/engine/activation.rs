//! When a session has an actor: while messages wait for one.
//!
//! A session is a virtual actor, as in Orleans. Its state lives as long as the session; the mailbox and the task, which take
//! several times the memory of an idle session, are *activated* by the first message that nobody can handle at once, and
//! *passivated* once the timer of the session comes a second time without any.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::Mutex;
use ractor::{ActorId, ActorRef};

use super::mailbox::SessionMessage;

/// The state of a session, in which whoever holds it acts.
pub(crate) trait StandIn<K: Send + 'static>: Send + Sync {
    /// Handles the message; gives it back if somebody else is at work.
    fn handle_now(&self, message: SessionMessage<K>) -> Result<(), SessionMessage<K>>;

    /// The outbox is no longer empty: answers the GET that waits, in this task or in that of whoever is at work. Runs no code of
    /// the application, so its caller may hold locks.
    fn flush(self: Arc<Self>);

    /// Whether its client loses nothing when the session is closed; no if somebody else is at work.
    fn is_recoverable(&self) -> bool;

    /// Starts an actor, which handles the messages that it is sent one after another. `None` if the runtime has stopped.
    fn activate(self: Arc<Self>) -> Option<ActorRef<SessionMessage<K>>>;
}

/// How the messages of a session find who handles them.
pub(crate) struct Activation<K: Send + 'static> {
    /// Messages that the actor was told and has not handled.
    waiting: AtomicU32,
    life: Mutex<Life<K>>,
}

struct Life<K: Send + 'static> {
    /// From the start of the session to its end.
    stand_in: Option<Arc<dyn StandIn<K>>>,
    actor: Option<ActorRef<SessionMessage<K>>>,
    /// Whether the actor was told something since the timer came.
    was_told: bool,
}

impl<K: Send + 'static> Activation<K> {
    pub(crate) const fn new() -> Self {
        let life = Mutex::new(Life { stand_in: None, actor: None, was_told: false });
        Self { waiting: AtomicU32::new(0), life }
    }

    /// Starts the session.
    pub(crate) fn start(&self, stand_in: Arc<dyn StandIn<K>>) {
        self.life.lock().stand_in = Some(stand_in);
    }

    pub(crate) fn stand_in(&self) -> Option<Arc<dyn StandIn<K>>> {
        self.life.lock().stand_in.clone()
    }

    /// Has the actor handle the message, behind those that it was told. A session that is over drops it.
    pub(crate) fn tell(&self, message: SessionMessage<K>) {
        if let Some(actor) = self.awaken() {
            // An actor that has ended took the session along.
            let _ended = actor.cast(message);
        }
    }

    /// The actor, which stays until it has handled one message more.
    fn awaken(&self) -> Option<ActorRef<SessionMessage<K>>> {
        let mut life = self.life.lock();
        let stand_in = life.stand_in.as_ref()?;
        let actor = match &life.actor {
            Some(actor) => actor.clone(),
            None => Arc::clone(stand_in).activate()?,
        };
        life.actor = Some(actor.clone());
        life.was_told = true;
        self.waiting.fetch_add(1, Ordering::AcqRel);
        Some(actor)
    }

    /// The actor handles a message that it was told.
    pub(crate) fn note_handled(&self) {
        self.waiting.fetch_sub(1, Ordering::AcqRel);
    }

    /// Whether the actor is to handle messages that came first.
    pub(crate) fn has_waiting(&self) -> bool {
        self.waiting.load(Ordering::Acquire) > 0
    }

    /// The timer came: ends an actor that was told nothing since it last did. The session goes on.
    pub(crate) fn passivate(&self) {
        let mut life = self.life.lock();
        if std::mem::take(&mut life.was_told) || self.has_waiting() {
            return;
        }
        if let Some(actor) = life.actor.take() {
            actor.stop(None);
        }
    }

    /// The actor ended: with the session, unless it was passivated.
    pub(crate) fn actor_ended(&self, id: ActorId) {
        let is_own = self.life.lock().actor.as_ref().is_some_and(|actor| actor.get_id() == id);
        if is_own {
            self.end();
        }
    }

    /// Ends the session: its state goes once nobody is at work in it.
    pub(crate) fn end(&self) {
        let mut life = self.life.lock();
        let (stand_in, actor) = (life.stand_in.take(), life.actor.take());
        drop(life);
        if let Some(actor) = actor {
            actor.stop(None);
        }
        // Its end may reach other sessions, and this one.
        drop(stand_in);
    }
}
