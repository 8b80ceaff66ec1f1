//! Who may speak on the mesh: one secret, or your own certificates (docs/protocol/mesh.md, "Identity").
//!
//! Every node derives the same cluster CA from the secret and signs its own leaf at start; both ends of a connection
//! verify each other with the stock verifiers of rustls. A leaf names its node, so nobody answers for another.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, Connection, EndpointConfig, ServerConfig};
use quinn_proto::HashedConnectionIdGenerator;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, KeyPair, KeyUsagePurpose, PKCS_ED25519, SerialNumber, date_time_ymd,
};
use ring::hkdf::{HKDF_SHA256, Salt};
use ring::hmac;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, crypto::CryptoProvider, version::TLS13};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::id::NodeId;
use crate::random::{self, RandomError};

/// The secret that the nodes of a cluster share: at least 32 random bytes, never printed.
///
/// ```
/// # fn main() -> Result<(), socketmesh::cluster::InvalidSecret> {
/// let secret: socketmesh::cluster::Secret = "9pCYkSrvB7mEGNqYSvqQ0mCv5vxnT9xZ".parse()?;
/// assert_eq!(format!("{secret:?}"), "Secret(..)");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Secret(Arc<[u8]>);

/// The secret is too short: whoever sees one certificate could guess it offline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a cluster secret needs at least {MIN_SECRET} random bytes, this one has {0} (try `openssl rand -base64 32`)"
)]
pub struct InvalidSecret(usize);

impl Secret {
    /// Takes at least 32 bytes; they should come from a random generator.
    ///
    /// # Errors
    /// When there are fewer.
    pub fn new(bytes: impl AsRef<[u8]>) -> Result<Self, InvalidSecret> {
        let bytes = bytes.as_ref();
        if bytes.len() < MIN_SECRET { Err(InvalidSecret(bytes.len())) } else { Ok(Self(bytes.into())) }
    }

    /// A secret that nobody else has: for a cluster within one process.
    ///
    /// # Errors
    /// When the operating system's random generator fails.
    pub fn random() -> Result<Self, RandomError> {
        Ok(Self(random::bytes::<MIN_SECRET>()?.as_slice().into()))
    }

    /// The secret in `SOCKETMESH_SECRET`, or in the file that `SOCKETMESH_SECRET_FILE` names; none if neither is set.
    /// White space around it does not count.
    ///
    /// # Errors
    /// When it is too short, the file cannot be read, or both are set.
    pub fn from_env() -> Result<Option<Self>, SecretError> {
        let given = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        Ok(match (given("SOCKETMESH_SECRET"), given("SOCKETMESH_SECRET_FILE")) {
            (None, None) => None,
            (Some(secret), None) => Some(secret.parse()?),
            (None, Some(file)) => match std::fs::read_to_string(&file) {
                Ok(secret) => Some(secret.parse()?),
                Err(error) => return Err(SecretError::File(file, error)),
            },
            (Some(_), Some(_)) => return Err(SecretError::Both),
        })
    }

    /// A key of 32 bytes for one purpose.
    fn derive(&self, purpose: &[&[u8]]) -> [u8; 32] {
        derive(&self.0, purpose)
    }
}

impl FromStr for Secret {
    type Err = InvalidSecret;

    /// The bytes of the text itself, as they come from an environment variable.
    fn from_str(text: &str) -> Result<Self, InvalidSecret> {
        Self::new(text.trim())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Why the environment gives no secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// Too short to be one.
    #[error(transparent)]
    Invalid(#[from] InvalidSecret),
    /// The file cannot be read.
    #[error("the secret file {0} cannot be read: {1}")]
    File(String, #[source] std::io::Error),
    /// Which one counts?
    #[error("SOCKETMESH_SECRET and SOCKETMESH_SECRET_FILE are both set")]
    Both,
}

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
    /// When one of them holds no such thing.
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
    /// When the key is of no known form.
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

/// Why a node has no identity on the mesh.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// A file holds something else.
    #[error("the {0} is not readable: {1}")]
    Unreadable(&'static str, String),
    /// The leaf carries no node name; see [`Certificates`].
    #[error("the certificate has no name of the form <node id>{NODE_SUFFIX}")]
    NoNodeName,
    /// The leaf is another node's.
    #[error("the certificate names node {certified}, the configuration {configured}")]
    OtherNode {
        /// As the certificate says.
        certified: NodeId,
        /// As the configuration says.
        configured: NodeId,
    },
    /// rustls refuses the certificates or the key.
    #[error("the certificates cannot be used")]
    Tls(#[from] rustls::Error),
    /// The certificates could not be made.
    #[error("the certificates cannot be made")]
    Making(#[from] rcgen::Error),
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
    pub(crate) fn from_secret(secret: &Secret, id: &NodeId) -> Result<Self, IdentityError> {
        let ca = cluster_ca(secret)?;
        let key = KeyPair::generate_for(&PKCS_ED25519)?;
        let mut leaf = params(id.as_str(), vec![MESH_NAME.to_owned(), format!("{id}{NODE_SUFFIX}")])?;
        leaf.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let leaf = leaf.signed_by(&key, &ca)?;
        let certificates = Certificates {
            ca: vec![ca.der().clone()],
            chain: vec![leaf.der().clone()],
            key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        };
        let reset_key = secret.derive(&[b"reset ", id.as_str().as_bytes()]);
        Ok(Self { id: id.clone(), certificates, reset_key })
    }

    /// The identity that these certificates give; `id` is checked when given.
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

    /// Accepts only nodes of the same cluster.
    pub(crate) fn server_config(&self) -> Result<ServerConfig, IdentityError> {
        let verifier = WebPkiClientVerifier::builder_with_provider(self.roots()?.into(), provider())
            .build()
            .map_err(|error| rustls::Error::General(error.to_string()))?;
        let mut tls = rustls::ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(verifier)
            .with_single_cert(self.certificates.chain.clone(), self.certificates.key.clone_key())?;
        tls.alpn_protocols = vec![ALPN.to_vec()];
        let quic =
            QuicServerConfig::try_from(tls).map_err(|error| rustls::Error::General(error.to_string()))?;
        Ok(ServerConfig::with_crypto(Arc::new(quic)))
    }

    /// Dials only nodes of the same cluster.
    pub(crate) fn client_config(&self) -> Result<ClientConfig, IdentityError> {
        let mut tls = rustls::ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])?
            .with_root_certificates(self.roots()?)
            .with_client_auth_cert(self.certificates.chain.clone(), self.certificates.key.clone_key())?;
        tls.alpn_protocols = vec![ALPN.to_vec()];
        let quic =
            QuicClientConfig::try_from(tls).map_err(|error| rustls::Error::General(error.to_string()))?;
        Ok(ClientConfig::new(Arc::new(quic)))
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

/// Byte-identical on every node: fixed names, dates and serial number, and Ed25519 signs deterministically.
fn cluster_ca(secret: &Secret) -> Result<CertifiedIssuer<'static, KeyPair>, IdentityError> {
    let seed = secret.derive(&[b"certificate authority"]);
    let key = KeyPair::try_from([&ED25519_PKCS8[..], &seed[..]].concat())?;
    let mut ca = params("socketmesh cluster", Vec::new())?;
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    ca.serial_number = Some(SerialNumber::from(1_u64));
    Ok(CertifiedIssuer::self_signed(ca, key)?)
}

/// Valid for ever in practice: nodes whose clocks disagree by years still meet.
fn params(name: &str, names: Vec<String>) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2120, 1, 1);
    Ok(params)
}

fn derive(secret: &[u8], purpose: &[&[u8]]) -> [u8; 32] {
    let mut key = [0; 32];
    let expanded = Salt::new(HKDF_SHA256, b"socketmesh 1").extract(secret);
    expanded
        .expand(purpose, HKDF_SHA256)
        .and_then(|okm| okm.fill(&mut key))
        .expect("32 bytes are one block of HKDF-SHA256, which has 255");
    key
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The name that every node's certificate carries; what a dialler asks for.
pub(crate) const MESH_NAME: &str = "mesh.socketmesh.internal";
const NODE_SUFFIX: &str = ".node.socketmesh.internal";
const ALPN: &[u8] = b"socketmesh/1";
/// A leaf is shown to any prober, who can then try secrets offline: 256 bits leave no hope.
const MIN_SECRET: usize = 32;
/// PKCS#8 version 1 around an Ed25519 seed (RFC 8410, section 7).
const ED25519_PKCS8: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        text.repeat(32).parse().unwrap()
    }

    fn id(text: &str) -> NodeId {
        text.parse().unwrap()
    }

    #[test]
    fn a_short_secret_is_refused_and_a_long_one_never_printed() {
        let error = Secret::new([7; 31]).unwrap_err();
        assert!(error.to_string().contains("at least 32 random bytes, this one has 31"));
        assert!(Secret::new([7; 32]).is_ok());
        assert_eq!(format!("{:?}", secret("x")), "Secret(..)");
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
