//! Crowds: 4, 50 and 150 clients at the same time, with new triplets and then with their retries, which pass;
//! on the disk as it is, and with flushes that take 10 ms longer (`slow_disk.c`), in turns.
//!
//! A pass of eximgrey is looked at afterwards, by another Exim on the same store that lets nothing pass for
//! an hour but what is known.

use crate::Result;
use crate::contestants::{Contestant, EXIMGREY, GREYLISTD, POSTGREY, SEEN, SQLITE, Site, Wait};
use crate::daemon::{Running, make_directory};
use crate::load::{Connection, Outcome};
use crate::measure::{AFTER_THE_DELAY, CONNECTIONS, LIMIT};
use crate::slow_disk::{SlowDisk, flushes};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub const AT_A_TIME: [usize; 3] = [4, 50, 150];

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    New,
    Pass,
}

impl Kind {
    pub const ALL: [Self; 2] = [Self::New, Self::Pass];

    pub fn name(self) -> &'static str {
        match self {
            Self::New => "New triplets",
            Self::Pass => "Retries that pass",
        }
    }

    fn code(self) -> u16 {
        if self == Self::Pass { 250 } else { 451 }
    }
}

/// Clients before the first of a round, and a round's.
const FIRST: u32 = 1000;
const ROUND: u32 = AT_A_TIME.len() as u32 * CONNECTIONS;

/// What one kind of triplet came to in a round, with so many clients at a time.
pub struct Turn {
    pub kind: Kind,
    pub at_a_time: usize,
    pub slow: bool,
    pub outcome: Outcome,
    /// Passes that were not known afterwards.
    pub unrecorded: usize,
    pub flushes: u64,
}

pub struct Crowds {
    pub name: &'static str,
    turns: Vec<Turn>,
}

impl Crowds {
    /// A turn a round.
    pub fn turns(&self, kind: Kind, at_a_time: usize, slow: bool) -> impl Iterator<Item = &Turn> {
        let wanted = (kind, at_a_time, slow);
        self.turns.iter().filter(move |turn| (turn.kind, turn.at_a_time, turn.slow) == wanted)
    }
}

/// A contestant on one disk.
struct Place {
    running: Running,
    /// For eximgrey, that other Exim.
    look: Option<Running>,
    counted: PathBuf,
}

impl Place {
    fn start(dir: &Path, contestant: &Contestant, port: u16, disk: &SlowDisk, longer: u32) -> Result<Self> {
        let dir = dir.join(format!("crowds-{port}"));
        make_directory(&dir, "root")?;
        let counted = dir.join("flushes");
        let environment = disk.environment(&counted, longer)?;
        let site = Site { dir: dir.clone(), wait: Wait::Short, environment };
        let running = Running::start(&site, contestant, port)?;
        let look = if contestant.name == EXIMGREY.name {
            let site = Site { dir: dir.join("look"), wait: Wait::Long, environment: Vec::new() };
            make_directory(&site.dir, "root")?;
            symlink(dir.join("var"), site.dir.join("var"))?;
            Some(Running::start(&site, contestant, port + 1)?)
        } else {
            None
        };
        Ok(Self { running, look, counted })
    }

    /// greylistd keeps its records in memory for ten minutes. Of the others a triplet that passes is flushed:
    /// if that is not counted, the shim is not in the processes that flush.
    fn check(&self, contestant: &Contestant) -> Result<()> {
        let once = [Connection::new(0, 1)];
        self.running.check(&once, 451)?;
        std::thread::sleep(AFTER_THE_DELAY);
        self.running.check(&once, 250)?;
        if contestant.name != GREYLISTD.name && flushes(&self.counted)? == 0 {
            return Err(format!("{}: the slow disk is not there", contestant.name).into());
        }
        Ok(())
    }

    /// What these clients do: those whose first attempts are made, or all who come back.
    fn turn(&self, kind: Kind, at_a_time: usize, slow: bool, clients: &[Connection]) -> Result<Turn> {
        let before = flushes(&self.counted)?;
        let outcome = self.running.run(clients, at_a_time, kind.code(), LIMIT)?;
        let flushes = flushes(&self.counted)? - before;
        let mut unrecorded = 0;
        if let (Kind::Pass, Some(look)) = (kind, &self.look) {
            let made = clients.get(..outcome.connections).unwrap_or_default();
            let unknown = look.run(made, 4, 250, Duration::MAX)?.wrong;
            // An answer that was wrong is not known either.
            unrecorded = unknown.saturating_sub(outcome.wrong);
        }
        Ok(Turn { kind, at_a_time, slow, outcome, unrecorded, flushes })
    }
}

pub fn measure(dir: &Path, rounds: u32, wanted: &[Contestant]) -> Result<Vec<Crowds>> {
    println!("crowds, on this disk and with slow flushes");
    let disk = SlowDisk::build(dir)?;
    let (mut places, mut results) = (Vec::new(), Vec::new());
    let contestants = [EXIMGREY, SEEN, SQLITE, GREYLISTD, POSTGREY]
        .into_iter()
        .filter(|one| wanted.iter().any(|wanted| wanted.name == one.name));
    for (port, contestant) in (1800..).step_by(4).zip(contestants) {
        let start = |port, longer| Place::start(dir, &contestant, port, &disk, longer);
        let disks = [(false, start(port, 0)?), (true, start(port + 2, 10)?)];
        disks.iter().try_for_each(|(_, place)| place.check(&contestant))?;
        places.push(disks);
        results.push(Crowds { name: contestant.name, turns: Vec::new() });
    }
    for round in 0..rounds {
        let clients: Vec<_> = (0..ROUND).map(|i| Connection::new(FIRST + round * ROUND + i, 1)).collect();
        for kind in Kind::ALL {
            for (clients, at_a_time) in clients.chunks(CONNECTIONS as usize).zip(AT_A_TIME) {
                let mut order: Vec<_> = places.iter().zip(&mut results).collect();
                let shift = round as usize % order.len().max(1);
                order.rotate_left(shift);
                for (disks, results) in order {
                    let mut disks: Vec<_> = disks.iter().collect();
                    disks.rotate_left(round as usize % 2);
                    for (slow, place) in disks {
                        // Those come back who have been there.
                        let been = results.turns(Kind::New, at_a_time, *slow).last();
                        let clients = match (kind, been) {
                            (Kind::Pass, Some(been)) => clients.get(..been.outcome.connections),
                            _ => Some(clients),
                        };
                        let turn = place.turn(kind, at_a_time, *slow, clients.unwrap_or_default())?;
                        println!(
                            "round {}, {}, {at_a_time} at a time{}: {:12} {:5.0} connections/s, {} wrong, {} unrecorded",
                            round + 1,
                            kind.name().to_lowercase(),
                            if *slow { ", slow flushes" } else { "" },
                            results.name,
                            turn.outcome.rate(),
                            turn.outcome.wrong,
                            turn.unrecorded,
                        );
                        results.turns.push(turn);
                    }
                }
            }
            std::thread::sleep(AFTER_THE_DELAY);
        }
    }
    Ok(results)
}
