//! `eximgrey log`

mod search;
mod story;

use crate::command::{self, Failure, Outcome, Result};
use crate::exim_log::files::Logs;
use crate::exim_log::{is_message_id, places};
use crate::output::word;
use clap::Args;
use eximgrey::pasted;
use eximgrey::settings::Settings;
use eximgrey::time::{Seconds, Timestamp};
use search::{Search, Wanted};
use std::ffi::OsString;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// Tells what became of a mail, in words.
///
/// Reads Exim's main log and what it was before it was rotated, and shows for each client, sender and recipient, in order of
/// time: when it was deferred, came back too early, passed, and was delivered; or that it never came back. Times are UTC.
/// Exit status 1: nothing was found.
#[derive(Args)]
#[command(after_help = "\
Examples:
  eximgrey log alice@example.org              mail from her and to her
  eximgrey log @example.org --since 2d        mail from and to a domain
  eximgrey log 1vP8sy-000000001Sm-2Zdk        one message, and how it came in
  journalctl -u exim4 -o export | eximgrey log bob@example.net --file -")]
pub struct Log {
    /// A message's id, an address of a sender or recipient ("<>" for the null sender), or a domain
    #[arg(value_name = "MESSAGE|ADDRESS|@DOMAIN")]
    what: OsString,
    /// Read these files, plain, .gz or .xz, or with - the standard input [default: Exim's main log]
    #[arg(long, value_name = "LOG", num_args = 1..)]
    file: Vec<PathBuf>,
    /// Only what happened within that time, such as 7d
    #[arg(long, value_name = "TIME", value_parser = command::time)]
    since: Option<Seconds>,
    /// Times in the log that have no zone are UTC [default: the local time of this machine]
    #[arg(long)]
    utc: bool,
    /// Print JSON, one object a line for each client, sender and recipient
    #[arg(long)]
    json: bool,
}

pub fn run(command: &Log, settings: &Settings, out: &mut impl Write) -> Result {
    let now = Timestamp::now();
    let since = command.since.map(|span| Timestamp(now.0.saturating_sub(span.0)));
    let wanted = wanted(&command.what)?;
    let files = match &command.file[..] {
        [] => places::files(since).map_err(Failure::Usage)?,
        named => named.to_vec(),
    };
    let mut search = Search::new(wanted, settings.prefixes, since);
    let lines = Logs::open(&files, command.utc, now)?.read(|line| search.take(line))?;
    let stories = search.stories();
    for story in &stories {
        if command.json {
            writeln!(out, "{}", story.json(settings, now))?;
        } else {
            story.tell(settings, now, out)?;
        }
    }
    if !stories.is_empty() {
        return Ok(Outcome::Done);
    }
    if !command.json {
        let (all, unknown) = (lines.all, lines.unknown);
        let odd = if unknown > 0 { format!(", of which {unknown} are not Exim's") } else { String::new() };
        writeln!(out, "nothing of {} in {all} lines{odd}", word(command.what.as_bytes()))?;
    }
    Ok(Outcome::Negative)
}

fn wanted(what: &OsString) -> Result<Wanted> {
    let bytes = what.as_bytes().trim_ascii();
    if is_message_id(bytes) {
        return Ok(Wanted::Message(bytes.to_vec()));
    }
    let address = pasted::address(bytes);
    let text = String::from_utf8_lossy(&address);
    let lower = command::ascii(&text)?.to_ascii_lowercase().into_bytes();
    match lower.strip_prefix(b"@") {
        Some(domain) if domain.contains(&b'.') => return Ok(Wanted::Domain(domain.to_vec())),
        None if lower.is_empty() || lower.contains(&b'@') => return Ok(Wanted::Address(lower)),
        _ => {}
    }
    let expected =
        "expected a message's id, an address such as alice@example.org, or a domain such as @example.org";
    Err(Failure::Usage(format!("{}: {expected}", word(bytes))))
}
