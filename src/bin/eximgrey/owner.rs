//! Root acts as the owner of the store: a file that root makes there could not be written by Exim.

use crate::command::Failure;
use eximgrey::store::error::StoreError;
use eximgrey::store::sys;
use nix::unistd::{Gid, Group, Uid, User, setgid, setgroups, setuid};
use std::fs;
use std::io;
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
    let ids = Ids { user: meta.uid(), group: meta.gid(), groups: Vec::new() };
    ids.become_for_good().map_err(trouble)
}

/// Who a process acts as.
pub struct Ids {
    pub user: u32,
    pub group: u32,
    /// Further groups.
    pub groups: Vec<u32>,
}

impl Ids {
    /// Becomes that user for the rest of the process; root's other groups go too.
    pub fn become_for_good(&self) -> io::Result<()> {
        let groups: Vec<_> = self.groups.iter().copied().map(Gid::from_raw).collect();
        setgroups(&groups)?;
        setgid(Gid::from_raw(self.group))?;
        Ok(setuid(Uid::from_raw(self.user))?)
    }
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
