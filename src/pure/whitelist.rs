//! The administrator's whitelist: what an entry may be, and which entries a triplet could match. Pure. The
//! entries are in the store, each under the hash of its kind and text: a few reads find any of them.

use crate::identity::{ClientNetwork, Domain, Identity};
use crate::recipient::Delimiters;
use crate::sender::own_address;
pub use crate::triplet::ListKind;
use crate::triplet::Triplet;
use crate::{network, pasted};
use ipnetwork::IpNetwork;
use std::net::IpAddr;

impl ListKind {
    /// The text of an entry in the one form in which it is stored and looked up: what was meant, where that
    /// is plain.
    ///
    /// # Errors
    /// What was expected instead, for the administrator.
    pub fn canonical(self, text: &str) -> Result<Vec<u8>, String> {
        if self == Self::Client {
            let range = network::read(text);
            return range.map(|range| client_network(range.ip(), range.prefix())).map_err(|expected| {
                let is_name = entry_domain(text.trim().as_bytes()).is_some();
                if is_name { format!("{expected}; a name is of the kind host") } else { expected }
            });
        }
        let pasted = pasted::address(text);
        // All mailboxes of a domain.
        let text = pasted.strip_prefix(b"*@").or_else(|| pasted.strip_prefix(b"@")).unwrap_or(&pasted);
        let shown = String::from_utf8_lossy(text);
        let several = || text.contains(&b',') || text.contains(&b';') || text.contains(&b' ');
        let (found, expected) = match self {
            Self::Client | Self::Host | Self::Spf | Self::Dkim => {
                (entry_domain(text), "a domain such as example.org")
            }
            Self::Sender => {
                // What would not be read again as it is kept is no entry.
                let is_kept = |entry: &Vec<u8>| {
                    own_address(entry) == *entry
                        && std::str::from_utf8(entry).is_ok_and(|text| pasted::address(text) == *entry)
                };
                let found = address(&own_address(text)).filter(is_kept);
                (found, "an address or a domain such as example.org")
            }
            Self::Recipient => {
                let local = text.strip_suffix(b"*").unwrap_or(text).strip_suffix(b"@");
                let whole = local.filter(|local| is_local(local)).map(|local| [local, b"@"].concat());
                let whole = whole.map(|whole| whole.to_ascii_lowercase());
                (whole.or_else(|| address(text)), "an address, local@ or a domain such as example.org")
            }
        };
        found.ok_or_else(|| match () {
            () if network::is_meant(&shown) => {
                format!("{expected}; an address of the network is of the kind client")
            }
            () if several() => format!("{expected}, each in an entry of its own"),
            () if text.contains(&b'*') => format!("{expected}, and no pattern; a domain holds all below it"),
            () if text.is_empty() && self == Self::Sender => {
                format!("{expected}; the null sender cannot be an entry")
            }
            () if text.contains(&b'@') && !matches!(self, Self::Sender | Self::Recipient) => {
                format!("{expected}; an address is of the kind sender or recipient")
            }
            () => expected.into(),
        })
    }
}

/// The domain of an entry, which holds all below it, however that was written: `*.example.org`,
/// `.example.org`. No name ends in a number (RFC 3696 section 2).
#[must_use]
pub fn entry_domain(text: &[u8]) -> Option<Vec<u8>> {
    let text = text.strip_prefix(b"*.").or_else(|| text.strip_prefix(b".")).unwrap_or(text);
    let domain = Domain::parse(text)?;
    let last = domain.as_bytes().rsplit(|&byte| byte == b'.').next()?;
    (!last.iter().all(u8::is_ascii_digit)).then(|| domain.as_bytes().to_vec())
}

fn address(text: &[u8]) -> Option<Vec<u8>> {
    let Some(at) = text.iter().rposition(|&byte| byte == b'@') else { return entry_domain(text) };
    let (local, domain) = (text.get(..at)?, text.get(at + 1..)?);
    // No entry for one mailbox is one for those of the domains below.
    let domain = entry_domain(domain).filter(|_| !domain.starts_with(b"*") && !domain.starts_with(b"."))?;
    is_local(local).then(|| [&local.to_ascii_lowercase()[..], b"@", &domain].concat())
}

/// What can stand before an @: without quotes none of the signs that separate addresses, and no pattern.
fn is_local(text: &[u8]) -> bool {
    let quoted = text.len() > 2 && text.starts_with(b"\"") && text.ends_with(b"\"");
    !text.is_empty()
        && (quoted || !text.iter().any(|byte| byte.is_ascii_whitespace() || b"@,;<>*".contains(byte)))
}

fn client_network(address: IpAddr, prefix: u8) -> Vec<u8> {
    ClientNetwork::new(address, prefix).to_string().into_bytes()
}

/// Which kinds of entries there are at all, so that nothing is looked up in vain. One record of the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListSummary {
    /// A bit for each kind.
    pub kinds: u8,
    /// A bit for each prefix length of IPv4 networks, 1 to 32.
    pub ipv4: u32,
    /// A bit for each prefix length of IPv6 networks, 1 to 128.
    pub ipv6: u128,
}

impl ListSummary {
    /// Notes an entry in its canonical form.
    pub fn add(&mut self, kind: ListKind, text: &[u8]) {
        self.kinds |= 1 << kind as u8;
        if kind == ListKind::Client
            && let Some(Ok(network)) = str::from_utf8(text).ok().map(str::parse::<IpNetwork>)
        {
            let bit = u32::from(network.prefix().saturating_sub(1));
            match network {
                IpNetwork::V4(_) => self.ipv4 |= 1_u32.checked_shl(bit).unwrap_or(0),
                IpNetwork::V6(_) => self.ipv6 |= 1_u128.checked_shl(bit).unwrap_or(0),
            }
        }
    }

    const fn has(&self, kind: ListKind) -> bool {
        self.kinds & (1 << kind as u8) != 0
    }

    /// The canonical texts of all entries that would match `triplet`, those of clients first.
    #[must_use]
    pub fn candidates(&self, triplet: &Triplet<'_>, delimiters: Delimiters) -> Vec<(ListKind, Vec<u8>)> {
        let mut found = Vec::new();
        if self.kinds == 0 {
            return found;
        }
        if let Some(client) = triplet.client.filter(|_| self.has(ListKind::Client)) {
            let client = client.to_canonical();
            let used = if client.is_ipv4() { self.ipv4.into() } else { self.ipv6 };
            let prefixes = (1..=128).filter(|prefix| used >> (prefix - 1) & 1 == 1);
            found.extend(prefixes.map(|prefix| (ListKind::Client, client_network(client, prefix))));
        }
        let mut domains = |kind, domain: &[u8]| {
            if self.has(kind) {
                found.extend(parents(domain).map(|parent| (kind, parent.to_vec())));
            }
        };
        if let Some(host) = &triplet.host {
            domains(ListKind::Host, host.as_bytes());
        }
        for identity in &triplet.identities {
            match identity {
                Identity::Spf(domain) => domains(ListKind::Spf, domain.as_bytes()),
                Identity::Dkim(domain) => domains(ListKind::Dkim, domain.as_bytes()),
                Identity::Network(_) | Identity::Host(_) => {}
            }
        }
        let sender = own_address(triplet.sender);
        let recipient = triplet.recipient.as_bytes();
        let plain = delimiters.without_extension(recipient);
        let plain = plain.as_deref().map(|plain| (ListKind::Recipient, plain));
        let addresses = [(ListKind::Sender, &sender[..]), (ListKind::Recipient, recipient)];
        for (kind, address) in addresses.into_iter().chain(plain) {
            if !self.has(kind) {
                continue;
            }
            found.push((kind, address.to_vec()));
            if let Some(at) = address.iter().rposition(|&byte| byte == b'@') {
                let (local, domain) = address.split_at(at + 1);
                found.push((kind, local.to_vec()));
                found.extend(parents(domain).map(|parent| (kind, parent.to_vec())));
            }
        }
        found
    }
}

/// A domain and the domains above it that have a dot.
fn parents(domain: &[u8]) -> impl Iterator<Item = &[u8]> {
    let starts = domain.iter().enumerate().filter(|(_, byte)| **byte == b'.').map(|(i, _)| i + 1);
    std::iter::once(0).chain(starts).filter_map(|start| domain.get(start..)).filter(|d| d.contains(&b'.'))
}

/// Whether the sender's domain is verified: SPF passed for it, or it signed, or a domain above it. Senders
/// are easily forged, so an entry for one counts only then, unless the administrator says otherwise.
#[must_use]
pub fn sender_is_authenticated(triplet: &Triplet<'_>) -> bool {
    let Some(sender) = triplet.sender_domain() else { return false };
    triplet.identities.iter().any(|identity| match identity {
        Identity::Spf(domain) => *domain == sender,
        Identity::Dkim(domain) => parents(sender.as_bytes()).any(|parent| parent == domain.as_bytes()),
        Identity::Network(_) | Identity::Host(_) => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A signature may have anything inside: it is an entry only where it is one when it is read again.
    #[test]
    fn what_is_kept_is_read_again_as_it_is() {
        let wrapped = |inside: &str| ListKind::Sender.canonical(&format!("btv2=\u{1a}\0@={inside}"));
        assert!(wrapped("\"*s\"@x.example").is_err());
        let entry = wrapped("a@x.example").unwrap();
        assert_eq!(ListKind::Sender.canonical(std::str::from_utf8(&entry).unwrap()), Ok(entry));
    }
    use crate::identity::Prefixes;
    use crate::recipient::Recipient;
    use crate::sender::Level;
    use crate::value::Value;

    fn triplet(sender: &'static str, more: Vec<Identity>) -> Triplet<'static> {
        let client = "192.0.2.77".parse().unwrap();
        let mut identities = vec![Identity::Network(ClientNetwork::of(client, Prefixes::default()))];
        identities.extend(more);
        Triplet {
            client: Some(client),
            host: Domain::parse(b"mx1.mail.host.example"),
            ..Triplet::new(identities, sender.as_bytes(), b"Bob@Rcpt.example", b"", Level::Full)
        }
    }

    fn spf(domain: &str) -> Identity {
        Identity::Spf(Domain::parse(domain.as_bytes()).unwrap())
    }

    fn matches(kind: ListKind, entry: &str, triplet: &Triplet<'_>) -> bool {
        let mut contents = ListSummary::default();
        let text = kind.canonical(entry).unwrap();
        contents.add(kind, &text);
        contents.candidates(triplet, Delimiters::parse(b"+").unwrap()).contains(&(kind, text))
    }

    #[test]
    fn an_entry_matches_what_it_names_and_nothing_else() {
        let triplet = triplet("Alice@mail.sender.example", vec![spf("mail.sender.example")]);
        for (kind, entry) in [
            (ListKind::Client, "192.0.2.77"),
            (ListKind::Client, "192.0.2.99/24"),
            (ListKind::Client, "192.0"),
            (ListKind::Client, "[::ffff:192.0.2.77]"),
            (ListKind::Client, "128.0.0.0/1"),
            (ListKind::Host, "Host.Example"),
            (ListKind::Host, "mx1.mail.host.example"),
            (ListKind::Spf, "sender.example"),
            (ListKind::Sender, "alice@mail.sender.example"),
            (ListKind::Sender, "sender.example"),
            (ListKind::Recipient, "BOB@rcpt.example"),
            (ListKind::Recipient, "bob@"),
            (ListKind::Recipient, "rcpt.example"),
            (ListKind::Host, "*.mail.host.example"),
            (ListKind::Spf, ".sender.example."),
            (ListKind::Sender, "*@sender.example"),
            (ListKind::Sender, "<Alice@mail.sender.example>"),
            (ListKind::Recipient, "@rcpt.example"),
            (ListKind::Recipient, "mailto:bob@rcpt.example."),
            (ListKind::Recipient, "bob@*"),
        ] {
            assert!(matches(kind, entry, &triplet), "{} {entry}", kind.word());
        }
        for (kind, entry) in [
            (ListKind::Client, "192.0.2.78"),
            (ListKind::Client, "192.0.3.0/24"),
            (ListKind::Client, "2001:db8::/32"),
            (ListKind::Host, "ost.example"),
            (ListKind::Spf, "other.mail.sender.example"),
            (ListKind::Dkim, "sender.example"),
            (ListKind::Sender, "bob@mail.sender.example"),
            (ListKind::Sender, "ender.example"),
            (ListKind::Recipient, "alice@"),
            (ListKind::Recipient, "mail.sender.example"),
        ] {
            assert!(!matches(kind, entry, &triplet), "{} {entry}", kind.word());
        }
    }

    /// An entry with an extension is for that one alone.
    #[test]
    fn an_entry_for_a_recipient_matches_its_extensions() {
        let to = |recipient: &[u8]| Triplet { recipient: Recipient::new(recipient), ..triplet("", vec![]) };
        let plus = to(b"Bob+News@rcpt.example");
        for entry in ["bob@rcpt.example", "bob@", "bob+news@rcpt.example", "bob+news@", "rcpt.example"] {
            assert!(matches(ListKind::Recipient, entry, &plus), "{entry}");
        }
        assert!(!matches(ListKind::Recipient, "bob+news@rcpt.example", &to(b"bob@rcpt.example")));
        assert!(!matches(ListKind::Recipient, "bob+news@rcpt.example", &to(b"bob+other@rcpt.example")));
        assert!(!matches(ListKind::Sender, "bob@x.example", &triplet("bob+news@x.example", vec![])));
        let mut contents = ListSummary::default();
        contents.add(ListKind::Recipient, b"bob@");
        assert!(
            !contents.candidates(&plus, Delimiters::NONE).contains(&(ListKind::Recipient, b"bob@".to_vec()))
        );
    }

    /// A signature leaves the domain as it is. A forwarder does not, and only its own domain is verified.
    #[test]
    fn an_entry_for_a_sender_matches_its_signed_form_and_no_forwarder() {
        let sent = |sender| triplet(sender, vec![]);
        for signed in [
            "prvs=0123456789=Alice@x.example",
            "alice@X.example.",
            "\"alice\"@x.example",
            "btv1==9562b54e32b==prvs=0123456789=alice@x.example",
        ] {
            for entry in ["alice@x.example", "x.example.", signed] {
                assert!(matches(ListKind::Sender, entry, &sent(signed)), "{signed} {entry}");
            }
            assert!(!matches(ListKind::Sender, "bob@x.example", &sent(signed)));
        }
        for rewritten in [
            "SRS0=ab=QX=x.example=alice@fwd.example",
            "SRS1=Djmi=x.example==rzl5=KB=x.example=alice@fwd.example",
            "alice+SRS=ab=QX=x.example=alice@fwd.example",
            "prvs=0123456789=SRS0=ab=QX=x.example=alice@fwd.example",
        ] {
            for entry in ["alice@x.example", "x.example", "alice@fwd.example"] {
                assert!(!matches(ListKind::Sender, entry, &sent(rewritten)), "{rewritten} {entry}");
            }
            assert!(matches(ListKind::Sender, "fwd.example", &sent(rewritten)));
        }
        assert!(matches(ListKind::Recipient, "bob@rcpt.example.", &sent("")));
    }

    #[test]
    fn an_entry_that_names_nothing_is_refused() {
        for (kind, entry) in [
            (ListKind::Client, "0.0.0.0/0"),
            (ListKind::Client, "example.org"),
            (ListKind::Client, "192.0.2.0/33"),
            (ListKind::Host, "localhost"),
            (ListKind::Host, "a b.example"),
            (ListKind::Host, "192.0.2.7"),
            (ListKind::Host, "192.168"),
            (ListKind::Host, "mail*.host.example"),
            (ListKind::Spf, "alice@sender.example"),
            (ListKind::Sender, "alice@"),
            (ListKind::Sender, "<>"),
            (ListKind::Sender, "news*@sender.example"),
            (ListKind::Sender, "alice@*.sender.example"),
            (ListKind::Recipient, "a@x.example,b@x.example"),
            (ListKind::Recipient, "a@x.example b@x.example"),
            (ListKind::Recipient, "*@"),
            (ListKind::Recipient, "@"),
            (ListKind::Recipient, ""),
        ] {
            assert!(kind.canonical(entry).is_err(), "{} {entry}", kind.word());
        }
    }

    #[test]
    fn nothing_is_looked_up_where_there_is_no_entry() {
        let none = Delimiters::NONE;
        assert_eq!(ListSummary::default().candidates(&triplet("a@x.example", vec![]), none), []);
        let mut contents = ListSummary::default();
        contents.add(ListKind::Client, b"192.0.2.0/24");
        contents.add(ListKind::Client, b"2001:db8::/32");
        assert_eq!(
            contents.candidates(&triplet("a@x.example", vec![]), none),
            [(ListKind::Client, b"192.0.2.0/24".to_vec())]
        );
    }

    #[test]
    fn a_sender_counts_as_its_own_only_with_its_own_domain_verified() {
        let dkim = |d: &str| Identity::Dkim(Domain::parse(d.as_bytes()).unwrap());
        let yes = [spf("mail.x.example"), dkim("x.example"), dkim("mail.x.example")];
        let no = [spf("x.example"), spf("other.example"), dkim("other.example"), dkim("a.mail.x.example")];
        for identity in yes {
            assert!(sender_is_authenticated(&triplet("a@Mail.X.example", vec![identity])));
        }
        for identity in no {
            assert!(!sender_is_authenticated(&triplet("a@Mail.X.example", vec![identity])));
        }
        assert!(!sender_is_authenticated(&triplet("", vec![spf("x.example")])));
    }
}
