//! The seam between the decision and whatever keeps the records. The store in this directory is one
//! [`Memory`], the tests' model is another.
//!
//! A memory decides nothing. It reads what it is asked for, and writes what was decided if that still holds
//! when nobody else can write.

use crate::evidence::{Found, KnownEvidence, KnownSide, PendingSide};
use crate::identity::Identity;
use crate::policy::{Change, Verdict};
use crate::reply::Effect;
use crate::rules::Rules;
use crate::store::entries::Entry;
use crate::store::error::StoreError;
use crate::time::Timestamp;
use crate::triplet::Triplet;
use crate::whitelist::ListKind;
use crate::words;

/// What is asked: about whom, by which rules, and when.
#[derive(Clone, Copy)]
pub struct Question<'q> {
    /// Who writes to whom.
    pub triplet: &'q Triplet<'q>,
    /// The rules.
    pub rules: &'q Rules,
    /// The time.
    pub now: Timestamp,
}

/// What was decided, and what is to be written for it.
pub type Decision = (Verdict, Change);

/// What keeps records.
pub trait Memory {
    /// The records of one question.
    type Records<'q>: Records
    where
        Self: 'q;

    /// The records that `question` is about. Nothing is read yet.
    ///
    /// # Errors
    /// See [`StoreError`].
    fn about<'q>(&'q self, question: &'q Question<'q>) -> Result<Self::Records<'q>, StoreError>;

    /// Takes note of something besides an attempt.
    ///
    /// # Errors
    /// See [`StoreError`]; nothing is written then.
    fn tell(&self, event: &Event<'_>) -> Result<Effect, StoreError>;
}

/// The records of one question.
pub trait Records {
    /// What is known; `whole`: also what is not needed to decide.
    ///
    /// # Errors
    /// See [`StoreError`].
    fn known(&self, whole: bool) -> Result<KnownSide, StoreError>;

    /// The first attempts.
    ///
    /// # Errors
    /// See [`StoreError`].
    fn pending(&self) -> Result<PendingSide, StoreError>;

    /// Writes what was `decided` on what was read, and says so by a decision without a change. Where somebody
    /// has written since, nothing may be written: then what holds now comes back, to be applied again.
    ///
    /// # Errors
    /// See [`StoreError`]; nothing is written then.
    fn apply(&self, decided: Decision) -> Result<Decision, StoreError>;

    /// Counts what a verdict says besides, once it is recorded.
    fn count(&self, _: &Verdict) {}
}

/// What a memory is told besides attempts.
pub enum Event<'e> {
    /// Our user, the triplet's recipient, wrote to the triplet's sender.
    Sent(&'e Question<'e>),
    /// Later checks found something about mail of the triplet.
    Feedback(&'e Question<'e>, Finding),
    /// The administrator traps the triplet's network.
    Trap(&'e Question<'e>),
    /// The administrator lets the next retry of some mail pass, for the retry window. A release of a network
    /// lifts its trap, too.
    Release(&'e Question<'e>, Scope),
    /// The administrator adds this entry, in its canonical form, to the whitelist, or replaces it.
    List(&'e Entry),
    /// The administrator takes an entry, given in its canonical form, off the whitelist.
    Unlist(ListKind, &'e [u8]),
    /// The administrator wants the triplet's sender to wait again for the triplet's recipient, from whatever
    /// client.
    ForgetPair(&'e Question<'e>),
    /// The administrator wants these identities to have earned nothing, and their triplets to wait again.
    ForgetClient(&'e [Identity]),
}

words! {
    /// What later checks found.
    Finding {
        /// Spam: what the triplet earned is taken back, and counts against its identities.
        Spam = "spam",
        /// No spam: what the triplet earned is confirmed.
        Ham = "ham",
        /// A recipient that nobody writes to: the client's network is trapped.
        Trap = "trap",
    }
}

/// Which mail is released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The triplet's sender and recipient, from whatever client.
    Pair,
    /// The same, from the triplet's network.
    Triplet,
    /// All mail of the triplet's network.
    Network,
}

/// What a call may do to a memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Make what is missing, record what is decided.
    Record,
    /// Record what is decided, but nothing of a client that has to wait or has just waited: more may be found
    /// out about it before it is decided.
    RecordKnown,
    /// Look at what is there.
    Look,
}

impl Access {
    /// Whether a verdict is recorded.
    #[must_use]
    pub const fn records(self, verdict: &Verdict) -> bool {
        match self {
            Self::Record => true,
            Self::RecordKnown => !matches!(
                verdict,
                Verdict::New { .. }
                    | Verdict::Early { .. }
                    | Verdict::Retried { .. }
                    | Verdict::NewButLikely { .. }
                    | Verdict::RetriedSoon { .. }
                    | Verdict::Likely
                    | Verdict::CameBack { .. }
                    | Verdict::SenderCameBack { .. }
            ),
            Self::Look => false,
        }
    }
}

/// A memory in which nothing was ever recorded, and nothing is.
pub struct Nothing;

impl Memory for Nothing {
    type Records<'q> = &'q Question<'q>;

    fn about<'q>(&'q self, question: &'q Question<'q>) -> Result<&'q Question<'q>, StoreError> {
        Ok(question)
    }

    fn tell(&self, _: &Event<'_>) -> Result<Effect, StoreError> {
        Ok(Effect::Nothing)
    }
}

impl Records for &Question<'_> {
    fn known(&self, _: bool) -> Result<KnownSide, StoreError> {
        let nothing = |identity: &Identity| KnownEvidence {
            by: identity.by(),
            earned: Found::Absent,
            known: Found::Absent,
        };
        let identities = self.triplet.identities.iter().map(nothing).collect();
        Ok(KnownSide { identities, ..KnownSide::default() })
    }

    fn pending(&self) -> Result<PendingSide, StoreError> {
        let identities = vec![Found::Absent; self.triplet.identities.len()];
        Ok(PendingSide { identities, ..PendingSide::default() })
    }

    fn apply(&self, (verdict, _): Decision) -> Result<Decision, StoreError> {
        Ok((verdict, Change::None))
    }
}
