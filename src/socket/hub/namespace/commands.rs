//! What the application or another node does to many sockets of this node.

use std::sync::Arc;

use tokio::time::Instant;

use super::super::counters::NamespaceCounters;
use super::super::member::Member;
use super::super::responder::ServerEvent;
use super::super::users::Met;
use super::LocalNamespace;
use crate::catch_panic;
use crate::excerpt::Excerpt;
use crate::socket::messages::{Command, CommandKind, Selection, SocketSummary};
use crate::socket::protocol::RawArgs;
use crate::socket::room::Room;
use crate::trace::Trace;

impl LocalNamespace {
    /// Changes the selected sockets of this node.
    pub(crate) fn apply(self: &Arc<Self>, command: &Command) {
        match &command.kind {
            CommandKind::Join(rooms) => self.join_selected(&command.selection, rooms),
            CommandKind::Leave(rooms) => self.leave_selected(&command.selection, rooms),
            CommandKind::Disconnect { close } => {
                let selected = self.select(&command.selection);
                selected.iter().for_each(|SelectedMember { member, .. }| member.kick(*close));
            }
            CommandKind::Update(update) => self.update(&self.select(&command.selection), update),
            CommandKind::ServerEvent(event) => {
                let (event, trace) = (event.clone(), Trace::current());
                self.receive_server_event(ServerEvent { event, responder: None, trace });
            }
            CommandKind::Block(blocks) => {
                let now = Instant::now();
                let Met { users, sockets } = self.users().take(blocks, now);
                sockets.into_iter().for_each(|socket| socket.close_blocked());
                for state in self.keeping().block(&users, now) {
                    self.sibling(&state.namespace).tell_lost(state, NamespaceCounters::session_lost);
                }
            }
        }
    }

    /// Changes the data of sockets by the application's function. A panic in it must not end the task that reads from
    /// the other node.
    fn update(&self, selected: &[SelectedMember], update: &RawArgs) {
        let members = selected.iter().map(|SelectedMember { member, .. }| member);
        for (member, data) in members.filter_map(|member| Some((member, member.data()?))) {
            let outcome = catch_panic::call(|| self.handlers().on_update(&*data, update));
            let ns = Excerpt::name(&self.path);
            match outcome {
                Some(Some(Ok(()))) => member.note_change(),
                Some(Some(Err(error))) if self.may_warn() => {
                    tracing::warn!(%ns, error = %Excerpt::reason(error), "the arguments of an update of data do not decode");
                }
                Some(None) if self.may_warn() => {
                    tracing::warn!(%ns, "data cannot be updated in a namespace without on_update");
                }
                Some(_) => {}
                None => {
                    self.count(NamespaceCounters::handler_panicked);
                    tracing::error!(%ns, "on_update panicked");
                }
            }
        }
    }

    /// The selected sockets of this node, with the rooms they are in now.
    pub(crate) fn select(&self, selection: &Selection) -> Vec<SelectedMember> {
        let rooms = self.rooms.read();
        let mut selected = Vec::new();
        rooms.for_each(selection, |id, member| {
            let rooms = rooms.rooms_of(id).cloned().collect();
            selected.push(SelectedMember { member: Arc::clone(member), rooms });
        });
        selected
    }
}

/// A selected socket, and the rooms it was in when it was selected.
#[derive(Debug)]
pub(crate) struct SelectedMember {
    member: Arc<Member>,
    rooms: Vec<Room>,
}

impl SelectedMember {
    /// What is told about it, with its handshake or without. Runs the application's function that describes data.
    pub(crate) fn summary(self, handshake: bool) -> SocketSummary {
        let Self { member, rooms } = self;
        let handlers = member.namespace.handlers();
        let data = member.data().map(|data| handlers.describe(&*data)).unwrap_or_default();
        let handshake = handshake.then(|| (&member.handshake).into());
        SocketSummary { id: member.id, rooms, data, handshake }
    }
}
