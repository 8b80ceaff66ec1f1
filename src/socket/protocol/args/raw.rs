//! Arguments as they are on the wire, undecoded.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;

use super::super::error::PacketError;
use super::check::check_args;
use super::scan;
use super::surrogates::replace_lone_surrogates;

/// The arguments of an event or ack as they are on the wire, undecoded.
///
/// As the payload of a handler it takes any arguments. Emitted, it is sent as it came, including attachments that no
/// placeholder names (Node decodes and encodes, and so drops those). Nothing is decoded or copied on the way. A clone shares
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
    pub(super) json: ByteString,
    pub(super) attachments: Arc<[Bytes]>,
}

impl RawArgs {
    /// A copy that shares no memory with the message it came in.
    pub(crate) fn copied(&self) -> Self {
        Self { json: (&*self.json).into(), attachments: Arc::clone(&self.attachments) }
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
        let array = replace_lone_surrogates(array.clone());
        Ok(Self::new(check_args(&array, attachments.len())?, attachments))
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

    pub(super) fn new(json: ByteString, attachments: Vec<Bytes>) -> Self {
        // The default is one shared, empty slice; `into` would allocate another.
        let attachments = if attachments.is_empty() { Arc::default() } else { attachments.into() };
        Self { json, attachments }
    }
}

impl fmt::Debug for RawArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RawArgs([{}], {} attachments)", self.json, self.attachments.len())
    }
}

/// One argument as it is on the wire, undecoded, for example as an element of [`Args`](super::Args). Emitted, alone or inside of
/// any other value, it is written as it came, and takes along the attachments that it names and no others.
///
/// It implements `Serialize`. A format other than that of packets gets what it decodes to, its attachments as bytes.
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
    pub(super) json: ByteString,
    /// All attachments of the packet: the placeholders keep their numbers until the argument is sent on.
    pub(super) attachments: Arc<[Bytes]>,
}

impl RawArg {
    /// The argument as JSON, with placeholders where attachments belong.
    pub fn json(&self) -> &str {
        &self.json
    }

    /// All attachments of the packet that the argument came in. Its placeholders hold indexes into them.
    pub fn attachments(&self) -> &[Bytes] {
        &self.attachments
    }

    /// Stands for an argument that was not sent.
    pub(crate) fn missing() -> Self {
        Self { json: ByteString::from_static("null"), attachments: Arc::default() }
    }
}

impl fmt::Debug for RawArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RawArg({}, {} attachments)", self.json, self.attachments.len())
    }
}
