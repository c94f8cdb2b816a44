//! The files of an environment: made with all their blocks, and looked at before LMDB maps them, because a
//! look behind the end of a mapped file, or into a hole of one on a full disk, is a SIGBUS.

use super::error::StoreError;
use super::mapping::Mapping;
use super::sys;
use std::fs::{File, Metadata, OpenOptions};
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
    std::fs::symlink_metadata(dir.join("data.mdb")).is_ok_and(|data| data.len() > 0)
}

/// Whether `dir` is a directory, no link to one, and only its owner and group may write there.
///
/// # Errors
/// What the system says, or what is wrong.
pub fn is_private_dir(dir: &Path) -> io::Result<()> {
    let meta = std::fs::symlink_metadata(dir)?;
    if !meta.is_dir() {
        return Err(io::Error::new(io::ErrorKind::NotADirectory, "no directory, but a file or a link"));
    }
    may_be_trusted(&meta)
}

/// Whether nobody else than its owner and group may write to a file or directory.
///
/// # Errors
/// What is wrong.
pub fn may_be_trusted(meta: &Metadata) -> io::Result<()> {
    let mode = meta.mode() & 0o7777;
    if mode & 0o002 == 0 {
        return Ok(());
    }
    let text = format!("anybody may write there (mode {mode:04o}): chmod o-w");
    Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
}

/// Looks at `lock.mdb` before LMDB opens it: the device that it is on, if it is there with all its blocks, as
/// [`allocate_lock_file`] makes it.
///
/// # Errors
/// Where something else than a file stands in the place of one of the two: LMDB could wait for ever for the
/// other end of a pipe, and follows a link wherever it leads. [`io::ErrorKind::NotFound`] where there is no
/// environment: LMDB would leave one behind.
pub fn lock_device(dir: &Path) -> io::Result<Option<u64>> {
    let look = |name| match std::fs::symlink_metadata(dir.join(name)) {
        Ok(file) if !file.is_file() => {
            Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{name} is no regular file")))
        }
        Ok(file) if file.nlink() != 1 => {
            Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{name} has another name elsewhere")))
        }
        other => Ok(other.ok()),
    };
    if look("data.mdb")?.is_none_or(|data| data.len() == 0) {
        return Err(io::ErrorKind::NotFound.into());
    }
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
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(libc::O_NOFOLLOW);
        let file = match options.open(dir.join("lock.mdb")) {
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

/// Has what was made in `dir` on the disk, before it gets its name.
pub(super) fn flush(dir: &Path) -> io::Result<()> {
    let open = |path: &Path| OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(path);
    open(&dir.join("data.mdb"))?.sync_all()?;
    flush_dir(dir);
    Ok(())
}

/// Has the names in `dir` on the disk. Where that cannot be, a crash of the machine within seconds may cost
/// the last of them.
pub(super) fn flush_dir(dir: &Path) {
    let _ = File::open(dir).and_then(|dir| dir.sync_all());
}

/// Puts `draft` in the place of `dir`, unless somebody has made an environment there; then it goes.
pub(super) fn put_in_place(draft: &Path, dir: &Path) -> io::Result<()> {
    match std::fs::rename(draft, dir) {
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENOTEMPTY | libc::EEXIST)) => {}
        other => return other,
    }
    if has_data(dir) {
        return sys::remove_dir(draft);
    }
    // Left half made.
    match sys::exchange(draft, dir) {
        Ok(()) => sys::remove_dir(draft),
        Err(_) => sys::remove_dir(dir).and_then(|()| std::fs::rename(draft, dir)),
    }
}

/// Removes the drafts of `dir` that were left by processes that died.
pub(super) fn remove_drafts(dir: &Path) {
    let (Some(parent), Some(name)) = (dir.parent(), dir.file_name()) else { return };
    let prefix = [name.as_encoded_bytes(), b".draft-"].concat();
    for name in sys::open_dir(parent).and_then(|parent| sys::names_in(&parent)).into_iter().flatten() {
        if name.as_encoded_bytes().starts_with(&prefix) {
            let _ = sys::remove_dir(&parent.join(name));
        }
    }
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
