//! The decision about a client that wants to enter a namespace.

use std::any::Any;
use std::pin::Pin;
use std::sync::Arc;

use super::error::Refusal;

pub(crate) type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The data of an admitted socket, whatever its type.
pub(crate) type Data = Arc<dyn Any + Send + Sync>;

/// Whether a client may enter.
pub(crate) enum Admission {
    /// Every client may.
    Open(Data),
    /// The future decides. It runs functions of the application.
    Deciding(BoxFuture<'static, Result<Data, Refusal>>),
}

impl Admission {
    /// Waits for the decision.
    pub(crate) async fn decided(self) -> Result<Data, Refusal> {
        match self {
            Self::Open(data) => Ok(data),
            Self::Deciding(decision) => decision.await,
        }
    }
}
