//! What this node runs: the namespaces, the sockets in them, and the handlers of the application.
//!
//! ```text
//!   NamespaceRegistry ──► LocalNamespace ──► RoomIndex ──► Member ──► Life, inbox, pending acks ──► the client's session
//!                    │  ▲                           │
//!                    ▼  └───────────────────────────┘
//!              ErasedHandlers ◄── WorkQueue: the inbox of a member; server events and observations of a namespace
//! ```
//!
//! Three files need each other: a member belongs to its namespace (`member`), a namespace has members and handlers
//! (`namespace`), and handlers are given both (`handlers`).

mod acks;
mod admission;
mod backlog;
mod broadcast_acks;
mod carried;
mod context;
mod counters;
mod error;
mod handlers;
mod handshake;
mod handshake_form;
mod inbound;
mod lanes;
mod life;
mod limit;
mod login;
mod member;
mod namespace;
mod notice;
mod observation;
mod own_state;
mod parents;
mod paths;
mod recovery;
mod registry;
mod requests;
mod responder;
mod room_index;
mod session;
mod siblings;
mod tasks;
mod term;
mod users;
mod weak_map;
mod work_queue;

pub(crate) use admission::{Admission, Admitted, BoxFuture, Data};
pub(crate) use backlog::Backlog;
pub(crate) use carried::request_of;
pub(crate) use context::HubContext;
pub(crate) use counters::NamespaceCounters;
pub use error::{AckError, DisconnectReason, Disconnected, EventError, Refusal, Result};
pub(crate) use handlers::{Description, ErasedHandlers, Handled, HandlerOutcome, nothing};
pub use handshake::Handshake;
pub(crate) use lanes::Lane;
pub(crate) use life::LifeStage;
pub(crate) use limit::ClientPaces;
pub use limit::{Excess, Limit};
pub use login::Login;
pub(crate) use member::Member;
pub(crate) use namespace::LocalNamespace;
pub(crate) use notice::{Notice, NoticeKind};
pub use observation::RoomEvent;
pub(crate) use paths::{NamespacePaths, normalize};
pub(crate) use recovery::{Claimed, Entry, Keeping, KeepingFigures, KeepingSettings, Returning};
pub(crate) use registry::{NamespaceFigures, NamespaceRegistry, RoomSize};
#[cfg(feature = "fuzzing")]
pub(crate) use room_index::RoomIndex;
pub use session::ConnectionCommand;
pub(crate) use session::{ClientSession, SocketDecision, SocketOfClient, sockets_of};
pub(crate) use tasks::HandlerTasks;
pub(crate) use term::Due;
pub(crate) use users::{MOMENT, Users, Words};
