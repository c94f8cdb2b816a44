//! `eximgrey log`: what became of a mail, by what Exim has logged.

use super::{Done, eximgrey};
use crate::common::Place;
use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

pub const MAIN_LOG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cli/main.log");

fn log(arguments: &[&str]) -> Done {
    eximgrey(&Place::new(""), &[&["log"], arguments].concat())
}

/// A mail that came back from another address of its network, and the same sender's that never came back: each in the order
/// of time, with what it waited.
#[test]
fn what_became_of_a_senders_mail_is_told() {
    let told = log(&["alice@sender.test", "--file", MAIN_LOG]);
    assert_eq!((told.code, told.err.as_str()), (Some(0), ""));
    let expected = "\
alice@sender.test -> bob@rcpt.example, from mx.sender.test [192.0.2.9]
  2026-11-20T09:00:00Z first attempt, deferred: may pass from 2026-11-20T09:05:00Z on
  2026-11-20T09:01:00Z came back too early, deferred: 4m still to wait
  2026-11-20T09:10:00Z came back, passed after waiting 10m
  2026-11-20T09:10:01Z accepted (1vP8sy-000000001Sm-2Zdk)
  2026-11-20T09:10:02Z delivered (1vP8sy-000000001Sm-2Zdk)
  = delivered, after waiting 10m

alice@sender.test -> carol@rcpt.example, from [198.51.100.7]
  2026-11-20T10:00:00Z first attempt, deferred: may pass from 2026-11-20T10:05:00Z on
  = never came back: last seen 2026-11-20T10:00:00Z, could have passed until 2026-11-22T10:00:00Z

user@rcpt.example -> alice@sender.test, from this host
  2026-11-20T11:30:00Z accepted (1vP8sz-000000001Sm-2Zdk)
  2026-11-20T11:30:01Z bounced: SMTP error from remote mail server: 550 no such user (1vP8sz-000000001Sm-2Zdk)
  = bounced

";
    assert_eq!(told.out, expected);
}

/// A message's id finds the attempts before it; a domain finds both directions; nothing is exit status 1, and what is no
/// address 2. What strangers have sent is shown escaped.
#[test]
fn mail_is_found_by_message_and_by_domain() {
    let by_id = log(&["1vP8sy-000000001Sm-2Zdk", "--file", MAIN_LOG]).out;
    assert!(by_id.contains("first attempt") && by_id.contains("= delivered, after waiting 10m"), "{by_id}");
    assert_eq!(by_id.matches(" -> ").count(), 1, "{by_id}");
    let by_domain = log(&["@rcpt.example", "--file", MAIN_LOG]).out;
    assert_eq!(by_domain.matches(" -> ").count(), 4, "{by_domain}");
    assert!(by_domain.contains("x\\x1b[2J@evil.test") && !by_domain.contains('\x1b'), "{by_domain}");
    let nobody = log(&["nobody@sender.test", "--file", MAIN_LOG]);
    assert_eq!(nobody.code, Some(1));
    assert_eq!(nobody.out, "nothing of nobody@sender.test in 12 lines, of which 1 are not Exim's\n");
    let wrong = log(&["nobody", "--file", MAIN_LOG]);
    assert!(wrong.code == Some(2) && wrong.err.contains("such as alice@example.org"), "{}", wrong.err);
    let missing = log(&["a@b.test", "--file", "/nonexistent/mainlog"]);
    assert!(missing.code == Some(2) && missing.err.contains("/nonexistent/mainlog"), "{}", missing.err);
}

/// Rotated and packed logs are put in order whatever order they are named in, and a pipe is read.
#[test]
fn packed_logs_are_read_in_the_order_of_time() {
    let expected = log(&["alice@sender.test", "--file", MAIN_LOG]).out;
    let text = fs::read_to_string(MAIN_LOG).unwrap();
    let lines: Vec<_> = text.split_inclusive('\n').collect();
    let dir = tempfile::tempdir().unwrap();
    let part = |name: &str, lines: &[&str], pack: Option<&str>| {
        let path = dir.path().join(name);
        fs::write(&path, lines.concat()).unwrap();
        let Some(pack) = pack else { return path.to_str().unwrap().to_owned() };
        assert!(Command::new(pack).arg(&path).status().unwrap().success(), "{pack}");
        fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .find(|other| other.file_stem() == path.file_name())
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned()
    };
    let files = [
        part("mainlog", &lines[6..], None),
        part("mainlog.1", &lines[2..6], Some("gzip")),
        part("mainlog.2", &lines[..2], Some("xz")),
    ];
    let names = files.each_ref().map(String::as_str);
    assert_eq!(log(&[&["alice@sender.test", "--file"], &names[..]].concat()).out, expected);
    let mut piped = Command::new(env!("CARGO_BIN_EXE_eximgrey"))
        .args(["log", "alice@sender.test", "--file", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    piped.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert_eq!(String::from_utf8(piped.wait_with_output().unwrap().stdout).unwrap(), expected);
}

/// What was deferred after DATA is found by the id that the message had; the journal is read as it prints times; and what
/// came before the time asked for tells of what was delivered since.
#[test]
fn odd_lines_are_read() {
    let read = |text: &str, arguments: &[&str]| {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        log(&[arguments, &["--file", file.path().to_str().unwrap()]].concat()).out
    };
    let after_data = "2026-11-27 12:00:00 +0000 1vP8sy-000000001Sm-2Zdk H=mx.b.test [192.0.2.1] F=<> temporarily rejected RCPT \
                      <bob@rcpt.example> after DATA: greylisted by eximgrey: action=defer reason=new wait=300\n";
    let told = read(after_data, &["1vP8sy-000000001Sm-2Zdk"]);
    assert!(told.starts_with("<> -> bob@rcpt.example") && told.contains("first attempt"), "{told}");
    for time in ["2026-11-27T13:00:00+0100", "2026-11-27T13:00:00+01:00", "2026-11-27T12:00:00Z"] {
        let journal = format!(
            "{time} mx exim4[77]: H=(x) [192.0.2.1] F=<a@b.test> temporarily rejected RCPT <c@d.test>: greylisted by \
             eximgrey: action=defer reason=new wait=300\n"
        );
        let told = read(&journal, &["a@b.test"]);
        assert!(told.contains("2026-11-27T12:00:00Z first attempt"), "{time}: {told}");
    }
    let day = |back: u64| {
        let time = std::time::SystemTime::now() - std::time::Duration::from_secs(back * 86_400);
        let seconds = time.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        eximgrey::time::Timestamp(seconds as u32).to_string().replace('T', " ").replace('Z', " +0000")
    };
    let long = format!(
        "{} 1vP8sy-000000001Sm-2Zdk <= a@b.test H=x [192.0.2.1] P=esmtp S=9\n\
         {} 1vP8sy-000000001Sm-2Zdk => c@d.test R=dns T=smtp\n",
        day(3),
        day(1)
    );
    let told = read(&long, &["a@b.test", "--since", "2d"]);
    assert!(told.contains("= delivered"), "{told}");
}
