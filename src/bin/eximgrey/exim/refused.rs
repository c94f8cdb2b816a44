//! What Exim says of a configuration that it refuses, with the names of the files that are edited.

use super::debian::Layout;
use super::{LIMIT, LIMIT_HINT};
use std::fs;
use std::path::{Path, PathBuf};

/// `error`, which Exim gave for `candidate`, made of the sources of `layout`, and what to do about it.
pub(super) fn explained(error: &str, candidate: &Path, layout: Layout) -> String {
    let sources: Vec<_> = layout.sources().into_iter().map(|file| (read(&file), file)).collect();
    let error = with_true_place(error, candidate, &sources);
    let hint = if error.contains(LIMIT) {
        LIMIT_HINT.to_owned()
    } else {
        macro_set_late(&error, &sources, layout).unwrap_or_default()
    };
    format!("{error}\n{hint}").trim_end().to_owned()
}

type Sources = [(String, PathBuf)];

fn read(file: &Path) -> String {
    String::from_utf8_lossy(&fs::read(file).unwrap_or_default()).into_owned()
}

/// File and number of the lines that are wanted.
fn places(sources: &Sources, wanted: impl Fn(&str) -> bool) -> Vec<(&Path, usize)> {
    let mut places = Vec::new();
    for (text, file) in sources {
        let lines = (1..).zip(text.lines()).filter(|(_, line)| wanted(line));
        places.extend(lines.map(|(number, _)| (file.as_path(), number)));
    }
    places
}

/// Names the line that was meant, where there is only one like it.
fn with_true_place(error: &str, candidate: &Path, sources: &Sources) -> String {
    let shown = candidate.display().to_string();
    let place = || {
        let number = error.split_once(&format!(" of {shown}"))?.0.rsplit(' ').next()?;
        let made = read(candidate);
        let line = made.lines().nth(number.parse::<usize>().ok()?.checked_sub(1)?)?;
        let found = places(sources, |source| source == line);
        let [(file, at)] = found.as_slice() else { return None };
        Some(error.replace(&format!("{number} of {shown}"), &format!("{at} of {}", file.display())))
    };
    place().unwrap_or_else(|| error.replace(&shown, "the configuration that update-exim4.conf makes"))
}

/// A macro of the administrator's that is set after our file has given it its default.
fn macro_set_late(error: &str, sources: &Sources, layout: Layout) -> Option<String> {
    let (before, _) = error.split_once("\" is already defined")?;
    let name = before.rsplit('"').next()?;
    let sets = |line: &str| {
        let value = line.trim_start().strip_prefix(name).map(str::trim_start);
        value.is_some_and(|value| value.starts_with('=') && !value.starts_with("=="))
    };
    let found = places(sources, sets);
    let [(file, at)] = found.as_slice() else { return None };
    Some(format!(
        "{}:{at} sets {name}, and is read after {}, which gives it a default. Move that line into {}, which is read \
         before, and run this again",
        file.display(),
        layout.file().display(),
        layout.macros().display()
    ))
}
