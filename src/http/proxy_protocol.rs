//! The header of the PROXY protocol, versions 1 and 2, with which a proxy that forwards connections says whose each one is
//! (HAProxy, `doc/proxy-protocol.txt`).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use proxy_header::{ParseConfig, ProxyHeader};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::opening::OpeningConnections;
use crate::log_limit::LogLimits;

/// What a proxy says of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Introduction {
    /// Whose it is; `None` if it is the proxy's own, as of a check, or that of a client without an address.
    pub(crate) client: Option<SocketAddr>,
    /// Whether the client speaks TLS with the proxy.
    pub(crate) secure: bool,
}

/// Reads whose the connection of a proxy is, in this time and as long as it has a place among those that are opening. `None` if it
/// ends here.
pub(super) async fn introduction(
    stream: &mut TcpStream,
    proxy: IpAddr,
    opening: &Arc<OpeningConnections>,
    patience: Duration,
    warnings: &LogLimits,
) -> Option<Introduction> {
    let place = opening.enter(proxy);
    let read = tokio::select! {
        read = timeout(patience.min(HEADER_TIMEOUT), read(stream)) => read.ok()?,
        () = place.given_up() => return None,
    };
    if let Err(error) = &read
        && error.kind() == io::ErrorKind::InvalidData
        && warnings.allows("proxy", proxy, WARNING_PAUSE, Instant::now())
    {
        tracing::warn!(%proxy, %error, "a trusted proxy does not say whose its connection is");
    }
    read.ok()
}

/// Reads the header at the beginning of a connection, and not one byte behind it: that may be of TLS.
///
/// # Errors
///
/// [`io::ErrorKind::InvalidData`] if there is no header, or one that is too long; those of the connection.
async fn read(stream: &mut TcpStream) -> io::Result<Introduction> {
    // Less than the shortest header of either version.
    let mut header = vec![0; SIGNATURE.len()];
    stream.read_exact(&mut header).await?;
    if header == SIGNATURE {
        let mut rest = [0; 4];
        stream.read_exact(&mut rest).await?;
        let [.., high, low] = rest;
        header.extend(rest);
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length > LONGEST {
            return Err(invalid("the header is too long"));
        }
        let begun = header.len();
        header.resize(begun + length, 0);
        stream.read_exact(header.get_mut(begun..).unwrap_or_default()).await?;
    } else if header.starts_with(b"PROXY ") {
        read_line(stream, &mut header).await?;
    } else {
        return Err(invalid("there is no header"));
    }
    parse(&header)
}

/// Reads to the end of the line.
async fn read_line(stream: &mut TcpStream, line: &mut Vec<u8>) -> io::Result<()> {
    let mut ahead = [0; LONGEST_LINE];
    while !line.ends_with(b"\n") {
        let room = LONGEST_LINE.saturating_sub(line.len());
        let room = ahead.get_mut(..room).unwrap_or_default();
        let there = if room.is_empty() { 0 } else { stream.peek(room).await? };
        let there = ahead.get(..there).unwrap_or_default();
        let end = there.iter().position(|byte| *byte == b'\n').map_or(there.len(), |end| end + 1);
        // It ends neither before the connection does nor where it has to.
        if end == 0 {
            return Err(invalid("the header does not end"));
        }
        let begun = line.len();
        line.resize(begun + end, 0);
        stream.read_exact(line.get_mut(begun..).unwrap_or_default()).await?;
    }
    Ok(())
}

/// Reads a whole header, without anything behind it.
///
/// # Errors
///
/// [`io::ErrorKind::InvalidData`].
pub(crate) fn parse(header: &[u8]) -> io::Result<Introduction> {
    let parsed = ProxyHeader::parse(header, ParseConfig::default());
    let (parsed, length) = parsed.map_err(|_malformed| invalid("the header is malformed"))?;
    if length != header.len() {
        return Err(invalid("the header is malformed"));
    }
    Ok(Introduction {
        client: parsed.proxied_address().map(|address| address.source),
        secure: parsed.ssl().is_some_and(|ssl| ssl.client_ssl()),
    })
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// How long a proxy may take to say whose its connection is.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// From the first warning about a proxy to the second.
const WARNING_PAUSE: Duration = Duration::from_secs(30);

/// What version 2 begins with.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// The longest line of version 1 (section 2.1).
const LONGEST_LINE: usize = 107;

/// Far more than addresses and what proxies add of TLS.
const LONGEST: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proxy_header::{ProxiedAddress, SslInfo, Tlv};
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    /// What is read of these bytes, which come in portions, and what is left of them.
    async fn reading(sent: &[u8], portion: usize) -> (io::Result<Introduction>, Vec<u8>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        client.set_nodelay(true).unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        let write = async {
            for portion in sent.chunks(portion) {
                client.write_all(portion).await.unwrap();
                tokio::task::yield_now().await;
            }
            client.shutdown().await.unwrap();
        };
        let read = async {
            let introduction = read(&mut server).await;
            let mut rest = Vec::new();
            server.read_to_end(&mut rest).await.unwrap();
            (introduction, rest)
        };
        tokio::join!(write, read).1
    }

    fn addresses() -> ProxiedAddress {
        ProxiedAddress::stream("203.0.113.9:4711".parse().unwrap(), "10.0.0.1:443".parse().unwrap())
    }

    fn version_2(tlvs: impl IntoIterator<Item = Tlv<'static>>) -> Vec<u8> {
        let mut header = Vec::new();
        ProxyHeader::with_tlvs(Some(addresses()), tlvs).encode_v2(&mut header).unwrap();
        header
    }

    #[tokio::test]
    async fn the_client_is_known_and_what_follows_is_left() {
        let client = |client: &str, secure| Introduction { client: client.parse().ok(), secure };
        let mut local = Vec::new();
        ProxyHeader::with_local().encode_v2(&mut local).unwrap();
        for (header, introduction) in [
            (b"PROXY TCP4 203.0.113.9 10.0.0.1 4711 443\r\n".to_vec(), client("203.0.113.9:4711", false)),
            (b"PROXY TCP6 2001:db8::9 ::1 4711 443\r\n".to_vec(), client("[2001:db8::9]:4711", false)),
            (b"PROXY UNKNOWN\r\n".to_vec(), client("", false)),
            (b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n".to_vec(), client("", false)),
            (version_2([]), client("203.0.113.9:4711", false)),
            (version_2([Tlv::Ssl(SslInfo::new(true, false, false, 0))]), client("203.0.113.9:4711", true)),
            (version_2([Tlv::Ssl(SslInfo::new(false, false, false, 0))]), client("203.0.113.9:4711", false)),
            (version_2([Tlv::Noop(3000)]), client("203.0.113.9:4711", false)),
            (local, client("", false)),
        ] {
            for rest in ["GET / HTTP/1.1\r\n", "PROXY UNKNOWN\r\n", "\r\n\r\n"] {
                for portion in [1, 7, 5000] {
                    let (read, left) = reading(&[&header, rest.as_bytes()].concat(), portion).await;
                    assert_eq!((read.unwrap(), left), (introduction, rest.as_bytes().to_vec()));
                }
            }
        }
    }

    #[tokio::test]
    async fn what_is_no_header_or_too_long_is_an_error() {
        let long = [b"PROXY UNKNOWN ".to_vec(), vec![b'x'; 200], b"\r\n".to_vec()].concat();
        let huge = [&SIGNATURE[..], b"\x21\x11\xff\xff"].concat();
        for bytes in [
            b"GET / HTTP/1.1\r\n\r\n".to_vec(),
            b"PROXY TCP4 203.0.113.9 10.0.0.1 4711\r\n".to_vec(),
            b"PROXY TCP4 203.0.113.9 10.0.0.1 4711 99999\r\n".to_vec(),
            b"PROXY UDP4 203.0.113.9 10.0.0.1 4711 443\r\n".to_vec(),
            b"PROXY TCP4 203.0.113.9 10.0.0.1 4711 443".to_vec(),
            long,
            [&SIGNATURE[..], b"\x11\x11\x00\x00"].concat(),
            [&SIGNATURE[..], b"\x21\x11\x00\x04abcd"].concat(),
            huge,
        ] {
            let (read, _) = reading(&bytes, 5000).await;
            assert_eq!(read.unwrap_err().kind(), io::ErrorKind::InvalidData, "{}", bytes.escape_ascii());
        }
        let (read, _) = reading(b"PROXY", 5000).await;
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_or_refused(bytes: Vec<u8>, version in 0..3_u8, length in 0..60_u16) {
            let begin = match version {
                0 => Vec::new(),
                1 => b"PROXY TCP4 ".to_vec(),
                _ => [&SIGNATURE[..], &[0x21, 0x11], &length.to_be_bytes()].concat(),
            };
            let _any = parse(&[begin, bytes].concat());
        }
    }
}
