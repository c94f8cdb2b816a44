//! `eximgrey doctor`: the installation, one line a check, and what to do about what is wrong.

use crate::command::{self, Failure, Outcome, Result};
use crate::exim::daemon::{Exim, times_set};
use crate::exim::{LIMIT, LIMIT_HINT, bad_recipients, status};
use crate::output::bytes;
use crate::owner;
use clap::Args;
use eximgrey::settings::{DEFAULT_FILE, Settings};
use eximgrey::store::repair as store_repair;
use eximgrey::store::{Access, Store, sys};
use eximgrey::time::Timestamp;
use eximgrey::words;
use serde_json::json;
use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Checks Exim, its configuration, the configuration file and the store. Run it as root: Exim tells its configuration to
/// root only.
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

const LIBRARY: &str = "/usr/lib/exim4/eximgrey.so";

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
    let exim = exim(command, &mut findings);
    library(command, exim.as_ref(), &mut findings);
    if let Some(exim) = &exim {
        daemon(exim, &mut findings);
    }
    if let Some(settings) = &settings {
        let path = &settings.store.path;
        selinux(Path::new(SELINUX), path, &label(path), &mut findings);
        store(settings, exim.as_ref().and_then(|exim| exim.user.as_deref()), &mut findings);
    }

    if command.json {
        for check in &findings.0 {
            writeln!(
                out,
                "{}",
                json!({"check": check.what, "health": check.health.word(), "text": check.text})
            )?;
        }
    } else {
        for check in &findings.0 {
            writeln!(out, "{:<8} {:<14} {}", check.health.word(), check.what, check.text)?;
        }
    }
    let broken = findings.0.iter().any(|check| check.health == Health::Broken);
    Ok(if broken { Outcome::NotSo } else { Outcome::Done })
}

fn configuration(config: Option<&Path>, findings: &mut Findings) -> Option<Settings> {
    let path = config.unwrap_or_else(|| Path::new(DEFAULT_FILE));
    match Settings::load(config) {
        Ok(settings) => {
            let note =
                if path.exists() { "no problem found" } else { "no such file; the defaults are in force" };
            findings.add("configuration", Health::Ok, format!("{}: {note}", path.display()));
            Some(settings)
        }
        Err(problems) => {
            for problem in problems {
                findings.add("configuration", Health::Broken, problem.to_string());
            }
            None
        }
    }
}

fn exim(command: &Doctor, findings: &mut Findings) -> Option<Exim> {
    let exim = match Exim::find(command.exim.clone(), command.exim_config.clone()) {
        Ok(exim) => exim,
        Err(error) => {
            findings.add("exim", Health::Broken, error);
            return None;
        }
    };
    let found = format!("{}: {}", exim.binary.display(), exim.version);
    if exim.dlfunc {
        findings.add("exim", Health::Ok, format!("{found}, with dlfunc"));
    } else {
        let text = format!("{found}, built without dlfunc; on Debian install exim4-daemon-heavy");
        findings.add("exim", Health::Broken, text);
    }
    fragment(&exim, findings);
    Some(exim)
}

/// Whether Exim's configuration, with its macros and included files, calls us.
fn fragment(exim: &Exim, findings: &mut Findings) {
    let Ok(text) = exim.ask(&["-bP", "config"]) else {
        let text = "Exim does not tell its configuration; run doctor as root";
        return findings.add("fragment", Health::Warning, text);
    };
    let calls = |name: &str| text.lines().any(|line| line.contains("${dlfunc") && line.contains(name));
    if calls("{greylist}") {
        findings.add("fragment", Health::Ok, "an ACL of Exim's configuration calls greylist");
    } else {
        let text = "no ACL calls greylist; \"eximgrey exim enable\" mends that";
        findings.add("fragment", Health::Broken, text);
        return;
    }
    for rule in exim.refusals_of_deferred(&text) {
        let text = format!(
            "deferred recipients count as bad in \"{rule}\": the eleventh of a new sender gets a 550; mended: {}",
            bad_recipients::mended(&rule)
        );
        findings.add("recipients", Health::Broken, text);
    }
    if !calls("{greylist_preload}") {
        let text =
            "greylist_preload is not used: the first decision of each connection takes longer than it need";
        findings.add("preload", Health::Warning, text);
    }
    if times_set(&text, LIMIT) > 1 {
        findings.add("preload", Health::Warning, format!("{LIMIT} is set twice: {LIMIT_HINT}"));
    }
}

/// Whether Exim can load the library, and which version it then has.
fn library(command: &Doctor, exim: Option<&Exim>, findings: &mut Findings) {
    let path = command.library.clone().unwrap_or_else(|| PathBuf::from(LIBRARY));
    if !path.exists() {
        return findings.add("library", Health::Broken, format!("{} is missing", path.display()));
    }
    let Some(exim) = exim.filter(|exim| exim.dlfunc) else {
        return;
    };
    let call = format!("${{dlfunc{{{}}}{{greylist_version}}{{$version_number}}}}", path.display());
    let answer = exim.ask(&["-be", &call]).unwrap_or_default();
    let expected = format!("version={} ", env!("CARGO_PKG_VERSION"));
    if answer.starts_with(&expected) {
        findings.add("library", Health::Ok, format!("{}: {}", path.display(), answer.trim()));
    } else if answer.starts_with("version=") {
        let text = format!(
            "{}: {}, but this command is {}",
            path.display(),
            answer.trim(),
            env!("CARGO_PKG_VERSION")
        );
        findings.add("library", Health::Warning, text);
    } else {
        findings.add(
            "library",
            Health::Broken,
            format!("Exim cannot load {}: try {call} with exim -be", path.display()),
        );
    }
    if let Some(generation) = answer.trim().split(' ').find_map(|word| word.strip_prefix("exim=")) {
        interface(generation, findings);
    }
}

/// Whether the library knows this Exim well enough to call it.
fn interface(generation: &str, findings: &mut Findings) {
    let (health, text) = match generation {
        "4.99" => (Health::Ok, "the library uses Exim's symbols as in 4.92 to 4.99"),
        "4.100" => (Health::Ok, "the library uses Exim's symbols as in 4.100"),
        _ => {
            let text = "the library does not know this Exim and calls nothing of it: mail is greylisted all the same, \
                        but details of errors go to syslog (mail), and sessions of exim -bh are recorded";
            (Health::Warning, text)
        }
    };
    findings.add("interface", health, text);
}

/// Whether the running daemon has the library that is installed.
fn daemon(exim: &Exim, findings: &mut Findings) {
    if let (Some(pid), status::RELOAD) = status::daemon(exim) {
        let text = format!(
            "process {pid} has another library in memory than the one that is installed: reload Exim. (A new library is \
             put in the place of the old one with mv or install, never with cp, which writes over it)"
        );
        findings.add("daemon", Health::Warning, text);
    }
}

/// Where the kernel shows what SELinux does.
const SELINUX: &str = "/sys/fs/selinux";

/// The SELinux label of a file; `?` where there is none.
fn label(path: &Path) -> String {
    use std::process;
    let output =
        process::Command::new("stat").args(["-c", "%C"]).arg(path).stderr(process::Stdio::null()).output();
    output.map_or_else(|_| "?".into(), |output| String::from_utf8_lossy(&output.stdout).trim().into())
}

/// Whether Fedora's policy lets Exim use the store. It lets Exim make directories and files where they are labelled as
/// its spool, and map them into memory, as LMDB does, by a boolean. Another policy may allow it in another way.
fn selinux(selinux: &Path, store: &Path, label: &str, findings: &mut Findings) {
    let says = |name: &str, value: char| {
        fs::read_to_string(selinux.join(name)).is_ok_and(|text| text.starts_with(value))
    };
    if !says("enforce", '1') {
        return;
    }
    let mut add = |health, text: String| findings.add("selinux", health, format!("enforcing; {text}"));
    let mut fine = true;
    if says("booleans/domain_can_mmap_files", '0') {
        fine = false;
        let text = "Exim may not map the store into memory: setsebool -P domain_can_mmap_files 1";
        add(Health::Warning, text.into());
    }
    if label.split(':').nth(2).is_some_and(|kind| kind != "exim_spool_t") {
        fine = false;
        let path = store.display();
        let text = format!(
            "Exim may not write {path}, labelled {label}: semanage fcontext -a -t exim_spool_t '{path}(/.*)?' \
             && restorecon -R {path}"
        );
        add(Health::Warning, text);
    }
    if fine {
        add(Health::Ok, "Exim may map and write the store".into());
    }
}

fn store(settings: &Settings, exim_user: Option<&str>, findings: &mut Findings) {
    let path = &settings.store.path;
    let meta = match fs::metadata(path) {
        Ok(meta) if meta.is_dir() => meta,
        Ok(_) => {
            return findings.add("store", Health::Broken, format!("{} is no directory", path.display()));
        }
        Err(e) => {
            let user = exim_user.unwrap_or("EXIM-USER");
            let text = format!(
                "{}: {e}; make it with: install -d -o {user} -m 0750 {}",
                path.display(),
                path.display()
            );
            return findings.add("store", Health::Broken, text);
        }
    };
    let (user, group) = (owner::user_name(meta.uid()), owner::group_name(meta.gid()));
    let mode = meta.mode() & 0o7777;
    let place = format!("{} is {user}:{group} {mode:04o}", path.display());
    if exim_user.is_some_and(|exim| exim != user) {
        let exim = exim_user.unwrap_or_default();
        let text = format!("{place}, but Exim runs as {exim}: chown -R {exim} {}", path.display());
        findings.add("store", Health::Broken, text);
    } else if mode & 0o007 != 0 {
        let text = format!("{place}: others may look at who writes to whom; chmod 0750 {}", path.display());
        findings.add("store", Health::Warning, text);
    } else {
        findings.add("store", Health::Ok, place);
    }
    if let Some(name) = sys::file_system(path).and_then(remote) {
        let text = format!("{} is on {name}: LMDB needs a local file system", path.display());
        findings.add("store", Health::Broken, text);
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
        let Ok(meta) = fs::symlink_metadata(&path) else {
            continue;
        };
        if meta.uid() != user {
            let text = format!(
                "{} belongs to {}: chown {} {}",
                path.display(),
                owner::user_name(meta.uid()),
                owner::user_name(user),
                path.display()
            );
            findings.add("files", Health::Broken, text);
        } else if meta.mode() & 0o007 != 0 {
            findings.add(
                "files",
                Health::Warning,
                format!("{} is open to others: chmod o= {}", path.display(), path.display()),
            );
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
    let pending = match store.pending(Access::Look) {
        Ok(pending) => pending,
        Err(error) => return findings.add("records", Health::Broken, error.to_string()),
    };
    for env in [Some(store.known()), pending].into_iter().flatten() {
        let mut records = 0_u64;
        let scanned = Store::scan(env, |_, _| {
            records += 1;
            true
        });
        let name = env.dir().file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        match scanned {
            Ok(skipped) => {
                let text = format!(
                    "{name}: {records} records, {} in a map of {}",
                    bytes(env.used_bytes()),
                    bytes(env.map_size() as u64)
                );
                findings.add("records", Health::Ok, text);
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
        let dead = env.clear_dead_readers();
        if dead > 0 {
            findings.add(
                "readers",
                Health::Ok,
                format!("{name}: gave back {dead} places of readers that had died"),
            );
        }
    }
    if store.counters().is_none() {
        let text = "the file \"state\" cannot be used: decisions are not counted, and damage is not noticed";
        findings.add("state", Health::Warning, text);
    }
    if let Some(free) = sys::free_bytes(&settings.store.path) {
        let health = if free < 64 << 20 { Health::Warning } else { Health::Ok };
        findings.add("disk", health, format!("{} free", bytes(free)));
    }
}

/// Whether the store's files are what LMDB expects. It could crash over others, so they are looked at without it.
fn structure(store: &Path, findings: &mut Findings) -> bool {
    let mut sound = true;
    for dir in store_repair::environments(store) {
        // A file that cannot be read is named where the store is opened. One that is large and busy is left to --repair.
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

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    /// What the doctor says with these words in `enforce` and `domain_can_mmap_files`, and this label of the store.
    fn said(enforce: &str, map: &str, label: &str) -> Vec<(Health, String)> {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("booleans")).unwrap();
        fs::write(dir.path().join("enforce"), enforce).unwrap();
        fs::write(dir.path().join("booleans/domain_can_mmap_files"), map).unwrap();
        let mut findings = Findings::default();
        selinux(dir.path(), Path::new("/var/lib/eximgrey"), label, &mut findings);
        findings.0.into_iter().map(|check| (check.health, check.text)).collect()
    }

    /// Of an Exim that the library does not know, the doctor says what is different there.
    #[test]
    fn the_doctor_says_whether_the_library_knows_this_exim() {
        for (generation, health) in [
            ("4.99", Health::Ok),
            ("4.100", Health::Ok),
            ("unknown", Health::Warning),
            ("9", Health::Warning),
        ] {
            let mut findings = Findings::default();
            interface(generation, &mut findings);
            assert_eq!(findings.0[0].health, health, "{generation}");
        }
        let mut findings = Findings::default();
        interface("unknown", &mut findings);
        assert!(findings.0[0].text.contains("syslog"));
    }

    /// With SELinux, the doctor says which command lets Exim use the store, and nothing where SELinux is not enforcing.
    #[test]
    fn the_doctor_says_what_selinux_must_be_told() {
        let (good, bad) = ("system_u:object_r:exim_spool_t:s0", "system_u:object_r:var_lib_t:s0");
        assert_eq!(said("0", "0 0", bad), []);
        let mut none = Findings::default();
        selinux(Path::new("/nonexistent"), Path::new("/var/lib/eximgrey"), "?", &mut none);
        assert!(none.0.is_empty());

        assert_eq!(said("1", "1 1", good)[0].0, Health::Ok);
        let [(Health::Warning, text)] = &said("1", "0 0", good)[..] else { unreachable!() };
        assert!(text.ends_with("setsebool -P domain_can_mmap_files 1"), "{text}");
        let [(Health::Warning, text)] = &said("1", "1 1", bad)[..] else { unreachable!() };
        let command = "semanage fcontext -a -t exim_spool_t '/var/lib/eximgrey(/.*)?' && restorecon -R /var/lib/eximgrey";
        assert!(text.ends_with(command), "{text}");
        assert_eq!(said("1", "0 0", bad).len(), 2);
    }
}
