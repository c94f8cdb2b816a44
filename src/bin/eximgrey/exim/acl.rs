//! What the statements of an ACL say, as far as it can be told without a mail.

use super::bad_recipients;
use super::source::Line;

pub(super) const VERBS: [&str; 7] = ["accept", "defer", "deny", "discard", "drop", "require", "warn"];

/// What a statement may hold that is no condition.
const MODIFIERS: [&str; 13] = [
    "add_header",
    "continue",
    "control",
    "delay",
    "endpass",
    "log_message",
    "log_reject_target",
    "logwrite",
    "message",
    "queue",
    "remove_header",
    "set",
    "udpsend",
];

/// An ACL.
pub(super) struct Acl<'a> {
    pub(super) name: &'a str,
    pub(super) statements: Vec<Statement<'a>>,
}

/// A statement of an ACL: a verb and what follows.
pub(super) struct Statement<'a> {
    /// The index of its first line among all lines.
    pub(super) at: usize,
    pub(super) lines: Vec<&'a Line>,
}

impl<'a> Acl<'a> {
    /// Adds a line, which begins a statement if it begins with a verb.
    pub(super) fn add(&mut self, at: usize, line: &'a Line) {
        if VERBS.contains(&line.first_word()) {
            self.statements.push(Statement { at, lines: vec![line] });
        } else if let Some(statement) = self.statements.last_mut() {
            statement.lines.push(line);
        }
    }

    /// The index of the statement that the line with this index belongs to.
    pub(super) fn holding(&self, at: usize) -> Option<usize> {
        self.statements.iter().position(|statement| statement.holds(at))
    }

    /// The first statement by which a stranger gets in: `known`, if nothing before it is one.
    pub(super) fn entrance(&self, known: Option<usize>) -> Option<usize> {
        let known = known.and_then(|at| self.holding(at));
        let accepts = self.statements.iter().position(Statement::accepts_strangers);
        // Where each that accepts has a condition, recipients have been verified at least.
        let verified = || Some(self.statements.iter().position(Statement::verifies)? + 1);
        known.into_iter().chain(accepts).min().or_else(verified).filter(|&at| at < self.statements.len())
    }
}

impl Statement<'_> {
    /// Whether the line with this index among all belongs to it.
    pub(super) fn holds(&self, at: usize) -> bool {
        (self.at..self.at + self.lines.len()).contains(&at)
    }

    pub(super) fn verb(&self) -> &str {
        self.lines.first().map_or("", |line| line.first_word())
    }

    /// What follows the verb, each with its name: a condition or a modifier, and its value.
    pub(super) fn clauses(&self) -> impl Iterator<Item = (&str, &str)> {
        let verb = self.verb().len();
        let texts = self.lines.iter().enumerate().map(move |(number, line)| {
            line.text.get(if number == 0 { verb } else { 0 }..).unwrap_or_default().trim()
        });
        texts.filter(|text| !text.is_empty()).map(|text| {
            let (name, value) = text.split_once('=').unwrap_or((text, ""));
            let name = name.trim();
            // "set NAME = VALUE", "! hosts = VALUE"
            let name =
                name.split_once(' ').filter(|(first, _)| *first != "!").map_or(name, |(first, _)| first);
            (name, value.trim())
        })
    }

    /// Its words, in a line.
    pub(super) fn text(&self) -> String {
        self.lines.iter().map(|line| line.text.as_str()).collect::<Vec<_>>().join(" / ")
    }

    /// Whether it accepts mail of others than hosts that are relayed for, authenticated clients, and whom the
    /// administrator has named otherwise. Of a `condition` nobody knows; the trial tells.
    pub(super) fn accepts_strangers(&self) -> bool {
        let anybody = |(name, value): (&str, &str)| match name {
            "domains" => true,
            "hosts" => value.starts_with(['!', '*']),
            // One who is looked up may be anybody; postmaster is not.
            "local_parts" | "recipients" => value.contains(['*', '/', ';', '$', '+', '^']),
            "verify" => ["recipient", "sender", "header_"].iter().any(|what| value.starts_with(what)),
            _ => name.starts_with('!') || MODIFIERS.contains(&name),
        };
        self.verb() == "accept" && self.clauses().all(anybody)
    }

    /// Whether it accepts whatever reaches it.
    pub(super) fn accepts_all(&self) -> bool {
        self.verb() == "accept" && self.clauses().all(|(name, _)| MODIFIERS.contains(&name))
    }

    fn verifies(&self) -> bool {
        self.verb() == "require"
            && self.clauses().any(|(name, value)| name == "verify" && value.starts_with("recipient"))
    }

    /// The domains that mail is taken for, if it refuses all others.
    pub(super) fn only_domains(&self) -> Option<&str> {
        let name = match self.verb() {
            "require" => "domains",
            "deny" | "drop" => "!domains",
            _ => return None,
        };
        self.clauses().find(|(found, _)| found.replace(' ', "") == name).map(|(_, value)| value)
    }

    /// The domains that it accepts mail for, if it accepts any stranger's.
    pub(super) fn accepted_domains(&self) -> Option<&str> {
        let domains = self.clauses().find(|(name, _)| *name == "domains").map(|(_, value)| value);
        domains.filter(|_| self.accepts_strangers())
    }

    /// The hosts that it accepts mail of, if it is about nothing else.
    pub(super) fn accepted_hosts(&self) -> Option<&str> {
        let mut clauses = self.clauses().filter(|(name, _)| !MODIFIERS.contains(name));
        let (name, value) = clauses.next().filter(|_| self.verb() == "accept")?;
        (name == "hosts" && !value.starts_with(['!', '*', '<']) && clauses.next().is_none()).then_some(value)
    }

    /// Its lines by which recipients that are deferred are refused for good (see `bad_recipients`).
    pub(super) fn refusing(&self) -> impl Iterator<Item = &Line> {
        let refuses = bad_recipients::REFUSING.contains(&self.verb())
            && self.lines.iter().any(|line| line.text.contains("$rcpt_count"));
        self.lines.iter().copied().filter(move |line| refuses && bad_recipients::counts(&line.text))
    }
}

#[cfg(test)]
mod tests {
    use super::super::source::Source;

    /// Whether a statement lets strangers in, and with which of them mail has to wait at the latest.
    #[test]
    fn the_place_is_before_the_first_statement_that_lets_strangers_in() {
        let sound = "deny message = no\nrequire verify = recipient\ndeny dnslists = x";
        for (text, known, expected) in [
            (format!("{sound}\naccept"), None, Some(3)),
            (format!("{sound}\naccept control = dkim_disable_verify"), None, Some(3)),
            (format!("{sound}\naccept domains = +relay_to_domains\naccept"), None, Some(3)),
            (format!("accept hosts = +relay_from_hosts\n{sound}\naccept"), None, Some(4)),
            (format!("accept authenticated = *\ncontrol = submission\n{sound}\naccept"), None, Some(4)),
            (format!("accept local_parts = postmaster\ndomains = +x\n{sound}\naccept"), None, Some(4)),
            ("accept domains = +x\nlocal_parts = lsearch;/f\ndeny".into(), None, Some(0)),
            (
                "deny\naccept domains = +local_domains\nendpass\nverify = recipient\ndeny".into(),
                None,
                Some(1),
            ),
            ("deny\naccept hosts = !+bad\naccept".into(), None, Some(1)),
            ("accept ! hosts = +bad\naccept".into(), None, Some(0)),
            // What nobody knows, the trial may.
            ("accept condition = ${if eq{1}{1}}\naccept".into(), None, Some(1)),
            ("accept condition = ${if eq{1}{1}}\naccept".into(), Some(0), Some(0)),
            // Where each has a condition, after the recipient was verified.
            (format!("{sound}\naccept hosts = +friends\ndeny"), None, Some(2)),
            ("accept hosts = +friends\ndeny".into(), None, None),
        ] {
            let whole = format!("# 1 \"/f\"\nbegin acl\na:\n{text}\nbegin routers\n");
            let source = Source::of(&whole, None);
            let acls = source.acls("a");
            let known = known.map(|at: usize| acls[0].statements[at].at);
            assert_eq!(acls[0].entrance(known), expected, "{text}");
        }
    }
}
