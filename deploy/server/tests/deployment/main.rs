//! What `deploy` ships for machines: Kubernetes, containers, systemd, Debian; by the tools of those who run them.
#![expect(clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod containers;
mod debian;
mod fleet;
mod kubernetes;
mod machine;
mod network;
mod official;
mod pods;
mod tools;
