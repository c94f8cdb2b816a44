//! All records of an environment, one after the other: for people, not for decisions.
//!
//! What is done with a record may take as long as a reader leaves a pager open. While a read transaction is
//! open, LMDB uses no page again, and the file grows with every write. So a few records are copied in a
//! transaction, and are visited outside of it. What is seen is no single moment: what comes or goes meanwhile
//! may be seen or not; a record that stays is seen once.

use super::any::Any;
use super::entries::{Entry, Summary};
use super::error::StoreError;
use super::lmdb::Env;
use super::record::{self, Record};
use super::table::{Skipped, Table};
use super::{SUMMARY_KEY, Store};
use crate::evidence::Earned;
use crate::identity::Identity;
use crate::reply::By;
use crate::time::Timestamp;
use crate::triplet::{Key, Triplet};
use crate::whitelist::ListKind;

/// Records that one transaction copies: some hundred microseconds, and under a megabyte.
const CHUNK: usize = 1024;

impl Store {
    /// Calls `visit` for each record and entry of a table that can be read, until it says stop (`false`). The
    /// order is that of the keys, which are hashes: none. No transaction is open meanwhile.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn scan_all(
        &self,
        table: Table,
        mut visit: impl FnMut(Key, Any) -> bool,
    ) -> Result<Skipped, StoreError> {
        let mut skipped = Skipped::default();
        let Some(env) = self.table(table)? else { return Ok(skipped) };
        each(env, |key, value| match (key.try_into(), Any::decode(value)) {
            (Ok(key), Some(record)) => visit(Key(key), record),
            (Ok(_), None) => {
                skipped.unreadable += 1;
                true
            }
            (Err(_), _) => true,
        })?;
        Ok(skipped)
    }

    /// The same for records alone.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn scan(
        &self,
        table: Table,
        mut visit: impl FnMut(Key, Record) -> bool,
    ) -> Result<Skipped, StoreError> {
        self.scan_all(table, |key, any| match any {
            Any::Attempt(record) => visit(key, record),
            Any::Entry(_) => true,
        })
    }

    /// The records of other identities that were seen with the network of `triplet`: those of the same mail,
    /// first seen in the same second.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn seen_with_network(&self, triplet: &Triplet<'_>) -> Result<Vec<Record>, StoreError> {
        let mut found = Vec::new();
        let Some(keys) = triplet.keys(self.secret()).first().copied() else { return Ok(found) };
        for (table, own) in [(Table::Known, keys.known), (Table::Pending, keys.pending)] {
            let Some(env) = self.table(table)? else { continue };
            // All keys of one mail begin with the same eight bytes.
            let (pair, _) = own.0.split_at(8);
            let mut left = CHUNK;
            env.read(|snapshot| {
                let Some(network) = snapshot.get(own.as_ref())?.and_then(Record::decode) else {
                    return Ok(());
                };
                snapshot.each_from(&[pair, &[0; 8]].concat(), |key, value| {
                    let of_pair = key.starts_with(pair);
                    let record = Record::decode(value).filter(|_| of_pair);
                    let together = |record: &Record| {
                        record.by != By::Network && record.facts.first_seen() == network.facts.first_seen()
                    };
                    found.extend(record.filter(together));
                    left -= 1;
                    of_pair && left > 0
                })
            })?;
        }
        Ok(found)
    }

    /// Calls `visit` for each entry, in no order. No transaction is open meanwhile.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn scan_entries(&self, mut visit: impl FnMut(Entry)) -> Result<(), StoreError> {
        each(&self.known, |_, value| {
            Entry::decode(value).into_iter().for_each(&mut visit);
            true
        })
    }

    /// The whitelist's entry with that canonical text.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn listed(&self, kind: ListKind, text: &[u8]) -> Result<Option<Entry>, StoreError> {
        let key = self.secret().listed(kind, text);
        self.known.read(|snapshot| Ok(snapshot.get(&key.0)?.and_then(Entry::decode)))
    }

    /// What a client identity has earned.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn earned(&self, identity: &Identity) -> Result<Option<Earned>, StoreError> {
        let key = self.secret().identity(identity);
        self.known.read(|snapshot| Ok(record::earned(snapshot.get(&key.0)?).here().copied()))
    }

    /// Until when mail of `triplet` is released, if it is.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn released(&self, triplet: &Triplet<'_>, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        let keys = triplet.released_keys(self.secret());
        self.known.read(|snapshot| {
            let mut until = None;
            for key in &keys {
                until = until.max(snapshot.get(&key.0)?.and_then(Entry::decode).map(|entry| entry.until));
            }
            Ok(until.filter(|until| *until >= now))
        })
    }

    /// Whether any mail is released.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn releases(&self, now: Timestamp) -> Result<bool, StoreError> {
        let summary = self.known.read(|snapshot| Ok(snapshot.get(SUMMARY_KEY)?.and_then(Summary::decode)))?;
        Ok(summary.is_some_and(|summary| summary.released >= now))
    }
}

/// Calls `visit` for each key and value of `env`, until it says stop (`false`).
pub(super) fn each(env: &Env, mut visit: impl FnMut(&[u8], &[u8]) -> bool) -> Result<(), StoreError> {
    // The least key there can be.
    let mut from = Some(vec![0]);
    while let Some(start) = from.take() {
        let mut chunk = Vec::new();
        env.read(|snapshot| {
            snapshot.each_from(&start, |key, value| {
                if chunk.len() == CHUNK {
                    from = Some(key.to_vec());
                    return false;
                }
                chunk.push((key.to_vec(), value.to_vec()));
                true
            })
        })?;
        if !chunk.iter().all(|(key, value)| visit(key, value)) {
            break;
        }
    }
    Ok(())
}
