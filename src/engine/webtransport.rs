//! One WebTransport stream of a session (engine.io protocol v4, "WebTransport"): its first packet, and its I/O task.

pub(crate) mod codec;

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt};

use self::codec::Decoder;
use super::frame::Dialect;
use super::handshake::Protocol;
use super::line::Line;
use super::packet::Packet;
use super::session::Conn;
use super::session_ref::SessionRef;
use super::websocket::{self, Framing, Stream};
use crate::id::SessionId;

/// Serves `stream`, behind its first packet, until the session or the client closes it, and tells the session how it
/// ended. The end of what is read is a close, an error of the stream is none.
pub(crate) fn serve<K: Send + 'static>(
    stream: Box<dyn Stream>,
    session: SessionRef<K>,
    conn: Conn,
    line: Arc<Line>,
) -> impl Future<Output = ()> + Send {
    let framing = Framing::WebTransport(Decoder::new(session.config().max_payload));
    let dialect = Dialect { protocol: Protocol::V4, base64: false, deflate: None };
    websocket::run(stream, session, conn, line, (framing, dialect))
}

/// What the first packet of a stream asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    /// A new session.
    Open,
    /// To upgrade this one.
    Upgrade(SessionId),
}

impl Wish {
    /// Reads the first packet and nothing behind it; `None` if it is no wish, or does not come.
    pub(crate) async fn read(stream: &mut (dyn AsyncRead + Send + Unpin)) -> Option<Self> {
        let mut decoder = Decoder::new(MAX_WISH);
        let mut buffer = [0; MAX_WISH];
        loop {
            let portion = buffer.get_mut(..decoder.missing())?;
            stream.read_exact(portion).await.ok()?;
            if let Some(packet) = decoder.feed(portion).next() {
                return Self::of(&packet.ok()?);
            }
        }
    }

    /// `0`, or `0{"sid":"…"}`.
    fn of(packet: &Packet) -> Option<Self> {
        let Packet::Open(data) = packet else { return None };
        if data.is_empty() {
            return Some(Self::Open);
        }
        let asked: Asked<'_> = serde_json::from_str(data).ok()?;
        Some(Self::Upgrade(asked.sid.parse().ok()?))
    }
}

#[derive(serde::Deserialize)]
struct Asked<'a> {
    sid: &'a str,
}

/// The largest first packet: with a sid it has 30 bytes.
const MAX_WISH: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    async fn wish(mut bytes: &[u8]) -> (Option<Wish>, &[u8]) {
        (Wish::read(&mut bytes).await, bytes)
    }

    #[tokio::test]
    async fn the_first_packet_opens_a_session_or_names_one() {
        assert_eq!(wish(b"\x010").await, (Some(Wish::Open), &b""[..]));
        let sid = SessionId::new(crate::id::Key::from_hash(1 << 40), [7; 10]);
        let packet = format!(r#"0{{"sid":"{sid}"}}"#);
        let frame = [&[u8::try_from(packet.len()).unwrap()], packet.as_bytes(), b"\x062probe"].concat();
        assert_eq!(wish(&frame).await, (Some(Wish::Upgrade(sid)), &b"\x062probe"[..]));
    }

    #[tokio::test]
    async fn anything_else_is_no_wish() {
        for frame in [
            &b""[..],
            b"\x00",
            b"\x014",
            b"\x062probe",
            b"\x810",
            b"\x030{}",
            b"\x0b0{\"sid\":\"x\"}",
            b"\x0a0{\"sid\":1}x",
            b"\x020x",
            b"\x7e\x02\x010",
        ] {
            assert_eq!(wish(frame).await.0, None, "{frame:?}");
        }
    }

    proptest! {
        #[test]
        fn any_first_bytes_are_a_wish_or_none(bytes: Vec<u8>) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async { wish(&bytes).await });
        }
    }
}
