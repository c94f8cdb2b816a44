//! What LMDB wrote is read as LMDB reads it; whatever else a file holds is read without a panic.

use super::*;
use crate::store::lmdb::{Durability, Env, Patience, Purpose};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

#[path = "../../../tests/common/damage.rs"]
mod damage;

type Table = BTreeMap<Vec<u8>, Vec<u8>>;

fn key(i: u64) -> Vec<u8> {
    u128::from(i).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835).to_be_bytes().to_vec()
}

/// An environment with so many records, written, overwritten and in part deleted; and what LMDB says that it
/// holds.
fn made(records: u64) -> (tempfile::TempDir, PathBuf, Table) {
    let dir = tempfile::tempdir().unwrap();
    let env = Env::open(&dir.path().join("env"), Durability::Everything, Purpose::Make).unwrap();
    for round in 0..3 {
        for part in (0..records).collect::<Vec<_>>().chunks(50) {
            let write = env.write(Patience::None, |writer| {
                for &i in part {
                    match (i + round) % 7 {
                        0 => writer.delete(&key(i))?,
                        _ => writer.put(&key(i), &vec![i as u8; 40 + ((i + 17 * round) % 90) as usize])?,
                    }
                }
                Ok(())
            });
            write.unwrap();
        }
    }
    let mut table = Table::new();
    let read = env.read(|snapshot| {
        snapshot.each(|key, value| {
            table.insert(key.to_vec(), value.to_vec());
            true
        })
    });
    read.unwrap();
    let path = dir.path().join("env/data.mdb");
    (dir, path, table)
}

fn read(path: &Path) -> (Walk, Table, Table) {
    let data = DataFile::open(path).unwrap();
    let (mut tree, mut swept) = (Table::new(), Table::new());
    let mut last: Option<Vec<u8>> = None;
    let walk = data.walk(&mut |key, value| {
        assert!(last.as_deref() < Some(key), "keys out of order");
        last = Some(key.to_vec());
        tree.insert(key.to_vec(), value.to_vec());
    });
    data.sweep(&walk.lost, &mut |key, value| {
        swept.insert(key.to_vec(), value.to_vec());
    });
    (walk, tree, swept)
}

/// Of a sound file every record is given, and nothing is found wrong.
#[test]
fn a_sound_file_is_read_as_lmdb_reads_it() {
    for records in [0, 1, 30, 3_000, 40_000] {
        let (_dir, path, table) = made(records);
        let (walk, tree, swept) = read(&path);
        assert_eq!((walk.faults.count, walk.lost_pages), (0, 0), "{records}: {}", walk.faults);
        assert_eq!((walk.records, tree == table), (table.len() as u64, true), "{records}");
        assert!(swept.is_empty());
    }
}

/// Without its root page the table is that of the commit before; without a leaf only that one's keys are
/// looked for elsewhere.
#[test]
fn a_lost_page_costs_no_more_than_it_held() {
    let (_dir, path, table) = made(3_000);
    let whole = std::fs::read(&path).unwrap();
    let mut bytes = whole.clone();
    let root = damage::root(&bytes) * 4_096;
    bytes[root..root + 4_096].fill(0);
    std::fs::write(&path, &bytes).unwrap();
    let (walk, tree, _) = read(&path);
    assert!(walk.faults.to_string().contains("the commit before"), "{}", walk.faults);
    let kept = tree.iter().filter(|(key, _)| table.contains_key(*key)).count();
    assert!(kept + 50 >= table.len() && tree.len() <= table.len() + 50, "{kept} of {}", table.len());

    // The page that the first key leads to.
    let mut bytes = whole;
    let first = u64_at(&bytes, root + child_of(&bytes, root)) as usize & 0xffff_ffff;
    bytes[first * 4_096..][..4_096].fill(0xff);
    std::fs::write(&path, &bytes).unwrap();
    let (walk, tree, swept) = read(&path);
    assert_eq!((walk.faults.count, walk.lost_pages, walk.lost.len()), (1, 1, 1), "{}", walk.faults);
    assert!(tree.len() + 100 > table.len() && tree.len() < table.len());
    let [Keys { from: None, below: Some(end) }] = &walk.lost[..] else { panic!("{:?}", walk.lost) };
    assert!(swept.keys().all(|key| key < end) && tree.keys().all(|key| key >= end));
    assert!(tree.iter().all(|(key, value)| table.get(key) == Some(value)));
}

fn child_of(bytes: &[u8], page: usize) -> usize {
    usize::from(u16::from_le_bytes([bytes[page + 16], bytes[page + 17]]))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// A branch that leads back is followed once.
#[test]
fn a_circle_ends() {
    let (_dir, path, _) = made(3_000);
    let mut bytes = std::fs::read(&path).unwrap();
    let root = damage::root(&bytes);
    let at = root * 4_096 + child_of(&bytes, root * 4_096);
    bytes[at..at + 4].copy_from_slice(&(root as u32).to_le_bytes());
    std::fs::write(&path, &bytes).unwrap();
    let (walk, tree, _) = read(&path);
    assert!(walk.faults.to_string().contains("used twice"), "{}", walk.faults);
    assert!(!tree.is_empty());
}

/// Damage of every kind, noise, and nothing at all are read without a panic; what is not damaged is kept.
#[test]
fn no_bytes_make_the_reader_fail() {
    let (_dir, path, table) = made(2_000);
    let whole = std::fs::read(&path).unwrap();
    let mut harmless = 0;
    for seed in 0..1_000 {
        let mut bytes = whole.clone();
        let mut how = String::new();
        for more in 0..=seed % 3 {
            if bytes.len() >= 8_192 {
                how += &damage::damage(&mut bytes, seed * 3 + more);
            }
        }
        std::fs::write(&path, &bytes).unwrap();
        let (walk, tree, swept) = read(&path);
        harmless += u32::from(walk.faults.count == 0);
        if bytes.len() == whole.len() && seed % 3 == 0 {
            // One page, or eight places.
            let kept = table.keys().filter(|key| tree.contains_key(*key) || swept.contains_key(*key));
            assert!(kept.count() + 8 * 70 > table.len(), "{seed}: {how}: {}", walk.faults);
        }
    }
    // Much of a file is free, or the text of a record.
    assert!(harmless < 800, "{harmless}");
    for (seed, length) in [0, 1, 100, 4_096, 8_192, 8_193, 65_536].into_iter().enumerate() {
        let mut state = seed as u64 + 1;
        let noise = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        });
        std::fs::write(&path, noise.take(length).collect::<Vec<_>>()).unwrap();
        let (walk, tree, _) = read(&path);
        assert!(walk.faults.count > 0 && tree.is_empty());
    }
}
