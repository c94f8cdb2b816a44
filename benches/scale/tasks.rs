//! What is measured, each in a process of its own; the figures are printed.

use crate::mail::{Mail, mix};
use crate::{Host, fill};
use eximgrey::ffi;
use eximgrey::memory::Access;
use eximgrey::settings::Settings;
use eximgrey::store::lmdb::{Patience, Writer};
use eximgrey::store::purge::LONG_HOLD;
use eximgrey::store::{Store, Table};
use eximgrey::time::Timestamp;
use std::ffi::{CStr, CString, c_int};
use std::time::{Duration, Instant};

/// `number`: which triplet, or how many.
pub fn run(task: &str, host: &Host, number: u64) {
    match task {
        "fill" => fill::run(host),
        "live" => live(host),
        "first" => println!("{}", decide(host, mix(number) % host.triplets, "known")),
        "decide" => decisions(host),
        "memory" => memory(host),
        "flush" => flush(host, number),
        "purge" => purge(host),
        _ => panic!("no such task: {task}"),
    }
}

/// Microseconds of one call as Exim makes it, for the triplet `number`; its answer must have this reason.
fn decide(host: &Host, number: u64, reason: &str) -> f64 {
    let mail = Mail::new(number, host.networks());
    let config = format!("config={}", host.config().display());
    let texts =
        [mail.client.to_string(), mail.sender, mail.recipient, config].map(|t| CString::new(t).unwrap());
    let mut pointers = texts.each_ref().map(|text| text.as_ptr().cast::<u8>().cast_mut());
    let mut answer = std::ptr::null_mut();
    let start = Instant::now();
    // SAFETY: the pointers are those of C strings that live until the end of this function.
    unsafe { ffi::greylist(&raw mut answer, pointers.len() as c_int, pointers.as_mut_ptr()) };
    let time = start.elapsed();
    // SAFETY: the answer is a C string of the library, valid until the next call.
    let answer = unsafe { CStr::from_ptr(answer.cast()) }.to_string_lossy();
    assert!(answer.contains(&format!("reason={reason}")), "{answer}");
    time.as_secs_f64() * 1e6
}

/// The median and the 99th percentile of a sample.
fn spread(mut sample: Vec<f64>) -> [f64; 2] {
    sample.sort_by(f64::total_cmp);
    [50, 99].map(|percent| sample[sample.len() * percent / 100])
}

fn decisions(host: &Host) {
    let known = |seed: u64| decide(host, mix(seed) % host.triplets, "known");
    // The file is in the page cache; this maps most of its pages into the process.
    (0..100_000).for_each(|seed| _ = known(seed));
    let [median, slow] = spread((100_000..150_000).map(known).collect());
    println!("{median} {slow}");
    // Other numbers are other triplets.
    let new = (0..5_000).map(|i| decide(host, host.triplets + i, "new"));
    let [median, slow] = spread(new.collect());
    println!("{median} {slow}");
}

/// Bytes after each triplet was deferred and came back, one decision after the other.
fn live(host: &Host) {
    for number in 0..host.triplets {
        decide(host, number, "new");
        decide(host, number, "retried");
    }
    println!("{}", std::fs::metadata(host.dir.join("known/data.mdb")).unwrap().len());
}

/// Kilobytes of the process's own memory and of what it shares (the program, the pages of the store), after 1,000 decisions.
fn memory(host: &Host) {
    (0..1_000).for_each(|seed| _ = decide(host, mix(seed) % host.triplets, "known"));
    let text = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap();
    let field = |name: &str| -> f64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim_end_matches("kB").trim().parse().unwrap()
    };
    println!("{} {}", field("Anonymous:"), field("Rss:") - field("Anonymous:"));
}

/// Milliseconds of a write of one record with its flush, after the purge and as many as it made transactions: the median, the
/// longest, and how many took too long. For twenty seconds at most.
fn flush(host: &Host, count: u64) {
    let settings = Settings::load(Some(&host.config())).unwrap().store;
    let store = Store::open(&settings, Access::Record, Timestamp::now()).unwrap().unwrap();
    let write = |number: u64| {
        // One that the purge left.
        let mail = Mail::new((mix(number) % host.triplets) | 1, host.networks());
        let key = mail.triplet().keys(store.secret())[0].known;
        let again = |writer: &mut Writer<'_>| {
            let record = writer.get(&key.0)?.unwrap().to_vec();
            Ok(writer.put(&key.0, &record)?)
        };
        let start = Instant::now();
        store.environment(Table::Known).unwrap().write(Patience::None, again).unwrap();
        start.elapsed().as_secs_f64() * 1e3
    };
    let start = Instant::now();
    let in_time = |_: &u64| start.elapsed() < Duration::from_secs(20);
    let mut sample: Vec<f64> = (0..count).take_while(in_time).map(write).collect();
    sample.sort_by(f64::total_cmp);
    let long = sample.iter().filter(|time| **time > LONG_HOLD.as_secs_f64() * 1e3).count();
    println!("{} {} {} {long}", sample.len(), sample[sample.len() / 2], sample[sample.len() - 1]);
}

/// Seconds of a purge when half of the records have expired, how many transactions it took, milliseconds of the longest hold of
/// the lock, and how many were too long.
fn purge(host: &Host) {
    let settings = Settings::load(Some(&host.config())).unwrap().store;
    let now = Timestamp::now();
    let store = Store::open(&settings, Access::Record, now).unwrap().unwrap();
    let later = now.plus(fill::SOON).plus(fill::SOON);
    let start = Instant::now();
    let purged = store.purge(Table::Known, later, |_, _| {}).unwrap();
    let time = start.elapsed().as_secs_f64();
    assert!(purged.deleted.abs_diff(purged.kept) < purged.kept / 5, "{purged:?}");
    let hold = purged.longest_hold.as_secs_f64() * 1e3;
    println!("{time} {} {hold} {}", purged.transactions, purged.long_holds);
}
