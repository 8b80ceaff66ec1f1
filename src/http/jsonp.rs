//! Polling with script tags and forms, for browsers without cross-origin requests (engine.io protocol v3, "JSONP").

use bytes::Bytes;

/// A script that calls the client's callback number `j` with `payload`. Only the digits of `j` count.
pub(crate) fn script(j: &str, payload: &[u8]) -> Bytes {
    let digits: String = j.chars().filter(char::is_ascii_digit).collect();
    // Line terminators in JavaScript before ES2019, and so not allowed in its strings.
    let text = serde_json::Value::from(String::from_utf8_lossy(payload)).to_string();
    let text = text.replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029");
    format!("___eio[{digits}]({text});").into()
}

/// The payload in the field `d` of a form; empty if the field is missing.
pub(crate) fn payload(form: &[u8]) -> Bytes {
    let field = form_urlencoded::parse(form).find(|(name, _)| name == "d");
    field.map_or_else(Bytes::new, |(_, value)| unescape(&value).into())
}

/// Browsers change line breaks in forms, so clients write a line break as `\n`, and `\n` itself as `\\n`. A line break
/// behind a backslash looks like the latter and is read like it, as in Node. JSON contains neither.
fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, from)) = rest.find('\\').and_then(|at| rest.split_at_checked(at)) {
        plain.push_str(before);
        rest = if let Some(after) = from.strip_prefix(r"\\n") {
            plain.push_str(r"\n");
            after
        } else if let Some(after) = from.strip_prefix(r"\n") {
            plain.push('\n');
            after
        } else {
            plain.push('\\');
            from.strip_prefix('\\').unwrap_or_default()
        };
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What `polling-jsonp.js` of engine.io-client 3 does before it sends.
    fn escape(text: &str) -> String {
        text.replace(r"\n", "\\\n").replace('\n', r"\n")
    }

    #[test]
    fn a_payload_is_the_argument_of_a_callback() {
        for (j, payload, js) in [
            ("0", "1:6", r#"___eio[0]("1:6");"#),
            ("12", "4:4\"a\\", r#"___eio[12]("4:4\"a\\");"#),
            ("1](alert(2));//3", "1:6", r#"___eio[123]("1:6");"#),
            ("", "\n</script>", r#"___eio[]("\n</script>");"#),
            ("4", "€\u{2028}\u{2029}", r#"___eio[4]("€\u2028\u2029");"#),
        ] {
            assert_eq!(script(j, payload.as_bytes()), js);
        }
    }

    #[test]
    fn the_field_d_of_a_form_is_the_payload() {
        for (form, wanted) in [
            ("d=6%3A4hello", "6:4hello"),
            ("x=1&d=3:4+a&d=no", "3:4 a"),
            ("d=%E2%82%AC", "€"),
            (r"d=a\nb", "a\nb"),
            (r"d=a\\nb", r"a\nb"),
            (r"d=a\\\nb", r"a\\nb"),
            (r"d=\\n\n\x\", "\\n\n\\x\\"),
            ("x=1", ""),
            ("", ""),
        ] {
            assert_eq!(payload(form.as_bytes()), wanted, "{form}");
        }
    }

    proptest! {
        #[test]
        fn an_escaped_payload_is_unescaped(text in r"([\\n\n]|.){0,30}") {
            prop_assume!(!text.contains("\\\n"));
            prop_assert_eq!(unescape(&escape(&text)), text);
        }

        #[test]
        fn every_script_holds_its_payload_and_nothing_else(j: String, payload: String) {
            let script = script(&j, payload.as_bytes());
            let script = std::str::from_utf8(&script).unwrap();
            let (callback, rest) = script.split_once("](").unwrap();
            prop_assert!(callback.strip_prefix("___eio[").unwrap().bytes().all(|byte| byte.is_ascii_digit()));
            let read: String = serde_json::from_str(rest.strip_suffix(");").unwrap()).unwrap();
            prop_assert_eq!(read, payload);
        }

        #[test]
        fn any_form_has_a_payload(form: Vec<u8>) {
            prop_assert!(payload(&form).len() <= 3 * form.len());
        }
    }
}
