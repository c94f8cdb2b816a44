//! Stores that other versions have written: every format so far is read, and one of the future is left alone.

use super::SENDER;
use super::faults::{TRIPLET, answer, remember};
use crate::common::driver::Built;
use crate::common::{Place, as_store_user, give_to_store_user};
use eximgrey::memory::Access;
use eximgrey::session::Session;
use eximgrey::store::Table;
use eximgrey::store::entries::{Entry, Kind};
use eximgrey::time::Timestamp;
use eximgrey::whitelist::ListKind;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// When the stores were written.
const THEN: u32 = 1_800_000_000;

const OTHER: [&str; 3] = ["198.51.100.7", "carol@other.example", "bob@rcpt.example"];

fn fixture(format: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests/fixtures", format, "known/data.mdb"].iter().collect()
}

fn bytes<'a>(words: &[&'a str]) -> Vec<&'a [u8]> {
    words.iter().map(|word| word.as_bytes()).collect()
}

fn calls(place: &Place, calls: &[(u32, &[&str])]) -> Vec<String> {
    let calls: Vec<_> = calls.iter().map(|(time, words)| (THEN + time, bytes(words))).collect();
    let calls: Vec<_> = calls.iter().map(|(time, words)| (*time, words.as_slice())).collect();
    place.decide(&calls)
}

/// Writes the fixture of this version: `cargo test --test store_processes write_the_fixture -- --ignored`. A format that was
/// released keeps its own.
#[test]
#[ignore = "writes to the source tree"]
fn write_the_fixture() {
    let place = Place::new("");
    let spf = [TRIPLET[0], SENDER, TRIPLET[2], "spf=sender.example"];
    calls(&place, &[(0, &spf), (300, &spf), (0, &OTHER), (400, &OTHER)]);
    let option = place.config_option();
    as_store_user(|| {
        let mut session = Session::new();
        let words = |words: &[&'static str]| [bytes(words), vec![option.as_bytes()]].concat();
        let sent = words(&["bob@rcpt.example", "friend@replied.example"]);
        session.sent(&sent, Access::Record, Timestamp(THEN)).unwrap();
        let spam = words(&[OTHER[0], OTHER[1], OTHER[2], "spam"]);
        session.feedback(&spam, Access::Record, Timestamp(THEN + 500)).unwrap();
        let trap = words(&["203.0.113.9", "x@y.example", "trap@rcpt.example", "trap"]);
        session.feedback(&trap, Access::Record, Timestamp(THEN)).unwrap();
        let store = place.open();
        store.carry_all().unwrap();
        let listed = [b"192.0.2.128/25".to_vec(), b"why".to_vec(), Vec::new()];
        let listed = Entry::new(Kind::Listed(ListKind::Client), Timestamp(THEN), Timestamp(u32::MAX), listed);
        store.whitelist(&[listed]).unwrap();
    });
    let fixture = fixture("store-1");
    fs::create_dir_all(fixture.parent().unwrap()).unwrap();
    fs::copy(place.store().join("known/data.mdb"), fixture).unwrap();
}

/// What version 0.1.0 wrote: triplets, identities, spam, permits, a trap, the whitelist.
#[test]
fn a_store_of_every_format_so_far_is_read() {
    let place = Place::new("trust_known_domains = false");
    as_store_user(|| {
        fs::create_dir(place.store().join("known")).unwrap();
    });
    let data = place.store().join("known/data.mdb");
    fs::copy(fixture("store-1"), &data).unwrap();
    give_to_store_user(&data);
    let answers = calls(
        &place,
        &[
            (600, &TRIPLET),
            (600, &["203.0.120.1", SENDER, TRIPLET[2], "spf=sender.example"]),
            (600, &OTHER),
            (600, &["203.0.114.1", "friend@replied.example", "bob@rcpt.example"]),
            (600, &["203.0.113.77", "new@y.example", "bob@rcpt.example"]),
            (600, &["192.0.2.200", "new@z.example", "bob@rcpt.example"]),
        ],
    );
    let expected = [
        "action=pass reason=known by=network",
        "action=pass reason=known by=spf",
        "action=defer reason=new wait=300",
        "action=pass reason=replied",
        "action=defer reason=trapped wait=85800",
        "action=pass reason=whitelisted",
    ];
    assert_eq!(answers, expected);
    as_store_user(|| {
        let store = place.open();
        assert_eq!(store.made(), Timestamp(THEN));
        let skipped = store.scan(Table::Known, |_, _| true).unwrap();
        assert_eq!(skipped.unreadable, 0);
    });
}

/// LMDB of the future, and a file `state` of the future: the data is left as it is, and mail passes.
#[test]
fn a_store_from_the_future_is_left_alone() {
    let place = Place::new("delay = \"0s\"");
    let built = Built::new(&place);
    remember(&place, &built);
    let data = place.store().join("known/data.mdb");
    let file = fs::OpenOptions::new().write(true).open(&data).unwrap();
    // Behind the head of a page and the magic number (mdb.c, MDB_meta).
    for head in [0, 4096] {
        file.write_all_at(&9_u32.to_le_bytes(), head + 16 + 4).unwrap();
    }
    let state = fs::OpenOptions::new().write(true).open(place.store().join("state")).unwrap();
    state.write_all_at(&[9], 8).unwrap();
    let before = fs::read(&data).unwrap();
    for _ in 0..3 {
        assert_eq!(answer(&place, &built, &TRIPLET), "action=pass reason=error error=store-damaged");
    }
    assert!(fs::read(&data).unwrap() == before);
}
