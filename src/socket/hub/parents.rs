//! Dynamic namespaces (Socket.IO server API: `of(regex)`, `of(function)`): which description a namespace has that was
//! made because a client or the application named it.

use std::sync::Arc;

use parking_lot::RwLock;

use super::admission::Admitted;
use super::error::Refusal;
use super::handlers::Description;
use super::handshake::Handshake;
use super::namespace::LocalNamespace;

/// The descriptions that are for more than one namespace, in the order in which they were given. Node: parent
/// namespaces.
#[derive(Debug, Default)]
pub(crate) struct ParentNamespaces(RwLock<Arc<[Arc<Description>]>>);

impl ParentNamespaces {
    /// Those that there are now.
    pub(crate) fn all(&self) -> Arc<[Arc<Description>]> {
        Arc::clone(&self.0.read())
    }

    /// Adds one behind the others.
    pub(crate) fn push(&self, description: Arc<Description>) {
        let mut all = self.0.write();
        *all = all.iter().cloned().chain([description]).collect();
    }

    /// Whether a client may ask for this namespace.
    pub(crate) fn may_contain(&self, path: &str) -> bool {
        self.all().iter().any(|parent| parent.paths.contain(path) != Some(false))
    }

    /// The description of a namespace, if it does not depend on the client.
    pub(crate) fn parent_of(&self, path: &str) -> Option<Arc<Description>> {
        let all = self.all();
        let first = all.iter().find(|parent| parent.paths.contain(path) != Some(false));
        first.filter(|parent| parent.paths.contain(path) == Some(true)).cloned()
    }

    /// Decides whether a client may enter a namespace whose description depends on the client.
    pub(crate) async fn admit(
        &self,
        namespace: &LocalNamespace,
        handshake: Handshake,
    ) -> Result<Admitted, Refusal> {
        let protocol = handshake.request().protocol();
        let invalid = || Refusal::invalid_namespace(protocol);
        let description = match namespace.description() {
            Some(description) => description,
            None => {
                let parent = self.parent_for(&handshake).await.ok_or_else(invalid)?;
                let admitted = parent.handlers.admit(handshake.clone()).decided().await?;
                let description = namespace.describe(&parent);
                if Arc::ptr_eq(description, &parent) {
                    return Ok(admitted);
                }
                // Another client was quicker, and has entered the namespace with another description.
                description
            }
        };
        if !description.paths.accept(&handshake).await {
            return Err(invalid());
        }
        description.handlers.admit(handshake).decided().await
    }

    /// The first description that accepts this client.
    async fn parent_for(&self, handshake: &Handshake) -> Option<Arc<Description>> {
        for parent in self.all().iter() {
            if parent.paths.accept(handshake).await {
                return Some(Arc::clone(parent));
            }
        }
        None
    }
}
