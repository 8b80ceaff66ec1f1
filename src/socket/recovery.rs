//! What lets clients come back: the packets that they may have missed, and what is known of their sessions. Without I/O.
//!
//! ```text
//!   Journal (a namespace on a node) ──► Log ──► Membership      what was sent, and for whom
//!        └──► Recovering ──► Position                          a client that is back, and what it has
//!   States                                                     sessions, and who has them
//! ```

mod journal;
mod lateness;
mod log;
mod membership;
mod position;
mod recovering;
mod settings;
mod states;
mod unrecovered;

pub(crate) use journal::{Answer, Journal};
pub(crate) use lateness::Lateness;
pub(crate) use log::{LogLimits, LogPart, LogRoom, TooMuch, cost};
pub(crate) use membership::{MARGIN, Membership};
pub(crate) use position::{OwnNumbers, Position};
pub(crate) use recovering::Recovering;
pub use settings::Recovery;
pub(crate) use states::{Claim, Put, States, StatesLimits};
pub(crate) use unrecovered::Unrecovered;
