//! harness
pub mod fixture;
