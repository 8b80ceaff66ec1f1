//! Tells nodes that join what all nodes have to know: a command that was given before reaches nobody who comes later.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::watch;

use crate::cluster::View;
use crate::id::{Incarnation, NodeId};

/// Calls `tell` whenever others have joined, on one of the nodes that were there before. It ends when `tell` returns `false`.
pub(super) async fn greet(me: NodeId, mut view: watch::Receiver<Arc<View>>, tell: impl Fn() -> bool) {
    let mut known = lives(&view.borrow_and_update());
    while view.changed().await.is_ok() {
        let lives = lives(&view.borrow_and_update());
        if speaker(&known, &lives) == Some(&me) && !tell() {
            return;
        }
        known = lives;
    }
}

type Lives = BTreeSet<(NodeId, Incarnation)>;

fn lives(view: &View) -> Lives {
    view.members.iter().map(|member| (member.id.clone(), member.incarnation)).collect()
}

/// Who speaks to those that joined: of the others the one with the smallest id, as each of them sees it. Two that see it
/// differently say the same twice.
fn speaker<'a>(before: &Lives, now: &'a Lives) -> Option<&'a NodeId> {
    let has_joined = now.iter().any(|life| !before.contains(life));
    let first = now.iter().find(|life| before.contains(life));
    first.filter(|_| has_joined).map(|(id, _)| id)
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
            speaker(&lives(before), &lives(now)).map(ToString::to_string)
        };
        assert_eq!(told(&[("b", 1), ("c", 1)], &[("a", 1), ("b", 1), ("c", 1)]).as_deref(), Some("b"));
        assert_eq!(told(&[("a", 1), ("b", 1)], &[("a", 2), ("b", 1)]).as_deref(), Some("b"), "another life");
        assert_eq!(told(&[("a", 1), ("b", 1)], &[("b", 1)]), None, "nobody joined");
        assert_eq!(told(&[("a", 1), ("b", 1)], &[("c", 1)]), None, "nobody is left");
    }
}
