//! The extension of a WebSocket: which offer of `permessage-deflate` is accepted (RFC 7692 §5, §7.1).

use hyper::header::{HeaderMap, HeaderValue, SEC_WEBSOCKET_EXTENSIONS};

/// The value of `Sec-WebSocket-Extensions` that accepts the client's first acceptable offer; `None` if no offer is acceptable.
/// `window_bits` is the window of what this server deflates.
///
/// Neither side keeps context: a message is deflated once for all clients, and a client costs no window while it is
/// idle. All frames have one window, so an offer that wants a smaller one is declined. What the client says of its own window is
/// of no consequence: the largest one reads all.
pub(crate) fn accept_deflate(headers: &HeaderMap, window_bits: u8) -> Option<HeaderValue> {
    let lists: Option<Vec<&str>> =
        headers.get_all(SEC_WEBSOCKET_EXTENSIONS).iter().map(|value| value.to_str().ok()).collect();
    let offers = split(&lists?.join(","), ',')?;
    let says_window = offers.iter().find_map(|offer| accept(offer, window_bits))?;
    // A client that is told may remember less (section 7.1.2.1).
    if !says_window && window_bits == LARGEST_WINDOW {
        return Some(HeaderValue::from_static(ACCEPTED));
    }
    HeaderValue::try_from(format!("{ACCEPTED}; server_max_window_bits={window_bits}")).ok()
}

/// Whether an offer names a window for this server; `None` if it is not acceptable.
fn accept(offer: &str, window_bits: u8) -> Option<bool> {
    let parts = split(offer, ';')?;
    let (name, parameters) = parts.split_first()?;
    if !name.eq_ignore_ascii_case("permessage-deflate") {
        return None;
    }
    let mut seen = Vec::new();
    let mut says_window = false;
    for parameter in parameters {
        let (name, value) = match parameter.split_once('=') {
            Some((name, value)) => (name.trim(), Some(unquote(value.trim()))),
            None => (parameter.as_str(), None),
        };
        let name = name.to_ascii_lowercase();
        match (name.as_str(), value) {
            (
                "server_no_context_takeover" | "client_no_context_takeover" | "client_max_window_bits",
                None,
            ) => {}
            ("client_max_window_bits", Some(bits)) if window(bits).is_some() => {}
            ("server_max_window_bits", Some(bits))
                if window(bits).is_some_and(|bits| bits >= window_bits) =>
            {
                says_window = true;
            }
            _ => return None,
        }
        if seen.contains(&name) {
            return None;
        }
        seen.push(name);
    }
    Some(says_window)
}

/// The exponent of a window: 8 to 15, without a leading zero.
fn window(bits: &str) -> Option<u8> {
    let bits = bits.parse().ok().filter(|_| !bits.starts_with(['0', '+']))?;
    (8..=LARGEST_WINDOW).contains(&bits).then_some(bits)
}

/// The items of a list whose separators may be quoted; `None` if a quote does not end.
fn split(list: &str, separator: char) -> Option<Vec<String>> {
    let mut items = vec![String::new()];
    let (mut quoted, mut escaped) = (false, false);
    for char in list.chars() {
        if char == separator && !quoted {
            items.push(String::new());
            continue;
        }
        quoted ^= char == '"' && !escaped;
        escaped = quoted && char == '\\' && !escaped;
        items.last_mut()?.push(char);
    }
    (!quoted).then(|| items.iter().map(|item| item.trim().to_owned()).collect())
}

/// A value may be a quoted string that holds a token (RFC 6455 §9.1).
fn unquote(value: &str) -> &str {
    value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value)
}

const ACCEPTED: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

/// What is meant where nothing is said.
const LARGEST_WINDOW: u8 = 15;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn accepted(offers: &[&str]) -> Option<String> {
        accepted_within(15, offers)
    }

    fn accepted_within(window_bits: u8, offers: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for offer in offers {
            headers.append(SEC_WEBSOCKET_EXTENSIONS, HeaderValue::from_str(offer).unwrap());
        }
        Some(accept_deflate(&headers, window_bits)?.to_str().unwrap().to_owned())
    }

    #[test]
    fn the_offers_of_browsers_are_accepted_without_context() {
        for offer in [
            "permessage-deflate",
            "permessage-deflate; client_max_window_bits",
            "permessage-deflate; client_max_window_bits=8",
            "Permessage-Deflate ; client_max_window_bits = \"10\"",
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
            "x-webkit-deflate-frame, permessage-deflate",
            "other; a=\"permessage-deflate, x; y\"; b, permessage-deflate",
        ] {
            assert_eq!(accepted(&[offer]).as_deref(), Some(ACCEPTED), "{offer}");
        }
        assert_eq!(accepted(&["first", "permessage-deflate"]).as_deref(), Some(ACCEPTED));
        let with_window = format!("{ACCEPTED}; server_max_window_bits=15");
        assert_eq!(accepted(&["permessage-deflate; server_max_window_bits=15"]), Some(with_window));
    }

    #[test]
    fn a_smaller_window_is_told_and_accepted_for_clients_that_want_one_no_smaller() {
        let told = Some(format!("{ACCEPTED}; server_max_window_bits=11"));
        for offer in [
            "permessage-deflate",
            "permessage-deflate; server_max_window_bits=11",
            "permessage-deflate; server_max_window_bits=12; client_max_window_bits",
            "permessage-deflate; server_max_window_bits=10, permessage-deflate",
        ] {
            assert_eq!(accepted_within(11, &[offer]), told, "{offer}");
        }
        for bits in ["10", "8", "011", "+11", "16", "257", ""] {
            let offer = format!("permessage-deflate; server_max_window_bits={bits}");
            assert_eq!(accepted_within(11, &[&offer]), None, "{offer}");
        }
    }

    #[test]
    fn an_offer_that_is_unknown_or_contradictory_is_declined_and_the_next_one_looked_at() {
        for offer in [
            "permessage-deflate; server_max_window_bits=10",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; server_max_window_bits=16",
            "permessage-deflate; client_max_window_bits=7",
            "permessage-deflate; client_max_window_bits=08",
            "permessage-deflate; client_max_window_bits=",
            "permessage-deflate; client_max_window_bits; client_max_window_bits=9",
            "permessage-deflate; server_no_context_takeover=true",
            "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
            "permessage-deflate; unknown",
            "permessage-deflate;",
            "permessage-deflate2",
            "permessage-bzip2",
            "",
        ] {
            assert_eq!(accepted(&[offer]), None, "{offer}");
            assert_eq!(accepted(&[offer, "permessage-deflate"]).as_deref(), Some(ACCEPTED), "{offer}");
        }
        assert_eq!(accepted(&["permessage-deflate; x=\"never ends, permessage-deflate"]), None);
        assert_eq!(accepted(&[]), None);
    }

    proptest! {
        #[test]
        fn any_offers_are_accepted_or_declined(offers in proptest::collection::vec("[ -~]{0,40}", 0..4)) {
            let offers: Vec<&str> = offers.iter().map(String::as_str).collect();
            let accepted = accepted(&offers);
            prop_assert!(accepted.is_none() || offers.join(",").to_ascii_lowercase().contains("permessage-deflate"));
        }
    }
}
