//! Who may open a session or continue one: a request checked in Node's order (engine.io protocol v4, "Handshake" and
//! "HTTP errors"; Node: `engine.io/lib/server.ts verify()`).

use hyper::Method;

use super::config::Config;
use super::error::HandshakeError;
use super::protocol::{Protocol, Transport};
use super::query::{Query, shorten};
use crate::id::SessionId;

/// The parts of a request that decide whether it is served.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RequestHead<'a> {
    pub(crate) query: &'a Query,
    pub(crate) method: &'a Method,
    /// Whether the request asks to become a WebSocket.
    pub(crate) upgrade: bool,
}

/// What [`verify`] compares the request for a live session with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LiveSession {
    pub(crate) transport: Transport,
    pub(crate) protocol: Protocol,
}

/// What a request may do; `S` is the session that it named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verified<S> {
    /// Open a session, once the application and [`Opening::admit`] allow it.
    Open(Opening),
    /// Continue this session. A WebSocket may come for a polling session: that is an upgrade.
    Resume(S),
    /// Touch no session, because an upgrade request names the polling transport. It is answered 101 and its WebSocket is
    /// closed without a code.
    Misplaced,
}

/// A session to be opened, before the application was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Opening {
    transport: Transport,
    protocol: Protocol,
}

impl Opening {
    /// The transport that opens the session.
    pub(crate) const fn transport(self) -> Transport {
        self.transport
    }

    /// Checks the protocol version, which Node does after it asked `allowRequest`.
    pub(crate) const fn admit(self, config: &Config) -> Result<Transport, HandshakeError> {
        match self.protocol {
            Protocol::V3 if !config.allow_eio3 => Err(HandshakeError::UnsupportedProtocol),
            Protocol::V3 | Protocol::V4 => Ok(self.transport),
        }
    }
}

/// Checks a request in Node's order; the first check that fails decides which code the client sees. `find` looks up a
/// live session.
pub(crate) fn verify<S>(
    request: &RequestHead<'_>,
    config: &Config,
    find: impl FnOnce(SessionId) -> Option<(S, LiveSession)>,
) -> Result<Verified<S>, HandshakeError> {
    let transport = request.query.transport(config)?;
    let verified = match request.query.sid()? {
        Some(sid) => {
            let (session, live) = find(sid).ok_or(HandshakeError::UnknownSession)?;
            verify_live(request, transport, live)?;
            Verified::Resume(session)
        }
        None => {
            verify_new(request, transport)?;
            Verified::Open(Opening { transport, protocol: request.query.protocol() })
        }
    };
    let misplaced = request.upgrade && transport == Transport::Polling;
    Ok(if misplaced { Verified::Misplaced } else { verified })
}

fn verify_live(
    request: &RequestHead<'_>,
    transport: Transport,
    live: LiveSession,
) -> Result<(), HandshakeError> {
    if !request.upgrade && transport != live.transport {
        return Err(HandshakeError::TransportMismatch);
    }
    // Node accepts this request and never answers it.
    if !request.upgrade && transport == Transport::WebSocket {
        return Err(HandshakeError::NotAnUpgrade);
    }
    if request.query.protocol() == live.protocol { Ok(()) } else { Err(HandshakeError::ProtocolMismatch) }
}

fn verify_new(request: &RequestHead<'_>, transport: Transport) -> Result<(), HandshakeError> {
    if request.method != Method::GET {
        return Err(HandshakeError::BadMethod { given: shorten(request.method.as_str()) });
    }
    if transport == Transport::WebSocket && !request.upgrade {
        return Err(HandshakeError::NotAnUpgrade);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Key;
    use proptest::prelude::*;

    const POLLING: LiveSession = LiveSession { transport: Transport::Polling, protocol: Protocol::V4 };
    const WEBSOCKET: LiveSession = LiveSession { transport: Transport::WebSocket, protocol: Protocol::V4 };

    fn sid() -> SessionId {
        SessionId::new(Key::from_hash(1 << 40), [7; 10])
    }

    /// Verifies a query in which `SID` stands for a live session's id.
    fn check(
        method: &Method,
        query: &str,
        upgrade: bool,
        live: LiveSession,
    ) -> Result<Verified<SessionId>, HandshakeError> {
        let query = Query::parse(&query.replace("SID", &sid().to_string()));
        let request = RequestHead { query: &query, method, upgrade };
        verify(&request, &Config::default(), |id| (id == sid()).then_some((id, live)))
    }

    fn admitted(query: &str, upgrade: bool) -> Result<Transport, HandshakeError> {
        match check(&Method::GET, query, upgrade, POLLING)? {
            Verified::Open(opening) => opening.admit(&Config::default()),
            other => panic!("{other:?}"),
        }
    }

    fn refused(method: &Method, query: &str, upgrade: bool, live: LiveSession) -> HandshakeError {
        check(method, query, upgrade, live).unwrap_err()
    }

    #[test]
    fn a_get_without_sid_opens_a_session() {
        assert_eq!(admitted("EIO=4&transport=polling", false), Ok(Transport::Polling));
        assert_eq!(admitted("EIO=4&transport=websocket", true), Ok(Transport::WebSocket));
        assert_eq!(admitted("EIO=4&transport=polling&sid=", false), Ok(Transport::Polling));
    }

    #[test]
    fn a_request_with_sid_resumes_on_the_transport_of_its_session() {
        let resumed = Ok(Verified::Resume(sid()));
        for method in [Method::GET, Method::POST] {
            assert_eq!(check(&method, "EIO=4&transport=polling&sid=SID", false, POLLING), resumed);
        }
    }

    #[test]
    fn a_websocket_may_come_for_any_session() {
        let query = "EIO=4&transport=websocket&sid=SID";
        assert_eq!(check(&Method::GET, query, true, POLLING), Ok(Verified::Resume(sid())));
        assert_eq!(check(&Method::GET, query, true, WEBSOCKET), Ok(Verified::Resume(sid())));
    }

    #[test]
    fn an_unknown_missing_or_repeated_transport_is_code_0() {
        for query in [
            "EIO=4",
            "EIO=4&transport=",
            "EIO=4&transport=tcp",
            "EIO=4&transport=webtransport",
            "EIO=4&transport=__proto__",
            "EIO=4&transport=constructor",
            "EIO=4&transport=Polling",
            "EIO=4&transport=polling&transport=polling",
        ] {
            assert_eq!(refused(&Method::GET, query, false, POLLING).code(), 0, "{query}");
        }
    }

    #[test]
    fn an_unknown_malformed_or_repeated_sid_is_code_1() {
        for sid in ["sid=AAAAAAAAAAAAAAAAAAAA", "sid=abc", "sid=__proto__", "sid=SID&sid=SID"] {
            let query = format!("EIO=4&transport=polling&{sid}");
            assert_eq!(
                refused(&Method::GET, &query, false, POLLING),
                HandshakeError::UnknownSession,
                "{sid}"
            );
        }
    }

    #[test]
    fn a_handshake_with_another_method_is_code_2() {
        for method in [Method::POST, Method::PUT, Method::HEAD, Method::OPTIONS, Method::DELETE] {
            let error = refused(&method, "EIO=4&transport=polling", false, POLLING);
            assert_eq!(error, HandshakeError::BadMethod { given: method.to_string() });
        }
    }

    #[test]
    fn a_poll_of_an_upgraded_session_is_code_3() {
        let error = refused(&Method::GET, "EIO=4&transport=polling&sid=SID", false, WEBSOCKET);
        assert_eq!(error, HandshakeError::TransportMismatch);
    }

    #[test]
    fn a_websocket_transport_without_upgrade_is_code_3() {
        let error = refused(&Method::GET, "EIO=4&transport=websocket", false, POLLING);
        assert_eq!(error, HandshakeError::NotAnUpgrade);
        let error = refused(&Method::GET, "EIO=4&transport=websocket&sid=SID", false, WEBSOCKET);
        assert_eq!(error, HandshakeError::NotAnUpgrade);
        let error = refused(&Method::GET, "EIO=4&transport=websocket&sid=SID", false, POLLING);
        assert_eq!(error, HandshakeError::TransportMismatch);
    }

    #[test]
    fn another_version_than_the_session_speaks_is_code_3() {
        for version in ["EIO=3", "EIO=", "EIO=4&EIO=4"] {
            for (transport, upgrade) in [("polling", false), ("websocket", true)] {
                let query = format!("{version}&transport={transport}&sid=SID");
                assert_eq!(refused(&Method::GET, &query, upgrade, POLLING), HandshakeError::ProtocolMismatch);
            }
        }
    }

    #[test]
    fn another_version_than_4_is_code_5_after_the_application_was_asked() {
        for version in ["EIO=3", "EIO=5", "x=4", "EIO=4&EIO=4"] {
            let query = format!("{version}&transport=polling");
            assert_eq!(admitted(&query, false), Err(HandshakeError::UnsupportedProtocol), "{version}");
        }
    }

    #[test]
    fn another_version_than_4_means_3_where_that_is_allowed() {
        let config = Config::default().allow_eio3(true);
        for version in ["EIO=3", "EIO=5", "x=4", "EIO=4"] {
            for (transport, upgrade) in [(Transport::Polling, false), (Transport::WebSocket, true)] {
                let query = format!("{version}&transport={transport}");
                let Ok(Verified::Open(opening)) = check(&Method::GET, &query, upgrade, POLLING) else {
                    panic!()
                };
                assert_eq!(opening.admit(&config), Ok(transport), "{query}");
            }
        }
        assert_eq!(Query::parse("EIO=5").protocol(), Protocol::V3);
    }

    #[test]
    fn a_session_of_version_3_is_resumed_by_its_own_version_only() {
        let live = LiveSession { transport: Transport::Polling, protocol: Protocol::V3 };
        for version in ["EIO=3", "x=1"] {
            let query = format!("{version}&transport=polling&sid=SID");
            assert_eq!(check(&Method::GET, &query, false, live), Ok(Verified::Resume(sid())));
        }
        let error = refused(&Method::GET, "EIO=4&transport=polling&sid=SID", false, live);
        assert_eq!(error, HandshakeError::ProtocolMismatch);
    }

    #[test]
    fn the_first_failing_check_decides() {
        for (method, query, code) in [
            (Method::POST, "EIO=3&transport=tcp&sid=abc", 0),
            (Method::POST, "EIO=3&transport=websocket&sid=abc", 1),
            (Method::POST, "EIO=3&transport=websocket", 2),
            (Method::GET, "EIO=3&transport=websocket", 3),
            (Method::GET, "EIO=3&transport=websocket&sid=SID", 3),
        ] {
            assert_eq!(refused(&method, query, false, POLLING).code(), code, "{method} {query}");
        }
    }

    #[test]
    fn an_upgrade_that_names_polling_touches_no_session() {
        for query in ["EIO=4&transport=polling", "EIO=4&transport=polling&sid=SID"] {
            assert_eq!(check(&Method::GET, query, true, POLLING), Ok(Verified::Misplaced));
        }
    }

    proptest! {
        #[test]
        fn any_query_is_verified_or_refused(raw: String, upgrade: bool) {
            let query = Query::parse(&raw);
            let request = RequestHead { query: &query, method: &Method::GET, upgrade };
            let verified = verify(&request, &Config::default(), |id| Some((id, POLLING)));
            prop_assert!(verified.is_ok() || verified.is_err_and(|error| error.code() <= 5));
        }
    }
}
