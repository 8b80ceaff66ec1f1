//! Cross-origin requests, as the `cors` module of Node answers them, and WebSockets, which browsers let any page open.
//!
//! CORS protects the users of browsers from other pages, and refuses no request over HTTP. What is no request over HTTP is refused
//! here, where origins are named.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use hyper::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, HOST, HeaderValue, ORIGIN, VARY,
};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Response, StatusCode};

use super::body::Body;
use crate::catch_panic;

/// Which pages of other origins may read the answers of this node, and open WebSockets and WebTransport sessions to it. Node:
/// option `cors`, which is about answers only.
///
/// Browsers apply CORS to answers over HTTP, and let any page open a WebSocket with the cookies of its user. So where origins are
/// named, a WebSocket or WebTransport session from a page of another one is refused; the node's own origin (that of the
/// `Host` of the request) is always allowed, and so is a client without an `Origin`, which is no browser. With
/// [`any_websocket`](Self::any_websocket) nothing is refused, as in Node.
///
/// ```
/// use std::time::Duration;
/// use socketmesh::http::Cors;
///
/// let cors = Cors::origins(["https://chat.example", "https://admin.example"])
///     .credentials()
///     .max_age(Duration::from_secs(600));
/// ```
#[derive(Debug, Clone)]
pub struct Cors {
    origin: Origin,
    methods: HeaderValue,
    allowed_headers: Option<HeaderValue>,
    exposed_headers: Option<HeaderValue>,
    credentials: bool,
    max_age: Option<Duration>,
    any_websocket: bool,
    choose: Option<Choose>,
}

#[derive(Clone)]
enum Origin {
    Any,
    Exactly(HeaderValue),
    Matching(Arc<dyn Fn(&str) -> bool + Send + Sync>),
}

/// What counts for one request. Its own is in a box, because it is kept while the request waits for its answer.
pub(crate) enum Chosen<'a> {
    Same(&'a Cors),
    Own(Box<Cors>),
}

/// Chooses for each request.
#[derive(Clone)]
struct Choose(Arc<ChooseFn>);

type ChooseFn = dyn Fn(&Parts) -> Option<Cors> + Send + Sync;

impl Cors {
    /// Allows any page, without credentials. Node: `origin: "*"`.
    pub fn any() -> Self {
        Self::new(Origin::Any)
    }

    /// Allows any page. The answer names its origin, so that [`credentials`](Self::credentials) can be allowed. Node:
    /// `origin: true`.
    pub fn reflect() -> Self {
        Self::matching(|_| true)
    }

    /// Allows the pages of one origin. An origin that is not a valid header value allows no page. Node:
    /// `origin: "https://…"`.
    pub fn origin(origin: &str) -> Self {
        HeaderValue::from_str(origin)
            .map_or_else(|_| Self::matching(|_| false), |value| Self::new(Origin::Exactly(value)))
    }

    /// Allows the pages of these origins. Node: an array.
    pub fn origins<O: Into<String>>(origins: impl IntoIterator<Item = O>) -> Self {
        let origins: Vec<String> = origins.into_iter().map(Into::into).collect();
        Self::matching(move |origin| origins.iter().any(|allowed| allowed == origin))
    }

    /// Allows the pages whose origin `allows` accepts. Node: a regular expression or a function.
    pub fn matching(allows: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        Self::new(Origin::Matching(Arc::new(allows)))
    }

    /// Has `choose` say for each request what counts for it: for one path, host or customer something else than for another. `None`
    /// is as if [`cors`](super::Config::cors) were not set: the answer has no headers of CORS, and a WebSocket of any page is
    /// accepted. Whatever else is set on this value does not count. Node: `cors` as a function of the request.
    ///
    /// It must not block, and is called for preflights as well. If it panics, no page is allowed.
    ///
    /// ```
    /// use socketmesh::http::Cors;
    ///
    /// let cors = Cors::by_request(|request| match request.headers.get("host")?.to_str().ok()? {
    ///     "public.example" => Some(Cors::any()),
    ///     host => Some(Cors::origin(&format!("https://{host}")).credentials()),
    /// });
    /// ```
    pub fn by_request(choose: impl Fn(&Parts) -> Option<Self> + Send + Sync + 'static) -> Self {
        Self { choose: Some(Choose(Arc::new(choose))), ..Self::nobody() }
    }

    /// Allows requests with cookies and authorization.
    #[must_use]
    pub fn credentials(mut self) -> Self {
        self.credentials = true;
        self
    }

    /// Sets the methods that the answer to a preflight allows. Default `GET,HEAD,PUT,PATCH,POST,DELETE`. A text that is not a
    /// valid header value is ignored.
    #[must_use]
    pub fn methods(mut self, methods: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(methods) {
            self.methods = value;
        }
        self
    }

    /// Sets the request headers that the answer to a preflight allows. Default: those that the preflight asks for. A text
    /// that is not a valid header value restores the default.
    #[must_use]
    pub fn allowed_headers(mut self, headers: &str) -> Self {
        self.allowed_headers = HeaderValue::from_str(headers).ok();
        self
    }

    /// Sets the response headers that pages may read. A text that is not a valid header value allows none.
    #[must_use]
    pub fn exposed_headers(mut self, headers: &str) -> Self {
        self.exposed_headers = HeaderValue::from_str(headers).ok();
        self
    }

    /// Sets how long a browser may cache the answer to a preflight.
    #[must_use]
    pub fn max_age(mut self, age: Duration) -> Self {
        self.max_age = Some(age);
        self
    }

    /// Lets pages of every origin open WebSockets and WebTransport sessions, as Node does. Then
    /// [`AllowRequest`](super::AllowRequest) has to check the origin where cookies authenticate users.
    #[must_use]
    pub fn any_websocket(mut self) -> Self {
        self.any_websocket = true;
        self
    }

    /// Whether the page that a request comes from may open a WebSocket or a WebTransport session.
    /// `secure`: it came over TLS, and not only to a proxy.
    pub(crate) fn admits(&self, request: &HeaderMap, secure: bool) -> bool {
        let Some(origin) = request.get(ORIGIN).filter(|_| !self.any_websocket) else { return true };
        let is_own = || {
            let host = request.get(HOST).and_then(|host| host.to_str().ok());
            let page = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
            page.zip(host).is_some_and(|((scheme, page), host)| {
                let port = if scheme == "https" { ":443" } else { ":80" };
                (scheme == "https" || !secure) && host.strip_suffix(port).unwrap_or(host) == page
            })
        };
        let is_named = match &self.origin {
            Origin::Any => true,
            Origin::Exactly(allowed) => origin == allowed,
            Origin::Matching(allows) => origin.to_str().is_ok_and(|origin| allows(origin)),
        };
        is_named || is_own()
    }

    /// Whether each request has its own.
    pub(crate) const fn is_chosen(&self) -> bool {
        self.choose.is_some()
    }

    /// What counts for this request; `None` if nothing does.
    pub(crate) fn of(&self, request: &Parts) -> Option<Chosen<'_>> {
        let Some(Choose(choose)) = &self.choose else { return Some(Chosen::Same(self)) };
        let chosen = catch_panic::call(|| choose(request));
        if chosen.is_none() {
            tracing::error!("a function that chooses CORS panicked");
        }
        chosen.unwrap_or_else(|| Some(Self::nobody())).map(|own| Chosen::Own(Box::new(own)))
    }

    fn nobody() -> Self {
        Self::matching(|_| false)
    }

    fn new(origin: Origin) -> Self {
        Self {
            origin,
            methods: HeaderValue::from_static("GET,HEAD,PUT,PATCH,POST,DELETE"),
            allowed_headers: None,
            exposed_headers: None,
            credentials: false,
            max_age: None,
            any_websocket: false,
            choose: None,
        }
    }

    /// The answer to an OPTIONS request. Node adds `Content-Length: 0`, which a 204 must not have (RFC 9110, section 8.6) and
    /// hyper does not send.
    pub(crate) fn preflight(&self, request: &HeaderMap) -> Response<Body> {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        self.allow(request.get(ORIGIN), headers);
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, self.methods.clone());
        if let Some(allowed) = &self.allowed_headers {
            headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, allowed.clone());
        } else {
            vary(headers, "Access-Control-Request-Headers");
            if let Some(asked) = request.get(ACCESS_CONTROL_REQUEST_HEADERS) {
                headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
            }
        }
        if let Some(age) = self.max_age {
            headers.insert(ACCESS_CONTROL_MAX_AGE, age.as_secs().into());
        }
        response
    }

    /// Adds the headers of CORS to the answer to any other request, errors and 101 included. `origin` is the header of the
    /// request.
    pub(crate) fn apply(&self, origin: Option<&HeaderValue>, response: &mut HeaderMap) {
        self.allow(origin, response);
        if let Some(exposed) = &self.exposed_headers {
            response.insert(ACCESS_CONTROL_EXPOSE_HEADERS, exposed.clone());
        }
    }

    fn allow(&self, origin: Option<&HeaderValue>, response: &mut HeaderMap) {
        match &self.origin {
            Origin::Any => {
                response.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
            }
            Origin::Exactly(allowed) => {
                response.insert(ACCESS_CONTROL_ALLOW_ORIGIN, allowed.clone());
                vary(response, "Origin");
            }
            Origin::Matching(allows) => {
                if let Some(origin) = origin
                    && origin.to_str().is_ok_and(|origin| allows(origin))
                {
                    response.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
                }
                vary(response, "Origin");
            }
        }
        if self.credentials {
            response.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
    }
}

/// Adds one more name to `Vary`.
fn vary(headers: &mut HeaderMap, name: &'static str) {
    let value = match headers.get(VARY).and_then(|vary| vary.to_str().ok()) {
        Some(before) => HeaderValue::from_str(&format!("{before}, {name}")).ok(),
        None => Some(HeaderValue::from_static(name)),
    };
    if let Some(value) = value {
        headers.insert(VARY, value);
    }
}

impl Deref for Chosen<'_> {
    type Target = Cors;

    fn deref(&self) -> &Cors {
        match self {
            Self::Same(cors) => cors,
            Self::Own(cors) => cors,
        }
    }
}

impl fmt::Debug for Choose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("by request")
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Exactly(origin) => origin.fmt(f),
            Self::Matching(_) => f.write_str("matching"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(origin: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(ORIGIN, HeaderValue::from_str(origin).unwrap());
        headers.insert(ACCESS_CONTROL_REQUEST_HEADERS, HeaderValue::from_static("x-token"));
        headers
    }

    fn header(headers: &HeaderMap, name: hyper::header::HeaderName) -> Option<&str> {
        headers.get(name).map(|value| value.to_str().unwrap())
    }

    #[test]
    fn a_preflight_is_204_and_reflects_the_headers_asked_for() {
        let response = Cors::reflect().credentials().preflight(&request("http://a"));
        assert_eq!(response.status(), 204);
        let headers = response.headers();
        assert_eq!(header(headers, ACCESS_CONTROL_ALLOW_ORIGIN), Some("http://a"));
        assert_eq!(header(headers, ACCESS_CONTROL_ALLOW_METHODS), Some("GET,HEAD,PUT,PATCH,POST,DELETE"));
        assert_eq!(header(headers, ACCESS_CONTROL_ALLOW_HEADERS), Some("x-token"));
        assert_eq!(header(headers, ACCESS_CONTROL_ALLOW_CREDENTIALS), Some("true"));
        assert_eq!(header(headers, VARY), Some("Origin, Access-Control-Request-Headers"));
    }

    #[test]
    fn an_origin_that_is_not_allowed_only_misses_its_header() {
        let cors = Cors::origins(["http://a", "http://b"]);
        for (origin, allowed) in [("http://a", true), ("http://b", true), ("http://c", false)] {
            let mut response = HeaderMap::new();
            cors.apply(request(origin).get(ORIGIN), &mut response);
            assert_eq!(header(&response, ACCESS_CONTROL_ALLOW_ORIGIN).is_some(), allowed, "{origin}");
            assert_eq!(header(&response, VARY), Some("Origin"));
        }
    }

    #[test]
    fn each_request_may_have_its_own() {
        let cors = Cors::by_request(|request| match request.uri.path() {
            "/open/" => Some(Cors::any()),
            "/closed/" => None,
            "/panic/" => panic!("a function of the tests panics"),
            _ => Some(Cors::by_request(|_| Some(Cors::any()))),
        });
        assert!(cors.is_chosen());
        let of = |path: &str| {
            let (mut head, ()) = hyper::Request::new(()).into_parts();
            head.uri = path.parse().unwrap();
            let (cors, origin) = (cors.of(&head)?, request("http://a"));
            let mut response = HeaderMap::new();
            cors.apply(origin.get(ORIGIN), &mut response);
            let allowed = header(&response, ACCESS_CONTROL_ALLOW_ORIGIN).is_some();
            assert_eq!(cors.admits(&origin, false), allowed);
            Some(allowed)
        };
        assert_eq!((of("/open/"), of("/closed/")), (Some(true), None));
        assert_eq!((of("/panic/"), of("/twice/")), (Some(false), Some(false)), "nobody is allowed");
    }

    #[test]
    fn any_origin_needs_no_vary() {
        let mut response = HeaderMap::new();
        Cors::any().apply(request("http://a").get(ORIGIN), &mut response);
        assert_eq!(header(&response, ACCESS_CONTROL_ALLOW_ORIGIN), Some("*"));
        assert_eq!(header(&response, VARY), None);
    }
}
