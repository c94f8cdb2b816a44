//! What is for eyes: colours and the pager, on a terminal alone.

use super::common::{NOBODY, Place, is_root};
use super::{Done, done, eximgrey, filled};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

/// Runs `eximgrey ARGUMENTS` on a terminal with this environment, and no other that matters here.
fn on_terminal(place: &Place, arguments: &str, environment: &[(&str, &str)]) -> Done {
    let config = place.config().display().to_string();
    let command = format!("{} {arguments} --config {config}", env!("CARGO_BIN_EXE_eximgrey"));
    let mut script = Command::new("script");
    script.args(["-qec", &command, "/dev/null"]).env("TERM", "xterm");
    for name in ["PAGER", "LESS", "NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "CI"] {
        script.env_remove(name);
    }
    done(script.envs(environment.iter().copied()))
}

/// A pager that says who it is and what it was given.
fn pager(place: &Place) -> String {
    let path = place.path("pager");
    let text = "#!/bin/sh\necho \"pager $* by $(id -u), $LESS, secure=$LESSSECURE, open=${LESSOPEN-none}\"\nhead -n 2\n";
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path.display().to_string()
}

/// A listing on a terminal goes through the pager that the administrator has chosen, which has the rights of the store's owner
/// only; that it does not read to the end is no error.
#[test]
fn a_listing_on_a_terminal_goes_through_the_pager() {
    let place = filled();
    let pager = format!("{} -x", pager(&place));
    let open = ("LESSOPEN", "|touch /tmp/opened");
    for arguments in ["list", "whitelist list", "list known --sort oldest"] {
        if arguments.starts_with("whitelist") {
            eximgrey(&place, &["whitelist", "add", "host", "a.example"]);
        }
        let told = on_terminal(&place, arguments, &[("PAGER", &pager), open]);
        // SAFETY: geteuid has no arguments and cannot fail.
        let user = if is_root() { NOBODY } else { unsafe { libc::geteuid() } };
        let first = format!("pager -x by {user}, FRX, secure=1, open=none\r\n");
        assert!(told.code == Some(0) && told.out.starts_with(&first), "{arguments}: {}", told.out);
        assert!(told.out.lines().count() > 1, "{}", told.out);
    }
    let options = on_terminal(&place, "list", &[("PAGER", &pager), ("LESS", "S")]);
    assert!(options.out.contains(", S, secure=1"), "{}", options.out);
}

/// There is none for a pipe, for JSON, for an empty listing, and where none is wanted, or the one that is wanted is missing.
#[test]
fn there_is_no_pager_where_none_is_wanted() {
    let place = filled();
    let pager = pager(&place);
    let mut piped = Command::new(env!("CARGO_BIN_EXE_eximgrey"));
    piped.args(["list", "--config"]).arg(place.config()).env("PAGER", &pager);
    let expected = done(&mut piped).lines().len();
    assert_eq!(expected, 5);
    for arguments in ["list --no-pager", "list --json", "list trapped", "status"] {
        let told = on_terminal(&place, arguments, &[("PAGER", &pager)]);
        assert!(!told.out.contains("pager"), "{arguments}: {}", told.out);
    }
    for none in ["cat", "", "/nonexistent/pager"] {
        let told = on_terminal(&place, "list", &[("PAGER", none)]);
        assert_eq!((told.code, told.out.lines().count()), (Some(0), expected + 1), "{none:?}: {}", told.out);
    }
}

/// Colours are there on a terminal alone; NO_COLOR and --color are heeded.
#[test]
fn colours_are_for_terminals() {
    let place = filled();
    let coloured = |out: &str| out.contains("\x1b[");
    for (arguments, environment, expected) in [
        ("status", &[][..], true),
        ("list", &[("PAGER", "cat")], true),
        ("explain 192.0.2.7 alice@sender.example bob@rcpt.example", &[], true),
        ("status", &[("NO_COLOR", "1")], false),
        ("status", &[("TERM", "dumb")], false),
        ("status --color never", &[], false),
        ("status --json", &[], false),
    ] {
        let told = on_terminal(&place, arguments, environment);
        assert_eq!(coloured(&told.out), expected, "{arguments} {environment:?}: {}", told.out);
    }
    for (arguments, expected) in [(&["status"][..], false), (&["status", "--color", "always"], true)] {
        assert_eq!(coloured(&eximgrey(&place, arguments).out), expected, "{arguments:?}");
    }
    let wrong = on_terminal(&place, "list everything", &[]);
    assert!(wrong.out.starts_with("\x1b[1m\x1b[31meximgrey:\x1b[0m "), "{}", wrong.out);
}

/// How far the reading of a log is, is said on a terminal, and is gone in the end; in a pipe it is not.
#[test]
fn how_far_a_log_is_read_is_said_on_a_terminal() {
    let place = filled();
    let log = place.path("mainlog");
    let line = "2026-11-20 10:00:00 +0100 H=(x) [192.0.2.1] F=<a@b.test> temporarily rejected RCPT <c@d.test>: greylisted\n";
    fs::write(&log, line.repeat(3_000)).unwrap();
    let arguments = format!("replay {}", log.display());
    let told = on_terminal(&place, &arguments, &[]);
    assert!(
        told.code == Some(0) && told.out.contains("reading ") && told.out.contains(" % "),
        "{}",
        told.out
    );
    let piped = eximgrey(&place, &arguments.split(' ').collect::<Vec<_>>());
    assert!(piped.out.starts_with("Replayed 3,000 lines") && piped.err.is_empty(), "{}", piped.err);
}
