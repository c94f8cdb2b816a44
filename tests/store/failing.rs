//! One system call of a decision fails, then the next one, until the decision comes to its end: it has an answer each
//! time, and what others know stays. `make torture-calls` tries each error for each call.

use super::faults::{TRIPLET, answer, remember};
use super::{KNOWN, NEW, RETRIED, SENDER};
use crate::common::Place;
use crate::common::driver::{Built, without_clock};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

const SETTINGS: &str = "delay = \"0s\"\nlock_timeout = \"1s\"\nreplied_domain = true\n";

/// What a call can fail with. `short`: it reads or writes only a half.
const ERRORS: [(&str, i32); 8] = [
    ("ENOSPC", libc::ENOSPC),
    ("EIO", libc::EIO),
    ("EACCES", libc::EACCES),
    ("EMFILE", libc::EMFILE),
    ("ENOMEM", libc::ENOMEM),
    ("EINTR", libc::EINTR),
    ("EROFS", libc::EROFS),
    ("short", 0),
];

const WAITING: [&str; 3] = ["10.9.9.9", SENDER, "waits@rcpt.example"];
const OURS: [&str; 2] = ["bob@rcpt.example", "carol@far.example"];

/// A call, in a store that is there already or not.
struct Case {
    name: &'static str,
    store: bool,
    function: &'static str,
    arguments: &'static [&'static str],
}

const CASES: [Case; 6] = [
    Case { name: "first ever", store: false, function: "greylist", arguments: &WAITING },
    Case {
        name: "new",
        store: true,
        function: "greylist",
        arguments: &["10.8.8.8", SENDER, "new@rcpt.example"],
    },
    Case { name: "retried", store: true, function: "greylist", arguments: &WAITING },
    Case { name: "known", store: true, function: "greylist", arguments: &TRIPLET },
    Case { name: "sent", store: true, function: "greylist_sent", arguments: &OURS },
    Case {
        name: "feedback",
        store: true,
        function: "greylist_feedback",
        arguments: &["10.9.9.9", SENDER, "waits@rcpt.example", "spam"],
    },
];

#[test]
fn whatever_system_call_fails_there_is_an_answer_and_the_store_is_whole() {
    let place = Place::new(SETTINGS);
    let built = Built::new_with(&place, &["tests/c/failing.c", "-rdynamic"]);
    remember(&place, &built);
    let sound = place.path("sound");
    fs::rename(place.store(), &sound).unwrap();
    let all = std::env::var_os("EXIMGREY_ALL_CALLS").is_some();
    let mut failures: BTreeMap<&str, usize> = BTreeMap::new();
    let mut wrong = Vec::new();
    let mut slowest = (Duration::ZERO, String::new());
    for case in &CASES {
        for number in 1.. {
            let some = [number % ERRORS.len()];
            let errors = if all { &[0, 1, 2, 3, 4, 5, 6, 7][..] } else { &some[..] };
            let mut ended = false;
            for (error, code) in errors.iter().map(|&at| ERRORS[at]) {
                set_up(&place, case.store.then_some(&sound));
                let when = format!("{}, call {number} {error}", case.name);
                let (replied, failed, took) = call(
                    &place,
                    &built,
                    case,
                    number,
                    if code == 0 { "short".into() } else { code.to_string() },
                );
                ended |= failed.ends_with(" none");
                if took > slowest.0 {
                    slowest = (took, format!("{when}: {failed}"));
                }
                if let Err(fault) = check(&place, &built, case, error, &replied) {
                    wrong.push(format!("{when} ({failed}): {replied}{fault}"));
                }
                *failures.entry(case.name).or_default() += 1;
            }
            if ended {
                break;
            }
        }
    }
    let calls: usize = failures.values().sum();
    println!(
        "campaign: {calls} calls failed ({failures:?}), each was answered; the slowest took {:?} ({})",
        slowest.0, slowest.1
    );
    assert!(wrong.is_empty(), "{} of them:\n{}", wrong.len(), wrong.join("\n"));
    assert!(failures.values().all(|&count| count > 10), "{failures:?}");
}

/// The store as it was, or none.
fn set_up(place: &Place, sound: Option<&Path>) {
    let store = place.store();
    let _ = fs::remove_dir_all(&store);
    match sound {
        Some(sound) => assert!(
            std::process::Command::new("cp").arg("-a").args([sound, &store]).status().unwrap().success()
        ),
        None => {
            fs::create_dir(&store).unwrap();
            crate::common::give_to_store_user(&store);
        }
    }
}

/// The reply, how many calls there were with the name of that which failed, and how long it took.
fn call(
    place: &Place,
    built: &Built,
    case: &Case,
    number: usize,
    error: String,
) -> (String, String, Duration) {
    let mut driver = built.start();
    let option = place.config_option();
    let arguments: Vec<&[u8]> =
        case.arguments.iter().copied().chain([option.as_str()]).map(str::as_bytes).collect();
    let number = number.to_string();
    assert_eq!(driver.call("fail", &[number.as_bytes(), error.as_bytes()]), "set");
    let begin = Instant::now();
    let replied = without_clock(&driver.call(case.function, &arguments));
    let took = begin.elapsed();
    let failed = driver.call("calls", &[]);
    driver.end();
    (replied, failed, took)
}

/// A reply is kept: who was told to come back passes then, who has passed is known. Whoever was known still is.
fn check(place: &Place, built: &Built, case: &Case, error: &str, replied: &str) -> Result<(), String> {
    let is = |arguments: &[&str], expected: &[&str]| match answer(place, built, arguments) {
        then if expected.contains(&then.as_str()) => Ok(()),
        then => Err(format!("; then {arguments:?}: {then}")),
    };
    if case.store {
        is(&TRIPLET, &[KNOWN])?;
    }
    if case.function != "greylist" {
        return if replied.starts_with("result=") { Ok(()) } else { Err(String::new()) };
    }
    let expected: &[&str] = match (replied, case.name) {
        // Where /proc may not be read, first attempts have another place: so it is for all processes, not for one.
        (NEW, _) if error == "EACCES" => &[NEW, RETRIED],
        (NEW, _) => &[RETRIED],
        (RETRIED | KNOWN, _) => &[KNOWN],
        // Not recorded, or recorded and not answered.
        (_, "known") => &[KNOWN],
        (_, "retried") => &[RETRIED, KNOWN],
        _ => &[NEW, RETRIED],
    };
    if !replied.starts_with("action=pass reason=") && replied != NEW {
        return Err(String::new());
    }
    is(case.arguments, expected)
}
