//! `eximgrey backup` and `eximgrey restore`

use crate::command::{self, Failure, Outcome, Result};
use crate::output::count;
use crate::owner;
use clap::Args;
use eximgrey::settings::Settings;
use eximgrey::store::repair::{self, Fate};
use eximgrey::store::salvage::DataFile;
use eximgrey::store::{Store, sys};
use eximgrey::time::Timestamp;
use std::env;
use std::fs::{self, DirBuilder};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, chown};
use std::path::{Path, PathBuf};

/// Copies what is known to a new directory, while Exim goes on.
///
/// That is known triplets, what clients have earned, the whitelist and other entries, and the secret: all
/// but first attempts, which last for hours. The copy belongs to the store's owner, and only he can read it.
#[derive(Args)]
pub struct Backup {
    /// The directory, which must not exist
    dir: PathBuf,
}

/// Puts a backup in the place of what is known, in one step, while Exim goes on.
///
/// What was known stays beside it as known.before-restore-TIME. Sessions of Exim that have begun before go
/// on with the old files until they end; what they record is not in the new ones.
#[derive(Args)]
pub struct Restore {
    /// The directory that `eximgrey backup` has made
    dir: PathBuf,
}

/// The copy, in its directory.
const COPY: &str = "known";

pub fn run(command: &Backup, settings: &Settings, out: &mut impl Write) -> Result {
    let dir = &command.dir;
    let store = &settings.store.path;
    let meta = fs::metadata(store).map_err(|e| trouble(store, &e))?;
    if !store.join("known").exists() {
        return Err(Failure::Usage("nothing was ever recorded: there is nothing to copy".into()));
    }
    let made = DirBuilder::new().mode(0o700).create(dir);
    made.map_err(|e| match e.kind() {
        io::ErrorKind::AlreadyExists => {
            Failure::Usage(format!("{} exists: a backup is made in a new directory", dir.display()))
        }
        _ => trouble(dir, &e),
    })?;
    let copied = copy(dir, (meta.uid(), meta.gid()), settings);
    if copied.is_err() {
        // Where it is not the store owner's to remove, it stays, empty.
        let _ = fs::remove_dir(dir);
    }
    writeln!(out, "{} copied to {}; first attempts are not in it", count(copied?, "record"), dir.display())?;
    Ok(Outcome::Done)
}

/// Copies as the store's owner, who may be nobody in the directory above: from within, no path leads there.
fn copy(dir: &Path, (user, group): (u32, u32), settings: &Settings) -> Result<u64> {
    if sys::effective_user() == 0 {
        chown(dir, Some(user), Some(group)).map_err(|e| trouble(dir, &e))?;
    }
    env::set_current_dir(dir).map_err(|e| trouble(dir, &e))?;
    let store = command::open_store(settings, Timestamp::now())?;
    let store = store.ok_or_else(|| Failure::Usage("nothing was ever recorded".into()))?;
    Ok(store.back_up(&Path::new(".").join(COPY))?)
}

pub fn run_restore(command: &Restore, settings: &Settings, out: &mut impl Write) -> Result {
    let path = command.dir.join(COPY).join("data.mdb");
    // Root's own file, before root becomes the store's owner.
    let backup = DataFile::open(&path).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => Failure::Usage(format!(
            "{} holds no whole backup: {} is missing",
            command.dir.display(),
            path.display()
        )),
        _ => trouble(&path, &e),
    })?;
    let walk = backup.walk(&mut |_, _| ());
    if walk.faults.count > 0 {
        return Err(Failure::Usage(format!("{} is damaged: {}", path.display(), walk.faults)));
    }
    let store = &settings.store.path;
    owner::become_owner(store)?;
    let now = Timestamp::now();
    let restored = repair::restore(&backup, store, settings.rules.sender_key, now)?;
    let _ = Store::use_again(&settings.store);
    writeln!(out, "restored   {}: {}", store.join("known").display(), count(restored.from_tree, "record"))?;
    if restored.left > 0 {
        writeln!(out, "left       {} of another version", count(restored.left, "record"))?;
    }
    if restored.secret == Fate::Lost {
        writeln!(out, "secret     the backup had none: records with whole texts are under new keys")?;
    }
    if !restored.aside.as_os_str().is_empty() {
        writeln!(out, "aside      {}", restored.aside.display())?;
        writeln!(
            out,
            "Sessions of Exim that began before go on in the old files until they end; what they record is \
             not kept. The old files hold who writes to whom: remove them when nothing is missed."
        )?;
    }
    Ok(Outcome::Done)
}

fn trouble(path: &Path, error: &io::Error) -> Failure {
    Failure::Usage(format!("{}: {error}", path.display()))
}
