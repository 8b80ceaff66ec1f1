//! A stateless round-robin load balancer: every HTTP request goes to the next node, whoever sent it and whatever it asks.
//!
//! It is the hardest case for a cluster: the requests of one session reach all nodes in turn. It does what every reverse
//! proxy does and nothing more: bodies are streamed both ways, an abort on either side is an abort on the other, and an
//! upgraded connection is a pair of byte streams. The demo and the tests use it; in production, any load balancer does.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{Either, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1 as client;
use hyper::header::{
    CONNECTION, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHENTICATE, TE, TRANSFER_ENCODING, UPGRADE,
};
use hyper::server::conn::http1 as server;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper::{Request, Response, StatusCode, Version};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

/// A running balancer; dropping it closes its port and every connection that goes through it.
///
/// ```
/// # async fn f() -> std::io::Result<()> {
/// use balancer::Balancer;
///
/// let nodes = vec![([127, 0, 0, 1], 3001).into(), ([127, 0, 0, 1], 3002).into()];
/// let balancer = Balancer::start(([0, 0, 0, 0], 3000).into(), nodes).await?;
/// println!("clients connect to http://{}", balancer.addr());
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Balancer {
    addr: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Balancer {
    /// Listens on `listen` (port 0 is allowed) and spreads requests over `nodes`, in their order.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub async fn start(listen: SocketAddr, nodes: Vec<SocketAddr>) -> io::Result<Self> {
        Self::on(TcpListener::bind(listen).await?, nodes)
    }

    /// The same with a listener that is bound already.
    ///
    /// # Errors
    /// The listener does not say its address.
    pub fn on(listener: TcpListener, nodes: Vec<SocketAddr>) -> io::Result<Self> {
        let addr = listener.local_addr()?;
        let rotation = Arc::new(Rotation { nodes, turn: AtomicUsize::new(0) });
        Ok(Self { addr, accepting: tokio::spawn(accept(listener, rotation)) })
    }

    /// Where clients connect.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// The nodes, and whose turn it is.
#[derive(Debug)]
struct Rotation {
    nodes: Vec<SocketAddr>,
    turn: AtomicUsize,
}

impl Rotation {
    /// Connects to the next node; one that refuses is skipped. `None` when all refuse.
    async fn connect(&self) -> Option<TcpStream> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let first = turn.checked_rem(self.nodes.len())?;
        for node in self.nodes.iter().cycle().skip(first).take(self.nodes.len()) {
            if let Ok(Ok(stream)) = timeout(CONNECT_TIMEOUT, TcpStream::connect(node)).await {
                // Without it small writes of a stream wait for the peer's delayed acknowledgement.
                return stream.set_nodelay(true).is_ok().then_some(stream);
            }
        }
        None
    }
}

async fn accept(listener: TcpListener, rotation: Arc<Rotation>) {
    // Owns every connection, so that dropping the balancer closes them.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, from)) => {
                    connections.spawn(serve(stream, from, Arc::clone(&rotation)));
                }
                // Out of file descriptors, or a connection that died in the queue: both pass.
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// One client connection: its requests one after the other, then perhaps an upgrade.
async fn serve(stream: TcpStream, from: SocketAddr, rotation: Arc<Rotation>) {
    if stream.set_nodelay(true).is_err() {
        return;
    }
    // A connection upgrades at most once, as its last act.
    let (upgraded, mut upgrades) = mpsc::channel(1);
    let service = service_fn(|request| forward(request, from, &rotation, &upgraded));
    let served = server::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades().await;
    if let (Ok(()), Ok(upgrade)) = (served, upgrades.try_recv()) {
        upgrade.run().await;
    }
}

/// The body of an answer: the node's, or none at all.
type Body = Either<Incoming, Empty<Bytes>>;

/// Sends one request to the next node, over a connection of its own, and returns the answer. An error closes the client's
/// connection without an answer.
async fn forward(
    mut request: Request<Incoming>,
    from: SocketAddr,
    rotation: &Rotation,
    upgraded: &mpsc::Sender<Upgrade>,
) -> hyper::Result<Response<Body>> {
    let Some(stream) = rotation.connect().await else { return Ok(empty(StatusCode::SERVICE_UNAVAILABLE)) };
    let (mut node, connection) = client::handshake(TokioIo::new(stream)).await?;
    // It ends by itself: when its answer was read, and when the future of the request or the body of the answer is dropped.
    tokio::spawn(connection.with_upgrades());
    let asks_to_upgrade = asks_to_upgrade(request.headers());
    let client = asks_to_upgrade.then(|| hyper::upgrade::on(&mut request));
    strip_hop_by_hop(request.headers_mut(), asks_to_upgrade);
    add_forwarded_for(request.headers_mut(), from);
    *request.version_mut() = Version::HTTP_11;
    let mut response = node.send_request(request).await?;
    let upgrades = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    strip_hop_by_hop(response.headers_mut(), upgrades);
    if let Some(client) = client.filter(|_| upgrades) {
        let node = hyper::upgrade::on(&mut response);
        // The channel holds the one upgrade that a connection can have.
        drop(upgraded.try_send(Upgrade { client, node }));
    }
    Ok(response.map(Either::Left))
}

/// Both ends of a connection that changes its protocol.
#[derive(Debug)]
struct Upgrade {
    client: OnUpgrade,
    node: OnUpgrade,
}

impl Upgrade {
    /// Copies bytes both ways until both sides have ended, or one of them breaks off.
    async fn run(self) {
        if let (Ok(client), Ok(node)) = tokio::join!(self.client, self.node) {
            let (mut client, mut node) = (TokioIo::new(client), TokioIo::new(node));
            // How it ended concerns nobody: both connections are closed now.
            let _ended = tokio::io::copy_bidirectional(&mut client, &mut node).await;
        }
    }
}

fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Either::Right(Empty::new()));
    *response.status_mut() = status;
    response
}

/// An `Upgrade` asks for nothing unless `Connection` names it (RFC 9110, section 7.8).
fn asks_to_upgrade(headers: &HeaderMap) -> bool {
    let named = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let mut named = named.flat_map(|value| value.split(','));
    headers.contains_key(UPGRADE) && named.any(|name| name.trim().eq_ignore_ascii_case("upgrade"))
}

/// Removes the headers that belong to one connection only (RFC 9110, section 7.6.1); hyper writes its own.
fn strip_hop_by_hop(headers: &mut HeaderMap, upgrades: bool) {
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
    if upgrades {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    } else {
        headers.remove(UPGRADE);
    }
}

fn add_forwarded_for(headers: &mut HeaderMap, from: SocketAddr) {
    let earlier = headers.get(&X_FORWARDED_FOR).and_then(|value| value.to_str().ok());
    let chain = earlier.map_or_else(|| from.ip().to_string(), |earlier| format!("{earlier}, {}", from.ip()));
    if let Ok(value) = HeaderValue::from_str(&chain) {
        headers.insert(X_FORWARDED_FOR, value);
    }
}

/// How long a node may take to accept a connection. One that is down refuses at once; this is for one that is cut off.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Long enough not to spin, short enough not to be noticed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const HOP_BY_HOP: [HeaderName; 6] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    PROXY_AUTHENTICATE,
    TE,
    TRANSFER_ENCODING,
];

#[cfg(test)]
mod tests {
    use std::future::pending;

    use http_body_util::combinators::UnsyncBoxBody;
    use http_body_util::{BodyExt, Full, StreamBody};
    use hyper::body::Frame;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::Notify;

    use super::*;

    /// Notifies when dropped: how an upstream sees that it was given up.
    struct OnDrop(Arc<Notify>);

    impl Drop for OnDrop {
        fn drop(&mut self) {
            self.0.notify_one();
        }
    }

    type Answer = Response<UnsyncBoxBody<Bytes, hyper::Error>>;

    /// An upstream whose name is its number; the path says what it shall do.
    async fn upstream(number: usize, seen: Arc<Notify>, dropped: Arc<Notify>) -> SocketAddr {
        let listener = TcpListener::bind(LOOPBACK).await.unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (seen, dropped) = (Arc::clone(&seen), Arc::clone(&dropped));
                tokio::spawn(async move {
                    let service = service_fn(|request| {
                        let dropped = OnDrop(Arc::clone(&dropped));
                        seen.notify_one();
                        async move { answer(number, request, dropped).await }
                    });
                    let connection = server::Builder::new().serve_connection(TokioIo::new(stream), service);
                    connection.with_upgrades().await.ok();
                });
            }
        });
        addr
    }

    async fn answer(
        number: usize,
        mut request: Request<Incoming>,
        dropped: OnDrop,
    ) -> Result<Answer, String> {
        let full =
            |text: String| Response::new(Full::from(text).map_err(|never| match never {}).boxed_unsync());
        match request.uri().path() {
            "/hang" => {
                pending::<()>().await;
                drop(dropped);
                Err("never".to_owned())
            }
            "/fail" => Err("closes the connection without an answer".to_owned()),
            "/headers" => Ok(full(format!("{:?}", request.headers()))),
            "/echo" => Ok(Response::new(request.into_body().boxed_unsync())),
            "/body" => Ok(match request.into_body().collect().await {
                Ok(body) => full(body.to_bytes().len().to_string()),
                Err(_) => return Err("the body broke off".to_owned()),
            }),
            "/endless" => {
                let tick = futures_util::stream::unfold(dropped, |dropped| async {
                    tokio::task::yield_now().await;
                    Some((Ok(Frame::data(Bytes::from_static(b"tick"))), dropped))
                });
                Ok(Response::new(StreamBody::new(tick).boxed_unsync()))
            }
            "/upgrade" => {
                let upgraded = hyper::upgrade::on(&mut request);
                tokio::spawn(async move {
                    let mut io = TokioIo::new(upgraded.await.unwrap());
                    let (mut read, mut write) = tokio::io::split(&mut io);
                    tokio::io::copy(&mut read, &mut write).await.ok();
                    drop(dropped);
                });
                let mut response = full(String::new());
                *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
                response.headers_mut().insert(UPGRADE, HeaderValue::from_static("echo"));
                Ok(response)
            }
            _ => Ok(full(number.to_string())),
        }
    }

    struct Harness {
        balancer: Balancer,
        seen: Arc<Notify>,
        dropped: Arc<Notify>,
    }

    async fn balanced(nodes: usize) -> Harness {
        let (seen, dropped) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let mut addrs = Vec::new();
        for number in 0..nodes {
            addrs.push(upstream(number, Arc::clone(&seen), Arc::clone(&dropped)).await);
        }
        Harness { balancer: Balancer::start(LOOPBACK, addrs).await.unwrap(), seen, dropped }
    }

    /// Writes `request` and reads until the balancer closes, or `until` was read.
    async fn say(stream: &mut TcpStream, request: &str, until: &str) -> String {
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = Vec::new();
        let reading = async {
            while !String::from_utf8_lossy(&text).contains(until)
                && stream.read_buf(&mut text).await.unwrap_or(0) > 0
            {}
        };
        timeout(DEADLINE, reading).await.unwrap_or_else(|_| panic!("waited for {until:?}"));
        String::from_utf8(text).unwrap()
    }

    async fn connect(harness: &Harness) -> TcpStream {
        TcpStream::connect(harness.balancer.addr()).await.unwrap()
    }

    async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
        timeout(DEADLINE, future).await.unwrap_or_else(|_| panic!("waited for {what}"))
    }

    #[tokio::test]
    async fn requests_of_one_connection_go_round() {
        let harness = balanced(3).await;
        let mut stream = connect(&harness).await;
        for expected in ["\r\n\r\n0", "\r\n\r\n1", "\r\n\r\n2", "\r\n\r\n0"] {
            let text = say(&mut stream, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", expected).await;
            assert!(text.starts_with("HTTP/1.1 200") && text.ends_with(expected), "{text}");
        }
    }

    #[tokio::test]
    async fn a_node_that_refuses_is_skipped() {
        let harness = balanced(1).await;
        let refusing = TcpListener::bind(LOOPBACK).await.unwrap();
        let dead = refusing.local_addr().unwrap();
        drop(refusing);
        let alive = upstream(7, harness.seen, harness.dropped).await;
        let balancer = Balancer::start(LOOPBACK, vec![dead, alive]).await.unwrap();
        let mut stream = TcpStream::connect(balancer.addr()).await.unwrap();
        for _ in 0..3 {
            let text = say(&mut stream, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "\r\n\r\n7").await;
            assert!(text.starts_with("HTTP/1.1 200"), "{text}");
        }
    }

    #[tokio::test]
    async fn with_no_node_the_answer_is_503() {
        for nodes in [vec![], vec!["127.0.0.1:1".parse().unwrap()]] {
            let balancer = Balancer::start(LOOPBACK, nodes).await.unwrap();
            let mut stream = TcpStream::connect(balancer.addr()).await.unwrap();
            let text = say(&mut stream, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "\r\n\r\n").await;
            assert!(text.starts_with("HTTP/1.1 503"), "{text}");
        }
    }

    #[tokio::test]
    async fn bodies_stream_both_ways() {
        let harness = balanced(1).await;
        let mut stream = connect(&harness).await;
        let head = "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
        // Each half comes back before the next is sent: nothing waits for the end of a body.
        let first = say(&mut stream, &format!("{head}5\r\nfirst\r\n"), "first").await;
        assert!(first.starts_with("HTTP/1.1 200"), "{first}");
        say(&mut stream, "6\r\nsecond\r\n", "second").await;
        say(&mut stream, "0\r\n\r\n", "0\r\n\r\n").await;
    }

    #[tokio::test]
    async fn a_length_stays_a_length() {
        let harness = balanced(1).await;
        let mut stream = connect(&harness).await;
        let request = "POST /headers HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi";
        let text = say(&mut stream, request, "}").await.to_lowercase();
        assert!(text.contains("\"content-length\": \"2\"") && !text.contains("transfer-encoding"), "{text}");
    }

    #[tokio::test]
    async fn the_client_is_named_behind_those_who_forwarded_before() {
        let harness = balanced(1).await;
        let mut stream = connect(&harness).await;
        let request =
            "GET /headers HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 10.0.0.1\r\nKeep-Alive: 5\r\n\r\n";
        let text = say(&mut stream, request, "}").await;
        assert!(text.contains(r#""x-forwarded-for": "10.0.0.1, 127.0.0.1""#), "{text}");
        assert!(!text.contains("keep-alive"), "{text}");
    }

    #[tokio::test]
    async fn a_client_that_goes_away_while_waiting_is_gone_for_the_node() {
        let harness = balanced(1).await;
        let mut stream = connect(&harness).await;
        stream.write_all(b"GET /hang HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        within("the request at the node", harness.seen.notified()).await;
        drop(stream);
        within("the abort at the node", harness.dropped.notified()).await;
    }

    #[tokio::test]
    async fn a_client_that_goes_away_while_sending_is_gone_for_the_node() {
        let harness = balanced(1).await;
        let mut stream = connect(&harness).await;
        stream.write_all(b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf").await.unwrap();
        within("the request at the node", harness.seen.notified()).await;
        drop(stream);
        within("the abort at the node", harness.dropped.notified()).await;
    }

    #[tokio::test]
    async fn a_client_that_goes_away_while_reading_is_gone_for_the_node() {
        let harness = balanced(1).await;
        let mut stream = connect(&harness).await;
        say(&mut stream, "GET /endless HTTP/1.1\r\nHost: x\r\n\r\n", "tick").await;
        drop(stream);
        within("the abort at the node", harness.dropped.notified()).await;
    }

    #[tokio::test]
    async fn a_node_that_closes_without_an_answer_closes_the_client() {
        let harness = balanced(1).await;
        let mut stream = connect(&harness).await;
        let text = say(&mut stream, "GET /fail HTTP/1.1\r\nHost: x\r\n\r\n", "never").await;
        assert_eq!(text, "");
    }

    #[tokio::test]
    async fn an_upgraded_connection_is_spliced_until_one_side_closes() {
        let harness = balanced(1).await;
        let mut stream = connect(&harness).await;
        let request = "GET /upgrade HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
        let text = say(&mut stream, request, "\r\n\r\n").await.to_lowercase();
        assert!(text.starts_with("http/1.1 101") && text.contains("upgrade: echo"), "{text}");
        assert_eq!(say(&mut stream, "hello", "hello").await, "hello");
        drop(stream);
        within("the end of the stream at the node", harness.dropped.notified()).await;
    }

    #[tokio::test]
    async fn an_upgrade_that_the_connection_does_not_name_is_none() {
        let harness = balanced(1).await;
        let mut stream = connect(&harness).await;
        let request = "GET /headers HTTP/1.1\r\nHost: x\r\nConnection: close\r\nUpgrade: echo\r\n\r\n";
        let text = say(&mut stream, request, "never").await;
        assert!(text.starts_with("HTTP/1.1 200") && !text.contains("upgrade"), "{text}");
    }

    #[tokio::test]
    async fn dropping_the_balancer_closes_its_connections() {
        let harness = balanced(1).await;
        let mut stream = connect(&harness).await;
        let request = "GET /upgrade HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
        say(&mut stream, request, "\r\n\r\n").await;
        drop(harness.balancer);
        assert_eq!(say(&mut stream, "", "never").await, "");
        within("the end of the stream at the node", harness.dropped.notified()).await;
    }

    const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);
    const DEADLINE: Duration = Duration::from_secs(10);
}
