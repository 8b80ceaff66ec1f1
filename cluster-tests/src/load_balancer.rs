//! The load balancers that `deploy` has files for, really started before nodes on loopback.

use std::fs::{self, File, Permissions};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use hyper::Method;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::sync::OnceCell;
use tokio::time::{sleep, timeout};

use crate::http::Call;
use crate::python;
use crate::sources::root;

/// A running load balancer, which ends with the value.
#[derive(Debug)]
pub struct LoadBalancer {
    /// Where clients connect.
    pub addr: SocketAddr,
    folder: PathBuf,
    process: Child,
}

/// Which program. nginx, HAProxy, Apache and Caddy are Debian's packages; PyPI has wheels with Traefik and Envoy.
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs, reason = "they are names")]
pub enum Program {
    Nginx,
    Haproxy,
    Apache,
    Caddy,
    Traefik,
    Envoy,
}

impl LoadBalancer {
    /// Starts one with a file of `deploy/round-robin`, in which only addresses are exchanged: `node-1` and so on are these nodes.
    ///
    /// # Panics
    /// The program is missing, the file has another form, or nothing listens in time.
    pub async fn start(program: Program, file: &str, nodes: &[SocketAddr]) -> Self {
        let hosts: Vec<_> = (1..=nodes.len()).map(|number| format!("node-{number}")).collect();
        let hosts: Vec<_> = hosts.iter().map(String::as_str).collect();
        Self::start_with(program, &format!("round-robin/{file}"), &hosts, nodes, &[]).await
    }

    /// Starts one with another file of `deploy` and more exchanges in it. `hosts` are the names of the nodes in the file, which may name
    /// fewer nodes; none for a file that asks a name server.
    ///
    /// # Panics
    /// As [`Self::start`].
    pub async fn start_with(
        program: Program,
        file: &str,
        hosts: &[&str],
        nodes: &[SocketAddr],
        exchanges: &[(&str, &str)],
    ) -> Self {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
        let addr = free.expect("a free port on loopback");
        let folder = temporary(addr);
        let file = root().join("deploy").join(file);
        let mut text = at_nodes(&read(&file), hosts, nodes);
        if matches!(program, Program::Nginx) {
            // Debian's cannot look names up again.
            text = text.replace(" resolve ", " ").replace("resolver ", "# resolver ");
        }
        let own = program.exchanges(addr);
        let own = own.iter().map(|(from, to)| (*from, to.as_str()));
        for (from, to) in own.chain(exchanges.iter().copied()) {
            text = exchange(&text, from, to);
        }
        let config = folder.join(file.file_name().expect("the name of a file"));
        write(&config, &text);
        let mut command = program.command(&folder, &config, addr).await;
        if matches!(program, Program::Traefik) {
            let entry = exchange(&read(&file.with_file_name("traefik.yaml")), ":80", &addr.to_string());
            let entry = exchange(&entry, "/etc/traefik/traefik-routes.yaml", &config.to_string_lossy());
            write(&folder.join("traefik.yaml"), &entry);
        }
        let log = File::create(folder.join("log")).expect("a file can be written");
        let copy = log.try_clone().expect("an open file");
        command.current_dir(&folder).stdin(Stdio::null()).stdout(log).stderr(copy);
        let process =
            command.spawn().unwrap_or_else(|error| panic!("{program:?} is needed for this test: {error}"));
        let balancer = Self { addr, folder, process };
        let listening = async {
            while TcpStream::connect(addr).await.is_err() {
                sleep(PAUSE).await;
            }
        };
        if timeout(START, listening).await.is_err() {
            panic!("{program:?} does not listen: {}", balancer.log());
        }
        balancer
    }

    /// Waits until it passes requests on: a path is answered with 200.
    ///
    /// # Panics
    /// It does not in time.
    pub async fn serves(&self, path: &str) {
        let asking = async {
            while Call::new(self.addr, Method::GET, path).send().await.status() != 200 {
                sleep(PAUSE).await;
            }
        };
        if timeout(START, asking).await.is_err() {
            panic!("it does not serve {path}: {}", self.log());
        }
    }

    /// A file that its configuration has it write.
    #[must_use]
    pub fn file(&self, name: &str) -> String {
        fs::read_to_string(self.folder.join(name)).unwrap_or_default()
    }

    /// What it wrote.
    #[must_use]
    pub fn log(&self) -> String {
        let logs = ["log", "error.log"].map(|name| fs::read_to_string(self.folder.join(name)));
        logs.into_iter().flatten().collect()
    }
}

impl Drop for LoadBalancer {
    fn drop(&mut self) {
        // SIGKILL would leave workers behind.
        if let Some(pid) = self.process.id() {
            drop(std::process::Command::new("kill").args(["-s", "TERM", &pid.to_string()]).status());
        }
        drop(fs::remove_dir_all(&self.folder));
    }
}

impl Program {
    /// What a test on loopback says in place of what the file says.
    fn exchanges(self, addr: SocketAddr) -> Vec<(&'static str, String)> {
        match self {
            Self::Nginx => vec![
                ("listen 80;", format!("listen {addr};")),
                ("/tmp/nginx.pid", "pid".to_owned()),
                ("http {", NGINX.to_owned()),
            ],
            Self::Haproxy => vec![("bind :80", format!("bind {addr}"))],
            Self::Apache => vec![("*:80", addr.to_string())],
            Self::Caddy => vec![("\n:80 {", format!("\n{{\n\tadmin off\n}}\nhttp://{addr} {{"))],
            Self::Traefik => vec![],
            Self::Envoy => {
                let at = format!("address: {}, port_value: {} ", addr.ip(), addr.port());
                vec![("address: 0.0.0.0, port_value: 80 ", at)]
            }
        }
    }

    async fn command(self, folder: &Path, config: &Path, addr: SocketAddr) -> Command {
        let (program, arguments): (PathBuf, &[&str]) = match self {
            Self::Nginx => ("nginx".into(), &["-e", "error.log", "-g", "daemon off;", "-c"]),
            Self::Haproxy => ("haproxy".into(), &["-db", "-f"]),
            Self::Apache => ("apache2".into(), &["-DFOREGROUND", "-f"]),
            Self::Caddy => ("caddy".into(), &["run", "--adapter", "caddyfile", "--config"]),
            Self::Traefik => (packages().await.join("bin/traefik"), &["--configFile"]),
            Self::Envoy => (packages().await.join("envoy/_bin/envoy"), &["--disable-hot-restart", "-c"]),
        };
        let mut command = Command::new(program);
        command.args(arguments);
        match self {
            Self::Nginx => command.arg(config).arg("-p").arg(folder),
            Self::Haproxy | Self::Envoy => command.arg(config),
            Self::Caddy => command.arg(config).env("HOME", folder),
            Self::Traefik => command.arg(folder.join("traefik.yaml")),
            Self::Apache => {
                let main = folder.join("apache2.conf");
                write(&main, &format!("{APACHE}Listen {addr}\nInclude {}\n", config.display()));
                command.arg(main).arg("-d").arg(folder)
            }
        };
        command
    }
}

/// The file with one line for each node where it has one for the first host, and none where it has one for another.
fn at_nodes(file: &str, hosts: &[&str], nodes: &[SocketAddr]) -> String {
    let Some((first, others)) = hosts.split_first() else { return file.to_owned() };
    let mut text = String::new();
    for line in file.lines() {
        if line.contains(first) {
            for (host, node) in hosts.iter().zip(nodes) {
                let envoy = format!("address: {}, port_value: {} ", node.ip(), node.port());
                let line = line.replace(&format!("address: {first}, port_value: 3000 "), &envoy);
                let line = line.replace(&format!("{first}:3000"), &node.to_string());
                text.extend([&line.replace(first, host), "\n"]);
            }
        } else if !others.iter().any(|other| line.contains(other)) {
            text.extend([line, "\n"]);
        }
    }
    assert!(nodes.iter().all(|node| text.contains(&node.port().to_string())), "it has another form:\n{file}");
    text
}

fn exchange(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "it has another form, without {from:?}:\n{text}");
    text.replace(from, to)
}

/// Where the wheels with Traefik and Envoy are.
async fn packages() -> PathBuf {
    static INSTALLED: OnceCell<()> = OnceCell::const_new();
    let folder = root().join("cluster-tests/load-balancers");
    let (requirements, packages) = (folder.join("requirements.txt"), folder.join("packages"));
    INSTALLED.get_or_init(|| python::install(&requirements, &packages)).await;
    packages
}

fn temporary(addr: SocketAddr) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("socketmesh-{}-{}", std::process::id(), addr.port()));
    fs::create_dir_all(&folder).expect("a folder for temporary files");
    // The workers of a master that is root are not.
    fs::set_permissions(&folder, Permissions::from_mode(0o777)).expect("it is ours");
    folder
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|error| panic!("{} is shipped: {error}", file.display()))
}

fn write(file: &Path, text: &str) {
    fs::write(file, text).expect("a file can be written");
}

const NGINX: &str = "http {
access_log off;
client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
";
/// What Debian's Apache has in other files.
const APACHE: &str = "\
DefaultRuntimeDir .
PidFile pid
ErrorLog error.log
ServerName localhost
User www-data
Group www-data
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule proxy_module /usr/lib/apache2/modules/mod_proxy.so
LoadModule proxy_http_module /usr/lib/apache2/modules/mod_proxy_http.so
LoadModule slotmem_shm_module /usr/lib/apache2/modules/mod_slotmem_shm.so
LoadModule proxy_balancer_module /usr/lib/apache2/modules/mod_proxy_balancer.so
LoadModule lbmethod_byrequests_module /usr/lib/apache2/modules/mod_lbmethod_byrequests.so
LoadModule proxy_hcheck_module /usr/lib/apache2/modules/mod_proxy_hcheck.so
";
const PAUSE: Duration = Duration::from_millis(20);
/// Caddy and Traefik take a while on a busy machine.
const START: Duration = Duration::from_secs(20);
