//! Which handlers of one socket may run beside others.

/// Events whose handlers may overlap: with each other, and with those of whatever comes after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lane {
    /// Its place among the lanes of the namespace.
    pub(crate) index: usize,
    /// How many of its handlers run at once for one socket.
    pub(crate) limit: usize,
}

/// How many handlers of one socket run in each lane. Without lanes it holds no memory.
#[derive(Debug, Default)]
pub(crate) struct Running(Vec<usize>);

impl Running {
    /// One more is to run in this lane. Returns whether there is room for it.
    #[must_use]
    pub(crate) fn enter(&mut self, lane: Lane) -> bool {
        if self.0.len() <= lane.index {
            self.0.resize(lane.index + 1, 0);
        }
        let Some(running) = self.0.get_mut(lane.index).filter(|running| **running < lane.limit) else {
            return false;
        };
        *running += 1;
        true
    }

    /// One that ran in this lane has ended.
    pub(crate) fn leave(&mut self, lane: Lane) {
        if let Some(running) = self.0.get_mut(lane.index) {
            *running = running.saturating_sub(1);
        }
        if self.is_empty() {
            self.0 = Vec::new();
        }
    }

    /// Whether none runs in any lane.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.iter().all(|running| *running == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_run_in_a_lane_as_it_has_room_for_whatever_runs_in_others() {
        let [one, two] = [(2, 1), (0, 2)].map(|(index, limit)| Lane { index, limit });
        let mut running = Running::default();
        assert!(running.is_empty());
        assert_eq!(
            [one, one, two, two, two].map(|lane| running.enter(lane)),
            [true, false, true, true, false]
        );
        running.leave(two);
        assert!(!running.enter(one) && running.enter(two));
        [one, two].into_iter().for_each(|lane| running.leave(lane));
        assert!(!running.is_empty(), "one still runs");
        running.leave(two);
        assert!(running.is_empty() && running.enter(one));
    }
}
