//! `eximgrey purge`

use crate::command::{self, Outcome, Result};
use crate::output::count;
use crate::terminal::Progress;
use clap::Args;
use eximgrey::settings::Settings;
use eximgrey::store::Table;
use eximgrey::store::purge::Purged;
use eximgrey::time::Timestamp;
use serde_json::{Value, json};
use std::io::Write;
use std::time::Instant;

/// Delete what has expired, now.
///
/// Nobody needs this: the store tidies itself while it is used. Exim's processes go on meanwhile; the lock
/// for writing is held for about a millisecond at a time, and longer only where one flush of the disk takes
/// longer. The files keep their size; the room in them is used again.
#[derive(Args)]
pub struct Purge {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Finer than a line on a terminal is wide.
const PARTS: u64 = 1_000;

pub fn run(command: &Purge, settings: &Settings, out: &mut impl Write) -> Result {
    let start = Instant::now();
    let now = Timestamp::now();
    let Some(store) = command::open_store(settings, now)? else {
        if command.json {
            writeln!(out, "{}", json!({"known": null}))?;
        } else {
            writeln!(out, "nothing recorded yet")?;
        }
        return Ok(Outcome::Done);
    };
    let believed = store.expired_before(now);
    let purge = |table, name| {
        let progress = Progress::new(name, Some(PARTS));
        store.purge(table, now, |share, so_far| {
            progress.set((share * PARTS as f64) as u64);
            progress.say(format!("{} deleted", so_far.deleted));
        })
    };
    let (known, pending) = (purge(Table::Known, "known")?, purge(Table::Pending, "pending")?);
    let earlier_boots = store.purge_other_boots();

    let (seconds, hold) = (start.elapsed().as_secs_f64(), known.longest_hold.max(pending.longest_hold));
    let milliseconds = hold.as_secs_f64() * 1_000.0;
    let unreadable = known.unreadable + pending.unreadable;
    if command.json {
        let value = json!({
            "known": json(&known), "pending": json(&pending), "unreadable": unreadable,
            "earlier_boots": earlier_boots, "clock_far_ahead": believed < now, "seconds": seconds, "longest_hold_ms": milliseconds,
        });
        writeln!(out, "{value}")?;
        return Ok(Outcome::Done);
    }
    writeln!(out, "known      {}", text(&known))?;
    writeln!(out, "pending    {}", text(&pending))?;
    if believed < now {
        writeln!(
            out,
            "clock      far ahead of the last write, at {believed}: what expired later is kept for a week"
        )?;
    }
    if earlier_boots > 0 {
        writeln!(out, "removed    the first attempts of {}", count(earlier_boots as u64, "earlier boot"))?;
    }
    if unreadable > 0 {
        writeln!(out, "kept       {} of another version", count(unreadable, "record"))?;
    }
    writeln!(out, "time       {seconds:.1} s, longest hold {milliseconds:.1} ms")?;
    Ok(Outcome::Done)
}

fn text(purged: &Purged) -> String {
    format!("{} deleted, {} kept", count(purged.deleted, "expired record"), purged.kept)
}

fn json(purged: &Purged) -> Value {
    json!({"deleted": purged.deleted, "kept": purged.kept})
}
