//! Many entries at once, as an import brings them: in one transaction, with one flush. All of them are
//! written, or none.

use super::Store;
use super::error::StoreError;
use super::events::put;
use super::standing::{Kind, Standing};
use crate::time::Timestamp;

/// The most entries that should be written at once. Nobody else can write meanwhile, and who has to waits a
/// second (`lock_timeout`): 10,000 took 24 ms, 100,000 450 ms. LMDB keeps 511 changed pages (2 MB) in memory
/// and writes more of them early.
pub const MOST: usize = 50_000;

impl Store {
    /// Adds entries, each in its canonical form, to the whitelist, or replaces those that are there.
    ///
    /// # Errors
    /// See [`StoreError`]; no entry is added then.
    pub fn list_all(&self, entries: &[Standing], now: Timestamp) -> Result<(), StoreError> {
        self.known.write(self.patience(), |writer| {
            for entry in entries {
                if let (Kind::Listed(kind), [text, ..]) = (entry.kind, &entry.texts) {
                    put(writer, &self.secret().listed(kind, text), entry, now)?;
                }
            }
            Ok(())
        })
    }
}
