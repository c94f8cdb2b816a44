//! `eximgrey doctor --repair`: what can be read of a damaged store is kept, greylisting works again, and nothing is removed.

use super::common::damage::{damage, root};
use super::common::driver::Built;
use super::common::{Place, as_store_user, is_root};
use super::{Done, eximgrey};
use eximgrey::store::Table;
use eximgrey::store::salvage::DataFile;
use eximgrey::time::Timestamp;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

const NEW: &str = "action=defer reason=new wait=0";
const META: &[u8] = b"\0\0meta";

/// A store of one whitelist entry, so many known triplets, and a fifth as many first attempts.
fn stocked(triplets: u32) -> Place {
    let place = Place::new("delay = \"0s\"\ntrust_known_domains = false\nauto_after = 0");
    let now = Timestamp::now().0;
    let texts: Vec<[String; 3]> = (0..triplets).map(triplet).collect();
    let bytes: Vec<[&[u8]; 3]> =
        texts.iter().map(|t| [t[0].as_bytes(), t[1].as_bytes(), t[2].as_bytes()]).collect();
    let twice = bytes.iter().flat_map(|t| [(now - 7_200, &t[..]), (now - 3_600, &t[..])]);
    let calls: Vec<(u32, &[&[u8]])> =
        twice.filter(|(time, t)| *time < now - 5_000 || t[0] != b"192.0.2.9").collect();
    place.decide(&calls);
    assert_eq!(eximgrey(&place, &["whitelist", "add", "sender", "friend.example"]).code, Some(0));
    place
}

/// Every fifth comes from a network that does not try again.
fn triplet(number: u32) -> [String; 3] {
    let client =
        if number % 5 == 4 { "192.0.2.9".into() } else { format!("10.{}.{}.1", number / 250, number % 250) };
    [client, format!("user{number}@s{number}.example"), format!("r{number}@rcpt.example")]
}

fn repair(place: &Place) -> Done {
    eximgrey(place, &["doctor", "--repair"])
}

fn known(place: &Place) -> PathBuf {
    place.store().join("known/data.mdb")
}

/// What stands in the store beside the names that belong there.
fn beside(place: &Place) -> Vec<PathBuf> {
    let own = |name: &str| matches!(name, "known" | "state") || name.starts_with("pending-");
    let entries = fs::read_dir(place.store()).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> =
        entries.filter(|path| !own(path.file_name().unwrap().to_str().unwrap())).collect();
    paths.sort();
    paths
}

/// The keys of `known`, as LMDB reads them.
fn keys(place: &Place) -> BTreeSet<Vec<u8>> {
    as_store_user(|| {
        let store = place.open();
        let mut keys = BTreeSet::new();
        let scanned = store.scan(Table::Known, |key, _| keys.insert(key.0.to_vec()));
        // A flipped bit in a record's text or kind is no fault of the structure.
        assert!(scanned.unwrap().unreadable <= 8);
        keys
    })
}

fn secret(place: &Place) -> [u8; 16] {
    as_store_user(|| place.open().secret().0)
}

/// The keys of records that [`DataFile`] reads in the damaged file, from the tree or elsewhere.
fn readable(path: &Path) -> BTreeSet<Vec<u8>> {
    let data = DataFile::open(path).unwrap();
    let mut keys = BTreeSet::new();
    let mut take = |key: &[u8], value: &[u8]| {
        if eximgrey::store::record::Record::decode(value)
            .is_some_and(|record| record.expires >= Timestamp::now())
        {
            keys.insert(key.to_vec());
        }
    };
    let walk = data.walk(&mut take);
    data.sweep(&walk.lost, &mut take);
    keys
}

/// A sound store is left as it is; the exit status is 0.
#[test]
fn a_sound_store_is_not_repaired() {
    let place = stocked(50);
    let before = (place.tree(), fs::read(known(&place)).unwrap());
    let answer = repair(&place);
    assert_eq!((answer.code, answer.out.as_str(), answer.err.as_str()), (Some(0), "nothing to repair\n", ""));
    assert_eq!((place.tree(), fs::read(known(&place)).unwrap()), before);
    let empty = repair(&Place::new(""));
    assert_eq!((empty.code, empty.out.as_str()), (Some(0), "nothing to repair\n"));
}

/// The doctor names the damage, repairs it when told to, keeps what can be read under the same secret, and puts the damaged
/// files aside. The new ones have the owner and the modes that Exim needs.
#[test]
fn a_damaged_store_is_repaired() {
    let place = stocked(400);
    let (before, secret_before, tree) = (keys(&place), secret(&place), place.tree());
    let mut bytes = fs::read(known(&place)).unwrap();
    let page = root(&bytes) * 4_096;
    // The two bytes that were seen to end every connection: where free space begins.
    bytes[page + 12..page + 14].fill(0xff);
    fs::write(known(&place), &bytes).unwrap();

    let doctor = eximgrey(&place, &["doctor", "--exim", "/nonexistent/exim"]);
    assert_eq!(doctor.code, Some(1));
    let told =
        doctor.lines().into_iter().find(|line| line.starts_with("BROKEN   records")).unwrap().to_owned();
    assert!(told.contains("/known is damaged: ") && told.contains("eximgrey doctor --repair"), "{told}");

    let answer = repair(&place);
    assert_eq!((answer.code, answer.err.as_str()), (Some(0), ""), "{}", answer.out);
    let after = keys(&place);
    assert_eq!(secret(&place), secret_before);
    assert!(
        after.is_subset(&before) && after.len() + 5 >= before.len(),
        "{} of {}",
        after.len(),
        before.len()
    );
    let aside = beside(&place);
    let [aside] = &aside[..] else { panic!("{aside:?}") };
    assert!(answer.out.contains(&format!("aside      {}\n", aside.display())), "{}", answer.out);
    assert!(aside.file_name().unwrap().to_str().unwrap().starts_with("known.damaged-20"));
    assert_eq!(fs::read(aside.join("data.mdb")).unwrap(), bytes);
    assert_eq!(fs::metadata(aside.join("data.mdb")).unwrap().mode() & 0o777, 0o640);
    let own: Vec<String> =
        place.tree().into_iter().filter(|line| !line.starts_with("known.damaged-")).collect();
    assert_eq!(own, tree);
    let list = eximgrey(&place, &["whitelist", "list"]);
    assert!(list.out.contains("friend.example"), "{}", list.out);
    assert_eq!(repair(&place).out, "nothing to repair\n");
}

/// Without its secret no key means anything: those that hold their texts get new ones, and the repair says it plainly.
#[test]
fn a_lost_secret_costs_only_what_has_no_texts() {
    let place = stocked(60);
    let before = (keys(&place).len(), secret(&place));
    let mut bytes = fs::read(known(&place)).unwrap();
    let copies: Vec<usize> =
        (0..bytes.len() - META.len()).filter(|&at| bytes[at..].starts_with(META)).collect();
    assert!(!copies.is_empty());
    for at in copies {
        // A version, a kind, then the secret.
        bytes[at + META.len() + 2..][..16].fill(0x5a);
    }
    fs::write(known(&place), &bytes).unwrap();
    // Its structure is sound, so something else has to be wrong.
    let page = root(&bytes) * 4_096;
    bytes[page + 8] = 1;
    bytes[4_096 + 16] ^= 1;
    fs::write(known(&place), &bytes).unwrap();
    let answer = repair(&place);
    assert_eq!(answer.code, Some(0), "{}{}", answer.out, answer.err);
    assert!(answer.out.contains("secret     LOST"), "{}", answer.out);
    assert_ne!(secret(&place), before.1);
    assert_eq!(keys(&place).len(), before.0);
    let built = Built::new(&place);
    let mut driver = built.start();
    let text = triplet(0);
    let text: Vec<&str> = text.iter().map(String::as_str).collect();
    assert_eq!(driver.greylist(&place, &text), "action=pass reason=known by=network");
    let friend = ["198.51.100.7", "x@friend.example", "r@rcpt.example", "spf=friend.example"];
    assert!(driver.greylist(&place, &friend).contains("reason=whitelisted"));
    driver.end();
}

/// While a store is made anew, each connection finds the old one or the new one, and in both what was known.
#[test]
fn nobody_misses_the_store_during_a_repair() {
    let place = stocked(100);
    let before = secret(&place);
    let built = Built::new(&place);
    let text = triplet(0);
    let text: Vec<&str> = text.iter().map(String::as_str).collect();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| {
            let mut asked = 0;
            while asked < 10 || (asked < 1_000 && !done.load(Ordering::Relaxed)) {
                let mut driver = built.start();
                assert_eq!(driver.greylist(&place, &text), "action=pass reason=known by=network");
                driver.end();
                asked += 1;
            }
        });
        for _ in 0..5 {
            // A number that LMDB only reports: how many records there are (mdb.c, md_entries of both head pages).
            let file = fs::OpenOptions::new().write(true).open(known(&place)).unwrap();
            for head in [0, 4_096] {
                file.write_all_at(&7_u64.to_le_bytes(), head + 120).unwrap();
            }
            let answer = repair(&place);
            assert!(answer.code == Some(0) && answer.out.contains("/known: 161 records\n"), "{}", answer.out);
        }
        done.store(true, Ordering::Relaxed);
        asked.join().unwrap();
    });
    assert_eq!((secret(&place), beside(&place).len()), (before, 5));
}

/// What cannot be repaired is said, and nothing is touched: exit status 1. A store that is missing is trouble: 2.
#[test]
fn what_cannot_be_repaired_is_said() {
    if is_root() {
        let place = stocked(10);
        fs::write(known(&place), vec![0xa5; 40_000]).unwrap();
        std::os::unix::fs::chown(known(&place), Some(0), Some(0)).unwrap();
        let before = place.tree();
        let answer = repair(&place);
        assert_eq!(answer.code, Some(1), "{}", answer.out);
        assert!(answer.err.contains("cannot open "), "{}", answer.err);
        assert_eq!(place.tree(), before);
    }
    let place = Place::new("");
    fs::remove_dir(place.store()).unwrap();
    assert_eq!(repair(&place).code, Some(2));
}

/// Stores damaged at random: the repair never fails, keeps whatever can be read, and greylisting works afterwards.
#[test]
fn randomly_damaged_stores_are_repaired() {
    let count = std::env::var("EXIMGREY_DAMAGES").ok().and_then(|n| n.parse().ok()).unwrap_or(120);
    let place = stocked(400);
    let built = Built::new(&place);
    let (whole, all) = (fs::read(known(&place)).unwrap(), keys(&place));
    let pending = eximgrey::store::repair::environments(&place.store()).pop().unwrap().join("data.mdb");
    let whole_pending = fs::read(&pending).unwrap();
    for seed in 0..count {
        let mut bytes = whole.clone();
        let mut how = damage(&mut bytes, seed);
        fs::write(known(&place), &bytes).unwrap();
        let mut waiting = whole_pending.clone();
        if seed % 3 == 0 {
            how += &damage(&mut waiting, seed + 1_000_000);
        }
        fs::write(&pending, &waiting).unwrap();
        let has_data = !bytes.is_empty();
        let expected = if has_data { readable(&known(&place)) } else { BTreeSet::new() };

        let answer = repair(&place);
        assert_eq!(answer.code, Some(0), "{seed}: {how}: {}{}", answer.out, answer.err);
        let mut driver = built.start();
        for (expected, text) in [NEW, "reason=retried", "reason=known"]
            .into_iter()
            .zip([["203.0.113.1", "n@new.example", "r@rcpt.example"]; 3])
        {
            let reply = driver.greylist(&place, &text);
            assert!(reply.contains(expected), "{seed}: {how}: {reply}; {}", answer.out);
        }
        driver.end();
        let kept = keys(&place);
        if !answer.out.contains("LOST") {
            let missing = expected.iter().filter(|key| !kept.contains(*key)).count();
            // A flipped bit in its expiry lets the library tidy a record away.
            assert!(missing <= 1, "{seed}: {how}: {missing} missing: {}", answer.out);
            if bytes.len() == whole.len() {
                let there = all.iter().filter(|key| kept.contains(*key)).count();
                assert!(
                    there + 8 * 60 > all.len() && there * 2 > all.len(),
                    "{seed}: {how}: {there} of {}; {}",
                    all.len(),
                    answer.out
                );
            }
        }
        for path in beside(&place) {
            if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
        }
    }
    println!("campaign: {count} damaged stores were repaired, and mail was greylisted again");
}
