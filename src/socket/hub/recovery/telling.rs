//! What other nodes are still to be told of sessions. Millions may change at once, when a node goes or comes: told in one burst they would
//! be more than a link keeps, and what it drops would have to be told again.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use crate::id::NodeId;
use crate::socket::messages::recovery::SessionState;

/// What waits to be told, by whom it is for.
#[derive(Debug, Default)]
pub(crate) struct Telling(BTreeMap<NodeId, Waiting>);

/// What waits for one node.
#[derive(Debug)]
struct Waiting {
    /// What is known of sessions, and since when.
    states: VecDeque<(Instant, SessionState)>,
    bytes: usize,
    /// So many bytes were told since then.
    told: usize,
    since: Instant,
}

impl Telling {
    /// A node is to be told this, which is known now.
    pub(crate) fn push(&mut self, node: NodeId, state: SessionState, now: Instant) {
        let waiting = self.0.entry(node).or_insert_with(|| Waiting {
            states: VecDeque::new(),
            bytes: 0,
            told: 0,
            since: now,
        });
        waiting.bytes += size(&state);
        waiting.states.push_back((now, state));
    }

    /// The nodes for which something waits.
    pub(crate) fn nodes(&self) -> Vec<NodeId> {
        let waiting = self.0.iter().filter(|(_, waiting)| !waiting.states.is_empty());
        waiting.map(|(node, _)| node.clone()).collect()
    }

    /// Whether anything waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.values().all(|waiting| waiting.states.is_empty())
    }

    /// How much waits.
    pub(super) fn len(&self) -> usize {
        self.0.values().map(|waiting| waiting.states.len()).sum()
    }

    /// What a node is told next, as it is now; nothing if that has to wait for room on its link.
    ///
    /// A few go at once whatever else the link carries. So do those that are too many to wait: then it is the link that drops some, and
    /// its other end that asks for them again.
    pub(crate) fn next(&mut self, node: &NodeId, has_room: bool, now: Instant) -> Vec<SessionState> {
        let Some(waiting) = self.0.get_mut(node) else { return Vec::new() };
        if now >= waiting.since + WINDOW {
            (waiting.told, waiting.since) = (0, now);
        }
        let most = match has_room || waiting.bytes > MOST {
            true => PART,
            false => FREE.saturating_sub(waiting.told),
        };
        let (mut states, mut bytes) = (Vec::new(), 0);
        while let Some((_, state)) = waiting.states.front()
            && (bytes == 0 && most > 0 || bytes + size(state) <= most)
            && let Some((at, state)) = waiting.states.pop_front()
        {
            bytes += size(&state);
            states.push(state.later(now.saturating_duration_since(at)));
        }
        waiting.bytes -= bytes;
        waiting.told += bytes;
        states
    }

    /// Forgets nodes for which nothing waits, and has not for a while.
    pub(crate) fn tidy(&mut self, now: Instant) {
        self.0.retain(|_, waiting| !waiting.states.is_empty() || now < waiting.since + WINDOW);
    }
}

/// About how long a state is between nodes.
fn size(state: &SessionState) -> usize {
    let rooms: usize = state.rooms.iter().map(|(room, _)| room.name_length() + 16).sum();
    let left = state.left.iter().map(|left| left.room.name_length() + 16 * (1 + left.until.len()));
    256 + state.data.len() + rooms + left.sum::<usize>()
}

/// The bytes of one message to another node, about.
pub(crate) const PART: usize = 256 << 10;
/// So many bytes are told in each of these times however much the link still carries.
const FREE: usize = 32 << 10;
const WINDOW: Duration = Duration::from_millis(40);
/// So many bytes wait for one node.
const MOST: usize = 64 << 20;

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::id::{Key, SocketId};
    use crate::socket::messages::recovery::{Life, Origin, Pid, Standing};

    fn state(number: u64, data: usize) -> SessionState {
        let id = SocketId::new(Key::from_hash(7 << 40), [1; 10]);
        SessionState {
            pid: Pid(id),
            namespace: "/".into(),
            socket: id,
            life: Life { count: 0, at: Origin::from_u64(1) },
            version: number,
            standing: Standing::Over,
            lasts: WINDOW,
            age: Duration::ZERO,
            rooms: Vec::new(),
            left: Vec::new(),
            forgotten: None,
            data: Bytes::from(vec![0; data]),
            user: None,
            login: None,
            start: Vec::new(),
        }
    }

    fn versions(states: Vec<SessionState>) -> Vec<u64> {
        states.into_iter().map(|state| state.version).collect()
    }

    fn waiting(count: u64, data: usize, now: Instant) -> (Telling, NodeId) {
        let (mut telling, node) = (Telling::default(), "a".parse::<NodeId>().unwrap());
        (0..count).for_each(|number| telling.push(node.clone(), state(number, data), now));
        (telling, node)
    }

    #[test]
    fn what_is_much_goes_as_there_is_room_in_messages_of_bounded_size() {
        let now = Instant::now();
        let (mut telling, node) = waiting(6, PART / 3, now);
        assert_eq!(telling.nodes(), std::slice::from_ref(&node));
        assert_eq!(versions(telling.next(&node, true, now)), [0, 1]);
        assert_eq!(versions(telling.next(&node, false, now)), [0; 0], "it waits");
        assert_eq!(versions(telling.next(&node, true, now)), [2, 3]);
        assert_eq!(versions(telling.next(&node, true, now)), [4, 5]);
        assert!(telling.is_empty() && telling.nodes().is_empty());
        telling.tidy(now + WINDOW);
        assert!(telling.0.is_empty());
    }

    #[test]
    fn a_few_go_at_once_whatever_the_link_carries() {
        let mut now = Instant::now();
        let each = FREE / 4 - 256;
        let (mut telling, node) = waiting(10, each, now);
        for expected in [&[0, 1, 2, 3][..], &[4, 5, 6, 7], &[8, 9]] {
            assert_eq!(versions(telling.next(&node, false, now)), expected);
            if expected.len() == 4 {
                assert!(telling.next(&node, false, now).is_empty());
            }
            now += WINDOW;
        }
        telling.push(node.clone(), state(10, PART * 2), now);
        assert_eq!(
            versions(telling.next(&node, false, now)),
            [10],
            "one that is large does not wait for ever"
        );
    }

    #[test]
    fn what_waited_is_older_by_then_and_what_is_too_much_does_not_wait() {
        let now = Instant::now();
        let (mut telling, node) = waiting(1, 0, now);
        assert_eq!(telling.next(&node, true, now + WINDOW)[0].age, WINDOW);
        let (mut telling, node) = waiting(66, 1 << 20, now);
        let told: usize = std::iter::from_fn(|| Some(telling.next(&node, false, now).len()))
            .take_while(|told| *told > 0)
            .sum();
        assert_eq!(told, 3, "down to the bound");
    }
}
