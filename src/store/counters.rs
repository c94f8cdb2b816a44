//! Counters of decisions, an hour and a minute at a time, in the file `state`, where every process bumps them without a lock.
//!
//! A cell of 64 bits holds the number of its hour or minute in the high half and the count in the low half, so an old cell
//! is recognised and taken over in one atomic step. There is a ring of hours and a ring of minutes, each with a row of 32
//! cells a slot. A decision is counted in its minute, and whoever takes over a cell of an old minute adds that to its hour:
//! one page to touch, not two.
//!
//! Counting is never worth a mail: whatever fails here, nothing is counted.

use super::state::State;
use crate::reply::{Action, Fault, Reason, Reply};
use crate::time::Timestamp;
use std::cmp::Ordering::{Equal, Greater, Less};
use std::ops::RangeInclusive;
use std::sync::atomic::Ordering;

/// Cells in a row: reasons from 0, faults from 20, WOULD_DEFER. There is room for more words. The last cell stays free: the
/// last byte of each page is `state`'s.
const WORDS: usize = 32;

const FIRST_FAULT: usize = 20;

/// Passes in observe mode that would have been deferred.
const WOULD_DEFER: usize = 30;

/// Hours kept: 32 days, so that a month can be told.
const HOURS: usize = 768;

/// Minutes kept.
const MINUTES: usize = 64;

/// All cells.
pub(super) const CELLS: usize = (HOURS + MINUTES) * WORDS;

/// The counters of a store.
#[derive(Clone, Copy)]
pub struct Counters<'s>(&'s State);

/// What was counted over some time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    cells: [u64; WORDS],
}

impl Tally {
    /// Decisions with this reason.
    #[must_use]
    pub fn reason(&self, reason: Reason) -> u64 {
        self.cells.get(reason as usize).copied().unwrap_or(0)
    }

    /// Passes with this fault.
    #[must_use]
    pub fn fault(&self, fault: Fault) -> u64 {
        self.cells.get(FIRST_FAULT + fault as usize).copied().unwrap_or(0)
    }

    /// Passes in observe mode that would have been deferred.
    #[must_use]
    pub fn would_defer(&self) -> u64 {
        self.cells.get(WOULD_DEFER).copied().unwrap_or(0)
    }

    fn add(&mut self, other: &Self) {
        for (sum, more) in self.cells.iter_mut().zip(other.cells) {
            *sum += more;
        }
    }

    /// All decisions.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.cells.iter().take(FIRST_FAULT).sum()
    }
}

impl<'s> Counters<'s> {
    /// Those in `state`.
    #[must_use]
    pub const fn of(state: &'s State) -> Self {
        Self(state)
    }

    /// Counts a reply.
    pub fn count(&self, reply: &Reply, now: Timestamp) {
        self.bump(reply.reason as usize, now);
        if let Some(fault) = reply.fault {
            self.bump(FIRST_FAULT + fault as usize, now);
        }
        if reply.would == Some(Action::Defer) {
            self.bump(WOULD_DEFER, now);
        }
    }

    fn bump(&self, word: usize, now: Timestamp) {
        if let Some((minute, count)) = self.add(HOURS, MINUTES, word, now.0 / 60, 1) {
            self.add(0, HOURS, word, minute / 60, count);
        }
    }

    /// Adds to the cell of an hour or minute in the ring that begins at slot `first`. Says what it held of an earlier one, if
    /// it did; to an earlier one than it holds, nothing is added.
    fn add(&self, first: usize, slots: usize, word: usize, epoch: u32, count: u64) -> Option<(u32, u64)> {
        let place = (first + epoch as usize % slots) * WORDS + word;
        let cell = self.0.counters().get(place).filter(|_| self.0.may_count(place))?;
        // Begins with a guess: in a new process a look would be a page fault of its own, and a try to write is none more. The
        // low half does not run over: no hour has four billion decisions.
        let mut old = u64::from(epoch) << 32;
        loop {
            let (new, left) = match epoch_of(old).cmp(&epoch) {
                Less => (u64::from(epoch) << 32 | count, Some((epoch_of(old), count_of(old)))),
                Equal => (old + count, None),
                Greater => return None,
            };
            match cell.compare_exchange(old, new, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return left,
                Err(now) => old = now,
            }
        }
    }

    /// The decisions of the last `hours` hours up to the one of `now`, at most 768.
    #[must_use]
    pub fn last_hours(&self, hours: u32, now: Timestamp) -> Tally {
        let last = now.0 / 3_600;
        let since = (last + 1).saturating_sub(hours);
        let mut tally = self.sum(0, HOURS, since..=last);
        // What no one has added to its hour yet.
        tally.add(&self.sum(HOURS, MINUTES, since * 60..=last * 60 + 59));
        tally
    }

    /// The decisions of the last `minutes` minutes up to the one of `now`, at most 64.
    #[must_use]
    pub fn last_minutes(&self, minutes: u32, now: Timestamp) -> Tally {
        let last = now.0 / 60;
        self.sum(HOURS, MINUTES, (last + 1).saturating_sub(minutes)..=last)
    }

    /// The cells of these hours or minutes in the ring that begins at slot `first`.
    fn sum(&self, first: usize, slots: usize, epochs: RangeInclusive<u32>) -> Tally {
        let mut tally = Tally::default();
        for row in self.0.counters().chunks(WORDS).skip(first).take(slots) {
            for (sum, cell) in tally.cells.iter_mut().zip(row) {
                let value = cell.load(Ordering::Relaxed);
                *sum += if epochs.contains(&epoch_of(value)) { count_of(value) } else { 0 };
            }
        }
        tally
    }
}

const fn epoch_of(cell: u64) -> u32 {
    (cell >> 32) as u32
}

const fn count_of(cell: u64) -> u64 {
    cell & u32::MAX as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Seconds;

    fn reply(reason: Reason) -> Reply {
        Reply::new(reason)
    }

    #[test]
    fn decisions_are_counted_by_the_hour_and_the_minute() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(dir.path(), true).unwrap();
        let counters = Counters::of(&state);
        let now = Timestamp(1_000_000_000);
        counters.count(&reply(Reason::New), now);
        counters.count(&reply(Reason::New), now.plus(Seconds::HOUR.times(2)));
        counters.count(&Reply::error(Fault::StoreLock), now);
        counters.count(&Reply { would: Some(Action::Defer), ..reply(Reason::Early) }, now);
        let hour = counters.last_hours(1, now);
        assert_eq!(
            [hour.reason(Reason::New), hour.reason(Reason::Early), hour.reason(Reason::Error)],
            [1, 1, 1]
        );
        assert_eq!((hour.fault(Fault::StoreLock), hour.would_defer(), hour.total()), (1, 1, 3));
        let later = now.plus(Seconds::HOUR.times(2));
        assert_eq!(counters.last_hours(1, later).total(), 1);
        assert_eq!(counters.last_hours(3, later).total(), 4);
        assert_eq!(counters.last_minutes(5, later).total(), 1);
        assert_eq!(counters.last_minutes(5, now.plus(Seconds::MINUTE.times(6))).total(), 0);
        assert_eq!(counters.last_minutes(5, now.plus(Seconds::MINUTE.times(4))).total(), 3);
    }

    #[test]
    fn an_old_hour_makes_room_for_the_new_one_in_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(dir.path(), true).unwrap();
        let counters = Counters::of(&state);
        let now = Timestamp(1_000_000_000);
        let month_later = now.plus(Seconds::HOUR.times(HOURS as u32));
        counters.count(&reply(Reason::Known), now);
        counters.count(&reply(Reason::Known), month_later);
        // In the same minute's place, so that the one before goes to its hour.
        counters.count(&reply(Reason::Known), month_later.plus(Seconds::MINUTE.times(MINUTES as u32)));
        assert_eq!(counters.last_hours(1, month_later).reason(Reason::Known), 1);
        assert_eq!(counters.last_hours(1, now).reason(Reason::Known), 0);
    }

    /// A decision stands in its minute's cell until that is taken over, and then in its hour's: it is counted once, wherever it is.
    #[test]
    fn what_has_left_the_minutes_is_in_the_hours() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(dir.path(), true).unwrap();
        let counters = Counters::of(&state);
        let start = Timestamp(1_000_000_800);
        let at = |minutes| start.plus(Seconds::MINUTE.times(minutes));
        // Every tenth minute for a day, some twice: the ring of 64 minutes has gone round many times.
        for minute in (0..24 * 60).step_by(10) {
            counters.count(&reply(Reason::Known), at(minute));
            if minute % 60 == 0 {
                counters.count(&reply(Reason::Known), at(minute));
            }
        }
        let last = at(24 * 60 - 10);
        for (hours, counted) in [(1, 7), (2, 14), (24, 7 * 24), (30, 7 * 24)] {
            assert_eq!(counters.last_hours(hours, last).reason(Reason::Known), counted, "{hours} hours");
        }
        assert_eq!(counters.last_hours(1, at(5 * 60)).reason(Reason::Known), 7, "an hour in between");
        assert_eq!(counters.last_minutes(60, last).total(), 7);
        // Long after, and from a clock that went back.
        counters.count(&reply(Reason::Known), at(40 * 24 * 60));
        assert_eq!(counters.last_hours(1, at(40 * 24 * 60)).total(), 1);
        counters.count(&reply(Reason::Known), start);
        assert_eq!(counters.last_hours(1, at(40 * 24 * 60)).total(), 1);
    }

    #[test]
    fn all_processes_share_one_file() {
        let dir = tempfile::tempdir().unwrap();
        let states = [(); 2].map(|()| State::open(dir.path(), true).unwrap());
        let [one, two] = states.each_ref().map(Counters::of);
        one.count(&reply(Reason::New), Timestamp(60));
        two.count(&reply(Reason::New), Timestamp(60));
        assert_eq!(one.last_hours(1, Timestamp(60)).total(), 2);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    /// The words' numbers are on disk: a row has room for them, and no two share a cell.
    #[test]
    fn every_word_has_a_cell_of_its_own() {
        assert!(Reason::ALL.len() <= FIRST_FAULT);
        assert!(FIRST_FAULT + Fault::ALL.len() <= WOULD_DEFER);
        assert_eq!((Reason::New as usize, Reason::Error as usize, Fault::Internal as usize), (0, 11, 8));
    }
}
