//! How much each client may send.

use super::Namespace;
use crate::socket::hub::Limit;

impl<S: Send + Sync + 'static, Stage> Namespace<S, Stage> {
    /// Limits how much each client may send to this namespace: events or bytes in a time, with a burst, by socket or by user. What is
    /// beyond is dropped, refused, or costs the connection, as the limit says. It is looked at when the event arrives, before it
    /// waits for its handler. Several limits hold together, and what one of them refuses counts for none. A client that leaves the
    /// namespace and comes back finds its limits as it left them; one that connects anew begins anew. Node has no form for it.
    ///
    /// It is for what handlers cost. What a client may send at all is bounded without it: one that sends faster than its events are
    /// handled is not read from.
    ///
    /// A limit of 0, or in no time, is an error when the node starts. See [`Limit`] for an example.
    pub fn limit(mut self, limit: Limit) -> Namespace<S> {
        if limit.is_nothing() {
            self.faults.push("a limit that lets nothing pass".to_owned());
        }
        self.handlers.limits.push(limit);
        self.settled()
    }

    /// As [`limit`](Self::limit), for events of one name alone.
    pub fn limit_event(self, event: &str, limit: Limit) -> Namespace<S> {
        self.limit(limit.of_event(event))
    }
}
