//! `enable --observe`: the mode in the configuration file. Without it, the mode is left alone.

use super::files::Saved;
use crate::command::{Failure, Result};
use eximgrey::rules::Mode;
use eximgrey::settings::{DEFAULT_FILE, Settings};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use toml::de::DeTable;

/// A change of the mode, planned, made, or undone.
pub(super) struct ModeChange {
    path: PathBuf,
    /// The mode that is in force when all is done.
    mode: Mode,
    /// The file as it is, and as it will be; `None` where nothing changes.
    change: Option<(Saved, String)>,
}

impl ModeChange {
    /// What there is to do. Nothing is changed yet, and nothing will be in a file with mistakes.
    pub(super) fn plan(config: Option<&Path>, observe: bool) -> Result<Self> {
        let settings = Settings::load(config).map_err(Failure::Configuration)?;
        let path = config.unwrap_or_else(|| Path::new(DEFAULT_FILE)).to_path_buf();
        let mode = if observe { Mode::Observe } else { settings.rules.mode };
        let mut plan = Self { path, mode, change: None };
        if mode != settings.rules.mode {
            let saved = Saved::of(&plan.path).map_err(|error| plan.trouble(&error))?;
            let before = String::from_utf8_lossy(saved.bytes().unwrap_or_default());
            let text = observing(&before);
            Settings::parse(&plan.path, &text).map_err(Failure::Configuration)?;
            plan.change = Some((saved, text));
        }
        Ok(plan)
    }

    pub(super) fn carry_out(&self, out: &mut impl Write) -> Result<()> {
        let Some((saved, text)) = &self.change else {
            return Ok(());
        };
        if let Some(copy) = saved.back_up().map_err(|error| self.trouble(&error))? {
            writeln!(out, "backup: {}", copy.display())?;
        }
        if let Some(dir) = self.path.parent() {
            std::fs::create_dir_all(dir).map_err(|error| self.trouble(&error))?;
        }
        saved.change(Some(text.as_bytes())).map_err(|error| self.trouble(&error))?;
        Ok(writeln!(out, "wrote: {}: mode = \"observe\"", self.path.display())?)
    }

    pub(super) fn undo(&self, out: &mut impl Write) -> Result<()> {
        let Some((saved, _)) = &self.change else {
            return Ok(());
        };
        saved.restore().map_err(|error| self.trouble(&error))?;
        Ok(writeln!(out, "undone: {}", self.path.display())?)
    }

    fn trouble(&self, error: &io::Error) -> Failure {
        Failure::Usage(format!("{}: {error}", self.path.display()))
    }

    /// Says so where nothing is deferred.
    pub(super) fn say_how_to_go_on(&self, out: &mut impl Write) -> Result<()> {
        let said = match self.mode {
            Mode::Enforce => return Ok(()),
            Mode::Observe => "observe: nothing is deferred; the log says would=defer",
            Mode::Off => "off: nothing is deferred nor recorded",
        };
        Ok(writeln!(
            out,
            "mode: {said}. To defer, set mode = \"enforce\" in {}; no reload is needed",
            self.path.display()
        )?)
    }
}

/// The text of a configuration with the mode set to observe, else unchanged.
fn observing(text: &str) -> String {
    let table = DeTable::parse(text).ok();
    let place = table.as_ref().and_then(|table| table.get_ref().get("mode")).map(toml::Spanned::span);
    let around = place.and_then(|span| Some((text.get(..span.start)?, text.get(span.end..)?)));
    match around {
        Some((before, after)) => format!("{before}\"observe\"{after}"),
        // At the top: further down, it could belong to a table.
        None => format!("mode = \"observe\"\n{text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Only the mode changes, wherever it is written; a policy's own mode stays.
    #[test]
    fn the_rest_of_the_file_stays() {
        for (before, after) in [
            ("", "mode = \"observe\"\n"),
            ("# mine\ndelay = \"1m\"\n", "mode = \"observe\"\n# mine\ndelay = \"1m\"\n"),
            ("mode='enforce'# why\n", "mode=\"observe\"# why\n"),
            ("[policy.a]\nmode = \"enforce\"\n", "mode = \"observe\"\n[policy.a]\nmode = \"enforce\"\n"),
        ] {
            assert_eq!(observing(before), after);
            let settings = Settings::parse(Path::new("f"), after).unwrap();
            assert_eq!(settings.rules.mode, Mode::Observe);
        }
    }
}
