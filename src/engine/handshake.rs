//! Who may open a session or go on with one: the query and headers of a request, checked in Node's order
//! (engine.io protocol v4, "Handshake" and "HTTP errors"; v3, "URLs"; Node: `engine.io/lib/server.ts verify()`).

use std::fmt;
use std::net::SocketAddr;
use std::time::SystemTime;

use bytes::Bytes;
use hyper::header::{HeaderValue, ORIGIN};
use hyper::{HeaderMap, Method};

use super::config::Config;
use super::error::HandshakeError;
use crate::id::SessionId;

/// How packets travel between a client and its session.
///
/// ```
/// assert_eq!(socketmesh::engine::Transport::WebSocket.as_str(), "websocket");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// HTTP long-polling: GETs wait for packets of the server, POSTs carry those of the client.
    Polling,
    /// A WebSocket.
    WebSocket,
    /// One bidirectional stream of a WebTransport session, over HTTP/3.
    WebTransport,
}

impl Transport {
    /// The name in a handshake: `polling`, `websocket` or `webtransport`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Polling => "polling",
            Self::WebSocket => "websocket",
            Self::WebTransport => "webtransport",
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The request that opened a session, as applications see it.
///
/// As large as the request's head, which the HTTP layer bounds.
///
/// ```
/// use socketmesh::{Handshake, Refusal, namespace};
///
/// let chat = namespace("/").auth(async |client: Handshake| {
///     let request = client.request();
///     match request.headers().get("authorization") {
///         Some(_) if request.secure() => Ok(request.query_value("lang").unwrap_or("en").to_owned()),
///         _ => Err(Refusal::new("unauthorized")),
///     }
/// });
/// ```
#[derive(Debug, Clone)]
pub struct Handshake {
    headers: HeaderMap,
    query: Box<[(String, String)]>,
    url: String,
    address: Option<SocketAddr>,
    secure: bool,
    protocol: Protocol,
    base64: bool,
    issued: SystemTime,
}

impl Handshake {
    /// Keeps what applications may ask of the request that opened a session.
    ///
    /// `url` is the request's path and query, `secure` whether the client came over TLS.
    pub(crate) fn new(
        headers: HeaderMap,
        url: String,
        query: Query,
        address: Option<SocketAddr>,
        secure: bool,
        issued: SystemTime,
    ) -> Self {
        let (headers, protocol, base64) = (compact(headers), query.protocol(), query.b64());
        let query = query.pairs.into_boxed_slice();
        Self { headers, query, url, address, secure, protocol, base64, issued }
    }

    /// The headers of the request.
    pub const fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The pairs of the query, decoded, in their order; at most 1000.
    pub fn query(&self) -> &[(String, String)] {
        &self.query
    }

    /// The first value of a key of the query.
    pub fn query_value(&self, key: &str) -> Option<&str> {
        self.query.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// Path and query as requested.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Whether the client cannot receive bytes (`b64` in the query).
    pub(crate) const fn base64(&self) -> bool {
        self.base64
    }

    /// The version of Engine.IO that the client speaks. Node: `socket.conn.protocol`.
    pub const fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Where the connection came from: of a proxy, if there is one.
    pub const fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Whether the client came over TLS.
    pub const fn secure(&self) -> bool {
        self.secure
    }

    /// Whether a browser said which page it comes from: the request has an `Origin` header.
    pub fn xdomain(&self) -> bool {
        self.headers.contains_key(ORIGIN)
    }

    /// When the session was opened, by this node's wall clock.
    pub const fn issued(&self) -> SystemTime {
        self.issued
    }
}

/// Moves the values into a buffer of their own. As they come from the HTTP layer they are slices of the connection's
/// read buffer, and would keep its 8 KiB for as long as the session lives.
fn compact(mut headers: HeaderMap) -> HeaderMap {
    let mut text = Vec::with_capacity(headers.values().map(HeaderValue::len).sum());
    headers.values().for_each(|value| text.extend_from_slice(value.as_bytes()));
    let mut text = Bytes::from(text);
    for value in headers.values_mut() {
        if let Ok(own) = HeaderValue::from_maybe_shared(text.split_to(value.len())) {
            *value = own;
        }
    }
    headers
}

/// The query of a request, parsed once.
///
/// A repeated `transport`, `sid` or `EIO` is no value at all: Node makes a list of it, which equals nothing
/// it knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Query {
    pairs: Vec<(String, String)>,
}

impl Query {
    /// Parses what follows the `?`. Escapes that are no UTF-8 become U+FFFD; pairs beyond the first 1000 are
    /// dropped.
    pub(crate) fn parse(raw: &str) -> Self {
        Self { pairs: form_urlencoded::parse(raw.as_bytes()).take(MAX_PAIRS).map(into_owned).collect() }
    }

    /// The query of a WebTransport session, which says neither transport nor version: whoever speaks it is of version 4.
    pub(crate) fn of_webtransport(raw: &str) -> Self {
        let mut query = Self::parse(raw);
        query.pairs.retain(|(key, _)| !matches!(key.as_str(), "EIO" | "transport"));
        query.pairs.extend([("EIO", "4"), ("transport", "webtransport")].map(owned));
        query
    }

    /// The transport asked for over HTTP: what a node checks first, before it asks who owns the sid.
    pub(crate) fn transport(&self, config: &Config) -> Result<Transport, HandshakeError> {
        let given = self.given("transport");
        let transport = match given {
            Given::Once("polling") => Transport::Polling,
            Given::Once("websocket") => Transport::WebSocket,
            _ => return Err(unknown_transport(given)),
        };
        if config.transports.contains(&transport) { Ok(transport) } else { Err(unknown_transport(given)) }
    }

    /// The session asked for; `None` if the request opens one.
    ///
    /// What is no id cannot name a session, so it is refused as an unknown one.
    pub(crate) fn sid(&self) -> Result<Option<SessionId>, HandshakeError> {
        match self.given("sid") {
            Given::Absent => Ok(None),
            Given::Once(sid) => sid.parse().map(Some).or(Err(HandshakeError::UnknownSession)),
            Given::Repeated => Err(HandshakeError::UnknownSession),
        }
    }

    /// The protocol version asked for.
    pub(crate) fn protocol(&self) -> Protocol {
        match self.given("EIO") {
            Given::Once("4") => Protocol::V4,
            _ => Protocol::V3,
        }
    }

    /// Whether the client cannot receive bytes: they are sent as base64 on every transport.
    pub(crate) fn b64(&self) -> bool {
        self.given("b64") != Given::Absent
    }

    /// All pairs in their order, decoded.
    #[cfg(test)]
    pub(crate) fn pairs(&self) -> &[(String, String)] {
        &self.pairs
    }

    fn given(&self, key: &str) -> Given<'_> {
        let mut values = self.pairs.iter().filter(|(name, _)| name == key).map(|(_, value)| value.as_str());
        match (values.next(), values.next()) {
            (None | Some(""), None) => Given::Absent,
            (Some(value), None) => Given::Once(value),
            (_, Some(_)) => Given::Repeated,
        }
    }
}

/// A version of Engine.IO. A client that does not say 4 means 3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// Under Socket.IO 1 and 2. Only with [`Config::allow_eio3`].
    V3,
    /// Under Socket.IO 3 and 4.
    V4,
}

/// What the verifier asks of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) query: &'a Query,
    pub(crate) method: &'a Method,
    pub(crate) headers: &'a HeaderMap,
    /// Whether it asks to become a WebSocket.
    pub(crate) upgrade: bool,
}

/// What the verifier needs to know of a live session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) transport: Transport,
    pub(crate) protocol: Protocol,
}

/// What a request may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verified {
    /// Open a session, once the application agrees and [`Opening::admit`] too.
    Open(Opening),
    /// Go on with this session. A WebSocket may come for a polling session: it is an upgrade.
    Resume(SessionId),
    /// Nothing: an upgrade request that names the polling transport. It is answered 101, then closed without
    /// a code.
    Misplaced,
}

/// A new session that the application has not been asked about yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Opening {
    transport: Transport,
    protocol: Protocol,
}

impl Opening {
    /// Over which transport.
    pub(crate) const fn transport(self) -> Transport {
        self.transport
    }

    /// The check that comes after `allow_request`: the protocol version.
    pub(crate) const fn admit(self, config: &Config) -> Result<Transport, HandshakeError> {
        match self.protocol {
            Protocol::V3 if !config.allow_eio3 => Err(HandshakeError::UnsupportedProtocol),
            Protocol::V3 | Protocol::V4 => Ok(self.transport),
        }
    }
}

/// Checks a request in Node's order; `find` looks a session up. The first failure decides which code the
/// client sees.
pub(crate) fn verify(
    request: &Request<'_>,
    config: &Config,
    find: impl FnOnce(SessionId) -> Option<Known>,
) -> Result<Verified, HandshakeError> {
    let transport = request.query.transport(config)?;
    check_origin(request.headers)?;
    match request.query.sid()? {
        Some(sid) => {
            let known = find(sid).ok_or(HandshakeError::UnknownSession)?;
            verify_known(request, transport, known)?;
            Ok(if request.is_misplaced(transport) { Verified::Misplaced } else { Verified::Resume(sid) })
        }
        None => {
            verify_new(request, transport)?;
            let opening = Opening { transport, protocol: request.query.protocol() };
            Ok(if request.is_misplaced(transport) { Verified::Misplaced } else { Verified::Open(opening) })
        }
    }
}

fn verify_known(request: &Request<'_>, transport: Transport, known: Known) -> Result<(), HandshakeError> {
    if !request.upgrade && transport != known.transport {
        return Err(HandshakeError::TransportMismatch);
    }
    // Node lets this through and never answers it.
    if !request.upgrade && transport == Transport::WebSocket {
        return Err(HandshakeError::NotAnUpgrade);
    }
    if request.query.protocol() == known.protocol { Ok(()) } else { Err(HandshakeError::ProtocolMismatch) }
}

fn verify_new(request: &Request<'_>, transport: Transport) -> Result<(), HandshakeError> {
    if request.method != Method::GET {
        return Err(HandshakeError::BadMethod { given: shorten(request.method.as_str()) });
    }
    if transport == Transport::WebSocket && !request.upgrade {
        return Err(HandshakeError::NotAnUpgrade);
    }
    Ok(())
}

fn check_origin(headers: &HeaderMap) -> Result<(), HandshakeError> {
    let valid = headers.get(ORIGIN).is_none_or(|origin| is_header_text(origin.as_bytes()));
    if valid { Ok(()) } else { Err(HandshakeError::InvalidOrigin) }
}

/// Node's `checkInvalidHeaderChar`.
fn is_header_text(value: &[u8]) -> bool {
    value.iter().all(|&byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f))
}

impl Request<'_> {
    fn is_misplaced(&self, transport: Transport) -> bool {
        self.upgrade && transport == Transport::Polling
    }
}

/// How often a key appears in a query. An empty value counts as none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Given<'a> {
    Absent,
    Once(&'a str),
    Repeated,
}

fn unknown_transport(given: Given<'_>) -> HandshakeError {
    let given = match given {
        Given::Once(name) => shorten(name),
        Given::Absent | Given::Repeated => String::new(),
    };
    HandshakeError::UnknownTransport { given }
}

fn shorten(text: &str) -> String {
    text.chars().take(MAX_QUOTED).collect()
}

fn into_owned((key, value): (std::borrow::Cow<'_, str>, std::borrow::Cow<'_, str>)) -> (String, String) {
    (key.into_owned(), value.into_owned())
}

fn owned((key, value): (&str, &str)) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

/// What Node's `querystring.parse` keeps.
const MAX_PAIRS: usize = 1000;
/// Enough to recognise what a client asked for in a log line.
const MAX_QUOTED: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Key;
    use proptest::prelude::*;

    const POLLING: Known = Known { transport: Transport::Polling, protocol: Protocol::V4 };
    const WEBSOCKET: Known = Known { transport: Transport::WebSocket, protocol: Protocol::V4 };

    fn sid() -> SessionId {
        SessionId::new(Key::from_hash(1 << 40), [7; 10])
    }

    /// Verifies a query in which `SID` stands for a live session's id.
    fn check(method: &Method, query: &str, upgrade: bool, known: Known) -> Result<Verified, HandshakeError> {
        let query = Query::parse(&query.replace("SID", &sid().to_string()));
        let headers = HeaderMap::new();
        let request = Request { query: &query, method, headers: &headers, upgrade };
        verify(&request, &Config::default(), |id| (id == sid()).then_some(known))
    }

    fn admitted(query: &str, upgrade: bool) -> Result<Transport, HandshakeError> {
        match check(&Method::GET, query, upgrade, POLLING)? {
            Verified::Open(opening) => opening.admit(&Config::default()),
            other => panic!("{other:?}"),
        }
    }

    fn refused(method: &Method, query: &str, upgrade: bool, known: Known) -> HandshakeError {
        check(method, query, upgrade, known).unwrap_err()
    }

    #[test]
    fn a_handshake_keeps_its_headers_but_not_the_buffer_they_were_read_into() {
        let read = Bytes::from("x".repeat(8192));
        let mut headers = HeaderMap::new();
        for (name, range) in [("cookie", 0..5), ("x-a", 5..5), ("cookie", 100..110)] {
            headers.append(name, HeaderValue::from_maybe_shared(read.slice(range)).unwrap());
        }
        let handshake = Handshake::new(
            headers.clone(),
            "/".to_owned(),
            Query::parse(""),
            None,
            false,
            SystemTime::UNIX_EPOCH,
        );
        assert_eq!(handshake.headers(), &headers);
        drop(headers);
        assert!(read.is_unique());
    }

    #[test]
    fn a_get_without_sid_opens_a_session() {
        assert_eq!(admitted("EIO=4&transport=polling", false), Ok(Transport::Polling));
        assert_eq!(admitted("EIO=4&transport=websocket", true), Ok(Transport::WebSocket));
        assert_eq!(admitted("EIO=4&transport=polling&sid=", false), Ok(Transport::Polling));
    }

    #[test]
    fn a_request_with_sid_resumes_on_the_transport_of_its_session() {
        let resumed = Ok(Verified::Resume(sid()));
        for method in [Method::GET, Method::POST] {
            assert_eq!(check(&method, "EIO=4&transport=polling&sid=SID", false, POLLING), resumed);
        }
    }

    #[test]
    fn a_websocket_may_come_for_any_session() {
        let query = "EIO=4&transport=websocket&sid=SID";
        assert_eq!(check(&Method::GET, query, true, POLLING), Ok(Verified::Resume(sid())));
        assert_eq!(check(&Method::GET, query, true, WEBSOCKET), Ok(Verified::Resume(sid())));
    }

    #[test]
    fn an_unknown_missing_or_repeated_transport_is_code_0() {
        for query in [
            "EIO=4",
            "EIO=4&transport=",
            "EIO=4&transport=tcp",
            "EIO=4&transport=webtransport",
            "EIO=4&transport=__proto__",
            "EIO=4&transport=constructor",
            "EIO=4&transport=Polling",
            "EIO=4&transport=polling&transport=polling",
        ] {
            assert_eq!(refused(&Method::GET, query, false, POLLING).code(), 0, "{query}");
        }
    }

    #[test]
    fn a_transport_that_is_not_enabled_is_unknown() {
        let config = Config { transports: vec![Transport::WebSocket], ..Config::default() };
        let refused = Query::parse("transport=polling").transport(&config);
        assert_eq!(refused, Err(HandshakeError::UnknownTransport { given: "polling".into() }));
        assert_eq!(Query::parse("transport=websocket").transport(&config), Ok(Transport::WebSocket));
    }

    #[test]
    fn webtransport_is_unknown_over_http_even_where_it_is_enabled() {
        let config = Config { transports: vec![Transport::WebTransport], ..Config::default() };
        assert!(Query::parse("EIO=4&transport=webtransport").transport(&config).is_err());
    }

    #[test]
    fn a_webtransport_session_is_of_version_4_whatever_its_query_says() {
        for raw in ["", "EIO=3&token=a", "transport=polling&EIO=4&EIO=4"] {
            let query = Query::of_webtransport(raw);
            assert_eq!(query.protocol(), Protocol::V4);
            assert_eq!(query.given("transport"), Given::Once("webtransport"));
        }
        assert_eq!(Query::of_webtransport("token=a").pairs()[0], ("token".into(), "a".into()));
    }

    #[test]
    fn an_unknown_malformed_or_repeated_sid_is_code_1() {
        for sid in ["sid=AAAAAAAAAAAAAAAAAAAA", "sid=abc", "sid=__proto__", "sid=SID&sid=SID"] {
            let query = format!("EIO=4&transport=polling&{sid}");
            assert_eq!(
                refused(&Method::GET, &query, false, POLLING),
                HandshakeError::UnknownSession,
                "{sid}"
            );
        }
    }

    #[test]
    fn a_handshake_with_another_method_is_code_2() {
        for method in [Method::POST, Method::PUT, Method::HEAD, Method::OPTIONS, Method::DELETE] {
            let error = refused(&method, "EIO=4&transport=polling", false, POLLING);
            assert_eq!(error, HandshakeError::BadMethod { given: method.to_string() });
        }
    }

    #[test]
    fn a_poll_of_an_upgraded_session_is_code_3() {
        let error = refused(&Method::GET, "EIO=4&transport=polling&sid=SID", false, WEBSOCKET);
        assert_eq!(error, HandshakeError::TransportMismatch);
    }

    #[test]
    fn a_websocket_transport_without_upgrade_is_code_3() {
        let error = refused(&Method::GET, "EIO=4&transport=websocket", false, POLLING);
        assert_eq!(error, HandshakeError::NotAnUpgrade);
        let error = refused(&Method::GET, "EIO=4&transport=websocket&sid=SID", false, WEBSOCKET);
        assert_eq!(error, HandshakeError::NotAnUpgrade);
        let error = refused(&Method::GET, "EIO=4&transport=websocket&sid=SID", false, POLLING);
        assert_eq!(error, HandshakeError::TransportMismatch);
    }

    #[test]
    fn another_version_than_the_session_speaks_is_code_3() {
        for version in ["EIO=3", "EIO=", "EIO=4&EIO=4"] {
            for (transport, upgrade) in [("polling", false), ("websocket", true)] {
                let query = format!("{version}&transport={transport}&sid=SID");
                assert_eq!(refused(&Method::GET, &query, upgrade, POLLING), HandshakeError::ProtocolMismatch);
            }
        }
    }

    #[test]
    fn another_version_than_4_is_code_5_after_the_application_was_asked() {
        for version in ["EIO=3", "EIO=5", "x=4", "EIO=4&EIO=4"] {
            let query = format!("{version}&transport=polling");
            assert_eq!(admitted(&query, false), Err(HandshakeError::UnsupportedProtocol), "{version}");
        }
    }

    #[test]
    fn another_version_than_4_means_3_where_that_is_allowed() {
        let config = Config { allow_eio3: true, ..Config::default() };
        for version in ["EIO=3", "EIO=5", "x=4", "EIO=4"] {
            for (transport, upgrade) in [(Transport::Polling, false), (Transport::WebSocket, true)] {
                let query = format!("{version}&transport={transport}");
                let Ok(Verified::Open(opening)) = check(&Method::GET, &query, upgrade, POLLING) else {
                    panic!()
                };
                assert_eq!(opening.admit(&config), Ok(transport), "{query}");
            }
        }
        assert_eq!(Query::parse("EIO=5").protocol(), Protocol::V3);
    }

    #[test]
    fn a_session_of_version_3_is_resumed_by_its_own_version_only() {
        let known = Known { transport: Transport::Polling, protocol: Protocol::V3 };
        for version in ["EIO=3", "x=1"] {
            let query = format!("{version}&transport=polling&sid=SID");
            assert_eq!(check(&Method::GET, &query, false, known), Ok(Verified::Resume(sid())));
        }
        let error = refused(&Method::GET, "EIO=4&transport=polling&sid=SID", false, known);
        assert_eq!(error, HandshakeError::ProtocolMismatch);
    }

    #[test]
    fn the_first_failing_check_decides() {
        for (method, query, code) in [
            (Method::POST, "EIO=3&transport=tcp&sid=abc", 0),
            (Method::POST, "EIO=3&transport=websocket&sid=abc", 1),
            (Method::POST, "EIO=3&transport=websocket", 2),
            (Method::GET, "EIO=3&transport=websocket", 3),
            (Method::GET, "EIO=3&transport=websocket&sid=SID", 3),
        ] {
            assert_eq!(refused(&method, query, false, POLLING).code(), code, "{method} {query}");
        }
    }

    #[test]
    fn an_upgrade_that_names_polling_touches_no_session() {
        for query in ["EIO=4&transport=polling", "EIO=4&transport=polling&sid=SID"] {
            assert_eq!(check(&Method::GET, query, true, POLLING), Ok(Verified::Misplaced));
        }
    }

    #[test]
    fn an_origin_holds_the_characters_of_a_header() {
        assert!(is_header_text(b"https://example.org\t\xff"));
        assert!(!is_header_text(b"https://example.org\x01"));
        assert!(!is_header_text(b"\x7f"));
    }

    #[test]
    fn the_query_keeps_every_pair_up_to_a_limit() {
        let query = Query::parse("EIO=4&a=1&a=2+3&%C3%A9=%ff&b64=0");
        assert!(query.b64());
        let pairs: Vec<_> = query.pairs().iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(pairs, [("EIO", "4"), ("a", "1"), ("a", "2 3"), ("é", "\u{fffd}"), ("b64", "0")]);
        assert_eq!(Query::parse(&"x&".repeat(2000)).pairs().len(), MAX_PAIRS);
        assert!(!Query::parse("b64=").b64());
    }

    #[test]
    fn an_application_sees_the_request_that_opened_the_session() {
        let headers = HeaderMap::from_iter([(ORIGIN, "https://example.org".parse().unwrap())]);
        let query = Query::parse("EIO=4&token=a&token=b");
        let at = SystemTime::UNIX_EPOCH;
        let handshake = Handshake::new(headers, "/socket.io/?EIO=4".into(), query, None, true, at);
        assert!(handshake.xdomain() && handshake.secure());
        assert_eq!(handshake.query_value("token"), Some("a"));
        assert_eq!((handshake.query().len(), handshake.query_value("x")), (3, None));
        assert_eq!(
            (handshake.url(), handshake.address(), handshake.issued()),
            ("/socket.io/?EIO=4", None, at)
        );
        assert_eq!(handshake.headers().len(), 1);
    }

    proptest! {
        #[test]
        fn any_query_is_verified_or_refused(raw: String, upgrade: bool) {
            let query = Query::parse(&raw);
            let request = Request { query: &query, method: &Method::GET, headers: &HeaderMap::new(), upgrade };
            let verified = verify(&request, &Config::default(), |_| Some(POLLING));
            prop_assert!(verified.is_ok() || verified.is_err_and(|error| error.code() <= 5));
        }
    }
}
