//! What every subcommand shares: what it answers, why it may fail, and how it comes to its settings, its
//! store and its client.

use crate::owner;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use eximgrey::identity::ClientNetwork;
use eximgrey::memory::Access;
use eximgrey::settings::{DEFAULT_FILE, Problem, Settings};
use eximgrey::store::Store;
use eximgrey::store::error::StoreError;
use eximgrey::store::sys;
use eximgrey::time::Timestamp;
use eximgrey::words::Word;
use ipnetwork::IpNetwork;
use std::fs;
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::Path;
use std::process::{Child, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

/// What a command found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All is well.
    Done,
    /// Not found, or not healthy.
    Negative,
}

/// Why a command could not do its work.
#[derive(Debug)]
pub enum Failure {
    Configuration(Vec<Problem>),
    Store(StoreError),
    Usage(String),
    Output(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

pub type Result<T = Outcome> = std::result::Result<T, Failure>;

/// What to do for who lacks the right.
pub const AS_ROOT: &str = "become root, or put sudo before the command";

/// Whether the user lacks a right that root has.
fn denied(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied && sys::effective_user() != 0
}

/// Says on the standard error what went wrong. That this cannot be written is no error of its own.
pub fn complain(failure: &Failure) {
    let text = match failure {
        Failure::Configuration(problems) => {
            let closed = |problem: &Problem| fs::File::open(&problem.path).is_err_and(|error| denied(&error));
            let lines = problems.iter().map(|problem| format!("eximgrey: {problem}\n"));
            let hint = problems.iter().any(closed).then(|| format!("You may not read it: {AS_ROOT}\n"));
            lines.chain(hint).collect()
        }
        Failure::Store(error @ StoreError::Open { cause, .. }) if denied(cause) => {
            format!("eximgrey: {error}\nThe store is open to root and Exim's user only: {AS_ROOT}\n")
        }
        Failure::Store(error) => format!("eximgrey: {error}\nTry: eximgrey doctor\n"),
        Failure::Usage(text) => format!("eximgrey: {text}\n"),
        Failure::Output(error) => format!("eximgrey: cannot write: {error}\n"),
    };
    let _ = io::stderr().write_all(text.as_bytes());
}

pub fn load(config: Option<&Path>) -> Result<Settings> {
    Settings::load(config).map_err(Failure::Configuration)
}

/// Says of a configuration without a problem where it is, or that there is no file.
pub fn sound_file(config: Option<&Path>) -> String {
    let path = config.unwrap_or_else(|| Path::new(DEFAULT_FILE));
    let found = if path.exists() { "no problem found" } else { "no such file, and none is needed" };
    format!("{}: {found}", path.display())
}

/// Opens the store to look at it, as its owner where we are root. `None` if nothing was ever recorded.
pub fn open_store(settings: &Settings, now: Timestamp) -> Result<Option<Store>> {
    owner::become_owner(&settings.store.path)?;
    let store = Store::open(&settings.store, Access::Look, now)?;
    // What waits in the queue is shown as what it will be. If it cannot be carried now, it is not there yet.
    let _ = store.as_ref().map(Store::carry_all);
    Ok(store)
}

/// Opens the store to change it, as its owner where we are root, and makes it if it is missing.
pub fn open_store_to_write(settings: &Settings, now: Timestamp) -> Result<Store> {
    owner::become_owner(&settings.store.path)?;
    let store = Store::open(&settings.store, Access::Record, now)?;
    store.ok_or_else(|| Failure::Usage("the store cannot be made".into()))
}

/// A client as the administrator writes it: an address, or a network of the size that the configuration gives
/// to networks.
pub fn client(text: &str, settings: &Settings) -> Result<IpAddr> {
    let Ok(network) = text.parse::<IpNetwork>() else {
        return Err(Failure::Usage(format!("{text:?} is no IP address")));
    };
    let own = ClientNetwork::of(network.ip(), settings.prefixes).to_string();
    if text.contains('/') && own != network.to_string() {
        return Err(Failure::Usage(format!("{text}: clients are known by networks such as {own}")));
    }
    Ok(network.ip())
}

/// Waits for the end of `child`; where that takes longer than `limit`, it is killed.
pub fn end_in_time(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let start = Instant::now();
    while start.elapsed() < limit {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        thread::sleep(Duration::from_millis(5));
    }
    // It may have ended just now; in any case it is waited for.
    let _ = child.kill();
    let _ = child.wait();
    None
}

/// An argument that is one of the words of `W`; the help says of each what the enum's source says.
pub fn one_of<W: Word>() -> impl TypedValueParser<Value = W> {
    let values = W::ALL.iter().map(|word| PossibleValue::new(word.word()).help(word.about()));
    PossibleValuesParser::new(values)
        .try_map(|word| W::from_word(word.as_bytes()).ok_or_else(|| format!("expected {}", W::expected())))
}
