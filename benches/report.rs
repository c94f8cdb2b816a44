//! What `eximgrey report` costs on a store of a million records: time, and the most memory that it had. `make bench-report`;
//! `cargo bench --bench report -- [RECORDS]`.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a benchmark"
)]

#[path = "../tests/common/sample.rs"]
mod sample;

use eximgrey::memory::Access;
use eximgrey::settings::Settings;
use eximgrey::store::Store;
use eximgrey::time::{Seconds, Timestamp};
use sample::Sample;
use std::process::{Command, Stdio};
use std::time::Instant;

fn main() {
    // What cargo says to every benchmark.
    let records = std::env::args().skip(1).find(|argument| argument != "--bench");
    let records: u64 = records.map_or(1_000_000, |text| text.parse().expect("a number of records"));
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let config = dir.path().join("eximgrey.toml");
    std::fs::write(&config, format!("store = \"{}\"\n", dir.path().display())).unwrap();
    let settings = Settings::load(Some(&config)).unwrap().store;
    let now = Timestamp::now();
    {
        let made = Timestamp(now.0 - Seconds::DAY.times(60).0);
        let store = Store::open(&settings, Access::Record, made).unwrap().unwrap();
        sample::fill(&store, Sample::of(records), now);
        let holds = store.survey(&Default::default(), now).unwrap();
        println!(
            "{} known triplets, {} first attempts, {} identities; {} + {} MB",
            holds.triplets,
            holds.first_attempts,
            holds.identities,
            holds.known.bytes / 1_000_000,
            holds.pending.bytes / 1_000_000
        );
    }
    let mut own = 0;
    for arguments in [&["--json"][..], &[], &["--html", "-"], &["--since", "730d", "--html", "-"]] {
        let mut times: Vec<f64> = (0..5).map(|_| run(arguments, &config, &mut own)).collect();
        times.sort_by(f64::total_cmp);
        println!("report {:<25} {:.2} s", arguments.join(" "), times[2]);
    }
    println!(
        "most memory of its own at any time: {:.0} MB; what it has mapped of the store is the page cache's",
        own as f64 / 1e3
    );
}

/// Seconds that it took; `own` becomes the most anonymous memory that it was seen with, in kB, if that is more.
fn run(arguments: &[&str], config: &std::path::Path, own: &mut u64) -> f64 {
    let mut command = Command::new(env!("CARGO_BIN_EXE_eximgrey"));
    command.arg("report").args(arguments).arg("--config").arg(config).stdout(Stdio::null());
    let start = Instant::now();
    let mut child = command.spawn().unwrap();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let anonymous =
            status.lines().find_map(|line| line.strip_prefix("RssAnon:")?.trim().strip_suffix(" kB"));
        *own = anonymous.and_then(|kb| kb.parse().ok()).unwrap_or(0).max(*own);
        std::thread::sleep(std::time::Duration::from_millis(2));
    };
    assert!(status.success());
    start.elapsed().as_secs_f64()
}
