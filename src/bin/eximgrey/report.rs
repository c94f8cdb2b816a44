//! `eximgrey report`: what greylisting has done here, as text, as JSON, or as a page for a browser.

pub mod busiest;
mod charts;
mod figures;
mod file;
mod html;
mod json;
mod text;
pub mod wording;

#[cfg(test)]
mod golden_tests;

use self::busiest::Scanned;
use self::figures::{Counted, Counts, Figures, Period, Site};
use crate::command::{self, Outcome, Result};
use crate::learned;
use clap::Args;
use eximgrey::settings::Settings;
use eximgrey::store::Store;
use eximgrey::store::counters::Counters;
use eximgrey::time::{Seconds, Timestamp};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::{env, fs};

const EXAMPLES: &str = "\
Examples:
  eximgrey report                                  the last week, on the terminal
  eximgrey report --since 24h                      by the hour
  eximgrey report --since 35d --html report.html   a page for a browser, one file without scripts
Exit status 1: nothing was ever recorded.";

/// Says what greylisting has done: what came back, what never did, what passed at once and why, who sends.
///
/// It names networks and domains, and no mailboxes.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct Report {
    /// How far back, from 1h to 730d; by the hour up to 35d, then by the day
    #[arg(long, value_name = "TIME", value_parser = since, default_value = "7d")]
    since: Seconds,
    /// Write a page for a browser to FILE, or to the standard output for -
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    html: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// By the hour up to that, by the day for two years.
const BY_THE_HOUR: Seconds = Seconds(35 * 86_400);
const LONGEST: Seconds = Seconds(730 * 86_400);

fn since(text: &str) -> std::result::Result<Seconds, String> {
    let span = command::time(text)?;
    let fits = (Seconds::HOUR..=LONGEST).contains(&span);
    if fits { Ok(span) } else { Err("expected a time from 1h to 730d".into()) }
}

pub fn run(command: &Report, config: Option<&Path>, out: &mut impl Write) -> Result {
    if let Some(file) = command.html.as_deref().filter(|file| *file != Path::new("-")) {
        let since = command.since.to_string();
        let outcome = file::write(file, config, &["report", "--since", &since, "--html", "-"])?;
        writeln!(out, "{}: written", file.display())?;
        return Ok(outcome);
    }
    let settings = &command::load(config)?;
    let now = Timestamp::now();
    let (host, path) = (host(), settings.store.path.to_string_lossy());
    let Some(store) = command::open_store(settings, now)? else {
        match (&command.html, command.json) {
            (Some(_), _) => write!(out, "{}", html::nothing(&host, &path))?,
            (None, true) => writeln!(out, "{}", json::nothing(&path))?,
            (None, false) => writeln!(out, "store      {path}: nothing recorded yet")?,
        }
        return Ok(Outcome::Negative);
    };
    let figures = gather(&store, settings, (host, path.into_owned()), (command.since, now))?;
    match (&command.html, command.json) {
        (Some(_), _) => write!(out, "{}", html::page(&figures)?)?,
        (None, true) => writeln!(out, "{}", json::value(&figures))?,
        (None, false) => text::write(&figures, text::Drawn { blocks: has_blocks() }, out)?,
    }
    Ok(Outcome::Done)
}

fn gather(
    store: &Store,
    settings: &Settings,
    (host, path): (String, String),
    (asked, now): (Seconds, Timestamp),
) -> Result<Figures> {
    let step = if asked <= BY_THE_HOUR { Seconds::HOUR } else { Seconds::DAY };
    let period = Period { asked, from: Timestamp(now.0.saturating_sub(asked.0) / step.0 * step.0), to: now };
    let site = Site {
        host,
        store: path,
        made: store.made(),
        privacy: settings.store.privacy,
        window: settings.rules.window,
    };
    let scanned = Scanned::new(store, &settings.rules, period)?;
    let counted = store.counters().map(|counters| count(counters, period, step).without_open(&scanned));
    let learned = learned::lines(store, &settings.signs);
    Ok(Figures { site, period, counted, scanned, learned })
}

fn count(counters: Counters<'_>, Period { from, to, .. }: Period, step: Seconds) -> Counted {
    let tallies: Vec<_> = match step > Seconds::HOUR {
        true => counters.days(from..=to).collect(),
        false => counters.hours(from..=to).collect(),
    };
    let rows: Vec<(Timestamp, Counts)> = tallies
        .iter()
        .map(|(time, tally)| (*time, Counts::from(tally)))
        // All zeros before there was a store.
        .skip_while(|(_, counts)| *counts == Counts::default())
        .collect();
    let mut total = Counts::default();
    rows.iter().for_each(|(_, counts)| total += counts);
    Counted { total, step, rows }
}

/// What this machine is called.
fn host() -> String {
    let name = fs::read("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = wording::shown(name.trim_ascii());
    if name == "-" { "this host".into() } else { name }
}

/// Whether the terminal shows more than ASCII, by the usual order of the locale's variables.
fn has_blocks() -> bool {
    let set = |name| env::var(name).ok().filter(|value| !value.is_empty());
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set).unwrap_or_default().to_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}
