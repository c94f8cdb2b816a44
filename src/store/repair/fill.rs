//! Fills a new environment with what can be read of the damaged one.

use super::{Fate, Repaired};
use crate::sender::Level;
use crate::store::any::Any;
use crate::store::entries::{Kind, Summary};
use crate::store::error::StoreError;
use crate::store::lmdb::{Env, Patience};
use crate::store::record::Meta;
use crate::store::salvage::{DataFile, Keys};
use crate::store::{META_KEY, SUMMARY_KEY, queue, sys};
use crate::time::{Seconds, Timestamp};
use crate::triplet::{Key, Secret};
use std::path::Path;

/// Records written in one transaction: some megabytes of pages.
const BATCH: usize = 5_000;

/// Records whose keys are made again to see whether a secret is theirs.
const SAMPLES: usize = 1_000;

/// Nobody else writes to the new environment.
const PATIENCE: Patience = Patience::UpTo(Seconds(5));

/// Fills `env`. `known`: it is that of known triplets, which begins with the store's head, and this is the
/// level of the sender keys, for new keys where the secret is lost.
pub(super) fn fill(
    source: &DataFile,
    env: &Env,
    known: Option<Level>,
    now: Timestamp,
) -> Result<Repaired, StoreError> {
    let mut filling = Filling {
        env,
        now,
        rekey: None,
        copies: false,
        newest: Timestamp::default(),
        since: Timestamp::default(),
        batch: Vec::new(),
        queued: Vec::new(),
        summary: Summary::default(),
        repaired: Repaired::default(),
    };
    if let Some(level) = known {
        let (head, fate) = head(source, level, now)?;
        env.write(PATIENCE, |writer| Ok(writer.put(META_KEY, &head.encode())?))?;
        filling.rekey = (fate == Fate::Lost).then_some((head.secret, level));
        filling.repaired.secret = fate;
    }
    let mut trouble = Ok(());
    let mut take = |filling: &mut Filling<'_>, key: &[u8], value: &[u8]| {
        if trouble.is_ok() {
            trouble = filling.take(key, value);
        }
    };
    let walk = source.walk(&mut |key, value| take(&mut filling, key, value));
    filling.write()?;
    filling.copies = true;
    source.sweep(&walk.lost, &mut |key, value| take(&mut filling, key, value));
    filling.write()?;
    if walk.older {
        // What the last commit wrote is as new as the newest record of the tree, or newer.
        filling.since = filling.newest;
        source.sweep(&[Keys::default()], &mut |key, value| take(&mut filling, key, value));
        filling.write()?;
    }
    trouble?;
    let Filling { summary, repaired, queued, .. } = filling;
    env.write(PATIENCE, |writer| queued.iter().try_for_each(|(key, value)| Ok(writer.put(key, value)?)))?;
    if summary != Summary::default() {
        env.write(PATIENCE, |writer| Ok(writer.put(SUMMARY_KEY, &summary.encode())?))?;
    }
    Ok(Repaired { lost_pages: walk.lost_pages, faults: walk.faults, ..repaired })
}

/// The store's head: of those found in the tree and in older copies, the one whose secret made most keys of
/// the records; else that of the tree, or the most frequent; else a new one.
fn head(source: &DataFile, level: Level, now: Timestamp) -> Result<(Meta, Fate), StoreError> {
    let mut heads: Vec<(Meta, usize)> = Vec::new();
    let mut samples: Vec<(Vec<u8>, Any)> = Vec::new();
    // Only whether there is a key matters here, so any secret does.
    let any = Secret([0; 16]);
    source.walk(&mut |key, value| {
        if key == META_KEY {
            heads.extend(Meta::decode(value).map(|head| (head, usize::MAX)));
        } else if samples.len() < SAMPLES
            && let Some(record) = Any::decode(value).filter(|record| record.key(&any, level).is_some())
        {
            samples.push((key.to_vec(), record));
        }
    });
    let proof = |head: &Meta| {
        // The level may be another than when the record was made.
        let levels = [Level::Full, Level::Unwrap, Level::Exact];
        let own = |(key, record): &&(Vec<u8>, Any)| {
            let mut keys = levels.iter().filter_map(|&level| record.key(&head.secret, level));
            keys.any(|own| own.0 == key[..])
        };
        samples.iter().filter(own).count()
    };
    let from_tree = heads.first().map(|(head, _)| *head);
    if from_tree.is_none_or(|head| proof(&head) == 0) {
        source.sweep(&[Keys::default()], &mut |key, value| {
            let Some(head) = (key == META_KEY).then(|| Meta::decode(value)).flatten() else { return };
            match heads.iter_mut().find(|(other, _)| *other == head) {
                Some((_, copies)) => *copies = copies.saturating_add(1),
                None => heads.push((head, 1)),
            }
        });
    }
    let best = heads.iter().max_by_key(|(head, copies)| (proof(head), *copies)).map(|(head, _)| *head);
    match best {
        // Without texts (`privacy = true`) there is no proof.
        Some(head) if samples.is_empty() || proof(&head) > 0 => {
            Ok((head, if from_tree == Some(head) { Fate::Kept } else { Fate::Found }))
        }
        _ => {
            let secret = sys::random().map_err(|cause| StoreError::from_io(Path::new("getrandom"), cause))?;
            Ok((Meta { secret: Secret(secret), made: now }, Fate::Lost))
        }
    }
}

/// Records on their way into the new environment.
struct Filling<'a> {
    env: &'a Env,
    now: Timestamp,
    /// The secret for new keys, and the level of the sender keys.
    rekey: Option<(Secret, Level)>,
    /// Whether what comes is from a sweep.
    copies: bool,
    /// The newest time in the tree.
    newest: Timestamp,
    /// Records from a sweep must be as new as this.
    since: Timestamp,
    batch: Vec<(Key, Vec<u8>, Any)>,
    /// Records of the queue.
    queued: Vec<(Vec<u8>, Vec<u8>)>,
    summary: Summary,
    repaired: Repaired,
}

impl Filling<'_> {
    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        if key == META_KEY || key == SUMMARY_KEY {
            return Ok(());
        }
        if queue::owns(key) {
            // The keys in it would be wrong under another secret.
            if !self.copies && self.rekey.is_none() {
                self.queued.push((key.to_vec(), value.to_vec()));
            }
            return Ok(());
        }
        let read = Any::decode(value).and_then(|record| {
            let key = match &self.rekey {
                Some((secret, level)) => record.key(secret, *level),
                None => key.try_into().ok().map(Key),
            };
            Some((key?, record))
        });
        let Some((key, record)) = read else {
            // A sweep meets keys of other tables, too, and what a lost page held is counted as lost already.
            self.repaired.left += u64::from(!self.copies);
            return Ok(());
        };
        let moment = Some(record.moment()).filter(|moment| *moment <= self.now).unwrap_or_default();
        if !self.copies {
            self.newest = self.newest.max(moment);
        } else if record.kind() == Some(Kind::Trap) || record.expires() < self.now || moment < self.since {
            return Ok(());
        }
        if let Any::Entry(entry) = &record {
            self.summary.add(entry);
        }
        self.batch.push((key, value.to_vec(), record));
        if self.batch.len() < BATCH { Ok(()) } else { self.write() }
    }

    fn write(&mut self) -> Result<(), StoreError> {
        let batch = std::mem::take(&mut self.batch);
        let (kept, listed) = self.env.write(PATIENCE, |writer| {
            let (mut kept, mut listed) = (0_u64, 0_u64);
            for (Key(key), value, record) in &batch {
                match writer.get(key)?.map(Any::decode) {
                    Some(Some(there)) if there.moment() >= record.moment() => continue,
                    Some(_) => {}
                    None => {
                        kept += 1;
                        listed += u64::from(matches!(record.kind(), Some(Kind::Listed(_))));
                    }
                }
                writer.put(key, value)?;
            }
            Ok((kept, listed))
        })?;
        if self.copies {
            self.repaired.from_copies += kept;
            self.repaired.listed_from_copies += listed;
        } else {
            self.repaired.from_tree += kept;
        }
        Ok(())
    }
}
