//! Who has come back too early: when the first retry of a mail came that had to wait once more for it. In the
//! file `state`, in places that many mails share: what was noted last stays. It is for the counters alone.
//!
//! ```text
//! place   0  u32  when the retry came; 0: nobody's
//!         4  u32  part of what tells sender and recipient apart
//! ```

use super::Store;
use super::state::{EARLY_PLACES, State};
use crate::time::Timestamp;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What the keys of all first attempts with one sender and recipient begin with.
pub(super) type Pair = [u8; 8];

/// The places in a file `state`.
#[derive(Clone, Copy)]
pub(super) struct EarlyRetries<'s>(&'s State);

impl<'s> EarlyRetries<'s> {
    /// Notes a retry that comes `now`; says whether it is the mail's first, as far as is known.
    pub(super) fn note(self, pair: Pair, first_seen: Timestamp, now: Timestamp) -> bool {
        let Some((place, tag)) = self.place(pair) else { return false };
        let there = place.load(Relaxed);
        let known = is_his(there, tag) && first_seen <= time_of(there) && time_of(there) <= now;
        // Two at the same moment are one.
        !known && place.compare_exchange(there, tag | u64::from(now.0), Relaxed, Relaxed).is_ok()
    }

    /// When the mail that passes `now` first came back too early; that is forgotten.
    pub(super) fn take(self, pair: Pair, first_seen: Timestamp, now: Timestamp) -> Option<Timestamp> {
        let (place, tag) = self.place(pair)?;
        let there = place.load(Relaxed);
        if !is_his(there, tag) || place.compare_exchange(there, 0, Relaxed, Relaxed).is_err() {
            return None;
        }
        Some(time_of(there)).filter(|at| first_seen <= *at && *at <= now)
    }

    /// The place of a mail, and what its number has in the high half.
    fn place(self, [a, b, c, d, e, f, ..]: Pair) -> Option<(&'s AtomicU64, u64)> {
        let place = usize::from(u16::from_le_bytes([e, f])) % EARLY_PLACES;
        Some((self.0.early(place)?, u64::from(u32::from_le_bytes([a, b, c, d])) << 32))
    }
}

fn is_his(there: u64, tag: u64) -> bool {
    there != 0 && there >> 32 == tag >> 32
}

const fn time_of(there: u64) -> Timestamp {
    Timestamp(there as u32)
}

impl Store {
    /// Who has come back too early, if it can be kept.
    pub(super) fn early_retries(&self) -> Option<EarlyRetries<'_>> {
        self.state.as_deref().map(EarlyRetries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp(1_000_000_000);

    fn at(seconds: u32) -> Timestamp {
        Timestamp(START.0 + seconds)
    }

    #[test]
    fn the_first_retry_is_noted_until_the_mail_passes() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(dir.path(), true).unwrap();
        let early = EarlyRetries(&state);
        let [mail, other] = [[1, 2, 3, 4, 5, 6, 7, 8], [9, 9, 9, 9, 9, 9, 9, 9]];
        assert_eq!(early.take(mail, START, at(10)), None);
        assert!(early.note(mail, START, at(60)) && early.note(other, START, at(61)));
        assert!(!early.note(mail, START, at(120)));
        assert_eq!(early.take(mail, START, at(300)), Some(at(60)));
        assert_eq!(early.take(mail, START, at(300)), None);
        // What another first attempt has left, or a clock that was ahead.
        assert!(early.note(other, at(1_000), at(1_010)));
        assert_eq!(early.take(other, START, at(1_009)), None);
    }

    #[test]
    fn of_two_that_share_a_place_the_later_one_is_known() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(dir.path(), true).unwrap();
        let early = EarlyRetries(&state);
        let [mail, other] = [[1, 2, 3, 4, 5, 6, 7, 8], [1, 2, 3, 3, 5, 6, 7, 8]];
        assert!(early.note(mail, START, at(60)) && early.note(other, START, at(61)));
        assert_eq!(early.take(mail, START, at(300)), None);
        assert_eq!(early.take(other, START, at(300)), Some(at(61)));
    }
}
