//! What other people's tools make of Exim's main log: Debian's logwatch, eximstats and exigrep, and logcheck's way with
//! the file that is installed for it.

use std::fs;
use std::process::Command;

use crate::recipes::{CLIENT, OTHER, Place, SENDER, USER, include, put};
use crate::smtp::{Client, attempt};
use crate::world::{World, in_own_world, run_with_input};

const MAIN_LOG: &str = "/var/log/exim4/mainlog";
const LOGCHECK: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/debian/eximgrey.logcheck.ignore.server");

/// How many mails make_every_line() has wait.
const GREYLISTED: usize = 7;

/// Makes a line of each kind but errors: mails wait, at RCPT and after DATA, with different waits; some have waited; one
/// would have to wait; one goes to a trap, and one is junk.
fn make_every_line(world: &World) {
    make_every_line_with(world, "");
}

fn make_every_line_with(world: &World, options: &str) {
    fs::write("/etc/exim4/eximgrey-traps", "trap@example.org:\n").unwrap();
    fs::write(world.path("users"), "user\nother\ntrap\n").unwrap();
    let main = options.to_owned()
        + "EXIMGREY_JUNK = ${if eq{$sender_address}{junk@sender.test}}\n"
        + &put(world, Place::Choice, &include("spamtrap"))
        + &put(world, Place::BeforeData, &include("spam-feedback"));
    let _exim = world.start_exim(&main);
    attempt(CLIENT, SENDER, USER).expect_greylisted();
    attempt(CLIENT, SENDER, USER).expect_accepted();
    attempt("2001:db8:1::1", "", USER).expect_greylisted();
    attempt("2001:db8:1::1", "", USER).expect_accepted();
    attempt(CLIENT, "junk@sender.test", USER).expect_greylisted();
    attempt(CLIENT, "junk@sender.test", USER).expect_accepted();
    for delay in ["1h", "2h"] {
        world.configure(&format!("delay = \"{delay}\""));
        attempt(CLIENT, &format!("after{delay}@sender.test"), OTHER).expect_greylisted();
        attempt("192.0.2.7", "", if delay == "1h" { USER } else { OTHER }).expect_greylisted();
    }
    world.configure("mode = \"observe\"");
    attempt(CLIENT, "observed@sender.test", USER).expect_accepted();
    attempt("198.51.100.9", "spammer@sender.test", "trap@example.org").expect_accepted();
    world.wait_for_log("eximgrey: trapped", 1);
}

/// A mail that passes because the store is gone.
fn make_line_of_an_error(world: &World) {
    fs::write(world.path("eximgrey.toml"), "store = \"/nonexistent\"\n").unwrap();
    let _exim = world.start_exim("");
    attempt(CLIENT, SENDER, USER).expect_accepted();
    world.wait_for_log("eximgrey: action=pass reason=error", 1);
}

/// logwatch counts what was greylisted at RCPT and after DATA, and shows no other line of ours but those of errors.
#[test]
fn logwatch_counts_what_was_greylisted() {
    in_own_world(|world| {
        make_every_line(world);
        let report = || {
            let mut logwatch = Command::new("logwatch");
            logwatch.args(["--service", "exim", "--range", "all", "--output", "stdout", "--detail", "0"]);
            run_with_input(&mut logwatch, "")
        };
        let printed = report();
        assert!(printed.contains(&format!("--- Greylisted {GREYLISTED} times")), "{printed}");
        for trouble in ["Refused Relays", "Unmatched", "eximgrey"] {
            assert!(!printed.contains(trouble), "{printed}");
        }
        make_line_of_an_error(world);
        let printed = report();
        let (_, unmatched) = printed.split_once("**Unmatched Entries**").unwrap();
        assert_eq!(unmatched.matches("eximgrey: action=pass reason=error").count(), 1, "{printed}");
    });
}

/// eximstats counts it as rejected for now, at RCPT and after DATA, in one row whatever the wait, and nothing as refused for good.
#[test]
fn eximstats_counts_it_as_temporary() {
    in_own_world(|world| {
        make_every_line(world);
        let printed = run_with_input(Command::new("eximstats").arg(MAIN_LOG), "");
        let row = printed.lines().filter(|line| line.contains("eximgrey")).collect::<Vec<_>>();
        assert_eq!(row.len(), 1, "{printed}");
        let words = row[0].split_whitespace().collect::<Vec<_>>();
        assert_eq!(words[0], GREYLISTED.to_string(), "{printed}");
        assert!(row[0].ends_with("Temporarily rejected RCPT: greylisted by eximgrey"), "{printed}");
        assert!(!printed.contains("mail rejection reason"), "{printed}");
    });
}

/// exigrep finds by the sender and by the recipient what became of a mail, also after DATA.
#[test]
fn exigrep_finds_a_mail_by_its_sender_and_recipient() {
    in_own_world(|world| {
        make_every_line(world);
        let found = |text: &str| run_with_input(Command::new("exigrep").args(["-l", text, MAIN_LOG]), "");
        for text in [&format!("F=<{SENDER}>"), "H=[198.51.100.7]", "reason=retried"] {
            let printed = found(text);
            assert!(printed.contains("eximgrey: action=pass reason=retried"), "{text}: {printed}");
        }
        let printed = found(&format!("<{OTHER}>"));
        assert_eq!(printed.matches("greylisted by eximgrey: action=defer").count(), 3, "{printed}");
        assert!(
            printed.contains(&format!("F=<> temporarily rejected RCPT <{OTHER}> after DATA: ")),
            "{printed}"
        );
        // Of the bounce that has waited it shows the whole story.
        let printed = found("H=[2001:db8:1::1]");
        assert!(printed.contains("eximgrey: action=pass") && printed.contains(" <= <> "), "{printed}");
    });
}

/// What logcheck has left of `lines`: it greps as its rules say.
fn left_by_logcheck(lines: &str) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(&file, lines).unwrap();
    let rules = fs::read_to_string(LOGCHECK).unwrap();
    // Its cleanrules() leaves out comments and empty lines.
    let rules: String =
        rules.lines().filter(|line| !line.starts_with('#')).map(|line| format!("{line}\n")).collect();
    let cleaned = tempfile::NamedTempFile::new().unwrap();
    fs::write(&cleaned, rules).unwrap();
    let mut grep = Command::new("grep");
    let output =
        grep.args(["-E", "--text", "-v", "-f"]).args([cleaned.path(), file.path()]).output().unwrap();
    assert!(output.status.code().is_some_and(|code| code < 2), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// logcheck leaves out each of our lines but those of errors, however Exim writes its log, and no line of others.
#[test]
fn logcheck_leaves_out_what_happens_every_day() {
    for options in
        ["", "log_timezone = true\nlog_selector = +pid +millisec +incoming_port +incoming_interface\n"]
    {
        in_own_world(move |world| {
            make_every_line_with(world, options);
            make_line_of_an_error(world);
            let ours = world.log_lines("eximgrey:").join("\n");
            let left = left_by_logcheck(&ours);
            assert_eq!(left.lines().count(), 2, "{left}");
            assert!(left.lines().all(|line| line.contains("error")), "{left}");
            // Theirs all stay.
            let log = world.main_log();
            let others = log.lines().filter(|line| !line.contains("eximgrey:"));
            let others: String = others.map(|line| format!("{line}\n")).collect();
            assert!(others.lines().count() > 10, "{others}");
            assert_eq!(left_by_logcheck(&others), others);
        });
    }
    // Nor does anybody hide a line by writing ours into it.
    let foreign = "2026-01-01 12:00:00 H=(x) [192.0.2.1] F=<a@b.test> rejected RCPT <c@d.test>: relay not permitted\n\
        2026-01-01 12:00:00 login authenticator failed for (x) [192.0.2.1]: 535 mail-may-pass eximgrey: action=pass\n\
        2026-01-01 12:00:00 H=(x) [192.0.2.1] F=<a@b.test> rejected after DATA: greylisted by eximgrey: action=defer reason=new wait=1\n\
        2026-01-01 12:00:00 mail-may-pass eximgrey: action=pass reason=new error=internal H=[192.0.2.1] F=<a@b.test> RCPT=<c@d.test>\n\
        2026-01-01 12:00:00 H=(x) [192.0.2.1] F=<a@b.test> temporarily rejected RCPT <c@d.test>: greylisted by eximgrey: action=defer reason=new wait=1 and more\n";
    assert_eq!(left_by_logcheck(foreign), foreign);
}

/// The reject log has what Exim says of a mail that waits after DATA; of what is refused after it, in the same
/// connection, the main log has Exim's line as ever.
#[test]
fn only_our_own_rejection_is_logged_by_us() {
    in_own_world(|world| {
        let _exim = world.start_exim(&put(world, Place::AfterData, "deny message = refused\n"));
        let mut client = Client::connect(CLIENT);
        for code in [451, 550] {
            client.mail("");
            client.rcpt(USER).expect(250);
            client.data().expect(code);
        }
        client.quit();
        world.wait_for_log(" rejected after DATA: refused", 1);
        assert_eq!(world.log_lines(" rejected after DATA").len(), 1, "{}", world.main_log());
        assert_eq!(world.log_lines("action=defer").len(), 1, "{}", world.main_log());
        let refused = fs::read_to_string(MAIN_LOG.replace("mainlog", "rejectlog")).unwrap();
        assert!(
            refused.contains("F=<> temporarily rejected after DATA: greylisted by eximgrey: "),
            "{refused}"
        );
    });
}
