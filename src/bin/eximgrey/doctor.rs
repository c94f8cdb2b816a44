//! `eximgrey doctor`: the installation, one line a check, and what to do about what is wrong.

mod exim;
mod selinux;

use crate::command::{self, Failure, Outcome, Result};
use crate::output::bytes;
use crate::owner;
use clap::Args;
use eximgrey::settings::Settings;
use eximgrey::store::repair as store_repair;
use eximgrey::store::{Table, sys};
use eximgrey::time::Timestamp;
use eximgrey::words;
use serde_json::json;
use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Checks Exim, its configuration, the configuration file and the store. Run it as root: Exim tells its
/// configuration to root only.
#[derive(Args)]
pub struct Doctor {
    /// The Exim binary [default: exim4 or exim in the usual places]
    #[arg(long, value_name = "FILE")]
    exim: Option<PathBuf>,
    /// The configuration that Exim shall be asked about [default: Exim's own]
    #[arg(long, value_name = "FILE")]
    exim_config: Option<PathBuf>,
    /// The library [default: /usr/lib/exim4/eximgrey.so]
    #[arg(long, value_name = "FILE")]
    library: Option<PathBuf>,
    /// Make a damaged store anew from what can be read of it; the damaged files are put aside
    #[arg(long, conflicts_with_all = ["exim", "exim_config", "library", "json"])]
    repair: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

words! {
    /// How it is with what was checked.
    Health {
        /// As it should be.
        Ok = "ok",
        /// Works, but somebody should look.
        Warning = "warning",
        /// Does not work; mail passes without greylisting.
        Broken = "BROKEN",
    }
}

struct Check {
    what: &'static str,
    health: Health,
    text: String,
}

#[derive(Default)]
struct Findings(Vec<Check>);

impl Findings {
    fn ok(&mut self, what: &'static str, text: impl Into<String>) {
        self.add(what, Health::Ok, text);
    }

    fn warning(&mut self, what: &'static str, text: impl Into<String>) {
        self.add(what, Health::Warning, text);
    }

    fn broken(&mut self, what: &'static str, text: impl Into<String>) {
        self.add(what, Health::Broken, text);
    }

    fn add(&mut self, what: &'static str, health: Health, text: impl Into<String>) {
        self.0.push(Check { what, health, text: text.into() });
    }
}

pub fn run(command: &Doctor, config: Option<&Path>, out: &mut impl Write) -> Result {
    if command.repair {
        return crate::repair::run(&command::load(config)?, config, out);
    }
    let mut findings = Findings::default();
    let settings = configuration(config, &mut findings);
    // Exim and its configuration first: that needs root, and looking at the store gives root up.
    let exim = exim::check(command, &mut findings);
    if let Some(settings) = &settings {
        selinux::check(&settings.store.path, &mut findings);
        store(settings, exim.as_ref().and_then(|exim| exim.user.as_deref()), &mut findings);
    }

    for Check { what, health, text } in &findings.0 {
        let health = health.word();
        if command.json {
            writeln!(out, "{}", json!({"check": what, "health": health, "text": text}))?;
        } else {
            writeln!(out, "{health:<8} {what:<14} {text}")?;
        }
    }
    let broken = findings.0.iter().any(|check| check.health == Health::Broken);
    Ok(if broken { Outcome::Negative } else { Outcome::Done })
}

fn configuration(config: Option<&Path>, findings: &mut Findings) -> Option<Settings> {
    match Settings::load(config) {
        Ok(settings) => {
            findings.ok("configuration", command::sound_file(config));
            Some(settings)
        }
        Err(problems) => {
            problems.iter().for_each(|problem| findings.broken("configuration", problem.to_string()));
            None
        }
    }
}

fn store(settings: &Settings, exim_user: Option<&str>, findings: &mut Findings) {
    let path = &settings.store.path;
    let shown = path.display();
    let meta = match fs::metadata(path) {
        Ok(meta) if meta.is_dir() => meta,
        Ok(_) => return findings.broken("store", format!("{shown} is no directory")),
        Err(e) => {
            let user = exim_user.unwrap_or("EXIM-USER");
            let text = format!("{shown}: {e}; make it with: install -d -o {user} -m 0750 {shown}");
            return findings.broken("store", text);
        }
    };
    let (user, group) = (owner::user_name(meta.uid()), owner::group_name(meta.gid()));
    let mode = meta.mode() & 0o7777;
    let place = format!("{shown} is {user}:{group} {mode:04o}");
    if let Some(exim) = exim_user.filter(|exim| *exim != user) {
        findings.broken("store", format!("{place}, but Exim runs as {exim}: chown -R {exim} {shown}"));
    } else if mode & 0o007 != 0 {
        let text = format!("{place}: others may look at who writes to whom; chmod 0750 {shown}");
        findings.warning("store", text);
    } else {
        findings.ok("store", place);
    }
    if let Some(name) = sys::file_system(path).and_then(remote) {
        findings.broken("store", format!("{shown} is on {name}: LMDB needs a local file system"));
    }
    foreign_files(path, meta.uid(), findings);
    contents(settings, findings);
}

/// Files of another owner than the directory's: Exim could not write them.
fn foreign_files(store: &Path, user: u32, findings: &mut Findings) {
    let files = |dir: &Path| {
        fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect::<Vec<_>>()
    };
    let top = files(store);
    let all = top.iter().cloned().chain(top.iter().filter(|path| path.is_dir()).flat_map(|dir| files(dir)));
    for path in all {
        let (shown, Ok(meta)) = (path.display(), fs::symlink_metadata(&path)) else {
            continue;
        };
        if meta.uid() != user {
            let (wrong, right) = (owner::user_name(meta.uid()), owner::user_name(user));
            findings.broken("files", format!("{shown} belongs to {wrong}: chown {right} {shown}"));
        } else if meta.mode() & 0o007 != 0 {
            findings.warning("files", format!("{shown} is open to others: chmod o= {shown}"));
        }
    }
}

fn contents(settings: &Settings, findings: &mut Findings) {
    if owner::become_owner(&settings.store.path).is_ok() && !structure(&settings.store.path, findings) {
        return;
    }
    let store = match command::open_store(settings, Timestamp::now()) {
        Ok(Some(store)) => store,
        Ok(None) => return findings.add("records", Health::Ok, "nothing recorded yet"),
        Err(Failure::Store(error)) => {
            return findings.add("records", Health::Broken, error.to_string());
        }
        Err(_) => return,
    };
    for table in [Table::Known, Table::Pending] {
        let mut records = 0_u64;
        let scanned = store.scan(table, |_, _| {
            records += 1;
            true
        });
        match scanned.and_then(|skipped| Ok((skipped, store.files(table)?))) {
            Ok((_, None)) => {}
            Ok((skipped, Some(files))) => {
                let name = files.name;
                let (used, map) = (bytes(files.used), bytes(files.map));
                findings.add(
                    "records",
                    Health::Ok,
                    format!("{name}: {records} records, {used} in a map of {map}"),
                );
                if files.dead_readers > 0 {
                    let text =
                        format!("{name}: gave back {} places of readers that had died", files.dead_readers);
                    findings.add("readers", Health::Ok, text);
                }
                if skipped.unreadable > 0 {
                    let text = format!(
                        "{name}: {} records of another version, which are left alone",
                        skipped.unreadable
                    );
                    findings.add("records", Health::Warning, text);
                }
            }
            Err(error) => findings.add("records", Health::Broken, error.to_string()),
        }
    }
    if store.counters().is_none() {
        let text = "the file \"state\" cannot be used: decisions are not counted, damage is not noticed, and a \
                    process that is stopped while it writes may hold up mail";
        findings.add("state", Health::Warning, text);
    }
    if let Some(free) = sys::free_bytes(&settings.store.path) {
        let health = if free < 64 << 20 { Health::Warning } else { Health::Ok };
        findings.add("disk", health, format!("{} free", bytes(free)));
    }
}

/// Whether the store's files are what LMDB expects. It could crash over others, so they are looked at without
/// it.
fn structure(store: &Path, findings: &mut Findings) -> bool {
    let mut sound = true;
    for dir in store_repair::environments(store) {
        // A file that cannot be read is named where the store is opened. One that is large and busy is left
        // to --repair.
        let Ok(Some(walk)) = store_repair::check(&dir, false) else { continue };
        if walk.faults.count > 0 {
            sound = false;
            let text = format!(
                "{} is damaged: {}; \"eximgrey doctor --repair\" mends that",
                dir.display(),
                walk.faults
            );
            findings.add("records", Health::Broken, text);
        }
    }
    sound
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
