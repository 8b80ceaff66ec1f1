//! Which namespaces a description is for (Socket.IO server API: `of(path)`, `of(regex)`, `of(function)`).

use std::fmt;
use std::sync::Arc;

use regex_lite::Regex;

use super::admission::BoxFuture;
use super::error::EventError;
use super::handshake::Handshake;
use crate::catch_panic;
use crate::excerpt::Excerpt;

/// The namespaces that one description is for.
#[derive(Clone)]
pub(crate) enum NamespacePaths {
    /// The one with this path.
    One(Arc<str>),
    /// Those in whose path the expression finds something.
    Pattern(Regex),
    /// Those that the application accepts for the client that asks.
    Predicate(AcceptFn),
}

/// Whether a client may enter the namespace that it asks for.
pub(crate) type AcceptFn =
    Arc<dyn Fn(Handshake) -> BoxFuture<'static, Result<bool, EventError>> + Send + Sync>;

impl NamespacePaths {
    /// Whether a namespace is one of these; `None` if that depends on the client.
    pub(crate) fn contain(&self, path: &str) -> Option<bool> {
        match self {
            Self::One(one) => Some(**one == *path),
            // Clients choose paths, and matching takes time.
            Self::Pattern(_) | Self::Predicate(_) if path.len() > MAX_PATH => Some(false),
            Self::Pattern(pattern) => Some(pattern.is_match(path)),
            Self::Predicate(_) => None,
        }
    }

    /// Whether the namespace that a client asks for is one of these for this client.
    pub(crate) async fn accept(&self, handshake: &Handshake) -> bool {
        match (self.contain(handshake.namespace()), self) {
            (None, Self::Predicate(accepts)) => is_accepted(accepts, handshake).await,
            (known, _) => known == Some(true),
        }
    }

    /// Whether the application decides for each client.
    pub(crate) const fn depend_on_the_client(&self) -> bool {
        matches!(self, Self::Predicate(_))
    }
}

async fn is_accepted(accepts: &AcceptFn, handshake: &Handshake) -> bool {
    let outcome = catch_panic::future(async { accepts(handshake.clone()).await }).await;
    let ns = Excerpt::name(handshake.namespace());
    match &outcome {
        Some(Ok(_)) => {}
        Some(Err(error)) => {
            tracing::debug!(%ns, error = %Excerpt::reason(error), "the predicate for a namespace failed, which means no");
        }
        None => tracing::error!(%ns, "the predicate for a namespace panicked, which means no"),
    }
    matches!(outcome, Some(Ok(true)))
}

impl fmt::Display for NamespacePaths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(path) => f.write_str(path),
            Self::Pattern(pattern) => f.write_str(pattern.as_str()),
            Self::Predicate(_) => f.write_str("(a predicate)"),
        }
    }
}

/// `chat` and `/chat` are the same namespace.
pub(crate) fn normalize(path: &str) -> Arc<str> {
    if path.starts_with('/') { path.into() } else { format!("/{path}").into() }
}

/// The longest path of a dynamic namespace, in bytes.
const MAX_PATH: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(pattern: &str) -> NamespacePaths {
        NamespacePaths::Pattern(Regex::new(pattern).unwrap())
    }

    fn predicate() -> NamespacePaths {
        NamespacePaths::Predicate(Arc::new(|_| Box::pin(std::future::ready(Ok(true)))))
    }

    #[test]
    fn a_pattern_finds_its_namespaces_anywhere_unless_it_is_anchored() {
        for (paths, path, expected) in [
            (pattern("room"), "/a-room-1", Some(true)),
            (pattern(r"^/room-\d+$"), "/room-1", Some(true)),
            (pattern(r"^/room-\d+$"), "/room-1x", Some(false)),
            (pattern(r"^/room-\d+$"), "/a/room-1", Some(false)),
            (NamespacePaths::One("/room".into()), "/room", Some(true)),
            (NamespacePaths::One("/room".into()), "/room-1", Some(false)),
            (predicate(), "/room", None),
        ] {
            assert_eq!(paths.contain(path), expected, "{paths} {path}");
        }
    }

    #[test]
    fn a_path_of_more_than_a_kilobyte_is_no_dynamic_namespace() {
        let long = |length| format!("/{}", "x".repeat(length - 1));
        assert_eq!(pattern("x").contain(&long(MAX_PATH)), Some(true));
        assert_eq!(pattern("x").contain(&long(MAX_PATH + 1)), Some(false));
        assert_eq!(predicate().contain(&long(MAX_PATH + 1)), Some(false));
    }
}
