//! Where the handlers of one node run.

use tokio::runtime::Handle;

/// The runtime of a node's handlers.
#[derive(Debug, Clone)]
pub(crate) struct Runtime {
    handle: Handle,
    /// Set when a test kills the node.
    #[cfg(any(test, feature = "testing"))]
    killed: std::sync::Arc<tokio::sync::SetOnce<()>>,
}

impl Runtime {
    /// The runtime that this is called in.
    pub(crate) fn current() -> Self {
        Self {
            handle: Handle::current(),
            #[cfg(any(test, feature = "testing"))]
            killed: std::sync::Arc::default(),
        }
    }

    #[cfg(not(any(test, feature = "testing")))]
    pub(crate) fn spawn(&self, handlers: impl Future<Output = ()> + Send + 'static) {
        self.handle.spawn(handlers);
    }

    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn spawn(&self, handlers: impl Future<Output = ()> + Send + 'static) {
        let killed = std::sync::Arc::clone(&self.killed);
        self.handle.spawn(async move {
            tokio::select! {
                biased;
                _ = killed.wait() => {}
                () = handlers => {}
            }
        });
    }

    /// Stops every handler where it waits and starts no other, as when the process is killed.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn kill(&self) {
        // A node is killed once.
        let _again = self.killed.set(());
    }
}
