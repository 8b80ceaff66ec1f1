//! Answers to operators.

use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::{Response, StatusCode};
use serde_json::Value;

use crate::http::Body;

/// A line of text.
pub(super) fn text(status: StatusCode, line: impl Into<String>) -> Response<Body> {
    body(status, "text/plain; charset=utf-8", line.into() + "\n")
}

/// A value.
pub(super) fn json(value: &Value) -> Response<Body> {
    body(StatusCode::OK, "application/json", value.to_string())
}

/// Any content, which nobody is to keep.
pub(super) fn body(
    status: StatusCode,
    content_type: &'static str,
    content: impl Into<Body>,
) -> Response<Body> {
    let mut response = Response::new(content.into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
