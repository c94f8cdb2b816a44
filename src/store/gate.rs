//! The way into an environment: LMDB opens it in one process at a time, and nobody waits for that for ever.
#![allow(unsafe_code)]

use super::breaker;
use super::error::StoreError;
use super::lmdb::RESENTMENT;
use super::mapping::Held;
use super::state::{Opening, State};
use crate::time::{Seconds, Timestamp};
use lmdb::Environment;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// The way into an environment: one process at a time.
pub struct Gate {
    state: Arc<State>,
    what: Opening,
    timeout: Seconds,
}

/// When a wait at a gate was last in vain, in this process.
static GAVE_UP: AtomicU32 = AtomicU32::new(0);

impl Gate {
    /// The one that `state` has for `what`, at which nobody waits for longer than `timeout`.
    #[must_use]
    pub const fn new(state: Arc<State>, what: Opening, timeout: Seconds) -> Self {
        Self { state, what, timeout }
    }

    /// Enters; whoever is in there leaves when the result is dropped, or with its process.
    ///
    /// # Errors
    /// [`StoreError::Lock`] when time is up. In this process nobody waits again for a minute then.
    pub(super) fn enter(&self, dir: &Path) -> Result<Held<'_>, StoreError> {
        let enter = |patience| self.state.opening(self.what, patience, dir);
        enter(Duration::ZERO).or_else(|e| {
            let now = Timestamp::now();
            let gave_up = Timestamp(GAVE_UP.load(Ordering::Relaxed));
            // Either way: the clock may have been set back since.
            if u64::from(now.0.abs_diff(gave_up.0)) < RESENTMENT.as_secs() {
                return Err(e);
            }
            let entered = enter(Duration::from_secs(self.timeout.0.into()));
            if entered.is_err() {
                GAVE_UP.store(now.0, Ordering::Relaxed);
            }
            entered
        })
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
        let [holder, waiter] = states.map(|state| Gate::new(state, Opening::Known, Seconds(0)));
        let _held = holder.enter(dir.path()).unwrap();
        for long_ago in [0, u32::MAX] {
            GAVE_UP.store(long_ago, Ordering::Relaxed);
            assert!(waiter.enter(dir.path()).is_err());
            assert_ne!(GAVE_UP.load(Ordering::Relaxed), long_ago, "it has not waited");
        }
        GAVE_UP.store(0, Ordering::Relaxed);
    }
}
