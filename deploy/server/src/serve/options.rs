//! The flags and environment variables of `socketmesh serve`, and what they mean for a node.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use socketmesh::cluster::{Certificates, Cluster, Secret};
use socketmesh::engine::{self, Compression, Transport};
use socketmesh::http::{self, Certificate, Cors, Listener};
use socketmesh::id::NodeId;
use socketmesh::socket::{self, Parser};
use socketmesh::{Admin, Node};

use super::webtransport::WebTransport;
use crate::app::http_config;
use crate::environment::{switch, text, trimmed};
use crate::process::BoxError;

#[derive(Debug, Args)]
#[command(after_help = "\
The secret that the nodes of a cluster share, at least 32 bytes, is never a flag:
  SOCKETMESH_SECRET        the secret itself
  SOCKETMESH_SECRET_FILE   a file that holds it
  SOCKETMESH_ADMIN_TOKEN   what operators bring (Authorization: Bearer ...), or
  SOCKETMESH_ADMIN_TOKEN_FILE
                           a file that holds it
  SOCKETMESH_SECRET_ALSO, SOCKETMESH_SECRET_ALSO_FILE
                           another one that is accepted, while the secret is changed

Examples:
  socketmesh serve                                        one node on its own
  socketmesh serve --http 0.0.0.0:443 --tls-cert chain.pem --tls-key key.pem
  socketmesh serve --webtransport 127.0.0.1:3000 --webtransport-self-signed
  SOCKETMESH_SECRET_FILE=/run/secrets/mesh \\
  socketmesh serve --http 0.0.0.0:3000 --mesh 0.0.0.0:7946 --seed chat-nodes:7946")]
pub(crate) struct Options {
    /// Address for clients.
    #[arg(long, env = "SOCKETMESH_HTTP", default_value = "127.0.0.1:3000",
          value_parser = trimmed::<SocketAddr>)]
    pub(super) http: SocketAddr,
    #[command(flatten)]
    clients: Clients,
    #[command(flatten)]
    pub(super) webtransport: WebTransport,
    #[command(flatten)]
    pub(super) operators: Operators,
    #[command(flatten)]
    sessions: Sessions,
    #[command(flatten)]
    member: Member,
}

/// How operators ask a node.
#[derive(Debug, Args)]
pub(super) struct Operators {
    /// Address for operators, who get `/healthz`, `/readyz`, `/metrics` and `/cluster` there; a port alone is one of this
    /// machine, and any other address needs a token [default: none].
    #[arg(long, env = "SOCKETMESH_ADMIN", value_parser = admin_address)]
    pub(super) admin: Option<SocketAddr>,
}

impl Operators {
    /// What is served there. Only this machine may ask without a token.
    pub(super) fn admin(&self, node: &Node) -> Result<Option<(SocketAddr, Admin)>, BoxError> {
        let Some(address) = self.admin else { return Ok(None) };
        let admin = match admin_token()? {
            Some(token) => node.admin().token(token),
            None if address.ip().is_loopback() => node.admin(),
            None => return Err(NO_TOKEN.into()),
        };
        Ok(Some((address, admin)))
    }
}

/// The token that operators bring, from the environment or a file.
fn admin_token() -> Result<Option<String>, BoxError> {
    let given = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
    let token = match (given(ADMIN_TOKEN), given(ADMIN_TOKEN_FILE)) {
        (Some(_), Some(_)) => return Err(format!("{ADMIN_TOKEN} and {ADMIN_TOKEN_FILE} are both set").into()),
        (None, Some(file)) => Some(String::from_utf8(read(Path::new(file.trim()))?)?),
        (token, None) => token,
    };
    let token = token.map(|token| token.trim().to_owned());
    match token {
        Some(token) if token.len() < SHORTEST_TOKEN => Err(format!(
            "the admin token needs at least {SHORTEST_TOKEN} characters (try `openssl rand -base64 24`)"
        )
        .into()),
        token => Ok(token),
    }
}

/// `9090` is a port of this machine.
pub(crate) fn admin_address(said: &str) -> Result<SocketAddr, String> {
    let said = said.trim();
    match said.parse::<u16>() {
        Ok(port) => Ok(SocketAddr::from(([127, 0, 0, 1], port))),
        Err(_) => said.parse().map_err(|_not_one| "a port, or an address such as 0.0.0.0:9090".to_owned()),
    }
}

/// How clients reach a node.
#[derive(Debug, Args)]
struct Clients {
    /// Certificate chain (PEM, the server's own first) that clients see: serves over TLS only. Read again on SIGHUP.
    #[arg(long, env = "SOCKETMESH_TLS_CERT", value_parser = trimmed::<PathBuf>, requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Private key (PEM) of the certificate. Read again on SIGHUP.
    #[arg(long, env = "SOCKETMESH_TLS_KEY", value_parser = trimmed::<PathBuf>, requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Path of Socket.IO; requests for other paths get the demo's page.
    #[arg(long, env = "SOCKETMESH_PATH", default_value = "/socket.io/", value_parser = path)]
    path: String,
    /// Origins whose pages may read answers and open WebSockets, beside this node's own; separated by commas, `*` for any [default: none may read answers, all may open WebSockets].
    #[arg(long, env = "SOCKETMESH_CORS_ORIGIN", value_delimiter = ',', value_parser = text)]
    cors_origin: Vec<String>,
    /// Most HTTP connections of one client address, WebSockets aside, not for nodes behind a proxy [default: no limit].
    #[arg(long, env = "SOCKETMESH_MAX_CONNECTIONS_PER_ADDRESS", value_parser = trimmed::<usize>)]
    max_connections_per_address: Option<usize>,
    /// Folder of an installed socket.io-client package; without it, browsers get it from the official CDN.
    #[arg(long, env = "SOCKETMESH_CLIENT_DIR", value_parser = trimmed::<PathBuf>)]
    client_dir: Option<PathBuf>,
    /// How long a node that stops goes on serving its clients while it refuses new ones, so that load balancers notice.
    #[arg(long, env = "SOCKETMESH_DRAIN_DELAY", default_value = "1s", value_parser = duration)]
    drain_delay: Duration,
}

/// How sessions behave; the same on every node of a cluster.
#[derive(Debug, Args)]
struct Sessions {
    /// Serves clients of Socket.IO 2 as well.
    #[arg(long, env = "SOCKETMESH_ALLOW_EIO3", value_parser = switch)]
    allow_eio3: bool,
    /// Transports that clients may use, separated by commas: polling, websocket.
    #[arg(long, env = "SOCKETMESH_TRANSPORTS", value_delimiter = ',', value_parser = transport,
          default_value = "polling,websocket")]
    transports: Vec<Transport>,
    /// Time from one answered ping to the next: a number with `ms`, `s` or `m`.
    #[arg(long, env = "SOCKETMESH_PING_INTERVAL", default_value = "25s", value_parser = duration)]
    ping_interval: Duration,
    /// Time a client has to answer a ping.
    #[arg(long, env = "SOCKETMESH_PING_TIMEOUT", default_value = "20s", value_parser = duration)]
    ping_timeout: Duration,
    /// Largest message of a client, in bytes.
    #[arg(long, env = "SOCKETMESH_MAX_PAYLOAD", default_value_t = 1_000_000, value_parser = trimmed::<usize>)]
    max_payload: usize,
    /// Most sessions of this node; further clients get 503.
    #[arg(long, env = "SOCKETMESH_MAX_SESSIONS", default_value_t = 1_000_000, value_parser = trimmed::<usize>)]
    max_sessions: usize,
    /// Most sessions of one client address, not for nodes behind a proxy [default: no limit].
    #[arg(long, env = "SOCKETMESH_MAX_SESSIONS_PER_ADDRESS", value_parser = trimmed::<usize>)]
    max_sessions_per_address: Option<usize>,
    /// Most handshakes of one client address in a second, not for nodes behind a proxy [default: no limit].
    #[arg(long, env = "SOCKETMESH_MAX_HANDSHAKES_PER_ADDRESS", value_parser = trimmed::<u32>)]
    max_handshakes_per_address: Option<u32>,
    /// Most bytes that may wait for all clients of this node; beyond that the slowest ones are closed.
    #[arg(long, env = "SOCKETMESH_MAX_BUFFERED_TOTAL", default_value_t = 1 << 30, value_parser = trimmed::<usize>)]
    max_buffered_total: usize,
    /// Compresses WebSocket messages of 1024 bytes or more for clients that offer it; answers to polls always are.
    #[arg(long, env = "SOCKETMESH_PER_MESSAGE_DEFLATE", value_parser = switch)]
    per_message_deflate: bool,
    /// How packets are encoded; clients have to be told.
    #[arg(long, env = "SOCKETMESH_PARSER", value_enum, default_value_t)]
    parser: PacketParser,
}

/// The parser of Socket.IO packets.
#[derive(Debug, Clone, Copy, Default, clap::ValueEnum)]
enum PacketParser {
    /// The default of every client.
    #[default]
    Json,
    /// `socket.io-msgpack-parser`.
    Msgpack,
}

impl From<PacketParser> for Parser {
    fn from(parser: PacketParser) -> Self {
        match parser {
            PacketParser::Json => Self::Json,
            PacketParser::Msgpack => Self::MessagePack,
        }
    }
}

/// How a node takes part in a cluster.
#[derive(Debug, Args)]
struct Member {
    /// Address for the other nodes (UDP): makes this node a member of a cluster.
    #[arg(long, env = "SOCKETMESH_MESH", value_parser = trimmed::<SocketAddr>)]
    mesh: Option<SocketAddr>,
    /// Mesh address of a node to join, `host:port`; a name stands for all its addresses. May be repeated, or separated
    /// by commas.
    #[arg(long, env = "SOCKETMESH_SEED", value_delimiter = ',', requires = "mesh", value_parser = text)]
    seed: Vec<String>,
    /// Mesh address under which the others reach this node, if it is not the one it binds.
    #[arg(long, env = "SOCKETMESH_ADVERTISE", requires = "mesh", value_parser = text)]
    advertise: Option<String>,
    /// Name of this node, unique in its cluster and stable over restarts [default: random].
    #[arg(long, env = "SOCKETMESH_NODE_ID", requires = "mesh", value_parser = trimmed::<NodeId>)]
    node_id: Option<NodeId>,
    /// Name of the cluster; nodes of different clusters refuse each other.
    #[arg(long, env = "SOCKETMESH_CLUSTER", requires = "mesh", value_parser = text)]
    cluster: Option<String>,
    /// Takes clients even while no seed answers.
    #[arg(long, env = "SOCKETMESH_SERVE_ALONE", requires = "mesh", value_parser = switch)]
    serve_alone: bool,
    /// Roots (PEM) that the certificates of other nodes must come from: certificates of your own instead of a secret.
    #[arg(long, env = "SOCKETMESH_MESH_CA", value_parser = trimmed::<PathBuf>, requires_all = ["mesh", "node_id", "mesh_cert", "mesh_key"])]
    mesh_ca: Option<PathBuf>,
    /// Certificate chain (PEM) of this node for the others, in the name of its id.
    #[arg(long, env = "SOCKETMESH_MESH_CERT", value_parser = trimmed::<PathBuf>, requires = "mesh_ca")]
    mesh_cert: Option<PathBuf>,
    /// Private key (PEM) of that certificate.
    #[arg(long, env = "SOCKETMESH_MESH_KEY", value_parser = trimmed::<PathBuf>, requires = "mesh_ca")]
    mesh_key: Option<PathBuf>,
}

impl Options {
    /// Where Socket.IO is served, with its slash.
    pub(super) fn path(&self) -> &str {
        &self.clients.path
    }

    /// The limits of the listener for clients.
    pub(super) fn limit(&self, listener: Listener) -> Listener {
        match self.clients.max_connections_per_address {
            Some(most) => listener.max_connections_per_address(most),
            None => listener,
        }
    }

    /// The certificate that clients see, as its files say now; `None` without TLS.
    pub(super) fn certificate(&self) -> Result<Option<Certificate>, BoxError> {
        match (&self.clients.tls_cert, &self.clients.tls_key) {
            (Some(chain), Some(key)) => Ok(Some(Certificate::from_pem_files(chain, key)?)),
            _ => Ok(None),
        }
    }

    pub(super) fn http_config(&self) -> http::Config {
        let origins: Vec<_> = self.clients.cors_origin.iter().filter(|origin| !origin.is_empty()).collect();
        let cors = match origins.as_slice() {
            [] => None,
            origins if origins.iter().any(|origin| *origin == "*") => Some(Cors::any()),
            origins => Some(Cors::origins(origins.iter().copied().cloned())),
        };
        http_config(self.clients.client_dir.clone()).cors(cors).drain_delay(self.clients.drain_delay)
    }

    /// How long a stop may take.
    pub(super) fn patience(&self) -> Duration {
        self.clients.drain_delay + PATIENCE
    }

    pub(super) fn engine_config(&self) -> engine::Config {
        let Sessions {
            allow_eio3,
            transports,
            ping_interval,
            ping_timeout,
            max_payload,
            max_sessions,
            max_sessions_per_address,
            max_handshakes_per_address,
            max_buffered_total,
            per_message_deflate,
            parser: _,
        } = &self.sessions;
        engine::Config::default()
            .allow_eio3(*allow_eio3)
            .transports(self.webtransport.transports(transports))
            .ping_interval(*ping_interval)
            .ping_timeout(*ping_timeout)
            .max_payload(*max_payload)
            .max_sessions(*max_sessions)
            .max_sessions_per_address(*max_sessions_per_address)
            .max_handshakes_per_address(*max_handshakes_per_address)
            .max_buffered_total(*max_buffered_total)
            .per_message_deflate(per_message_deflate.then(Compression::default))
    }

    pub(super) fn socket_config(&self) -> socket::Config {
        socket::Config::default().parser(self.sessions.parser.into())
    }

    /// The name of this node, random if none is said.
    pub(super) fn node_id(&self) -> Result<NodeId, BoxError> {
        Ok(match self.member.node_id.clone() {
            Some(id) => id,
            None => NodeId::random()?,
        })
    }

    /// How the node takes part in a cluster; `None` if it is on its own.
    pub(super) fn cluster(&self, id: NodeId) -> Result<Option<Cluster>, BoxError> {
        let member = &self.member;
        let Some(mesh) = member.mesh else { return Ok(None) };
        let named: Vec<_> = member.seed.iter().filter(|seed| !seed.is_empty()).cloned().collect();
        if named.is_empty() && !member.seed.is_empty() {
            return Err(NO_SEED.into());
        }
        let mut cluster =
            Cluster::bind(mesh.to_string()).seeds(named).serve_alone(member.serve_alone).node_id(id);
        if let (Some(ca), Some(chain), Some(key)) = (&member.mesh_ca, &member.mesh_cert, &member.mesh_key) {
            cluster = cluster.certificates(Certificates::from_pem(&read(ca)?, &read(chain)?, &read(key)?)?);
        } else if let Some(secret) = Secret::from_env()? {
            cluster = cluster.secret(secret);
        }
        if let Some(advertise) = &member.advertise {
            cluster = cluster.advertise(advertise);
        }
        if let Some(name) = &member.cluster {
            cluster = cluster.name(name);
        }
        Ok(Some(cluster))
    }
}

fn read(file: &Path) -> Result<Vec<u8>, BoxError> {
    std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()).into())
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

fn transport(said: &str) -> Result<Transport, String> {
    [Transport::Polling, Transport::WebSocket]
        .into_iter()
        .find(|transport| transport.as_str() == said.trim())
        .ok_or_else(|| "polling or websocket".to_owned())
}

fn duration(said: &str) -> Result<Duration, String> {
    let said = said.trim();
    let digits = said.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.parse().map_err(|_not_one| EXPECTED.to_owned())?;
    match said.strip_prefix(digits) {
        Some("ms") => Ok(Duration::from_millis(number)),
        Some("s") => Ok(Duration::from_secs(number)),
        Some("m") => Ok(Duration::from_secs(number.saturating_mul(60))),
        _ => Err(EXPECTED.to_owned()),
    }
}

const ADMIN_TOKEN: &str = "SOCKETMESH_ADMIN_TOKEN";
const ADMIN_TOKEN_FILE: &str = "SOCKETMESH_ADMIN_TOKEN_FILE";
const SHORTEST_TOKEN: usize = 16;
const NO_TOKEN: &str = "operators of other machines need a token: set SOCKETMESH_ADMIN_TOKEN or \
    SOCKETMESH_ADMIN_TOKEN_FILE, or let --admin listen on a loopback address";

const NO_SEED: &str = "the seed (--seed or SOCKETMESH_SEED) is empty: name a node as host:port, or leave it out where the \
    first node of a cluster starts";

/// How long the rest of a stop may take: under the grace period of common service managers.
const PATIENCE: Duration = Duration::from_secs(10);

const EXPECTED: &str = "a number with its unit, such as 500ms, 25s or 1m";

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        options: Options,
    }

    fn parse(arguments: &[&str]) -> Result<Options, clap::Error> {
        let arguments = std::iter::once("serve").chain(arguments.iter().copied());
        Command::try_parse_from(arguments).map(|command| command.options)
    }

    #[test]
    fn without_flags_sessions_have_the_defaults_of_the_library() {
        assert_eq!(parse(&[]).unwrap().engine_config(), engine::Config::default());
    }

    #[test]
    fn flags_reach_the_sessions() {
        let options = parse(&[
            "--allow-eio3",
            "--transports=websocket",
            "--ping-interval=500ms",
            "--ping-timeout=2m",
            "--max-payload=5000",
            "--max-sessions=7",
            "--max-sessions-per-address=6",
            "--max-handshakes-per-address=5",
            "--max-buffered-total=4",
            "--per-message-deflate",
            "--webtransport=127.0.0.1:0",
        ]);
        let config = options.unwrap().engine_config();
        assert!(config.allow_eio3);
        assert_eq!(config.transports, [Transport::WebSocket, Transport::WebTransport]);
        assert_eq!(config.ping_interval, Duration::from_millis(500));
        assert_eq!(config.ping_timeout, Duration::from_secs(120));
        assert_eq!(config.max_payload, 5000);
        assert_eq!((config.max_sessions, config.max_buffered_total), (7, 4));
        assert_eq!(config.max_sessions_per_address, Some(6));
        assert_eq!(config.max_handshakes_per_address, Some(5));
        assert_eq!(config.per_message_deflate, Some(Compression::default()));
    }

    #[test]
    fn a_parser_is_chosen_by_name() {
        let parser = |arguments: &[&str]| parse(arguments).unwrap().socket_config().parser;
        assert_eq!(
            (parser(&[]), parser(&["--parser=msgpack"])),
            (socket::Parser::Json, socket::Parser::MessagePack)
        );
    }

    #[test]
    fn operators_of_this_machine_need_only_a_port() {
        let admin = |said| parse(&["--admin", said]).unwrap().operators.admin.unwrap().to_string();
        assert_eq!(
            (admin("9090"), admin(" 0.0.0.0:1 ")),
            ("127.0.0.1:9090".to_owned(), "0.0.0.0:1".to_owned())
        );
    }

    #[test]
    fn a_path_ends_with_one_slash() {
        for said in ["/realtime", "/realtime/", "/realtime//"] {
            assert_eq!(parse(&["--path", said]).unwrap().path(), "/realtime/");
        }
        assert_eq!(parse(&["--path", "/"]).unwrap().path(), "/");
    }

    #[test]
    fn what_means_nothing_is_refused() {
        for said in [
            ["--ping-interval", "25"],
            ["--ping-interval", "25h"],
            ["--ping-interval", "s"],
            ["--ping-timeout", "-1s"],
            ["--transports", "polling,tcp"],
            ["--path", "socket.io"],
            ["--tls-cert", "chain.pem"],
            ["--tls-key", "key.pem"],
            ["--webtransport-self-signed", "--allow-eio3"],
            ["--admin", "localhost"],
            ["--mesh-ca", "ca.pem"],
            ["--mesh-key", "key.pem"],
            ["--seed", "127.0.0.1:1"],
        ] {
            assert!(parse(&said).is_err(), "{said:?}");
        }
    }
}
