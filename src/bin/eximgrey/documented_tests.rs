//! That the manual page, the README and the completions agree with the command.

use crate::Arguments;
use clap::{Arg, Command, CommandFactory};
use clap_complete::{Shell, generate};
use std::collections::{BTreeMap, BTreeSet};
use std::{env, fs};

const HERE: &str = env!("CARGO_MANIFEST_DIR");

/// Commands, such as `whitelist add`, and the long options of each.
type Commands = BTreeMap<String, BTreeSet<String>>;

fn read(name: &str) -> String {
    fs::read_to_string(format!("{HERE}/{name}")).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// Those that the command takes; the options of all commands are under "".
fn taken() -> Commands {
    let mut found = Commands::new();
    let mut command = Arguments::command();
    command.build();
    let global = command.get_arguments().filter_map(Arg::get_long).map(String::from).collect();
    collect("", &command, &global, &mut found);
    found.insert(String::new(), global);
    found
}

fn collect(name: &str, command: &Command, global: &BTreeSet<String>, found: &mut Commands) {
    for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
        collect(format!("{name} {}", below.get_name()).trim(), below, global, found);
    }
    if command.get_subcommands().next().is_none() {
        let own = command.get_arguments().filter_map(Arg::get_long).map(String::from);
        found.insert(name.into(), own.filter(|option| !global.contains(option)).collect());
    }
}

/// Those that the page describes: `.It Cm whitelist add Oo Fl -comment Ar text Oc ...`, and what follows up
/// to the next. The options of all commands are a list before them.
fn described() -> Commands {
    let page = read("man/eximgrey.8");
    let (before, rest) = page.split_once(".Sh COMMANDS").expect("a section COMMANDS");
    let (commands, _) = rest.split_once(".Sh ENVIRONMENT").expect("a section ENVIRONMENT");
    let items = before.lines().filter(|line| line.starts_with(".It Fl"));
    let mut found = Commands::from([(String::new(), items.flat_map(options).collect())]);
    let (mut current, mut depth) = (String::new(), 0);
    for line in commands.lines() {
        depth += i32::from(line.starts_with(".Bl")) - i32::from(line.starts_with(".El"));
        // The lists within the list name words such as `pending`.
        if let (1, Some(item)) = (depth, line.strip_prefix(".It Cm ")) {
            let name = |word: &&str| word.starts_with(|c: char| c.is_ascii_lowercase());
            current = item.split(' ').take_while(name).collect::<Vec<_>>().join(" ");
        }
        found.entry(current.clone()).or_default().extend(options(line));
    }
    found
}

/// What a line of mdoc names with `Fl -name`.
fn options(line: &str) -> impl Iterator<Item = String> {
    let names = line.split("Fl -").skip(1).filter_map(|rest| rest.split(' ').next());
    names.map(String::from)
}

/// eximgrey(8) has each command with its long options, and no others.
#[test]
fn the_manual_page_describes_every_command_and_option() {
    assert_eq!(described(), taken());
}

/// eximgrey(8) has each word that an argument may be, as an item of a list.
#[test]
fn the_manual_page_names_every_word_of_an_argument() {
    fn check(command: &Command, page: &str, checked: &mut usize) {
        let arguments = command.get_arguments().filter(|argument| argument.is_positional());
        for word in arguments.flat_map(Arg::get_possible_values) {
            assert!(page.contains(&format!("\n.It Cm {}\n", word.get_name())), "{}", word.get_name());
            *checked += 1;
        }
        command.get_subcommands().for_each(|below| check(below, page, checked));
    }
    let mut checked = 0;
    check(&Arguments::command(), &read("man/eximgrey.8"), &mut checked);
    assert!(checked > 10, "{checked}");
}

/// Each command that prints JSON has a schema of it in docs/schemas; `list` has one for each thing that it lists.
#[test]
fn what_is_printed_as_json_has_a_schema() {
    fn collect(name: &str, command: &Command, found: &mut BTreeSet<String>) {
        for below in command.get_subcommands() {
            collect(format!("{name}-{}", below.get_name()).trim_start_matches('-'), below, found);
        }
        if command.get_arguments().any(|argument| argument.get_long() == Some("json")) {
            let what = command.get_arguments().filter(|argument| name == "list" && argument.is_positional());
            let names: Vec<_> = what
                .flat_map(Arg::get_possible_values)
                .map(|word| format!("{name}-{}", word.get_name()))
                .collect();
            found.extend(if names.is_empty() { vec![name.to_owned()] } else { names });
        }
    }
    let mut expected = BTreeSet::new();
    collect("", &Arguments::command(), &mut expected);
    // These two are the same.
    assert!(expected.remove("list-whitelist"));
    // That is all it writes.
    expected.insert("export".to_owned());
    let files = fs::read_dir(format!("{HERE}/docs/schemas")).expect("a directory docs/schemas");
    let names = files.map(|file| file.expect("a file").file_name().to_string_lossy().into_owned());
    let there: BTreeSet<_> = names.map(|name| name.trim_end_matches(".json").to_owned()).collect();
    assert_eq!(there, expected);
}

/// The README's table has each command, and no others.
#[test]
fn the_readme_has_every_command() {
    let readme = read("README.md");
    let names = readme.lines().filter_map(|line| line.strip_prefix("| `eximgrey "));
    let listed: BTreeSet<&str> = names.filter_map(|rest| rest.split([' ', '`']).next()).collect();
    let taken = taken();
    let taken: BTreeSet<&str> = taken.keys().filter_map(|name| name.split(' ').next()).collect();
    assert_eq!(listed, taken.into_iter().filter(|name| !name.is_empty()).collect());
}

/// The completions are what clap makes of the command. `make completions` writes them anew.
#[test]
fn the_completions_are_those_of_the_command() {
    for (shell, name) in
        [(Shell::Bash, "eximgrey.bash"), (Shell::Zsh, "_eximgrey"), (Shell::Fish, "eximgrey.fish")]
    {
        let mut made = Vec::new();
        generate(shell, &mut Arguments::command(), "eximgrey", &mut made);
        let made = String::from_utf8(made).expect("a completion is text");
        let path = format!("completions/{name}");
        if env::var_os("EXIMGREY_WRITE_COMPLETIONS").is_some() {
            fs::write(format!("{HERE}/{path}"), &made).expect("completions/ can be written");
        }
        assert!(read(&path) == made, "{path} is stale: run `make completions`");
    }
}
