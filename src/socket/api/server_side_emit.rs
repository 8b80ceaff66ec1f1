//! Events for the other nodes themselves (Socket.IO server API: `serverSideEmit`).

use std::fmt;
use std::future::IntoFuture;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::namespace_ref::NamespaceRef;
use super::target::Target;
use crate::excerpt::Excerpt;
use crate::id::NodeId;
use crate::socket::messages::{Command, CommandKind, EmittedEvent, RequestKind, ResponsePart, Selection};
use crate::socket::protocol::{EncodeError, FromArgs, IntoArgs, RawArgs};
use crate::trace::Span;

impl NamespaceRef {
    /// Sends an event to the other nodes, where [`on_server_event`](super::Namespace::on_server_event) handles it, and never
    /// to this one. It does not block. Other nodes get it in the order of emits, at most once; it is dropped for a node that
    /// is not reachable for too long. Node: `serverSideEmit()`.
    ///
    /// # Errors
    ///
    /// [`EncodeError`] if `args` cannot be written as JSON, has more than 10 attachments, or is too large for other nodes
    /// ([`EncodeError::TooLarge`]).
    pub fn server_side_emit<A: IntoArgs + ?Sized>(&self, event: &str, args: &A) -> Result<(), EncodeError> {
        let kind =
            CommandKind::ServerEvent(EmittedEvent { name: event.into(), args: RawArgs::encode(args)? });
        let namespace = Arc::clone(&self.0.path);
        let command = Command { namespace, selection: Selection::default(), kind };
        self.0.check_size(command.size())?;
        let span = Span::emit(&self.0.path, event);
        let _within = span.enter();
        self.0.peers().command(&command);
        Ok(())
    }

    /// Sends an event to the other nodes, when the result is awaited, and waits for the reply of each, at most 5 seconds
    /// ([`Asking::timeout`] changes that). Without other nodes there are no replies, at once. Node: `serverSideEmitWithAck()`.
    ///
    /// A node that has no handler, or whose handler fails, is reported as missing and not waited for.
    ///
    /// ```
    /// # async fn f(node: socketmesh::Node) -> socketmesh::Result<()> {
    /// let loads = node.of("/").server_side_emit_with_ack::<f64, _>("load", &()).await?;
    /// for (node, load) in loads.replies {
    ///     println!("{node}: {load}");
    /// }
    /// # Ok(()) }
    /// ```
    pub fn server_side_emit_with_ack<R: FromArgs, A: IntoArgs + ?Sized>(
        &self,
        event: &str,
        args: &A,
    ) -> Asking<R> {
        let event = RawArgs::encode(args).map(|args| EmittedEvent { name: event.into(), args });
        Asking { nodes: self.all(), event, reply: PhantomData }
    }
}

/// A question to the other nodes, which is asked when this is awaited: what [`NamespaceRef::server_side_emit_with_ack`] returns.
///
/// ```
/// # use std::time::Duration;
/// # async fn f(node: socketmesh::Node) -> socketmesh::Result<()> {
/// let asking = node.of("/").server_side_emit_with_ack("load", &()).timeout(Duration::from_millis(300));
/// let loads: socketmesh::socket::Replies<f64> = asking.await?;
/// # Ok(()) }
/// ```
#[must_use = "nobody is asked until this is awaited"]
pub struct Asking<R> {
    nodes: Target,
    event: Result<EmittedEvent, EncodeError>,
    reply: PhantomData<fn() -> R>,
}

impl<R> Asking<R> {
    /// Sets how long to wait for the replies; `None` as long as it takes. A node that leaves the cluster is not waited for.
    pub fn timeout(self, timeout: impl Into<Option<Duration>>) -> Self {
        Self { nodes: self.nodes.timeout(timeout), ..self }
    }
}

impl<R: FromArgs + 'static> IntoFuture for Asking<R> {
    /// An error as that of [`NamespaceRef::server_side_emit`]; nothing was sent then.
    type Output = Result<Replies<R>, EncodeError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { nodes, event, .. } = self;
        Box::pin(async move {
            let event = event?;
            let name = event.name.clone();
            let request = nodes.event_request(RequestKind::ServerEvent(event))?;
            let span = Span::emit(&nodes.namespace.path, &name);
            let responses = span.scope(async { nodes.ask(request).await }).await;
            let mut missing = responses.missing();
            let mut replies = Vec::new();
            for (node, part) in responses.parts {
                let ResponsePart::Replies(given) = part else { continue };
                match given.first().map(R::from_args) {
                    Some(Ok(reply)) => replies.push((node, reply)),
                    Some(Err(error)) => {
                        let (ns, event) = (Excerpt::name(&nodes.namespace.path), Excerpt::name(&name));
                        tracing::warn!(%ns, %event, peer = %node, error = %Excerpt::reason(error), "a reply to a server event does not decode");
                        missing.push(node);
                    }
                    None => missing.push(node),
                }
            }
            Ok(Replies { replies, missing })
        })
    }
}

impl<R> fmt::Debug for Asking<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asking").field("event", &self.event).finish_non_exhaustive()
    }
}

/// The replies of the other nodes to an event: what [`NamespaceRef::server_side_emit_with_ack`] collected.
///
/// See [`NamespaceRef::server_side_emit_with_ack`] for an example.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Replies<R> {
    /// Each reply, with the node that sent it.
    pub replies: Vec<(NodeId, R)>,
    /// Nodes without a reply in time, or whose reply is not an `R`.
    pub missing: Vec<NodeId>,
}
