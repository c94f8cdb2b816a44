//! A configuration that the administrator wrote. Nothing is changed in it; the lines are shown, with their
//! places.

use super::bad_recipients;
use super::daemon::{self, Calls, Exim};
use super::fragments::Fragments;
use std::cmp::Reverse;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// Deeper, and files include each other.
const MAX_DEPTH: usize = 10;

/// Lines to be inserted.
pub(super) struct Insertion {
    /// The file, and the line that they go before.
    pub(super) before: Option<(PathBuf, usize)>,
    /// The place in words.
    pub(super) place: String,
    pub(super) lines: Vec<String>,
}

/// A line of the configuration, in the file where it is written.
struct Line {
    file: Rc<Path>,
    number: usize,
    text: String,
    /// How many `.ifdef`s it is in.
    depth: usize,
}

impl Line {
    fn first_word(&self) -> &str {
        let text = self.text.trim_start();
        let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
        text.get(..end).unwrap_or_default()
    }

    fn place(&self) -> (PathBuf, usize) {
        (self.file.to_path_buf(), self.number)
    }
}

/// What is missing in the configuration `file` of `exim`, of which `whole` is the whole text and which has
/// `calls` already. To be inserted in this order, no line number changes before it is used.
pub(super) fn missing(
    exim: &Exim,
    file: &Path,
    whole: &str,
    calls: Calls,
    fragments: &Fragments,
) -> Vec<Insertion> {
    let mut lines = Vec::new();
    read(file, MAX_DEPTH, &mut lines);
    let include = |name: &str| format!(".include_if_exists {}", fragments.file(name).display());
    let has = |name: &str| {
        let file = fragments.file(name).display().to_string();
        lines
            .iter()
            .any(|line| line.first_word().starts_with(".include") && line.text.trim().ends_with(&file))
    };

    let mut insertions = Vec::new();
    if !has("main.conf") {
        let mut text: Vec<String> = fragments.library().into_iter().collect();
        if !whole.lines().any(|line| line.starts_with("hostlist") && line.contains(" relay_from_hosts")) {
            text.push("# Hosts that you relay for; they are never greylisted.".into());
            text.push("EXIMGREY_EXEMPT_HOSTS = 127.0.0.1 : ::::1".into());
        }
        if exim.option("smtp_accept_max_per_host").is_none() {
            text.push("EXIMGREY_PRELOAD = 0".into());
        }
        text.push(include("main.conf"));
        let begin = lines.iter().find(|line| line.first_word() == "begin");
        insertions.push(Insertion {
            before: begin.map(Line::place),
            place: "at the end of the main section, before the first \"begin\"".into(),
            lines: text,
        });
    }
    if !calls.rcpt {
        let name = exim.option("acl_smtp_rcpt").unwrap_or_default();
        let acl = acl(&lines, &name);
        insertions.push(Insertion {
            before: acl.and_then(after_verification).map(Line::place),
            place: format!(
                "in the ACL {name} (acl_smtp_rcpt), where relaying is refused and the recipient verified, and before \
                 mail is accepted"
            ),
            lines: vec![format!("  {}", include("rcpt.conf"))],
        });
    }
    if !calls.data {
        insertions.extend(for_data(exim, &lines, &format!("  {}", include("data.conf"))));
    }
    insertions.sort_by(|a, b| Reverse(&a.before).cmp(&Reverse(&b.before)));
    insertions
}

fn for_data(exim: &Exim, lines: &[Line], include: &str) -> Vec<Insertion> {
    let begin = |line: &&Line| line.first_word() == "begin";
    let include = include.to_owned();
    let Some(name) = exim.option("acl_smtp_data") else {
        let first = lines.iter().find(begin).map(Line::place);
        let acls = lines.iter().position(|line| line.text.trim() == "begin acl");
        let first_acl = acls.and_then(|acls| lines.get(acls + 1)).map(Line::place);
        return vec![
            Insertion {
                before: first,
                place: "at the end of the main section, before the first \"begin\"".into(),
                lines: vec!["acl_smtp_data = eximgrey_data".into()],
            },
            Insertion {
                before: first_acl,
                place: "in the section of the ACLs, after \"begin acl\"".into(),
                lines: vec!["eximgrey_data:".into(), include, "  accept".into()],
            },
        ];
    };
    let acl = acl(lines, &name);
    let end = acl.and_then(|acl| last_accept(acl).or(acl.first()));
    let place = format!("in the ACL {name} (acl_smtp_data), before mail is accepted");
    vec![Insertion { before: end.map(Line::place), place, lines: vec![include] }]
}

/// The lines of a rule that refuses deferred recipients for good (see `bad_recipients`), in the ACL `name`.
pub(super) fn refusing_lines(file: &Path, name: &str) -> Vec<(PathBuf, usize, String)> {
    let mut lines = Vec::new();
    read(file, MAX_DEPTH, &mut lines);
    let statements = acl(&lines, name).map(statements).unwrap_or_default();
    let refuses = |statement: &&[Line]| {
        bad_recipients::REFUSING.contains(&statement.first().map_or("", Line::first_word))
            && statement.iter().any(|line| line.text.contains("$rcpt_count"))
    };
    let counting = |line: &&Line| !line.text.trim().starts_with('#') && bad_recipients::counts(&line.text);
    let lines = statements.into_iter().filter(refuses).flatten().filter(counting);
    lines.map(|line| (line.file.to_path_buf(), line.number, line.text.clone())).collect()
}

/// Where the fragments are read: file and line of each include.
pub(super) fn includes(file: &Path) -> Vec<(PathBuf, usize, String)> {
    let mut lines = Vec::new();
    read(file, MAX_DEPTH, &mut lines);
    let ours = |line: &&Line| {
        let text = line.text.trim();
        text.starts_with(".include") && text.contains("eximgrey")
    };
    lines.iter().filter(ours).map(|line| (line.file.to_path_buf(), line.number, line.text.clone())).collect()
}

/// Reads a configuration with the files it includes. Includes that are named by a macro are left out; so are
/// our own.
fn read(file: &Path, depth: usize, lines: &mut Vec<Line>) {
    let Some(text) = fs::read(file).ok().filter(|_| depth > 0) else {
        return;
    };
    let name: Rc<Path> = file.into();
    let mut ifdefs = 0_usize;
    for (number, text) in (1..).zip(String::from_utf8_lossy(&text).lines()) {
        let word = text.trim();
        if word.starts_with(".if") {
            ifdefs += 1;
        } else if word.starts_with(".endif") {
            ifdefs = ifdefs.saturating_sub(1);
        }
        lines.push(Line { file: name.clone(), number, text: text.into(), depth: ifdefs });
        let included = word.strip_prefix(".include_if_exists").or(word.strip_prefix(".include"));
        if let Some(included) = included.filter(|included| !included.contains("eximgrey")) {
            read(Path::new(included.trim()), depth - 1, lines);
        }
    }
}

/// The lines of the ACL `name`, from the one after its label.
fn acl<'a>(lines: &'a [Line], name: &str) -> Option<&'a [Line]> {
    let label = format!("{name}:");
    let start = lines.iter().position(|line| line.text.trim() == label)? + 1;
    let rest = lines.get(start..)?;
    let end = rest.iter().position(|line| daemon::is_label(&line.text) || line.first_word() == "begin");
    rest.get(..end.unwrap_or(rest.len()))
}

pub(super) const VERBS: [&str; 7] = ["accept", "defer", "deny", "discard", "drop", "require", "warn"];

/// What a statement may hold that is no condition.
const MODIFIERS: [&str; 9] = [
    "message",
    "log_message",
    "logwrite",
    "control",
    "set",
    "add_header",
    "remove_header",
    "delay",
    "log_reject_target",
];

/// The statements of an ACL, each from its verb on.
fn statements(acl: &[Line]) -> Vec<&[Line]> {
    let mut continued = false;
    let mut starts = Vec::new();
    for (index, line) in acl.iter().enumerate() {
        if !continued && VERBS.contains(&line.first_word()) {
            starts.push(index);
        }
        continued = line.text.trim_end().ends_with('\\');
    }
    let ends = starts.iter().skip(1).copied().chain([acl.len()]);
    starts.iter().zip(ends).filter_map(|(&start, end)| acl.get(start..end)).collect()
}

/// What a statement says: its lines without the verb, comments and continuations.
fn clauses(statement: &[Line]) -> Vec<&str> {
    let mut continued = false;
    let mut clauses = Vec::new();
    for (index, line) in statement.iter().enumerate() {
        let text = line.text.trim();
        let text =
            if index == 0 { text.get(line.first_word().len()..).unwrap_or_default().trim() } else { text };
        if !continued && !text.is_empty() && !text.starts_with(['#', '.']) {
            clauses.push(text);
        }
        continued = line.text.trim_end().ends_with('\\');
    }
    clauses
}

/// The last statement, if it accepts whatever reaches it.
fn last_accept(acl: &[Line]) -> Option<&Line> {
    let last = *statements(acl).last()?;
    let verb = last.first().filter(|line| line.first_word() == "accept" && line.depth == 0)?;
    let modifier =
        |clause: &&str| MODIFIERS.contains(&clause.split([' ', '\t', '=']).next().unwrap_or_default());
    clauses(last).iter().all(modifier).then_some(verb)
}

/// Where recipients have been verified: before a last accept without conditions, or after `require verify =
/// recipient`.
fn after_verification(acl: &[Line]) -> Option<&Line> {
    let statements = statements(acl);
    let verifies = |statement: &&[Line]| {
        let squeezed = |clause: &&str| clause.replace([' ', '\t'], "").starts_with("verify=recipient");
        statement.first().is_some_and(|line| line.first_word() == "require" && line.depth == 0)
            && clauses(statement).iter().any(squeezed)
    };
    last_accept(acl).or_else(|| {
        let verification = statements.iter().position(verifies)?;
        statements.get(verification + 1)?.first().filter(|line| line.depth == 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<Line> {
        let line = |(number, text): (usize, &str)| Line {
            file: Path::new("/f").into(),
            number: number + 1,
            text: text.into(),
            depth: usize::from(text.ends_with("# in")),
        };
        text.lines().enumerate().map(line).collect()
    }

    /// The place for RCPT is before an unconditional accept at the end, else after the verification, else
    /// nobody knows.
    #[test]
    fn the_place_is_found_or_not_named() {
        let sound =
            "  deny message = no \\\n accept\n  require verify = recipient\n  # accept\n  deny dnslists = x";
        let cases = [
            (format!("{sound}\n  accept\n"), Some(6)),
            (format!("{sound}\n  accept   control = dkim_disable_verify\n  # end\n"), Some(6)),
            (format!("{sound}\n  accept  hosts = +friends\n  deny\n"), Some(5)),
            (format!("{sound}\n  accept # in\n"), Some(5)),
            ("  accept domains = +local_domains\n endpass\n verify = recipient\n  deny".into(), None),
            (String::new(), None),
        ];
        for (text, expected) in cases {
            let lines = lines(&text);
            assert_eq!(after_verification(&lines).map(|line| line.number), expected, "{text}");
        }
    }

    /// An ACL ends where the next one or another section begins.
    #[test]
    fn an_acl_ends_at_the_next() {
        let lines =
            lines("begin acl\na:\n  accept\nb:\n  deny\n  accept\nbegin routers\nr:\n  driver = accept\n");
        let last = |name| last_accept(acl(&lines, name)?).map(|line| line.number);
        assert_eq!([last("a"), last("b"), last("c")], [Some(3), Some(6), None]);
    }
}
