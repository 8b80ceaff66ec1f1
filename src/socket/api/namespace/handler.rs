//! What a handler of an event may be.

use std::future::{self, Future};
use std::ops::ControlFlow;

use super::super::ack::Ack;
use super::super::socket::Socket;
use super::handlers::{EventFn, EventsFn};
use crate::socket::hub::{BoxFuture, EventError, Handled};
use crate::socket::protocol::{Event, IntoArgs, RawArgs};

/// A handler of events: `async fn(Socket<S>, A) -> Result<R>`, whose value is the client's ack, or
/// `async fn(Socket<S>, A, Ack)`, which answers itself. It is implemented for all of them already.
///
/// `Args` are the types of the arguments as a tuple, `Acks` is [`ByValue`] or [`ByAck`].
///
/// ```
/// use socketmesh::{Ack, Result, Socket, namespace};
///
/// async fn double(_: Socket, number: u32) -> Result<u32> {
///     Ok(2 * number)
/// }
///
/// async fn forget(_: Socket, _note: String, ack: Ack) {
///     drop(ack); // never answered
/// }
///
/// let math = namespace("/math").on("double", double).on("forget", forget);
/// ```
#[diagnostic::on_unimplemented(
    message = "this takes something else than a handler of a `Socket<{S}>` gets",
    label = "not a handler of events of a `Socket<{S}>`",
    note = "a handler takes the `Socket<{S}>` and one value, and behind it an `Ack` if it wants to answer itself",
    note = "several arguments of an event are one value: `Args((a, b)): Args<(A, B)>`"
)]
pub trait Handler<S, Args, Acks>: Clone + Send + Sync + 'static {
    /// What runs when it was called.
    type Future;

    /// Whether the ack is its own affair.
    const TAKES_ACK: bool;

    /// Calls it. `ack` makes the ack, for a handler that takes one.
    fn call(self, socket: Socket<S>, args: Args, ack: impl FnOnce(&Socket<S>) -> Ack) -> Self::Future;
}

/// What a [`Handler`] returns. It is implemented for all that one may return already.
///
/// ```
/// use socketmesh::EventError;
/// use socketmesh::socket::{Answer, ByAck, ByValue};
///
/// let answer = <Result<_, EventError> as Answer<ByValue>>::into_result(Ok(7));
/// assert!(matches!(answer, Ok(7)));
/// assert!(<() as Answer<ByAck>>::into_result(()).is_ok());
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not what a handler returns",
    label = "returns `{Self}`",
    note = "a handler returns a `Result` whose value is the client's ack: end it with `Ok(value)`, or with `Ok(())` for an empty one",
    note = "a handler that takes an `Ack` returns nothing, or ends with `Ok(())`"
)]
pub trait Answer<Acks> {
    /// The client's ack; nothing if that is the affair of an [`Ack`].
    type Value;

    /// The value, or why the handler failed.
    ///
    /// # Errors
    /// The handler failed.
    fn into_result(self) -> Result<Self::Value, EventError>;
}

/// Marks a [`Handler`] that returns the client's ack.
#[derive(Debug, Clone, Copy)]
pub enum ByValue {}

/// Marks a [`Handler`] that takes an [`Ack`].
#[derive(Debug, Clone, Copy)]
pub enum ByAck {}

// That the value can be sent is asked for where a handler is taken: so the compiler says it of the value.
impl<R> Answer<ByValue> for Result<R, EventError> {
    type Value = R;

    fn into_result(self) -> Self {
        self
    }
}

impl Answer<ByAck> for () {
    type Value = ();

    fn into_result(self) -> Result<(), EventError> {
        Ok(())
    }
}

impl Answer<ByAck> for Result<(), EventError> {
    type Value = ();

    fn into_result(self) -> Self {
        self
    }
}

macro_rules! handlers_of {
    ($($arg:ident: $Arg:ident),+) => {
        impl<S, $($Arg,)+ F, Fut> Handler<S, ($($Arg,)+), ByValue> for F
        where
            F: FnOnce(Socket<S>, $($Arg),+) -> Fut + Clone + Send + Sync + 'static,
        {
            type Future = Fut;

            const TAKES_ACK: bool = false;

            fn call(
                self,
                socket: Socket<S>,
                ($($arg,)+): ($($Arg,)+),
                _: impl FnOnce(&Socket<S>) -> Ack,
            ) -> Fut {
                self(socket, $($arg),+)
            }
        }

        impl<S, $($Arg,)+ F, Fut> Handler<S, ($($Arg,)+), ByAck> for F
        where
            F: FnOnce(Socket<S>, $($Arg,)+ Ack) -> Fut + Clone + Send + Sync + 'static,
        {
            type Future = Fut;

            const TAKES_ACK: bool = true;

            fn call(
                self,
                socket: Socket<S>,
                ($($arg,)+): ($($Arg,)+),
                ack: impl FnOnce(&Socket<S>) -> Ack,
            ) -> Fut {
                let ack = ack(&socket);
                self(socket, $($arg,)+ ack)
            }
        }
    };
}

handlers_of!(value: A);
// What a fallback gets.
handlers_of!(name: A, args: B);

/// A handler with its decoding before and its encoding behind it.
pub(super) fn event_fn<S, Args, Acks, H>(
    decode: impl Fn(&Event) -> Result<Args, EventError> + Send + Sync + 'static,
    handler: H,
) -> EventFn<S>
where
    S: Send + Sync + 'static,
    H: Handler<S, Args, Acks, Future: Future<Output: Answer<Acks, Value: IntoArgs>> + Send + 'static>,
{
    Box::new(move |socket, event, replaced| call(&handler, decode(&event), socket, &event, replaced))
}

/// The same for a handler of several events, which hands others back.
pub(super) fn events_fn<S, Args, Acks, H>(
    decode: impl Fn(&Event) -> Result<Option<Args>, EventError> + Send + Sync + 'static,
    handler: H,
) -> EventsFn<S>
where
    S: Send + Sync + 'static,
    H: Handler<S, Args, Acks, Future: Future<Output: Answer<Acks, Value: IntoArgs>> + Send + 'static>,
{
    Box::new(move |socket, event, replaced| match decode(&event).transpose() {
        Some(decoded) => ControlFlow::Break(call(&handler, decoded, socket, &event, replaced)),
        None => ControlFlow::Continue((socket, event, replaced)),
    })
}

fn call<S, Args, Acks, H>(
    handler: &H,
    decoded: Result<Args, EventError>,
    socket: Socket<S>,
    event: &Event,
    mut replaced: Option<Ack>,
) -> BoxFuture<'static, Handled>
where
    S: Send + Sync + 'static,
    H: Handler<S, Args, Acks, Future: Future<Output: Answer<Acks, Value: IntoArgs>> + Send + 'static>,
{
    let args = match decoded {
        Ok(args) => args,
        Err(error) => {
            let failed = Handled::Failed(error);
            let handled = if let Some(ack) = replaced { ack.settle(failed) } else { failed };
            return Box::pin(future::ready(handled));
        }
    };
    let ack = |socket: &Socket<S>| replaced.take().unwrap_or_else(|| socket.ack_of(event));
    let running = handler.clone().call(socket, args, ack);
    match replaced {
        None => Box::pin(async move { handled(running.await, H::TAKES_ACK) }),
        Some(ack) => Box::pin(async move { ack.settle(handled(running.await, H::TAKES_ACK)) }),
    }
}

fn handled<Acks>(answer: impl Answer<Acks, Value: IntoArgs>, takes_ack: bool) -> Handled {
    let result = answer.into_result();
    if takes_ack {
        return Handled::Taken(result.map(drop));
    }
    match result.and_then(|value| Ok(RawArgs::encode(&value)?)) {
        Ok(args) => Handled::Value(args),
        Err(error) => Handled::Failed(error),
    }
}
