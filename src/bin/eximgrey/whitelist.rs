//! `eximgrey whitelist`: entries that take effect with the next decision.

use crate::command::{self, Failure, Outcome, Result, one_of};
use crate::filter::{Selection, Texts};
use crate::import::{self, Listed, postgrey};
use crate::output::word;
use clap::{Args, Subcommand};
use eximgrey::memory::{Event, Memory};
use eximgrey::reply::Effect;
use eximgrey::settings::Settings;
use eximgrey::store::Store;
use eximgrey::store::entries::{Entry, Kind};
use eximgrey::time::{Seconds, Timestamp};
use eximgrey::whitelist::ListKind;
use serde_json::json;
use std::io::Write;
use std::path::PathBuf;

/// Clients, domains, senders and recipients that are never greylisted. Entries take effect at once.
#[derive(Args)]
pub struct Whitelist {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Add an entry, or replace it
    Add(Add),
    /// Remove an entry
    Remove(Remove),
    /// List entries: KIND ENTRY SINCE UNTIL FLAGS COMMENT
    List(Selection),
    /// Read postgrey's whitelist files
    Import(Files),
}

#[derive(Args)]
struct Add {
    /// What the entry names
    #[arg(value_parser = one_of::<ListKind>())]
    kind: ListKind,
    /// The entry
    entry: String,
    /// Why, for those who read the list later
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    comment: String,
    /// Drop the entry after that time, such as 30d [default: never]
    #[arg(long = "for", value_name = "TIME", value_parser = time)]
    time: Option<Seconds>,
    /// With sender: also where neither SPF nor DKIM vouches for it. Senders are easily forged
    #[arg(long)]
    unauthenticated: bool,
}

#[derive(Args)]
struct Remove {
    /// What the entry names
    #[arg(value_parser = one_of::<ListKind>())]
    kind: ListKind,
    /// The entry
    entry: String,
}

#[derive(Args)]
struct Files {
    /// postgrey_whitelist_clients, and with --recipients postgrey_whitelist_recipients
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// The files are whitelists of recipients
    #[arg(long)]
    recipients: bool,
}

/// The end of an entry that has none.
const FOREVER: Timestamp = Timestamp(u32::MAX);

pub fn run(command: &Whitelist, settings: &Settings, out: &mut impl Write) -> Result {
    let now = Timestamp::now();
    match &command.action {
        Action::Add(add) => {
            let entry = entry(add, now)?;
            command::open_store_to_write(settings, now)?.tell(&Event::List(&entry))?;
            Ok(Outcome::Done)
        }
        Action::Remove(remove) => {
            let text = canonical(remove.kind, &remove.entry)?;
            let store = command::open_store_to_write(settings, now)?;
            let there = store.tell(&Event::Unlist(remove.kind, &text))? == Effect::Recorded;
            Ok(if there { Outcome::Done } else { Outcome::Negative })
        }
        Action::List(selection) => match command::open_store(settings, now)? {
            Some(store) => list(selection, &store, now, out),
            None => Ok(Outcome::Negative),
        },
        Action::Import(Files { files, recipients }) => {
            let (entries, left_out) = import::read(files, |line| postgrey::entry(line, *recipients))?;
            let entries = entries.into_iter().map(|Listed { kind, entry, comment }| {
                Entry::new(Kind::Listed(kind), now, FOREVER, [entry, comment.into_bytes(), Vec::new()])
            });
            let entries: Vec<_> = entries.collect();
            command::open_store_to_write(settings, now)?.whitelist(&entries)?;
            import::report(entries.len(), &left_out, out)
        }
    }
}

fn time(text: &str) -> std::result::Result<Seconds, &'static str> {
    Seconds::parse(text.as_bytes()).ok_or("expected a time such as 30d")
}

fn canonical(kind: ListKind, text: &str) -> Result<Vec<u8>> {
    kind.canonical(text)
        .map_err(|expected| Failure::Usage(format!("{}: expected {expected}, found {text:?}", kind.word())))
}

fn entry(add: &Add, now: Timestamp) -> Result<Entry> {
    let kind = add.kind;
    if add.unauthenticated && kind != ListKind::Sender {
        return Err(Failure::Usage("--unauthenticated is for senders".into()));
    }
    let until = add.time.map_or(FOREVER, |time| now.plus(time));
    let texts = [canonical(kind, &add.entry)?, add.comment.clone().into_bytes(), Vec::new()];
    Ok(Entry { unauthenticated: add.unauthenticated, ..Entry::new(Kind::Listed(kind), now, until, texts) })
}

/// Writes the entries that are asked for.
pub fn list(selection: &Selection, store: &Store, now: Timestamp, out: &mut impl Write) -> Result {
    let mut entries = Vec::new();
    store.scan_entries(|entry| {
        let Kind::Listed(kind) = entry.kind else { return };
        let [text, comment, _] = &entry.texts;
        let mut texts = Texts { comment, ..Texts::default() };
        *match kind {
            ListKind::Sender => &mut texts.sender,
            ListKind::Recipient => &mut texts.recipient,
            ListKind::Client | ListKind::Host | ListKind::Spf | ListKind::Dkim => &mut texts.client,
        } = text;
        if entry.until >= now && selection.shows(&texts) {
            entries.push((kind, entry));
        }
    })?;
    entries.sort_by(|(a, x), (b, y)| a.cmp(b).then_with(|| x.texts.cmp(&y.texts)));
    for (kind, Entry { since, until, unauthenticated, texts: [entry, comment, _], .. }) in &entries {
        let forever = *until == FOREVER;
        let comment = String::from_utf8_lossy(comment);
        if selection.json {
            let value = json!({
                "kind": kind.word(), "entry": String::from_utf8_lossy(entry), "since": since.0,
                "until": if forever { None } else { Some(until.0) },
                "unauthenticated": unauthenticated, "comment": comment,
            });
            writeln!(out, "{value}")?;
            continue;
        }
        let until = if forever { "-".to_owned() } else { until.to_string() };
        let flags = if *unauthenticated { "unauthenticated" } else { "-" };
        let comment = comment.replace(char::is_control, "?");
        let line = format!("{} {} {since} {until} {flags} {comment}", kind.word(), word(entry));
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(if entries.is_empty() { Outcome::Negative } else { Outcome::Done })
}
