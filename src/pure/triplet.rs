//! A triplet (client identities, sender key, recipient) and the keys it is stored under.
//!
//! A key is 16 bytes of SipHash-2-4-128 with the store's secret. Addresses can be longer than the 511 bytes
//! that LMDB allows; and an outsider who does not know the secret can neither aim at a page of the tree nor
//! make two triplets collide. What is hashed is unambiguous: a tag for the kind of key, then each part with
//! its length before it.

use crate::identity::{Domain, Identity, registered};
use crate::learned::Signs;
use crate::recipient::{Delimiters, Recipient};
use crate::sender::{Level, SenderKey, normalise};
use crate::time::Timestamp;
use crate::words;
use siphasher::sip128::SipHasher24;
use std::net::IpAddr;

/// The secret of a store. Whoever knows it can choose addresses whose keys collide.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Secret(pub [u8; 16]);

/// A record's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(pub [u8; 16]);

impl AsRef<[u8]> for Key {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// The kinds of keys: no key is of two kinds.
#[derive(Clone, Copy)]
enum Tag {
    Identity = 1,
    Known = 2,
    Pending = 3,
    Replied = 4,
    RepliedDomain = 5,
    Released = 6,
    Trap = 7,
    Listed = 8,
    JustSent = 9,
}

words! {
    /// What of a mail an entry of the whitelist names. The numbers are on disk.
    ListKind {
        /// An IP address or network.
        Client = "client",
        /// The domain of a client's verified host name, and all below it.
        Host = "host",
        /// A domain that SPF passed for, and all below it.
        Spf = "spf",
        /// A domain that signed with DKIM, and all below it.
        Dkim = "dkim",
        /// A sender's address or domain; counts only where SPF or DKIM vouches for the domain.
        Sender = "sender",
        /// A recipient's address, local@ in all domains, or a domain.
        Recipient = "recipient",
    }
}

impl Secret {
    fn key(&self, tag: Tag, parts: &[&[u8]]) -> Key {
        // In one piece: a hasher that is fed by bits takes three times as long.
        let mut bytes = Vec::with_capacity(128);
        bytes.push(tag as u8);
        for part in parts {
            bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
            bytes.extend_from_slice(part);
        }
        Key(SipHasher24::new_with_key(&self.0).hash(&bytes).as_bytes())
    }
}

/// Who writes to whom, from where.
#[derive(Clone, Debug)]
pub struct Triplet<'a> {
    /// What the client is known by: its network, then at most one identity of each other kind.
    pub identities: Vec<Identity>,
    /// The envelope sender as it came.
    pub sender: &'a [u8],
    /// The sender normalised.
    pub sender_key: SenderKey,
    /// Who is written to.
    pub recipient: Recipient,
    /// Further text that a retry must repeat; empty for none.
    pub fingerprint: &'a [u8],
    /// The client's address, for the whitelist.
    pub client: Option<IpAddr>,
    /// The client's verified host name, for the whitelist.
    pub host: Option<Domain>,
    /// What else Exim knows of the attempt.
    pub signs: Signs,
    /// When the message was first tried, where its client has come back for it: see
    /// [`Evidence`](crate::evidence::Evidence).
    pub came_back: Option<Timestamp>,
}

impl<'a> Triplet<'a> {
    /// A triplet; the sender is normalised here, at `level`, with the recipient known.
    #[must_use]
    pub fn new(
        identities: Vec<Identity>,
        sender: &'a [u8],
        recipient: &[u8],
        fingerprint: &'a [u8],
        level: Level,
    ) -> Self {
        let sender_key = normalise(sender, Some(recipient), level);
        let recipient = Recipient::new(recipient);
        let (client, host, signs, came_back) = (None, None, Signs::default(), None);
        Self { identities, sender, sender_key, recipient, fingerprint, client, host, signs, came_back }
    }

    /// The same with the recipient's address without its extension, if it has one. Not for the records of
    /// attempts: those have the whole address.
    #[must_use]
    pub fn without_extension(&self, delimiters: Delimiters) -> Option<Self> {
        let plain = delimiters.without_extension(self.recipient.as_bytes())?;
        Some(Self { recipient: Recipient::new(&plain), ..self.clone() })
    }

    /// The keys of each identity's records, in the order of the identities.
    #[must_use]
    pub fn keys(&self, secret: &Secret) -> Vec<IdentityKeys> {
        let (sender, recipient) = (self.sender_key.as_bytes(), self.recipient.as_bytes());
        let known = secret.key(Tag::Known, &[sender, recipient]);
        // A fingerprint binds the retry to the message; once known, the triplet passes with any.
        let pending = secret.key(Tag::Pending, &[sender, recipient, self.fingerprint]);
        let keys = |identity: &Identity| {
            let identity = secret.identity(identity);
            IdentityKeys { identity, known: known.of(identity), pending: pending.of(identity) }
        };
        self.identities.iter().map(keys).collect()
    }

    /// What the keys of the known triplets of all identities begin with.
    #[must_use]
    pub fn known_pair(&self, secret: &Secret) -> [u8; 8] {
        let Key([a, b, c, d, e, f, g, h, ..]) =
            secret.key(Tag::Known, &[self.sender_key.as_bytes(), self.recipient.as_bytes()]);
        [a, b, c, d, e, f, g, h]
    }

    /// The key of the permit that our user's message to the sender gives.
    #[must_use]
    pub fn replied_key(&self, secret: &Secret) -> Key {
        secret.key(Tag::Replied, &[self.sender_key.as_bytes(), self.recipient.as_bytes()])
    }

    /// The same for the whole domain of the sender; `None` where it has none.
    #[must_use]
    pub fn replied_domain_key(&self, secret: &Secret) -> Option<Key> {
        let domain = self.sender_domain()?;
        Some(secret.key(Tag::RepliedDomain, &[domain.as_bytes(), self.recipient.as_bytes()]))
    }

    /// The keys of the permit that our user's last message gives for an hour to all of a registered domain:
    /// that of the sender first, then that of the client's host.
    #[must_use]
    pub fn just_sent_keys(&self, secret: &Secret) -> Vec<Key> {
        let sender = self.sender_domain().and_then(|domain| registered(&domain));
        let host = self.identities.iter().find_map(|identity| match identity {
            Identity::Host(domain) => Some(domain.clone()),
            _ => None,
        });
        let key = |d: Domain| secret.key(Tag::JustSent, &[d.as_bytes(), self.recipient.as_bytes()]);
        [sender, host].into_iter().flatten().map(key).collect()
    }

    /// The domain of the sender; `None` for the null sender and other senders without one.
    #[must_use]
    pub fn sender_domain(&self) -> Option<Domain> {
        let at = self.sender.iter().rposition(|&b| b == b'@')?;
        Domain::parse(self.sender.get(at + 1..)?)
    }

    /// The keys under which a release of this mail may stand: of the sender and recipient, of these and the
    /// client's network, of the network alone.
    #[must_use]
    pub fn released_keys(&self, secret: &Secret) -> Vec<Key> {
        let pair = secret.key(Tag::Released, &[self.sender_key.as_bytes(), self.recipient.as_bytes()]);
        let network = self.identities.first().map(|identity| secret.identity(identity));
        [Some(pair), network.map(|n| pair.of(n)), network.map(|n| secret.released_network(n))]
            .into_iter()
            .flatten()
            .collect()
    }
}

impl Secret {
    /// The key of the record of what an identity has earned.
    #[must_use]
    pub fn identity(&self, identity: &Identity) -> Key {
        let kind = [identity.by() as u8];
        identity.with_bytes(|bytes| self.key(Tag::Identity, &[&kind, bytes]))
    }

    /// The key of the release of all mail of a network, from the network's own key.
    #[must_use]
    pub fn released_network(&self, network: Key) -> Key {
        self.key(Tag::Released, &[]).of(network)
    }

    /// The key of the trap of a network, from the network's own key.
    #[must_use]
    pub fn trap(&self, network: Key) -> Key {
        self.key(Tag::Trap, &[]).of(network)
    }

    /// The key of an entry of the whitelist, in its canonical form.
    #[must_use]
    pub fn listed(&self, kind: ListKind, text: &[u8]) -> Key {
        self.key(Tag::Listed, &[&[kind as u8], text])
    }
}

impl Key {
    /// The key of the record that `identity` has for the sender and recipient of this key. Their half stays
    /// in front, so that the records of all identities lie on one page. All bits depend on the secret.
    fn of(self, identity: Self) -> Self {
        let mut key = self;
        for (byte, other) in key.0.iter_mut().skip(8).zip(identity.0) {
            *byte ^= other;
        }
        key
    }
}

/// The keys of the records of one identity of a triplet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdentityKeys {
    /// What the identity earned, whatever the sender and recipient.
    pub identity: Key,
    /// The triplet that passed.
    pub known: Key,
    /// The first attempt.
    pub pending: Key,
}

impl IdentityKeys {
    /// The three of them.
    #[must_use]
    pub const fn each(&self) -> [Key; 3] {
        [self.identity, self.known, self.pending]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{ClientNetwork, Domain, Prefixes};

    const SECRET: Secret = Secret(*b"0123456789abcdef");

    fn keys(identity: Identity, sender: &[u8], recipient: &[u8], fingerprint: &[u8]) -> IdentityKeys {
        Triplet::new(vec![identity], sender, recipient, fingerprint, Level::Full).keys(&SECRET)[0]
    }

    fn network(address: &str) -> Identity {
        Identity::Network(ClientNetwork::of(address.parse().unwrap(), Prefixes::default()))
    }

    /// A store written by this version must be readable by the next: these bytes never change.
    #[test]
    fn keys_are_the_same_for_ever() {
        let keys = keys(network("192.0.2.1"), b"alice@example.org", b"bob@example.net", b"");
        let hex = |key: Key| key.0.iter().map(|b| format!("{b:02x}")).collect::<String>();
        assert_eq!(hex(keys.identity), "3c57519492910c68e5e3714a525bd613");
        assert_eq!(hex(keys.known), "a3914060862b5455871c4ebb0877657c");
        assert_eq!(hex(keys.pending), "ea22da68783d9dd038ac37251b14b658");
    }

    #[test]
    fn every_part_counts_and_no_part_runs_into_the_next() {
        let base = keys(network("192.0.2.1"), b"ab@x.example", b"cd@y.example", b"f");
        let same = keys(network("192.0.2.250"), b"AB@x.example", b"CD@Y.example", b"f");
        assert_eq!(base, same);
        let domain = || Domain::parse(b"x.example").unwrap();
        let others = [
            keys(network("192.0.3.1"), b"ab@x.example", b"cd@y.example", b"f"),
            keys(Identity::Spf(domain()), b"ab@x.example", b"cd@y.example", b"f"),
            keys(Identity::Dkim(domain()), b"ab@x.example", b"cd@y.example", b"f"),
            keys(network("192.0.2.1"), b"", b"cd@y.example", b"f"),
            keys(network("192.0.2.1"), b"ab@x.examplec", b"d@y.example", b"f"),
            keys(network("192.0.2.1"), b"ab@x.example", b"cd@y.examplef", b""),
        ];
        for (i, a) in others.iter().enumerate() {
            assert_ne!(base.pending, a.pending, "{i}");
            assert!(others[i + 1..].iter().all(|b| a.pending != b.pending), "{i}");
        }
    }

    #[test]
    fn a_fingerprint_binds_the_retry_but_not_the_known_triplet() {
        let one = keys(network("192.0.2.1"), b"a@x.example", b"b@y.example", b"one");
        let two = keys(network("192.0.2.1"), b"a@x.example", b"b@y.example", b"two");
        assert_eq!(one.known, two.known);
        assert_ne!(one.pending, two.pending);
    }

    #[test]
    fn another_secret_gives_other_keys() {
        let triplet =
            Triplet::new(vec![network("192.0.2.1")], b"a@x.example", b"b@y.example", b"", Level::Full);
        assert_ne!(triplet.keys(&SECRET), triplet.keys(&Secret([0; 16])));
    }
}
