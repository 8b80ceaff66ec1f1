//! An event on its way to its handler.

use bytestring::ByteString;

use super::ack::{Ack, AckSlot};
use crate::socket::protocol::{EncodeError, Event, IntoArgs, RawArgs};

/// An event of a client on its way to its handler, as a [`middleware`](crate::Namespace::middleware) gets and returns it. Node:
/// the packet of `socket.use()`, an array that a middleware may change.
///
/// ```
/// use socketmesh::{Incoming, RawArgs, Socket, namespace};
///
/// let chat = namespace("/")
///     .middleware(async |_: Socket, event: Incoming| match event.name() {
///         // What clients of last year say.
///         "chat message" => Ok(event.renamed("message")),
///         "login" => Ok(event.with_args("***")?),
///         _ => Ok(event),
///     })
///     .middleware(async |_: Socket, event: Incoming| {
///         let ack = event.take_ack();
///         Ok(event.with_ack(ack.through(|answer: RawArgs, ack| {
///             println!("{}: {}", ack.event(), answer.json());
///             ack.send(&answer).ok();
///         })))
///     });
/// ```
#[derive(Debug)]
#[must_use = "an event that a middleware does not return is not handled"]
pub struct Incoming {
    name: ByteString,
    args: RawArgs,
    ack: AckSlot,
}

/// What a middleware returns: the [`Incoming`] that goes on, or `None` for one that goes no further. It is implemented for both
/// already.
///
/// ```
/// use socketmesh::{Incoming, Socket, namespace};
///
/// let quiet = namespace("/quiet").middleware(async |_: Socket, event: Incoming| {
///     Ok(if event.name() == "noise" { None } else { Some(event) })
/// });
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not what a middleware returns",
    label = "returns `{Self}`",
    note = "a middleware returns the event that its handler gets: end it with `Ok(event)`, or with `Ok(None)` to stop the event"
)]
pub trait Onward {
    /// The event, if it goes on.
    fn into_incoming(self) -> Option<Incoming>;
}

impl Onward for Incoming {
    fn into_incoming(self) -> Option<Incoming> {
        Some(self)
    }
}

impl Onward for Option<Incoming> {
    fn into_incoming(self) -> Option<Incoming> {
        self
    }
}

impl Incoming {
    pub(crate) fn new(event: Event, ack: AckSlot) -> Self {
        Self { name: event.name, args: event.args, ack }
    }

    /// The name of the event: it says which handler gets it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The arguments.
    pub fn args(&self) -> &RawArgs {
        &self.args
    }

    /// Gives the event another name, and so to another handler.
    pub fn renamed(self, name: impl Into<String>) -> Self {
        Self { name: name.into().into(), ..self }
    }

    /// Gives the event other arguments.
    ///
    /// # Errors
    ///
    /// As [`RawArgs::encode`].
    pub fn with_args<A: IntoArgs + ?Sized>(self, args: &A) -> Result<Self, EncodeError> {
        Ok(Self { args: RawArgs::encode(args)?, ..self })
    }

    /// Takes the ack out of the event: whoever has it answers, or nobody. What the handler returns is not sent then, and neither is
    /// the error of a middleware.
    pub fn take_ack(&self) -> Ack {
        self.ack.take()
    }

    /// Puts an ack into the event: it gets what the handler returns.
    pub fn with_ack(self, ack: Ack) -> Self {
        self.ack.put(ack);
        self
    }

    /// What the handler gets: the ack is not that of the event any more.
    pub(crate) fn into_parts(self) -> (Event, Ack) {
        (Event { name: self.name, args: self.args, id: None }, self.ack.take())
    }
}
