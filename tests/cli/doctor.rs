//! `eximgrey doctor`, with the Exim that is installed.

use super::{Done, eximgrey, filled};
use crate::common::{Place, built_library, skipped_without_root};
use std::fs;
use std::path::Path;

const EXIM: &str = "/usr/sbin/exim4";

/// Whether there is nothing to ask here.
fn skipped() -> bool {
    if !Path::new(EXIM).exists() {
        println!("SKIPPED: needs {EXIM}");
        return true;
    }
    skipped_without_root("Exim's configuration")
}

/// Runs the doctor with a configuration of Exim that has `lines` in its ACL and `main` before it.
fn doctor(place: &Place, main: &str, lines: &str, more: &[&str]) -> Done {
    let exim_config = place.path("exim.conf");
    let text = format!(
        "primary_hostname = mx.example.org\nexim_user = nobody\nexim_group = nogroup\nkeep_environment =\n{main}\n\
         acl_smtp_rcpt = rcpt\nbegin acl\nrcpt:\n{lines}\n  accept\n"
    );
    fs::write(&exim_config, text).unwrap();
    let library = place.path("eximgrey.so");
    if !library.exists() {
        fs::copy(built_library(), &library).unwrap();
    }
    let named =
        ["doctor", "--exim-config", exim_config.to_str().unwrap(), "--library", library.to_str().unwrap()];
    eximgrey(place, &[&named, more].concat())
}

fn call(place: &Place, function: &str) -> String {
    format!("${{dlfunc{{{}}}{{{function}}}{{500}}}}", place.path("eximgrey.so").display())
}

fn healthy(place: &Place, more: &[&str]) -> Done {
    let main = format!("smtp_accept_max_per_host = {}", call(place, "greylist_preload"));
    let lines = format!("  defer condition = {}", call(place, "greylist"));
    doctor(place, &main, &lines, more)
}

/// The lines with this word in front, for this check.
fn findings<'a>(answer: &'a Done, health: &str, check: &str) -> Vec<&'a str> {
    let of = |line: &&str| {
        let mut words = line.split_whitespace();
        words.next() == Some(health) && words.next() == Some(check)
    };
    answer.out.lines().filter(of).collect()
}

/// On a sound installation every check is ok and the exit status 0.
#[test]
fn the_doctor_finds_a_sound_installation_sound() {
    if skipped() {
        return;
    }
    let place = filled();
    let answer = healthy(&place, &[]);
    assert_eq!((answer.code, answer.err.as_str()), (Some(0), ""), "{}", answer.out);
    for check in ["configuration", "exim", "fragment", "library", "store", "records", "disk"] {
        assert!(!findings(&answer, "ok", check).is_empty(), "no {check} in\n{}", answer.out);
    }
    assert!(!answer.out.contains("BROKEN"), "{}", answer.out);
    let values = healthy(&place, &["--json"]).json();
    assert_eq!(values.len(), answer.lines().len());
    for (value, line) in values.iter().zip(answer.lines()) {
        let text = |key: &str| value[key].as_str().unwrap().to_owned();
        assert!(line.starts_with(&text("health")) && line.contains(&text("check")), "{line}: {value}");
    }
}

/// What is broken is named with what to do, and the exit status is 1.
#[test]
fn the_doctor_names_what_is_broken() {
    if skipped() {
        return;
    }
    let place = filled();
    let silent = doctor(&place, "", "", &[]);
    assert_eq!(silent.code, Some(1), "{}", silent.out);
    assert!(findings(&silent, "BROKEN", "fragment")[0].contains("eximgrey exim enable"), "{}", silent.out);

    let no_preload = doctor(&place, "", &format!("  defer condition = {}", call(&place, "greylist")), &[]);
    assert_eq!(no_preload.code, Some(0), "{}", no_preload.out);
    assert_eq!(findings(&no_preload, "warning", "preload").len(), 1, "{}", no_preload.out);

    let broken_exim = doctor(&place, "no_such_option = 1", "", &[]);
    assert_eq!(broken_exim.code, Some(1));
    assert_eq!(findings(&broken_exim, "BROKEN", "exim").len(), 1, "{}", broken_exim.out);

    fs::write(place.path("eximgrey.so"), "no library").unwrap();
    let bad_library = healthy(&place, &[]);
    assert_eq!(bad_library.code, Some(1));
    assert_eq!(findings(&bad_library, "BROKEN", "library").len(), 1, "{}", bad_library.out);
    fs::remove_file(place.path("eximgrey.so")).unwrap();

    place.configure("delay = 7\nbogus = 1");
    let bad_configuration = healthy(&place, &[]);
    assert_eq!(bad_configuration.code, Some(1));
    assert_eq!(findings(&bad_configuration, "BROKEN", "configuration").len(), 2, "{}", bad_configuration.out);
    place.configure("");

    let root_file = place.store().join("known/data.mdb");
    std::os::unix::fs::chown(&root_file, Some(0), Some(0)).unwrap();
    let foreign = healthy(&place, &[]);
    assert_eq!(foreign.code, Some(1));
    let line = findings(&foreign, "BROKEN", "files")[0];
    assert!(line.contains("known/data.mdb belongs to root: chown nobody "), "{line}");

    fs::remove_dir_all(place.store()).unwrap();
    let missing = healthy(&place, &[]);
    assert_eq!(missing.code, Some(1));
    let line = findings(&missing, "BROKEN", "store")[0];
    assert!(line.contains(&format!("install -d -o nobody -m 0750 {}", place.store().display())), "{line}");
}

/// Where there is no Exim, the doctor says so and checks the rest.
#[test]
fn the_doctor_works_without_exim() {
    let place = filled();
    let answer = eximgrey(&place, &["doctor", "--exim", "/nonexistent/exim"]);
    assert_eq!(answer.code, Some(1), "{}", answer.out);
    assert_eq!(findings(&answer, "BROKEN", "exim").len(), 1, "{}", answer.out);
    assert_eq!(findings(&answer, "ok", "configuration").len(), 1, "{}", answer.out);
    assert_eq!(findings(&answer, "ok", "records").len(), 2, "{}", answer.out);
}
