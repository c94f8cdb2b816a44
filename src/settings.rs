//! The configuration: what it holds, and the rules that it gives for a call.

mod file;

pub use file::Problem;

use crate::identity::Prefixes;
use crate::learned::SignWords;
use crate::request::{Misuse, Request};
use crate::rules::{Mode, RuleChanges, Rules};
use crate::time::Seconds;
use crate::triplet::Triplet;
use crate::value::{Value, Written};
use crate::words::Word;
use std::collections::BTreeMap;
use std::path::PathBuf;

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
    /// `signs`: the words that calls may give.
    pub signs: SignWords,
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
    /// The most records of what is known that are kept.
    pub max_known: u64,
    /// Keep no readable address.
    pub privacy: bool,
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self {
            path: PathBuf::from(DEFAULT_STORE),
            // A write takes a flush of the disk at most; whoever holds the lock for longer is stopped or in
            // trouble.
            lock_timeout: Seconds(1),
            // About 1.5 GB on disk: a flood of a thousand attempts a second for almost three hours.
            max_pending: 10_000_000,
            // About 2 GB on disk: a million networks and five million triplets with two identities each are
            // fewer.
            max_known: 10_000_000,
            privacy: false,
        }
    }
}

impl Settings {
    /// The rules for a call: the file's, a named policy over them, the call's own options over both. A call
    /// that names no policy has that of the recipient, of its address without extension, or of its domain.
    ///
    /// # Errors
    /// There is no such policy, or mail could be lost by these rules.
    pub fn rules_for(
        &self,
        policy: Option<&[u8]>,
        recipient: &[u8],
        options: &RuleChanges,
    ) -> Result<Rules, Misuse> {
        let unknown = |name| Misuse::found(&[&b"policy="[..], name].concat(), "a policy of the file");
        let changes = match policy.or_else(|| self.policy_of(recipient)) {
            Some(name) => self.policy(name).ok_or_else(|| unknown(name))?,
            None => RuleChanges::default(),
        };
        let rules = options.on(changes.on(self.rules));
        rules.fault().map_or(Ok(rules), |fault| Err(Misuse::option(fault)))
    }

    /// The triplet that a call asks about; `None` for a local submission.
    ///
    /// # Errors
    /// A sign that is none of the file's.
    pub fn triplet<'a>(&self, request: &Request<'a>, rules: &Rules) -> Result<Option<Triplet<'a>>, Misuse> {
        let misuse = |expected: String| Misuse::found(&[&b"sign="[..], request.signs].concat(), &expected);
        let signs = self.signs.read(request.signs).map_err(misuse)?;
        let triplet = request.triplet(self.prefixes, rules.sender_key);
        Ok(triplet.map(|triplet| Triplet { signs, ..triplet }))
    }

    /// A policy of the file, or one that every configuration has: those only set the mode.
    fn policy(&self, name: &[u8]) -> Option<RuleChanges> {
        let named = self.policies.iter().find(|(known, _)| known.as_bytes() == name);
        let built_in = || Some(RuleChanges { mode: Some(Mode::from_word(name)?), ..Default::default() });
        named.map(|(_, changes)| *changes).or_else(built_in)
    }

    /// Takes one of the settings that are no rules; as [`RuleChanges::take`].
    fn take(&mut self, key: &[u8], written: Written<'_>) -> Option<Result<(), String>> {
        let Self { store, prefixes, .. } = self;
        Some(match key {
            b"store" => written.path().map(|path| store.path = path.into()),
            b"ipv4_prefix" => written.read(1..=32).map(|bits| prefixes.ipv4 = bits),
            b"ipv6_prefix" => written.read(1..=128).map(|bits| prefixes.ipv6 = bits),
            // Longer, and clients time out before they are answered.
            b"lock_timeout" => written.read(..=Seconds::MINUTE).map(|time| store.lock_timeout = time),
            b"max_pending" => written.read(1..).map(|most| store.max_pending = most),
            b"max_known" => written.read(1..).map(|most| store.max_known = most),
            b"privacy" => written.read(..).map(|privacy| store.privacy = privacy),
            _ => return None,
        })
    }

    /// Each key with what it is, the rules first, in the order of the manual. Policies and recipients are not
    /// among them.
    #[must_use]
    pub fn shown(&self) -> Vec<(&'static str, String)> {
        let Self { rules, store, prefixes, signs, .. } = self;
        let mut shown = rules.shown();
        shown.extend([
            ("store", format!("{:?}", store.path)),
            ("ipv4_prefix", prefixes.ipv4.shown()),
            ("ipv6_prefix", prefixes.ipv6.shown()),
            ("lock_timeout", store.lock_timeout.shown()),
            ("max_pending", store.max_pending.shown()),
            ("max_known", store.max_known.shown()),
            ("privacy", store.privacy.shown()),
            ("signs", format!("{:?}", signs.words())),
        ]);
        shown
    }

    /// All that a configuration file may have at its top.
    #[must_use]
    pub fn keys() -> Vec<&'static str> {
        let keys = Self::default().shown().into_iter().map(|(key, _)| key);
        keys.chain(["[policy.NAME]", "[recipients]"]).collect()
    }

    fn policy_of(&self, recipient: &[u8]) -> Option<&[u8]> {
        if self.recipients.is_empty() {
            return None;
        }
        let recipient = recipient.to_ascii_lowercase();
        let domain = recipient.rsplit(|&byte| byte == b'@').next().unwrap_or_default();
        let plain = self.rules.recipient_delimiter.without_extension(&recipient);
        let keys = [Some(&recipient[..]), plain.as_deref(), Some(domain)];
        keys.into_iter().flatten().find_map(|key| self.recipients.get(key)).map(String::as_bytes)
    }
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
