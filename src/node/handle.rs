//! The node, for handlers: their sockets and namespaces find it, though their layer does not know what a node is.

use super::{Node, Parts};
use crate::socket::{NamespaceRef, Socket, SocketIo};

impl<S: Send + Sync + 'static> Socket<S> {
    /// The node of this socket, as [`NamespaceRef::server`]. Node: `socket.server`.
    ///
    /// ```
    /// # use socketmesh::{EventError, Socket};
    /// async fn begin(socket: Socket, round: u32) -> Result<(), EventError> {
    ///     let node = socket.server().ok_or(EventError::new("stopping", "try again"))?;
    ///     node.of("/spectators").emit("round", &round)?;
    ///     println!("{} of {} sessions are here", node.sessions(), node.id());
    ///     Ok(())
    /// }
    /// ```
    pub fn server(&self) -> Option<Node> {
        self.nsp().server()
    }
}

impl NamespaceRef {
    /// The node that this handle is of, for handlers, which have no [`Node`] at hand: its namespaces, members, users and counters.
    /// `None` once the node is gone. Node: `io.of(path).server`.
    ///
    /// The node lives while somebody has it, so do not keep it where it outlives a handler, in the data of a socket say: keep this
    /// handle instead. [`id`](Node::id) is [`node`](Self::node).
    pub fn server(&self) -> Option<Node> {
        self.0.host()?.downcast::<Parts<SocketIo>>().ok().map(Node)
    }
}
