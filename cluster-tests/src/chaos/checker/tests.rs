//! A history in which all is well, and what the checker says of it after one thing was changed.

use super::*;
use crate::chaos::history::{NodeLife, Receipt};

const ALL: &str = "all";

/// Three nodes with two clients each, in one room, and in one of two others. Each emits in turn to both, and everything
/// arrives 3 ms later.
fn well() -> History {
    let ms = Duration::from_millis;
    let node = |number| NodeLife { number, cluster: 0, started: ms(0), ended: None };
    let mut history = History { nodes: (0..3).map(node).collect(), ..History::default() };
    for client in 0..6 {
        let mut life = ClientLife::new(format!("c{client}"), client / 2, ms(10));
        for room in [ALL, side(client)] {
            life.join(room, ms(10));
            life.joined(room, Vec::new(), ms(12));
        }
        history.clients.push(life);
    }
    for round in 0..40 {
        for by in 0..6 {
            let (at, room) = (
                ms(2000 + round * 10 + by as u64),
                if u64::is_multiple_of(round, 2) { ALL } else { side(by) },
            );
            let life = &mut history.clients[by];
            let number = life.emit(Target::Room(room.to_owned()), at);
            life.confirmed(number, at + ms(1));
            let others = (0..6).filter(|other| *other != by && (room == ALL || side(*other) == side(by)));
            for other in others {
                history.receipts.push(Receipt { by: other, from: Some((by, number)), at: at + ms(3) });
            }
        }
    }
    history
}

fn side(client: usize) -> &'static str {
    if client.is_multiple_of(2) { "even" } else { "odd" }
}

/// The first receipt of one client from another with this number.
fn position(history: &History, by: usize, from: usize, number: usize) -> usize {
    let found = history.receipts.iter().position(|one| one.by == by && one.from == Some((from, number)));
    found.expect("it arrived")
}

/// How many faults of each kind: lost, twice, disordered, at the wrong place, phantoms, joins, lost at home.
fn faults(verdict: &Verdict) -> [usize; 7] {
    [
        verdict.lost.len(),
        verdict.duplicated.len(),
        verdict.reordered.len(),
        verdict.misdelivered.len(),
        verdict.phantom.len(),
        verdict.joins_missed.len(),
        verdict.lost_at_home.len(),
    ]
}

/// What the checker says after a change.
fn after(change: impl FnOnce(&mut History)) -> [usize; 7] {
    let mut history = well();
    change(&mut history);
    faults(&Verdict::of(&history))
}

#[test]
fn a_history_in_which_all_is_well_has_no_fault() {
    let verdict = Verdict::of(&well());
    assert_eq!(faults(&verdict), [0; 7]);
    assert_eq!((verdict.emits, verdict.owed), (240, verdict.received));
    assert_eq!(verdict.latency(99), Duration::from_millis(3));
    assert!(verdict.missing.values().all(|missing| *missing == (0, 0)), "{:?}", verdict.missing);
}

#[test]
fn one_missing_receipt_of_a_client_is_lost_at_home_if_its_node_had_it() {
    let lost = after(|history| {
        let at = position(history, 5, 0, 20);
        history.receipts.remove(at);
    });
    assert_eq!(lost, [1, 0, 0, 0, 0, 0, 1]);
}

#[test]
fn what_no_client_of_a_node_got_is_missing_there_once() {
    let mut history = well();
    history.receipts.retain(|one| !([4, 5].contains(&one.by) && one.from == Some((0, 20))));
    let verdict = Verdict::of(&history);
    assert_eq!(faults(&verdict), [2, 0, 0, 0, 0, 0, 0]);
    assert_eq!(verdict.missing[&(0, 2)], (1, 1));
    assert_eq!(verdict.missing[&(0, 1)], (0, 0));
}

#[test]
fn the_last_word_counts_as_lost_too() {
    let lost = after(|history| history.receipts.retain(|one| one.by / 2 == 0 || one.from != Some((0, 38))));
    assert_eq!(lost, [4, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn a_second_arrival_is_a_duplicate() {
    let twice = after(|history| {
        let at = position(history, 3, 0, 4);
        let again = history.receipts[at].clone();
        history.receipts.push(again);
    });
    assert_eq!(twice, [0, 1, 0, 0, 0, 0, 0]);
}

#[test]
fn two_that_change_places_are_out_of_order() {
    let swapped = after(|history| {
        let (one, other) = (position(history, 3, 0, 4), position(history, 3, 0, 6));
        history.receipts.swap(one, other);
    });
    assert_eq!(swapped, [0, 0, 1, 0, 0, 0, 0]);
}

#[test]
fn what_a_client_gets_from_a_room_that_it_is_not_in_is_misdelivered() {
    let wrong = after(|history| {
        let at = history.receipts[position(history, 2, 0, 5)].at;
        history.receipts.push(Receipt { by: 1, from: Some((0, 5)), at });
    });
    // It also comes late, behind what was emitted after it.
    assert_eq!(wrong[3], 1);
}

#[test]
fn what_a_client_gets_from_itself_is_misdelivered() {
    let own = after(|history| {
        let at = Duration::from_secs(9);
        history.receipts.push(Receipt { by: 0, from: Some((0, 0)), at });
    });
    assert_eq!(own[3], 1);
}

#[test]
fn what_is_emitted_after_a_leave_was_acknowledged_is_misdelivered() {
    let leave = |at: u64| {
        after(move |history| {
            let life = &mut history.clients[3];
            life.leave(ALL, Duration::from_millis(at));
            life.left(ALL, Duration::from_millis(at + 1));
        })
    };
    // Rounds 20 to 38 by five others.
    assert_eq!(leave(2198)[3], 50);
    assert_eq!(leave(9000), [0; 7]);
}

#[test]
fn what_another_cluster_emits_is_misdelivered_and_not_owed() {
    let [lost, _, _, misdelivered, ..] = after(|history| history.nodes[2].cluster = 1);
    assert_eq!(lost, 0);
    // Between the two clients of it and the four others, both ways: 20 to everybody, 20 to one side.
    assert_eq!(misdelivered, 2 * (2 * 4 * 20 + 2 * 2 * 20));
}

#[test]
fn what_nobody_emitted_is_a_phantom() {
    let phantom = after(|history| {
        let at = Duration::from_secs(9);
        history.receipts.push(Receipt { by: 0, from: Some((1, 40)), at });
        history.receipts.push(Receipt { by: 0, from: None, at });
    });
    assert_eq!(phantom, [0, 0, 0, 0, 2, 0, 0]);
}

#[test]
fn what_is_lost_right_after_an_acknowledged_join_is_a_missed_join() {
    let late = Duration::from_millis(2150);
    let rejoin = |unconfirmed: Vec<usize>| {
        after(move |history| {
            let life = &mut history.clients[4];
            let stay = life.rooms.iter_mut().find(|stay| stay.room == "even").expect("it is in there");
            (stay.asked, stay.joined, stay.unconfirmed) = (late, Some(late), unconfirmed);
            let early = |one: &Receipt| one.at < Duration::from_millis(2200);
            history
                .receipts
                .retain(|one| one.by != 4 || one.from.is_none_or(|from| from.1 % 2 == 0) || !early(one));
        })
    };
    // Rounds 15, 17 and 19 of two clients on other nodes.
    assert_eq!(rejoin(Vec::new()), [6, 0, 0, 0, 0, 6, 0]);
    // Nothing was promised about the emits of one of them before the first one came.
    assert_eq!(rejoin(vec![0]), [3, 0, 0, 0, 0, 3, 0]);
}

#[test]
fn a_client_that_went_away_is_owed_only_what_came_before_what_it_got() {
    let away = |hole: bool| {
        after(move |history| {
            let end = Duration::from_millis(2200);
            for client in [4, 5] {
                history.clients[client].ended = Some(end);
                history.clients[client].emits.retain(|emit| emit.asked < end);
            }
            history.receipts.retain(|one| {
                let gone = [4, 5].contains(&one.by) && one.at > end;
                let unsent = one.from.is_some_and(|(from, number)| from >= 4 && number >= 20);
                let hole = hole && [4, 5].contains(&one.by) && one.from == Some((0, 6));
                !gone && !unsent && !hole
            });
        })
    };
    assert_eq!(away(false), [0; 7]);
    assert_eq!(away(true), [2, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn a_killed_node_owes_nothing_more_and_a_stopped_one_everything_that_it_acknowledged() {
    let end = |ending| {
        after(move |history| {
            history.nodes[0].ended = Some((Duration::from_millis(2380), ending));
            history.receipts.retain(|one| one.by < 2 || one.from.is_none_or(|(from, n)| from >= 2 || n < 38));
        })
    };
    assert_eq!(end(Ending::Killed)[0], 0);
    // Rounds 38 and 39: to four, and to two of the other nodes.
    assert_eq!(end(Ending::Stopped)[0], 2 * 4 + 2 * 2);
}

#[test]
fn an_emit_that_was_not_acknowledged_is_not_owed_but_may_be_counted() {
    let mut history = well();
    history.clients[0].emits[38].confirmed = None;
    history.receipts.retain(|one| one.by < 4 || one.from != Some((0, 38)));
    let verdict = Verdict::of(&history);
    assert_eq!(faults(&verdict), [0; 7]);
    assert_eq!(verdict.missing[&(0, 2)], (0, 1));
}
