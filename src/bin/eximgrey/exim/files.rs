//! Changes of files that can be undone, and that nobody ever sees half made.

use eximgrey::time::Timestamp;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

/// Where what was there before is kept. Not beside the file: Debian's conf.d is read by the directory.
const BACKUPS: &str = "/var/backups/eximgrey";

/// A file as it was.
#[derive(PartialEq, Eq)]
pub(super) struct Saved {
    path: PathBuf,
    /// Its target, if it was a symbolic link.
    link: Option<PathBuf>,
    content: Option<(Vec<u8>, Owner)>,
}

/// Whom a file belongs to, and who may read it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Owner {
    user: u32,
    group: u32,
    mode: u32,
}

/// A file that is read by Exim and written by root.
const PUBLIC: Owner = Owner { user: 0, group: 0, mode: 0o644 };

impl Saved {
    /// Notes the file at `path`, which need not exist.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let content = match fs::read(path) {
            Ok(bytes) => {
                let meta = fs::metadata(path)?;
                Some((bytes, Owner { user: meta.uid(), group: meta.gid(), mode: meta.mode() & 0o7777 }))
            }
            Err(e) if e.kind() == ErrorKind::NotFound => None,
            Err(e) => return Err(e),
        };
        Ok(Self { path: path.into(), link: fs::read_link(path).ok(), content })
    }

    pub(super) fn bytes(&self) -> Option<&[u8]> {
        self.content.as_ref().map(|(bytes, _)| bytes.as_slice())
    }

    /// Writes a copy with the file's own mode into the directory of backups. `None` if there was no file.
    pub(super) fn back_up(&self) -> io::Result<Option<PathBuf>> {
        let Some((bytes, owner)) = &self.content else {
            return Ok(None);
        };
        DirBuilder::new().recursive(true).mode(0o700).create(BACKUPS)?;
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        // More than one change in a second is rare; more than a few are none.
        for number in 0..100 {
            let copy = Path::new(BACKUPS).join(format!("{name}.{}.{number}", Timestamp::now()));
            match create(&copy, bytes, *owner) {
                Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
                result => return result.map(|()| Some(copy)),
            }
        }
        Err(ErrorKind::AlreadyExists.into())
    }

    /// Puts `new` in the file's place; `None` removes it.
    pub(super) fn change(&self, new: Option<&[u8]>) -> io::Result<()> {
        match new {
            Some(bytes) => {
                replace(&self.path, bytes, self.content.as_ref().map_or(PUBLIC, |(_, owner)| *owner))
            }
            None => remove(&self.path),
        }
    }

    /// Makes the file what it was; says whether it was another.
    pub(super) fn restore(&self) -> io::Result<bool> {
        if Self::of(&self.path).is_ok_and(|now| now == *self) {
            return Ok(false);
        }
        if let Some(target) = self.link.as_ref().filter(|_| fs::read_link(&self.path).is_err()) {
            symlink(target, &self.path)?;
        }
        self.change(self.bytes()).map(|()| true)
    }
}

/// Replaces a file, or what a symbolic link there leads to, by a new one: a reader finds the old or the new.
fn replace(path: &Path, bytes: &[u8], owner: Owner) -> io::Result<()> {
    let path = path.canonicalize().unwrap_or_else(|_| path.into());
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(ErrorKind::InvalidInput.into());
    };
    // A name that Debian's conf.d does not read: one with a dot.
    let draft = dir.join(format!(".{}.eximgrey-new", name.to_string_lossy()));
    remove(&draft)?;
    let done = create(&draft, bytes, owner).and_then(|()| fs::rename(&draft, &path));
    if done.is_err() {
        let _ = remove(&draft);
    }
    done?;
    File::open(dir)?.sync_all()
}

fn create(path: &Path, bytes: &[u8], owner: Owner) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    chown(path, Some(owner.user), Some(owner.group))?;
    file.set_permissions(Permissions::from_mode(owner.mode))?;
    file.sync_all()
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// A directory for trials that root and one group may read; it goes with the value.
pub(super) struct Scratch(PathBuf);

impl Scratch {
    pub(super) fn new(name: &str, group: Option<u32>) -> io::Result<Self> {
        let path = PathBuf::from(format!("/run/eximgrey-{name}.{}", std::process::id()));
        match fs::remove_dir_all(&path) {
            // Of a process with our number, which was killed.
            Ok(()) => {}
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
        DirBuilder::new().mode(0o750).create(&path)?;
        let scratch = Self(path);
        chown(scratch.path(), None, group)?;
        Ok(scratch)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
