//! The tables, and where they are written.

use crate::Result;
use crate::crowds::{AT_A_TIME, Crowds, Kind, Turn as Crowd};
use crate::load::{Outcome, quantile_of};
use crate::measure::{Results, Turn, WORKLOADS, Workload};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/performance.md");
const PICTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/bench-exim.svg");
const BEGIN: &str = "<!-- bench-exim:begin -->";
const END: &str = "<!-- bench-exim:end -->";

/// A contestant's figures for one kind of triplet. All but the times of recipients are medians of the rounds.
pub struct Figures {
    /// Connections a second, and compared with Exim alone.
    pub rate: f64,
    pub ratio: f64,
    /// Microseconds of CPU a connection, and beyond those of Exim alone.
    pub cpu: f64,
    pub cpu_added: f64,
    /// Microseconds until the answer to the first recipient of a connection, one at a time: median and 99th percentile of
    /// all rounds.
    pub first: (f64, f64),
    /// The same for the recipients of one long connection, and how much the median is beyond that of Exim alone.
    pub further: (f64, f64),
    pub further_added: f64,
    pub wrong: usize,
    pub answers: usize,
}

impl Figures {
    /// `alone` are the turns of Exim alone, round by round.
    pub fn new(turns: &[&Turn], alone: &[&Turn]) -> Self {
        let median = |value: &dyn Fn(&Turn, &Turn) -> f64| {
            quantile_of(turns.iter().zip(alone).map(|(turn, alone)| value(turn, alone)).collect(), 0.5)
        };
        let pooled = |part: fn(&Turn) -> &Outcome| {
            let times =
                || turns.iter().flat_map(|turn| &part(turn).times).map(|time| time.as_secs_f64() * 1e6);
            (quantile_of(times().collect(), 0.5), quantile_of(times().collect(), 0.99))
        };
        Self {
            rate: median(&|turn, _| turn.many.rate()),
            ratio: median(&|turn, alone| turn.many.rate() / alone.many.rate()),
            cpu: median(&|turn, _| turn.many.cpu_each()),
            cpu_added: median(&|turn, alone| turn.many.cpu_each() - alone.many.cpu_each()),
            first: pooled(|turn| &turn.single),
            further: pooled(|turn| &turn.long),
            further_added: median(&|turn, alone| turn.long.time(0.5) - alone.long.time(0.5)),
            wrong: turns.iter().map(|turn| turn.wrong()).sum(),
            answers: turns
                .iter()
                .flat_map(|turn| [&turn.many, &turn.single, &turn.long])
                .map(|part| part.times.len())
                .sum(),
        }
    }
}

/// For one of [`WORKLOADS`], each contestant and its figures. Exim alone is the first.
pub fn figures(results: &[Results], workload: Workload) -> Vec<(&'static str, Figures)> {
    let alone = results.first().map(|alone| alone.turns(workload)).unwrap_or_default();
    results.iter().map(|one| (one.name, Figures::new(&one.turns(workload), &alone))).collect()
}

/// The text between the marks of the page.
pub fn whole(
    results: &[Results],
    messages: &[Results],
    crowds: &[Crowds],
    rounds: u32,
    dir: &Path,
) -> Result<String> {
    let mut text = format!(
        "`make bench-exim`: {rounds} rounds, on {}.\n\n\
         ![Connections per second, as a share of Exim alone](bench-exim.svg)\n\n",
        machine(dir)?
    );
    for workload in WORKLOADS.into_iter().filter(|_| !results.is_empty()) {
        let about = match workload {
            Workload::New => "Exim alone answers 451 to everything.",
            Workload::Early => "As above; the triplets have been seen, and have an hour to wait.",
            Workload::Pass => {
                "Every triplet has been seen once, and has waited. Exim alone accepts everything."
            }
            Workload::Known => "As above; every triplet has passed before.",
        };
        writeln!(text, "**{}.** {about}\n", workload.name())?;
        text += &table(&figures(results, workload))?;
    }
    if !messages.is_empty() {
        text += "**After DATA.** Exim alone receives the message, then defers it (new, early) or discards it (retries that pass, known).\n\n";
        text += &after_data(messages)?;
    }
    Ok(text + &self::crowds(crowds))
}

fn table(all: &[(&str, Figures)]) -> Result<String> {
    let mut text = String::from(
        "| | connections/s | of alone | CPU each, µs | added, µs | first recipient, µs | further, µs | added, µs |\n\
         |---|--:|--:|--:|--:|--:|--:|--:|\n",
    );
    for (name, f) in all {
        writeln!(
            text,
            "| {name} | {:.0} | {:.0} % | {:.0} | {:+.0} | {:.0} / {:.0} | {:.0} / {:.0} | {:+.0} |",
            f.rate,
            f.ratio * 100.0,
            f.cpu,
            f.cpu_added,
            f.first.0,
            f.first.1,
            f.further.0,
            f.further.1,
            f.further_added
        )?;
    }
    text.push('\n');
    for (name, f) in all {
        text += &mistakes(name, f.wrong, f.answers);
    }
    Ok(text)
}

fn after_data(results: &[Results]) -> Result<String> {
    let mut text = String::from(
        "| | | connections/s | of alone | CPU each, µs | added, µs | answer, µs |\n|---|---|--:|--:|--:|--:|--:|\n",
    );
    let mut wrong = String::new();
    for workload in WORKLOADS {
        for (name, f) in figures(results, workload) {
            writeln!(
                text,
                "| {} | {name} | {:.0} | {:.0} % | {:.0} | {:+.0} | {:.0} / {:.0} |",
                workload.name(),
                f.rate,
                f.ratio * 100.0,
                f.cpu,
                f.cpu_added,
                f.first.0,
                f.first.1
            )?;
            wrong += &mistakes(name, f.wrong, f.answers);
        }
    }
    Ok(format!("{text}\n{wrong}"))
}

fn mistakes(name: &str, wrong: usize, answers: usize) -> String {
    if wrong == 0 {
        return String::new();
    }
    format!("{name} gave the wrong answer to {wrong} of {answers} recipients.\n\n")
}

/// Medians of the rounds; mistakes are summed up.
pub fn crowds(all: &[Crowds]) -> String {
    let mut text = String::new();
    for kind in Kind::ALL {
        text += &format!(
            "**{}, many at once**; then the same with flushes to disk that take 10 ms longer.\n\n",
            kind.name()
        );
        text += "| | at a time | connections/s | answer, ms | not right | slow: connections/s | answer, ms | not right | slow / this disk | flushes each |";
        text += if kind == Kind::Pass { " of new | slow: of new |\n" } else { "\n" };
        text += "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|";
        text += if kind == Kind::Pass { "--:|--:|\n" } else { "\n" };
        for at_a_time in AT_A_TIME {
            for one in all {
                text += &crowd(one, kind, at_a_time);
            }
        }
        text.push('\n');
    }
    text
}

fn crowd(one: &Crowds, kind: Kind, at_a_time: usize) -> String {
    let [plain, slow] = [false, true].map(|slow| one.turns(kind, at_a_time, slow).collect::<Vec<_>>());
    let median = |values: Vec<f64>| quantile_of(values, 0.5);
    let of =
        |turns: &[&Crowd], value: fn(&Crowd) -> f64| median(turns.iter().map(|turn| value(turn)).collect());
    let rate = |turn: &Crowd| turn.outcome.rate();
    let mut line = format!("| {} | {at_a_time} |", one.name);
    for turns in [&plain, &slow] {
        line += &format!(
            " {:.0} | {:.1} / {:.1} | {} |",
            of(turns, |turn| turn.outcome.rate()),
            of(turns, |turn| turn.outcome.time(0.5) / 1e3),
            of(turns, |turn| turn.outcome.time(0.99) / 1e3),
            turns.iter().map(|turn| turn.outcome.wrong + turn.unrecorded).sum::<usize>()
        );
    }
    let ratio = |turns: &[&Crowd], others: &mut dyn Iterator<Item = &Crowd>| {
        median(turns.iter().zip(others).map(|(turn, other)| rate(turn) / rate(other)).collect())
    };
    line += &format!(
        " {:.2} | {:.2} |",
        ratio(&slow, &mut plain.iter().copied()),
        of(&slow, |turn| turn.flushes as f64 / turn.outcome.connections as f64)
    );
    if kind == Kind::Pass {
        for (slow, turns) in [(false, &plain), (true, &slow)] {
            line += &format!(" {:.2} |", ratio(turns, &mut one.turns(Kind::New, at_a_time, slow)));
        }
    }
    line + "\n"
}

/// Machine and versions, in a sentence.
fn machine(dir: &Path) -> Result<String> {
    let cores = std::thread::available_parallelism()?;
    let cpu = fs::read_to_string("/proc/cpuinfo")?;
    let cpu = cpu.lines().find_map(|line| line.strip_prefix("model name")?.trim().strip_prefix(": "));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let kernel: Vec<_> = kernel.split('.').take(2).collect();
    let filesystem = output(Command::new("df").arg("--output=fstype").arg(dir))?;
    let mut versions = Vec::new();
    for package in ["exim4-daemon-heavy", "libsqlite3-0", "greylistd", "postgrey", "rspamd", "redis-server"] {
        let version = output(Command::new("dpkg-query").args(["-W", "-f=${Version}", package]))?;
        versions.push(format!("{package} {version}"));
    }
    Ok(format!(
        "{cores} CPUs ({}), Linux {}, {}; {}",
        cpu.unwrap_or("of unknown model"),
        kernel.join("."),
        filesystem.lines().last().unwrap_or("file system unknown"),
        versions.join(", ")
    ))
}

fn output(command: &mut Command) -> Result<String> {
    let output = command.output()?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Puts the text between the marks of the page, and writes the picture.
pub fn write(text: &str, picture: &str) -> Result<()> {
    let page = fs::read_to_string(PAGE)?;
    let (before, rest) = page.split_once(BEGIN).ok_or_else(|| format!("{PAGE} has no line {BEGIN}"))?;
    let (_, after) = rest.split_once(END).ok_or_else(|| format!("{PAGE} has no line {END}"))?;
    fs::write(PAGE, format!("{before}{BEGIN}\n{text}{END}{after}"))?;
    fs::write(PICTURE, picture)?;
    println!("wrote {PAGE} and {PICTURE}");
    Ok(())
}
