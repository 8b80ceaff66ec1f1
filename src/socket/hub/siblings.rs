//! What a namespace knows of the registry that made it.

use std::sync::Arc;

/// Finds the namespaces of a node.
pub(crate) trait Siblings<N>: Send + Sync {
    /// The namespace with this path, which need not be one that this node serves.
    fn of(&self, path: &str) -> Arc<N>;

    /// A namespace with this path is dropped.
    fn forget(&self, path: &str);
}
