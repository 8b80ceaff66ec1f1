//! Where clients enter: through nginx, through the stateless balancer of this repository, through both, or at the nodes themselves.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use balancer::Balancer;

use crate::load_balancer::{LoadBalancer, Program};

/// What stands before the nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Through {
    /// nginx with `deploy/round-robin/nginx.conf`.
    Nginx,
    /// `deploy/balancer`.
    Balancer,
    /// Half of the clients enter through each.
    Both,
    /// Nothing: clients begin at any node, and try the next one when they are lost. So some are refused at a node that is not there.
    None,
}

#[derive(Debug)]
pub(super) struct Entrance {
    nginx: Option<LoadBalancer>,
    balancer: Option<Balancer>,
    nodes: Vec<SocketAddr>,
}

impl Entrance {
    /// # Errors
    /// There is no free port.
    pub(super) async fn start(through: Through, nodes: Vec<SocketAddr>) -> io::Result<Self> {
        let (by_nginx, by_balancer) = match through {
            Through::Nginx => (true, false),
            Through::Balancer => (false, true),
            Through::Both => (true, true),
            Through::None => (false, false),
        };
        let mut entrance = Self { nginx: None, balancer: None, nodes };
        if by_nginx {
            let hosts: Vec<_> = (1..=entrance.nodes.len()).map(|number| format!("node-{number}")).collect();
            let hosts: Vec<_> = hosts.iter().map(String::as_str).collect();
            let file = "round-robin/nginx.conf";
            let nodes = &entrance.nodes;
            let nginx = LoadBalancer::start_with(Program::Nginx, file, &hosts, nodes, &[LOG]).await;
            nginx.serves("/readyz").await;
            entrance.nginx = Some(nginx);
        }
        if by_balancer {
            let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            entrance.balancer = Some(Balancer::start(listen, entrance.nodes.clone()).await?);
        }
        Ok(entrance)
    }

    /// Where a client begins, and what it tries next.
    pub(super) fn urls(&self, client: usize) -> Vec<String> {
        let nginx = self.nginx.as_ref().map(|nginx| nginx.addr);
        let balancer = self.balancer.as_ref().map(Balancer::addr);
        let doors: Vec<_> = nginx.into_iter().chain(balancer).collect();
        let url = |addr: &SocketAddr| format!("http://{addr}");
        match doors.get(client % doors.len().max(1)) {
            Some(door) => vec![url(door)],
            None => self
                .nodes
                .iter()
                .cycle()
                .skip(client % self.nodes.len().max(1))
                .take(self.nodes.len())
                .map(url)
                .collect(),
        }
    }

    /// How often nginx answered what is no success: by the status, and whether the request was for a session.
    pub(super) fn statuses(&self) -> BTreeMap<String, usize> {
        let log = self.nginx.as_ref().map(|nginx| nginx.file("access.log")).unwrap_or_default();
        let mut statuses = BTreeMap::new();
        for line in log.lines() {
            let mut fields = line.split(' ');
            let (Some(status), Some(method), Some(uri)) = (fields.next(), fields.next(), fields.next())
            else {
                continue;
            };
            if !["200", "101"].contains(&status) {
                let what = if uri.contains("sid=") { "of a session" } else { "handshake" };
                *statuses.entry(format!("{status} {method} {what}")).or_default() += 1;
            }
        }
        statuses
    }
}

/// What the tests' nginx logs in place of nothing.
const LOG: (&str, &str) = (
    "access_log off;",
    "log_format rolling '$status $request_method $request_uri $upstream_addr $msec $request_time';\naccess_log access.log rolling;",
);
