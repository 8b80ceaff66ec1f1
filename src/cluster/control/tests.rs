//! Several nodes' values, wired by messages and a clock: hours of a cluster in milliseconds.

mod completeness;
mod formation;
mod identity;
mod refusals;
mod world;

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;

use self::world::{World, address};
use super::members::SEARCH;
use super::readiness::{OUTDATED, WAIT_TO_BE_FOUND};
use super::rhythm::TICK;
use super::*;
use crate::cluster::view::LinkState;

const SECOND: Duration = Duration::from_secs(1);

fn id(name: &str) -> NodeId {
    name.parse().unwrap()
}

/// Nodes a, b, … that know a as a seed, and are ready and linked.
fn cluster(names: &[&'static str]) -> World {
    let mut world = World::new();
    for name in names {
        world.start(name, if *name == "a" { &[] } else { &["a"] });
    }
    world.run(4 * SECOND);
    world.assert_settled();
    world
}

// Link choice.

/// Plays every order in which the messages can arrive, and checks the world after each.
fn in_every_order(start: impl Fn() -> World, check: impl Fn(World)) -> usize {
    let (mut schedule, mut orders) = (Vec::<usize>::new(), 0);
    loop {
        let (mut world, mut choices) = (start(), Vec::new());
        while world.in_flight() > 0 {
            let choice = schedule.get(choices.len()).copied().unwrap_or(0);
            choices.push((choice, world.in_flight()));
            world.deliver(choice);
        }
        check(world);
        orders += 1;
        while choices.last().is_some_and(|(choice, of)| choice + 1 == *of) {
            choices.pop();
        }
        schedule = choices.iter().map(|(choice, _)| *choice).collect();
        match schedule.last_mut() {
            Some(last) => *last += 1,
            None => return orders,
        }
    }
}

#[test]
fn of_crossing_dials_both_ends_keep_the_same_link_in_every_order() {
    let crossing = || {
        let mut world = World::new();
        world.start("a", &["b"]);
        world.start("b", &["a"]);
        world.tick_all();
        assert_eq!(world.in_flight(), 2, "both have dialled");
        world
    };
    let orders = in_every_order(crossing, |mut world| {
        let chosen = world.stream("a", "b").expect("a link");
        assert_eq!(world.stream("b", "a"), Some(chosen));
        world.run(4 * SECOND);
        assert_eq!((world.stream("a", "b"), world.stream("b", "a")), (Some(chosen), Some(chosen)));
        assert_eq!(world.open_streams(), BTreeSet::from([chosen]), "the other one was closed");
        world.assert_settled();
    });
    assert!(orders > 10, "{orders} orders only");
}

#[test]
fn a_new_dial_while_a_link_breaks_ends_with_one_link_in_every_order() {
    let broken = || {
        let mut world = cluster(&["a", "b"]);
        world.break_link("a", "b");
        world.advance(Duration::from_millis(300));
        world.tick_all();
        world
    };
    in_every_order(broken, |mut world| {
        world.run(4 * SECOND);
        world.assert_settled();
        assert_eq!(world.stream("a", "b"), world.stream("b", "a"));
        assert_eq!(world.open_streams().len(), 1);
    });
}

#[test]
fn a_settled_link_gives_way_to_any_new_one() {
    let mut world = cluster(&["a", "b"]);
    let old = world.stream("a", "b").unwrap();
    world.forget_link("b", "a");
    world.run(4 * SECOND);
    let new = world.stream("b", "a");
    assert!(new.is_some() && new != Some(old), "a would still have the old one");
    assert_eq!(world.stream("a", "b"), new);
}

#[test]
fn a_link_whose_connection_is_closed_gives_way_and_the_node_is_never_seen_without_one() {
    let mut world = cluster(&["a", "b"]);
    world.break_link("a", "b");
    world.run(SECOND);
    let old = world.stream("a", "b");
    let life = world.incarnation("b");
    world.greet_as("a", "b", life);
    assert_eq!(world.stream("a", "b"), old, "it is young, and the smaller id has opened it");
    world.close_connection("a", "b");
    world.clear_history();
    world.greet_as("a", "b", life);
    assert_ne!(world.stream("a", "b"), old);
    assert_eq!((world.link("a", "b"), world.dials("a")), (LinkState::Up, false));
    assert_eq!(world.publications("a"), 1, "one per link");
}

// Readiness.

#[test]
fn a_node_that_is_ready_is_in_the_ring_of_every_member() {
    let mut world = cluster(&["a", "b", "c"]);
    world.start("d", &["b"]);
    while world.state("d") != NodeState::Ready {
        world.step();
    }
    for name in ["a", "b", "c"] {
        assert!(world.members(name).contains(&id("d")), "{name} has d in its ring");
    }
}

#[test]
fn a_node_waits_for_a_member_that_does_not_answer() {
    let mut world = cluster(&["a", "b"]);
    world.cut("b", "c");
    world.start("c", &["a"]);
    world.run(3 * SECOND);
    assert_eq!(world.state("c"), NodeState::Ready, "a relays the hello");
    assert_eq!(world.link("b", "c"), LinkState::Relayed);
}

#[test]
fn a_node_without_seeds_is_ready_after_it_could_have_been_found() {
    let mut world = World::new();
    world.start("a", &[]);
    world.run(WAIT_TO_BE_FOUND - TICK);
    assert_eq!(world.state("a"), NodeState::Joining);
    world.run(2 * TICK);
    assert_eq!(world.state("a"), NodeState::Ready);
}

#[test]
fn nodes_that_restart_together_are_found_by_the_survivors_before_they_are_ready() {
    let mut world = cluster(&["a", "b", "c", "d", "e"]);
    for name in ["a", "b"] {
        world.kill(name);
    }
    world.start("a", &["b"]);
    world.start("b", &["a"]);
    while world.state("a") != NodeState::Ready && world.state("b") != NodeState::Ready {
        world.step();
    }
    for (name, other) in [("a", "b"), ("b", "a")] {
        assert_eq!(world.members(name).len(), 5, "{name} has met the survivors");
        let life = Some(world.incarnation(name));
        for survivor in ["c", "d", "e", other] {
            assert_eq!(world.incarnation_of(name, survivor), life, "{survivor} has {name} in its ring");
        }
    }
}

#[test]
fn a_node_whose_seed_does_not_answer_is_not_ready_unless_it_may_serve_alone() {
    let mut world = World::new();
    world.start("a", &["nobody"]);
    world.start_alone("b", &["nobody"]);
    world.run(5 * SECOND);
    assert_eq!((world.state("a"), world.state("b")), (NodeState::Joining, NodeState::Ready));
}

#[test]
fn a_node_that_is_refused_as_an_older_life_is_not_ready_until_the_refusals_stop() {
    let mut world = cluster(&["a", "b"]);
    world.refuse_as_outdated("b", "a");
    world.run(OUTDATED - TICK);
    assert_eq!(world.state("b"), NodeState::Joining, "a knows a newer life of it");
    world.run(2 * TICK);
    assert_eq!(world.state("b"), NodeState::Ready);
}

// Relaying.

#[test]
fn where_the_direct_way_is_cut_the_smaller_id_links_through_a_third_node() {
    let mut world = cluster(&["a", "b", "c"]);
    world.cut("a", "b");
    world.run(6 * SECOND);
    assert_eq!((world.link("a", "b"), world.link("b", "a")), (LinkState::Relayed, LinkState::Relayed));
    assert_eq!(world.stream("a", "b"), world.stream("b", "a"));
    assert_eq!(world.members("a").len(), 3, "nobody is declared dead");
    world.heal();
    world.run(4 * SECOND);
    world.assert_settled();
    assert_eq!(world.open_streams().len(), 3, "the relayed link was closed");
}

#[test]
fn requests_to_a_member_without_a_link_go_through_a_node_that_reaches_it() {
    let mut world = cluster(&["a", "b", "c"]);
    world.cut("a", "b");
    while world.link("a", "b") == LinkState::Up {
        world.step();
    }
    let route = world.route("a", "b");
    assert!(matches!(route, Some(Route::Through(relays)) if relays == [world.link_id("a", "c").unwrap()]));
}

#[test]
fn nothing_goes_through_a_node_that_stops_unless_there_is_no_other() {
    let mut world = cluster(&["a", "b", "c", "d"]);
    world.cut("a", "b");
    for (stopping, first) in [("c", "d"), ("d", "")] {
        world.drain(stopping);
        world.run(6 * SECOND);
        let Some(Route::Through(relays)) = world.route("a", "b") else { panic!("there is a way") };
        let through = |name| world.link_id("a", name).unwrap();
        assert_eq!(relays.len(), 2);
        assert!(first.is_empty() || relays == [through(first), through(stopping)]);
    }
}

// Lives and deaths.

#[test]
fn a_killed_node_leaves_every_ring_and_is_looked_for_for_ten_minutes() {
    let mut world = cluster(&["a", "b", "c"]);
    world.kill("c");
    world.run(4 * SECOND);
    for name in ["a", "b"] {
        assert_eq!(world.members(name), [id("a"), id("b")]);
    }
    world.run(SEARCH - 10 * SECOND);
    assert!(!world.did("a", &Output::Forget(id("c"))), "it is still looked for");
    world.run(10 * SECOND);
    assert!(world.did("a", &Output::Forget(id("c"))));
    world.clear_history();
    world.run(10 * SECOND);
    assert!(!world.dials("a"), "it is not dialled any more");
}

#[test]
fn a_restarted_node_replaces_its_older_life_at_once() {
    let mut world = cluster(&["a", "b", "c"]);
    world.kill("c");
    world.start("c", &["a"]);
    let newer = world.incarnation("c");
    world.run(SECOND);
    for name in ["a", "b"] {
        assert_eq!(world.incarnation_of("c", name), Some(newer));
        assert!(world.did(name, &Output::Forget(id("c"))), "{name} has dropped the log of the older life");
    }
    world.assert_settled();
}

#[test]
fn a_partition_that_ends_makes_one_cluster_again() {
    let mut world = cluster(&["a", "b", "c", "d"]);
    for (one, other) in [("a", "c"), ("a", "d"), ("b", "c"), ("b", "d")] {
        world.cut(one, other);
    }
    world.run(8 * SECOND);
    assert_eq!(world.members("a"), [id("a"), id("b")]);
    assert_eq!(world.members("d"), [id("c"), id("d")]);
    world.heal();
    world.run(5 * SECOND);
    world.assert_settled();
}

#[test]
fn a_node_that_leaves_says_goodbye_on_every_link_and_takes_no_other() {
    let mut world = cluster(&["a", "b", "c"]);
    world.leave("a");
    assert!(world.did("a", &Output::SayGoodbye(id("b"))) && world.did("a", &Output::SayGoodbye(id("c"))));
    assert!(!world.did("a", &Output::Left), "the goodbyes have not arrived yet");
    world.run(LEAVE + TICK);
    assert!(world.did("a", &Output::Left));
    world.clear_history();
    world.run(2 * SECOND);
    assert!(!world.did("a", &Output::Left) && !world.dials("a"), "it is told once");
}

#[test]
fn whoever_asks_a_node_to_leave_again_waits_for_the_same_goodbyes() {
    let mut world = cluster(&["a", "b"]);
    world.leave("a");
    world.leave("a");
    assert!(!world.did("a", &Output::Left), "the goodbyes have not arrived yet");
    world.run(LEAVE + TICK);
    assert!(world.did("a", &Output::Left));
    world.clear_history();
    world.leave("a");
    assert!(world.did("a", &Output::Left), "it has left");
}

#[test]
fn a_node_alone_has_left_at_once() {
    let mut world = cluster(&["a"]);
    world.leave("a");
    assert!(world.did("a", &Output::Left));
}

#[test]
fn a_drain_is_announced_and_published() {
    let mut world = cluster(&["a", "b"]);
    world.drain("a");
    let (misses, address) = (Vec::new(), Some(address("a")));
    let state = NodeState::Draining;
    assert!(world.did("a", &Output::Announce(Announcement { state, misses, address, sessions: None })));
    assert_eq!(world.state("a"), NodeState::Draining);
}

#[test]
fn every_member_hears_about_how_many_sessions_a_node_owns() {
    let mut world = cluster(&["a", "b", "c"]);
    world.tell_sessions("a", 700);
    world.run(4 * SECOND);
    for name in ["a", "b", "c"] {
        assert_eq!((world.sessions(name, "a"), world.sessions(name, "b")), (Some(700), None), "{name}");
    }
}

// Whatever happens.

#[derive(Debug, Clone)]
enum Fault {
    Cut(usize, usize),
    Heal,
    Restart(usize),
    Break(usize, usize),
    Forget(usize, usize),
    Wait(u64),
}

fn faults() -> impl Strategy<Value = Vec<Fault>> {
    let fault = prop_oneof![
        3 => (0..4_usize, 0..4_usize).prop_map(|(one, other)| Fault::Cut(one, other)),
        1 => Just(Fault::Heal),
        1 => (1..4_usize).prop_map(Fault::Restart),
        2 => (0..4_usize, 0..4_usize).prop_map(|(one, other)| Fault::Break(one, other)),
        2 => (0..4_usize, 0..4_usize).prop_map(|(one, other)| Fault::Forget(one, other)),
        4 => (1..6000_u64).prop_map(Fault::Wait),
    ];
    proptest::collection::vec(fault, 0..25)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn after_any_faults_the_nodes_become_one_cluster_again_and_no_link_is_left_over(faults in faults()) {
        let names = ["a", "b", "c", "d"];
        let mut world = cluster(&names);
        for fault in faults {
            match fault {
                Fault::Cut(one, other) => world.cut(names[one], names[other]),
                Fault::Heal => world.heal(),
                Fault::Restart(node) => {
                    world.kill(names[node]);
                    world.start(names[node], &["a"]);
                }
                Fault::Break(one, other) => world.break_link(names[one], names[other]),
                Fault::Forget(one, other) => world.forget_link(names[one], names[other]),
                Fault::Wait(ms) => world.run(Duration::from_millis(ms)),
            }
        }
        world.heal();
        world.run(15 * SECOND);
        world.assert_settled();
        prop_assert_eq!(world.open_streams().len(), 6, "one link per pair");
    }
}

// The application.

#[test]
fn a_node_whose_application_hangs_for_ten_seconds_is_no_member_until_it_runs_again() {
    let mut world = cluster(&["a", "b", "c"]);
    let (life, link) = (world.incarnation("c"), world.stream("a", "c"));
    world.hang("c");
    world.run(10 * SECOND);
    world.assert_settled();
    world.run(2 * SECOND);
    assert_eq!((world.state("c"), world.members("c").len()), (NodeState::Hung, 3));
    for other in ["a", "b"] {
        assert_eq!(world.members(other), [id("a"), id("b")], "as {other} sees them");
        assert_eq!(world.state(other), NodeState::Ready);
    }
    assert_eq!(world.stream("a", "c"), link, "the link is kept");
    world.start("d", &["a"]);
    world.run(4 * SECOND);
    assert_eq!(world.state("d"), NodeState::Ready, "nobody waits for it");

    world.resume("c");
    world.run(SECOND);
    world.assert_settled();
    assert_eq!((world.incarnation_of("c", "a"), world.stream("a", "c")), (Some(life), link));
}

#[test]
fn a_node_whose_application_hangs_does_not_become_ready_and_relays_nothing() {
    let mut world = World::new();
    world.start("a", &[]);
    world.start("b", &["e"]);
    world.hang("b");
    world.run(12 * SECOND);
    world.start("e", &["a"]);
    world.run(4 * SECOND);
    assert_eq!((world.state("b"), world.members("a")), (NodeState::Hung, vec![id("a"), id("e")]));
    world.cut("a", "e");
    world.run(8 * SECOND);
    assert_eq!(world.route("a", "e"), None, "b is the only way");
    world.resume("b");
    world.run(4 * SECOND);
    assert!(world.state("b") == NodeState::Ready && world.route("a", "e").is_some());
}

#[test]
fn a_hello_that_took_long_does_not_undo_what_gossip_has_told_since() {
    let mut world = cluster(&["a", "b", "c", "d"]);
    for name in ["b", "d"] {
        world.kill(name);
        world.start(name, &["a"]);
    }
    world.run(4 * SECOND);
    world.assert_settled();
}
