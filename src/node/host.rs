//! What a node has for axum.

use tokio::net::TcpListener;

use super::Node;
use crate::engine::Application;
use crate::http::ProxyListener;

impl<A: Application> Node<A> {
    /// What takes the place of `listener` in `axum::serve` where the [trusted proxies](crate::http::Config::trusted_proxies) of this
    /// node begin each connection with a header of the PROXY protocol, version 1 or 2 (`send-proxy` of HAProxy, `proxy_protocol` of
    /// nginx and of load balancers in clouds). Where the node listens itself that is
    /// [`Listener::proxy_protocol`](crate::http::Listener::proxy_protocol).
    ///
    /// From a trusted proxy a connection without such a header is closed, after 10 s at most, and so is one whose header is longer than
    /// 4 KiB. From anybody else a header is a malformed request.
    ///
    /// ```no_run
    /// # async fn f() -> Result<(), Box<dyn std::error::Error>> {
    /// use socketmesh::Node;
    /// use socketmesh::http::{ClientAddr, Config, TrustedProxies};
    ///
    /// let config = Config::default().trusted_proxies(TrustedProxies::new(["10.0.0.0/8"])?);
    /// let node = Node::builder().http(config).start().await?;
    /// let app = axum::Router::new().nest_service("/socket.io", node.service());
    /// let listener = node.proxy_listener(tokio::net::TcpListener::bind("0.0.0.0:3000").await?);
    /// axum::serve(listener, app.into_make_service_with_connect_info::<ClientAddr>()).await?;
    /// # Ok(()) }
    /// ```
    pub fn proxy_listener(&self, listener: TcpListener) -> ProxyListener {
        let proxies = self.0.edge.config().trusted_proxies.clone();
        ProxyListener::new(listener, proxies, self.http_counters())
    }
}
