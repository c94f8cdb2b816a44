//! The administrator's command: arguments in, lines out. What is decided is decided by the library, by the
//! same code that Exim calls.
//!
//! Exit status: 0 done, 1 not found or not healthy, 2 wrong usage or trouble. A closed pipe is no error.

mod backup;
mod check_config;
mod command;
mod doctor;
mod exim;
mod exim_log;
mod explain;
mod export;
mod filter;
mod forget;
mod import;
mod learned;
mod list;
mod log;
mod metrics;
mod normalize;
mod output;
mod owner;
mod purge;
mod release;
mod repair;
mod replay;
mod report;
mod rows;
mod status;
mod terminal;
mod trap;
mod watch;
mod whitelist;

#[cfg(test)]
mod documented_tests;

use crate::command::{Failure, Outcome, Result, complain, load, one_of};
use clap::{Parser, Subcommand};
use nix::sys::stat::{Mode, umask};
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use terminal::When;

const OF_ALL: &str = "Options of all commands";

const MORE: &str = "See eximgrey(8), and eximgrey(7) for what Exim is answered. Start with: eximgrey doctor";

/// Greylisting for Exim: look into the store, explain answers, check the installation.
#[derive(Parser)]
#[command(version, max_term_width = 100, infer_subcommands = false, after_help = MORE)]
struct Arguments {
    /// The configuration file [default: /etc/eximgrey/eximgrey.toml, which need not exist]
    #[arg(long, value_name = "FILE", global = true, help_heading = OF_ALL)]
    config: Option<PathBuf>,
    /// When to colour: auto, always or never [default: auto]
    #[arg(long, value_name = "WHEN", global = true, help_heading = OF_ALL, value_parser = one_of::<When>())]
    #[arg(hide_possible_values = true)]
    color: Option<When>,
    #[command(subcommand)]
    command: Command,
}

/// What each does, its own file says: the first line here in the list, the rest in its help.
#[derive(Subcommand)]
enum Command {
    Status(status::Status),
    List(list::List),
    Metrics(metrics::Metrics),
    Watch(watch::Watch),
    Explain(explain::Explain),
    Log(log::Log),
    CheckConfig(check_config::CheckConfig),
    Release(release::Release),
    Trap(trap::Trap),
    Forget(forget::Forget),
    Whitelist(whitelist::Whitelist),
    Import(import::command::Import),
    Export(export::Export),
    Backup(backup::Backup),
    Restore(backup::Restore),
    Purge(purge::Purge),
    Normalize(normalize::Normalize),
    Report(report::Report),
    Replay(replay::Replay),
    Doctor(doctor::Doctor),
    Exim(exim::EximCommand),
}

/// Runs the command that the process was called with.
fn main() -> ExitCode {
    // Root's may be 077; Exim's user has to read what is made.
    umask(Mode::from_bits_truncate(0o022));
    let arguments = Arguments::parse();
    arguments.color.into_iter().for_each(terminal::colour);
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
        Command::Metrics(command) => metrics::run(command, config, out),
        Command::Watch(command) => watch::run(command, &load(config)?, out),
        Command::Log(command) => log::run(command, &load(config)?, out),
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
        Command::Report(command) => report::run(command, config, out),
        Command::Replay(command) => replay::run(command, config, out),
        Command::CheckConfig(command) => check_config::run(command, config, out),
        Command::Doctor(command) => doctor::run(command, config, out),
        Command::Exim(command) => exim::run(command, config, out),
        Command::Normalize(command) => normalize::run(command, &load(config)?, out),
    }
}
