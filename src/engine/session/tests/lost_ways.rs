//! GETs and POSTs that another node carries, and what becomes of them when that node or the link to it is lost.

use super::*;
use crate::engine::query::Stamp;

/// A GET that another node carries, with the stamp of its client.
fn carried(conn: ConnId, t: &str) -> Get {
    Get { conn, stamp: Some(Stamp::new(t)), carried: true }
}

impl Bench {
    fn arrive(&mut self, get: Get) -> Vec<Output> {
        self.session.handle_poll(get, self.now);
        self.outputs()
    }

    fn lose(&mut self, conn: ConnId) -> Vec<Output> {
        self.session.handle_poll_lost(conn);
        self.outputs()
    }
}

#[test]
fn a_get_whose_way_is_lost_costs_its_session_nothing() {
    let mut bench = Bench::polling();
    bench.arrive(carried(GET, "a"));
    assert_eq!(bench.lose(GET), NOTHING);
    assert_eq!(bench.queue(), NOTHING, "it waits for the next GET");
    assert_eq!(bench.arrive(carried(GET_2, "b")), [polled(GET_2, PollReply::Flush)]);
}

#[test]
fn a_client_whose_way_was_lost_has_as_long_as_between_any_two_gets() {
    let mut bench = Bench::polling();
    bench.arrive(carried(GET, "a"));
    bench.lose(GET);
    assert_eq!(bench.wait(25_000), [ping()]);
    assert_eq!(bench.wait(19_999), NOTHING);
    assert_eq!(bench.wait(1), [closed(PingTimeout)]);
}

#[test]
fn a_waiting_get_that_is_sent_again_takes_the_place_of_the_first() {
    let mut bench = Bench::polling();
    bench.arrive(carried(GET, "a"));
    assert_eq!(bench.arrive(carried(GET_2, "a")), [polled(GET, PollReply::Noop)]);
    // The first one ends when its node is known to be gone, or when a load balancer has given up on it.
    assert_eq!(bench.lose(GET), NOTHING);
    bench.session.handle_poll_aborted(GET);
    assert_eq!(bench.outputs(), NOTHING);
    assert_eq!(bench.queue(), [polled(GET_2, PollReply::Flush)]);
}

#[test]
fn two_gets_with_stamps_of_their_own_overlap_whatever_carries_them() {
    let mut bench = Bench::polling();
    bench.arrive(carried(GET, "a"));
    assert_eq!(
        bench.arrive(carried(GET_2, "b")),
        [polled(GET_2, PollReply::Refused), polled(GET, PollReply::Close), closed(TransportError)]
    );
}

#[test]
fn an_answered_get_that_is_sent_again_gets_its_answer_again_and_the_next_one_what_follows() {
    let mut bench = Bench::polling();
    bench.arrive(carried(GET, "a"));
    assert_eq!(bench.queue(), [polled(GET, PollReply::Flush)]);
    assert!(bench.session.keeps_answer());
    assert_eq!(bench.queue(), NOTHING);
    assert_eq!(bench.arrive(carried(GET_2, "a")), [polled(GET_2, PollReply::Again)]);
    let next = ConnId(3);
    assert_eq!(bench.arrive(carried(next, "b")), [polled(next, PollReply::Flush)]);
}

#[test]
fn the_next_get_of_a_client_says_that_it_has_the_answer() {
    let mut bench = Bench::polling();
    bench.arrive(carried(GET, "a"));
    bench.queue();
    assert_eq!(bench.arrive(carried(GET_2, "b")), NOTHING);
    assert!(!bench.session.keeps_answer());
}

#[test]
fn an_answer_that_is_known_to_be_lost_is_for_the_next_get_whatever_its_stamp() {
    for next in [plain(GET_2), carried(GET_2, "b")] {
        let mut bench = Bench::polling();
        bench.arrive(carried(GET, "a"));
        bench.queue();
        bench.session.handle_answer_lost();
        assert_eq!(bench.arrive(next), [polled(GET_2, PollReply::Again)]);
    }
}

#[test]
fn a_client_that_stamps_all_its_gets_alike_is_answered_as_without_stamps() {
    // One that reached the owner itself was not lost, so its stamp was not unique.
    let mut bench = Bench::polling();
    bench.arrive(Get { carried: false, ..carried(GET, "t") });
    bench.queue();
    for number in 30..40 {
        let get = carried(ConnId(number), "t");
        assert_eq!(bench.arrive(get), NOTHING);
        assert_eq!(bench.queue(), [polled(get.conn, PollReply::Flush)]);
    }
    // Where all of them are carried, the first repetition cannot be told from a lost answer.
    let mut bench = Bench::polling();
    bench.arrive(carried(GET, "t"));
    bench.queue();
    assert_eq!(bench.arrive(carried(GET_2, "t")), [polled(GET_2, PollReply::Again)]);
    for number in 30..40 {
        let get = carried(ConnId(number), "t");
        assert_eq!(bench.arrive(get), NOTHING);
        assert_eq!(bench.queue(), [polled(get.conn, PollReply::Flush)]);
    }
}

#[test]
fn an_upgrade_and_an_end_keep_no_answer() {
    for end in ["upgrade", "close"] {
        let mut bench = Bench::probed();
        bench.arrive(carried(GET, "a"));
        bench.queue();
        match end {
            "upgrade" => drop(bench.frame(WS, "5")),
            _ => drop(bench.shut_down(TransportClose)),
        }
        assert!(!bench.session.keeps_answer(), "{end}");
    }
}

#[test]
fn a_post_whose_way_is_lost_halfway_is_as_if_it_had_not_been_sent() {
    let mut bench = Bench::polling();
    bench.session.handle_post(POST, bench.now);
    bench.session.handle_post_lost(POST);
    assert_eq!(bench.outputs(), NOTHING);
    assert_eq!(bench.post(POST_2, "4again"), [message("again"), posted(POST_2, PostReply::Ok)]);
}

#[test]
fn a_node_that_stops_gives_the_get_back_that_it_carries() {
    let mut bench = Bench::polling();
    bench.arrive(carried(GET, "a"));
    bench.session.handle_release();
    assert_eq!(bench.outputs(), [polled(GET, PollReply::Noop)]);
    bench.session.handle_release();
    assert_eq!(bench.outputs(), NOTHING);
    assert_eq!(bench.arrive(carried(GET_2, "b")), NOTHING);
    assert_eq!(bench.queue(), [polled(GET_2, PollReply::Flush)]);
}
