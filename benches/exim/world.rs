//! Where the comparison runs: a process with process and network namespaces of its own.
//!
//! That process is the first of its namespace, so the kernel ends all that it started when it ends, for whatever reason.
//! Exim forgets the signal that is to end it with its parent when it becomes its own user, so this is the only sure way.
//! The network is a loopback interface and nothing else: no DNS question leaves, and every port is free.

use crate::{Result, group};
use std::ffi::c_int;
use std::path::Path;
use std::process::{Command, ExitCode};

/// Tells the inner process that it is the inner one, and its directory.
const INNER: &str = "EXIMGREY_BENCH_DIR";

/// Runs `work` in namespaces of its own, with a directory that is removed afterwards.
pub fn enter(parent: &Path, work: impl FnOnce(&Path) -> Result<()>) -> Result<ExitCode> {
    match std::env::var_os(INNER) {
        Some(dir) => inner(Path::new(&dir), work).map(|()| ExitCode::SUCCESS),
        None => outer(parent),
    }
}

fn outer(parent: &Path) -> Result<ExitCode> {
    let dir = tempfile::Builder::new()
        .prefix("eximgrey-bench-")
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .tempdir_in(parent)?;
    // SAFETY: no memory is passed. The interrupt key ends the inner process; this one stays to remove the directory.
    let result = unsafe {
        libc::signal(libc::SIGINT, libc::SIG_IGN);
        libc::unshare(libc::CLONE_NEWPID | libc::CLONE_NEWNET)
    };
    if result != 0 {
        let error = std::io::Error::last_os_error();
        return Err(format!("namespaces of its own, for which it must be root: {error}").into());
    }
    let status = Command::new(std::env::current_exe()?)
        .args(std::env::args_os().skip(1))
        .env(INNER, dir.path())
        .status()?;
    group::remove_all(dir.path())?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn inner(dir: &Path, work: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    extern "C" fn end(_: c_int) {
        // SAFETY: ends the process; allowed in a signal handler.
        unsafe { libc::_exit(130) };
    }
    // SAFETY: no memory is passed but a function that lives as long as the program. The first process of a namespace
    // ignores signals that it has no handler for.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
            libc::signal(signal, end as extern "C" fn(c_int) as libc::sighandler_t);
        }
    }
    let up = Command::new("ip").args(["link", "set", "lo", "up"]).status()?;
    if !up.success() {
        return Err("ip link set lo up failed".into());
    }
    work(dir)
}
