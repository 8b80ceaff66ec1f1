//! Which handlers of one socket may overlap.

use super::Namespace;
use crate::socket::hub::Lane;

impl<S: Send + Sync + 'static, Stage> Namespace<S, Stage> {
    /// Lets up to `limit` handlers of one socket run at once, where otherwise each begins when the one before it has ended. Node:
    /// all handlers overlap, without a limit.
    ///
    /// They begin in the order in which the client sent the events, each up to where it first waits, and end in any order; so do
    /// their acks. While `limit` of them run, the next event waits, and a client with many that wait is not read from. Handlers of
    /// events with a limit [of their own](Self::concurrent_event) do not count. `on_connect` still ends before the first event is
    /// handled, and `on_disconnect` runs when the last handler has ended.
    ///
    /// It also lets a handler wait for an ack of its own client, if that first asks something else: otherwise each would wait for
    /// the other until the time of the ack is over. One has the same effect as none; zero is an error when the node starts.
    ///
    /// ```
    /// # use socketmesh::{Socket, namespace};
    /// # async fn query(_sql: String) -> socketmesh::Result<Vec<String>> { Ok(Vec::new()) }
    /// let reports = namespace("/reports")
    ///     .concurrent(8)
    ///     .on("query", async |_: Socket, sql: String| query(sql).await);
    /// ```
    pub fn concurrent(mut self, limit: usize) -> Namespace<S> {
        self.once("concurrent", self.handlers.lanes.shared.is_some());
        self.check_limit(limit);
        self.handlers.lanes.shared = (limit > 1).then_some(Lane { index: 0, limit });
        self.settled()
    }

    /// As [`concurrent`](Self::concurrent), for one event: up to `limit` of its handlers run at once for one socket, and what the
    /// client sends after it waits for none of them.
    ///
    /// Events without a limit are handled as before: what comes after them waits for them. So a handler of this event sees
    /// what the events before it have done. The name is the one that the client sends, whatever middleware makes of it.
    ///
    /// An event that has no handler is an error when the node starts.
    ///
    /// ```
    /// # use socketmesh::{Socket, namespace};
    /// # async fn search(_words: String) -> socketmesh::Result<Vec<String>> { Ok(Vec::new()) }
    /// let chat = namespace("/chat")
    ///     .on("say", async |socket: Socket, text: String| Ok(socket.broadcast().emit("said", &text)?))
    ///     .on("search", async |_: Socket, words: String| search(words).await)
    ///     .concurrent_event("search", 4); // a slow search does not hold up what is said
    /// ```
    pub fn concurrent_event(mut self, event: &str, limit: usize) -> Namespace<S> {
        self.check_limit(limit);
        let index = self.handlers.lanes.own.len() + 1;
        if self.handlers.lanes.own.insert(event.to_owned(), Lane { index, limit }).is_some() {
            self.faults.push(format!("two limits for the event {event:?}"));
        }
        self.settled()
    }

    fn check_limit(&mut self, limit: usize) {
        if limit == 0 {
            self.faults.push("concurrent(0) lets no handler run".to_owned());
        }
    }

    /// Finds limits of events that nothing handles.
    pub(super) fn check_lanes(&mut self) {
        let handlers = &self.handlers;
        if handlers.events.is_some() || handlers.fallback.is_some() {
            return;
        }
        let unknown = handlers.lanes.own.keys().filter(|event| !handlers.on.contains_key(*event));
        self.faults
            .extend(unknown.map(|event| format!("a limit for the event {event:?}, which has no handler")));
    }
}
