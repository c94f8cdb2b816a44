//! What time it is, as far as anything is deleted for it. A clock that is wrong once, as one without a battery
//! is after a boot, must not cost what senders have earned: a time far ahead of the last one at which
//! something was written is not believed before it has lasted for a week. Only deleting waits for that.
//! Decisions go by the clock.

use super::Store;
use crate::time::{Seconds, Timestamp};
use std::sync::atomic::Ordering::Relaxed;

/// No clock is as much ahead as this without a reason: a site that has written nothing for longer waits a
/// week until what has expired is deleted.
const FAR: Seconds = Seconds::DAY;

/// Who has set a clock notices within a week that it is wrong.
const LASTED: Seconds = Seconds::DAY.times(7);

/// What the file `state` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Noted {
    /// When something was last written. 0: nobody knows.
    last: Timestamp,
    /// The time far ahead of that, when it was first seen. 0: it is not.
    ahead: Timestamp,
}

impl Noted {
    const fn of(bits: u64) -> Self {
        Self { last: Timestamp((bits >> 32) as u32), ahead: Timestamp(bits as u32) }
    }

    fn bits(self) -> u64 {
        u64::from(self.last.0) << 32 | u64::from(self.ahead.0)
    }

    /// What to note at `now`: what expired before its `last` may be deleted.
    fn at(self, now: Timestamp) -> Self {
        let Self { last, ahead } = self;
        if last == Timestamp(0) || now <= last.plus(FAR) {
            return Self { last: now, ahead: Timestamp(0) };
        }
        match ahead {
            // Another time far ahead is another clock.
            Timestamp(0) => Self { ahead: now, ..self },
            ahead if now < ahead => Self { ahead: now, ..self },
            ahead if now.since(ahead) > LASTED => Self { last: now, ahead: Timestamp(0) },
            _ => self,
        }
    }
}

impl Store {
    /// What expired before that may be deleted at `now`.
    #[must_use]
    pub fn expired_before(&self, now: Timestamp) -> Timestamp {
        let Some(cell) = self.state.as_deref().and_then(|state| state.clock()) else { return now };
        let noted = Noted::of(cell.load(Relaxed));
        let after = noted.at(now);
        if after != noted {
            cell.store(after.bits(), Relaxed);
        }
        after.last.min(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000_000);

    fn after(days: u32) -> Timestamp {
        NOW.plus(Seconds::DAY.times(days))
    }

    /// The times by which something is deleted, if the clock says so in turn.
    fn believed(times: &[Timestamp]) -> Vec<Timestamp> {
        let mut noted = Noted::default();
        let last = |time: &Timestamp| {
            noted = Noted::of(noted.at(*time).bits());
            noted.last
        };
        times.iter().map(last).collect()
    }

    #[test]
    fn a_clock_far_ahead_is_believed_after_a_week() {
        let times = [NOW, after(1), after(41), after(48), after(49), after(50)];
        assert_eq!(believed(&times), [NOW, after(1), after(1), after(1), after(49), after(50)]);
    }

    #[test]
    fn a_clock_that_was_wrong_has_changed_nothing() {
        let later = Timestamp(NOW.0 + 9);
        let back = Timestamp(NOW.0 - 3_600);
        let times = [NOW, after(40), after(41), later, after(40), after(46), back, after(20)];
        assert_eq!(believed(&times), [NOW, NOW, NOW, later, later, later, back, back]);
        // 2106 for an hour, and then ten years ahead.
        let times = [NOW, Timestamp(u32::MAX), after(3_650), after(3_656), after(3_658)];
        assert_eq!(believed(&times), [NOW, NOW, NOW, NOW, after(3_658)]);
    }
}
