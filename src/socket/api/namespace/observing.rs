//! Observers of a namespace: they see what happens, and change nothing.

use std::future::Future;

use super::super::namespace_ref::NamespaceRef;
use super::super::socket::Socket;
use super::Namespace;
use super::handlers::ObserveFn;
use crate::socket::hub::RoomEvent;
use crate::socket::protocol::RawArgs;

impl<S: Send + Sync + 'static, Stage> Namespace<S, Stage> {
    /// Sees every event of a client, before any [`middleware`](Self::middleware), handled or not. Node:
    /// `socket.onAny()`.
    ///
    /// Several observers run in the order in which they were given. The event waits for them.
    ///
    /// ```
    /// # use socketmesh::{RawArgs, Socket, namespace};
    /// let chat = namespace("/").on_any(async |socket: Socket, event: String, args: RawArgs| {
    ///     println!("{} says {event}: {}", socket.id(), args.json());
    /// });
    /// ```
    pub fn on_any<F, Fut>(mut self, observer: F) -> Namespace<S>
    where
        F: FnOnce(Socket<S>, String, RawArgs) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.handlers.on_any.push(observe_fn(observer));
        self.settled()
    }

    /// Sees every event that is sent to a client of this node: by emit, with or without ack, or broadcast from any
    /// node; no acks. Node: `socket.onAnyOutgoing()`.
    ///
    /// It runs after the fact, one event after another; those of one emitter in their order. Nothing waits for it: when
    /// 4096 events or 16 MiB wait for the observers of one namespace, further ones are not seen, and the log says so. A
    /// volatile event is seen even if it was dropped. What an observer emits is seen as well, so an observer that always
    /// emits never ends.
    pub fn on_any_outgoing<F, Fut>(mut self, observer: F) -> Namespace<S>
    where
        F: FnOnce(Socket<S>, String, RawArgs) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.handlers.on_any_outgoing.push(observe_fn(observer));
        self.settled()
    }

    /// Sees rooms come and go on this node, with the sockets of this node that join and leave them. Node:
    /// `nsp.adapter.on("create-room")` and so on.
    ///
    /// It runs after the fact, one event after another, in the order in which things happened. Nothing waits for it. It
    /// shares its queue, which is bounded, with [`on_any_outgoing`](Self::on_any_outgoing).
    ///
    /// ```
    /// # use socketmesh::{NamespaceRef, RoomEvent, namespace};
    /// let chat = namespace("/").on_room(async |chat: NamespaceRef, event: RoomEvent| match event {
    ///     RoomEvent::Created { room } => println!("{} has a room {room} here", chat.path()),
    ///     RoomEvent::Joined { room, socket } => println!("{socket} is in {room}"),
    ///     RoomEvent::Left { .. } | RoomEvent::Deleted { .. } => {}
    /// });
    /// ```
    pub fn on_room<F, Fut>(mut self, observer: F) -> Namespace<S>
    where
        F: FnOnce(NamespaceRef, RoomEvent) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.once("on_room", self.handlers.on_room.is_some());
        self.handlers.on_room =
            Some(Box::new(move |namespace, event| Box::pin((observer.clone())(namespace, event))));
        self.settled()
    }
}

fn observe_fn<S, F, Fut>(observer: F) -> ObserveFn<S>
where
    S: Send + Sync + 'static,
    F: FnOnce(Socket<S>, String, RawArgs) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    Box::new(move |socket, event, args| Box::pin((observer.clone())(socket, event, args)))
}
