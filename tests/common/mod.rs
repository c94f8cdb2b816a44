//! What the tests with real processes share: a directory that the store's user can reach, that user, processes that end
//! with the test, and waits that end.
//!
//! Run as root, the tests act as the user `nobody` where Exim would act as its own: root makes no counters, and a store
//! of root's would prove nothing. Run by somebody else, they act as that user.
#![allow(dead_code, reason = "each test program uses a part")]

pub mod damage;
pub mod driver;
pub mod sample;

use eximgrey::memory::Access;
use eximgrey::session::Session;
use eximgrey::settings::Settings;
use eximgrey::store::Store;
use eximgrey::time::Timestamp;
use std::fs;
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

/// Nothing that a test waits for takes longer on a machine that works.
pub const DEADLINE: Duration = Duration::from_secs(120);

/// The user that stands for Exim's when root runs the tests.
pub const NOBODY: u32 = 65_534;

/// Whether the tests run as root.
pub fn is_root() -> bool {
    // SAFETY: geteuid has no arguments and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// Says why a test has nothing to show here, and whether so.
pub fn skipped_without_root(why: &str) -> bool {
    if !is_root() {
        println!("SKIPPED: {why} needs root");
    }
    !is_root()
}

/// Runs `work` in a thread that acts as the store's user: the kernel keeps the user by thread, and only
/// glibc's setuid changes it in all of them. What the thread starts acts as that user too.
pub fn as_store_user<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    in_thread(|| {
        if is_root() {
            let id = libc::c_ulong::from(NOBODY);
            // SAFETY: these system calls take numbers, and a null list of no groups; they concern this thread only.
            unsafe {
                let none = std::ptr::null::<libc::gid_t>();
                assert_eq!(libc::syscall(libc::SYS_setgroups, 0, none), 0);
                assert_eq!(libc::syscall(libc::SYS_setresgid, id, id, id), 0);
                assert_eq!(libc::syscall(libc::SYS_setresuid, id, id, id), 0);
            }
        }
        work()
    })
}

/// Runs `work` in a thread of its own; a failed claim in there is one of the test.
pub fn in_thread<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| match scope.spawn(work).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

/// The directory of one test: the store, its configuration, a copy of the library.
pub struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    /// A directory with an empty store and a configuration with `settings`.
    pub fn new(settings: &str) -> Self {
        Self::in_directory(Path::new("/tmp"), settings)
    }

    /// The same in another directory. Not in $TMPDIR: the store's user must get there.
    pub fn in_directory(parent: &Path, settings: &str) -> Self {
        let place = Self { dir: tempfile::tempdir_in(parent).expect("a directory for the test") };
        fs::set_permissions(place.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(place.store()).unwrap();
        fs::set_permissions(place.store(), fs::Permissions::from_mode(0o750)).unwrap();
        give_to_store_user(&place.store());
        place.configure(settings);
        place
    }

    /// Writes the configuration: the store, and `settings`. With a delay of 0s the first attempt is deferred and any
    /// retry passes.
    pub fn configure(&self, settings: &str) {
        let store = self.store();
        let text = format!("store = \"{}\"\n{settings}\n", store.display());
        fs::write(self.config(), text).unwrap();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn store(&self) -> PathBuf {
        self.path("store")
    }

    pub fn config(&self) -> PathBuf {
        self.path("eximgrey.toml")
    }

    /// `config=FILE`, as an ACL gives it.
    pub fn config_option(&self) -> String {
        format!("config={}", self.config().display())
    }

    pub fn settings(&self) -> Settings {
        Settings::load(Some(&self.config())).expect("the configuration of the test")
    }

    /// Opens the store as it is; who calls this acts as the store's user.
    pub fn open(&self) -> Store {
        let store = Store::open(&self.settings().store, Access::Look, Timestamp::now());
        store.expect("the store can be opened").expect("there is a store")
    }

    /// The answers of one session to calls at given times, recorded in this store.
    pub fn decide(&self, calls: &[(u32, &[&[u8]])]) -> Vec<String> {
        let option = self.config_option();
        as_store_user(|| {
            let mut session = Session::new();
            let answer = |(time, arguments): &(u32, &[&[u8]])| {
                let arguments = [arguments, &[option.as_bytes()][..]].concat();
                match session.answer(&arguments, Access::Record, Timestamp(*time)) {
                    Ok(reply) => reply.to_string(),
                    Err(failure) => format!("error={} ({failure})", failure.fault().word()),
                }
            };
            calls.iter().map(answer).collect()
        })
    }

    /// Every file and directory below the store, with its mode and owner: `known/data.mdb 640 65534`.
    pub fn tree(&self) -> Vec<String> {
        let mut found = Vec::new();
        list(&self.store(), &self.store(), &mut found);
        found.sort();
        found
    }
}

fn list(base: &Path, dir: &Path, found: &mut Vec<String>) {
    use std::os::unix::fs::MetadataExt;
    for entry in fs::read_dir(dir).expect("a directory of the store") {
        let path = entry.unwrap().path();
        // A draft of another process may be gone by now.
        let Ok(meta) = fs::symlink_metadata(&path) else {
            continue;
        };
        let name = path.strip_prefix(base).unwrap().display();
        found.push(format!("{name} {:o} {}", meta.mode() & 0o7777, meta.uid()));
        if meta.is_dir() {
            list(base, &path, found);
        }
    }
}

/// Gives a file to the user that stands for Exim's.
pub fn give_to_store_user(path: &Path) {
    if is_root() {
        chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
}

/// The library that was built with this test, or that of `make torture-memory`.
pub fn built_library() -> PathBuf {
    if let Some(library) = std::env::var_os("EXIMGREY_TESTED_LIBRARY") {
        return library.into();
    }
    let command = Path::new(env!("CARGO_BIN_EXE_eximgrey"));
    let library = command.with_file_name("deps").join("libeximgrey.so");
    assert!(library.exists(), "{} is missing: cargo builds it with the tests", library.display());
    library
}

/// A process that ends with the test, whatever the test comes to.
pub struct Ended(pub Child);

impl Ended {
    /// Waits for its end, but not for ever.
    pub fn wait(&mut self) -> ExitStatus {
        within_deadline("a process to end", || self.0.try_wait().unwrap())
    }

    pub fn pid(&self) -> i32 {
        self.0.id() as i32
    }

    pub fn signal(&self, signal: i32) {
        // SAFETY: a number of a child that has not been waited for, and a signal.
        assert_eq!(unsafe { libc::kill(self.pid(), signal) }, 0);
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        // `Child` knows whether it was waited for already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Asks `done` until it has an answer; fails when that takes too long.
pub fn within_deadline<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(result) = done() {
            return result;
        }
        assert!(start.elapsed() < DEADLINE, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Runs a command to its end, but not for ever; what it prints is kept.
pub fn run(command: &mut Command) -> Output {
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let mut child = Ended(child);
    let (out, err) = (child.0.stdout.take(), child.0.stderr.take());
    std::thread::scope(|scope| {
        let out = scope.spawn(|| read_all(out));
        let err = scope.spawn(|| read_all(err));
        let status = child.wait();
        Output { status, stdout: out.join().unwrap(), stderr: err.join().unwrap() }
    })
}

fn read_all(stream: Option<impl Read>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(mut stream) = stream {
        stream.read_to_end(&mut bytes).unwrap();
    }
    bytes
}
