//! The listener for WebTransport of a node.

use std::sync::Arc;

use super::Node;
use crate::engine::Application;
use crate::http::WebTransportListener;
use crate::http::webtransport::WebTransportServer;

impl<A: Application> Node<A> {
    /// Takes WebTransport sessions at `/socket.io/` of `listener` until [`shutdown`](Self::shutdown). They are refused
    /// unless [`transports`](crate::engine::Config::transports) has WebTransport.
    ///
    /// Who may open a session is decided as for other transports (`allow_request`, `auth`); as for WebSockets, CORS is
    /// not asked. A session may upgrade from polling, whichever nodes its requests and its stream reach. Node:
    /// `io.engine.onWebTransportSession`.
    pub async fn serve_webtransport(&self, listener: WebTransportListener) {
        self.serve_webtransport_at("/socket.io/", listener).await;
    }

    /// The same at another path: as in [`serve_at`](Self::serve_at), a prefix that ends with a slash.
    pub async fn serve_webtransport_at(&self, path: &str, listener: WebTransportListener) {
        let stop = self.0.stopping.cancelled();
        WebTransportServer::serve(Arc::clone(&self.0.edge), path, listener, stop).await;
    }
}
