//! Counters of decisions, in the file `state`, where every process bumps them without a lock.
//!
//! A cell of 64 bits holds the number of its hour or minute in the high half and the count in the low half,
//! so an old cell is recognised and taken over in one atomic step. A row has a cell for each word. There is a
//! row for the minute that is counted in, beside the locks; a ring of rows for the minutes before it, and a
//! ring for hours. Whoever takes over a cell passes on what it held: from the minute to the minutes, from
//! there to the hours. So most decisions write to one page, the one that they have to write to anyway.
//!
//! Some words are never counted, and their cells stay 0: local submissions and mail for which greylisting is
//! off are answered without the store, and where the configuration cannot be read, nobody knows where to
//! count.
//!
//! Counting is never worth a mail: whatever fails here, nothing is counted.

use super::state::{COUNTED_WORDS, State};
use crate::reply::{Action, Fault, Reason, Reply};
use crate::time::{Seconds, Timestamp};
use std::ops::RangeInclusive;
use std::sync::atomic::Ordering::Relaxed;

const FIRST_FAULT: usize = 20;

/// Passes in observe mode that would have been deferred.
const WOULD_DEFER: usize = 30;

/// Rows of one length in time, in which each moment has its row.
struct Ring {
    /// The first row, see [`State::count_row`].
    first: usize,
    rows: usize,
    /// The time of a row.
    span: Seconds,
}

/// What is counted goes from ring to ring: the minute that is counted in, 64 minutes, and 32 days, so that a
/// month can be told.
const RINGS: [Ring; 3] = [
    Ring { first: 0, rows: 1, span: Seconds::MINUTE },
    Ring { first: 1, rows: 64, span: Seconds::MINUTE },
    Ring { first: 65, rows: 768, span: Seconds::HOUR },
];

impl Ring {
    const fn epoch(&self, time: Timestamp) -> u32 {
        time.0 / self.span.0
    }

    const fn beginning(&self, epoch: u32) -> Timestamp {
        Timestamp(epoch.saturating_mul(self.span.0))
    }

    /// When the last `rows` up to the one of `now` begin.
    const fn since(&self, rows: u32, now: Timestamp) -> Timestamp {
        self.beginning((self.epoch(now) + 1).saturating_sub(rows))
    }

    const fn row(&self, epoch: u32) -> usize {
        self.first + epoch as usize % self.rows
    }

    /// Adds what was counted at a time to its cell. Says what is to be passed on: what another time had left
    /// in the cell, or what came too late for this ring.
    ///
    /// A cell that lies ahead of `now` was written by a clock that was ahead, and does not wait for that
    /// time: it is taken over like an old one. A minute ahead is a process that has looked at the clock a
    /// little later.
    fn add(
        &self,
        state: &State,
        word: usize,
        (time, count): (Timestamp, u64),
        now: Timestamp,
    ) -> Option<(Timestamp, u64)> {
        let [epoch, newest] = [time, now.plus(Seconds::MINUTE)].map(|time| self.epoch(time));
        let cell = state.count_row(self.row(epoch), true)?.get(word)?;
        // Starts with compare-exchange, not with a load: in a new process the load would fault the page once,
        // and the write once more. The low half does not run over: no hour has four billion decisions.
        let mut old = u64::from(epoch) << 32;
        loop {
            let (new, left) = match epoch_of(old) {
                there if there == epoch => (old + count, None),
                there if there > epoch && there <= newest => return Some((time, count)),
                there => (u64::from(epoch) << 32 | count, Some((self.beginning(there), count_of(old)))),
            };
            match cell.compare_exchange(old, new, Relaxed, Relaxed) {
                Ok(_) => return left.filter(|(_, count)| *count > 0),
                Err(now) => old = now,
            }
        }
    }
}

/// The counters of a store.
#[derive(Clone, Copy)]
pub struct Counters<'s>(&'s State);

/// What was counted over some time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    cells: [u64; COUNTED_WORDS],
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

    /// The words that are counted, with their numbers: reasons, then faults as `error=...`.
    pub fn words(&self) -> impl Iterator<Item = (String, u64)> {
        let reasons = Reason::ALL.iter().filter(|reason| !matches!(reason, Reason::Local | Reason::Off));
        let faults = Fault::ALL.iter().filter(|fault| **fault != Fault::BadConfig);
        let reasons = reasons.map(|reason| (reason.word().to_owned(), self.reason(*reason)));
        reasons.chain(faults.map(|fault| (format!("error={}", fault.word()), self.fault(*fault))))
    }

    /// Passes in observe mode that would have been deferred.
    #[must_use]
    pub fn would_defer(&self) -> u64 {
        self.cells.get(WOULD_DEFER).copied().unwrap_or(0)
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
        let add = |count, ring: &Ring| ring.add(self.0, word, count, now);
        // Breaks off where nothing is left to pass on.
        let _ = RINGS.iter().try_fold((now, 1), add);
    }

    /// The decisions of each hour that `range` touches, from its beginning on, the oldest hour first. At most
    /// the last 768 hours of it: no more are kept.
    pub fn hours(&self, range: RangeInclusive<Timestamp>) -> impl Iterator<Item = (Timestamp, Tally)> {
        let [.., ring] = &RINGS;
        let [start, end] = [*range.start(), *range.end()];
        let start = start.max(ring.since(ring.rows as u32, end));
        (ring.epoch(start)..=ring.epoch(end)).map(|hour| {
            let begin = ring.beginning(hour);
            (begin, self.sum(&RINGS, begin..=begin.plus(Seconds(3_599))))
        })
    }

    /// The decisions of the last `hours` hours up to the one of `now`, at most 768.
    #[must_use]
    pub fn last_hours(&self, hours: u32, now: Timestamp) -> Tally {
        let [.., ring] = &RINGS;
        self.sum(&RINGS, ring.since(hours, now)..=now)
    }

    /// The decisions of the last `minutes` minutes up to the one of `now`, at most 64.
    #[must_use]
    pub fn last_minutes(&self, minutes: u32, now: Timestamp) -> Tally {
        let [ring, ..] = &RINGS;
        let [rings @ .., _] = &RINGS;
        self.sum(rings, ring.since(minutes, now)..=now)
    }

    fn sum(&self, rings: &[Ring], range: RangeInclusive<Timestamp>) -> Tally {
        let mut tally = Tally::default();
        // Against the way of what is passed on: nothing is met twice.
        for ring in rings.iter().rev() {
            for epoch in ring.epoch(*range.start())..=ring.epoch(*range.end()) {
                let row = self.0.count_row(ring.row(epoch), false);
                for (sum, cell) in tally.cells.iter_mut().zip(row.into_iter().flatten()) {
                    let value = cell.load(Relaxed);
                    *sum += if epoch_of(value) == epoch { count_of(value) } else { 0 };
                }
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
        let month_later = now.plus(Seconds::HOUR.times(768));
        counters.count(&reply(Reason::Known), now);
        counters.count(&reply(Reason::Known), month_later);
        // In the same minute's place, so that those before go to their hours.
        for round in [64, 128] {
            counters.count(&reply(Reason::Known), month_later.plus(Seconds::MINUTE.times(round)));
        }
        assert_eq!(counters.last_hours(1, month_later).reason(Reason::Known), 1);
        assert_eq!(counters.last_hours(1, now).reason(Reason::Known), 0);
    }

    /// A decision stands in its minute's cell until that is taken over, and then in its hour's: it is counted
    /// once, wherever it is.
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
        let hours: Vec<_> = counters.hours(at(0)..=last).map(|(hour, tally)| (hour, tally.total())).collect();
        let expected = (0..24).map(|hour| (at(60 * hour), 7));
        assert!(hours.into_iter().eq(expected), "by the hour, the oldest first");
        // Long after.
        counters.count(&reply(Reason::Known), at(40 * 24 * 60));
        assert_eq!(counters.last_hours(1, at(40 * 24 * 60)).total(), 1);
        assert_eq!(counters.hours(Timestamp(0)..=at(40 * 24 * 60)).count(), 768, "as many as are kept");
    }

    /// A clock that was ahead, for minutes or years, stops no counter when it is set right, and neither does
    /// one that was behind.
    #[test]
    fn a_clock_that_was_wrong_is_forgotten_when_it_is_right() {
        let now = Timestamp(1_000_000_800);
        for wrong in
            [now.plus(Seconds::MINUTE.times(3)), now.plus(Seconds::DAY), Timestamp(u32::MAX), Timestamp(0)]
        {
            let dir = tempfile::tempdir().unwrap();
            let state = State::open(dir.path(), true).unwrap();
            let counters = Counters::of(&state);
            let at = |minutes| now.plus(Seconds::MINUTE.times(minutes));
            for minute in 0..3 * 60 {
                counters.count(&reply(Reason::New), wrong.plus(Seconds::MINUTE.times(minute)));
            }
            for minute in 200..260 {
                (0..100).for_each(|_| counters.count(&reply(Reason::New), at(minute)));
                assert_eq!(counters.last_minutes(1, at(minute)).total(), 100, "{wrong:?}, minute {minute}");
            }
            assert_eq!(counters.last_minutes(60, at(259)).total(), 6_000, "{wrong:?}");
            for hour in 5..1_000 {
                (0..100).for_each(|_| counters.count(&reply(Reason::New), at(60 * hour)));
            }
            let last = at(60 * 999);
            assert_eq!(counters.last_hours(24, last).total(), 2_400, "{wrong:?}");
            assert!(counters.hours(at(60 * 300)..=last).all(|(_, tally)| tally.total() == 100), "{wrong:?}");
        }
    }

    /// Two processes that look at the clock just before and just after a new minute are counted, each in its
    /// minute.
    #[test]
    fn a_process_that_is_a_little_late_is_counted() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(dir.path(), true).unwrap();
        let counters = Counters::of(&state);
        let minute = Timestamp(1_000_000_800);
        for _ in 0..10 {
            counters.count(&reply(Reason::New), minute);
            counters.count(&reply(Reason::New), Timestamp(minute.0 - 1));
        }
        assert_eq!(counters.last_minutes(1, minute).total(), 10);
        assert_eq!(counters.last_hours(2, minute).total(), 20);
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
