//! What handlers saw, in order, for a test that waits for it.

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

    /// What `choose` makes of the first entry it likes, as soon as there is one.
    ///
    /// # Panics
    /// None comes in time; then naming `what` was waited for.
    pub async fn find<R>(&self, what: &str, choose: impl Fn(&T) -> Option<R>) -> R {
        within(what, self.find_however_late(choose)).await
    }

    /// The same, however long it takes.
    ///
    /// # Panics
    /// Never: the journal lives as long as it is borrowed.
    pub async fn find_however_late<R>(&self, choose: impl Fn(&T) -> Option<R>) -> R {
        let mut entries = self.0.subscribe();
        loop {
            if let Some(found) = entries.borrow_and_update().iter().find_map(&choose) {
                return found;
            }
            entries.changed().await.expect("the journal is borrowed, so it lives");
        }
    }

    /// What `choose` makes of the entries there are now.
    pub fn all<R>(&self, choose: impl Fn(&T) -> Option<R>) -> Vec<R> {
        self.0.borrow().iter().filter_map(choose).collect()
    }
}

impl<T> Default for Journal<T> {
    fn default() -> Self {
        Self(watch::Sender::new(Vec::new()))
    }
}
