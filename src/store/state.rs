//! The file `state` of a store: what every process maps and writes without a system call.
//!
//! ```text
//! page 0   0  the head: "eximgrey", a version, and the kind of the locks
//!         16  the breaker: see `breaker`
//!         96  what is queued: see `queue`
//!        120  when something was last written: see `clock`
//!        128  the locks around the opening of `known` and of `pending`, and around a write to each, 64 bytes each
//!        384  what is counted in this minute: see `counters`
//!        640  the places of calls that are under way, 104 bytes each
//!       4072  the boot in which the file was made, as a number; 0: nobody knew
//!       4080  whether somebody watches: see `recent`
//! page 1      what was counted before
//! behind it   what became of first attempts, 508 patterns a page, and at byte 4064 of its first page its head: see
//!             `learned`
//! behind it   who has come back too early, 511 a page: see `early`
//! behind it   the newest decisions, while somebody watches: see `recent`
//! ```
//!
//! Each page that a new process writes to is a page fault, so what every decision writes is on page 0.
//!
//! Kept true here:
//! - Nothing in the file is worth a mail. One that is missing, foreign, of another size or version is made
//!   anew, under another name that is then renamed; a process goes on with the one that it has mapped.
//! - A file with blocks of its own can still need new ones when it is written to, on a file system that
//!   copies on write (btrfs, xfs after a reflink copy); on a full disk that is a SIGBUS. So the file asks not
//!   to be copied, and each page is made writable before it is written to: that can fail, but not with a
//!   signal.
//! - A lock belongs to its process for as long as that lives: the kernel tells the next one when it has died.
//!   A crash of the machine can leave one on the disk that is taken: whoever has waited for it in vain makes the
//!   file anew, with what was counted.

use super::error::StoreError;
use super::mapping::{Held, Mapping, SharedLock};
use super::recent::PLACES;
use super::sys;
use super::table::Table;
use crate::learned::PATTERNS;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

const FILE: &str = "state";

/// What this file was called when it held the counters alone.
const FORMER_FILE: &str = "counters";

/// Rows of the counters: see [`counters`](super::counters).
const ROWS: usize = super::counters::ROWS;

/// Cells in a row: a reason, a fault or another word each, with room for more words.
pub(super) const COUNTED_WORDS: usize = 31;

/// Mails of which is known that they came back too early.
pub(super) const EARLY_PLACES: usize = EARLY_PAGES * EARLY_CELLS;

/// The cells of a row.
pub(super) type Row = [AtomicU64; COUNTED_WORDS];

/// The cells of a place of the newest decisions.
pub(super) type Place = [AtomicU64; 63];

const LEARNED: usize = PAGE + ((ROWS - 1) * ROW_SIZE).next_multiple_of(PAGE);
/// Patterns on a page: a page has a head, and [`PADDING`].
const LEARNED_CELLS: usize = 508;
const LEARNED_HEAD: usize = LEARNED + LEARNED_CELLS * 8;
const EARLY: usize = LEARNED + PATTERNS.div_ceil(LEARNED_CELLS) * PAGE;
/// Those on a page: see [`PADDING`].
const EARLY_CELLS: usize = 511;
const EARLY_PAGES: usize = 16;
const RECENT: usize = EARLY + EARLY_PAGES * PAGE;
const SIZE: usize = RECENT + PLACES * PLACE_SIZE;
const MAGIC: [u8; 12] = *b"eximgrey\x07\0\0\0";
const PAGE: usize = 4096;
const BREAKER: usize = 16;
const QUEUE: usize = 96;
const CLOCK: usize = 120;
const LOCKS: usize = 128;
const COUNTED: usize = 384;
const CALLS: usize = 640;
const LOCK_SIZE: usize = 64;
/// Bytes of a row of counters. Its last ones are unused: see [`PADDING`].
const ROW_SIZE: usize = 256;
/// The same of a place of the newest decisions.
const PLACE_SIZE: usize = 512;

/// Calls that the breaker can watch at the same time. More are not watched: a call takes some microseconds,
/// so there are seldom more under way than there are processors.
pub(super) const WATCHED_CALLS: usize = 33;

/// A place: its lock, and some numbers behind that.
const CALL_SIZE: usize = 104;
const CALL_NUMBERS: usize = 48;

const BOOT: usize = CALLS + WATCHED_CALLS * CALL_SIZE;
const WATCHED: usize = BOOT + 8;

/// The last byte of every page is unused: it is written to make the file system give the page a block.
const PADDING: usize = PAGE - 1;

/// What one process does at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Open an environment.
    Open(Table),
    /// Write to it.
    Write(Table),
}

/// A mapped file `state`.
pub struct State {
    map: Mapping,
    /// For the pages of a file that may be copied when it is written to, and where the kernel cannot prepare
    /// them.
    file: Option<File>,
    device: u64,
    /// What the C library calls the kind of the locks.
    kind: u32,
}

impl State {
    /// Maps the file in `dir`; one that is missing or not usable is made, if it may be.
    ///
    /// # Errors
    /// [`StoreError::Full`] where its first page cannot be written to; what the system says where there is
    /// none and none can be made.
    pub fn open(dir: &Path, may_make: bool) -> Result<Self, StoreError> {
        let fail = |cause| StoreError::from_io(dir, cause);
        let path = dir.join(FILE);
        match map(&path) {
            Ok(Some(state)) => return Ok(state),
            // A link: made anew.
            Err(e) if may_make && e.raw_os_error() == Some(libc::ELOOP) => {
                make(dir, &path, true).map_err(fail)?
            }
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(fail(e)),
            _ if !may_make => return Err(fail(io::ErrorKind::NotFound.into())),
            there => make(dir, &path, there.is_ok()).map_err(fail)?,
        }
        map(&path).map_err(fail)?.ok_or_else(|| fail(io::ErrorKind::InvalidData.into()))
    }

    /// Makes the page that holds byte `at` writable, where it is not so for good: that of the locks before
    /// each call, because it may have been written to the disk meanwhile.
    ///
    /// # Errors
    /// What the system says, ENOSPC above all.
    pub(super) fn prepare(&self, at: usize) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let page = at / PAGE * PAGE;
        match self.map.prepare(page, PAGE) {
            Err(e) if e.kind() == io::ErrorKind::InvalidInput => {
                file.write_at(&[0], (page + PADDING) as u64).map(|_| ())
            }
            result => result,
        }
    }

    /// Whether the file is on `device`, and that changes pages in their place.
    pub(super) fn writes_in_place(&self, device: u64) -> bool {
        self.file.is_none() && self.device == device
    }

    /// A row of the counters; `None` where there is none, or it is for `writing` and cannot be written to.
    pub(super) fn count_row(&self, row: usize, writing: bool) -> Option<&Row> {
        let at = row.checked_sub(1).map_or(COUNTED, |row| PAGE + row * ROW_SIZE);
        let usable = row < ROWS && (!writing || self.prepare(at).is_ok());
        usable.then(|| self.map.cells(at, const { size_of::<Row>() / 8 }).first_chunk()).flatten()
    }

    /// The head of what became of first attempts: see [`learned`](super::learned).
    pub(super) fn learned_head(&self, writing: bool) -> Option<&AtomicU64> {
        self.learned_cell(LEARNED_HEAD, writing)
    }

    /// What became of those of the pattern that is counted in this place.
    pub(super) fn learned(&self, place: usize, writing: bool) -> Option<&AtomicU64> {
        let at = LEARNED + place / LEARNED_CELLS * PAGE + place % LEARNED_CELLS * 8;
        (place < PATTERNS).then(|| self.learned_cell(at, writing)).flatten()
    }

    fn learned_cell(&self, at: usize, writing: bool) -> Option<&AtomicU64> {
        let usable = !writing || self.prepare(at).is_ok();
        usable.then(|| self.map.cells(at, 1).first()).flatten()
    }

    /// A place for a mail that came back too early, to be written: see [`early`](super::early).
    pub(super) fn early(&self, place: usize) -> Option<&AtomicU64> {
        let at = EARLY + place / EARLY_CELLS * PAGE + place % EARLY_CELLS * 8;
        let usable = place < EARLY_PLACES && self.prepare(at).is_ok();
        usable.then(|| self.map.cells(at, 1).first()).flatten()
    }

    /// Whether somebody watches: see [`recent`](super::recent).
    pub(super) fn watched(&self) -> Option<&AtomicU64> {
        self.map.cells(WATCHED, 1).first()
    }

    /// A place of the newest decisions; `None` where there is none, or it is for `writing` and cannot be
    /// written to.
    pub(super) fn place(&self, place: usize, writing: bool) -> Option<&Place> {
        let at = RECENT + place * PLACE_SIZE;
        let usable = place < PLACES && (!writing || self.prepare(at).is_ok());
        usable.then(|| self.map.cells(at, const { size_of::<Place>() / 8 }).first_chunk()).flatten()
    }

    /// The numbers of the breaker.
    pub(super) fn breaker(&self) -> Option<&[AtomicU64; 10]> {
        self.map.cells(BREAKER, 10).first_chunk()
    }

    /// The lock of a call under way, and its numbers.
    pub(super) fn call(&self, place: usize) -> Option<(SharedLock<'_>, &[AtomicU64; 7])> {
        let at = CALLS + place * CALL_SIZE;
        (place < WATCHED_CALLS)
            .then(|| {
                Some((self.map.lock(at, self.kind), self.map.cells(at + CALL_NUMBERS, 7).first_chunk()?))
            })
            .flatten()
    }

    /// What is queued: see [`Queue`](super::queue::Queue).
    pub(super) fn queue(&self) -> Option<&[AtomicU64; 3]> {
        self.map.cells(QUEUE, 3).first_chunk()
    }

    /// When something was last written: see [`clock`](super::clock).
    pub(super) fn clock(&self) -> Option<&AtomicU64> {
        self.map.cells(CLOCK, 1).first()
    }

    /// Takes a lock, for the life of the result. LMDB locks its files while it opens them, and while it
    /// writes, and waits there for ever. So only one process at a time is let in, and the others wait for no
    /// longer than `patience`. Where the lock is garbage, the file goes.
    ///
    /// # Errors
    /// [`StoreError::Lock`] when time is up.
    pub(super) fn take(&self, turn: Turn, patience: Duration, dir: &Path) -> Result<Held<'_>, StoreError> {
        self.prepare(0).map_err(|cause| StoreError::from_io(dir, cause))?;
        let place = match turn {
            Turn::Open(table) => table as usize,
            Turn::Write(table) => 2 + table as usize,
        };
        let lock = self.map.lock(LOCKS + place * LOCK_SIZE, self.kind);
        lock.take(patience).ok_or_else(|| {
            let waited = !patience.is_zero();
            if lock.is_garbage(waited) || waited && self.is_of_another_boot() {
                // For the next process.
                let store = dir.parent().unwrap_or(dir);
                let _ = make(store, &store.join(FILE), true);
            }
            StoreError::Lock { path: dir.into() }
        })
    }

    fn is_of_another_boot(&self) -> bool {
        let made = self.map.cells::<AtomicU64>(BOOT, 1).first().map_or(0, |boot| boot.load(Relaxed));
        made != 0 && boot() != 0 && made != boot()
    }
}

/// The first half of the boot's name, which is random; 0 where it has none.
fn boot() -> u64 {
    let digits = super::boot_id()
        .ok()
        .flatten()
        .unwrap_or_default()
        .bytes()
        .filter_map(|b| char::from(b).to_digit(16));
    digits.take(16).fold(0, |number, digit| number << 4 | u64::from(digit))
}

/// Without waiting: there could be a pipe in its place; or a link, which could lead out of the store.
const FLAGS: i32 = libc::O_NONBLOCK | libc::O_NOFOLLOW;

/// Maps the file if it is one of ours; `None` if it is not.
fn map(path: &Path) -> io::Result<Option<State>> {
    let file = OpenOptions::new().read(true).write(true).custom_flags(FLAGS).open(path)?;
    let meta = file.metadata()?;
    // Another name for it may be in somebody else's directory.
    if !meta.is_file() || meta.size() != SIZE as u64 || meta.nlink() != 1 {
        return Ok(None);
    }
    let copies = sys::copies_on_write(file.as_fd());
    // A copy that somebody has made may have holes, and writing to one on a full disk is a SIGBUS.
    if !copies && meta.blocks() * 512 < SIZE as u64 {
        return Ok(None);
    }
    let map = Mapping::new(file.as_fd(), SIZE)?;
    let mut state = State { map, file: copies.then_some(file), device: meta.dev(), kind: 0 };
    state.prepare(0)?;
    // A try to write, not a look, which would be a page fault more. MADV_POPULATE_WRITE costs 5 us.
    let guess = |kind: &AtomicU32| kind.compare_exchange(0, 0, Relaxed, Relaxed).unwrap_or_else(|kind| kind);
    state.kind = state.map.cells(MAGIC.len(), 1).first().map_or(0, guess);
    Ok((state.map.bytes::<{ MAGIC.len() }>(0) == MAGIC).then_some(state))
}

/// Makes the file under another name: nobody ever sees half of it. Many may do so at once; without `instead`
/// of what is there, the first one's stays.
fn make(dir: &Path, path: &Path, instead: bool) -> io::Result<()> {
    sys::may_make_files_in(dir)?;
    let draft = sys::draft(path)?;
    let result = write_new(&draft, former(path).as_deref()).and_then(|()| {
        let placed = match sys::rename_to_new(&draft, path) {
            Err(e) if matches!(e.raw_os_error(), Some(libc::EINVAL | libc::ENOSYS)) => {
                std::fs::hard_link(&draft, path)
            }
            other => other,
        };
        match placed {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && instead => std::fs::rename(&draft, path),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other,
        }
    });
    let _ = std::fs::remove_file(&draft);
    let _ = std::fs::remove_file(dir.join(FORMER_FILE));
    result
}

/// The bytes of the file, if it is one of ours.
fn former(path: &Path) -> Option<Vec<u8>> {
    let file = OpenOptions::new().read(true).custom_flags(FLAGS).open(path).ok()?;
    let mut bytes = Vec::new();
    file.metadata().ok().filter(|meta| meta.is_file() && meta.size() == SIZE as u64)?;
    file.take(SIZE as u64).read_to_end(&mut bytes).ok()?;
    (bytes.len() == SIZE && bytes.starts_with(&MAGIC)).then_some(bytes)
}

/// Writes a new file, with what was counted in a `former` one.
fn write_new(path: &Path, former: Option<&[u8]>) -> io::Result<()> {
    sys::may_have(SIZE as u64)?;
    let mut file =
        OpenOptions::new().read(true).write(true).create_new(true).mode(sys::FILE_MODE).open(path)?;
    sys::do_not_copy(file.as_fd());
    file.write_all(&MAGIC)?;
    sys::allocate(file.as_fd(), SIZE as u64)?;
    for counted in [COUNTED..CALLS, PAGE..RECENT] {
        if let Some(bytes) = former.and_then(|former| former.get(counted.clone())) {
            file.write_all_at(bytes, counted.start as u64)?;
        }
    }
    let map = Mapping::new(file.as_fd(), SIZE)?;
    let copies = sys::copies_on_write(file.as_fd());
    let state = State { map, file: copies.then_some(file), device: 0, kind: 0 };
    (0..SIZE / PAGE).try_for_each(|page| state.prepare(page * PAGE))?;
    let map = &state.map;
    map.cells::<AtomicU64>(BOOT, 1).iter().for_each(|cell| cell.store(boot(), Relaxed));
    let calls = (0..WATCHED_CALLS).map(|place| CALLS + place * CALL_SIZE);
    for at in (0..4).map(|lock| LOCKS + lock * LOCK_SIZE).chain(calls) {
        let kind = map.lock(at, 0).make();
        map.cells::<AtomicU32>(MAGIC.len(), 1).iter().for_each(|cell| cell.store(kind, Relaxed));
    }
    Ok(())
}

const _: () = assert!(
    BREAKER + 10 * 8 <= QUEUE
        && QUEUE + 3 * 8 <= CLOCK
        && CLOCK + 8 <= LOCKS
        && LOCKS + 4 * LOCK_SIZE <= COUNTED
);
const _: () = assert!(COUNTED + ROW_SIZE <= CALLS && BOOT.is_multiple_of(8) && WATCHED + 8 <= PADDING);
const _: () = assert!(size_of::<Row>() < ROW_SIZE && PAGE.is_multiple_of(ROW_SIZE));
const _: () = assert!(size_of::<Place>() < PLACE_SIZE && PAGE.is_multiple_of(PLACE_SIZE));
const _: () =
    assert!(size_of::<libc::pthread_mutex_t>() <= CALL_NUMBERS && CALL_NUMBERS + 7 * 8 <= CALL_SIZE);

#[cfg(test)]
mod tests {
    use super::*;

    fn open(dir: &Path) -> State {
        State::open(dir, true).unwrap()
    }

    #[test]
    fn a_file_that_is_none_of_ours_is_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        let former = [&b"eximgrey\x02\0\0\0"[..], &[1; SIZE - 12]].concat();
        for (content, holes) in
            [(vec![], 0), (vec![7; 10], 0), (vec![7; SIZE], 0), (former, 0), (MAGIC.to_vec(), SIZE - 12)]
        {
            std::fs::write(&path, &content).unwrap();
            let file = OpenOptions::new().write(true).open(&path).unwrap();
            file.set_len((content.len() + holes) as u64).unwrap();
            let state = open(dir.path());
            let meta = std::fs::metadata(&path).unwrap();
            assert_eq!(meta.size(), SIZE as u64);
            assert!(meta.blocks() * 512 >= meta.size() || sys::copies_on_write(file.as_fd()));
            assert!(state.take(Turn::Open(Table::Known), Duration::ZERO, dir.path()).is_ok());
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        std::fs::remove_file(&path).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        open(dir.path());
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(State::open(dir.path(), true).is_err());
    }

    /// Neither a link nor another name for a file is followed: they may lead anywhere.
    #[test]
    fn a_link_in_its_place_is_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        let outside = dir.path().join("outside");
        drop(open(dir.path()));
        for symbolic in [true, false] {
            std::fs::rename(&path, &outside).unwrap();
            let before = std::fs::read(&outside).unwrap();
            let link = if symbolic { std::os::unix::fs::symlink } else { std::fs::hard_link };
            link(&outside, &path).unwrap();
            assert!(State::open(dir.path(), false).is_err());
            let state = open(dir.path());
            drop(state.take(Turn::Write(Table::Known), Duration::ZERO, dir.path()).unwrap());
            assert!(std::fs::symlink_metadata(&path).unwrap().is_file());
            assert_eq!(std::fs::metadata(&path).unwrap().nlink(), 1);
            assert!(std::fs::read(&outside).unwrap() == before);
        }
    }

    /// A process with the same number in another container may be making one, too.
    #[test]
    fn the_draft_of_another_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let draft = dir.path().join(format!("{FILE}.{}", std::process::id()));
        std::fs::write(&draft, "half").unwrap();
        open(dir.path());
        assert_eq!(std::fs::read_to_string(&draft).unwrap(), "half");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    /// A lock full of rubbish is waited for once, and the file is made anew then.
    #[test]
    fn garbage_in_a_lock_is_got_rid_of() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        for garbage in [0xff_u8, 0x55, 1] {
            drop(open(dir.path()));
            let file = OpenOptions::new().write(true).open(&path).unwrap();
            file.write_all_at(&[garbage; 4 * LOCK_SIZE], LOCKS as u64).unwrap();
            let state = open(dir.path());
            assert!(
                state
                    .take(Turn::Open(Table::Known), Duration::from_millis(1), &dir.path().join("known"))
                    .is_err()
            );
            let state = open(dir.path());
            assert!(state.take(Turn::Open(Table::Known), Duration::ZERO, dir.path()).is_ok(), "{garbage}");
        }
    }

    /// The machine went down while somebody held a lock, and its owner's number is that of another process now.
    #[test]
    fn a_lock_of_another_boot_is_got_rid_of_and_the_counters_stay() {
        let dir = tempfile::tempdir().unwrap();
        let known = dir.path().join("known");
        let state = open(dir.path());
        for row in [0, 1, ROWS - 1] {
            state.count_row(row, true).unwrap()[3].store(7 + row as u64, Relaxed);
        }
        // Process 1 always lives.
        state.map.cells::<AtomicU32>(LOCKS, 1)[0].store(1, Relaxed);
        let take =
            || open(dir.path()).take(Turn::Open(Table::Known), Duration::from_millis(1), &known).is_ok();
        assert_eq!([take(), take()], [false, false], "it is of this boot");
        state.map.cells::<AtomicU64>(BOOT, 1)[0].store(boot() ^ 1, Relaxed);
        assert_eq!([take(), take()], [false, true]);
        for row in [0, 1, ROWS - 1] {
            assert_eq!(open(dir.path()).count_row(row, false).unwrap()[3].load(Relaxed), 7 + row as u64);
        }
    }

    #[test]
    fn one_at_a_time_opens() {
        let dir = tempfile::tempdir().unwrap();
        let [one, two] = [(); 2].map(|()| open(dir.path()));
        let held = one.take(Turn::Open(Table::Known), Duration::ZERO, dir.path()).unwrap();
        let refused = two.take(Turn::Open(Table::Known), Duration::from_millis(5), dir.path());
        assert!(matches!(refused, Err(StoreError::Lock { .. })));
        assert!(two.take(Turn::Open(Table::Pending), Duration::ZERO, dir.path()).is_ok());
        drop((refused, held));
        assert!(two.take(Turn::Open(Table::Known), Duration::ZERO, dir.path()).is_ok());
        assert!(dir.path().join(FILE).exists());
    }
}
