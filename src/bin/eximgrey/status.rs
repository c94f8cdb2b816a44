//! `eximgrey status`

use crate::command::{self, Outcome, Result};
use crate::output::{bytes, count, span};
use crate::owner;
use clap::Args;
use eximgrey::reply::{By, Fault, Reason};
use eximgrey::rules::Rules;
use eximgrey::settings::Settings;
use eximgrey::store::counters::Tally;
use eximgrey::store::lmdb::Env;
use eximgrey::store::record::Facts;
use eximgrey::store::{Access, Store};
use eximgrey::time::Timestamp;
use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;

/// Shows the state of the store: size, counts, recent decisions.
#[derive(Args)]
pub struct Status {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What one environment holds.
#[derive(Default)]
struct Contents {
    pending: u64,
    known: u64,
    identities: u64,
    proved: u64,
    expired: u64,
    unreadable: u64,
}

pub fn run(command: &Status, settings: &Settings, out: &mut impl Write) -> Result {
    let now = Timestamp::now();
    let path = &settings.store.path;
    let Some(store) = command::open_store(settings, now)? else {
        if command.json {
            writeln!(out, "{}", json!({"store": path.to_string_lossy(), "made": null}))?;
        } else {
            writeln!(out, "store      {}: nothing recorded yet", path.display())?;
        }
        return Ok(Outcome::Done);
    };
    let known = contents(store.known(), &settings.rules, now)?;
    let pending_env = store.pending(Access::Look)?;
    let pending = match pending_env {
        Some(env) => contents(env, &settings.rules, now)?,
        None => Contents::default(),
    };
    let owner = fs::metadata(path).map_or_else(|_| "?".into(), |meta| owner::user_name(meta.uid()));
    let used = [store.known().used_bytes(), pending_env.map_or(0, Env::used_bytes)];
    let recent = Recent::of(&store, now);

    if command.json {
        let value = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "store": path.to_string_lossy(), "owner": owner, "made": store.made().0,
            "known": {"triplets": known.known, "identities": known.identities, "proved": known.proved,
                      "expired": known.expired, "bytes": used.first()},
            "pending": {"first_attempts": pending.pending, "expired": pending.expired, "bytes": used.last()},
            "unreadable": known.unreadable + pending.unreadable,
            "decisions": recent.as_ref().map(|r| json!({
                "last_5_minutes": tally_json(&r.minutes), "last_hour": tally_json(&r.hour), "last_day": tally_json(&r.day),
            })),
        });
        writeln!(out, "{value}")?;
        return Ok(Outcome::Done);
    }
    writeln!(
        out,
        "store      {}, owner {owner}, made {} ({} ago)",
        path.display(),
        store.made(),
        span(now.since(store.made()))
    )?;
    let [known_bytes, pending_bytes] = used.map(bytes);
    writeln!(
        out,
        "known      {}, {} of which {} proved, {known_bytes}{}",
        count(known.known, "triplet"),
        known.identities_text(),
        known.proved,
        expired(known.expired),
    )?;
    writeln!(
        out,
        "pending    {}, {pending_bytes}{}",
        count(pending.pending, "first attempt"),
        expired(pending.expired)
    )?;
    let unreadable = known.unreadable + pending.unreadable;
    if unreadable > 0 {
        writeln!(out, "skipped    {} of another version", count(unreadable, "record"))?;
    }
    match recent {
        Some(recent) => {
            let rate = recent.minutes.total() as f64 / 5.0;
            writeln!(out, "last 5 min {} ({rate:.1} a minute)", decisions(&recent.minutes))?;
            writeln!(out, "last hour  {}\nlast day   {}", decisions(&recent.hour), decisions(&recent.day))?;
        }
        None => writeln!(out, "decisions  not counted: {} cannot be used", path.join("state").display())?,
    }
    Ok(Outcome::Done)
}

impl Contents {
    fn identities_text(&self) -> String {
        match self.identities {
            1 => "1 identity".into(),
            n => format!("{n} identities"),
        }
    }
}

fn expired(count: u64) -> String {
    if count == 0 { String::new() } else { format!(" (and {count} expired, to be tidied away)") }
}

fn contents(env: &Env, rules: &Rules, now: Timestamp) -> Result<Contents> {
    let mut contents = Contents::default();
    let skipped = Store::scan(env, |_, record| {
        if record.expires < now {
            contents.expired += 1;
            return true;
        }
        // A triplet has a record for each of its identities, and always one for the network.
        let triplet = u64::from(record.by == By::Network);
        match record.facts {
            Facts::Pending { .. } => contents.pending += triplet,
            Facts::Known(_) => contents.known += triplet,
            Facts::Identity(earned) => {
                contents.identities += 1;
                contents.proved += u64::from(rules.auto_after > 0 && earned.passes >= rules.auto_after);
            }
        }
        true
    })?;
    contents.unreadable = skipped.unreadable;
    Ok(contents)
}

/// The decisions of late.
struct Recent {
    minutes: Tally,
    hour: Tally,
    day: Tally,
}

impl Recent {
    fn of(store: &Store, now: Timestamp) -> Option<Self> {
        let counters = store.counters()?;
        Some(Self {
            minutes: counters.last_minutes(5, now),
            hour: counters.last_minutes(60, now),
            day: counters.last_hours(24, now),
        })
    }
}

/// `12 decisions: 8 new, 2 early, 2 known`
fn decisions(tally: &Tally) -> String {
    let reasons = Reason::ALL.iter().map(|&reason| (tally.reason(reason), reason.word().to_owned()));
    let faults = Fault::ALL.iter().map(|&fault| (tally.fault(fault), format!("error={}", fault.word())));
    let observed = [(tally.would_defer(), "only observed".to_owned())];
    let parts: Vec<String> = reasons
        .chain(faults)
        .chain(observed)
        .filter(|(n, _)| *n > 0)
        .map(|(n, word)| format!("{n} {word}"))
        .collect();
    let total = count(tally.total(), "decision");
    if parts.is_empty() { total } else { format!("{total}: {}", parts.join(", ")) }
}

fn tally_json(tally: &Tally) -> Value {
    let reasons = Reason::ALL.iter().map(|&reason| (reason.word().to_owned(), json!(tally.reason(reason))));
    let faults =
        Fault::ALL.iter().map(|&fault| (format!("error={}", fault.word()), json!(tally.fault(fault))));
    let mut value: serde_json::Map<String, Value> = reasons.chain(faults).collect();
    value.insert("total".into(), json!(tally.total()));
    value.insert("would_defer".into(), json!(tally.would_defer()));
    Value::Object(value)
}
