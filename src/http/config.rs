//! How a node answers HTTP, beside what Engine.IO prescribes.

use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use super::cors::Cors;
use super::middleware::{Headers, Middleware, OnConnectionError, caught};
use crate::engine::Handshake;

/// Settings of the HTTP side; Node's defaults.
///
/// ```
/// use socketmesh::http::{AllowRequest, Config, Cors};
///
/// let config = Config {
///     cors: Some(Cors::origin("https://chat.example").credentials()),
///     allow_request: Some(AllowRequest::new(async |request| match request.query_value("key") {
///         Some("let me in") => Ok(()),
///         _ => Err("no key".to_owned()),
///     })),
///     ..Config::default()
/// };
/// let builder = socketmesh::Node::builder().http(config);
/// ```
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Cross-origin answers. Default: none, as in Node.
    pub cors: Option<Cors>,
    /// A cookie with the session id on the answer to a polling handshake. Default: none. Nothing here needs it: it is
    /// for balancers that want to be sticky.
    pub cookie: Option<Cookie>,
    /// Asked once for each new session, before it is created. Default: everybody may.
    pub allow_request: Option<AllowRequest>,
    /// Asked about every request, one after another; the first that refuses decides. Default: none.
    pub middleware: Vec<Middleware>,
    /// Adds headers to the answer that opens a session. Default: none. Node: the event `initial_headers`.
    pub initial_headers: Option<Headers>,
    /// Adds headers to every successful answer of a session, 101 included. Default: none. Node: the event `headers`.
    pub headers: Option<Headers>,
    /// Told of every refused request. Default: nobody.
    pub on_connection_error: Option<OnConnectionError>,
    /// Where the browser client is served from, under `socket.io.js` and the like.
    pub client: ClientFiles,
    /// Whether answers name the node that gave them, in `x-socketmesh-node`. Default: no.
    pub expose_node: bool,
}

impl Config {
    /// Whether somebody wants to see requests.
    pub(crate) const fn watches(&self) -> bool {
        !self.middleware.is_empty()
            || self.initial_headers.is_some()
            || self.headers.is_some()
            || self.on_connection_error.is_some()
    }
}

/// Where the browser client (`<path>/socket.io.js` …) comes from. Node: option `serveClient`.
///
/// ```
/// use socketmesh::http::{ClientFiles, Config};
///
/// let client = ClientFiles::Folder("node_modules/socket.io-client".into());
/// let config = Config { client, ..Config::default() };
/// ```
#[derive(Debug, Clone, Default)]
pub enum ClientFiles {
    /// Redirects to the official CDN, to the version this node was tested with.
    #[default]
    Cdn,
    /// Serves the files of an installed `socket.io-client` package: its folder, or the `dist` in it.
    Folder(PathBuf),
    /// Serves none.
    Off,
}

/// A cookie that carries the session id. Node: option `cookie`.
///
/// ```
/// use socketmesh::http::{Config, Cookie, SameSite};
///
/// let cookie = Cookie { secure: true, same_site: SameSite::None, ..Cookie::default() };
/// let config = Config { cookie: Some(cookie), ..Config::default() };
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cookie {
    /// Default `io`.
    pub name: String,
    /// Default `/`.
    pub path: String,
    /// Hidden from scripts. Default: yes.
    pub http_only: bool,
    /// Default `lax`.
    pub same_site: SameSite,
    /// Only over TLS. Default: no.
    pub secure: bool,
}

/// When a cookie is sent along from other sites.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SameSite {
    /// Never.
    Strict,
    /// On navigation.
    Lax,
    /// Always; needs `secure`.
    None,
}

impl Default for Cookie {
    fn default() -> Self {
        Self {
            name: "io".to_owned(),
            path: "/".to_owned(),
            http_only: true,
            same_site: SameSite::Lax,
            secure: false,
        }
    }
}

impl Cookie {
    pub(crate) fn header(&self, value: impl fmt::Display) -> String {
        let mut header = format!("{}={value}; Path={}", self.name, self.path);
        if self.http_only {
            header.push_str("; HttpOnly");
        }
        if self.secure {
            header.push_str("; Secure");
        }
        header.push_str(match self.same_site {
            SameSite::Strict => "; SameSite=Strict",
            SameSite::Lax => "; SameSite=Lax",
            SameSite::None => "; SameSite=None",
        });
        header
    }
}

/// Decides whether a client may open a session: HTTP 403 (400 for a WebSocket) with the message if not. A panic is
/// answered 500. Node: option `allowRequest`.
///
/// See [`Config`] for an example.
#[derive(Clone)]
pub struct AllowRequest(Arc<Ask>);

type Ask = dyn Fn(Arc<Handshake>) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>> + Send + Sync;

impl AllowRequest {
    /// Asks `decide`, which says `Err` with what the client is told.
    pub fn new<F, Fut>(decide: F) -> Self
    where
        F: FnOnce(Arc<Handshake>) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<(), String>> + Send + 'static,
    {
        Self(Arc::new(move |handshake| Box::pin((decide.clone())(handshake))))
    }

    /// `None` if it panicked.
    pub(crate) async fn ask(&self, handshake: Arc<Handshake>) -> Option<Result<(), String>> {
        caught(|| (self.0)(handshake)).await
    }
}

impl fmt::Debug for AllowRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AllowRequest")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_has_nodes_defaults() {
        assert_eq!(Cookie::default().header("abc"), "io=abc; Path=/; HttpOnly; SameSite=Lax");
    }
}
