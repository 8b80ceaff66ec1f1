//! The program, `socketmesh serve`, as a process.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::process::{ExitStatus, Stdio};

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::deadline::within;
use crate::process::{self, Log};
use crate::webtransport::WebTransportTarget;

/// A running server.
#[derive(Debug)]
pub struct Server {
    child: Child,
    said: Option<Lines<BufReader<ChildStdout>>>,
    log: Log,
}

/// Where a server listens.
#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    /// For clients.
    pub clients: SocketAddr,
    /// For other nodes.
    pub mesh: Option<SocketAddr>,
    /// For operators.
    pub operators: Option<SocketAddr>,
}

impl Server {
    /// Starts a member of a cluster with this number in its name, and waits until it says where it listens. `seed` is another one.
    ///
    /// # Panics
    /// The program cannot be executed, or ends before.
    pub async fn member(
        program: &str,
        number: usize,
        seed: Option<SocketAddr>,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> (Self, Addresses) {
        let name = format!("node-{number}");
        let seed = seed.map(|seed| ["--seed".to_owned(), seed.to_string()]);
        let own = ["--mesh", "127.0.0.1:0", "--admin", "0", "--node-id", &name].map(str::to_owned);
        let all = own
            .into_iter()
            .chain(seed.into_iter().flatten())
            .chain(arguments.iter().map(ToString::to_string));
        let mut variables = variables.to_vec();
        variables.push(("SOCKETMESH_SECRET", "a secret of the tests, at least 32 bytes"));
        let mut server = Self::start(program, all, &variables);
        let addresses = server.addresses().await;
        (server, addresses)
    }

    /// Starts `socketmesh serve` on a free port, with these arguments and variables.
    ///
    /// # Panics
    /// The program cannot be executed.
    pub fn start(
        program: &str,
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
        variables: &[(&str, &str)],
    ) -> Self {
        let mut command = Command::new(program);
        command.args(["serve", "--http", "127.0.0.1:0"]).args(arguments).envs(variables.iter().copied());
        command.stdin(Stdio::null());
        Self::run(command)
    }

    /// Starts the server by a command of the test.
    ///
    /// # Panics
    /// The program cannot be executed.
    #[must_use]
    pub fn run(mut command: Command) -> Self {
        // Those of the tests themselves are unknown to the program.
        let own = std::env::vars_os().map(|(name, _)| name);
        for name in own.filter(|name| name.to_string_lossy().starts_with("SOCKETMESH_TEST_")) {
            command.env_remove(name);
        }
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().expect("the server can be executed");
        let said = child.stdout.take().map(|stdout| BufReader::new(stdout).lines());
        let log = Log::follow("server", child.stderr.take().expect("it is piped"));
        Self { child, said, log }
    }

    /// Waits until the server logs its addresses for clients and for other nodes.
    ///
    /// # Panics
    /// The server ends before.
    pub async fn listening(&mut self) -> (SocketAddr, Option<SocketAddr>) {
        let Addresses { clients, mesh, .. } = self.addresses().await;
        (clients, mesh)
    }

    /// Waits until the server logs its addresses.
    ///
    /// # Panics
    /// The server ends before.
    pub async fn addresses(&mut self) -> Addresses {
        let line = self.line("listening ").await;
        let field = |name| line.split(' ').find_map(|field| field.strip_prefix(name)?.parse().ok());
        Addresses {
            clients: field("http=").expect("an address for clients"),
            mesh: field("mesh="),
            operators: field("admin="),
        }
    }

    /// The id of its process.
    ///
    /// # Panics
    /// It has ended.
    #[must_use]
    pub fn process(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// Waits until the server logs its address for operators.
    ///
    /// # Panics
    /// The server ends before, or has none.
    pub async fn admin(&mut self) -> SocketAddr {
        self.addresses().await.operators.expect("an address for operators")
    }

    /// Waits until the server logs its WebTransport address and the hash of its own certificate.
    ///
    /// # Panics
    /// It ends before, or the log lines are malformed.
    pub async fn webtransport(&mut self) -> WebTransportTarget {
        let hashes = self.line("certificate sha256 hex=").await;
        let mut sha256 = [0; 32];
        for (n, byte) in sha256.iter_mut().enumerate() {
            let digits = hashes.get(2 * n..2 * n + 2).expect("two digits a byte");
            *byte = u8::from_str_radix(digits, 16).expect("hexadecimal digits");
        }
        let addr = self.line("webtransport=").await.parse().expect("an address");
        WebTransportTarget { addr, sha256 }
    }

    /// Waits until it is ready for clients.
    ///
    /// # Panics
    /// The server ends before.
    pub async fn ready(&mut self) {
        self.line("ready").await;
    }

    /// Waits until the server writes a line to stderr that contains `text`.
    ///
    /// # Panics
    /// There is no such line in time.
    pub async fn says(&mut self, text: &str) {
        self.log.says(text).await;
    }

    /// Tells the server to read its files again, and waits until it has read `what`.
    ///
    /// # Panics
    /// It cannot.
    pub async fn renewed(&mut self, what: &str) {
        let line = format!("read again what={what:?}");
        let before = self.log.text().matches(&line).count();
        self.signal("HUP").await.expect("it is sent");
        self.log.says_times(&line, before + 1).await;
    }

    /// Waits until the server ends, and returns what it wrote to standard error.
    ///
    /// # Panics
    /// It does not end in time.
    pub async fn log_of_its_life(mut self) -> String {
        within("the server to end", self.child.wait()).await.expect("it can be waited for");
        self.log.ended().await;
        self.log.text()
    }

    /// Closes this end of the pipes that the server writes to. Nothing that it says is seen any more.
    pub async fn close_pipes(&mut self) {
        self.said = None;
        self.log.close().await;
    }

    /// The id of its process, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Sends a signal, by its name without `SIG`.
    ///
    /// # Errors
    /// The command `kill` is missing, or it fails.
    pub async fn signal(&self, signal: &str) -> std::io::Result<()> {
        process::signal(&self.child, signal).await
    }

    /// Waits until the server ends.
    ///
    /// # Panics
    /// It does not end in time.
    pub async fn ended(mut self) -> ExitStatus {
        within("the server to end", self.child.wait()).await.expect("it can be waited for")
    }

    async fn line(&mut self, prefix: &str) -> String {
        let line = async {
            while let Some(said) = &mut self.said
                && let Ok(Some(line)) = said.next_line().await
            {
                if let Some(rest) = line.strip_prefix(prefix) {
                    return rest.to_owned();
                }
            }
            panic!("the server ended before it said {prefix:?}: {}", self.log.text())
        };
        within(format!("the server to say {prefix:?}"), line).await
    }
}
