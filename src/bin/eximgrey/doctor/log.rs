//! What the library and the fragments have written to Exim's log: errors by which mail passed without
//! greylisting.

use super::Findings;
use crate::exim::daemon::Exim;
use crate::exim_log::places;
use eximgrey::sender::Printable;
use eximgrey::time::{Seconds, Timestamp};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// How much is read of the end of the log: some twenty thousand lines.
const MOST: u64 = 4 << 20;

/// The last lines that are shown.
const SHOWN: usize = 3;

/// The longest line that is shown, in bytes; addresses in it may be long.
const LINE: usize = 300;

pub(super) fn check(exim: &Exim, findings: &mut Findings) {
    let now = local_now(exim);
    let Some(path) = main_log(exim, now) else {
        let text = "Exim logs to syslog only, which is not read here; look there for: eximgrey: .*error=";
        return findings.ok("log", text);
    };
    let shown = path.display();
    match end_of(&path) {
        Ok(end) => {
            let errors = errors(&end, &said(Timestamp(now.0.saturating_sub(Seconds::DAY.0))));
            if errors.last.is_empty() {
                return findings.ok("log", format!("{shown}: no error of ours in the last 24 hours"));
            }
            let counts = errors.counts.iter().map(|(word, n)| format!(" {n} x {word};")).collect::<String>();
            let text = "mail passed without greylisting in the last 24 hours:";
            findings.warning("log", format!("{shown}: {text}{counts} the last lines:"));
            for line in errors.last {
                findings.warning("log", line);
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            findings.ok("log", format!("{shown}: no such file yet"));
        }
        Err(error) => findings.warning("log", format!("{shown} cannot be read: {error}")),
    }
}

/// The time as Exim's log has it, which is that of Exim's time zone.
fn local_now(exim: &Exim) -> Timestamp {
    let zone = exim.ask(&["-be", "$tod_zone"]).unwrap_or_default();
    let zone = zone.trim();
    let digits = |range: std::ops::Range<usize>| {
        zone.get(range).and_then(|text| text.parse::<u32>().ok()).unwrap_or(0)
    };
    let offset = digits(1..3) * 3_600 + digits(3..5) * 60;
    let Timestamp(now) = Timestamp::now();
    Timestamp(if zone.starts_with('-') { now.saturating_sub(offset) } else { now.saturating_add(offset) })
}

/// As a line of the log begins: `2026-11-27 12:33:12`.
fn said(time: Timestamp) -> String {
    time.to_string().replace('T', " ").replace('Z', "")
}

/// The file of Exim's main log; `None` where Exim logs to syslog only.
fn main_log(exim: &Exim, now: Timestamp) -> Option<PathBuf> {
    let date: String = said(now).chars().take(10).filter(char::is_ascii_digit).collect();
    let month = date.get(..6).unwrap_or_default();
    Some(places::main_log(exim)?.replace("%D", &date).replace("%M", month).into())
}

/// The end of a file, from the beginning of a line.
fn end_of(path: &Path) -> io::Result<Vec<u8>> {
    let meta = fs::metadata(path)?;
    // A pipe would be waited for.
    if !meta.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "no regular file"));
    }
    let mut file = File::open(path)?;
    let from = meta.len().saturating_sub(MOST);
    file.seek(SeekFrom::Start(from))?;
    let mut end = Vec::new();
    file.take(MOST).read_to_end(&mut end)?;
    if from > 0 {
        end.drain(..end.iter().position(|&byte| byte == b'\n').map_or(0, |at| at + 1));
    }
    Ok(end)
}

struct Errors {
    /// How many there were of each, by our word.
    counts: BTreeMap<String, usize>,
    last: Vec<String>,
}

/// Our errors in a log since a time.
fn errors(log: &[u8], since: &str) -> Errors {
    let mut errors = Errors { counts: BTreeMap::new(), last: Vec::new() };
    for line in log.split(|&byte| byte == b'\n') {
        let text = String::from_utf8_lossy(line);
        let Some((before, ours)) = text.split_once(" eximgrey: ") else { continue };
        // In front of it, or behind, may be what a stranger has chosen: addresses, in < and >.
        let ours = ours.split(" F=<").next().unwrap_or_default();
        if before.contains('<') || before < since {
            continue;
        }
        match ours.split(' ').find(|word| word.starts_with("error=")) {
            Some(word) => *errors.counts.entry(Printable(word.as_bytes()).to_string()).or_default() += 1,
            None if ours.ends_with("mail passes without greylisting") => {}
            None => continue,
        }
        let words = text.split_whitespace().map(|word| Printable(word.as_bytes()).to_string());
        let mut line = words.collect::<Vec<_>>().join(" ");
        line.truncate(LINE);
        errors.last.push(line);
    }
    errors.last.drain(..errors.last.len().saturating_sub(SHOWN));
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Errors of the last day are counted and the last ones shown; a stranger's words are neither.
    #[test]
    fn errors_are_counted_by_their_word() {
        let log = "\
2026-11-26 11:59:59 eximgrey: action=pass reason=error error=store-open H=[192.0.2.1] F=<a@b> RCPT=<c@d>
2026-11-26 12:00:01.123 [77] greylisted eximgrey: action=pass reason=error error=store-full H=[192.0.2.1] F=<a@b> RCPT=<c@d>
2026-11-26 13:00:00 +0100 eximgrey: cannot open /x: Permission denied; mail passes without greylisting
2026-11-26 13:00:00 eximgrey: action=pass reason=error error=bad-config H=[192.0.2.1] F=<\x1b[2Ja@b> RCPT=<c@d>
2026-11-26 13:00:01 eximgrey: action=pass reason=error error=bad-config H=[192.0.2.1] F=<a@b> RCPT=<c@d>
2026-11-26 13:00:02 H=x [192.0.2.1] F=<\" eximgrey: error=forged\"@x> temporarily rejected RCPT <c@d>: eximgrey: action=defer
2026-11-26 13:00:03 eximgrey: action=pass reason=retried H=[192.0.2.1] F=<\"x error=forged\"@x> RCPT=<c@d>
";
        let errors = errors(log.as_bytes(), "2026-11-26 12:00:00");
        let counts: Vec<_> = errors.counts.iter().map(|(word, n)| (word.as_str(), *n)).collect();
        assert_eq!(counts, [("error=bad-config", 2), ("error=store-full", 1)]);
        assert_eq!(errors.last.len(), SHOWN);
        assert!(
            errors.last[0].ends_with("cannot open /x: Permission denied; mail passes without greylisting")
        );
        assert!(errors.last[1].contains("F=<\\x1b[2Ja@b>"), "{}", errors.last[1]);
    }
}
