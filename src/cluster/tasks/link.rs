//! The tasks of a link, the ordered stream between two nodes: one writes, one reads, on the application's runtime.
//!
//! A link is replaced by the next one. What has to outlive it is in its [`Peer`].

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use quinn::{RecvStream, SendStream};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::task::AbortOnDropHandle;

use super::ports::{ControlMessage, Ports};
use crate::cluster::delivery::batch::Batch;
use crate::cluster::delivery::peer::{Fill, Peer, ProtocolError, Received, Turn};
use crate::cluster::hello::LinkId;
use crate::cluster::transport::bi_stream::Halves;
use crate::cluster::transport::driver::at_once;
use crate::cluster::wire::{Frame, Message};
use crate::excerpt::Excerpt;
use crate::socket::messages::{Inbound, Requester, Response};

/// A link that runs. Its tasks end when it is dropped.
pub(crate) struct Link {
    pub(crate) peer: Arc<Peer>,
    /// The writer and the reader.
    pub(super) _tasks: [AbortOnDropHandle<()>; 2],
}

impl Link {
    /// Starts the tasks. `reply` is written before everything else.
    pub(crate) fn start(
        id: LinkId,
        peer: Arc<Peer>,
        (send, recv): Halves,
        reply: Option<Bytes>,
        ports: &Arc<Ports>,
    ) -> Self {
        let task = LinkTask { id, peer: Arc::clone(&peer), ports: Arc::clone(ports) };
        let writer = ports.app.spawn(task.clone().write(send, reply));
        let reader = ports.app.spawn(task.read(recv));
        Self { peer, _tasks: [writer, reader].map(AbortOnDropHandle::new) }
    }
}

/// What both tasks know.
#[derive(Clone)]
struct LinkTask {
    id: LinkId,
    peer: Arc<Peer>,
    ports: Arc<Ports>,
}

impl LinkTask {
    async fn write(self, mut send: SendStream, reply: Option<Bytes>) {
        let _report = ReportLoss(&self);
        match self.write_all(&mut send, reply).await {
            Ok(()) => self.log("goodbye said, or replaced"),
            Err(error) => self.log(&error.to_string()),
        }
    }

    /// Returns after a goodbye was written and received, or when another link has taken over.
    async fn write_all(&self, send: &mut SendStream, reply: Option<Bytes>) -> Result<(), quinn::WriteError> {
        send.write_all(&reply.unwrap_or_default()).await?;
        let mut batch = Batch::default();
        let (mut alarm, mut wrote) = (pin!(sleep_until(Instant::now())), Instant::now());
        self.peer.start(&mut batch);
        loop {
            let now = Instant::now();
            let fill = self.peer.fill(self.id, &self.ports.published.interest, now, &mut batch);
            if now.saturating_duration_since(wrote) > SELDOM {
                at_once(send.write_all(&batch.bytes)).await?;
            } else {
                send.write_all(&batch.bytes).await?;
            }
            if !batch.is_empty() {
                wrote = now;
            }
            batch.bytes.clear();
            if let Some(large) = batch.large.take() {
                send.write_all(&large).await?;
            }
            match fill {
                Fill::Write => {}
                Fill::Last => {
                    send.finish()?;
                    // The receiver's QUIC confirms this, or the connection ends.
                    let _stopped = send.stopped().await;
                    return Ok(());
                }
                Fill::Wait(until) => self.wait(until, alarm.as_mut()).await,
                Fill::Stale => {
                    // The wake-up that led here was for the writer of the next link.
                    self.peer.wake();
                    // The stream stays open until the control actor drops it: the other end may not know the next link yet.
                    let _ended = send.stopped().await;
                    return Ok(());
                }
            }
        }
    }

    /// The alarm is set anew only when its time changes: most times it is not.
    async fn wait(&self, until: Option<Instant>, mut alarm: Pin<&mut Sleep>) {
        let woken = self.peer.woken();
        let Some(until) = until else { return woken.await };
        if alarm.deadline() != until {
            alarm.as_mut().reset(until);
        }
        tokio::select! { () = woken => {} () = alarm => {} }
    }

    async fn read(self, mut recv: RecvStream) {
        let _report = ReportLoss(&self);
        match self.read_all(&mut recv).await {
            Ok(()) => self.log("ended by the peer"),
            Err(error) => self.log(&error.to_string()),
        }
    }

    async fn read_all(&self, recv: &mut RecvStream) -> Result<(), LinkError> {
        self.ports.upward.begun.wait().await;
        let mut buffer = BytesMut::new();
        loop {
            self.handle_frames(&mut buffer).await?;
            match recv.read_chunk(READ, true).await? {
                Some(chunk) if buffer.is_empty() => buffer = BytesMut::from(chunk.bytes),
                Some(chunk) => buffer.extend_from_slice(&chunk.bytes),
                None => return Ok(()),
            }
        }
    }

    /// Handles the frames that are there as a whole.
    async fn handle_frames(&self, buffer: &mut BytesMut) -> Result<(), ProtocolError> {
        let (turn, now) = (self.peer.turn().await, Instant::now());
        while let Some(frame) = Frame::decode(buffer)? {
            self.handle(&turn, frame, now)?;
        }
        Ok(())
    }

    fn handle(&self, turn: &Turn<'_>, frame: Frame, now: Instant) -> Result<(), ProtocolError> {
        let (published, peer) = (&self.ports.published, &self.peer);
        let deliver = |message| self.deliver(message);
        match peer.receive(turn, self.id, frame, now, &deliver)? {
            Received::Nothing | Received::Delivered | Received::Duplicate => {}
            Received::Started => {
                (self.ports.upward.deliver)(Inbound::Linked(peer.id.clone()));
                self.ports.tell_control(ControlMessage::Started(peer.id.clone(), self.id));
            }
            Received::Malformed => {
                published.counters.malformed.increment();
                tracing::warn!(node = %published.me.id, peer = %peer.id, "skipped a message that does not decode");
            }
            // It does not matter whether anybody waits.
            Received::Confirmed => published.confirmations.send_replace(()),
            Received::Goodbye => {
                self.ports.tell_control(ControlMessage::Goodbye(peer.id.clone(), peer.incarnation));
            }
        }
        Ok(())
    }

    /// Passes a sequenced message on to the layer or the request that it is for.
    fn deliver(&self, message: Message) {
        let (published, peer) = (&self.ports.published, &self.peer);
        let deliver = &self.ports.upward.deliver;
        let requester = |request| Requester { node: peer.id.clone(), incarnation: peer.incarnation, request };
        match message {
            Message::Broadcast(broadcast) => deliver(Inbound::Broadcast(broadcast)),
            Message::Command(command) => deliver(Inbound::Command(command)),
            Message::Request(id, request) => deliver(Inbound::Request(requester(id), request)),
            Message::Withdrawn(id) => deliver(Inbound::Withdrawn(requester(id))),
            Message::Recovery(message) => {
                deliver(Inbound::Recovery(peer.id.clone(), peer.incarnation, message));
            }
            Message::Gap { .. } => deliver(Inbound::Lost(peer.id.clone(), peer.incarnation)),
            Message::UnknownRequest(id) => published.respond(&requester(id), Response::failed()),
            Message::Response(id, response) => {
                let mut requests = published.requests.lock();
                if let Some(waiter) = requests.handle_response(id, &peer.id, peer.incarnation, response) {
                    waiter.notify_one();
                }
            }
            // These are not sequenced, or of a later version.
            Message::Start { .. }
            | Message::Interest(_)
            | Message::Ack { .. }
            | Message::Goodbye
            | Message::Unknown => {}
        }
    }

    fn log(&self, why: &str) {
        tracing::debug!(
            node = %self.ports.published.me.id, peer = %self.peer.id, reason = %Excerpt::reason(why), "a task of a link ended"
        );
    }
}

/// Reports the end of a task however it ends, even by a panic of a handler.
struct ReportLoss<'a>(&'a LinkTask);

impl Drop for ReportLoss<'_> {
    fn drop(&mut self) {
        let LinkTask { id, peer, ports } = self.0;
        ports.tell_control(ControlMessage::Lost(peer.id.clone(), *id));
    }
}

#[derive(Debug, thiserror::Error)]
enum LinkError {
    #[error(transparent)]
    Read(#[from] quinn::ReadError),
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
}

/// What is written after such a pause goes out at once, which spares waking the mesh. When more comes sooner, it goes into fewer
/// packets if the mesh makes them.
const SELDOM: Duration = Duration::from_micros(200);

/// How many bytes are taken from the connection at once.
const READ: usize = 256 << 10;
