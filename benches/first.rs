//! The first decision of a process, as in Exim with the library preloaded: a daemon forks, the child decides
//! once and ends with `_exit`. What the child costs beyond one that ends at once is what greylisting adds to
//! a connection.
//!
//! Beside each kind of decision, the least that a store in LMDB can cost: a child that opens the same
//! environments by the C library alone, and reads and writes one record as that decision does. The last
//! column is the one as a multiple of the other.
//!
//! A child begins with its arguments made, as Exim has them in its memory.
//!
//! All kinds of children take turns, so that drift hits all alike. Times are medians of the whole life of a
//! child, from fork to wait. The store is at its default place, with no configuration file, as on most
//! machines; for that the process gets a view of the file system of its own, so it must be root.
//!
//! `make build && cargo bench --bench first`; `-- FILE` measures another build of the library.
#![allow(unsafe_code, missing_docs, clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark")]

mod common;

use common::{Function, answer, fork, quantile, triplet, wait};
use lmdb_sys as lmdb;
use std::ffi::{CStr, CString, c_int};
use std::path::Path;
use std::ptr::{null, null_mut};
use std::time::Instant;

/// Triplets, half of which are known; and records of each environment of LMDB alone.
const WARM: u32 = 4_000;
const ROUNDS: u32 = 2_000;

/// A decision about triplet `i`, to be made later: its arguments are made here.
fn decision(greylist: Function, i: u32, options: &[&str], reason: &str) -> impl FnOnce() {
    let texts: Vec<_> = triplet(i, options).into_iter().map(|text| CString::new(text).unwrap()).collect();
    move || {
        let reply = answer(greylist, &texts).to_str().unwrap();
        assert!(reply.contains(reason), "{reply}");
    }
}

/// Two environments like those of the store, in its place.
const KNOWN: &CStr = c"/var/lib/bare-known";
const PENDING: &CStr = c"/var/lib/bare-pending";

/// What one transaction does.
enum Task {
    Fill,
    /// Looks for a record that is there, or is not.
    Read(u32, bool),
    Write(u32),
}

/// Opens an environment with the store's flags (src/store/lmdb.rs) and does one task in it, by LMDB's C
/// functions alone.
fn bare(dir: &CStr, task: &Task) {
    let check = |result: c_int| assert_eq!(result, lmdb::MDB_SUCCESS);
    let key = |i: u32| u128::from(i).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835).to_be_bytes();
    let (mut env, mut txn, mut table) = (null_mut(), null_mut(), 0);
    let read = if matches!(task, Task::Read(..)) { lmdb::MDB_RDONLY } else { 0 };
    let flags = lmdb::MDB_NOTLS | if read == 0 { lmdb::MDB_NOSYNC } else { read };
    // SAFETY: the calls in the order that lmdb.h asks for, with places and values that outlive each; the
    // process ends without closing, as one of Exim's does.
    unsafe {
        check(lmdb::mdb_env_create(&raw mut env));
        check(lmdb::mdb_env_set_maxreaders(env, 1024));
        if matches!(task, Task::Fill) {
            check(lmdb::mdb_env_set_mapsize(env, 1 << 20));
        }
        check(lmdb::mdb_env_open(env, dir.as_ptr(), flags, 0o640));
        check(lmdb::mdb_txn_begin(env, null_mut(), read, &raw mut txn));
        check(lmdb::mdb_dbi_open(txn, null(), 0, &raw mut table));
        let put = |i: u32| {
            let (mut key, mut record) = (key(i), [7_u8; 32]);
            let value =
                |bytes: &mut [u8]| lmdb::MDB_val { mv_size: bytes.len(), mv_data: bytes.as_mut_ptr().cast() };
            check(lmdb::mdb_put(txn, table, &mut value(&mut key), &mut value(&mut record), 0));
        };
        match *task {
            Task::Fill => (0..WARM).for_each(put),
            Task::Write(i) => put(i),
            Task::Read(i, there) => {
                let mut bytes = key(i);
                let mut key = lmdb::MDB_val { mv_size: bytes.len(), mv_data: bytes.as_mut_ptr().cast() };
                let mut value = lmdb::MDB_val { mv_size: 0, mv_data: null_mut() };
                let found = lmdb::mdb_get(txn, table, &raw mut key, &raw mut value);
                assert_eq!(found, if there { lmdb::MDB_SUCCESS } else { lmdb::MDB_NOTFOUND });
                return lmdb::mdb_txn_abort(txn);
            }
        }
        check(lmdb::mdb_txn_commit(txn));
    }
}

/// Runs `work` in a child: the microseconds from its fork to its end, and its page faults.
fn child(work: impl FnOnce()) -> (f64, f64) {
    let start = Instant::now();
    let faults = wait(fork(work));
    (start.elapsed().as_secs_f64() * 1e6, faults)
}

fn main() {
    // `cargo test --all-targets` starts benchmarks too, without this argument.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let library = common::library(std::env::args().skip(1).find(|argument| !argument.starts_with("--")));
    let greylist = common::function(&library, c"greylist");
    let dir = tempfile::tempdir().unwrap();
    common::move_in(dir.path());
    // In a child: this process must have opened nothing, as Exim's daemon has not.
    child(|| {
        for i in 0..WARM {
            decision(greylist, i, &["delay=0s"], "reason=new")();
            if i % 2 == 0 {
                decision(greylist, i, &["delay=0s"], "reason=retried")();
            }
        }
        for dir in [KNOWN, PENDING] {
            std::fs::create_dir(Path::new(dir.to_str().unwrap())).unwrap();
            bare(dir, &Task::Fill);
        }
    });
    common::preload(&library);
    let names = ["nothing", "known", "early", "new", "bare known", "bare early", "bare new"];
    let mut figures = [const { Vec::new() }; 7];
    for round in 0..ROUNDS {
        let (known, early) = (round % WARM / 2 * 2, round % WARM / 2 * 2 + 1);
        let new = 2 * WARM + round;
        figures[0].push(child(|| ()));
        figures[1].push(child(decision(greylist, known, &[], "reason=known")));
        figures[2].push(child(decision(greylist, early, &[], "reason=early")));
        figures[3].push(child(decision(greylist, new, &[], "reason=new")));
        figures[4].push(child(|| bare(KNOWN, &Task::Read(known, true))));
        figures[5].push(child(|| {
            bare(KNOWN, &Task::Read(new, false));
            bare(PENDING, &Task::Read(early, true));
        }));
        figures[6].push(child(|| {
            bare(KNOWN, &Task::Read(new, false));
            bare(PENDING, &Task::Write(new));
        }));
    }
    let median = |kind: usize| {
        let of = |part: fn(&(f64, f64)) -> f64| quantile(figures[kind].iter().map(part).collect(), 0.5);
        (of(|child| child.0), of(|child| child.1))
    };
    let nothing = median(0);
    println!("the first decision of a forked process, {ROUNDS} processes each, medians");
    for (kind, name) in names.iter().enumerate() {
        let (time, faults) = median(kind);
        let added = time - nothing.0;
        let line = format!(
            "{name:>10} {time:6.1} us {added:+6.1} us, {faults:3.0} page faults {:+3.0}",
            faults - nothing.1
        );
        if (1..=3).contains(&kind) {
            println!("{line}, {:4.2} times bare LMDB", added / (median(kind + 3).0 - nothing.0));
        } else {
            println!("{line}");
        }
    }
}
