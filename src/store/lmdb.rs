//! One LMDB environment with the rules that its use inside Exim needs.
//!
//! Kept true here:
//! - MDB_NOTLS, and every read transaction ends before the call does: Exim's processes end in `_exit`, and a
//!   reader's place tied to a thread would never be given back.
//! - Every descriptor is close-on-exec before anybody can fork; every file has an explicit mode.
//! - Whoever opens or writes first takes a lock with a deadline, where there is a `Gate`. LMDB's own locks
//!   wait for ever, and a stopped process must not stop mail.
//! - The map grows by itself, and picks up what another process grew.
//! - No WRITEMAP: a full disk would be a SIGBUS. No DUPSORT: LMDB 0.9.24 has bugs there.
//!
//! The caller keeps: one `Env` a directory and process, not used in a forked child.
#![allow(unsafe_code)]

use super::error::StoreError;
use super::files::{self, CopiedLock};
use super::gate::Gate;
pub use super::gate::Patience;
use super::make::{FIRST_MAP, builder, make};
use super::sys;
use super::transaction::Reading;
pub use super::transaction::{Snapshot, Trouble, Writer};
use lmdb::{Database, DatabaseFlags, Environment, EnvironmentFlags, Transaction};
use rustix::io::FdFlags;
use std::cell::{Ref, RefCell};
use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

/// What a crash of the machine may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The last commit (MDB_NOMETASYNC).
    LastCommit,
    /// Everything, and the files may be torn (MDB_NOSYNC): only for what is thrown away after a crash of the
    /// machine.
    Everything,
}

/// A write that keeps meeting a map that is full or was grown gives up after so many tries.
const MAX_TRIES: u32 = 8;

/// What an environment is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// There is none yet.
    Make,
    /// Somebody will write.
    Write,
    /// Perhaps nobody will write: that costs less. The first write opens it anew.
    Read,
}

/// An open environment.
pub struct Env {
    dir: PathBuf,
    durability: Durability,
    /// `None` only after a failure to open it anew.
    opened: RefCell<Option<Opened>>,
    /// `None` where there is no file `state`. Dropped after `opened`, which points to it.
    gate: Option<Gate>,
}

struct Opened {
    env: Environment,
    db: Database,
    writable: bool,
    copied_lock: Option<CopiedLock>,
}

impl Opened {
    fn open(
        dir: &Path,
        durability: Durability,
        purpose: Purpose,
        gate: Option<&Gate>,
    ) -> Result<Self, StoreError> {
        let fail = |cause| StoreError::from_io(dir, cause);
        if purpose == Purpose::Make {
            make(dir, durability, gate)?;
        }
        files::is_private_dir(dir).map_err(fail)?;

        let lmdb_error = |e| StoreError::from_lmdb(dir, e);
        let writable = purpose != Purpose::Read;
        let flags = match durability {
            _ if !writable => EnvironmentFlags::READ_ONLY,
            Durability::LastCommit => EnvironmentFlags::NO_META_SYNC,
            Durability::Everything => EnvironmentFlags::NO_SYNC,
        };
        // Without a size: the environment knows its own.
        let builder = builder(flags);
        let standard = sys::occupy_standard_descriptors();
        // Given back when the environment is open.
        let entered = gate.map(|gate| gate.enter(dir)).transpose()?;
        let device = files::lock_device(dir).map_err(fail)?;
        if device.is_none() {
            files::allocate_lock_file(dir).map_err(fail)?;
        }
        let in_place = gate.zip(device).is_some_and(|(gate, device)| gate.writes_in_place(device));
        let copied_lock = if in_place { None } else { CopiedLock::open(dir).map_err(fail)? };
        let env = builder.open_with_permissions(dir, sys::FILE_MODE).map_err(lmdb_error)?;
        drop((entered, standard));
        if let Some(gate) = gate {
            gate.watch(&env);
        }

        let fd = data_fd(&env).map_err(lmdb_error)?;
        // No program that Exim starts inherits the store.
        rustix::io::fcntl_setfd(fd, FdFlags::CLOEXEC).map_err(|e| fail(e.into()))?;
        clear_dead_readers(&env);
        if !files::check_size(dir, fd, (used_bytes(&env), page_size(&env)), writable)? {
            drop(env);
            return Self::open(dir, durability, Purpose::Write, gate);
        }
        let db = match begin(&env, |env| env.open_db(None)) {
            Err(e) if number_is_taken(e) && !writable => {
                drop(env);
                return Self::open(dir, durability, Purpose::Write, gate);
            }
            Err(e) if number_is_taken(e) => {
                let _turn = gate.map(|gate| gate.write(dir, gate.patience())).transpose()?;
                env.create_db(None, DatabaseFlags::empty())
            }
            db => db,
        };
        let db = db.map_err(lmdb_error)?;
        Ok(Self { env, db, writable, copied_lock })
    }

    /// Before each transaction.
    fn prepare_lock(&self, dir: &Path) -> Result<(), StoreError> {
        match self.copied_lock.as_ref().map(CopiedLock::prepare) {
            Some(Err(e)) if e.kind() != io::ErrorKind::InvalidInput => Err(StoreError::from_io(dir, e)),
            _ => Ok(()),
        }
    }

    fn write<T>(&self, change: &mut impl FnMut(&mut Writer<'_>) -> Result<T, Trouble>) -> Result<T, Trouble> {
        let mut writer = Writer { txn: self.env.begin_rw_txn()?, db: self.db, ended: Vec::new() };
        let value = change(&mut writer)?;
        writer.txn.commit()?;
        Ok(value)
    }
}

impl Env {
    /// Opens the environment in `dir`.
    ///
    /// # Errors
    /// [`StoreError::Open`], or [`StoreError::Damaged`] for files that are no LMDB environment or end too
    /// soon.
    pub fn open(dir: &Path, durability: Durability, purpose: Purpose) -> Result<Self, StoreError> {
        Self::open_at(dir, durability, purpose, None)
    }

    /// The same through a gate.
    ///
    /// # Errors
    /// [`StoreError::Lock`] besides, where somebody has stopped in there.
    pub fn open_at(
        dir: &Path,
        durability: Durability,
        purpose: Purpose,
        gate: Option<Gate>,
    ) -> Result<Self, StoreError> {
        let opened = RefCell::new(Some(Opened::open(dir, durability, purpose, gate.as_ref())?));
        Ok(Self { dir: dir.into(), durability, opened, gate })
    }

    fn opened(&self) -> Result<Ref<'_, Opened>, StoreError> {
        let opened = Ref::filter_map(self.opened.borrow(), Option::as_ref);
        opened.map_err(|_| StoreError::from_io(&self.dir, io::ErrorKind::NotConnected.into()))
    }

    /// Opens the environment for writing, if it is not. One that is open must be closed first: a process must
    /// not have the same one open twice (lmdb.h, caveats).
    fn make_writable(&self) -> Result<(), StoreError> {
        if self.opened.borrow().as_ref().is_some_and(|opened| opened.writable) {
            return Ok(());
        }
        let mut opened = self.opened.borrow_mut();
        *opened = None;
        *opened = Some(Opened::open(&self.dir, self.durability, Purpose::Write, self.gate.as_ref())?);
        Ok(())
    }

    /// Reads a snapshot. It ends with the closure: nothing read stays borrowed.
    ///
    /// # Errors
    /// What LMDB says, as a [`StoreError`].
    pub fn read<T>(&self, look: impl FnOnce(&Snapshot<'_>) -> lmdb::Result<T>) -> Result<T, StoreError> {
        let opened = self.opened()?;
        opened.prepare_lock(&self.dir)?;
        let txn = begin(&opened.env, Environment::begin_ro_txn);
        if txn.as_ref().is_err_and(|e| number_is_taken(*e)) {
            drop(txn);
            drop(opened);
            return self.read_alone(look);
        }
        txn.and_then(|txn| look(&Snapshot { txn: Reading::Shared(txn), db: opened.db }))
            .map_err(|e| StoreError::from_lmdb(&self.dir, e))
    }

    /// The same while nobody else writes: a writer needs no place among the readers.
    fn read_alone<T>(&self, look: impl FnOnce(&Snapshot<'_>) -> lmdb::Result<T>) -> Result<T, StoreError> {
        let _turn = self.gate.as_ref().map(|gate| gate.write(&self.dir, gate.patience())).transpose()?;
        self.make_writable()?;
        let opened = self.opened()?;
        begin(&opened.env, Environment::begin_rw_txn)
            .and_then(|txn| look(&Snapshot { txn: Reading::Alone(txn), db: opened.db }))
            .map_err(|e| StoreError::from_lmdb(&self.dir, e))
    }

    /// Writes in one transaction. `change` may be called again with a new transaction, when the map had to
    /// grow; what it returns comes from the call that was committed.
    ///
    /// # Errors
    /// [`StoreError::Lock`] if the lock stays taken; what LMDB says. Nothing is changed then.
    pub fn write<T>(
        &self,
        patience: Patience,
        mut change: impl FnMut(&mut Writer<'_>) -> Result<T, Trouble>,
    ) -> Result<T, StoreError> {
        let _turn = self.gate.as_ref().map(|gate| gate.write(&self.dir, patience)).transpose()?;
        self.make_writable()?;
        let opened = self.opened()?;
        opened.prepare_lock(&self.dir)?;
        self.keep_below_limit()?;
        let mut tries = 0;
        loop {
            tries += 1;
            match opened.write(&mut change) {
                Err(Trouble::Lmdb(lmdb::Error::MapFull)) if tries < MAX_TRIES => self.grow()?,
                Err(Trouble::Lmdb(lmdb::Error::MapResized)) if tries < MAX_TRIES => {
                    self.resize(0)?;
                    self.keep_below_limit()?;
                }
                Err(Trouble::Lmdb(e)) => return Err(StoreError::from_lmdb(&self.dir, e)),
                Err(Trouble::Store(e)) => return Err(e),
                Ok(value) => return Ok(value),
            }
        }
    }

    /// Has the disk do, without any lock, what the next write would wait for under it: read the list of free
    /// pages, and write what waits to be written, by whomever. (The latter only where writes are flushed.)
    ///
    /// # Errors
    /// What LMDB says.
    pub fn prepare(&self) -> Result<(), StoreError> {
        self.make_writable()?;
        let opened = self.opened()?;
        begin(&opened.env, Environment::freelist)
            .and_then(|_| opened.env.sync(false))
            .map_err(|e| StoreError::from_lmdb(&self.dir, e))
    }

    fn grow(&self) -> Result<(), StoreError> {
        let size = self.map_size();
        if sys::may_have(size as u64 + 1).is_err() {
            return Err(StoreError::Full { path: self.dir.clone() });
        }
        self.resize(size.max(FIRST_MAP).saturating_mul(2))?;
        self.keep_below_limit()
    }

    /// LMDB writes no page behind its map: where the process has a limit for files, the map ends there.
    fn keep_below_limit(&self) -> Result<(), StoreError> {
        let Some(limit) = sys::file_size_limit() else { return Ok(()) };
        if self.used_bytes() > limit {
            return Err(StoreError::Full { path: self.dir.clone() });
        }
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let page = page_size(&self.opened()?.env).max(1) as usize;
        if self.map_size() > limit { self.resize(limit / page * page) } else { Ok(()) }
    }

    fn resize(&self, size: usize) -> Result<(), StoreError> {
        self.opened()?.env.set_map_size(size).map_err(|e| StoreError::from_lmdb(&self.dir, e))
    }

    /// The number of the last commit, by whatever process.
    #[must_use]
    pub fn version(&self) -> usize {
        self.opened().ok().and_then(|opened| opened.env.info().ok()).map_or(0, |info| info.last_txnid())
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Bytes of address space.
    #[must_use]
    pub fn map_size(&self) -> usize {
        self.opened().ok().and_then(|opened| opened.env.info().ok()).map_or(0, |info| info.map_size())
    }

    /// Bytes in use: the pages up to the last one.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.opened().map_or(0, |opened| used_bytes(&opened.env))
    }

    /// Places of readers that died; they were cleared at open and are cleared again here.
    #[must_use]
    pub fn clear_dead_readers(&self) -> u32 {
        self.opened().map_or(0, |opened| clear_dead_readers(&opened.env))
    }
}

/// Whether LMDB has no place for this process among the readers, because another one has its number: that can
/// only be one of another PID namespace. LMDB knows readers by a lock on the byte of that number in `lock.mdb`
/// (mdb.c, mdb_reader_pid).
const fn number_is_taken(error: lmdb::Error) -> bool {
    matches!(error, lmdb::Error::Other(libc::EAGAIN | libc::EACCES))
}

/// A reader's is that of the commit it shows, a writer's that of the commit it will be (lmdb.h, mdb_txn_id).
pub(super) fn transaction_id(txn: &impl Transaction) -> usize {
    // SAFETY: the transaction is open for as long as it is borrowed.
    unsafe { lmdb_sys::mdb_txn_id(txn.txn()) }
}

/// The descriptor of data.mdb.
fn data_fd(env: &Environment) -> lmdb::Result<BorrowedFd<'_>> {
    let mut fd = -1;
    // SAFETY: `env` is open for as long as it is borrowed, and the second argument is a place for one int.
    match unsafe { lmdb_sys::mdb_env_get_fd(env.env(), &raw mut fd) } {
        // SAFETY: LMDB keeps this descriptor open as long as the environment.
        lmdb_sys::MDB_SUCCESS => Ok(unsafe { BorrowedFd::borrow_raw(fd) }),
        code => Err(lmdb::Error::from_err_code(code)),
    }
}

/// Starts a read; retries once where another process grew the map, or where the places of readers that have
/// died can be cleared.
fn begin<'e, T>(env: &'e Environment, begin: impl Fn(&'e Environment) -> lmdb::Result<T>) -> lmdb::Result<T> {
    match begin(env) {
        // Another process grew the map: take over its size (lmdb.h, mdb_env_set_mapsize).
        Err(lmdb::Error::MapResized) => {
            env.set_map_size(0)?;
            begin(env)
        }
        // Places of processes that were killed are taken until somebody looks.
        Err(lmdb::Error::ReadersFull) => {
            clear_dead_readers(env);
            begin(env)
        }
        other => other,
    }
}

/// Gives back the places of readers that are no longer alive; says how many.
fn clear_dead_readers(env: &Environment) -> u32 {
    let mut dead = 0;
    // SAFETY: as in `data_fd`.
    unsafe { lmdb_sys::mdb_reader_check(env.env(), &raw mut dead) };
    u32::try_from(dead).unwrap_or(0)
}

fn used_bytes(env: &Environment) -> u64 {
    env.info().map_or(0, |info| (info.last_pgno() as u64 + 1).saturating_mul(page_size(env)))
}

fn page_size(env: &Environment) -> u64 {
    env.stat().map_or(0, |stat| u64::from(stat.page_size()))
}

#[cfg(test)]
#[path = "lmdb_tests.rs"]
mod tests;
