//! `socketmesh drain NODE`: asks a node to stop in good order, through any node of its cluster, and waits until it is gone.

use std::time::Duration;

use clap::Args;
use hyper::Method;
use socketmesh::id::NodeId;
use tokio::time::{Instant, sleep};

use crate::admin_client::{AdminClient, AdminOptions};
use crate::process::{BoxError, say};
use crate::settings::trimmed;
use crate::status::{ClusterState, Member};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Name of the node that is to stop.
    #[arg(value_parser = trimmed::<NodeId>)]
    node: NodeId,
    /// Seconds to wait until it is gone.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    timeout: u32,
    #[command(flatten)]
    admin: AdminOptions,
}

/// # Errors
/// The node cannot be asked, or is not gone in time.
pub(crate) async fn run(options: &Options) -> Result<(), BoxError> {
    let client = options.admin.client()?;
    let (name, started) = (options.node.as_str(), Instant::now());
    let before: ClusterState = client.get("/cluster").await?;
    let target = format!("/drain?node={name}");
    client.ask(Method::POST, &target, PATIENCE).await?.if_well(&client)?;
    let member = before.members.iter().find(|member| member.id == name).cloned().unwrap_or_default();
    let sessions = member.report.as_ref().map_or(0, |report| report.sessions);
    say(format_args!("{name} was asked to stop; it serves {sessions} sessions"));
    let patience = Duration::from_secs(options.timeout.into());
    let mut last = member.state.clone();
    loop {
        match look(&client, &before.node, &member).await {
            Sight::Gone => {
                say(format_args!("{name} is gone after {:.1} s", started.elapsed().as_secs_f64()));
                return Ok(());
            }
            Sight::Member(state) => last = state,
            Sight::Unclear => {}
        }
        if started.elapsed() > patience {
            return Err(format!("{name} is not gone after {} s: it is {last}", options.timeout).into());
        }
        sleep(PAUSE).await;
    }
}

/// What is to be seen of a node that was asked to stop.
enum Sight {
    Gone,
    /// Its state.
    Member(String),
    /// The node that is asked does not answer.
    Unclear,
}

async fn look(client: &AdminClient, asked: &str, before: &Member) -> Sight {
    match client.get::<ClusterState>("/cluster").await {
        Ok(now) => match now.members.into_iter().find(|member| member.id == before.id) {
            // Another life of it may have begun already.
            Some(member)
                if member.incarnation == before.incarnation && member.age_seconds >= before.age_seconds =>
            {
                Sight::Member(member.state)
            }
            _ => Sight::Gone,
        },
        // It answers until its very end.
        Err(_) if asked == before.id && !client.is_heard().await => Sight::Gone,
        Err(_) => Sight::Unclear,
    }
}

const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(250);
