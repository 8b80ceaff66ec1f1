//! Traces of OpenTelemetry: which spans there are, and how their context comes along.
//!
//! The context of a span is current, in the sense of OpenTelemetry, while the work of the span runs. Where that work goes on
//! elsewhere, the context is a value that comes along: with a POST and a session to the actor, with an event into the inbox,
//! with a message to other nodes. Without the feature `opentelemetry` all of it is nothing, of no size.

#[cfg(not(feature = "opentelemetry"))]
mod off;
#[cfg(feature = "opentelemetry")]
mod on;
#[cfg(feature = "opentelemetry")]
mod w3c;

#[cfg(not(feature = "opentelemetry"))]
pub(crate) use off::{Span, Trace};
#[cfg(feature = "opentelemetry")]
pub(crate) use on::{Span, Trace};

/// The context of a span as headers of W3C Trace Context have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TraceHeaders {
    /// `traceparent`.
    pub(crate) parent: String,
    /// `tracestate`, maybe empty.
    pub(crate) state: String,
}
