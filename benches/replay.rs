//! How many lines of a log `eximgrey replay` reads in a second, on one core. `make bench-replay`;
//! `cargo bench --bench replay -- [LINES]`.
#![allow(
    unsafe_code,
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a benchmark"
)]

use eximgrey::time::Timestamp;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::{Command, Stdio};

/// The same numbers each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }
}

/// What a log is made of.
#[derive(Clone, Copy)]
enum Mix {
    /// Of a hundred things that happen, so many are deferred by a greylister, ten mails come in, five go out,
    /// and the rest is what servers on the Internet mostly log: connections that come to nothing, and
    /// refusals by other rules.
    Usual { deferred: u64 },
    /// Every line is an attempt.
    Attempts,
}

fn write(path: &Path, lines: u64, mix: Mix) {
    let mut out = BufWriter::new(File::create(path).unwrap());
    let mut numbers = Numbers(1);
    // Two thousand lines in an hour.
    let time = |line: u64| {
        let time = Timestamp(1_795_000_000 + (line as f64 * 1.8) as u32);
        time.to_string().replace('T', " ").replace('Z', "")
    };
    let mut line = 0;
    while line < lines {
        let at = time(line);
        let what = match mix {
            Mix::Attempts => 0,
            Mix::Usual { deferred } => match numbers.below(100) {
                n if n < deferred => 0,
                n if n < deferred + 10 => 1,
                n if n < deferred + 15 => 2,
                n if n < deferred + 35 => 3,
                n if n < deferred + 55 => 4,
                _ => 5,
            },
        };
        let (client, sender) = (numbers.below(60_000), numbers.below(20_000));
        let client = format!("{}.{}.{}.7", 11 + client / 250 % 200, client % 250, client / 7 % 250);
        let from = format!("sender{sender}@domain{}.example", sender % 5_000);
        let to = format!("user{}@rcpt.example", numbers.below(2_000));
        let id = format!("1vP8sy-{line:011}-2Zdk");
        let host = format!("mail{sender}.domain{}.example", sender % 5_000);
        let text = match what {
            0 => format!(
                "{at} H={host} (helo.example) [{client}] X=TLS1.3:TLS_AES_256_GCM_SHA384:256 CV=no F=<{from}> temporarily rejected RCPT <{to}>: \
                 greylisted by eximgrey: action=defer reason=new wait=300\n"
            ),
            1 => format!(
                "{at} {id} <= {from} H={host} [{client}] P=esmtps X=TLS1.3:TLS_AES_256_GCM_SHA384:256 CV=no S=41299 id=1795.{line}@{host}\n\
                 {at} {id} => user <{to}> R=local_user T=maildir_home\n{at} {id} Completed\n"
            ),
            2 => format!(
                "{at} {id} <= {to} H=(client) [10.0.0.9] P=esmtpsa A=plain:user S=1811\n\
                 {at} {id} => {from} R=dnslookup T=remote_smtp H={host} [{client}] X=TLS1.3 CV=yes C=\"250 2.0.0 Ok: queued as 4711\"\n\
                 {at} {id} Completed\n"
            ),
            3 => format!(
                "{at} H=(helo.example) [{client}] F=<{from}> rejected RCPT <{to}>: {client} is listed in a black list\n"
            ),
            4 => format!(
                "{at} no host name found for IP address {client}\n{at} unexpected disconnection while reading SMTP command from (x) [{client}] D=1s\n"
            ),
            _ => format!(
                "{at} login authenticator failed for (User) [{client}]: 535 Incorrect authentication data (set_id={to})\n"
            ),
        };
        line += text.matches('\n').count() as u64;
        out.write_all(text.as_bytes()).unwrap();
    }
    out.flush().unwrap();
}

/// The seconds of a processor that all children have taken.
fn processor_time() -> f64 {
    // SAFETY: all zeros is a value of this struct of numbers, and the call writes to it.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        assert_eq!(libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut usage), 0);
        usage
    };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

/// The seconds of a processor that a replay takes on one core, the median of five, and what it read. Not the
/// time on the wall: others may work on this machine.
fn run(arguments: &[&str]) -> (f64, serde_json::Value) {
    let mut value = serde_json::Value::Null;
    let mut times: Vec<f64> = (0..5)
        .map(|_| {
            let mut command = Command::new("taskset");
            command
                .args(["-c", "0", env!("CARGO_BIN_EXE_eximgrey"), "replay", "--utc", "--json"])
                .args(arguments);
            let before = processor_time();
            let output = command.stderr(Stdio::inherit()).output().unwrap();
            assert!(output.status.success());
            value = serde_json::from_slice(&output.stdout).unwrap();
            processor_time() - before
        })
        .collect();
    times.sort_by(f64::total_cmp);
    (times[2], value)
}

fn main() {
    // What cargo says to every benchmark.
    let lines = std::env::args().skip(1).find(|argument| argument != "--bench");
    let lines: u64 = lines.map_or(1_000_000, |text| text.parse().expect("a number of lines"));
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let config = dir.path().join("eximgrey.toml");
    std::fs::write(&config, "").unwrap();
    let config = config.to_str().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    write(Path::new(&path("usual")), lines, Mix::Usual { deferred: 20 });
    write(Path::new(&path("never")), lines, Mix::Usual { deferred: 0 });
    write(Path::new(&path("attempts")), lines, Mix::Attempts);
    let packed = Command::new("gzip").arg("-k").arg(path("usual")).status().unwrap();
    assert!(packed.success());
    println!("{:<44} {:>10} {:>10} {:>12}", "", "lines", "attempts", "lines/s");
    for (what, name, more) in [
        ("with a greylister", "usual", &[][..]),
        ("the same, packed (.gz)", "usual.gz", &[]),
        ("the same, two configurations", "usual", &["--compare", config]),
        ("without a greylister", "never", &[]),
        ("nothing but first attempts", "attempts", &[]),
    ] {
        let log = path(name);
        let (seconds, value) = run(&[&[log.as_str(), "--config", config], more].concat());
        let read = value["lines"].as_u64().unwrap();
        let attempts = value["configurations"][0]["attempts"].as_u64().unwrap();
        println!("{what:<44} {read:>10} {attempts:>10} {:>12.0}", read as f64 / seconds);
    }
}
