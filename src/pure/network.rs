//! Networks as administrators write them. What is plain is read; for the rest it is said what would be right.

use crate::pasted;
use ipnetwork::{IpNetwork, Ipv4Network};
use std::net::Ipv4Addr;

/// What is expected where nothing better can be said.
pub const EXPECTED: &str = "an IP address or network such as 192.0.2.0/24";

/// The network that `text` names: an address, `ADDRESS/BITS`, `ADDRESS/MASK`, or whole octets such as
/// `192.168`, `192.168.` and `192.168.*`.
///
/// # Errors
/// What was expected instead.
pub fn read(text: &str) -> Result<IpNetwork, String> {
    let text = text.trim();
    if let Some(network) = pasted::network(text).map(|(network, _)| network).or_else(|| octets(text)) {
        let everybody = || format!("{EXPECTED}; all clients are `mode = \"off\"` in the configuration file");
        return if network.prefix() == 0 { Err(everybody()) } else { Ok(network) };
    }
    let numbers: Vec<_> = text.split('.').map(decimal).collect();
    Err(match (numbers.as_slice(), text.split_once('-')) {
        ([Some(a), Some(b), Some(c), Some(d)], _) if *[a, b, c, d].into_iter().max().unwrap_or(a) < 256 => {
            format!("{a}.{b}.{c}.{d}, without zeros in front, which could mean octal numbers")
        }
        ([Some(_), Some(_), Some(_), Some(_)], _) => format!("{EXPECTED}, of numbers up to 255"),
        (_, Some((first, last))) => match range(first, last) {
            Some(networks) => format!("networks, each in an entry of its own: {}", networks.join(" ")),
            None => EXPECTED.into(),
        },
        _ => EXPECTED.into(),
    })
}

/// Whether somebody meant an address or a network: nothing but numbers and dots, or hexadecimal and colons.
#[must_use]
pub fn is_meant(text: &str) -> bool {
    let numbers = |c: char| c.is_ascii_digit() || matches!(c, '.' | '/' | '-' | '*');
    let groups = |c: char| c.is_ascii_hexdigit() || matches!(c, '.' | '/' | ':' | '[' | ']' | '%');
    text.contains(|c: char| c.is_ascii_digit()) && text.chars().all(numbers)
        || text.contains(':') && text.chars().all(groups)
}

fn decimal(part: &str) -> Option<u32> {
    part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse().ok())?
}

/// `10.`, `192.168`, `192.0.2.*`, `192.168/16`
fn octets(text: &str) -> Option<IpNetwork> {
    let (text, size) = text.split_once('/').map_or((text, None), |(text, size)| (text, Some(size)));
    let mut parts: Vec<&str> = text.split('.').collect();
    let many = parts.len();
    while parts.last().is_some_and(|last| matches!(*last, "" | "*" | "x")) {
        parts.pop();
    }
    // A number alone could be anything.
    if !(1..=3).contains(&parts.len()) || many > 4 || many == 1 && size.is_none() {
        return None;
    }
    let mut octets = [0; 4];
    for (octet, part) in octets.iter_mut().zip(&parts) {
        *octet = part.parse().ok().filter(|_| *part == "0" || !part.starts_with('0'))?;
    }
    let bits = size.map_or(Some(8 * parts.len() as u8), |size| size.parse().ok())?;
    Ipv4Network::new(Ipv4Addr::from(octets), bits).ok().map(IpNetwork::V4)
}

/// The networks of which a range of IPv4 addresses consists, where they are few enough to be typed.
fn range(first: &str, last: &str) -> Option<Vec<String>> {
    let first: Ipv4Addr = first.trim().parse().ok()?;
    let [a, b, c, _] = first.octets();
    let last =
        last.trim().parse().or_else(|_| last.trim().parse().map(|d| Ipv4Addr::new(a, b, c, d))).ok()?;
    let (mut from, to) = (u64::from(first.to_bits()), u64::from(last.to_bits()));
    let mut networks = Vec::new();
    while from <= to {
        let fits = |bits: &u32| from % (1 << bits) == 0 && from + (1 << bits) - 1 <= to;
        let bits = (0..32).rev().find(fits)?;
        networks.push(format!("{}/{}", Ipv4Addr::from(u32::try_from(from).ok()?), 32 - bits));
        from += 1 << bits;
    }
    // More than a line shows are better taken from whoever gave the range.
    (1..=8).contains(&networks.len()).then_some(networks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_becomes_what_was_meant() {
        for (text, network) in [
            ("192.0.2.7", "192.0.2.7/32"),
            ("192.168", "192.168.0.0/16"),
            ("192.0.2.", "192.0.2.0/24"),
            ("192.0.2.*", "192.0.2.0/24"),
            ("10.*.*.*", "10.0.0.0/8"),
            ("10.", "10.0.0.0/8"),
            ("192.168/16", "192.168.0.0/16"),
            ("192.168.0.0/255.255.0.0", "192.168.0.0/16"),
            ("::ffff:192.0.2.9", "192.0.2.9/32"),
            ("[2001:db8::1]", "2001:db8::1/128"),
        ] {
            assert_eq!(read(text).map(|network| network.to_string()), Ok(network.into()), "{text}");
        }
    }

    #[test]
    fn what_is_no_network_is_told_what_would_be_right() {
        for (text, expected) in [
            ("001.002.003.004", "1.2.3.4, without zeros"),
            ("192.0.2.256", "numbers up to 255"),
            ("1.2.3.4-1.2.3.9", ": 1.2.3.4/30 1.2.3.8/31"),
            ("192.0.2.0-255", ": 192.0.2.0/24"),
            ("1.2.3.9-1.2.3.4", EXPECTED),
            ("0.0.0.0/0", "mode = \"off\""),
            ("10", EXPECTED),
            ("1.2.3.4.5", EXPECTED),
            (&"1.".repeat(40), EXPECTED),
            ("192.0.2.0/33", EXPECTED),
            ("192.*.2.1", EXPECTED),
            ("mx.x.example", EXPECTED),
        ] {
            let told = read(text).unwrap_err();
            assert!(told.contains(expected), "{text}: {told}");
        }
        assert!(["192.0", "1.2.3.4-9", "2001:db8::", "[::1]"].into_iter().all(is_meant));
        assert!(!["be.de", "x.example", "", "a:b.example"].into_iter().any(is_meant));
    }
}
