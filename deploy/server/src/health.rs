//! `socketmesh health`: asks a node of this machine how it is, for containers without a shell.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use clap::Args;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::process::{BoxError, say};
use crate::settings::{admin_address, trimmed};

/// Where the node of this machine is asked: as `serve` was told.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Whether it takes new clients, too.
    #[arg(long)]
    ready: bool,
    /// Its address for operators, which is asked if there is one.
    #[arg(long, env = "SOCKETMESH_ADMIN", value_parser = admin_address)]
    admin: Option<SocketAddr>,
    /// Its address for clients, without TLS.
    #[arg(long, env = "SOCKETMESH_HTTP", default_value = "127.0.0.1:3000", value_parser = trimmed::<SocketAddr>)]
    http: SocketAddr,
}

/// Says what the node answers.
///
/// # Errors
/// The node is not well, or it does not answer.
pub(crate) async fn run(options: &Options) -> Result<(), BoxError> {
    let address = reachable(options.admin.unwrap_or(options.http));
    let path = if options.ready { "/readyz" } else { "/healthz" };
    let answer = timeout(PATIENCE, ask(address, path)).await;
    let answer = answer.map_err(|_late| format!("{address} does not answer"))??;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    match head.split(' ').nth(1).unwrap_or_default() {
        "200" => {
            say(format_args!("{}", body.trim()));
            Ok(())
        }
        status => Err(format!("{address}{path}: {status} {}", body.trim()).into()),
    }
}

async fn ask(address: SocketAddr, path: &str) -> Result<String, BoxError> {
    let failed = |error: std::io::Error| format!("{address}: {error}");
    let mut stream = TcpStream::connect(address).await.map_err(failed)?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(failed)?;
    let mut answer = Vec::new();
    stream.take(LONGEST).read_to_end(&mut answer).await.map_err(failed)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// A node that listens on every address is asked on this machine.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// Under the timeout of common probes.
const PATIENCE: Duration = Duration::from_secs(3);
const LONGEST: u64 = 16 * 1024;
