//! Dynamic namespaces (Socket.IO server API: `of(regex)`, `of(function)`): which description a namespace has that was
//! made because a client or the application named it.

use std::sync::Arc;

use parking_lot::RwLock;

use super::admission::Admitted;
use super::error::Refusal;
use super::handlers::Description;
use super::handshake::Handshake;
use super::namespace::LocalNamespace;
use crate::socket::recovery::Recovery;

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

    /// How clients of a namespace may come back whose description depends on them: of several ways the longest.
    pub(crate) fn recovery_of(&self, path: &str) -> Option<Recovery> {
        let all = self.all();
        let possible = all.iter().filter(|parent| parent.paths.contain(path) != Some(false));
        possible
            .filter_map(|parent| parent.recovery.clone())
            .max_by_key(|recovery| recovery.max_disconnection)
    }

    /// Decides whether a client may enter a namespace whose description depends on the client.
    pub(crate) async fn admit(
        &self,
        namespace: &LocalNamespace,
        handshake: Handshake,
    ) -> Result<Admitted, Refusal> {
        let accepted = self.accept(namespace, &handshake).await?;
        self.admit_by(&accepted, namespace, handshake).await
    }

    /// The description by which a client may ask for a namespace: that of the namespace, if it has one.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) async fn accept(
        &self,
        namespace: &LocalNamespace,
        handshake: &Handshake,
    ) -> Result<Arc<Description>, Refusal> {
        let accepted = match namespace.description() {
            Some(description) => description.paths.accept(handshake).await.then(|| Arc::clone(description)),
            None => self.parent_for(handshake).await,
        };
        accepted.ok_or_else(|| Refusal::invalid_namespace(handshake.request().protocol()))
    }

    /// Decides about a client that may ask for the namespace by this description, which the namespace has from then on.
    ///
    /// # Errors
    /// When the client is refused.
    pub(crate) async fn admit_by(
        &self,
        accepted: &Arc<Description>,
        namespace: &LocalNamespace,
        handshake: Handshake,
    ) -> Result<Admitted, Refusal> {
        let admitted = accepted.handlers.admit(handshake.clone()).decided().await?;
        if Arc::ptr_eq(namespace.describe(accepted), accepted) {
            return Ok(admitted);
        }
        // Another client was quicker, and has entered the namespace with another description.
        let description = self.accept(namespace, &handshake).await?;
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
