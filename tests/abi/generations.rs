//! What the library asks of Exim, in Exims of each generation: a C program that exports what they export.

use super::{Built, CLIENT, Driver, Place, RECIPIENT, SENDER};
use crate::common::as_store_user;
use std::fs;
use std::process::Command;

const NEW: &str = "action=defer reason=new wait=300";
const EARLY: &str = "action=defer reason=early wait=";
const ERROR: &str = "action=pass reason=error error=bad-config";

/// Generations as tests/c/exim.c has them, and the library's words for them.
const KNOWN: [(&str, &str); 2] = [("99", "exim=4.99"), ("100", "exim=4.100")];
const UNKNOWN: &str = "0";

/// A program like an Exim of this generation.
fn exim(generation: &str) -> (Place, Built) {
    let place = Place::new("");
    let built =
        Built::new_with(&place, &[&format!("-DGENERATION={generation}"), "-rdynamic", "tests/c/exim.c"]);
    (place, built)
}

/// Starts it with these variables set to 1.
fn start(built: &Built, set: &[&str]) -> Driver {
    let mut command = Command::new(&built.program);
    command.envs(set.iter().map(|name| (name, "1")));
    as_store_user(|| built.start_by(command))
}

fn version(driver: &mut Driver) -> String {
    driver.call("greylist_version", &[]).rsplit(' ').next().unwrap().to_owned()
}

/// Nothing is recorded under `exim -bh`, and everything else is, whatever lies beside the flag in memory.
#[test]
fn host_checking_is_read_as_wide_as_it_is() {
    for (generation, word) in KNOWN {
        let (place, built) = exim(generation);
        let mut checking = start(&built, &["HOST_CHECKING"]);
        assert_eq!(version(&mut checking), word);
        for _ in 0..2 {
            assert_eq!(checking.greylist(&place, &[CLIENT, SENDER, RECIPIENT]), NEW, "{generation}");
        }
        checking.end();
        assert_eq!(place.tree(), Vec::<String>::new(), "{generation}");

        let mut session = start(&built, &["SMTP_INPUT"]);
        assert_eq!(session.greylist(&place, &[CLIENT, SENDER, RECIPIENT]), NEW, "{generation}");
        let early = session.greylist(&place, &[CLIENT, SENDER, RECIPIENT]);
        assert!(early.starts_with(EARLY), "{generation}: {early}");
        session.end();
    }
}

/// A fault is a line of Exim's log in a session, once, and nowhere else; `log_write` gets what its generation takes.
#[test]
fn a_fault_is_logged_once_and_in_a_session_only() {
    for (generation, _) in KNOWN {
        let (place, built) = exim(generation);
        fs::write(place.config(), "%s = 7").unwrap();
        let logged = |set: &[&str]| {
            let mut driver = start(&built, set);
            for _ in 0..2 {
                assert_eq!(driver.greylist(&place, &[CLIENT, SENDER, RECIPIENT]), ERROR, "{generation}");
            }
            driver.end_with_output()
        };
        let line = logged(&["SMTP_INPUT"]);
        let (begin, end) = ("log_write 1: eximgrey: /tmp/", "; mail passes without greylisting\n");
        assert!(line.starts_with(begin) && line.ends_with(end), "{generation}: {line}");
        assert_eq!(line.lines().count(), 1, "{generation}: {line}");
        assert_eq!(logged(&[]), "", "{generation}");
        assert_eq!(logged(&["SMTP_INPUT", "HOST_CHECKING"]), "", "{generation}");
    }
}

/// The log says which argument is wrong and what was expected. A stranger's text, where an administrator has
/// put it in the place of an option, is in one line there, escaped and cut.
#[test]
fn the_log_names_the_argument() {
    let (place, built) = exim("99");
    let stranger = format!("%s%n\n\u{1b}[2J<\u{e9}@x.example>{}", "x".repeat(1000));
    let shown = format!("%s%n\\x0a\\x1b[2J<\\xc3\\xa9@x.example>{}...", "x".repeat(64 - 23));
    for (client, option, said) in [
        (CLIENT, "delay=13h", "delay=13h: expected a time of at most \"12h\""),
        (CLIENT, &stranger, &format!("{shown}: expected OPTION=VALUE")),
        (&stranger, "delay=5m", &format!("{shown}: expected an IP address")),
    ] {
        let mut driver = start(&built, &["SMTP_INPUT"]);
        let reply = driver.greylist(&place, &[client, SENDER, RECIPIENT, option]);
        assert!(reply.starts_with("action=pass reason=error error=bad-"), "{reply}");
        let line = format!("log_write 1: eximgrey: {said}; mail passes without greylisting\n");
        assert_eq!(driver.end_with_output(), line);
    }
}

/// `exim -d` shows each question and its reply, and only it does.
#[test]
fn debugging_shows_the_question_and_its_reply() {
    for (generation, _) in KNOWN {
        let (place, built) = exim(generation);
        let mut driver = start(&built, &["DEBUG"]);
        driver.greylist(&place, &[CLIENT, SENDER, RECIPIENT]);
        let config = place.config_option();
        let question = format!("asked greylist{{{CLIENT}}}{{{SENDER}}}{{{RECIPIENT}}}{{{config}}}");
        let shown = [&question, NEW].map(|line| format!("debug_printf: eximgrey: {line}\n\n"));
        assert_eq!(driver.end_with_output(), shown.concat(), "{generation}");
        let mut driver = start(&built, &[]);
        driver.greylist(&place, &[CLIENT, SENDER, RECIPIENT]);
        driver.end();
    }
}

/// In an Exim that is not known nothing of it is called or read: not the flags, not even for an error. So it is where the
/// symbols are those of a generation that is known, but Exim says that it is newer.
#[test]
fn nothing_of_an_unknown_exim_is_called_or_read() {
    let every = ["HOST_CHECKING", "SMTP_INPUT", "DEBUG"];
    for (generation, told) in
        [(UNKNOWN, None), ("99", Some("4.100")), ("100", Some("4.101")), ("100", Some("5.0"))]
    {
        let (place, built) = exim(generation);
        let mut driver = start(&built, &every);
        if let Some(told) = told {
            assert_eq!(
                driver.ask(&format!("call greylist_preload {}", super::words(&[b"0", told.as_bytes()]))),
                "0 ="
            );
        }
        assert_eq!(version(&mut driver), "exim=unknown");
        assert_eq!(driver.greylist(&place, &[CLIENT, SENDER, RECIPIENT]), NEW);
        let early = driver.greylist(&place, &[CLIENT, SENDER, RECIPIENT]);
        assert!(early.starts_with(EARLY), "{generation} {told:?}: {early}");
        let fault = driver.greylist(&place, &[CLIENT, SENDER, RECIPIENT, "mode=wrong"]);
        assert_eq!(fault, "action=pass reason=error error=bad-option");
        driver.end();
    }
}
