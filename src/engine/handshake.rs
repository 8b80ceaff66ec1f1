//! The request that opened a session, as applications see it.

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue, ORIGIN};
use hyper::http::Extensions;

use super::protocol::Protocol;
use super::query::{self, Query};

/// The request that opened a session.
///
/// It is as large as the head of the request, which the HTTP layer bounds. Its [`Debug`](fmt::Debug) output names the
/// headers but shows neither their values nor the query, which may hold secrets.
///
/// ```
/// use socketmesh::{Handshake, Refusal, namespace};
///
/// let chat = namespace("/").auth(async |client: Handshake| {
///     let request = client.request();
///     match request.headers().get("authorization") {
///         Some(_) if request.secure() => Ok(request.query_value("lang").unwrap_or("en".into()).into_owned()),
///         _ => Err(Refusal::new("unauthorized")),
///     }
/// });
/// ```
#[derive(Clone)]
pub struct Handshake {
    /// One line `name:value` for each header: a map of them would take several times as much.
    head: Box<[u8]>,
    /// The same as a map, once the application has asked for it.
    headers: OnceLock<Box<HeaderMap>>,
    url: Box<str>,
    address: Option<SocketAddr>,
    secure: bool,
    issued: SystemTime,
    webtransport: bool,
    protocol: Protocol,
    base64: bool,
    jsonp: Option<Box<str>>,
    extensions: Extensions,
}

impl Handshake {
    /// Keeps what applications may ask of the request that opened a session.
    ///
    /// `url` is the path and query of the request, and `query` that query parsed. `secure` says whether the client came
    /// over TLS.
    pub(crate) fn new(
        headers: &HeaderMap,
        url: &str,
        query: &Query,
        address: Option<SocketAddr>,
        secure: bool,
        issued: SystemTime,
    ) -> Self {
        Self {
            head: write(headers),
            headers: OnceLock::new(),
            url: url.into(),
            address,
            secure,
            issued,
            webtransport: query.is_webtransport(),
            protocol: query.protocol(),
            base64: query.base64(),
            jsonp: query.jsonp().map(Into::into),
            extensions: Extensions::new(),
        }
    }

    /// With what layers and middleware said of the request.
    pub(crate) fn with_extensions(self, extensions: Extensions) -> Self {
        Self { extensions, ..self }
    }

    /// The headers of the request. They are kept as text, so that an idle client takes little memory; a map of them is made at
    /// the first call, and kept.
    pub fn headers(&self) -> &HeaderMap {
        self.headers.get_or_init(|| Box::new(read(&self.head)))
    }

    /// The pairs of the query in their order, decoded; at most 1000. They are decoded at each call, so that a session
    /// holds its query once.
    ///
    /// For a session over WebTransport they end with `EIO=4` and `transport=webtransport`, which its client does not send.
    pub fn query(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
        let (_path, query) = self.url.split_once('?').unwrap_or_default();
        let implied: &[(&str, &str)] = if self.webtransport { &WEBTRANSPORT } else { &[] };
        query::pairs(query)
            .filter(|(key, _)| implied.iter().all(|(name, _)| key != name))
            .chain(implied.iter().map(|(name, value)| (Cow::Borrowed(*name), Cow::Borrowed(*value))))
    }

    /// The first value of a key of the query, decoded at each call.
    pub fn query_value(&self, key: &str) -> Option<Cow<'_, str>> {
        self.query().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// The path and query of the request, as the client sent them. In axum that takes the feature `axum`; without it, and behind
    /// other services that take a prefix off, it is the path below the prefix.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What the layers of the host, and [`Middleware`](crate::http::Middleware), said of the request: a user, a session, whatever
    /// they put into its extensions. Node: what middleware sets on `socket.request`.
    ///
    /// They are those of the request that opened the session, which the node answers that it reached: only where no handler ever
    /// asked for them does a node that [drains](crate::Node::drain) have another one open it. Later requests of the session add nothing. They stay for the life of the session, and so does what they hold. Other nodes do not see them: what
    /// [`fetch_sockets`](crate::NamespaceRef::fetch_sockets) has to tell of a user belongs to the data of the socket.
    ///
    /// ```
    /// use socketmesh::{Handshake, Refusal, Socket, namespace};
    ///
    /// #[derive(Clone)]
    /// struct User(String);
    ///
    /// let chat = namespace("/")
    ///     .auth(async |client: Handshake| match client.request().extensions().get::<User>() {
    ///         Some(user) => Ok(user.clone()),
    ///         None => Err(Refusal::new("log in first")),
    ///     })
    ///     .on("whoami", async |socket: Socket<User>, ()| Ok(socket.data().0.clone()));
    /// ```
    pub fn extensions(&self) -> &Extensions {
        EXTENSIONS_MATTER.store(true, Ordering::Relaxed);
        &self.extensions
    }

    /// Whether an application of this process has ever asked for the extensions of a request. Those cannot travel to another node,
    /// and hosts fill them whether anybody asks or not.
    pub(crate) fn extensions_matter() -> bool {
        EXTENSIONS_MATTER.load(Ordering::Relaxed)
    }

    /// Whether the client cannot receive bytes (`b64` in the query).
    pub(crate) const fn base64(&self) -> bool {
        self.base64
    }

    /// The number of the callback of a client that polls with script tags (`j` in the query).
    pub(crate) fn jsonp(&self) -> Option<&str> {
        self.jsonp.as_deref()
    }

    /// The version of Engine.IO that the client speaks. Node: `socket.conn.protocol`.
    pub const fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// The address that the connection came from. Behind a proxy, that is the address of the proxy, unless it is
    /// [trusted](crate::http::Config::trusted_proxies). `None` if the server that took the connection did not say it: in axum that
    /// takes the feature `axum` and `into_make_service_with_connect_info::<SocketAddr>()`, in any other
    /// [`RemoteAddr`](crate::http::RemoteAddr).
    pub const fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Whether the client came over TLS.
    pub const fn secure(&self) -> bool {
        self.secure
    }

    /// Whether the request has an `Origin` header, with which browsers name the page that made it.
    pub fn xdomain(&self) -> bool {
        lines(&self.head).any(|(name, _)| name == ORIGIN.as_str().as_bytes())
    }

    /// When the session was opened, by the wall clock of its node.
    pub const fn issued(&self) -> SystemTime {
        self.issued
    }
}

impl fmt::Debug for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.url.split('?').next().unwrap_or_default();
        let headers: Vec<_> = lines(&self.head).map(|(name, _)| String::from_utf8_lossy(name)).collect();
        f.debug_struct("Handshake")
            .field("path", &path)
            .field("headers", &headers)
            .field("address", &self.address)
            .field("secure", &self.secure)
            .field("protocol", &self.protocol)
            .finish_non_exhaustive()
    }
}

/// The headers as lines. No name has a colon, no value a line feed.
fn write(headers: &HeaderMap) -> Box<[u8]> {
    let length = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 2).sum();
    let mut head = Vec::with_capacity(length);
    for (name, value) in headers {
        head.extend_from_slice(name.as_str().as_bytes());
        head.push(b':');
        head.extend_from_slice(value.as_bytes());
        head.push(b'\n');
    }
    head.into()
}

fn read(head: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines(head) {
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    headers
}

fn lines(head: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    head.split(|byte| *byte == b'\n').filter_map(|line| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        Some((line.get(..colon)?, line.get(colon + 1..)?))
    })
}

/// Whether an application of this process has asked for the extensions of a request.
static EXTENSIONS_MATTER: AtomicBool = AtomicBool::new(false);
/// What Node puts into the query of a session over WebTransport.
const WEBTRANSPORT: [(&str, &str); 2] = [("EIO", "4"), ("transport", "webtransport")];

#[cfg(test)]
mod tests {
    use super::*;

    fn handshake(headers: HeaderMap, url: &str) -> Handshake {
        let query = Query::parse(url.split_once('?').unwrap_or_default().1);
        Handshake::new(&headers, url, &query, None, true, SystemTime::UNIX_EPOCH)
    }

    #[test]
    fn a_handshake_keeps_the_headers_of_its_request() {
        let mut headers = HeaderMap::new();
        for (name, value) in
            [("cookie", &b"a=1; b: 2"[..]), ("x-a", b""), ("x-b", b"\xff\t:"), ("cookie", b"c")]
        {
            headers.append(name, HeaderValue::from_bytes(value).unwrap());
        }
        assert_eq!(handshake(headers.clone(), "/").headers(), &headers);
        assert_eq!(handshake(HeaderMap::new(), "/").headers(), &HeaderMap::new());
    }

    #[test]
    fn an_application_sees_the_request_that_opened_the_session() {
        let headers = HeaderMap::from_iter([(ORIGIN, "https://example.org".parse().unwrap())]);
        let handshake = handshake(headers, "/socket.io/?EIO=4&token=a&token=b+c");
        assert!(handshake.xdomain() && handshake.secure());
        assert_eq!(handshake.query_value("token").as_deref(), Some("a"));
        let pairs: Vec<_> = handshake.query().collect();
        let expected = [("EIO", "4"), ("token", "a"), ("token", "b c")];
        assert_eq!(pairs, expected.map(|(key, value)| (key.into(), value.into())));
        assert_eq!(handshake.query_value("x"), None);
        assert_eq!(handshake.url(), "/socket.io/?EIO=4&token=a&token=b+c");
        assert_eq!((handshake.address(), handshake.issued()), (None, SystemTime::UNIX_EPOCH));
        assert_eq!(handshake.headers().len(), 1);
    }

    #[test]
    fn the_query_of_a_webtransport_session_names_its_transport_and_version() {
        let url = "/socket.io/?EIO=3&token=a&transport=polling";
        let query = Query::of_webtransport("EIO=3&token=a&transport=polling");
        let handshake = Handshake::new(&HeaderMap::new(), url, &query, None, true, SystemTime::UNIX_EPOCH);
        let pairs: Vec<_> = handshake.query().collect();
        let expected = [("token", "a"), ("EIO", "4"), ("transport", "webtransport")];
        assert_eq!(pairs, expected.map(|(key, value)| (key.into(), value.into())));
    }

    #[test]
    fn debug_output_shows_no_secret_of_the_client() {
        let headers = HeaderMap::from_iter([("cookie".parse().unwrap(), "session=secret".parse().unwrap())]);
        let shown = format!("{:?}", handshake(headers, "/socket.io/?token=secret"));
        assert!(
            shown.contains("cookie") && shown.contains("/socket.io/") && !shown.contains("secret"),
            "{shown}"
        );
    }
}
