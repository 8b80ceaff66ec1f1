//! `socketmesh serve`: one node.

mod webtransport;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use socketmesh::http::{Listener, Tls};
use socketmesh::{Drain, EvenOut, Node};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::app::{App, Page};
use crate::process::{BoxError, Hangups, StopSignals, bind, bind_shared, say};
use crate::service_manager;
use crate::settings::{Clients, Places, Settings};

/// Runs a node until it is asked to stop.
pub(crate) async fn run(settings: &Settings, places: &Places) -> Result<(), BoxError> {
    settings.check(places)?;
    let Settings { config: _, clients, sessions, member, operators } = settings;
    let id = member.node_id()?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), node = %id, settings = places.in_one_line(), "starting");
    let app = App::new(id.clone(), None);
    let mut builder = Node::builder()
        .engine(sessions.engine_config(clients.webtransport()))
        .http(clients.http_config().expose_node(true))
        .socket(sessions.socket_config())
        .namespace(app.namespace());
    if let Some(cluster) = member.cluster(id)? {
        builder = builder.cluster(cluster);
    }
    if member.even_out {
        builder = builder.even_out(EvenOut::default());
    }
    let certificate = clients.certificate()?;
    let tls = certificate.as_ref().map(Tls::new).transpose()?;
    let admin_tls = operators.tls(certificate.as_ref())?;
    let webtransport = webtransport::listener(clients, tls.as_ref()).await?;
    // Before anybody can be told where this process listens.
    let (hangups, mut stop) = (Hangups::new()?, StopSignals::new()?);
    let listener = listen(clients).await?;
    let http = listener.local_addr()?;
    let mut listener = clients.limit(listener.into());
    if let Some(tls) = &tls {
        listener = listener.tls(tls.clone());
    }
    // What is wrong with it is said before other nodes hear of this one.
    let token = operators.admitted(places)?;
    let operators_listener = match operators.address() {
        Some(address) => Some(bind(address, "--admin or SOCKETMESH_ADMIN").await?),
        None => None,
    };
    let node = builder.start().await?;
    let mut served = JoinSet::new();
    served.spawn(serve(node.clone(), clients.path.clone(), listener));
    if let Some(listener) = webtransport {
        let (serving, path) = (node.clone(), clients.path.clone());
        served.spawn(async move { serving.serve_webtransport_at(&path, listener).await });
    }
    let (mut admin, drained) = (String::new(), Arc::new(Notify::new()));
    if let Some(listener) = operators_listener {
        let asked = Arc::clone(&drained);
        let surface = node.admin().drain(move |by| {
            tracing::info!(by, "an operator asks this node to stop");
            asked.notify_one();
        });
        let surface = match token {
            Some(token) => surface.token(token),
            None => surface,
        };
        admin = format!(" admin={}", listener.local_addr()?);
        let mut listener = Listener::from(listener);
        if let Some(tls) = &admin_tls {
            listener = listener.tls(tls.clone());
        }
        let serving = node.clone();
        served.spawn(async move { serving.serve_admin(surface, listener).await });
    }
    let mesh = node.mesh_addr().map_or_else(String::new, |mesh| format!(" mesh={mesh}"));
    say(format_args!("listening http={http}{mesh}{admin} node={}", node.id()));
    service_manager::serves();
    let showing = tokio::spawn(app.show_members(node.clone()));
    let ended = tokio::select! {
        biased;
        failure = node.failed() => Err(failure.into()),
        result = until_stopped(&node, &mut stop) => result,
        () = drained.notified() => Ok(()),
        ended = served.join_next() => Err(format!("a listener for clients ended: {ended:?}").into()),
        never = renew(&node, [tls, admin_tls], hangups, settings) => match never {},
        never = service_manager::keep_alive() => match never {},
    };
    service_manager::stops();
    // Whoever fails has no time to give.
    stop_node(&node, ended.as_ref().map_or_else(|_failed| Drain::default(), |()| clients.drain()), &mut stop)
        .await;
    showing.abort();
    served.abort_all();
    ended
}

/// The port for clients: the one that the service manager holds, or the configured one.
async fn listen(clients: &Clients) -> Result<TcpListener, BoxError> {
    match service_manager::handed_over()? {
        Some(listener) => Ok(listener),
        None if clients.reuse_port => bind_shared(clients.http, HTTP),
        None => bind(clients.http, HTTP).await,
    }
}

async fn serve(node: Node, path: String, listener: Listener) {
    let page = Page::new(&path);
    node.serve_at(&path, listener, move |request| page.answer(request)).await;
}

/// Ends the node in order; at once when the process is told to stop a second time.
async fn stop_node(node: &Node, drain: Drain, stop: &mut StopSignals) {
    let ended = async {
        tokio::select! {
            () = node.drain(drain) => return,
            _again = stop.next() => tracing::info!("told to stop again: the rest at once"),
        }
        node.shutdown().await;
    };
    if tokio::time::timeout(drain.notice + drain.spread + PATIENCE, ended).await.is_err() {
        tracing::warn!("not everything ended in time");
    }
}

async fn until_stopped(node: &Node, stop: &mut StopSignals) -> Result<(), BoxError> {
    service_manager::status("joining its cluster");
    tokio::select! {
        () = node.ready() => say(format_args!("ready")),
        stopped = stop.next() => return Ok(stopped?),
    }
    service_manager::status("taking clients");
    Ok(stop.next().await?)
}

/// Reads certificates and secrets again whenever the process is told to. Those that are of no use change nothing.
async fn renew(
    node: &Node,
    shown: [Option<Tls>; 2],
    mut hangups: Hangups,
    settings: &Settings,
) -> Infallible {
    loop {
        hangups.next().await;
        service_manager::reloads();
        let certificate = || match settings.clients.certificate()? {
            Some(certificate) => Ok(shown.iter().flatten().try_for_each(|tls| tls.renew(&certificate))?),
            None => Ok(()),
        };
        report("the certificate for clients", certificate());
        let credentials = || match settings.member.credentials()? {
            Some(credentials) => Ok(node.renew_credentials(credentials)?),
            None => Ok(()),
        };
        report("the secret or the certificate for other nodes", credentials());
        service_manager::serves();
    }
}

fn report(what: &str, renewed: Result<(), BoxError>) {
    match renewed {
        Ok(()) => tracing::info!(what, "read again"),
        Err(error) => tracing::error!(what, %error, "what was to be renewed stays as it was"),
    }
}

const HTTP: &str = "--http or SOCKETMESH_HTTP";
/// How long the rest of a stop may take: under the grace period of common service managers.
const PATIENCE: Duration = Duration::from_secs(10);
