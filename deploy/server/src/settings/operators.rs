//! How operators ask a node, and what it writes for them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};
use socketmesh::http::{Certificate, Tls};
use tracing_subscriber::filter::{LevelFilter, Targets};

use super::places::Places;
use super::values::trimmed;
use crate::process::{BoxError, read_secret, variable};

/// How operators ask a node, and what it writes for them.
#[derive(Debug, Args)]
pub(crate) struct Operators {
    /// Address for operators, who get `/healthz`, `/readyz`, `/metrics` and `/cluster` there; a port alone is one of this
    /// machine, and any other address needs a token [default: none].
    #[arg(long, env = "SOCKETMESH_ADMIN", value_parser = admin_address)]
    admin: Option<SocketAddr>,
    /// Roots (PEM) of the certificates that operators bring instead of a token: then they are served over TLS, with `tls_cert`.
    #[arg(long, env = "SOCKETMESH_ADMIN_CA", value_parser = trimmed::<PathBuf>)]
    admin_ca: Option<PathBuf>,
    /// File with the token that operators bring, at least 16 characters.
    #[arg(long, env = "SOCKETMESH_ADMIN_TOKEN_FILE", value_parser = trimmed::<PathBuf>)]
    admin_token_file: Option<PathBuf>,
    /// Which log lines are written, by target and level; the variable `RUST_LOG` wins over it.
    #[arg(long, env = "SOCKETMESH_LOG", default_value = "info,ractor=warn", value_parser = trimmed::<LogFilter>)]
    pub(crate) log: LogFilter,
    /// How log lines are written to standard error.
    #[arg(long, env = "SOCKETMESH_LOG_FORMAT", value_enum, default_value_t)]
    pub(crate) log_format: LogFormat,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people; in colours where it is a terminal.
    #[default]
    Text,
    /// One JSON object in each line, for collectors.
    Json,
}

/// Targets with their levels.
#[derive(Debug, Clone)]
pub(crate) struct LogFilter(pub(crate) Targets);

impl FromStr for LogFilter {
    type Err = String;

    fn from_str(said: &str) -> Result<Self, String> {
        const EXPECTED: &str = "expected levels by target, such as info,ractor=warn";
        // The parser takes a level that is mistyped for the name of a target.
        let mut levels = said.split(',').filter(|part| !part.contains('='));
        if !levels.all(|level| level.trim().parse::<LevelFilter>().is_ok()) {
            return Err(EXPECTED.to_owned());
        }
        said.parse().map(Self).map_err(|_other| EXPECTED.to_owned())
    }
}

impl Operators {
    pub(super) fn check(&self, places: &Places) -> Result<(), String> {
        places.needs("admin_ca", self.admin_ca.is_some(), &["admin", "tls_cert"])
    }

    /// Where operators ask.
    pub(crate) const fn address(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// The token that operators have to bring. Only those of this machine may ask without one, or a certificate.
    pub(crate) fn admitted(&self, places: &Places) -> Result<Option<String>, BoxError> {
        let is_open = self.admin.is_none_or(|address| address.ip().is_loopback()) || self.admin_ca.is_some();
        match (self.token()?, self.admin) {
            (None, Some(address)) if !is_open => {
                Err(format!("{}: {NO_TOKEN}", places.said("admin", &address.to_string())).into())
            }
            (token, _) => Ok(token),
        }
    }

    /// Encrypts what operators get and checks who they are, where they bring certificates.
    pub(crate) fn tls(&self, certificate: Option<&Certificate>) -> Result<Option<Tls>, BoxError> {
        let (Some(roots), Some(certificate)) = (&self.admin_ca, certificate) else { return Ok(None) };
        let pem = std::fs::read(roots).map_err(|error| format!("{}: {error}", roots.display()))?;
        let tls = Tls::mutual(certificate, pem).map_err(|error| format!("{}: {error}", roots.display()))?;
        Ok(Some(tls))
    }

    /// The token that operators bring.
    fn token(&self) -> Result<Option<String>, BoxError> {
        let token = match (variable(ADMIN_TOKEN), &self.admin_token_file) {
            (Some(_), Some(file)) => {
                return Err(format!("{ADMIN_TOKEN} and the file {} are both set", file.display()).into());
            }
            (None, Some(file)) => Some(String::from_utf8(read_secret(file)?)?),
            (token, None) => token,
        };
        let token = token.map(|token| token.trim().to_owned());
        match token {
            Some(token) if token.len() < SHORTEST_TOKEN => Err(TOO_SHORT.into()),
            token => Ok(token),
        }
    }
}

/// `9090` is a port of this machine.
pub(crate) fn admin_address(said: &str) -> Result<SocketAddr, String> {
    let said = said.trim();
    match said.parse::<u16>() {
        Ok(port) => Ok(SocketAddr::from(([127, 0, 0, 1], port))),
        Err(_) => {
            said.parse().map_err(|_not_one| "expected a port, or an address such as 0.0.0.0:9090".to_owned())
        }
    }
}

const ADMIN_TOKEN: &str = "SOCKETMESH_ADMIN_TOKEN";
const SHORTEST_TOKEN: usize = 16;
const TOO_SHORT: &str = "the admin token needs at least 16 characters (try `openssl rand -base64 24`)";
const NO_TOKEN: &str = "operators of other machines need a token or a certificate: set SOCKETMESH_ADMIN_TOKEN, \
    admin_token_file or admin_ca, or let --admin listen on a loopback address";
