//! The records, byte by byte. All numbers are little-endian; times are seconds since 1970 (UTC).
//!
//! Every record begins with its version and its kind. A record whose version or kind this library does not
//! know is skipped and counted, never overwritten. The expiry is written with the record, because windows and
//! lifetimes may differ from call to call: whoever tidies needs no settings.
//!
//! ```text
//! all      0  u8   version, 1
//!          1  u8   kind: 0 meta, 1 first attempt, 2 known triplet, 3 identity; 4 entry, 5 summary: see entries.rs;
//!                  6 update: see update.rs; 7 and 8 head of the queue and what was carried: see queue.rs
//! meta     2  [16] the store's secret
//!         18  u32  when the store was made
//! 1 to 4   2  u8   identity: 0 network, 1 SPF domain, 2 DKIM domain, 3 host domain
//!          3  u8   flags: 1 a text was cut to 255 bytes; 4 (kind 2) its identity was counted for it, once and as often
//!                  again as the five highest bits say
//!          4  u32  first seen
//!          8  u32  expires: to be deleted after that
//! kind 1  12  u32  may pass from then on
//!         16  u32  fold of the client network's key: whose flood it may be part of
//!         20       texts: identity, sender, recipient
//!                  With flag 8 a retry has passed at the first of these times, and the update of `known` is queued.
//!                  With flag 16 mail has passed from another network because of it, and no more does.
//!                  With flag 32 these stand behind the texts, of which there are empty ones then with `privacy = true`:
//!             u32  the pattern that it counts for: see learned.rs
//!             [8]  the first half of the key of its client's network
//! kind 2  12  u32  passed: the retry
//!         16  u32  last seen
//!         20       texts: identity, sender, recipient
//! kind 3  12  u32  counted: the last pass that was counted
//!         16  u32  last seen
//!         20  u32  passes counted
//!         24       text: identity; then, only where spam was counted:
//!             u32  the last outcomes: the lowest bit for the newest, 1 for spam; in the highest byte, how many there are
//!             u32  when spam was last counted
//! text     0  u8   length, then so many bytes; with `privacy = true` the texts are left out
//! ```

use crate::evidence::{Earned, Elsewhere, Found, Known, Outcomes, Pending};
use crate::learned::Pattern;
use crate::reply::By;
use crate::time::Timestamp;
use crate::triplet::Secret;

/// Of every record. The reply of `greylist_version` names it.
pub const VERSION: u8 = 1;

const META: u8 = 0;
const PENDING: u8 = 1;
const KNOWN: u8 = 2;
const IDENTITY: u8 = 3;
pub(super) const ENTRY: u8 = 4;
pub(super) const UPDATE: u8 = 6;
pub(super) const QUEUE: u8 = 7;
pub(super) const CARRIED: u8 = 8;

const CUT: u8 = 1;
const COUNTED: u8 = 4;
const PASSED: u8 = 8;
const USED_UP: u8 = 16;
const COUNTED_AGAIN: u32 = 3;
const ON_TRIAL: u8 = 32;

/// How often a triplet's identity can be counted for it: what its flags have room for.
pub const MOST_COUNTED: u8 = 32;

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
        /// When a retry passes, by the rules of the first attempt; or when one has passed.
        ripe: Timestamp,
        /// A fold of the client network's key.
        network: u32,
    },
    /// A known triplet.
    Known(Known),
    /// What an identity has earned.
    Identity(Earned),
}

impl Facts {
    /// When it was first seen.
    #[must_use]
    pub const fn first_seen(&self) -> Timestamp {
        match self {
            Self::Pending { record, .. } => record.first_seen,
            Self::Known(record) => record.first_seen,
            Self::Identity(record) => record.first_seen,
        }
    }
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

impl From<Texts> for [Vec<u8>; 3] {
    fn from(texts: Texts) -> Self {
        [texts.identity, texts.sender, texts.recipient]
    }
}

impl Record {
    /// The record's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let (kind, counted) = match self.facts {
            Facts::Pending { .. } => (PENDING, 0),
            Facts::Known(record) => (KNOWN, record.counted.min(MOST_COUNTED)),
            Facts::Identity(_) => (IDENTITY, 0),
        };
        let of_triplet = [&self.texts.identity, &self.texts.sender, &self.texts.recipient].map(Vec::as_slice);
        let texts = if kind == IDENTITY { &of_triplet[..1] } else { &of_triplet };
        let cut = self.texts.cut || texts.iter().any(|text| text.len() > LONGEST_TEXT);
        let again = if counted > 0 { COUNTED | (counted - 1) << COUNTED_AGAIN } else { 0 };
        let passed = matches!(self.facts, Facts::Pending { record: Pending { passed: Some(_), .. }, .. });
        let flags = if cut { CUT } else { 0 } | if passed { PASSED } else { 0 } | again;
        let mut writer = Encoder::record(kind, self.by as u8, flags, [self.facts.first_seen(), self.expires]);
        let mut history = None;
        match self.facts {
            Facts::Pending { record, ripe, network } => {
                writer.numbers(&[record.passed.unwrap_or(ripe).0, network]);
            }
            Facts::Known(record) => writer.numbers(&[record.passed.0, record.last_seen.0]),
            Facts::Identity(record) => {
                writer.numbers(&[record.counted.0, record.last_seen.0, record.passes]);
                let has_spam = record.outcomes.spam_of().0 > 0 || record.blamed != Timestamp(0);
                history = has_spam.then_some([record.outcomes.to_bits(), record.blamed.0]);
            }
        }
        if history.is_some() || texts.iter().any(|text| !text.is_empty()) {
            writer.texts(texts);
        }
        writer.numbers(history.as_ref().map_or(&[], |numbers| numbers));
        writer.0
    }

    /// The record that `bytes` hold; `None` for an unknown version or kind, or a record that ends too soon.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (head, facts, mut reader) = read(bytes)?;
        let by = By::ALL.get(usize::from(head.what)).copied()?;
        let mut texts = Texts { cut: head.flags & CUT != 0, ..Texts::default() };
        if !reader.0.is_empty() {
            texts.identity = reader.text()?.to_vec();
            if head.kind != IDENTITY {
                texts.sender = reader.text()?.to_vec();
                texts.recipient = reader.text()?.to_vec();
            }
        }
        Some(Self { by, expires: head.expires, facts, texts })
    }
}

/// The longest text a record holds: addresses that people write are shorter, and a record must stay well
/// under the size at which LMDB gives it pages of its own.
pub(super) const LONGEST_TEXT: usize = 255;

/// Reads all but the texts, which are left in the reader: this is the path of every decision.
fn read(bytes: &[u8]) -> Option<(Head, Facts, Decoder<'_>)> {
    let mut reader = Decoder(bytes);
    let head = reader.head()?;
    let first_seen = head.first_seen;
    let facts = match head.kind {
        PENDING => {
            let (ripe, network) = (reader.time()?, reader.number()?);
            let passed = (head.flags & PASSED != 0).then_some(ripe);
            Facts::Pending { record: Pending { first_seen, passed }, ripe, network }
        }
        KNOWN => Facts::Known(Known {
            first_seen,
            passed: reader.time()?,
            last_seen: reader.time()?,
            counted: if head.flags & COUNTED == 0 { 0 } else { 1 + (head.flags >> COUNTED_AGAIN) },
        }),
        IDENTITY => {
            let (counted, last_seen, passes) = (reader.time()?, reader.time()?, reader.number()?);
            let mut rest = Decoder(reader.0);
            let has_text = !rest.0.is_empty();
            if has_text {
                rest.text()?;
            }
            let (outcomes, blamed) = match rest.0.is_empty() {
                true => (Outcomes::passes(passes), Timestamp(0)),
                false => (Outcomes::from_bits(rest.number()?), rest.time()?),
            };
            Facts::Identity(Earned { passes, first_seen, counted, last_seen, outcomes, blamed })
        }
        _ => return None,
    };
    Some((head, facts, reader))
}

/// Makes of a look-up what a decision needs.
fn found<T>(bytes: Option<&[u8]>, wanted: impl Fn(Facts) -> Option<T>) -> Found<T> {
    let Some(bytes) = bytes else { return Found::Absent };
    read(bytes).and_then(|(_, facts, _)| wanted(facts)).map_or(Found::Unreadable, Found::Here)
}

/// The first attempt that `bytes` hold.
#[must_use]
pub fn pending(bytes: Option<&[u8]>) -> Found<Pending> {
    found(bytes, |facts| if let Facts::Pending { record, .. } = facts { Some(record) } else { None })
}

/// The first attempt that `bytes` hold, as it is seen from another network, if mail may pass because of it.
#[must_use]
pub fn elsewhere(bytes: &[u8]) -> Option<Elsewhere> {
    let (head, facts, _) = read(bytes)?;
    let Facts::Pending { record, network, .. } = facts else { return None };
    let counts = head.flags & (PASSED | USED_UP) == 0;
    counts.then_some(Elsewhere { network, first_seen: record.first_seen })
}

/// The same record after mail has passed because of it.
#[must_use]
pub fn used_up(bytes: &[u8]) -> Option<Vec<u8>> {
    elsewhere(bytes)?;
    let mut used = bytes.to_vec();
    *used.get_mut(3)? |= USED_UP;
    Some(used)
}

/// What a first attempt counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trial {
    /// What was known of it.
    pub pattern: Pattern,
    /// What the key of its client's network begins with.
    pub client: [u8; 8],
}

impl Trial {
    /// The bytes of a first attempt with this behind its texts.
    pub(super) fn behind(self, mut bytes: Vec<u8>) -> Vec<u8> {
        if bytes.len() == FIXED {
            bytes.extend([0; 3]);
        }
        bytes.extend(self.pattern.0.to_le_bytes());
        bytes.extend(self.client);
        bytes.iter_mut().skip(3).take(1).for_each(|flags| *flags |= ON_TRIAL);
        bytes
    }
}

/// The bytes of a first attempt before its texts.
const FIXED: usize = 20;

/// What a first attempt counts for, and when it was, if it has not been counted.
#[must_use]
pub fn trial(bytes: &[u8]) -> Option<(Timestamp, Trial)> {
    let (head, _, mut reader) = read(bytes).filter(|(head, ..)| head.kind == PENDING)?;
    if head.flags & ON_TRIAL == 0 || head.flags & PASSED != 0 {
        return None;
    }
    (0..3).try_for_each(|_| reader.text().map(|_| ()))?;
    let trial = Trial { pattern: Pattern(reader.number()?), client: reader.array()? };
    Some((head.first_seen, trial))
}

/// The same record after it has been counted.
#[must_use]
pub fn counted(bytes: &[u8]) -> Vec<u8> {
    let mut counted = bytes.to_vec();
    counted.iter_mut().skip(3).take(1).for_each(|flags| *flags &= !ON_TRIAL);
    counted
}

/// A first attempt that has ended by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// What it counts for.
    pub trial: Trial,
    /// When it was.
    pub first_seen: Timestamp,
    /// Whether it had all its time, and let no other mail of its sender pass.
    pub is_over: bool,
}

/// What ends with the record that `bytes` hold. Of an attempt the record of its network counts alone.
#[must_use]
pub fn ended(bytes: &[u8], had_its_time: bool) -> Option<Ended> {
    let (first_seen, trial) = trial(bytes)?;
    let [_, _, what, flags, ..] = *bytes else { return None };
    let is_over = had_its_time && flags & USED_UP == 0;
    (what == By::Network as u8).then_some(Ended { trial, first_seen, is_over })
}

/// The known triplet that `bytes` hold.
#[must_use]
pub fn known(bytes: Option<&[u8]>) -> Found<Known> {
    found(bytes, |facts| if let Facts::Known(record) = facts { Some(record) } else { None })
}

/// What an identity has earned, of which `bytes` are the record.
#[must_use]
pub fn earned(bytes: Option<&[u8]>) -> Found<Earned> {
    found(bytes, |facts| if let Facts::Identity(record) = facts { Some(record) } else { None })
}

/// What a tidying writer must know of a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// To be deleted after that.
    pub expires: Timestamp,
    /// What it is to a table that is full.
    pub stake: Stake,
}

/// What a record is to a table that is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stake {
    /// A first attempt that waits.
    Waits {
        /// The fold of the key of its client's network: whose flood it may be part of.
        network: u32,
        /// Since when.
        first_seen: Timestamp,
        /// When a retry passes.
        ripe: Timestamp,
        /// Whether mail from other networks may pass because of it.
        counts_elsewhere: bool,
    },
    /// A known triplet or an identity, last seen then.
    Known(Timestamp),
    /// Stays: an entry, or what has passed and is carried in a moment.
    Stays,
}

/// Reads a neighbour; `None` for what is not ours to judge.
#[must_use]
pub fn neighbour(bytes: &[u8]) -> Option<Neighbour> {
    let mut reader = Decoder(bytes);
    let Head { kind, flags, first_seen, expires, .. } = reader.head()?;
    let mut times = || Some((reader.time()?, reader.number()?));
    let stake = match kind {
        PENDING if flags & PASSED == 0 => {
            let (ripe, network) = times()?;
            Stake::Waits { network, first_seen, ripe, counts_elsewhere: flags & USED_UP == 0 }
        }
        // The second time of both.
        KNOWN | IDENTITY => Stake::Known(Timestamp(times()?.1)),
        PENDING | ENTRY => Stake::Stays,
        _ => return None,
    };
    Some(Neighbour { expires, stake })
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
        let mut writer = Encoder(vec![VERSION, META]);
        writer.0.extend(self.secret.0);
        writer.numbers(&[self.made.0]);
        writer.0
    }

    /// The record that `bytes` hold; `None` for an unknown version.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Decoder(bytes);
        let [VERSION, META] = reader.array()? else { return None };
        Some(Self { secret: Secret(reader.array()?), made: reader.time()? })
    }
}

/// What the kinds 1 to 4 have in front.
pub(super) struct Head {
    pub(super) kind: u8,
    /// The identity's kind, or the entry's.
    pub(super) what: u8,
    pub(super) flags: u8,
    pub(super) first_seen: Timestamp,
    pub(super) expires: Timestamp,
}

/// Reads from the front.
pub(super) struct Decoder<'a>(pub(super) &'a [u8]);

impl<'a> Decoder<'a> {
    pub(super) fn head(&mut self) -> Option<Head> {
        let [VERSION, kind, what, flags] = self.array()? else { return None };
        Some(Head { kind, what, flags, first_seen: self.time()?, expires: self.time()? })
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*head)
    }

    pub(super) fn number(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn time(&mut self) -> Option<Timestamp> {
        self.number().map(Timestamp)
    }

    pub(super) fn text(&mut self) -> Option<&'a [u8]> {
        let [length] = self.array()?;
        let (text, rest) = self.0.split_at_checked(usize::from(length))?;
        self.0 = rest;
        Some(text)
    }
}

/// Writes to the end.
pub(super) struct Encoder(pub(super) Vec<u8>);

impl Encoder {
    pub(super) fn record(kind: u8, what: u8, flags: u8, times: [Timestamp; 2]) -> Self {
        let mut writer = Self(Vec::with_capacity(128));
        writer.0.extend([VERSION, kind, what, flags]);
        writer.numbers(&times.map(|time| time.0));
        writer
    }

    pub(super) fn numbers(&mut self, numbers: &[u32]) {
        self.0.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
    }

    /// Each is cut to what a record holds.
    pub(super) fn texts(&mut self, texts: &[&[u8]]) {
        for text in texts {
            self.0.push(text.len().min(LONGEST_TEXT) as u8);
            self.0.extend(text.iter().take(LONGEST_TEXT));
        }
    }
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
