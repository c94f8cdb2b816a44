//! The records of one question in this store: look-ups and writes, of LMDB's kind.

use super::entries::{Entry, Summary};
use super::error::StoreError;
use super::lmdb::{Patience, Snapshot, Trouble, Writer};
use super::record::{self, Ended, Facts, Record, Texts, Trial};
use super::update::{Subject, Update, What};
use super::{SUMMARY_KEY, Store, Table, breaker};
use crate::evidence::{Found, KnownEvidence, KnownSide, Pending, PendingSide, Places};
use crate::identity::Identity;
use crate::learned::{Learn, Learned, Outcome, Pattern};
use crate::memory::{Decision, Question, Records};
use crate::policy::{Change, DueTo, Verdict};
use crate::rules::Mode;
use crate::time::Timestamp;
use crate::triplet::{IdentityKeys, Key, Secret};
use crate::whitelist::{ListKind, sender_is_authenticated};
use std::cell::Cell;

/// As many first attempts with one sender and recipient are looked at: more than any pool has networks, and
/// about as many as a page holds.
pub const MOST_OF_A_PAIR: usize = 64;

/// Looks at a key and its value; `false` says stop.
type Visit<'v> = &'v mut dyn FnMut(&[u8], &[u8]) -> bool;

/// The records of one question in the store; the breaker knows that they are in use.
pub struct StoredRecords<'s> {
    pub(super) store: &'s Store,
    pub(super) question: &'s Question<'s>,
    pub(super) keys: Vec<IdentityKeys>,
    /// The last commits of `known` and of `pending` when they were read: while they are the last, what was
    /// read holds.
    seen: [Cell<usize>; 2],
    /// Whether the client's network had a record of a first attempt then.
    was_tried: Cell<bool>,
    _under_way: Option<breaker::Call<'s>>,
}

impl<'s> StoredRecords<'s> {
    pub(super) fn of(store: &'s Store, question: &'s Question<'s>) -> Result<Self, StoreError> {
        let keys = question.triplet.keys(store.secret());
        let _under_way = store.begin(&keys, question.now)?;
        Ok(Self { store, question, keys, seen: Default::default(), was_tried: Cell::default(), _under_way })
    }
}

impl Records for StoredRecords<'_> {
    fn known(&self, whole: bool) -> Result<KnownSide, StoreError> {
        self.store.carry_what_is_due(self.question.now);
        self.read_known(whole)
    }

    fn pending(&self) -> Result<PendingSide, StoreError> {
        match self.store.pending_if_there()? {
            Some(pending) => pending.read(|snapshot| {
                self.see(1, snapshot);
                self.pending_side(|from, visit| snapshot.each_from(from, visit), |key| snapshot.get(key))
            }),
            None => {
                let identities = vec![Found::Absent; self.keys.len()];
                Ok(PendingSide { identities, learned: self.learned(), ..PendingSide::default() })
            }
        }
    }

    fn apply(&self, (verdict, change): Decision) -> Result<Decision, StoreError> {
        match change {
            Change::None => {}
            Change::Renew => {
                // The answer holds, whether or not the lock is free for it.
                let keys = self.keys.iter().flat_map(|keys| [keys.identity, keys.known]).collect();
                let _ = self.store.queue(&self.update(What::Renew(keys)), Patience::None);
            }
            Change::Pend { .. } | Change::Admit { .. } => return self.record((verdict, change)),
        }
        Ok((verdict, Change::None))
    }

    fn count(&self, verdict: &Verdict) {
        let Question { rules, now, .. } = *self.question;
        let (is_early, waited) = match *verdict {
            // Who is only observed need not come back.
            _ if rules.mode != Mode::Enforce => return,
            Verdict::Early { waited, .. } => (true, waited),
            Verdict::Retried { waited, .. }
            | Verdict::RetriedSoon { waited, .. }
            | Verdict::CameBack { waited }
            | Verdict::SenderCameBack { waited } => (false, waited),
            _ => return,
        };
        let Some(((counters, early), pair)) =
            self.store.counters().zip(self.store.early_retries()).zip(self.pending_pair())
        else {
            return;
        };
        let first_seen = Timestamp(now.0.saturating_sub(waited.0));
        if is_early && early.note(pair, first_seen, now) {
            counters.count_early(waited, now, now);
        } else if !is_early && let Some(at) = early.take(pair, first_seen, now) {
            counters.count_early_that_passed(at.since(first_seen), at, now);
        }
    }
}

impl StoredRecords<'_> {
    fn read_known(&self, whole: bool) -> Result<KnownSide, StoreError> {
        self.store.known.read(|snapshot| {
            self.see(0, snapshot);
            self.known_side(whole, |key| snapshot.get(key))
        })
    }

    fn see(&self, table: usize, snapshot: &Snapshot<'_>) {
        if let Some(seen) = self.seen.get(table) {
            seen.set(snapshot.version());
        }
    }

    /// Whether nobody has written since `known` and `pending` were read, whose last commit is `pending` now.
    pub(super) fn still_holds(&self, pending: usize) -> bool {
        self.seen.each_ref().map(Cell::get) == [self.store.known.version(), pending]
    }

    /// Records a first attempt, or that a retry has passed, if that is still what is to be done under the
    /// lock.
    fn record(&self, decision: Decision) -> Result<Decision, StoreError> {
        let Question { rules, now, .. } = *self.question;
        let mut queued = None;
        let mut counts = Counts::default();
        let decision = self.store.pending()?.write(self.store.patience(), |writer| {
            (queued, counts) = (None, Counts::default());
            let (verdict, change) = if self.still_holds(writer.version_before()) {
                decision
            } else {
                self.question.decide::<Trouble>(
                    || Ok(self.read_known(false)?),
                    || {
                        let get = |key: &[u8]| writer.get(key);
                        Ok(self.pending_side(|from, visit| writer.each_from(from, visit), get)?)
                    },
                )?
            };
            match change {
                Change::Pend { first_seen, places } => {
                    let (is_new, wait) = match verdict {
                        Verdict::New { wait } | Verdict::NewButLikely { wait } => (true, wait),
                        Verdict::Early { wait, .. } => (false, wait),
                        _ => (false, rules.delay),
                    };
                    let attempt = Attempt {
                        record: Pending { first_seen, passed: None },
                        ripe: now.plus(wait),
                        expires: first_seen.plus(rules.window),
                        trial: self.trial().filter(|_| is_new),
                    };
                    let room = self.put_pending(writer, &attempt, places)?;
                    // An early retry has its record. What is new, and could not come back to one, passes.
                    if !room && is_new {
                        return Err(StoreError::Crowded { path: self.store.settings.path.clone() }.into());
                    }
                    counts.tried = attempt.trial.map(|trial| (trial, Outcome::Began));
                }
                Change::Admit { first_seen, due_to } => {
                    if due_to == DueTo::Sender {
                        self.use_up(writer)?;
                    }
                    if due_to == DueTo::Client {
                        let came_back = self.take_trial(writer, first_seen)?;
                        counts.tried = came_back.map(|trial| (trial, Outcome::CameBack));
                    }
                    // Marked until it is among what is known, which takes a second at most.
                    let attempt = Attempt {
                        record: Pending { first_seen, passed: Some(now) },
                        ripe: now,
                        expires: now.plus(rules.window),
                        trial: None,
                    };
                    let all = Places::such_that(&self.keys, |_| true);
                    self.put_pending(writer, &attempt, all)?;
                    queued = Some(self.store.enqueue(writer, &self.admission(first_seen, due_to))?);
                }
                Change::None | Change::Renew => return Ok((verdict, change)),
            }
            counts.ended = std::mem::take(&mut writer.ended);
            Ok((verdict, Change::None))
        })?;
        self.count_tried(&counts);
        if let Some(long) = queued {
            self.store.carry_at_once(long, now)?;
        }
        Ok(decision)
    }

    /// What a first attempt counts for, if anything is learned from it. Who is only observed need not come back.
    fn trial(&self) -> Option<Trial> {
        let Question { triplet, rules, .. } = self.question;
        let learns = rules.learn != Learn::Off && rules.mode == Mode::Enforce;
        let client = *self.keys.first()?.identity.0.first_chunk()?;
        learns.then(|| Trial { pattern: Pattern::of(triplet), client })
    }

    /// What became of attempts like this one.
    fn learned(&self) -> Option<Learned> {
        let Question { triplet, rules, .. } = self.question;
        let table = self.store.learned().filter(|_| rules.learn != Learn::Off)?;
        Some(Learned::new(table.tried(Pattern::of(triplet))?, &self.keys.first()?.pending))
    }

    /// What the first attempt counts for that has come back, from whatever network. Its record there counts no
    /// more.
    fn take_trial(&self, writer: &mut Writer<'_>, first_seen: Timestamp) -> lmdb::Result<Option<Trial>> {
        let trial_of = |value: &[u8]| record::trial(value).filter(|(since, _)| *since == first_seen);
        let mut found = None;
        for keys in &self.keys {
            found = writer.get(&keys.pending.0)?.and_then(trial_of);
            if found.is_some() {
                break;
            }
        }
        let Some(((_, trial), own)) = found.zip(self.keys.first()) else { return Ok(None) };
        // See `Triplet::keys`: the keys of one mail differ by the first halves of their identities' keys.
        let Key(mut there) = own.pending;
        for ((byte, own), other) in there.iter_mut().skip(8).zip(own.identity.0).zip(trial.client) {
            *byte ^= own ^ other;
        }
        if there != own.pending.0
            && let Some(value) = writer.get(&there)?.filter(|value| trial_of(value).is_some())
        {
            let counted = record::counted(value);
            writer.put(&there, &counted)?;
        }
        Ok(Some(trial))
    }

    fn count_tried(&self, counts: &Counts) {
        let now = self.question.now;
        if let Some(((trial, outcome), table)) = counts.tried.zip(self.store.learned()) {
            table.count(trial.pattern, outcome, now);
        }
        self.store.count_ended(&counts.ended, now);
    }

    pub(super) fn update(&self, what: What) -> Update {
        Update { now: self.question.now, keep: self.question.rules.keep(), what }
    }

    fn admission(&self, first_seen: Timestamp, due_to: DueTo) -> Update {
        let Question { triplet, .. } = self.question;
        // A release is for one mail. That of a whole network stays until it lapses.
        let mut used = match due_to {
            DueTo::Release => triplet.released_keys(self.store.secret()),
            DueTo::Client | DueTo::Sender => Vec::new(),
        };
        used.truncate(2);
        let counts = due_to == DueTo::Client;
        let texts = self.store.texts(String::new(), triplet.sender, triplet.recipient.as_bytes());
        let subject = |(identity, keys): (&Identity, &IdentityKeys)| {
            let text = self.store.texts(identity.to_string(), b"", b"").identity;
            Subject { by: identity.by(), keys: *keys, text }
        };
        let subjects = triplet.identities.iter().zip(&self.keys).map(subject).collect();
        self.update(What::Admit { subjects, texts, first_seen, counts, used })
    }

    fn known_side<'t>(
        &self,
        whole: bool,
        get: impl Fn(&[u8]) -> lmdb::Result<Option<&'t [u8]>>,
    ) -> lmdb::Result<KnownSide> {
        let Question { triplet, rules, now } = *self.question;
        let read = |(identity, keys): (&Identity, &IdentityKeys)| {
            let known = record::known(get(&keys.known.0)?);
            Ok(KnownEvidence { by: identity.by(), earned: Found::Absent, known })
        };
        let mut identities: Vec<KnownEvidence> =
            triplet.identities.iter().zip(&self.keys).map(read).collect::<lmdb::Result<_>>()?;
        // A known triplet needs no more. In a large store each look-up is a miss of every cache.
        let open = whole || !identities.iter().any(|e| e.passed(rules, now));
        if open {
            for (evidence, keys) in identities.iter_mut().zip(&self.keys) {
                evidence.earned = record::earned(get(&keys.identity.0)?);
            }
        }
        let mut side = KnownSide { identities, ..KnownSide::default() };

        // One record says whether there is anything else to look up. Nothing is, where a later version wrote
        // it.
        let summary = get(SUMMARY_KEY)?.and_then(Summary::decode).unwrap_or_default();
        let secret = self.store.secret();
        let entry = |key: Key| Ok(get(&key.0)?.and_then(Entry::decode));
        for (kind, text) in summary.list.candidates(triplet, rules.recipient_delimiter) {
            let Some(entry) = entry(secret.listed(kind, &text))? else { continue };
            let vouched =
                kind != ListKind::Sender || entry.unauthenticated || sender_is_authenticated(triplet);
            if entry.until >= now && vouched {
                side.whitelisted = Some(kind);
                break;
            }
        }
        if summary.trapped >= now
            && let Some(network) = self.keys.first()
        {
            side.trap = entry(secret.trap(network.identity))?.map(|entry| entry.trap());
        }
        if open && summary.replied >= now {
            let plain = triplet.without_extension(rules.recipient_delimiter);
            for triplet in [Some(triplet), plain.as_ref()].into_iter().flatten() {
                let domain = triplet.replied_domain_key(secret).filter(|_| rules.replied_domain);
                let just_sent = triplet.just_sent_keys(secret);
                for key in just_sent.into_iter().chain([triplet.replied_key(secret)]).chain(domain) {
                    side.replied = side.replied.max(entry(key)?.map(|entry| entry.permit()));
                }
            }
        }
        if open && summary.released >= now {
            for key in triplet.released_keys(secret) {
                side.released = side.released.max(entry(key)?.map(|entry| entry.permit()));
            }
        }
        Ok(side)
    }

    /// The records of one sender and recipient lie side by side: where nobody else has tried, they are found
    /// with one look.
    fn pending_side<'t>(
        &self,
        each_from: impl FnOnce(&[u8], Visit<'_>) -> lmdb::Result<()>,
        get: impl Fn(&[u8]) -> lmdb::Result<Option<&'t [u8]>>,
    ) -> lmdb::Result<PendingSide> {
        let mut side = PendingSide {
            identities: vec![Found::Absent; self.keys.len()],
            elsewhere: Vec::new(),
            learned: self.learned(),
        };
        let Some(pair) = self.pending_pair() else { return Ok(side) };
        let mut own_network = None;
        let mut visited = 0;
        each_from(&pair, &mut |key, value| {
            if !key.starts_with(&pair) || visited == MOST_OF_A_PAIR {
                return false;
            }
            visited += 1;
            let place = self.keys.iter().position(|keys| keys.pending.0 == key);
            match place.and_then(|place| side.identities.get_mut(place)) {
                Some(found) => *found = record::pending(Some(value)),
                None => {
                    let own = *own_network.get_or_insert_with(|| self.network());
                    side.elsewhere.extend(record::elsewhere(value).filter(|other| other.network != own));
                }
            }
            true
        })?;
        if visited == MOST_OF_A_PAIR {
            for (found, keys) in side.identities.iter_mut().zip(&self.keys) {
                *found = record::pending(get(&keys.pending.0)?);
            }
        }
        self.was_tried.set(side.identities.first().is_some_and(|own| own.here().is_some()));
        Ok(side)
    }

    /// What the keys of all first attempts with this sender and recipient begin with.
    fn pending_pair(&self) -> Option<[u8; 8]> {
        self.keys.first()?.pending.0.first_chunk().copied()
    }

    /// The number of the client's network.
    fn network(&self) -> u32 {
        let network = self.question.triplet.identities.first();
        network.map_or(0, |network| crowd(self.store.secret(), network))
    }

    /// No other mail passes because of the attempts that were seen from other networks. Who comes back from
    /// one of them still passes there.
    fn use_up(&self, writer: &mut Writer<'_>) -> lmdb::Result<()> {
        let Some(pair) = self.pending_pair() else { return Ok(()) };
        let mut used = Vec::new();
        let mut visited = 0;
        writer.each_from(&pair, |key, value| {
            let is_seen = key.starts_with(&pair) && visited < MOST_OF_A_PAIR;
            visited += 1;
            used.extend(record::used_up(value).filter(|_| is_seen).map(|value| (key.to_vec(), value)));
            is_seen
        })?;
        used.iter().try_for_each(|(key, value)| writer.put(key, value))
    }

    /// Writes first attempts, or what has passed; `false` where there was no room for one that has to wait.
    fn put_pending(
        &self,
        writer: &mut Writer<'_>,
        Attempt { record: attempt, ripe, expires, trial }: &Attempt,
        places: Places,
    ) -> lmdb::Result<bool> {
        let Question { triplet, now, .. } = *self.question;
        let network = self.network();
        let bound = self.store.bound(Table::Pending, now);
        let mut room = true;
        for (place, (identity, keys)) in triplet.identities.iter().zip(&self.keys).enumerate() {
            if places.holds(place) {
                let record = Record {
                    by: identity.by(),
                    expires: *expires,
                    facts: Facts::Pending { record: *attempt, ripe: *ripe, network },
                    texts: self.texts(identity),
                };
                let bytes = match trial {
                    Some(trial) => trial.behind(record.encode()),
                    None => record.encode(),
                };
                // In the place of one that has ended.
                if trial.is_some() && place == 0 && self.was_tried.get() {
                    writer.tidy_away(&keys.pending.0, true)?;
                }
                writer.put(&keys.pending.0, &bytes)?;
                if !writer.tidy(&keys.pending, bound)? && attempt.passed.is_none() {
                    writer.delete(&keys.pending.0)?;
                    room = false;
                }
            }
        }
        Ok(room)
    }

    fn texts(&self, identity: &Identity) -> Texts {
        let triplet = self.question.triplet;
        self.store.texts(identity.to_string(), triplet.sender, triplet.recipient.as_bytes())
    }
}

/// A first attempt as it is written.
struct Attempt {
    record: Pending,
    ripe: Timestamp,
    expires: Timestamp,
    trial: Option<Trial>,
}

/// What is counted after a commit.
#[derive(Default)]
struct Counts {
    tried: Option<(Trial, Outcome)>,
    ended: Vec<Ended>,
}

/// Whose flood a first attempt of this network may be part of: a quarter of a key, enough to tell networks
/// apart on one page.
#[must_use]
pub fn crowd(secret: &Secret, network: &Identity) -> u32 {
    let Key(key) = secret.identity(&network.crowd());
    key.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
}
