//! A cluster without I/O: the values of its nodes, the messages between them, and a clock.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::time::Instant;

use super::super::rhythm::TICK;
use super::super::*;
use crate::cluster::address::{OwnAddress, gossip_address};
use crate::cluster::hello::Resume;
use crate::cluster::view::LinkState;
use crate::cluster::wire::pb::refusal::Reason;

type Name = &'static str;

pub(super) struct World {
    now: Instant,
    next_tick: Instant,
    ticks: u64,
    nodes: BTreeMap<Name, Simulated>,
    /// Where nodes are reached that are not reached at the address that they are bound to.
    hosts: BTreeMap<Name, SocketAddr>,
    /// Addresses in front of several nodes. What comes from one port leads to one of them; a question has a port of its own.
    services: BTreeMap<Name, Vec<Name>>,
    pins: BTreeMap<(Name, Name), Name>,
    questions: usize,
    /// Names are not found.
    pub(super) names_fail: bool,
    /// Nodes that hear no gossip.
    deaf: BTreeSet<Name>,
    cuts: BTreeSet<(Name, Name)>,
    /// Machines that refuse what comes for a process that has ended.
    refusing: BTreeSet<Name>,
    /// The nodes whose application runs nothing.
    hung: BTreeSet<Name>,
    streams: Vec<Stream>,
    in_flight: Vec<InFlight>,
    lives: u64,
}

/// One life of a node.
struct Simulated {
    me: LocalNode,
    control: Control,
    publication: Option<Publication>,
    /// The streams that `control` knows and has neither refused nor closed.
    links: BTreeMap<LinkId, usize>,
    adopted: BTreeSet<LinkId>,
    next_link: u64,
    dials: BTreeMap<usize, (DialTarget, Instant)>,
    announced: Option<Announcement>,
    heard: BTreeMap<NodeId, (Instant, GossipMember)>,
    alive: Vec<GossipMember>,
    history: Vec<Output>,
    /// The address of its machine that packets of this node carry.
    source: Option<IpAddr>,
}

/// A stream on which a hello was said.
#[derive(Clone, Copy)]
struct Stream {
    dialler: Name,
    acceptor: Name,
    relay: Option<Name>,
    /// Where the dialler dialled.
    dialled: SocketAddr,
}

struct InFlight {
    due: Instant,
    to: Name,
    stream: usize,
    message: Message,
}

enum Message {
    Hello(Greeting),
    Reply(Result<Greeting, Reason>),
    Started,
    Closed,
    Goodbye(NodeId, Incarnation),
    Refused(NodeId, Incarnation),
}

// The course of things.
impl World {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self {
            now,
            next_tick: now,
            ticks: 0,
            nodes: BTreeMap::new(),
            hosts: BTreeMap::new(),
            services: BTreeMap::new(),
            pins: BTreeMap::new(),
            questions: 0,
            names_fail: false,
            deaf: BTreeSet::new(),
            cuts: BTreeSet::new(),
            refusing: BTreeSet::new(),
            hung: BTreeSet::new(),
            streams: Vec::new(),
            in_flight: Vec::new(),
            lives: 0,
        }
    }

    pub(super) fn start(&mut self, name: Name, seeds: &[Name]) {
        self.begin(name, seeds, OwnAddress::at(address(name)), false);
    }

    pub(super) fn start_alone(&mut self, name: Name, seeds: &[Name]) {
        self.begin(name, seeds, OwnAddress::at(address(name)), true);
    }

    /// Starts a node with such an address, which is reached at `host` and nowhere else.
    pub(super) fn start_behind(&mut self, name: Name, seeds: &[Name], own: OwnAddress, host: SocketAddr) {
        self.hosts.insert(name, host);
        self.begin(name, seeds, own, false);
    }

    /// An address that leads to one of these nodes. `pins` says to which one from the port of a node itself.
    pub(super) fn serve(&mut self, service: Name, nodes: &[Name], pins: &[(Name, Name)]) {
        self.services.insert(service, nodes.to_vec());
        self.pins.extend(pins.iter().map(|(from, to)| ((*from, service), *to)));
    }

    fn begin(&mut self, name: Name, seeds: &[Name], own: OwnAddress, serve_alone: bool) {
        self.lives += 1;
        let me = LocalNode {
            id: super::id(name),
            incarnation: Incarnation(self.lives),
            address: own,
            cluster: String::new(),
            parser: String::new(),
            settings: Vec::new(),
        };
        let seeds = seeds.iter().map(ToString::to_string).collect();
        let control = Control::new(me.clone(), seeds, serve_alone, SILENCE, self.now);
        let node = Simulated {
            me,
            control,
            publication: None,
            links: BTreeMap::new(),
            adopted: BTreeSet::new(),
            next_link: 0,
            dials: BTreeMap::new(),
            announced: None,
            heard: BTreeMap::new(),
            alive: Vec::new(),
            history: Vec::new(),
            source: None,
        };
        self.nodes.insert(name, node);
    }

    /// Ends a node, and its machine, without a word to the others.
    pub(super) fn kill(&mut self, name: Name) {
        self.nodes.remove(name);
    }

    /// Ends the process of a node. Its machine refuses what comes to its port.
    pub(super) fn kill_process(&mut self, name: Name) {
        self.refusing.insert(name);
        self.kill(name);
    }

    pub(super) fn now(&self) -> Instant {
        self.now
    }

    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.next_event() <= end {
            self.step();
        }
        self.now = end;
    }

    /// Moves the clock to the next event, and lets it happen.
    pub(super) fn step(&mut self) {
        self.now = self.next_event().max(self.now);
        match self.in_flight.iter().position(|flight| flight.due <= self.now) {
            Some(first) => self.deliver(first),
            None => {
                self.next_tick = self.now + TICK;
                self.tick_all();
            }
        }
    }

    fn next_event(&self) -> Instant {
        self.in_flight.iter().map(|flight| flight.due).chain([self.next_tick]).min().unwrap()
    }

    /// Moves the clock only.
    pub(super) fn advance(&mut self, time: Duration) {
        self.now += time;
    }

    pub(super) fn tick_all(&mut self) {
        self.ticks += 1;
        self.break_relayed_streams();
        let names: Vec<_> = self.nodes.keys().copied().collect();
        for name in &names {
            self.time_out_dials(name);
            let now = self.now;
            if self.nodes[name].control.next_tick() <= now {
                self.tell(name, |control| control.handle_tick(now));
            }
        }
        if self.ticks.is_multiple_of(10) {
            let deaf = self.deaf.clone();
            names.iter().filter(|name| !deaf.contains(*name)).for_each(|name| self.gossip(name));
        }
    }

    /// Lets a node hear something, and carries out what it wants.
    fn tell(&mut self, name: Name, input: impl FnOnce(&mut Control)) {
        if let Some(node) = self.nodes.get_mut(name) {
            input(&mut node.control);
        }
        while let Some(output) = self.nodes.get_mut(name).and_then(|node| node.control.poll_output()) {
            self.carry_out(name, &output);
            self.nodes.get_mut(name).unwrap().history.push(output);
        }
    }
}

// What the nodes want.
impl World {
    fn carry_out(&mut self, name: Name, output: &Output) {
        let now = self.now;
        match output {
            Output::Resolve { seed, name: seed_name } => {
                let known = self.hosts.iter().find(|(host, _)| *host == seed_name).map(|(_, host)| *host);
                let found = known.unwrap_or_else(|| address(seed_name));
                let addresses = if self.names_fail { Vec::new() } else { vec![found] };
                let node = self.nodes.get_mut(name).unwrap();
                node.control.handle_resolved(*seed, addresses, now);
            }
            Output::Ask { seed, address } => {
                let answer = self.ask(name, *address);
                self.nodes.get_mut(name).unwrap().control.handle_asked(*seed, *address, answer, now);
            }
            Output::Dial(target, address) => self.dial(name, target.clone(), *address),
            Output::DialThrough { to, relay } => {
                let relay = self.other_end(name, *relay);
                let acceptor = name_of(to);
                let dialled = self.host(acceptor);
                self.say_hello(name, DialTarget::Relayed(to.clone()), acceptor, Some(relay), dialled);
            }
            Output::Adopt(link) => {
                let stream = self.nodes[name].links[link];
                self.nodes.get_mut(name).unwrap().adopted.insert(*link);
                let reply = if self.streams[stream].acceptor == name {
                    Message::Reply(Ok(self.greeting(name, self.streams[stream].dialler)))
                } else {
                    Message::Started
                };
                self.send(name, stream, reply);
            }
            Output::Refuse(link, reason, _) => {
                let stream = self.nodes.get_mut(name).unwrap().links.remove(link).unwrap();
                self.send(name, stream, Message::Reply(Err(*reason)));
            }
            Output::Close(link, _) => {
                let node = self.nodes.get_mut(name).unwrap();
                node.adopted.remove(link);
                let stream = node.links.remove(link).expect("a link is closed once");
                self.send(name, stream, Message::Closed);
            }
            Output::AskApplication => {
                if !self.hung.contains(name) {
                    self.nodes.get_mut(name).unwrap().control.handle_application_runs(now);
                }
            }
            Output::Ping(link) => self.ping(name, *link),
            Output::Examine(link) => self.examine(name, *link),
            Output::TellRefused { links, id, incarnation } => {
                for link in links {
                    let stream = self.nodes[name].links[link];
                    self.send(name, stream, Message::Refused(id.clone(), *incarnation));
                }
            }
            Output::SayGoodbye(to) => {
                let node = &self.nodes[name];
                let stream = node.links[&node.control.link_to(to).unwrap()];
                let goodbye = Message::Goodbye(node.me.id.clone(), node.me.incarnation);
                self.send(name, stream, goodbye);
            }
            Output::Publish(publication) => {
                self.nodes.get_mut(name).unwrap().publication = Some(publication.clone());
            }
            Output::Announce(announcement) => {
                self.nodes.get_mut(name).unwrap().announced = Some(announcement.clone());
            }
            Output::GossipWith(peer) => self.gossip_with(name, *peer),
            Output::ReportUnreachable { .. } | Output::Forget(_) | Output::Left => {}
        }
    }

    fn dial(&mut self, name: Name, target: DialTarget, to: SocketAddr) {
        let now = self.now;
        let bound_here = self.nodes[name].me.address.bound == to;
        let answering = if bound_here { Some(name) } else { self.who_is_at(name, to) };
        let error = match answering {
            Some(other) if other == name => DialError::ThisNode { bound_here },
            Some(other) if matches!(self.route(name, other), Some(Route::Direct(_))) => {
                DialError::AlreadyLinked(super::id(other))
            }
            Some(other) => return self.say_hello(name, target, other, None, to),
            None => DialError::Timeout,
        };
        self.nodes.get_mut(name).unwrap().control.handle_dialled(&target, Err(error), now);
    }

    /// The node to which packets from the port of `name` to that address come.
    fn who_is_at(&self, name: Name, to: SocketAddr) -> Option<Name> {
        match self.services.iter().find(|(service, _)| address(service) == to) {
            Some((service, nodes)) => {
                Some(self.pins.get(&(name, *service)).copied().unwrap_or_else(|| nodes[0]))
            }
            None => NAMES.into_iter().find(|other| self.host(other) == to),
        }
    }

    /// Who answers a question, each time the next node of a service.
    fn ask(&mut self, name: Name, to: SocketAddr) -> Result<Greeting, DialError> {
        let service = self.services.iter().find(|(service, _)| address(service) == to);
        let answering = match service {
            Some((_, nodes)) => {
                self.questions += 1;
                Some(nodes[self.questions % nodes.len()])
            }
            None => self.who_is_at(name, to),
        };
        match answering.filter(|other| self.nodes.contains_key(other) && !self.cuts.contains(&(name, *other)))
        {
            Some(other) if other == name => Err(DialError::ThisNode { bound_here: false }),
            Some(other) => Ok(self.greeting(other, name)),
            None => Err(DialError::Timeout),
        }
    }

    /// Where a node is reached, and where its packets come from.
    fn host(&self, name: Name) -> SocketAddr {
        self.hosts.get(name).copied().unwrap_or_else(|| address(name))
    }

    fn say_hello(
        &mut self,
        dialler: Name,
        target: DialTarget,
        acceptor: Name,
        relay: Option<Name>,
        dialled: SocketAddr,
    ) {
        let stream = self.streams.len();
        self.streams.push(Stream { dialler, acceptor, relay, dialled });
        let deadline = self.now + DIAL;
        self.nodes.get_mut(dialler).unwrap().dials.insert(stream, (target, deadline));
        let hello = Message::Hello(self.greeting(dialler, acceptor));
        self.send(dialler, stream, hello);
    }

    fn time_out_dials(&mut self, name: Name) {
        let now = self.now;
        let dials = &self.nodes[name].dials;
        let is_late = |(_, (_, deadline)): &(&usize, &(DialTarget, Instant))| now >= *deadline;
        let late: Vec<_> = dials.iter().filter(is_late).map(|(stream, _)| *stream).collect();
        for stream in late {
            let (target, _) = self.nodes.get_mut(name).unwrap().dials.remove(&stream).unwrap();
            self.send(name, stream, Message::Closed);
            self.tell(name, |control| control.handle_dialled(&target, Err(DialError::Timeout), now));
        }
    }

    fn ping(&mut self, name: Name, link: LinkId) {
        let (now, stream) = (self.now, self.nodes[name].links[&link]);
        let other = self.other_end(name, link);
        if self.is_cut(self.streams[stream]) || !self.nodes.contains_key(other) {
            return;
        }
        if let Some(its_link) = self.link_of(other, stream) {
            let node = self.nodes.get_mut(name).unwrap();
            node.control.handle_sign_of_life(&super::id(other), link, now);
            let node = self.nodes.get_mut(other).unwrap();
            node.control.handle_sign_of_life(&super::id(name), its_link, now);
        } else {
            // As QUIC does with packets of a connection that it does not know.
            self.send(other, stream, Message::Closed);
        }
    }

    /// Whether the machine of a node that is gone says so: if it runs, and is reached.
    fn examine(&mut self, name: Name, link: LinkId) {
        let (now, stream, other) = (self.now, self.nodes[name].links[&link], self.other_end(name, link));
        let is_gone = !self.nodes.contains_key(other) && self.refusing.contains(other);
        if is_gone && !self.is_cut(self.streams[stream]) {
            let node = self.nodes.get_mut(name).unwrap();
            node.control.handle_refused(&super::id(other), link, now);
        }
    }

    fn greeting(&self, from: Name, to: Name) -> Greeting {
        let node = &self.nodes[from];
        let members = node.publication.as_ref().map_or(&[][..], |publication| &publication.members);
        let others = members.iter().filter(|member| member.id != node.me.id);
        let own = node.me.address;
        Greeting {
            id: node.me.id.clone(),
            incarnation: node.me.incarnation,
            address: own.towards(self.host(to), Some(own.bound.ip())),
            state: node.publication.as_ref().map_or(NodeState::Joining, |publication| publication.state),
            resume: Resume::default(),
            members: others.map(KnownMember::from).collect(),
            recovers: true,
            differing: Vec::new(),
        }
    }
}

// Messages.
impl World {
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    fn send(&mut self, from: Name, stream: usize, message: Message) {
        let Stream { dialler, acceptor, .. } = self.streams[stream];
        let to = if from == dialler { acceptor } else { dialler };
        self.in_flight.push(InFlight { due: self.now + DELAY, to, stream, message });
    }

    /// Lets the message in this place arrive now.
    pub(super) fn deliver(&mut self, place: usize) {
        let InFlight { to, stream: number, message, .. } = self.in_flight.remove(place);
        let (now, stream) = (self.now, self.streams[number]);
        if !self.nodes.contains_key(to) {
            return;
        }
        if self.is_cut(stream) {
            if let Message::Started = message {
                // QUIC repeats what was lost on a stream.
                let due = now + TICK;
                self.in_flight.push(InFlight { due, to, stream: number, message });
            }
            return;
        }
        match message {
            Message::Hello(greeting) => {
                let offer = self.offer(to, number, greeting);
                self.tell(to, |control| control.handle_hello(offer, now));
            }
            Message::Reply(reply) => {
                let dial = self.nodes.get_mut(to).unwrap().dials.remove(&number);
                let Some((target, _)) = dial else { return };
                let outcome = match reply {
                    Ok(greeting) => Ok(self.offer(to, number, greeting)),
                    Err(reason) => {
                        let (peer, detail) = (super::id(stream.acceptor), String::new());
                        Err(DialError::Refused { peer, reason, detail })
                    }
                };
                self.tell(to, |control| control.handle_dialled(&target, outcome, now));
            }
            Message::Started => {
                if let Some(link) = self.link_of(to, number) {
                    let peer = super::id(stream.dialler);
                    self.tell(to, |control| control.handle_started(&peer, link, now));
                }
            }
            Message::Closed => {
                if let Some(link) = self.link_of(to, number) {
                    let peer = super::id(self.other_end(to, link));
                    self.tell(to, |control| control.handle_lost(&peer, link, now));
                }
            }
            Message::Refused(id, incarnation) => {
                let Stream { dialler, acceptor, .. } = stream;
                let from = super::id(if to == dialler { acceptor } else { dialler });
                self.tell(to, |control| control.handle_told_refused(&from, &id, incarnation, now));
            }
            Message::Goodbye(id, incarnation) => {
                self.tell(to, |control| control.handle_goodbye(&id, incarnation, now));
            }
        }
    }

    fn offer(&mut self, name: Name, stream: usize, greeting: Greeting) -> Offer {
        let path = match self.streams[stream] {
            Stream { relay: Some(_), .. } => Path::Relayed,
            Stream { dialler, dialled, .. } if dialler == name => Path::Direct(dialled),
            Stream { dialler, .. } => Path::Direct(self.host(dialler)),
        };
        let node = self.nodes.get_mut(name).unwrap();
        let link = LinkId(node.next_link);
        node.next_link += 1;
        node.links.insert(link, stream);
        let source = node.source;
        Offer { link, greeting, path, source }
    }

    fn break_relayed_streams(&mut self) {
        let relayed = |(number, stream): (usize, &Stream)| stream.relay.map(|relay| (number, *stream, relay));
        let relayed: Vec<_> = self.streams.iter().enumerate().filter_map(relayed).collect();
        for (number, Stream { dialler, acceptor, .. }, relay) in relayed {
            let reaches = |end| matches!(self.route(relay, end), Some(Route::Direct(_)));
            if !self.nodes.contains_key(relay) || !reaches(dialler) || !reaches(acceptor) {
                self.break_stream(number);
            }
        }
    }

    /// Both ends of a stream lose it, without a message.
    fn break_stream(&mut self, number: usize) {
        let (now, Stream { dialler, acceptor, .. }) = (self.now, self.streams[number]);
        for (end, other) in [(dialler, acceptor), (acceptor, dialler)] {
            if self.nodes.contains_key(end)
                && let Some(link) = self.link_of(end, number)
            {
                self.tell(end, |control| control.handle_lost(&super::id(other), link, now));
            }
        }
        self.in_flight.retain(|flight| flight.stream != number);
    }

    fn gossip(&mut self, name: Name) {
        let now = self.now;
        let heard: Vec<_> =
            self.component(name).into_iter().filter_map(|other| self.gossip_of(other)).collect();
        let node = self.nodes.get_mut(name).unwrap();
        for member in heard {
            node.heard.insert(member.id.clone(), (now, member));
        }
        node.heard.retain(|_, (at, _)| now < *at + SUSPICION);
        let alive: Vec<_> = node.heard.values().map(|(_, member)| member.clone()).collect();
        if alive != node.alive {
            node.alive.clone_from(&alive);
            self.tell(name, |control| control.handle_gossip(alive, now));
        }
    }

    /// Both hear what the other one says about itself.
    fn gossip_with(&mut self, name: Name, peer: SocketAddr) {
        let now = self.now;
        let is_peer = |node: &Simulated| gossip_address(&node.me.id, node.me.incarnation) == peer;
        let Some(other) = self.nodes.iter().find(|(_, node)| is_peer(node)).map(|(other, _)| *other) else {
            return;
        };
        for (hearing, told) in [(other, name), (name, other)] {
            let news = self
                .gossip_of(told)
                .filter(|_| !self.deaf.contains(hearing) && !self.cuts.contains(&(name, other)));
            let Some(member) = news else { continue };
            let node = self.nodes.get_mut(hearing).unwrap();
            node.heard.insert(member.id.clone(), (now, member));
            let alive: Vec<_> = node.heard.values().map(|(_, member)| member.clone()).collect();
            if alive != node.alive {
                node.alive.clone_from(&alive);
                if hearing == name {
                    // Its outputs are being carried out.
                    node.control.handle_gossip(alive, now);
                } else {
                    self.tell(hearing, |control| control.handle_gossip(alive, now));
                }
            }
        }
    }

    fn gossip_of(&self, name: Name) -> Option<GossipMember> {
        let Simulated { me, announced, .. } = &self.nodes[name];
        let Announcement { state, misses, address, sessions } = announced.clone()?;
        let (id, incarnation) = (me.id.clone(), me.incarnation);
        Some(GossipMember { id, incarnation, address, state, misses, sessions })
    }

    /// The nodes to which gossip finds a way, without the node itself.
    fn component(&self, name: Name) -> BTreeSet<Name> {
        let (mut found, mut next) = (BTreeSet::from([name]), vec![name]);
        while let Some(node) = next.pop() {
            for link in &self.nodes[node].adopted {
                let stream = self.streams[self.nodes[node].links[link]];
                let other = self.other_end(node, *link);
                let usable = stream.relay.is_none() && !self.is_cut(stream);
                let mutual = self.link_of(other, self.nodes[node].links[link]).is_some();
                if usable && mutual && found.insert(other) {
                    next.push(other);
                }
            }
        }
        found.remove(name);
        found
    }
}

// Faults and commands.
impl World {
    /// Loses everything between two nodes.
    pub(super) fn cut(&mut self, one: Name, other: Name) {
        self.cuts.extend([(one, other), (other, one)]);
    }

    pub(super) fn heal(&mut self) {
        self.cuts.clear();
    }

    /// The machine of another node, or something on the way, refuses what comes on a link.
    pub(super) fn refuse(&mut self, name: Name, by: Name, link: LinkId) {
        let now = self.now;
        self.tell(name, |control| control.handle_refused(&super::id(by), link, now));
    }

    /// A member says that it does not reach such a life of another one.
    pub(super) fn tell_refused(&mut self, name: Name, by: Name, of: Name, life: Incarnation) {
        let now = self.now;
        self.tell(name, |control| control.handle_told_refused(&super::id(by), &super::id(of), life, now));
    }

    /// The application of a node runs nothing any more.
    pub(super) fn hang(&mut self, name: Name) {
        self.hung.insert(name);
    }

    /// The application runs again, with the task that waited for it.
    pub(super) fn resume(&mut self, name: Name) {
        self.hung.remove(name);
        let now = self.now;
        self.tell(name, |control| control.handle_application_runs(now));
    }

    /// Both ends lose the link between two nodes.
    pub(super) fn break_link(&mut self, one: Name, other: Name) {
        if let Some(stream) = self.stream(one, other) {
            self.break_stream(stream);
        }
    }

    /// One end of a link loses it, and the other end does not hear of it.
    pub(super) fn forget_link(&mut self, one: Name, other: Name) {
        let now = self.now;
        if let Some(link) = self.link_id(one, other) {
            let stream = self.nodes[one].links[&link];
            self.tell(one, |control| control.handle_lost(&super::id(other), link, now));
            self.in_flight.retain(|flight| flight.stream != stream);
        }
    }

    /// A dial ends with the refusal that the other node knows a newer life.
    pub(super) fn refuse_as_outdated(&mut self, name: Name, by: Name) {
        let (now, peer, detail) = (self.now, super::id(by), String::new());
        let target = DialTarget::Node(peer.clone(), address(by));
        let refused = Err(DialError::Refused { peer, reason: Reason::Stale, detail });
        self.tell(name, |control| control.handle_dialled(&target, refused, now));
    }

    /// Another node, which knows a newer life of this one, says hello to it.
    pub(super) fn greet_with_newer_life(&mut self, name: Name, by: Name) {
        let (now, mut greeting) = (self.now, self.greeting(by, name));
        let newer = Incarnation(self.nodes[name].me.incarnation.0 + 1);
        let member = KnownMember { id: super::id(name), incarnation: newer, address: address(by) };
        greeting.members.push(member);
        let (stream, dialled) = (self.streams.len(), self.host(name));
        self.streams.push(Stream { dialler: by, acceptor: name, relay: None, dialled });
        let offer = self.offer(name, stream, greeting);
        self.tell(name, |control| control.handle_hello(offer, now));
    }

    /// A member relays a hello of another one to this node, and says that it is of that life.
    pub(super) fn relay_hello(&mut self, name: Name, origin: Name, relay: Name, incarnation: Incarnation) {
        let (now, mut greeting) = (self.now, self.greeting(origin, name));
        greeting.incarnation = incarnation;
        let (stream, dialled) = (self.streams.len(), self.host(name));
        self.streams.push(Stream { dialler: origin, acceptor: name, relay: Some(relay), dialled });
        let offer = self.offer(name, stream, greeting);
        self.tell(name, |control| control.handle_hello(offer, now));
    }

    /// A node hears no gossip any more.
    pub(super) fn stop_gossip(&mut self, name: Name) {
        self.deaf.insert(name);
    }

    /// The connection of a link is closed, and its tasks have not said so yet.
    pub(super) fn close_connection(&mut self, name: Name, other: Name) {
        let link = self.link_id(name, other).unwrap();
        self.nodes.get_mut(name).unwrap().control.handle_closed(&super::id(other), link);
    }

    /// Gossip brings this node word of such a life of another one.
    pub(super) fn rumour(&mut self, name: Name, of: Name, incarnation: Incarnation) {
        let now = self.now;
        let mut members = self.nodes[name].alive.clone();
        members.iter_mut().filter(|member| member.id == super::id(of)).for_each(|member| {
            member.incarnation = incarnation;
        });
        self.tell(name, |control| control.handle_gossip(members, now));
    }

    /// Another node says hello to this one directly, and says that it is of that life.
    pub(super) fn greet_as(&mut self, name: Name, by: Name, incarnation: Incarnation) {
        let (now, mut greeting) = (self.now, self.greeting(by, name));
        greeting.incarnation = incarnation;
        let (stream, dialled) = (self.streams.len(), self.host(name));
        self.streams.push(Stream { dialler: by, acceptor: name, relay: None, dialled });
        let offer = self.offer(name, stream, greeting);
        self.tell(name, |control| control.handle_hello(offer, now));
    }

    /// The address of its machine that the packets of a node carry, from now on.
    pub(super) fn route_over(&mut self, name: Name, source: IpAddr) {
        self.nodes.get_mut(name).unwrap().source = Some(source);
    }

    pub(super) fn leave(&mut self, name: Name) {
        let now = self.now;
        self.tell(name, |control| control.handle_leave(now));
    }

    pub(super) fn tell_sessions(&mut self, name: Name, sessions: u64) {
        let now = self.now;
        self.tell(name, |control| control.handle_sessions(sessions, now));
    }

    pub(super) fn drain(&mut self, name: Name) {
        let now = self.now;
        self.tell(name, |control| control.handle_drain(now));
    }
}

// What there is to see.
impl World {
    fn is_cut(&self, Stream { dialler, acceptor, relay, .. }: Stream) -> bool {
        let is_cut = |one, other| self.cuts.contains(&(one, other));
        match relay {
            None => is_cut(dialler, acceptor),
            Some(relay) => is_cut(dialler, relay) || is_cut(relay, acceptor),
        }
    }

    fn other_end(&self, name: Name, link: LinkId) -> Name {
        let Stream { dialler, acceptor, .. } = self.streams[self.nodes[name].links[&link]];
        if name == dialler { acceptor } else { dialler }
    }

    fn link_of(&self, name: Name, stream: usize) -> Option<LinkId> {
        let mut links = self.nodes.get(name)?.links.iter();
        links.find(|(_, number)| **number == stream).map(|(link, _)| *link)
    }

    pub(super) fn link_id(&self, name: Name, other: Name) -> Option<LinkId> {
        self.nodes.get(name)?.control.link_to(&super::id(other))
    }

    /// The stream that one node uses as its link to the other.
    pub(super) fn stream(&self, name: Name, other: Name) -> Option<usize> {
        Some(self.nodes[name].links[&self.link_id(name, other)?])
    }

    /// The streams that some node has not closed.
    pub(super) fn open_streams(&self) -> BTreeSet<usize> {
        self.nodes.values().flat_map(|node| node.links.values().copied()).collect()
    }

    fn publication(&self, name: Name) -> &Publication {
        self.nodes[name].publication.as_ref().unwrap()
    }

    pub(super) fn state(&self, name: Name) -> NodeState {
        self.nodes[name].publication.as_ref().map_or(NodeState::Joining, |publication| publication.state)
    }

    pub(super) fn obstacle(&self, name: Name) -> String {
        self.publication(name).obstacle.clone().unwrap_or_default()
    }

    /// The address that a node gossips.
    pub(super) fn announced(&self, name: Name) -> Option<SocketAddr> {
        self.nodes[name].announced.as_ref()?.address
    }

    pub(super) fn unreached(&self, name: Name) -> Vec<NodeId> {
        self.publication(name).unreached.clone()
    }

    /// Where a node dials another one next.
    pub(super) fn address_of(&self, name: Name, seen_by: Name) -> Option<SocketAddr> {
        let mut members = self.publication(seen_by).members.iter();
        members.find(|member| member.id == super::id(name)).map(|member| member.address)
    }

    /// The reasons for which a node told another one that it does not reach it where that says.
    pub(super) fn reports(&self, name: Name) -> Vec<&str> {
        let history = self.nodes[name].history.iter();
        history
            .filter_map(|output| match output {
                Output::ReportUnreachable { reason, .. } => Some(reason.as_str()),
                _ => None,
            })
            .collect()
    }

    pub(super) fn members(&self, name: Name) -> Vec<NodeId> {
        self.publication(name).members.iter().map(|member| member.id.clone()).collect()
    }

    pub(super) fn incarnation(&self, name: Name) -> Incarnation {
        self.nodes[name].me.incarnation
    }

    /// The life of a member that another node has in its ring.
    pub(super) fn incarnation_of(&self, member: Name, seen_by: Name) -> Option<Incarnation> {
        let members = &self.publication(seen_by).members;
        members.iter().find(|view| view.id == super::id(member)).map(|view| view.incarnation)
    }

    pub(super) fn link(&self, name: Name, other: Name) -> LinkState {
        let mut members = self.publication(name).members.iter();
        members.find(|member| member.id == super::id(other)).map_or(LinkState::Down, |member| member.link)
    }

    pub(super) fn sessions(&self, name: Name, other: Name) -> Option<u64> {
        let mut members = self.publication(name).members.iter();
        members.find(|member| member.id == super::id(other))?.sessions
    }

    pub(super) fn route(&self, name: Name, other: Name) -> Option<Route<LinkId>> {
        let routes = &self.nodes.get(name)?.publication.as_ref()?.routes;
        routes.iter().find(|(to, _)| *to == super::id(other)).map(|(_, route)| route.clone())
    }

    pub(super) fn did(&self, name: Name, output: &Output) -> bool {
        self.nodes[name].history.contains(output)
    }

    /// Whether a node has dialled another one.
    pub(super) fn dials(&self, name: Name) -> bool {
        let is_dial = |output: &Output| matches!(output, Output::Dial(..) | Output::DialThrough { .. });
        self.nodes[name].history.iter().any(is_dial)
    }

    /// How many dials of a node have no outcome yet.
    pub(super) fn open_dials(&self, name: Name) -> usize {
        self.nodes[name].dials.len()
    }

    pub(super) fn dial_count(&self, name: Name) -> usize {
        self.nodes[name].history.iter().filter(|output| matches!(output, Output::Dial(..))).count()
    }

    /// Whether a node gossiped something.
    pub(super) fn announces(&self, name: Name) -> bool {
        self.nodes[name].history.iter().any(|output| matches!(output, Output::Announce(_)))
    }

    /// The members that a node says it has no direct link to.
    pub(super) fn misses(&self, name: Name) -> Vec<NodeId> {
        self.nodes[name].announced.as_ref().map(|announced| announced.misses.clone()).unwrap_or_default()
    }

    /// Through whom two nodes are linked.
    pub(super) fn relay(&self, name: Name, other: Name) -> Option<Name> {
        self.streams[self.stream(name, other)?].relay
    }

    /// How often a node told its tasks what it sees.
    pub(super) fn publications(&self, name: Name) -> usize {
        self.nodes[name].history.iter().filter(|output| matches!(output, Output::Publish(_))).count()
    }

    pub(super) fn clear_history(&mut self) {
        self.nodes.values_mut().for_each(|node| node.history.clear());
    }

    /// Every node is ready, and every pair has one direct link, which both use.
    pub(super) fn assert_settled(&self) {
        let all: Vec<_> = self.nodes.values().map(|node| (node.me.id.clone(), node.me.incarnation)).collect();
        for name in self.nodes.keys() {
            let members = &self.publication(name).members;
            let seen: Vec<_> = members.iter().map(|member| (member.id.clone(), member.incarnation)).collect();
            assert_eq!(seen, all, "the members as {name} sees them");
            assert!(members.iter().all(|member| member.link == LinkState::Up), "{name}: {members:?}");
            assert!(members.iter().all(|member| member.state == NodeState::Ready), "{name}: {members:?}");
            for other in self.nodes.keys().filter(|other| *other != name) {
                assert_eq!(self.stream(name, other), self.stream(other, name), "{name} and {other}");
            }
        }
    }
}

pub(super) fn address(name: &str) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, name.as_bytes()[0]], 7946))
}

fn name_of(id: &NodeId) -> Name {
    NAMES.into_iter().find(|name| *name == id.as_str()).unwrap()
}

const NAMES: [Name; 26] = [
    "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q", "r", "s", "t", "u",
    "v", "w", "x", "y", "z",
];
/// How long a message takes.
const DELAY: Duration = Duration::from_millis(1);
/// How long a dial may take.
const DIAL: Duration = Duration::from_millis(1500);
/// How long gossip holds a silent node for alive.
const SUSPICION: Duration = Duration::from_secs(3);
/// After which a link is lost.
const SILENCE: Duration = Duration::from_secs(3);
