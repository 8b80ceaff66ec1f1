//! What a node has for axum.

use tokio::net::TcpListener;

use super::Node;
use crate::engine::Application;
use crate::http::AxumListener;

impl<A: Application> Node<A> {
    /// What takes the place of a listener in `axum::serve`, so that clients are served as where the node listens itself: whose a
    /// connection is is known, also [from proxies](AxumListener::proxy_protocol); what is small is sent at once; and when
    /// the node stops no connection is reset.
    ///
    /// ```no_run
    /// # async fn f(node: socketmesh::Node) -> std::io::Result<()> {
    /// use socketmesh::http::ClientAddr;
    ///
    /// let app = axum::Router::new().nest_service("/socket.io", node.service());
    /// let listener = node.listener(tokio::net::TcpListener::bind("0.0.0.0:3000").await?);
    /// let app = app.into_make_service_with_connect_info::<ClientAddr>();
    /// axum::serve(listener, app).with_graceful_shutdown(node.stopped()).await
    /// # }
    /// ```
    pub fn listener(&self, listener: TcpListener) -> AxumListener {
        let (proxies, stopping) = (self.0.edge.config().trusted_proxies.clone(), self.0.stopping.clone());
        AxumListener::new(listener, proxies, self.http_counters(), stopping)
    }
}
