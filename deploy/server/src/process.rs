//! Between the process and whoever started it.

use std::io::{self, ErrorKind, Write};
use std::net::SocketAddr;

use tokio::net::TcpListener;

/// Whatever ends the process.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Prints a line for whoever started the process. A pipe that nobody reads any more is no reason to end.
pub(crate) fn say(line: std::fmt::Arguments<'_>) {
    let mut out = io::stdout();
    let _nobody_reads = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Listens on an address. An error says which address it is, and `instead` how to choose another.
pub(crate) async fn bind(address: SocketAddr, instead: &str) -> Result<TcpListener, BoxError> {
    TcpListener::bind(address).await.map_err(|error| match error.kind() {
        ErrorKind::AddrInUse => {
            format!("port {} of {} is in use; choose another with {instead}", address.port(), address.ip())
                .into()
        }
        _ => format!("cannot listen on {address}: {error}; choose another with {instead}").into(),
    })
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
