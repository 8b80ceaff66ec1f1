//! What a scenario consists of: where the nodes run, what is done to them and when, and what must hold nevertheless.

use std::time::Duration;

use super::network::link::Condition;
use crate::dice::Dice;

/// A part in a scenario. The seed decides which node plays it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// The first node that starts.
    A,
    /// The second one.
    B,
    /// The third one.
    C,
    /// The fourth one.
    D,
    /// The fifth one.
    E,
}

/// All parts.
pub const EVERYBODY: &[Role] = &[Role::A, Role::B, Role::C, Role::D, Role::E];

/// Something that is done at a moment.
#[derive(Debug, Clone, Copy)]
pub enum Step {
    /// Packets between these and those nodes, both ways, are treated like this.
    Between(&'static [Role], &'static [Role], Condition),
    /// Packets from these to those nodes.
    From(&'static [Role], &'static [Role], Condition),
    /// Everything passes everywhere.
    Heal,
    /// Processes are killed.
    Kill(&'static [Role]),
    /// A process is asked to stop, and has stopped before the next step.
    Stop(Role),
    /// Processes are started again, at the same addresses.
    Start(&'static [Role]),
    /// The next step waits until these are ready, for as long as [`READY`] at most.
    Ready(&'static [Role]),
    /// A process gets no time.
    Pause(Role),
    /// It gets time again.
    Resume(Role),
    /// The threads of the application sleep for 12 s; those of the mesh do not.
    Hang(Role),
    /// The wall clock of a node is that many seconds ahead from now on.
    Clock(Role, i64),
    /// A process gets at most that many percent of one core.
    Share(Role, u32),
    /// It gets as much as it wants again.
    AllShares,
    /// The name server answers, or does not.
    NameServer(bool),
    /// Each client emits at this interval, in milliseconds.
    Every(u64),
    /// A process is started somewhere else under the name of this node.
    Impostor(Role),
    /// That process is killed.
    NoImpostor,
}

/// The way nodes find each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seeds {
    /// The addresses of the first two.
    Addresses,
    /// A name that leads to all of them.
    Name,
    /// One virtual address that leads to any of them, perhaps to the node itself.
    Virtual,
}

/// Where the nodes run, and what clients do.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// How nodes find each other.
    pub seeds: Seeds,
    /// All nodes have the same address; a gateway translates it.
    pub same_address: bool,
    /// The last two are a cluster of their own, with another secret and the same seeds.
    pub two_clusters: bool,
    /// The clocks of nodes can be moved.
    pub clocks: bool,
    /// Clients join and leave a room all the time.
    pub storm: bool,
}

/// What must hold in a scenario beyond what always holds.
#[derive(Debug, Clone, Copy)]
pub struct Promise {
    /// Between which nodes messages may be lost, if both sides count them: those with at least one of these. What dies with
    /// its sender or receiver is no loss.
    pub may_lose: &'static [Role],
    /// Who may be missing in the view of another, or miss others, without having been ended.
    pub may_be_gone: &'static [Role],
    /// Clients may lose their connection though their node lives.
    pub may_disconnect: bool,
    /// The clients behind load balancers keep their connections, whatever happens.
    pub official_stay: bool,
    /// How long it may take until everybody who lives misses a process that was killed and is not started again meanwhile.
    pub noticed_within: Option<Duration>,
}

/// A scenario.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// What it is called on the command line.
    pub name: &'static str,
    /// What happens, and what must hold.
    pub about: &'static str,
    /// Whether it is one of those that every change must pass.
    pub in_ci: bool,
    /// Where.
    pub setting: Setting,
    /// What is done, with the seconds since the start of the play.
    pub steps: &'static [(f32, Step)],
    /// What must hold.
    pub promise: Promise,
}

/// Who plays which part.
#[derive(Debug, Clone)]
pub struct Cast(Vec<usize>);

impl Cast {
    /// A random distribution.
    #[must_use]
    pub fn new(dice: &mut Dice) -> Self {
        let mut nodes: Vec<usize> = (0..EVERYBODY.len()).collect();
        dice.shuffle(&mut nodes);
        Self(nodes)
    }

    /// The number of the node that plays a part.
    #[must_use]
    pub fn node(&self, role: Role) -> usize {
        self.0.get(role as usize).copied().unwrap_or_default()
    }

    /// The numbers of several.
    pub fn nodes(&self, roles: &'static [Role]) -> impl Iterator<Item = usize> {
        roles.iter().map(|role| self.node(*role))
    }
}

/// The longest time that nodes have to become ready, and to see each other after everything is healed.
pub const READY: Duration = Duration::from_secs(20);
