//! What a flood of new triplets costs on a disk whose flushes take 10 ms (`slow_disk.c`), against the same without, in turns.

use crate::Result;
use crate::contestants::{Contestant, EXIMGREY, SEEN, SQLITE, Site, Wait};
use crate::daemon;
use crate::load::{self, Connection, Outcome, quantile_of};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const CONNECTIONS: u32 = 500;
const AT_A_TIME: usize = 4;
const LIMIT: Duration = Duration::from_secs(3);
const AFTER_THE_DELAY: Duration = Duration::from_millis(2100);
/// The shim's sleep.
const FLUSH: Duration = Duration::from_millis(10);

pub struct Flushes {
    pub name: &'static str,
    /// New triplets a second as the disk is, and with slow flushes; medians of the rounds.
    pub plain: f64,
    pub slow: f64,
    /// The median of the rounds' ratios.
    pub ratio: f64,
    /// Flushes a connection.
    pub flushes: f64,
}

/// Those whose work is done in Exim's processes, where flushes hold up the answer.
pub fn measure(dir: &Path, rounds: u32) -> Result<Vec<Flushes>> {
    let shim = dir.join("slow_disk.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/exim/slow_disk.c");
    daemon::run(
        Command::new("cc").args(["-O2", "-shared", "-fPIC", "-o"]).arg(&shim).arg(source).arg("-ldl"),
    )?;
    let contestants = [EXIMGREY, SEEN, SQLITE];
    (0..).zip(contestants).map(|(number, contestant)| one(dir, number, &contestant, &shim, rounds)).collect()
}

fn one(dir: &Path, number: u16, contestant: &Contestant, shim: &Path, rounds: u32) -> Result<Flushes> {
    let counted = dir.join(format!("flushes-{number}"));
    fs::write(&counted, "")?;
    fs::set_permissions(&counted, fs::Permissions::from_mode(0o666))?;
    let flushes = || -> Result<u64> { Ok(fs::metadata(&counted)?.len()) };
    let environment = [("LD_PRELOAD", shim.as_os_str()), ("EXIMGREY_SLOW_DISK", counted.as_os_str())];
    let [plain, slow] = [1900 + 2 * number, 1901 + 2 * number];
    start(dir, contestant, plain, &[])?;
    start(dir, contestant, slow, &environment)?;

    // A triplet that passes has to be flushed, by a child of that daemon, and takes the time.
    for (port, slowed) in [(plain, false), (slow, true)] {
        let known = [Connection::new(0, 1)];
        let before = flushes()?;
        let run = |code| load::run(&known, 1, port, code, Duration::MAX);
        let first = run(451)?;
        std::thread::sleep(AFTER_THE_DELAY);
        let retry = run(250)?;
        let slowest = first.times.iter().chain(&retry.times).max().copied().unwrap_or_default();
        let counted = flushes()? - before;
        if first.wrong + retry.wrong > 0 {
            return Err(format!("{}: wrong answers", contestant.name).into());
        }
        if slowed != (counted > 0) || (slowed && slowest < FLUSH) {
            return Err(
                format!("{}: {counted} slow flushes, slowest answer {slowest:?}", contestant.name).into()
            );
        }
    }

    let (mut rates, mut slow_rates, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    let (mut counted, mut connections) = (0, 0);
    for round in 0..rounds {
        let new: Vec<_> =
            (0..CONNECTIONS).map(|i| Connection::new(1000 + round * CONNECTIONS + i, 1)).collect();
        let run = |port| -> Result<Outcome> {
            let outcome = load::run(&new, AT_A_TIME, port, 451, LIMIT)?;
            if outcome.wrong > 0 {
                eprintln!("{}: {} answers wrong", contestant.name, outcome.wrong);
            }
            Ok(outcome)
        };
        let before = flushes()?;
        let (with, without) = if round % 2 == 0 {
            let without = run(plain)?;
            (run(slow)?, without)
        } else {
            (run(slow)?, run(plain)?)
        };
        counted += flushes()? - before;
        connections += with.connections;
        rates.push(without.rate());
        slow_rates.push(with.rate());
        ratios.push(with.rate() / without.rate());
    }
    Ok(Flushes {
        name: contestant.name,
        plain: quantile_of(rates, 0.5),
        slow: quantile_of(slow_rates, 0.5),
        ratio: quantile_of(ratios, 0.5),
        flushes: counted as f64 / connections as f64,
    })
}

fn start(dir: &Path, contestant: &Contestant, port: u16, environment: &[(&str, &OsStr)]) -> Result<()> {
    let site = Site { dir: dir.join(port.to_string()), wait: Wait::Short };
    daemon::make_directory(&site.dir, "root")?;
    let recipe = (contestant.prepare)(&site)?;
    daemon::start(&site, &recipe, port, environment.iter().copied())
        .map_err(|error| format!("{}: {error}", contestant.name).into())
}
