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

#[path = "common/bare.rs"]
mod bare;
mod common;

use bare::{KNOWN, PENDING, Task, bare};
use common::{Function, answer, fork, quantile, triplet, wait};
use std::ffi::CString;
use std::time::Instant;

/// Triplets, half of which are known; and records of each environment of LMDB alone.
const WARM: u32 = 4_000;
const ROUNDS: u32 = 2_000;

/// A decision about triplet `i`, to be made later: its arguments are made here.
fn decision(greylist: Function, i: u32, options: &[&str], reason: &str) -> impl FnOnce() {
    let texts: Vec<_> = triplet(i, options).into_iter().map(|text| CString::new(text).unwrap()).collect();
    move || {
        // Little code: it runs in the time that is measured.
        let reply = answer(greylist, &texts).to_bytes();
        let is_right = reply.windows(reason.len()).any(|part| part == reason.as_bytes());
        assert!(is_right, "not {reason}");
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
        bare::make(WARM);
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
