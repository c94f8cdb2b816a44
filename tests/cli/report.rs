//! What `eximgrey report` says, and where it writes.

use super::common::{Place, as_store_user, is_root, sample};
use super::{HOSTILE, HOUR, eximgrey, filled};
use eximgrey::memory::Access;
use eximgrey::store::Store;
use eximgrey::time::{Seconds, Timestamp};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

/// The one object that `report --json` prints.
fn report(place: &Place, arguments: &[&str]) -> Value {
    let done = eximgrey(place, &[&["report", "--json"], arguments].concat());
    assert_eq!((done.code, done.err.as_str()), (Some(0), ""), "{}", done.out);
    done.json().remove(0)
}

fn names(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|entry| entry["name"].as_str().unwrap()).collect()
}

/// What the report says is what the library has answered.
#[test]
fn the_report_agrees_with_the_answers() {
    let place = Place::new("trust_known_domains = false");
    let now = Timestamp::now().0;
    let recipient = |n: u32| format!("user{n}@rcpt{}.example", n % 2);
    let mut calls: Vec<(u32, Vec<String>)> = Vec::new();
    // Each by an address of its own: one connection would have come back for the whole message.
    let mut call = |time, network: u32, n: u32, spf: &str| {
        let client = format!("203.0.{network}.{}", n + 1);
        let option = format!("spf={spf}");
        calls.push((time, vec![client, format!("list@sender{network}.example"), recipient(n), option]));
    };
    for n in 0..6 {
        // Retried after 8 minutes, two of them also too soon, one of them once more later.
        call(now - 20 * HOUR + n, 1, n, "sender1.example");
        if n < 2 {
            call(now - 20 * HOUR + 60 + n, 1, n, "sender1.example");
        }
        call(now - 20 * HOUR + 480 + n, 1, n, "sender1.example");
    }
    call(now - 4 * HOUR, 1, 0, "sender1.example");
    // Not back yet, and still in its delay.
    for n in 0..3 {
        call(now - 3 * HOUR, 2, n, "");
    }
    call(now - 10, 3, 0, "");
    calls.sort();
    let bytes: Vec<(u32, Vec<&[u8]>)> =
        calls.iter().map(|(time, words)| (*time, words.iter().map(String::as_bytes).collect())).collect();
    let replies = place.decide(&bytes.iter().map(|(time, words)| (*time, &words[..])).collect::<Vec<_>>());
    let said = |words: &str| replies.iter().filter(|reply| reply.contains(words)).count();

    let value = report(&place, &["--since", "2d"]);
    let decisions = &value["decisions"];
    assert_eq!(decisions["total"], replies.len());
    for reason in ["new", "early", "retried", "known", "auto", "trapped", "error"] {
        assert_eq!(
            decisions["reasons"][reason],
            said(&format!("reason={reason}")),
            "{reason} of {replies:?}"
        );
    }
    assert_eq!(decisions["deferred"], said("action=defer"));
    assert_eq!(decisions["passed"], said("action=pass"));
    assert_eq!((&decisions["first_attempts"], &decisions["came_back"]), (&10.into(), &6.into()));
    assert_eq!((&decisions["too_soon"], &decisions["never_came_back"]), (&2.into(), &0.into()));
    let rows = value["timeline"]["rows"].as_array().unwrap();
    let sum = |key: &str| rows.iter().map(|row| row[key].as_u64().unwrap()).sum::<u64>();
    assert_eq!((sum("deferred"), sum("came_back")), (said("action=defer") as u64, 6));
    assert_eq!(value["waits"]["count"], 6);
    let median = value["waits"]["median"].as_u64().unwrap();
    assert!((300..=600).contains(&median), "{median}");

    let held = &value["in_store"];
    assert_eq!((&held["waiting"], &held["not_back"]), (&1.into(), &3.into()));
    assert_eq!((&held["passed"], &held["known"]), (&6.into(), &6.into()));
    let busiest = &value["busiest"];
    assert_eq!(names(&busiest["not_back"]["networks"]), ["203.0.2.0/24"]);
    assert_eq!(busiest["not_back"]["networks"][0]["at_least"], 3);
    assert_eq!(busiest["not_back"]["networks"][0]["at_most"], 3);
    assert_eq!(names(&busiest["waiting"]["sender_domains"]), ["sender3.example"]);
    assert_eq!(names(&busiest["passed"]["identities"]), ["sender1.example"]);
    assert_eq!(names(&busiest["passed"]["recipient_domains"]), ["rcpt0.example", "rcpt1.example"]);
    assert_eq!(value["whitepaper"]["triplets"], 10);
    assert_eq!(value["whitepaper"]["delayed"], 6);
    // What is before the time is not in it: the counters go by whole hours.
    let value = report(&place, &["--since", "5h"]);
    assert_eq!(
        (&value["decisions"]["came_back"], &value["decisions"]["first_attempts"]),
        (&0.into(), &4.into())
    );
    assert_eq!((&value["in_store"]["passed"], &value["in_store"]["not_back"]), (&0.into(), &3.into()));
}

/// Mail that is tried from one network after the other is found, and so is what came back after a day.
#[test]
fn senders_that_retry_oddly_are_found() {
    let place = Place::new("");
    let now = Timestamp::now().0;
    let (alice, bob): (&[u8], &[u8]) = (b"alice@pool.example", b"bob@rcpt.example");
    let late: &[u8] = b"late@daily.example";
    let calls: [(u32, &[&[u8]]); 6] = [
        (now - 30 * HOUR, &[b"192.0.2.1", late, bob]),
        (now - 5 * HOUR, &[b"192.0.2.1", late, bob]),
        (now - HOUR, &[b"198.51.103.1", b"other@pool.example", bob]),
        // Too fast for a pool that comes back.
        (now - 1_200, &[b"198.51.100.1", alice, bob]),
        (now - 900, &[b"198.51.101.1", alice, bob]),
        (now - 600, &[b"198.51.102.1", alice, bob]),
    ];
    place.decide(&calls);
    let value = report(&place, &[]);
    let [odd] = &value["many_networks"].as_array().unwrap()[..] else { panic!("{value}") };
    assert_eq!((&odd["networks"], &odd["sender_domain"]), (&3.into(), &"pool.example".into()));
    assert_eq!(odd["first_seen"], now - 1_200);
    let late = &value["late"];
    assert_eq!((&late["over_4_hours"], &late["over_20_hours"]), (&1.into(), &1.into()));
    assert_eq!(late["longest"][0]["waited"], 25 * HOUR);
    let text = eximgrey(&place, &["report"]).out;
    assert!(text.contains("3 networks since ") && text.contains(" pool.example to rcpt.example\n"), "{text}");
    assert!(text.contains("1d 1h  192.0.2.0/24          daily.example to rcpt.example\n"), "{text}");
}

/// The same facts stand in the text, and nothing from outside gets onto the terminal or into the page as it came.
#[test]
fn what_came_from_outside_is_escaped() {
    let place = filled();
    let now = Timestamp::now().0;
    let script: &[u8] = b"x@<script>alert(1)</script>\"'&.example";
    place.decide(&[(now - 60, &[b"203.0.114.200", script, b"bob@<b>rcpt.example"])]);
    let text = eximgrey(&place, &["report"]);
    assert_eq!((text.code, text.err.as_str()), (Some(0), ""));
    assert!(text.out.contains("11 first attempts; 6 came back, half within 10m; "), "{}", text.out);
    let plain = |text: &str| !text.chars().any(|c| c.is_control() && c != '\n');
    assert!(plain(&text.out) && text.out.lines().all(|line| line.chars().count() <= 100), "{}", text.out);

    let page = eximgrey(&place, &["report", "--html", "-"]).out;
    assert!(page.contains("&lt;script&gt;alert(1)") && page.contains("evil.example"), "{page}");
    assert!(!page.contains("<script") && !page.contains("<b>"), "{page}");
    assert!(!page.as_bytes().windows(HOSTILE.len()).any(|window| window == HOSTILE));
    // No script, nothing from outside, and a policy that says so.
    for never in ["http://", "https://", "src=", "url(", "@import", "javascript:", " on"] {
        let found = page.find(never).map(|at| &page[at..(at + 80).min(page.len())]);
        assert!(found.is_none() || never == " on" && !page.contains(" onload"), "{never}: {found:?}");
    }
    assert!(page.contains("http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "));
}

/// Before the first decision there is nothing to report: exit status 1, and nothing is made.
#[test]
fn an_empty_store_is_said_to_be_empty() {
    let place = Place::new("");
    let text = eximgrey(&place, &["report"]);
    assert_eq!((text.code, text.err.as_str()), (Some(1), ""));
    assert!(text.out.ends_with(": nothing recorded yet\n"), "{}", text.out);
    let json = eximgrey(&place, &["report", "--json"]);
    assert_eq!((json.code, &json.json()[0]["made"]), (Some(1), &Value::Null));
    let page = eximgrey(&place, &["report", "--html", "-"]);
    assert_eq!(page.code, Some(1));
    assert!(page.out.contains("Nothing recorded yet"), "{}", page.out);
    assert_eq!(place.tree(), Vec::<String>::new());
}

/// The page is the caller's file, also where root becomes the store's owner, and appears whole or not at all.
#[test]
fn the_page_is_a_file_of_the_caller() {
    let place = filled();
    let dir = place.path("private");
    fs::create_dir(&dir).unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).unwrap();
    let file = dir.join("report.html");
    let name = file.to_str().unwrap();
    fs::write(&file, "old").unwrap();
    let old = fs::metadata(&file).unwrap();
    let done = eximgrey(&place, &["report", "--html", name]);
    assert_eq!((done.code, done.out, done.err.as_str()), (Some(0), format!("{name}: written\n"), ""));
    let meta = fs::metadata(&file).unwrap();
    assert!(fs::read_to_string(&file).unwrap().ends_with("</html>"));
    assert_eq!((meta.mode() & 0o7777, meta.uid()), (0o644, old.uid()));
    assert_ne!(meta.ino(), old.ino(), "a new file takes the place of the old one");

    // Where there is trouble, the old one stays and nothing else is left.
    place.configure("delay = 7");
    let done = eximgrey(&place, &["report", "--html", name]);
    assert_eq!((done.code, done.out.as_str()), (Some(2), ""));
    assert!(done.err.contains("eximgrey.toml:2: delay"), "{}", done.err);
    assert_eq!(fs::metadata(&file).unwrap().ino(), meta.ino());
    place.configure("");
    let done = eximgrey(&place, &["report", "--html", dir.join("no/report.html").to_str().unwrap()]);
    assert_eq!((done.code, done.out.as_str()), (Some(2), ""));
    assert!(done.err.contains("cannot write "), "{}", done.err);
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);

    // A link is replaced, not followed; what is no file is written to as it is.
    let link = dir.join("link.html");
    symlink(&file, &link).unwrap();
    assert_eq!(eximgrey(&place, &["report", "--html", link.to_str().unwrap()]).code, Some(0));
    assert!(fs::symlink_metadata(&link).unwrap().is_file());
    assert_eq!(eximgrey(&place, &["report", "--html", "/dev/null"]).code, Some(0));
    assert!(!fs::metadata("/dev/null").unwrap().is_file());

    // A page that says there is nothing is there, too.
    let empty = Place::new("");
    let file = empty.path("report.html");
    let done = eximgrey(&empty, &["report", "--html", file.to_str().unwrap()]);
    assert_eq!(done.code, Some(1));
    assert!(fs::read_to_string(&file).unwrap().contains("Nothing recorded yet"));
    assert!(is_root() || meta.uid() != 0);
}

/// Where the store keeps no addresses, that is said, and the rest is shown.
#[test]
fn with_privacy_there_are_figures_without_names() {
    let place = Place::new("privacy = true");
    let now = Timestamp::now().0;
    place.decide(&[(now - 600, &[b"192.0.2.1", b"alice@sender.example", b"bob@rcpt.example"])]);
    let value = report(&place, &[]);
    assert_eq!((&value["busiest"], &value["in_store"]["not_back"]), (&Value::Null, &1.into()));
    assert_eq!(value["decisions"]["first_attempts"], 1);
    for arguments in [&["report"][..], &["report", "--html", "-"]] {
        let done = eximgrey(&place, arguments);
        assert!(done.out.contains("The store keeps no addresses"), "{}", done.out);
    }
}

/// A time that is too short or too long is refused, with the bounds.
#[test]
fn how_far_back_has_bounds() {
    let place = filled();
    for good in ["1h", "7d", "35d", "36d", "730d"] {
        assert_eq!(eximgrey(&place, &["report", "--since", good]).code, Some(0), "{good}");
    }
    for (bad, expected) in [("59m", "from 1h to 730d"), ("731d", "from 1h to 730d"), ("7", "7d for days")] {
        let done = eximgrey(&place, &["report", "--since", bad]);
        assert_eq!((done.code, done.out.as_str()), (Some(2), ""));
        assert!(done.err.contains(expected), "{}", done.err);
    }
    assert_eq!(eximgrey(&place, &["report", "--json", "--html", "-"]).code, Some(2));
}

/// A store as that of a busy host has something in every part of the report.
#[test]
fn a_large_store_fills_every_part() {
    let place = Place::new("");
    let now = Timestamp::now();
    as_store_user(|| {
        let made = Timestamp(now.0 - Seconds::DAY.times(60).0);
        let store = Store::open(&place.settings().store, Access::Record, made).unwrap().unwrap();
        sample::fill(&store, sample::SMALL, now);
    });
    let value = report(&place, &["--since", "7d"]);
    assert_eq!(value["timeline"]["rows"].as_array().unwrap().len(), 169);
    assert!(value["waits"]["histogram"].as_array().unwrap().len() > 5);
    for class in ["waiting", "not_back", "passed", "known", "auto"] {
        assert!(!names(&value["busiest"][class]["networks"]).is_empty(), "{class}: {value}");
    }
    assert!(
        value["late"]["over_20_hours"].as_u64() > Some(0)
            && !value["many_networks"].as_array().unwrap().is_empty()
    );
    let text = eximgrey(&place, &["report"]).out;
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    for part in [
        "Faults, for which mail passed unseen: 3",
        "Decisions over time, a line for every ",
        "(Harris, 2003)",
        "too soon",
    ] {
        assert!(text.contains(part), "no {part} in\n{text}");
    }
}
