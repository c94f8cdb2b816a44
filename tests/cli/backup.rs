//! `eximgrey backup` and `restore`: a copy of what is known, taken and put back while Exim goes on.

use super::common::driver::{Built, Driver};
use super::common::{Ended, NOBODY, Place, give_to_store_user, is_root, skipped_without_root};
use super::purge::{key, record, with_store, write};
use super::{Done, done, eximgrey, filled};
use eximgrey::evidence::Known;
use eximgrey::store::record::Facts;
use eximgrey::time::{Seconds, Timestamp};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

fn call(place: &Place, command: &str, dir: &str) -> Done {
    eximgrey(place, &[command, place.path(dir).to_str().unwrap()])
}

fn known(place: &Place) -> Vec<String> {
    let mut lines: Vec<_> =
        eximgrey(place, &["list", "known"]).lines().iter().map(|&l| l.to_owned()).collect();
    lines.sort();
    lines
}

/// Records that make a copy take a while.
fn fill(place: &Place, many: u64) {
    let now = Timestamp::now();
    let facts = Facts::Known(Known { first_seen: now, passed: now, last_seen: now, counted: 1 });
    with_store(place, |env, _| {
        for from in (0..many).step_by(5_000) {
            let some = from..many.min(from + 5_000);
            write(
                env,
                &some.map(|n| (key(n), record(facts, now.plus(Seconds::DAY), 99))).collect::<Vec<_>>(),
            );
        }
    });
}

/// What has been forgotten or learnt since is as it was; what there was stays beside it.
#[test]
fn what_was_known_comes_back() {
    let place = filled();
    assert_eq!(eximgrey(&place, &["whitelist", "add", "host", "here.example"]).code, Some(0));
    let before = known(&place);
    let backup = call(&place, "backup", "copy");
    assert_eq!((backup.code, backup.err.as_str()), (Some(0), ""));
    let owner = fs::metadata(place.store()).unwrap().uid();
    for (path, mode) in [("copy", 0o40_700), ("copy/known", 0o40_700), ("copy/known/data.mdb", 0o100_600)] {
        let meta = fs::metadata(place.path(path)).unwrap();
        assert_eq!((meta.mode(), meta.uid()), (mode, owner), "{path}");
    }
    let files: Vec<_> = fs::read_dir(place.path("copy/known")).unwrap().collect();
    assert_eq!(files.len(), 1, "{files:?}");

    assert_eq!(eximgrey(&place, &["forget", "192.0.2.7"]).code, Some(0));
    assert_eq!(eximgrey(&place, &["whitelist", "remove", "host", "here.example"]).code, Some(0));
    assert_ne!(known(&place), before);
    let restored = call(&place, "restore", "copy");
    assert_eq!((restored.code, restored.err.as_str()), (Some(0), ""));
    assert_eq!(known(&place), before);
    assert!(eximgrey(&place, &["whitelist", "list"]).out.contains("here.example"));
    let explain = |host: &str| {
        eximgrey(&place, &["explain", "10.0.0.1", "x@y.example", "b@rcpt.example", &format!("host={host}")])
            .out
    };
    assert!(explain("mx.here.example").contains("reason=whitelisted"), "the summary of entries is whole");
    let aside: Vec<_> = fs::read_dir(place.store())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("known.before-restore-20"))
        .collect();
    assert!(aside.len() == 1 && restored.out.contains(&aside[0]), "{aside:?} {}", restored.out);
    assert_eq!(eximgrey(&place, &["list"]).lines().len(), 5, "first attempts stay");
    let line = format!(" {NOBODY}");
    assert!(!is_root() || place.tree().iter().all(|entry| entry.ends_with(&line)), "{:?}", place.tree());

    // On another machine, where there is none yet.
    let new = Place::new("");
    let copy = place.path("copy");
    assert_eq!(eximgrey(&new, &["restore", copy.to_str().unwrap()]).code, Some(0));
    assert_eq!(known(&new), before);

    // The copy is a store's directory itself.
    let by_hand = Place::new("");
    let dir = by_hand.store().join("known");
    fs::create_dir(&dir).unwrap();
    fs::copy(copy.join("known/data.mdb"), dir.join("data.mdb")).unwrap();
    give_to_store_user(&dir);
    give_to_store_user(&dir.join("data.mdb"));
    assert_eq!(known(&by_hand), before);
    let call = ["explain", "10.0.0.1", "x@y.example", "b@rcpt.example", "host=mx.here.example"];
    assert!(eximgrey(&by_hand, &call).out.contains("reason=whitelisted"));
}

#[test]
fn nothing_is_written_over_and_nothing_half_restored() {
    let place = filled();
    let before = known(&place);
    assert_eq!(call(&place, "backup", "copy").code, Some(0));
    let again = call(&place, "backup", "copy");
    assert_eq!(again.code, Some(2));
    assert!(again.err.contains("exists: a backup is made in a new directory"), "{}", again.err);
    assert_eq!(call(&place, "backup", "no/where").code, Some(2));
    let missing = call(&place, "restore", "missing");
    assert_eq!(missing.code, Some(2));
    assert!(missing.err.contains("holds no whole backup"), "{}", missing.err);

    let data = place.path("copy/known/data.mdb");
    let bytes = fs::read(&data).unwrap();
    for damaged in [vec![], vec![7; 9_000], bytes[..bytes.len() / 4].to_vec()] {
        fs::write(&data, &damaged).unwrap();
        let done = call(&place, "restore", "copy");
        assert_eq!(done.code, Some(2), "{} {}", done.out, done.err);
        assert!(done.err.contains("is damaged"), "{}", done.err);
    }
    assert_eq!(known(&place), before);
    let empty = Place::new("");
    assert_eq!(call(&empty, "backup", "copy").code, Some(2));
    assert!(!empty.path("copy").exists());
}

/// Live sessions decide while copies are made and put back: none fails, and who was known before stays so.
#[test]
fn exim_goes_on_meanwhile() {
    let place = Place::new("delay = \"0s\"");
    let built = Built::new(&place);
    let mut first = built.start();
    let alice = ["192.0.2.1", "alice@sender.example", "bob@rcpt.example"];
    first.greylist(&place, &alice);
    assert!(first.greylist(&place, &alice).contains("reason=retried"));
    first.end();
    fill(&place, 30_000);
    let over = AtomicBool::new(false);
    let mut drivers: Vec<_> = (0..3).map(|_| built.start()).collect();
    let rounds: Vec<u32> = std::thread::scope(|scope| {
        let (over, place, built) = (&over, &place, &built);
        let decide = |(session, driver): (usize, &mut Driver)| {
            let mut rounds = 0;
            while !over.load(Ordering::Relaxed) {
                let recipient = format!("{session}.{rounds}@rcpt.example");
                let client = format!("10.{session}.{}.1", rounds % 250);
                let reply = driver.greylist(place, &[client.as_str(), "carol@sender.example", &recipient]);
                assert!(!reply.contains("error="), "{reply}");
                assert!(driver.greylist(place, &alice).contains("reason=known"));
                rounds += 1;
            }
            rounds
        };
        let deciders: Vec<_> =
            drivers.iter_mut().enumerate().map(|driver| scope.spawn(move || decide(driver))).collect();
        for n in 0..3 {
            let copy = format!("copy{n}");
            let backup = call(place, "backup", &copy);
            assert_eq!((backup.code, backup.err.as_str()), (Some(0), ""));
            let restore = call(place, "restore", &copy);
            assert_eq!((restore.code, restore.err.as_str()), (Some(0), ""));
            let mut new = built.start();
            assert!(new.greylist(place, &alice).contains("reason=known"));
            new.end();
        }
        over.store(true, Ordering::Relaxed);
        deciders.into_iter().map(|decider| decider.join().unwrap()).collect()
    });
    assert!(rounds.iter().all(|&rounds| rounds > 20), "{rounds:?}");
    drivers.into_iter().for_each(Driver::end);
    let restored = known(&place);
    assert!(restored.len() >= 30_001, "{}", restored.len());
}

/// Killed at any moment: a backup is there wholly or not at all, and the store is the old one or the new one.
#[test]
fn a_kill_leaves_nothing_half_done() {
    let place = filled();
    fill(&place, 20_000);
    let many = known(&place).len();
    assert_eq!(call(&place, "backup", "whole").code, Some(0));
    let mut killed = 0;
    for n in 0..12_u32 {
        let name = format!("copy{n}");
        for (command, dir) in [("backup", name.as_str()), ("restore", "whole")] {
            let mut process = Command::new(env!("CARGO_BIN_EXE_eximgrey"));
            process.args([command, place.path(dir).to_str().unwrap(), "--config"]).arg(place.config());
            let mut process = Ended(process.stdout(Stdio::null()).spawn().unwrap());
            // From the first milliseconds on.
            std::thread::sleep(Duration::from_millis(u64::from(4 + 13 * n)));
            process.signal(libc::SIGKILL);
            killed += u32::from(!process.wait().success());
        }
        if place.path(&name).join("known").exists() {
            let new = Place::new("");
            assert_eq!(eximgrey(&new, &["restore", place.path(&name).to_str().unwrap()]).code, Some(0));
            assert_eq!(known(&new).len(), many);
        } else {
            assert_eq!(call(&place, "restore", &name).code, Some(2));
        }
        assert_eq!(known(&place).len(), many);
    }
    assert!(killed > 4, "{killed}");
    // What was half made goes with the next one.
    assert_eq!(call(&place, "restore", "whole").code, Some(0));
    assert!(!place.tree().iter().any(|line| line.contains(".draft-")), "{:?}", place.tree());
}

/// A disk that is full ends both with a clear word, and leaves nothing but what was there.
#[test]
fn a_full_disk_is_said() {
    if skipped_without_root("a small file system") {
        return;
    }
    let place = filled();
    fill(&place, 20_000);
    let full = place.path("full");
    fs::create_dir(&full).unwrap();
    let script = "mount -t tmpfs -o size=1m tmpfs \"$0\" && \"$1\" --config \"$2\" backup \"$0/copy\"; code=$?; ls -A \"$0\"; exit $code";
    let mut command = Command::new("unshare");
    command
        .args(["-m", "sh", "-c", script])
        .arg(&full)
        .arg(env!("CARGO_BIN_EXE_eximgrey"))
        .arg(place.config());
    let backup = done(&mut command);
    assert_eq!(backup.code, Some(2), "{} {}", backup.out, backup.err);
    assert!(backup.err.contains("no room to write"), "{}", backup.err);
    // The directory above is root's: the copy's own stays, empty.
    assert!(matches!(backup.out.as_str(), "" | "copy\n"), "{}", backup.out);

    assert_eq!(call(&place, "backup", "copy").code, Some(0));
    let small = Place::new("");
    let script = "mount -t tmpfs -o size=1m,mode=750,uid=65534,gid=65534 tmpfs \"$0\" && \
                  \"$1\" --config \"$2\" restore \"$3\"; code=$?; ls -A \"$0\"; exit $code";
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", script]).arg(small.store()).arg(env!("CARGO_BIN_EXE_eximgrey"));
    let restore = done(command.arg(small.config()).arg(place.path("copy")));
    assert_eq!((restore.code, restore.out.as_str()), (Some(2), ""));
    assert!(restore.err.contains("no room to write"), "{}", restore.err);
}
