//! Socket.IO as the application of an engine: where the floors of this layer come together.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::api::NamespaceRef;
use super::config::Config;
use super::connection::{Clients, Connection};
use super::hub::{
    ConnectionCommand, Description, HandlerTasks, HubContext, Keeping, KeepingFigures, KeepingSettings,
    NamespaceFigures, NamespaceRegistry, RoomSize, Users, Words,
};
use super::messages::{Inbound, SocketSummary};
use super::peers::Peers;
use super::recovery::StatesLimits;
use crate::engine::{self, SessionRef};
use crate::id::{Key, NodeId, SocketId};

/// Socket.IO as the application of an engine.
///
/// It is the `A` of a [`Node`](crate::Node) unless that runs an application of its own.
pub struct SocketIo(Arc<Clients>);

impl SocketIo {
    /// Handlers run on the runtime that this is called in. `mint` gives the ring key of each new socket: one that this
    /// node owns.
    pub(crate) fn new(
        descriptions: Vec<Description>,
        config: Config,
        node: NodeId,
        peers: Arc<dyn Peers>,
        mint: Box<dyn Fn() -> Key + Send + Sync>,
    ) -> Self {
        let (tasks, users) = (HandlerTasks::new(), Arc::new(Users::new(peers.incarnation())));
        let settings = KeepingSettings {
            default: config.recover.clone(),
            heartbeat: config.heartbeat,
            limits: StatesLimits { sessions: config.max_kept_sessions, bytes: config.max_kept_bytes },
            packet_bytes: config.max_log_total,
        };
        let keeping = Keeping::new(node.clone(), Arc::clone(&peers), settings);
        let context = {
            let Config { parser, version_2_ids, .. } = config;
            let host = Arc::default();
            HubContext { node, peers, parser, version_2_ids, tasks, users, keeping, host }
        };
        Self(Arc::new(Clients { registry: NamespaceRegistry::new(descriptions, context), config, mint }))
    }

    /// Says, once, which node this is.
    pub(crate) fn set_host(&self, host: Weak<dyn Any + Send + Sync>) {
        self.0.registry.set_host(host);
    }

    /// A namespace to emit to.
    pub(crate) fn of(&self, path: &str) -> NamespaceRef {
        NamespaceRef(self.0.registry.of(path))
    }

    /// Every namespace that exists on this node.
    pub(crate) fn namespaces(&self) -> Vec<NamespaceRef> {
        self.0.registry.all().into_iter().map(NamespaceRef).collect()
    }

    /// Serves what is described from now on.
    ///
    /// # Errors
    /// When the description contradicts itself, or what there is already.
    pub(crate) fn add(&self, description: Description) -> Result<(), String> {
        self.0.registry.add(description)
    }

    /// What is on this node of each namespace.
    pub(crate) fn namespace_figures(&self) -> Vec<NamespaceFigures> {
        self.0.registry.figures()
    }

    /// The largest rooms of this node, those with most sockets first.
    pub(crate) fn largest_rooms(&self, most: usize) -> Vec<RoomSize> {
        self.0.registry.largest_rooms(most)
    }

    /// The socket with this id, if it is here, and its namespace.
    pub(crate) fn find_socket(&self, id: SocketId) -> Option<(String, SocketSummary)> {
        self.0.registry.find_socket(id)
    }

    /// Handles a message of another node.
    pub(crate) fn handle(&self, inbound: Inbound) {
        self.0.registry.handle(inbound);
    }

    /// Tells the other nodes what those that join have to know: everything, or what is new.
    pub(crate) fn greet(&self, everything: bool) {
        self.0.registry.tell_blocks(if everything { Words::All } else { Words::Recent });
    }

    /// Waits until no handler runs, for a bounded time: one that hangs does not hold up a node that stops. Returns how many
    /// tasks of handlers still run.
    pub(crate) async fn handlers_ended(&self) -> usize {
        let ended = timeout(HANDLERS, self.0.registry.handlers_ended()).await;
        if ended.is_ok() { 0 } else { self.0.registry.running_handlers() }
    }

    /// Gives what this node keeps for clients that may come back to those nodes that answer for it when it is gone: behind the end of
    /// its sessions and handlers, and before it leaves. Nothing is kept any more behind that. Returns how many packets they did not get.
    pub(crate) async fn hand_over(&self) -> u64 {
        let keeping = self.0.registry.keeping();
        let _late = timeout(HAND_OVER, keeping.hand_over()).await;
        keeping.records.close()
    }

    /// How much this node keeps for clients that may come back.
    pub(crate) fn kept(&self) -> KeepingFigures {
        self.0.registry.keeping().figures()
    }

    /// What is there although no client is.
    #[cfg(feature = "fuzzing")]
    pub(crate) fn leftovers(&self) -> Vec<String> {
        self.0.registry.leftovers()
    }

    /// Ends every handler where it waits. No other starts.
    pub(crate) fn kill_handlers(&self) {
        self.0.registry.kill_handlers();
    }
}

impl engine::Application for SocketIo {
    type Client = Connection;

    fn accept(self: &Arc<Self>, session: SessionRef<ConnectionCommand>) -> Connection {
        Connection::new(session, Arc::clone(&self.0), Instant::now())
    }
}

impl fmt::Debug for SocketIo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SocketIo").field("registry", &self.0.registry).finish_non_exhaustive()
    }
}

/// How long a node that stops waits for handlers, `on_disconnect` among them.
const HANDLERS: Duration = Duration::from_secs(5);
/// How long a node that stops tells others what it keeps.
const HAND_OVER: Duration = Duration::from_secs(5);
