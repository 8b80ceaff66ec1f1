//! Many nodes that start at once.

use std::collections::BTreeMap;

use super::*;

const NAMES: [&str; 26] = [
    "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q", "r", "s", "t", "u",
    "v", "w", "x", "y", "z",
];
const PAIRS: usize = NAMES.len() * (NAMES.len() - 1) / 2;

fn start_all() -> World {
    let mut world = World::new();
    NAMES.iter().for_each(|name| world.start(name, &["a"]));
    world
}

#[test]
fn nodes_that_start_together_dial_few_at_once_and_hardly_a_pair_twice() {
    let mut world = start_all();
    while NAMES.iter().any(|name| world.state(name) != NodeState::Ready) {
        world.step();
        for name in NAMES {
            // Eight members, eight nodes that others named, and the seed.
            assert!(world.open_dials(name) <= 17, "{name} dials {}", world.open_dials(name));
        }
    }
    world.run(2 * SECOND);
    world.assert_settled();
    let dials: usize = NAMES.iter().map(|name| world.dial_count(name)).sum();
    assert!((PAIRS..PAIRS * 3 / 2).contains(&dials), "{dials} dials for {PAIRS} links");
}

#[test]
fn a_cluster_in_which_all_is_well_gossips_as_little_as_a_small_one() {
    let mut world = start_all();
    world.run(6 * SECOND);
    world.assert_settled();
    world.clear_history();
    world.run(10 * SECOND);
    for name in NAMES {
        assert_eq!(world.misses(name), Vec::<NodeId>::new());
        assert!(!world.announces(name), "{name} says something although nothing changed");
    }
    world.cut("a", "b");
    world.run(6 * SECOND);
    assert_eq!((world.misses("a"), world.misses("c")), (vec![id("b")], Vec::new()));
}

#[test]
fn no_member_relays_for_everybody() {
    let mut world = start_all();
    world.run(6 * SECOND);
    let (one, rest) = NAMES.split_at(4);
    for (a, b) in one.iter().flat_map(|a| rest[..8].iter().map(move |b| (*a, *b))) {
        world.cut(a, b);
    }
    world.run(8 * SECOND);
    let mut load = BTreeMap::new();
    for (a, b) in one.iter().flat_map(|a| rest[..8].iter().map(move |b| (*a, *b))) {
        assert_eq!(world.link(a, b), LinkState::Relayed, "{a} and {b}");
        *load.entry(world.relay(a, b)).or_insert(0) += 1;
    }
    assert!(load.len() >= 8 && load.values().all(|pairs| *pairs <= 8), "{load:?}");
}
