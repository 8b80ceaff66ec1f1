//! What other nodes say of sessions, and of what was sent in namespaces whose clients may come back.

use std::sync::Arc;

use tokio::time::Instant;

use super::super::registry::NamespaceRegistry;
use super::keeping::KeptSocket;
use super::records::Records;
use crate::id::{Incarnation, NodeId};
use crate::socket::messages::recovery::Origin;
use crate::socket::messages::{RecoveryMessage, Replay, ReplayEnd};

impl NamespaceRegistry {
    /// What another node tells about sessions, in the order of what it emits.
    pub(crate) fn handle_recovery(&self, node: &NodeId, incarnation: Incarnation, message: RecoveryMessage) {
        let now = Instant::now();
        let from = Origin::of(node, incarnation);
        match message {
            RecoveryMessage::Copies { clock, states } => {
                // Also where no client may come back: somebody has to look when what is kept for others is over.
                if !states.is_empty() {
                    self.begin_keeping();
                }
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
    pub(crate) fn tell_again(&self, node: &NodeId) {
        if self.keeps() {
            self.begin_keeping();
            self.keeping().tell_time(node);
            self.keeping().tell_again(node);
        }
    }

    /// Something of another node is lost. Whoever may have missed it comes again and asks, and so does this node.
    pub(crate) fn handle_loss(&self, node: &NodeId, incarnation: Incarnation) {
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

    /// What was sent in a namespace, if clients of it may come back.
    pub(super) fn records_of(&self, path: &Arc<str>) -> Option<Arc<Records>> {
        let known = self.keeping().records.get(path);
        known.or_else(|| {
            let namespace = self.find_or_make(path);
            namespace.records().cloned().or_else(|| namespace.expected_records())
        })
    }
}
