//! The handlers of a namespace, whatever the type of its sockets' data.

use std::any::Any;
use std::fmt;
use std::future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use super::admission::{Admission, BoxFuture, Data};
use super::counters::NamespaceCounters;
use super::error::{DisconnectReason, EventError, Refusal};
use super::handshake::Handshake;
use super::lanes::Lane;
use super::limit::Limit;
use super::member::Member;
use super::namespace::LocalNamespace;
use super::notice::{Notice, NoticeKind};
use super::observation::RoomEvent;
use super::paths::NamespacePaths;
use crate::socket::messages::EmittedEvent;
use crate::socket::messages::recovery::SessionState;
use crate::socket::protocol::{ArgsError, Event, RawArgs};
use crate::socket::recovery::Recovery;

/// What the application described: for which namespaces, and what their handlers do.
pub(crate) struct Description {
    pub(crate) paths: NamespacePaths,
    pub(crate) handlers: Arc<dyn ErasedHandlers>,
    pub(crate) counters: NamespaceCounters,
    /// How clients may come back, if they may.
    pub(crate) recovery: Option<Recovery>,
    /// Contradictions in the description. A node does not start with any.
    pub(crate) faults: Vec<String>,
}

/// What the hub calls a namespace's handlers by. A method that is not implemented stands for a handler that the
/// application did not give.
pub(crate) trait ErasedHandlers: Send + Sync {
    /// Starts to decide whether a client may enter, and what the data of its socket is.
    fn admit(&self, client: Handshake) -> Admission {
        let refusal = Refusal::invalid_namespace(client.request().protocol());
        Admission::Deciding(Box::pin(future::ready(Err(refusal))))
    }

    fn on_connect(&self, _: Arc<Member>) -> HandlerOutcome {
        nothing()
    }

    /// Whether the application named this event itself. Any other name is a client's invention.
    fn knows(&self, _event: &str) -> bool {
        false
    }

    /// How much each client may send.
    fn limits(&self) -> &[Limit] {
        &[]
    }

    /// Handles an event of a client.
    fn on_event(&self, _: Arc<Member>, _: Event) -> BoxFuture<'_, Handled> {
        Box::pin(future::ready(Handled::Unknown))
    }

    /// Whether any event has a lane.
    fn has_lanes(&self) -> bool {
        false
    }

    /// The lane of an event. The handler of one without a lane ends before anything that its socket sent later is handled.
    fn lane(&self, _event: &str) -> Option<Lane> {
        None
    }

    /// Whether there is a handler for such notices. Only then sockets are told.
    fn wants(&self, _: NoticeKind) -> bool {
        false
    }

    /// How long before the end of their login sockets are warned, if they are.
    fn warns_before(&self) -> Option<Duration> {
        None
    }

    fn on_notice(&self, _: Arc<Member>, _: Notice) -> HandlerOutcome {
        nothing()
    }

    /// Whether `on_disconnecting` does anything. Only then the rooms that a socket left are kept for it.
    fn has_on_disconnecting(&self) -> bool {
        false
    }

    fn on_disconnecting(&self, _: Arc<Member>, _: DisconnectReason) -> HandlerOutcome {
        nothing()
    }

    fn on_disconnect(&self, _: Arc<Member>, _: DisconnectReason) -> HandlerOutcome {
        nothing()
    }

    /// Whether `on_any_outgoing` does anything. Only then packets are decoded again for it.
    fn has_on_any_outgoing(&self) -> bool {
        false
    }

    fn on_any_outgoing<'a>(&'a self, _: Arc<Member>, _: &'a EmittedEvent) -> BoxFuture<'a, ()> {
        Box::pin(future::ready(()))
    }

    /// Whether `on_room` does anything. Only then changes of rooms are looked for.
    fn has_on_room(&self) -> bool {
        false
    }

    fn on_room(&self, _: Arc<LocalNamespace>, _: RoomEvent) -> BoxFuture<'static, ()> {
        Box::pin(future::ready(()))
    }

    /// Handles an event of another node; `None` if there is no handler for it.
    fn on_server_event(
        &self,
        _: Arc<LocalNamespace>,
        _: &EmittedEvent,
    ) -> Option<BoxFuture<'static, Result<RawArgs, EventError>>> {
        None
    }

    /// What other nodes are told about a socket's data.
    fn describe(&self, _: &(dyn Any + Send + Sync)) -> Value {
        Value::Null
    }

    /// Changes a socket's data; `None` if there is no handler for that.
    fn on_update(&self, _: &(dyn Any + Send + Sync), _: &RawArgs) -> Option<Result<(), ArgsError>> {
        None
    }

    /// Whether data can be carried to where a client comes back.
    fn carries_data(&self) -> bool {
        false
    }

    /// A socket's data as JSON, if they can be carried.
    fn save(&self, _: &(dyn Any + Send + Sync)) -> Option<Bytes> {
        None
    }

    /// The data that [`save`](Self::save) wrote.
    fn load(&self, _: &[u8]) -> Option<Data> {
        None
    }

    /// The client of a session did not come back.
    fn on_lost(&self, _: Arc<LocalNamespace>, _: SessionState) -> HandlerOutcome {
        nothing()
    }
}

/// How the handling of an event ended.
#[derive(Debug)]
pub(crate) enum Handled {
    /// This is the client's ack.
    Value(RawArgs),
    /// This is the client's ack, and is logged.
    Failed(EventError),
    /// Whoever has the ack answers, or nobody. An error is only logged.
    Taken(Result<(), EventError>),
    /// There is no handler for it. The client is told nothing.
    Unknown,
}

pub(crate) type HandlerOutcome = BoxFuture<'static, Result<(), EventError>>;

/// The outcome of a handler that the application did not give.
pub(crate) fn nothing() -> HandlerOutcome {
    Box::pin(future::ready(Ok(())))
}

/// The handlers of a namespace that this node does not serve.
pub(crate) struct NoHandlers;

impl ErasedHandlers for NoHandlers {}

impl Clone for Description {
    /// For another life of the node, which counts for itself.
    fn clone(&self) -> Self {
        let (paths, handlers, faults) = (self.paths.clone(), Arc::clone(&self.handlers), self.faults.clone());
        let recovery = self.recovery.clone();
        Self { paths, handlers, counters: NamespaceCounters::default(), recovery, faults }
    }
}

impl fmt::Debug for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Description").field("paths", &format_args!("{}", self.paths)).finish_non_exhaustive()
    }
}
