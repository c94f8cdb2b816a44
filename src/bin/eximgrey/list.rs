//! `eximgrey list`: one line a record, columns separated by blanks, made for awk.

use crate::command::{self, Failure, Outcome, Result, text_or};
use crate::filter::{Selection, Texts};
use crate::output::{record_sender, span, word};
use crate::rows::{Order, Row, Rows};
use clap::Args;
use eximgrey::identity::{ClientNetwork, Identity};
use eximgrey::policy::has_proved_itself;
use eximgrey::reply::By;
use eximgrey::settings::Settings;
use eximgrey::store::entries::{Entry, Kind};
use eximgrey::store::error::StoreError;
use eximgrey::store::record::{self, Facts, Record};
use eximgrey::store::{Store, Table};
use eximgrey::time::{Seconds, Timestamp};
use eximgrey::triplet::Triplet;
use eximgrey::words;
use eximgrey::words::Word;
use ipnetwork::IpNetwork;
use serde_json::json;
use std::io::Write;

/// The columns, by what is listed.
const COLUMNS: &str = "\
Columns, separated by blanks:
  pending  FIRST-SEEN WAIT BY IDENTITY SENDER RECIPIENT
           WAIT is what is left of the delay, \"ripe\" or \"released\"
  known    FIRST-SEEN LAST-SEEN BY IDENTITY SENDER RECIPIENT
  auto     PASSES LAST-SEEN BY IDENTITY
  trapped  SINCE UNTIL NETWORK
  learned  SHARE BACK AWAY SPAM WAITING LANE PATTERN, the best first
A text that the store does not keep is \"-\", the null sender \"<>\". Exit status 1: nothing found.

Examples:
  eximgrey list recipient=bob@example.org           # what waits for Bob
  eximgrey list known sender=@sender.example --since 7d
  eximgrey list | awk '{print $4}' | sort | uniq -c | sort -rn | head
                                                    # the networks with most that waits";

/// List what waits, what is known, who has proved himself or is trapped.
///
/// One record a line; on a terminal with headings, the newest first, in a pager.
#[derive(Args)]
#[command(after_help = COLUMNS)]
pub struct List {
    /// What to list [default: pending]
    #[arg(value_parser = text_or::<What>())]
    what: Option<String>,
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
        /// What became of first attempts, by what was known of them.
        Learned = "learned",
        /// The administrator's entries; as `eximgrey whitelist list`.
        Whitelist = "whitelist",
    }
}

impl List {
    /// What is listed, and which of it. What comes first may be a filter already.
    fn asked(&self) -> Result<(What, Selection)> {
        let mut selection = self.selection.clone();
        let Some(first) = &self.what else { return Ok((What::Pending, selection)) };
        if let Some(what) = What::from_word(first.as_bytes()) {
            return Ok((what, selection));
        }
        // A word alone is a slip: nobody would know why nothing is found.
        if !first.contains(['=', '@', '.', ':', '<']) {
            let expected = format!("expected {}, or a filter such as recipient={first}", What::expected());
            return Err(Failure::Usage(format!("{first:?}: {expected}")));
        }
        let what = selection.take_word().unwrap_or(What::Pending);
        selection.add(first).map_err(|expected| Failure::Usage(format!("{first}: {expected}")))?;
        Ok((what, selection))
    }
}

pub fn run(command: &List, settings: &Settings, out: &mut impl Write) -> Result {
    let now = Timestamp::now();
    let (what, selection) = command.asked()?;
    let selection = &selection;
    let store = command::open_store(settings, now)?;
    if what == What::Whitelist {
        return crate::whitelist::list(selection, store.as_ref(), now, out);
    }
    if what == What::Learned {
        return crate::learned::list(selection, store.as_ref(), &settings.signs, now, out);
    }
    if settings.store.privacy && selection.has_filters() {
        let text =
            "with `privacy = true` the store keeps no addresses: filters find only what was recorded before";
        command::complain(&Failure::Usage(text.into()));
    }
    let (headings, nothing, order): (&[&str], _, _) = match what {
        What::Pending => {
            (&["FIRST-SEEN", "WAIT", "BY", "IDENTITY", "SENDER", "RECIPIENT"], "nothing waits", Order::Stored)
        }
        What::Known => (
            &["FIRST-SEEN", "LAST-SEEN", "BY", "IDENTITY", "SENDER", "RECIPIENT"],
            "nothing has passed",
            Order::Stored,
        ),
        What::Auto => {
            (&["PASSES", "LAST-SEEN", "BY", "IDENTITY"], "no client has proved itself", Order::Stored)
        }
        What::Trapped | What::Whitelist | What::Learned => {
            (&["SINCE", "UNTIL", "NETWORK"], "nothing is trapped", Order::Oldest)
        }
    };
    let mut rows = Rows::new(selection, headings, order);
    if let Some(store) = &store {
        match what {
            What::Trapped => trapped(selection, store, now, &mut rows, out)?,
            _ => {
                Listing { what, all: command.all, selection, settings, now }.records(store, &mut rows, out)?
            }
        }
    }
    let those = if selection.is_partial() { " that matches" } else { "" };
    let found = rows.finish(&format!("{nothing}{those}"), out)?;
    Ok(if found { Outcome::Done } else { Outcome::Negative })
}

/// Which records are listed, and when.
struct Listing<'a> {
    what: What,
    all: bool,
    selection: &'a Selection,
    settings: &'a Settings,
    now: Timestamp,
}

impl Listing<'_> {
    fn records(&self, store: &Store, rows: &mut Rows, out: &mut impl Write) -> Result<()> {
        let Self { what, all, selection, settings, now } = *self;
        let table = if what == What::Pending { Table::Pending } else { Table::Known };
        let releases = what == What::Pending && store.releases(now)?;
        let mut written = Ok(());
        store.scan(table, |_, record| {
            let (wanted, time) = match (what, record.facts) {
                (What::Pending, Facts::Pending { record, .. }) => {
                    (record.passed.is_none(), record.first_seen)
                }
                (What::Known, Facts::Known(known)) => (true, known.last_seen),
                (What::Auto, Facts::Identity(earned)) => {
                    (all || has_proved_itself(&settings.rules, &earned, now), earned.last_seen)
                }
                _ => return true,
            };
            let record::Texts { identity, sender, recipient, .. } = &record.texts;
            let texts = Texts { client: identity, sender, recipient, comment: b"" };
            if wanted && record.expires >= now && selection.reaches(time, now) && selection.shows(&texts) {
                let released = if releases { released(store, settings, &record, now) } else { Ok(None) };
                written = released.map_err(Failure::from).and_then(|released| {
                    let columns = || match selection.json {
                        true => vec![json_line(&record, released, now)],
                        false => columns(&record, released, now),
                    };
                    Ok(rows.push(&Row { time, client: identity, sender, recipient }, columns, out)?)
                });
            }
            // A closed pipe ends the scan.
            written.is_ok()
        })?;
        written
    }
}

/// Until when the mail of a first attempt is released. Which network tried it, only the network's own record
/// says.
fn released(
    store: &Store,
    settings: &Settings,
    record: &Record,
    now: Timestamp,
) -> std::result::Result<Option<Timestamp>, StoreError> {
    let texts = &record.texts;
    let Ok(rules) = settings.rules_for(None, &texts.recipient, &Default::default()) else { return Ok(None) };
    let network = network_of(record).into_iter().collect();
    store.released(&Triplet::new(network, &texts.sender, &texts.recipient, b"", rules.sender_key), now)
}

/// The network of a record that is known by one.
pub fn network_of(record: &Record) -> Option<Identity> {
    let network: IpNetwork = str::from_utf8(&record.texts.identity).ok()?.parse().ok()?;
    let network = ClientNetwork::new(network.ip(), network.prefix());
    (record.by == By::Network).then_some(Identity::Network(network))
}

fn trapped(
    selection: &Selection,
    store: &Store,
    now: Timestamp,
    rows: &mut Rows,
    out: &mut impl Write,
) -> Result<()> {
    let mut traps = Vec::new();
    store.scan_entries(|entry| {
        let [client, ..] = &entry.texts;
        let shown =
            selection.shows(&Texts { client, ..Texts::default() }) && selection.reaches(entry.since, now);
        if shown && entry.kind == Kind::Trap && entry.trap().holds(now) {
            traps.push(entry);
        }
    })?;
    for Entry { since, until, texts: [network, ..], .. } in &traps {
        let columns = || {
            if selection.json {
                let network = (!network.is_empty()).then(|| String::from_utf8_lossy(network));
                vec![json!({"since": since.0, "until": until.0, "network": network}).to_string()]
            } else {
                vec![since.to_string(), until.to_string(), word(network).to_string()]
            }
        };
        rows.push(&Row { time: *since, client: network, sender: b"", recipient: b"" }, columns, out)?;
    }
    Ok(())
}

fn columns(record: &Record, released: Option<Timestamp>, now: Timestamp) -> Vec<String> {
    let texts = &record.texts;
    let who = [record.by.word().to_owned(), word(&texts.identity).to_string()];
    let mail = [record_sender(texts).to_string(), word(&texts.recipient).to_string()];
    match record.facts {
        Facts::Pending { record: pending, ripe, .. } => {
            let wait = match ripe.since(now) {
                _ if released.is_some() => "released".to_owned(),
                Seconds(0) => "ripe".to_owned(),
                left => span(left).replace(' ', ""),
            };
            let front = [pending.first_seen.to_string(), format!("{wait:>6}")];
            [&front[..], &who, &mail].concat()
        }
        Facts::Known(known) => {
            [&[known.first_seen.to_string(), known.last_seen.to_string()], &who[..], &mail].concat()
        }
        Facts::Identity(earned) => {
            [&[format!("{:>6}", earned.passes), earned.last_seen.to_string()], &who[..]].concat()
        }
    }
}

fn json_line(record: &Record, released: Option<Timestamp>, now: Timestamp) -> String {
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
            "released": released.map(|until| until.0),
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
    value.to_string()
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
        let record = record("192.0.2.0/24", "a b\n@x", "bob@rcpt.example");
        let line = |released| columns(&record, released, Timestamp(1_100)).join(" ");
        let rest = "network 192.0.2.0/24 a\\x20b\\x0a@x bob@rcpt.example";
        assert_eq!(line(None), format!("1970-01-01T00:16:40Z  3m20s {rest}"));
        assert_eq!(line(Some(Timestamp(2_000))), format!("1970-01-01T00:16:40Z released {rest}"));
    }
}
