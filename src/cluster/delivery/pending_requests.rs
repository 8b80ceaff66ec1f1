//! The requests of this node, and which nodes have not responded yet (docs/protocol/mesh.md, "Requests and responses").

use std::collections::{BTreeMap, HashMap};

use crate::id::{Incarnation, NodeId};
use crate::socket::messages::{Response, ResponseEnd, Responses};

/// The requests of this node that a task waits for, each with the waiter to wake.
///
/// It knows no time: the waiting task owns the deadline and calls [`close`](Self::close).
#[derive(Debug)]
pub(crate) struct PendingRequests<W> {
    pending: HashMap<u64, Pending<W>>,
    next: u64,
}

#[derive(Debug)]
struct Pending<W> {
    outstanding: BTreeMap<NodeId, Incarnation>,
    responses: Responses,
    waiter: W,
}

impl<W> PendingRequests<W> {
    /// Starts without requests.
    pub(crate) fn new() -> Self {
        Self { pending: HashMap::new(), next: 1 }
    }

    /// Registers a request to these lives of nodes and returns its id.
    pub(crate) fn open(&mut self, asked: impl IntoIterator<Item = (NodeId, Incarnation)>, waiter: W) -> u64 {
        let id = self.next;
        self.next += 1;
        let outstanding = asked.into_iter().collect();
        self.pending.insert(id, Pending { outstanding, responses: Responses::default(), waiter });
        id
    }

    /// Takes one message of a response. Returns the waiter when it completed the last response of all. A response is
    /// ignored if the request is not pending any more, or if the node was not asked or has ended its response.
    pub(crate) fn handle_response(
        &mut self,
        id: u64,
        from: &NodeId,
        incarnation: Incarnation,
        response: Response,
    ) -> Option<&W> {
        let pending = self.pending.get_mut(&id)?;
        if pending.outstanding.get(from) != Some(&incarnation) {
            return None;
        }
        pending.responses.parts.extend(response.part.map(|part| (from.clone(), part)));
        if response.end == ResponseEnd::Failed {
            pending.responses.lost.push(from.clone());
        }
        if response.end != ResponseEnd::More {
            pending.outstanding.remove(from);
        }
        pending.outstanding.is_empty().then_some(&pending.waiter)
    }

    /// Applies a change of the members: a node that is gone, or has begun another life, is not waited for. Returns
    /// whether all remaining nodes have completed their responses to this request.
    pub(crate) fn handle_members(
        &mut self,
        id: u64,
        is_member: impl Fn(&NodeId, Incarnation) -> bool,
    ) -> bool {
        let Some(pending) = self.pending.get_mut(&id) else { return true };
        let (stay, gone): (BTreeMap<_, _>, BTreeMap<_, _>) = std::mem::take(&mut pending.outstanding)
            .into_iter()
            .partition(|(node, incarnation)| is_member(node, *incarnation));
        pending.outstanding = stay;
        pending.responses.lost.extend(gone.into_keys());
        pending.outstanding.is_empty()
    }

    /// Stops waiting and returns what came: nodes whose response is not complete are late.
    pub(crate) fn close(&mut self, id: u64) -> Responses {
        let Some(pending) = self.pending.remove(&id) else { return Responses::default() };
        Responses { late: pending.outstanding.into_keys().collect(), ..pending.responses }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socket::messages::ResponsePart;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn node(name: &str) -> NodeId {
        name.parse().unwrap()
    }

    const LIFE: Incarnation = Incarnation(1);

    fn request(asked: &[&str]) -> (PendingRequests<&'static str>, u64) {
        let mut requests = PendingRequests::new();
        let id = requests.open(asked.iter().map(|name| (node(name), LIFE)), "waiter");
        (requests, id)
    }

    fn expected(count: u64) -> ResponsePart {
        ResponsePart::ExpectedAcks(count)
    }

    #[test]
    fn the_last_response_of_the_last_node_wakes_the_waiter() {
        let (mut requests, id) = request(&["a", "b"]);
        for (from, response, wakes) in [
            ("a", Response::more(expected(1)), false),
            ("b", Response::done(Some(expected(2))), false),
            ("a", Response::more(expected(3)), false),
            ("a", Response::done(None), true),
        ] {
            assert_eq!(requests.handle_response(id, &node(from), LIFE, response).is_some(), wakes, "{from}");
        }
        let responses = requests.close(id);
        let parts = [("a", 1), ("b", 2), ("a", 3)].map(|(from, count)| (node(from), expected(count)));
        assert_eq!(responses, Responses { parts: parts.into(), ..Responses::default() });
        assert_eq!(requests.pending.len(), 0);
    }

    #[test]
    fn a_request_to_no_node_misses_no_node() {
        let (mut requests, id) = request(&[]);
        assert!(requests.handle_members(id, |_, _| true));
        assert_eq!(requests.close(id), Responses::default());
    }

    #[test]
    fn a_node_that_died_is_lost_at_once_and_one_that_did_not_respond_is_late() {
        let (mut requests, id) = request(&["a", "b", "c"]);
        requests.handle_response(id, &node("b"), LIFE, Response::more(expected(5)));
        assert!(!requests.handle_members(id, |member, _| *member != node("b")));
        requests.handle_response(id, &node("c"), LIFE, Response::done(None));
        let responses = requests.close(id);
        assert_eq!((&responses.lost[..], &responses.late[..]), (&[node("b")][..], &[node("a")][..]));
        assert_eq!(responses.parts, [(node("b"), expected(5))], "what it said before it died counts");
        assert_eq!(responses.missing(), [node("a"), node("b")]);
    }

    #[test]
    fn the_death_of_the_last_outstanding_node_completes_the_request() {
        let (mut requests, id) = request(&["a", "b"]);
        requests.handle_response(id, &node("a"), LIFE, Response::done(None));
        assert!(requests.handle_members(id, |member, _| *member != node("b")));
    }

    #[test]
    fn another_life_of_a_node_was_not_asked() {
        let (mut requests, id) = request(&["a"]);
        assert!(requests.handle_response(id, &node("a"), Incarnation(2), Response::done(None)).is_none());
        assert!(requests.handle_members(id, |_, incarnation| incarnation == Incarnation(2)));
        assert_eq!(requests.close(id).lost, [node("a")]);
    }

    #[test]
    fn a_node_whose_response_failed_is_lost_and_not_waited_for() {
        let (mut requests, id) = request(&["a"]);
        assert_eq!(requests.handle_response(id, &node("a"), LIFE, Response::failed()), Some(&"waiter"));
        assert!(requests.handle_response(id, &node("a"), LIFE, Response::more(expected(1))).is_none());
        assert_eq!(requests.close(id), Responses { lost: vec![node("a")], ..Responses::default() });
    }

    #[test]
    fn responses_to_no_pending_request_are_ignored() {
        let (mut requests, id) = request(&["a"]);
        for (id, from) in [(id + 1, "a"), (0, "a"), (id, "x")] {
            assert!(
                requests.handle_response(id, &node(from), LIFE, Response::done(Some(expected(1)))).is_none()
            );
        }
        requests.close(id);
        assert!(requests.handle_response(id, &node("a"), LIFE, Response::done(None)).is_none());
        assert_eq!((requests.close(id), requests.pending.len()), (Responses::default(), 0));
    }

    proptest! {
        /// Whatever happens in whichever order: each node that was asked ends as answered, lost or late, once.
        #[test]
        fn every_node_that_was_asked_is_accounted_for_once(steps in proptest::collection::vec((0..5_usize, 0..4_u8), 0..40)) {
            let names = ["a", "b", "c", "d", "stranger"];
            let (mut requests, id) = request(&names[..4]);
            let mut done = BTreeSet::new();
            let mut lost = BTreeSet::new();
            for (who, what) in steps {
                let from = node(names[who]);
                let over = who == 4 || done.contains(&from) || lost.contains(&from);
                match what {
                    0 => { requests.handle_response(id, &from, LIFE, Response::more(expected(1))); }
                    1 => {
                        requests.handle_response(id, &from, LIFE, Response::done(None));
                        if !over { done.insert(from); }
                    }
                    2 => {
                        requests.handle_response(id, &from, LIFE, Response::failed());
                        if !over { lost.insert(from); }
                    }
                    _ => {
                        let complete = requests.handle_members(id, |member, _| *member != from);
                        if !over { lost.insert(from); }
                        prop_assert_eq!(complete, done.len() + lost.len() == 4);
                    }
                }
            }
            let responses = requests.close(id);
            prop_assert_eq!(responses.lost.len(), lost.len());
            prop_assert_eq!(responses.lost.into_iter().collect::<BTreeSet<_>>(), lost.clone());
            prop_assert_eq!(responses.late.len(), 4 - done.len() - lost.len());
            prop_assert!(responses.late.iter().all(|node| !done.contains(node) && !lost.contains(node)));
        }
    }
}
