//! The same claims on every memory, and each memory against a model of it.

#[path = "decision_tests/model.rs"]
mod model;

use super::*;
use crate::identity::{ClientNetwork, Domain, Identity, Prefixes};
use crate::learned::{Learn, Learned, Pattern, SignWords, Tried, slow_delay};
use crate::memory::{Event, Finding, Scope};
use crate::policy::{MANY_NETWORKS, MANY_NETWORKS_WAIT};
use crate::sender::Level;
use crate::settings::StoreSettings;
use crate::store::Store;
use crate::time::Seconds;
use model::Model;
use proptest::prelude::*;

const NOW: Timestamp = Timestamp(1_000_000_000);
const RULES: Rules = Rules::DEFAULT;

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
        4 => Identity::Host(domain("pool.example")),
        // Of one customer.
        5 => network("2001:db8:1:1::1"),
        6 => network("2001:db8:1:2::1"),
        other => network(&format!("10.0.{other}.1")),
    };
    let identities = identities.iter().map(identity).collect();
    let signs = SignWords::default().read(b"").unwrap();
    Triplet { signs, ..Triplet::new(identities, sender.as_bytes(), recipient.as_bytes(), b"", Level::Full) }
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
    matches!(verdict, Verdict::New { .. } | Verdict::NewButLikely { .. } | Verdict::Early { .. })
}

/// Whatever the rules and however the clock jumps, a sender who keeps retrying at sensible times gets
/// through: no more than one delay after the clock is right.
fn nobody_is_locked_out(memory: &impl Memory, rules: &Rules, jumps: &[u32], right: u32) {
    let ask = |at: Timestamp| attempt(memory, MAIL, rules, None, at);
    for jump in jumps {
        ask(Timestamp(*jump));
    }
    // In the slow lane, too.
    let longest = if rules.learn == Learn::On { slow_delay(rules) } else { rules.delay };
    let (first, after) = (ask(Timestamp(right)), Timestamp(right).plus(longest));
    if deferred(first) {
        let retry = ask(after);
        let is_new = matches!(retry, Verdict::New { .. } | Verdict::NewButLikely { .. });
        assert!(!deferred(retry) || is_new, "{first:?} {retry:?}");
        // A first attempt that left the window in between is new once more, and then its retry passes.
        assert!(!deferred(retry) || !deferred(ask(after.plus(longest))), "{first:?} {retry:?}");
    }
}

/// Nobody passes on a first attempt: a pass has an attempt before it, at least a delay ago.
fn no_pass_without_a_first_attempt(memory: &impl Memory, rules: &Rules, steps: &[u32]) {
    let mut now = NOW;
    let mut first_deferred: Option<Timestamp> = None;
    for step in steps {
        now = now.plus(Seconds(*step));
        match attempt(memory, MAIL, rules, None, now) {
            Verdict::New { .. } | Verdict::NewButLikely { .. } => first_deferred = Some(now),
            Verdict::Early { wait, .. } => {
                assert_eq!(now.since(first_deferred.unwrap()).0 + wait.0, rules.delay.0);
            }
            Verdict::Retried { waited, .. } | Verdict::RetriedSoon { waited, .. } => {
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

/// Whoever comes from another network each time passes as soon as there were enough of them for long enough,
/// and no sooner; what let one mail pass lets no other pass.
fn who_never_comes_from_one_network_twice_gets_through(memory: &impl Memory, rules: &Rules, pauses: &[u32]) {
    let mut now = NOW;
    let mut first_seen = None;
    let mut networks = 0;
    for (nth, pause) in pauses.iter().enumerate() {
        now = now.plus(Seconds(*pause));
        let since = now.since(*first_seen.get_or_insert(now));
        networks += 1;
        let identities = [10 + nth];
        let verdict = attempt(memory, (&identities, "a@x.example", "b@y.example"), rules, None, now);
        if networks >= MANY_NETWORKS && since >= rules.delay.max(MANY_NETWORKS_WAIT) {
            assert_eq!(verdict, Verdict::SenderCameBack { waited: since });
            (first_seen, networks) = (None, 0);
            // The triplet is known, and nothing else is.
            let known = attempt(memory, (&identities, "a@x.example", "b@y.example"), rules, None, now);
            assert!(matches!(known, Verdict::Known { .. }), "{known:?}");
            let elsewhere = format!("c{nth}@y.example");
            let other = attempt(memory, (&identities, "a@x.example", &elsewhere), rules, None, now);
            assert!(deferred(other), "{other:?}");
        } else {
            assert_eq!(verdict, Verdict::New { wait: rules.delay });
        }
    }
}

/// What was learned of all mail, in each lane and in none.
fn tried() -> impl Strategy<Value = Tried> {
    let of = |came_back, stayed_away| Tried { came_back, stayed_away, ..Tried::default() };
    prop::sample::select(vec![of(2_000, 0), of(0, 2_000), of(190, 10), Tried::default()])
}

/// Lets both learn the same about [`MAIL`], and its likes.
fn teach(model: &Model, store: &Store, tried: Tried) {
    let mail = triplet(MAIL.0, MAIL.1, MAIL.2);
    store.learned().unwrap().set(Pattern::of(&mail), tried, NOW);
    model.learn(Some(Learned { tried, is_sample: false }));
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
    let identities = (
        prop::sample::select(vec![0_usize, 1, 5, 6, 10, 11, 12]),
        prop::sample::subsequence(vec![2, 3, 4], 0..=3),
    )
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

fn take(memory: &impl Memory, step: &Deed, learn: Learn, now: Timestamp) -> String {
    let triplet = triplet(&step.identities, step.sender, step.recipient);
    let rules = &Rules { auto_after: 2, learn, ..RULES };
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
        learn in prop::sample::select(Learn::ALL),
        tried in tried(),
    ) {
        let (window, lifetime) = (Seconds(delay + beyond), Seconds(lifetime));
        let rules = Rules { delay: Seconds(delay), window, lifetime, auto_after, learn, ..RULES };
        let (model, _dir, store) = memories();
        teach(&model, &store, tried);
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
        learn in prop::sample::select(vec![Learn::Off, Learn::Watch]),
        tried in tried(),
    ) {
        let rules = Rules { delay: Seconds(delay), auto_after: 0, learn, ..RULES };
        let (model, _dir, store) = memories();
        teach(&model, &store, tried);
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

    #[test]
    fn a_pool_that_never_comes_from_one_network_twice_gets_through_with_any_memory(
        pauses in prop::collection::vec(0_u32..14_400, 1..40),
        delay in 0_u32..14_400,
    ) {
        // No identity proves itself by it, and no triplet of the others counts.
        let rules = Rules { delay: Seconds(delay), auto_after: 1, ..RULES };
        let (model, _dir, store) = memories();
        who_never_comes_from_one_network_twice_gets_through(&model, &rules, &pauses);
        who_never_comes_from_one_network_twice_gets_through(&store, &rules, &pauses);
    }

    /// Whatever happens in whatever order, a memory answers as the model does.
    #[test]
    fn every_memory_answers_as_the_model_does(
        steps in prop::collection::vec(deed(), 1..120),
        learn in prop::sample::select(Learn::ALL),
        tried in prop::collection::vec(tried(), 8),
    ) {
        let (model, _dir, store) = memories();
        let mut now = NOW;
        for (i, step) in steps.iter().enumerate() {
            now = now.plus(Seconds(step.pause));
            let triplet = triplet(&step.identities, step.sender, step.recipient);
            let question = Question { triplet: &triplet, rules: &RULES, now };
            let pattern = Pattern::of(&triplet);
            // Each of the patterns in another lane, for some of the time.
            store.learned().unwrap().set(pattern, tried[(pattern.place() / 128 + i / 40) % 8], now);
            model.learn(store.about(&question).unwrap().pending().unwrap().learned);
            let [of_model, of_store] = [take(&model, step, learn, now), take(&store, step, learn, now)];
            prop_assert_eq!(of_model, of_store, "step {}: {:?}", i, step);
        }
    }

    /// Nothing learned changes what is known, trapped, proved or permitted: such an answer is the same with
    /// whatever was learned, and so is that for what waits and is not new.
    #[test]
    fn what_is_learned_changes_nothing_but_first_attempts_and_delays(
        steps in prop::collection::vec(deed(), 1..120),
        tried in prop::collection::vec(tried(), 8),
    ) {
        let model = Model::default();
        let mut now = NOW;
        for (i, step) in steps.iter().enumerate() {
            now = now.plus(Seconds(step.pause));
            let triplet = triplet(&step.identities, step.sender, step.recipient);
            model.learn(Some(Learned { tried: tried[i % 8], is_sample: false }));
            let [off, watch, on] = [Learn::Off, Learn::Watch, Learn::On].map(|learn| {
                let rules = &Rules { auto_after: 2, learn, ..RULES };
                decide(&model, &Question { triplet: &triplet, rules, now }, Access::Look).unwrap()
            });
            let usual = |verdict| match verdict {
                Verdict::NewButLikely { wait } => Verdict::New { wait },
                Verdict::RetriedSoon { waited, by } => Verdict::Retried { waited, by },
                other => other,
            };
            prop_assert_eq!(usual(watch), off, "step {}: {:?}", i, step);
            match off {
                Verdict::New { .. } | Verdict::Early { .. } if deferred(on) => {}
                Verdict::New { .. } => prop_assert_eq!(on, Verdict::Likely),
                Verdict::Retried { .. } if deferred(on) => {}
                _ => prop_assert_eq!(on, off, "step {}: {:?}", i, step),
            }
            take(&model, step, Learn::Off, now);
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
