//! What Exim's daemon reads before it forks, so that its children need not: the default configuration, and
//! the kernel's name for this boot. Memory alone: no file stays open, and the store is not touched.
//!
//! The daemon expands the option with `greylist_preload` at each connection, just before it forks for it. So
//! a child may take the configuration as it is here: it was looked at a moment ago.

use crate::settings::{DEFAULT_FILE, Settings};
use once_cell::sync::OnceCell;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What tells one state of a file from another; `None` where there is no file.
type Stamp = Option<[i64; 4]>;

/// The process that has prepared first: the daemon.
static PREPARER: OnceCell<u32> = OnceCell::new();

/// Whether this process is to prepare: not if its parent has. (The fragment calls `greylist_preload` in the
/// children, too.)
pub fn is_for_us() -> bool {
    *PREPARER.get_or_init(std::process::id) == std::process::id()
}

/// A configuration file as it was found, each time that it had changed.
///
/// Read without a lock: the daemon does so at each connection, and a lock is a write, for which the kernel
/// must copy a page after each fork. What was found stays in memory for ever, some kilobytes for each edit of
/// the file.
struct Configuration(OnceCell<Box<Found>>);

struct Found {
    stamp: Stamp,
    /// `None` for a file that cannot be read, or has a mistake.
    settings: Option<Settings>,
    /// What was found after the next edit.
    next: Configuration,
}

impl Configuration {
    const fn new() -> Self {
        Self(OnceCell::new())
    }

    fn last(&self) -> Option<&Found> {
        std::iter::successors(self.0.get(), |found| found.next.0.get()).last().map(|found| &**found)
    }

    fn settings(&self) -> Option<&Settings> {
        self.last()?.settings.as_ref()
    }

    /// Reads `path` with `load` if it has changed.
    fn refresh(&self, path: &Path, load: impl Fn() -> Option<Settings>) {
        let file = std::fs::metadata(path).ok();
        // Reading a pipe could hold up the daemon.
        let readable = file.as_ref().is_none_or(Metadata::is_file);
        let stamp = file.map(|file| stamp(&file));
        let last = self.last();
        if last.is_none_or(|found| found.stamp != stamp) {
            let settings = readable.then(load).flatten();
            let place = last.map_or(self, |found| &found.next);
            // One thread prepares, so nobody has been faster.
            let _ = place.0.set(Box::new(Found { stamp, settings, next: Self::new() }));
        }
    }
}

static CONFIGURATION: Configuration = Configuration::new();

/// Reads what has changed since the last call. What cannot be read is left to the child, which says so in the
/// log.
pub fn prepare() {
    let _ = crate::store::boot_id();
    CONFIGURATION.refresh(Path::new(DEFAULT_FILE), || Settings::load(None).ok());
}

/// The default configuration, if it has been read.
pub fn settings() -> Option<&'static Settings> {
    CONFIGURATION.settings()
}

fn stamp(file: &Metadata) -> [i64; 4] {
    [file.ino().cast_signed(), file.size().cast_signed(), file.ctime(), file.ctime_nsec()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Seconds;
    use std::cell::Cell;

    /// The configuration is read once, again when it has changed, and not used while it has a mistake.
    #[test]
    fn a_changed_configuration_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("eximgrey.toml");
        let configuration = Configuration::new();
        let delay = |text: Option<&str>| {
            if let Some(text) = text {
                // A new file in the place of the old one, as editors do it: the times alone could be the
                // same.
                let draft = dir.path().join("draft");
                std::fs::write(&draft, text).unwrap();
                std::fs::rename(draft, &path).unwrap();
            }
            let reads = Cell::new(0);
            configuration.refresh(&path, || {
                reads.set(reads.get() + 1);
                Settings::load(Some(&path)).ok()
            });
            (configuration.settings().map(|settings| settings.rules.delay), reads.get())
        };
        assert_eq!(delay(Some("delay = \"1m\"\n")), (Some(Seconds(60)), 1));
        assert_eq!(delay(None), (Some(Seconds(60)), 0));
        assert_eq!(delay(Some("delay = \"2m\"\n")), (Some(Seconds(120)), 1));
        assert_eq!(delay(Some("delay = 2m\n")), (None, 1));
        assert_eq!(delay(None), (None, 0), "the same mistake is not read again");
        assert_eq!(delay(Some("delay = \"3m\"\n")), (Some(Seconds(180)), 1));
    }

    /// The daemon must not wait for whoever writes into a pipe.
    #[test]
    fn a_pipe_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        let configuration = Configuration::new();
        configuration.refresh(&path, || Settings::load(Some(&path)).ok());
        assert!(configuration.settings().is_none());
    }
}
