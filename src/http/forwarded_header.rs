//! The header `Forwarded` (RFC 7239): what each proxy on the way of a request says of who asked it.

use std::borrow::Cow;

use hyper::HeaderMap;
use hyper::header::FORWARDED;

/// What one proxy says, as it wrote it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Hop<'a> {
    /// Who asked it (`for`).
    pub(super) client: Option<Cow<'a, str>>,
    pub(super) proto: Option<Cow<'a, str>>,
    pub(super) host: Option<Cow<'a, str>>,
}

/// What the proxies say, the last one first. Each appends to what stands there, and who began may have been anybody: what stands
/// before a line that makes no sense does not count, and of that line nothing does, because a quote that a client left open would
/// change the meaning of what the proxy wrote behind it.
pub(super) fn hops(headers: &HeaderMap) -> Vec<Hop<'_>> {
    let mut hops = Vec::new();
    let lines: Vec<_> = headers.get_all(FORWARDED).iter().collect();
    for line in lines.into_iter().rev() {
        let Some(said) = line.to_str().ok().and_then(elements) else { break };
        hops.extend(said.into_iter().rev());
    }
    hops
}

/// The elements of one line; `None` if it is malformed.
fn elements(line: &str) -> Option<Vec<Hop<'_>>> {
    let mut hops = Vec::new();
    let mut rest = line;
    loop {
        let mut hop = Hop::default();
        let ended = loop {
            rest = rest.trim_start();
            if !rest.starts_with([';', ',']) && !rest.is_empty() {
                rest = pair(&mut hop, rest)?.trim_start();
            }
            match rest.split_at_checked(1) {
                None => break true,
                Some((";", after)) => rest = after,
                Some((",", after)) => {
                    rest = after;
                    break false;
                }
                Some(_) => return None,
            }
        };
        // A list may have empty elements (RFC 9110, section 5.6.1).
        if hop != Hop::default() {
            hops.push(hop);
        }
        if ended {
            return Some(hops);
        }
    }
}

/// Takes `name=value` off what is left, and returns the rest.
fn pair<'a>(hop: &mut Hop<'a>, text: &'a str) -> Option<&'a str> {
    let (name, text) = text.split_once('=')?;
    let (value, rest) = value(text)?;
    let place = match name.to_ascii_lowercase().as_str() {
        "for" => &mut hop.client,
        "proto" => &mut hop.proto,
        "host" => &mut hop.host,
        name => return (!name.is_empty() && name.bytes().all(is_of_a_token)).then_some(rest),
    };
    // Nothing may be said twice.
    place.replace(value).is_none().then_some(rest)
}

/// A value, which may be quoted, and the rest. Some proxies quote no address that should be.
fn value(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(|c: char| !is_of_a_bare_value(c)).unwrap_or(text.len());
        let (value, rest) = text.split_at_checked(end)?;
        return (!value.is_empty()).then_some((Cow::Borrowed(value), rest));
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((place, c)) = chars.next() {
        match c {
            '"' => return Some((Cow::Owned(value), quoted.get(place + 1..)?)),
            '\\' => value.push(chars.next()?.1),
            c => value.push(c),
        }
    }
    None
}

fn is_of_a_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn is_of_a_bare_value(c: char) -> bool {
    u8::try_from(c).is_ok_and(is_of_a_token) || matches!(c, ':' | '[' | ']')
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;
    use proptest::prelude::*;

    fn read(lines: &[&str]) -> Vec<[String; 3]> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(FORWARDED, HeaderValue::from_str(line).unwrap());
        }
        let text = |said: Option<Cow<'_, str>>| said.map_or_else(|| "-".to_owned(), Cow::into_owned);
        hops(&headers).into_iter().map(|hop| [hop.client, hop.proto, hop.host].map(text)).collect()
    }

    fn clients(lines: &[&str]) -> Vec<String> {
        read(lines).into_iter().map(|[client, ..]| client).collect()
    }

    #[test]
    fn the_examples_of_rfc_7239_are_read() {
        assert_eq!(read(&[r#"for="_gazonk""#]), [["_gazonk", "-", "-"]]);
        assert_eq!(read(&[r#"For="[2001:db8:cafe::17]:4711""#]), [["[2001:db8:cafe::17]:4711", "-", "-"]]);
        assert_eq!(read(&["for=192.0.2.60;proto=http;by=203.0.113.43"]), [["192.0.2.60", "http", "-"]]);
        assert_eq!(clients(&["for=192.0.2.43, for=198.51.100.17"]), ["198.51.100.17", "192.0.2.43"]);
        let long = r#"for=192.0.2.43,for="[2001:db8:cafe::17]",for=unknown"#;
        assert_eq!(clients(&[long]), ["unknown", "[2001:db8:cafe::17]", "192.0.2.43"]);
        let in_lines = ["for=192.0.2.43", r#"for="[2001:db8:cafe::17]", for=unknown"#];
        assert_eq!(clients(&in_lines), ["unknown", "[2001:db8:cafe::17]", "192.0.2.43"]);
    }

    #[test]
    fn spaces_quotes_and_empty_elements_are_read_as_they_are_meant() {
        let line = r#" ,; for=1 ; host="a\"b" ;; secret=x , , for=192.0.2.1:80"#;
        assert_eq!(read(&[line]), [["192.0.2.1:80", "-", "-"], ["1", "-", "a\"b"]]);
        assert!(read(&["", ","]).is_empty());
    }

    #[test]
    fn what_is_malformed_says_nothing() {
        for line in [
            "for = 1",
            r#"for="1"extra"#,
            r#"for="1" for=2"#,
            "for=",
            "for",
            "=1",
            "for=1;for=2",
            "a b=1",
            r#"for="1\"#,
            r#"for="1"#,
        ] {
            assert!(read(&[line]).is_empty(), "{line}");
            assert_eq!(clients(&["for=0", line, "for=2"]), ["2"], "{line}");
        }
    }

    /// A client that begins the line does not get to say what its proxy is thought to have written.
    #[test]
    fn nobody_changes_the_meaning_of_what_is_written_behind() {
        for begin in [r#"for=6.6.6.6;x=""#, r#"x=""#, r#"x="\"#, "for=6.6.6.6 ", "for=6.6.6.6;x"] {
            for own in ["for=192.0.2.1", r#"for="[2001:db8::1]""#, r#"for="192.0.2.1:4711""#] {
                let clients = clients(&[&format!("{begin}, {own}")]);
                assert_ne!(clients.first().map(String::as_str), Some("6.6.6.6"), "{begin}, {own}");
            }
            assert_eq!(clients(&[begin, "for=192.0.2.1"]).first().map(String::as_str), Some("192.0.2.1"));
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(lines in proptest::collection::vec("[ -~\\x80-\\xff]{0,40}|((for|proto|x)=(\"[a-z,;=]*\"?|[0-9.:]*)[;,] ?){0,5}", 0..3)) {
            let mut headers = HeaderMap::new();
            for line in &lines {
                headers.append(FORWARDED, HeaderValue::from_bytes(line.as_bytes()).unwrap());
            }
            let hops = hops(&headers);
            prop_assert!(hops.iter().all(|hop| *hop != Hop::default()));
        }
    }
}
