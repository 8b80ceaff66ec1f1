//! TLS for clients, with a certificate that can be renewed without a restart.

use std::fmt;
use std::sync::Arc;

use parking_lot::RwLock;
use rustls::crypto::ring::default_provider;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{DEFAULT_VERSIONS, RootCertStore, ServerConfig, SupportedProtocolVersion};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::certificate::{Certificate, CertificateError};
use super::listener::{Encryption, EncryptionHandshake, Listener};
use crate::engine::stream_task::ByteStream;

/// TLS 1.2 and 1.3 for clients, offering HTTP/2 and HTTP/1.1. Node: `https.createServer`.
///
/// A clone shares the certificate: after [`renew`](Self::renew) on one of them, every listener with a clone presents the
/// new certificate from its next handshake on.
///
/// ```no_run
/// use socketmesh::http::{Certificate, Listener, Tls};
///
/// # async fn f(node: socketmesh::Node) -> Result<(), Box<dyn std::error::Error>> {
/// let read = || Certificate::from_pem_files("chain.pem", "key.pem");
/// let tls = Tls::new(&read()?)?;
/// let listener = tokio::net::TcpListener::bind("0.0.0.0:443").await?;
/// tokio::spawn({
///     let (node, tls) = (node.clone(), tls.clone());
///     async move { node.serve(Listener::new(listener).tls(tls)).await }
/// });
/// // Later, when the files have changed:
/// tls.renew(&read()?)?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Tls {
    presented: Arc<Presented>,
    config: Arc<ServerConfig>,
}

impl Tls {
    /// Presents `certificate` to clients.
    ///
    /// # Errors
    ///
    /// Fails if the key cannot sign, or does not belong to the certificate.
    pub fn new(certificate: &Certificate) -> Result<Self, CertificateError> {
        let presented = Arc::new(Presented(RwLock::new(signing(certificate)?)));
        let config = configure(&presented, DEFAULT_VERSIONS, &[b"h2", b"http/1.1"], None)?;
        Ok(Self { presented, config: Arc::new(config) })
    }

    /// The same, and accepts only clients that present a certificate from one of these roots (PEM): for operators, or for
    /// services that connect to each other.
    ///
    /// # Errors
    ///
    /// Those of [`Tls::new`], and when there are no roots in the text.
    pub fn mutual(certificate: &Certificate, roots: impl AsRef<[u8]>) -> Result<Self, CertificateError> {
        let presented = Arc::new(Presented(RwLock::new(signing(certificate)?)));
        let roots = client_roots(roots.as_ref())?;
        let verifier =
            WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::new(default_provider()));
        let verifier =
            verifier.build().map_err(|error| CertificateError::new("the roots of clients", error))?;
        let config = configure(&presented, DEFAULT_VERSIONS, &[b"h2", b"http/1.1"], Some(verifier))?;
        Ok(Self { presented, config: Arc::new(config) })
    }

    /// Presents another certificate from the next handshake on. Existing connections go on, and a resumed TLS session is not
    /// shown a certificate again.
    ///
    /// # Errors
    ///
    /// Fails like [`Tls::new`]. Then the current certificate stays.
    pub fn renew(&self, certificate: &Certificate) -> Result<(), CertificateError> {
        *self.presented.0.write() = signing(certificate)?;
        Ok(())
    }

    /// TLS 1.3 for HTTP/3, with the same certificate.
    #[cfg_attr(not(feature = "webtransport"), expect(dead_code, reason = "only WebTransport needs it"))]
    pub(crate) fn http3(&self) -> Result<ServerConfig, CertificateError> {
        configure(&self.presented, &[&TLS13], &[b"h3"], None)
    }
}

impl Listener {
    /// Serves over TLS only. A client has 10 s for its handshake, or the [head timeout](Self::head_timeout) if that is
    /// shorter. While 4096 handshakes are in progress, further connections are closed.
    pub fn tls(mut self, tls: Tls) -> Self {
        self.encryption = Some(Arc::new(tls));
        self
    }
}

impl Encryption for Tls {
    fn handshake(&self, connection: TcpStream) -> EncryptionHandshake {
        let handshake = TlsAcceptor::from(Arc::clone(&self.config)).accept(connection);
        Box::pin(async move { Ok(Box::new(handshake.await?) as Box<dyn ByteStream>) })
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls(..)")
    }
}

/// The current certificate.
struct Presented(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Presented {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read()))
    }
}

impl fmt::Debug for Presented {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Presented(..)")
    }
}

fn configure(
    presented: &Arc<Presented>,
    versions: &[&'static SupportedProtocolVersion],
    protocols: &[&[u8]],
    clients: Option<Arc<dyn ClientCertVerifier>>,
) -> Result<ServerConfig, CertificateError> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(versions)
        .map_err(|error| CertificateError::new("TLS", error))?
        .with_client_cert_verifier(clients.unwrap_or_else(WebPkiClientVerifier::no_client_auth))
        .with_cert_resolver(Arc::<Presented>::clone(presented));
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(config)
}

fn client_roots(pem: &[u8]) -> Result<RootCertStore, CertificateError> {
    let failed = |error: &dyn fmt::Display| CertificateError::new("the roots of clients", error.to_string());
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(pem) {
        roots.add(root.map_err(|error| failed(&error))?).map_err(|error| failed(&error))?;
    }
    if roots.is_empty() { Err(failed(&"there is no certificate in them")) } else { Ok(roots) }
}

fn signing(certificate: &Certificate) -> Result<Arc<CertifiedKey>, CertificateError> {
    let (chain, key) = (certificate.chain.clone(), certificate.key.clone_key());
    CertifiedKey::from_der(chain, key, &default_provider())
        .map(Arc::new)
        .map_err(|error| CertificateError::new("the certificate and its key", error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_another_certificate_is_refused_and_the_old_one_stays() {
        let [one, other] = ["one", "other"].map(|name| Certificate::self_signed([name]).unwrap());
        let mixed = Certificate { chain: one.chain.clone(), key: other.key.clone_key() };
        assert!(Tls::new(&mixed).is_err());
        let tls = Tls::new(&one).unwrap();
        assert!(tls.renew(&mixed).is_err());
        assert_eq!(tls.presented.0.read().cert, one.chain);
        tls.renew(&other).unwrap();
        assert_eq!(tls.presented.0.read().cert, other.chain);
    }
}
