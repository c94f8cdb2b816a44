//! Puts a new environment in the place of a damaged one, or of one that a backup is to replace.

use super::fill::fill;
use super::{Repaired, open, state_of, turn};
use crate::sender::Level;
use crate::store::error::StoreError;
use crate::store::lmdb::{Durability, Env, Purpose};
use crate::store::salvage::DataFile;
use crate::store::{boot_id, files, sys};
use crate::time::Timestamp;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Makes the environment in `dir` anew, and puts the damaged one aside. `level`: that of the sender keys.
///
/// # Errors
/// See [`StoreError`]; then everything is as it was.
pub fn rebuild(dir: &Path, level: Level, now: Timestamp) -> Result<Repaired, StoreError> {
    let state = state_of(dir);
    // The repair goes on without it: a writer may be stuck in the damaged file for ever.
    let _turn = state.as_ref().and_then(|state| turn(state, dir));
    let source = open(dir)?;
    let known = dir.ends_with("known");
    let durability =
        if known || boot_id()?.is_none() { Durability::LastCommit } else { Durability::Everything };
    let name = if known { "known" } else { "pending" };
    let draft = sys::draft(&dir.with_file_name(name)).map_err(|cause| StoreError::from_io(dir, cause))?;
    let made = make(&draft, durability, &source, known.then_some(level), now);
    placed(made, &draft, || put_in_place(&draft, dir, &format!("{name}.damaged"), now))
}

/// Puts what a backup holds in the place of what is known, and that aside, if there is any. The new one is
/// filled before anybody has to wait for it. `level`: that of the sender keys.
///
/// # Errors
/// See [`StoreError`]; then everything is as it was.
pub fn restore(
    backup: &DataFile,
    store: &Path,
    level: Level,
    now: Timestamp,
) -> Result<Repaired, StoreError> {
    let dir = &store.join("known");
    // Of a name of its own: who begins a store removes what others left half made.
    let restoring = store.join("known.restore");
    files::remove_drafts(&restoring);
    let draft = sys::draft(&restoring).map_err(|cause| StoreError::from_io(dir, cause))?;
    let made = make(&draft, Durability::LastCommit, backup, Some(level), now);
    let state = state_of(dir);
    let _turn = state.as_ref().filter(|_| made.is_ok()).and_then(|state| turn(state, dir));
    placed(made, &draft, || match fs::symlink_metadata(dir) {
        // A store that somebody begins at this moment is in the way, and stays.
        Err(e) if e.kind() == io::ErrorKind::NotFound => fs::rename(&draft, dir).map(|()| PathBuf::new()),
        _ => put_in_place(&draft, dir, "known.before-restore", now),
    })
}

/// Makes a new environment of what can be read of `source`.
fn make(
    draft: &Path,
    durability: Durability,
    source: &DataFile,
    known: Option<Level>,
    now: Timestamp,
) -> Result<Repaired, StoreError> {
    let env = Env::open(draft, durability, Purpose::Make)?;
    let repaired = fill(source, &env, known, now)?;
    env.prepare()?;
    Ok(repaired)
}

/// Says where the old files are after `place`; the draft goes where anything failed.
fn placed(
    made: Result<Repaired, StoreError>,
    draft: &Path,
    place: impl FnOnce() -> io::Result<PathBuf>,
) -> Result<Repaired, StoreError> {
    let placed = made.and_then(|repaired| {
        let aside = place().map_err(|cause| StoreError::from_io(draft, cause))?;
        Ok(Repaired { aside, ..repaired })
    });
    if placed.is_err() {
        let _ = fs::remove_dir_all(draft);
    }
    placed
}

/// Moves `draft` to `dir` and what was there aside, under a name that begins so; says where to.
fn put_in_place(draft: &Path, dir: &Path, name: &str, now: Timestamp) -> io::Result<PathBuf> {
    let free = || free_name(dir, name, now);
    let mut aside = free()?;
    match sys::exchange(draft, dir) {
        // Without a name of their own the damaged files keep that of the draft.
        Ok(()) => {
            if fs::rename(draft, &aside).is_err() {
                aside = draft.into();
            }
        }
        Err(e) if matches!(e.raw_os_error(), Some(libc::EINVAL | libc::ENOSYS)) => {
            step_by_step(draft, dir, &aside, free)?;
        }
        Err(e) => return Err(e),
    }
    // If this fails, and the machine crashes within seconds, the damaged files are back.
    let _ = dir.parent().map(|store| fs::File::open(store).and_then(|store| store.sync_all()));
    Ok(aside)
}

/// The same where the file system cannot exchange two directories. In between somebody may begin a store: it
/// is empty, and goes aside, too.
fn step_by_step(
    draft: &Path,
    dir: &Path,
    aside: &Path,
    free: impl Fn() -> io::Result<PathBuf>,
) -> io::Result<()> {
    fs::rename(dir, aside)?;
    for _ in 0..5 {
        match fs::rename(draft, dir) {
            Err(e) if e.kind() == io::ErrorKind::DirectoryNotEmpty => fs::rename(dir, free()?)?,
            Err(e) => {
                let _ = fs::rename(aside, dir);
                return Err(e);
            }
            Ok(()) => return Ok(()),
        }
    }
    Err(io::ErrorKind::DirectoryNotEmpty.into())
}

/// A name beside `path` that is free: `known.damaged-2026-11-26T2101`, then with `-2` and so on.
fn free_name(path: &Path, name: &str, now: Timestamp) -> io::Result<PathBuf> {
    let minute: String = now.to_string().chars().filter(|&c| c != ':').take(15).collect();
    let names = (1..100).map(|n| if n == 1 { String::new() } else { format!("-{n}") });
    let mut paths = names.map(|more| path.with_file_name(format!("{name}-{minute}{more}")));
    let free = paths.find(|path| fs::symlink_metadata(path).is_err());
    free.ok_or_else(|| io::ErrorKind::AlreadyExists.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What an earlier repair has left, or one in another container is making, is no part of a repair.
    #[test]
    fn the_draft_of_another_repair_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("env");
        drop(Env::open(&path, Durability::Everything, Purpose::Make).unwrap());
        let other = dir.path().join(format!("pending.repair-{}", std::process::id()));
        fs::create_dir(&other).unwrap();
        fs::write(other.join("data.mdb"), [7; 8192]).unwrap();
        rebuild(&path, Level::Full, Timestamp(1_000_000_000)).unwrap();
        assert_eq!(fs::read(other.join("data.mdb")).unwrap(), [7; 8192]);
    }

    /// Where two directories cannot be exchanged nothing is removed, not even a store begun meanwhile.
    #[test]
    fn what_stands_in_the_way_goes_aside() {
        let dir = tempfile::tempdir().unwrap();
        let [draft, known, aside] = ["draft", "known", "aside"].map(|name| dir.path().join(name));
        for (path, content) in [(&draft, "new"), (&known, "old")] {
            fs::create_dir(path).unwrap();
            fs::write(path.join("data.mdb"), content).unwrap();
        }
        let content = |path: &Path| fs::read_to_string(path.join("data.mdb")).unwrap();
        step_by_step(&draft, &known, &aside, || Err(io::ErrorKind::AlreadyExists.into())).unwrap();
        assert_eq!((content(&known), content(&aside)), ("new".into(), "old".into()));

        // A draft that is gone: what was there comes back.
        let gone = step_by_step(&draft, &known, &dir.path().join("other"), || {
            Err(io::ErrorKind::AlreadyExists.into())
        });
        assert_eq!((gone.is_err(), content(&known)), (true, "new".into()));
    }
}
