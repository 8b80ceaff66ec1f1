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
