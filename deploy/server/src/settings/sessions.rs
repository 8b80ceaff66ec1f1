//! How sessions behave.

use std::net::SocketAddr;

use clap::{Args, ValueEnum};
use socketmesh::engine::{self, Compression, Transport};
use socketmesh::socket;

use super::values::{Duration, Size, switch, trimmed};

/// How sessions behave; the same on every node of a cluster.
#[derive(Debug, Args)]
pub(crate) struct Sessions {
    /// Serves clients of Socket.IO 2 as well.
    #[arg(long, env = "SOCKETMESH_ALLOW_EIO3", value_parser = switch)]
    allow_eio3: bool,
    /// Transports that clients may use, separated by commas: polling, websocket.
    #[arg(long, env = "SOCKETMESH_TRANSPORTS", value_delimiter = ',', value_parser = transport,
          default_value = "polling,websocket")]
    transports: Vec<Transport>,
    /// Time from one answered ping to the next.
    #[arg(long, env = "SOCKETMESH_PING_INTERVAL", default_value = "25s", value_parser = trimmed::<Duration>)]
    ping_interval: Duration,
    /// Time a client has to answer a ping.
    #[arg(long, env = "SOCKETMESH_PING_TIMEOUT", default_value = "20s", value_parser = trimmed::<Duration>)]
    ping_timeout: Duration,
    /// Largest message of a client.
    #[arg(long, env = "SOCKETMESH_MAX_PAYLOAD", default_value = "1MB", value_parser = trimmed::<Size>)]
    max_payload: Size,
    /// Most sessions of this node; further clients get 503.
    #[arg(long, env = "SOCKETMESH_MAX_SESSIONS", default_value_t = 1_000_000, value_parser = trimmed::<usize>)]
    max_sessions: usize,
    /// Most sessions of one client address; behind proxies only with `trusted_proxies` [default: no limit].
    #[arg(long, env = "SOCKETMESH_MAX_SESSIONS_PER_ADDRESS", value_parser = trimmed::<usize>)]
    max_sessions_per_address: Option<usize>,
    /// Most handshakes of one client address in a second; behind proxies only with `trusted_proxies` [default: no limit].
    #[arg(long, env = "SOCKETMESH_MAX_HANDSHAKES_PER_ADDRESS", value_parser = trimmed::<u32>)]
    max_handshakes_per_address: Option<u32>,
    /// Most bytes that may wait for all clients of this node; beyond that the slowest ones are closed.
    #[arg(long, env = "SOCKETMESH_MAX_BUFFERED_TOTAL", default_value = "1GiB", value_parser = trimmed::<Size>)]
    max_buffered_total: Size,
    /// Compresses WebSocket messages of 1024 bytes or more for clients that offer it; answers to polls always are.
    #[arg(long, env = "SOCKETMESH_PER_MESSAGE_DEFLATE", value_parser = switch)]
    per_message_deflate: bool,
    /// How hard messages and answers to polls are compressed: from 2, the fastest, to 9, the smallest.
    #[arg(long, env = "SOCKETMESH_COMPRESSION_LEVEL", default_value_t = 3, value_parser = level)]
    compression_level: u8,
    /// How packets are encoded; clients have to be told.
    #[arg(long, env = "SOCKETMESH_PARSER", value_enum, default_value_t)]
    parser: Parser,
}

/// The parser of Socket.IO packets.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum Parser {
    /// The default of every client.
    #[default]
    Json,
    /// `socket.io-msgpack-parser`.
    Msgpack,
}

impl Sessions {
    /// The settings of Engine.IO; WebTransport is one more transport where it is served.
    pub(crate) fn engine_config(&self, webtransport: Option<SocketAddr>) -> engine::Config {
        let served = webtransport.map(|_| Transport::WebTransport);
        let served = served.filter(|transport| !self.transports.contains(transport));
        let transports: Vec<_> = self.transports.iter().copied().chain(served).collect();
        let compression = Compression::default().level(self.compression_level);
        engine::Config::default()
            .allow_eio3(self.allow_eio3)
            .transports(transports)
            .ping_interval(self.ping_interval.0)
            .ping_timeout(self.ping_timeout.0)
            .max_payload(self.max_payload.0)
            .max_sessions(self.max_sessions)
            .max_sessions_per_address(self.max_sessions_per_address)
            .max_handshakes_per_address(self.max_handshakes_per_address)
            .max_buffered_total(self.max_buffered_total.0)
            .per_message_deflate(self.per_message_deflate.then_some(compression))
            .http_compression(compression)
    }

    /// The settings of Socket.IO.
    pub(crate) fn socket_config(&self) -> socket::Config {
        socket::Config::default().parser(match self.parser {
            Parser::Json => socket::Parser::Json,
            Parser::Msgpack => socket::Parser::MessagePack,
        })
    }
}

fn transport(said: &str) -> Result<Transport, String> {
    [Transport::Polling, Transport::WebSocket]
        .into_iter()
        .find(|transport| transport.as_str() == said.trim())
        .ok_or_else(|| "expected polling or websocket".to_owned())
}

fn level(said: &str) -> Result<u8, String> {
    let level = trimmed::<u8>(said).ok().filter(|level| (2..=9).contains(level));
    level.ok_or_else(|| "expected 2 to 9".to_owned())
}
