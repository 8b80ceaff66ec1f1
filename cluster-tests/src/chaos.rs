//! Clusters of processes on a network of their own, disturbed in every way that machines and networks know, and a checker
//! that holds what is promised.
//!
//! ```text
//!   scenarios ──► stage ──► network: namespaces, switch, links
//!   (tables)       ├──────► process, machine, services         what nodes run in and find around them
//!                  ├──────► clients: residents, official ones  ──► history
//!                  └─ Played ──► judge ──► checker ──► report
//! ```

pub mod checker;
pub mod clients;
pub mod history;
pub mod judge;
pub mod machine;
pub mod network;
pub mod process;
pub mod report;
pub mod scenario;
pub mod scenarios;
pub mod services;
pub mod stage;
