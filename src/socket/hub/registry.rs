//! The namespaces of this node.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use parking_lot::Mutex;
use smallvec::{SmallVec, smallvec};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::admission::Admission;
use super::context::HubContext;
use super::counters::NamespaceCounts;
use super::handlers::Description;
use super::handshake::Handshake;
use super::namespace::LocalNamespace;
use super::notice::NoticeKind;
use super::parents::ParentNamespaces;
use super::paths::{NamespacePaths, normalize};
use super::recovery::{Keeping, Questions};
use super::requests::OpenRequests;
use super::siblings::Siblings;
use super::tasks::HandlerTasks;
use super::users::Words;
use super::weak_map::WeakMap;
use crate::catch_panic;
use crate::id::SocketId;
use crate::socket::messages::{Command, CommandKind, Selection, SocketSummary};
use crate::socket::room::Room;

/// Finds namespaces by path, and makes dynamic ones when they are named.
///
/// A dynamic namespace lives as long as anything holds it: a socket, connected or not yet, or a reference of the
/// application. So clients that name paths leave nothing behind.
pub(crate) struct NamespaceRegistry {
    /// Every one that anything holds.
    named: WeakMap<LocalNamespace>,
    /// Holds those with a description of their own.
    fixed: Mutex<Vec<Arc<LocalNamespace>>>,
    parents: Arc<ParentNamespaces>,
    context: HubContext,
    me: Weak<Self>,
    /// Whether a handler of any namespace sees the packets of clients.
    sees_packets: AtomicBool,
    /// What tells other nodes about sessions, once clients of any namespace may come back.
    keeper: OnceLock<AbortOnDropHandle<()>>,
    /// The requests of other nodes that are being responded to.
    pub(super) requests: OpenRequests,
    /// What other nodes ask for clients that are back there.
    pub(super) questions: Questions,
}

impl NamespaceRegistry {
    /// The descriptions were checked.
    pub(crate) fn new(descriptions: Vec<Description>, context: HubContext) -> Arc<Self> {
        let registry = Arc::new_cyclic(|me| Self {
            named: WeakMap::default(),
            fixed: Mutex::default(),
            parents: Arc::default(),
            context,
            me: Weak::clone(me),
            sees_packets: AtomicBool::new(false),
            keeper: OnceLock::new(),
            requests: OpenRequests::default(),
            questions: Questions::default(),
        });
        // Not before it is there: a task that finds it gone ends for good.
        for description in descriptions {
            let _checked_before = registry.add(description);
        }
        registry
    }

    /// Serves what is described from now on.
    ///
    /// # Errors
    /// When the description contradicts itself, or what there is already. Nothing changes then.
    pub(crate) fn add(&self, mut description: Description) -> Result<(), String> {
        if let Some(fault) = description.faults.first() {
            return Err(fault.clone());
        }
        if description.recovery.is_none() {
            description.recovery.clone_from(&self.keeping().default);
        }
        if description.recovery.is_some() {
            self.begin_keeping();
        }
        let description = Arc::new(description);
        if description.handlers.wants(NoticeKind::Packet) {
            self.sees_packets.store(true, Ordering::Relaxed);
        }
        match &description.paths {
            NamespacePaths::One(path) => self.add_one(path, &description),
            paths => {
                let name = paths.to_string();
                let is_it = |parent: &Arc<Description>| parent.paths.to_string() == name;
                if !paths.depend_on_the_client() && self.parents.all().iter().any(is_it) {
                    return Err(DESCRIBED_TWICE.to_owned());
                }
                self.parents.push(Arc::clone(&description));
                self.describe_the_nameless();
                Ok(())
            }
        }
    }

    /// It is made as any other is, so that whoever names it meanwhile, or did so before, has the same.
    fn add_one(&self, path: &Arc<str>, description: &Arc<Description>) -> Result<(), String> {
        let namespace = self.named.get_or_insert(path, || self.make(path, None));
        let has = namespace.describe(description);
        if Arc::ptr_eq(has, description) {
            self.fixed.lock().push(namespace);
            return Ok(());
        }
        Err(match &has.paths {
            NamespacePaths::One(_) => DESCRIBED_TWICE.to_owned(),
            others => format!("it is in use as one of {others}"),
        })
    }

    /// Gives those that the application named, and nothing described, the description that they would have now.
    fn describe_the_nameless(&self) {
        for namespace in self.named.all() {
            if namespace.description().is_none()
                && let Some(parent) = self.parents.parent_of(&namespace.path)
            {
                namespace.describe(&parent);
            }
        }
    }

    /// Says, once, which node this is.
    pub(crate) fn set_host(&self, host: Weak<dyn Any + Send + Sync>) {
        self.context.host.get_or_init(|| host);
    }

    /// What lets clients of this node come back.
    pub(crate) fn keeping(&self) -> &Arc<Keeping> {
        &self.context.keeping
    }

    pub(super) fn tasks(&self) -> &HandlerTasks {
        &self.context.tasks
    }

    /// From now on other nodes are told of sessions.
    pub(super) fn begin_keeping(&self) {
        self.keeper.get_or_init(|| {
            let me = Weak::clone(&self.me);
            self.context.tasks.spawn_aside(Self::keep_on(me))
        });
    }

    /// Whether clients of this node may come back, or it keeps sessions of others.
    pub(super) fn keeps(&self) -> bool {
        self.keeper.get().is_some() || self.keeping().states.lock().len() > 0
    }

    pub(super) fn parents(&self) -> &ParentNamespaces {
        &self.parents
    }

    pub(super) fn me(&self) -> Weak<Self> {
        Weak::clone(&self.me)
    }

    /// Whether a handler of any namespace sees the packets of clients.
    pub(crate) fn sees_packets(&self) -> bool {
        self.sees_packets.load(Ordering::Relaxed)
    }

    /// Tells the other nodes what was said of users, because some of them may not know.
    pub(crate) fn tell_blocks(&self, words: Words) {
        let blocks = self.context.users.words(words, Instant::now());
        for blocks in blocks.chunks(BLOCKS) {
            let (namespace, kind) = ("/".into(), CommandKind::Block(blocks.to_vec()));
            self.context.peers.command(&Command { namespace, selection: Selection::default(), kind });
        }
    }

    /// Resolves when no handler runs, of a socket or a server event.
    pub(crate) async fn handlers_ended(&self) {
        self.context.tasks.ended().await;
    }

    /// How many tasks run handlers.
    pub(crate) fn running_handlers(&self) -> usize {
        self.context.tasks.len()
    }

    /// Ends every handler where it waits.
    pub(crate) fn kill_handlers(&self) {
        self.context.tasks.kill();
    }

    /// The namespaces by what describes them, so that those of a pattern are one: what is here, and what happened here.
    pub(crate) fn figures(&self) -> Vec<NamespaceFigures> {
        let mut figures: BTreeMap<String, NamespaceFigures> = BTreeMap::new();
        let (fixed, parents) = (self.fixed.lock().clone(), self.parents.all());
        let described = fixed.iter().filter_map(|namespace| namespace.description());
        for description in described.chain(parents.iter()) {
            let name = description.paths.to_string();
            figures.entry(name).or_default().counts.add(description.counters.counts());
        }
        for namespace in self.named.all() {
            let Some(description) = namespace.description() else { continue };
            let figures = figures.entry(description.paths.to_string()).or_default();
            figures.sockets += namespace.len();
            figures.rooms += namespace.rooms();
        }
        let named = figures.into_iter().map(|(name, figures)| NamespaceFigures { name, ..figures });
        named.collect()
    }

    /// The largest rooms of this node, those with most sockets first. They are visited a few at a time, so nobody waits for them.
    pub(crate) fn largest_rooms(&self, most: usize) -> Vec<RoomSize> {
        let mut largest = Vec::new();
        for namespace in self.named.all() {
            largest.extend(namespace.largest_rooms(most).into_iter().map(|(room, sockets)| RoomSize {
                namespace: namespace.path.to_string(),
                room,
                sockets,
            }));
        }
        largest.sort_unstable_by(|one, other| {
            other.sockets.cmp(&one.sockets).then_with(|| one.room.cmp(&other.room))
        });
        largest.truncate(most);
        largest
    }

    /// The socket with this id, if it is here, and its namespace. Runs the application's function that describes data.
    pub(crate) fn find_socket(&self, id: SocketId) -> Option<(String, SocketSummary)> {
        let selection = Selection { rooms: smallvec![Room::Own(id)], except: SmallVec::new() };
        self.named.all().into_iter().find_map(|namespace| {
            let selected = namespace.select(&selection);
            let summaries =
                selected.into_iter().filter_map(|selected| catch_panic::call(|| selected.summary(true)));
            let summary = summaries.into_iter().find(|summary| summary.id == id)?;
            Some((namespace.path.to_string(), summary))
        })
    }

    /// A namespace that exists.
    pub(crate) fn find(&self, path: &str) -> Option<Arc<LocalNamespace>> {
        self.named.get(path)
    }

    /// Every namespace that exists, in the order of their paths.
    pub(crate) fn all(&self) -> Vec<Arc<LocalNamespace>> {
        let mut all = self.named.all();
        all.sort_unstable_by(|one, other| one.path.cmp(&other.path));
        all
    }

    /// Whether clients may enter a namespace whoever they are, as far as its path decides.
    pub(crate) fn serves(&self, path: &str) -> bool {
        self.find(path).is_some_and(|namespace| namespace.stands_alone())
            || self.parents.parent_of(path).is_some()
    }

    /// The namespace that a client asks for, if a client may ask for it.
    pub(crate) fn enter(&self, path: &str) -> Option<Arc<LocalNamespace>> {
        match self.find(path) {
            Some(namespace) if namespace.stands_alone() => Some(namespace),
            known => {
                let may_ask = self.parents.may_contain(path);
                may_ask.then(|| known.unwrap_or_else(|| self.find_or_make(&path.into())))
            }
        }
    }

    /// Starts to decide whether a client may enter the namespace.
    pub(crate) fn admit(&self, namespace: &Arc<LocalNamespace>, handshake: Handshake) -> Admission {
        match namespace.description() {
            Some(description) if !description.paths.depend_on_the_client() => {
                description.handlers.admit(handshake)
            }
            _ => {
                let (parents, namespace) = (Arc::clone(&self.parents), Arc::clone(namespace));
                Admission::Deciding(Box::pin(async move { parents.admit(&namespace, handshake).await }))
            }
        }
    }

    /// A namespace to emit to. This node need not serve it: other nodes may have sockets in it.
    pub(crate) fn of(&self, path: &str) -> Arc<LocalNamespace> {
        self.find_or_make(&normalize(path))
    }

    /// The namespaces that hold something, the dynamic ones, and whether a user has a socket.
    #[cfg(feature = "fuzzing")]
    pub(crate) fn leftovers(&self) -> Vec<String> {
        let fixed = self.fixed.lock().clone();
        let used = fixed.iter().filter(|namespace| !namespace.is_unused());
        let is_dynamic = |path: &String| !fixed.iter().any(|namespace| *namespace.path == **path);
        let dynamic = self.named.paths().into_iter().filter(is_dynamic);
        let users = (!self.context.users.is_empty()).then(|| "a user".to_owned());
        used.map(|namespace| namespace.path.to_string()).chain(dynamic).chain(users).collect()
    }

    pub(super) fn find_or_make(&self, path: &Arc<str>) -> Arc<LocalNamespace> {
        self.named.get(path).unwrap_or_else(|| {
            // Patterns are matched here, before the map is locked.
            let parent = self.parents.parent_of(path);
            self.named.get_or_insert(path, || self.make(path, parent))
        })
    }

    fn make(&self, path: &Arc<str>, description: Option<Arc<Description>>) -> Arc<LocalNamespace> {
        let siblings = Weak::clone(&self.me) as Weak<dyn Siblings<LocalNamespace>>;
        let expected = if description.is_none() { self.parents.recovery_of(path) } else { None };
        LocalNamespace::new(Arc::clone(path), description, expected, self.context.clone(), siblings)
    }
}

impl Siblings<LocalNamespace> for NamespaceRegistry {
    fn of(&self, path: &str) -> Arc<LocalNamespace> {
        self.of(path)
    }

    fn forget(&self, path: &str) {
        self.named.forget(path);
    }
}

/// What is on this node of a namespace, or of all that one description stands for, and what happened there.
#[derive(Debug, Default)]
pub(crate) struct NamespaceFigures {
    pub(crate) name: String,
    pub(crate) sockets: usize,
    pub(crate) rooms: usize,
    pub(crate) counts: NamespaceCounts,
}

/// A room, and how many sockets of this node joined it.
#[derive(Debug)]
pub(crate) struct RoomSize {
    pub(crate) namespace: String,
    pub(crate) room: Room,
    pub(crate) sockets: usize,
}

impl fmt::Debug for NamespaceRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NamespaceRegistry").field("fixed", &self.fixed).finish_non_exhaustive()
    }
}

const DESCRIBED_TWICE: &str = "described twice";
/// Blocks of users in one message to the other nodes.
const BLOCKS: usize = 1000;

#[cfg(test)]
mod tests {
    use super::super::counters::NamespaceCounters;
    use super::super::handlers::NoHandlers;
    use super::super::recovery::KeepingSettings;
    use super::super::users::Users;
    use super::*;
    use crate::id::{Incarnation, NodeId};
    use crate::socket::peers::NoPeers;
    use crate::socket::protocol::Parser;
    use crate::socket::recovery::{Recovery, StatesLimits};
    use regex_lite::Regex;
    use std::time::Duration;

    fn one(path: &str) -> Description {
        describe(NamespacePaths::One(path.into()))
    }

    fn pattern(pattern: &str) -> Description {
        describe(NamespacePaths::Pattern(Regex::new(pattern).unwrap()))
    }

    fn anything() -> Description {
        describe(NamespacePaths::Predicate(Arc::new(|_| Box::pin(std::future::ready(Ok(true))))))
    }

    fn describe(paths: NamespacePaths) -> Description {
        let (handlers, counters) = (Arc::new(NoHandlers), NamespaceCounters::default());
        Description { paths, handlers, counters, recovery: None, faults: Vec::new() }
    }

    /// `/fixed` and `^/room-`; with `predicate`, a predicate comes before the pattern.
    fn registry(predicate: bool) -> Arc<NamespaceRegistry> {
        let mut descriptions = vec![one("/fixed")];
        descriptions.extend(predicate.then(anything));
        descriptions.push(pattern("^/room-"));
        registry_of(descriptions, None)
    }

    fn registry_of(descriptions: Vec<Description>, default: Option<Recovery>) -> Arc<NamespaceRegistry> {
        let (node, peers) = (NodeId::random().unwrap(), Arc::new(NoPeers));
        let limits = StatesLimits { sessions: 10, bytes: 1 << 20 };
        let settings = KeepingSettings { default, heartbeat: Duration::ZERO, limits, packet_bytes: 1 << 20 };
        let context = HubContext {
            keeping: Keeping::new(node.clone(), Arc::<NoPeers>::clone(&peers), settings),
            node,
            peers,
            parser: Parser::Json,
            version_2_ids: false,
            tasks: HandlerTasks::new(),
            users: Arc::new(Users::new(Incarnation(0))),
            host: Arc::default(),
        };
        NamespaceRegistry::new(descriptions, context)
    }

    fn paths(registry: &NamespaceRegistry) -> Vec<String> {
        registry.all().iter().map(|namespace| namespace.path.to_string()).collect()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn sessions_are_told_of_from_the_beginning_to_the_end_however_long_a_node_takes_to_describe_itself()
    {
        let many = (0..5_000).map(|number| one(&format!("/{number}"))).collect();
        let registry = registry_of(many, Some(Recovery::default()));
        assert!(registry.keeper.get().is_some_and(|keeper| !keeper.is_finished()));
    }

    #[tokio::test]
    async fn a_path_names_the_same_namespace_while_anything_holds_it() {
        let registry = registry(false);
        for path in ["/fixed", "/room-1", "/not-served"] {
            let named = registry.of(path);
            assert!(Arc::ptr_eq(&named, &registry.of(path)), "{path}");
            assert!(Arc::ptr_eq(&named, &registry.find(path).unwrap()), "{path}");
            assert_eq!(named.description().is_some(), path != "/not-served");
        }
        let entered = registry.enter("/room-2").unwrap();
        assert!(Arc::ptr_eq(&entered, &registry.of("room-2")));
        assert!(registry.enter("/not-served").is_none());
    }

    #[tokio::test]
    async fn a_namespace_that_nothing_holds_is_forgotten() {
        let registry = registry(false);
        for n in 0..100 {
            drop(registry.enter(&format!("/room-{n}")));
            drop(registry.of(&format!("/not-served-{n}")));
        }
        assert!((0..100).all(|n| registry.find(&format!("/room-{n}")).is_none()));
        assert_eq!(paths(&registry), ["/fixed"]);
        let map = format!("{:?}", registry.named);
        assert!(!map.contains("/room") && !map.contains("/not-served"), "no path is left: {map}");
    }

    #[tokio::test]
    async fn a_namespace_that_is_added_is_the_one_that_was_named_before() {
        let registry = registry(false);
        let early = registry.of("/late");
        assert!(registry.enter("/late").is_none() && !registry.serves("/late"));
        assert_eq!(registry.add(one("/late")), Ok(()));
        assert!(Arc::ptr_eq(&early, &registry.enter("/late").unwrap()));
        assert!(early.stands_alone() && registry.serves("/late"));
        drop(early);
        assert_eq!(paths(&registry), ["/fixed", "/late"], "it stays though nobody refers to it");
        let early = registry.of("/more-1");
        assert_eq!(registry.add(pattern("^/more-")), Ok(()));
        assert!(early.description().is_some(), "it has handlers before the first client");
        assert!(registry.serves("/more-2"));
    }

    #[tokio::test]
    async fn what_contradicts_what_there_is_already_is_not_added() {
        let registry = registry(false);
        let twice = || Err("described twice".to_owned());
        assert_eq!(registry.add(one("/fixed")), twice());
        assert_eq!(registry.add(pattern("^/room-")), twice());
        let used = registry.enter("/room-1").unwrap();
        assert_eq!(registry.add(one("/room-1")), Err("it is in use as one of ^/room-".to_owned()));
        drop(used);
        assert_eq!(registry.add(one("/room-1")), Ok(()), "nobody is in it any more");
        let faulty = Description { faults: vec!["faulty".to_owned()], ..one("/faulty") };
        assert_eq!(registry.add(faulty), Err("faulty".to_owned()));
        assert!(registry.enter("/faulty").is_none());
        assert_eq!((registry.add(anything()), registry.add(anything())), (Ok(()), Ok(())));
    }

    #[tokio::test]
    async fn while_a_predicate_comes_first_the_description_depends_on_the_client() {
        let registry = registry(true);
        assert!(!registry.serves("/room-1"));
        assert!(registry.enter("/room-1").unwrap().description().is_none());
        assert!(registry.enter("/whatever").is_some());
        assert!(registry.serves("/fixed"));
    }
}
