//! What is printed into a pager that somebody leaves open.

use super::common::{Ended, Place};
use super::purge::{key, record, with_store, write};
use eximgrey::evidence::{Known, Pending};
use eximgrey::store::lmdb::{Env, Patience};
use eximgrey::store::record::Facts;
use eximgrey::time::{Seconds, Timestamp};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

/// Writes records and deletes them, as first attempts come and expire, and says how large the file is then.
fn come_and_go(env: &Env, facts: Facts, rounds: u64) -> u64 {
    for round in 0..rounds {
        let records: Vec<_> =
            (0..500).map(|n| (key(1_000_000 + round * 500 + n), record(facts, Timestamp(7), 30))).collect();
        write(env, &records);
        env.write(Patience::None, |writer| {
            for (key, _) in &records {
                writer.delete(key)?;
            }
            Ok(())
        })
        .unwrap();
    }
    env.used_bytes()
}

/// A listing may stand in a pager for days: what comes and goes in the store meanwhile does not make the file grow.
#[test]
fn a_listing_left_open_does_not_make_the_file_grow() {
    let t = Timestamp(7);
    let pending = Facts::Pending { record: Pending { first_seen: t }, ripe: t, network: 1 };
    let known = Facts::Known(Known { first_seen: t, passed: t, last_seen: t, counted: 1 });
    for (arguments, facts) in [
        (&["list", "pending"][..], pending),
        (&["list", "pending", "--json"], pending),
        (&["list", "known"], known),
    ] {
        let place = Place::new("");
        with_store(&place, |known_env, pending_env| {
            let env = if facts == known { known_env } else { pending_env };
            // Far more than a pipe holds.
            let live = Timestamp::now().plus(Seconds::DAY);
            let records: Vec<_> = (0..8_000).map(|n| (key(n), record(facts, live, 30))).collect();
            write(env, &records);
            let before = come_and_go(env, facts, 5);

            let mut command = Command::new(env!("CARGO_BIN_EXE_eximgrey"));
            command.args(arguments).arg("--config").arg(place.config()).stdout(Stdio::piped());
            let mut listing = Ended(command.spawn().unwrap());
            let mut out = BufReader::new(listing.0.stdout.take().unwrap()).lines();
            out.next().expect("a first line").unwrap();
            let after = come_and_go(env, facts, 40);
            assert!(after < before + before / 4, "{arguments:?}: {before} bytes became {after}");
            // And then all is there.
            assert_eq!(out.count(), 7_999, "{arguments:?}");
            assert!(listing.wait().success());
        });
    }
}
