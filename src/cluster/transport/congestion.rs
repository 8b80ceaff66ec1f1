//! How much may be on its way to another node: what CUBIC says, but never so little that a lossy network becomes a slow one.
//!
//! CUBIC takes every loss for a full queue. Where a tenth of the packets is lost for another reason it halves its window until two
//! packets are left, and what is emitted waits for seconds. Nodes are few, and near each other, so a small window that nothing
//! takes away harms nobody.

use std::any::Any;
use std::sync::Arc;
use std::time::Instant;

use quinn::congestion::{Controller, ControllerFactory, ControllerMetrics, CubicConfig};
use quinn_proto::RttEstimator;

/// Makes the controller of each connection.
#[derive(Debug, Default)]
pub(crate) struct WithFloor(Arc<CubicConfig>);

impl ControllerFactory for WithFloor {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        Box::new(Floor(Arc::clone(&self.0).build(now, current_mtu)))
    }
}

/// CUBIC with a floor under its window.
struct Floor(Box<dyn Controller>);

impl Controller for Floor {
    fn on_sent(&mut self, now: Instant, bytes: u64, last_packet_number: u64) {
        self.0.on_sent(now, bytes, last_packet_number);
    }

    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64, app_limited: bool, rtt: &RttEstimator) {
        self.0.on_ack(now, sent, bytes, app_limited, rtt);
    }

    fn on_end_acks(
        &mut self,
        now: Instant,
        in_flight: u64,
        app_limited: bool,
        largest_packet_num_acked: Option<u64>,
    ) {
        self.0.on_end_acks(now, in_flight, app_limited, largest_packet_num_acked);
    }

    fn on_congestion_event(
        &mut self,
        now: Instant,
        sent: Instant,
        is_persistent_congestion: bool,
        lost_bytes: u64,
    ) {
        self.0.on_congestion_event(now, sent, is_persistent_congestion, lost_bytes);
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.0.on_mtu_update(new_mtu);
    }

    fn window(&self) -> u64 {
        self.0.window().max(FLOOR)
    }

    fn metrics(&self) -> ControllerMetrics {
        self.0.metrics()
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(Self(self.0.clone_box()))
    }

    fn initial_window(&self) -> u64 {
        self.0.initial_window().max(FLOOR)
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

/// 1.3 MB/s where an answer takes 50 ms, and what 50 packets hold.
const FLOOR: u64 = 64 << 10;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn losses_never_make_the_window_smaller_than_the_floor() {
        let start = tokio::time::Instant::now().into_std();
        let mut controller = Arc::new(WithFloor::default()).build(start, 1200);
        for second in 1..100 {
            let now = start + Duration::from_secs(second);
            controller.on_congestion_event(now, now - Duration::from_millis(50), true, 100_000);
        }
        assert_eq!(controller.window(), FLOOR);
        assert!(controller.into_any().downcast::<Floor>().is_ok_and(|floor| floor.0.window() < FLOOR / 10));
    }
}
