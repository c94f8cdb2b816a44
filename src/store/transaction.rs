//! What is done in one transaction of an environment.

use super::error::StoreError;
use super::lmdb::transaction_id;
use super::record::{self, Ended};
use lmdb::{Cursor, Database, RoTransaction, RwTransaction, Transaction, WriteFlags};

/// What can stop a write: LMDB in this environment, or the store elsewhere.
#[derive(Debug)]
pub enum Trouble {
    /// LMDB in this environment.
    Lmdb(lmdb::Error),
    /// Another part of the store.
    Store(StoreError),
}

impl From<lmdb::Error> for Trouble {
    fn from(error: lmdb::Error) -> Self {
        Self::Lmdb(error)
    }
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// A transaction in which nothing is written.
pub(super) enum Reading<'env> {
    Shared(RoTransaction<'env>),
    /// With the writer's lock, where LMDB has no place for this process among the readers.
    Alone(RwTransaction<'env>),
}

/// A read transaction.
pub struct Snapshot<'env> {
    pub(super) txn: Reading<'env>,
    pub(super) db: Database,
}

impl Snapshot<'_> {
    /// The number of the commit that it shows.
    #[must_use]
    pub fn version(&self) -> usize {
        match &self.txn {
            Reading::Shared(txn) => transaction_id(txn),
            Reading::Alone(txn) => transaction_id(txn).saturating_sub(1),
        }
    }

    /// The value of `key`.
    ///
    /// # Errors
    /// What LMDB says.
    pub fn get(&self, key: &[u8]) -> lmdb::Result<Option<&[u8]>> {
        match &self.txn {
            Reading::Shared(txn) => optional(txn.get(self.db, &key)),
            Reading::Alone(txn) => optional(txn.get(self.db, &key)),
        }
    }

    /// Calls `visit` for each key and value, until it says stop (`false`).
    ///
    /// # Errors
    /// What LMDB says.
    pub fn each(&self, visit: impl FnMut(&[u8], &[u8]) -> bool) -> lmdb::Result<()> {
        // The least key there can be.
        self.each_from(&[0], visit)
    }

    /// The same from the first key that is not below `from`.
    ///
    /// # Errors
    /// What LMDB says.
    pub fn each_from(&self, from: &[u8], visit: impl FnMut(&[u8], &[u8]) -> bool) -> lmdb::Result<()> {
        match &self.txn {
            Reading::Shared(txn) => each_from(txn, self.db, from, visit),
            Reading::Alone(txn) => each_from(txn, self.db, from, visit),
        }
    }
}

/// A write transaction.
pub struct Writer<'env> {
    pub(super) txn: RwTransaction<'env>,
    pub(super) db: Database,
    /// First attempts that it has tidied away: to be counted after the commit.
    pub(super) ended: Vec<Ended>,
}

impl Writer<'_> {
    /// The number of the last commit before this one.
    #[must_use]
    pub fn version_before(&self) -> usize {
        transaction_id(&self.txn).saturating_sub(1)
    }

    /// The value of `key`.
    ///
    /// # Errors
    /// What LMDB says.
    pub fn get(&self, key: &[u8]) -> lmdb::Result<Option<&[u8]>> {
        optional(self.txn.get(self.db, &key))
    }

    /// As [`Snapshot::each_from`].
    ///
    /// # Errors
    /// What LMDB says.
    pub fn each_from(&self, from: &[u8], visit: impl FnMut(&[u8], &[u8]) -> bool) -> lmdb::Result<()> {
        each_from(&self.txn, self.db, from, visit)
    }

    /// Writes a record.
    ///
    /// # Errors
    /// What LMDB says.
    pub fn put(&mut self, key: &[u8], value: &[u8]) -> lmdb::Result<()> {
        self.txn.put(self.db, &key, &value, WriteFlags::empty())
    }

    /// Deletes a record, if it is there.
    ///
    /// # Errors
    /// What LMDB says.
    pub fn delete(&mut self, key: &[u8]) -> lmdb::Result<()> {
        optional(self.txn.del(self.db, &key, None)).map(|_| ())
    }

    /// Deletes a record that nobody came back to, or none `had_its_time` to come back to.
    ///
    /// # Errors
    /// What LMDB says.
    pub fn tidy_away(&mut self, key: &[u8], had_its_time: bool) -> lmdb::Result<()> {
        let ended = self.get(key)?.and_then(|value| record::ended(value, had_its_time));
        self.ended.extend(ended);
        self.delete(key)
    }
}

fn each_from(
    txn: &impl Transaction,
    db: Database,
    from: &[u8],
    mut visit: impl FnMut(&[u8], &[u8]) -> bool,
) -> lmdb::Result<()> {
    let cursor = txn.open_ro_cursor(db)?;
    let mut item = optional(cursor.get(Some(from), None, lmdb_sys::MDB_SET_RANGE))?;
    while let Some((key, value)) = item {
        // LMDB gives no key where it is the one that was asked for.
        if !visit(key.unwrap_or(from), value) {
            break;
        }
        item = optional(cursor.get(None, None, lmdb_sys::MDB_NEXT))?;
    }
    Ok(())
}

pub(super) fn optional<T>(result: lmdb::Result<T>) -> lmdb::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(lmdb::Error::NotFound) => Ok(None),
        Err(e) => Err(e),
    }
}
