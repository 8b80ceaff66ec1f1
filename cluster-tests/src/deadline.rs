//! A deadline for everything that a test awaits.

use std::{fmt::Display, time::Duration};

use tokio::time::timeout;

/// Awaits `future`. `what` names it in the message of a failure.
///
/// # Panics
/// The future is not ready after [`DEADLINE`].
pub async fn within<T>(what: impl Display, future: impl Future<Output = T>) -> T {
    match timeout(DEADLINE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited {DEADLINE:?} for {what}"),
    }
}

/// Many times longer than anything takes on a loaded machine: it detects a hang and measures nothing.
pub const DEADLINE: Duration = Duration::from_secs(10);
