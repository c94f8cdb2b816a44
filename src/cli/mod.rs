//! The administrator's command: arguments in, lines out. What is decided is decided by the library, by the same code that
//! Exim calls.
//!
//! Exit status: 0 done, 1 not found or not healthy, 2 wrong usage or trouble. A closed pipe is no error.

mod check_config;
mod doctor;
mod exim;
mod explain;
mod list;
mod normalize;
mod output;
mod owner;
mod purge;
mod release;
mod repair;
mod status;
mod trap;
mod whitelist;

#[cfg(test)]
mod documented_tests;

use clap::{Parser, Subcommand};
use eximgrey::identity::ClientNetwork;
use eximgrey::settings::{Problem, Settings};
use eximgrey::store::error::StoreError;
use eximgrey::store::{Access, Store};
use eximgrey::time::Timestamp;
use ipnetwork::IpNetwork;
use std::io::{self, BufWriter, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Greylisting for Exim: look into the store, explain answers, check the installation.
#[derive(Parser)]
#[command(version, max_term_width = 100, infer_subcommands = false)]
struct Arguments {
    /// The configuration file [default: /etc/eximgrey/eximgrey.toml, which need not exist]
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show the state of the store: size, counts, recent decisions
    Status(status::Status),
    /// List first attempts that wait, known triplets, proved or trapped clients, the whitelist
    List(list::List),
    /// Say what Exim would be answered now, and why
    Explain(explain::Explain),
    /// Check the configuration file
    CheckConfig(check_config::CheckConfig),
    /// Let the next retry of a deferred mail pass
    Release(release::Release),
    /// Trap a client's network for a while
    Trap(trap::Trap),
    /// Clients, domains, senders and recipients that are never greylisted
    Whitelist(whitelist::Whitelist),
    /// Delete what has expired, now
    Purge(purge::Purge),
    /// Show the sender key of addresses
    Normalize(normalize::Normalize),
    /// Check the installation: Exim, its configuration, the store
    Doctor(doctor::Doctor),
    /// Switch greylisting on and off in Exim's configuration
    Exim(exim::EximCommand),
}

/// What a command found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// All is well.
    Done,
    /// Not found, or not healthy.
    NotSo,
}

/// Why a command could not do its work.
#[derive(Debug)]
enum Failure {
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

type Result<T = Outcome> = std::result::Result<T, Failure>;

/// Runs the command that the process was called with.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut out = BufWriter::new(io::stdout().lock());
    let result = run(&arguments, &mut out).and_then(|outcome| Ok(out.flush().map(|()| outcome)?));
    match result {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::NotSo) => ExitCode::from(1),
        Err(Failure::Output(e)) if e.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => {
            // What was found before the trouble is shown before it.
            let _ = out.flush();
            complain(&failure);
            ExitCode::from(2)
        }
    }
}

/// Says on the standard error what went wrong; if nobody reads it, so be it.
fn complain(failure: &Failure) {
    let text = match failure {
        Failure::Configuration(problems) => {
            problems.iter().map(|problem| format!("eximgrey: {problem}\n")).collect()
        }
        Failure::Store(error) => format!("eximgrey: {error}\nTry: eximgrey doctor\n"),
        Failure::Usage(text) => format!("eximgrey: {text}\n"),
        Failure::Output(error) => format!("eximgrey: cannot write: {error}\n"),
    };
    let _ = io::stderr().write_all(text.as_bytes());
}

fn run(arguments: &Arguments, out: &mut impl Write) -> Result {
    let config = arguments.config.as_deref();
    match &arguments.command {
        Command::Status(command) => status::run(command, &load(config)?, out),
        Command::List(command) => list::run(command, &load(config)?, out),
        Command::Explain(command) => explain::run(command, config, out),
        Command::Release(command) => release::run(command, &load(config)?, out),
        Command::Trap(command) => trap::run(command, &load(config)?, out),
        Command::Whitelist(command) => whitelist::run(command, &load(config)?, out),
        Command::Purge(command) => purge::run(command, &load(config)?, out),
        Command::CheckConfig(command) => check_config::run(command, config, out),
        Command::Doctor(command) => doctor::run(command, config, out),
        Command::Exim(command) => exim::run(command, config, out),
        Command::Normalize(command) => {
            normalize::run(command, load(config)?.rules.sender_key, out)?;
            Ok(Outcome::Done)
        }
    }
}

fn load(config: Option<&Path>) -> Result<Settings> {
    Settings::load(config).map_err(Failure::Configuration)
}

/// Opens the store to look at it, as its owner where we are root. `None` if nothing was ever recorded.
fn open_store(settings: &Settings, now: Timestamp) -> Result<Option<Store>> {
    owner::become_owner(&settings.store.path)?;
    Ok(Store::open(&settings.store, Access::Look, now)?)
}

/// Opens the store to change it, as its owner where we are root, and makes it if it is missing.
fn open_store_to_write(settings: &Settings, now: Timestamp) -> Result<Store> {
    owner::become_owner(&settings.store.path)?;
    let store = Store::open(&settings.store, Access::Record, now)?;
    store.ok_or_else(|| Failure::Usage("the store cannot be made".into()))
}

/// A client as the administrator writes it: an address, or a network of the size that the configuration gives to networks.
fn client(text: &str, settings: &Settings) -> Result<IpAddr> {
    let Ok(network) = text.parse::<IpNetwork>() else {
        return Err(Failure::Usage(format!("{text:?} is no IP address")));
    };
    let own = ClientNetwork::of(network.ip(), settings.prefixes).to_string();
    if text.contains('/') && own != network.to_string() {
        return Err(Failure::Usage(format!("{text}: clients are known by networks such as {own}")));
    }
    Ok(network.ip())
}
