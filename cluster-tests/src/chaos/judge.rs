//! Whether a play kept what is promised. No I/O.

use std::collections::BTreeMap;
use std::time::Duration;

use super::checker::{Fault, Verdict};
use super::history::{Ending, History, NodeLife};
use super::process::{Counted, gone, name_of, number_of};
use super::scenario::{Cast, Role, Scenario};
use super::stage::Played;
use crate::counters::{Counters, PeerCounts};

/// What is said of a play.
#[derive(Debug)]
pub struct Judgement {
    /// The figures.
    pub verdict: Verdict,
    /// How many messages the nodes counted as lost.
    pub counted: u64,
    /// Every promise that was broken, in time order.
    pub broken: Vec<Fault>,
}

impl Judgement {
    /// Judges a play.
    #[must_use]
    pub fn of(scenario: &Scenario, played: &Played) -> Self {
        let verdict = Verdict::of(&played.history);
        let counted = counted(&played.history, &verdict, &played.counted);
        let mut broken = played.unwell.clone();
        broken.extend(verdict.faults());
        broken.extend(forbidden_losses(scenario, played, &verdict));
        let miscounted = miscounted(&played.history, &verdict, &played.counted);
        broken.extend(miscounted.into_iter().map(|what| (Duration::MAX, what)));
        broken.extend(lost_connections(scenario, &played.history));
        broken.extend(false_deaths(scenario, played));
        broken.extend(unnoticed_deaths(scenario, played));
        broken.sort();
        Self { verdict, counted, broken }
    }
}

/// Losses between nodes that may not lose anything, one for each pair of nodes.
fn forbidden_losses(scenario: &Scenario, played: &Played, verdict: &Verdict) -> Vec<Fault> {
    let allowed: Vec<_> = played.cast.nodes(scenario.promise.may_lose).collect();
    let mut pairs: BTreeMap<(usize, usize), (Duration, usize)> = BTreeMap::new();
    for (at, by, (from, _)) in &verdict.lost {
        let number = |client| played.history.node_of(client).map(|node| node.number);
        let (Some(from), Some(by)) = (number(*from), number(*by)) else { continue };
        if !allowed.contains(&from) && !allowed.contains(&by) {
            pairs.entry((from, by)).or_insert((*at, 0)).1 += 1;
        }
    }
    let say = |((from, by), (at, count)): ((usize, usize), (Duration, usize))| {
        (at, format!("lost: {count} receipts at {} of what {} emitted", name_of(by), name_of(from)))
    };
    pairs.into_iter().map(say).collect()
}

/// Where two nodes did not both count exactly what one misses of the other.
#[must_use]
pub fn miscounted(history: &History, verdict: &Verdict, counted: &Counted) -> Vec<String> {
    let mut differences = Vec::new();
    for (from, to, fewest, most) in living_pairs(history, verdict) {
        let (Some(sender), Some(receiver)) = (counted.get(&from), counted.get(&to)) else { continue };
        let name = format!("of {} to {}", name_of(from), name_of(to));
        let told = told(sender, to, receiver).map_or(0, PeerCounts::told);
        let missed = told_by_receiver(sender, from, receiver);
        let range = if fewest == most { fewest.to_string() } else { format!("{fewest} to {most}") };
        if !(fewest..=most).contains(&told) || missed != told {
            differences.push(format!(
                "counted: {range} messages {name} are missing; the sender counted {told}, the receiver {missed}"
            ));
        }
        let books = self::told(sender, to, receiver).filter(|peer| peer.sent != peer.settled + peer.lost);
        differences.extend(books.map(|peer| format!("counted: the books {name} do not balance: {peer:?}")));
    }
    differences
}

/// Pairs of nodes that both live at the end, with what is missing between them at least and at most.
fn living_pairs<'a>(
    history: &'a History,
    verdict: &'a Verdict,
) -> impl Iterator<Item = (usize, usize, u64, u64)> + 'a {
    verdict.missing.iter().filter_map(|((from, to), (fewest, most))| {
        let (from, to) = (history.nodes.get(*from)?, history.nodes.get(*to)?);
        let alive = from.ended.is_none() && to.ended.is_none();
        alive.then_some((from.number, to.number, *fewest, *most))
    })
}

/// What the sender counted for the present life of the receiver.
fn told<'a>(sender: &'a Counters, to: usize, receiver: &Counters) -> Option<&'a PeerCounts> {
    sender.peer(&name_of(to), receiver.incarnation?)
}

/// What the receiver counted of the present life of the sender.
fn told_by_receiver(sender: &Counters, from: usize, receiver: &Counters) -> u64 {
    let peer = sender.incarnation.and_then(|life| receiver.peer(&name_of(from), life));
    peer.map_or(0, |peer| peer.missed)
}

/// How many messages the nodes that live counted as lost.
fn counted(history: &History, verdict: &Verdict, counted: &Counted) -> u64 {
    let pairs = living_pairs(history, verdict);
    pairs.filter_map(|(from, to, ..)| Some(told(counted.get(&from)?, to, counted.get(&to)?)?.told())).sum()
}

/// Connections that ended though their node lived.
fn lost_connections(scenario: &Scenario, history: &History) -> Vec<Fault> {
    let promise = scenario.promise;
    let must_stay = |resident| if resident { !promise.may_disconnect } else { promise.official_stay };
    let ended = history.clients.iter().filter(|client| must_stay(client.resident));
    let ended = ended.filter_map(|client| {
        let ended = client.ended?;
        let node = history.nodes.get(client.node)?;
        let with_its_node = node.ended.is_some_and(|(at, _)| ended + MOMENT >= at);
        let what = format!("disconnected: {} lost its connection to {}", client.name, name_of(node.number));
        (!with_its_node).then_some((ended, what))
    });
    ended.collect()
}

/// Members that were missed though they were well.
fn false_deaths(scenario: &Scenario, played: &Played) -> Vec<Fault> {
    let excused: Vec<_> = played.cast.nodes(scenario.promise.may_be_gone).collect();
    let was_ended = |number: usize, at: Duration| {
        let ends =
            played.history.nodes.iter().filter(|node| node.number == number).filter_map(|node| node.ended);
        ends.into_iter().any(|(ended, _)| ended <= at + MOMENT && at < ended + AFTERMATH)
    };
    let mut deaths = Vec::new();
    for (at, by, line) in played.said.lines() {
        for number in gone(&line).into_iter().flatten().filter_map(|name| number_of(&name)) {
            let excused = excused.contains(&number) || excused.contains(&by);
            if !excused && !was_ended(number, at) && !was_ended(by, at) {
                deaths.push((at, format!("false death: {} misses {}", name_of(by), name_of(number))));
            }
        }
    }
    deaths
}

/// Processes that were killed, and that somebody who lived did not miss in time.
fn unnoticed_deaths(scenario: &Scenario, played: &Played) -> Vec<Fault> {
    let Some(limit) = scenario.promise.noticed_within else { return Vec::new() };
    let lives = &played.history.nodes;
    let mut unnoticed = Vec::new();
    for life in lives {
        let Some((at, Ending::Killed)) = life.ended else { continue };
        let (time, number) = (at..=at + limit, life.number);
        if lives.iter().any(|next| next.number == number && time.contains(&next.started)) {
            continue;
        }
        let lives_on =
            |by: &&NodeLife| by.started < at && by.ended.is_none_or(|(ended, _)| ended > at + limit);
        for by in lives.iter().filter(lives_on).map(|by| by.number) {
            let misses = |(said, who, line): &(Duration, usize, String)| {
                let gone = || gone(line).is_some_and(|names| names.contains(&name_of(number)));
                *who == by && time.contains(said) && gone()
            };
            if !played.said.lines().iter().any(misses) {
                let what = format!("unnoticed death: {} does not miss {}", name_of(by), name_of(number));
                unnoticed.push((at + limit, what));
            }
        }
    }
    unnoticed
}

/// The names of the parts, for people.
#[must_use]
pub fn parts(cast: &Cast) -> String {
    let parts = super::scenario::EVERYBODY
        .iter()
        .map(|role: &Role| format!("{role:?} = {}", name_of(cast.node(*role))));
    parts.collect::<Vec<_>>().join(", ")
}

/// What is recorded about an end may come this much later or earlier.
const MOMENT: Duration = Duration::from_secs(1);
/// A node that ended is missed within this time.
const AFTERMATH: Duration = Duration::from_secs(12);
