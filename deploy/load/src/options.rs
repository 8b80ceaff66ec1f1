//! What is asked for, as flags of a command line.

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::str::FromStr;

/// What the clients do.
#[derive(Debug, Clone, clap::Subcommand)]
#[command(args_override_self = true)]
pub enum Scenario {
    /// Clients that do nothing: what each costs to connect and to keep.
    Idle(Idle),
    /// Clients that connect, join the namespace and leave, again and again.
    Storm(Storm),
    /// Senders emit to rooms that others have joined.
    Room(Room),
    /// Pairs of clients: one emits to the other by its id.
    Direct(Direct),
    /// Clients emit, and the server acknowledges with the payload.
    Echo(Echo),
}

impl Scenario {
    /// What every scenario has.
    #[must_use]
    pub const fn common(&self) -> &Common {
        match self {
            Self::Idle(Idle { common, .. })
            | Self::Storm(Storm { common, .. })
            | Self::Room(Room { common, .. })
            | Self::Direct(Direct { common, .. })
            | Self::Echo(Echo { common, .. }) => common,
        }
    }

    /// How fast it sends; `None` where nothing is sent.
    #[must_use]
    pub const fn pace(&self) -> Option<&Pace> {
        match self {
            Self::Idle(_) | Self::Storm(_) => None,
            Self::Room(Room { pace, .. })
            | Self::Direct(Direct { pace, .. })
            | Self::Echo(Echo { pace, .. }) => Some(pace),
        }
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Idle(_) => "idle",
            Self::Storm(_) => "storm",
            Self::Room(_) => "room",
            Self::Direct(_) => "direct",
            Self::Echo(_) => "echo",
        }
    }
}

/// Clients that do nothing.
#[derive(Debug, Clone, clap::Args)]
#[command(args_override_self = true)]
pub struct Idle {
    /// How many; with 0 the processes are watched alone.
    #[arg(long, default_value_t = 1000)]
    pub clients: usize,
    /// What every scenario has.
    #[command(flatten)]
    pub common: Common,
}

/// Clients that connect and leave.
#[derive(Debug, Clone, clap::Args)]
#[command(args_override_self = true)]
pub struct Storm {
    /// How many at the same time.
    #[arg(long, default_value_t = 100)]
    pub clients: usize,
    /// What every scenario has.
    #[command(flatten)]
    pub common: Common,
}

/// Emits to rooms.
#[derive(Debug, Clone, clap::Args)]
#[command(args_override_self = true)]
pub struct Room {
    /// How many members.
    #[arg(long, default_value_t = 1000)]
    pub clients: usize,
    /// How many rooms; every member is in one of them.
    #[arg(long, default_value_t = 1)]
    pub rooms: usize,
    /// The members of a room are all at one address; without it they are spread over all.
    #[arg(long)]
    pub whole: bool,
    /// How many senders share the rooms among them; they are no members.
    #[arg(long, default_value_t = 2)]
    pub senders: usize,
    /// So many of a hundred members read nothing once they have joined. What is sent to them does not count.
    #[arg(long, value_name = "PERCENT", default_value_t = 0)]
    pub stuck: usize,
    /// Where members connect, by the numbers of the addresses, from 0; without it everywhere.
    #[arg(long, value_delimiter = ',')]
    pub members_at: Vec<usize>,
    /// Where senders connect, in the same way.
    #[arg(long, value_delimiter = ',')]
    pub senders_at: Vec<usize>,
    /// How fast they send.
    #[command(flatten)]
    pub pace: Pace,
    /// What the events are called.
    #[command(flatten)]
    pub events: Events,
    /// What every scenario has.
    #[command(flatten)]
    pub common: Common,
}

/// Emits to single clients.
#[derive(Debug, Clone, clap::Args)]
#[command(args_override_self = true)]
pub struct Direct {
    /// How many pairs.
    #[arg(long, default_value_t = 50)]
    pub clients: usize,
    /// Senders and receivers are at the first address; without it the receivers are at the last.
    #[arg(long)]
    pub whole: bool,
    /// How fast they send.
    #[command(flatten)]
    pub pace: Pace,
    /// What the events are called.
    #[command(flatten)]
    pub events: Events,
    /// What every scenario has.
    #[command(flatten)]
    pub common: Common,
}

/// Acknowledged events.
#[derive(Debug, Clone, clap::Args)]
#[command(args_override_self = true)]
pub struct Echo {
    /// How many clients.
    #[arg(long, default_value_t = 50)]
    pub clients: usize,
    /// How fast they send.
    #[command(flatten)]
    pub pace: Pace,
    /// What the events are called.
    #[command(flatten)]
    pub events: Events,
    /// What every scenario has.
    #[command(flatten)]
    pub common: Common,
}

/// How fast senders send, and how much.
#[derive(Debug, Clone, clap::Args)]
pub struct Pace {
    /// Messages per second of all senders together. Durations count from when a message was to be sent, so what a slow server
    /// holds up is not left out.
    #[arg(long, conflicts_with = "window")]
    pub rate: Option<f64>,
    /// Without a rate: messages of each sender on their way. The next is sent when one has arrived everywhere.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub window: u16,
    /// Bytes of the payload, at least 28.
    #[arg(long, default_value_t = 64)]
    pub payload: usize,
}

/// What the events are called that clients emit. Servers may call theirs anything.
#[derive(Debug, Clone, clap::Args)]
pub struct Events {
    /// `(room)`, acknowledged: the server lets the client join the room.
    #[arg(long, value_name = "NAME", default_value = "join")]
    pub join_event: String,
    /// `(room, payload)`: the server emits the payload to all others in the room.
    #[arg(long, value_name = "NAME", default_value = "msg")]
    pub room_event: String,
    /// `(id, payload)`: the server emits the payload to the client of that id.
    #[arg(long, value_name = "NAME", default_value = "direct")]
    pub direct_event: String,
    /// `(payload)`, acknowledged: the server acknowledges with the payload.
    #[arg(long, value_name = "NAME", default_value = "echo")]
    pub echo_event: String,
}

/// What every scenario has.
#[derive(Debug, Clone, clap::Args)]
pub struct Common {
    /// Where servers serve clients, as `http://host:port`; several for the nodes of a cluster.
    #[arg(required = true)]
    pub servers: Vec<Server>,
    /// How clients connect.
    #[arg(long, value_enum, default_value_t = Transport::Websocket)]
    pub transport: Transport,
    /// Every request of a session goes to the next address, and so does the WebSocket of a session that began with polling.
    #[arg(long)]
    pub not_sticky: bool,
    /// Where Socket.IO is served.
    #[arg(long, default_value = "/socket.io/")]
    pub path: String,
    /// The namespace that clients join.
    #[arg(long, default_value = "/")]
    pub namespace: String,
    /// What clients present when they join it, as JSON.
    #[arg(long, value_name = "JSON", value_parser = json)]
    pub auth: Option<String>,
    /// A process on this machine that is watched, as `PID` or `NAME=PID`: a server, or what it needs; may be repeated.
    #[arg(long, value_name = "PID")]
    pub pid: Vec<Watched>,
    /// Threads of the generator.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub threads: u16,
    /// How many clients connect at once.
    #[arg(long, value_name = "CLIENTS", default_value_t = 128)]
    pub connecting: usize,
    /// Seconds until the measurement begins.
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0)]
    pub warm_up: f64,
    /// Seconds of the measurement.
    #[arg(long, default_value_t = 5.0)]
    pub seconds: f64,
}

/// How a client connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Transport {
    /// A WebSocket from the beginning.
    Websocket,
    /// HTTP long-polling.
    Polling,
    /// HTTP long-polling, and then a WebSocket.
    Upgrade,
}

/// Where a server serves clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// What it is called in requests.
    pub host: String,
    /// Where it is.
    pub address: SocketAddr,
}

impl FromStr for Server {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.starts_with("https:") || text.starts_with("wss:") {
            return Err("TLS is not spoken: name the server behind it".to_owned());
        }
        let host = ["http://", "ws://"].iter().find_map(|scheme| text.strip_prefix(scheme)).unwrap_or(text);
        let host = host.trim_end_matches('/');
        if host.contains('/') {
            return Err("the path is said by --path".to_owned());
        }
        // An address of version 6 has colons of its own, and a bracket behind them.
        let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let with_port = if has_port { host.to_owned() } else { format!("{host}:80") };
        let found = with_port.to_socket_addrs().map_err(|error| error.to_string())?.next();
        Ok(Self { host: host.to_owned(), address: found.ok_or("the name has no address")? })
    }
}

/// A process that is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watched {
    /// What it is called in the report.
    pub name: String,
    /// Its number.
    pub pid: u32,
}

impl FromStr for Watched {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, pid) = text.rsplit_once('=').unwrap_or((text, text));
        let pid = pid.parse().map_err(|_not_a_number| "a number of a process, or NAME=NUMBER".to_owned())?;
        Ok(Self { name: name.to_owned(), pid })
    }
}

fn json(text: &str) -> Result<String, String> {
    let value: serde_json::Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    Ok(value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_an_address_with_or_without_scheme_and_port() {
        let of = |text: &str| text.parse::<Server>().map(|server| (server.host, server.address.port()));
        for text in
            ["127.0.0.1:3000", "http://127.0.0.1:3000", "http://127.0.0.1:3000/", "ws://127.0.0.1:3000"]
        {
            assert_eq!(of(text), Ok(("127.0.0.1:3000".to_owned(), 3000)), "{text}");
        }
        assert_eq!(of("127.0.0.1"), Ok(("127.0.0.1".to_owned(), 80)));
        assert_eq!(of("http://[::1]:81"), Ok(("[::1]:81".to_owned(), 81)));
        for refused in ["https://127.0.0.1", "http://127.0.0.1/chat", ""] {
            assert!(of(refused).is_err(), "{refused}");
        }
    }

    #[test]
    fn a_process_may_have_a_name() {
        assert_eq!("7".parse(), Ok(Watched { name: "7".to_owned(), pid: 7 }));
        assert_eq!("redis=7".parse(), Ok(Watched { name: "redis".to_owned(), pid: 7 }));
        assert!("redis".parse::<Watched>().is_err());
    }
}
