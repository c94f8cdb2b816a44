//! `eximgrey status`

use crate::command::{self, Outcome, Result};
use crate::output::{bytes, count, span};
use crate::{owner, terminal};
use clap::Args;
use eximgrey::settings::Settings;
use eximgrey::store::counters::Tally;
use eximgrey::store::survey::Survey;
use eximgrey::time::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;

/// Show the state of the store: size, counts, recent decisions.
///
/// Not counted are local submissions, mail for which greylisting is off, and calls whose configuration cannot
/// be read.
#[derive(Args)]
pub struct Status {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn run(command: &Status, settings: &Settings, out: &mut impl Write) -> Result {
    let now = Timestamp::now();
    let path = &settings.store.path;
    let Some(store) = command::open_store(settings, now)? else {
        if command.json {
            writeln!(out, "{}", json!({"store": path.to_string_lossy(), "made": null}))?;
        } else {
            line(out, "store", format_args!("{}: nothing recorded yet", path.display()))?;
        }
        return Ok(Outcome::Done);
    };
    let holds = store.survey(&settings.rules, now)?;
    let owner = fs::metadata(path).map_or_else(|_| "?".into(), |meta| owner::user_name(meta.uid()));
    let unreadable = holds.known.unreadable + holds.pending.unreadable;
    let entries = [
        ("whitelisted", holds.whitelisted),
        ("replied", holds.replied),
        ("released", holds.released),
        ("trapped", holds.trapped),
    ];
    let waited = store.counters().and_then(|counted| {
        let day = counted.last_hours(24, now);
        Some([day.waited(0.5)?, day.waited(0.9)?])
    });
    let recent = store.counters().map(|counted| {
        [counted.last_minutes(5, now), counted.last_minutes(60, now), counted.last_hours(24, now)]
    });

    if command.json {
        let value = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "store": path.to_string_lossy(), "owner": owner, "made": store.made().0,
            "known": {"triplets": holds.triplets, "identities": holds.identities, "proved": holds.proved,
                      "proved_private": holds.proved_private.len(),
                      "expired": holds.known.expired, "bytes": holds.known.bytes},
            "pending": {"first_attempts": holds.first_attempts, "expired": holds.pending.expired,
                        "bytes": holds.pending.bytes},
            "entries": BTreeMap::from(entries),
            "unreadable": unreadable,
            "waited": waited.map(|[half, most]| json!({"half": half.0, "90%": most.0})),
            "decisions": recent.map(|recent| {
                let [minutes, hour, day] = recent.map(|tally| tally_json(&tally));
                json!({"last_5_minutes": minutes, "last_hour": hour, "last_day": day})
            }),
        });
        writeln!(out, "{value}")?;
        return Ok(Outcome::Done);
    }
    let (made, age) = (store.made(), span(now.since(store.made())));
    line(out, "store", format_args!("{}, owner {owner}, made {made} ({age} ago)", path.display()))?;
    line(out, "known", known(&holds))?;
    line(out, "pending", pending(&holds))?;
    let entries: Vec<_> =
        entries.iter().filter(|(_, n)| *n > 0).map(|(word, n)| format!("{n} {word}")).collect();
    if !entries.is_empty() {
        line(out, "entries", entries.join(", "))?;
    }
    if unreadable > 0 {
        line(out, "skipped", format_args!("{} of another version", count(unreadable, "record")))?;
    }
    match recent {
        Some(recent) => {
            let rate = recent[0].total() as f64 / 5.0;
            let [minutes, hour, day] = recent.map(|tally| decisions(&tally));
            line(out, "last 5 min", format_args!("{minutes} ({rate:.1} a minute)"))?;
            line(out, "last hour", hour)?;
            line(out, "last day", day)?;
        }
        None => {
            let state = path.join("state");
            line(out, "decisions", format_args!("not counted: {} cannot be used", state.display()))?;
        }
    }
    if let Some([half, most]) = waited {
        let most = if most == half { String::new() } else { format!(", 90 % of them up to {}", span(most)) };
        let half = span(half);
        line(
            out,
            "waited",
            format_args!("half of the retries that passed in the last day: up to {half}{most}"),
        )?;
    }
    Ok(Outcome::Done)
}

fn line(out: &mut impl Write, title: &str, text: impl Display) -> io::Result<()> {
    writeln!(out, "{} {text}", terminal::heading(format_args!("{title:<10}")))
}

/// What is known, in the words of `status` and `doctor`.
pub fn known(holds: &Survey) -> String {
    let private = match holds.proved_private.len() {
        0 => String::new(),
        n => format!(" ({n} of private networks: see eximgrey doctor)"),
    };
    format!(
        "{}, {} {} of which {} proved{private}, {}{}",
        count(holds.triplets, "triplet"),
        holds.identities,
        if holds.identities == 1 { "identity" } else { "identities" },
        holds.proved,
        bytes(holds.known.bytes),
        expired(holds.known.expired),
    )
}

/// What waits, in the same way.
pub fn pending(holds: &Survey) -> String {
    format!(
        "{}, {}{}",
        count(holds.first_attempts, "first attempt"),
        bytes(holds.pending.bytes),
        expired(holds.pending.expired)
    )
}

fn expired(count: u64) -> String {
    if count == 0 { String::new() } else { format!(" (and {count} expired, to be tidied away)") }
}

/// `12 decisions: 8 new, 2 early, 2 known`
fn decisions(tally: &Tally) -> String {
    let observed = [("only observed".to_owned(), tally.would_defer())];
    let counted = tally.words().chain(observed).filter(|(_, n)| *n > 0);
    let parts: Vec<String> = counted.map(|(word, n)| format!("{n} {word}")).collect();
    let total = count(tally.total(), "decision");
    if parts.is_empty() { total } else { format!("{total}: {}", parts.join(", ")) }
}

fn tally_json(tally: &Tally) -> Value {
    let sums = [("total".to_owned(), tally.total()), ("would_defer".to_owned(), tally.would_defer())];
    let (faults, reasons): (Vec<_>, Vec<_>) =
        tally.words().chain(sums).partition(|(word, _)| word.starts_with("error="));
    let faults = faults.iter().map(|(word, n)| (word.trim_start_matches("error=").to_owned(), json!(n)));
    let errors = ("errors".to_owned(), faults.collect::<Value>());
    reasons.into_iter().map(|(word, n)| (word, json!(n))).chain([errors]).collect()
}
