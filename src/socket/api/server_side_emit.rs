//! Events for the other nodes themselves (Socket.IO server API: `serverSideEmit`).

use std::sync::Arc;

use super::namespace_ref::NamespaceRef;
use super::target::REQUEST_TIMEOUT;
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

    /// Sends an event to the other nodes and waits for the reply of each, at most 5 seconds. Without other nodes there are
    /// no replies, at once. Node: `serverSideEmitWithAck()`.
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
    ///
    /// # Errors
    ///
    /// As [`NamespaceRef::server_side_emit`]; nothing was sent then.
    pub async fn server_side_emit_with_ack<R: FromArgs, A: IntoArgs + ?Sized>(
        &self,
        event: &str,
        args: &A,
    ) -> Result<Replies<R>, EncodeError> {
        let kind =
            RequestKind::ServerEvent(EmittedEvent { name: event.into(), args: RawArgs::encode(args)? });
        let all = self.all().timeout(REQUEST_TIMEOUT);
        let request = all.event_request(kind)?;
        let span = Span::emit(&self.0.path, event);
        let responses = span.scope(async { all.ask(request).await }).await;
        let mut missing = responses.missing();
        let mut replies = Vec::new();
        for (node, part) in responses.parts {
            let ResponsePart::Replies(given) = part else { continue };
            match given.first().map(R::from_args) {
                Some(Ok(reply)) => replies.push((node, reply)),
                Some(Err(error)) => {
                    tracing::warn!(ns = self.path(), event, peer = %node, error = %Excerpt::reason(error), "a reply to a server event does not decode");
                    missing.push(node);
                }
                None => missing.push(node),
            }
        }
        Ok(Replies { replies, missing })
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
