//! What can be done to a user, wherever its sockets are.

use std::sync::Arc;
use std::time::Duration;

use super::commands::Applying;
use crate::socket::hub::LocalNamespace;
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
    /// `blocked`: on this node at once, on the others in the order of emits. A node that joins meanwhile learns of it from the
    /// others. A connection that is just being let in is found, too: it is refused, or closed. Who is away does not
    /// [come back](crate::Namespace::recover) to its socket.
    ///
    /// Of two blocks of one user the one that ends later counts. 100 000 users may be blocked at once; then the block that ends
    /// first is lifted, which the log says. A block ends with the last node that knows of it: what has to outlive the cluster, `login`
    /// has to know.
    pub fn block(&self, time: Duration) -> Applying {
        self.tell(time)
    }

    /// As [`block`](Self::block), for two seconds: closes the connections of the user, and those that are being let in at this moment
    /// on whichever node. Whoever comes later comes in.
    pub fn disconnect(&self) -> Applying {
        self.tell(MOMENT)
    }

    /// Ends a block.
    pub fn unblock(&self) -> Applying {
        self.tell(Duration::ZERO)
    }

    fn tell(&self, time: Duration) -> Applying {
        let block = Block { user: Arc::clone(&self.user), time };
        Applying::of_nodes(&self.namespace, CommandKind::Block(vec![block]))
    }
}

/// Longer than a command takes to every node that answers.
const MOMENT: Duration = Duration::from_secs(2);
