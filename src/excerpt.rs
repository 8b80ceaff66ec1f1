//! What clients and peers wrote, in a line of the log: the beginning of it, in printable characters.

use std::fmt::{self, Display, Write};

/// The beginning of a text. However many of its kinds are in a line, they are no more than 256 bytes together: at most one list,
/// or one reason with two names.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Excerpt<T> {
    text: T,
    most: usize,
}

impl<T: Display> Excerpt<T> {
    /// Of a name that another one chose, as of a namespace or an event: 64 bytes.
    pub(crate) const fn name(text: T) -> Self {
        Self { text, most: 64 }
    }

    /// Of an error or a reason that may quote what another one sent: 128 bytes.
    pub(crate) const fn reason(text: T) -> Self {
        Self { text, most: 128 }
    }

    /// Of what many others said, or of a reason that stands alone and ends with what may help: 256 bytes.
    pub(crate) const fn list(text: T) -> Self {
        Self { text, most: 256 }
    }
}

impl<T: Display> Display for Excerpt<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut writer = Bounded { to: f, left: self.most, is_full: false };
        match write!(writer, "{}", self.text) {
            // The text goes on, which need not be written.
            Err(_) if writer.is_full => Ok(()),
            written => written,
        }
    }
}

/// Writes so many bytes and an ellipsis if there are more, and escapes what is not printable.
struct Bounded<'a, 'f> {
    to: &'a mut fmt::Formatter<'f>,
    /// Without what the ellipsis takes.
    left: usize,
    is_full: bool,
}

impl Write for Bounded<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|character| self.write_char(character))
    }

    fn write_char(&mut self, character: char) -> fmt::Result {
        let is_plain = matches!(character, '"' | '\'');
        let escaped = character.escape_debug();
        let length = if is_plain { 1 } else { escaped.clone().map(char::len_utf8).sum() };
        if self.is_full || self.left < length + ELLIPSIS.len() {
            if !self.is_full {
                self.to.write_str(ELLIPSIS)?;
            }
            self.is_full = true;
            return Err(fmt::Error);
        }
        self.left -= length;
        if is_plain { self.to.write_char(character) } else { write!(self.to, "{escaped}") }
    }
}

const ELLIPSIS: &str = "…";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_short_text_stays_and_a_long_one_ends_early() {
        assert_eq!(Excerpt::name("say \"hi\"").to_string(), "say \"hi\"");
        let long = Excerpt::name("ä".repeat(900_000)).to_string();
        assert_eq!(long, format!("{}…", "ä".repeat(30)));
        assert_eq!(Excerpt::name("x".repeat(61)).to_string(), "x".repeat(61));
    }

    #[test]
    fn no_text_begins_a_line_or_moves_the_cursor() {
        let ugly = "a\nb\r\0\u{1b}[2J\u{202e}\u{85}\u{2028}c";
        assert_eq!(Excerpt::name(ugly).to_string(), r"a\nb\r\0\u{1b}[2J\u{202e}\u{85}\u{2028}c");
    }

    proptest! {
        #[test]
        fn no_excerpt_is_longer_than_it_may_be(text: String, times in 0..40usize) {
            let text = text.repeat(times);
            let excerpts = [
                Excerpt::name(&text).to_string(),
                Excerpt::reason(&text).to_string(),
                Excerpt::list(&text).to_string(),
            ];
            for (excerpt, most) in excerpts.iter().zip([64, 128, 256]) {
                prop_assert!(excerpt.len() <= most);
                prop_assert!(!excerpt.contains(char::is_control));
            }
        }
    }
}
