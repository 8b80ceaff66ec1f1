//! The whiteboard and the last lines of the chat. Every node keeps a copy for browsers that connect later.
//!
//! Every stroke and line has a stamp, and a node that hears of one twice keeps it once. So nodes may hear of them in any
//! order and by any way, and those that have heard of the same have the same: a board is merged, never replaced.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use serde::{Deserialize, Serialize};
use socketmesh::id::NodeId;

/// What one node keeps. It has no clock: `now` is in milliseconds since 1970.
#[derive(Debug, Default)]
pub(super) struct Board {
    strokes: BTreeMap<Stamp, Stroke>,
    lines: BTreeMap<Stamp, Line>,
    /// Strokes up to this one are gone.
    cleared: Stamp,
    /// No stamp of this node or any it has heard of is later, in milliseconds.
    latest: u64,
}

/// A part of a board or all of it, as nodes tell each other and their clients.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
pub(super) struct Picture {
    pub(super) strokes: Vec<Stamped<Stroke>>,
    pub(super) lines: Vec<Stamped<Line>>,
    cleared: Stamp,
}

/// When and at which node something was added: an order that all nodes agree on, and different for everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
pub(super) struct Stamp {
    /// Milliseconds since 1970, or one more than the latest stamp before.
    at: u64,
    node: String,
}

/// Something with its stamp: one flat object for clients.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub(super) struct Stamped<T> {
    #[serde(flatten)]
    stamp: Stamp,
    #[serde(flatten)]
    what: T,
}

/// A line on the board, in coordinates from 0 to 1.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub(super) struct Stroke {
    x0: f32,
    y0: f32,
    x1: f32,
    y1: f32,
    pub(super) color: String,
}

/// A line of the chat.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub(super) struct Line {
    pub(super) from: String,
    pub(super) text: String,
}

impl Board {
    pub(super) fn draw(&mut self, node: &NodeId, now: u64, stroke: Stroke) -> Stamped<Stroke> {
        let stroke = Stamped { stamp: self.stamp(node, now), what: stroke };
        self.merge(Picture { strokes: vec![stroke.clone()], ..Picture::default() });
        stroke
    }

    pub(super) fn say(&mut self, node: &NodeId, now: u64, line: Line) -> Stamped<Line> {
        let line = Stamped { stamp: self.stamp(node, now), what: line };
        self.merge(Picture { lines: vec![line.clone()], ..Picture::default() });
        line
    }

    /// Removes every stroke, and says so.
    pub(super) fn clear(&mut self, node: &NodeId, now: u64) -> Picture {
        let cleared = Picture { cleared: self.stamp(node, now), ..Picture::default() };
        self.merge(cleared.clone());
        cleared
    }

    /// Adds what a picture has beyond this board.
    pub(super) fn merge(&mut self, picture: Picture) {
        let Picture { strokes, lines, cleared } = picture;
        if cleared > self.cleared {
            self.latest = self.latest.max(cleared.at);
            self.strokes.retain(|stamp, _| *stamp > cleared);
            self.cleared = cleared;
        }
        for Stamped { stamp, what } in strokes {
            if stamp <= self.cleared {
                continue;
            }
            self.latest = self.latest.max(stamp.at);
            add(&mut self.strokes, MAX_STROKES, stamp, what);
        }
        for Stamped { stamp, what } in lines {
            self.latest = self.latest.max(stamp.at);
            add(&mut self.lines, MAX_LINES, stamp, what);
        }
    }

    pub(super) fn picture(&self) -> Picture {
        Picture {
            strokes: stamped(&self.strokes),
            lines: stamped(&self.lines),
            cleared: self.cleared.clone(),
        }
    }

    /// The same for boards that have the same. What a stamp stands for never changes, so stamps are enough.
    pub(super) fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.cleared.hash(&mut hasher);
        self.strokes.keys().chain(self.lines.keys()).for_each(|stamp| stamp.hash(&mut hasher));
        hasher.finish()
    }

    /// A stamp later than all before.
    fn stamp(&mut self, node: &NodeId, now: u64) -> Stamp {
        self.latest = now.max(self.latest.saturating_add(1));
        Stamp { at: self.latest, node: node.to_string() }
    }
}

impl From<Stamped<Stroke>> for Picture {
    fn from(stroke: Stamped<Stroke>) -> Self {
        Self { strokes: vec![stroke], ..Self::default() }
    }
}

impl From<Stamped<Line>> for Picture {
    fn from(line: Stamped<Line>) -> Self {
        Self { lines: vec![line], ..Self::default() }
    }
}

/// Adds one unless it is there. The oldest makes room, which may be this one.
fn add<T>(all: &mut BTreeMap<Stamp, T>, most: usize, stamp: Stamp, what: T) {
    all.entry(stamp).or_insert(what);
    if all.len() > most {
        all.pop_first();
    }
}

fn stamped<T: Clone>(all: &BTreeMap<Stamp, T>) -> Vec<Stamped<T>> {
    all.iter().map(|(stamp, what)| Stamped { stamp: stamp.clone(), what: what.clone() }).collect()
}

/// The page keeps as many.
const MAX_STROKES: usize = 3000;
const MAX_LINES: usize = 50;

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str) -> NodeId {
        name.parse().unwrap()
    }

    fn stroke(x0: f32) -> Stroke {
        Stroke { x0, y0: 0.0, x1: 0.0, y1: 0.0, color: "#123456".to_owned() }
    }

    fn line(text: &str) -> Line {
        Line { from: "ann".to_owned(), text: text.to_owned() }
    }

    const NOW: u64 = 1_700_000_000_000;

    #[test]
    fn boards_that_heard_of_the_same_are_the_same_whatever_the_order() {
        let mut origin = Board::default();
        let a = node("a");
        let before = Picture::from(origin.draw(&a, NOW, stroke(0.1)));
        let cleared = origin.clear(&a, NOW);
        let after = Picture::from(origin.draw(&a, NOW, stroke(0.2)));
        let said = Picture::from(origin.say(&a, NOW, line("hi")));
        for order in [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]] {
            let mut board = Board::default();
            for which in order {
                board.merge([&before, &cleared, &after, &said][which].clone());
            }
            assert_eq!(board.picture(), origin.picture(), "{order:?}");
            assert_eq!(board.digest(), origin.digest());
            board.merge(origin.picture());
            assert_eq!(board.digest(), origin.digest(), "nothing is new any more");
        }
        assert_eq!(origin.picture().strokes.len(), 1, "what was drawn before the board was cleared is gone");
    }

    #[test]
    fn what_is_drawn_after_a_board_of_a_fast_clock_was_cleared_is_not_lost() {
        let mut board = Board::default();
        let fast = Stamp { at: u64::MAX - 10, node: "fast".to_owned() };
        board.merge(Picture { cleared: fast, ..Picture::default() });
        board.draw(&node("a"), NOW, stroke(0.1));
        assert_eq!(board.picture().strokes.len(), 1);
    }

    #[test]
    fn a_board_keeps_the_latest_strokes_and_lines_only() {
        let (mut board, a) = (Board::default(), node("a"));
        let mut last = (None, None);
        for n in 0..MAX_STROKES + 10 {
            last = (Some(board.draw(&a, NOW, stroke(0.5))), Some(board.say(&a, NOW, line(&n.to_string()))));
        }
        let picture = board.picture();
        assert_eq!((picture.strokes.len(), picture.lines.len()), (MAX_STROKES, MAX_LINES));
        assert_eq!((picture.strokes.last(), picture.lines.last()), (last.0.as_ref(), last.1.as_ref()));
    }
}
