//! Harness of the cluster tests: nodes, a balancer without memory, and clients that speak the protocols by hand.

pub mod balancer;
