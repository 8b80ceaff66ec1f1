//! The control actor of a mesh: it tells [`Control`] what happens, and carries out what that decides.
//!
//! It runs on the mesh's own runtime and handles one message at a time. No body of a broadcast passes through it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};
use tokio_util::task::AbortOnDropHandle;

use super::dialer::{ask, dial, dial_through, report_unreachable};
use super::gossip::Gossip;
use super::inbound::{accept, refuse};
use super::link::Link;
#[cfg(test)]
use super::ports::Part;
use super::ports::{ControlMessage, GreetedStream, Ports, Upward};
use super::resolver::look_up;
use crate::catch_panic;
use crate::cluster::control::{Control, DialError, DialTarget, Offer, Output, Path};
use crate::cluster::hello::{Greeting, LinkId, refusal};
use crate::cluster::published::Published;
use crate::cluster::transport::bi_stream::Halves;
use crate::cluster::transport::connection::PeerConnection;
use crate::cluster::transport::endpoint::Endpoint;
use crate::cluster::transport::network::source_towards;
use crate::cluster::wire::{CloseCode, encode_prelude, pb};
use crate::excerpt::Excerpt;
use crate::id::NodeId;
use crate::log_limit::LogLimits;

/// The handler.
pub(crate) struct ControlActor;

/// What it starts with.
pub(crate) struct Start {
    pub(crate) published: Arc<Published>,
    pub(crate) control: Control,
    pub(crate) endpoint: Endpoint,
    /// The runtime of the application.
    pub(crate) app: Handle,
    pub(crate) upward: Upward,
}

/// What it holds. No other task sees it.
pub(crate) struct State {
    control: Control,
    timer: Timer,
    ports: Arc<Ports>,
    endpoint: Endpoint,
    accept: AbortOnDropHandle<()>,
    gossip: Gossip,
    /// The streams that `control` knows by number, until it refuses or closes them.
    links: HashMap<LinkId, LinkStream>,
    next_link: u64,
    /// Who asked this node to leave.
    leave: Vec<oneshot::Sender<()>>,
}

/// A stream that is a link, or may become one.
struct LinkStream {
    greeting: Greeting,
    /// `None` when it is relayed.
    connection: Option<Arc<PeerConnection>>,
    stage: LinkStage,
}

enum LinkStage {
    /// `dialled`: this node said hello first, so it owes no answer.
    Offered {
        halves: Halves,
        dialled: bool,
    },
    Adopted(Link),
}

impl LinkStream {
    /// The other end gave a sign of life at that time.
    fn heard(&self, at: Instant) {
        if let LinkStage::Adopted(link) = &self.stage {
            link.peer.heard(at);
        }
    }
}

impl Actor for ControlActor {
    type Msg = ControlMessage;
    type State = State;
    type Arguments = Start;

    async fn pre_start(
        &self,
        me: ActorRef<ControlMessage>,
        start: Start,
    ) -> Result<State, ActorProcessingErr> {
        let Start { published, control, endpoint, app, upward } = start;
        let (gossip, inbox) = mpsc::channel(GOSSIP_INBOX);
        let warnings = LogLimits::default();
        let (control_ref, unanswered) = (me.clone(), AtomicUsize::default());
        let ports = Ports { published, control: control_ref, gossip, app, upward, warnings, unanswered };
        let ports = Arc::new(ports);
        let gossip = Gossip::start(&ports, inbox).await?;
        let accept = start_accepting(&endpoint, &ports);
        let timer = Timer::start(&me, control.next_tick());
        Ok(State {
            control,
            timer,
            ports,
            endpoint,
            accept,
            gossip,
            links: HashMap::new(),
            next_link: 0,
            leave: Vec::new(),
        })
    }

    async fn handle(
        &self,
        me: ActorRef<ControlMessage>,
        message: ControlMessage,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let (control, now) = (&mut state.control, Instant::now());
        match message {
            ControlMessage::Hello(stream) => {
                let offer = state.offer(*stream, false);
                state.control.handle_hello(offer, now);
            }
            ControlMessage::Dialled(target, outcome) => {
                let outcome = outcome.map(|stream| state.offer(*stream, true));
                state.control.handle_dialled(&target, outcome, now);
            }
            ControlMessage::Started(id, link) => control.handle_started(&id, link, now),
            ControlMessage::Lost(id, link) => control.handle_lost(&id, link, now),
            ControlMessage::ToldRefused { from, id, incarnation, place: _place } => {
                control.handle_told_refused(&from, &id, incarnation, now);
            }
            ControlMessage::Goodbye(id, incarnation) => control.handle_goodbye(&id, incarnation, now),
            ControlMessage::Gossip(members) => control.handle_gossip(members, now),
            ControlMessage::GossipEnded(reason) => {
                let node = &state.ports.published.me.id;
                tracing::error!(%node, reason = %Excerpt::reason(reason), "gossip ended: it begins again in a second");
                drop(me.send_after(GOSSIP_PAUSE, || ControlMessage::RestartGossip));
            }
            ControlMessage::RestartGossip => state.gossip = state.gossip.restart(&state.ports).await?,
            ControlMessage::Resolved(seed, addresses) => control.handle_resolved(seed, addresses, now),
            ControlMessage::Unresolved(seed, error) => control.handle_unresolved(seed, &error, now),
            ControlMessage::ApplicationRuns => control.handle_application_runs(now),
            ControlMessage::Asked(seed, address, answer) => control.handle_asked(seed, address, *answer, now),
            ControlMessage::Answered => {
                state.note_signs_of_life();
                state.control.handle_answers(now);
            }
            ControlMessage::Tick => {
                state.timer.fired = true;
                state.supervise().await?;
                state.handle_tick(now);
            }
            ControlMessage::Sessions(sessions) => control.handle_sessions(sessions, now),
            ControlMessage::Drain => control.handle_drain(now),
            #[cfg(test)]
            ControlMessage::End(part) => state.end(part)?,
            ControlMessage::Leave(done) => {
                state.leave.push(done);
                state.control.handle_leave(now);
            }
        }
        while let Some(output) = state.control.poll_output() {
            state.carry_out(output).await;
        }
        state.timer.set(&me, state.control.next_tick());
        Ok(())
    }
}

/// Sends the next tick when it is due.
struct Timer {
    due: Instant,
    /// It has ended: the tick is here.
    fired: bool,
    _task: AbortOnDropHandle<()>,
}

impl Timer {
    fn start(actor: &ActorRef<ControlMessage>, due: Instant) -> Self {
        let actor = actor.clone();
        let task = tokio::spawn(async move {
            sleep_until(due).await;
            // Fails only while the mesh stops.
            let _stopped = actor.cast(ControlMessage::Tick);
        });
        Self { due, fired: false, _task: AbortOnDropHandle::new(task) }
    }

    /// At most one tick is under way, so that slow ones do not pile up.
    fn set(&mut self, actor: &ActorRef<ControlMessage>, due: Instant) {
        if self.fired || due != self.due && Instant::now() < self.due {
            *self = Self::start(actor, due);
        }
    }
}

#[cfg(test)]
impl State {
    /// Ends a part as a fault of it would.
    fn end(&mut self, part: Part) -> Result<(), ActorProcessingErr> {
        let stage = self.links.values().find_map(|link| match &link.stage {
            LinkStage::Adopted(link) => Some(link),
            LinkStage::Offered { .. } => None,
        });
        match part {
            Part::Actor => return Err("a test".into()),
            Part::Gossip => self.gossip.end(),
            Part::Accepting => self.accept.abort(),
            Part::Endpoint => self.endpoint.end(),
            Part::LinkWriter => stage.unwrap()._tasks[0].abort(),
            Part::LinkReader => stage.unwrap()._tasks[1].abort(),
            Part::Thread => {}
        }
        Ok(())
    }
}

impl State {
    /// Numbers a stream for [`Control`].
    fn offer(&mut self, stream: GreetedStream, dialled: bool) -> Offer {
        let GreetedStream { greeting, connection, halves } = stream;
        self.tell_closed_link(&greeting.id);
        let path = connection.as_ref().map_or(Path::Relayed, |direct| Path::Direct(direct.remote_address()));
        let link = LinkId(self.next_link);
        self.next_link += 1;
        let source = connection
            .as_ref()
            .and_then(|direct| source_towards(self.endpoint.bound, direct.remote_address()));
        let offer = Offer { link, greeting: greeting.clone(), path, source };
        let stage = LinkStage::Offered { halves, dialled };
        self.links.insert(link, LinkStream { greeting, connection, stage });
        offer
    }

    /// A link whose connection is closed is lost, although its tasks have not said so yet. Otherwise it could be preferred to
    /// the one that is to replace it.
    fn tell_closed_link(&mut self, id: &NodeId) {
        if let Some(link) = self.control.link_to(id)
            && self.connection(link).is_some_and(|connection| connection.is_closed())
        {
            self.control.handle_closed(id, link);
        }
    }

    fn connection(&self, link: LinkId) -> Option<Arc<PeerConnection>> {
        self.links.get(&link)?.connection.clone()
    }

    /// Accepting begins again when its task is lost.
    ///
    /// # Errors
    /// When the endpoint has ended: without it there is no mesh.
    async fn supervise(&mut self) -> Result<(), ActorProcessingErr> {
        if self.accept.is_finished() {
            let Err(lost) = (&mut self.accept).await else { return Err("the UDP endpoint ended".into()) };
            tracing::error!(node = %self.ports.published.me.id, lost = %Excerpt::reason(&lost), "accepting connections ended: it begins again");
            self.accept = start_accepting(&self.endpoint, &self.ports);
        }
        Ok(())
    }

    fn note_signs_of_life(&mut self) {
        for (id, link) in &self.links {
            if let Some(connection) = &link.connection {
                self.control.handle_sign_of_life(&link.greeting.id, *id, connection.heard());
                link.heard(connection.heard());
            }
        }
    }

    fn handle_tick(&mut self, now: Instant) {
        self.note_signs_of_life();
        self.ports.unanswered.store(0, Ordering::Relaxed);
        self.ports.published.expire(now);
        self.gossip.look();
        self.control.handle_tick(now);
    }

    async fn carry_out(&mut self, output: Output) {
        let ports = Arc::clone(&self.ports);
        let published = &ports.published;
        match output {
            Output::Dial(target, address) => {
                let dial = dial(self.endpoint.clone(), Arc::clone(&ports), address);
                tokio::spawn(report_dial(ports, target, dial));
            }
            Output::DialThrough { to, relay } => self.dial_through(to, relay),
            Output::Resolve { seed, name } => drop(tokio::spawn(look_up(ports, seed, name))),
            Output::Ask { seed, address } => {
                let endpoint = self.endpoint.clone();
                tokio::spawn(async move {
                    let answer = ask(endpoint, Arc::clone(&ports), address).await;
                    ports.tell_control(ControlMessage::Asked(seed, address, Box::new(answer)));
                });
            }
            Output::ReportUnreachable { link, address, reason } => {
                if let Some(connection) = self.connection(link) {
                    tokio::spawn(report_unreachable(connection, address, reason));
                }
            }
            Output::Adopt(link) => self.adopt(link),
            Output::Refuse(link, reason, detail) => {
                if let Some(LinkStream { stage: LinkStage::Offered { halves, .. }, .. }) =
                    self.links.remove(&link)
                {
                    tokio::spawn(refuse(halves, refusal(reason, detail)));
                }
            }
            Output::Close(link, code) => self.close(link, code),
            Output::Ping(link) => {
                if let Some(connection) = self.connection(link) {
                    ports.unanswered.fetch_add(1, Ordering::Relaxed);
                    connection.ping();
                }
            }
            Output::Examine(link) => {
                let peer = self.links.get(&link).map(|stream| stream.greeting.id.clone());
                let is_refused = self.connection(link).is_some_and(|connection| connection.is_refused());
                if let Some(peer) = peer.filter(|_| is_refused) {
                    self.control.handle_refused(&peer, link, Instant::now());
                }
            }
            Output::TellRefused { links, id, incarnation } => {
                let connections = links.into_iter().filter_map(|link| self.connection(link));
                connections.for_each(|connection| connection.tell_refused(&id, incarnation));
            }
            Output::AskApplication => {
                let answer = Arc::clone(&ports);
                drop(ports.app.spawn(async move { answer.tell_control(ControlMessage::ApplicationRuns) }));
            }
            Output::Publish(publication) => published.publish(publication, |link| self.connection(link)),
            Output::Announce(announcement) => self.gossip.announce(&announcement).await,
            Output::GossipWith(address) => self.gossip.gossip_with(address),
            Output::Forget(id) => published.forget_peer(&id),
            Output::SayGoodbye(id) => {
                if let Some(peer) = published.peer(&id) {
                    peer.leave();
                }
            }
            Output::Left => {
                for done in self.leave.drain(..) {
                    // Who asked may have stopped waiting.
                    let _gone = done.send(());
                }
            }
        }
    }

    fn dial_through(&self, to: NodeId, relay: LinkId) {
        let ports = Arc::clone(&self.ports);
        let (target, relay) = (DialTarget::Relayed(to.clone()), self.connection(relay));
        tokio::spawn(report_dial(Arc::clone(&ports), target, async move {
            match relay {
                Some(relay) => dial_through(ports, relay, to).await,
                None => Err(DialError::Broken("the link to the relay ended".to_owned())),
            }
        }));
    }

    fn adopt(&mut self, id: LinkId) {
        let Some(LinkStream { greeting, connection, stage }) = self.links.remove(&id) else { return };
        let (LinkStage::Offered { halves, dialled }, Some(peer)) =
            (stage, self.ports.published.peer(&greeting.id))
        else {
            tracing::error!(node = %self.ports.published.me.id, peer = %greeting.id, "a link could not be started");
            return self.ports.tell_control(ControlMessage::Lost(greeting.id, id));
        };
        // The hello is made before the peer is attached, because from then on the position in its log grows.
        let reply = (!dialled).then(|| {
            let remote = connection.as_ref().map(|direct| direct.remote_address());
            let hello = self.ports.published.hello(&greeting.id, remote);
            let accepted = pb::hello_reply::Answer::Accepted(hello);
            encode_prelude(&pb::HelloReply { answer: Some(accepted) })
        });
        peer.attach(id, connection.is_none(), greeting.resume, Instant::now());
        if let Some(connection) = &connection {
            connection.admit(&greeting);
        }
        let link = Link::start(id, peer, halves, reply, &self.ports);
        self.links.insert(id, LinkStream { greeting, connection, stage: LinkStage::Adopted(link) });
    }

    fn close(&mut self, id: LinkId, code: CloseCode) {
        let Some(LinkStream { connection, stage, .. }) = self.links.remove(&id) else { return };
        if let LinkStage::Adopted(link) = stage {
            link.peer.detach(id);
        }
        if let Some(connection) = connection {
            connection.close(code);
        }
    }
}

fn start_accepting(endpoint: &Endpoint, ports: &Arc<Ports>) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(accept(endpoint.clone(), Arc::clone(ports))))
}

/// Says what came of a dial, also when its task panics: the address would not be dialled again otherwise.
async fn report_dial(
    ports: Arc<Ports>,
    target: DialTarget,
    dial: impl Future<Output = Result<Box<GreetedStream>, DialError>>,
) {
    let panicked = || Err(DialError::Broken("the dial panicked".to_owned()));
    let outcome = catch_panic::future(dial).await.unwrap_or_else(panicked);
    ports.tell_control(ControlMessage::Dialled(target, outcome));
}

/// Gossip that waits for chitchat. More than a second's worth from fifty nodes is dropped.
const GOSSIP_INBOX: usize = 256;
/// Before gossip that ended begins again.
const GOSSIP_PAUSE: Duration = Duration::from_secs(1);
