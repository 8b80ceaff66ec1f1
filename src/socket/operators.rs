//! What can be done with many sockets beside emitting to them, on every node (Socket.IO server API: `fetchSockets`,
//! `socketsJoin`, `socketsLeave`, `disconnectSockets`, `emitWithAck`, `serverSideEmit`).
//!
//! This node comes first, at once; the others get the same in the order of emits. Who does not answer is told, and
//! makes nothing fail.

use std::collections::BTreeSet;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::answering::REQUEST_TIMEOUT;
use super::args::{FromArgs, IntoArgs, RawArgs, encode_event};
use super::broadcast::Target;
use super::error::EncodeError;
use super::handle::NamespaceRef;
use super::messages::{
    Command, CommandKind, EmittedEvent, Request, RequestKind, ResponsePart, Responses, Room, Selection,
};
use super::remote::RemoteSocket;
use super::state::NamespaceState;
use crate::id::NodeId;

impl Target {
    /// Finds the selected sockets of all nodes, each once. Node: `fetchSockets()`.
    ///
    /// It sees the effects of everything this node did before. Waits for every member that may have such a socket, at
    /// most 5 seconds ([`Target::timeout`] says otherwise); a node that leaves meanwhile is reported at once.
    pub async fn fetch_sockets(self) -> Sockets {
        let here = self.namespace.select(&self.selection);
        let remote = self.request(RequestKind::Sockets);
        let Self { namespace, .. } = &self;
        let here = here.into_iter().map(|selected| selected.summary(namespace));
        let mut found: Vec<_> =
            here.map(|summary| RemoteSocket::new(namespace, namespace.node().clone(), summary)).collect();
        let answers = remote.await;
        let missing = answers.missing();
        for (node, part) in answers.parts {
            if let ResponsePart::Sockets(sockets) = part {
                let remote = |summary| RemoteSocket::new(namespace, node.clone(), summary);
                found.extend(sockets.into_iter().map(remote));
            }
        }
        Sockets { found, missing }
    }

    /// The rooms that the selected sockets of all nodes are in, without the sockets' own. Waits as
    /// [`Target::fetch_sockets`] does.
    pub async fn all_rooms(self) -> Rooms {
        let mut found: BTreeSet<Room> = self.namespace.selected_rooms(&self.selection).into_iter().collect();
        let answers = self.request(RequestKind::Rooms).await;
        let missing = answers.missing();
        for (_, part) in answers.parts {
            if let ResponsePart::Rooms(rooms) = part {
                found.extend(rooms);
            }
        }
        Rooms { found: found.into_iter().collect(), missing }
    }

    /// Has the selected sockets join rooms: at once on this node, in the order of emits on the others, so that an emit
    /// of this node to the rooms that follows reaches them. Node: `socketsJoin(rooms)`.
    ///
    /// Awaiting the result waits for the other nodes; then the emits of every node do.
    ///
    /// ```
    /// # async fn f(socket: socketmesh::Socket) -> socketmesh::Result<()> {
    /// socket.to("blue").sockets_join(["paint"]);
    /// socket.to("paint").emit("welcome", &())?; // reaches them, wherever they are
    /// # Ok(()) }
    /// ```
    pub fn sockets_join<N: AsRef<str>>(self, rooms: impl IntoIterator<Item = N>) -> Applying {
        self.apply(CommandKind::Join(names(rooms)))
    }

    /// Has the selected sockets leave rooms: at once on this node, in the order of emits on the others. A socket's own
    /// room is not left. Node: `socketsLeave(rooms)`.
    pub fn sockets_leave<N: AsRef<str>>(self, rooms: impl IntoIterator<Item = N>) -> Applying {
        self.apply(CommandKind::Leave(names(rooms)))
    }

    /// Disconnects the selected clients from the namespace, or with `close` from every namespace together with their
    /// connections; what was emitted to them before still reaches them. Node: `disconnectSockets(close)`.
    pub fn disconnect_sockets(self, close: bool) -> Applying {
        self.apply(CommandKind::Disconnect { close })
    }

    /// Changes the data of the selected sockets, as [`on_update`](super::Namespace::on_update) of the namespace says: at
    /// once on this node, in the order of emits on the others. A value that does not decode there changes nothing, and
    /// is logged.
    ///
    /// # Errors
    ///
    /// [`EncodeError`] if `update` cannot be written as JSON or has more than 10 attachments; nothing was sent then.
    pub fn sockets_update<U: IntoArgs + ?Sized>(self, update: &U) -> Result<Applying, EncodeError> {
        let update = RawArgs::encode(update)?;
        Ok(self.apply(CommandKind::Update(update)))
    }

    /// Sends an event to the selected sockets and waits for the acks of all of them, at most 5 seconds
    /// ([`Target::timeout`] says otherwise). Node: `timeout(ms).emitWithAck()`.
    ///
    /// It is over as soon as every socket has answered or left: a socket that disconnects, or a node that dies, is
    /// missing, and not waited for. Never volatile: a dropped packet would only be a timeout.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # async fn f(node: socketmesh::Node) -> socketmesh::Result<()> {
    /// let lobby = node.of("/chat").to("lobby").timeout(Duration::from_secs(2));
    /// let votes: socketmesh::Acks<bool> = lobby.emit_with_ack("vote", "pizza?").await?;
    /// let yes = votes.replies.iter().filter(|yes| **yes).count();
    /// println!("{yes} yes, {} did not vote", votes.missing);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Target::emit`]; nothing was sent then.
    pub async fn emit_with_ack<R: FromArgs, A: IntoArgs + ?Sized>(
        self,
        event: &str,
        args: &A,
    ) -> Result<Acks<R>, EncodeError> {
        self.acks(event, RawArgs::encode(args)?).await
    }

    /// Sends a typed event and waits for the acks of all, as [`Target::emit_with_ack`] does.
    ///
    /// # Errors
    ///
    /// As [`Target::send`]; nothing was sent then.
    pub async fn send_with_ack<R: FromArgs, E: serde::Serialize>(
        self,
        event: &E,
    ) -> Result<Acks<R>, EncodeError> {
        let (name, args) = encode_event(event)?;
        self.acks(name, args).await
    }

    async fn acks<R: FromArgs>(self, event: &str, args: RawArgs) -> Result<Acks<R>, EncodeError> {
        let path = Arc::clone(&self.namespace.path);
        let Called { replies, mut missing, missing_nodes, .. } = self.call(event, args).await?;
        let decoded = replies.iter().filter_map(|reply| match R::from_args(reply) {
            Ok(reply) => Some(reply),
            Err(error) => {
                tracing::warn!(ns = %path, event, %error, "an ack does not decode");
                missing += 1;
                None
            }
        });
        let replies = decoded.collect();
        Ok(Acks { replies, missing, missing_nodes })
    }

    /// Collects the undecoded acks.
    pub(super) async fn call(self, event: &str, args: RawArgs) -> Result<Called, EncodeError> {
        let event = EmittedEvent { name: event.into(), args };
        let compress = self.flags.compress;
        let gathering = self.namespace.gather(&self.selection, &event, compress)?;
        let remote = self.request(RequestKind::Acks { event, compress });
        let mut replies = Vec::new();
        let here = async {
            while let Some(more) = gathering.next().await {
                replies.extend(more);
            }
        };
        let (here, answers) = tokio::join!(timeout(self.timeout, here), remote);
        let timed_out = here.is_err() || !answers.late.is_empty();
        let expected = gathering.expected();
        Ok(Called::new(replies, expected, answers, timed_out))
    }

    fn apply(self, kind: CommandKind) -> Applying {
        let Self { namespace, selection, local, timeout, .. } = self;
        let command = Command { namespace: Arc::clone(&namespace.path), selection, kind };
        namespace.apply(&command);
        if !local {
            namespace.peers().command(&command);
        }
        let version = namespace.peers().version();
        Applying { namespace, version, local, timeout }
    }

    /// Asks the other nodes; asked when this returns.
    fn request(&self, kind: RequestKind) -> Pin<Box<dyn Future<Output = Responses> + Send + '_>> {
        if self.local {
            return Box::pin(std::future::ready(Responses::default()));
        }
        self.namespace.peers().request(Request {
            namespace: Arc::clone(&self.namespace.path),
            selection: self.selection.clone(),
            kind,
            timeout: self.timeout,
        })
    }
}

impl NamespaceRef {
    /// As [`Target::fetch_sockets`], of everybody in the namespace.
    pub async fn fetch_sockets(&self) -> Sockets {
        self.all().fetch_sockets().await
    }

    /// Every room of the namespace that has a member on any node, as [`Target::all_rooms`].
    pub async fn all_rooms(&self) -> Rooms {
        self.all().all_rooms().await
    }

    /// As [`Target::sockets_join`], for everybody in the namespace.
    pub fn sockets_join<N: AsRef<str>>(&self, rooms: impl IntoIterator<Item = N>) -> Applying {
        self.all().sockets_join(rooms)
    }

    /// As [`Target::sockets_leave`], for everybody in the namespace.
    pub fn sockets_leave<N: AsRef<str>>(&self, rooms: impl IntoIterator<Item = N>) -> Applying {
        self.all().sockets_leave(rooms)
    }

    /// As [`Target::disconnect_sockets`], for everybody in the namespace.
    pub fn disconnect_sockets(&self, close: bool) -> Applying {
        self.all().disconnect_sockets(close)
    }

    /// As [`Target::sockets_update`], for everybody in the namespace.
    ///
    /// # Errors
    ///
    /// As [`Target::sockets_update`].
    pub fn sockets_update<U: IntoArgs + ?Sized>(&self, update: &U) -> Result<Applying, EncodeError> {
        self.all().sockets_update(update)
    }

    /// As [`Target::emit_with_ack`], to everybody in the namespace.
    ///
    /// # Errors
    ///
    /// As [`Target::emit`]; nothing was sent then.
    pub async fn emit_with_ack<R: FromArgs, A: IntoArgs + ?Sized>(
        &self,
        event: &str,
        args: &A,
    ) -> Result<Acks<R>, EncodeError> {
        self.all().emit_with_ack(event, args).await
    }

    /// Sends an event to the other nodes, where [`on_server_event`](super::Namespace::on_server_event) handles it;
    /// never to this one. Never blocks; in the order of emits. Node: `serverSideEmit()`.
    ///
    /// # Errors
    ///
    /// [`EncodeError`] if `args` cannot be written as JSON or has more than 10 attachments.
    pub fn server_side_emit<A: IntoArgs + ?Sized>(&self, event: &str, args: &A) -> Result<(), EncodeError> {
        let kind =
            CommandKind::ServerEvent(EmittedEvent { name: event.into(), args: RawArgs::encode(args)? });
        let namespace = Arc::clone(&self.0.path);
        self.0.peers().command(&Command { namespace, selection: Selection::default(), kind });
        Ok(())
    }

    /// Sends an event to the other nodes and waits for the answer of each, at most 5 seconds; nobody else means no
    /// answers, at once. Node: `serverSideEmitWithAck()`.
    ///
    /// A node without a handler, or whose handler fails, is missing, and not waited for.
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
        let answers = self.all().timeout(REQUEST_TIMEOUT).request(kind).await;
        let mut missing = answers.missing();
        let mut replies = Vec::new();
        for (node, part) in answers.parts {
            let ResponsePart::Replies(given) = part else { continue };
            match given.first().map(R::from_args) {
                Some(Ok(reply)) => replies.push((node, reply)),
                Some(Err(error)) => {
                    tracing::warn!(ns = self.path(), event, peer = %node, %error, "an answer does not decode");
                    missing.push(node);
                }
                None => missing.push(node),
            }
        }
        Ok(Replies { replies, missing })
    }
}

/// What [`Target::fetch_sockets`] found.
///
/// ```
/// # async fn f(node: socketmesh::Node) {
/// let lobby = node.of("/chat").to("lobby").fetch_sockets().await;
/// println!("{} there; {} nodes did not say", lobby.found.len(), lobby.missing.len());
/// # }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Sockets {
    /// The sockets, those of this node first.
    pub found: Vec<RemoteSocket>,
    /// Nodes that may have had some, but did not say all in time, or left.
    pub missing: Vec<NodeId>,
}

/// What [`Target::all_rooms`] found.
///
/// ```
/// # async fn f(node: socketmesh::Node) {
/// for room in node.of("/chat").all_rooms().await.found {
///     println!("{room}");
/// }
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rooms {
    /// The rooms, sorted.
    pub found: Vec<Room>,
    /// Nodes that may have had some, but did not say all in time, or left.
    pub missing: Vec<NodeId>,
}

/// The acks of many sockets: what [`Target::emit_with_ack`] collected.
///
/// See [`Target::emit_with_ack`] for an example.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Acks<R> {
    /// The answers, in no particular order.
    pub replies: Vec<R>,
    /// How many sockets are known to have been sent the event, but did not answer, or with something that is not an
    /// `R`.
    pub missing: usize,
    /// Nodes that did not say to how many sockets they sent the event, or left before all of those had answered.
    pub missing_nodes: Vec<NodeId>,
}

/// The answers of the other nodes: what [`NamespaceRef::server_side_emit_with_ack`] collected.
///
/// See [`NamespaceRef::server_side_emit_with_ack`] for an example.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Replies<R> {
    /// Who answered what.
    pub replies: Vec<(NodeId, R)>,
    /// Who did not, or with something that is not an `R`.
    pub missing: Vec<NodeId>,
}

/// The undecoded acks of many sockets.
#[derive(Debug)]
pub(super) struct Called {
    pub(super) replies: Vec<RawArgs>,
    pub(super) missing: usize,
    pub(super) missing_nodes: Vec<NodeId>,
    pub(super) timed_out: bool,
}

impl Called {
    /// Adds what the other nodes collected to the acks of this one, which expected that many.
    fn new(mut replies: Vec<RawArgs>, expected: usize, answers: Responses, timed_out: bool) -> Self {
        let Responses { parts, lost: mut missing_nodes, late } = answers;
        let mut expected = expected;
        let mut told = BTreeSet::new();
        for (node, part) in parts {
            match part {
                ResponsePart::ExpectedAcks(count) => {
                    expected = expected.saturating_add(usize::try_from(count).unwrap_or(usize::MAX));
                    told.insert(node);
                }
                ResponsePart::Replies(more) => replies.extend(more),
                ResponsePart::Sockets(_) | ResponsePart::Rooms(_) => {}
            }
        }
        // Of a node that said how many it still waits for, only those are missing.
        missing_nodes.extend(late.into_iter().filter(|node| !told.contains(node)));
        missing_nodes.sort_unstable();
        Self { missing: expected.saturating_sub(replies.len()), replies, missing_nodes, timed_out }
    }
}

/// A change of many sockets that has happened on this node and is on its way to the others; awaited, it has happened
/// everywhere.
///
/// ```
/// # async fn f(node: socketmesh::Node) {
/// let closed = node.of("/chat").to("lobby").disconnect_sockets(true).await;
/// assert!(closed.missing.is_empty(), "{:?} did not confirm", closed.missing);
/// # }
/// ```
#[derive(Debug)]
pub struct Applying {
    namespace: Arc<NamespaceState>,
    version: u64,
    local: bool,
    timeout: Duration,
}

/// A change of many sockets that has happened.
///
/// See [`Applying`] for an example.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Applied {
    /// Nodes that did not confirm it in time, or left.
    pub missing: Vec<NodeId>,
}

impl IntoFuture for Applying {
    type Output = Applied;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    /// Waits until every member has made the change and every reachable node knows the rooms that came of it, at most
    /// 5 seconds ([`Target::timeout`] says otherwise).
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Self { namespace, version, local, timeout } = self;
            let mut target = Target::new(Arc::clone(&namespace)).timeout(timeout);
            target.local = local;
            let (mut missing, answers) = tokio::join!(
                namespace.peers().confirmed(version),
                target.request(RequestKind::RoomsConfirmed)
            );
            missing.extend(answers.missing());
            missing.sort_unstable();
            missing.dedup();
            Applied { missing }
        })
    }
}

fn names<N: AsRef<str>>(rooms: impl IntoIterator<Item = N>) -> Vec<Room> {
    rooms.into_iter().map(|room| Room::from(room.as_ref())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str) -> NodeId {
        name.parse().unwrap()
    }

    fn replies(count: u8) -> Vec<RawArgs> {
        (0..count).map(|n| RawArgs::encode(&n).unwrap()).collect()
    }

    /// Of two sockets here one answered. What other nodes said, and what comes of it: replies, missing, missing nodes.
    #[test]
    fn who_is_missing_is_told_apart_by_what_its_node_said() {
        let expects = |name: &str, count| (node(name), ResponsePart::ExpectedAcks(count));
        let replied = |name: &str, count| (node(name), ResponsePart::Replies(replies(count)));
        for (parts, lost, late, expected) in [
            (vec![], vec![], vec![], (1, 1, vec![])),
            (vec![expects("b", 2), replied("b", 2)], vec![], vec![], (3, 1, vec![])),
            (vec![expects("b", 2), replied("b", 1)], vec![], vec!["b"], (2, 2, vec![])),
            (vec![expects("b", 2), replied("b", 1)], vec!["b"], vec![], (2, 2, vec!["b"])),
            (vec![expects("b", 0)], vec!["d"], vec!["c"], (1, 1, vec!["c", "d"])),
            (vec![expects("b", u64::MAX)], vec![], vec![], (1, usize::MAX - 1, vec![])),
        ] {
            let nodes = |names: &[&str]| names.iter().map(|name| node(name)).collect::<Vec<_>>();
            let answers = Responses { parts, lost: nodes(&lost), late: nodes(&late) };
            let called = Called::new(replies(1), 2, answers, false);
            let (count, missing, missing_nodes) = expected;
            assert_eq!((called.replies.len(), called.missing), (count, missing));
            assert_eq!(called.missing_nodes, nodes(&missing_nodes));
        }
    }
}
