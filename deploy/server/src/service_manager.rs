//! Between the process and systemd, or whatever else speaks its protocols: `sd_notify(3)` and `sd_listen_fds(3)`. Where nobody
//! does, nothing happens.

use std::convert::Infallible;

use sd_notify::NotifyState;
use tokio::net::TcpListener;
use tokio::time::{MissedTickBehavior, interval};

use crate::process::BoxError;

/// The first TCP listener that was handed over, if there is one: then the service manager holds the port, and clients that come
/// while the process starts wait there.
pub(crate) fn handed_over() -> Result<Option<TcpListener>, BoxError> {
    let Some(listener) = listenfd::ListenFd::from_env().take_tcp_listener(0)? else { return Ok(None) };
    listener.set_nonblocking(true)?;
    Ok(Some(TcpListener::from_std(listener)?))
}

/// The process serves, also after it has read its files again.
pub(crate) fn serves() {
    tell(&[NotifyState::Ready]);
}

/// The process reads its files again.
pub(crate) fn reloads() {
    let now = NotifyState::monotonic_usec_now();
    tell(&[NotifyState::Reloading, now.unwrap_or(NotifyState::MonotonicUsec(0))]);
}

/// The process ends in good order.
pub(crate) fn stops() {
    tell(&[NotifyState::Stopping]);
}

/// What the process does now, in words.
pub(crate) fn status(words: &str) {
    tell(&[NotifyState::Status(words)]);
}

/// Says again and again that the runtime of the application runs tasks, where that is watched: a process that hangs is restarted.
pub(crate) async fn keep_alive() -> Infallible {
    let Some(patience) = sd_notify::watchdog_enabled() else { return std::future::pending().await };
    let mut beat = interval(patience / 3);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        beat.tick().await;
        tell(&[NotifyState::Watchdog]);
    }
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "the service manager was not told");
    }
}
