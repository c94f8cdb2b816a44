//! The reply that Exim gets: `key=value` words separated by one blank. This file holds the only list of
//! the words; other people's configurations rely on them, so words are added, never renamed.
//!
//! A reply is made of our words and our numbers alone. Exim treats memory of ours as untainted: a byte of an
//! address in here would be a hole in its protection against hostile file names and queries (see
//! Exim's store.c on taint). The types below keep that true: nothing in [`Reply`] can hold outside text.

use crate::time::Seconds;
use crate::words;
use std::fmt::{self, Write};

words! {
    /// What Exim shall do.
    Action {
        /// Let the recipient through.
        Pass = "pass",
        /// Answer 451: come back later.
        Defer = "defer",
    }
}

words! {
    /// Why; `eximgrey explain` says it in the words of this list. The order is that of the counters on disk:
    /// new words are added at the end.
    Reason {
        /// First seen.
        New = "new",
        /// Retried before the delay was over.
        Early = "early",
        /// Retried in time; the triplet is known from now on.
        Retried = "retried",
        /// The triplet passed before.
        Known = "known",
        /// A client identity has proved itself.
        Auto = "auto",
        /// On the administrator's whitelist.
        Whitelisted = "whitelisted",
        /// The recipient wrote to this sender, or to its domain or the client's within the last hour or two.
        Replied = "replied",
        /// The administrator released this mail; the triplet becomes known.
        Released = "released",
        /// The client's network is trapped.
        Trapped = "trapped",
        /// There is no client: a local submission is never greylisted.
        Local = "local",
        /// Greylisting is off (mode = "off").
        Off = "off",
        /// Something is broken; `error=` says what. Mail passes.
        Error = "error",
        /// First seen, and nearly all first attempts like it came back.
        Likely = "likely",
    }
}

impl Reason {
    /// What Exim shall do for this reason, in [`Mode::Enforce`](crate::rules::Mode::Enforce).
    #[must_use]
    pub const fn action(self) -> Action {
        match self {
            Self::New | Self::Early | Self::Trapped => Action::Defer,
            Self::Retried | Self::Known | Self::Auto | Self::Whitelisted | Self::Replied => Action::Pass,
            Self::Released | Self::Local | Self::Off | Self::Error | Self::Likely => Action::Pass,
        }
    }
}

words! {
    /// What is broken. The order is that of the counters on disk.
    Fault {
        /// The client is no IP address.
        BadClient = "bad-client",
        /// Missing arguments, an unknown option, or an option's value that cannot be read.
        BadOption = "bad-option",
        /// The configuration file cannot be read.
        BadConfig = "bad-config",
        /// The store cannot be opened.
        StoreOpen = "store-open",
        /// Another writer kept the store locked for longer than `lock_timeout`.
        StoreLock = "store-lock",
        /// No room: disk, quota or map.
        StoreFull = "store-full",
        /// The store's files are damaged, or of a version this library does not know.
        StoreDamaged = "store-damaged",
        /// The store shared by several hosts is away.
        SharedStore = "shared-store",
        /// A defect of this library.
        Internal = "internal",
        /// The machine's clock stands before 1970 or after 2106, which no record can hold.
        BadClock = "bad-clock",
    }
}

words! {
    /// The client identity that matched.
    By {
        /// The client's network.
        Network = "network",
        /// The domain that SPF passed for.
        Spf = "spf",
        /// The domain that signed with DKIM.
        Dkim = "dkim",
        /// The registrable domain of the client's verified host name.
        Host = "host",
    }
}

/// What a retry was recognised by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Matched {
    /// A client identity.
    Identity(By),
    /// The message: its client has come back with another recipient of it.
    Message,
    /// The sender: it has come back to the same recipient from one network after the other.
    Sender,
}

impl Matched {
    /// What is no identity, and so never on disk.
    pub const OTHERS: [Self; 2] = [Self::Message, Self::Sender];

    /// The word as it stands in the reply.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Identity(by) => by.word(),
            Self::Message => "message",
            Self::Sender => "sender",
        }
    }
}

words! {
    /// What became of something that Exim told us (`result=`).
    Effect {
        /// Recorded.
        Recorded = "recorded",
        /// A trap for a network that has proved itself: not set.
        Spared = "spared",
        /// There was nothing to change, or nothing may be recorded.
        Nothing = "nothing",
        /// Something is broken; `error=` says what.
        Error = "error",
    }
}

/// One answer, ready to be written out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// `action=`, always first.
    pub action: Action,
    /// `reason=`.
    pub reason: Reason,
    /// `error=`, with [`Reason::Error`] only.
    pub fault: Option<Fault>,
    /// `wait=`: seconds still to wait.
    pub wait: Option<Seconds>,
    /// `delay=`: seconds that the triplet waited.
    pub delay: Option<Seconds>,
    /// `by=`.
    pub by: Option<Matched>,
    /// `would=`: what would have happened, in observe mode, or with `learn = "on"` in place of "watch".
    pub would: Option<Action>,
}

impl Reply {
    /// A reply with a reason, its action and nothing else.
    #[must_use]
    pub const fn new(reason: Reason) -> Self {
        let action = reason.action();
        Self { action, reason, fault: None, wait: None, delay: None, by: None, would: None }
    }

    /// Whether it would have been deferred, if it were not only observed.
    #[must_use]
    pub fn is_observed(&self) -> bool {
        self.reason.action() == Action::Defer && self.would == Some(Action::Defer)
    }

    /// Whatever breaks, mail passes.
    #[must_use]
    pub const fn error(fault: Fault) -> Self {
        Self { fault: Some(fault), ..Self::new(Reason::Error) }
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "action={} reason={}", self.action.word(), self.reason.word())?;
        if let Some(fault) = self.fault {
            write!(f, " error={}", fault.word())?;
        }
        if let Some(wait) = self.wait {
            write!(f, " wait={}", wait.0)?;
        }
        if let Some(delay) = self.delay {
            write!(f, " delay={}", delay.0)?;
        }
        if let Some(by) = self.by {
            write!(f, " by={}", by.word())?;
        }
        if let Some(would) = self.would {
            write!(f, " would={}", would.word())?;
        }
        Ok(())
    }
}

/// Room for the longest reply (every word at its longest is under 120 bytes) and its final NUL.
pub const REPLY_SIZE: usize = 256;

/// A reply as the NUL-terminated text that Exim reads.
pub struct ReplyText {
    bytes: [u8; REPLY_SIZE],
    used: usize,
}

impl ReplyText {
    /// An empty text.
    #[must_use]
    pub const fn new() -> Self {
        Self { bytes: [0; REPLY_SIZE], used: 0 }
    }

    /// Replaces the text. What does not fit is cut; the last byte stays NUL.
    pub fn set(&mut self, content: impl fmt::Display) {
        *self = Self::new();
        // The writer below never fails.
        let _ = write!(self, "{content}");
    }

    /// The text with its final NUL.
    #[must_use]
    pub const fn as_bytes_with_nul(&self) -> &[u8; REPLY_SIZE] {
        &self.bytes
    }
}

impl Default for ReplyText {
    fn default() -> Self {
        Self::new()
    }
}

impl Write for ReplyText {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = REPLY_SIZE - 1;
        let end = room.min(self.used + text.len());
        if let (Some(to), Some(from)) =
            (self.bytes.get_mut(self.used..end), text.as_bytes().get(..end - self.used))
        {
            to.copy_from_slice(from);
            self.used = end;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stand_in_the_order_of_the_manual() {
        let mut reply = Reply::new(Reason::New);
        reply.wait = Some(Seconds(300));
        assert_eq!(reply.to_string(), "action=defer reason=new wait=300");
        assert_eq!(Reply::error(Fault::StoreOpen).to_string(), "action=pass reason=error error=store-open");
        let mut reply = Reply::new(Reason::Retried);
        (reply.delay, reply.by) = (Some(Seconds(312)), Some(Matched::Identity(By::Network)));
        assert_eq!(reply.to_string(), "action=pass reason=retried delay=312 by=network");
    }

    #[test]
    fn the_longest_reply_fits() {
        let most = Seconds(u32::MAX);
        let longest = |list: &[&'static str]| list.iter().map(|w| w.len()).max().unwrap();
        let all = Reply {
            action: Action::Defer,
            reason: Reason::Whitelisted,
            fault: Some(Fault::StoreDamaged),
            wait: Some(most),
            delay: Some(most),
            by: Some(Matched::Message),
            would: Some(Action::Defer),
        };
        assert_eq!(longest(&Reason::ALL.iter().map(|r| r.word()).collect::<Vec<_>>()), "whitelisted".len());
        let mut text = ReplyText::new();
        text.set(all);
        assert_eq!(text.bytes[text.used], 0);
        assert_eq!(&text.bytes[..text.used], all.to_string().as_bytes());
        assert!(text.used < 150);
    }

    #[test]
    fn a_text_that_is_too_long_is_cut_and_ends_in_nul() {
        let mut text = ReplyText::new();
        text.set("x".repeat(1000));
        assert_eq!(text.used, REPLY_SIZE - 1);
        assert_eq!(text.bytes[REPLY_SIZE - 1], 0);
        text.set("short");
        assert_eq!(&text.bytes[..6], b"short\0");
    }
}
