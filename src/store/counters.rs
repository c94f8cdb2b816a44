//! Counters of decisions, in the file `state`, where every process bumps them without a lock.
//!
//! A cell of 64 bits holds the number of its hour or minute in the high half and the count in the low half,
//! so an old cell is recognised and taken over in one atomic step. A row has a cell for each word. There is a
//! row for the minute that is counted in, beside the locks; rings of rows for the minutes before it, for 35
//! days of hours, and for two years of days; and a row for all that was before. Whoever takes over a cell
//! passes on what it held to the next. So most decisions write to one page, the one that they have to write to
//! anyway.
//!
//! Retries that pass are rarer. How long they had waited is counted by the hour at once, in rows of its own; and
//! in the hour of the first attempt, that it came back. So who never came back is known without a look at the
//! records: of the attempts of an hour whose windows are over, the others.
//!
//! Some words are never counted, and their cells stay 0: local submissions and mail for which greylisting is
//! off are answered without the store, and where the configuration cannot be read, nobody knows where to
//! count.
//!
//! Counting is never worth a mail: whatever fails here, nothing is counted. A process that is killed while it
//! passes something on loses that.

use super::state::{COUNTED_WORDS, State};
use crate::reply::{Action, Fault, Matched, Reason, Reply};
use crate::time::{Seconds, Timestamp};
use std::ops::RangeInclusive;
use std::sync::atomic::Ordering::Relaxed;

const FIRST_FAULT: usize = 20;

/// Passes in observe mode that would have been deferred.
const WOULD_DEFER: usize = 30;

/// Deferred, though with `learn = "on"` they would have passed.
const WOULD_PASS: usize = 19;
const _: () = assert!(Reason::ALL.len() <= WOULD_PASS);

/// How long retries that passed had waited, at most; the last one also takes what waited longer. Closer
/// where most servers come back (5 to 30 minutes), and where a window ends.
pub const WAITED: [Seconds; 16] = [
    Seconds(60),
    Seconds(120),
    Seconds(180),
    Seconds(240),
    Seconds(300),
    Seconds(360),
    Seconds(480),
    Seconds(600),
    Seconds(900),
    Seconds(1_200),
    Seconds(1_800),
    Seconds(3_600),
    Seconds(7_200),
    Seconds(14_400),
    Seconds(43_200),
    Seconds(86_400),
];

/// First attempts that came back.
const RETURNED: usize = WAITED.len();

/// When the first retry came of mails that had to wait once more for it, after at most so long; the last one
/// also takes what came later. These are delays that one would choose.
pub const EARLY: [Seconds; 7] =
    [Seconds(60), Seconds(120), Seconds(180), Seconds(300), Seconds(600), Seconds(900), Seconds(86_400)];

/// Such mails.
const CAME_EARLY: usize = RETURNED + 1;

/// Those of them that passed later.
const EARLY_PASSED: usize = CAME_EARLY + EARLY.len();

/// What is counted of first attempts.
const OUTCOME_WORDS: usize = EARLY_PASSED + EARLY.len();
const _: () = assert!(OUTCOME_WORDS <= COUNTED_WORDS);

/// Rows of one length in time, in which each moment has its row.
#[derive(Clone, Copy)]
struct Ring {
    /// The first row, see [`State::count_row`].
    first: usize,
    rows: usize,
    /// The time of a row.
    span: Seconds,
}

const fn ring(first: usize, rows: usize, span: Seconds) -> Ring {
    Ring { first, rows, span }
}

/// 35 days.
const HOURS: usize = 840;

/// Two years, one of them a leap year.
const DAYS: usize = 731;

/// All the time there is; a cell of that is a count alone.
const EVER: Seconds = Seconds(u32::MAX);

/// Decisions go from ring to ring: the minute that is counted in, 64 minutes, hours, days, and all before.
const DECISIONS: [Ring; 5] = [
    ring(0, 1, Seconds::MINUTE),
    ring(1, 64, Seconds::MINUTE),
    ring(65, HOURS, Seconds::HOUR),
    ring(65 + HOURS, DAYS, Seconds::DAY),
    ring(65 + HOURS + DAYS, 1, EVER),
];

const OUTCOMES_FROM: usize = 66 + HOURS + DAYS;

/// And so do the outcomes of first attempts.
const OUTCOMES: [Ring; 3] = [
    ring(OUTCOMES_FROM, HOURS, Seconds::HOUR),
    ring(OUTCOMES_FROM + HOURS, DAYS, Seconds::DAY),
    ring(OUTCOMES_FROM + HOURS + DAYS, 1, EVER),
];

/// All rows.
pub(super) const ROWS: usize = OUTCOMES_FROM + HOURS + DAYS + 1;

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
        if self.span == EVER {
            cell.fetch_add(count, Relaxed);
            return None;
        }
        // Starts with compare-exchange, not with a load: in a new process the load would fault the page once,
        // and the write once more. The low half does not run over: no day has four billion decisions.
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally {
    cells: [u64; COUNTED_WORDS],
    outcomes: [u64; OUTCOME_WORDS],
}

impl Default for Tally {
    fn default() -> Self {
        Self { cells: [0; COUNTED_WORDS], outcomes: [0; OUTCOME_WORDS] }
    }
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
        let reasons = Self::reasons().map(|reason| (reason.word().to_owned(), self.reason(reason)));
        reasons.chain(Self::faults().map(|fault| (format!("error={}", fault.word()), self.fault(fault))))
    }

    /// The reasons that are counted.
    pub fn reasons() -> impl Iterator<Item = Reason> {
        Reason::ALL.iter().copied().filter(|reason| !matches!(reason, Reason::Local | Reason::Off))
    }

    /// The faults that are counted.
    pub fn faults() -> impl Iterator<Item = Fault> {
        Fault::ALL.iter().copied().filter(|fault| *fault != Fault::BadConfig)
    }

    /// Passes in observe mode that would have been deferred.
    #[must_use]
    pub fn would_defer(&self) -> u64 {
        self.cells.get(WOULD_DEFER).copied().unwrap_or(0)
    }

    /// Deferred, though with `learn = "on"` they would have passed.
    #[must_use]
    pub fn would_pass(&self) -> u64 {
        self.cells.get(WOULD_PASS).copied().unwrap_or(0)
    }

    /// All decisions.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.cells.iter().take(WOULD_PASS).sum()
    }

    /// How many retries that passed had waited for up to each of [`WAITED`] and longer than the one before;
    /// the last number also has those that waited longer.
    #[must_use]
    pub fn waits(&self) -> &[u64; WAITED.len()] {
        self.outcomes.first_chunk().unwrap_or(&[0; WAITED.len()])
    }

    /// Mails whose first retry came too early in this time, by how long after the first attempt: up to each of
    /// [`EARLY`] and longer than the one before.
    #[must_use]
    pub fn came_early(&self) -> [u64; EARLY.len()] {
        std::array::from_fn(|i| self.outcomes.get(CAME_EARLY + i).copied().unwrap_or(0))
    }

    /// Those of them that passed later.
    #[must_use]
    pub fn early_that_passed(&self) -> [u64; EARLY.len()] {
        std::array::from_fn(|i| self.outcomes.get(EARLY_PASSED + i).copied().unwrap_or(0))
    }

    /// First attempts of this time that came back, and passed.
    #[must_use]
    pub fn came_back(&self) -> u64 {
        self.outcomes.get(RETURNED).copied().unwrap_or(0)
    }

    /// First attempts of this time that have not come back; that they never will is certain once their window
    /// is over. What only one recipient of a message came back for counts as not come back. In observe mode
    /// nobody has to.
    #[must_use]
    pub fn never_came_back(&self) -> u64 {
        self.reason(Reason::New).saturating_sub(self.came_back())
    }

    /// For how long `share` (0 to 1) of the retries that passed had waited at most: one of [`WAITED`]; `None`
    /// where none passed.
    #[must_use]
    pub fn waited(&self, share: f64) -> Option<Seconds> {
        let all: u64 = self.waits().iter().sum();
        let wanted = ((all as f64 * share).ceil() as u64).max(1);
        let mut below = 0;
        let bound = WAITED.iter().zip(self.waits()).find(|(_, count)| {
            below += **count;
            below >= wanted
        });
        bound.map(|(bound, _)| *bound).filter(|_| all > 0)
    }

    /// Adds what was counted over another time.
    pub fn add(&mut self, other: &Self) {
        let sums = self.cells.iter_mut().chain(&mut self.outcomes);
        sums.zip(other.cells.iter().chain(&other.outcomes)).for_each(|(sum, count)| *sum += count);
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
        self.bump(&DECISIONS, reply.reason as usize, (now, 1), now);
        if let Some(fault) = reply.fault {
            self.bump(&DECISIONS, FIRST_FAULT + fault as usize, (now, 1), now);
        }
        if reply.is_observed() {
            self.bump(&DECISIONS, WOULD_DEFER, (now, 1), now);
        }
        if (reply.action, reply.would) == (Action::Defer, Some(Action::Pass)) {
            self.bump(&DECISIONS, WOULD_PASS, (now, 1), now);
        }
        if let Some(waited) = reply.delay.filter(|_| reply.reason == Reason::Retried) {
            let place = WAITED.iter().position(|bound| waited <= *bound).unwrap_or(RETURNED - 1);
            self.bump(&OUTCOMES, place, (now, 1), now);
            // A recipient that passes with another's retry need not have had a first attempt.
            if reply.by != Some(Matched::Message) {
                self.bump(&OUTCOMES, RETURNED, (Timestamp(now.0.saturating_sub(waited.0)), 1), now);
            }
        }
    }

    /// Counts a mail whose first retry came too early, at a time.
    pub(super) fn count_early(&self, waited: Seconds, at: Timestamp, now: Timestamp) {
        self.bump(&OUTCOMES, CAME_EARLY + early_place(waited), (at, 1), now);
    }

    /// Counts that such a mail has passed.
    pub(super) fn count_early_that_passed(&self, waited: Seconds, at: Timestamp, now: Timestamp) {
        self.bump(&OUTCOMES, EARLY_PASSED + early_place(waited), (at, 1), now);
    }

    fn bump(&self, rings: &[Ring], word: usize, counted: (Timestamp, u64), now: Timestamp) {
        let add = |counted, ring: &Ring| ring.add(self.0, word, counted, now);
        // Breaks off where nothing is left to pass on.
        let _ = rings.iter().try_fold(counted, add);
    }

    /// What was counted in each hour that `range` touches, from its beginning on, the oldest hour first. At
    /// most the last 840 hours of it: no more are kept.
    pub fn hours(&self, range: RangeInclusive<Timestamp>) -> impl Iterator<Item = (Timestamp, Tally)> {
        let ([decisions @ .., _, _], [hour, ..]) = (&DECISIONS, &OUTCOMES);
        self.by(range, hour, decisions, std::slice::from_ref(hour))
    }

    /// The same of each day (UTC), at most the last 731.
    pub fn days(&self, range: RangeInclusive<Timestamp>) -> impl Iterator<Item = (Timestamp, Tally)> {
        let ([decisions @ .., _], [outcomes @ .., _]) = (&DECISIONS, &OUTCOMES);
        let [.., day] = outcomes;
        self.by(range, day, decisions, outcomes)
    }

    fn by(
        &self,
        range: RangeInclusive<Timestamp>,
        by: &'static Ring,
        decisions: &'static [Ring],
        outcomes: &'static [Ring],
    ) -> impl Iterator<Item = (Timestamp, Tally)> {
        let end = *range.end();
        let start = (*range.start()).max(by.since(by.rows as u32, end));
        (by.epoch(start)..=by.epoch(end)).map(|epoch| {
            let begin = by.beginning(epoch);
            let last = Timestamp(begin.0.saturating_add(by.span.0 - 1));
            (begin, self.sum(decisions, outcomes, begin..=last))
        })
    }

    /// What was counted in the last `hours` hours up to the one of `now`, at most 840.
    #[must_use]
    pub fn last_hours(&self, hours: u32, now: Timestamp) -> Tally {
        let ([decisions @ .., _, _], [hour, ..]) = (&DECISIONS, &OUTCOMES);
        self.sum(decisions, std::slice::from_ref(hour), hour.since(hours, now)..=now)
    }

    /// The decisions of the last `minutes` minutes up to the one of `now`, at most 64. (What became of first
    /// attempts is not counted by the minute.)
    #[must_use]
    pub fn last_minutes(&self, minutes: u32, now: Timestamp) -> Tally {
        let [decisions @ .., _, _, _] = &DECISIONS;
        let [minute, ..] = decisions;
        self.sum(decisions, &[], minute.since(minutes, now)..=now)
    }

    /// All that was counted since the file was made: numbers that only grow. A process that is just passing
    /// something on has it in its hand, so what is read in the same moment may lack it: of three readings the
    /// largest counts.
    #[must_use]
    pub fn ever(&self) -> Tally {
        let mut ever = Tally::default();
        for _ in 0..3 {
            let now = self.sum(&DECISIONS, &OUTCOMES, Timestamp(0)..=Timestamp(u32::MAX));
            let sums = ever.cells.iter_mut().chain(&mut ever.outcomes);
            sums.zip(now.cells.iter().chain(&now.outcomes))
                .for_each(|(sum, count)| *sum = (*sum).max(*count));
        }
        ever
    }

    fn sum(&self, decisions: &[Ring], outcomes: &[Ring], range: RangeInclusive<Timestamp>) -> Tally {
        let mut tally = Tally::default();
        self.add_up(decisions, &range, &mut tally.cells);
        self.add_up(outcomes, &range, &mut tally.outcomes);
        tally
    }

    fn add_up(&self, rings: &[Ring], range: &RangeInclusive<Timestamp>, sums: &mut [u64]) {
        // Against the way of what is passed on: nothing is met twice.
        for ring in rings.iter().rev() {
            let epochs = ring.epoch(*range.start())..=ring.epoch(*range.end());
            // Each row once: of a long range all.
            let rows = (ring.rows as u32).min(epochs.end() - epochs.start() + 1);
            for epoch in (*epochs.start()..=u32::MAX).take(rows as usize) {
                let row = self.0.count_row(ring.row(epoch), false);
                for (sum, cell) in sums.iter_mut().zip(row.into_iter().flatten()) {
                    let value = cell.load(Relaxed);
                    *sum += match epochs.contains(&epoch_of(value)) {
                        _ if ring.span == EVER => value,
                        true => count_of(value),
                        false => 0,
                    };
                }
            }
        }
    }
}

fn early_place(waited: Seconds) -> usize {
    EARLY.iter().position(|bound| waited <= *bound).unwrap_or(EARLY.len() - 1)
}

const fn epoch_of(cell: u64) -> u32 {
    (cell >> 32) as u32
}

const fn count_of(cell: u64) -> u64 {
    cell & u32::MAX as u64
}

#[cfg(test)]
#[path = "counters_tests.rs"]
mod tests;
