//! What the system or somebody else puts in the way: limits, modes, links, containers.

use super::faults::{TRIPLET, answer, remember};
use super::{KNOWN, NEW, RETRIED, SENDER};
use crate::common::driver::{Built, Driver};
use crate::common::{NOBODY, Place, as_store_user, skipped_without_root};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

const FULL: &str = "action=pass reason=error error=store-full";
const NOT_OPEN: &str = "action=pass reason=error error=store-open";

/// A driver started by a command in front of it.
fn start_by(built: &Built, command: &[&str]) -> Driver {
    let mut by = Command::new(command[0]);
    by.args(&command[1..]).arg(&built.program);
    built.start_by(by)
}

/// Whatever size a file may have, nobody is killed for it (SIGXFSZ). What is known is known, the rest passes or is
/// recorded, and without the limit all is as ever.
#[test]
fn a_limit_for_the_size_of_files_kills_nobody() {
    let place = Place::new("delay = \"0s\"");
    let built = Built::new(&place);
    for known in [false, true] {
        for limit in [0, 1, 4_095, 8_192, 20_480, 65_536, 100_000, 220_000, 240_000, 300_000, 1_000_000] {
            fs::remove_dir_all(place.store()).unwrap();
            fs::create_dir(place.store()).unwrap();
            crate::common::give_to_store_user(&place.store());
            if known {
                remember(&place, &built);
            }
            let limit_option = format!("--fsize={limit}");
            let mut driver = as_store_user(|| start_by(&built, &["prlimit", &limit_option]));
            let mut replies = Vec::new();
            for n in 0..300 {
                let recipient = format!("{n}@{}.example", "long".repeat(40));
                let reply = driver.greylist(&place, &[&format!("10.1.{}.1", n % 250), SENDER, &recipient]);
                assert!(reply == NEW || reply == FULL, "limit {limit}: {reply}");
                replies.push(reply);
            }
            assert!(limit > 100_000 || replies.contains(&FULL.into()), "limit {limit}");
            if known {
                assert_eq!(driver.greylist(&place, &TRIPLET), KNOWN, "limit {limit}");
            }
            driver.end();
            assert_eq!(answer(&place, &built, &TRIPLET), if known { KNOWN } else { NEW });
            assert_eq!(answer(&place, &built, &["10.8.8.8", SENDER, "late@rcpt.example"]), NEW);
        }
    }
}

/// First attempts of other boots on a disk with errors: they stay or go, and nobody aborts.
#[test]
fn an_error_where_a_directory_is_closed_ends_nobody() {
    let place = Place::new("delay = \"0s\"");
    let built = Built::new_with(&place, &["-rdynamic", "tests/c/bad_closedir.c"]);
    as_store_user(|| {
        for boot in 0..3 {
            let old = place.store().join(format!("pending-{boot}"));
            fs::create_dir(&old).unwrap();
            fs::write(old.join("data.mdb"), "torn").unwrap();
        }
    });
    assert_eq!(answer(&place, &built, &TRIPLET), NEW);
    assert_eq!(answer(&place, &built, &TRIPLET), RETRIED);
    assert!(place.tree().iter().all(|name| !name.starts_with("pending-0")), "{:?}", place.tree());
}

/// A store or a configuration that anybody may write to is nobody's to trust: mail passes, and the doctor says why.
#[test]
fn what_anybody_may_write_to_is_refused() {
    let place = Place::new("delay = \"0s\"");
    let built = Built::new(&place);
    remember(&place, &built);
    let doctor = || {
        let mut doctor = Command::new(env!("CARGO_BIN_EXE_eximgrey"));
        let output = crate::common::run(doctor.arg("--config").arg(place.config()).arg("doctor"));
        String::from_utf8(output.stdout).unwrap()
    };
    for mode in [0o777, 0o1777, 0o752] {
        fs::set_permissions(place.store(), Permissions::from_mode(mode)).unwrap();
        assert_eq!(answer(&place, &built, &TRIPLET), NOT_OPEN, "{mode:o}");
        let text = doctor();
        let line = text.lines().find(|line| line.contains("anybody may write there"));
        assert!(line.is_some_and(|line| line.starts_with("BROKEN") && line.contains("o-w")), "{text}");
    }
    fs::set_permissions(place.store(), Permissions::from_mode(0o770)).unwrap();
    assert_eq!(answer(&place, &built, &TRIPLET), KNOWN);
    fs::set_permissions(place.config(), Permissions::from_mode(0o666)).unwrap();
    assert_eq!(answer(&place, &built, &TRIPLET), "action=pass reason=error error=bad-config");
    let text = doctor();
    let line = text.lines().find(|line| line.contains("anybody may write there (mode 0666)"));
    assert!(line.is_some_and(|line| line.starts_with("BROKEN")), "{text}");
}

/// Links in the store lead nowhere: what they point to stays as it was.
#[test]
fn no_link_in_the_store_is_followed() {
    let place = Place::new("delay = \"0s\"");
    let built = Built::new(&place);
    let victim = place.path("output/victim");
    for name in ["state", "counters", "known", "known/lock.mdb", "known/data.mdb"] {
        fs::remove_dir_all(place.store()).unwrap();
        fs::create_dir(place.store()).unwrap();
        crate::common::give_to_store_user(&place.store());
        remember(&place, &built);
        as_store_user(|| {
            fs::write(&victim, "precious").unwrap();
            let link = place.store().join(name);
            let _ = fs::remove_file(&link).or_else(|_| fs::remove_dir_all(&link));
            std::os::unix::fs::symlink(&victim, &link).unwrap();
        });
        let others = ["10.8.8.8", SENDER, "late@rcpt.example"];
        let replies = [answer(&place, &built, &TRIPLET), answer(&place, &built, &others)];
        let works = matches!(name, "state" | "counters");
        assert_eq!(replies, if works { [KNOWN, NEW] } else { [NOT_OPEN; 2] }, "{name}");
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious", "{name}");
    }
}

/// Two containers, in which Exim's processes have the same numbers, and one without.
#[test]
fn containers_with_equal_process_numbers_share_a_store() {
    if skipped_without_root("a PID namespace") {
        return;
    }
    let place = Place::new("delay = \"0s\"");
    let built = Built::new(&place);
    let user = NOBODY.to_string();
    let start = || {
        let unshare = ["unshare", "--pid", "--fork", "--kill-child", "setpriv", "--clear-groups"];
        let by = [&unshare[..], &["--reuid", &user, "--regid", &user]].concat();
        start_by(&built, &by)
    };
    let mut containers = [start(), start(), built.start()];
    for n in 0..16 {
        let recipient = format!("{n}@rcpt.example");
        let triplet = [&format!("10.1.{n}.1"), SENDER, recipient.as_str()];
        for (turn, expected) in [NEW, RETRIED, KNOWN].into_iter().enumerate() {
            let of = (n + turn) % containers.len();
            assert_eq!(containers[of].greylist(&place, &triplet), expected, "{n} in {of}");
        }
    }
    // One that comes when all have it open.
    let mut late = start();
    assert_eq!(late.greylist(&place, &["10.1.1.1", SENDER, "1@rcpt.example"]), KNOWN);
    late.end();
    containers.into_iter().for_each(Driver::end);
}

/// A sector of either file that cannot be read is a SIGBUS in whoever looks at the mapped file: at most three processes
/// die of it, then the store is left alone, or goes on without it.
#[test]
fn a_sector_that_cannot_be_read_ends_three_processes_at_most() {
    let place = Place::new("delay = \"0s\"");
    let built = Built::new_with(&place, &["-rdynamic", "tests/c/bad_sector.c"]);
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let mut deadly = 0;
    for table in ["known".to_owned(), format!("pending-{}", boot.trim())] {
        for page in 0.. {
            fs::remove_dir_all(place.store()).unwrap();
            fs::create_dir(place.store()).unwrap();
            crate::common::give_to_store_user(&place.store());
            remember(&place, &built);
            let data = place.store().join(&table).join("data.mdb");
            let at = (page * 4096).to_string();
            if fs::metadata(&data).unwrap().len() <= page * 4096 {
                break;
            }
            let mut died = 0;
            for n in 0..8 {
                let mut command = Command::new(&built.program);
                command.env("BAD_FILE", &data).env("BAD_AT", &at);
                let mut driver = as_store_user(|| built.start_by(command));
                let client = format!("10.7.{n}.1");
                let others = [&client, SENDER, "late@rcpt.example"];
                let mut replies = [&TRIPLET[..], &others]
                    .map(|triplet| driver.ask_or_die(&crate::common::driver::greylist(&place, triplet)));
                died += usize::from(replies.iter_mut().any(|reply| reply.is_none()));
                for reply in replies.iter().flatten() {
                    let reply = crate::common::driver::reply(reply);
                    assert!(reply.starts_with("action="), "page {page} of {table}: {reply}");
                }
            }
            assert!(died <= 3, "page {page} of {table}: {died} died");
            deadly += died;
        }
    }
    assert!(deadly > 0, "nobody has met the sector");
}

/// A crash of the machine at any moment finds no store or a whole one: what is made is on the disk before it gets its
/// name, and its name before anything is recorded in it.
#[test]
fn a_new_store_is_on_the_disk_before_it_is_used() {
    let place = Place::new("delay = \"0s\"");
    let built = Built::new_with(&place, &["-rdynamic", "tests/c/flushes.c"]);
    let log = place.path("output/flushes");
    let mut command = Command::new(&built.program);
    command.env("FLUSHES", &log);
    let mut driver = as_store_user(|| built.start_by(command));
    assert_eq!(driver.greylist(&place, &TRIPLET), NEW);
    assert_eq!(driver.greylist(&place, &TRIPLET), RETRIED);
    driver.end();
    let log = fs::read_to_string(log).unwrap();
    let store = place.store().display().to_string();
    let place_of = |begin: String, end: String| {
        let found = log.lines().position(|line| line.starts_with(&begin) && line.trim_end().ends_with(&end));
        found.unwrap_or_else(|| panic!("no {begin}…{end} in {log}"))
    };
    let steps = [
        place_of(format!("flush {store}/known.draft-"), "/data.mdb".into()),
        log.lines()
            .position(|line| {
                line.starts_with(&format!("flush {store}/known.draft-")) && !line.contains("mdb")
            })
            .unwrap(),
        place_of(format!("rename {store}/known.draft-"), format!("{store}/known")),
        place_of(format!("flush {store} "), store.clone()),
        place_of(format!("flush {store}/known/"), "/data.mdb".into()),
    ];
    assert!(steps.is_sorted(), "{log}");
}
