//! Logins that end, and how they are renewed.

use std::future::Future;
use std::time::Duration;

use serde_json::Value;

use super::super::socket::Socket;
use super::handlers::AuthFn;
use super::{Namespace, NoHandlersYet};
use crate::socket::hub::{EventError, Handshake, Login, Refusal};

impl<Before, Stage> Namespace<Before, Stage> {
    /// Decides whether a client may connect, as [`auth`](Self::auth), and for how long: what it returns is a [`Login`], whose data
    /// become those of the socket.
    ///
    /// A login that ends takes its socket out of the namespace, with the reason `login expired`. [`on_expiring`](Self::on_expiring)
    /// warns the client before. It stays if it renews its login meanwhile, in one of two ways, both of which ask this function again:
    ///
    /// - by an event ([`renew_event`](Self::renew_event), or a handler with [`Socket::reauthenticate`]). A refusal is the answer to the
    ///   event, and changes nothing;
    /// - by another CONNECT with other credentials, which is answered as the first one, with the same id. If that is refused the client
    ///   is out at once, because this is what clients take CONNECT_ERROR for.
    ///
    /// ```
    /// use std::time::Duration;
    /// use socketmesh::{Handshake, Refusal, Socket, namespace, socket::Login};
    ///
    /// struct User { name: String }
    /// # fn verify(_: &str) -> Option<(User, Duration)> { None }
    ///
    /// let chat = namespace("/chat")
    ///     .login(async |handshake: Handshake| {
    ///         #[derive(serde::Deserialize)]
    ///         struct Auth { token: String }
    ///         let Auth { token } = handshake.auth()?;
    ///         let (user, valid_for) = verify(&token).ok_or(Refusal::new("unauthorized"))?;
    ///         Ok(Login::new(user).expires_in(valid_for))
    ///     })
    ///     .on_expiring(Duration::from_secs(30), async |socket: Socket<User>, left: Duration| {
    ///         Ok(socket.emit("renew, please", &left.as_secs())?)
    ///     })
    ///     .renew_event("renew");
    /// ```
    pub fn login<S, F, Fut>(self, login: F) -> Namespace<S>
    where
        Stage: NoHandlersYet,
        S: Send + Sync + 'static,
        F: FnOnce(Handshake) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<Login<S>, Refusal>> + Send + 'static,
    {
        let login: AuthFn<S> = Box::new(move |handshake| {
            let login = login.clone();
            Box::pin(async move { login(handshake).await })
        });
        self.asking(login)
    }
}

impl<S: Send + Sync + 'static, Stage> Namespace<S, Stage> {
    /// Runs once that long before the [login](Self::login) of a connected socket ends, or at once if it is shorter, with the time that
    /// is left: to warn the client. It runs in the order of the events, and once more after each renewal.
    pub fn on_expiring<F, Fut>(mut self, before: Duration, handler: F) -> Namespace<S>
    where
        F: FnOnce(Socket<S>, Duration) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<(), EventError>> + Send + 'static,
    {
        self.once("on_expiring", self.handlers.on_expiring.is_some());
        let handler = move |socket, left| Box::pin((handler.clone())(socket, left)) as _;
        self.handlers.on_expiring = Some((before, Box::new(handler)));
        self.settled()
    }

    /// Lets clients renew their [login](Self::login) by this event, whose argument is what they would say as `auth` when they connect:
    /// [`Socket::reauthenticate`]. The ack is empty, or the error `refused` with the message of the refusal.
    pub fn renew_event(self, event: &str) -> Namespace<S> {
        self.on(event, async move |socket: Socket<S>, auth: Value| Ok(socket.reauthenticate(&auth).await?))
    }
}
