//! Clients that come back to their sockets.

use std::future::Future;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::super::namespace_ref::NamespaceRef;
use super::Namespace;
use super::carried::{DataCodec, LostSession};
use crate::socket::hub::EventError;
use crate::socket::recovery::Recovery;

impl<S: Send + Sync + 'static, Stage> Namespace<S, Stage> {
    /// Lets clients whose connection was lost come back to their sockets: to any node, with the same id, rooms and data. They get what
    /// they missed, in order, before anything new, and [`Socket::recovered`](crate::Socket::recovered) is true. Where anything is
    /// missing they get another socket, as without this. Node: `connectionStateRecovery`.
    ///
    /// Data travel as JSON to the node where the client comes back. [`socket::Config::recover`](crate::socket::Config::recover) lets
    /// clients of all namespaces come back, also of those whose data cannot travel: `auth` is asked for them again.
    ///
    /// ```
    /// use serde::{Deserialize, Serialize};
    /// use socketmesh::{Handshake, Refusal, Socket, namespace, socket::Recovery};
    ///
    /// #[derive(Serialize, Deserialize)]
    /// struct User { name: String }
    ///
    /// let chat = namespace("/chat")
    ///     .auth(async |handshake: Handshake| Ok::<_, Refusal>(handshake.auth::<User>()?))
    ///     .recover(Recovery::default())
    ///     .on_connect(async |socket: Socket<User>| {
    ///         if !socket.recovered() {
    ///             socket.join("lobby").await?;
    ///         }
    ///         Ok(())
    ///     });
    /// ```
    pub fn recover(mut self, recovery: Recovery) -> Namespace<S>
    where
        S: Serialize + DeserializeOwned,
    {
        self.once("recover", self.recovery.is_some());
        self.recovery = Some(recovery);
        self.handlers.codec = Some(DataCodec::json());
        self.settled()
    }

    /// Runs when a client whose connection was lost has not come back in time, or came back and could not be recovered: in the whole
    /// cluster once; once more, or up to 10 s late, where the node that is to say so dies around that time. In a namespace of a predicate it runs only where that has a client. For a socket whose client left for
    /// good, [`on_disconnect`](Self::on_disconnect) was the last word.
    ///
    /// ```
    /// use socketmesh::{NamespaceRef, namespace, socket::{LostSession, Recovery}};
    ///
    /// let game = namespace("/game").recover(Recovery::default()).on_lost(
    ///     async |game: NamespaceRef, lost: LostSession<()>| {
    ///         for room in &lost.rooms {
    ///             game.to(room).emit("left for good", &lost.id.to_string())?;
    ///         }
    ///         Ok(())
    ///     },
    /// );
    /// ```
    pub fn on_lost<F, Fut>(mut self, handler: F) -> Namespace<S>
    where
        F: FnOnce(NamespaceRef, LostSession<S>) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<(), EventError>> + Send + 'static,
    {
        self.once("on_lost", self.handlers.on_lost.is_some());
        self.handlers.on_lost =
            Some(Box::new(move |namespace, lost| Box::pin((handler.clone())(namespace, lost))));
        self.settled()
    }
}
