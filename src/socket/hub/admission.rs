//! The decision about a client that wants to enter a namespace.

use std::any::Any;
use std::pin::Pin;
use std::sync::Arc;

use tokio::time::Instant;

use super::error::Refusal;

pub(crate) type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The data of an admitted socket, whatever its type.
pub(crate) type Data = Arc<dyn Any + Send + Sync>;

/// A client that may enter.
#[derive(Debug)]
pub(crate) struct Admitted {
    pub(crate) data: Data,
    /// When its login ends.
    pub(crate) until: Option<Instant>,
    /// Whose the login is, if the application says so.
    pub(crate) user: Option<Arc<str>>,
}

impl From<Data> for Admitted {
    fn from(data: Data) -> Self {
        Self { data, until: None, user: None }
    }
}

/// Whether a client may enter.
pub(crate) enum Admission {
    /// Every client may.
    Open(Data),
    /// The future decides. It runs functions of the application.
    Deciding(BoxFuture<'static, Result<Admitted, Refusal>>),
}

impl Admission {
    /// Waits for the decision.
    pub(crate) async fn decided(self) -> Result<Admitted, Refusal> {
        match self {
            Self::Open(data) => Ok(data.into()),
            Self::Deciding(decision) => decision.await,
        }
    }
}
