//! Entries: records that stand for themselves, not for an attempt. Permits, traps, and the administrator's
//! whitelist. Their front is that of every [`record`](super::record), so whoever tidies needs to know nothing
//! of them.
//!
//! ```text
//! 2  u8   0 replied, 1 replied for a domain, 2 released, 3 trap, 4 just sent to a registered domain,
//!         16 to 21 whitelist: client host spf dkim sender recipient
//! 3  u8   flags: 2 a sender counts also where it is not authenticated
//! 4  u32  since
//! 8  u32  expires: to be deleted after that
//! 12 u32  until
//! 16      three texts. replied, just sent, released: identity, sender, recipient; trap: network; whitelist: entry, comment
//! ```
//!
//! One more record, under the key `standing`, says which of them there are at all: version, kind 5, then the
//! kinds of whitelist entries (u8), their prefix lengths (u32 and u128), and the last times at which a trap,
//! a release and a reply expire (three u32).

use super::record::{Decoder, ENTRY, Encoder, Head, VERSION};
use crate::evidence::{Permit, Trap};
use crate::time::Timestamp;
use crate::whitelist::{ListKind, ListSummary};

const SUMMARY: u8 = 5;
const UNAUTHENTICATED: u8 = 2;
const FIRST_LIST: u8 = 16;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Our user wrote to this sender.
    Replied,
    /// Our user wrote to this domain.
    RepliedDomain,
    /// The administrator released this mail.
    Released,
    /// The network is trapped.
    Trap,
    /// Our user wrote to this registered domain within the last hour or two.
    JustSent,
    /// The administrator whitelisted this.
    Listed(ListKind),
}

impl Kind {
    fn number(self) -> u8 {
        match self {
            Self::Replied => 0,
            Self::RepliedDomain => 1,
            Self::Released => 2,
            Self::Trap => 3,
            Self::JustSent => 4,
            Self::Listed(kind) => FIRST_LIST + kind as u8,
        }
    }

    fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Replied,
            1 => Self::RepliedDomain,
            2 => Self::Released,
            3 => Self::Trap,
            4 => Self::JustSent,
            _ => Self::Listed(*ListKind::ALL.get(usize::from(number.checked_sub(FIRST_LIST)?))?),
        })
    }
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub kind: Kind,
    /// A sender's entry counts also where the sender is not authenticated.
    pub unauthenticated: bool,
    /// When it was made.
    pub since: Timestamp,
    /// To be deleted after that.
    pub expires: Timestamp,
    /// The last second in which it counts.
    pub until: Timestamp,
    /// For people, and for rebuilding the summary: see the head of this file. Cut to 255 bytes each.
    pub texts: [Vec<u8>; 3],
}

impl Entry {
    /// An entry that counts, and is kept, from `since` to `until`.
    #[must_use]
    pub const fn new(kind: Kind, since: Timestamp, until: Timestamp, texts: [Vec<u8>; 3]) -> Self {
        Self { kind, unauthenticated: false, since, expires: until, until, texts }
    }

    /// The record's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let flags = if self.unauthenticated { UNAUTHENTICATED } else { 0 };
        let mut writer = Encoder::record(ENTRY, self.kind.number(), flags, [self.since, self.expires]);
        writer.numbers(&[self.until.0]);
        writer.texts(&self.texts.each_ref().map(Vec::as_slice));
        writer.0
    }

    /// The record that `bytes` hold; `None` for another kind or version.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Decoder(bytes);
        let Head { kind: ENTRY, what, flags, first_seen: since, expires } = reader.head()? else {
            return None;
        };
        let until = reader.time()?;
        let mut text = || reader.text().map(<[u8]>::to_vec);
        let texts = [text()?, text()?, text()?];
        let unauthenticated = flags & UNAUTHENTICATED != 0;
        Some(Self { kind: Kind::from_number(what)?, unauthenticated, since, expires, until, texts })
    }

    /// As a permit.
    #[must_use]
    pub const fn permit(&self) -> Permit {
        Permit { until: self.until }
    }

    /// As a trap.
    #[must_use]
    pub const fn trap(&self) -> Trap {
        Trap { set: self.since, until: self.until }
    }
}

/// Which entries there are at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// The whitelist.
    pub list: ListSummary,
    /// When the last trap expires.
    pub trapped: Timestamp,
    /// When the last release expires.
    pub released: Timestamp,
    /// When the last permit to reply expires.
    pub replied: Timestamp,
}

impl Summary {
    /// Takes an entry into account.
    pub fn add(&mut self, entry: &Entry) {
        let expires = match entry.kind {
            Kind::Listed(kind) => {
                return self.list.add(kind, entry.texts.first().map_or(&[], Vec::as_slice));
            }
            Kind::Trap => &mut self.trapped,
            Kind::Released => &mut self.released,
            Kind::Replied | Kind::RepliedDomain | Kind::JustSent => &mut self.replied,
        };
        *expires = entry.expires.max(*expires);
    }

    /// The record's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Encoder(vec![VERSION, SUMMARY, self.list.kinds]);
        writer.numbers(&[self.list.ipv4]);
        writer.0.extend(self.list.ipv6.to_le_bytes());
        writer.numbers(&[self.trapped, self.released, self.replied].map(|time| time.0));
        writer.0
    }

    /// The record that `bytes` hold; `None` for another kind or version.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Decoder(bytes);
        let [VERSION, SUMMARY, kinds] = reader.array()? else { return None };
        let (ipv4, ipv6) = (reader.number()?, reader.array().map(u128::from_le_bytes)?);
        let list = ListSummary { kinds, ipv4, ipv6 };
        Some(Self { list, trapped: reader.time()?, released: reader.time()?, replied: reader.time()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(kind: Kind) -> Entry {
        Entry {
            kind,
            unauthenticated: true,
            since: Timestamp(1),
            expires: Timestamp(0x0403_0201),
            until: Timestamp(2),
            texts: [b"192.0.2.0/24".to_vec(), b"why".to_vec(), Vec::new()],
        }
    }

    /// A store written today must be read by every later version: these bytes never change.
    #[test]
    fn the_bytes_are_those_of_the_table() {
        let record = entry(Kind::Listed(ListKind::Recipient));
        let expected = b"\x01\x04\x15\x02\x01\0\0\0\x01\x02\x03\x04\x02\0\0\0\x0c192.0.2.0/24\x03why\0";
        assert_eq!(record.encode(), expected);
        assert_eq!(Entry::decode(expected), Some(record));
        for end in 0..expected.len() {
            assert_eq!(Entry::decode(&expected[..end]), None);
        }
    }

    #[test]
    fn every_kind_has_its_number() {
        let lists = ListKind::ALL.iter().map(|&kind| Kind::Listed(kind));
        for kind in [Kind::Replied, Kind::RepliedDomain, Kind::Released, Kind::Trap, Kind::JustSent]
            .into_iter()
            .chain(lists)
        {
            assert_eq!(Entry::decode(&entry(kind).encode()).map(|e| e.kind), Some(kind));
        }
        let mut bytes = entry(Kind::Trap).encode();
        bytes[2] = 22;
        assert_eq!(Entry::decode(&bytes), None);
    }

    #[test]
    fn a_summary_knows_what_was_added() {
        let mut summary = Summary::default();
        for kind in [Kind::Trap, Kind::Released, Kind::RepliedDomain, Kind::Listed(ListKind::Client)] {
            summary.add(&entry(kind));
        }
        let moment = Timestamp(0x0403_0201);
        assert_eq!((summary.trapped, summary.released, summary.replied), (moment, moment, moment));
        assert_eq!((summary.list.kinds, summary.list.ipv4), (1, 1 << 23));
        assert_eq!(Summary::decode(&summary.encode()), Some(summary));
        assert_eq!(Summary::decode(&[9; 60]), None);
    }
}
