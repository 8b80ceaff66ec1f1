//! The ack of a client's event, in the hands of the application.

use std::fmt;
use std::sync::Arc;

use bytestring::ByteString;
use parking_lot::Mutex;

use crate::socket::hub::{AckError, EventError, Handled, Member};
use crate::socket::protocol::{Event, IntoArgs, RawArgs};

/// The ack that a client waits for: the last argument of a handler that takes one. Node: the function that a handler gets
/// behind the arguments.
///
/// It is answered once, whenever and from wherever: it may be kept, or moved into a task, and outlives the handler. Dropped
/// without an answer it is never answered, as in Node, and a client without a timeout waits for ever. It keeps no connection
/// alive and takes no room in the session: a client may have any number of them open.
///
/// ```
/// use socketmesh::{Ack, Socket, namespace};
///
/// # async fn render(_page: u32) -> socketmesh::Result<String> { Ok(String::new()) }
/// let pages = namespace("/pages")
///     .on("render", async |_: Socket, page: u32, ack: Ack| {
///         // The next event of the client is handled meanwhile.
///         tokio::spawn(async move { ack.answer(render(page).await) });
///     })
///     .on("ping", async |_: Socket, (): (), ack: Ack| Ok(ack.send("pong")?));
/// ```
#[must_use = "an ack that is dropped is never answered"]
pub struct Ack {
    member: Arc<Member>,
    event: ByteString,
    id: Option<u64>,
    /// Gets the answer in the place of the client.
    through: Option<Box<dyn FnOnce(RawArgs) + Send + Sync>>,
}

impl Ack {
    /// The ack that a client asked for with this event, if it did.
    pub(crate) fn of(member: Arc<Member>, event: &Event) -> Self {
        // A copy: an ack may be held much longer than the message that the name is a part of.
        Self { member, event: (&*event.name).into(), id: event.id, through: None }
    }

    /// The event that it is the ack of, by the name that the client sent.
    pub fn event(&self) -> &str {
        &self.event
    }

    /// Whether the client asked for an ack. If not, nothing is sent to it.
    pub fn is_wanted(&self) -> bool {
        self.id.is_some()
    }

    /// Whether the client is still in the namespace, so that an answer can reach it.
    pub fn is_connected(&self) -> bool {
        self.member.is_connected()
    }

    /// Sends the ack. It does not block. If the client wants none, nothing is sent, and that is no error.
    ///
    /// # Errors
    ///
    /// [`AckError::Disconnected`]: the client has left. [`AckError::Encode`]: `answer` has no JSON form, or too many attachments;
    /// the client is sent the error `internal`, as if a handler had returned that.
    pub fn send<A: IntoArgs + ?Sized>(self, answer: &A) -> Result<(), AckError> {
        match RawArgs::encode(answer) {
            Ok(args) => self.deliver(args),
            Err(error) => {
                // Whether the client is there matters less than that nobody could have been answered.
                let _told = self.deliver(EventError::internal().to_args());
                Err(error.into())
            }
        }
    }

    /// Sends what a handler would have returned: the value, or the [error](EventError), which is logged as well.
    ///
    /// # Errors
    ///
    /// As [`Ack::send`].
    pub fn answer<A: IntoArgs>(self, answer: Result<A, EventError>) -> Result<(), AckError> {
        match answer {
            Ok(value) => self.send(&value),
            Err(error) => {
                self.member.log_failure(&self.event, &error);
                self.deliver(error.to_args())
            }
        }
    }

    /// Lets a function see the answer first, which sends it, or another one, or none: for a [middleware](crate::Incoming). It is
    /// not called if the client wants no ack.
    ///
    /// The answer is what the client would get: of an error `{"error": {"code", "message"}}`.
    pub fn through(self, see: impl FnOnce(RawArgs, Self) + Send + Sync + 'static) -> Self {
        if self.id.is_none() {
            return self;
        }
        let (member, event, id) = (Arc::clone(&self.member), self.event.clone(), self.id);
        Self { member, event, id, through: Some(Box::new(move |answer| see(answer, self))) }
    }

    /// Answers as the handler ended, if that is left to whoever called it.
    pub(crate) fn settle(self, handled: Handled) -> Handled {
        let (args, result) = match handled {
            Handled::Value(args) => (args, Ok(())),
            Handled::Failed(error) => (error.to_args(), Err(error)),
            Handled::Taken(_) | Handled::Unknown => return handled,
        };
        // A client that has left is counted, and no failure of the handler.
        let _sent = self.deliver(args);
        Handled::Taken(result)
    }

    fn deliver(self, args: RawArgs) -> Result<(), AckError> {
        match (self.id, self.through) {
            (None, _) => {}
            (Some(_), Some(through)) => through(args),
            (Some(id), None) => {
                if !self.member.answer(id, &args) {
                    return Err(AckError::Disconnected);
                }
            }
        }
        Ok(())
    }

    /// Takes its place: it is wanted by nobody.
    fn unwanted(&self) -> Self {
        Self { member: Arc::clone(&self.member), event: self.event.clone(), id: None, through: None }
    }
}

impl fmt::Debug for Ack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ack").field("event", &self.event).field("id", &self.id).finish_non_exhaustive()
    }
}

/// Where the ack of an event is while middleware has the event: who takes it there answers.
#[derive(Debug, Clone)]
pub(crate) struct AckSlot(Arc<Mutex<Ack>>);

impl AckSlot {
    pub(crate) fn new(ack: Ack) -> Self {
        Self(Arc::new(Mutex::new(ack)))
    }

    /// Takes the ack out. What is there from now on is wanted by nobody.
    pub(crate) fn take(&self) -> Ack {
        let mut ack = self.0.lock();
        let unwanted = ack.unwanted();
        std::mem::replace(&mut ack, unwanted)
    }

    pub(crate) fn put(&self, ack: Ack) {
        // The one before is dropped behind the lock: its function is the application's.
        let _before = std::mem::replace(&mut *self.0.lock(), ack);
    }
}
