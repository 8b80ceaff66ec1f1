//! What tells other nodes of sessions: of changes at once, and of all that they keep when members come or go.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::Duration;
use std::vec;

use tokio::task::coop;
use tokio::time::{Instant, sleep, timeout_at};

use super::super::counters::NamespaceCounters;
use super::super::member::Member;
use super::super::registry::NamespaceRegistry;
use super::keeping::{AT_ONCE, Keeping};
use crate::catch_panic;
use crate::id::NodeId;
use crate::socket::messages::recovery::Pid;

impl NamespaceRegistry {
    /// Does that as long as the node lives. Data of the application that end here may panic, and begin it anew.
    pub(crate) async fn keep_on(registry: Weak<Self>) {
        while catch_panic::future(Self::keep(Weak::clone(&registry))).await.is_none() {
            tracing::error!("what tells other nodes of sessions panicked");
            sleep(SWEEP).await;
        }
    }

    /// Tells other nodes what changed, follows the members, and gives up what is over, as long as the node lives.
    async fn keep(registry: Weak<Self>) {
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

/// How long a change waits for others.
const TOGETHER: Duration = Duration::from_millis(40);
/// How often it is looked who is a member: a session is on one node only until another keeper has it.
const MEMBERS: Duration = Duration::from_millis(100);
/// How often it is looked for what is over.
const SWEEP: Duration = Duration::from_secs(1);
/// How often nodes tell each other what their clocks say.
const CLOCKS: Duration = Duration::from_secs(10);
