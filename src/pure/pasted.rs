//! Addresses and clients as people paste them: from a log, a mail program, a web page or a shell. Whatever is
//! around them goes; what they name stays as it is.

use ipnetwork::IpNetwork;
use std::net::{IpAddr, SocketAddr};

/// The envelope address in `text`: without blanks, quotes, brackets, a name or `mailto:` around it, its domain
/// in lower case and without a dot at the end. `<>` is empty. What is no address stays.
#[must_use]
pub fn address(text: &(impl AsRef<[u8]> + ?Sized)) -> Vec<u8> {
    let mut text = bare(text.as_ref());
    if let Some(inside) = text.strip_suffix(b">") {
        // `Alice <a@x.example>`, `F=<a@x.example>`
        let open = inside.iter().rposition(|&byte| byte == b'<');
        text = open.and_then(|at| inside.get(at + 1..)).map_or(text, bare);
    }
    if let Some((scheme, rest)) = split(text, b':')
        && scheme.eq_ignore_ascii_case(b"mailto")
    {
        text = split(rest, b'?').map_or(rest, |(address, _)| address);
    }
    let Some(at) = text.iter().rposition(|&byte| byte == b'@') else { return text.to_vec() };
    let (local, domain) = text.split_at(at);
    [local, &domain.strip_suffix(b".").unwrap_or(domain).to_ascii_lowercase()].concat()
}

/// The client's address in `text`: `[198.51.100.1]:1234`, `H=mx.x.example (helo) [198.51.100.1]`,
/// `::ffff:192.0.2.9`, `[IPv6:2001:db8::1]`. IPv4 mapped into IPv6 is IPv4.
#[must_use]
pub fn client(text: &(impl AsRef<[u8]> + ?Sized)) -> Option<IpAddr> {
    let text = str::from_utf8(bare(text.as_ref())).ok()?;
    if let Some(address) = plain(text) {
        return Some(address);
    }
    if let Ok(socket) = text.parse::<SocketAddr>() {
        return Some(socket.ip().to_canonical());
    }
    // Exim writes a name that the client only claims in (), and its own address as `I=[...]`.
    let mut before = "";
    for part in text.split_inclusive('[') {
        let is_client = before.ends_with('[') && !before.ends_with("([") && !before.ends_with("I=[");
        if let Some(address) =
            part.split_once(']').filter(|_| is_client).and_then(|(inside, _)| plain(inside))
        {
            return Some(address);
        }
        before = part;
    }
    None
}

/// A client, or a network `ADDRESS/BITS` or `ADDRESS/MASK` as it is written, and whether it was the latter.
#[must_use]
pub fn network(text: &str) -> Option<(IpNetwork, bool)> {
    let Some((address, size)) = text.trim().rsplit_once('/') else {
        return client(text).map(|address| (address.into(), false));
    };
    let ip = client(address)?;
    // `::ffff:192.0.2.0/120` is 192.0.2.0/24.
    let mapped = ip.is_ipv4() && address.contains("::");
    let network = match size.parse::<u8>() {
        Ok(bits) => IpNetwork::new(ip, if mapped { bits.checked_sub(96)? } else { bits }),
        Err(_) => format!("{ip}/{size}").parse(),
    };
    network.ok().map(|network| (network, true))
}

fn plain(text: &str) -> Option<IpAddr> {
    let text = match text.split_at_checked(5) {
        Some((tag, rest)) if tag.eq_ignore_ascii_case("IPv6:") => rest,
        _ => text,
    };
    // A link-local address may have its interface: fe80::1%eth0.
    text.split('%').next()?.parse().ok().map(|address: IpAddr| address.to_canonical())
}

/// Without what a file, a list or a shell puts around a word: a byte order mark, blanks, a comma, quotes.
fn bare(text: &[u8]) -> &[u8] {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text).trim_ascii();
    let text = text.strip_suffix(b",").or_else(|| text.strip_suffix(b";")).unwrap_or(text);
    let quotes = [("'", "'"), ("\"", "\""), ("`", "`"), ("\u{2018}", "\u{2019}"), ("\u{201c}", "\u{201d}")];
    let inside = quotes
        .iter()
        .find_map(|(open, close)| text.strip_prefix(open.as_bytes())?.strip_suffix(close.as_bytes()));
    inside.map_or(text, <[u8]>::trim_ascii)
}

fn split(text: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let place = text.iter().position(|&byte| byte == at)?;
    Some((text.get(..place)?, text.get(place + 1..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_found_in_what_was_pasted() {
        for pasted in [
            "a.B@x.example",
            "<a.B@x.example>",
            " <a.B@X.Example.> ",
            "mailto:a.B@x.example",
            "<MAILTO:a.B@x.example?subject=hello>",
            "'a.B@x.example'",
            "\"a.B@x.example\"",
            "\u{201c}a.B@x.example\u{201d}",
            "\"Alice <at work>\" <a.B@x.example>,",
            "F=<a.B@x.example>",
            "\u{feff}a.B@x.example\r",
        ] {
            assert_eq!(String::from_utf8_lossy(&address(pasted)), "a.B@x.example", "{pasted}");
        }
        for null in ["", "<>", " <> ", "F=<>", "''"] {
            assert_eq!(address(null), b"", "{null}");
        }
        // These are themselves.
        for whole in ["\"a b\"@x.example", "bob", "192.0.2.", "SRS0=a=b=c=d@x.example", "a>b@x.example", ">"]
        {
            assert_eq!(address(whole), whole.as_bytes(), "{whole}");
        }
        assert_eq!(address(&b"\xff@X.example"[..]), b"\xff@x.example");
    }

    #[test]
    fn a_client_is_found_in_what_was_pasted() {
        for pasted in [
            "198.51.100.1",
            " 198.51.100.1 ",
            "[198.51.100.1]",
            "[198.51.100.1]:1234",
            "198.51.100.1:1234",
            "::ffff:198.51.100.1",
            "[::ffff:198.51.100.1]",
            "H=mx.x.example [198.51.100.1]",
            "H=mx.x.example (helo) [198.51.100.1]:1234 I=[192.0.2.1]:25",
            "H=([192.0.2.9]) [198.51.100.1]",
            "I=[192.0.2.1]:25 H=[198.51.100.1]",
            "'198.51.100.1'",
        ] {
            assert_eq!(client(pasted), "198.51.100.1".parse().ok(), "{pasted}");
        }
        for pasted in
            ["2001:db8::1", "[2001:db8::1]", "[2001:db8::1]:25", "[IPv6:2001:db8::1]", "2001:DB8::1%eth0"]
        {
            assert_eq!(client(pasted), "2001:db8::1".parse().ok(), "{pasted}");
        }
        for none in
            ["", "mx.x.example", "192.0.2", "192.0.2.0/24", "[192.0.2.1", "I=[192.0.2.1]", "001.2.3.4"]
        {
            assert_eq!(client(none), None, "{none}");
        }
        assert_eq!(client(&b"\xff"[..]), None);
    }

    #[test]
    fn a_network_is_an_address_and_a_size() {
        for (pasted, expected) in [
            ("192.0.2.0/24", Some(("192.0.2.0/24", true))),
            ("192.0.2.0/255.255.255.0", Some(("192.0.2.0/24", true))),
            ("[192.0.2.0]/24", Some(("192.0.2.0/24", true))),
            ("::ffff:192.0.2.0/120", Some(("192.0.2.0/24", true))),
            ("2001:db8::/32", Some(("2001:db8::/32", true))),
            ("[192.0.2.1]", Some(("192.0.2.1/32", false))),
            ("::ffff:192.0.2.0/24", None),
            ("192.0.2.0/33", None),
            ("192.0.2.0/", None),
            ("x.example/24", None),
        ] {
            let found = network(pasted).map(|(network, sized)| (network.to_string(), sized));
            assert_eq!(found, expected.map(|(text, sized)| (text.to_owned(), sized)), "{pasted}");
        }
    }
}
