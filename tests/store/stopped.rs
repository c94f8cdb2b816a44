//! A process that is stopped at any moment of its first call, and things that stand where a file should: nobody waits
//! for them for ever.

use super::faults::{TRIPLET, answer, remember};
use super::role::Role;
use super::{KNOWN, SENDER};
use crate::common::driver::{Built, greylist};
use crate::common::{Ended, Place, as_store_user, run, skipped_without_root};
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

fn assert_is_an_answer(reply: &str, when: &str) {
    assert!(
        reply.starts_with("action=defer reason=") || reply.starts_with("action=pass reason="),
        "{when}: {reply}"
    );
}

/// A driver under ptrace(2) that makes one call; it ends with the value.
struct Traced(Ended);

impl Traced {
    /// For the thread that goes on with it.
    fn start(place: &Place, built: &Built, arguments: &[&str]) -> Self {
        let commands = place.path("output/commands");
        fs::write(&commands, greylist(place, arguments) + "\n").unwrap();
        let mut command = Command::new(&built.program);
        command.arg(&built.library).arg(place.path("output/traced"));
        command.stdin(File::open(commands).unwrap()).stdout(Stdio::null());
        // SAFETY: ptrace is a system call without memory here, and may be called between fork and exec.
        unsafe {
            command.pre_exec(|| match libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            });
        }
        let traced = Self(Ended(command.spawn().unwrap()));
        assert!(traced.waits());
        let options = libc::PTRACE_O_EXITKILL | libc::PTRACE_O_TRACESYSGOOD;
        // SAFETY: a child of this thread that waits for us; the options are numbers.
        assert_eq!(unsafe { libc::ptrace(libc::PTRACE_SETOPTIONS, traced.0.pid(), 0, options) }, 0);
        traced
    }

    fn waits(&self) -> bool {
        let mut status = 0;
        // SAFETY: waits for a child of this thread.
        assert_eq!(unsafe { libc::waitpid(self.0.pid(), &raw mut status, 0) }, self.0.pid());
        libc::WIFSTOPPED(status)
    }

    /// On to the beginning or end of the next system call; `false` when the process has ended.
    fn step(&self) -> bool {
        // SAFETY: a child of this thread that waits for us.
        assert_eq!(unsafe { libc::ptrace(libc::PTRACE_SYSCALL, self.0.pid(), 0, 0) }, 0);
        self.waits()
    }
}

/// Wherever in its call a process is stopped, others are answered: at most they pass without having been recorded.
#[test]
fn a_process_stopped_at_any_point_of_a_call_holds_up_nobody() {
    let place = Place::new("delay = \"0s\"\nlock_timeout = \"0s\"");
    let built = Built::new(&place);
    remember(&place, &built);
    for arguments in [TRIPLET, ["10.7.7.7", SENDER, "new@rcpt.example"]] {
        as_store_user(|| {
            let whole = Traced::start(&place, &built, &arguments);
            let steps = (0..).take_while(|_| whole.step()).count();
            // What comes before is the program's own start, with every library that it maps.
            let call = steps.saturating_sub(130)..steps;
            let mut stops = 0;
            for point in call {
                let stopped = Traced::start(&place, &built, &arguments);
                // Mail that is new no longer takes fewer steps.
                if !(0..point).all(|_| stopped.step()) {
                    break;
                }
                stops += 1;
                for other in [TRIPLET, ["10.8.8.8", SENDER, &format!("{point}@rcpt.example")]] {
                    assert_is_an_answer(&answer(&place, &built, &other), &format!("{point} of {steps}"));
                }
                drop(stopped);
                assert_eq!(answer(&place, &built, &TRIPLET), KNOWN, "killed at {point} of {steps}");
            }
            assert!(stops > 60, "{stops}");
        });
    }
    assert_eq!(answer(&place, &built, &TRIPLET), KNOWN);
}

/// A pipe, a directory or a device where a file should be: mail passes, and nobody waits for the other end.
#[test]
fn what_is_no_file_is_not_waited_for() {
    if skipped_without_root("making a device") {
        return;
    }
    let make = |what: &str, path: &Path| {
        let _ = fs::remove_file(path);
        let path = path.to_str().unwrap();
        let arguments: &[&str] = match what {
            "pipe" => &["mkfifo", "-m", "666", path],
            "directory" => &["mkdir", "-m", "777", path],
            _ => &["mknod", "-m", "666", path, "c", "1", "5"],
        };
        assert!(run(Command::new(arguments[0]).args(&arguments[1..])).status.success());
    };
    for what in ["pipe", "directory", "device"] {
        for file in
            ["known/data.mdb", "known/lock.mdb", "pending/data.mdb", "pending/lock.mdb", "state", "known"]
        {
            let place = Place::new("delay = \"0s\"");
            let built = Built::new(&place);
            remember(&place, &built);
            let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
            let path = place.store().join(file.replace("pending", &format!("pending-{}", boot.trim())));
            if path.is_dir() {
                fs::remove_dir_all(&path).unwrap();
            }
            make(what, &path);
            for other in [TRIPLET, ["10.8.8.8", SENDER, "new@rcpt.example"]] {
                assert_is_an_answer(&answer(&place, &built, &other), &format!("{what} {file}"));
            }
        }
        let place = Place::new("");
        let built = Built::new(&place);
        make(what, &place.config());
        assert_eq!(answer(&place, &built, &TRIPLET), "action=pass reason=error error=bad-config");
    }
}

/// A process that takes every place of LMDB's table of readers: everybody passes with the word for it, and when it is gone,
/// so is the fault, in sessions that go on, too.
#[test]
fn mail_passes_while_every_place_for_readers_is_taken() {
    let place = Place::new("delay = \"0s\"");
    let built = Built::new(&place);
    remember(&place, &built);
    let mut open = built.start();
    assert_eq!(open.greylist(&place, &TRIPLET), KNOWN);
    let mut readers = Role::start(&place, "readers");
    let told = readers.answer();
    let (taken, word) = told.split_once(' ').unwrap();
    assert!(taken.parse::<u32>().unwrap() > 1_000 && word == "store-lock", "{told}");
    let full = "action=pass reason=error error=store-lock";
    assert_eq!([answer(&place, &built, &TRIPLET), open.greylist(&place, &TRIPLET)], [full, full]);
    readers.process.signal(libc::SIGKILL);
    readers.process.wait();
    assert_eq!(open.greylist(&place, &TRIPLET), KNOWN);
    assert_eq!(answer(&place, &built, &TRIPLET), KNOWN);
    open.end();
}
