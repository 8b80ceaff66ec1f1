//! The server's half of the opening handshake (RFC 6455 §4.2).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{
    CONNECTION, HeaderMap, HeaderName, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION,
    UPGRADE,
};
use hyper::{Method, Request, Version};
use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};

/// What the answer 101 says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Accepted {
    /// The value of `Sec-WebSocket-Accept`.
    pub(crate) proof: String,
    /// The subprotocols that the client offers, best first.
    pub(crate) offered: Vec<String>,
}

/// Whether a request asks to become a WebSocket (RFC 9110, section 7.8): over HTTP/1.1, and as its connection says, not as a
/// header that a proxy has left over.
pub(crate) fn asks_for_websocket<B>(request: &Request<B>) -> bool {
    let headers = request.headers();
    request.version() == Version::HTTP_11
        && has_token(headers, &CONNECTION, "upgrade")
        && has_token(headers, &UPGRADE, "websocket")
}

/// Checks that a request opens a WebSocket.
pub(crate) fn check_upgrade<B>(request: &Request<B>) -> Result<Accepted, UpgradeError> {
    let headers = request.headers();
    if request.method() != Method::GET || !asks_for_websocket(request) {
        return Err(UpgradeError::NoUpgrade);
    }
    if !only(headers, &SEC_WEBSOCKET_VERSION).is_some_and(|version| VERSIONS.contains(&version)) {
        return Err(UpgradeError::Version);
    }
    let offered = offered(headers).ok_or(UpgradeError::Subprotocol)?;
    let key = only(headers, &SEC_WEBSOCKET_KEY).filter(|key| is_key(key)).ok_or(UpgradeError::Key)?;
    Ok(Accepted { proof: accept_key(key), offered })
}

/// The proof that the server read the client's key (§4.2.2, step 5.4).
pub(crate) fn accept_key(sec_websocket_key: &str) -> String {
    let mut hash = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    hash.update(sec_websocket_key.as_bytes());
    hash.update(GUID.as_bytes());
    STANDARD.encode(hash.finish())
}

/// Why a request opens no WebSocket. Nothing was created; it is answered with an HTTP error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UpgradeError {
    /// It is no `GET` of HTTP/1.1 with `Connection: Upgrade` and `Upgrade: websocket`; often a proxy dropped them.
    #[error("the request does not ask for a WebSocket")]
    NoUpgrade,
    /// `Sec-WebSocket-Version` is another one. The answer should name those there are (§4.4).
    #[error("the versions of WebSocket here are 13 and 8")]
    Version,
    /// `Sec-WebSocket-Protocol` is no list of distinct tokens.
    #[error("the subprotocols are no list of distinct names")]
    Subprotocol,
    /// `Sec-WebSocket-Key` is missing or not the base64 of 16 bytes.
    #[error("the WebSocket key is not 16 bytes of base64")]
    Key,
}

/// Lists may be split over several headers, and tokens know no case.
fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let mut lists = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    let is_it = |item: &[u8]| item.trim_ascii().eq_ignore_ascii_case(token.as_bytes());
    lists.any(|list| list.as_bytes().split(|byte| *byte == b',').any(is_it))
}

/// The subprotocols that are offered. `None` if one is no token, or is offered twice (§4.1).
fn offered(headers: &HeaderMap) -> Option<Vec<String>> {
    let mut offered: Vec<String> = Vec::new();
    for list in headers.get_all(SEC_WEBSOCKET_PROTOCOL) {
        for name in list.to_str().ok()?.split(',').map(|name| name.trim_matches([' ', '\t'])) {
            if name.is_empty()
                || !name.bytes().all(is_token_char)
                || offered.iter().any(|other| other == name)
            {
                return None;
            }
            offered.push(name.to_owned());
        }
    }
    Some(offered)
}

/// RFC 9110, section 5.6.2.
const fn is_token_char(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~')
}

/// The value of a header that must not be repeated.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?.trim();
    values.next().is_none().then_some(value)
}

/// The bits left over in the last character are not checked: browsers do not care, and neither does Node.
fn is_key(text: &str) -> bool {
    let base64 = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'+' | b'/');
    text.strip_suffix("==").is_some_and(|key| key.len() == 22 && key.bytes().all(base64))
}

/// Version 8, of a draft, has the same frames; Node takes both.
const VERSIONS: [&str; 2] = ["13", "8"];

/// Given by §1.3.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::http::request::Builder;

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

    fn request(headers: &[(&str, &str)]) -> Request<()> {
        let add = |request: Builder, (name, value): &(&str, &str)| request.header(*name, *value);
        headers.iter().fold(Request::get("/"), add).body(()).unwrap()
    }

    fn upgrade_with(changed: &str, value: Option<&str>) -> Result<Accepted, UpgradeError> {
        let headers = [
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", KEY),
        ];
        let change = |(name, old)| Some((name, if name == changed { value? } else { old }));
        check_upgrade(&request(&headers.into_iter().filter_map(change).collect::<Vec<_>>()))
    }

    #[test]
    fn the_accept_value_is_that_of_the_specification() {
        assert_eq!(accept_key(KEY), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(accept_key(KEY), tungstenite::handshake::derive_accept_key(KEY.as_bytes()));
    }

    #[test]
    fn a_request_of_a_browser_is_accepted() {
        for (header, value) in [
            ("", ""),
            ("connection", "keep-alive, Upgrade"),
            ("connection", "UPGRADE"),
            ("upgrade", "WebSocket"),
            ("upgrade", "h2c , websocket"),
            ("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA=="),
            ("sec-websocket-version", "8"),
        ] {
            assert!(upgrade_with(header, Some(value)).is_ok(), "{header}: {value}");
        }
    }

    #[test]
    fn each_missing_or_wrong_header_is_named() {
        for (header, values, error) in [
            ("connection", &["keep-alive", "upgraded"][..], UpgradeError::NoUpgrade),
            ("upgrade", &["h2c", "web socket"], UpgradeError::NoUpgrade),
            ("sec-websocket-version", &["7", "13, 8", ""], UpgradeError::Version),
            (
                "sec-websocket-key",
                &["", "dGhlIHNhbXBsZSBub25jZQ", "dGhl", "dGhlIHNhbXBsZSBub25jZS4="],
                UpgradeError::Key,
            ),
        ] {
            assert_eq!(upgrade_with(header, None), Err(error), "{header}");
            for value in values {
                assert_eq!(upgrade_with(header, Some(value)), Err(error), "{header}: {value}");
            }
        }
    }

    #[test]
    fn a_repeated_key_is_refused() {
        let mut twice = request(&[
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", KEY),
        ]);
        assert!(check_upgrade(&twice).is_ok());
        twice.headers_mut().append("sec-websocket-key", KEY.parse().unwrap());
        assert_eq!(check_upgrade(&twice), Err(UpgradeError::Key));
    }

    #[test]
    fn only_get_of_http_1_1_upgrades() {
        let whole = [
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", KEY),
        ];
        let (mut post, mut old) = (request(&whole), request(&whole));
        *post.method_mut() = Method::POST;
        assert_eq!(check_upgrade(&post), Err(UpgradeError::NoUpgrade));
        *old.version_mut() = Version::HTTP_10;
        assert_eq!(check_upgrade(&old), Err(UpgradeError::NoUpgrade));
    }

    #[test]
    fn subprotocols_are_a_list_of_distinct_tokens() {
        for (value, names) in [
            ("app.v1", Some(&["app.v1"][..])),
            ("app.v2 ,\tapp.v1", Some(&["app.v2", "app.v1"])),
            ("", None),
            ("a,", None),
            ("a, a", None),
            ("a b", None),
            ("a/b", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(SEC_WEBSOCKET_PROTOCOL, value.parse().unwrap());
            assert_eq!(
                offered(&headers),
                names.map(|names| names.iter().map(|name| (*name).to_owned()).collect())
            );
        }
        assert_eq!(offered(&HeaderMap::new()), Some(Vec::new()));
    }
}
