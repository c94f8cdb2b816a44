//! Other greylisters in Exim's configuration: mail that they and we defer waits twice.
//!
//! A statement is named where it asks a greylister and a `defer` depends on the answer, or where a `defer`
//! says that it greylists. Rate limits, block lists and what only counts or adds a header are left alone.

use super::acl::VERBS;
use super::daemon::{self, Exim};
use super::sources::Sources;
use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;

/// A greylister that Exim can be told to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Greylistd,
    Policy,
    Daemon,
    Seen,
    Table,
    Program,
    Rspamd,
    SaExim,
    Unknown,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Greylistd => "greylistd",
            Self::Policy => "a policy server, such as postgrey or sqlgrey",
            Self::Daemon => "a daemon that is asked with readsocket",
            Self::Seen => "Exim's own \"seen\"",
            Self::Table => "a table that an ACL looks into",
            Self::Program => "a program or library that an ACL calls",
            Self::Rspamd => "rspamd",
            Self::SaExim => "SpamAssassin in sa-exim",
            Self::Unknown => "by a statement that says so",
        }
    }

    const fn switch_off(self) -> &'static str {
        match self {
            Self::Greylistd => "greylistd-setup-exim4 remove (or remove these statements), and reload Exim",
            Self::Rspamd => {
                "set enabled = false; in /etc/rspamd/local.d/greylist.conf, and reload rspamd; the statement may stay, \
                 for rspamd's limits of rates"
            }
            Self::SaExim => "remove the line, and reload SpamAssassin",
            _ => "remove these statements, and reload Exim",
        }
    }
}

/// A statement of an ACL.
struct Statement<'a> {
    acl: &'a str,
    verb: &'a str,
    /// Conditions and modifiers, as Exim prints them.
    clauses: Vec<&'a str>,
}

/// A statement of another greylister.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found<'a> {
    kind: Kind,
    acl: &'a str,
    verb: &'a str,
    /// First the one that tells, then the rest, by which the statement can be found in the files as well.
    clauses: Vec<&'a str>,
}

/// Another greylister, with the places of its statements.
pub struct Other {
    kind: Kind,
    places: Vec<String>,
}

/// The other greylisters in `whole`, the whole configuration of `exim`.
pub fn at_work(exim: &Exim, whole: &str) -> Vec<Other> {
    let mut others: Vec<Other> = Vec::new();
    let found = in_acls(whole);
    let mut sources = if found.is_empty() { Sources::default() } else { Sources::of(exim) };
    for one in &found {
        let place = sources.statement(&one.clauses).map_or_else(
            || format!("{} {}", one.verb, one.clauses.first().unwrap_or(&"")),
            |(file, line)| format!("{}:{line}: {}", file.display(), one.verb),
        );
        let place = format!("{place} (ACL {})", one.acl);
        match others.iter_mut().find(|other| other.kind == one.kind) {
            Some(other) => other.places.push(place),
            None => others.push(Other { kind: one.kind, places: vec![place] }),
        }
    }
    if uses_sa_exim(whole) {
        let lines = sa_exim_greylists().into_iter();
        let places: Vec<_> = lines.map(|(file, line)| format!("{}:{line}", file.display())).collect();
        others.extend((!places.is_empty()).then_some(Other { kind: Kind::SaExim, places }));
    }
    others
}

impl Other {
    /// For people, in several lines.
    pub fn warning(&self) -> String {
        let places: String = self.places.iter().map(|place| format!("    {place}\n")).collect();
        format!(
            "warning: another greylister is still at work, and who is new to both waits twice: {}\n{places}  \
             To switch it off: {}. More: /usr/share/doc/eximgrey/moving.md\n",
            self.kind.name(),
            self.kind.switch_off()
        )
    }

    /// The same in one line.
    pub fn line(&self) -> String {
        format!(
            "another greylister is at work, {}: {}; to switch it off: {}",
            self.kind.name(),
            self.places.join(", "),
            self.kind.switch_off()
        )
    }
}

/// Clauses that only say something.
const SAYING: [&str; 3] = ["message", "log_message", "logwrite"];

/// What may ask a greylister.
const QUESTIONS: [(&str, Kind); 5] = [
    ("${readsocket{", Kind::Daemon),
    ("${lookup", Kind::Table),
    ("${run", Kind::Program),
    ("${perl", Kind::Program),
    ("${dlfunc", Kind::Program),
];

/// The statements of other greylisters in the ACLs that are in use.
pub(super) fn in_acls(whole: &str) -> Vec<Found<'_>> {
    let all = statements(whole);
    let used = acls_in_use(whole, &all);
    // Ours say eximgrey in each statement.
    let all: Vec<_> = all
        .into_iter()
        .filter(|one| used.contains(one.acl) && !one.clauses.iter().any(|clause| clause.contains("eximgrey")))
        .collect();
    let decisive = decisive_words(&all);
    let followed = all.iter().skip(1).map(Some).chain([None]);
    let mut found: Vec<_> = all
        .iter()
        .zip(followed)
        .filter_map(|(one, next)| {
            // "accept" of whom a greylister knows, and then "defer" of the rest.
            let rest =
                next.is_some_and(|next| next.verb == "defer" && next.acl == one.acl) && one.verb == "accept";
            let (kind, clause) = one.asks(rest || one.decides(&decisive)).or_else(|| one.says_so())?;
            let others = one.clauses.iter().copied().filter(|other| *other != clause);
            Some(Found {
                kind,
                acl: one.acl,
                verb: one.verb,
                clauses: [clause].into_iter().chain(others).collect(),
            })
        })
        .collect();
    // A "defer" that says so mostly belongs to a greylister that another statement asks.
    if let Some(kind) = found.iter().map(|one| one.kind).find(|kind| *kind != Kind::Unknown) {
        found.iter_mut().filter(|one| one.kind == Kind::Unknown).for_each(|one| one.kind = kind);
    }
    found
}

/// The variables and ACLs on which a `defer` depends, directly or through other statements.
fn decisive_words<'a>(all: &[Statement<'a>]) -> HashSet<&'a str> {
    let mut decisive: HashSet<&str> = HashSet::new();
    loop {
        let deciding = all.iter().filter(|one| one.decides(&decisive));
        let asked: HashSet<_> = deciding.flat_map(Statement::depends_on).collect();
        if asked.is_subset(&decisive) {
            return decisive;
        }
        decisive.extend(asked);
    }
}

impl<'a> Statement<'a> {
    /// Whether it defers, or something on which a `defer` depends.
    fn decides(&self, decisive: &HashSet<&str>) -> bool {
        let sets = |clause: &&str| {
            name(clause) == "set" && words(value(clause)).next().is_some_and(|name| decisive.contains(name))
        };
        self.verb == "defer" || decisive.contains(self.acl) || self.clauses.iter().any(sets)
    }

    /// The words of its conditions: variables that it looks at and ACLs that it calls are among them.
    fn depends_on(&self) -> Vec<&'a str> {
        let silent = |clause: &&&str| SAYING.contains(&name(clause));
        // A condition's own name, or "set" and the variable.
        let of_condition = |clause: &&'a str| words(clause).skip(if name(clause) == "set" { 2 } else { 1 });
        self.clauses.iter().filter(|clause| !silent(clause)).flat_map(of_condition).collect()
    }

    /// Which greylister it asks, and in which clause; for most it has to be `decisive`.
    fn asks(&self, decisive: bool) -> Option<(Kind, &'a str)> {
        let policy = self.clauses.iter().any(|clause| clause.contains("smtpd_access_policy"));
        self.clauses.iter().find_map(|clause| {
            let question =
                QUESTIONS.into_iter().find(|(question, _)| clause.contains(question)).map(|(_, kind)| kind);
            let kind = match question {
                Some(Kind::Daemon) if clause.contains("/greylistd/") => {
                    return Some((Kind::Greylistd, *clause));
                }
                Some(Kind::Daemon) if policy || is_policy_server(clause) => Kind::Policy,
                Some(kind) if says_grey(clause) => kind,
                _ if name(clause) == "seen" => Kind::Seen,
                _ if clause.contains("spam_action")
                    && (clause.contains("soft reject") || says_grey(clause)) =>
                {
                    Kind::Rspamd
                }
                _ => return None,
            };
            decisive.then_some((kind, *clause))
        })
    }

    /// The words in which a `defer` says that it greylists.
    fn says_so(&self) -> Option<(Kind, &'a str)> {
        let says = |clause: &&&str| SAYING.contains(&name(clause)) && says_greylisting(value(clause));
        let clause = self.clauses.iter().find(says).filter(|_| self.verb == "defer")?;
        Some((Kind::Unknown, *clause))
    }
}

/// Where Debian's postgrey and sqlgrey listen.
fn is_policy_server(clause: &str) -> bool {
    ["postgrey", "sqlgrey", ":10023}", ":2501}"].iter().any(|mark| clause.contains(mark))
}

/// The word before which a condition or modifier has its value.
fn name(clause: &str) -> &str {
    let clause = clause.trim_start_matches(['!', ' ']);
    clause.split(|c: char| c == '=' || c.is_whitespace()).next().unwrap_or_default()
}

fn value(clause: &str) -> &str {
    let from = clause.find(name(clause)).map_or(0, |at| at + name(clause).len());
    clause.get(from..).unwrap_or_default().trim_start_matches([' ', '\t', '=']).trim_end()
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

/// Whether a path, table or argument is of a greylister; lists of whom it spares are not.
fn says_grey(text: &str) -> bool {
    const SPARED: [&str; 7] = ["white", "exempt", "except", "skip", "ignore", "optout", "opt_out"];
    let text = text.to_ascii_lowercase();
    let mut paths = text.split(|c: char| !c.is_ascii_alphanumeric() && !"_-./".contains(c));
    paths.any(|path| {
        let grey = |part: &str| {
            ["grey", "gray"].contains(&part) || part.contains("greylist") || part.contains("graylist")
        };
        path.split(['_', '-', '.', '/']).any(grey) && !SPARED.iter().any(|spared| path.contains(spared))
    })
}

/// Whether a text for people speaks of greylisting.
fn says_greylisting(text: &str) -> bool {
    let text = text.to_ascii_lowercase().replace('a', "e");
    ["greylist", "grey list", "grey-list"].iter().any(|word| text.contains(word))
        && !text.contains("not greylist")
}

/// The statements of the ACLs, as Exim prints them.
fn statements(whole: &str) -> Vec<Statement<'_>> {
    let (mut acl, mut inside) = ("", false);
    let mut statements: Vec<Statement<'_>> = Vec::new();
    for line in whole.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if let Some(section) = line.strip_prefix("begin ") {
            inside = section.trim() == "acl";
        } else if inside && daemon::is_label(line) {
            acl = line.trim_end_matches(':').trim_end();
        } else if inside {
            let verb = line.split_whitespace().next().filter(|word| VERBS.contains(word));
            if let Some(verb) = verb {
                statements.push(Statement { acl, verb, clauses: Vec::new() });
            }
            let clause = line.get(verb.map_or(0, str::len)..).unwrap_or_default().trim();
            if let Some(statement) = statements.last_mut().filter(|one| one.acl == acl && !clause.is_empty())
            {
                statement.clauses.push(clause);
            }
        }
    }
    statements
}

/// The ACLs that an option of the main section leads to, or an ACL in use.
fn acls_in_use<'a>(whole: &'a str, all: &[Statement<'a>]) -> HashSet<&'a str> {
    let main = whole.lines().take_while(|line| !line.starts_with("begin "));
    let options = main.map(str::trim).filter(|line| line.starts_with("acl_"));
    let mut reached: HashSet<&str> = options.flat_map(words).collect();
    let names: HashSet<&str> = all.iter().map(|one| one.acl).collect();
    loop {
        let used: HashSet<&str> = names.intersection(&reached).copied().collect();
        let called = all.iter().filter(|one| used.contains(one.acl)).flat_map(|one| &one.clauses);
        let before = reached.len();
        reached.extend(called.flat_map(|clause| words(clause)));
        if reached.len() == before {
            return used;
        }
    }
}

fn uses_sa_exim(whole: &str) -> bool {
    let main = whole.lines().take_while(|line| !line.starts_with("begin "));
    main.map(str::trim).any(|line| name(line) == "local_scan_path" && line.contains("sa-exim"))
}

/// Where SpamAssassin loads sa-exim's plugin for greylisting.
fn sa_exim_greylists() -> Vec<(PathBuf, usize)> {
    let files = fs::read_dir("/etc/spamassassin").into_iter().flatten().flatten().map(|entry| entry.path());
    let settings = files.filter(|file| file.extension().is_some_and(|end| end == "cf" || end == "pre"));
    let loads = |line: &str| line.trim_start().starts_with("loadplugin") && line.contains("Greylisting");
    settings
        .filter_map(|file| {
            let text = fs::read_to_string(&file).ok()?;
            Some((file, text.lines().position(loads)? + 1))
        })
        .collect()
}

#[cfg(test)]
#[path = "others_tests.rs"]
mod tests;
