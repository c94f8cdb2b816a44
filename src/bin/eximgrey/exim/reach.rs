//! Whether greylisting is reached, in words for the administrator: `exim enable`, `exim status` and `doctor`
//! say the same.

use super::acl::Statement;
use super::daemon::Exim;
use super::debian::HOOK;
use super::session::TEST_CLIENT;
use super::source::Source;
use super::trial::{Trial, Unreached};
use std::collections::BTreeSet;
use std::fmt;
use std::fs;

pub enum Reach {
    /// Greylisting is asked about this recipient.
    Asked(String),
    /// Mail is accepted before, or in spite of it.
    Not(String),
    /// Nothing can be said, and why.
    Unknown(String),
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asked(recipient) => {
                write!(
                    f,
                    "yes: a stranger's mail to {recipient} is asked about, in a session that is not for real"
                )
            }
            Self::Not(why) | Self::Unknown(why) => f.write_str(why),
        }
    }
}

impl Reach {
    /// Of the configuration that `exim` reads, which has greylisting in it.
    pub fn of(exim: &Exim) -> Self {
        match exim.whole_configuration() {
            Ok(whole) => Self::of_source(exim, &exim.source(&whole)),
            Err(error) => Self::Unknown(error),
        }
    }

    pub(super) fn of_source(exim: &Exim, source: &Source) -> Self {
        let trial = Trial::of(exim, source);
        if !trial.unreached.is_empty() {
            return Self::Not(unreached(source, &trial.unreached));
        }
        if let Some(recipient) = trial.asked.first() {
            return Self::Asked(recipient.clone());
        }
        before_ours(exim, source).map_or_else(|| Self::Unknown(trial.unknown()), Self::Not)
    }
}

/// What has accepted these recipients, and what to do.
fn unreached(source: &Source, recipients: &[Unreached]) -> String {
    let (left_out, before): (Vec<_>, Vec<_>) = recipients.iter().partition(|unreached| unreached.left_out);
    let mut seen = BTreeSet::new();
    let mut said: Vec<_> = before
        .iter()
        .filter(|unreached| seen.insert(&unreached.statement))
        .map(|Unreached { recipient, statement, .. }| {
            let line = statement.as_ref().and_then(|(file, line)| source.at(file, *line));
            let by = match (line.and_then(|line| source.statement(line)), statement) {
                (Some(statement), _) => shown(&statement),
                (None, Some((file, line))) => format!("{}:{line}", file.display()),
                (None, None) => "a statement that Exim does not name".into(),
            };
            format!("greylisting is not reached: {recipient} is accepted before, by {by}")
        })
        .collect();
    said.extend((!before.is_empty()).then(|| hint(source)));
    said.extend(left_out.first().map(|Unreached { recipient, .. }| {
        format!(
            "greylisting is reached, but leaves {recipient} out; exim -bh {TEST_CLIENT} shows why (is there a host list \
             relay_from_hosts? If not, set EXIMGREY_EXEMPT_HOSTS)"
        )
    }));
    said.join("\n")
}

/// A statement, and where it is.
fn shown(statement: &Statement<'_>) -> String {
    let place = statement.lines.first().and_then(|line| line.place());
    let place = place.map_or_else(String::new, |(file, line)| format!("{}:{line}: ", file.display()));
    format!("{place}\"{}\"", statement.text())
}

/// What to do about a statement that accepts before greylisting is asked.
fn hint(source: &Source) -> String {
    let include = source.fragments().find(|include| include.file.ends_with("rcpt.conf"));
    let text = include.and_then(|include| {
        let (file, line) = &include.from;
        let text = fs::read_to_string(file).ok()?;
        let text = text.lines().nth(line - 1)?.trim().to_owned();
        Some((file, line, text))
    });
    match text {
        Some((.., text)) if text.contains(HOOK) => format!("Insert before it:\n{}", guarded("rcpt.conf")),
        Some((.., text)) if text.contains("EXIMGREY_DIR") => {
            format!("Insert before it:\n{}\nThe same lines further down can go.", guarded("rcpt.conf"))
        }
        Some((file, line, text)) => format!("Move before it: {}:{line}: {text}", file.display()),
        None => "Greylisting has to come before it.".into(),
    }
}

/// The lines that read a fragment where the drop-in is.
pub(super) fn guarded(name: &str) -> String {
    format!("    .ifdef EXIMGREY_DIR\n    .include_if_exists EXIMGREY_DIR/{name}\n    .endif")
}

/// A statement before the first of ours that accepts mail of strangers, told by its words alone.
fn before_ours(exim: &Exim, source: &Source) -> Option<String> {
    let acls = source.acls(&exim.option("acl_smtp_rcpt")?);
    acls.iter().find_map(|acl| {
        let ours = |statement: &Statement<'_>| {
            statement.lines.iter().any(|line| line.text.contains("acl_m_eximgrey"))
        };
        let ours = acl.statements.iter().position(ours)?;
        let entrance = acl.entrance(None).filter(|&at| at < ours)?;
        let statement = shown(acl.statements.get(entrance)?);
        Some(format!(
            "greylisting is not reached: mail of strangers is accepted before, by {statement}\n{}",
            hint(source)
        ))
    })
}
