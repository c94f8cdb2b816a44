//! The functions that Exim calls with `${dlfunc}`.
//!
//! Every export is made by one macro, `boundary!`, so none can lack the checks or the panic guard. What is
//! kept true:
//! - The return code is OK and the answer is one of our words, whatever happens: any other code makes Exim
//!   answer 451 to everybody (Exim's expand.c and acl.c).
//! - A reply is memory of ours that outlives the call; Exim copies it. No byte of an argument is in it.
//! - Nothing is printed, no thread or process is started, no signal or timer is touched.
#![allow(unsafe_code)]

// As bindgen writes it, and the same names for different types.
#[allow(missing_docs, non_camel_case_types, non_upper_case_globals, dead_code, clashing_extern_declarations)]
#[allow(clippy::upper_case_acronyms)]
#[rustfmt::skip]
mod bindings;
pub mod detached;
mod host;
mod syslog;

use crate::asked::{Asked, Function};
use crate::memory::Access;
use crate::prepared;
use crate::reply::{Effect, Fault, Reply, ReplyText};
use crate::session::{CallError, Session};
use crate::time::Timestamp;
use bindings::{exim_4_99, exim_4_100};
use exim_4_99::{OK, uschar};
use std::cell::UnsafeCell;
use std::ffi::{CStr, c_char, c_int};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, Once, PoisonError};

/// Exim passes garbage behind the eighth argument (`expand.c`, EXPAND_DLFUNC_MAX_ARGS), so the eighth is one
/// too many.
const MAX_ARGUMENTS: c_int = 7;

const _: () = assert!(OK == exim_4_100::OK);

/// What a function answers.
enum Answer {
    /// A reply.
    Reply(Reply),
    /// A text of ours.
    Text(String),
    /// The first argument itself, in Exim's memory: it stays as tainted as it came.
    FirstArgument,
}

/// What a function makes of its arguments.
type Body = fn(&[&[u8]]) -> Answer;

/// Makes an export of Exim's type `exim_dlfunc_t` from two safe functions: one answers, the other when it
/// panics.
macro_rules! boundary {
    ($(#[$doc:meta])* $name:ident = $body:expr, $panicked:expr) => {
        $(#[$doc])*
        ///
        /// # Safety
        /// As Exim calls it: `answer` is a place for a pointer; `argv` has `argc` pointers to texts that end
        /// in NUL and stay valid during the call. A null pointer in any place is answered, and so is a count
        /// outside 0 to 7, without a look at `argv`. Calls come one after the other, as from Exim's one
        /// thread; what `answer` points to afterwards stays valid until the next one.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(answer: *mut *mut uschar, argc: c_int, argv: *mut *mut uschar) -> c_int {
            let [body, panicked]: [Body; 2] = [$body, $panicked];
            // SAFETY: the caller's promise is this function's own.
            unsafe { respond(answer, argc, argv, body, panicked) }
        }

        // The type is that of Exim's headers.
        const _: exim_4_99::exim_dlfunc_t = Some($name);
        const _: exim_4_100::exim_dlfunc_t = Some($name);
    };
}

boundary! {
    /// `${dlfunc{SO}{greylist}{CLIENT}{SENDER}{RECIPIENT}[{OPTION=VALUE}]...}`: decides about a recipient and
    /// records it. Under `exim -bh` it records nothing.
    greylist = |arguments| decide(Function::Greylist, arguments, recording()), no_decision
}

boundary! {
    /// The same without recording anything.
    greylist_peek = |arguments| decide(Function::Peek, arguments, Access::Look),
        |_| Answer::Reply(Reply::error(Fault::Internal))
}

boundary! {
    /// The same as `greylist` for a client that need not wait. Of one that has to wait, or has just waited,
    /// it records nothing: there the caller finds out more about the client, by SPF for example, and then
    /// asks `greylist`.
    greylist_known = |arguments| {
        let access = if host::is_checking() { Access::Look } else { Access::RecordKnown };
        decide(Function::Known, arguments, access)
    }, no_decision
}

boundary! {
    /// `${dlfunc{SO}{greylist_sent}{OUR-SENDER}{THEIR-RECIPIENT}[{OPTION=VALUE}]...}`: our user wrote to that
    /// address; mail from there passes with `reason=replied`. Answers `result=recorded`, `result=nothing` or
    /// `result=error error=...`.
    greylist_sent = |arguments| tell(|session, access, now| session.sent(arguments, access, now)),
        nothing_told
}

boundary! {
    /// `${dlfunc{SO}{greylist_feedback}{CLIENT}{SENDER}{RECIPIENT}{spam|ham|trap}[{OPTION=VALUE}]...}`: what
    /// later checks found. Answers `result=recorded`, `result=spared` (a trap for a network that has proved
    /// itself), `result=nothing` or `result=error error=...`.
    greylist_feedback = |arguments| tell(|session, access, now| session.feedback(arguments, access, now)),
        nothing_told
}

boundary! {
    /// Yields its first argument. In an option that Exim's daemon expands before it forks, it makes the
    /// daemon load the library once for all its children, and look up and read what they would each look up
    /// and read. Nothing stays open. The second argument is Exim's `$version_number`: of a version that is
    /// not known yet, no symbol is used.
    ///
    /// There, the option is a number. The fragments call it in the children, too, with another text.
    greylist_preload = |arguments| {
        host::is_version(arguments.get(1).copied().unwrap_or_default());
        if prepared::is_for_us() {
            if arguments.first().is_some_and(|limit| limit.first().is_some_and(u8::is_ascii_digit)) {
                static ONCE: Once = Once::new();
                ONCE.call_once(detached::detach);
            }
            host::prepare();
            prepared::prepare();
        }
        Answer::FirstArgument
    }, |_| Answer::FirstArgument
}

boundary! {
    /// `version=… store=… exim=…`: the version of the library, of the records that it writes, and the
    /// generation of Exim that it is in (`unknown`: no symbol of Exim's is used). The argument may be Exim's
    /// `$version_number`.
    greylist_version = |arguments| {
        host::is_version(arguments.first().copied().unwrap_or_default());
        Answer::Text(format!("version={} store=1 exim={}", env!("CARGO_PKG_VERSION"), host::generation()))
    }, nothing_told
}

/// What this process keeps between calls, and what it has said in Exim's log.
struct State {
    process: u32,
    session: Session,
    logged: bool,
}

/// What this library writes to, side by side: in a new process the first write to a page is a page fault.
#[repr(align(1024))]
struct Memory {
    state: Mutex<Option<State>>,
    text: LastAnswer,
}

const _: () = assert!(size_of::<Memory>() == 1024);

static MEMORY: Memory =
    Memory { state: Mutex::new(None), text: LastAnswer(UnsafeCell::new(ReplyText::new())) };

/// Not a variable of the thread, where the first look costs the dynamic loader three page faults.
struct LastAnswer(UnsafeCell<ReplyText>);

// SAFETY: `keep` alone uses it. Exim has one thread, and `boundary!` asks every caller for calls one after
// the other.
unsafe impl Sync for LastAnswer {}

fn decide(function: Function, arguments: &[&[u8]], access: Access) -> Answer {
    let answer = in_session(|session| session.answer(arguments, access, Timestamp::now()));
    let reply = answer.unwrap_or_else(Reply::error);
    host::debug(|| Asked { function, arguments: arguments.to_vec() }.to_string());
    host::debug(|| reply.to_string());
    Answer::Reply(reply)
}

fn no_decision(arguments: &[&[u8]]) -> Answer {
    // What has failed may fail again here.
    let _ = guarded(|| {
        if recording() == Access::Record {
            let _ = in_session(|session| {
                session.count(arguments, Fault::Internal, Timestamp::now());
                Ok(())
            });
        }
    });
    Answer::Reply(Reply::error(Fault::Internal))
}

fn tell(call: impl FnOnce(&mut Session, Access, Timestamp) -> Result<Effect, CallError>) -> Answer {
    told(in_session(|session| call(session, recording(), Timestamp::now())))
}

fn nothing_told(_: &[&[u8]]) -> Answer {
    told(Err(Fault::Internal))
}

fn told(result: Result<Effect, Fault>) -> Answer {
    Answer::Text(match result {
        Ok(told) => format!("result={}", told.word()),
        Err(fault) => format!("result={} error={}", Effect::Error.word(), fault.word()),
    })
}

/// Under `exim -bh` nothing is recorded.
fn recording() -> Access {
    if host::is_checking() { Access::Look } else { Access::Record }
}

/// Calls with the session of this process. A failure is a word, and once a process a line in Exim's log.
fn in_session<T>(call: impl FnOnce(&mut Session) -> Result<T, CallError>) -> Result<T, Fault> {
    let mut guard = MEMORY.state.lock().unwrap_or_else(PoisonError::into_inner);
    let process = std::process::id();
    if guard.as_ref().is_some_and(|state| state.process != process) {
        // We are a forked child: what the parent opened is neither used nor closed here.
        std::mem::forget(guard.take());
    }
    // Taken out for the call: if it panics, this state is never used again.
    let mut state = guard.take().unwrap_or_else(|| State { process, session: Session::new(), logged: false });
    let result = call(&mut state.session).map_err(|failure| {
        if !state.logged && failure.is_news() {
            host::log(&format!("eximgrey: {failure}; mail passes without greylisting"));
            state.logged = true;
        }
        failure.fault()
    });
    *guard = Some(state);
    result
}

/// Checks, calls `body` and hands its answer over; that of `panicked` where it panics.
///
/// # Safety
/// See `boundary!`.
unsafe fn respond(
    answer: *mut *mut uschar,
    argc: c_int,
    argv: *mut *mut uschar,
    body: Body,
    panicked: Body,
) -> c_int {
    if answer.is_null() {
        return OK;
    }
    // What is wrong with the count or the pointers is answered as a call without arguments.
    // SAFETY: the caller's promise is the one that `arguments` asks for.
    let arguments = unsafe { arguments(argc, argv) }.unwrap_or_default();
    let text = match guarded(|| body(&arguments)).unwrap_or_else(|| panicked(&arguments)) {
        Answer::Reply(reply) => keep(reply),
        Answer::Text(text) => keep(text),
        Answer::FirstArgument => match arguments.as_slice() {
            // SAFETY: there is a first argument, so `argv` has a first pointer.
            [_, ..] => unsafe { *argv },
            [] => keep(""),
        },
    };
    // SAFETY: not null, and the caller promises a place for a pointer.
    unsafe { *answer = text };
    OK
}

/// The arguments as texts; `None` for a wrong count or a null pointer.
///
/// # Safety
/// See `boundary!`.
unsafe fn arguments<'a>(argc: c_int, argv: *mut *mut uschar) -> Option<Vec<&'a [u8]>> {
    if !(0..=MAX_ARGUMENTS).contains(&argc) || (argv.is_null() && argc > 0) {
        return None;
    }
    let text = |i| {
        // SAFETY: `argv` is not null and has `argc` pointers.
        let argument = unsafe { *argv.add(i) };
        // SAFETY: the pointer is not null then, and the text ends in NUL and outlives the call.
        (!argument.is_null()).then(|| unsafe { CStr::from_ptr(argument.cast::<c_char>()) }.to_bytes())
    };
    let count = usize::try_from(argc).ok()?;
    // Collected through an `Option`, it would grow as it goes.
    let mut texts = Vec::with_capacity(count);
    for i in 0..count {
        texts.push(text(i)?);
    }
    Some(texts)
}

/// Runs `body`; `None` for a panic. Nothing is printed: the standard error may be the client's connection.
fn guarded<T>(body: impl FnOnce() -> T) -> Option<T> {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| std::panic::set_hook(Box::new(|_| {})));
    catch_unwind(AssertUnwindSafe(body)).ok()
}

/// Keeps a text for Exim to copy.
fn keep(content: impl std::fmt::Display) -> *mut uschar {
    // SAFETY: calls come one after the other, and no reference into the cell outlives this function.
    let text = unsafe { &mut *MEMORY.text.0.get() };
    text.set(content);
    text.as_bytes_with_nul().as_ptr().cast_mut()
}

#[cfg(test)]
mod tests;
