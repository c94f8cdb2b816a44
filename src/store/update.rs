//! Updates of `known`. All that one needs stands in it, so it is written as it is, by whomever and whenever.

use super::SUMMARY_KEY;
use super::entries::{Entry, Summary};
use super::lmdb::{Trouble, Writer};
use super::record::{self, Facts, MOST_COUNTED, Record, Texts};
use crate::evidence::{Found, Known};
use crate::policy::{count_pass, count_spam, holds};
use crate::reply::{By, Result as Told};
use crate::time::{Seconds, Timestamp};
use crate::triplet::{IdentityKeys, Key};

/// A change of `known`.
pub(super) struct Update {
    /// When it was decided.
    pub(super) now: Timestamp,
    /// How long what an identity or a triplet has earned is kept after it was last seen.
    pub(super) keep: Seconds,
    pub(super) what: What,
}

/// One identity of a triplet.
pub(super) struct Subject {
    pub(super) by: By,
    pub(super) keys: IdentityKeys,
    pub(super) texts: Texts,
}

pub(super) enum What {
    /// The triplet becomes known. The releases that it has used up go.
    Admit { subjects: Vec<Subject>, first_seen: Timestamp, counts: bool, used: Vec<Key> },
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
    /// Writes it; with `privacy`, without what people could read of a triplet.
    pub(super) fn write(&self, writer: &mut Writer<'_>, privacy: bool) -> Result<Told, Trouble> {
        match &self.what {
            What::Admit { subjects, first_seen, counts, used } => {
                subjects.iter().try_for_each(|subject| self.admit(writer, subject, *first_seen, *counts))?;
                delete(writer, used)
            }
            What::Renew(keys) => self.renew(writer, keys, privacy),
            What::Spam(keys) => self.take_back(writer, keys),
            What::Ham(keys) => {
                let told = self.confirm(writer, keys)?;
                let keys: Vec<_> = keys.iter().flat_map(|keys| [keys.identity, keys.known]).collect();
                if told == Told::Recorded { self.renew(writer, &keys, privacy) } else { Ok(told) }
            }
            What::Enter(entries) => {
                entries.iter().try_for_each(|(key, entry)| enter(writer, key, entry, self.now))?;
                Ok(if entries.is_empty() { Told::Nothing } else { Told::Recorded })
            }
            What::Delete(keys) => delete(writer, keys),
        }
    }

    fn admit(
        &self,
        writer: &mut Writer<'_>,
        Subject { by, keys, texts }: &Subject,
        first_seen: Timestamp,
        counts: bool,
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
        writer.put(&keys.known.0, &record(Facts::Known(known), texts.clone()).encode())?;
        Ok(writer.tidy(&keys.known, now, None)?)
    }

    /// What has lapsed in the meantime begins anew with the next pass; it does not come back to life.
    fn renew(&self, writer: &mut Writer<'_>, keys: &[Key], privacy: bool) -> Result<Told, Trouble> {
        let mut told = Told::Nothing;
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
            told = Told::Recorded;
        }
        Ok(told)
    }

    /// The triplet is known no longer. Its identities lose what was counted for it, and spam counts against them.
    fn take_back(&self, writer: &mut Writer<'_>, keys: &[IdentityKeys]) -> Result<Told, Trouble> {
        let mut told = Told::Nothing;
        for IdentityKeys { identity, known, .. } in keys {
            let triplet = record::known(writer.get(&known.0)?).here().copied();
            let triplet = triplet.filter(|known| holds(known.last_seen, self.keep, self.now));
            if triplet.is_some() {
                writer.delete(&known.0)?;
                told = Told::Recorded;
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
            told = Told::Recorded;
        }
        Ok(told)
    }

    /// The identities of a known triplet are counted once more for it.
    fn confirm(&self, writer: &mut Writer<'_>, keys: &[IdentityKeys]) -> Result<Told, Trouble> {
        let mut told = Told::Nothing;
        for IdentityKeys { identity, known, .. } in keys {
            let Some(mut triplet) = writer.get(&known.0)?.and_then(Record::decode) else { continue };
            let Facts::Known(facts) = &mut triplet.facts else { continue };
            if !holds(facts.last_seen, self.keep, self.now) {
                continue;
            }
            told = Told::Recorded;
            let Some(mut record) = writer.get(&identity.0)?.and_then(Record::decode) else { continue };
            let Facts::Identity(earned) = &mut record.facts else { continue };
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

fn delete(writer: &mut Writer<'_>, keys: &[Key]) -> Result<Told, Trouble> {
    let mut told = Told::Nothing;
    for key in keys {
        if writer.get(&key.0)?.is_some() {
            writer.delete(&key.0)?;
            told = Told::Recorded;
        }
    }
    Ok(told)
}

/// Writes an entry, and makes sure that the summary knows of it. What a later version wrote in the place of either is not
/// overwritten.
pub(super) fn enter(
    writer: &mut Writer<'_>,
    key: &Key,
    entry: &Entry,
    now: Timestamp,
) -> Result<(), Trouble> {
    let summary = match writer.get(SUMMARY_KEY)? {
        None => Some(Summary::default()),
        Some(bytes) => Summary::decode(bytes),
    };
    let ours = writer.get(&key.0)?.is_none_or(|bytes| Entry::decode(bytes).is_some());
    let Some(before) = summary.filter(|_| ours) else {
        return Err(Trouble::Lmdb(lmdb::Error::VersionMismatch));
    };
    writer.put(&key.0, &entry.encode())?;
    let mut after = before;
    after.add(entry);
    if after != before {
        writer.put(SUMMARY_KEY, &after.encode())?;
    }
    Ok(writer.tidy(key, now, None)?)
}
