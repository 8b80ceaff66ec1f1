//! Many sockets to emit to, on every node.

use std::sync::Arc;
use std::time::Duration;

use super::answering::REQUEST_TIMEOUT;
use super::args::{IntoArgs, RawArgs, encode_event};
use super::error::EncodeError;
use super::messages::{Broadcast, Flags, Room, Selection};
use super::packet::{self, Encoded};
use super::state::NamespaceState;

/// Sockets of a namespace, by room, on every node: what [`Socket::to`](super::Socket::to) and
/// [`NamespaceRef::to`](super::NamespaceRef::to) return. Node: `BroadcastOperator`.
///
/// The sockets that get a packet are those in any of the rooms (all of the namespace if no room was named), each once,
/// minus those in an excepted room. Rooms are evaluated on the node that owns the socket, when the packet gets there.
///
/// Delivery is at most once. Packets from one node reach each socket in the order in which they were emitted, also
/// among [`Socket::emit`](super::Socket::emit) and every kind of broadcast.
///
/// ```
/// # fn f(socket: socketmesh::Socket) -> socketmesh::Result<()> {
/// socket.to("blue").to("red").except("muted").emit("paint", &"now")?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
#[must_use = "a target does nothing until something is emitted to it"]
pub struct Target {
    pub(super) namespace: Arc<NamespaceState>,
    pub(super) selection: Selection,
    pub(super) flags: Flags,
    pub(super) local: bool,
    pub(super) timeout: Duration,
}

impl Target {
    pub(crate) fn new(namespace: Arc<NamespaceState>) -> Self {
        let selection = Selection::default();
        Self { namespace, selection, flags: Flags::default(), local: false, timeout: REQUEST_TIMEOUT }
    }

    /// Adds the members of a room. A socket's id is the name of a room that only it is in.
    pub fn to(mut self, room: impl AsRef<str>) -> Self {
        self.selection.rooms.push(Room::from(room.as_ref()));
        self
    }

    /// Leaves out the members of a room.
    pub fn except(mut self, room: impl AsRef<str>) -> Self {
        self.selection.except.push(Room::from(room.as_ref()));
        self
    }

    /// Only sockets of this node: no other node is told or asked.
    pub fn local(mut self) -> Self {
        self.local = true;
        self
    }

    /// The packet may be dropped for sockets that cannot take it at once: a polling client without a pending request,
    /// a WebSocket that is still writing.
    pub fn volatile(mut self) -> Self {
        self.flags.volatile = true;
        self
    }

    /// With `false` the packet is not compressed on its way to clients, on whichever node they are: for what is
    /// compressed already. It matters where compression is on ([`engine::Config`](crate::engine::Config)). Node:
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

    /// How long to wait for acks, or for the answers of other nodes; 5 seconds unless said otherwise. A node that
    /// leaves is not waited for.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sends an event to the selected sockets. Never blocks; the other nodes get it in the order of emits.
    ///
    /// # Errors
    ///
    /// [`EncodeError`] if `args` cannot be written as JSON, has more than 10 attachments, or `event` is reserved.
    pub fn emit<A: IntoArgs + ?Sized>(self, event: &str, args: &A) -> Result<(), EncodeError> {
        let packet = packet::event(&self.namespace.path, None, event, &RawArgs::encode(args)?)?;
        self.deliver(packet);
        Ok(())
    }

    /// Sends a typed event: the variant of `event` is its name, the content its arguments.
    ///
    /// # Errors
    ///
    /// As [`Target::emit`]; also if `E` is not an enum.
    pub fn send<E: serde::Serialize>(self, event: &E) -> Result<(), EncodeError> {
        let (name, args) = encode_event(event)?;
        let packet = packet::event(&self.namespace.path, None, name, &args)?;
        self.deliver(packet);
        Ok(())
    }

    fn deliver(self, encoded: Encoded) {
        let broadcast = Broadcast {
            namespace: Arc::clone(&self.namespace.path),
            selection: self.selection,
            text: encoded.text,
            attachments: encoded.attachments,
            flags: self.flags,
        };
        self.namespace.fan_out(&broadcast);
        if !self.local {
            self.namespace.peers().broadcast(&broadcast);
        }
    }
}

impl NamespaceState {
    /// Delivers to the sockets of this node: encoded once, appended to each outbox.
    pub(crate) fn fan_out(self: &Arc<Self>, broadcast: &Broadcast) {
        let Flags { volatile, compress } = broadcast.flags;
        let frames = self.parser().frames(&broadcast.text, &broadcast.attachments, compress);
        let mut observed = self.behaviour().watches_outgoing().then(Vec::new);
        self.rooms.read().for_each(&broadcast.selection, |_, socket| {
            socket.session.send(&frames, volatile);
            if let Some(observed) = &mut observed {
                observed.push(Arc::clone(socket));
            }
        });
        if let Some(observed) = observed {
            self.observe_outgoing(observed, &broadcast.text, &broadcast.attachments);
        }
    }
}
