//! Updates of `known`. All that one needs stands in it, so it can be queued, and written by whomever and
//! whenever.
//!
//! ```text
//! 0  u8   version, 1
//! 1  u8   kind: 6
//! 2  u8   0 admit, 1 admit a released mail, 2 renew, 3 spam, 4 ham, 5 enter, 6 delete
//! 3  u8   flags: 1 a text was cut to 255 bytes
//! 4  u32  when it was decided
//! 8  u32  how long records are kept, in seconds
//! 12      admit: u32 first seen, then how many keys [u8] of releases and those, sender, recipient, then for each identity
//!         its kind [u8], its three keys [48] and its text; renew, delete: keys [16]; spam, ham: three keys [48] an identity;
//!         enter: for each entry its key [16], its length [u16], and the entry
//! ```

use super::entries::{Entry, Summary};
use super::lmdb::{Trouble, Writer};
use super::record::{self, Decoder, Facts, MOST_COUNTED, Record, Texts, UPDATE};
use super::tidy::Bound;
use super::{SUMMARY_KEY, Store, Table};
use crate::evidence::{Found, Known};
use crate::policy::{count_pass, count_spam, holds};
use crate::reply::{By, Effect};
use crate::time::{Seconds, Timestamp};
use crate::triplet::{IdentityKeys, Key};

/// A change of `known`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Update {
    /// When it was decided.
    pub(super) now: Timestamp,
    /// How long what an identity or a triplet has earned is kept after it was last seen.
    pub(super) keep: Seconds,
    pub(super) what: What,
}

/// One identity of a triplet, and its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Subject {
    pub(super) by: By,
    pub(super) keys: IdentityKeys,
    pub(super) text: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// The triplet becomes known. The releases that it has used up go.
    Admit {
        subjects: Vec<Subject>,
        /// Sender and recipient; the identity's is left out here.
        texts: Texts,
        first_seen: Timestamp,
        counts: bool,
        used: Vec<Key>,
    },
    /// These triplets and identities were seen.
    Renew(Vec<Key>),
    /// What the triplet earned is taken back.
    Spam(Vec<IdentityKeys>),
    /// What the triplet earned is confirmed.
    Ham(Vec<IdentityKeys>),
    /// These entries are written.
    Enter(Vec<(Key, Entry)>),
    /// These records go.
    Delete(Vec<Key>),
}

impl Update {
    /// Writes it to what `store` knows.
    pub(super) fn write(&self, writer: &mut Writer<'_>, store: &Store) -> Result<Effect, Trouble> {
        let privacy = store.settings.privacy;
        let bound = store.bound(Table::Known, self.now);
        match &self.what {
            What::Admit { subjects, texts, first_seen, counts, used } => {
                for subject in subjects {
                    let texts = Texts { identity: subject.text.clone(), ..texts.clone() };
                    self.admit(writer, subject, texts, (*first_seen, *counts), bound)?;
                }
                delete(writer, used)
            }
            What::Renew(keys) => self.renew(writer, keys, privacy),
            What::Spam(keys) => self.take_back(writer, keys),
            What::Ham(keys) => {
                let told = self.confirm(writer, keys)?;
                let keys: Vec<_> = keys.iter().flat_map(|keys| [keys.identity, keys.known]).collect();
                if told == Effect::Recorded { self.renew(writer, &keys, privacy) } else { Ok(told) }
            }
            What::Enter(entries) => {
                entries.iter().try_for_each(|(key, entry)| enter(writer, key, entry, bound))?;
                Ok(if entries.is_empty() { Effect::Nothing } else { Effect::Recorded })
            }
            What::Delete(keys) => delete(writer, keys),
        }
    }

    fn admit(
        &self,
        writer: &mut Writer<'_>,
        Subject { by, keys, .. }: &Subject,
        texts: Texts,
        (first_seen, counts): (Timestamp, bool),
        bound: Bound,
    ) -> Result<(), Trouble> {
        let (now, expires) = (self.now, self.now.plus(self.keep));
        let record = |facts, texts| Record { by: *by, expires, facts, texts };
        let earned = record::earned(writer.get(&keys.identity.0)?);
        let before = earned.here().copied();
        let after = count_pass(self.keep, before, now);
        if counts && earned != Found::Unreadable {
            let texts = Texts { identity: texts.identity.clone(), cut: texts.cut, ..Texts::default() };
            writer.put(&keys.identity.0, &record(Facts::Identity(after), texts).encode())?;
        }
        // A release admits without regard to what stands there; a record of a later version stays.
        if record::known(writer.get(&keys.known.0)?) == Found::Unreadable {
            return Ok(());
        }
        let counted = u8::from(counts && before.is_none_or(|before| before.passes != after.passes));
        let known = Known { first_seen, passed: now, last_seen: now, counted };
        writer.put(&keys.known.0, &record(Facts::Known(known), texts).encode())?;
        writer.tidy(&keys.known, bound)?;
        Ok(())
    }

    /// What has lapsed in the meantime begins anew with the next pass; it does not come back to life.
    fn renew(&self, writer: &mut Writer<'_>, keys: &[Key], privacy: bool) -> Result<Effect, Trouble> {
        let mut told = Effect::Nothing;
        for key in keys {
            let Some(mut record) = writer.get(&key.0)?.and_then(Record::decode) else { continue };
            let last_seen = match &mut record.facts {
                Facts::Known(known) => &mut known.last_seen,
                Facts::Identity(earned) => &mut earned.last_seen,
                Facts::Pending { .. } => continue,
            };
            if !holds(*last_seen, self.keep, self.now) {
                continue;
            }
            *last_seen = self.now;
            if privacy {
                record.texts = Texts::default();
            }
            let expires = self.now.plus(self.keep);
            writer.put(&key.0, &Record { expires, ..record }.encode())?;
            told = Effect::Recorded;
        }
        Ok(told)
    }

    /// The triplet is known no longer. Its identities lose what was counted for it, and spam counts against
    /// them.
    fn take_back(&self, writer: &mut Writer<'_>, keys: &[IdentityKeys]) -> Result<Effect, Trouble> {
        let mut told = Effect::Nothing;
        for IdentityKeys { identity, known, .. } in keys {
            let triplet = record::known(writer.get(&known.0)?).here().copied();
            let triplet = triplet.filter(|known| holds(known.last_seen, self.keep, self.now));
            if triplet.is_some() {
                writer.delete(&known.0)?;
                told = Effect::Recorded;
            }
            let Some(mut record) = writer.get(&identity.0)?.and_then(Record::decode) else { continue };
            let Facts::Identity(earned) = &mut record.facts else { continue };
            let before = *earned;
            *earned = count_spam(before, triplet.map_or(0, |known| known.counted.into()), self.now);
            if *earned == before {
                continue;
            }
            if earned.passes == 0 {
                writer.delete(&identity.0)?;
            } else {
                writer.put(&identity.0, &record.encode())?;
            }
            told = Effect::Recorded;
        }
        Ok(told)
    }

    /// The identities of a known triplet are counted once more for it.
    fn confirm(&self, writer: &mut Writer<'_>, keys: &[IdentityKeys]) -> Result<Effect, Trouble> {
        let mut told = Effect::Nothing;
        for IdentityKeys { identity, known, .. } in keys {
            let Some(mut triplet) = writer.get(&known.0)?.and_then(Record::decode) else { continue };
            let Facts::Known(facts) = &mut triplet.facts else { continue };
            if !holds(facts.last_seen, self.keep, self.now) {
                continue;
            }
            told = Effect::Recorded;
            let Some(mut record) = writer.get(&identity.0)?.and_then(Record::decode) else { continue };
            let Facts::Identity(earned) = &mut record.facts else { continue };
            // Whether what has lapsed is still there is up to tidying.
            if !holds(earned.last_seen, self.keep, self.now) {
                continue;
            }
            let before = earned.counted;
            // What could not be taken back is not given.
            if facts.counted < MOST_COUNTED {
                *earned = count_pass(self.keep, Some(*earned), self.now);
            }
            if earned.counted != before {
                facts.counted += 1;
                writer.put(&known.0, &triplet.encode())?;
                writer.put(&identity.0, &record.encode())?;
            }
        }
        Ok(told)
    }
}

impl Update {
    /// Whether a decision that does not see it yet could be wrong: who has passed is marked among the first
    /// attempts.
    pub(super) const fn is_told(&self) -> bool {
        matches!(self.what, What::Spam(_) | What::Enter(_) | What::Delete(_))
    }

    /// Takes the marks away of a triplet that is known by now.
    pub(super) fn unmark(&self, writer: &mut Writer<'_>) -> Result<(), Trouble> {
        let What::Admit { subjects, .. } = &self.what else { return Ok(()) };
        for Subject { keys, .. } in subjects {
            let marked =
                record::pending(writer.get(&keys.pending.0)?).here().is_some_and(|p| p.passed.is_some());
            if marked {
                writer.delete(&keys.pending.0)?;
            }
        }
        Ok(())
    }

    /// The update's bytes.
    pub(super) fn encode(&self) -> Vec<u8> {
        let (what, cut) = match &self.what {
            What::Admit { counts, texts, .. } => (u8::from(!counts), texts.cut),
            What::Renew(_) => (2, false),
            What::Spam(_) => (3, false),
            What::Ham(_) => (4, false),
            What::Enter(_) => (5, false),
            What::Delete(_) => (6, false),
        };
        let mut out =
            record::Encoder::record(UPDATE, what, u8::from(cut), [self.now, Timestamp(self.keep.0)]);
        match &self.what {
            What::Admit { subjects, texts, first_seen, used, .. } => {
                out.numbers(&[first_seen.0]);
                out.0.push(used.len() as u8);
                used.iter().for_each(|key| out.0.extend(key.0));
                out.texts(&[&texts.sender, &texts.recipient]);
                for Subject { by, keys, text } in subjects {
                    out.0.push(*by as u8);
                    keys.each().iter().for_each(|key| out.0.extend(key.0));
                    out.texts(&[text]);
                }
            }
            What::Renew(keys) | What::Delete(keys) => keys.iter().for_each(|key| out.0.extend(key.0)),
            What::Spam(keys) | What::Ham(keys) => {
                keys.iter().flat_map(IdentityKeys::each).for_each(|key| out.0.extend(key.0));
            }
            What::Enter(entries) => {
                for (key, entry) in entries {
                    let entry = entry.encode();
                    out.0.extend(key.0);
                    out.0.extend((entry.len() as u16).to_le_bytes());
                    out.0.extend(entry);
                }
            }
        }
        out.0
    }

    /// The update that `bytes` hold; `None` for another kind or version, or one that ends too soon.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Decoder(bytes);
        let head = reader.head().filter(|head| head.kind == UPDATE)?;
        let what = match head.what {
            counted @ (0 | 1) => {
                let first_seen = reader.time()?;
                let [used] = reader.array()?;
                let used = (0..used).map(|_| read_key(&mut reader)).collect::<Option<_>>()?;
                let [sender, recipient] = [reader.text()?, reader.text()?].map(<[u8]>::to_vec);
                let texts = Texts { identity: Vec::new(), sender, recipient, cut: head.flags & 1 != 0 };
                let subjects = read_all(&mut reader, |reader| {
                    let [by] = reader.array()?;
                    let by = By::ALL.get(usize::from(by)).copied()?;
                    Some(Subject { by, keys: read_keys(reader)?, text: reader.text()?.to_vec() })
                })?;
                What::Admit { subjects, texts, first_seen, counts: counted == 0, used }
            }
            2 => What::Renew(read_all(&mut reader, read_key)?),
            3 => What::Spam(read_all(&mut reader, read_keys)?),
            4 => What::Ham(read_all(&mut reader, read_keys)?),
            5 => What::Enter(read_all(&mut reader, |reader| {
                let key = read_key(reader)?;
                let length = u16::from_le_bytes(reader.array()?);
                let (entry, rest) = reader.0.split_at_checked(length.into())?;
                reader.0 = rest;
                Some((key, Entry::decode(entry)?))
            })?),
            6 => What::Delete(read_all(&mut reader, read_key)?),
            _ => return None,
        };
        Some(Self { now: head.first_seen, keep: Seconds(head.expires.0), what })
    }
}

fn read_key(reader: &mut Decoder<'_>) -> Option<Key> {
    reader.array().map(Key)
}

fn read_keys(reader: &mut Decoder<'_>) -> Option<IdentityKeys> {
    let [identity, known, pending] = [read_key(reader)?, read_key(reader)?, read_key(reader)?];
    Some(IdentityKeys { identity, known, pending })
}

fn read_all<T>(reader: &mut Decoder<'_>, read: impl Fn(&mut Decoder<'_>) -> Option<T>) -> Option<Vec<T>> {
    let mut all = Vec::new();
    while !reader.0.is_empty() {
        all.push(read(reader)?);
    }
    Some(all)
}

fn delete(writer: &mut Writer<'_>, keys: &[Key]) -> Result<Effect, Trouble> {
    let mut told = Effect::Nothing;
    for key in keys {
        if writer.get(&key.0)?.is_some() {
            writer.delete(&key.0)?;
            told = Effect::Recorded;
        }
    }
    Ok(told)
}

/// Whether an entry may be written: not over what a later version wrote in the place of it or of the summary.
pub(super) fn may_enter<'t>(
    key: &Key,
    get: impl Fn(&[u8]) -> lmdb::Result<Option<&'t [u8]>>,
) -> lmdb::Result<()> {
    let ours = get(&key.0)?.is_none_or(|bytes| Entry::decode(bytes).is_some())
        && get(SUMMARY_KEY)?.is_none_or(|bytes| Summary::decode(bytes).is_some());
    if ours { Ok(()) } else { Err(lmdb::Error::VersionMismatch) }
}

/// Writes an entry, and makes sure that the summary knows of it.
pub(super) fn enter(writer: &mut Writer<'_>, key: &Key, entry: &Entry, bound: Bound) -> Result<(), Trouble> {
    may_enter(key, |key| writer.get(key))?;
    let before = writer.get(SUMMARY_KEY)?.and_then(Summary::decode).unwrap_or_default();
    writer.put(&key.0, &entry.encode())?;
    let mut after = before;
    after.add(entry);
    if after != before {
        writer.put(SUMMARY_KEY, &after.encode())?;
    }
    writer.tidy(key, bound)?;
    Ok(())
}
