//! What a node that leaves hands on: the sessions that only it knows, and what was sent.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::keeping::{AT_ONCE, KEEPERS, Keeping};
use super::records::Records;
use super::telling::PART;
use crate::id::{Key, NodeId};
use crate::socket::messages::recovery::Origin;
use crate::socket::messages::{InheritedLog, RecoveryMessage};
use crate::socket::recovery::{Journal, LogPart};

impl Keeping {
    /// What this node keeps and no other node may, for those that are left when this one is gone.
    pub(crate) async fn hand_over(self: &Arc<Self>) {
        self.settled().await;
        let (sessions, until) = (self.states.lock().sessions(), Instant::now() + HAND_OVER);
        let mut left = sessions.len();
        for sessions in sessions.chunks(AT_ONCE) {
            if Instant::now() >= until {
                break;
            }
            left -= sessions.len();
            let (now, mut copies) = (Instant::now(), Vec::new());
            for pid in sessions {
                let heirs = self.peers.successors(pid.0.key(), KEEPERS + 1);
                let heirs = heirs.into_iter().filter(|heir| *heir != self.me);
                let known = self.states.lock().get(*pid, now);
                heirs.zip(known.into_iter().cycle()).for_each(|copy| copies.push(copy));
            }
            self.push(copies, now);
            while self.tell_some(Instant::now()) && Instant::now() < until {
                sleep(PAUSE).await;
            }
        }
        left += self.tell_last();
        if left > 0 {
            tracing::warn!(node = %self.me, sessions = left, "this node leaves before its heirs know of all sessions");
        }
        let now = Instant::now();
        // What a node sent lies with who inherits the first of its keys, whatever that is.
        let key = Key::from_hash(self.origin.as_u64() << (u64::BITS - Key::BITS));
        let Some(heir) = self.peers.heir(key) else { return };
        let all = self.records.leave_to(&heir);
        // Of a part that it has no word of it would say that there was nothing.
        for records in &all {
            let announced = records.journal().leave_to(&heir, now);
            announced
                .into_iter()
                .for_each(|(origin, part)| self.tell_log(&heir, &records.path, origin, part));
            self.peers.has_room(&heir).await;
        }
        for records in &all {
            while self.hand_on(&heir, records) {
                self.peers.has_room(&heir).await;
            }
        }
    }

    /// Tells what still waits, for which there is no later: as much as a link can take beside everything else. One that it overflows
    /// would cost everybody at its other end their sockets. Returns how much is left.
    fn tell_last(&self) -> usize {
        let told = RefCell::new(HashMap::<NodeId, usize>::new());
        self.tell_where(Instant::now(), |node| {
            let mut told = told.borrow_mut();
            let parts = told.entry(node.clone()).or_default();
            *parts += 1;
            *parts <= LAST
        });
        self.waiting_to_tell()
    }

    /// Tells the heir another part of what was sent in a namespace, before anything that is sent later. Returns whether there was one.
    fn hand_on(&self, heir: &NodeId, records: &Records) -> bool {
        let mut journal = records.journal();
        let part = journal.hand_over(PART, Instant::now());
        part.map(|(origin, part)| self.tell_log(heir, &records.path, origin, part)).is_some()
    }

    /// Tells the heir of a node that leaves what was kept a moment ago, if it has everything before that.
    pub(crate) fn follow(&self, namespace: &Arc<str>, journal: &mut Journal, now: Instant) {
        if let Some((heir, origin, part)) = journal.follow(now) {
            self.tell_log(&heir, namespace, origin, part);
        }
    }

    fn tell_log(&self, heir: &NodeId, namespace: &Arc<str>, origin: Origin, part: LogPart) {
        let LogPart { packets, last, cut, more } = part;
        let part = InheritedLog { namespace: Arc::clone(namespace), origin, packets, last, cut, more };
        self.peers.tell(heir, &RecoveryMessage::Log(part));
    }
}

/// For so long the sessions of a node that leaves wait for room on links.
const HAND_OVER: Duration = Duration::from_secs(3);
/// So many messages of [`PART`] bytes go to each node in the end, whatever its link still carries.
const LAST: usize = 16;
/// From one look at a link to the next.
const PAUSE: Duration = Duration::from_millis(10);
