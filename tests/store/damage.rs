//! Damaged files. LMDB has no checksums, so some damage crashes whoever reads it: a few processes at most, then mail passes.
//! `make torture-damage` does the same to a thousand stores.

use crate::common::driver::{Built, greylist, reply};
use crate::common::{Place, as_store_user};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

/// Random numbers that are the same in each run (SplitMix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % below
    }
}

/// What a disk or a memory can do to a file: flipped bits, sectors of something else, pages of nothing.
fn damage(bytes: &mut [u8], dice: &mut Dice) {
    let kind = dice.roll(3);
    for _ in 0..=dice.roll(8) {
        let (unit, pages) = (if kind == 1 { 512 } else { 4096 }, bytes.len() as u64 / 4096);
        // The first pages are the heads and those that were written first, the roots among them: as often as all others.
        let page = if dice.roll(2) == 0 { dice.roll(pages.min(12)) } else { dice.roll(pages) };
        let at = (page * 4096 + dice.roll(4096 / unit) * unit) as usize;
        let part = &mut bytes[at..at + unit as usize];
        match kind {
            0 => (0..=dice.roll(8)).for_each(|_| part[dice.roll(unit) as usize] ^= 1 << dice.roll(8)),
            1 => part.iter_mut().for_each(|byte| *byte = dice.roll(256) as u8),
            _ => part.fill(0),
        }
    }
}

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

/// Of whatever is damaged at most three processes die, none hangs; then mail passes, and goes on passing.
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
        let mut dice = Dice(seed);
        as_store_user(|| {
            for (path, bytes) in &sound {
                let mut bytes = bytes.clone();
                let is_data = path.ends_with("data.mdb");
                // One of the two environments, or both.
                if is_data && dice.roll(3) > 0 {
                    damage(&mut bytes, &mut dice);
                }
                fs::write(path, bytes).unwrap();
            }
        });
        let toll = use_store(&place, &built, seed, 24);
        assert!(toll.crashed <= 3, "seed {seed}: {toll:?}");
        if toll.crashed == 3 {
            // Left alone now.
            let later = use_store(&place, &built, 100, 2);
            assert_eq!(
                later.answers.keys().collect::<Vec<_>>(),
                ["action=pass reason=error error=store-damaged"]
            );
        }
        with_crashes += u32::from(toll.crashed > 0);
        crashes += toll.crashed;
        noticed += u32::from(toll.answers.keys().any(|answer| answer.contains("store-damaged")));
    }
    println!(
        "{stores} damaged stores: {crashes} processes crashed, in {with_crashes} of them; noticed in {noticed}"
    );
    assert!(with_crashes > 0 || stores < 60, "the damage never crashed anybody: it is none");
}
