//! W3C Trace Context: the headers `traceparent` and `tracestate`. What is malformed or too long is as if it was not there.

use hyper::HeaderMap;
use hyper::header::HeaderValue;
use opentelemetry::trace::{SpanContext, TraceContextExt as _, TraceState};
use opentelemetry::{Context, SpanId, TraceFlags, TraceId};
use serde::Deserialize;

use super::TraceHeaders;

/// The span that the headers of a request name.
pub(super) fn read_request(headers: &HeaderMap) -> Option<SpanContext> {
    let mut parents = headers.get_all(PARENT).iter();
    let (Some(parent), None) = (parents.next(), parents.next()) else { return None };
    // Several headers are one list, but no client has so much to say.
    let mut states = headers.get_all(STATE).iter();
    let state = match (states.next(), states.next()) {
        (Some(state), None) => state.to_str().unwrap_or_default(),
        _ => "",
    };
    read(parent.to_str().ok()?, state)
}

/// The span that an auth payload names.
pub(super) fn read_auth(auth: &str) -> Option<SpanContext> {
    #[derive(Deserialize)]
    struct Auth<'a> {
        #[serde(borrow)]
        traceparent: &'a str,
        #[serde(borrow, default)]
        tracestate: &'a str,
    }
    let Auth { traceparent, tracestate } = serde_json::from_str(auth).ok()?;
    read(traceparent, tracestate)
}

/// The span that both values name.
pub(super) fn read(parent: &str, state: &str) -> Option<SpanContext> {
    let (version, rest) = parent.split_at_checked(2)?;
    let (ids, more) = rest.split_at_checked(53)?;
    let [empty, trace, span, flags] = ids.split('-').collect::<Vec<_>>()[..] else { return None };
    // A later version may have more behind a dash.
    let is_version = match hex(version, 2)? {
        0xff => false,
        0 => more.is_empty(),
        _ => more.is_empty() || more.starts_with('-'),
    };
    let (trace, span, flags) = (hex(trace, 32)?, hex(span, 16)?, hex(flags, 2)?);
    if !is_version || !empty.is_empty() || trace == 0 || span == 0 {
        return None;
    }
    let flags = TraceFlags::new(u8::try_from(flags).ok()?) & TraceFlags::SAMPLED;
    let (trace, span) = (TraceId::from(trace), SpanId::from(u64::try_from(span).ok()?));
    Some(SpanContext::new(trace, span, flags, true, read_state(state)))
}

fn read_state(state: &str) -> TraceState {
    let is_sound =
        state.len() <= LONGEST_STATE && state.bytes().all(|byte| matches!(byte, b'\t' | b' '..=b'~'));
    if is_sound { state.parse().unwrap_or_default() } else { TraceState::default() }
}

/// A number of so many lower-case digits.
fn hex(digits: &str, length: usize) -> Option<u128> {
    let is_digits =
        digits.len() == length && digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    if is_digits { u128::from_str_radix(digits, 16).ok() } else { None }
}

/// What names the span of a context.
pub(super) fn write(context: &Context) -> TraceHeaders {
    let span = context.span().span_context().clone();
    let flags = u8::from(span.is_sampled());
    let state = Some(span.trace_state().header()).filter(|state| state.len() <= LONGEST_STATE);
    TraceHeaders {
        parent: format!("00-{}-{}-{flags:02x}", span.trace_id(), span.span_id()),
        state: state.unwrap_or_default(),
    }
}

/// Names the span of a context in the headers of a request, instead of any other. If there is none, they stay as they are.
pub(super) fn write_request(context: &Context, headers: &mut HeaderMap) {
    if !context.span().span_context().is_valid() {
        return;
    }
    let TraceHeaders { parent, state } = write(context);
    headers.remove(STATE);
    if let Ok(parent) = HeaderValue::try_from(parent) {
        headers.insert(PARENT, parent);
    }
    if let Ok(state) = HeaderValue::try_from(state)
        && !state.is_empty()
    {
        headers.insert(STATE, state);
    }
}

const PARENT: &str = "traceparent";
const STATE: &str = "tracestate";
/// The length up to which the standard asks for a `tracestate` to be passed on.
const LONGEST_STATE: usize = 512;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const VALID: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn names(parent: &str) -> Option<(String, bool)> {
        let span = read(parent, "")?;
        Some((format!("{}-{}", span.trace_id(), span.span_id()), span.is_sampled()))
    }

    #[test]
    fn a_parent_is_read_as_the_standard_says() {
        let id = "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331";
        for (flags, is_sampled) in [("00", false), ("01", true), ("03", true), ("fe", false)] {
            assert_eq!(names(&format!("00-{id}-{flags}")), Some((id.to_owned(), is_sampled)), "{flags}");
        }
        assert_eq!(names(&format!("cc-{id}-01-what-the-future-brings")), Some((id.to_owned(), true)));
        assert_eq!(names(&format!("cc-{id}-01")), Some((id.to_owned(), true)));
    }

    #[test]
    fn a_parent_that_is_malformed_is_none() {
        let zero = |from: usize, to: usize| {
            VALID
                .char_indices()
                .map(|(at, c)| if (from..to).contains(&at) { '0' } else { c })
                .collect::<String>()
        };
        for malformed in [
            "",
            "00",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319-cb7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01more",
            "00_0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331_01",
            "+0-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "ä0-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            &zero(3, 35),
            &zero(36, 52),
        ] {
            assert_eq!(names(malformed), None, "{malformed}");
        }
    }

    #[test]
    fn a_state_that_is_malformed_or_too_long_is_dropped_and_the_parent_stays() {
        let state = |state: &str| read(VALID, state).unwrap().trace_state().header();
        assert_eq!(state("a=1, b=2"), "a=1,b=2");
        let long = format!("a={}", "x".repeat(257));
        for malformed in ["nothing", "A=1", "a=1\n", "a=\u{e4}", &long, &"a=1,".repeat(200)] {
            assert_eq!(state(malformed), "", "{malformed}");
        }
    }

    #[test]
    fn one_header_names_a_parent_and_two_name_none() {
        let mut headers = HeaderMap::new();
        headers.insert(PARENT, HeaderValue::from_static(VALID));
        headers.insert(STATE, HeaderValue::from_static("a=1"));
        let span = read_request(&headers).unwrap();
        let mut written = headers.clone();
        write_request(&Context::new().with_remote_span_context(span), &mut written);
        assert_eq!(written, headers);
        write_request(&Context::new(), &mut written);
        assert_eq!(written, headers);
        headers.append(PARENT, HeaderValue::from_static(VALID));
        assert_eq!(read_request(&headers), None);
    }

    #[test]
    fn an_auth_payload_names_a_parent_if_it_has_one() {
        let auth = format!(r#"{{"token":[1],"traceparent":"{VALID}","tracestate":"a=1"}}"#);
        assert_eq!(read_auth(&auth).unwrap().trace_state().header(), "a=1");
        for none in ["{}", r#"{"traceparent":7}"#, r#"{"traceparent":"00"}"#, "null", "[]", "{"] {
            assert_eq!(read_auth(none), None, "{none}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_parent_or_none(parent: String, state: String) {
            let _read = read(&parent, &state);
        }

        #[test]
        fn what_is_read_is_written_as_it_was(trace in 1u128.., span in 1u64.., sampled: bool, state in "([a-z]{1,9}=[0-9]{1,9}(,[a-z]{10,12}=[!-+]{1,9})?)?") {
            let parent = format!("00-{trace:032x}-{span:016x}-{:02x}", u8::from(sampled));
            let context = Context::new().with_remote_span_context(read(&parent, &state).unwrap());
            prop_assert_eq!(write(&context), TraceHeaders { parent, state });
        }
    }
}
