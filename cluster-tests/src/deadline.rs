//! Waiting, but not forever: what does not come in time fails the test by its name.

use std::{fmt::Display, time::Duration};

use tokio::time::timeout;

/// Awaits `future`, and fails the test naming `what` was waited for when it does not come.
///
/// # Panics
/// After [`DEADLINE`].
pub async fn within<T>(what: impl Display, future: impl Future<Output = T>) -> T {
    match timeout(DEADLINE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited {DEADLINE:?} for {what}"),
    }
}

/// Many times what anything takes on a loaded machine: it tells a hang from a delay and measures nothing.
pub const DEADLINE: Duration = Duration::from_secs(10);
