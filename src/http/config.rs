//! The settings of the HTTP side of a node.

use std::path::PathBuf;

use super::allow_request::AllowRequest;
use super::connection_error::OnConnectionError;
use super::cookie::Cookie;
use super::cors::Cors;
use super::middleware::{Headers, Middleware};
use super::trusted_proxies::TrustedProxies;
use crate::setters::setters;

/// Settings of the HTTP side. The defaults are Node's.
///
/// ```
/// use socketmesh::http::{AllowRequest, Config, Cors};
///
/// let config = Config::default()
///     .cors(Cors::origin("https://chat.example").credentials())
///     .allow_request(AllowRequest::new(async |request| match request.query_value("key").as_deref() {
///         Some("let me in") => Ok(()),
///         _ => Err("no key".into()),
///     }));
/// let builder = socketmesh::Node::builder().http(config);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// Which pages of other origins may use this node, for all requests or [for each](Cors::by_request). Default `None`, as in Node:
    /// answers have no CORS headers.
    pub cors: Option<Cors>,
    /// The cookie with the session id in the answer to a polling handshake. Default: no cookie. Only sticky load balancers
    /// need it; this node does not.
    pub cookie: Option<Cookie>,
    /// Decides about each new session before it is created. Default: all are allowed.
    pub allow_request: Option<AllowRequest>,
    /// Run for every request, one after another, until one refuses. Default: none.
    pub middleware: Vec<Middleware>,
    /// Adds headers to the answer that opens a session. Default: none. Node: the event `initial_headers`.
    pub initial_headers: Option<Headers>,
    /// Adds headers to every successful answer of a session, 101 included. Default: none. Node: the event `headers`.
    pub headers: Option<Headers>,
    /// Called for every refused request. Default: nothing.
    pub on_connection_error: Option<OnConnectionError>,
    /// Where the browser client is served from, under `socket.io.js` and the like.
    pub client: ClientFiles,
    /// Whether [`Node::serve`](crate::Node::serve) answers `/healthz` (200) and `/readyz` (200, or 503 while the node takes no new
    /// clients) beside the path of Socket.IO, for load balancers. Default: yes.
    pub health: bool,
    /// The proxies in front of this node, whose word about the address of a client, its TLS and the host that it asked for counts: in
    /// the handshake, for what one client address may have, and for [`cors`](Self::cors). Default: none.
    pub trusted_proxies: TrustedProxies,
    /// Whether answers name the edge node, in the header `x-socketmesh-node`. Default: no.
    pub expose_node: bool,
}

setters! {
    Config {
        cors: into Option<Cors>,
        cookie: into Option<Cookie>,
        allow_request: into Option<AllowRequest>,
        middleware: into Vec<Middleware>,
        initial_headers: into Option<Headers>,
        headers: into Option<Headers>,
        on_connection_error: into Option<OnConnectionError>,
        client: ClientFiles,
        health: bool,
        trusted_proxies: TrustedProxies,
        expose_node: bool,
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            cors: None,
            cookie: None,
            allow_request: None,
            middleware: Vec::new(),
            initial_headers: None,
            headers: None,
            on_connection_error: None,
            client: ClientFiles::default(),
            health: true,
            trusted_proxies: TrustedProxies::default(),
            expose_node: false,
        }
    }
}

impl Config {
    /// Whether the application has a part in answering requests.
    pub(crate) const fn observes_requests(&self) -> bool {
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
/// let config = Config::default().client(client);
/// ```
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub enum ClientFiles {
    /// Redirects to the official CDN, to the version this node was tested with. Browsers need the internet for that; the node
    /// does not, and nothing else that it serves does.
    #[default]
    Cdn,
    /// Serves the files of an installed `socket.io-client` package: its folder, or the `dist` in it.
    Folder(PathBuf),
    /// Serves none.
    Off,
}
