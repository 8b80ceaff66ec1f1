//! The secret that the nodes of a cluster share, and the keys derived from it.

use std::collections::HashSet;
use std::fmt;
use std::path::Path;
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
pub struct Secret {
    own: Arc<[u8]>,
    also: Vec<Arc<[u8]>>,
}

impl Secret {
    /// Makes a secret of at least 32 bytes, which should come from a random generator.
    ///
    /// # Errors
    /// When there are fewer than 32 bytes, or they repeat themselves so much that nobody drew them.
    pub fn new(bytes: impl AsRef<[u8]>) -> Result<Self, InvalidSecret> {
        let bytes = bytes.as_ref();
        match bytes.len() {
            ..MIN_SECRET => Err(InvalidSecret::Short(bytes.len())),
            _ if repeats_itself(bytes) => Err(InvalidSecret::Guessable),
            _ => Ok(Self { own: bytes.into(), also: Vec::new() }),
        }
    }

    /// A secret that nobody else has: for a cluster within one process.
    ///
    /// # Errors
    /// When the operating system's random generator fails.
    pub fn random() -> Result<Self, RandomError> {
        Ok(Self { own: random::bytes::<MIN_SECRET>()?.as_slice().into(), also: Vec::new() })
    }

    /// The node also accepts those that have the other secret, which it does not use itself. With it a secret is changed while
    /// nodes run: first every node accepts the new one, then every node uses it and accepts the old one, then none accepts that.
    #[must_use]
    pub fn accepting(mut self, other: Self) -> Self {
        self.also.push(other.own);
        self
    }

    /// Reads the secret from the environment variable `SOCKETMESH_SECRET`, or from the file that `SOCKETMESH_SECRET_FILE`
    /// names, and one that is [accepted](Self::accepting) as well from `SOCKETMESH_SECRET_ALSO` or `SOCKETMESH_SECRET_ALSO_FILE`.
    /// Returns `None` if neither of the first two is set. White space around a secret does not count.
    ///
    /// # Errors
    /// When a secret is too short or repeats itself, a file cannot be read or everybody can read it, or a secret and its file are
    /// both set.
    pub fn from_env() -> Result<Option<Self>, SecretError> {
        let own = from_variables("SOCKETMESH_SECRET", "SOCKETMESH_SECRET_FILE")?;
        let also = from_variables("SOCKETMESH_SECRET_ALSO", "SOCKETMESH_SECRET_ALSO_FILE")?;
        Ok(match (own, also) {
            (Some(own), Some(also)) => Some(own.accepting(also)),
            (own, _) => own,
        })
    }

    /// Reads the secret from a file. White space around it does not count.
    ///
    /// # Errors
    /// When the file cannot be read, every user of the machine can read it, or the secret is too short or repeats itself.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, SecretError> {
        let path = path.as_ref();
        let name = || path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| SecretError::File(name(), error))?;
        if is_open_to_all(path) { Err(SecretError::OpenToAll(name())) } else { Ok(text.parse()?) }
    }

    /// The secrets that are accepted but not used.
    pub(crate) fn others(&self) -> impl Iterator<Item = Self> {
        self.also.iter().map(|own| Self { own: Arc::clone(own), also: Vec::new() })
    }

    /// A key of 32 bytes for one purpose.
    pub(crate) fn derive(&self, purpose: &[&[u8]]) -> [u8; 32] {
        derive(&self.own, purpose)
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

/// The secret is none. Anybody who sees one certificate could guess it offline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidSecret {
    /// It has so few bytes.
    #[error(
        "a cluster secret needs at least {MIN_SECRET} random bytes, this one has {0} (try `openssl rand -base64 32`)"
    )]
    Short(usize),
    /// It repeats itself.
    #[error(
        "a cluster secret comes from a random generator, this one repeats itself (try `openssl rand -base64 32`)"
    )]
    Guessable,
}

/// Why the environment gives no secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// The secret is too short, or repeats itself.
    #[error(transparent)]
    Invalid(#[from] InvalidSecret),
    /// A file cannot be read.
    #[error("the secret file {0} cannot be read: {1}")]
    File(String, #[source] std::io::Error),
    /// Every user of the machine can read or change a file.
    #[error("every user of this machine can read the secret file {0}: chmod o= {0}")]
    OpenToAll(String),
    /// Both of these variables are set, so it is not clear which one counts.
    #[error("{0} and {1} are both set")]
    Both(&'static str, &'static str),
}

fn from_variables(secret: &'static str, file: &'static str) -> Result<Option<Secret>, SecretError> {
    let given = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    Ok(match (given(secret), given(file)) {
        (None, None) => None,
        (Some(secret), None) => Some(secret.parse()?),
        (None, Some(file)) => Some(Secret::from_file(file.trim())?),
        (Some(_), Some(_)) => return Err(SecretError::Both(secret, file)),
    })
}

#[cfg(unix)]
fn is_open_to_all(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(file).is_ok_and(|file| file.permissions().mode() & 0o007 != 0)
}

#[cfg(not(unix))]
fn is_open_to_all(_: &Path) -> bool {
    false
}

/// Whether fewer than half of the runs of three bytes are different: random bytes repeat hardly any, whatever alphabet they are
/// written in.
fn repeats_itself(bytes: &[u8]) -> bool {
    let runs = bytes.windows(3);
    let all = runs.len();
    runs.collect::<HashSet<_>>().len() < all / 2
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

    #[test]
    fn a_short_secret_is_refused_and_a_long_one_never_printed() {
        let error = Secret::new([7; 31]).unwrap_err();
        assert!(error.to_string().contains("at least 32 random bytes, this one has 31"));
        let secret = Secret::random().unwrap();
        assert_eq!(format!("{:?}", secret.clone().accepting(secret)), "Secret(..)");
    }

    #[test]
    fn a_secret_that_nobody_drew_is_refused_and_random_ones_of_any_alphabet_are_not() {
        for drawn_by_nobody in
            ["a".repeat(32), "abc".repeat(12), "password".repeat(5), "0123456789".repeat(4)]
        {
            assert_eq!(Secret::new(drawn_by_nobody).unwrap_err(), InvalidSecret::Guessable);
        }
        for seed in 0..1000_u32 {
            let bytes = derive(&seed.to_be_bytes(), &[b"a secret of the tests"]);
            let hexadecimal: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            let digits: String = bytes.iter().map(|byte| char::from(b'0' + byte % 10)).collect();
            assert!(
                Secret::new(bytes).is_ok() && Secret::new(hexadecimal).is_ok() && Secret::new(digits).is_ok()
            );
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_everybody_can_read_is_told_from_one_of_a_group() {
        use std::os::unix::fs::PermissionsExt as _;
        let file = std::env::temp_dir().join(format!("socketmesh-secret-{}", std::process::id()));
        std::fs::write(&file, "a secret").unwrap();
        let is_open = |mode| {
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
            is_open_to_all(&file)
        };
        assert_eq!([0o600, 0o640, 0o644, 0o602].map(is_open), [false, false, true, true]);
        std::fs::remove_file(file).unwrap();
    }
}
