//! The library as Exim loads it, in forked processes: what `first` and `many` share.

use std::ffi::{CStr, CString, c_char, c_int};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// The type of Exim's dlfunc functions.
pub type Function = unsafe extern "C" fn(*mut *mut u8, c_int, *mut *mut u8) -> c_int;

/// Another build of the library where one is named, or the one that `make build` makes.
pub fn library(named: Option<String>) -> PathBuf {
    let built = || Path::new(env!("CARGO_BIN_EXE_eximgrey")).with_file_name("../library/libeximgrey.so");
    named.map_or_else(built, PathBuf::from)
}

/// A function of the library, which is loaded as Exim loads it.
pub fn function(library: &Path, name: &CStr) -> Function {
    let path = CString::new(library.as_os_str().as_bytes()).unwrap();
    // SAFETY: a path that ends in NUL; the library does nothing when it is loaded.
    let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
    assert!(!handle.is_null(), "{} cannot be loaded: make build", library.display());
    // SAFETY: the handle is one, and the name ends in NUL.
    let address = unsafe { libc::dlsym(handle, name.as_ptr()) };
    assert!(!address.is_null(), "{} has no {name:?}", library.display());
    // SAFETY: all that the library exports has this type (src/ffi/mod.rs).
    unsafe { std::mem::transmute::<*mut libc::c_void, Function>(address) }
}

/// The answer to these arguments.
pub fn call(function: Function, arguments: &[String]) -> String {
    let texts: Vec<CString> = arguments.iter().map(|text| CString::new(text.as_str()).unwrap()).collect();
    answer(function, &texts).to_string_lossy().into_owned()
}

/// The same with nothing but the call in it, to be measured. The answer is good until the next call.
pub fn answer(function: Function, texts: &[CString]) -> &'static CStr {
    let mut pointers = [std::ptr::null_mut(); 9];
    for (pointer, text) in pointers.iter_mut().zip(texts) {
        *pointer = text.as_ptr().cast::<u8>().cast_mut();
    }
    let mut answer = std::ptr::null_mut();
    // SAFETY: the pointers are those of C strings that outlive the call; the answer is a C string of the
    // library that stays valid until the next call.
    unsafe {
        function(&raw mut answer, texts.len() as c_int, pointers.as_mut_ptr());
        CStr::from_ptr(answer.cast())
    }
}

/// As Exim's daemon does before it forks.
pub fn preload(library: &Path) {
    call(function(library, c"greylist_preload"), &["500".to_owned()]);
}

/// The arguments about triplet `i`.
pub fn triplet(i: u32, options: &[&str]) -> Vec<String> {
    let [_, b, c, d] = i.to_be_bytes();
    let fixed = [
        format!("10.{b}.{c}.{d}"),
        format!("person{i}x@sender.example"),
        "somebody@recipient.example".to_owned(),
    ];
    fixed.into_iter().chain(options.iter().map(|&option| option.to_owned())).collect()
}

/// Begins a child that does `work`.
pub fn fork(work: impl FnOnce()) -> libc::pid_t {
    // SAFETY: this process has one thread, so the child may go on as if it were this process.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork failed");
    if pid == 0 {
        work();
        // SAFETY: ends the process.
        unsafe { libc::_exit(0) };
    }
    pid
}

/// Waits until a child has ended well; yields its page faults.
pub fn wait(pid: libc::pid_t) -> f64 {
    let mut status = 0;
    // SAFETY: rusage is plain numbers, for which all zeros is a value.
    let mut used: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: waits for a child of this process; both places are valid.
    assert_eq!(unsafe { libc::wait4(pid, &raw mut status, 0, &raw mut used) }, pid);
    assert_eq!(status, 0, "the child failed");
    used.ru_minflt as f64
}

/// The smallest value that is not below this share of them.
pub fn quantile(mut values: Vec<f64>, share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let rank = (values.len() as f64 * share).ceil() as usize;
    values.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

/// Makes `dir` the /var/lib of this process alone, so that the store is where it is by default, and needs no
/// configuration.
pub fn move_in(dir: &Path) {
    let path = CString::new(dir.as_os_str().as_bytes()).unwrap();
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
