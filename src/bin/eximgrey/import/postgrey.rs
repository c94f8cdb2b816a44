//! postgrey's whitelist files: an entry a line, and comments after `#`.

use super::{Line, Listed};
use eximgrey::whitelist::ListKind;

/// For clients a domain, an address, a network, or the first three parts of one; for recipients `local@`, an
/// address or a domain.
pub fn entry(line: &str, recipients: bool) -> Line<Listed> {
    let (text, comment) = line.split_once('#').unwrap_or((line, ""));
    let (text, comment) = (text.trim(), comment.trim());
    if text.is_empty() {
        return Ok(None);
    }
    if text.starts_with('/') {
        return Err("an entry that is no regular expression (these are not supported)");
    }
    let parts: Vec<_> = text.split('.').map(str::parse::<u8>).collect();
    let network = if let [Ok(_), Ok(_), Ok(_)] = parts[..] { &format!("{text}.0/24") } else { text };
    let (kind, entry) = match ListKind::Client.canonical(network) {
        _ if recipients => (ListKind::Recipient, ListKind::Recipient.canonical(text)?),
        Ok(network) => (ListKind::Client, network),
        Err(_) => (ListKind::Host, ListKind::Host.canonical(text)?),
    };
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
        for line in ["/^mx\\d+/", "localhost", "0.0.0.0/0"] {
            assert!(entry(line, false).is_err(), "{line}");
        }
        assert!(entry("@", true).is_err());
    }
}
