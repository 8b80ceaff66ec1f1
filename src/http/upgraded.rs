//! What is left of a connection after its protocol has changed: a connection of a client to this node, or a stream of the mesh
//! that carries one.

use std::io::{self, Cursor};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::Request;
use hyper::header::UPGRADE;
use hyper::upgrade::OnUpgrade;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::either::Either;

use super::client_stream::{ClientTransport, unwrapped};
use crate::engine::stream_task::ByteStream;

/// A connection whose protocol changes. It is handed on in a box, so that what serves it has no room for this.
pub(crate) struct Bare {
    pub(crate) transport: ClientTransport,
    /// What its client has sent behind the request: it need not wait for the answer.
    pub(crate) read: Bytes,
    /// The answer that changes the protocol, if that is still to be written: with what comes first after it.
    pub(crate) answer: Bytes,
}

impl Bare {
    /// A connection that has its answer.
    pub(super) fn answered(transport: ClientTransport, read: Bytes) -> Box<Self> {
        Box::new(Self { transport, read, answer: Bytes::new() })
    }

    /// Writes the answer alone.
    pub(super) async fn write_answer(&mut self) -> io::Result<()> {
        let written = async {
            self.transport.write_all_buf(&mut self.answer).await?;
            self.transport.flush().await
        };
        timeout(WRITE_TIMEOUT, written).await?
    }

    /// The answer, and the stream after it.
    pub(super) fn into_stream(self) -> (Bytes, Box<dyn ByteStream>) {
        let stream = match self.transport {
            stream if !self.read.is_empty() => {
                let (reader, writer) = tokio::io::split(stream);
                Box::new(tokio::io::join(Cursor::new(self.read).chain(reader), writer))
            }
            Either::Left(stream) => Box::new(stream) as Box<dyn ByteStream>,
            Either::Right(stream) => stream,
        };
        (self.answer, stream)
    }
}

/// Whom to give a connection when its protocol changes. It may have given up.
pub(super) type Taker = oneshot::Sender<Box<Bare>>;

/// In the extensions of a request that the HTTP library has not read: the connection comes from whoever has.
#[derive(Clone)]
pub(super) struct Handover(Arc<Mutex<Option<oneshot::Receiver<Box<Bare>>>>>);

/// Offers the connection of a request that asks to change its protocol.
pub(super) fn offer<B>(mut request: Request<B>) -> (Request<B>, Option<Taker>) {
    let taker = request.headers().contains_key(UPGRADE).then(|| {
        let (taker, given) = oneshot::channel();
        request.extensions_mut().insert(Handover(Arc::new(Mutex::new(Some(given)))));
        taker
    });
    (request, taker)
}

/// The connection of a request that asks to change its protocol.
pub(crate) enum Upgrading {
    Handover(oneshot::Receiver<Box<Bare>>),
    Library(OnUpgrade),
}

impl Upgrading {
    /// Takes it from its request.
    pub(super) fn of<B>(request: &mut Request<B>) -> Self {
        let handover = request.extensions_mut().remove::<Handover>();
        let given = handover.and_then(|handover| handover.0.lock().take());
        given.map_or_else(|| Self::Library(hyper::upgrade::on(request)), Self::Handover)
    }

    /// Gives it back to its request, which somebody else is to answer.
    pub(super) fn give_back<B>(self, request: &mut Request<B>) {
        match self {
            Self::Handover(given) => {
                request.extensions_mut().insert(Handover(Arc::new(Mutex::new(Some(given)))));
            }
            Self::Library(upgraded) => {
                request.extensions_mut().insert(upgraded);
            }
        }
    }

    /// Waits until the answer changes the protocol. `None` if the connection is lost before, or the answer does not.
    pub(super) async fn bare(self) -> Option<Box<Bare>> {
        match self {
            Self::Handover(given) => given.await.ok(),
            Self::Library(upgraded) => upgraded.await.ok().map(|upgraded| {
                let (transport, read) = unwrapped(upgraded);
                Bare::answered(transport, read)
            }),
        }
    }
}

/// How long a client may take for an answer. It has place in the buffer of the system, unless that is full of others.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
