//! The namespaces of this node. What the application describes is fixed before the first client connects.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use smallvec::{SmallVec, smallvec};
use tokio::sync::Semaphore;

use super::admission::Admission;
use super::context::HubContext;
use super::counters::NamespaceCounts;
use super::handlers::Description;
use super::handshake::Handshake;
use super::namespace::LocalNamespace;
use super::parents::ParentNamespaces;
use super::paths::{NamespacePaths, normalize};
use super::weak_map::WeakMap;
use crate::catch_panic;
use crate::id::SocketId;
use crate::socket::messages::{Selection, SocketSummary};
use crate::socket::room::Room;

/// Finds namespaces by path, and makes dynamic ones when they are named.
///
/// A dynamic namespace lives as long as anything holds it: a socket, connected or not yet, or a reference of the
/// application. So clients that name paths leave nothing behind.
pub(crate) struct NamespaceRegistry {
    /// Those with a description of their own.
    fixed: HashMap<Arc<str>, Arc<LocalNamespace>>,
    parents: Arc<ParentNamespaces>,
    dynamic: Arc<WeakMap<LocalNamespace>>,
    context: HubContext,
    /// Bounds the requests of other nodes that are being responded to.
    pub(super) requests: Arc<Semaphore>,
}

impl NamespaceRegistry {
    pub(crate) fn new(descriptions: Vec<Description>, context: HubContext) -> Self {
        let (mut fixed, mut parents) = (HashMap::new(), Vec::new());
        for description in descriptions.into_iter().map(Arc::new) {
            if let NamespacePaths::One(path) = &description.paths {
                let path = Arc::clone(path);
                let (own, context) = (Arc::clone(&path), context.clone());
                fixed.insert(path, LocalNamespace::new(own, Some(description), context, None));
            } else {
                parents.push(description);
            }
        }
        let (parents, dynamic) = (Arc::new(ParentNamespaces(parents)), Arc::default());
        Self { fixed, parents, dynamic, context, requests: Arc::new(Semaphore::new(MAX_REQUESTS)) }
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
        let described = self.fixed.values().filter_map(|namespace| namespace.description());
        for description in described.chain(&self.parents.0) {
            let name = description.paths.to_string();
            figures.entry(name).or_default().counts.add(description.counters.counts());
        }
        for namespace in self.fixed.values().cloned().chain(self.dynamic.all()) {
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
        for namespace in self.fixed.values().cloned().chain(self.dynamic.all()) {
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
        self.fixed.values().cloned().chain(self.dynamic.all()).find_map(|namespace| {
            let selected = namespace.select(&selection);
            let summaries =
                selected.into_iter().filter_map(|selected| catch_panic::call(|| selected.summary()));
            let summary = summaries.into_iter().find(|summary| summary.id == id)?;
            Some((namespace.path.to_string(), summary))
        })
    }

    /// A namespace that exists.
    pub(crate) fn find(&self, path: &str) -> Option<Arc<LocalNamespace>> {
        self.fixed.get(path).cloned().or_else(|| self.dynamic.get(path))
    }

    /// Whether clients may enter a namespace whoever they are, as far as its path decides.
    pub(crate) fn serves(&self, path: &str) -> bool {
        self.fixed.contains_key(path) || self.parents.parent_of(path).is_some()
    }

    /// The namespace that a client asks for, if a client may ask for it.
    pub(crate) fn enter(&self, path: &str) -> Option<Arc<LocalNamespace>> {
        match self.fixed.get(path) {
            Some(fixed) => Some(Arc::clone(fixed)),
            None => self.parents.may_contain(path).then(|| self.dynamic(&path.into())),
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
        let path = normalize(path);
        self.fixed.get(&path).cloned().unwrap_or_else(|| self.dynamic(&path))
    }

    /// The namespaces that hold something, and the dynamic ones.
    #[cfg(feature = "fuzzing")]
    pub(crate) fn leftovers(&self) -> Vec<String> {
        let used = self.fixed.values().filter(|namespace| !namespace.is_unused());
        used.map(|namespace| namespace.path.to_string()).chain(self.dynamic.paths()).collect()
    }

    fn dynamic(&self, path: &Arc<str>) -> Arc<LocalNamespace> {
        self.dynamic.get(path).unwrap_or_else(|| {
            // Patterns are matched here, before the map is locked.
            let parent = self.parents.parent_of(path);
            self.dynamic.get_or_insert(path, || {
                let dynamic = Some(Arc::clone(&self.dynamic));
                LocalNamespace::new(Arc::clone(path), parent, self.context.clone(), dynamic)
            })
        })
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

/// Requests of other nodes that are responded to at once. Each may hold a list of all sockets here.
const MAX_REQUESTS: usize = 1024;

#[cfg(test)]
mod tests {
    use super::super::counters::NamespaceCounters;
    use super::super::handlers::NoHandlers;
    use super::super::tasks::HandlerTasks;
    use super::*;
    use crate::id::NodeId;
    use crate::socket::peers::NoPeers;
    use crate::socket::protocol::Parser;
    use regex_lite::Regex;

    /// `/fixed` and `^/room-`; with `predicate`, a predicate comes before the pattern.
    fn registry(predicate: bool) -> NamespaceRegistry {
        let mut paths = vec![NamespacePaths::One("/fixed".into())];
        if predicate {
            paths.push(NamespacePaths::Predicate(Box::new(|_| Box::pin(std::future::ready(Ok(true))))));
        }
        paths.push(NamespacePaths::Pattern(Regex::new("^/room-").unwrap()));
        let describe = |paths| {
            let (handlers, counters) = (Box::new(NoHandlers), NamespaceCounters::default());
            Description { paths, handlers, counters, faults: Vec::new() }
        };
        let context = HubContext {
            node: NodeId::random().unwrap(),
            peers: Arc::new(NoPeers),
            parser: Parser::Json,
            tasks: HandlerTasks::new(),
        };
        NamespaceRegistry::new(paths.into_iter().map(describe).collect(), context)
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
        assert!(format!("{:?}", registry.dynamic).contains("{}"), "no path is left: {:?}", registry.dynamic);
        assert!(registry.find("/fixed").is_some());
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
