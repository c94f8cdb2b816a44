//! The administrator's whitelist: what an entry may be, and which entries a triplet could match. Pure; the entries are in
//! the store, each under the hash of its kind and text, so a look-up is a handful of reads however many there are.

use crate::identity::{Domain, Identity};
pub use crate::triplet::ListKind;
use crate::triplet::Triplet;
use ipnetwork::IpNetwork;
use std::net::IpAddr;

impl ListKind {
    /// The text of an entry in the one form that is stored and looked up.
    ///
    /// # Errors
    /// What was expected instead.
    pub fn canonical(self, text: &str) -> Result<Vec<u8>, &'static str> {
        match self {
            Self::Client => match text.parse::<IpNetwork>() {
                Ok(network) if network.prefix() > 0 => Ok(network_text(network.ip(), network.prefix())),
                _ => Err("an IP address or network such as 192.0.2.0/24"),
            },
            Self::Host | Self::Spf | Self::Dkim => domain(text).ok_or("a domain such as example.org"),
            Self::Sender => address(text).ok_or("an address or a domain such as example.org"),
            Self::Recipient => {
                let local = text.strip_suffix('@').filter(|local| !local.is_empty() && !local.contains('@'));
                let whole = local.map(|_| text.to_ascii_lowercase().into_bytes());
                whole.or_else(|| address(text)).ok_or("an address, local@ or a domain such as example.org")
            }
        }
    }
}

fn domain(text: &str) -> Option<Vec<u8>> {
    Domain::parse(text.as_bytes()).map(|domain| domain.as_bytes().to_vec())
}

fn address(text: &str) -> Option<Vec<u8>> {
    match text.rsplit_once('@') {
        Some((local, at)) if !local.is_empty() && domain(at).is_some() => {
            Some(text.to_ascii_lowercase().into_bytes())
        }
        Some(_) => None,
        None => domain(text),
    }
}

fn network_text(address: IpAddr, prefix: u8) -> Vec<u8> {
    // An IpNetwork keeps the address it was given; its network is what an entry names.
    let network = IpNetwork::new(address, prefix).map(|n| n.network()).unwrap_or(address);
    format!("{network}/{prefix}").into_bytes()
}

/// Which entries there are at all, so that nothing is looked up in vain. In the store as one record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// A bit for each kind.
    pub kinds: u8,
    /// A bit for each prefix length of IPv4 networks, 1 to 32.
    pub ipv4: u32,
    /// A bit for each prefix length of IPv6 networks, 1 to 128.
    pub ipv6: u128,
}

impl Contents {
    /// Adds an entry in its canonical form.
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

    /// The canonical texts of the entries that `triplet` would match, those of clients first.
    #[must_use]
    pub fn candidates(&self, triplet: &Triplet<'_>) -> Vec<(ListKind, Vec<u8>)> {
        let mut found = Vec::new();
        if self.kinds == 0 {
            return found;
        }
        if let Some(client) = triplet.client.filter(|_| self.has(ListKind::Client)) {
            let client = client.to_canonical();
            let is_v4 = client.is_ipv4();
            let used = |bit: u8| {
                if is_v4 { bit < 32 && self.ipv4 >> bit & 1 == 1 } else { self.ipv6 >> bit & 1 == 1 }
            };
            let prefixes = (0..128).filter(|&bit| used(bit)).map(|bit| bit + 1);
            found.extend(prefixes.map(|prefix| (ListKind::Client, network_text(client, prefix))));
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
        let sender = triplet.sender.to_ascii_lowercase();
        for (kind, address) in
            [(ListKind::Sender, &sender[..]), (ListKind::Recipient, triplet.recipient.as_bytes())]
        {
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

/// Whether the sender's domain is vouched for: SPF passed for it, or it or a domain above it signed. Senders are forged;
/// an entry for a sender counts only then, unless the administrator insists.
#[must_use]
pub fn sender_is_authenticated(triplet: &Triplet<'_>) -> bool {
    let Some(at) = triplet.sender.iter().rposition(|&byte| byte == b'@') else { return false };
    let Some(sender) = triplet.sender.get(at + 1..).and_then(Domain::parse) else { return false };
    triplet.identities.iter().any(|identity| match identity {
        Identity::Spf(domain) => *domain == sender,
        Identity::Dkim(domain) => parents(sender.as_bytes()).any(|parent| parent == domain.as_bytes()),
        Identity::Network(_) | Identity::Host(_) => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{ClientNetwork, Prefixes};
    use crate::sender::Level;

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
        let mut contents = Contents::default();
        let text = kind.canonical(entry).unwrap();
        contents.add(kind, &text);
        contents.candidates(triplet).contains(&(kind, text))
    }

    #[test]
    fn an_entry_matches_what_it_names_and_nothing_else() {
        let triplet = triplet("Alice@mail.sender.example", vec![spf("mail.sender.example")]);
        for (kind, entry) in [
            (ListKind::Client, "192.0.2.77"),
            (ListKind::Client, "192.0.2.99/24"),
            (ListKind::Client, "128.0.0.0/1"),
            (ListKind::Host, "Host.Example"),
            (ListKind::Host, "mx1.mail.host.example"),
            (ListKind::Spf, "sender.example"),
            (ListKind::Sender, "alice@mail.sender.example"),
            (ListKind::Sender, "sender.example"),
            (ListKind::Recipient, "BOB@rcpt.example"),
            (ListKind::Recipient, "bob@"),
            (ListKind::Recipient, "rcpt.example"),
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

    #[test]
    fn an_entry_that_names_nothing_is_refused() {
        for (kind, entry) in [
            (ListKind::Client, "0.0.0.0/0"),
            (ListKind::Client, "example.org"),
            (ListKind::Client, "192.0.2.0/33"),
            (ListKind::Host, "localhost"),
            (ListKind::Host, "a b.example"),
            (ListKind::Sender, "@sender.example"),
            (ListKind::Sender, "alice@"),
            (ListKind::Recipient, "@"),
            (ListKind::Recipient, ""),
        ] {
            assert!(kind.canonical(entry).is_err(), "{} {entry}", kind.word());
        }
    }

    #[test]
    fn nothing_is_looked_up_where_there_is_no_entry() {
        assert_eq!(Contents::default().candidates(&triplet("a@x.example", vec![])), []);
        let mut contents = Contents::default();
        contents.add(ListKind::Client, b"192.0.2.0/24");
        contents.add(ListKind::Client, b"2001:db8::/32");
        assert_eq!(
            contents.candidates(&triplet("a@x.example", vec![])),
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
