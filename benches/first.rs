//! The first decision of a process, as in Exim with the library preloaded: a daemon forks, the child decides once and
//! ends with `_exit`. What the child costs beyond one that ends at once is what greylisting adds to a connection.
//!
//! Children that decide and children that do nothing take turns, so that drift hits both alike. Times are medians of the
//! whole life of a child, from fork to wait. The store is at its default place, with no configuration file, as on most
//! machines; for that the process gets a view of the file system of its own, so it must be root.
//!
//! `make build && cargo bench --bench first`; `-- FILE` measures another build of the library.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_int};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Triplets, half of which are known.
const WARM: u32 = 4_000;
const ROUNDS: u32 = 2_000;

/// The type of Exim's dlfunc functions.
type Function = unsafe extern "C" fn(*mut *mut u8, c_int, *mut *mut u8) -> c_int;

/// A function of the library, which is loaded as Exim loads it.
fn function(library: &Path, name: &CStr) -> Function {
    let path = CString::new(library.as_os_str().as_bytes()).unwrap_or_default();
    // SAFETY: a path that ends in NUL; the library does nothing when it is loaded.
    let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
    assert!(!handle.is_null(), "{} cannot be loaded: make build", library.display());
    // SAFETY: the handle is one, and the name ends in NUL.
    let address = unsafe { libc::dlsym(handle, name.as_ptr()) };
    assert!(!address.is_null(), "{} has no {name:?}", library.display());
    // SAFETY: all that the library exports has this type (src/ffi/mod.rs).
    unsafe { std::mem::transmute::<*mut libc::c_void, Function>(address) }
}

fn decide(greylist: Function, i: u32, options: &[&str], reason: &str) {
    let [_, b, c, d] = i.to_be_bytes();
    let arguments = [
        format!("10.{b}.{c}.{d}"),
        format!("person{i}x@sender.example"),
        "somebody@recipient.example".to_owned(),
    ];
    let options = options.iter().map(|&o| o.to_owned());
    let texts: Vec<CString> =
        arguments.into_iter().chain(options).filter_map(|a| CString::new(a).ok()).collect();
    let mut pointers: Vec<*mut u8> = texts.iter().map(|t| t.as_ptr().cast::<u8>().cast_mut()).collect();
    let mut answer = std::ptr::null_mut();
    // SAFETY: the pointers are those of C strings that live as long as `texts`; the answer is a C string of the library
    // that stays valid until the next call.
    let reply = unsafe {
        greylist(&raw mut answer, pointers.len() as c_int, pointers.as_mut_ptr());
        CStr::from_ptr(answer.cast())
    };
    assert!(reply.to_string_lossy().contains(reason), "{reply:?}");
}

/// Runs `work` in a child: the microseconds from its fork to its end, and its page faults.
fn child(work: impl FnOnce()) -> (f64, f64) {
    let start = Instant::now();
    // SAFETY: this process has one thread, so the child may go on as if it were this process.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork failed");
    if pid == 0 {
        work();
        // SAFETY: ends the process.
        unsafe { libc::_exit(0) };
    }
    let mut status = 0;
    // SAFETY: rusage is plain numbers, for which all zeros is a value.
    let mut used: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: waits for the child just made; both places are valid.
    assert_eq!(unsafe { libc::wait4(pid, &raw mut status, 0, &raw mut used) }, pid);
    assert_eq!(status, 0, "the child failed");
    (start.elapsed().as_secs_f64() * 1e6, used.ru_minflt as f64)
}

fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Makes `dir` the /var/lib of this process alone.
fn move_in(dir: &Path) {
    let Ok(path) = CString::new(dir.as_os_str().as_bytes()) else { return };
    let mount = |from: *const c_char, to: *const c_char, flags| {
        // SAFETY: both paths end in NUL; the type and the data of a mount of this kind may be null.
        let done = unsafe { libc::mount(from, to, std::ptr::null(), flags, std::ptr::null()) };
        assert_eq!(done, 0, "mount: {}", std::io::Error::last_os_error());
    };
    // SAFETY: unshare takes a number.
    assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNS) }, 0, "run this as root");
    mount(c"none".as_ptr(), c"/".as_ptr(), libc::MS_REC | libc::MS_PRIVATE);
    mount(path.as_ptr(), c"/var/lib".as_ptr(), libc::MS_BIND);
    assert!(std::fs::create_dir("/var/lib/eximgrey").is_ok(), "a directory for the store");
}

fn main() {
    // `cargo test --all-targets` starts benchmarks too, without this argument.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let library = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    let installed = || Path::new(env!("CARGO_BIN_EXE_eximgrey")).with_file_name("../library/libeximgrey.so");
    let library = library.map_or_else(installed, PathBuf::from);
    let greylist = function(&library, c"greylist");
    let Ok(dir) = tempfile::tempdir() else { return };
    move_in(dir.path());
    // In a child: this process must have opened nothing, as Exim's daemon has not.
    child(|| {
        for i in 0..WARM {
            decide(greylist, i, &["delay=0s"], "reason=new");
            if i % 2 == 0 {
                decide(greylist, i, &["delay=0s"], "reason=retried");
            }
        }
    });
    // As Exim's daemon does.
    let mut argument = [c"500".as_ptr().cast::<u8>().cast_mut()];
    let mut answer = std::ptr::null_mut();
    // SAFETY: as in `decide`.
    unsafe { function(&library, c"greylist_preload")(&raw mut answer, 1, argument.as_mut_ptr()) };
    let names = ["nothing", "known", "early", "new"];
    let mut figures = [const { Vec::new() }; 4];
    for round in 0..ROUNDS {
        let [nothing, known, early, new] = &mut figures;
        nothing.push(child(|| ()));
        known.push(child(|| decide(greylist, round % WARM / 2 * 2, &[], "reason=known")));
        early.push(child(|| decide(greylist, round % WARM / 2 * 2 + 1, &[], "reason=early")));
        new.push(child(|| decide(greylist, 2 * WARM + round, &[], "reason=new")));
    }
    let mut floor = (0.0, 0.0);
    println!("the first decision of a forked process, {ROUNDS} processes each, medians");
    for (name, figures) in names.iter().zip(&figures) {
        let [time, faults] = [median(figures.iter().map(|f| f.0)), median(figures.iter().map(|f| f.1))];
        if *name == "nothing" {
            floor = (time, faults);
        }
        println!(
            "{name:>8} {time:6.1} us {:+6.1} us, {faults:3.0} page faults {:+3.0}",
            time - floor.0,
            faults - floor.1
        );
    }
}
