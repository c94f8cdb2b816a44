//! Root acts as the owner of the store: a file that root makes there could not be written by Exim.

use crate::command::Failure;
use eximgrey::store::error::StoreError;
use eximgrey::store::sys;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Becomes the owner of the directory `store` for the rest of the process, if we are root and it is not root's.
pub fn become_owner(store: &Path) -> Result<(), Failure> {
    if sys::effective_user() != 0 {
        return Ok(());
    }
    let trouble = |cause| Failure::Store(StoreError::Open { path: store.into(), cause });
    let meta = fs::metadata(store).map_err(trouble)?;
    if meta.uid() == 0 {
        return Ok(());
    }
    sys::become_user(meta.uid(), meta.gid()).map_err(trouble)
}

/// The name of a user, or the number where the system's list has none.
pub fn user_name(user: u32) -> String {
    name_in("/etc/passwd", user).unwrap_or_else(|| user.to_string())
}

/// The name of a group, or the number.
pub fn group_name(group: u32) -> String {
    name_in("/etc/group", group).unwrap_or_else(|| group.to_string())
}

/// Both files have `name:password:number:` in front.
fn name_in(file: &str, number: u32) -> Option<String> {
    let number = number.to_string();
    let text = fs::read_to_string(file).ok()?;
    let fields = text.lines().map(|line| line.split(':'));
    fields
        .map(|mut f| (f.next(), f.nth(1)))
        .find(|(_, n)| *n == Some(&number))
        .and_then(|(name, _)| name.map(Into::into))
}
