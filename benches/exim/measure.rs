//! The rounds. In each, all contestants take their turn with each kind of triplet, beginning with another one each time,
//! so that what else the machine does hits all alike; and each is compared with Exim alone in the same round.

use crate::Result;
use crate::contestants::{ALL, Contestant, Site, Wait};
use crate::daemon;
use crate::load::{self, Connection, Outcome};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Connections of one recipient each, several at a time, for what a machine can do; and one after the other, for how long
/// a client waits when it need not wait for others.
pub const CONNECTIONS: u32 = 600;
pub const AT_A_TIME: usize = 4;
const SINGLE: u32 = 150;

/// Recipients in one connection.
pub const RECIPIENTS: u32 = 1000;

/// The triplets of a turn, that of the connection of many recipients first.
const TURN: u32 = 1 + CONNECTIONS + SINGLE;

/// So many triplets are known, and so many retry early, besides those of one long connection: they come again and again.
const RETURNING: u32 = 150;

/// No more connections are begun after this time. Some peers are slow.
pub const LIMIT: Duration = Duration::from_secs(3);

/// More than a second after a first attempt, by whole seconds: then it may pass.
pub const AFTER_THE_DELAY: Duration = Duration::from_millis(2100);

/// New triplets begin here; those below are known, or retry early.
const FIRST_NEW: u32 = 1 + RETURNING;

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
    /// Connections of one recipient, several at a time.
    pub many: Outcome,
    /// The same one after the other.
    pub single: Outcome,
    /// One connection of many recipients.
    pub long: Outcome,
}

impl Turn {
    pub fn wrong(&self) -> usize {
        self.many.wrong + self.single.wrong + self.long.wrong
    }
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

    fn run(&self, wait: Wait, connections: &[Connection], at_a_time: usize, code: u16) -> Result<Outcome> {
        load::run(connections, at_a_time, self.port(wait), code, LIMIT)
            .map_err(|error| format!("{}: {error}:{}", self.name, daemon::trouble(&self.dir)).into())
    }

    /// What returns comes once, one connection after the other, and every answer must be right.
    fn check(&self, wait: Wait, code: u16) -> Result<()> {
        let connections: Vec<_> = (0..=RETURNING).map(|n| connection(n, n)).collect();
        let outcome = load::run(&connections, 1, self.port(wait), code, Duration::MAX)?;
        match outcome.wrong {
            0 => Ok(()),
            wrong => Err(format!("{}: {wrong} answers were not {code}", self.name).into()),
        }
    }

    fn turn(&self, workload: Workload, round: u32) -> Result<Turn> {
        let connections: Vec<_> = (0..TURN)
            .map(|nth| match (workload, nth) {
                (Workload::New, _) => connection(nth, FIRST_NEW + round * TURN + nth),
                (_, 0) => connection(0, 0),
                _ => connection(nth, 1 + nth % RETURNING),
            })
            .collect();
        let (long, short) = connections.split_at(1);
        let (many, single) = short.split_at(CONNECTIONS as usize);
        let run = |connections, at_a_time| self.run(workload.wait(), connections, at_a_time, workload.code());
        Ok(Turn { many: run(many, AT_A_TIME)?, single: run(single, 1)?, long: run(long, 1)? })
    }
}

/// The nth connection of a turn, from this client: the first has many recipients.
fn connection(nth: u32, client: u32) -> Connection {
    Connection::new(client, if nth == 0 { RECIPIENTS } else { 1 })
}

fn start_both(dir: &Path, number: u16, contestant: &Contestant) -> Result<Running> {
    let running = Running {
        name: contestant.name,
        dir: dir.join(number.to_string()),
        long: 2000 + 2 * number,
        short: 2001 + 2 * number,
    };
    daemon::make_directory(&running.dir, "root")?;
    for (wait, name) in [(Wait::Long, "long"), (Wait::Short, "short")] {
        let site = Site { dir: running.dir.join(name), wait, environment: Vec::new() };
        daemon::start(&site, contestant, running.port(wait))?;
    }
    Ok(running)
}

/// Starts all, checks that all answer right, and measures.
pub fn all(dir: &Path, rounds: u32) -> Result<Vec<Results>> {
    let running = (0..).zip(&ALL).map(|(number, contestant)| start_both(dir, number, contestant));
    let running = running.collect::<Result<Vec<_>>>()?;
    let start = Instant::now();
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
            let mut order: Vec<_> = running.iter().zip(&mut results).collect();
            let shift = round as usize % order.len();
            order.rotate_left(shift);
            for (running, results) in order {
                let turn = running.turn(workload, round)?;
                println!(
                    "{:4.0} s  round {}, {}: {:24} {:5.0} connections/s{}",
                    start.elapsed().as_secs_f64(),
                    round + 1,
                    workload.name().to_lowercase(),
                    running.name,
                    turn.many.rate(),
                    match turn.wrong() {
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
