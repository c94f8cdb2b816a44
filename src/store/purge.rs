//! Deletes all that has expired, now: `eximgrey purge`. The store tidies itself without it.
//!
//! Others go on meanwhile. The scan reads in many short transactions, because an open reader keeps old pages
//! from being used again. What it finds is looked at once more and deleted in short transactions under the
//! writer's lock. How long one holds the lock depends on the flush at its end, which no one can foresee, so
//! each is made as large as the last one lets expect. What the disk has to do anyway, the scan's reading
//! ahead above all, is waited for before the lock is taken: the flush under the lock would wait for it, too.
//! After each the lock stays free for longer than it was held: waiting writers double their pauses, so
//! whoever came meanwhile has tried again by then.

use super::error::StoreError;
use super::lmdb::{Env, Patience};
use super::record::{self, Ended, Neighbour};
use super::{Store, Table, is_own};
use crate::time::{Seconds, Timestamp};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long a transaction is meant to hold the writer's lock, flush included. A flush that takes longer holds
/// it longer: it belongs to the transaction.
pub(super) const HOLD: Duration = Duration::from_millis(1);

/// A hold that is longer than this is one too long.
pub const LONG_HOLD: Duration = Duration::from_millis(5);

/// How long to wait for the lock: nobody waits for a purge, but a writer that is stopped is an error all the
/// same.
pub(super) const PATIENCE: Patience = Patience::UpTo(Seconds::MINUTE);

/// Records of the first transaction, and of the smallest.
const FEWEST: usize = 16;

/// Records that one read transaction looks at: some hundred microseconds.
const LOOK: usize = 4096;

/// What a purge has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Purged {
    /// Expired records deleted.
    pub deleted: u64,
    /// Records that have not expired.
    pub kept: u64,
    /// Records of another version: kept, too.
    pub unreadable: u64,
    /// Transactions: each held the writer's lock once.
    pub transactions: u64,
    /// The longest time that it was held.
    pub longest_hold: Duration,
    /// How many held it for longer than [`LONG_HOLD`].
    pub long_holds: u64,
}

impl Store {
    /// Deletes what of a table has expired at `now`, if the clock is to be believed (see `clock`). `progress` is told how much of the keys is done (0 to 1)
    /// and what was done so far.
    ///
    /// # Errors
    /// See [`StoreError`]; what was deleted until then is deleted.
    pub fn purge(
        &self,
        table: Table,
        now: Timestamp,
        mut progress: impl FnMut(f64, &Purged),
    ) -> Result<Purged, StoreError> {
        let mut purged = Purged::default();
        let Some(env) = self.table(table)? else { return Ok(purged) };
        let now = self.expired_before(now);
        // The least key there can be.
        let mut from = vec![0];
        let mut batch = FEWEST;
        loop {
            let found = look(env, &from, now, &mut purged)?;
            let mut left = found.expired.as_slice();
            while !left.is_empty() {
                env.prepare()?;
                let (done, ended, deleted, hold) = delete(env, left.get(..batch).unwrap_or(left), now)?;
                self.count_ended(&ended, now);
                left = left.get(done..).unwrap_or_default();
                purged.deleted += deleted;
                purged.kept += done as u64 - deleted;
                purged.transactions += 1;
                purged.longest_hold = purged.longest_hold.max(hold);
                purged.long_holds += u64::from(hold > LONG_HOLD);
                batch = next_batch(batch, hold);
                sleep(hold + HOLD);
            }
            let Some(next) = found.next else { return Ok(purged) };
            from = next;
            // Keys are hashes: the first bytes say how far this is.
            let place = from.first_chunk().map_or(0, |bytes| u16::from_be_bytes(*bytes));
            progress(f64::from(place) / 65_536.0, &purged);
        }
    }

    /// Removes the first attempts of earlier boots, as opening the store does; says of how many.
    #[must_use]
    pub fn purge_other_boots(&self) -> usize {
        let Ok(boot @ Some(_)) = super::boot_id() else { return 0 };
        super::remove_other_boots(&self.settings.path, &super::pending_dir(&self.settings.path, boot))
    }
}

/// Deletes the first of `keys` in one transaction, as many as time allows, where they are still expired. Says
/// how many it looked at, which first attempts ended so, how many were deleted, and how long it held the lock.
fn delete(
    env: &Env,
    keys: &[Vec<u8>],
    now: Timestamp,
) -> Result<(usize, Vec<Ended>, u64, Duration), StoreError> {
    let mut start = None;
    let (done, ended, deleted) = env.write(PATIENCE, |writer| {
        let start = *start.get_or_insert_with(Instant::now);
        let (mut done, mut deleted) = (0, 0);
        for key in keys {
            if done > 0 && start.elapsed() >= HOLD {
                break;
            }
            done += 1;
            let record = writer.get(key)?.and_then(record::neighbour);
            if record.is_some_and(|record| record.expires < now) {
                writer.tidy_away(key, true)?;
                deleted += 1;
            }
        }
        Ok((done, std::mem::take(&mut writer.ended), deleted))
    })?;
    Ok((done, ended, deleted, start.map_or(Duration::ZERO, |start| start.elapsed())))
}

/// What a look has found.
#[derive(Default)]
struct Batch {
    /// The keys of records that have expired.
    expired: Vec<Vec<u8>>,
    /// Where to go on, if there are more records.
    next: Option<Vec<u8>>,
}

/// Looks at some records from the key `from` on, and counts those that stay.
fn look(env: &Env, from: &[u8], now: Timestamp, purged: &mut Purged) -> Result<Batch, StoreError> {
    let (mut found, mut seen) = (Batch::default(), 0);
    env.read(|snapshot| {
        snapshot.each_from(from, |key, value| {
            if seen == LOOK {
                found.next = Some(key.to_vec());
                return false;
            }
            seen += 1;
            match record::neighbour(value) {
                Some(Neighbour { expires, .. }) if expires < now => found.expired.push(key.to_vec()),
                Some(_) => purged.kept += 1,
                None if is_own(key) => {}
                None => purged.unreadable += 1,
            }
            true
        })
    })?;
    Ok(found)
}

/// How many records the next transaction takes, after one of `batch` that held the lock for `hold`. Fewer
/// than lie on a page would make it no shorter.
fn next_batch(batch: usize, hold: Duration) -> usize {
    if hold > HOLD { (batch - batch / 4).max(FEWEST) } else { (batch + batch / 4).min(LOOK) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::Known;
    use crate::memory::Access;
    use crate::reply::By;
    use crate::settings::StoreSettings;
    use crate::store::record::{Facts, Record, Texts};

    /// Somebody may have come back between the look and the lock.
    #[test]
    fn what_was_renewed_since_it_was_seen_stays() {
        let dir = tempfile::tempdir().unwrap();
        let settings = StoreSettings { path: dir.path().into(), ..StoreSettings::default() };
        let [t, now] = [7, 1_000].map(Timestamp);
        let store = Store::open(&settings, Access::Record, now).unwrap().unwrap();
        let facts = Facts::Known(Known { first_seen: t, passed: t, last_seen: t, counted: 1 });
        let record = |expires| Record { by: By::Network, expires, facts, texts: Texts::default() }.encode();
        let env = store.table(Table::Known).unwrap().unwrap();
        let change = |(key, expires): (&[u8; 16], u32)| {
            env.write(Patience::None, |writer| Ok(writer.put(key, &record(Timestamp(expires)))?)).unwrap();
        };
        [(&[1; 16], 999), (&[2; 16], 999), (&[3; 16], 1_000)].into_iter().for_each(change);
        let found = look(env, &[0], now, &mut Purged::default()).unwrap();
        assert_eq!(found.expired, [[1; 16], [2; 16]]);
        change((&[2; 16], 2_000));
        let (done, _, deleted, _) = delete(env, &found.expired, now).unwrap();
        assert_eq!((done, deleted), (2, 1));
        let is_there = |key: u8| env.read(|s| Ok(s.get(&[key; 16])?.is_some())).unwrap();
        assert_eq!([1, 2, 3].map(is_there), [false, true, true]);
    }

    /// Each batch is a transaction of its own: no fewer, or they would hold the lock for longer, and no more.
    #[test]
    fn transactions_are_counted() {
        let dir = tempfile::tempdir().unwrap();
        let settings = StoreSettings { path: dir.path().into(), ..StoreSettings::default() };
        let store = Store::open(&settings, Access::Record, Timestamp(7)).unwrap().unwrap();
        let env = store.table(Table::Known).unwrap().unwrap();
        let facts = Facts::Known(Known {
            first_seen: Timestamp(7),
            passed: Timestamp(7),
            last_seen: Timestamp(7),
            counted: 1,
        });
        let record =
            Record { by: By::Network, expires: Timestamp(8), facts, texts: Texts::default() }.encode();
        let expired = 3 * FEWEST;
        env.write(Patience::None, |writer| {
            (1..=expired).try_for_each(|n| Ok(writer.put(&[n as u8; 16], &record)?))
        })
        .unwrap();
        let before = env.version();
        let purged = store.purge(Table::Known, Timestamp(9), |_, _| {}).unwrap();
        assert_eq!(purged.deleted, expired as u64);
        assert_eq!(purged.transactions, (env.version() - before) as u64);
        assert!(purged.transactions > 1 && purged.long_holds <= purged.transactions, "{purged:?}");
        assert_eq!(purged.long_holds > 0, purged.longest_hold > LONG_HOLD);
    }
}
