//! Where the page goes: a file of whoever calls, which appears whole or not at all.
//!
//! As root, who reads the store becomes its owner for good, and could neither make that file nor rename it.
//! So the page is written by a process of its own into a file that is open already.

use crate::command::{Failure, Outcome, Result};
use eximgrey::store::sys;
use std::env;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Has `arguments` of ours write to `path`; what came of it. It is there with exit status 1, too: that is a
/// page that says there is nothing.
pub fn write(path: &Path, config: Option<&Path>, arguments: &[&str]) -> Result {
    let trouble = |cause: io::Error| Failure::Usage(format!("cannot write {}: {cause}", path.display()));
    let target = Target::open(path).map_err(trouble)?;
    let mut command = Command::new(env::current_exe()?);
    command.args(arguments).stdin(Stdio::null()).stdout(target.file.try_clone()?).stderr(Stdio::piped());
    if let Some(config) = config {
        command.arg("--config").arg(config);
    }
    let done = command.spawn()?.wait_with_output()?;
    let outcome = match done.status.code() {
        Some(0) => Outcome::Done,
        Some(1) => Outcome::Negative,
        code => {
            let said = String::from_utf8_lossy(&done.stderr);
            let said = said.trim_end().trim_start_matches("eximgrey: ");
            // LMDB can crash over damage.
            let why = if code.is_some() {
                said.into()
            } else {
                format!("no report: {}; try: eximgrey doctor", done.status)
            };
            return Err(Failure::Usage(why));
        }
    };
    target.finish(path).map_err(trouble)?;
    Ok(outcome)
}

struct Target {
    file: File,
    /// Its name until it is whole; `None` where it is written to as it is.
    draft: Option<PathBuf>,
}

impl Target {
    fn open(path: &Path) -> io::Result<Self> {
        // A device or pipe is no file that something could take the place of.
        if fs::metadata(path).is_ok_and(|meta| !meta.is_file()) {
            return Ok(Self { file: OpenOptions::new().write(true).open(path)?, draft: None });
        }
        let draft = sys::draft(path)?;
        let file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(&draft)?;
        Ok(Self { file, draft: Some(draft) })
    }

    fn finish(mut self, path: &Path) -> io::Result<()> {
        let Some(draft) = &self.draft else { return Ok(()) };
        fs::rename(draft, path)?;
        self.draft = None;
        Ok(())
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        // Nothing is left behind that is not whole.
        let _ = self.draft.take().map(fs::remove_file);
    }
}
