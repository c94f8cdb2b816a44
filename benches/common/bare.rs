//! The least that a store in LMDB can cost: the same environments, opened and used by the C library alone.

use lmdb_sys as lmdb;
use std::ffi::{CStr, c_int};
use std::path::Path;
use std::ptr::{null, null_mut};

/// Two environments like those of the store, in its place.
pub const KNOWN: &CStr = c"/var/lib/bare-known";
pub const PENDING: &CStr = c"/var/lib/bare-pending";

/// As long as the store's records of these triplets: twenty bytes and three texts.
const RECORD: [u8; 86] = [7; 86];

/// What one transaction does.
pub enum Task {
    /// Writes so many records.
    Fill(u32),
    /// Looks for a record that is there, or is not.
    Read(u32, bool),
    /// Writes the record of that number.
    Write(u32),
}

/// Opens an environment with the store's flags (src/store/lmdb.rs) and does one task in it, by LMDB's C
/// functions alone.
pub fn bare(dir: &CStr, task: &Task) {
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
        if matches!(task, Task::Fill(_)) {
            check(lmdb::mdb_env_set_mapsize(env, 32 << 20));
        }
        check(lmdb::mdb_env_open(env, dir.as_ptr(), flags, 0o640));
        check(lmdb::mdb_txn_begin(env, null_mut(), read, &raw mut txn));
        check(lmdb::mdb_dbi_open(txn, null(), 0, &raw mut table));
        let put = |i: u32| {
            let (mut key, mut record) = (key(i), RECORD);
            let value =
                |bytes: &mut [u8]| lmdb::MDB_val { mv_size: bytes.len(), mv_data: bytes.as_mut_ptr().cast() };
            check(lmdb::mdb_put(txn, table, &mut value(&mut key), &mut value(&mut record), 0));
        };
        match *task {
            Task::Fill(count) => (0..count).for_each(put),
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

/// Makes both, with so many records in each.
pub fn make(records: u32) {
    for dir in [KNOWN, PENDING] {
        std::fs::create_dir(Path::new(dir.to_str().unwrap())).unwrap();
        bare(dir, &Task::Fill(records));
    }
}
