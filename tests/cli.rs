//! The command as an administrator uses it, on a store that the library filled. What it prints is made for awk and for
//! people; what it answers is what Exim would be answered.
#![allow(unsafe_code, clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod common;

#[path = "cli/administration.rs"]
mod administration;
#[path = "cli/backup.rs"]
mod backup;
#[path = "cli/check_config.rs"]
mod check_config;
#[path = "cli/doctor.rs"]
mod doctor;
#[path = "cli/explain.rs"]
mod explain;
#[path = "cli/export.rs"]
mod export;
#[path = "cli/import.rs"]
mod import;
#[path = "cli/learned.rs"]
mod learned;
#[path = "cli/log.rs"]
mod log;
#[path = "cli/manners.rs"]
mod manners;
#[path = "cli/metrics.rs"]
mod metrics;
#[path = "cli/pager.rs"]
mod pager;
#[path = "cli/purge.rs"]
mod purge;
#[path = "cli/repair.rs"]
mod repair;
#[path = "cli/replay.rs"]
mod replay;
#[path = "cli/report.rs"]
mod report;
#[path = "cli/schemas.rs"]
mod schemas;
#[path = "cli/slips.rs"]
mod slips;
#[path = "cli/terminal.rs"]
mod terminal;
#[path = "cli/watch.rs"]
mod watch;

use common::{Place, run};
use eximgrey::time::Timestamp;
use serde_json::Value;
use std::ffi::OsStr;
use std::process::Command;

/// What a command did.
struct Done {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Done {
    fn lines(&self) -> Vec<&str> {
        self.out.lines().collect()
    }

    /// Every line as a JSON object.
    fn json(&self) -> Vec<Value> {
        let parse = |line: &str| match serde_json::from_str(line) {
            Ok(value @ Value::Object(_)) => value,
            other => panic!("no JSON object: {line:?} ({other:?})"),
        };
        self.out.lines().map(parse).collect()
    }
}

/// Runs `eximgrey --config FILE ARGUMENTS`.
fn eximgrey(place: &Place, arguments: &[&str]) -> Done {
    let arguments = arguments.iter().map(OsStr::new).collect::<Vec<_>>();
    let mut command = Command::new(env!("CARGO_BIN_EXE_eximgrey"));
    command.args(arguments).arg("--config").arg(place.config());
    done(&mut command)
}

fn done(command: &mut Command) -> Done {
    let output = run(command);
    let text = |bytes| String::from_utf8(bytes).expect("what is printed is UTF-8");
    Done { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// A sender that would clear a terminal and forge a line and a column.
const HOSTILE: &[u8] = b"a b\x1b[2J\nroot\t\\x\xff@evil.example";

/// HOSTILE as it is shown.
const HOSTILE_SHOWN: &str = "a\\x20b\\x1b[2J\\x0aroot\\x09\\\\x\\xff@evil.example";

const HOUR: u32 = 3_600;

/// A store with something of everything.
fn filled() -> Place {
    // What a site knows of a domain would hide the five passes below.
    let place = Place::new("delay = \"5m\"\ntrust_known_domains = false");
    let now = Timestamp::now().0;
    let (bob, alice): (&[u8], &[u8]) = (b"bob@rcpt.example", b"alice@sender.example");
    let mut calls: Vec<(u32, Vec<&[u8]>)> = vec![
        // Known: passed an hour ago.
        (now - 2 * HOUR, vec![b"192.0.2.7", alice, bob]),
        (now - HOUR, vec![b"192.0.2.8", alice, bob]),
        // Waiting, and ripe.
        (now - 10, vec![b"198.51.100.1", b"early@sender.example", bob]),
        (now - HOUR, vec![b"198.51.100.1", b"ripe@Sender.example", bob]),
        (now - 10, vec![b"2001:db8::1", b"", bob, b"host=mx7.pool.example.com"]),
        (now - 10, vec![b"198.51.100.9", HOSTILE, b"evil\n@rcpt.example"]),
    ];
    // A client that has proved itself by five passes, each two hours after the one before.
    // All calls are made in one process, as in one connection: by one address they would be one message.
    let recipients: Vec<_> =
        (1..=5).map(|n| (format!("203.0.113.{n}"), format!("user{n}@rcpt.example"))).collect();
    for (n, (client, recipient)) in (1..).zip(&recipients) {
        for retry in [0, 600] {
            let arguments: Vec<&[u8]> =
                vec![client.as_bytes(), b"list@proved.example", recipient.as_bytes(), b"spf=proved.example"];
            calls.push((now - 2 * HOUR * (6 - n) + retry, arguments));
        }
    }
    let calls: Vec<(u32, &[&[u8]])> = calls.iter().map(|(time, arguments)| (*time, &arguments[..])).collect();
    let replies = place.decide(&calls);
    let passed = replies.iter().filter(|reply| reply.starts_with("action=pass reason=retried")).count();
    assert_eq!(passed, 6, "{replies:?}");
    place
}

/// `status` says whose store it is, what it holds, and what was decided of late.
#[test]
fn status_counts_what_is_there() {
    let place = filled();
    let text = eximgrey(&place, &["status"]);
    assert_eq!((text.code, text.err.as_str()), (Some(0), ""));
    let line = |name: &str| {
        let lines = text.lines();
        let found = lines.iter().find(|line| line.starts_with(name));
        found.unwrap_or_else(|| panic!("no {name} in {}", text.out)).to_string()
    };
    assert!(line("store").contains(&format!("{}, owner ", place.store().display())));
    // Six triplets; the network and the SPF domain of one client have proved themselves, one network has not.
    assert!(line("known").contains("6 triplets, 3 identities of which 2 proved, "));
    assert!(line("pending").contains("4 first attempts, "));
    let day = line("last day");
    assert!(day.contains(" 16 decisions: 10 new, 6 retried"), "{day}");
    // Five of them 10 minutes, one an hour.
    assert!(line("waited").ends_with("in the last day: up to 10m, 90 % of them up to 1h"));

    let json = eximgrey(&place, &["status", "--json"]);
    assert_eq!(json.code, Some(0));
    let [value] = &json.json()[..] else { panic!("{}", json.out) };
    assert_eq!(value["store"], place.store().to_str().unwrap());
    assert_eq!(value["known"]["triplets"], 6);
    assert_eq!(value["known"]["identities"], 3);
    assert_eq!(value["known"]["proved"], 2);
    assert_eq!(value["pending"]["first_attempts"], 4);
    assert_eq!(value["unreadable"], 0);
    let day = &value["decisions"]["last_day"];
    assert_eq!((&day["new"], &day["retried"], &day["total"]), (&10.into(), &6.into(), &16.into()));
    assert_eq!((&day["early"], &day["errors"]["store-lock"]), (&0.into(), &0.into()));
    assert_eq!((&value["waited"]["half"], &value["waited"]["90%"]), (&600.into(), &HOUR.into()));
}

/// Before the first decision there is nothing to show, which is no trouble, and nothing is made by looking.
#[test]
fn an_empty_store_is_no_trouble() {
    let place = Place::new("");
    let status = eximgrey(&place, &["status"]);
    assert_eq!(status.code, Some(0));
    assert!(status.out.contains("nothing recorded yet"), "{}", status.out);
    assert_eq!(eximgrey(&place, &["status", "--json"]).json().len(), 1);
    for what in ["pending", "known", "auto"] {
        let list = eximgrey(&place, &["list", what]);
        assert_eq!((list.code, list.out.as_str(), list.err.as_str()), (Some(1), "", ""), "{what}");
    }
    let new = eximgrey(&place, &["explain", "192.0.2.1", "a@x.example", "b@y.example"]);
    assert!(new.out.contains("answer      action=defer reason=new wait=300"), "{}", new.out);
    assert_eq!(place.tree(), Vec::<String>::new());
}

/// `list` shows one record a line, always with the same columns.
#[test]
fn list_has_its_columns() {
    let place = filled();
    let is_time = |word: &str| word.len() == 20 && word.starts_with("20") && word.ends_with('Z');
    // An IPv6 client with a host name has a record for its network and one for its domain.
    for (what, columns, records) in [("pending", 6, 5), ("known", 6, 11), ("auto", 4, 2)] {
        let list = eximgrey(&place, &["list", what]);
        assert_eq!((list.code, list.err.as_str()), (Some(0), ""));
        assert_eq!(list.lines().len(), records, "{what}: {}", list.out);
        for line in list.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            assert_eq!(words.len(), columns, "{line}");
            assert!(line.is_ascii() && !line.bytes().any(|b| b.is_ascii_control()), "{line:?}");
            assert!(is_time(words[usize::from(what == "auto")]), "{line}");
            let by = words[columns - if what == "auto" { 2 } else { 4 }];
            assert!(["network", "spf", "dkim", "host"].contains(&by), "{line}");
        }
    }
    let pending = eximgrey(&place, &["list"]).out;
    for expected in [
        "network 198.51.100.0/24 early@sender.example bob@rcpt.example",
        "  ripe network 198.51.100.0/24 ripe@Sender.example bob@rcpt.example",
        "network 2001:db8::/64 <> bob@rcpt.example",
        "host example.com <> bob@rcpt.example",
    ] {
        assert!(pending.contains(&format!(" {expected}\n")), "no {expected} in\n{pending}");
    }
    let proved = eximgrey(&place, &["list", "auto"]).out;
    assert!(proved.contains("     5 ") && proved.contains(" spf proved.example\n"), "{proved}");
    assert_eq!(eximgrey(&place, &["list", "auto", "--all"]).lines().len(), 3);
}

/// `list --json` has the facts of the lines, one object a line.
#[test]
fn list_as_json_has_the_same_facts() {
    let place = filled();
    for what in ["pending", "known", "auto"] {
        let lines = eximgrey(&place, &["list", what]);
        let json = eximgrey(&place, &["list", what, "--json"]);
        assert_eq!(json.code, Some(0));
        let mut from_lines: Vec<Vec<&str>> =
            lines.lines().iter().map(|l| l.split_whitespace().collect()).collect();
        let values = json.json();
        let time = |value: &Value| Timestamp(u32::try_from(value.as_u64().unwrap()).unwrap()).to_string();
        let mut from_json: Vec<Vec<String>> = values
            .iter()
            .map(|value| {
                let text =
                    |key: &str| value[key].as_str().unwrap_or_else(|| panic!("no {key}: {value}")).to_owned();
                let who = [text("by"), text("identity")];
                match what {
                    "pending" => [vec![time(&value["first_seen"])], who.to_vec()].concat(),
                    "known" => {
                        [vec![time(&value["first_seen"]), time(&value["last_seen"])], who.to_vec()].concat()
                    }
                    _ => {
                        [vec![value["passes"].to_string(), time(&value["last_seen"])], who.to_vec()].concat()
                    }
                }
            })
            .collect();
        for words in &mut from_lines {
            if what == "pending" {
                words.remove(1);
            }
            words.truncate(if what == "pending" { 3 } else { 4 });
        }
        from_lines.sort();
        from_json.sort();
        assert_eq!(from_json, from_lines, "{what}");
        if what != "auto" {
            let senders: Vec<&str> = values.iter().map(|value| value["sender"].as_str().unwrap()).collect();
            assert!(
                senders.contains(&if what == "known" { "alice@sender.example" } else { "" }),
                "{senders:?}"
            );
        }
    }
}

/// Filters choose by client, sender and recipient, in any case of letters; where nothing is found the exit status is 1.
#[test]
fn list_finds_what_is_asked_for() {
    let place = filled();
    for (arguments, records) in [
        (&["pending", "client=198.51.100.77"][..], 3),
        (&["pending", "198.51.100.1", "sender=RIPE"], 1),
        (&["pending", "client=2001:db8::ffff"], 1),
        (&["pending", "client=example.com"], 1),
        (&["pending", "recipient=bob@RCPT"], 4),
        (&["pending", "sender=evil"], 1),
        (&["known", "client=192.0.2.200"], 1),
        (&["known", "user3@"], 2),
        (&["known", "sender=proved.example", "recipient=user4"], 2),
        (&["auto", "client=proved"], 1),
        (&["pending", "client=192.0.2.1"], 0),
        (&["known", "sender=bob"], 0),
        (&["known", "client=192.0.2.7", "recipient=carol"], 0),
        (&["auto", "client=192.0.2.7"], 0),
    ] {
        let list = eximgrey(&place, &[&["list"], arguments].concat());
        assert_eq!(list.lines().len(), records, "{arguments:?}:\n{}", list.out);
        assert_eq!(list.code, Some(i32::from(records == 0)), "{arguments:?}");
        assert_eq!(eximgrey(&place, &[&["list", "--json"], arguments].concat()).json().len(), records);
    }
}
