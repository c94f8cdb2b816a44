//! What [`explain`](super::explain) tells.

use super::SenderKey;

/// A rule that can fire. `eximgrey normalize --why` prints its name, which does not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// The local part was quoted without need.
    Unquote,
    /// A forwarder's rewriting undone: the original sender and the forwarder stay.
    Srs,
    /// A BATV signature removed.
    Batv,
    /// A bulk mailer's address of which the account number stays.
    Account,
    /// The recipient found inside the sender.
    Recipient,
    /// What looks like a recipient, where the recipient is not known or is another.
    Verp,
    /// Masked behind a word like `bounces`.
    Bounce,
    /// An identifier that no person chooses.
    Token,
    /// A tag behind `+` that is a token.
    PlusTag,
    /// The name of one machine of many, at the front of the domain.
    Machine,
}

impl Rule {
    /// The fixed word for the rule.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unquote => "unquote",
            Self::Srs => "srs",
            Self::Batv => "batv",
            Self::Account => "account",
            Self::Recipient => "recipient",
            Self::Verp => "verp",
            Self::Bounce => "bounce",
            Self::Token => "token",
            Self::PlusTag => "plus-tag",
            Self::Machine => "machine",
        }
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
