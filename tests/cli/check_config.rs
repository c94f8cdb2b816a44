//! `eximgrey check-config`: the file as Exim would read it.

use super::eximgrey;
use crate::common::Place;
use eximgrey::settings::Settings;
use serde_json::Value;
use std::fs;

/// A good configuration is shown as it is in force, in the words of the file: it can be read again.
#[test]
fn check_config_shows_what_is_in_force() {
    let place = Place::new("delay = \"10m\"\nprivacy = true\n[policy.strict]\ndelay = \"1h\"");
    let checked = eximgrey(&place, &["check-config"]);
    assert_eq!((checked.code, checked.err.as_str()), (Some(0), ""));
    let (first, rest) = checked.out.split_once('\n').unwrap();
    assert!(first.starts_with(&format!("{}: ", place.config().display())), "{first}");
    for expected in
        ["delay = \"10m\"", "privacy = true", "auto_after = 5", "[policy.strict]", "delay = \"1h\""]
    {
        assert!(rest.lines().any(|line| line == expected), "no {expected} in\n{rest}");
    }
    let settings = place.settings();
    fs::write(place.config(), rest).unwrap();
    let again = place.settings();
    assert_eq!(
        (again.rules, &again.store, again.prefixes),
        (settings.rules, &settings.store, settings.prefixes)
    );
    let [value] = &eximgrey(&place, &["check-config", "--json"]).json()[..] else { panic!() };
    assert_eq!((&value["ok"], &value["problems"]), (&true.into(), &Value::Array(Vec::new())));
}

/// A bad configuration: each problem is one line on the standard error with file, line and what was expected; exit 1.
#[test]
fn check_config_names_file_line_and_expectation() {
    let place = Place::new("");
    let text = "store = \"/var/lib/eximgrey\"\ndelay = \"5 minutes\"\n\nipv4_prefix = 33\nbogus = 1\nmode = \"on\"\n";
    fs::write(place.config(), text).unwrap();
    let checked = eximgrey(&place, &["check-config"]);
    assert_eq!((checked.code, checked.out.as_str()), (Some(1), ""));
    let expected = [
        (2, "delay", "expected a time"),
        (4, "ipv4_prefix", "expected a number from 1 to 32"),
        (5, "bogus", "expected one of"),
        (6, "mode", "expected \"enforce\""),
    ];
    let lines: Vec<&str> = checked.err.lines().collect();
    assert_eq!(lines.len(), expected.len(), "{}", checked.err);
    let json = eximgrey(&place, &["check-config", "--json"]);
    assert_eq!(json.code, Some(1));
    let value = &json.json()[0];
    assert_eq!(value["ok"], false);
    for (number, (line, (at, key, what))) in lines.iter().zip(expected).enumerate() {
        let place = format!("{}:{at}: {key}: ", place.config().display());
        assert!(line.contains(&place) && line.contains(what), "{line}");
        let problem = value["problems"][number].as_str().unwrap();
        assert!(line.ends_with(problem), "{problem}");
    }
    for (text, sign) in [
        ("delay = ", ":1: "),
        ("\n\n[policy", ":3: "),
        ("delay = \"2h\"\nwindow = \"1h\"\n", ":2: window (1h)"),
    ] {
        fs::write(place.config(), text).unwrap();
        let checked = eximgrey(&place, &["check-config"]);
        assert!(checked.code == Some(1) && checked.err.contains(sign), "{text}: {}", checked.err);
    }
    fs::remove_file(place.config()).unwrap();
    let missing = eximgrey(&place, &["check-config"]);
    assert!(missing.code == Some(1) && missing.err.contains("No such file"), "{}", missing.err);
}

/// The file that packages install holds every setting, commented out, at the value that is in force without it.
#[test]
fn the_installed_configuration_holds_every_setting_at_its_default() {
    let installed = include_str!("../../packaging/eximgrey.toml");
    let is_key = |line: &&str| line.starts_with(|c: char| c.is_ascii_lowercase());
    assert_eq!(installed.lines().find(is_key), None, "not commented out");
    let place = Place::new("");
    let text: String = installed
        .lines()
        .filter_map(|line| line.strip_prefix('#').filter(is_key))
        .map(|line| format!("{line}\n"))
        .collect();
    fs::write(place.config(), &text).unwrap();
    let checked = eximgrey(&place, &["check-config"]);
    assert_eq!((checked.code, checked.err.as_str()), (Some(0), ""));
    assert_eq!(checked.out.split_once('\n').unwrap().1, text, "in another order, or not all");
    assert_eq!(place.settings(), Settings::default());

    for key in Settings::keys() {
        let there =
            |line: &str| line.trim_start_matches(['#', ' ']).starts_with(key.trim_end_matches("NAME]"));
        assert!(installed.lines().any(there), "no {key}");
    }
}
