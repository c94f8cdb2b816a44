//! Patterns, and what is made of their counts.

use super::*;
use crate::identity::Prefixes;
use crate::request::Request;
use crate::rules::Mode;
use crate::sender::Level;

fn words(words: &[&str]) -> SignWords {
    SignWords::new(words.iter().map(|word| (*word).to_owned()).collect()).unwrap()
}

fn pattern(sender: &str, options: &[&str], signs: &str) -> Pattern {
    let list = words(&["dnsbl", "helo"]);
    let arguments: Vec<_> =
        ["192.0.2.1", sender, "b@y.example"].iter().chain(options).map(|a| a.as_bytes()).collect();
    let triplet = Request::parse(&arguments).unwrap().triplet(Prefixes::default(), Level::Full).unwrap();
    Pattern::of(&Triplet { signs: list.read(signs.as_bytes()).unwrap(), ..triplet })
}

#[test]
fn a_pattern_is_what_is_known_of_an_attempt() {
    let list = words(&["dnsbl", "helo"]);
    for (sender, options, signs, shown) in [
        ("", &[][..], "", "spf=none host=none sender=null"),
        ("a@x.example", &["spf=x.example"], "", "spf=pass host=none sender=own"),
        ("a@X.example", &["host=mx.x.example"], "", "spf=none host=named sender=own"),
        ("a@news.x.example", &["host=mx.x.example"], "", "spf=none host=named sender=own"),
        ("a@ax.example", &["host=mx.x.example"], "", "spf=none host=named sender=other"),
        ("a@x.example", &["host=192-0-2-1.x.example"], "", "spf=none host=generated sender=other"),
        ("a@x.example", &["spf=z.example"], "helo", "spf=pass host=none sender=other sign=helo"),
        ("a@x.example", &[], " helo , dnsbl", "spf=none host=none sender=other sign=dnsbl,helo"),
    ] {
        let pattern = pattern(sender, options, signs);
        assert_eq!(pattern.shown(&list), shown);
        assert!(pattern.place() < PATTERNS);
        assert_eq!(Pattern::at(pattern.list(), pattern.place()), pattern);
    }
    assert_eq!(
        pattern("a@x.example", &[], "helo").shown(&words(&["helo"])),
        "spf=none host=none sender=other sign=2"
    );
}

#[test]
fn a_sign_is_a_word_of_the_configuration() {
    let list = words(&["dnsbl", "helo", "tls", "ptr", "spf"]);
    assert_eq!(list.read(b"").unwrap().set, 0);
    assert_eq!(list.read(b"dnsbl,tls,helo,spf").unwrap().set, 0b1_0111);
    for bad in ["none", "dnsbl helo", "dnsbl,tls,helo,spf,ptr", "Dnsbl", "\u{ff}"] {
        assert!(list.read(bad.as_bytes()).unwrap_err().contains("dnsbl, helo, tls, ptr, spf"), "{bad}");
    }
    assert!(SignWords::default().read(b"dnsbl").unwrap_err().contains("no list of `signs`"));
    for bad in [
        &["a", "a"][..],
        &[""],
        &["A"],
        &["a b"],
        &["a,b"],
        &["sixteen-and-one-x"],
        &["1", "2", "3", "4", "5", "6", "7", "8"],
    ] {
        assert!(SignWords::new(bad.iter().map(|word| (*word).to_owned()).collect()).is_err(), "{bad:?}");
    }
    assert_ne!(words(&["a", "b"]).number(), words(&["b", "a"]).number());
    assert_ne!(words(&["a", "b"]).number(), words(&["ab"]).number());
}

fn tried(came_back: u16, stayed_away: u16, spam: u16, waiting: u16) -> Tried {
    Tried { came_back, stayed_away, spam, waiting }
}

/// Computed by hand with Wilson's formula: 200 of 200 is 0.9812, 800 of 805 0.9855, 1,000 of 1,014 0.9770.
#[test]
fn a_lane_needs_what_the_counts_prove() {
    for (counts, lane) in [
        (tried(199, 0, 0, 0), Lane::Usual),
        (tried(200, 0, 0, 0), Lane::Fast),
        (tried(199, 1, 0, 0), Lane::Usual),
        (tried(800, 5, 0, 0), Lane::Fast),
        (tried(1_000, 14, 0, 0), Lane::Usual),
        (tried(800, 0, 5, 0), Lane::Fast),
        (tried(800, 0, 20, 0), Lane::Usual),
        (tried(800, 0, 900, 0), Lane::Usual),
        (tried(800, 0, 0, 20), Lane::Usual),
        (tried(0, 189, 0, 0), Lane::Usual),
        (tried(0, 200, 0, 4_000), Lane::Slow),
        (tried(4, 196, 0, 0), Lane::Usual),
        (tried(5, 995, 0, 0), Lane::Slow),
        (Tried::default(), Lane::Usual),
    ] {
        assert_eq!(counts.lane(), lane, "{counts:?}");
    }
}

/// As many as it takes, of which one in twenty is seen.
#[test]
fn whoever_stops_coming_back_leaves_the_fast_lane_soon() {
    for (before, least, most) in
        [(tried(200, 0, 0, 0), 1, 1), (tried(500, 0, 0, 0), 4, 5), (tried(2_000, 0, 0, 0), 25, 30)]
    {
        for outcome in [Outcome::Began, Outcome::StayedAway, Outcome::Spam] {
            let mut now = before;
            let samples = (1..).find(|_| {
                now = now.and(outcome);
                now.lane() != Lane::Fast
            });
            assert!((least..=most).contains(&samples.unwrap()), "{before:?} {outcome:?} {samples:?}");
        }
    }
}

#[test]
fn counts_stay_small_and_their_shares_the_same() {
    let mut good = Tried::default();
    (0..100_000).for_each(|_| good = good.and(Outcome::Began).and(Outcome::CameBack));
    assert!(good.lane() == Lane::Fast && (1_000..=2_048).contains(&good.outcomes()), "{good:?}");
    let mut mixed = Tried::default();
    for nth in 0..100_000 {
        mixed =
            mixed.and(Outcome::Began).and(if nth % 4 == 0 { Outcome::CameBack } else { Outcome::StayedAway });
    }
    let share = f64::from(mixed.came_back) / f64::from(mixed.outcomes());
    assert!((0.24..0.26).contains(&share) && (16_000..=32_768).contains(&mixed.outcomes()), "{mixed:?}");
    let mut flood = Tried::default();
    (0..100_000).for_each(|_| flood = flood.and(Outcome::Began).and(Outcome::Spam));
    assert_eq!((flood.waiting, flood.spam), (4_095, 4_095));
    assert_eq!(tried(1, 1, 1, 0).and(Outcome::Unknown), tried(1, 1, 1, 0));
}

#[test]
fn counts_come_back_from_their_bits_and_garbage_does_not() {
    for counts in
        [Tried::default(), tried(812, 9, 3, 17), tried(32_768, 0, 4_095, 4_095), tried(0, 32_768, 0, 0)]
    {
        assert_eq!(Tried::from_bits(counts.to_bits()), Some(counts));
    }
    assert_eq!(Tried::default().to_bits(), 0);
    for garbage in [
        u64::MAX,
        0x5555_5555_5555_5555,
        0xff,
        tried(812, 9, 3, 17).to_bits() ^ 1,
        tried(32_768, 1, 0, 0).to_bits(),
    ] {
        assert_eq!(Tried::from_bits(garbage), None, "{garbage:x}");
    }
    let mut seed = 7_u64;
    let fast = (0..1_000_000).filter(|_| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        Tried::from_bits(seed.swap_bytes()).is_some_and(|tried| tried.lane() == Lane::Fast)
    });
    assert_eq!(fast.count(), 0);
}

#[test]
fn the_slow_delay_is_four_times_as_long_and_loses_no_mail() {
    let slow = |delay, window| {
        slow_delay(&Rules { delay: Seconds(delay), window: Seconds(window), ..Rules::DEFAULT }).0
    };
    assert_eq!(slow(300, 172_800), 1_200);
    assert_eq!(slow(0, 172_800), 0);
    assert_eq!(slow(7_200, 172_800), 14_400);
    assert_eq!(slow(43_200, 172_800), 43_200);
    assert_eq!(slow(300, 1_000), 500);
    assert_eq!(slow(300, 301), 300);
    assert_eq!(Rules { mode: Mode::Off, ..Rules::DEFAULT }.learn, Learn::Watch);
}

/// Nobody who knows no secret can tell which; and it is always the same mail.
#[test]
fn one_in_twenty_is_a_sample() {
    let mut seed = 1_u128;
    let samples = (0..100_000).filter(|_| {
        seed = seed.wrapping_mul(0x2360_ed05_1fc6_5da4_4385_df64_9fcc_f645).wrapping_add(1);
        let key = Key(seed.swap_bytes().to_be_bytes());
        Learned::new(Tried::default(), &key).is_sample
    });
    assert!((4_500..5_500).contains(&samples.count()));
}
