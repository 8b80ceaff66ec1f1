//! How many tasks run the user's handlers: what a node that stops waits for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// The tasks of one node that run handlers.
#[derive(Debug, Default)]
pub(crate) struct Running {
    tasks: AtomicUsize,
    idle: Notify,
}

impl Running {
    /// One more, until the guard is dropped.
    pub(crate) fn task(self: &Arc<Self>) -> Task {
        self.tasks.fetch_add(1, Ordering::AcqRel);
        Task(Arc::clone(self))
    }

    /// Resolves when none runs.
    pub(crate) async fn ended(&self) {
        loop {
            let mut idle = std::pin::pin!(self.idle.notified());
            // From here on no notification is missed.
            idle.as_mut().enable();
            if self.tasks.load(Ordering::Acquire) == 0 {
                return;
            }
            idle.await;
        }
    }
}

/// One task that runs handlers.
#[derive(Debug)]
pub(crate) struct Task(Arc<Running>);

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
        let running = Arc::new(Running::default());
        running.ended().await;
        let (first, second) = (running.task(), running.task());
        let waiting = tokio::spawn({
            let running = Arc::clone(&running);
            async move { running.ended().await }
        });
        tokio::task::yield_now().await;
        drop(first);
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(second);
        waiting.await.unwrap();
    }
}
