//! Between the process and whoever started it.

use std::io::{self, Write};

/// Whatever ends the process.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Prints a line for whoever started the process.
pub(crate) fn say(line: std::fmt::Arguments<'_>) -> io::Result<()> {
    let mut out = io::stdout();
    writeln!(out, "{line}")?;
    out.flush()
}

/// Resolves when the process is asked to end: Ctrl-C, or SIGTERM from a service manager.
pub(crate) async fn asked_to_stop() -> io::Result<()> {
    #[cfg(unix)]
    {
        let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        tokio::select! {
            interrupted = tokio::signal::ctrl_c() => interrupted,
            _ = terminate.recv() => Ok(()),
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await
}

/// The times the process is told to read its configuration again: SIGHUP.
pub(crate) struct Hangups(#[cfg(unix)] tokio::signal::unix::Signal);

impl Hangups {
    /// From now on a hangup does not end the process.
    pub(crate) fn new() -> io::Result<Self> {
        #[cfg(unix)]
        return Ok(Self(tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup())?));
        #[cfg(not(unix))]
        Ok(Self())
    }

    pub(crate) async fn next(&mut self) {
        #[cfg(unix)]
        let _told = self.0.recv().await;
        #[cfg(not(unix))]
        std::future::pending::<()>().await;
    }
}
