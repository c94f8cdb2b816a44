//! `eximgrey replay`: what greylisting would have done to the mail of a log.

use super::common::Place;
use super::{Done, eximgrey};
use eximgrey::time::Timestamp;
use serde_json::Value;
use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

/// Some time ago: what is learnt is still known.
fn begin() -> u32 {
    Timestamp::now().0 / 86_400 * 86_400 - 20 * 86_400
}

/// As Exim writes it, in UTC.
fn stamp(time: u32) -> String {
    Timestamp(time).to_string().replace('T', " ").replace('Z', "")
}

fn write(place: &Place, name: &str, lines: &[String]) -> String {
    let path = place.path(name);
    fs::write(&path, lines.concat()).unwrap();
    path.to_str().unwrap().into()
}

fn replay(place: &Place, arguments: &[&str]) -> Done {
    eximgrey(place, &[&["replay", "--utc"], arguments].concat())
}

/// What it says in JSON, of the whole and of the first configuration.
fn told(place: &Place, arguments: &[&str]) -> (Value, Value) {
    let done = replay(place, &[arguments, &["--json"]].concat());
    assert_eq!((done.code, done.err.as_str()), (Some(0), ""), "{}", done.out);
    let value = done.json().remove(0);
    (value.clone(), value["configurations"][0].clone())
}

fn refused(time: u32, client: &str, sender: &str, recipient: &str) -> String {
    format!(
        "{} H=(x) [{client}] F=<{sender}> temporarily rejected RCPT <{recipient}>: greylisted\n",
        stamp(time)
    )
}

/// A message that was accepted and delivered; without `+received_recipients`.
fn accepted(time: u32, n: u32, client: &str, sender: &str, recipients: &[&str]) -> String {
    let id = format!("1vP8sy-{n:011}-2Zdk");
    let at = stamp(time);
    let mut text = format!("{at} {id} <= {sender} H=(x) [{client}] P=esmtp S=900 id=1@x\n");
    for recipient in recipients {
        text += &format!("{at} {id} => u <{recipient}> R=local T=spool\n");
    }
    text + &format!("{at} {id} Completed\n")
}

/// A log of another greylister: its retries are real. One sender comes back after ten minutes, having been
/// too early once, and writes again; one comes back after an hour; one never does; one still may.
fn log_of_a_greylister(begin: u32) -> Vec<String> {
    let (alice, bob) = ("alice@a.test", "bob@rcpt.test");
    vec![
        refused(begin, "198.51.100.1", alice, bob),
        refused(begin + 60, "198.51.100.1", alice, bob),
        refused(begin + 90, "203.0.113.5", "spam@spam.test", bob),
        accepted(begin + 600, 1, "198.51.100.9", alice, &[bob]),
        refused(begin + 700, "203.0.113.5", "other@spam.test", bob),
        refused(begin + 1_000, "192.0.2.1", "carol@c.test", bob),
        accepted(begin + 4_600, 2, "192.0.2.1", "carol@c.test", &[bob]),
        accepted(begin + 9_000, 3, "198.51.100.1", alice, &[bob]),
        refused(begin + 3 * 86_400, "192.0.2.77", "late@l.test", bob),
    ]
}

#[test]
fn a_greylisters_retries_are_what_they_were() {
    let place = Place::new("");
    let log = write(&place, "mainlog", &log_of_a_greylister(begin()));
    let (value, first) = told(&place, &[&log]);
    assert_eq!((value["lines"].as_u64(), value["unknown_lines"].as_u64()), (Some(15), Some(0)));
    for (key, expected) in [
        ("attempts", 9),
        ("passed_at_once", 1),
        ("had_to_wait", 6),
        ("assumed_to_come_back", 0),
        ("came_back", 2),
        ("never_came_back", 2),
        ("may_come_back", 1),
    ] {
        assert_eq!(first[key], expected, "{key}: {first:#}");
    }
    for (reason, expected) in [("new", 5), ("early", 1), ("retried", 2), ("known", 1), ("auto", 0)] {
        assert_eq!(first["reasons"][reason], expected, "{reason}");
    }
    let waits = ["count", "median", "p90", "p99"].map(|key| first["waits"][key].as_u64().unwrap());
    assert_eq!(waits, [2, 600, 3_600, 3_600]);
    let never = &first["busiest"]["never_came_back"];
    assert_eq!(never["networks"][0]["name"], "203.0.113.0/24");
    assert_eq!(never["sender_domains"][0]["at_least"], 2);

    let text = replay(&place, &[&log]).out;
    for line in [
        "Attempts of mail from outside                                        9",
        "  came back and passed                                               2",
        "  median                                                           10m",
        "           2  203.0.113.0/24",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\nin\n{text}");
    }
    assert!(!text.contains("is assumed"), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
}

/// Where nobody greylisted, mail that was accepted is taken to come back as soon as it may: a later one
/// passes then, and not before.
#[test]
fn mail_that_was_accepted_is_taken_to_come_back() {
    let place = Place::new("");
    let begin = begin();
    let (client, sender) = ("198.51.100.1", "alice@a.test");
    let lines = [
        accepted(begin, 1, client, sender, &["bob@rcpt.test", "carol@rcpt.test"]),
        accepted(begin + 100, 2, client, sender, &["bob@rcpt.test"]),
        accepted(begin + 301, 3, client, sender, &["bob@rcpt.test"]),
    ];
    let log = write(&place, "mainlog", &lines);
    let (_, first) = told(&place, &[&log]);
    let figures = ["attempts", "passed_at_once", "had_to_wait", "assumed_to_come_back", "came_back"];
    assert_eq!(figures.map(|key| first[key].as_u64().unwrap()), [4, 1, 3, 3, 0], "{first:#}");
    let waits = ["count", "median", "p90"].map(|key| first["assumed_waits"][key].as_u64().unwrap());
    assert_eq!(waits, [3, 300, 300]);
    assert!(replay(&place, &[&log]).out.contains("is assumed"));
    // The second mail had 200 of the 300 seconds left.
    let shorter = replay(&place, &[&log]).out;
    assert!(shorter.contains("accepted in the log, taken to come back"), "{shorter}");
}

/// Two configurations are shown side by side, each in its column.
#[test]
fn two_configurations_are_compared() {
    let place = Place::new("");
    let other = place.path("strict.toml");
    fs::write(&other, "delay = \"30m\"\n").unwrap();
    let other = other.to_str().unwrap();
    let log = write(&place, "mainlog", &log_of_a_greylister(begin()));
    let (value, first) = told(&place, &[&log, "--compare", other]);
    let second = &value["configurations"][1];
    assert_eq!(second["name"], other);
    // After ten minutes it would have been too early there; carol's hour was long enough.
    assert_eq!([&first["came_back"], &second["came_back"]].map(|n| n.as_u64().unwrap()), [2, 1]);
    assert_eq!(second["reasons"]["early"], 2);
    let text = replay(&place, &[&log, "--compare", other]).out;
    let row = text.lines().find(|line| line.starts_with("  came back and passed")).unwrap();
    assert_eq!(row.split_whitespace().rev().take(2).collect::<Vec<_>>(), ["1", "2"], "{text}");
    assert!(text.contains("strict.toml") && text.lines().all(|line| line.chars().count() <= 100), "{text}");
    let both = replay(&place, &[&log, "--compare", other, "--learn"]);
    assert_eq!(both.code, Some(2), "{}", both.out);
}

/// Known triplets and what identities have earned, without what depends on the second.
fn known(place: &Place) -> Vec<String> {
    let listed = eximgrey(place, &["list", "known", "--sort", "sender", "--json"]);
    let mut lines: Vec<_> = listed
        .json()
        .iter()
        .map(|line| format!("{} {} {} {}", line["by"], line["identity"], line["sender"], line["recipient"]))
        .collect();
    let auto = eximgrey(place, &["list", "auto", "--all", "--json"]).json();
    lines.extend(auto.iter().map(|line| format!("{} {} {}", line["by"], line["identity"], line["passes"])));
    lines.sort();
    lines
}

/// The store answers mail, and a log is written of it as Exim writes one: the replay counts what the store
/// has answered, and a new store that learns from the log knows what the store knows.
#[test]
fn a_replay_agrees_with_the_answers_and_learns_what_the_store_knows() {
    let live = Place::new("auto_after = 4");
    let begin = begin();
    let mut numbers = 7_u32;
    let mut below = |most: u32| {
        numbers = numbers.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (numbers >> 8) % most
    };
    let (mut time, mut lines, mut counts) = (begin, Vec::new(), std::collections::BTreeMap::new());
    let mut calls = Vec::new();
    while calls.len() < 500 {
        let longest = [9, 90, 3_000][below(3) as usize];
        time += 1 + below(longest);
        let client = format!("198.51.{}.{}", below(12), 1 + below(3));
        calls.push((time, [client, format!("s{}@a.test", below(4)), format!("r{}@rcpt.test", below(4))]));
        if below(5) == 0 {
            time += 1 + below(200);
            calls.push((time, calls[calls.len() - 1].1.clone()));
        }
    }
    let bytes: Vec<_> =
        calls.iter().map(|(time, words)| (*time, words.each_ref().map(|w| w.as_bytes()))).collect();
    // Each in a session of its own, as connections are.
    let answers: Vec<_> =
        bytes.iter().map(|(time, words)| live.decide(&[(*time, words)]).remove(0)).collect();
    for (n, ((time, [client, sender, recipient]), answer)) in calls.iter().zip(&answers).enumerate() {
        let reason = answer.split(' ').find_map(|word| word.strip_prefix("reason=")).unwrap();
        *counts.entry(reason).or_insert(0_u64) += 1;
        match reason {
            "new" | "early" => {
                let line = refused(*time, client, sender, recipient);
                lines.push(line.replace("greylisted", &format!("greylisted by eximgrey: {answer}")));
            }
            _ => {
                if reason == "retried" {
                    let at = stamp(*time);
                    lines.push(format!(
                        "{at} mail-may-pass eximgrey: {answer} H=[{client}] F=<{sender}> RCPT=<{recipient}>\n"
                    ));
                }
                lines.push(accepted(*time, n as u32, client, sender, &[recipient]));
            }
        }
    }
    assert!(
        ["new", "early", "retried", "known", "auto"].iter().all(|reason| counts[reason] > 5),
        "{counts:?}"
    );

    let learner = Place::new("auto_after = 4");
    let log = write(&learner, "mainlog", &lines);
    let (value, first) = told(&learner, &[&log, "--learn"]);
    assert_eq!(first["attempts"], calls.len());
    for (reason, count) in &counts {
        assert_eq!(first["reasons"][reason], *count, "{reason}: {first:#}");
    }
    let expected = known(&live);
    assert!(expected.len() > 20 && known(&learner) == expected, "{:#?}\n{expected:#?}", known(&learner));
    assert_eq!(value["learnt"]["records"]["unreadable"], 0);
    assert!(value["learnt"]["records"]["new"].as_u64().unwrap() >= expected.len() as u64);

    // A second time it says nothing new, and changes nothing.
    let again = told(&learner, &[&log, "--learn"]).0;
    assert_eq!((again["learnt"]["records"]["new"].as_u64(), known(&learner)), (Some(0), expected));
    let text = replay(&learner, &[&log, "--learn"]).out;
    assert!(text.contains("\nLearnt: ") && text.contains(" of these said nothing new"), "{text}");
}

/// However Exim writes its log and whatever packs it, the figures are the same. Lines of others are counted,
/// and end nothing.
#[test]
fn every_kind_of_log_gives_the_same_figures() {
    let place = Place::new("");
    let lines = log_of_a_greylister(begin());
    let plain: Vec<String> = lines.concat().lines().map(str::to_owned).collect();
    let expected = told(&place, &[&write(&place, "mainlog", &lines)]).1;
    // Time and text of a line.
    let each = |change: &dyn Fn(&str, &str) -> String| -> Vec<String> {
        plain.iter().map(|line| change(&line[..19], &line[20..]) + "\n").collect()
    };
    let iso = |time: &str| time.replace(' ', "T");
    let unix = |time: &str| {
        let seconds = Command::new("date").args(["-u", "+%s", "-d", time]).output().unwrap().stdout;
        String::from_utf8(seconds).unwrap().trim().to_owned()
    };
    let before = |text: &str| {
        let text = text.replace("] P=", "]:4711 I=[192.0.2.9]:25 P=");
        let text =
            text.replace("] F=", "]:4711 I=[192.0.2.9]:25 X=TLS1.3:TLS_AES_256_GCM_SHA384:256 CV=no F=");
        text.replace("id=1@x", "X=TLS1.3:TLS_AES_256_GCM_SHA384:256 CV=no SNI=mx.test DN=\"CN=x for y\" id=1@x T=\"a for b@c.test\" from <x@y>")
    };
    let export = |time: &str, text: &str| {
        format!(
            "__CURSOR=s=1\n__REALTIME_TIMESTAMP={}000000\nPRIORITY=6\nSYSLOG_IDENTIFIER=exim\nMESSAGE={text}\n",
            unix(time)
        )
    };
    let json = |time: &str, text: &str| {
        let object = serde_json::json!({"__REALTIME_TIMESTAMP": format!("{}000000", unix(time)),
            "SYSLOG_IDENTIFIER": "exim4", "MESSAGE": text});
        object.to_string()
    };
    for (name, lines) in [
        ("selectors", each(&|time, text| format!("{time} {}", before(text)))),
        ("millisec", each(&|time, text| format!("{time}.123 {text}"))),
        ("zone", each(&|time, text| format!("{time} +0000 {text}"))),
        ("pid", each(&|time, text| format!("{time}.123 +0000 [4711] {text}"))),
        ("syslog", each(&|time, text| format!("<22>{}.1Z mx exim[4711]: {time} {text}", iso(time)))),
        ("iso", each(&|time, text| format!("{}.123456+00:00 mx exim4[77]: {text}", iso(time)))),
        ("rfc5424", each(&|time, text| format!("<22>1 {}Z mx exim 77 - - {text}", iso(time)))),
        ("export", each(&export)),
        ("json", each(&json)),
    ] {
        let found = told(&place, &[&write(&place, name, &lines)]).1;
        assert_eq!(found, expected, "{name}: {}", lines[0]);
    }
    // In whatever order they are named.
    let files = [("a.2", &lines[..3], "xz"), ("a.1", &lines[3..5], "gzip"), ("a", &lines[5..], "true")].map(
        |(name, lines, pack)| {
            let path = write(&place, name, lines);
            assert!(Command::new(pack).arg(&path).status().unwrap().success(), "{pack}");
            match pack {
                "xz" => path + ".xz",
                "gzip" => path + ".gz",
                _ => path,
            }
        },
    );
    assert_eq!(told(&place, &[&files[2], &files[0], &files[1]]).1, expected);

    let junk = "\n\0\u{fffd}\nNov 27 12:00:00 mx sshd[7]: 2026-11-27 12:00:00 H=x\n2026-13-40 99:99:99 x\n";
    let (value, found) = told(&place, &[&write(&place, "junk", &[lines.concat(), junk.repeat(7)])]);
    assert_eq!((found, value["unknown_lines"].as_u64()), (expected.clone(), Some(28)));
    let mut piped = Command::new(env!("CARGO_BIN_EXE_eximgrey"));
    let piped = piped.args(["replay", "--utc", "--json", "-", "--config"]).arg(place.config());
    let mut piped = piped.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    piped.stdin.take().unwrap().write_all(lines.concat().as_bytes()).unwrap();
    let out = piped.wait_with_output().unwrap().stdout;
    assert_eq!(serde_json::from_slice::<Value>(&out).unwrap()["configurations"][0], expected);
}

/// Our own mail, what other rules refused, what may be forged and what is not named are left out, and said to
/// be; a log without an attempt is exit status 1, and teaches nothing.
#[test]
fn what_is_no_attempt_is_left_out() {
    let place = Place::new("");
    let begin = begin();
    let at = stamp(begin);
    let id = "1vP8sy-000000001Sm-2Zdk";
    let lines = [
        format!("{at} {id} <= u@rcpt.test U=u P=local S=9 for c@d.test\n"),
        format!("{at} {id} <= u@rcpt.test H=(x) [198.51.100.1] P=esmtpsa A=plain:u S=9 for c@d.test\n"),
        accepted(begin, 2, "127.0.0.1", "u@rcpt.test", &["c@d.test"]),
        accepted(begin, 3, "10.0.0.1", "u@rcpt.test", &["c@d.test"]),
        refused(begin, "198.51.100.1", "a@b.test", "nobody@rcpt.test")
            .replace("temporarily ", "")
            .replace("greylisted", "no such user"),
        refused(begin, "198.51.100.1", "a@b.test", "bob@rcpt.test").replace("greylisted", "cannot verify"),
        format!(
            "{at} {id} <= a@b.test H=(x) [203.0.113.66] (y) [198.51.100.1] P=esmtp S=9 for bob@rcpt.test\n"
        ),
        format!("{at} 1vP8sz-000000001Sm-2Zdk <= a@b.test H=(x) [198.51.100.1] P=esmtp S=9\n"),
    ];
    let log = write(&place, "mainlog", &lines);
    let done = replay(&place, &[&log, "--learn", "--json"]);
    assert_eq!(done.code, Some(1), "{}", done.err);
    let value = done.json().remove(0);
    let left_out =
        ["own", "refused", "unclear", "unnamed"].map(|key| value["left_out"][key].as_u64().unwrap());
    assert_eq!(left_out, [4, 2, 1, 1]);
    assert_eq!(value["learnt"]["records"]["new"], 0);
    assert!(known(&place).is_empty());
    let text = replay(&place, &[&log]).out;
    assert!(text.contains("\n           1  line whose client may have forged its address\n"), "{text}");
    let missing = replay(&place, &["/nonexistent/mainlog"]);
    assert!(missing.code == Some(2) && missing.err.contains("/nonexistent/mainlog"), "{}", missing.err);
    let policy = replay(&place, &[&log, "--compare", "/nonexistent/eximgrey.toml"]);
    assert_eq!(policy.code, Some(2), "{}", policy.err);
}

/// Mail that passed by our own line is not counted again when its message is accepted, however long its
/// delivery takes; and who came back with another host of its pool is known by the name that only the message
/// has.
#[test]
fn mail_that_passed_is_counted_once() {
    let place = Place::new("");
    let begin = begin();
    let (sender, recipient) = ("list@pool.test", "bob@rcpt.test");
    let first = refused(begin, "198.51.100.1", sender, recipient).replace("H=(x)", "H=mx1.pool.test (x)");
    let at = stamp(begin + 600);
    let passed = format!(
        "{at} mail-may-pass eximgrey: action=pass reason=retried delay=600 by=host H=[192.0.2.1] F=<{sender}> RCPT=<{recipient}>\n"
    );
    let id = "1vP8sy-000000001Sm-2Zdk";
    let arrived = format!("{at} {id} <= {sender} H=mx2.pool.test (x) [192.0.2.1] P=esmtp S=9\n");
    let delivered = format!("{} {id} => bob <{recipient}> R=local T=spool\n", stamp(begin + 9_000));
    let end = stamp(begin + 3 * 86_400) + " end of the log\n";
    for (lines, wait) in [
        (vec![first.clone(), passed.clone(), arrived, delivered, end.clone()], 600),
        // It was refused after DATA.
        (vec![first.replace("198.51.100.1", "192.0.2.9"), passed, end], 600),
    ] {
        let (_, told) = told(&place, &[&write(&place, "mainlog", &lines)]);
        assert_eq!(
            (&told["attempts"], &told["came_back"], &told["assumed_to_come_back"]),
            (&2.into(), &1.into(), &0.into()),
            "{told:#}"
        );
        assert_eq!((&told["waits"]["median"], &told["never_came_back"]), (&wait.into(), &0.into()));
    }
}

/// Who has come back has come back for the whole message, also in a replay: the second recipient was never
/// tried before.
#[test]
fn the_other_recipients_of_a_message_pass_with_it() {
    let place = Place::new("");
    let begin = begin();
    let (client, sender) = ("198.51.100.1", "alice@a.test");
    let passed = |time, recipient: &str, by: &str| {
        let reply = format!("action=pass reason=retried delay=600 by={by}");
        let at = stamp(time);
        format!("{at} mail-may-pass eximgrey: {reply} H=[{client}] F=<{sender}> RCPT=<{recipient}>\n")
    };
    let recipients = ["a@rcpt.test", "b@rcpt.test"];
    let lines = [
        refused(begin, client, sender, recipients[0]),
        passed(begin + 600, recipients[0], "network"),
        passed(begin + 601, recipients[1], "message"),
        accepted(begin + 602, 1, client, sender, &recipients),
        // Another connection, much later, has come back for nothing.
        accepted(begin + 9_000, 2, client, sender, &["c@rcpt.test"]),
    ];
    let (_, told) = told(&place, &[&write(&place, "mainlog", &lines)]);
    assert_eq!((&told["reasons"]["retried"], &told["reasons"]["new"]), (&2.into(), &2.into()), "{told:#}");
    assert_eq!(told["waits"]["p99"], 601);
}

/// What would have been forgotten since is not learnt, and where nothing is learnt the command does not say
/// that it is done.
#[test]
fn an_old_log_teaches_nothing() {
    let place = Place::new("lifetime = \"10d\"");
    let log = write(&place, "mainlog", &log_of_a_greylister(begin()));
    let old = replay(&place, &[&log, "--learn"]);
    assert_eq!(old.code, Some(1), "{}", old.err);
    assert!(old.out.contains("\nLearnt: 0 triplets known, 0 clients\n"), "{}", old.out);
    assert!(known(&place).is_empty());
    place.configure("");
    let young = replay(&place, &[&log, "--learn"]);
    assert_eq!(young.code, Some(0), "{}", young.err);
    assert!(young.out.contains("\nLearnt: 2 triplets known, 2 clients\n"), "{}", young.out);
    let listed = known(&place).join("\n");
    assert!(listed.contains("alice@a.test") && !listed.contains("spam.test"), "{listed}");
}
