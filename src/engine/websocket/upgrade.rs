//! The server's half of the opening handshake (RFC 6455 §4.2).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{CONNECTION, HeaderMap, HeaderName, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use hyper::{Method, Request, Version};
use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};

/// Checks that a request opens a WebSocket, and returns the value of `Sec-WebSocket-Accept` for the answer 101.
pub(crate) fn check_upgrade<B>(request: &Request<B>) -> Result<String, UpgradeError> {
    let headers = request.headers();
    if request.method() != Method::GET || request.version() < Version::HTTP_11 {
        return Err(UpgradeError::Method);
    }
    if !has_token(headers, &CONNECTION, "upgrade") || !has_token(headers, &UPGRADE, "websocket") {
        return Err(UpgradeError::NoUpgrade);
    }
    if only(headers, &SEC_WEBSOCKET_VERSION) != Some("13") {
        return Err(UpgradeError::Version);
    }
    only(headers, &SEC_WEBSOCKET_KEY).filter(|key| is_key(key)).map(accept_key).ok_or(UpgradeError::Key)
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
    /// Only `GET` of HTTP/1.1 opens a WebSocket.
    #[error("a WebSocket is opened with GET of HTTP/1.1")]
    Method,
    /// `Connection: Upgrade` or `Upgrade: websocket` is missing; often a proxy that dropped them.
    #[error("the request has no `Connection: Upgrade` and `Upgrade: websocket`")]
    NoUpgrade,
    /// `Sec-WebSocket-Version` is not 13. The answer should say `Sec-WebSocket-Version: 13` (§4.4).
    #[error("the only version of WebSocket here is 13")]
    Version,
    /// `Sec-WebSocket-Key` is missing or not the base64 of 16 bytes.
    #[error("the WebSocket key is not 16 bytes of base64")]
    Key,
}

/// Lists may be split over several headers, and tokens know no case.
fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let lists = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    lists.flat_map(|list| list.split(',')).any(|item| item.trim().eq_ignore_ascii_case(token))
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

    fn upgrade_with(changed: &str, value: Option<&str>) -> Result<String, UpgradeError> {
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
        ] {
            assert!(upgrade_with(header, Some(value)).is_ok(), "{header}: {value}");
        }
    }

    #[test]
    fn each_missing_or_wrong_header_is_named() {
        for (header, values, error) in [
            ("connection", &["keep-alive", "upgraded"][..], UpgradeError::NoUpgrade),
            ("upgrade", &["h2c", "web socket"], UpgradeError::NoUpgrade),
            ("sec-websocket-version", &["8", "13, 8", ""], UpgradeError::Version),
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
        let mut post = request(&[]);
        *post.method_mut() = Method::POST;
        assert_eq!(check_upgrade(&post), Err(UpgradeError::Method));
        let mut old = request(&[]);
        *old.version_mut() = Version::HTTP_10;
        assert_eq!(check_upgrade(&old), Err(UpgradeError::Method));
    }
}
