//! The sender key: a stream of mail has one key, two people have two.
//!
//! With SRS, BATV, VERP and the bounce addresses of bulk mailers, each message has another envelope sender
//! and looks new. [`normalise`] undoes what it understands, masks what varies, and keeps the rest.
//!
//! Its steps, in order, each in a file of its own:
//! - `srs`, `batv`: undo rewriting, at most three layers deep;
//! - `account`: a few shapes whose account number is worth keeping;
//! - `recipient`, `verp`: find the recipient inside the sender;
//! - `bounce`, `token`: mask counters, cookies and identifiers;
//! - `domain`: mask machine names, when the local part was masked.
//!
//! It knows no provider by name, does not ask the network, and takes no letters for others but those of ASCII
//! in upper case.
//!
//! Addresses come from strangers, who gain by sharing the key of another: so what looks like words stays.
//! Each step is one pass over the address, and sees it in lower case only.

mod account;
mod batv;
mod bounce;
mod domain;
mod explain;
mod key;
mod recipient;
mod segment;
mod srs;
mod token;
mod verp;

pub use explain::{Explanation, Rule, Step};
pub use key::{Printable, SenderKey};

use crate::words;
use explain::Observer;
use key::Mask;

/// The longest address that rules are tried on, in bytes. RFC 5321 section 4.5.3.1 allows 64 + 1 + 255. In
/// practice nested SRS has more than the 64, but nothing honest has more than this.
pub const MAX_RULED: usize = 512;

/// How many layers of SRS and BATV are undone. Real mail shows two; more would be work for strangers.
const MAX_UNWRAPPINGS: usize = 3;

words! {
    /// How much of a sender is normalised.
    Level {
        /// Unwrap and mask: the default.
        Full = "full",
        /// Unwrap SRS and BATV only.
        Unwrap = "unwrap",
        /// ASCII lower case, and no dot at the end of the domain.
        Exact = "exact",
    }
}

/// The key of an envelope sender.
///
/// `sender` is the address without angle brackets (empty for the null sender; one pair of brackets is
/// forgiven), of any length and any bytes. `recipient`, where known, is the address it was sent to: it
/// lets a recipient inside the sender be cut exactly. Cannot fail. Takes time linear in both.
#[must_use]
pub fn normalise(sender: &[u8], recipient: Option<&[u8]>, level: Level) -> SenderKey {
    derive(sender, recipient, level, &mut ())
}

/// The same key as [`normalise`], with each step that led to it.
#[must_use]
pub fn explain(sender: &[u8], recipient: Option<&[u8]>, level: Level) -> Explanation {
    let mut steps = Vec::new();
    let key = derive(sender, recipient, level, &mut steps);
    Explanation { key, steps }
}

/// The sender's own mailbox as people write it: lower case, without a BATV signature, a dot at the end, or
/// needless quotes. SRS stays: that the author inside wrote the mail is only the forwarder's word.
#[must_use]
pub fn own_address(sender: &[u8]) -> Vec<u8> {
    let lower = sender.to_ascii_lowercase();
    let Some(mut mailbox) = Mailbox::parse(&lower) else { return lower };
    mailbox.unquote(&mut ());
    let _ = (0..MAX_UNWRAPPINGS).all(|_| batv::unwrap(&mut mailbox, &mut ()));
    [mailbox.local, b"@", mailbox.domain].concat()
}

/// An address in two parts: lower case, neither part empty.
#[derive(Clone, Copy)]
struct Mailbox<'a> {
    local: &'a [u8],
    domain: &'a [u8],
}

impl<'a> Mailbox<'a> {
    /// Splits at the last `@`: a quoted local part can hold one, a domain cannot.
    fn parse(address: &'a [u8]) -> Option<Self> {
        let (local, domain) = split_last(address, b'@')?;
        let domain = domain.strip_suffix(b".").unwrap_or(domain);
        (!local.is_empty() && !domain.is_empty()).then_some(Self { local, domain })
    }

    /// `"john.smith"` is `john.smith` (RFC 5321 section 4.1.2); where quotes are needed they stay.
    fn unquote(&mut self, observer: &mut impl Observer) {
        let content = self.local.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
        let Some(content) = content else { return };
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(byte);
        if content.split(|&byte| byte == b'.').all(|atom| !atom.is_empty() && atom.iter().all(plain)) {
            observer.step(Rule::Unquote, b"\"\"");
            self.local = content;
        }
    }
}

/// The mailbox of a forwarder that rewrote the sender. It stays, because who is inside is only its word.
struct Forwarder<'a> {
    /// Empty but where the forwarder names it (`X+SRS=...`).
    local: &'a [u8],
    domain: &'a [u8],
}

fn derive(sender: &[u8], recipient: Option<&[u8]>, level: Level, observer: &mut impl Observer) -> SenderKey {
    let lower = sender.to_ascii_lowercase();
    let address = lower.strip_prefix(b"<").and_then(|rest| rest.strip_suffix(b">")).unwrap_or(&lower);
    if key::is_reserved(address) {
        return SenderKey::set_apart(address);
    }
    let Some(mut mailbox) = Mailbox::parse(address).filter(|_| address.len() <= MAX_RULED) else {
        return SenderKey::verbatim(address);
    };

    let mut forwarders = Vec::new();
    if level != Level::Exact {
        mailbox.unquote(observer);
        for _ in 0..MAX_UNWRAPPINGS {
            let undone = srs::unwrap(&mut mailbox, &mut forwarders, observer)
                || batv::unwrap(&mut mailbox, observer)
                || srs::unwrap_own_word(&mut mailbox, &mut forwarders, observer);
            if !undone {
                break;
            }
        }
    }
    let mask = if level == Level::Full { mask(mailbox, recipient, observer) } else { None };
    SenderKey::assemble(mailbox, mask, &forwarders)
}

/// What of the mailbox is masked, if anything.
fn mask(mailbox: Mailbox, recipient: Option<&[u8]>, observer: &mut impl Observer) -> Option<Mask> {
    let Mailbox { local, domain } = mailbox;
    // A mask inside quotes would read as a valid address. A domain without a dot comes from a forwarder that
    // keeps the sender in a table of its own (srs.rs): the local part is all that names the sender.
    if local.contains(&b'"') || !(domain.contains(&b'.') || domain == b"localhost") {
        return None;
    }
    let mut mask = account::mask(local, observer);
    if mask.is_none() {
        let segments = segment::split(local);
        let embedded = recipient.and_then(|recipient| recipient::find(local, recipient));
        if let Some(span) = &embedded {
            observer.step(Rule::Recipient, slice(local, span.clone()));
        }
        let before = embedded.as_ref().map_or(local.len(), |span| span.start);
        mask = match (bounce::keyword(&segments, local, before), embedded) {
            (Some(keyword), embedded) => bounce::mask(local, &segments, keyword, embedded, observer),
            (None, Some(span)) => Some(token::mask_with_recipient(local, &segments, span, observer)),
            (None, None) => token::mask(local, &segments, domain, observer),
        };
    }
    let mut mask = mask?;
    mask.take_signs(local);
    mask.domain = domain::machine_part(domain);
    if mask.domain > 0 {
        observer.step(Rule::Machine, slice(domain, 0..mask.domain));
    }
    Some(mask)
}

/// `bytes[range]`; empty where the range is not inside, because a mistake must not panic in a mail server.
fn slice(bytes: &[u8], range: std::ops::Range<usize>) -> &[u8] {
    bytes.get(range).unwrap_or_default()
}

fn split_first(bytes: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().position(|&byte| byte == separator)?;
    Some((slice(bytes, 0..at), slice(bytes, at + 1..bytes.len())))
}

fn split_last(bytes: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().rposition(|&byte| byte == separator)?;
    Some((slice(bytes, 0..at), slice(bytes, at + 1..bytes.len())))
}

#[cfg(test)]
mod tests;
