//! A task in the background that emits to everybody, outside of any handler.

use std::time::Duration;

use axum::Router;
use examples::{BoxError, builder, serve};
use serde::Serialize;
use socketmesh::socket::EncodeError;
use socketmesh::{NamespaceRef, namespace};
use tokio::time::{MissedTickBehavior, interval};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let node = builder()?.namespace(namespace("/prices")).start().await?;
    let ticking = tokio::spawn(tick(node.of("/prices"), node.id().to_string()));
    serve(node, Router::new()).await?;
    ticking.abort();
    Ok(())
}

#[derive(Debug, Serialize)]
struct Price {
    /// Counts the ticks of this node.
    number: u64,
    cents: u64,
    node: String,
}

/// Every node has such a task, so each tells its own clients only: with `prices.emit` everybody would be told by each
/// node. Volatile, because an old price is worth nothing to somebody whose line is slow.
async fn tick(prices: NamespaceRef, node: String) -> Result<(), EncodeError> {
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for number in 0.. {
        ticks.tick().await;
        let price = Price { number, cents: 10_000 + number * 37 % 500, node: node.clone() };
        prices.local().volatile().emit("price", &price)?;
    }
    Ok(())
}

const PERIOD: Duration = Duration::from_millis(250);
