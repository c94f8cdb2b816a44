//! The decision. [`decide`] takes values and returns values: no I/O, no clock, no global. The live call, a
//! peek, `eximgrey explain` and the tests all ask this one function.
//!
//! It is asked in steps, because what need not be read is not read: it answers [`Step::ReadKnown`] or
//! [`Step::ReadPending`] until it has seen enough.

use crate::identity::MAX_IDENTITIES;
use crate::reply::{Action, By, Fault, Matched, Reason, Reply};
use crate::rules::{Mode, Rules};
use crate::time::{Seconds, Timestamp};
use crate::whitelist::ListKind;

/// Counted at most once in this time for each identity: one burst of mail is one proof.
pub const COUNT_INTERVAL: Seconds = Seconds::HOUR;

/// A record in the store, as far as the decision needs it.
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Earned {
    /// Passes counted.
    pub passes: u32,
    /// When the first was counted.
    pub first_seen: Timestamp,
    /// When the last was counted.
    pub counted: Timestamp,
    /// When the identity was last seen to pass, or up to a sixteenth of the lifetime before that.
    pub last_seen: Timestamp,
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
    /// Whether its identities were counted for it.
    pub counted: bool,
}

/// A first attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending {
    /// When it was.
    pub first_seen: Timestamp,
}

/// The known records of one identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownEvidence {
    /// The kind of the identity.
    pub by: By,
    /// What it has earned; [`Found::Absent`] also where a known triplet settles the matter.
    pub earned: Found<Earned>,
    /// The triplet with this identity.
    pub known: Found<Known>,
}

impl KnownEvidence {
    /// The triplet, if it passed within the lifetime.
    #[must_use]
    pub fn passed(&self, rules: &Rules, now: Timestamp) -> Option<Known> {
        self.known.here().copied().filter(|record| fresh(record.last_seen, rules, now))
    }
}

/// A trapped network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trap {
    /// When it was trapped.
    pub set: Timestamp,
    /// Until when.
    pub until: Timestamp,
}

/// What lasts until a moment and lets mail of a sender to a recipient pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Leave {
    /// The last moment.
    pub until: Timestamp,
}

/// The records of `known`; identities in the order of the triplet's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownSide {
    /// The kind of the administrator's whitelist entry that matches.
    pub whitelisted: Option<ListKind>,
    /// Of the client's network.
    pub trap: Option<Trap>,
    /// Our user wrote to the sender.
    pub replied: Option<Leave>,
    /// The administrator released the mail.
    pub released: Option<Leave>,
    /// One an identity.
    pub identities: Vec<KnownEvidence>,
}

/// All that has been read for a decision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// `None` until read.
    pub known: Option<KnownSide>,
    /// `None` until read.
    pub pending: Option<Vec<Found<Pending>>>,
    /// Where the client has come back for this message: when another recipient of it was first tried.
    pub came_back: Option<Timestamp>,
}

/// Some of a triplet's identities, by their place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Places(u8);

impl Places {
    /// The places for which `test` holds.
    pub fn such_that<T>(items: &[T], test: impl Fn(&T) -> bool) -> Self {
        Self(
            items
                .iter()
                .take(MAX_IDENTITIES)
                .enumerate()
                .fold(0, |set, (i, item)| set | (u8::from(test(item)) << i)),
        )
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
        /// Whether the identities earned it themselves and are counted.
        counts: bool,
    },
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

/// A time so little ahead is no clock set back: another process was faster to the clock, or slower to the lock.
const CLOCK_SLACK: Seconds = Seconds::MINUTE;

/// Whether a record that was last seen at `seen` still holds. One from the future does: the clock was ahead once,
/// and nobody shall be locked out for that.
fn fresh(seen: Timestamp, rules: &Rules, now: Timestamp) -> bool {
    now.since(seen) <= rules.keep()
}

/// Whether a last-seen time is worth a write: a sixteenth of the lifetime old, or from the future.
fn stale(seen: Timestamp, rules: &Rules, now: Timestamp) -> bool {
    seen > now || now.since(seen) > rules.margin()
}

/// Decides about a triplet.
///
/// `local` says that there is no client address. The order: off and local, the whitelist, traps, known triplets, identities
/// that have proved themselves, replies and releases, domains known to the site, first attempts, and where these say wait,
/// what the client has come back for.
#[must_use]
pub fn decide(rules: &Rules, local: bool, evidence: &Evidence, now: Timestamp) -> Step {
    if local {
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
    let (verdict, change) = decide_pending(rules, known, pending, now);
    // Who has come back has come back for the whole message. A sender that stops at the first 451 would otherwise need
    // two attempts for each recipient. The recipient's own delay and window hold.
    if let Verdict::New { .. } | Verdict::Early { .. } = verdict
        && let Some(first_seen) = evidence.came_back
        && (rules.delay..=rules.window).contains(&now.since(first_seen))
    {
        let verdict = Verdict::CameBack { waited: now.since(first_seen) };
        return Step::Answer(verdict, Change::Admit { first_seen, counts: true });
    }
    Step::Answer(verdict, change)
}

/// What the known records settle, if they do.
fn decide_known(rules: &Rules, side: &KnownSide, now: Timestamp) -> Option<(Verdict, Change)> {
    if let Some(kind) = side.whitelisted {
        return Some((Verdict::Whitelisted { kind }, Change::None));
    }
    // A trap from the future was set before the clock was set back, and could last for years.
    if let Some(trap) = side.trap.filter(|trap| trap.set <= now.plus(CLOCK_SLACK) && now < trap.until) {
        return Some((Verdict::Trapped { wait: trap.until.since(now) }, Change::None));
    }

    let known = &side.identities;
    let earned = |e: &KnownEvidence| e.earned.here().copied().filter(|r| fresh(r.last_seen, rules, now));
    let with_passes = |least: u32, wanted: fn(By) -> bool| {
        let mut all = known.iter().filter(|e| wanted(e.by)).filter_map(|e| earned(e).map(|r| (e.by, r)));
        all.find(|(_, r)| least > 0 && r.passes >= least)
            .map(|(by, r)| (Verdict::Auto { by }, renew_if(stale(r.last_seen, rules, now))))
    };
    // Before what identities have earned: most mail is settled here, and the store need not look for that.
    if let Some((by, record)) = known.iter().find_map(|e| e.passed(rules, now).map(|r| (e.by, r))) {
        return Some((Verdict::Known { by }, renew_if(stale(record.last_seen, rules, now))));
    }
    if let Some(auto) = with_passes(rules.auto_after, |_| true) {
        return Some(auto);
    }
    let lasts = |leave: Option<Leave>| leave.is_some_and(|leave| now <= leave.until);
    if lasts(side.replied) {
        return Some((Verdict::Replied, Change::None));
    }
    if lasts(side.released) {
        return Some((Verdict::Released, Change::Admit { first_seen: now, counts: false }));
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

/// Whether an identity has proved itself and is not to be trapped.
#[must_use]
pub fn has_proved_itself(rules: &Rules, earned: &Earned, now: Timestamp) -> bool {
    rules.auto_after > 0 && earned.passes >= rules.auto_after && fresh(earned.last_seen, rules, now)
}

const fn renew_if(worth_it: bool) -> Change {
    if worth_it { Change::Renew } else { Change::None }
}

fn decide_pending(
    rules: &Rules,
    known: &KnownSide,
    pending: &[Found<Pending>],
    now: Timestamp,
) -> (Verdict, Change) {
    if pending.iter().any(|p| matches!(p, Found::Unreadable)) {
        return (Verdict::Unreadable, Change::None);
    }
    // A first attempt from the future was made before the clock was set back. How long ago is not known, so it starts anew:
    // that costs its sender one delay, where waiting for the clock could cost days. One from before a trap does not count.
    let usable = |p: &Found<Pending>| {
        p.here().is_some_and(|p| {
            p.first_seen <= now.plus(CLOCK_SLACK)
                && now.since(p.first_seen) <= rules.window
                && known
                    .trap
                    .is_none_or(|trap| trap.set > now.plus(CLOCK_SLACK) || p.first_seen >= trap.until)
        })
    };
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
        return (Verdict::Early { wait }, change);
    }
    (Verdict::Retried { waited, by }, Change::Admit { first_seen, counts: true })
}

/// What an identity has earned after a pass at `now`.
#[must_use]
pub fn count_pass(rules: &Rules, earned: Option<Earned>, now: Timestamp) -> Earned {
    match earned.filter(|e| fresh(e.last_seen, rules, now)) {
        None => Earned { passes: 1, first_seen: now, counted: now, last_seen: now },
        Some(e) if e.counted <= now && now.since(e.counted) < COUNT_INTERVAL => {
            Earned { last_seen: now, ..e }
        }
        Some(e) => Earned { passes: e.passes.saturating_add(1), counted: now, last_seen: now, ..e },
    }
}

impl Verdict {
    /// The words for Exim.
    #[must_use]
    pub fn reply(self, mode: Mode) -> Reply {
        let identity = |by| Some(Matched::Identity(by));
        let (reason, wait, delay, by) = match self {
            Self::New { wait } => (Reason::New, Some(wait), None, None),
            Self::Early { wait } => (Reason::Early, Some(wait), None, None),
            Self::Trapped { wait } => (Reason::Trapped, Some(wait), None, None),
            Self::Retried { waited, by } => (Reason::Retried, None, Some(waited), identity(by)),
            Self::CameBack { waited } => (Reason::Retried, None, Some(waited), Some(Matched::Message)),
            Self::Known { by } => (Reason::Known, None, None, identity(by)),
            Self::Auto { by } => (Reason::Auto, None, None, identity(by)),
            Self::Whitelisted { .. } => (Reason::Whitelisted, None, None, None),
            Self::Replied => (Reason::Replied, None, None, None),
            Self::Released => (Reason::Released, None, None, None),
            Self::Local => (Reason::Local, None, None, None),
            Self::Off => (Reason::Off, None, None, None),
            Self::Unreadable => return Reply::error(Fault::StoreDamaged),
        };
        let mut reply = Reply { wait, delay, by, ..Reply::new(reason) };
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
