//! Where the handlers of one node run, and how many tasks do: a node that stops waits for them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::runtime::Handle;
use tokio::sync::Notify;

/// The runtime of a node's handlers.
#[derive(Debug, Clone)]
pub(crate) struct Runtime {
    handle: Handle,
    running: Arc<Running>,
    /// Set when a test kills the node.
    #[cfg(any(test, feature = "testing"))]
    killed: Arc<tokio::sync::SetOnce<()>>,
}

impl Runtime {
    /// The runtime that this is called in.
    pub(crate) fn current() -> Self {
        Self {
            handle: Handle::current(),
            running: Arc::default(),
            #[cfg(any(test, feature = "testing"))]
            killed: Arc::default(),
        }
    }

    #[cfg(not(any(test, feature = "testing")))]
    pub(crate) fn spawn(&self, handlers: impl Future<Output = ()> + Send + 'static) {
        let task = Running::enter(&self.running);
        self.handle.spawn(async move {
            handlers.await;
            drop(task);
        });
    }

    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn spawn(&self, handlers: impl Future<Output = ()> + Send + 'static) {
        let (task, killed) = (Running::enter(&self.running), Arc::clone(&self.killed));
        self.handle.spawn(async move {
            tokio::select! {
                biased;
                _ = killed.wait() => {}
                () = handlers => {}
            }
            drop(task);
        });
    }

    /// Resolves when no handler runs.
    pub(crate) async fn ended(&self) {
        loop {
            let mut idle = std::pin::pin!(self.running.idle.notified());
            // From here on no notification is missed.
            idle.as_mut().enable();
            if self.running.tasks.load(Ordering::Acquire) == 0 {
                return;
            }
            idle.await;
        }
    }

    /// Stops every handler where it waits and starts no other, as when the process is killed.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn kill(&self) {
        // A node is killed once.
        let _again = self.killed.set(());
    }
}

/// The tasks that run handlers.
#[derive(Debug, Default)]
struct Running {
    tasks: AtomicUsize,
    idle: Notify,
}

impl Running {
    /// One more, until the guard is dropped.
    fn enter(this: &Arc<Self>) -> Task {
        this.tasks.fetch_add(1, Ordering::AcqRel);
        Task(Arc::clone(this))
    }
}

/// One task that runs handlers.
#[derive(Debug)]
struct Task(Arc<Running>);

impl Drop for Task {
    fn drop(&mut self) {
        if self.0.tasks.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.idle.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_has_ended_when_the_last_task_has() {
        let runtime = Runtime::current();
        runtime.ended().await;
        let (first, second) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        for gate in [Arc::clone(&first), Arc::clone(&second)] {
            runtime.spawn(async move { gate.notified().await });
        }
        let waiting = tokio::spawn({
            let runtime = runtime.clone();
            async move { runtime.ended().await }
        });
        first.notify_one();
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        second.notify_one();
        waiting.await.unwrap();
    }
}
