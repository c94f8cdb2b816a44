//! Exim forks: the daemon for each connection, a session for deliveries. Whoever calls gets a right answer.

use super::{Built, CLIENT, RECIPIENT, SENDER, fixture, words};
use crate::common::Place;
use crate::common::driver::without_clock;
use std::os::unix::fs::MetadataExt;

/// Arguments of a triplet that the store already knows.
fn known_triplet(place: &Place) -> String {
    let mut driver = Built::of(place).start();
    driver.greylist(place, &[CLIENT, SENDER, RECIPIENT]);
    let reply = driver.greylist(place, &[CLIENT, SENDER, RECIPIENT]);
    assert_eq!(reply, "action=pass reason=retried delay=N by=network");
    driver.end();
    let config = place.config_option();
    words(&[CLIENT, SENDER, RECIPIENT, &config].map(str::as_bytes))
}

const KNOWN: &str = "action=pass reason=known by=network";

/// A process that forks after a call, its children and theirs all get right answers, whoever calls first.
#[test]
fn parents_children_and_grandchildren_are_answered() {
    let (place, mut driver) = fixture("delay = \"0s\"");
    let known = known_triplet(&place);
    for round in 0..20 {
        for order in ["first", "last"] {
            let line = driver.ask(&format!("fork {order} 4 greylist {known}"));
            let (reply, wrong) = line.rsplit_once(' ').unwrap();
            assert_eq!(super::reply(reply), KNOWN);
            assert_eq!(wrong, "0", "wrong answers in round {round}");
        }
    }
    driver.end();
}

/// A child opens the store for itself: LMDB's lock says so. Without one, the next to come would take the store for unused
/// and set its locks to their beginning under the child's feet.
#[test]
fn a_child_does_not_use_what_its_parent_opened() {
    let (place, mut driver) = fixture("delay = \"0s\"");
    let known = known_triplet(&place);
    assert_eq!(super::reply(&driver.ask(&format!("call greylist {known}"))), KNOWN);
    let lock_file = std::fs::metadata(place.store().join("known/lock.mdb")).unwrap().ino();
    let holds_lock = |pid: &str| {
        // `1: POSIX  ADVISORY  READ 4711 08:01:1234 0 0`
        let locks = std::fs::read_to_string("/proc/locks").unwrap();
        locks.lines().any(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            words.contains(&"POSIX") && words.contains(&pid) && line.contains(&format!(":{lock_file} "))
        })
    };
    assert!(holds_lock(&driver.ask("pid")), "the parent's lock is not to be seen in /proc/locks");
    for generation in 1..4 {
        let child = driver.ask("child");
        assert!(!holds_lock(&child));
        assert_eq!(super::reply(&driver.ask(&format!("call greylist {known}"))), KNOWN);
        assert!(holds_lock(&child), "generation {generation} uses its parent's store");
    }
    driver.end();
}

/// What a child records its parent sees, and the other way round.
#[test]
fn a_child_and_its_parent_write_to_one_store() {
    let (place, mut driver) = fixture("delay = \"0s\"");
    let config = place.config_option();
    let of = |recipient: &str| words(&[CLIENT, SENDER, recipient, &config].map(str::as_bytes));
    let (first, second) = (of("first@rcpt.example"), of("second@rcpt.example"));
    let new = "action=defer reason=new wait=0";
    let retried = "action=pass reason=retried delay=N by=network";
    // The parent first, then a child passes it; a child first, then the parent passes it.
    assert_eq!(super::reply(&driver.ask(&format!("call greylist {first}"))), new);
    for (command, expected) in [
        (format!("each 1 greylist {first}"), retried),
        (format!("each 1 greylist {second}"), new),
        (format!("each 1 greylist {second}"), retried),
        (format!("each 5 greylist {second}"), KNOWN),
    ] {
        let line = driver.ask(&command);
        let reply = without_clock(&super::reply(line.rsplit_once(' ').unwrap().0));
        assert_eq!(reply, expected, "{command}");
    }
    for arguments in [first, second] {
        assert_eq!(super::reply(&driver.ask(&format!("call greylist {arguments}"))), KNOWN);
    }
    driver.end();
}

/// More sessions one after the other than there are readers' places: none keeps its place after `_exit`, though one
/// process has the store open all the time.
#[test]
fn sessions_that_end_by_exit_leave_no_readers_behind() {
    const SESSIONS: usize = 1_200;
    let (place, mut keeper) = fixture("delay = \"0s\"");
    let known = known_triplet(&place);
    assert_eq!(super::reply(&keeper.ask(&format!("call greylist {known}"))), KNOWN);
    // This one has not called before: its children open the store, as Exim's do.
    let mut daemon = Built::of(&place).start();
    let line = daemon.ask(&format!("each {SESSIONS} greylist {known}"));
    let (reply, same) = line.rsplit_once(' ').unwrap();
    assert_eq!(super::reply(reply), KNOWN);
    assert_eq!(same, SESSIONS.to_string(), "sessions with that answer");
    assert_eq!(super::reply(&keeper.ask(&format!("call greylist {known}"))), KNOWN);
    daemon.end();
    keeper.end();
}
