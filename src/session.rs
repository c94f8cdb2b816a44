//! What a process keeps between calls: configuration files that were read, stores that are open.
//!
//! A session belongs to the process that made it. LMDB must not be used in a forked child, so there everything is left
//! behind, neither used nor closed, and a new session begins. One directory is never opened twice in a process: LMDB
//! would lose its locks.

use crate::policy::{Mode, Verdict};
use crate::reply::{Fault, Reply};
use crate::request::Request;
use crate::settings::{Problem, Settings, StoreSettings};
use crate::store::error::StoreError;
use crate::store::{Access, Store};
use crate::time::Timestamp;
use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The state of one process.
#[derive(Default)]
pub struct Session {
    configurations: Vec<(Option<PathBuf>, Settings)>,
    stores: Vec<OpenStore>,
}

/// A store that is open, under the path it was opened by.
struct OpenStore {
    path: PathBuf,
    /// Device and inode: the directory, whatever path leads to it.
    place: (u64, u64),
    store: Store,
}

/// Why a call could not be decided; mail passes.
#[derive(Debug)]
pub enum Failure {
    /// The arguments, or no such policy.
    Arguments(Fault),
    /// The configuration file.
    Configuration(Vec<Problem>),
    /// The store.
    Store(StoreError),
}

impl Failure {
    /// The word for the reply.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        match self {
            Self::Arguments(fault) => *fault,
            Self::Configuration(_) => Fault::BadConfig,
            Self::Store(error) => error.fault(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Arguments(Fault::BadClient) => write!(f, "the client is no IP address"),
            Self::Arguments(_) => write!(f, "the arguments of a call cannot be read"),
            Self::Configuration(problems) => match problems.first() {
                Some(problem) => problem.fmt(f),
                None => write!(f, "the configuration cannot be read"),
            },
            Self::Store(error) => error.fmt(f),
        }
    }
}

impl Session {
    /// A session with nothing read and nothing open.
    #[must_use]
    pub const fn new() -> Self {
        Self { configurations: Vec::new(), stores: Vec::new() }
    }

    /// Answers one call.
    ///
    /// # Errors
    /// See [`Failure`].
    pub fn answer(&mut self, arguments: &[&[u8]], access: Access, now: Timestamp) -> Result<Reply, Failure> {
        let request = Request::parse(arguments).map_err(Failure::Arguments)?;
        let settings = configuration(&mut self.configurations, request.config)?;
        let rules =
            settings.rules_for(request.policy, &request.rules).ok_or(Failure::Arguments(Fault::BadOption))?;
        let Some(triplet) = request.triplet(settings.prefixes, rules.sender_key) else {
            return Ok(Verdict::Local.reply(rules.mode));
        };
        if rules.mode == Mode::Off {
            return Ok(Verdict::Off.reply(rules.mode));
        }
        let verdict = match store(&mut self.stores, &settings.store, access, now).map_err(Failure::Store)? {
            Some(store) => {
                let verdict = store.settle(&triplet, &rules, access, now);
                if access == Access::Record {
                    let reply =
                        verdict.as_ref().map_or_else(|e| Reply::error(e.fault()), |v| v.reply(rules.mode));
                    store.count(&reply, now);
                }
                verdict.map_err(Failure::Store)?
            }
            // Nothing was ever recorded.
            None => Verdict::New { wait: rules.delay },
        };
        Ok(verdict.reply(rules.mode))
    }
}

/// The settings of a configuration file. It is read once a process: sessions are short, and a message must not be
/// judged by two configurations.
fn configuration<'s>(
    known: &'s mut Vec<(Option<PathBuf>, Settings)>,
    named: Option<&Path>,
) -> Result<&'s Settings, Failure> {
    let place = known.iter().position(|(path, _)| path.as_deref() == named);
    let place = match place {
        Some(place) => place,
        None => {
            known
                .push((named.map(Path::to_path_buf), Settings::load(named).map_err(Failure::Configuration)?));
            known.len() - 1
        }
    };
    known.get(place).map(|(_, settings)| settings).ok_or(Failure::Arguments(Fault::Internal))
}

/// The store of `settings`, opened if it is not open yet. `None` if there is none and `access` makes none.
fn store<'s>(
    open: &'s mut Vec<OpenStore>,
    settings: &StoreSettings,
    access: Access,
    now: Timestamp,
) -> Result<Option<&'s Store>, StoreError> {
    let mut found = open.iter().position(|known| known.path == settings.path);
    if found.is_none() {
        let meta = std::fs::metadata(&settings.path)
            .map_err(|cause| StoreError::Open { path: settings.path.clone(), cause })?;
        let place = (meta.dev(), meta.ino());
        found = open.iter().position(|known| known.place == place);
        if found.is_none()
            && let Some(store) = Store::open(settings, access, now)?
        {
            open.push(OpenStore { path: settings.path.clone(), place, store });
            found = Some(open.len() - 1);
        }
    }
    Ok(found.and_then(|i| open.get(i)).map(|known| &known.store))
}
