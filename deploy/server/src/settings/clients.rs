//! How clients reach a node.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};
use socketmesh::Drain;
use socketmesh::http::{
    self, Certificate, ClientFiles, Cookie, CookiePriority, Cors, Listener, SameSite, TrustedProxies,
};

use super::places::Places;
use super::values::{Duration, address, switch, text, trimmed};
use crate::process::{BoxError, read_secret};

/// How clients reach a node.
#[derive(Debug, Args)]
pub(crate) struct Clients {
    /// Address for clients: HTTP/1.1, HTTP/2 and WebSocket.
    #[arg(long, env = "SOCKETMESH_HTTP", default_value = "127.0.0.1:3000", value_parser = address)]
    pub(crate) http: SocketAddr,
    /// Shares the port with other processes of this machine, which say the same: the system gives each new connection to one of
    /// them.
    #[arg(long, env = "SOCKETMESH_REUSE_PORT", value_parser = switch)]
    pub(crate) reuse_port: bool,
    /// Certificate chain (PEM, the server's own first) that clients see: serves over TLS only. Read again on SIGHUP.
    #[arg(long, env = "SOCKETMESH_TLS_CERT", value_parser = trimmed::<PathBuf>)]
    tls_cert: Option<PathBuf>,
    /// Private key (PEM) of the certificate. Read again on SIGHUP.
    #[arg(long, env = "SOCKETMESH_TLS_KEY", value_parser = trimmed::<PathBuf>)]
    tls_key: Option<PathBuf>,
    /// Path of Socket.IO; requests for other paths get the page of the demo.
    #[arg(long, env = "SOCKETMESH_PATH", default_value = "/socket.io/", value_parser = path)]
    pub(crate) path: String,
    /// Origins whose pages may read answers and open WebSockets, beside this node's own; separated by commas, `*` for any
    /// [default: none may read answers, all may open WebSockets].
    #[arg(long, env = "SOCKETMESH_CORS_ORIGIN", value_delimiter = ',', value_parser = text)]
    cors_origin: Vec<String>,
    /// Lets the pages of these origins send cookies and authorization.
    #[arg(long, env = "SOCKETMESH_CORS_CREDENTIALS", value_parser = switch)]
    cors_credentials: bool,
    /// Lets the pages of other origins open WebSockets as well, as Node does: then the application checks who opens them.
    #[arg(long, env = "SOCKETMESH_ANY_WEBSOCKET", value_parser = switch)]
    any_websocket: bool,
    /// A cookie with the session id on the answer to a polling handshake, as `io` or `io; Path=/; Secure; SameSite=None`. Nothing
    /// here needs it.
    #[arg(long, env = "SOCKETMESH_COOKIE", value_parser = cookie)]
    cookie: Option<Cookie>,
    /// Networks of proxies in front of this node, whose word on their clients counts: `10.0.0.0/8`, an address, `loopback` or
    /// `private`; separated by commas.
    #[arg(long, env = "SOCKETMESH_TRUSTED_PROXIES", value_delimiter = ',', value_parser = trimmed::<Network>)]
    trusted_proxies: Vec<Network>,
    /// Where these proxies say who asks: in `X-Forwarded-For`, `-Proto` and `-Host`, in `Forwarded`, or at the beginning of each
    /// connection, which they have to do then.
    #[arg(long, env = "SOCKETMESH_PROXY_HEADER", value_enum, default_value_t)]
    proxy_header: ProxyHeader,
    /// Most HTTP connections at once, WebSockets aside; further ones wait.
    #[arg(long, env = "SOCKETMESH_MAX_CONNECTIONS", default_value_t = 100_000, value_parser = trimmed::<usize>)]
    max_connections: usize,
    /// Most HTTP connections of one client address, WebSockets and trusted proxies aside; not for nodes behind others [default: no
    /// limit].
    #[arg(long, env = "SOCKETMESH_MAX_CONNECTIONS_PER_ADDRESS", value_parser = trimmed::<usize>)]
    max_connections_per_address: Option<usize>,
    /// Time between two requests of a connection: longer than that of the load balancer in front.
    #[arg(long, env = "SOCKETMESH_KEEP_ALIVE_TIMEOUT", default_value = "75s", value_parser = trimmed::<Duration>)]
    keep_alive_timeout: Duration,
    /// Folder of an installed `socket.io-client` package, for browsers [default: they get it from the official CDN].
    #[arg(long, env = "SOCKETMESH_CLIENT_DIR", value_parser = trimmed::<PathBuf>)]
    client_dir: Option<PathBuf>,
    /// How long a node that stops takes until the last of its clients has gone to another node.
    #[arg(long, env = "SOCKETMESH_DRAIN", default_value = "10s", value_parser = trimmed::<Duration>)]
    drain: Duration,
    /// For how much of that it serves all of them, and only says that it is not ready, so that load balancers notice. Unless it
    /// is said, it is no longer than the whole.
    #[arg(long, env = "SOCKETMESH_DRAIN_NOTICE", default_value = "1s", value_parser = trimmed::<Duration>)]
    drain_notice: Duration,
    /// Address for WebTransport (UDP); browsers try the port of the page. Needs a certificate, which is read again on SIGHUP here
    /// too, or a self-signed one.
    #[arg(long, env = "SOCKETMESH_WEBTRANSPORT", value_parser = address)]
    webtransport: Option<SocketAddr>,
    /// Makes a certificate for WebTransport that lasts 14 days, and prints the hash that browsers are told to accept.
    #[arg(long, env = "SOCKETMESH_WEBTRANSPORT_SELF_SIGNED", value_parser = switch)]
    pub(crate) webtransport_self_signed: bool,
}

/// Where proxies say who asks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum ProxyHeader {
    /// `X-Forwarded-For`, `X-Forwarded-Proto` and `X-Forwarded-Host`.
    #[default]
    XForwarded,
    /// RFC 7239.
    Forwarded,
    /// The PROXY protocol, version 1 or 2.
    ProxyProtocol,
}

impl Clients {
    pub(super) fn check(&self, places: &Places) -> Result<(), String> {
        places.together(&["tls_cert", "tls_key"])?;
        places.needs("webtransport_self_signed", self.webtransport_self_signed, &["webtransport"])?;
        places.needs("proxy_header", self.proxy_header != ProxyHeader::default(), &["trusted_proxies"])?;
        if places.is_said("drain_notice") && self.drain_notice.0 > self.drain.0 {
            let [notice, drain] = ["drain_notice", "drain"].map(|name| places.name(name));
            return Err(format!("{notice} is a part of {drain}, and longer"));
        }
        places.needs("cors_credentials", self.cors_credentials, &["cors_origin"])?;
        places.needs("any_websocket", self.any_websocket, &["cors_origin"])?;
        if self.cors_credentials && self.origins().any(|origin| origin == "*") {
            let said = places.said("cors_origin", "*");
            return Err(format!("{said}: browsers send cookies only to origins that are named, not to any"));
        }
        if self.webtransport.is_some() && self.tls_cert.is_none() && !self.webtransport_self_signed {
            let said = places.name("webtransport");
            return Err(format!(
                "{said} needs a certificate: set tls_cert and tls_key, or webtransport_self_signed"
            ));
        }
        Ok(())
    }

    /// Where WebTransport is served, if it is.
    pub(crate) const fn webtransport(&self) -> Option<SocketAddr> {
        self.webtransport
    }

    /// The limits of the listener for clients.
    pub(crate) fn limit(&self, listener: Listener) -> Listener {
        let mut listener =
            listener.max_connections(self.max_connections).keep_alive_timeout(self.keep_alive_timeout.0);
        if self.proxy_header == ProxyHeader::ProxyProtocol {
            listener = listener.proxy_protocol();
        }
        match self.max_connections_per_address {
            Some(most) => listener.max_connections_per_address(most),
            None => listener,
        }
    }

    /// The certificate that clients see, as its files say now; `None` without TLS.
    pub(crate) fn certificate(&self) -> Result<Option<Certificate>, BoxError> {
        match (&self.tls_cert, &self.tls_key) {
            (Some(chain), Some(key)) => {
                read_secret(key)?;
                Ok(Some(Certificate::from_pem_files(chain, key)?))
            }
            _ => Ok(None),
        }
    }

    /// How HTTP is answered.
    pub(crate) fn http_config(&self) -> http::Config {
        let proxies = self.trusted_proxies.iter().map(|Network(network)| network);
        // Each one was parsed before.
        let mut proxies = TrustedProxies::new(proxies).unwrap_or_default();
        if self.proxy_header == ProxyHeader::Forwarded {
            proxies = proxies.forwarded();
        }
        http::Config::default()
            .client(self.client_dir.clone().map_or(ClientFiles::Cdn, ClientFiles::Folder))
            .cors(self.cors())
            .cookie(self.cookie.clone())
            .trusted_proxies(proxies)
    }

    /// How the node lets its clients go when it stops.
    pub(crate) fn drain(&self) -> Drain {
        let notice = self.drain_notice.0.min(self.drain.0);
        Drain::default().notice(notice).spread(self.drain.0.saturating_sub(notice))
    }

    fn cors(&self) -> Option<Cors> {
        let mut named = self.origins().peekable();
        named.peek()?;
        let mut cors =
            if self.origins().any(|origin| origin == "*") { Cors::any() } else { Cors::origins(named) };
        if self.cors_credentials {
            cors = cors.credentials();
        }
        if self.any_websocket {
            cors = cors.any_websocket();
        }
        Some(cors)
    }

    fn origins(&self) -> impl Iterator<Item = &str> {
        self.cors_origin.iter().map(String::as_str).filter(|origin| !origin.is_empty())
    }
}

/// A network of proxies, in one of the spellings of the library.
#[derive(Debug, Clone)]
pub(super) struct Network(String);

impl FromStr for Network {
    type Err = http::InvalidNetwork;

    fn from_str(said: &str) -> Result<Self, Self::Err> {
        TrustedProxies::new([said]).map(|_| Self(said.to_owned()))
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A cookie as `Set-Cookie` has it, without a value (RFC 6265, section 4.1).
fn cookie(said: &str) -> Result<Cookie, String> {
    let mut parts = said.split(';').map(str::trim);
    let name = parts.next().filter(|name| !name.is_empty() && name.chars().all(is_of_a_name));
    let mut cookie = Cookie::default().name(name.ok_or("expected a name of letters, digits and -_.")?);
    for attribute in parts {
        cookie = with_attribute(cookie, attribute).ok_or_else(|| {
            format!(
                "{attribute:?} is none of Max-Age=SECONDS, Domain=HOST, Path=/..., HttpOnly, Secure, Partitioned, \
                    Priority=Low|Medium|High and SameSite=Strict|Lax|None"
            )
        })?;
    }
    if (cookie.same_site == SameSite::None || cookie.partitioned) && !cookie.secure {
        return Err(
            "browsers take a cookie with SameSite=None or Partitioned only if it is Secure".to_owned()
        );
    }
    Ok(cookie)
}

fn with_attribute(cookie: Cookie, attribute: &str) -> Option<Cookie> {
    let (name, value) = attribute.split_once('=').unwrap_or((attribute, ""));
    let (name, lower) = (name.to_ascii_lowercase(), value.to_ascii_lowercase());
    Some(match (name.as_str(), lower.as_str()) {
        ("max-age", _) => cookie.max_age(std::time::Duration::from_secs(value.parse().ok()?)),
        ("domain", _) if !value.is_empty() && value.chars().all(is_of_a_name) => cookie.domain(value),
        ("path", _) if value.starts_with('/') => cookie.path(value),
        ("secure", "") => cookie.secure(true),
        ("httponly", "") => cookie.http_only(true),
        ("partitioned", "") => cookie.partitioned(true),
        ("priority", "low") => cookie.priority(CookiePriority::Low),
        ("priority", "medium") => cookie.priority(CookiePriority::Medium),
        ("priority", "high") => cookie.priority(CookiePriority::High),
        ("samesite", "strict") => cookie.same_site(SameSite::Strict),
        ("samesite", "lax") => cookie.same_site(SameSite::Lax),
        ("samesite", "none") => cookie.same_site(SameSite::None),
        _ => return None,
    })
}

/// As Node's `path` with `addTrailingSlash`: one slash at the end, whatever was said.
fn path(said: &str) -> Result<String, String> {
    let said = said.trim();
    if said.starts_with('/') {
        Ok(format!("{}/", said.trim_end_matches('/')))
    } else {
        Err("a path begins with a slash".to_owned())
    }
}

fn is_of_a_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-_.".contains(c)
}
