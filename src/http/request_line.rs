//! What clients write into the target of a request as it is, although RFC 3986 wants it escaped: quotes, angle brackets and
//! letters beyond ASCII, as in `?filter={"a":1}`. Node takes that; the HTTP library refuses it before anybody is asked.

/// Escapes those bytes of a first line, or of a part of it. `None` where there are none.
pub(super) fn escape(line: &[u8]) -> Option<Vec<u8>> {
    let first = line.iter().position(|byte| is_odd(*byte))?;
    let mut escaped = Vec::with_capacity(line.len() + 32);
    escaped.extend_from_slice(line.get(..first)?);
    for byte in line.get(first..)? {
        if is_odd(*byte) {
            escaped.extend_from_slice(format!("%{byte:02X}").as_bytes());
        } else {
            escaped.push(*byte);
        }
    }
    Some(escaped)
}

const fn is_odd(byte: u8) -> bool {
    matches!(byte, b'"' | b'<' | b'>' | b'\t' | 0x0c | 0x80..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_bytes_are_escaped_and_others_stay() {
        assert_eq!(escape(b"GET /a?x={%20|}[]^`\\ HTTP/1.1\r"), None);
        let escaped = escape("GET /?x={\"a\":<é>} HTTP/1.1\r".as_bytes()).unwrap();
        assert_eq!(escaped, b"GET /?x={%22a%22:%3C%C3%A9%3E} HTTP/1.1\r");
    }
}
