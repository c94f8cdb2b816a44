//! One environment by itself: files, tidying, growth, the lock.

use super::sys::{DIR_MODE, FILE_MODE};
use super::*;
use crate::store::Table;
use crate::store::state::{State, Turn};
use crate::store::tidy::Bound;
use crate::time::{Seconds, Timestamp};
use crate::triplet::Key;
use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A first attempt as the bytes of a record: only what a neighbour is judged by.
fn attempt(expires: u32, first_seen: u32, network: u32, length: usize) -> Vec<u8> {
    let mut bytes = vec![1, 1, 0, 0];
    for number in [first_seen, expires, 0, network] {
        bytes.extend(number.to_le_bytes());
    }
    bytes.resize(20 + length, 0);
    bytes
}

fn key(i: u64) -> Key {
    // Multiplied by an odd number: evenly spread, as hashes are.
    let spread = u128::from(i).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    Key(spread.to_be_bytes())
}

/// An environment in a directory of its own, as whoever runs the tests.
fn env() -> (tempfile::TempDir, Env) {
    let dir = tempfile::tempdir().unwrap();
    let env = Env::open(&dir.path().join("env"), Durability::Everything, Purpose::Make).unwrap();
    (dir, env)
}

/// The same with one record, closed again; and its path.
fn closed_env() -> (tempfile::TempDir, PathBuf) {
    let (dir, env) = env();
    put(&env, &key(1), b"x", 0, None);
    let path = dir.path().join("env");
    (dir, path)
}

fn put(env: &Env, key: &Key, value: &[u8], now: u32, most: Option<u64>) {
    let bound = Bound { now: Timestamp(now), most: most.unwrap_or(u64::MAX) };
    env.write(Patience::None, |writer| {
        writer.put(&key.0, value)?;
        Ok(writer.tidy(key, bound)?)
    })
    .unwrap();
}

fn entries(env: &Env) -> u64 {
    let mut count = 0;
    env.read(|snapshot| {
        snapshot.each(|_, _| {
            count += 1;
            true
        })
    })
    .unwrap();
    count
}

#[test]
fn files_have_their_modes_and_are_closed_on_exec() {
    let (dir, env) = env();
    put(&env, &key(1), b"x", 0, None);
    let mode = |name: &str| std::fs::metadata(dir.path().join(name)).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode("env"), DIR_MODE);
    for name in ["env/data.mdb", "env/lock.mdb"] {
        assert_eq!(mode(name), FILE_MODE, "{name}");
    }
    for entry in std::fs::read_dir("/proc/self/fd").unwrap().flatten() {
        let Ok(target) = std::fs::read_link(entry.path()) else {
            continue;
        };
        if target.starts_with(dir.path()) {
            let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", entry.file_name().display()))
                .unwrap();
            let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap().trim();
            let flags = u32::from_str_radix(flags, 8).unwrap();
            assert_ne!(flags & libc::O_CLOEXEC as u32, 0, "{}", target.display());
        }
    }
}

/// A flood that never stops, of attempts that never come back: what is expired goes with the inserts.
#[test]
fn the_table_stays_near_the_number_of_live_records() {
    let (_dir, env) = env();
    let live = 1_000;
    for i in 0..8 * live {
        put(&env, &key(i.into()), &attempt(i + live, i, 0, 60), i, None);
    }
    let there = entries(&env);
    assert!((u64::from(live)..=u64::from(live) * 5 / 4).contains(&there), "{there} records, {live} alive");
}

#[test]
fn a_flood_pushes_out_its_own_attempts_and_not_those_of_others() {
    let (_dir, env) = env();
    let others: Vec<Key> = (0..100).map(key).collect();
    for (i, key) in others.iter().enumerate() {
        put(&env, key, &attempt(9_000_000, 1, i as u32 + 1_000, 60), 9_000, Some(1_000));
    }
    for i in 0..5_000 {
        put(&env, &key(1_000 + i), &attempt(9_000_000, 2, 7, 60), 9_000, Some(1_000));
    }
    let there = entries(&env);
    assert!((990..=1_000).contains(&there), "{there}");
    let kept =
        env.read(|s| Ok(others.iter().filter(|key| s.get(&key.0).unwrap().is_some()).count())).unwrap();
    assert_eq!(kept, 100);
}

#[test]
fn the_map_grows_by_itself() {
    let (_dir, env) = env();
    let big = vec![b'x'; 1_900];
    let count = 60_000_u64;
    for chunk in 0..60 {
        env.write(Patience::None, |writer| {
            for i in chunk * 1_000..(chunk + 1) * 1_000 {
                writer.put(&key(i).0, &big)?;
            }
            Ok(())
        })
        .unwrap();
    }
    assert!(env.map_size() > FIRST_MAP, "{}", env.map_size());
    assert_eq!(entries(&env), count);
}

#[test]
fn what_a_failed_change_wrote_is_not_there() {
    let (_dir, env) = env();
    let result = env.write(Patience::None, |writer| {
        writer.put(&key(1).0, b"x")?;
        Err::<(), _>(Trouble::Lmdb(lmdb::Error::BadValSize))
    });
    assert!(matches!(result, Err(StoreError::Damaged { .. })));
    assert_eq!(entries(&env), 0);
}

#[test]
fn a_taken_lock_is_waited_for_no_longer_than_said() {
    let dir = tempfile::tempdir().unwrap();
    // Each maps the file by itself, as another process would.
    let [state, other] = [(); 2].map(|()| Arc::new(State::open(dir.path(), true).unwrap()));
    let gate = Gate::new(state, Table::Pending, Seconds(0));
    let path = dir.path().join("env");
    let env = Env::open_at(&path, Durability::Everything, Purpose::Make, Some(gate)).unwrap();
    let write = |patience| env.write(patience, |writer| Ok(writer.put(&key(1).0, b"x")?));
    write(Patience::None).unwrap();
    let held = other.take(Turn::Write(Table::Pending), Duration::ZERO, &path).unwrap();
    assert!(matches!(write(Patience::None), Err(StoreError::Lock { .. })));
    let start = Instant::now();
    assert!(matches!(write(Patience::UpTo(Seconds(1))), Err(StoreError::Lock { .. })));
    assert!(start.elapsed() >= Duration::from_secs(1));
    // And not again for every recipient of a message: this would end only after an hour.
    assert!(matches!(write(Patience::UpTo(Seconds::HOUR)), Err(StoreError::Lock { .. })));
    drop(held);
    write(Patience::UpTo(Seconds::HOUR)).unwrap();
}

#[test]
fn a_truncated_file_is_recognised() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("env");
    let env = Env::open(&path, Durability::LastCommit, Purpose::Make).unwrap();
    env.write(Patience::None, |writer| (0..10_000).try_for_each(|i| Ok(writer.put(&key(i).0, &[0; 100])?)))
        .unwrap();
    drop(env);
    let data = File::options().write(true).open(path.join("data.mdb")).unwrap();
    data.set_len(data.metadata().unwrap().len() / 2).unwrap();
    drop(data);
    assert!(matches!(
        Env::open(&path, Durability::LastCommit, Purpose::Read),
        Err(StoreError::Damaged { .. })
    ));
}

/// Who has opened it to read can write: it is opened anew then, and reads go on.
#[test]
fn what_was_opened_to_read_is_written_when_it_must_be() {
    let (_dir, path) = closed_env();
    let env = Env::open(&path, Durability::Everything, Purpose::Read).unwrap();
    assert_eq!(entries(&env), 1);
    let version = env.version();
    put(&env, &key(2), b"y", 0, None);
    assert_eq!((entries(&env), env.version()), (2, version + 1));
    put(&env, &key(3), b"z", 0, None);
    assert_eq!(entries(&env), 3);
}

/// When it cannot be opened anew, that is said, and so it is with every later call: nothing is read from a
/// store that is not there.
#[test]
fn what_cannot_be_opened_anew_is_out_of_order() {
    let (_dir, path) = closed_env();
    let env = Env::open(&path, Durability::Everything, Purpose::Read).unwrap();
    std::fs::remove_file(path.join("data.mdb")).unwrap();
    std::fs::create_dir(path.join("data.mdb")).unwrap();
    assert!(env.write(Patience::None, |_| Ok(())).is_err());
    assert!(env.read(|_| Ok(())).is_err());
}

/// The last pages of a sound file may be missing; they are added before anybody looks, also for those who
/// only read.
#[test]
fn pages_that_were_never_written_are_added_for_readers_too() {
    let (_dir, path) = closed_env();
    let data = path.join("data.mdb");
    let whole = std::fs::metadata(&data).unwrap().len();
    File::options().write(true).open(&data).unwrap().set_len(whole - 1).unwrap();
    let env = Env::open(&path, Durability::Everything, Purpose::Read).unwrap();
    assert_eq!(std::fs::metadata(&data).unwrap().len(), whole);
    drop(env);
}

/// The largest transactions that we make leave no more pages unwritten at the end of the file than a sound
/// file may lack.
#[test]
fn large_deletions_leave_the_file_whole() {
    let (dir, env) = env();
    let data = dir.path().join("env/data.mdb");
    for i in (0..60_000).step_by(2_000) {
        env.write(Patience::None, |writer| {
            (i..i + 2_000).try_for_each(|i| Ok(writer.put(&key(i).0, &[0; 60])?))
        })
        .unwrap();
    }
    let mut keys: Vec<Key> = (0..60_000).map(key).collect();
    keys.sort_by_key(|key| key.0);
    for batch in keys.chunks(4_096) {
        env.write(Patience::None, |writer| batch.iter().try_for_each(|key| Ok(writer.delete(&key.0)?)))
            .unwrap();
        let missing = env.used_bytes().saturating_sub(std::fs::metadata(&data).unwrap().len());
        assert!(missing <= 64 << 12, "{missing}");
    }
}

/// A link in the place of a file could lead out of the store, to a file that would be written to.
#[test]
fn no_link_is_followed_where_files_are_made() {
    let dir = tempfile::tempdir().unwrap();
    let outside = dir.path().join("outside");
    std::fs::write(&outside, "not ours").unwrap();
    for name in ["lock.mdb", "data.mdb"] {
        let env = dir.path().join(name);
        std::fs::create_dir(&env).unwrap();
        std::os::unix::fs::symlink(&outside, env.join(name)).unwrap();
        // Where there is no data, a new directory takes the place of this one.
        let opened = Env::open(&env, Durability::Everything, Purpose::Make);
        assert_eq!(opened.is_err(), name == "data.mdb");
        assert_eq!(std::fs::read_to_string(&outside).unwrap(), "not ours", "{name}");
    }
}

/// Links in the place of files that are there, and directories and files that others can reach.
#[test]
fn what_others_can_reach_is_not_used() {
    let (dir, path) = closed_env();
    let open = |purpose| Env::open(&path, Durability::Everything, purpose);
    let text = || match [Purpose::Read, Purpose::Write].map(|purpose| open(purpose).err().unwrap()) {
        [StoreError::Open { cause, .. }, StoreError::Open { .. }] => cause.to_string(),
        other => panic!("{other:?}"),
    };
    let outside = dir.path().join("outside");
    for name in ["lock.mdb", "data.mdb"] {
        let file = path.join(name);
        std::fs::rename(&file, &outside).unwrap();
        let before = std::fs::read(&outside).unwrap();
        std::os::unix::fs::symlink(&outside, &file).unwrap();
        assert_eq!(text(), format!("{name} is no regular file"));
        std::fs::remove_file(&file).unwrap();
        std::fs::hard_link(&outside, &file).unwrap();
        assert_eq!(text(), format!("{name} has another name elsewhere"));
        assert!(std::fs::read(&outside).unwrap() == before);
        std::fs::remove_file(&outside).unwrap();
    }
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o757)).unwrap();
    assert_eq!(text(), "anybody may write there (mode 0757): chmod o-w");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o750)).unwrap();
    std::fs::rename(&path, &outside).unwrap();
    std::os::unix::fs::symlink(&outside, &path).unwrap();
    assert_eq!(text(), "no directory, but a file or a link");
    std::fs::remove_file(&path).unwrap();
    std::fs::rename(&outside, &path).unwrap();
    assert!(open(Purpose::Read).is_ok());
}

/// What somebody who died while he made an environment has left: half of it in its place, and a draft.
#[test]
fn a_half_made_environment_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("env");
    let draft = dir.path().join("env.draft-00");
    for left in [&path, &draft] {
        std::fs::create_dir(left).unwrap();
        std::fs::write(left.join("data.mdb"), "").unwrap();
        std::fs::write(left.join("lock.mdb"), [7; 99]).unwrap();
    }
    let state = Arc::new(State::open(dir.path(), true).unwrap());
    let gate = Some(Gate::new(state, Table::Known, Seconds(1)));
    let env = Env::open_at(&path, Durability::LastCommit, Purpose::Make, gate).unwrap();
    put(&env, &key(1), b"x", 0, None);
    assert_eq!(entries(&env), 1);
    assert!(!draft.exists());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2, "state and env");
}
