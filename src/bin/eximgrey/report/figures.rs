//! The figures of a report: values alone, made of what was counted and of one scan of the store.

use super::busiest::Scanned;
use crate::learned::Line;
use eximgrey::reply::{Fault, Reason};
use eximgrey::store::counters::{EARLY, Tally, WAITED};
use eximgrey::time::{Seconds, Timestamp};
use std::ops::AddAssign;

/// All that a report shows.
pub struct Figures {
    pub site: Site,
    pub period: Period,
    /// `None`: the counters cannot be used.
    pub counted: Option<Counted>,
    pub scanned: Scanned,
    /// What became of first attempts, the best first.
    pub learned: Vec<Line>,
}

/// Whose report it is.
pub struct Site {
    /// The name of this machine.
    pub host: String,
    pub store: String,
    pub made: Timestamp,
    /// The store keeps no texts.
    pub privacy: bool,
    /// How long after the first attempt a retry counts.
    pub window: Seconds,
}

/// Of what time.
#[derive(Clone, Copy)]
pub struct Period {
    /// How far back was asked for.
    pub asked: Seconds,
    /// When it begins: with a whole hour or day.
    pub from: Timestamp,
    pub to: Timestamp,
}

/// What was counted.
pub struct Counted {
    pub total: Counts,
    /// The time of a row.
    pub step: Seconds,
    /// The oldest first, from the first in which something was decided.
    pub rows: Vec<(Timestamp, Counts)>,
}

/// What was decided over some time, in the words that the counters have.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Counts {
    pub reasons: [u64; Reason::ALL.len()],
    pub faults: [u64; Fault::ALL.len()],
    /// Passes in observe mode that would have been deferred.
    pub would_defer: u64,
    /// Deferred, though with `learn = "on"` they would have passed.
    pub would_pass: u64,
    /// How many retries had waited for up to each of [`WAITED`]; the last also has those that waited longer.
    pub waits: [u64; WAITED.len()],
    /// Mails whose first retry came too early, by when it came: see [`EARLY`].
    pub came_early: [u64; EARLY.len()],
    /// Those of them that passed later.
    pub early_that_passed: [u64; EARLY.len()],
    /// First attempts that have not come back; in the total of a report, those whose time ended without.
    pub never_came_back: u64,
}

impl From<&Tally> for Counts {
    fn from(tally: &Tally) -> Self {
        let mut counts = Self {
            would_defer: tally.would_defer(),
            would_pass: tally.would_pass(),
            waits: *tally.waits(),
            came_early: tally.came_early(),
            early_that_passed: tally.early_that_passed(),
            never_came_back: tally.never_came_back(),
            ..Self::default()
        };
        counts.reasons.iter_mut().zip(Reason::ALL).for_each(|(count, reason)| *count = tally.reason(*reason));
        counts.faults.iter_mut().zip(Fault::ALL).for_each(|(count, fault)| *count = tally.fault(*fault));
        counts
    }
}

impl AddAssign<&Self> for Counts {
    fn add_assign(&mut self, other: &Self) {
        let add = |sums: &mut [u64], more: &[u64]| {
            sums.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
        };
        add(&mut self.reasons, &other.reasons);
        add(&mut self.faults, &other.faults);
        add(&mut self.waits, &other.waits);
        add(&mut self.came_early, &other.came_early);
        add(&mut self.early_that_passed, &other.early_that_passed);
        self.would_defer += other.would_defer;
        self.would_pass += other.would_pass;
        self.never_came_back += other.never_came_back;
    }
}

/// The reasons for which mail passes that has not waited. `known` first: it is not from strangers.
pub const AT_ONCE: [Reason; 6] =
    [Reason::Known, Reason::Auto, Reason::Whitelisted, Reason::Replied, Reason::Released, Reason::Likely];

impl Counts {
    pub fn reason(&self, reason: Reason) -> u64 {
        self.reasons.get(reason as usize).copied().unwrap_or(0)
    }

    pub fn fault(&self, fault: Fault) -> u64 {
        self.faults.get(fault as usize).copied().unwrap_or(0)
    }

    pub fn total(&self) -> u64 {
        self.reasons.iter().sum()
    }

    pub fn first_attempts(&self) -> u64 {
        self.reason(Reason::New)
    }

    pub fn came_back(&self) -> u64 {
        self.reason(Reason::Retried)
    }

    pub fn passed_at_once(&self) -> u64 {
        AT_ONCE.iter().map(|reason| self.reason(*reason)).sum()
    }

    pub fn errors(&self) -> u64 {
        self.reason(Reason::Error)
    }

    /// What had to wait; in observe mode, what would have had to.
    pub fn held(&self) -> u64 {
        self.total() - self.came_back() - self.passed_at_once() - self.errors()
    }

    /// What was answered 451.
    pub fn deferred(&self) -> u64 {
        self.held().saturating_sub(self.would_defer)
    }

    /// Mail that passed, whatever let it pass.
    pub fn passed(&self) -> u64 {
        self.total() - self.deferred()
    }

    /// Mail that passed though its triplet was not known: what a greylister could have made wait. The
    /// whitelist is left out, because it lets known mail pass, too.
    pub fn first_contacts(&self) -> u64 {
        self.came_back()
            + self.reason(Reason::Auto)
            + self.reason(Reason::Replied)
            + self.reason(Reason::Released)
            + self.reason(Reason::Likely)
    }

    pub fn waited(&self) -> u64 {
        self.waits.iter().sum()
    }

    /// Which share of the mail that came back passed at its first retry.
    pub fn at_first_retry(&self) -> Option<f64> {
        self.at_first_retry_but(self.early_that_passed.iter().sum())
    }

    fn at_first_retry_but(&self, too_early: u64) -> Option<f64> {
        share(self.waited().saturating_sub(too_early), self.waited())
    }

    /// The longest delay, shorter than those in force, with which so many would have passed at their first
    /// retry; `None` where they do, or where no delay of [`EARLY`] would do.
    pub fn shorter_delay(&self, wanted: f64) -> Option<Shorter> {
        if self.at_first_retry()? >= wanted {
            return None;
        }
        // With a delay of the n-th bound, first retries of the buckets up to the n-th come too early still.
        let candidates = EARLY.iter().enumerate().rev().map(|(n, delay)| {
            let of = |counts: &[u64]| {
                counts
                    .split_at_checked(n + 1)
                    .map_or((0, 0), |(soon, late)| (soon.iter().sum::<u64>(), late.iter().sum::<u64>()))
            };
            let ((too_early, passed), (_, came)) = (of(&self.early_that_passed), of(&self.came_early));
            (*delay, too_early, came.saturating_sub(passed))
        });
        candidates
            .filter_map(|(delay, too_early, besides)| {
                let share = self.at_first_retry_but(too_early)?;
                Some(Shorter { delay, share, besides })
            })
            .find(|shorter| shorter.share >= wanted)
    }

    /// How long that share of the retries had waited at most, to within its bucket.
    pub fn wait(&self, share: f64) -> Option<Wait> {
        let rank = share * self.waited() as f64;
        let (mut below, mut from) = (0, Seconds(0));
        for (limit, here) in WAITED.iter().zip(&self.waits) {
            below += here;
            if *here > 0 && below as f64 >= rank {
                return Some(if limit == &LONGEST { Wait::Over(from) } else { Wait::UpTo(*limit) });
            }
            from = *limit;
        }
        None
    }
}

/// What a shorter delay would have come to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shorter {
    pub delay: Seconds,
    /// Which share of the mail that came back would have passed at its first retry.
    pub share: f64,
    /// So many mails came back too early and then no more, that would have passed.
    pub besides: u64,
}

/// The limit of the last bucket, which also holds what has waited longer.
const LONGEST: Seconds = match WAITED.last() {
    Some(last) => *last,
    None => Seconds(0),
};

/// How long something waited, as far as the counters tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    UpTo(Seconds),
    Over(Seconds),
}

impl Wait {
    pub const fn seconds(self) -> Seconds {
        match self {
            Self::UpTo(wait) | Self::Over(wait) => wait,
        }
    }
}

/// The waits of retries: from, up to, how many. Without the empty ones at both ends; the last one has no end.
pub fn histogram(counts: &Counts) -> Vec<(Seconds, Option<Seconds>, u64)> {
    let from = [Seconds(0)].into_iter().chain(WAITED);
    let to = WAITED.iter().map(|limit| Some(*limit).filter(|limit| *limit != LONGEST));
    let all: Vec<_> = from.zip(to).zip(counts.waits).map(|((from, to), n)| (from, to, n)).collect();
    let is_used = |(_, _, n): &(Seconds, Option<Seconds>, u64)| *n > 0;
    let first = all.iter().position(is_used).unwrap_or(all.len());
    let last = all.iter().rposition(is_used).unwrap_or(0);
    all.get(first..=last).unwrap_or_default().to_vec()
}

impl Counted {
    /// Leaves those out that may still come back, of whom the store tells.
    pub fn without_open(mut self, scanned: &Scanned) -> Self {
        self.total.never_came_back = self.total.never_came_back.saturating_sub(scanned.may_come_back);
        self
    }
}

/// Steps of a chart or table over time.
const STEPS: [Seconds; 5] =
    [Seconds::HOUR, Seconds(6 * 3_600), Seconds::DAY, Seconds(7 * 86_400), Seconds(28 * 86_400)];

impl Counted {
    /// The rows put together to at most so many, of the least step that allows it.
    pub fn in_at_most(&self, most: usize) -> (Seconds, Vec<(Timestamp, Counts)>) {
        let mut steps = STEPS.into_iter().filter(|step| *step >= self.step);
        let mut merged = (self.step, self.rows.clone());
        while merged.1.len() > most
            && let Some(step) = steps.next()
        {
            merged = (step, merge(&self.rows, step));
        }
        merged
    }
}

/// The rows of a table put together to longer ones.
pub fn merge(rows: &[(Timestamp, Counts)], step: Seconds) -> Vec<(Timestamp, Counts)> {
    let mut merged: Vec<(Timestamp, Counts)> = Vec::new();
    // Weeks begin with a Monday: 1970 did with a Thursday.
    let shift = if step > Seconds::DAY { 4 * 86_400 } else { 0 };
    for (time, counts) in rows {
        let begin = Timestamp(time.0.saturating_sub(shift) / step.0 * step.0 + shift);
        match merged.last_mut() {
            Some((last, sum)) if *last == begin => *sum += counts,
            _ => merged.push((begin, counts.clone())),
        }
    }
    merged
}

/// The table of the paper that proposed greylisting (Evan Harris, "The Next Step in the Spam Control War:
/// Greylisting", 2003), for this site.
#[derive(Clone, Debug, PartialEq)]
pub struct Whitepaper {
    /// First attempts, and the share of them that never passed.
    pub triplets: u64,
    pub effective: Option<f64>,
    /// Mail that passed, and the share of it that had to wait.
    pub passed: u64,
    pub delayed: u64,
    pub delayed_share: Option<f64>,
    /// The same without triplets that passed but once: these may have been spam. At least.
    pub delayed_again: u64,
    pub delayed_again_share: Option<f64>,
    /// What the messages that never came would have had, by its 5,000 bytes; and what the retries cost, by
    /// its 500.
    pub bytes_saved: u64,
    pub bytes_spent: u64,
}

/// What it found in some six weeks of 2003.
pub const IN_2003: Whitepaper = Whitepaper {
    triplets: 346_968,
    effective: Some(0.974),
    passed: 85_745,
    delayed: 33_586,
    delayed_share: Some(0.392),
    delayed_again: 3_512,
    delayed_again_share: Some(0.041),
    bytes_saved: 338_018 * 5_000,
    bytes_spent: 33_586 * 500,
};

impl Whitepaper {
    pub fn of(counts: &Counts, scanned: &Scanned) -> Self {
        let (triplets, delayed, passed) = (counts.first_attempts(), counts.came_back(), counts.passed());
        let held_off = triplets.saturating_sub(delayed);
        let delayed_again = scanned.passed_again.min(delayed);
        Self {
            triplets,
            effective: share(held_off, triplets),
            passed,
            delayed,
            delayed_share: share(delayed, passed),
            delayed_again,
            delayed_again_share: share(delayed_again, passed),
            bytes_saved: held_off.saturating_mul(5_000),
            bytes_spent: delayed.saturating_mul(500),
        }
    }
}

/// What part of `whole` is `part`; `None` where there is no whole.
pub fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

#[cfg(test)]
#[path = "figures_tests.rs"]
mod tests;
