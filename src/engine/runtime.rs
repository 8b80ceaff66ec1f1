//! The sessions of one node: opens them, finds them and closes them.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::coop;
use tokio::time::{Instant, sleep_until, timeout};

use super::actor::{AcceptPanicked, SessionCell, SessionStart};
use super::admission::{Admission, NotAdmitted, Place};
use super::application::{Application, CommandOf};
use super::budget::Budget;
use super::config::Config;
use super::counters::EngineCounters;
use super::error::CloseReason;
use super::handshake::Handshake;
use super::mailbox::SessionMessage;
use super::protocol::Transport;
use super::registry::{Census, Registry};
use super::release::{Releases, moment};
use super::session::ConnId;
use super::session_ref::SessionRef;
use super::supervisors::Supervisors;
use super::transport_stage::{Stage, StageCell};
use crate::id::{Key, SessionId};
use crate::random::{self, RandomError};
use crate::trace::Trace;

/// The sessions of one node.
pub(crate) struct Engine<A: Application> {
    app: Arc<A>,
    config: Arc<Config>,
    counters: Arc<EngineCounters>,
    admission: Arc<Admission>,
    budget: Arc<Budget>,
    registry: Arc<Registry<CommandOf<A>>>,
    supervisors: Arc<Supervisors>,
    mint: Box<dyn Fn() -> Key + Send + Sync>,
    closing: AtomicBool,
}

impl<A: Application> Engine<A> {
    /// Starts without sessions. `mint` makes the ring key of each new session, which this node must own.
    ///
    /// # Errors
    ///
    /// Only if the runtime is shutting down.
    pub(crate) async fn start(
        app: Arc<A>,
        config: Arc<Config>,
        mint: Box<dyn Fn() -> Key + Send + Sync>,
    ) -> Result<Self, RuntimeStopped> {
        let supervisors = Arc::new(Supervisors::start().await.map_err(|_stopped| RuntimeStopped)?);
        let counters = Arc::default();
        let budget = Budget::new(config.max_buffered_total);
        Ok(Self {
            app,
            admission: Admission::new(&config),
            config,
            counters,
            budget,
            registry: Registry::new(),
            supervisors,
            mint,
            closing: AtomicBool::new(false),
        })
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    pub(crate) fn find(&self, id: SessionId) -> Option<SessionRef<CommandOf<A>>> {
        self.registry.find(id)
    }

    pub(crate) fn counters(&self) -> &EngineCounters {
        &self.counters
    }

    /// What the sessions are, and what waits for them.
    pub(crate) fn census(&self) -> Census {
        let mut census = self.registry.census();
        census.buffered = self.budget.used();
        census
    }

    /// How many sessions this node owns.
    pub(crate) fn len(&self) -> usize {
        self.registry.len()
    }

    /// Takes the place of a session for a client. Whoever is refused is counted.
    pub(crate) fn admit(&self, address: Option<SocketAddr>) -> Result<Place, NotAdmitted> {
        let admitted = self.admission.admit(address.map(|address| address.ip()), Instant::now());
        admitted.inspect_err(|why| match why {
            NotAdmitted::NodeIsFull => self.counters.node_full.increment(),
            NotAdmitted::AddressIsFull => self.counters.address_full.increment(),
            NotAdmitted::TooOften => self.counters.too_often.increment(),
        })
    }

    /// Opens a session in its place. If it opens over a WebSocket or WebTransport, its I/O task gets the number and the stage of the
    /// stream.
    ///
    /// # Errors
    ///
    /// If the operating system's random generator fails, the application panics, or the node is shutting down.
    pub(crate) fn open(
        &self,
        place: Place,
        handshake: Arc<Handshake>,
        transport: Transport,
    ) -> Result<Opened<A>, OpenSessionError> {
        if self.closing.load(Ordering::Acquire) {
            return Err(OpenSessionError::Closing);
        }
        let (config, counters) = (Arc::clone(&self.config), Arc::clone(&self.counters));
        let budget = Arc::clone(&self.budget);
        let session = SessionRef::new(self.mint_id()?, handshake, transport, config, counters, budget);
        let registration = self.registry.register(&session).ok_or(OpenSessionError::Taken)?;
        let stream = (transport != Transport::Polling)
            .then(|| (session.next_conn(), Arc::new(StageCell::new(Stage::Live))));
        SessionCell::start(SessionStart {
            session: session.clone(),
            app: Arc::clone(&self.app),
            config: Arc::clone(&self.config),
            supervisors: Arc::clone(&self.supervisors),
            registration,
            place,
            stream: stream.clone(),
            trace: Trace::current(),
        })?;
        if self.closing.load(Ordering::Acquire) {
            // `close` may have told the other sessions before this one was registered.
            session.bring(SessionMessage::Shutdown(CloseReason::ServerShuttingDown));
        }
        self.counters.opened.increment();
        Ok(Opened { session, stream })
    }

    /// A fresh id on a ring key of this node.
    fn mint_id(&self) -> Result<SessionId, OpenSessionError> {
        Ok(SessionId::new((self.mint)(), random::bytes()?))
    }

    /// Whether it opens no session any more.
    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// Closes the sessions over `time`, or sooner if they are few, each at a moment of its own and once its client has what is queued, the
    /// slowest clients last. Others may be opened meanwhile.
    pub(crate) async fn release(&self, time: Duration) {
        let sessions = Releases::new(self.registry.all(), SessionRef::buffered);
        let count = u32::try_from(sessions.len()).unwrap_or(u32::MAX);
        let time = time.min(SLOWEST.saturating_mul(count));
        over(time, sessions, SessionRef::dismiss).await;
    }

    /// Opens no further session, closes what is left after [`FLUSH`], and waits until all of them are gone, for [`STOP`] at most.
    /// Returns how many are left.
    pub(crate) async fn close(&self) -> usize {
        self.closing.store(true, Ordering::Release);
        // Those that were opened meanwhile.
        let late = Releases::new(self.registry.all(), SessionRef::buffered);
        over(Duration::ZERO, late, SessionRef::dismiss).await;
        let _flushed = timeout(FLUSH, self.registry.emptied()).await;
        for session in self.registry.all() {
            session.bring(SessionMessage::Shutdown(CloseReason::ServerShuttingDown));
            coop::consume_budget().await;
        }
        let emptied = timeout(STOP, self.registry.emptied()).await;
        let left = if emptied.is_ok() { 0 } else { self.len() };
        self.abort();
        left
    }

    /// Closes so many sessions over `time` that were opened `age` ago or earlier, if there are as many: at first those that can be
    /// recovered, and those for which nothing waits.
    pub(crate) async fn let_go(&self, count: usize, age: Duration, time: Duration) {
        if count == 0 {
            return;
        }
        let now = Instant::now();
        let is_old = |session: &SessionRef<_>| now.saturating_duration_since(session.opened()) >= age;
        let mut sessions = self.registry.all();
        sessions.retain(|session| is_old(session) && session.closed().is_none());
        sessions.sort_by_cached_key(|session| (!session.is_recoverable(), session.buffered()));
        sessions.truncate(count);
        // They are taken from the end.
        sessions.reverse();
        self.counters.let_go.add(sessions.len() as u64);
        over(time, Releases::new(sessions, |_| 0), SessionRef::close).await;
    }

    /// Ends every session where it stands; no client is told. Happens as well when the engine is dropped.
    pub(crate) fn abort(&self) {
        self.closing.store(true, Ordering::Release);
        self.supervisors.stop();
        self.registry.all().iter().for_each(|session| session.activation().end());
    }
}

impl<A: Application> Drop for Engine<A> {
    fn drop(&mut self) {
        self.abort();
    }
}

impl<A: Application> fmt::Debug for Engine<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("sessions", &self.len()).finish_non_exhaustive()
    }
}

/// A session that was just opened.
pub(crate) struct Opened<A: Application> {
    pub(crate) session: SessionRef<CommandOf<A>>,
    /// The stream that opened the session, unless it was opened over polling.
    pub(crate) stream: Option<(ConnId, Arc<StageCell>)>,
}

/// Why no session could be opened. Nothing was created.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenSessionError {
    #[error(transparent)]
    Random(#[from] RandomError),
    #[error("two sessions drew the same id")]
    Taken,
    #[error("the node is shutting down")]
    Closing,
    #[error(transparent)]
    Panicked(#[from] AcceptPanicked),
}

/// Does this to each of the sessions, at a moment of its own within `time`.
async fn over<K: Send + 'static>(
    time: Duration,
    mut sessions: Releases<SessionRef<K>>,
    close: fn(&SessionRef<K>),
) {
    let (begin, count) = (Instant::now(), sessions.len());
    for number in 0..count {
        sleep_until(begin + moment(number, count, time, random::fraction())).await;
        match sessions.next() {
            Some(session) => close(&session),
            None => return,
        }
        coop::consume_budget().await;
    }
}

/// Ten sessions a second harm nobody, so a node with few of them need not take its time.
const SLOWEST: Duration = Duration::from_millis(100);
/// How long clients may take for what is queued when their time is over.
const FLUSH: Duration = Duration::from_secs(1);
/// How long the sessions of a node that stops may take. Only an application that blocks them makes them take any time.
const STOP: Duration = Duration::from_secs(5);

/// The tokio runtime is shutting down, so no actor can be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the runtime is shutting down")]
pub(crate) struct RuntimeStopped;

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use hyper::HeaderMap;
    use parking_lot::Mutex;
    use tokio::sync::Notify;
    use tokio::time::sleep;

    use super::*;
    use crate::engine::mailbox::{PollAnswer, PostBody};
    use crate::engine::packet::Message;
    use crate::engine::query::Query;
    use crate::engine::way::Way;
    use crate::engine::{Client, Payload, PostReply, Work};

    struct Silent;

    impl Application for Silent {
        type Client = Self;

        fn accept(self: &Arc<Self>, _: SessionRef<()>) -> Self {
            Self
        }
    }

    impl Client for Silent {
        type Command = ();

        fn handle_message(&mut self, _: Message) {}

        fn handle_command(&mut self, (): ()) {}

        fn handle_close(self, _: CloseReason) {}
    }

    /// Notes what it is given. A message can ask it to panic, or for work.
    #[derive(Default)]
    struct Noting {
        notes: Mutex<Vec<String>>,
        gate: Notify,
        /// Where work sends two messages.
        burst: Mutex<Option<SessionRef<()>>>,
    }

    struct NotingClient(Arc<Noting>, Option<Work>);

    impl Application for Noting {
        type Client = NotingClient;

        fn accept(self: &Arc<Self>, _: SessionRef<()>) -> NotingClient {
            NotingClient(Arc::clone(self), None)
        }
    }

    impl Client for NotingClient {
        type Command = ();

        fn handle_message(&mut self, message: Message) {
            let Message::Text(text) = message else { return };
            assert_ne!(text, "panic");
            let noting = Arc::clone(&self.0);
            if text == "work" {
                self.1 = Some(Box::pin(async move {
                    noting.note("begun");
                    let burst = noting.burst.lock().clone();
                    burst
                        .iter()
                        .for_each(|session| ["a", "b"].into_iter().for_each(|text| session.send_text(text)));
                    noting.gate.notified().await;
                    noting.note("done");
                }));
            } else {
                noting.note(&text);
            }
        }

        fn take_work(&mut self) -> Option<Work> {
            self.1.take()
        }

        fn handle_command(&mut self, (): ()) {
            self.0.note("command");
        }

        fn handle_close(self, _: CloseReason) {}
    }

    impl Noting {
        fn note(&self, note: &str) {
            self.notes.lock().push(note.to_owned());
        }

        fn notes(&self) -> Vec<String> {
            self.notes.lock().clone()
        }
    }

    async fn engine<A: Application>(app: &Arc<A>, config: Config) -> Engine<A> {
        let mint = Box::new(|| Key::from_hash(0));
        Engine::start(Arc::clone(app), Arc::new(config), mint).await.unwrap()
    }

    async fn polling<A: Application>(engine: &Engine<A>) -> SessionRef<CommandOf<A>> {
        let (url, query) = ("/socket.io/?EIO=4", Query::parse("EIO=4&transport=polling"));
        let issued = SystemTime::UNIX_EPOCH;
        let handshake = Handshake::new(&HeaderMap::new(), url, &query, None, false, issued);
        let place = engine.admit(None).unwrap();
        let session = engine.open(place, Arc::new(handshake), Transport::Polling).unwrap().session;
        drop(session.poll(None, None).await);
        session
    }

    fn packets(text: &'static str) -> PostBody {
        PostBody::Whole(Payload { bytes: text.into(), binary: false })
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_is_handled_by_who_brings_it_but_behind_what_the_actor_was_told() {
        let noting = Arc::<Noting>::default();
        let engine = engine(&noting, Config::default()).await;
        let session = polling(&engine).await;
        session.post(None).body(packets("4now"));
        assert_eq!(noting.notes(), ["now"], "no task ran in between");
        session.command(());
        let mut post = session.post(None);
        post.body(packets("4later"));
        assert_eq!(noting.notes(), ["now"], "the actor is to handle the command first");
        post.answer().await;
        assert_eq!(noting.notes(), ["now", "command", "later"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_has_an_actor_only_while_there_is_something_to_tell_it() {
        let noting = Arc::<Noting>::default();
        let engine = engine(&noting, Config::default()).await;
        let session = polling(&engine).await;
        let actors = || engine.supervisors.actors();
        session.send_text("a");
        let mut post = session.post(None);
        post.body(packets("4hi"));
        post.answer().await;
        drop(session.poll(None, None).await);
        assert_eq!(actors(), 0, "whoever brings something handles it");
        session.command(());
        session.command(());
        sleep(Duration::from_millis(1)).await;
        assert_eq!((noting.notes(), actors()), (vec!["hi".into(), "command".into(), "command".into()], 1));
        let answers = async {
            // The client answers pings until the timer came twice.
            for _ in 0..3 {
                drop(session.poll(None, None).await);
                let mut pong = session.post(None);
                pong.body(packets("3"));
                pong.answer().await;
            }
        };
        answers.await;
        assert_eq!((actors(), engine.len()), (0, 1), "the session goes on");
        session.command(());
        sleep(Duration::from_millis(1)).await;
        assert_eq!((noting.notes().len(), actors()), (4, 1));
        session.close();
        drop(session.poll(None, None).await);
        sleep(Duration::from_secs(1)).await;
        assert_eq!((actors(), engine.len()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_handler_sends_before_it_first_waits_answers_one_poll() {
        let noting = Arc::<Noting>::default();
        let engine = engine(&noting, Config::default()).await;
        let session = polling(&engine).await;
        noting.burst.lock().replace(session.clone());
        let brings = async { session.post(None).body(packets("4work")) };
        let (answer, ()) = tokio::join!(session.poll(None, None), brings);
        let PollAnswer::Payload { payload, .. } = answer else { panic!("{answer:?}") };
        assert_eq!(payload.bytes, "4a\u{1e}4b");
    }

    #[tokio::test]
    async fn every_message_from_many_threads_answers_a_poll() {
        let engine = Arc::new(engine(&Arc::new(Silent), Config::default()).await);
        let session = polling(&engine).await;
        let senders: Vec<_> = (0..4)
            .map(|_| {
                let session = session.clone();
                std::thread::spawn(move || (0..500).for_each(|_| session.send_text("x")))
            })
            .collect();
        let mut came = 0;
        while came < 2000 {
            // A message that nobody answers a poll with would end the session here, by its heartbeat.
            let answer = session.poll(None, None).await;
            let PollAnswer::Payload { payload, .. } = answer else { panic!("{answer:?}") };
            came += payload.bytes.split(|byte| *byte == 0x1e).filter(|packet| *packet == b"4x").count();
        }
        senders.into_iter().for_each(|sender| sender.join().unwrap());
        assert_eq!(came, 2000);
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_in_the_place_of_an_actor_ends_its_session_alone() {
        let noting = Arc::<Noting>::default();
        let engine = engine(&noting, Config::default()).await;
        let (session, other) = (polling(&engine).await, polling(&engine).await);
        let mut post = session.post(None);
        post.body(packets("4panic"));
        assert_eq!(post.answer().await, PostReply::Unknown);
        assert_eq!(engine.len(), 1);
        other.post(None).body(packets("4hi"));
        assert_eq!(noting.notes(), ["hi"]);
    }

    #[tokio::test(start_paused = true)]
    async fn work_begins_with_the_message_and_goes_on_in_a_task() {
        let noting = Arc::<Noting>::default();
        let engine = engine(&noting, Config::default()).await;
        let session = polling(&engine).await;
        session.post(None).body(packets("4work"));
        assert_eq!(noting.notes(), ["begun"], "no task ran in between");
        let mut post = session.post(None);
        post.body(packets("4meanwhile"));
        post.answer().await;
        noting.gate.notify_one();
        sleep(Duration::from_millis(1)).await;
        assert_eq!(noting.notes(), ["begun", "meanwhile", "done"]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_sessions_of_a_node_that_drains_go_one_after_another_and_the_slow_ones_last() {
        let engine = engine(&Arc::new(Silent), Config::default()).await;
        let mut clients = Vec::new();
        for number in 0..40 {
            let session = polling(&engine).await;
            clients.push(tokio::spawn(async move {
                if number % 4 == 0 {
                    // It has not taken everything when others have.
                    session.send_text(&"x".repeat(100 + number));
                    sleep(Duration::from_millis(3800)).await;
                }
                let mut got = Vec::new();
                while session.closed().is_none() {
                    let PollAnswer::Payload { payload, .. } = session.poll(None, None).await else { break };
                    got.push(payload.bytes);
                }
                (number % 4 == 0, got, Instant::now())
            }));
        }
        tokio::task::yield_now().await;
        let began = Instant::now();
        engine.release(Duration::from_secs(4)).await;
        assert_eq!(engine.close().await, 0);
        assert!(engine.is_closing() && engine.counters().closed.by_stops() == 40);
        let mut tenths = [0; 13];
        for client in clients {
            let (is_slow, got, ended) = client.await.unwrap();
            let tenth = usize::try_from((ended - began).as_millis() / 400).unwrap();
            tenths[tenth] += 1;
            assert!(
                !is_slow || tenth >= 9 && got[0].len() > 100,
                "a slow one ended in tenth {tenth}: {got:?}"
            );
        }
        assert!(tenths.iter().take(7).all(|ended| (3..=5).contains(ended)), "{tenths:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn only_sessions_that_are_old_enough_are_let_go() {
        let minute = Duration::from_secs(60);
        let engine = engine(&Arc::new(Silent), Config::default().ping_interval(10 * minute)).await;
        // Whose client has followed its handshake.
        let open = async || {
            let session = polling(&engine).await;
            session.post(None).body(packets("4hi"));
            session
        };
        let old = [open().await, open().await];
        sleep(minute).await;
        let young = open().await;
        engine.let_go(9, 2 * minute, minute).await;
        assert_eq!((engine.counters().let_go.get(), engine.len()), (0, 3));
        let closing = engine.let_go(9, minute, minute);
        let polls = async { tokio::join!(old[0].poll(None, None), old[1].poll(None, None)) };
        tokio::join!(closing, polls);
        assert_eq!((engine.counters().let_go.get(), engine.len()), (2, 1));
        assert!(young.closed().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_poll_that_comes_just_when_the_outbox_overflows_is_not_answered_with_nothing() {
        let engine = engine(&Arc::new(Silent), Config::default().max_buffered(4096).max_burst(4096)).await;
        let session = polling(&engine).await;
        session.send_text("a");
        sleep(Duration::from_millis(1)).await;
        // So that the poll waits in the mailbox meanwhile.
        session.resume();
        let flood = async { (0..9).for_each(|_| session.send_text(&"x".repeat(1000))) };
        let (answer, ()) = tokio::join!(session.poll(None, None), flood);
        let PollAnswer::Payload { payload, .. } = answer else { panic!("{answer:?}") };
        assert_eq!(payload.bytes, "1");
    }

    #[derive(Debug)]
    struct Carried {
        is_lost: bool,
    }

    impl Way for Carried {
        fn is_lost(&self) -> bool {
            self.is_lost
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_get_whose_way_is_lost_before_its_answer_does_not_bring_the_answer_before_again() {
        let engine = engine(&Arc::new(Silent), Config::default()).await;
        let session = polling(&engine).await;
        let [lost, carried] = [true, false].map(|is_lost| Arc::new(Carried { is_lost }) as Arc<dyn Way>);
        let answer = async || match session.poll(None, Some(&carried)).await {
            PollAnswer::Payload { payload, .. } => payload.bytes,
            PollAnswer::Reply(reply) => panic!("{reply:?}"),
        };
        session.send_text("a");
        assert_eq!(answer().await, "4a");
        session.send_text("b");
        // So that the poll waits in the mailbox meanwhile.
        session.resume();
        tokio::select! {
            biased;
            answer = session.poll(None, Some(&lost)) => panic!("{answer:?}"),
            () = std::future::ready(()) => {}
        }
        let next = answer().await;
        assert_eq!(if next == "6" { answer().await } else { next }, "4b");
    }
}
