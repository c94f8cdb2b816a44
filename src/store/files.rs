//! The files of an environment: made with all their blocks, and looked at before LMDB maps them, because a
//! look behind the end of a mapped file, or into a hole of one on a full disk, is a SIGBUS.

use super::error::StoreError;
use super::mapping::Mapping;
use super::sys;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

/// Reader places: the most processes that read at one moment, far above any `smtp_accept_max`.
pub(super) const MAX_READERS: u32 = 1024;

/// The size of `lock.mdb`: a head and a cache line of 64 bytes for each reader (mdb.c, MDB_txninfo and
/// MDB_reader). LMDB takes a file that is larger than it needs as one with more places.
const LOCK_FILE: u64 = (MAX_READERS as u64 + 64) * 64;

/// Room for the head pages of `data.mdb` and the first transactions.
const FIRST_PAGES: u64 = 64 << 10;

/// The last pages that a commit took may have been given back in it and never written (mdb.c, loose pages),
/// so a sound file can end a little before its last page; our transactions touch fewer pages than this.
pub(super) const UNWRITTEN_PAGES: u64 = 64;

/// Whether `dir` holds an environment. Only stat(2): opening and closing a file of an environment that is
/// open would give up this process's locks on it (lmdb.h, caveats).
#[must_use]
pub fn has_data(dir: &Path) -> bool {
    std::fs::metadata(dir.join("data.mdb")).is_ok_and(|data| data.len() > 0)
}

/// Looks at `lock.mdb` before LMDB opens it: the device that it is on, if it is there with all its blocks, as
/// [`allocate_lock_file`] makes it.
///
/// # Errors
/// Where something else than a file stands in the place of one of the two: LMDB could wait for ever for the
/// other end of a pipe.
pub fn lock_device(dir: &Path) -> io::Result<Option<u64>> {
    let look = |name| match std::fs::metadata(dir.join(name)) {
        Ok(file) if !file.is_file() => {
            Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{name} is no regular file")))
        }
        other => Ok(other.ok()),
    };
    look("data.mdb")?;
    Ok(look("lock.mdb")?.filter(|lock| lock.blocks() * 512 >= LOCK_FILE).map(|lock| lock.dev()))
}

/// Makes `lock.mdb` before LMDB does, with all its blocks: LMDB makes a file of holes and maps it, which on a
/// full disk is a SIGBUS. Called before the environment is open in this process, so closing the file gives up
/// no lock of ours.
pub(super) fn allocate_lock_file(dir: &Path) -> io::Result<()> {
    let path = dir.join("lock.mdb");
    let file = open_or_make(&path)?;
    if file.metadata()?.len() == 0 {
        sys::do_not_copy(file.as_fd());
    }
    sys::allocate(file.as_fd(), LOCK_FILE)
}

/// `lock.mdb` on a file system that copies on write: blocks of its own do not help there. Each of LMDB's
/// transactions writes to the mapped file, and where that needs a new block of a full disk, it is a SIGBUS.
pub(super) struct CopiedLock(Mapping);

impl CopiedLock {
    /// Before the environment is opened in this process: closing the file gives up all its locks on it.
    /// `None` where the file system changes files in their place.
    pub(super) fn open(dir: &Path) -> io::Result<Option<Self>> {
        let file = match OpenOptions::new().read(true).write(true).open(dir.join("lock.mdb")) {
            // LMDB reads without a lock then.
            Err(e) if e.raw_os_error() == Some(libc::EROFS) => return Ok(None),
            file => file?,
        };
        if !sys::copies_on_write(file.as_fd()) {
            return Ok(None);
        }
        let lock = Self(Mapping::new(file.as_fd(), usize::try_from(LOCK_FILE).unwrap_or(0))?);
        match lock.prepare() {
            // Before Linux 5.14: a reader's place is 64 bytes, of which LMDB uses 24 (mdb.c, MDB_rxbody).
            Err(e) if e.kind() == io::ErrorKind::InvalidInput => {
                let last = (4095..LOCK_FILE).step_by(4096);
                last.into_iter().try_for_each(|at| file.write_all_at(&[0], at))?;
            }
            result => result?,
        }
        Ok(Some(lock))
    }

    /// Makes its pages writable, before each transaction: they may have been written to the disk meanwhile.
    pub(super) fn prepare(&self) -> io::Result<()> {
        self.0.prepare(0, self.0.len())
    }
}

/// Many may do so at once. No link is followed: it could lead out of the store.
fn open_or_make(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(sys::FILE_MODE);
    options.custom_flags(libc::O_NOFOLLOW).open(path)
}

/// Reserves blocks for the first pages of `data.mdb` before LMDB writes them: on a disk that is almost full
/// it would write one of the two head pages, and the half file would stay unreadable when there is room
/// again.
pub(super) fn reserve_data_file(dir: &Path) -> io::Result<()> {
    let path = dir.join("data.mdb");
    let file = open_or_make(&path)?;
    sys::reserve(&file, FIRST_PAGES)
}

/// A file that ends before its last page would be a SIGBUS at the first look behind its end. One that is cut
/// short is damaged; one that lacks a few pages at its end may be sound, and gets them as zeros, which LMDB
/// takes for damage where it expected something. `whole` is the size by the last page and `page` that of one,
/// in bytes. `false`: it wants pages, and `data` is not writable.
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
