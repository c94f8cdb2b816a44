//! What `exim -d` shows of a question of Exim's, and how it is read back:
//! `greylist{192.0.2.1}{a@x}{b@y}{host=mx.x}`, as an ACL writes it. `eximgrey explain` learns from it what
//! Exim would ask.

use crate::sender::Printable;
use crate::words;
use crate::words::Word;
use std::fmt;

words! {
    /// The functions that decide about a recipient.
    Function {
        /// Decides and records.
        Greylist = "greylist",
        /// Decides about a client that need not wait.
        Known = "greylist_known",
        /// Decides, and records nothing.
        Peek = "greylist_peek",
    }
}

/// A call of Exim's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked<T> {
    /// The function that was called.
    pub function: Function,
    /// Its arguments.
    pub arguments: Vec<T>,
}

/// Before a question in the output of `exim -d`.
const SIGN: &str = "asked ";

impl<T: AsRef<[u8]>> fmt::Display for Asked<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SIGN}{}", self.function)?;
        self.arguments.iter().try_for_each(|argument| {
            // A brace within an argument is none that ends it.
            let text = Printable(argument.as_ref()).to_string();
            write!(f, "{{{}}}", text.replace('{', r"\x7b").replace('}', r"\x7d"))
        })
    }
}

impl Asked<Vec<u8>> {
    /// Reads what was shown; `None` for any other text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (name, rest) = text.strip_prefix(SIGN)?.split_once('{')?;
        let arguments = rest.strip_suffix('}')?.split("}{").map(unescape).collect::<Option<_>>()?;
        Some(Self { function: Function::from_word(name.as_bytes())?, arguments })
    }
}

/// The bytes that [`Printable`] showed so.
fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut parts = text.split('\\');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    while let Some(part) = parts.next() {
        // Two backslashes have nothing between them.
        if part.is_empty() {
            bytes.push(b'\\');
            bytes.extend(parts.next()?.as_bytes());
            continue;
        }
        let (digits, rest) = part.strip_prefix('x')?.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend(rest.as_bytes());
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_read_as_it_was_asked() {
        let ordinary: Vec<&[u8]> = vec![b"192.0.2.1", b"", b"b@y.example", b"spf=", b"host=mx.x.example"];
        let hostile: Vec<&[u8]> = vec![b"\\", b"\\\\x7b", b"}{", b"a b\n\xff", b"{\\}", b""];
        for arguments in [ordinary.clone(), hostile, vec![b""]] {
            let asked = Asked { function: Function::Known, arguments };
            let shown = asked.to_string();
            assert!(shown.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{shown}");
            let read = Asked::parse(&shown).unwrap_or_else(|| panic!("{shown}"));
            assert_eq!(read.arguments, asked.arguments, "{shown}");
            assert_eq!(read.function, Function::Known);
        }
        let asked = Asked { function: Function::Greylist, arguments: ordinary };
        assert_eq!(asked.to_string(), "asked greylist{192.0.2.1}{}{b@y.example}{spf=}{host=mx.x.example}");
    }

    #[test]
    fn another_text_is_no_question() {
        for text in [
            "",
            "asked ",
            "asked greylist",
            "asked greylist{a",
            "asked greylist_sent{a}",
            r"asked greylist{\}",
            r"asked greylist{\x7}",
            r"asked greylist{\y20}",
            "action=pass reason=known by=network",
        ] {
            assert_eq!(Asked::parse(text), None, "{text}");
        }
    }
}
