//! `eximgrey whitelist`: entries that take effect with the next decision.

use crate::command::{self, Failure, Outcome, Result, one_of};
use crate::output::word;
use clap::{Args, Subcommand};
use eximgrey::settings::Settings;
use eximgrey::store::Store;
use eximgrey::store::events::standing;
use eximgrey::store::standing::{Kind, Standing};
use eximgrey::time::{Seconds, Timestamp};
use eximgrey::whitelist::ListKind;
use serde_json::json;
use std::fs;
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
    List(List),
    /// Read postgrey's whitelist files
    Import(Import),
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
    #[arg(long = "for", value_name = "TIME")]
    time: Option<String>,
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
struct List {
    /// Only entries or comments that hold all of these texts
    filters: Vec<String>,
    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct Import {
    /// postgrey_whitelist_clients, and with --recipients postgrey_whitelist_recipients
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// The files are whitelists of recipients
    #[arg(long)]
    recipients: bool,
}

pub fn run(command: &Whitelist, settings: &Settings, out: &mut impl Write) -> Result {
    let now = Timestamp::now();
    match &command.action {
        Action::Add(add) => {
            let entry = entry(add, now)?;
            command::open_store_to_write(settings, now)?.list(&entry, now)?;
            Ok(Outcome::Done)
        }
        Action::Remove(remove) => {
            let text = canonical(remove.kind, &remove.entry)?;
            let there = command::open_store_to_write(settings, now)?.unlist(remove.kind, &text)?;
            Ok(if there { Outcome::Done } else { Outcome::NotSo })
        }
        Action::List(list) => match command::open_store(settings, now)? {
            Some(store) => self::list(&list.filters, list.json, &store, now, out),
            None => Ok(Outcome::NotSo),
        },
        Action::Import(import) => run_import(import, settings, now, out),
    }
}

fn canonical(kind: ListKind, text: &str) -> Result<Vec<u8>> {
    kind.canonical(text)
        .map_err(|expected| Failure::Usage(format!("{}: expected {expected}, found {text:?}", kind.word())))
}

fn entry(add: &Add, now: Timestamp) -> Result<Standing> {
    let kind = add.kind;
    if add.unauthenticated && kind != ListKind::Sender {
        return Err(Failure::Usage("--unauthenticated is for senders".into()));
    }
    let until = match &add.time {
        None => Timestamp(u32::MAX),
        Some(text) => match Seconds::parse(text.as_bytes()) {
            Some(time) => now.plus(time),
            None => {
                return Err(Failure::Usage(format!("--for: expected a time such as 30d, found {text:?}")));
            }
        },
    };
    let texts = [canonical(kind, &add.entry)?, add.comment.clone().into_bytes(), Vec::new()];
    Ok(Standing { unauthenticated: add.unauthenticated, ..standing(Kind::Listed(kind), now, until, texts) })
}

/// Writes the entries that hold all of the filters' texts.
pub fn list(
    filters: &[String],
    as_json: bool,
    store: &Store,
    now: Timestamp,
    out: &mut impl Write,
) -> Result {
    let mut entries = Vec::new();
    store.scan_standing(|standing| {
        if let Kind::Listed(kind) = standing.kind
            && standing.until >= now
        {
            entries.push((kind, standing));
        }
    })?;
    entries.sort_by(|(a, x), (b, y)| a.cmp(b).then_with(|| x.texts.cmp(&y.texts)));
    let mut found = false;
    for (kind, Standing { since, until, unauthenticated, texts: [entry, comment, _], .. }) in &entries {
        let holds = |text: &String| {
            let text = text.to_ascii_lowercase();
            let words = [entry, comment].map(|part| String::from_utf8_lossy(part).to_ascii_lowercase());
            words.iter().any(|word| word.contains(&text))
        };
        if !filters.iter().all(holds) {
            continue;
        }
        found = true;
        let forever = *until == Timestamp(u32::MAX);
        let comment = String::from_utf8_lossy(comment);
        if as_json {
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
    Ok(if found { Outcome::Done } else { Outcome::NotSo })
}

/// Adds what it can read, and names each line that it cannot.
fn run_import(import: &Import, settings: &Settings, now: Timestamp, out: &mut impl Write) -> Result {
    let mut entries = Vec::new();
    let mut left_out = Vec::new();
    for file in &import.files {
        let bytes = fs::read(file).map_err(|e| Failure::Usage(format!("{}: {e}", file.display())))?;
        for (i, line) in String::from_utf8_lossy(&bytes).lines().enumerate() {
            let (text, comment) =
                line.split_once('#').map_or((line, ""), |(text, comment)| (text, comment.trim()));
            let text = text.trim();
            if text.is_empty() {
                continue;
            }
            match postgrey_entry(text, import.recipients) {
                Ok((kind, text)) => {
                    let comment = if comment.is_empty() { "from postgrey" } else { comment };
                    let texts = [text, comment.as_bytes().to_vec(), Vec::new()];
                    entries.push(standing(Kind::Listed(kind), now, Timestamp(u32::MAX), texts));
                }
                Err(expected) => {
                    let text = format!("{}:{}: expected {expected}, found {text:?}", file.display(), i + 1);
                    left_out.push(text);
                }
            }
        }
    }
    let store = command::open_store_to_write(settings, now)?;
    for entry in &entries {
        store.list(entry, now)?;
    }
    writeln!(out, "{} entries added", entries.len())?;
    if left_out.is_empty() {
        return Ok(Outcome::Done);
    }
    out.flush()?;
    command::complain(&Failure::Usage(format!(
        "{} lines were left out:\n{}",
        left_out.len(),
        left_out.join("\n")
    )));
    Ok(Outcome::NotSo)
}

/// An entry of postgrey: for clients a domain, an address, a network, or the first three parts of one; for recipients
/// `local@`, an address or a domain.
fn postgrey_entry(text: &str, recipients: bool) -> std::result::Result<(ListKind, Vec<u8>), &'static str> {
    if text.starts_with('/') {
        return Err("an entry that is no regular expression (these are not supported)");
    }
    if recipients {
        return ListKind::Recipient.canonical(text).map(|text| (ListKind::Recipient, text));
    }
    let parts = text.split('.').filter(|part| part.parse::<u8>().is_ok()).count();
    if parts == 3 && text.split('.').count() == 3 {
        return ListKind::Client.canonical(&format!("{text}.0/24")).map(|text| (ListKind::Client, text));
    }
    if let Ok(network) = ListKind::Client.canonical(text) {
        return Ok((ListKind::Client, network));
    }
    ListKind::Host.canonical(text).map(|text| (ListKind::Host, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_of_postgrey_are_read() {
        let read = |text: &str, recipients| {
            postgrey_entry(text, recipients).map(|(kind, text)| (kind, String::from_utf8(text).unwrap()))
        };
        for (text, kind, entry) in [
            ("Example.org", ListKind::Host, "example.org"),
            ("192.0.2.7", ListKind::Client, "192.0.2.7/32"),
            ("192.0.2", ListKind::Client, "192.0.2.0/24"),
            ("198.51.100.0/22", ListKind::Client, "198.51.100.0/22"),
            ("2001:db8::/32", ListKind::Client, "2001:db8::/32"),
        ] {
            assert_eq!(read(text, false), Ok((kind, entry.to_owned())), "{text}");
        }
        for (text, entry) in
            [("postmaster@", "postmaster@"), ("A@b.example", "a@b.example"), ("b.example", "b.example")]
        {
            assert_eq!(read(text, true), Ok((ListKind::Recipient, entry.to_owned())), "{text}");
        }
        for (text, recipients) in
            [("/^mx\\d+/", false), ("localhost", false), ("0.0.0.0/0", false), ("@", true)]
        {
            assert!(read(text, recipients).is_err(), "{text}");
        }
    }
}
