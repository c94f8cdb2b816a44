//! `eximgrey doctor`: the installation, one line a check, and what to do about what is wrong.

mod exim;
mod eyes;
mod log;
mod selinux;
mod store;

use crate::command::{self, Outcome, Result};
use crate::exim::macros;
use crate::terminal;
use clap::Args;
use eximgrey::settings::{DEFAULT_FILE, Problem, Settings};
use eximgrey::words;
use eyes::Eyes;
use nix::unistd::AccessFlags;
use serde_json::json;
use std::io::Write;
use std::path::{Path, PathBuf, absolute};

const EXIT_STATUS: &str = "\
A check is ok, a warning, or BROKEN: then mail passes without greylisting. What mends it stands at \
the end of the line. Exit status 1: something is broken.";

/// Check the installation: Exim, its configuration, the store.
///
/// Run it as root: Exim tells its configuration to root only. All the rest is looked at with the rights of
/// Exim's user.
#[derive(Args)]
#[command(after_help = EXIT_STATUS)]
pub struct Doctor {
    /// The Exim binary [default: exim4 or exim in the usual places]
    #[arg(long, value_name = "FILE")]
    exim: Option<PathBuf>,
    /// The configuration that Exim shall be asked about [default: Exim's own]
    #[arg(long, value_name = "FILE")]
    exim_config: Option<PathBuf>,
    /// The library [default: the one that Exim's configuration names, or /usr/lib/exim4/eximgrey.so]
    #[arg(long, value_name = "FILE")]
    library: Option<PathBuf>,
    /// Make a damaged store anew from what can be read of it; the damaged files are put aside
    #[arg(long, conflicts_with_all = ["exim", "exim_config", "library", "json"])]
    repair: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

words! {
    /// How it is with what was checked.
    Health {
        /// As it should be.
        Ok = "ok",
        /// Works, but somebody should look.
        Warning = "warning",
        /// Does not work; mail passes without greylisting.
        Broken = "BROKEN",
    }
}

struct Check {
    what: &'static str,
    health: Health,
    text: String,
    /// What mends it, to be pasted into root's shell.
    command: Option<String>,
}

#[derive(Default)]
struct Findings(Vec<Check>);

impl Findings {
    fn ok(&mut self, what: &'static str, text: impl Into<String>) {
        self.add(what, Health::Ok, text);
    }

    fn warning(&mut self, what: &'static str, text: impl Into<String>) {
        self.add(what, Health::Warning, text);
    }

    fn broken(&mut self, what: &'static str, text: impl Into<String>) {
        self.add(what, Health::Broken, text);
    }

    fn add(&mut self, what: &'static str, health: Health, text: impl Into<String>) {
        self.0.push(Check { what, health, text: text.into(), command: None });
    }

    /// What is wrong, and the command that mends it.
    fn with_command(
        &mut self,
        what: &'static str,
        health: Health,
        text: impl Into<String>,
        command: impl Into<String>,
    ) {
        self.0.push(Check { what, health, text: text.into(), command: Some(command.into()) });
    }

    /// One directory may keep Exim from several files of ours: that is said once.
    fn said_once(self) -> Vec<Check> {
        let mut said: Vec<Check> = Vec::new();
        for check in self.0 {
            let same = |other: &Check| check.command.is_some() && other.text == check.text;
            if !said.iter().any(same) {
                said.push(check);
            }
        }
        said
    }

    /// How much is broken.
    fn broken_count(&self) -> usize {
        self.0.iter().filter(|check| check.health == Health::Broken).count()
    }
}

pub fn run(command: &Doctor, config: Option<&Path>, out: &mut impl Write) -> Result {
    if command.repair {
        return crate::repair::run(&command::load(config)?, config, out);
    }
    let mut findings = Findings::default();
    look(command, config, &mut findings)?;
    let outcome = if findings.broken_count() > 0 { Outcome::Negative } else { Outcome::Done };
    for Check { what, health, text, command: mends } in findings.said_once() {
        if command.json {
            let mut line = json!({"check": what, "health": health.word(), "text": text});
            if let (Some(mends), Some(line)) = (mends, line.as_object_mut()) {
                line.insert("command".into(), json!(mends));
            }
            writeln!(out, "{line}")?;
        } else {
            let mends = mends.map(|command| format!(": {command}")).unwrap_or_default();
            let paint = match health {
                Health::Ok => terminal::good,
                Health::Warning => terminal::notable,
                Health::Broken => terminal::bad,
            };
            writeln!(out, "{} {what:<14} {text}{mends}", paint(format!("{health:<8}")))?;
        }
    }
    Ok(outcome)
}

/// The checks, in their order: first what only root is told, then what Exim's user finds.
fn look(command: &Doctor, config: Option<&Path>, findings: &mut Findings) -> Result<()> {
    let exim = exim::check(command, findings);
    let reach = exim.as_ref().and_then(exim::reach);
    let macros = exim.as_ref().map(macros).unwrap_or_default();
    // Exim may have the library read another file than this command would.
    let [_, _, options] = &macros;
    let exims = exim::named_configuration(options);
    let named = config.map(Path::to_path_buf).or(exims).map(absolute).transpose()?;
    let question = exim::Question::new(command, &macros, named.as_deref());
    let settings = Settings::load(named.as_deref());
    if let Some(exim) = &exim {
        log::check(exim, findings);
    }
    let place = settings.as_ref().ok().map(|settings| settings.store.path.clone());
    if let Some(place) = &place {
        selinux::check(place, findings);
    }
    let stranger = place.as_deref().and_then(store::stranger);
    // From here on we are not root any more.
    let path = named.as_deref().unwrap_or_else(|| Path::new(DEFAULT_FILE));
    let mut files = vec![path, &question.library];
    files.extend(place.as_deref());
    let eyes = Eyes::open(exim.as_ref(), &files, findings);
    let settings = configuration(path, settings, named.as_deref(), &eyes, findings);
    let loads = exim::library(&question, exim.as_ref(), &eyes, findings);
    if let Some(settings) = &settings {
        store::check(settings, named.as_deref(), stranger.as_deref(), &eyes, findings);
    }
    if let Some(exim) = exim.as_ref().filter(|_| loads) {
        exim::answer(&question, exim, &eyes, findings);
    }
    if let Some(reach) = &reach {
        exim::say_reach(reach, findings);
    }
    Ok(())
}

/// Checks the configuration file with the eyes of Exim's user; where those do not reach it, what root has
/// read of it.
fn configuration(
    path: &Path,
    as_root: std::result::Result<Settings, Vec<Problem>>,
    config: Option<&Path>,
    eyes: &Eyes,
    findings: &mut Findings,
) -> Option<Settings> {
    let obstacle = eyes::obstacle(path, AccessFlags::R_OK);
    if let Some(obstacle) = obstacle.filter(|obstacle| !obstacle.is_missing() || eyes.lack(path)) {
        eyes.say("configuration", &obstacle, findings);
        return as_root.ok();
    }
    match Settings::load(config) {
        Ok(settings) => {
            findings.ok("configuration", command::sound_file(config));
            Some(settings)
        }
        Err(problems) => {
            problems.iter().for_each(|problem| findings.broken("configuration", problem.to_string()));
            None
        }
    }
}

/// A path as a shell takes it for one word.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._+,:@%=-".contains(c);
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}
