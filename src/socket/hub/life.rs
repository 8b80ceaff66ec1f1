//! The life of a socket, from the client's CONNECT to its last handler.

use tokio_util::task::AbortOnDropHandle;

use super::admission::Data;
use super::error::DisconnectReason;
use crate::socket::room::Room;

/// Where a socket is in its life. No state comes back.
///
/// ```text
///   Connecting ──connect──► Connected ──begin_disconnect──► Disconnecting ──finish_disconnect──► Disconnected
///       │
///       └─ refused, or given up by the client: the socket is dropped, and no handler hears of it
/// ```
#[derive(Debug)]
pub(crate) enum Life {
    /// The namespace decides whether the client may enter. Events wait for their handlers.
    Connecting {
        /// The task that runs the decision; it is aborted when the client is not waiting for it any more.
        decision: Option<AbortOnDropHandle<()>>,
    },
    /// The socket is in the room index and can be sent to; its events are handled.
    Connected { data: Data },
    /// The socket has left its namespace, is in no room and can be sent nothing. The handlers of its last events still
    /// run, unless the server kicked it; then `on_disconnecting` runs.
    Disconnecting {
        data: Data,
        reason: DisconnectReason,
        /// The rooms it was in, kept for `on_disconnecting` if there is one.
        left: Vec<Room>,
    },
    /// `on_disconnect` runs or has run; no handler runs after it.
    Disconnected { data: Data, reason: DisconnectReason },
}

/// How far a socket is in its life, for those who decide by nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LifeStage {
    Connecting,
    Connected,
    /// It has left its namespace.
    Left,
}

impl Life {
    /// The namespace admitted the client. A socket is admitted once, by its connection.
    pub(crate) fn connect(&mut self, data: Data) {
        debug_assert!(self.is_connecting(), "admitted twice");
        if self.is_connecting() {
            *self = Self::Connected { data };
        }
    }

    /// The namespace admitted the client once more, with these data. Returns those that they replace, or themselves.
    #[must_use = "data are dropped where nothing is locked"]
    pub(crate) fn renew(&mut self, data: Data) -> Data {
        match self {
            Self::Connected { data: old } => std::mem::replace(old, data),
            _ => data,
        }
    }

    /// The client or the server disconnected the socket. Returns whether it was connected.
    pub(crate) fn begin_disconnect(&mut self, reason: DisconnectReason) -> bool {
        let Self::Connected { data } = self else { return false };
        let data = Data::clone(data);
        *self = Self::Disconnecting { data, reason, left: Vec::new() };
        true
    }

    /// Keeps the rooms that a disconnecting socket was in.
    pub(crate) fn keep_left_rooms(&mut self, rooms: Vec<Room>) {
        if let Self::Disconnecting { left, .. } = self {
            *left = rooms;
        }
    }

    /// All handlers but `on_disconnect` have ended.
    pub(crate) fn finish_disconnect(&mut self) {
        if let Self::Disconnecting { data, reason, .. } = self {
            let (data, reason) = (Data::clone(data), *reason);
            *self = Self::Disconnected { data, reason };
        }
    }

    pub(crate) const fn stage(&self) -> LifeStage {
        match self {
            Self::Connecting { .. } => LifeStage::Connecting,
            Self::Connected { .. } => LifeStage::Connected,
            Self::Disconnecting { .. } | Self::Disconnected { .. } => LifeStage::Left,
        }
    }

    pub(crate) const fn is_connecting(&self) -> bool {
        matches!(self, Self::Connecting { .. })
    }

    pub(crate) const fn is_connected(&self) -> bool {
        matches!(self, Self::Connected { .. })
    }

    /// Why the socket left its namespace, if it has.
    pub(crate) const fn disconnect_reason(&self) -> Option<DisconnectReason> {
        match self {
            Self::Connecting { .. } | Self::Connected { .. } => None,
            Self::Disconnecting { reason, .. } | Self::Disconnected { reason, .. } => Some(*reason),
        }
    }

    /// The data, once the socket was admitted.
    pub(crate) const fn data(&self) -> Option<&Data> {
        match self {
            Self::Connecting { .. } => None,
            Self::Connected { data } | Self::Disconnecting { data, .. } | Self::Disconnected { data, .. } => {
                Some(data)
            }
        }
    }

    /// The rooms that are kept for `on_disconnecting`.
    pub(crate) fn left_rooms(&self) -> &[Room] {
        if let Self::Disconnecting { left, .. } = self { left } else { &[] }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_life_goes_through_its_states_once() {
        let kicked = DisconnectReason::ServerNamespaceDisconnect;
        let mut life = Life::Connecting { decision: None };
        assert!(!life.begin_disconnect(kicked), "it has not begun");
        assert!(life.data().is_none());
        life.connect(Arc::new(7));
        assert!(life.is_connected() && life.disconnect_reason().is_none());
        assert!(life.begin_disconnect(kicked));
        assert!(!life.begin_disconnect(DisconnectReason::TransportClose), "it ends once");
        life.keep_left_rooms(vec![Room::from("a")]);
        assert_eq!((life.left_rooms(), life.disconnect_reason()), (&[Room::from("a")][..], Some(kicked)));
        life.finish_disconnect();
        assert!(life.left_rooms().is_empty());
        assert_eq!(life.disconnect_reason(), Some(kicked));
        assert_eq!(life.data().and_then(|data| data.downcast_ref()), Some(&7), "handles still have the data");
    }
}
