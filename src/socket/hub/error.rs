//! Why handlers and clients do not get what they asked for, and why sockets end.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;

use serde::Serialize;
use serde_json::{Value, json};

use crate::engine::{CloseReason, Protocol};
use crate::socket::protocol::{ArgsError, EncodeError, RawArgs};

/// What a handler returns. The value is sent as the client's ack; of an error the client gets code and message
/// ([`EventError`]).
///
/// ```
/// use socketmesh::{EventError, Result, Socket};
///
/// async fn half(_: Socket, number: u32) -> Result<u32> {
///     if number % 2 == 0 { Ok(number / 2) } else { Err(EventError::new("odd", "an even number, please")) }
/// }
/// let math = socketmesh::namespace("/math").on("half", half);
/// ```
pub type Result<T, E = EventError> = std::result::Result<T, E>;

/// Why a handler failed on an event.
///
/// A client that asked for an ack gets `[{"error":{"code":…,"message":…}}]`, with `"data":…` if there is any. With
/// [`EventError::new`], code and message are the handler's own. From any other error, `?` makes the code `internal` and the
/// message `internal error`; the error itself goes to the log only. From a [`Refusal`], `?` makes the code `refused` and
/// keeps message and data. Node has no form for a failure.
///
/// It does not implement [`std::error::Error`], so that `?` can turn every error into it. An error type of your own that
/// clients should see as it is has to implement `From` into this one, and for the same reason not `std::error::Error`:
///
/// ```
/// use socketmesh::{EventError, Result, Socket, namespace};
///
/// enum Order { Gone, Short { left: u32 } }
///
/// impl From<Order> for EventError {
///     fn from(order: Order) -> Self {
///         match order {
///             Order::Gone => Self::new("gone", "not sold any more"),
///             Order::Short { left } => Self::new("short", "not enough left").with_data(left),
///         }
///     }
/// }
///
/// fn reserve(count: u32) -> Result<(), Order> {
///     if count == 0 { Err(Order::Gone) } else if count > 3 { Err(Order::Short { left: 3 }) } else { Ok(()) }
/// }
///
/// let shop = namespace("/shop").on("order", async |_: Socket, count: u32| Ok(reserve(count)?));
/// ```
pub struct EventError {
    code: Cow<'static, str>,
    message: Cow<'static, str>,
    data: Option<Value>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl EventError {
    /// Makes an error whose code and message the client sees.
    pub fn new(code: impl Into<Cow<'static, str>>, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code: code.into(), message: message.into(), data: None, source: None }
    }

    /// Adds what the client sees as `error.data`. A value that JSON cannot express (a map whose keys are not strings) is left
    /// out; bytes become arrays of numbers.
    #[must_use]
    pub fn with_data(self, data: impl Serialize) -> Self {
        Self { data: serde_json::to_value(data).ok(), ..self }
    }

    /// The arguments did not decode: the client is told where, and what was expected there, without names of the application.
    pub(crate) fn invalid_arguments(error: ArgsError) -> Self {
        Self::new("invalid_arguments", without_type_names(&error.to_string())).caused_by(error)
    }

    /// The kind of error, for programs.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// What happened, for people.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What the client gets in addition to code and message.
    pub fn data(&self) -> Option<&Value> {
        self.data.as_ref()
    }

    /// The error behind it, which no client sees.
    pub fn source(&self) -> Option<&(dyn Error + Send + Sync + 'static)> {
        self.source.as_deref()
    }

    /// The ack that a client gets instead of the handler's value.
    pub(crate) fn to_args(&self) -> RawArgs {
        let mut error = json!({ "code": self.code, "message": self.message });
        if let (Some(data), Value::Object(error)) = (&self.data, &mut error) {
            error.insert("data".to_owned(), data.clone());
        }
        RawArgs::from_value(&json!({ "error": error }))
    }

    /// What clients are told of errors that are none of their business.
    pub(crate) fn internal() -> Self {
        Self::new("internal", "internal error")
    }

    fn caused_by(self, error: impl Error + Send + Sync + 'static) -> Self {
        Self { source: Some(Box::new(error)), ..self }
    }
}

impl<E: Error + Send + Sync + 'static> From<E> for EventError {
    fn from(error: E) -> Self {
        Self::internal().caused_by(error)
    }
}

impl From<Refusal> for EventError {
    /// The client sees the code `refused`, and message and data of the refusal.
    fn from(Refusal { message, data, source }: Refusal) -> Self {
        Self { code: "refused".into(), message, data, source }
    }
}

impl fmt::Display for EventError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl fmt::Debug for EventError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)?;
        write_chain(f, self.source.as_deref().map(|source| source as &dyn Error))
    }
}

/// Why a client may not enter a namespace. It is sent as CONNECT_ERROR `{"message":…,"data":…}`.
///
/// The client keeps its connection and may try again. From any other error, `?` makes a refusal with the message
/// `internal error`; the error itself goes to the log only. Node: the error that a middleware passes to `next`.
///
/// ```
/// use socketmesh::{Handshake, Refusal, namespace};
///
/// async fn guests(_: Handshake) -> Result<(), Refusal> {
///     Err(Refusal::new("closed").with_data(serde_json::json!({ "opens": "09:00" })))
/// }
/// let shop = namespace("/shop").auth(guests);
/// ```
pub struct Refusal {
    message: Cow<'static, str>,
    data: Option<Value>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl Refusal {
    /// Makes a refusal whose message the client sees as `err.message`.
    pub fn new(message: impl Into<Cow<'static, str>>) -> Self {
        Self { message: message.into(), data: None, source: None }
    }

    /// Adds what the client sees as `err.data`. A value that JSON cannot express (a map whose keys are not strings) is
    /// left out.
    #[must_use]
    pub fn with_data(self, data: impl Serialize) -> Self {
        Self { data: serde_json::to_value(data).ok(), ..self }
    }

    /// Nothing describes the namespace that the client asks for. As in Node, clients of Engine.IO 3 get an object for this, and
    /// for other refusals the bare message.
    pub(crate) fn invalid_namespace(protocol: Protocol) -> Self {
        const MESSAGE: &str = "Invalid namespace";
        let refusal = Self::new(MESSAGE);
        match protocol {
            Protocol::V3 => refusal.with_data(json!({ "message": MESSAGE })),
            Protocol::V4 => refusal,
        }
    }

    /// The client's `auth` is not of the type that was asked for.
    pub(crate) fn invalid_auth(error: ArgsError) -> Self {
        Self { source: Some(Box::new(error)), ..Self::new("invalid auth") }
    }

    /// What the client sees as `err.message`.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What the client sees as `err.data`.
    pub fn data(&self) -> Option<&Value> {
        self.data.as_ref()
    }

    /// The error behind it, which no client sees.
    pub fn source(&self) -> Option<&(dyn Error + Send + Sync + 'static)> {
        self.source.as_deref()
    }
}

impl<E: Error + Send + Sync + 'static> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self { source: Some(Box::new(error)), ..Self::new("internal error") }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)?;
        write_chain(f, self.source.as_deref().map(|source| source as &dyn Error))
    }
}

/// Writes an error and everything that caused it, as one line of a log.
fn write_chain(f: &mut fmt::Formatter<'_>, error: Option<&dyn Error>) -> fmt::Result {
    let mut next = error;
    while let Some(error) = next {
        write!(f, ": {error}")?;
        next = error.source();
    }
    Ok(())
}

/// Why an emit with ack has no reply, or an [`Ack`](crate::Ack) was not sent.
///
/// ```
/// # use socketmesh::{AckError, Socket};
/// # async fn f(socket: Socket) -> socketmesh::Result<()> {
/// match socket.emit_with_ack("ready?", &()).await {
///     Ok(true) => socket.emit("go", &())?,
///     Ok(false) | Err(AckError::Timeout) => socket.disconnect(),
///     Err(error) => return Err(error.into()),
/// }
/// # Ok(()) }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AckError {
    /// The client did not send the ack in time. One that comes later is ignored.
    #[error("no ack in time")]
    Timeout,
    /// The socket was disconnected before the ack came, and whether the client got the event is unknown; or before the ack was
    /// sent.
    #[error("the socket disconnected before its ack")]
    Disconnected,
    /// The ack is not of the type that was asked for.
    #[error("the ack does not decode")]
    Decode(#[from] ArgsError),
    /// The event cannot be encoded: nothing was sent. Or the ack cannot: the client was sent the error `internal`.
    #[error("the event or ack does not encode")]
    Encode(#[from] EncodeError),
    /// 10,000 acks of this socket are pending. Nothing was sent. Shorter timeouts help.
    #[error("too many acks are pending")]
    TooMany,
}

/// Why a socket left its namespace, named as in Node (`DisconnectReason` of `socket-types.ts`).
///
/// ```
/// use socketmesh::{DisconnectReason, Socket, namespace};
///
/// let chat = namespace("/").on_disconnect(async |socket: Socket, reason: DisconnectReason| {
///     if reason == DisconnectReason::PingTimeout {
///         socket.broadcast().emit("lost", &socket.id())?;
///     }
///     Ok(())
/// });
/// assert_eq!(DisconnectReason::PingTimeout.as_str(), "ping timeout");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DisconnectReason {
    /// The transport failed.
    TransportError,
    /// The client closed the transport, or its network did.
    TransportClose,
    /// The connection was closed because the client sent something that is not a Socket.IO packet, or a packet that was not
    /// allowed at that moment.
    ForcedClose,
    /// The client did not answer the heartbeat.
    PingTimeout,
    /// The client sent something that is not an Engine.IO packet.
    ParseError,
    /// The node shut down.
    ServerShuttingDown,
    /// The connection was closed because the client entered no namespace in time.
    ForcedServerClose,
    /// The client called `disconnect()`.
    ClientNamespaceDisconnect,
    /// The application called `disconnect()`.
    ServerNamespaceDisconnect,
    /// The login of the client ended, and was not renewed ([`Login::expires_in`](super::Login::expires_in)). Not in Node.
    LoginExpired,
    /// The user is blocked, or was disconnected everywhere ([`UserRef`](crate::socket::UserRef)). Not in Node.
    Blocked,
    /// The client sent more than a [`Limit`](crate::socket::Limit) allows. Not in Node.
    LimitExceeded,
}

impl From<CloseReason> for DisconnectReason {
    fn from(reason: CloseReason) -> Self {
        match reason {
            CloseReason::TransportError => Self::TransportError,
            CloseReason::TransportClose => Self::TransportClose,
            CloseReason::ForcedClose => Self::ForcedClose,
            CloseReason::PingTimeout => Self::PingTimeout,
            CloseReason::ParseError => Self::ParseError,
            CloseReason::ServerShuttingDown => Self::ServerShuttingDown,
        }
    }
}

impl DisconnectReason {
    /// Whether it was the server that disconnected the client, not the client or its network.
    pub(crate) const fn is_of_the_server(self) -> bool {
        matches!(
            self,
            Self::ServerNamespaceDisconnect
                | Self::ForcedServerClose
                | Self::ServerShuttingDown
                | Self::LoginExpired
                | Self::Blocked
                | Self::LimitExceeded
        )
    }

    /// Whether the client may come back, and find its socket as it was.
    pub(crate) const fn keeps_session(self) -> bool {
        matches!(
            self,
            Self::TransportError
                | Self::TransportClose
                | Self::ForcedClose
                | Self::PingTimeout
                | Self::ServerShuttingDown
                | Self::ForcedServerClose
        )
    }

    /// The string that Node has for it, where Node has the reason.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TransportError => "transport error",
            Self::TransportClose => "transport close",
            Self::ForcedClose => "forced close",
            Self::PingTimeout => "ping timeout",
            Self::ParseError => "parse error",
            Self::ServerShuttingDown => "server shutting down",
            Self::ForcedServerClose => "forced server close",
            Self::ClientNamespaceDisconnect => "client namespace disconnect",
            Self::ServerNamespaceDisconnect => "server namespace disconnect",
            Self::LoginExpired => "login expired",
            Self::Blocked => "blocked",
            Self::LimitExceeded => "limit exceeded",
        }
    }
}

impl fmt::Display for DisconnectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The socket was not connected any more, and nothing happened.
///
/// ```
/// # use socketmesh::{Socket, socket::Disconnected};
/// # async fn f(socket: Socket) {
/// if let Err(Disconnected) = socket.join("lobby").await {
///     println!("{} has left before", socket.id());
/// }
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the socket is disconnected")]
pub struct Disconnected;

/// What serde says of a value, with `an object` or `a choice` for the types of the application.
fn without_type_names(message: &str) -> String {
    let mut told: Vec<&str> = Vec::new();
    let mut words = message.split(' ');
    while let Some(word) = words.next() {
        let stands_for = match word {
            "struct" => "an object",
            "enum" => "a choice",
            _ => {
                told.push(word);
                continue;
            }
        };
        let _name = words.next();
        told.pop_if(|kind| matches!(*kind, "tuple" | "unit" | "newtype"));
        told.push(stands_for);
    }
    told.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup() -> Result<u8> {
        Ok("300".parse::<u8>()?)
    }

    #[test]
    fn a_foreign_error_is_masked_for_the_client_and_kept_for_the_log() {
        let error = lookup().unwrap_err();
        let ack = error.to_args();
        assert_eq!(ack.json(), r#"{"error":{"code":"internal","message":"internal error"}}"#);
        assert!(error.source().is_some());
        assert!(format!("{error:?}").contains("too large"), "{error:?}");
    }

    #[test]
    fn an_error_of_the_handler_reaches_the_client_as_it_is() {
        let error = EventError::new("empty", "say \"something\"");
        assert_eq!(error.to_args().json(), r#"{"error":{"code":"empty","message":"say \"something\""}}"#);
        assert_eq!(error.to_string(), "empty: say \"something\"");
    }

    #[test]
    fn an_error_may_carry_data() {
        let error = EventError::new("short", "too few").with_data(json!({ "left": 3 }));
        assert_eq!(
            error.to_args().json(),
            r#"{"error":{"code":"short","data":{"left":3},"message":"too few"}}"#
        );
        assert_eq!(error.data(), Some(&json!({ "left": 3 })));
    }

    #[test]
    fn a_refusal_is_an_error_of_a_handler_too() {
        fn check() -> Result<(), Refusal> {
            Err(Refusal::new("not authorized").with_data(json!({ "a": 1 })))
        }
        fn handle() -> Result<()> {
            Ok(check()?)
        }
        let error = handle().unwrap_err();
        assert_eq!((error.code(), error.message()), ("refused", "not authorized"));
        assert_eq!(error.data(), Some(&json!({ "a": 1 })));
    }

    #[test]
    fn arguments_that_do_not_decode_are_told_with_their_place() {
        let error = RawArgs::encode(&"x").unwrap().decode::<u8>().unwrap_err();
        let error = EventError::invalid_arguments(error);
        assert_eq!(error.code(), "invalid_arguments");
        assert!(error.message().starts_with("argument 1: invalid type: string"), "{}", error.message());
    }

    #[test]
    fn a_client_is_not_told_the_names_of_types() {
        #[derive(Debug, serde::Deserialize)]
        struct Secret {
            #[expect(dead_code, reason = "nothing decodes into it")]
            a: Choice,
        }
        #[derive(Debug, serde::Deserialize)]
        enum Choice {
            #[expect(dead_code, reason = "nothing decodes into it")]
            One(u8),
        }
        #[derive(Debug, serde::Deserialize)]
        struct Pair(
            #[expect(dead_code, reason = "nothing decodes into it")] u8,
            #[expect(dead_code, reason = "nothing decodes into it")] u8,
        );
        fn told<T: serde::de::DeserializeOwned>(value: Value) -> String {
            let error = RawArgs::encode(&value).unwrap().decode::<T>().map(drop).unwrap_err();
            EventError::invalid_arguments(error).message().to_owned()
        }
        for message in [
            told::<Secret>(json!("x")),
            told::<Secret>(json!({ "a": 1 })),
            told::<Pair>(json!("x")),
            told::<Pair>(json!([1])),
        ] {
            assert!(message.starts_with("argument 1: ") && message.contains("expected "), "{message}");
            assert!(["Secret", "Choice", "Pair"].iter().all(|name| !message.contains(name)), "{message}");
        }
    }

    #[test]
    fn a_refusal_carries_data_and_masks_foreign_errors() {
        let refusal = Refusal::new("not authorized").with_data(json!({ "a": 1 }));
        assert_eq!((refusal.message(), refusal.data()), ("not authorized", Some(&json!({ "a": 1 }))));
        let masked = Refusal::from("300".parse::<u8>().unwrap_err());
        assert_eq!((masked.message(), masked.data()), ("internal error", None));
    }
}
