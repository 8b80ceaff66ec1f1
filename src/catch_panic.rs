//! Runs code of the application, so that its panic ends neither a task nor an actor of this node.
//!
//! The panic hook has already reported the message of the panic when these functions return.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

/// Calls `f`; `None` if it panicked.
pub(crate) fn call<T>(f: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(f)).ok()
}

/// Awaits `future`; `None` if it panicked. A future that panicked is not polled again, so nobody sees its broken state.
pub(crate) async fn future<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    poll_fn(|cx| match call(|| future.as_mut().poll(cx)) {
        Some(polled) => polled.map(Some),
        None => Poll::Ready(None),
    })
    .await
}
