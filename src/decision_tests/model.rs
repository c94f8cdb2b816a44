//! A memory of a few lines.

use crate::evidence::{
    Earned, Elsewhere, Found, Known, KnownEvidence, KnownSide, Pending, PendingSide, Permit, Trap,
};
use crate::identity::Identity;
use crate::learned::{Learn, Learned};
use crate::memory::{Decision, Event, Finding, Memory, Question, Records, Scope};
use crate::policy::{Change, DueTo, count_pass, count_spam, has_proved_itself, holds};
use crate::reply::Effect;
use crate::rules::Rules;
use crate::store::error::StoreError;
use crate::time::{Seconds, Timestamp};
use crate::triplet::Triplet;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// What keeps records in plain maps.
#[derive(Default)]
pub struct Model(RefCell<Tables>, Cell<Option<Learned>>);

type Pair = (String, Vec<u8>);

#[derive(Default)]
struct Tables {
    pending: BTreeMap<(Pair, String), Attempt>,
    known: BTreeMap<(Pair, String), Known>,
    earned: BTreeMap<String, Earned>,
    traps: BTreeMap<String, Trap>,
    replied: BTreeMap<Pair, Permit>,
    /// Of a registered domain and our user.
    just_sent: BTreeMap<(String, Vec<u8>), Permit>,
    /// Of a pair, of a pair from a network, of a network.
    released: BTreeMap<(Option<Pair>, Option<String>), Permit>,
}

struct Attempt {
    record: Pending,
    network: u32,
    used_up: bool,
}

pub struct ModelRecords<'m>(&'m Model, &'m Question<'m>);

fn pair(triplet: &Triplet<'_>) -> Pair {
    (triplet.sender_key.to_string(), triplet.recipient.as_bytes().to_vec())
}

fn name(identity: &Identity) -> String {
    format!("{} {identity}", identity.by().word())
}

/// The number of the client's network.
fn network(triplet: &Triplet<'_>) -> u32 {
    let mut hasher = DefaultHasher::new();
    name(&triplet.identities[0].crowd()).hash(&mut hasher);
    hasher.finish() as u32
}

/// The sender's domain, if there is one, then the host's.
fn domains(triplet: &Triplet<'_>) -> Vec<(String, Vec<u8>)> {
    let sender = String::from_utf8_lossy(triplet.sender);
    let host = triplet.identities.iter().find(|identity| identity.by() == crate::reply::By::Host);
    let sender = sender.rsplit_once('@').map(|(_, domain)| domain.to_owned());
    let domains = sender.into_iter().chain(host.map(ToString::to_string));
    domains.map(|domain| (domain, triplet.recipient.as_bytes().to_vec())).collect()
}

fn releases(triplet: &Triplet<'_>) -> Vec<(Option<Pair>, Option<String>)> {
    let network = triplet.identities.first().map(name);
    vec![(Some(pair(triplet)), None), (Some(pair(triplet)), network.clone()), (None, network)]
}

impl Model {
    /// From now on this was learned of every mail: what is counted when is up to tidying.
    pub fn learn(&self, learned: Option<Learned>) {
        self.1.set(learned);
    }
}

impl Memory for Model {
    type Records<'q> = ModelRecords<'q>;

    fn about<'q>(&'q self, question: &'q Question<'q>) -> Result<ModelRecords<'q>, StoreError> {
        Ok(ModelRecords(self, question))
    }

    fn tell(&self, event: &Event<'_>) -> Result<Effect, StoreError> {
        let mut records = self.0.borrow_mut();
        let mut told = Effect::Nothing;
        match event {
            Event::Sent(Question { triplet, rules, now }) => {
                let Tables { replied, just_sent, .. } = &mut *records;
                let mut renew = |permit: &mut Permit, lasts: Seconds, margin| {
                    let until = now.plus(lasts);
                    if permit.until > until || permit.until.plus(margin) < until {
                        *permit = Permit { until };
                        told = Effect::Recorded;
                    }
                };
                renew(replied.entry(pair(triplet)).or_default(), rules.keep(), rules.margin());
                if let Some(key) = domains(triplet).first() {
                    let half = Seconds::MINUTE.times(30);
                    renew(just_sent.entry(key.clone()).or_default(), half.times(3), half);
                }
            }
            Event::Feedback(Question { triplet, rules, now }, Finding::Spam) => {
                records.known.retain(|_, known| holds(known.last_seen, rules.keep(), *now));
                for identity in triplet.identities.iter().map(name) {
                    let known = records.known.remove(&(pair(triplet), identity.clone()));
                    let earned = records.earned.get_mut(&identity);
                    if known.is_some() || earned.is_some() {
                        told = Effect::Recorded;
                    }
                    if let Some(earned) = earned {
                        *earned = count_spam(*earned, known.map_or(0, |known| known.counted.into()), *now);
                    }
                    records.earned.retain(|_, earned| earned.passes > 0);
                }
            }
            Event::Feedback(Question { triplet, rules, now }, Finding::Ham) => {
                let Tables { known, earned, .. } = &mut *records;
                known.retain(|_, known| holds(known.last_seen, rules.keep(), *now));
                for identity in triplet.identities.iter().map(name) {
                    let Some(known) = known.get_mut(&(pair(triplet), identity.clone())) else { continue };
                    told = Effect::Recorded;
                    let lasts = |earned: &&mut Earned| holds(earned.last_seen, rules.keep(), *now);
                    if let Some(earned) = earned.get_mut(&identity).filter(lasts) {
                        let after = count_pass(rules.keep(), Some(*earned), *now);
                        known.counted += u8::from(after.counted != earned.counted);
                        *earned = after;
                    }
                }
                if told == Effect::Recorded {
                    records.renew(triplet, rules, *now);
                }
            }
            Event::Feedback(question, Finding::Trap) | Event::Trap(question) => {
                let Question { triplet, rules, now } = question;
                let of = |i: &Identity| records.earned.get(&name(i));
                if triplet.identities.iter().filter_map(of).any(|e| has_proved_itself(rules, e, *now)) {
                    return Ok(Effect::Spared);
                }
                let trap = Trap { set: *now, until: now.plus(rules.trap_time) };
                records.traps.insert(name(&triplet.identities[0]), trap);
                told = Effect::Recorded;
            }
            Event::Release(Question { triplet, rules, now }, scope) => {
                let key = releases(triplet)[*scope as usize].clone();
                if *scope == Scope::Network {
                    records.traps.remove(&name(&triplet.identities[0]));
                }
                records.released.insert(key, Permit { until: now.plus(rules.window) });
                told = Effect::Recorded;
            }
            Event::ForgetPair(Question { triplet, .. }) => {
                let before = records.known.len() + records.replied.len();
                records.known.retain(|(of, _), _| *of != pair(triplet));
                records.replied.remove(&pair(triplet));
                if before > records.known.len() + records.replied.len() {
                    told = Effect::Recorded;
                }
            }
            Event::ForgetClient(identities) => {
                let before = records.known.len() + records.earned.len();
                for identity in identities.iter().map(name) {
                    records.known.retain(|(_, of), _| *of != identity);
                    records.earned.remove(&identity);
                }
                if before > records.known.len() + records.earned.len() {
                    told = Effect::Recorded;
                }
            }
            Event::List(_) | Event::Unlist(..) => panic!("not modelled"),
        }
        Ok(told)
    }
}

impl Tables {
    fn renew(&mut self, triplet: &Triplet<'_>, rules: &Rules, now: Timestamp) {
        for identity in triplet.identities.iter().map(name) {
            let known = self.known.get_mut(&(pair(triplet), identity.clone())).map(|k| &mut k.last_seen);
            let earned = self.earned.get_mut(&identity).map(|e| &mut e.last_seen);
            let times = known.into_iter().chain(earned);
            times.filter(|seen| holds(**seen, rules.keep(), now)).for_each(|seen| *seen = now);
        }
    }
}

fn found<T: Copy>(record: Option<&T>) -> Found<T> {
    record.map_or(Found::Absent, |record| Found::Here(*record))
}

impl Records for ModelRecords<'_> {
    fn known(&self, whole: bool) -> Result<KnownSide, StoreError> {
        let Question { triplet, rules, now } = *self.1;
        let records = self.0.0.borrow();
        let of = |identity: &Identity| KnownEvidence {
            by: identity.by(),
            earned: found(records.earned.get(&name(identity))),
            known: found(records.known.get(&(pair(triplet), name(identity)))),
        };
        let mut identities: Vec<_> = triplet.identities.iter().map(of).collect();
        if !whole && identities.iter().any(|e| e.passed(rules, now)) {
            identities.iter_mut().for_each(|e| e.earned = Found::Absent);
        }
        Ok(KnownSide {
            whitelisted: None,
            trap: records.traps.get(&name(&triplet.identities[0])).copied(),
            replied: {
                let just_sent = domains(triplet);
                let just_sent = just_sent.iter().filter_map(|key| records.just_sent.get(key));
                just_sent.chain(records.replied.get(&pair(triplet))).max().copied()
            },
            released: releases(triplet).iter().filter_map(|key| records.released.get(key)).max().copied(),
            identities,
        })
    }

    fn pending(&self) -> Result<PendingSide, StoreError> {
        let records = self.0.0.borrow();
        let triplet = self.1.triplet;
        let own: Vec<_> = triplet.identities.iter().map(|identity| (pair(triplet), name(identity))).collect();
        let of = |key| found(records.pending.get(key).map(|attempt| &attempt.record));
        let elsewhere = |(key, attempt): (&(Pair, String), &Attempt)| {
            let same_mail = key.0 == pair(triplet) && !own.contains(key);
            let counts = same_mail && attempt.network != network(triplet) && !attempt.used_up;
            let (network, first_seen) = (attempt.network, attempt.record.first_seen);
            counts.then_some(Elsewhere { network, first_seen })
        };
        let elsewhere = records.pending.iter().filter_map(elsewhere).collect();
        let learned = self.0.1.get().filter(|_| self.1.rules.learn != Learn::Off);
        Ok(PendingSide { identities: own.iter().map(of).collect(), elsewhere, learned })
    }

    fn apply(&self, (verdict, change): Decision) -> Result<Decision, StoreError> {
        let Question { triplet, rules, now } = *self.1;
        let mut records = self.0.0.borrow_mut();
        let key = |identity: &Identity| (pair(triplet), name(identity));
        match change {
            Change::None => {}
            Change::Renew => records.renew(triplet, rules, now),
            Change::Pend { first_seen, places } => {
                for (place, identity) in triplet.identities.iter().enumerate() {
                    if places.holds(place) {
                        let record = Pending { first_seen, passed: None };
                        let attempt = Attempt { record, network: network(triplet), used_up: false };
                        records.pending.insert(key(identity), attempt);
                    }
                }
            }
            Change::Admit { first_seen, due_to } => {
                let counts = due_to == DueTo::Client;
                for identity in &triplet.identities {
                    records.pending.remove(&key(identity));
                    let before = records.earned.get(&name(identity)).copied();
                    let after = count_pass(rules.keep(), before, now);
                    if counts {
                        records.earned.insert(name(identity), after);
                    }
                    let counted = before.is_none_or(|before| before.passes != after.passes);
                    let counted = u8::from(counts && counted);
                    let known = Known { first_seen, passed: now, last_seen: now, counted };
                    records.known.insert(key(identity), known);
                }
                if due_to == DueTo::Release {
                    let used = releases(triplet);
                    records.released.retain(|key, _| !used[..2].contains(key));
                }
                if due_to == DueTo::Sender {
                    let of_pair = records.pending.iter_mut().filter(|(key, _)| key.0 == pair(triplet));
                    of_pair.for_each(|(_, attempt)| attempt.used_up = true);
                }
            }
        }
        Ok((verdict, Change::None))
    }
}
