//! A memory in this process that begins empty, and keeps by the same rules what the store would keep.

use super::figures::Crowd;
use eximgrey::evidence::{
    Earned, Elsewhere, Found, Known, KnownEvidence, KnownSide, Pending, PendingSide, Places,
};
use eximgrey::identity::Identity;
use eximgrey::memory::{Decision, Event, Memory, Question, Records};
use eximgrey::policy::{Change, DueTo, Verdict, count_pass, holds};
use eximgrey::reply::Effect;
use eximgrey::settings::StoreSettings;
use eximgrey::store::Table;
use eximgrey::store::any::Any;
use eximgrey::store::error::StoreError;
use eximgrey::store::record::{Facts, Record, Texts};
use eximgrey::store::records::{MOST_OF_A_PAIR, crowd};
use eximgrey::time::{Seconds, Timestamp};
use eximgrey::triplet::{IdentityKeys, Key, Secret};
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};

/// What has run out is taken out when there are twice as many records as after the last time, and not before
/// there are so many.
const FEW: usize = 10_000;

pub struct Recollection {
    secret: Secret,
    settings: StoreSettings,
    /// Whether what is known keeps its texts, to be learnt.
    texts: bool,
    tables: RefCell<Tables>,
}

#[derive(Default)]
struct Tables {
    known: HashMap<Key, Record>,
    /// Those of one sender and recipient side by side, as in the store.
    pending: BTreeMap<Key, Attempt>,
    known_sweep: Sweep,
    pending_sweep: Sweep,
    never_came_back: Crowd,
}

/// When a table was last looked through for what has run out, and with how many records it is to be done
/// again.
#[derive(Clone, Copy, Default)]
struct Sweep {
    at: usize,
    last: Timestamp,
}

struct Attempt {
    first_seen: Timestamp,
    expires: Timestamp,
    network: u32,
    used_up: bool,
    /// Of a first attempt that was refused: who it was, until it comes back.
    first: Option<Box<Who>>,
}

/// A client network and a sender.
pub struct Who {
    pub network: String,
    pub sender: Vec<u8>,
}

pub struct Recollected<'m> {
    memory: &'m Recollection,
    question: &'m Question<'m>,
    keys: Vec<IdentityKeys>,
}

impl Recollection {
    pub fn new(secret: Secret, settings: StoreSettings, texts: bool) -> Self {
        Self { secret, settings, texts, tables: RefCell::default() }
    }

    /// The first attempt of `question` was refused.
    pub fn refused(&self, question: &Question<'_>, who: Who) {
        let keys = question.triplet.keys(&self.secret);
        let mut tables = self.tables.borrow_mut();
        if let Some(attempt) = keys.first().and_then(|keys| tables.pending.get_mut(&keys.pending)) {
            attempt.first = Some(Box::new(who));
        }
    }

    /// Who would never have come back by `end`, and how many first attempts still may.
    pub fn lost(&self, end: Timestamp) -> (Crowd, u64) {
        let mut tables = self.tables.borrow_mut();
        tables.sweep_pending(end);
        let may_come_back = tables.pending.values().filter(|attempt| attempt.first.is_some()).count();
        (std::mem::take(&mut tables.never_came_back), may_come_back as u64)
    }

    /// What is known, to be taken in by a store.
    pub fn known(self, now: Timestamp) -> Vec<(Key, Any)> {
        let known = self.tables.into_inner().known.into_iter();
        known.filter(|(_, r)| r.expires >= now).map(|(key, r)| (key, Any::Attempt(r))).collect()
    }

    /// Of one more record.
    fn texts(&self, question: &Question<'_>, identity: &Identity) -> Texts {
        if !self.texts {
            return Texts::default();
        }
        let triplet = question.triplet;
        let (sender, recipient) = (triplet.sender.to_vec(), triplet.recipient.as_bytes().to_vec());
        Texts { identity: identity.to_string().into_bytes(), sender, recipient, cut: false }
    }
}

impl Tables {
    fn sweep_pending(&mut self, now: Timestamp) {
        let lost = &mut self.never_came_back;
        self.pending.retain(|_, attempt| {
            let over = attempt.expires < now;
            if over {
                attempt.first.iter().for_each(|who| lost.add(who));
            }
            !over
        });
    }

    const fn sweep(&mut self, table: Table) -> &mut Sweep {
        match table {
            Table::Known => &mut self.known_sweep,
            Table::Pending => &mut self.pending_sweep,
        }
    }

    /// Makes room; `false` where there is none.
    fn has_room(&mut self, table: Table, most: u64, now: Timestamp) -> bool {
        let length = |tables: &Self| match table {
            Table::Known => tables.known.len(),
            Table::Pending => tables.pending.len(),
        };
        let is_full = |length: usize| length as u64 >= most;
        let Sweep { at, last } = *self.sweep(table);
        // What is full is not looked through for each attempt.
        if length(self) >= at.max(FEW) || is_full(length(self)) && now.since(last) >= Seconds::HOUR {
            match table {
                Table::Known => self.known.retain(|_, record| record.expires >= now),
                Table::Pending => self.sweep_pending(now),
            }
            *self.sweep(table) = Sweep { at: 2 * length(self), last: now };
        }
        !is_full(length(self))
    }

    fn known(&self, key: Key) -> Found<Known> {
        match self.known.get(&key).map(|record| record.facts) {
            Some(Facts::Known(known)) => Found::Here(known),
            _ => Found::Absent,
        }
    }

    fn earned(&self, key: Key) -> Option<Earned> {
        match self.known.get(&key)?.facts {
            Facts::Identity(earned) => Some(earned),
            _ => None,
        }
    }

    /// The first attempts with this sender and recipient.
    fn of_pair(&mut self, pair: Key) -> impl Iterator<Item = (&Key, &mut Attempt)> {
        let is_of_pair = move |key: &Key| key.0.first_chunk::<8>() == pair.0.first_chunk::<8>();
        self.pending.range_mut(start(pair)..).take_while(move |(key, _)| is_of_pair(key)).take(MOST_OF_A_PAIR)
    }
}

/// The first key with the sender and recipient of this one.
fn start(mut pair: Key) -> Key {
    pair.0.iter_mut().skip(8).for_each(|byte| *byte = 0);
    pair
}

impl Memory for Recollection {
    type Records<'q> = Recollected<'q>;

    fn about<'q>(&'q self, question: &'q Question<'q>) -> Result<Recollected<'q>, StoreError> {
        Ok(Recollected { memory: self, question, keys: question.triplet.keys(&self.secret) })
    }

    /// A log tells of nothing but attempts.
    fn tell(&self, _: &Event<'_>) -> Result<Effect, StoreError> {
        Ok(Effect::Nothing)
    }
}

impl Recollected<'_> {
    fn network(&self) -> u32 {
        let network = self.question.triplet.identities.first();
        network.map_or(0, |network| crowd(&self.memory.secret, network))
    }

    fn pend(&self, tables: &mut Tables, first_seen: Timestamp, places: Places) -> bool {
        let Question { rules, now, .. } = *self.question;
        let network = self.network();
        let expires = first_seen.plus(rules.window);
        let room = tables.has_room(Table::Pending, self.memory.settings.max_pending, now);
        for (place, keys) in self.keys.iter().enumerate() {
            if places.holds(place) && (room || tables.pending.contains_key(&keys.pending)) {
                let attempt = Attempt { first_seen, expires, network, used_up: false, first: None };
                let before = tables.pending.insert(keys.pending, attempt);
                let lost = before.filter(|before| before.expires < now).and_then(|before| before.first);
                lost.iter().for_each(|who| tables.never_came_back.add(who));
            }
        }
        room
    }

    fn admit(&self, tables: &mut Tables, first_seen: Timestamp, due_to: DueTo) {
        let Question { triplet, rules, now } = *self.question;
        if let Some(pair) = self.keys.first().map(|keys| keys.pending) {
            for (_, attempt) in tables.of_pair(pair) {
                let came_back = match due_to {
                    DueTo::Sender => !std::mem::replace(&mut attempt.used_up, true),
                    DueTo::Client | DueTo::Release => attempt.first_seen == first_seen,
                };
                if came_back {
                    attempt.first = None;
                }
            }
        }
        let room = tables.has_room(Table::Known, self.memory.settings.max_known, now);
        let counts = due_to == DueTo::Client;
        let expires = now.plus(rules.keep());
        for (identity, keys) in triplet.identities.iter().zip(&self.keys) {
            tables.pending.remove(&keys.pending);
            let before = tables.earned(keys.identity);
            let after = count_pass(rules.keep(), before, now);
            let mut put = |key, facts, texts| {
                if room || tables.known.contains_key(&key) {
                    tables.known.insert(key, Record { by: identity.by(), expires, facts, texts });
                }
            };
            let texts = self.memory.texts(self.question, identity);
            if counts {
                let texts = Texts { sender: Vec::new(), recipient: Vec::new(), ..texts.clone() };
                put(keys.identity, Facts::Identity(after), texts);
            }
            let counted = u8::from(counts && before.is_none_or(|before| before.passes != after.passes));
            put(keys.known, Facts::Known(Known { first_seen, passed: now, last_seen: now, counted }), texts);
        }
    }

    fn renew(&self, tables: &mut Tables) {
        let Question { rules, now, .. } = *self.question;
        for key in self.keys.iter().flat_map(|keys| [keys.identity, keys.known]) {
            let Some(record) = tables.known.get_mut(&key) else { continue };
            let last_seen = match &mut record.facts {
                Facts::Known(known) => &mut known.last_seen,
                Facts::Identity(earned) => &mut earned.last_seen,
                Facts::Pending { .. } => continue,
            };
            if holds(*last_seen, rules.keep(), now) {
                *last_seen = now;
                record.expires = now.plus(rules.keep());
            }
        }
    }
}

impl Records for Recollected<'_> {
    fn known(&self, whole: bool) -> Result<KnownSide, StoreError> {
        let Question { triplet, rules, now } = *self.question;
        let tables = self.memory.tables.borrow();
        let read = |(identity, keys): (&Identity, &IdentityKeys)| KnownEvidence {
            by: identity.by(),
            earned: Found::Absent,
            known: tables.known(keys.known),
        };
        let mut identities: Vec<_> = triplet.identities.iter().zip(&self.keys).map(read).collect();
        if whole || !identities.iter().any(|e| e.passed(rules, now)) {
            for (evidence, keys) in identities.iter_mut().zip(&self.keys) {
                evidence.earned = tables.earned(keys.identity).map_or(Found::Absent, Found::Here);
            }
        }
        Ok(KnownSide { identities, ..KnownSide::default() })
    }

    fn pending(&self) -> Result<PendingSide, StoreError> {
        let mut tables = self.memory.tables.borrow_mut();
        let mut elsewhere = Vec::new();
        let own = self.network();
        if let Some(pair) = self.keys.first().map(|keys| keys.pending) {
            let counts = |key: &Key, attempt: &Attempt| {
                let is_own = attempt.network == own || self.keys.iter().any(|keys| keys.pending == *key);
                !is_own && !attempt.used_up
            };
            let others = tables.of_pair(pair).filter(|(key, attempt)| counts(key, attempt));
            elsewhere.extend(others.map(|(_, a)| Elsewhere { network: a.network, first_seen: a.first_seen }));
        }
        let read = |keys: &IdentityKeys| match tables.pending.get(&keys.pending) {
            Some(attempt) => Found::Here(Pending { first_seen: attempt.first_seen, passed: None }),
            None => Found::Absent,
        };
        // Nothing is learned here: as with `learn = "off"`.
        Ok(PendingSide { identities: self.keys.iter().map(read).collect(), elsewhere, learned: None })
    }

    fn apply(&self, (verdict, change): Decision) -> Result<Decision, StoreError> {
        let mut tables = self.memory.tables.borrow_mut();
        match change {
            Change::None => {}
            Change::Renew => self.renew(&mut tables),
            Change::Pend { first_seen, places } => {
                let room = self.pend(&mut tables, first_seen, places);
                // As in the store, what is new and finds no place passes.
                if !room && matches!(verdict, Verdict::New { .. }) {
                    return Err(StoreError::Crowded { path: self.memory.settings.path.clone() });
                }
            }
            Change::Admit { first_seen, due_to } => self.admit(&mut tables, first_seen, due_to),
        }
        Ok((verdict, Change::None))
    }
}

#[cfg(test)]
#[path = "memory_tests.rs"]
mod tests;
