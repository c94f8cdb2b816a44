//! The administrator's command: arguments in, lines out. What is decided is decided by the library, by the
//! same code that Exim calls.
//!
//! Exit status: 0 done, 1 not found or not healthy, 2 wrong usage or trouble. A closed pipe is no error.

mod backup;
mod check_config;
mod command;
mod doctor;
mod exim;
mod explain;
mod export;
mod filter;
mod forget;
mod import;
mod list;
mod normalize;
mod output;
mod owner;
mod purge;
mod release;
mod repair;
mod rows;
mod status;
mod trap;
mod whitelist;

#[cfg(test)]
mod documented_tests;

use crate::command::{Failure, Outcome, Result, complain, load};
use clap::{Parser, Subcommand};
use nix::sys::stat::{Mode, umask};
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
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
    /// Make a client, or mail that has passed, wait again
    Forget(forget::Forget),
    /// Clients, domains, senders and recipients that are never greylisted
    Whitelist(whitelist::Whitelist),
    /// Take in what another greylister has learnt, or another eximgrey has exported
    Import(import::command::Import),
    /// Write all that the store holds as lines of JSON
    Export(export::Export),
    /// Copy what is known to a new directory, while Exim goes on
    Backup(backup::Backup),
    /// Put a backup in the place of what is known
    Restore(backup::Restore),
    /// Delete what has expired, now
    Purge(purge::Purge),
    /// Show the sender key of addresses
    Normalize(normalize::Normalize),
    /// Check the installation: Exim, its configuration, the store
    Doctor(doctor::Doctor),
    /// Switch greylisting on and off in Exim's configuration
    Exim(exim::EximCommand),
}

/// Runs the command that the process was called with.
fn main() -> ExitCode {
    // Root's may be 077; Exim's user has to read what is made.
    umask(Mode::from_bits_truncate(0o022));
    let arguments = Arguments::parse();
    let mut out = BufWriter::new(io::stdout().lock());
    let result = run(&arguments, &mut out).and_then(|outcome| Ok(out.flush().map(|()| outcome)?));
    match result {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Negative) => ExitCode::from(1),
        Err(Failure::Output(e)) if e.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => {
            // What was found before the trouble is shown before it.
            let _ = out.flush();
            complain(&failure);
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &Arguments, out: &mut impl Write) -> Result {
    let config = arguments.config.as_deref();
    match &arguments.command {
        Command::Status(command) => status::run(command, &load(config)?, out),
        Command::List(command) => list::run(command, &load(config)?, out),
        Command::Explain(command) => explain::run(command, config, out),
        Command::Release(command) => release::run(command, &load(config)?, out),
        Command::Trap(command) => trap::run(command, &load(config)?, out),
        Command::Forget(command) => forget::run(command, &load(config)?, out),
        Command::Whitelist(command) => whitelist::run(command, &load(config)?, out),
        Command::Import(command) => import::command::run(command, &load(config)?, out),
        Command::Export(command) => export::run(command, &load(config)?, out),
        Command::Backup(command) => backup::run(command, &load(config)?, out),
        Command::Restore(command) => backup::run_restore(command, &load(config)?, out),
        Command::Purge(command) => purge::run(command, &load(config)?, out),
        Command::CheckConfig(command) => check_config::run(command, config, out),
        Command::Doctor(command) => doctor::run(command, config, out),
        Command::Exim(command) => exim::run(command, config, out),
        Command::Normalize(command) => normalize::run(command, &load(config)?, out),
    }
}
