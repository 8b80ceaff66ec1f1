//! What can be done to a user, wherever its sockets are.

use std::sync::Arc;
use std::time::Duration;

use super::commands::Applying;
use crate::socket::hub::{LocalNamespace, MOMENT};
use crate::socket::messages::{Block, CommandKind};

/// All that has one key of a user, on every node and in every namespace: what [`Node::user`](crate::Node::user) and
/// [`NamespaceRef::user`](super::NamespaceRef::user) return. Node has no form for it.
///
/// The key is that of [`Login::user`](crate::socket::Login::user): the id of an account, a device, a tenant, as the application
/// likes.
///
/// ```
/// use std::time::Duration;
///
/// # async fn f(node: socketmesh::Node) {
/// let blocked = node.user("42").block(Duration::from_secs(3600)).await;
/// assert!(blocked.missing.is_empty(), "{:?} did not confirm", blocked.missing);
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "nothing happens to a user by itself"]
pub struct UserRef {
    namespace: Arc<LocalNamespace>,
    user: Arc<str>,
}

impl UserRef {
    pub(super) fn new(namespace: Arc<LocalNamespace>, user: Arc<str>) -> Self {
        Self { namespace, user }
    }

    /// Closes the connections of the user, with the reason `blocked`, and for that long refuses those that come, with the message
    /// `blocked`, but for the last two seconds, in which they wait for the end of it and `login` is asked again: on this node at once, on the others in the order of emits. A node that joins meanwhile learns of it from the
    /// others. A connection that is just being let in is found, too: it is refused, or closed. Who is away does not
    /// [come back](crate::Namespace::recover) to its socket.
    ///
    /// Of two blocks of one user the one that ends later counts; less than two seconds count as two. 100 000 users may be blocked at once; then the block that ends
    /// first is lifted, which the log says. A block ends with the last node that knows of it: what has to outlive the cluster, `login`
    /// has to know.
    pub fn block(&self, time: Duration) -> Applying {
        self.tell(self.namespace.users().to_block(&self.user, time))
    }

    /// As [`block`](Self::block), for two seconds: closes the connections of the user. Those that are being let in at this moment on
    /// whichever node, and those that come in these two seconds, wait for their end; then `login` is asked, again. So a client that
    /// connects at once when it hears of it (`io server disconnect`), as Socket.IO's documents recommend, comes in.
    pub fn disconnect(&self) -> Applying {
        self.block(MOMENT)
    }

    /// Ends a block, also on nodes that cannot be reached now: they learn of it when they can. Of a block and an end that two nodes
    /// say while they do not hear each other, the block counts.
    pub fn unblock(&self) -> Applying {
        self.tell(self.namespace.users().to_unblock(&self.user))
    }

    fn tell(&self, block: Block) -> Applying {
        Applying::of_nodes(&self.namespace, CommandKind::Block(vec![block]))
    }
}
