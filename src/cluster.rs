//! Many nodes as one: who is alive, who owns which session, how bytes travel between them.
//!
//! ```text
//!   mesh                    what the other layers ask; implements their port `Peers`
//!     │
//!   tasks                   the control actor, links, gossip, and the thread that they are on
//!     │
//!   published               what the control actor publishes and every task reads
//!     │
//!   control ──► delivery    transport       membership and messages, without I/O; QUIC
//!     └────────────┴────────────┴──► hello, wire, view, ring, address, identity
//! ```

mod address;
mod config;
mod control;
mod delivery;
mod error;
mod gossip_filter;
mod hello;
mod identity;
mod mesh;
mod published;
mod ring;
mod secret;
mod tasks;
#[cfg(test)]
mod tests;
pub(crate) mod transport;
mod view;
pub(crate) mod wire;

pub use config::Cluster;
pub use delivery::peer_counters::{IncomingCounts, LossCounts, OutgoingCounts, PeerCounters};
pub use error::StartError;
pub use identity::{Certificates, Credentials, IdentityError};
pub use ring::Ring;
pub use secret::{InvalidSecret, Secret, SecretError};
pub use view::{LinkState, MemberView, NodeState, SettingDifference, View};

pub(crate) use mesh::{Mesh, OpenError, SessionOwner};
#[cfg(feature = "fuzzing")]
pub(crate) use ring::tokens;
pub(crate) use tasks::ports::Upward;
pub(crate) use transport::bi_stream::{BiStream, Receiver, Sender, StreamLoss};
pub(crate) use transport::connection::REACH;
pub(crate) use wire::{
    MAX_PRELUDE, encode_prelude,
    pb::{Client, Field, RequestHead, ResponseHead},
};

/// What the fuzz targets drive.
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing {
    pub(crate) use super::address::OwnAddress;
    pub(crate) use super::control::{
        Control, DialError, DialTarget, GossipMember, LookupError, Offer, Output, Path, Publication, Route,
    };
    pub(crate) use super::delivery::batch::Batch;
    pub(crate) use super::delivery::interest::{LocalInterest, local_interest};
    pub(crate) use super::delivery::peer::{Fill, Peer, ProtocolError, Received, Turn};
    pub(crate) use super::delivery::peer_counters::OutgoingCounts;
    pub(crate) use super::gossip_filter::{Filtered, Known, filter};
    pub(crate) use super::hello::{Greeting, LinkId, LocalNode, Resume};
    pub(crate) use super::published::Published;
    pub(crate) use super::tasks::Hearing;
    pub(crate) use super::wire::gossip::{Change, Gossip, KeyValue, Life, NodeDelta};
    pub(crate) use super::wire::pb::{self, refusal::Reason};
}
