//! `eximgrey doctor`, with the Exim that is installed.

use super::{Done, HOUR, done, eximgrey, filled};
use crate::common::{Place, built_library, skipped_without_root};
use eximgrey::time::Timestamp;
use std::fs;
use std::path::Path;
use std::process::Command;

const EXIM: &str = "/usr/sbin/exim4";

/// Whether there is nothing to ask here.
fn skipped() -> bool {
    if !Path::new(EXIM).exists() {
        println!("SKIPPED: needs {EXIM}");
        return true;
    }
    skipped_without_root("Exim's configuration")
}

/// Runs the doctor with a configuration of Exim that has `lines` in its ACL and `main` before it.
fn doctor(place: &Place, main: &str, lines: &str, more: &[&str]) -> Done {
    let exim_config = place.path("exim.conf");
    let text = format!(
        "primary_hostname = mx.example.org\nexim_user = nobody\nexim_group = nogroup\nkeep_environment =\n{main}\n\
         acl_smtp_rcpt = rcpt\nbegin acl\nrcpt:\n{lines}\n  accept\n"
    );
    fs::write(&exim_config, text).unwrap();
    let library = place.path("eximgrey.so");
    if !library.exists() {
        fs::copy(built_library(), &library).unwrap();
    }
    let named =
        ["doctor", "--exim-config", exim_config.to_str().unwrap(), "--library", library.to_str().unwrap()];
    eximgrey(place, &[&named, more].concat())
}

fn call(place: &Place, function: &str) -> String {
    format!("${{dlfunc{{{}}}{{{function}}}{{500}}}}", place.path("eximgrey.so").display())
}

fn healthy(place: &Place, more: &[&str]) -> Done {
    let main = format!("smtp_accept_max_per_host = {}", call(place, "greylist_preload"));
    let lines = format!("  defer condition = {}", call(place, "greylist"));
    doctor(place, &main, &lines, more)
}

/// The lines with this word in front, for this check.
fn findings<'a>(answer: &'a Done, health: &str, check: &str) -> Vec<&'a str> {
    let of = |line: &&str| {
        let mut words = line.split_whitespace();
        words.next() == Some(health) && words.next() == Some(check)
    };
    answer.out.lines().filter(of).collect()
}

/// On a sound installation every check is ok and the exit status 0.
#[test]
fn the_doctor_finds_a_sound_installation_sound() {
    if skipped() {
        return;
    }
    let place = filled();
    let answer = healthy(&place, &[]);
    assert_eq!((answer.code, answer.err.as_str()), (Some(0), ""), "{}", answer.out);
    for check in ["configuration", "exim", "fragment", "library", "store", "records", "disk"] {
        assert!(!findings(&answer, "ok", check).is_empty(), "no {check} in\n{}", answer.out);
    }
    assert!(!answer.out.contains("BROKEN"), "{}", answer.out);
    let values = healthy(&place, &["--json"]).json();
    assert_eq!(values.len(), answer.lines().len());
    for (value, line) in values.iter().zip(answer.lines()) {
        let text = |key: &str| value[key].as_str().unwrap().to_owned();
        assert!(line.starts_with(&text("health")) && line.contains(&text("check")), "{line}: {value}");
    }
}

/// What is broken is named with what to do, and the exit status is 1.
#[test]
fn the_doctor_names_what_is_broken() {
    if skipped() {
        return;
    }
    let place = filled();
    let silent = doctor(&place, "", "", &[]);
    assert_eq!(silent.code, Some(1), "{}", silent.out);
    assert!(findings(&silent, "BROKEN", "fragment")[0].contains("eximgrey exim enable"), "{}", silent.out);

    let no_preload = doctor(&place, "", &format!("  defer condition = {}", call(&place, "greylist")), &[]);
    assert_eq!(no_preload.code, Some(0), "{}", no_preload.out);
    assert_eq!(findings(&no_preload, "warning", "preload").len(), 1, "{}", no_preload.out);

    let broken_exim = doctor(&place, "no_such_option = 1", "", &[]);
    assert_eq!(broken_exim.code, Some(1));
    assert_eq!(findings(&broken_exim, "BROKEN", "exim").len(), 1, "{}", broken_exim.out);

    fs::write(place.path("eximgrey.so"), "no library").unwrap();
    let bad_library = healthy(&place, &[]);
    assert_eq!(bad_library.code, Some(1));
    assert_eq!(findings(&bad_library, "BROKEN", "library").len(), 1, "{}", bad_library.out);
    fs::remove_file(place.path("eximgrey.so")).unwrap();

    place.configure("delay = 7\nbogus = 1");
    let bad_configuration = healthy(&place, &[]);
    assert_eq!(bad_configuration.code, Some(1));
    assert_eq!(findings(&bad_configuration, "BROKEN", "configuration").len(), 2, "{}", bad_configuration.out);
    place.configure("");

    let root_file = place.store().join("known/data.mdb");
    std::os::unix::fs::chown(&root_file, Some(0), Some(0)).unwrap();
    let foreign = healthy(&place, &[]);
    assert_eq!(foreign.code, Some(1));
    let line = findings(&foreign, "BROKEN", "store")[0];
    assert!(
        line.contains("known/data.mdb belongs to root, but Exim runs as nobody: chown -R nobody: "),
        "{line}"
    );

    fs::remove_dir_all(place.store()).unwrap();
    let missing = healthy(&place, &[]);
    assert_eq!(missing.code, Some(1));
    let line = findings(&missing, "BROKEN", "store")[0];
    assert!(
        line.contains(&format!("install -d -o nobody -g nogroup -m 0750 {}", place.store().display())),
        "{line}"
    );
}

/// A log that cannot be read is no fault, but it is said.
#[test]
fn the_doctor_says_which_log_it_reads() {
    if skipped() {
        return;
    }
    let place = filled();
    let log = place.path("log-main").display().to_string();
    let path = log.replace("main", "%s");
    for (option, said) in [
        ("syslog".to_owned(), "ok       log            Exim logs to syslog only, which is not read here; "),
        (format!("syslog : {path}"), "no such file yet\n"),
        (path, "no such file yet\n"),
    ] {
        let answer = doctor(&place, &format!("log_file_path = {option}"), "", &[]);
        assert!(answer.out.contains(said), "{option}: {}", answer.out);
    }
    let (now, fault) = (Timestamp::now().to_string(), "eximgrey: action=pass reason=error error=store-full");
    fs::write(&log, format!("2001{} {fault}\n{} {fault} F=<a@b>\n", &now[4..10], now.replace('T', " ")))
        .unwrap();
    let answer =
        doctor(&place, &format!("timezone = UTC\nlog_file_path = {}", log.replace("main", "%s")), "", &[]);
    let warnings = findings(&answer, "warning", "log");
    assert!(warnings.len() == 2 && warnings[0].contains(": 1 x error=store-full; "), "{}", answer.out);
}

/// Where there is no Exim, the doctor says so and checks the rest.
#[test]
fn the_doctor_works_without_exim() {
    let place = filled();
    let answer = eximgrey(&place, &["doctor", "--exim", "/nonexistent/exim"]);
    assert_eq!(answer.code, Some(1), "{}", answer.out);
    assert_eq!(findings(&answer, "BROKEN", "exim").len(), 1, "{}", answer.out);
    assert_eq!(findings(&answer, "ok", "configuration").len(), 1, "{}", answer.out);
    assert_eq!(findings(&answer, "ok", "records").len(), 2, "{}", answer.out);
}

/// A state of the installation that an administrator may have brought about, and what mends it.
struct Slip {
    /// For the shell, where $DIR is the directory of the test.
    made_by: &'static str,
    /// How the doctor's advice begins.
    mended_by: &'static str,
}

const fn slip(made_by: &'static str, mended_by: &'static str) -> Slip {
    Slip { made_by, mended_by }
}

const SLIPS: [Slip; 17] = [
    slip("chown root: $DIR/store", "chown -R nobody: "),
    slip("chown -R root: $DIR/store", "chown -R nobody: "),
    slip("chown root: $DIR/store/known", "chown -R nobody: "),
    slip("chown root: $DIR/store/state; chmod 400 $DIR/store/known/data.mdb", "chown -R nobody: "),
    slip("rm -r $DIR/store; umask 077; mkdir $DIR/store", "chown -R nobody: "),
    slip("rm -r $DIR/store", "install -d -o nobody "),
    slip("chmod 500 $DIR/store", "chmod -R u+rwX "),
    slip("chmod 0 $DIR/store/known", "chmod -R u+rwX "),
    slip("chmod 400 $DIR/store/pending-*/data.mdb", "chmod -R u+rwX "),
    slip("chmod -R a+rX $DIR/store", "chmod -R o= "),
    slip("chmod 600 $DIR/eximgrey.toml", "chmod a+r "),
    slip("chmod 600 $DIR/eximgrey.so", "chmod a+r "),
    slip("chmod 700 $DIR", "chmod a+x "),
    slip(
        "mv $DIR/store \"$DIR/the store's\"; ln -s \"the store's\" $DIR/store; chown -R root: $DIR/store/",
        "chown ",
    ),
    slip("mkdir -m 700 $DIR/in; mv $DIR/store $DIR/in; ln -s in/store $DIR/store", "chmod a+x "),
    slip(
        "dd if=/dev/urandom of=$DIR/store/known/data.mdb bs=4096 seek=2 count=2 conv=notrunc status=none",
        "eximgrey doctor ",
    ),
    slip("rm $DIR/store/state; mkdir -m 750 $DIR/store/state; chown nobody $DIR/store/state", "mv "),
];

/// Each slip has one piece of advice, which is a command; where it is pasted into root's shell, nothing is
/// left to complain of, because the library has answered as Exim's user.
#[test]
fn what_the_doctor_advises_mends_what_it_found() {
    if skipped() {
        return;
    }
    let bin = Path::new(env!("CARGO_BIN_EXE_eximgrey")).parent().unwrap();
    for Slip { made_by, mended_by } in SLIPS {
        let place = filled();
        assert_eq!(healthy(&place, &[]).code, Some(0));
        let shell = |command: &str| {
            let mut shell = Command::new("sh");
            let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
            shell.args(["-ec", command]).env("DIR", place.path("")).env("PATH", path);
            let done = done(&mut shell);
            assert_eq!(done.code, Some(0), "{command}: {}{}", done.out, done.err);
        };
        shell(made_by);
        let ill = healthy(&place, &["--json"]);
        let commands: Vec<_> =
            ill.json().iter().filter_map(|line| Some(line["command"].as_str()?.to_owned())).collect();
        let [command] = &commands[..] else { panic!("{made_by}: {}", ill.out) };
        assert!(command.starts_with(mended_by), "{made_by}: {command}");
        for line in ill.json() {
            let said = line["health"] == "ok" || line["command"].is_string() || line["check"] == "answer";
            assert!(said, "{made_by}: {line}");
        }
        shell(command);
        let well = healthy(&place, &[]);
        let complaints = well.out.lines().filter(|line| !line.starts_with("ok ") && !line.contains(" log "));
        assert_eq!(complaints.collect::<Vec<_>>(), Vec::<&str>::new(), "{made_by}; {command}");
        let answer = findings(&well, "ok", "answer");
        assert!(
            answer[0].contains(" as nobody the library answers action=defer reason=new "),
            "{}",
            well.out
        );
    }
}

/// In a directory that is not the store's alone, nothing is advised that would change all of it.
#[test]
fn the_doctor_changes_no_strange_files() {
    if skipped() {
        return;
    }
    let place = filled();
    fs::write(place.store().join("diary"), "").unwrap();
    assert_eq!(healthy(&place, &[]).code, Some(0));
    std::os::unix::fs::chown(place.store(), Some(0), Some(0)).unwrap();
    fs::set_permissions(place.store(), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let said = healthy(&place, &[]);
    let line = findings(&said, "BROKEN", "store")[0];
    assert!(line.ends_with("/store/diary is no file of a store: give it a directory of its own"), "{line}");
    assert!(!said.out.contains("chown"), "{}", said.out);
}

/// Who is neither root nor Exim's user is told nothing that would open the store to others.
#[test]
fn the_doctor_without_root_advises_root() {
    let place = filled();
    if crate::common::is_root() {
        let text = format!("doctor --exim /nonexistent/exim --config {}", place.config().display());
        let command = place.path("eximgrey");
        fs::copy(env!("CARGO_BIN_EXE_eximgrey"), &command).unwrap();
        let mut other = Command::new("setpriv");
        other.args(["--reuid=1", "--regid=1", "--clear-groups"]).arg(command);
        let said = done(other.args(text.split(' ')));
        let line = findings(&said, "BROKEN", "store")[0];
        assert!(line.contains(" may not look at ") && line.ends_with(": run doctor as root"), "{line}");
    }
}

/// Clients from private networks that have proved themselves are counted, and named with what to do.
#[test]
fn a_gateway_that_hides_its_clients_is_named() {
    let place = filled();
    let gateway = |out: &str| out.lines().any(|line| line.starts_with("warning  gateway "));
    let doctor = || eximgrey(&place, &["doctor", "--exim", "/nonexistent/exim"]);
    assert!(!gateway(&doctor().out), "{}", doctor().out);
    let now = Timestamp::now().0;
    let recipients: Vec<_> = (0..5).map(|n| format!("gate{n}@rcpt.example")).collect();
    let mut calls: Vec<(u32, [&[u8]; 3])> = Vec::new();
    for (n, recipient) in (0..).zip(&recipients) {
        for retry in [0, 600] {
            let arguments: [&[u8]; 3] = [b"172.20.1.1", b"a@gate.example", recipient.as_bytes()];
            calls.push((now - 2 * HOUR * (6 - n) + retry, arguments));
        }
    }
    let calls: Vec<_> = calls.iter().map(|(time, arguments)| (*time, &arguments[..])).collect();
    place.decide(&calls);
    let said = doctor().out;
    assert!(gateway(&said) && said.contains(" 172.20.1.0/24 "), "{said}");
    let status = eximgrey(&place, &["status"]).out;
    assert!(status.contains(" of which 3 proved (1 of private networks: "), "{status}");
    assert_eq!(eximgrey(&place, &["status", "--json"]).json()[0]["known"]["proved_private"], 1);
    // One count of one thing, in the same words.
    let line = status.lines().find_map(|line| line.strip_prefix("known ")).unwrap().trim();
    assert!(said.contains(&format!("known: {line}, in a map of ")), "{said}\n{status}");
    assert_eq!(eximgrey(&place, &["forget", "172.20.1.0/24"]).code, Some(0));
    assert!(!gateway(&doctor().out), "{}", doctor().out);
}
