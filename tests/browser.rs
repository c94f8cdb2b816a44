//! The page of `eximgrey report --html` in a real browser, Chromium without a window.
#![allow(unsafe_code, clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use common::{Place, as_store_user, is_root, run, sample};
use eximgrey::memory::Access;
use eximgrey::store::Store;
use eximgrey::time::{Seconds, Timestamp};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a page was in the browser.
struct Seen {
    /// The elements that it made of it.
    dom: String,
    /// What it wrote to its console.
    console: Vec<String>,
    /// The addresses that the page asked for.
    requests: Vec<String>,
}

fn look(page: &Path) -> Seen {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("net.json");
    // Without a network: the browser has wishes of its own. It only has to say what the page wants.
    let mut command = Command::new("unshare");
    command.args(if is_root() { &["-n"][..] } else { &["-rn"] });
    command.args(["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--dump-dom"]);
    command.args(["--enable-logging=stderr", "--v=0", "--no-first-run", "--net-log-capture-mode=Everything"]);
    command.arg(format!("--log-net-log={}", log.display()));
    command.arg(format!("--user-data-dir={}", dir.path().join("profile").display()));
    command.env("HOME", dir.path()).arg(format!("file://{}", page.display()));
    let output = run(&mut command);
    let [dom, errors] =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(output.status.success(), "{errors}");
    let console = errors.lines().filter(|line| line.contains("CONSOLE")).map(String::from).collect();
    let log = fs::read_to_string(&log).expect("a log of the network");
    // Where the browser is killed at its end, the closing brackets are missing.
    let log: Value = serde_json::from_str(&log)
        .or_else(|_| serde_json::from_str(&format!("{}]}}", log.trim_end().trim_end_matches(','))))
        .expect("a log in JSON");
    let events = log["events"].as_array().expect("events");
    // Who asks for the browser itself is no origin.
    let of_page =
        |event: &&Value| event["params"]["initiator"].as_str().is_some_and(|who| who != "not an origin");
    let urls = events.iter().filter(of_page).filter_map(|event| event["params"]["url"].as_str());
    Seen { dom, console, requests: urls.map(String::from).collect() }
}

/// A page of `place`, of the last 35 days.
fn page(place: &Place) -> PathBuf {
    let file = place.path("report.html");
    let mut command = Command::new(env!("CARGO_BIN_EXE_eximgrey"));
    command.args(["report", "--since", "35d", "--html"]).arg(&file).arg("--config").arg(place.config());
    let done = run(&mut command);
    assert!(done.status.code().is_some_and(|code| code < 2), "{}", String::from_utf8_lossy(&done.stderr));
    file
}

fn fill(place: &Place, sample: sample::Sample) {
    as_store_user(|| {
        let now = Timestamp::now();
        let made = Timestamp(now.0 - Seconds::DAY.times(60).0);
        let store = Store::open(&place.settings().store, Access::Record, made).unwrap().unwrap();
        sample::fill(&store, sample, now);
    });
}

/// The page of an empty, a small and a large store: no error, no request to anywhere, and every chart says in words what
/// it shows.
#[test]
fn a_browser_has_nothing_to_complain_of() {
    if !Path::new("/usr/bin/chromium").exists() {
        println!("SKIPPED: needs chromium");
        return;
    }
    let [empty, small, large] = [(); 3].map(|()| Place::new(""));
    let now = Timestamp::now().0;
    small.decide(&[
        (now - 600, &[b"192.0.2.1", b"alice@sender.example", b"bob@rcpt.example"]),
        (now - 1, &[b"192.0.2.1", b"alice@sender.example", b"bob@rcpt.example"]),
    ]);
    fill(&large, sample::SMALL);
    for (place, charts) in [(&empty, 0), (&small, 4), (&large, 4)] {
        let page = page(place);
        let seen = look(&page);
        assert_eq!(seen.console, Vec::<String>::new());
        assert_eq!(seen.requests, Vec::<String>::new());
        let tags: Vec<&str> =
            seen.dom.split("<svg").skip(1).filter_map(|rest| rest.split('>').next()).collect();
        assert_eq!(tags.len(), charts);
        for tag in tags {
            assert!(tag.contains("role=\"img\"") && tag.contains("aria-label=\"Bars "), "{tag}");
        }
        // One for each kind of screen, and a table for both.
        assert_eq!(seen.dom.matches("The same as a table").count(), charts / 2);
        assert!(seen.dom.contains("<footer>"), "{}", seen.dom);
    }
}

/// The test above would see a request and an error.
#[test]
fn requests_and_errors_are_seen() {
    if !Path::new("/usr/bin/chromium").exists() {
        println!("SKIPPED: needs chromium");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let page = dir.path().join("page.html");
    // A port at which nobody listens.
    let content = "<!doctype html><img src='http://127.0.0.1:9/x.png'><script>console.error('seen')</script>";
    fs::write(&page, content).unwrap();
    let seen = look(&page);
    assert!(seen.requests.iter().any(|url| url.contains("127.0.0.1:9")), "{:?}", seen.requests);
    assert!(seen.console.iter().any(|line| line.contains("seen")), "{:?}", seen.console);
}
