//! Recipients, and the extensions that users make up for their addresses: `codes+bank@example.org`.

use crate::value::Value;
use std::fmt;

/// A recipient in ASCII lower case. Some hosts tell `Joe` from `joe`; a greylist need not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient(Vec<u8>);

impl Recipient {
    /// The recipient with that address.
    #[must_use]
    pub fn new(address: &[u8]) -> Self {
        Self(address.to_ascii_lowercase())
    }

    /// The address as it is compared.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The signs that can stand between a user and an extension: any that an address may have without quotes and
/// that is no letter or digit (RFC 5322 section 3.2.3).
const SIGNS: &[u8] = b"!#$%&'*+-./=?^_`{|}~";

/// Those of them behind which an extension begins: a bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Delimiters(u32);

impl Delimiters {
    /// There are no extensions.
    pub const NONE: Self = Self(0);

    fn bit(sign: u8) -> Option<u32> {
        SIGNS.iter().position(|&known| known == sign).map(|place| 1 << place)
    }

    /// Whether an extension begins behind this sign.
    #[must_use]
    pub fn has(self, sign: u8) -> bool {
        Self::bit(sign).is_some_and(|bit| self.0 & bit != 0)
    }

    /// The address without its extension, if it has one. The first of the signs counts, as in Postfix, but
    /// not as the first of the address, and not within quotes.
    #[must_use]
    pub fn without_extension(self, address: &[u8]) -> Option<Vec<u8>> {
        if self == Self::NONE {
            return None;
        }
        let (local, domain) = address.split_at_checked(address.iter().rposition(|&byte| byte == b'@')?)?;
        let end = local.iter().position(|&byte| self.has(byte)).filter(|&end| end > 0)?;
        let user = local.get(..end).filter(|user| !user.starts_with(b"\""))?;
        Some([user, domain].concat())
    }
}

impl Value for Delimiters {
    const QUOTED: bool = true;
    const EXAMPLE: &str = " such as \"+\"";

    fn noun() -> String {
        "signs that are no letters or digits, and that an address may have without quotes,".into()
    }

    fn parse(text: &[u8]) -> Option<Self> {
        text.iter().try_fold(Self::NONE, |Self(bits), &sign| Some(Self(bits | Self::bit(sign)?)))
    }
}

impl fmt::Display for Delimiters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        SIGNS.iter().filter(|&&sign| self.has(sign)).try_for_each(|&sign| write!(f, "{}", char::from(sign)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_extension_begins_behind_the_first_delimiter_of_a_user() {
        let without = |delimiters: &str, address: &str| {
            let address =
                Delimiters::parse(delimiters.as_bytes()).unwrap().without_extension(address.as_bytes());
            address.map(|address| String::from_utf8(address).unwrap())
        };
        for (delimiters, address, expected) in [
            ("+", "codes+bank@x.example", "codes@x.example"),
            ("+", "codes+bank+7@x.example", "codes@x.example"),
            ("+", "codes++@x.example", "codes@x.example"),
            ("+", "codes+@x.example", "codes@x.example"),
            ("+", "codes+a@b@x.example", "codes@x.example"),
            ("-+", "codes-bank+7@x.example", "codes@x.example"),
            ("+-", "codes+bank-7@x.example", "codes@x.example"),
        ] {
            assert_eq!(without(delimiters, address).as_deref(), Some(expected), "{address}");
        }
        for (delimiters, address) in [
            ("", "codes+bank@x.example"),
            ("-", "codes+bank@x.example"),
            ("+", "codes@x+y.example"),
            ("+", "+codes@x.example"),
            ("+", "+@x.example"),
            ("+", "++@x.example"),
            ("+", "++bank@x.example"),
            ("+", "\"codes+bank\"@x.example"),
            ("+", "codes+bank"),
            ("+", "@x.example"),
            ("+", "+"),
            ("+", ""),
        ] {
            assert_eq!(without(delimiters, address), None, "{address}");
        }
        // Bytes that are no text.
        assert_eq!(
            Delimiters::parse(b"+").unwrap().without_extension(b"\xff+\x00@\xfe"),
            Some(b"\xff@\xfe".to_vec())
        );
    }

    #[test]
    fn delimiters_are_read_as_they_are_shown() {
        for (text, shown) in [("", ""), ("+", "+"), ("-+", "+-"), ("++", "+")] {
            assert_eq!(Delimiters::parse(text.as_bytes()).unwrap().to_string(), shown);
        }
        for bad in ["a", "+a", "7", "@", "\"", "\\", " ", "+ ", "\u{e9}", "\0", ","] {
            assert_eq!(Delimiters::parse(bad.as_bytes()), None, "{bad:?}");
        }
    }
}
