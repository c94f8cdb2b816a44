//! A copy of what is known, made while everybody goes on.
//!
//! It is made record by record, as a listing reads them: an open reader would keep all old pages from being
//! used again for as long as a slow disk takes. So the copy shows no single moment: what comes or goes
//! meanwhile may be in it or not. Each record is whole, and says all that it says by itself.

use super::error::StoreError;
use super::lmdb::{Durability, Env, Patience, Purpose};
use super::scan::each;
use super::{META_KEY, SUMMARY_KEY, Store, is_own, sys};
use crate::time::Seconds;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Records written in one transaction: some megabytes of pages.
const BATCH: usize = 5_000;

/// Nobody else writes to the copy.
const PATIENCE: Patience = Patience::UpTo(Seconds(5));

impl Store {
    /// Copies what is known to the directory `dir`, which must not exist: filled and flushed under another
    /// name, readable to its owner alone. Says how many records it holds.
    ///
    /// # Errors
    /// See [`StoreError`]; then there is no such directory.
    pub fn back_up(&self, dir: &Path) -> Result<u64, StoreError> {
        let fail = |cause| StoreError::from_io(dir, cause);
        let draft = sys::draft(dir).map_err(fail)?;
        let copied = self.copy_known(&draft).and_then(|many| {
            place(&draft, dir).map_err(fail)?;
            Ok(many)
        });
        if copied.is_err() {
            let _ = fs::remove_dir_all(&draft);
        }
        copied
    }

    fn copy_known(&self, draft: &Path) -> Result<u64, StoreError> {
        let env = Env::open(draft, Durability::LastCommit, Purpose::Make)?;
        let write = |records: &[(Vec<u8>, Vec<u8>)]| {
            env.write(PATIENCE, |writer| {
                records.iter().try_for_each(|(key, value)| Ok(writer.put(key, value)?))
            })
        };
        let (mut many, mut batch, mut written) = (0, Vec::new(), Ok(()));
        each(&self.known, |key, value| {
            // What is queued is not copied, so neither is what was carried of it.
            if !is_own(key) {
                many += 1;
                batch.push((key.to_vec(), value.to_vec()));
            }
            if batch.len() == BATCH {
                written = write(&std::mem::take(&mut batch));
            }
            written.is_ok()
        })?;
        written?;
        // After all entries, so that it knows of each.
        let heads = self.known.read(|snapshot| {
            let head = |key: &[u8]| Ok(snapshot.get(key)?.map(|value| (key.to_vec(), value.to_vec())));
            Ok([head(META_KEY)?, head(SUMMARY_KEY)?])
        })?;
        batch.extend(heads.into_iter().flatten());
        write(&batch)?;
        env.prepare()?;
        Ok(many)
    }
}

/// Gives the files their modes, and the directory its name.
fn place(draft: &Path, dir: &Path) -> std::io::Result<()> {
    let data = draft.join("data.mdb");
    fs::set_permissions(&data, Permissions::from_mode(0o600))?;
    fs::set_permissions(draft, Permissions::from_mode(0o700))?;
    // Whoever opens the copy with LMDB makes one.
    fs::remove_file(draft.join("lock.mdb"))?;
    File::open(data)?.sync_all()?;
    File::open(draft)?.sync_all()?;
    sys::rename_to_new(draft, dir).or_else(|e| match e.raw_os_error() {
        Some(libc::EINVAL | libc::ENOSYS) => fs::rename(draft, dir),
        _ => Err(e),
    })?;
    File::open(dir.parent().unwrap_or(dir))?.sync_all()
}
