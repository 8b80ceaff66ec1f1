//! The first message between two nodes: who speaks, and whether they are compatible (docs/protocol/mesh.md, "Hello").

use std::net::SocketAddr;
use std::ops::RangeInclusive;

use super::address::{OwnAddress, unknown};
use super::view::{MemberView, NodeState, SettingDifference};
use super::wire::pb;
use crate::id::{Incarnation, NodeId};
use pb::refusal::Reason;

/// What a node says about itself in every hello.
#[derive(Debug, Clone)]
pub(crate) struct LocalNode {
    pub(crate) id: NodeId,
    pub(crate) incarnation: Incarnation,
    pub(crate) address: OwnAddress,
    pub(crate) cluster: String,
    pub(crate) parser: String,
    /// The settings of sessions that all nodes should share, with their values for people.
    pub(crate) settings: Vec<(&'static str, String)>,
}

/// What the other node said, after the check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Greeting {
    pub(crate) id: NodeId,
    pub(crate) incarnation: Incarnation,
    /// Where it says it is reached. Unspecified when it leaves that to the receiver.
    pub(crate) address: SocketAddr,
    pub(crate) state: NodeState,
    pub(crate) resume: Resume,
    /// The members that it knows, the receiver among them. They are dialled.
    pub(crate) members: Vec<KnownMember>,
    /// Whether it keeps the sessions of clients that may come back.
    pub(crate) recovers: bool,
    /// The settings that it has otherwise.
    pub(crate) differing: Vec<SettingDifference>,
}

/// A stream on which two nodes said hello, as one of them numbers it. A number is used once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LinkId(pub(crate) u64);

/// Up to where a log was received. Log 0 means that nothing was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Resume {
    pub(crate) log: u64,
    pub(crate) seq: u64,
}

/// A member that a hello names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KnownMember {
    pub(crate) id: NodeId,
    pub(crate) incarnation: Incarnation,
    /// Unspecified when the sender knows none that the receiver can use.
    pub(crate) address: SocketAddr,
}

impl LocalNode {
    /// The hello to one node, which may reach this one at `address`.
    pub(crate) fn hello(
        &self,
        address: SocketAddr,
        state: NodeState,
        resume: Resume,
        members: impl IntoIterator<Item = KnownMember>,
    ) -> pb::Hello {
        pb::Hello {
            protocol_min: *PROTOCOL.start(),
            protocol_max: *PROTOCOL.end(),
            cluster: self.cluster.clone(),
            node_id: self.id.to_string(),
            incarnation: self.incarnation.0,
            address: address.to_string(),
            parser: self.parser.clone(),
            features: RECOVERY,
            state: pb::NodeState::from(state).into(),
            resume_log: resume.log,
            resume_seq: resume.seq,
            members: members.into_iter().take(MAX_MEMBERS).map(pb::Member::from).collect(),
            settings: self.settings.iter().map(pair).collect(),
        }
    }

    /// Checks what a node said. `certified` is the id in its certificate, or the one that a relay vouches for.
    ///
    /// # Errors
    /// The refusal to answer with.
    pub(crate) fn check(&self, hello: &pb::Hello, certified: &NodeId) -> Result<Greeting, pb::Refusal> {
        let incarnation = Incarnation(hello.incarnation);
        if certified == &self.id && incarnation == self.incarnation {
            return Err(refusal(Reason::Self_, "this is the node that dialled"));
        }
        if hello.node_id != certified.as_str() || certified == &self.id {
            let why = format!(
                "node id {:?}, but the certificate says {certified}, met by {}",
                hello.node_id, self.id
            );
            return Err(refusal(Reason::Identity, &why));
        }
        self.check_compatible(hello)?;
        let Ok(address) = hello.address.parse() else {
            return Err(refusal(Reason::Identity, "the address is no ip:port"));
        };
        Ok(Greeting {
            id: certified.clone(),
            incarnation,
            address,
            state: NodeState::from(hello.state()),
            resume: Resume { log: hello.resume_log, seq: hello.resume_seq },
            members: hello.members.iter().filter_map(KnownMember::parse).take(MAX_MEMBERS).collect(),
            recovers: hello.features & RECOVERY != 0,
            differing: self.differing(&hello.settings),
        })
    }

    /// The settings that both nodes name and that differ. One that only one of them knows belongs to another version.
    fn differing(&self, theirs: &[pb::Pair]) -> Vec<SettingDifference> {
        let differs = |(name, here): &(&'static str, String)| {
            let there = theirs.iter().find(|pair| pair.name == *name).map(|pair| &pair.value)?;
            let difference = || SettingDifference { name, here: here.clone(), there: shortened(there) };
            (there != here).then(difference)
        };
        self.settings.iter().filter_map(differs).collect()
    }

    fn check_compatible(&self, hello: &pb::Hello) -> Result<(), pb::Refusal> {
        if hello.cluster != self.cluster {
            let why = format!("cluster {:?} meets cluster {:?}", hello.cluster, self.cluster);
            return Err(refusal(Reason::Cluster, &why));
        }
        if hello.protocol_max < *PROTOCOL.start() || hello.protocol_min > *PROTOCOL.end() {
            let theirs = hello.protocol_min..=hello.protocol_max;
            return Err(refusal(
                Reason::Protocol,
                &format!("protocol {theirs:?} meets protocol {PROTOCOL:?}"),
            ));
        }
        if hello.parser != self.parser {
            let why = format!("parser {:?} meets parser {:?}", hello.parser, self.parser);
            return Err(refusal(Reason::Parser, &why));
        }
        Ok(())
    }
}

/// What another node says does not fill a log.
fn shortened(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(64).collect()
}

fn pair((name, value): &(&'static str, String)) -> pb::Pair {
    pb::Pair { name: (*name).to_owned(), value: value.clone() }
}

/// The answer that refuses a hello.
pub(crate) fn refusal(reason: Reason, detail: &str) -> pb::Refusal {
    pb::Refusal { reason: reason.into(), detail: detail.to_owned() }
}

impl KnownMember {
    /// The same without an address that the receiver cannot use.
    pub(crate) fn for_peer(mut self, may_be_told: impl Fn(SocketAddr) -> bool) -> Self {
        if !may_be_told(self.address) {
            self.address = unknown(0);
        }
        self
    }

    fn parse(member: &pb::Member) -> Option<Self> {
        let id = member.node_id.parse().ok()?;
        Some(Self { id, incarnation: Incarnation(member.incarnation), address: member.address.parse().ok()? })
    }
}

impl From<KnownMember> for pb::Member {
    fn from(KnownMember { id, incarnation, address }: KnownMember) -> Self {
        Self { node_id: id.to_string(), incarnation: incarnation.0, address: address.to_string() }
    }
}

impl From<&MemberView> for KnownMember {
    fn from(member: &MemberView) -> Self {
        Self { id: member.id.clone(), incarnation: member.incarnation, address: member.address }
    }
}

impl From<NodeState> for pb::NodeState {
    fn from(state: NodeState) -> Self {
        match state {
            NodeState::Joining => Self::Joining,
            NodeState::Ready => Self::Ready,
            NodeState::Draining => Self::Draining,
            NodeState::Hung => Self::Hung,
        }
    }
}

impl From<pb::NodeState> for NodeState {
    fn from(state: pb::NodeState) -> Self {
        match state {
            // A state of a later version: not one to send new clients to.
            pb::NodeState::Unspecified | pb::NodeState::Joining => Self::Joining,
            pb::NodeState::Ready => Self::Ready,
            pb::NodeState::Draining => Self::Draining,
            pb::NodeState::Hung => Self::Hung,
        }
    }
}

/// The protocol versions this build speaks. Two nodes speak the highest that both do.
const PROTOCOL: RangeInclusive<u32> = 1..=1;
/// The bit of a node that keeps the sessions of clients that may come back.
const RECOVERY: u64 = 1;
/// How many members a hello names: they fit the largest prelude, and gossip brings the others.
const MAX_MEMBERS: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn address() -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], 7946))
    }

    fn me(id: &str) -> LocalNode {
        LocalNode {
            id: id.parse().unwrap(),
            incarnation: Incarnation(7),
            address: OwnAddress::at(address()),
            cluster: "chat".to_owned(),
            parser: "socket.io".to_owned(),
            settings: Vec::new(),
        }
    }

    fn hello(id: &str) -> pb::Hello {
        me(id).hello(address(), NodeState::Ready, Resume { log: 3, seq: 4 }, [])
    }

    fn reason(hello: &pb::Hello, certified: &str) -> Reason {
        me("a").check(hello, &certified.parse().unwrap()).unwrap_err().reason()
    }

    #[test]
    fn a_hello_says_who_speaks_and_where_the_link_resumes() {
        let member =
            KnownMember { id: "c".parse().unwrap(), incarnation: Incarnation(1), address: address() };
        let hello =
            me("b").hello(address(), NodeState::Draining, Resume { log: 3, seq: 4 }, [member.clone()]);
        let greeting = me("a").check(&hello, &"b".parse().unwrap()).unwrap();
        assert_eq!(greeting.id.as_str(), "b");
        assert_eq!((greeting.state, greeting.resume), (NodeState::Draining, Resume { log: 3, seq: 4 }));
        assert_eq!(greeting.members, [member]);
    }

    #[test]
    fn what_does_not_belong_together_is_refused_with_the_reason() {
        assert_eq!(reason(&pb::Hello { cluster: "other".into(), ..hello("b") }, "b"), Reason::Cluster);
        assert_eq!(reason(&pb::Hello { parser: "msgpack".into(), ..hello("b") }, "b"), Reason::Parser);
        let (protocol_min, protocol_max) = (2, 3);
        assert_eq!(reason(&pb::Hello { protocol_min, protocol_max, ..hello("b") }, "b"), Reason::Protocol);
        assert_eq!(reason(&pb::Hello { address: "nowhere".into(), ..hello("b") }, "b"), Reason::Identity);
    }

    #[test]
    fn settings_that_differ_are_named_with_both_values() {
        let pair = |(name, value): &(&str, &str)| pb::Pair { name: (*name).into(), value: (*value).into() };
        let settings = vec![("ping_interval", "25s".to_owned()), ("max_payload", "1000000".to_owned())];
        let me = LocalNode { settings, ..me("a") };
        let differing = |theirs: &[_]| {
            let hello = pb::Hello { settings: theirs.iter().map(pair).collect(), ..hello("b") };
            me.check(&hello, &"b".parse().unwrap()).unwrap().differing
        };
        let theirs = [("ping_interval", "10s"), ("max_payload", "1000000"), ("of_a_later_version", "1")];
        let said: Vec<_> = differing(&theirs).iter().map(ToString::to_string).collect();
        assert_eq!(said, ["ping_interval is 25s here and 10s there"]);
        assert_eq!(differing(&theirs[1..]), [], "what only one of them knows");
        assert_eq!(differing(&[]), [], "a node of an earlier version");
    }

    #[test]
    fn nobody_speaks_for_another() {
        assert_eq!(reason(&hello("b"), "c"), Reason::Identity);
        assert_eq!(reason(&pb::Hello { incarnation: 8, ..hello("a") }, "a"), Reason::Identity);
        assert_eq!(reason(&hello("a"), "a"), Reason::Self_);
    }

    #[test]
    fn a_newer_node_that_still_speaks_our_version_is_welcome() {
        let hello = pb::Hello { protocol_max: 9, features: u64::MAX, state: 99, ..hello("b") };
        let greeting = me("a").check(&hello, &"b".parse().unwrap()).unwrap();
        assert_eq!(greeting.state, NodeState::Joining);
    }

    #[test]
    fn an_older_node_says_nothing_of_recovery() {
        let recovers = |hello: &pb::Hello| me("a").check(hello, &"b".parse().unwrap()).unwrap().recovers;
        assert!(recovers(&hello("b")) && !recovers(&pb::Hello { features: 0, ..hello("b") }));
    }

    #[test]
    fn a_hello_with_all_members_fits_a_prelude() {
        let member = |n| KnownMember {
            id: format!("{n:0>63}").parse().unwrap(),
            incarnation: Incarnation(u64::MAX),
            address: "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535".parse().unwrap(),
        };
        let hello = me("a").hello(address(), NodeState::Ready, Resume::default(), (0..999).map(member));
        assert!(crate::cluster::wire::encode_prelude(&hello).len() < crate::cluster::wire::MAX_PRELUDE);
    }

    proptest! {
        #[test]
        fn any_hello_is_checked_or_refused(node_id: String, address: String, state: i32, cluster: String) {
            let hello = pb::Hello { node_id, address, state, cluster, ..hello("b") };
            let _checked = me("a").check(&hello, &"b".parse().unwrap());
        }
    }
}
