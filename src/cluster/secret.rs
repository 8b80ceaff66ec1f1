//! The secret that the nodes of a cluster share, and the keys derived from it.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use ring::hkdf::{HKDF_SHA256, Salt};

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

impl Secret {
    /// Makes a secret of at least 32 bytes, which should come from a random generator.
    ///
    /// # Errors
    /// When there are fewer than 32 bytes.
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

    /// Reads the secret from the environment variable `SOCKETMESH_SECRET`, or from the file that `SOCKETMESH_SECRET_FILE`
    /// names. Returns `None` if neither is set. White space around the secret does not count.
    ///
    /// # Errors
    /// When the secret is too short, the file cannot be read, or both variables are set.
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
    pub(crate) fn derive(&self, purpose: &[&[u8]]) -> [u8; 32] {
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

/// The secret is too short. Anybody who sees one certificate could guess it offline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a cluster secret needs at least {MIN_SECRET} random bytes, this one has {0} (try `openssl rand -base64 32`)"
)]
pub struct InvalidSecret(usize);

/// Why the environment gives no secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// The secret is too short.
    #[error(transparent)]
    Invalid(#[from] InvalidSecret),
    /// The file that `SOCKETMESH_SECRET_FILE` names cannot be read.
    #[error("the secret file {0} cannot be read: {1}")]
    File(String, #[source] std::io::Error),
    /// Both variables are set, so it is not clear which one counts.
    #[error("SOCKETMESH_SECRET and SOCKETMESH_SECRET_FILE are both set")]
    Both,
}

/// Derives a key of 32 bytes for one purpose (RFC 5869).
pub(crate) fn derive(secret: &[u8], purpose: &[&[u8]]) -> [u8; 32] {
    let mut key = [0; 32];
    let expanded = Salt::new(HKDF_SHA256, b"socketmesh 1").extract(secret);
    expanded
        .expand(purpose, HKDF_SHA256)
        .and_then(|okm| okm.fill(&mut key))
        .expect("32 bytes are one block of HKDF-SHA256, which has 255");
    key
}

/// A leaf is shown to anybody who connects, and who could then try secrets offline. 256 bits leave no hope.
const MIN_SECRET: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        text.repeat(32).parse().unwrap()
    }

    #[test]
    fn a_short_secret_is_refused_and_a_long_one_never_printed() {
        let error = Secret::new([7; 31]).unwrap_err();
        assert!(error.to_string().contains("at least 32 random bytes, this one has 31"));
        assert!(Secret::new([7; 32]).is_ok());
        assert_eq!(format!("{:?}", secret("x")), "Secret(..)");
    }
}
