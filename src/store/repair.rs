//! Makes a damaged environment anew from what [`salvage`](super::salvage) can read of it. LMDB never opens the damaged one here.
//!
//! Kept true:
//! - Nothing is removed: the damaged directory stays beside the new one, under a name with the time.
//! - The new directory has its own data.mdb and lock.mdb. Two lock files for one data file would let two write at once.
//! - The two change places in one step where the file system can, so nobody finds no store in between and begins one with
//!   another secret. Whoever has the damaged files open writes into them until its session ends.
//! - Every key depends on the secret. Where it is lost, the records that hold their texts get new keys.

use super::entries::{Entry, Kind, Summary};
use super::error::StoreError;
use super::lmdb::{Durability, Env, Patience, Purpose, Writer};
use super::mapping::Held;
use super::record::{Facts, Meta, Record};
use super::salvage::{DataFile, Faults, Keys, Walk};
use super::state::{State, Turn};
use super::{META_KEY, SUMMARY_KEY, Table, boot_id, files, pending_dir, queue, sys};
use crate::identity::{ClientNetwork, Domain, Identity, Prefixes};
use crate::reply::By;
use crate::sender::Level;
use crate::time::{Seconds, Timestamp};
use crate::triplet::{Key, Secret, Triplet};
use ipnetwork::IpNetwork;
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Records written in one transaction: some megabytes of pages.
const BATCH: usize = 5_000;

/// Records whose keys are made again to see whether a secret is theirs.
const SAMPLES: usize = 1_000;

/// How long a writer may keep a file that is looked at.
const LOCK: Duration = Duration::from_secs(5);

/// A walk through so much takes less than a tenth of a second, which writers can wait (see docs/design.md).
const CHECKED_UNDER_LOCK: u64 = 64 << 20;

/// The same for a decision that waits, once for each process that died of something.
const CHECKED_WHILE_MAIL_WAITS: u64 = 256 << 20;

/// What became of the secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It was where it belongs, or is not of this environment.
    Kept,
    /// It was found in an older copy of its page.
    Found,
    /// It was lost: the keys are new.
    Lost,
}

/// What a repair did.
#[derive(Clone, Debug)]
pub struct Repaired {
    /// Records kept from the tree.
    pub from_tree: u64,
    /// Records kept from older copies of lost pages.
    pub from_copies: u64,
    /// Entries of the whitelist among the latter: one that was removed may be back.
    pub listed_from_copies: u64,
    /// Records that were read but not kept: damaged, or of another version, or without the texts that a new key needs.
    pub left: u64,
    /// Pages of the table that could not be read.
    pub lost_pages: u64,
    /// What was wrong.
    pub faults: Faults,
    /// The secret.
    pub secret: Fate,
    /// Where the damaged files are.
    pub aside: PathBuf,
}

/// The environments of the store that are there: `known`, then the first attempts of this boot.
#[must_use]
pub fn environments(store: &Path) -> Vec<PathBuf> {
    let mut dirs = vec![store.join("known"), pending_dir(store, boot_id())];
    dirs.retain(|dir| files::has_data(dir));
    dirs
}

/// Checks the structure of the environment in `dir` without LMDB. A live store changes under the walk, so a fault counts only
/// where nobody has committed meanwhile; where that fails again and again, and the file is small enough or `thorough`, the
/// writers wait. `None`: it changed all the time.
///
/// # Errors
/// If its data file cannot be opened.
pub fn check(dir: &Path, thorough: bool) -> Result<Option<Walk>, StoreError> {
    for _ in 0..5 {
        let data = open(dir)?;
        let before = data.state();
        let walk = data.walk(&mut |_, _| ());
        if walk.faults.count == 0 || data.state() == before {
            return Ok(Some(walk));
        }
    }
    let data = open(dir)?;
    let small = sys::size(data.as_fd()).is_ok_and(|size| size <= CHECKED_UNDER_LOCK);
    let state = state_of(dir);
    let turn = state.as_ref().filter(|_| small || thorough).and_then(|state| turn(state, dir));
    if turn.is_none() {
        return Ok(None);
    }
    // Opened again, because it may have grown.
    Ok(Some(open(dir)?.walk(&mut |_, _| ())))
}

/// Whether the files of the store are damaged for sure, as far as they can be read in a tenth of a second or so: while mail
/// waits. Nobody is locked out for it.
pub(super) fn is_damaged(store: &Path) -> bool {
    environments(store).iter().filter_map(|dir| open(dir).ok()).any(|data| {
        let small = sys::size(data.as_fd()).is_ok_and(|size| size <= CHECKED_WHILE_MAIL_WAITS);
        let before = data.state();
        small && data.walk(&mut |_, _| ()).faults.count > 0 && data.state() == before
    })
}

fn open(dir: &Path) -> Result<DataFile, StoreError> {
    let path = dir.join("data.mdb");
    DataFile::open(&path).map_err(|cause| StoreError::from_io(&path, cause))
}

/// Makes the environment in `dir` anew, and puts the damaged one aside.
///
/// # Errors
/// See [`StoreError`]; then everything is as it was.
pub fn rebuild(dir: &Path, level: Level, now: Timestamp) -> Result<Repaired, StoreError> {
    let state = state_of(dir);
    // A writer that is stuck in the damaged file does not stop the repair.
    let _turn = state.as_ref().and_then(|state| turn(state, dir));
    let source = open(dir)?;
    let known = dir.ends_with("known");
    let durability =
        if known || boot_id().is_none() { Durability::LastCommit } else { Durability::Everything };
    let name = if known { "known" } else { "pending" };
    let draft = sys::draft(&dir.with_file_name(name)).map_err(|cause| StoreError::from_io(dir, cause))?;
    let made = Env::open(&draft, durability, Purpose::Make).and_then(|env| {
        let repaired = fill(&source, &env, known.then_some(level), now)?;
        env.prepare()?;
        Ok(repaired)
    });
    let placed = made.and_then(|repaired| {
        let aside = put_in_place(&draft, dir, name, now).map_err(|cause| StoreError::from_io(dir, cause))?;
        Ok(Repaired { aside, ..repaired })
    });
    if placed.is_err() {
        let _ = fs::remove_dir_all(&draft);
    }
    placed
}

/// The locks of the store that the environment in `dir` belongs to.
fn state_of(dir: &Path) -> Option<State> {
    State::open(dir.parent()?, true).ok()
}

/// Takes the writers' turn in the environment in `dir`. Waits for a writer, but not for ever.
fn turn<'s>(state: &'s State, dir: &Path) -> Option<Held<'s>> {
    let table = if dir.ends_with("known") { Table::Known } else { Table::Pending };
    state.take(Turn::Write(table), LOCK, dir).ok()
}

/// Moves `draft` to `dir` and what was there aside; says where to.
fn put_in_place(draft: &Path, dir: &Path, name: &str, now: Timestamp) -> io::Result<PathBuf> {
    let free = || free_name(dir, name, now);
    let mut aside = free()?;
    match sys::exchange(draft, dir) {
        // Where they cannot get their name, the damaged files keep the draft's.
        Ok(()) => {
            if fs::rename(draft, &aside).is_err() {
                aside = draft.into();
            }
        }
        Err(e) if matches!(e.raw_os_error(), Some(libc::EINVAL | libc::ENOSYS)) => {
            step_by_step(draft, dir, &aside, free)?;
        }
        Err(e) => return Err(e),
    }
    // Where this fails, a crash of the machine in the next seconds brings the damaged files back.
    let _ = dir.parent().map(|store| fs::File::open(store).and_then(|store| store.sync_all()));
    Ok(aside)
}

/// The same where the file system cannot exchange two directories. In between somebody may begin a store, which is empty: it
/// goes aside too.
fn step_by_step(
    draft: &Path,
    dir: &Path,
    aside: &Path,
    free: impl Fn() -> io::Result<PathBuf>,
) -> io::Result<()> {
    fs::rename(dir, aside)?;
    for _ in 0..5 {
        match fs::rename(draft, dir) {
            Err(e) if e.kind() == io::ErrorKind::DirectoryNotEmpty => fs::rename(dir, free()?)?,
            Err(e) => {
                let _ = fs::rename(aside, dir);
                return Err(e);
            }
            Ok(()) => return Ok(()),
        }
    }
    Err(io::ErrorKind::DirectoryNotEmpty.into())
}

/// A name beside `path` that is free: `known.damaged-2026-11-26T2101`, then with `-2` and so on.
fn free_name(path: &Path, name: &str, now: Timestamp) -> io::Result<PathBuf> {
    let minute: String = now.to_string().chars().filter(|&c| c != ':').take(15).collect();
    let names = (1..100).map(|n| if n == 1 { String::new() } else { format!("-{n}") });
    let mut paths = names.map(|more| path.with_file_name(format!("{name}.damaged-{minute}{more}")));
    let free = paths.find(|path| fs::symlink_metadata(path).is_err());
    free.ok_or_else(|| io::ErrorKind::AlreadyExists.into())
}

/// Fills `env`: of `known` with the store's head, and new keys where the secret is lost.
fn fill(source: &DataFile, env: &Env, known: Option<Level>, now: Timestamp) -> Result<Repaired, StoreError> {
    let (head, secret) = match known {
        Some(level) => {
            let (head, fate) = head(source, level, now)?;
            env.write(Patience::UpTo(Seconds(5)), |writer| Ok(writer.put(META_KEY, &head.encode())?))?;
            (Some(head), fate)
        }
        None => (None, Fate::Kept),
    };
    let rekey = known.zip(head).filter(|_| secret == Fate::Lost).map(|(level, head)| (head.secret, level));
    let mut filling = Filling::new(env, now, rekey);
    let walk = source.walk(&mut |key, value| filling.take(key, value));
    filling.write();
    filling.copies = true;
    source.sweep(&walk.lost, &mut |key, value| filling.take(key, value));
    filling.write();
    if walk.older {
        // What the last commit wrote is as new as the table's newest record, or newer.
        filling.since = filling.newest;
        source.sweep(&[Keys::default()], &mut |key, value| filling.take(key, value));
        filling.write();
    }
    if let Some(trouble) = filling.trouble {
        return Err(trouble);
    }
    if filling.summary != Summary::default() {
        let summary = filling.summary.encode();
        env.write(Patience::UpTo(Seconds(5)), |writer| Ok(writer.put(SUMMARY_KEY, &summary)?))?;
    }
    let [from_tree, from_copies] = filling.kept;
    Ok(Repaired {
        from_tree,
        from_copies,
        listed_from_copies: filling.listed,
        left: filling.left,
        lost_pages: walk.lost_pages,
        faults: walk.faults,
        secret,
        aside: PathBuf::new(),
    })
}

/// The store's head: that of the tree, else the most frequent among older copies, but rather one whose secret made the keys of
/// the records; else a new one.
fn head(source: &DataFile, level: Level, now: Timestamp) -> Result<(Meta, Fate), StoreError> {
    let mut heads: Vec<(Meta, usize)> = Vec::new();
    let mut samples: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    // A secret is only compared for being its own, so any does here.
    let any = Secret([0; 16]);
    source.walk(&mut |key, value| {
        if key == META_KEY {
            heads.extend(Meta::decode(value).map(|head| (head, usize::MAX)));
        } else if samples.len() < SAMPLES && key_of(&any, level, value).is_some() {
            samples.push((key.to_vec(), value.to_vec()));
        }
    });
    let proof = |head: &Meta| {
        // The level may be another than when the record was made.
        let levels = [Level::Full, Level::Unwrap, Level::Exact];
        let own = |(key, value): &&(Vec<u8>, Vec<u8>)| {
            let mut keys = levels.iter().filter_map(|&level| key_of(&head.secret, level, value));
            keys.any(|own| own.0 == key[..])
        };
        samples.iter().filter(own).count()
    };
    let from_tree = heads.first().map(|(head, _)| *head);
    if from_tree.is_none_or(|head| proof(&head) == 0) {
        source.sweep(&[Keys::default()], &mut |key, value| {
            let Some(head) = (key == META_KEY).then(|| Meta::decode(value)).flatten() else { return };
            match heads.iter_mut().find(|(other, _)| *other == head) {
                Some((_, copies)) => *copies = copies.saturating_add(1),
                None => heads.push((head, 1)),
            }
        });
    }
    let best = heads.iter().max_by_key(|(head, copies)| (proof(head), *copies)).map(|(head, _)| *head);
    match best {
        // Without texts (`privacy = true`) there is no proof.
        Some(head) if samples.is_empty() || proof(&head) > 0 => {
            Ok((head, if from_tree == Some(head) { Fate::Kept } else { Fate::Found }))
        }
        _ => {
            let secret = sys::random().map_err(|cause| StoreError::from_io(Path::new("getrandom"), cause))?;
            Ok((Meta { secret: Secret(secret), made: now }, Fate::Lost))
        }
    }
}

/// Records on their way into the new environment.
struct Filling<'a> {
    env: &'a Env,
    now: Timestamp,
    /// The secret for new keys, and the level of the sender keys.
    rekey: Option<(Secret, Level)>,
    /// Whether what comes is from a sweep.
    copies: bool,
    /// The newest time in the tree.
    newest: Timestamp,
    /// What is older than that is not taken from a sweep.
    since: Timestamp,
    batch: Vec<(Vec<u8>, Vec<u8>)>,
    summary: Summary,
    kept: [u64; 2],
    listed: u64,
    left: u64,
    trouble: Option<StoreError>,
}

impl<'a> Filling<'a> {
    fn new(env: &'a Env, now: Timestamp, rekey: Option<(Secret, Level)>) -> Self {
        Self {
            env,
            now,
            rekey,
            copies: false,
            newest: Timestamp::default(),
            since: Timestamp::default(),
            batch: Vec::new(),
            summary: Summary::default(),
            kept: [0; 2],
            listed: 0,
            left: 0,
            trouble: None,
        }
    }

    fn take(&mut self, key: &[u8], value: &[u8]) {
        if key == META_KEY || key == SUMMARY_KEY {
            return;
        }
        if queue::owns(key) {
            // Keys in it would be wrong under another secret.
            if !self.copies && self.rekey.is_none() {
                self.batch.push((key.to_vec(), value.to_vec()));
            }
            return;
        }
        let entry = Entry::decode(value);
        let expires = entry.as_ref().map(|s| s.expires).or_else(|| Some(Record::decode(value)?.expires));
        let own = match &self.rekey {
            Some((secret, level)) => key_of(secret, *level, value),
            None => key.try_into().ok().map(Key),
        };
        let (Some(key), Some(expires)) = (own, expires) else {
            // Other pages hold keys of other tables, and those of lost pages are counted as lost.
            self.left += u64::from(!self.copies);
            return;
        };
        let moment = moment(value).filter(|moment| *moment <= self.now).unwrap_or_default();
        if !self.copies {
            self.newest = self.newest.max(moment);
        }
        let trap = entry.as_ref().is_some_and(|entry| entry.kind == Kind::Trap);
        if self.copies && (trap || expires < self.now || moment < self.since) {
            return;
        }
        if let Some(entry) = &entry {
            self.summary.add(entry);
        }
        self.batch.push((key.0.to_vec(), value.to_vec()));
        if self.batch.len() >= BATCH {
            self.write();
        }
    }

    fn write(&mut self) {
        if self.trouble.is_some() {
            return;
        }
        let (batch, copies) = (std::mem::take(&mut self.batch), self.copies);
        let written = self.env.write(Patience::UpTo(Seconds(5)), |writer: &mut Writer<'_>| {
            let (mut kept, mut listed) = (0_u64, 0_u64);
            for (key, value) in &batch {
                let there = writer.get(key)?;
                if there.is_some_and(|there| moment(there) >= moment(value)) {
                    continue;
                }
                if there.is_none() && !queue::owns(key) {
                    kept += 1;
                    listed +=
                        u64::from(Entry::decode(value).is_some_and(|s| matches!(s.kind, Kind::Listed(_))));
                }
                writer.put(key, value)?;
            }
            Ok((kept, listed))
        });
        match written {
            Ok((kept, listed)) => {
                let [from_tree, from_copies] = &mut self.kept;
                *(if copies { from_copies } else { from_tree }) += kept;
                self.listed += if copies { listed } else { 0 };
            }
            Err(trouble) => self.trouble = Some(trouble),
        }
    }
}

/// When a record was last written, as far as it says.
fn moment(value: &[u8]) -> Option<Timestamp> {
    let entry = || Entry::decode(value).map(|entry| entry.since);
    Record::decode(value)
        .map(|record| match record.facts {
            Facts::Pending { record, .. } => record.first_seen,
            Facts::Known(known) => known.passed.max(known.last_seen),
            Facts::Identity(earned) => earned.counted.max(earned.last_seen),
        })
        .or_else(entry)
}

/// The key of a record of `known` by its texts; `None` where it holds too little, and for what lives only for hours.
fn key_of(secret: &Secret, level: Level, value: &[u8]) -> Option<Key> {
    if let Some(entry) = Entry::decode(value) {
        let [text, ..] = &entry.texts;
        return match entry.kind {
            Kind::Listed(kind) if !text.is_empty() => Some(secret.listed(kind, text)),
            _ => None,
        };
    }
    let record = Record::decode(value).filter(|record| !record.texts.cut)?;
    let (sender, recipient) = (&record.texts.sender, &record.texts.recipient);
    let identity = identity(record.by, &record.texts.identity)?;
    match record.facts {
        Facts::Identity(_) => Some(secret.identity(&identity)),
        Facts::Known(_) => {
            let triplet = Triplet::new(vec![identity], sender, recipient, b"", level);
            triplet.keys(secret).first().map(|keys| keys.known)
        }
        Facts::Pending { .. } => None,
    }
}

/// An identity from its text.
fn identity(by: By, text: &[u8]) -> Option<Identity> {
    if by == By::Network {
        let network: IpNetwork = str::from_utf8(text).ok()?.parse().ok()?;
        let prefixes = Prefixes { ipv4: network.prefix(), ipv6: network.prefix() };
        return Some(Identity::Network(ClientNetwork::of(network.ip(), prefixes)));
    }
    let domain = Domain::parse(text)?;
    match by {
        By::Spf => Some(Identity::Spf(domain)),
        By::Dkim => Some(Identity::Dkim(domain)),
        By::Host => Some(Identity::Host(domain)),
        By::Network => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::gate::Gate;
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    /// Where directories cannot change places in one step, nothing is removed either: not even a store that was begun in between.
    #[test]
    fn what_stands_in_the_way_goes_aside() {
        let dir = tempfile::tempdir().unwrap();
        let [draft, known, aside] = ["draft", "known", "aside"].map(|name| dir.path().join(name));
        for (path, content) in [(&draft, "new"), (&known, "old")] {
            fs::create_dir(path).unwrap();
            fs::write(path.join("data.mdb"), content).unwrap();
        }
        let content = |path: &Path| fs::read_to_string(path.join("data.mdb")).unwrap();
        step_by_step(&draft, &known, &aside, || Err(io::ErrorKind::AlreadyExists.into())).unwrap();
        assert_eq!((content(&known), content(&aside)), ("new".into(), "old".into()));

        // A draft that is gone: what was there comes back.
        let gone = step_by_step(&draft, &known, &dir.path().join("other"), || {
            Err(io::ErrorKind::AlreadyExists.into())
        });
        assert_eq!((gone.is_err(), content(&known)), (true, "new".into()));
    }

    /// What an earlier repair has left, or one in another container is making, is no part of a repair.
    #[test]
    fn the_draft_of_another_repair_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("env");
        drop(Env::open(&path, Durability::Everything, Purpose::Make).unwrap());
        let other = dir.path().join(format!("pending.repair-{}", std::process::id()));
        fs::create_dir(&other).unwrap();
        fs::write(other.join("data.mdb"), [7; 8192]).unwrap();
        rebuild(&path, Level::Full, Timestamp(1_000_000_000)).unwrap();
        assert_eq!(fs::read(other.join("data.mdb")).unwrap(), [7; 8192]);
    }

    /// A store that is written to all the time is no damaged one.
    #[test]
    fn a_busy_store_is_sound() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("known");
        let put = |env: &Env, from: u64| {
            env.write(Patience::UpTo(Seconds(60)), |writer| {
                for number in from..from + 20 {
                    let key =
                        u128::from(number % 5_000).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
                    writer.put(&key.to_be_bytes(), &vec![7; 20 + (number % 97) as usize])?;
                }
                Ok(())
            })
            .unwrap();
        };
        let done = AtomicBool::new(false);
        let (started, wait) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let state = Arc::new(State::open(dir.path(), true).unwrap());
                let gate = Gate::new(state, Table::Known, Seconds(1));
                let env = Env::open_at(&path, Durability::Everything, Purpose::Make, Some(gate)).unwrap();
                (0..5_000).step_by(20).for_each(|from| put(&env, from));
                started.send(()).unwrap();
                for from in (5_000..2_000_000).step_by(20) {
                    if done.load(Ordering::Relaxed) {
                        break;
                    }
                    put(&env, from);
                }
            });
            wait.recv().unwrap();
            let mut under_way = 0;
            for _ in 0..5 {
                let data = open(&path).unwrap();
                under_way += data.walk(&mut |_, _| ()).faults.count;
                let walk =
                    check(&path, false).unwrap().expect("the lock is free for the small file of a test");
                assert_eq!(walk.faults.count, 0, "{}", walk.faults);
            }
            done.store(true, Ordering::Relaxed);
            assert!(under_way > 0, "nothing changed under a single walk");
        });
    }
}
