//! A deadline for everything that a test awaits.

use std::{fmt::Display, time::Duration};

use tokio::time::{Instant, timeout};

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

/// Attempts what a slow machine can thwart, until it succeeds. An attempt that fails tells since when it had to be in time: after
/// `limit` or more the machine was too slow, and the attempt is void.
///
/// # Panics
/// An attempt fails sooner, or none succeeds in time.
pub async fn in_time(limit: Duration, attempt: impl AsyncFn() -> Result<(), Instant>) {
    let attempting = async {
        while let Err(since) = Box::pin(attempt()).await {
            let took = since.elapsed();
            assert!(took >= limit, "it failed after {took:?}, which is no fault of the machine");
        }
    };
    within("a machine that is not too slow", attempting).await;
}

/// Many times longer than anything takes on a loaded machine: it detects a hang and measures nothing.
pub const DEADLINE: Duration = Duration::from_secs(10);
