//! The extension of a WebSocket: which offer of `permessage-deflate` is accepted (RFC 7692 §5, §7.1).

use hyper::header::{HeaderMap, SEC_WEBSOCKET_EXTENSIONS};

/// The value of `Sec-WebSocket-Extensions` that accepts the client's first acceptable offer; `None` if no offer is acceptable.
///
/// Neither side keeps context: a message is deflated once for all clients, and a client costs no window while it is
/// idle. A window smaller than the usual one would need frames of its own, so an offer that wants that is declined. What
/// the client says of its own window is of no consequence: the largest one reads all.
pub(crate) fn accept_deflate(headers: &HeaderMap) -> Option<&'static str> {
    let lists: Option<Vec<&str>> =
        headers.get_all(SEC_WEBSOCKET_EXTENSIONS).iter().map(|value| value.to_str().ok()).collect();
    let offers = split(&lists?.join(","), ',')?;
    offers.iter().find_map(|offer| accept(offer))
}

fn accept(offer: &str) -> Option<&'static str> {
    let parts = split(offer, ';')?;
    let (name, parameters) = parts.split_first()?;
    if !name.eq_ignore_ascii_case("permessage-deflate") {
        return None;
    }
    let mut seen = Vec::new();
    let mut window = false;
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
            ("client_max_window_bits", Some(bits)) if is_window(bits) => {}
            ("server_max_window_bits", Some("15")) => window = true,
            _ => return None,
        }
        if seen.contains(&name) {
            return None;
        }
        seen.push(name);
    }
    Some(if window { ACCEPTED_WINDOW } else { ACCEPTED })
}

/// The exponent of a window: 8 to 15, without a leading zero.
fn is_window(bits: &str) -> bool {
    matches!(bits, "8" | "9" | "10" | "11" | "12" | "13" | "14" | "15")
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
const ACCEPTED_WINDOW: &str =
    "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=15";

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;
    use proptest::prelude::*;

    fn accepted(offers: &[&str]) -> Option<&'static str> {
        let mut headers = HeaderMap::new();
        for offer in offers {
            headers.append(SEC_WEBSOCKET_EXTENSIONS, HeaderValue::from_str(offer).unwrap());
        }
        accept_deflate(&headers)
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
            assert_eq!(accepted(&[offer]), Some(ACCEPTED), "{offer}");
        }
        assert_eq!(accepted(&["first", "permessage-deflate"]), Some(ACCEPTED));
        assert_eq!(accepted(&["permessage-deflate; server_max_window_bits=15"]), Some(ACCEPTED_WINDOW));
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
            assert_eq!(accepted(&[offer, "permessage-deflate"]), Some(ACCEPTED), "{offer}");
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
