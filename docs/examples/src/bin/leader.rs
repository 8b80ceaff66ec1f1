//! One task for the whole cluster: the leader greets everybody every 30 s, and another node goes on when it ends. Newcomers are told
//! which node serves them.

use std::time::Duration;

use axum::Router;
use examples::{BoxError, builder, millis_from_env, serve};
use serde::Serialize;
use socketmesh::socket::EncodeError;
use socketmesh::{Node, Socket, engine, namespace};
use tokio::time::{MissedTickBehavior, interval};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let sessions = engine::Config::default().allow_eio3(true);
    let welcome = async |socket: Socket| Ok(socket.emit("welcome", socket.node().as_str())?);
    let app = |path| namespace(path).on_connect(welcome);
    let builder = PATHS.into_iter().fold(builder()?, |node, path| node.namespace(app(path)));
    let node = builder.engine(sessions).start().await?;
    let period = millis_from_env("PERIOD_MS")?.unwrap_or(PERIOD);
    let greeting = tokio::spawn(greet(node.clone(), period));
    serve(node, Router::new()).await?;
    greeting.abort();
    Ok(())
}

#[derive(Debug, Serialize)]
struct Hello<'a> {
    /// Counts the ticks of this node.
    number: u64,
    node: &'a str,
}

/// Every node has this task, and the one that leads emits. It is no lock: for some seconds after a node died there may be no hello, and
/// in a cluster that is cut in two each part has one of its own.
async fn greet(node: Node, period: Duration) -> Result<(), EncodeError> {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for number in 0.. {
        ticks.tick().await;
        if node.is_leader() {
            for path in PATHS {
                node.of(path).emit("hello", &Hello { number, node: node.id().as_str() })?;
            }
        }
    }
    Ok(())
}

const PATHS: [&str; 2] = ["/", "/ws"];
const PERIOD: Duration = Duration::from_secs(30);
