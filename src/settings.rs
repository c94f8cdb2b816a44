//! The configuration file (`eximgrey.toml`): text in, [`Settings`] out. Every problem is named with its line and
//! what was expected; a file that cannot be read whole gives no settings at all.

use crate::identity::Prefixes;
use crate::policy::{Mode, Rules};
use crate::sender::Level;
use crate::time::Seconds;
use std::collections::BTreeMap;
use std::fmt;
use std::io::ErrorKind;
use std::ops::Range;
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Where the file is looked for when no other is named. It need not exist.
pub const DEFAULT_FILE: &str = "/etc/eximgrey/eximgrey.toml";

/// Where the store is when the file names no other.
pub const DEFAULT_STORE: &str = "/var/lib/eximgrey";

/// The whole configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The rules when no policy is named.
    pub rules: Rules,
    /// The store.
    pub store: StoreSettings,
    /// What of an address names a client network.
    pub prefixes: Prefixes,
    /// `[policy.NAME]`: rules of their own for calls with `policy=NAME`.
    pub policies: Vec<(String, RuleChanges)>,
    /// `[recipients]`: the policies of recipients and of their domains, in lower case.
    pub recipients: BTreeMap<Vec<u8>, String>,
}

/// What concerns the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreSettings {
    /// Its directory.
    pub path: PathBuf,
    /// How long to wait for another writer.
    pub lock_timeout: Seconds,
    /// The most first attempts that are kept.
    pub max_pending: u64,
    /// Keep no readable address.
    pub privacy: bool,
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self {
            path: PathBuf::from(DEFAULT_STORE),
            // A write takes a flush of the disk at most; whoever holds the lock for longer is stopped or in trouble.
            lock_timeout: Seconds(1),
            // About 1.5 GB on disk: a flood of a thousand attempts a second for almost three hours.
            max_pending: 10_000_000,
            privacy: false,
        }
    }
}

/// Rules that a named policy or the options of a call put in place of others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RuleChanges {
    /// Instead of [`Rules::mode`].
    pub mode: Option<Mode>,
    /// Instead of [`Rules::delay`].
    pub delay: Option<Seconds>,
    /// Instead of [`Rules::window`].
    pub window: Option<Seconds>,
    /// Instead of [`Rules::lifetime`].
    pub lifetime: Option<Seconds>,
    /// Instead of [`Rules::auto_after`].
    pub auto_after: Option<u32>,
    /// Instead of [`Rules::sender_key`].
    pub sender_key: Option<Level>,
    /// Instead of [`Rules::trust_known_domains`].
    pub trust_known_domains: Option<bool>,
    /// Instead of [`Rules::replied_domain`].
    pub replied_domain: Option<bool>,
    /// Instead of [`Rules::trap_time`].
    pub trap_time: Option<Seconds>,
}

impl RuleChanges {
    /// `base` with the changes.
    #[must_use]
    pub fn on(&self, base: Rules) -> Rules {
        Rules {
            mode: self.mode.unwrap_or(base.mode),
            delay: self.delay.unwrap_or(base.delay),
            window: self.window.unwrap_or(base.window),
            lifetime: self.lifetime.unwrap_or(base.lifetime),
            auto_after: self.auto_after.unwrap_or(base.auto_after),
            sender_key: self.sender_key.unwrap_or(base.sender_key),
            trust_known_domains: self.trust_known_domains.unwrap_or(base.trust_known_domains),
            replied_domain: self.replied_domain.unwrap_or(base.replied_domain),
            trap_time: self.trap_time.unwrap_or(base.trap_time),
        }
    }
}

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
        let problem = |message: String| vec![Problem { path: path.into(), line: 0, message }];
        match read(path) {
            Ok(bytes) => match str::from_utf8(&bytes) {
                Ok(text) => Self::parse(path, text),
                Err(_) => Err(problem("not UTF-8 text".into())),
            },
            Err(e) if e.kind() == ErrorKind::NotFound && named.is_none() => Ok(Self::default()),
            Err(e) => Err(problem(format!("cannot be read: {e}"))),
        }
    }

    /// The settings that `text`, the content of `path`, holds.
    ///
    /// # Errors
    /// All problems of the text, in its order.
    pub fn parse(path: &Path, text: &str) -> Result<Self, Vec<Problem>> {
        let mut reader = Reader { path, text, problems: Vec::new() };
        let mut settings = Self::default();
        match DeTable::parse(text) {
            Ok(table) => reader.top(table.get_ref(), &mut settings),
            Err(e) => reader.problem(&e.span().unwrap_or_default(), e.message().into()),
        }
        if reader.problems.is_empty() {
            return Ok(settings);
        }
        reader.problems.sort_by_key(|problem| problem.line);
        Err(reader.problems)
    }

    /// The rules for a call: the file's, a named policy over them, the call's own options over both. A call that names no
    /// policy has that of the recipient, or of the recipient's domain.
    /// `None` if there is no such policy, or if mail could be lost by these rules.
    #[must_use]
    pub fn rules_for(&self, policy: Option<&[u8]>, recipient: &[u8], options: &RuleChanges) -> Option<Rules> {
        let mut rules = self.rules;
        if let Some(name) = policy.or_else(|| self.policy_of(recipient)) {
            let named = self.policies.iter().find(|(known, _)| known.as_bytes() == name);
            rules = named.map(|(_, changes)| *changes).or_else(|| built_in(name))?.on(rules);
        }
        rules = options.on(rules);
        rules.fault().is_none().then_some(rules)
    }

    fn policy_of(&self, recipient: &[u8]) -> Option<&[u8]> {
        if self.recipients.is_empty() {
            return None;
        }
        let recipient = recipient.to_ascii_lowercase();
        let domain = recipient.rsplit(|&byte| byte == b'@').next().unwrap_or_default();
        let found = self.recipients.get(&recipient).or_else(|| self.recipients.get(domain));
        found.map(String::as_bytes)
    }
}

/// Reads a file, and nothing that could keep us waiting, such as a pipe.
fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = std::fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(std::io::Error::new(ErrorKind::InvalidInput, "no regular file"));
    }
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut file, &mut bytes)?;
    Ok(bytes)
}

/// The policies that every configuration has: those that only set the mode.
fn built_in(name: &[u8]) -> Option<RuleChanges> {
    Mode::from_word(name).map(|mode| RuleChanges { mode: Some(mode), ..RuleChanges::default() })
}

/// Reads tables and collects problems.
struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
    problems: Vec<Problem>,
}

type Value<'i> = Spanned<DeValue<'i>>;

const TIME: &str = "a time such as \"5m\" or \"2d12h\"";

impl Reader<'_> {
    fn problem(&mut self, span: &Range<usize>, message: String) {
        let line = self.text.bytes().take(span.start).filter(|&b| b == b'\n').count() + 1;
        self.problems.push(Problem { path: self.path.into(), line, message });
    }

    /// Reads one value with `read`; what it cannot read is a problem that says what was `expected`.
    fn read<T>(
        &mut self,
        key: &str,
        value: &Value<'_>,
        expected: &str,
        read: impl Fn(&DeValue<'_>) -> Option<T>,
    ) -> Option<T> {
        let found = read(value.get_ref());
        if found.is_none() {
            let found = self.text.get(value.span()).map_or_else(|| value.get_ref().type_str(), str::trim);
            self.problem(&value.span(), format!("{key}: expected {expected}, found {found}"));
        }
        found
    }

    fn top(&mut self, table: &DeTable<'_>, settings: &mut Settings) {
        let mut changes = RuleChanges::default();
        let mut first = 0..0;
        for (key, value) in table {
            let (name, span) = (key.get_ref().as_ref(), key.span());
            if self.rule(name, value, &mut changes) {
                first = span;
                continue;
            }
            let store = &mut settings.store;
            match name {
                "store" => {
                    let path = |v: &DeValue<'_>| v.as_str().filter(|p| p.starts_with('/')).map(PathBuf::from);
                    set(&mut store.path, self.read(name, value, "an absolute path", path));
                }
                "ipv4_prefix" => {
                    set(
                        &mut settings.prefixes.ipv4,
                        self.read(name, value, "a number from 1 to 32", |v| integer(v, 1..=32)),
                    );
                }
                "ipv6_prefix" => {
                    set(
                        &mut settings.prefixes.ipv6,
                        self.read(name, value, "a number from 1 to 128", |v| integer(v, 1..=128)),
                    );
                }
                "lock_timeout" => {
                    // Longer, and clients time out before they are answered.
                    let short = |v: &DeValue<'_>| time(v).filter(|time| *time <= Seconds::MINUTE);
                    set(&mut store.lock_timeout, self.read(name, value, "a time of at most \"1m\"", short));
                }
                "max_pending" => {
                    let number = |v: &DeValue<'_>| integer(v, 1..=u64::MAX);
                    set(&mut store.max_pending, self.read(name, value, "a number above 0", number));
                }
                "privacy" => {
                    set(&mut store.privacy, self.read(name, value, "true or false", |v| v.as_bool()))
                }
                "policy" => settings.policies = self.policies(value),
                // Read below, when the policies are known.
                "recipients" => {}
                _ => self.problem(
                    &span,
                    format!(
                        "{name}: no such setting; expected one of {}, {}",
                        RULE_KEYS.join(", "),
                        TOP_KEYS.join(", ")
                    ),
                ),
            }
        }
        if let Some(value) = table.get("recipients") {
            settings.recipients = self.recipients(value, &settings.policies);
        }
        settings.rules = changes.on(settings.rules);
        if let Some(fault) = settings.rules.fault() {
            self.problem(&first, fault);
        }
        for (name, changes) in &settings.policies {
            if let Some(fault) = changes.on(settings.rules).fault() {
                let span = table.get("policy").map(Spanned::span).unwrap_or_default();
                self.problem(&span, format!("policy {name}: {fault}"));
            }
        }
    }

    /// Reads a key that is a rule; says whether it was one.
    fn rule(&mut self, key: &str, value: &Value<'_>, changes: &mut RuleChanges) -> bool {
        let word = |v: &DeValue<'_>| v.as_str().map(|text| text.as_bytes().to_vec());
        match key {
            "mode" => {
                let mode = |v: &DeValue<'_>| Mode::from_word(&word(v)?);
                changes.mode = self.read(key, value, "\"enforce\", \"observe\" or \"off\"", mode);
            }
            "delay" => changes.delay = self.read(key, value, TIME, time),
            "window" => changes.window = self.read(key, value, TIME, time),
            "lifetime" => changes.lifetime = self.read(key, value, TIME, time),
            "auto_after" => {
                let number = |v: &DeValue<'_>| integer(v, 0..=u32::MAX);
                changes.auto_after = self.read(key, value, "a number of passes (0: never)", number);
            }
            "sender_key" => {
                let level = |v: &DeValue<'_>| Level::from_word(&word(v)?);
                changes.sender_key = self.read(key, value, "\"full\", \"unwrap\" or \"exact\"", level);
            }
            "trust_known_domains" => {
                changes.trust_known_domains = self.read(key, value, "true or false", |v| v.as_bool());
            }
            "replied_domain" => {
                changes.replied_domain = self.read(key, value, "true or false", |v| v.as_bool())
            }
            "trap_time" => changes.trap_time = self.read(key, value, TIME, time),
            _ => return false,
        }
        true
    }

    fn recipients(
        &mut self,
        value: &Value<'_>,
        policies: &[(String, RuleChanges)],
    ) -> BTreeMap<Vec<u8>, String> {
        let mut recipients = BTreeMap::new();
        let Some(table) = value.get_ref().as_table() else {
            self.problem(&value.span(), "recipients: expected a table such as [recipients]".into());
            return recipients;
        };
        for (recipient, policy) in table {
            let known = |v: &DeValue<'_>| {
                let name = v.as_str()?;
                let there =
                    policies.iter().any(|(policy, _)| policy == name) || built_in(name.as_bytes()).is_some();
                there.then(|| name.to_owned())
            };
            let expected = "the name of a policy of this file, or \"enforce\", \"observe\" or \"off\"";
            if let Some(policy) = self.read(recipient.get_ref(), policy, expected, known) {
                recipients.insert(recipient.get_ref().to_ascii_lowercase().into_bytes(), policy);
            }
        }
        recipients
    }

    fn policies(&mut self, value: &Value<'_>) -> Vec<(String, RuleChanges)> {
        let Some(tables) = value.get_ref().as_table() else {
            self.problem(&value.span(), "policy: expected tables such as [policy.strict]".into());
            return Vec::new();
        };
        let mut policies = Vec::new();
        for (name, value) in tables {
            let Some(table) = value.get_ref().as_table() else {
                self.problem(&name.span(), format!("policy {}: expected a table of rules", name.get_ref()));
                continue;
            };
            let mut changes = RuleChanges::default();
            for (key, value) in table {
                if !self.rule(key.get_ref(), value, &mut changes) {
                    let message =
                        format!("{}: no rule; expected one of {}", key.get_ref(), RULE_KEYS.join(", "));
                    self.problem(&key.span(), message);
                }
            }
            policies.push((name.get_ref().to_string(), changes));
        }
        policies
    }
}

const RULE_KEYS: [&str; 9] = [
    "mode",
    "delay",
    "window",
    "lifetime",
    "auto_after",
    "sender_key",
    "trust_known_domains",
    "replied_domain",
    "trap_time",
];
const TOP_KEYS: [&str; 8] = [
    "store",
    "ipv4_prefix",
    "ipv6_prefix",
    "lock_timeout",
    "max_pending",
    "privacy",
    "[policy.NAME]",
    "[recipients]",
];

fn set<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

fn time(value: &DeValue<'_>) -> Option<Seconds> {
    value.as_str().and_then(|text| Seconds::parse(text.as_bytes()))
}

fn integer<T: TryFrom<u64> + PartialOrd>(
    value: &DeValue<'_>,
    range: std::ops::RangeInclusive<T>,
) -> Option<T> {
    let number = value.as_integer()?;
    let number = u64::from_str_radix(number.as_str(), number.radix()).ok()?;
    T::try_from(number).ok().filter(|n| range.contains(n))
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
