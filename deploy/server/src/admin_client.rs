//! Asks a node what operators want to know, over HTTP/1.1.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::process::{BoxError, read_secret, variable};
use crate::settings::trimmed;

/// Which node is asked, and with which token.
#[derive(Debug, Clone, Args)]
pub(crate) struct AdminOptions {
    /// Address for operators of any node of the cluster: a port of this machine, or `host:port`.
    #[arg(long, env = "SOCKETMESH_ADMIN", default_value = "9090", value_parser = node_address)]
    admin: String,
    /// File with the token that operators bring, if the node asks for one.
    #[arg(long, env = "SOCKETMESH_ADMIN_TOKEN_FILE", value_parser = trimmed::<PathBuf>)]
    token_file: Option<PathBuf>,
}

impl AdminOptions {
    /// # Errors
    /// The token cannot be read.
    pub(crate) fn client(&self) -> Result<AdminClient, BoxError> {
        let token = match &self.token_file {
            Some(file) => Some(String::from_utf8(read_secret(file)?)?),
            None => variable("SOCKETMESH_ADMIN_TOKEN"),
        };
        Ok(AdminClient { address: self.admin.clone(), token: token.map(|token| token.trim().to_owned()) })
    }
}

/// Asks one node.
#[derive(Debug, Clone)]
pub(crate) struct AdminClient {
    address: String,
    token: Option<String>,
}

/// What a node answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: String,
}

impl AdminClient {
    /// Asks without a token, as probes do.
    pub(crate) fn without_token(address: SocketAddr) -> Self {
        Self { address: reachable(address).to_string(), token: None }
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Whether somebody listens at the address.
    pub(crate) async fn is_heard(&self) -> bool {
        !matches!(timeout(PATIENCE, TcpStream::connect(&self.address)).await, Ok(Err(_)))
    }

    /// Asks once, for `patience` at most.
    ///
    /// # Errors
    /// The node does not answer, or with more than anybody would.
    pub(crate) async fn ask(
        &self,
        method: Method,
        target: &str,
        patience: Duration,
    ) -> Result<Answer, BoxError> {
        let asked = timeout(patience, self.send(method, target)).await;
        asked.map_err(|_late| format!("{} does not answer", self.address))?
    }

    /// The JSON that a node answers.
    ///
    /// # Errors
    /// The node does not answer, or refuses.
    pub(crate) async fn get<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T, BoxError> {
        let answer = self.text(path).await?;
        serde_json::from_str(&answer).map_err(|error| {
            format!("{}{path} answers what is no state of a cluster: {error}", self.address).into()
        })
    }

    /// The text that a node answers.
    ///
    /// # Errors
    /// The node does not answer, or refuses.
    pub(crate) async fn text(&self, path: &str) -> Result<String, BoxError> {
        self.ask(Method::GET, path, PATIENCE).await?.if_well(self)
    }

    async fn send(&self, method: Method, target: &str) -> Result<Answer, BoxError> {
        let failed = |error: std::io::Error| format!("no node answers at {}: {error}", self.address);
        let stream = TcpStream::connect(&self.address).await.map_err(failed)?;
        let mut request = Request::builder().method(method).uri(target).header(HOST, &self.address);
        // A node without a token answers to programs of its own machine, and to no page in a browser there.
        request = request.header("x-socketmesh-operator", "1");
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let answered = async {
            let response = sender.send_request(request.body(Empty::<Bytes>::new())?).await?;
            let status = response.status();
            let body = Limited::new(response.into_body(), LARGEST).collect().await?.to_bytes();
            Ok(Answer { status, body: String::from_utf8_lossy(&body).into_owned() })
        };
        // The connection is driven here, so that it ends with the request.
        let driven = async {
            let _ended = connection.await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            answered = answered => answered,
            () = driven => Err(format!("{} hung up", self.address).into()),
        }
    }
}

impl Answer {
    /// What was answered, if that was what was asked for.
    ///
    /// # Errors
    /// The node refused.
    pub(crate) fn if_well(self, client: &AdminClient) -> Result<String, BoxError> {
        let said = plain(self.body.trim());
        match self.status {
            StatusCode::OK => Ok(self.body),
            StatusCode::UNAUTHORIZED => Err(format!(
                "{} asks for a token: --token-file, SOCKETMESH_ADMIN_TOKEN or SOCKETMESH_ADMIN_TOKEN_FILE",
                client.address
            )
            .into()),
            StatusCode::METHOD_NOT_ALLOWED => {
                Err(format!("the node at {} does not let operators stop nodes", client.address).into())
            }
            _ if said.is_empty() => Err(format!("{} answers {}", client.address, self.status).into()),
            _ => Err(said.into()),
        }
    }
}

/// What others said, without what a terminal would take for commands.
pub(crate) fn plain(said: &str) -> String {
    said.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// `9090` is a port of this machine. Where a node listens on every address, it is asked on this machine.
fn node_address(said: &str) -> Result<String, String> {
    let said = said.trim();
    if let Ok(port) = said.parse::<u16>() {
        return Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)).to_string());
    }
    if let Ok(address) = said.parse::<SocketAddr>() {
        return Ok(reachable(address).to_string());
    }
    match said.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => Ok(said.to_owned()),
        _ => Err("a port, or host:port".to_owned()),
    }
}

/// A node that listens on every address is asked on this machine.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// A node asks the others for two seconds at most.
const PATIENCE: Duration = Duration::from_secs(5);
/// A cluster of hundreds of nodes says less.
const LARGEST: usize = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_port_of_this_machine_or_a_host_with_a_port() {
        for (said, meant) in [
            ("9090", Some("127.0.0.1:9090")),
            (" 0.0.0.0:9090\r", Some("127.0.0.1:9090")),
            ("[::]:9090", Some("[::1]:9090")),
            ("192.0.2.1:9090", Some("192.0.2.1:9090")),
            ("node-2:9090", Some("node-2:9090")),
            ("node-2", None),
            (":9090", None),
            ("node-2:http", None),
        ] {
            assert_eq!(node_address(said).ok().as_deref(), meant, "{said:?}");
        }
    }

    #[test]
    fn what_others_say_commands_no_terminal() {
        assert_eq!(plain("a\u{1b}[2Jb\n"), "a [2Jb ");
    }
}
