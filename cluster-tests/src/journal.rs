//! The records of handlers, in order, for tests that wait for them.

use tokio::sync::watch;

use crate::deadline::within;

/// A list that any thread adds to and any test waits on.
#[derive(Debug)]
pub struct Journal<T>(watch::Sender<Vec<T>>);

impl<T> Journal<T> {
    /// Adds an entry.
    pub fn note(&self, entry: T) {
        self.0.send_modify(|entries| entries.push(entry));
    }

    /// Waits until `choose` returns a value for an entry, and returns that value. `what` names it in the message of a
    /// failure.
    ///
    /// # Panics
    /// There is no such entry in time.
    pub async fn find<R>(&self, what: &str, choose: impl Fn(&T) -> Option<R>) -> R {
        within(what, self.find_however_late(choose)).await
    }

    /// As [`find`](Self::find), without a deadline.
    ///
    /// # Panics
    /// Never, because a borrowed journal stays open.
    pub async fn find_however_late<R>(&self, choose: impl Fn(&T) -> Option<R>) -> R {
        let mut entries = self.0.subscribe();
        loop {
            if let Some(found) = entries.borrow_and_update().iter().find_map(&choose) {
                return found;
            }
            entries.changed().await.expect("the journal is borrowed, so it lives");
        }
    }

    /// The values that `choose` returns for the present entries.
    pub fn all<R>(&self, choose: impl Fn(&T) -> Option<R>) -> Vec<R> {
        self.0.borrow().iter().filter_map(choose).collect()
    }
}

impl<T> Default for Journal<T> {
    fn default() -> Self {
        Self(watch::Sender::new(Vec::new()))
    }
}
