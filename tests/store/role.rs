//! This test program started again to do one thing to a store in a process of its own, where the C driver cannot: stop
//! inside of a transaction, or answer at times that the test names.

use crate::common::driver::{hexadecimal, reply};
use crate::common::{DEADLINE, Ended, Place, as_store_user, run, within_deadline};
use eximgrey::evidence::Pending;
use eximgrey::memory::Access;
use eximgrey::reply::By;
use eximgrey::session::Session;
use eximgrey::store::lmdb::{Env, Patience};
use eximgrey::store::record::{Facts, Record, Texts};
use eximgrey::store::{Store, Table};
use eximgrey::time::{Seconds, Timestamp};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

const ROLE: &str = "EXIMGREY_TEST_ROLE";
const CONFIG: &str = "EXIMGREY_TEST_CONFIG";

/// Marks our lines among those of the test harness.
const MARK: &str = "role: ";

/// A process with a role.
pub struct Role {
    pub process: Ended,
    commands: ChildStdin,
    answers: Receiver<String>,
}

impl Role {
    /// Starts a copy of this program as the store's user, who need not get to where cargo built it.
    pub fn start(place: &Place, role: &str) -> Self {
        let program = place.path("role");
        if !program.exists() {
            // By another process: a file that this one had open for writing could not be run while a child, forked in
            // that moment by another test, still has it open.
            let copied = run(Command::new("cp").arg(std::env::current_exe().unwrap()).arg(&program));
            assert!(copied.status.success(), "cp {}", program.display());
        }
        let mut command = Command::new(program);
        command
            .args(["--exact", "role::a_role_is_played", "--nocapture"])
            .env(ROLE, role)
            .env(CONFIG, place.config())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let child = as_store_user(|| command.spawn().unwrap());
        let mut process = Ended(child);
        let commands = process.0.stdin.take().unwrap();
        let out = BufReader::new(process.0.stdout.take().unwrap());
        let (send, answers) = channel();
        std::thread::spawn(move || {
            let lines = out.lines().map_while(Result::ok);
            // The harness writes in front of our first line.
            let ours = lines.filter_map(|line| line.split_once(MARK).map(|(_, text)| text.to_owned()));
            ours.map_while(|line| send.send(line).ok()).for_each(drop);
        });
        Self { process, commands, answers }
    }

    pub fn answer(&self) -> String {
        self.answers.recv_timeout(DEADLINE).expect("an answer of the role")
    }

    /// What was said before the process ended.
    pub fn all_answers(&self) -> Vec<String> {
        self.answers.iter().collect()
    }

    pub fn ask(&mut self, command: &str) -> String {
        writeln!(self.commands, "{command}").unwrap();
        self.answer()
    }

    /// The answer of `greylist` at `time`.
    pub fn decide(&mut self, time: u32, arguments: &[&str]) -> String {
        self.send_decide(time, arguments);
        self.answer()
    }

    /// Asks the same and does not wait for the answer.
    pub fn send_decide(&mut self, time: u32, arguments: &[&str]) {
        let words: Vec<String> = arguments.iter().map(|text| hexadecimal(text.as_bytes())).collect();
        writeln!(self.commands, "decide {time} {}", words.join(" ")).unwrap();
    }

    pub fn wait_until_stopped(&self) {
        let stat = format!("/proc/{}/stat", self.process.pid());
        within_deadline("the writer to stop", || {
            let stat = std::fs::read_to_string(&stat).unwrap();
            stat.rsplit_once(") ").unwrap().1.starts_with('T').then_some(())
        });
    }
}

fn say(text: &str) {
    println!("{MARK}{text}");
    std::io::stdout().flush().unwrap();
}

/// No claim: what the processes run that `Role::start` makes.
#[test]
fn a_role_is_played() {
    let (Ok(role), Some(config)) = (std::env::var(ROLE), std::env::var_os(CONFIG)) else { return };
    let config = Path::new(&config);
    match role.as_str() {
        "stop-in-known" => stop_in(open(config).environment(Table::Known).unwrap()),
        "stop-in-pending" => stop_in(open(config).environment(Table::Pending).unwrap()),
        "session" => session(config),
        "readers" => take_readers(open(config).environment(Table::Known).unwrap(), 0),
        storm if storm.starts_with("storm-") => pass_for_ever(config, &storm["storm-".len()..]),
        _ => panic!("no such role: {role}"),
    }
}

fn open(config: &Path) -> Store {
    let settings = eximgrey::settings::Settings::load(Some(config)).unwrap();
    Store::open(&settings.store, Access::Record, Timestamp::now()).unwrap().unwrap()
}

/// Mail after mail: a first attempt, a retry that passes, and its recipient told. Each comes from a network of its own, and
/// from one domain; each at an hour of its own, so that each counts for the domain.
fn pass_for_ever(config: &Path, seed: &str) {
    let option = format!("config={}", config.display());
    let seed: u32 = seed.parse().unwrap();
    let mut session = Session::new();
    for number in seed * 64..seed * 64 + 64 {
        let [_, a, b, c] = number.to_be_bytes();
        let client = format!("{}.{b}.{c}.1", 10 + a);
        let recipient = format!("{number}@rcpt.example");
        let mail = [client.as_bytes(), b"a@sender.example", recipient.as_bytes()];
        let arguments: [&[u8]; 5] = [mail[0], mail[1], mail[2], b"spf=sender.example", option.as_bytes()];
        let now = Timestamp(1_000_000_000 + number * 4_000);
        let mut ask = || session.answer(&arguments, Access::Record, now).unwrap().to_string();
        assert!(ask().contains("reason=new"));
        let answer = ask();
        assert!(answer.contains("reason=retried"), "{answer}");
        say(&recipient);
    }
    // More would take longer than anybody lives here.
    std::thread::sleep(DEADLINE);
}

/// Stops itself inside of a write transaction.
fn stop_in(env: &Env) {
    env.write(Patience::UpTo(Seconds(10)), |writer| {
        writer.put(b"sixteen bytes...", b"no record of ours")?;
        // SAFETY: raise takes a number.
        unsafe { libc::raise(libc::SIGSTOP) };
        writer.delete(b"sixteen bytes...")?;
        Ok(())
    })
    .unwrap();
    say("went on");
}

/// Reads within a read until there is no place for one more, and stays there until it is killed; says how many there are.
fn take_readers(env: &Env, taken: u32) {
    let deeper = env.read(|_| {
        take_readers(env, taken + 1);
        Ok(())
    });
    let error = deeper.expect_err("a bound for readers");
    say(&format!("{taken} {}", error.fault().word()));
    std::thread::sleep(DEADLINE);
}

/// Answers at given times, and fills a store with records of the longest kind: `decide TIME ARG...`,
/// `fill known|pending SEED COUNT`, `close`, `barrier FILE`.
fn session(config: &Path) {
    let option = format!("config={}", config.display());
    let mut session = Session::new();
    let mut filled: Option<Store> = None;
    for line in std::io::stdin().lines() {
        let line = line.unwrap();
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["decide", time, ref arguments @ ..] => {
                assert!(filled.is_none(), "a process opens a store once");
                let texts: Vec<String> = arguments.iter().map(|word| reply(&format!("0 {word}"))).collect();
                let all: Vec<&[u8]> = texts.iter().chain([&option]).map(|text| text.as_bytes()).collect();
                match session.answer(&all, Access::Record, Timestamp(time.parse().unwrap())) {
                    Ok(reply) => say(&reply.to_string()),
                    Err(failure) => say(&format!("error={} {failure}", failure.fault().word())),
                }
            }
            ["fill", name, seed, count] => {
                let store = filled.get_or_insert_with(|| open(config));
                let pending = || store.environment(Table::Pending).unwrap();
                let env = if name == "known" { store.environment(Table::Known).unwrap() } else { pending() };
                fill(env, seed.parse().unwrap(), count.parse().unwrap());
                say(&format!("{} {}", env.used_bytes(), env.map_size()));
            }
            ["barrier", file] => {
                let file = File::open(file).unwrap();
                say("waiting");
                // SAFETY: flock takes a descriptor, which `file` keeps open, and a number.
                assert_eq!(unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_SH) }, 0);
            }
            ["close"] => {
                filled = None;
                say("closed");
            }
            _ => panic!("no such command: {line}"),
        }
    }
}

/// Records of about 600 bytes under keys that fall evenly.
fn fill(env: &Env, seed: u64, count: u64) {
    let now = Timestamp::now();
    let record = Record {
        by: By::Network,
        expires: now.plus(Seconds::DAY),
        facts: Facts::Pending { record: Pending { first_seen: now, passed: None }, ripe: now, network: 0 },
        texts: Texts {
            identity: b"10.0.0.0/24".to_vec(),
            sender: vec![b's'; 255],
            recipient: vec![b'r'; 255],
            cut: false,
        },
    };
    let value = record.encode();
    env.write(Patience::UpTo(Seconds(10)), |writer| {
        for number in 0..count {
            writer.put(&key(seed, number), &value)?;
        }
        Ok(())
    })
    .unwrap();
}

/// The key of a record that `fill` writes.
pub fn key(seed: u64, number: u64) -> [u8; 16] {
    // The finaliser of SplitMix64: as even as our own keys, and each number has another.
    let mut mixed = (seed << 32 | number).wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^= mixed >> 31;
    let mut key = [0; 16];
    key[..8].copy_from_slice(&mixed.to_be_bytes());
    key[8..].copy_from_slice(&(seed << 32 | number).to_be_bytes());
    key
}
