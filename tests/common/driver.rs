//! The C program `tests/c/driver.c`, which calls the real library as Exim does.

use super::{DEADLINE, Ended, Place, as_store_user, built_library};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/c/driver.c");

/// A running driver.
pub struct Driver {
    pub process: Ended,
    /// What the library prints would be in this file.
    pub output: PathBuf,
    commands: Option<ChildStdin>,
    answers: Receiver<String>,
}

/// The compiled driver and the library, where the store's user can read them.
pub struct Built {
    pub program: PathBuf,
    pub library: PathBuf,
}

impl Built {
    /// What `new` has built in this place.
    pub fn of(place: &Place) -> Self {
        Self { program: place.path("driver"), library: place.path("eximgrey.so") }
    }

    pub fn new(place: &Place) -> Self {
        Self::new_with(place, &[])
    }

    /// The same, compiled with more `arguments`: flags, or sources below the project's directory.
    pub fn new_with(place: &Place, arguments: &[&str]) -> Self {
        let built = Self::of(place);
        fs::copy(built_library(), &built.library).expect("copy the library");
        let output = super::run(
            Command::new("cc")
                .args(["-g", "-Wall", "-Wextra", "-Werror", "-o"])
                .arg(&built.program)
                .arg(SOURCE)
                .args(arguments)
                .args(std::env::var("EXIMGREY_DRIVER_CFLAGS").iter().flat_map(|flags| flags.split(' ')))
                .arg("-ldl")
                .current_dir(env!("CARGO_MANIFEST_DIR")),
        );
        assert!(output.status.success(), "cc: {}", String::from_utf8_lossy(&output.stderr));
        let output = place.path("output");
        fs::create_dir(&output).unwrap();
        super::give_to_store_user(&output);
        built
    }

    /// Starts a driver as the store's user.
    pub fn start(&self) -> Driver {
        as_store_user(|| self.start_by(Command::new(&self.program)))
    }

    /// Starts a driver as whoever asks, by a command that may have arguments in front (valgrind).
    pub fn start_by(&self, mut command: Command) -> Driver {
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let output = self.program.with_file_name("output").join(number.to_string());
        let child = command
            .arg(&self.library)
            .arg(&output)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("{command:?}: {e}"));
        let mut process = Ended(child);
        let answers = process.0.stdout.take().unwrap();
        let (send, receive) = channel();
        // Ends when the driver does.
        std::thread::spawn(move || {
            let mut answers = BufReader::new(answers);
            let mut line = Vec::new();
            while answers.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                line.clear();
                if send.send(text).is_err() {
                    break;
                }
            }
        });
        let commands = process.0.stdin.take();
        let driver = Driver { process, output, commands, answers: receive };
        assert_eq!(driver.answer(), "ready");
        driver
    }
}

impl Driver {
    /// Sends a command and does not wait for the answer.
    pub fn send(&mut self, command: &str) {
        let commands = self.commands.as_mut().unwrap();
        commands.write_all(format!("{command}\n").as_bytes()).expect("the driver lives");
        commands.flush().unwrap();
    }

    /// The next line of answer.
    pub fn answer(&self) -> String {
        self.answers
            .recv_timeout(DEADLINE)
            .unwrap_or_else(|e| panic!("the driver {} does not answer: {e}", self.process.pid()))
    }

    pub fn ask(&mut self, command: &str) -> String {
        self.send(command);
        self.answer()
    }

    /// Sends a command; `None` if the process dies of it.
    pub fn ask_or_die(&mut self, command: &str) -> Option<String> {
        let commands = self.commands.as_mut().unwrap();
        commands.write_all(format!("{command}\n").as_bytes()).and_then(|()| commands.flush()).ok()?;
        match self.answers.recv_timeout(DEADLINE) {
            Ok(answer) => Some(answer),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("the driver {} hangs", self.process.pid()),
        }
    }

    /// Calls `function`; the return code must be Exim's OK, and the answer is the reply.
    pub fn call(&mut self, function: &str, arguments: &[&[u8]]) -> String {
        self.send(&format!("call {function} {}", words(arguments)));
        reply(&self.answer())
    }

    /// The reply of `greylist` with the configuration of `place`, without what depends on the clock.
    pub fn greylist(&mut self, place: &Place, arguments: &[&str]) -> String {
        self.send(&greylist(place, arguments));
        self.reply()
    }

    /// The reply of a `call` that was sent, without what depends on the clock.
    pub fn reply(&self) -> String {
        without_clock(&reply(&self.answer()))
    }

    /// Ends the driver as Exim's processes end, by `_exit`. The library must have printed nothing.
    pub fn end(self) {
        let printed = self.end_with_output();
        assert_eq!(printed, "", "the library printed");
    }

    /// The same; what was printed is the answer.
    pub fn end_with_output(mut self) -> String {
        self.commands.take();
        assert!(self.process.wait().success());
        self.printed()
    }

    /// Fails if the library has printed anything.
    pub fn assert_silent(&self) {
        assert_eq!(self.printed(), "", "the library printed");
    }

    fn printed(&self) -> String {
        let printed = fs::read(&self.output).expect("the file for what the library prints");
        String::from_utf8_lossy(&printed).into_owned()
    }
}

/// The command that calls `greylist` with the configuration of `place`.
pub fn greylist(place: &Place, arguments: &[&str]) -> String {
    let option = place.config_option();
    let all: Vec<&[u8]> = arguments.iter().copied().chain([option.as_str()]).map(str::as_bytes).collect();
    format!("call greylist {}", words(&all))
}

/// Arguments as the driver reads them.
pub fn words(arguments: &[&[u8]]) -> String {
    let words: Vec<String> = arguments.iter().map(|bytes| hexadecimal(bytes)).collect();
    words.join(" ")
}

/// One argument as the driver reads it.
pub fn hexadecimal(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    if bytes.is_empty() {
        return "-".into();
    }
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|digit| char::from(DIGITS[usize::from(digit)]))
        .collect()
}

/// A reply with the seconds that it says a triplet has waited as `N`: the driver calls at the machine's time.
pub fn without_clock(reply: &str) -> String {
    let word = |word: &str| {
        let number = word.strip_prefix("delay=").and_then(|n| n.parse::<u32>().ok());
        number.map_or_else(|| word.to_owned(), |_| "delay=N".into())
    };
    reply.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

/// The reply in a line of answer; the code before it must be OK.
pub fn reply(line: &str) -> String {
    let Some(("0", reply)) = line.split_once(' ') else { panic!("no OK: {line}") };
    match reply {
        "-" => String::new(),
        "=" | "N" => reply.into(),
        _ => {
            let digits = reply.as_bytes().chunks(2);
            let byte = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap();
            String::from_utf8(digits.map(byte).collect()).expect("a reply is ASCII")
        }
    }
}
