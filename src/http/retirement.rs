//! When a node that stops lets go of what it carries for other nodes: each request and each WebSocket at a moment of its own, so that
//! their clients do not all ask the others at once.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::random;

/// Until when everything that this node carries has to go. A clone is of the same node.
#[derive(Debug, Clone, Default)]
pub(crate) struct Retirement(watch::Sender<Plan>);

#[derive(Debug, Clone, Copy, Default)]
struct Plan {
    /// From then on every other node knows that this one stops.
    known: Option<Instant>,
    until: Option<Instant>,
}

/// What is carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Carried {
    Request,
    /// A client that loses it connects again, which should be to a node that carries nothing through this one. It was opened then: official
    /// clients that lose a WebSocket while they upgrade do not poll any more, and those that have no socket yet would come in vain.
    Stream(Instant),
}

impl Retirement {
    /// The other nodes are told that this one stops.
    pub(crate) fn announce(&self, now: Instant) {
        self.0.send_modify(|plan| plan.known = plan.known.or(Some(now + NEWS)));
    }

    /// What is carried has to go by then. The last call counts.
    pub(crate) fn begin(&self, until: Instant) {
        self.0.send_modify(|plan| plan.until = Some(until));
    }

    /// Resolves when something that is carried now has to go.
    pub(crate) async fn due(&self, what: Carried) {
        // The sender lives in `self`.
        drop(self.0.subscribe().wait_for(|plan| plan.until.is_some()).await);
        // Boxed, so that what is carried has no room for this before.
        Box::pin(self.moment(what)).await;
    }

    async fn moment(&self, what: Carried) {
        let (begin, share, mut plans) = (Instant::now(), random::fraction(), self.0.subscribe());
        loop {
            let Plan { known, until } = *plans.borrow_and_update();
            let time = until.map_or(Duration::ZERO, |until| until.saturating_duration_since(begin));
            let earliest = match what {
                Carried::Request => begin,
                Carried::Stream(opened) => known.unwrap_or(begin).max(opened + YOUNG),
            };
            tokio::select! {
                () = sleep_until((begin + time.mul_f64(share)).max(earliest)) => return,
                _changed = plans.changed() => {}
            }
        }
    }
}

/// Enough for an upgrade, and for a CONNECT and its answer.
const YOUNG: Duration = Duration::from_secs(2);
/// By then gossip has told every node, because news are spread at once.
const NEWS: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use tokio::task::JoinSet;
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_carried_goes_one_after_another_and_at_once_when_there_is_no_time_left() {
        let (retirement, began) = (Retirement::default(), Instant::now());
        let mut carried = JoinSet::new();
        for _ in 0..200 {
            let retirement = retirement.clone();
            carried.spawn(async move { retirement.due(Carried::Request).await });
        }
        advance(Duration::from_secs(3600)).await;
        assert!(carried.try_join_next().is_none(), "the node does not stop");
        let began = began + Duration::from_secs(3600);
        retirement.begin(began + Duration::from_secs(10));
        let mut seconds = [0; 10];
        for _ in 0..100 {
            carried.join_next().await.unwrap().unwrap();
            seconds[usize::try_from(began.elapsed().as_secs()).unwrap()] += 1;
        }
        assert!(seconds.iter().all(|went| *went < 60), "{seconds:?}");
        let now = Instant::now();
        retirement.begin(now);
        while carried.join_next().await.is_some() {}
        assert!(now.elapsed() < Duration::from_millis(10));
    }

    #[tokio::test(start_paused = true)]
    async fn a_websocket_waits_until_the_others_know() {
        let (retirement, began) = (Retirement::default(), Instant::now());
        retirement.announce(began);
        retirement.begin(began);
        retirement.due(Carried::Request).await;
        assert!(began.elapsed() < Duration::from_millis(10));
        retirement.due(Carried::Stream(began - YOUNG)).await;
        assert!((NEWS..YOUNG).contains(&began.elapsed()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_websocket_that_was_just_opened_is_not_cut_while_its_client_upgrades() {
        let (retirement, began) = (Retirement::default(), Instant::now());
        retirement.announce(began);
        advance(Duration::from_secs(60)).await;
        let opened = Instant::now();
        retirement.begin(opened);
        retirement.due(Carried::Stream(opened)).await;
        assert!(opened.elapsed() >= YOUNG);
    }
}
