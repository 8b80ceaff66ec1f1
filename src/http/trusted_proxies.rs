//! Whose word counts for where a client is: the proxies in front of a node.

use std::net::IpAddr;
use std::sync::Arc;

use hyper::header::{HeaderMap, HeaderName};
use hyper::http::Extensions;
use ipnet::IpNet;

use super::request::{RemoteAddr, Secure};

/// The networks of the proxies in front of a node. What a request says in `X-Forwarded-For` and `X-Forwarded-Proto` counts
/// where its connection comes from one of them, and from nobody else. Express: `trust proxy`.
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
pub struct TrustedProxies(Arc<[IpNet]>);

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
        Ok(Self(all.into()))
    }

    /// Whether a connection from this address is one of a proxy.
    pub(crate) fn contain(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Puts the address of the client, and whether it came over TLS, in the place of those of the proxy that its request came
    /// through.
    pub(crate) fn look_behind(&self, headers: &HeaderMap, extensions: &mut Extensions) {
        let Some(RemoteAddr(proxy)) =
            extensions.get().copied().filter(|RemoteAddr(from)| self.contain(from.ip()))
        else {
            return;
        };
        let client = self.client(headers);
        extensions.insert(RemoteAddr(client.map_or(proxy, |client| (client, UNKNOWN_PORT).into())));
        // The last proxy appends to what the client may have sent.
        if let Some(protocol) = entries(headers, &FORWARDED_PROTO).next() {
            extensions.insert(Secure(protocol.eq_ignore_ascii_case("https")));
        }
    }

    /// The address that the outermost trusted proxy saw: each one appends where its request came from, and what stands before
    /// the first one that is not trusted is the word of a stranger.
    fn client(&self, headers: &HeaderMap) -> Option<IpAddr> {
        let mut client = None;
        for entry in entries(headers, &FORWARDED_FOR) {
            let Some(address) = address(entry) else { break };
            client = Some(address);
            if !self.contain(address) {
                break;
            }
        }
        client
    }
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

fn parse(network: &str) -> Option<IpNet> {
    let single = network.parse::<IpAddr>().ok().map(IpNet::from);
    single.or_else(|| network.parse().ok())
}

static FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The port of a client is known to its proxy only.
const UNKNOWN_PORT: u16 = 0;

const NAMED: [(&str, &[&str]); 2] = [
    ("loopback", &["127.0.0.0/8", "::1/128"]),
    ("private", &["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"]),
];

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    fn seen(proxies: &TrustedProxies, from: &str, headers: &[(&'static str, &str)]) -> (String, bool) {
        let from: SocketAddr = from.parse().unwrap();
        let mut extensions = Extensions::new();
        extensions.insert(RemoteAddr(from));
        extensions.insert(Secure(false));
        let headers =
            headers.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()));
        proxies.look_behind(&headers.collect(), &mut extensions);
        let RemoteAddr(address) = extensions.get().copied().unwrap();
        (address.ip().to_string(), extensions.get() == Some(&Secure(true)))
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
    fn what_is_no_network_is_named() {
        let error = TrustedProxies::new(["10.0.0.0/8", "10.0.0.0/33"]).unwrap_err();
        assert!(error.to_string().starts_with("\"10.0.0.0/33\" is no network"), "{error}");
        assert!(TrustedProxies::new(["10.0.0.1/8"]).is_ok());
    }
}
