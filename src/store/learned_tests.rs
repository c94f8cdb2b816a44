//! The table of what became of first attempts, in the file and in the way of a decision.

use super::*;
use crate::decision::decide;
use crate::evidence::PendingSide;
use crate::identity::{ClientNetwork, Domain, Identity, Prefixes};
use crate::learned::{Lane, Learn, SignWords};
use crate::memory::{Access, Event, Finding, Memory, Question, Records};
use crate::policy::Verdict;
use crate::reply::Effect;
use crate::rules::{Mode, Rules};
use crate::sender::Level;
use crate::settings::StoreSettings;
use crate::store::Table;
use crate::triplet::Triplet;

const T: Timestamp = Timestamp(1_000_000_000);
const RULES: Rules = Rules { learn: Learn::On, ..Rules::DEFAULT };
const FAST: Tried = Tried { came_back: 500, stayed_away: 0, spam: 0, waiting: 0 };
const SLOW: Tried = Tried { came_back: 0, stayed_away: 500, spam: 0, waiting: 0 };

struct World {
    dir: tempfile::TempDir,
    store: Store,
}

fn world() -> World {
    let dir = tempfile::tempdir().unwrap();
    let settings = StoreSettings { path: dir.path().into(), ..StoreSettings::default() };
    let store = Store::open(&settings, Access::Record, T).unwrap().unwrap();
    World { dir, store }
}

/// A mail from one of many networks.
fn mail(network: u32, spf: Option<&str>, sender: &'static str) -> Triplet<'static> {
    let [_, b, c, _] = (network << 8).to_be_bytes();
    let client = format!("10.{b}.{c}.1").parse().unwrap();
    let network = Identity::Network(ClientNetwork::of(client, Prefixes::default()));
    let spf = spf.map(|domain| Identity::Spf(Domain::parse(domain.as_bytes()).unwrap()));
    let identities = [Some(network), spf].into_iter().flatten().collect();
    let list = SignWords::default().read(b"").unwrap();
    Triplet { signs: list, ..Triplet::new(identities, sender.as_bytes(), b"b@y.example", b"", Level::Full) }
}

impl World {
    fn ask(&self, triplet: &Triplet<'_>, rules: &Rules, after: u32) -> Verdict {
        let question = Question { triplet, rules, now: T.plus(Seconds(after)) };
        decide(&self.store, &question, Access::Record).unwrap()
    }

    fn table(&self) -> LearnedTable<'_> {
        self.store.learned().unwrap()
    }

    fn tried(&self, triplet: &Triplet<'_>) -> [u16; 4] {
        let Tried { came_back, stayed_away, spam, waiting } =
            self.table().tried(Pattern::of(triplet)).unwrap();
        [came_back, stayed_away, spam, waiting]
    }

    fn is_sample(&self, triplet: &Triplet<'_>) -> bool {
        let question = Question { triplet, rules: &RULES, now: T };
        let PendingSide { learned, .. } = self.store.about(&question).unwrap().pending().unwrap();
        learned.unwrap().is_sample
    }

    fn purge(&self, after: u32) {
        self.store.purge(Table::Pending, T.plus(Seconds(after)), |_, _| {}).unwrap();
    }
}

const DAY: u32 = 86_400;

#[test]
fn a_first_attempt_is_counted_when_it_comes_back_or_has_gone() {
    let world = world();
    let [one, two] = [1, 2].map(|network| mail(network, None, "a@x.example"));
    world.ask(&one, &RULES, 0);
    world.ask(&two, &RULES, 0);
    assert_eq!(world.tried(&one), [0, 0, 0, 2]);
    world.ask(&one, &RULES, 10);
    world.ask(&one, &RULES, 300);
    world.ask(&one, &RULES, 400);
    assert_eq!(world.tried(&one), [1, 0, 0, 1]);
    world.purge(DAY);
    assert_eq!(world.tried(&one), [1, 0, 0, 1]);
    // Written now and then, or the clock is not believed.
    world.ask(&mail(3, None, "c@z.example"), &Rules { learn: Learn::Off, ..RULES }, DAY);
    world.ask(&mail(4, None, "c@z.example"), &Rules { learn: Learn::Off, ..RULES }, 2 * DAY);
    world.purge(2 * DAY + 1);
    assert_eq!(world.tried(&one), [1, 1, 0, 0]);
}

/// Whoever tidies counts, and so does the same mail's next first attempt.
#[test]
fn an_attempt_that_expires_in_the_way_of_others_is_counted_once() {
    let world = world();
    let mails: Vec<_> = (0..400).map(|network| mail(network, None, "a@x.example")).collect();
    for mail in &mails {
        world.ask(mail, &RULES, 0);
    }
    assert_eq!(world.tried(&mails[0]), [0, 0, 0, 400]);
    world.ask(&mail(500, None, "c@z.example"), &RULES, DAY);
    world.ask(&mail(501, None, "c@z.example"), &RULES, 2 * DAY);
    for (nth, mail) in mails.iter().enumerate() {
        world.ask(mail, &RULES, 2 * DAY + 1 + nth as u32);
    }
    assert_eq!(world.tried(&mails[0]), [0, 400, 0, 402]);
}

#[test]
fn a_pool_counts_once_whatever_address_it_comes_back_from() {
    let world = world();
    let from = |network| mail(network, Some("x.example"), "a@x.example");
    world.ask(&from(1), &RULES, 0);
    assert!(matches!(world.ask(&from(2), &RULES, 10), Verdict::Early { .. }));
    assert!(matches!(world.ask(&from(3), &RULES, 400), Verdict::Retried { .. }));
    assert_eq!(world.tried(&from(1)), [1, 0, 0, 0]);
    let off = Rules { learn: Learn::Off, ..RULES };
    for day in 1..4 {
        world.ask(&mail(9, None, "c@z.example"), &off, day * DAY);
    }
    world.purge(3 * DAY);
    assert_eq!(world.tried(&from(1)), [1, 0, 0, 0]);
}

/// With `trust_known_domains` one of two mails comes back, and the other passes by that.
#[test]
fn who_has_passed_with_other_mail_has_not_stayed_away() {
    let world = world();
    let [one, two] = ["a@x.example", "b@x.example"].map(|sender| mail(1, Some("x.example"), sender));
    world.ask(&one, &RULES, 0);
    world.ask(&two, &RULES, 0);
    world.ask(&one, &RULES, 400);
    assert!(matches!(world.ask(&two, &RULES, 400), Verdict::Auto { .. }));
    let off = Rules { learn: Learn::Off, ..RULES };
    for day in 1..4 {
        world.ask(&mail(9, None, "c@z.example"), &off, day * DAY);
    }
    world.purge(3 * DAY);
    assert_eq!(world.tried(&one), [1, 0, 0, 0]);
}

#[test]
fn spam_counts_against_what_came_back() {
    let world = world();
    let one = mail(1, None, "a@x.example");
    let tell = |mail: &Triplet<'_>, finding, after| {
        let question = Question { triplet: mail, rules: &RULES, now: T.plus(Seconds(after)) };
        world.store.tell(&Event::Feedback(&question, finding)).unwrap()
    };
    world.ask(&one, &RULES, 0);
    assert_eq!(tell(&one, Finding::Spam, 1), Effect::Nothing);
    world.ask(&one, &RULES, 400);
    tell(&one, Finding::Ham, 401);
    assert_eq!(world.tried(&one), [1, 0, 0, 0]);
    tell(&one, Finding::Spam, 402);
    assert_eq!(world.tried(&one), [1, 0, 1, 0]);
    assert_eq!(tell(&mail(2, None, "a@x.example"), Finding::Spam, 403), Effect::Nothing);
    assert_eq!(world.tried(&one), [1, 0, 1, 0]);
    world.table().set(Pattern::of(&one), FAST, T);
    assert_eq!(tell(&mail(2, None, "a@x.example"), Finding::Spam, 404), Effect::Nothing);
    assert_eq!(
        world.tried(&one),
        [500, 0, 0, 0],
        "its like come back one in twenty times, and are not told of"
    );
}

/// In the fast lane nothing is recorded but of one in twenty.
#[test]
fn what_is_likely_passes_and_one_in_twenty_comes_back_all_the_same() {
    let world = world();
    world.table().set(Pattern::of(&mail(0, None, "a@x.example")), Tried { came_back: 2_000, ..FAST }, T);
    let mut samples = 0;
    for network in 0..400 {
        let mail = mail(network, None, "a@x.example");
        let is_sample = world.is_sample(&mail);
        samples += u16::from(is_sample);
        let [off, watch, on] = Learn::ALL
            .iter()
            .map(|learn| {
                let question = Question { triplet: &mail, rules: &Rules { learn: *learn, ..RULES }, now: T };
                decide(&world.store, &question, Access::Look).unwrap()
            })
            .collect::<Vec<_>>()[..]
        else {
            panic!()
        };
        let wait = RULES.delay;
        let expected = match is_sample {
            true => [Verdict::New { wait }; 3],
            false => [Verdict::New { wait }, Verdict::NewButLikely { wait }, Verdict::Likely],
        };
        assert_eq!([off, watch, on], expected);
        world.ask(&mail, &RULES, 0);
    }
    assert!((10..35).contains(&samples), "{samples}");
    assert_eq!(world.tried(&mail(0, None, "a@x.example")), [2_000, 0, 0, samples]);
    assert_eq!(world.store.survey(&RULES, T).unwrap().first_attempts, u64::from(samples));
}

#[test]
fn the_slow_lane_waits_four_times_as_long() {
    let world = world();
    let mail = mail(1, None, "a@x.example");
    let watch = Rules { learn: Learn::Watch, ..RULES };
    world.table().set(Pattern::of(&mail), SLOW, T);
    assert_eq!(world.ask(&mail, &RULES, 0), Verdict::New { wait: Seconds(1_200) });
    assert_eq!(world.ask(&mail, &RULES, 400), Verdict::Early { waited: Seconds(400), wait: Seconds(800) });
    let look = |rules, after| {
        let question = Question { triplet: &mail, rules, now: T.plus(Seconds(after)) };
        decide(&world.store, &question, Access::Look).unwrap()
    };
    assert!(matches!(look(&watch, 400), Verdict::RetriedSoon { .. }));
    assert!(matches!(look(&watch, 1_200), Verdict::Retried { .. }));
    assert!(matches!(world.ask(&mail, &RULES, 1_200), Verdict::Retried { .. }));
}

/// Where nothing can be learned, all is as with `off`.
#[test]
fn a_damaged_table_teaches_nothing() {
    let world = world();
    let mail = mail(1, None, "a@x.example");
    let pattern = Pattern::of(&mail);
    world.table().set(pattern, FAST, T);
    let look = || {
        let question = Question { triplet: &mail, rules: &RULES, now: T };
        decide(&world.store, &question, Access::Look).unwrap()
    };
    let new = Verdict::New { wait: RULES.delay };
    assert_eq!(world.is_sample(&mail), look() == new);
    let state = world.store.state.as_deref().unwrap();
    let cell = state.learned(pattern.place(), true).unwrap();
    let before = cell.load(Relaxed);
    for damage in [u64::MAX, before ^ 1, before << 1, 0x0101_0101_0101_0101] {
        cell.store(damage, Relaxed);
        assert_eq!((look(), world.table().tried(pattern)), (new, None), "{damage:x}");
    }
    // It begins anew.
    world.ask(&self::mail(2, None, "a@x.example"), &RULES, 0);
    assert_eq!(world.tried(&mail), [0, 0, 0, 1]);
    for head in [0, u64::MAX, 12] {
        state.learned_head(true).unwrap().store(head, Relaxed);
        cell.store(before, Relaxed);
        assert_eq!((look(), world.table().tried(pattern)), (new, None), "{head:x}");
    }
    std::fs::remove_file(world.dir.path().join("state")).unwrap();
    let settings = StoreSettings { path: world.dir.path().into(), ..StoreSettings::default() };
    let store = Store::open(&settings, Access::Look, T).unwrap().unwrap();
    let question = Question { triplet: &mail, rules: &RULES, now: T };
    assert_eq!(decide(&store, &question, Access::Look).unwrap(), new);
}

/// Otherwise one configuration's `dnsbl` would be another one's `tls`.
#[test]
fn another_list_of_signs_begins_anew() {
    let world = world();
    let mail = mail(1, None, "a@x.example");
    world.table().set(Pattern::of(&mail), FAST, T);
    let signs = SignWords::new(vec!["dnsbl".into()]).unwrap().read(b"").unwrap();
    let other = Triplet { signs, ..mail.clone() };
    assert_eq!(world.table().tried(Pattern::of(&other)), None);
    world.table().count(Pattern::of(&other), Outcome::StayedAway, T);
    assert_eq!(world.tried(&mail)[0], 500);
    world.ask(&other, &RULES, 0);
    assert_eq!(world.tried(&other), [0, 0, 0, 1]);
    assert_eq!(world.table().tried(Pattern::of(&mail)), None);
}

#[test]
fn what_was_counted_halves_in_four_weeks() {
    let world = world();
    let pattern = Pattern::of(&mail(1, None, "a@x.example"));
    world.table().set(pattern, FAST, T);
    let after = |days: u32| {
        world.table().count(Pattern(pattern.0 ^ 1), Outcome::Began, T.plus(Seconds::DAY.times(days)));
        world.table().tried(pattern).unwrap().came_back
    };
    assert_eq!([27, 28, 29, 57].map(after), [500, 250, 250, 125]);
    // A clock that was ahead halves once, and is not waited for.
    assert_eq!([4_000, 58, 85, 86].map(after), [62, 62, 62, 31]);
}

/// Each counts in its own place, the last one too, and none reaches the next page's.
#[test]
fn every_pattern_has_a_place() {
    let world = world();
    let list = SignWords::default()
        .read(b"")
        .map(|signs| Pattern::of(&Triplet { signs, ..mail(1, None, "a@x") }).list());
    let pattern = |place| Pattern::at(list.clone().unwrap(), place);
    let counts = |place: usize| Tried { came_back: place as u16, ..FAST };
    (0..PATTERNS).for_each(|place| world.table().set(pattern(place), counts(place), T));
    assert!((0..PATTERNS).all(|place| world.table().tried(pattern(place)) == Some(counts(place))));
    assert_eq!(world.table().all().count(), PATTERNS - 1);
    assert!(world.table().clear());
    assert!(!world.table().clear());
}

/// Who is only observed need not come back; and with `off` nothing is counted.
#[test]
fn nothing_is_learned_where_nobody_has_to_come_back() {
    let world = world();
    let mail = mail(1, None, "a@x.example");
    for rules in [Rules { mode: Mode::Observe, ..RULES }, Rules { learn: Learn::Off, ..RULES }] {
        world.ask(&mail, &rules, 0);
        world.ask(&mail, &rules, 400);
        assert_eq!(world.table().all().count(), 0);
    }
}

#[test]
fn the_lanes_are_those_of_the_counts() {
    assert_eq!([FAST.lane(), SLOW.lane()], [Lane::Fast, Lane::Slow]);
}
