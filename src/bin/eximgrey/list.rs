//! `eximgrey list`: one line a record, columns separated by blanks, made for awk.

use crate::command::{self, Failure, Outcome, Result, one_of};
use crate::filter::{Selection, Texts};
use crate::output::{identity, record_sender, span, word};
use clap::Args;
use eximgrey::policy::has_proved_itself;
use eximgrey::settings::Settings;
use eximgrey::store::entries::{Entry, Kind};
use eximgrey::store::record::{self, Facts, Record};
use eximgrey::store::{Store, Table};
use eximgrey::time::{Seconds, Timestamp};
use eximgrey::words;
use serde_json::json;
use std::io::Write;

/// The columns, by what is listed.
const COLUMNS: &str = "Columns, separated by blanks:
  pending  FIRST-SEEN WAIT BY IDENTITY SENDER RECIPIENT (WAIT is what is left of the delay, or \"ripe\")
  known    FIRST-SEEN LAST-SEEN BY IDENTITY SENDER RECIPIENT
  auto     PASSES LAST-SEEN BY IDENTITY
  trapped  SINCE UNTIL NETWORK
A text that the store does not keep is \"-\", the null sender \"<>\". Exit status 1: nothing found.";

/// Lists records, one a line.
#[derive(Args)]
#[command(after_help = COLUMNS)]
pub struct List {
    /// What to list
    #[arg(value_parser = one_of::<What>(), default_value = What::Pending.word())]
    what: What,
    /// With auto: also clients that have not proved themselves yet
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    selection: Selection,
}

words! {
    /// What there is to list.
    What {
        /// First attempts that wait for their retry.
        Pending = "pending",
        /// Triplets that have passed.
        Known = "known",
        /// Client identities that have proved themselves.
        Auto = "auto",
        /// Client networks that are trapped.
        Trapped = "trapped",
        /// The administrator's entries; as `eximgrey whitelist list`.
        Whitelist = "whitelist",
    }
}

pub fn run(command: &List, settings: &Settings, out: &mut impl Write) -> Result {
    let now = Timestamp::now();
    let selection = &command.selection;
    let Some(store) = command::open_store(settings, now)? else {
        return Ok(Outcome::Negative);
    };
    let table = match command.what {
        What::Pending => Table::Pending,
        What::Trapped => return trapped(selection, &store, now, out),
        What::Whitelist => return crate::whitelist::list(selection, &store, now, out),
        What::Known | What::Auto => Table::Known,
    };
    let (mut found, mut written) = (false, Ok(()));
    store.scan(table, |_, record| {
        let wanted = match (command.what, record.facts) {
            (What::Pending, Facts::Pending { record, .. }) => record.passed.is_none(),
            (What::Known, Facts::Known(_)) => true,
            (What::Auto, Facts::Identity(earned)) => {
                command.all || has_proved_itself(&settings.rules, &earned, now)
            }
            _ => false,
        };
        let record::Texts { identity, sender, recipient, .. } = &record.texts;
        let texts = Texts { client: identity, sender, recipient, comment: b"" };
        if wanted && record.expires >= now && selection.shows(&texts) {
            found = true;
            written =
                if selection.json { write_json(&record, now, out) } else { write_line(&record, now, out) };
        }
        // A closed pipe ends the scan.
        written.is_ok()
    })?;
    written.map_err(Failure::Output)?;
    Ok(if found { Outcome::Done } else { Outcome::Negative })
}

/// `SINCE UNTIL NETWORK`
fn trapped(selection: &Selection, store: &Store, now: Timestamp, out: &mut impl Write) -> Result {
    let mut traps = Vec::new();
    store.scan_entries(|entry| {
        let [client, ..] = &entry.texts;
        let shown = selection.shows(&Texts { client, ..Texts::default() });
        if shown && entry.kind == Kind::Trap && entry.trap().holds(now) {
            traps.push(entry);
        }
    })?;
    traps.sort_by_key(|trap| trap.since);
    for Entry { since, until, texts: [network, ..], .. } in &traps {
        if selection.json {
            let network = (!network.is_empty()).then(|| String::from_utf8_lossy(network));
            writeln!(out, "{}", json!({"since": since.0, "until": until.0, "network": network}))?;
        } else {
            writeln!(out, "{since} {until} {}", word(network))?;
        }
    }
    Ok(if traps.is_empty() { Outcome::Negative } else { Outcome::Done })
}

fn write_line(record: &Record, now: Timestamp, out: &mut impl Write) -> std::io::Result<()> {
    let texts = &record.texts;
    let who = identity(record.by, texts);
    let (from, to) = (record_sender(texts), word(&texts.recipient));
    match record.facts {
        Facts::Pending { record: pending, ripe, .. } => {
            let wait = match ripe.since(now) {
                Seconds(0) => "ripe".to_owned(),
                left => span(left).replace(' ', ""),
            };
            writeln!(out, "{} {wait:>6} {who} {from} {to}", pending.first_seen)
        }
        Facts::Known(known) => writeln!(out, "{} {} {who} {from} {to}", known.first_seen, known.last_seen),
        Facts::Identity(earned) => writeln!(out, "{:>6} {} {who}", earned.passes, earned.last_seen),
    }
}

fn write_json(record: &Record, now: Timestamp, out: &mut impl Write) -> std::io::Result<()> {
    let texts = &record.texts;
    let text = |bytes: &[u8]| {
        if texts.identity.is_empty() { None } else { Some(String::from_utf8_lossy(bytes).into_owned()) }
    };
    let mut value = json!({
        "by": record.by.word(), "identity": text(&texts.identity), "expires": record.expires.0, "cut": texts.cut,
    });
    let more = match record.facts {
        Facts::Pending { record: pending, ripe, .. } => json!({
            "first_seen": pending.first_seen.0, "wait": ripe.since(now).0,
            "sender": text(&texts.sender), "recipient": text(&texts.recipient),
        }),
        Facts::Known(known) => json!({
            "first_seen": known.first_seen.0, "passed": known.passed.0, "last_seen": known.last_seen.0,
            "sender": text(&texts.sender), "recipient": text(&texts.recipient),
        }),
        Facts::Identity(earned) => json!({
            "first_seen": earned.first_seen.0, "last_seen": earned.last_seen.0, "counted": earned.counted.0,
            "passes": earned.passes,
        }),
    };
    if let (Some(value), serde_json::Value::Object(more)) = (value.as_object_mut(), more) {
        value.extend(more);
    }
    writeln!(out, "{value}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use eximgrey::evidence::Pending;
    use eximgrey::reply::By;
    use eximgrey::store::record::Texts;

    fn record(identity: &str, sender: &str, recipient: &str) -> Record {
        let bytes = |text: &str| text.as_bytes().to_vec();
        Record {
            by: By::Network,
            expires: Timestamp(10_000),
            facts: Facts::Pending {
                record: Pending { first_seen: Timestamp(1_000), passed: None },
                ripe: Timestamp(1_300),
                network: 0,
            },
            texts: Texts {
                identity: bytes(identity),
                sender: bytes(sender),
                recipient: bytes(recipient),
                cut: false,
            },
        }
    }

    #[test]
    fn a_line_has_its_columns_whatever_the_sender_holds() {
        let mut out = Vec::new();
        let record = record("192.0.2.0/24", "a b\n@x", "bob@rcpt.example");
        write_line(&record, Timestamp(1_100), &mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "1970-01-01T00:16:40Z  3m20s network 192.0.2.0/24 a\\x20b\\x0a@x bob@rcpt.example\n"
        );
    }
}
