//! The files of an environment: made with all their blocks, and looked at before LMDB maps them, because a look behind the
//! end of a mapped file, or into a hole of one on a full disk, is a SIGBUS.

use super::error::StoreError;
use super::lmdb::MAX_READERS;
use super::sys;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// The size of `lock.mdb`: a head and a cache line of 64 bytes for each reader (mdb.c, MDB_txninfo and MDB_reader). LMDB takes
/// a file that is larger than it needs as one with more places.
const LOCK_FILE: u64 = (MAX_READERS as u64 + 64) * 64;

/// Room for the head pages of `data.mdb` and the first transactions.
const FIRST_PAGES: u64 = 64 << 10;

/// The last pages that a commit took may have been given back in it and never written (mdb.c, loose pages), so a sound
/// file can end a little before its last page; our transactions touch fewer pages than this.
const UNWRITTEN_PAGES: u64 = 64;

/// Whether `dir` holds an environment. Only stat(2): opening and closing a file of an environment that is open would
/// give up this process's locks on it (lmdb.h, caveats).
#[must_use]
pub fn has_data(dir: &Path) -> bool {
    std::fs::metadata(dir.join("data.mdb")).is_ok_and(|data| data.len() > 0)
}

/// Whether `lock.mdb` is there with all its blocks, as [`allocate_lock_file`] makes it.
#[must_use]
pub fn has_lock(dir: &Path) -> bool {
    std::fs::metadata(dir.join("lock.mdb")).is_ok_and(|lock| lock.blocks() * 512 >= LOCK_FILE)
}

/// Makes `lock.mdb` before LMDB does, with all its blocks: LMDB makes a file of holes and maps it, which on a full disk is
/// a SIGBUS. Called before the environment is open in this process, so closing the file gives up no lock of ours.
pub(super) fn allocate_lock_file(dir: &Path) -> io::Result<()> {
    let path = dir.join("lock.mdb");
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(sys::FILE_MODE).open(path)?;
    sys::allocate(file.as_fd(), LOCK_FILE)
}

/// Reserves blocks for the first pages of `data.mdb` before LMDB writes them: on a disk that is almost full it would write one
/// of the two head pages, and the half file would stay unreadable when there is room again.
pub(super) fn reserve_data_file(dir: &Path) -> io::Result<()> {
    let path = dir.join("data.mdb");
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(sys::FILE_MODE).open(path)?;
    sys::reserve(&file, FIRST_PAGES)
}

/// A file that ends before its last page would be a SIGBUS at the first look behind its end. One that is cut short is
/// damaged; one that lacks a few pages at its end may be sound, and gets them as zeros, which LMDB takes for damage where it
/// expected something. `whole` is the size by the last page and `page` that of one, in bytes. `false`: it wants pages, and
/// `data` is not writable.
pub(super) fn check_size(
    dir: &Path,
    data: BorrowedFd<'_>,
    (whole, page): (u64, u64),
    writable: bool,
) -> Result<bool, StoreError> {
    let there = sys::size(data).map_err(|cause| StoreError::from_io(dir, cause))?;
    if there < whole.saturating_sub(UNWRITTEN_PAGES * page) {
        let sign = format!("data.mdb has {there} bytes where {whole} are needed");
        return Err(StoreError::Damaged { path: dir.into(), sign });
    }
    if there < whole && writable {
        sys::allocate(data, whole).map_err(|cause| StoreError::from_io(dir, cause))?;
    }
    Ok(there >= whole || writable)
}
