//! Many sockets to emit to, on every node.

use std::borrow::Cow;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::socket::hub::LocalNamespace;
use crate::socket::messages::{Broadcast, Flags, Request, RequestKind, Responses, Selection};
use crate::socket::protocol::{EncodeError, IntoArgs, encode, encode_event};
use crate::socket::room::{IntoRooms, add_rooms};
use crate::trace::Span;

/// Selected sockets of a namespace, on every node: what [`Socket::to`](super::Socket::to) and
/// [`NamespaceRef::to`](super::NamespaceRef::to) return. Node: `BroadcastOperator`.
///
/// Selected are the sockets in any of the rooms (all of the namespace if no room was named), each once, minus those in an
/// excepted room. The node of a socket looks the rooms up when the packet gets there.
///
/// A packet is delivered at most once. Packets from one node reach each socket in the order in which they were emitted,
/// those of [`Socket::emit`](super::Socket::emit) and of every kind of broadcast alike.
///
/// A target is a value: it may be kept, and emitted to as often as one likes. Each time it reaches who is in the rooms then.
///
/// ```
/// # fn f(socket: socketmesh::Socket) -> socketmesh::Result<()> {
/// let painters = socket.to(["blue", "red"]).except("muted");
/// painters.emit("paint", "now")?;
/// painters.send("and here is how")?; // Node: an event named "message"
/// painters.join("busy");
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
#[must_use = "a target does nothing until something is emitted to it"]
pub struct Target {
    pub(super) namespace: Arc<LocalNamespace>,
    pub(super) selection: Selection,
    pub(super) flags: Flags,
    pub(super) local: bool,
    pub(super) with_handshake: bool,
    pub(super) timeout: Duration,
}

impl Target {
    pub(crate) fn new(namespace: Arc<LocalNamespace>) -> Self {
        let (selection, flags) = (Selection::default(), Flags::default());
        Self { namespace, selection, flags, local: false, with_handshake: false, timeout: REQUEST_TIMEOUT }
    }

    /// Adds the sockets in a room, or in any of several. The id of a socket names a room, which that socket is always in.
    ///
    /// As in Node, an empty list adds no room, and a target without any is everybody.
    pub fn to(mut self, rooms: impl IntoRooms) -> Self {
        add_rooms(&mut self.selection.rooms, rooms);
        self
    }

    /// Leaves out the sockets in a room, or in any of several.
    pub fn except(mut self, rooms: impl IntoRooms) -> Self {
        add_rooms(&mut self.selection.except, rooms);
        self
    }

    /// Selects only sockets of this node. Nothing is sent to other nodes.
    pub fn local(mut self) -> Self {
        self.local = true;
        self
    }

    /// Lets the packet be dropped for clients that cannot take it at once: one that polls and has no pending request, or
    /// whose WebSocket is still writing. It may also be dropped on the way to a node that cannot take it at once.
    pub fn volatile(mut self) -> Self {
        self.flags.volatile = true;
        self
    }

    /// With `false`, does not compress the packet on its way to clients, on any node: for data that is compressed already. It
    /// matters where compression is on ([`engine::Config`](crate::engine::Config)). Node:
    /// `compress(false)`.
    ///
    /// ```
    /// # fn f(socket: socketmesh::Socket, jpeg: bytes::Bytes) -> socketmesh::Result<()> {
    /// socket.to("gallery").compress(false).emit("picture", &jpeg)?;
    /// # Ok(()) }
    /// ```
    pub fn compress(mut self, compress: bool) -> Self {
        self.flags.compress = compress;
        self
    }

    /// Sets how long to wait for acks, or for the responses of other nodes. The default is 5 seconds; `None` waits as long as it
    /// takes. A socket that disconnects and a node that leaves the cluster are not waited for.
    ///
    /// While an ack is awaited, every node that sent the event remembers it, at most 10,000 for each socket. So `None` is for
    /// clients that are sure to answer, or for a caller that gives up by itself: dropping the future ends it on every node.
    pub fn timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.timeout = timeout.into().unwrap_or(Duration::MAX);
        self
    }

    /// Sends an event to the selected sockets. It does not block. Other nodes get it in the order of emits; it is dropped for
    /// a node that is not reachable for too long.
    ///
    /// # Errors
    ///
    /// [`EncodeError`] if `args` cannot be written as JSON, has more than 10 attachments, or `event` is reserved. In a cluster
    /// also if the event is too large for other nodes ([`EncodeError::TooLarge`]), unless it is for this node
    /// [alone](Self::local). Nobody gets it then, on no node.
    pub fn emit<A: IntoArgs + ?Sized>(&self, event: &str, args: &A) -> Result<(), EncodeError> {
        let encoded = encode::event(&self.namespace.path, None, event, args)?;
        let span = Span::emit(&self.namespace.path, event);
        let _within = span.enter();
        let broadcast = Broadcast {
            namespace: Arc::clone(&self.namespace.path),
            selection: Cow::Borrowed(&self.selection),
            text: encoded.text,
            attachments: encoded.attachments,
            flags: self.flags,
            number: None,
        };
        if !self.local {
            self.namespace.check_size(broadcast.size())?;
        }
        self.namespace.emit(broadcast, !self.local);
        Ok(())
    }

    /// Sends the event `message`: `send(x)` is `emit("message", x)`.
    ///
    /// # Errors
    ///
    /// As [`Target::emit`].
    pub fn send<A: IntoArgs + ?Sized>(&self, args: &A) -> Result<(), EncodeError> {
        self.emit(MESSAGE, args)
    }

    /// Sends a typed event: the variant of `event` is its name, the content its arguments.
    ///
    /// # Errors
    ///
    /// As [`Target::emit`]; also if `E` is not an enum.
    pub fn emit_event<E: serde::Serialize + ?Sized>(&self, event: &E) -> Result<(), EncodeError> {
        let (name, args) = encode_event(event)?;
        self.emit(name, &args)
    }

    /// The request to the other nodes about the selected sockets.
    pub(super) fn request(&self, kind: RequestKind) -> Request {
        Request {
            namespace: Arc::clone(&self.namespace.path),
            selection: self.selection.clone(),
            kind,
            timeout: self.timeout,
        }
    }

    /// As [`request`](Self::request), for an event that this node's sockets or the other nodes get.
    ///
    /// # Errors
    ///
    /// When the event is too large. Nobody must get it then.
    pub(super) fn event_request(&self, kind: RequestKind) -> Result<Request, EncodeError> {
        let request = self.request(kind);
        if !self.local {
            self.namespace.check_size(request.size())?;
        }
        Ok(request)
    }

    /// Sends a request to the other nodes, before it returns.
    pub(super) fn ask(&self, request: Request) -> Pin<Box<dyn Future<Output = Responses> + Send + '_>> {
        if self.local {
            return Box::pin(std::future::ready(Responses::default()));
        }
        self.namespace.peers().request(request)
    }
}

/// The event that `send` emits.
pub(super) const MESSAGE: &str = "message";
/// How long acks of many sockets and the responses of other nodes may take unless said otherwise. Node's adapters wait as
/// long.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
