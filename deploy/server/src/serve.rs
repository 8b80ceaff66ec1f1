//! `socketmesh serve`: one node, configured by flags and `SOCKETMESH_*` environment variables.

mod options;
mod webtransport;

use std::convert::Infallible;

use socketmesh::Node;
use socketmesh::http::{Listener, Tls};
use tokio::task::JoinSet;

use crate::app::{App, Page};
use crate::process::{BoxError, Hangups, asked_to_stop, bind, say};
pub(crate) use options::{Options, admin_address};

/// Runs a node until it is asked to stop.
pub(crate) async fn run(options: &Options) -> Result<(), BoxError> {
    let id = options.node_id()?;
    let app = App::new(id.clone(), None);
    let mut builder = Node::builder()
        .engine(options.engine_config())
        .http(options.http_config())
        .socket(options.socket_config())
        .namespace(app.namespace());
    if let Some(cluster) = options.cluster(id)? {
        builder = builder.cluster(cluster);
    }
    let tls = options.certificate()?.as_ref().map(Tls::new).transpose()?;
    let webtransport = options.webtransport.listener(tls.as_ref()).await?;
    // Before anybody can be told where this process listens.
    let hangups = Hangups::new()?;
    let listener = bind(options.http, "--http or SOCKETMESH_HTTP").await?;
    let http = listener.local_addr()?;
    let mut listener = options.limit(listener.into());
    if let Some(tls) = &tls {
        listener = listener.tls(tls.clone());
    }
    let node = builder.start().await?;
    let mut served = JoinSet::new();
    served.spawn(serve(node.clone(), options.path().to_owned(), listener));
    if let Some(listener) = webtransport {
        let (serving, path) = (node.clone(), options.path().to_owned());
        served.spawn(async move { serving.serve_webtransport_at(&path, listener).await });
    }
    let mut admin = String::new();
    if let Some((address, surface)) = options.operators.admin(&node)? {
        let listener = bind(address, "--admin or SOCKETMESH_ADMIN").await?;
        admin = format!(" admin={}", listener.local_addr()?);
        let serving = node.clone();
        served.spawn(async move { serving.serve_admin(surface, listener).await });
    }
    let mesh = node.mesh_addr().map_or_else(String::new, |mesh| format!(" mesh={mesh}"));
    say(format_args!("listening http={http}{mesh}{admin} node={}", node.id()));
    let showing = tokio::spawn(app.show_members(node.clone()));
    let ended = tokio::select! {
        biased;
        failure = node.failed() => Err(failure.into()),
        result = until_stopped(&node) => result,
        ended = served.join_next() => Err(format!("a listener for clients ended: {ended:?}").into()),
        never = renew(tls, hangups, options) => match never {},
    };
    if tokio::time::timeout(options.patience(), node.shutdown()).await.is_err() {
        tracing::warn!("not everything ended in time");
    }
    showing.abort();
    served.abort_all();
    ended
}

async fn serve(node: Node, path: String, listener: Listener) {
    let page = Page::new(&path);
    node.serve_at(&path, listener, move |request| page.answer(request)).await;
}

async fn until_stopped(node: &Node) -> Result<(), BoxError> {
    tokio::select! {
        () = node.ready() => say(format_args!("ready")),
        stopped = asked_to_stop() => return Ok(stopped?),
    }
    Ok(asked_to_stop().await?)
}

/// Reads the certificate of clients again whenever the process is told to. One that is of no use changes nothing.
async fn renew(tls: Option<Tls>, mut hangups: Hangups, options: &Options) -> Infallible {
    loop {
        hangups.next().await;
        let Some(tls) = &tls else {
            tracing::info!("there is no certificate to be read again");
            continue;
        };
        let renewed = match options.certificate() {
            Ok(Some(certificate)) => tls.renew(&certificate).map_err(BoxError::from),
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        match renewed {
            Ok(()) => tracing::info!("the certificate was read again"),
            Err(error) => tracing::error!(%error, "the certificate stays as it was"),
        }
    }
}
