//! What the host of the service, such as axum, says of a request in words of its own.

use hyper::Request;

/// Takes over what the host says: where the client is, and the URL that it asked for, of which the host may have taken a prefix
/// off. Returns whether the request is for the service.
#[cfg(feature = "axum")]
pub(super) fn take_over<B>(request: &mut Request<B>) -> bool {
    use std::net::SocketAddr;

    use axum::extract::{ConnectInfo, OriginalUri};

    use super::axum_listener::ClientAddr;
    use super::request::{RemoteAddr, Secure};

    let extensions = request.extensions_mut();
    if let Some(ConnectInfo(ClientAddr { address, secure })) = extensions.remove()
        && extensions.get::<RemoteAddr>().is_none()
    {
        extensions.insert(RemoteAddr(address));
        if secure {
            extensions.insert(Secure(true));
        }
    }
    if let Some(ConnectInfo(address)) = extensions.remove::<ConnectInfo<SocketAddr>>()
        && extensions.get::<RemoteAddr>().is_none()
    {
        extensions.insert(RemoteAddr(address));
    }
    let Some(OriginalUri(asked)) = extensions.remove() else { return true };
    let (path, below) = (asked.path(), request.uri().path());
    // As where the node listens itself, and in Node: `/socket.io/` is its path, and `/socket.io` is not.
    if below == "/" && !path.ends_with('/') {
        return false;
    }
    // What a layer made of the URL in any other way is what it wants to be served.
    if path.ends_with(below) && asked.query() == request.uri().query() {
        *request.uri_mut() = asked;
    }
    true
}

/// Other hosts say it in the words of this library.
#[cfg(not(feature = "axum"))]
pub(super) const fn take_over<B>(_: &mut Request<B>) -> bool {
    true
}

#[cfg(test)]
#[cfg(feature = "axum")]
mod tests {
    use std::net::SocketAddr;

    use axum::extract::{ConnectInfo, OriginalUri};

    use super::*;
    use crate::http::RemoteAddr;

    /// What becomes of a request for `asked` that the host hands on as one for `below`.
    fn taken_over(asked: &'static str, below: &'static str) -> Option<String> {
        let mut request = Request::new(());
        *request.uri_mut() = below.parse().unwrap();
        request.extensions_mut().insert(OriginalUri(asked.parse().unwrap()));
        take_over(&mut request).then(|| request.uri().to_string())
    }

    #[test]
    fn the_url_is_the_one_that_the_client_asked_for() {
        for (asked, below, url) in [
            ("/socket.io/?EIO=4", "/?EIO=4", "/socket.io/?EIO=4"),
            ("/api/socket.io/a.js", "/a.js", "/api/socket.io/a.js"),
            ("/socket.io?EIO=4", "/socket.io?EIO=4", "/socket.io?EIO=4"),
            ("/socket.io/?EIO=4", "/?EIO=4&customer=1", "/?EIO=4&customer=1"),
            ("/old/", "/new/", "/new/"),
            ("http://a/socket.io/", "http://a/", "http://a/socket.io/"),
        ] {
            assert_eq!(taken_over(asked, below).as_deref(), Some(url), "{asked} {below}");
        }
    }

    #[test]
    fn the_path_of_the_service_ends_with_a_slash() {
        for asked in ["/socket.io", "/socket.io?EIO=4", "/api/socket.io"] {
            let below = if asked.contains('?') { "/?EIO=4" } else { "/" };
            assert_eq!(taken_over(asked, below), None, "{asked}");
        }
    }

    #[test]
    fn the_address_is_that_of_the_connection_unless_the_host_knows_another() {
        let (connection, client): (SocketAddr, SocketAddr) =
            (([192, 0, 2, 1], 1).into(), ([192, 0, 2, 2], 2).into());
        let address = |request: &mut Request<()>| {
            assert!(take_over(request) && request.extensions().len() <= 1);
            request.extensions().get().map(|RemoteAddr(address)| *address)
        };
        let mut request = Request::new(());
        assert_eq!(address(&mut request), None);
        request.extensions_mut().insert(ConnectInfo(connection));
        assert_eq!(address(&mut request), Some(connection));
        request.extensions_mut().insert(ConnectInfo(connection));
        request.extensions_mut().insert(RemoteAddr(client));
        assert_eq!(address(&mut request), Some(client));
    }
}
