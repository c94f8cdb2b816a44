//! What the command costs those who decide at the same time: how long it takes on a store with a million first attempts and a
//! million known triplets, when its first line comes, and the longest that a write of another process took meanwhile. Then the
//! share of a processor that `eximgrey watch` takes there, while decisions are made as fast as one process can.
//!
//! `cargo bench --bench beside -- [--records NUMBER]`.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a benchmark")]

use eximgrey::evidence::{Known, Pending};
use eximgrey::memory::Access;
use eximgrey::reply::By;
use eximgrey::session::Session;
use eximgrey::settings::Settings;
use eximgrey::store::lmdb::{Durability, Env, Patience, Purpose};
use eximgrey::store::record::{Facts, Record, Texts};
use eximgrey::store::{Store, Table};
use eximgrey::time::{Seconds, Timestamp};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const COMMAND: &str = env!("CARGO_BIN_EXE_eximgrey");

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let place = arguments.iter().position(|argument| argument == "--records");
    let records = place.map_or(1_000_000, |place| arguments[place + 1].parse().unwrap());
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let config = dir.path().join("eximgrey.toml");
    std::fs::write(&config, format!("store = \"{}\"\n", dir.path().display())).unwrap();
    fill(&config, dir.path(), records);

    println!(
        "| beside a writer | took | first line | writes | longest | over 5 ms |\n|---|--:|--:|--:|--:|--:|"
    );
    row("nothing", None, &config);
    // As busy as a listing, and with nothing of the store: what the scheduler alone does to the writer.
    row("a process that only counts", Some(Command::new("sh").args(["-c", BUSY])), &config);
    for line in [
        "list pending",
        "list pending --sort newest --limit 1000",
        "list known --json",
        "list known sender=nobody",
        "list auto",
        "list trapped",
        "status",
    ] {
        let mut command = Command::new(COMMAND);
        command.args(line.split(' ')).arg("--config").arg(&config);
        row(&format!("`eximgrey {line}`"), Some(&mut command), &config);
    }
    watch(&config);
}

const BUSY: &str = "i=0; while [ $i -lt 1000000 ]; do i=$((i+1)); done";

fn fill(config: &Path, dir: &Path, records: u64) {
    let settings = Settings::load(Some(config)).unwrap().store;
    let now = Timestamp::now();
    let store = Store::open(&settings, Access::Record, now).unwrap().unwrap();
    store.environment(Table::Pending).unwrap();
    drop(store);
    let pending = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let pending = { pending }.find(|path| path.to_str().unwrap().contains("pending-")).unwrap();
    for (path, is_known) in [(dir.join("known"), true), (pending, false)] {
        // Nothing is flushed: it would take an hour.
        let env = Env::open(&path, Durability::Everything, Purpose::Write).unwrap();
        let mut keys: Vec<u128> = (0..records).map(key).collect();
        keys.sort_unstable();
        for some in keys.chunks(1_000) {
            env.write(Patience::UpTo(Seconds(10)), |writer| {
                Ok(some
                    .iter()
                    .try_for_each(|key| writer.put(&key.to_be_bytes(), &record(*key, is_known, now)))?)
            })
            .unwrap();
        }
    }
}

/// Spread evenly.
const fn key(number: u64) -> u128 {
    (number as u128 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)
}

fn record(key: u128, is_known: bool, now: Timestamp) -> Vec<u8> {
    let first_seen = Timestamp(now.0 - (key % 3_000) as u32);
    let facts = if is_known {
        Facts::Known(Known { first_seen, passed: now, last_seen: now, counted: 1 })
    } else {
        let record = Pending { first_seen, passed: None };
        Facts::Pending { record, ripe: first_seen.plus(Seconds(300)), network: key as u32 }
    };
    let texts = Texts {
        identity: format!("10.{}.{}.0/24", key % 251, key % 241).into(),
        sender: format!("sender.{}@some-domain-{}.example", key % 9_999_991, key % 9_973).into(),
        recipient: format!("user{}@rcpt.example", key % 997).into(),
        cut: false,
    };
    Record { by: By::Network, expires: now.plus(Seconds::DAY), facts, texts }.encode()
}

/// A line of the table: `command` runs, and this process writes first attempts.
fn row(name: &str, command: Option<&mut Command>, config: &Path) {
    let settings = Settings::load(Some(config)).unwrap().store;
    let over = AtomicBool::new(false);
    let (took, first, mut waits) = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let store = Store::open(&settings, Access::Record, Timestamp::now()).unwrap().unwrap();
            let env = store.environment(Table::Pending).unwrap();
            let mut waits = Vec::new();
            for number in 0.. {
                let key = key(2_000_000_000 + number % 10_000);
                let record = record(key, false, Timestamp::now());
                let start = Instant::now();
                env.write(Patience::UpTo(Seconds(10)), |writer| Ok(writer.put(&key.to_be_bytes(), &record)?))
                    .unwrap();
                waits.push(start.elapsed());
                if over.load(Ordering::Relaxed) {
                    break;
                }
                // As on a busy server, and not all there is.
                std::thread::sleep(Duration::from_micros(200));
            }
            waits
        });
        let start = Instant::now();
        let mut first = Duration::ZERO;
        match command {
            None => std::thread::sleep(Duration::from_secs(2)),
            Some(command) => {
                let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
                let mut out = BufReader::with_capacity(1 << 16, child.stdout.take().unwrap());
                if out.read_until(b'\n', &mut Vec::new()).unwrap() > 0 {
                    first = start.elapsed();
                }
                out.read_to_end(&mut Vec::new()).unwrap();
                child.wait().unwrap();
            }
        }
        let took = start.elapsed();
        over.store(true, Ordering::Relaxed);
        (took, first, writer.join().unwrap())
    });
    waits.sort_unstable();
    let (many, longest) = (waits.len(), waits[waits.len() - 1].as_secs_f64() * 1e3);
    let long = waits.iter().filter(|wait| **wait > Duration::from_millis(5)).count();
    let [took, first] = [took, first].map(|time| time.as_secs_f64());
    println!("| {name} | {took:.2} s | {:.0} ms | {many} | {longest:.1} ms | {long} |", first * 1e3);
}

fn watch(config: &Path) {
    let option = format!("config={}", config.display());
    let mut child = Command::new(COMMAND);
    child.args(["watch", "--config"]).arg(config).stdout(Stdio::piped());
    let mut child = child.spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let lines = std::thread::spawn(move || {
        let mut text = String::new();
        out.read_to_string(&mut text).unwrap();
        [" new ", " missed "].map(|what| text.lines().filter(|line| line.contains(what)).count())
    });
    for rest in [true, false] {
        let mut session = Session::new();
        let before = processor_time(child.id());
        let (start, mut decisions) = (Instant::now(), 0);
        while start.elapsed() < Duration::from_secs(5) {
            let recipient = format!("{rest}{decisions}@rcpt.example");
            let arguments =
                [&b"192.0.2.1"[..], b"alice@sender.example", recipient.as_bytes(), option.as_bytes()];
            session.answer(&arguments, Access::Record, Timestamp::now()).unwrap();
            decisions += 1;
            std::thread::sleep(Duration::from_micros(if rest { 10_000 } else { 400 }));
        }
        let share = (processor_time(child.id()) - before) / start.elapsed().as_secs_f64() * 100.0;
        println!("watch at {} decisions a second: {share:.1} % of a processor", decisions / 5);
    }
    Command::new("kill").arg(child.id().to_string()).status().unwrap();
    child.wait().unwrap();
    let [new, missed] = lines.join().unwrap();
    println!("watch showed {new} first attempts, and missed some {missed} times");
}

/// Seconds of a processor that a process has taken; Linux counts them in hundredths.
fn processor_time(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let fields: Vec<_> = fields.split(' ').collect();
    [11, 12].map(|field: usize| fields[field].parse::<f64>().unwrap() / 100.0).iter().sum()
}
