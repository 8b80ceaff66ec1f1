//! What `socketmesh serve` can be told, and what that means for a node.
//!
//! Each field is one setting with one name: `ping_interval` in the configuration file, `SOCKETMESH_PING_INTERVAL` in the
//! environment and `--ping-interval` as a flag. Everything else about settings is made from these types: the help, the errors,
//! `socketmesh config` and the tables of the reference.

mod arguments;
mod clients;
mod cluster;
mod file;
mod names;
mod operators;
mod places;
mod schema;
mod sessions;
mod values;

use std::path::PathBuf;

use clap::Args;

pub(crate) use arguments::{explain, with_switches, without_empty_variables};
pub(crate) use clients::Clients;
pub(crate) use cluster::Member;
pub(crate) use file::File;
pub(crate) use names::check_variables;
pub(crate) use operators::{LogFormat, Operators, admin_address};
pub(crate) use places::{Places, with_defaults};
pub(crate) use schema::schema;
pub(crate) use sessions::Sessions;
pub(crate) use values::trimmed;

/// Everything that `socketmesh serve` can be told.
#[derive(Debug, Args)]
#[command(after_help = "\
Secrets themselves are never flags, nor in the configuration file:
  SOCKETMESH_SECRET        what all nodes of a cluster share, at least 32 bytes
  SOCKETMESH_SECRET_ALSO   another one that is accepted, while the secret is changed
  SOCKETMESH_ADMIN_TOKEN   what operators bring (Authorization: Bearer ...)

Examples:
  socketmesh serve                                        one node on its own
  socketmesh serve --http 0.0.0.0:443 --tls-cert chain.pem --tls-key key.pem
  socketmesh serve --webtransport 127.0.0.1:3000 --webtransport-self-signed
  socketmesh serve --config /etc/socketmesh/socketmesh.toml
  socketmesh serve --http 0.0.0.0:3000 --mesh 0.0.0.0:7946 --seed chat-nodes:7946 --secret-file /run/secrets/mesh")]
pub(crate) struct Settings {
    /// Configuration file (TOML) with these names, `ping_interval = "10s"` for example; variables and flags win over it.
    #[arg(long, env = "SOCKETMESH_CONFIG", value_parser = trimmed::<PathBuf>)]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten, next_help_heading = "Clients")]
    pub(crate) clients: Clients,
    #[command(flatten, next_help_heading = "Sessions, the same on every node")]
    pub(crate) sessions: Sessions,
    #[command(flatten, next_help_heading = "Cluster")]
    pub(crate) member: Member,
    #[command(flatten, next_help_heading = "Operators")]
    pub(crate) operators: Operators,
}

impl Settings {
    /// Checks what no single setting can tell: which ones need each other, and the ranges of those of sessions.
    ///
    /// # Errors
    /// Names the settings, and where they were said.
    pub(crate) fn check(&self, places: &Places) -> Result<(), String> {
        self.clients.check(places)?;
        self.member.check(places)?;
        self.operators.check(places)?;
        let sessions = self.sessions.engine_config(self.clients.webtransport());
        sessions
            .validate()
            .map_err(|error| format!("{}: expected {}", places.said(error.key, &error.value), error.expected))
    }
}

#[cfg(test)]
mod tests;
