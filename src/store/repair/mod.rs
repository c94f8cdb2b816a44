//! Looks for damage in an environment, and makes it anew from what [`salvage`](super::salvage) can read of
//! it. LMDB never opens a damaged one here.
//!
//! Kept true:
//! - Nothing is removed: the damaged directory stays beside the new one, under a name with the time.
//! - The new directory has its own data.mdb and lock.mdb: with two lock files for one data file, two could
//!   write at once.
//! - The two change places in one step where the file system can. Otherwise somebody could find no store in
//!   between and begin one with another secret. Who has the damaged files open writes into them until the
//!   session ends.
//! - All keys depend on the secret. Where it is lost, records that hold their texts get new keys.

mod fill;
mod rebuild;

pub use rebuild::{rebuild, restore};

use super::error::StoreError;
use super::mapping::Held;
use super::salvage::{DataFile, Faults, Walk};
use super::state::{State, Turn};
use super::{Table, boot_id, files, pending_dir, sys};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a writer is waited for.
const LOCK: Duration = Duration::from_secs(5);

/// Writers can wait for a walk through so much: less than a tenth of a second (see docs/design.md).
const CHECKED_UNDER_LOCK: u64 = 64 << 20;

/// A decision can wait for a walk through so much, once for each process that has died.
const CHECKED_WHILE_MAIL_WAITS: u64 = 256 << 20;

/// What became of the secret.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fate {
    /// It was in its place, or this environment has none.
    #[default]
    Kept,
    /// It was found in an older copy of its page.
    Found,
    /// It was lost: the keys are new.
    Lost,
}

/// What a repair did.
#[derive(Clone, Debug, Default)]
pub struct Repaired {
    /// Records taken over from the tree.
    pub from_tree: u64,
    /// Records taken over from older copies of lost pages.
    pub from_copies: u64,
    /// Entries of the whitelist among those: one that was removed may be back.
    pub listed_from_copies: u64,
    /// Records that were left: damaged, of another version, or without the texts that a new key needs.
    pub left: u64,
    /// Pages of the table that could not be read.
    pub lost_pages: u64,
    /// What was wrong.
    pub faults: Faults,
    /// What became of the secret.
    pub secret: Fate,
    /// Where the old files are; empty where there were none.
    pub aside: PathBuf,
}

/// The directories of the environments that are there: `known`, then the first attempts of this boot.
#[must_use]
pub fn environments(store: &Path) -> Vec<PathBuf> {
    let mut dirs = vec![store.join("known")];
    dirs.extend(boot_id().map(|boot| pending_dir(store, boot)));
    dirs.retain(|dir| files::has_data(dir));
    dirs
}

/// Walks through the environment in `dir`. A live store changes meanwhile, so a fault counts only where
/// nobody has committed. Where somebody does again and again, the writers have to wait, if the file is small
/// or the walk shall be `thorough`. `None`: it changed all the time.
///
/// # Errors
/// If its data file cannot be opened.
pub fn check(dir: &Path, thorough: bool) -> Result<Option<Walk>, StoreError> {
    for _ in 0..5 {
        if let Some(walk) = steady_walk(&open(dir)?) {
            return Ok(Some(walk));
        }
    }
    let small = sys::size(open(dir)?.as_fd()).is_ok_and(|size| size <= CHECKED_UNDER_LOCK);
    let state = state_of(dir).filter(|_| small || thorough);
    let turn = state.as_ref().and_then(|state| turn(state, dir));
    if turn.is_none() {
        return Ok(None);
    }
    // Opened again, because it may have grown.
    Ok(Some(open(dir)?.walk(&mut |_, _| ())))
}

/// Whether the files of the store are damaged for sure. Mail waits for it, so a large file is not read; no
/// writer has to wait. (Apart, because the stack of every decision would be longer by a page.)
#[cold]
#[inline(never)]
pub(super) fn is_damaged(store: &Path) -> bool {
    environments(store).iter().filter_map(|dir| open(dir).ok()).any(|data| {
        let small = sys::size(data.as_fd()).is_ok_and(|size| size <= CHECKED_WHILE_MAIL_WAITS);
        small && steady_walk(&data).is_some_and(|walk| walk.faults.count > 0)
    })
}

/// A walk that found nothing wrong, or during which nobody has committed.
fn steady_walk(data: &DataFile) -> Option<Walk> {
    let before = data.state();
    let walk = data.walk(&mut |_, _| ());
    (walk.faults.count == 0 || data.state() == before).then_some(walk)
}

fn open(dir: &Path) -> Result<DataFile, StoreError> {
    let path = dir.join("data.mdb");
    DataFile::open(&path).map_err(|cause| StoreError::from_io(&path, cause))
}

/// The locks of the store that the environment in `dir` belongs to.
fn state_of(dir: &Path) -> Option<State> {
    State::open(dir.parent()?, true).ok()
}

/// Takes the writers' turn in the environment in `dir`, if it is free in time.
fn turn<'s>(state: &'s State, dir: &Path) -> Option<Held<'s>> {
    let table = if dir.ends_with("known") { Table::Known } else { Table::Pending };
    state.take(Turn::Write(table), LOCK, dir).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::gate::Gate;
    use crate::store::lmdb::{Durability, Env, Patience, Purpose};
    use crate::time::Seconds;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    /// A store that is written to all the time is no damaged one.
    #[test]
    fn a_busy_store_is_sound() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("known");
        let put = |env: &Env, from: u64| {
            env.write(Patience::UpTo(Seconds(60)), |writer| {
                for number in from..from + 20 {
                    let key =
                        u128::from(number % 5_000).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
                    writer.put(&key.to_be_bytes(), &vec![7; 20 + (number % 97) as usize])?;
                }
                Ok(())
            })
            .unwrap();
        };
        let done = AtomicBool::new(false);
        let (started, wait) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let state = Arc::new(State::open(dir.path(), true).unwrap());
                let gate = Gate::new(state, Table::Known, Seconds(1));
                let env = Env::open_at(&path, Durability::Everything, Purpose::Make, Some(gate)).unwrap();
                (0..5_000).step_by(20).for_each(|from| put(&env, from));
                started.send(()).unwrap();
                for from in (5_000..2_000_000).step_by(20) {
                    if done.load(Ordering::Relaxed) {
                        break;
                    }
                    put(&env, from);
                }
            });
            wait.recv().unwrap();
            let mut under_way = 0;
            for _ in 0..5 {
                let data = open(&path).unwrap();
                under_way += data.walk(&mut |_, _| ()).faults.count;
                let walk =
                    check(&path, false).unwrap().expect("the lock is free for the small file of a test");
                assert_eq!(walk.faults.count, 0, "{}", walk.faults);
            }
            done.store(true, Ordering::Relaxed);
            assert!(under_way > 0, "nothing changed under a single walk");
        });
    }
}
