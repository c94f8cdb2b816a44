//! One change of Exim's configuration at a time: two at once would undo each other's.

use crate::command::{Failure, Result};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;

const FILE: &str = "/run/eximgrey-exim.lock";

/// Held as long as the value lives; it goes with the process, however that ends.
pub(super) struct Lock(#[expect(dead_code, reason = "the lock belongs to the open file")] File);

impl Lock {
    pub(super) fn take() -> Result<Self> {
        let trouble = |error: std::io::Error| Failure::Usage(format!("{FILE}: {error}. Nothing was changed"));
        let mut options = OpenOptions::new();
        let mut file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(FILE)
            .map_err(trouble)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let mut holder = String::new();
                file.read_to_string(&mut holder).map_err(trouble)?;
                return Err(Failure::Usage(format!(
                    "another eximgrey exim enable or disable is at work (process {}). Nothing was changed; wait for its \
                     end, and try again",
                    holder.trim()
                )));
            }
            Err(error) => return Err(trouble(error.into())),
        }
        file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(trouble)?;
        Ok(Self(file))
    }
}
