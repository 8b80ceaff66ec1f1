//! Between the process and whoever started it.

use std::io::{self, ErrorKind, Write};
use std::net::SocketAddr;
use std::path::Path;

use tokio::net::{TcpListener, TcpSocket};

/// Whatever ends the process.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Prints a line for whoever started the process. A pipe that nobody reads any more is no reason to end.
pub(crate) fn say(line: std::fmt::Arguments<'_>) {
    let mut out = io::stdout();
    let _nobody_reads = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// A variable of the environment, if it is there and not empty.
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.trim().is_empty())
}

/// Reads a file that nobody else should.
///
/// # Errors
/// When it cannot be read, or every user of the machine can.
pub(crate) fn read_secret(file: &Path) -> Result<Vec<u8>, BoxError> {
    let name = file.display();
    let content = std::fs::read(file).map_err(|error| format!("{name}: {error}"))?;
    if is_open_to_all(file) {
        return Err(format!("every user of this machine can read the file {name}: chmod o= {name}").into());
    }
    Ok(content)
}

#[cfg(unix)]
fn is_open_to_all(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(file).is_ok_and(|file| file.permissions().mode() & 0o007 != 0)
}

#[cfg(not(unix))]
fn is_open_to_all(_: &Path) -> bool {
    false
}

/// Listens on an address. An error says which address it is, and `instead` how to choose another.
pub(crate) async fn bind(address: SocketAddr, instead: &str) -> Result<TcpListener, BoxError> {
    explained(TcpListener::bind(address).await, address, instead)
}

/// The same on a port that other processes of this machine share.
#[cfg(unix)]
pub(crate) fn bind_shared(address: SocketAddr, instead: &str) -> Result<TcpListener, BoxError> {
    let bound = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        socket.set_reuseport(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    explained(bound(), address, instead)
}

/// The same on a port that other processes of this machine share.
#[cfg(not(unix))]
pub(crate) fn bind_shared(_: SocketAddr, _: &str) -> Result<TcpListener, BoxError> {
    Err("ports are not shared on this system".into())
}

fn explained<T>(bound: io::Result<T>, address: SocketAddr, instead: &str) -> Result<T, BoxError> {
    bound.map_err(|error| match error.kind() {
        ErrorKind::AddrInUse => {
            format!("port {} of {} is in use; choose another with {instead}", address.port(), address.ip())
                .into()
        }
        _ => format!("cannot listen on {address}: {error}; choose another with {instead}").into(),
    })
}

/// The times the process is asked to end: Ctrl-C, or SIGTERM from a service manager.
pub(crate) struct StopSignals {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

impl StopSignals {
    /// From now on the process ends in good order.
    #[cfg(unix)]
    pub(crate) fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// From now on the process ends in good order.
    #[cfg(not(unix))]
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {})
    }

    /// Waits for the next time.
    pub(crate) async fn next(&mut self) -> io::Result<()> {
        #[cfg(unix)]
        tokio::select! {
            _ = self.interrupt.recv() => Ok(()),
            _ = self.terminate.recv() => Ok(()),
        }
        #[cfg(not(unix))]
        tokio::signal::ctrl_c().await
    }
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

/// As that of tokio's listeners.
const BACKLOG: u32 = 1024;
