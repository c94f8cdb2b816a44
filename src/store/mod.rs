//! The store: two LMDB environments and a mapped file in one directory.
//!
//! - `known/`: what is worth keeping. At most the last commit is lost in a crash of the machine.
//! - `pending-BOOT/`: first attempts, written without any flush. A crash of the machine may tear it, so its
//!   name carries the kernel's boot id: another boot starts another one and removes the old ones unread.
//! - `state`: locks, the [`breaker`], the [`counters`], and what is [`recent`]: see [`state`].
//!
//! To a decision it is a [`Memory`](crate::memory::Memory): see `events` and [`records`].

pub mod any;
mod backup;
pub mod breaker;
pub mod bulk;
mod clock;
pub mod counters;
mod early;
pub mod entries;
pub mod error;
mod events;
mod files;
mod gate;
pub mod learned;
pub mod lmdb;
mod make;
mod mapping;
pub mod purge;
mod queue;
pub mod recent;
pub mod record;
pub mod records;
pub mod repair;
pub mod salvage;
mod scan;
pub mod state;
pub mod survey;
pub mod sys;
mod table;
pub mod tidy;
mod transaction;
mod update;

use self::breaker::{About, Part};
use self::counters::Counters;
use self::error::StoreError;
pub use self::files::may_be_trusted;
use self::gate::Gate;
use self::learned::LearnedTable;
use self::lmdb::{Durability, Env, Patience, Purpose};
use self::record::{Meta, Record, Texts};
use self::state::State;
pub use self::table::{Skipped, Table};
use self::tidy::Bound;
use crate::identity::MAX_IDENTITIES;
use crate::memory::Access;
use crate::reply::Reply;
use crate::settings::StoreSettings;
use crate::time::Timestamp;
use crate::triplet::{IdentityKeys, Key, Secret};
use once_cell::{sync, unsync::OnceCell};
use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The key of the record that says what the store is; every other key but the next has 16 bytes. Both begin
/// with zeros, so that they stand on one page, or on two side by side: every process reads them.
const META_KEY: &[u8] = b"\0\0meta";

/// The key of the record that says which entries there are.
const SUMMARY_KEY: &[u8] = b"\0\0standing";

/// Whether a key is one of the records that the store keeps for itself, which have keys of other lengths.
const fn is_own(key: &[u8]) -> bool {
    key.len() != 16
}

/// The files of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// The name of their directory.
    pub name: String,
    /// Bytes in use.
    pub used: u64,
    /// Bytes of address space.
    pub map: u64,
    /// Places of readers that had died, which have been given back.
    pub dead_readers: u32,
}

/// An open store.
pub struct Store {
    settings: StoreSettings,
    meta: Meta,
    known: Env,
    /// Opened when a decision needs it: a known triplet does not.
    pending: OnceCell<Env>,
    state: Option<Arc<State>>,
}

impl Store {
    /// Opens the store. `None` if there is none yet and `access` makes none.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn open(
        settings: &StoreSettings,
        access: Access,
        now: Timestamp,
    ) -> Result<Option<Self>, StoreError> {
        // One that is missing is told of below.
        if let Ok(meta) = fs::metadata(&settings.path) {
            files::may_be_trusted(&meta)
                .map_err(|cause| StoreError::Open { path: settings.path.clone(), cause })?;
        }
        let dir = settings.path.join("known");
        let state = match State::open(&settings.path, access == Access::Record) {
            Ok(state) => Some(Arc::new(state)),
            // Nothing can be written, so nothing can be recorded; and what is mapped cannot be used.
            Err(full @ StoreError::Full { .. }) if files::has_data(&dir) => return Err(full),
            // Nothing else needs it.
            Err(_) => None,
        };
        let mut call = begin(state.as_deref(), Part::Opening, &settings.path, now)?;
        let gate = |table| Some(Gate::new(state.clone()?, table, settings.lock_timeout));
        // Most decisions change nothing there.
        let open = |purpose| Env::open_at(&dir, Durability::LastCommit, purpose, gate(Table::Known));
        let known = match open(Purpose::Read) {
            Ok(known) => known,
            // Perhaps somebody has made it just now.
            Err(_) if files::has_data(&dir) => open(Purpose::Read)?,
            Err(_) if access == Access::Record => open(Purpose::Make)?,
            Err(_) => {
                // A directory that is missing or locked away is trouble, not an empty store.
                return match fs::File::open(settings.path.join(".")) {
                    Ok(_) => Ok(None),
                    Err(cause) => Err(StoreError::Open { path: settings.path.clone(), cause }),
                };
            }
        };
        let Some(meta) = read_meta(&known, settings, access, now)? else {
            return Ok(None);
        };
        let store =
            Self { settings: settings.clone(), meta, known, pending: OnceCell::new(), state: state.clone() };
        if let Some(call) = &mut call {
            call.look_and_note([0; 6], |about| store.look_again(about));
        }
        drop(call);
        Ok(Some(store))
    }

    /// Begins a call about some triplet: while the result lives, the breaker knows of it.
    fn begin(&self, keys: &[IdentityKeys], now: Timestamp) -> Result<Option<breaker::Call<'_>>, StoreError> {
        let mut call = begin(self.state.as_deref(), Part::Whole, &self.settings.path, now)?;
        if let Some(call) = &mut call {
            let about = keys.first().map_or([0; 6], |keys| {
                let halves = |key: Key| u128::from_be_bytes(key.0);
                let [identity, known, pending] = [keys.identity, keys.known, keys.pending].map(halves);
                [identity >> 64, identity, known >> 64, known, pending >> 64, pending].map(|half| half as u64)
            });
            call.look_and_note(about, |about| self.look_again(about));
        }
        Ok(call)
    }

    /// Goes once more where another process may have died: reads there, and writes without a commit.
    #[cold]
    fn look_again(&self, about: About) {
        let key = |place: usize| {
            let half = |place| u128::from(about.get(place).copied().unwrap_or(0));
            (half(2 * place) << 64 | half(2 * place + 1)).to_be_bytes()
        };
        let go = |env: &Env, key: [u8; 16]| {
            let _ = env.read(|snapshot| {
                let mut records = 0;
                snapshot.each_from(&key, |_, value| {
                    std::hint::black_box(Record::decode(value));
                    records += 1;
                    records < MAX_IDENTITIES
                })
            });
            let _ = env.write(Patience::None, |writer| {
                // As long as a record with its texts is.
                writer.put(&key, &[0; 100])?;
                writer.tidy(&Key(key), Bound { now: Timestamp(0), most: 0 })?;
                Err::<(), _>(::lmdb::Error::BadTxn.into())
            });
        };
        go(&self.known, key(0));
        go(&self.known, key(1));
        if let Ok(Some(env)) = self.pending_if_there() {
            go(env, key(2));
        }
    }

    /// The secret that every key depends on.
    #[must_use]
    pub const fn secret(&self) -> &Secret {
        &self.meta.secret
    }

    /// When the store was made.
    #[must_use]
    pub const fn made(&self) -> Timestamp {
        self.meta.made
    }

    /// A table, made if it is missing: for tests and benchmarks that write what no decision would.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn environment(&self, table: Table) -> Result<&Env, StoreError> {
        match table {
            Table::Known => Ok(&self.known),
            Table::Pending => self.pending(),
        }
    }

    /// A table; `None` if there are no first attempts yet.
    fn table(&self, table: Table) -> Result<Option<&Env>, StoreError> {
        match table {
            Table::Known => Ok(Some(&self.known)),
            Table::Pending => self.pending_if_there(),
        }
    }

    /// The files of a table, if it is there. Places of readers that have died are given back.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn files(&self, table: Table) -> Result<Option<Files>, StoreError> {
        let files = |env: &Env| Files {
            name: env.dir().file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned()),
            used: env.used_bytes(),
            map: env.map_size() as u64,
            dead_readers: env.clear_dead_readers(),
        };
        Ok(self.table(table)?.map(files))
    }

    /// The first attempts of this boot; `None` if there are none yet.
    fn pending_if_there(&self) -> Result<Option<&Env>, StoreError> {
        match self.open_pending(Purpose::Write) {
            Err(StoreError::Open { cause, .. }) if cause.kind() == ErrorKind::NotFound => Ok(None),
            there => there.map(Some),
        }
    }

    /// The same; a place for them is made if there is none.
    fn pending(&self) -> Result<&Env, StoreError> {
        if let Some(there) = self.pending_if_there()? {
            return Ok(there);
        }
        if let boot @ Some(_) = boot_id()? {
            self.learned().iter().for_each(LearnedTable::forget_those_that_wait);
            remove_other_boots(&self.settings.path, &pending_dir(&self.settings.path, boot));
        }
        self.open_pending(Purpose::Make)
    }

    fn open_pending(&self, purpose: Purpose) -> Result<&Env, StoreError> {
        self.pending.get_or_try_init(|| {
            let boot = boot_id()?;
            // Without a boot id nobody could tell a torn file of another boot.
            let durability = if boot.is_some() { Durability::Everything } else { Durability::LastCommit };
            let state = self.state.clone();
            let gate = state.map(|state| Gate::new(state, Table::Pending, self.settings.lock_timeout));
            Env::open_at(&pending_dir(&self.settings.path, boot), durability, purpose, gate)
        })
    }

    /// The texts of a record; none where the store keeps none.
    fn texts(&self, identity: String, sender: &[u8], recipient: &[u8]) -> Texts {
        if self.settings.privacy {
            return Texts::default();
        }
        let [sender, recipient] = [sender, recipient].map(<[u8]>::to_vec);
        Texts { identity: identity.into_bytes(), sender, recipient, cut: false }
    }

    /// Counts a reply, if there are counters.
    pub fn count(&self, reply: &Reply, now: Timestamp) {
        if let Some(counters) = self.counters() {
            counters.count(reply, now);
        }
    }

    /// The counters, if there are any.
    #[must_use]
    pub fn counters(&self) -> Option<Counters<'_>> {
        self.state.as_deref().map(Counters::of)
    }

    /// What was counted so far for the store in this directory, also where it cannot be used; `None` where nothing was.
    #[must_use]
    pub fn counted_in(path: &std::path::Path) -> Option<counters::Tally> {
        State::open(path, false).ok().map(|state| Counters::of(&state).ever())
    }

    /// Has the store used again at once, if the breaker is open; says whether it was.
    #[must_use]
    pub fn use_again(settings: &StoreSettings) -> bool {
        State::open(&settings.path, false).is_ok_and(|state| breaker::close(&state))
    }

    /// What a table may hold for a call at `now`.
    fn bound(&self, table: Table, now: Timestamp) -> Bound {
        let most = match table {
            Table::Known => self.settings.max_known,
            Table::Pending => self.settings.max_pending,
        };
        Bound { now: self.expired_before(now), most }
    }

    fn patience(&self) -> Patience {
        Patience::UpTo(self.settings.lock_timeout)
    }
}

fn begin<'s>(
    state: Option<&'s State>,
    part: Part,
    store: &Path,
    now: Timestamp,
) -> Result<Option<breaker::Call<'s>>, StoreError> {
    let Some(state) = state else { return Ok(None) };
    state.prepare(0).map_err(|cause| StoreError::from_io(store, cause))?;
    let call = breaker::begin(state, part, store, now)?;
    // Before LMDB opens them.
    let may_go_on = call.may_go_on(now, || !repair::is_damaged(store));
    if may_go_on { Ok(Some(call)) } else { Err(breaker::refusal(state, store, now)) }
}

/// The record that says what the store is; made at first use.
fn read_meta(
    known: &Env,
    settings: &StoreSettings,
    access: Access,
    now: Timestamp,
) -> Result<Option<Meta>, StoreError> {
    let read = |bytes: Option<&[u8]>| bytes.map(|bytes| Meta::decode(bytes).ok_or(()));
    let found = match known.read(|snapshot| Ok(read(snapshot.get(META_KEY)?)))? {
        None if access == Access::Record => {
            let secret =
                Secret(sys::random().map_err(|cause| StoreError::Open { path: known.dir().into(), cause })?);
            let new = Meta { secret, made: now };
            known.write(Patience::UpTo(settings.lock_timeout), |writer| {
                // Somebody else may have been faster.
                if let Some(found) = read(writer.get(META_KEY)?) {
                    return Ok(Some(found));
                }
                writer.put(META_KEY, &new.encode())?;
                Ok(Some(Ok(new)))
            })?
        }
        found => found,
    };
    found.transpose().map_err(|()| StoreError::Damaged {
        path: known.dir().into(),
        sign: "its head is of a version that this eximgrey does not know".into(),
    })
}

/// The kernel's name for this boot, where it tells one. Read once: no process outlives a boot.
///
/// # Errors
/// Where it could not be read this time: who took another place for first attempts would miss those that are
/// there.
pub(crate) fn boot_id() -> Result<Option<&'static str>, StoreError> {
    static ID: sync::OnceCell<Option<String>> = sync::OnceCell::new();
    let path = Path::new("/proc/sys/kernel/random/boot_id");
    let read = || match fs::read_to_string(path) {
        Ok(id) => {
            let id = id.trim();
            let fits =
                !id.is_empty() && id.len() <= 64 && id.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
            Ok(fits.then(|| id.to_owned()))
        }
        // As it is for every process there: no /proc, or it is locked away.
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) => Ok(None),
        Err(e) => Err(StoreError::from_io(path, e)),
    };
    ID.get_or_try_init(read).map(Option::as_deref)
}

const PENDING_PREFIX: &str = "pending-";

fn pending_dir(store: &Path, boot: Option<&str>) -> PathBuf {
    store.join(format!("{PENDING_PREFIX}{}", boot.unwrap_or("always")))
}

/// Removes the first attempts of other boots; says of how many. Best effort: what stays does no harm but take
/// room.
fn remove_other_boots(store: &Path, current: &Path) -> usize {
    // Not a draft of the current one, which another process makes.
    let current = current.file_name().unwrap_or_default().as_encoded_bytes();
    let other = |name: &OsString| {
        let name = name.as_encoded_bytes();
        name.starts_with(PENDING_PREFIX.as_bytes()) && !name.starts_with(current)
    };
    let names = fs::File::open(store).map(Into::into).and_then(|dir| sys::names_in(&dir)).unwrap_or_default();
    let is_removed = |name: &&OsString| other(name) && sys::remove_dir(&store.join(name)).is_ok();
    names.iter().filter(is_removed).count()
}

#[cfg(test)]
mod tests;
