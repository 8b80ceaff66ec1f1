//! The requests of other nodes that this node is responding to.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::socket::messages::Requester;

/// How many there are is bounded, and each can be withdrawn by who made it.
#[derive(Debug, Default)]
pub(super) struct OpenRequests(Arc<Mutex<HashMap<Requester, Arc<Notify>>>>);

/// A request that is being responded to. Dropping it makes room for another.
#[derive(Debug)]
pub(super) struct OpenRequest {
    requester: Requester,
    withdrawn: Arc<Notify>,
    all: Arc<Mutex<HashMap<Requester, Arc<Notify>>>>,
}

impl OpenRequests {
    /// Takes a request, unless there are too many.
    pub(super) fn open(&self, requester: Requester) -> Option<OpenRequest> {
        let mut all = self.0.lock();
        if all.len() >= MAX_REQUESTS {
            return None;
        }
        let withdrawn = Arc::new(Notify::new());
        all.insert(requester.clone(), Arc::clone(&withdrawn));
        Some(OpenRequest { requester, withdrawn, all: Arc::clone(&self.0) })
    }

    /// Nobody waits for that response any more.
    pub(super) fn withdraw(&self, requester: &Requester) {
        if let Some(withdrawn) = self.0.lock().get(requester) {
            withdrawn.notify_one();
        }
    }
}

impl OpenRequest {
    pub(super) fn requester(&self) -> &Requester {
        &self.requester
    }

    /// Resolves when it was withdrawn.
    pub(super) async fn withdrawn(&self) {
        self.withdrawn.notified().await;
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.all.lock().remove(&self.requester);
    }
}

/// A bound on what other nodes can make this one wait for.
const MAX_REQUESTS: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Incarnation;

    fn requester(request: u64) -> Requester {
        Requester { node: "a".parse().unwrap(), incarnation: Incarnation(1), request }
    }

    #[test]
    fn requests_are_bounded_and_one_that_ended_makes_room() {
        let requests = OpenRequests::default();
        let mut open: Vec<_> = (0..1024).map(|id| requests.open(requester(id)).unwrap()).collect();
        assert!(requests.open(requester(1024)).is_none());
        open.pop();
        assert!(requests.open(requester(1024)).is_some());
    }

    #[tokio::test]
    async fn who_withdraws_a_request_ends_that_one_alone() {
        let requests = OpenRequests::default();
        let [first, second] = [1, 2].map(|id| requests.open(requester(id)).unwrap());
        requests.withdraw(&requester(2));
        requests.withdraw(&requester(3));
        second.withdrawn().await;
        assert!(futures_util::FutureExt::now_or_never(first.withdrawn()).is_none());
    }
}
