//! A file that is mapped for writing, and the locks in it.
#![allow(unsafe_code)]

use std::cell::UnsafeCell;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

/// A mapping of a file that all processes share.
pub struct Mapping {
    start: *mut u8,
    len: usize,
}

// SAFETY: the memory is shared by design; all access goes through atomics and locks.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps the first `len` bytes of `file`, which must have them.
    ///
    /// # Errors
    /// What mmap(2) says.
    pub fn new(file: BorrowedFd<'_>, len: usize) -> io::Result<Self> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping of an open file, which stays valid after the file is closed.
        let start =
            unsafe { libc::mmap(std::ptr::null_mut(), len, access, libc::MAP_SHARED, file.as_raw_fd(), 0) };
        if start == libc::MAP_FAILED {
            Err(io::Error::last_os_error())
        } else {
            Ok(Self { start: start.cast(), len })
        }
    }

    /// Its length in bytes.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Makes pages writable, as a write would, but with an error in place of a signal where the file system
    /// has no block for them. Linux 5.14.
    ///
    /// # Errors
    /// [`io::ErrorKind::StorageFull`] where a write would be a SIGBUS; [`io::ErrorKind::InvalidInput`] where
    /// the kernel cannot.
    pub fn prepare(&self, at: usize, len: usize) -> io::Result<()> {
        let len = len.min(self.len.saturating_sub(at));
        // SAFETY: the range lies in the mapping, and its content does not change.
        let answer =
            unsafe { libc::madvise(self.start.add(at.min(self.len)).cast(), len, libc::MADV_POPULATE_WRITE) };
        match io::Error::last_os_error() {
            _ if answer == 0 => Ok(()),
            // madvise(2): "a SIGBUS would have been generated on actual memory access".
            e if matches!(e.raw_os_error(), Some(libc::EFAULT | libc::EHWPOISON)) => {
                Err(io::Error::from_raw_os_error(libc::ENOSPC))
            }
            e => Err(e),
        }
    }

    /// `count` atomic numbers from byte `at` on.
    ///
    /// # Panics
    /// Where they do not lie in the mapping: no caller asks for such.
    #[must_use]
    pub fn cells<T: Atomic>(&self, at: usize, count: usize) -> &[T] {
        assert!(at.is_multiple_of(align_of::<T>()) && at + count * size_of::<T>() <= self.len);
        // SAFETY: in the mapping and aligned, as was looked at just now (a mapping begins on a page); any
        // bytes are a value of an atomic number; the mapping lives as long as `self`. A file that somebody
        // truncates meanwhile would be a SIGBUS: nobody does, the file keeps its size.
        unsafe { std::slice::from_raw_parts(self.start.add(at).cast(), count) }
    }

    /// `N` bytes from `at` on, as they are now.
    #[must_use]
    pub fn bytes<const N: usize>(&self, at: usize) -> [u8; N] {
        let cells = self.cells::<std::sync::atomic::AtomicU8>(at, N);
        std::array::from_fn(|i| cells.get(i).map_or(0, |c| c.load(std::sync::atomic::Ordering::Relaxed)))
    }

    /// The lock at byte `at`, of a `kind` as [`SharedLock::make`] says.
    #[must_use]
    pub fn lock(&self, at: usize, kind: u32) -> SharedLock<'_> {
        let room = self.cells::<std::sync::atomic::AtomicU64>(at, size_of::<libc::pthread_mutex_t>() / 8);
        SharedLock { mutex: room.as_ptr().cast(), kind, mapping: PhantomData }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping that `new` made; no reference into it outlives `self`.
        unsafe { libc::munmap(self.start.cast(), self.len) };
    }
}

/// The atomic numbers: any bytes are a value, and all access is atomic.
///
/// # Safety
/// That holds for the type.
pub unsafe trait Atomic {}
// SAFETY: an atomic number.
unsafe impl Atomic for std::sync::atomic::AtomicU8 {}
// SAFETY: an atomic number.
unsafe impl Atomic for std::sync::atomic::AtomicU32 {}
// SAFETY: an atomic number.
unsafe impl Atomic for std::sync::atomic::AtomicU64 {}

/// A lock in a mapped file: a mutex of the C library that processes share (PTHREAD_PROCESS_SHARED), whose
/// owner's death the kernel notes (PTHREAD_MUTEX_ROBUST). Taking one that is free is no system call. All
/// processes have to use the same C library, as for the locks of LMDB.
#[derive(Clone, Copy)]
pub struct SharedLock<'m> {
    mutex: *const UnsafeCell<libc::pthread_mutex_t>,
    kind: u32,
    mapping: PhantomData<&'m Mapping>,
}

/// A lock that is held until this is dropped, or until the process ends.
pub struct Held<'m>(SharedLock<'m>);

/// What a try to take a lock comes to.
pub enum Taken<'m> {
    /// It was free.
    Free(Held<'m>),
    /// Its owner died with it; it is held now.
    OwnerDied(Held<'m>),
    /// Somebody else holds it, or it is garbage.
    Busy,
}

unsafe extern "C" {
    // POSIX and glibc 2.30; the crate libc has neither.
    fn pthread_mutexattr_setrobust(
        attr: *mut libc::pthread_mutexattr_t,
        robustness: libc::c_int,
    ) -> libc::c_int;
    fn pthread_mutex_consistent(mutex: *mut libc::pthread_mutex_t) -> libc::c_int;
    fn pthread_mutex_clocklock(
        mutex: *mut libc::pthread_mutex_t,
        clock: libc::clockid_t,
        until: *const libc::timespec,
    ) -> libc::c_int;
}

/// A lock wakes one of those who wait, and where there are more processes than processors, that one has to
/// wait for a processor: a crowd that has formed behind a process that lost its processor goes on forming. So
/// nobody sleeps for long without another try; the lock is free most of the time.
const FIRST_WAIT: Duration = Duration::from_millis(1);
const LONGEST_WAIT: Duration = Duration::from_millis(16);

/// pthread.h
const PTHREAD_MUTEX_ROBUST: libc::c_int = 1;

/// Where glibc keeps the kind of a mutex (struct_mutex.h): behind the lock, the count, the owner and, on 64
/// bits, the number of users. It never changes, so a mutex with another kind is garbage, and is not given to
/// the library.
const KIND: usize = if size_of::<usize>() == 8 { 16 } else { 12 };

impl<'m> SharedLock<'m> {
    fn pointer(self) -> *mut libc::pthread_mutex_t {
        UnsafeCell::raw_get(self.mutex)
    }

    /// Makes the lock, where nobody uses it yet, and says what kind the C library gives it.
    pub fn make(self) -> u32 {
        // SAFETY: the attributes are made before they are used; `Mapping::lock` found room for a mutex here,
        // and nobody else sees the file yet.
        unsafe {
            let mut attributes = std::mem::zeroed::<libc::pthread_mutexattr_t>();
            libc::pthread_mutexattr_init(&raw mut attributes);
            libc::pthread_mutexattr_setpshared(&raw mut attributes, libc::PTHREAD_PROCESS_SHARED);
            pthread_mutexattr_setrobust(&raw mut attributes, PTHREAD_MUTEX_ROBUST);
            libc::pthread_mutex_init(self.pointer(), &raw const attributes);
        }
        self.kind_there()
    }

    fn kind_there(self) -> u32 {
        // SAFETY: in the mapping, see `Mapping::lock`, and a multiple of 4; nobody writes these bytes.
        unsafe { self.pointer().cast::<u32>().byte_add(KIND).read_volatile() }
    }

    fn is_ours(self) -> bool {
        self.kind_there() == self.kind
    }

    /// Whether this is no lock of ours, or after a wait, one that is held by a process that does not exist.
    /// (In a container with numbers of its own, a living owner may look like none.)
    #[must_use]
    pub fn is_garbage(self, waited: bool) -> bool {
        // The kernel's rule for such locks (futex(2), robust futexes): the low 30 bits are the owner's
        // number. SAFETY: the lock word comes first (struct_mutex.h); others change it, which a volatile read
        // allows for.
        let word = unsafe { self.pointer().cast::<u32>().read_volatile() };
        let owner = (word & 0x3fff_ffff).cast_signed();
        // SAFETY: kill takes two numbers; signal 0 is none.
        let gone = waited
            && owner > 0
            && unsafe { libc::kill(owner, 0) } != 0
            && io::Error::last_os_error().raw_os_error() == Some(libc::ESRCH);
        !self.is_ours() || gone
    }

    /// Takes the lock if it is free.
    #[must_use]
    pub fn try_take(self) -> Taken<'m> {
        if !self.is_ours() {
            return Taken::Busy;
        }
        // SAFETY: a mutex of our kind in shared memory that outlives the call.
        match unsafe { libc::pthread_mutex_trylock(self.pointer()) } {
            0 => Taken::Free(Held(self)),
            libc::EOWNERDEAD => Taken::OwnerDied(self.recovered()),
            _ => Taken::Busy,
        }
    }

    /// Takes the lock, and waits for it for no longer than `patience`.
    #[must_use]
    pub fn take(self, patience: Duration) -> Option<Held<'m>> {
        match self.try_take() {
            Taken::Free(held) | Taken::OwnerDied(held) => return Some(held),
            Taken::Busy if patience.is_zero() || !self.is_ours() => return None,
            Taken::Busy => {}
        }
        let start = Instant::now();
        let mut pause = FIRST_WAIT;
        loop {
            let left = patience.checked_sub(start.elapsed())?;
            match self.wait(left.min(pause)) {
                0 => return Some(Held(self)),
                libc::EOWNERDEAD => return Some(self.recovered()),
                libc::ETIMEDOUT => pause = (pause * 2).min(LONGEST_WAIT),
                _ => return None,
            }
        }
    }

    fn wait(self, patience: Duration) -> libc::c_int {
        let mut until = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: a place for the time.
        unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut until) };
        // Less than a second.
        let nanoseconds = until.tv_nsec + libc::c_long::from(patience.subsec_nanos().cast_signed());
        until.tv_sec += libc::time_t::from(nanoseconds >= 1_000_000_000);
        until.tv_nsec = nanoseconds % 1_000_000_000;
        // SAFETY: as in `try_take`, and a time.
        unsafe { pthread_mutex_clocklock(self.pointer(), libc::CLOCK_MONOTONIC, &raw const until) }
    }

    /// What the lock guards is not left half done by a death.
    fn recovered(self) -> Held<'m> {
        // SAFETY: this thread holds the mutex, whose owner died.
        unsafe { pthread_mutex_consistent(self.pointer()) };
        Held(self)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        // SAFETY: this thread took the mutex, and the mapping is still there.
        unsafe { libc::pthread_mutex_unlock(self.0.pointer()) };
    }
}
