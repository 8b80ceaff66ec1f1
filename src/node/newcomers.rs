//! Tells nodes that join what all nodes have to know: a command that was given before reaches nobody who comes later.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::cluster::View;
use crate::id::{Incarnation, NodeId};

/// Calls `tell` whenever others join from now on: on one of the nodes that were there before for everything, and on all others for what
/// is new, which that one may not have known yet. It ends when `tell` returns `false`.
pub(super) fn greet(
    me: NodeId,
    mut view: watch::Receiver<Arc<View>>,
    tell: impl Fn(bool) -> bool,
) -> impl Future<Output = ()> {
    let mut known = lives(&view.borrow_and_update(), &Lives::new(), Instant::now());
    async move {
        while view.changed().await.is_ok() {
            let lives = lives(&view.borrow_and_update(), &known, Instant::now());
            if told(&me, &known, &lives).is_some_and(|everything| !tell(everything)) {
                return;
            }
            known = lives;
        }
    }
}

/// The members, and since when each is known as one.
type Lives = BTreeMap<(NodeId, Incarnation), Instant>;

fn lives(view: &View, before: &Lives, now: Instant) -> Lives {
    let lives = view.members.iter().map(|member| (member.id.clone(), member.incarnation));
    lives.map(|life| (life.clone(), before.get(&life).copied().unwrap_or(now))).collect()
}

/// Whether this node tells those that joined everything, if there are such. That do, of the others, the two with the smallest ids, as
/// each of them sees it: one of them may be about to end. What is said twice counts once. One that has joined a moment ago itself may
/// not have been told yet: where there are no others, each tells everything.
fn told(me: &NodeId, before: &Lives, now: &Lives) -> Option<bool> {
    let joined = now.iter().filter(|(life, _)| !before.contains_key(life)).map(|(_, at)| *at).max()?;
    if !now.keys().any(|life| before.contains_key(life)) {
        return None;
    }
    let knowing = now.iter().filter(|(_, since)| **since + FRESH <= joined).map(|((id, _), _)| id);
    let mut speakers = knowing.take(SPEAKERS).peekable();
    Some(speakers.peek().is_none() || speakers.any(|id| id == me))
}

const SPEAKERS: usize = 2;
/// For so long a node may not have been told everything.
const FRESH: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use super::*;

    /// Names, lives, and since when they are known.
    fn lives(names: &[(&str, u64)], since: impl Fn(&(&str, u64)) -> Instant) -> Lives {
        let life = |(name, life): &(&str, u64)| (name.parse().unwrap(), Incarnation(*life));
        names.iter().map(|named| (life(named), since(named))).collect()
    }

    #[test]
    fn two_of_those_that_were_there_speak_to_those_that_joined() {
        let long_ago = Instant::now();
        let told = |before: &[(&str, u64)], now: &[(&str, u64)]| {
            let since = |named: &(&str, u64)| {
                if before.contains(named) { long_ago } else { long_ago + FRESH }
            };
            told(&"b".parse().unwrap(), &lives(before, since), &lives(now, since))
        };
        assert_eq!(told(&[("b", 1), ("c", 1)], &[("a", 1), ("b", 1), ("c", 1)]), Some(true));
        assert_eq!(told(&[("a", 1), ("b", 1)], &[("a", 1), ("b", 1), ("c", 1)]), Some(true), "both");
        assert_eq!(told(&[("a", 1), ("b", 1)], &[("a", 2), ("b", 1)]), Some(true), "another life");
        let (before, now) = ([("0", 1), ("a", 1), ("b", 1)], [("0", 1), ("a", 1), ("b", 1), ("c", 1)]);
        assert_eq!(told(&before, &now), Some(false), "what is new");
        assert_eq!(told(&[("a", 1), ("b", 1)], &[("b", 1)]), None, "nobody joined");
        assert_eq!(told(&[("a", 1), ("b", 1)], &[("c", 1)]), None, "nobody is left");
    }

    #[test]
    fn nobody_leaves_it_to_one_that_joined_a_moment_ago_itself() {
        let start = Instant::now();
        let since = |(name, _): &(&str, u64)| match *name {
            "a" => start + FRESH,
            "e" => start + FRESH + Duration::from_millis(1),
            _ => start,
        };
        let before = [("a", 1), ("b", 1), ("c", 1), ("d", 1)];
        let now = [("a", 1), ("b", 1), ("c", 1), ("d", 1), ("e", 1)];
        let told = |me: &str, before: &[_], now: &[_]| {
            told(&me.parse().unwrap(), &lives(before, since), &lives(now, since))
        };
        let all = ["a", "b", "c", "d"].map(|me| told(me, &before, &now));
        assert_eq!(all, [Some(false), Some(true), Some(true), Some(false)]);
        assert_eq!(told("a", &[("a", 1)], &[("a", 1), ("e", 1)]), Some(true), "there is nobody else");
    }
}
