//! From arguments to the types that handlers take.

use serde::de::DeserializeOwned;

use super::super::error::ArgsError;
use super::raw::{RawArg, RawArgs};
use super::tree::from_json;

impl RawArgs {
    /// Decodes the arguments, as those of a handler are decoded.
    ///
    /// # Errors
    ///
    /// [`ArgsError`]: an argument is not of the type that was asked for.
    pub fn decode<A: FromArgs>(&self) -> Result<A, ArgsError> {
        A::from_args(self)
    }
}

impl RawArg {
    /// Decodes the argument.
    ///
    /// # Errors
    ///
    /// [`ArgsError`]: the argument is not of the type that was asked for.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, ArgsError> {
        from_json(&self.json, &self.attachments).map_err(|error| ArgsError::argument(0, error))
    }
}

/// What a handler can take and an ack can be: every type that serde decodes, [`Args`](super::Args), [`RawArgs`] and
/// [`RawArg`].
///
/// A type that serde decodes takes the first argument and ignores the others. An argument that was not sent is `null`, so
/// an `Option` is `None` in both cases; [`RawArgs`] can tell them apart.
///
/// ```
/// use socketmesh::{Args, RawArgs};
///
/// assert_eq!(RawArgs::default().decode::<Option<u8>>()?, None);
/// assert_eq!(RawArgs::encode(&None::<u8>)?.decode::<Option<u8>>()?, None);
/// let Args((first, second)) = RawArgs::encode(&1)?.decode::<Args<(u8, Option<u8>)>>()?;
/// assert_eq!((first, second), (1, None));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be decoded from the arguments of an event or ack",
    label = "not a payload",
    note = "derive `serde::Deserialize` for it; for several arguments use `Args<(A, B)>`, undecoded `RawArgs`"
)]
pub trait FromArgs: Sized {
    /// Decodes the arguments.
    ///
    /// # Errors
    /// An argument is not of the type that was asked for.
    fn from_args(args: &RawArgs) -> Result<Self, ArgsError>;
}

/// What one of several arguments can be: every type that serde decodes, and [`RawArg`]. It is implemented for all of them
/// already.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be decoded from an argument of an event or ack",
    note = "derive `serde::Deserialize` for it, or take the argument undecoded as `RawArg`"
)]
pub trait FromArg: Sized {
    /// Decodes the argument at a place; one that was not sent is `null`.
    ///
    /// # Errors
    /// The argument is not of the type that was asked for.
    fn from_arg(arg: RawArg, index: usize) -> Result<Self, ArgsError>;
}

impl<T: DeserializeOwned> FromArgs for T {
    fn from_args(args: &RawArgs) -> Result<Self, ArgsError> {
        // `()` takes no argument, so it accepts any: an ack that nobody reads may have a value.
        if size_of::<T>() == 0
            && let Ok(nothing) = serde_json::from_str("null")
        {
            return Ok(nothing);
        }
        let arg = args.iter().next().unwrap_or_else(RawArg::missing);
        Self::from_arg(arg, 0)
    }
}

impl FromArgs for RawArgs {
    fn from_args(args: &RawArgs) -> Result<Self, ArgsError> {
        Ok(args.clone())
    }
}

impl FromArgs for RawArg {
    fn from_args(args: &RawArgs) -> Result<Self, ArgsError> {
        Ok(args.iter().next().unwrap_or_else(Self::missing))
    }
}

impl<T: DeserializeOwned> FromArg for T {
    fn from_arg(arg: RawArg, index: usize) -> Result<Self, ArgsError> {
        from_json(&arg.json, &arg.attachments).map_err(|error| ArgsError::argument(index, error))
    }
}

impl FromArg for RawArg {
    fn from_arg(arg: RawArg, _: usize) -> Result<Self, ArgsError> {
        Ok(arg)
    }
}
