//! What a namespace is told about the connections below its sockets.

use std::future::Future;

use super::super::socket::Socket;
use super::Namespace;
use crate::engine::{Packet, Transport};
use crate::socket::hub::EventError;

impl<S: Send + Sync + 'static, Stage> Namespace<S, Stage> {
    /// Runs when the client of a connected socket has moved from polling to another transport, in the order of its events.
    /// Node: `socket.conn.on("upgrade")`.
    ///
    /// [`Conn::transport`](super::super::Conn::transport) says which one is in use, at any time.
    ///
    /// ```
    /// # use socketmesh::{Socket, engine::Transport, namespace};
    /// let video = namespace("/video").on_upgrade(async |socket: Socket, to: Transport| {
    ///     Ok(socket.emit("quality", if to == Transport::Polling { "low" } else { "high" })?)
    /// });
    /// ```
    pub fn on_upgrade<F, Fut>(mut self, handler: F) -> Namespace<S>
    where
        F: FnOnce(Socket<S>, Transport) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<(), EventError>> + Send + 'static,
    {
        self.once("on_upgrade", self.handlers.on_upgrade.is_some());
        self.handlers.on_upgrade = Some(Box::new(move |socket, to| Box::pin((handler.clone())(socket, to))));
        self.settled()
    }

    /// Runs for every packet of Engine.IO that the client of a connected socket sends, pongs among them, in all its namespaces.
    /// Node: `socket.conn.on("packet")`.
    ///
    /// It runs in the order of the events, that of a message before the event in it. Packets wait for it as events wait for
    /// their handlers, and count with them. As long as no namespace of the node has one, packets cost nothing.
    ///
    /// ```
    /// # use socketmesh::{Socket, engine::Packet, namespace};
    /// let presence = namespace("/").on_packet(async |socket: Socket, packet: Packet| {
    ///     if let Packet::Pong(_) = packet {
    ///         println!("{} is alive", socket.id());
    ///     }
    ///     Ok(())
    /// });
    /// ```
    pub fn on_packet<F, Fut>(mut self, handler: F) -> Namespace<S>
    where
        F: FnOnce(Socket<S>, Packet) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<(), EventError>> + Send + 'static,
    {
        self.once("on_packet", self.handlers.on_packet.is_some());
        self.handlers.on_packet =
            Some(Box::new(move |socket, packet| Box::pin((handler.clone())(socket, packet))));
        self.settled()
    }
}
