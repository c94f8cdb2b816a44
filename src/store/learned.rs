//! What became of first attempts, by pattern: a cell for each pattern in the file `state`, where every process
//! counts without a lock.
//!
//! ```text
//! head   0  u32  the number of the list of signs, plus one; 0: nothing was counted yet
//!        4  u32  when all was last halved
//! cell      u64  see `Tried::to_bits`
//! ```
//!
//! Kept true here:
//! - Counting is never worth a mail: whatever fails here, nothing is counted, and nothing was learned.
//! - What was counted with another list of signs says nothing. The next first attempt with this one begins anew.

use super::Store;
use super::record::{Ended, earned};
use super::state::State;
use crate::learned::{Outcome, PATTERNS, Pattern, Tried};
use crate::time::{Seconds, Timestamp};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// After so long all is halved, so that the table follows the present.
const HALF_LIFE: Seconds = Seconds::DAY.times(28);

/// The table in a file `state`.
#[derive(Clone, Copy)]
pub struct LearnedTable<'s>(&'s State);

impl<'s> LearnedTable<'s> {
    /// That of `state`.
    #[must_use]
    pub const fn of(state: &'s State) -> Self {
        Self(state)
    }

    /// What became of attempts of this pattern; `None` where nothing is known, or the table is damaged.
    #[must_use]
    pub fn tried(&self, pattern: Pattern) -> Option<Tried> {
        let list = self.list()?;
        (list == pattern.list()).then(|| self.at(pattern.place())).flatten()
    }

    /// All that was counted.
    pub fn all(&self) -> impl Iterator<Item = (Pattern, Tried)> {
        let list = self.list();
        let places = list.into_iter().flat_map(|list| (0..PATTERNS).map(move |place| (list, place)));
        let found = places.filter_map(|(list, place)| Some((Pattern::at(list, place), self.at(place)?)));
        found.filter(|(_, tried)| *tried != Tried::default())
    }

    /// Counts an outcome. A damaged cell begins anew.
    pub fn count(&self, pattern: Pattern, outcome: Outcome, now: Timestamp) {
        if outcome == Outcome::Began {
            self.begin(pattern.list(), now);
        }
        if self.list() == Some(pattern.list()) {
            self.change(pattern.place(), |tried| tried.and(outcome));
        }
    }

    /// Sets what is counted: for tests and simulations.
    pub fn set(&self, pattern: Pattern, tried: Tried, now: Timestamp) {
        self.begin(pattern.list(), now);
        self.change(pattern.place(), |_| tried);
    }

    /// Empties it; says whether there was anything.
    pub fn clear(&self) -> bool {
        let any = self.all().next().is_some();
        self.each(|_| Tried::default());
        any
    }

    /// Those that waited have gone with the boot: nobody knows whether they would have come back.
    pub fn forget_those_that_wait(&self) {
        self.each(|tried| Tried { waiting: 0, ..tried });
    }

    fn list(&self) -> Option<u32> {
        (self.0.learned_head(false)?.load(Relaxed) as u32).checked_sub(1)
    }

    fn at(&self, place: usize) -> Option<Tried> {
        Tried::from_bits(self.0.learned(place, false)?.load(Relaxed))
    }

    /// Makes sure that it is the table of this list, and halves it when that is due. A time from the future was
    /// written before the clock was set back.
    fn begin(&self, list: u32, now: Timestamp) {
        let Some(head) = self.0.learned_head(true) else { return };
        let before = head.load(Relaxed);
        let (there, halved) = (before as u32, Timestamp((before >> 32) as u32));
        let is_ours = there == list + 1;
        if is_ours && halved <= now && now.since(halved) < HALF_LIFE {
            return;
        }
        let after = u64::from(list + 1) | u64::from(now.0) << 32;
        if head.compare_exchange(before, after, Relaxed, Relaxed).is_err() {
            return;
        }
        if !is_ours {
            self.each(|_| Tried::default());
        } else if halved <= now {
            self.each(Tried::halved);
        }
    }

    fn each(&self, change: impl Fn(Tried) -> Tried) {
        (0..PATTERNS).for_each(|place| self.change(place, &change));
    }

    fn change(&self, place: usize, change: impl Fn(Tried) -> Tried) {
        let Some(cell) = self.0.learned(place, true) else { return };
        let next = |bits: u64| {
            let after = change(Tried::from_bits(bits).unwrap_or_default()).to_bits();
            (after != bits).then_some(after)
        };
        let _: Result<u64, u64> = AtomicU64::fetch_update(cell, Relaxed, Relaxed, next);
    }
}

impl Store {
    /// What was learned, if it can be kept.
    #[must_use]
    pub fn learned(&self) -> Option<LearnedTable<'_>> {
        self.state.as_deref().map(LearnedTable::of)
    }

    /// Counts what has ended by itself. It has stayed away, unless its client has passed since: then it came back,
    /// for other mail at least, and was not asked about this.
    pub(super) fn count_ended(&self, ended: &[Ended], now: Timestamp) {
        let Some(table) = self.learned().filter(|_| !ended.is_empty()) else { return };
        let mut passed = Vec::with_capacity(ended.len());
        // Where that cannot be read, nobody knows.
        let read = self.known.read(|snapshot| {
            passed.clear();
            for Ended { trial, first_seen, .. } in ended {
                let mut has_passed = false;
                snapshot.each_from(&trial.client, |key, value| {
                    let is_his = key.starts_with(&trial.client);
                    let last_seen = earned(Some(value).filter(|_| is_his)).here().map(|e| e.last_seen);
                    has_passed |= last_seen.is_some_and(|seen| seen >= *first_seen);
                    is_his
                })?;
                passed.push(has_passed);
            }
            Ok(())
        });
        if read.is_err() {
            passed = vec![true; ended.len()];
        }
        for (Ended { trial, is_over, .. }, passed) in ended.iter().zip(passed) {
            let outcome = if *is_over && !passed { Outcome::StayedAway } else { Outcome::Unknown };
            table.count(trial.pattern, outcome, now);
        }
    }
}

#[cfg(test)]
#[path = "learned_tests.rs"]
mod tests;
