//! Finds places in JSON that is already known to be valid: elements of an array, placeholders of attachments.
//!
//! Places instead of values, because what is only passed on must keep its text: number forms, key order, spaces.

use std::borrow::Cow;
use std::ops::Range;

/// The elements of an array, given without its brackets.
pub(crate) fn elements(json: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0usize;
    let mut start = 0;
    let mut tokens = tokens(json);
    let mut done = json.trim_ascii().is_empty();
    std::iter::from_fn(move || {
        if done {
            return None;
        }
        let end = loop {
            match tokens.next() {
                Some((Token::Open, _)) => depth += 1,
                Some((Token::Close, _)) => depth = depth.saturating_sub(1),
                Some((Token::Comma, at)) if depth == 0 => break at,
                Some(_) => {}
                None => {
                    done = true;
                    break json.len()..json.len();
                }
            }
        };
        let element = json.get(start..end.start).unwrap_or_default();
        start = end.end;
        Some(element.trim_ascii())
    })
}

/// The first element of an array, given without its brackets, and the others.
pub(crate) fn split_first(json: &str) -> Option<(&str, &str)> {
    let json = json.trim_ascii();
    let first = elements(json).next()?;
    let rest = json.get(first.len()..).unwrap_or_default().trim_ascii_start();
    Some((first, rest.strip_prefix(',').unwrap_or_default().trim_ascii_start()))
}

/// The placeholders of attachments (`{"_placeholder":true,"num":0}`) in JSON, as [`socket.io-parser`] sees them: the
/// order and number of keys is free, of equal keys the last counts.
///
/// [`socket.io-parser`]: https://github.com/socketio/socket.io/blob/main/packages/socket.io-parser/lib/binary.ts
pub(crate) fn placeholders(json: &str) -> Vec<Placeholder> {
    let mut found = Vec::new();
    if json.is_empty() {
        return found;
    }
    let mut open = vec![Object::default()];
    let mut last = 0..0;
    for (token, at) in tokens(json) {
        match (token, open.last_mut()) {
            (Token::Open, object) => {
                object.into_iter().for_each(|object| object.set(json, 0..0));
                open.push(Object::default());
            }
            (Token::Close, _) => found.extend(open.pop().and_then(Object::placeholder)),
            (Token::Scalar, Some(object)) => {
                object.set(json, at.clone());
                last = at;
            }
            (Token::Colon, Some(object)) => {
                object.key = PlaceholderKey::new(json.get(last.clone()).unwrap_or_default());
            }
            (Token::Comma, Some(object)) => object.key = PlaceholderKey::Other,
            (_, None) => {}
        }
    }
    found
}

/// Where a placeholder holds its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Placeholder {
    /// Empty if `num` is absent or an object or array.
    pub(crate) at: Range<usize>,
}

impl Placeholder {
    /// Which attachment it names, in the JSON it was found in; none if its number is not a natural one.
    pub(crate) fn number(&self, json: &str) -> Option<usize> {
        json.get(self.at.clone())?.parse().ok()
    }
}

/// An object (or array, whose keys are all other) that is not closed yet.
#[derive(Default)]
struct Object {
    key: PlaceholderKey,
    placeholder: bool,
    number: Range<usize>,
}

impl Object {
    fn set(&mut self, json: &str, value: Range<usize>) {
        match self.key {
            PlaceholderKey::Placeholder => self.placeholder = json.get(value) == Some("true"),
            PlaceholderKey::Number => self.number = value,
            PlaceholderKey::Other => {}
        }
    }

    fn placeholder(self) -> Option<Placeholder> {
        self.placeholder.then_some(Placeholder { at: self.number })
    }
}

#[derive(Default)]
enum PlaceholderKey {
    Placeholder,
    Number,
    #[default]
    Other,
}

impl PlaceholderKey {
    fn new(quoted: &str) -> Self {
        let key = match quoted.contains('\\') {
            true => serde_json::from_str::<String>(quoted).map(Cow::Owned).unwrap_or_default(),
            false => Cow::Borrowed(quoted.trim_matches('"')),
        };
        match key.as_ref() {
            PLACEHOLDER => Self::Placeholder,
            NUMBER => Self::Number,
            _ => Self::Other,
        }
    }
}

/// The key that marks a placeholder.
pub(crate) const PLACEHOLDER: &str = "_placeholder";
/// The key that holds a placeholder's number.
pub(crate) const NUMBER: &str = "num";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token {
    Open,
    Close,
    Comma,
    Colon,
    Scalar,
}

/// Splits valid JSON into its tokens. Of other text it makes some tokens, and always ends.
pub(crate) fn tokens(json: &str) -> impl Iterator<Item = (Token, Range<usize>)> {
    let bytes = json.as_bytes();
    let mut at = 0;
    std::iter::from_fn(move || {
        at += bytes.get(at..)?.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        let rest = bytes.get(at..)?;
        let (token, length) = match rest.first()? {
            b'{' | b'[' => (Token::Open, 1),
            b'}' | b']' => (Token::Close, 1),
            b',' => (Token::Comma, 1),
            b':' => (Token::Colon, 1),
            b'"' => (Token::Scalar, string_length(rest)),
            _ => (Token::Scalar, rest.iter().take_while(|byte| !ends_scalar(**byte)).count().max(1)),
        };
        let start = at;
        at = (at + length).min(bytes.len());
        Some((token, start..at))
    })
}

/// How long a string is, with its quotes.
fn string_length(quoted: &[u8]) -> usize {
    let mut escaped = false;
    let end = quoted.iter().skip(1).position(|byte| {
        let ends = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        ends
    });
    end.map_or(quoted.len(), |end| end + 2)
}

fn ends_scalar(byte: u8) -> bool {
    byte.is_ascii_whitespace() || matches!(byte, b',' | b':' | b'{' | b'}' | b'[' | b']' | b'"')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn numbers(json: &str) -> Vec<Option<usize>> {
        placeholders(json).iter().map(|place| place.number(json)).collect()
    }

    #[test]
    fn elements_keep_their_text() {
        for (json, expected) in [
            ("", &[][..]),
            (" ", &[]),
            ("1", &["1"]),
            (" 1.50 , [2,3] ,{\"a\":[4,5]} ", &["1.50", "[2,3]", "{\"a\":[4,5]}"]),
            (r#""a,b","c\"],","\\""#, &[r#""a,b""#, r#""c\"],""#, r#""\\""#]),
        ] {
            assert_eq!(elements(json).collect::<Vec<_>>(), expected, "{json}");
        }
    }

    #[test]
    fn the_first_element_is_split_off() {
        for (json, expected) in
            [("", None), ("\"a\"", Some(("\"a\"", ""))), (" [1,2] , 3 ,4", Some(("[1,2]", "3 ,4")))]
        {
            assert_eq!(split_first(json), expected, "{json}");
        }
    }

    #[test]
    fn placeholders_are_found_at_any_depth() {
        for (json, expected) in [
            ("", &[][..]),
            (r#"1,"_placeholder",{"_placeholder":false,"num":0}"#, &[]),
            (r#"{"_placeholder":1,"num":0},["_placeholder",true]"#, &[]),
            (r#"{"_placeholder":true,"num":0}"#, &[Some(0)]),
            (r#"{ "num" : 12 , "_placeholder" : true }"#, &[Some(12)]),
            (r#"{"a":[{"x":{"num":3,"_placeholder":true}}],"num":7}"#, &[Some(3)]),
            (r#"{"_\u0070laceholder":true,"n\u0075m":1,"more":[{}]}"#, &[Some(1)]),
            (r#"{"_placeholder":true,"num":0,"num":1}"#, &[Some(1)]),
            (r#"{"_placeholder":true,"_placeholder":false,"num":0}"#, &[]),
        ] {
            assert_eq!(numbers(json), expected, "{json}");
        }
    }

    #[test]
    fn a_number_that_is_not_natural_is_none() {
        for number in ["-1", "1.0", "1e1", "\"1\"", "null", "[1]", "{\"a\":1}", "99999999999999999999999"] {
            let json = format!(r#"{{"_placeholder":true,"num":{number}}}"#);
            assert_eq!(numbers(&json), [None], "{json}");
        }
        assert_eq!(numbers(r#"{"_placeholder":true}"#), [None]);
        assert_eq!(numbers(r#"{"_placeholder":true,"num":1,"num":[2]}"#), [None]);
    }

    proptest! {
        #[test]
        fn any_text_has_some_elements_and_placeholders(json: String) {
            elements(&json).for_each(drop);
            placeholders(&json);
        }

        #[test]
        fn the_elements_of_an_array_are_its_values(values in proptest::collection::vec(any::<String>(), 0..5)) {
            let json = serde_json::to_string(&values).unwrap();
            let elements = elements(json.trim_matches(['[', ']'])).count();
            // Strings that begin or end with a bracket are quoted, so trimming the array's own took nothing else.
            prop_assert_eq!(elements, values.len());
        }
    }
}
