//! What QUIC uses of tokio: its tasks, and timers that do not wake a node for nothing.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use quinn::{AsyncTimer, AsyncUdpSocket, Runtime, TokioRuntime};
use tokio::time::{Sleep, sleep_until};

use super::driver::Driver;

/// That of quinn, with other timers.
#[derive(Debug)]
pub(super) struct MeshRuntime;

impl Runtime for MeshRuntime {
    fn new_timer(&self, at: Instant) -> Pin<Box<dyn AsyncTimer>> {
        Box::pin(Timer(Box::pin(sleep_until(at.into()))))
    }

    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        Driver::spawn(future);
    }

    fn wrap_udp_socket(&self, socket: std::net::UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        TokioRuntime.wrap_udp_socket(socket)
    }

    fn now(&self) -> Instant {
        TokioRuntime.now()
    }
}

/// A connection has one timer, for whatever is due next: a packet that is lost if it is not confirmed soon, or a sign of life
/// much later. tokio wakes its thread at the old time of a timer that was put off.
#[derive(Debug)]
struct Timer(Pin<Box<Sleep>>);

impl AsyncTimer for Timer {
    fn reset(mut self: Pin<&mut Self>, at: Instant) {
        let (at, sleep) = (at.into(), &mut self.0);
        if at > sleep.deadline() + FAR {
            sleep.set(sleep_until(at));
        } else {
            sleep.as_mut().reset(at);
        }
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Future::poll(self.0.as_mut(), cx)
    }
}

/// Under load a timer is put off often and by little, which costs less.
const FAR: Duration = Duration::from_millis(100);
