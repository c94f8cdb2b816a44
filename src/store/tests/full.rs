//! Tables that are full, and clocks that are wrong. `make torture-flood` makes the floods so large that the fastest has five
//! million attempts.

use super::*;
use crate::settings::StoreSettings;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

/// How much larger the floods are than a few pages' worth.
fn scale() -> u32 {
    std::env::var("EXIMGREY_FLOOD").map_or(1, |scale| scale.parse().unwrap())
}

fn world_of(change: impl FnOnce(&mut StoreSettings)) -> World {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = settings(&dir);
    change(&mut settings);
    let store = Store::open(&settings, Access::Record, NOW).unwrap().unwrap();
    World { dir, store, rules: Rules { auto_after: 0, trust_known_domains: false, ..Rules::default() } }
}

fn client(address: impl Into<IpAddr>) -> Identity {
    Identity::Network(ClientNetwork::of(address.into(), Prefixes::default()))
}

fn v4(n: u32) -> Identity {
    client(Ipv4Addr::from(0x0b00_0000 + (n << 8) + 1))
}

fn identities(n: u32, many: bool) -> Vec<Identity> {
    let domain = |name: &str| Domain::parse(format!("{name}{n}.example").as_bytes()).unwrap();
    let more = [Identity::Spf(domain("s")), Identity::Dkim(domain("d")), Identity::Host(domain("h"))];
    let more = more.into_iter().filter(|_| many);
    [client(Ipv4Addr::from(0xc600_0000 + (n << 8) + 1))].into_iter().chain(more).collect()
}

fn count(world: &World, table: Table) -> u64 {
    let mut count = 0;
    let mut each = |_: &[u8], _: &[u8]| {
        count += 1;
        true
    };
    world.env(table).read(|snapshot| snapshot.each(&mut each)).unwrap();
    count
}

/// Who sends hostile attempts, and how many in a minute.
struct Flood<'f> {
    rate: u32,
    /// The identity and sender of one, by its number and a number of an honest sender's.
    attempt: &'f dyn Fn(u32, u32) -> (Identity, String),
}

/// An honest sender's, who comes back after so many minutes.
const PAUSES: [u32; 6] = [5, 10, 15, 30, 60, 64];

/// Lets a flood go on for some hours, and honest senders in it, one a minute. Says how many of these passed
/// when they came back, how many at once, and how many did not.
fn survive(flood: &Flood<'_>, many: bool, pauses: &[u32]) -> [usize; 3] {
    let most = 400 * u64::from(scale());
    let world = world_of(|settings| settings.max_pending = most);
    let rate = flood.rate * scale();
    let ask = |identities: &[Identity], sender: &str, minute: u32| {
        let triplet =
            Triplet::new(identities.to_vec(), sender.as_bytes(), b"bob@y.example", b"", Level::Exact);
        decide(&world.store, &world.question(&triplet, minute * 60), Access::Record)
    };
    let honest = |n: u32| (identities(n, many), format!("honest{n}@x.example"));
    let friend = |minute: u32| ask(&identities(9_999, many), "friend@x.example", minute);
    assert!(matches!(friend(0), Ok(Verdict::New { .. })));
    assert!(matches!(friend(5), Ok(Verdict::Retried { .. })));
    let ([mut retried, mut at_once, mut lost], mut waiting) = ([0; 3], Vec::new());
    let minutes = pauses.iter().max().unwrap() + 150;
    let mut took = Vec::new();
    for minute in 0..minutes {
        let start = Instant::now();
        for i in 0..rate {
            let (identity, sender) = (flood.attempt)(minute * rate + i, minute);
            let _ = ask(&[identity], &sender, minute);
        }
        took.push(start.elapsed() / rate);
        assert!(matches!(friend(minute), Ok(Verdict::Known { .. })));
        let (due, later) = waiting.into_iter().partition(|(_, at)| *at == minute);
        waiting = later;
        for (n, _) in due {
            let (identities, sender) = honest(n);
            match ask(&identities, &sender, minute) {
                Ok(Verdict::Retried { .. }) => retried += 1,
                Err(_) => at_once += 1,
                _ => lost += 1,
            }
        }
        let (identities, sender) = honest(minute);
        match ask(&identities, &sender, minute) {
            Ok(verdict) => {
                assert!(matches!(verdict, Verdict::New { .. }), "{verdict:?}");
                waiting.push((minute, minute + pauses[minute as usize % pauses.len()]));
            }
            Err(error) => {
                assert_eq!(error.fault(), Fault::StoreFull);
                at_once += 1;
            }
        }
    }
    let there = count(&world, Table::Pending);
    assert!(there <= most + 20, "{there} records");
    // The table is full after the first tenth of the fastest floods.
    let tenth = took.len() / 10;
    let mean = |part: &[Duration]| part.iter().sum::<Duration>().as_micros() / part.len() as u128;
    println!(
        "campaign: {} attempts, {rate} a minute, room for {most}: {retried} came back, {at_once} passed at once, {lost} are lost; \
         an attempt took {} us in the first tenth, {} in the last",
        rate * minutes,
        mean(&took[..tenth]),
        mean(&took[took.len() - tenth..])
    );
    [retried, at_once, lost]
}

fn every_retry_passes(flood: &Flood<'_>, pauses: &[u32]) {
    for many in [false, true] {
        let [retried, at_once, lost] = survive(flood, many, pauses);
        assert!(lost * 100 <= retried + at_once, "{lost} of {retried} and {at_once} are lost");
    }
}

/// Of one sender and recipient the oldest attempt is not pushed out by those that come later.
#[test]
fn a_pool_that_nothing_names_passes_however_full_the_table() {
    let world = world_of(|settings| settings.max_pending = 400);
    let ask = |n: u32, sender: &str, at: u32| {
        let triplet = Triplet::new(vec![v4(n)], sender.as_bytes(), b"bob@y.example", b"", Level::Exact);
        decide(&world.store, &world.question(&triplet, at), Access::Record)
    };
    let spam = |n: u32, at: u32| {
        let _ = ask(n, &format!("spam{n}@bot.example"), at);
    };
    // All of them had time to come back.
    (0..1_000).for_each(|n| spam(n, n));
    for start in [10_000, 30_000, 60_000] {
        for (n, after) in [0, 4_000, 8_000].into_iter().enumerate() {
            let at = start + after;
            let expected = match n {
                2 => Verdict::SenderCameBack { waited: Seconds(8_000) },
                _ => Verdict::New { wait: Seconds(300) },
            };
            assert_eq!(ask(50_000 + start + n as u32, "a@x.example", at).unwrap(), expected, "{start} {n}");
            (0..100).for_each(|n| spam(1_000_000 + at + n, at + n));
        }
    }
}

/// The table turns over in two hours, in half an hour, and in less than the delay.
#[test]
fn honest_retries_pass_whatever_the_rate_of_a_flood() {
    for rate in [3, 10, 75] {
        let attempt = |n: u32, _: u32| (v4(n % 100_000), format!("spam{n}@bot.example"));
        every_retry_passes(&Flood { rate, attempt: &attempt }, &PAUSES);
        let attempt = |n: u32, _: u32| (v4(7), format!("spam{n}@bot.example"));
        every_retry_passes(&Flood { rate, attempt: &attempt }, &PAUSES);
    }
}

/// Where the table turns over no faster than honest senders come back, greylisting goes on.
#[test]
fn a_slow_flood_lets_nobody_pass_at_once() {
    let attempt = |n: u32, _: u32| (v4(n % 100_000), format!("spam{n}@bot.example"));
    let [retried, at_once, lost] = survive(&Flood { rate: 2, attempt: &attempt }, false, &PAUSES);
    assert!(lost == 0 && at_once * 20 < retried, "{retried} {at_once} {lost}");
}

/// Somebody knows who will write to whom, and sends under that name just before and after, from everywhere.
#[test]
fn forged_attempts_do_not_push_out_the_one_that_is_honest() {
    for rate in [5, 25] {
        let forged = |n: u32, minute: u32| {
            // The next honest sender, the last, and one of those that wait.
            let of = [minute + 1, minute, minute.saturating_sub(n % 64)][n as usize % 3];
            (v4(n), format!("honest{of}@x.example"))
        };
        every_retry_passes(&Flood { rate, attempt: &forged }, &PAUSES);
    }
}

/// Who comes back late is not crowded out by a site with many networks of IPv6.
#[test]
fn the_networks_of_an_ipv6_site_are_one_crowd() {
    let attempt = |n: u32, _: u32| {
        let site = 0x2001_0db8_0007_u128 << 80 | u128::from(n) << 64;
        (client(Ipv6Addr::from(site)), format!("spam{n}@bot.example"))
    };
    let [retried, _, lost] = survive(&Flood { rate: 2, attempt: &attempt }, false, &[150]);
    // The oldest of all would be lost without exception.
    assert!(lost * 3 < retried, "{lost} of {retried} are lost");
}

/// A mail with many identities is no crowd in a table that is full.
#[test]
fn a_full_table_keeps_all_records_of_a_new_mail() {
    let world = world_of(|settings| settings.max_pending = 500);
    for i in 0..500_u32 {
        world.ask(&[v4(i)], &format!("spam{i}@bot.example"), 0);
    }
    for n in 0..20 {
        let sender = format!("person{n}@x.example");
        let triplet = Triplet::new(identities(n, true), sender.as_bytes(), b"b@y.example", b"", Level::Exact);
        assert!(matches!(world.decide(&triplet, Access::Record, 7_200), Verdict::New { .. }));
        let pending = world.env(Table::Pending);
        for keys in triplet.keys(world.store.secret()) {
            assert!(pending.read(|s| Ok(s.get(&keys.pending.0)?.is_some())).unwrap(), "{n}");
        }
    }
}

/// Of triplets that came back once and never again: those go that have been silent longest, and what the
/// administrator has entered stays.
#[test]
fn what_is_known_has_a_bound() {
    let world = world_of(|settings| settings.max_known = 1_000);
    let whitelisted = |n: u32| format!("10.0.{}.{}", n / 250, n % 250);
    let since = NOW;
    let entries: Vec<_> = (0..300)
        .map(|n| {
            let texts = [whitelisted(n).into_bytes(), vec![], vec![]];
            let kind = crate::store::entries::Kind::Listed(crate::whitelist::ListKind::Client);
            crate::store::entries::Entry::new(kind, since, Timestamp(u32::MAX), texts)
        })
        .collect();
    world.store.whitelist(&entries).unwrap();
    let friend = [client([203, 0, 113, 1])];
    let pass = |identity: &[Identity], sender: &str, at| {
        world.ask(identity, sender, at);
        assert!(matches!(world.ask(identity, sender, at + 300), Verdict::Retried { .. }));
    };
    pass(&friend, "friend@x.example", 0);
    let day = 86_400;
    for n in 0..2_000 {
        let at = 1_000 + n * 3_000;
        pass(&[v4(n)], &format!("spam{n}@bot.example"), at);
        if n % 29 == 0 {
            assert_eq!(world.ask(&friend, "friend@x.example", at + 300), Verdict::Known { by: By::Network });
        }
    }
    world.store.carry_all().unwrap();
    let there = count(&world, Table::Known);
    assert!((900..=1_010).contains(&there), "{there} records");
    let at = 2_000 * 3_000 + day;
    assert_eq!(world.ask(&friend, "friend@x.example", at), Verdict::Known { by: By::Network });
    let mut there = 0;
    world.store.scan_entries(|_| there += 1).unwrap();
    assert_eq!(there, 300);
}

/// Six hundred mails under a clock that is forty days ahead.
#[test]
fn a_clock_far_ahead_costs_nobody_what_he_has_earned() {
    let world = world_of(|_| ());
    let sender = |n: u32| format!("friend{n}@x.example");
    for n in 0..400 {
        world.ask(&[v4(n)], &sender(n), 0);
    }
    for n in 0..400 {
        world.ask(&[v4(n)], &sender(n), 300);
    }
    world.ask(&[v4(9_000)], "waits@x.example", 300);
    let ahead = 40 * 86_400;
    for n in 0..600 {
        let network = [v4(1_000 + n)];
        world.ask(&network, &format!("other{n}@x.example"), ahead + n * 60);
        world.ask(&network, &format!("other{n}@x.example"), ahead + n * 60 + 300);
    }
    assert_eq!(world.store.purge(Table::Known, NOW.plus(Seconds(ahead)), |_, _| ()).unwrap().deleted, 0);
    for n in 0..400 {
        assert_eq!(world.ask(&[v4(n)], &sender(n), 1_000), Verdict::Known { by: By::Network }, "{n}");
    }
    assert!(matches!(world.ask(&[v4(9_000)], "waits@x.example", 1_000), Verdict::Retried { .. }));
}
