//! When something is due although nothing happened: often while something is under way, seldom while all is well.

use std::time::Duration;

use tokio::time::Instant;

/// The times at which a node does what it does again and again.
#[derive(Debug)]
pub(crate) struct Rhythm {
    tick: Instant,
    ping: Instant,
    look: Instant,
    gossip: Instant,
    warning: Instant,
}

/// What is due with a tick.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Beat {
    /// How late the tick is.
    pub(crate) late: Duration,
    pub(crate) ping: bool,
    pub(crate) look: bool,
    pub(crate) gossip: bool,
    pub(crate) warning: bool,
}

impl Rhythm {
    pub(crate) fn new(now: Instant) -> Self {
        Self { tick: now, ping: now, look: now, gossip: now, warning: now + WARNING }
    }

    /// When the next tick is due.
    pub(crate) fn next_tick(&self) -> Instant {
        self.tick
    }

    pub(crate) fn handle_tick(&mut self, now: Instant) -> Beat {
        let late = now.saturating_duration_since(self.tick);
        let (ping, look) = (is_due(&mut self.ping, PING, now), is_due(&mut self.look, LOOK, now));
        let (gossip, warning) =
            (is_due(&mut self.gossip, GOSSIP, now), is_due(&mut self.warning, WARNING, now));
        Beat { late, ping, look, gossip, warning }
    }

    /// A tick was handled. `calm_until`: nothing is under way, and by itself nothing will be before that time.
    pub(crate) fn plan(&mut self, calm_until: Option<Instant>, now: Instant) {
        self.tick = self.soonest(calm_until, now);
    }

    /// Something happened. A tick that is late stays so.
    pub(crate) fn hurry(&mut self, calm_until: Option<Instant>, now: Instant) {
        self.tick = self.tick.min(self.soonest(calm_until, now));
    }

    fn soonest(&self, calm_until: Option<Instant>, now: Instant) -> Instant {
        let planned = calm_until.map_or(now, |until| until.min(self.ping).min(self.look));
        planned.max(now + TICK)
    }
}

/// What is late does not delay what follows: so what is done at the same time stays together, and wakes the node once.
fn is_due(due: &mut Instant, every: Duration, now: Instant) -> bool {
    let is_due = now >= *due;
    if is_due {
        *due = (*due + every).max(now + every / 2);
    }
    is_due
}

/// From one tick to the next while something is under way.
pub(crate) const TICK: Duration = Duration::from_millis(100);
/// Links are pinged every half second.
pub(crate) const PING: Duration = Duration::from_millis(500);
/// Seeds are looked up, and the view is examined, every second.
const LOOK: Duration = Duration::from_secs(1);
/// While there are news, they are spread so often.
const GOSSIP: Duration = Duration::from_millis(200);
/// A lasting condition is warned about every three seconds.
const WARNING: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_has_nothing_to_do_waits_for_the_next_ping_and_one_that_has_does_not() {
        let now = Instant::now();
        let mut rhythm = Rhythm::new(now);
        let beat = rhythm.handle_tick(now);
        assert!(beat.ping && beat.look && !beat.warning && beat.late.is_zero());
        rhythm.plan(Some(now + LOOK), now);
        assert_eq!(rhythm.next_tick(), now + PING);
        rhythm.hurry(None, now + TICK);
        assert_eq!(rhythm.next_tick(), now + 2 * TICK);
        assert!(!rhythm.handle_tick(now + 2 * TICK).ping);
    }

    #[test]
    fn a_tick_that_is_late_is_known_to_be_whatever_happened_before_it() {
        let (start, pause) = (Instant::now(), Duration::from_secs(2));
        let mut rhythm = Rhythm::new(start);
        rhythm.plan(Some(start + pause), start);
        let resumed = rhythm.next_tick() + pause;
        rhythm.hurry(None, resumed);
        rhythm.hurry(Some(resumed + pause), resumed);
        assert_eq!(rhythm.handle_tick(resumed).late, pause);
    }
}
