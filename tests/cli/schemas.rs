//! What is printed with `--json` is what docs/schemas say: no key more, none fewer.

#[path = "../common/schema.rs"]
mod schema;

use super::common::Place;
use super::{HOUR, eximgrey, filled};
use eximgrey::time::Timestamp;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;

/// Each schema holds for what the command prints: of a store with something of everything, of an empty one, and of one without
/// readable texts.
#[test]
fn what_is_printed_is_what_the_schemas_say() {
    let full = filled();
    for arguments in [
        &["whitelist", "add", "host", "partner.example", "--comment", "why", "--for", "30d"][..],
        &["whitelist", "add", "recipient", "support@rcpt.example"],
        &["trap", "198.18.0.1"],
        &["release", "ripe@sender.example", "bob@rcpt.example"],
    ] {
        assert_eq!(eximgrey(&full, arguments).code, Some(0), "{arguments:?}");
    }
    let private = Place::new(
        "privacy = true\n[policy.strict]\ndelay = \"1h\"\n[recipients]\n\"a@rcpt.example\" = \"strict\"",
    );
    let now = Timestamp::now().0;
    let mail: [&[u8]; 3] = [b"192.0.2.7", b"alice@sender.example", b"bob@rcpt.example"];
    let waits: [&[u8]; 3] = [b"203.0.113.7", b"", b"bob@rcpt.example"];
    private.decide(&[(now - 2 * HOUR, &mail), (now - HOUR, &mail), (now, &waits)]);
    assert_eq!(eximgrey(&private, &["trap", "198.18.0.1"]).code, Some(0));
    let (empty, wrong) = (Place::new(""), Place::new("delay = 7\nno-such = 1"));
    let (from, to) = ("alice@sender.example", "bob@rcpt.example");
    let mut seen = BTreeSet::new();
    for (name, arguments) in [
        ("status", &["status"][..]),
        ("list-pending", &["list"]),
        ("list-known", &["list", "known"]),
        ("list-auto", &["list", "auto", "--all"]),
        ("list-trapped", &["list", "trapped"]),
        ("list-learned", &["list", "learned"]),
        ("whitelist-list", &["list", "whitelist"]),
        ("whitelist-list", &["whitelist", "list"]),
        ("explain", &["explain", "192.0.2.7", from, to]),
        ("explain", &["explain", "192.0.2.7", from, to, "mode=off"]),
        ("explain", &["explain", "192.0.2.7", from, to, "spf=sender.example", "host=mx.sender.example"]),
        ("normalize", &["normalize", "bounces-1234@d.example", "<>"]),
        ("doctor", &["doctor", "--exim", "/nonexistent/exim"]),
        ("check-config", &["check-config"]),
        ("watch", &["watch", "--count", "1"]),
        ("purge", &["purge"]),
        ("report", &["report"]),
        ("log", &["log", "alice@sender.test", "--file", super::log::MAIN_LOG]),
        ("replay", &["replay", super::log::MAIN_LOG]),
        ("replay", &["replay", super::log::MAIN_LOG, "--learn"]),
    ] {
        for place in [&full, &private, &empty, &wrong] {
            let told = eximgrey(place, &[arguments, &["--json"]].concat());
            if schema::check(name, &told.out) > 0 {
                seen.insert(name);
            }
            assert!(place.config() == wrong.config() || told.code != Some(2), "{arguments:?}: {}", told.err);
        }
    }
    for place in [&full, &private] {
        let told = eximgrey(place, &["export", "-"]);
        assert!(schema::check("export", &told.out) > 3, "{}", told.err);
        seen.insert("export");
    }
    // That needs Exim; the tour has it.
    let missing: Vec<_> = schema::all().into_iter().filter(|name| !seen.contains(name.as_str())).collect();
    assert_eq!(missing, ["exim-status"]);
}

/// A schema that would take anything would show nothing: every object in one is closed, and says what must be there.
#[test]
fn the_schemas_are_strict() {
    fn check(name: &str, value: &Value, objects: &mut usize) {
        if let Value::Object(object) = value {
            if object.contains_key("properties") {
                let keys = object["properties"].as_object().unwrap();
                assert_eq!(object["additionalProperties"], false, "{name}: {value}");
                let optional = if name == "doctor" { 1 } else { 0 };
                let required = object["required"].as_array().unwrap().len();
                // Of an export, what says nothing is left out.
                assert!(required == keys.len() - optional || name == "export", "{name}: {value}");
                *objects += 1;
            }
            object.values().for_each(|below| check(name, below, objects));
        }
        if let Value::Array(values) = value {
            values.iter().for_each(|below| check(name, below, objects));
        }
    }
    for name in schema::all() {
        let path = format!("{}/docs/schemas/{name}.json", env!("CARGO_MANIFEST_DIR"));
        let value: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        assert_eq!(value["$schema"], "https://json-schema.org/draft/2020-12/schema", "{name}");
        let mut objects = 0;
        check(&name, &value, &mut objects);
        assert!(objects > 0, "{name}");
    }
    assert!(schema::fault("purge", &serde_json::json!({"known": null, "more": 1})).is_some());
}
