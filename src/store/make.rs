//! The making of an environment: under another name, so that nobody ever sees half of it, whatever ends this
//! process or the machine. It is flushed before it gets its name, and so is the directory after that.

use super::error::StoreError;
use super::files::{self, CopiedLock};
use super::gate::Gate;
use super::lmdb::Durability;
use super::sys;
use lmdb::{Environment, EnvironmentBuilder, EnvironmentFlags};
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

/// The map of a new environment. Address space, not disk; it doubles when it is full. From 2 MB on the kernel
/// gives a map page tables of its own, which every process that opens the store would pay for.
pub(super) const FIRST_MAP: usize = 1 << 20;

/// What every environment is opened with.
pub(super) fn builder(flags: EnvironmentFlags) -> EnvironmentBuilder {
    let mut builder = Environment::new();
    builder.set_flags(EnvironmentFlags::NO_TLS | flags).set_max_readers(files::MAX_READERS);
    builder
}

/// Makes an empty environment in `dir`, unless there is one.
pub(super) fn make(dir: &Path, durability: Durability, gate: Option<&Gate>) -> Result<(), StoreError> {
    let fail = |cause| StoreError::from_io(dir, cause);
    let parent = dir.parent().unwrap_or(dir);
    sys::may_make_files_in(parent).map_err(fail)?;
    let standard = sys::occupy_standard_descriptors();
    let entered = gate.map(|gate| gate.enter(dir)).transpose()?;
    if files::has_data(dir) {
        return Ok(());
    }
    if gate.is_some() {
        files::remove_drafts(dir);
    }
    let draft = sys::draft(dir).map_err(fail)?;
    let fill = || {
        DirBuilder::new().mode(sys::DIR_MODE).create(&draft).map_err(fail)?;
        files::allocate_lock_file(&draft).and_then(|()| files::reserve_data_file(&draft)).map_err(fail)?;
        let _copied_lock = CopiedLock::open(&draft).map_err(fail)?;
        let mut builder = builder(EnvironmentFlags::NO_SYNC);
        builder.set_map_size(FIRST_MAP);
        drop(
            builder
                .open_with_permissions(&draft, sys::FILE_MODE)
                .map_err(|e| StoreError::from_lmdb(dir, e))?,
        );
        if durability == Durability::LastCommit {
            files::flush(&draft).map_err(fail)?;
        }
        files::put_in_place(&draft, dir).map_err(fail)
    };
    let made = fill();
    if made.is_err() {
        let _ = sys::remove_dir(&draft);
    } else if durability == Durability::LastCommit {
        files::flush_dir(parent);
    }
    drop((entered, standard));
    made
}
