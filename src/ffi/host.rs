//! Exim's own symbols, looked up at run time. None is bound when the library is linked: it must load in every Exim,
//! and outside of Exim. Those used here are the same in 4.92 to 4.99 (local_scan.h).

use super::bindings::{D_local_scan, LOG_MAIN};
use crate::reply::Reply;
use once_cell::sync::OnceCell;
use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};

/// A symbol of the running program, looked up once: dlsym searches forty libraries.
struct Symbol(OnceCell<Option<usize>>, &'static CStr);

impl Symbol {
    const fn new(name: &'static CStr) -> Self {
        Self(OnceCell::new(), name)
    }

    fn address(&self) -> Option<*mut c_void> {
        let address = self.0.get_or_init(|| {
            // SAFETY: RTLD_DEFAULT is a handle that is always valid, and the name ends in NUL.
            let address = unsafe { libc::dlsym(libc::RTLD_DEFAULT, self.1.as_ptr()) };
            (!address.is_null()).then(|| address.expose_provenance())
        });
        address.map(std::ptr::with_exposed_provenance_mut)
    }

    /// The symbol as one of Exim's numbers (`BOOL` and `unsigned int` are both 32 bits wide); 0 outside of Exim.
    fn number(&self) -> c_uint {
        // SAFETY: the three numbers below are variables of this size in every Exim that has them; Exim has one thread.
        self.address().map_or(0, |address| unsafe { address.cast::<c_uint>().read_volatile() })
    }
}

static HOST_CHECKING: Symbol = Symbol::new(c"host_checking");
static SMTP_INPUT: Symbol = Symbol::new(c"smtp_input");
static DEBUG_SELECTOR: Symbol = Symbol::new(c"debug_selector");
static DEBUG_PRINTF: Symbol = Symbol::new(c"debug_printf");
static LOG_WRITE: Symbol = Symbol::new(c"log_write");

/// Looks up what nearly every call looks at: in Exim's daemon, once for all its children.
pub(super) fn prepare() {
    HOST_CHECKING.address();
    DEBUG_SELECTOR.address();
}

/// Whether this is `exim -bh`: a test of the configuration that must leave no trace.
pub(super) fn is_checking() -> bool {
    HOST_CHECKING.number() != 0
}

/// Writes a line to Exim's main log. Only in an SMTP session: a program such as `exim -be`, run by somebody who may not
/// write the log, would end over it.
pub(super) fn log(line: &str) {
    type LogWrite = unsafe extern "C" fn(c_uint, c_int, *const c_char, ...);
    if SMTP_INPUT.number() == 0 || is_checking() {
        return;
    }
    let (Some(address), Some(line)) = (LOG_WRITE.address(), printable(line)) else {
        return;
    };
    // SAFETY: Exim's `void log_write(unsigned int, int, const char *, ...)`. LOG_MAIN alone never ends the process; the
    // format is a constant, with one text.
    unsafe {
        let log_write: LogWrite = std::mem::transmute(address);
        log_write(0, LOG_MAIN, c"%s".as_ptr(), line.as_ptr());
    }
}

/// Shows a reply in the output of `exim -d`.
pub(super) fn debug(reply: &Reply) {
    type DebugPrintf = unsafe extern "C" fn(*const c_char, ...);
    if DEBUG_SELECTOR.number() & D_local_scan.unsigned_abs() == 0 {
        return;
    }
    let (Some(address), Ok(line)) = (DEBUG_PRINTF.address(), CString::new(format!("eximgrey: {reply}\n")))
    else {
        return;
    };
    // SAFETY: Exim's `void debug_printf(const char *, ...)`, with a constant format and one text.
    unsafe {
        let debug_printf: DebugPrintf = std::mem::transmute(address);
        debug_printf(c"%s".as_ptr(), line.as_ptr());
    }
}

/// A text without control characters: paths and configuration files can hold any.
fn printable(line: &str) -> Option<CString> {
    CString::new(line.replace(char::is_control, "?")).ok()
}
