//! TLS with certificates that a test makes, and clients of HTTP/2.

use std::net::SocketAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use socketmesh::http::Certificate;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::deadline::within;

/// A certificate for `localhost`, and clients that trust it.
#[derive(Debug)]
pub struct Trust {
    own: CertificateDer<'static>,
    /// The certificate as PEM.
    pub chain: String,
    /// Its key as PEM.
    pub key: String,
}

impl Trust {
    /// Makes a new one.
    ///
    /// # Panics
    /// The operating system has no random numbers.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "every one is different")]
    pub fn new() -> Self {
        let key = KeyPair::generate().expect("random numbers");
        let params = CertificateParams::new(["localhost".to_owned()]).expect("a name");
        let own = params.self_signed(&key).expect("a key that signs").der().clone();
        Self { chain: pem("CERTIFICATE", &own), key: pem("PRIVATE KEY", &key.serialize_der()), own }
    }

    /// The certificate as a node takes it.
    ///
    /// # Panics
    /// The node rejects it.
    #[must_use]
    pub fn certificate(&self) -> Certificate {
        Certificate::from_pem(&self.chain, &self.key).expect("a certificate and its key")
    }

    /// Connects a client that trusts this certificate only and offers these protocols.
    ///
    /// # Errors
    /// The server presents another certificate, or breaks off.
    ///
    /// # Panics
    /// The connection is refused.
    pub async fn connect(&self, addr: SocketAddr, alpn: &[&str]) -> std::io::Result<TlsStream<TcpStream>> {
        self.connect_as(None, addr, alpn).await
    }

    /// The same for a client that presents a certificate, too.
    ///
    /// # Errors
    /// The server presents another certificate, or breaks off.
    ///
    /// # Panics
    /// The connection is refused.
    pub async fn connect_as(
        &self,
        own: Option<&Self>,
        addr: SocketAddr,
        alpn: &[&str],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let tcp = within("a TCP connection", TcpStream::connect(addr)).await.expect("somebody listens");
        self.secure(own, tcp, alpn).await
    }

    /// The same over a connection that is there.
    ///
    /// # Errors
    /// The server presents another certificate, or breaks off.
    ///
    /// # Panics
    /// Never: what it was made of is valid.
    pub async fn secure(
        &self,
        own: Option<&Self>,
        tcp: TcpStream,
        alpn: &[&str],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.own.clone()).expect("a certificate");
        let config = ClientConfig::builder().with_root_certificates(roots);
        let mut config = match own {
            Some(own) => {
                let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).expect("a key");
                config.with_client_auth_cert(vec![own.own.clone()], key).expect("a certificate and its key")
            }
            None => config.with_no_client_auth(),
        };
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let name = ServerName::try_from("localhost").expect("a name");
        within("a handshake of TLS", TlsConnector::from(Arc::new(config)).connect(name, tcp)).await
    }
}

/// A certificate authority for the nodes of a cluster.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate as PEM.
    pub certificate: String,
}

impl Authority {
    /// Makes a new one.
    ///
    /// # Panics
    /// The operating system has no random numbers.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "every one is different")]
    pub fn new() -> Self {
        let key = KeyPair::generate().expect("random numbers");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let own = params.self_signed(&key).expect("a key that signs");
        Self { certificate: pem("CERTIFICATE", own.der()), issuer: Issuer::new(params, key) }
    }

    /// The certificate of a node.
    ///
    /// # Panics
    /// `id` is not a valid name.
    #[must_use]
    pub fn node(&self, id: &str) -> Trust {
        let key = KeyPair::generate().expect("random numbers");
        let names = ["mesh.socketmesh.internal".to_owned(), format!("{id}.node.socketmesh.internal")];
        let params = CertificateParams::new(names).expect("names");
        let own = params.signed_by(&key, &self.issuer).expect("a key that signs").der().clone();
        Trust { chain: pem("CERTIFICATE", &own), key: pem("PRIVATE KEY", &key.serialize_der()), own }
    }
}

/// Sends requests over one HTTP/2 connection.
pub type Multiplexed = http2::SendRequest<Full<Bytes>>;

/// Opens HTTP/2 on a connection. `window` is the number of bytes of a response that this client accepts unread. The task
/// ends with the connection.
///
/// # Panics
/// The server breaks off at once.
pub async fn multiplexed<S>(stream: S, window: u32) -> (Multiplexed, JoinHandle<hyper::Result<()>>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let handshake = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(window)
        .initial_connection_window_size(1 << 20)
        .handshake(TokioIo::new(stream));
    let (sender, connection) = within("a connection of HTTP/2", handshake).await.expect("an open connection");
    (sender, tokio::spawn(connection))
}

fn pem(what: &str, der: &[u8]) -> String {
    format!("-----BEGIN {what}-----\n{}\n-----END {what}-----\n", STANDARD.encode(der))
}
