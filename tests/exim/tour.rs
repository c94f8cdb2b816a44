//! A tour through the command, as an administrator takes it: greylisting is switched on in Debian's Exim, mail comes, and every
//! subcommand is run. What each prints is compared with `tests/tour/NAME.txt`, times, paths and sizes left out;
//! `EXIMGREY_WRITE_TOUR=1` writes these files anew.

use regex::Regex;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::debian::Layout;
use crate::enable::installed::{Done, Installed, done};
use crate::schema;
use crate::smtp::attempt;
use crate::world::{World, exim_is_at_least, in_own_world, wait_until};

/// The file of each step, and its arguments. Where docs/schemas has a file with the name, the step is taken with `--json`, too.
/// A new subcommand is a line here.
const STEPS: &[(&str, &str)] = &[
    ("status", "status"),
    ("list-pending", "list --sort sender"),
    ("list-known", "list known --sort sender"),
    ("list-auto", "list auto --sort client"),
    ("metrics", "metrics"),
    ("report", "report --since 24h"),
    ("explain", "explain 192.0.2.1 carol@sender.test user@example.org"),
    ("log", "log @sender.test"),
    ("replay", "replay"),
    ("release", "release carol@sender.test user@example.org"),
    ("release-nothing", "release nobody@sender.test user@example.org"),
    ("trap", "trap 203.0.113.9"),
    ("list-trapped", "list trapped"),
    ("whitelist-add", "whitelist add spf partner.test --comment tour"),
    ("whitelist-import", "whitelist import DIR/postgrey_clients"),
    ("whitelist-list", "whitelist list"),
    ("whitelist-remove", "whitelist remove spf partner.test"),
    ("normalize", "normalize bounces-1234@list.test prvs=0123456789=alice@sender.test"),
    ("normalize-why", "normalize --why SRS0=HHH=TT=sender.test=alice@forwarder.test"),
    ("export-all", "export DIR/export.jsonl"),
    ("import-eximgrey", "import eximgrey DIR/export.jsonl"),
    ("import", "import postgrey --dry-run DIR/postgrey.dump"),
    ("backup", "backup DIR/backup"),
    ("restore", "restore DIR/backup"),
    ("forget", "forget 198.51.100.7"),
    ("purge", "purge"),
    ("check-config", "check-config"),
    ("doctor", "doctor"),
    ("exim-status", "exim status"),
    ("exim-disable", "exim disable"),
];

/// What the tour takes besides, in the middle of something.
const ON_THE_WAY: &[&str] = &["exim enable", "watch"];

/// What changes from run to run, or from Exim to Exim, and what stands for it.
const CHANGING: &[(&str, &str)] = &[
    (r"Replayed \d+ lines", "Replayed N lines"),
    (r"(?m)(^  20\d\d-\d\d-\d\d \d\d:\d\d .*\n)+", "  HOURS\n"),
    (r"\b20\d\d-\d\d-\d\d \d\d:\d\d\b", "TIME"),
    (r"Greylisting at \S+,", "Greylisting at HOST,"),
    (r"-restore-20\d\d-\d\d-\d\dT\d+", "-restore-TIME"),
    (r"\b20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", "TIME"),
    // An hour is the delay of the tour: less is left of it with each second.
    (r" *\b((\d+[dhm] ?)*\d+s|1h)\b", " SPAN"),
    (r"\b(wait|delay)=\d+\b", "$1=N"),
    (r"\b\d+(\.\d)? (B|kB|MB|GB)\b", "SIZE"),
    (r"\d+\.\d( a minute|/s| s\b| ms\b)", "N$1"),
    (r"\b4\.(9|1\d)\d(\.\d+)?\b", "EXIM"),
    (r"\b[0-9A-Za-z]{6}-[0-9A-Za-z]{6}([0-9A-Za-z]{5})?-[0-9A-Za-z]{2}([0-9A-Za-z]{2})?\b", "ID"),
    (r"#\d+ built \S+ \S+\d", "#N built DATE"),
    (r"(?m)^(eximgrey_(store_made_timestamp_seconds|used_bytes\S+)) \d+$", "$1 N"),
    (r#"\bversion=("?)\d+\.\d+\.\d+"#, "version=${1}VERSION"),
    (r"\bpending-[0-9a-f-]{36}", "pending-BOOT"),
    (r"mail to \S+ is asked", "mail to RECIPIENT is asked"),
    // How the system reloads a daemon, or why it does not.
    (r"(?m)^(NOT )?reloaded: .*$", "reloaded: OR NOT"),
];

/// Every subcommand does what its golden file says, in a store that Exim has filled, and prints JSON that fits its schema.
#[test]
fn a_tour_through_every_subcommand() {
    in_own_world(|world| {
        let installed = Installed::on_debian(world, Layout::Split, "");
        let tour = Tour { world, command: installed.command() };
        // A delay of nothing: any retry passes, and proves its client.
        world.configure("delay = \"0s\"\nauto_after = 1");
        tour.compare("exim-enable", "exim enable", tour.run("exim enable"));
        let _exim = world.start_installed_exim();
        let watching = tour.command("watch --interval 1h").stdout(Stdio::piped()).spawn().unwrap();
        wait_until(|| is_watched(world), || "the watching to begin".into());
        attempt("198.51.100.7", "alice@sender.test", "user@example.org").expect_greylisted();
        attempt("198.51.100.7", "alice@sender.test", "user@example.org").expect_accepted();
        world.configure("delay = \"1h\"\nauto_after = 1");
        for _ in 0..2 {
            attempt("192.0.2.1", "carol@sender.test", "user@example.org").expect_greylisted();
        }
        attempt("192.0.2.1", "odd*\\{name@odd.test", "root@example.org").expect_greylisted();
        attempt("198.51.100.7", "alice@sender.test", "user@example.org").expect_accepted();
        world.wait_for_log("<= alice@sender.test", 2);
        world.wait_for_log("Completed", 2);
        // SAFETY: no memory is passed; the child has not been waited for, so the number is still its.
        unsafe { libc::kill(watching.id() as libc::pid_t, libc::SIGINT) };
        let watched = watching.wait_with_output().unwrap();
        let out = String::from_utf8(watched.stdout).unwrap();
        tour.compare("watch", "watch", Done { code: watched.status.code(), out, err: String::new() });

        fs::write(world.path("postgrey_clients"), "# tour\nmx.partner.test\n/^mail\\d/\n203.0.113\n")
            .unwrap();
        // As `db_dump -p` writes it.
        let dump = "VERSION=3\nformat=print\ntype=btree\nHEADER=END\n \
                    203.0.113.0/dave@partner.test/user@example.org\n 4000000000,4000000900\nDATA=END\n";
        fs::write(world.path("postgrey.dump"), dump).unwrap();
        let schemas = schema::all();
        for (name, line) in STEPS {
            // First, because the step may change what there is to see.
            // The doctor takes long, and its JSON is compared elsewhere.
            if *name != "doctor" && schemas.iter().any(|schema| schema == name) {
                let json = tour.run(&format!("{line} --json"));
                assert!(schema::check(name, &json.out) > 0, "{line} --json: {json}");
            }
            tour.compare(name, line, tour.run(line));
        }
        tour.misses_nothing();
    });
}

/// The word in the file `state` that the command sets while somebody watches.
fn is_watched(world: &World) -> bool {
    let state = fs::read(world.store().join("state")).unwrap_or_default();
    state.get(4080..4088).is_some_and(|word| word != [0; 8])
}

struct Tour<'w> {
    world: &'w World,
    command: PathBuf,
}

impl Tour<'_> {
    fn command(&self, line: &str) -> Command {
        let directory = self.world.path("").display().to_string();
        let line = line.replace("DIR", directory.trim_end_matches('/'));
        let mut command = Command::new(&self.command);
        command.args(line.split(' ')).current_dir("/").env("LC_ALL", "C.UTF-8");
        // Where a configuration file is named, Exim is not asked.
        if !line.starts_with("explain") {
            command.arg("--config").arg(self.world.path("eximgrey.toml"));
        }
        command
    }

    fn run(&self, line: &str) -> Done {
        done(&mut self.command(line))
    }

    /// Compares what a step did with its file.
    fn compare(&self, name: &str, line: &str, step: Done) {
        let mut text = format!("$ eximgrey {line}\n{}", step.out);
        for line in step.err.lines() {
            text += &format!("(error) {line}\n");
        }
        text += &format!("exit status {}\n", step.code.unwrap());
        let text = self.without_what_changes(&text);
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/tour/{name}.txt"));
        if std::env::var_os("EXIMGREY_WRITE_TOUR").is_some() {
            return fs::write(file, text).unwrap();
        }
        let expected = fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        // What is said of Exim is that of Debian 12's.
        let of_exim = ["doctor", "exim", "explain"].iter().any(|about| line.starts_with(about));
        if !of_exim || exim_is_at_least(96) && !exim_is_at_least(97) {
            assert!(
                text == expected,
                "eximgrey {line}:\n{text}\nexpected, by {}:\n{expected}",
                file.display()
            );
        }
    }

    fn without_what_changes(&self, text: &str) -> String {
        let directory = self.world.path("").display().to_string();
        let mut text = text.replace(directory.trim_end_matches('/'), "DIR");
        for (changing, stands) in CHANGING {
            text = Regex::new(changing).unwrap().replace_all(&text, *stands).into_owned();
        }
        text
    }

    /// Fails where the command has a subcommand that no step takes.
    fn misses_nothing(&self) {
        let mut there = BTreeSet::new();
        self.subcommands("", &mut there);
        let steps = STEPS.iter().map(|(_, line)| *line).chain(ON_THE_WAY.iter().copied());
        let taken: Vec<_> = steps.map(|line| format!("{line} ")).collect();
        there.retain(|name| !taken.iter().any(|line| line.starts_with(&format!("{name} "))));
        assert!(there.is_empty(), "no step of the tour for {there:?}: add it to STEPS");
    }

    /// All below `name` that have none below them, as the help lists them.
    fn subcommands(&self, name: &str, found: &mut BTreeSet<String>) {
        let mut command = Command::new(&self.command);
        let help = done(command.args(name.split_whitespace()).arg("--help")).out;
        let Some((_, listed)) = help.split_once("\nCommands:\n") else {
            found.insert(name.trim().to_owned());
            return;
        };
        let names =
            listed.lines().take_while(|line| !line.is_empty()).filter(|line| !line.starts_with("   "));
        let names = names.filter_map(|line| line.split_whitespace().next()).filter(|below| *below != "help");
        names.for_each(|below| self.subcommands(&format!("{name} {below}"), found));
    }
}
