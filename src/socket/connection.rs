//! One client: connects, demultiplexes and disconnects its sockets. It runs in the place of the actor of the session.
//!
//! A CONNECT is handled in this order (protocol v5): the packet is decoded; the namespace's `admit` and `auth` decide in
//! a task of their own; the CONNECT reply is written; the namespace gets the socket; its handlers run. Events that arrive
//! while `auth` decides wait for their handlers. Clients of Engine.IO 3 (protocol v4) are in the main namespace without
//! asking for it.

use std::fmt;
use std::sync::Arc;

use bytestring::ByteString;
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep_until};
use tokio_util::task::AbortOnDropHandle;

use super::config::Config;
use super::hub::{
    Admission, Admitted, Backlog, Claimed, ClientPaces, ClientSession, ConnectionCommand, DisconnectReason,
    Due, Entry, Handshake, LifeStage, LocalNamespace, MOMENT, Member, NamespaceRegistry, Notice, NoticeKind,
    Refusal, Returning, SocketDecision, SocketOfClient,
};
use super::messages::Flags;
use super::protocol::{Packet, PacketDecoder, PacketError, PacketLimits, encode};
use crate::catch_panic;
use crate::engine::{self, CloseReason, Message, Protocol, Transport, Work};
use crate::excerpt::Excerpt;
use crate::id::{Key, SocketId};
use crate::random::{self, RandomError};
use crate::trace::Trace;

/// What the connections of a node share.
pub(crate) struct Clients {
    pub(crate) registry: Arc<NamespaceRegistry>,
    pub(crate) config: Config,
    /// Gives the ring key of each new socket: one that this node owns.
    pub(crate) mint: Box<dyn Fn() -> Key + Send + Sync>,
}

impl Clients {
    fn new_socket_id(&self) -> Result<SocketId, RandomError> {
        Ok(SocketId::new((self.mint)(), random::bytes()?))
    }
}

impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clients").finish_non_exhaustive()
    }
}

/// The sockets of one session.
///
/// It is run by the engine. Applications see [`Socket`](super::Socket)s.
pub struct Connection {
    session: ClientSession,
    clients: Arc<Clients>,
    decoder: PacketDecoder,
    /// What waits for the handlers of all of its sockets.
    backlog: Arc<Backlog>,
    /// What it sent to namespaces with limits.
    paces: ClientPaces,
    /// One entry for each namespace that the client is in or wants to enter. `None` stands for a socket that the server
    /// kicked: what the client sent before it knew is ignored.
    sockets: Vec<(ByteString, Option<Arc<Member>>)>,
    phase: ConnectionPhase,
    /// When the attachments of the pending packet must have come.
    attachments_by: Option<Instant>,
    /// When something of a login of its sockets is due, at the earliest.
    logins_by: Option<Instant>,
    /// Calls of handlers, for whoever brought what they are called for.
    calls: Option<Work>,
}

/// What the session of a client is there for.
#[derive(Debug, Clone, Copy)]
enum ConnectionPhase {
    /// The client has not been in any namespace, and must have entered one by then.
    Joining { by: Option<Instant> },
    /// The client has been in a namespace.
    Joined,
    /// The server closes the session. What the client still sends is ignored.
    Closing,
}

/// What a packet finds in its namespace.
enum Presence<'a> {
    Connecting(&'a Arc<Member>),
    Connected(&'a Arc<Member>),
    /// The server disconnected the socket.
    Kicked,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("sockets", &self.sockets).finish_non_exhaustive()
    }
}

impl Connection {
    pub(crate) fn new(session: ClientSession, clients: Arc<Clients>, now: Instant) -> Self {
        let Config { parser, max_attachments, max_pending_bytes, connect_timeout, .. } = clients.config;
        let mut connection = Self {
            session,
            clients,
            decoder: PacketDecoder::new(parser, PacketLimits { max_attachments, max_pending_bytes }),
            backlog: Arc::default(),
            paces: ClientPaces::default(),
            sockets: Vec::new(),
            phase: ConnectionPhase::Joining { by: now.checked_add(connect_timeout) },
            attachments_by: None,
            logins_by: None,
            calls: None,
        };
        if connection.protocol() == Protocol::V3 {
            connection.enter_main();
        }
        connection
    }

    fn protocol(&self) -> Protocol {
        self.session.handshake().protocol()
    }

    /// Lets a client of Engine.IO 3 into the main namespace if this node serves it. A refusal would reach every namespace
    /// of such a client, so it is not told of one that there is not.
    fn enter_main(&mut self) {
        let main = ByteString::from_static("/");
        if self.clients.registry.serves(&main) {
            self.ask(main, None);
        }
    }

    fn message(&mut self, message: Message) -> Result<(), ProtocolViolation> {
        let packet = match message {
            Message::Text(text) => self.decoder.text(&text)?,
            Message::Binary(data) => self.decoder.binary(data)?,
        };
        self.attachments_by = match self.attachments_by {
            _ if !self.decoder.is_pending() => None,
            None => Some(Instant::now() + self.clients.config.attachment_timeout),
            running => running,
        };
        packet.map_or(Ok(()), |packet| self.packet(packet))
    }

    fn packet(&mut self, mut packet: Packet) -> Result<(), ProtocolViolation> {
        if self.protocol() == Protocol::V3 {
            packet.split_query();
        }
        match packet {
            Packet::Connect { ns, auth } => self.connect(ns, auth),
            Packet::Event { ns, event } => {
                if let Presence::Connecting(member) | Presence::Connected(member) = found(&self.sockets, &ns)?
                {
                    let calls = member.receive(event, &mut self.paces);
                    self.call(calls);
                }
                Ok(())
            }
            Packet::Ack { ns, id, args } => {
                if let Presence::Connected(member) = self.presence(&ns)? {
                    member.receive_ack(id, args);
                }
                Ok(())
            }
            Packet::Disconnect { ns } => {
                let index = self.index(&ns).ok_or(ProtocolViolation::State)?;
                // One that is still connecting is dropped, which ends the decision.
                if let (_, Some(member)) = self.sockets.swap_remove(index) {
                    member.disconnect(DisconnectReason::ClientNamespaceDisconnect);
                }
                Ok(())
            }
            Packet::ConnectError { .. } => Err(ProtocolViolation::State),
            Packet::Nothing { ns } => self.presence(&ns).map(drop),
        }
    }

    fn connect(&mut self, ns: ByteString, auth: Option<ByteString>) -> Result<(), ProtocolViolation> {
        if let Some(index) = self.index(&ns) {
            match self.presence(&ns)? {
                Presence::Kicked => drop(self.sockets.swap_remove(index)),
                Presence::Connected(member) if member.expires() => {
                    let member = Arc::clone(member);
                    self.ask_again(&member, auth);
                    return Ok(());
                }
                Presence::Connecting(_) | Presence::Connected(_) => return Err(ProtocolViolation::State),
            }
        }
        self.ask(ns, auth);
        Ok(())
    }

    fn ask(&mut self, ns: ByteString, auth: Option<ByteString>) {
        if !self.has_room() {
            return self.refuse(&ns, &Refusal::new("too many namespaces"));
        }
        let Some(namespace) = self.clients.registry.enter(&ns) else {
            return self.refuse(&ns, &Refusal::invalid_namespace(self.session.handshake().protocol()));
        };
        // Copies: a socket lives much longer than the message it came in.
        let (ns, auth) = (ByteString::from(&*ns), auth.map(|auth| ByteString::from(&*auth)));
        let trace = Trace::of_auth(auth.as_deref());
        let path = Arc::clone(&namespace.path);
        let handshake = Handshake::new(path, Arc::clone(self.session.handshake()), auth);
        match self.clients.new_socket_id() {
            Ok(id) => self.decide(ns, id, namespace, handshake, trace),
            Err(_) => self.refuse(&ns, &Refusal::new("internal error")),
        }
    }

    /// Whether the client may enter one more namespace. An entry of a kicked socket gives way to it.
    fn has_room(&mut self) -> bool {
        if self.sockets.len() < self.clients.config.max_namespaces {
            return true;
        }
        let kicked = self.sockets.iter().position(|(_, member)| presence(member).is_kicked());
        kicked.map(|index| self.sockets.swap_remove(index)).is_some()
    }

    fn decide(
        &mut self,
        ns: ByteString,
        id: SocketId,
        namespace: Arc<LocalNamespace>,
        handshake: Handshake,
        trace: Trace,
    ) {
        let within = trace.or_current();
        let _within = within.enter();
        let admission = self.clients.registry.admit(&namespace, handshake.clone());
        // Of a namespace that is not described yet it is not known whether clients may come back.
        let may_return = namespace.records().is_some() || namespace.description().is_none();
        let returning = if may_return { Returning::of(&handshake) } else { None };
        let (session, backlog) = (self.session.clone(), Arc::clone(&self.backlog));
        let member = Member::new(id, Arc::clone(&namespace), session, backlog, handshake, trace);
        self.insert(ns, Arc::clone(&member));
        match (admission, returning) {
            (Admission::Open(data), None) => self.admit(&member, data.into()),
            (admission, returning) => {
                let (session, registry) = (self.session.clone(), Arc::clone(&self.clients.registry));
                let task = tokio::spawn(async move {
                    let decision = registry.enter_again(&namespace, admission, returning);
                    // A panic in the application's `auth` must not leave the client waiting.
                    let outcome = within
                        .scope(catch_panic::future(decision))
                        .await
                        .unwrap_or_else(|| Err(Refusal::new("internal error")));
                    let decided = match outcome {
                        Ok(Entry::Back(claimed, admitted)) => {
                            SocketDecision::Recovery { socket: id, claimed, admitted, trace: within }
                        }
                        Ok(Entry::New(admitted)) => {
                            SocketDecision::Admission { socket: id, outcome: Ok(admitted), trace: within }
                        }
                        Err(refusal) => {
                            SocketDecision::Admission { socket: id, outcome: Err(refusal), trace: within }
                        }
                    };
                    session.command_now(ConnectionCommand(decided));
                });
                member.set_decision(AbortOnDropHandle::new(task));
            }
        }
    }

    /// Decides about a client that is in the namespace and sends another CONNECT, because its login ends. One at a time.
    fn ask_again(&self, member: &Arc<Member>, auth: Option<ByteString>) {
        let handshake = member.handshake.with_auth(auth.map(|auth| ByteString::from(&*auth)));
        let admission = self.clients.registry.admit(&member.namespace, handshake);
        let (socket, session) = (member.id, self.session.clone());
        let task = tokio::spawn(async move {
            let outcome = catch_panic::future(admission.decided()).await;
            let outcome = outcome.unwrap_or_else(|| Err(Refusal::new("internal error")));
            session.command_now(ConnectionCommand(SocketDecision::Renewal { socket, outcome }));
        });
        member.set_renewal(AbortOnDropHandle::new(task));
    }

    /// A client whose user is blocked. If that is over in a moment, the user was only disconnected: the client waits, as its connection
    /// would not be tried again by itself, and is asked once more who it is.
    fn shut_out(&mut self, member: &Arc<Member>, until: Instant) {
        if until.saturating_duration_since(Instant::now()) > MOMENT {
            return self.turn_away(member.id, &Refusal::new("blocked"));
        }
        let (registry, namespace) = (Arc::clone(&self.clients.registry), Arc::clone(&member.namespace));
        let (socket, session, handshake) = (member.id, self.session.clone(), member.handshake.clone());
        let trace = Trace::current();
        let task = tokio::spawn(async move {
            sleep_until(until).await;
            let decision = async { registry.admit(&namespace, handshake).decided().await };
            let outcome = trace.scope(catch_panic::future(decision)).await;
            let outcome = outcome.unwrap_or_else(|| Err(Refusal::new("internal error")));
            session.command_now(ConnectionCommand(SocketDecision::Admission { socket, outcome, trace }));
        });
        member.set_decision(AbortOnDropHandle::new(task));
    }

    fn turn_away(&mut self, id: SocketId, refusal: &Refusal) {
        let is_it = |member: &Arc<Member>| member.id == id;
        let found = self.sockets.iter().position(|(_, member)| member.as_ref().is_some_and(is_it));
        let Some(index) = found else { return };
        let (ns, _) = self.sockets.swap_remove(index);
        let message = Excerpt::reason(refusal.message());
        tracing::debug!(ns = %Excerpt::name(&ns), refusal = %message, "a client was refused");
        self.refuse(&ns, refusal);
    }

    /// The answer to a CONNECT that renews a login. A client that is refused is out: it does not expect anything else.
    fn renewed(&mut self, id: SocketId, outcome: Result<Admitted, Refusal>) {
        let is_it = |member: &Arc<Member>| member.id == id && member.is_connected();
        let found = self.sockets.iter().position(|(_, member)| member.as_ref().is_some_and(is_it));
        let Some(index) = found else { return };
        match outcome {
            Ok(admitted) => {
                let member = self.sockets.get(index).and_then(|(_, member)| member.clone());
                if let Some(member) = member.filter(|member| member.renew(admitted)) {
                    member.write_connect(member.pid().map(|pid| pid.0));
                }
                self.note_logins();
            }
            Err(refusal) => {
                let (ns, member) = self.sockets.swap_remove(index);
                if member.is_some_and(|member| member.disconnect(DisconnectReason::LoginExpired)) {
                    self.refuse(&ns, &refusal);
                }
            }
        }
    }

    /// Looks when something of a login is due.
    fn note_logins(&mut self) {
        let members = self.sockets.iter().filter_map(|(_, member)| member.as_ref());
        self.logins_by = members.filter_map(|member| member.login_deadline()).min();
    }

    /// Warns sockets whose login ends, and disconnects those whose login has ended.
    fn end_logins(&mut self, now: Instant) {
        let mut warned = Vec::new();
        for (_, entry) in &mut self.sockets {
            let due = entry.as_ref().and_then(|member| member.login_due(now));
            match (due, &*entry) {
                (Some(Due::Warning(left)), Some(member)) => {
                    warned.extend(member.receive_notice(Notice::Expiring(left)));
                }
                (Some(Due::End), Some(member)) => {
                    if member.disconnect(DisconnectReason::LoginExpired) {
                        member.write(&encode::disconnect(&member.namespace.path), Flags::default());
                    }
                    *entry = None;
                }
                _ => {}
            }
        }
        warned.into_iter().for_each(|calls| self.call(Some(calls)));
        self.note_logins();
    }

    /// A socket about which it is being decided. The client may have gone away, or given up on this namespace.
    fn connecting(&self, id: SocketId) -> Option<Arc<Member>> {
        let mut members = self.sockets.iter().filter_map(|(_, member)| member.as_ref());
        members.find(|member| member.id == id && member.stage() == LifeStage::Connecting).cloned()
    }

    fn decided(&mut self, id: SocketId, outcome: Result<Admitted, Refusal>) {
        let Some(member) = self.connecting(id) else { return };
        let admitted = match outcome {
            Ok(admitted) => admitted,
            Err(refusal) => return self.turn_away(id, &refusal),
        };
        let (users, now) = (member.namespace.users(), Instant::now());
        match admitted.user.as_deref().and_then(|user| users.blocked_until(user, now)) {
            None => self.admit(&member, admitted),
            Some(until) => self.shut_out(&member, until),
        }
    }

    /// The client is back at the socket that it had before.
    fn recovered(&mut self, id: SocketId, claimed: Claimed, admitted: Admitted) {
        // If the client is gone, it may come again: the session is given back.
        let Some(connecting) = self.connecting(id) else { return };
        // A block that nobody could tell the session of: it was on its way here.
        let (users, now) = (connecting.namespace.users(), Instant::now());
        let logins = || [&claimed.state.user, &admitted.user].into_iter().flatten();
        if logins().any(|user| users.was_blocked(user, claimed.began, now)) {
            let until = logins().filter_map(|user| users.blocked_until(user, now)).max();
            self.clients.registry.refuse(claimed);
            return self.shut_out(&connecting, until.unwrap_or(now));
        }
        let member = connecting.recovered(claimed.state.socket);
        let entries = self.sockets.iter_mut().filter_map(|(_, entry)| entry.as_mut());
        entries.filter(|entry| entry.id == id).for_each(|entry| *entry = Arc::clone(&member));
        if let ConnectionPhase::Joining { .. } = self.phase {
            self.phase = ConnectionPhase::Joined;
        }
        let calls = member.readmit(admitted, claimed);
        self.call(calls);
        self.note_logins();
    }

    fn admit(&mut self, member: &Arc<Member>, admitted: Admitted) {
        if let ConnectionPhase::Joining { .. } = self.phase {
            self.phase = ConnectionPhase::Joined;
        }
        let expires = admitted.until.is_some();
        let calls = member.admit(admitted);
        self.call(calls);
        if expires {
            self.note_logins();
        }
    }

    /// Leaves calls of handlers to whoever brought what they are called for. Those of another socket get a task.
    fn call(&mut self, calls: Option<Work>) {
        if calls.is_some() {
            let others = std::mem::replace(&mut self.calls, calls);
            others.into_iter().for_each(|others| drop(tokio::spawn(others)));
        }
    }

    /// Tells the sockets whose namespace wants to know.
    fn notify(&mut self, kind: NoticeKind, notice: impl Fn() -> Notice) {
        let wants = |member: &&Arc<Member>| member.namespace.handlers().wants(kind);
        let members = self.sockets.iter().filter_map(|(_, member)| member.as_ref());
        let told: Vec<_> =
            members.filter(wants).filter_map(|member| member.receive_notice(notice())).collect();
        told.into_iter().for_each(|calls| self.call(Some(calls)));
    }

    /// The sockets that are connected.
    fn connected(&self) -> Vec<SocketOfClient> {
        let members = self.sockets.iter().filter_map(|(_, member)| member.as_ref());
        let connected = members.filter(|member| member.is_connected()).map(|member| SocketOfClient {
            namespace: Arc::clone(&member.namespace.path),
            id: member.id,
            member: Arc::clone(member) as _,
        });
        connected.collect()
    }

    fn kicked(&mut self, id: SocketId, close: bool) {
        for (_, member) in &mut self.sockets {
            member.take_if(|member| member.id == id);
        }
        if close {
            for member in std::mem::take(&mut self.sockets).into_iter().filter_map(|(_, member)| member) {
                if member.disconnect(DisconnectReason::ServerNamespaceDisconnect) {
                    member.write(&encode::disconnect(&member.namespace.path), Flags::default());
                }
            }
            self.close(DisconnectReason::ServerNamespaceDisconnect);
        }
    }

    /// Most clients use one namespace, so memory for more is allocated only when it is needed.
    fn insert(&mut self, ns: ByteString, member: Arc<Member>) {
        if self.sockets.is_empty() {
            self.sockets.reserve_exact(1);
        }
        self.sockets.push((ns, Some(member)));
    }

    fn refuse(&self, ns: &str, refusal: &Refusal) {
        let packet = encode::connect_error(ns, refusal.message(), refusal.data(), self.protocol());
        let frames = self.clients.config.parser.frames(&packet.text, &packet.attachments, true);
        self.session.send(&frames, false);
    }

    /// Closes the session because of what the client sent, or did not send.
    fn close(&mut self, reason: DisconnectReason) {
        self.phase = ConnectionPhase::Closing;
        self.attachments_by = None;
        self.disconnect_all(reason);
        self.session.close();
    }

    fn disconnect_all(&mut self, reason: DisconnectReason) {
        for member in self.sockets.drain(..).filter_map(|(_, member)| member) {
            member.disconnect(reason);
        }
    }

    fn join_by(&self) -> Option<Instant> {
        match self.phase {
            ConnectionPhase::Joining { by } => by,
            ConnectionPhase::Joined | ConnectionPhase::Closing => None,
        }
    }

    fn index(&self, ns: &str) -> Option<usize> {
        self.sockets.iter().position(|(name, _)| name == ns)
    }

    fn presence(&self, ns: &str) -> Result<Presence<'_>, ProtocolViolation> {
        found(&self.sockets, ns)
    }
}

fn found<'a>(
    sockets: &'a [(ByteString, Option<Arc<Member>>)],
    ns: &str,
) -> Result<Presence<'a>, ProtocolViolation> {
    let found = sockets.iter().find(|(name, _)| name == ns);
    found.map(|(_, member)| presence(member)).ok_or(ProtocolViolation::State)
}

/// A socket that the server disconnected is kicked at once: the client may know, and come back, before the command to
/// remove the socket is here.
fn presence(member: &Option<Arc<Member>>) -> Presence<'_> {
    let Some(member) = member else { return Presence::Kicked };
    match member.stage() {
        LifeStage::Connecting => Presence::Connecting(member),
        LifeStage::Connected => Presence::Connected(member),
        LifeStage::Left => Presence::Kicked,
    }
}

impl Presence<'_> {
    const fn is_kicked(&self) -> bool {
        matches!(self, Self::Kicked)
    }
}

impl Drop for Connection {
    /// The session is closed, its actor failed, or the node was dropped. No socket may stay behind, and none of its calls.
    fn drop(&mut self) {
        self.disconnect_all(DisconnectReason::TransportError);
        if let (Some(calls), Ok(runtime)) = (self.calls.take(), Handle::try_current()) {
            runtime.spawn(calls);
        }
    }
}

impl engine::Client for Connection {
    type Command = ConnectionCommand;

    fn handle_message(&mut self, message: Message) {
        if let ConnectionPhase::Closing = self.phase {
            return;
        }
        if let Err(violation) = self.message(message) {
            tracing::debug!(%violation, "a client broke the protocol: its session is closed");
            self.close(DisconnectReason::ForcedClose);
        }
    }

    fn handle_upgrade(&mut self, to: Transport) {
        self.notify(NoticeKind::Upgrade, || Notice::Upgrade(to));
    }

    fn sees_packets(&self) -> bool {
        self.clients.registry.sees_packets()
    }

    fn handle_packet(&mut self, packet: &engine::Packet) {
        self.notify(NoticeKind::Packet, || Notice::Packet(packet.clone()));
    }

    fn take_work(&mut self) -> Option<Work> {
        self.calls.take()
    }

    fn is_recoverable(&self) -> bool {
        let kept = |member: &Option<Arc<Member>>| member.as_ref().is_some_and(|member| member.is_kept());
        !self.sockets.is_empty() && self.sockets.iter().all(|(_, member)| kept(member))
    }

    fn handle_command(&mut self, ConnectionCommand(decision): ConnectionCommand) {
        match decision {
            SocketDecision::Admission { socket, outcome, trace } => {
                let _within = trace.enter();
                self.decided(socket, outcome);
            }
            SocketDecision::Recovery { socket, claimed, admitted, trace } => {
                let _within = trace.enter();
                self.recovered(socket, *claimed, admitted);
            }
            SocketDecision::Renewal { socket, outcome } => self.renewed(socket, outcome),
            SocketDecision::Renewed => self.note_logins(),
            SocketDecision::Kicked { socket, close } => self.kicked(socket, close),
            // Who asked may have stopped to wait.
            SocketDecision::Asked(asking) => drop(asking.send(self.connected())),
        }
    }

    fn next_timeout(&self) -> Option<Instant> {
        self.join_by().into_iter().chain(self.attachments_by).chain(self.logins_by).min()
    }

    fn handle_timeout(&mut self, now: Instant) {
        if self.join_by().is_some_and(|at| at <= now) {
            tracing::debug!("a client joined no namespace in time: its session is closed");
            self.close(DisconnectReason::ForcedServerClose);
        } else if self.attachments_by.is_some_and(|at| at <= now) {
            tracing::debug!("a client did not complete a packet in time: its session is closed");
            self.close(DisconnectReason::ForcedClose);
        }
        if self.logins_by.is_some_and(|at| at <= now) {
            self.end_logins(now);
        }
    }

    /// Acks and pongs are read past a backlog of events, up to its second limit.
    fn is_busy(&self, awaited: bool) -> bool {
        let awaits_acks = |member: &Arc<Member>| member.awaits_acks();
        let mut members = self.sockets.iter().filter_map(|(_, member)| member.as_ref());
        self.backlog.is_over_limit() || (self.backlog.is_full() && !awaited && !members.any(awaits_acks))
    }

    fn handle_close(mut self, reason: CloseReason) {
        self.disconnect_all(reason.into());
    }
}

/// What a client must not do. Its session is closed.
#[derive(Debug, thiserror::Error)]
enum ProtocolViolation {
    #[error(transparent)]
    Packet(#[from] PacketError),
    /// A packet for a namespace that it is not in, or CONNECT for one that it is in.
    #[error("a packet that the state of the client does not allow")]
    State,
}
