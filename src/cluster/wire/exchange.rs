//! Commands, requests and responses ↔ protobuf (docs/protocol/mesh.md, "Commands", "Asks").

use std::time::Duration;

use bytes::Bytes;
use bytestring::ByteString;
use serde_json::Value;

use super::{WireError, encode, fits, names, pb, rooms, selection};
use crate::socket::messages::{
    Command, CommandKind, EmittedEvent, RawArgs, RemoteHandshake, Request, RequestKind, Response,
    ResponseEnd, ResponsePart, SocketSummary,
};
use pb::answer::Part as PbPart;
use pb::ask::Question as PbQuestion;
use pb::command::Change as PbChange;
use pb::envelope::Kind;

/// The body of a command, encoded once for all peers.
///
/// # Errors
/// When it is larger than a frame may be.
pub(crate) fn encode_command(command: &Command) -> Result<Bytes, WireError> {
    let change = match &command.kind {
        CommandKind::Join(joined) => PbChange::Join(pb::Rooms { names: names(joined) }),
        CommandKind::Leave(left) => PbChange::Leave(pb::Rooms { names: names(left) }),
        CommandKind::Disconnect { close } => PbChange::Disconnect(pb::Disconnect { close: *close }),
        CommandKind::Update(update) => PbChange::Update(update.into()),
        CommandKind::ServerEvent(event) => PbChange::Event(event.into()),
    };
    fits(encode(Kind::Command(pb::Command {
        namespace: command.namespace.to_string(),
        rooms: names(&command.selection.rooms),
        except: names(&command.selection.except),
        change: Some(change),
    })))
}

/// The body of a request, encoded once for all peers.
///
/// # Errors
/// When it is larger than a frame may be.
pub(crate) fn encode_request(id: u64, request: &Request) -> Result<Bytes, WireError> {
    let mut uncompressed = false;
    let question = match &request.kind {
        RequestKind::Sockets => PbQuestion::Sockets(pb::Nothing {}),
        RequestKind::Rooms => PbQuestion::InRooms(pb::Nothing {}),
        RequestKind::Acks { event, compress } => {
            uncompressed = !compress;
            PbQuestion::Acks(event.into())
        }
        RequestKind::ServerEvent(event) => PbQuestion::Event(event.into()),
        RequestKind::RoomsConfirmed => PbQuestion::Settled(pb::Nothing {}),
    };
    fits(encode(Kind::Ask(pb::Ask {
        id,
        timeout: u32::try_from(request.timeout.as_millis()).unwrap_or(u32::MAX),
        namespace: request.namespace.to_string(),
        rooms: names(&request.selection.rooms),
        except: names(&request.selection.except),
        question: Some(question),
        uncompressed,
    })))
}

/// The body of one message of a response.
///
/// # Errors
/// When it is larger than a frame may be.
pub(crate) fn encode_response(id: u64, response: Response) -> Result<Bytes, WireError> {
    let part = response.part.map(|part| match part {
        ResponsePart::Sockets(sockets) => {
            PbPart::Sockets(pb::Sockets { sockets: sockets.into_iter().map(pb::Socket::from).collect() })
        }
        ResponsePart::Rooms(rooms) => PbPart::Rooms(pb::Rooms { names: names(&rooms) }),
        ResponsePart::ExpectedAcks(count) => PbPart::Expected(count),
        ResponsePart::Replies(replies) => {
            PbPart::Replies(pb::Replies { replies: replies.iter().map(pb::Args::from).collect() })
        }
    });
    let end = match response.end {
        ResponseEnd::More => pb::answer::End::Unspecified,
        ResponseEnd::Done => pb::answer::End::Done,
        ResponseEnd::Failed => pb::answer::End::Failed,
    };
    fits(encode(Kind::Answer(pb::Answer { id, end: end.into(), part })))
}

/// `None` for a command of a later version, which is ignored.
pub(super) fn decode_command(command: pb::Command) -> Result<Option<Command>, WireError> {
    let kind = match command.change {
        None => return Ok(None),
        Some(PbChange::Join(joined)) => CommandKind::Join(rooms(joined.names)),
        Some(PbChange::Leave(left)) => CommandKind::Leave(rooms(left.names)),
        Some(PbChange::Disconnect(pb::Disconnect { close })) => CommandKind::Disconnect { close },
        Some(PbChange::Update(update)) => CommandKind::Update(decode_args(update)?),
        Some(PbChange::Event(event)) => CommandKind::ServerEvent(event.try_into()?),
    };
    let selection = selection(command.rooms, command.except);
    Ok(Some(Command { namespace: command.namespace.into(), selection, kind }))
}

/// `None` for a request of a later version.
pub(super) fn decode_request(request: pb::Ask) -> Result<Option<Request>, WireError> {
    let kind = match request.question {
        None => return Ok(None),
        Some(PbQuestion::Sockets(pb::Nothing {})) => RequestKind::Sockets,
        Some(PbQuestion::InRooms(pb::Nothing {})) => RequestKind::Rooms,
        Some(PbQuestion::Acks(event)) => {
            RequestKind::Acks { event: event.try_into()?, compress: !request.uncompressed }
        }
        Some(PbQuestion::Event(event)) => RequestKind::ServerEvent(event.try_into()?),
        Some(PbQuestion::Settled(pb::Nothing {})) => RequestKind::RoomsConfirmed,
    };
    Ok(Some(Request {
        namespace: request.namespace.into(),
        selection: selection(request.rooms, request.except),
        kind,
        timeout: Duration::from_millis(request.timeout.into()),
    }))
}

impl TryFrom<pb::Answer> for Response {
    type Error = WireError;

    fn try_from(answer: pb::Answer) -> Result<Self, WireError> {
        let end = match answer.end() {
            pb::answer::End::Unspecified => ResponseEnd::More,
            pb::answer::End::Done => ResponseEnd::Done,
            pb::answer::End::Failed => ResponseEnd::Failed,
        };
        let part = match answer.part {
            None => None,
            Some(PbPart::Sockets(pb::Sockets { sockets })) => {
                let sockets: Result<_, _> = sockets.into_iter().map(SocketSummary::try_from).collect();
                Some(ResponsePart::Sockets(sockets?))
            }
            Some(PbPart::Rooms(found)) => Some(ResponsePart::Rooms(rooms(found.names))),
            Some(PbPart::Expected(count)) => Some(ResponsePart::ExpectedAcks(count)),
            Some(PbPart::Replies(pb::Replies { replies })) => {
                let replies: Result<_, _> = replies.into_iter().map(decode_args).collect();
                Some(ResponsePart::Replies(replies?))
            }
        };
        Ok(Self { part, end })
    }
}

impl From<&EmittedEvent> for pb::Event {
    fn from(EmittedEvent { name, args }: &EmittedEvent) -> Self {
        Self { name: name.to_string(), args: Some(args.into()) }
    }
}

impl TryFrom<pb::Event> for EmittedEvent {
    type Error = WireError;

    fn try_from(pb::Event { name, args }: pb::Event) -> Result<Self, WireError> {
        let args = args.map_or_else(|| Ok(RawArgs::default()), decode_args)?;
        Ok(Self { name: name.into(), args })
    }
}

impl From<&RawArgs> for pb::Args {
    fn from(args: &RawArgs) -> Self {
        Self { array: args.to_array().into_bytes(), attachments: args.attachments().to_vec() }
    }
}

fn decode_args(pb::Args { array, attachments }: pb::Args) -> Result<RawArgs, WireError> {
    let array = ByteString::try_from(array).map_err(WireError::Text)?;
    RawArgs::from_array(&array, attachments).map_err(value)
}

impl From<SocketSummary> for pb::Socket {
    fn from(SocketSummary { id, rooms, data, handshake }: SocketSummary) -> Self {
        Self {
            id: id.to_string(),
            rooms: names(&rooms),
            data: data.to_string().into(),
            handshake: Some(handshake.into()),
        }
    }
}

impl TryFrom<pb::Socket> for SocketSummary {
    type Error = WireError;

    fn try_from(socket: pb::Socket) -> Result<Self, WireError> {
        Ok(Self {
            id: socket.id.parse().map_err(value)?,
            rooms: rooms(socket.rooms),
            data: json(&socket.data)?,
            handshake: decode_handshake(socket.handshake.unwrap_or_default())?,
        })
    }
}

impl From<RemoteHandshake> for pb::Handshake {
    fn from(handshake: RemoteHandshake) -> Self {
        let pairs = |pairs: Vec<(String, String)>| {
            pairs.into_iter().map(|(name, value)| pb::Pair { name, value }).collect()
        };
        Self {
            headers: pairs(handshake.headers),
            query: pairs(handshake.query),
            url: handshake.url,
            address: handshake.address.map_or_else(String::new, |address| address.to_string()),
            secure: handshake.secure,
            issued: RemoteHandshake::issued_millis(handshake.issued),
            auth: handshake.auth.to_string().into(),
        }
    }
}

fn decode_handshake(handshake: pb::Handshake) -> Result<RemoteHandshake, WireError> {
    let pairs = |pairs: Vec<pb::Pair>| pairs.into_iter().map(|pair| (pair.name, pair.value)).collect();
    let address = match handshake.address.as_str() {
        "" => None,
        address => Some(address.parse().map_err(value)?),
    };
    Ok(RemoteHandshake {
        headers: pairs(handshake.headers),
        query: pairs(handshake.query),
        url: handshake.url,
        address,
        secure: handshake.secure,
        issued: RemoteHandshake::issued_at(handshake.issued),
        auth: json(&handshake.auth)?,
    })
}

/// Absent JSON is `null`.
fn json(bytes: &[u8]) -> Result<Value, WireError> {
    if bytes.is_empty() { Ok(Value::Null) } else { serde_json::from_slice(bytes).map_err(value) }
}

fn value(error: impl std::error::Error + Send + Sync + 'static) -> WireError {
    WireError::Value(Box::new(error))
}

#[cfg(test)]
mod tests {
    use super::super::{MAX_FRAME, Message, Selection};
    use super::*;
    use crate::id::{Key, SocketId};
    use crate::socket::messages::Room;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use serde_json::json;

    fn room_names() -> impl Strategy<Value = Vec<Room>> {
        vec("[a-zä]{0,9}".prop_map(Room::from), 0..4)
    }

    fn selections() -> impl Strategy<Value = Selection> {
        (room_names(), room_names()).prop_map(|(rooms, except)| Selection { rooms, except })
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

    fn commands() -> impl Strategy<Value = Command> {
        let kind = prop_oneof![
            room_names().prop_map(CommandKind::Join),
            room_names().prop_map(CommandKind::Leave),
            any::<bool>().prop_map(|close| CommandKind::Disconnect { close }),
            events().prop_map(|event| CommandKind::Update(event.args)),
            events().prop_map(CommandKind::ServerEvent),
        ];
        ("/[a-z]{0,9}", selections(), kind).prop_map(|(namespace, selection, kind)| Command {
            namespace: namespace.into(),
            selection,
            kind,
        })
    }

    fn requests() -> impl Strategy<Value = Request> {
        let kind = prop_oneof![
            Just(RequestKind::Sockets),
            Just(RequestKind::Rooms),
            (events(), any::<bool>()).prop_map(|(event, compress)| RequestKind::Acks { event, compress }),
            events().prop_map(RequestKind::ServerEvent),
            Just(RequestKind::RoomsConfirmed),
        ];
        ("/[a-z]{0,9}", selections(), kind, any::<u32>()).prop_map(|(namespace, selection, kind, timeout)| {
            Request {
                namespace: namespace.into(),
                selection,
                kind,
                timeout: Duration::from_millis(timeout.into()),
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

    fn responses() -> impl Strategy<Value = Response> {
        let id = any::<[u8; 10]>().prop_map(|random| SocketId::new(Key::from_hash(7 << 40), random));
        let summary = (id, room_names(), values(), handshakes())
            .prop_map(|(id, rooms, data, handshake)| SocketSummary { id, rooms, data, handshake });
        let part = prop_oneof![
            vec(summary, 0..3).prop_map(ResponsePart::Sockets),
            room_names().prop_map(ResponsePart::Rooms),
            any::<u64>().prop_map(ResponsePart::ExpectedAcks),
            vec(args(), 0..3).prop_map(ResponsePart::Replies),
        ];
        let end = prop_oneof![Just(ResponseEnd::More), Just(ResponseEnd::Done), Just(ResponseEnd::Failed)];
        (proptest::option::of(part), end).prop_map(|(part, end)| Response { part, end })
    }

    #[test]
    fn a_request_of_a_later_version_is_unknown_and_such_a_command_is_ignored() {
        let mut request = pb::Ask { id: 5, ..pb::Ask::default() };
        assert_eq!(Message::decode(encode(Kind::Ask(request.clone()))).unwrap(), Message::UnknownRequest(5));
        request.question = Some(PbQuestion::Sockets(pb::Nothing {}));
        assert!(matches!(Message::decode(encode(Kind::Ask(request))).unwrap(), Message::Request(5, _)));
        assert_eq!(Message::decode(encode(Kind::Command(pb::Command::default()))).unwrap(), Message::Unknown);
    }

    #[test]
    fn values_that_are_not_what_they_should_be_are_refused() {
        let args = |array: &'static [u8]| pb::Args { array: Bytes::from_static(array), attachments: vec![] };
        for array in [&b"{}"[..], b"[1", b"[1]]", b"\xff", b"", b"[\"\\ud800\"]"] {
            assert!(decode_args(args(array)).is_err(), "{array:?}");
        }
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
    }
}
