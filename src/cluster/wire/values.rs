//! The values that travel between nodes ↔ protobuf (docs/protocol/mesh.md, "Commands", "Requests and responses").

use std::time::Duration;

use bytes::Bytes;
use bytestring::ByteString;
use serde_json::Value;

use super::error::WireError;
use super::pb;
use super::recovery::{decode_question, decode_session, encode_question};
use crate::id::SocketId;
use crate::socket::messages::{
    Block, Command, CommandKind, EmittedEvent, RawArgs, RemoteHandshake, Request, RequestKind, Response,
    ResponseEnd, ResponsePart, Room, Selection, SocketSummary,
};
use pb::command::Change as PbChange;
use pb::request::Kind as PbRequestKind;
use pb::response::Part as PbPart;

impl From<&Command> for pb::Command {
    fn from(command: &Command) -> Self {
        let change = match &command.kind {
            CommandKind::Join(joined) => PbChange::Join(pb::Rooms { names: names(joined) }),
            CommandKind::Leave(left) => PbChange::Leave(pb::Rooms { names: names(left) }),
            CommandKind::Disconnect { close } => PbChange::Disconnect(pb::Disconnect { close: *close }),
            CommandKind::Update(update) => PbChange::Update(update.into()),
            CommandKind::ServerEvent(event) => PbChange::Event(event.into()),
            CommandKind::Block(blocks) => {
                PbChange::Block(pb::Blocks { users: blocks.iter().map(pb::Block::from).collect() })
            }
        };
        Self {
            namespace: command.namespace.to_string(),
            rooms: names(&command.selection.rooms),
            except: names(&command.selection.except),
            change: Some(change),
        }
    }
}

/// A request with its id.
pub(super) fn encode_request(id: u64, request: &Request) -> pb::Request {
    let (mut uncompressed, mut without_handshake) = (false, false);
    let kind = match &request.kind {
        RequestKind::Sockets { handshake } => {
            without_handshake = !handshake;
            PbRequestKind::Sockets(pb::Nothing {})
        }
        RequestKind::Rooms => PbRequestKind::InRooms(pb::Nothing {}),
        RequestKind::Count => PbRequestKind::Count(pb::Nothing {}),
        RequestKind::Acks { event, compress } => {
            uncompressed = !compress;
            PbRequestKind::Acks(event.into())
        }
        RequestKind::ServerEvent(event) => PbRequestKind::Event(event.into()),
        RequestKind::RoomsConfirmed => PbRequestKind::RoomsConfirmed(pb::Nothing {}),
        RequestKind::Session { pid, question } => PbRequestKind::Session(encode_question(*pid, *question)),
    };
    pb::Request {
        id,
        timeout: u32::try_from(request.timeout.as_millis()).unwrap_or(AS_LONG_AS_IT_TAKES),
        namespace: request.namespace.to_string(),
        rooms: names(&request.selection.rooms),
        except: names(&request.selection.except),
        kind: Some(kind),
        uncompressed,
        without_handshake,
    }
}

/// What withdraws the request with this id.
pub(super) fn encode_withdrawal(id: u64) -> pb::Request {
    pb::Request { id, kind: Some(PbRequestKind::Withdrawn(pb::Nothing {})), ..pb::Request::default() }
}

/// A timeout in milliseconds that stands for none: 50 days.
const AS_LONG_AS_IT_TAKES: u32 = u32::MAX;

/// One message of the response to the request with this id.
pub(super) fn encode_response(id: u64, response: Response) -> pb::Response {
    let part = response.part.map(|part| match part {
        ResponsePart::Sockets(sockets) => {
            PbPart::Sockets(pb::Sockets { sockets: sockets.into_iter().map(pb::Socket::from).collect() })
        }
        ResponsePart::Rooms(rooms) => PbPart::Rooms(pb::Rooms { names: names(&rooms) }),
        ResponsePart::Count(count) => PbPart::Count(count),
        ResponsePart::ExpectedAcks(count) => PbPart::Expected(count),
        ResponsePart::Asked(sockets) => PbPart::Asked(ids(sockets)),
        ResponsePart::Acks(acks) => PbPart::Replies(pb::Replies {
            replies: acks.iter().map(|(_, ack)| pb::Args::from(ack)).collect(),
            sockets: ids(acks.into_iter().map(|(socket, _)| socket)),
        }),
        ResponsePart::Replies(replies) => PbPart::Replies(pb::Replies {
            replies: replies.iter().map(pb::Args::from).collect(),
            sockets: Bytes::new(),
        }),
        ResponsePart::Session(state) => PbPart::Session(pb::Session::from(&*state)),
    });
    let end = match response.end {
        ResponseEnd::More => pb::response::End::Unspecified,
        ResponseEnd::Done => pb::response::End::Done,
        ResponseEnd::Failed => pb::response::End::Failed,
    };
    pb::Response { id, end: end.into(), part }
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
        Some(PbChange::Block(pb::Blocks { users })) => {
            CommandKind::Block(users.into_iter().map(Block::from).collect())
        }
    };
    let selection = selection(command.rooms, command.except);
    Ok(Some(Command { namespace: command.namespace.into(), selection, kind }))
}

/// `None` for a request of a later version.
pub(super) fn decode_request(request: pb::Request) -> Result<Option<Request>, WireError> {
    let kind = match request.kind {
        None => return Ok(None),
        Some(PbRequestKind::Sockets(pb::Nothing {})) => {
            RequestKind::Sockets { handshake: !request.without_handshake }
        }
        Some(PbRequestKind::InRooms(pb::Nothing {})) => RequestKind::Rooms,
        Some(PbRequestKind::Count(pb::Nothing {})) => RequestKind::Count,
        Some(PbRequestKind::Acks(event)) => {
            RequestKind::Acks { event: event.try_into()?, compress: !request.uncompressed }
        }
        Some(PbRequestKind::Event(event)) => RequestKind::ServerEvent(event.try_into()?),
        Some(PbRequestKind::RoomsConfirmed(pb::Nothing {})) => RequestKind::RoomsConfirmed,
        Some(PbRequestKind::Session(question)) => match decode_question(question)? {
            Some((pid, question)) => RequestKind::Session { pid, question },
            None => return Ok(None),
        },
        // It is no request.
        Some(PbRequestKind::Withdrawn(pb::Nothing {})) => return Ok(None),
    };
    let timeout = match request.timeout {
        AS_LONG_AS_IT_TAKES => Duration::MAX,
        millis => Duration::from_millis(millis.into()),
    };
    Ok(Some(Request {
        namespace: request.namespace.into(),
        selection: selection(request.rooms, request.except),
        kind,
        timeout,
    }))
}

impl TryFrom<pb::Response> for Response {
    type Error = WireError;

    fn try_from(response: pb::Response) -> Result<Self, WireError> {
        let end = match response.end() {
            pb::response::End::Unspecified => ResponseEnd::More,
            pb::response::End::Done => ResponseEnd::Done,
            pb::response::End::Failed => ResponseEnd::Failed,
        };
        let part = match response.part {
            None => None,
            Some(PbPart::Sockets(pb::Sockets { sockets })) => {
                let sockets: Result<_, _> = sockets.into_iter().map(SocketSummary::try_from).collect();
                Some(ResponsePart::Sockets(sockets?))
            }
            Some(PbPart::Rooms(found)) => Some(ResponsePart::Rooms(rooms(found.names))),
            Some(PbPart::Count(count)) => Some(ResponsePart::Count(count)),
            Some(PbPart::Expected(count)) => Some(ResponsePart::ExpectedAcks(count)),
            Some(PbPart::Asked(sockets)) => Some(ResponsePart::Asked(decode_ids(&sockets)?)),
            Some(PbPart::Replies(replies)) => Some(decode_replies(replies)?),
            Some(PbPart::Session(session)) => Some(ResponsePart::Session(Box::new(decode_session(session)?))),
        };
        Ok(Self { part, end })
    }
}

/// Acks name their sockets.
fn decode_replies(pb::Replies { replies, sockets }: pb::Replies) -> Result<ResponsePart, WireError> {
    let replies: Vec<_> = replies.into_iter().map(decode_args).collect::<Result<_, _>>()?;
    if sockets.is_empty() {
        return Ok(ResponsePart::Replies(replies));
    }
    let named = decode_ids(&sockets)?;
    if named.len() == replies.len() {
        Ok(ResponsePart::Acks(named.into_iter().zip(replies).collect()))
    } else {
        Err(WireError::Length(sockets.len()))
    }
}

fn ids(sockets: impl IntoIterator<Item = SocketId>) -> Bytes {
    sockets.into_iter().flat_map(SocketId::to_bytes).collect()
}

fn decode_ids(bytes: &[u8]) -> Result<Vec<SocketId>, WireError> {
    match bytes.as_chunks::<{ SocketId::LENGTH }>() {
        (ids, []) => Ok(ids.iter().map(|id| SocketId::from_bytes(*id)).collect()),
        _ => Err(WireError::Length(bytes.len())),
    }
}

impl From<&Block> for pb::Block {
    fn from(Block { user, time, blocked, lifted }: &Block) -> Self {
        // Nothing is over before its time.
        let millis = time.as_nanos().div_ceil(1_000_000);
        let time = u64::try_from(millis).unwrap_or(u64::MAX);
        Self { user: user.to_string(), time, blocked: *blocked, lifted: *lifted }
    }
}

impl From<pb::Block> for Block {
    fn from(pb::Block { user, time, blocked, lifted }: pb::Block) -> Self {
        Self { user: user.into(), time: Duration::from_millis(time), blocked, lifted }
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

pub(super) fn decode_args(pb::Args { array, attachments }: pb::Args) -> Result<RawArgs, WireError> {
    let array = ByteString::try_from(array).map_err(WireError::Text)?;
    RawArgs::from_array(&array, attachments).map_err(value)
}

impl From<SocketSummary> for pb::Socket {
    fn from(SocketSummary { id, rooms, data, handshake }: SocketSummary) -> Self {
        Self {
            id: id.to_string(),
            rooms: names(&rooms),
            data: data.to_string().into(),
            handshake: handshake.map(pb::Handshake::from),
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
            handshake: socket.handshake.map(decode_handshake).transpose()?,
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

fn names(rooms: &[Room]) -> Vec<String> {
    rooms.iter().map(|room| room.to_string()).collect()
}

fn rooms(names: Vec<String>) -> Vec<Room> {
    names.into_iter().map(Room::from).collect()
}

fn selection(to: Vec<String>, except: Vec<String>) -> Selection {
    Selection { rooms: rooms(to).into(), except: rooms(except).into() }
}
