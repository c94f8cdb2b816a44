//! Root acts as the owner of the store: a file that root makes there could not be written by Exim.

use crate::command::Failure;
use eximgrey::store::error::StoreError;
use eximgrey::store::sys;
use nix::unistd::{Gid, Group, Uid, User};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Becomes the owner of the directory `store` for the rest of the process, if we are root and it is not
/// root's.
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

/// The name of a user, or the number where the system knows none.
pub fn user_name(user: u32) -> String {
    let found = User::from_uid(Uid::from_raw(user)).ok().flatten();
    found.map_or_else(|| user.to_string(), |found| found.name)
}

/// The name of a group, or the number.
pub fn group_name(group: u32) -> String {
    let found = Group::from_gid(Gid::from_raw(group)).ok().flatten();
    found.map_or_else(|| group.to_string(), |found| found.name)
}
