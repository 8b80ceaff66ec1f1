//! Keeps pages of other sites from changing something where no token does.

use std::net::IpAddr;

use hyper::header::HOST;
use hyper::http::request::Parts;

use crate::http::RemoteAddr;

/// Refuses who is not this machine, or may be a page in a browser of this machine.
///
/// A page cannot send the header to another site unless that agrees, and a page whose name was pointed here later (DNS rebinding)
/// still asks for that name.
pub(super) fn refuse(asked: &Parts) -> Result<(), &'static str> {
    let is_local =
        asked.extensions.get::<RemoteAddr>().is_some_and(|RemoteAddr(from)| from.ip().is_loopback());
    if !is_local {
        return Err("without a token only this machine may ask that");
    }
    if !asked.headers.contains_key("x-socketmesh-operator") {
        return Err("without a token the header x-socketmesh-operator is needed");
    }
    let host = asked.headers.get(HOST).and_then(|host| host.to_str().ok());
    if !host.or_else(|| asked.uri.host()).is_some_and(names_no_site) {
        return Err("without a token the host has to be an address, or localhost");
    }
    Ok(())
}

/// Whether a host, with a port or without, is an IP address or this machine.
fn names_no_site(host: &str) -> bool {
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _port)) => address,
        None => host.split_once(':').map_or(host, |(name, _port)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::Request;

    #[test]
    fn only_this_machine_and_no_page_of_another_site_may_ask() {
        for (from, host, header, may) in [
            ("127.0.0.1:9", "127.0.0.1:9090", true, true),
            ("[::1]:9", "[::1]:9090", true, true),
            ("127.0.0.1:9", "LOCALHOST:9090", true, true),
            ("127.0.0.1:9", "127.0.0.1", false, false),
            ("127.0.0.1:9", "rebound.example:9090", true, false),
            ("127.0.0.1:9", "", true, false),
            ("192.0.2.1:9", "127.0.0.1:9090", true, false),
        ] {
            let mut request = Request::new(());
            request.extensions_mut().insert(RemoteAddr(from.parse().unwrap()));
            request.headers_mut().insert(HOST, host.parse().unwrap());
            if header {
                request.headers_mut().insert("x-socketmesh-operator", "1".parse().unwrap());
            }
            assert_eq!(refuse(&request.into_parts().0).is_ok(), may, "{from} {host} {header}");
        }
        let mut nobody = Request::new(());
        nobody.headers_mut().insert("x-socketmesh-operator", "1".parse().unwrap());
        assert!(refuse(&nobody.into_parts().0).is_err());
    }
}
