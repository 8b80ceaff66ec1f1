//! The few bytes of an IPv4 packet that a switch reads and rewrites (RFC 791, RFC 768, RFC 9293). No I/O.

use std::net::Ipv4Addr;

/// Where a packet comes from.
pub(super) fn source(packet: &[u8]) -> Option<Ipv4Addr> {
    address(packet, SOURCE)
}

/// Where a packet goes.
pub(super) fn destination(packet: &[u8]) -> Option<Ipv4Addr> {
    address(packet, DESTINATION)
}

/// Gives a packet another source, as a gateway does.
pub(super) fn set_source(packet: &mut [u8], to: Ipv4Addr) {
    rewrite(packet, SOURCE, to);
}

/// Gives a packet another destination.
pub(super) fn set_destination(packet: &mut [u8], to: Ipv4Addr) {
    rewrite(packet, DESTINATION, to);
}

fn address(packet: &[u8], at: usize) -> Option<Ipv4Addr> {
    let is_v4 = packet.first().is_some_and(|first| first >> 4 == 4);
    let bytes: [u8; 4] = packet.get(at..at + 4)?.try_into().ok()?;
    is_v4.then(|| bytes.into())
}

fn rewrite(packet: &mut [u8], at: usize, to: Ipv4Addr) {
    let Some(from) = address(packet, at) else { return };
    let header = packet.first().map_or(0, |first| usize::from(first & 0x0f) * 4);
    if let Some(bytes) = packet.get_mut(at..at + 4) {
        bytes.copy_from_slice(&to.octets());
    }
    adjust(packet, HEADER_CHECKSUM, from, to);
    // A later fragment has no header of the layer above.
    let first_fragment = word(packet, 6).is_some_and(|word| word & 0x1fff == 0);
    match packet.get(9) {
        Some(&TCP) if first_fragment => adjust(packet, header + 16, from, to),
        // A datagram without a checksum has none afterwards.
        Some(&UDP) if first_fragment && word(packet, header + 6) != Some(0) => {
            adjust(packet, header + 6, from, to);
        }
        _ => {}
    }
}

/// Updates a checksum that covers a changed address (RFC 1624).
fn adjust(packet: &mut [u8], at: usize, from: Ipv4Addr, to: Ipv4Addr) {
    let Some(checksum) = word(packet, at) else { return };
    let words = |address: Ipv4Addr| {
        let [a, b, c, d] = address.octets();
        [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])]
    };
    let mut sum = u32::from(!checksum);
    words(from).into_iter().for_each(|word| sum += u32::from(!word));
    words(to).into_iter().for_each(|word| sum += u32::from(word));
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    if let Some(bytes) = packet.get_mut(at..at + 2) {
        bytes.copy_from_slice(&(!u16::try_from(sum).unwrap_or_default()).to_be_bytes());
    }
}

fn word(packet: &[u8], at: usize) -> Option<u16> {
    packet.get(at..at + 2)?.try_into().ok().map(u16::from_be_bytes)
}

const SOURCE: usize = 12;
const DESTINATION: usize = 16;
const HEADER_CHECKSUM: usize = 10;
const TCP: u8 = 6;
const UDP: u8 = 17;

#[cfg(test)]
mod tests {
    use super::*;

    /// The sum over 16-bit words, as the checksum wants it.
    fn sum(words: &[u8]) -> u32 {
        let words = words
            .chunks(2)
            .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0)));
        let mut sum: u32 = words.sum();
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum
    }

    /// A datagram with the right checksums.
    fn datagram(from: Ipv4Addr, to: Ipv4Addr) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 31, 0, 0, 0, 0, 64, UDP, 0, 0];
        packet.extend(from.octets().into_iter().chain(to.octets()));
        packet.extend([0x1f, 0x0a, 0x1f, 0x0a, 0, 11, 0, 0, 7, 8, 9]);
        let header = !u16::try_from(sum(&packet[..20])).unwrap();
        packet[10..12].copy_from_slice(&header.to_be_bytes());
        let body = !u16::try_from(body(&packet)).unwrap();
        packet[26..28].copy_from_slice(&body.to_be_bytes());
        packet
    }

    fn body(packet: &[u8]) -> u32 {
        sum(&[&packet[12..20], &[0, UDP, 0, 11][..], &packet[20..]].concat())
    }

    #[test]
    fn a_rewritten_packet_has_the_checksums_of_one_that_was_sent_like_that() {
        let [one, two, three] = [[10, 77, 0, 1], [10, 77, 0, 2], [172, 17, 0, 2]].map(Ipv4Addr::from);
        let mut packet = datagram(one, two);
        set_source(&mut packet, three);
        assert_eq!(packet, datagram(three, two));
        set_destination(&mut packet, one);
        assert_eq!(packet, datagram(three, one));
        assert_eq!((sum(&packet[..20]), body(&packet)), (0xffff, 0xffff));
        assert_eq!((source(&packet), destination(&packet)), (Some(three), Some(one)));
    }

    #[test]
    fn other_bytes_are_no_packet() {
        let ipv6 = [0x60; 40];
        assert_eq!((source(&ipv6), destination(&[]), destination(&[0x45; 19])), (None, None, None));
        set_source(&mut [], Ipv4Addr::LOCALHOST);
        set_source(&mut [0x4f; 21], Ipv4Addr::LOCALHOST);
    }
}
