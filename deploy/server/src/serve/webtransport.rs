//! The listener of `socketmesh serve` for WebTransport.

use std::fmt::Write as _;
use std::net::SocketAddr;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use socketmesh::http::{Certificate, Tls, WebTransportListener};

use crate::process::{BoxError, say};
use crate::settings::Clients;

/// Listens, if that is asked for, with `tls` and what renews it or a certificate of its own, and says where.
pub(super) async fn listener(
    clients: &Clients,
    tls: Option<&Tls>,
) -> Result<Option<WebTransportListener>, BoxError> {
    let Some(address) = clients.webtransport() else { return Ok(None) };
    let bound = match tls.filter(|_| !clients.webtransport_self_signed) {
        Some(tls) => WebTransportListener::bind_with(address, tls).await,
        None => WebTransportListener::bind(address, &self_signed(address)?).await,
    };
    let listener = bound.map_err(|error| {
        format!(
            "cannot listen for WebTransport on {address} (UDP): {error}; choose another with --webtransport"
        )
    })?;
    say(format_args!("webtransport={}", listener.local_addr()));
    Ok(Some(listener))
}

fn self_signed(address: SocketAddr) -> Result<Certificate, BoxError> {
    let certificate = Certificate::self_signed(["localhost".to_owned(), address.ip().to_string()])?;
    let hash = certificate.sha256();
    let hex = hash.iter().fold(String::new(), |mut hex, byte| {
        // Writing to a string never fails.
        let _written = write!(hex, "{byte:02x}");
        hex
    });
    say(format_args!("certificate sha256 hex={hex} base64={}", BASE64_STANDARD.encode(hash)));
    Ok(certificate)
}
