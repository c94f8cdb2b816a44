//! The key itself: how what was kept is put together, and how it is printed.
//!
//! A key is the address with [`MASK`] in the place of each part that was taken away; for each forwarder,
//! [`MASK`] and its mailbox follow:
//!
//! ```text
//! list-bounces+ MASK @lists.example.org
//! alice@example.org MASK @forwarder.example
//! ```

use std::fmt;
use std::ops::Range;

use super::{Forwarder, Mailbox, slice};

/// Stands for what was taken away. Exim's strings end at it, so no address of Exim's holds it.
const MASK: u8 = 0;

/// A normalised sender.
///
/// It prints as [`Printable`] does, with `\*` for a masked part and `<>` for the null sender. Different keys
/// print differently, and one with a masked part is no valid address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SenderKey {
    bytes: Vec<u8>,
}

/// What is taken out of a mailbox.
pub(super) struct Mask {
    /// The part of the local part that goes.
    pub(super) local: Range<usize>,
    /// A part within it that stays (an account number between two tokens); empty for none.
    pub(super) kept: Range<usize>,
    /// The length of what goes at the front of the domain; 0 for none.
    pub(super) domain: usize,
}

impl Mask {
    pub(super) fn local(local: Range<usize>) -> Self {
        Self { local, kept: 0..0, domain: 0 }
    }

    /// Of several signs before the mask one stays, and none at the start: base64 can begin with signs.
    pub(super) fn take_signs(&mut self, local: &[u8]) {
        let before = slice(local, 0..self.local.start);
        let signs = before.iter().rev().take_while(|&&byte| byte.is_ascii_punctuation()).count();
        let stays = usize::from(signs > 0 && signs < before.len());
        self.local.start -= signs - stays;
    }
}

/// Whether the address could be mistaken for a key with a mask in it.
pub(super) fn is_reserved(address: &[u8]) -> bool {
    address.contains(&MASK)
}

impl SenderKey {
    /// The bytes that are hashed into a triplet's key.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn verbatim(address: &[u8]) -> Self {
        Self { bytes: address.to_vec() }
    }

    /// The key of a reserved address: behind two masks in a row, which `assemble` never writes.
    pub(super) fn set_apart(address: &[u8]) -> Self {
        Self { bytes: [&[MASK, MASK], address].concat() }
    }

    pub(super) fn assemble(mailbox: Mailbox, mask: Option<Mask>, forwarders: &[Forwarder]) -> Self {
        let Mailbox { local, domain } = mailbox;
        let mut bytes = Vec::with_capacity(local.len() + domain.len() + 2);
        let mut masked_domain = 0;
        if let Some(mask) = mask {
            bytes.extend_from_slice(slice(local, 0..mask.local.start));
            bytes.push(MASK);
            if !mask.kept.is_empty() {
                bytes.extend_from_slice(slice(local, mask.kept));
                bytes.push(MASK);
            }
            bytes.extend_from_slice(slice(local, mask.local.end..local.len()));
            masked_domain = mask.domain;
        } else {
            bytes.extend_from_slice(local);
        }
        bytes.push(b'@');
        if masked_domain > 0 {
            bytes.push(MASK);
        }
        bytes.extend_from_slice(slice(domain, masked_domain..domain.len()));
        for forwarder in forwarders {
            bytes.push(MASK);
            bytes.extend_from_slice(forwarder.local);
            bytes.push(b'@');
            bytes.extend_from_slice(forwarder.domain);
        }
        Self { bytes }
    }
}

impl fmt::Display for SenderKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.bytes.is_empty() {
            return f.write_str("<>");
        }
        for (i, part) in self.bytes.split(|&byte| byte == MASK).enumerate() {
            if i > 0 {
                f.write_str("\\*")?;
            }
            Printable(part).fmt(f)?;
        }
        Ok(())
    }
}

/// Bytes from a stranger, made safe for a terminal and for one line of a file: `\\` for a backslash, `\xHH`
/// for any other byte outside `!` to `~`. Different bytes print differently.
#[derive(Clone, Copy, Debug)]
pub struct Printable<'a>(
    /// The bytes as they came.
    pub &'a [u8],
);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for run in self.0.chunk_by(|&a, &b| is_plain(a) && is_plain(b)) {
            match (run, std::str::from_utf8(run)) {
                ([b'\\'], _) => f.write_str("\\\\")?,
                ([first, ..], Ok(text)) if is_plain(*first) => f.write_str(text)?,
                _ => run.iter().try_for_each(|byte| write!(f, "\\x{byte:02x}"))?,
            }
        }
        Ok(())
    }
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_graphic() && byte != b'\\'
}
