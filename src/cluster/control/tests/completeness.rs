//! A node is ready only while it reaches whom others reach, and of a split one side goes on serving.

use super::*;

/// Runs, and checks all the time that these nodes take clients.
fn run_ready(world: &mut World, time: Duration, names: &[&'static str]) {
    let end = world.now() + time;
    while world.now() < end {
        world.step();
        for name in names {
            assert_eq!(world.state(name), NodeState::Ready, "{name}: {}", world.obstacle(name));
        }
    }
}

/// Four nodes in a row: each has links to its neighbours only.
fn chain() -> World {
    let mut world = cluster(&["a", "b", "c", "d"]);
    cut_to_chain(&mut world);
    world
}

fn cut_to_chain(world: &mut World) {
    for (one, other) in [("a", "c"), ("a", "d"), ("b", "d")] {
        world.cut(one, other);
    }
}

#[test]
fn a_node_that_misses_a_member_that_others_reach_takes_no_clients_and_says_whom_it_misses() {
    let mut world = chain();
    run_ready(&mut world, 15 * SECOND, &["a", "b", "c"]);
    assert_eq!(world.state("d"), NodeState::Joining);
    let obstacle = world.obstacle("d");
    assert!(
        obstacle.contains("misses members that others reach: a (10.0.0.97:7946: no answer in time)"),
        "{obstacle}"
    );
    assert_eq!((world.link("d", "b"), world.link("d", "a")), (LinkState::Relayed, LinkState::Down));
    run_ready(&mut world, 60 * SECOND, &["a", "b", "c"]);
    assert_eq!(world.state("d"), NodeState::Joining, "it does not change its mind");
    world.heal();
    run_ready(&mut world, 8 * SECOND, &["a", "b", "c"]);
    world.assert_settled();
}

#[test]
fn of_two_groups_that_hang_together_by_one_link_exactly_one_goes_on_serving() {
    let names = ["a", "b", "c", "d", "e", "f"];
    let mut world = cluster(&names);
    for one in ["a", "b", "c"] {
        for other in ["d", "e", "f"].into_iter().filter(|other| (one, *other) != ("c", "d")) {
            world.cut(one, other);
        }
    }
    run_ready(&mut world, 30 * SECOND, &["a", "b", "c", "d"]);
    for (one, other) in [("e", "a"), ("f", "a")] {
        assert_eq!(world.state(one), NodeState::Joining);
        assert!(world.obstacle(one).contains(other), "{}", world.obstacle(one));
        assert_eq!(world.members(one).len(), 6, "nobody is dead");
    }
    world.heal();
    run_ready(&mut world, 10 * SECOND, &["a", "b", "c", "d"]);
    world.assert_settled();
}

#[test]
fn both_sides_of_a_cut_that_nothing_crosses_go_on_serving_as_clusters_of_their_own() {
    let names = ["a", "b", "c", "d", "e"];
    let mut world = cluster(&names);
    for one in ["a", "b"] {
        for other in ["c", "d", "e"] {
            world.cut(one, other);
        }
    }
    run_ready(&mut world, 60 * SECOND, &names);
    assert_eq!((world.members("a").len(), world.members("c").len()), (2, 3));
    world.heal();
    run_ready(&mut world, 8 * SECOND, &names);
    world.assert_settled();
}

#[test]
fn a_death_a_lost_link_or_a_cut_that_a_relay_mends_costs_nobody_its_readiness() {
    let names = ["a", "b", "c", "d"];
    let mut world = cluster(&["a", "b", "c", "d", "e"]);
    world.kill("e");
    run_ready(&mut world, 15 * SECOND, &names);
    for _ in 0..20 {
        world.break_link("a", "b");
        world.forget_link("c", "a");
        run_ready(&mut world, SECOND, &names);
    }
    world.cut("a", "b");
    run_ready(&mut world, 30 * SECOND, &names);
    world.heal();
    run_ready(&mut world, 10 * SECOND, &names);
    world.assert_settled();
}

#[test]
fn a_node_that_cannot_join_costs_no_other_its_readiness() {
    let mut world = cluster(&["a", "b", "c"]);
    world.cut("d", "a");
    world.cut("d", "b");
    world.cut("a", "c");
    world.start("d", &["c"]);
    run_ready(&mut world, 30 * SECOND, &["a", "b", "c"]);
    assert_eq!(world.state("d"), NodeState::Joining);
    assert!(world.obstacle("d").contains("members do not answer: a"), "{}", world.obstacle("d"));
}

#[test]
fn a_restarted_node_waits_for_whom_it_cannot_reach_and_serves_after_a_bound_on_the_serving_side() {
    let mut world = chain();
    world.run(10 * SECOND);
    world.kill("a");
    world.run(7 * SECOND);
    world.start("a", &["b"]);
    world.run(5 * SECOND);
    assert_eq!(world.state("a"), NodeState::Joining);
    assert!(world.obstacle("a").contains("members do not answer: d"), "{}", world.obstacle("a"));
    world.run(10 * SECOND);
    run_ready(&mut world, 30 * SECOND, &["a", "b", "c"]);
    assert_eq!(world.state("d"), NodeState::Joining, "it is on the other side");
}

#[test]
fn a_member_to_which_there_is_no_way_is_known_as_such_when_both_ends_have_given_up_their_link() {
    let mut world = chain();
    world.run(3 * SECOND);
    assert!(world.unreached("a").is_empty(), "d may still hold an end of the link");
    world.run(7 * SECOND);
    assert_eq!((world.unreached("a"), world.unreached("d")), (vec![id("d")], vec![id("a")]));
    assert!(world.unreached("b").is_empty(), "where a relay leads, there is a way");
    world.heal();
    world.run(5 * SECOND);
    assert!(world.unreached("a").is_empty());
}
