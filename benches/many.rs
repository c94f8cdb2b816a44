//! Many decisions at once, each in a process of its own that asks once, as Exim's processes do: with no store
//! (`mode=off`), about new triplets, and about retries that pass; on the disk as it is, and with flushes that
//! take 10 ms longer.
//!
//! One process forks them as Exim's daemon does, with the library preloaded, as fast as it gets to it, and no
//! more at a time than said. Each works as long as one of Exim's does for a connection, half of it before it
//! asks. So what `mode=off` shows is the waiting for a processor, and `LMDB alone` what LMDB's own locks add to that:
//! processes that read and write one record each as a new triplet does, by the C library alone. Its call is so short that about one in a
//! hundred is interrupted, and the 99th percentile is now this, now that; the time from the fork to the
//! answer is steady. Every pass is looked at afterwards: it must be known. And a newsletter: one process that
//! tells `greylist_sent` of 5,000 recipients.
//!
//! `make bench-many`, or `cargo bench --bench many -- [--rounds N] [--work MICROSECONDS] [FILE]`, as root:
//! the store is at its default place, in a view of the file system of its own. With `--work 0`, processes do
//! nothing but ask. FILE is another build of the library. Each round begins with an empty store.
#![allow(
    unsafe_code,
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a benchmark"
)]

#[path = "common/bare.rs"]
mod bare;
mod common;
#[path = "common/slow_disk.rs"]
mod slow_disk;

use bare::{Task, bare};
use common::{Function, answer, call, fork, quantile, triplet, wait};
use slow_disk::{SlowDisk, flushes};
use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

const ROUNDS: u32 = 5;
const AT_A_TIME: [usize; 4] = [1, 8, 50, 150];
const LONGER_MS: [u32; 2] = [0, 10];

/// Decisions of one kind in a turn: no more, and none is begun after this time.
const MOST: u32 = 3_000;
const LIMIT: Duration = Duration::from_secs(2);

const RECIPIENTS: u32 = 5_000;

/// The CPU time that Exim without greylisting takes for a connection with one recipient, in microseconds
/// (`make bench-exim`).
const WORK: u32 = 700;

/// What is asked, and the reason that must be in the answer. The last asks nobody.
const KINDS: [(&str, &str, &str); 4] = [
    ("mode=off", "mode=off", "reason=off"),
    ("new triplet", "delay=0s", "reason=new"),
    ("retry that passes", "delay=0s", "reason=retried"),
    ("LMDB alone", "", ""),
];
const OFF: usize = 0;
const NEW: usize = 1;
const PASS: usize = 2;
const BARE: usize = 3;

/// What all processes write into: of each decision the nanoseconds of the call, whose last bit says that it
/// was an error, and those since its process was forked.
struct Shared {
    wrong: AtomicU32,
    calls: [AtomicU32; MOST as usize],
    since_fork: [AtomicU32; MOST as usize],
}

/// An answer.
struct Told {
    i: u32,
    /// Milliseconds.
    call: f64,
    since_fork: f64,
    right: bool,
}

impl Shared {
    fn new() -> &'static Self {
        let (size, protection) = (size_of::<Self>(), libc::PROT_READ | libc::PROT_WRITE);
        let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping, of all zeros, which is a value; it is never unmapped.
        unsafe {
            let place = libc::mmap(std::ptr::null_mut(), size, protection, flags, -1, 0);
            assert_ne!(place, libc::MAP_FAILED);
            &*place.cast::<Self>()
        }
    }

    fn reset(&self) {
        self.calls.iter().for_each(|call| call.store(0, Ordering::Relaxed));
    }

    fn told(&self, i: u32, times: [Duration; 2], error: bool) {
        let [call, since_fork] = times.map(|time| time.as_nanos().clamp(2, u32::MAX.into()) as u32);
        self.since_fork[i as usize].store(since_fork, Ordering::Relaxed);
        self.calls[i as usize].store(call & !1 | u32::from(error), Ordering::Relaxed);
    }

    fn all_told(&self) -> impl Iterator<Item = Told> {
        let all = (0..).zip(self.calls.iter().zip(&self.since_fork)).map(|(i, (call, since_fork))| {
            let [call, since_fork] = [call, since_fork].map(|time| time.load(Ordering::Relaxed));
            Told {
                i,
                call: f64::from(call) / 1e6,
                since_fork: f64::from(since_fork) / 1e6,
                right: call & 1 == 0,
            }
        });
        all.filter(|told| told.call > 0.0)
    }
}

/// What came of one kind, with so many at a time.
#[derive(Clone, Copy, Default)]
struct Turn {
    rate: f64,
    /// Milliseconds that a call takes.
    median: f64,
    p99: f64,
    /// The 99th percentile from the fork to the answer: with the waiting for a processor, and the work before
    /// the call.
    since_fork: f64,
    answers: f64,
    errors: f64,
    /// Passes that are not known afterwards.
    unrecorded: f64,
    flushes: f64,
}

impl Turn {
    fn numbers(&self) -> [f64; 8] {
        let Self { rate, median, p99, since_fork, answers, errors, unrecorded, flushes } = *self;
        [rate, median, p99, since_fork, answers, errors, unrecorded, flushes]
    }

    fn of([rate, median, p99, since_fork, answers, errors, unrecorded, flushes]: [f64; 8]) -> Self {
        Self { rate, median, p99, since_fork, answers, errors, unrecorded, flushes }
    }
}

/// Keeps a processor busy for so many microseconds.
fn work(microseconds: u32) {
    let used = || {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the place is valid.
        unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
        time.tv_sec * 1_000_000 + time.tv_nsec / 1000
    };
    let end = used() + i64::from(microseconds);
    while used() < end {}
}

/// Whether a child has ended, which it must have done well; or waits until one has.
fn ended(waits: bool) -> bool {
    let mut status = 0;
    // SAFETY: waits for a child of this process; the place is valid.
    let pid = unsafe { libc::waitpid(-1, &raw mut status, if waits { 0 } else { libc::WNOHANG }) };
    assert!(pid >= 0 && status == 0, "a child failed");
    pid > 0
}

/// Where the decisions of a round are made.
struct Place {
    shared: &'static Shared,
    greylist: Function,
    /// Microseconds of other work.
    work: u32,
}

/// Asks about triplets from `first` on.
fn turn(place: &Place, at_a_time: usize, kind: usize, first: u32) -> Turn {
    let Place { shared, greylist, work: other } = *place;
    let (_, option, reason) = KINDS[kind];
    shared.reset();
    let start = Instant::now();
    let mut running = 0;
    for i in 0..MOST {
        let arguments = triplet(first + i, &[option]);
        let texts: Vec<_> = arguments.iter().map(|text| CString::new(text.as_str()).unwrap()).collect();
        while running > 0 && ended(running == at_a_time) {
            running -= 1;
        }
        if start.elapsed() > LIMIT {
            break;
        }
        running += 1;
        let forked = Instant::now();
        fork(|| {
            work(other / 2);
            let start = Instant::now();
            let answer = if kind == BARE {
                bare(bare::KNOWN, &Task::Read(first + i, false));
                bare(bare::PENDING, &Task::Write(first + i));
                c""
            } else {
                answer(greylist, &texts)
            };
            let times = [start, forked].map(|since| since.elapsed());
            let answer = answer.to_string_lossy();
            let error = answer.contains("error=");
            assert!(error || answer.contains(reason), "{answer}");
            shared.told(i, times, error);
            work(other / 2);
        });
    }
    while running > 0 && ended(true) {
        running -= 1;
    }
    let seconds = start.elapsed().as_secs_f64();
    let answers = shared.all_told().count() as f64;
    let right = shared.all_told().filter(|told| told.right).count() as f64;
    let quantile = |share, time: fn(Told) -> f64| quantile(shared.all_told().map(time).collect(), share);
    Turn {
        rate: right / seconds,
        median: quantile(0.5, |told| told.call),
        p99: quantile(0.99, |told| told.call),
        since_fork: quantile(0.99, |told| told.since_fork),
        answers,
        errors: answers - right,
        ..Turn::default()
    }
}

/// How many of these things are not so, found out in a process of its own.
fn count(shared: &Shared, all: impl Iterator<Item = u32>, is_so: impl Fn(u32) -> bool) -> f64 {
    wait(fork(|| {
        let wrong = all.filter(|&i| !is_so(i)).count() as u32;
        shared.wrong.store(wrong, Ordering::Relaxed);
    }));
    f64::from(shared.wrong.load(Ordering::Relaxed))
}

/// All turns of a round on one disk, in a process whose flushes are counted: prints a line of numbers for
/// each.
fn round(library: &Path, dir: &Path, counted: &Path, newsletter: bool, work: u32) {
    common::move_in(dir);
    let [greylist, peek, sent] =
        [c"greylist", c"greylist_peek", c"greylist_sent"].map(|name| common::function(library, name));
    wait(fork(|| bare::make(1)));
    common::preload(library);
    let shared = Shared::new();
    let place = Place { shared, greylist, work };
    // The bare environments have record 0.
    let mut first = 1;
    for at_a_time in AT_A_TIME {
        for kind in [OFF, NEW, PASS, BARE] {
            if kind == PASS {
                // What was new comes back; the turn may have been cut short.
                wait(fork(|| {
                    for i in first..first + MOST {
                        let answer = call(greylist, &triplet(i, &["delay=1h"]));
                        assert!(answer.contains("action=defer"), "{answer}");
                    }
                }));
            }
            let before = flushes(counted).unwrap();
            let mut turn = turn(&place, at_a_time, kind, first);
            if kind == PASS {
                let passed = shared.all_told().filter(|told| told.right).map(|told| told.i);
                turn.unrecorded = count(shared, passed, |i| {
                    call(peek, &triplet(first + i, &["delay=1h"])).contains("reason=known")
                });
            }
            turn.flushes = (flushes(counted).unwrap() - before) as f64;
            println!("{}", turn.numbers().map(|number| number.to_string()).join(" "));
        }
        first += MOST;
    }
    if newsletter {
        let words = |i| ["alice@example.org".to_owned(), format!("reader{i}x@reader{i}.example")];
        let before = flushes(counted).unwrap();
        let start = Instant::now();
        wait(fork(|| (0..RECIPIENTS).for_each(|i| assert!(call(sent, &words(i)).contains("result=")))));
        let each = start.elapsed().as_secs_f64() * 1e6 / f64::from(RECIPIENTS);
        let unrecorded = count(shared, 0..RECIPIENTS, |i| {
            let [ours, theirs] = words(i);
            call(peek, &["192.0.2.1".to_owned(), theirs, ours]).contains("reason=replied")
        });
        println!("{each} {unrecorded} {}", flushes(counted).unwrap() - before);
    }
}

/// Medians of the rounds; of answers and mistakes the sum.
fn together(turns: &[Turn]) -> Turn {
    let of = |part: usize| turns.iter().map(move |turn| turn.numbers()[part]);
    let median = |part: usize| quantile(of(part).collect(), 0.5);
    let sum = |part: usize| of(part).sum();
    Turn::of([median(0), median(1), median(2), median(3), sum(4), sum(5), sum(6), sum(7)])
}

/// The turns of a kind, with so many at a time, on this disk or the slow one: a turn a round.
type Turns = [[[Vec<Turn>; KINDS.len()]; AT_A_TIME.len()]; LONGER_MS.len()];

fn table(turns: &Turns) {
    println!(
        "| at a time | | answers/s | the call, ms | from the fork, ms | flushes an answer | `error=` | not recorded |\n\
         |--:|---|--:|--:|--:|--:|--:|--:|"
    );
    for (longer, turns) in LONGER_MS.iter().zip(turns) {
        for (at_a_time, turns) in AT_A_TIME.iter().zip(turns) {
            for ((name, ..), turns) in KINDS.iter().zip(turns) {
                let disk = if *longer == 0 { "" } else { ", flushes 10 ms longer" };
                let of = together(turns);
                println!(
                    "| {at_a_time} | {name}{disk} | {:.0} | {:.2} / {:.1} | {:.1} | {:.3} | {} | {} |",
                    of.rate,
                    of.median,
                    of.p99,
                    of.since_fork,
                    of.flushes / of.answers,
                    of.errors,
                    of.unrecorded
                );
            }
        }
    }
}

/// What one kind reaches of another: medians of the ratios in one round.
fn ratios(turns: &Turns) {
    let [plain, slow] = turns;
    println!(
        "\n| at a time | passes/s, of new/s | 99th percentile, of that of `mode=off`: from the fork, new | passes | \
         LMDB alone | the call, new | passes | LMDB alone | passes/s with slow flushes, of those without |\n\
         |--:|--:|--:|--:|--:|--:|--:|--:|--:|"
    );
    for ((at_a_time, plain), slow) in AT_A_TIME.iter().zip(plain).zip(slow) {
        let [off, new, pass, bare] = plain;
        let ratio = |one: &[Turn], other: &[Turn], of: fn(&Turn) -> f64| {
            quantile(one.iter().zip(other).map(|(one, other)| of(one) / of(other)).collect(), 0.5)
        };
        println!(
            "| {at_a_time} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} |",
            ratio(pass, new, |turn| turn.rate),
            ratio(new, off, |turn| turn.since_fork),
            ratio(pass, off, |turn| turn.since_fork),
            ratio(bare, off, |turn| turn.since_fork),
            ratio(new, off, |turn| turn.p99),
            ratio(pass, off, |turn| turn.p99),
            ratio(bare, off, |turn| turn.p99),
            ratio(&slow[PASS], pass, |turn| turn.rate),
        );
    }
}

fn main() {
    // `cargo test --all-targets` starts benchmarks too, without this argument.
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [task, library, dir, counted, newsletter, work] = &arguments[..]
        && task == "--round"
    {
        let [library, dir, counted] = [library, dir, counted].map(Path::new);
        return round(library, dir, counted, newsletter == "true", work.parse().unwrap());
    }
    if !arguments.iter().any(|argument| argument == "--bench") {
        return;
    }
    let mut option = |name: &str, default: u32| match arguments.iter().position(|argument| argument == name) {
        None => default,
        Some(at) => arguments.drain(at..at + 2).nth(1).unwrap().parse().unwrap(),
    };
    let (rounds, work) = (option("--rounds", ROUNDS), option("--work", WORK));
    let library = common::library(arguments.into_iter().find(|argument| !argument.starts_with("--")));
    let mut turns = Turns::default();
    let mut newsletters: [Vec<f64>; 3] = Default::default();
    for round in 0..rounds {
        let mut disks: Vec<_> = LONGER_MS.iter().zip(&mut turns).collect();
        disks.rotate_left(round as usize % 2);
        for (longer, turns) in disks {
            // On the disk that holds the build. Goes with the value.
            let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
            let store = dir.path().join("var");
            std::fs::create_dir(&store).unwrap();
            let counted: PathBuf = dir.path().join("flushes");
            let newsletter = *longer == 0;
            let output = Command::new(std::env::current_exe().unwrap())
                .arg("--round")
                .args([&library, &store, &counted])
                .args([newsletter.to_string(), work.to_string()])
                .envs(SlowDisk::build(dir.path()).unwrap().environment(&counted, *longer).unwrap())
                .output()
                .unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let text = String::from_utf8(output.stdout).unwrap();
            let mut lines = text
                .lines()
                .map(|line| line.split(' ').map(|number| number.parse().unwrap()).collect::<Vec<f64>>());
            for (turns, numbers) in turns.iter_mut().flatten().zip(&mut lines) {
                turns.push(Turn::of(numbers.try_into().unwrap()));
            }
            for (all, number) in newsletters.iter_mut().zip(lines.next().unwrap_or_default()) {
                all.push(number);
            }
            eprintln!("round {} of {rounds}, flushes {longer} ms longer", round + 1);
        }
    }
    table(&turns);
    ratios(&turns);
    let [each, unrecorded, flushes] = newsletters.map(|numbers| quantile(numbers, 0.5));
    println!(
        "\n{RECIPIENTS} recipients through `greylist_sent`: {each:.1} us each, {flushes} flushes, {unrecorded} not recorded"
    );
}
