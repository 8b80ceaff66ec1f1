//! Sessions over polling by hand, one connection for each request: so what goes wrong is between the load balancer and the nodes, and
//! every request is counted.

use std::net::SocketAddr;

use cluster_tests::http::Call;
use cluster_tests::load_balancer::LoadBalancer;
use hyper::Method;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant, sleep};

use crate::End;

/// Clients that go on until they are stopped.
pub(crate) struct Counted {
    going: watch::Sender<bool>,
    clients: JoinSet<Vec<Request>>,
}

impl Counted {
    pub(crate) fn start(balancer: SocketAddr) -> Self {
        let (going, on) = watch::channel(true);
        let mut clients = JoinSet::new();
        for number in 0..RESIDENTS + NEWCOMERS {
            let client = Client { balancer, on: on.clone(), requests: Vec::new(), owner: String::new() };
            clients.spawn(client.go_on(number < RESIDENTS));
        }
        Self { going, clients }
    }

    pub(crate) async fn stop(self) -> Requests {
        self.going.send_replace(false);
        Requests(self.clients.join_all().await.into_iter().flatten().collect())
    }
}

/// What became of every request.
pub(crate) struct Requests(Vec<Request>);

impl Requests {
    pub(crate) fn summary(&self) -> String {
        let failed = self.0.iter().filter(|request| !request.went_well()).count();
        format!("{} requests, {failed} of them failed", self.0.len())
    }

    pub(crate) fn judge(&self, stopped: &End, killed: &End, repeats: bool, balancer: &LoadBalancer) {
        let own = |request: &&Request| {
            // Sessions of the stopped node are unknown from then on (400), and for a moment their owner is not reached (424).
            let of_the_stopped = request.owner == stopped.name && matches!(request.outcome, Ok(400 | 424));
            let of_the_killed = request.owner == killed.name && request.ended >= killed.between[0];
            let in_its_hands = request.sent <= killed.between[1] + READ && request.ended >= killed.between[0];
            of_the_stopped || of_the_killed || in_its_hands && (request.method == Method::POST || !repeats)
        };
        let failed = self.0.iter().filter(|request| !request.went_well());
        let (own, others): (Vec<_>, Vec<_>) = failed.partition(own);
        let others: Vec<_> = others.iter().map(|request| request.beside(stopped, killed)).collect();
        assert!(others.is_empty(), "{others:#?}\n{}", balancer.log());
        // Or nothing was tried.
        assert!(own.iter().any(|request| request.owner == killed.name), "nobody noticed the killed node");
        let after = self.0.iter().filter(|request| request.sent > killed.between[1]).count();
        assert!(self.0.len() > 300 && after > 100, "{} requests, {after} after the kill", self.0.len());
    }
}

#[derive(Debug)]
struct Request {
    method: Method,
    what: String,
    /// The node that answered the handshake, if there was one yet: the session is its.
    owner: String,
    sent: Instant,
    ended: Instant,
    outcome: Result<u16, String>,
    /// The body of an answer that is none of a session.
    said: String,
}

impl Request {
    fn went_well(&self) -> bool {
        self.outcome == Ok(200)
    }

    /// With its times after the ends of the two nodes.
    fn beside(&self, stopped: &End, killed: &End) -> String {
        let after = |at: Instant, end: &End| {
            let early = end.between[0].saturating_duration_since(at).as_secs_f64();
            at.saturating_duration_since(end.between[0]).as_secs_f64() - early
        };
        let [after_stop, after_kill] =
            [stopped, killed].map(|end| [after(self.sent, end), after(self.ended, end)]);
        let owner = match &self.owner {
            owner if *owner == stopped.name => "the stopped node",
            owner if *owner == killed.name => "the killed node",
            owner => owner,
        };
        format!(
            "{} {} of a session of {owner:?}: {:?} {:?}, from and to {after_stop:.3?} s after the stop, {after_kill:.3?} s after the kill",
            self.method, self.what, self.outcome, self.said
        )
    }
}

struct Client {
    balancer: SocketAddr,
    on: watch::Receiver<bool>,
    requests: Vec<Request>,
    owner: String,
}

impl Client {
    /// One session after the other: a resident stays in each until it fails.
    async fn go_on(mut self, resident: bool) -> Vec<Request> {
        while *self.on.borrow() {
            self.owner.clear();
            let ended = self.session(resident).await;
            if ended.is_none() {
                sleep(PAUSE).await;
            }
        }
        self.requests
    }

    /// A session until a request of it fails.
    async fn session(&mut self, resident: bool) -> Option<()> {
        let handshake = self.request(Method::GET, "handshake", "", "").await?;
        let sid = handshake.split_once(r#""sid":""#)?.1.split('"').next()?.to_owned();
        let query = format!("&sid={sid}");
        self.request(Method::POST, "connect", &query, "40").await?;
        self.wait_for(&query, "40").await?;
        let mut number = 0_u64;
        while resident && *self.on.borrow() {
            self.request(Method::POST, "event", &query, &format!(r#"42["mirror",{number}]"#)).await?;
            let echo = self.wait_for(&query, r#"42["mirrored","#).await?;
            assert_eq!(echo, format!("{number}]"), "each once and in order");
            number += 1;
            sleep(PAUSE).await;
        }
        self.request(Method::POST, "end", &query, "1").await?;
        sleep(PAUSE).await;
        Some(())
    }

    /// Polls until there is a packet with this beginning, and gives the rest of it. `None` if the session ends.
    async fn wait_for(&mut self, query: &str, beginning: &str) -> Option<String> {
        loop {
            let payload = self.request(Method::GET, "poll", query, "").await?;
            for packet in payload.split('\u{1e}') {
                match packet {
                    "1" => return None,
                    "2" => drop(self.request(Method::POST, "pong", query, "3").await?),
                    packet => {
                        if let Some(rest) = packet.strip_prefix(beginning) {
                            return Some(rest.to_owned());
                        }
                    }
                }
            }
        }
    }

    async fn request(&mut self, method: Method, what: &str, query: &str, body: &str) -> Option<String> {
        // Official clients stamp their GETs as well: so a poll that the load balancer repeats gets an answer that was lost once more.
        let uri = format!("/socket.io/?EIO=4&transport=polling{query}&t={}", self.requests.len());
        let sent = Instant::now();
        let call = Call::new(self.balancer, method.clone(), &uri).body(body.to_owned());
        let reply = call.start().await.try_reply().await;
        let (outcome, said) = match &reply {
            Ok(reply) => {
                if self.owner.is_empty() && reply.status() == 200 {
                    self.owner = reply.header("x-socketmesh-node").unwrap_or_default().to_owned();
                }
                (Ok(reply.status()), reply.text().to_owned())
            }
            Err(error) => (Err(error.to_string()), String::new()),
        };
        let (what, ended) = (what.to_owned(), Instant::now());
        let request =
            Request { method, what, owner: self.owner.clone(), sent, ended, outcome, said: said.clone() };
        let went_well = request.went_well();
        self.requests.push(request);
        went_well.then_some(said)
    }
}

/// When a load balancer on a busy machine has read that its connections to a killed node are closed: until then it may write to them.
const READ: Duration = Duration::from_secs(3);
const RESIDENTS: usize = 12;
const NEWCOMERS: usize = 3;
const PAUSE: Duration = Duration::from_millis(50);
