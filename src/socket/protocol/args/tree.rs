//! From JSON and attachments to a serde value, or to a serializer of another format.
//!
//! Without attachments this is `serde_json` on the text. With them the JSON becomes a tree first, because a placeholder
//! is known only when its object ends.

use std::fmt;

use bytes::Bytes;
use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{
    self, Deserialize, DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer,
    MapAccess, SeqAccess, Unexpected, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;
use serde::ser::{self, Serialize, Serializer};
use serde_json::{Error, Value};

use super::super::error::PacketError;
use super::scan::{self, NUMBER, PLACEHOLDER};

/// Decodes one JSON value whose placeholders name attachments.
pub(crate) fn from_json<T: DeserializeOwned>(json: &str, attachments: &[Bytes]) -> Result<T, Error> {
    seed_from_json(json, attachments, std::marker::PhantomData)
}

/// Decodes one JSON value with a seed.
pub(crate) fn seed_from_json<'de, S: DeserializeSeed<'de>>(
    json: &'de str,
    attachments: &[Bytes],
    seed: S,
) -> Result<S::Value, Error> {
    let mut text = serde_json::Deserializer::from_str(json);
    let value = if attachments.is_empty() || scan::placeholders(json).is_empty() {
        seed.deserialize(&mut text)?
    } else {
        seed.deserialize(Grow(attachments).deserialize(&mut text)?)?
    };
    text.end()?;
    Ok(value)
}

/// Gives one JSON value to a serializer of any format, with bytes where placeholders name attachments.
pub(crate) fn serialize<S: Serializer>(
    json: &str,
    attachments: &[Bytes],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let tree = Grow(attachments).deserialize(&mut serde_json::Deserializer::from_str(json));
    tree.map_err(ser::Error::custom)?.serialize(serializer)
}

/// JSON with its attachments in place. Deserializing from it is what `serde_json` does with a `Value`, and bytes where
/// a placeholder was.
enum Tree {
    Scalar(Value),
    Array(Vec<Self>),
    Object(Vec<(String, Self)>),
    Bytes(Bytes),
}

impl Tree {
    /// An object, unless it is a placeholder: without attachments there are none. Of equal keys the last counts, as in
    /// [`scan::placeholders`].
    fn object<E: de::Error>(entries: Vec<(String, Self)>, attachments: &[Bytes]) -> Result<Self, E> {
        let last = |name| entries.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value);
        let is_placeholder = matches!(last(PLACEHOLDER), Some(Self::Scalar(Value::Bool(true))));
        if attachments.is_empty() || !is_placeholder {
            return Ok(Self::Object(entries));
        }
        let number = match last(NUMBER) {
            Some(Self::Scalar(number)) => number.as_u64().and_then(|number| usize::try_from(number).ok()),
            _ => None,
        };
        let bytes = number.and_then(|number| attachments.get(number));
        bytes.cloned().map(Self::Bytes).ok_or_else(|| E::custom(PacketError::IllegalAttachments))
    }

    fn unexpected(&self) -> Unexpected<'_> {
        match self {
            Self::Scalar(Value::Null) => Unexpected::Unit,
            Self::Scalar(Value::Bool(value)) => Unexpected::Bool(*value),
            Self::Scalar(Value::String(text)) => Unexpected::Str(text),
            Self::Scalar(_) => Unexpected::Other("number"),
            Self::Array(_) => Unexpected::Seq,
            Self::Object(_) => Unexpected::Map,
            Self::Bytes(bytes) => Unexpected::Bytes(bytes),
        }
    }

    fn visit_array<'de, V: Visitor<'de>>(items: Vec<Self>, visitor: V) -> Result<V::Value, Error> {
        let mut items = SeqDeserializer::new(items.into_iter());
        let value = visitor.visit_seq(&mut items)?;
        items.end()?;
        Ok(value)
    }

    fn visit_object<'de, V: Visitor<'de>>(
        entries: Vec<(String, Self)>,
        visitor: V,
    ) -> Result<V::Value, Error> {
        let entries = entries.into_iter().map(|(key, value)| (TreeKey(key), value));
        let mut entries = MapDeserializer::new(entries);
        let value = visitor.visit_map(&mut entries)?;
        entries.end()?;
        Ok(value)
    }
}

impl Serialize for Tree {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Scalar(value) => value.serialize(serializer),
            Self::Array(items) => serializer.collect_seq(items),
            Self::Object(entries) => serializer.collect_map(entries.iter().map(|(key, value)| (key, value))),
            Self::Bytes(bytes) => serializer.serialize_bytes(bytes),
        }
    }
}

/// Reads JSON into a [`Tree`] over these attachments.
#[derive(Clone, Copy)]
struct Grow<'a>(&'a [Bytes]);

impl<'de> DeserializeSeed<'de> for Grow<'_> {
    type Value = Tree;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Tree, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Grow<'_> {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Scalar(Value::Null))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Scalar(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
        Ok(Tree::Scalar(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
        Ok(Tree::Scalar(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Tree, E> {
        Ok(Tree::Scalar(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Tree, E> {
        Ok(Tree::Scalar(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Tree, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(self)? {
            items.push(item);
        }
        Ok(Tree::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tree, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key()? {
            entries.push((key, map.next_value_seed(self)?));
        }
        Tree::object(entries, self.0)
    }
}

impl<'de> Deserializer<'de> for Tree {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Self::Scalar(value) => value.deserialize_any(visitor),
            Self::Array(items) => Self::visit_array(items, visitor),
            Self::Object(entries) => Self::visit_object(entries, visitor),
            Self::Bytes(bytes) => visitor.visit_byte_buf(bytes.into()),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Self::Scalar(Value::Null) => visitor.visit_none(),
            value => visitor.visit_some(value),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    /// Bytes are also a sequence of numbers, so that `Vec<u8>` takes what Node calls a buffer.
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Self::Bytes(bytes) => visitor.visit_seq(SeqDeserializer::new(bytes.into_iter())),
            value => value.deserialize_any(visitor),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    /// A string's visitor would take bytes for text.
    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Self::Bytes(_) => Err(de::Error::invalid_type(self.unexpected(), &visitor)),
            value => value.deserialize_any(visitor),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self {
            Self::Scalar(value) => value.deserialize_enum(name, variants, visitor),
            Self::Object(entries) if entries.len() == 1 => visitor.visit_enum(TreeVariant(entries)),
            value => Err(de::Error::invalid_type(value.unexpected(), &"a string, or a map with one key")),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct tuple_struct map
        struct identifier
    }
}

impl IntoDeserializer<'_, Error> for Tree {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// The one entry of an object that stands for a variant with content.
struct TreeVariant(Vec<(String, Tree)>);

impl<'de> EnumAccess<'de> for TreeVariant {
    type Error = Error;
    type Variant = TreeContent;

    fn variant_seed<S: DeserializeSeed<'de>>(mut self, seed: S) -> Result<(S::Value, TreeContent), Error> {
        let (name, content) = self.0.pop().ok_or_else(|| de::Error::custom("a variant has no name"))?;
        Ok((seed.deserialize(name.into_deserializer())?, TreeContent(content)))
    }
}

/// What a variant holds.
struct TreeContent(Tree);

impl<'de> VariantAccess<'de> for TreeContent {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        Deserialize::deserialize(self.0)
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Error> {
        seed.deserialize(self.0)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        self.0.deserialize_seq(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.0.deserialize_any(visitor)
    }
}

/// The key of an object: a string, or whatever a map's key type reads from one, as in `serde_json`.
struct TreeKey(String);

macro_rules! parse_key {
    ($($method:ident $visit:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            match self.0.parse() {
                Ok(key) => visitor.$visit(key),
                Err(_) => visitor.visit_string(self.0),
            }
        })*
    };
}

impl<'de> Deserializer<'de> for TreeKey {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_string(self.0)
    }

    parse_key! {
        deserialize_bool visit_bool
        deserialize_i8 visit_i8 deserialize_i16 visit_i16 deserialize_i32 visit_i32 deserialize_i64 visit_i64
        deserialize_i128 visit_i128
        deserialize_u8 visit_u8 deserialize_u16 visit_u16 deserialize_u32 visit_u32 deserialize_u64 visit_u64
        deserialize_u128 visit_u128
        deserialize_f32 visit_f32 deserialize_f64 visit_f64
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_enum(self.0.into_deserializer())
    }

    forward_to_deserialize_any! {
        char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

impl IntoDeserializer<'_, Error> for TreeKey {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}
