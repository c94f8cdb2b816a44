//! Many entries at once, as an import brings them: in one transaction, with one flush. All of them are
//! written, or none.

use super::Store;
use super::entries::{Entry, Kind};
use super::error::StoreError;
use crate::reply::Effect;

/// The most entries that should be written at once. Nobody else can write meanwhile, and who has to waits a
/// second (`lock_timeout`): 10,000 took 24 ms, 100,000 450 ms. LMDB keeps 511 changed pages (2 MB) in memory
/// and writes more of them early.
pub const MOST: usize = 50_000;

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
}
