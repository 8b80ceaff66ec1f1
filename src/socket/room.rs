//! The name of a room.

use std::sync::Arc;

/// The name of a room: any text.
///
/// ```
/// use socketmesh::socket::Room;
///
/// let room: Room = "lobby".into();
/// ```
pub type Room = Arc<str>;
