//! The tasks that run the handlers of one node.

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Spawns the tasks that run handlers, and waits for them when the node stops.
#[derive(Debug, Clone)]
pub(crate) struct HandlerTasks {
    runtime: Handle,
    tasks: TaskTracker,
    killed: CancellationToken,
}

impl HandlerTasks {
    /// Handlers run on the runtime that this is called in, whichever thread gives rise to them. When `killed` is
    /// cancelled, every one of them ends where it waits, and no other starts.
    pub(crate) fn new(killed: CancellationToken) -> Self {
        Self { runtime: Handle::current(), tasks: TaskTracker::new(), killed }
    }

    /// Runs handlers in a task of their own.
    pub(crate) fn spawn(&self, handlers: impl Future<Output = ()> + Send + 'static) {
        let killed = self.killed.clone();
        let task = async move {
            let _killed = killed.run_until_cancelled(handlers).await;
        };
        self.tasks.spawn_on(task, &self.runtime);
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
    use std::sync::Arc;

    use super::*;
    use tokio::sync::Notify;

    #[tokio::test]
    async fn handlers_have_ended_when_the_last_task_has() {
        let tasks = HandlerTasks::new(CancellationToken::new());
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
        let killed = CancellationToken::new();
        let tasks = HandlerTasks::new(killed.clone());
        tasks.spawn(std::future::pending());
        killed.cancel();
        let (ran, runs) = tokio::sync::oneshot::channel();
        tasks.spawn(async move { ran.send(()).unwrap() });
        tasks.ended().await;
        assert!(runs.await.is_err(), "a handler started after the end");
    }
}
