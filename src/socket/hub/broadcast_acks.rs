//! The acks of many sockets of this node to one event (Socket.IO server API: `emitWithAck` of a broadcast).

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::socket::protocol::RawArgs;

/// Collects the acks to one event.
#[derive(Debug, Default)]
pub(crate) struct AckCollector(Arc<Collected>);

/// The ack that one socket owes. A dropped one is not waited for any more.
#[derive(Debug)]
pub(crate) struct ExpectedAck(Arc<Collected>);

#[derive(Debug, Default)]
struct Collected {
    acks: Mutex<AckState>,
    news: Notify,
}

#[derive(Debug, Default)]
struct AckState {
    ready: Vec<RawArgs>,
    outstanding: usize,
}

impl AckCollector {
    /// Waits for one more socket.
    pub(crate) fn expect(&self) -> ExpectedAck {
        self.0.acks.lock().outstanding += 1;
        ExpectedAck(Arc::clone(&self.0))
    }

    /// The acks that came since the last call, or else the next ones; `None` when no socket is waited for.
    pub(crate) async fn next(&self) -> Option<Vec<RawArgs>> {
        loop {
            {
                let mut acks = self.0.acks.lock();
                if !acks.ready.is_empty() {
                    return Some(std::mem::take(&mut acks.ready));
                }
                if acks.outstanding == 0 {
                    return None;
                }
            }
            self.0.news.notified().await;
        }
    }
}

impl ExpectedAck {
    /// The socket has sent the ack.
    pub(crate) fn complete(self, args: RawArgs) {
        self.0.acks.lock().ready.push(args);
    }
}

impl Drop for ExpectedAck {
    fn drop(&mut self) {
        let mut acks = self.0.acks.lock();
        acks.outstanding = acks.outstanding.saturating_sub(1);
        drop(acks);
        self.0.news.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(n: u8) -> RawArgs {
        RawArgs::encode(&n).unwrap()
    }

    #[tokio::test]
    async fn collecting_ends_when_every_socket_has_answered_or_left() {
        let collector = AckCollector::default();
        let [first, second, third] = [collector.expect(), collector.expect(), collector.expect()];
        first.complete(reply(1));
        third.complete(reply(3));
        assert_eq!(collector.next().await, Some(vec![reply(1), reply(3)]), "in the order of arrival");
        let waiting = tokio::spawn(async move { collector.next().await });
        tokio::task::yield_now().await;
        drop(second);
        assert_eq!(waiting.await.unwrap(), None);
    }

    #[tokio::test]
    async fn an_event_to_no_socket_has_no_acks() {
        assert_eq!(AckCollector::default().next().await, None);
    }
}
