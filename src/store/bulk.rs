//! Many records at once, as an import brings them.
//!
//! Entries of the whitelist come in one transaction with one flush: all of them are written, or none. Any
//! records come in many: each holds the writer's lock for a few milliseconds and ends with a flush, and in
//! between whoever waits gets the lock.
//!
//! Taking in the same records again changes nothing, and what is there loses nothing: so whoever was
//! interrupted begins anew.

use super::any::Any;
use super::entries::{Entry, Kind, Summary};
use super::error::StoreError;
use super::lmdb::{Env, Trouble, Writer};
use super::purge::{HOLD, LONG_HOLD, PATIENCE};
use super::record::{Facts, Meta, Record, Texts};
use super::tidy::Bound;
use super::update::enter;
use super::{META_KEY, SUMMARY_KEY, Store, Table, is_own};
use crate::evidence::{Earned, Known, Pending};
use crate::reply::Effect;
use crate::time::Timestamp;
use crate::triplet::Key;
use std::thread::sleep;
use std::time::Instant;

/// The most entries that should be written at once. Nobody else can write meanwhile, and who has to waits a
/// second (`lock_timeout`): 10,000 took 24 ms, 100,000 450 ms. LMDB keeps 511 changed pages (2 MB) in memory
/// and writes more of them early.
pub const MOST: usize = 50_000;

/// Records of the first transaction, and of the smallest.
const FEWEST: usize = 64;

/// What has become of records that were to be taken in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TakenIn {
    /// There was none.
    pub new: u64,
    /// There was one, which says more now.
    pub changed: u64,
    /// What was there said as much, or is an administrator's word.
    pub there: u64,
    /// A later version's record is in the place.
    pub unreadable: u64,
    /// Transactions: each held the writer's lock once.
    pub transactions: u64,
}

impl std::ops::AddAssign for TakenIn {
    fn add_assign(&mut self, other: Self) {
        self.new += other.new;
        self.changed += other.changed;
        self.there += other.there;
        self.unreadable += other.unreadable;
        self.transactions += other.transactions;
    }
}

impl Store {
    /// Writes these entries of the whitelist, in their canonical form: all of them, or none.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn whitelist(&self, entries: &[Entry]) -> Result<Effect, StoreError> {
        let entry = |entry: &Entry| {
            let Kind::Listed(kind) = entry.kind else { return None };
            let [text, ..] = &entry.texts;
            Some((self.secret().listed(kind, text), entry.clone()))
        };
        let now = entries.iter().map(|entry| entry.since).max().unwrap_or_default();
        self.enter(entries.iter().filter_map(entry).collect(), now)
    }

    /// Takes in `records` under their keys, into the tables where they belong: some ten thousand at a time.
    ///
    /// Where there is a record already, the earlier first time stays, the later last time and expiry, and
    /// the larger count; what an administrator entered stays as it is.
    ///
    /// # Errors
    /// See [`StoreError`]; what was written until then stays.
    pub fn take_in(&self, records: Vec<(Key, Any)>, now: Timestamp) -> Result<TakenIn, StoreError> {
        self.carry_all()?;
        let (pending, known): (Vec<_>, Vec<_>) = records.into_iter().partition(|(_, any)| any.is_pending());
        let mut taken = TakenIn::default();
        for (table, mut records) in [(Table::Known, known), (Table::Pending, pending)] {
            if records.is_empty() {
                continue;
            }
            // Neighbours share a page.
            records.sort_by_key(|(key, _)| *key);
            taken += self.take_into(self.environment(table)?, self.bound(table, now), records)?;
        }
        Ok(taken)
    }

    /// Begins with this head, where nothing was ever recorded, so that what another store has exported keeps
    /// its keys. Says whether the secret is that one now.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn adopt(&mut self, head: Meta) -> Result<bool, StoreError> {
        if self.meta.secret == head.secret {
            return Ok(true);
        }
        self.carry_all()?;
        let adopted = self.holds_nothing()?
            && self.known.write(PATIENCE, |writer| {
                // Somebody may have been faster.
                let mut empty = true;
                writer.each_from(&[0], |key, _| {
                    empty = is_own(key);
                    empty
                })?;
                if empty {
                    writer.put(META_KEY, &head.encode())?;
                }
                Ok(empty)
            })?;
        if adopted {
            self.meta = head;
        }
        Ok(adopted)
    }

    /// Whether there is no record that can be read.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn holds_nothing(&self) -> Result<bool, StoreError> {
        let mut found = false;
        for table in [Table::Known, Table::Pending] {
            self.scan_all(table, |_, _| {
                found = true;
                false
            })?;
        }
        Ok(!found)
    }

    /// What the store is.
    #[must_use]
    pub const fn head(&self) -> Meta {
        self.meta
    }

    fn take_into(&self, env: &Env, bound: Bound, records: Vec<(Key, Any)>) -> Result<TakenIn, StoreError> {
        let mut taken = TakenIn::default();
        let (mut left, mut batch) = (records.as_slice(), FEWEST);
        while !left.is_empty() {
            env.prepare()?;
            let mut start = None;
            let (done, some) = env.write(PATIENCE, |writer| {
                let start = *start.get_or_insert_with(Instant::now);
                let (mut done, mut taken) = (0, TakenIn::default());
                for (key, record) in left.iter().take(batch) {
                    if done >= FEWEST && start.elapsed() >= HOLD {
                        break;
                    }
                    done += 1;
                    *take(writer, key, record, bound, self.settings.privacy, &mut taken)? += 1;
                }
                Ok((done, taken))
            })?;
            let hold = start.map_or(HOLD, |start| start.elapsed());
            taken += TakenIn { transactions: 1, ..some };
            left = left.get(done..).unwrap_or_default();
            batch = if hold > LONG_HOLD { (batch / 2).max(FEWEST) } else { (batch * 2).min(MOST) };
            sleep(hold.min(LONG_HOLD) + HOLD);
        }
        Ok(taken)
    }
}

/// Takes one record in; says where it counts.
fn take<'t>(
    writer: &mut Writer<'_>,
    key: &Key,
    record: &Any,
    bound: Bound,
    privacy: bool,
    taken: &'t mut TakenIn,
) -> Result<&'t mut u64, Trouble> {
    let before = match writer.get(&key.0)?.map(Any::decode) {
        Some(None) => return Ok(&mut taken.unreadable),
        before => before.flatten(),
    };
    let mut after = match &before {
        Some(before) => join(before, record, bound.now),
        None => Some(record.clone()),
    };
    if privacy {
        after.iter_mut().for_each(Any::forget_texts);
    }
    let same = |after: &Any| before.as_ref().is_some_and(|before| before.encode() == after.encode());
    let Some(after) = after.filter(|after| !same(after)) else {
        return Ok(&mut taken.there);
    };
    match &after {
        Any::Entry(entry) => {
            // Nothing of ours is written beside a later version's.
            if writer.get(SUMMARY_KEY)?.is_some_and(|bytes| Summary::decode(bytes).is_none()) {
                return Ok(&mut taken.unreadable);
            }
            enter(writer, key, entry, bound)?;
        }
        Any::Attempt(record) => {
            writer.put(&key.0, &record.encode())?;
            writer.tidy(key, bound)?;
        }
    }
    Ok(if before.is_some() { &mut taken.changed } else { &mut taken.new })
}

/// What two records of one key say together; `None` where the first has the last word.
fn join(before: &Any, new: &Any, now: Timestamp) -> Option<Any> {
    match (before, new) {
        (Any::Attempt(before), Any::Attempt(new)) => join_records(before, new).map(Any::Attempt),
        (Any::Entry(before), Any::Entry(new)) => {
            let permit = matches!(before.kind, Kind::Replied | Kind::RepliedDomain | Kind::JustSent);
            // What has run out is nobody's word any more.
            let longer = new.until > before.until && (permit || before.until < now);
            longer.then(|| Any::Entry(new.clone()))
        }
        // Two kinds of one key: none can be another's.
        _ => None,
    }
}

fn join_records(before: &Record, new: &Record) -> Option<Record> {
    let facts = match (before.facts, new.facts) {
        (Facts::Pending { record: a, ripe, network }, Facts::Pending { record: b, ripe: other, .. }) => {
            let record =
                Pending { first_seen: a.first_seen.min(b.first_seen), passed: a.passed.or(b.passed) };
            Facts::Pending { record, ripe: record.passed.unwrap_or(ripe.min(other)), network }
        }
        (Facts::Known(a), Facts::Known(b)) => Facts::Known(Known {
            first_seen: a.first_seen.min(b.first_seen),
            passed: a.passed.min(b.passed),
            last_seen: a.last_seen.max(b.last_seen),
            counted: a.counted.max(b.counted),
        }),
        (Facts::Identity(a), Facts::Identity(b)) => {
            // Two histories cannot be told apart: that of the newest word stands.
            let newest = |earned: &Earned| earned.counted.max(earned.blamed);
            Facts::Identity(Earned {
                passes: a.passes.max(b.passes),
                first_seen: a.first_seen.min(b.first_seen),
                counted: a.counted.max(b.counted),
                last_seen: a.last_seen.max(b.last_seen),
                outcomes: if newest(&b) > newest(&a) { b.outcomes } else { a.outcomes },
                blamed: a.blamed.max(b.blamed),
            })
        }
        _ => return None,
    };
    let texts = if before.texts == Texts::default() { &new.texts } else { &before.texts };
    Some(Record { by: before.by, expires: before.expires.max(new.expires), facts, texts: texts.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::Outcomes;
    use crate::memory::Access;
    use crate::reply::By;
    use crate::settings::StoreSettings;
    use crate::store::record::VERSION;
    use crate::whitelist::ListKind;
    use std::path::Path;

    const NOW: Timestamp = Timestamp(10_000);

    fn store(dir: &Path) -> Store {
        let settings = StoreSettings { path: dir.into(), ..StoreSettings::default() };
        Store::open(&settings, Access::Record, NOW).unwrap().unwrap()
    }

    fn attempt(expires: u32, facts: Facts) -> Any {
        let texts = Texts { identity: b"192.0.2.0/24".to_vec(), ..Texts::default() };
        Any::Attempt(Record { by: By::Network, expires: Timestamp(expires), facts, texts })
    }

    fn known(expires: u32, [first_seen, passed, last_seen]: [u32; 3], counted: u8) -> Any {
        let [first_seen, passed, last_seen] = [first_seen, passed, last_seen].map(Timestamp);
        attempt(expires, Facts::Known(Known { first_seen, passed, last_seen, counted }))
    }

    fn earned(expires: u32, passes: u32, [first_seen, counted, last_seen, blamed]: [u32; 4]) -> Any {
        let [first_seen, counted, last_seen, blamed] =
            [first_seen, counted, last_seen, blamed].map(Timestamp);
        let all_passed = Outcomes::passes(passes);
        let outcomes = if blamed > Timestamp(0) { all_passed.and(true) } else { all_passed };
        let earned = Earned { passes, first_seen, counted, last_seen, outcomes, blamed };
        attempt(expires, Facts::Identity(earned))
    }

    fn pending(expires: u32, first_seen: u32, ripe: u32) -> Any {
        let record = Pending { first_seen: Timestamp(first_seen), passed: None };
        attempt(expires, Facts::Pending { record, ripe: Timestamp(ripe), network: 7 })
    }

    fn entry(kind: Kind, since: u32, until: u32, comment: &str) -> Any {
        let texts = [b"example.org".to_vec(), comment.into(), Vec::new()];
        Any::Entry(Entry::new(kind, Timestamp(since), Timestamp(until), texts))
    }

    /// What the store holds under `key`, after `records` were taken in one after the other.
    fn after(records: &[Any]) -> Any {
        let dir = tempfile::tempdir().unwrap();
        let (store, key) = (store(dir.path()), Key([9; 16]));
        for record in records {
            store.take_in(vec![(key, record.clone())], NOW).unwrap();
        }
        let table = if records[0].is_pending() { Table::Pending } else { Table::Known };
        let env = store.environment(table).unwrap();
        env.read(|snapshot| Ok(snapshot.get(&key.0)?.and_then(Any::decode))).unwrap().unwrap()
    }

    #[test]
    fn what_two_records_say_stays() {
        let one = known(20_000, [100, 400, 900], 1);
        let other = known(30_000, [200, 300, 700], 2);
        let both = known(30_000, [100, 300, 900], 2);
        assert_eq!(after(&[one.clone(), other.clone()]), both);
        assert_eq!(after(&[other, one]), both);

        let old = earned(20_000, 9, [100, 500, 900, 600]);
        let new = earned(30_000, 4, [200, 800, 850, 0]);
        let Any::Attempt(Record { facts: Facts::Identity(both), expires, .. }) = after(&[old, new]) else {
            panic!("an identity stays one");
        };
        assert_eq!((both.passes, both.first_seen.0, both.counted.0), (9, 100, 800));
        assert_eq!((both.last_seen.0, both.blamed.0, expires.0), (900, 600, 30_000));
        assert_eq!(both.outcomes, Outcomes::passes(4), "that of the newest word");

        let both = after(&[pending(20_000, 300, 600), pending(30_000, 200, 900)]);
        assert_eq!(both, pending(30_000, 200, 600));
    }

    #[test]
    fn what_an_administrator_entered_stays() {
        for kind in [Kind::Listed(ListKind::Sender), Kind::Trap, Kind::Released] {
            let (his, other) = (entry(kind, 1, 11_000, "his"), entry(kind, 2, 90_000, "imported"));
            assert_eq!(after(&[his.clone(), other.clone()]), his);
            let over = entry(kind, 1, 9_999, "his");
            assert_eq!(after(&[over, other.clone()]), other, "what has run out is nobody's word");
        }
        let [short, long] = [11_000, 90_000].map(|until| entry(Kind::Replied, 1, until, ""));
        assert_eq!(after(&[short.clone(), long.clone()]), long);
        assert_eq!(after(&[long.clone(), short]), long);
    }

    /// Interrupted anywhere, too: what is there already is among the records that come again.
    #[test]
    fn the_same_again_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        let key = |n: u32| Key([n.to_be_bytes(); 4].concat().try_into().unwrap());
        let record = |n: u32| match n % 4 {
            0 => known(20_000 + n, [n, n + 1, n + 2], 1),
            1 => earned(20_000 + n, n, [n, n + 1, n + 2, n % 3]),
            2 => pending(20_000 + n, n, n + 300),
            _ => entry(Kind::Listed(ListKind::Host), n, 20_000, "imported"),
        };
        let records: Vec<_> = (0..1_000).map(|n| (key(n), record(n))).collect();
        let taken = |many: usize| {
            let taken = store.take_in(records[..many].to_vec(), NOW).unwrap();
            (taken.new, taken.changed, taken.there, taken.unreadable)
        };
        assert_eq!(taken(500), (500, 0, 0, 0));
        assert_eq!(taken(1_000), (500, 0, 500, 0));
        assert_eq!(taken(1_000), (0, 0, 1_000, 0));
        let mut whole = 0;
        let mut find = |found: Key, record: Any| {
            let n = u32::from_be_bytes(*found.0.first_chunk().unwrap());
            assert_eq!(record, records[n as usize].1);
            whole += 1;
        };
        store.scan(Table::Known, |key, record| (find(key, Any::Attempt(record)), true).1).unwrap();
        store.scan(Table::Pending, |key, record| (find(key, Any::Attempt(record)), true).1).unwrap();
        assert_eq!(whole, 750);
        let mut entries = 0;
        store.scan_entries(|_| entries += 1).unwrap();
        assert_eq!(entries, 250);
    }

    /// But for the administrator's own list.
    #[test]
    fn a_store_that_keeps_no_texts_takes_none_in() {
        let dir = tempfile::tempdir().unwrap();
        let settings = StoreSettings { path: dir.path().into(), privacy: true, ..StoreSettings::default() };
        let store = Store::open(&settings, Access::Record, NOW).unwrap().unwrap();
        let records = [
            known(20_000, [1, 2, 3], 1),
            entry(Kind::Trap, 1, 20_000, ""),
            entry(Kind::Listed(ListKind::Host), 1, 20_000, "why"),
        ];
        store.take_in((1..).map(|n| Key([n; 16])).zip(records).collect(), NOW).unwrap();
        store
            .scan_all(Table::Known, |_, any| {
                match any {
                    Any::Attempt(record) => assert_eq!(record.texts, Texts::default()),
                    Any::Entry(entry) => {
                        let is_listed = matches!(entry.kind, Kind::Listed(_));
                        assert_eq!(entry.texts.concat().is_empty(), !is_listed);
                    }
                }
                true
            })
            .unwrap();
    }

    #[test]
    fn what_a_later_version_wrote_stays() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        let key = Key([9; 16]);
        let later = [VERSION + 1, 2, 3];
        store.known.write(PATIENCE, |writer| Ok(writer.put(&key.0, &later)?)).unwrap();
        let taken = store.take_in(vec![(key, known(20_000, [1, 2, 3], 1))], NOW).unwrap();
        assert_eq!((taken.unreadable, taken.new), (1, 0));
        let is_there = store.known.read(|snapshot| Ok(snapshot.get(&key.0)? == Some(&later[..]))).unwrap();
        assert!(is_there);
    }

    /// No transaction grows with the number of records.
    #[test]
    fn many_records_come_in_many_transactions() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        let key = |n: u32| Key([n.wrapping_mul(0x9e37_79b9).to_be_bytes(); 4].concat().try_into().unwrap());
        let records = (0..20_000).map(|n| (key(n), known(20_000, [1, 2, 3], 1))).collect();
        let before = store.known.version();
        let taken = store.take_in(records, NOW).unwrap();
        assert_eq!((taken.new, taken.transactions), (20_000, (store.known.version() - before) as u64));
        assert!(taken.transactions > 5, "{taken:?}");
    }
}
