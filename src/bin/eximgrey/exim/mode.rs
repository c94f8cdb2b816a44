//! `enable --observe` and `--enforce`: the mode in the configuration file. Without them it is left alone.

use super::Refusal;
use super::files::Saved;
use crate::command::{Failure, Result};
use eximgrey::rules::Mode;
use eximgrey::settings::{DEFAULT_FILE, Settings};
use std::io::Write;
use std::path::{Path, PathBuf};
use toml::de::DeTable;

/// A change of the mode, planned, made, or undone.
pub(super) struct ModeChange {
    path: PathBuf,
    /// The mode that the file says when all is done.
    pub(super) mode: Mode,
    /// The file as it is, and as it will be; `None` where nothing changes.
    change: Option<(Saved, String)>,
}

impl ModeChange {
    /// What there is to do. Nothing is changed yet, and nothing will be in a file with mistakes.
    pub(super) fn plan(config: Option<&Path>, wanted: Option<Mode>) -> Result<Self> {
        let settings = Settings::load(config).map_err(Failure::Configuration)?;
        let path = config.unwrap_or_else(|| Path::new(DEFAULT_FILE)).to_path_buf();
        let mode = wanted.unwrap_or(settings.rules.mode);
        let mut change = None;
        if mode != settings.rules.mode {
            let trouble = |why: &str| Failure::Usage(format!("{}: {why}", path.display()));
            let saved = Saved::of(&path).map_err(|error| trouble(&error.to_string()))?;
            let before = String::from_utf8_lossy(saved.bytes().unwrap_or_default());
            let text = with_mode(&before, mode);
            if Settings::parse(&path, &text).map_err(Failure::Configuration)?.rules.mode != mode {
                return Err(trouble(&format!(
                    "set mode = \"{}\" there yourself; nothing was changed",
                    mode.word()
                )));
            }
            change = Some((saved, text));
        }
        Ok(Self { path, mode, change })
    }

    pub(super) fn carry_out(&self, out: &mut impl Write) -> Refusal {
        let Some((saved, text)) = &self.change else {
            return Ok(());
        };
        let trouble = |error: std::io::Error| format!("{}: {error}", self.path.display());
        if let Some(copy) = saved.back_up().map_err(|error| format!("no backup of {}", trouble(error)))? {
            writeln!(out, "backup: {}", copy.display()).map_err(trouble)?;
        }
        if let Some(dir) = self.path.parent() {
            std::fs::create_dir_all(dir).map_err(trouble)?;
        }
        saved.change(Some(text.as_bytes())).map_err(trouble)?;
        writeln!(out, "wrote: {}: mode = \"{}\"", self.path.display(), self.mode.word()).map_err(trouble)
    }

    pub(super) fn undo(&self, out: &mut impl Write) -> Result<()> {
        let Some((saved, _)) = &self.change else {
            return Ok(());
        };
        let path = self.path.display();
        saved.restore().map_err(|error| Failure::Usage(format!("NOT UNDONE: {path}: {error}")))?;
        Ok(writeln!(out, "undone: {path}")?)
    }

    /// Says which mode is in force, and how to come to another.
    pub(super) fn say(&self, in_force: Mode, out: &mut impl Write) -> Result<()> {
        let config = match self.path.to_str() {
            Some(path) if path != DEFAULT_FILE => format!(" --config {path}"),
            _ => String::new(),
        };
        let to_enforce = format!("To defer: eximgrey exim enable --enforce{config}");
        let said = match in_force {
            Mode::Enforce => "mail of new senders is deferred".to_owned(),
            Mode::Observe => format!("nothing is deferred; the log says would=defer. {to_enforce}"),
            Mode::Off => format!("nothing is deferred nor recorded. {to_enforce}"),
        };
        Ok(writeln!(out, "mode: {}: {said}", in_force.word())?)
    }
}

/// The mode in which the library gave an answer about a client that it does not know.
pub(super) fn of_answer(words: &str) -> Mode {
    if words.contains(" would=") {
        Mode::Observe
    } else if words.contains(" reason=off") {
        Mode::Off
    } else {
        Mode::Enforce
    }
}

/// The text of a configuration with another mode, else unchanged.
fn with_mode(text: &str, mode: Mode) -> String {
    let quoted = format!("\"{}\"", mode.word());
    let table = DeTable::parse(text).ok();
    let keys = || table.iter().flat_map(|table| table.get_ref().iter());
    let set = keys().find(|(key, _)| key.get_ref() == "mode").map(|(_, value)| value.span());
    if let Some((before, after)) = set.and_then(|set| Some((text.get(..set.start)?, text.get(set.end..)?))) {
        return format!("{before}{quoted}{after}");
    }
    // Further down it would belong to a table.
    let tables = keys().filter(|(_, value)| value.get_ref().is_table()).map(|(key, _)| key.span().start);
    let end = tables.min().unwrap_or(text.len());
    let (before, after) =
        text.split_at_checked(place(text.get(..end).unwrap_or_default())).unwrap_or(("", text));
    let newline = if before.is_empty() || before.ends_with('\n') { "" } else { "\n" };
    format!("{before}{newline}mode = {quoted}\n{after}")
}

/// Where the mode goes in the part above the tables: below the line for it that is commented out, as in the
/// shipped file; else below the heading, a comment with an empty line after it; else at the top.
fn place(top: &str) -> usize {
    let mut end = 0;
    let mut heading = None;
    let mut in_heading = true;
    for line in top.split_inclusive('\n') {
        end += line.len();
        let comment = line.trim_start().strip_prefix('#').map(str::trim_start);
        if comment
            .and_then(|text| text.strip_prefix("mode"))
            .is_some_and(|rest| rest.trim_start().starts_with('='))
        {
            return end;
        }
        if in_heading && comment.is_none() {
            in_heading = false;
            heading = line.trim().is_empty().then_some(end);
        }
    }
    heading.unwrap_or(if in_heading { end } else { 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Only the mode changes, wherever it is written; a policy's own mode stays. It goes below a heading, and
    /// above the tables.
    #[test]
    fn the_rest_of_the_file_stays() {
        let shipped = include_str!("../../../../packaging/eximgrey.toml");
        let line = "#mode = \"enforce\"\n";
        let enabled = shipped.replacen(line, &format!("{line}mode = \"observe\"\n"), 1);
        for (before, after) in [
            ("", "mode = \"observe\"\n"),
            ("store = \"/s\"\n", "mode = \"observe\"\nstore = \"/s\"\n"),
            ("# why\ndelay = \"1m\"\n", "mode = \"observe\"\n# why\ndelay = \"1m\"\n"),
            ("# head\n# ing\n\ndelay = \"1m\"\n", "# head\n# ing\n\nmode = \"observe\"\ndelay = \"1m\"\n"),
            ("# all is comment", "# all is comment\nmode = \"observe\"\n"),
            ("mode='enforce'# why\n", "mode=\"observe\"# why\n"),
            ("[policy.a]\nmode = \"enforce\"\n", "mode = \"observe\"\n[policy.a]\nmode = \"enforce\"\n"),
            ("# head\n\n[policy.a]\n# mode = 1\n", "# head\n\nmode = \"observe\"\n[policy.a]\n# mode = 1\n"),
            (shipped, &enabled),
        ] {
            assert_eq!(with_mode(before, Mode::Observe), after);
            let settings = Settings::parse(Path::new("f"), after).unwrap();
            assert_eq!(settings.rules.mode, Mode::Observe);
            let back = with_mode(after, Mode::Enforce);
            assert_eq!(Settings::parse(Path::new("f"), &back).unwrap().rules.mode, Mode::Enforce);
        }
    }
}
