//! The control group of an Exim and its greylister: what CPU time they take, to the microsecond, without that
//! of the clients.

use crate::Result;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// A control group of the second version, below the root of their file system.
pub struct Group(PathBuf);

impl Group {
    /// That of a site; made if it is not there.
    pub fn of(site: &Path) -> Result<Self> {
        let group = root()?.join(name(site));
        match fs::create_dir(&group) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                Err(format!("{}: {error}", group.display()).into())
            }
            _ => Ok(Self(group)),
        }
    }

    /// Has the command run in the group, with all that it starts.
    pub fn enclose(&self, command: &Command) -> Command {
        let mut enclosed = Command::new("sh");
        enclosed
            .args(["-c", "echo 0 >\"$0\" && exec \"$@\""])
            .arg(self.0.join("cgroup.procs"))
            .arg(command.get_program())
            .args(command.get_args());
        enclosed
    }

    /// The CPU time of all processes that are or were in it.
    pub fn cpu(&self) -> Result<Duration> {
        let text = fs::read_to_string(self.0.join("cpu.stat"))?;
        let usage = text.lines().find_map(|line| line.strip_prefix("usage_usec "));
        Ok(Duration::from_micros(usage.ok_or("cpu.stat has no usage_usec")?.parse()?))
    }
}

/// Removes the groups of all sites below a directory, whose processes have ended.
pub fn remove_all(dir: &Path) -> Result<()> {
    let prefix = name(dir);
    for entry in fs::read_dir(root()?)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            fs::remove_dir(entry.path())?;
        }
    }
    Ok(())
}

fn name(path: &Path) -> String {
    let parts: Vec<_> = path.iter().filter_map(OsStr::to_str).collect();
    parts.join("-").replace('/', "")
}

/// Where control groups of the second version are, be it beside those of the first.
fn root() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/mounts")?;
    let root = mounts.lines().find_map(|line| match line.split(' ').collect::<Vec<_>>()[..] {
        [_, root, "cgroup2", ..] => Some(root.into()),
        _ => None,
    });
    root.ok_or_else(|| "no control groups (cgroup2) are mounted: they tell what CPU time is used".into())
}
