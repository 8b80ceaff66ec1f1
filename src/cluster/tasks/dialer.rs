//! Saying hello to other nodes.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::time::timeout;

use super::inbound::serve;
use super::ports::{GreetedStream, Ports};
use crate::cluster::control::DialError;
use crate::cluster::hello::Greeting;
use crate::cluster::published::Published;
use crate::cluster::transport::bi_stream::{Halves, StreamError, read_prelude};
use crate::cluster::transport::connection::PeerConnection;
use crate::cluster::transport::endpoint::{DIAL, Endpoint};
use crate::cluster::transport::network::is_bound_here;
use crate::cluster::wire::{CloseCode, pb};
use crate::id::NodeId;
use pb::stream_header::Kind;

/// Dials an address and says hello. Must run on the mesh's runtime.
pub(crate) async fn dial(
    endpoint: Endpoint,
    ports: Arc<Ports>,
    address: SocketAddr,
) -> Result<Box<GreetedStream>, DialError> {
    let attempt = async {
        let (quic, peer) = endpoint.dial(address).await?;
        let connection = endpoint.peer_connection(quic, peer.clone());
        let remote = Some(connection.remote_address());
        if ports.published.connection(&peer).is_some_and(|known| !known.is_closed()) {
            connection.close(CloseCode::Superseded);
            return Err(DialError::AlreadyLinked(peer));
        }
        tokio::spawn(serve(Arc::clone(&connection), Arc::clone(&ports)));
        let kind = Some(Kind::Link(ports.published.hello(&peer, remote)));
        let halves = connection.open(&pb::StreamHeader { kind, origin: String::new() }).await;
        let answer = read_answer(&ports.published, &peer, halves.map_err(broken)?).await;
        let answer = answer.map_err(|error| whether_bound_here(error, endpoint.bound, address));
        if answer.is_err() {
            connection.close(CloseCode::Refused);
        }
        let (greeting, halves) = answer?;
        Ok(Box::new(GreetedStream { greeting, connection: Some(connection), halves }))
    };
    timeout(DIAL, attempt).await.unwrap_or(Err(DialError::Timeout))
}

/// Asks who answers at an address, from a port of its own. Nothing becomes a link by that.
pub(crate) async fn ask(
    endpoint: Endpoint,
    ports: Arc<Ports>,
    address: SocketAddr,
) -> Result<Greeting, DialError> {
    let attempt = async {
        let (quic, peer) = endpoint.dial_from_another_port(address).await?;
        let connection = endpoint.peer_connection(quic, peer.clone());
        if peer == ports.published.me.id {
            connection.close(CloseCode::Superseded);
            return Err(DialError::ThisNode { bound_here: false });
        }
        let kind = Some(Kind::Who(pb::Who {}));
        let halves = connection.open(&pb::StreamHeader { kind, origin: String::new() }).await;
        let answer = read_answer(&ports.published, &peer, halves.map_err(broken)?).await;
        connection.close(CloseCode::Superseded);
        Ok(answer?.0)
    };
    timeout(DIAL, attempt).await.unwrap_or(Err(DialError::Timeout))
}

/// This node answered its own dial. Only at an address that is bound here that says who lives there.
fn whether_bound_here(error: DialError, bound: SocketAddr, address: SocketAddr) -> DialError {
    match error {
        DialError::ThisNode { .. } => DialError::ThisNode { bound_here: is_bound_here(bound, address) },
        error => error,
    }
}

/// Tells the other end of a connection that it is not reached where it says.
pub(crate) async fn report_unreachable(connection: Arc<PeerConnection>, address: SocketAddr, reason: String) {
    let kind = Some(Kind::Unreachable(pb::Unreachable { address: address.to_string(), reason }));
    let header = pb::StreamHeader { kind, origin: String::new() };
    if let Ok(Ok((mut send, _recv))) = timeout(DIAL, connection.open(&header)).await {
        let _closed = send.finish();
        let _read = timeout(DIAL, send.stopped()).await;
    }
}

/// Says hello to a node through another one.
pub(crate) async fn dial_through(
    ports: Arc<Ports>,
    relay: Arc<PeerConnection>,
    to: NodeId,
) -> Result<Box<GreetedStream>, DialError> {
    let attempt = async {
        let inner = Some(pb::relay::Inner::Link(ports.published.hello(&to, None)));
        let kind = Some(Kind::Relay(pb::Relay { to: to.to_string(), inner }));
        let halves = relay.open(&pb::StreamHeader { kind, origin: String::new() }).await;
        let (greeting, halves) = read_answer(&ports.published, &to, halves.map_err(broken)?).await?;
        Ok(Box::new(GreetedStream { greeting, connection: None, halves }))
    };
    timeout(DIAL, attempt).await.unwrap_or(Err(DialError::Timeout))
}

/// Waits for the answer to this node's hello.
async fn read_answer(
    published: &Published,
    peer: &NodeId,
    mut halves: Halves,
) -> Result<(Greeting, Halves), DialError> {
    use pb::hello_reply::Answer;
    let refused = |refusal: &pb::Refusal| match refusal.reason() {
        pb::refusal::Reason::Self_ => DialError::ThisNode { bound_here: false },
        reason => DialError::Refused {
            peer: peer.clone(),
            reason,
            detail: format!("{}: {}", reason.as_str_name(), refusal.detail),
        },
    };
    let reply: pb::HelloReply = read_prelude(&mut halves.1).await.map_err(broken)?;
    match reply.answer {
        Some(Answer::Accepted(hello)) => {
            let greeting = published.me.check(&hello, peer).map_err(|refusal| refused(&refusal))?;
            published.warn_of_settings(&greeting);
            Ok((greeting, halves))
        }
        Some(Answer::Refused(refusal)) => Err(refused(&refusal)),
        None => Err(DialError::Broken("an answer of a later version".to_owned())),
    }
}

fn broken(error: StreamError) -> DialError {
    DialError::Broken(error.to_string())
}
