//! Tells nodes that join what all nodes have to know: a command that was given before reaches nobody who comes later.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::watch;

use crate::cluster::View;
use crate::id::{Incarnation, NodeId};

/// Calls `tell` whenever others have joined: on one of the nodes that were there before for everything, and on all others for what is
/// new, which that one may not have known yet. It ends when `tell` returns `false`.
pub(super) async fn greet(me: NodeId, mut view: watch::Receiver<Arc<View>>, tell: impl Fn(bool) -> bool) {
    let mut known = lives(&view.borrow_and_update());
    while view.changed().await.is_ok() {
        let lives = lives(&view.borrow_and_update());
        if told(&me, &known, &lives).is_some_and(|everything| !tell(everything)) {
            return;
        }
        known = lives;
    }
}

type Lives = BTreeSet<(NodeId, Incarnation)>;

fn lives(view: &View) -> Lives {
    view.members.iter().map(|member| (member.id.clone(), member.incarnation)).collect()
}

/// Whether this node tells those that joined everything, if there are such. That does, of the others, the one with the smallest id, as
/// each of them sees it. Two that see it differently say the same twice.
fn told(me: &NodeId, before: &Lives, now: &Lives) -> Option<bool> {
    let has_joined = now.iter().any(|life| !before.contains(life));
    let first = now.iter().find(|life| before.contains(life));
    first.filter(|_| has_joined).map(|(id, _)| id == me)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lives(names: &[(&str, u64)]) -> Lives {
        names.iter().map(|(name, life)| (name.parse().unwrap(), Incarnation(*life))).collect()
    }

    #[test]
    fn one_of_those_that_were_there_speaks_to_those_that_joined() {
        let told = |before: &[(&str, u64)], now: &[(&str, u64)]| {
            told(&"b".parse().unwrap(), &lives(before), &lives(now))
        };
        assert_eq!(told(&[("b", 1), ("c", 1)], &[("a", 1), ("b", 1), ("c", 1)]), Some(true));
        assert_eq!(told(&[("a", 1), ("b", 1)], &[("a", 2), ("b", 1)]), Some(true), "another life");
        assert_eq!(told(&[("a", 1), ("b", 1)], &[("a", 1), ("b", 1), ("c", 1)]), Some(false), "what is new");
        assert_eq!(told(&[("a", 1), ("b", 1)], &[("b", 1)]), None, "nobody joined");
        assert_eq!(told(&[("a", 1), ("b", 1)], &[("c", 1)]), None, "nobody is left");
    }
}
