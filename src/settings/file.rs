//! The configuration file: text in, [`Settings`] out. Every problem is named with its line and what was
//! expected.

use super::{DEFAULT_FILE, Settings};
use crate::learned::SignWords;
use crate::pasted;
use crate::rules::{Mode, RuleChanges, Rules};
use crate::store::may_be_trusted;
use crate::value::Written;
use crate::words::Word;
use std::fmt;
use std::io::ErrorKind;
use std::ops::Range;
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

/// One thing wrong with a configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub path: PathBuf,
    /// The line, counted from 1; 0 where no line is to blame.
    pub line: usize,
    /// What is wrong and what was expected.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        write!(f, ": {}", self.message)
    }
}

impl Settings {
    /// The settings of `named`, or of [`DEFAULT_FILE`] if that exists, or the defaults.
    ///
    /// # Errors
    /// All problems of the file. A file that was named must exist.
    pub fn load(named: Option<&Path>) -> Result<Self, Vec<Problem>> {
        let path = named.unwrap_or_else(|| Path::new(DEFAULT_FILE));
        match read(path) {
            Ok(text) => Self::parse(path, &text),
            Err(e) if e.kind() == ErrorKind::NotFound && named.is_none() => Ok(Self::default()),
            Err(e) => {
                Err(vec![Problem { path: path.into(), line: 0, message: format!("cannot be read: {e}") }])
            }
        }
    }

    /// The settings that `text`, the content of `path`, holds.
    ///
    /// # Errors
    /// All problems of the text, in its order. There are no settings where there is one.
    pub fn parse(path: &Path, text: &str) -> Result<Self, Vec<Problem>> {
        let mut reader = Reader { path, text, problems: Vec::new() };
        let mut settings = Self::default();
        let (table, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            reader.problem(error.span().unwrap_or_default(), error.message().into());
        }
        if errors.is_empty() {
            reader.top(table.get_ref(), &mut settings);
        }
        if reader.problems.is_empty() {
            return Ok(settings);
        }
        reader.problems.sort_by_key(|problem| problem.line);
        Err(reader.problems)
    }
}

/// Reads a file, and nothing that could keep us waiting, such as a pipe.
fn read(path: &Path) -> std::io::Result<String> {
    use std::os::unix::fs::OpenOptionsExt;
    let file = std::fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(std::io::Error::new(ErrorKind::InvalidInput, "no regular file"));
    }
    may_be_trusted(&meta)?;
    std::io::read_to_string(file)
}

/// A recipient or a domain as it is looked up; `*@example.net` and `@example.net` are the domain.
fn recipient_key(text: &str) -> Result<Vec<u8>, &'static str> {
    let pasted = pasted::address(text).to_ascii_lowercase();
    let key = pasted.strip_prefix(b"*@").or_else(|| pasted.strip_prefix(b"@")).unwrap_or(&pasted);
    let key = key.strip_suffix(b".").unwrap_or(key);
    let (local, domain) = match key.iter().rposition(|&byte| byte == b'@') {
        Some(at) => (key.get(..at), key.get(at + 1..).unwrap_or_default()),
        None => (None, key),
    };
    let separate =
        |bytes: &[u8]| bytes.iter().any(|byte| byte.is_ascii_whitespace() || b",;@".contains(byte));
    if domain.is_empty() && local.is_some_and(|local| !local.is_empty()) {
        return Err("an address or a domain (local@ for all domains can only be on the whitelist)");
    }
    if domain.is_empty()
        || separate(domain)
        || local.is_some_and(|local| !local.starts_with(b"\"") && separate(local))
    {
        return Err("one address or domain");
    }
    if domain.starts_with(b".") || key.contains(&b'*') {
        return Err("an address or a whole domain, and no pattern; domains below it are keys of their own");
    }
    Ok(key.to_vec())
}

type Key<'i> = Spanned<DeString<'i>>;
type Value<'i> = Spanned<DeValue<'i>>;

/// Reads tables and collects problems.
struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn problem(&mut self, span: Range<usize>, message: String) {
        let line = self.text.bytes().take(span.start).filter(|&b| b == b'\n').count() + 1;
        self.problems.push(Problem { path: self.path.into(), line, message });
    }

    fn unexpected(&mut self, key: &Key<'_>, value: &Value<'_>, expected: &str) {
        // Of a text of several lines the first: a problem is one line.
        let found = self.text.get(value.span()).and_then(|text| text.trim().lines().next());
        let found = found.unwrap_or_else(|| value.get_ref().type_str());
        self.problem(value.span(), format!("{}: expected {expected}, found {found}", key.get_ref()));
    }

    /// The tables below `key`, or the values, if there are any.
    fn below<'t, 'i>(&mut self, table: &'t DeTable<'i>, key: &str, what: &str) -> Option<&'t DeTable<'i>> {
        let value = table.get(key)?;
        let found = value.get_ref().as_table();
        if found.is_none() {
            self.problem(value.span(), format!("{key}: expected {what}"));
        }
        found
    }

    fn top(&mut self, table: &DeTable<'_>, settings: &mut Settings) {
        settings.rules = self.rules(None, table, settings).on(settings.rules);
        self.signs(table, settings);
        for (name, value) in
            self.below(table, "policy", "tables such as [policy.strict]").into_iter().flatten()
        {
            match value.get_ref().as_table() {
                Some(rules) => {
                    let changes = self.rules(Some(name.get_ref()), rules, settings);
                    settings.policies.push((name.get_ref().to_string(), changes));
                }
                None => {
                    self.problem(name.span(), format!("policy {}: expected a table of rules", name.get_ref()))
                }
            }
        }
        // Behind the policies, which they name.
        for (recipient, value) in
            self.below(table, "recipients", "a table such as [recipients]").into_iter().flatten()
        {
            match value.get_ref().as_str().filter(|name| settings.policy(name.as_bytes()).is_some()) {
                Some(policy) => match recipient_key(recipient.get_ref()) {
                    Ok(key) => {
                        let before = settings.recipients.insert(key, policy.to_owned());
                        if before.is_some_and(|before| before != policy) {
                            let message =
                                format!("{}: is there twice, with two policies", recipient.get_ref());
                            self.problem(recipient.span(), message);
                        }
                    }
                    Err(expected) => {
                        let message = format!("recipients {:?}: expected {expected}", recipient.get_ref());
                        self.problem(recipient.span(), message);
                    }
                },
                None => {
                    let expected = format!("the name of a policy of this file, or {}", Mode::expected());
                    self.unexpected(recipient, value, &expected);
                }
            }
        }
    }

    fn signs(&mut self, table: &DeTable<'_>, settings: &mut Settings) {
        let Some((key, value)) = table.get_key_value("signs") else { return };
        let words = value.get_ref().as_array().and_then(|words| {
            words.iter().map(|word| word.get_ref().as_str().map(str::to_owned)).collect::<Option<_>>()
        });
        let words = words.ok_or_else(|| "a list of words such as [\"dnsbl\", \"helo\"]".to_owned());
        match words.and_then(SignWords::new) {
            Ok(words) => settings.signs = words,
            Err(expected) => self.unexpected(key, value, &expected),
        }
    }

    /// Reads the rules of a policy, or those at the top of the file, where all settings are.
    fn rules(&mut self, policy: Option<&str>, table: &DeTable<'_>, settings: &mut Settings) -> RuleChanges {
        let mut changes = RuleChanges::default();
        for (key, value) in table {
            let text = match value.get_ref() {
                DeValue::String(text) => text.clone(),
                DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix())
                    .map_or("".into(), |number| number.to_string().into()),
                _ => self.text.get(value.span()).unwrap_or_default().into(),
            };
            if let Some(policy) = policy.filter(|_| key.get_ref() == Rules::AT_TOP) {
                let message =
                    format!("policy {policy}: {} stands at the top of the file alone", Rules::AT_TOP);
                self.problem(key.span(), message);
                continue;
            }
            let written = Written { text: text.as_bytes(), quoted: Some(value.get_ref().is_str()) };
            let name = key.get_ref().as_bytes();
            let taken = match (changes.take(name, written), policy) {
                (None, None) => settings.take(name, written),
                (taken, _) => taken,
            };
            match taken {
                Some(Ok(())) => {}
                Some(Err(expected)) => self.unexpected(key, value, &expected),
                None if policy.is_none() && matches!(name, b"policy" | b"recipients" | b"signs") => {}
                None => {
                    let (what, keys) = match policy {
                        Some(_) => {
                            let keys = Rules::KEYS.iter().copied().filter(|key| *key != Rules::AT_TOP);
                            ("rule", keys.collect())
                        }
                        None => ("such setting", Settings::keys()),
                    };
                    let message =
                        format!("{}: no {what}; expected one of {}", key.get_ref(), keys.join(", "));
                    self.problem(key.span(), message);
                }
            }
        }
        let times = [("window", changes.window), ("delay", changes.delay)];
        // A time that cannot be read is a problem already, and what is in force in its place says nothing.
        let all_read = times.iter().all(|(key, time)| time.is_some() == table.contains_key(*key));
        let to_blame = times.iter().find_map(|(key, _)| table.get(*key)).filter(|_| all_read);
        if let (Some(value), Some(fault)) = (to_blame, changes.on(settings.rules).fault()) {
            let policy = policy.map(|name| format!("policy {name}: ")).unwrap_or_default();
            self.problem(value.span(), policy + &fault);
        }
        changes
    }
}
