//! How the sessions of a cluster even out: each node says how many it owns, and one with far more than the others lets some go.

use std::sync::Weak;
use std::time::Duration;

use tokio::time::sleep;

use crate::cluster::{Mesh, NodeState};
use crate::engine::{Application, Engine};
use crate::random;
use crate::setters::setters;

/// When a node that owns far more sessions than the others closes some of them, so that their clients connect again, to any node:
/// WebSockets live long, and would never reach a node that was added. See [`NodeBuilder::even_out`](crate::NodeBuilder::even_out).
///
/// It never closes the session of the same client twice within ten minutes, because it leaves sessions alone that are younger than
/// that, on every node. Clients that lose nothing by it ([`is_recoverable`](crate::engine::Client::is_recoverable)) come first, and
/// then those for which nothing waits.
///
/// ```
/// use socketmesh::{EvenOut, Node};
///
/// let builder = Node::builder().even_out(EvenOut::default().above(1.5).most(5.0));
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct EvenOut {
    /// How many times the mean of all nodes this one may own before it lets any go. Default 1.2. It goes on until it is halfway back to
    /// the mean.
    pub above: f64,
    /// Which part of what it has more than the mean it lets go in a second. Default 0.01.
    pub rate: f64,
    /// How many sessions it lets go in a second at most. Default 20.
    pub most: f64,
}

setters! {
    EvenOut {
        above: f64,
        rate: f64,
        most: f64,
    }
}

impl Default for EvenOut {
    fn default() -> Self {
        Self { above: 1.2, rate: 0.01, most: 20.0 }
    }
}

impl EvenOut {
    /// How many of its `own` sessions a node lets go within [`INTERVAL`], beside nodes with so many; `None` if it has not too many.
    /// `goes_on`: it did so before. `random` is from 0 to 1: on average nothing is lost to rounding.
    fn due(&self, own: u64, others: &[u64], goes_on: bool, random: f64) -> Option<usize> {
        let number = |count: u64| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
        let all = others.iter().map(|count| number(*count)).sum::<f64>() + number(own);
        let mean = all / number(others.len() as u64 + 1);
        let surplus = number(own) - mean;
        let allowed = mean * (self.above.max(1.0) - 1.0) / if goes_on { 2.0 } else { 1.0 };
        let beyond = surplus - allowed;
        if beyond < 1.0 || surplus < FEW {
            return None;
        }
        let due = (surplus * self.rate).min(self.most).max(0.0) * INTERVAL.as_secs_f64() + random;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is bounded, and not negative"
        )]
        let due = due.min(beyond.ceil()).floor() as usize;
        Some(due)
    }
}

/// Tells the other nodes how many sessions this one owns, and lets some go when they are too many. Ends with the node.
pub(super) async fn watch<A: Application>(
    mesh: Weak<Mesh>,
    engine: Weak<Engine<A>>,
    even_out: Option<EvenOut>,
) {
    let (mut told, mut is_above) = (None, false);
    while let (Some(mesh), Some(engine)) = (mesh.upgrade(), engine.upgrade()) {
        let own = engine.len() as u64;
        if told.is_none_or(|told| is_news(told, own)) {
            mesh.tell_sessions(own);
            told = Some(own);
        }
        let due =
            even_out.and_then(|even_out| even_out.due(own, &of_others(&mesh)?, is_above, random::fraction()));
        if due.is_some() && !is_above {
            tracing::info!(node = %mesh.id(), sessions = own, "this node has far more sessions than the others: it lets some go");
        }
        is_above = due.is_some();
        // Or the node would not end while this waits.
        drop(mesh);
        match due {
            Some(due) => {
                tokio::join!(sleep(INTERVAL), engine.let_go(due, YOUNG, INTERVAL));
            }
            None => {
                drop(engine);
                sleep(INTERVAL).await;
            }
        }
    }
}

/// The sessions of the other nodes that take clients. `None` while this one does not, or one of them has not said it.
fn of_others(mesh: &Mesh) -> Option<Vec<u64>> {
    let view = mesh.view().borrow().clone();
    view.member(mesh.id()).filter(|own| own.state == NodeState::Ready)?;
    let ready = view.members.iter().filter(|member| member.state == NodeState::Ready);
    ready.filter(|member| member.id != *mesh.id()).map(|member| member.sessions).collect()
}

/// Whether the others should hear of it: it is more than 5 % off.
fn is_news(told: u64, now: u64) -> bool {
    20 * now.abs_diff(told) > told
}

/// How often a node counts its sessions.
const INTERVAL: Duration = Duration::from_secs(5);
/// Sessions are left alone for so long: whoever was let go has a young one, wherever it is.
const YOUNG: Duration = Duration::from_secs(600);
/// So many more than the mean are not worth it.
const FEW: f64 = 10.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_even_out_after_a_scale_up_at_a_bounded_rate_and_settle() {
        let even_out = EvenOut::default();
        let mut nodes = [3000_u64, 3000, 0];
        let (mut going, mut settled) = ([false; 3], 0);
        for step in 0..4000 {
            let mut moved = 0;
            for one in 0..3 {
                let others: Vec<_> = (0..3).filter(|other| *other != one).map(|other| nodes[other]).collect();
                let due = even_out.due(nodes[one], &others, going[one], f64::from(step % 10) / 10.0);
                going[one] = due.is_some();
                let due = due.unwrap_or_default();
                assert!(due <= 101, "{due} in 5 s");
                // They come back through a load balancer.
                nodes[one] -= due as u64;
                (0..due).for_each(|client| nodes[(client + one + step as usize) % 3] += 1);
                moved += due;
            }
            settled = if moved == 0 { settled + 1 } else { 0 };
        }
        assert!(settled > 100 && nodes.iter().all(|count| (1500..=2250).contains(count)), "{nodes:?}");
    }

    #[test]
    fn a_node_that_has_not_far_more_than_the_others_lets_nobody_go() {
        let due = |own, others: &[u64]| EvenOut::default().due(own, others, false, 0.99);
        assert_eq!(due(1190, &[1000, 810]), None);
        assert_eq!(due(9, &[0, 0]), None, "a few");
        assert_eq!(due(500, &[]), None, "alone");
        assert_eq!(due(1500, &[1500, 0]), Some(25));
        let goes_on = |own| EvenOut::default().due(own, &[900, 900], true, 0.99).is_some();
        assert!(
            due(1100, &[900, 900]).is_none() && goes_on(1100) && !goes_on(1000),
            "halfway back to the mean"
        );
        assert_eq!(due(0, &[1500, 1500]), None);
    }

    #[test]
    fn the_others_hear_of_what_is_more_than_a_little_off() {
        for (told, now, is) in
            [(0, 0, false), (0, 1, true), (5, 6, true), (100, 105, false), (100, 106, true), (100, 94, true)]
        {
            assert_eq!(is_news(told, now), is, "{told} {now}");
        }
    }
}
