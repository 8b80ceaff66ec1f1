//! The UDP socket of a node on a real machine.
//!
//! It is that of quinn, but goes on where the system reports in the place of a packet that an earlier one was refused.

use std::fmt;
use std::io::{self, ErrorKind, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

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
    /// The last packet was not taken. QUIC asks before every packet, so whoever is told to wait where this is not so waits each time.
    is_full: AtomicBool,
    /// It has reported an error. tokio counts such a socket as writable for ever.
    has_erred: AtomicBool,
}

impl MachineSocket {
    /// Must be called on the runtime that drives it.
    pub(super) fn new(socket: std::net::UdpSocket, errors: Arc<ErrorQueue>) -> io::Result<Self> {
        // Makes it non-blocking, among other things.
        let state = UdpSocketState::new((&socket).into())?;
        let io = UdpSocket::from_std(socket)?;
        Ok(Self { io, state, errors, is_full: AtomicBool::new(false), has_erred: AtomicBool::new(false) })
    }

    /// Takes note of an error that the system has reported. It may be about any packet, also one of the past to another node.
    fn handle_error(&self) {
        self.has_erred.store(true, Ordering::Relaxed);
        self.errors.read();
    }

    /// Waits until a socket that is full may take packets again.
    async fn writable(&self) -> io::Result<()> {
        if self.has_erred.load(Ordering::Relaxed) {
            tokio::time::sleep(PAUSE).await;
            return Ok(());
        }
        self.io.writable().await
    }
}

impl AsyncUdpSocket for MachineSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Writable { socket: self, wait: None })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let send = || self.io.try_io(Interest::WRITABLE, || self.state.try_send((&self.io).into(), transmit));
        let is_error =
            |sent: &io::Result<()>| sent.as_ref().is_err_and(|error| error.kind() != ErrorKind::WouldBlock);
        let mut sent = send();
        if is_error(&sent) {
            // It may be an error of the past, which is over once it is reported.
            self.handle_error();
            sent = send();
        }
        if is_error(&sent) {
            // What the system does not take is lost like any other packet. QUIC tries how large they may be.
            self.handle_error();
            tracing::debug!(to = %transmit.destination, error = ?sent, "a packet was not sent");
            return Ok(());
        }
        self.is_full.store(sent.is_err(), Ordering::Relaxed);
        sent
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
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => self.handle_error(),
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
        if !socket.is_full.load(Ordering::Relaxed) {
            *wait = None;
            return Poll::Ready(Ok(()));
        }
        let writable = || -> Wait {
            let socket = Arc::clone(socket);
            Box::pin(async move { socket.writable().await })
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

/// From one attempt to send to the next where nothing tells when the socket takes packets again.
const PAUSE: Duration = Duration::from_millis(1);

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

    #[tokio::test(start_paused = true)]
    async fn what_the_system_does_not_take_is_dropped_and_leaves_no_error_behind() {
        let own = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let node = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let errors = Arc::new(ErrorQueue::of(&own).unwrap());
        let socket = Arc::new(MachineSocket::new(own, Arc::clone(&errors)).unwrap());
        socket.io.writable().await.unwrap();
        let (to, mut bytes) = (node.local_addr().unwrap(), [0; 8]);
        // More than a packet may have, which the system also puts into the queue.
        let too_large = vec![0; 70_000];
        for round in 0..1000_u16 {
            for contents in [too_large.as_slice(), &round.to_be_bytes()] {
                let transmit =
                    Transmit { destination: to, ecn: None, contents, segment_size: None, src_ip: None };
                socket.try_send(&transmit).unwrap();
            }
            let (length, _) = node.recv_from(&mut bytes).unwrap();
            assert_eq!(bytes.get(..length), Some(&round.to_be_bytes()[..]));
        }
        assert!(errors.is_empty());
        // Nobody waits while the socket takes packets, and who waits because it does not, does not spin.
        let mut writable = Arc::clone(&socket).create_io_poller();
        for (is_full, wait) in [(false, Duration::ZERO), (true, PAUSE)] {
            socket.is_full.store(is_full, Ordering::Relaxed);
            let start = tokio::time::Instant::now();
            poll_fn(|cx| writable.as_mut().poll_writable(cx)).await.unwrap();
            assert_eq!(start.elapsed(), wait);
        }
    }
}
