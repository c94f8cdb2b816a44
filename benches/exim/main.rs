//! eximgrey and its peers in live Exim daemons: the same connections against each, in turns.
//!
//! `make bench-exim`, or `cargo bench --bench exim -- [--rounds N] [--dir DIRECTORY] [--write] [--crowds]
//! [--only NAME]...`, as root.
//!
//! - [`world`]: namespaces of its own, so that nothing outside is reached and nothing started here outlives the run.
//! - [`contestants`]: the greylisters, each as its own documentation has it put into Exim.
//! - [`daemon`]: starting them.
//! - [`load`]: the clients.
//! - [`measure`]: rounds, and what is kept of each.
//! - [`crowds`]: many clients at the same time, also with flushes to disk that take 10 ms longer.
//! - [`group`]: control groups, for the CPU time.
//! - [`report`], [`chart`]: tables and the picture.

#![allow(unsafe_code, missing_docs, reason = "a benchmark")]

mod chart;
mod contestants;
mod crowds;
mod daemon;
mod group;
mod load;
mod measure;
mod report;
#[path = "../common/slow_disk.rs"]
mod slow_disk;
mod world;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// A median wants an odd number; more than these say the same and take longer.
const ROUNDS: u32 = 7;

struct Options {
    rounds: u32,
    /// On the disk that is to be measured. Not `$TMPDIR`: Exim's user must get there.
    dir: PathBuf,
    /// Put the result into docs/.
    write: bool,
    /// Only the crowds.
    crowds: bool,
    /// Only these contestants, and Exim alone; all if there are none.
    only: Vec<String>,
}

fn main() -> ExitCode {
    // `cargo test --all-targets` starts benchmarks too, without this argument.
    if !std::env::args().any(|argument| argument == "--bench") {
        println!("not measured: this is for cargo bench --bench exim");
        return ExitCode::SUCCESS;
    }
    match options().and_then(|options| world::enter(&options.dir, |dir| run(&options, dir))) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("bench exim: {error}");
            ExitCode::FAILURE
        }
    }
}

fn options() -> Result<Options> {
    let mut options =
        Options { rounds: ROUNDS, dir: "/var/tmp".into(), write: false, crowds: false, only: Vec::new() };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} wants a value"));
        match argument.as_str() {
            "--bench" => (),
            "--rounds" => options.rounds = value()?.parse()?,
            "--dir" => options.dir = value()?.into(),
            "--write" => options.write = true,
            "--crowds" => options.crowds = true,
            "--only" => options.only.push(value()?),
            _ => {
                return Err(format!(
                    "unknown argument {argument}; known: --rounds N, --dir DIRECTORY, --write, --crowds, --only NAME"
                )
                .into());
            }
        }
    }
    if options.write && !options.only.is_empty() {
        return Err("--write is for all contestants, not for --only".into());
    }
    // More would need more /24 networks than 127.0.0.0/8 has.
    if !(1..=35).contains(&options.rounds) {
        return Err("--rounds wants 1 to 35".into());
    }
    Ok(options)
}

/// Measures, in a directory and in namespaces of its own.
fn run(options: &Options, dir: &Path) -> Result<()> {
    let (wanted, after_data) = contestants::named(&options.only)?;
    let crowds = crowds::measure(dir, options.rounds, &wanted)?;
    println!("{}", report::crowds(&crowds));
    if options.crowds {
        return Ok(());
    }
    let results = measure::all(dir, 2000, options.rounds, &wanted, measure::RECIPIENTS_ONLY)?;
    let messages = measure::all(dir, 2100, options.rounds, &after_data, measure::MESSAGES)?;
    let text = report::whole(&results, &messages, &crowds, options.rounds, dir)?;
    println!("\n{text}");
    if options.write {
        report::write(&text, &chart::draw(&results))?;
    }
    Ok(())
}
