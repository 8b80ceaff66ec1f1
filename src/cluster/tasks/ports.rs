//! What the tasks of a mesh tell each other.

use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use ractor::ActorRef;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, SetOnce, mpsc, oneshot};
use tokio::time::Instant;

use crate::cluster::control::{DialError, DialTarget, GossipMember, LookupError};
use crate::cluster::hello::{Greeting, LinkId};
use crate::cluster::published::Published;
use crate::cluster::transport::bi_stream::{BiStream, Halves};
use crate::cluster::transport::connection::PeerConnection;
use crate::id::{Incarnation, NodeId};
use crate::log_limit::LogLimits;
use crate::socket::messages::Inbound;

/// Everything that the control actor can be told.
pub(crate) enum ControlMessage {
    /// Another node said hello and waits for the answer.
    Hello(Box<GreetedStream>),
    /// A dial ended.
    Dialled(DialTarget, Result<Box<GreetedStream>, DialError>),
    /// The other end of a link has begun to speak on it.
    Started(NodeId, LinkId),
    /// A link ended.
    Lost(NodeId, LinkId),
    /// The member does not reach that life of a node any more: nobody listens at its port.
    ToldRefused { from: NodeId, id: NodeId, incarnation: Incarnation, place: OwnedSemaphorePermit },
    /// A node left the cluster.
    Goodbye(NodeId, Incarnation),
    /// The living nodes, as gossip sees them.
    Gossip(Vec<GossipMember>),
    /// The gossip of this node ended, for this reason.
    GossipEnded(String),
    /// It begins again.
    RestartGossip,
    /// The addresses of the seed with this number.
    Resolved(usize, Vec<SocketAddr>),
    /// Why the seed with this number has no addresses, or none yet.
    Unresolved(usize, LookupError),
    /// The application's runtime has run the task that it was asked for.
    ApplicationRuns,
    /// Who answered at an address of the seed with this number.
    Asked(usize, SocketAddr, Box<Result<Greeting, DialError>>),
    /// Every ping has an answer.
    Answered,
    /// Time passes.
    Tick,
    /// This node owns about so many sessions.
    Sessions(u64),
    /// This node takes no new clients any more.
    Drain,
    /// A part ends as a fault of it would end it.
    #[cfg(test)]
    End(Part),
    /// This node leaves. The answer follows when it has said goodbye to every other node.
    Leave(oneshot::Sender<()>),
}

/// The parts of a mesh that can end by themselves.
#[cfg(test)]
#[derive(Debug, Clone, Copy)]
pub(crate) enum Part {
    Actor,
    Gossip,
    Accepting,
    Endpoint,
    LinkWriter,
    LinkReader,
    Thread,
}

/// A stream on which another node said hello, or answered this node's hello. The hello was checked.
pub(crate) struct GreetedStream {
    pub(crate) greeting: Greeting,
    /// `None` when the stream is relayed.
    pub(crate) connection: Option<Arc<PeerConnection>>,
    pub(crate) halves: Halves,
}

/// A gossip message of a member.
pub(crate) struct PeerGossip {
    pub(crate) peer: NodeId,
    /// The life at the other end of the connection that brought it.
    pub(crate) incarnation: Incarnation,
    pub(crate) message: Bytes,
}

/// Where the tasks send what arrives.
pub(crate) struct Ports {
    pub(crate) published: Arc<Published>,
    pub(crate) control: ActorRef<ControlMessage>,
    pub(crate) gossip: mpsc::Sender<PeerGossip>,
    /// The runtime of the application.
    pub(crate) app: Handle,
    pub(crate) upward: Upward,
    pub(crate) warnings: LogLimits,
    /// Pings since the last tick that have no answer yet. It is a hint: connections that ended count, too.
    pub(crate) unanswered: AtomicUsize,
}

/// What the layers above take from other nodes.
#[derive(Clone)]
pub(crate) struct Upward {
    /// Until this is set nothing is read from links: whoever would take it is not there yet, and what others told is told once.
    pub(crate) begun: Arc<SetOnce<()>>,
    /// Serves a request that another node's edge carries, on the application's runtime. Must not block.
    pub(crate) serve: Arc<dyn Fn(BiStream) + Send + Sync>,
    /// Takes what another node tells or asks about sockets. Must not block.
    pub(crate) deliver: Arc<dyn Fn(Inbound) + Send + Sync>,
}

impl Ports {
    pub(crate) fn tell_control(&self, message: ControlMessage) {
        // Fails only while the mesh stops. Then nobody needs to know.
        let _stopped = self.control.cast(message);
    }

    /// A ping has an answer. Tells the control actor of the last one, so that it need not look whether they came.
    pub(crate) fn note_answer(&self) {
        let one_less = |unanswered: usize| unanswered.checked_sub(1);
        if self.unanswered.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less) == Ok(1) {
            self.tell_control(ControlMessage::Answered);
        }
    }

    /// Whether a warning of this kind about this peer or stranger may be logged now: they could fill the log otherwise.
    pub(crate) fn may_warn(&self, kind: &'static str, about: impl Display) -> bool {
        self.warnings.allows(kind, about, WARNING_PAUSE, Instant::now())
    }
}

/// From the first warning to the second of the same kind.
const WARNING_PAUSE: Duration = Duration::from_secs(60);
