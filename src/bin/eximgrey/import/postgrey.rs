//! postgrey's whitelist files: an entry a line, and comments after `#`.

use super::{Line, Listed};
use crate::command;
use eximgrey::network;
use eximgrey::whitelist::ListKind;

/// For clients a domain, an address, a network, or the first parts of one; for recipients `local@`, an
/// address or a domain.
pub fn entry(line: &str, recipients: bool) -> Line<Listed> {
    let (text, comment) = line.split_once('#').unwrap_or((line, ""));
    let (text, comment) = (text.trim(), comment.trim());
    if text.is_empty() {
        return Ok(None);
    }
    if text.starts_with('/') {
        return Err("an entry that is no regular expression (these are not supported)".into());
    }
    // What is neither is told what its kind expects.
    let kind = match recipients {
        true => ListKind::Recipient,
        false if network::is_meant(text) => ListKind::Client,
        false => ListKind::Host,
    };
    // To postgrey `10` is all that begins so.
    let network =
        if text.bytes().all(|byte| byte.is_ascii_digit()) { format!("{text}.") } else { text.into() };
    let network = command::ascii(&network).map_err(|_| "a domain that the DNS can have")?;
    let entry = kind.canonical(&network)?;
    let comment = if comment.is_empty() { "from postgrey" } else { comment }.to_owned();
    Ok(Some(Listed { kind, entry, comment }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_of_postgrey_are_read() {
        let listed = |kind, entry: &str, comment: &str| {
            Ok(Some(Listed { kind, entry: entry.into(), comment: comment.into() }))
        };
        for (line, kind, text) in [
            ("Example.org", ListKind::Host, "example.org"),
            ("192.0.2.7", ListKind::Client, "192.0.2.7/32"),
            (" 192.0.2 ", ListKind::Client, "192.0.2.0/24"),
            ("192.168", ListKind::Client, "192.168.0.0/16"),
            ("192.0.2.", ListKind::Client, "192.0.2.0/24"),
            ("10", ListKind::Client, "10.0.0.0/8"),
            ("::ffff:192.0.2.9", ListKind::Client, "192.0.2.9/32"),
            ("198.51.100.0/22", ListKind::Client, "198.51.100.0/22"),
            ("2001:db8::/32", ListKind::Client, "2001:db8::/32"),
        ] {
            assert_eq!(entry(line, false), listed(kind, text, "from postgrey"), "{line}");
        }
        for (line, text) in
            [("postmaster@", "postmaster@"), ("A@b.example", "a@b.example"), ("b.example", "b.example")]
        {
            assert_eq!(entry(line, true), listed(ListKind::Recipient, text, "from postgrey"), "{line}");
        }
        assert_eq!(entry("a.example # a pool", false), listed(ListKind::Host, "a.example", "a pool"));
        assert_eq!([entry("", false), entry(" # nothing", true)], [Ok(None), Ok(None)]);
        for line in ["/^mx\\d+/", "localhost", "0.0.0.0/0", "001.002.003.004", "1.2.3.4-1.2.3.9"] {
            assert!(entry(line, false).is_err(), "{line}");
        }
        assert!(entry("@", true).is_err());
    }
}
