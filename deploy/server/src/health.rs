//! `socketmesh health`: asks a node of this machine how it is, for containers without a shell.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;
use hyper::{Method, StatusCode};

use crate::admin_client::AdminClient;
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
    let client = AdminClient::without_token(options.admin.unwrap_or(options.http));
    let path = if options.ready { "/readyz" } else { "/healthz" };
    let answer = client.ask(Method::GET, path, PATIENCE).await?;
    let said = answer.body.trim();
    if answer.status != StatusCode::OK {
        return Err(format!("{}{path}: {} {said}", client.address(), answer.status.as_u16()).into());
    }
    say(format_args!("{said}"));
    Ok(())
}

/// Under the timeout of common probes.
const PATIENCE: Duration = Duration::from_secs(3);
