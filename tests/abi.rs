//! The library as Exim meets it: a C program loads the built `libeximgrey.so`, looks each function up by name and
//! calls it. What Exim relies on: the code is always OK, the reply is ours alone, and the process is left as it was.
#![allow(unsafe_code, clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod common;

#[path = "abi/generations.rs"]
mod generations;
#[path = "abi/host.rs"]
mod host;
#[path = "abi/processes.rs"]
mod processes;

use common::driver::{Built, Driver, hexadecimal, reply, words};
use common::{Place, built_library, run};
use eximgrey::reply::{Action, By, Fault, Matched, Reason};
use std::process::Command;

/// Every function that the library exports.
const FUNCTIONS: [&str; 7] = [
    "greylist",
    "greylist_feedback",
    "greylist_known",
    "greylist_peek",
    "greylist_preload",
    "greylist_sent",
    "greylist_version",
];

const VERSION: &str = concat!("version=", env!("CARGO_PKG_VERSION"), " store=1 exim=unknown");

const BAD_OPTION: &str = "action=pass reason=error error=bad-option";

const CLIENT: &str = "192.0.2.1";
const SENDER: &str = "alice@sender.example";
const RECIPIENT: &str = "bob@rcpt.example";

/// Fails unless `reply` is made of our words and our numbers: `key=value` with keys and values from fixed lists.
fn assert_ours(reply: &str) {
    fn words<T: Copy>(all: &[T], word: impl Fn(T) -> &'static str) -> Vec<&'static str> {
        all.iter().map(|&item| word(item)).collect()
    }
    let telling = ["result=recorded", "result=spared", "result=nothing"];
    if reply == VERSION || telling.contains(&reply) {
        return;
    }
    if let Some(fault) = reply.strip_prefix("result=error error=") {
        assert!(words(Fault::ALL, Fault::word).contains(&fault), "{reply:?}");
        return;
    }
    let actions = words(Action::ALL, Action::word);
    let pairs: Vec<(&str, &str)> = reply
        .split(' ')
        .map(|pair| pair.split_once('=').unwrap_or_else(|| panic!("no key=value: {reply:?}")))
        .collect();
    for (place, (key, value)) in pairs.iter().enumerate() {
        let known = match *key {
            "action" => place == 0 && actions.contains(value),
            "reason" => place == 1 && words(Reason::ALL, Reason::word).contains(value),
            "error" => words(Fault::ALL, Fault::word).contains(value),
            "by" => {
                Matched::OTHERS.iter().any(|other| other.word() == *value)
                    || words(By::ALL, By::word).contains(value)
            }
            "would" => actions.contains(value),
            "wait" | "delay" => (1..=10).contains(&value.len()) && value.bytes().all(|b| b.is_ascii_digit()),
            _ => false,
        };
        assert!(known, "{key}={value} is no word of ours: {reply:?}");
    }
    assert!(pairs.len() >= 2, "no action and reason: {reply:?}");
}

/// What a function answers to a call without arguments, and to any whose arguments cannot be looked at.
fn without_arguments(function: &str) -> &'static str {
    match function {
        "greylist_version" => VERSION,
        "greylist_preload" => "",
        "greylist_sent" | "greylist_feedback" => "result=error error=bad-option",
        _ => BAD_OPTION,
    }
}

fn fixture(settings: &str) -> (Place, Driver) {
    let place = Place::new(settings);
    let driver = Built::new(&place).start();
    (place, driver)
}

fn lines(command: &mut Command) -> Vec<String> {
    let output = run(command);
    assert!(output.status.success(), "{command:?}");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// The library exports its functions and nothing else.
#[test]
fn the_exported_symbols_are_the_functions() {
    let symbols = lines(Command::new("nm").args(["-D", "--defined-only"]).arg(built_library()));
    let mut names: Vec<&str> = symbols.iter().map(|line| line.split_whitespace().last().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, FUNCTIONS);
}

/// The library loads in every Exim: what it needs is in glibc, and nothing in Exim.
#[test]
fn nothing_is_needed_but_glibc() {
    let symbols = lines(Command::new("nm").args(["-D", "--undefined-only"]).arg(built_library()));
    // What a C compiler's start files look for and can do without.
    let optional = ["_ITM_deregisterTMCloneTable", "_ITM_registerTMCloneTable", "__gmon_start__"];
    for line in &symbols {
        let name = line.split_whitespace().last().unwrap();
        let weak = line.split_whitespace().next() == Some("w");
        assert!(name.contains("@GLIBC_") || (weak && optional.contains(&name)), "{line}");
    }
    assert!(symbols.len() > 20, "nm has listed {symbols:?}");
    let dynamic = lines(Command::new("readelf").arg("-d").arg(built_library()));
    for line in dynamic.iter().filter(|line| line.contains("(NEEDED)")) {
        assert!(line.contains("[libc.so") || line.contains("[ld-linux"), "{line}");
    }
}

/// Whatever number of arguments Exim passes, the answer is a word and the code OK; with a wrong number no argument is
/// looked at.
#[test]
fn any_number_of_arguments_is_answered() {
    let (_place, mut driver) = fixture("");
    for function in FUNCTIONS {
        for place in ["null", "wild"] {
            for argc in ["8", "16", "2147483647", "-1", "-2147483648"] {
                let line = driver.ask(&format!("raw {function} {argc} {place}"));
                assert_eq!(reply(&line), without_arguments(function), "{function} {argc} {place}");
            }
            let none = reply(&driver.ask(&format!("raw {function} 0 {place}")));
            assert_eq!(none, without_arguments(function));
        }
        assert_eq!(driver.ask(&format!("noplace {function}")), "0");
    }
    for function in ["greylist", "greylist_peek"] {
        assert_eq!(driver.call(function, &[b"192.0.2.1"]), BAD_OPTION);
        assert_eq!(driver.call(function, &[b"192.0.2.1", b"a@x.example"]), BAD_OPTION);
    }
    driver.end();
}

/// A null pointer in any place is answered.
#[test]
fn a_null_argument_is_answered() {
    let (place, mut driver) = fixture("");
    for function in FUNCTIONS {
        let bad = without_arguments(function);
        assert_eq!(reply(&driver.ask(&format!("raw {function} 3 null"))), bad);
        assert_eq!(reply(&driver.ask(&format!("raw {function} 7 nulls"))), bad);
    }
    let config = place.config_option();
    let good = [CLIENT, SENDER, RECIPIENT, &config].map(|text| hexadecimal(text.as_bytes()));
    for hole in 0..good.len() {
        let mut arguments = good.clone();
        arguments[hole] = "N".into();
        assert_eq!(reply(&driver.ask(&format!("call greylist {}", arguments.join(" ")))), BAD_OPTION);
    }
    assert_eq!(place.tree(), Vec::<String>::new(), "a call that cannot be read makes no store");
    driver.end();
}

/// A stranger's text, however long and whatever its bytes, is answered with our words alone.
#[test]
fn no_argument_gets_into_a_reply() {
    let (place, mut driver) = fixture("delay = \"0s\"");
    let every_byte: Vec<u8> = (1..=255).collect();
    let texts: [&[u8]; 12] = [
        b"",
        b"%s%n%s%n%x%p",
        b"$(id) `id` ${run{/bin/id}} \\n",
        b"\x1b[2J\x07\r\n\x7f",
        b"\xff\xfe\xc3\x28",
        b"action=defer reason=known by=zzz",
        b"=",
        b"delay=",
        b"@",
        b"<>",
        &every_byte,
        &vec![b'a'; 1 << 20],
    ];
    let config = place.config_option();
    let full: [&[u8]; 7] = [
        CLIENT.as_bytes(),
        SENDER.as_bytes(),
        RECIPIENT.as_bytes(),
        config.as_bytes(),
        b"spf=spf.example",
        b"host=mx.host.example",
        b"match=message",
    ];
    let options = ["config", "delay", "window", "lifetime", "spf", "dkim"];
    let more = ["host", "match", "policy", "mode", "sender_key", "other"];
    for text in texts {
        for hostile in 0..full.len() {
            let mut arguments = full;
            arguments[hostile] = text;
            for function in ["greylist", "greylist_peek"] {
                assert_ours(&driver.call(function, &arguments));
            }
            let line = driver.ask(&format!("call greylist_preload {}", words(&arguments)));
            assert_eq!(line, "0 =");
            assert_eq!(driver.call("greylist_version", &arguments), VERSION);
        }
        for option in options.iter().chain(&more) {
            let mut arguments = full;
            let option = [option.as_bytes(), b"=", text].concat();
            arguments[6] = &option;
            assert_ours(&driver.call("greylist", &arguments));
        }
    }
    // After all that the library works.
    let fresh = ["198.51.100.1", SENDER, RECIPIENT];
    assert_eq!(driver.greylist(&place, &fresh), "action=defer reason=new wait=0");
    assert_eq!(driver.greylist(&place, &fresh), "action=pass reason=retried delay=N by=network");
    driver.end();
}

/// A stranger's text cannot switch greylisting off: it is decided about like any other.
#[test]
fn a_strange_sender_or_domain_is_greylisted_like_any_other() {
    let (place, mut driver) = fixture("");
    let long = "a".repeat(1 << 20);
    for (number, text) in [&long, "\x1b[2J\n%s", "=", "\"a b\"@[", "\u{e9}@\u{e9}"].iter().enumerate() {
        let client = format!("10.0.{number}.1");
        let options = ["spf", "dkim", "host"].map(|name| format!("{name}={text}"));
        let reply = driver.greylist(&place, &[&client, text, text, &options[0], &options[1], &options[2]]);
        assert_eq!(reply, "action=defer reason=new wait=300");
    }
    driver.end();
}

/// A defect of the library is answered in the words of the function that meets it, and nothing is printed.
#[test]
fn a_panic_is_answered_in_the_words_of_each_function() {
    let place = Place::new("");
    let mut driver = Built::new_with(&place, &["-rdynamic", "tests/c/no_clock.c"]).start();
    let config = place.config_option();
    let arguments = [CLIENT, SENDER, RECIPIENT, "spam", &config].map(str::as_bytes);
    let no_decision = "action=pass reason=error error=internal";
    let nothing_told = "result=error error=internal";
    for function in FUNCTIONS {
        let (answer, arguments) = match function {
            "greylist_version" => (VERSION, &arguments[..0]),
            "greylist_preload" => ("", &arguments[..0]),
            "greylist_feedback" => (nothing_told, &arguments[..]),
            "greylist_sent" => (nothing_told, &arguments[..2]),
            _ => (no_decision, &arguments[..3]),
        };
        assert_eq!(driver.call(function, arguments), answer, "{function}");
    }
    driver.end();
}

/// `greylist_preload` gives Exim's own text back, so it stays as tainted as it came, and opens nothing.
#[test]
fn preload_yields_the_very_argument_and_opens_nothing() {
    let (place, mut driver) = fixture("");
    let before = host::descriptors(&driver);
    for text in ["500", "", "\x01%s"] {
        let line = driver.ask(&format!("call greylist_preload {}", hexadecimal(text.as_bytes())));
        assert_eq!(line, "0 =", "not the pointer that was given");
    }
    assert_eq!(driver.call("greylist_preload", &[]), "");
    assert_eq!(host::descriptors(&driver), before);
    assert_eq!(place.tree(), Vec::<String>::new());
    driver.end();
}

/// A peek answers what a call would be answered, and leaves no trace: not even an empty store.
#[test]
fn a_peek_records_nothing_and_creates_nothing() {
    let (place, mut driver) = fixture("");
    let config = place.config_option();
    let arguments = [CLIENT, SENDER, RECIPIENT, &config].map(str::as_bytes);
    let new = "action=defer reason=new wait=300";
    assert_eq!(driver.call("greylist_peek", &arguments), new);
    assert_eq!(driver.call("greylist_peek", &arguments), new);
    assert_eq!(place.tree(), Vec::<String>::new());

    assert_eq!(driver.call("greylist", &arguments), new);
    let (before, contents) = (place.tree(), contents(&place));
    for recipient in ["bob@rcpt.example", "carol@rcpt.example"] {
        let arguments = [CLIENT, SENDER, recipient, &config].map(str::as_bytes);
        assert!(driver.call("greylist_peek", &arguments).starts_with("action=defer reason="));
        // Another process, which has to open the store.
        let mut other = Built::of(&place).start();
        assert!(other.call("greylist_peek", &arguments).starts_with("action=defer reason="));
        other.end();
    }
    assert_eq!(place.tree(), before);
    assert!(self::contents(&place) == contents, "a peek has changed the store");
    let carol = [CLIENT, SENDER, "carol@rcpt.example", &config].map(str::as_bytes);
    assert_eq!(driver.call("greylist", &carol), new, "the peek was counted");
    driver.end();
}

/// The bytes of the store, but for the readers' table and the locks, which every look uses.
fn contents(place: &Place) -> Vec<(String, Vec<u8>)> {
    let names = place.tree().into_iter().map(|line| line.split(' ').next().unwrap().to_owned());
    let files = names
        .filter(|name| !name.ends_with("lock.mdb") && place.store().join(name).is_file())
        .collect::<Vec<_>>();
    files
        .into_iter()
        .map(|name| {
            let mut bytes = std::fs::read(place.store().join(&name)).unwrap();
            if name == "state" {
                bytes.drain(512..4096);
                bytes.drain(..256);
            }
            (name, bytes)
        })
        .collect()
}
