//! Spans by the tracer provider that the application installed.

use std::borrow::Cow;
use std::sync::OnceLock;
use std::thread;

use hyper::header::USER_AGENT;
use hyper::{HeaderMap, Method, StatusCode, Uri, Version};
use opentelemetry::context::{FutureExt as _, WithContext};
use opentelemetry::global::{self, BoxedTracer};
use opentelemetry::trace::{SpanBuilder, SpanKind, Status, TraceContextExt as _, Tracer as _};
use opentelemetry::{Context, ContextGuard, InstrumentationScope, KeyValue};
use tokio_util::either::Either;

use super::{TraceHeaders, w3c};

/// The context that work is a part of; nothing if that is not traced.
#[derive(Debug, Clone)]
pub(crate) struct Trace(Option<Context>);

impl Trace {
    /// Not a part of anything that is traced.
    pub(crate) const fn none() -> Self {
        Self(None)
    }

    /// The context of what runs now, if it is sampled.
    pub(crate) fn current() -> Self {
        Self(Context::map_current(|current| is_sampled(current).then(|| current.clone())))
    }

    /// The context that a client names in the auth payload of its CONNECT.
    pub(crate) fn of_auth(auth: Option<&str>) -> Self {
        Self(auth.filter(|_| TRACER.get().is_some()).and_then(w3c::read_auth).map(remote))
    }

    /// The context that came from another node.
    pub(crate) fn of_headers(headers: Option<TraceHeaders>) -> Self {
        Self(headers.and_then(|TraceHeaders { parent, state }| w3c::read(&parent, &state)).map(remote))
    }

    /// The same for another node.
    pub(crate) fn to_headers(&self) -> Option<TraceHeaders> {
        self.0.as_ref().filter(|context| is_sampled(context)).map(w3c::write)
    }

    /// This context; if it is none, the current one.
    pub(crate) fn or_current(&self) -> Self {
        if self.0.is_some() { self.clone() } else { Self::current() }
    }

    /// Makes it the current one until the returned value is dropped.
    pub(crate) fn enter(&self) -> Option<ContextGuard> {
        self.0.clone().map(Context::attach)
    }

    /// Makes it the current one while the future runs.
    pub(crate) fn scope<F: Future>(&self, future: F) -> Either<WithContext<F>, F> {
        match &self.0 {
            Some(context) => Either::Left(future.with_context(context.clone())),
            None => Either::Right(future),
        }
    }
}

/// A span that ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Span(Trace);

impl Span {
    /// The start of a node. If it is a real span, the application has installed a tracer provider; only then are there others.
    pub(crate) fn start(node: &str) -> Self {
        let describe = || SpanBuilder::from_name("start").with_attributes([text(NODE, node)]);
        if let Some(tracer) = TRACER.get() {
            return Self::new(tracer, describe(), &Context::current());
        }
        let scope = InstrumentationScope::builder("socketmesh").with_version(env!("CARGO_PKG_VERSION"));
        let tracer = global::tracer_with_scope(scope.build());
        let span = Self::new(&tracer, describe(), &Context::new());
        if span.0.0.as_ref().is_some_and(|context| context.span().span_context().is_valid()) {
            // Another node of this process may have been quicker, with the same provider.
            let _set_before = TRACER.set(tracer);
        }
        span
    }

    /// A request of a client, at the node that it reaches or at the one that owns the session.
    pub(crate) fn request(
        method: &Method,
        uri: &Uri,
        version: Version,
        headers: &HeaderMap,
        node: &str,
    ) -> Self {
        let Some(tracer) = TRACER.get() else { return Self::none() };
        let is_known = KNOWN_METHODS.contains(method);
        let mut attributes = vec![
            text("http.request.method", if is_known { method.as_str() } else { "_OTHER" }),
            text("url.path", uri.path()),
            text(NODE, node),
        ];
        let version = match version {
            Version::HTTP_10 => "1.0",
            Version::HTTP_2 => "2",
            Version::HTTP_3 => "3",
            _ => "1.1",
        };
        attributes.push(KeyValue::new("network.protocol.version", version));
        if let Some(agent) = headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok()) {
            attributes.push(text("user_agent.original", agent));
        }
        let name = if is_known { method.to_string() } else { "HTTP".to_owned() };
        let span = SpanBuilder::from_name(name).with_kind(SpanKind::Server).with_attributes(attributes);
        // The application's own span of this request, if it has one, is nearer than what the client says.
        let current = Context::current();
        let parent = match current.span().span_context().is_valid() {
            true => current,
            false => w3c::read_request(headers).map_or(current, remote),
        };
        Self::new(tracer, span, &parent)
    }

    /// A request on its way to the owner of its session. Its headers tell that node of the span.
    pub(crate) fn forward(owner: &str, headers: &mut HeaderMap) -> Self {
        let span = Self::child(&Trace::current(), || {
            SpanBuilder::from_name("forward")
                .with_kind(SpanKind::Client)
                .with_attributes([text("socketmesh.owner", owner)])
        });
        // A request that is not sampled here is not sampled there either.
        match &span.0.0 {
            Some(context) => w3c::write_request(context, headers),
            None => Context::map_current(|current| w3c::write_request(current, headers)),
        }
        span
    }

    /// A handler that runs because of `event`. The name is the client's choice unless `is_known`.
    pub(crate) fn handler(
        trace: &Trace,
        node: &str,
        namespace: &str,
        event: &str,
        is_known: impl FnOnce() -> bool,
    ) -> Self {
        Self::child(trace, || {
            let name = if is_known() { format!("handle {event}").into() } else { Cow::from("handle") };
            SpanBuilder::from_name(name).with_kind(SpanKind::Consumer).with_attributes([
                text(NODE, node),
                text(NAMESPACE, namespace),
                text(EVENT, event),
            ])
        })
    }

    /// An emit of the application.
    pub(crate) fn emit(namespace: &str, event: &str) -> Self {
        Self::child(&Trace::current(), || {
            SpanBuilder::from_name("emit")
                .with_kind(SpanKind::Producer)
                .with_attributes([text(NAMESPACE, namespace), text(EVENT, event)])
        })
    }

    /// What another node emitted, for the sockets of this one.
    pub(crate) fn delivery(node: &str, namespace: &str) -> Self {
        Self::child(&Trace::current(), || {
            SpanBuilder::from_name("deliver")
                .with_kind(SpanKind::Consumer)
                .with_attributes([text(NODE, node), text(NAMESPACE, namespace)])
        })
    }

    /// The request was answered with this status.
    pub(crate) fn answered(&self, status: StatusCode) {
        let Some(context) = self.0.0.as_ref().filter(|context| is_sampled(context)) else { return };
        context.span().set_attribute(KeyValue::new("http.response.status_code", i64::from(status.as_u16())));
        if status.is_server_error() {
            context.span().set_attribute(text("error.type", status.as_str()));
            context.span().set_status(Status::error(""));
        }
    }

    /// The handler returned an error.
    pub(crate) fn failed(&self) {
        if let Some(context) = &self.0.0 {
            context.span().set_status(Status::error(""));
        }
    }

    pub(crate) fn enter(&self) -> Option<ContextGuard> {
        self.0.enter()
    }

    pub(crate) fn scope<F: Future>(&self, future: F) -> Either<WithContext<F>, F> {
        self.0.scope(future)
    }

    /// The span of a future, and no longer.
    #[cfg(feature = "webtransport")]
    pub(crate) async fn run<F: Future>(self, future: F) -> F::Output {
        self.scope(future).await
    }

    fn child(parent: &Trace, describe: impl FnOnce() -> SpanBuilder) -> Self {
        match (TRACER.get(), &parent.0) {
            (Some(tracer), Some(parent)) if is_sampled(parent) => Self::new(tracer, describe(), parent),
            _ => Self::none(),
        }
    }

    fn new(tracer: &BoxedTracer, span: SpanBuilder, parent: &Context) -> Self {
        let span = tracer.build_with_context(span, parent);
        Self(Trace(Some(parent.with_span(span))))
    }

    const fn none() -> Self {
        Self(Trace(None))
    }
}

impl Drop for Span {
    /// Others may hold its context for longer.
    fn drop(&mut self) {
        if thread::panicking() {
            self.failed();
        }
        if let Some(context) = &self.0.0 {
            context.span().end();
        }
    }
}

fn is_sampled(context: &Context) -> bool {
    context.span().span_context().is_sampled()
}

fn remote(span: opentelemetry::trace::SpanContext) -> Context {
    Context::new().with_remote_span_context(span)
}

/// An attribute with the beginning of a text that a client may have chosen.
fn text(name: &'static str, value: &str) -> KeyValue {
    let end = (0..=LONGEST).rev().find(|end| value.is_char_boundary(*end)).unwrap_or_default();
    KeyValue::new(name, value.get(..end).unwrap_or(value).to_owned())
}

/// Set by the first node that starts when there is a tracer provider. Looking for one for each span would allocate.
static TRACER: OnceLock<BoxedTracer> = OnceLock::new();

const NODE: &str = "socketmesh.node";
const NAMESPACE: &str = "socketmesh.namespace";
const EVENT: &str = "socketmesh.event";

/// How many bytes of a text an attribute has.
const LONGEST: usize = 256;

/// The methods that clients use. Any other is an invention of the client.
const KNOWN_METHODS: [Method; 5] =
    [Method::GET, Method::POST, Method::OPTIONS, Method::HEAD, Method::CONNECT];
