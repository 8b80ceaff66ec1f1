use std::collections::BTreeMap;

use super::*;

#[test]
fn nothing_is_wrong_where_everything_came() {
    let history = history(vec![session(&[run(0, 9)])]);
    let verdict = Verdict::of(&history);
    assert_eq!((verdict.faults, verdict.received), (BTreeMap::new(), 10));
}

#[test]
fn a_hole_is_found_and_so_is_a_missing_end() {
    assert_eq!(faults(vec![session(&[run(0, 3), run(5, 9)])]), [(Kind::Lost, 1)]);
    assert_eq!(faults(vec![session(&[run(0, 7)])]), [(Kind::Lost, 2)]);
    assert_eq!(faults(vec![session(&[run(2, 9)])]), [(Kind::Lost, 2)]);
    assert_eq!(faults(vec![session(&[])]), [(Kind::Lost, 10)]);
}

#[test]
fn what_came_twice_is_found_also_in_the_session_that_recovered_another() {
    assert_eq!(faults(vec![session(&[run(0, 5), run(5, 9)])]), [(Kind::Doubled, 1)]);
    let again = vec![lost(session(&[run(0, 5)])), recovered(session(&[run(4, 9)]))];
    assert_eq!(faults(again), [(Kind::Doubled, 2)]);
    let fresh = vec![lost(session(&[run(0, 5)])), fresh(session(&[run(5, 9)]))];
    assert_eq!(faults(fresh), [(Kind::Doubled, 1), (Kind::NotRecovered, 1)]);
}

#[test]
fn what_came_out_of_order_is_found() {
    let shuffled = [run(0, 3), run(5, 5), run(4, 4), run(6, 9)];
    assert_eq!(faults(vec![session(&shuffled)]), [(Kind::Reordered, 1)]);
}

#[test]
fn a_recovered_session_goes_on_without_a_hole() {
    let whole = vec![lost(session(&[run(0, 5)])), recovered(session(&[run(6, 9)]))];
    let verdict = Verdict::of(&history(whole));
    assert_eq!((verdict.faults, verdict.after), (BTreeMap::new(), [(2, (1, 1))].into()));
    let holed = vec![lost(session(&[run(0, 5)])), recovered(session(&[run(7, 9)]))];
    assert_eq!(faults(holed), [(Kind::Lost, 1)]);
}

#[test]
fn a_fresh_session_is_owed_nothing_of_what_was_said_while_the_client_was_away() {
    let sessions = vec![lost(session(&[run(0, 5)])), fresh(session(&[run(8, 9)]))];
    assert_eq!(faults(sessions), [(Kind::NotRecovered, 1)]);
    let holed = vec![lost(session(&[run(0, 1), run(3, 5)])), fresh(session(&[run(7, 7), run(9, 9)]))];
    assert_eq!(faults(holed), [(Kind::Lost, 2), (Kind::NotRecovered, 1)]);
}

#[test]
fn a_fresh_session_gets_all_of_a_life_that_began_later() {
    let mut history = history(vec![lost(session(&[run(0, 5)])), fresh(session(&[run(6, 9)]))]);
    history.lives.push(Life { process: 3, began: 9000, emitted: Some(emitted("room", 2)), ..life(3) });
    assert_eq!(kinds(&history), [(Kind::Lost, 2), (Kind::NotRecovered, 1)]);
}

#[test]
fn what_a_killed_node_emitted_last_may_be_lost_and_nothing_before() {
    let mut history = history(vec![session(&[run(0, 3), run(5, 7)])]);
    history.lives[0].emitted = None;
    assert_eq!(kinds(&history), [(Kind::Lost, 1)]);
    history.clients[0].sessions = vec![session(&[run(0, 7)])];
    assert_eq!(kinds(&history), []);
}

#[test]
fn a_session_that_was_killed_before_another_node_knew_of_it_is_told_apart() {
    for (entered, killed, recovered_before, expected) in [
        (Some(STOPPED - 50), true, false, Kind::Unknown),
        (None, true, false, Kind::Unknown),
        (Some(STOPPED - 200), true, false, Kind::NotRecovered),
        (Some(STOPPED - 50), false, false, Kind::NotRecovered),
        (None, true, true, Kind::NotRecovered),
    ] {
        let young = Session { entered, recovered: recovered_before, ..lost(session(&[run(0, 9)])) };
        let mut history = history(vec![young, fresh(session(&[]))]);
        if killed {
            history.lives[1].emitted = None;
        }
        assert!(kinds(&history).contains(&(expected, 1)), "{entered:?} {killed} {recovered_before}");
    }
}

#[test]
fn messages_to_a_socket_are_owed_to_that_socket_only() {
    let mut history = history(vec![session(&[run(0, 9)])]);
    history.lives[0].emitted =
        Some([("room".to_owned(), 10), ("socket".to_owned(), 2), ("other".to_owned(), 4)].into());
    assert_eq!(kinds(&history), [(Kind::Lost, 2)]);
    history.clients[0].sessions[0].heard.insert("1/socket".to_owned(), vec![run(0, 1)]);
    assert_eq!(kinds(&history), []);
    history.clients[0].sessions[0].heard.insert("1/other".to_owned(), vec![run(0, 1)]);
    assert_eq!(kinds(&history), [(Kind::Astray, 1)]);
}

#[test]
fn what_nobody_emitted_is_found() {
    assert_eq!(faults(vec![session(&[run(0, 11)])]), [(Kind::Astray, 1)]);
}

#[test]
fn a_client_that_is_recovered_without_a_room_or_its_data_is_found() {
    let again = recovered(session(&[run(6, 9)]));
    let (roomless, nobody) =
        (Session { rooms: Vec::new(), ..again.clone() }, Session { user: Some(8), ..again });
    for again in [roomless, nobody] {
        assert_eq!(faults(vec![lost(session(&[run(0, 5)])), again]), [(Kind::StateLost, 1)]);
    }
}

#[test]
fn a_client_may_be_away_for_its_own_delay_and_a_second() {
    for (connected, late) in [(STOPPED + 500 + GRACE, false), (STOPPED + 501 + GRACE, true)] {
        let again = Session { connected, ..recovered(session(&[run(6, 9)])) };
        let found = faults(vec![lost(session(&[run(0, 5)])), again]);
        assert_eq!(found.contains(&(Kind::Late, 1)), late, "{found:?}");
    }
}

#[test]
fn a_client_that_does_not_come_back_is_found() {
    assert_eq!(faults(vec![lost(session(&[run(0, 9)]))]), [(Kind::Absent, 1)]);
}

#[test]
fn an_http_error_that_ends_a_session_is_found_and_so_is_a_handshake_that_fails() {
    let mut ended = lost(session(&[run(0, 5)]));
    ended.ended.as_mut().unwrap().status = Some(400);
    let mut history = history(vec![ended, recovered(session(&[run(6, 9)]))]);
    assert_eq!(kinds(&history), [(Kind::Status, 1)]);
    for (what, kind) in [("handshake", Kind::Refused), ("connect", Kind::Refused), ("upgrade", Kind::Upgrade)]
    {
        let failure = Failure { at: STOPPED, what: what.to_owned(), why: "x".to_owned(), status: Some(503) };
        history.clients[0].failures = vec![failure];
        assert_eq!(Verdict::of(&history).count(kind), 1);
    }
}

#[test]
fn a_session_of_a_node_that_stays_must_not_be_closed() {
    let of_another = |transport: &str, edge: &str, at| {
        let mut ended = lost(session(&[run(0, 5)]));
        ended.life = Some(1);
        let (transport, edge) = (transport.to_owned(), Some(edge.to_owned()));
        ended.ended = Some(Lost { at, transport, edge, ..ended.ended.unwrap() });
        faults(vec![ended, Session { connected: at, ..recovered(session(&[run(6, 9)])) }])
    };
    assert_eq!(of_another("polling", "node-2", STOPPED), [(Kind::Closed, 1)]);
    assert_eq!(of_another("websocket", "node-2", STOPPED), [(Kind::Carried, 1)]);
    assert_eq!(of_another("websocket", "node-1", STOPPED), [(Kind::Closed, 1)], "another node carried it");
    assert_eq!(of_another("websocket", "node-2", STOPPED - 1), [(Kind::Closed, 1)]);
    assert_eq!(of_another("websocket", "node-2", STOPPED + NOTICED + 101), [(Kind::Closed, 1)]);
}

/// One client in `room`, to which the first of two lives emitted ten messages; the second ended.
fn history(sessions: Vec<Session>) -> History {
    let first = Life { emitted: Some(emitted("room", 10)), ..life(1) };
    let second = Life { ended: Some(Ending { from: STOPPED, to: STOPPED + 100 }), ..life(2) };
    let rooms = vec!["room".to_owned()];
    let client = Client { name: "client".to_owned(), user: 7, rooms, sessions, failures: Vec::new() };
    History { lives: vec![first, second], clients: vec![client], slack: 0 }
}

fn faults(sessions: Vec<Session>) -> Vec<(Kind, usize)> {
    kinds(&history(sessions))
}

fn kinds(history: &History) -> Vec<(Kind, usize)> {
    Verdict::of(history).faults.iter().map(|(kind, faults)| (*kind, faults.len())).collect()
}

fn life(process: u32) -> Life {
    Life {
        node: format!("node-{process}"),
        process,
        began: 0,
        ready: 1,
        ended: None,
        emitted: Some(BTreeMap::new()),
    }
}

fn emitted(target: &str, count: u64) -> BTreeMap<String, u64> {
    [(target.to_owned(), count)].into()
}

fn session(runs: &[Run]) -> Session {
    Session {
        sid: "socket".to_owned(),
        connected: 1000,
        entered: Some(1001),
        life: Some(2),
        user: Some(7),
        rooms: vec!["room".to_owned()],
        heard: [("1/room".to_owned(), runs.to_vec())].into(),
        ..Session::default()
    }
}

fn lost(session: Session) -> Session {
    let (reason, transport) = ("transport close".to_owned(), "websocket".to_owned());
    let ended = Lost { at: STOPPED, reason, transport, delay: Some(500), ..Lost::default() };
    Session { ended: Some(ended), ..session }
}

fn recovered(session: Session) -> Session {
    Session { recovered: true, ..fresh(session) }
}

fn fresh(session: Session) -> Session {
    Session { connected: STOPPED + 600, entered: Some(STOPPED + 700), ..session }
}

const fn run(first: u64, last: u64) -> Run {
    Run(first, last, 1500, 1600)
}

/// When the second life was told to stop.
const STOPPED: Millis = 5000;
