//! Processes killed at any moment, the one that carries what is queued among them: whoever was told that a retry passed is
//! known, and was counted once. `make torture-kills` kills ten thousand.

use super::role::Role;
use super::{CLIENT, NEW, RECIPIENT, RETRIED, SENDER};
use crate::common::driver::Built;
use crate::common::{Place, as_store_user};
use eximgrey::reply::By;
use eximgrey::store::Table;
use eximgrey::store::record::Facts;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const WORKERS: usize = 8;

#[test]
fn who_was_told_that_a_retry_passed_is_known_whoever_is_killed() {
    let kills = std::env::var("EXIMGREY_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(150);
    // Nothing expires, whatever the hour of others.
    let place = Place::new(
        "delay = \"0s\"\nwindow = \"5000w\"\nlifetime = \"5000w\"\nlock_timeout = \"10s\"\n\
         auto_after = 0\ntrust_known_domains = false\n",
    );
    let mut seeds = 0..;
    let mut start = || Role::start(&place, &format!("storm-{}", seeds.next().unwrap()));
    let mut workers: Vec<Role> = (0..WORKERS).map(|_| start()).collect();
    let mut told: Vec<String> = Vec::new();
    for kill in 0..kills {
        // The moment differs from kill to kill.
        std::thread::sleep(Duration::from_micros(kill * 379 % 5_000));
        let victim = kill as usize % WORKERS;
        workers[victim].process.signal(libc::SIGKILL);
        let status = workers[victim].process.wait();
        told.extend(workers[victim].all_answers());
        assert!(!status.success(), "a worker ended by itself: {:?}", told.last());
        workers[victim] = start();
    }
    for mut worker in workers {
        worker.process.signal(libc::SIGKILL);
        worker.process.wait();
        told.extend(worker.all_answers());
    }
    println!("campaign: {kills} kills, {} passes answered", told.len());
    assert!(told.len() as u64 > kills, "the machine is too slow: {} passes", told.len());

    let built = Built::new(&place);
    let mut after = built.start();
    for expected in [NEW, RETRIED] {
        assert_eq!(after.greylist(&place, &[CLIENT, SENDER, RECIPIENT]), expected, "the store is used on");
    }
    after.end();
    as_store_user(|| {
        let store = place.open();
        store.carry_all().unwrap();
        let mut passes = BTreeMap::new();
        let mut known = BTreeSet::new();
        let scanned = store.scan(Table::Known, |_, record| {
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            match record.facts {
                Facts::Known(_) if record.by == By::Spf => {
                    assert!(known.insert(text(&record.texts.recipient)));
                }
                Facts::Known(_) => {}
                Facts::Identity(earned) => {
                    passes.insert(text(&record.texts.identity), earned.passes);
                }
                Facts::Pending { .. } => panic!("a first attempt among what is known"),
            }
            true
        });
        assert_eq!(scanned.unwrap().unreadable, 0);
        for recipient in &told {
            assert!(known.contains(recipient), "{recipient} was told that it passed");
        }
        assert_eq!(passes.remove("sender.example"), Some(known.len() as u32), "each is counted once");
        // Each mail comes from a network of its own, and so does the last one, which has no domain.
        assert!(passes.values().all(|passes| *passes == 1), "{passes:?}");
        assert_eq!(passes.len(), known.len() + 1);
        let mut waiting = 0;
        let scanned = store.scan(Table::Pending, |_, record| {
            if let Facts::Pending { record, .. } = record.facts {
                assert_eq!(record.passed, None, "a mark is left");
                waiting += 1;
            }
            true
        });
        assert_eq!(scanned.unwrap().unreadable, 0);
        assert!(waiting <= kills + WORKERS as u64, "{waiting} wait for {kills} who were killed");
    });
}
