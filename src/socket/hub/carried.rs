//! Which request carried the event that is being handled.

use std::sync::Arc;

use super::session::ClientSession;
use crate::engine::Handshake;
use crate::id::SessionId;

tokio::task_local! {
    static REQUEST: (SessionId, Arc<Handshake>);
}

/// Handles an event that this request carried, if it is kept. Handlers do some of their work as soon as they are called.
pub(super) async fn by<T, F: Future<Output = T>>(
    session: &ClientSession,
    request: Option<Arc<Handshake>>,
    handle: impl FnOnce() -> F,
) -> T {
    match request {
        None => handle().await,
        Some(request) => {
            let carried = (session.id(), request);
            let handling = REQUEST.sync_scope(carried.clone(), handle);
            REQUEST.scope(carried, handling).await
        }
    }
}

/// The request that carried the event of this session that is being handled in this task; else the newest one.
pub(crate) fn request_of(session: &ClientSession) -> Arc<Handshake> {
    let carried = REQUEST.try_with(|(of, request)| (*of == session.id()).then(|| Arc::clone(request)));
    carried.ok().flatten().unwrap_or_else(|| session.request())
}
