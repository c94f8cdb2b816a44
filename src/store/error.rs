//! What can go wrong with a store: what happened, to which path, what to do; and the one word that Exim gets.

use crate::reply::Fault;
use crate::time::Timestamp;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// A failure of the store. Whoever meets one lets the mail pass.
#[derive(Debug)]
pub enum StoreError {
    /// A directory or file cannot be opened or made.
    Open {
        /// Which.
        path: PathBuf,
        /// The system's word.
        cause: io::Error,
    },
    /// Another writer keeps its lock, or every reader's place is taken.
    Lock {
        /// Whose lock.
        path: PathBuf,
    },
    /// No room on the disk, in the quota or in the address space.
    Full {
        /// Where.
        path: PathBuf,
    },
    /// The table of first attempts is full of such as may still come back.
    Crowded {
        /// Whose.
        path: PathBuf,
    },
    /// The machine's clock says no time that a record can hold.
    Clock {
        /// The nearest one.
        nearest: Timestamp,
    },
    /// The breaker is open: calls that used the store never came back.
    Tripped {
        /// Which.
        path: PathBuf,
        /// Nobody has said so in this hour.
        first: bool,
    },
    /// The files do not hold what they should.
    Damaged {
        /// Which.
        path: PathBuf,
        /// How it shows.
        sign: String,
    },
}

impl StoreError {
    /// The word for the reply.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        match self {
            Self::Open { .. } => Fault::StoreOpen,
            Self::Lock { .. } => Fault::StoreLock,
            Self::Full { .. } | Self::Crowded { .. } => Fault::StoreFull,
            Self::Clock { .. } => Fault::BadClock,
            Self::Tripped { .. } | Self::Damaged { .. } => Fault::StoreDamaged,
        }
    }

    /// What an error of the system with `path` means.
    #[must_use]
    pub fn from_io(path: &Path, cause: io::Error) -> Self {
        match cause.raw_os_error() {
            Some(libc::ENOSPC | libc::EDQUOT | libc::EFBIG) => Self::Full { path: path.into() },
            _ => Self::Open { path: path.into(), cause },
        }
    }

    /// What an LMDB error in the environment `path` means.
    #[must_use]
    pub fn from_lmdb(path: &Path, error: lmdb::Error) -> Self {
        let path = path.to_path_buf();
        match error {
            lmdb::Error::MapFull
            | lmdb::Error::Other(libc::ENOSPC | libc::EDQUOT | libc::EFBIG | libc::ENOMEM) => {
                Self::Full { path }
            }
            // LMDB reports a write that the disk took only in part as EIO (mdb.c, mdb_page_flush).
            lmdb::Error::Other(libc::EIO) if disk_is_full(&path) => Self::Full { path },
            // All reader places are taken by live processes: more connections at once than LMDB was told.
            lmdb::Error::ReadersFull | lmdb::Error::Other(libc::EAGAIN | libc::EBUSY) => Self::Lock { path },
            lmdb::Error::Other(code) if code > 0 && code != libc::EIO => {
                Self::Open { path, cause: io::Error::from_raw_os_error(code) }
            }
            other => Self::Damaged { path, sign: other.to_string() },
        }
    }
}

/// Whether the file system of `path` has less room than a transaction needs.
fn disk_is_full(path: &Path) -> bool {
    super::sys::free_bytes(path).is_some_and(|free| free < 1 << 20)
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open { path, cause } => write!(f, "cannot open {}: {cause}", path.display()),
            Self::Lock { path } => write!(f, "{} is locked by another writer for too long", path.display()),
            Self::Full { path } => write!(f, "no room to write in {}", path.display()),
            Self::Crowded { path } => write!(
                f,
                "{} is full of first attempts whose retry may still come, as in a flood: new mail passes \
                 until there is room (max_pending)",
                path.display()
            ),
            Self::Clock { nearest } => {
                write!(f, "the machine's clock is wrong, nobody can wait by it: it says {nearest} or beyond")
            }
            Self::Tripped { path, .. } => write!(
                f,
                "{} crashes whoever uses it, and is left alone; `eximgrey doctor --repair` mends it",
                path.display()
            ),
            Self::Damaged { path, sign } => write!(f, "{} is damaged: {sign}", path.display()),
        }
    }
}

impl std::error::Error for StoreError {}
