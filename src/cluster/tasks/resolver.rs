//! Looking up the names of seeds. The system's resolver blocks a thread for as long as it likes, up to a minute where no name
//! server answers: each look-up has one of the blocking pool, and `Control` begins one per name at a time.

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::ports::{ControlMessage, Ports};
use crate::cluster::control::LookupError;

/// Looks up the seed with this number. The control actor hears what came of it; and before that, if there is no answer in
/// time.
pub(crate) async fn look_up(ports: Arc<Ports>, seed: usize, name: String) {
    if let Ok(address) = name.parse() {
        return ports.tell_control(ControlMessage::Resolved(seed, vec![address]));
    }
    let asked = name.clone();
    let mut running = spawn_blocking(move || addresses(&asked));
    let ended = match timeout(PATIENCE, &mut running).await {
        Ok(ended) => ended,
        Err(_) => {
            report_failure(&ports, seed, &name, LookupError::NoAnswerYet);
            running.await
        }
    };
    match ended.unwrap_or_else(|panicked| Err(LookupError::Failed(panicked.to_string()))) {
        Ok(addresses) => ports.tell_control(ControlMessage::Resolved(seed, addresses)),
        Err(error) => report_failure(&ports, seed, &name, error),
    }
}

fn report_failure(ports: &Ports, seed: usize, name: &str, error: LookupError) {
    if ports.may_warn("look-up", name) {
        tracing::warn!(node = %ports.published.me.id, seed = name, %error, "the name of a seed gives no address");
    }
    ports.tell_control(ControlMessage::Unresolved(seed, error));
}

/// The addresses that a name stands for.
fn addresses(name: &str) -> Result<Vec<SocketAddr>, LookupError> {
    let found = name.to_socket_addrs().map_err(|error| LookupError::Failed(error.to_string()))?;
    let found: Vec<_> = found.take(MAX_ADDRESSES).collect();
    if found.is_empty() { Err(LookupError::Failed("the name has no address".to_owned())) } else { Ok(found) }
}

/// After this time the other seeds are tried without the addresses of this one.
const PATIENCE: Duration = Duration::from_secs(3);
/// Of a headless service with more nodes than that, these are enough.
const MAX_ADDRESSES: usize = 64;
