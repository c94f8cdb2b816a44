//! The documentation agrees with the program. Commands and options are compared in `src/bin/eximgrey/documented_tests.rs`.
#![allow(unsafe_code, clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod common;

#[path = "docs/readme.rs"]
mod readme;

use common::{Place, run};
use eximgrey::reply::{Action, By, Effect, Fault, Matched, Reason};
use eximgrey::request::Request;
use eximgrey::settings::Settings;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const HERE: &str = env!("CARGO_MANIFEST_DIR");

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(HERE).join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// The files below a directory of the repository.
fn files(directory: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(Path::new(HERE).join(directory)).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{directory}/{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&name));
        } else {
            found.push(name);
        }
    }
    found
}

/// The text between two marks.
fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    let (_, rest) = text.split_once(start).unwrap_or_else(|| panic!("no {start:?}"));
    rest.split_once(end).unwrap_or_else(|| panic!("no {end:?} behind {start:?}")).0
}

/// What stands first in the lines `.It Cm ...`.
fn items(page: &str) -> BTreeSet<&str> {
    let items = page.lines().filter_map(|line| line.strip_prefix(".It Cm "));
    items.filter_map(|item| item.split(' ').next()).collect()
}

/// The names of our macros that a text mentions.
fn macros(text: &str) -> BTreeSet<&str> {
    let part = |c: char| !c.is_ascii_uppercase() && c != '_';
    let words = text.split(part).filter(|word| word.starts_with("EXIMGREY_"));
    words.filter(|word| !word.ends_with('_')).collect()
}

/// The manual pages hold no mistake that mandoc knows.
#[test]
fn the_manual_pages_are_sound() {
    let pages: Vec<_> = files("man").into_iter().map(|name| Path::new(HERE).join(name)).collect();
    assert!(pages.len() >= 3, "{pages:?}");
    let lint = run(Command::new("mandoc").args(["-T", "lint", "-W", "warning"]).args(&pages));
    assert!(lint.status.success(), "{}", String::from_utf8_lossy(&lint.stdout));
}

/// eximgrey.toml(5) and the README have each setting, and no others.
#[test]
fn every_setting_is_documented() {
    let known: BTreeSet<&str> = Settings::keys().into_iter().collect();
    let page = read("man/eximgrey.toml.5");
    let described = page.lines().filter_map(|line| line.strip_prefix(".It Ic "));
    let described: BTreeSet<&str> = described.filter_map(|item| item.split(' ').next()).collect();
    assert_eq!(described, known);

    let readme = read("README.md");
    let example = between(&readme, "```toml\n", "```");
    let (top, tables) = example.split_once("\n[policy.strict]").expect("a policy");
    assert!(tables.contains("\n[recipients]"));
    let keys = top.lines().filter_map(|line| line.split(" =").next());
    let shown: BTreeSet<&str> = keys.chain(["[policy.NAME]", "[recipients]"]).collect();
    assert_eq!(shown, known);
}

/// What eximgrey.toml(5) and the README show as a default is the default.
#[test]
fn the_documented_defaults_are_those_in_force() {
    let place = Place::new("");
    let in_force = |file: &str| -> Value {
        fs::write(place.config(), file).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_eximgrey"));
        let output = run(command.args(["check-config", "--json", "--config"]).arg(place.config()));
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{text}");
        serde_json::from_str::<Value>(&text).unwrap()["in_force"].take()
    };
    let defaults = in_force("");
    let mut shown = in_force(between(&read("README.md"), "```toml\n", "```"));
    assert_eq!(shown["policy"]["strict"]["delay"], "1h");
    assert_eq!(shown["recipients"]["example.net"], "off");
    (shown["policy"], shown["recipients"]) = (defaults["policy"].clone(), defaults["recipients"].clone());
    assert_eq!(shown, defaults);

    let page = read("man/eximgrey.toml.5");
    let described = page.lines().filter_map(|line| line.strip_prefix(".It Ic ")?.split_once(" No = "));
    let text = |value: &str| {
        value.strip_prefix("Qq").map_or_else(|| value.to_owned(), |text| format!("{:?}", text.trim_start()))
    };
    let described: BTreeMap<&str, String> = described.map(|(key, value)| (key, text(value))).collect();
    let defaults = defaults.as_object().unwrap().iter().filter(|(_, value)| !value.is_object());
    assert_eq!(described, defaults.map(|(key, value)| (key.as_str(), value.to_string())).collect());
}

/// eximgrey(7) has each word of an answer, each function, and each option of a call, and no others.
#[test]
fn every_word_function_and_option_is_in_the_manual() {
    let page = read("man/eximgrey.7");
    let reasons: BTreeSet<&str> = Reason::ALL.iter().map(|reason| reason.word()).collect();
    assert_eq!(items(between(&page, "\nReasons:", "\nResults:")), reasons);
    let results: BTreeSet<&str> = Effect::ALL.iter().map(|told| told.word()).collect();
    assert_eq!(items(between(&page, "\nResults:", "\n.Sh")), results);
    let broken = items(between(&page, ".Sh WHEN SOMETHING BREAKS", "\n.Sh"));
    let broken: BTreeSet<&str> = broken.iter().filter_map(|item| item.strip_prefix("error=")).collect();
    // The fragments have a word of their own, for when there is no library to say one.
    let faults = Fault::ALL.iter().map(|fault| fault.word()).chain(["no-library"]);
    assert_eq!(broken, faults.collect());
    let by = between(&page, ".It Cm by= ", ".It");
    for word in By::ALL.iter().map(|by| by.word()).chain(Matched::OTHERS.map(Matched::word)) {
        assert!(by.split([' ', '\n']).any(|text| text == word), "{word}");
    }

    let check = read("scripts/check-library");
    let exported = between(&check, "expected='", "'").split_whitespace().collect();
    assert_eq!(items(between(&page, ".Sh FUNCTIONS", "\n.Sh")), exported);

    let described = items(between(&page, ".Sh OPTIONS", "\n.Sh"));
    let described = described.iter().filter_map(|item| item.strip_suffix('='));
    assert_eq!(described.collect::<BTreeSet<_>>(), Request::options().collect());
}

/// rcpt.conf is done with mail for whose reason it passes: it neither logs it nor adds a header. It goes on with a
/// retry, which has waited, with an error, which somebody should see, and with what has not had to wait because others
/// like it came back; those are what data.conf logs.
#[test]
fn the_fragments_know_every_reason_to_pass() {
    // The words that a fragment compares the reason with, joined as it has them.
    let compared = |name: &str| -> Vec<String> {
        let behind = read(name);
        let behind = behind.split("extract{reason}{").skip(1).filter_map(|rest| rest.split_once("}}{"));
        behind.filter_map(|(_, list)| list.split('}').next()).map(String::from).collect()
    };
    let joined =
        |reasons: Vec<&Reason>| reasons.iter().map(|reason| reason.word()).collect::<Vec<_>>().join(":");
    let passes = Reason::ALL.iter().filter(|reason| reason.action() == Action::Pass);
    let (logged, done) =
        passes.partition(|reason| matches!(reason, Reason::Retried | Reason::Error | Reason::Likely));
    let (logged, done) = (joined(logged), joined(done));
    assert!(compared("exim-conf/rcpt.conf").contains(&done), "no {done}");
    assert!(compared("exim-conf/data.conf").contains(&logged), "no {logged}");
    for list in files("exim-conf").iter().flat_map(|name| compared(name)) {
        let known = |word: &str| Reason::ALL.iter().any(|reason| reason.word() == word);
        assert!(list.split(':').all(known), "{list}");
    }
}

/// The fragments' manuals have a row for each macro of the fragments and recipes, and no others.
#[test]
fn every_macro_is_documented() {
    let (manuals, fragments): (Vec<_>, Vec<_>) = files("exim-conf")
        .into_iter()
        .map(|name| read(&name))
        .partition(|text| text.starts_with("# ") && text.contains("\n|"));
    assert_eq!(manuals.len(), 2);
    let used: BTreeSet<&str> = fragments.iter().flat_map(|text| macros(text)).collect();
    let rows = manuals.iter().flat_map(|text| text.lines()).filter_map(|line| line.strip_prefix("| `"));
    let described: BTreeSet<&str> = rows.flat_map(|row| macros(row.split('`').next().unwrap())).collect();
    assert_eq!(described, used);
}

/// Where one document points to another, there is one.
#[test]
fn links_lead_somewhere() {
    let top = fs::read_dir(HERE).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let documents = top.chain(files("docs")).chain(files("exim-conf")).filter(|name| name.ends_with(".md"));
    let mut followed = 0;
    for name in documents {
        let from = PathBuf::from(HERE).join(&name);
        let text = read(&name);
        for link in text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next()) {
            if link.contains(':') || link.is_empty() {
                continue;
            }
            assert!(from.with_file_name(link).exists(), "{name}: {link}");
            followed += 1;
        }
    }
    assert!(followed > 5);
}

/// Each test that the threat model names is there. What has two underscores in it is the name of a test there.
#[test]
fn the_threat_model_names_tests() {
    let sources: Vec<String> = ["src", "tests"]
        .into_iter()
        .flat_map(files)
        .filter(|name| name.ends_with(".rs"))
        .map(|name| read(&name))
        .collect();
    let page = read("docs/threat-model.md");
    let named = page.split('`').skip(1).step_by(2).filter(|word| word.matches('_').count() >= 2);
    let named: BTreeSet<&str> =
        named.filter(|word| word.bytes().all(|b| b == b'_' || b.is_ascii_lowercase())).collect();
    for name in &named {
        let begins = format!("#[test]\n    fn {name}()");
        let is_test = |text: &String| text.contains(&begins) || text.contains(&begins.replace("    ", ""));
        assert!(sources.iter().any(is_test), "docs/threat-model.md names {name}, which is no test");
    }
    assert!(named.len() > 20, "{named:?}");
}

/// The version is said in Cargo.toml. The changelog begins with it, and the manual pages do not repeat it.
#[test]
fn the_version_is_said_once() {
    let version = env!("CARGO_PKG_VERSION");
    let changelog = read("CHANGELOG.md");
    let top = changelog.lines().find_map(|line| line.strip_prefix("## ")).expect("an entry");
    assert_eq!(top.split(' ').next(), Some(version));
    for page in files("man") {
        assert!(!read(&page).contains(version), "{page}");
    }
}
