//! What an import says in the end.

use crate::command::Outcome;
use crate::output::{count, word};
use eximgrey::store::any::Any;
use eximgrey::store::bulk::TakenIn;
use eximgrey::store::record::{Facts, Record};
use std::io::{self, Write};

/// So many lines that could not be used are shown: they tell what is wrong with the others.
const SHOWN: usize = 5;

/// A line of a peer is shown up to there.
const SHOWN_BYTES: usize = 120;

#[derive(Default)]
pub struct Summary {
    triplets: u64,
    clients: u64,
    first_attempts: u64,
    entries: u64,
    pub expired: u64,
    /// First attempts that were left where they are.
    pub left: u64,
    unusable: u64,
    /// Of these, the many that one reason speaks for.
    lost: u64,
    shown: Vec<String>,
    pub taken: TakenIn,
    dry_run: bool,
}

impl Summary {
    pub fn of(dry_run: bool) -> Self {
        Self { dry_run, ..Self::default() }
    }

    pub fn count(&mut self, any: &Any) {
        *match any {
            Any::Attempt(Record { facts: Facts::Known(_), .. }) => &mut self.triplets,
            Any::Attempt(Record { facts: Facts::Identity(_), .. }) => &mut self.clients,
            Any::Attempt(_) => &mut self.first_attempts,
            Any::Entry(_) => &mut self.entries,
        } += 1;
    }

    /// A line that cannot be imported, and what was expected.
    pub fn cannot(&mut self, file: &str, line: u64, expected: &str, found: &[u8]) {
        self.unusable += 1;
        if self.shown.len() < SHOWN {
            let cut = found.get(..SHOWN_BYTES).map_or_else(String::new, |_| "...".into());
            let found = word(found.get(..SHOWN_BYTES).unwrap_or(found));
            self.shown.push(format!("{file}:{line}: expected {expected}, found {found}{cut}"));
        }
    }

    /// What could not be used for want of something else.
    pub fn lost(&mut self, many: u64, why: &str) {
        self.unusable += many;
        self.shown.push(format!("{many} {why}"));
        self.lost += many;
    }

    fn total(&self) -> u64 {
        self.triplets + self.clients + self.first_attempts + self.entries
    }

    /// Says what was done.
    pub fn write(&self, out: &mut impl Write) -> io::Result<Outcome> {
        let done = if self.dry_run { "would be imported" } else { "imported" };
        let entries = if self.entries == 0 { String::new() } else { format!(", {}", entries(self.entries)) };
        writeln!(
            out,
            "{done}: {} known, {}, {}{entries}",
            count(self.triplets, "triplet"),
            count(self.clients, "client"),
            count(self.first_attempts, "first attempt"),
        )?;
        if self.taken.there > 0 {
            writeln!(out, "{} of these said nothing new", count(self.taken.there, "record"))?;
        }
        if self.taken.unreadable > 0 {
            let many = count(self.taken.unreadable, "record");
            writeln!(out, "{many} not written: a later version's is in the place")?;
        }
        if self.expired > 0 {
            writeln!(out, "{} expired, left out", self.expired)?;
        }
        if self.left > 0 {
            writeln!(out, "{} left out (--pending takes them in)", count(self.left, "first attempt"))?;
        }
        if self.unusable > 0 {
            writeln!(out, "{} not importable", self.unusable)?;
        }
        self.shown.iter().try_for_each(|line| writeln!(out, "  {line}"))?;
        let told = self.shown.len() as u64 - u64::from(self.lost > 0) + self.lost;
        if self.unusable > told {
            writeln!(out, "  ... and {} more", self.unusable - told)?;
        }
        Ok(if self.total() > 0 { Outcome::Done } else { Outcome::Negative })
    }
}

fn entries(many: u64) -> String {
    if many == 1 { "1 other entry".into() } else { format!("{many} other entries") }
}
