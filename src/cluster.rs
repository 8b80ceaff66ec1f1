//! stub
#![allow(missing_docs, dead_code, unused)]
use crate::{
    id::{Key, NodeId},
    socket::{broadcast::Broadcast, peers::Peers},
};
use std::{future::Future, net::SocketAddr, pin::Pin, sync::Arc};
use tokio::{runtime::Handle, sync::watch};
#[derive(Debug)]
pub struct Mesh;
#[derive(Debug)]
pub struct View;
#[derive(Debug)]
pub struct Cluster;
#[derive(Debug)]
pub struct Secret;
impl Cluster {
    pub fn bind(_: impl Into<String>) -> Self {
        Self
    }
    pub fn secret(self, _: Secret) -> Self {
        self
    }
    pub fn seed(self, _: impl Into<String>) -> Self {
        self
    }
    pub fn seeds<T: Into<String>>(self, _: impl IntoIterator<Item = T>) -> Self {
        self
    }
    pub fn node_id(self, _: NodeId) -> Self {
        self
    }
    pub fn serve_alone(self, _: bool) -> Self {
        self
    }
}
impl Secret {
    pub fn new(_: &[u8]) -> Result<Self, StartError> {
        Ok(Self)
    }
    pub fn from_env() -> Result<Option<Self>, StartError> {
        Ok(None)
    }
}

pub enum Owner {
    Here,
    There(NodeId),
    Nobody,
}
pub type BiStream = tokio::io::DuplexStream;
#[derive(Debug, thiserror::Error)]
#[error("x")]
pub struct OpenError;
#[derive(Debug, thiserror::Error)]
#[error("x")]
pub struct StartError;
pub fn random_node_id() -> Result<NodeId, getrandom::Error> {
    Ok(format!("node-{:08x}", getrandom::u32()?).parse().expect("x"))
}
impl Mesh {
    pub async fn start(
        c: Cluster,
        h: Handle,
        a: Arc<dyn Fn(Broadcast) + Send + Sync>,
        b: Arc<dyn Fn(BiStream) + Send + Sync>,
    ) -> Result<Arc<Self>, StartError> {
        Ok(Arc::new(Self))
    }
    pub fn owner(&self, _: Key) -> Owner {
        Owner::Here
    }
    pub fn is_ready(&self) -> bool {
        true
    }
    pub async fn ready(&self) {}
    pub fn id(&self) -> &NodeId {
        unreachable!()
    }
    pub fn view(&self) -> watch::Receiver<Arc<View>> {
        unreachable!()
    }
    pub fn local_addr(&self) -> SocketAddr {
        unreachable!()
    }
    pub fn mint_key(&self) -> Key {
        Key::from_hash(0)
    }
    pub async fn open(&self, _: &NodeId) -> Result<BiStream, OpenError> {
        Err(OpenError)
    }
    pub fn drain(&self) {}
    pub async fn leave(&self) {}
}
impl Peers for Mesh {
    fn broadcast(&self, _: &Broadcast) {}
    fn interest(&self, _: &str, _: &str, _: bool) {}
    fn version(&self) -> u64 {
        0
    }
    fn confirmed(&self, _: u64) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {})
    }
}
