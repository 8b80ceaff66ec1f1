//! Whether a node takes new clients, and if not, why.

use hyper::{Response, StatusCode};
use serde_json::json;

use super::answer::{body, text};
use crate::engine::Application;
use crate::http::Body;
use crate::node::Node;

/// The answer to a probe.
pub(super) struct Health {
    node: String,
    /// Why the node takes no new clients; `None` if it does.
    reason: Option<String>,
}

impl Health {
    pub(super) fn of<A: Application>(node: &Node<A>) -> Self {
        let reason = node.refuses_clients().map(|why| match node.obstacle() {
            Some(obstacle) => format!("{why}: {obstacle}"),
            None => why.to_owned(),
        });
        Self { node: node.id().to_string(), reason }
    }

    pub(super) fn answer(self, as_json: bool) -> Response<Body> {
        let Self { node, reason } = self;
        let status = if reason.is_none() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        if as_json {
            let state = json!({ "node": node, "ready": reason.is_none(), "reason": reason });
            body(status, "application/json", state.to_string())
        } else {
            text(status, reason.unwrap_or_else(|| "ready".to_owned()))
        }
    }
}
