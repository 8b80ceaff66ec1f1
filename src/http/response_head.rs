//! The names of headers in an answer of HTTP/1.1, as Node spells them. The HTTP library writes every part of a name with a
//! capital, which is not how RFC 6455 spells `WebSocket`; some devices compare names letter by letter.

/// The head of an answer that accepts a WebSocket, respelled. `None` for any other bytes.
pub(super) fn respell(head: &[u8]) -> Option<Vec<u8>> {
    if !head.starts_with(SWITCHING_PROTOCOLS) {
        return None;
    }
    let mut head = head.to_vec();
    let found = |bytes: &[u8]| bytes.windows(LIBRARY.len()).position(|name| name == LIBRARY);
    while let Some(at) = found(&head) {
        head.get_mut(at..)?.get_mut(..NODE.len())?.copy_from_slice(NODE);
    }
    Some(head)
}

const SWITCHING_PROTOCOLS: &[u8] = b"HTTP/1.1 101 ";

/// The begin of a line, so that values stay as they are.
const LIBRARY: &[u8; 16] = b"\r\nSec-Websocket-";
const NODE: &[u8; 16] = b"\r\nSec-WebSocket-";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_accepted_websocket_is_spelled_as_in_its_specification_and_values_stay() {
        let head = "HTTP/1.1 101 Switching Protocols\r\nSec-Websocket-Accept: a\r\nX: Sec-Websocket-\r\nSec-Websocket-Protocol: b\r\n\r\n";
        let respelled = respell(head.as_bytes()).unwrap();
        assert_eq!(
            str::from_utf8(&respelled).unwrap(),
            "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: a\r\nX: Sec-Websocket-\r\nSec-WebSocket-Protocol: b\r\n\r\n"
        );
        assert_eq!(respell(b"HTTP/1.1 200 OK\r\nSec-Websocket-Version: 13\r\n"), None);
    }
}
