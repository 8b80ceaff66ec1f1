//! What a namespace does, whatever the type of its sockets' data.

use std::any::Any;
use std::future::{self, Future};
use std::pin::Pin;
use std::sync::Arc;

use serde_json::Value;

use super::args::RawArgs;
use super::error::{ArgsError, DisconnectReason, EventError, Refusal};
use super::handle::NamespaceRef;
use super::handshake::Handshake;
use super::messages::EmittedEvent;
use super::observers::RoomEvent;
use super::packet::Event;
use super::raw::RawSocket;

pub(crate) type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What a namespace does, whatever the type of its sockets' data.
pub(crate) trait Behaviour: Send + Sync {
    /// Who may connect, and the data of those who may.
    fn admit(&self, handshake: Handshake) -> Admission;
    fn connected(&self, socket: Arc<RawSocket>) -> BoxFuture<'static, Result<(), EventError>>;
    fn event(&self, socket: Arc<RawSocket>, event: Event) -> BoxFuture<'_, Result<RawArgs, EventError>>;
    /// Whether `disconnecting` does anything: the rooms of a socket are kept for it.
    fn awaits_disconnecting(&self) -> bool {
        false
    }
    fn disconnecting(
        &self,
        socket: Arc<RawSocket>,
        reason: DisconnectReason,
    ) -> BoxFuture<'static, Result<(), EventError>>;
    fn disconnected(
        &self,
        socket: Arc<RawSocket>,
        reason: DisconnectReason,
    ) -> BoxFuture<'static, Result<(), EventError>>;
    /// Whether `outgoing` does anything: packets are decoded again for it.
    fn watches_outgoing(&self) -> bool {
        false
    }
    fn outgoing<'a>(&'a self, socket: Arc<RawSocket>, event: &'a EmittedEvent) -> BoxFuture<'a, ()>;
    /// Whether `room` does anything.
    fn watches_rooms(&self) -> bool {
        false
    }
    fn room(&self, namespace: NamespaceRef, event: RoomEvent) -> BoxFuture<'static, ()>;
    /// Handles an event of another node, if it is handled at all.
    fn server_event(
        &self,
        namespace: NamespaceRef,
        event: &EmittedEvent,
    ) -> Option<BoxFuture<'static, Result<RawArgs, EventError>>>;
    /// What others may know of a socket's data.
    fn describe(&self, data: &(dyn Any + Send + Sync)) -> Value;
    /// Changes a socket's data, if it can be changed at all.
    fn update(&self, data: &(dyn Any + Send + Sync), update: &RawArgs) -> Option<Result<(), ArgsError>>;
}

/// The data of an admitted socket.
pub(crate) type Data = Arc<dyn Any + Send + Sync>;

/// Whether a socket may connect.
pub(crate) enum Admission {
    /// Everybody may.
    Open(Data),
    /// To be decided.
    Deciding(BoxFuture<'static, Result<Data, Refusal>>),
}

impl Admission {
    pub(crate) async fn decided(self) -> Result<Data, Refusal> {
        match self {
            Self::Open(data) => Ok(data),
            Self::Deciding(decision) => decision.await,
        }
    }
}

/// The behaviour of a namespace that this node does not serve.
pub(crate) struct Nobody;

impl Behaviour for Nobody {
    fn admit(&self, _: Handshake) -> Admission {
        Admission::Deciding(Box::pin(future::ready(Err(Refusal::new("Invalid namespace")))))
    }

    fn connected(&self, _: Arc<RawSocket>) -> BoxFuture<'static, Result<(), EventError>> {
        Box::pin(future::ready(Ok(())))
    }

    fn event(&self, _: Arc<RawSocket>, _: Event) -> BoxFuture<'_, Result<RawArgs, EventError>> {
        Box::pin(future::ready(Ok(RawArgs::default())))
    }

    fn disconnecting(
        &self,
        _: Arc<RawSocket>,
        _: DisconnectReason,
    ) -> BoxFuture<'static, Result<(), EventError>> {
        Box::pin(future::ready(Ok(())))
    }

    fn disconnected(
        &self,
        _: Arc<RawSocket>,
        _: DisconnectReason,
    ) -> BoxFuture<'static, Result<(), EventError>> {
        Box::pin(future::ready(Ok(())))
    }

    fn outgoing<'a>(&'a self, _: Arc<RawSocket>, _: &'a EmittedEvent) -> BoxFuture<'a, ()> {
        Box::pin(future::ready(()))
    }

    fn room(&self, _: NamespaceRef, _: RoomEvent) -> BoxFuture<'static, ()> {
        Box::pin(future::ready(()))
    }

    fn server_event(
        &self,
        _: NamespaceRef,
        _: &EmittedEvent,
    ) -> Option<BoxFuture<'static, Result<RawArgs, EventError>>> {
        None
    }

    fn describe(&self, _: &(dyn Any + Send + Sync)) -> Value {
        Value::Null
    }

    fn update(&self, _: &(dyn Any + Send + Sync), _: &RawArgs) -> Option<Result<(), ArgsError>> {
        None
    }
}
