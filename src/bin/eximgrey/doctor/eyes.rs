//! The doctor's eyes: whoever Exim is when it asks the library, in the file system that its daemon sees. Root
//! sees more than that user, and the daemon may see less than both: in a chroot, in a container, or where
//! systemd hides directories from it or makes them read-only.

use super::{Findings, Health, quoted};
use crate::exim::daemon::Exim;
use crate::exim::status;
use crate::owner::{self, Ids};
use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};
use nix::unistd::{AccessFlags, Uid, User, access, chroot, fchdir, getegid, geteuid, getgrouplist};
use std::ffi::CString;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// As many links as the kernel follows (path_resolution(7)).
const MOST_LINKS: u8 = 40;

/// Who looks, and from where.
pub(super) struct Eyes {
    /// Exim's user; `None` where we could not become that one.
    pub(super) exim: Option<Ids>,
    /// The name of who looks.
    pub(super) user: String,
    /// The name of his group.
    pub(super) group: String,
    /// The daemon, where it sees another file system than we did.
    pub(super) apart: Option<u32>,
    /// The files of ours, and the directories on the way, that there are where we began; and what they are.
    seen: Vec<(PathBuf, (u64, u64))>,
}

impl Eyes {
    /// Exim's user, in the place of its daemon; we are both for the rest of the process. Who is not root, or
    /// finds no Exim, stays who he is.
    pub(super) fn open(exim: Option<&Exim>, files: &[&Path], findings: &mut Findings) -> Self {
        let all = files.iter().flat_map(|file| file.ancestors());
        let seen = all.filter_map(|path| Some((path.to_path_buf(), identity(path)?))).collect();
        let mut eyes = Self {
            exim: None,
            user: owner::user_name(geteuid().as_raw()),
            group: owner::group_name(getegid().as_raw()),
            apart: None,
            seen,
        };
        if let Some(exim) = exim.filter(|_| geteuid().is_root())
            && let Err(why) = eyes.become_exims(exim, findings)
        {
            findings.warning("user", format!("looked as root, who may do more than Exim: {why}"));
        }
        eyes
    }

    fn become_exims(&mut self, exim: &Exim, findings: &mut Findings) -> Result<(), String> {
        let daemon = status::daemon(exim).0;
        let ids = daemon.and_then(ids_of_process).or_else(|| ids_of_user(exim));
        let ids = ids.ok_or("the user that it runs as is not known")?;
        // By the names of our own system.
        let (user, group) = (owner::user_name(ids.user), owner::group_name(ids.group));
        self.apart = match daemon.map(|pid| (pid, enter(pid))) {
            Some((pid, Ok(true))) => Some(pid),
            Some((pid, Err(error))) => {
                let text =
                    format!("what process {pid} of Exim sees of the file system cannot be seen: {error}");
                findings.warning("daemon", text);
                None
            }
            _ => None,
        };
        ids.become_for_good().map_err(|error| format!("cannot become {user}: {error}"))?;
        (self.user, self.group, self.exim) = (user, group, Some(ids));
        Ok(())
    }

    /// Whether root saw this file where the daemon has none.
    pub(super) fn lack(&self, path: &Path) -> bool {
        self.apart.is_some() && self.seen.iter().any(|(seen, _)| seen == path)
    }

    /// A command about a file, as root has to give it.
    pub(super) fn command(&self, command: &str, path: &Path) -> String {
        let command = format!("{command} {}", quoted(path));
        let here = self.seen.iter().find(|(seen, _)| seen == path).map(|(_, identity)| *identity);
        match self.apart {
            Some(pid) if here != identity(path) => format!("nsenter -t {pid} --mount --root {command}"),
            _ => command,
        }
    }

    /// Says what is in the way, and what to do.
    pub(super) fn say(&self, what: &'static str, obstacle: &Obstacle, findings: &mut Findings) {
        let (user, shown) = (&self.user, obstacle.path.display());
        let text = match (obstacle.cause, &obstacle.meta, self.apart) {
            (Errno::EACCES, _, _) if self.exim.is_none() => {
                format!("{user} may not look at {shown}: run doctor as root")
            }
            (Errno::EACCES, Some(meta), _) => {
                let (act, bit) = if obstacle.inside { ("enter", 'x') } else { ("read", 'r') };
                let text = format!("{}, and {user} may not {act} it", place(&obstacle.path, meta));
                if !self.may(meta, if obstacle.inside { 0o1 } else { 0o4 }) {
                    let command = self.command(&format!("chmod a+{bit}"), &obstacle.path);
                    return findings.with_command(what, Health::Broken, text, command);
                }
                text + ", though its mode allows that: look at its ACL (getfacl), SELinux, AppArmor"
            }
            (Errno::ENOENT, _, Some(pid)) if self.lack(&obstacle.path) => format!(
                "Exim's daemon, process {pid}, does not see {shown}: a chroot, a container or systemd \
                 (systemctl cat exim4) hides it"
            ),
            (Errno::EROFS, _, Some(pid)) => format!(
                "Exim's daemon, process {pid}, may only read {shown}: where systemd protects it, add \
                 ReadWritePaths={shown} (systemctl edit exim4) and restart Exim"
            ),
            (Errno::ENOENT, ..) => format!("{shown} is missing"),
            (cause, ..) => format!("{user} cannot use {shown}: {}", cause.desc()),
        };
        findings.broken(what, text);
    }

    /// Whether the mode gives Exim's user that bit.
    fn may(&self, meta: &Metadata, bit: u32) -> bool {
        let shift = match &self.exim {
            Some(ids) if ids.user == meta.uid() => 6,
            Some(ids) if ids.group == meta.gid() || ids.groups.contains(&meta.gid()) => 3,
            _ => 0,
        };
        meta.mode() >> shift & bit != 0
    }
}

/// `/etc/eximgrey is root:root 0700`
pub(super) fn place(path: &Path, meta: &Metadata) -> String {
    let (user, group) = (owner::user_name(meta.uid()), owner::group_name(meta.gid()));
    format!("{} is {user}:{group} {:04o}", path.display(), meta.mode() & 0o7777)
}

/// What keeps this process from a file.
pub(super) struct Obstacle {
    /// A directory on the way, or the file itself.
    path: PathBuf,
    meta: Option<Metadata>,
    cause: Errno,
    /// Whether it is on the way.
    inside: bool,
}

impl Obstacle {
    pub(super) fn is_missing(&self) -> bool {
        self.cause == Errno::ENOENT
    }
}

/// What keeps this process from using `path` like that: the first thing on the way to it.
pub(super) fn obstacle(path: &Path, wanted: AccessFlags) -> Option<Obstacle> {
    walk(path, wanted, MOST_LINKS)
}

fn walk(path: &Path, wanted: AccessFlags, links: u8) -> Option<Obstacle> {
    let mut here = PathBuf::new();
    let mut rest = path.components();
    while let Some(component) = rest.next() {
        here.push(component);
        let inside = !rest.as_path().as_os_str().is_empty();
        let meta = match fs::symlink_metadata(&here) {
            Ok(meta) => meta,
            Err(error) => {
                let cause = Errno::from_raw(error.raw_os_error().unwrap_or_default());
                return Some(Obstacle { path: here, meta: None, cause, inside });
            }
        };
        if meta.is_symlink() && links > 0 {
            let target = here.parent()?.join(fs::read_link(&here).ok()?).join(rest.as_path());
            return walk(&target, wanted, links - 1);
        }
        if let Err(cause) = access(&here, if inside { AccessFlags::X_OK } else { wanted }) {
            return Some(Obstacle { path: here, meta: Some(meta), cause, inside });
        }
    }
    None
}

/// The first thing on the way to `path` that others than its owner and group may not use, and the letter of
/// the mode that they lack.
pub(super) fn closed(path: &Path) -> Option<(PathBuf, char)> {
    let mut parts: Vec<_> = path.ancestors().collect();
    parts.reverse();
    parts.into_iter().find_map(|part| {
        let (bit, letter) = if part == path { (0o4, 'r') } else { (0o1, 'x') };
        (fs::metadata(part).ok()?.mode() & bit == 0).then(|| (part.to_path_buf(), letter))
    })
}

/// The user that a daemon is, with the groups that it was given when it started; not root, which it is for a
/// moment.
fn ids_of_process(pid: u32) -> Option<Ids> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let numbers = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.split_whitespace().filter_map(|number| number.parse().ok()).collect::<Vec<u32>>())
    };
    // Real, effective, saved and file system's.
    let (user, group) = (*numbers("Uid:")?.get(1)?, *numbers("Gid:")?.get(1)?);
    (user != 0).then_some(Ids { user, group, groups: numbers("Groups:")? })
}

/// Exim's user, with the groups that Exim gives itself.
fn ids_of_user(exim: &Exim) -> Option<Ids> {
    let name = exim.user.as_deref()?;
    let user = User::from_name(name).ok().flatten();
    let user = user.or_else(|| User::from_uid(Uid::from_raw(name.parse().ok()?)).ok().flatten())?;
    let groups = getgrouplist(&CString::new(user.name).ok()?, user.gid).ok()?;
    let groups = groups.into_iter().map(|group| group.as_raw()).collect();
    Some(Ids { user: user.uid.as_raw(), group: user.gid.as_raw(), groups })
}

/// What tells a file from any other.
fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()))
}

/// Goes where a process is: into its mount namespace and its root. Whether that is elsewhere.
fn enter(pid: u32) -> io::Result<bool> {
    let [namespace, root] = ["ns/mnt", "root"].map(|name| format!("/proc/{pid}/{name}"));
    let (namespace, root) = (File::open(namespace)?, File::open(root)?);
    let same = |file: &File, own: &str| {
        let meta = file.metadata().ok();
        meta.map(|meta| (meta.dev(), meta.ino())) == identity(Path::new(own))
    };
    let same_namespace = same(&namespace, "/proc/self/ns/mnt");
    if same_namespace && same(&root, "/") {
        return Ok(false);
    }
    if !same_namespace {
        setns(&namespace, CloneFlags::CLONE_NEWNS)?;
    }
    fchdir(&root)?;
    chroot(".")?;
    Ok(true)
}
