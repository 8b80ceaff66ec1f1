//! In what a client may tell this server from Node's: the rows of the documents, as far as sequences come upon them.

use crate::steps::{Request, Sequence, Step};

/// A row of a table that compares with Node.
#[derive(Debug)]
pub(crate) struct Deviation {
    /// Its beginning.
    pub(crate) row: &'static str,
    /// Whether it explains that the two servers showed different things.
    pub(crate) explains: fn(&At<'_>) -> bool,
}

/// A step at which the two servers showed different things.
#[derive(Debug)]
pub(crate) struct At<'a> {
    pub(crate) sequence: &'a Sequence,
    pub(crate) step: &'a Step,
    pub(crate) node: &'a [String],
    pub(crate) here: &'a [String],
}

impl At<'_> {
    fn sent(&self, is_it: impl Fn(&str) -> bool) -> bool {
        match self.step {
            Step::Send(packets) => packets.iter().any(|packet| is_it(packet)),
            Step::Frame(0x81, payload) => str::from_utf8(payload).is_ok_and(is_it),
            Step::Probe(text) | Step::OnProbe(text) => is_it(text),
            _ => false,
        }
    }

    fn is_of(&self, version: u8) -> bool {
        self.sequence.version == version
    }

    fn asked(&self, is_it: impl Fn(&Request) -> bool) -> bool {
        if let Step::Ask(request) = self.step { is_it(request) } else { false }
    }

    /// The POST of the step was refused, without a word.
    fn post_is_refused(&self) -> bool {
        let is_refusal = |note: &str| note.starts_with("400") && !note.contains("code");
        self.here.iter().any(|note| is_refusal(note.trim_start_matches("POST: ")))
    }

    fn ends(notes: &[String]) -> bool {
        notes.last().is_some_and(|last| last == "gone")
    }

    fn ends_here(&self) -> bool {
        Self::ends(self.here)
    }

    fn ends_in_both(&self) -> bool {
        Self::ends(self.here) && Self::ends(self.node)
    }
}

pub(crate) const DEVIATIONS: &[Deviation] = &[
    Deviation {
        row: "A POST with an invalid packet is answered `ok`",
        explains: |at| at.post_is_refused() && at.ends_in_both(),
    },
    Deviation {
        row: "`1` on a WebSocket is ignored",
        explains: |at| at.sent(|packet| packet.starts_with('1')) && at.ends_here(),
    },
    Deviation {
        row: "`transport=websocket` with the sid of a WebSocket session, without an upgrade, is never answered",
        explains: |at| {
            let is_that = at.asked(|request| request.target.contains("transport=websocket"));
            is_that && at.node.first().is_some_and(|note| note == "no answer")
        },
    },
    Deviation {
        row: "An upgrade for another path is closed after a second without an answer",
        explains: |at| at.asked(Request::is_upgrade) && at.here.iter().any(|note| note == "404"),
    },
    Deviation {
        row: "What was emitted before an invalid packet is written",
        explains: |at| {
            let is_part = |part: &[String], of: &[String]| part.iter().all(|note| of.contains(note));
            at.ends_in_both() && (is_part(at.here, at.node) || is_part(at.node, at.here))
        },
    },
    Deviation {
        row: "A refused WebSocket has no CORS headers, and is told which header of RFC 6455 is missing",
        explains: |at| {
            let is_refused = |notes: &[String], by: &str| notes.iter().any(|note| note.starts_with(by));
            let by = ["400 Missing or invalid Sec-WebSocket-", "400 Invalid Sec-WebSocket-", "405 "];
            let here = at.here.iter().map(|note| note.replace("access-control-allow-origin: *, ", ""));
            at.asked(Request::is_upgrade)
                && (here.eq(at.node.iter().cloned())
                    || is_refused(at.here, "400 ") && by.iter().any(|by| is_refused(at.node, by)))
        },
    },
    Deviation {
        row: "Of a repeated `transport`, `sid` or `EIO` the last counts",
        explains: |at| {
            let names = ["transport=", "sid=", "EIO="];
            at.asked(|request| names.iter().any(|name| request.target.matches(name).count() > 1))
        },
    },
    Deviation {
        row: "A method that HTTP does not have is refused by the parser",
        explains: |at| at.asked(|request| request.method == "get"),
    },
    Deviation {
        row: "OPTIONS that asks for a WebSocket is never answered",
        explains: |at| at.asked(|request| request.is_upgrade() && request.method == "OPTIONS"),
    },
    Deviation {
        row: "A `2probe` is answered as often as it comes, and `5` does without it",
        explains: |at| match at.step {
            Step::Probe(text) => text.starts_with('5') && at.here.iter().any(|note| note == "3probe"),
            Step::OnProbe(text) => text == "2probe",
            _ => false,
        },
    },
    Deviation {
        row: "A length is whatever JavaScript reads as a number",
        explains: |at| at.is_of(3) && matches!(at.step, Step::Post(..)) && at.post_is_refused(),
    },
    Deviation {
        row: "A packet of bytes may be of any type",
        explains: |at| {
            let types = ["b0", "b1", "b2", "b3", "b5", "b6"];
            let is_that = |packet: &str| types.iter().any(|kind| packet.starts_with(kind));
            let is_frame = matches!(at.step, Step::Frame(0x82, _));
            at.is_of(3) && (is_frame && at.ends_here() || at.sent(is_that))
        },
    },
    Deviation {
        row: "A text frame of base64 without a valid type (`bAQID`) is ignored",
        explains: |at| {
            let is_type = |kind: char| matches!(kind, '0'..='6');
            let is_that =
                |packet: &str| packet.strip_prefix('b').is_some_and(|rest| !rest.starts_with(is_type));
            at.is_of(3) && at.sent(is_that)
        },
    },
    Deviation {
        row: "As many pongs are queued as there were pings",
        explains: |at| at.is_of(3) && at.sent(|packet| packet.starts_with('2')),
    },
    Deviation {
        row: "A pong does not carry the data of its ping",
        explains: |at| at.is_of(3) && at.sent(|packet| packet.starts_with('2') && packet.len() > 1),
    },
    Deviation {
        row: "A form without `d`, or with nothing in it, is answered `ok` and ignored",
        explains: |at| at.is_of(3) && matches!(at.step, Step::Ask(_)) && at.post_is_refused(),
    },
    Deviation {
        row: "Bytes in a script are the JSON of a `Buffer`",
        explains: |at| at.is_of(3) && at.node.iter().any(|note| note.starts_with("\"Buffer\"")),
    },
    Deviation {
        row: "The number of a placeholder may be spelled `0.0`",
        explains: |at| at.sent(|packet| packet.contains(r#""num":0.0"#)) && at.ends_here(),
    },
    Deviation {
        row: "A packet with attachments and without a payload is ignored",
        explains: |at| at.sent(|packet| packet.ends_with("1-")) && at.ends_here(),
    },
    Deviation {
        row: "An attachment that no placeholder names is dropped",
        explains: |at| at.here.iter().any(|note| note.contains("[\"message-back\"") && note.contains(" + b")),
    },
    Deviation {
        row: "An ack id is whatever JavaScript reads as a number",
        explains: |at| {
            let is_space = |byte: &u8| byte.is_ascii_whitespace();
            let is_unsafe = |digits: &str| digits.len() > 15;
            let is_odd = |packet: &str| {
                packet.as_bytes().iter().any(is_space)
                    || packet.starts_with("451.0-")
                    || packet.split(|c: char| !c.is_ascii_digit()).any(is_unsafe)
            };
            let is_posted = matches!(at.step, Step::Post(body, _) if body.iter().any(is_space));
            at.ends_here() && (is_posted || at.sent(is_odd))
        },
    },
    Deviation {
        row: "A namespace is read as a URL",
        explains: |at| {
            let is_plain = |c: char| c.is_ascii_alphanumeric() || "/?=&%-_".contains(c);
            let is_odd = |packet: &str| {
                let namespace = packet.split(',').next().unwrap_or_default();
                packet.starts_with("40//") || packet.starts_with("40/") && !namespace.chars().all(is_plain)
            };
            at.is_of(3) && at.sent(is_odd)
        },
    },
];
