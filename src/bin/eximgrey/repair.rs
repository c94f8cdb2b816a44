//! `eximgrey doctor --repair`: finds out whether the store is damaged, in ways that cannot crash this
//! process, and has it made anew.

use crate::command::{Outcome, Result, complain, end_in_time};
use crate::output::count;
use crate::owner;
use crate::terminal::Progress;
use eximgrey::settings::Settings;
use eximgrey::store::Store;
use eximgrey::store::repair::{self, Fate, Repaired};
use eximgrey::time::Timestamp;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use std::{env, io};

/// The longest that LMDB may take to read the whole store.
const PROBE: Duration = Duration::from_secs(300);

pub fn run(settings: &Settings, config: Option<&Path>, out: &mut impl Write) -> Result {
    let store = &settings.store.path;
    owner::become_owner(store)?;
    let now = Timestamp::now();
    // LMDB shall be seen to crash, below, and mail shall be greylisted again.
    let left_alone = Store::use_again(&settings.store);
    let mut done: Vec<PathBuf> = Vec::new();
    let mut failed = false;
    let rebuild = |dir: &Path, sign: &str, out: &mut dyn Write| -> Result<bool> {
        writeln!(out, "damaged    {}: {sign}", dir.display())?;
        let rebuilt = {
            let _progress = Progress::new("repairing", None);
            repair::rebuild(dir, settings.rules.sender_key, now)
        };
        match rebuilt {
            Ok(repaired) => show(dir, &repaired, out)?,
            Err(error) => {
                complain(&error.into());
                return Ok(false);
            }
        }
        Ok(true)
    };

    for dir in repair::environments(store) {
        let sign = match repair::check(&dir, true) {
            Ok(Some(walk)) if walk.faults.count > 0 => walk.faults.to_string(),
            Ok(_) => continue,
            Err(error) => error.to_string(),
        };
        failed |= !rebuild(&dir, &sign, out)?;
        done.push(dir);
    }
    // What the structure does not show, LMDB may stumble over: one environment after the other is made anew
    // until it does not.
    let mut left =
        repair::environments(store).into_iter().filter(|dir| !done.contains(dir)).collect::<Vec<_>>();
    left.reverse();
    while !failed {
        let sign = match probe(config)? {
            Probe::Sound => break,
            Probe::Damaged(sign) => sign,
            Probe::Trouble(sign) => {
                writeln!(out, "trouble    {sign}")?;
                return Ok(Outcome::Negative);
            }
        };
        let Some(dir) = left.pop() else {
            writeln!(out, "damaged    still: {sign}")?;
            return Ok(Outcome::Negative);
        };
        failed |= !rebuild(&dir, &sign, out)?;
        done.push(dir);
    }
    if failed {
        return Ok(Outcome::Negative);
    }
    let _ = Store::use_again(&settings.store);
    if left_alone {
        writeln!(
            out,
            "in use     the store was left alone, because it crashed those who used it; it is used again"
        )?;
    }
    if done.is_empty() {
        writeln!(out, "nothing to repair")?;
    } else {
        writeln!(
            out,
            "Sessions of Exim that began before go on in the old files until they end; what they record is not kept. The old \
             files hold who writes to whom: remove them when nothing is missed."
        )?;
    }
    Ok(Outcome::Done)
}

fn show(dir: &Path, repaired: &Repaired, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "saved      {}: {}", dir.display(), count(repaired.from_tree, "record"))?;
    if repaired.lost_pages > 0 || repaired.from_copies > 0 {
        let pages = count(repaired.lost_pages, "lost page");
        writeln!(
            out,
            "copies     {} found in older copies; {pages}",
            count(repaired.from_copies, "more record")
        )?;
    }
    if repaired.left > 0 {
        writeln!(out, "left       {} that cannot be read or found again", count(repaired.left, "record"))?;
    }
    if repaired.listed_from_copies > 0 {
        writeln!(out, "whitelist  look through it: entries from older copies may have been removed since")?;
    }
    match repaired.secret {
        Fate::Kept => {}
        Fate::Found => writeln!(out, "secret     found in an older copy of its page")?,
        Fate::Lost => writeln!(
            out,
            "secret     LOST: a new store was begun. Records that hold their texts were taken over under new keys; the \
             others, and all first attempts, begin anew"
        )?,
    }
    writeln!(out, "aside      {}", repaired.aside.display())
}

/// What LMDB says of the store.
enum Probe {
    Sound,
    Damaged(String),
    /// Something else than damage.
    Trouble(String),
}

/// Has LMDB read the whole store in a process of its own, which may crash: `eximgrey status`.
fn probe(config: Option<&Path>) -> io::Result<Probe> {
    let mut command = Command::new(env::current_exe()?);
    command
        .args(["status", "--json", "--color", "never"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    if let Some(config) = config {
        command.arg("--config").arg(config);
    }
    let mut child = command.spawn()?;
    let progress = Progress::new("reading", None);
    let ended = end_in_time(&mut child, PROBE);
    drop(progress);
    let Some(status) = ended else {
        return Ok(Probe::Trouble("LMDB does not come back from reading the store".into()));
    };
    let mut said = String::new();
    if let Some(errors) = child.stderr.take() {
        // LMDB's own words are ASCII; what is not is not worth a failure.
        let _ = errors.take(4_096).read_to_string(&mut said);
    }
    let sign = said.lines().next().unwrap_or_default().trim_start_matches("eximgrey: ").to_owned();
    Ok(match status.code() {
        Some(0) => Probe::Sound,
        None => Probe::Damaged(format!("LMDB crashed ({status})")),
        Some(_) if said.contains(" is damaged: ") || said.contains("cannot open ") => Probe::Damaged(sign),
        Some(_) => Probe::Trouble(sign),
    })
}
