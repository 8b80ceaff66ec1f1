//! Who may speak on the mesh: one secret, or your own certificates (docs/protocol/mesh.md, "Identity").
//!
//! Every node derives the same cluster CA from the secret and signs its own leaf at start; both ends of a connection
//! verify each other with the stock verifiers of rustls. A leaf names its node, so nobody answers for another.

use std::fmt;
use std::sync::Arc;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, Connection, EndpointConfig, ServerConfig};
use quinn_proto::HashedConnectionIdGenerator;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, KeyPair, KeyUsagePurpose, PKCS_ED25519, SerialNumber, date_time_ymd,
};
use ring::hmac;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, crypto::CryptoProvider, version::TLS13};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::secret::{Secret, derive};
use crate::id::NodeId;

/// Your own certificates instead of those derived from a secret.
///
/// The leaf must carry the names `mesh.socketmesh.internal` and `<node id>.node.socketmesh.internal` and allow both
/// client and server authentication.
///
/// ```no_run
/// use socketmesh::cluster::{Certificates, Cluster};
///
/// # fn f() -> Result<(), Box<dyn std::error::Error>> {
/// let read = |name| std::fs::read(format!("/etc/mesh/{name}.pem"));
/// let certificates = Certificates::from_pem(&read("ca")?, &read("chain")?, &read("key")?)?;
/// let cluster = Cluster::bind("0.0.0.0:7946").seed("chat-nodes:7946").certificates(certificates);
/// # Ok(()) }
/// ```
pub struct Certificates {
    ca: Vec<CertificateDer<'static>>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Certificates {
    /// Reads PEM: the roots to trust, the chain of this node (leaf first) and its private key.
    ///
    /// # Errors
    /// When one of the three does not hold what it should.
    pub fn from_pem(ca: &[u8], chain: &[u8], key: &[u8]) -> Result<Self, IdentityError> {
        let certificates = |pem| CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
        let unreadable = IdentityError::Unreadable;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| unreadable("key", error.to_string()))?;
        let ca = certificates(ca).map_err(|error| unreadable("CA", error.to_string()))?;
        let chain = certificates(chain).map_err(|error| unreadable("chain", error.to_string()))?;
        Ok(Self { ca, chain, key })
    }

    /// Takes DER: the roots to trust, the chain of this node (leaf first) and its private key (PKCS#8, PKCS#1 or SEC1).
    ///
    /// # Errors
    /// When the key has none of these forms.
    pub fn from_der(ca: Vec<Vec<u8>>, chain: Vec<Vec<u8>>, key: Vec<u8>) -> Result<Self, IdentityError> {
        let certificates = |der: Vec<Vec<u8>>| der.into_iter().map(CertificateDer::from).collect();
        let key = PrivateKeyDer::try_from(key)
            .map_err(|error| IdentityError::Unreadable("key", error.to_owned()))?;
        Ok(Self { ca: certificates(ca), chain: certificates(chain), key })
    }
}

impl Clone for Certificates {
    fn clone(&self) -> Self {
        Self { ca: self.ca.clone(), chain: self.chain.clone(), key: self.key.clone_key() }
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Certificates(..)")
    }
}

/// What makes a node one of its cluster: the secret that all nodes share, or certificates of its own.
///
/// ```no_run
/// use socketmesh::cluster::Secret;
///
/// # fn f(node: socketmesh::Node) -> Result<(), Box<dyn std::error::Error>> {
/// let (next, current) = (Secret::from_file("/etc/mesh/next")?, Secret::from_file("/etc/mesh/current")?);
/// node.renew_credentials(next.accepting(current))?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Credentials {
    /// Certificates are made from it.
    Secret(Secret),
    /// Somebody else issued them.
    Certificates(Certificates),
}

impl From<Secret> for Credentials {
    fn from(secret: Secret) -> Self {
        Self::Secret(secret)
    }
}

impl From<Certificates> for Credentials {
    fn from(certificates: Certificates) -> Self {
        Self::Certificates(certificates)
    }
}

type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why a node has no identity on the mesh.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The input does not hold what it should: the name of the part, and what is wrong with it.
    #[error("the {0} is not readable: {1}")]
    Unreadable(&'static str, String),
    /// The leaf carries no node name; see [`Certificates`].
    #[error("the certificate has no name of the form <node id>{NODE_SUFFIX}")]
    NoNodeName,
    /// The leaf names another node.
    #[error("the certificate names node {certified}, the configuration {configured}")]
    OtherNode {
        /// The node that the certificate names.
        certified: NodeId,
        /// The node that the configuration names.
        configured: NodeId,
    },
    /// TLS refuses the certificates or the key.
    #[error("the certificates cannot be used")]
    Unusable(#[source] Source),
    /// No certificates could be made from the secret.
    #[error("the certificates cannot be made")]
    Creation(#[source] Source),
}

/// This node's certificates and the keys that outlive its restarts.
pub(crate) struct Identity {
    id: NodeId,
    certificates: Certificates,
    /// The same in every life of this node: lets a restarted node answer for its last life.
    reset_key: [u8; 32],
}

impl Identity {
    /// The identity of `id` in the cluster of this secret.
    ///
    /// # Errors
    /// When the certificates cannot be made.
    pub(crate) fn from_secret(secret: &Secret, id: &NodeId) -> Result<Self, IdentityError> {
        let certificates = sign(secret, id).map_err(IdentityError::Creation)?;
        let reset_key = secret.derive(&[b"reset ", id.as_str().as_bytes()]);
        Ok(Self { id: id.clone(), certificates, reset_key })
    }

    /// The identity that these certificates give. `id` is checked against them if there is one.
    ///
    /// # Errors
    /// When they name no node, or another one.
    pub(crate) fn from_certificates(
        certificates: Certificates,
        id: Option<&NodeId>,
    ) -> Result<Self, IdentityError> {
        let certified = certificates.chain.first().and_then(certified_id).ok_or(IdentityError::NoNodeName)?;
        if let Some(configured) = id.filter(|id| **id != certified) {
            return Err(IdentityError::OtherNode { certified, configured: configured.clone() });
        }
        let reset_key = derive(certificates.key.secret_der(), &[b"reset ", certified.as_str().as_bytes()]);
        Ok(Self { id: certified, certificates, reset_key })
    }

    /// Which node this is.
    pub(crate) fn id(&self) -> &NodeId {
        &self.id
    }

    /// The TLS configuration that accepts only nodes of the same cluster.
    ///
    /// # Errors
    /// When TLS refuses the certificates or the key.
    pub(crate) fn server_config(&self) -> Result<ServerConfig, IdentityError> {
        let config = || {
            let roots = self.roots()?.into();
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider()).build()?;
            let mut tls = rustls::ServerConfig::builder_with_provider(provider())
                .with_protocol_versions(&[&TLS13])?
                .with_client_cert_verifier(verifier)
                .with_single_cert(self.certificates.chain.clone(), self.certificates.key.clone_key())?;
            tls.alpn_protocols = vec![ALPN.to_vec()];
            Ok(ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?)))
        };
        config().map_err(IdentityError::Unusable)
    }

    /// The TLS configuration that dials only nodes of the same cluster.
    ///
    /// # Errors
    /// When TLS refuses the certificates or the key.
    pub(crate) fn client_config(&self) -> Result<ClientConfig, IdentityError> {
        let config = || {
            let mut tls = rustls::ClientConfig::builder_with_provider(provider())
                .with_protocol_versions(&[&TLS13])?
                .with_root_certificates(self.roots()?)
                .with_client_auth_cert(self.certificates.chain.clone(), self.certificates.key.clone_key())?;
            tls.alpn_protocols = vec![ALPN.to_vec()];
            Ok(ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?)))
        };
        config().map_err(IdentityError::Unusable)
    }

    /// Keys that are the same after a restart. With them a node answers packets of its last life with a stateless reset
    /// that verifies; the connection ids must verify too, otherwise quinn drops such packets silently.
    pub(crate) fn endpoint_config(&self) -> EndpointConfig {
        let mut config = EndpointConfig::new(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, &self.reset_key)));
        let [a, b, c, d, e, f, g, h, ..] = derive(&self.reset_key, &[b"connection ids"]);
        let key = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
        config.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(key)));
        config
    }

    fn roots(&self) -> Result<RootCertStore, rustls::Error> {
        let mut roots = RootCertStore::empty();
        for ca in &self.certificates.ca {
            roots.add(ca.clone())?;
        }
        Ok(roots)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The node at the other end, from its verified certificate.
pub(crate) fn peer_id(connection: &Connection) -> Option<NodeId> {
    let chain = connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    certified_id(chain.first()?)
}

fn certified_id(leaf: &CertificateDer<'_>) -> Option<NodeId> {
    let leaf = webpki::EndEntityCert::try_from(leaf).ok()?;
    leaf.valid_dns_names().find_map(|name| name.strip_suffix(NODE_SUFFIX)?.parse().ok())
}

/// The certificates of a node in the cluster of this secret.
fn sign(secret: &Secret, id: &NodeId) -> Result<Certificates, Source> {
    let ca = cluster_ca(secret)?;
    let key = KeyPair::generate_for(&PKCS_ED25519)?;
    let mut leaf = params(id.as_str(), vec![MESH_NAME.to_owned(), format!("{id}{NODE_SUFFIX}")])?;
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let leaf = leaf.signed_by(&key, &ca)?;
    let mut accepted = vec![ca.der().clone()];
    for other in secret.others() {
        accepted.push(cluster_ca(&other)?.der().clone());
    }
    Ok(Certificates {
        ca: accepted,
        chain: vec![leaf.der().clone()],
        key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
    })
}

/// Byte-identical on every node: fixed names, dates and serial number, and Ed25519 signs deterministically.
fn cluster_ca(secret: &Secret) -> Result<CertifiedIssuer<'static, KeyPair>, rcgen::Error> {
    let seed = secret.derive(&[b"certificate authority"]);
    let key = KeyPair::try_from([&ED25519_PKCS8[..], &seed[..]].concat())?;
    let mut ca = params("socketmesh cluster", Vec::new())?;
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    ca.serial_number = Some(SerialNumber::from(1_u64));
    CertifiedIssuer::self_signed(ca, key)
}

/// The certificates are valid for so long that nodes whose clocks disagree by years still meet.
fn params(name: &str, names: Vec<String>) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2120, 1, 1);
    Ok(params)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The name that every node's certificate carries; what a dialler asks for.
pub(crate) const MESH_NAME: &str = "mesh.socketmesh.internal";
const NODE_SUFFIX: &str = ".node.socketmesh.internal";
const ALPN: &[u8] = b"socketmesh/1";
/// PKCS#8 version 1 around an Ed25519 seed (RFC 8410, section 7).
const ED25519_PKCS8: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        format!("{text}, a secret of the tests, long enough").parse().unwrap()
    }

    fn id(text: &str) -> NodeId {
        text.parse().unwrap()
    }

    #[test]
    fn the_cluster_ca_is_the_same_on_every_node() {
        let [a, b, c] = ["x", "x", "y"].map(|text| cluster_ca(&secret(text)).unwrap().der().clone());
        assert_eq!(a, b);
        assert_ne!(a, c);
    }

    #[test]
    fn a_leaf_names_its_node() {
        let identity = Identity::from_secret(&secret("x"), &id("node-1")).unwrap();
        assert_eq!(certified_id(&identity.certificates.chain[0]), Some(id("node-1")));
        assert_eq!(certified_id(&identity.certificates.ca[0]), None);
        assert!(identity.server_config().is_ok() && identity.client_config().is_ok());
    }

    #[test]
    fn keys_outlive_a_restart_and_differ_between_nodes() {
        let key = |node| Identity::from_secret(&secret("x"), &id(node)).unwrap().reset_key;
        assert_eq!(key("a"), key("a"));
        assert_ne!(key("a"), key("b"));
    }

    #[test]
    fn your_own_certificates_give_the_node_its_id() {
        let own = Identity::from_secret(&secret("x"), &id("node-1")).unwrap().certificates;
        let identity = Identity::from_certificates(own.clone(), None).unwrap();
        assert_eq!(identity.id(), &id("node-1"));
        assert!(matches!(
            Identity::from_certificates(own, Some(&id("node-2"))),
            Err(IdentityError::OtherNode { .. })
        ));
    }

    #[test]
    fn what_is_no_pem_is_refused_with_its_place() {
        let error = Certificates::from_pem(b"", b"", b"nothing").unwrap_err();
        assert!(error.to_string().starts_with("the key is not readable"), "{error}");
    }
}
