//! The ordered stream between two nodes: one task writes, one reads, on the application's runtime.
//!
//! A link is replaced by the next one; what counts is kept in its [`Peer`].

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use quinn::{RecvStream, SendStream};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, warn};

use crate::cluster::connection::Ports;
use crate::cluster::control::Message;
use crate::cluster::peer::{Batch, Fill, Peer, ProtocolError, Received};
use crate::cluster::stream::Halves;
use crate::cluster::wire::{Frame, Message as WireMessage};
use crate::socket::messages::{Inbound, Requester, Response};

/// The two tasks of a link; they end with it.
#[derive(Debug)]
pub(crate) struct Link {
    pub number: u64,
    tasks: [AbortHandle; 2],
}

impl Link {
    /// Starts the tasks. `reply` is written before everything else.
    pub(crate) fn spawn(
        number: u64,
        peer: &Arc<Peer>,
        (send, recv): Halves,
        reply: Option<Bytes>,
        ports: &Arc<Ports>,
    ) -> Self {
        let end = End { number, peer: Arc::clone(peer), ports: Arc::clone(ports) };
        let writer = ports.app.spawn(end.clone().write(send, reply));
        let reader = ports.app.spawn(end.read(recv));
        Self { number, tasks: [writer.abort_handle(), reader.abort_handle()] }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

/// What both tasks know.
#[derive(Clone)]
struct End {
    number: u64,
    peer: Arc<Peer>,
    ports: Arc<Ports>,
}

impl End {
    async fn write(self, mut send: SendStream, reply: Option<Bytes>) {
        let _lost = Lost(&self);
        match self.write_all(&mut send, reply).await {
            Ok(()) => self.log("goodbye said, or replaced"),
            Err(error) => self.log(&error.to_string()),
        }
    }

    /// Returns after a goodbye was written and received.
    async fn write_all(&self, send: &mut SendStream, reply: Option<Bytes>) -> Result<(), quinn::WriteError> {
        send.write_all(&reply.unwrap_or_default()).await?;
        let mut batch = Batch::default();
        self.peer.start(&mut batch);
        let mut lost = self.peer.lost();
        loop {
            let now = Instant::now();
            let fill = self.peer.fill(self.number, &self.ports.shared.interest, now, &mut batch);
            self.report_lost(&mut lost);
            send.write_all(&batch.bytes).await?;
            batch.bytes.clear();
            if let Some(large) = batch.large.take() {
                send.write_all(&large).await?;
            }
            match fill {
                Fill::Write => {}
                Fill::Last => {
                    send.finish()?;
                    // Answered by the receiver's QUIC, or by the end of the connection.
                    let _stopped = send.stopped().await;
                    return Ok(());
                }
                Fill::Wait(until) => self.wait(until).await,
                Fill::Stale => {
                    // The wake-up that brought us here belongs to the next link's writer.
                    self.peer.wake();
                    // Left open until the control actor drops it: the other end may not know of the next link yet.
                    let _ended = send.stopped().await;
                    return Ok(());
                }
            }
        }
    }

    /// Messages that were too old or too many to be kept.
    fn report_lost(&self, known: &mut u64) {
        let lost = self.peer.lost();
        if lost > *known {
            let by = lost - std::mem::replace(known, lost);
            self.ports.shared.counters.given_up.add(by);
            warn!(node = %self.ports.shared.me.id, peer = %self.peer.id, lost = by, "gave up messages for the peer");
        }
    }

    async fn wait(&self, until: Option<Instant>) {
        let woken = self.peer.woken();
        match until {
            None => woken.await,
            Some(until) => tokio::select! { () = woken => {} () = sleep_until(until) => {} },
        }
    }

    async fn read(self, mut recv: RecvStream) {
        let _lost = Lost(&self);
        match self.read_all(&mut recv).await {
            Ok(()) => self.log("ended by the peer"),
            Err(error) => self.log(&error.to_string()),
        }
    }

    async fn read_all(&self, recv: &mut RecvStream) -> Result<(), LinkError> {
        let mut buffer = BytesMut::new();
        loop {
            while let Some(frame) = Frame::decode(&mut buffer).map_err(ProtocolError::from)? {
                self.handle(frame)?;
            }
            match recv.read_chunk(READ, true).await? {
                Some(chunk) if buffer.is_empty() => buffer = BytesMut::from(chunk.bytes),
                Some(chunk) => buffer.extend_from_slice(&chunk.bytes),
                None => return Ok(()),
            }
        }
    }

    fn handle(&self, frame: Frame) -> Result<(), ProtocolError> {
        let counters = &self.ports.shared.counters;
        let deliver = |message| self.deliver(message);
        match self.peer.receive(self.number, frame, Instant::now(), &deliver)? {
            Received::Nothing => {}
            Received::Started => self.tell(Message::Started { id: self.peer.id.clone(), link: self.number }),
            Received::Delivered => counters.received.increment(),
            Received::Duplicate => counters.duplicates.increment(),
            Received::Malformed => {
                counters.malformed.increment();
                warn!(node = %self.ports.shared.me.id, peer = %self.peer.id, "skipped a message that makes no sense");
            }
            Received::Lost(lost) => {
                counters.lost.add(lost);
                warn!(node = %self.ports.shared.me.id, peer = %self.peer.id, lost, "the peer gave up messages");
            }
            // Nobody may be waiting.
            Received::Confirmed => self.ports.shared.confirmations.send_replace(()),
            Received::Goodbye => {
                let (id, incarnation) = (self.peer.id.clone(), self.peer.incarnation);
                self.tell(Message::Goodbye { id, incarnation });
            }
        }
        Ok(())
    }

    /// Takes a sequenced message to whom it concerns.
    fn deliver(&self, message: WireMessage) {
        let (shared, peer) = (&self.ports.shared, &self.peer);
        let requester = |request| Requester { node: peer.id.clone(), incarnation: peer.incarnation, request };
        match message {
            WireMessage::Broadcast(broadcast) => (self.ports.deliver)(Inbound::Broadcast(broadcast)),
            WireMessage::Command(command) => (self.ports.deliver)(Inbound::Command(command)),
            WireMessage::Request(id, request) => {
                (self.ports.deliver)(Inbound::Request(requester(id), request));
            }
            WireMessage::UnknownRequest(id) => shared.respond(&requester(id), Response::failed()),
            WireMessage::Response(id, response) => {
                let mut requests = shared.requests.lock();
                if let Some(waiter) = requests.handle_response(id, &peer.id, peer.incarnation, response) {
                    waiter.notify_one();
                }
            }
            // Not sequenced, or of no use.
            WireMessage::Start { .. }
            | WireMessage::Interest(_)
            | WireMessage::Ack { .. }
            | WireMessage::Gap { .. }
            | WireMessage::Goodbye
            | WireMessage::Unknown => {}
        }
    }

    fn log(&self, why: &str) {
        debug!(node = %self.ports.shared.me.id, peer = %self.peer.id, reason = why, "link ended");
    }

    fn tell(&self, message: Message) {
        // Fails only while the mesh stops.
        let _stopped = self.ports.control.cast(message);
    }
}

/// Reports the end of a task however it ends, even by a panic of a handler.
struct Lost<'a>(&'a End);

impl Drop for Lost<'_> {
    fn drop(&mut self) {
        self.0.tell(Message::Lost { id: self.0.peer.id.clone(), link: self.0.number });
    }
}

#[derive(Debug, thiserror::Error)]
enum LinkError {
    #[error(transparent)]
    Read(#[from] quinn::ReadError),
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
}

/// How much is taken from the connection at once.
const READ: usize = 256 << 10;
