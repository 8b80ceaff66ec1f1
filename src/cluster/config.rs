//! What a user says about a cluster.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::sync::Arc;

use crate::cluster::ground::{Network, Socket};
use crate::cluster::identity::{Certificates, Identity, IdentityError, Secret};
use crate::id::NodeId;
use crate::random::RandomError;

/// How a node takes part in a cluster.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use socketmesh::cluster::{Cluster, Secret};
///
/// let secret: Secret = "9pCYkSrvB7mEGNqYSvqQ0mCv5vxnT9xZ".parse()?;
/// let cluster = Cluster::bind("0.0.0.0:7946").seed("chat-nodes:7946").secret(secret);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Cluster {
    pub(crate) bind: String,
    pub(crate) seeds: Vec<String>,
    pub(crate) secret: Option<Secret>,
    pub(crate) certificates: Option<Certificates>,
    pub(crate) node_id: Option<NodeId>,
    pub(crate) advertise: Option<String>,
    pub(crate) name: String,
    pub(crate) serve_alone: bool,
    /// In place of the machine's network.
    pub(crate) network: Option<Arc<dyn Network>>,
    /// What the packets for clients are called; the node says it.
    pub(crate) parser: &'static str,
}

impl Cluster {
    /// The UDP address for everything between nodes, as `ip:port`; port 0 takes any free one.
    pub fn bind(address: impl Into<String>) -> Self {
        Self {
            bind: address.into(),
            seeds: Vec::new(),
            secret: None,
            certificates: None,
            node_id: None,
            advertise: None,
            name: DEFAULT_NAME.to_owned(),
            serve_alone: false,
            network: None,
            parser: "",
        }
    }

    /// What to tell other nodes about the packets that clients get: those that say something else are refused.
    #[must_use]
    pub(crate) fn parser(mut self, name: &'static str) -> Self {
        self.parser = name;
        self
    }

    /// Adds a place where other nodes are found, as `host:port`; a name may stand for many addresses and is looked up
    /// every second. None by default: the node is the first one.
    #[must_use]
    pub fn seed(mut self, seed: impl Into<String>) -> Self {
        self.seeds.push(seed.into());
        self
    }

    /// Adds several seeds; see [`Cluster::seed`].
    #[must_use]
    pub fn seeds(mut self, seeds: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.seeds.extend(seeds.into_iter().map(Into::into));
        self
    }

    /// The secret that all nodes share. Needed, unless [`Cluster::certificates`] are given; only a node on a loopback
    /// address without seeds starts without either (and nobody can join it).
    #[must_use]
    pub fn secret(mut self, secret: Secret) -> Self {
        self.secret = Some(secret);
        self
    }

    /// Your own certificates instead of those that a secret gives.
    #[must_use]
    pub fn certificates(mut self, certificates: Certificates) -> Self {
        self.certificates = Some(certificates);
        self
    }

    /// The name of this node, unique in the cluster, the same after a restart. Random by default, or what the
    /// certificate says.
    #[must_use]
    pub fn node_id(mut self, id: NodeId) -> Self {
        self.node_id = Some(id);
        self
    }

    /// The address at which the other nodes reach this one, as `host:port`. By default the bound one; when that is
    /// unspecified (`0.0.0.0`), the address from which this machine would reach the first seed.
    #[must_use]
    pub fn advertise(mut self, address: impl Into<String>) -> Self {
        self.advertise = Some(address.into());
        self
    }

    /// The name of the cluster; nodes of another name are refused. `socketmesh` by default.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Whether the node becomes ready although no seed answers. Off by default: a node that cannot find its cluster would
    /// otherwise start one of its own.
    #[must_use]
    pub fn serve_alone(mut self, serve_alone: bool) -> Self {
        self.serve_alone = serve_alone;
        self
    }

    /// Takes part in a network in memory instead of the machine's.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn on(mut self, network: Arc<dyn Network>) -> Self {
        self.network = Some(network);
        self
    }

    pub(crate) fn socket(&self) -> Result<Socket, StartError> {
        let bind = |error| StartError::Bind(self.bind.clone(), error);
        let address: SocketAddr = first(&self.bind).map_err(bind)?;
        let alone = address.ip().is_loopback() && self.seeds.is_empty();
        if self.secret.is_none() && self.certificates.is_none() && !alone {
            return Err(StartError::NoSecret);
        }
        match &self.network {
            Some(network) => Ok(Socket::Simulated(network.bind(address).map_err(bind)?, network.seed())),
            None => Ok(Socket::Udp(UdpSocket::bind(address).map_err(bind)?)),
        }
    }

    pub(crate) fn identity(&self) -> Result<Identity, StartError> {
        if let Some(certificates) = &self.certificates {
            return Ok(Identity::from_certificates(certificates.clone(), self.node_id.as_ref())?);
        }
        let id = match &self.node_id {
            Some(id) => id.clone(),
            None => NodeId::random()?,
        };
        let secret = match &self.secret {
            Some(secret) => secret.clone(),
            None => Secret::random()?,
        };
        Ok(Identity::from_secret(&secret, &id)?)
    }

    /// Where the others reach this node, bound to `local`.
    pub(crate) fn advertised(&self, local: SocketAddr) -> Result<SocketAddr, StartError> {
        match &self.advertise {
            Some(address) => first(address).map_err(|error| StartError::Advertise(address.clone(), error)),
            None if local.ip().is_unspecified() => Ok(self.outward(local).unwrap_or_else(|| loopback(local))),
            None => Ok(local),
        }
    }

    /// The address that the system would use towards the first seed, or towards the default route.
    fn outward(&self, local: SocketAddr) -> Option<SocketAddr> {
        let reachable = |seed: &String| first(seed).ok().filter(|seed| seed.is_ipv4() == local.is_ipv4());
        let towards = self.seeds.iter().find_map(reachable).unwrap_or_else(|| somewhere(local));
        let probe = UdpSocket::bind((local.ip(), 0)).ok()?;
        // Connecting a UDP socket sends nothing.
        probe.connect(towards).ok()?;
        let ip = probe.local_addr().ok()?.ip();
        (!ip.is_unspecified()).then_some(SocketAddr::new(ip, local.port()))
    }
}

fn first(address: &str) -> std::io::Result<SocketAddr> {
    address.to_socket_addrs()?.next().ok_or_else(|| std::io::Error::other("the name has no address"))
}

/// An address of the documentation ranges (RFC 5737, RFC 3849): routed like the rest of the world, used by nobody.
fn somewhere(local: SocketAddr) -> SocketAddr {
    let v6 = [0x2001, 0xdb8, 0, 0, 0, 0, 0, 1];
    if local.is_ipv4() { SocketAddr::from(([192, 0, 2, 1], 9)) } else { SocketAddr::from((v6, 9)) }
}

/// A machine without a network still has itself.
fn loopback(local: SocketAddr) -> SocketAddr {
    let ip: IpAddr = if local.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
    SocketAddr::new(ip, local.port())
}

/// Why a node could not take part in a cluster.
///
/// ```
/// # async fn f(node: socketmesh::NodeBuilder) {
/// use socketmesh::cluster::StartError;
///
/// match node.start().await {
///     Err(socketmesh::StartError::Cluster(StartError::NoSecret)) => eprintln!("set SOCKETMESH_SECRET"),
///     started => drop(started),
/// }
/// # }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Anybody could join. Give the same secret to every node, for example in `SOCKETMESH_SECRET`.
    #[error(
        "no cluster secret: nodes that others can reach, or that have seeds, need one (try `openssl rand -base64 32`)"
    )]
    NoSecret,
    /// The address is not one, or is taken.
    #[error("cannot bind the cluster's UDP address {0}")]
    Bind(String, #[source] std::io::Error),
    /// The advertised address is not one.
    #[error("cannot advertise {0}")]
    Advertise(String, #[source] std::io::Error),
    /// The certificates are of no use.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The operating system gives no random numbers.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// A thread or an actor could not be started.
    #[error("cannot start the mesh: {0}")]
    Mesh(String),
}

const DEFAULT_NAME: &str = "socketmesh";

#[cfg(test)]
mod tests {
    use super::*;

    fn secret() -> Secret {
        Secret::new([7; 32]).unwrap()
    }

    #[test]
    fn without_a_secret_nobody_listens_where_others_could_come() {
        for refused in [Cluster::bind("0.0.0.0:0"), Cluster::bind("127.0.0.1:0").seed("127.0.0.1:1")] {
            assert!(matches!(refused.socket(), Err(StartError::NoSecret)));
            assert!(refused.secret(secret()).socket().is_ok());
        }
        assert!(Cluster::bind("127.0.0.1:0").socket().is_ok());
    }

    #[test]
    fn an_unspecified_address_is_not_advertised() {
        let cluster = Cluster::bind("0.0.0.0:0").seed("127.0.0.1:9");
        let local = SocketAddr::from(([0, 0, 0, 0], 7946));
        assert_eq!(cluster.advertised(local).unwrap(), SocketAddr::from(([127, 0, 0, 1], 7946)));
        let told = cluster.advertise("10.1.2.3:4");
        assert_eq!(told.advertised(local).unwrap(), SocketAddr::from(([10, 1, 2, 3], 4)));
    }

    #[test]
    fn an_id_is_made_up_when_none_is_given() {
        let id = |cluster: &Cluster| cluster.identity().unwrap().id().clone();
        let cluster = Cluster::bind("127.0.0.1:0").secret(secret());
        assert_ne!(id(&cluster), id(&cluster));
        assert_eq!(id(&cluster.node_id("a".parse().unwrap())).as_str(), "a");
    }
}
