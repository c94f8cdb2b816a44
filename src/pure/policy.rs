//! The decision. [`decide`] takes values and returns values: no I/O, no clock, no global. The live call, a
//! peek, `eximgrey explain` and the tests all ask this one function; it alone knows the order of a decision.
//!
//! It is asked in steps, because what need not be read is not read: it answers [`Step::ReadKnown`] or
//! [`Step::ReadPending`] until it has seen enough.

use crate::evidence::{
    Earned, Evidence, Found, KnownEvidence, KnownSide, Outcomes, Pending, PendingSide, Permit, Places, Trap,
};
use crate::learned::{Lane, Learn, slow_delay};
use crate::reply::{Action, By, Fault, Matched, Reason, Reply};
use crate::rules::{Mode, Rules};
use crate::time::{Seconds, Timestamp};
use crate::whitelist::ListKind;
use std::collections::BTreeSet;

/// Counted at most once in this time for each identity: one burst of mail is one proof.
pub const COUNT_INTERVAL: Seconds = Seconds::HOUR;

/// From so many networks, the client's among them, one sender has to have tried for one recipient, and the
/// first of them so long ago, to be taken for a pool that comes from another network each time. Of two
/// networks one soon comes again. Half an hour is the least that a queue waits (RFC 5321 section 4.5.4.1).
pub const MANY_NETWORKS: usize = 3;

/// See [`MANY_NETWORKS`].
pub const MANY_NETWORKS_WAIT: Seconds = Seconds::MINUTE.times(30);

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// First seen; a retry passes after `wait`.
    New {
        /// The delay.
        wait: Seconds,
    },
    /// Retried too soon.
    Early {
        /// Since the first attempt.
        waited: Seconds,
        /// What is left of the delay.
        wait: Seconds,
    },
    /// Retried in time.
    Retried {
        /// Since the first attempt.
        waited: Seconds,
        /// The identity that matched.
        by: By,
    },
    /// Has to wait by itself, but came with a message that was retried in time.
    CameBack {
        /// Since the first attempt at the message.
        waited: Seconds,
    },
    /// Has to wait by itself, but its sender came back in time from other networks.
    SenderCameBack {
        /// Since the first attempt.
        waited: Seconds,
    },
    /// First seen, and nearly all first attempts like it came back.
    Likely,
    /// New, though with `learn = "on"` it would be likely.
    NewButLikely {
        /// The delay.
        wait: Seconds,
    },
    /// Retried in time, though with `learn = "on"` it would have to wait longer.
    RetriedSoon {
        /// Since the first attempt.
        waited: Seconds,
        /// The identity that matched.
        by: By,
    },
    /// Passed before.
    Known {
        /// The identity that matched.
        by: By,
    },
    /// An identity has proved itself.
    Auto {
        /// Which.
        by: By,
    },
    /// On the administrator's whitelist.
    Whitelisted {
        /// The kind of the entry.
        kind: ListKind,
    },
    /// The client's network is trapped.
    Trapped {
        /// What is left of it.
        wait: Seconds,
    },
    /// Our user wrote to the sender.
    Replied,
    /// Released by the administrator.
    Released,
    /// No client.
    Local,
    /// Switched off.
    Off,
    /// Records of an unknown version stand where ours would.
    Unreadable,
}

/// What the store has to do for a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing.
    None,
    /// The last-seen times of what matched are old: renew them, if that costs no waiting.
    Renew,
    /// Write first attempts.
    Pend {
        /// When it was first seen; not now, if another identity of it came before.
        first_seen: Timestamp,
        /// The identities that have no usable record.
        places: Places,
    },
    /// The triplet becomes known for all its identities.
    Admit {
        /// The first attempt.
        first_seen: Timestamp,
        /// What it is due to.
        due_to: DueTo,
    },
}

/// What a triplet becomes known for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DueTo {
    /// Its client, whose identities are counted.
    Client,
    /// Its sender's attempts from other networks, which are used up by it.
    Sender,
    /// The administrator's release, which is used up by it.
    Release,
}

/// What [`decide`] wants next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Read the known records and ask again.
    ReadKnown,
    /// Read the pending records and ask again.
    ReadPending,
    /// The answer.
    Answer(Verdict, Change),
}

/// A time so little ahead is no clock set back: another process was faster to the clock, or slower to the
/// lock.
const CLOCK_SLACK: Seconds = Seconds::MINUTE;

/// Whether a record that was last seen at `seen`, and is kept for so long after that, still holds. One from
/// the future does: the clock was ahead once, and nobody shall be locked out for that.
#[must_use]
pub fn holds(seen: Timestamp, keep: Seconds, now: Timestamp) -> bool {
    now.since(seen) <= keep
}

/// Whether a last-seen time is worth a write: a sixteenth of the lifetime old, or from the future.
fn stale(seen: Timestamp, rules: &Rules, now: Timestamp) -> bool {
    seen > now || now.since(seen) > rules.margin()
}

/// Decides about a triplet.
///
/// The order: off and local, the whitelist, traps, known triplets, identities that have proved themselves,
/// replies and releases, domains known to the site, first attempts, and where these say wait, what the client
/// has come back for, and from how many networks its sender has.
#[must_use]
pub fn decide(rules: &Rules, evidence: &Evidence, now: Timestamp) -> Step {
    if evidence.local {
        return Step::Answer(Verdict::Local, Change::None);
    }
    if rules.mode == Mode::Off {
        return Step::Answer(Verdict::Off, Change::None);
    }
    let Some(known) = &evidence.known else { return Step::ReadKnown };
    if let Some((verdict, change)) = decide_known(rules, known, now) {
        return Step::Answer(verdict, change);
    }
    let Some(pending) = &evidence.pending else { return Step::ReadPending };
    let is_in = |wanted| lane(rules, known, pending, now) == wanted;
    let is_slow = rules.learn == Learn::On && is_in(Lane::Slow);
    let in_force = if is_slow { Rules { delay: slow_delay(rules), ..*rules } } else { *rules };
    let (verdict, change) = decide_pending(&in_force, known, pending, now);
    // Who has come back has come back for the whole message. A sender that stops at the first 451 would
    // otherwise need two attempts for each recipient. The recipient's own delay and window hold.
    if let Verdict::New { .. } | Verdict::Early { .. } = verdict
        && let Some(first_seen) = evidence.came_back
        && (rules.delay..=rules.window).contains(&now.since(first_seen))
    {
        let verdict = Verdict::CameBack { waited: now.since(first_seen) };
        return Step::Answer(verdict, Change::Admit { first_seen, due_to: DueTo::Client });
    }
    if let Verdict::New { .. } | Verdict::Early { .. } = verdict
        && let Some(first_seen) = tried_from_many_networks(rules, pending, now)
    {
        let verdict = Verdict::SenderCameBack { waited: now.since(first_seen) };
        return Step::Answer(verdict, Change::Admit { first_seen, due_to: DueTo::Sender });
    }
    match (verdict, rules.learn) {
        // Nothing is recorded: it has proved nothing.
        (Verdict::New { .. }, Learn::On) if is_in(Lane::Fast) => Step::Answer(Verdict::Likely, Change::None),
        (Verdict::New { wait }, Learn::Watch) if is_in(Lane::Fast) => {
            Step::Answer(Verdict::NewButLikely { wait }, change)
        }
        (Verdict::Retried { waited, by }, Learn::Watch)
            if waited < slow_delay(rules) && is_in(Lane::Slow) =>
        {
            Step::Answer(Verdict::RetriedSoon { waited, by }, change)
        }
        _ => Step::Answer(verdict, change),
    }
}

/// What is to be done with an attempt by what others like it came to. Spam of the client itself says more.
fn lane(rules: &Rules, known: &KnownSide, pending: &PendingSide, now: Timestamp) -> Lane {
    let Some(learned) = pending.learned.filter(|_| rules.learn != Learn::Off) else { return Lane::Usual };
    let mut earned = known.identities.iter().filter_map(|e| e.earned.here());
    let sent_spam = |e: &Earned| e.outcomes.spam_of().0 > 0 && holds(e.last_seen, rules.keep(), now);
    match learned.tried.lane() {
        Lane::Fast if learned.is_sample || earned.any(sent_spam) => Lane::Usual,
        lane => lane,
    }
}

/// The decision, where the known records are enough for one.
fn decide_known(rules: &Rules, side: &KnownSide, now: Timestamp) -> Option<(Verdict, Change)> {
    if let Some(kind) = side.whitelisted {
        return Some((Verdict::Whitelisted { kind }, Change::None));
    }
    if let Some(trap) = side.trap.filter(|trap| trap.holds(now)) {
        return Some((Verdict::Trapped { wait: trap.until.since(now) }, Change::None));
    }

    let known = &side.identities;
    let with_passes = |least: u32, wanted: fn(By) -> bool| {
        let of = |e: &KnownEvidence| e.earned.here().map(|earned| (e.by, *earned));
        let mut all = known.iter().filter(|e| wanted(e.by)).filter_map(of);
        all.find(|(_, earned)| has_passes(least, rules, earned, now))
            .map(|(by, earned)| (Verdict::Auto { by }, renew_if(stale(earned.last_seen, rules, now))))
    };
    // Before what identities have earned: it is the answer for most mail, and the store need not look for
    // that.
    let passed = known.iter().find(|e| e.passed(rules, now));
    if let Some((by, record)) = passed.and_then(|e| Some((e.by, e.known.here()?))) {
        return Some((Verdict::Known { by }, renew_if(stale(record.last_seen, rules, now))));
    }
    if let Some(auto) = with_passes(rules.auto_after, |_| true) {
        return Some(auto);
    }
    if side.replied.is_some_and(|permit| permit.lasts(now)) {
        return Some((Verdict::Replied, Change::None));
    }
    if side.released.is_some_and(|permit| permit.lasts(now)) {
        return Some((Verdict::Released, Change::Admit { first_seen: now, due_to: DueTo::Release }));
    }
    if rules.trust_known_domains {
        let domain = with_passes(1, |by| matches!(by, By::Spf | By::Dkim));
        if domain.is_some() {
            return domain;
        }
    }
    let unreadable = known.iter().any(|e| matches!(e.known, Found::Unreadable));
    unreadable.then_some((Verdict::Unreadable, Change::None))
}

impl Trap {
    /// Whether its mail waits now. One from the future was set before the clock was set back, and could last
    /// for years.
    #[must_use]
    pub fn holds(&self, now: Timestamp) -> bool {
        self.set <= now.plus(CLOCK_SLACK) && now < self.until
    }
}

impl Permit {
    /// Whether it is not over.
    #[must_use]
    pub fn lasts(&self, now: Timestamp) -> bool {
        now <= self.until
    }
}

impl KnownEvidence {
    /// Whether the triplet passed within the lifetime.
    #[must_use]
    pub fn passed(&self, rules: &Rules, now: Timestamp) -> bool {
        self.known.here().is_some_and(|record| holds(record.last_seen, rules.keep(), now))
    }
}

/// Whether an identity has proved itself: it needs no greylisting, and is not to be trapped.
#[must_use]
pub fn has_proved_itself(rules: &Rules, earned: &Earned, now: Timestamp) -> bool {
    has_passes(rules.auto_after, rules, earned, now)
}

/// Whether an identity has so many passes within the lifetime, and its mail did not turn out to be spam
/// since.
fn has_passes(least: u32, rules: &Rules, earned: &Earned, now: Timestamp) -> bool {
    let enough = least > 0 && earned.passes >= least;
    enough && holds(earned.last_seen, rules.keep(), now) && !earned.outcomes.are_mostly_spam()
}

const fn renew_if(worth_it: bool) -> Change {
    if worth_it { Change::Renew } else { Change::None }
}

/// Whether a retry may count from this first attempt, of a network with that trap. One from the future was
/// made before the clock was set back. How long ago is not known, so it starts anew: that costs its sender
/// one delay, where waiting for the clock could cost days. One from before a trap does not count.
#[must_use]
pub fn attempt_counts(rules: &Rules, attempt: &Pending, trap: Option<Trap>, now: Timestamp) -> bool {
    let slack = now.plus(CLOCK_SLACK);
    attempt.passed.is_none()
        && attempt.first_seen <= slack
        && now.since(attempt.first_seen) <= rules.window
        && trap.is_none_or(|trap| trap.set > slack || attempt.first_seen >= trap.until)
}

fn decide_pending(
    rules: &Rules,
    known: &KnownSide,
    PendingSide { identities: pending, .. }: &PendingSide,
    now: Timestamp,
) -> (Verdict, Change) {
    if pending.iter().any(|p| matches!(p, Found::Unreadable)) {
        return (Verdict::Unreadable, Change::None);
    }
    // What has passed, and is not yet among what is known.
    let passed = |p: &Pending| p.passed.is_some_and(|passed| holds(passed, rules.keep(), now));
    let mut identities = known.identities.iter().zip(pending);
    if let Some((identity, _)) = identities.find(|(_, p)| p.here().is_some_and(passed)) {
        return (Verdict::Known { by: identity.by }, Change::None);
    }
    let usable = |p: &Found<Pending>| p.here().is_some_and(|p| attempt_counts(rules, p, known.trap, now));
    let oldest = known
        .identities
        .iter()
        .zip(pending)
        .filter(|(_, p)| usable(p))
        .filter_map(|(e, p)| p.here().map(|p| (p.first_seen, e.by)))
        .min_by_key(|(first_seen, _)| *first_seen);
    let missing = Places::such_that(pending, |p| !usable(p));
    let Some((first_seen, by)) = oldest else {
        let change = Change::Pend { first_seen: now, places: missing };
        return (Verdict::New { wait: rules.delay }, change);
    };
    let waited = now.since(first_seen);
    if waited < rules.delay {
        let wait = Seconds(rules.delay.0 - waited.0);
        // The clock keeps running from the first attempt; identities that come with a retry are tied to it.
        let change =
            if missing.is_empty() { Change::None } else { Change::Pend { first_seen, places: missing } };
        return (Verdict::Early { waited, wait }, change);
    }
    (Verdict::Retried { waited, by }, Change::Admit { first_seen, due_to: DueTo::Client })
}

/// The first attempt of a sender that has come back in time, though from another network each time. It says
/// nothing for these networks: who makes a botnet repeat itself for half an hour gets one mail through.
fn tried_from_many_networks(rules: &Rules, pending: &PendingSide, now: Timestamp) -> Option<Timestamp> {
    let attempt = |first_seen| Pending { first_seen, passed: None };
    let counts = |first_seen| attempt_counts(rules, &attempt(first_seen), None, now);
    let others = pending.elsewhere.iter().filter(|other| counts(other.first_seen));
    let first_seen = others.clone().map(|other| other.first_seen).min()?;
    let networks: BTreeSet<_> = others.map(|other| other.network).collect();
    let waited = now.since(first_seen) >= rules.delay.max(MANY_NETWORKS_WAIT);
    (waited && networks.len() + 1 >= MANY_NETWORKS).then_some(first_seen)
}

/// Whether something that was last counted at `last` may be counted again. A time from the future was written
/// before the clock was set back: it must not stop the counting until then.
fn may_count(last: Timestamp, now: Timestamp) -> bool {
    last > now || now.since(last) >= COUNT_INTERVAL
}

/// What an identity has earned after a pass at `now`; its records are kept for `keep` after they were last
/// seen.
#[must_use]
pub fn count_pass(keep: Seconds, earned: Option<Earned>, now: Timestamp) -> Earned {
    match earned.filter(|e| holds(e.last_seen, keep, now)) {
        None => Earned {
            passes: 1,
            first_seen: now,
            counted: now,
            last_seen: now,
            outcomes: Outcomes::passes(1),
            blamed: Timestamp(0),
        },
        Some(e) if !may_count(e.counted, now) => Earned { last_seen: now, ..e },
        Some(e) => Earned {
            passes: e.passes.saturating_add(1),
            counted: now,
            last_seen: now,
            outcomes: e.outcomes.and(false),
            ..e
        },
    }
}

/// What an identity has earned after its mail turned out to be spam at `now`, in which it loses `passes`.
#[must_use]
pub fn count_spam(earned: Earned, passes: u32, now: Timestamp) -> Earned {
    let earned = Earned { passes: earned.passes.saturating_sub(passes), ..earned };
    if !may_count(earned.blamed, now) {
        return earned;
    }
    Earned { outcomes: earned.outcomes.and(true), blamed: now, ..earned }
}

impl Verdict {
    /// The words for Exim.
    #[must_use]
    pub fn reply(self, mode: Mode) -> Reply {
        let identity = |by| Some(Matched::Identity(by));
        let (reason, wait, delay, by) = match self {
            Self::New { wait } | Self::NewButLikely { wait } => (Reason::New, Some(wait), None, None),
            Self::Early { wait, .. } => (Reason::Early, Some(wait), None, None),
            Self::Trapped { wait } => (Reason::Trapped, Some(wait), None, None),
            Self::Retried { waited, by } | Self::RetriedSoon { waited, by } => {
                (Reason::Retried, None, Some(waited), identity(by))
            }
            Self::Likely => (Reason::Likely, None, None, None),
            Self::CameBack { waited } => (Reason::Retried, None, Some(waited), Some(Matched::Message)),
            Self::SenderCameBack { waited } => (Reason::Retried, None, Some(waited), Some(Matched::Sender)),
            Self::Known { by } => (Reason::Known, None, None, identity(by)),
            Self::Auto { by } => (Reason::Auto, None, None, identity(by)),
            Self::Whitelisted { .. } => (Reason::Whitelisted, None, None, None),
            Self::Replied => (Reason::Replied, None, None, None),
            Self::Released => (Reason::Released, None, None, None),
            Self::Local => (Reason::Local, None, None, None),
            Self::Off => (Reason::Off, None, None, None),
            Self::Unreadable => return Reply::error(Fault::StoreDamaged),
        };
        let would = match self {
            Self::NewButLikely { .. } => Some(Action::Pass),
            Self::RetriedSoon { .. } => Some(Action::Defer),
            _ => None,
        };
        let mut reply = Reply { wait, delay, by, would, ..Reply::new(reason) };
        if mode == Mode::Observe && !matches!(reason, Reason::Local | Reason::Off) {
            reply.would = Some(reply.action);
            reply.action = Action::Pass;
        }
        reply
    }
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
