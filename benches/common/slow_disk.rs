//! A disk whose flushes take longer, and are counted: `slow_disk.c`, for LD_PRELOAD.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

/// The compiled library.
pub struct SlowDisk(PathBuf);

impl SlowDisk {
    /// Compiles it into a directory.
    pub fn build(dir: &Path) -> io::Result<Self> {
        let library = dir.join("slow_disk.so");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/common/slow_disk.c");
        let status = Command::new("cc")
            .args(["-O2", "-shared", "-fPIC", "-o"])
            .arg(&library)
            .args([source, "-ldl"])
            .status()?;
        if !status.success() {
            return Err(io::Error::other(format!("cc {source}: {status}")));
        }
        Ok(Self(library))
    }

    /// The environment of processes whose flushes are to take so much longer, and to be counted in this file.
    pub fn environment(&self, counted: &Path, ms: u32) -> io::Result<Vec<(&'static str, PathBuf)>> {
        fs::write(counted, "")?;
        fs::set_permissions(counted, fs::Permissions::from_mode(0o666))?;
        let ms = ms.to_string().into();
        Ok(vec![
            ("LD_PRELOAD", self.0.clone()),
            ("EXIMGREY_FLUSHES", counted.into()),
            ("EXIMGREY_FLUSH_MS", ms),
        ])
    }
}

/// The flushes so far.
pub fn flushes(counted: &Path) -> io::Result<u64> {
    Ok(fs::metadata(counted)?.len())
}
