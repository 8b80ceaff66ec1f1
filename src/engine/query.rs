//! The query of a request, as far as Engine.IO reads it (engine.io protocol v4, "Handshake"; v3, "URLs").

use std::borrow::Cow;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::config::Config;
use super::error::HandshakeError;
use super::protocol::{Protocol, Transport};
use crate::id::SessionId;

/// What the query of a request says to Engine.IO, parsed once. The pairs that belong to the application are not kept.
///
/// A repeated `transport`, `sid` or `EIO` counts as an invalid value: Node makes a list of it, which equals no value it
/// knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Query {
    /// The transport, or the shortened name of an unknown one.
    transport: Result<Transport, String>,
    sid: Result<Option<SessionId>, HandshakeError>,
    protocol: Protocol,
    base64: bool,
    jsonp: Option<String>,
    stamp: Option<Stamp>,
}

/// The `t` of a request, hashed: clients make a new one for each request, so that no cache answers it. A request with the
/// same one is the same request, which a load balancer or an edge has sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp(u64);

impl Stamp {
    pub(crate) fn new(t: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        t.hash(&mut hasher);
        Self(hasher.finish())
    }
}

impl Query {
    /// Parses what follows the `?` in the URL of a request. Escapes that are not UTF-8 become U+FFFD. Pairs beyond the
    /// first 1000 are ignored.
    pub(crate) fn parse(raw: &str) -> Self {
        let [mut transport, mut sid, mut version, mut b64] = [const { Given::Absent }; 4];
        let (mut jsonp, mut stamp) = (None, None);
        for (key, value) in pairs(raw) {
            match &*key {
                "transport" => transport.add(value),
                "sid" => sid.add(value),
                "EIO" => version.add(value),
                "b64" => b64.add(value),
                "j" if jsonp.is_none() => jsonp = Some(value.into_owned()),
                "t" if !value.is_empty() => stamp = Some(Stamp::new(&value)),
                _ => {}
            }
        }
        Self {
            transport: transport_of(transport.value()),
            sid: sid_of(sid.value()),
            protocol: if version.value() == Some(Ok("4")) { Protocol::V4 } else { Protocol::V3 },
            base64: b64.value().is_some(),
            jsonp,
            stamp,
        }
    }

    /// The query of a WebTransport session. It names neither transport nor version; every client that speaks
    /// WebTransport speaks version 4.
    #[cfg_attr(
        not(any(test, feature = "webtransport")),
        expect(dead_code, reason = "only WebTransport needs it")
    )]
    pub(crate) fn of_webtransport(raw: &str) -> Self {
        Self { transport: Ok(Transport::WebTransport), protocol: Protocol::V4, ..Self::parse(raw) }
    }

    /// The transport of the request, if `config` enables it.
    pub(crate) fn transport(&self, config: &Config) -> Result<Transport, HandshakeError> {
        let unknown = |given: &str| HandshakeError::UnknownTransport { given: given.to_owned() };
        match &self.transport {
            Ok(transport) if config.transports.contains(transport) => Ok(*transport),
            Ok(transport) => Err(unknown(transport.as_str())),
            Err(given) => Err(unknown(given)),
        }
    }

    /// The session that the request names; `None` if the request opens one.
    ///
    /// A `sid` that is not the id of a session is refused like an unknown session.
    pub(crate) fn sid(&self) -> Result<Option<SessionId>, HandshakeError> {
        self.sid.clone()
    }

    /// Whether the request came for a session over WebTransport.
    pub(crate) fn is_webtransport(&self) -> bool {
        self.transport == Ok(Transport::WebTransport)
    }

    /// The protocol version of the client.
    pub(crate) const fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Whether the client cannot receive bytes (`b64`): they are sent as base64 on every transport.
    pub(crate) const fn base64(&self) -> bool {
        self.base64
    }

    /// The number of the callback of a client that polls with script tags (`j`).
    pub(crate) fn jsonp(&self) -> Option<&str> {
        self.jsonp.as_deref()
    }

    /// What tells this request from the others of its client, if the client says so (`t`).
    pub(crate) const fn stamp(&self) -> Option<Stamp> {
        self.stamp
    }
}

/// The pairs of a query in their order, decoded; at most 1000.
pub(crate) fn pairs(raw: &str) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    form_urlencoded::parse(raw.as_bytes()).take(MAX_PAIRS)
}

/// The first characters of a text that a client sent: enough to recognise it in a log line.
pub(crate) fn shorten(text: &str) -> String {
    text.chars().take(MAX_QUOTED).collect()
}

/// How often a key appears in a query.
enum Given<'a> {
    Absent,
    Once(Cow<'a, str>),
    Repeated,
}

impl<'a> Given<'a> {
    fn add(&mut self, value: Cow<'a, str>) {
        *self = match self {
            Self::Absent => Self::Once(value),
            Self::Once(_) | Self::Repeated => Self::Repeated,
        };
    }

    /// The value, or an error if there are several; a single empty value counts as absent.
    fn value(&self) -> Option<Result<&str, Repeated>> {
        match self {
            Self::Absent => None,
            Self::Once(value) => (!value.is_empty()).then_some(Ok(value)),
            Self::Repeated => Some(Err(Repeated)),
        }
    }
}

#[derive(PartialEq, Eq)]
struct Repeated;

/// Only the transports over HTTP can be asked for.
fn transport_of(given: Option<Result<&str, Repeated>>) -> Result<Transport, String> {
    match given {
        Some(Ok("polling")) => Ok(Transport::Polling),
        Some(Ok("websocket")) => Ok(Transport::WebSocket),
        Some(Ok(other)) => Err(shorten(other)),
        Some(Err(Repeated)) | None => Err(String::new()),
    }
}

fn sid_of(given: Option<Result<&str, Repeated>>) -> Result<Option<SessionId>, HandshakeError> {
    match given {
        Some(Ok(sid)) => sid.parse().map(Some).or(Err(HandshakeError::UnknownSession)),
        Some(Err(Repeated)) => Err(HandshakeError::UnknownSession),
        None => Ok(None),
    }
}

/// What Node's `querystring.parse` keeps.
const MAX_PAIRS: usize = 1000;

const MAX_QUOTED: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_transport_that_is_not_enabled_is_unknown() {
        let config = Config::default().transports([Transport::WebSocket]);
        let refused = Query::parse("transport=polling").transport(&config);
        assert_eq!(refused, Err(HandshakeError::UnknownTransport { given: "polling".into() }));
        assert_eq!(Query::parse("transport=websocket").transport(&config), Ok(Transport::WebSocket));
    }

    #[test]
    fn webtransport_is_unknown_over_http_even_where_it_is_enabled() {
        let config = Config::default().transports([Transport::WebTransport]);
        assert!(Query::parse("EIO=4&transport=webtransport").transport(&config).is_err());
    }

    #[test]
    fn a_webtransport_session_is_of_version_4_whatever_its_query_says() {
        for raw in ["", "EIO=3&token=a", "transport=polling&EIO=4&EIO=4"] {
            let query = Query::of_webtransport(raw);
            assert_eq!(query.protocol(), Protocol::V4);
            assert!(query.is_webtransport());
        }
    }

    #[test]
    fn any_value_of_b64_but_an_empty_one_asks_for_base64() {
        for (raw, base64) in
            [("b64=1", true), ("b64=0", true), ("b64=&b64=", true), ("b64=", false), ("", false)]
        {
            assert_eq!(Query::parse(raw).base64(), base64, "{raw}");
        }
    }

    #[test]
    fn the_first_j_is_the_callback_of_a_jsonp_client() {
        assert_eq!(Query::parse("j=1&j=2").jsonp(), Some("1"));
        assert_eq!(Query::parse("j=").jsonp(), Some(""));
        assert_eq!(Query::parse("jj=1").jsonp(), None);
    }

    #[test]
    fn pairs_are_decoded_up_to_a_limit() {
        let pairs_of =
            |raw| pairs(raw).map(|(key, value)| (key.into_owned(), value.into_owned())).collect::<Vec<_>>();
        let expected = [("EIO", "4"), ("a", "1"), ("a", "2 3"), ("é", "\u{fffd}")];
        assert_eq!(
            pairs_of("EIO=4&a=1&a=2+3&%C3%A9=%ff"),
            expected.map(|(key, value)| (key.to_owned(), value.to_owned()))
        );
        assert_eq!(pairs(&"x&".repeat(2000)).count(), MAX_PAIRS);
    }

    proptest! {
        #[test]
        fn any_query_is_parsed(raw: String) {
            let query = Query::parse(&raw);
            prop_assert!(query.transport.is_ok() || query.transport.is_err_and(|given| given.chars().count() <= MAX_QUOTED));
        }
    }
}
