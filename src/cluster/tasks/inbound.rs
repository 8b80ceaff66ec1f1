//! Accepting connections, and sorting what arrives on them (docs/protocol/mesh.md, "Streams and datagrams").

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use tokio::io::copy_bidirectional;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until, timeout};

use super::ports::{ControlMessage, GreetedStream, PeerGossip, Ports};
use crate::cluster::control::DialError;
use crate::cluster::transport::bi_stream::{BiStream, Halves, StreamLoss, abort};
use crate::cluster::transport::connection::{
    ADMISSION, Incoming, PRELUDE, PeerConnection, REACH, read_header, read_large_gossip,
};
use crate::cluster::transport::endpoint::{DIAL, Endpoint, HANDSHAKE, MAX_HANDSHAKES, has_left, shake_hands};
use crate::cluster::wire::{CloseCode, encode_prelude, pb};
use crate::excerpt::Excerpt;
use pb::refusal::Reason;
use pb::stream_header::Kind;

/// Accepts connections until the endpoint is closed. Must run on the mesh's runtime.
pub(crate) async fn accept(endpoint: Endpoint, ports: Arc<Ports>) {
    let handshakes = Handshakes::default();
    while let Some(incoming) = endpoint.accept().await {
        let Some(permit) = handshakes.begin(incoming.remote_address_validated()) else {
            // Under load a stranger has to prove its address. A node simply dials again.
            let _refused = if incoming.may_retry() { incoming.retry().is_ok() } else { false };
            continue;
        };
        let (from, ports, endpoint) = (incoming.remote_address(), Arc::clone(&ports), endpoint.clone());
        tokio::spawn(async move {
            let outcome = timeout(HANDSHAKE, shake_hands(incoming)).await;
            drop(permit);
            match outcome {
                Ok(Ok((quic, peer))) => serve(endpoint.peer_connection(quic, peer), ports).await,
                Ok(Err(error)) => report_refused(&ports, from, &error),
                Err(_) => {}
            }
        });
    }
}

/// A stranger is worth a warning. A dial that its own end gave up is not: it has another connection, or had no time.
fn report_refused(ports: &Ports, from: SocketAddr, error: &DialError) {
    let node = &ports.published.me.id;
    let is_stranger = matches!(error, DialError::Untrusted(_) | DialError::Unnamed);
    let error = Excerpt::list(error);
    if is_stranger && ports.may_warn("refused a connection", from.ip()) {
        tracing::warn!(%node, %from, %error, "refused a connection");
    } else {
        tracing::debug!(%node, %from, %error, "a connection was not made");
    }
}

/// Handshakes in progress. Those from addresses that were proved have places of their own, so packets with forged senders
/// do not delay a node that joins.
struct Handshakes {
    proved: Arc<Semaphore>,
    others: Arc<Semaphore>,
}

impl Default for Handshakes {
    fn default() -> Self {
        let places = || Arc::new(Semaphore::new(MAX_HANDSHAKES));
        Self { proved: places(), others: places() }
    }
}

impl Handshakes {
    /// `None` when there are too many.
    fn begin(&self, proved: bool) -> Option<OwnedSemaphorePermit> {
        let places = if proved { &self.proved } else { &self.others };
        Arc::clone(places).try_acquire_owned().ok()
    }
}

/// Handles everything that arrives on a connection, until it ends. Must run on the mesh's runtime.
pub(crate) async fn serve(connection: Arc<PeerConnection>, ports: Arc<Ports>) {
    // A connection that nobody serves is of no use to its other end.
    let _close = CloseOnDrop(Arc::clone(&connection));
    let admission_due = Instant::now() + ADMISSION;
    let error = loop {
        let arrival = tokio::select! {
            arrival = connection.arrival() => arrival,
            () = sleep_until(admission_due), if connection.incarnation().is_none() => {
                if connection.incarnation().is_none() {
                    connection.close(CloseCode::Refused);
                }
                continue;
            }
        };
        match arrival {
            Ok(Incoming::Gossip(message)) => pass_on_gossip(&connection, message, &ports),
            Ok(Incoming::LargeGossip(stream)) => {
                let (connection, ports) = (Arc::clone(&connection), Arc::clone(&ports));
                tokio::spawn(async move {
                    match read_large_gossip(stream).await {
                        Some(message) => pass_on_gossip(&connection, message, &ports),
                        None => tracing::debug!(peer = %connection.peer, "large gossip did not arrive"),
                    }
                });
            }
            Ok(Incoming::Stream(halves)) => {
                tokio::spawn(handle_stream(Arc::clone(&connection), halves, Arc::clone(&ports)));
            }
            Ok(Incoming::Refused(id, incarnation, place)) => {
                if connection.incarnation().is_some() {
                    let from = connection.peer.clone();
                    ports.tell_control(ControlMessage::ToldRefused { from, id, incarnation, place });
                }
            }
            Ok(Incoming::Answer) => ports.note_answer(),
            Ok(Incoming::Nothing) => {}
            Err(error) => break error,
        }
    };
    tracing::debug!(node = %ports.published.me.id, peer = %connection.peer, reason = %Excerpt::reason(&error), "connection closed");
    if let Some(incarnation) = connection.incarnation().filter(|_| has_left(&error)) {
        ports.tell_control(ControlMessage::Goodbye(connection.peer.clone(), incarnation));
    }
}

struct CloseOnDrop(Arc<PeerConnection>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.close(CloseCode::Silent);
    }
}

fn pass_on_gossip(connection: &PeerConnection, message: Bytes, ports: &Ports) {
    let Some(incarnation) = connection.incarnation() else { return };
    let gossip = PeerGossip { peer: connection.peer.clone(), incarnation, message };
    if ports.gossip.try_send(gossip).is_err() {
        ports.published.counters.gossip_dropped.increment();
    }
}

/// Finds out what a stream is and passes it on.
async fn handle_stream(connection: Arc<PeerConnection>, mut halves: Halves, ports: Arc<Ports>) {
    let Some(header) = read_header(&mut halves.1).await else { return abort(halves) };
    let is_hello = matches!(header.kind, Some(Kind::Link(_) | Kind::Who(_))) && header.origin.is_empty();
    if !is_hello && !connection.is_admitted().await {
        return abort(halves);
    }
    match header.kind {
        Some(Kind::Link(hello)) => handle_hello(&connection, &hello, &header.origin, halves, &ports).await,
        Some(Kind::Http(pb::Http {})) => {
            let _app = ports.app.enter();
            (ports.upward.serve)(BiStream::new(halves, connection.limits.enter()));
        }
        Some(Kind::Relay(relay)) if header.origin.is_empty() => {
            ports.app.spawn(handle_relay(connection, relay, halves, Arc::clone(&ports)));
        }
        Some(Kind::Who(pb::Who {})) if header.origin.is_empty() => say_who(&connection, halves, &ports).await,
        Some(Kind::Unreachable(report)) => warn_unreachable(&connection, &report, &ports),
        // Relayed twice, or of a later version.
        Some(Kind::Relay(_) | Kind::Who(_)) | None => abort(halves),
    }
}

/// Says who answers here, to a member that looks for its cluster.
async fn say_who(connection: &PeerConnection, halves: Halves, ports: &Ports) {
    let hello = ports.published.hello(&connection.peer, Some(connection.remote_address()));
    answer(halves, pb::hello_reply::Answer::Accepted(hello)).await;
}

/// A member does not reach this node at the address that it advertises.
fn warn_unreachable(connection: &PeerConnection, report: &pb::Unreachable, ports: &Ports) {
    let (address, reason) = (Excerpt::name(&report.address), Excerpt::reason(&report.reason));
    if ports.may_warn("unreachable", &connection.peer) {
        tracing::warn!(
            node = %ports.published.me.id, peer = %connection.peer, %address, %reason,
            "the peer does not reach this node at the address that it advertises: is `advertise` right, and UDP open?"
        );
    }
}

async fn handle_hello(
    connection: &Arc<PeerConnection>,
    hello: &pb::Hello,
    origin: &str,
    halves: Halves,
    ports: &Ports,
) {
    // A member vouches for the nodes whose streams it relays, because it has verified them. `handle_stream` lets an origin
    // pass only from a member.
    let certified = match origin {
        "" => connection.peer.clone(),
        origin => match origin.parse() {
            Ok(origin) => origin,
            Err(_) => return abort(halves),
        },
    };
    match ports.published.me.check(hello, &certified) {
        Ok(greeting) => {
            ports.published.warn_of_settings(&greeting);
            let connection = origin.is_empty().then(|| Arc::clone(connection));
            ports.tell_control(ControlMessage::Hello(Box::new(GreetedStream {
                greeting,
                connection,
                halves,
            })));
        }
        Err(refusal) => {
            if refusal.reason() != Reason::Self_ && ports.may_warn("refused a hello", &certified) {
                tracing::warn!(
                    node = %ports.published.me.id, peer = %certified, reason = %Excerpt::reason(&refusal.detail), "refused a hello"
                );
            }
            refuse(halves, refusal).await;
        }
    }
}

/// Answers a hello with a refusal, and waits until it has arrived.
pub(crate) async fn refuse(halves: Halves, refusal: pb::Refusal) {
    answer(halves, pb::hello_reply::Answer::Refused(refusal)).await;
}

async fn answer(mut halves: Halves, answer: pb::hello_reply::Answer) {
    let reply = pb::HelloReply { answer: Some(answer) };
    if halves.0.write_all(&encode_prelude(&reply)).await.is_ok() {
        // A drop would finish the stream, too. This waits, so that a close that follows does not overtake the answer.
        let _closed = halves.0.finish();
        let _stopped = timeout(PRELUDE, halves.0.stopped()).await;
    }
}

/// Carries a stream to another node, one hop and no further.
async fn handle_relay(from: Arc<PeerConnection>, relay: pb::Relay, halves: Halves, ports: Arc<Ports>) {
    use pb::relay::Inner;
    let kind = match relay.inner {
        Some(Inner::Link(hello)) => Kind::Link(hello),
        Some(Inner::Http(http)) => Kind::Http(http),
        None => return abort(halves),
    };
    let to = relay.to.parse().ok().and_then(|to| ports.published.connection(&to));
    let Some(to) = to else { return abort(halves) };
    let header = pb::StreamHeader { kind: Some(kind), origin: from.peer.to_string() };
    let (permit, onward_permit) = (from.limits.enter(), to.limits.enter());
    let Ok(Ok(onward)) = timeout(DIAL, to.open(&header)).await else { return abort(halves) };
    ports.published.counters.relayed.increment();
    let (mut stream, mut onward) = (BiStream::new(halves, permit), BiStream::new(onward, onward_permit));
    let losses = [stream.loss(), onward.loss()];
    let (began, refused) = (Instant::now(), stream.send.refused());
    let copied = tokio::select! {
        copied = copy_bidirectional(&mut stream, &mut onward) => copied,
        // A request that was sent whole is given up without a word in its own direction.
        error = refused => Err(error),
        () = to.falls_silent(began, began + REACH / 2) => {
            onward.loss().declare();
            Err(io::ErrorKind::TimedOut.into())
        }
    };
    if let Err(error) = copied {
        tracing::debug!(from = %from.peer, to = %to.peer, error = %Excerpt::reason(&error), "a relayed stream broke");
        // Each end learns how the other was lost.
        if losses.iter().any(StreamLoss::is_lost) {
            losses.iter().for_each(StreamLoss::declare);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forged_addresses_do_not_take_the_places_of_those_that_were_proved() {
        let handshakes = Handshakes::default();
        let forged: Vec<_> = (0..1000).filter_map(|_| handshakes.begin(false)).collect();
        assert_eq!(forged.len(), MAX_HANDSHAKES);
        let proved: Vec<_> = (0..1000).filter_map(|_| handshakes.begin(true)).collect();
        assert_eq!(proved.len(), MAX_HANDSHAKES);
        drop(forged);
        assert!(handshakes.begin(false).is_some() && handshakes.begin(true).is_none());
    }
}
