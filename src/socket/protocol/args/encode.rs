//! From serde values to JSON and attachments.
//!
//! `serde_json` passes bytes to its formatter. Ours keeps them and writes a placeholder, so no serializer of our own is
//! needed. The order is depth first, so placeholders are numbered as in Node.

use std::any::type_name;
use std::cell::Cell;
use std::convert::Infallible;
use std::fmt;
use std::io;

use bytes::Bytes;
use serde::{Serialize, Serializer};
use serde_json::ser::Formatter;

use super::super::error::EncodeError;
use super::raw::{RawArg, RawArgs};
use super::scan::{self, NUMBER, PLACEHOLDER};
use super::tree;

impl RawArgs {
    /// Encodes arguments, as those of an emit are encoded.
    ///
    /// # Errors
    ///
    /// [`EncodeError`]: a value has no JSON form, or there are more than 10 attachments.
    pub fn encode<A: IntoArgs + ?Sized>(args: &A) -> Result<Self, EncodeError> {
        let mut writer = ArgsWriter::default();
        args.encode_args(&mut writer)?;
        writer.into_args()
    }
}

/// What can be emitted or replied: every type that serde encodes, [`RawArg`] among them, [`Args`](super::Args) and [`RawArgs`].
///
/// A type that serde encodes is one argument. `()`, and every type without content that encodes as `null`, is no argument.
/// Each byte value becomes an attachment; at most 10 are allowed.
///
/// ```
/// use socketmesh::{Args, RawArgs};
///
/// assert_eq!(RawArgs::encode(&(1, "a"))?.json(), r#"[1,"a"]"#, "one argument");
/// assert_eq!(RawArgs::encode(&Args((1, "a")))?.json(), r#"1,"a""#, "two");
/// assert_eq!(RawArgs::encode(&())?.json(), "", "none");
/// # Ok::<(), socketmesh::socket::EncodeError>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be sent as the arguments of an event or ack",
    label = "not a payload",
    note = "derive `serde::Serialize` for it; for several arguments use `Args((a, b))`, undecoded `RawArgs`",
    note = "what is still to be awaited, as a future or a join, needs an `.await` first"
)]
pub trait IntoArgs {
    /// Writes the arguments.
    ///
    /// # Errors
    /// A value has no JSON form.
    fn encode_args(&self, out: &mut ArgsWriter) -> Result<(), EncodeError>;
}

impl<T: Serialize + ?Sized> IntoArgs for T {
    fn encode_args(&self, out: &mut ArgsWriter) -> Result<(), EncodeError> {
        let start = out.json.len();
        out.value(self)?;
        if size_of_val(self) == 0 {
            out.take_back_null(start);
        }
        Ok(())
    }
}

impl IntoArgs for RawArgs {
    fn encode_args(&self, out: &mut ArgsWriter) -> Result<(), EncodeError> {
        out.raw_args(self);
        Ok(())
    }
}

/// In a packet it is written as it came, with its attachments; elsewhere it is decoded, and its attachments are serde bytes.
impl Serialize for RawArg {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Whether the serializer is the one of packets: no other has that sink. Types that borrow have no `TypeId`.
        if type_name::<S>() != type_name::<&mut Json<'_>>() {
            return tree::serialize(&self.json, &self.attachments, serializer);
        }
        SPLICED.set(Some(self.clone()));
        // The sink takes it out at once.
        serializer.serialize_bytes(&[])
    }
}

thread_local! {
    /// The argument that is written in the place of the next bytes.
    static SPLICED: Cell<Option<RawArg>> = const { Cell::new(None) };
}

/// Takes arguments one after another, from implementations of [`IntoArgs`].
#[derive(Default)]
pub struct ArgsWriter {
    json: Vec<u8>,
    /// Where the arguments begin. What is before them is the first element of their array, if there is anything.
    start: usize,
    binary: AttachmentSink,
}

impl ArgsWriter {
    /// Writes arguments behind the text of an array that has an element already.
    pub(crate) fn behind(text: Vec<u8>) -> Self {
        Self { start: text.len(), json: text, binary: AttachmentSink::default() }
    }

    /// Writes one argument.
    pub(crate) fn value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        self.separate();
        value.serialize(&mut serde_json::Serializer::with_formatter(&mut self.json, &mut self.binary))?;
        Ok(())
    }

    /// A serializer that writes the next argument.
    pub(crate) fn serializer(&mut self) -> Json<'_> {
        self.separate();
        serde_json::Serializer::with_formatter(&mut self.json, &mut self.binary)
    }

    /// Removes what was written from `start` on if it is `null`, because a value without content is no argument.
    pub(crate) fn take_back_null(&mut self, start: usize) {
        if self.json.get(start..).is_some_and(|json| matches!(json, b"null" | b",null")) {
            self.json.truncate(start);
        }
    }

    /// Turns the only argument, an array, into several arguments: its elements.
    pub(crate) fn spread(&mut self) {
        self.json.pop();
        self.json.drain(..1.min(self.json.len()));
    }

    /// Checks the attachments and returns what was written.
    pub(crate) fn into_args(self) -> Result<RawArgs, EncodeError> {
        let (json, attachments) = self.finish()?;
        Ok(RawArgs::new(json.into(), attachments))
    }

    /// As [`into_args`](Self::into_args), with the text before the arguments.
    pub(crate) fn finish(self) -> Result<(String, Vec<Bytes>), EncodeError> {
        let Self { json, start, binary: AttachmentSink { attachments, placeholders } } = self;
        let json = String::from_utf8(json).expect("serde_json and our formatter write UTF-8");
        if attachments.len() > EncodeError::MAX_ATTACHMENTS {
            return Err(EncodeError::TooManyAttachments { given: attachments.len() });
        }
        let args = || json.get(start..).unwrap_or_default();
        if !attachments.is_empty() && scan::placeholders(args()).len() != placeholders {
            return Err(EncodeError::ForgedPlaceholder);
        }
        Ok((json, attachments))
    }

    /// Writes arguments that came in, unchanged if nothing was written before them.
    fn raw_args(&mut self, args: &RawArgs) {
        let is_first = self.json.len() == self.start && self.binary.attachments.is_empty();
        if is_first && !args.attachments.is_empty() {
            self.binary.placeholders = scan::placeholders(&args.json).len();
            self.binary.attachments = args.attachments.to_vec();
            if !args.json.is_empty() {
                self.separate();
                self.json.extend_from_slice(args.json.as_bytes());
            }
        } else if !args.json.is_empty() {
            self.raw(&args.json, &args.attachments);
        }
    }

    fn raw(&mut self, json: &str, attachments: &[Bytes]) {
        self.separate();
        let text = &mut self.json;
        let Ok(()) = self.binary.splice(json, attachments, |piece| {
            text.extend_from_slice(piece.as_bytes());
            Ok::<_, Infallible>(())
        });
    }

    fn separate(&mut self) {
        if !self.json.is_empty() {
            self.json.push(b',');
        }
    }
}

impl fmt::Debug for ArgsWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArgsWriter")
            .field("json", &String::from_utf8_lossy(&self.json))
            .finish_non_exhaustive()
    }
}

/// A serializer of JSON that takes attachments out.
pub(crate) type Json<'a> = serde_json::Serializer<&'a mut Vec<u8>, &'a mut AttachmentSink>;

/// The attachments of the packet that is being written.
#[derive(Default)]
pub(crate) struct AttachmentSink {
    attachments: Vec<Bytes>,
    /// How many placeholders were written: more in the JSON are forged.
    placeholders: usize,
}

impl AttachmentSink {
    fn attach(&mut self, bytes: Bytes) -> usize {
        self.attachments.push(bytes);
        self.attachments.len() - 1
    }

    /// Writes JSON that came in; its placeholders get the numbers of their attachments among those of this packet.
    fn splice<E>(
        &mut self,
        json: &str,
        attachments: &[Bytes],
        mut write: impl FnMut(&str) -> Result<(), E>,
    ) -> Result<(), E> {
        let placeholders = if attachments.is_empty() { Vec::new() } else { scan::placeholders(json) };
        let (mut numbers, mut rest) = (vec![None; attachments.len()], 0);
        for place in placeholders {
            let Some((number, bytes)) =
                place.number(json).and_then(|at| numbers.get_mut(at).zip(attachments.get(at)))
            else {
                continue;
            };
            let number = *number.get_or_insert_with(|| self.attach(bytes.clone()));
            self.placeholders += 1;
            write(json.get(rest..place.at.start).unwrap_or_default())?;
            write(&number.to_string())?;
            rest = place.at.end;
        }
        write(json.get(rest..).unwrap_or_default())
    }
}

impl Formatter for &mut AttachmentSink {
    fn write_byte_array<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: &[u8]) -> io::Result<()> {
        if let Some(RawArg { json, attachments }) = SPLICED.take() {
            return self.splice(&json, &attachments, |piece| writer.write_all(piece.as_bytes()));
        }
        // Too many are refused at the end; until then they are only counted.
        let kept = self.attachments.len() < EncodeError::MAX_ATTACHMENTS;
        let number = self.attach(if kept { Bytes::copy_from_slice(value) } else { Bytes::new() });
        self.placeholders += 1;
        write!(writer, r#"{{"{PLACEHOLDER}":true,"{NUMBER}":{number}}}"#)
    }
}
