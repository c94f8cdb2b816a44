//! What Exim's daemon reads before it forks, so that its children need not: the default configuration, and the kernel's
//! name for this boot. Memory alone: no file stays open, and the store is not touched.
//!
//! The daemon expands the option with `greylist_preload` at each connection, just before it forks for it. So a child may
//! take the configuration as it is here: it was looked at a moment ago.

use crate::settings::{DEFAULT_FILE, Settings};
use once_cell::sync::OnceCell;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Mutex, PoisonError};

/// What tells one state of a file from another; `None` where there is no file.
type Stamp = Option<[i64; 4]>;

/// The process that has prepared first: the daemon.
static PREPARER: OnceCell<u32> = OnceCell::new();

/// Whether this process is to prepare: not if its parent has. (The fragment calls `greylist_preload` in the children, too.)
pub fn is_for_us() -> bool {
    *PREPARER.get_or_init(std::process::id) == std::process::id()
}

static CONFIGURATION: Mutex<Option<(Stamp, Arc<Settings>)>> = Mutex::new(None);

/// Reads what has changed since the last call. A file that cannot be read, or has a mistake, is left to the child, which
/// says so in the log.
pub fn prepare() {
    crate::store::boot_id();
    let file = std::fs::metadata(DEFAULT_FILE).ok();
    // Reading a pipe could hold up the daemon.
    let readable = file.as_ref().is_none_or(Metadata::is_file);
    let stamp = file.map(|file| stamp(&file));
    let mut prepared = CONFIGURATION.lock().unwrap_or_else(PoisonError::into_inner);
    if prepared.as_ref().is_none_or(|(before, _)| *before != stamp) {
        let settings = readable.then(|| Settings::load(None).ok()).flatten();
        *prepared = settings.map(|settings| (stamp, Arc::new(settings)));
    }
}

/// The default configuration, if it has been read.
pub fn settings() -> Option<Arc<Settings>> {
    let prepared = CONFIGURATION.lock().unwrap_or_else(PoisonError::into_inner);
    prepared.as_ref().map(|(_, settings)| Arc::clone(settings))
}

fn stamp(file: &Metadata) -> [i64; 4] {
    [file.ino().cast_signed(), file.size().cast_signed(), file.ctime(), file.ctime_nsec()]
}
