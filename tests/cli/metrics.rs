//! `eximgrey metrics`: Prometheus can read it, and it says what was counted.

use super::{done, eximgrey, filled};
use crate::common::{Place, is_root, run};
use std::collections::HashSet;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

/// What `promtool check metrics` says of a text, which is nothing.
fn assert_sound(text: &str) {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool (package prometheus: see scripts/setup)");
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let said = promtool.wait_with_output().unwrap();
    let text = [said.stdout, said.stderr].concat();
    assert!(said.status.success() && text.is_empty(), "{}", String::from_utf8_lossy(&text));
}

/// Whatever the store holds, and where there is none or it is damaged, the text is sound and says so.
#[test]
fn prometheus_can_read_it() {
    let place = filled();
    let full = eximgrey(&place, &["metrics"]);
    assert_eq!((full.code, full.err.as_str()), (Some(0), ""));
    assert_sound(&full.out);
    for line in [
        "eximgrey_store_usable 1",
        "eximgrey_decisions_total{action=\"defer\",reason=\"new\"} 10",
        "eximgrey_decisions_total{action=\"pass\",reason=\"retried\"} 6",
        "eximgrey_came_back_total 6",
        "eximgrey_wait_seconds_bucket{le=\"480\"} 0",
        "eximgrey_wait_seconds_bucket{le=\"600\"} 5",
        "eximgrey_wait_seconds_bucket{le=\"+Inf\"} 6",
        "eximgrey_wait_seconds_count 6",
        "eximgrey_known_triplets 6",
        "eximgrey_identities_proved 2",
        "eximgrey_max_records{table=\"pending\"} 10000000",
    ] {
        assert!(full.lines().contains(&line), "{line} in {}", full.out);
    }

    let nothing = eximgrey(&Place::new(""), &["metrics"]);
    assert_eq!((nothing.code, nothing.err.as_str()), (Some(0), ""));
    assert_sound(&nothing.out);
    assert!(nothing.lines().contains(&"eximgrey_came_back_total 0"));

    let data = place.store().join("known/data.mdb");
    fs::write(&data, [7; 8192]).unwrap();
    let damaged = eximgrey(&place, &["metrics"]);
    assert_eq!(damaged.code, Some(0));
    assert!(damaged.err.contains("is damaged"), "{}", damaged.err);
    assert_sound(&damaged.out);
    assert!(damaged.lines().contains(&"eximgrey_store_usable 0"));
    assert!(damaged.lines().contains(&"eximgrey_came_back_total 6"), "what was counted is not lost");
    assert!(!damaged.out.contains("known_triplets"), "nobody knows how many");
}

/// The file is there whole, for everybody to read, the caller's own; where it cannot be written, that is said and the old one
/// stays.
#[test]
fn the_file_is_replaced_as_a_whole() {
    let place = filled();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("eximgrey.prom");
    let name = file.to_str().unwrap();
    for _ in 0..2 {
        let written = eximgrey(&place, &["metrics", "--textfile", name]);
        assert_eq!((written.code, written.out.as_str(), written.err.as_str()), (Some(0), "", ""));
        assert_sound(&fs::read_to_string(&file).unwrap());
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o644);
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    if is_root() {
        let owner = run(Command::new("stat").args(["-c", "%u", name]));
        assert_eq!(owner.stdout, b"0\n");
    }
    fs::write(place.config(), "delay = 7\n").unwrap();
    let before = fs::read(&file).unwrap();
    let failed = eximgrey(&place, &["metrics", "--textfile", name]);
    assert_eq!(failed.code, Some(2));
    assert!(failed.err.contains("delay") && failed.err.contains("stays as it was"), "{}", failed.err);
    assert_eq!(fs::read(&file).unwrap(), before);
    let nowhere = eximgrey(&filled(), &["metrics", "--textfile", "/nowhere/eximgrey.prom"]);
    assert_eq!(nowhere.code, Some(2));
    assert!(nowhere.err.contains("cannot write /nowhere/eximgrey.prom"), "{}", nowhere.err);
    let wrong =
        done(Command::new(env!("CARGO_BIN_EXE_eximgrey")).args(["metrics", "--textfile", "/tmp/x.txt"]));
    assert!(wrong.code == Some(2) && wrong.err.contains("ends in .prom"), "{}", wrong.err);
}

/// Every query of the dashboard asks for what is told.
#[test]
fn the_dashboard_asks_for_what_there_is() {
    let told = eximgrey(&filled(), &["metrics"]).out;
    let names: HashSet<_> =
        told.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let text =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/grafana-dashboard.json")).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&text).unwrap();
    let mut asked = HashSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            let query = target["expr"].as_str().unwrap();
            let words: Vec<_> = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect();
            let ours: Vec<_> = words.into_iter().filter(|word| word.starts_with("eximgrey_")).collect();
            assert!(!ours.is_empty(), "{query}");
            asked.extend(ours.into_iter().map(|word| word.trim_end_matches("_bucket").to_owned()));
        }
    }
    let missing: Vec<_> = asked.iter().filter(|name| !names.contains(name.as_str())).collect();
    assert!(missing.is_empty(), "{missing:?}");
    // All that is told is shown, but for what says which version and which limits.
    let unseen: Vec<_> = names.iter().filter(|name| !asked.contains(**name)).collect();
    assert!(unseen.len() <= 3, "{unseen:?}");
}
