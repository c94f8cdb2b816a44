//! `eximgrey exim status`

use super::daemon::Exim;
use super::debian::Layout;
use super::{answer, find, whole_configuration};
use crate::cli::{Failure, Outcome, Result};
use clap::Args;
use eximgrey::policy::Mode;
use eximgrey::settings::Settings;
use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::path::Path;

/// Says whether greylisting is switched on in Exim's configuration, and whether it works. As root: Exim tells its
/// configuration to root only.
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
    let library = exim.macro_value("EXIMGREY_SO").map(|_| answer(&exim, &exim, false));
    let (pid, daemon) = daemon(&exim);
    let healthy =
        exim.dlfunc && calls.rcpt && settings.is_ok() && !matches!(library, Some(Err(_))) && daemon != RELOAD;

    // Exim may have the library read another configuration file than this command does: its answer tells.
    let mode = match (&library, &settings) {
        (Some(Ok(words)), _) if words.contains(" would=") => Mode::Observe.word(),
        (Some(Ok(words)), _) if words.contains(" reason=off") => Mode::Off.word(),
        (Some(Ok(_)), _) => Mode::Enforce.word(),
        (_, Ok(settings)) => settings.rules.mode.word(),
        (_, Err(_)) => "unknown",
    };
    let library = library.map_or_else(|| "-".into(), |said| said.unwrap_or_else(|why| why));
    let lines: [(&str, Value); 10] = [
        ("exim", json!(exim.binary.to_string_lossy())),
        ("version", json!(exim.version)),
        ("dlfunc", json!(exim.dlfunc)),
        ("configuration", json!(file.to_string_lossy())),
        ("kind", json!(kind)),
        ("enabled", json!(calls.rcpt)),
        ("bounces", json!(calls.data)),
        ("mode", json!(mode)),
        ("library", json!(library)),
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
            writeln!(out, "{key:<13} {text}")?;
        }
    }
    if let Err(problems) = settings {
        out.flush()?;
        crate::cli::complain(&Failure::Configuration(problems));
    }
    Ok(if healthy { Outcome::Done } else { Outcome::NotSo })
}

const RELOAD: &str = "old library, to be reloaded";

/// The running daemon, and whether it has the library in its memory. It loads it with the first connection after a start
/// or a reload, if the library is preloaded; so it cannot be told that a daemon was not reloaded.
fn daemon(exim: &Exim) -> (Option<u32>, &'static str) {
    let Some(pid) = exim.daemon() else {
        return (None, "not running");
    };
    let library = exim.macro_value("EXIMGREY_SO").and_then(|file| fs::canonicalize(file).ok());
    let library = library.map_or_else(String::new, |file| file.display().to_string());
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    // Address, mode, offset, device, inode, name; the name of a file that was replaced ends in " (deleted)".
    let mapped = |suffix: &str| maps.lines().any(|line| line.ends_with(&format!(" {library}{suffix}")));
    let state = match library.as_str() {
        "" => "running",
        _ if mapped("") => "running, library loaded",
        _ if mapped(" (deleted)") => RELOAD,
        _ => "running, library not loaded",
    };
    (Some(pid), state)
}
