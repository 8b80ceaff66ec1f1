//! Half a surrogate pair, which the strings of JavaScript can hold and those of Rust cannot: a text field with a length limit
//! cuts pairs in two.

use bytestring::ByteString;

/// The same JSON with U+FFFD in the place of each half, as Node writes them.
pub(crate) fn replace_lone_surrogates(json: ByteString) -> ByteString {
    let lone = lone_surrogates(&json);
    if lone.is_empty() {
        return json;
    }
    let mut whole = String::with_capacity(json.len());
    let mut rest = 0;
    for at in lone {
        whole.extend(json.get(rest..at));
        whole.push_str(REPLACEMENT);
        rest = at + REPLACEMENT.len();
    }
    whole.extend(json.get(rest..));
    whole.into()
}

/// Where escapes of halves are that have no other half.
fn lone_surrogates(json: &str) -> Vec<usize> {
    let (mut lone, mut first_half, mut at) = (Vec::new(), None, 0);
    while let Some(next) = json.get(at..).and_then(|rest| rest.find('\\')) {
        let escape = at + next;
        let unit = unit(json, escape);
        at = escape + if unit.is_some() { REPLACEMENT.len() } else { 2 };
        let before = first_half.take();
        match unit {
            Some(0xdc00..0xe000) if before.is_some_and(|before| before + REPLACEMENT.len() == escape) => {
                continue;
            }
            Some(0xdc00..0xe000) => lone.extend(before.into_iter().chain([escape])),
            Some(0xd800..0xdc00) => {
                lone.extend(before);
                first_half = Some(escape);
            }
            _ => lone.extend(before),
        }
    }
    lone.extend(first_half);
    lone
}

/// The number of an escape, if it is one of four digits.
fn unit(json: &str, escape: usize) -> Option<u16> {
    let digits = json.get(escape..escape + REPLACEMENT.len())?.strip_prefix("\\u")?;
    u16::from_str_radix(digits, 16).ok()
}

const REPLACEMENT: &str = "\\ufffd";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_half_is_replaced_and_a_pair_is_not() {
        for (json, expected) in [
            (r#""hello \ud83d""#, r#""hello \ufffd""#),
            (r#""\ud83d\ude00""#, r#""\ud83d\ude00""#),
            (r#""\uD83D\uDE00\uDE00""#, r#""\uD83D\uDE00\ufffd""#),
            (r#""\ud83d\ud83d\ude00""#, r#""\ufffd\ud83d\ude00""#),
            (r#""\ude00\ud83d""#, r#""\ufffd\ufffd""#),
            (r#""\ud83d \ude00""#, r#""\ufffd \ufffd""#),
            (r#""\ud83d\n\ude00é\udfff""#, r#""\ufffd\n\ufffdé\ufffd""#),
            (r#""\\ud83d""#, r#""\\ud83d""#),
            (r#""\\\ud83d""#, r#""\\\ufffd""#),
            (r#"{"\udc00":"\u00e9"}"#, r#"{"\ufffd":"\u00e9"}"#),
            (r#""\ud8"#, r#""\ud8"#),
            ("\\é\\", "\\é\\"),
        ] {
            assert_eq!(&*replace_lone_surrogates(json.into()), expected, "{json}");
        }
    }

    proptest! {
        #[test]
        fn any_string_of_javascript_becomes_one_that_node_would_write(units: Vec<u16>) {
            let escaped: String = units.iter().map(|unit| format!("\\u{unit:04x}")).collect();
            let json = replace_lone_surrogates(format!("\"{escaped}\"").into());
            let text: String = serde_json::from_str(&json).unwrap();
            prop_assert_eq!(text, String::from_utf16_lossy(&units));
        }
    }
}
