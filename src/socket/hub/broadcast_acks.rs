//! The acks of many sockets of this node to one event (Socket.IO server API: `emitWithAck` of a broadcast).

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::id::SocketId;
use crate::socket::protocol::RawArgs;

/// Collects the acks to one event.
#[derive(Debug, Default)]
pub(crate) struct AckCollector(Arc<Collected>);

/// The ack that one socket owes. A dropped one is not waited for any more.
#[derive(Debug)]
pub(crate) struct ExpectedAck {
    socket: SocketId,
    collected: Arc<Collected>,
}

#[derive(Debug, Default)]
struct Collected {
    acks: Mutex<AckState>,
    news: Notify,
}

#[derive(Debug, Default)]
struct AckState {
    ready: Vec<(SocketId, RawArgs)>,
    outstanding: usize,
}

impl AckCollector {
    /// Waits for one more socket.
    pub(crate) fn expect(&self, socket: SocketId) -> ExpectedAck {
        self.0.acks.lock().outstanding += 1;
        ExpectedAck { socket, collected: Arc::clone(&self.0) }
    }

    /// The acks that came since the last call, or else the next ones; `None` when no socket is waited for.
    pub(crate) async fn next(&self) -> Option<Vec<(SocketId, RawArgs)>> {
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
        self.collected.acks.lock().ready.push((self.socket, args));
    }
}

impl Drop for ExpectedAck {
    fn drop(&mut self) {
        let mut acks = self.collected.acks.lock();
        acks.outstanding = acks.outstanding.saturating_sub(1);
        drop(acks);
        self.collected.news.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Key;

    fn socket(n: u8) -> SocketId {
        SocketId::new(Key::from_hash(0), [n; 10])
    }

    fn reply(n: u8) -> RawArgs {
        RawArgs::encode(&n).unwrap()
    }

    #[tokio::test]
    async fn collecting_ends_when_every_socket_has_answered_or_left() {
        let collector = AckCollector::default();
        let [first, second, third] = [1, 2, 3].map(|n| collector.expect(socket(n)));
        third.complete(reply(30));
        first.complete(reply(10));
        let arrived = vec![(socket(3), reply(30)), (socket(1), reply(10))];
        assert_eq!(collector.next().await, Some(arrived), "in the order of arrival");
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
