//! Who a node is, and where: an address is no identity.

use super::*;
use crate::cluster::address::OwnAddress;

fn socket(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

#[test]
fn a_seed_that_leads_back_to_the_node_itself_never_makes_it_ready_alone() {
    let mut world = World::new();
    world.serve("v", &["a"], &[]);
    world.start("a", &["v"]);
    world.run(60 * SECOND);
    assert_eq!(world.state("a"), NodeState::Joining);
    assert!(world.obstacle("a").contains("v (leads back to this node)"), "{}", world.obstacle("a"));
}

#[test]
fn nodes_behind_one_address_find_each_other_although_it_leads_each_to_itself() {
    let mut world = World::new();
    world.serve("v", &["a", "b", "c"], &[("a", "a"), ("b", "b"), ("c", "c")]);
    for name in ["a", "b", "c"] {
        world.start(name, &["v"]);
    }
    world.run(10 * SECOND);
    world.assert_settled();
}

#[test]
fn pairs_that_found_each_other_behind_one_address_become_one_cluster() {
    let mut world = World::new();
    let pins = [("a", "b"), ("b", "a"), ("c", "d"), ("d", "c")];
    world.serve("v", &["a", "b", "c", "d"], &pins);
    for (name, _) in pins {
        world.start(name, &["v"]);
    }
    world.run(70 * SECOND);
    world.assert_settled();
}

#[test]
fn a_restarted_node_is_ready_when_ready_members_link_it_although_its_seed_has_no_address() {
    let mut world = cluster(&["a", "b", "c"]);
    world.names_fail = true;
    world.kill("c");
    world.start("c", &["a"]);
    world.run(4 * SECOND);
    world.assert_settled();
}

#[test]
fn a_link_with_a_node_that_is_not_ready_is_no_cluster() {
    let mut world = World::new();
    world.start("a", &["nobody"]);
    world.start("b", &["nobody"]);
    world.start("c", &["a", "b"]);
    world.run(5 * SECOND);
    let found = |name| world.members(name).len();
    assert_eq!((found("a"), found("b"), found("c")), (3, 3, 3));
    assert_eq!(
        (world.state("a"), world.state("c")),
        (NodeState::Ready, NodeState::Ready),
        "c found its seeds"
    );
}

#[test]
fn containers_with_one_and_the_same_address_are_several_members_that_reach_each_other() {
    let mut world = World::new();
    let inner = OwnAddress::at(socket("172.17.0.2:7946"));
    for (name, host) in [("a", "10.0.0.1:7946"), ("b", "10.0.0.2:7946"), ("c", "10.0.0.3:7946")] {
        world.start_behind(name, if name == "a" { &[] } else { &["a"] }, inner, socket(host));
    }
    world.run(15 * SECOND);
    world.assert_settled();
    for name in ["a", "b", "c"] {
        assert_eq!(world.members(name).len(), 3);
        let itself = format!("{name} answers there");
        assert!(
            world.reports(name).iter().any(|reason| reason.contains(&itself)),
            "{:?}",
            world.reports(name)
        );
    }
}

#[test]
fn an_address_at_which_nobody_is_reached_is_told_to_the_node_that_advertises_it() {
    let mut world = cluster(&["a", "b"]);
    let own =
        OwnAddress { advertised: Some(socket("10.9.9.9:1")), ..OwnAddress::at(socket("10.1.1.1:7946")) };
    world.start_behind("c", &["a"], own, socket("10.0.0.9:7946"));
    world.run(10 * SECOND);
    world.assert_settled();
    for name in ["a", "b"] {
        assert_eq!(world.reports(name), ["no answer in time"]);
        assert_eq!(world.address_of("c", name), Some(socket("10.0.0.9:7946")), "where its packets come from");
    }
    world.break_link("a", "c");
    world.run(4 * SECOND);
    world.assert_settled();
    assert_eq!(world.reports("a").len(), 1, "it was said");
}

#[test]
fn an_address_that_holds_is_reported_to_nobody_and_dialled_back_at_most_once() {
    let mut world = cluster(&["a", "b"]);
    // Behind a translation of addresses, with a port that is forwarded.
    let own = OwnAddress { advertised: Some(address("d")), ..OwnAddress::at(socket("192.168.0.7:7946")) };
    world.start_behind("d", &["a"], own, address("d"));
    world.run(10 * SECOND);
    world.assert_settled();
    assert!(world.reports("a").is_empty() && world.reports("b").is_empty());
}

#[test]
fn a_loopback_address_is_neither_gossiped_nor_believed() {
    let (mut world, loopback) = (World::new(), socket("127.0.0.1:7946"));
    let anywhere = OwnAddress { bound: socket("0.0.0.0:7946"), advertised: None, first: loopback };
    world.start_behind("a", &[], anywhere, address("a"));
    world.start("b", &["a"]);
    world.run(3 * SECOND);
    world.assert_settled();
    assert_eq!(world.announced("a"), None);
    assert_eq!(world.address_of("a", "b"), Some(address("a")), "where its packets come from");
    let all_here = OwnAddress::at(loopback);
    world.start_behind("c", &[], all_here, loopback);
    world.run(3 * SECOND);
    assert_eq!(world.announced("c"), Some(loopback), "whom it meets is on its machine");
}

#[test]
fn a_node_that_is_bound_to_every_address_tells_the_one_that_its_packets_carry() {
    let mut world = World::new();
    let anywhere = OwnAddress { bound: socket("[::]:7946"), advertised: None, first: socket("[::1]:7946") };
    world.start_behind("a", &[], anywhere, address("a"));
    world.route_over("a", address("a").ip());
    world.start("b", &["a"]);
    world.run(3 * SECOND);
    assert_eq!(world.announced("a"), Some(address("a")));
    assert_eq!(world.address_of("a", "a"), Some(address("a")));
}

#[test]
fn an_older_life_that_a_member_dials_hears_that_it_is_one() {
    let mut world = cluster(&["a", "b"]);
    world.greet_with_newer_life("b", "a");
    assert_eq!(world.state("b"), NodeState::Joining);
    assert!(world.obstacle("b").contains("newer life"), "{}", world.obstacle("b"));
    world.run(OUTDATED + TICK);
    assert_eq!(world.state("b"), NodeState::Ready, "nobody says so any more");
}

#[test]
fn nobody_answers_for_another_through_a_relay() {
    let mut world = cluster(&["a", "b", "c"]);
    let (life, link) = (world.incarnation("c"), world.stream("b", "c"));
    let next = Incarnation(life.0 + 1);
    for said in [life, next] {
        world.relay_hello("b", "c", "a", said);
        assert_eq!((world.incarnation_of("c", "b"), world.stream("b", "c")), (Some(life), link));
        world.run(5 * SECOND);
        world.assert_settled();
        assert_eq!(world.stream("b", "c"), link, "the link of c itself");
    }
    world.cut("b", "c");
    world.run(2 * SECOND);
    world.relay_hello("b", "c", "a", next);
    assert_eq!(world.incarnation_of("c", "b"), Some(life), "nor while c does not answer");
    world.run(4 * SECOND);
    assert_eq!(world.link("b", "c"), LinkState::Relayed, "c itself may be relayed");
}

#[test]
fn gossip_of_another_life_counts_only_when_the_link_does_not_answer() {
    let mut world = cluster(&["a", "b", "c"]);
    let (life, link) = (world.incarnation("c"), world.stream("b", "c"));
    let rumoured = Incarnation(u64::MAX);
    world.rumour("b", "c", rumoured);
    assert_eq!((world.incarnation_of("c", "b"), world.stream("b", "c")), (Some(life), link));
    world.cut("b", "c");
    world.run(Duration::from_millis(2500));
    world.rumour("b", "c", rumoured);
    assert_eq!(
        world.incarnation_of("c", "b"),
        Some(rumoured),
        "c may have been restarted where b cannot reach it"
    );
}

#[test]
fn what_gossip_says_of_another_life_is_remembered_until_the_link_is_silent() {
    let mut world = cluster(&["a", "b", "c"]);
    world.rumour("b", "c", Incarnation(u64::MAX));
    world.cut("b", "c");
    world.stop_gossip("b");
    world.run(4 * SECOND);
    assert_eq!(world.incarnation_of("c", "b"), Some(Incarnation(u64::MAX)), "nobody has said it again");
}

#[test]
fn a_wrong_clock_keeps_no_node_out_that_speaks_for_itself() {
    for life in [Incarnation(1), Incarnation(u64::MAX - 1)] {
        let mut world = cluster(&["a", "b"]);
        world.kill("b");
        world.run(20 * SECOND);
        world.start("b", &["a"]);
        world.greet_as("a", "b", life);
        assert_eq!(world.incarnation_of("b", "a"), Some(life));
    }
}
