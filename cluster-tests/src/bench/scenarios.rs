//! What is measured.

use clap::Parser as _;
use socketmesh_load::Scenario as Load;

use super::systems::System;

/// One situation.
#[derive(Debug)]
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// What it is about.
    pub title: &'static str,
    /// How many nodes each system has.
    pub nodes: usize,
    /// The load, as `socketmesh load` takes it; addresses and processes are added.
    pub line: &'static str,
    /// What is told of it.
    pub figures: Figures,
}

/// The columns of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Figures {
    /// As much as goes: rate and cost.
    Saturated,
    /// At a fixed rate: durations and cost.
    Rate,
    /// Connections and memory.
    Idle,
    /// Connections alone.
    Storm,
    /// What each process used.
    Processes,
}

use Figures::{Idle, Processes, Rate, Saturated, Storm};

const fn of(name: &'static str, title: &'static str, figures: Figures, line: &'static str) -> Scenario {
    Scenario { name, title, nodes: 2, line, figures }
}

/// All of them. Two nodes, unless it is said.
pub static SCENARIOS: &[Scenario] = &[
    of("room-1000", "A room of 1000, 64 B, saturated", Saturated, "room --clients 1000"),
    of("room-1000-1k", "A room of 1000, 1 KiB, saturated", Saturated, "room --clients 1000 --payload 1024"),
    of(
        "room-1000-rate",
        "A room of 1000, 64 B, 10 messages per second",
        Rate,
        "room --clients 1000 --rate 10",
    ),
    of(
        "room-1000-1k-rate",
        "A room of 1000, 1 KiB, 10 messages per second",
        Rate,
        "room --clients 1000 --rate 10 --payload 1024",
    ),
    of(
        "rooms-10",
        "100 rooms of 10 over both nodes, 64 B, saturated",
        Saturated,
        "room --clients 1000 --rooms 100 --window 64",
    ),
    of(
        "rooms-10-1k",
        "100 rooms of 10 over both nodes, 1 KiB, saturated",
        Saturated,
        "room --clients 1000 --rooms 100 --window 64 --payload 1024",
    ),
    of(
        "rooms-10-rate",
        "100 rooms of 10 over both nodes, 64 B, 500 messages per second",
        Rate,
        "room --clients 1000 --rooms 100 --rate 500",
    ),
    of(
        "rooms-10-1k-rate",
        "100 rooms of 10 over both nodes, 1 KiB, 500 messages per second",
        Rate,
        "room --clients 1000 --rooms 100 --rate 500 --payload 1024",
    ),
    of(
        "rooms-whole",
        "100 rooms of 10, each with its sender on one node, 64 B, saturated",
        Saturated,
        "room --clients 1000 --rooms 100 --whole --window 64",
    ),
    of("direct", "From one client to another at the other node, saturated", Saturated, "direct --window 4"),
    of(
        "direct-rate",
        "From one client to another at the other node, 200 per second",
        Rate,
        "direct --rate 200",
    ),
    of("echo", "Events with an acknowledgement, saturated", Saturated, "echo --window 4"),
    of("echo-rate", "Events with an acknowledgement, 200 per second", Rate, "echo --rate 200"),
    of("polling-echo", "The same over polling, sticky", Rate, "echo --rate 200 --transport polling"),
    of(
        "polling-rooms",
        "20 rooms of 10 over polling, sticky, 100 messages per second",
        Rate,
        "room --clients 200 --rooms 20 --rate 100 --transport polling",
    ),
    of(
        "polling-echo-next",
        "Events with an acknowledgement over polling, each request at the next node, 200 per second",
        Rate,
        "echo --rate 200 --transport polling --not-sticky",
    ),
    of(
        "polling-rooms-next",
        "20 rooms of 10 over polling, each request at the next node, 100 messages per second",
        Rate,
        "room --clients 200 --rooms 20 --rate 100 --transport polling --not-sticky",
    ),
    of(
        "websocket-next",
        "Events with an acknowledgement over a WebSocket whose session the other node owns, saturated",
        Saturated,
        "echo --window 4 --transport upgrade --not-sticky",
    ),
    of(
        "websocket-next-rate",
        "The same, 200 per second",
        Rate,
        "echo --rate 200 --transport upgrade --not-sticky",
    ),
    of("idle", "10 000 idle clients over WebSocket", Idle, "idle --clients 10000"),
    of(
        "idle-next",
        "5000 idle clients over a WebSocket whose session the other node owns",
        Idle,
        "idle --clients 5000 --transport upgrade --not-sticky",
    ),
    of(
        "idle-polling",
        "3000 idle clients over polling, sticky",
        Idle,
        "idle --clients 3000 --transport polling",
    ),
    of(
        "idle-polling-next",
        "3000 idle clients over polling, each request at the next node",
        Idle,
        "idle --clients 3000 --transport polling --not-sticky",
    ),
    of("storm", "Clients that connect and leave", Storm, "storm --clients 100"),
    of(
        "stuck",
        "A room of 1000 of which a tenth reads nothing, 1 KiB, 100 messages per second",
        Rate,
        "room --clients 1000 --stuck 10 --rate 100 --payload 1024",
    ),
    Scenario {
        nodes: 5,
        ..of(
            "interest",
            "Five nodes, and rooms with members at the first two of them, 500 messages per second",
            Processes,
            "room --clients 400 --rooms 40 --members-at 0,1 --senders-at 0,1 --rate 500",
        )
    },
    of("room-20000", "A room of 20 000, 64 B, saturated", Saturated, "room --clients 20000 --window 2"),
    of("nobody", "Nodes without clients", Processes, "idle --clients 0 --seconds 10"),
];

#[derive(clap::Parser)]
struct Line {
    #[command(subcommand)]
    load: Load,
}

impl Scenario {
    /// The scenario of that name.
    ///
    /// # Errors
    /// There is none.
    pub fn named(name: &str) -> Result<&'static Self, String> {
        let found = SCENARIOS.iter().find(|scenario| scenario.name == name);
        found.ok_or_else(|| "no such scenario: --list names them".to_owned())
    }

    /// The load on these servers, with as many members as files may be open.
    ///
    /// # Panics
    /// The line of the scenario is none, which a test would have shown.
    #[must_use]
    pub fn load(&self, addresses: &[String], pids: &[(String, u32)], files: usize) -> Load {
        let pids = pids.iter().map(|(name, pid)| format!("--pid={name}={pid}"));
        let words = std::iter::once("load").chain(self.line.split(' ')).map(str::to_owned);
        let Line { mut load } =
            Line::try_parse_from(words.chain(pids).chain(addresses.iter().cloned())).expect("a load");
        if let Load::Room(room) = &mut load {
            room.clients = room.clients.min(files.saturating_sub(SPARE_FILES));
        }
        load
    }

    /// Why it cannot be measured with a system.
    pub(super) fn is_nothing_for(&self, system: System) -> Option<&'static str> {
        let polls = self.line.contains("--transport");
        let moves = self.line.contains("--not-sticky");
        match system {
            System::Socketmesh => None,
            System::NodeRedis | System::SocketioxideRedis => {
                moves.then_some("sessions have to stay at one node")
            }
            System::Floor if polls => Some("it has WebSockets only"),
            System::Floor if self.nodes != 2 => Some("it has two nodes"),
            System::Floor => None,
        }
    }
}

/// What the generator needs beside its clients.
const SPARE_FILES: usize = 1000;
