//! What the store is told besides attempts, and what becomes of it.

use super::*;
use crate::memory::{Event, Finding, Memory, Scope};
use crate::recipient::Delimiters;
use crate::reply::Effect;
use crate::store::entries::{Entry, Kind};
use crate::value::Value;
use crate::whitelist::ListKind;

impl World {
    fn triplet<'a>(&self, identities: &[Identity], sender: &'a str) -> Triplet<'a> {
        let client = Some("192.0.2.1".parse().unwrap());
        let triplet =
            Triplet::new(identities.to_vec(), sender.as_bytes(), b"Bob@y.example", b"", Level::Full);
        Triplet { client, ..triplet }
    }

    fn feedback(&self, identities: &[Identity], sender: &str, finding: Finding, at: u32) -> Effect {
        let triplet = self.triplet(identities, sender);
        self.tell(at, &triplet, |question| Event::Feedback(question, finding))
    }

    fn tell<'a>(
        &'a self,
        at: u32,
        triplet: &'a Triplet<'a>,
        event: impl for<'q> Fn(&'q Question<'q>) -> Event<'q>,
    ) -> Effect {
        self.store.tell(&event(&self.question(triplet, at))).unwrap()
    }

    fn sent(&self, triplet: &Triplet<'_>, at: u32) -> Effect {
        self.tell(at, triplet, |question| Event::Sent(question))
    }

    fn ask_listed(&self, identities: &[Identity], sender: &str, at: u32) -> Verdict {
        let triplet = self.triplet(identities, sender);
        self.decide(&triplet, Access::Record, at)
    }

    /// A mail that waited and passed.
    fn pass(&self, identities: &[Identity], sender: &str, at: u32) {
        assert!(matches!(self.ask(identities, sender, at), Verdict::New { .. }), "{sender}");
        assert!(matches!(self.ask(identities, sender, at + 300), Verdict::Retried { .. }), "{sender}");
    }
}

#[test]
fn who_our_user_wrote_to_need_not_wait() {
    let world = world();
    let client = [network("192.0.2.1")];
    let theirs = world.triplet(&[], "Carol@z.example");
    assert_eq!(world.sent(&theirs, 0), Effect::Recorded);
    assert_eq!(world.ask(&client, "prvs=0123456789=carol@z.example", 10), Verdict::Replied);
    assert!(matches!(world.ask(&client, "dave@z.example", 6_000), Verdict::New { .. }));
    // A message a day renews nothing but the permit of the domain; one after a few days does.
    for (days, until) in [(1, 0), (3, 3)] {
        world.sent(&theirs, 86_400 * days);
        let mut replied = Vec::new();
        world.store.scan_entries(|s| replied.extend((s.kind == Kind::Replied).then_some(s.until))).unwrap();
        assert_eq!(replied, [NOW.plus(Seconds::DAY.times(until)).plus(world.rules.keep())]);
    }
    let after = Seconds::DAY.times(39).0;
    assert_eq!(world.ask(&client, "carol@z.example", after), Verdict::Replied);
    let margin = Seconds::DAY.times(36).0 / 16;
    assert!(matches!(world.ask(&client, "carol@z.example", after + margin + 1), Verdict::New { .. }));
}

#[test]
fn a_whole_domain_may_reply_where_the_site_says_so() {
    let mut world = world();
    world.rules.replied_domain = true;
    let theirs = world.triplet(&[], "Carol@z.example");
    world.sent(&theirs, 0);
    // When the hour is over in which any of the registered domain may.
    assert_eq!(world.ask(&[network("192.0.2.1")], "dave@Z.example", 6_000), Verdict::Replied);
    assert!(matches!(world.ask(&[network("192.0.2.1")], "dave@sub.z.example", 6_000), Verdict::New { .. }));
    world.rules.replied_domain = false;
    assert!(matches!(world.ask(&[network("192.0.2.1")], "dave@z.example", 6_000), Verdict::New { .. }));
    assert_eq!(world.ask(&[network("192.0.2.1")], "carol@z.example", 6_000), Verdict::Replied);
}

/// Who was written to by a user may reply to any extension of that user, where the site has extensions. Who was
/// written to by an extension may reply to that one.
#[test]
fn replies_to_an_extension_of_a_users_address_need_not_wait() {
    let mut world = world();
    world.rules.replied_domain = true;
    let to = |sender: &'static str, recipient: &str| {
        Triplet::new(vec![network("192.0.2.1")], sender.as_bytes(), recipient.as_bytes(), b"", Level::Full)
    };
    world.sent(&to("carol@z.example", "bob@y.example"), 0);
    world.sent(&to("erin@w.example", "bob+shop@y.example"), 0);
    let ask = |world: &World, sender, recipient| world.decide(&to(sender, recipient), Access::Look, 6_000);
    let mut answers = |delimiter: &[u8]| {
        world.rules.recipient_delimiter = Delimiters::parse(delimiter).unwrap();
        let mails = [
            ("carol@z.example", "Bob+News@y.example"),
            ("dave@z.example", "bob+news@y.example"),
            ("erin@w.example", "bob+shop@y.example"),
            ("erin@w.example", "bob@y.example"),
            ("erin@w.example", "bob+news@y.example"),
            ("carol@z.example", "+bob@y.example"),
        ];
        mails.map(|(sender, recipient)| ask(&world, sender, recipient) == Verdict::Replied)
    };
    assert_eq!(answers(b"+"), [true, true, true, false, false, false]);
    assert_eq!(answers(b""), [false, false, true, false, false, false]);
}

/// Only what is written of a user holds for extensions: each of them has first attempts of its own.
#[test]
fn an_extension_is_a_recipient_of_its_own() {
    let mut world = world();
    world.rules.recipient_delimiter = Delimiters::parse(b"+").unwrap();
    let ask = |recipient: &str, at| {
        let client = vec![network("192.0.2.1")];
        let triplet = Triplet::new(client, b"a@x.example", recipient.as_bytes(), b"", Level::Full);
        world.decide(&triplet, Access::Record, at)
    };
    assert!(matches!(ask("bob@y.example", 0), Verdict::New { .. }));
    assert!(matches!(ask("bob+news@y.example", 400), Verdict::New { .. }));
    assert!(matches!(ask("bob@y.example", 400), Verdict::Retried { .. }));
    assert!(matches!(ask("bob+news@y.example", 401), Verdict::Early { .. }));
    let question =
        Triplet::new(vec![network("192.0.2.1")], b"a@x.example", b"bob+news@y.example", b"", Level::Full);
    let release = Event::Release(&world.question(&question, 402), Scope::Pair);
    world.store.tell(&release).unwrap();
    assert!(matches!(ask("bob+other@y.example", 403), Verdict::New { .. }));
    assert_eq!(ask("bob+news@y.example", 403), Verdict::Released);
}

/// Who verifies our user's address asks from an address or a host of the domain that our user has just
/// written to.
#[test]
fn a_registered_domain_that_our_user_just_wrote_to_need_not_wait_for_an_hour() {
    let world = world();
    let host = Identity::Host(Domain::parse(b"z.co.uk").unwrap());
    let from = |identities: &[Identity], sender, at| {
        let triplet = world.triplet(identities, sender);
        world.decide(&triplet, Access::Look, at)
    };
    let elsewhere = [network("192.0.2.1")];
    let theirs = [network("192.0.2.1"), host];
    let probe = "double-bounce@mx.z.co.uk";
    let write = |at| {
        let triplet = world.triplet(&[], "Carol@mail.z.co.uk");
        world.sent(&triplet, at)
    };
    assert_eq!(write(0), Effect::Recorded);
    for at in [0, 3_600, 5_400] {
        assert_eq!(from(&elsewhere, probe, at), Verdict::Replied, "{at}");
        assert_eq!(from(&theirs, "", at), Verdict::Replied, "{at}");
        assert!(matches!(from(&elsewhere, "", at), Verdict::New { .. }));
        assert!(matches!(from(&elsewhere, "x@other.co.uk", at), Verdict::New { .. }));
    }
    let triplet = Triplet::new(elsewhere.to_vec(), probe.as_bytes(), b"other@y.example", b"", Level::Full);
    let other = world.decide(&triplet, Access::Look, 0);
    assert!(matches!(other, Verdict::New { .. }), "another user wrote nothing");
    // A message within half an hour is not worth a write, and there is an hour left all the same.
    assert_eq!(write(1_800), Effect::Nothing);
    assert!(matches!(from(&elsewhere, probe, 5_401), Verdict::New { .. }));
    assert_eq!(write(1_801), Effect::Recorded);
    assert_eq!(from(&theirs, probe, 7_201), Verdict::Replied);
    assert!(matches!(from(&theirs, probe, 7_202), Verdict::New { .. }));
    // What the address itself may do is untouched.
    assert_eq!(from(&elsewhere, "carol@mail.z.co.uk", 1_000_000), Verdict::Replied);
}

#[test]
fn spam_takes_back_what_its_triplet_earned_and_no_more() {
    let world = world();
    let client = [network("192.0.2.1"), spf("x.example")];
    world.pass(&client, "first@x.example", 0);
    world.pass(&client, "second@x.example", 4_000);
    // Within the hour: not counted, so there is nothing to take back for it.
    world.pass(&client, "burst@x.example", 4_400);
    assert_eq!((world.passes(By::Network), world.passes(By::Spf)), (Some(2), Some(2)));
    assert_eq!(world.feedback(&client, "burst@x.example", Finding::Spam, 5_000), Effect::Recorded);
    assert_eq!((world.passes(By::Network), world.passes(By::Spf)), (Some(2), Some(2)));
    assert_eq!(world.feedback(&client, "second@x.example", Finding::Spam, 5_000), Effect::Recorded);
    assert_eq!((world.passes(By::Network), world.passes(By::Spf)), (Some(1), Some(1)));
    assert!(matches!(world.ask(&client, "second@x.example", 5_001), Verdict::New { .. }));
    // Effect twice, taken back once.
    assert_eq!(world.feedback(&client, "second@x.example", Finding::Spam, 5_002), Effect::Nothing);
    assert_eq!(world.feedback(&client, "first@x.example", Finding::Spam, 5_003), Effect::Recorded);
    assert_eq!((world.passes(By::Network), world.passes(By::Spf)), (None, None));
}

#[test]
fn ham_keeps_a_triplet_known_and_counts_once_an_hour() {
    let world = world();
    let client = [network("192.0.2.1")];
    world.pass(&client, "a@x.example", 0);
    assert_eq!(world.feedback(&client, "nobody@x.example", Finding::Ham, 400), Effect::Nothing);
    assert_eq!(world.feedback(&client, "a@x.example", Finding::Ham, 400), Effect::Recorded);
    assert_eq!(world.passes(By::Network), Some(1));
    let later = Seconds::DAY.times(30).0;
    assert_eq!(world.feedback(&client, "a@x.example", Finding::Ham, later), Effect::Recorded);
    assert_eq!(world.passes(By::Network), Some(2));
    assert_eq!(
        world.ask(&client, "a@x.example", later + Seconds::DAY.times(36).0),
        Verdict::Known { by: By::Network }
    );
}

/// A triplet that was confirmed again and again has earned no more than spam takes back from it.
#[test]
fn spam_takes_back_what_ham_has_confirmed_too() {
    let world = world();
    let client = [network("192.0.2.1")];
    world.pass(&client, "a@x.example", 0);
    for hour in 1..=4 {
        world.feedback(&client, "a@x.example", Finding::Ham, 300 + hour * 3_600);
    }
    assert_eq!(world.passes(By::Network), Some(5));
    assert_eq!(world.feedback(&client, "a@x.example", Finding::Spam, 30_000), Effect::Recorded);
    assert_eq!(world.passes(By::Network), None);
}

/// What passes since its client has proved itself has no record of its own to take back; it counts all the
/// same.
#[test]
fn spam_of_a_client_that_has_proved_itself_makes_it_wait_again() {
    let world = world();
    let client = [network("192.0.2.1"), spf("x.example")];
    for (i, sender) in
        ["a@x.example", "b@x.example", "c@x.example", "d@x.example", "e@x.example"].into_iter().enumerate()
    {
        world.pass(&client, sender, i as u32 * 4_000);
    }
    for hour in 6..12 {
        let at = hour * 3_600;
        assert_eq!(world.ask(&client, "spam@x.example", at), Verdict::Auto { by: By::Network });
        assert_eq!(world.feedback(&client, "spam@x.example", Finding::Spam, at), Effect::Recorded);
        assert_eq!(world.feedback(&client, "spam@x.example", Finding::Spam, at + 1), Effect::Nothing);
    }
    assert!(matches!(world.ask(&client, "new@x.example", 50_000), Verdict::New { .. }));
    assert_eq!(world.ask(&client, "a@x.example", 50_000), Verdict::Known { by: By::Network });
    // It can be trapped now, which one that has proved itself cannot.
    assert_eq!(world.feedback(&client, "new@x.example", Finding::Trap, 50_001), Effect::Recorded);
}

/// Mail that is known by one identity must not revive another that nobody has seen for longer than the
/// lifetime.
#[test]
fn an_identity_that_has_lapsed_begins_anew() {
    let world = world();
    let both = |network_: &str| [network(network_), spf("x.example")];
    for i in 0..5 {
        world.pass(
            &both("192.0.2.1"),
            ["a@x.example", "b@x.example", "c@x.example", "d@x.example", "e@x.example"][i as usize],
            i * 4_000,
        );
    }
    let day = Seconds::DAY.0;
    for days in (3..103).step_by(3) {
        // For months without SPF: known by its network alone.
        assert_eq!(
            world.ask(&[network("192.0.2.1")], "a@x.example", days * day),
            Verdict::Known { by: By::Network }
        );
    }
    assert_eq!(world.ask(&both("192.0.2.1"), "a@x.example", 105 * day), Verdict::Known { by: By::Network });
    assert!(matches!(world.ask(&both("198.51.100.1"), "n@x.example", 105 * day + 1), Verdict::New { .. }));
}

#[test]
fn what_is_forgotten_waits_again() {
    let world = world();
    let [client, other] =
        [[network("192.0.2.1"), spf("x.example")], [network("198.51.100.1"), spf("z.example")]];
    for (identities, sender) in [(&client, "a@x.example"), (&client, "b@x.example"), (&other, "a@x.example")]
    {
        world.pass(identities, sender, 0);
    }
    let mail = world.triplet(&[], "a@x.example");
    let forget = |event: &Event<'_>| world.store.tell(event).unwrap();
    let question = world.question(&mail, 500);
    assert_eq!(forget(&Event::ForgetPair(&question)), Effect::Recorded);
    assert_eq!(forget(&Event::ForgetPair(&question)), Effect::Nothing);
    let ask = |identities, sender| world.decide(&world.triplet(identities, sender), Access::Look, 500);
    for identities in [&client, &other] {
        assert!(matches!(ask(identities, "a@x.example"), Verdict::New { .. }));
    }
    assert_eq!(ask(&client, "b@x.example"), Verdict::Known { by: By::Network });
    assert_eq!(forget(&Event::ForgetClient(&client[..1])), Effect::Recorded);
    assert_eq!(ask(&client, "b@x.example"), Verdict::Known { by: By::Spf });
    assert_eq!((world.passes(By::Network), world.passes(By::Spf)), (Some(1), Some(1)));
    assert_eq!(forget(&Event::ForgetClient(&client)), Effect::Recorded);
    assert!(matches!(ask(&client, "b@x.example"), Verdict::New { .. }));
    assert_eq!(world.records(Table::Known).len(), 2, "what the other client has earned");
}

#[test]
fn a_trapped_network_waits_for_a_day_and_then_starts_anew() {
    let world = world();
    let client = [network("192.0.2.1")];
    world.pass(&client, "known@x.example", 0);
    world.ask(&client, "waiting@x.example", 80_000);
    assert_eq!(world.feedback(&client, "spam@x.example", Finding::Trap, 80_100), Effect::Recorded);
    assert_eq!(world.ask(&client, "waiting@x.example", 80_500), Verdict::Trapped { wait: Seconds(86_000) });
    assert!(matches!(world.ask(&client, "known@x.example", 80_500), Verdict::Trapped { .. }));
    assert!(matches!(world.ask(&[network("198.51.100.1")], "a@x.example", 80_500), Verdict::New { .. }));
    // The trap is over; what waited before it does not count, although its window is still open.
    let over = 80_100 + 86_400;
    assert!(matches!(world.ask(&client, "waiting@x.example", over + 10), Verdict::New { .. }));
    assert!(matches!(world.ask(&client, "waiting@x.example", over + 310), Verdict::Retried { .. }));
    assert_eq!(world.ask(&client, "known@x.example", over), Verdict::Known { by: By::Network });
}

#[test]
fn a_client_that_has_proved_itself_is_not_trapped() {
    let world = world();
    let client = [network("192.0.2.1"), spf("x.example")];
    for i in 0..5 {
        let sender = format!("s{}@x.example", char::from(b'a' + i));
        world.pass(&client, &sender, u32::from(i) * 4_000);
    }
    assert_eq!(world.feedback(&client, "spam@x.example", Finding::Trap, 20_000), Effect::Spared);
    // Its domain speaks for a network that is new.
    let elsewhere = [network("198.51.100.1"), spf("x.example")];
    assert_eq!(world.feedback(&elsewhere, "spam@x.example", Finding::Trap, 20_000), Effect::Spared);
    assert_eq!(world.feedback(&elsewhere[..1], "spam@x.example", Finding::Trap, 20_000), Effect::Recorded);
    assert_eq!(world.ask(&client, "new@x.example", 20_001), Verdict::Auto { by: By::Network });
}

#[test]
fn a_released_mail_passes_at_its_next_retry_and_is_known_then() {
    let world = world();
    let client = [network("192.0.2.1")];
    world.ask(&client, "a@x.example", 0);
    let pair = world.triplet(&[], "a@x.example");
    world.tell(10, &pair, |question| Event::Release(question, Scope::Pair));
    assert_eq!(world.ask(&client, "a@x.example", 20), Verdict::Released);
    assert_eq!(world.ask(&client, "a@x.example", 30), Verdict::Known { by: By::Network });
    // It was for one mail, and earns nothing.
    assert!(matches!(world.ask(&[network("198.51.100.1")], "a@x.example", 30), Verdict::New { .. }));
    assert_eq!(world.passes(By::Network), None);

    let triplet = world.triplet(&client, "b@x.example");
    world.tell(10, &triplet, |question| Event::Release(question, Scope::Triplet));
    assert!(matches!(world.ask(&[network("198.51.100.1")], "b@x.example", 20), Verdict::New { .. }));
    assert_eq!(world.ask(&client, "b@x.example", 20), Verdict::Released);

    // A release lapses with the retry window.
    let pair = world.triplet(&[], "c@x.example");
    world.tell(10, &pair, |question| Event::Release(question, Scope::Pair));
    assert!(matches!(world.ask(&client, "c@x.example", 10 + 172_801), Verdict::New { .. }));
}

#[test]
fn a_released_network_passes_with_all_its_mail_and_leaves_its_trap() {
    let world = world();
    let client = [network("192.0.2.1")];
    world.feedback(&client, "spam@x.example", Finding::Trap, 0);
    assert!(matches!(world.ask(&client, "a@x.example", 10), Verdict::Trapped { .. }));
    // The release of one mail leaves the trap as it is.
    let one = world.triplet(&client, "a@x.example");
    world.tell(15, &one, |question| Event::Release(question, Scope::Triplet));
    assert!(matches!(world.ask(&client, "a@x.example", 16), Verdict::Trapped { .. }));
    let triplet = world.triplet(&client, "");
    world.tell(20, &triplet, |question| Event::Release(question, Scope::Network));
    for sender in ["a@x.example", "b@x.example"] {
        assert_eq!(world.ask(&client, sender, 30), Verdict::Released);
        assert_eq!(world.ask(&client, sender, 31), Verdict::Known { by: By::Network });
    }
}

#[test]
fn the_whitelist_counts_from_the_next_decision_until_it_is_taken_back_or_lapses() {
    let world = world();
    let client = [network("192.0.2.1")];
    let add = |kind: ListKind, entry: &str, until: u32, unauthenticated| {
        let texts = [kind.canonical(entry).unwrap(), b"why".to_vec(), Vec::new()];
        let entry = Entry::new(Kind::Listed(kind), NOW, NOW.plus(Seconds(until)), texts);
        world.store.tell(&Event::List(&Entry { unauthenticated, ..entry })).unwrap();
    };
    let asked = |identities: &[Identity], at| world.ask_listed(identities, "a@x.example", at);
    assert!(matches!(asked(&client, 0), Verdict::New { .. }));
    add(ListKind::Client, "192.0.0.0/16", 100, false);
    assert_eq!(asked(&client, 100), Verdict::Whitelisted { kind: ListKind::Client });
    assert!(matches!(asked(&client, 101), Verdict::Early { .. }));
    add(ListKind::Recipient, "y.example", 1_000, false);
    assert_eq!(asked(&client, 101), Verdict::Whitelisted { kind: ListKind::Recipient });
    for told in [Effect::Recorded, Effect::Nothing] {
        assert_eq!(world.store.tell(&Event::Unlist(ListKind::Recipient, b"y.example")).unwrap(), told);
    }
    assert!(matches!(asked(&client, 102), Verdict::Early { .. }));

    // Senders are forged: an entry counts where SPF or DKIM vouches, unless the administrator insists.
    add(ListKind::Sender, "x.example", 1_000, false);
    assert!(matches!(asked(&client, 103), Verdict::Early { .. }));
    let vouched = [network("192.0.2.1"), spf("x.example")];
    assert_eq!(asked(&vouched, 103), Verdict::Whitelisted { kind: ListKind::Sender });
    add(ListKind::Sender, "x.example", 1_000, true);
    assert_eq!(asked(&client, 104), Verdict::Whitelisted { kind: ListKind::Sender });

    let mut listed = Vec::new();
    world.store.scan_entries(|entry| listed.push(entry.kind)).unwrap();
    assert!(
        listed.contains(&Kind::Listed(ListKind::Sender)) && listed.contains(&Kind::Listed(ListKind::Client))
    );
    // They are no strangers to a scan of the records.
    assert_eq!(world.store.scan(Table::Known, |_, _| true).unwrap(), Skipped::default());
}

#[test]
fn a_verified_domain_that_passed_for_one_recipient_need_not_wait_for_others() {
    let mut world = world();
    world.rules.trust_known_domains = true;
    world.pass(&[network("192.0.2.1"), spf("x.example")], "a@x.example", 0);
    let elsewhere = [network("198.51.100.1"), spf("x.example")];
    assert_eq!(world.ask(&elsewhere, "other@x.example", 400), Verdict::Auto { by: By::Spf });
    assert!(matches!(world.ask(&elsewhere[..1], "other@x.example", 400), Verdict::New { .. }));
}

#[test]
fn what_a_later_version_wrote_is_not_overwritten() {
    let world = world();
    let client = [network("192.0.2.1")];
    let triplet = world.triplet(&client, "a@x.example");
    let secret = *world.store.secret();
    let later = [9_u8; 40];
    let known = triplet.keys(&secret)[0].known;
    let replied = triplet.replied_key(&secret);
    let is = |key: &[u8]| world.env(Table::Known).read(|s| Ok(s.get(key)?.map(<[u8]>::to_vec))).unwrap();
    let write =
        |key: &[u8]| world.env(Table::Known).write(Patience::None, |w| Ok(w.put(key, &later)?)).unwrap();
    write(&known.0);
    write(&replied.0);
    world.tell(0, &triplet, |question| Event::Release(question, Scope::Pair));
    assert_eq!(world.ask(&client, "a@x.example", 10), Verdict::Released);
    let refused = world.store.tell(&Event::Sent(&world.question(&triplet, 0))).unwrap_err();
    assert_eq!(refused.fault(), Fault::StoreDamaged);
    assert_eq!([is(&known.0), is(&replied.0)], [Some(later.to_vec()), Some(later.to_vec())]);
    write(SUMMARY_KEY);
    assert!(world.store.tell(&Event::Trap(&world.question(&triplet, 0))).is_err());
    assert_eq!(is(SUMMARY_KEY), Some(later.to_vec()));
    assert!(matches!(world.ask(&client, "b@x.example", 20), Verdict::New { .. }));
}

#[test]
fn many_entries_are_one_commit_and_all_or_none_are_written() {
    let world = world();
    let entry = |text: &str| {
        let texts = [ListKind::Host.canonical(text).unwrap(), Vec::new(), Vec::new()];
        Entry::new(Kind::Listed(ListKind::Host), NOW, Timestamp(u32::MAX), texts)
    };
    let mut entries: Vec<_> = (0..300).map(|i| entry(&format!("host{i}.example"))).collect();
    let listed = || {
        let mut count = 0;
        world.store.scan_entries(|_| count += 1).unwrap();
        count
    };
    let before = world.env(Table::Known).version();
    world.store.whitelist(&entries).unwrap();
    assert_eq!((listed(), world.env(Table::Known).version()), (300, before + 1));

    // What a later version wrote in the place of one entry is not overwritten.
    let later = world.store.secret().listed(ListKind::Host, b"later.example");
    let write = |writer: &mut lmdb::Writer<'_>| Ok(writer.put(&later.0, b"\x63 of a version to come")?);
    world.env(Table::Known).write(Patience::None, write).unwrap();
    entries.push(entry("another.example"));
    entries.push(entry("later.example"));
    assert!(matches!(world.store.whitelist(&entries), Err(StoreError::Damaged { .. })));
    assert_eq!((listed(), world.env(Table::Known).version()), (300, before + 2));
}
