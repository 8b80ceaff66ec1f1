//! `socketmesh load`: puts load on Socket.IO servers of any make.

use clap::Args;
use socketmesh_load::Scenario;

use crate::process::{BoxError, say};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Prints the report as JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    scenario: Scenario,
}

/// What the server has to do, which `--help` says.
pub(crate) const EVENTS: &str = "\
The server answers these events in the namespace; their names can be chosen:
  join(room), acknowledged            the client joins the room                        room
  msg(room, payload)                  socket.to(room).emit(\"msg\", payload)             room
  direct(id, payload)                 socket.to(id).emit(\"direct\", payload)            direct
  echo(payload), acknowledged         the payload is the acknowledgement               echo
The payload is a string, and the first argument of what is emitted. `idle` and `storm` need no events.
docs/guides/load.md has servers for it, and says what the figures mean.";

/// # Errors
/// Nobody can connect, or a process that is to be watched is gone.
pub(crate) async fn run(options: Options) -> Result<(), BoxError> {
    let Options { json, scenario } = options;
    // It has threads and runtimes of its own.
    let report = tokio::task::spawn_blocking(move || socketmesh_load::run(&scenario)).await??;
    if json {
        say(format_args!("{}", serde_json::to_string_pretty(&report)?));
    } else {
        say(format_args!("{}", report.to_string().trim_end()));
    }
    Ok(())
}
