//! The store: whether Exim's user can use its files, and what is in them.

use super::eyes::{self, Eyes, place};
use super::{Findings, Health, quoted};
use crate::command::{self, Failure};
use crate::output::bytes;
use crate::{owner, status};
use eximgrey::settings::Settings;
use eximgrey::store::error::StoreError;
use eximgrey::store::repair;
use eximgrey::store::{Store, Table, sys};
use eximgrey::time::Timestamp;
use nix::unistd::AccessFlags;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What the names in a store begin with.
const OURS: [&str; 4] = ["known", "pending", "state", "counters"];

/// What the file system has in its uppermost directory.
const LOST_AND_FOUND: &str = "lost+found";

fn is_ours(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    OURS.iter().any(|ours| name.starts_with(ours))
}

/// Something in the store's directory that is none of ours. Asked as root: Exim's user may see less.
pub(super) fn stranger(store: &Path) -> Option<PathBuf> {
    inside(store).into_iter().find(|path| !is_ours(path) && !path.ends_with(LOST_AND_FOUND))
}

pub(super) fn check(
    settings: &Settings,
    config: Option<&Path>,
    stranger: Option<&Path>,
    eyes: &Eyes,
    findings: &mut Findings,
) {
    let before = findings.broken_count();
    directory(&settings.store.path, stranger, eyes, findings);
    if findings.broken_count() == before {
        contents(settings, config, findings);
    }
}

/// Whether Exim's user can use the directory and what is in it. One cause, one command.
fn directory(path: &Path, stranger: Option<&Path>, eyes: &Eyes, findings: &mut Findings) {
    let shown = path.display();
    if let Some(obstacle) = eyes::obstacle(path, AccessFlags::F_OK) {
        if !obstacle.is_missing() || eyes.lack(path) {
            return eyes.say("store", &obstacle, findings);
        }
        let text = format!("{shown} is missing");
        if eyes.exim.is_none() {
            let text = format!("{text}: make it, owned by Exim's user, mode 0750");
            return findings.broken("store", text);
        }
        let command = format!("install -d -o {} -g {} -m 0750", eyes.user, eyes.group);
        let command = eyes.command(&command, path);
        return findings.with_command("store", Health::Broken, text, command);
    }
    // chown and chmod would change a link.
    let real = path.canonicalize().unwrap_or_else(|_| path.into());
    let Ok(meta) = fs::metadata(&real) else {
        return findings.broken("store", format!("{shown} cannot be looked at"));
    };
    if !meta.is_dir() {
        return findings.broken("store", format!("{shown} is no directory; the store needs one"));
    }
    if let Some(name) = sys::file_system(&real).and_then(remote) {
        return findings.broken("store", format!("{shown} is on {name}: LMDB needs a local file system"));
    }
    let (place, user) = (place(&real, &meta), eyes.exim.as_ref().map_or(meta.uid(), |ids| ids.user));
    let owner = owner::user_name(user);
    let files = files(&real, meta);
    let (mut texts, mut commands) = (Vec::new(), Vec::new());
    if let Some((first, meta, more)) = first(&files, |meta| meta.uid() != user) {
        let wrong = owner::user_name(meta.uid());
        let whose = if eyes.exim.is_some() { "Exim runs as" } else { "the store belongs to" };
        texts.push(format!("{} belongs to {wrong}{more}, but {whose} {owner}", first.display()));
        commands.push(eyes.command(&format!("chown -R {owner}:"), &real));
    }
    let own = |meta: &Metadata| if meta.is_dir() { 0o700 } else { 0o600 };
    if let Some((first, meta, more)) = first(&files, |meta| meta.mode() & own(meta) != own(meta)) {
        let mode = meta.mode() & 0o7777;
        texts.push(format!("{} has mode {mode:04o}{more}, which keeps its owner from it", first.display()));
        commands.push(eyes.command("chmod -R u+rwX", &real));
    }
    if let Some((first, meta, more)) = first(&files, |meta| meta.mode() & 0o002 != 0) {
        let mode = meta.mode() & 0o7777;
        texts.push(format!("{}: anybody may write there (mode {mode:04o}){more}", first.display()));
        commands.push(eyes.command("chmod -R o-w", &real));
    }
    match stranger {
        _ if commands.is_empty() => {}
        Some(stranger) => {
            texts.push(format!(
                "{} is no file of a store: give it a directory of its own",
                stranger.display()
            ));
            return findings.broken("store", texts.join("; "));
        }
        None => {
            return findings.with_command("store", Health::Broken, texts.join("; "), commands.join(" && "));
        }
    }
    // An ACL, SELinux, a file system that may only be read. A file may be gone by now.
    let wanted = AccessFlags::R_OK | AccessFlags::W_OK;
    let mut obstacles = files.iter().filter_map(|(file, _)| eyes::obstacle(file, wanted));
    if let Some(obstacle) = obstacles.find(|obstacle| !obstacle.is_missing()) {
        return eyes.say("store", &obstacle, findings);
    }
    match first(&files, |meta| meta.mode() & 0o007 != 0) {
        Some((first, meta, more)) => {
            let (file, mode) = (first.display(), meta.mode() & 0o7777);
            let text = format!("{file} has mode {mode:04o}{more}: others may look at who writes to whom");
            findings.with_command("store", Health::Warning, text, eyes.command("chmod -R o=", &real));
        }
        None => findings.ok("store", place),
    }
}

fn inside(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> =
        fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

/// The directory and what is ours in it, two levels deep, as far as we may look.
fn files(store: &Path, meta: Metadata) -> Vec<(PathBuf, Metadata)> {
    let below = inside(store).into_iter().filter(|path| is_ours(path)).flat_map(|path| {
        let below = inside(&path);
        std::iter::once(path).chain(below)
    });
    let below = below.filter_map(|path| fs::symlink_metadata(&path).ok().map(|meta| (path, meta)));
    std::iter::once((store.to_path_buf(), meta)).chain(below).collect()
}

/// The first file that is so, and how many more.
fn first(
    files: &[(PathBuf, Metadata)],
    is_so: impl Fn(&Metadata) -> bool,
) -> Option<(&Path, &Metadata, String)> {
    let mut found = files.iter().filter(|(_, meta)| is_so(meta));
    let (path, meta) = found.next()?;
    let more = match found.count() {
        0 => String::new(),
        n => format!(" (and {n} more)"),
    };
    Some((path, meta, more))
}

fn contents(settings: &Settings, config: Option<&Path>, findings: &mut Findings) {
    let path = &settings.store.path;
    let _ = owner::become_owner(path);
    let config = config.map(|file| format!(" --config {}", quoted(file))).unwrap_or_default();
    let repair = format!("eximgrey doctor --repair{config}");
    if !structure(path, &repair, findings) {
        return;
    }
    let now = Timestamp::now();
    let store = match command::open_store(settings, now) {
        Ok(Some(store)) => store,
        Ok(None) => return findings.ok("records", "nothing recorded yet"),
        Err(Failure::Store(error)) => return fault(&error, &repair, findings),
        Err(_) => return,
    };
    if let Err(error) = records(&store, settings, now, findings) {
        return fault(&error, &repair, findings);
    }
    // Where there is none, the next decision makes it.
    let state = path.join("state");
    if store.counters().is_none() && fs::symlink_metadata(&state).is_ok() {
        let text = "the file \"state\" cannot be used: decisions are not counted, damage is not noticed, and a \
                    process that is stopped while it writes may hold up mail";
        let state = quoted(&state);
        findings.with_command("state", Health::Warning, text, format!("mv {state} {state}.damaged"));
    }
    if let Some(free) = sys::free_bytes(path) {
        let health = if free < 64 << 20 { Health::Warning } else { Health::Ok };
        findings.add("disk", health, format!("{} free", bytes(free)));
    }
}

/// What is in the store, as `eximgrey status` counts it.
fn records(
    store: &Store,
    settings: &Settings,
    now: Timestamp,
    findings: &mut Findings,
) -> Result<(), StoreError> {
    let holds = store.survey(&settings.rules, now)?;
    let tables = [
        (Table::Known, status::known(&holds), holds.known.unreadable),
        (Table::Pending, status::pending(&holds), holds.pending.unreadable),
    ];
    for (table, said, unreadable) in tables {
        let Some(files) = store.files(table)? else { continue };
        let name = files.name;
        findings.ok("records", format!("{name}: {said}, in a map of {}", bytes(files.map)));
        if files.dead_readers > 0 {
            let text = format!("{name}: gave back {} places of readers that had died", files.dead_readers);
            findings.ok("readers", text);
        }
        if unreadable > 0 {
            let text = format!("{name}: {unreadable} records of another version, which are left alone");
            findings.warning("records", text);
        }
    }
    gateway(&holds.proved_private, findings);
    Ok(())
}

/// How many networks are named.
const NAMED: usize = 3;

/// Clients from private networks: behind a gateway, all the Internet is one client, and has proved itself.
fn gateway(networks: &[String], findings: &mut Findings) {
    if networks.is_empty() {
        return;
    }
    let mut networks: Vec<_> = networks.iter().map(String::as_str).collect();
    networks.sort_unstable();
    let more = networks.len().saturating_sub(NAMED);
    networks.truncate(NAMED);
    let names = networks.join(", ") + &if more > 0 { format!(" and {more} more") } else { String::new() };
    findings.warning(
        "gateway",
        format!(
            "clients of {names} have proved themselves, but no client on the Internet has such an address. If a \
             gateway, a proxy or NAT stands before Exim, it hides the clients, and all mail passes: greylist there, \
             or have it name them (PROXY protocol: hosts_proxy), then \"eximgrey forget NETWORK\". If they are hosts \
             of yours, add them to EXIMGREY_EXEMPT_HOSTS"
        ),
    );
}

/// Says what is wrong with the store, and what to do.
fn fault(error: &StoreError, repair: &str, findings: &mut Findings) {
    let text = error.to_string();
    match error {
        StoreError::Damaged { path, sign } => {
            let text = format!("{} is damaged: {sign}", path.display());
            findings.with_command("records", Health::Broken, text, repair);
        }
        StoreError::Tripped { path, .. } => {
            let text = format!("{} crashes whoever uses it, and is left alone", path.display());
            findings.with_command("records", Health::Broken, text, repair);
        }
        StoreError::Lock { .. } => {
            findings.broken("records", format!("{text}; fuser -v shows which process has the file open"));
        }
        StoreError::Full { .. } => findings.broken("records", format!("{text}: make room on that disk")),
        StoreError::Open { .. } | StoreError::Crowded { .. } | StoreError::Clock { .. } => {
            findings.broken("records", text);
        }
    }
}

/// Whether the store's files are what LMDB expects. It could crash over others, so they are looked at without
/// it.
fn structure(store: &Path, mends: &str, findings: &mut Findings) -> bool {
    let mut damaged = Vec::new();
    for dir in repair::environments(store) {
        // A file that cannot be read is named where the store is opened. One that is large and busy is left
        // to --repair.
        let Ok(Some(walk)) = repair::check(&dir, false) else { continue };
        if walk.faults.count > 0 {
            damaged.push(format!("{} is damaged: {}", dir.display(), walk.faults));
        }
    }
    if !damaged.is_empty() {
        findings.with_command("records", Health::Broken, damaged.join("; "), mends);
    }
    damaged.is_empty()
}

/// The name of a network file system (the numbers of linux/magic.h); `None` for a local one.
const fn remote(kind: i64) -> Option<&'static str> {
    match kind {
        0x6969 => Some("NFS"),
        0x517b | 0xff53_4d42 | 0xfe53_4d42 => Some("SMB"),
        0x0102_1997 => Some("9P"),
        _ => None,
    }
}
