//! Whether the application's runtime runs (docs/protocol/mesh.md, "A hung application").
//!
//! The mesh has a thread of its own, which goes on to answer for a node whose application does not. So that runtime is asked
//! to run a task, again and again.

use std::time::Duration;

use tokio::time::Instant;

use super::rhythm::TICK;

/// What is known of the application's runtime.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    /// A task waits to be run.
    asked: bool,
    /// How long it has waited, or how long ago the last one ran.
    waited: Duration,
    ticked: Option<Instant>,
    hung: bool,
}

/// What follows from a tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Beat {
    /// Nothing.
    Wait,
    /// The runtime is to be asked.
    Ask,
    /// From now on the application counts as hung.
    Hung,
}

impl Pulse {
    /// Time passes. `late`: this node should have run so much earlier.
    pub(crate) fn handle_tick(&mut self, late: Duration, now: Instant) -> Beat {
        // While the whole process stood still, its application could not run either: that is nobody's silence.
        let passed = self.ticked.map_or(Duration::ZERO, |ticked| now.duration_since(ticked));
        self.ticked = Some(now);
        self.waited += passed.saturating_sub(late.saturating_sub(TICK));
        if !self.asked {
            let due = passed.is_zero() || self.waited >= INTERVAL;
            if due {
                (self.asked, self.waited) = (true, Duration::ZERO);
            }
            return if due { Beat::Ask } else { Beat::Wait };
        }
        let hung = self.waited >= HUNG && !self.hung;
        self.hung |= hung;
        if hung { Beat::Hung } else { Beat::Wait }
    }

    /// The task has run. Returns whether the application was hung until now.
    pub(crate) fn handle_answer(&mut self) -> bool {
        (self.asked, self.waited) = (false, Duration::ZERO);
        std::mem::take(&mut self.hung)
    }

    pub(crate) fn is_hung(&self) -> bool {
        self.hung
    }
}

/// From one answer to the next question.
const INTERVAL: Duration = Duration::from_secs(1);
/// A runtime that only has much to do runs a task long before.
const HUNG: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    /// A pulse and its clock.
    struct Watch(Pulse, Instant);

    impl Watch {
        fn new() -> Self {
            let mut watch = Self(Pulse::default(), Instant::now());
            assert_eq!(watch.0.handle_tick(Duration::ZERO, watch.1), Beat::Ask);
            watch
        }

        fn beats(&mut self, ticks: u32) -> Vec<Beat> {
            let tick = |_| {
                self.1 += TICK;
                self.0.handle_tick(Duration::ZERO, self.1)
            };
            (0..ticks).map(tick).filter(|beat| *beat != Beat::Wait).collect()
        }
    }

    #[test]
    fn a_runtime_that_does_not_answer_for_ten_seconds_is_hung_until_it_does() {
        let mut watch = Watch::new();
        assert_eq!(watch.beats(99), []);
        assert_eq!((watch.beats(1), watch.0.is_hung()), (vec![Beat::Hung], true));
        assert_eq!(watch.beats(6000), [], "it is said once, and one task waits");
        assert!(watch.0.handle_answer() && !watch.0.is_hung());
        assert_eq!(watch.beats(10), [Beat::Ask]);
    }

    #[test]
    fn a_busy_runtime_that_answers_late_is_not_hung() {
        let mut watch = Watch::new();
        for _ in 0..10 {
            assert_eq!(watch.beats(90), []);
            assert!(!watch.0.handle_answer());
            assert_eq!(watch.beats(10), [Beat::Ask]);
        }
    }

    #[test]
    fn a_process_that_stood_still_is_not_hung() {
        let mut watch = Watch::new();
        watch.beats(50);
        for pause in [2, 15, 3600] {
            let pause = Duration::from_secs(pause);
            watch.1 += pause;
            let beat = watch.0.handle_tick(pause, watch.1);
            assert_eq!(beat, Beat::Wait, "the thread of the mesh stood still as well");
        }
    }
}
