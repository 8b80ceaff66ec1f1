//! What `login` of a namespace says about a client that may enter: how long it holds, and whose it is.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::admission::{Admitted, Data};

/// A client that may enter a namespace: the data of its socket, how long it may stay, and whose it is. What
/// [`Namespace::login`](crate::Namespace::login) returns.
///
/// ```
/// use std::time::Duration;
/// use socketmesh::{Handshake, Refusal, namespace, socket::Login};
///
/// # struct Token { user: u64, seconds_left: u64 }
/// # fn verify(_: &str) -> Option<Token> { None }
/// let chat = namespace("/chat").login(async |handshake: Handshake| {
///     let token = verify(&handshake.auth::<String>()?).ok_or(Refusal::new("unauthorized"))?;
///     Ok(Login::new(token.user).expires_in(Duration::from_secs(token.seconds_left)).user(token.user.to_string()))
/// });
/// ```
#[derive(Clone, PartialEq, Eq)]
#[must_use = "a login means something only if it is returned"]
pub struct Login<S> {
    data: S,
    lasts: Option<Duration>,
    user: Option<Arc<str>>,
}

impl<S> Login<S> {
    /// Lets the client in for as long as it wants. `data` becomes the [data](crate::Socket::data) of its socket.
    pub fn new(data: S) -> Self {
        Self { data, lasts: None, user: None }
    }

    /// Lets the client stay for that long, from now on. Then it is disconnected with the reason `login expired`, unless it has
    /// renewed its login: by an event ([`Socket::reauthenticate`](crate::Socket::reauthenticate)), or by another CONNECT.
    pub fn expires_in(self, time: Duration) -> Self {
        Self { lasts: Some(time), ..self }
    }

    /// Says whose login it is, by a key of the application's choice: [`Node::user`](crate::Node::user) finds the sockets of a key on
    /// every node. Keys are the same in all namespaces.
    pub fn user(self, key: impl Into<Arc<str>>) -> Self {
        Self { user: Some(key.into()), ..self }
    }
}

impl<S: Send + Sync + 'static> Login<S> {
    /// The same without the type of the data, from now on.
    pub(crate) fn begin(self) -> Admitted {
        let until = self.lasts.and_then(|lasts| Instant::now().checked_add(lasts));
        Admitted { data: Arc::new(self.data) as Data, until, user: self.user }
    }
}

impl<S> fmt::Debug for Login<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("lasts", &self.lasts).field("user", &self.user).finish_non_exhaustive()
    }
}
