//! The files that Exim's configuration is made of, to tell the administrator where something stands.

use super::acl::VERBS;
use super::daemon::Exim;
use super::debian::Layout;
use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// Deeper, and files include each other.
const MAX_DEPTH: usize = 10;

#[derive(Default)]
pub(super) struct Sources {
    lines: Vec<Line>,
    /// The lines that have been named.
    named: HashSet<usize>,
}

/// A line with those that continue it.
struct Line {
    file: Rc<Path>,
    number: usize,
    /// Without blanks.
    text: String,
    verb: bool,
}

impl Sources {
    /// The files that are edited, in their order: on Debian the generated one is made of others.
    pub(super) fn of(exim: &Exim) -> Self {
        let mut sources = Self::default();
        let file = exim.option("configure_file").map(PathBuf::from).unwrap_or_default();
        let files = Layout::of(&file).map_or_else(|| vec![file], Layout::sources);
        files.iter().for_each(|file| sources.read(exim, file, MAX_DEPTH));
        sources
    }

    fn read(&mut self, exim: &Exim, path: &Path, depth: usize) {
        let Some(text) = fs::read(path).ok().filter(|_| depth > 0) else {
            return;
        };
        let file: Rc<Path> = path.into();
        let mut continued = false;
        for (number, line) in (1..).zip(String::from_utf8_lossy(&text).lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (text, goes_on) = line.strip_suffix('\\').map_or((line, false), |text| (text, true));
            let squeezed = squeezed(text);
            match self.lines.last_mut().filter(|_| continued) {
                Some(last) => last.text.push_str(&squeezed),
                None => {
                    let verb = line.split_whitespace().next().is_some_and(|word| VERBS.contains(&word));
                    self.lines.push(Line { file: file.clone(), number, text: squeezed, verb });
                }
            }
            continued = goes_on;
            let included = line.strip_prefix(".include_if_exists").or(line.strip_prefix(".include"));
            if let Some(included) = included.map(str::trim).filter(|name| !name.contains("EXIMGREY")) {
                let named = exim.macro_value(included).unwrap_or_else(|| included.into());
                self.read(exim, Path::new(&named), depth - 1);
            }
        }
    }

    /// The line where the next statement with these clauses begins: the first tells it from others. If it is
    /// not found, because a macro is in it, another one will do that stands only once.
    pub(super) fn statement(&mut self, clauses: &[&str]) -> Option<(PathBuf, usize)> {
        let (lines, named) = (&self.lines, &self.named);
        let at = |clause: &str| {
            let clause = squeezed(clause);
            let fits =
                |(index, line): &(usize, &Line)| !named.contains(index) && line.text.ends_with(&clause);
            lines.iter().enumerate().filter(fits).map(|(index, _)| index).collect::<Vec<_>>()
        };
        let (first, others) = clauses.split_first()?;
        let alone = |clause: &&str| at(clause).try_into().ok().map(|[only]: [usize; 1]| only);
        let clause = at(first).first().copied().or_else(|| others.iter().find_map(alone))?;
        self.named.insert(clause);
        let begin = self.lines.get(..=clause)?.iter().rfind(|line| line.verb)?;
        Some((begin.file.to_path_buf(), begin.number))
    }
}

fn squeezed(text: &str) -> String {
    text.split_whitespace().collect()
}
