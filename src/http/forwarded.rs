//! Serves the requests that other nodes carry to this one, which owns their sessions.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::{Request, Response, StatusCode};
use tokio::time::timeout;
use tokio_util::either::Either;

use super::body::Body;
use super::drain_body::DrainBody;
use super::edge::Edge;
use super::exchange::{self, CarriedBody, read_request};
use super::operator;
use super::upgraded::{self, Bare};
use crate::cluster::{BiStream, StreamLoss};
use crate::engine::{Application, Way};
use crate::excerpt::Excerpt;

/// Serves one stream of another node, which carries a single request or a WebSocket. What that node asks for its operators is
/// answered by `operators`.
pub(crate) async fn serve_forwarded<A: Application>(
    edge: Arc<Edge<A>>,
    operators: operator::Answers,
    stream: BiStream,
) {
    if let Err(error) = serve(&edge, &operators, stream).await {
        tracing::trace!(error = %Excerpt::reason(error), "a forwarded request ended");
    }
}

async fn serve<A: Application>(
    edge: &Edge<A>,
    operators: &operator::Answers,
    mut stream: BiStream,
) -> io::Result<()> {
    let way: Arc<dyn Way> = Arc::new(stream.loss());
    let (head, length) = timeout(HEAD_TIMEOUT, read_request(&mut stream.recv)).await??;
    let BiStream { mut send, recv } = stream;
    let (head, taker) = upgraded::offer(head);
    let (body, upgrade) = match taker {
        Some(taker) => (DrainBody::default(), Some((taker, recv))),
        None => (DrainBody::new(CarriedBody::after(recv, length).await), None),
    };
    let response = tokio::select! {
        biased;
        response = answer(edge, operators, head.map(|()| body), way) => response,
        error = send.refused() => return Err(error),
    };
    let switches = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    let head = exchange::response_head(&response);
    if let Some((taker, recv)) = upgrade.filter(|_| switches) {
        send.write([head]).await?;
        send.finish_on_drop();
        let stream = Either::Right(Box::new(BiStream { send, recv }) as Box<_>);
        let _unused = taker.send(Bare::answered(stream, Bytes::new()));
        return Ok(());
    }
    exchange::write(&mut send, head, response.into_body()).await?;
    send.finish();
    Ok(())
}

async fn answer<A: Application>(
    edge: &Edge<A>,
    operators: &operator::Answers,
    request: Request<DrainBody>,
    way: Arc<dyn Way>,
) -> Response<Body> {
    if operator::asks(request.headers()) {
        return operators(request.method(), request.uri());
    }
    edge.respond_to_forwarded(request, way).await
}

impl Way for StreamLoss {
    fn is_lost(&self) -> bool {
        self.is_lost()
    }
}

/// How long another node may take to send the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
