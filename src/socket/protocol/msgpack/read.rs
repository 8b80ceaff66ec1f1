//! From the message of a client to JSON and attachments, as notepack.io 2.2 reads it.
//!
//! Nothing is allocated for a length that was only announced, and nothing recurses.

use bytes::Bytes;
use bytestring::ByteString;
use rmp::Marker;
use rmp::decode::{RmpRead, read_marker};

use super::super::date::Date;
use super::super::error::PacketError;
use super::super::packet::PacketLimits;
use super::fields::Fields;

/// Reads the map of a packet. Of equal keys the last counts; keys that are not known are ignored.
pub(super) fn fields(message: &Bytes, limits: PacketLimits) -> Result<Fields, PacketError> {
    let mut reader = Reader {
        rest: message,
        message,
        max_attachments: limits.max_attachments,
        json: Vec::new(),
        attachments: Vec::new(),
    };
    let mut fields = Fields::default();
    for _ in 0..reader.map_length()? {
        let name = reader.field()?.unwrap_or_default();
        let value = reader.field()?;
        let attachments = std::mem::take(&mut reader.attachments);
        match &*name {
            r#""type""# => fields.kind = value.as_deref().and_then(|json| json.parse().ok()),
            r#""nsp""# => fields.nsp = value.and_then(|json| text(&json)),
            r#""id""# => fields.id = value.map(|json| id(&json)).transpose()?,
            r#""data""# => (fields.data, fields.attachments) = (value, attachments),
            _ => {}
        }
    }
    if reader.rest.is_empty() { Ok(fields) } else { Err(MALFORMED) }
}

fn text(json: &str) -> Option<ByteString> {
    serde_json::from_str::<String>(json).ok().map(ByteString::from)
}

fn id(json: &str) -> Result<u64, PacketError> {
    json.parse().map_err(|_no_id| PacketError::IllegalId)
}

struct Reader<'a> {
    rest: &'a [u8],
    message: &'a Bytes,
    max_attachments: usize,
    json: Vec<u8>,
    attachments: Vec<Bytes>,
}

/// What was read: JavaScript tells `undefined` from `null`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Read {
    Value,
    Undefined,
}

/// A value that was written, or a part of one.
enum Item {
    Value,
    Undefined,
    Container(Container),
}

/// An array or map that is open.
struct Container {
    is_map: bool,
    /// How many values are still to come; of a map, each with its key.
    left: u32,
    /// Where its first value is written.
    first: usize,
}

impl<'a> Reader<'a> {
    fn map_length(&mut self) -> Result<u32, PacketError> {
        match self.marker()? {
            Marker::FixMap(length) => Ok(length.into()),
            Marker::Map16 => self.u16().map(u32::from),
            Marker::Map32 => self.u32(),
            _ => Err(MALFORMED),
        }
    }

    /// A value as JSON of its own; none if it is `undefined`.
    fn field(&mut self) -> Result<Option<ByteString>, PacketError> {
        let read = self.value()?;
        let json = std::mem::take(&mut self.json);
        match read {
            Read::Undefined => Ok(None),
            Read::Value => ByteString::try_from(json).map(Some).map_err(|_not_utf8| MALFORMED),
        }
    }

    /// Writes the next value as JSON, unless it is `undefined`. It may nest as deep as it likes: what is open is a list.
    fn value(&mut self) -> Result<Read, PacketError> {
        let mut open: Vec<Container> = Vec::new();
        loop {
            let start = self.json.len();
            if let Some(container) = open.last_mut() {
                container.left -= 1;
                if start > container.first {
                    self.raw(",");
                }
                if container.is_map {
                    self.key()?;
                    self.raw(":");
                }
            }
            match (self.item()?, open.last()) {
                (Item::Value, _) => {}
                (Item::Undefined, None) => return Ok(Read::Undefined),
                (Item::Undefined, Some(Container { is_map: true, .. })) => self.json.truncate(start),
                (Item::Undefined, Some(_)) => self.raw("null"),
                (Item::Container(container), _) => open.push(container),
            }
            while let Some(full) = open.pop_if(|container| container.left == 0) {
                self.raw(if full.is_map { "}" } else { "]" });
            }
            if open.is_empty() {
                return Ok(Read::Value);
            }
        }
    }

    /// Writes the next value, or the beginning of a container.
    fn item(&mut self) -> Result<Item, PacketError> {
        match self.marker()? {
            Marker::Null => self.raw("null"),
            Marker::False => self.raw("false"),
            Marker::True => self.raw("true"),
            Marker::FixArray(length) => return Ok(self.open(false, length.into())),
            Marker::Array16 => return self.u16().map(|length| self.open(false, length.into())),
            Marker::Array32 => return self.u32().map(|length| self.open(false, length)),
            Marker::FixMap(length) => return Ok(self.open(true, length.into())),
            Marker::Map16 => return self.u16().map(|length| self.open(true, length.into())),
            Marker::Map32 => return self.u32().map(|length| self.open(true, length)),
            Marker::Bin8 => self.u8().and_then(|length| self.bytes(length.into()))?,
            Marker::Bin16 => self.u16().and_then(|length| self.bytes(length.into()))?,
            Marker::Bin32 => self.u32().and_then(|length| self.bytes(length))?,
            Marker::Ext8 => self.u8().and_then(|length| self.extension(length.into()))?,
            Marker::Ext16 => self.u16().and_then(|length| self.extension(length.into()))?,
            Marker::Ext32 => self.u32().and_then(|length| self.extension(length))?,
            Marker::FixExt1 => return self.fixed_1(),
            Marker::FixExt2 => self.fixed(2)?,
            Marker::FixExt4 => self.fixed(4)?,
            Marker::FixExt8 => self.fixed(8)?,
            Marker::FixExt16 => self.fixed(16)?,
            scalar => match self.number(scalar)? {
                Some(number) => self.raw(&number),
                None => self.string(scalar)?,
            },
        }
        Ok(Item::Value)
    }

    fn open(&mut self, is_map: bool, left: u32) -> Item {
        self.raw(if is_map { "{" } else { "[" });
        Item::Container(Container { is_map, left, first: self.json.len() })
    }

    /// The text of a number, if that is what the marker stands for.
    fn number(&mut self, marker: Marker) -> Result<Option<String>, PacketError> {
        Ok(Some(match marker {
            Marker::FixPos(number) => number.to_string(),
            Marker::FixNeg(number) => number.to_string(),
            Marker::U8 => self.u8()?.to_string(),
            Marker::U16 => self.u16()?.to_string(),
            Marker::U32 => self.u32()?.to_string(),
            Marker::U64 => self.u64()?.to_string(),
            Marker::I8 => self.rest.read_data_i8().map_err(short)?.to_string(),
            Marker::I16 => self.rest.read_data_i16().map_err(short)?.to_string(),
            Marker::I32 => self.rest.read_data_i32().map_err(short)?.to_string(),
            Marker::I64 => self.rest.read_data_i64().map_err(short)?.to_string(),
            Marker::F32 => float(self.rest.read_data_f32().map_err(short)?.into()),
            Marker::F64 => float(self.rest.read_data_f64().map_err(short)?),
            _ => return Ok(None),
        }))
    }

    fn string(&mut self, marker: Marker) -> Result<(), PacketError> {
        let length = match marker {
            Marker::FixStr(length) => length.into(),
            Marker::Str8 => self.u8()?.into(),
            Marker::Str16 => self.u16()?.into(),
            Marker::Str32 => self.u32()?,
            _ => return Err(MALFORMED),
        };
        // What is no UTF-8 is replaced, as in Node: a lone surrogate is written like that.
        let text = String::from_utf8_lossy(self.take(length)?);
        serde_json::to_writer(&mut self.json, &text).map_err(|_never| MALFORMED)
    }

    /// A string, or an integer as its text. Other keys would be what JavaScript makes of them, and no client has any.
    fn key(&mut self) -> Result<(), PacketError> {
        let marker = self.marker()?;
        match marker {
            Marker::F32 | Marker::F64 => Err(MALFORMED),
            marker => match self.number(marker)? {
                Some(number) => {
                    self.raw(&format!("\"{number}\""));
                    Ok(())
                }
                None => self.string(marker),
            },
        }
    }

    fn bytes(&mut self, length: u32) -> Result<(), PacketError> {
        let bytes = self.take(length)?;
        self.attach(bytes)
    }

    /// A placeholder, and the bytes for it.
    fn attach(&mut self, bytes: &'a [u8]) -> Result<(), PacketError> {
        if self.attachments.len() >= self.max_attachments {
            return Err(PacketError::TooManyAttachments);
        }
        // A slice keeps the whole message: no small one may do that.
        let most = bytes.len() >= self.message.len() / 2;
        let kept = if most { self.message.slice_ref(bytes) } else { Bytes::copy_from_slice(bytes) };
        let number = self.attachments.len();
        self.attachments.push(kept);
        self.raw(&format!(r#"{{"_placeholder":true,"num":{number}}}"#));
        Ok(())
    }

    /// `undefined`, or an extension of one byte.
    fn fixed_1(&mut self) -> Result<Item, PacketError> {
        let kind = self.rest.read_data_i8().map_err(short)?;
        let data = self.take(1)?;
        if kind == 0 {
            return Ok(Item::Undefined);
        }
        self.unknown(kind, data).map(|()| Item::Value)
    }

    fn fixed(&mut self, length: u32) -> Result<(), PacketError> {
        let kind = self.rest.read_data_i8().map_err(short)?;
        let date = match (kind, self.take(length)?) {
            (0, &[a, b, c, d, e, f, g, h]) => Date::from_millis(i64::from_be_bytes([a, b, c, d, e, f, g, h])),
            (TIMESTAMP, &[a, b, c, d]) => Date::from_timestamp(u32::from_be_bytes([a, b, c, d]).into(), 0),
            (TIMESTAMP, &[a, b, c, d, e, f, g, h]) => {
                let both = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
                let (nanos, seconds) = (both >> 34, both & ((1 << 34) - 1));
                let seconds = seconds.try_into().unwrap_or(i64::MAX);
                Date::from_timestamp(seconds, nanos.try_into().unwrap_or_default())
            }
            (kind, data) => return self.unknown(kind, data),
        };
        self.date(date);
        Ok(())
    }

    fn extension(&mut self, length: u32) -> Result<(), PacketError> {
        let kind = self.rest.read_data_i8().map_err(short)?;
        match (kind, self.take(length)?) {
            // An `ArrayBuffer`, and whatever is a view of one.
            (0, data) => self.attach(data),
            (TIMESTAMP, &[n0, n1, n2, n3, a, b, c, d, e, f, g, h]) => {
                let nanos = u32::from_be_bytes([n0, n1, n2, n3]);
                self.date(Date::from_timestamp(i64::from_be_bytes([a, b, c, d, e, f, g, h]), nanos));
                Ok(())
            }
            (kind, data) => self.unknown(kind, data),
        }
    }

    /// An extension without a meaning is its type and its bytes, as in Node.
    fn unknown(&mut self, kind: i8, data: &'a [u8]) -> Result<(), PacketError> {
        self.raw(&format!("[{kind},"));
        self.attach(data)?;
        self.raw("]");
        Ok(())
    }

    fn date(&mut self, date: Option<Date>) {
        let json = date.map_or_else(|| "null".to_owned(), |date| format!("\"{date}\""));
        self.raw(&json);
    }

    fn raw(&mut self, json: &str) {
        self.json.extend_from_slice(json.as_bytes());
    }

    fn take(&mut self, length: u32) -> Result<&'a [u8], PacketError> {
        let length = usize::try_from(length).map_err(|_beyond| MALFORMED)?;
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(MALFORMED)?;
        self.rest = rest;
        Ok(taken)
    }

    fn marker(&mut self) -> Result<Marker, PacketError> {
        read_marker(&mut self.rest).map_err(short)
    }

    fn u8(&mut self) -> Result<u8, PacketError> {
        self.rest.read_data_u8().map_err(short)
    }

    fn u16(&mut self) -> Result<u16, PacketError> {
        self.rest.read_data_u16().map_err(short)
    }

    fn u32(&mut self) -> Result<u32, PacketError> {
        self.rest.read_data_u32().map_err(short)
    }

    fn u64(&mut self) -> Result<u64, PacketError> {
        self.rest.read_data_u64().map_err(short)
    }
}

/// NaN and the infinities are `null`.
fn float(number: f64) -> String {
    serde_json::to_string(&number).unwrap_or_else(|_never| "null".to_owned())
}

fn short<E>(_the_message_ends: E) -> PacketError {
    MALFORMED
}

const MALFORMED: PacketError = PacketError::InvalidPayload;
/// The type of a timestamp in the MessagePack specification.
const TIMESTAMP: i8 = -1;
