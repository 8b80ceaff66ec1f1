//! Judges what official clients met: which numbers are missing, came twice or out of order, who was not recovered, was away too long, or
//! met an error. No I/O.
//!
//! A *stay* is a session of a client with all that recovered it: within one there are no holes. It is owed the numbers of a stream from
//! its first on, which is 0 where the stay is older than the stream, up to the last that was emitted, or that it got where the stay or
//! the memory of who emitted ended.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Deserialize;

/// Milliseconds since 1970.
pub type Millis = u64;

/// What there is to judge.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// Every life of a node, in the order in which they began.
    pub lives: Vec<Life>,
    /// What the clients met.
    pub clients: Vec<Client>,
    /// How much more time everything may take, on a busy machine.
    pub slack: Millis,
}

/// One life of a node.
#[derive(Debug, Clone)]
pub struct Life {
    /// The name of the node.
    pub node: String,
    /// The id of its process, which names the life.
    pub process: u32,
    /// When its process began.
    pub began: Millis,
    /// When it said that it is ready for clients.
    pub ready: Millis,
    /// Its end, if it is over.
    pub ended: Option<Ending>,
    /// How much it emitted to whom; `None` if it cannot say so any more.
    pub emitted: Option<BTreeMap<String, u64>>,
}

/// The end of a life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ending {
    /// When it was told to end.
    pub from: Millis,
    /// When it had ended.
    pub to: Millis,
}

/// What one client met.
#[derive(Debug, Clone, Deserialize)]
pub struct Client {
    /// Its name.
    pub name: String,
    /// What it says of itself.
    pub user: usize,
    /// The rooms that it joins wherever it is fresh.
    pub rooms: Vec<String>,
    /// Its sessions in the namespace, in their order.
    pub sessions: Vec<Session>,
    /// What did not become a session, or an upgrade of one.
    pub failures: Vec<Failure>,
}

/// From one CONNECT to the loss of the connection.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Session {
    /// The id of the socket.
    pub sid: String,
    /// Whether it goes on with the one before.
    pub recovered: bool,
    /// When the client was told that it is connected.
    pub connected: Millis,
    /// When it was in its rooms.
    pub entered: Option<Millis>,
    /// The life that owned it.
    pub life: Option<u32>,
    /// The data of the socket, as its node says.
    pub user: Option<usize>,
    /// In which rooms it is, as its node says.
    #[serde(default)]
    pub rooms: Vec<String>,
    /// Its end, if it is over.
    pub ended: Option<Lost>,
    /// What came, by stream.
    pub heard: BTreeMap<String, Vec<Run>>,
}

/// How a client lost its connection.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Lost {
    /// When.
    pub at: Millis,
    /// The client's word for it.
    pub reason: String,
    /// And what it adds.
    #[serde(default)]
    pub why: String,
    /// Of the answer that did it, where one did.
    pub status: Option<u16>,
    /// What carried the session.
    #[serde(default)]
    pub transport: String,
    /// The node that a WebSocket had come to, whoever owned the session.
    #[serde(default)]
    pub edge: Option<String>,
    /// How long the client waits by itself before it comes back.
    pub delay: Option<Millis>,
}

/// Something that went wrong and was tried again.
#[derive(Debug, Clone, Deserialize)]
pub struct Failure {
    /// When.
    pub at: Millis,
    /// `handshake`; `connect`, where the connection was lost before CONNECT was answered; or `upgrade`, which leaves the client where it is.
    pub what: String,
    /// What the client says.
    pub why: String,
    /// Of the answer, where there was one.
    pub status: Option<u16>,
}

/// Consecutive numbers that came after each other: the first, the last, and when these came.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Run(pub u64, pub u64, pub Millis, pub Millis);

/// What can be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Did not come.
    Lost,
    /// Came again.
    Doubled,
    /// Came after a later one.
    Reordered,
    /// Came to a client for which it was not, or was never emitted.
    Astray,
    /// Came back as a fresh socket.
    NotRecovered,
    /// The same, where its node was killed before another one can have known of the session.
    Unknown,
    /// Recovered without all of its rooms, or without its data.
    StateLost,
    /// Came back later than its own delay and [`GRACE`].
    Late,
    /// Did not come back.
    Absent,
    /// Could not connect.
    Refused,
    /// Lost its session by an HTTP error.
    Status,
    /// Lost a session though its node stayed, and so did the one that carried its WebSocket, if it had one.
    Closed,
    /// Lost a session though its node stayed, when the one ended that carried its WebSocket.
    Carried,
    /// An upgrade that did not succeed, which the client does not show.
    Upgrade,
}

/// When something went wrong, and what.
pub type Fault = (Millis, String);

/// What is wrong with a history, and its figures.
#[derive(Debug, Default)]
pub struct Verdict {
    /// By kind, in time order.
    pub faults: BTreeMap<Kind, Vec<Fault>>,
    /// How many messages came.
    pub received: u64,
    /// How often a client came back.
    pub back: usize,
    /// How often it was recovered then.
    pub recovered: usize,
    /// The same of those that lost their sessions when a life ended, by its process.
    pub after: BTreeMap<u32, (usize, usize)>,
    /// How long clients were away beyond their own delays, sorted.
    pub away: Vec<Millis>,
}

impl Verdict {
    /// Judges a history.
    #[must_use]
    pub fn of(history: &History) -> Self {
        let mut verdict = Self::default();
        for client in &history.clients {
            verdict.judge_messages(history, client);
            verdict.judge_connections(history, client);
        }
        verdict.away.sort_unstable();
        verdict.faults.values_mut().for_each(|faults| faults.sort());
        verdict
    }

    /// How much of a kind is wrong.
    #[must_use]
    pub fn count(&self, kind: Kind) -> usize {
        self.faults.get(&kind).map_or(0, Vec::len)
    }

    fn fault(&mut self, kind: Kind, at: Millis, what: impl fmt::Display) {
        self.faults.entry(kind).or_default().push((at, what.to_string()));
    }

    fn judge_messages(&mut self, history: &History, client: &Client) {
        let mut seen: BTreeMap<&str, BTreeSet<u64>> = BTreeMap::new();
        let stays = stays(client);
        for (position, stay) in stays.iter().enumerate() {
            let runs = stay.iter().flat_map(|session| &session.heard);
            for (stream, Run(first, last, at, _)) in
                runs.flat_map(|(stream, runs)| runs.iter().map(move |run| (stream, run)))
            {
                self.received += last - first + 1;
                let seen = seen.entry(stream).or_default();
                let before = seen.last().copied();
                let doubled: Vec<_> = (*first..=*last).filter(|number| !seen.insert(*number)).collect();
                for number in &doubled {
                    self.fault(Kind::Doubled, *at, format_args!("{}: {number} of {stream}", client.name));
                }
                if let Some(before) = before.filter(|before| *first < *before && doubled.is_empty()) {
                    let what = format_args!("{}: {first} of {stream} after {before}", client.name);
                    self.fault(Kind::Reordered, *at, what);
                }
            }
            let place = Place { first: position == 0, last: position + 1 == stays.len() };
            for life in &history.lives {
                for target in targets(client, stay) {
                    let stream = format!("{}/{target}", life.process);
                    let seen = seen.get(stream.as_str());
                    let heard = heard(stay, &stream);
                    let Some((first, end)) = owed(life, stay, target, place, heard) else { continue };
                    for missing in
                        (first..end).filter(|number| seen.is_none_or(|seen| !seen.contains(number)))
                    {
                        let at = lost_at(stay, &stream, missing).unwrap_or(life.began);
                        let what = format_args!("{}: {missing} of {target} from {}", client.name, name(life));
                        self.fault(Kind::Lost, at, what);
                    }
                }
            }
            self.judge_astray(history, client, stay);
        }
    }

    fn judge_astray(&mut self, history: &History, client: &Client, stay: &[Session]) {
        for (stream, runs) in stay.iter().flat_map(|session| &session.heard) {
            let (process, target) = stream.split_once('/').unwrap_or_default();
            let life = history.lives.iter().find(|life| life.process.to_string() == process);
            let emitted =
                life.map(|life| life.emitted.as_ref().map(|all| all.get(target).copied().unwrap_or(0)));
            let is_for_it = targets(client, stay).any(|own| own == target);
            for Run(first, last, at, _) in runs {
                if !is_for_it || emitted.is_none_or(|known| known.is_some_and(|count| *last >= count)) {
                    self.fault(Kind::Astray, *at, format_args!("{}: {stream} {first}..={last}", client.name));
                }
            }
        }
    }

    fn judge_connections(&mut self, history: &History, client: &Client) {
        let name = &client.name;
        for Failure { at, what, why, status } in &client.failures {
            let kind = if what == "upgrade" { Kind::Upgrade } else { Kind::Refused };
            self.fault(kind, *at, format_args!("{name}: {what}: {why} {status:?}"));
        }
        for (session, next) in
            client.sessions.iter().zip(client.sessions.iter().skip(1).map(Some).chain([None]))
        {
            let Some(lost) = &session.ended else { continue };
            let Lost { at, reason, why, status, transport, delay, .. } = lost;
            let what = format!("{name} lost its session over {transport}: {reason} {why}");
            if let Some(status) = status {
                self.fault(Kind::Status, *at, format_args!("{what}: {status}"));
            }
            if let Some(kind) = closing(history, session, lost) {
                self.fault(kind, *at, &what);
            }
            let Some(next) = next else {
                self.fault(Kind::Absent, *at, &what);
                continue;
            };
            self.back += 1;
            self.recovered += usize::from(next.recovered);
            if let Some(life) = ending(history, session, lost) {
                let (back, recovered) = self.after.entry(life.process).or_default();
                *back += 1;
                *recovered += usize::from(next.recovered);
            }
            let beyond = next.connected.saturating_sub(at + delay.unwrap_or_default());
            self.away.push(beyond);
            if beyond > GRACE + history.slack {
                let what = format_args!("{what}, and was back {beyond} ms after its delay of {delay:?}");
                self.fault(Kind::Late, next.connected, what);
            }
            if !next.recovered {
                let kind =
                    if was_unknown(history, session, lost) { Kind::Unknown } else { Kind::NotRecovered };
                self.fault(kind, next.connected, &what);
            } else if next.entered.is_some() && !has_all(client, next) {
                let what = format_args!("{name} was recovered as {:?} in {:?} only", next.user, next.rooms);
                self.fault(Kind::StateLost, next.connected, what);
            }
        }
    }
}

/// Where a stay is among those of its client.
#[derive(Clone, Copy)]
struct Place {
    first: bool,
    last: bool,
}

/// A client's sessions, each with those that go on with it.
fn stays(client: &Client) -> Vec<&[Session]> {
    client.sessions.chunk_by(|_, next| next.recovered).collect()
}

/// Whether a session has the data and the rooms of the one with which the client began.
fn has_all(client: &Client, session: &Session) -> bool {
    session.user == Some(client.user) && client.rooms.iter().all(|room| session.rooms.contains(room))
}

/// What reaches a stay: its rooms, and its own.
fn targets<'a>(client: &'a Client, stay: &'a [Session]) -> impl Iterator<Item = &'a str> {
    let own = stay.first().map(|session| session.sid.as_str());
    client.rooms.iter().map(String::as_str).chain(own)
}

/// The smallest and the largest number that a stay got of a stream.
fn heard(stay: &[Session], stream: &str) -> Option<(u64, u64)> {
    let runs = || stay.iter().filter_map(|session| session.heard.get(stream)).flatten();
    Some((runs().map(|run| run.0).min()?, runs().map(|run| run.1).max()?))
}

/// The numbers that a stay has to get: the first, and the end of them.
fn owed(
    life: &Life,
    stay: &[Session],
    target: &str,
    place: Place,
    heard: Option<(u64, u64)>,
) -> Option<(u64, u64)> {
    let entered = stay.iter().find_map(|session| session.entered);
    let own = stay.first().is_some_and(|session| session.sid == target);
    // Nothing is emitted before the clients that begin are in their rooms, and nothing to a socket before it is known.
    let from_the_start = place.first || own || entered.is_some_and(|entered| life.began >= entered);
    let first = if from_the_start { 0 } else { heard?.0 };
    let got = heard.map(|(_, last)| last + 1);
    let end = match &life.emitted {
        Some(emitted) if place.last => emitted.get(target).copied().unwrap_or_default(),
        Some(_) | None => got?,
    };
    Some((first, end))
}

/// About when a number was emitted: what came before and after it was there then.
fn lost_at(stay: &[Session], stream: &str, number: u64) -> Option<Millis> {
    let mut runs = stay.iter().filter_map(|session| session.heard.get(stream)).flatten();
    runs.rfind(|run| run.1 < number).map(|run| run.3)
}

/// What the end of a session shows, where its own node did not end.
fn closing(history: &History, session: &Session, lost: &Lost) -> Option<Kind> {
    let ending = ending(history, session, lost);
    if ending.is_some_and(|life| Some(life.process) == session.life) {
        return None;
    }
    // One that was lost before its client knew whose it is may have been of the node that ended.
    let is_known = session.life.is_some() || ending.is_none();
    let carried = |life: &Life| lost.edge.as_ref() == Some(&life.node) && was_ending(history, life, lost);
    let carries = lost.transport == "websocket" && (!is_known || history.lives.iter().any(carried));
    Some(if carries { Kind::Carried } else { Kind::Closed })
}

/// The life that ended when a session was lost: its own if that is one of them.
fn ending<'a>(history: &'a History, session: &Session, lost: &Lost) -> Option<&'a Life> {
    let ending = || history.lives.iter().filter(|life| was_ending(history, life, lost));
    ending().find(|life| Some(life.process) == session.life).or_else(|| ending().next_back())
}

/// Whether a life ended when a session was lost.
fn was_ending(history: &History, life: &Life, lost: &Lost) -> bool {
    let noticed = |ending: Ending| ending.to + NOTICED + history.slack;
    life.ended.is_some_and(|ending| (ending.from..=noticed(ending)).contains(&lost.at))
}

/// Whether a session was so young when its node was killed that nobody else may know of it, or its client have no position.
fn was_unknown(history: &History, session: &Session, lost: &Lost) -> bool {
    let was_killed = ending(history, session, lost)
        .is_some_and(|life| life.emitted.is_none() && session.life.is_none_or(|own| own == life.process));
    let is_told = session.entered.is_some_and(|entered| entered + COPIED <= lost.at);
    was_killed && !session.recovered && !is_told
}

fn name(life: &Life) -> String {
    format!("{} ({})", life.node, life.process)
}

/// How much longer than by its own delay a client may be away.
pub const GRACE: Millis = 1000;
/// Until then other nodes know of a session, on a busy machine.
const COPIED: Millis = 100;
/// How long it may take on a busy machine until a client notices.
const NOTICED: Millis = 2000;

#[cfg(test)]
mod tests;
