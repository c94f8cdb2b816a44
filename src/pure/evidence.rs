//! What has been read of the records for a decision: values alone, of whatever keeps them.

use crate::identity::MAX_IDENTITIES;
use crate::learned::Learned;
use crate::reply::By;
use crate::time::Timestamp;
use crate::whitelist::ListKind;

/// A record, as far as the decision needs it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Found<T> {
    /// No record.
    #[default]
    Absent,
    /// A record.
    Here(T),
    /// A record of a version that this library does not know: neither used nor overwritten.
    Unreadable,
}

impl<T> Found<T> {
    /// The record, if there is one that can be read.
    pub fn here(&self) -> Option<&T> {
        match self {
            Self::Here(record) => Some(record),
            Self::Absent | Self::Unreadable => None,
        }
    }
}

/// What an identity has earned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Earned {
    /// Passes counted.
    pub passes: u32,
    /// When the first was counted.
    pub first_seen: Timestamp,
    /// When the last was counted.
    pub counted: Timestamp,
    /// When the identity was last seen to pass, or up to a sixteenth of the lifetime before that.
    pub last_seen: Timestamp,
    /// What became of its mail lately.
    pub outcomes: Outcomes,
    /// When spam was last counted; 0 for never.
    pub blamed: Timestamp,
}

/// The last 20 outcomes that were counted for an identity: passes, and spam that later checks found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcomes {
    /// One bit each, the newest lowest; 1 for spam.
    spam: u32,
    many: u32,
}

impl Outcomes {
    /// How far back they reach: enough that one bad day is no verdict, few enough that a change shows within
    /// a month.
    pub const MOST: u32 = 20;

    /// So many passes and no spam.
    #[must_use]
    pub fn passes(passes: u32) -> Self {
        Self { spam: 0, many: passes.min(Self::MOST) }
    }

    /// One more.
    #[must_use]
    pub fn and(self, is_spam: bool) -> Self {
        let spam = (self.spam << 1 | u32::from(is_spam)) & ((1 << Self::MOST) - 1);
        Self { spam, many: (self.many + 1).min(Self::MOST) }
    }

    /// How many of them were spam, and how many there are.
    #[must_use]
    pub const fn spam_of(self) -> (u32, u32) {
        (self.spam.count_ones(), self.many)
    }

    /// Whether more of them were spam than not.
    #[must_use]
    pub const fn are_mostly_spam(self) -> bool {
        2 * self.spam.count_ones() > self.many
    }

    /// All of them in one number, for a record.
    #[must_use]
    pub const fn to_bits(self) -> u32 {
        self.many << 24 | self.spam
    }

    /// What [`Outcomes::to_bits`] gave.
    #[must_use]
    pub fn from_bits(bits: u32) -> Self {
        Self { spam: bits & ((1 << Self::MOST) - 1), many: (bits >> 24).min(Self::MOST) }
    }
}

/// A triplet that has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// The first attempt.
    pub first_seen: Timestamp,
    /// The retry that passed.
    pub passed: Timestamp,
    /// When it last passed, or up to a sixteenth of the lifetime before that.
    pub last_seen: Timestamp,
    /// How many passes its identity was counted for it.
    pub counted: u8,
}

/// A first attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending {
    /// When it was.
    pub first_seen: Timestamp,
    /// When a retry passed, where that is not yet among what is known.
    pub passed: Option<Timestamp>,
}

/// A first attempt from another network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elsewhere {
    /// Tells networks apart. What one customer is given of IPv6 has one number.
    pub network: u32,
    /// When it was.
    pub first_seen: Timestamp,
}

/// The first attempts with one sender and recipient.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PendingSide {
    /// Those with the client's identities, in the order of the triplet's.
    pub identities: Vec<Found<Pending>>,
    /// Those from other networks, by which no mail has passed yet: the first of them by key, where there are
    /// very many. One may be there for each of its identities.
    pub elsewhere: Vec<Elsewhere>,
    /// What became of those like it; `None` where nothing was learned, or is to be.
    pub learned: Option<Learned>,
}

/// The known records of one identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownEvidence {
    /// The kind of the identity.
    pub by: By,
    /// What it has earned; [`Found::Absent`] also where a known triplet decides.
    pub earned: Found<Earned>,
    /// The triplet with this identity.
    pub known: Found<Known>,
}

/// A trapped network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trap {
    /// When it was trapped.
    pub set: Timestamp,
    /// Until when.
    pub until: Timestamp,
}

/// Permission for a sender to write to a recipient, until a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Permit {
    /// The last second.
    pub until: Timestamp,
}

/// The records of what is known; identities in the order of the triplet's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownSide {
    /// The kind of the administrator's whitelist entry that matches.
    pub whitelisted: Option<ListKind>,
    /// Of the client's network.
    pub trap: Option<Trap>,
    /// Our user wrote to the sender.
    pub replied: Option<Permit>,
    /// The administrator released the mail.
    pub released: Option<Permit>,
    /// One an identity.
    pub identities: Vec<KnownEvidence>,
}

/// All that has been read for a decision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// There is no client: the mail was submitted here.
    pub local: bool,
    /// `None` until read.
    pub known: Option<KnownSide>,
    /// `None` until read.
    pub pending: Option<PendingSide>,
    /// Where the client has come back for this message: when another recipient of it was first tried.
    pub came_back: Option<Timestamp>,
}

/// Some of a triplet's identities, by their place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Places(u8);

impl Places {
    /// The places for which `test` holds.
    pub fn such_that<T>(items: &[T], test: impl Fn(&T) -> bool) -> Self {
        let bits = items.iter().take(MAX_IDENTITIES).enumerate();
        Self(bits.fold(0, |set, (i, item)| set | (u8::from(test(item)) << i)))
    }

    /// Whether `place` is one of them.
    #[must_use]
    pub const fn holds(self, place: usize) -> bool {
        place < MAX_IDENTITIES && self.0 & (1 << place) != 0
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}
