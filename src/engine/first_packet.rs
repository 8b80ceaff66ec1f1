//! The first packet of a WebTransport stream (engine.io protocol v4, "WebTransport").

use tokio::io::{AsyncRead, AsyncReadExt};

use super::packet::Packet;
use super::webtransport::Decoder;
use crate::id::SessionId;

/// What the first packet of a WebTransport stream asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FirstPacket {
    /// A new session.
    Open,
    /// An upgrade of this session.
    Upgrade(SessionId),
}

impl FirstPacket {
    /// Reads the first packet and nothing behind it; `None` if it is invalid or does not arrive.
    pub(crate) async fn read(stream: &mut (dyn AsyncRead + Send + Unpin)) -> Option<Self> {
        let mut decoder = Decoder::new(MAX_FIRST_PACKET);
        let mut buffer = [0; MAX_FIRST_PACKET];
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
        let open: OpenData<'_> = serde_json::from_str(data).ok()?;
        Some(Self::Upgrade(open.sid.parse().ok()?))
    }
}

#[derive(serde::Deserialize)]
struct OpenData<'a> {
    sid: &'a str,
}

/// The largest first packet. With a sid it has 30 bytes.
const MAX_FIRST_PACKET: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    async fn read(mut bytes: &[u8]) -> (Option<FirstPacket>, &[u8]) {
        (FirstPacket::read(&mut bytes).await, bytes)
    }

    #[tokio::test]
    async fn the_first_packet_opens_a_session_or_names_one() {
        assert_eq!(read(b"\x010").await, (Some(FirstPacket::Open), &b""[..]));
        let sid = SessionId::new(crate::id::Key::from_hash(1 << 40), [7; 10]);
        let packet = format!(r#"0{{"sid":"{sid}"}}"#);
        let frame = [&[u8::try_from(packet.len()).unwrap()], packet.as_bytes(), b"\x062probe"].concat();
        assert_eq!(read(&frame).await, (Some(FirstPacket::Upgrade(sid)), &b"\x062probe"[..]));
    }

    #[tokio::test]
    async fn any_other_first_packet_is_invalid() {
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
            assert_eq!(read(frame).await.0, None, "{frame:?}");
        }
    }

    proptest! {
        #[test]
        fn any_first_bytes_are_a_first_packet_or_invalid(bytes: Vec<u8>) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async { read(&bytes).await });
        }
    }
}
