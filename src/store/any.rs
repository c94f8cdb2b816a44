//! Records of any kind, for whoever moves them: a repair, an import.

use super::entries::{Entry, Kind};
use super::record::{Facts, LONGEST_TEXT, Record, Texts};
use crate::identity::{ClientNetwork, Domain, Identity};
use crate::reply::By;
use crate::sender::Level;
use crate::time::Timestamp;
use crate::triplet::{Key, Secret, Triplet};
use ipnetwork::IpNetwork;

/// A record of any kind but the heads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Any {
    /// Of a triplet or an identity.
    Attempt(Record),
    /// One that stands for itself.
    Entry(Entry),
}

impl Any {
    /// The record that `value` holds; `None` for the heads, and for an unknown version or kind.
    #[must_use]
    pub fn decode(value: &[u8]) -> Option<Self> {
        Record::decode(value).map(Self::Attempt).or_else(|| Entry::decode(value).map(Self::Entry))
    }

    /// The record's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Attempt(record) => record.encode(),
            Self::Entry(entry) => entry.encode(),
        }
    }

    /// To be deleted after that.
    #[must_use]
    pub const fn expires(&self) -> Timestamp {
        match self {
            Self::Attempt(record) => record.expires,
            Self::Entry(entry) => entry.expires,
        }
    }

    /// When it was last written, as far as it says.
    #[must_use]
    pub fn moment(&self) -> Timestamp {
        match self {
            Self::Entry(entry) => entry.since,
            Self::Attempt(record) => match record.facts {
                Facts::Pending { record, .. } => record.first_seen,
                Facts::Known(known) => known.passed.max(known.last_seen),
                Facts::Identity(earned) => earned.counted.max(earned.last_seen),
            },
        }
    }

    /// Of an entry.
    #[must_use]
    pub const fn kind(&self) -> Option<Kind> {
        if let Self::Entry(entry) = self { Some(entry.kind) } else { None }
    }

    /// Whether it belongs to the first attempts.
    #[must_use]
    pub const fn is_pending(&self) -> bool {
        matches!(self, Self::Attempt(Record { facts: Facts::Pending { .. }, .. }))
    }

    /// Leaves out what a store with `privacy = true` does not keep. The whitelist is the administrator's.
    pub fn forget_texts(&mut self) {
        match self {
            Self::Attempt(record) => record.texts = Texts::default(),
            Self::Entry(entry) if !matches!(entry.kind, Kind::Listed(_)) => entry.texts = Default::default(),
            Self::Entry(_) => {}
        }
    }

    /// Its key in `known`, made from its texts; `None` where they do not suffice or it lasts only for hours.
    #[must_use]
    pub fn key(&self, secret: &Secret, level: Level) -> Option<Key> {
        let record = match self {
            Self::Entry(Entry { kind: Kind::Listed(kind), texts: [text, ..], .. }) => {
                return (!text.is_empty()).then(|| secret.listed(*kind, text));
            }
            Self::Entry(_) => return None,
            Self::Attempt(record) => Some(record).filter(|record| !record.texts.cut)?,
        };
        let (sender, recipient) = (&record.texts.sender, &record.texts.recipient);
        let identity = identity(record.by, &record.texts.identity)?;
        match record.facts {
            Facts::Identity(_) => Some(secret.identity(&identity)),
            Facts::Known(_) => {
                let triplet = Triplet::new(vec![identity], sender, recipient, b"", level);
                triplet.keys(secret).first().map(|keys| keys.known)
            }
            Facts::Pending { .. } => None,
        }
    }
}

impl Any {
    /// Its key under another store's secret, also where it lasts only for hours; `None` for first attempts,
    /// and where its texts do not suffice.
    #[must_use]
    pub fn key_elsewhere(&self, secret: &Secret, level: Level) -> Option<Key> {
        let Self::Entry(Entry { kind, texts, .. }) = self else { return self.key(secret, level) };
        if matches!(kind, Kind::Listed(_)) {
            return self.key(secret, level);
        }
        // One of that length may have been cut.
        let [network, sender, recipient] = texts;
        if texts.iter().any(|text| text.len() >= LONGEST_TEXT) {
            return None;
        }
        let network = if network.is_empty() { None } else { Some(identity(By::Network, network)?) };
        let triplet = Triplet::new(network.iter().cloned().collect(), sender, recipient, b"", level);
        let keyed = network.map(|network| secret.identity(&network));
        match kind {
            Kind::Trap => Some(secret.trap(keyed?)),
            Kind::Released if recipient.is_empty() => Some(secret.released_network(keyed?)),
            Kind::Released => triplet.released_keys(secret).get(usize::from(keyed.is_some())).copied(),
            _ if recipient.is_empty() => None,
            Kind::Replied => Some(triplet.replied_key(secret)),
            Kind::RepliedDomain => triplet.replied_domain_key(secret),
            Kind::JustSent | Kind::Listed(_) => triplet.just_sent_keys(secret).first().copied(),
        }
    }
}

/// An identity from its text.
#[must_use]
pub fn identity(by: By, text: &[u8]) -> Option<Identity> {
    let domain = || Domain::parse(text);
    Some(match by {
        By::Network => {
            let network: IpNetwork = str::from_utf8(text).ok()?.parse().ok()?;
            Identity::Network(ClientNetwork::new(network.ip(), network.prefix()))
        }
        By::Spf => Identity::Spf(domain()?),
        By::Dkim => Identity::Dkim(domain()?),
        By::Host => Identity::Host(domain()?),
    })
}
