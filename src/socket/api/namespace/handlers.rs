//! The handlers that the application gave to a namespace, with their types.

use std::any::Any;
use std::collections::HashMap;
use std::future;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustc_hash::FxHashMap;
use serde_json::Value;

use super::super::ack::{Ack, AckSlot};
use super::super::incoming::Incoming;
use super::super::namespace_ref::NamespaceRef;
use super::super::socket::Socket;
use super::carried::{DataCodec, LostSession};
use crate::engine::{Packet, Transport};
use crate::socket::hub::{
    Admission, Admitted, BoxFuture, Data, DisconnectReason, ErasedHandlers, EventError, Handled,
    HandlerOutcome, Handshake, Lane, Limit, LocalNamespace, Login, Member, Notice, NoticeKind, Refusal,
    RoomEvent, nothing,
};
use crate::socket::messages::EmittedEvent;
use crate::socket::messages::recovery::SessionState;
use crate::socket::protocol::{ArgsError, Event, RawArgs};

type Outcome<T> = BoxFuture<'static, Result<T, EventError>>;

pub(super) type AdmitFn = Arc<dyn Fn(Handshake) -> BoxFuture<'static, Result<(), Refusal>> + Send + Sync>;
pub(super) type AuthFn<S> =
    Box<dyn Fn(Handshake) -> BoxFuture<'static, Result<Login<S>, Refusal>> + Send + Sync>;
pub(super) type ConnectFn<S> = Box<dyn Fn(Socket<S>) -> Outcome<()> + Send + Sync>;
/// The ack is one that middleware had in its hands, and may have put in the place of the client's.
pub(super) type EventFn<S> =
    Box<dyn Fn(Socket<S>, Event, Option<Ack>) -> BoxFuture<'static, Handled> + Send + Sync>;
/// As [`EventFn`]; an event that is none of its own goes on.
pub(super) type EventsFn<S> = Box<
    dyn Fn(Socket<S>, Event, Option<Ack>) -> ControlFlow<BoxFuture<'static, Handled>, Call<S>> + Send + Sync,
>;
type Call<S> = (Socket<S>, Event, Option<Ack>);
pub(super) type MiddlewareFn<S> = Box<dyn Fn(Socket<S>, Incoming) -> Outcome<Option<Incoming>> + Send + Sync>;
pub(super) type ObserveFn<S> =
    Box<dyn Fn(Socket<S>, String, RawArgs) -> BoxFuture<'static, ()> + Send + Sync>;
pub(super) type UpgradeFn<S> = Box<dyn Fn(Socket<S>, Transport) -> Outcome<()> + Send + Sync>;
pub(super) type PacketFn<S> = Box<dyn Fn(Socket<S>, Packet) -> Outcome<()> + Send + Sync>;
pub(super) type ExpiringFn<S> = Box<dyn Fn(Socket<S>, Duration) -> Outcome<()> + Send + Sync>;
pub(super) type DisconnectFn<S> = Box<dyn Fn(Socket<S>, DisconnectReason) -> Outcome<()> + Send + Sync>;
pub(super) type ServerEventFn = Box<dyn Fn(NamespaceRef, &EmittedEvent) -> Outcome<RawArgs> + Send + Sync>;
pub(super) type RoomFn = Box<dyn Fn(NamespaceRef, RoomEvent) -> BoxFuture<'static, ()> + Send + Sync>;
pub(super) type LostFn<S> = Box<dyn Fn(NamespaceRef, LostSession<S>) -> Outcome<()> + Send + Sync>;
pub(super) type DescribeFn<S> = Box<dyn Fn(&S) -> Value + Send + Sync>;
pub(super) type UpdateFn<S> = Box<dyn Fn(&S, &RawArgs) -> Result<(), ArgsError> + Send + Sync>;

/// The functions that the application gave to a namespace.
pub(super) struct Handlers<S> {
    pub(super) admit: Vec<AdmitFn>,
    pub(super) auth: Auth<S>,
    pub(super) on_connect: Option<ConnectFn<S>>,
    pub(super) on_any: Vec<ObserveFn<S>>,
    pub(super) middleware: Vec<MiddlewareFn<S>>,
    /// The names are those of the application: clients can only look for them.
    pub(super) on: FxHashMap<String, EventFn<S>>,
    pub(super) events: Option<EventsFn<S>>,
    pub(super) fallback: Option<EventFn<S>>,
    pub(super) lanes: Lanes,
    pub(super) on_upgrade: Option<UpgradeFn<S>>,
    pub(super) on_packet: Option<PacketFn<S>>,
    /// With how long before the end of a login it runs.
    pub(super) on_expiring: Option<(Duration, ExpiringFn<S>)>,
    pub(super) on_disconnecting: Option<DisconnectFn<S>>,
    pub(super) on_disconnect: Option<DisconnectFn<S>>,
    pub(super) on_any_outgoing: Vec<ObserveFn<S>>,
    pub(super) on_room: Option<RoomFn>,
    pub(super) on_server_event: HashMap<String, ServerEventFn>,
    pub(super) describe: Option<DescribeFn<S>>,
    pub(super) on_update: Option<UpdateFn<S>>,
    pub(super) limits: Vec<Limit>,
    pub(super) on_lost: Option<LostFn<S>>,
    /// How data travel, if they can.
    pub(super) codec: Option<DataCodec<S>>,
}

/// Which events are handled beside what comes after them.
#[derive(Default)]
pub(super) struct Lanes {
    /// The lane of all events without one of their own.
    pub(super) shared: Option<Lane>,
    pub(super) own: HashMap<String, Lane>,
}

pub(super) enum Auth<S> {
    Everybody(Arc<S>),
    Asked(AuthFn<S>),
}

impl Handlers<()> {
    pub(super) fn open() -> Self {
        Self { codec: Some(DataCodec::json()), ..Self::new(Vec::new(), Auth::Everybody(Arc::new(()))) }
    }
}

impl<S> Handlers<S> {
    pub(super) fn new(admit: Vec<AdmitFn>, auth: Auth<S>) -> Self {
        Self {
            admit,
            auth,
            on_connect: None,
            on_any: Vec::new(),
            middleware: Vec::new(),
            on: FxHashMap::default(),
            events: None,
            fallback: None,
            lanes: Lanes::default(),
            on_upgrade: None,
            on_packet: None,
            on_expiring: None,
            on_disconnecting: None,
            on_disconnect: None,
            on_any_outgoing: Vec::new(),
            on_room: None,
            on_server_event: HashMap::new(),
            describe: None,
            on_update: None,
            limits: Vec::new(),
            on_lost: None,
            codec: None,
        }
    }
}

impl<S: Send + Sync + 'static> Handlers<S> {
    /// Hands an event to its handler.
    fn dispatch(&self, socket: Socket<S>, event: Event, ack: Option<Ack>) -> BoxFuture<'static, Handled> {
        if let Some(handler) = self.on.get(&*event.name) {
            return handler(socket, event, ack);
        }
        let (socket, event, ack) = match &self.events {
            None => (socket, event, ack),
            Some(events) => match events(socket, event, ack) {
                ControlFlow::Break(handling) => return handling,
                ControlFlow::Continue(call) => call,
            },
        };
        match &self.fallback {
            Some(handler) => handler(socket, event, ack),
            None => Box::pin(future::ready(Handled::Unknown)),
        }
    }

    /// Hands an event to its handler by way of the middleware.
    async fn pass(&self, member: &Arc<Member>, socket: Socket<S>, event: Event) -> Handled {
        let ack = AckSlot::new(Ack::of(Arc::clone(member), &event));
        match self.checked(member, &socket, Incoming::new(event, ack.clone())).await {
            Ok(Some(event)) => {
                let (event, ack) = event.into_parts();
                self.dispatch(socket, event, Some(ack)).await
            }
            Ok(None) => Handled::Taken(Ok(())),
            Err(error) => ack.take().settle(Handled::Failed(error)),
        }
    }

    /// What the middleware makes of an event; `None` if it goes no further.
    async fn checked(
        &self,
        member: &Member,
        socket: &Socket<S>,
        mut event: Incoming,
    ) -> Result<Option<Incoming>, EventError> {
        for check in &self.middleware {
            check_not_kicked(member)?;
            match check(socket.clone(), event).await? {
                Some(passed) => event = passed,
                None => return Ok(None),
            }
        }
        check_not_kicked(member)?;
        Ok(Some(event))
    }
}

impl Lanes {
    fn is_empty(&self) -> bool {
        self.shared.is_none() && self.own.is_empty()
    }
}

impl<S: Send + Sync + 'static> ErasedHandlers for Handlers<S> {
    fn admit(&self, handshake: Handshake) -> Admission {
        let decision: BoxFuture<'static, Result<Admitted, Refusal>> = match &self.auth {
            Auth::Everybody(data) if self.admit.is_empty() => {
                return Admission::Open(Arc::clone(data) as Data);
            }
            Auth::Everybody(data) => Box::pin(future::ready(Ok((Arc::clone(data) as Data).into()))),
            Auth::Asked(auth) => {
                let decision = auth(handshake.clone());
                Box::pin(async move { Ok(decision.await?.begin()) })
            }
        };
        let checks = self.admit.clone();
        Admission::Deciding(Box::pin(async move {
            for check in checks {
                check(handshake.clone()).await?;
            }
            decision.await
        }))
    }

    fn on_connect(&self, member: Arc<Member>) -> HandlerOutcome {
        match (&self.on_connect, Socket::of(member)) {
            (Some(handler), Some(socket)) => handler(socket),
            _ => nothing(),
        }
    }

    fn knows(&self, event: &str) -> bool {
        self.on.contains_key(event)
    }

    fn on_event(&self, member: Arc<Member>, event: Event) -> BoxFuture<'_, Handled> {
        let Some(socket) = Socket::of(Arc::clone(&member)) else {
            return Box::pin(future::ready(Handled::Unknown));
        };
        if self.on_any.is_empty() && self.middleware.is_empty() {
            return self.dispatch(socket, event, None);
        }
        Box::pin(async move {
            for observe in &self.on_any {
                observe(socket.clone(), event.name.to_string(), event.args.clone()).await;
            }
            if !self.middleware.is_empty() {
                return self.pass(&member, socket, event).await;
            }
            match check_not_kicked(&member) {
                Ok(()) => self.dispatch(socket, event, None).await,
                Err(error) => Handled::Failed(error),
            }
        })
    }

    fn has_lanes(&self) -> bool {
        !self.lanes.is_empty()
    }

    fn lane(&self, event: &str) -> Option<Lane> {
        self.lanes.own.get(event).or(self.lanes.shared.as_ref()).copied()
    }

    fn limits(&self) -> &[Limit] {
        &self.limits
    }

    fn wants(&self, kind: NoticeKind) -> bool {
        match kind {
            NoticeKind::Upgrade => self.on_upgrade.is_some(),
            NoticeKind::Packet => self.on_packet.is_some(),
        }
    }

    fn on_notice(&self, member: Arc<Member>, notice: Notice) -> HandlerOutcome {
        let Some(socket) = Socket::of(member) else { return nothing() };
        match notice {
            Notice::Upgrade(to) => {
                self.on_upgrade.as_ref().map_or_else(nothing, |handler| handler(socket, to))
            }
            Notice::Packet(packet) => {
                self.on_packet.as_ref().map_or_else(nothing, |handler| handler(socket, packet))
            }
            Notice::Expiring(left) => {
                self.on_expiring.as_ref().map_or_else(nothing, |(_, handler)| handler(socket, left))
            }
        }
    }

    fn warns_before(&self) -> Option<Duration> {
        self.on_expiring.as_ref().map(|(before, _)| *before)
    }

    fn has_on_disconnecting(&self) -> bool {
        self.on_disconnecting.is_some()
    }

    fn on_disconnecting(&self, member: Arc<Member>, reason: DisconnectReason) -> HandlerOutcome {
        match (&self.on_disconnecting, Socket::of(member)) {
            (Some(handler), Some(socket)) => handler(socket, reason),
            _ => nothing(),
        }
    }

    fn on_disconnect(&self, member: Arc<Member>, reason: DisconnectReason) -> HandlerOutcome {
        match (&self.on_disconnect, Socket::of(member)) {
            (Some(handler), Some(socket)) => handler(socket, reason),
            _ => nothing(),
        }
    }

    fn has_on_any_outgoing(&self) -> bool {
        !self.on_any_outgoing.is_empty()
    }

    fn on_any_outgoing<'a>(&'a self, member: Arc<Member>, event: &'a EmittedEvent) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let Some(socket) = Socket::of(member) else { return };
            for observe in &self.on_any_outgoing {
                observe(socket.clone(), event.name.to_string(), event.args.clone()).await;
            }
        })
    }

    fn has_on_room(&self) -> bool {
        self.on_room.is_some()
    }

    fn on_room(&self, namespace: Arc<LocalNamespace>, event: RoomEvent) -> BoxFuture<'static, ()> {
        match &self.on_room {
            Some(handler) => handler(NamespaceRef(namespace), event),
            None => Box::pin(future::ready(())),
        }
    }

    fn on_server_event(
        &self,
        namespace: Arc<LocalNamespace>,
        event: &EmittedEvent,
    ) -> Option<Outcome<RawArgs>> {
        Some(self.on_server_event.get(&*event.name)?(NamespaceRef(namespace), event))
    }

    fn describe(&self, data: &(dyn Any + Send + Sync)) -> Value {
        match (&self.describe, data.downcast_ref()) {
            (Some(describe), Some(data)) => describe(data),
            _ => Value::Null,
        }
    }

    fn on_update(&self, data: &(dyn Any + Send + Sync), update: &RawArgs) -> Option<Result<(), ArgsError>> {
        Some(self.on_update.as_ref()?(data.downcast_ref()?, update))
    }

    fn carries_data(&self) -> bool {
        self.codec.is_some()
    }

    fn save(&self, data: &(dyn Any + Send + Sync)) -> Option<Bytes> {
        (self.codec.as_ref()?.save)(data.downcast_ref()?)
    }

    fn load(&self, json: &[u8]) -> Option<Data> {
        Some(Arc::new((self.codec.as_ref()?.load)(json)?))
    }

    fn on_lost(&self, namespace: Arc<LocalNamespace>, state: SessionState) -> HandlerOutcome {
        let Some(handler) = &self.on_lost else { return nothing() };
        let data = self.codec.as_ref().and_then(|codec| (codec.load)(&state.data)).map(Arc::new);
        handler(NamespaceRef(namespace), LostSession::new(state, data))
    }
}

/// Fails if the server disconnected the socket while its event was on the way to the handler.
fn check_not_kicked(member: &Member) -> Result<(), EventError> {
    match member.was_kicked() {
        true => Err(EventError::new("disconnected", "the server disconnected the socket")),
        false => Ok(()),
    }
}
