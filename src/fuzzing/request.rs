//! The request of a client, from its query to the decision about it.

use hyper::Method;

use super::tape::Tape;
use crate::engine::{
    Config, HandshakeError, LiveSession, Protocol, Query, RequestHead, Transport, Verified, verify,
};
use crate::id::{Key, SessionId};

/// A request for a session that is there, for one that is not, or for a new one.
///
/// # Panics
///
/// When the decision is not one of the protocol, or pairs that belong to the application change it.
pub fn request(data: &[u8]) -> bool {
    let mut tape = Tape::new(data);
    let sid = SessionId::new(Key::from_hash(1 << 40), [7; 10]);
    let live = LiveSession {
        transport: tape.pick(&[Transport::Polling, Transport::WebSocket, Transport::WebTransport]),
        protocol: if tape.one_in(3) { Protocol::V3 } else { Protocol::V4 },
    };
    let config = config(&mut tape);
    let method =
        tape.pick(&[&Method::GET, &Method::GET, &Method::POST, &Method::OPTIONS, &Method::PUT]).clone();
    let upgrade = tape.flag();
    let decide = |query: &str| {
        let query = Query::parse(query);
        let head = RequestHead { query: &query, method: &method, upgrade };
        let verified = verify(&head, &config, |id| (id == sid).then_some((id, live)));
        check(&head, &config, sid, &verified);
        verified
    };
    let query = query(&mut tape, sid);
    let verified = decide(&query);
    assert_eq!(decide(&format!("x=1&{query}")), verified, "a pair of the application decides");
    verified.is_ok()
}

fn check(
    head: &RequestHead<'_>,
    config: &Config,
    sid: SessionId,
    verified: &Result<Verified<SessionId>, HandshakeError>,
) {
    match verified {
        Ok(Verified::Resume(id)) => assert!(*id == sid && head.query.sid() == Ok(Some(sid))),
        Ok(Verified::Open(opening)) => {
            assert!(head.method == Method::GET && head.query.sid() == Ok(None));
            assert!(config.transports.contains(&opening.transport()));
            let admitted = opening.admit(config);
            assert_eq!(admitted.is_ok(), head.query.protocol() == Protocol::V4 || config.allow_eio3);
        }
        Ok(Verified::Misplaced) => {
            assert!(head.upgrade && head.query.transport(config) == Ok(Transport::Polling));
        }
        Err(error) => assert!(error.code() <= 5 && error.to_string().len() < 500),
    }
}

fn config(tape: &mut Tape<'_>) -> Config {
    let transports = [
        &[Transport::Polling, Transport::WebSocket][..],
        &[Transport::WebSocket],
        &[Transport::Polling, Transport::WebSocket, Transport::WebTransport],
    ];
    Config::default().transports(tape.pick(&transports)).allow_eio3(tape.flag())
}

fn query(tape: &mut Tape<'_>, sid: SessionId) -> String {
    const KEYS: [&str; 16] = [
        "x",
        "",
        "t",
        "j",
        "b64",
        "a",
        "x",
        "t",
        "j",
        "token",
        "transport",
        "sid",
        "EIO",
        "%73id",
        "transp%6Frt",
        "E%49O",
    ];
    const VALUES: [&str; 14] = [
        "polling",
        "websocket",
        "webtransport",
        "4",
        "3",
        "",
        "abc",
        "AAAAAAAAAAAAAAAAAAAA",
        "__proto__",
        "%ff%fe",
        "p+o",
        "%",
        "0",
        "polling%00",
    ];
    let version = tape.pick(&["EIO=4", "EIO=4", "EIO=3", "EIO=5", ""]);
    let transport = tape.pick(&["transport=polling", "transport=polling", "transport=websocket", ""]);
    let session = if tape.flag() { format!("sid={sid}") } else { String::new() };
    let mut query = [version, transport, &session].join("&");
    for _ in 0..tape.below(6) {
        query.push_str(tape.pick(&["&", "&", "&", "&", "&", "&&", ";", "?", "#", ""]));
        query.push_str(tape.pick(&KEYS));
        query.push_str(tape.pick(&["=", "=", "=", "==", "%3D", ""]));
        match tape.below(8) {
            0 => query.push_str(&sid.to_string()),
            1 => query.push_str(&tape.text(24)),
            _ => query.push_str(tape.pick(&VALUES)),
        }
    }
    query
}
