//! What clients that are back at other nodes missed of this one. It is told no faster than the links take it: what a link drops
//! because it is too much costs everybody at the other end their sockets (docs/protocol/mesh.md, "Recovery").

use std::sync::Arc;

use tokio::time::{Instant, timeout_at};

use super::super::registry::NamespaceRegistry;
use super::PATIENCE;
use super::keeping::Keeping;
use super::questions::Asked;
use super::records::Records;
use super::telling::PART;
use crate::catch_panic;
use crate::id::NodeId;
use crate::socket::messages::recovery::Number;
use crate::socket::messages::{KeptPacket, Reached, Recover, RecoveryMessage, Replay, ReplayEnd};
use crate::socket::recovery::{Answer, Membership, Position, cost};
use crate::socket::room::Room;

impl NamespaceRegistry {
    /// Says what a client missed of this node, before anything that this node emits behind the end of the answer.
    pub(super) fn answer(&self, to: &NodeId, recover: Recover, now: Instant) {
        let refused = Reply::new(self.keeping(), to, &recover, now);
        match self.questions.push(to, (recover, now)) {
            Asked::Waits => {}
            Asked::TooMany => refused.tell(Vec::new(), ReplayEnd::Refused),
            Asked::First => {
                let (registry, to) = (self.me(), to.clone());
                self.tasks().spawn(async move {
                    while let Some(registry) = registry.upgrade()
                        && let Some((recover, asked)) = registry.questions.next(&to)
                    {
                        let answer = Reply::new(registry.keeping(), &to, &recover, asked);
                        let records = registry.records_of(&recover.namespace);
                        drop(registry);
                        // Nobody waits for it any longer.
                        let given = timeout_at(asked + PATIENCE, answer.give(&recover, records));
                        // Without this task nobody would answer that node again.
                        let _late = catch_panic::future(given).await;
                    }
                });
            }
        }
    }
}

/// The answer to one question, and who gets it.
struct Reply {
    keeping: Arc<Keeping>,
    to: NodeId,
    id: u64,
    namespace: Arc<str>,
    asked: Instant,
}

impl Reply {
    fn new(keeping: &Arc<Keeping>, to: &NodeId, recover: &Recover, asked: Instant) -> Self {
        let (keeping, namespace) = (Arc::clone(keeping), Arc::clone(&recover.namespace));
        Self { keeping, to: to.clone(), id: recover.id, namespace, asked }
    }

    fn tell(&self, packets: Vec<KeptPacket>, end: ReplayEnd) {
        let (namespace, waited) = (Arc::clone(&self.namespace), self.asked.elapsed());
        let replay = Replay { id: self.id, namespace, packets, waited, end };
        self.keeping.peers.tell(&self.to, &RecoveryMessage::Replay(replay));
    }

    /// Tells what is there, as fast as the link takes it, then what came meanwhile, until that is little. That and the end are one step
    /// under the lock under which this node takes numbers, so whatever it emits later comes behind it.
    async fn give(&self, recover: &Recover, records: Option<Arc<Records>>) {
        let Some(records) = records else {
            // This node takes no numbers there.
            let numbers = vec![(self.keeping.origin, 0)];
            return self.tell(Vec::new(), ReplayEnd::Done(Reached { numbers, unfinished: Vec::new() }));
        };
        let membership = Membership::new(recover.socket, recover.age, &recover.rooms, self.asked)
            .with_left(&recover.left, self.asked);
        let mut after: Position = recover.after.iter().copied().collect();
        let mut limit = usize::try_from(recover.limit).unwrap_or(usize::MAX);
        loop {
            self.keeping.peers.has_room(&self.to).await;
            let Some((packets, reached)) = self.step(recover, &records, &membership, &after, limit) else {
                return;
            };
            limit -= packets.iter().map(|packet| cost(packet)).sum::<usize>().min(limit);
            for part in in_parts(packets) {
                self.tell(part, ReplayEnd::More);
                self.keeping.peers.has_room(&self.to).await;
            }
            let sent = reached.numbers.into_iter().filter(|(_, number)| *number > 0);
            sent.for_each(|(origin, number)| after.advance(Number { origin, number }));
        }
    }

    /// Tells what is behind a position and ends the answer with it. Returns what is too much for that.
    fn step(
        &self,
        recover: &Recover,
        records: &Records,
        membership: &Membership,
        after: &Position,
        limit: usize,
    ) -> Option<Answer> {
        let Recover { namespace, socket, interest, .. } = recover;
        let (peers, to) = (&self.keeping.peers, &self.to);
        let mut journal = records.journal();
        let own = Room::Own(*socket);
        let mut joined = membership.rooms().chain(std::iter::once(&own));
        peers.presume(to, namespace, &mut joined, *interest);
        match journal.answer(membership, |origin| after.get(origin).unwrap_or(0), Instant::now(), limit) {
            Ok((packets, reached)) if is_much(&packets) => return Some((packets, reached)),
            Ok((packets, reached)) => self.tell(packets, ReplayEnd::Done(reached)),
            Err(_too_much) => self.tell(Vec::new(), ReplayEnd::Refused),
        }
        None
    }
}

fn is_much(packets: &[KeptPacket]) -> bool {
    packets.len() > 1 && packets.iter().map(|packet| cost(packet)).sum::<usize>() > PART
}

fn in_parts(packets: Vec<KeptPacket>) -> Vec<Vec<KeptPacket>> {
    let mut parts: Vec<Vec<KeptPacket>> = Vec::new();
    let mut bytes = usize::MAX;
    for packet in packets {
        let cost = cost(&packet);
        if bytes.saturating_add(cost) > PART {
            parts.push(Vec::new());
            bytes = 0;
        }
        bytes += cost;
        parts.last_mut().into_iter().for_each(|part| part.push(Arc::clone(&packet)));
    }
    parts
}
