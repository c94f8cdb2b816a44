//! A configuration that the administrator wrote. Nothing is changed in it; the lines are shown, with their
//! places.

use super::acl::{Acl, Statement};
use super::daemon::{Calls, Exim};
use super::debian::{self, SOURCES};
use super::fragments::Fragments;
use super::reach::guarded;
use super::source::{Place, Source};
use super::trial::Trial;
use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Lines to be inserted.
pub(super) struct Insertion {
    /// The file, and the line that they go before.
    pub(super) before: Option<Place>,
    /// The place in words.
    pub(super) place: String,
    pub(super) lines: Vec<String>,
}

impl Insertion {
    /// The place and the lines; `file` is named where the place is told in words alone.
    pub(super) fn shown(&self, file: &Path) -> String {
        let place = match &self.before {
            Some((file, line)) => format!("{}:{line}: before this line, {}", file.display(), self.place),
            None => format!("{}: {}", file.display(), self.place),
        };
        self.lines.iter().fold(place, |text, line| text + "\n    " + line)
    }
}

/// What is missing in the configuration of `exim`, which has `calls` already. It was tried in
/// `trial`. To be inserted in this order, no line number changes before it is used.
pub(super) fn missing(
    exim: &Exim,
    source: &Source,
    calls: Calls,
    trial: &Trial,
    fragments: &Fragments,
) -> Vec<Insertion> {
    let include = |name: &str| format!(".include_if_exists {}", fragments.file(name).display());
    let mut insertions = Vec::new();
    // Named lists may be given only once.
    if !source.lines.iter().any(|line| line.text.starts_with("hostlist_cache eximgrey_library")) {
        let mut lines: Vec<String> = fragments.library().into_iter().collect();
        let known =
            |line: &String| line.split_once(" = ").is_some_and(|(name, _)| exim.macro_value(name).is_some());
        lines.extend(names(exim, source, trial).into_iter().filter(|line| !known(line)));
        if exim.option(super::LIMIT).is_none() {
            lines.push("EXIMGREY_PRELOAD = 0".into());
        }
        lines.push(include("main.conf"));
        insertions.push(Insertion { before: first_begin(source), place: END_OF_MAIN.into(), lines });
    }
    if !calls.rcpt {
        insertions.push(for_rcpt(exim, source, trial, vec![include("rcpt.conf")]));
    }
    if !calls.data {
        insertions.extend(for_data(exim, source, vec![include("data.conf")]));
    }
    insertions.sort_by(|a, b| Reverse(&a.before).cmp(&Reverse(&b.before)));
    insertions
}

const END_OF_MAIN: &str = "at the end of the main section, before the first \"begin\"";

fn first_begin(source: &Source) -> Option<Place> {
    source.lines.iter().find(|line| line.first_word() == "begin")?.place()
}

/// The ACL for RCPT: of those that the option names the one that was run in `trial`, or the first.
fn rcpt_acl<'s>(exim: &Exim, source: &'s Source, trial: &Trial) -> Option<Acl<'s>> {
    let mut acls = source.acls(&exim.option("acl_smtp_rcpt")?);
    let ran = trial.line_of_acl(source);
    let holds = |acl: &Acl<'_>| ran.is_some_and(|at| acl.holding(at).is_some());
    let index = acls.iter().position(holds).unwrap_or(0);
    (index < acls.len()).then(|| acls.swap_remove(index))
}

/// Macros that `main.conf` has no right value for here.
pub(super) fn names(exim: &Exim, source: &Source, trial: &Trial) -> Vec<String> {
    let acl = rcpt_acl(exim, source, trial);
    let statements = acl.as_ref().map_or(&[][..], |acl| &acl.statements);
    let place = acl.as_ref().and_then(|acl| acl.entrance(trial.entrance(source)));
    let (before, after) = statements.split_at_checked(place.unwrap_or(0)).unwrap_or_default();
    let refuses = |statement: &Statement<'_>| statement.only_domains().is_some();
    // Behind the refusal of relaying, none that is accepted is relayed for.
    let relaying = place.is_some() && !before.iter().any(refuses);
    let after = if relaying { after } else { &[] };

    let mut hosts =
        after.iter().take_while(|statement| !refuses(statement)).filter_map(Statement::accepted_hosts);
    let domains =
        after.iter().filter_map(|statement| statement.accepted_domains().or(statement.only_domains()));
    let usual = source.lines.iter().any(|line| {
        line.text.starts_with("hostlist")
            && line.text.split([' ', '=']).any(|word| word == "relay_from_hosts")
    });
    let hosts = if usual {
        united([USUAL_HOSTS].into_iter().chain(hosts))
    } else {
        united(hosts.next().or(Some("127.0.0.1 : ::::1")).into_iter().chain(hosts))
    };
    let domains = united(domains);
    let mut names = Vec::new();
    if hosts != USUAL_HOSTS {
        names.push("# eximgrey: hosts that you relay for; they are never greylisted.".into());
        names.push(format!("EXIMGREY_EXEMPT_HOSTS = {hosts}"));
    }
    if !domains.is_empty() {
        names.push("# eximgrey: domains that you take mail for; relaying is refused further down.".into());
        names.push(format!("EXIMGREY_ACCEPTED = {domains}"));
    }
    names
}

/// The host list that the fragments leave out, if nothing else is said.
const USUAL_HOSTS: &str = "+relay_from_hosts";

/// Lists of Exim's as one.
fn united<'a>(lists: impl Iterator<Item = &'a str>) -> String {
    let mut seen = BTreeSet::new();
    lists.filter(|list| seen.insert(*list)).collect::<Vec<_>>().join(" : ")
}

/// Where greylisting at RCPT goes.
pub(super) fn for_rcpt(exim: &Exim, source: &Source, trial: &Trial, lines: Vec<String>) -> Insertion {
    let acl = rcpt_acl(exim, source, trial);
    let name = acl
        .as_ref()
        .map_or_else(|| exim.option("acl_smtp_rcpt").unwrap_or_default(), |acl| acl.name.to_owned());
    let entrance = acl.as_ref().and_then(|acl| acl.statements.get(acl.entrance(trial.entrance(source))?));
    let before = entrance.and_then(|statement| statement.lines.first()?.place());
    // Its line is not known, but its words are.
    let words = entrance
        .filter(|_| before.is_none())
        .map(|statement| format!(", here before \"{}\"", statement.text()));
    Insertion {
        before,
        place: format!(
            "in the ACL {name} (acl_smtp_rcpt), before mail of strangers is accepted{}",
            words.unwrap_or_default()
        ),
        lines: indented(lines),
    }
}

/// The line of the first statement in `file`, a part of the ACL for RCPT, that accepts mail of strangers.
pub(super) fn entrance_of(exim: &Exim, file: &Path) -> Result<Option<usize>, String> {
    let source = exim.source(&exim.whole_configuration()?);
    let known = Trial::of(exim, &source).entrance(&source);
    let acls = source.acls(&exim.option("acl_smtp_rcpt").unwrap_or_default());
    let accepts = acls
        .iter()
        .flat_map(|acl| &acl.statements)
        .filter(|statement| statement.accepts_strangers() || known.is_some_and(|at| statement.holds(at)));
    let places = accepts.filter_map(|statement| statement.lines.first()?.place());
    Ok({ places }.find(|(at, _)| at == file).map(|(_, line)| line))
}

/// Where greylisting after DATA goes.
pub(super) fn for_data(exim: &Exim, source: &Source, lines: Vec<String>) -> Vec<Insertion> {
    let mut lines = indented(lines);
    let Some(value) = exim.option("acl_smtp_data") else {
        let acls = source.lines.iter().find(|line| line.text == "begin acl").and_then(|line| line.place());
        lines.insert(0, "eximgrey_data:".into());
        lines.push("  accept".into());
        return vec![
            Insertion {
                before: first_begin(source),
                place: END_OF_MAIN.into(),
                lines: vec!["acl_smtp_data = eximgrey_data".into()],
            },
            Insertion {
                before: acls.map(|(file, line)| (file, line + 1)),
                place: "in the section of the ACLs, after \"begin acl\"".into(),
                lines,
            },
        ];
    };
    let acls = source.acls(&value);
    let acl = acls.first();
    let last = acl
        .and_then(|acl| acl.statements.last().filter(|last| last.accepts_all()).or(acl.statements.first()));
    let name = acl.map_or(value.as_str(), |acl| acl.name);
    vec![Insertion {
        before: last.and_then(|statement| statement.lines.first()?.place()),
        place: format!("in the ACL {name} (acl_smtp_data), before mail is accepted"),
        lines,
    }]
}

/// The lines to insert into ACLs of the administrator's own in a configuration that Debian generates, if any are
/// missing. The rest goes into the drop-in.
pub(super) fn for_template(exim: &Exim, calls: Calls) -> Result<Option<String>, String> {
    if calls.rcpt && calls.data || exim.configure_file().is_some_and(|file| debian::has_hook(&file)) {
        return Ok(None);
    }
    let source = exim.source(&exim.whole_configuration()?);
    let lines = |name: &str| guarded(name).lines().map(|line| line.trim().to_owned()).collect();
    let mut insertions = Vec::new();
    if !calls.rcpt {
        insertions.push(for_rcpt(exim, &source, &Trial::of(exim, &source), lines("rcpt.conf")));
    }
    if !calls.data {
        insertions.extend(for_data(exim, &source, lines("data.conf")));
    }
    insertions.sort_by(|a, b| Reverse(&a.before).cmp(&Reverse(&b.before)));
    let shown: Vec<_> = insertions.iter().map(|insertion| insertion.shown(Path::new(SOURCES))).collect();
    Ok(Some(format!("Insert these lines, in this order:\n\n{}\n\nand run this again", shown.join("\n\n"))))
}

fn indented(lines: Vec<String>) -> Vec<String> {
    lines.into_iter().map(|line| format!("  {line}")).collect()
}

/// The lines of a rule that refuses deferred recipients for good (see `bad_recipients`).
pub(super) fn refusing_lines(exim: &Exim, source: &Source) -> Vec<(PathBuf, usize, String)> {
    let acls = source.acls(&exim.option("acl_smtp_rcpt").unwrap_or_default());
    let statements = acls.iter().flat_map(|acl| &acl.statements);
    let places = statements.flat_map(|statement| statement.refusing()).filter_map(|line| line.place());
    // Of a line that goes on, the one that counts.
    let counting = places.filter_map(|(file, number)| {
        let text = fs::read_to_string(&file).ok()?;
        let lines = (1..).zip(text.lines()).skip(number - 1);
        let (number, line) = { lines }.find(|(_, line)| super::bad_recipients::counts(line))?;
        Some((file, number, line.to_owned()))
    });
    counting.collect()
}

/// The lines in the administrator's files that greylist: those that read the fragments, and macros for them.
pub(super) fn ours(source: &Source) -> Vec<(PathBuf, usize, String)> {
    let fragments: BTreeSet<_> = source.fragments().map(|include| &include.file).collect();
    let mut found = Vec::new();
    for file in source.files().filter(|file| !fragments.contains(&file.to_path_buf())) {
        let text = fs::read(file).unwrap_or_default();
        let mut in_acl = false;
        for (number, line) in (1..).zip(String::from_utf8_lossy(&text).lines()) {
            let own = line.to_ascii_lowercase().contains("eximgrey");
            // An ACL of ours ends with its "accept".
            let last = in_acl && line.trim() == "accept";
            in_acl = (in_acl || line.trim() == "eximgrey_data:") && !last;
            if own || last {
                found.push((file.to_path_buf(), number, line.to_owned()));
            }
        }
    }
    found
}
