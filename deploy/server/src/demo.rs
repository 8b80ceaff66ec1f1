//! `socketmesh demo`: the application on a cluster in this process, behind a stateless round-robin load balancer. The page
//! can stop nodes and start them again.

mod nodes;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use balancer::Balancer;
use clap::Args as ClapArgs;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::process::{BoxError, StopSignals, bind, say};
use nodes::Nodes;

#[derive(Debug, ClapArgs)]
pub(crate) struct Options {
    /// How many nodes.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=32))]
    nodes: u8,
    /// Port of the load balancer; 0 takes a free one.
    #[arg(long, default_value_t = 3000)]
    port: u16,
    /// Address of the load balancer. The nodes themselves are reachable from this machine only.
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    host: IpAddr,
    /// Folder of an installed socket.io-client package, for pages that shall use the official client without the internet.
    #[arg(long, env = "SOCKETMESH_CLIENT_DIR")]
    client_dir: Option<PathBuf>,
}

/// Runs the demo until it is asked to stop.
pub(crate) async fn run(options: Options) -> Result<(), BoxError> {
    let entry = SocketAddr::new(options.host, options.port);
    let listener = bind(entry, "--port 3001, or --port 0 for any that is free").await?;
    let mut stop = StopSignals::new()?;
    let (orders, mut ordered) = mpsc::channel(WAITING_ORDERS);
    let mut nodes = Nodes::start(options.nodes, options.client_dir, orders).await?;
    let balancer = Balancer::on(listener, nodes.addresses())?;
    greet(&balancer, &nodes);
    loop {
        tokio::select! {
            // One that comes while an order is carried out counts as well.
            stopped = stop.next() => {
                stopped?;
                break;
            }
            Some(order) = ordered.recv() => nodes.carry_out(order).await,
        }
    }
    say(format_args!("Ending; once more Ctrl-C ends at once."));
    tokio::select! {
        ended = timeout(PATIENCE, nodes.shut_down()) => if ended.is_err() {
            tracing::warn!("not everything ended in time");
        },
        again = stop.next() => again?,
    }
    Ok(())
}

/// What somebody who has just started the demo wants to know: where it is, what runs, how to end it.
fn greet(balancer: &Balancer, nodes: &Nodes) {
    let mut entry = balancer.addr();
    if entry.ip().is_unspecified() {
        entry.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    say(format_args!("Open http://{entry} in two or more browser windows.\n"));
    say(format_args!("A stateless load balancer sends each request to the next node:"));
    for node in nodes.iter() {
        let (id, http, mesh, operators) = (node.id(), node.http(), node.mesh(), node.operators());
        say(format_args!("  {id}  http://{http}  mesh {mesh}  operators http://{operators}"));
    }
    say(format_args!(
        "\nAt `operators` each shows the whole cluster; so does `socketmesh top --admin` with that address."
    ));
    say(format_args!("\nCtrl-C ends the demo."));
}

/// Long enough for every client to be told, short enough for whoever pressed Ctrl-C.
const PATIENCE: Duration = Duration::from_secs(4);
/// Orders of pages that wait; more are refused.
const WAITING_ORDERS: usize = 8;
