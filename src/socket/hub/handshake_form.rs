//! The handshake as Node's `socket.handshake` is written as JSON.

use std::collections::btree_map::{BTreeMap, Entry};

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};
use serde_json::Value;

use super::handshake::Handshake;
use crate::socket::messages::RemoteHandshake;
use crate::socket::protocol::Date;

/// In Node's form: `headers`, `time`, `address` (without a port), `xdomain`, `secure`, `issued` (milliseconds since 1970), `url`,
/// `query` and `auth`. A header that came several times is joined as Node joins it, a key of the query is an array then.
///
/// ```
/// # use socketmesh::Socket;
/// # fn f(socket: Socket) -> socketmesh::Result<()> {
/// socket.emit("you are", socket.handshake())?;
/// # Ok(()) }
/// ```
impl Serialize for Handshake {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        RemoteHandshake::from(self).serialize(serializer)
    }
}

/// As the [`Handshake`] of a socket of this node.
impl Serialize for RemoteHandshake {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let issued = Self::issued_millis(self.issued);
        let date = i64::try_from(issued).ok().and_then(Date::from_millis);
        let headers = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let query = self.query.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let mut form = serializer.serialize_struct("Handshake", FIELDS)?;
        form.serialize_field("headers", &joined(headers))?;
        form.serialize_field("time", &date.map(Date::to_words))?;
        form.serialize_field("address", &self.address.map(|address| address.ip().to_string()))?;
        form.serialize_field("xdomain", &self.header("origin").is_some())?;
        form.serialize_field("secure", &self.secure)?;
        form.serialize_field("issued", &issued)?;
        form.serialize_field("url", &self.url)?;
        form.serialize_field("query", &grouped(query))?;
        form.serialize_field("auth", &self.auth)?;
        form.end()
    }
}

/// Headers as Node has them (`http.IncomingMessage.headers`): of some the first counts, `set-cookie` is an array, cookies are
/// joined by `; ` and others by `, `.
fn joined<'a>(headers: impl Iterator<Item = (&'a str, impl Into<String>)>) -> BTreeMap<&'a str, Value> {
    let mut joined = BTreeMap::new();
    for (name, value) in headers {
        let value: String = value.into();
        match joined.entry(name) {
            Entry::Vacant(first) => {
                let is_array = name == "set-cookie";
                first.insert(if is_array { Value::from(vec![value]) } else { Value::from(value) });
            }
            Entry::Occupied(_) if ONCE.contains(&name) => {}
            Entry::Occupied(mut again) => match again.get_mut() {
                Value::Array(values) => values.push(value.into()),
                Value::String(text) => {
                    text.push_str(if name == "cookie" { "; " } else { ", " });
                    text.push_str(&value);
                }
                _ => {}
            },
        }
    }
    joined
}

/// The query as Node's `querystring` parses it.
fn grouped<T: Into<String>>(pairs: impl Iterator<Item = (T, T)>) -> BTreeMap<String, Value> {
    let mut grouped: BTreeMap<String, Value> = BTreeMap::new();
    for (key, value) in pairs {
        let value = Value::from(value.into());
        match grouped.entry(key.into()) {
            Entry::Vacant(first) => {
                first.insert(value);
            }
            Entry::Occupied(mut again) => match again.get_mut() {
                Value::Array(values) => values.push(value),
                one => *one = Value::from(vec![one.take(), value]),
            },
        }
    }
    grouped
}

const FIELDS: usize = 9;

/// The headers of which Node keeps the first.
const ONCE: [&str; 17] = [
    "age",
    "authorization",
    "content-length",
    "content-type",
    "etag",
    "expires",
    "from",
    "host",
    "if-modified-since",
    "if-unmodified-since",
    "last-modified",
    "location",
    "max-forwards",
    "proxy-authorization",
    "referer",
    "retry-after",
    "user-agent",
];

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn headers_that_come_twice_are_joined_as_in_node() {
        let headers =
            [("host", "a"), ("host", "b"), ("cookie", "a=1"), ("cookie", "b=2"), ("x-a", "1"), ("x-a", "2")];
        let with_cookies = headers.into_iter().chain([("set-cookie", "c"), ("set-cookie", "d")]);
        assert_eq!(
            json!(joined(with_cookies)),
            json!({ "cookie": "a=1; b=2", "host": "a", "set-cookie": ["c", "d"], "x-a": "1, 2" })
        );
    }

    #[test]
    fn a_key_of_the_query_that_comes_twice_is_an_array() {
        let pairs = [("EIO", "4"), ("a", "1"), ("a", "2"), ("a", "3"), ("b", "")];
        assert_eq!(json!(grouped(pairs.into_iter())), json!({ "EIO": "4", "a": ["1", "2", "3"], "b": "" }));
    }
}
