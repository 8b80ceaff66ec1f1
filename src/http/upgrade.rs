//! From an HTTP request to a WebSocket of a session.

use std::sync::Arc;
use std::time::Duration;

use hyper::header::{
    CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use hyper::{HeaderMap, Request, Response, StatusCode};
use tokio::io::AsyncWriteExt;

use super::body::Body;
use super::drain_body::DrainBody;
use super::reply;
use super::request::ClientRequest;
use super::upgraded::Upgrading;
use crate::engine::stream_task::{WebSocketTerms, serve_websocket};
use crate::engine::websocket::{self, Accepted, UpgradeError};
use crate::engine::{
    Application, Config, Engine, Handshake, HandshakeError, Place, Protocol, SessionRef, Transport,
};

/// Opens a session over a WebSocket.
pub(crate) fn open<A: Application>(
    engine: &Engine<A>,
    place: Place,
    handshake: Arc<Handshake>,
    mut request: Request<DrainBody>,
) -> Response<Body> {
    let (mut response, upgrading) = match accept(&mut request, engine.config()) {
        Ok(accepted) => accepted,
        Err(error) => return not_a_websocket(error),
    };
    let deflate = extend(request.headers(), engine.config(), &mut response);
    let terms = WebSocketTerms { base64: handshake.base64(), deflate };
    let is_v3 = handshake.protocol() == Protocol::V3;
    let opened = match engine.open(place, handshake, Transport::WebSocket) {
        Ok(opened) => opened,
        Err(error) => return reply::not_opened(&error),
    };
    if let Some((conn, stage)) = opened.stream {
        let session = opened.session;
        tokio::spawn(async move {
            let mut bare = upgrading.bare().await;
            if is_v3 && let Some(bare) = &mut bare {
                // Who serves the WebSocket finds out as well that its client has gone.
                let _gone = bare.write_answer().await;
                tokio::time::sleep(HANDSHAKE_DELAY).await;
            }
            match bare {
                Some(bare) => serve_websocket(bare.into_stream(), session, conn, stage, terms).await,
                None => session.lost(conn),
            }
        });
    }
    response
}

/// A WebSocket for a session that exists: the probe of an upgrade, or one too many.
pub(crate) fn resume<K: Send + 'static>(
    session: &SessionRef<K>,
    mut request: ClientRequest,
) -> Response<Body> {
    let (mut response, upgrading) = match accept(&mut request.http, session.config()) {
        Ok(accepted) => accepted,
        Err(error) => return not_a_websocket(error),
    };
    let head = session.config().keep_requests.then(|| Arc::new(request.handshake()));
    let deflate = extend(request.http.headers(), session.config(), &mut response);
    let terms = WebSocketTerms { base64: request.query.base64(), deflate };
    let session = session.clone();
    tokio::spawn(async move {
        // Only a WebSocket that exists is announced: a session may be upgrading for one client connection only.
        if let Some(bare) = upgrading.bare().await {
            let (conn, stage) = session.attach(Transport::WebSocket, head);
            serve_websocket(bare.into_stream(), session, conn, stage, terms).await;
        }
    });
    response
}

/// A WebSocket of a request that names the polling transport: opened and closed at once, without a code.
pub(crate) fn misplaced(mut request: ClientRequest, config: &Config) -> Response<Body> {
    let (response, upgrading) = match accept(&mut request.http, config) {
        Ok(accepted) => accepted,
        Err(error) => return not_a_websocket(error),
    };
    tokio::spawn(async move {
        if let Some(mut bare) = upgrading.bare().await {
            let _gone = bare.write_answer().await;
            let _gone = bare.transport.write_all(&websocket::close_frame(None)).await;
            let _gone = bare.transport.shutdown().await;
        }
    });
    response
}

/// The 101 of a valid WebSocket handshake, and what comes after it.
fn accept(
    request: &mut Request<DrainBody>,
    config: &Config,
) -> Result<(Response<Body>, Upgrading), UpgradeError> {
    let Accepted { proof, offered } = websocket::check_upgrade(request)?;
    let upgrading = Upgrading::of(request);
    let mut response = reply::empty(StatusCode::SWITCHING_PROTOCOLS);
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.extend(HeaderValue::from_str(&proof).map(|proof| (SEC_WEBSOCKET_ACCEPT, proof)));
    let chosen = config.choose_subprotocol(&offered).and_then(|name| HeaderValue::from_str(name).ok());
    headers.extend(chosen.map(|name| (SEC_WEBSOCKET_PROTOCOL, name)));
    Ok((response, upgrading))
}

/// Accepts an offer of `permessage-deflate`, if that is on and there is one.
fn extend(request: &HeaderMap, config: &Config, response: &mut Response<Body>) -> bool {
    let deflate = config.per_message_deflate;
    let accepted = deflate.and_then(|deflate| websocket::accept_deflate(request, deflate.window_bits));
    let extends = accepted.is_some();
    response.headers_mut().extend(accepted.map(|accepted| (SEC_WEBSOCKET_EXTENSIONS, accepted)));
    extends
}

fn not_a_websocket(error: UpgradeError) -> Response<Body> {
    let mut response = reply::refusal(&HandshakeError::NotAnUpgrade, true);
    if error == UpgradeError::Version {
        response.headers_mut().insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13, 8"));
    }
    response
}

/// The delay before the handshake of version 3. A client that listens for messages only after its WebSocket has opened,
/// as the test suite of that version does, would miss a handshake that it reads together with the 101.
const HANDSHAKE_DELAY: Duration = Duration::from_millis(5);
