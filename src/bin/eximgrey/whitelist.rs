//! `eximgrey whitelist`: entries that take effect with the next decision.

use crate::command::{self, Failure, Outcome, Result, text_or};
use crate::filter::{Selection, Texts};
use crate::import::{self, Listed, postgrey};
use crate::output::word;
use crate::rows::{Order, Row, Rows};
use clap::{Args, Subcommand};
use eximgrey::memory::{Event, Memory};
use eximgrey::reply::Effect;
use eximgrey::settings::Settings;
use eximgrey::store::Store;
use eximgrey::store::entries::{Entry, Kind};
use eximgrey::time::{Seconds, Timestamp};
use eximgrey::whitelist::ListKind;
use eximgrey::words::Word;
use eximgrey::{network, pasted};
use serde_json::json;
use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;

/// Keep the list of clients, domains, senders and recipients that are never greylisted.
///
/// A change takes effect with the next decision.
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
    #[command(override_usage = "eximgrey whitelist remove [KIND] <ENTRY>")]
    Remove(Named),
    /// List entries: KIND ENTRY SINCE UNTIL FLAGS COMMENT
    List(Selection),
    /// Read postgrey's whitelist files
    Import(Files),
}

const EXAMPLES: &str = "\
Examples:
  eximgrey whitelist add 192.0.2.0/24 --comment 'the printers of the branch office'
  eximgrey whitelist add spf partner.example --comment 'ticket 7' --for 90d
  eximgrey whitelist add recipient support@example.org";

#[derive(Args)]
#[command(after_help = EXAMPLES, override_usage = "eximgrey whitelist add [OPTIONS] [KIND] <ENTRY>")]
struct Add {
    #[command(flatten)]
    named: Named,
    /// Why, for those who read the list later
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    comment: String,
    /// Drop the entry after that time, such as 30d [default: never]
    #[arg(long = "for", value_name = "TIME", value_parser = command::time)]
    time: Option<Seconds>,
    /// With sender: also where neither SPF nor DKIM vouches for it. Senders are easily forged
    #[arg(long)]
    unauthenticated: bool,
}

#[derive(Args)]
struct Named {
    /// What the entry names, and the entry. Without the kind, it is the only one that the entry can be
    #[arg(value_names = ["KIND", "ENTRY"], required = true, num_args = 1..=2, value_parser = text_or::<ListKind>())]
    words: Vec<String>,
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
        Action::Add(add) => run_add(add, settings, now, out),
        Action::Remove(named) => remove(named, settings, now, out),
        Action::List(selection) => list(selection, command::open_store(settings, now)?.as_ref(), now, out),
        Action::Import(Files { files, recipients }) => {
            let (listed, left_out) = import::read(files, |line| postgrey::entry(line, *recipients))?;
            let store = command::open_store_to_write(settings, now)?;
            let (mut entries, mut names) = (Vec::new(), BTreeSet::new());
            let many = listed.len();
            let of_users = *recipients && listed.iter().any(|listed| listed.entry.contains(&b'@'));
            for Listed { kind, entry, comment } in listed {
                let there = store.listed(kind, &entry)?.is_some_and(|there| there.until == FOREVER);
                if !there && names.insert((kind, entry.clone())) {
                    let texts = [entry, comment.into_bytes(), Vec::new()];
                    entries.push(Entry::new(Kind::Listed(kind), now, FOREVER, texts));
                }
            }
            if !entries.is_empty() {
                store.whitelist(&entries)?;
            }
            if of_users && !settings.rules.recipient_delimiter.has(b'+') {
                writeln!(
                    out,
                    "postgrey's entries for USER@ hold for USER+anything@, too; here they do with\n\
                     recipient_delimiter = \"+\" in the configuration"
                )?;
            }
            import::report(entries.len(), many - entries.len(), &left_out, out)
        }
    }
}

fn run_add(add: &Add, settings: &Settings, now: Timestamp, out: &mut impl Write) -> Result {
    let (kind, text) = add.named.entry()?;
    if add.unauthenticated && kind != ListKind::Sender {
        return Err(Failure::Usage("--unauthenticated is for senders".into()));
    }
    let store = command::open_store_to_write(settings, now)?;
    let before = store.listed(kind, &text)?.filter(|before| before.until >= now);
    let comment = add.comment.clone().into_bytes();
    let until = add.time.map_or(FOREVER, |time| now.plus(time));
    let texts = [text.clone(), comment, Vec::new()];
    let mut entry =
        Entry { unauthenticated: add.unauthenticated, ..Entry::new(Kind::Listed(kind), now, until, texts) };
    let mut done = "added";
    if let Some(before) = before {
        // What is not said again stays, but for the end.
        if add.comment.is_empty() {
            entry.texts = before.texts.clone();
        }
        let same = |entry: &Entry| (entry.until, entry.unauthenticated, entry.texts.clone());
        done = if same(&before) == same(&entry) { "already there" } else { "changed" };
    }
    if done != "already there" {
        store.tell(&Event::List(&entry))?;
    }
    let scope = match kind {
        ListKind::Client => "",
        _ if text.contains(&b'@') => "",
        _ => ", and all below it",
    };
    let vouched = match kind {
        ListKind::Sender if entry.unauthenticated => "; also where nothing vouches for the sender",
        ListKind::Sender => "; where SPF or DKIM vouches for its domain",
        _ => "",
    };
    let until = if entry.until == FOREVER { String::new() } else { format!("; until {}", entry.until) };
    writeln!(out, "{done}: {} {}{scope}{vouched}{until}", kind.word(), word(&text))?;
    Ok(Outcome::Done)
}

fn remove(named: &Named, settings: &Settings, now: Timestamp, out: &mut impl Write) -> Result {
    let read = named.entry();
    // An earlier version took entries that can never match. They must be removable, too.
    let as_it_is = match named.words.as_slice() {
        [kind, text] => {
            ListKind::from_word(kind.as_bytes()).map(|kind| (kind, text.to_ascii_lowercase().into()))
        }
        _ => None,
    };
    let store = command::open_store_to_write(settings, now)?;
    for (kind, text) in read.as_ref().ok().into_iter().chain(as_it_is.as_ref()) {
        if store.tell(&Event::Unlist(*kind, text))? == Effect::Recorded {
            writeln!(out, "removed: {} {}", kind.word(), word(text))?;
            return Ok(Outcome::Done);
        }
    }
    let (kind, text) = read?;
    writeln!(out, "not on the whitelist: {} {}", kind.word(), word(&text))?;
    Ok(Outcome::Negative)
}

impl Named {
    /// The kind and the canonical text.
    fn entry(&self) -> Result<(ListKind, Vec<u8>)> {
        let canonical = |kind: ListKind, text: &str| {
            let pasted = pasted::address(text);
            kind.canonical(&command::ascii(&String::from_utf8_lossy(&pasted))?).map_err(|expected| {
                Failure::Usage(format!("{}: expected {expected}, found {text:?}", kind.word()))
            })
        };
        match self.words.as_slice() {
            [kind, text] => match ListKind::from_word(kind.as_bytes()) {
                Some(kind) => Ok((kind, canonical(kind, text)?)),
                None => Err(Failure::Usage(format!("{kind:?}: expected {}", ListKind::expected()))),
            },
            [text] => {
                if ListKind::from_word(text.as_bytes()).is_some() {
                    return Err(Failure::Usage(format!("{text}: expected an entry behind the kind")));
                }
                let mut possible: Vec<_> = ListKind::ALL
                    .iter()
                    .filter_map(|&kind| Some((kind, canonical(kind, text).ok()?)))
                    .collect();
                let kinds: Vec<_> = possible.iter().map(|(kind, _)| kind.word()).collect();
                match (possible.pop(), kinds.split_last()) {
                    (Some(only), Some((_, []))) => Ok(only),
                    (_, Some((last, others))) => Err(Failure::Usage(format!(
                        "{text:?} can be of the kind {} or {last}: name the kind before it",
                        others.join(", ")
                    ))),
                    _ => {
                        let meant = if network::is_meant(text) || text.contains('/') {
                            ListKind::Client
                        } else if text.contains('@') {
                            ListKind::Recipient
                        } else {
                            ListKind::Host
                        };
                        canonical(meant, text).map(|text| (meant, text))
                    }
                }
            }
            _ => Err(Failure::Usage("expected a kind and an entry".into())),
        }
    }
}

/// Writes the entries that are asked for, by kind where no order is.
pub fn list(selection: &Selection, store: Option<&Store>, now: Timestamp, out: &mut impl Write) -> Result {
    let mut entries = Vec::new();
    store.map_or(Ok(()), |store| {
        store.scan_entries(|entry| {
            let Kind::Listed(kind) = entry.kind else { return };
            if entry.until >= now
                && selection.reaches(entry.since, now)
                && selection.shows(&texts(kind, &entry.texts))
            {
                entries.push((kind, entry));
            }
        })
    })?;
    entries.sort_by(|(a, x), (b, y)| a.cmp(b).then_with(|| x.texts.cmp(&y.texts)));
    let headings = &["KIND", "ENTRY", "SINCE", "UNTIL", "FLAGS", "COMMENT"];
    let mut rows = Rows::new(selection, headings, Order::Given);
    for (kind, entry) in &entries {
        let columns = || if selection.json { vec![json_line(*kind, entry)] } else { columns(*kind, entry) };
        let Texts { client, sender, recipient, .. } = texts(*kind, &entry.texts);
        rows.push(&Row { time: entry.since, client, sender, recipient }, columns, out)?;
    }
    let nothing =
        if selection.is_partial() { "nothing on the whitelist matches" } else { "the whitelist is empty" };
    Ok(if rows.finish(nothing, out)? { Outcome::Done } else { Outcome::Negative })
}

/// The texts of an entry by the columns of the filters.
fn texts(kind: ListKind, [text, comment, _]: &[Vec<u8>; 3]) -> Texts<'_> {
    let mut texts = Texts { comment, ..Texts::default() };
    *match kind {
        ListKind::Sender => &mut texts.sender,
        ListKind::Recipient => &mut texts.recipient,
        ListKind::Client | ListKind::Host | ListKind::Spf | ListKind::Dkim => &mut texts.client,
    } = text;
    texts
}

fn json_line(
    kind: ListKind,
    Entry { since, until, unauthenticated, texts: [entry, comment, _], .. }: &Entry,
) -> String {
    let value = json!({
        "kind": kind.word(), "entry": String::from_utf8_lossy(entry), "since": since.0,
        "until": if *until == FOREVER { None } else { Some(until.0) },
        "unauthenticated": unauthenticated, "comment": String::from_utf8_lossy(comment),
    });
    value.to_string()
}

fn columns(
    kind: ListKind,
    Entry { since, until, unauthenticated, texts: [entry, comment, _], .. }: &Entry,
) -> Vec<String> {
    let until = if *until == FOREVER { "-".to_owned() } else { until.to_string() };
    let flags = if *unauthenticated { "unauthenticated" } else { "-" };
    let comment = String::from_utf8_lossy(comment).replace(char::is_control, "?");
    vec![kind.word().into(), word(entry).to_string(), since.to_string(), until, flags.into(), comment]
}
