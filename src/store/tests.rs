//! The store through whole decisions: real files, one process, time as an argument.

use super::*;
use crate::decision::decide;
use crate::identity::{ClientNetwork, Domain, Identity, Prefixes};
use crate::memory::{Question, Records};
use crate::policy::Verdict;
use crate::reply::{By, Fault, Reason};
use crate::rules::Rules;
use crate::sender::Level;
use crate::store::record::{Facts, Record};
use crate::store::records::StoredRecords;
use crate::store::state::Turn;
use crate::time::Seconds;
use crate::triplet::Triplet;
use std::time::Duration;
use tempfile::TempDir;

mod events;
mod full;
mod queue;

const NOW: Timestamp = Timestamp(1_000_000_000);

struct World {
    dir: TempDir,
    store: Store,
    rules: Rules,
}

fn settings(dir: &TempDir) -> StoreSettings {
    StoreSettings { path: dir.path().into(), ..StoreSettings::default() }
}

fn world() -> World {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&settings(&dir), Access::Record, NOW).unwrap().unwrap();
    // What a site knows of a domain would hide what these tests are about.
    World { dir, store, rules: Rules { trust_known_domains: false, ..Rules::default() } }
}

fn network(address: &str) -> Identity {
    Identity::Network(ClientNetwork::of(address.parse().unwrap(), Prefixes::default()))
}

fn spf(domain: &str) -> Identity {
    Identity::Spf(Domain::parse(domain.as_bytes()).unwrap())
}

impl World {
    fn ask(&self, identities: &[Identity], sender: &str, at: u32) -> Verdict {
        let triplet =
            Triplet::new(identities.to_vec(), sender.as_bytes(), b"Bob@y.example", b"", Level::Full);
        self.decide(&triplet, Access::Record, at)
    }

    fn decide(&self, triplet: &Triplet<'_>, access: Access, at: u32) -> Verdict {
        decide(&self.store, &self.question(triplet, at), access).unwrap()
    }

    fn question<'a>(&'a self, triplet: &'a Triplet<'a>, at: u32) -> Question<'a> {
        Question { triplet, rules: &self.rules, now: NOW.plus(Seconds(at)) }
    }

    fn env(&self, table: Table) -> &Env {
        self.store.table(table).unwrap().unwrap()
    }

    fn records(&self, table: Table) -> Vec<Record> {
        let mut records = Vec::new();
        self.store.carry_all().unwrap();
        let skipped = self.store.scan(table, |_, record| {
            records.push(record);
            true
        });
        assert_eq!(skipped.unwrap(), Skipped::default());
        records
    }

    fn pending(&self) -> Vec<Record> {
        self.records(Table::Pending)
    }

    fn passes(&self, by: By) -> Option<u32> {
        self.records(Table::Known).iter().find_map(|record| match record.facts {
            Facts::Identity(earned) if record.by == by => Some(earned.passes),
            _ => None,
        })
    }
}

#[test]
fn a_mail_is_deferred_comes_back_and_passes_from_then_on() {
    let world = world();
    let client = [network("192.0.2.1")];
    assert_eq!(world.ask(&client, "a@x.example", 0), Verdict::New { wait: Seconds(300) });
    assert_eq!(
        world.ask(&client, "a@x.example", 100),
        Verdict::Early { waited: Seconds(100), wait: Seconds(200) }
    );
    assert_eq!(
        world.ask(&client, "a@x.example", 300),
        Verdict::Retried { waited: Seconds(300), by: By::Network }
    );
    assert_eq!(world.ask(&client, "a@x.example", 301), Verdict::Known { by: By::Network });
    assert_eq!(world.ask(&client, "other@x.example", 302), Verdict::New { wait: Seconds(300) });
    // What has passed no longer waits.
    assert_eq!(world.pending().len(), 1);
}

#[test]
fn a_pool_with_spf_waits_once_also_from_ipv4_to_ipv6() {
    let world = world();
    assert!(matches!(
        world.ask(&[network("192.0.2.1"), spf("x.example")], "a@x.example", 0),
        Verdict::New { .. }
    ));
    let verdict = world.ask(&[network("2001:db8::1"), spf("x.example")], "a@x.example", 400);
    assert_eq!(verdict, Verdict::Retried { waited: Seconds(400), by: By::Spf });
    // Both are known now: the network that came second needs no SPF any more.
    assert_eq!(world.ask(&[network("2001:db8::1")], "a@x.example", 500), Verdict::Known { by: By::Network });
    assert_eq!(
        world.ask(&[network("198.51.100.1"), spf("x.example")], "a@x.example", 600),
        Verdict::Known { by: By::Spf }
    );
}

#[test]
fn an_early_retry_from_elsewhere_ties_its_network_to_the_first_attempt() {
    let world = world();
    world.ask(&[network("192.0.2.1"), spf("x.example")], "a@x.example", 0);
    let verdict = world.ask(&[network("198.51.100.1"), spf("x.example")], "a@x.example", 100);
    assert_eq!(verdict, Verdict::Early { waited: Seconds(100), wait: Seconds(200) });
    // The look-up of SPF fails on the third try: the second network is remembered with the first attempt's
    // time.
    let verdict = world.ask(&[network("198.51.100.1")], "a@x.example", 300);
    assert_eq!(verdict, Verdict::Retried { waited: Seconds(300), by: By::Network });
}

/// A pool that nothing names, of so many networks that it comes from none of them twice.
#[test]
fn a_sender_that_comes_from_one_network_after_the_other_passes_after_half_an_hour() {
    let world = world();
    let from = |n: u8| [network(&format!("192.0.{n}.1"))];
    let new = Verdict::New { wait: Seconds(300) };
    for (n, at) in [(0, 0), (1, 300), (2, 900), (3, 1_799)] {
        assert_eq!(world.ask(&from(n), "a@x.example", at), new);
    }
    assert_eq!(
        world.ask(&from(3), "a@x.example", 1_798),
        Verdict::Early { waited: Seconds(0), wait: Seconds(300) }
    );
    let passes = Verdict::SenderCameBack { waited: Seconds(1_800) };
    // Also where the client has tried before.
    for n in [4, 3] {
        let triplet = Triplet::new(from(n).into(), b"a@x.example", b"bob@y.example", b"", Level::Full);
        assert_eq!(world.decide(&triplet, Access::Look, 1_800), passes);
        assert_eq!(world.decide(&triplet, Access::RecordKnown, 1_800), passes);
    }
    assert_eq!(world.ask(&from(4), "a@x.example", 1_800), passes);
    assert_eq!(world.ask(&from(4), "a@x.example", 1_801), Verdict::Known { by: By::Network });
    assert_eq!(world.passes(By::Network), None, "it says nothing for the network");
    // One mail passes for them, and each of them still has its own first attempt.
    assert_eq!(world.ask(&from(5), "a@x.example", 1_802), new);
    assert_eq!(
        world.ask(&from(0), "a@x.example", 1_803),
        Verdict::Retried { waited: Seconds(1_803), by: By::Network }
    );
    // It begins anew.
    assert_eq!(world.ask(&from(6), "a@x.example", 3_000), new);
    assert_eq!(world.ask(&from(7), "a@x.example", 3_601), new);
    assert_eq!(world.ask(&from(7), "a@x.example", 3_602), Verdict::SenderCameBack { waited: Seconds(1_800) });
}

#[test]
fn what_comes_from_many_networks_must_be_the_same_mail_and_no_bounce() {
    let world = world();
    let ask = |address: &str, sender: &str, recipient: &str, fingerprint: &str, at| {
        let (sender, recipient, fingerprint) =
            (sender.as_bytes(), recipient.as_bytes(), fingerprint.as_bytes());
        let triplet = Triplet::new(vec![network(address)], sender, recipient, fingerprint, Level::Full);
        world.decide(&triplet, Access::Record, at)
    };
    let new = Verdict::New { wait: Seconds(300) };
    let (a, b) = ("a@x.example", "b@y.example");
    for (address, sender, recipient, fingerprint, at) in [
        ("192.0.1.1", a, b, "", 0),
        ("192.0.2.1", a, "c@y.example", "", 10),
        ("192.0.3.1", "other@x.example", b, "", 20),
        ("192.0.4.1", a, b, "one message", 30),
        ("192.0.5.1", a, b, "", 40),
        ("192.0.4.1", a, "c@y.example", "", 4_000),
        ("192.0.5.1", a, b, "another message", 4_000),
        ("192.0.5.9", "other@x.example", b, "", 4_000),
        // All networks of one customer are one.
        ("2001:db8:1:1::1", a, "d@y.example", "", 50),
        ("2001:db8:1:2::1", a, "d@y.example", "", 4_000),
        ("2001:db8:1:3::1", a, "d@y.example", "", 4_001),
        ("2001:db8:2:1::1", a, "d@y.example", "", 4_002),
        ("192.0.6.1", "", b, "", 60),
        ("192.0.7.1", "", b, "", 4_000),
        ("192.0.8.1", "", b, "", 4_001),
    ] {
        assert_eq!(ask(address, sender, recipient, fingerprint, at), new, "{address} {recipient} {at}");
    }
    let passes = |since| Verdict::SenderCameBack { waited: Seconds(since) };
    assert_eq!(ask("192.0.9.1", a, b, "", 4_100), passes(4_100));
    assert_eq!(ask("192.0.9.1", a, "d@y.example", "", 4_100), passes(4_050));
}

/// Only so many are looked at, and the client's own among them or not.
#[test]
fn a_client_finds_its_own_first_attempt_among_very_many_of_the_same_mail() {
    let world = world();
    let from = |n: u32| [network(&format!("10.{}.{}.1", n / 256, n % 256))];
    for n in 0..1_000 {
        assert_eq!(world.ask(&from(n), "a@x.example", n), Verdict::New { wait: Seconds(300) });
    }
    for n in 0..300 {
        let waited = Seconds(1_300);
        let verdict = world.ask(&from(n), "a@x.example", n + 1_300);
        assert_eq!(verdict, Verdict::Retried { waited, by: By::Network }, "{n}");
    }
    assert!(matches!(world.ask(&from(2_000), "a@x.example", 3_000), Verdict::SenderCameBack { .. }));
    // What is used up is used up, and does not hide the client's own.
    let verdict = world.ask(&from(999), "a@x.example", 3_000);
    assert_eq!(verdict, Verdict::Retried { waited: Seconds(2_001), by: By::Network });
}

#[test]
fn five_passes_at_an_hours_distance_make_a_client_pass_at_once() {
    let world = world();
    let client = [network("192.0.2.1"), spf("x.example")];
    for i in 0..5 {
        let sender = format!("s{i}-person@x.example");
        assert!(matches!(world.ask(&client, &sender, i * 4_000), Verdict::New { .. }), "{i}");
        assert!(matches!(world.ask(&client, &sender, i * 4_000 + 300), Verdict::Retried { .. }), "{i}");
    }
    assert_eq!(world.ask(&client, "new@x.example", 20_000), Verdict::Auto { by: By::Network });
    assert_eq!(
        world.ask(&[network("203.0.113.1"), spf("x.example")], "n@x.example", 20_000),
        Verdict::Auto { by: By::Spf }
    );
    assert!(matches!(world.ask(&[network("203.0.113.1")], "n@x.example", 20_000), Verdict::New { .. }));
    // Who passes at once leaves no triplet.
    assert!(world.pending().iter().all(|record| record.texts.sender == b"n@x.example"));
    // Mail that is known, and nothing else, keeps the client proved.
    for month in 1..6 {
        let verdict = world.ask(&client, "s0-person@x.example", month * 2_678_400);
        assert_eq!(verdict, Verdict::Known { by: By::Network }, "{month}");
    }
    assert_eq!(world.ask(&client, "later@x.example", 5 * 2_678_400 + 1), Verdict::Auto { by: By::Network });
}

#[test]
fn a_burst_counts_once() {
    let world = world();
    let client = [network("192.0.2.1")];
    for i in 0..20 {
        let sender = format!("p{}@x.example", char::from(b'a' + i));
        world.ask(&client, &sender, 0);
        world.ask(&client, &sender, 400);
    }
    assert_eq!(world.passes(By::Network), Some(1));
}

#[test]
fn a_known_triplet_is_renewed_only_when_that_is_worth_a_write() {
    let world = world();
    let client = [network("192.0.2.1")];
    world.ask(&client, "a@x.example", 0);
    world.ask(&client, "a@x.example", 300);
    let last_seen = || {
        world.records(Table::Known).into_iter().find_map(|record| match record.facts {
            Facts::Known(known) => Some((known.last_seen, record.expires)),
            _ => None,
        })
    };
    let first = last_seen();
    assert_eq!(first, Some((NOW.plus(Seconds(300)), NOW.plus(Seconds(300 + 3_304_800)))));
    world.ask(&client, "a@x.example", 190_000);
    assert_eq!(last_seen(), first);
    world.ask(&client, "a@x.example", 300 + 194_401);
    assert_eq!(last_seen(), Some((NOW.plus(Seconds(194_701)), NOW.plus(Seconds(194_701 + 3_304_800)))));
    // So a sender who writes now and then never waits again.
    for month in 1..24 {
        assert_eq!(
            world.ask(&client, "a@x.example", month * 2_678_400),
            Verdict::Known { by: By::Network },
            "{month}"
        );
    }
}

/// Seen shortly before a write was worth it, then silent: the lifetime counts from when it was seen.
#[test]
fn nobody_is_forgotten_before_the_lifetime_is_over() {
    let world = world();
    let client = [network("192.0.2.1")];
    world.ask(&client, "a@x.example", 0);
    world.ask(&client, "a@x.example", 300);
    let seen = 300 + 194_400;
    assert_eq!(world.ask(&client, "a@x.example", seen), Verdict::Known { by: By::Network });
    assert_eq!(world.ask(&client, "a@x.example", seen + 3_110_400), Verdict::Known { by: By::Network });
}

#[test]
fn a_renewal_that_finds_the_lock_taken_is_left_for_another_time() {
    let world = world();
    let client = [network("192.0.2.1")];
    world.ask(&client, "a@x.example", 0);
    world.ask(&client, "a@x.example", 300);
    let other = State::open(world.dir.path(), false).unwrap();
    for table in [Table::Known, Table::Pending] {
        let _held = other.take(Turn::Write(table), Duration::ZERO, world.dir.path()).unwrap();
        assert_eq!(world.ask(&client, "a@x.example", 1_000_000), Verdict::Known { by: By::Network });
    }
}

#[test]
fn looking_leaves_no_trace() {
    let dir = tempfile::tempdir().unwrap();
    assert!(Store::open(&settings(&dir), Access::Look, NOW).unwrap().is_none());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);

    let world = world();
    let triplet = Triplet::new(vec![network("192.0.2.1")], b"a@x.example", b"b@y.example", b"", Level::Full);
    for _ in 0..2 {
        let verdict = world.decide(&triplet, Access::Look, 0);
        assert!(matches!(verdict, Verdict::New { .. }));
    }
    assert!(world.store.table(Table::Pending).unwrap().is_none());
}

#[test]
fn a_directory_that_is_missing_is_an_error_also_for_a_look() {
    let dir = tempfile::tempdir().unwrap();
    let missing = StoreSettings { path: dir.path().join("none"), ..StoreSettings::default() };
    for access in [Access::Look, Access::Record] {
        let error = Store::open(&missing, access, NOW).err().unwrap();
        assert_eq!(error.fault(), Fault::StoreOpen);
        assert!(error.to_string().contains("none"), "{error}");
    }
}

#[test]
fn the_secret_stays_and_each_store_has_its_own() {
    let World { dir, store, .. } = world();
    let secret = *store.secret();
    drop(store);
    let again = Store::open(&settings(&dir), Access::Look, NOW.plus(Seconds(9))).unwrap().unwrap();
    assert!(*again.secret() == secret);
    assert_eq!(again.made(), NOW);
    assert!(*world().store.secret() != secret);
}

#[test]
fn a_store_of_a_later_version_is_left_alone() {
    let World { dir, store, .. } = world();
    store
        .table(Table::Known)
        .unwrap()
        .unwrap()
        .write(Patience::None, |writer| Ok(writer.put(META_KEY, &[2; 30])?))
        .unwrap();
    drop(store);
    for access in [Access::Look, Access::Record] {
        let error = Store::open(&settings(&dir), access, NOW).err().unwrap();
        assert_eq!(error.fault(), Fault::StoreDamaged);
    }
}

#[test]
fn records_of_a_later_version_are_neither_used_nor_overwritten() {
    let world = world();
    let client = [network("192.0.2.1")];
    let triplet = Triplet::new(client.to_vec(), b"a@x.example", b"Bob@y.example", b"", Level::Full);
    let keys = triplet.keys(world.store.secret())[0];
    let later = [9_u8; 40];
    world.env(Table::Known).write(Patience::None, |writer| Ok(writer.put(&keys.known.0, &later)?)).unwrap();
    assert_eq!(world.ask(&client, "a@x.example", 0), Verdict::Unreadable);
    let pending = world.store.pending().unwrap();
    let other = Triplet::new(client.to_vec(), b"c@x.example", b"Bob@y.example", b"", Level::Full);
    let other = other.keys(world.store.secret())[0];
    pending.write(Patience::None, |writer| Ok(writer.put(&other.pending.0, &later)?)).unwrap();
    assert_eq!(world.ask(&client, "c@x.example", 0), Verdict::Unreadable);
    for (table, key) in [(Table::Known, keys.known), (Table::Pending, other.pending)] {
        let there = world.env(table).read(|s| Ok(s.get(&key.0)?.map(<[u8]>::to_vec)));
        assert_eq!(there.unwrap(), Some(later.to_vec()));
        assert_eq!(world.store.scan(table, |_, _| true).unwrap().unreadable, 1);
    }
}

#[test]
fn first_attempts_of_another_boot_are_removed_unread() {
    let world = world();
    let old = world.dir.path().join("pending-00000000-0000-0000-0000-000000000000");
    fs::create_dir(&old).unwrap();
    fs::write(old.join("data.mdb"), "torn").unwrap();
    assert!(matches!(world.ask(&[network("192.0.2.1")], "a@x.example", 0), Verdict::New { .. }));
    assert!(!old.exists());
    let now: Vec<_> = fs::read_dir(world.dir.path()).unwrap().flatten().map(|e| e.file_name()).collect();
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    assert!(now.contains(&format!("pending-{}", boot.trim()).into()), "{now:?}");
}

/// Else the first decision of each process would be made twice.
#[test]
fn what_was_read_holds_while_nobody_has_written() {
    let world = world();
    world.ask(&[network("192.0.2.1")], "a@x.example", 0);
    let World { rules, store, dir } = world;
    drop(store);
    // As in another process, which has opened neither table.
    let store = Store::open(&settings(&dir), Access::Record, NOW).unwrap().unwrap();
    let identities = vec![network("198.51.100.1")];
    let triplet = Triplet::new(identities, b"c@x.example", b"b@y.example", b"", Level::Full);
    let question = Question { triplet: &triplet, rules: &rules, now: NOW };
    let records = StoredRecords::of(&store, &question).unwrap();
    records.known(false).unwrap();
    records.pending().unwrap();
    assert!(records.still_holds(store.pending().unwrap().version()));
    let known = store.table(Table::Known).unwrap().unwrap();
    known.write(Patience::None, |writer| Ok(writer.put(&[7; 16], b"")?)).unwrap();
    assert!(!records.still_holds(store.pending().unwrap().version()));
}

#[test]
fn privacy_keeps_no_address() {
    let dir = tempfile::tempdir().unwrap();
    let settings = StoreSettings { privacy: true, ..settings(&dir) };
    let store = Store::open(&settings, Access::Record, NOW).unwrap().unwrap();
    let world = World { dir, store, rules: Rules::default() };
    let client = [network("192.0.2.1"), spf("senders.example")];
    world.ask(&client, "alice-private@senders.example", 0);
    world.ask(&client, "alice-private@senders.example", 300);
    world.ask(&client, "carol-private@senders.example", 300);
    for dir in fs::read_dir(world.dir.path()).unwrap().flatten().filter(|e| e.path().is_dir()) {
        let data = fs::read(dir.path().join("data.mdb")).unwrap();
        for text in [&b"private"[..], b"senders.example", b"bob", b"192.0.2"] {
            assert!(!data.windows(text.len()).any(|w| w == text), "{}", text.escape_ascii());
        }
    }
}

/// A first attempt that comes back is counted in its own hour, from whatever address of the client, and so is how long it
/// waited; the others of that hour have not come back. Another recipient of the message was no attempt.
#[test]
fn what_becomes_of_first_attempts_is_counted() {
    let world = world();
    let counters = world.store.counters().unwrap();
    let count = |verdict: Verdict, at: u32| {
        world.store.count(&verdict.reply(world.rules.mode), NOW.plus(Seconds(at)));
        verdict
    };
    let ask = |n: u32, from: u32, at: u32| {
        let client = [network(&format!("10.{from}.{n}.1")), spf(&format!("s{n}.example"))];
        count(world.ask(&client, &format!("a{n}@s{n}.example"), at), at)
    };
    (0..100).for_each(|n| assert!(matches!(ask(n, 0, 0), Verdict::New { .. })));
    (0..100).for_each(|n| assert!(matches!(ask(n, 1, 60), Verdict::Early { .. })));
    (0..40).for_each(|n| assert!(matches!(ask(n, 2, 7_000), Verdict::Retried { by: By::Spf, .. })));
    count(Verdict::CameBack { waited: Seconds(7_000) }, 7_000);
    assert!(matches!(ask(200, 0, 7_000), Verdict::New { .. }));
    let hours: Vec<_> = counters.hours(NOW..=NOW.plus(Seconds(7_000))).map(|(_, tally)| tally).collect();
    let [first, .., last] = hours.as_slice() else { panic!("{hours:?}") };
    assert_eq!((first.reason(Reason::New), first.never_came_back()), (100, 60));
    assert_eq!((last.reason(Reason::New), last.never_came_back()), (1, 1));
    assert_eq!((first.waited(1.0), last.waited(1.0)), (None, Some(Seconds(7_200))));
    assert_eq!(last.waits().iter().sum::<u64>(), 41);
}

/// Of mail that comes back too early the first retry counts, and once more when it or its message passes.
#[test]
fn when_first_retries_came_is_counted() {
    let world = world();
    let ask = |n: u32, from: u32, access: Access, at: u32| {
        let client = vec![network(&format!("10.{from}.{n}.1")), spf(&format!("s{n}.example"))];
        let sender = format!("a{n}@s{n}.example");
        let triplet = Triplet::new(client, sender.as_bytes(), b"b@y.example", b"", Level::Exact);
        world.decide(&triplet, access, at)
    };
    for n in 0..2 {
        assert!(matches!(ask(n, 0, Access::Record, 0), Verdict::New { .. }));
        assert!(matches!(ask(n, 0, Access::Look, 30), Verdict::Early { .. }));
        for (from, at) in [(1, 70), (0, 200), (0, 250)] {
            assert!(matches!(ask(n, from, Access::Record, at), Verdict::Early { .. }), "{at}");
        }
    }
    assert!(matches!(ask(0, 2, Access::Look, 7_000), Verdict::Retried { .. }));
    assert!(matches!(ask(0, 2, Access::Record, 7_000), Verdict::Retried { .. }));
    let sender = b"a1@s1.example";
    let mut mail = Triplet::new(vec![network("10.0.1.1")], sender, b"b@y.example", b"", Level::Exact);
    mail.came_back = Some(Timestamp(NOW.0 - 100));
    assert!(matches!(world.decide(&mail, Access::Record, 280), Verdict::CameBack { .. }));
    let hours: Vec<_> = world.store.counters().unwrap().hours(NOW..=NOW.plus(Seconds(7_000))).collect();
    assert_eq!(hours[0].1.came_early(), [0, 2, 0, 0, 0, 0, 0]);
    assert_eq!(hours[0].1.early_that_passed(), [0, 1, 1, 0, 0, 0, 0]);
    assert!(hours[1..].iter().all(|(_, tally)| tally.came_early() == [0; 7]));
}
