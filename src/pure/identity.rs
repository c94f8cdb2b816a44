//! Client identities: what a client is known by. That is its network and, where Exim verified them, the
//! domain that SPF passed for, the domain that signed with DKIM, and the registrable domain of its host name.
//! A retry matches when any of them is one of the first attempt, so a pool of servers waits once.

use crate::reply::By;
use ipnetwork::IpNetwork;
use public_suffix::{DEFAULT_PROVIDER, EffectiveTLDProvider};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A domain name from the outside, in lower case, without a dot at the end: at most 253 bytes, in each label
/// 1 to 63 letters, digits, `-`, `_` (RFC 1035 section 2.3.4) or bytes above 127 (RFC 6531).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Domain(Box<[u8]>);

impl Domain {
    /// `None` if the text is no domain name of at least two labels.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let text = text.strip_suffix(b".").unwrap_or(text);
        let label_fits = |label: &[u8]| {
            (1..=63).contains(&label.len())
                && label.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | 0x80..))
        };
        let fits = text.len() <= 253 && text.contains(&b'.') && text.split(|&b| b == b'.').all(label_fits);
        fits.then(|| Self(text.to_ascii_lowercase().into()))
    }

    /// The name's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The network that a client's address stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientNetwork(IpNetwork);

impl ClientNetwork {
    /// The network of `prefixes` around `address`; an IPv4 address mapped into IPv6 counts as IPv4.
    #[must_use]
    pub fn of(address: IpAddr, prefixes: Prefixes) -> Self {
        let address = address.to_canonical();
        Self::new(address, if address.is_ipv4() { prefixes.ipv4 } else { prefixes.ipv6 })
    }

    /// The network of so many bits around `address`; the address alone where it has fewer bits.
    #[must_use]
    pub fn new(address: IpAddr, prefix: u8) -> Self {
        let around = IpNetwork::new(address, prefix).unwrap_or_else(|_| address.into());
        Self(IpNetwork::new(around.network(), around.prefix()).unwrap_or(around))
    }
}

/// Whether no client on the Internet has this address: of this host, of a link, or of a network that is not
/// routed there (RFC 1918, RFC 6598, RFC 4193).
#[must_use]
pub fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let [first, second, ..] = v4.octets();
            let shared = first == 100 && second & 0xc0 == 64;
            v4.is_private() || v4.is_loopback() || v4.is_link_local() || shared
        }
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

/// How much of an address names a client's network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefixes {
    /// Bits of an IPv4 address, 1 to 32.
    pub ipv4: u8,
    /// Bits of an IPv6 address, 1 to 128.
    pub ipv6: u8,
}

impl Default for Prefixes {
    /// /24: the pools of most senders stay within it. /64: one link, where a host picks addresses at will.
    fn default() -> Self {
        Self { ipv4: 24, ipv6: 64 }
    }
}

/// A client identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// The client's network.
    Network(ClientNetwork),
    /// The domain that SPF passed for.
    Spf(Domain),
    /// The domain that signed with DKIM.
    Dkim(Domain),
    /// The registrable domain of the host name.
    Host(Domain),
}

/// A client has at most one identity of each kind.
pub const MAX_IDENTITIES: usize = 4;

impl Identity {
    /// Itself, or of an IPv6 network the /48 around it: what one customer is given, to make networks of at
    /// will (RFC 6177).
    #[must_use]
    pub fn crowd(&self) -> Self {
        match self {
            Self::Network(ClientNetwork(IpNetwork::V6(n))) => {
                Self::Network(ClientNetwork::new(n.ip().into(), n.prefix().min(48)))
            }
            other => other.clone(),
        }
    }

    /// Its kind, as the reply names it.
    #[must_use]
    pub const fn by(&self) -> By {
        match self {
            Self::Network(_) => By::Network,
            Self::Spf(_) => By::Spf,
            Self::Dkim(_) => By::Dkim,
            Self::Host(_) => By::Host,
        }
    }

    /// The domain, of all but a network.
    #[must_use]
    pub const fn domain(&self) -> Option<&Domain> {
        match self {
            Self::Network(_) => None,
            Self::Spf(domain) | Self::Dkim(domain) | Self::Host(domain) => Some(domain),
        }
    }

    /// Calls `f` with the bytes of the value: the domain, or family (4 or 6), prefix and network address.
    pub fn with_bytes<T>(&self, f: impl FnOnce(&[u8]) -> T) -> T {
        let ip = |family: u8, prefix: u8, octets: &[u8]| {
            let mut bytes = [0_u8; 18];
            for (to, from) in bytes.iter_mut().zip([family, prefix].iter().chain(octets)) {
                *to = *from;
            }
            bytes
        };
        match self {
            Self::Network(ClientNetwork(IpNetwork::V4(n))) => f(&ip(4, n.prefix(), &n.ip().octets())),
            Self::Network(ClientNetwork(IpNetwork::V6(n))) => f(&ip(6, n.prefix(), &n.ip().octets())),
            Self::Spf(d) | Self::Dkim(d) | Self::Host(d) => f(d.as_bytes()),
        }
    }
}

impl fmt::Display for ClientNetwork {
    /// `192.0.2.0/24`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Identity {
    /// The value without its kind: `192.0.2.0/24`, `example.org`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(network) => network.fmt(f),
            Self::Spf(d) | Self::Dkim(d) | Self::Host(d) => {
                fmt::Display::fmt(&d.as_bytes().escape_ascii(), f)
            }
        }
    }
}

/// The registrable domain of a verified host name, by the public-suffix list: `example.co.uk` for
/// `mail.example.co.uk`. `None` for a public suffix, and for a name that looks generated from the address: it
/// does not say who sends, but whose network it is, and the network is an identity already.
#[must_use]
pub fn registrable(host: &Domain, address: IpAddr) -> Option<Domain> {
    let (labels, domain) = split_registered(host.as_bytes())?;
    // Under a suffix such as compute-1.amazonaws.com the generated label is part of the registrable domain.
    let generated = looks_generated(labels, address) || looks_generated(domain, address);
    if generated { None } else { Domain::parse(domain.as_bytes()) }
}

/// The domain that `name` is registered under, by the public-suffix list. `None` for a public suffix.
#[must_use]
pub fn registered(name: &Domain) -> Option<Domain> {
    split_registered(name.as_bytes()).and_then(|(_, domain)| Domain::parse(domain.as_bytes()))
}

/// Divides `name`, in lower case, before the domain that it is registered under. `None` for a public suffix,
/// and for a name with bytes above ASCII: the list has those in `xn--` only.
pub(crate) fn split_registered(name: &[u8]) -> Option<(&str, &str)> {
    let name = std::str::from_utf8(name).ok().filter(|name| name.is_ascii())?;
    let domain = DEFAULT_PROVIDER.effective_tld_plus_one(name).ok()?;
    Some((name.strip_suffix(domain)?, domain))
}

/// Whether `labels` hold the address in one of the ways in which providers write it into host names. Small
/// numbers prove nothing: `o1.p2.example.net` may be at 198.51.1.2 by chance.
fn looks_generated(labels: &str, address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => holds_ipv4(labels, v4),
        IpAddr::V6(v6) => holds_ipv6(labels, v6),
    }
}

fn holds_ipv4(labels: &str, address: Ipv4Addr) -> bool {
    let octets @ [a, b, c, d] = address.octets();
    let whole = |[a, b, c, d]: [u8; 4]| {
        labels.contains(&format!("{a:02x}{b:02x}{c:02x}{d:02x}"))
            || labels.contains(&format!("{a:03}{b:03}{c:03}{d:03}"))
    };
    if whole(octets) || whole([d, c, b, a]) || labels.contains(&address.to_bits().to_string()) {
        return true;
    }
    let mut numbers = numbers(labels, |c| c.is_ascii_digit(), 10);
    // The last two octets tell a host from its neighbours: `host-2-77`, but not `smtp-2-10` at 192.2.10.77.
    if neighbours(&numbers, &[c, d].map(u16::from), 3) {
        return true;
    }
    // Three octets in any order: `77.red-192-0-2`.
    let there = octets.into_iter().filter_map(|octet| {
        let at = numbers.iter().position(|(number, _)| *number == Some(octet.into()))?;
        Some(numbers.swap_remove(at).1)
    });
    let (octets, digits) = there.fold((0, 0), |(octets, sum), digits| (octets + 1, sum + digits));
    octets >= 3 && digits >= 4
}

fn holds_ipv6(labels: &str, address: Ipv6Addr) -> bool {
    let groups = address.segments();
    let low: String = groups.iter().skip(4).map(|group| format!("{group:04x}")).collect();
    // Digit by digit, also from the last to the first as in ip6.arpa.
    let signs: String = labels.chars().filter(char::is_ascii_alphanumeric).collect();
    let backwards: String = low.chars().rev().collect();
    signs.contains(&low)
        || signs.contains(&backwards)
        // `2001-db8`; four digits can be words: `be-fe`.
        || neighbours(&numbers(labels, |c| c.is_ascii_alphanumeric(), 16), &groups, 5)
}

/// The runs of such characters, as numbers where they are some, and how many digits each has. A zero in front
/// does not count: people number hosts so, too (`mx01`).
fn numbers(labels: &str, class: fn(&char) -> bool, radix: u32) -> Vec<(Option<u16>, usize)> {
    let runs = labels.split(|c| !class(&c)).filter(|run| !run.is_empty());
    runs.map(|run| {
        let digits = run.strip_prefix('0').unwrap_or(run).len().max(1);
        (u16::from_str_radix(run, radix).ok(), digits)
    })
    .collect()
}

/// Whether two neighbours of `parts` are neighbours in `numbers`, in either order and with so many digits.
fn neighbours(numbers: &[(Option<u16>, usize)], parts: &[u16], digits: usize) -> bool {
    numbers.windows(2).any(|pair| match pair {
        [(Some(p), m), (Some(q), n)] if m + n >= digits => {
            parts.windows(2).any(|part| part == [*p, *q] || part == [*q, *p])
        }
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(address: &str) -> String {
        ClientNetwork::of(address.parse().unwrap(), Prefixes::default()).to_string()
    }

    #[test]
    fn a_client_is_known_by_its_network() {
        assert_eq!(network("192.0.2.77"), "192.0.2.0/24");
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64");
        assert_eq!(network("::ffff:192.0.2.1"), "192.0.2.0/24");
        let exact = ClientNetwork::of("192.0.2.77".parse().unwrap(), Prefixes { ipv4: 32, ipv6: 128 });
        assert_eq!(exact.to_string(), "192.0.2.77/32");
    }

    #[test]
    fn private_addresses_are_told_from_public_ones() {
        let private = |address: &&str| is_private(address.parse().unwrap());
        let inside = [
            "10.0.0.0",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.3.4",
            "100.64.0.0",
            "100.127.255.255",
            "127.0.0.1",
            "169.254.1.1",
            "::1",
            "fc00::1",
            "fdff::",
            "fe80::1",
            "::ffff:10.1.2.3",
        ];
        let outside = [
            "9.255.255.255",
            "172.15.0.1",
            "172.32.0.0",
            "192.169.0.1",
            "100.63.0.1",
            "100.128.0.0",
            "2001:db8::1",
            "fe00::1",
            "::ffff:8.8.8.8",
        ];
        assert!(inside.iter().all(private) && !outside.iter().any(private));
    }

    #[test]
    fn networks_of_other_families_and_sizes_have_other_bytes() {
        let bytes = |address: &str, ipv4, ipv6| {
            Identity::Network(ClientNetwork::of(address.parse().unwrap(), Prefixes { ipv4, ipv6 }))
                .with_bytes(<[u8]>::to_vec)
        };
        let all = [
            bytes("10.0.0.0", 24, 64),
            bytes("10.0.0.0", 16, 64),
            bytes("a00::", 24, 64),
            bytes("a00::", 24, 48),
        ];
        for (i, a) in all.iter().enumerate() {
            assert!(all[i + 1..].iter().all(|b| a != b));
        }
    }

    #[test]
    fn a_domain_is_checked_and_lowered() {
        assert_eq!(Domain::parse(b"Mail.Example.ORG.").unwrap().as_bytes(), b"mail.example.org");
        let long = [b"a".repeat(63), b"b".repeat(64)].join(&b'.');
        for bad in [
            &b""[..],
            b".",
            b"localhost",
            b"a..b",
            b".a.b",
            b"a b.c",
            b"a\nb.c",
            b"[192.0.2.1].x",
            b"a.b/../c",
            &long,
        ] {
            assert_eq!(Domain::parse(bad), None, "{}", bad.escape_ascii());
        }
        assert_eq!(Domain::parse(&b"a.".repeat(128)), None);
    }

    fn host(name: &str, address: &str) -> Option<String> {
        registrable(&Domain::parse(name.as_bytes()).unwrap(), address.parse().unwrap())
            .map(|d| String::from_utf8(d.as_bytes().to_vec()).unwrap())
    }

    #[test]
    fn a_host_is_known_by_its_registrable_domain() {
        for (name, address, domain) in [
            ("mail-ed1-f44.google.com", "209.85.208.44", Some("google.com")),
            ("mx1.mail.example.co.uk", "192.0.2.7", Some("example.co.uk")),
            ("example.co.uk", "192.0.2.7", Some("example.co.uk")),
            ("mx.city.kawasaki.jp", "192.0.2.7", Some("city.kawasaki.jp")),
            ("co.uk", "192.0.2.7", None),
            ("mx7.customer.github.io", "192.0.2.7", Some("customer.github.io")),
        ] {
            assert_eq!(host(name, address).as_deref(), domain, "{name}");
        }
    }

    #[test]
    fn a_name_generated_from_the_address_is_no_identity() {
        for (name, address) in [
            ("192-0-2-77.dsl.provider.net", "192.0.2.77"),
            ("77.2.0.192.static.provider.net", "192.0.2.77"),
            ("host-2-77.provider.net", "192.0.2.77"),
            ("p5dc4a1b2.dip.provider.net", "93.196.161.178"),
            ("ip192000002077.provider.net", "192.0.2.77"),
            ("3221226061.provider.net", "192.0.2.77"),
            ("ec2-192-0-2-77.compute-1.amazonaws.com", "192.0.2.77"),
            ("2001-db8-1-2-3-4-5-6.provider.net", "2001:db8:1:2:3:4:5:6"),
            ("x-0003000400050006.provider.net", "2001:db8:1:2:3:4:5:6"),
            ("dyn-192-0-2-77.provider.net", "::ffff:192.0.2.77"),
            ("77.red-192-0-2.staticip.provider.net", "192.0.2.77"),
            ("h77n2c0s192.provider.net", "192.0.2.77"),
            ("192x0x2x77.ap.provider.net", "192.0.2.77"),
            ("host77.net2.provider.net", "192.0.2.77"),
            ("dsl-0-77.provider.net", "192.0.0.77"),
            ("51-1-2.provider.net", "198.51.1.2"),
            ("1-2-3-4.provider.net", "1.2.3.4"),
            ("host-001-002.provider.net", "198.51.1.2"),
            ("4d0200c0.provider.net", "192.0.2.77"),
            ("077002000192.provider.net", "192.0.2.77"),
            ("2001-db8--1.provider.net", "2001:db8::1"),
            ("2001-0db8-0000-0000-0000-0000-0000-0001.provider.net", "2001:db8::1"),
            ("ip6-3-0004-0005-6.provider.net", "2001:db8:1:2:3:4:5:6"),
            ("6.0.0.0.5.0.0.0.4.0.0.0.3.0.0.0.provider.net", "2001:db8:1:2:3:4:5:6"),
        ] {
            assert_eq!(host(name, address), None, "{name}");
        }
        for (name, address) in [
            ("a.1.outbound.example.net", "192.0.2.77"),
            ("mx2.example.net", "192.0.2.2"),
            ("mail-77.example.net", "192.0.2.77"),
            ("mx.example.net", "2001:db8::1"),
            ("o1.p2.example.net", "2001:db8::25"),
            ("o1.p2.example.net", "198.51.1.2"),
            ("o2.p1.example.net", "198.51.1.2"),
            ("mx1-2.example.net", "203.0.1.2"),
            ("mx01-02.example.net", "203.0.1.2"),
            ("o1.p2.s3.example.net", "198.1.2.3"),
            ("smtp-2-10.mail.example.net", "192.2.10.77"),
            ("mail3.dc10.example.net", "192.10.3.77"),
            ("mta-2-2.example.net", "198.2.2.20"),
            ("a-b.example.net", "2001:db8:a:b::1"),
            ("be-fe.example.net", "2001:db8:be:fe::1"),
            ("mx1-25.example.net", "2001:db8:0:0:1:25:0:1"),
        ] {
            assert_eq!(host(name, address).as_deref(), Some("example.net"), "{name}");
        }
    }
}
