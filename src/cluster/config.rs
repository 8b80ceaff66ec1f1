//! How a node takes part in a cluster, as its user configures it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::num::NonZeroU16;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::time::timeout;

use super::address::{OwnAddress, canonical};
use super::error::StartError;
use super::identity::{Certificates, Identity};
use super::secret::Secret;
use super::transport::network::{BoundSocket, MachineNetwork, Network, source_towards};
use crate::id::NodeId;

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
    pub(crate) silence_timeout: Duration,
    pub(crate) network: Arc<dyn Network>,
    /// The name of the encoding of packets for clients. The node sets it.
    pub(crate) parser: &'static str,
    /// The settings of sessions that all nodes should share. The node sets them.
    pub(crate) settings: Vec<(&'static str, String)>,
}

impl Cluster {
    /// Starts the configuration of a node with the UDP address for everything between nodes, as `ip:port`. Port 0 takes any
    /// free port. Nothing is bound before the node starts.
    pub fn bind(address: impl Into<String>) -> Self {
        Self::bind_on(Arc::new(MachineNetwork), address)
    }

    /// The same on another network than the machine's.
    pub(crate) fn bind_on(network: Arc<dyn Network>, address: impl Into<String>) -> Self {
        Self {
            bind: address.into(),
            seeds: Vec::new(),
            secret: None,
            certificates: None,
            node_id: None,
            advertise: None,
            name: DEFAULT_NAME.to_owned(),
            serve_alone: false,
            silence_timeout: SILENCE,
            network,
            parser: "",
            settings: Vec::new(),
        }
    }

    /// Names the encoding of packets for clients. Nodes with another one are refused.
    #[must_use]
    pub(crate) fn parser(mut self, name: &'static str) -> Self {
        self.parser = name;
        self
    }

    /// Names the settings of sessions, each with its value for people. Nodes with others are warned about.
    #[must_use]
    pub(crate) fn settings(mut self, settings: Vec<(&'static str, String)>) -> Self {
        self.settings = settings;
        self
    }

    /// Adds a place where other nodes are found, as `host:port`. A name may stand for many addresses. It is looked up
    /// every second until the cluster is found, and every 10 s then. There is none by default: such a node is the first one of
    /// its cluster.
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

    /// Sets the secret that all nodes share. It is required unless [`Cluster::certificates`] are given. Only a node on a
    /// loopback address without seeds starts without either, and no other node can join it.
    #[must_use]
    pub fn secret(mut self, secret: Secret) -> Self {
        self.secret = Some(secret);
        self
    }

    /// Sets your own certificates instead of those derived from a secret.
    #[must_use]
    pub fn certificates(mut self, certificates: Certificates) -> Self {
        self.certificates = Some(certificates);
        self
    }

    /// Sets the name of this node, which is unique in the cluster and the same after a restart. By default it is random, or
    /// the one in the certificate.
    #[must_use]
    pub fn node_id(mut self, id: NodeId) -> Self {
        self.node_id = Some(id);
        self
    }

    /// Sets the address at which the other nodes reach this one, as `host:port`, where that is not the one that its packets
    /// come from: behind NAT, or in a container whose port is published. By default each node is told the bound address or,
    /// when that is unspecified (`0.0.0.0`), the one that this machine's packets to it carry. A loopback address is told
    /// over the loopback only.
    #[must_use]
    pub fn advertise(mut self, address: impl Into<String>) -> Self {
        self.advertise = Some(address.into());
        self
    }

    /// Sets the name of the cluster, `socketmesh` by default. Nodes of a cluster with another name are refused.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets whether the node becomes ready although no seed answers and some members do not. Off by default, because a node
    /// that cannot find its cluster would start one of its own.
    #[must_use]
    pub fn serve_alone(mut self, serve_alone: bool) -> Self {
        self.serve_alone = serve_alone;
        self
    }

    /// Sets how long another node may be silent before the link to it is lost, 3 s by default, 2 to 30 s. A node that is not
    /// reached any other way is dead then, or 2 s later where no link was lost; one whose machine refuses its packets is dead at
    /// once. Longer forgives machines and networks that stop for a moment, but for that time nobody is told that a node is gone,
    /// and messages to it are kept for 10 s at most. The shorter time of two nodes counts; it should be the same on all.
    #[must_use]
    pub fn silence_timeout(mut self, most: Duration) -> Self {
        self.silence_timeout = most;
        self
    }

    /// # Errors
    /// When the time of silence is out of its range.
    pub(crate) fn check_silence(&self) -> Result<(), StartError> {
        let is_fine = SILENCES.contains(&self.silence_timeout);
        if is_fine { Ok(()) } else { Err(StartError::Silence(self.silence_timeout)) }
    }

    /// The settings that all nodes should share, each with its value for people.
    pub(crate) fn shared_settings(&self) -> Vec<(&'static str, String)> {
        let silence = ("silence_timeout", format!("{:?}", self.silence_timeout));
        self.settings.iter().cloned().chain([silence]).collect()
    }

    /// The same with addresses in the place of names, so that nothing that follows asks a name server: those answer when they
    /// like, and the runtime of the caller must not wait.
    ///
    /// # Errors
    /// When a name to bind or to advertise has no address, or no name server answers.
    pub(crate) async fn resolved(mut self) -> Result<Self, StartError> {
        let bind = resolve(&self.bind).await;
        self.bind = bind.map_err(|error| StartError::Bind(self.bind.clone(), error))?.to_string();
        if let Some(name) = self.advertise.take() {
            let address = resolve(&name).await.map_err(|error| StartError::Advertise(name, error))?;
            self.advertise = Some(address.to_string());
        }
        Ok(self)
    }

    /// Takes the configured address.
    ///
    /// # Errors
    /// When there is no secret and the node could be reached by others, or the address cannot be bound.
    pub(crate) fn socket(&self) -> Result<BoundSocket, StartError> {
        let bind = |error| StartError::Bind(self.bind.clone(), error);
        let address: SocketAddr = first(&self.bind).map_err(bind)?;
        let alone = address.ip().is_loopback() && self.seeds.is_empty();
        if self.secret.is_none() && self.certificates.is_none() && !alone {
            return Err(StartError::NoSecret);
        }
        self.network.bind(address).map_err(bind)
    }

    /// The seeds, without the spaces around them.
    ///
    /// # Errors
    /// When one is no `host:port`.
    pub(crate) fn trimmed_seeds(&self) -> Result<Vec<String>, StartError> {
        let trimmed = |seed: &String| {
            let seed = seed.trim();
            if is_host_and_port(seed) { Ok(seed.to_owned()) } else { Err(StartError::Seed(seed.to_owned())) }
        };
        self.seeds.iter().map(trimmed).collect()
    }

    /// The identity of the node.
    ///
    /// # Errors
    /// When the certificates do not give one, or there are no random numbers.
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

    /// The address at which the other nodes reach this one when it is bound to `bound`.
    ///
    /// # Errors
    /// When the address to advertise is none, or one that nobody can dial.
    pub(crate) fn own_address(&self, bound: SocketAddr) -> Result<OwnAddress, StartError> {
        let Some(text) = &self.advertise else {
            return Ok(OwnAddress { bound, advertised: None, first: self.guess(bound) });
        };
        let advertised = first(text).and_then(dialable);
        let advertised = advertised.map_err(|error| StartError::Advertise(text.clone(), error))?;
        Ok(OwnAddress { bound, advertised: Some(advertised), first: advertised })
    }

    /// The address that packets to the first seed with an address would carry, or those to the default route. Each node that
    /// is met later is told the one that packets to it carry.
    fn guess(&self, bound: SocketAddr) -> SocketAddr {
        if !bound.ip().is_unspecified() {
            return bound;
        }
        let seeds = self.seeds.iter().filter_map(|seed| seed.trim().parse().ok());
        let elsewhere = |peer: &SocketAddr| !peer.ip().is_loopback() && (bound.is_ipv6() || peer.is_ipv4());
        let peers = seeds.map(canonical).chain(somewhere()).filter(elsewhere);
        let sources = peers.filter_map(|peer| source_towards(bound, peer));
        let ip = sources.into_iter().find(|ip| !ip.is_loopback());
        SocketAddr::new(ip.unwrap_or_else(|| loopback(bound)), bound.port())
    }
}

async fn resolve(name: &str) -> io::Result<SocketAddr> {
    if let Ok(address) = name.trim().parse() {
        return Ok(address);
    }
    let mut found = timeout(RESOLVE, lookup_host(name.trim())).await??;
    found.next().ok_or_else(|| io::Error::other("the name has no address"))
}

/// Whether this is a name or an address, and a port that can be dialled.
fn is_host_and_port(text: &str) -> bool {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return address.port() != 0;
    }
    let is_of_a_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    text.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && host.chars().all(is_of_a_name) && port.parse::<NonZeroU16>().is_ok()
    })
}

fn first(address: &str) -> io::Result<SocketAddr> {
    address.to_socket_addrs()?.next().ok_or_else(|| io::Error::other("the name has no address"))
}

/// An address that another node can dial.
fn dialable(address: SocketAddr) -> io::Result<SocketAddr> {
    let ip = address.ip().to_canonical();
    let wrong = if ip.is_unspecified() {
        "it stands for every address of a machine: name the one at which the others reach this node"
    } else if address.port() == 0 {
        "nobody is reached at port 0: name the port at which the others reach this node"
    } else if ip.is_multicast() || ip == IpAddr::V4(Ipv4Addr::BROADCAST) {
        "it is the address of many machines"
    } else {
        return Ok(canonical(address));
    };
    Err(io::Error::new(io::ErrorKind::InvalidInput, wrong))
}

/// Addresses of the documentation ranges (RFC 5737, RFC 3849): routed like the rest of the world, used by nobody.
fn somewhere() -> [SocketAddr; 2] {
    let v6 = [0x2001, 0xdb8, 0, 0, 0, 0, 0, 1];
    [SocketAddr::from(([192, 0, 2, 1], 9)), SocketAddr::from((v6, 9))]
}

/// A machine without a network still has itself.
fn loopback(bound: SocketAddr) -> IpAddr {
    match bound.ip() {
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    }
}

/// How long the name of this node itself may take to be looked up.
/// A node that pauses for two seconds, for a snapshot of its machine, is not dead. Both ends of a cut in one direction agree after
/// half a second more.
const SILENCE: Duration = Duration::from_secs(3);
const SILENCES: RangeInclusive<Duration> = Duration::from_secs(2)..=Duration::from_secs(30);
const RESOLVE: Duration = Duration::from_secs(5);
const DEFAULT_NAME: &str = "socketmesh";

#[cfg(test)]
mod tests {
    use super::*;

    fn secret() -> Secret {
        Secret::random().unwrap()
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
        for (bind, local) in
            [("0.0.0.0:0", "0.0.0.0:7946"), ("[::]:0", "[::]:7946"), ("10.9.8.7:0", "10.9.8.7:7946")]
        {
            let own = Cluster::bind(bind).seed("127.0.0.1:9").own_address(local.parse().unwrap()).unwrap();
            assert!(!own.first.ip().is_unspecified(), "{own:?}");
            assert_eq!(own.first.port(), 7946);
        }
        let local = SocketAddr::from(([127, 0, 0, 2], 7946));
        assert_eq!(Cluster::bind("127.0.0.2:0").own_address(local).unwrap().first, local);
        let told = Cluster::bind("0.0.0.0:0").advertise("10.1.2.3:4");
        let own = told.own_address(SocketAddr::from(([0, 0, 0, 0], 7946))).unwrap();
        assert_eq!(own.advertised, Some(SocketAddr::from(([10, 1, 2, 3], 4))));
    }

    #[test]
    fn an_address_that_nobody_can_dial_is_refused_by_name_before_the_node_starts() {
        for wrong in
            ["0.0.0.0:7164", "[::]:7164", "127.0.0.1:0", "10.0.0.1:0", "224.0.0.1:1", "255.255.255.255:1"]
        {
            let local = SocketAddr::from(([0, 0, 0, 0], 7946));
            let refused = Cluster::bind("0.0.0.0:0").advertise(wrong).own_address(local).unwrap_err();
            assert!(matches!(&refused, StartError::Advertise(text, _) if text == wrong), "{refused}");
        }
    }

    #[test]
    fn seeds_are_trimmed_and_what_is_no_host_and_port_is_refused_by_name() {
        let seeds = |seed: &str| Cluster::bind("127.0.0.1:0").seed(seed).trimmed_seeds();
        for (said, meant) in [
            (" nodes:7946", "nodes:7946"),
            ("10.0.0.1:1\r\n", "10.0.0.1:1"),
            ("[::1]:7946 ", "[::1]:7946"),
            ("chat_nodes.prod.svc.:65535", "chat_nodes.prod.svc.:65535"),
        ] {
            assert_eq!(seeds(said).unwrap(), [meant]);
        }
        let nonsense = [
            "",
            " ",
            "nodes",
            ":7946",
            "nodes:",
            "nodes:0",
            "nodes:65536",
            "nodes:http",
            "http://nodes:7946",
        ];
        for wrong in nonsense.into_iter().chain(["a:1,b:1", "a b:1", "::1:7946", "10.0.0.1:0", "[::1]"]) {
            let refused = seeds(wrong).unwrap_err();
            assert!(refused.to_string().contains(&format!("{:?}", wrong.trim())), "{refused}");
        }
    }

    #[tokio::test]
    async fn names_of_this_node_are_looked_up_before_it_starts_and_named_when_they_have_no_address() {
        let cluster = Cluster::bind(" localhost:0").advertise("localhost:7946\r").resolved().await.unwrap();
        let addresses = [Some(&cluster.bind), cluster.advertise.as_ref()].map(|text| text.unwrap().parse());
        assert!(
            addresses.into_iter().all(|address: Result<SocketAddr, _>| address.unwrap().ip().is_loopback())
        );
        let refused = Cluster::bind("127.0.0.1:0").advertise("nowhere").resolved().await.unwrap_err();
        assert!(matches!(&refused, StartError::Advertise(name, _) if name == "nowhere"), "{refused}");
    }

    #[test]
    fn an_id_is_made_up_when_none_is_given() {
        let id = |cluster: &Cluster| cluster.identity().unwrap().id().clone();
        let cluster = Cluster::bind("127.0.0.1:0").secret(secret());
        assert_ne!(id(&cluster), id(&cluster));
        assert_eq!(id(&cluster.node_id("a".parse().unwrap())).as_str(), "a");
    }
}
