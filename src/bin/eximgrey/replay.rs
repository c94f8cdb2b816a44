//! `eximgrey replay`: what greylisting would have done to the mail of a log.

mod attempts;
mod course;
mod figures;
mod json;
mod memory;
mod text;

use crate::command::{self, Failure, Outcome, Result};
use crate::exim_log::files::{Lines, Logs};
use crate::exim_log::places;
use crate::import::own::CHUNK;
use attempts::{Attempt, Attempts, LeftOut};
use clap::Args;
use course::Course;
use eximgrey::reply::By;
use eximgrey::settings::DEFAULT_FILE;
use eximgrey::store::Store;
use eximgrey::store::any::Any;
use eximgrey::store::bulk::TakenIn;
use eximgrey::store::record::{Facts, Record};
use eximgrey::time::Timestamp;
use eximgrey::triplet::{Key, Secret};
use figures::Figures;
use std::hash::{BuildHasher, RandomState};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Says what greylisting would have done to the mail of Exim's main log, by this configuration.
///
/// Every attempt of the log is decided as Exim would have been answered, at the log's own time, as if the
/// store had been empty at the log's beginning. In a log of greylisting, by eximgrey or another, the retries
/// are real. Where mail was accepted that would have had to wait, its sender is taken to have come back as
/// soon as the delay was over. Times are UTC. Exit status 1: the log has no attempt, or nothing to be learnt.
#[derive(Args)]
#[command(after_help = "\
Examples:
  eximgrey replay                                       Exim's log, by the settings of this host
  eximgrey replay /var/log/exim4/mainlog*               what was rotated, too, packed or not
  eximgrey replay --compare strict.toml                 two configurations side by side
  eximgrey replay /var/log/exim4/mainlog* --learn       who has passed need not wait any more
  journalctl -u exim4 -o export | eximgrey replay -")]
pub struct Replay {
    /// Files, plain, .gz or .xz, in whatever order; - for the standard input [default: Exim's main log]
    log: Vec<PathBuf>,
    /// Replay by this configuration, too, and show both side by side
    #[arg(long, value_name = "CONFIG")]
    compare: Option<PathBuf>,
    /// Make known in the store what would be known now
    #[arg(long, conflicts_with = "compare")]
    learn: bool,
    /// Times in the log that have no zone are UTC [default: the local time of this machine]
    #[arg(long)]
    utc: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// All that is to be told.
struct Replayed {
    lines: Lines,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    left_out: LeftOut,
    /// For each configuration.
    told: Vec<Told>,
    learnt: Option<Learnt>,
}

struct Told {
    /// The configuration's file.
    name: String,
    figures: Figures,
}

#[derive(Default)]
struct Learnt {
    triplets: u64,
    clients: u64,
    taken: TakenIn,
}

pub fn run(command: &Replay, config: Option<&Path>, out: &mut impl Write) -> Result {
    let now = Timestamp::now();
    let settings = command::load(config)?;
    let other = command.compare.as_deref().map(|path| command::load(Some(path))).transpose()?;
    let files = match &command.log[..] {
        [] => places::files(None).map_err(Failure::Usage)?,
        named => named.to_vec(),
    };
    // Root's own files, before root becomes the store's owner.
    let logs = Logs::open(&files, command.utc, now)?;
    let store = command.learn.then(|| command::open_store_to_write(&settings, now)).transpose()?;
    let secret = store.as_ref().map_or_else(any_secret, |store| *store.secret());
    let paths = [config, command.compare.as_deref()];
    let names = paths.map(|path| path.unwrap_or(Path::new(DEFAULT_FILE)).display().to_string());
    let mut courses: Vec<_> = [Some(&settings), other.as_ref()]
        .into_iter()
        .flatten()
        .map(|s| Course::new(s, secret, command.learn))
        .collect();

    let mut attempts = Attempts::default();
    let mut decide = |attempt: &Attempt<'_>| courses.iter_mut().for_each(|course| course.take(attempt));
    let (mut from, mut to) = (None, None);
    let lines = logs.read(|line| {
        from = from.min(Some(line.time)).or(Some(line.time));
        to = to.max(Some(line.time));
        attempts.take(line, &mut decide);
        Ok(())
    })?;
    let left_out = attempts.end(&mut decide);

    let end = to.unwrap_or(now);
    let (mut told, mut known) = (Vec::new(), Vec::new());
    for (course, name) in courses.into_iter().zip(names) {
        let (figures, records) = course.end(end, now);
        told.push(Told { name, figures });
        known = records;
    }
    let learnt = store.map(|store| learn(&store, known, now)).transpose()?;
    let found = told.iter().any(|told| told.figures.attempts() > 0)
        && learnt.as_ref().is_none_or(|learnt| learnt.triplets > 0);
    let replayed = Replayed { lines, from, to, left_out, told, learnt };
    if command.json {
        writeln!(out, "{}", json::value(&replayed))?;
    } else {
        text::write(&replayed, out)?;
    }
    Ok(if found { Outcome::Done } else { Outcome::Negative })
}

/// Who writes the log must not be able to choose addresses whose keys collide.
fn any_secret() -> Secret {
    let random = RandomState::new();
    Secret((u128::from(random.hash_one(0)) << 64 | u128::from(random.hash_one(1))).to_le_bytes())
}

fn learn(store: &Store, mut known: Vec<(Key, Any)>, now: Timestamp) -> Result<Learnt> {
    let mut learnt = Learnt::default();
    for (_, record) in &mut known {
        let Any::Attempt(Record { by, facts, .. }) = record else { continue };
        match facts {
            // Who is taken to come back in a moment has not done so yet.
            Facts::Known(known) => {
                known.passed = known.passed.min(now);
                known.last_seen = known.last_seen.min(now);
                // A triplet has a record for each of its identities.
                learnt.triplets += u64::from(*by == By::Network);
            }
            Facts::Identity(earned) => {
                earned.counted = earned.counted.min(now);
                earned.last_seen = earned.last_seen.min(now);
                learnt.clients += 1;
            }
            Facts::Pending { .. } => {}
        }
    }
    let mut known = known.into_iter().peekable();
    while known.peek().is_some() {
        learnt.taken += store.take_in(known.by_ref().take(CHUNK).collect(), now)?;
    }
    Ok(learnt)
}
