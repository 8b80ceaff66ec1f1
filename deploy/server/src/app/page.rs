//! The page of the application: four files that are compiled in, so it needs nothing from anywhere.

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response};
use socketmesh::http::{self, Body};

/// Answers everything that is not Socket.IO.
#[derive(Debug)]
pub(crate) struct Page {
    index: Bytes,
}

impl Page {
    /// The page for clients that connect at `path`.
    pub(crate) fn new(path: &str) -> Self {
        Self { index: INDEX.replace("/socket.io/", path).into() }
    }

    pub(crate) fn answer(&self, request: &Request<Incoming>) -> Response<Body> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return http::not_found(request);
        }
        let (kind, content) = match request.uri().path() {
            "/" => ("text/html", self.index.clone()),
            "/demo.css" => ("text/css", STYLE.into()),
            "/demo.mjs" => ("text/javascript", SCRIPT.into()),
            "/client.mjs" => ("text/javascript", CLIENT.into()),
            _ => return http::not_found(request),
        };
        let mut response = Response::new(Body::from(content));
        let headers = response.headers_mut();
        if let Ok(kind) = HeaderValue::from_str(&format!("{kind}; charset=utf-8")) {
            headers.insert(CONTENT_TYPE, kind);
        }
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        response
    }
}

const INDEX: &str = include_str!("../../page/index.html");
const STYLE: &str = include_str!("../../page/demo.css");
const SCRIPT: &str = include_str!("../../page/demo.mjs");
/// The client that the page uses where it cannot get the official one.
const CLIENT: &str = include_str!("../../page/client.mjs");
