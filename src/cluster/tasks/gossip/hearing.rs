//! A node that gossips with nobody but whoever speaks to it here: what members may tell it is told in virtual time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use bytes::Bytes;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

#[cfg(test)]
use super::chitchat_id;
use super::{Chitchat, Gossip};
use crate::cluster::address::OwnAddress;
use crate::cluster::gossip_filter::Known as _;
use crate::cluster::hello::LocalNode;
use crate::cluster::published::Published;
use crate::cluster::tasks::ports::{ControlMessage, PeerGossip, Ports, Upward};
#[cfg(test)]
use crate::cluster::wire::gossip::Life;
use crate::id::Incarnation;
use crate::log_limit::LogLimits;

/// The gossip of node `a`.
pub(crate) struct Hearing {
    pub(super) ports: Arc<Ports>,
    pub(super) gossip: Gossip,
    /// Why it ended.
    pub(super) ended: watch::Receiver<Option<String>>,
}

/// Stands for the control actor.
struct Listener;

impl Actor for Listener {
    type Msg = ControlMessage;
    type State = watch::Sender<Option<String>>;
    type Arguments = Self::State;

    async fn pre_start(
        &self,
        _me: ActorRef<ControlMessage>,
        ended: Self::State,
    ) -> Result<Self::State, ActorProcessingErr> {
        Ok(ended)
    }

    async fn handle(
        &self,
        _me: ActorRef<ControlMessage>,
        message: ControlMessage,
        ended: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        if let ControlMessage::GossipEnded(reason) = message {
            ended.send_replace(Some(reason));
        }
        Ok(())
    }
}

impl Hearing {
    pub(crate) async fn start() -> Self {
        let (ended, watched) = watch::channel(None);
        let (control, _ends) = Actor::spawn(None, Listener, ended).await.expect("an actor");
        let me = LocalNode {
            id: "a".parse().expect("a name"),
            incarnation: Incarnation(1),
            address: OwnAddress::at(SocketAddr::from(([10, 0, 0, 1], 1))),
            cluster: "chat".to_owned(),
            parser: String::new(),
            settings: Vec::new(),
        };
        let (gossip, inbox) = mpsc::channel(1000);
        let upward = Upward { serve: Arc::new(|_| {}), deliver: Arc::new(|_| {}), begun: Arc::default() };
        let published = Arc::new(Published::new(me));
        let (app, warnings) = (Handle::current(), LogLimits::default());
        let unanswered = AtomicUsize::default();
        let ports = Arc::new(Ports { published, control, gossip, app, upward, warnings, unanswered });
        let gossip = Gossip::start(&ports, inbox).await.expect("gossip");
        Self { ports, gossip, ended: watched }
    }

    /// Member `b` gossips this, and it is handled.
    pub(crate) async fn hears(&self, message: impl Into<Bytes>) {
        let peer = "b".parse().expect("a name");
        let gossip = PeerGossip { peer, incarnation: Incarnation(2), message: message.into() };
        assert!(self.ports.gossip.send(gossip).await.is_ok());
        // Time is virtual: it passes when there is nothing left to do.
        sleep(Duration::from_millis(1)).await;
    }

    /// What is known of a life: its version and its keys.
    #[cfg(test)]
    pub(super) async fn knows(&self, life: &Life) -> Option<(u64, Vec<(String, String)>)> {
        let id = chitchat_id(life);
        let known = |chitchat: &mut Chitchat| {
            let state = chitchat.node_state(&id)?;
            let keys = state.key_values().map(|(key, value)| (key.to_owned(), value.to_owned()));
            Some((state.max_version(), keys.collect()))
        };
        self.gossip.chitchat.with_chitchat(known).await
    }

    /// The bytes of a digest of all lives, and of all keys.
    pub(crate) async fn size(&self) -> (usize, usize) {
        let size = |chitchat: &mut Chitchat| (chitchat.digest_len(), chitchat.keys_len());
        self.gossip.chitchat.with_chitchat(size).await
    }

    #[cfg(test)]
    pub(super) fn refused(&self) -> u64 {
        self.ports.published.counters.gossip_refused.get()
    }

    /// Whatever was heard, gossip goes on.
    pub(crate) fn assert_gossips(&self) {
        assert_eq!(*self.ended.borrow(), None, "gossip ended");
    }
}

impl Drop for Hearing {
    fn drop(&mut self) {
        self.ports.control.stop(None);
    }
}
