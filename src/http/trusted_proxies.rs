//! Whose word counts for where a client is: the proxies in front of a node.

use std::net::IpAddr;
use std::sync::Arc;

use hyper::header::{HOST, HeaderMap, HeaderName, HeaderValue};
use hyper::http::Extensions;
use hyper::http::uri::Authority;
use ipnet::IpNet;

use super::forwarded_header;
use super::request::{RemoteAddr, Secure};

/// The networks of the proxies in front of a node. Where the connection of a request comes from one of them, what they say of the
/// client counts: its address, whether it came over TLS, and the host that it asked for. Of anybody else it is ignored. Express:
/// `trust proxy`.
///
/// They say it in `X-Forwarded-For`, `X-Forwarded-Proto` and `X-Forwarded-Host`, or in
/// [`Forwarded`](Self::forwarded), or at the beginning of each connection
/// ([`Listener::proxy_protocol`](super::Listener::proxy_protocol), in axum `AxumListener::proxy_protocol`). A proxy has to overwrite what it does not append to: a header of
/// these that it passes on as it came is the word of the client.
///
/// ```
/// use socketmesh::http::{Config, TrustedProxies};
///
/// # fn main() -> Result<(), socketmesh::http::InvalidNetwork> {
/// let proxies = TrustedProxies::new(["loopback", "10.0.0.0/8", "2001:db8::1"])?;
/// let config = Config::default().trusted_proxies(proxies);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedProxies {
    networks: Arc<[IpNet]>,
    forwarded: bool,
}

/// A text that names no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no network: expected an address, address/bits, loopback or private")]
pub struct InvalidNetwork(String);

impl TrustedProxies {
    /// Networks as `10.0.0.0/8`, single addresses, `loopback`, or `private` (RFC 1918 and RFC 4193).
    ///
    /// # Errors
    ///
    /// The first one that is none of these.
    pub fn new<N: AsRef<str>>(networks: impl IntoIterator<Item = N>) -> Result<Self, InvalidNetwork> {
        let mut all = Vec::new();
        for network in networks {
            let network = network.as_ref().trim();
            let named = NAMED.iter().find(|(name, _)| *name == network).map(|(_, networks)| *networks);
            for network in named.unwrap_or(&[network]) {
                all.push(parse(network).ok_or_else(|| InvalidNetwork((*network).to_owned()))?);
            }
        }
        Ok(Self { networks: all.into(), forwarded: false })
    }

    /// The proxies speak `Forwarded` (RFC 7239): it counts, and none of `X-Forwarded-*`. One of the two has to be chosen, because a
    /// proxy that writes the one passes on the other as the client wrote it.
    #[must_use]
    pub fn forwarded(self) -> Self {
        Self { forwarded: true, ..self }
    }

    /// Whether a connection from this address is one of a proxy.
    pub(crate) fn contain(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.networks.iter().any(|network| network.contains(&address))
    }

    /// Puts the address of the client, whether it came over TLS, and the host that it asked for, in the place of those of the proxy
    /// that its request came through.
    pub(crate) fn look_behind(&self, headers: &mut HeaderMap, extensions: &mut Extensions) {
        let Some(RemoteAddr(proxy)) =
            extensions.get().copied().filter(|RemoteAddr(from)| self.contain(from.ip()))
        else {
            return;
        };
        let Behind { client, secure, host } =
            if self.forwarded { self.forwarded_behind(headers) } else { self.x_forwarded_behind(headers) };
        extensions.insert(RemoteAddr(client.map_or(proxy, |client| (client, UNKNOWN_PORT).into())));
        if let Some(secure) = secure {
            extensions.insert(Secure(secure));
        }
        if let Some(host) = host {
            headers.insert(HOST, host);
        }
    }

    /// The address that the outermost trusted proxy saw: each one appends where its request came from, and what stands before
    /// the first one that is not trusted is the word of a stranger. Of the rest the last word counts: the last proxy may append to
    /// what the client sent.
    fn x_forwarded_behind(&self, headers: &HeaderMap) -> Behind {
        let last = |name| entries(headers, name).next();
        let mut behind = Behind {
            client: None,
            secure: last(&FORWARDED_PROTO).map(is_tls),
            host: last(&FORWARDED_HOST).and_then(host),
        };
        for entry in entries(headers, &FORWARDED_FOR) {
            let Some(address) = address(entry) else { break };
            behind.client = Some(address);
            if !self.contain(address) {
                break;
            }
        }
        behind
    }

    /// The same, where each proxy says everything in one place.
    fn forwarded_behind(&self, headers: &HeaderMap) -> Behind {
        let mut behind = Behind::default();
        for hop in forwarded_header::hops(headers) {
            behind.secure = hop.proto.as_deref().map(is_tls).or(behind.secure);
            behind.host = hop.host.as_deref().and_then(host).or(behind.host);
            let Some(address) = hop.client.as_deref().and_then(address) else { break };
            behind.client = Some(address);
            if !self.contain(address) {
                break;
            }
        }
        behind
    }
}

/// What proxies say of a client.
#[derive(Debug, Default)]
struct Behind {
    client: Option<IpAddr>,
    secure: Option<bool>,
    host: Option<HeaderValue>,
}

/// The entries of a header that proxies append to, the last one first.
fn entries<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values: Vec<_> = headers.get_all(name).iter().collect();
    let texts = values.into_iter().rev().map(|value| value.to_str().unwrap_or_default());
    texts.flat_map(|text| text.rsplit(',')).map(str::trim)
}

/// An address as proxies write it, with or without a port.
fn address(entry: &str) -> Option<IpAddr> {
    let plain = entry.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(entry);
    let address = plain.parse().ok();
    address.or_else(|| Some(entry.parse::<std::net::SocketAddr>().ok()?.ip()))
}

fn is_tls(scheme: &str) -> bool {
    scheme.eq_ignore_ascii_case("https") || scheme.eq_ignore_ascii_case("wss")
}

/// A host as it may stand in `Host`.
fn host(entry: &str) -> Option<HeaderValue> {
    entry.parse::<Authority>().ok().filter(|host| !host.as_str().contains('@'))?;
    HeaderValue::from_str(entry).ok()
}

fn parse(network: &str) -> Option<IpNet> {
    let single = network.parse::<IpAddr>().ok().map(IpNet::from);
    single.or_else(|| network.parse().ok())
}

static FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
static FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// The port of a client is known to its proxy only.
const UNKNOWN_PORT: u16 = 0;

const NAMED: [(&str, &[&str]); 2] = [
    ("loopback", &["127.0.0.0/8", "::1/128"]),
    ("private", &["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"]),
];

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use proptest::prelude::*;

    use super::*;

    fn seen(proxies: &TrustedProxies, from: &str, headers: &[(&'static str, &str)]) -> (String, bool) {
        let (address, secure, _) = seen_with_host(proxies, from, headers);
        (address, secure)
    }

    fn seen_with_host(
        proxies: &TrustedProxies,
        from: &str,
        headers: &[(&'static str, &str)],
    ) -> (String, bool, String) {
        let from: SocketAddr = from.parse().unwrap();
        let mut extensions = Extensions::new();
        extensions.insert(RemoteAddr(from));
        extensions.insert(Secure(false));
        let headers =
            headers.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()));
        let mut headers: HeaderMap = headers.collect();
        headers.insert(HOST, HeaderValue::from_static("inside"));
        proxies.look_behind(&mut headers, &mut extensions);
        let RemoteAddr(address) = extensions.get().copied().unwrap();
        let host = headers[HOST].to_str().unwrap().to_owned();
        (address.ip().to_string(), extensions.get() == Some(&Secure(true)), host)
    }

    fn client(proxies: &TrustedProxies, from: &str, forwarded_for: &str) -> String {
        seen(proxies, from, &[("x-forwarded-for", forwarded_for)]).0
    }

    #[test]
    fn the_word_of_a_trusted_proxy_counts_and_that_of_a_stranger_does_not() {
        let proxies = TrustedProxies::new(["loopback", "10.0.0.0/8"]).unwrap();
        assert_eq!(client(&proxies, "127.0.0.1:1", "203.0.113.9"), "203.0.113.9");
        assert_eq!(client(&proxies, "[::ffff:127.0.0.1]:1", "203.0.113.9"), "203.0.113.9", "mapped to IPv6");
        assert_eq!(client(&proxies, "192.0.2.1:1", "203.0.113.9"), "192.0.2.1");
        assert_eq!(client(&TrustedProxies::default(), "127.0.0.1:1", "203.0.113.9"), "127.0.0.1");
        let headers = [("x-forwarded-proto", "https")];
        assert!(seen(&proxies, "10.1.1.1:1", &headers).1 && !seen(&proxies, "192.0.2.1:1", &headers).1);
    }

    #[test]
    fn what_a_client_says_itself_before_the_first_proxy_does_not_count() {
        let proxies = TrustedProxies::new(["10.0.0.0/8"]).unwrap();
        assert_eq!(client(&proxies, "10.0.0.1:1", "1.1.1.1, 203.0.113.9, 10.0.0.2"), "203.0.113.9");
        assert_eq!(client(&proxies, "10.0.0.1:1", "1.1.1.1, unknown"), "10.0.0.1");
        assert_eq!(client(&proxies, "10.0.0.1:1", "1.1.1.1, nonsense, 10.0.0.2"), "10.0.0.2");
        assert_eq!(client(&proxies, "10.0.0.1:1", "10.0.0.3, 10.0.0.2"), "10.0.0.3", "a client within");
        let lines = [("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "203.0.113.9")];
        assert_eq!(seen(&proxies, "10.0.0.1:1", &lines).0, "203.0.113.9", "one header in two lines");
        let said = [("x-forwarded-proto", "https, http")];
        assert!(!seen(&proxies, "10.0.0.1:1", &said).1, "the proxy saw no TLS");
    }

    #[test]
    fn addresses_are_read_with_and_without_a_port() {
        let proxies = TrustedProxies::new(["private"]).unwrap();
        for said in ["2001:db8::1", "[2001:db8::1]", "[2001:db8::1]:4711"] {
            assert_eq!(client(&proxies, "192.168.1.1:1", said), "2001:db8::1", "{said}");
        }
        assert_eq!(client(&proxies, "[fd00::1]:1", "203.0.113.9:4711"), "203.0.113.9");
    }

    #[test]
    fn the_host_is_the_one_that_the_client_asked_the_proxy_for() {
        let proxies = TrustedProxies::new(["10.0.0.0/8"]).unwrap();
        let host = |from, said| seen_with_host(&proxies, from, &[("x-forwarded-host", said)]).2;
        assert_eq!(host("10.0.0.1:1", "chat.example:8443"), "chat.example:8443");
        assert_eq!(host("10.0.0.1:1", "forged.example, chat.example"), "chat.example");
        assert_eq!(host("192.0.2.1:1", "chat.example"), "inside", "a stranger");
        for no_host in ["", "a b", "user@chat.example", "chat.example/path"] {
            assert_eq!(host("10.0.0.1:1", no_host), "inside", "{no_host}");
        }
        assert_eq!(
            seen_with_host(&proxies.forwarded(), "10.0.0.1:1", &[("x-forwarded-host", "a")]).2,
            "inside"
        );
    }

    #[test]
    fn forwarded_counts_up_to_the_first_proxy_that_is_not_trusted() {
        let proxies = TrustedProxies::new(["10.0.0.0/8"]).unwrap().forwarded();
        let seen = |from, said| seen_with_host(&proxies, from, &[("forwarded", said)]);
        let outside = (true, "chat.example".to_owned());
        for (said, client, (secure, host)) in [
            ("for=203.0.113.9;proto=https;host=chat.example", "203.0.113.9", outside.clone()),
            (
                "for=6.6.6.6;proto=http;host=forged, for=203.0.113.9;proto=https;host=chat.example, for=10.0.0.2",
                "203.0.113.9",
                outside.clone(),
            ),
            (
                "for=203.0.113.9;proto=https;host=chat.example, for=10.0.0.2;proto=http",
                "203.0.113.9",
                outside,
            ),
            (r#"for="[2001:db8::1]:4711""#, "2001:db8::1", (false, "inside".to_owned())),
            // What the last proxy says of its connection counts, although it does not name the client.
            ("for=6.6.6.6, for=unknown;proto=https", "10.0.0.1", (true, "inside".to_owned())),
            ("for=6.6.6.6, for=_hidden", "10.0.0.1", (false, "inside".to_owned())),
            ("for=6.6.6.6, nonsense", "10.0.0.1", (false, "inside".to_owned())),
            ("", "10.0.0.1", (false, "inside".to_owned())),
        ] {
            assert_eq!(seen("10.0.0.1:1", said), (client.to_owned(), secure, host), "{said}");
        }
        let stranger = seen("192.0.2.1:1", "for=203.0.113.9;proto=https;host=chat.example");
        assert_eq!(stranger, ("192.0.2.1".to_owned(), false, "inside".to_owned()));
    }

    #[test]
    fn only_the_header_that_the_proxies_speak_counts() {
        let proxies = TrustedProxies::new(["10.0.0.0/8"]).unwrap();
        let both = [("forwarded", "for=1.1.1.1;proto=https"), ("x-forwarded-for", "2.2.2.2")];
        assert_eq!(seen(&proxies, "10.0.0.1:1", &both), ("2.2.2.2".to_owned(), false));
        assert_eq!(seen(&proxies.forwarded(), "10.0.0.1:1", &both), ("1.1.1.1".to_owned(), true));
    }

    #[test]
    fn what_is_no_network_is_named() {
        let error = TrustedProxies::new(["10.0.0.0/8", "10.0.0.0/33"]).unwrap_err();
        assert!(error.to_string().starts_with("\"10.0.0.0/33\" is no network"), "{error}");
        assert!(TrustedProxies::new(["10.0.0.1/8"]).is_ok());
    }

    proptest! {
        /// Whatever a client begins with, the word of the proxy behind it is the one that counts, or none does.
        #[test]
        fn no_client_says_where_it_is(
            begin in "[ -~]{0,50}|((for|x)=(\"[a-z,;=\\\\]*\"?|6\\.6\\.6\\.6)[;,] ?){0,4}",
            quoted: bool,
        ) {
            let own = if quoted { "for=\"203.0.113.9:4711\"" } else { "for=203.0.113.9" };
            let proxies = TrustedProxies::new(["10.0.0.0/8"]).unwrap();
            for (proxies, name, said) in [
                (proxies.clone(), "x-forwarded-for", "203.0.113.9"),
                (proxies.forwarded(), "forwarded", own),
            ] {
                let said = format!("{begin}, {said}");
                let address = seen(&proxies, "10.0.0.1:1", &[(name, said.as_str())]).0;
                prop_assert!(["203.0.113.9", "10.0.0.1"].contains(&address.as_str()), "{said}: {address}");
            }
        }
    }
}
