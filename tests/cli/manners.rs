//! How the command behaves: exit status, help, pipes, whose files it leaves.

use super::{HOUR, done, eximgrey, filled};
use crate::common::{Ended, NOBODY, Place, skipped_without_root};
use eximgrey::time::Timestamp;
use std::fs;
use std::io::Read;
use std::process::{Command, Stdio};

fn plain(arguments: &[&str]) -> super::Done {
    done(Command::new(env!("CARGO_BIN_EXE_eximgrey")).args(arguments))
}

/// Wrong usage is exit status 2, with a word on the standard error and nothing on the standard output.
#[test]
fn wrong_usage_is_exit_status_2() {
    for arguments in [
        &[][..],
        &["nonsense"],
        &["--nonsense"],
        &["status", "--nonsense"],
        &["status", "more"],
        &["list", "everything"],
        &["list", "--jsno"],
        &["explain"],
        &["explain", "192.0.2.1"],
        &["check-config", "file.toml"],
        &["doctor", "--exim"],
        &["exim", "enable", "--nonsense"],
        &["exim", "--json"],
        &["stat"],
    ] {
        let answer = plain(arguments);
        assert_eq!((answer.code, answer.out.as_str()), (Some(2), ""), "{arguments:?}");
        assert!(!answer.err.is_empty(), "{arguments:?}");
    }
}

/// A configuration that cannot be read is trouble for whoever needs it: exit status 2, and the file is named.
#[test]
fn a_bad_configuration_is_exit_status_2() {
    let place = Place::new("delay = 7");
    for arguments in [&["status"][..], &["list"], &["explain", "192.0.2.1", "a@b.example", "b@c.example"]] {
        let answer = eximgrey(&place, arguments);
        assert_eq!((answer.code, answer.out.as_str()), (Some(2), ""), "{arguments:?}");
        assert!(answer.err.contains(&format!("{}:2: delay", place.config().display())), "{}", answer.err);
    }
    place.configure("");
    fs::remove_dir(place.store()).unwrap();
    let answer = eximgrey(&place, &["status"]);
    assert_eq!(answer.code, Some(2));
    assert!(answer.err.contains(&place.store().display().to_string()), "{}", answer.err);
}

/// The help of each command names each of its flags and arguments.
#[test]
fn help_mentions_every_flag() {
    let expected: [(&str, &[&str]); 7] = [
        ("status", &["--json", "--config"]),
        (
            "list",
            &["--json", "--all", "--config", "pending", "known", "auto", "client=", "sender=", "recipient="],
        ),
        ("explain", &["--json", "--config", "<CLIENT>", "<SENDER>", "<RECIPIENT>", "OPTION=VALUE"]),
        ("check-config", &["--json", "--config"]),
        ("purge", &["--json", "--config"]),
        ("doctor", &["--json", "--config", "--exim ", "--exim-config", "--library"]),
        ("exim", &["enable", "disable", "status", "--config"]),
    ];
    let all = plain(&["--help"]);
    assert_eq!((all.code, all.err.as_str()), (Some(0), ""));
    for (command, flags) in expected {
        assert!(all.out.contains(&format!("\n  {command} ")), "{}", all.out);
        let help = plain(&[command, "--help"]);
        assert_eq!((help.code, help.err.as_str()), (Some(0), ""));
        for flag in flags {
            assert!(help.out.contains(flag), "no {flag} in\n{}", help.out);
        }
        assert_eq!(plain(&[command, "-h"]).code, Some(0));
    }
    let version = plain(&["--version"]);
    assert_eq!(version.out, concat!("eximgrey ", env!("CARGO_PKG_VERSION"), "\n"));
}

/// `eximgrey list | head -1`: a reader that goes away is no error.
#[test]
fn a_closed_pipe_is_no_error() {
    let place = Place::new("");
    let now = Timestamp::now().0;
    let recipients: Vec<String> =
        (0..1_000).map(|n| format!("a-rather-long-name-{n}@rcpt.example")).collect();
    let calls: Vec<[&[u8]; 3]> =
        recipients.iter().map(|r| [&b"192.0.2.1"[..], b"alice@sender.example", r.as_bytes()]).collect();
    place.decide(&calls.iter().map(|call| (now - HOUR, &call[..])).collect::<Vec<_>>());
    for arguments in [&["list"][..], &["list", "--json"], &["status"], &["check-config"], &["--help"]] {
        let child = Command::new(env!("CARGO_BIN_EXE_eximgrey"))
            .args(arguments)
            .args((arguments != ["--help"]).then_some(format!("--config={}", place.config().display())))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = Ended(child.unwrap());
        let mut out = child.0.stdout.take().unwrap();
        if arguments[0] == "list" {
            // More than a pipe holds: the command is still writing.
            let mut first = [0; 1];
            out.read_exact(&mut first).unwrap();
        }
        drop(out);
        assert_eq!(child.wait().code(), Some(0), "{arguments:?}");
        let mut err = String::new();
        child.0.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        assert_eq!(err, "", "{arguments:?}");
    }
}

/// A full disk under a redirection is trouble, and is said.
#[test]
fn output_that_cannot_be_written_is_trouble() {
    let place = filled();
    let child = Command::new(env!("CARGO_BIN_EXE_eximgrey"))
        .args(["list", "--config"])
        .arg(place.config())
        .stdout(fs::OpenOptions::new().write(true).open("/dev/full").unwrap())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = Ended(child.unwrap());
    assert_eq!(child.wait().code(), Some(2));
    let mut err = String::new();
    child.0.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    assert!(err.contains("cannot write"), "{err}");
}

/// Run by root, the command leaves every file to the store's owner, so that Exim can write them.
#[test]
fn as_root_the_files_stay_the_owners() {
    if skipped_without_root("acting for another user") {
        return;
    }
    let place = filled();
    for fewer in ["", "state", "known/lock.mdb"] {
        if !fewer.is_empty() {
            fs::remove_file(place.store().join(fewer)).unwrap();
        }
        for arguments in [
            &["status"][..],
            &["list"],
            &["list", "known"],
            &["explain", "192.0.2.1", "alice@sender.example", "bob@rcpt.example"],
            &["explain", "192.0.2.1", "another@sender.example", "bob@rcpt.example"],
            &["doctor"],
        ] {
            let answer = eximgrey(&place, arguments);
            assert!(answer.code == Some(0) || arguments == ["doctor"], "{arguments:?}: {}", answer.err);
            for line in place.tree() {
                assert!(line.ends_with(&format!(" {NOBODY}")), "{arguments:?}, {fewer:?} gone: {line}");
            }
        }
    }
}

/// Each command that writes to the store does so as its owner; files that the administrator named are his own.
#[test]
fn as_root_what_is_moved_in_and_out_has_the_right_owner() {
    if skipped_without_root("acting for another user") {
        return;
    }
    let place = filled();
    let named = |name: &str| place.path(name).display().to_string();
    let (backup, lines, metrics, page) = (named("backup"), named("lines"), named("m.prom"), named("r.html"));
    for arguments in [
        &["export", &lines][..],
        &["backup", &backup],
        &["forget", "192.0.2.0/24"],
        &["import", "eximgrey", &lines],
        &["restore", &backup],
        &["report", "--html", &page],
        &["metrics", "--textfile", &metrics],
        &["whitelist", "add", "host", "mx.example.org"],
        &["release", "--client", "192.0.2.9"],
        &["trap", "198.51.100.77"],
        &["purge"],
        &["status"],
    ] {
        let answer = eximgrey(&place, arguments);
        assert_eq!(answer.code, Some(0), "{arguments:?}: {}", answer.err);
        for line in place.tree() {
            assert!(line.ends_with(&format!(" {NOBODY}")), "{arguments:?}: {line}");
        }
    }
    let owner = |path: &str| std::os::unix::fs::MetadataExt::uid(&fs::metadata(path).unwrap());
    assert_eq!([&lines, &metrics, &page].map(|path| owner(path)), [0; 3]);
    assert_eq!(owner(&backup), NOBODY);
}

/// Owners that only a directory server knows have their names, as those of /etc/passwd do.
#[test]
fn owners_that_only_a_directory_server_knows_have_names() {
    let place = filled();
    let directory = place.path("directory.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/c/directory.c");
    let named = ["-shared", "-fPIC", "-DNAME=\"mail-by-ldap\"", "-DUID=1", "-DGID=1"];
    assert!(Command::new("cc").args(named).args([source, "-o"]).arg(&directory).status().unwrap().success());
    let answer = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_eximgrey"));
        done(command.args(arguments).arg("--config").arg(place.config()).env("LD_PRELOAD", &directory)).out
    };
    let status = answer(&["status"]);
    assert!(status.contains(", owner mail-by-ldap, "), "{status}");
    let doctor = answer(&["doctor", "--exim", "/nonexistent/exim"]);
    assert!(doctor.contains(" is mail-by-ldap:mail-by-ldap 0750\n"), "{doctor}");
}
