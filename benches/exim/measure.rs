//! The rounds. In each, all contestants take their turn with each kind of triplet, beginning with another one each time,
//! so that what else the machine does hits all alike; and each is compared with Exim alone in the same round.

use crate::Result;
use crate::contestants::{Contestant, Site, Wait};
use crate::daemon::Running;
use crate::load::{Connection, Outcome};
use std::path::Path;
use std::time::{Duration, Instant};

/// Connections of one recipient each, several at a time, for what a machine can do; and one after the other, for how long
/// a client waits when it need not wait for others.
pub const CONNECTIONS: u32 = 600;
pub const AT_A_TIME: usize = 4;
const SINGLE: u32 = 150;

/// Recipients in one connection.
const RECIPIENTS: u32 = 1000;

/// The triplets of a turn, that of the connection of many recipients first.
const TURN: u32 = 1 + CONNECTIONS + SINGLE;

/// So many triplets are known, and so many retry early, besides those of one long connection: they come again and again.
const RETURNING: u32 = 150;

/// No more connections are begun after this time. Some peers are slow.
pub const LIMIT: Duration = Duration::from_secs(2);

/// More than a second after a first attempt, by whole seconds: then it may pass.
pub const AFTER_THE_DELAY: Duration = Duration::from_millis(2100);

/// New triplets, and those that pass, begin here; those below are known, or retry early.
const FIRST_NEW: u32 = 1 + RETURNING;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Workload {
    New,
    Early,
    /// Retries that pass, each of a triplet that has waited.
    Pass,
    Known,
}

pub const WORKLOADS: [Workload; 4] = [Workload::New, Workload::Early, Workload::Pass, Workload::Known];

impl Workload {
    pub fn name(self) -> &'static str {
        match self {
            Self::New => "New triplets",
            Self::Early => "Early retries",
            Self::Pass => "Retries that pass",
            Self::Known => "Known triplets",
        }
    }

    fn passes(self) -> bool {
        matches!(self, Self::Pass | Self::Known)
    }

    fn code(self) -> u16 {
        if self.passes() { 250 } else { 451 }
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

/// The nth connection of a turn, from this client.
pub type Kind = fn(nth: u32, client: u32) -> Connection;

/// The first has many recipients, the others have one.
pub const RECIPIENTS_ONLY: Kind =
    |nth, client| Connection::new(client, if nth == 0 { RECIPIENTS } else { 1 });

/// Each has one recipient and a message.
pub const MESSAGES: Kind = |_, client| Connection::with_message(client);

/// Starts a contestant for new triplets and early retries, and for those that pass.
fn start(dir: &Path, contestant: &Contestant, port: u16) -> Result<[Running; 2]> {
    let start = |wait, port: u16| {
        let site = Site { dir: dir.join(port.to_string()), wait, environment: Vec::new() };
        Running::start(&site, contestant, port)
    };
    Ok([start(Wait::Long, port)?, start(Wait::Short, port + 1)?])
}

fn connections(connection: Kind, workload: Workload, round: u32) -> Vec<Connection> {
    (0..TURN)
        .map(|nth| match (workload, nth) {
            (Workload::New | Workload::Pass, _) => connection(nth, FIRST_NEW + round * TURN + nth),
            (_, 0) => connection(0, 0),
            _ => connection(nth, 1 + nth % RETURNING),
        })
        .collect()
}

fn turn(running: &Running, connection: Kind, workload: Workload, round: u32) -> Result<Turn> {
    let connections = connections(connection, workload, round);
    let (long, short) = connections.split_at(1);
    let (many, single) = short.split_at(CONNECTIONS as usize);
    let run = |connections, at_a_time| running.run(connections, at_a_time, workload.code(), LIMIT);
    Ok(Turn { many: run(many, AT_A_TIME)?, single: run(single, 1)?, long: run(long, 1)? })
}

/// Starts all, from this port on, checks that all answer right, and measures.
pub fn all(
    dir: &Path,
    port: u16,
    rounds: u32,
    contestants: &[Contestant],
    connection: Kind,
) -> Result<Vec<Results>> {
    if contestants.is_empty() {
        return Ok(Vec::new());
    }
    let start_all =
        contestants.iter().zip((port..).step_by(2)).map(|(contestant, port)| start(dir, contestant, port));
    let running = start_all.collect::<Result<Vec<_>>>()?;
    let begun = Instant::now();
    println!("first attempts and retries, to see that all answer right");
    let returning: Vec<_> = (0..=RETURNING).map(|n| connection(n, n)).collect();
    for ([long, short], contestant) in running.iter().zip(contestants) {
        long.check(&returning, 451)?;
        short.check(&returning, if contestant.greylists { 451 } else { 250 })?;
    }
    std::thread::sleep(AFTER_THE_DELAY);
    for [long, short] in &running {
        long.check(&returning, 451)?;
        short.check(&returning, 250)?;
    }

    let mut results: Vec<_> =
        contestants.iter().map(|contestant| Results { name: contestant.name, turns: Vec::new() }).collect();
    for round in 0..rounds {
        // The first attempts of those that are to pass, which then wait together.
        let first = connections(connection, Workload::Pass, round);
        for ([_, short], contestant) in running.iter().zip(contestants).filter(|(_, one)| one.greylists) {
            if short.run(&first, AT_A_TIME, 451, Duration::MAX)?.wrong > 0 {
                return Err(format!("{}: a first attempt was not answered 451", contestant.name).into());
            }
        }
        std::thread::sleep(AFTER_THE_DELAY);
        for workload in WORKLOADS {
            let mut order: Vec<_> = running.iter().zip(&mut results).collect();
            let shift = round as usize % order.len();
            order.rotate_left(shift);
            for ([long, short], results) in order {
                let running = if workload.passes() { short } else { long };
                let turn = turn(running, connection, workload, round)?;
                println!(
                    "{:4.0} s  round {}, {}: {:24} {:5.0} connections/s{}",
                    begun.elapsed().as_secs_f64(),
                    round + 1,
                    workload.name().to_lowercase(),
                    results.name,
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
