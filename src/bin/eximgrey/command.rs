//! What every subcommand shares: what it answers, why it may fail, and how it comes to its settings, its
//! store and its client.

use crate::owner;
use crate::terminal;
use clap::builder::{PossibleValue, PossibleValuesParser, StringValueParser, TypedValueParser};
use eximgrey::identity::ClientNetwork;
use eximgrey::memory::Access;
use eximgrey::settings::{DEFAULT_FILE, Problem, Settings};
use eximgrey::store::Store;
use eximgrey::store::error::StoreError;
use eximgrey::store::sys;
use eximgrey::time::{Seconds, Timestamp};
use eximgrey::words::Word;
use eximgrey::{network, pasted};
use ipnetwork::IpNetwork;
use std::borrow::Cow;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write};
use std::marker::PhantomData;
use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt;
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

/// Whether the user lacks a right to the store that root has.
pub fn is_denied(error: &StoreError) -> bool {
    matches!(error, StoreError::Open { cause, .. } if denied(cause))
}

/// Says on the standard error what went wrong. That this cannot be written is no error of its own.
pub fn complain(failure: &Failure) {
    let name = terminal::bad_on_error("eximgrey:");
    let text = match failure {
        Failure::Configuration(problems) => {
            let closed = |problem: &Problem| fs::File::open(&problem.path).is_err_and(|error| denied(&error));
            let lines = problems.iter().map(|problem| format!("{name} {problem}\n"));
            let hint = problems.iter().any(closed).then(|| format!("You may not read it: {AS_ROOT}\n"));
            lines.chain(hint).collect()
        }
        Failure::Store(error) if is_denied(error) => {
            format!("{name} {error}\nThe store is open to root and Exim's user only: {AS_ROOT}\n")
        }
        Failure::Store(error) => format!("{name} {error}\nTry: eximgrey doctor\n"),
        Failure::Usage(text) => format!("{name} {text}\n"),
        Failure::Output(error) => format!("{name} cannot write: {error}\n"),
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

/// A client as the administrator writes it or as a log shows it: an address, or a network of the size that
/// the configuration gives to networks.
pub fn client(text: &str, settings: &Settings) -> Result<IpAddr> {
    let network = pasted::client(text).map(|address| Ok(address.into()));
    let network: IpNetwork = network
        .unwrap_or_else(|| network::read(text))
        .map_err(|expected| Failure::Usage(format!("{text:?} is no IP address: expected {expected}")))?;
    let own = ClientNetwork::of(network.ip(), settings.prefixes).to_string();
    if pasted::client(text).is_none() && own != network.to_string() {
        return Err(Failure::Usage(format!("{text}: clients are known by networks such as {own}")));
    }
    Ok(network.ip())
}

/// A sender and a recipient as they were pasted.
pub fn mail(sender: &OsStr, recipient: &OsStr) -> Result<[Vec<u8>; 2]> {
    let [from, to] = [sender, recipient].map(|text| pasted::address(text.as_bytes()));
    let wrong = |text: &OsStr, what: &str| {
        Err(Failure::Usage(format!("{:?}: expected {what}", text.to_string_lossy())))
    };
    let is_address = |text: &[u8]| {
        let at = text.iter().rposition(|&byte| byte == b'@');
        at.is_some_and(|at| at > 0 && at + 1 < text.len()) && !text.contains(&b',')
    };
    if !from.is_empty() && !is_address(&from) {
        return wrong(sender, "a sender's address, or \"<>\" for the null sender");
    }
    // RFC 5321 section 4.1.1.3: this one recipient needs no domain.
    if !is_address(&to) && !to.eq_ignore_ascii_case(b"postmaster") {
        return wrong(recipient, "a recipient's address, such as bob@example.org");
    }
    Ok([from, to])
}

/// A domain, or an address with its domain, as the DNS has it: `bücher.example` is
/// `xn--bcher-kva.example`.
pub fn ascii(text: &str) -> Result<Cow<'_, str>> {
    if text.is_ascii() {
        return Ok(Cow::Borrowed(text));
    }
    let (local, domain) = text.rsplit_once('@').map_or(("", text), |(local, domain)| (local, domain));
    let Ok(domain) = idna::domain_to_ascii(domain) else {
        return Err(Failure::Usage(format!("{domain:?} is no domain that the DNS can have")));
    };
    let at = if text.contains('@') { "@" } else { "" };
    Ok(format!("{local}{at}{domain}").into())
}

/// A span of an argument. Days are meant more often than the seconds that a number alone is elsewhere.
pub fn time(text: &str) -> std::result::Result<Seconds, String> {
    let time = Seconds::parse(text.as_bytes()).filter(|time| *time > Seconds(0));
    match time {
        Some(_) if text.ends_with(|c: char| c.is_ascii_digit()) => Err(format!(
            "expected a time with its unit: {text}d for days, {text}h for hours, {text}s for seconds"
        )),
        Some(time) => Ok(time),
        None => Err("expected a time such as 30d".into()),
    }
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
    PossibleValuesParser::new(values::<W>())
        .try_map(|word| W::from_word(word.as_bytes()).ok_or_else(|| format!("expected {}", W::expected())))
}

fn values<W: Word>() -> impl Iterator<Item = PossibleValue> {
    W::ALL.iter().map(|word| PossibleValue::new(word.word()).help(word.about()))
}

/// Any text, which may be one of the words of `W`: those are in the help and in completions.
pub const fn text_or<W: Word>() -> TextOr<W> {
    TextOr(PhantomData)
}

#[derive(Clone)]
pub struct TextOr<W>(PhantomData<W>);

impl<W: Word> TypedValueParser for TextOr<W> {
    type Value = String;

    fn parse_ref(
        &self,
        command: &clap::Command,
        argument: Option<&clap::Arg>,
        value: &OsStr,
    ) -> std::result::Result<String, clap::Error> {
        StringValueParser::new().parse_ref(command, argument, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(values::<W>()))
    }
}
