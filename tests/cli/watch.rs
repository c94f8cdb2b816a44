//! `eximgrey watch`: what is decided is shown at once, and nothing else.

use super::common::{Ended, Place, within_deadline};
use super::{HOSTILE, HOSTILE_SHOWN, HOUR, eximgrey};
use eximgrey::time::Timestamp;
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

/// A running `eximgrey watch`.
struct Watching {
    process: Ended,
    lines: Receiver<String>,
}

impl Watching {
    /// Starts it, and waits until it sees decisions; its first lines are about these.
    fn start(place: &Place, arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_eximgrey"));
        command.arg("watch").args(arguments).arg("--config").arg(place.config()).stdout(Stdio::piped());
        let mut process = Ended(command.spawn().unwrap());
        let (send, lines) = channel();
        let out = BufReader::new(process.0.stdout.take().unwrap());
        std::thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| send.send(line)));
        let watching = Self { process, lines };
        let mut number = 0;
        within_deadline("the watching to begin", || {
            number += 1;
            let recipient = format!("probe{number}@rcpt.example");
            let now = Timestamp::now().0;
            place.decide(&[(now, &[b"192.0.2.1", b"probe@probe.example", recipient.as_bytes()])]);
            watching.lines.try_iter().any(|line| line.contains("probe@")).then_some(())
        });
        watching
    }

    /// The next line with `text`.
    fn line(&self, text: &str) -> String {
        within_deadline(text, || self.lines.try_iter().find(|line| line.contains(text)))
    }

    fn json(&self, text: &str) -> Value {
        serde_json::from_str(&self.line(text)).unwrap()
    }
}

/// A first attempt, an early one and a retry are shown as they are decided, with how long they wait and waited; so is a trap, and
/// an identity that has proved itself. What passes at once is counted.
#[test]
fn what_happens_is_shown() {
    let place = Place::new("delay = \"5m\"\nauto_after = 1\ntrust_known_domains = false");
    let watching = Watching::start(&place, &[]);
    let now = Timestamp::now().0;
    let (client, bob): (&[u8], &[u8]) = (b"198.51.100.1", b"bob@rcpt.example");
    let mail: [&[u8]; 3] = [client, b"alice@sender.example", bob];
    place.decide(&[(now - HOUR, &mail), (now, &mail), (now, &mail)]);
    // The first one was decided an hour ago, when nobody watched.
    let retried = watching.line("alice@sender.example");
    let words: Vec<_> = retried.split_whitespace().skip(1).collect();
    let expected =
        ["retried", "1h", "network", "198.51.100.0/24", "alice@sender.example", "bob@rcpt.example"];
    assert_eq!(words, expected, "{retried}");
    let proved = watching.line(" proved ");
    assert!(proved.contains(" network 198.51.100.0/24 "), "{proved}");
    assert!(watching.line(" counted ").contains(" known"));

    place.decide(&[(now, &[b"203.0.113.1", HOSTILE, bob]), (now, &[b"203.0.113.1", HOSTILE, bob])]);
    for what in ["new", "early"] {
        let line = watching.line(HOSTILE_SHOWN);
        let words: Vec<_> = line.split_whitespace().skip(1).take(4).collect();
        assert_eq!(words, [what, "5m", "network", "203.0.113.0/24"], "{line}");
        assert!(line.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{line:?}");
    }
    assert_eq!(eximgrey(&place, &["trap", "203.0.113.9"]).code, Some(0));
    let trap = watching.line(" trap ");
    assert!(trap.contains(" trap             1d network 203.0.113.0/24 "), "{trap}");
}

/// As JSON the same, one object a line; filters choose, and with `--all` what passes at once is there, too.
#[test]
fn what_is_asked_for_is_shown_as_json() {
    let place = Place::new("delay = \"0s\"");
    let watching = Watching::start(&place, &["--all", "--json", "rcpt.example"]);
    let now = Timestamp::now().0;
    let mail: [&[u8]; 4] =
        [b"198.51.100.1", b"a\xff@sender.example", b"bob@rcpt.example", b"spf=sender.example"];
    let other: [&[u8]; 3] = [b"198.51.100.1", b"other@sender.example", b"bob@elsewhere.example"];
    place.decide(&[(now, &other), (now, &mail), (now, &mail), (now, &mail)]);
    for (reason, by) in [("new", None), ("retried", Some("network")), ("known", Some("network"))] {
        let value = watching.json("sender.example");
        assert_eq!((&value["event"], &value["reason"]), (&"decision".into(), &reason.into()), "{value}");
        assert_eq!(value["by"].as_str(), by);
        assert_eq!(
            (&value["sender"], &value["recipient"]),
            (&"a\u{fffd}@sender.example".into(), &"bob@rcpt.example".into())
        );
        assert_eq!(value["identities"].as_array().unwrap().len(), 2);
        assert!(value["time"].as_u64() >= Some(now.into()), "{value}");
    }
    let mut total = 0;
    within_deadline("all four to be counted", || {
        let counted = watching.json("\"counted\"");
        total += counted["reasons"]["known"].as_u64().unwrap();
        (total == 1).then_some(())
    });
}

/// It ends by itself, by a signal, and when nobody reads any more, each time with success; then nothing is noted any more.
#[test]
fn watching_ends_cleanly() {
    let place = Place::new("");
    for signal in [libc::SIGINT, libc::SIGTERM] {
        let mut watching = Watching::start(&place, &[]);
        watching.process.signal(signal);
        assert_eq!(watching.process.wait().code(), Some(0));
    }
    let counted = eximgrey(&place, &["watch", "--count", "1", "--json"]);
    assert_eq!(
        (counted.code, counted.json()[0]["event"].as_str()),
        (Some(0), Some("counted")),
        "{}",
        counted.err
    );
    let mut command = Command::new(env!("CARGO_BIN_EXE_eximgrey"));
    command.args(["watch", "--config"]).arg(place.config()).stdout(Stdio::piped());
    let mut process = Ended(command.spawn().unwrap());
    drop(process.0.stdout.take());
    assert_eq!(process.wait().code(), Some(0));
}

/// With `privacy` there are no addresses to be seen, as none is written to any file.
#[test]
fn with_privacy_only_the_decisions_are_seen() {
    let place = Place::new("delay = \"0s\"\nprivacy = true");
    let mut command = Command::new(env!("CARGO_BIN_EXE_eximgrey"));
    command.args(["watch", "--all", "--config"]).arg(place.config()).stdout(Stdio::piped());
    let mut process = Ended(command.spawn().unwrap());
    let lines = BufReader::new(process.0.stdout.take().unwrap()).lines();
    let (send, seen) = channel();
    let mut decisions = lines.map_while(Result::ok).filter(|line| !line.contains(" counted "));
    std::thread::spawn(move || decisions.try_for_each(|line| send.send(line)));
    let line = within_deadline("a decision", || {
        place.decide(&[(Timestamp::now().0, &[b"192.0.2.1", b"secret@x.example", b"hidden@y.example"])]);
        seen.try_recv().ok()
    });
    let words: Vec<_> = line.split_whitespace().skip(2).collect();
    assert!(matches!(words[..], ["-" | "0s" | "1s", "-" | "network", "-", "-", "-"]), "{line}");
}
