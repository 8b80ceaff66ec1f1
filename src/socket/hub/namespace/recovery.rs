//! A namespace whose clients may come back: everything that is emitted takes a number, and goes out in the order of numbers.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytestring::ByteString;
use smallvec::smallvec;
use tokio::time::Instant;

use super::super::counters::NamespaceCounters;
use super::super::member::Member;
use super::super::recovery::{Claimed, Keep, Records};
use super::LocalNamespace;
use crate::catch_panic;
use crate::excerpt::Excerpt;
use crate::id::SocketId;
use crate::socket::messages::recovery::{Number, Origin, Pid, SessionState};
use crate::socket::messages::{Broadcast, Flags, Selection};
use crate::socket::protocol::{EncodeError, Encoded, encode};
use crate::socket::recovery::{Journal, Position};
use crate::socket::room::Room;

impl LocalNamespace {
    /// Sends a packet to the selected sockets: those of this node, or everywhere.
    pub(crate) fn emit(self: &Arc<Self>, broadcast: Broadcast<'_>, everywhere: bool) {
        let expected = if self.records.get().is_none() { self.expected_records() } else { None };
        let Some(records) = self.records.get().or(expected.as_ref()) else {
            self.fan_out(&broadcast, &broadcast.text, None);
            if everywhere {
                self.peers().broadcast(&broadcast);
            }
            return;
        };
        let mut journal = records.journal();
        if everywhere && !broadcast.flags.volatile {
            // The node is about to leave: who got this packet would have a hole before the next one of another.
            if journal.is_closed() {
                return;
            }
            let packet = Arc::new(Broadcast { number: Some(journal.next()), ..broadcast.into_owned() });
            let now = Instant::now();
            journal.keep(&packet, now);
            self.hand_out(&journal, &packet);
            self.peers().broadcast(&packet);
            self.keeping().follow(&records.path, &mut journal, now);
        } else {
            self.hand_out(&journal, &broadcast);
            if everywhere {
                self.peers().broadcast(&broadcast);
            }
        }
    }

    /// No client has come here yet, or the first one comes just now, but others may have come to other nodes.
    pub(crate) fn expected_records(&self) -> Option<Arc<Records>> {
        let described = self.description().map(|description| description.recovery.as_ref());
        let settings = described.unwrap_or(self.expected.as_ref())?;
        Some(self.keeping().records.of(&self.path, settings, Instant::now()))
    }

    /// Delivers a packet that another node emitted.
    pub(crate) fn receive(self: &Arc<Self>, broadcast: Broadcast<'static>) {
        let Some(records) = self.records.get() else {
            return self.fan_out(&broadcast, &broadcast.text, None);
        };
        let packet = Arc::new(broadcast);
        let mut journal = records.journal();
        if let Some(Number { origin, .. }) = packet.number
            && journal.take_unheard(origin)
        {
            drop(journal);
            self.lose_those_without(origin);
            journal = records.journal();
            journal.lost(origin);
        }
        if journal.receive(&packet, Instant::now()) {
            self.hand_out(&journal, &packet);
        }
    }

    /// Appends a packet to the outboxes, with what its clients have then. So no packet of a later number overtakes it.
    fn hand_out(self: &Arc<Self>, journal: &Journal, packet: &Broadcast<'_>) {
        let position = journal.position();
        match with_position(position, &packet.text, packet.number.is_some()) {
            Some(text) => self.fan_out(packet, &text, Some(position)),
            None => self.fan_out(packet, &packet.text, None),
        }
    }

    /// Sends an event that is not kept to one socket of this node.
    pub(crate) fn send_unkept(&self, member: &Member, packet: &Encoded, flags: Flags) -> bool {
        let Some(records) = self.records.get() else { return member.write(packet, flags) };
        let journal = records.journal();
        let own = member.apart().map(|numbers| journal.position().but(&numbers));
        match with_position(own.as_ref().unwrap_or_else(|| journal.position()), &packet.text, false) {
            Some(text) => member.write(&Encoded { text, attachments: packet.attachments.clone() }, flags),
            None => member.write(packet, flags),
        }
    }

    /// Tells the application that the client of a session did not come back.
    pub(crate) fn tell_lost(self: &Arc<Self>, state: SessionState, count: impl FnOnce(&NamespaceCounters)) {
        self.count(count);
        let (namespace, tasks) = (Arc::clone(self), self.tasks().clone());
        tasks.spawn(async move {
            let lost = catch_panic::future(async {
                namespace.handlers().on_lost(Arc::clone(&namespace), state).await
            });
            match lost.await {
                Some(Ok(())) => {}
                Some(Err(error)) => {
                    namespace.count(NamespaceCounters::handler_failed);
                    let (ns, error) = (Excerpt::name(&namespace.path), Excerpt::reason(format!("{error:?}")));
                    tracing::warn!(%ns, %error, "on_lost failed");
                }
                None => {
                    namespace.count(NamespaceCounters::handler_panicked);
                    tracing::error!(ns = %Excerpt::name(&namespace.path), "on_lost panicked");
                }
            }
        });
    }

    /// Whether clients may come back.
    pub(crate) fn records(&self) -> Option<&Arc<Records>> {
        self.records.get()
    }

    /// Lets a client in that may come back: it is told so, and is in the namespace from then on.
    pub(crate) fn insert_kept(self: &Arc<Self>, records: &Records, member: &Arc<Member>, pid: Pid) {
        let now = Instant::now();
        let journal = records.journal();
        let keep = Keep::new(pid, self.keeping().origin, journal.position().to_vec(), now);
        member.begin_keeping(keep);
        member.write_connect(Some(pid.0));
        self.insert(member);
        drop(journal);
        member.note_change();
    }

    /// Lets a client in that is back: what it missed, then the answer to its CONNECT, and then whatever comes.
    ///
    /// # Errors
    /// When it has to come again. Nothing was sent then.
    pub(crate) fn insert_recovered(
        self: &Arc<Self>,
        member: &Arc<Member>,
        claimed: Claimed,
    ) -> Result<(), Box<Claimed>> {
        let (records, now) = (Arc::clone(&claimed.records), Instant::now());
        let mut journal = records.journal();
        let is_ready = journal.is_ready(claimed.id, &self.keeping().others());
        let Some(back) = is_ready.then(|| journal.take(claimed.id)).flatten() else {
            drop(journal);
            return Err(Box::new(claimed));
        };
        let heard = back.heard().to_vec();
        let (replayed, position) = back.finish();
        journal.reached(heard.iter().copied(), now);
        let behind = self.behind(&journal, &position, &heard);
        journal.note_unheard(behind.iter().map(|(origin, _)| *origin));
        let node = journal.position();
        let differs = |(origin, number): &(Origin, u64)| node.get(*origin).unwrap_or(0) != *number;
        let apart = behind.iter().copied().filter(differs).collect();
        member.set_apart(apart, now + records.retention + APART);
        member.begin_keeping(Keep::recovered(&claimed.state, behind, records.slack(), now));
        let count = replayed.len() as u64;
        for (packet, position) in replayed {
            let text = encode::with_last_argument(&packet.text, |longer| position.write(longer));
            let frames = self.parser().frames(&text, &packet.attachments, packet.flags.compress);
            member.session.send(&frames, false);
        }
        member.write_connect(Some(claimed.state.pid.0));
        self.insert(member);
        for (room, _) in &claimed.state.rooms {
            self.join(member.id, std::slice::from_ref(room));
        }
        drop(journal);
        claimed.used();
        self.count(|counters| counters.session_recovered(count));
        member.note_change();
        Ok(())
    }

    /// What the client has of origins that did not answer: should one of them be heard again, the client has to ask it first.
    fn behind(&self, journal: &Journal, position: &Position, heard: &[(Origin, u64)]) -> Vec<(Origin, u64)> {
        let absent = self.keeping().peers.absent();
        let absent = absent.iter().map(|(node, incarnation)| Origin::of(node, *incarnation));
        let known = position.iter().chain(journal.position().iter()).map(|(origin, _)| origin).chain(absent);
        let is_unheard = |origin: &Origin| heard.iter().all(|(heard, _)| heard != origin);
        let mut unheard: Vec<_> = known.filter(is_unheard).collect();
        unheard.sort_unstable();
        unheard.dedup();
        unheard.into_iter().map(|origin| (origin, position.get(origin).unwrap_or(0))).collect()
    }

    /// An origin is heard again that did not answer when sockets were recovered here: these would miss something of it.
    pub(crate) fn lose_those_without(&self, origin: Origin) {
        let lost = self.kept_members().into_iter().filter(|member| member.is_behind(origin));
        lost.for_each(|member| member.lose());
    }

    /// Something of another node will never arrive here: whoever may come back does so, and asks that node.
    pub(crate) fn lose_all(&self) {
        let members = self.kept_members();
        if !members.is_empty() {
            self.count(NamespaceCounters::gap_met);
        }
        members.into_iter().for_each(|member| member.lose());
    }

    /// The sockets that their clients may come back to.
    pub(crate) fn kept_members(&self) -> Vec<Arc<Member>> {
        if self.records.get().is_none() {
            return Vec::new();
        }
        self.members(&Selection::default()).into_iter().filter(|member| member.is_kept()).collect()
    }

    /// The socket of a session, if it is here.
    pub(crate) fn kept_member(&self, socket: SocketId, pid: Pid) -> Option<Arc<Member>> {
        self.member(socket).filter(|member| member.pid() == Some(pid))
    }

    /// Sends an event to one socket, wherever its client is now.
    ///
    /// # Errors
    /// When it is too large for other nodes.
    pub(crate) fn emit_to(
        self: &Arc<Self>,
        id: SocketId,
        packet: Encoded,
        flags: Flags,
    ) -> Result<(), EncodeError> {
        let selection = Cow::Owned(Selection { rooms: smallvec![Room::Own(id)], ..Selection::default() });
        let (namespace, Encoded { text, attachments }) = (Arc::clone(&self.path), packet);
        let broadcast = Broadcast { namespace, selection, text, attachments, flags, number: None };
        self.check_size(broadcast.size())?;
        self.emit(broadcast, true);
        Ok(())
    }
}

/// The text of an event with a position behind it. One that is not kept has it only where the client would take something else for its
/// position: its last argument, if that is text, or its name.
fn with_position(position: &Position, text: &str, is_kept: bool) -> Option<ByteString> {
    (is_kept || text.ends_with("\"]"))
        .then(|| encode::with_last_argument(text, |longer| position.write(longer)))
}

/// For how much longer than packets are kept a client may have others of an origin than its node.
const APART: Duration = Duration::from_secs(60);
