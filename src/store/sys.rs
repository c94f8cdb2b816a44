//! The few system calls that the standard library lacks, each behind a safe function.
#![allow(unsafe_code)]

use rustix::fs::{self, AtFlags, Dir, FallocateFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The mode of every file of a store. Explicit, because Exim runs with umask 0.
pub const FILE_MODE: u32 = 0o640;

/// The mode of every directory of a store.
pub const DIR_MODE: u32 = 0o750;

/// Free bytes of the file system that holds `path`, for an ordinary user.
#[must_use]
pub fn free_bytes(path: &Path) -> Option<u64> {
    let stat = fs::statvfs(path).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Fills descriptors 0 to 2 with /dev/null where they are closed, until the result is dropped: a database
/// that got descriptor 2 would take every message that anybody prints to the standard error.
#[must_use]
pub fn occupy_standard_descriptors() -> Vec<OwnedFd> {
    let mut held = Vec::new();
    // SAFETY: F_GETFD takes a descriptor, open or not.
    if (0..=2).all(|fd| unsafe { libc::fcntl(fd, libc::F_GETFD) } >= 0) {
        return held;
    }
    while let Ok(null) = File::options().read(true).write(true).open("/dev/null") {
        if null.as_raw_fd() > 2 {
            break;
        }
        held.push(null.into());
    }
    held
}

/// Sixteen bytes from the kernel's random generator.
///
/// # Errors
/// What getrandom(2) says.
pub fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    // Up to 256 bytes come whole (getrandom(2)).
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(bytes)
}

/// The user this process acts as.
#[must_use]
pub fn effective_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// The size of `file` in bytes.
///
/// # Errors
/// What lseek(2) says. (The C library's fstat(2) is a page fault more, for its empty path.)
pub fn size(file: BorrowedFd<'_>) -> io::Result<u64> {
    Ok(fs::seek(file, fs::SeekFrom::End(0))?)
}

/// The most bytes that a file of this process may have, where it has such a limit (RLIMIT_FSIZE).
#[must_use]
pub fn file_size_limit() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Fsize).current
}

/// Whether a file may have so many bytes. To write behind the limit is a signal that ends the process.
///
/// # Errors
/// EFBIG if it may not.
pub fn may_have(size: u64) -> io::Result<()> {
    match file_size_limit() {
        Some(limit) if limit < size => Err(Errno::FBIG.into()),
        _ => Ok(()),
    }
}

/// Opens a directory, no link to one.
///
/// # Errors
/// What open(2) says.
pub fn open_dir(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    Ok(fs::open(path, flags, Mode::empty())?)
}

/// The names in a directory. Unlike that of the standard library it does not panic where closing fails.
///
/// # Errors
/// What the system says.
pub fn names_in(dir: &OwnedFd) -> io::Result<Vec<OsString>> {
    let name = |entry: rustix::io::Result<fs::DirEntry>| {
        entry.map(|entry| OsStr::from_bytes(entry.file_name().to_bytes()).to_owned())
    };
    let names: Vec<_> = Dir::read_from(dir)?.map(name).collect::<Result<_, _>>()?;
    Ok(names.into_iter().filter(|name| name != "." && name != "..").collect())
}

/// Removes a directory and the files in it; one with directories in it stays.
///
/// # Errors
/// What the system says.
pub fn remove_dir(path: &Path) -> io::Result<()> {
    let dir = open_dir(path)?;
    names_in(&dir)?.iter().try_for_each(|name| fs::unlinkat(&dir, name, AtFlags::empty()))?;
    std::fs::remove_dir(path)
}

/// Gives `file` blocks for its first `size` bytes, and at least that size. A mapped file with holes would be
/// a SIGBUS on a full disk.
///
/// # Errors
/// What posix_fallocate(3) says, ENOSPC above all.
pub fn allocate(file: BorrowedFd<'_>, size: u64) -> io::Result<()> {
    may_have(size)?;
    let size = libc::off_t::try_from(size).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: posix_fallocate takes a descriptor, which `file` keeps open, and two numbers.
    match unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, size) } {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code)),
    }
}

/// Reserves blocks for the first `size` bytes of `file` without a change of its size, where the file system
/// can.
///
/// # Errors
/// What fallocate(2) says, ENOSPC above all, but not that it cannot.
pub fn reserve(file: &File, size: u64) -> io::Result<()> {
    may_have(size)?;
    match fs::fallocate(file, FallocateFlags::KEEP_SIZE, 0, size) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
        result => Ok(result?),
    }
}

/// Lets two files or directories change places in one step.
///
/// # Errors
/// What renameat2(2) says; `EINVAL` or `ENOSYS` where the file system or the kernel cannot.
pub fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    Ok(fs::renameat_with(fs::CWD, one, fs::CWD, other, RenameFlags::EXCHANGE)?)
}

/// Renames a file or directory, unless there is one of the new name.
///
/// # Errors
/// As [`exchange`], or [`io::ErrorKind::AlreadyExists`].
pub fn rename_to_new(from: &Path, to: &Path) -> io::Result<()> {
    Ok(fs::renameat_with(fs::CWD, from, fs::CWD, to, RenameFlags::NOREPLACE)?)
}

/// A name for a draft of `path`, beside it, that nobody else has and nobody can foresee: a number of a
/// process may be another's in another container.
///
/// # Errors
/// What getrandom(2) says.
pub fn draft(path: &Path) -> io::Result<PathBuf> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".draft-{:032x}", u128::from_be_bytes(random()?)));
    Ok(name.into())
}

/// Root must not leave files in a store that Exim's user cannot open: it uses those that are there. (`exim
/// -be` stays root when root calls it.)
///
/// # Errors
/// [`io::ErrorKind::PermissionDenied`] if this is root and `dir` is not root's.
pub fn may_make_files_in(dir: &Path) -> io::Result<()> {
    if effective_user() == 0 && std::fs::metadata(dir)?.uid() != 0 {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "root makes no files in another user's store",
        ));
    }
    Ok(())
}

/// The type of the file system that holds `path`, as statfs(2) numbers it.
#[must_use]
pub fn file_system(path: &Path) -> Option<i64> {
    fs::statfs(path).ok().map(|stat| stat.f_type)
}

/// The file systems that write a changed page in its place, so that blocks once allocated are enough
/// (linux/magic.h): ext2 to ext4, and tmpfs.
const IN_PLACE: [i64; 2] = [0xef53, 0x0102_1994];

/// Whether `file` may need new blocks to change a page that has blocks.
#[must_use]
pub fn copies_on_write(file: BorrowedFd<'_>) -> bool {
    !fs::fstatfs(file).is_ok_and(|stat| IN_PLACE.contains(&stat.f_type))
}

/// Asks the file system to change the pages of `file`, which is still empty, in their place (chattr +C). Only
/// btrfs can, and does so unless a snapshot was taken.
pub fn do_not_copy(file: BorrowedFd<'_>) {
    // rustix has 32 bits of flags, as the kernel; valgrind wants the 64 that the number of the call says.
    const FS_NOCOW_FL: libc::c_long = 0x0080_0000;
    let mut flags: libc::c_long = 0;
    // SAFETY: these calls take a descriptor and a place for the flags; where they are not known, they fail.
    unsafe {
        if libc::ioctl(file.as_raw_fd(), libc::FS_IOC_GETFLAGS, &raw mut flags) == 0 {
            flags |= FS_NOCOW_FL;
            libc::ioctl(file.as_raw_fd(), libc::FS_IOC_SETFLAGS, &raw const flags);
        }
    }
}
