//! Answers to operators.

use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};

use crate::http::Body;

/// A line of text.
pub(super) fn text(status: StatusCode, line: impl Into<String>) -> Response<Body> {
    body(status, "text/plain; charset=utf-8", line.into() + "\n")
}

/// Any content, which nobody is to keep.
pub(super) fn body(status: StatusCode, content_type: &'static str, content: String) -> Response<Body> {
    let mut response = Response::new(Body::from(content));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
