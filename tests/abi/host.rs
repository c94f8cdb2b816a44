//! What the library does to the process that it lives in: nothing that shows.

use super::{Built, CLIENT, Driver, Place, RECIPIENT, SENDER, fixture};
use crate::common::{NOBODY, skipped_without_root, within_deadline};
use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

const NEW: &str = "action=defer reason=new wait=300";
const EARLY: &str = "action=defer reason=early";

/// The open descriptors of a driver, but for its pipes to the test: number, target and flags.
pub fn descriptors(driver: &Driver) -> BTreeMap<u32, (String, u32)> {
    let process = format!("/proc/{}", driver.process.pid());
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(format!("{process}/fd")).expect("the driver's descriptors") {
        let number: u32 = entry.unwrap().file_name().to_str().unwrap().parse().unwrap();
        let target = fs::read_link(format!("{process}/fd/{number}")).unwrap();
        let info = fs::read_to_string(format!("{process}/fdinfo/{number}")).unwrap();
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
        let flags = u32::from_str_radix(flags.unwrap().trim(), 8).unwrap();
        found.insert(number, (target.to_string_lossy().into_owned(), flags));
    }
    found
}

/// What a process has besides its memory: directory, signals, user, threads.
fn state(driver: &Driver) -> Vec<String> {
    let process = format!("/proc/{}", driver.process.pid());
    let status = fs::read_to_string(format!("{process}/status")).unwrap();
    let kept = ["Umask", "Uid", "Gid", "Sig", "Shd", "Threads", "NoNewPrivs"];
    let mut state: Vec<String> = status
        .lines()
        .filter(|line| kept.iter().any(|key| line.starts_with(key)))
        .map(str::to_owned)
        .collect();
    let tasks = fs::read_dir(format!("{process}/task")).unwrap().count();
    let directory = fs::read_link(format!("{process}/cwd")).unwrap();
    let limits = fs::read_to_string(format!("{process}/limits")).unwrap();
    state.push(format!("{tasks} tasks in {}", directory.display()));
    state.push(limits);
    state
}

/// A call changes nothing in Exim's process: no signal, no umask, no directory, no variable, no thread.
#[test]
fn the_process_is_left_as_it_was() {
    let (place, mut driver) = fixture("");
    let (before, variables) = (state(&driver), driver.ask("environ"));
    assert!(before.iter().any(|line| line.starts_with("SigCgt")));
    driver.greylist(&place, &[CLIENT, SENDER, RECIPIENT]);
    driver.greylist(&place, &["nowhere", SENDER, RECIPIENT]);
    driver.greylist(&place, &[CLIENT, SENDER, RECIPIENT, "mode=wrong"]);
    driver.ask("raw greylist 16 wild");
    assert_eq!(state(&driver), before);
    assert_eq!(driver.ask("environ"), variables);
    driver.end();
}

/// A relative path to nowhere: the library works wherever Exim stands.
#[test]
fn a_change_of_directory_does_not_matter() {
    let (place, mut driver) = fixture("");
    assert_eq!(driver.greylist(&place, &[CLIENT, SENDER, RECIPIENT]), NEW);
    assert_eq!(driver.ask("chdir /"), "0");
    let early = driver.greylist(&place, &[CLIENT, SENDER, RECIPIENT]);
    assert!(early.starts_with(EARLY), "{early}");
    driver.end();
}

/// With Exim's umask of 0 the files are for their owner and group alone.
#[test]
fn files_have_their_modes_whatever_the_umask() {
    let (place, mut driver) = fixture("");
    assert!(!driver.ask("umask 0").is_empty());
    assert_eq!(driver.greylist(&place, &[CLIENT, SENDER, RECIPIENT]), NEW);
    let tree = place.tree();
    for name in ["known", "known/data.mdb", "known/lock.mdb", "state", "pending-"] {
        assert!(tree.iter().any(|line| line.starts_with(name)), "no {name} in {tree:?}");
    }
    for line in &tree {
        let [name, mode, _] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let directory = place.store().join(name).is_dir();
        assert_eq!(mode, if directory { "750" } else { "640" }, "{name}");
    }
    assert_eq!(driver.ask("umask 22"), "0", "the umask was changed");
    driver.end();
}

/// Where Exim has closed its standard descriptors, no file of the store takes their numbers: what anybody prints to the
/// standard error must not land in the database.
#[test]
fn no_file_of_the_store_takes_a_standard_descriptor() {
    for closed in [&[0, 1, 2][..], &[0], &[2], &[1, 2]] {
        let (place, mut driver) = fixture("delay = \"0s\"");
        for number in closed {
            assert_eq!(driver.ask(&format!("close {number}")), "0");
        }
        let before = descriptors(&driver);
        driver.greylist(&place, &[CLIENT, SENDER, RECIPIENT]);
        let retried = driver.greylist(&place, &[CLIENT, SENDER, RECIPIENT]);
        assert_eq!(retried, "action=pass reason=retried delay=N by=network");
        let after = descriptors(&driver);
        for number in closed {
            assert_eq!(after.get(number), None, "descriptor {number} was taken");
        }
        for (number, target) in &before {
            assert_eq!(after.get(number), Some(target), "descriptor {number} has changed");
        }
        driver.end();
    }
}

/// No program that Exim starts, a user's pipe command for one, inherits the database.
#[test]
fn every_descriptor_of_the_library_is_closed_on_exec() {
    const CLOSE_ON_EXEC: u32 = 0o2_000_000;
    let (place, mut driver) = fixture("delay = \"0s\"");
    let before = descriptors(&driver);
    for _ in 0..3 {
        driver.greylist(&place, &[CLIENT, SENDER, RECIPIENT]);
    }
    let after = descriptors(&driver);
    let ours: Vec<_> = after.iter().filter(|(number, _)| !before.contains_key(number)).collect();
    assert!(ours.iter().any(|(_, (target, _))| target.ends_with("known/data.mdb")), "{ours:?}");
    for (number, (target, flags)) in ours {
        assert!(flags & CLOSE_ON_EXEC != 0, "{number} -> {target} is open in every program");
    }
    driver.end();
}

/// A thousand calls keep no more descriptors open than the first.
#[test]
fn calls_do_not_pile_up_descriptors() {
    let (place, mut driver) = fixture("delay = \"0s\"");
    for _ in 0..2 {
        driver.greylist(&place, &[CLIENT, SENDER, RECIPIENT]);
    }
    let first = descriptors(&driver);
    let config = super::hexadecimal(place.config_option().as_bytes());
    assert_eq!(driver.ask(&format!("loop 1 1000 500 {config}")), "done");
    driver.greylist(&place, &["nowhere", SENDER, RECIPIENT]);
    assert_eq!(descriptors(&driver), first);
    driver.end();
}

/// In a process that may open no more files mail passes, nothing is printed, and once it may, greylisting works.
#[test]
fn without_free_descriptors_mail_passes() {
    let (place, mut driver) = fixture("");
    let mut answers = Vec::new();
    for more in 0..8 {
        // Each number allows one open more: the first to fail is another one each time.
        let mut other = Built::of(&place).start();
        let open = descriptors(&other);
        let first_free = (0..).find(|number| !open.contains_key(number)).unwrap();
        other.ask(&format!("descriptors {}", first_free + more));
        answers.push(other.greylist(&place, &[CLIENT, SENDER, RECIPIENT]));
        other.end();
    }
    for answer in &answers {
        super::assert_ours(answer);
    }
    assert!(answers[0].starts_with("action=pass reason=error error="), "{answers:?}");
    let last = driver.greylist(&place, &[CLIENT, SENDER, RECIPIENT]);
    assert!(last == NEW || last.starts_with(EARLY), "{last}");
    driver.end();
}

/// A fault is a word in the reply and never a line on the standard error, which may be the client's connection.
#[test]
fn faults_are_silent() {
    let (place, mut driver) = fixture("");
    fs::write(place.config(), "store = 7\nnonsense").unwrap();
    let bad = driver.greylist(&place, &[CLIENT, SENDER, RECIPIENT]);
    assert_eq!(bad, "action=pass reason=error error=bad-config");
    place.configure("");
    assert_eq!(driver.greylist(&place, &[CLIENT, SENDER, RECIPIENT]), NEW);
    let mut other = Built::of(&place).start();
    fs::write(place.store().join("known/data.mdb"), vec![b'x'; 1 << 16]).unwrap();
    let damaged = other.greylist(&place, &[CLIENT, SENDER, RECIPIENT]);
    assert_eq!(damaged, "action=pass reason=error error=store-damaged");
    other.end();
    driver.end();
}

/// The library and its calls are clean under valgrind: no read behind an argument, no use of what was freed.
#[test]
fn valgrind_finds_nothing() {
    let there = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join("valgrind").exists()));
    if !there {
        println!("SKIPPED: needs valgrind");
        return;
    }
    let place = Place::new("delay = \"0s\"");
    let built = Built::new(&place);
    let log = place.path("output/valgrind");
    let mut driver = crate::common::as_store_user(|| {
        let mut valgrind = Command::new("valgrind");
        valgrind
            .args(["-q", "--error-exitcode=99"])
            .arg(format!("--log-file={}", log.display()))
            .arg(&built.program);
        built.start_by(valgrind)
    });
    let config = place.config_option();
    let every_byte: Vec<u8> = (1..=255).collect();
    for text in [SENDER.as_bytes(), b"", &every_byte, &[b'a'; 5000]] {
        for function in super::FUNCTIONS {
            for _ in 0..3 {
                driver.call(function, &[CLIENT.as_bytes(), text, text, config.as_bytes(), b"spf=a.example"]);
            }
            driver.ask(&format!("raw {function} 16 wild"));
            driver.ask(&format!("raw {function} 7 nulls"));
        }
    }
    let option = super::hexadecimal(config.as_bytes());
    assert_eq!(driver.ask(&format!("loop 1 100 50 {option}")), "done");
    let arguments = super::words(&["10.0.0.1", SENDER, RECIPIENT, &config].map(str::as_bytes));
    for _ in 0..2 {
        driver.ask(&format!("call greylist {arguments}"));
    }
    let line = driver.ask(&format!("fork last 2 greylist {arguments}"));
    assert!(line.ends_with(" 0"), "{line}: {}", fs::read_to_string(&log).unwrap_or_default());
    driver.end();
    let found = within_deadline("valgrind's log", || fs::read_to_string(&log).ok());
    assert_eq!(found, "", "valgrind");
}

/// `exim -be` as root stays root: it must not leave files that Exim's own user cannot open.
#[test]
fn root_makes_nothing_in_the_store_of_another_user() {
    if skipped_without_root("acting as root") {
        return;
    }
    let place = Place::new("");
    let built = Built::new(&place);
    let mut driver = built.start_by(Command::new(&built.program));
    let reply = driver.greylist(&place, &[CLIENT, SENDER, RECIPIENT]);
    assert_eq!(reply, "action=pass reason=error error=store-open");
    assert_eq!(place.tree(), Vec::<String>::new());
    driver.end();
    // And where the first attempts of this boot have no place yet.
    let mut exim = built.start();
    assert_eq!(exim.greylist(&place, &[CLIENT, SENDER, RECIPIENT]), NEW);
    exim.end();
    for line in place.tree() {
        assert!(line.ends_with(&format!(" {NOBODY}")), "{line}");
    }
}
