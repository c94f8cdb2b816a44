//! What [`explain`](super::explain) tells.

use super::SenderKey;
use crate::words;

words! {
    /// A rule that can fire. Its word is what `eximgrey normalize --why` prints; words do not change.
    Rule {
        /// The local part was quoted without need.
        Unquote = "unquote",
        /// A forwarder's rewriting undone: the original sender and the forwarder stay.
        Srs = "srs",
        /// A BATV signature removed.
        Batv = "batv",
        /// A bulk mailer's address of which the account number stays.
        Account = "account",
        /// The recipient found inside the sender.
        Recipient = "recipient",
        /// What looks like a recipient, where the recipient is not known or is another.
        Verp = "verp",
        /// Masked behind a word like `bounces`.
        Bounce = "bounce",
        /// An identifier that no person chooses.
        Token = "token",
        /// A tag behind `+` that is a token.
        PlusTag = "plus-tag",
        /// The name of one machine of many, at the front of the domain.
        Machine = "machine",
    }
}

/// One rule that fired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The rule.
    pub rule: Rule,
    /// The bytes that it took away, in lower case.
    pub taken: Vec<u8>,
}

/// A key and how it came about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The same as [`normalise`](super::normalise) gives.
    pub key: SenderKey,
    /// The rules in the order in which they fired; none where the address only became lower case.
    pub steps: Vec<Step>,
}

/// Is told of each rule that fires. `()` does not listen, and costs nothing.
pub(super) trait Observer {
    fn step(&mut self, rule: Rule, taken: &[u8]);
}

impl Observer for () {
    fn step(&mut self, _: Rule, _: &[u8]) {}
}

impl Observer for Vec<Step> {
    fn step(&mut self, rule: Rule, taken: &[u8]) {
        self.push(Step { rule, taken: taken.to_vec() });
    }
}
