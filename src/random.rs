//! Random numbers of the operating system, for ids, keys and secrets.

/// The operating system's random generator failed. Nothing can be done about it here: without random numbers there are
/// neither ids nor TLS.
///
/// ```
/// use socketmesh::RandomError;
/// use socketmesh::id::NodeId;
///
/// let id: Result<NodeId, RandomError> = NodeId::random();
/// # assert!(id.is_ok());
/// ```
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the operating system's random generator failed: {0}")]
pub struct RandomError(getrandom::Error);

/// Random bytes.
pub(crate) fn bytes<const N: usize>() -> Result<[u8; N], RandomError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(RandomError)?;
    Ok(bytes)
}

/// A random part of a whole: from 0 to 1, which it is not. Half of it if there are no random numbers.
pub(crate) fn fraction() -> f64 {
    let [a, b, c, d] = bytes().unwrap_or([0x80, 0, 0, 0]);
    f64::from(u32::from_be_bytes([a, b, c, d])) / (f64::from(u32::MAX) + 1.0)
}

/// A random number.
pub(crate) fn number() -> Result<u64, RandomError> {
    getrandom::u64().map_err(RandomError)
}
