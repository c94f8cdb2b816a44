//! The boundary, called from Rust. A C program that loads the library is in `tests/abi.rs`.

use super::*;
use crate::store::counters::Counters;
use crate::store::state::State as StoreState;
use std::ffi::CString;

type Function = unsafe extern "C" fn(*mut *mut uschar, c_int, *mut *mut uschar) -> c_int;

static ONE_AFTER_THE_OTHER: Mutex<()> = Mutex::new(());

fn call(function: Function, arguments: &[&[u8]]) -> String {
    let texts: Vec<CString> = arguments.iter().map(|a| CString::new(*a).unwrap()).collect();
    let mut pointers: Vec<*mut uschar> =
        texts.iter().map(|t| t.as_ptr().cast::<uschar>().cast_mut()).collect();
    call_raw(function, pointers.len() as c_int, pointers.as_mut_ptr())
}

fn call_raw(function: Function, argc: c_int, argv: *mut *mut uschar) -> String {
    let _turn = ONE_AFTER_THE_OTHER.lock().unwrap_or_else(PoisonError::into_inner);
    let mut answer = std::ptr::null_mut();
    // SAFETY: `argv` is null or has `argc` pointers to C strings, or `argc` is out of range and nothing is
    // looked at; nobody else calls meanwhile.
    let code = unsafe { function(&raw mut answer, argc, argv) };
    assert_eq!(code, OK);
    // SAFETY: the answer is a C string of the library or the first argument.
    unsafe { CStr::from_ptr(answer.cast()) }.to_str().unwrap().to_owned()
}

const BAD: &str = "action=pass reason=error error=bad-option";

/// Each function, and what it answers to a call without arguments.
fn without_arguments() -> [(Function, String); 7] {
    let told = "result=error error=bad-option".to_owned();
    let version = format!("version={} store=1 exim=unknown", env!("CARGO_PKG_VERSION"));
    [
        (greylist, BAD.into()),
        (greylist_known, BAD.into()),
        (greylist_peek, BAD.into()),
        (greylist_sent, told.clone()),
        (greylist_feedback, told),
        (greylist_preload, String::new()),
        (greylist_version, version),
    ]
}

#[test]
fn a_wrong_count_is_answered_as_none_without_a_look_at_the_arguments() {
    for (function, answer) in without_arguments() {
        assert_eq!(call(function, &[]), answer);
        for argc in [8, 16, c_int::MAX, -1, c_int::MIN] {
            assert_eq!(call_raw(function, argc, std::ptr::dangling_mut()), answer);
        }
        assert_eq!(call_raw(function, 3, std::ptr::null_mut()), answer);
        let mut nulls = [std::ptr::null_mut(); 7];
        assert_eq!(call_raw(function, 7, nulls.as_mut_ptr()), answer);
        // SAFETY: a null place for the answer is allowed.
        assert_eq!(unsafe { function(std::ptr::null_mut(), 0, std::ptr::null_mut()) }, OK);
    }
}

#[test]
fn few_arguments_are_a_word() {
    assert_eq!(call(greylist, &[]), BAD);
    assert_eq!(call(greylist, &[b"192.0.2.1", b"a@x.example"]), BAD);
    assert_eq!(
        call(greylist, &[b"nowhere", b"", b"b@y.example"]),
        "action=pass reason=error error=bad-client"
    );
    assert_eq!(call(greylist_peek, &[b"", b"", b"b@y.example"]), "action=pass reason=local");
}

#[test]
fn preload_yields_its_own_argument_and_version_says_what_it_is() {
    let argument = CString::new("500").unwrap();
    let mut pointers = [argument.as_ptr().cast::<uschar>().cast_mut()];
    let mut answer = std::ptr::null_mut();
    // SAFETY: one pointer to a C string.
    assert_eq!(unsafe { greylist_preload(&raw mut answer, 1, pointers.as_mut_ptr()) }, OK);
    assert_eq!(answer, pointers[0]);
    assert_eq!(call(greylist_preload, &[]), "");
    let version = format!("version={} store=1 exim=unknown", env!("CARGO_PKG_VERSION"));
    assert_eq!(call(greylist_version, &[]), version);
}

#[test]
fn a_panic_is_an_answer_and_the_next_call_works() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("eximgrey.toml");
    std::fs::write(&config, format!("store = \"{}\"\n", dir.path().display())).unwrap();
    let state = StoreState::open(dir.path(), true).unwrap();
    let panics: Body = |_| panic!("on purpose");
    let config = format!("config={}", config.display());
    let texts = ["192.0.2.1", "a@x.example", "b@y.example", &config].map(|text| CString::new(text).unwrap());
    let mut pointers = texts.each_ref().map(|text| text.as_ptr().cast::<uschar>().cast_mut());
    for (panicked, text) in [
        (no_decision as Body, "action=pass reason=error error=internal"),
        (nothing_told, "result=error error=internal"),
    ] {
        let mut answer = std::ptr::null_mut();
        let _turn = ONE_AFTER_THE_OTHER.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: a place for the answer, and pointers to four C strings; nobody else calls meanwhile.
        let code = unsafe { respond(&raw mut answer, 4, pointers.as_mut_ptr(), panics, panicked) };
        // SAFETY: the answer is a C string of the library.
        assert_eq!((code, unsafe { CStr::from_ptr(answer.cast()) }.to_str()), (OK, Ok(text)));
    }
    let counted = Counters::of(&state).last_hours(2, Timestamp::now());
    assert_eq!((counted.fault(Fault::Internal), counted.total()), (1, 1));
    assert_eq!(call(greylist, &[b"", b"", b"b@y.example"]), "action=pass reason=local");
}

#[test]
fn telling_with_wrong_arguments_is_a_word() {
    let bad = "result=error error=bad-option";
    assert_eq!(call(greylist_sent, &[b"a@x.example"]), bad);
    assert_eq!(call(greylist_feedback, &[b"192.0.2.1", b"a@x.example", b"b@y.example"]), bad);
    assert_eq!(call(greylist_feedback, &[b"192.0.2.1", b"a@x.example", b"b@y.example", b"maybe"]), bad);
    let client = "result=error error=bad-client";
    assert_eq!(call(greylist_feedback, &[b"here", b"a@x.example", b"b@y.example", b"spam"]), client);
    assert_eq!(call(greylist_feedback, &[b"", b"a@x.example", b"b@y.example", b"spam"]), "result=nothing");
    assert_eq!(call(greylist_sent, &[b"", b"b@y.example"]), "result=nothing");
}
