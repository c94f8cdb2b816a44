//! The few system calls that the standard library lacks, each behind a safe function.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The mode of every file of a store. Explicit, because Exim runs with umask 0.
pub const FILE_MODE: u32 = 0o640;

/// The mode of every directory of a store.
pub const DIR_MODE: u32 = 0o750;

/// Free bytes of the file system that holds `path`, for an ordinary user.
#[must_use]
pub fn free_bytes(path: &Path) -> Option<u64> {
    let path = CString::new(path.as_os_str().as_bytes()).ok()?;
    // SAFETY: statvfs is plain numbers, for which all zeros is a value.
    let mut stat: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are valid for the call; `path` ends in NUL.
    let answer = unsafe { libc::statvfs(path.as_ptr(), &raw mut stat) };
    (answer == 0).then(|| stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Tries to take the exclusive lock on `file` without waiting; says whether it was taken. The lock belongs to the
/// open file: it goes with the process, however that ends.
///
/// # Errors
/// What flock(2) says but EWOULDBLOCK.
pub fn try_lock(file: BorrowedFd<'_>) -> io::Result<bool> {
    flock(file, libc::LOCK_EX | libc::LOCK_NB)
}

/// Gives the lock back.
pub fn unlock(file: BorrowedFd<'_>) {
    // Unlocking an open file does not fail.
    let _ = flock(file, libc::LOCK_UN);
}

fn flock(file: BorrowedFd<'_>, operation: libc::c_int) -> io::Result<bool> {
    loop {
        // SAFETY: flock takes a descriptor, which `file` keeps open, and a number.
        if unsafe { libc::flock(file.as_raw_fd(), operation) } == 0 {
            return Ok(true);
        }
        match io::Error::last_os_error() {
            e if e.raw_os_error() == Some(libc::EINTR) => {}
            e if e.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            e => return Err(e),
        }
    }
}

/// Sets close-on-exec on `fd`, so that no program Exim starts inherits the store.
///
/// # Errors
/// What fcntl(2) says.
pub fn close_on_exec(fd: RawFd) -> io::Result<()> {
    // SAFETY: F_SETFD takes a descriptor and a number; a wrong descriptor is an error, not a fault.
    if unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Fills descriptors 0 to 2 with /dev/null where they are closed, until the result is dropped: a database that got
/// descriptor 2 would take every message that anybody prints to the standard error.
#[must_use]
pub fn occupy_standard_descriptors() -> Vec<OwnedFd> {
    let mut held = Vec::new();
    // SAFETY: F_GETFD takes a descriptor, open or not.
    if (0..=2).all(|fd| unsafe { libc::fcntl(fd, libc::F_GETFD) } >= 0) {
        return held;
    }
    loop {
        // SAFETY: a constant path that ends in NUL.
        let fd = unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC) };
        if fd < 0 {
            return held;
        }
        // SAFETY: open(2) returned this descriptor just now; nobody else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        if fd.as_raw_fd() > 2 {
            return held;
        }
        held.push(fd);
    }
}

/// Sixteen bytes from the kernel's random generator.
///
/// # Errors
/// What getrandom(2) says.
pub fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0_u8; N];
    // SAFETY: the pointer and the length are those of `bytes`.
    let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    // Up to 256 bytes come whole (getrandom(2)).
    if got == N as isize { Ok(bytes) } else { Err(io::Error::last_os_error()) }
}

/// The user this process acts as.
#[must_use]
pub fn effective_user() -> u32 {
    // SAFETY: geteuid has no arguments and cannot fail.
    unsafe { libc::geteuid() }
}

/// The size of `file` in bytes.
///
/// # Errors
/// What fstat(2) says.
pub fn size(file: BorrowedFd<'_>) -> io::Result<u64> {
    // SAFETY: stat is plain numbers, for which all zeros is a value.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: fstat takes a descriptor, which `file` keeps open, and a place for its answer.
    if unsafe { libc::fstat(file.as_raw_fd(), &raw mut stat) } == 0 {
        Ok(u64::try_from(stat.st_size).unwrap_or(0))
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Gives `file` blocks for its first `size` bytes, and at least that size. A mapped file with holes would be a SIGBUS on a
/// full disk.
///
/// # Errors
/// What posix_fallocate(3) says, ENOSPC above all.
pub fn allocate(file: BorrowedFd<'_>, size: u64) -> io::Result<()> {
    let size = libc::off_t::try_from(size).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: posix_fallocate takes a descriptor, which `file` keeps open, and two numbers.
    match unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, size) } {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code)),
    }
}

/// Reserves blocks for the first `size` bytes of `file` without a change of its size, where the file system can.
///
/// # Errors
/// What fallocate(2) says, ENOSPC above all, but not that it cannot.
pub fn reserve(file: &File, size: u64) -> io::Result<()> {
    let size = libc::off_t::try_from(size).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: fallocate takes a descriptor, which `file` keeps open, and numbers.
    if unsafe { libc::fallocate(file.as_raw_fd(), libc::FALLOC_FL_KEEP_SIZE, 0, size) } == 0 {
        return Ok(());
    }
    match io::Error::last_os_error() {
        e if matches!(e.raw_os_error(), Some(libc::EOPNOTSUPP | libc::ENOSYS)) => Ok(()),
        e => Err(e),
    }
}

/// Lets two files or directories change places in one step.
///
/// # Errors
/// What renameat2(2) says; `EINVAL` or `ENOSYS` where the file system or the kernel cannot.
pub fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    let one = CString::new(one.as_os_str().as_bytes())?;
    let other = CString::new(other.as_os_str().as_bytes())?;
    let (here, flags) = (libc::AT_FDCWD, libc::RENAME_EXCHANGE);
    // SAFETY: renameat2 takes two paths that end in NUL and live as long as the call, and numbers.
    let answer =
        unsafe { libc::syscall(libc::SYS_renameat2, here, one.as_ptr(), here, other.as_ptr(), flags) };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Root must not leave files in a store that Exim's user cannot open: it uses those that are there. (`exim -be` stays
/// root when root calls it.)
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
    let path = CString::new(path.as_os_str().as_bytes()).ok()?;
    // SAFETY: statfs is plain numbers, for which all zeros is a value.
    let mut stat: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are valid for the call; `path` ends in NUL.
    let answer = unsafe { libc::statfs(path.as_ptr(), &raw mut stat) };
    (answer == 0).then_some(stat.f_type as i64)
}

/// The file systems that write a changed page in its place, so that blocks once allocated are enough (linux/magic.h): ext2
/// to ext4, and tmpfs.
const IN_PLACE: [i64; 2] = [0xef53, 0x0102_1994];

/// Whether `file` may need new blocks to change a page that has blocks.
#[must_use]
pub fn copies_on_write(file: BorrowedFd<'_>) -> bool {
    // SAFETY: statfs is plain numbers, for which all zeros is a value.
    let mut stat: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: a descriptor, which `file` keeps open, and a place for the answer.
    let answer = unsafe { libc::fstatfs(file.as_raw_fd(), &raw mut stat) };
    answer != 0 || !IN_PLACE.contains(&(stat.f_type as i64))
}

/// Asks the file system to change the pages of `file`, which is still empty, in their place (chattr +C). Only btrfs can, and
/// does so unless a snapshot was taken.
pub fn do_not_copy(file: BorrowedFd<'_>) {
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

/// Becomes another user for good: root's other groups go too. For the command only; Exim's processes stay who they are.
///
/// # Errors
/// What the system says; then nothing or only the groups have changed.
pub fn become_user(user: u32, group: u32) -> io::Result<()> {
    let check = |answer| {
        if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    // SAFETY: an empty list needs no pointer.
    check(unsafe { libc::setgroups(0, std::ptr::null()) })?;
    // SAFETY: setgid and setuid take a number.
    check(unsafe { libc::setgid(group) })?;
    // SAFETY: as above.
    check(unsafe { libc::setuid(user) })
}
