//! The client's half of WebSocket framing, as cheap as a load generator needs it (RFC 6455, section 5.2). No I/O.

/// The first byte of a frame that is a whole message.
pub(crate) const TEXT: u8 = 0x81;
pub(crate) const CLOSE: u8 = 0x88;
pub(crate) const PING: u8 = 0x89;
pub(crate) const PONG: u8 = 0x8a;

/// Appends a masked frame.
pub(crate) fn frame(first: u8, payload: &[u8], out: &mut Vec<u8>) {
    out.push(first);
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length @ ..=125), _) => out.push(0x80 | length),
        (_, Ok(length)) => {
            out.push(0x80 | 126);
            out.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&MASK);
    out.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
}

/// Cuts what a server sends into frames; holds memory only while a frame is incomplete.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    partial: Vec<u8>,
}

impl Frames {
    /// Visits the payload of every frame that is now complete, with its first byte.
    pub(crate) fn feed(&mut self, bytes: &[u8], each: impl FnMut(u8, &[u8])) {
        if self.partial.is_empty() {
            self.partial.extend_from_slice(cut(bytes, each));
        } else {
            let mut whole = std::mem::take(&mut self.partial);
            whole.extend_from_slice(bytes);
            self.partial.extend_from_slice(cut(&whole, each));
        }
    }
}

/// Returns what is left behind the last complete frame.
fn cut(mut bytes: &[u8], mut each: impl FnMut(u8, &[u8])) -> &[u8] {
    while let Some((first, payload, rest)) = split(bytes) {
        each(first, payload);
        bytes = rest;
    }
    bytes
}

fn split(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[first, length], rest) = bytes.split_first_chunk::<2>()?;
    let (length, rest) = match length {
        127 => {
            let (length, rest) = rest.split_first_chunk()?;
            (usize::try_from(u64::from_be_bytes(*length)).ok()?, rest)
        }
        126 => {
            let (length, rest) = rest.split_first_chunk()?;
            (u16::from_be_bytes(*length).into(), rest)
        }
        short => (short.into(), rest),
    };
    let (payload, rest) = rest.split_at_checked(length)?;
    Some((first, payload, rest))
}

/// The masking key, which is no secret.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

#[cfg(test)]
mod tests {
    use super::*;

    fn server_frame(payload: &[u8]) -> Vec<u8> {
        let mut masked = Vec::new();
        frame(TEXT, payload, &mut masked);
        let header = masked.len() - payload.len() - 4;
        masked[1] &= 0x7f;
        [&masked[..header], payload].concat()
    }

    #[test]
    fn frames_of_every_size_are_found_wherever_reads_are_cut() {
        let payloads = [0, 1, 125, 126, 70_000].map(|length| vec![b'x'; length]);
        let stream: Vec<u8> = payloads.iter().flat_map(|payload| server_frame(payload)).collect();
        for chunk in [1, 2, 7, 1000, stream.len()] {
            let (mut frames, mut seen) = (Frames::default(), Vec::new());
            stream.chunks(chunk).for_each(|bytes| {
                frames.feed(bytes, |first, payload| seen.push((first, payload.len())));
            });
            assert_eq!(
                seen,
                payloads.each_ref().map(|payload| (TEXT, payload.len())),
                "in chunks of {chunk}"
            );
            assert!(frames.partial.is_empty());
        }
    }

    #[test]
    fn a_masked_frame_reads_back() {
        let mut masked = Vec::new();
        frame(TEXT, b"40", &mut masked);
        assert_eq!(masked[..2], [0x81, 0x82]);
        let unmasked: Vec<u8> = masked[6..].iter().zip(MASK).map(|(byte, mask)| byte ^ mask).collect();
        assert_eq!(unmasked, b"40");
    }
}
