//! One store, many processes: what is recorded is recorded once, whatever ends them, stops them or fills the disk.
#![allow(unsafe_code, clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod common;

#[path = "store/damage.rs"]
mod damage;
#[path = "store/disk.rs"]
mod disk;
#[path = "store/failing.rs"]
mod failing;
#[path = "store/faults.rs"]
mod faults;
#[path = "store/growth.rs"]
mod growth;
#[path = "store/hostile.rs"]
mod hostile;
#[path = "store/power.rs"]
mod power;
#[path = "store/privacy.rs"]
mod privacy;
#[path = "store/role.rs"]
mod role;
#[path = "store/stopped.rs"]
mod stopped;
#[path = "store/storm.rs"]
mod storm;
#[path = "store/upgrade.rs"]
mod upgrade;

use common::driver::{Built, Driver, greylist, hexadecimal};
use common::{Place, as_store_user};
use eximgrey::reply::{By, Fault, Reason};
use eximgrey::store::Table;
use eximgrey::store::record::{Facts, Record};
use eximgrey::time::Timestamp;
use rustix::fs::{FlockOperation, flock};
use std::collections::BTreeMap;
use std::fs::File;
use std::time::{Duration, Instant};

const CLIENT: &str = "192.0.2.1";
const SENDER: &str = "alice@sender.example";
const RECIPIENT: &str = "bob@rcpt.example";

const NEW: &str = "action=defer reason=new wait=0";
const RETRIED: &str = "action=pass reason=retried delay=N by=network";
const KNOWN: &str = "action=pass reason=known by=network";

/// Every record of the store: those worth keeping and first attempts. Fails if one cannot be read.
fn records(place: &Place) -> Vec<Record> {
    as_store_user(|| {
        let store = place.open();
        store.carry_all().expect("what is queued can be carried");
        let mut records = Vec::new();
        for table in [Table::Known, Table::Pending] {
            let skipped = store.scan(table, |_, record| {
                records.push(record);
                true
            });
            assert_eq!(skipped.unwrap().unreadable, 0, "torn records in {table:?}");
        }
        records
    })
}

/// How many decisions the store has counted, by reason.
fn counted(place: &Place) -> BTreeMap<&'static str, u64> {
    as_store_user(|| {
        let store = place.open();
        let tally = store.counters().expect("counters").last_hours(2, Timestamp::now());
        assert_eq!(tally.total(), Reason::ALL.iter().map(|&reason| tally.reason(reason)).sum::<u64>());
        let faults: u64 = Fault::ALL.iter().map(|&fault| tally.fault(fault)).sum();
        assert_eq!(tally.reason(Reason::Error), faults);
        let counts = Reason::ALL.iter().map(|&reason| (reason.word(), tally.reason(reason)));
        counts.filter(|(_, count)| *count > 0).collect()
    })
}

/// Lets all drivers run the same commands from the same moment on, and gives the replies of each.
fn at_once(place: &Place, drivers: &mut [Driver], commands: &[String]) -> Vec<Vec<String>> {
    let path = place.path("barrier");
    let barrier = File::create(&path).unwrap();
    flock(&barrier, FlockOperation::LockExclusive).unwrap();
    for (number, driver) in drivers.iter_mut().enumerate() {
        assert_eq!(driver.ask(&format!("barrier {}", path.display())), "waiting");
        // Each begins at another place, so that all triplets are asked about at the same time.
        let begin = number % commands.len();
        let (before, from) = commands.split_at(begin);
        driver.send(&[from, before].concat().join("\n"));
    }
    flock(&barrier, FlockOperation::Unlock).unwrap();
    let replies = |driver: &Driver| commands.iter().map(|_| driver.reply()).collect();
    drivers.iter().map(replies).collect()
}

fn count<'a>(replies: impl IntoIterator<Item = &'a String>) -> BTreeMap<&'a str, usize> {
    replies.into_iter().fold(BTreeMap::new(), |mut counts, reply| {
        *counts.entry(reply.as_str()).or_default() += 1;
        counts
    })
}

/// A hundred sessions that retry the same messages at the same moment are one retry: it is counted once, and all pass.
#[test]
fn what_many_sessions_do_at_once_is_counted_once() {
    retry_at_once(false);
}

/// The same while nobody can write to what is known: all see that the retry has passed, and it is counted once when it can be.
#[test]
fn a_pass_that_nobody_can_carry_is_not_counted_again() {
    retry_at_once(true);
}

fn retry_at_once(nobody_carries: bool) {
    const SESSIONS: usize = 100;
    const TRIPLETS: usize = 20;
    let place = Place::new("delay = \"0s\"\nlock_timeout = \"20s\"");
    let built = Built::new(&place);
    let mut drivers: Vec<Driver> = (0..SESSIONS).map(|_| built.start()).collect();
    // Each triplet comes from a network of its own.
    let command = |n| greylist(&place, &[&format!("10.0.{n}.1"), SENDER, &format!("{n}@rcpt.example")]);
    let commands: Vec<String> = (0..TRIPLETS).map(command).collect();

    // The first attempts, by one; then everybody retries at once; then the mail is known.
    for command in &commands {
        assert_eq!(common::driver::reply(&drivers[0].ask(command)), NEW);
    }
    let stopped = nobody_carries.then(|| role::Role::start(&place, "stop-in-known"));
    if let Some(writer) = &stopped {
        writer.wait_until_stopped();
    }
    let replies = at_once(&place, &mut drivers, &commands);
    let counts = count(replies.iter().flatten());
    assert_eq!(counts[RETRIED], TRIPLETS, "{counts:?}");
    assert_eq!(counts[KNOWN], TRIPLETS * (SESSIONS - 1), "{counts:?}");
    for mut driver in drivers {
        assert_eq!(common::driver::reply(&driver.ask(&commands[0])), KNOWN);
        driver.end();
    }

    if let Some(mut writer) = stopped {
        writer.process.signal(libc::SIGCONT);
        assert!(writer.process.wait().success());
    }
    let records = records(&place);
    let earned = |record: &Record| match record.facts {
        Facts::Identity(earned) => Some(earned.passes),
        _ => None,
    };
    assert_eq!(records.iter().filter_map(earned).collect::<Vec<_>>(), [1; TRIPLETS]);
    let known = records.iter().filter(|record| matches!(record.facts, Facts::Known(_)));
    assert_eq!(known.count(), TRIPLETS);
    let calls = (TRIPLETS * SESSIONS + SESSIONS) as u64;
    let expected =
        [("known", calls - TRIPLETS as u64), ("new", TRIPLETS as u64), ("retried", TRIPLETS as u64)];
    assert_eq!(counted(&place), BTreeMap::from(expected));
}

/// First attempts that come at the same moment, to a store that is not there yet, are one first attempt each.
#[test]
fn what_many_sessions_begin_at_once_is_begun_once() {
    const SESSIONS: usize = 40;
    const TRIPLETS: usize = 10;
    let place = Place::new("delay = \"1h\"\nlock_timeout = \"20s\"");
    // The time is given: where one session's second is over before another's, this would show something else.
    let now = Timestamp::now().0;
    let mut sessions: Vec<role::Role> = (0..SESSIONS).map(|_| role::Role::start(&place, "session")).collect();
    let path = place.path("barrier");
    let barrier = File::create(&path).unwrap();
    flock(&barrier, FlockOperation::LockExclusive).unwrap();
    for (number, session) in sessions.iter_mut().enumerate() {
        assert_eq!(session.ask(&format!("barrier {}", path.display())), "waiting");
        for triplet in (0..TRIPLETS).map(|n| (n + number) % TRIPLETS) {
            let recipient = format!("{triplet}@rcpt.example");
            session.send_decide(now, &[&format!("10.0.{triplet}.1"), SENDER, &recipient]);
        }
    }
    flock(&barrier, FlockOperation::Unlock).unwrap();
    let answers: Vec<String> =
        sessions.iter().flat_map(|session| (0..TRIPLETS).map(|_| session.answer())).collect();
    let counts = count(&answers);
    assert_eq!(counts["action=defer reason=new wait=3600"], TRIPLETS, "{counts:?}");
    assert_eq!(counts["action=defer reason=early wait=3600"], TRIPLETS * (SESSIONS - 1), "{counts:?}");
    drop(sessions);
    assert_eq!(records(&place).len(), TRIPLETS);
    let counted = counted(&place);
    assert_eq!(counted.values().sum::<u64>(), (SESSIONS * TRIPLETS) as u64);
    assert_eq!(place.tree().iter().filter(|line| line.starts_with("state")).count(), 1);
}

/// Sessions that are killed at any moment leave no half record, no lock, and no pass that was not counted.
#[test]
fn killed_sessions_leave_the_store_whole() {
    const KILLS: u32 = 300;
    const TRIPLETS: u64 = 400;
    let place = Place::new("delay = \"0s\"\nlock_timeout = \"10s\"");
    let built = Built::new(&place);
    let config = hexadecimal(place.config_option().as_bytes());
    let mut seed = 0;
    let mut start = || {
        let mut driver = built.start();
        seed += 1;
        driver.send(&format!("loop {seed} 0 {TRIPLETS} {config}"));
        driver
    };
    let mut workers: Vec<Driver> = (0..4).map(|_| start()).collect();
    let begin = Instant::now();
    let mut kills = 0;
    // 300 kills, or as many as four seconds allow on a slow machine.
    while kills < KILLS && begin.elapsed() < Duration::from_secs(4) {
        let victim = kills as usize % workers.len();
        // The moment differs from kill to kill.
        std::thread::sleep(Duration::from_micros(u64::from(kills) * 379 % 5_000));
        workers[victim].process.signal(libc::SIGKILL);
        let status = workers[victim].process.wait();
        assert!(!status.success(), "a worker ended by itself: {}", workers[victim].answer());
        workers[victim].assert_silent();
        workers[victim] = start();
        kills += 1;
    }
    for worker in &mut workers {
        worker.process.signal(libc::SIGKILL);
        worker.process.wait();
        kills += 1;
    }
    println!("{kills} kills");
    assert!(kills > 50, "the machine is too slow: {kills} kills");

    let mut after = built.start();
    // And would=pass: so many came back.
    assert!(after.greylist(&place, &[CLIENT, SENDER, RECIPIENT]).starts_with(NEW));
    assert_eq!(after.greylist(&place, &[CLIENT, SENDER, RECIPIENT]), RETRIED);
    after.end();

    let records = records(&place);
    let networks = |wanted: fn(&Facts) -> bool| {
        let mut names: Vec<_> = records
            .iter()
            .filter(|record| record.by == By::Network && wanted(&record.facts))
            .map(|record| String::from_utf8(record.texts.identity.clone()).unwrap())
            .collect();
        names.sort();
        names
    };
    // A triplet and its network, each of its own here, are written in one transaction.
    let known = networks(|facts| matches!(facts, Facts::Known(_)));
    assert_eq!(known, networks(|facts| matches!(facts, Facts::Identity(earned) if earned.passes == 1)));
    assert!(known.len() > 50, "{}", known.len());
    // A session that was killed between its record and its count has counted one less, never one more.
    let counted = counted(&place);
    let admitted = known.len() as u64;
    assert!(counted["retried"] <= admitted, "{counted:?}, {admitted} records");
    assert!(counted["retried"] + u64::from(kills) >= admitted, "{counted:?}, {admitted} records");
    assert!(!counted.contains_key("error"), "{counted:?}");
}

/// A session that is stopped while it writes first attempts does not stop mail: others wait for `lock_timeout`, then let mail
/// pass; known mail never waits; and when the session goes on, so does greylisting. Nobody waits for one that is stopped
/// while it writes to what is known, and whose retry passes meanwhile is known.
#[test]
fn a_stopped_writer_does_not_stop_mail() {
    let place = Place::new("delay = \"0s\"\nlock_timeout = \"1s\"");
    let built = Built::new(&place);
    let mut driver = built.start();
    let known = [CLIENT, SENDER, RECIPIENT];
    let ripe = ["192.0.2.2", SENDER, "ripe@rcpt.example"];
    for (arguments, expected) in [(known, NEW), (known, RETRIED), (ripe, NEW)] {
        assert_eq!(driver.greylist(&place, &arguments), expected);
    }
    let locked = "action=pass reason=error error=store-lock";
    let new = ["10.0.0.1", SENDER, "new@rcpt.example"];
    for (environment, blocked, told, after) in
        [("known", ripe, [RETRIED, KNOWN], KNOWN), ("pending", new, [locked; 2], NEW)]
    {
        let mut writer = role::Role::start(&place, &format!("stop-in-{environment}"));
        writer.wait_until_stopped();
        let begin = Instant::now();
        let [first, second] = told;
        assert_eq!(driver.greylist(&place, &blocked), first, "{environment}");
        let waited = begin.elapsed();
        assert!(waited < Duration::from_secs(5), "{waited:?}");
        assert!(first != locked || waited >= Duration::from_secs(1), "{waited:?}");
        // Sessions that begin now have to open the store first.
        let mut other = built.start();
        // If known mail waited, these would be twenty waits.
        let begin = Instant::now();
        for session in [&mut driver, &mut other] {
            for _ in 0..10 {
                assert_eq!(session.greylist(&place, &known), KNOWN, "{environment}");
            }
        }
        assert!(begin.elapsed() < Duration::from_secs(5), "known mail has waited");
        assert_eq!(other.greylist(&place, &blocked), second, "{environment}");
        writer.process.signal(libc::SIGCONT);
        assert_eq!(writer.answer(), "went on");
        assert!(writer.process.wait().success());
        assert_eq!(other.greylist(&place, &blocked), after, "{environment}");
        other.end();
    }
    driver.end();
}
