//! Decisions, opening, room, memory and `eximgrey purge` in stores of 10,000 to 10,000,000 known triplets, or other powers of
//! ten.
//!
//! `make bench-scale`. `cargo bench --bench scale -- [--least TRIPLETS] [--most TRIPLETS] [--write]`; `--write` puts the table
//! into docs/performance.md. Each figure comes from a process of its own: this program again, with a task as its argument.
#![allow(
    unsafe_code,
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a benchmark"
)]

mod fill;
mod mail;
mod report;
mod tasks;

use eximgrey::store::sys;
use report::Row;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// Known triplets of a client network, on average.
const A_NETWORK: u64 = 10;

/// A mail host whose store is measured: the store's directory, which also holds its configuration, and what it is filled with.
pub struct Host {
    dir: PathBuf,
    triplets: u64,
    /// Triplets that share a network.
    a_network: u64,
    text: bool,
}

impl Host {
    fn new(dir: &Path, triplets: u64, a_network: u64, text: bool) -> Self {
        let host = Self { dir: dir.into(), triplets, a_network, text };
        let config = format!("store = \"{}\"\nprivacy = {}\ndelay = \"0s\"\n", dir.display(), !text);
        std::fs::write(host.config(), config).unwrap();
        host
    }

    fn config(&self) -> PathBuf {
        self.dir.join("eximgrey.toml")
    }

    fn networks(&self) -> u64 {
        (self.triplets / self.a_network).max(1)
    }

    /// Bytes of disk that it takes, with room to spare.
    fn room(&self) -> u64 {
        self.triplets * if self.text { 250 } else { 120 }
    }

    /// What a new process that does `task` with `number` prints: numbers.
    fn run(&self, task: &str, number: u64) -> Vec<f64> {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg("--task").arg(task).arg(&self.dir).arg(self.triplets.to_string());
        command.arg(self.a_network.to_string()).arg(self.text.to_string()).arg(number.to_string());
        let output = command.output().unwrap();
        assert!(output.status.success(), "{task}: {}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        text.split_whitespace().map(|word| word.parse().unwrap()).collect()
    }

    /// Waits until the disk has what was written: a flush that is measured later shall not have to.
    fn flush(&self) {
        std::fs::File::open(self.dir.join("known/data.mdb")).unwrap().sync_all().unwrap();
    }

    fn measure(&self) -> Row {
        let start = Instant::now();
        let bytes = self.run("fill", 0)[0];
        eprintln!("  filled in {:.0} s", start.elapsed().as_secs_f64());
        self.flush();
        let mut first: Vec<f64> = (0..50).map(|seed| self.run("first", seed)[0]).collect();
        first.sort_by(f64::total_cmp);
        let decide = self.run("decide", 1);
        let memory = self.run("memory", 2);
        let purge = self.run("purge", 0);
        let flush = self.run("flush", purge[1] as u64);
        eprintln!("  measured in {:.0} s", start.elapsed().as_secs_f64());
        Row {
            triplets: self.triplets,
            text: self.text,
            known: [decide[0], decide[1]],
            new: [decide[2], decide[3]],
            first: first[first.len() / 2],
            bytes: bytes / self.triplets as f64,
            purge: purge[0],
            holds: [purge[1], purge[2], purge[3]],
            flush: flush[1],
            flushes: [flush[0], flush[2], flush[3]],
            own: memory[0],
            shared: memory[1],
        }
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, task, dir, triplets, a_network, text, number] = &arguments[..]
        && flag == "--task"
    {
        let (triplets, a_network) = (triplets.parse().unwrap(), a_network.parse().unwrap());
        let host = Host { dir: dir.into(), triplets, a_network, text: text == "true" };
        return tasks::run(task, &host, number.parse().unwrap());
    }
    let (mut least, mut most) = (10_000, 10_000_000);
    let mut write = false;
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--least" => least = rest.next().unwrap().parse().unwrap(),
            "--most" => most = rest.next().unwrap().parse().unwrap(),
            "--write" => write = true,
            // What cargo says to every benchmark.
            "--bench" => {}
            other => panic!("unknown: {other}"),
        }
    }
    assert!(!write || least == 10_000, "the table in the documentation is the whole one");
    let mut rows = Vec::new();
    for text in [false, true] {
        let mut triplets = least;
        while triplets <= most {
            eprintln!("{triplets} triplets, {}", if text { "with text" } else { "privacy" });
            // Goes with the value, also when a task fails.
            let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
            let host = Host::new(dir.path(), triplets, A_NETWORK, text);
            let free = sys::free_bytes(dir.path()).unwrap();
            if free < host.room() {
                let gigabytes = |bytes| bytes as f64 / 1e9;
                eprintln!(
                    "  left out: {:.1} GB of disk needed, {:.1} free",
                    gigabytes(host.room()),
                    gigabytes(free)
                );
                break;
            }
            let row = host.measure();
            // The whole table takes long.
            eprint!("{}", row.line());
            rows.push(row);
            triplets *= 10;
        }
    }
    report::show(&rows, &alike(), write);
}

/// Bytes a triplet at 100,000 triplets: filled here, decided one by one, and filled with a network for each triplet.
fn alike() -> [[f64; 3]; 2] {
    [false, true].map(|text| {
        [("fill", A_NETWORK), ("live", A_NETWORK), ("fill", 1)].map(|(task, a_network)| {
            // In memory, where a flush costs nothing: the layout is the same.
            let parent = Path::new("/dev/shm");
            let parent = if parent.is_dir() { parent } else { Path::new(env!("CARGO_TARGET_TMPDIR")) };
            let dir = tempfile::tempdir_in(parent).unwrap();
            let host = Host::new(dir.path(), 100_000, a_network, text);
            host.run(task, 0)[0] / host.triplets as f64
        })
    })
}
