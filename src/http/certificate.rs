//! The certificate that a node presents to clients, over TLS and QUIC.

use std::fmt;
use std::path::Path;

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use ring::digest::{SHA256, digest};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// A certificate chain and its private key.
///
/// ```
/// use socketmesh::http::Certificate;
///
/// let development = Certificate::self_signed(["localhost"]).unwrap();
/// assert_eq!(development.sha256().len(), 32);
/// ```
pub struct Certificate {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: PrivateKeyDer<'static>,
}

impl Certificate {
    /// Reads the chain (the server's own certificate first) and the key from PEM files.
    ///
    /// # Errors
    ///
    /// Fails if a file cannot be read or has no certificate or key; the error names the file.
    pub fn from_pem_files(chain: impl AsRef<Path>, key: impl AsRef<Path>) -> Result<Self, CertificateError> {
        let read =
            |path: &Path| std::fs::read(path).map_err(|error| CertificateError::new(path.display(), error));
        let (chain, key) = (chain.as_ref(), key.as_ref());
        Self::parse(&read(chain)?, chain.display(), &read(key)?, key.display())
    }

    /// Reads the chain and the key from PEM text.
    ///
    /// # Errors
    ///
    /// Fails if a text has no certificate or key.
    pub fn from_pem(chain: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> Result<Self, CertificateError> {
        Self::parse(chain.as_ref(), "the chain", key.as_ref(), "the key")
    }

    /// Makes a certificate for development. It is valid for these host names or addresses, for 14 days from now: the longest
    /// validity with which browsers accept a certificate by its hash ([`serverCertificateHashes`]).
    ///
    /// [`serverCertificateHashes`]: https://www.w3.org/TR/webtransport/#dom-webtransportoptions-servercertificatehashes
    ///
    /// # Errors
    ///
    /// Fails if a name is neither a host name nor an address.
    pub fn self_signed(names: impl IntoIterator<Item = impl Into<String>>) -> Result<Self, CertificateError> {
        let failed = |error: rcgen::Error| CertificateError::new("a certificate of our own", error);
        // Of the kinds of keys, browsers accept this one by its hash.
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?;
        let names: Vec<String> = names.into_iter().map(Into::into).collect();
        let mut params = CertificateParams::new(names).map_err(failed)?;
        #[expect(clippy::disallowed_methods, reason = "a certificate is dated by the wall clock")]
        let now = std::time::SystemTime::now();
        (params.not_before, params.not_after) = (now.into(), (now + FORTNIGHT).into());
        let certificate = params.self_signed(&key).map_err(failed)?;
        let der = PrivateKeyDer::try_from(key.serialize_der())
            .map_err(|error| CertificateError::new("a key of our own", error))?;
        Ok(Self { chain: vec![certificate.der().clone()], key: der })
    }

    /// The SHA-256 hash of the server's own certificate, by which a browser can be told to accept it.
    #[must_use]
    pub fn sha256(&self) -> [u8; 32] {
        let mut hash = [0; 32];
        if let Some(own) = self.chain.first() {
            hash.copy_from_slice(digest(&SHA256, own).as_ref());
        }
        hash
    }

    fn parse(
        chain: &[u8],
        chain_name: impl fmt::Display,
        key: &[u8],
        key_name: impl fmt::Display,
    ) -> Result<Self, CertificateError> {
        let certificates = CertificateDer::pem_slice_iter(chain).collect::<Result<Vec<_>, _>>();
        let chain = match certificates {
            Ok(chain) if !chain.is_empty() => chain,
            Ok(_) => return Err(CertificateError::new(chain_name, "there is no certificate in it")),
            Err(error) => return Err(CertificateError::new(chain_name, error)),
        };
        let key =
            PrivateKeyDer::from_pem_slice(key).map_err(|error| CertificateError::new(key_name, error))?;
        Ok(Self { chain, key })
    }
}

impl Clone for Certificate {
    fn clone(&self) -> Self {
        Self { chain: self.chain.clone(), key: self.key.clone_key() }
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").field("chain", &self.chain.len()).finish_non_exhaustive()
    }
}

/// Why a certificate or its key cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {reason}")]
pub struct CertificateError {
    place: String,
    reason: String,
}

impl CertificateError {
    pub(crate) fn new(place: impl fmt::Display, reason: impl fmt::Display) -> Self {
        Self { place: place.to_string(), reason: reason.to_string() }
    }
}

/// Browsers refuse a longer validity for a certificate that they accept by its hash.
const FORTNIGHT: std::time::Duration = std::time::Duration::from_secs(14 * 24 * 60 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_is_not_pem_is_refused_and_the_error_names_the_file() {
        let error = Certificate::from_pem("nothing", "nothing").unwrap_err();
        assert_eq!(error.to_string(), "the chain: there is no certificate in it");
        let error = Certificate::from_pem_files("/no/such/file", "/no/such/key").unwrap_err();
        assert!(error.to_string().starts_with("/no/such/file: "));
    }

    #[test]
    fn a_certificate_for_development_is_one_that_browsers_accept_by_its_hash() {
        let made = Certificate::self_signed(["localhost", "127.0.0.1"]).unwrap();
        assert_eq!(made.chain.len(), 1);
        assert_ne!(made.sha256(), [0; 32]);
        assert_ne!(made.sha256(), Certificate::self_signed(["localhost"]).unwrap().sha256());
    }
}
