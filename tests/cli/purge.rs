//! `eximgrey purge`: what has expired goes, everything else stays, and nobody is disturbed.

use super::common::driver::Built;
use super::common::{Ended, NOBODY, Place, as_store_user, is_root};
use super::{eximgrey, filled};
use eximgrey::evidence::{Earned, Known, Pending};
use eximgrey::memory::Access;
use eximgrey::reply::By;
use eximgrey::store::entries::{Entry, Kind};
use eximgrey::store::lmdb::{Env, Patience};
use eximgrey::store::record::{Facts, Record, Texts};
use eximgrey::store::{Store, Table};
use eximgrey::time::{Seconds, Timestamp};
use eximgrey::whitelist::ListKind;
use serde_json::json;
use std::fs;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

/// A version that this library does not know, and a moment long ago where ours have their expiry.
const LATER: [u8; 40] = [2; 40];

/// Acts on both environments of the store as its user.
pub fn with_store(place: &Place, work: impl FnOnce(&Env, &Env) + Send) {
    as_store_user(|| {
        let store = Store::open(&place.settings().store, Access::Record, Timestamp::now()).unwrap().unwrap();
        work(store.environment(Table::Known).unwrap(), store.environment(Table::Pending).unwrap());
    });
}

pub fn write(env: &Env, records: &[([u8; 16], Vec<u8>)]) {
    env.write(Patience::UpTo(Seconds(10)), |writer| {
        for (key, record) in records {
            writer.put(key, record)?;
        }
        Ok(())
    })
    .unwrap();
}

/// The key with this number; they fall evenly.
pub fn key(number: u64) -> [u8; 16] {
    u128::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835).to_be_bytes()
}

pub fn record(facts: Facts, expires: Timestamp, text: usize) -> Vec<u8> {
    let texts = Texts { identity: vec![b'i'; text], sender: vec![b's'; text], ..Texts::default() };
    Record { by: By::Network, expires, facts, texts }.encode()
}

/// What has expired is deleted, of every kind, and first attempts of earlier boots with it; what is live, what is not a record
/// and what a later version wrote stays as it is. A second purge finds nothing.
#[test]
fn what_has_expired_goes_and_the_rest_stays() {
    let place = filled();
    let before = eximgrey(&place, &["list", "known"]).out;
    let now = Timestamp::now();
    let past = Timestamp(now.0 - 1);
    let t = Timestamp(7);
    let facts = [
        Facts::Known(Known { first_seen: t, passed: t, last_seen: t, counted: 1 }),
        Facts::Identity(Earned { first_seen: t, counted: t, last_seen: t, passes: 9, ..Earned::default() }),
        Facts::Pending { record: Pending { first_seen: t, passed: None }, ripe: t, network: 1 },
    ];
    let mut kept = Vec::new();
    with_store(&place, |known, pending| {
        // More than one look takes in, of which every third is live.
        let mut records: Vec<_> = (0..9_000)
            .map(|n| {
                let expires = if n % 3 == 0 { now.plus(Seconds::HOUR) } else { past };
                (key(n), record(facts[n as usize % 2], expires, 3))
            })
            .collect();
        let entry = Entry::new(Kind::Listed(ListKind::Host), t, Timestamp(u32::MAX), Default::default());
        records.push((key(9_000), entry.encode()));
        let lapsed = Entry { kind: Kind::Trap, expires: past, ..entry };
        records.push((key(9_001), lapsed.encode()));
        records.push((key(9_002), LATER.to_vec()));
        write(known, &records);
        let mut waiting: Vec<_> = (0..50).map(|n| (key(n), record(facts[2], past, 3))).collect();
        waiting.push((key(9_002), LATER.to_vec()));
        write(pending, &waiting);
        kept.extend(records.into_iter().enumerate().filter(|(n, _)| n % 3 == 0));
    });
    let boot = place.store().join("pending-00000000-0000-0000-0000-000000000000");
    fs::create_dir(&boot).unwrap();

    let purge = eximgrey(&place, &["purge", "--json"]);
    assert_eq!((purge.code, purge.err.as_str()), (Some(0), ""));
    let [value] = &purge.json()[..] else { panic!("{}", purge.out) };
    // What `filled` left: eleven known records and three identities, five first attempts.
    assert_eq!(value["known"], json!({"deleted": 6_001, "kept": 3_001 + 14}));
    assert_eq!(value["pending"], json!({"deleted": 50, "kept": 5}));
    assert_eq!((&value["unreadable"], &value["earlier_boots"]), (&2.into(), &1.into()));
    assert!(value["longest_hold_ms"].as_f64().unwrap() > 0.0, "{value}");
    assert!(!boot.exists());

    with_store(&place, |known, pending| {
        for (n, (key, bytes)) in &kept {
            assert_eq!(
                known.read(|s| Ok(s.get(key)?.map(<[u8]>::to_vec))).unwrap().as_ref(),
                Some(bytes),
                "{n}"
            );
        }
        for env in [known, pending] {
            assert!(env.read(|s| Ok(s.get(&key(9_002))? == Some(&LATER[..]))).unwrap());
        }
    });
    let after = eximgrey(&place, &["list", "known"]).out;
    assert!(before.lines().all(|line| after.contains(line)), "{after}");
    assert_eq!(eximgrey(&place, &["list"]).lines().len(), 5);

    let again = eximgrey(&place, &["purge"]);
    assert_eq!(again.code, Some(0));
    let expected = "known      0 expired records deleted, 3015 kept\npending    0 expired records deleted, 5 kept\n\
                    kept       2 records of another version\ntime ";
    assert!(again.out.starts_with(expected), "{}", again.out);
    assert!(again.out.contains(" s, longest hold 0.0 ms\n"), "{}", again.out);
}

/// Who writes while a purge runs goes on: nobody waits in vain, nothing of theirs is lost, and they get the lock many times.
#[test]
fn a_purge_disturbs_nobody() {
    let place = Place::new("delay = \"0s\"");
    let built = Built::new(&place);
    let t = Timestamp(7);
    let known = Facts::Known(Known { first_seen: t, passed: t, last_seen: t, counted: 1 });
    with_store(&place, |env, _| {
        // Few to a page, so that there is much to do.
        let records: Vec<_> = (0..16_000).map(|n| (key(n), record(known, t, 255))).collect();
        write(env, &records);
    });
    let mut command = Command::new(env!("CARGO_BIN_EXE_eximgrey"));
    command.args(["purge", "--json", "--config"]).arg(place.config()).stdout(Stdio::piped());
    let over = AtomicBool::new(false);
    let mut drivers: Vec<_> = (0..3).map(|_| built.start()).collect();
    let written: Vec<u32> = std::thread::scope(|scope| {
        let mut purge = Ended(command.spawn().unwrap());
        let over = &over;
        let place = &place;
        let write = |(session, driver): (usize, &mut super::common::driver::Driver)| {
            let mut rounds = 0;
            while !over.load(Ordering::Relaxed) {
                let recipient = format!("{session}.{rounds}@rcpt.example");
                let client = format!("10.{session}.{}.1", rounds % 250);
                let arguments = [client.as_str(), "alice@sender.example", &recipient];
                assert!(driver.greylist(place, &arguments).starts_with("action=defer reason=new wait=0"));
                let retried = driver.greylist(place, &arguments);
                assert!(
                    retried.starts_with("action=pass reason=retried") || retried.contains("auto"),
                    "{retried}"
                );
                rounds += 1;
            }
            rounds
        };
        let writers: Vec<_> =
            drivers.iter_mut().enumerate().map(|driver| scope.spawn(move || write(driver))).collect();
        let status = purge.wait();
        over.store(true, Ordering::Relaxed);
        assert!(status.success());
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    let expected: u32 = written.iter().sum();
    assert!(written.iter().all(|&rounds| rounds > 20), "{written:?}");
    drivers.into_iter().for_each(super::common::driver::Driver::end);
    let left = eximgrey(&place, &["purge", "--json"]);
    assert_eq!(left.json()[0]["known"]["deleted"], 0);
    assert_eq!(eximgrey(&place, &["list", "known"]).lines().len(), expected as usize);
}

/// A store that was never used is nothing to purge, and none is made; as root, no file becomes root's.
#[test]
fn nothing_is_made() {
    let place = Place::new("");
    let purge = eximgrey(&place, &["purge"]);
    assert_eq!((purge.code, purge.out.as_str()), (Some(0), "nothing recorded yet\n"));
    assert_eq!(eximgrey(&place, &["purge", "--json"]).json().len(), 1);
    assert_eq!(place.tree(), Vec::<String>::new());
    assert_eq!(eximgrey(&place, &["purge", "all"]).code, Some(2));

    let place = filled();
    fs::remove_file(place.store().join("known/lock.mdb")).unwrap();
    assert_eq!(eximgrey(&place, &["purge"]).code, Some(0));
    let owner = format!(" {NOBODY}");
    assert!(!is_root() || place.tree().iter().all(|line| line.ends_with(&owner)), "{:?}", place.tree());
}

/// A clock that is far ahead of the last write may be wrong: nothing goes for it, and the purge says so.
#[test]
fn a_clock_far_ahead_purges_nothing() {
    let place = Place::new("");
    let ago = Timestamp::now().0 - 5 * 86_400;
    let triplet = ["192.0.2.1", "a@x.example", "b@y.example"].map(str::as_bytes);
    place.decide(&[(ago, &triplet)]);
    let purge = eximgrey(&place, &["purge"]);
    let line = format!("\nclock      far ahead of the last write, at {}: ", Timestamp(ago));
    assert!(
        purge.out.contains(&line) && purge.out.contains("\npending    0 expired records deleted, 1 kept\n"),
        "{}",
        purge.out
    );
    assert_eq!(eximgrey(&place, &["purge", "--json"]).json()[0]["clock_far_ahead"], true);
}
