//! The flags of `socketmesh serve` for WebTransport.

use std::fmt::Write as _;
use std::net::SocketAddr;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use clap::Args;
use socketmesh::engine::Transport;
use socketmesh::http::{Certificate, Tls, WebTransportListener};

use crate::environment::{switch, trimmed};
use crate::process::{BoxError, say};

#[derive(Debug, Args)]
pub(crate) struct WebTransport {
    /// Address for WebTransport (UDP); browsers try the port of the page. Needs `--tls-cert`, which is
    /// read again on SIGHUP here too, or a self-signed certificate.
    #[arg(long, env = "SOCKETMESH_WEBTRANSPORT", value_parser = trimmed::<SocketAddr>)]
    webtransport: Option<SocketAddr>,
    /// Makes a certificate for WebTransport that lasts 14 days, and prints the hash that browsers are told to accept.
    #[arg(long, env = "SOCKETMESH_WEBTRANSPORT_SELF_SIGNED", requires = "webtransport", value_parser = switch)]
    webtransport_self_signed: bool,
}

impl WebTransport {
    /// Adds the transport, where it is served.
    pub(crate) fn transports(&self, transports: &[Transport]) -> Vec<Transport> {
        let served = self.webtransport.filter(|_| !transports.contains(&Transport::WebTransport));
        transports.iter().copied().chain(served.map(|_| Transport::WebTransport)).collect()
    }

    /// Listens, if that is asked for, with `tls` and what renews it or a certificate of its own, and says where.
    pub(crate) async fn listener(&self, tls: Option<&Tls>) -> Result<Option<WebTransportListener>, BoxError> {
        let Some(address) = self.webtransport else { return Ok(None) };
        let bound = match tls.filter(|_| !self.webtransport_self_signed) {
            Some(tls) => WebTransportListener::bind_with(address, tls).await,
            None if self.webtransport_self_signed => {
                WebTransportListener::bind(address, &self_signed(address)?).await
            }
            None => return Err("--webtransport needs --tls-cert or --webtransport-self-signed".into()),
        };
        let listener = bound.map_err(|error| {
            format!("cannot listen for WebTransport on {address} (UDP): {error}; choose another with --webtransport")
        })?;
        say(format_args!("webtransport={}", listener.local_addr()));
        Ok(Some(listener))
    }
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
