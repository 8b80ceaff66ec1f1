//! Harness of the cluster tests: nodes, a stateless load balancer, and clients that speak the protocols by hand.
#![expect(clippy::panic, reason = "a harness fails a test by panicking, with what it waited for")]

pub mod app;
pub mod background;
pub mod browser;
pub mod chaos;
pub mod client;
pub mod counters;
pub mod deadline;
pub mod demo;
pub mod dice;
pub mod fixture;
pub mod frames;
#[cfg(feature = "fuzzing")]
pub mod fuzz;
pub mod http;
pub mod interop;
pub mod journal;
pub mod load;
pub mod member;
pub mod messages;
pub mod mutants;
#[cfg(feature = "balancers")]
pub mod nginx;
pub mod nodes;
pub mod polling;
pub mod process;
pub mod python;
pub mod rules;
pub mod secure;
pub mod server;
pub mod sources;
pub mod target;
pub mod websocket;
pub mod webtransport;
