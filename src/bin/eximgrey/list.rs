//! `eximgrey list`: one line a record, columns separated by blanks, made for awk.

use crate::command::{self, Failure, Outcome, Result, one_of};
use crate::output::{identity, record_sender, span, word};
use clap::Args;
use eximgrey::settings::Settings;
use eximgrey::store::record::{Facts, Record};
use eximgrey::store::standing::{Kind, Standing};
use eximgrey::store::{Access, Store};
use eximgrey::time::{Seconds, Timestamp};
use eximgrey::words;
use ipnetwork::IpNetwork;
use serde_json::json;
use std::io::Write;
use std::net::IpAddr;

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
    /// Only records that match every FILTER: client=ADDRESS, client=DOMAIN, sender=TEXT, recipient=TEXT, or TEXT found
    /// anywhere. Case does not matter
    #[arg(value_name = "FILTER")]
    filters: Vec<String>,
    /// With auto: also clients that have not proved themselves yet
    #[arg(long)]
    all: bool,
    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,
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
    let filters: Vec<Filter> = command.filters.iter().map(|text| Filter::parse(text)).collect();
    let Some(store) = command::open_store(settings, now)? else {
        return Ok(Outcome::NotSo);
    };
    let env = match command.what {
        What::Pending => match store.pending(Access::Look)? {
            Some(env) => env,
            None => return Ok(Outcome::NotSo),
        },
        What::Trapped => return trapped(command, &store, now, &filters, out),
        What::Whitelist => return crate::whitelist::list(&command.filters, command.json, &store, now, out),
        What::Known | What::Auto => store.known(),
    };
    let auto_after = settings.rules.auto_after.max(1);
    let (mut found, mut written) = (false, Ok(()));
    Store::scan(env, |_, record| {
        let wanted = match (command.what, record.facts) {
            (What::Pending, Facts::Pending { .. }) | (What::Known, Facts::Known(_)) => true,
            (What::Auto, Facts::Identity(earned)) => command.all || earned.passes >= auto_after,
            _ => false,
        };
        if wanted
            && record.expires >= now
            && filters.iter().all(|filter| {
                filter.matches(&[&record.texts.identity, &record.texts.sender, &record.texts.recipient])
            })
        {
            found = true;
            written =
                if command.json { write_json(&record, now, out) } else { write_line(&record, now, out) };
        }
        // A closed pipe ends the scan.
        written.is_ok()
    })?;
    written.map_err(Failure::Output)?;
    Ok(if found { Outcome::Done } else { Outcome::NotSo })
}

/// `SINCE UNTIL NETWORK`
fn trapped(
    command: &List,
    store: &Store,
    now: Timestamp,
    filters: &[Filter],
    out: &mut impl Write,
) -> Result {
    let mut traps = Vec::new();
    store.scan_standing(|standing| {
        if standing.kind == Kind::Trap && standing.until > now {
            traps.push(standing);
        }
    })?;
    traps.retain(|trap| filters.iter().all(|filter| filter.matches(&trap.texts)));
    traps.sort_by_key(|trap| trap.since);
    for Standing { since, until, texts: [network, ..], .. } in &traps {
        if command.json {
            let network = (!network.is_empty()).then(|| String::from_utf8_lossy(network));
            writeln!(out, "{}", json!({"since": since.0, "until": until.0, "network": network}))?;
        } else {
            writeln!(out, "{since} {until} {}", word(network))?;
        }
    }
    Ok(if traps.is_empty() { Outcome::NotSo } else { Outcome::Done })
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

/// One condition on a record.
#[derive(Debug, PartialEq, Eq)]
enum Filter {
    Address(IpAddr),
    Identity(Vec<u8>),
    Sender(Vec<u8>),
    Recipient(Vec<u8>),
    Anywhere(Vec<u8>),
}

impl Filter {
    fn parse(text: &str) -> Self {
        let lower = |text: &str| text.to_ascii_lowercase().into_bytes();
        match text.split_once('=') {
            Some(("client", client)) => client.parse().map_or_else(
                |_| Self::Identity(lower(client)),
                |ip: IpAddr| Self::Address(ip.to_canonical()),
            ),
            Some(("sender", sender)) => Self::Sender(lower(sender)),
            Some(("recipient", recipient)) => Self::Recipient(lower(recipient)),
            _ => text
                .parse()
                .map_or_else(|_| Self::Anywhere(lower(text)), |ip: IpAddr| Self::Address(ip.to_canonical())),
        }
    }

    /// Whether the texts of a record, identity, sender and recipient, are what is looked for.
    fn matches(&self, texts: &[impl AsRef<[u8]>; 3]) -> bool {
        let [identity, sender, recipient] = texts;
        let holds = |text: &[u8], part: &[u8]| {
            part.is_empty() || text.to_ascii_lowercase().windows(part.len()).any(|window| window == part)
        };
        match self {
            Self::Address(address) => {
                let network = str::from_utf8(identity.as_ref()).ok().and_then(|text| text.parse().ok());
                network.is_some_and(|network: IpNetwork| network.contains(*address))
            }
            Self::Identity(part) => holds(identity.as_ref(), part),
            Self::Sender(part) => holds(sender.as_ref(), part),
            Self::Recipient(part) => holds(recipient.as_ref(), part),
            Self::Anywhere(part) => texts.iter().any(|text| holds(text.as_ref(), part)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use eximgrey::policy::Pending;
    use eximgrey::reply::By;
    use eximgrey::store::record::Texts;

    fn record(identity: &str, sender: &str, recipient: &str) -> Record {
        let bytes = |text: &str| text.as_bytes().to_vec();
        Record {
            by: By::Network,
            expires: Timestamp(10_000),
            facts: Facts::Pending {
                record: Pending { first_seen: Timestamp(1_000) },
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

    fn texts(record: &Record) -> [&[u8]; 3] {
        [&record.texts.identity, &record.texts.sender, &record.texts.recipient]
    }

    #[test]
    fn filters_find_what_they_name() {
        let record = record("192.0.2.0/24", "Alice=x@Sender.example", "bob@rcpt.example");
        for yes in [
            "client=192.0.2.77",
            "192.0.2.1",
            "sender=ALICE",
            "alice=x@",
            "recipient=bob@",
            "rcpt.example",
            "client=192.0",
        ] {
            assert!(Filter::parse(yes).matches(&texts(&record)), "{yes}");
        }
        for no in
            ["client=192.0.3.1", "2001:db8::1", "sender=bob", "recipient=alice", "carol", "client=alice"]
        {
            assert!(!Filter::parse(no).matches(&texts(&record)), "{no}");
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
