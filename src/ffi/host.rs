//! Exim's own symbols, looked up at run time. None is bound when the library is linked: it must load in every
//! Exim, and outside of Exim.
//!
//! Nothing is called or read unless the running Exim is of a generation whose header we know: in another one
//! the same names may stand for other types. There, nothing is known of `exim -bh` and `exim -d`, and details
//! go to syslog.

use super::bindings::{exim_4_99, exim_4_100};
use super::syslog;
use once_cell::sync::OnceCell;
use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::sync::atomic::{AtomicU32, Ordering};

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

    /// The symbol as a number of this type; 0 where there is none.
    ///
    /// # Safety
    /// The symbol, if there is one, is a variable of this type.
    unsafe fn number<T: Copy + Default>(&self) -> T {
        // SAFETY: the caller's promise; Exim has one thread.
        self.address().map_or(T::default(), |address| unsafe { address.cast::<T>().read_volatile() })
    }
}

static HOST_CHECKING: Symbol = Symbol::new(c"host_checking");
static SMTP_INPUT: Symbol = Symbol::new(c"smtp_input");
static DEBUG_SELECTOR: Symbol = Symbol::new(c"debug_selector");
static IS_DEBUG: Symbol = Symbol::new(c"is_debug");
static DEBUG_PRINTF: Symbol = Symbol::new(c"debug_printf");
static LOG_WRITE: Symbol = Symbol::new(c"log_write");

/// The Exims whose local_scan.h says the same about the symbols above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Generation {
    /// 4.92 to 4.99.
    Exim4_99,
    /// 4.100: `log_write` has an argument less, `BOOL` is a byte, `is_debug` takes the place of
    /// `debug_selector`.
    Exim4_100,
}

impl Generation {
    const fn word(self) -> &'static str {
        match self {
            Self::Exim4_99 => "4.99",
            Self::Exim4_100 => "4.100",
        }
    }

    /// The generation of an Exim that has these symbols, and calls itself version 4.`minor`, if it has said
    /// so.
    const fn of(debug_selector: bool, is_debug: bool, minor: u32) -> Option<Self> {
        match (debug_selector, is_debug, minor) {
            (true, false, ..=99 | NOT_TOLD) => Some(Self::Exim4_99),
            (false, true, 100 | NOT_TOLD) => Some(Self::Exim4_100),
            _ => None,
        }
    }

    fn running() -> Option<Self> {
        let minor = MINOR.load(Ordering::Relaxed);
        Self::of(DEBUG_SELECTOR.address().is_some(), IS_DEBUG.address().is_some(), minor)
    }

    fn is_set(self, flag: &Symbol) -> bool {
        // SAFETY: the two flags used are a BOOL in every Exim of the generation (local_scan.h).
        unsafe {
            match self {
                Self::Exim4_99 => flag.number::<exim_4_99::BOOL>() != 0,
                Self::Exim4_100 => flag.number::<exim_4_100::BOOL>() != 0,
            }
        }
    }

    fn shows_debugging(self) -> bool {
        match self {
            Self::Exim4_99 => {
                // SAFETY: `extern unsigned int debug_selector`.
                let selector = unsafe { DEBUG_SELECTOR.number::<c_uint>() };
                selector & exim_4_99::D_local_scan.unsigned_abs() != 0
            }
            Self::Exim4_100 => IS_DEBUG.address().is_some_and(|address| {
                // SAFETY: Exim's `BOOL is_debug(const uschar *)`; the name is that of D_local_scan in its
                // header.
                unsafe {
                    let is_debug: IsDebug = std::mem::transmute(address);
                    is_debug(c"local_scan".as_ptr().cast()) != 0
                }
            }),
        }
    }

    fn log(self, line: &CStr) {
        let Some(address) = LOG_WRITE.address() else {
            return;
        };
        // SAFETY: Exim's `log_write`, as the header of the generation has it. LOG_MAIN alone never ends the
        // process; the format is a constant, with one text.
        unsafe {
            match self {
                Self::Exim4_99 => {
                    let log_write: LogWrite4_99 = std::mem::transmute(address);
                    log_write(0, exim_4_99::LOG_MAIN, c"%s".as_ptr(), line.as_ptr());
                }
                Self::Exim4_100 => {
                    let log_write: LogWrite4_100 = std::mem::transmute(address);
                    log_write(exim_4_100::LOG_MAIN, c"%s".as_ptr(), line.as_ptr());
                }
            }
        }
    }
}

type LogWrite4_99 = unsafe extern "C" fn(c_uint, c_int, *const c_char, ...);
type LogWrite4_100 = unsafe extern "C" fn(c_int, *const c_char, ...);
type IsDebug = unsafe extern "C" fn(*const exim_4_100::uschar) -> exim_4_100::BOOL;
type DebugPrintf = unsafe extern "C" fn(*const c_char, ...);

// These are the types of Exim's headers.
const _: LogWrite4_99 = exim_4_99::log_write;
const _: LogWrite4_100 = exim_4_100::log_write;
const _: IsDebug = exim_4_100::is_debug;
const _: [DebugPrintf; 2] = [exim_4_99::debug_printf, exim_4_100::debug_printf];

/// What Exim has said of its version, see `minor`.
static MINOR: AtomicU32 = AtomicU32::new(NOT_TOLD);
const NOT_TOLD: u32 = u32::MAX;
/// Of another series than 4.
const STRANGE: u32 = u32::MAX - 1;

/// Exim is of this version: one that is newer than we know may have the symbols of one that we know.
pub(super) fn is_version(text: &[u8]) {
    let minor = minor(text);
    // In a child that knows it already nothing is written: for a write the kernel copies a page.
    if minor != NOT_TOLD && minor != MINOR.load(Ordering::Relaxed) {
        MINOR.store(minor, Ordering::Relaxed);
    }
}

/// The 96 in 4.96 or 100 in 4.100.1 (`$version_number`).
fn minor(version: &[u8]) -> u32 {
    if version.is_empty() {
        return NOT_TOLD;
    }
    let rest = std::str::from_utf8(version).ok().and_then(|text| text.strip_prefix("4."));
    rest.and_then(|rest| rest.split(['.', '-', '_']).next()?.parse().ok()).unwrap_or(STRANGE)
}

/// The generation of the running Exim, in a word of ours.
pub(super) fn generation() -> &'static str {
    Generation::running().map_or("unknown", Generation::word)
}

/// Looks up what nearly every call looks at: in Exim's daemon, once for all its children.
pub(super) fn prepare() {
    Generation::running();
    HOST_CHECKING.address();
}

/// Whether this is `exim -bh`: a test of the configuration that must leave no trace.
pub(super) fn is_checking() -> bool {
    Generation::running().is_some_and(|exim| exim.is_set(&HOST_CHECKING))
}

/// Writes a line to Exim's main log. Only in an SMTP session: a program such as `exim -be`, run by somebody
/// who may not write the log, would end over it.
pub(super) fn log(line: &str) {
    let line = printable(line);
    match Generation::running() {
        None => syslog::send(&line),
        Some(exim) if exim.is_set(&SMTP_INPUT) && !is_checking() => {
            if let Ok(line) = CString::new(line) {
                exim.log(&line);
            }
        }
        Some(_) => {}
    }
}

/// Shows a line of ours in the output of `exim -d`.
pub(super) fn debug(line: impl FnOnce() -> String) {
    if !Generation::running().is_some_and(Generation::shows_debugging) {
        return;
    }
    let (Some(address), Ok(line)) = (DEBUG_PRINTF.address(), CString::new(format!("eximgrey: {}\n", line())))
    else {
        return;
    };
    // SAFETY: Exim's `void debug_printf(const char *, ...)` in both generations, with a constant format and
    // one text.
    unsafe {
        let debug_printf: DebugPrintf = std::mem::transmute(address);
        debug_printf(c"%s".as_ptr(), line.as_ptr());
    }
}

/// A text without control characters: paths and configuration files can hold any.
fn printable(line: &str) -> String {
    line.replace(char::is_control, "?")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Symbols and version must agree; a version that is newer than we know is one whose types we do not
    /// know.
    #[test]
    fn the_generation_is_known_or_not_taken_for_one() {
        let (old, new) = (Some(Generation::Exim4_99), Some(Generation::Exim4_100));
        for (version, debug_selector, is_debug) in [
            ("", old, new),
            ("4.92.3", old, None),
            ("4.99.1", old, None),
            ("4.96+fantasy", None, None),
            ("4.100", None, new),
            ("4.100.1", None, new),
            ("4.100_RC1", None, new),
            ("4.101", None, None),
            ("5.0", None, None),
            ("4.", None, None),
            ("rubbish", None, None),
        ] {
            let of = |selector, debug| Generation::of(selector, debug, minor(version.as_bytes()));
            assert_eq!(of(true, false), debug_selector, "{version}");
            assert_eq!(of(false, true), is_debug, "{version}");
            assert_eq!([of(true, true), of(false, false)], [None, None], "{version}");
        }
    }
}
