//! No traces: everything here is of no size and does nothing.

use hyper::{HeaderMap, Method, StatusCode, Uri, Version};

use super::TraceHeaders;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Trace;

impl Trace {
    pub(crate) const fn none() -> Self {
        Self
    }

    pub(crate) const fn current() -> Self {
        Self
    }

    pub(crate) const fn of_auth(_: Option<&str>) -> Self {
        Self
    }

    pub(crate) fn of_headers(_: Option<TraceHeaders>) -> Self {
        Self
    }

    pub(crate) const fn to_headers(self) -> Option<TraceHeaders> {
        None
    }

    pub(crate) const fn or_current(self) -> Self {
        self
    }

    pub(crate) const fn enter(self) -> Self {
        self
    }

    pub(crate) const fn scope<F: Future>(self, future: F) -> F {
        future
    }
}

#[derive(Debug)]
pub(crate) struct Span;

impl Span {
    pub(crate) const fn start(_: &str) -> Self {
        Self
    }

    pub(crate) const fn request(_: &Method, _: &Uri, _: Version, _: &HeaderMap, _: &str) -> Self {
        Self
    }

    pub(crate) const fn forward(_: &str, _: &mut HeaderMap) -> Self {
        Self
    }

    pub(crate) fn handler(_: &Trace, _: &str, _: &str, _: &str, _: impl FnOnce() -> bool) -> Self {
        Self
    }

    pub(crate) const fn emit(_: &str, _: &str) -> Self {
        Self
    }

    pub(crate) const fn delivery(_: &str, _: &str) -> Self {
        Self
    }

    pub(crate) const fn answered(&self, _: StatusCode) {}

    pub(crate) const fn failed(&self) {}

    #[cfg(feature = "webtransport")]
    pub(crate) const fn run<F: Future>(self, future: F) -> F {
        future
    }

    pub(crate) const fn enter(&self) -> Trace {
        Trace
    }

    pub(crate) const fn scope<F: Future>(&self, future: F) -> F {
        future
    }
}
