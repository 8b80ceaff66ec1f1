//! What the nodes of a namespace tell each other: events, and the data of its sockets.

use std::future::{self, Future};

use serde::Serialize;

use super::super::namespace_ref::NamespaceRef;
use super::Namespace;
use super::handlers::ServerEventFn;
use crate::socket::hub::EventError;
use crate::socket::protocol::{FromArgs, IntoArgs, RawArgs};

impl<S: Send + Sync + 'static, Stage> Namespace<S, Stage> {
    /// Handles an event that another node sent with [`server_side_emit`](super::super::NamespaceRef::server_side_emit);
    /// what it returns is the answer to
    /// [`server_side_emit_with_ack`](super::super::NamespaceRef::server_side_emit_with_ack). Node: `nsp.on(event)`.
    ///
    /// Each node handles the events of one namespace one after another, those of one sender in the order in which it sent
    /// them. So a handler that waits for the replies of other nodes holds up the replies of its own. At most 1024 events or
    /// 16 MiB wait; further ones are dropped, which the log says, and whoever waits for a reply learns of at once.
    ///
    /// ```
    /// use std::sync::atomic::{AtomicU32, Ordering};
    /// use std::sync::Arc;
    ///
    /// let limit = Arc::new(AtomicU32::new(10));
    /// let chat = socketmesh::namespace("/chat").on_server_event("limit", async move |new: u32| {
    ///     Ok(limit.swap(new, Ordering::Relaxed))
    /// });
    /// ```
    pub fn on_server_event<A, R, F, Fut>(self, event: &str, handler: F) -> Namespace<S>
    where
        A: FromArgs + Send + 'static,
        R: IntoArgs + Send + 'static,
        F: FnOnce(A) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<R, EventError>> + Send + 'static,
    {
        self.on_server_event_in(event, move |_: NamespaceRef, args| handler(args))
    }

    /// As [`on_server_event`](Self::on_server_event), for a handler that has to know which of the dynamic namespaces of
    /// this description the event is for.
    ///
    /// A namespace by [pattern](crate::namespaces) gets such events on every node. One by
    /// [predicate](crate::namespaces_where) gets them on nodes where a socket is in it.
    pub fn on_server_event_in<A, R, F, Fut>(mut self, event: &str, handler: F) -> Namespace<S>
    where
        A: FromArgs + Send + 'static,
        R: IntoArgs + Send + 'static,
        F: FnOnce(NamespaceRef, A) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<R, EventError>> + Send + 'static,
    {
        let handler: ServerEventFn = Box::new(move |namespace, event| match A::from_args(&event.args) {
            Ok(args) => {
                let result = (handler.clone())(namespace, args);
                Box::pin(async move { Ok(RawArgs::encode(&result.await?)?) })
            }
            Err(error) => Box::pin(future::ready(Err(EventError::invalid_arguments(error)))),
        });
        if self.handlers.on_server_event.insert(event.to_owned(), handler).is_some() {
            self.faults.push(format!("two handlers for the server event {event:?}"));
        }
        self.settled()
    }

    /// Makes the part of a socket's data that other code may see: it is [`RemoteSocket::data`](crate::RemoteSocket::data)
    /// wherever the socket is fetched, on any node. Without it that is `null`. Node: `socket.data`.
    ///
    /// It runs on the socket's node at each fetch, and must not block.
    ///
    /// ```
    /// # use socketmesh::{Handshake, Refusal, namespace};
    /// struct User { name: String, token: String }
    /// # async fn login(_: Handshake) -> Result<User, Refusal> { Err(Refusal::new("no")) }
    ///
    /// let chat = namespace("/chat").auth(login).describe(|user: &User| user.name.clone());
    /// ```
    pub fn describe<V: Serialize>(
        mut self,
        describe: impl Fn(&S) -> V + Send + Sync + 'static,
    ) -> Namespace<S> {
        self.once("describe", self.handlers.describe.is_some());
        self.handlers.describe =
            Some(Box::new(move |data| serde_json::to_value(describe(data)).unwrap_or_default()));
        self.settled()
    }

    /// Changes the data of a socket as [`RemoteSocket::update`](super::super::RemoteSocket::update) or
    /// [`Target::update`](super::super::Target::update) asks, on whichever node. In Node the data of a
    /// socket elsewhere is a copy, and changing it changes nothing.
    ///
    /// It runs on the socket's node, in the order of emits and commands of the node that asks for it. It must not block,
    /// because everything else from that node waits for it. Arguments that do not decode as `U` change nothing and are
    /// logged.
    ///
    /// ```
    /// use std::sync::Mutex;
    ///
    /// # use socketmesh::{Handshake, NamespaceRef, Refusal, namespace};
    /// struct Player { name: String, team: Mutex<String> }
    /// # async fn login(_: Handshake) -> Result<Player, Refusal> { Err(Refusal::new("no")) }
    ///
    /// let game = namespace("/game")
    ///     .auth(login)
    ///     .describe(|player: &Player| player.team.lock().map(|team| team.clone()).ok())
    ///     .on_update(|player: &Player, new: String| {
    ///         if let Ok(mut team) = player.team.lock() { *team = new }
    ///     });
    ///
    /// async fn all_blue(game: NamespaceRef) -> socketmesh::Result<()> {
    ///     for player in game.fetch_sockets().await.found {
    ///         player.update("blue")?.await;
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub fn on_update<U: FromArgs>(mut self, update: impl Fn(&S, U) + Send + Sync + 'static) -> Namespace<S> {
        self.once("on_update", self.handlers.on_update.is_some());
        self.handlers.on_update = Some(Box::new(move |data, args| {
            update(data, U::from_args(args)?);
            Ok(())
        }));
        self.settled()
    }
}
