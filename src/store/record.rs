//! The records, byte by byte. All numbers are little-endian; times are seconds since 1970 (UTC).
//!
//! Every record begins with its version and its kind. A record whose version or kind this library does not know is
//! skipped and counted, never overwritten. The expiry is written with the record, because windows and lifetimes may
//! differ from call to call: whoever tidies needs no settings.
//!
//! ```text
//! all      0  u8   version, 1
//!          1  u8   kind: 0 meta, 1 first attempt, 2 known triplet, 3 identity; 4 and 5: see standing.rs
//! meta     2  [16] the store's secret
//!         18  u32  when the store was made
//! others   2  u8   identity: 0 network, 1 SPF domain, 2 DKIM domain, 3 host domain
//!          3  u8   flags: 1 a text was cut to 255 bytes; 4 (kind 2) its identities were counted for it
//!          4  u32  first seen
//!          8  u32  expires: to be deleted after that
//! kind 1  12  u32  may pass from then on
//!         16  u32  fold of the client network's key: whose flood it may be part of
//!         20       texts: identity, sender, recipient
//! kind 2  12  u32  passed: the retry
//!         16  u32  last seen
//!         20       texts: identity, sender, recipient
//! kind 3  12  u32  counted: the last pass that was counted
//!         16  u32  last seen
//!         20  u32  passes counted
//!         24       text: identity
//! text     0  u8   length, then so many bytes; with `privacy = true` the texts are left out
//! ```

use crate::policy::{Earned, Found, Known, Pending};
use crate::reply::By;
use crate::time::Timestamp;
use crate::triplet::Secret;

const VERSION: u8 = 1;

const META: u8 = 0;
const PENDING: u8 = 1;
const KNOWN: u8 = 2;
const IDENTITY: u8 = 3;

/// Of `standing.rs`; its head is the same.
const STANDING: u8 = 4;

const CUT: u8 = 1;
const COUNTED: u8 = 4;

/// The texts of a record, for people. Empty where the store keeps none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Texts {
    /// The identity: a network or a domain.
    pub identity: Vec<u8>,
    /// The envelope sender as it first came.
    pub sender: Vec<u8>,
    /// The recipient.
    pub recipient: Vec<u8>,
    /// Whether one of them was longer than a record holds.
    pub cut: bool,
}

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Facts {
    /// A first attempt.
    Pending {
        /// What the decision needs.
        record: Pending,
        /// The moment from which a retry passes, by the rules of the first attempt.
        ripe: Timestamp,
        /// A fold of the client network's key.
        network: u32,
    },
    /// A known triplet.
    Known(Known),
    /// What an identity has earned.
    Identity(Earned),
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The kind of its identity.
    pub by: By,
    /// To be deleted after that.
    pub expires: Timestamp,
    /// What it says.
    pub facts: Facts,
    /// For people.
    pub texts: Texts,
}

impl Record {
    /// The record's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let (kind, first_seen) = match self.facts {
            Facts::Pending { record, .. } => (PENDING, record.first_seen),
            Facts::Known(record) => (KNOWN, record.first_seen),
            Facts::Identity(record) => (IDENTITY, record.first_seen),
        };
        let mut bytes = Vec::with_capacity(128);
        let texts = [&self.texts.identity, &self.texts.sender, &self.texts.recipient];
        let cut = self.texts.cut || texts.iter().any(|text| text.len() > LONGEST_TEXT);
        let counted = matches!(self.facts, Facts::Known(known) if known.counted);
        let flags = if cut { CUT } else { 0 } | if counted { COUNTED } else { 0 };
        bytes.extend([VERSION, kind, self.by as u8, flags]);
        let mut number = |n: u32| bytes.extend(n.to_le_bytes());
        number(first_seen.0);
        number(self.expires.0);
        match self.facts {
            Facts::Pending { ripe, network, .. } => {
                number(ripe.0);
                number(network);
            }
            Facts::Known(record) => {
                number(record.passed.0);
                number(record.last_seen.0);
            }
            Facts::Identity(record) => {
                number(record.counted.0);
                number(record.last_seen.0);
                number(record.passes);
            }
        }
        if texts.iter().any(|text| !text.is_empty()) {
            for text in texts.iter().take(if kind == IDENTITY { 1 } else { 3 }) {
                bytes.push(text.len().min(LONGEST_TEXT) as u8);
                bytes.extend(text.iter().take(LONGEST_TEXT));
            }
        }
        bytes
    }

    /// The record that `bytes` hold; `None` for an unknown version or kind, or a record that ends too soon.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        let (by, flags, expires, facts) = reader.numbers()?;
        let mut texts = Texts { cut: flags & CUT != 0, ..Texts::default() };
        if !reader.0.is_empty() {
            texts.identity = reader.text()?;
            if !matches!(facts, Facts::Identity(_)) {
                texts.sender = reader.text()?;
                texts.recipient = reader.text()?;
            }
        }
        Some(Self { by, expires, facts, texts })
    }
}

/// The longest text a record holds: addresses that people write are shorter, and a record must stay well under
/// the size at which LMDB gives it pages of its own.
const LONGEST_TEXT: usize = 255;

/// The first attempt that `bytes` hold. Like the next two it reads no texts: this is the path of every decision.
#[must_use]
pub fn pending(bytes: Option<&[u8]>) -> Found<Pending> {
    found(bytes, |facts| if let Facts::Pending { record, .. } = facts { Some(record) } else { None })
}

/// The known triplet that `bytes` hold.
#[must_use]
pub fn known(bytes: Option<&[u8]>) -> Found<Known> {
    found(bytes, |facts| if let Facts::Known(known) = facts { Some(known) } else { None })
}

/// What an identity has earned, as `bytes` hold it.
#[must_use]
pub fn earned(bytes: Option<&[u8]>) -> Found<Earned> {
    found(bytes, |facts| if let Facts::Identity(earned) = facts { Some(earned) } else { None })
}

fn found<T>(bytes: Option<&[u8]>, pick: fn(Facts) -> Option<T>) -> Found<T> {
    let Some(bytes) = bytes else { return Found::Absent };
    let read = Reader(bytes).numbers().and_then(|(.., facts)| pick(facts));
    read.map_or(Found::Unreadable, Found::Here)
}

/// What a tidying writer must know of a neighbour: whether it may go, and whose flood it may be part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// To be deleted after that.
    pub expires: Timestamp,
    /// First seen.
    pub first_seen: Timestamp,
    /// The fold of the client network's key, of a first attempt.
    pub network: Option<u32>,
}

/// Reads a neighbour; `None` for what is not ours to judge.
#[must_use]
pub fn neighbour(bytes: &[u8]) -> Option<Neighbour> {
    let mut reader = Reader(bytes);
    let [version, kind, _, _] = reader.array()?;
    if version != VERSION || !matches!(kind, PENDING | KNOWN | IDENTITY | STANDING) {
        return None;
    }
    let (first_seen, expires) = (reader.time()?, reader.time()?);
    let network = if kind == PENDING { reader.number().and(reader.number()) } else { None };
    Some(Neighbour { expires, first_seen, network })
}

/// What a store is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Meta {
    /// Its secret.
    pub secret: Secret,
    /// When it was made.
    pub made: Timestamp,
}

impl Meta {
    /// The record's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION, META];
        bytes.extend(self.secret.0);
        bytes.extend(self.made.0.to_le_bytes());
        bytes
    }

    /// The record that `bytes` hold; `None` for an unknown version.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        let head: [u8; 2] = reader.array()?;
        if head != [VERSION, META] {
            return None;
        }
        Some(Self { secret: Secret(reader.array()?), made: reader.time()? })
    }
}

/// Reads from the front.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*head)
    }

    /// All of a record but its texts: its identity's kind, flags, expiry and facts.
    fn numbers(&mut self) -> Option<(By, u8, Timestamp, Facts)> {
        let [version, kind, by, flags] = self.array()?;
        if version != VERSION {
            return None;
        }
        let by = By::ALL.get(usize::from(by)).copied()?;
        let first_seen = self.time()?;
        let expires = self.time()?;
        let facts = match kind {
            PENDING => {
                Facts::Pending { record: Pending { first_seen }, ripe: self.time()?, network: self.number()? }
            }
            KNOWN => Facts::Known(Known {
                first_seen,
                passed: self.time()?,
                last_seen: self.time()?,
                counted: flags & COUNTED != 0,
            }),
            IDENTITY => Facts::Identity(Earned {
                first_seen,
                counted: self.time()?,
                last_seen: self.time()?,
                passes: self.number()?,
            }),
            _ => return None,
        };
        Some((by, flags, expires, facts))
    }

    fn number(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn time(&mut self) -> Option<Timestamp> {
        self.number().map(Timestamp)
    }

    fn text(&mut self) -> Option<Vec<u8>> {
        let [length] = self.array()?;
        let (text, rest) = self.0.split_at_checked(usize::from(length))?;
        self.0 = rest;
        Some(text.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts() -> Texts {
        let text = |t: &str| t.as_bytes().to_vec();
        Texts { identity: text("192.0.2.0/24"), sender: text("a@x"), recipient: text("b@y"), cut: false }
    }

    fn samples() -> [Record; 3] {
        let t = Timestamp;
        let record = |facts, texts| Record { by: By::Spf, expires: t(0x0403_0201), facts, texts };
        [
            record(
                Facts::Pending { record: Pending { first_seen: t(1) }, ripe: t(2), network: 0xdead_beef },
                texts(),
            ),
            record(
                Facts::Known(Known { first_seen: t(1), passed: t(2), last_seen: t(3), counted: true }),
                texts(),
            ),
            record(
                Facts::Identity(Earned { first_seen: t(1), counted: t(2), last_seen: t(3), passes: 4 }),
                Texts { identity: b"x.example".to_vec(), ..Texts::default() },
            ),
        ]
    }

    /// A store written today must be read by every later version: these bytes never change.
    #[test]
    fn the_bytes_are_those_of_the_table() {
        let expected: [&[u8]; 3] = [
            b"\x01\x01\x01\x00\x01\0\0\0\x01\x02\x03\x04\x02\0\0\0\xef\xbe\xad\xde\x0c192.0.2.0/24\x03a@x\x03b@y",
            b"\x01\x02\x01\x04\x01\0\0\0\x01\x02\x03\x04\x02\0\0\0\x03\0\0\0\x0c192.0.2.0/24\x03a@x\x03b@y",
            b"\x01\x03\x01\x00\x01\0\0\0\x01\x02\x03\x04\x02\0\0\0\x03\0\0\0\x04\0\0\0\x09x.example",
        ];
        for (record, expected) in samples().iter().zip(expected) {
            assert_eq!(record.encode(), expected);
            assert_eq!(Record::decode(expected).as_ref(), Some(record));
        }
        let meta = Meta { secret: Secret([7; 16]), made: Timestamp(0x0403_0201) };
        assert_eq!(meta.encode(), [&[1, 0][..], &[7; 16], &[1, 2, 3, 4]].concat());
        assert!(Meta::decode(&meta.encode()) == Some(meta));
    }

    #[test]
    fn the_short_readers_see_what_the_long_one_sees() {
        let [a, b, c] = samples().map(|r| r.encode());
        assert_eq!(pending(Some(&a)), Found::Here(Pending { first_seen: Timestamp(1) }));
        let t = Timestamp;
        assert_eq!(
            known(Some(&b)),
            Found::Here(Known { first_seen: t(1), passed: t(2), last_seen: t(3), counted: true })
        );
        let expected = Earned { first_seen: t(1), counted: t(2), last_seen: t(3), passes: 4 };
        assert_eq!(earned(Some(&c)), Found::Here(expected));
        assert_eq!(pending(Some(&b)), Found::Unreadable);
        assert_eq!(pending(None), Found::Absent);
        let head = Neighbour { expires: t(0x0403_0201), first_seen: t(1), network: Some(0xdead_beef) };
        assert_eq!(neighbour(&a), Some(head));
        assert_eq!(neighbour(&b), Some(Neighbour { network: None, ..head }));
    }

    #[test]
    fn privacy_leaves_the_texts_out() {
        for record in samples() {
            let record = Record { texts: Texts::default(), ..record };
            assert!(record.encode().len() <= 24);
            assert_eq!(Record::decode(&record.encode()), Some(record));
        }
    }

    #[test]
    fn unknown_versions_kinds_and_torn_records_are_not_read() {
        for record in samples() {
            let good = record.encode();
            for (place, value) in [(0, 2), (1, 9), (2, 4)] {
                let mut bytes = good.clone();
                bytes[place] = value;
                assert_eq!(Record::decode(&bytes), None);
            }
            let fixed = if matches!(record.facts, Facts::Identity(_)) { 24 } else { 20 };
            for end in (0..good.len()).filter(|&end| end != fixed) {
                assert_eq!(Record::decode(&good[..end]), None, "{end}");
            }
        }
        let mut bytes = samples()[0].encode();
        bytes[0] = 2;
        assert_eq!(pending(Some(&bytes)), Found::Unreadable);
        assert_eq!(neighbour(&bytes), None);
        assert!(Meta::decode(&[2; 22]).is_none());
    }

    #[test]
    fn a_long_text_is_cut() {
        let [mut record, ..] = samples();
        record.texts.sender = vec![b'x'; 300];
        let read = Record::decode(&record.encode()).unwrap();
        assert_eq!(read.texts.sender.len(), 255);
        assert!(read.texts.cut);
        assert_eq!(read.texts.recipient, b"b@y");
    }
}
