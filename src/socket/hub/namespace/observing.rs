//! The observers of a namespace. They see what happens after the fact, and never hold it up. Nothing is done for a
//! namespace without observers.

use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;

use super::super::counters::NamespaceCounters;
use super::super::member::Member;
use super::super::observation::{Observation, changes, decode_event};
use super::super::room_index::RoomIndex;
use super::super::work_queue::QueueLimits;
use super::LocalNamespace;
use crate::catch_panic;
use crate::excerpt::Excerpt;
use crate::id::SocketId;
use crate::socket::messages::EmittedEvent;
use crate::socket::room::Room;

impl LocalNamespace {
    /// Tells `on_any_outgoing` of a packet that was sent to these sockets.
    pub(crate) fn observe_outgoing(
        self: &Arc<Self>,
        recipients: impl FnOnce() -> Vec<Arc<Member>>,
        text: &ByteString,
        attachments: &[Bytes],
    ) {
        if !self.handlers().has_on_any_outgoing() {
            return;
        }
        let recipients = recipients();
        if let Some(event) = decode_event(text, attachments).filter(|_| !recipients.is_empty()) {
            self.observe(Observation::Outgoing(recipients, event));
        }
    }

    /// Makes a change to the room index, and tells `on_room` what it did to the rooms that are `concerned`. The index is
    /// locked, so changes are told in their order.
    pub(super) fn observe_rooms<T>(
        self: &Arc<Self>,
        rooms: &mut RoomIndex<Arc<Member>>,
        concerned: impl FnOnce(&RoomIndex<Arc<Member>>) -> Vec<(SocketId, Room)>,
        change: impl FnOnce(&mut RoomIndex<Arc<Member>>) -> T,
    ) -> T {
        if !self.handlers().has_on_room() {
            return change(rooms);
        }
        let concerned = concerned(rooms);
        let before: Vec<_> = concerned.iter().map(|(id, room)| rooms.standing(id, room)).collect();
        let outcome = change(rooms);
        for (before, (id, room)) in before.into_iter().zip(concerned) {
            let after = rooms.standing(&id, &room);
            for event in changes(before, after, id, &room) {
                self.observe(Observation::Room(event));
            }
        }
        outcome
    }

    fn observe(self: &Arc<Self>, observation: Observation<Arc<Member>>) {
        let mut observations = self.observations.lock();
        let queued = observations.try_push(observation, OBSERVATIONS);
        let start = observations.start();
        drop(observations);
        if start {
            self.tasks().spawn(Arc::clone(self).tell_observers());
        }
        if queued.is_err() && self.may_warn() {
            tracing::warn!(ns = %Excerpt::name(&self.path), "the observers are too slow and miss something");
        }
    }

    async fn tell_observers(self: Arc<Self>) {
        while let Some(observation) = self.next_observation() {
            let told = match observation {
                Observation::Room(event) => {
                    let namespace = Arc::clone(&self);
                    // The function is called inside, because it may panic before there is a future.
                    catch_panic::future(async { self.handlers().on_room(namespace, event).await }).await
                }
                Observation::Outgoing(recipients, event) => self.tell_outgoing(recipients, &event).await,
            };
            if told.is_none() {
                self.count(NamespaceCounters::handler_panicked);
                tracing::error!(ns = %Excerpt::name(&self.path), "an observer panicked");
            }
        }
    }

    fn next_observation(&self) -> Option<Observation<Arc<Member>>> {
        self.observations.lock().next()
    }

    async fn tell_outgoing(&self, recipients: Vec<Arc<Member>>, event: &EmittedEvent) -> Option<()> {
        let mut told = Some(());
        for member in recipients {
            let observed =
                catch_panic::future(async { self.handlers().on_any_outgoing(member, event).await }).await;
            told = told.and(observed);
        }
        told
    }
}

/// What may wait for the observers of one namespace.
const OBSERVATIONS: QueueLimits = QueueLimits { items: 4096, bytes: 16 << 20 };
