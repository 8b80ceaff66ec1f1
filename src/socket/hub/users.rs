//! Whose the sockets of this node are, by keys of the application's choice, and who may not come in for a time.
//!
//! A socket is entered once it is connected, under the lock that a block takes: so either the block finds the socket, or the
//! socket the block.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::id::SocketId;
use crate::log_limit::LogLimit;
use crate::socket::messages::Block;

/// The users that have sockets on this node, and those that are blocked.
#[derive(Default)]
pub(crate) struct Users {
    known: Mutex<Known>,
    warnings: LogLimit,
}

/// A socket of a user. [`Member`](super::Member) is one, which this file is not to know.
pub(crate) trait UserSocket: Send + Sync {
    /// Closes the connection of a user that is blocked.
    fn close_blocked(self: Arc<Self>);
}

#[derive(Default)]
struct Known {
    present: HashMap<Arc<str>, HashMap<SocketId, Weak<dyn UserSocket>>>,
    /// Until when.
    blocked: HashMap<Arc<str>, Instant>,
    /// At how many blocks those that are over are looked for.
    sweep_at: usize,
}

impl Users {
    /// Whether the user may not come in now.
    pub(crate) fn is_blocked(&self, user: &str, now: Instant) -> bool {
        self.known.lock().is_blocked(user, now)
    }

    /// Enters a connected socket. Returns `false` if its user is blocked, and the socket is not entered.
    pub(crate) fn enter(
        &self,
        user: &Arc<str>,
        id: SocketId,
        socket: Weak<dyn UserSocket>,
        now: Instant,
    ) -> bool {
        let mut known = self.known.lock();
        if known.is_blocked(user, now) {
            return false;
        }
        known.present.entry(Arc::clone(user)).or_default().insert(id, socket);
        true
    }

    /// A socket has left, or is another user's. One that was not entered is none.
    pub(crate) fn leave(&self, user: &str, id: SocketId) {
        let mut known = self.known.lock();
        if let Some(sockets) = known.present.get_mut(user) {
            sockets.remove(&id);
            if sockets.is_empty() {
                known.present.remove(user);
            }
        }
    }

    /// Blocks users, each for its time; none ends a block. Of two blocks of one user the one that ends later counts. Returns the
    /// sockets that are to be closed.
    pub(crate) fn block(&self, blocks: &[Block], now: Instant) -> Vec<Arc<dyn UserSocket>> {
        let mut known = self.known.lock();
        let (mut found, mut has_room) = (Vec::new(), true);
        for Block { user, time } in blocks {
            if time.is_zero() {
                known.blocked.remove(user);
                continue;
            }
            let until = now.checked_add((*time).min(LONGEST)).unwrap_or(now);
            has_room &= known.block(user, until, now);
            let sockets = known.present.get(user).into_iter().flat_map(HashMap::values);
            found.extend(sockets.filter_map(Weak::upgrade));
        }
        drop(known);
        if !has_room && self.warnings.allows(WARNINGS, now) {
            tracing::warn!(most = MOST, "too many users are blocked: the blocks that end first are lifted");
        }
        found
    }

    /// The blocks, with the time that is left of each.
    pub(crate) fn blocks(&self, now: Instant) -> Vec<Block> {
        let known = self.known.lock();
        let left = |(user, until): (&Arc<str>, &Instant)| {
            let time = until.checked_duration_since(now).filter(|time| !time.is_zero())?;
            Some(Block { user: Arc::clone(user), time })
        };
        known.blocked.iter().filter_map(left).collect()
    }

    /// Whether no user has a socket here.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn is_empty(&self) -> bool {
        self.known.lock().present.is_empty()
    }
}

impl Known {
    fn is_blocked(&self, user: &str, now: Instant) -> bool {
        self.blocked.get(user).is_some_and(|until| now < *until)
    }

    /// Returns `false` if another block had to give way.
    fn block(&mut self, user: &Arc<str>, until: Instant, now: Instant) -> bool {
        if let Some(known) = self.blocked.get_mut(user) {
            *known = until.max(*known);
            return true;
        }
        if self.blocked.len() >= self.sweep_at {
            self.blocked.retain(|_, until| now < *until);
            self.sweep_at = (2 * self.blocked.len()).clamp(FEW, MOST);
        }
        let has_room = self.blocked.len() < MOST;
        if !has_room {
            let first =
                self.blocked.iter().min_by_key(|(_, until)| **until).map(|(user, _)| Arc::clone(user));
            if let Some(user) = first {
                self.blocked.remove(&user);
            }
        }
        self.blocked.insert(Arc::clone(user), until);
        has_room
    }
}

impl fmt::Debug for Users {
    /// Without the keys, which may be names.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = self.known.lock();
        f.debug_struct("Users")
            .field("present", &known.present.len())
            .field("blocked", &known.blocked.len())
            .finish_non_exhaustive()
    }
}

/// Users that may be blocked at once.
const MOST: usize = 100_000;
/// Blocks that are not worth looking through.
const FEW: usize = 1024;
/// The longest block: beyond that a clock may not count.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 86_400);
const WARNINGS: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Key;

    #[derive(Default)]
    struct Socket(Mutex<bool>);

    impl UserSocket for Socket {
        fn close_blocked(self: Arc<Self>) {
            *self.0.lock() = true;
        }
    }

    fn socket() -> (SocketId, Arc<dyn UserSocket>) {
        (SocketId::new(Key::from_hash(7), crate::random::bytes().unwrap()), Arc::new(Socket::default()))
    }

    fn block(user: &str, seconds: u64) -> [Block; 1] {
        [Block { user: user.into(), time: Duration::from_secs(seconds) }]
    }

    #[test]
    fn a_block_finds_the_sockets_of_its_user_and_holds_for_its_time() {
        let (users, now) = (Users::default(), Instant::now());
        let ((a, first), (b, second)) = (socket(), socket());
        for (id, socket) in [(a, &first), (b, &second)] {
            assert!(users.enter(&"ann".into(), id, Arc::downgrade(socket), now));
        }
        assert_eq!(users.block(&block("bob", 60), now).len(), 0);
        users.leave("ann", b);
        users.leave("ann", b);
        assert_eq!(users.block(&block("ann", 60), now).len(), 1);
        assert!(!users.enter(&"ann".into(), b, Arc::downgrade(&second), now));
        let later = now + Duration::from_secs(60);
        assert!(users.is_blocked("ann", later - Duration::from_millis(1)) && !users.is_blocked("ann", later));
        assert!(users.enter(&"ann".into(), b, Arc::downgrade(&second), later));
        users.leave("ann", a);
        users.leave("ann", b);
        assert!(users.is_empty());
    }

    #[test]
    fn the_longer_of_two_blocks_counts_and_none_ends_both() {
        let (users, now) = (Users::default(), Instant::now());
        users.block(&block("ann", 60), now);
        users.block(&block("ann", 10), now);
        assert!(users.is_blocked("ann", now + Duration::from_secs(59)));
        assert_eq!(users.blocks(now), block("ann", 60));
        users.block(&block("ann", 0), now);
        assert!(!users.is_blocked("ann", now));
        assert_eq!(users.blocks(now), []);
    }

    #[test]
    fn blocks_are_bounded_and_the_one_that_ends_first_gives_way() {
        let (users, now) = (Users::default(), Instant::now());
        let blocks = (0..MOST).map(|n| Block { user: n.to_string().into(), time: Duration::from_secs(60) });
        users.block(&blocks.collect::<Vec<_>>(), now);
        users.block(&block("7", 90), now);
        users.block(&block("short", 1), now + Duration::from_secs(30));
        assert_eq!(users.blocks(now).len(), MOST);
        users.block(&block("another", 60), now);
        assert_eq!(users.blocks(now).len(), MOST);
        assert!(!users.is_blocked("short", now + Duration::from_secs(30)));
        // Those that are over make room.
        let later = now + Duration::from_secs(70);
        users.block(&block("last", 60), later);
        assert_eq!(users.blocks(later).len(), 2);
    }
}
