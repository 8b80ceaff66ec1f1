//! A process that ended is known by its machine, and then by all.

use super::*;

fn members_without(names: &[&str], gone: &str) -> Vec<NodeId> {
    names.iter().filter(|name| **name != gone).map(|name| id(name)).collect()
}

#[test]
fn a_killed_process_leaves_every_ring_within_a_second_whenever_it_is_killed() {
    let names = ["a", "b", "c", "d"];
    for offset in 0..10 {
        let mut world = cluster(&names);
        world.run(Duration::from_millis(50 * offset));
        world.kill_process("d");
        world.run(SECOND);
        for name in ["a", "b", "c"] {
            assert_eq!(world.members(name), members_without(&names, "d"), "{name}, {offset}");
        }
        // Gossip takes it for alive for a while.
        for _ in 0..40 {
            world.run(SECOND / 2);
            assert_eq!(world.members("a"), members_without(&names, "d"));
        }
    }
}

#[test]
fn two_processes_that_are_killed_together_leave_every_ring_within_a_second() {
    let mut world = cluster(&["a", "b", "c", "d"]);
    world.kill_process("b");
    world.kill_process("d");
    world.run(SECOND);
    assert_eq!((world.members("a"), world.members("c")), (vec![id("a"), id("c")], vec![id("a"), id("c")]));
}

#[test]
fn a_member_that_only_one_other_is_refused_by_stays_a_member_and_is_reached_through_another() {
    let names = ["a", "b", "c", "d"];
    let mut world = cluster(&names);
    // As a firewall between a and d does.
    world.cut("a", "d");
    let link = world.link_id("a", "d").unwrap();
    world.refuse("a", "d", link);
    assert_eq!(world.link("a", "d"), LinkState::Down);
    for _ in 0..20 {
        world.run(SECOND / 2);
        assert_eq!(world.members("a").len(), 4);
    }
    assert_eq!((world.link("a", "d"), world.link("b", "d")), (LinkState::Relayed, LinkState::Up));
    world.heal();
    world.run(4 * SECOND);
    world.assert_settled();
}

#[test]
fn a_node_that_all_are_refused_by_and_that_lives_is_a_member_again_when_it_is_reached() {
    let mut world = cluster(&["a", "b"]);
    world.cut("a", "b");
    for (name, other) in [("a", "b"), ("b", "a")] {
        let link = world.link_id(name, other).unwrap();
        world.refuse(name, other, link);
    }
    assert_eq!(world.members("a"), [id("a")], "there is nobody else who could reach it");
    let life = world.incarnation("b");
    world.heal();
    world.run(3 * SECOND);
    world.assert_settled();
    assert_eq!(world.incarnation_of("b", "a"), Some(life), "with its sessions");
}

#[test]
fn a_refusal_is_forgotten_and_a_node_that_others_reach_again_stays_a_member() {
    let mut world = cluster(&["a", "c", "d"]);
    for name in ["a", "c"] {
        world.cut(name, "d");
        let link = world.link_id(name, "d").unwrap();
        world.refuse(name, "d", link);
    }
    world.run(SECOND);
    assert_eq!((world.members("a").len(), world.members("c").len()), (2, 2), "nobody reaches d");
    world.heal();
    world.cut("a", "d");
    world.run(20 * SECOND);
    for _ in 0..60 {
        world.run(SECOND);
        assert_eq!((world.members("a").len(), world.members("c").len()), (3, 3), "c reaches d");
    }
    assert_eq!((world.link("a", "d"), world.state("a")), (LinkState::Relayed, NodeState::Ready));
    // Long after, what c said once counts for nothing.
    world.heal();
    world.run(5 * SECOND);
    world.assert_settled();
    world.cut("a", "d");
    let link = world.link_id("a", "d").unwrap();
    world.refuse("a", "d", link);
    world.run(SECOND);
    assert_eq!(world.members("a").len(), 3);
}

#[test]
fn what_a_member_says_about_a_node_that_answers_changes_nothing() {
    let mut world = cluster(&["a", "b", "c"]);
    let (link, life) = (world.stream("a", "c"), world.incarnation("c"));
    world.tell_refused("a", "b", "c", life);
    world.run(3 * SECOND);
    world.assert_settled();
    assert_eq!(world.stream("a", "c"), link);
}

#[test]
fn a_process_that_is_started_anew_at_once_is_a_member_with_its_new_life() {
    let mut world = cluster(&["a", "b", "c"]);
    world.kill_process("c");
    world.start("c", &["a"]);
    let life = world.incarnation("c");
    world.run(SECOND);
    assert_eq!(world.incarnation_of("c", "b"), Some(life));
    world.run(4 * SECOND);
    world.assert_settled();
}
