//! Records that stand for themselves, not for an attempt: leaves, traps, and the administrator's whitelist. The head is
//! that of [`record`](super::record), so whoever tidies needs to know nothing of them.
//!
//! ```text
//! 0  u8   version, 1
//! 1  u8   kind: 4
//! 2  u8   0 replied, 1 replied for a domain, 2 released, 3 trap, 4 just sent to a registered domain,
//!         16 to 21 whitelist: client host spf dkim sender recipient
//! 3  u8   flags: 2 a sender counts also where it is not authenticated
//! 4  u32  since
//! 8  u32  expires: to be deleted after that
//! 12 u32  until
//! 16      three texts. replied, just sent, released: identity, sender, recipient; trap: network; whitelist: entry, comment
//! ```
//!
//! One more record, under the key `standing`, says which of them there are at all: version, kind 5, then the kinds of whitelist
//! entries (u8), their prefix lengths (u32 and u128), and the last moments at which a trap, a release and a reply expire
//! (three u32).

use crate::policy::{Leave, Trap};
use crate::time::Timestamp;
use crate::whitelist::{Contents, ListKind};

const VERSION: u8 = 1;
const STANDING: u8 = 4;
const SUMMARY: u8 = 5;
const UNAUTHENTICATED: u8 = 2;
const FIRST_LIST: u8 = 16;

/// What stands.
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
    /// An entry of the whitelist.
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

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// What it is.
    pub kind: Kind,
    /// A sender's entry counts also where the sender is not authenticated.
    pub unauthenticated: bool,
    /// When it was made.
    pub since: Timestamp,
    /// To be deleted after that.
    pub expires: Timestamp,
    /// The last moment at which it counts.
    pub until: Timestamp,
    /// For people, and for rebuilding the summary: see the head of this file. Cut to 255 bytes each.
    pub texts: [Vec<u8>; 3],
}

impl Standing {
    /// The record's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let flags = if self.unauthenticated { UNAUTHENTICATED } else { 0 };
        let mut bytes = vec![VERSION, STANDING, self.kind.number(), flags];
        for time in [self.since, self.expires, self.until] {
            bytes.extend(time.0.to_le_bytes());
        }
        for text in &self.texts {
            let text = text.get(..text.len().min(255)).unwrap_or_default();
            bytes.push(text.len() as u8);
            bytes.extend(text);
        }
        bytes
    }

    /// The record that `bytes` hold; `None` for another kind or version.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (head, mut rest) = bytes.split_first_chunk::<16>()?;
        let [VERSION, STANDING, kind, flags, times @ ..] = *head else { return None };
        let mut times =
            times.chunks_exact(4).filter_map(|t| Some(Timestamp(u32::from_le_bytes(t.try_into().ok()?))));
        let mut text = || {
            let (length, tail) = rest.split_first()?;
            let (text, tail) = tail.split_at_checked(usize::from(*length))?;
            rest = tail;
            Some(text.to_vec())
        };
        Some(Self {
            kind: Kind::from_number(kind)?,
            unauthenticated: flags & UNAUTHENTICATED != 0,
            since: times.next()?,
            expires: times.next()?,
            until: times.next()?,
            texts: [text()?, text()?, text()?],
        })
    }

    /// As a leave.
    #[must_use]
    pub const fn leave(&self) -> Leave {
        Leave { until: self.until }
    }

    /// As a trap.
    #[must_use]
    pub const fn trap(&self) -> Trap {
        Trap { set: self.since, until: self.until }
    }
}

/// Which standing records there are at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// The whitelist.
    pub list: Contents,
    /// When the last trap expires.
    pub trapped: Timestamp,
    /// When the last release expires.
    pub released: Timestamp,
    /// When the last leave to reply expires.
    pub replied: Timestamp,
}

impl Summary {
    /// Takes a record into account.
    pub fn add(&mut self, standing: &Standing) {
        match standing.kind {
            Kind::Listed(kind) => self.list.add(kind, standing.texts.first().map_or(&[], Vec::as_slice)),
            Kind::Trap => self.trapped = self.trapped.max(standing.expires),
            Kind::Released => self.released = self.released.max(standing.expires),
            Kind::Replied | Kind::RepliedDomain | Kind::JustSent => {
                self.replied = self.replied.max(standing.expires)
            }
        }
    }

    /// The record's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION, SUMMARY, self.list.kinds];
        bytes.extend(self.list.ipv4.to_le_bytes());
        bytes.extend(self.list.ipv6.to_le_bytes());
        for time in [self.trapped, self.released, self.replied] {
            bytes.extend(time.0.to_le_bytes());
        }
        bytes
    }

    /// The record that `bytes` hold; `None` for another kind or version.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (head, rest) = bytes.split_first_chunk::<3>()?;
        let [VERSION, SUMMARY, kinds] = *head else { return None };
        let (ipv4, rest) = rest.split_first_chunk::<4>()?;
        let (ipv6, rest) = rest.split_first_chunk::<16>()?;
        let list = Contents { kinds, ipv4: u32::from_le_bytes(*ipv4), ipv6: u128::from_le_bytes(*ipv6) };
        let mut times =
            rest.chunks_exact(4).filter_map(|t| Some(Timestamp(u32::from_le_bytes(t.try_into().ok()?))));
        Some(Self { list, trapped: times.next()?, released: times.next()?, replied: times.next()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(kind: Kind) -> Standing {
        Standing {
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
        let record = standing(Kind::Listed(ListKind::Recipient));
        let expected = b"\x01\x04\x15\x02\x01\0\0\0\x01\x02\x03\x04\x02\0\0\0\x0c192.0.2.0/24\x03why\0";
        assert_eq!(record.encode(), expected);
        assert_eq!(Standing::decode(expected), Some(record));
        for end in 0..expected.len() {
            assert_eq!(Standing::decode(&expected[..end]), None);
        }
    }

    #[test]
    fn every_kind_has_its_number() {
        let lists = ListKind::ALL.iter().map(|&kind| Kind::Listed(kind));
        for kind in [Kind::Replied, Kind::RepliedDomain, Kind::Released, Kind::Trap, Kind::JustSent]
            .into_iter()
            .chain(lists)
        {
            assert_eq!(Standing::decode(&standing(kind).encode()).map(|s| s.kind), Some(kind));
        }
        let mut bytes = standing(Kind::Trap).encode();
        bytes[2] = 22;
        assert_eq!(Standing::decode(&bytes), None);
    }

    #[test]
    fn a_summary_knows_what_was_added() {
        let mut summary = Summary::default();
        for kind in [Kind::Trap, Kind::Released, Kind::RepliedDomain, Kind::Listed(ListKind::Client)] {
            summary.add(&standing(kind));
        }
        let moment = Timestamp(0x0403_0201);
        assert_eq!((summary.trapped, summary.released, summary.replied), (moment, moment, moment));
        assert_eq!((summary.list.kinds, summary.list.ipv4), (1, 1 << 23));
        assert_eq!(Summary::decode(&summary.encode()), Some(summary));
        assert_eq!(Summary::decode(&[9; 60]), None);
    }
}
