//! The shipped `deploy/nginx.conf` before node processes on loopback, with Debian's nginx.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::Stdio,
};

use tokio::{
    net::TcpStream,
    process::{Child, Command},
};

use crate::{deadline::within, sources::root};

/// A running nginx, which ends with the value.
#[derive(Debug)]
pub struct Nginx {
    /// Where clients connect.
    pub addr: SocketAddr,
    folder: PathBuf,
    process: Child,
}

/// A request that nginx has passed on.
#[derive(Debug)]
pub struct Passed {
    /// Its method.
    pub method: String,
    /// Its path and query.
    pub uri: String,
    /// The nodes that nginx tried for it, with their answers.
    pub tries: Vec<(SocketAddr, u16)>,
}

impl Nginx {
    /// Starts nginx with the shipped file, in which only addresses are exchanged.
    ///
    /// # Panics
    /// nginx is missing, or does not start.
    pub async fn start(nodes: &[SocketAddr]) -> Self {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
        let addr = free.expect("a free port on loopback");
        let folder =
            std::env::temp_dir().join(format!("socketmesh-nginx-{}-{}", std::process::id(), addr.port()));
        fs::create_dir_all(&folder).expect("a folder for temporary files");
        // The workers of a master that is root are not.
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).expect("it is ours");
        let shipped = fs::read_to_string(root().join("deploy/nginx.conf")).expect("it is shipped");
        let conf = folder.join("nginx.conf");
        fs::write(&conf, on_loopback(&shipped, addr, nodes)).expect("a file can be written");
        let mut command = Command::new("nginx");
        command.arg("-p").arg(&folder).arg("-c").arg(&conf).args([
            "-e",
            "error.log",
            "-g",
            "daemon off; pid pid;",
        ]);
        command.stdin(Stdio::null());
        let process =
            command.spawn().unwrap_or_else(|error| panic!("nginx is needed for this test: {error}"));
        let nginx = Self { addr, folder, process };
        within("nginx to listen", async { while TcpStream::connect(addr).await.is_err() {} }).await;
        nginx
    }

    /// The requests whose connections have ended, in the order of their ends.
    ///
    /// # Panics
    /// The log is not in the form that this harness asks for.
    #[must_use]
    pub fn passed(&self) -> Vec<Passed> {
        let log = fs::read_to_string(self.folder.join("access.log")).expect("nginx has opened it");
        log.lines()
            .map(|line| Passed::parse(line).unwrap_or_else(|| panic!("a line of the log: {line}")))
            .collect()
    }

    /// What nginx complained about.
    #[must_use]
    pub fn errors(&self) -> String {
        fs::read_to_string(self.folder.join("error.log")).unwrap_or_default()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // SIGKILL would leave its workers behind.
        if let Some(pid) = self.process.id() {
            drop(std::process::Command::new("kill").args(["-s", "TERM", &pid.to_string()]).status());
        }
        drop(fs::remove_dir_all(&self.folder));
    }
}

impl Passed {
    fn parse(line: &str) -> Option<Self> {
        let [method, addresses, statuses, uri] = line.splitn(4, '|').collect::<Vec<_>>().try_into().ok()?;
        let addresses = addresses.split(", ").filter_map(|address| address.parse().ok());
        let statuses = statuses.split(", ").filter_map(|status| status.parse().ok());
        Some(Self {
            method: method.to_owned(),
            uri: uri.to_owned(),
            tries: addresses.zip(statuses).collect(),
        })
    }
}

/// The shipped file with other addresses, and with a log and temporary files of its own.
fn on_loopback(shipped: &str, addr: SocketAddr, nodes: &[SocketAddr]) -> String {
    let (mut conf, mut nodes, mut listens) = (String::new(), Some(nodes), false);
    for line in shipped.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        match words[..] {
            // Names are for the network of Docker: Debian's nginx cannot look them up again.
            ["server", name, ref options @ ..] if name.starts_with("node-") => {
                let options: Vec<_> = options.iter().copied().filter(|option| *option != "resolve").collect();
                for node in nodes.take().unwrap_or_default() {
                    conf += &format!("server {node} {}\n", options.join(" "));
                }
            }
            ["resolver", ..] => {}
            ["listen", "80;"] => {
                listens = true;
                conf += &format!("listen {addr};\n");
            }
            ["http", "{"] => conf += HTTP,
            _ => conf.extend([line, "\n"]),
        }
    }
    assert!(
        nodes.is_none() && listens && conf.contains(HTTP),
        "deploy/nginx.conf has another form:\n{shipped}"
    );
    conf
}

const HTTP: &str = "http {
log_format tried '$request_method|$upstream_addr|$upstream_status|$request_uri';
access_log access.log tried;
client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
";
