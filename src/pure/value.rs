//! The values of settings and of the options of a call: how they are read, within what bounds, and how they
//! are shown.

use crate::sender::Printable;
use crate::time::Seconds;
use crate::words::Word;
use std::ffi::OsStr;
use std::fmt::Display;
use std::ops::{Bound, RangeBounds};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::str::FromStr;

/// A value as somebody has written it.
#[derive(Clone, Copy, Debug)]
pub struct Written<'a> {
    /// Without quotes.
    pub text: &'a [u8],
    /// Whether it stands in quotes; `None` in a call, where nothing does.
    pub quoted: Option<bool>,
}

/// What a setting or an option may be. Its text is that of [`Display`].
pub trait Value: Display + PartialOrd + Sized {
    /// Whether it stands in quotes in a file.
    const QUOTED: bool;

    /// What follows [`Value::noun`] where there are no bounds.
    const EXAMPLE: &str;

    /// What it is: `a time`.
    fn noun() -> String;

    /// The value of a text; `None` if it is none.
    fn parse(text: &[u8]) -> Option<Self>;

    /// As a file has it.
    fn shown(&self) -> String {
        if Self::QUOTED { format!("\"{self}\"") } else { self.to_string() }
    }
}

impl<'a> Written<'a> {
    /// The value, within bounds.
    ///
    /// # Errors
    /// What was expected instead.
    pub fn read<T: Value>(self, bounds: impl RangeBounds<T>) -> Result<T, String> {
        let value = T::parse(self.text).filter(|value| bounds.contains(value));
        let value = value.filter(|_| self.quoted.is_none_or(|quoted| quoted == T::QUOTED));
        value.ok_or_else(|| expected(bounds.start_bound(), bounds.end_bound()))
    }

    /// An absolute path that the kernel takes.
    ///
    /// # Errors
    /// What was expected instead.
    pub fn path(self) -> Result<&'a Path, String> {
        let fits = self.text.starts_with(b"/") && self.text.len() < libc::PATH_MAX as usize;
        let path = (fits && self.quoted != Some(false)).then(|| Path::new(OsStr::from_bytes(self.text)));
        path.ok_or_else(|| "an absolute path".into())
    }
}

#[cold]
fn expected<T: Value>(least: Bound<&T>, most: Bound<&T>) -> String {
    let noun = T::noun();
    match (least, most) {
        (Bound::Included(least), Bound::Included(most)) => {
            format!("{noun} from {} to {}", least.shown(), most.shown())
        }
        (_, Bound::Included(most)) => format!("{noun} of at most {}", most.shown()),
        (Bound::Included(least), _) => format!("{noun} of at least {}", least.shown()),
        _ => noun + T::EXAMPLE,
    }
}

/// The beginning of a text from a stranger, escaped: enough to know it again, and no more than a line of a
/// log holds.
#[must_use]
pub fn excerpt(text: &[u8]) -> String {
    match text.split_at_checked(64) {
        Some((start, [_, ..])) => format!("{}...", Printable(start)),
        _ => Printable(text).to_string(),
    }
}

impl<W: Word + PartialOrd> Value for W {
    const QUOTED: bool = true;
    const EXAMPLE: &str = "";

    fn noun() -> String {
        Self::expected()
    }

    fn parse(text: &[u8]) -> Option<Self> {
        Self::from_word(text)
    }
}

macro_rules! values {
    ($($type:ty: $quoted:literal, $noun:literal, $example:literal, $parse:expr;)+) => {$(
        impl Value for $type {
            const QUOTED: bool = $quoted;
            const EXAMPLE: &str = $example;

            fn noun() -> String {
                $noun.into()
            }

            fn parse(text: &[u8]) -> Option<Self> {
                $parse(text)
            }
        }
    )+};
}

values! {
    Seconds: true, "a time", " such as \"5m\" or \"2d12h\"", Self::parse;
    bool: false, "true or false", "", bare;
    u8: false, "a number", "", bare;
    u32: false, "a number", "", bare;
    u64: false, "a number", "", bare;
}

fn bare<T: FromStr>(text: &[u8]) -> Option<T> {
    str::from_utf8(text).ok()?.parse().ok()
}
