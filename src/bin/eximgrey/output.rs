//! How things are shown. Whatever came from outside is escaped: an address may hold control characters, and a
//! line of ours must stay one line with its columns.

use eximgrey::sender::Printable;
use eximgrey::store::record::Texts;
use eximgrey::time::Seconds;
use serde_json::Value;
use std::fmt;

/// Bytes from outside as one [`Printable`] word; nothing at all as `placeholder`.
pub struct Word<'a> {
    pub bytes: &'a [u8],
    pub placeholder: &'static str,
}

impl fmt::Display for Word<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.bytes.is_empty() { f.write_str(self.placeholder) } else { Printable(self.bytes).fmt(f) }
    }
}

/// An envelope sender; the null sender as `<>`.
pub const fn sender(bytes: &[u8]) -> Word<'_> {
    Word { bytes, placeholder: "<>" }
}

/// Any other text; nothing as `-`.
pub const fn word(bytes: &[u8]) -> Word<'_> {
    Word { bytes, placeholder: "-" }
}

/// A sender of a record: empty means the null sender only where texts are kept.
pub fn record_sender(texts: &Texts) -> Word<'_> {
    if texts.identity.is_empty() { word(b"") } else { sender(&texts.sender) }
}

/// A setting and its value, which JSON writes as a configuration file does.
pub fn json((key, shown): (&str, String)) -> (String, Value) {
    (key.to_owned(), serde_json::from_str(&shown).unwrap_or(Value::String(shown)))
}

/// A number of bytes for people: `512 B`, `1.5 MB`.
pub fn bytes(count: u64) -> String {
    let units = ["kB", "MB", "GB", "TB"];
    if count < 1_000 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1_000.0;
    let mut unit = 0;
    while value >= 999.95 && unit + 1 < units.len() {
        value /= 1_000.0;
        unit += 1;
    }
    format!("{value:.1} {}", units.get(unit).copied().unwrap_or_default())
}

/// A count and its noun: `1 record`, `2 records`.
pub fn count(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// A span for people, of its two largest units: `2d 3h`, `5m`.
pub fn span(seconds: Seconds) -> String {
    let text = seconds.to_string();
    let ends: Vec<usize> =
        text.match_indices(|c: char| c.is_ascii_alphabetic()).map(|(i, _)| i + 1).collect();
    match ends.as_slice() {
        [first, second, ..] => format!(
            "{} {}",
            text.get(..*first).unwrap_or_default(),
            text.get(*first..*second).unwrap_or_default()
        ),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_from_outside_stay_one_harmless_word() {
        let hostile = b"a b\x1b[2J\n\\\xff@x";
        assert_eq!(word(hostile).to_string(), "a\\x20b\\x1b[2J\\x0a\\\\\\xff@x");
        assert_eq!(word(b"").to_string(), "-");
        assert_eq!(sender(b"").to_string(), "<>");
    }

    #[test]
    fn sizes_and_spans_are_short() {
        assert_eq!(
            [0, 999, 1_000, 49_152, 999_999, 1_500_000_000].map(bytes),
            ["0 B", "999 B", "1.0 kB", "49.2 kB", "1.0 MB", "1.5 GB"]
        );
        assert_eq!([59, 3_600, 187_200 + 7].map(|s| span(Seconds(s))), ["59s", "1h", "2d 4h"]);
    }
}
