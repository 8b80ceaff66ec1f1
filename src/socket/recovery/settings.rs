//! What the application says of recovery.

use std::time::Duration;

use crate::setters::setters;

/// How long clients may be away and still get back their socket, its rooms and data, and what they missed. Node:
/// `connectionStateRecovery`.
///
/// [`Namespace::recover`](crate::Namespace::recover) switches it on for one namespace,
/// [`Config::recover`](crate::socket::Config::recover) for all.
///
/// ```
/// use std::time::Duration;
/// use socketmesh::{Socket, namespace, socket::Recovery};
///
/// let chat = namespace("/chat")
///     .recover(Recovery::default().max_disconnection(Duration::from_secs(60)))
///     .on_connect(async |socket: Socket| {
///         if !socket.recovered() {
///             socket.join("lobby");
///         }
///         Ok(())
///     });
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recovery {
    /// For how long a client may be away. Default 2 minutes. Node: `maxDisconnectionDuration`.
    pub max_disconnection: Duration,
    /// Whether `admit` and `auth` are not asked about a client that is recovered. Default true. If they are, they may refuse it,
    /// and what `auth` returns replaces the data. They are asked in any case where data cannot be carried, because the namespace
    /// was not given [`recover`](crate::Namespace::recover) itself. Node: `skipMiddlewares`.
    pub skip_middleware: bool,
    /// Whether a client is recovered that has not got any event yet. Default false, as in Node.
    pub before_first_event: bool,
    /// How many bytes of packets a node keeps for each namespace. Beyond that the oldest are dropped, and whoever misses one of
    /// them is not recovered. Default 16 MiB.
    pub max_log: usize,
    /// How many bytes one client may have missed, from each node. Default 4 MiB.
    pub max_replay: usize,
}

setters! {
    Recovery {
        max_disconnection: Duration,
        skip_middleware: bool,
        before_first_event: bool,
        max_log: usize,
        max_replay: usize,
    }
}

impl Default for Recovery {
    fn default() -> Self {
        Self {
            max_disconnection: Duration::from_secs(120),
            skip_middleware: true,
            before_first_event: false,
            max_log: 16 << 20,
            max_replay: 4 << 20,
        }
    }
}
