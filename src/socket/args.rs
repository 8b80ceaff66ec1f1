//! The arguments of an event or ack (Socket.IO v5, §Packet encoding): serde values on the user's side, JSON text and
//! attachments on the wire's.
//!
//! One value is one argument; `()` is none; [`Args`] of a tuple are several; bytes ([`bytes::Bytes`] or any serde
//! bytes) are attachments, at any depth; [`RawArgs`] and [`RawArg`] pass through undecoded.

mod decode;
mod encode;
mod events;
pub(crate) mod scan;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;
use serde::de::DeserializeOwned;

use super::error::{ArgsError, EncodeError, EventError, PacketError};
pub(crate) use decode::check_object;
pub use encode::{ArgsWriter, IntoArg, IntoArgs};
pub(crate) use events::{decode_event, encode_event};
pub(crate) use scan::split_first;

/// Several arguments: `Args((a, b))` is sent as `["event", a, b]`, where a bare tuple would be one argument, an array.
///
/// Takes tuples of up to eight; an element may be [`RawArg`]. When decoding, arguments the other side left out are
/// `null`, so make the last ones `Option`; arguments beyond the tuple are ignored.
///
/// ```
/// use socketmesh::socket::{Args, RawArgs};
///
/// let args = RawArgs::encode(&Args(("left", 2)))?;
/// assert_eq!(args.json(), r#""left",2"#);
/// let Args((side, by, why)) = args.decode::<Args<(String, u8, Option<String>)>>()?;
/// assert_eq!((side.as_str(), by, why), ("left", 2, None));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Args<T>(pub T);

/// The arguments of an event or ack as they are on the wire, undecoded.
///
/// As the payload of a handler it takes any arguments; emitted, it is sent on as it came, attachments included, also those
/// that nothing names (Node drops them: it decodes and encodes). Nothing is decoded or copied on the way. A clone shares
/// the text and the bytes.
///
/// ```
/// use socketmesh::{RawArgs, Socket, namespace};
///
/// let relay = namespace("/").on("relay", async |socket: Socket, args: RawArgs| {
///     Ok(socket.broadcast().emit("relayed", &args)?)
/// });
/// ```
#[derive(Clone, PartialEq, Eq, Default)]
pub struct RawArgs {
    /// The elements of a valid JSON array, without its brackets. With attachments every placeholder in it names one of
    /// them; without, nothing in it is a placeholder, whatever it looks like.
    json: ByteString,
    attachments: Arc<[Bytes]>,
}

impl RawArgs {
    /// The same in memory of its own.
    pub(crate) fn copied(&self) -> Self {
        Self { json: (&*self.json).into(), attachments: Arc::clone(&self.attachments) }
    }

    /// Encodes arguments as an emit does.
    ///
    /// # Errors
    /// A value has no JSON form, or there are too many attachments.
    pub fn encode<A: IntoArgs + ?Sized>(args: &A) -> Result<Self, EncodeError> {
        let mut writer = ArgsWriter::default();
        args.encode_args(&mut writer)?;
        writer.finish()
    }

    /// Decodes the arguments as a handler's payload is.
    ///
    /// # Errors
    /// An argument is not of the type that was asked for.
    pub fn decode<A: FromArgs>(&self) -> Result<A, ArgsError> {
        A::from_args(self)
    }

    /// The arguments as JSON, separated by commas, with placeholders where attachments belong.
    pub fn json(&self) -> &str {
        &self.json
    }

    /// The attachments, in the order of their placeholders' numbers.
    pub fn attachments(&self) -> &[Bytes] {
        &self.attachments
    }

    /// The arguments one by one.
    pub fn iter(&self) -> impl Iterator<Item = RawArg> {
        scan::elements(&self.json).map(|json| RawArg {
            json: self.json.slice_ref(json),
            attachments: Arc::clone(&self.attachments),
        })
    }

    /// Checks the text of a JSON array, and that its placeholders name attachments.
    pub(crate) fn from_array(array: &ByteString, attachments: Vec<Bytes>) -> Result<Self, PacketError> {
        Ok(Self::new(check_args(array, attachments.len())?, attachments))
    }

    /// The arguments as the text of a JSON array, for [`from_array`](Self::from_array) on another node.
    pub(crate) fn to_array(&self) -> ByteString {
        format!("[{}]", self.json).into()
    }

    /// One argument that is known to have a JSON form.
    pub(crate) fn from_value(value: &serde_json::Value) -> Self {
        Self::new(value.to_string().into(), Vec::new())
    }

    /// The arguments of a packet whose attachments are still to come: what [`check_args`] returned, or a part of it.
    pub(crate) fn without_attachments(json: ByteString) -> Self {
        Self::new(json, Vec::new())
    }

    /// Puts the attachments in that [`without_attachments`](Self::without_attachments) left out.
    pub(crate) fn attach(&mut self, attachments: Vec<Bytes>) {
        self.attachments = attachments.into();
    }

    fn new(json: ByteString, attachments: Vec<Bytes>) -> Self {
        // The default is one shared, empty slice; `into` would allocate another.
        let attachments = if attachments.is_empty() { Arc::default() } else { attachments.into() };
        Self { json, attachments }
    }
}

/// Encodes the answer to an event: what a handler returns whose answers are of several types.
///
/// # Errors
/// As [`RawArgs::encode`]; the client sees it as `internal`.
///
/// ```
/// use socketmesh::{Socket, namespace, reply};
///
/// #[derive(serde::Deserialize)]
/// #[serde(rename_all = "snake_case")]
/// enum Asked { Name, Add(i32, i32), Leave }
///
/// let calculator = namespace("/").events(async |_: Socket, asked: Asked| match asked {
///     Asked::Name => reply("calculator"),
///     Asked::Add(a, b) => reply(&(a + b)),
///     Asked::Leave => reply(&()), // an empty ack
/// });
/// ```
pub fn reply<A: IntoArgs + ?Sized>(answer: &A) -> Result<RawArgs, EventError> {
    Ok(RawArgs::encode(answer)?)
}

impl fmt::Debug for RawArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RawArgs([{}], {} attachments)", self.json, self.attachments.len())
    }
}

/// One argument as it is on the wire, undecoded; for example an element of [`Args`]. Sent on, it takes along the
/// attachments it names and no others.
///
/// ```
/// use socketmesh::{Args, RawArg, Socket, namespace};
///
/// let chat = namespace("/").on("to", async |socket: Socket, Args((room, what)): Args<(String, RawArg)>| {
///     Ok(socket.to(room).emit("said", &what)?)
/// });
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct RawArg {
    json: ByteString,
    /// All attachments of the packet: the placeholders keep their numbers until the argument is sent on.
    attachments: Arc<[Bytes]>,
}

impl RawArg {
    /// Decodes the argument.
    ///
    /// # Errors
    /// It is not of the type that was asked for.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, ArgsError> {
        decode::from_json(&self.json, &self.attachments).map_err(|error| ArgsError::argument(0, error))
    }

    /// The argument as JSON, with placeholders where attachments belong.
    pub fn json(&self) -> &str {
        &self.json
    }

    /// All attachments of the packet the argument came in; its placeholders hold indexes into them.
    pub fn attachments(&self) -> &[Bytes] {
        &self.attachments
    }

    /// What an argument is that was not sent.
    pub(crate) fn missing() -> Self {
        Self { json: ByteString::from_static("null"), attachments: Arc::default() }
    }
}

impl fmt::Debug for RawArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RawArg({}, {} attachments)", self.json, self.attachments.len())
    }
}

/// The payload of a handler, or the answer to an ack: every type serde decodes, [`Args`], [`RawArgs`] and [`RawArg`].
///
/// A type serde decodes takes the first argument and ignores the others. An argument that was not sent is `null`, so an
/// `Option` is `None` for both: use [`RawArgs`] to tell them apart.
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

/// One argument: every type serde decodes, and [`RawArg`]. It is implemented for them, and not to be implemented.
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
        // `()` takes no argument, so it takes whatever was sent: an ack nobody reads may have a value.
        if size_of::<T>() == 0
            && let Ok(nothing) = serde_json::from_str("null")
        {
            return Ok(nothing);
        }
        decode::arg_of_first(args)
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
        decode::from_json(&arg.json, &arg.attachments).map_err(|error| ArgsError::argument(index, error))
    }
}

impl FromArg for RawArg {
    fn from_arg(arg: RawArg, _: usize) -> Result<Self, ArgsError> {
        Ok(arg)
    }
}

macro_rules! args_of_tuples {
    ($($index:tt $name:ident),+) => {
        impl<$($name: FromArg),+> FromArgs for Args<($($name,)+)> {
            fn from_args(args: &RawArgs) -> Result<Self, ArgsError> {
                let mut args = args.iter();
                Ok(Self(($($name::from_arg(args.next().unwrap_or_else(RawArg::missing), $index)?,)+)))
            }
        }

        impl<$($name: IntoArg),+> IntoArgs for Args<($($name,)+)> {
            fn encode_args(&self, out: &mut ArgsWriter) -> Result<(), EncodeError> {
                $(self.0.$index.encode_arg(out)?;)+
                Ok(())
            }
        }
    };
}

args_of_tuples!(0 A);
args_of_tuples!(0 A, 1 B);
args_of_tuples!(0 A, 1 B, 2 C);
args_of_tuples!(0 A, 1 B, 2 C, 3 D);
args_of_tuples!(0 A, 1 B, 2 C, 3 D, 4 E);
args_of_tuples!(0 A, 1 B, 2 C, 3 D, 4 E, 5 F);
args_of_tuples!(0 A, 1 B, 2 C, 3 D, 4 E, 5 F, 6 G);
args_of_tuples!(0 A, 1 B, 2 C, 3 D, 4 E, 5 F, 6 G, 7 H);

/// How many placeholders JSON holds.
pub(crate) fn placeholders(json: &str) -> usize {
    scan::placeholders(json).len()
}

/// Checks the text of a JSON array whose placeholders name that many attachments; returns its elements.
pub(crate) fn check_args(array: &ByteString, attachments: usize) -> Result<ByteString, PacketError> {
    let json = decode::check_array(array)?;
    check_placeholders(json, attachments)?;
    Ok(array.slice_ref(json))
}

/// Checks that every placeholder names one of the attachments; without attachments there are no placeholders.
fn check_placeholders(json: &str, attachments: usize) -> Result<(), PacketError> {
    if attachments == 0 {
        return Ok(());
    }
    let mut uses = vec![0; attachments];
    for place in scan::placeholders(json) {
        match place.number(json).and_then(|number| uses.get_mut(number)) {
            Some(uses) if *uses < MAX_USES => *uses += 1,
            _ => return Err(PacketError::IllegalAttachments),
        }
    }
    Ok(())
}

/// How often one attachment may be named. Encoders name each once; decoding copies the bytes for each, so without a
/// bound a megabyte of placeholders would become gigabytes.
const MAX_USES: usize = 4;

#[cfg(test)]
mod tests;
