//! The membership of one node, with others that say hello, gossip, dial, refuse, relay and fall silent as they like.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use prost::Message as _;
use tokio::time::Instant;

use super::tape::Tape;
use crate::cluster::NodeState;
use crate::cluster::fuzzing::{
    Control, DialError, DialTarget, GossipMember, Greeting, LinkId, LocalNode, LookupError, Offer, Output,
    OwnAddress, Path, Publication, Published, Reason, Route, pb,
};
use crate::id::{Incarnation, NodeId};

/// One hello.
///
/// # Panics
///
/// When a node is taken for another one.
pub fn hello(data: &[u8]) -> bool {
    let Ok(hello) = pb::Hello::decode(data) else { return false };
    let certified = name("b");
    match me().check(&hello, &certified) {
        Ok(greeting) => {
            assert!(greeting.id == certified && greeting.members.len() <= 256);
            true
        }
        Err(refusal) => {
            assert_ne!(refusal.reason(), Reason::Unspecified);
            false
        }
    }
}

/// What happens to a member, in any order.
///
/// # Panics
///
/// When a link is adopted or closed twice or never, time stands still, or what is published makes no sense.
pub fn membership(data: &[u8]) -> bool {
    let mut tape = Tape::new(data);
    let now = Instant::now();
    let seeds = if tape.flag() { vec!["seed:1".to_owned()] } else { Vec::new() };
    let mut node = Node {
        control: Control::new(me(), seeds, tape.one_in(4), Duration::from_secs(3), now),
        published: Published::new(me()),
        now,
        links: BTreeMap::new(),
        names: BTreeMap::new(),
        dials: VecDeque::new(),
        asked: VecDeque::new(),
        met: false,
    };
    node.settle();
    while !tape.is_over() {
        node.step(&mut tape);
        node.settle();
    }
    node.finish()
}

struct Node {
    control: Control,
    published: Published,
    now: Instant,
    links: BTreeMap<LinkId, Stage>,
    /// Who is at the other end.
    names: BTreeMap<LinkId, NodeId>,
    dials: VecDeque<DialTarget>,
    asked: VecDeque<(usize, SocketAddr)>,
    /// It was a member beside others.
    met: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Offered,
    Adopted,
    Gone,
}

impl Node {
    fn step(&mut self, tape: &mut Tape<'_>) {
        let now = self.now;
        match tape.below(32) {
            0..=5 => {
                if let Some(offer) = self.offer(somebody(tape), tape) {
                    self.control.handle_hello(offer, now);
                }
            }
            6..=9 => self.end_dial(tape),
            10..=12 => {
                if let Some((link, id)) = self.pick(tape) {
                    self.control.handle_started(&id, link, now);
                }
            }
            13 | 14 => {
                if let Some((link, id)) = self.pick(tape) {
                    self.control.handle_sign_of_life(&id, link, now);
                }
            }
            15 => {
                if let Some((link, id)) = self.pick(tape) {
                    self.control.handle_closed(&id, link);
                }
            }
            16 | 17 => {
                if let Some((link, id)) = self.pick(tape) {
                    self.control.handle_lost(&id, link, now);
                }
            }
            18 => self.control.handle_goodbye(&somebody(tape), Incarnation(tape.number()), now),
            19..=21 => self.control.handle_gossip(gossip(tape), now),
            22 => {
                let (from, id) = (somebody(tape), somebody(tape));
                self.control.handle_told_refused(&from, &id, Incarnation(tape.number()), now);
            }
            23 => {
                if let Some((link, id)) = self.pick(tape) {
                    self.control.handle_refused(&id, link, now);
                }
            }
            24 => self.resolve(tape),
            25 => self.answer(tape),
            26 => self.control.handle_application_runs(now),
            27 if tape.one_in(8) => self.control.handle_drain(now),
            27 if tape.one_in(8) => self.control.handle_leave(now),
            _ => self.wait(Duration::from_millis(tape.pick(&[50, 50, 100, 300, 1000, 3000, 20_000]))),
        }
    }

    /// Lets time pass, with a tick whenever one is due.
    fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        // A node that stands still for a while has one late tick.
        let mut next = if time > Duration::from_secs(5) { end } else { self.control.next_tick() };
        while next <= end {
            self.now = self.now.max(next);
            self.published.expire(self.now);
            self.control.handle_tick(self.now);
            self.settle();
            next = self.control.next_tick();
            assert!(next > self.now, "the next tick is due at once");
        }
        self.now = end;
    }

    /// One of the latest links, and the node at its other end.
    fn pick(&self, tape: &mut Tape<'_>) -> Option<(LinkId, NodeId)> {
        let back = tape.below(4);
        let (link, id) = self.names.iter().rev().nth(back).or_else(|| self.names.iter().next_back())?;
        Some((*link, id.clone()))
    }

    /// A stream on which `id` said hello, if it said one that is valid.
    fn offer(&mut self, id: NodeId, tape: &mut Tape<'_>) -> Option<Offer> {
        let greeting = greeting(&id, tape)?;
        let link = LinkId(self.links.len() as u64);
        self.links.insert(link, Stage::Offered);
        self.names.insert(link, id);
        let path = if tape.one_in(4) { Path::Relayed } else { Path::Direct(address(tape)) };
        Some(Offer { link, greeting, path, source: tape.flag().then(|| address(tape).ip()) })
    }

    fn end_dial(&mut self, tape: &mut Tape<'_>) {
        let Some(target) = self.dials.pop_front() else { return };
        let id = match &target {
            DialTarget::Node(id, _) | DialTarget::Advertised(id, _) if !tape.one_in(8) => id.clone(),
            // The hello was said to this one.
            DialTarget::Relayed(id) => id.clone(),
            _ => somebody(tape),
        };
        let outcome = match tape.below(10) {
            0 => Err(DialError::Timeout),
            1 => Err(DialError::Unnamed),
            2 => Err(DialError::Untrusted("no".to_owned())),
            3 => Err(DialError::AlreadyLinked(id)),
            4 => Err(DialError::ThisNode { bound_here: tape.flag() }),
            5 => {
                let reasons =
                    [Reason::Stale, Reason::Duplicate, Reason::Leaving, Reason::Cluster, Reason::Self_];
                Err(DialError::Refused { peer: id, reason: tape.pick(&reasons), detail: String::new() })
            }
            _ => self.offer(id, tape).ok_or(DialError::Timeout),
        };
        self.control.handle_dialled(&target, outcome, self.now);
    }

    fn resolve(&mut self, tape: &mut Tape<'_>) {
        match tape.below(4) {
            0 => self.control.handle_unresolved(0, &LookupError::NoAnswerYet, self.now),
            1 => self.control.handle_unresolved(0, &LookupError::Failed(String::new()), self.now),
            _ => {
                let addresses = (0..tape.below(4)).map(|_| address(tape)).collect();
                self.control.handle_resolved(0, addresses, self.now);
            }
        }
    }

    fn answer(&mut self, tape: &mut Tape<'_>) {
        let Some((seed, address)) = self.asked.pop_front() else { return };
        let answer = greeting(&somebody(tape), tape).ok_or(DialError::Timeout);
        self.control.handle_asked(seed, address, answer, self.now);
    }

    fn settle(&mut self) {
        let mut outputs = 0;
        while let Some(output) = self.control.poll_output() {
            outputs += 1;
            assert!(outputs < 5000, "one input has thousands of outputs");
            self.carry_out(output);
        }
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Dial(target, _) => self.dials.push_back(target),
            Output::DialThrough { to, relay } => {
                assert_eq!(self.links.get(&relay), Some(&Stage::Adopted), "{relay:?} relays");
                self.dials.push_back(DialTarget::Relayed(to));
            }
            Output::Ask { seed, address } => self.asked.push_back((seed, address)),
            Output::Adopt(link) => self.advance(link, &[Stage::Offered], Stage::Adopted),
            Output::Refuse(link, ..) => self.advance(link, &[Stage::Offered], Stage::Gone),
            Output::Close(link, _) => self.advance(link, &[Stage::Offered, Stage::Adopted], Stage::Gone),
            Output::Publish(publication) => self.publish(publication),
            Output::Forget(id) => self.published.forget_peer(&id),
            Output::Ping(_)
            | Output::Examine(_)
            | Output::Resolve { .. }
            | Output::ReportUnreachable { .. }
            | Output::TellRefused { .. }
            | Output::AskApplication
            | Output::Announce(_)
            | Output::GossipWith(_)
            | Output::SayGoodbye(_)
            | Output::Left => {}
        }
    }

    fn advance(&mut self, link: LinkId, from: &[Stage], to: Stage) {
        let before = self.links.insert(link, to);
        assert!(before.is_some_and(|before| from.contains(&before)), "{link:?} was {before:?} and is {to:?}");
        if to == Stage::Gone {
            self.names.remove(&link);
        }
    }

    fn publish(&mut self, publication: Publication) {
        let members: Vec<_> = publication.members.iter().map(|member| &member.id).collect();
        assert!(members.is_sorted_by(|one, other| one < other), "{members:?}");
        let reached: BTreeSet<_> = publication.routes.iter().map(|(id, _)| id).collect();
        assert_eq!(reached.len(), publication.routes.len(), "a node has two routes");
        for (_, route) in &publication.routes {
            let links = match route {
                Route::Direct(link) => std::slice::from_ref(link),
                Route::Through(links) => links,
            };
            assert!(!links.is_empty());
            // What others are promised when a link is adopted is published before.
            let is_open = |link| self.links.get(link).is_some_and(|stage| *stage != Stage::Gone);
            assert!(links.iter().all(is_open), "{links:?}");
        }
        self.met |= members.len() > 1;
        self.published.publish(publication, |_| None);
        drop(self.published.hello(&name("b"), None));
    }

    /// In the end the node leaves, and every link ends.
    fn finish(mut self) -> bool {
        self.control.handle_leave(self.now);
        self.settle();
        self.wait(Duration::from_secs(2));
        for (link, id) in self.names.clone() {
            self.control.handle_lost(&id, link, self.now);
            self.settle();
        }
        self.wait(Duration::from_secs(4));
        let open: Vec<_> = self.links.iter().filter(|(_, stage)| **stage != Stage::Gone).collect();
        assert!(open.is_empty(), "links are left: {open:?}");
        drop(self.published.counts());
        self.met
    }
}

fn me() -> LocalNode {
    LocalNode {
        id: name("m"),
        incarnation: Incarnation(5),
        address: OwnAddress::at(SocketAddr::from(([10, 0, 0, 1], 1))),
        cluster: "chat".to_owned(),
        parser: "json".to_owned(),
        settings: vec![("ping_interval", "25s".to_owned())],
    }
}

fn name(name: &str) -> NodeId {
    name.parse().expect("a name of a node")
}

/// Another node.
fn somebody(tape: &mut Tape<'_>) -> NodeId {
    name(tape.pick(&["a", "b", "c", "x", "y", "z"]))
}

fn address(tape: &mut Tape<'_>) -> SocketAddr {
    const ADDRESSES: [&str; 8] = [
        "10.0.0.1:1",
        "10.0.0.2:1",
        "10.0.0.3:1",
        "0.0.0.0:0",
        "127.0.0.1:1",
        "[::ffff:10.0.0.2]:1",
        "[fd00::1]:9",
        "10.0.0.2:2",
    ];
    tape.pick(&ADDRESSES).parse().expect("an address")
}

/// What a node that has the certificate of `id` says, if this node accepts that.
fn greeting(id: &NodeId, tape: &mut Tape<'_>) -> Option<Greeting> {
    let member = |tape: &mut Tape<'_>| pb::Member {
        node_id: if tape.one_in(8) { "m".to_owned() } else { somebody(tape).to_string() },
        incarnation: tape.number(),
        address: address(tape).to_string(),
    };
    let hello = pb::Hello {
        protocol_min: 1,
        protocol_max: 1 + u32::from(tape.flag()),
        cluster: if tape.one_in(32) { "other" } else { "chat" }.to_owned(),
        node_id: if tape.one_in(32) { "m".to_owned() } else { id.to_string() },
        incarnation: if tape.one_in(4) { tape.number() } else { 7 },
        address: address(tape).to_string(),
        parser: "json".to_owned(),
        features: 0,
        state: tape.below(6).try_into().unwrap_or_default(),
        resume_log: tape.number(),
        resume_seq: tape.number(),
        members: (0..tape.below(4)).map(|_| member(tape)).collect(),
        settings: Vec::new(),
    };
    me().check(&hello, id).ok()
}

/// What gossip says, of each node once.
fn gossip(tape: &mut Tape<'_>) -> Vec<GossipMember> {
    let states = [NodeState::Joining, NodeState::Ready, NodeState::Draining, NodeState::Hung];
    let mut members = BTreeMap::new();
    for _ in 0..tape.below(6) {
        let id = somebody(tape);
        let member = GossipMember {
            id: id.clone(),
            incarnation: Incarnation(if tape.one_in(4) { tape.number() } else { 7 }),
            address: tape.flag().then(|| address(tape)),
            state: tape.pick(&states),
            misses: (0..tape.below(3))
                .map(|_| if tape.flag() { name("m") } else { somebody(tape) })
                .collect(),
            sessions: tape.flag().then(|| tape.number()),
        };
        members.insert(id, member);
    }
    members.into_values().collect()
}
