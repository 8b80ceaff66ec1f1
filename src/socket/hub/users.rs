//! Whose the sockets of this node are, by keys of the application's choice, and who may not come in for a time.
//!
//! A socket is entered once it is connected, under the lock that a block takes: so either the block finds the socket, or the
//! socket the block.
//!
//! What was said of a user has a number, larger than all that the node that said it knew. So every node comes to the same, in
//! whichever order it hears what was said, and however often. The end of a block is remembered for as long as the block: a node that
//! did not hear of it may still tell of the block.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::id::Incarnation;
use crate::log_limit::LogLimit;
use crate::socket::messages::Block;

/// The users that have sockets on this node, and those that are blocked.
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
    /// By where each lies in memory: a socket that its client came back to has the id of the one before.
    present: HashMap<Arc<str>, HashMap<usize, Weak<dyn UserSocket>>>,
    words: HashMap<Arc<str>, Word>,
    /// At how many words those that are over are looked for.
    sweep_at: usize,
    /// The largest number of a word.
    newest: u64,
}

/// What was said of a user.
#[derive(Debug, Clone, Copy)]
struct Word {
    /// When its block is over, or the end of it forgotten.
    until: Instant,
    /// The number of the newest block, and of the newest end of one.
    blocked: u64,
    lifted: u64,
    /// When it was news here.
    learnt: Instant,
}

/// Whom a block has met.
#[derive(Default)]
pub(crate) struct Met {
    /// The users of whom it is news that they are blocked.
    pub(crate) users: Vec<Arc<str>>,
    /// Their sockets, which are to be closed.
    pub(crate) sockets: Vec<Arc<dyn UserSocket>>,
}

impl Users {
    /// The numbers of a life of a node begin behind those of the lives before it, which it may not have heard of.
    pub(crate) fn new(incarnation: Incarnation) -> Self {
        let known = Known { newest: incarnation.0, ..Known::default() };
        Self { known: Mutex::new(known), warnings: LogLimit::default() }
    }

    /// What blocks a user for that long, for this node and the others. Shorter than [`MOMENT`] is no block.
    pub(crate) fn to_block(&self, user: &Arc<str>, time: Duration) -> Block {
        let mut known = self.known.lock();
        let (blocked, lifted) = (known.next(), known.words.get(user).map_or(0, |word| word.lifted));
        Block { user: Arc::clone(user), time: time.max(MOMENT), blocked, lifted }
    }

    /// What ends the block of a user, for this node and the others.
    pub(crate) fn to_unblock(&self, user: &Arc<str>) -> Block {
        Block { user: Arc::clone(user), time: LIFTED, blocked: 0, lifted: self.known.lock().next() }
    }

    /// When the block of a user is over, if there is one.
    pub(crate) fn blocked_until(&self, user: &str, now: Instant) -> Option<Instant> {
        self.known.lock().blocked_until(user, now)
    }

    /// Whether the user was blocked in this time, which is a few seconds at most, or is so now.
    pub(crate) fn was_blocked(&self, user: &str, since: Instant, now: Instant) -> bool {
        let known = self.known.lock();
        let is_so = |word: &Word| word.learnt >= since || word.blocks(now);
        known.words.get(user).is_some_and(is_so)
    }

    /// Enters a connected socket. Returns `false` if its user is blocked, and the socket is not entered.
    pub(crate) fn enter(&self, user: &Arc<str>, socket: Weak<dyn UserSocket>, now: Instant) -> bool {
        let mut known = self.known.lock();
        if known.blocked_until(user, now).is_some() {
            return false;
        }
        known.present.entry(Arc::clone(user)).or_default().insert(place(&socket), socket);
        true
    }

    /// A socket has left, or is another user's. One that was not entered is none.
    pub(crate) fn leave(&self, user: &str, socket: &Weak<dyn UserSocket>) {
        let mut known = self.known.lock();
        if let Some(sockets) = known.present.get_mut(user) {
            sockets.remove(&place(socket));
            if sockets.is_empty() {
                known.present.remove(user);
            }
        }
    }

    /// Takes what was said of users, on this node or another, unless it is known.
    pub(crate) fn take(&self, blocks: &[Block], now: Instant) -> Met {
        let mut known = self.known.lock();
        let (mut met, mut has_room) = (Met::default(), true);
        for block in blocks.iter().filter(|block| !block.time.is_zero()) {
            let (is_news, found_room) = known.take(block, now);
            has_room &= found_room;
            if is_news && known.blocked_until(&block.user, now).is_some() {
                met.users.push(Arc::clone(&block.user));
                let sockets = known.present.get(&block.user).into_iter().flat_map(HashMap::values);
                met.sockets.extend(sockets.filter_map(Weak::upgrade));
            }
        }
        drop(known);
        if !has_room && self.warnings.allows(WARNINGS, now) {
            tracing::warn!(most = MOST, "too many users are blocked: the blocks that end first are lifted");
        }
        met
    }

    /// What is known of users, with the time that is left of each word: all of it, or what was news a short time ago.
    pub(crate) fn words(&self, of: Words, now: Instant) -> Vec<Block> {
        let known = self.known.lock();
        let wanted = known.words.iter().filter(|(_, word)| of == Words::All || word.is_recent(now));
        let left = |(user, word): (&Arc<str>, &Word)| {
            let time = word.until.checked_duration_since(now).filter(|time| !time.is_zero())?;
            Some(Block { user: Arc::clone(user), time, blocked: word.blocked, lifted: word.lifted })
        };
        wanted.filter_map(left).collect()
    }

    /// Whether no user has a socket here.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn is_empty(&self) -> bool {
        self.known.lock().present.is_empty()
    }
}

/// Which words are told to other nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Words {
    All,
    /// What was learnt in the last [`RECENT`]: who joined meanwhile may have been told everything by a node that did not know it yet.
    Recent,
}

impl Known {
    /// A number that is larger than any that is known.
    fn next(&mut self) -> u64 {
        self.newest = self.newest.saturating_add(1);
        self.newest
    }

    fn blocked_until(&self, user: &str, now: Instant) -> Option<Instant> {
        self.words.get(user).filter(|word| word.blocks(now)).map(|word| word.until)
    }

    /// Returns whether it is news, and `false` if another block had to give way.
    fn take(&mut self, block: &Block, now: Instant) -> (bool, bool) {
        let Block { user, time, blocked, lifted } = block;
        let until = now.checked_add((*time).min(LONGEST)).unwrap_or(now);
        let word = Word { until, blocked: *blocked, lifted: *lifted, learnt: now };
        self.newest = self.newest.max(word.blocked).max(word.lifted);
        if let Some(known) = self.words.get_mut(user) {
            return (known.merge(word), true);
        }
        if self.words.len() >= self.sweep_at {
            self.words.retain(|_, word| now < word.until || word.is_recent(now));
            self.sweep_at = (2 * self.words.len()).clamp(FEW, MOST);
        }
        let is_full = self.words.len() >= MOST;
        let is_lifted = is_full && self.make_room(now);
        self.words.insert(Arc::clone(user), word);
        (true, !is_lifted)
    }

    /// Forgets the word that matters least. Returns whether it was a block.
    fn make_room(&mut self, now: Instant) -> bool {
        let least = self.words.iter().min_by_key(|(_, word)| (word.blocks(now), word.until));
        let Some((user, is_block)) = least.map(|(user, word)| (Arc::clone(user), word.blocks(now))) else {
            return false;
        };
        self.words.remove(&user);
        is_block
    }
}

impl Word {
    /// Of a block and an end that nobody knew to be the later one, the block counts.
    const fn is_block(&self) -> bool {
        self.blocked >= self.lifted
    }

    fn blocks(&self, now: Instant) -> bool {
        self.is_block() && now < self.until
    }

    fn is_recent(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.learnt) < RECENT
    }

    /// Takes what else was said of the user. Of two blocks that no end has met the one that ends later counts. Returns whether
    /// it is news.
    fn merge(&mut self, other: Self) -> bool {
        let (blocked, lifted) = (self.blocked.max(other.blocked), self.lifted.max(other.lifted));
        let holds = |word: &Self| word.blocked >= lifted;
        self.until = match (holds(self), holds(&other)) {
            (true, false) => self.until,
            (false, true) => other.until,
            (true, true) | (false, false) => self.until.max(other.until),
        };
        let is_news = (blocked, lifted) != (self.blocked, self.lifted);
        if is_news {
            (self.blocked, self.lifted, self.learnt) = (blocked, lifted, other.learnt);
        }
        is_news
    }
}

impl fmt::Debug for Users {
    /// Without the keys, which may be names.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = self.known.lock();
        f.debug_struct("Users")
            .field("present", &known.present.len())
            .field("words", &known.words.len())
            .finish_non_exhaustive()
    }
}

/// Nothing else lies there as long as this exists.
fn place(socket: &Weak<dyn UserSocket>) -> usize {
    socket.as_ptr().cast::<()>().addr()
}

/// The shortest block: longer than a command takes to every node that answers.
pub(crate) const MOMENT: Duration = Duration::from_secs(2);
/// The end of a block is remembered at least that long, where the block is not known. Longer than a node that joins takes to be told.
const LIFTED: Duration = Duration::from_secs(60);
/// Longer than one node may know a member that another does not know, and than a client takes to come back.
const RECENT: Duration = Duration::from_secs(15);
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

    #[derive(Default)]
    struct Socket(Mutex<bool>);

    impl UserSocket for Socket {
        fn close_blocked(self: Arc<Self>) {
            *self.0.lock() = true;
        }
    }

    fn socket() -> Arc<dyn UserSocket> {
        Arc::new(Socket::default())
    }

    fn users() -> Users {
        Users::new(Incarnation(7))
    }

    fn block(users: &Users, user: &str, seconds: u64) -> [Block; 1] {
        [users.to_block(&user.into(), Duration::from_secs(seconds))]
    }

    fn unblock(users: &Users, user: &str) -> [Block; 1] {
        [users.to_unblock(&user.into())]
    }

    fn is_blocked(users: &Users, user: &str, now: Instant) -> bool {
        users.blocked_until(user, now).is_some()
    }

    #[test]
    fn a_block_finds_the_sockets_of_its_user_and_holds_for_its_time() {
        let (users, now) = (users(), Instant::now());
        let (first, second) = (socket(), socket());
        let (a, b) = (Arc::downgrade(&first), Arc::downgrade(&second));
        for socket in [&a, &b] {
            assert!(users.enter(&"ann".into(), Weak::clone(socket), now));
        }
        assert_eq!(users.take(&block(&users, "bob", 60), now).sockets.len(), 0);
        users.leave("ann", &b);
        users.leave("ann", &b);
        assert_eq!(users.take(&block(&users, "ann", 60), now).sockets.len(), 1);
        assert!(!users.enter(&"ann".into(), Weak::clone(&b), now));
        let later = now + Duration::from_secs(60);
        assert_eq!(users.blocked_until("ann", later - Duration::from_millis(1)), Some(later));
        assert!(users.enter(&"ann".into(), Weak::clone(&b), later));
        users.leave("ann", &a);
        users.leave("ann", &b);
        assert!(users.is_empty());
    }

    #[test]
    fn the_longer_of_two_blocks_counts_and_none_ends_both() {
        let (users, now) = (users(), Instant::now());
        users.take(&block(&users, "ann", 60), now);
        users.take(&block(&users, "ann", 10), now);
        assert!(is_blocked(&users, "ann", now + Duration::from_secs(59)));
        users.take(&unblock(&users, "ann"), now);
        assert!(!is_blocked(&users, "ann", now));
        users.take(&block(&users, "ann", 0), now);
        assert!(is_blocked(&users, "ann", now), "no time is a moment");
        assert!(!is_blocked(&users, "ann", now + MOMENT), "the longer one is over");
    }

    /// Every order in which two nodes, which were apart, may tell each other what they know.
    #[test]
    fn nodes_that_were_apart_come_to_the_same_in_whichever_order_they_hear() {
        let now = Instant::now();
        let (one, other) = (users(), users());
        let first = block(&one, "ann", 600);
        one.take(&first, now);
        other.take(&first, now);
        one.take(&unblock(&one, "ann"), now);
        for (from, to) in [(&other, &one), (&one, &other), (&other, &one)] {
            let met = to.take(&from.words(Words::All, now), now);
            assert!(met.users.is_empty(), "it is no news that she was blocked");
        }
        assert!(!is_blocked(&one, "ann", now) && !is_blocked(&other, "ann", now));
        // Who hears of the end first has nothing to end, and remembers it all the same.
        let late = users();
        late.take(&one.words(Words::All, now), now);
        late.take(&first, now);
        assert!(!is_blocked(&late, "ann", now));
        // What is said behind it counts again, there as well.
        let again = block(&other, "ann", 60);
        for users in [&one, &other, &late] {
            assert_eq!(users.take(&again, now).users.len(), 1);
            assert!(!is_blocked(users, "ann", now + Duration::from_secs(60)), "the first one does not count");
        }
        // Where nobody can say which was later, nobody comes in.
        let (blocked, lifted) = (block(&one, "bob", 60), unblock(&other, "bob"));
        one.take(&lifted, now);
        one.take(&blocked, now);
        other.take(&blocked, now);
        other.take(&lifted, now);
        assert!(is_blocked(&one, "bob", now) && is_blocked(&other, "bob", now));
    }

    #[test]
    fn what_is_news_is_told_again_for_a_time() {
        let (users, now) = (users(), Instant::now());
        let first = block(&users, "ann", 600);
        users.take(&first, now);
        assert_eq!(users.words(Words::Recent, now), first);
        users.take(&first, now + RECENT);
        assert_eq!(users.words(Words::Recent, now + RECENT), [], "it is no news");
        assert_eq!(users.words(Words::All, now + RECENT).len(), 1);
        assert!(users.was_blocked("ann", now, now) && !users.was_blocked("bob", now, now));
    }

    #[test]
    fn blocks_are_bounded_and_the_one_that_ends_first_gives_way() {
        let (users, now) = (users(), Instant::now());
        let blocks: Vec<_> = (0..MOST - 1).flat_map(|n| block(&users, &n.to_string(), 60)).collect();
        users.take(&blocks, now);
        users.take(&unblock(&users, "lifted"), now + Duration::from_secs(1));
        users.take(&block(&users, "7", 90), now);
        users.take(&block(&users, "short", 2), now + Duration::from_secs(30));
        assert_eq!(users.words(Words::All, now).len(), MOST);
        assert!(is_blocked(&users, "0", now), "the end of a block gives way first");
        users.take(&block(&users, "another", 60), now);
        assert_eq!(users.words(Words::All, now).len(), MOST);
        assert!(!is_blocked(&users, "short", now + Duration::from_secs(30)));
        // Those that are over make room.
        let later = now + Duration::from_secs(70);
        users.take(&block(&users, "last", 60), later);
        assert_eq!(users.words(Words::All, later).len(), 2);
    }
}
