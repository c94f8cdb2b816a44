//! The decision, rule by rule, and against a model of a few lines.

use super::*;
use crate::evidence::{Elsewhere, Known, Trap};

const NOW: Timestamp = Timestamp(1_000_000_000);
const RULES: Rules = Rules::DEFAULT;

fn ago(seconds: u32) -> Timestamp {
    Timestamp(NOW.0 - seconds)
}

fn ahead(seconds: u32) -> Timestamp {
    NOW.plus(Seconds(seconds))
}

fn nothing(by: By) -> KnownEvidence {
    KnownEvidence { by, earned: Found::Absent, known: Found::Absent }
}

fn earned(passes: u32, last_seen: Timestamp) -> Found<Earned> {
    let outcomes = Outcomes::passes(passes);
    let blamed = Timestamp(0);
    Found::Here(Earned { passes, first_seen: last_seen, counted: last_seen, last_seen, outcomes, blamed })
}

fn known(last_seen: Timestamp) -> Found<Known> {
    Found::Here(Known { first_seen: last_seen, passed: last_seen, last_seen, counted: 1 })
}

fn first(first_seen: Timestamp) -> Found<Pending> {
    Found::Here(Pending { first_seen, passed: None })
}

/// Nobody has tried from elsewhere.
fn here(identities: Vec<Found<Pending>>) -> PendingSide {
    PendingSide { identities, ..PendingSide::default() }
}

/// Asks as a caller does, for a client with one identity a pair.
fn ask(rules: &Rules, records: &[(KnownEvidence, Found<Pending>)]) -> (Verdict, Change) {
    ask_side(rules, KnownSide::default(), records)
}

/// The same with more on the known side.
fn ask_side(
    rules: &Rules,
    known: KnownSide,
    records: &[(KnownEvidence, Found<Pending>)],
) -> (Verdict, Change) {
    let known = KnownSide { identities: records.iter().map(|(k, _)| *k).collect(), ..known };
    let pending: Vec<_> = records.iter().map(|(_, p)| *p).collect();
    let mut evidence = Evidence::default();
    for _ in 0..3 {
        match decide(rules, &evidence, NOW) {
            Step::ReadKnown => evidence.known = Some(known.clone()),
            Step::ReadPending => evidence.pending = Some(here(pending.clone())),
            Step::Answer(verdict, change) => return (verdict, change),
        }
    }
    panic!("no answer");
}

fn network(pending: Found<Pending>) -> (Verdict, Change) {
    ask(&RULES, &[(nothing(By::Network), pending)])
}

fn places(bits: &[bool]) -> Places {
    Places::such_that(bits, |bit| *bit)
}

#[test]
fn a_first_attempt_is_deferred_and_recorded() {
    let change = Change::Pend { first_seen: NOW, places: places(&[true]) };
    assert_eq!(network(Found::Absent), (Verdict::New { wait: Seconds(300) }, change));
}

#[test]
fn an_early_retry_waits_for_the_rest_and_does_not_restart_the_clock() {
    assert_eq!(
        network(first(ago(299))),
        (Verdict::Early { waited: Seconds(299), wait: Seconds(1) }, Change::None)
    );
    assert_eq!(
        network(first(NOW)),
        (Verdict::Early { waited: Seconds(0), wait: Seconds(300) }, Change::None)
    );
}

#[test]
fn a_retry_in_the_window_passes() {
    for age in [300, 301, 172_800] {
        let verdict = Verdict::Retried { waited: Seconds(age), by: By::Network };
        assert_eq!(
            network(first(ago(age))),
            (verdict, Change::Admit { first_seen: ago(age), due_to: DueTo::Client }),
            "{age}"
        );
    }
}

/// Asks about a recipient of a message that was first tried `since` seconds ago and has been retried in time.
fn with_message(since: u32, known: KnownSide, pending: Found<Pending>) -> (Verdict, Change) {
    let known = KnownSide { identities: vec![nothing(By::Network)], ..known };
    let came_back = Some(ago(since));
    let evidence =
        Evidence { known: Some(known), pending: Some(here(vec![pending])), came_back, local: false };
    match decide(&RULES, &evidence, NOW) {
        Step::Answer(verdict, change) => (verdict, change),
        step => panic!("{step:?}"),
    }
}

#[test]
fn who_has_come_back_has_come_back_for_every_recipient_that_would_wait() {
    for since in [300, 172_800] {
        let admit = Change::Admit { first_seen: ago(since), due_to: DueTo::Client };
        for pending in [Found::Absent, first(ago(1)), first(ago(299)), first(ahead(61))] {
            let decision = with_message(since, KnownSide::default(), pending);
            assert_eq!(decision, (Verdict::CameBack { waited: Seconds(since) }, admit));
        }
    }
    let retried = Verdict::Retried { waited: Seconds(300), by: By::Network };
    assert_eq!(with_message(400, KnownSide::default(), first(ago(300))).0, retried);
}

/// A recipient may have a longer delay or a shorter window than the one that was retried.
#[test]
fn a_message_that_came_back_keeps_to_the_rules_of_each_recipient() {
    for since in [0, 299, 172_801] {
        let (verdict, _) = with_message(since, KnownSide::default(), Found::Absent);
        assert_eq!(verdict, Verdict::New { wait: Seconds(300) }, "{since}");
        let (verdict, _) = with_message(since, KnownSide::default(), first(ago(1)));
        assert_eq!(verdict, Verdict::Early { waited: Seconds(1), wait: Seconds(299) }, "{since}");
    }
}

#[test]
fn a_message_that_came_back_changes_nothing_where_something_else_decides() {
    let trap = KnownSide { trap: Some(Trap { set: ago(9), until: ahead(90) }), ..KnownSide::default() };
    assert!(matches!(with_message(400, trap, Found::Absent).0, Verdict::Trapped { .. }));
    let listed = KnownSide { whitelisted: Some(ListKind::Client), ..KnownSide::default() };
    assert!(matches!(with_message(400, listed, Found::Absent).0, Verdict::Whitelisted { .. }));
    assert_eq!(with_message(400, KnownSide::default(), Found::Unreadable).0, Verdict::Unreadable);
}

/// Asks for a client that nobody knows, whose sender has tried from these networks.
fn with_others(rules: &Rules, known: KnownSide, own: Found<Pending>, others: &[(u32, Timestamp)]) -> Verdict {
    let known = KnownSide { identities: vec![nothing(By::Network)], ..known };
    let elsewhere = others.iter().map(|&(network, first_seen)| Elsewhere { network, first_seen }).collect();
    let pending = Some(PendingSide { elsewhere, ..here(vec![own]) });
    let evidence = Evidence { known: Some(known), pending, ..Evidence::default() };
    match decide(rules, &evidence, NOW) {
        Step::Answer(verdict, change) => {
            if let Verdict::SenderCameBack { waited } = verdict {
                let first_seen = ago(waited.0);
                assert_eq!(change, Change::Admit { first_seen, due_to: DueTo::Sender });
            }
            verdict
        }
        step => panic!("{step:?}"),
    }
}

#[test]
fn a_sender_that_has_come_from_three_networks_passes_after_half_an_hour() {
    let with = |own, others: &[_]| with_others(&RULES, KnownSide::default(), own, others);
    let passes = |since| Verdict::SenderCameBack { waited: Seconds(since) };
    let new = Verdict::New { wait: Seconds(300) };
    for since in [1_800, 4_000, 172_800] {
        for own in [Found::Absent, first(ahead(61)), first(ago(299)), first(ago(172_801))] {
            assert_eq!(with(own, &[(1, ago(since)), (2, ago(5))]), passes(since));
        }
    }
    assert_eq!(with(Found::Absent, &[(1, ago(1_799)), (2, ago(1_799)), (3, ago(9))]), new);
    assert_eq!(
        with(first(ago(299)), &[(1, ago(1_799)), (2, ago(9))]),
        Verdict::Early { waited: Seconds(299), wait: Seconds(1) }
    );
    // Of two networks, or those of one customer.
    assert_eq!(with(Found::Absent, &[(1, ago(4_000)), (1, ago(3_000))]), new);
    // What no longer counts for a retry, or lies ahead, does not count here.
    for strange in [ago(172_801), ahead(61)] {
        assert_eq!(with(Found::Absent, &[(1, ago(4_000)), (2, strange)]), new);
        assert_eq!(with(Found::Absent, &[(1, strange), (2, ago(4_000)), (3, NOW)]), passes(4_000));
    }
}

#[test]
fn a_sender_that_comes_from_many_networks_waits_for_the_delay() {
    let rules = Rules { delay: Seconds::HOUR, ..RULES };
    let with =
        |since| with_others(&rules, KnownSide::default(), Found::Absent, &[(1, ago(since)), (2, ago(since))]);
    assert_eq!(with(3_599), Verdict::New { wait: Seconds::HOUR });
    assert_eq!(with(3_600), Verdict::SenderCameBack { waited: Seconds::HOUR });
}

#[test]
fn many_networks_change_nothing_where_something_else_decides() {
    let with = |known, own| with_others(&RULES, known, own, &[(1, ago(4_000)), (2, ago(4_000))]);
    let trap = KnownSide { trap: Some(Trap { set: ago(9), until: ahead(90) }), ..KnownSide::default() };
    assert!(matches!(with(trap, Found::Absent), Verdict::Trapped { .. }));
    let retried = Verdict::Retried { waited: Seconds(300), by: By::Network };
    assert_eq!(with(KnownSide::default(), first(ago(300))), retried);
    assert_eq!(with(KnownSide::default(), Found::Unreadable), Verdict::Unreadable);
}

#[test]
fn a_retry_after_the_window_is_new_again() {
    assert!(matches!(network(first(ago(172_801))).0, Verdict::New { .. }));
}

#[test]
fn with_no_delay_the_first_attempt_is_still_deferred_and_any_retry_passes() {
    let rules = Rules { delay: Seconds(0), ..RULES };
    assert_eq!(ask(&rules, &[(nothing(By::Network), Found::Absent)]).0, Verdict::New { wait: Seconds(0) });
    let verdict = Verdict::Retried { waited: Seconds(0), by: By::Network };
    assert_eq!(ask(&rules, &[(nothing(By::Network), first(NOW))]).0, verdict);
}

#[test]
fn any_identity_of_the_first_attempt_matches() {
    let records = [(nothing(By::Network), Found::Absent), (nothing(By::Spf), first(ago(400)))];
    let verdict = Verdict::Retried { waited: Seconds(400), by: By::Spf };
    assert_eq!(
        ask(&RULES, &records),
        (verdict, Change::Admit { first_seen: ago(400), due_to: DueTo::Client })
    );
}

#[test]
fn an_early_retry_from_elsewhere_is_tied_to_the_first_attempt() {
    let records = [(nothing(By::Network), Found::Absent), (nothing(By::Spf), first(ago(100)))];
    let change = Change::Pend { first_seen: ago(100), places: places(&[true, false]) };
    assert_eq!(ask(&RULES, &records), (Verdict::Early { waited: Seconds(100), wait: Seconds(200) }, change));
}

#[test]
fn the_oldest_attempt_in_the_window_counts() {
    let records = [
        (nothing(By::Network), first(ago(10))),
        (nothing(By::Spf), first(ago(400))),
        (nothing(By::Host), first(ago(200_000))),
    ];
    assert_eq!(ask(&RULES, &records).0, Verdict::Retried { waited: Seconds(400), by: By::Spf });
}

#[test]
fn a_known_triplet_passes_for_its_lifetime() {
    let with = |last_seen| {
        ask(&RULES, &[(KnownEvidence { known: known(last_seen), ..nothing(By::Network) }, Found::Absent)])
    };
    assert_eq!(with(ago(1)), (Verdict::Known { by: By::Network }, Change::None));
    assert_eq!(with(ago(194_400)).1, Change::None);
    assert_eq!(with(ago(194_401)).1, Change::Renew);
    assert_eq!(with(ago(3_304_800)), (Verdict::Known { by: By::Network }, Change::Renew));
    assert!(matches!(with(ago(3_304_801)).0, Verdict::New { .. }));
}

#[test]
fn an_identity_that_proved_itself_passes_whatever_the_triplet() {
    let with = |passes, last_seen, rules: &Rules| {
        let host = KnownEvidence { earned: earned(passes, last_seen), ..nothing(By::Host) };
        ask(rules, &[(nothing(By::Network), Found::Absent), (host, Found::Absent)]).0
    };
    assert_eq!(with(5, ago(1), &RULES), Verdict::Auto { by: By::Host });
    assert!(matches!(with(4, ago(1), &RULES), Verdict::New { .. }));
    assert!(matches!(with(5, ago(3_304_801), &RULES), Verdict::New { .. }));
    assert!(matches!(with(1_000, ago(1), &Rules { auto_after: 0, ..RULES }), Verdict::New { .. }));
}

/// What is known need not be looked up further: it is the answer, also where the client has proved itself.
#[test]
fn a_known_triplet_is_known_whatever_its_client_has_earned() {
    let proved = KnownEvidence { earned: earned(5, ago(1)), ..nothing(By::Network) };
    let known_host = KnownEvidence { known: known(ago(1)), ..nothing(By::Host) };
    let verdict = |records: &[_]| ask(&RULES, records).0;
    let both = [(proved, Found::Absent), (known_host, Found::Absent)];
    assert_eq!(verdict(&both), Verdict::Known { by: By::Host });
    assert_eq!(verdict(&both[..1]), Verdict::Auto { by: By::Network });
}

/// A side with one thing on it, for a client that nobody knows.
fn side(known: KnownSide) -> (Verdict, Change) {
    ask_side(&RULES, known, &[(nothing(By::Network), Found::Absent)])
}

#[test]
fn the_whitelist_comes_first() {
    let trap = Some(Trap { set: ago(10), until: ahead(10) });
    let known = KnownSide { whitelisted: Some(ListKind::Sender), trap, ..KnownSide::default() };
    assert_eq!(side(known), (Verdict::Whitelisted { kind: ListKind::Sender }, Change::None));
}

#[test]
fn a_trapped_network_waits_until_the_end_of_the_trap_also_with_known_mail() {
    let trap = |set, until| KnownSide { trap: Some(Trap { set, until }), ..KnownSide::default() };
    assert_eq!(side(trap(ago(10), ahead(90))), (Verdict::Trapped { wait: Seconds(90) }, Change::None));
    let records = [(KnownEvidence { known: known(ago(1)), ..nothing(By::Network) }, Found::Absent)];
    assert!(matches!(ask_side(&RULES, trap(ago(10), ahead(90)), &records).0, Verdict::Trapped { .. }));
    assert!(matches!(side(trap(ago(90), NOW)).0, Verdict::New { .. }));
    // Set before the clock was set back: it could last for years.
    assert!(matches!(side(trap(ahead(61), ahead(86_461))).0, Verdict::New { .. }));
}

#[test]
fn what_was_waiting_when_the_network_was_trapped_starts_anew() {
    let trap = KnownSide { trap: Some(Trap { set: ago(5_000), until: ago(1_000) }), ..KnownSide::default() };
    let with = |first_seen| ask_side(&RULES, trap.clone(), &[(nothing(By::Network), first(first_seen))]).0;
    assert!(matches!(with(ago(6_000)), Verdict::New { .. }));
    assert!(matches!(with(ago(900)), Verdict::Retried { .. }));
}

#[test]
fn replies_and_releases_pass_as_long_as_they_last() {
    let permit = |until| Some(Permit { until });
    assert_eq!(
        side(KnownSide { replied: permit(NOW), ..KnownSide::default() }),
        (Verdict::Replied, Change::None)
    );
    let admit = Change::Admit { first_seen: NOW, due_to: DueTo::Release };
    assert_eq!(side(KnownSide { released: permit(NOW), ..KnownSide::default() }), (Verdict::Released, admit));
    assert!(matches!(
        side(KnownSide { replied: permit(ago(1)), ..KnownSide::default() }).0,
        Verdict::New { .. }
    ));
    assert!(matches!(
        side(KnownSide { released: permit(ago(1)), ..KnownSide::default() }).0,
        Verdict::New { .. }
    ));
}

#[test]
fn a_domain_that_passed_for_anybody_need_not_wait_if_it_is_verified() {
    let with = |by, rules: &Rules| {
        let domain = KnownEvidence { earned: earned(1, ago(1)), ..nothing(by) };
        ask(rules, &[(nothing(By::Network), Found::Absent), (domain, Found::Absent)]).0
    };
    assert_eq!(with(By::Spf, &RULES), Verdict::Auto { by: By::Spf });
    assert_eq!(with(By::Dkim, &RULES), Verdict::Auto { by: By::Dkim });
    assert!(matches!(with(By::Host, &RULES), Verdict::New { .. }));
    assert!(matches!(with(By::Spf, &Rules { trust_known_domains: false, ..RULES }), Verdict::New { .. }));
    // Who wants every client to wait for each of its triplets switches off both.
    assert_eq!(with(By::Spf, &Rules { auto_after: 0, ..RULES }), Verdict::Auto { by: By::Spf });
}

#[test]
fn a_clock_set_back_costs_one_delay_and_locks_nobody_out() {
    // The first attempt lies a year ahead: it starts anew from now.
    let change = Change::Pend { first_seen: NOW, places: places(&[true]) };
    for far in [61, 31_536_000] {
        assert_eq!(network(first(ahead(far))), (Verdict::New { wait: Seconds(300) }, change), "{far}");
    }
    let ahead_known = KnownEvidence { known: known(ahead(31_536_000)), ..nothing(By::Network) };
    assert_eq!(
        ask(&RULES, &[(ahead_known, Found::Absent)]),
        (Verdict::Known { by: By::Network }, Change::Renew)
    );
    let ahead_earned = KnownEvidence { earned: earned(5, ahead(1)), ..nothing(By::Network) };
    assert_eq!(
        ask(&RULES, &[(ahead_earned, Found::Absent)]),
        (Verdict::Auto { by: By::Network }, Change::Renew)
    );
}

/// A session that read the clock first may come to the lock last.
#[test]
fn an_attempt_a_moment_ahead_is_the_same_attempt() {
    assert_eq!(
        network(first(ahead(1))),
        (Verdict::Early { waited: Seconds(0), wait: Seconds(300) }, Change::None)
    );
    assert_eq!(
        network(first(ahead(60))),
        (Verdict::Early { waited: Seconds(0), wait: Seconds(300) }, Change::None)
    );
}

#[test]
fn records_of_another_version_are_left_alone_and_mail_passes() {
    let unreadable = KnownEvidence { known: Found::Unreadable, ..nothing(By::Network) };
    assert_eq!(ask(&RULES, &[(unreadable, Found::Absent)]), (Verdict::Unreadable, Change::None));
    assert_eq!(network(Found::Unreadable), (Verdict::Unreadable, Change::None));
    // What can be read still counts.
    let records = [
        (unreadable, Found::Absent),
        (KnownEvidence { known: known(ago(1)), ..nothing(By::Spf) }, Found::Absent),
    ];
    assert_eq!(ask(&RULES, &records).0, Verdict::Known { by: By::Spf });
}

#[test]
fn local_and_off_read_nothing() {
    let unread = Evidence::default();
    let off = Rules { mode: Mode::Off, ..RULES };
    assert_eq!(decide(&off, &unread, NOW), Step::Answer(Verdict::Off, Change::None));
    let local = Evidence { local: true, ..unread };
    for rules in [RULES, off] {
        assert_eq!(decide(&rules, &local, NOW), Step::Answer(Verdict::Local, Change::None));
    }
}

#[test]
fn a_known_triplet_is_answered_without_its_first_attempts() {
    let evidence = Evidence {
        known: Some(KnownSide {
            identities: vec![KnownEvidence { known: known(ago(1)), ..nothing(By::Network) }],
            ..KnownSide::default()
        }),
        ..Evidence::default()
    };
    assert!(matches!(decide(&RULES, &evidence, NOW), Step::Answer(Verdict::Known { .. }, _)));
}

#[test]
fn a_pass_counts_once_an_hour() {
    let count = |earned, now| count_pass(RULES.keep(), earned, now);
    let first = count(None, NOW);
    assert_eq!((first.passes, first.first_seen, first.counted, first.last_seen), (1, NOW, NOW, NOW));
    let soon = count(Some(first), ahead(3_599));
    assert_eq!(soon, Earned { last_seen: ahead(3_599), ..first });
    let later = count(Some(soon), ahead(3_600));
    assert_eq!((later.passes, later.counted, later.outcomes), (2, ahead(3_600), Outcomes::passes(2)));
    // After its lifetime an identity begins anew.
    assert_eq!(count(Some(later), ahead(3_600 + 3_304_801)).passes, 1);
    // A count from the future was made before the clock was set back: it must not stop counting until then.
    assert_eq!(count(Some(Earned { counted: ahead(31_536_000), ..first }), NOW).passes, 2);
}

/// A burst of spam counts once, as a burst of mail does. Passes bring trust back.
#[test]
fn an_identity_whose_mail_turns_out_to_be_spam_is_proved_no_longer() {
    let Found::Here(mut earned) = earned(5, NOW) else { panic!() };
    let proved = |earned: &Earned| has_proved_itself(&RULES, earned, NOW);
    for hour in 0..6 {
        assert!(proved(&earned), "{hour}");
        for seconds in [0, 10, 3_599] {
            earned = count_spam(earned, 0, ahead(hour * 3_600 + seconds));
        }
    }
    assert_eq!(earned.outcomes.spam_of(), (6, 11));
    assert!(!proved(&earned));
    let host = KnownEvidence { earned: Found::Here(earned), ..nothing(By::Spf) };
    let stranger = [(host, Found::Absent)];
    assert!(matches!(ask(&RULES, &stranger).0, Verdict::New { .. }), "not as a known domain either");
    earned = count_pass(RULES.keep(), Some(earned), ahead(7 * 3_600));
    assert!(proved(&earned));
    for hour in 8..40 {
        earned = count_pass(RULES.keep(), Some(earned), ahead(hour * 3_600));
    }
    assert_eq!(earned.outcomes.spam_of(), (0, 20));
    assert_eq!(Outcomes::from_bits(earned.outcomes.to_bits()), earned.outcomes);
}

#[test]
fn observe_mode_passes_and_says_what_would_have_happened() {
    let reply = Verdict::New { wait: Seconds(300) }.reply(Mode::Observe);
    assert_eq!(reply.to_string(), "action=pass reason=new wait=300 would=defer");
    let reply = Verdict::Known { by: By::Host }.reply(Mode::Observe);
    assert_eq!(reply.to_string(), "action=pass reason=known by=host would=pass");
    assert_eq!(Verdict::Local.reply(Mode::Observe).to_string(), "action=pass reason=local");
}

#[test]
fn every_verdict_has_its_words() {
    let by = By::Dkim;
    for (verdict, words) in [
        (Verdict::New { wait: Seconds(1) }, "action=defer reason=new wait=1"),
        (Verdict::Early { waited: Seconds(298), wait: Seconds(2) }, "action=defer reason=early wait=2"),
        (Verdict::Retried { waited: Seconds(3), by }, "action=pass reason=retried delay=3 by=dkim"),
        (Verdict::CameBack { waited: Seconds(4) }, "action=pass reason=retried delay=4 by=message"),
        (Verdict::SenderCameBack { waited: Seconds(5) }, "action=pass reason=retried delay=5 by=sender"),
        (Verdict::Known { by }, "action=pass reason=known by=dkim"),
        (Verdict::Auto { by }, "action=pass reason=auto by=dkim"),
        (Verdict::Whitelisted { kind: ListKind::Client }, "action=pass reason=whitelisted"),
        (Verdict::Trapped { wait: Seconds(9) }, "action=defer reason=trapped wait=9"),
        (Verdict::Replied, "action=pass reason=replied"),
        (Verdict::Released, "action=pass reason=released"),
        (Verdict::Local, "action=pass reason=local"),
        (Verdict::Off, "action=pass reason=off"),
        (Verdict::Unreadable, "action=pass reason=error error=store-damaged"),
    ] {
        assert_eq!(verdict.reply(Mode::Enforce).to_string(), words);
    }
}
