//! What the body of a frame says (docs/protocol/mesh.md, "Byte layout", "Commands", "Requests and responses").

use bytes::Bytes;
use prost::Message as _;

use super::broadcast;
use super::error::WireError;
use super::frame::{Frame, fits};
use super::pb;
use super::recovery::decode_recovery;
use super::values::{self, decode_command, decode_request};
use crate::socket::messages::RecoveryMessage;
use crate::socket::messages::{Broadcast, Command, Request, Response};
use crate::trace::{Trace, TraceHeaders};
use pb::envelope::Kind;

/// What the body of a frame says.
#[derive(Debug, PartialEq)]
pub(crate) enum Message {
    Start {
        log: u64,
        first: u64,
    },
    Interest(pb::Interest),
    Ack {
        seq: u64,
        interest: u64,
        /// How many bodies of that log never came; `None` from a node of an earlier version.
        lost: Option<u64>,
    },
    Gap {
        to: u64,
    },
    Goodbye,
    Broadcast(Broadcast<'static>),
    Command(Command),
    /// A request, with its id among those of the sender.
    Request(u64, Request),
    /// Nobody waits for the response to the sender's request with this id any more.
    Withdrawn(u64),
    /// A request of a kind that this version does not know, with its id.
    UnknownRequest(u64),
    /// A response to the receiver's request with this id.
    Response(u64, Response),
    /// Something about sessions.
    Recovery(RecoveryMessage),
    /// Of a kind that this version does not know: ignored, but counted in the sequence.
    Unknown,
}

impl Message {
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn decode(body: Bytes) -> Result<Self, WireError> {
        Self::decode_traced(body).map(|(message, _)| message)
    }

    /// A message, and the context of the span that it is a part of.
    ///
    /// # Errors
    /// When the body is no envelope; the frame is skipped.
    pub(crate) fn decode_traced(body: Bytes) -> Result<(Self, Trace), WireError> {
        let pb::Envelope { kind, trace } = pb::Envelope::decode(body)?;
        let trace = trace.map(|pb::TraceContext { parent, state }| TraceHeaders { parent, state });
        Ok((Self::of(kind)?, Trace::of_headers(trace)))
    }

    fn of(kind: Option<Kind>) -> Result<Self, WireError> {
        Ok(match kind {
            None => Self::Unknown,
            Some(Kind::Interest(interest)) => Self::Interest(interest),
            Some(Kind::Start(pb::Start { log, first })) => Self::Start { log, first },
            Some(Kind::Ack(pb::Ack { seq, interest, lost })) => Self::Ack { seq, interest, lost },
            Some(Kind::Gap(pb::Gap { to })) => Self::Gap { to },
            Some(Kind::Goodbye(pb::Goodbye {})) => Self::Goodbye,
            Some(Kind::Broadcast(broadcast)) => Self::Broadcast(Broadcast::try_from(broadcast)?),
            Some(Kind::Command(command)) => decode_command(command)?.map_or(Self::Unknown, Self::Command),
            Some(Kind::Request(pb::Request { id, kind: Some(pb::request::Kind::Withdrawn(_)), .. })) => {
                Self::Withdrawn(id)
            }
            Some(Kind::Request(request)) => {
                let id = request.id;
                decode_request(request)?
                    .map_or(Self::UnknownRequest(id), |request| Self::Request(id, request))
            }
            Some(Kind::Response(response)) => Self::Response(response.id, Response::try_from(response)?),
            Some(Kind::Recovery(recovery)) => {
                decode_recovery(recovery)?.map_or(Self::Unknown, Self::Recovery)
            }
        })
    }

    /// Whether it is for the layers above: the rest is about the link, or of a later version.
    pub(crate) fn is_body(&self) -> bool {
        matches!(
            self,
            Self::Broadcast(_)
                | Self::Command(_)
                | Self::Request(..)
                | Self::Withdrawn(_)
                | Self::UnknownRequest(_)
                | Self::Response(..)
                | Self::Recovery(_)
        )
    }
}

/// An unsequenced frame, ready to write.
pub(crate) fn unsequenced(kind: Kind) -> Frame {
    Frame { seq: 0, body: encode(kind, &Trace::none()) }
}

/// The body of a broadcast, encoded once for all peers. It and the next two are part of the current trace.
///
/// # Errors
/// When it is larger than a frame may be.
pub(crate) fn encode_broadcast(broadcast: &Broadcast<'_>) -> Result<Bytes, WireError> {
    fits(broadcast::encode(broadcast, context(&Trace::current())))
}

/// The body of a command, encoded once for all peers.
///
/// # Errors
/// When it is larger than a frame may be.
pub(crate) fn encode_command(command: &Command) -> Result<Bytes, WireError> {
    fits(encode(Kind::Command(command.into()), &Trace::current()))
}

/// The body of a request, encoded once for all peers.
///
/// # Errors
/// When it is larger than a frame may be.
pub(crate) fn encode_request(id: u64, request: &Request) -> Result<Bytes, WireError> {
    fits(encode(Kind::Request(values::encode_request(id, request)), &Trace::current()))
}

/// The body of what withdraws a request.
pub(crate) fn encode_withdrawal(id: u64) -> Bytes {
    encode(Kind::Request(values::encode_withdrawal(id)), &Trace::none())
}

/// The body of one message of a response.
///
/// # Errors
/// When it is larger than a frame may be.
pub(crate) fn encode_response(id: u64, response: Response) -> Result<Bytes, WireError> {
    fits(encode(Kind::Response(values::encode_response(id, response)), &Trace::none()))
}

/// The body of something about sessions.
///
/// # Errors
/// When it is larger than a frame may be.
pub(crate) fn encode_recovery(message: &RecoveryMessage) -> Result<Bytes, WireError> {
    fits(encode(Kind::Recovery(message.into()), &Trace::none()))
}

fn encode(kind: Kind, trace: &Trace) -> Bytes {
    pb::Envelope { kind: Some(kind), trace: context(trace) }.encode_to_vec().into()
}

fn context(trace: &Trace) -> Option<pb::TraceContext> {
    trace.to_headers().map(|TraceHeaders { parent, state }| pb::TraceContext { parent, state })
}

#[cfg(test)]
pub(super) mod tests {
    use std::borrow::Cow;

    use super::super::frame::MAX_FRAME;
    use super::super::values::decode_args;
    use super::*;
    use crate::id::{Key, SocketId};
    use crate::socket::messages::recovery::{
        LeftRoom, Life, Number, Origin, Pid, SessionQuestion, SessionState, Standing,
    };
    use crate::socket::messages::{
        Block, CommandKind, EmittedEvent, Flags, RawArgs, RemoteHandshake, RequestKind, ResponseEnd,
        ResponsePart, Room, Selection, SocketSummary,
    };
    use crate::socket::messages::{InheritedLog, Reached, Recover, Replay, ReplayEnd};
    use bytes::BytesMut;
    use pb::response::Part as PbPart;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use serde_json::{Value, json};
    use std::sync::Arc;
    use std::time::Duration;

    fn untraced(kind: Kind) -> Bytes {
        encode(kind, &Trace::none())
    }

    pub(crate) fn broadcasts() -> impl Strategy<Value = Broadcast<'static>> {
        let rooms = || vec("[a-zä]{0,9}".prop_map(Room::from), 0..4);
        let bytes = || vec(any::<u8>(), 0..40).prop_map(Bytes::from);
        ("/[a-z]{0,9}", rooms(), rooms(), any::<String>(), vec(bytes(), 0..3), any::<[bool; 2]>(), numbers())
            .prop_map(|(namespace, rooms, except, text, attachments, [volatile, compress], number)| {
                Broadcast {
                    namespace: namespace.into(),
                    selection: Cow::Owned(Selection { rooms: rooms.into(), except: except.into() }),
                    text: text.into(),
                    attachments,
                    flags: Flags { volatile, compress },
                    number,
                }
            })
    }

    fn numbers() -> impl Strategy<Value = Option<Number>> {
        let number = (any::<u64>(), 1..u64::MAX);
        proptest::option::of(
            number.prop_map(|(origin, number)| Number { origin: Origin::from_u64(origin), number }),
        )
    }

    fn bytes_of(frame: &Frame) -> Vec<u8> {
        [&frame.header()[..], &frame.body[..]].concat()
    }

    #[test]
    fn a_withdrawal_names_the_request_and_an_earlier_version_takes_it_for_one_it_does_not_know() {
        assert_eq!(Message::decode(encode_withdrawal(7)).unwrap(), Message::Withdrawn(7));
        let unknown = untraced(Kind::Request(pb::Request { id: 7, ..pb::Request::default() }));
        assert_eq!(Message::decode(unknown).unwrap(), Message::UnknownRequest(7));
    }

    #[test]
    fn a_kind_of_a_later_version_is_unknown_and_a_later_field_is_ignored() {
        // Field 100 of the envelope, a message; then field 9 of a gap, a number.
        assert_eq!(Message::decode(Bytes::from_static(&[0xa2, 6, 1, 0])).unwrap(), Message::Unknown);
        let gap = Bytes::from_static(&[0x22, 4, 8, 7, 0x48, 1]);
        assert_eq!(Message::decode(gap).unwrap(), Message::Gap { to: 7 });
    }

    #[test]
    fn a_node_of_an_earlier_version_reads_a_traced_message_and_what_it_sends_has_no_trace() {
        #[derive(Clone, PartialEq, prost::Message)]
        struct Earlier {
            #[prost(message, optional, tag = "8")]
            broadcast: Option<pb::Broadcast>,
        }
        let broadcast = pb::Broadcast { namespace: "/".into(), ..Default::default() };
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let trace = pb::TraceContext { parent: parent.into(), state: "a=1".into() };
        let kind = Some(Kind::Broadcast(broadcast.clone()));
        let traced = pb::Envelope { kind, trace: Some(trace) }.encode_to_vec();
        let earlier = Earlier::decode(&traced[..]).unwrap();
        assert_eq!(earlier.broadcast, Some(broadcast.clone()));
        let (message, trace) = Message::decode_traced(earlier.encode_to_vec().into()).unwrap();
        assert_eq!(message, Message::Broadcast(broadcast.try_into().unwrap()));
        assert_eq!(trace.to_headers(), None);
        // Of this version, but without traces or with them.
        let is_traced = Message::decode_traced(traced.into()).unwrap().1.to_headers().is_some();
        assert_eq!(is_traced, cfg!(feature = "opentelemetry"));
    }

    #[test]
    fn a_malformed_trace_is_none_and_the_message_stays() {
        let trace = pb::TraceContext { parent: "00-nothing".into(), state: "=".repeat(1 << 20) };
        let kind = Some(Kind::Broadcast(pb::Broadcast::default()));
        let body = pb::Envelope { kind, trace: Some(trace) }.encode_to_vec();
        let (message, trace) = Message::decode_traced(body.into()).unwrap();
        assert!(message.is_body());
        assert_eq!(trace.to_headers(), None);
    }

    #[test]
    fn a_packet_that_is_not_text_is_refused() {
        let body = untraced(Kind::Broadcast(pb::Broadcast {
            text: Bytes::from_static(&[0xff]),
            ..Default::default()
        }));
        assert!(matches!(Message::decode(body), Err(WireError::Text(_))));
    }

    #[test]
    fn a_broadcast_larger_than_a_frame_is_refused() {
        let mut large = Broadcast {
            namespace: "/".into(),
            selection: Cow::default(),
            text: "".into(),
            attachments: vec![Bytes::from(vec![0; MAX_FRAME - 64])],
            flags: Flags::default(),
            number: None,
        };
        let body = encode_broadcast(&large).unwrap();
        let mut buffer = BytesMut::from(&bytes_of(&Frame { seq: 1, body })[..]);
        assert!(Frame::decode(&mut buffer).unwrap().is_some());
        large.attachments.push(Bytes::from(vec![0; 64]));
        assert!(matches!(encode_broadcast(&large), Err(WireError::Length(_))));
    }

    fn room_names() -> impl Strategy<Value = Vec<Room>> {
        vec("[a-zä]{0,9}".prop_map(Room::from), 0..4)
    }

    fn selections() -> impl Strategy<Value = Selection> {
        (room_names(), room_names())
            .prop_map(|(rooms, except)| Selection { rooms: rooms.into(), except: except.into() })
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".{0,9}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                vec(inner.clone(), 0..4).prop_map(Value::from),
                vec(("[a-z]{0,3}", inner), 0..4)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    fn args() -> impl Strategy<Value = RawArgs> {
        (vec(values(), 0..3), vec(vec(any::<u8>(), 0..20).prop_map(Bytes::from), 0..3)).prop_map(
            |(values, attachments)| {
                let placeholders =
                    (0..attachments.len()).map(|num| json!({ "_placeholder": true, "num": num }));
                let array = Value::from_iter(values.into_iter().chain(placeholders));
                RawArgs::from_array(&array.to_string().into(), attachments).unwrap()
            },
        )
    }

    fn events() -> impl Strategy<Value = EmittedEvent> {
        (any::<String>(), args()).prop_map(|(name, args)| EmittedEvent { name: name.into(), args })
    }

    fn blocks() -> impl Strategy<Value = Block> {
        ("[a-zä]{0,9}", any::<u32>(), any::<(u64, u64)>()).prop_map(|(user, millis, (blocked, lifted))| {
            Block { user: user.into(), time: Duration::from_millis(millis.into()), blocked, lifted }
        })
    }

    fn commands() -> impl Strategy<Value = Command> {
        let kind = prop_oneof![
            room_names().prop_map(CommandKind::Join),
            room_names().prop_map(CommandKind::Leave),
            any::<bool>().prop_map(|close| CommandKind::Disconnect { close }),
            events().prop_map(|event| CommandKind::Update(event.args)),
            events().prop_map(CommandKind::ServerEvent),
            vec(blocks(), 0..4).prop_map(CommandKind::Block),
        ];
        ("/[a-z]{0,9}", selections(), kind).prop_map(|(namespace, selection, kind)| Command {
            namespace: namespace.into(),
            selection,
            kind,
        })
    }

    fn requests() -> impl Strategy<Value = Request> {
        let kind = prop_oneof![
            any::<bool>().prop_map(|handshake| RequestKind::Sockets { handshake }),
            Just(RequestKind::Rooms),
            Just(RequestKind::Count),
            (events(), any::<bool>()).prop_map(|(event, compress)| RequestKind::Acks { event, compress }),
            events().prop_map(RequestKind::ServerEvent),
            Just(RequestKind::RoomsConfirmed),
            (ids(), questions()).prop_map(|(pid, question)| RequestKind::Session { pid: Pid(pid), question }),
        ];
        ("/[a-z]{0,9}", selections(), kind, any::<u32>()).prop_map(|(namespace, selection, kind, timeout)| {
            Request {
                namespace: namespace.into(),
                selection,
                kind,
                timeout: match timeout {
                    u32::MAX => Duration::MAX,
                    timeout => Duration::from_millis(timeout.into()),
                },
            }
        })
    }

    fn handshakes() -> impl Strategy<Value = RemoteHandshake> {
        let pairs = || vec((any::<String>(), any::<String>()), 0..4);
        let address = proptest::option::of(any::<std::net::SocketAddr>().prop_map(plain));
        (pairs(), pairs(), any::<String>(), address, any::<bool>(), any::<u32>(), values()).prop_map(
            |(headers, query, url, address, secure, issued, auth)| RemoteHandshake {
                headers,
                query,
                url,
                address,
                secure,
                issued: RemoteHandshake::issued_at(issued.into()),
                auth,
            },
        )
    }

    /// Flow labels are no part of an address's text.
    fn plain(address: std::net::SocketAddr) -> std::net::SocketAddr {
        (address.ip(), address.port()).into()
    }

    fn ids() -> impl Strategy<Value = SocketId> {
        any::<[u8; 15]>().prop_map(SocketId::from_bytes)
    }

    fn questions() -> impl Strategy<Value = SessionQuestion> {
        prop_oneof![
            Just(SessionQuestion::Claim),
            ids().prop_map(SessionQuestion::Surrender),
            Just(SessionQuestion::Fetch),
        ]
    }

    fn times() -> impl Strategy<Value = Duration> {
        any::<u32>().prop_map(|millis| Duration::from_millis(millis.into()))
    }

    fn reached() -> impl Strategy<Value = Vec<(Origin, u64)>> {
        vec(any::<(u64, u64)>().prop_map(|(origin, number)| (Origin::from_u64(origin), number)), 0..3)
    }

    fn stays() -> impl Strategy<Value = Vec<(Room, Duration)>> {
        vec(("[a-z]{0,9}".prop_map(Room::from), times()), 0..3)
    }

    fn left() -> impl Strategy<Value = Vec<LeftRoom>> {
        let left = ("[a-z]{0,9}".prop_map(Room::from), times(), reached());
        vec(left.prop_map(|(room, age, until)| LeftRoom { room, age, until }), 0..3)
    }

    fn lives() -> impl Strategy<Value = Life> {
        (0..u64::MAX >> 1, any::<u64>()).prop_map(|(count, at)| Life { count, at: Origin::from_u64(at) })
    }

    fn sessions() -> impl Strategy<Value = SessionState> {
        let standing = prop_oneof![
            "[a-z]{1,9}".prop_map(|name| Standing::Live(name.parse().unwrap())),
            times().prop_map(Standing::Away),
            Just(Standing::Over),
        ];
        let names = (ids(), "/[a-z]{0,9}", ids(), lives(), 0..u64::MAX >> 1, standing);
        let what = (times(), times(), stays(), vec(any::<u8>(), 0..9), proptest::option::of("[a-z]{0,9}"));
        let lately = (left(), proptest::option::of(times()));
        (names, what, lately, proptest::option::of(times()), reached()).prop_map(
            |(
                (pid, namespace, socket, life, version, standing),
                (lasts, age, rooms, data, user),
                (left, forgotten),
                login,
                start,
            )| {
                SessionState {
                    pid: Pid(pid),
                    namespace: namespace.into(),
                    socket,
                    life,
                    version,
                    standing,
                    lasts,
                    age,
                    rooms,
                    left,
                    forgotten,
                    data: data.into(),
                    user: user.map(Into::into),
                    login,
                    start,
                }
            },
        )
    }

    fn recoveries() -> impl Strategy<Value = RecoveryMessage> {
        let packets = || vec(broadcasts().prop_map(Arc::new), 0..3);
        let end = prop_oneof![
            Just(ReplayEnd::More),
            (reached(), reached()).prop_map(|(numbers, unfinished)| ReplayEnd::Done(Reached {
                numbers,
                unfinished: unfinished.into_iter().map(|(origin, _)| origin).collect(),
            })),
            Just(ReplayEnd::Refused),
        ];
        let recover = (any::<[u64; 3]>(), "/[a-z]{0,9}", ids(), times(), (stays(), left()), reached())
            .prop_map(|([id, limit, interest], namespace, socket, age, (rooms, left), after)| {
                let namespace = namespace.into();
                RecoveryMessage::Recover(Recover {
                    id,
                    namespace,
                    socket,
                    age,
                    rooms,
                    left,
                    after,
                    limit,
                    interest,
                })
            });
        let log = (
            "/[a-z]{0,9}",
            any::<[u64; 2]>(),
            vec((times(), broadcasts().prop_map(Arc::new)), 0..3),
            proptest::option::of((any::<u64>(), times())),
            any::<bool>(),
        )
            .prop_map(|(namespace, [origin, last], packets, cut, more)| {
                let (namespace, origin) = (namespace.into(), Origin::from_u64(origin));
                RecoveryMessage::Log(InheritedLog { namespace, origin, packets, last, cut, more })
            });
        prop_oneof![
            (proptest::option::of(times()), vec(sessions(), 0..3))
                .prop_map(|(clock, states)| RecoveryMessage::Copies { clock, states }),
            (ids(), "/[a-z]{0,9}", ids(), lives()).prop_map(|(pid, namespace, socket, life)| {
                RecoveryMessage::Close { pid: Pid(pid), namespace: namespace.into(), socket, life }
            }),
            recover,
            (any::<u64>(), "/[a-z]{0,9}", packets(), times(), end).prop_map(
                |(id, namespace, packets, waited, end)| {
                    let namespace = namespace.into();
                    RecoveryMessage::Replay(Replay { id, namespace, packets, waited, end })
                }
            ),
            log,
            Just(RecoveryMessage::Again),
        ]
    }

    fn responses() -> impl Strategy<Value = Response> {
        let id = || any::<[u8; 10]>().prop_map(|random| SocketId::new(Key::from_hash(7 << 40), random));
        let summary = (id(), room_names(), values(), proptest::option::of(handshakes()))
            .prop_map(|(id, rooms, data, handshake)| SocketSummary { id, rooms, data, handshake });
        let part = prop_oneof![
            vec(summary, 0..3).prop_map(ResponsePart::Sockets),
            room_names().prop_map(ResponsePart::Rooms),
            any::<u64>().prop_map(ResponsePart::Count),
            any::<u64>().prop_map(ResponsePart::ExpectedAcks),
            vec(id(), 0..3).prop_map(ResponsePart::Asked),
            vec((id(), args()), 1..3).prop_map(ResponsePart::Acks),
            vec(args(), 0..3).prop_map(ResponsePart::Replies),
            sessions().prop_map(|state| ResponsePart::Session(Box::new(state))),
        ];
        let end = prop_oneof![Just(ResponseEnd::More), Just(ResponseEnd::Done), Just(ResponseEnd::Failed)];
        (proptest::option::of(part), end).prop_map(|(part, end)| Response { part, end })
    }

    #[test]
    fn a_request_of_a_later_version_is_unknown_and_such_a_command_is_ignored() {
        let mut request = pb::Request { id: 5, ..pb::Request::default() };
        assert_eq!(
            Message::decode(untraced(Kind::Request(request.clone()))).unwrap(),
            Message::UnknownRequest(5)
        );
        request.kind = Some(pb::request::Kind::Sockets(pb::Nothing {}));
        assert!(matches!(Message::decode(untraced(Kind::Request(request))).unwrap(), Message::Request(5, _)));
        assert_eq!(
            Message::decode(untraced(Kind::Command(pb::Command::default()))).unwrap(),
            Message::Unknown
        );
    }

    #[test]
    fn values_that_are_not_what_they_should_be_are_refused() {
        let args = |array: &'static [u8]| pb::Args { array: Bytes::from_static(array), attachments: vec![] };
        for array in [&b"{}"[..], b"[1", b"[1]]", b"\xff", b""] {
            assert!(decode_args(args(array)).is_err(), "{array:?}");
        }
        // As from a client.
        assert_eq!(decode_args(args(b"[\"\\ud800\"]")).unwrap().json(), r#""\ufffd""#);
        let socket =
            || pb::Socket { id: "x".repeat(20), data: Bytes::from_static(b"{}"), ..Default::default() };
        assert!(SocketSummary::try_from(socket()).is_ok());
        for broken in [
            pb::Socket { id: "short".into(), ..socket() },
            pb::Socket { data: Bytes::from_static(b"{"), ..socket() },
            pb::Socket {
                handshake: Some(pb::Handshake { address: "nowhere".into(), ..Default::default() }),
                ..socket()
            },
        ] {
            assert!(matches!(SocketSummary::try_from(broken), Err(WireError::Value(_))));
        }
        let ids = |length| Bytes::from(vec![7; length]);
        let replies = |sockets| pb::Replies { replies: vec![args(b"[]"), args(b"[1]")], sockets };
        for (part, valid) in [
            (PbPart::Asked(ids(2 * SocketId::LENGTH)), true),
            (PbPart::Asked(ids(2 * SocketId::LENGTH - 1)), false),
            (PbPart::Replies(replies(ids(0))), true),
            (PbPart::Replies(replies(ids(2 * SocketId::LENGTH))), true),
            (PbPart::Replies(replies(ids(SocketId::LENGTH))), false),
            (PbPart::Replies(replies(ids(3 * SocketId::LENGTH))), false),
        ] {
            let response = pb::Response { part: Some(part.clone()), ..Default::default() };
            assert_eq!(Response::try_from(response).is_ok(), valid, "{part:?}");
        }
    }

    #[test]
    fn a_node_of_an_earlier_version_that_asks_about_sockets_is_told_their_handshakes() {
        let earlier =
            pb::Request { kind: Some(pb::request::Kind::Sockets(pb::Nothing {})), ..pb::Request::default() };
        let Message::Request(_, asked) = Message::decode(untraced(Kind::Request(earlier))).unwrap() else {
            panic!("a request")
        };
        assert_eq!(asked.kind, RequestKind::Sockets { handshake: true });
    }

    #[test]
    fn what_is_larger_than_a_frame_is_refused() {
        let event =
            |size| EmittedEvent { name: "e".into(), args: RawArgs::encode(&"x".repeat(size)).unwrap() };
        let command = |size| Command {
            namespace: "/".into(),
            selection: Selection::default(),
            kind: CommandKind::ServerEvent(event(size)),
        };
        assert!(encode_command(&command(MAX_FRAME - 100)).is_ok());
        assert!(matches!(encode_command(&command(MAX_FRAME)), Err(WireError::Length(_))));
    }

    proptest! {
        #[test]
        fn a_command_survives_the_wire(command in commands()) {
            let body = encode_command(&command).unwrap();
            prop_assert_eq!(Message::decode(body).unwrap(), Message::Command(command));
        }

        #[test]
        fn a_request_survives_the_wire(request in requests(), id: u64) {
            let body = encode_request(id, &request).unwrap();
            prop_assert_eq!(Message::decode(body).unwrap(), Message::Request(id, request));
        }

        #[test]
        fn what_is_said_of_sessions_survives_the_wire(message in recoveries()) {
            let body = encode_recovery(&message).unwrap();
            prop_assert_eq!(Message::decode(body).unwrap(), Message::Recovery(message));
        }

        #[test]
        fn a_response_survives_the_wire(response in responses(), id: u64) {
            let body = encode_response(id, response.clone()).unwrap();
            prop_assert_eq!(Message::decode(body).unwrap(), Message::Response(id, response));
        }

        /// A valid message in which some bytes are replaced gets further into the decoders than random bytes do.
        #[test]
        fn any_damage_is_a_message_or_an_error(response in responses(), request in requests(), damage in vec(any::<(usize, u8)>(), 1..5)) {
            for body in [encode_response(1, response).unwrap(), encode_request(1, &request).unwrap()] {
                let mut bytes = body.to_vec();
                for (at, byte) in &damage {
                    let at = at % bytes.len();
                    bytes[at] = *byte;
                }
                let _decoded = Message::decode(bytes.into());
            }
        }

        #[test]
        fn a_broadcast_survives_the_wire(broadcast in broadcasts(), seq: u64) {
            let body = encode_broadcast(&broadcast).unwrap();
            let mut buffer = BytesMut::from(&bytes_of(&Frame { seq, body })[..]);
            let frame = Frame::decode(&mut buffer).unwrap().unwrap();
            prop_assert_eq!(frame.seq, seq);
            prop_assert_eq!(Message::decode(frame.body).unwrap(), Message::Broadcast(broadcast));
        }

        #[test]
        fn what_is_small_enough_by_its_size_can_be_encoded(
            broadcast in broadcasts(), command in commands(), request in requests(), id: u64,
        ) {
            prop_assert!(encode_broadcast(&broadcast).unwrap().len() <= broadcast.size());
            prop_assert!(encode_command(&command).unwrap().len() <= command.size());
            prop_assert!(encode_request(id, &request).unwrap().len() <= request.size());
        }

        #[test]
        fn any_bytes_are_a_message_or_an_error(bytes in vec(any::<u8>(), 0..200)) {
            let _decoded = Message::decode(Bytes::from(bytes.clone()));
            let _decoded = pb::StreamHeader::decode(&bytes[..]);
            let _decoded = pb::HelloReply::decode(&bytes[..]);
        }
    }
}
