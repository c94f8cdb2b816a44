//! `eximgrey export` and `eximgrey import eximgrey`: what a store holds, as lines of JSON, and back.

use super::common::{Place, give_to_store_user};
use super::{HOSTILE, eximgrey, filled};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

/// Exports what `place` holds; the file.
fn export(place: &Place, name: &str) -> PathBuf {
    let file = place.path(name);
    let done = eximgrey(place, &["export", file.to_str().unwrap()]);
    assert_eq!((done.code, done.err.as_str()), (Some(0), ""), "{}", done.out);
    file
}

/// The records of an export by their keys, and the secret.
fn records(text: &str) -> (BTreeMap<String, Value>, String) {
    let mut secret = String::new();
    let mut records = BTreeMap::new();
    for line in text.lines() {
        let value: Value = serde_json::from_str(line).unwrap();
        if let Some(found) = value["secret"].as_str() {
            secret = found.into();
        } else if let Some(key) = value["key"].as_str() {
            records.insert(key.to_owned(), value.clone());
        }
    }
    (records, secret)
}

fn import(place: &Place, file: &std::path::Path, more: &[&str]) -> super::Done {
    eximgrey(place, &[&["import", "eximgrey", file.to_str().unwrap()], more].concat())
}

/// A store with something of everything, the administrator's word, too.
fn of_everything() -> Place {
    let place = filled();
    for arguments in [
        &["whitelist", "add", "--comment", "ours", "sender", "partner.example"][..],
        &["trap", "198.51.100.77"],
        &["release", "early@sender.example", "bob@rcpt.example"],
        &["release", "--client", "203.0.113.200"],
    ] {
        assert_eq!(eximgrey(&place, arguments).code, Some(0), "{arguments:?}");
    }
    place
}

/// All comes back under the same keys, so that nothing has happened for Exim.
#[test]
fn an_empty_store_becomes_the_exported_one() {
    let place = of_everything();
    let file = export(&place, "export.json");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let text = fs::read_to_string(&file).unwrap();
    let (before, secret) = records(&text);
    let kinds: Vec<_> = before.values().map(|record| record["record"].as_str().unwrap()).collect();
    for kind in ["known", "identity", "pending", "whitelist", "trap", "released"] {
        assert!(kinds.contains(&kind), "{kind}");
    }
    // Bytes that are no UTF-8 are written as such.
    let hostile: String = HOSTILE.iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(text.contains(&format!("\"sender\":{{\"hex\":\"{hostile}\"}}")), "{text}");

    let new = Place::new("");
    let dry = import(&new, &file, &["--dry-run"]);
    assert_eq!((dry.code, dry.err.as_str()), (Some(0), ""));
    assert!(dry.out.starts_with("would be imported: "), "{}", dry.out);
    assert_eq!(new.tree(), Vec::<String>::new());
    // One that was begun, and holds nothing, is as good.
    assert_eq!(eximgrey(&new, &["whitelist", "add", "host", "here.example"]).code, Some(0));
    assert_eq!(eximgrey(&new, &["whitelist", "remove", "host", "here.example"]).code, Some(0));
    assert_eq!(import(&new, &file, &["--dry-run"]).out, dry.out);
    let done = import(&new, &file, &[]);
    assert_eq!((done.code, done.err.as_str()), (Some(0), ""));
    let after = records(&fs::read_to_string(export(&new, "again.json")).unwrap());
    assert_eq!(after, (before, secret));
    let again = import(&new, &file, &[]);
    assert_eq!(again.code, Some(0));
    let many = after.0.len();
    assert!(again.out.contains(&format!("{many} records of these said nothing new")), "{}", again.out);
    let answer = eximgrey(&new, &["explain", "192.0.2.9", "alice@sender.example", "bob@rcpt.example"]);
    assert!(answer.out.contains("reason=known by=network"), "{}", answer.out);
}

/// The keys of a store that is in use depend on its secret: records come under new ones, made from their texts.
#[test]
fn a_store_in_use_takes_the_records_under_its_own_keys() {
    let place = of_everything();
    let file = export(&place, "export.json");
    let new = Place::new("");
    assert_eq!(eximgrey(&new, &["whitelist", "add", "host", "here.example"]).code, Some(0));
    let done = import(&new, &file, &[]);
    assert_eq!((done.code, done.err.as_str()), (Some(0), ""));
    assert!(done.out.contains("another store's secret"), "{}", done.out);
    // First attempts: for hours, and bound to more than their texts.
    assert!(done.out.contains("5 not importable\n"), "{}", done.out);
    assert!(done.out.contains("export.json:"), "{}", done.out);
    let explain = |sender| eximgrey(&new, &["explain", "192.0.2.9", sender, "bob@rcpt.example"]).out;
    assert!(explain("alice@sender.example").contains("reason=known by=network"));
    assert!(explain("early@sender.example").contains("reason=released"));
    let lists =
        |place| ["known", "auto"].map(|what| eximgrey(place, &["list", what, "--sort", "client"]).out);
    assert_eq!(lists(&new), lists(&place));
    let listed = eximgrey(&new, &["whitelist", "list"]).out;
    assert!(listed.contains("here.example") && listed.contains("partner.example"), "{listed}");
}

/// Who could not have been read wholly is told so; what there was is taken in.
#[test]
fn what_cannot_be_read_is_said() {
    let place = filled();
    let file = export(&place, "export.json");
    let again = eximgrey(&place, &["export", file.to_str().unwrap()]);
    assert_eq!(again.code, Some(2), "no file is written over");
    let text = fs::read_to_string(&file).unwrap();
    let write = |name: &str, text: &str| {
        let path = place.path(name);
        fs::write(&path, text).unwrap();
        give_to_store_user(&path);
        path
    };
    let later = text.replacen("\"eximgrey_export\":1", "\"eximgrey_export\":7", 1);
    let done = import(&place, &write("later", &later), &[]);
    assert_eq!(done.code, Some(2));
    assert!(done.err.contains("written by a later eximgrey (format 7)"), "{}", done.err);

    let (whole, _) = text.trim_end().rsplit_once('\n').unwrap();
    let done = import(&place, &write("cut", whole), &[]);
    assert_eq!(done.code, Some(1));
    assert!(done.err.contains("cut is not whole"), "{}", done.err);

    let garbage = text.replacen("\"known\"", "\"unknown\x1b\"", 1);
    let done = import(&place, &write("garbage", &garbage), &["--dry-run"]);
    assert!(done.out.contains("1 not importable\n"), "{}", done.out);
    assert_eq!(import(&place, &write("other", "192.0.2.1 a b\n"), &[]).code, Some(2));
    assert_eq!(import(&place, &place.path("missing"), &[]).code, Some(2));
    assert_eq!(eximgrey(&Place::new(""), &["export", "-"]).code, Some(2), "nothing to export");
}

/// docs/schemas/export.json has each kind of line, with its words and those that are never left out.
#[test]
fn the_schema_describes_the_lines() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/schemas/export.json");
    let schema: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let place = of_everything();
    let text = fs::read_to_string(export(&place, "export.json")).unwrap();
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let names = || line.as_object().unwrap().keys();
        let is_of = |kind: &&Value| {
            let has = |name: &Value| !line[name.as_str().unwrap()].is_null();
            let word = &kind["properties"]["record"];
            let same = line["record"] == word["const"]
                || word["enum"].as_array().is_some_and(|words| words.contains(&line["record"]));
            same && kind["required"].as_array().unwrap().iter().all(has)
                && names().all(|name| kind["properties"].get(name).is_some())
        };
        assert_eq!(schema["oneOf"].as_array().unwrap().iter().filter(is_of).count(), 1, "{line}");
    }
}
