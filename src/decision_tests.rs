//! The same claims on every memory, and each memory against a model of it.

use super::*;
use crate::evidence::{Earned, Known, KnownEvidence, Permit, Trap};
use crate::identity::{ClientNetwork, Domain, Identity, Prefixes};
use crate::memory::{Event, Finding, Scope};
use crate::policy::{count_pass, count_spam, has_proved_itself, holds};
use crate::reply::Effect;
use crate::sender::Level;
use crate::settings::StoreSettings;
use crate::store::Store;
use crate::time::Seconds;
use proptest::prelude::*;
use std::cell::RefCell;
use std::collections::BTreeMap;

const NOW: Timestamp = Timestamp(1_000_000_000);
const RULES: Rules = Rules::DEFAULT;

/// What keeps records in plain maps.
#[derive(Default)]
struct Model(RefCell<Tables>);

type Pair = (String, Vec<u8>);

#[derive(Default)]
struct Tables {
    pending: BTreeMap<(Pair, String), Pending>,
    known: BTreeMap<(Pair, String), Known>,
    earned: BTreeMap<String, Earned>,
    traps: BTreeMap<String, Trap>,
    replied: BTreeMap<Pair, Permit>,
    /// Of a registered domain and our user.
    just_sent: BTreeMap<(String, Vec<u8>), Permit>,
    /// Of a pair, of a pair from a network, of a network.
    released: BTreeMap<(Option<Pair>, Option<String>), Permit>,
}

struct ModelRecords<'m>(&'m Model, &'m Question<'m>);

fn pair(triplet: &Triplet<'_>) -> Pair {
    (triplet.sender_key.to_string(), triplet.recipient.as_bytes().to_vec())
}

fn name(identity: &Identity) -> String {
    format!("{} {identity}", identity.by().word())
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

    fn pending(&self) -> Result<Vec<Found<Pending>>, StoreError> {
        let records = self.0.0.borrow();
        let triplet = self.1.triplet;
        let of = |identity| found(records.pending.get(&(pair(triplet), name(identity))));
        Ok(triplet.identities.iter().map(of).collect())
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
                        records.pending.insert(key(identity), Pending { first_seen, passed: None });
                    }
                }
            }
            Change::Admit { first_seen, counts } => {
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
                if !counts {
                    let used = releases(triplet);
                    records.released.retain(|key, _| !used[..2].contains(key));
                }
            }
        }
        Ok((verdict, Change::None))
    }
}

/// Each kind of memory, empty.
fn memories() -> (Model, tempfile::TempDir, Store) {
    let (dir, store) = store(u64::MAX);
    (Model::default(), dir, store)
}

/// An empty store of so many first attempts.
fn store(max_pending: u64) -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let settings = StoreSettings { path: dir.path().into(), max_pending, ..StoreSettings::default() };
    let store = Store::open(&settings, Access::Record, NOW).unwrap().unwrap();
    (dir, store)
}

const MAIL: (&[usize], &str, &str) = (&[0], "a@x.example", "b@y.example");

fn triplet(identities: &[usize], sender: &'static str, recipient: &str) -> Triplet<'static> {
    let network = |a: &str| Identity::Network(ClientNetwork::of(a.parse().unwrap(), Prefixes::default()));
    let domain = |d: &str| Domain::parse(d.as_bytes()).unwrap();
    let identity = |place: &usize| match place {
        0 => network("192.0.2.1"),
        1 => network("198.51.100.1"),
        2 => Identity::Spf(domain("x.example")),
        3 => Identity::Spf(domain("z.example")),
        _ => Identity::Host(domain("pool.example")),
    };
    let identities = identities.iter().map(identity).collect();
    Triplet::new(identities, sender.as_bytes(), recipient.as_bytes(), b"", Level::Full)
}

fn attempt(
    memory: &impl Memory,
    (identities, sender, recipient): (&[usize], &'static str, &str),
    rules: &Rules,
    came_back: Option<Timestamp>,
    now: Timestamp,
) -> Verdict {
    let triplet = Triplet { came_back, ..triplet(identities, sender, recipient) };
    // Where there is no room, mail passes.
    decide(memory, &Question { triplet: &triplet, rules, now }, Access::Record).unwrap_or_else(|e| {
        assert!(matches!(e, StoreError::Crowded { .. }), "{e}");
        Verdict::Unreadable
    })
}

fn deferred(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::New { .. } | Verdict::Early { .. })
}

/// Whatever the rules and however the clock jumps, a sender who keeps retrying at sensible times gets
/// through: no more than one delay after the clock is right.
fn nobody_is_locked_out(memory: &impl Memory, rules: &Rules, jumps: &[u32], right: u32) {
    let ask = |at: Timestamp| attempt(memory, MAIL, rules, None, at);
    for jump in jumps {
        ask(Timestamp(*jump));
    }
    let (first, after) = (ask(Timestamp(right)), Timestamp(right).plus(rules.delay));
    if deferred(first) {
        let retry = ask(after);
        assert!(!deferred(retry) || retry == Verdict::New { wait: rules.delay }, "{first:?} {retry:?}");
        // A first attempt that left the window in between is new once more, and then its retry passes.
        assert!(!deferred(retry) || !deferred(ask(after.plus(rules.delay))), "{first:?} {retry:?}");
    }
}

/// Nobody passes on a first attempt: a pass has an attempt before it, at least a delay ago.
fn no_pass_without_a_first_attempt(memory: &impl Memory, rules: &Rules, steps: &[u32]) {
    let mut now = NOW;
    let mut first_deferred: Option<Timestamp> = None;
    for step in steps {
        now = now.plus(Seconds(*step));
        match attempt(memory, MAIL, rules, None, now) {
            Verdict::New { .. } => first_deferred = Some(now),
            Verdict::Early { wait } => {
                assert_eq!(now.since(first_deferred.unwrap()).0 + wait.0, rules.delay.0);
            }
            Verdict::Retried { waited, .. } => {
                assert_eq!(waited, now.since(first_deferred.unwrap()));
                assert!(waited >= rules.delay && waited <= rules.window);
            }
            Verdict::Known { .. } => assert!(first_deferred.is_some()),
            other => panic!("{other:?}"),
        }
    }
}

/// A sender that stops at the first 451 brings a message through at its second attempt, however many
/// recipients it has; and no recipient passes before the message has waited as long as that recipient's
/// delay.
fn who_stops_at_the_first_451_needs_two_attempts(memory: &impl Memory, delays: &[u32], pauses: &[u32]) {
    let recipients: Vec<_> =
        delays.iter().enumerate().map(|(i, d)| (format!("b{i}@y.example"), Seconds(*d))).collect();
    let alike = delays.iter().all(|delay| delay == &delays[0]);
    let (mut now, mut attempts) = (NOW, 0);
    for pause in pauses {
        attempts += 1;
        let mut came_back: Option<Timestamp> = None;
        let stopped = recipients.iter().any(|(recipient, delay)| {
            let rules = Rules { delay: *delay, auto_after: 0, trust_known_domains: false, ..RULES };
            match attempt(memory, (&[0], "a@x.example", recipient), &rules, came_back, now) {
                Verdict::New { .. } | Verdict::Early { .. } => return true,
                Verdict::Retried { waited, .. } => {
                    let first_seen = Timestamp(now.0 - waited.0);
                    came_back = Some(came_back.map_or(first_seen, |known| known.min(first_seen)));
                }
                Verdict::CameBack { waited } => assert!(waited >= *delay),
                _ => {}
            }
            assert!(now.since(NOW) >= *delay, "{recipient} {delay}");
            false
        });
        if !stopped {
            break;
        }
        now = now.plus(Seconds(*pause).max(if alike { recipients[0].1 } else { Seconds(0) }));
    }
    assert!(!alike || attempts == 2, "{attempts} attempts");
}

/// One deed of somebody's traffic.
#[derive(Clone, Debug)]
struct Deed {
    pause: u32,
    identities: Vec<usize>,
    sender: &'static str,
    recipient: &'static str,
    what: u8,
}

fn deed() -> impl Strategy<Value = Deed> {
    let pause = prop_oneof![0_u32..4_000, 0_u32..400_000, Just(3_200_000)];
    let identities = (0_usize..2, prop::sample::subsequence(vec![2, 3, 4], 0..=3))
        .prop_map(|(network, rest)| [vec![network], rest].concat());
    let sender = prop::sample::select(vec!["a@x.example", "prvs=0123456789=a@x.example", "c@z.example", ""]);
    let recipient = prop::sample::select(vec!["b@y.example", "B2@y.example"]);
    let steps = (pause, identities, sender, recipient, 0_u8..32);
    steps.prop_map(|(pause, identities, sender, recipient, what)| Deed {
        pause,
        identities,
        sender,
        recipient,
        what,
    })
}

fn take(memory: &impl Memory, step: &Deed, now: Timestamp) -> String {
    let triplet = triplet(&step.identities, step.sender, step.recipient);
    let rules = &Rules { auto_after: 2, ..RULES };
    let question = Question { triplet: &triplet, rules, now };
    let event = match step.what {
        0 => Event::Sent(&question),
        1..3 => Event::Feedback(&question, Finding::Spam),
        3..5 => Event::Feedback(&question, Finding::Ham),
        5 => Event::Feedback(&question, Finding::Trap),
        6 => Event::Release(&question, Scope::Pair),
        7 => Event::Release(&question, Scope::Triplet),
        8 => Event::Release(&question, Scope::Network),
        9 => Event::ForgetPair(&question),
        10 => Event::ForgetClient(&triplet.identities[1..]),
        11..14 => return format!("{:?}", decide(memory, &question, Access::RecordKnown).unwrap()),
        _ => return format!("{:?}", decide(memory, &question, Access::Record).unwrap()),
    };
    let told = memory.tell(&event).unwrap();
    // Whether what has lapsed is still there to be taken back or forgotten is up to tidying.
    if (1..5).contains(&step.what) || step.what >= 9 { String::new() } else { format!("{told:?}") }
}

proptest! {
    // Each case makes a store.
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn nobody_is_locked_out_of_any_memory(
        delay in 0_u32..7_200,
        beyond in 1_u32..200_000,
        lifetime in 1_u32..4_000_000,
        auto_after in 0_u32..7,
        jumps in prop::collection::vec(0_u32..u32::MAX / 2, 0..20),
        right in 0_u32..u32::MAX / 2,
    ) {
        let window = Seconds(delay + beyond);
        let rules = Rules { delay: Seconds(delay), window, lifetime: Seconds(lifetime), auto_after, ..RULES };
        let (model, _dir, store) = memories();
        nobody_is_locked_out(&model, &rules, &jumps, right);
        nobody_is_locked_out(&store, &rules, &jumps, right);
        // Full with what others have just tried.
        let (_dir, full) = super::tests::store(1);
        attempt(&full, (&[1, 2, 3], "c@z.example", "b@y.example"), &rules, None, Timestamp(right));
        nobody_is_locked_out(&full, &rules, &jumps, right);
    }

    #[test]
    fn no_memory_passes_a_first_attempt(
        steps in prop::collection::vec(0_u32..100_000, 1..30),
        delay in 1_u32..3_600,
    ) {
        let rules = Rules { delay: Seconds(delay), auto_after: 0, ..RULES };
        let (model, _dir, store) = memories();
        no_pass_without_a_first_attempt(&model, &rules, &steps);
        no_pass_without_a_first_attempt(&store, &rules, &steps);
    }

    #[test]
    fn a_message_comes_through_at_its_second_attempt_with_any_memory(
        delays in prop::collection::vec(0_u32..3_600, 1..20),
        pauses in prop::collection::vec(1_u32..3_600, 60),
    ) {
        let (model, _dir, store) = memories();
        who_stops_at_the_first_451_needs_two_attempts(&model, &delays, &pauses);
        who_stops_at_the_first_451_needs_two_attempts(&store, &delays, &pauses);
    }

    /// Whatever happens in whatever order, a memory answers as the model does.
    #[test]
    fn every_memory_answers_as_the_model_does(steps in prop::collection::vec(deed(), 1..120)) {
        let (model, _dir, store) = memories();
        let mut now = NOW;
        for (i, step) in steps.iter().enumerate() {
            now = now.plus(Seconds(step.pause));
            prop_assert_eq!(take(&model, step, now), take(&store, step, now), "step {}: {:?}", i, step);
        }
    }
}

#[test]
fn local_mail_and_switched_off_rules_need_no_records() {
    let mail = triplet(&[0], "a@x.example", "b@y.example");
    let off = Rules { mode: crate::rules::Mode::Off, ..RULES };
    assert_eq!(without_records(&RULES, None, NOW), Some(Verdict::Local));
    assert_eq!(without_records(&off, Some(&mail), NOW), Some(Verdict::Off));
    assert_eq!(without_records(&RULES, Some(&mail), NOW), None);
}
