//! Where Exim's main log is, and what it was before it was rotated.

use crate::exim::daemon::Exim;
use eximgrey::time::Timestamp;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

/// Where packages put it, for a machine on which no Exim can be asked.
const USUAL: [&str; 4] =
    ["/var/log/exim4/mainlog", "/var/log/exim/mainlog", "/var/log/exim/main.log", "/var/log/exim_mainlog"];

/// The path of Exim's main log, with `%D` or `%M` where it has the date in it; `None` where Exim logs to syslog only.
pub fn main_log(exim: &Exim) -> Option<String> {
    let option = exim.option("log_file_path").unwrap_or_default();
    // An empty item is the path that Exim was built with, which Exim does not tell: mostly this one.
    let mut items = option.split(':').map(str::trim).filter(|item| *item != "syslog").peekable();
    items.peek()?;
    let named = items.find(|item| !item.is_empty()).map(str::to_owned);
    let usual = || Some(format!("{}/log/%slog", exim.option("spool_directory")?));
    Some(named.or_else(usual)?.replace("%s", "main"))
}

/// The files of Exim's main log that have been written to since then.
pub fn files(since: Option<Timestamp>) -> Result<Vec<PathBuf>, String> {
    let pattern = match Exim::find(None, None) {
        Ok(exim) => {
            let syslog = "Exim logs to syslog only; give me what `journalctl -u exim4 -o export` prints, and - as its file";
            main_log(&exim).ok_or(syslog)?
        }
        Err(trouble) => {
            let usual = USUAL.iter().find(|path| Path::new(path).exists());
            usual.ok_or(format!("{trouble}; the log can be named with --file"))?.to_string()
        }
    };
    let path = Path::new(&pattern);
    let (Some(directory), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str()))
    else {
        return Err(format!("{pattern}: no path of a log"));
    };
    let entries = fs::read_dir(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let since = since.map(|time| UNIX_EPOCH + Duration::from_secs(time.0.into()));
    let mut files = Vec::new();
    for entry in entries.flatten() {
        let fits = entry.file_name().to_str().is_some_and(|file| is_rotated(file, name));
        let written = || entry.metadata().and_then(|meta| meta.modified()).ok();
        if fits && since.is_none_or(|since| written().is_none_or(|time| time >= since)) {
            files.push(entry.path());
        }
    }
    if files.is_empty() {
        return Err(format!("{pattern}: no such log yet"));
    }
    Ok(files)
}

/// Whether a file is the log `name`, or was it: `mainlog`, `mainlog.1`, `mainlog.2.gz`, `mainlog-20261127.xz`. `%D` and `%M` are
/// digits.
fn is_rotated(file: &str, name: &str) -> bool {
    let mut rest = file;
    let mut parts = name.split("%D").flat_map(|part| part.split("%M"));
    let Some(after) = parts.next().and_then(|first| rest.strip_prefix(first)) else { return false };
    rest = after;
    for part in parts {
        let digits = rest.trim_start_matches(|c: char| c.is_ascii_digit());
        if digits.len() == rest.len() {
            return false;
        }
        let Some(after) = digits.strip_prefix(part) else { return false };
        rest = after;
    }
    let rest = [".gz", ".xz"].iter().find_map(|packed| rest.strip_suffix(packed)).unwrap_or(rest);
    rest.is_empty()
        || rest.strip_prefix(['.', '-']).is_some_and(|number| {
            !number.is_empty() && number.chars().all(|c| c.is_ascii_digit() || c == '-')
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotated_logs_are_told_from_others() {
        for file in ["mainlog", "mainlog.1", "mainlog.10.gz", "mainlog-20261127", "mainlog-20261127.xz"] {
            assert!(is_rotated(file, "mainlog"), "{file}");
        }
        for file in ["rejectlog", "mainlog.old", "mainlog.1~", "mainlog2", "mainlog.", "xmainlog"] {
            assert!(!is_rotated(file, "mainlog"), "{file}");
        }
        assert!(is_rotated("main-20261127.log.gz", "main-%D.log"));
        assert!(!is_rotated("main-.log", "main-%D.log"));
    }
}
