//! The way into an environment: LMDB opens it, and writes to it, in one process at a time, and nobody waits
//! for that for ever.
//!
//! These locks are no part of what keeps the data right: LMDB has locks of its own. Behind ours, a process
//! that is stopped with one of LMDB's stops nobody for longer than said here. So a library that knows other
//! locks, as during an upgrade, may be at work at the same time.
#![allow(unsafe_code)]

use super::breaker;
use super::error::StoreError;
use super::mapping::Held;
use super::state::{State, Turn};
use super::table::Table;
use crate::time::{Seconds, Timestamp};
use lmdb::Environment;
use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// What a writer may do about a lock that is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Give up at once: the write is not worth a wait.
    None,
    /// Wait so long.
    UpTo(Seconds),
}

/// The way into an environment: one process at a time.
pub struct Gate {
    state: Arc<State>,
    table: Table,
    timeout: Seconds,
    /// When a wait to write was last in vain.
    gave_up: Cell<Option<Instant>>,
}

/// When a wait to open something was last in vain, in this process.
static GAVE_UP: AtomicU32 = AtomicU32::new(0);

/// How long after a wait in vain nobody waits in this process: a message with a hundred recipients must not
/// wait a hundred times.
const QUIET: Duration = Duration::from_secs(60);

impl Gate {
    /// The one that `state` has for `table`; nobody waits for an opening for longer than `timeout`.
    #[must_use]
    pub const fn new(state: Arc<State>, table: Table, timeout: Seconds) -> Self {
        Self { state, table, timeout, gave_up: Cell::new(None) }
    }

    /// Enters to open the environment; whoever is in there leaves when the result is dropped, or with its
    /// process.
    ///
    /// # Errors
    /// [`StoreError::Lock`] when time is up. In this process nobody waits again for a minute then.
    pub(super) fn enter(&self, dir: &Path) -> Result<Held<'_>, StoreError> {
        let enter = |patience| self.state.take(Turn::Open(self.table), patience, dir);
        enter(Duration::ZERO).or_else(|e| {
            let now = Timestamp::now();
            let gave_up = Timestamp(GAVE_UP.load(Ordering::Relaxed));
            // Either way: the clock may have been set back since.
            if u64::from(now.0.abs_diff(gave_up.0)) < QUIET.as_secs() {
                return Err(e);
            }
            let entered = enter(Duration::from_secs(self.timeout.0.into()));
            if entered.is_err() {
                GAVE_UP.store(now.0, Ordering::Relaxed);
            }
            entered
        })
    }

    /// Enters to write.
    ///
    /// # Errors
    /// [`StoreError::Lock`] if somebody else writes, and goes on for longer than `patience` allows. Who has
    /// waited in vain does not wait again for a minute.
    pub(super) fn write(&self, dir: &Path, patience: Patience) -> Result<Held<'_>, StoreError> {
        let enter = |patience| self.state.take(Turn::Write(self.table), patience, dir);
        match (enter(Duration::ZERO), patience) {
            (Err(e @ StoreError::Lock { .. }), Patience::UpTo(limit)) => {
                if self.gave_up.get().is_some_and(|at| at.elapsed() < QUIET) {
                    return Err(e);
                }
                let held = enter(Duration::from_secs(limit.0.into()));
                self.gave_up.set(held.is_err().then(Instant::now));
                held
            }
            (held, _) => {
                self.gave_up.set(None);
                held
            }
        }
    }

    /// What nobody waits longer for.
    pub(super) const fn patience(&self) -> Patience {
        Patience::UpTo(self.timeout)
    }

    /// Whether the file system of `device` is known to change files in their place.
    pub(super) fn writes_in_place(&self, device: u64) -> bool {
        self.state.writes_in_place(device)
    }

    /// Has LMDB tell the breaker of failed assertions in `env`, which is closed before the gate is dropped.
    pub(super) fn watch(&self, env: &Environment) {
        // SAFETY: the environment is open. `Env` keeps the gate, and so the state, until after it is closed.
        unsafe {
            lmdb_sys::mdb_env_set_userctx(env.env(), Arc::as_ptr(&self.state).cast_mut().cast());
            lmdb_sys::mdb_env_set_assert(env.env(), Some(assertion_failed));
        }
    }
}

/// Called by LMDB before it aborts, because what it found cannot be: the store is damaged for sure.
extern "C" fn assertion_failed(env: *mut lmdb_sys::MDB_env, _: *const std::ffi::c_char) {
    // SAFETY: LMDB gives the environment that failed; its context is null or what `Gate::watch` has set.
    let state = unsafe { lmdb_sys::mdb_env_get_userctx(env).cast::<State>().as_ref() };
    if let Some(state) = state {
        breaker::trip(state, Timestamp::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who has waited in vain waits again a minute later, also where the clock was set back in between.
    #[test]
    fn a_wait_in_vain_is_forgotten_when_the_clock_goes_back() {
        let dir = tempfile::tempdir().unwrap();
        let states = [(); 2].map(|()| Arc::new(State::open(dir.path(), true).unwrap()));
        let [holder, waiter] = states.map(|state| Gate::new(state, Table::Known, Seconds(0)));
        let _held = holder.enter(dir.path()).unwrap();
        for long_ago in [0, u32::MAX] {
            GAVE_UP.store(long_ago, Ordering::Relaxed);
            assert!(waiter.enter(dir.path()).is_err());
            assert_ne!(GAVE_UP.load(Ordering::Relaxed), long_ago, "it has not waited");
        }
        GAVE_UP.store(0, Ordering::Relaxed);
    }
}
