//! The handshake of a client with a namespace.

use std::sync::Arc;

use bytestring::ByteString;
use serde::de::DeserializeOwned;

use super::error::Refusal;
use crate::engine;
use crate::socket::messages::RemoteHandshake;
use crate::socket::protocol::ArgsError;

/// The HTTP request that opened the session, and the auth payload for this namespace. Node: `socket.handshake`.
///
/// Headers and query are those of the first HTTP request of the session, and the same in all its namespaces.
///
/// ```
/// # fn f(socket: socketmesh::Socket) {
/// let handshake = socket.handshake();
/// println!("{} came from {:?}", socket.id(), handshake.request().address());
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Handshake {
    namespace: Arc<str>,
    request: Arc<engine::Handshake>,
    auth: Option<ByteString>,
}

impl Handshake {
    pub(crate) fn new(
        namespace: Arc<str>,
        request: Arc<engine::Handshake>,
        auth: Option<ByteString>,
    ) -> Self {
        Self { namespace, request, auth }
    }

    /// The same with another auth payload.
    pub(crate) fn with_auth(&self, auth: Option<ByteString>) -> Self {
        Self { auth, ..self.clone() }
    }

    /// Whether the payload has this text in it.
    pub(crate) fn says(&self, text: &str) -> bool {
        self.auth.as_deref().is_some_and(|auth| auth.contains(text))
    }

    /// The path of the namespace that the client asks for.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The first HTTP request of the session: headers, query, address.
    pub fn request(&self) -> &engine::Handshake {
        &self.request
    }

    /// The auth payload (`auth` in the client's options) as `T`; `{}` if the client sent none.
    ///
    /// # Errors
    ///
    /// A [`Refusal`] with the message `invalid auth`, if the payload is not a `T`. A namespace's `auth` can return it with
    /// `?`.
    ///
    /// ```
    /// # use socketmesh::{Handshake, Refusal};
    /// #[derive(serde::Deserialize)]
    /// struct Login { token: String }
    ///
    /// async fn login(handshake: Handshake) -> Result<String, Refusal> {
    ///     let Login { token } = handshake.auth()?;
    ///     if token == "secret" { Ok(token) } else { Err(Refusal::new("unauthorized")) }
    /// }
    /// ```
    pub fn auth<T: DeserializeOwned>(&self) -> Result<T, Refusal> {
        let auth = self.auth.as_deref().unwrap_or("{}");
        serde_json::from_str(auth).map_err(|error| Refusal::invalid_auth(ArgsError::argument(0, error)))
    }
}

impl From<&Handshake> for RemoteHandshake {
    fn from(handshake: &Handshake) -> Self {
        let request = handshake.request();
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        let headers = request.headers().iter();
        Self {
            headers: headers.map(|(name, value)| (name.to_string(), text(value.as_bytes()))).collect(),
            query: request.query().map(|(key, value)| (key.into_owned(), value.into_owned())).collect(),
            url: request.url().to_owned(),
            address: request.address(),
            secure: request.secure(),
            issued: Self::issued_at(Self::issued_millis(request.issued())),
            auth: handshake.auth().unwrap_or_default(),
        }
    }
}
