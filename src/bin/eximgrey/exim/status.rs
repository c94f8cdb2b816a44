//! `eximgrey exim status`

use super::daemon::Exim;
use super::debian::Layout;
use super::reach::Reach;
use super::{LIMIT, answer, find, mode, whole_configuration};
use crate::command::{Failure, Outcome, Result};
use crate::terminal;
use clap::Args;
use eximgrey::ffi::detached::{COPY, stamp};
use eximgrey::settings::Settings;
use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Says whether greylisting is switched on in Exim's configuration, and whether it works. As root: Exim tells
/// its configuration to root only.
#[derive(Args)]
pub(super) struct Status {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(command: &Status, config: Option<&Path>, out: &mut impl Write) -> Result {
    let (exim, file) = find()?;
    let calls = exim.calls(&whole_configuration(&exim)?);
    let kind = Layout::of(&file).map_or("own", Layout::word);
    let settings = Settings::load(config);
    // A configuration may call the library without our macros; then it is not asked.
    let library = exim.macro_value("EXIMGREY_SO").map(|_| answer(&exim, &exim, None));
    let (pid, daemon) = daemon(&exim);
    let reach = calls.rcpt.then(|| Reach::of(&exim));
    let healthy = exim.dlfunc
        && calls.rcpt
        && !matches!(reach, Some(Reach::Not(_)))
        && settings.is_ok()
        && !matches!(library, Some(Err(_)))
        && daemon != RELOAD;

    // Exim may have the library read another configuration file than this command does: its answer tells.
    let mode = match (&library, &settings) {
        (Some(Ok(words)), _) => mode::of_answer(words).word(),
        (_, Ok(settings)) => settings.rules.mode.word(),
        (_, Err(_)) => "unknown",
    };
    let library = library.map_or_else(|| "-".into(), |said| said.unwrap_or_else(|why| why));
    let reached = reach.map_or_else(|| "-".into(), |reach| reach.to_string());
    let lines: [(&str, Value); 11] = [
        ("exim", json!(exim.binary.to_string_lossy())),
        ("version", json!(exim.version)),
        ("dlfunc", json!(exim.dlfunc)),
        ("configuration", json!(file.to_string_lossy())),
        ("kind", json!(kind)),
        ("enabled", json!(calls.rcpt)),
        ("bounces", json!(calls.data)),
        ("mode", json!(mode)),
        ("library", json!(library)),
        ("reached", json!(reached)),
        ("daemon", json!(daemon)),
    ];
    if command.json {
        let mut object: serde_json::Map<_, _> = lines.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
        object.insert("pid".into(), json!(pid));
        object.insert("healthy".into(), json!(healthy));
        writeln!(out, "{}", Value::from(object))?;
    } else {
        for (key, value) in lines {
            let text = match &value {
                Value::Bool(true) => "yes",
                Value::Bool(false) => "no",
                text => text.as_str().unwrap_or_default(),
            };
            writeln!(
                out,
                "{} {}",
                terminal::heading(format_args!("{key:<13}")),
                text.replace('\n', "\n              ")
            )?;
        }
    }
    if let Err(problems) = settings {
        out.flush()?;
        crate::command::complain(&Failure::Configuration(problems));
    }
    Ok(if healthy { Outcome::Done } else { Outcome::Negative })
}

pub const RELOAD: &str = "old library, to be reloaded";
const LOADED: &str = "running, library loaded";
const NO_CONNECTION: &str = "running; it loads the library with the first connection after a start or reload";
const NOT_PRELOADED: &str = "running; each connection loads the library for itself, for it is not preloaded";

/// The running daemon, and whether it has the library in its memory. It loads it with the first connection
/// after a start or a reload, if the library is preloaded; so it cannot be told that a daemon was not
/// reloaded.
pub fn daemon(exim: &Exim) -> (Option<u32>, &'static str) {
    let Some(pid) = exim.daemon() else {
        return (None, "not running");
    };
    let library = exim.macro_value("EXIMGREY_SO").and_then(|file| fs::canonicalize(file).ok());
    let state = library.and_then(|library| {
        let file = fs::metadata(&library).ok()?;
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
        Some(loaded(&maps, library.to_str()?, &stamp(file.ino(), &file)))
    });
    let preloads = || exim.option(LIMIT).is_some_and(|value| value.contains("{greylist_preload}"));
    let state = match state {
        Some(Some(state)) => state,
        Some(None) if preloads() => NO_CONNECTION,
        Some(None) => NOT_PRELOADED,
        None => "running",
    };
    (Some(pid), state)
}

/// Whether a process with these `maps` has the library, the file of which has this path and stamp, or another
/// one; `None` where it has none.
fn loaded(maps: &str, path: &str, stamp: &str) -> Option<&'static str> {
    // Address, mode, offset, device, inode, name; the name of a file that is gone, and of our copy, ends in "
    // (deleted)".
    let names = maps.lines().filter_map(|line| Some(line.get(line.find(" /")? + 1..)?.trim()));
    let ours = names.filter(|name| {
        let file = name.rsplit('/').next().unwrap_or_default();
        name.starts_with(COPY) || *name == path || file.starts_with("eximgrey") && file.contains(".so")
    });
    let copy = format!("{COPY}{stamp} (deleted)");
    let (current, old): (Vec<_>, Vec<_>) = ours.partition(|name| *name == path || *name == copy);
    match (old.first(), current.first()) {
        (Some(_), _) => Some(RELOAD),
        (None, Some(_)) => Some(LOADED),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The daemon has the library as a copy, or the file itself where it could not be copied; anything else
    /// of ours is old.
    #[test]
    fn an_old_library_is_told_from_the_new() {
        let path = "/usr/lib/exim4/eximgrey-1.so";
        let state = |name: &str| {
            let maps = format!(
                "1-2 r-xp 0 08:01 5 /usr/sbin/exim4\n7f-80 r-xp 0 00:01 9     {name}\n9-a rw-p 0 00:00 0\n"
            );
            loaded(&maps, path, "-7-9")
        };
        for name in [path, "/memfd:eximgrey.so-7-9 (deleted)"] {
            assert_eq!(state(name), Some(LOADED), "{name}");
        }
        for name in [
            "/usr/lib/exim4/eximgrey-1.so (deleted)",
            "/usr/lib/exim4/eximgrey-0.so",
            "/usr/lib/exim4/eximgrey.so (deleted)",
            "/memfd:eximgrey.so-6-9 (deleted)",
            "/memfd:eximgrey.so (deleted)",
        ] {
            assert_eq!(state(name), Some(RELOAD), "{name}");
        }
        assert_eq!(state("/usr/lib/libc.so"), None);
    }
}
