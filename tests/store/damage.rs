//! Damaged files. LMDB has no checksums, so some damage crashes whoever reads it: a few processes at most, then mail passes.
//! `make torture-damage` does the same to a thousand stores.

use crate::common::damage::{damage, root};
use crate::common::driver::{Built, greylist, reply};
use crate::common::{Place, as_store_user, run};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// What became of the calls to a damaged store.
#[derive(Debug, Default)]
struct Toll {
    crashed: u32,
    answers: BTreeMap<String, u32>,
}

/// Calls of one process each: known mail, first attempts, retries.
fn use_store(place: &Place, built: &Built, begin: u64, calls: u64) -> Toll {
    let mut toll = Toll::default();
    for number in begin..begin + calls {
        let who = number * 7 % KNOWN_MAIL;
        let recipient = match number % 4 {
            0 | 1 => format!("{who}@rcpt.example"),
            2 => format!("waits-{who}@rcpt.example"),
            _ => format!("new-{number}@rcpt.example"),
        };
        let mut driver = built.start();
        let client = format!("10.0.{who}.1");
        match driver.ask_or_die(&greylist(place, &[&client, "alice@sender.example", &recipient])) {
            Some(line) => {
                let reply = reply(&line);
                let words = reply.split(' ').filter(|w| !w.starts_with("delay=") && !w.starts_with("wait="));
                *toll.answers.entry(words.collect::<Vec<_>>().join(" ")).or_default() += 1;
                driver.end();
            }
            None => toll.crashed += 1,
        }
    }
    toll
}

/// Known triplets in the store that is damaged: several pages of them.
const KNOWN_MAIL: u64 = 120;

fn files(place: &Place) -> Vec<(PathBuf, Vec<u8>)> {
    let names = place.tree().into_iter().map(|line| place.store().join(line.split(' ').next().unwrap()));
    names.filter(|path| path.is_file()).map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

/// What a repair has put aside.
fn beside(place: &Place) -> Vec<PathBuf> {
    let entries = fs::read_dir(place.store()).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.to_str().unwrap().contains(".damaged-")).collect()
}

/// Of whatever is damaged at most three processes die, none hangs; then mail passes, until it is repaired.
#[test]
fn a_damaged_store_crashes_three_processes_at_most() {
    let stores = std::env::var("EXIMGREY_DAMAGED_STORES").map_or(60, |n| n.parse().unwrap());
    let place = Place::new("delay = \"0s\"");
    let built = Built::new(&place);
    let mut driver = built.start();
    for who in 0..KNOWN_MAIL {
        let client = format!("10.0.{who}.1");
        for _ in 0..2 {
            driver.greylist(&place, &[&client, "alice@sender.example", &format!("{who}@rcpt.example")]);
        }
        driver.greylist(&place, &[&client, "alice@sender.example", &format!("waits-{who}@rcpt.example")]);
    }
    driver.end();
    let sound = files(&place);
    let (mut with_crashes, mut crashes, mut noticed) = (0, 0, 0);
    for seed in 0..stores {
        let mut kinds = Vec::new();
        as_store_user(|| {
            let mut environment = 0;
            let is_data = |(path, _): &&(PathBuf, Vec<u8>)| path.ends_with("data.mdb");
            let mut swapped = sound.iter().filter(is_data).rev();
            for (path, bytes) in &sound {
                let mut bytes = bytes.clone();
                // What is mapped for writing, too, and a file in the other's place.
                if seed % 5 == 4 && !path.ends_with("data.mdb") {
                    kinds.push(damage(&mut bytes, seed));
                }
                if seed % 16 == 15 && path.ends_with("data.mdb") {
                    bytes = swapped.next().map(|(_, bytes)| bytes.clone()).unwrap();
                    kinds.push("swapped".into());
                }
                if path.ends_with("known/data.mdb") && seed % 10 == 9 {
                    // The control: a root that leads nowhere fails an assertion of LMDB in whoever reads it.
                    let page = root(&bytes) * 4096;
                    bytes[page + 12..page + 14].copy_from_slice(&[16, 0]);
                } else if path.ends_with("data.mdb") {
                    environment += 1;
                    // One of the two, or both; once or more.
                    let times = if seed % 3 == environment { 0 } else { 1 + seed % 4 };
                    for n in 0..times {
                        // A short rest of a file cannot be damaged much.
                        if bytes.len() > 1 << 15 {
                            kinds.push(damage(&mut bytes, seed * 100 + n * 10 + environment));
                        }
                    }
                }
                fs::write(path, bytes).unwrap();
            }
        });
        let toll = use_store(&place, &built, seed, 24);
        assert!(toll.crashed <= 3, "seed {seed}, {kinds:?}: {toll:?}");
        if toll.crashed == 3 {
            // Left alone now.
            let later = use_store(&place, &built, 100, 2);
            assert_eq!(
                later.answers.keys().collect::<Vec<_>>(),
                ["action=pass reason=error error=store-damaged"]
            );
        }
        if toll.crashed > 0 {
            let mut repair = Command::new(env!("CARGO_BIN_EXE_eximgrey"));
            let repaired = run(repair.arg("--config").arg(place.config()).args(["doctor", "--repair"]));
            let said = String::from_utf8_lossy(&repaired.stdout);
            assert!(
                repaired.status.success(),
                "seed {seed}: {said}{}",
                String::from_utf8_lossy(&repaired.stderr)
            );
            let mended = use_store(&place, &built, 200, 8);
            assert!(
                mended.crashed == 0 && !mended.answers.keys().any(|a| a.contains("error=")),
                "{seed}: {mended:?}"
            );
            assert!(
                mended.answers.keys().any(|answer| answer.starts_with("action=defer reason=new")),
                "{mended:?}"
            );
            for path in beside(&place) {
                fs::remove_dir_all(path).unwrap();
            }
        }
        with_crashes += u32::from(toll.crashed > 0);
        crashes += toll.crashed;
        noticed += u32::from(toll.answers.keys().any(|answer| answer.contains("store-damaged")));
    }
    println!(
        "campaign: {stores} damaged stores: {crashes} processes crashed, in {with_crashes} of them; noticed in {noticed}"
    );
    assert!(with_crashes > 0, "the damage never crashed anybody: it is none");
}
