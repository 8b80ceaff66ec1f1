//! What the proxies in front of a node say of a client, behind what the client itself began to say.

use std::net::{IpAddr, SocketAddr};

use hyper::header::{HeaderMap, HeaderValue};
use hyper::http::Extensions;

use crate::http::proxy_protocol;
use crate::http::{RemoteAddr, Secure, TrustedProxies};

/// A header that the client began and its proxy wrote to the end: the first byte says which. The word of the proxy counts, or none
/// does.
///
/// # Panics
///
/// When the client says where it is.
pub fn client_address(data: &[u8]) -> bool {
    let Some((&form, begun)) = data.split_first() else { return false };
    let proxies = TrustedProxies::new(["10.0.0.0/8"]).expect("a network");
    let (proxies, name, word) = match form % 4 {
        0 => (proxies, "x-forwarded-for", "203.0.113.9"),
        1 => (proxies, "x-forwarded-for", "203.0.113.9:4711"),
        2 => (proxies.forwarded(), "forwarded", "for=203.0.113.9;proto=https"),
        _ => (proxies.forwarded(), "forwarded", "proto=https;for=\"203.0.113.9:4711\""),
    };
    let line = [begun, b", ", word.as_bytes()].concat();
    let Ok(line) = HeaderValue::from_bytes(&line) else { return false };
    let proxy = SocketAddr::from(([10, 0, 0, 1], 443));
    let (mut headers, mut extensions) = (HeaderMap::new(), Extensions::new());
    headers.insert(name, line.clone());
    extensions.insert(RemoteAddr(proxy));
    proxies.look_behind(&mut headers, &mut extensions);
    let seen = extensions.get().map(|RemoteAddr(client)| client.ip());
    let client = IpAddr::from([203, 0, 113, 9]);
    assert!(seen == Some(client) || seen == Some(proxy.ip()), "{line:?}: {seen:?}");
    assert!(extensions.get().is_none_or(|Secure(secure)| *secure), "{line:?}: the proxy saw TLS");
    seen == Some(client)
}

/// The header of the PROXY protocol: it is read as it is, neither a part of it nor more than it.
///
/// # Panics
///
/// When a part of a header is one, or what has more behind it.
pub fn proxy_header(data: &[u8]) -> bool {
    let Ok(introduction) = proxy_protocol::parse(data) else { return false };
    let cut = data.split_last().map_or(data, |(_, cut)| cut);
    assert!(proxy_protocol::parse(cut).is_err(), "a part of the header of {introduction:?}");
    let more = [data, b"\n"].concat();
    assert!(proxy_protocol::parse(&more).is_err(), "more than the header of {introduction:?}");
    true
}
