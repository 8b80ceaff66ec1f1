//! Namespaces that are made when a client asks for one (Socket.IO server API: `of(regex)`, `of(function)`): whose they
//! are, and those that there are.
//!
//! A child lives as long as anything holds it: a socket, connected or not yet, or a reference of the application. So
//! what clients ask for leaves nothing behind, and whoever names a path means the same namespace.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use regex_lite::Regex;

use super::behaviour::BoxFuture;
use super::error::EventError;
use super::handshake::Handshake;
use super::namespace::Described;
use super::raw::caught;
use super::state::NamespaceState;

/// The descriptions that are for more than one namespace, and the namespaces that came of them.
#[derive(Debug)]
pub(crate) struct Family {
    /// In the order of registration.
    parents: Vec<Arc<Described>>,
    children: Mutex<HashMap<Arc<str>, Weak<NamespaceState>>>,
}

impl Family {
    pub(crate) fn new(parents: Vec<Arc<Described>>) -> Self {
        Self { parents, children: Mutex::default() }
    }

    /// The one with this path, if anything holds it.
    pub(crate) fn find(&self, path: &str) -> Option<Arc<NamespaceState>> {
        self.children.lock().get(path)?.upgrade()
    }

    /// The same, or else a new one; `make` runs while the children are locked.
    pub(crate) fn child(
        &self,
        path: &Arc<str>,
        make: impl FnOnce() -> Arc<NamespaceState>,
    ) -> Arc<NamespaceState> {
        let mut children = self.children.lock();
        if let Some(child) = children.get(path).and_then(Weak::upgrade) {
            return child;
        }
        let child = make();
        children.insert(Arc::clone(path), Arc::downgrade(&child));
        child
    }

    /// Nothing holds a child any more. By now there may be another with its path.
    pub(crate) fn forget(&self, path: &str) {
        let mut children = self.children.lock();
        if children.get(path).is_some_and(|child| child.strong_count() == 0) {
            children.remove(path);
        }
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.children.lock().is_empty()
    }

    /// Whether a namespace is one of a parent's, or a parent has to be asked.
    pub(crate) fn may_have(&self, path: &str) -> bool {
        self.parents.iter().any(|parent| parent.paths.contain(path) != Some(false))
    }

    /// Whose a namespace is, if that is known without asking.
    pub(crate) fn parent_of(&self, path: &str) -> Option<Arc<Described>> {
        let first = self.parents.iter().find(|parent| parent.paths.contain(path) != Some(false));
        first.filter(|parent| parent.paths.contain(path) == Some(true)).cloned()
    }

    /// The first parent that takes this client into the namespace it asks for.
    pub(crate) async fn parent_for(&self, handshake: &Handshake) -> Option<Arc<Described>> {
        for parent in &self.parents {
            if parent.paths.take(handshake).await {
                return Some(Arc::clone(parent));
            }
        }
        None
    }
}

/// Which namespaces a description is for.
pub(crate) enum Paths {
    One(Arc<str>),
    Pattern(Regex),
    Where(WhereFn),
}

/// Whether a client may enter the namespace it asks for.
pub(crate) type WhereFn =
    Box<dyn Fn(Handshake) -> BoxFuture<'static, Result<bool, EventError>> + Send + Sync>;

impl Paths {
    /// Whether a namespace is one of them; `None` if that depends on the client.
    fn contain(&self, path: &str) -> Option<bool> {
        match self {
            Self::One(one) => Some(**one == *path),
            // Clients name namespaces, and matching takes time.
            Self::Pattern(_) | Self::Where(_) if path.len() > MAX_PATH => Some(false),
            Self::Pattern(pattern) => Some(pattern.is_match(path)),
            Self::Where(_) => None,
        }
    }

    /// Whether the namespace that a client asks for is one of them.
    pub(crate) async fn take(&self, handshake: &Handshake) -> bool {
        match (self.contain(handshake.namespace()), self) {
            (None, Self::Where(ask)) => says_yes(ask, handshake).await,
            (known, _) => known == Some(true),
        }
    }

    /// Whether every client has to be asked about.
    pub(crate) const fn depend_on_the_client(&self) -> bool {
        matches!(self, Self::Where(_))
    }
}

async fn says_yes(ask: &WhereFn, handshake: &Handshake) -> bool {
    let answer = caught(async { ask(handshake.clone()).await }).await;
    let ns = handshake.namespace();
    match &answer {
        Some(Ok(_)) => {}
        Some(Err(error)) => tracing::debug!(ns, ?error, "who is asked for a namespace failed: no"),
        None => tracing::error!(ns, "who is asked for a namespace panicked: no"),
    }
    matches!(answer, Some(Ok(true)))
}

impl fmt::Display for Paths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(path) => f.write_str(path),
            Self::Pattern(pattern) => f.write_str(pattern.as_str()),
            Self::Where(_) => f.write_str("(a predicate)"),
        }
    }
}

/// Bytes of the path of a child; longer ones belong to no parent.
const MAX_PATH: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(pattern: &str) -> Paths {
        Paths::Pattern(Regex::new(pattern).unwrap())
    }

    #[test]
    fn a_pattern_finds_its_namespaces_anywhere_unless_it_is_anchored() {
        for (paths, path, expected) in [
            (pattern("room"), "/a-room-1", Some(true)),
            (pattern(r"^/room-\d+$"), "/room-1", Some(true)),
            (pattern(r"^/room-\d+$"), "/room-1x", Some(false)),
            (pattern(r"^/room-\d+$"), "/a/room-1", Some(false)),
            (Paths::One("/room".into()), "/room", Some(true)),
            (Paths::One("/room".into()), "/room-1", Some(false)),
            (Paths::Where(Box::new(|_| Box::pin(std::future::ready(Ok(true))))), "/room", None),
        ] {
            assert_eq!(paths.contain(path), expected, "{paths} {path}");
        }
    }

    #[test]
    fn a_path_of_more_than_a_kilobyte_is_nobodys_child() {
        let long = |length| format!("/{}", "x".repeat(length - 1));
        assert_eq!(pattern("x").contain(&long(MAX_PATH)), Some(true));
        assert_eq!(pattern("x").contain(&long(MAX_PATH + 1)), Some(false));
        let asked = Paths::Where(Box::new(|_| Box::pin(std::future::ready(Ok(true)))));
        assert_eq!(asked.contain(&long(MAX_PATH + 1)), Some(false));
    }
}
