//! The commands that the README shows are run, and print what it shows. A block of commands that nobody has thought of
//! here is a failure.

use super::{HERE, common, files, read};
use common::{Place, as_store_user, run};
use eximgrey::time::Timestamp;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

/// Blocks that are run elsewhere, and by which file.
const ELSEWHERE: [(&str, &str); 3] = [
    ("make demo", ".ci/run"),
    ("make test", ".ci/run"),
    (
        "make deb\nsudo apt install ./target/packages/eximgrey_*.deb\nsudo eximgrey exim enable",
        "scripts/test-install",
    ),
];

const INSTALL: &str = "make build\nsudo make install";

/// The README's blocks of commands: paragraphs that are indented, and what stands between fences and is not TOML.
fn blocks() -> Vec<String> {
    let mut blocks = Vec::new();
    for (i, part) in read("README.md").split("```").enumerate() {
        if i % 2 == 1 {
            let (language, block) = part.split_once('\n').expect("a block after the fence");
            blocks.extend((language != "toml").then(|| block.trim_end().to_owned()));
            continue;
        }
        for paragraph in part.split("\n\n") {
            let lines = paragraph.trim_matches('\n').lines().map(|line| line.strip_prefix("    "));
            let lines: Option<Vec<&str>> = lines.collect();
            blocks.extend(lines.filter(|lines| !lines.is_empty()).map(|lines| lines.join("\n")));
        }
    }
    blocks
}

/// The text with what depends on the clock masked: times, and spans and counts of seconds.
fn masked(text: &str) -> String {
    let mask = |word: &str| {
        let is_time = word.len() == 20 && word.starts_with("20") && word.ends_with('Z');
        let is_span = word.ends_with('s') && word.starts_with(|c: char| c.is_ascii_digit());
        let kind = match word {
            _ if word.starts_with("wait=") => "wait=SECONDS",
            _ if is_time => "TIME",
            _ if is_span => "SPAN",
            _ => word,
        };
        kind.to_owned()
    };
    let separators = [' ', '\n', ','];
    let words = text.split_inclusive(separators).map(|word| {
        let bare = word.trim_end_matches(separators);
        mask(bare) + word.strip_prefix(bare).expect("the rest")
    });
    words.collect()
}

/// What `# eximgrey ...` prints on this store, run by a shell as the README's reader does.
fn shown_by(place: &Place, command: &str) -> String {
    let directory = Path::new(env!("CARGO_BIN_EXE_eximgrey")).parent().unwrap();
    let path = format!("{}:{}", directory.display(), std::env::var("PATH").unwrap());
    let mut shell = Command::new("sh");
    let line = format!("{command} --config {}", place.config().display());
    let output = run(shell.args(["-c", &line]).env("PATH", path));
    // 1 is "nothing found".
    assert!(matches!(output.status.code(), Some(0 | 1)), "{command}: {output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{command}");
    String::from_utf8(output.stdout).unwrap()
}

/// Each block of commands in the README is run: by this test, by the next one, or by the file that says so.
#[test]
fn every_block_is_run_somewhere() {
    for block in blocks() {
        let elsewhere = ELSEWHERE.iter().find(|(known, _)| *known == block);
        let here = block == INSTALL || block.starts_with("# eximgrey ");
        assert!(elsewhere.is_some() || here, "a block of the README that no test runs:\n{block}");
        if let Some((_, runner)) = elsewhere {
            let last = block.lines().last().unwrap().trim_start_matches("sudo ");
            assert!(read(runner).contains(last), "{runner} does not run {last:?}");
        }
    }
    // What makes a release is long; the demo makes one.
    assert!(read("Makefile").contains("\ndemo: setup build\n"));
}

/// `eximgrey` prints what the README shows: a mail that came 48 seconds ago, and what the administrator makes of it.
#[test]
fn the_examples_print_what_is_shown() {
    let place = Place::new("");
    let arguments: [&[u8]; 3] = [b"192.0.2.1", b"alice@sender.example", b"bob@example.org"];
    let first = place.decide(&[(Timestamp::now().0 - 48, &arguments)]);
    assert_eq!(first, ["action=defer reason=new wait=300"]);
    let mut compared = 0;
    for block in blocks().iter().filter(|block| block.starts_with("# eximgrey ")) {
        for example in format!("\n{block}").split("\n# ").skip(1) {
            let (command, shown) = example.split_once('\n').unwrap_or((example, ""));
            let printed = shown_by(&place, command);
            assert_eq!(masked(printed.trim_end()), masked(shown), "# {command}");
            compared += usize::from(!shown.is_empty());
        }
    }
    assert!(compared >= 3, "{compared}");
}

/// `make install` puts everything under DESTDIR: the library, the command, the fragments, the pages, the completions.
#[test]
fn make_install_installs() {
    assert!(blocks().iter().any(|block| block == INSTALL));
    let place = Place::new("");
    let destination = place.path("destination");
    let command = env!("CARGO_BIN_EXE_eximgrey");
    let made = run(Command::new("make")
        .args(["--no-print-directory", "-C", HERE, "install"])
        .arg(format!("DESTDIR={}", destination.display()))
        .arg(format!("command={command}"))
        .arg(format!("library={}", common::built_library().display())));
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));

    let mut expected: Vec<String> =
        ["bin/eximgrey", "lib/exim4/eximgrey.so", "share/bash-completion/completions/eximgrey"]
            .map(String::from)
            .into();
    expected.push("share/doc/eximgrey/eximgrey.logcheck".into());
    expected.extend(files("exim-conf").iter().map(|name| format!("share/eximgrey/{name}")));
    let schemas = files("docs/schemas");
    expected.extend(schemas.iter().map(|name| name.replace("docs/", "share/eximgrey/")));
    expected.extend(files("man").iter().map(|name| {
        let page = Path::new(name);
        let section = page.extension().unwrap().to_str().unwrap();
        format!("share/man/man{section}/{}", page.file_name().unwrap().to_str().unwrap())
    }));
    for name in expected {
        assert!(destination.join("usr").join(&name).is_file(), "{name} is not installed");
    }
    let library = destination.join("usr/lib/exim4/eximgrey.so");
    let version = concat!("eximgrey-", env!("CARGO_PKG_VERSION"), ".so");
    assert_eq!(fs::read_link(library).unwrap(), Path::new(version));
    let installed =
        as_store_user(|| run(Command::new(destination.join("usr/bin/eximgrey")).arg("--version")));
    assert_eq!(installed.stdout, format!("eximgrey {}\n", env!("CARGO_PKG_VERSION")).as_bytes());
    let fragment = fs::read_to_string(destination.join("usr/share/eximgrey/exim-conf/rcpt.conf")).unwrap();
    assert_eq!(fragment, read("exim-conf/rcpt.conf"));
}

/// What has to be there before `make demo` and `make test` is looked for before apt is called, and the README says it.
#[test]
fn cargo_is_looked_for_before_anything_is_installed() {
    let place = Place::new("");
    let programs = place.path("programs");
    fs::create_dir(&programs).unwrap();
    let program = |name: &str, script: &str| {
        let file = programs.join(name);
        fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    };
    program("sudo", "exec \"$@\"");
    program("dpkg-query", "exit 1");
    program("apt-get", "echo apt-get was called >&2; exit 100");
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let manifest = read("Cargo.toml");
    let rust = manifest.split("rust-version = \"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    for (cargo, said) in [
        ("exit 127", "setup: cargo is missing: install Rust ".to_owned()),
        ("echo 'cargo 1.9.0 (0 2016-01-01)'", "setup: cargo 1.9.0 is too old: install Rust ".to_owned()),
        (&format!("echo cargo {rust}.0"), "setup: installing".to_owned()),
    ] {
        program("cargo", cargo);
        let setup = run(Command::new(Path::new(HERE).join("scripts/setup")).env("PATH", &path));
        let text = String::from_utf8_lossy(&[setup.stdout, setup.stderr].concat()).into_owned();
        assert!(text.starts_with(&said) && !setup.status.success(), "{cargo}: {text}");
        let found = said.contains("installing");
        assert_eq!(
            (text.contains("apt-get was called"), text.contains(rust)),
            (found, !found),
            "{cargo}: {text}"
        );
    }
    let readme = read("README.md");
    let before = readme.split("    make demo").next().unwrap();
    assert!(before.contains(&format!("Rust {rust} or newer")) && before.contains("apt install make"));
}
