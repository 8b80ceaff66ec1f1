//! How clients get to the nodes of a test.

use serde::Serialize;

use super::client::Client;
use super::transport::Doors;
use crate::socket::Refusal;

/// A transport and the nodes it goes to.
#[derive(Clone)]
pub struct Entrance(pub(super) Way);

#[derive(Clone)]
pub(super) enum Way {
    WebSocket(Doors),
    Polling(Doors),
}

impl Entrance {
    /// Opens a session and enters a namespace; `auth` is what the client sends with it, `&()` nothing.
    ///
    /// # Errors
    ///
    /// What a client would see as `connect_error`: the refusal of the namespace's `auth`, or, in words, why no session
    /// could be opened (`503 Service Unavailable: …`).
    pub async fn connect(&self, path: &str, auth: &impl Serialize) -> Result<Client, Refusal> {
        // Requests of one client in turn, whatever others do.
        let way = match &self.0 {
            Way::WebSocket(doors) => Way::WebSocket(doors.copied()),
            Way::Polling(doors) => Way::Polling(doors.copied()),
        };
        Client::connect(way, path, auth).await
    }
}

impl std::fmt::Debug for Entrance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.0 {
            Way::WebSocket(_) => "Entrance(WebSocket)",
            Way::Polling(_) => "Entrance(Polling)",
        })
    }
}
