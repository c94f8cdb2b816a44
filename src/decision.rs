//! The way of a decision: read what the policy wants to see, decide, and write what that changes. Of many who
//! ask about one triplet at the same time, one writes; the others decide again and see what it wrote.

use crate::evidence::{Evidence, KnownSide, PendingSide};
use crate::memory::{Access, Decision, Memory, Question, Records};
use crate::policy::{self, Change, Step, Verdict};
use crate::rules::Rules;
use crate::store::error::StoreError;
use crate::time::Timestamp;
use crate::triplet::Triplet;

/// Decides, and records it in `memory` if `access` says so.
///
/// # Errors
/// See [`StoreError`]; nothing is recorded then.
pub fn decide(memory: &impl Memory, question: &Question<'_>, access: Access) -> Result<Verdict, StoreError> {
    let records = memory.about(question)?;
    let (mut verdict, mut change) = question.decide(|| records.known(false), || records.pending())?;
    // A second round is needed only when somebody else was faster, a third when that happens twice.
    for _ in 0..3 {
        if change == Change::None || !access.records(&verdict) {
            break;
        }
        (verdict, change) = records.apply((verdict, change))?;
    }
    if access.records(&verdict) {
        records.count(&verdict);
    }
    Ok(verdict)
}

/// All that `memory` has about a question, for `eximgrey explain`.
///
/// # Errors
/// See [`StoreError`].
pub fn evidence(memory: &impl Memory, question: &Question<'_>) -> Result<Evidence, StoreError> {
    let records = memory.about(question)?;
    let pending = question.comparable(records.pending()?);
    Ok(Evidence { known: Some(records.known(true)?), pending: Some(pending), ..question.unread() })
}

/// The answer that needs no records, if there is one; without a `triplet` there is no client.
#[must_use]
pub fn without_records(rules: &Rules, triplet: Option<&Triplet<'_>>, now: Timestamp) -> Option<Verdict> {
    let unread = Evidence { local: triplet.is_none(), ..Evidence::default() };
    match policy::decide(rules, &unread, now) {
        Step::Answer(verdict, _) => Some(verdict),
        Step::ReadKnown | Step::ReadPending => None,
    }
}

impl Question<'_> {
    /// Asks the policy, reading what it wants to see.
    ///
    /// # Errors
    /// Those of the readers.
    pub fn decide<E>(
        &self,
        read_known: impl Fn() -> Result<KnownSide, E>,
        read_pending: impl Fn() -> Result<PendingSide, E>,
    ) -> Result<Decision, E> {
        let mut evidence = self.unread();
        loop {
            match policy::decide(self.rules, &evidence, self.now) {
                Step::ReadKnown => evidence.known = Some(read_known()?),
                Step::ReadPending => evidence.pending = Some(self.comparable(read_pending()?)),
                Step::Answer(verdict, change) => return Ok((verdict, change)),
            }
        }
    }

    /// Bounces have one sender and many authors: those from elsewhere are other mail.
    fn comparable(&self, pending: PendingSide) -> PendingSide {
        if self.triplet.sender.is_empty() {
            return PendingSide { elsewhere: Vec::new(), ..pending };
        }
        pending
    }

    fn unread(&self) -> Evidence {
        Evidence { came_back: self.triplet.came_back, ..Evidence::default() }
    }
}

#[cfg(test)]
#[path = "decision_tests.rs"]
mod tests;
