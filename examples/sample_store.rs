//! Makes a store as a mail host has it after some weeks: `cargo run --example sample_store -- DIRECTORY [RECORDS]`. The
//! directory gets the store and its configuration, `eximgrey.toml`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    missing_docs,
    reason = "an example"
)]

#[path = "../tests/common/sample.rs"]
mod sample;

use eximgrey::memory::Access;
use eximgrey::settings::Settings;
use eximgrey::store::Store;
use eximgrey::time::{Seconds, Timestamp};
use sample::Sample;
use std::path::Path;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments.next().expect("a directory");
    let records = arguments.next().map_or(20_000, |text| text.parse().expect("a number of records"));
    let dir = Path::new(&dir);
    let (config, path) = (dir.join("eximgrey.toml"), dir.join("store"));
    std::fs::create_dir_all(&path).unwrap();
    std::fs::write(&config, format!("store = \"{}\"\n", path.display())).unwrap();
    let settings = Settings::load(Some(&config)).unwrap().store;
    let now = Timestamp::now();
    // As if it had been made long ago.
    let made = Timestamp(now.0 - Seconds::DAY.times(60).0);
    let store = Store::open(&settings, Access::Record, made).unwrap().unwrap();
    sample::fill(&store, Sample::of(records), now);
}
