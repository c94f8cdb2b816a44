//! The statements that Exim has read, in the files where they are written. Exim prints them with their macros
//! replaced and what `.ifdef` leaves out left out, and names the file of each part, but numbers no line
//! (`exim -bP config`): so they are looked up in the files.

use super::acl::{Acl, Statement, VERBS};
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;

pub(super) type Place = (PathBuf, usize);

/// A line as Exim has read it: continued lines are one, comments are none.
pub(super) struct Line {
    pub(super) text: String,
    file: Rc<Path>,
    /// Its first and its last line in the file that Exim has read.
    read: Option<(usize, usize)>,
    /// Where the administrator finds it.
    written: Option<Place>,
}

impl Line {
    pub(super) fn first_word(&self) -> &str {
        let end = self.text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        self.text.get(..end.unwrap_or(self.text.len())).unwrap_or_default()
    }

    pub(super) fn place(&self) -> Option<Place> {
        self.written.clone()
    }

    /// The label that this line is.
    pub(super) fn label(&self) -> Option<&str> {
        let name = self.text.strip_suffix(':')?;
        (!name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')).then_some(name)
    }
}

/// A file that is read in another one.
pub(super) struct Include {
    pub(super) file: PathBuf,
    /// The file that reads it, and the line there.
    pub(super) from: Place,
}

/// A whole configuration.
#[derive(Default)]
pub(super) struct Source {
    pub(super) lines: Vec<Line>,
    pub(super) includes: Vec<Include>,
}

/// A line of a file, continued ones taken together.
struct Written {
    place: Place,
    end: usize,
    text: String,
}

/// More lines are not compared with more lines than this (it is the square of some thousands).
const MAX_COMPARED: usize = 30_000_000;

impl Source {
    /// Of the text that Exim prints. What it has read in its main file was written in the files `main`, where
    /// that file is made from others.
    pub(super) fn of(whole: &str, main: Option<&[PathBuf]>) -> Self {
        let mut source = Self::default();
        // The files that are open, each with the lines read from it so far.
        let mut open: Vec<(Rc<Path>, Vec<usize>)> = Vec::new();
        let mut closed = Vec::new();
        for text in whole.lines().map(str::trim).filter(|text| !text.is_empty()) {
            if let Some((number, file)) = marker(text) {
                let returns = open.len() > 1 && open.iter().rev().nth(1).is_some_and(|(at, _)| **at == *file);
                if returns && let Some((included, lines)) = open.pop() {
                    let (file, from) = (included.to_path_buf(), (file.to_path_buf(), number));
                    source.includes.push(Include { file, from });
                    closed.push((included, lines));
                } else if open.last().is_none_or(|(at, _)| **at != *file) {
                    open.push((file.into(), Vec::new()));
                }
            } else if let Some((file, lines)) = open.last_mut().filter(|_| !text.starts_with('#')) {
                lines.push(source.lines.len());
                let (file, text) = (file.clone(), text.to_owned());
                source.lines.push(Line { text, file, read: None, written: None });
            }
        }
        let first = open.first().map(|(file, _)| file.clone());
        for (file, lines) in closed.into_iter().chain(open) {
            let made = main.filter(|_| first.as_ref() == Some(&file));
            let written = written(&file);
            for (line, at) in source.matched(&lines, &written) {
                line.read = Some((at.place.1, at.end));
                line.written = made.is_none().then(|| at.place.clone());
            }
            if let Some(files) = made {
                let written: Vec<_> = files.iter().flat_map(|file| self::written(file)).collect();
                for (line, at) in source.matched(&lines, &written) {
                    line.written = Some(at.place.clone());
                }
            }
        }
        source
    }

    /// The lines with these indices that are found in `written`, each with where.
    fn matched<'a>(
        &mut self,
        lines: &[usize],
        written: &'a [Written],
    ) -> impl Iterator<Item = (&mut Line, &'a Written)> {
        let texts: Vec<_> =
            lines.iter().filter_map(|&at| self.lines.get(at)).map(|line| squeezed(&line.text)).collect();
        let others: Vec<_> = written.iter().map(|line| squeezed(&line.text)).collect();
        let mut found = vec![None; self.lines.len()];
        for (&line, at) in lines.iter().zip(aligned(&texts, &others)) {
            if let Some(place) = found.get_mut(line) {
                *place = at;
            }
        }
        let found = self.lines.iter_mut().zip(found);
        found.filter_map(|(line, at)| Some((line, written.get(at?)?)))
    }

    /// The fragments of ours that are read.
    pub(super) fn fragments(&self) -> impl Iterator<Item = &Include> {
        let ours = |include: &&Include| {
            let mut lines = self.lines.iter().filter(|line| *line.file == *include.file);
            lines.any(|line| line.text.contains("acl_m_eximgrey") || line.text.contains("eximgrey_library"))
        };
        self.includes.iter().filter(ours)
    }

    /// The files that were read.
    pub(super) fn files(&self) -> impl Iterator<Item = &Path> {
        let mut seen = std::collections::BTreeSet::new();
        self.lines.iter().map(|line| &*line.file).filter(move |file| seen.insert(*file))
    }

    /// The line that holds line `number` of `file`, a file that Exim has read.
    pub(super) fn at(&self, file: &Path, number: usize) -> Option<usize> {
        let here = |line: &Line| {
            *line.file == *file && line.read.is_some_and(|(first, last)| (first..=last).contains(&number))
        };
        self.lines.iter().position(here)
    }

    /// The statement of an ACL that the line with this index belongs to.
    pub(super) fn statement(&self, at: usize) -> Option<Statement<'_>> {
        let verb = |line: &Line| VERBS.contains(&line.first_word());
        let first = self.lines.get(..=at)?.iter().rposition(verb)?;
        let after = self.lines.get(first + 1..)?;
        let end = |line: &&Line| verb(line) || line.label().is_some() || line.first_word() == "begin";
        let rest = after.iter().take_while(|line| !end(line));
        Some(Statement { at: first, lines: self.lines.get(first).into_iter().chain(rest).collect() })
    }

    /// The statements of the ACLs that `value` names, as that of an option does: by itself, or in an
    /// expansion, in the order in which it names them.
    pub(super) fn acls(&self, value: &str) -> Vec<Acl<'_>> {
        let words = || value.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let begin =
            self.lines.iter().position(|line| line.text == "begin acl").map_or(self.lines.len(), |at| at + 1);
        let mut acls: Vec<Acl<'_>> = Vec::new();
        let mut inside = false;
        for (at, line) in self.lines.iter().enumerate().skip(begin) {
            if line.first_word() == "begin" {
                break;
            }
            if let Some(name) = line.label() {
                inside = words().any(|word| word == name);
                acls.extend(inside.then(|| Acl { name, statements: Vec::new() }));
            } else if let Some(acl) = acls.last_mut().filter(|_| inside) {
                acl.add(at, line);
            }
        }
        acls.sort_by_key(|acl| words().position(|word| word == acl.name));
        acls
    }
}

/// A line by which Exim says where the next ones were: `# NUMBER "FILE"`.
fn marker(text: &str) -> Option<(usize, &Path)> {
    let (number, file) = text.strip_prefix("# ")?.split_once(' ')?;
    Some((number.parse().ok()?, Path::new(file.strip_prefix('"')?.strip_suffix('"')?)))
}

/// A file's lines as Exim reads them: without comments and directives, continued ones as one.
fn written(file: &Path) -> Vec<Written> {
    let text = fs::read(file).unwrap_or_default();
    let mut lines: Vec<Written> = Vec::new();
    let mut continued = false;
    for (number, text) in (1..).zip(String::from_utf8_lossy(&text).lines()) {
        let text = text.trim();
        if text.starts_with('#') || !continued && (text.is_empty() || text.starts_with('.')) {
            continue;
        }
        let part = text.strip_suffix('\\');
        match lines.last_mut().filter(|_| continued) {
            Some(line) => {
                line.text.push_str(part.unwrap_or(text));
                line.end = number;
            }
            None => lines.push(Written {
                place: (file.into(), number),
                end: number,
                text: part.unwrap_or(text).to_owned(),
            }),
        }
        continued = part.is_some();
    }
    lines
}

fn squeezed(text: &str) -> String {
    text.split_whitespace().collect()
}

/// For each of `lines` the index of the same one in `written`, so that as many as can be are found in their
/// order, and neighbours are neighbours. Lines between found ones, with macros in them, are as far from these
/// here as there, where they are as many.
fn aligned(lines: &[String], written: &[String]) -> Vec<Option<usize>> {
    let width = written.len() + 1;
    let mut found = vec![None; lines.len()];
    if (lines.len() + 1).saturating_mul(width) > MAX_COMPARED {
        return found;
    }
    // What is found at best from here on; and whether this pair is part of it.
    let mut best = vec![(0_u32, false); (lines.len() + 1) * width];
    let at = |best: &[(u32, bool)], i: usize, j: usize| best.get(i * width + j).copied().unwrap_or_default();
    for (i, line) in lines.iter().enumerate().rev() {
        for (j, other) in written.iter().enumerate().rev() {
            let skip = at(&best, i + 1, j).0.max(at(&best, i, j + 1).0);
            let next = at(&best, i + 1, j + 1);
            let both = 2 + next.0 + u32::from(next.1);
            let pair = line == other && both >= skip;
            if let Some(cell) = best.get_mut(i * width + j) {
                *cell = (if pair { both } else { skip }, pair);
            }
        }
    }
    let (mut i, mut j) = (0, 0);
    while let Some(place) = found.get_mut(i).filter(|_| j < written.len()) {
        if at(&best, i, j).1 {
            *place = Some(j);
            (i, j) = (i + 1, j + 1);
        } else if at(&best, i + 1, j).0 >= at(&best, i, j + 1).0 {
            i += 1;
        } else {
            j += 1;
        }
    }
    fill(&mut found, written.len());
    found
}

/// Fills gaps between found lines that are as long here as there.
fn fill(found: &mut [Option<usize>], end: usize) {
    let mut start = 0;
    let mut before = 0;
    while start < found.len() {
        let gap = found.iter().skip(start).take_while(|at| at.is_none()).count();
        let after = found.get(start + gap).copied().flatten();
        if gap > 0 && after.unwrap_or(end) == before + gap {
            (before..).zip(found.iter_mut().skip(start).take(gap)).for_each(|(at, line)| *line = Some(at));
        }
        before = after.map_or(end, |at| at + 1);
        start += gap + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    /// Lines are found although some are left out, some have macros in them, and many are alike.
    #[test]
    fn lines_are_found_where_they_are_written() {
        for (lines, written, expected) in [
            ("a b c", "a b c", vec![Some(0), Some(1), Some(2)]),
            ("accept hosts deny", "accept NO accept hosts deny", vec![Some(2), Some(3), Some(4)]),
            ("accept +list deny", "accept LIST deny", vec![Some(0), Some(1), Some(2)]),
            ("accept +list deny", "accept LIST OTHER deny", vec![Some(0), None, Some(3)]),
            ("x accept", "y accept", vec![Some(0), Some(1)]),
            ("x", "", vec![Some(0)]),
        ] {
            assert_eq!(aligned(&words(lines), &words(written)), expected, "{lines} in {written}");
        }
        assert_eq!(aligned(&words("a b"), &[]), [None, None]);
    }
}
