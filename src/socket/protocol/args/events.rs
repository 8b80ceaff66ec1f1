//! A serde enum is the table of events: `["name", argument, …]` is an externally tagged enum, whose variant is the
//! event's name and whose content is its arguments.
//!
//! A unit variant has no arguments, a newtype variant one, a tuple variant several, a struct variant one object.

use std::cell::Cell;

use bytes::Bytes;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, SeqAccess,
};
use serde::de::{VariantAccess, Visitor};
use serde::forward_to_deserialize_any;
use serde::ser::{self, Impossible, Serialize, SerializeSeq, SerializeStruct, Serializer};
use serde_json::Error;

use super::super::error::{ArgsError, EncodeError};
use super::encode::{ArgsWriter, Json};
use super::raw::RawArgs;
use super::{scan, tree};

/// Decodes an event into the enum of all events. `None` if that has no variant of this name, and none with
/// `#[serde(other)]`; arguments a variant does not take are ignored.
pub(crate) fn decode_event<E: DeserializeOwned>(name: &str, args: &RawArgs) -> Result<Option<E>, ArgsError> {
    let is_unknown = Cell::new(false);
    match E::deserialize(EventEnum { name, args, is_unknown: &is_unknown }) {
        Err(_) if is_unknown.get() => Ok(None),
        decoded => decoded.map(Some).map_err(ArgsError::event),
    }
}

/// Encodes a variant as an event: its name and its arguments.
pub(crate) fn encode_event<E: Serialize + ?Sized>(event: &E) -> Result<(&'static str, RawArgs), EncodeError> {
    let mut writer = ArgsWriter::default();
    let (name, content) = event.serialize(VariantWriter(&mut writer.serializer()))?;
    match content {
        VariantContent::Nothing => writer.take_back_null(0),
        VariantContent::One => {}
        VariantContent::Several => writer.spread(),
    }
    Ok((name, writer.into_args()?))
}

/// An event as an enum to decode.
struct EventEnum<'a> {
    name: &'a str,
    args: &'a RawArgs,
    /// Set if no variant has the name.
    is_unknown: &'a Cell<bool>,
}

impl<'a> EventEnum<'a> {
    fn arguments(&self) -> Arguments<'a, impl Iterator<Item = &'a str> + use<'a>> {
        let args = self.args;
        Arguments {
            json: scan::elements(args.json()),
            attachments: args.attachments(),
            left: usize::MAX,
            index: 0,
        }
    }
}

impl<'de> Deserializer<'de> for EventEnum<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_enum(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

impl<'de> EnumAccess<'de> for EventEnum<'de> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), Error> {
        let name: de::value::StrDeserializer<'_, Error> = self.name.into_deserializer();
        let variant = seed.deserialize(name).inspect_err(|_| self.is_unknown.set(true))?;
        Ok((variant, self))
    }
}

impl<'de> VariantAccess<'de> for EventEnum<'de> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        Ok(())
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Error> {
        self.arguments().decode(seed)
    }

    fn tuple_variant<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_seq(Arguments { left: length, ..self.arguments() })
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.arguments().decode(StructFields(fields, visitor))
    }
}

/// The arguments of an event as the fields of a variant; those that were not sent are `null`.
struct Arguments<'a, I> {
    json: I,
    attachments: &'a [Bytes],
    left: usize,
    index: usize,
}

impl<'de, I: Iterator<Item = &'de str>> Arguments<'de, I> {
    fn decode<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        self.index += 1;
        let json = self.json.next().unwrap_or("null");
        tree::seed_from_json(json, self.attachments, seed)
            .map_err(|error| de::Error::custom(format_args!("argument {}: {error}", self.index)))
    }
}

impl<'de, I: Iterator<Item = &'de str>> SeqAccess<'de> for Arguments<'de, I> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        self.left = left;
        self.decode(seed).map(Some)
    }
}

/// The visitor of a struct variant, as a seed.
struct StructFields<V>(&'static [&'static str], V);

impl<'de, V: Visitor<'de>> DeserializeSeed<'de> for StructFields<V> {
    type Value = V::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        deserializer.deserialize_struct("", self.0, self.1)
    }
}

/// Writes the content of a variant. It refuses everything that is not a variant.
struct VariantWriter<'b, 'a>(&'b mut Json<'a>);

/// What the JSON that was written stands for.
enum VariantContent {
    Nothing,
    One,
    Several,
}

type EncodedVariant = (&'static str, VariantContent);

macro_rules! refuse {
    ($($method:ident($($arg:ty),*) $what:literal $(-> $impossible:ident)?)*) => {
        $(fn $method(self $(, _: $arg)*) -> Result<refuse!(@$($impossible)?), Error> {
            Err(ser::Error::custom(concat!("an event is a variant of an enum, not ", $what)))
        })*
    };
    (@) => { EncodedVariant };
    (@Never) => { Impossible<EncodedVariant, Error> };
}

impl<'b, 'a> Serializer for VariantWriter<'b, 'a> {
    type Ok = EncodedVariant;
    type Error = Error;
    type SerializeTupleVariant = Several<'b, 'a>;
    type SerializeStructVariant = One<'b, 'a>;
    type SerializeSeq = Impossible<EncodedVariant, Error>;
    type SerializeTuple = Impossible<EncodedVariant, Error>;
    type SerializeTupleStruct = Impossible<EncodedVariant, Error>;
    type SerializeMap = Impossible<EncodedVariant, Error>;
    type SerializeStruct = Impossible<EncodedVariant, Error>;

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
    ) -> Result<EncodedVariant, Error> {
        Ok((name, VariantContent::Nothing))
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
        value: &T,
    ) -> Result<EncodedVariant, Error> {
        value.serialize(self.0)?;
        Ok((name, if size_of_val(value) == 0 { VariantContent::Nothing } else { VariantContent::One }))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
        length: usize,
    ) -> Result<Several<'b, 'a>, Error> {
        Ok(Several { name, array: self.0.serialize_seq(Some(length))? })
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
        length: usize,
    ) -> Result<One<'b, 'a>, Error> {
        Ok(One { name, object: self.0.serialize_struct(name, length)? })
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<EncodedVariant, Error> {
        value.serialize(self)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<EncodedVariant, Error> {
        value.serialize(self)
    }

    refuse! {
        serialize_bool(bool) "a bool"
        serialize_i8(i8) "a number"
        serialize_i16(i16) "a number"
        serialize_i32(i32) "a number"
        serialize_i64(i64) "a number"
        serialize_u8(u8) "a number"
        serialize_u16(u16) "a number"
        serialize_u32(u32) "a number"
        serialize_u64(u64) "a number"
        serialize_f32(f32) "a number"
        serialize_f64(f64) "a number"
        serialize_char(char) "a char"
        serialize_str(&str) "a string"
        serialize_bytes(&[u8]) "bytes"
        serialize_none() "nothing"
        serialize_unit() "nothing"
        serialize_unit_struct(&'static str) "a struct"
        serialize_seq(Option<usize>) "a sequence" -> Never
        serialize_tuple(usize) "a tuple" -> Never
        serialize_tuple_struct(&'static str, usize) "a struct" -> Never
        serialize_map(Option<usize>) "a map" -> Never
        serialize_struct(&'static str, usize) "a struct" -> Never
    }
}

/// The fields of a tuple variant, written as an array.
struct Several<'b, 'a> {
    name: &'static str,
    array: <&'b mut Json<'a> as Serializer>::SerializeSeq,
}

impl ser::SerializeTupleVariant for Several<'_, '_> {
    type Ok = EncodedVariant;
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.array.serialize_element(value)
    }

    fn end(self) -> Result<EncodedVariant, Error> {
        SerializeSeq::end(self.array)?;
        Ok((self.name, VariantContent::Several))
    }
}

/// The fields of a struct variant, written as an object.
struct One<'b, 'a> {
    name: &'static str,
    object: <&'b mut Json<'a> as Serializer>::SerializeStruct,
}

impl ser::SerializeStructVariant for One<'_, '_> {
    type Ok = EncodedVariant;
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), Error> {
        SerializeStruct::serialize_field(&mut self.object, key, value)
    }

    fn end(self) -> Result<EncodedVariant, Error> {
        SerializeStruct::end(self.object)?;
        Ok((self.name, VariantContent::One))
    }
}
