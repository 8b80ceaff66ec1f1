//! The cluster page: one document with its style and its script inside, so that it works below any path, and needs nothing from
//! anywhere. A browser runs nothing else in it.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::header::{CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, REFERRER_POLICY, X_FRAME_OPTIONS};
use hyper::{Response, StatusCode};

use super::answer::body;
use crate::http::Body;

/// The page. It holds nothing of the cluster, so it is for everybody: it asks for the token itself.
pub(super) fn answer() -> Response<Body> {
    let mut response = body(StatusCode::OK, "text/html; charset=utf-8", DOCUMENT.clone());
    let headers = response.headers_mut();
    if let Ok(policy) = HeaderValue::from_str(&POLICY) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(
        HeaderName::from_static("cross-origin-opener-policy"),
        HeaderValue::from_static("same-origin"),
    );
    response
}

static SCRIPT: LazyLock<String> = LazyLock::new(|| SCRIPTS.concat());
static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| {
    let styled = MARKUP.replacen("<style></style>", &format!("<style>{STYLE}</style>"), 1);
    styled.replacen("<script></script>", &format!("<script>{}</script>", *SCRIPT), 1).into()
});

/// Allows the style and the script of the page by their hashes, and requests to where it comes from.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = |content: &str| {
        let digest = ring::digest::digest(&ring::digest::SHA256, content.as_bytes());
        STANDARD.encode(digest)
    };
    format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; img-src data:; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        hash(STYLE),
        hash(&SCRIPT)
    )
});

const MARKUP: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");
/// In the order in which they need each other.
const SCRIPTS: [&str; 4] = [
    include_str!("page/text.js"),
    include_str!("page/graph.js"),
    include_str!("page/charts.js"),
    include_str!("page/page.js"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_whole_and_needs_nothing_from_elsewhere() {
        let page = std::str::from_utf8(&DOCUMENT).unwrap();
        assert!(page.contains(STYLE) && page.contains(SCRIPTS[3]));
        assert!(!STYLE.contains("</style") && !SCRIPT.contains("</script"), "it would end early");
        for other in ["src=", "@import", "url(", " style=", " onclick="] {
            assert!(!page.contains(other), "{other}");
        }
        let addresses = page.replace("http://www.w3.org/2000/svg", "");
        assert!(!addresses.contains("http://") && !addresses.contains("https://"));
    }
}
