//! The breaker: LMDB has no checksums, so a damaged store can crash the process that reads it. The client
//! comes back and meets the same, until its mail is lost. So a call notes in the file `state` that it is
//! under way, and about which records. Whoever finds a note whose process has died reads the files in a way
//! that cannot crash, and opens the breaker if they are damaged: the store is left alone and mail passes.
//! What that does not show, the records may: they are looked at again. A process that was killed by something
//! else leaves nothing to find. Where the store is damaged, the one who looks dies, too, and so does the
//! next; after three the breaker is open. Every five minutes one call looks again.
//!
//! A second rule is for damage that shows only in a commit: calls died in three seconds, and none came back
//! meanwhile.

use super::error::StoreError;
use super::mapping::{Held, Taken};
use super::state::{State, WATCHED_CALLS};
use crate::time::{Seconds, Timestamp};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// So many processes die before the store is left alone.
const DEATHS: u64 = 3;

/// How long the store is left alone before a call tries it again.
const PAUSE: Seconds = Seconds::MINUTE.times(5);

/// Which records a call is about: the two halves of their keys, of what the client's network has earned, of
/// the triplet, and of its first attempt.
pub type About = [u64; 6];

/// The numbers of the breaker in the file `state`.
struct Cells<'s> {
    /// 0: closed. Else when the next call may try.
    next_try: &'s AtomicU64,
    /// What was looked at when it was opened.
    about: &'s [AtomicU64; 6],
    /// Seconds in which calls died since one came back.
    in_a_row: &'s AtomicU64,
    /// The last of these seconds.
    last_sign: &'s AtomicU64,
    /// The hour in which the log was last told, as hours since 1970.
    told: &'s AtomicU64,
}

impl<'s> Cells<'s> {
    fn of(state: &'s State) -> Option<Self> {
        let ([next_try, in_a_row, last_sign, told], rest) = state.breaker()?.split_first_chunk()?;
        Some(Self { next_try, about: rest.first_chunk()?, in_a_row, last_sign, told })
    }

    fn open(&self, about: About, now: Timestamp) {
        write(self.about, about);
        self.next_try.store(after_pause(now), Relaxed);
    }

    /// Whether the store is to be left alone. A time far ahead was written before the clock was set back.
    fn refuses(&self, now: Timestamp) -> bool {
        let next = self.next_try.load(Relaxed);
        next != 0 && u64::from(now.0) < next && next <= after_pause(now)
    }

    /// Whether this call is the one that tries.
    fn is_trial(&self, now: Timestamp) -> bool {
        let next = self.next_try.load(Relaxed);
        next != 0 && self.next_try.compare_exchange(next, after_pause(now), Relaxed, Relaxed).is_ok()
    }
}

/// What a call is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// To open the store; what it is opened for comes after that.
    Opening,
    /// All the rest.
    Whole,
}

/// A call that is under way; it comes back when this is dropped.
pub struct Call<'s> {
    part: Part,
    cells: Option<Cells<'s>>,
    /// What is to be looked at again, and how many have died of it.
    suspects: Vec<(About, u64)>,
    trial: bool,
    place: Option<(Held<'s>, &'s [AtomicU64; 7])>,
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if let Some(cells) = &self.cells
            && self.part == Part::Whole
            && cells.in_a_row.load(Relaxed) != 0
        {
            cells.in_a_row.store(0, Relaxed);
        }
    }
}

impl Call<'_> {
    /// Opens the breaker if a process has died and the files are not `sound`; says whether the call may go
    /// on.
    #[must_use]
    pub fn may_go_on(&self, now: Timestamp, sound: impl FnOnce() -> bool) -> bool {
        let Some((suspect, _)) = self.suspects.first() else { return true };
        let sound = sound();
        if let Some(cells) = self.cells.as_ref().filter(|_| !sound) {
            cells.open(*suspect, now);
        }
        sound
    }

    /// Looks at what other processes may have died of, then notes what this call is `about`.
    pub fn look_and_note(&mut self, about: About, mut look: impl FnMut(About)) {
        for (suspect, deaths) in std::mem::take(&mut self.suspects) {
            self.note(suspect, deaths);
            look(suspect);
        }
        self.note(about, 0);
        if let Some(cells) = self.cells.as_ref().filter(|_| self.trial) {
            cells.next_try.store(0, Relaxed);
        }
    }

    fn note(&self, about: About, deaths: u64) {
        if let Some((_, [count, rest @ ..])) = &self.place {
            write(rest, about);
            count.store(deaths, Relaxed);
        }
    }
}

/// Begins a call that uses the store in `dir`.
///
/// # Errors
/// [`StoreError::Tripped`] where the breaker is open.
pub fn begin<'s>(state: &'s State, part: Part, dir: &Path, now: Timestamp) -> Result<Call<'s>, StoreError> {
    // Deaths are counted by the machine's clock, whatever time a call is for.
    begin_by(Timestamp::now, state, part, dir, now)
}

fn begin_by<'s>(
    clock: impl FnOnce() -> Timestamp,
    state: &'s State,
    part: Part,
    dir: &Path,
    now: Timestamp,
) -> Result<Call<'s>, StoreError> {
    let mut call = Call { part, cells: None, suspects: Vec::new(), trial: false, place: None };
    let Some(cells) = Cells::of(state) else { return Ok(call) };
    take_place(state, &mut call);
    // Those who died in one second are one sign: somebody may have killed them all.
    let mut in_a_row = 0;
    if !call.suspects.is_empty() {
        let second = u64::from(clock().0);
        let is_sign = cells.last_sign.swap(second, Relaxed) != second;
        in_a_row = cells.in_a_row.fetch_add(u64::from(is_sign), Relaxed) + u64::from(is_sign);
    }
    for (about, deaths) in &call.suspects {
        if (*deaths).max(in_a_row) >= DEATHS {
            cells.open(*about, now);
        }
    }
    if cells.refuses(now) {
        return Err(refusal(state, dir, now));
    }
    if part == Part::Whole && cells.is_trial(now) {
        call.trial = true;
        let about = cells.about.each_ref().map(|half| half.load(Relaxed));
        call.suspects.push((about, DEATHS - 1));
    }
    call.cells = Some(cells);
    Ok(call)
}

/// What a call is told that may not use the store in `dir`.
pub fn refusal(state: &State, dir: &Path, now: Timestamp) -> StoreError {
    let hour = u64::from(now.0 / 3_600);
    let first = Cells::of(state).is_some_and(|cells| cells.told.swap(hour, Relaxed) != hour);
    StoreError::Tripped { path: dir.into(), first }
}

/// Takes the first place that is free. Those of processes that have died are found on the way.
fn take_place<'s>(state: &'s State, call: &mut Call<'s>) {
    for (lock, numbers) in (0..WATCHED_CALLS).map_while(|place| state.call(place)) {
        match lock.try_take() {
            Taken::Free(held) => {
                call.place.get_or_insert((held, numbers));
                return;
            }
            // Several may have died at the same time.
            Taken::OwnerDied(held) => {
                let [deaths, about @ ..] = numbers.each_ref().map(|number| number.load(Relaxed));
                call.suspects.push((about, deaths.saturating_add(1)));
                call.place.get_or_insert((held, numbers));
            }
            Taken::Busy => {}
        }
    }
}

fn write(cells: &[AtomicU64; 6], about: About) {
    for (cell, half) in cells.iter().zip(about) {
        cell.store(half, Relaxed);
    }
}

fn after_pause(now: Timestamp) -> u64 {
    u64::from(now.plus(PAUSE).0).max(1)
}

/// Opens the breaker at once: the store is damaged for sure.
pub fn trip(state: &State, now: Timestamp) {
    if let Some(cells) = Cells::of(state) {
        cells.open([0; 6], now);
    }
}

/// Closes the breaker, and forgets who died; says whether it was open.
pub fn close(state: &State) -> bool {
    (0..WATCHED_CALLS).map_while(|place| state.call(place)).for_each(|(lock, _)| drop(lock.try_take()));
    Cells::of(state).is_some_and(|cells| {
        [cells.in_a_row, cells.last_sign, cells.told].iter().for_each(|cell| cell.store(0, Relaxed));
        cells.next_try.swap(0, Relaxed) != 0
    })
}

#[cfg(test)]
mod tests {
    #![allow(unsafe_code)]

    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000_000);
    const SOUND: About = [1; 6];
    const DAMAGED: About = [2; 6];

    fn at(minutes: u32) -> Timestamp {
        NOW.plus(Seconds::MINUTE.times(minutes))
    }

    /// A call in a process of its own, which dies when it looks at what is damaged, and in the middle of it
    /// if it is killed.
    fn process(state: &State, about: About, damaged: bool, killed: bool, now: Timestamp) -> &'static str {
        // SAFETY: the child uses shared memory and ends, without running anything of the parent's.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let status = match begin_by(|| now, state, Part::Whole, Path::new("/"), now) {
                Err(_) => 1,
                Ok(mut call) => {
                    let die = |about| {
                        if damaged && about == DAMAGED {
                            // SAFETY: ends this process.
                            unsafe { libc::_exit(2) };
                        }
                    };
                    call.look_and_note(about, die);
                    die(about);
                    if killed {
                        // SAFETY: as above.
                        unsafe { libc::_exit(2) };
                    }
                    drop(call);
                    0
                }
            };
            // SAFETY: as above.
            unsafe { libc::_exit(status) };
        }
        let mut status = 0;
        // SAFETY: waits for the child just made.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        ["back", "refused", "died"][libc::WEXITSTATUS(status) as usize]
    }

    fn is_open(state: &State) -> bool {
        Cells::of(state).unwrap().next_try.load(Relaxed) != 0
    }

    fn fixture() -> (tempfile::TempDir, State) {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(dir.path(), true).unwrap();
        (dir, state)
    }

    /// However rare the mail is that meets the damage, three processes die of it, and no more until five
    /// minutes later.
    #[test]
    fn three_die_of_damage_in_one_place() {
        let (_dir, state) = fixture();
        let sound = |minute| process(&state, SOUND, true, false, at(minute));
        for minute in 0..1000 {
            assert_eq!(sound(minute), "back");
        }
        let begin = 1000;
        assert_eq!(process(&state, DAMAGED, true, false, at(begin)), "died");
        assert_eq!(
            [0, 60, 120, 121, 124].map(|m| sound(begin + m)),
            ["died", "died", "refused", "refused", "refused"]
        );
        assert_eq!([125, 126, 129, 131].map(|m| sound(begin + m)), ["died", "refused", "refused", "died"]);
        // Mended behind its back.
        assert_eq!(process(&state, DAMAGED, false, false, at(begin + 133)), "refused");
        assert_eq!(process(&state, DAMAGED, false, false, at(begin + 140)), "back");
        assert!(!is_open(&state));
    }

    /// Of what dies by itself nothing can be found, so the store is used on.
    #[test]
    fn killed_processes_do_not_open_it() {
        let (_dir, state) = fixture();
        for round in 0..100 {
            assert_eq!(process(&state, [round; 6], false, true, NOW), "died");
            assert_eq!(
                process(&state, [round, 0, 0, 0, 0, 0], false, round % 2 == 0, NOW),
                ["died", "back"][round as usize % 2]
            );
            assert_eq!(process(&state, [7; 6], false, false, NOW), "back");
        }
        assert!(!is_open(&state));
    }

    /// Where the files show it, one death is enough.
    #[test]
    fn damage_that_can_be_seen_opens_it_at_once() {
        let (_dir, state) = fixture();
        assert_eq!(process(&state, DAMAGED, true, false, NOW), "died");
        let call = begin(&state, Part::Opening, Path::new("/"), NOW).ok().unwrap();
        assert!(!call.may_go_on(NOW, || false));
        drop(call);
        assert_eq!(process(&state, SOUND, true, false, NOW), "refused");
    }

    #[test]
    fn three_in_a_row_open_it_whatever_they_died_of() {
        let (_dir, state) = fixture();
        for minute in [0, 100, 200] {
            assert_eq!(process(&state, SOUND, false, true, at(minute)), "died");
        }
        assert_eq!(process(&state, SOUND, false, false, at(300)), "refused");
        assert!(close(&state) && !close(&state));
        // One that died, and that nobody has found, is forgotten too.
        let dies = || assert_eq!(process(&state, SOUND, false, true, at(300)), "died");
        dies();
        dies();
        close(&state);
        dies();
        dies();
        assert_eq!(process(&state, SOUND, false, false, at(301)), "back");
    }

    /// As when a machine runs out of memory, or somebody ends all of Exim's processes.
    #[test]
    fn many_killed_at_once_do_not_open_it() {
        let (_dir, state) = fixture();
        let places: Vec<_> = (0..10).map_while(|place| state.call(place)).map(|(lock, _)| lock).collect();
        // SAFETY: the child uses shared memory and ends, without running anything of the parent's.
        let child = unsafe { libc::fork() };
        if child == 0 {
            places.iter().for_each(|lock| std::mem::forget(lock.try_take()));
            // SAFETY: as above.
            unsafe { libc::_exit(0) };
        }
        // SAFETY: waits for the child just made.
        assert_eq!(unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) }, child);
        assert_eq!(process(&state, SOUND, false, false, NOW), "back");
        assert!(!is_open(&state));
    }

    #[test]
    fn the_log_is_told_once_an_hour_and_the_clock_may_go_back() {
        let (_dir, state) = fixture();
        trip(&state, NOW);
        let told = |now| match begin(&state, Part::Opening, Path::new("/"), now) {
            Err(StoreError::Tripped { first, .. }) => Some(first),
            _ => None,
        };
        assert_eq!([told(at(0)), told(at(1))], [Some(true), Some(false)]);
        trip(&state, at(70));
        assert_eq!([told(at(71)), told(at(1))], [Some(true), None]);
    }

    /// As many calls at the same time as there may be, and more: none is refused, none is taken for dead.
    #[test]
    fn calls_under_way_are_no_deaths() {
        let (_dir, state) = fixture();
        let calls: Vec<_> =
            (0..WATCHED_CALLS + 5).map(|_| begin(&state, Part::Whole, Path::new("/"), NOW)).collect();
        assert!(calls.iter().all(|call| call.as_ref().is_ok_and(|call| call.suspects.is_empty())));
        drop(calls);
        assert!(!is_open(&state));
    }
}
