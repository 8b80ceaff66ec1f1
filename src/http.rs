//! HTTP: routes each request to the session it is for, on this node or another.
//!
//! ```text
//!   Listener ──► server ──┐
//!   axum, hyper ──────────┴► Service ──► Edge: CORS ──► client files
//!                                         └──► middleware ──► route ── session of another node ──► forward
//!                                                               └── session of this node, or none    │ mesh
//!                                                                     ▼                              ▼
//!                                                                   Owner: verify ──► polling | upgrade ──► engine
//! ```
//!
//! The *edge* is the node at which the connection of a client ends: it applies CORS and middleware. The *owner* of a
//! session interprets its requests. Limits, overlapping requests and heartbeats are decided there, so they do not depend
//! on the edges that the requests of a client take.

mod allow_request;
#[cfg(feature = "axum")]
mod axum_listener;
mod body;
#[cfg(feature = "tls")]
mod certificate;
mod client_files;
mod client_stream;
mod compression;
mod config;
mod connection_error;
mod cookie;
mod cors;
mod counters;
mod drain_body;
mod edge;
mod exchange;
mod forward;
pub(crate) mod forwarded;
mod forwarded_header;
mod forwarded_stream;
mod host;
mod http2_progress;
mod jsonp;
mod listener;
mod middleware;
mod node_request;
mod opening;
pub(crate) mod operator;
mod owner;
mod plain_connection;
mod plain_http;
mod polling;
mod proxy;
pub(crate) mod proxy_protocol;
mod refusal;
mod reply;
mod request;
mod request_line;
mod response_head;
mod retirement;
pub(crate) mod server;
mod service;
#[cfg(feature = "tls")]
mod tls;
mod trusted_proxies;
mod upgrade;
mod upgraded;
#[cfg(feature = "webtransport")]
pub(crate) mod webtransport;

// What the signatures here name, so that an application needs neither `hyper` nor `http` for it.
pub use hyper::body::Incoming;
pub use hyper::header::{self, HeaderName, HeaderValue};
pub use hyper::http::Extensions;
pub use hyper::http::request::Parts;
pub use hyper::{HeaderMap, Method, Request, Response, StatusCode, Uri, Version};

pub use allow_request::{AllowRequest, Forbidden};
#[cfg(feature = "axum")]
pub use axum_listener::{AxumListener, ClientAddr};
pub use body::Body;
#[cfg(feature = "tls")]
pub use certificate::{Certificate, CertificateError};
pub use client_files::CLIENT_VERSION;
pub use config::{ClientFiles, Config};
pub use connection_error::{ConnectionError, OnConnectionError};
pub use cookie::{Cookie, CookiePriority, SameSite};
pub use cors::Cors;
pub(crate) use listener::FIRST_REQUEST;
pub use listener::Listener;
pub use middleware::{Headers, Middleware, Pass, Rejection};
pub use request::{RemoteAddr, Secure};
pub use server::not_found;
pub use service::Service;
#[cfg(feature = "tls")]
pub use tls::Tls;
pub use trusted_proxies::{InvalidNetwork, TrustedProxies};
#[cfg(feature = "webtransport")]
pub use webtransport::WebTransportListener;

pub(crate) use counters::HttpCounters;
pub(crate) use edge::Edge;
pub(crate) use owner::Owner;
