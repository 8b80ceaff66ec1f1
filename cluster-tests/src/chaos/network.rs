//! A network of its own for every run: each node in a network namespace, with a device that leads to a switch.
//!
//! ```text
//!   namespace of node-0   10.77.0.1  e0 ┐
//!   namespace of node-1   10.77.0.2  e0 ┼── switch: loss, delay, cuts …      between nodes
//!   …                                e0 ┘
//!                         10.78.0.1  c0 ─── bridge in the clients' namespace  from clients to nodes, never disturbed
//! ```

pub mod link;
mod packet;
pub mod switch;

use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use self::link::Condition;
use self::switch::{Port, Switch};

/// The namespaces of a run, and the switch between them. Dropping it removes them.
#[derive(Debug)]
pub struct Network {
    spaces: Spaces,
    switch: Switch,
    nodes: usize,
}

/// Namespaces that are removed again.
#[derive(Debug)]
struct Spaces {
    prefix: String,
    names: Vec<String>,
}

impl Network {
    /// Makes a namespace for each of `nodes`, and one for their clients. With `inside` every node has that one address, which
    /// the switch translates, as in containers on several hosts.
    ///
    /// # Errors
    /// The process is not root, or the machine lacks `/dev/net/tun` or the command `ip`.
    pub fn start(nodes: usize, inside: Option<Ipv4Addr>, seed: u64) -> io::Result<Self> {
        check_rights()?;
        remove_leftovers();
        let mut spaces = Spaces::new();
        let clients = spaces.add(CLIENTS)?;
        ip(&[
            format!("-n {clients} link set lo up"),
            format!("-n {clients} link add b0 type bridge"),
            format!("-n {clients} addr add {}/24 dev b0", clients_address()),
            format!("-n {clients} link set b0 up"),
        ])?;
        let mut ports = Vec::new();
        for node in 0..nodes {
            let space = spaces.add(&node.to_string())?;
            ports.push(Port { device: device_in(&space)?, address: mesh_address(node), inside });
            configure(&space, &clients, node, inside)?;
        }
        let device = device_in(&clients)?;
        up(&clients, balancer_address())?;
        ports.push(Port { device, address: balancer_address(), inside: None });
        Ok(Self { spaces, switch: Switch::start(ports, seed)?, nodes })
    }

    /// The switch. The ports are the nodes by number, and then the clients.
    #[must_use]
    pub const fn switch(&self) -> &Switch {
        &self.switch
    }

    /// Everything passes everywhere.
    pub fn heal(&self) {
        for from in 0..=self.nodes {
            for to in 0..=self.nodes {
                self.switch.set(from, to, Condition::PERFECT);
            }
        }
    }

    /// The namespace of a node.
    #[must_use]
    pub fn space_of(&self, node: usize) -> String {
        self.spaces.name(&node.to_string())
    }

    /// The namespace of the clients.
    #[must_use]
    pub fn space_of_clients(&self) -> String {
        self.spaces.name(CLIENTS)
    }

    /// Gives what is started in the namespaces of the nodes a name server.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn set_resolver(&self, server: IpAddr) -> io::Result<()> {
        for node in 0..self.nodes {
            let folder = Path::new(CONFIGURATION).join(self.space_of(node));
            fs::create_dir_all(&folder)?;
            let text = format!("nameserver {server}\noptions timeout:2 attempts:2\n");
            fs::write(folder.join("resolv.conf"), text)?;
        }
        Ok(())
    }
}

/// Moves the calling thread into a namespace.
///
/// # Errors
/// There is none of this name.
pub fn enter(space: &str) -> io::Result<()> {
    netns::enter(&File::open(Path::new(SPACES).join(space))?)
}

/// Where other nodes reach a node.
#[must_use]
pub fn mesh_address(node: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, last(node))
}

/// Where clients reach a node.
#[must_use]
pub fn http_address(node: usize) -> SocketAddr {
    SocketAddr::new(Ipv4Addr::new(10, 78, 0, last(node)).into(), 3000)
}

/// Where the clients are, as nodes see them.
#[must_use]
pub fn clients_address() -> Ipv4Addr {
    Ipv4Addr::new(10, 78, 0, 254)
}

/// An address in the network between the nodes that leads to the clients' namespace.
#[must_use]
pub fn balancer_address() -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, 254)
}

fn last(node: usize) -> u8 {
    u8::try_from(node + 1).unwrap_or(u8::MAX)
}

impl Spaces {
    fn new() -> Self {
        static RUNS: AtomicUsize = AtomicUsize::new(0);
        let run = RUNS.fetch_add(1, Ordering::Relaxed);
        Self { prefix: format!("{PREFIX}{}-{run}", std::process::id()), names: Vec::new() }
    }

    fn name(&self, of: &str) -> String {
        format!("{}-{of}", self.prefix)
    }

    fn add(&mut self, of: &str) -> io::Result<String> {
        let name = self.name(of);
        ip(&[format!("netns add {name}")])?;
        self.names.push(name.clone());
        Ok(name)
    }
}

impl Drop for Spaces {
    fn drop(&mut self) {
        self.names.iter().for_each(|name| remove(name));
    }
}

fn remove(space: &str) {
    // Nothing can be done about a namespace that stays; the next run tries again.
    ip(&[format!("netns del {space}")]).ok();
    fs::remove_dir_all(Path::new(CONFIGURATION).join(space)).ok();
}

/// Removes the namespaces of runs that were killed.
fn remove_leftovers() {
    let spaces = fs::read_dir(SPACES).into_iter().flatten().flatten();
    for space in spaces.filter_map(|entry| entry.file_name().into_string().ok()) {
        let run = space.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        if run.is_some_and(|process| !Path::new("/proc").join(process).exists()) {
            remove(&space);
        }
    }
}

fn check_rights() -> io::Result<()> {
    let refused = |what: &str| io::Error::new(io::ErrorKind::PermissionDenied, what.to_owned());
    let status = fs::read_to_string("/proc/self/status")?;
    let effective = status.lines().find_map(|line| line.strip_prefix("Uid:")?.split_whitespace().nth(1));
    if effective != Some("0") {
        return Err(refused("network namespaces need root"));
    }
    let device = File::options().read(true).write(true).open("/dev/net/tun");
    device.map(drop).map_err(|error| refused(&format!("/dev/net/tun: {error}")))
}

/// Makes the device `e0` in a namespace, from a thread that enters it and ends.
fn device_in(space: &str) -> io::Result<File> {
    let space = space.to_owned();
    let made = thread::spawn(move || {
        enter(&space)?;
        netns::tun("e0")
    });
    made.join().unwrap_or_else(|_| Err(io::Error::other("the thread that makes a device panicked")))
}

fn configure(space: &str, clients: &str, node: usize, inside: Option<Ipv4Addr>) -> io::Result<()> {
    let http = http_address(node).ip();
    up(space, inside.unwrap_or_else(|| mesh_address(node)))?;
    ip(&[
        format!("-n {space} link set lo up"),
        format!("-n {space} link add c0 type veth peer name v{node} netns {clients}"),
        format!("-n {space} addr add {http}/24 dev c0"),
        format!("-n {space} link set c0 up"),
        format!("-n {clients} link set v{node} master b0 up"),
    ])
}

/// Gives the device `e0` an address, and the way to all others.
fn up(space: &str, address: Ipv4Addr) -> io::Result<()> {
    ip(&[
        format!("-n {space} addr add {address}/32 dev e0"),
        format!("-n {space} link set e0 mtu 1500 up"),
        format!("-n {space} route add 10.77.0.0/24 dev e0 src {address}"),
    ])
}

/// Runs the command `ip` with each of these arguments.
fn ip(commands: &[String]) -> io::Result<()> {
    for arguments in commands {
        let mut command = Command::new("ip");
        command.args(arguments.split(' ')).stdin(Stdio::null()).stdout(Stdio::null());
        let done = command.stderr(Stdio::piped()).output()?;
        if !done.status.success() {
            let said = String::from_utf8_lossy(&done.stderr);
            return Err(io::Error::other(format!("ip {arguments}: {}", said.trim())));
        }
    }
    Ok(())
}

/// What the names of all namespaces begin with; the id of the process follows.
const PREFIX: &str = "smchaos";
const CLIENTS: &str = "c";
const SPACES: &str = "/run/netns";
/// What is here for a namespace stands in for the files of `/etc` there.
const CONFIGURATION: &str = "/etc/netns";

#[cfg(all(test, feature = "networks"))]
mod tests;
