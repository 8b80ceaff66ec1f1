//! Socket.IO v5: namespaces, rooms, events and acks over the sessions of the engine.
//!
//! ```text
//!   engine ──► Connection ──► RawSocket ──► inbox ──► handlers of the Namespace
//!                                 ▲
//!   Socket::emit, Target::emit ───┤ fan-out by Rooms ◄── Broadcast, Command, Request ◄── Peers (the other nodes)
//!                                 ▼                                        Response ──►
//!                         the session's outbox
//! ```

mod acks;
mod answering;
pub(crate) mod args;
mod backlog;
mod behaviour;
mod broadcast;
mod config;
mod connection;
mod error;
mod family;
mod gathering;
mod handle;
mod handshake;
pub(crate) mod messages;
mod namespace;
mod observers;
mod operators;
mod packet;
pub(crate) mod peers;
mod raw;
mod remote;
mod room;
mod room_index;
mod runtime;
mod server_events;
mod state;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use self::state::Namespaces;
use crate::engine::{self, SessionRef};
use crate::id::{Key, NodeId, SocketId};
use crate::random::{self, RandomError};

pub use args::{Args, ArgsWriter, FromArg, FromArgs, IntoArg, IntoArgs, RawArg, RawArgs, reply};
pub use broadcast::Target;
pub use config::{Config, Parser};
pub use connection::{Command, Connection};
pub use error::{
    AckError, ArgsError, DisconnectReason, Disconnected, EncodeError, EventError, PacketError, Refusal,
    Result,
};
pub use handle::{Emitter, Joining, NamespaceRef, Socket};
pub use handshake::Handshake;
pub use messages::RemoteHandshake;
pub(crate) use namespace::Described;
pub use namespace::{Namespace, namespace, namespaces, namespaces_where};
pub use observers::RoomEvent;
pub use operators::{Acks, Applied, Applying, Replies, Rooms, Sockets};
pub use remote::{RemoteEmitter, RemoteSocket};
pub use room::Room;

/// Socket.IO as the application of an engine.
///
/// It is the `A` of a [`Node`](crate::Node) unless that runs an application of its own.
pub struct SocketIo {
    namespaces: Namespaces,
    config: Config,
    mint: Box<dyn Fn() -> Key + Send + Sync>,
}

impl SocketIo {
    /// `mint` gives the ring key of each new socket: one that this node owns.
    pub(crate) fn new(
        described: Vec<Described>,
        config: Config,
        node: NodeId,
        peers: Arc<dyn peers::Peers>,
        mint: Box<dyn Fn() -> Key + Send + Sync>,
    ) -> Self {
        let namespaces = Namespaces::new(described, node, peers, config.parser);
        Self { namespaces, config, mint }
    }

    pub(crate) fn namespaces(&self) -> &Namespaces {
        &self.namespaces
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// A namespace to emit to.
    pub(crate) fn of(&self, path: &str) -> NamespaceRef {
        NamespaceRef(self.namespaces.of(path))
    }

    /// Does what another node wants of the sockets of this one.
    pub(crate) fn handle(&self, inbound: messages::Inbound) {
        self.namespaces.handle(inbound);
    }

    /// Waits for the handlers of sockets to end: at most so long that a stuck one does not hold up a node that stops.
    pub(crate) async fn settled(&self) {
        if timeout(HANDLERS_MAY_TAKE, self.namespaces.settled()).await.is_err() {
            tracing::warn!("handlers still run while the node stops");
        }
    }

    fn mint(&self) -> std::result::Result<SocketId, RandomError> {
        Ok(SocketId::new((self.mint)(), random::bytes()?))
    }
}

impl engine::Application for SocketIo {
    type Client = Connection;

    fn accept(self: &Arc<Self>, session: SessionRef<Command>) -> Connection {
        Connection::new(session, Arc::clone(self), Instant::now())
    }
}

impl fmt::Debug for SocketIo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SocketIo").field("namespaces", &self.namespaces).finish_non_exhaustive()
    }
}

/// How long a node that stops waits for handlers, those of its disconnects among them.
const HANDLERS_MAY_TAKE: Duration = Duration::from_secs(5);

/// The decoders of the layer, for fuzzing.
#[cfg(feature = "fuzzing")]
mod fuzzed {
    use bytes::Bytes;
    use bytestring::ByteString;

    use super::args::{Args, RawArg, RawArgs};
    use super::config::Parser;
    use super::packet::{Decoder, Limits};
    use crate::engine::Message;

    pub(crate) fn decode_packets(parser: Parser, messages: impl Iterator<Item = Message>) {
        let mut decoder = Decoder::new(parser, Limits { max_attachments: 10, max_pending_bytes: 1 << 16 });
        for message in messages {
            let packet = match message {
                Message::Text(text) => decoder.text(&text),
                Message::Binary(data) => decoder.binary(data),
            };
            if packet.is_err() {
                return;
            }
        }
    }

    pub(crate) fn decode_arguments(array: &ByteString) {
        let attachments = vec![Bytes::from_static(b"one"), Bytes::from_static(b"two")];
        let Ok(args) = RawArgs::from_array(array, attachments) else { return };
        drop(args.decode::<Args<(Option<Bytes>, serde_json::Value, RawArg)>>());
        drop(args.decode::<Vec<Option<String>>>());
        let _arguments = args.iter().count();
    }
}

#[cfg(feature = "fuzzing")]
pub(crate) use fuzzed::{decode_arguments, decode_packets};
