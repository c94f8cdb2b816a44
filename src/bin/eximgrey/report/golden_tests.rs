//! The text of a report that is always the same, and the same as a page.

use super::busiest::Scanned;
use super::figures::{Counted, Counts, Figures, Period, Site};
use super::text::{Drawn, write};
use super::{html, json};
use crate::learned::Line;
use eximgrey::evidence::{Earned, Known, Pending};
use eximgrey::learned::Tried;
use eximgrey::reply::{By, Fault, Reason};
use eximgrey::rules::Rules;
use eximgrey::store::record::{Facts, Record, Texts};
use eximgrey::time::{Seconds, Timestamp};
use eximgrey::triplet::Key;

/// 27 November 2026, 16:40.
const NOW: Timestamp = Timestamp(1_795_797_600);

/// Three days of a small site.
fn figures() -> Figures {
    let period =
        Period { asked: Seconds::DAY.times(3), from: Timestamp(NOW.0 - NOW.0 % 3_600 - 3 * 86_400), to: NOW };
    let mut rows: Vec<(Timestamp, Counts)> = Vec::new();
    for hour in 0..73 {
        let mut counts = Counts::default();
        let mut say = |reason: Reason, n: u64| counts.reasons[reason as usize] = n;
        say(Reason::New, 180 + 40 * (hour % 7));
        say(Reason::Early, 9);
        say(Reason::Retried, 12);
        say(Reason::Known, 300 + 10 * (hour % 24));
        say(Reason::Auto, 120);
        say(Reason::Replied, 4);
        say(Reason::Error, u64::from(hour == 40));
        counts.faults[Fault::StoreLock as usize] = u64::from(hour == 40);
        (counts.waits[5], counts.waits[7], counts.waits[10], counts.never_came_back) = (7, 3, 2, 240);
        (counts.came_early[1], counts.early_that_passed[1]) = (3, 2);
        rows.push((period.from.plus(Seconds::HOUR.times(hour as u32)), counts));
    }
    let mut total = Counts::default();
    rows.iter().for_each(|(_, counts)| total += counts);
    Figures {
        site: Site {
            host: "mx.example.org".into(),
            store: "/var/lib/eximgrey".into(),
            made: Timestamp(NOW.0 - 40 * 86_400),
            privacy: false,
            window: Seconds::DAY.times(2),
        },
        period,
        counted: Some(Counted { total, step: Seconds::HOUR, rows }),
        scanned: scanned(period),
        learned: vec![
            learned("spf=pass host=named sender=own", 812, 9),
            learned("spf=none host=named sender=own", 195, 5),
            learned("spf=none host=none sender=null", 9, 1),
            learned("spf=none host=generated sender=other sign=dnsbl", 3, 1_400),
        ],
    }
}

fn learned(pattern: &str, came_back: u16, stayed_away: u16) -> Line {
    let tried = Tried { came_back, stayed_away, ..Tried::default() };
    Line { pattern: pattern.into(), tried }
}

fn scanned(period: Period) -> Scanned {
    let mut scanned = Scanned::default();
    let mut number = 0_u64;
    let mut add = |by, facts, [identity, sender, recipient]: [&str; 3]| {
        number += 1;
        let key = Key((u128::from(number) << 64).to_be_bytes());
        let texts = Texts {
            identity: identity.into(),
            sender: sender.into(),
            recipient: recipient.into(),
            cut: false,
        };
        let record = Record { by, expires: NOW.plus(Seconds::DAY), facts, texts };
        scanned.add(key, &record, &Rules::DEFAULT, period);
    };
    let before = |seconds| Timestamp(NOW.0 - seconds);
    let pending = |first_seen: Timestamp| Facts::Pending {
        record: Pending { first_seen, passed: None },
        ripe: first_seen.plus(Seconds(300)),
        network: 0,
    };
    for n in 0..9 {
        let network = format!("198.51.{}.0/24", 100 + n % 4);
        add(
            By::Network,
            pending(before(3_600 + n)),
            [&network, &format!("x{n}@bulk{}.example", n % 3), "bob@example.org"],
        );
    }
    add(By::Network, pending(before(20)), ["2001:db8::/64", "", "ann@example.org"]);
    for n in 0..5 {
        let known = Known {
            first_seen: before(50_000 + 30_000 * (n / 4)),
            passed: before(49_600),
            last_seen: before(9_000),
            counted: 1,
        };
        let sender = format!("list@news{}.example", n % 2);
        add(By::Network, Facts::Known(known), ["192.0.2.0/24", &sender, "ann@example.org"]);
        add(By::Spf, Facts::Known(known), ["news.example", &sender, "ann@example.org"]);
    }
    let earned = Earned {
        passes: 31,
        first_seen: before(900_000),
        counted: before(60),
        last_seen: before(60),
        ..Earned::default()
    };
    add(By::Spf, Facts::Identity(earned), ["news.example", "", ""]);
    add(
        By::Network,
        pending(before(7_200)),
        ["203.0.113.0/24", "\"<i>\"@evil\u{7}.example", "a<b@example.org"],
    );
    scanned.end_group();
    scanned
}

/// What the report says and how: `EXIMGREY_WRITE_GOLDEN=1 cargo test --bin eximgrey golden` writes it anew, to be read.
#[test]
fn the_text_is_the_golden_one() {
    let mut texts = Vec::new();
    for blocks in [true, false] {
        write(&figures(), Drawn { blocks }, &mut texts).unwrap();
        texts.extend(b"\n");
    }
    let text = String::from_utf8(texts).unwrap();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/bin/eximgrey/report/golden.txt");
    if std::env::var_os("EXIMGREY_WRITE_GOLDEN").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(path).unwrap());
    assert!(text.lines().all(|line| line.chars().count() <= 100));
}

/// The page says the same numbers as the text and the JSON.
#[test]
fn the_page_has_the_same_figures() {
    let figures = figures();
    let page = html::page(&figures).unwrap();
    let value = json::value(&figures);
    let total = &figures.counted.as_ref().unwrap().total;
    assert_eq!(value["decisions"]["first_attempts"], total.first_attempts());
    for shown in [
        super::wording::headline(total),
        format!("<strong>{}</strong> first attempts", super::wording::number(total.first_attempts())),
        "error=store-lock".into(),
        "evil\\x07.example".into(),
        "203.0.113.0/24".into(),
    ] {
        assert!(page.contains(&shown), "no {shown} in {page}");
    }
    assert!(!page.contains('\u{7}'));
}
