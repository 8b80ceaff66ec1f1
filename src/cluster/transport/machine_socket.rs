//! The UDP socket of a node on a real machine.
//!
//! It is that of quinn, but goes on where the system reports in the place of a packet that an earlier one was refused.

use std::fmt;
use std::io::{self, ErrorKind, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use quinn::udp::{RecvMeta, Transmit, UdpSocketState};
use quinn::{AsyncUdpSocket, UdpPoller};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::refused_packets::ErrorQueue;

#[derive(Debug)]
pub(super) struct MachineSocket {
    io: UdpSocket,
    state: UdpSocketState,
    errors: Arc<ErrorQueue>,
}

impl MachineSocket {
    /// Must be called on the runtime that drives it.
    pub(super) fn new(socket: std::net::UdpSocket, errors: Arc<ErrorQueue>) -> io::Result<Self> {
        // Makes it non-blocking, among other things.
        let state = UdpSocketState::new((&socket).into())?;
        Ok(Self { io: UdpSocket::from_std(socket)?, state, errors })
    }
}

impl AsyncUdpSocket for MachineSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Writable { socket: self, wait: None })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        loop {
            let send = || self.state.try_send((&self.io).into(), transmit);
            match self.io.try_io(Interest::WRITABLE, send) {
                // An error of the past, which is over once it is reported.
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => self.errors.read(),
                Err(error) if error.kind() != ErrorKind::WouldBlock => {
                    // What the system does not take is lost like any other packet. QUIC tries how large they may be.
                    tracing::debug!(to = %transmit.destination, %error, "a packet was not sent");
                    return Ok(());
                }
                sent => return sent,
            }
        }
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.io.poll_recv_ready(cx))?;
            let receive = || self.state.recv((&self.io).into(), buffers, metas);
            match self.io.try_io(Interest::READABLE, receive) {
                Ok(received) => return Poll::Ready(Ok(received)),
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => self.errors.read(),
                // There is nothing, or an error that is over once it is reported.
                Err(_) => {}
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.local_addr()
    }

    fn may_fragment(&self) -> bool {
        self.state.may_fragment()
    }

    fn max_transmit_segments(&self) -> usize {
        self.state.max_gso_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.state.gro_segments()
    }
}

/// Waits for one task until the socket takes packets again: tokio's own `poll_send_ready` knows one task only.
struct Writable {
    socket: Arc<MachineSocket>,
    wait: Option<Wait>,
}

type Wait = Pin<Box<dyn Future<Output = io::Result<()>> + Send + Sync>>;

impl UdpPoller for Writable {
    fn poll_writable(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { socket, wait } = self.get_mut();
        let writable = || -> Wait {
            let socket = Arc::clone(socket);
            Box::pin(async move { socket.io.writable().await })
        };
        let result = ready!(wait.get_or_insert_with(writable).as_mut().poll(cx));
        *wait = None;
        Poll::Ready(result)
    }
}

impl fmt::Debug for Writable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writable").field("socket", &self.socket).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    async fn receive(socket: &MachineSocket) -> Vec<u8> {
        let mut bytes = [0; 2048];
        let mut meta = [RecvMeta::default()];
        let received =
            poll_fn(|cx| socket.poll_recv(cx, &mut [IoSliceMut::new(&mut bytes)], &mut meta)).await.unwrap();
        assert_eq!(received, 1);
        bytes.iter().take(meta.iter().map(|meta| meta.len).sum()).copied().collect()
    }

    #[tokio::test]
    async fn what_follows_a_refused_packet_is_sent_and_received() {
        let bind = || std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let (own, node, gone) = (bind(), bind(), bind());
        let [own_address, node_address, gone_address] = [&own, &node, &gone].map(|s| s.local_addr().unwrap());
        drop(gone);
        let errors = Arc::new(ErrorQueue::of(&own).unwrap());
        let socket = MachineSocket::new(own, errors).unwrap();
        let send = |to, text: &[u8]| {
            let transmit =
                Transmit { destination: to, ecn: None, contents: text, segment_size: None, src_ip: None };
            socket.try_send(&transmit).unwrap();
        };
        for round in 0..20_u8 {
            socket.io.writable().await.unwrap();
            send(gone_address, b"nobody");
            send(node_address, &[round]);
            let mut bytes = [0; 8];
            let (length, _) = node.recv_from(&mut bytes).unwrap();
            assert_eq!(bytes.get(..length), Some(&[round][..]));
            send(gone_address, b"nobody");
            node.send_to(&[round, round], own_address).unwrap();
            assert_eq!(receive(&socket).await, [round, round]);
        }
    }
}
