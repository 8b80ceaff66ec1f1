//! What nodes tell each other about sessions ↔ protobuf (docs/protocol/mesh.md, "Recovery").

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::error::WireError;
use super::pb;
use crate::id::SocketId;
use crate::socket::messages::recovery::{
    LeftRoom, Life, Origin, Pid, SessionQuestion, SessionState, Standing,
};
use crate::socket::messages::{
    Broadcast, InheritedLog, KeptPacket, Reached, Recover, RecoveryMessage, Replay, ReplayEnd, Room,
};
use pb::recovery::Kind;
use pb::replay::End;
use pb::session::Standing as PbStanding;
use pb::session_question::Question;

impl From<&RecoveryMessage> for pb::Recovery {
    fn from(message: &RecoveryMessage) -> Self {
        let kind = match message {
            RecoveryMessage::Copies { clock, states } => Kind::Copies(pb::Sessions {
                sessions: states.iter().map(pb::Session::from).collect(),
                clock: clock.map(millis),
            }),
            RecoveryMessage::Close { pid, namespace, socket, life } => Kind::Close(pb::CloseSession {
                pid: bytes(pid.0),
                namespace: namespace.to_string(),
                socket: bytes(*socket),
                life: Some((*life).into()),
            }),
            RecoveryMessage::Recover(recover) => Kind::Recover(recover.into()),
            RecoveryMessage::Replay(replay) => Kind::Replay(replay.into()),
            RecoveryMessage::Log(log) => Kind::Log(log.into()),
            RecoveryMessage::Again => Kind::Again(pb::Nothing {}),
        };
        Self { kind: Some(kind) }
    }
}

/// `None` for a message of a later version, which is ignored.
pub(super) fn decode_recovery(recovery: pb::Recovery) -> Result<Option<RecoveryMessage>, WireError> {
    Ok(Some(match recovery.kind {
        None => return Ok(None),
        Some(Kind::Copies(pb::Sessions { sessions, clock })) => RecoveryMessage::Copies {
            clock: clock.map(Duration::from_millis),
            states: sessions.into_iter().map(decode_session).collect::<Result<_, _>>()?,
        },
        Some(Kind::Close(pb::CloseSession { pid, namespace, socket, life })) => RecoveryMessage::Close {
            pid: Pid(id(&pid)?),
            namespace: namespace.into(),
            socket: id(&socket)?,
            life: life.unwrap_or_default().into(),
        },
        Some(Kind::Recover(recover)) => RecoveryMessage::Recover(recover.try_into()?),
        Some(Kind::Replay(replay)) => RecoveryMessage::Replay(replay.try_into()?),
        Some(Kind::Log(log)) => RecoveryMessage::Log(log.try_into()?),
        Some(Kind::Again(pb::Nothing {})) => RecoveryMessage::Again,
    }))
}

pub(super) fn encode_question(pid: Pid, question: SessionQuestion) -> pb::SessionQuestion {
    let question = match question {
        SessionQuestion::Claim => Question::Claim(pb::Nothing {}),
        SessionQuestion::Surrender(socket) => Question::Surrender(bytes(socket)),
        SessionQuestion::Fetch => Question::Fetch(pb::Nothing {}),
    };
    pb::SessionQuestion { pid: bytes(pid.0), question: Some(question) }
}

/// `None` for a question of a later version.
pub(super) fn decode_question(
    asked: pb::SessionQuestion,
) -> Result<Option<(Pid, SessionQuestion)>, WireError> {
    let question = match asked.question {
        None => return Ok(None),
        Some(Question::Claim(pb::Nothing {})) => SessionQuestion::Claim,
        Some(Question::Surrender(socket)) => SessionQuestion::Surrender(id(&socket)?),
        Some(Question::Fetch(pb::Nothing {})) => SessionQuestion::Fetch,
    };
    Ok(Some((Pid(id(&asked.pid)?), question)))
}

impl From<&SessionState> for pb::Session {
    fn from(state: &SessionState) -> Self {
        Self {
            pid: bytes(state.pid.0),
            namespace: state.namespace.to_string(),
            socket: bytes(state.socket),
            life: Some(state.life.into()),
            version: state.version,
            standing: Some(match &state.standing {
                Standing::Live(node) => PbStanding::Live(node.to_string()),
                Standing::Away(left) => PbStanding::Away(millis(*left)),
                Standing::Over => PbStanding::Over(pb::Nothing {}),
            }),
            lasts: millis(state.lasts),
            age: millis(state.age),
            rooms: stays(&state.rooms),
            left: left(&state.left),
            forgotten: state.forgotten.map(millis),
            data: state.data.clone(),
            user: state.user.as_ref().map(|user| user.to_string()),
            login: state.login.map(millis),
            start: numbers(&state.start),
        }
    }
}

pub(super) fn decode_session(session: pb::Session) -> Result<SessionState, WireError> {
    Ok(SessionState {
        pid: Pid(id(&session.pid)?),
        namespace: session.namespace.into(),
        socket: id(&session.socket)?,
        life: session.life.unwrap_or_default().into(),
        version: session.version.min(LARGEST),
        standing: match session.standing {
            Some(PbStanding::Live(node)) => {
                Standing::Live(node.parse().map_err(|error| WireError::Value(Box::new(error)))?)
            }
            Some(PbStanding::Away(left)) => Standing::Away(Duration::from_millis(left)),
            // One that stands otherwise, in a later version, is of no use to this one.
            Some(PbStanding::Over(pb::Nothing {})) | None => Standing::Over,
        },
        lasts: Duration::from_millis(session.lasts),
        age: Duration::from_millis(session.age),
        rooms: decode_stays(session.rooms),
        left: decode_left(session.left),
        forgotten: session.forgotten.map(Duration::from_millis),
        data: session.data,
        user: session.user.map(Arc::from),
        login: session.login.map(Duration::from_millis),
        start: decode_numbers(&session.start),
    })
}

impl From<Life> for pb::Life {
    fn from(Life { count, at }: Life) -> Self {
        Self { count, at: at.as_u64() }
    }
}

impl From<pb::Life> for Life {
    fn from(pb::Life { count, at }: pb::Life) -> Self {
        Self { count: count.min(LARGEST), at: Origin::from_u64(at) }
    }
}

impl From<&Recover> for pb::Recover {
    fn from(recover: &Recover) -> Self {
        Self {
            id: recover.id,
            namespace: recover.namespace.to_string(),
            socket: bytes(recover.socket),
            age: millis(recover.age),
            rooms: stays(&recover.rooms),
            left: left(&recover.left),
            after: numbers(&recover.after),
            limit: recover.limit,
            interest: recover.interest,
        }
    }
}

impl TryFrom<pb::Recover> for Recover {
    type Error = WireError;

    fn try_from(recover: pb::Recover) -> Result<Self, WireError> {
        Ok(Self {
            id: recover.id,
            namespace: recover.namespace.into(),
            socket: id(&recover.socket)?,
            age: Duration::from_millis(recover.age),
            rooms: decode_stays(recover.rooms),
            left: decode_left(recover.left),
            after: decode_numbers(&recover.after),
            limit: recover.limit,
            interest: recover.interest,
        })
    }
}

impl From<&Replay> for pb::Replay {
    fn from(replay: &Replay) -> Self {
        Self {
            id: replay.id,
            namespace: replay.namespace.to_string(),
            packets: replay.packets.iter().map(|packet| pb::Broadcast::from(&**packet)).collect(),
            end: match &replay.end {
                ReplayEnd::More => None,
                ReplayEnd::Done(Reached { numbers: reached, unfinished }) => Some(End::Done(pb::Position {
                    reached: numbers(reached),
                    unfinished: unfinished.iter().map(|origin| origin.as_u64()).collect(),
                })),
                ReplayEnd::Refused => Some(End::Refused(pb::Nothing {})),
            },
            waited: millis(replay.waited),
        }
    }
}

impl TryFrom<pb::Replay> for Replay {
    type Error = WireError;

    fn try_from(replay: pb::Replay) -> Result<Self, WireError> {
        let packet = |packet: pb::Broadcast| Broadcast::try_from(packet).map(Arc::new);
        Ok(Self {
            id: replay.id,
            namespace: replay.namespace.into(),
            packets: replay.packets.into_iter().map(packet).collect::<Result<_, _>>()?,
            waited: Duration::from_millis(replay.waited),
            end: match replay.end {
                None => ReplayEnd::More,
                Some(End::Done(pb::Position { reached, unfinished })) => ReplayEnd::Done(Reached {
                    numbers: decode_numbers(&reached),
                    unfinished: unfinished.into_iter().map(Origin::from_u64).collect(),
                }),
                Some(End::Refused(pb::Nothing {})) => ReplayEnd::Refused,
            },
        })
    }
}

impl From<&InheritedLog> for pb::Log {
    fn from(log: &InheritedLog) -> Self {
        let aged = |(age, packet): &(Duration, KeptPacket)| pb::Aged {
            age: millis(*age),
            packet: Some(pb::Broadcast::from(&**packet)),
        };
        Self {
            namespace: log.namespace.to_string(),
            origin: log.origin.as_u64(),
            packets: log.packets.iter().map(aged).collect(),
            last: log.last,
            cut: log.cut.map(|(to, left)| pb::Cut { to, left: millis(left) }),
            more: log.more,
        }
    }
}

impl TryFrom<pb::Log> for InheritedLog {
    type Error = WireError;

    fn try_from(log: pb::Log) -> Result<Self, WireError> {
        let aged = |pb::Aged { age, packet }: pb::Aged| {
            let packet = Broadcast::try_from(packet.unwrap_or_default())?;
            Ok::<_, WireError>((Duration::from_millis(age), Arc::new(packet)))
        };
        Ok(Self {
            namespace: log.namespace.into(),
            origin: Origin::from_u64(log.origin),
            packets: log.packets.into_iter().map(aged).collect::<Result<_, _>>()?,
            last: log.last,
            cut: log.cut.map(|pb::Cut { to, left }| (to, Duration::from_millis(left))),
            more: log.more,
        })
    }
}

/// Nobody gets that far by counting, and who is there can count on.
const LARGEST: u64 = u64::MAX >> 1;

fn stays(rooms: &[(Room, Duration)]) -> Vec<pb::Stay> {
    rooms
        .iter()
        .map(|(room, age)| pb::Stay { room: room.to_string(), age: millis(*age), until: Vec::new() })
        .collect()
}

fn left(rooms: &[LeftRoom]) -> Vec<pb::Stay> {
    let stay = |LeftRoom { room, age, until }: &LeftRoom| pb::Stay {
        room: room.to_string(),
        age: millis(*age),
        until: numbers(until),
    };
    rooms.iter().map(stay).collect()
}

fn decode_left(rooms: Vec<pb::Stay>) -> Vec<LeftRoom> {
    let left = |pb::Stay { room, age, until }| LeftRoom {
        room: room.into(),
        age: Duration::from_millis(age),
        until: decode_numbers(&until),
    };
    rooms.into_iter().map(left).collect()
}

fn decode_stays(rooms: Vec<pb::Stay>) -> Vec<(Room, Duration)> {
    rooms.into_iter().map(|pb::Stay { room, age, .. }| (room.into(), Duration::from_millis(age))).collect()
}

fn numbers(reached: &[(Origin, u64)]) -> Vec<pb::Reached> {
    reached.iter().map(|(origin, number)| pb::Reached { origin: origin.as_u64(), number: *number }).collect()
}

fn decode_numbers(reached: &[pb::Reached]) -> Vec<(Origin, u64)> {
    reached.iter().map(|pb::Reached { origin, number }| (Origin::from_u64(*origin), *number)).collect()
}

fn bytes(id: SocketId) -> Bytes {
    Bytes::copy_from_slice(&id.to_bytes())
}

fn id(bytes: &[u8]) -> Result<SocketId, WireError> {
    bytes.try_into().map(SocketId::from_bytes).map_err(|_length| WireError::Length(bytes.len()))
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
