//! One QUIC connection to another node: sorts what arrives on it (docs/protocol/mesh.md, "Streams and datagrams").

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use parking_lot::Mutex;
use quinn::{Connection, ConnectionError, RecvStream};
use ractor::ActorRef;
use tokio::io::copy_bidirectional;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SetOnce, mpsc};
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, warn};

use crate::cluster::control::{Knock, Message};
use crate::cluster::endpoint::{Closing, DialError, Endpoint, MAX_HANDSHAKES};
use crate::cluster::hello::Greeting;
use crate::cluster::shared::Shared;
use crate::cluster::stream::{BiStream, Halves, StreamError, abort, read_prelude};
use crate::cluster::streams::Streams;
use crate::cluster::wire::{encode_prelude, pb};
use crate::id::{Incarnation, NodeId};
use crate::log_limit::LogLimit;
use crate::socket::messages::Inbound;
use pb::stream_header::Kind;

/// Serves an HTTP/1.1 connection that another node's edge opened.
pub(crate) type Serve = Arc<dyn Fn(BiStream) + Send + Sync>;
/// Takes what another node tells or asks about sockets.
pub(crate) type Deliver = Arc<dyn Fn(Inbound) + Send + Sync>;

/// Where the things go that arrive.
pub(crate) struct Ports {
    pub shared: Arc<Shared>,
    pub control: ActorRef<Message>,
    pub gossip: mpsc::Sender<(SocketAddr, Bytes)>,
    /// The application's runtime.
    pub app: Handle,
    pub serve: Serve,
    pub deliver: Deliver,
    pub warned: LogLimit,
}

impl Ports {
    /// Whether to warn about strangers and refusals now: they could fill the log otherwise.
    pub(crate) fn may_warn(&self) -> bool {
        self.warned.allows(NAG, Instant::now())
    }
}

/// A verified connection to a node.
#[derive(Debug)]
pub(crate) struct PeerConnection {
    pub quic: Connection,
    pub peer: NodeId,
    /// Set by the hello: before it nothing but a hello is accepted.
    admitted: SetOnce<Admission>,
    answered: Mutex<Instant>,
    large_gossip: Arc<Semaphore>,
    /// Those that may last: requests and what is relayed.
    pub streams: Arc<Streams>,
}

#[derive(Debug, Clone, Copy)]
struct Admission {
    incarnation: Incarnation,
    address: SocketAddr,
}

impl PeerConnection {
    fn new(quic: Connection, peer: NodeId) -> Arc<Self> {
        let answered = Mutex::new(Instant::now());
        let large_gossip = Arc::new(Semaphore::new(MAX_LARGE_GOSSIP));
        let streams = Streams::new(quic.clone());
        Arc::new(Self { quic, peer, admitted: SetOnce::new(), answered, large_gossip, streams })
    }

    /// The hello was accepted: the rest may come.
    pub(crate) fn admit(&self, greeting: &Greeting) {
        let admission = Admission { incarnation: greeting.incarnation, address: greeting.address };
        // A second hello on the same connection says the same.
        let _again = self.admitted.set(admission);
        *self.answered.lock() = Instant::now();
    }

    /// Whether the hello was accepted. The other end may know before this node does, so what comes early waits for it.
    async fn is_admitted(&self) -> bool {
        timeout(ADMISSION, self.admitted.wait()).await.is_ok()
    }

    /// Asks the other end for a sign of life; QUIC alone notices a cut in one direction late.
    pub(crate) fn ping(&self) {
        self.datagram(PING, &[]);
    }

    /// When the last sign of life came.
    pub(crate) fn answered(&self) -> Instant {
        *self.answered.lock()
    }

    /// Opens a stream to this node and says what it is.
    pub(crate) async fn open(&self, header: &pb::StreamHeader) -> Result<Halves, DialError> {
        let (mut send, recv) = self.quic.open_bi().await?;
        let written = send.write_all(&encode_prelude(header)).await;
        written.map_err(|error| DialError::Broken(error.to_string()))?;
        Ok((send, recv))
    }

    pub(crate) fn close(&self, why: Closing) {
        self.quic.close(why.code(), b"");
    }

    /// Sends a gossip message, without ever waiting. Must run on the mesh's runtime. Returns whether it was sent.
    pub(crate) fn gossip(self: &Arc<Self>, message: Bytes) -> bool {
        let room = self.quic.max_datagram_size().unwrap_or_default();
        if message.len() < room {
            return self.datagram(GOSSIP, &message);
        }
        let Ok(permit) = Arc::clone(&self.large_gossip).try_acquire_owned() else { return false };
        let quic = self.quic.clone();
        tokio::spawn(async move {
            let written = timeout(PRELUDE, async {
                let mut stream = quic.open_uni().await?;
                stream.write_all(&message).await?;
                Ok::<_, quinn::WriteError>(stream.finish()?)
            });
            if !matches!(written.await, Ok(Ok(()))) {
                debug!("large gossip was not sent");
            }
            drop(permit);
        });
        true
    }

    fn datagram(&self, kind: u8, body: &[u8]) -> bool {
        let mut datagram = BytesMut::with_capacity(1 + body.len());
        datagram.put_u8(kind);
        datagram.put_slice(body);
        self.quic.send_datagram(datagram.freeze()).is_ok()
    }
}

/// Accepts connections until the endpoint is closed. Must run on the mesh's runtime.
pub(crate) async fn accept(endpoint: Endpoint, ports: Arc<Ports>) {
    use crate::cluster::endpoint::shake_hands;
    let handshakes = Handshakes::default();
    while let Some(incoming) = endpoint.accept().await {
        let Some(permit) = handshakes.begin(incoming.remote_address_validated()) else {
            // Under load a stranger has to prove its address; a node simply comes again.
            let _refused = if incoming.may_retry() { incoming.retry().is_ok() } else { false };
            continue;
        };
        let (from, ports) = (incoming.remote_address(), Arc::clone(&ports));
        tokio::spawn(async move {
            let outcome = timeout(DIAL, shake_hands(incoming)).await;
            drop(permit);
            match outcome {
                Ok(Ok((quic, peer))) if !ports.shared.denies(&peer) => {
                    serve(PeerConnection::new(quic, peer), ports).await;
                }
                Ok(Ok(_)) | Err(_) => {}
                Ok(Err(error)) if ports.may_warn() => {
                    warn!(node = %ports.shared.me.id, %from, %error, "refused a connection");
                }
                Ok(Err(error)) => debug!(node = %ports.shared.me.id, %from, %error, "refused a connection"),
            }
        });
    }
}

/// Handshakes in progress. Whoever has proved its address competes with its like only: packets with forged senders do not
/// delay a node that joins.
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

/// What came of a dial: a stream on which the other node answered our hello.
pub(crate) struct Answer {
    pub greeting: Greeting,
    /// `None` when it is relayed.
    pub connection: Option<Arc<PeerConnection>>,
    pub halves: Halves,
}

/// Dials an address and says hello. Must run on the mesh's runtime.
pub(crate) async fn dial(
    endpoint: Endpoint,
    ports: Arc<Ports>,
    address: SocketAddr,
) -> Result<Answer, DialError> {
    let attempt = async {
        let (quic, peer) = endpoint.dial(address).await?;
        if ports.shared.denies(&peer) {
            return Err(DialError::Silence);
        }
        if ports.shared.direct(&peer).is_some_and(|known| known.quic.close_reason().is_none()) {
            quic.close(Closing::Superseded.code(), b"");
            return Err(DialError::Known(peer));
        }
        let connection = PeerConnection::new(quic, peer.clone());
        tokio::spawn(serve(Arc::clone(&connection), Arc::clone(&ports)));
        let kind = Some(Kind::Link(ports.shared.hello(&peer)));
        let halves = connection.open(&pb::StreamHeader { kind, origin: String::new() }).await?;
        let answer = greet(&ports.shared, &peer, halves).await;
        if answer.is_err() {
            connection.close(Closing::Refused);
        }
        answer.map(|(greeting, halves)| Answer { greeting, connection: Some(connection), halves })
    };
    timeout(DIAL, attempt).await.unwrap_or(Err(DialError::Silence))
}

/// Says hello to a node through another one.
pub(crate) async fn dial_through(
    ports: Arc<Ports>,
    relay: Arc<PeerConnection>,
    to: NodeId,
) -> Result<Answer, DialError> {
    let attempt = async {
        let inner = Some(pb::relay::Inner::Link(ports.shared.hello(&to)));
        let kind = Some(Kind::Relay(pb::Relay { to: to.to_string(), inner }));
        let halves = relay.open(&pb::StreamHeader { kind, origin: String::new() }).await?;
        let (greeting, halves) = greet(&ports.shared, &to, halves).await?;
        Ok(Answer { greeting, connection: None, halves })
    };
    timeout(DIAL, attempt).await.unwrap_or(Err(DialError::Silence))
}

/// Waits for the answer to our hello.
async fn greet(shared: &Shared, peer: &NodeId, mut halves: Halves) -> Result<(Greeting, Halves), DialError> {
    use pb::hello_reply::Answer;
    let reply: Result<pb::HelloReply, StreamError> = read_prelude(&mut halves.1).await;
    let refused = |refusal: &pb::Refusal| match refusal.reason() {
        pb::refusal::Reason::Self_ => DialError::Myself,
        reason => DialError::Refused {
            peer: peer.clone(),
            why: format!("{}: {}", reason.as_str_name(), refusal.detail),
            reason,
        },
    };
    match reply.map_err(|error| DialError::Broken(error.to_string()))?.answer {
        Some(Answer::Accepted(hello)) => {
            let greeting = shared.me.check(&hello, peer).map_err(|refusal| refused(&refusal))?;
            Ok((greeting, halves))
        }
        Some(Answer::Refused(refusal)) => Err(refused(&refusal)),
        None => Err(DialError::Broken("an answer of a later version".to_owned())),
    }
}

/// Handles everything that arrives on a connection, until it ends. Must run on the mesh's runtime.
async fn serve(connection: Arc<PeerConnection>, ports: Arc<Ports>) {
    let admission = sleep(ADMISSION);
    tokio::pin!(admission);
    let mut waiting = true;
    let error = loop {
        let step: Result<(), ConnectionError> = tokio::select! {
            datagram = connection.quic.read_datagram() => datagram.map(|datagram| connection.handle_datagram(&datagram, &ports)),
            stream = connection.quic.accept_bi() => stream.map(|halves| {
                tokio::spawn(handle_stream(Arc::clone(&connection), halves, Arc::clone(&ports)));
            }),
            stream = connection.quic.accept_uni() => stream.map(|stream| {
                tokio::spawn(handle_large_gossip(Arc::clone(&connection), stream, Arc::clone(&ports)));
            }),
            () = &mut admission, if waiting => {
                waiting = false;
                if connection.admitted.get().is_none() {
                    connection.close(Closing::Refused);
                }
                Ok(())
            }
        };
        if let Err(error) = step {
            break error;
        }
    };
    debug!(node = %ports.shared.me.id, peer = %connection.peer, reason = %error, "connection closed");
    if let Some(admission) = connection.admitted.get().filter(|_| Closing::is_left(&error)) {
        let goodbye = Message::Goodbye { id: connection.peer.clone(), incarnation: admission.incarnation };
        tell(&ports, goodbye);
    }
}

impl PeerConnection {
    fn handle_datagram(&self, datagram: &Bytes, ports: &Ports) {
        match datagram.split_first() {
            Some((&GOSSIP, _)) => self.hand_over_gossip(datagram.slice(1..), ports),
            Some((&PING, body)) => {
                self.datagram(PONG, body);
            }
            Some((&PONG, _)) => *self.answered.lock() = Instant::now(),
            // A kind of a later version.
            _ => {}
        }
    }

    fn hand_over_gossip(&self, message: Bytes, ports: &Ports) {
        let Some(admission) = self.admitted.get() else { return };
        if ports.gossip.try_send((admission.address, message)).is_err() {
            ports.shared.counters.gossip_dropped.increment();
        }
    }
}

async fn handle_large_gossip(connection: Arc<PeerConnection>, mut stream: RecvStream, ports: Arc<Ports>) {
    match timeout(PRELUDE, stream.read_to_end(MAX_GOSSIP)).await {
        Ok(Ok(message)) => connection.hand_over_gossip(message.into(), &ports),
        Ok(Err(error)) => debug!(peer = %connection.peer, %error, "gossip was not readable"),
        Err(_) => debug!(peer = %connection.peer, "gossip took too long"),
    }
}

/// Finds out what a stream is and passes it on.
async fn handle_stream(connection: Arc<PeerConnection>, mut halves: Halves, ports: Arc<Ports>) {
    let header: Result<pb::StreamHeader, _> = match timeout(PRELUDE, read_prelude(&mut halves.1)).await {
        Ok(header) => header,
        Err(_) => return abort(halves),
    };
    let Ok(header) = header else { return abort(halves) };
    let first = matches!(header.kind, Some(Kind::Link(_))) && header.origin.is_empty();
    if !first && !connection.is_admitted().await {
        return abort(halves);
    }
    match header.kind {
        Some(Kind::Link(hello)) => handle_hello(&connection, &hello, &header.origin, halves, &ports).await,
        Some(Kind::Http(pb::Http {})) => {
            let (serve, stream) =
                (Arc::clone(&ports.serve), BiStream::answering(halves, connection.streams.enter()));
            ports.app.spawn(async move { serve(stream) });
        }
        Some(Kind::Relay(relay)) if header.origin.is_empty() => {
            ports.app.spawn(handle_relay(connection, relay, halves, Arc::clone(&ports)));
        }
        // Relayed twice, or of a later version.
        _ => abort(halves),
    }
}

async fn handle_hello(
    connection: &Arc<PeerConnection>,
    hello: &pb::Hello,
    origin: &str,
    halves: Halves,
    ports: &Ports,
) {
    // A member vouches for those whom it relays: it has verified them itself. Only who is admitted comes here with an origin.
    let certified = match origin {
        "" => connection.peer.clone(),
        origin => match origin.parse() {
            Ok(origin) if !ports.shared.denies(&connection.peer) => origin,
            _ => return abort(halves),
        },
    };
    match ports.shared.me.check(hello, &certified) {
        Ok(greeting) => {
            let direct = origin.is_empty().then(|| Arc::clone(connection));
            tell(ports, Message::Knock(Box::new(Knock { greeting, connection: direct, halves })));
        }
        Err(refusal) => {
            let reason = refusal.reason();
            if reason != pb::refusal::Reason::Self_ && ports.may_warn() {
                warn!(node = %ports.shared.me.id, peer = %certified, reason = %refusal.detail, "refused a hello");
            }
            reject(halves, refusal).await;
        }
    }
}

/// Answers a hello with a refusal.
pub(crate) async fn reject(mut halves: Halves, refusal: pb::Refusal) {
    let reply = pb::HelloReply { answer: Some(pb::hello_reply::Answer::Refused(refusal)) };
    if halves.0.write_all(&encode_prelude(&reply)).await.is_ok() {
        // Dropping the stream would be enough; this waits so that a following close does not overtake it.
        let _closed = halves.0.finish();
        let _stopped = timeout(PRELUDE, halves.0.stopped()).await;
    }
}

/// Carries a stream of `from` to another node, one hop and no further.
async fn handle_relay(from: Arc<PeerConnection>, relay: pb::Relay, halves: Halves, ports: Arc<Ports>) {
    use pb::relay::Inner;
    let kind = match relay.inner {
        Some(Inner::Link(hello)) => Kind::Link(hello),
        Some(Inner::Http(http)) => Kind::Http(http),
        None => return abort(halves),
    };
    let Some(to) = relay.to.parse().ok().and_then(|to| ports.shared.direct(&to)) else {
        return abort(halves);
    };
    let header = pb::StreamHeader { kind: Some(kind), origin: from.peer.to_string() };
    let (in_use, used_there) = (from.streams.enter(), to.streams.enter());
    let Ok(Ok(onward)) = timeout(DIAL, to.open(&header)).await else { return abort(halves) };
    ports.shared.counters.relayed.increment();
    let (mut here, mut there) = (BiStream::new(halves, in_use), BiStream::new(onward, used_there));
    if let Err(error) = copy_bidirectional(&mut here, &mut there).await {
        debug!(from = %from.peer, to = %to.peer, %error, "a relayed stream broke");
    }
}

fn tell(ports: &Ports, message: Message) {
    // Fails only while the mesh stops; then nobody cares.
    let _stopped = ports.control.cast(message);
}

/// The first byte of a datagram.
const GOSSIP: u8 = 1;
const PING: u8 = 2;
const PONG: u8 = 3;
/// Gossip of a thousand members; chitchat itself stays below 64 KiB.
const MAX_GOSSIP: usize = 128 << 10;
/// Large gossip on its way to one peer; more than that would only repeat itself.
const MAX_LARGE_GOSSIP: usize = 4;
/// From the first packet to the answer to our hello; a node that needs longer is dialled again.
pub(crate) const DIAL: Duration = Duration::from_millis(1500);
/// A stream says what it is at once.
const PRELUDE: Duration = Duration::from_secs(2);
/// One warning about strangers in this time.
const NAG: Duration = Duration::from_secs(3);
/// A connection says hello soon, or goes.
const ADMISSION: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forged_addresses_do_not_take_the_places_of_those_who_proved_theirs() {
        let handshakes = Handshakes::default();
        let forged: Vec<_> = (0..1000).filter_map(|_| handshakes.begin(false)).collect();
        assert_eq!(forged.len(), MAX_HANDSHAKES);
        let proved: Vec<_> = (0..1000).filter_map(|_| handshakes.begin(true)).collect();
        assert_eq!(proved.len(), MAX_HANDSHAKES);
        drop(forged);
        assert!(handshakes.begin(false).is_some() && handshakes.begin(true).is_none());
    }
}
