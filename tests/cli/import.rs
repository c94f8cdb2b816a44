//! `eximgrey import` from other greylisters: files that real ones wrote (tests/fixtures/peers/make), and what Exim is
//! answered afterwards. The files of the others are written after their documentation; see the command's own tests.

use super::common::driver::Built;
use super::common::{Ended, Place, give_to_store_user};
use super::{Done, done, eximgrey};
use eximgrey::time::Timestamp;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

/// A time of the fixtures, about when they were written.
const WRITTEN: u32 = 1_795_801_427;

/// A file of `place` with the text of a fixture, whose times are moved to the last hours.
fn fixture(place: &Place, name: &str) -> String {
    let text = fs::read_to_string(format!("{}/tests/fixtures/peers/{name}", env!("CARGO_MANIFEST_DIR")));
    write(place, name, &moved(&text.unwrap()))
}

fn write(place: &Place, name: &str, text: &str) -> String {
    let path = place.path(name);
    fs::write(&path, text).unwrap();
    give_to_store_user(&path);
    path.to_str().unwrap().into()
}

/// Numbers of ten digits that are times.
fn moved(text: &str) -> String {
    let mut out = String::new();
    let mut digits = String::new();
    for c in text.chars().chain(['\0']) {
        if c.is_ascii_digit() {
            digits.push(c);
            continue;
        }
        let time = digits.parse().ok().filter(|time: &u32| time.abs_diff(WRITTEN) < 1_000_000);
        let ago = |time: u32| Timestamp::now().0 - 3_600 - (WRITTEN + 3_600).saturating_sub(time);
        out += &time.map_or(digits.clone(), |time| ago(time).to_string());
        digits.clear();
        out.push(c);
    }
    out.trim_end_matches('\0').into()
}

fn import(place: &Place, arguments: &[&str]) -> Done {
    eximgrey(place, &[&["import"], arguments].concat())
}

/// What Exim is answered, in a real decision.
fn answer(place: &Place, [client, sender, recipient]: [&str; 3]) -> String {
    let arguments = [client, sender, recipient].map(str::as_bytes);
    place.decide(&[(Timestamp::now().0, &arguments)]).remove(0)
}

const PASSED: [[&str; 3]; 6] = [
    ["192.0.2.99", "alice@sender.example", "bob@rcpt.example"],
    ["192.0.2.7", "alice@sender.example", "carol@rcpt.example"],
    ["203.0.113.5", "", "bob@rcpt.example"],
    ["203.0.113.6", "a/b@sender.example", "bob@rcpt.example"],
    ["2001:db8:1::77", "dave@six.example", "bob@rcpt.example"],
    ["198.51.100.1", "bounce-9999-88888@lists.example", "bob@rcpt.example"],
];

fn assert_known(place: &Place, mails: &[[&str; 3]]) {
    for mail in mails {
        let answer = answer(place, *mail);
        assert!(answer.starts_with("action=pass reason=known by=network"), "{mail:?}: {answer}");
    }
    let stranger = answer(place, ["203.0.113.77", "waits@sender.example", "bob@rcpt.example"]);
    assert!(stranger.starts_with("action=defer"), "{stranger}");
}

#[test]
fn what_postgrey_let_pass_is_known() {
    let place = Place::new("");
    let files = ["postgrey", "postgrey_clients"].map(|name| fixture(&place, name));
    let arguments = [&["postgrey"], &files.each_ref().map(String::as_str)[..]].concat();
    let dry = import(&place, &[&arguments[..], &["--dry-run"]].concat());
    assert_eq!((dry.code, dry.err.as_str()), (Some(0), ""));
    assert!(dry.out.starts_with("would be imported: 7 triplets known, "), "{}", dry.out);
    assert!(dry.out.contains("\n1 first attempt left out"), "{}", dry.out);
    assert_eq!(place.tree(), Vec::<String>::new());
    let first = import(&place, &arguments);
    assert_eq!((first.code, first.err.as_str()), (Some(0), ""));
    assert_eq!(first.out, dry.out.replace("would be imported", "imported"));
    assert_known(&place, &PASSED);
    let again = import(&place, &arguments);
    assert!(again.out.contains(" of these said nothing new"), "{}", again.out);
    // Its extension was dropped there.
    assert_known(&place, &[["198.51.100.9", "list@sender.example", "bob@rcpt.example"]]);
}

#[test]
fn what_greylistd_let_pass_is_known() {
    let place = Place::new("");
    let files = ["greylistd-states", "greylistd-triplets"].map(|name| fixture(&place, name));
    let alone = import(&place, &["greylistd", &files[0]]);
    assert_eq!(alone.code, Some(1), "{}", alone.out);
    assert!(alone.out.contains("8 hashes without their other half"), "{}", alone.out);
    let done = import(&place, &["greylistd", &files[0], &files[1], "--pending"]);
    assert_eq!((done.code, done.err.as_str()), (Some(0), ""), "{}", done.out);
    assert!(done.out.starts_with("imported: 7 triplets known, "), "{}", done.out);
    assert!(done.out.contains(", 1 first attempt\n"), "{}", done.out);
    for mail in PASSED.into_iter().take(5) {
        let answer = answer(&place, mail);
        assert!(answer.starts_with("action=pass reason=known by=network"), "{mail:?}: {answer}");
    }
    // It has waited there already.
    let waits = answer(&place, ["203.0.113.77", "waits@sender.example", "bob@rcpt.example"]);
    assert!(waits.starts_with("action=pass reason=retried"), "{waits}");
}

/// It keeps no recipients of what has passed: its clients come along, and with --pending first attempts.
#[test]
fn the_clients_of_sqlgrey_come_along() {
    let place = Place::new("auto_after = 1");
    let file = fixture(&place, "sqlgrey");
    let done = import(&place, &["sqlgrey", &file, "--pending"]);
    assert_eq!((done.code, done.err.as_str()), (Some(0), ""));
    assert_eq!(done.out, "imported: 0 triplets known, 4 clients, 2 first attempts\n");
    let auto = answer(&place, ["2001:db8:1::77", "new@six.example", "bob@rcpt.example"]);
    assert!(auto.starts_with("action=pass reason=auto by=network"), "{auto}");
    let listed = eximgrey(&place, &["list"]).out;
    assert!(listed.contains("203.0.113.0/24 waits@sender.example bob@rcpt.example"), "{listed}");
}

/// Clients that have passed often enough need not wait.
#[test]
fn clients_that_have_passed_are_counted() {
    let now = Timestamp::now().0;
    let [first, last] = [now - 90_000, now - 9_000];
    let expire = now + 90_000;
    let rows =
        (0..6).map(|n| format!("from_awl\tuser{n}\tx.example\t192.0.2.7\t{}\t{last}\n", first + n * 3_600));
    for (peer, text) in [
        ("postgrey", format!("HEADER=END\n 192.0.2.7\n 12,{last}\nDATA=END\n")),
        ("spamd", format!("WHITE|192.0.2.7|||{first}|{first}|{expire}|2|9\n")),
        ("sqlgrey", rows.collect()),
        ("fedora", (0..6).map(|n| format!("192.0.2.{n}\t{}\n", first + n * 3_600)).collect()),
    ] {
        let place = Place::new("");
        let file = write(&place, "peer", &text);
        let done = import(&place, &[peer, &file]);
        assert_eq!(
            (done.code, done.out.as_str()),
            (Some(0), "imported: 0 triplets known, 1 client, 0 first attempts\n")
        );
        let answer = answer(&place, ["192.0.2.200", "new@x.example", "bob@rcpt.example"]);
        assert!(answer.starts_with("action=pass reason=auto by=network"), "{peer}: {answer}");
    }
    let dump = format!("192.0.2.7\t<Alice@X.example>\t<bob@rcpt.example>\t{expire} AUTO # some day\n");
    let table = format!("192.0.2.7\talice@x.example\tbob@rcpt.example\t{first}\t{expire}\t1\n");
    for (peer, text) in [("milter-greylist", dump), ("iredapd", table)] {
        let place = Place::new("");
        assert_eq!(import(&place, &[peer, &write(&place, "peer", &text)]).code, Some(0));
        let answer = answer(&place, ["192.0.2.200", "alice@x.example", "bob@rcpt.example"]);
        assert!(answer.starts_with("action=pass reason=known by=network"), "{peer}: {answer}");
    }
}

/// postgrey's files are databases, which their own program prints.
#[test]
fn a_database_is_printed_by_its_program() {
    let place = Place::new("");
    let text = fixture(&place, "postgrey");
    let mut bytes = vec![0; 4_096];
    bytes[12..16].copy_from_slice(&0x5_3162_u32.to_le_bytes());
    let database = place.path("postgrey.db");
    fs::write(&database, bytes).unwrap();
    give_to_store_user(&database);
    let with_path = |path: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_eximgrey"));
        command.args(["import", "postgrey", database.to_str().unwrap(), "--config"]).arg(place.config());
        done(command.env("PATH", path))
    };
    let missing = with_path("/nowhere");
    assert_eq!(missing.code, Some(2));
    assert!(missing.err.contains("install db5.3-util"), "{}", missing.err);
    let programs = place.path("programs");
    fs::create_dir(&programs).unwrap();
    let program = programs.join("db_dump");
    for (script, code) in [(format!("exec /bin/cat {text}"), 0), ("exit 3".into(), 2)] {
        fs::write(
            &program,
            format!("#!/bin/sh\n[ \"$1 $3\" = \"-p {}\" ] || exit 9\n{script}\n", database.display()),
        )
        .unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let done = with_path(programs.to_str().unwrap());
        assert_eq!(done.code, Some(code), "{} {}", done.out, done.err);
    }
}

/// Live sessions go on while many records are taken in, and an import that was killed is simply made again.
#[test]
fn an_import_disturbs_nobody_and_may_be_killed() {
    let place = Place::new("delay = \"0s\"");
    let built = Built::new(&place);
    let until = Timestamp::now().0 + 90_000;
    let line =
        |n: u32| format!("10.{}.{}.7\t<u{n}@x.example>\t<r@y.example>\t{until} AUTO\n", n / 250, n % 250);
    let file = write(&place, "peer", &(0..6_000).map(line).collect::<String>());
    let mut command = Command::new(env!("CARGO_BIN_EXE_eximgrey"));
    command.args(["import", "milter-greylist", &file, "--config"]).arg(place.config()).stdout(Stdio::null());
    let mut driver = built.start();
    let mut rounds = 0;
    let mut decide = || {
        let recipient = format!("{rounds}@rcpt.example");
        let client = format!("198.{}.{}.1", rounds / 250, rounds % 250);
        let mail = [client.as_str(), "alice@sender.example", &recipient];
        assert!(driver.greylist(&place, &mail).starts_with("action=defer reason=new wait=0"));
        assert!(driver.greylist(&place, &mail).starts_with("action=pass"));
        rounds += 1;
        rounds
    };
    let mut killed = Ended(command.spawn().unwrap());
    while decide() < 4 {}
    killed.signal(libc::SIGKILL);
    assert!(!killed.wait().success(), "it was at work");
    let mut whole = Ended(command.spawn().unwrap());
    while whole.0.try_wait().unwrap().is_none() {
        decide();
    }
    assert!(whole.wait().success());
    let rounds = decide();
    assert!(rounds > 15, "{rounds}");
    driver.end();
    let known = eximgrey(&place, &["list", "known"]);
    let imported = known.lines().iter().filter(|line| line.contains("@y.example")).count();
    assert_eq!(imported, 6_000);
}

/// What strangers wrote is shown as one harmless word, and a file of something else imports nothing.
#[test]
fn what_cannot_be_imported_is_shown() {
    let place = Place::new("");
    let hostile = "192.0.2.7\t<a\x1b[2J>\t<b>\t1\n".repeat(9) + &"x".repeat(1_000_000) + "\n";
    let file = write(&place, "peer", &hostile);
    let done = import(&place, &["milter-greylist", &file]);
    assert_eq!((done.code, done.err.as_str()), (Some(1), ""));
    assert!(done.out.contains("\n10 not importable\n"), "{}", done.out);
    assert!(
        done.out.contains("/peer:1: expected a sender's address, found 192.0.2.7\\x09<a\\x1b[2J>"),
        "{}",
        done.out
    );
    assert!(done.out.ends_with("  ... and 5 more\n"), "{}", done.out);
    assert!(!done.out.contains('\x1b') && done.out.len() < 2_000);
    assert_eq!(import(&place, &["spamd", place.path("missing").to_str().unwrap()]).code, Some(2));
    assert_eq!(import(&place, &["spamd"]).code, Some(2));
    assert_eq!(import(&place, &["nobody", &file]).code, Some(2));
}
