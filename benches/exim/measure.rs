//! The rounds. In each, all contestants take their turn with each kind of triplet, beginning with another one each time,
//! so that what else the machine does hits all alike; and each is compared with Exim alone in the same round.

use crate::Result;
use crate::contestants::{ALL, Contestant, Site, Wait};
use crate::daemon;
use crate::load::{self, Connection, Outcome};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Connections of one recipient each, and how many of them at a time.
const CONNECTIONS: u32 = 500;
const AT_A_TIME: usize = 4;

/// Recipients in one connection.
pub const RECIPIENTS: u32 = 1000;

/// No more connections are begun after this time. Some peers are slow.
const LIMIT: Duration = Duration::from_secs(3);

/// More than a second after a first attempt, by whole seconds: then it may pass.
const AFTER_THE_DELAY: Duration = Duration::from_millis(2100);

/// The first connection of new triplets; those below are known, or retry early.
const FIRST_NEW: u32 = 1000;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Workload {
    New,
    Early,
    Known,
}

pub const WORKLOADS: [Workload; 3] = [Workload::New, Workload::Early, Workload::Known];

impl Workload {
    pub fn name(self) -> &'static str {
        match self {
            Self::New => "New triplets",
            Self::Early => "Early retries",
            Self::Known => "Known triplets",
        }
    }

    fn code(self) -> u16 {
        if self == Self::Known { 250 } else { 451 }
    }

    fn wait(self) -> Wait {
        if self == Self::Known { Wait::Short } else { Wait::Long }
    }
}

/// What a contestant did in one round with one kind of triplet.
pub struct Turn {
    /// Connections of one recipient.
    pub short: Outcome,
    /// One connection of many recipients.
    pub long: Outcome,
}

pub struct Results {
    pub name: &'static str,
    /// The turns, round by round.
    turns: Vec<(Workload, Turn)>,
}

impl Results {
    /// A turn a round.
    pub fn turns(&self, workload: Workload) -> Vec<&Turn> {
        self.turns.iter().filter(|(of, _)| *of == workload).map(|(_, turn)| turn).collect()
    }
}

/// The two daemons of a contestant.
struct Running {
    name: &'static str,
    dir: PathBuf,
    long: u16,
    short: u16,
}

impl Running {
    fn port(&self, wait: Wait) -> u16 {
        if wait == Wait::Long { self.long } else { self.short }
    }

    /// Makes the connections of one round or one preparation.
    fn turn(&self, wait: Wait, first: u32, at_a_time: usize, limit: Duration, code: u16) -> Result<Turn> {
        let short: Vec<_> = (0..CONNECTIONS).map(|i| Connection::new(first + i, 1)).collect();
        let long = [Connection::new(first + CONNECTIONS, RECIPIENTS)];
        let run = |connections: &[Connection]| {
            load::run(connections, at_a_time, self.port(wait), code, limit)
                .map_err(|error| format!("{}: {error}: {}", self.name, daemon::trouble(&self.dir)))
        };
        Ok(Turn { short: run(&short)?, long: run(&long)? })
    }

    /// One connection after the other; every answer must be right.
    fn check(&self, wait: Wait, code: u16) -> Result<()> {
        let turn = self.turn(wait, 0, 1, Duration::MAX, code)?;
        match turn.short.wrong + turn.long.wrong {
            0 => Ok(()),
            wrong => Err(format!("{}: {wrong} answers were not {code}", self.name).into()),
        }
    }
}

fn start(dir: &Path, number: u16, contestant: &Contestant) -> Result<Running> {
    let running = Running {
        name: contestant.name,
        dir: dir.join(number.to_string()),
        long: 2000 + 2 * number,
        short: 2001 + 2 * number,
    };
    daemon::make_directory(&running.dir, "root")?;
    for (wait, name) in [(Wait::Long, "long"), (Wait::Short, "short")] {
        let site = Site { dir: running.dir.join(name), wait };
        daemon::make_directory(&site.dir, "root")?;
        (contestant.prepare)(&site)
            .and_then(|recipe| daemon::start(&site, &recipe, running.port(wait), []))
            .map_err(|error| format!("{}: {error}", contestant.name))?;
    }
    Ok(running)
}

/// Starts all, checks that all answer right, and measures.
pub fn all(dir: &Path, rounds: u32) -> Result<Vec<Results>> {
    let running = (0..).zip(&ALL).map(|(number, contestant)| start(dir, number, contestant));
    let running = running.collect::<Result<Vec<_>>>()?;
    println!("first attempts and retries, to see that all answer right");
    for contestant in &running {
        contestant.check(Wait::Long, 451)?;
        // Exim alone accepts what is to be known from the first.
        let alone = contestant.port(Wait::Long) == 2000;
        contestant.check(Wait::Short, if alone { 250 } else { 451 })?;
    }
    std::thread::sleep(AFTER_THE_DELAY);
    for contestant in &running {
        contestant.check(Wait::Short, 250)?;
    }

    let mut results: Vec<_> =
        running.iter().map(|running| Results { name: running.name, turns: Vec::new() }).collect();
    for round in 0..rounds {
        for workload in WORKLOADS {
            let first = match workload {
                Workload::New => FIRST_NEW + round * (CONNECTIONS + 1),
                Workload::Early | Workload::Known => 0,
            };
            let mut order: Vec<_> = running.iter().zip(&mut results).collect();
            let shift = round as usize % order.len();
            order.rotate_left(shift);
            for (running, results) in order {
                let turn = running.turn(workload.wait(), first, AT_A_TIME, LIMIT, workload.code())?;
                println!(
                    "round {}, {}: {:24} {:5.0} connections/s{}",
                    round + 1,
                    workload.name().to_lowercase(),
                    running.name,
                    turn.short.rate(),
                    match turn.short.wrong + turn.long.wrong {
                        0 => String::new(),
                        wrong => format!(", {wrong} answers wrong"),
                    }
                );
                results.turns.push((workload, turn));
            }
        }
    }
    Ok(results)
}
