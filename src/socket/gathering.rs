//! The acks of many sockets of this node to one event (Socket.IO server API: `emitWithAck` of a broadcast).

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::args::RawArgs;
use super::error::EncodeError;
use super::messages::EmittedEvent;
use super::messages::Selection;
use super::packet;
use super::raw::{RawSocket, Waiter};
use super::state::NamespaceState;

/// Acks that are awaited, all under one id. Dropping it forgets those that have not come.
#[derive(Debug)]
pub(crate) struct Gathering {
    id: u64,
    sockets: Vec<Arc<RawSocket>>,
    replies: Arc<Replies>,
}

impl NamespaceState {
    /// Sends an event to the selected sockets of this node, once encoded, and begins to wait for their acks.
    pub(crate) fn gather(
        self: &Arc<Self>,
        selection: &Selection,
        event: &EmittedEvent,
        compress: bool,
    ) -> Result<Gathering, EncodeError> {
        let id = self.next_ack_id();
        let encoded = packet::event(&self.path, Some(id), &event.name, &event.args)?;
        let frames = self.parser().frames(&encoded.text, &encoded.attachments, compress);
        let mut gathering = Gathering { id, sockets: Vec::new(), replies: Arc::default() };
        // A socket that leaves is out of the index first, then gives up its acks: none can be forgotten.
        self.rooms.read().for_each(selection, |_, socket| {
            let share = gathering.replies.share();
            let waits = socket.expect_ack(id, Waiter::Gathering(share));
            // With too many acks pending it would be an event without one: better none.
            if waits.is_ok() {
                socket.session.send(&frames, false);
            }
            gathering.sockets.push(Arc::clone(socket));
        });
        if self.behaviour().watches_outgoing() {
            self.observe_outgoing(gathering.sockets.clone(), &encoded.text, &encoded.attachments);
        }
        Ok(gathering)
    }
}

impl Gathering {
    /// How many sockets were selected.
    pub(crate) fn expected(&self) -> usize {
        self.sockets.len()
    }

    /// The acks that came since the last call, or the next; `None` when every socket has answered or left.
    pub(crate) async fn next(&self) -> Option<Vec<RawArgs>> {
        self.replies.next().await
    }
}

impl Drop for Gathering {
    fn drop(&mut self) {
        self.sockets.iter().for_each(|socket| socket.forget_ack(self.id));
    }
}

/// What came so far, and how many can still come.
#[derive(Debug, Default)]
struct Replies {
    state: Mutex<State>,
    news: Notify,
}

#[derive(Debug, Default)]
struct State {
    ready: Vec<RawArgs>,
    owed: usize,
}

impl Replies {
    fn share(self: &Arc<Self>) -> Share {
        self.state.lock().owed += 1;
        Share(Arc::clone(self))
    }

    async fn next(&self) -> Option<Vec<RawArgs>> {
        loop {
            {
                let mut state = self.state.lock();
                if !state.ready.is_empty() {
                    return Some(std::mem::take(&mut state.ready));
                }
                if state.owed == 0 {
                    return None;
                }
            }
            self.news.notified().await;
        }
    }
}

/// What one socket owes. Dropped without an answer, it is owed no more.
#[derive(Debug)]
pub(crate) struct Share(Arc<Replies>);

impl Share {
    pub(crate) fn answer(self, args: RawArgs) {
        self.0.state.lock().ready.push(args);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.owed = state.owed.saturating_sub(1);
        drop(state);
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
    async fn it_ends_when_every_socket_has_answered_or_left() {
        let replies = Arc::new(Replies::default());
        let [first, second, third] = [replies.share(), replies.share(), replies.share()];
        first.answer(reply(1));
        third.answer(reply(3));
        assert_eq!(replies.next().await, Some(vec![reply(1), reply(3)]), "in the order of arrival");
        let waiting = tokio::spawn({
            let replies = Arc::clone(&replies);
            async move { replies.next().await }
        });
        tokio::task::yield_now().await;
        drop(second);
        assert_eq!(waiting.await.unwrap(), None);
    }

    #[tokio::test]
    async fn nobody_selected_is_an_end_at_once() {
        assert_eq!(Replies::default().next().await, None);
    }
}
