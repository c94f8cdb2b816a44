//! What a flood of new triplets costs on a disk whose flushes take 10 ms (`slow_disk.c`), against the same without, in turns.

use crate::Result;
use crate::contestants::{Contestant, EXIMGREY, POSTGREY, SEEN, SQLITE, Site, Wait};
use crate::daemon::{self, Running};
use crate::load::{Connection, quantile_of};
use crate::measure::{AFTER_THE_DELAY, AT_A_TIME, CONNECTIONS, LIMIT};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

pub struct Flushes {
    pub name: &'static str,
    /// New triplets a second as the disk is, and with slow flushes; medians of the rounds.
    pub plain: f64,
    pub slow: f64,
    /// The median of the rounds' ratios.
    pub ratio: f64,
    /// Flushes a connection.
    pub flushes: f64,
    /// Answers that were not 451, with slow flushes.
    pub wrong: usize,
    pub answers: usize,
}

/// All that flush something. greylistd keeps its records in memory for ten minutes.
pub fn measure(dir: &Path, rounds: u32, wanted: &[Contestant]) -> Result<Vec<Flushes>> {
    println!("new triplets as the disk is, and with slow flushes");
    let shim = dir.join("slow_disk.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/exim/slow_disk.c");
    daemon::run(
        Command::new("cc").args(["-O2", "-shared", "-fPIC", "-o"]).arg(&shim).arg(source).arg("-ldl"),
    )?;
    let contestants = [EXIMGREY, SEEN, SQLITE, POSTGREY]
        .into_iter()
        .filter(|one| wanted.iter().any(|wanted| wanted.name == one.name));
    (0..).zip(contestants).map(|(number, contestant)| one(dir, number, &contestant, &shim, rounds)).collect()
}

fn one(dir: &Path, number: u16, contestant: &Contestant, shim: &Path, rounds: u32) -> Result<Flushes> {
    let counted = dir.join(format!("flushes-{number}"));
    fs::write(&counted, "")?;
    fs::set_permissions(&counted, fs::Permissions::from_mode(0o666))?;
    let flushes = || -> Result<u64> { Ok(fs::metadata(&counted)?.len()) };
    let environment = vec![("LD_PRELOAD", shim.to_owned()), ("EXIMGREY_SLOW_DISK", counted.clone())];
    let start = |port: u16, environment| {
        let site = Site { dir: dir.join(port.to_string()), wait: Wait::Short, environment };
        Running::start(&site, contestant, port)
    };
    let (plain, slow) = (start(1900 + 2 * number, Vec::new())?, start(1901 + 2 * number, environment)?);

    // A triplet that passes is flushed: if that is not counted, the library is not in the processes that flush.
    let known = [Connection::new(0, 1)];
    let before = flushes()?;
    slow.check(&known, 451)?;
    std::thread::sleep(AFTER_THE_DELAY);
    slow.check(&known, 250)?;
    if flushes()? == before {
        return Err(format!("{}: the slow disk is not there", contestant.name).into());
    }

    let (mut rates, mut slow_rates, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    let (mut counted, mut connections, mut wrong) = (0, 0, 0);
    for round in 0..rounds {
        let new: Vec<_> =
            (0..CONNECTIONS).map(|i| Connection::new(1000 + round * CONNECTIONS + i, 1)).collect();
        let run = |running: &Running| running.run(&new, AT_A_TIME, 451, LIMIT);
        let before = flushes()?;
        let (without, with) = if round % 2 == 0 {
            let without = run(&plain)?;
            (without, run(&slow)?)
        } else {
            let with = run(&slow)?;
            (run(&plain)?, with)
        };
        counted += flushes()? - before;
        connections += with.connections;
        wrong += with.wrong;
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
        wrong,
        answers: connections,
    })
}
