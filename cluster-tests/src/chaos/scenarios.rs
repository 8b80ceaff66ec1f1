//! The scenarios.

use std::time::Duration;

use super::network::link::Condition;
use super::scenario::{EVERYBODY, Promise, Role, Scenario, Seeds, Setting, Step};
use Role::{A, B, C, D, E};
use Step::{
    AllShares, Between, Clock, Every, From, Hang, Heal, Impostor, Kill, NameServer, NoImpostor, Pause, Ready,
    Resume, Share, Start, Stop,
};

/// Every scenario.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "steady",
        about: "Nothing happens: nothing is lost, and nobody is missed",
        in_ci: true,
        steps: &[(8.0, Heal)],
        ..USUAL
    },
    Scenario {
        name: "loss-and-delay",
        about: "Every way loses 10 % of its packets, doubles 5 %, and takes 15 to 35 ms: nothing is lost",
        in_ci: true,
        steps: &[(1.0, Between(EVERYBODY, EVERYBODY, LOSS)), (11.0, Heal)],
        ..USUAL
    },
    Scenario {
        name: "burst-loss",
        about: "Losses in a row, and packets that overtake each other by 20 ms: nothing is lost",
        steps: &[(1.0, Between(EVERYBODY, EVERYBODY, BURSTS)), (11.0, Heal)],
        ..USUAL
    },
    Scenario {
        name: "slow-node",
        about: "One node has 2 Mbit/s: what does not fit is counted, and only that node misses it",
        steps: &[(1.0, Between(&[A], OTHERS, SLOW)), (11.0, Heal)],
        promise: Promise { may_lose: &[A], may_be_gone: &[A], ..USUAL.promise },
        ..USUAL
    },
    Scenario {
        name: "crash",
        about: "A node is killed, and started again after 4 s: the others lose nothing of each other",
        in_ci: true,
        steps: &[(2.0, Kill(&[A])), (6.0, Start(&[A])), (6.0, Ready(&[A])), (9.0, Heal)],
        promise: Promise { noticed_within: Some(BEFORE_SILENCE), ..USUAL.promise },
        ..USUAL
    },
    Scenario {
        name: "two-crashes",
        about: "Both seeds are killed at once, and started again: the others go on, and find them",
        steps: &[(2.0, Kill(&[A, B])), (6.0, Start(&[A, B])), (6.0, Ready(&[A, B])), (9.0, Heal)],
        promise: Promise { noticed_within: Some(BEFORE_SILENCE), ..USUAL.promise },
        ..USUAL
    },
    Scenario {
        name: "quick-restart",
        about: "A node is killed and started again within 50 ms, four times",
        in_ci: true,
        steps: &[
            (2.0, Kill(&[A])),
            (2.05, Start(&[A])),
            (2.05, Ready(&[A])),
            (4.0, Kill(&[B])),
            (4.05, Start(&[B])),
            (4.05, Ready(&[B])),
            (6.0, Kill(&[A])),
            (6.05, Start(&[A])),
            (6.05, Ready(&[A])),
            (8.0, Kill(&[E])),
            (8.05, Start(&[E])),
            (8.05, Ready(&[E])),
            (10.0, Heal),
        ],
        ..USUAL
    },
    Scenario {
        name: "full-restart",
        about: "All are killed at once, and started again: the cluster is whole again",
        steps: &[(2.0, Kill(EVERYBODY)), (3.0, Start(EVERYBODY)), (3.0, Ready(EVERYBODY)), (6.0, Heal)],
        ..USUAL
    },
    Scenario {
        name: "short-partition",
        about: "Two nodes against three for 6 s: nothing is lost, it comes later",
        in_ci: true,
        steps: &[(1.0, Between(&[A, B], &[C, D, E], Condition::CUT)), (7.0, Heal)],
        promise: Promise { may_be_gone: EVERYBODY, ..USUAL.promise },
        ..USUAL
    },
    Scenario {
        name: "long-partition",
        about: "Two nodes against three for 18 s: what is lost is counted, and within a side nothing is",
        in_ci: true,
        steps: &[(1.0, Between(&[A, B], &[C, D, E], Condition::CUT)), (19.0, Heal)],
        promise: Promise { may_lose: &[A, B], may_be_gone: EVERYBODY, ..USUAL.promise },
        ..USUAL
    },
    Scenario {
        name: "isolated",
        about: "One node against four for 16 s: it serves its own clients, and what is lost is counted",
        steps: &[(1.0, Between(&[A], OTHERS, Condition::CUT)), (17.0, Heal)],
        promise: Promise { may_lose: &[A], may_be_gone: &[A], ..USUAL.promise },
        ..USUAL
    },
    Scenario {
        name: "one-way",
        about: "One node does not reach another for 12 s, which reaches it: others relay, nothing is lost",
        steps: &[(1.0, From(&[A], &[B], Condition::CUT)), (13.0, Heal)],
        ..USUAL
    },
    Scenario {
        name: "partial",
        about: "Two nodes do not reach each other for 14 s: others relay, nothing is lost, nobody is missed",
        in_ci: true,
        steps: &[(1.0, Between(&[A], &[B], Condition::CUT)), (15.0, Heal)],
        ..USUAL
    },
    Scenario {
        name: "flapping",
        about: "The way between two nodes comes and goes every 700 ms: nothing is lost, nobody is missed",
        steps: FLAPPING,
        ..USUAL
    },
    Scenario {
        name: "chain",
        about: "Each node reaches its neighbours only, for 14 s: one hop is relayed, what is lost is counted",
        steps: &[
            (1.0, Between(&[A], &[C, D, E], Condition::CUT)),
            (1.0, Between(&[B], &[D, E], Condition::CUT)),
            (1.0, Between(&[C], &[E], Condition::CUT)),
            (15.0, Heal),
        ],
        promise: Promise { may_lose: EVERYBODY, may_be_gone: EVERYBODY, ..USUAL.promise },
        ..USUAL
    },
    Scenario {
        name: "short-pause",
        about: "Nodes stand still for up to 1.8 s: nothing is lost, nobody is missed",
        in_ci: true,
        steps: &[
            (1.0, Pause(A)),
            (1.3, Resume(A)),
            (2.5, Pause(B)),
            (3.5, Resume(B)),
            (5.0, Pause(C)),
            (6.8, Resume(C)),
            (9.0, Heal),
        ],
        ..USUAL
    },
    Scenario {
        name: "long-pause",
        about: "A node stands still for 14 s and comes back: it declares nobody dead, what is lost is counted",
        steps: &[(1.0, Pause(A)), (15.0, Resume(A)), (17.0, Heal)],
        promise: Promise { may_lose: &[A], may_be_gone: &[A], ..USUAL.promise },
        ..USUAL
    },
    Scenario {
        name: "hung-application",
        about: "The application of a node hangs for 12 s, its mesh does not: the others go on without it",
        steps: &[(1.0, Hang(A)), (15.0, Heal)],
        promise: Promise { may_lose: &[A], may_be_gone: &[A], ..USUAL.promise },
        ..USUAL
    },
    Scenario {
        name: "clock-jump",
        about: "The clock of a node jumps an hour ahead, and two back; it restarts in the past: nothing is lost",
        setting: Setting { clocks: true, ..USUAL.setting },
        steps: &[
            (1.0, Clock(A, 3600)),
            (3.0, Clock(A, -3600)),
            (5.0, Clock(B, 86_400)),
            (6.0, Kill(&[A])),
            (6.5, Start(&[A])),
            (6.5, Ready(&[A])),
            (9.0, Heal),
        ],
        ..USUAL
    },
    Scenario {
        name: "small-mtu",
        about: "Packets above 1300 bytes vanish on every way: the mesh finds a size that passes, nothing is lost",
        steps: &[
            (1.0, Between(EVERYBODY, EVERYBODY, Condition { mtu: 1300, ..Condition::PERFECT })),
            (12.0, Heal),
        ],
        ..USUAL
    },
    Scenario {
        name: "black-hole",
        about: "Packets above 1200 bytes vanish between one node and the others, less than QUIC needs: what is lost is counted",
        steps: &[(1.0, Between(&[A], OTHERS, Condition { mtu: 1200, ..Condition::PERFECT })), (15.0, Heal)],
        promise: Promise { may_lose: &[A], may_be_gone: &[A], ..USUAL.promise },
        ..USUAL
    },
    Scenario {
        name: "names-gone",
        about: "The name server falls silent, then a node restarts: the others dial it, and it is ready",
        setting: Setting { seeds: Seeds::Name, ..USUAL.setting },
        steps: &[
            (1.0, NameServer(false)),
            (2.0, Kill(&[A])),
            (2.5, Start(&[A])),
            (2.5, Ready(&[A])),
            (8.0, NameServer(true)),
            (9.0, Heal),
        ],
        ..USUAL
    },
    Scenario {
        name: "virtual-address",
        about: "The seed is one address in front of all nodes, the own one among them: one cluster",
        in_ci: true,
        setting: Setting { seeds: Seeds::Virtual, ..USUAL.setting },
        steps: &[(2.0, Kill(&[A])), (3.0, Start(&[A])), (3.0, Ready(&[A])), (6.0, Heal)],
        ..USUAL
    },
    Scenario {
        name: "same-address",
        about: "All nodes have the same address inside of a gateway each: one cluster, nothing is lost",
        setting: Setting { same_address: true, ..USUAL.setting },
        steps: &[(2.0, Kill(&[A])), (3.0, Start(&[A])), (3.0, Ready(&[A])), (6.0, Heal)],
        ..USUAL
    },
    Scenario {
        name: "name-taken-twice",
        about: "A second process has the name of a node for 6 s: the nodes that are not concerned lose nothing",
        steps: &[(1.0, Impostor(A)), (7.0, NoImpostor), (12.0, Heal)],
        promise: Promise { may_lose: &[A], may_be_gone: &[A], may_disconnect: true, ..USUAL.promise },
        ..USUAL
    },
    Scenario {
        name: "little-processor",
        about: "A node has 2 % of a core for 12 s: the others lose nothing of each other",
        steps: &[(1.0, Share(A, 2)), (13.0, AllShares), (14.0, Heal)],
        promise: Promise { may_lose: &[A], may_be_gone: &[A], may_disconnect: true, ..USUAL.promise },
        ..USUAL
    },
    Scenario {
        name: "overload",
        about: "Clients emit as fast as a machine can carry for 5 s: what is lost is counted, nobody is missed",
        steps: &[(1.0, Every(4)), (6.0, Every(100)), (10.0, Heal)],
        promise: Promise { may_lose: EVERYBODY, may_disconnect: true, official_stay: false, ..USUAL.promise },
        ..USUAL
    },
    Scenario {
        name: "stopped-in-order",
        about: "A node is stopped and started again: nothing that it acknowledged is lost",
        steps: &[(2.0, Stop(A)), (4.0, Start(&[A])), (4.0, Ready(&[A])), (7.0, Heal)],
        ..USUAL
    },
    Scenario {
        name: "rolling-restart",
        about: "Every node is stopped and started again, one after another: nothing acknowledged is lost",
        in_ci: true,
        steps: &[
            (1.0, Stop(A)),
            (1.2, Start(&[A])),
            (1.2, Ready(&[A])),
            (3.0, Stop(B)),
            (3.2, Start(&[B])),
            (3.2, Ready(&[B])),
            (5.0, Stop(C)),
            (5.2, Start(&[C])),
            (5.2, Ready(&[C])),
            (7.0, Stop(D)),
            (7.2, Start(&[D])),
            (7.2, Ready(&[D])),
            (9.0, Stop(E)),
            (9.2, Start(&[E])),
            (9.2, Ready(&[E])),
            (11.0, Heal),
        ],
        ..USUAL
    },
    Scenario {
        name: "rolling-crash",
        about: "Every node is killed and started again, 2 s apart: those that live lose nothing of each other",
        steps: &[
            (1.0, Kill(&[A])),
            (1.5, Start(&[A])),
            (3.0, Kill(&[B])),
            (3.5, Start(&[B])),
            (5.0, Kill(&[C])),
            (5.5, Start(&[C])),
            (7.0, Kill(&[D])),
            (7.5, Start(&[D])),
            (9.0, Kill(&[E])),
            (9.5, Start(&[E])),
            (9.5, Ready(EVERYBODY)),
            (12.0, Heal),
        ],
        ..USUAL
    },
    Scenario {
        name: "two-clusters",
        about: "Two clusters with one seed list and two secrets: neither hears a word of the other",
        setting: Setting { two_clusters: true, ..USUAL.setting },
        steps: &[(2.0, Kill(&[E])), (3.0, Start(&[E])), (3.0, Ready(&[E])), (8.0, Heal)],
        ..USUAL
    },
    Scenario {
        name: "join-storm",
        about: "Clients join and leave a room all the time: what follows an acknowledged join arrives",
        setting: Setting { storm: true, ..USUAL.setting },
        steps: &[(1.0, Every(20)), (8.0, Every(100)), (10.0, Heal)],
        ..USUAL
    },
    Scenario {
        name: "crash-in-partition",
        about: "A node dies and comes back while others are cut off for 9 s: whoever lives loses nothing",
        steps: &[
            (1.0, Between(&[A], &[B, C], Condition::CUT)),
            (3.0, Kill(&[D])),
            (5.0, Start(&[D])),
            (10.0, Heal),
            (10.0, Ready(&[D])),
            (13.0, Heal),
        ],
        promise: Promise { may_be_gone: EVERYBODY, ..USUAL.promise },
        ..USUAL
    },
];

const USUAL: Scenario = Scenario {
    name: "",
    about: "",
    in_ci: false,
    setting: Setting {
        seeds: Seeds::Addresses,
        same_address: false,
        two_clusters: false,
        clocks: false,
        storm: false,
    },
    steps: &[],
    promise: Promise {
        may_lose: &[],
        may_be_gone: &[],
        may_disconnect: false,
        official_stay: false,
        noticed_within: None,
    },
};

/// A second is promised. What has the processor to itself needs less, and nothing but the other machine's word explains this.
const BEFORE_SILENCE: Duration = Duration::from_millis(2900);

const OTHERS: &[Role] = &[B, C, D, E];

const LOSS: Condition = Condition {
    loss: 0.1,
    duplication: 0.05,
    delay: Duration::from_millis(15),
    jitter: Duration::from_millis(20),
    ..Condition::PERFECT
};

const BURSTS: Condition =
    Condition { burst: (0.01, 0.2), jitter: Duration::from_millis(20), ..Condition::PERFECT };

const SLOW: Condition = Condition { rate: Some(250_000), ..Condition::PERFECT };

const fn cut() -> Step {
    Between(&[A], &[B], Condition::CUT)
}

const fn passing() -> Step {
    Between(&[A], &[B], Condition::PERFECT)
}

const FLAPPING: &[(f32, Step)] = &[
    (1.0, cut()),
    (1.7, passing()),
    (2.4, cut()),
    (3.1, passing()),
    (3.8, cut()),
    (4.5, passing()),
    (5.2, cut()),
    (5.9, passing()),
    (6.6, cut()),
    (7.3, passing()),
    (8.0, cut()),
    (8.7, passing()),
    (9.4, cut()),
    (10.1, passing()),
    (10.8, cut()),
    (12.5, Heal),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn scenarios_have_names_of_their_own_and_their_steps_come_in_order_and_heal_everything() {
        let names: BTreeSet<_> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
        assert_eq!(names.len(), SCENARIOS.len());
        for scenario in SCENARIOS {
            assert!(scenario.steps.is_sorted_by_key(|(at, _)| *at), "{}", scenario.name);
            assert!(matches!(scenario.steps.last(), Some((_, Heal))), "{}", scenario.name);
        }
    }

    #[test]
    fn ten_scenarios_are_played_with_every_change() {
        assert_eq!(SCENARIOS.iter().filter(|scenario| scenario.in_ci).count(), 10);
        assert!(SCENARIOS.len() >= 24);
    }
}
