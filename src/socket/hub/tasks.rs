//! The tasks that run the handlers of one node.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use tokio::runtime::Handle;
use tokio::sync::SetOnce;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

/// Spawns the tasks that run handlers, and waits for them when the node stops.
#[derive(Debug, Clone)]
pub(crate) struct HandlerTasks {
    runtime: Handle,
    tasks: TaskTracker,
    killed: Arc<SetOnce<()>>,
}

impl HandlerTasks {
    /// Handlers run on the runtime that this is called in, whichever thread gives rise to them.
    pub(crate) fn new() -> Self {
        Self { runtime: Handle::current(), tasks: TaskTracker::new(), killed: Arc::default() }
    }

    /// Runs handlers in a task of their own.
    pub(crate) fn spawn(&self, handlers: impl Future<Output = ()> + Send + 'static) {
        self.spawn_tracked(self.tracked(|| handlers));
    }

    /// Runs what is [tracked](Self::tracked) in a task of its own.
    pub(crate) fn spawn_tracked(&self, handlers: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(handlers);
    }

    /// Runs something else, until the handle is dropped. Nobody waits for it.
    pub(crate) fn spawn_aside(
        &self,
        future: impl Future<Output = ()> + Send + 'static,
    ) -> AbortOnDropHandle<()> {
        AbortOnDropHandle::new(self.runtime.spawn(future))
    }

    /// Handlers for whoever runs them: they end with the node, and the node waits for them. They are made where they are kept:
    /// a future that is passed on takes its place twice.
    pub(crate) fn tracked<F, H>(&self, handlers: H) -> impl Future<Output = ()> + Send + use<F, H>
    where
        F: Future<Output = ()> + Send + 'static,
        H: FnOnce() -> F + Send + 'static,
    {
        let killed = Arc::clone(&self.killed);
        self.tasks.track_future(async move {
            let (mut handlers, mut end) = (pin!(handlers()), pin!(killed.wait()));
            poll_fn(|cx| {
                // Handlers that never wait do not register with what all of them share.
                if killed.initialized() || handlers.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(());
                }
                end.as_mut().poll(cx).map(drop)
            })
            .await;
        })
    }

    /// Ends every task where it waits. No other starts.
    pub(crate) fn kill(&self) {
        // A second time nothing is left to end.
        let _again = self.killed.set(());
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Resolves when no handler runs.
    pub(crate) async fn ended(&self) {
        // `wait` resolves for a closed tracker only. Tasks can be spawned on it nevertheless.
        self.tasks.close();
        self.tasks.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::{Notify, oneshot};

    #[tokio::test]
    async fn handlers_have_ended_when_the_last_task_has() {
        let tasks = HandlerTasks::new();
        tasks.ended().await;
        let (first, second) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        for gate in [Arc::clone(&first), Arc::clone(&second)] {
            tasks.spawn(async move { gate.notified().await });
        }
        let waiting = tokio::spawn({
            let tasks = tasks.clone();
            async move { tasks.ended().await }
        });
        first.notify_one();
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        second.notify_one();
        waiting.await.unwrap();
    }

    #[tokio::test]
    async fn a_killed_node_ends_its_handlers_and_starts_no_other() {
        let tasks = HandlerTasks::new();
        let (gate, (passed, passes)) = (Arc::new(Notify::new()), oneshot::channel());
        let waiting = Arc::clone(&gate);
        tasks.spawn(async move {
            waiting.notified().await;
            passed.send(()).unwrap();
        });
        tasks.spawn(std::future::pending());
        tokio::task::yield_now().await;
        // The first one is woken already.
        gate.notify_one();
        tasks.kill();
        let (started, starts) = oneshot::channel();
        tasks.spawn(async move { started.send(()).unwrap() });
        tasks.ended().await;
        assert!(passes.await.is_err(), "a handler went on after the end");
        assert!(starts.await.is_err(), "a handler started after the end");
    }
}
