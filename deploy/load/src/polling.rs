//! A session over HTTP long-polling: one request that waits, and others that send.

use std::cell::Cell;
use std::io;

use tokio::sync::Mutex;

use crate::http::Http;
use crate::options::Server;
use crate::plan::Target;

/// A session over polling. Every address has one connection for requests that wait and one for those that send.
#[derive(Debug)]
pub(crate) struct Polling {
    target: Target,
    session: String,
    /// The address of the next request.
    turn: Cell<usize>,
    waiting: Lanes,
    sending: Lanes,
}

/// The connection to each address that has one.
type Lanes = Vec<Mutex<Option<Http>>>;

/// Opens a session. Returns it with the packets that came with the handshake, and the id of the session.
pub(crate) async fn open(target: Target) -> io::Result<(Polling, Vec<u8>)> {
    let lanes = || target.common.servers.iter().map(|_| Mutex::new(None)).collect();
    let (waiting, sending, turn) = (lanes(), lanes(), Cell::new(target.home));
    let polling = Polling { target, session: String::new(), turn, waiting, sending };
    let packets = polling.get().await?;
    Ok((polling, packets))
}

impl Polling {
    /// All other requests are of this session.
    pub(crate) fn name(&mut self, session: &str) {
        self.session = format!("&sid={session}");
    }

    /// Waits for packets: joined by [`SEPARATOR`].
    pub(crate) async fn get(&self) -> io::Result<Vec<u8>> {
        self.ask(&self.waiting, "GET", b"").await
    }

    /// Sends packets, joined in the same way.
    pub(crate) async fn post(&self, packets: &[u8]) -> io::Result<()> {
        self.ask(&self.sending, "POST", packets).await.map(drop)
    }

    async fn ask(&self, lanes: &Lanes, method: &str, body: &[u8]) -> io::Result<Vec<u8>> {
        let Target { common, home } = &self.target;
        let index = if common.not_sticky { self.turn.get() % lanes.len() } else { *home };
        self.turn.set(index + 1);
        let (Some(server), Some(lane)) = (common.servers.get(index), lanes.get(index)) else {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        };
        let mut request = self.head(server, method, body.len());
        request.extend_from_slice(body);
        let mut lane = lane.lock().await;
        let answer = loop {
            let (mut http, is_new) = match lane.take() {
                Some(http) => (http, false),
                None => (Http::connect(server).await?, true),
            };
            match http.request(&request).await {
                Ok(answer) => {
                    *lane = Some(http);
                    break answer;
                }
                // Servers close connections that are idle, also just now.
                Err(error) if error.kind() == io::ErrorKind::NotConnected && !is_new => {}
                Err(error) => return Err(error),
            }
        };
        if answer.status != 200 {
            let said = String::from_utf8_lossy(&answer.body).into_owned();
            return Err(io::Error::other(format!("{method} was answered with {}: {said}", answer.status)));
        }
        Ok(answer.body)
    }

    fn head(&self, Server { host, .. }: &Server, method: &str, length: usize) -> Vec<u8> {
        let (path, session) = (&self.target.common.path, &self.session);
        let body = match method {
            "POST" => format!("Content-Type: text/plain;charset=UTF-8\r\nContent-Length: {length}\r\n"),
            _ => String::new(),
        };
        format!("{method} {path}?EIO=4&transport=polling{session} HTTP/1.1\r\nHost: {host}\r\n{body}\r\n")
            .into_bytes()
    }
}

/// Stands between two packets of a request or an answer.
pub(crate) const SEPARATOR: u8 = 0x1e;
