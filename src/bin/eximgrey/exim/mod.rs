//! `eximgrey exim`: greylisting switched on and off in Exim's configuration.
//!
//! What is put in place has been tried before, as a whole, by Exim itself; what does not work then is undone.
//! The order is such that mail flows at every step: first the sources, which nothing reads until the
//! configuration is made from them, then the configuration, then the running daemon. The
//! administrator's own files are never changed: the lines to insert are shown.

mod acl;
pub(super) mod bad_recipients;
mod change;
pub(super) mod daemon;
mod debian;
mod files;
pub(super) mod fragments;
mod lock;
mod mode;
pub(super) mod others;
mod own;
pub(super) mod reach;
mod refused;
pub(super) mod session;
mod source;
mod sources;
pub(super) mod status;
mod trial;

use crate::command::{self, Failure, Outcome, Result};
use change::Change;
use clap::{Args, Subcommand};
use daemon::{Calls, Exim};
use debian::Layout;
use eximgrey::rules::Mode;
use eximgrey::store::sys;
use fragments::Fragments;
use lock::Lock;
use mode::ModeChange;
use reach::Reach;
use session::TEST_CLIENT;
use source::Source;
use std::io::Write;
use std::path::{Path, PathBuf};
use trial::Trial;

/// Switch greylisting on and off in Exim's configuration.
#[derive(Args)]
pub(super) struct EximCommand {
    #[command(subcommand)]
    action: Action,
}

const EXAMPLES: &str = "\
Examples:
  eximgrey exim enable --observe     # nobody waits yet; eximgrey watch shows what would be
  eximgrey exim enable --enforce     # later: now new senders wait";

#[derive(Subcommand)]
enum Action {
    /// Switch greylisting on: on Debian by a drop-in; elsewhere the lines to insert are shown
    ///
    /// The new configuration is tried before it is put in place, and undone if it does not work.
    /// Exit status 1: greylisting is not enabled, and it is said why.
    #[command(after_help = EXAMPLES)]
    Enable {
        /// Defer nothing yet, only say in the log what would be: sets mode = "observe" in the configuration
        /// file
        #[arg(long)]
        observe: bool,
        /// Defer: sets mode = "enforce" in the configuration file, where it says another
        #[arg(long, conflicts_with = "observe")]
        enforce: bool,
    },
    /// Switch greylisting off
    Disable,
    /// Say whether greylisting is switched on and works
    Status(status::Status),
}

pub(super) fn run(command: &EximCommand, config: Option<&Path>, out: &mut impl Write) -> Result {
    if sys::effective_user() != 0 {
        return Err(Failure::Usage(format!(
            "Exim tells its whole configuration to root only, and only root may change it: {}",
            command::AS_ROOT
        )));
    }
    match &command.action {
        Action::Enable { observe, enforce } => {
            let _lock = Lock::take()?;
            let wanted = observe.then_some(Mode::Observe).or(enforce.then_some(Mode::Enforce));
            enable(wanted, config, out)
        }
        Action::Disable => {
            let _lock = Lock::take()?;
            disable(out)
        }
        Action::Status(command) => status::run(command, config, out),
    }
}

/// The Exim of this machine, and the configuration it reads.
fn find() -> Result<(Exim, PathBuf)> {
    let exim = Exim::find(None, None).map_err(Failure::Usage)?;
    let file = exim.option("configure_file").map(PathBuf::from);
    let file = file.ok_or_else(|| Failure::Usage("Exim does not say which configuration it reads".into()))?;
    Ok((exim, file))
}

fn whole_configuration(exim: &Exim) -> Result<String> {
    exim.whole_configuration().map_err(|error| Failure::Usage(format!("Exim's configuration: {error}")))
}

fn enable(wanted: Option<Mode>, config: Option<&Path>, out: &mut impl Write) -> Result {
    let (exim, file) = find()?;
    let mode = ModeChange::plan(config, wanted)?;
    if !exim.dlfunc {
        writeln!(
            out,
            "not enabled: {} was built without dlfunc ({}); on Debian install exim4-daemon-heavy",
            exim.binary.display(),
            exim.version
        )?;
        return Ok(Outcome::Negative);
    }
    // Before anything is deferred.
    if let Err(why) = mode.carry_out(out) {
        writeln!(out, "not enabled: {why}\nnothing was changed")?;
        return Ok(Outcome::Negative);
    }
    let outcome = match Layout::of(&file) {
        Some(layout) => match Change::of(&exim, layout, out).enable(wanted) {
            Ok(()) => Outcome::Done,
            Err(why) => {
                writeln!(out, "not enabled: {why}")?;
                mode.undo(out)?;
                return Ok(Outcome::Negative);
            }
        },
        None => show_lines(&exim, &file, out)?,
    };
    let in_force = answer(&exim, &exim, None).map(|words| mode::of_answer(&words)).ok();
    if let Some(wanted) = wanted.filter(|wanted| in_force.is_some_and(|mode| mode != *wanted)) {
        let wanted = wanted.word();
        writeln!(out, "its mode is not {wanted}: EXIMGREY_OPTIONS names another mode or file")?;
        mode.undo(out)?;
        return Ok(Outcome::Negative);
    }
    let in_force = in_force.unwrap_or(mode.mode);
    if outcome == Outcome::Done || in_force != Mode::Enforce {
        mode.say(in_force, out)?;
    }
    for other in others::at_work(&exim, &whole_configuration(&exim)?) {
        out.write_all(other.warning().as_bytes())?;
    }
    Ok(outcome)
}

/// Shows the lines that the administrator has to insert.
fn show_lines(exim: &Exim, file: &Path, out: &mut impl Write) -> Result {
    let whole = whole_configuration(exim)?;
    let calls = exim.calls(&whole);
    if let Some(clash) = fragments::clash(&whole) {
        writeln!(out, "not enabled: {clash}")?;
        return Ok(Outcome::Negative);
    }
    let source = exim.source(&whole);
    let refusals = exim.refusals_of_deferred(&whole);
    if calls.rcpt {
        let reach = Reach::of_source(exim, &source);
        match &reach {
            Reach::Not(why) => writeln!(out, "not enabled: {why}")?,
            Reach::Asked(recipient) => writeln!(
                out,
                "already enabled: the RCPT ACL of {} greylists (tried with {recipient})",
                file.display()
            )?,
            Reach::Unknown(why) => {
                writeln!(out, "already enabled: the RCPT ACL of {} greylists; {why}", file.display())?
            }
        }
        show_refusals(exim, &refusals, &source, out)?;
        if !calls.data {
            writeln!(out, "\nbounces are not greylisted. Insert these lines, in this order:")?;
            show_missing(exim, &source, calls, file, out)?;
        }
        let good = refusals.is_empty() && !matches!(reach, Reach::Not(_));
        return Ok(if good { Outcome::Done } else { Outcome::Negative });
    }
    writeln!(out, "not enabled: {} is yours. Insert these lines, in this order:", file.display())?;
    show_refusals(exim, &refusals, &source, out)?;
    show_missing(exim, &source, calls, file, out)?;
    let binary = exim.binary.display();
    writeln!(out, "\nThen: {binary} -bV, reload Exim, eximgrey exim status")?;
    Ok(Outcome::Negative)
}

fn show_missing(exim: &Exim, source: &Source, calls: Calls, file: &Path, out: &mut impl Write) -> Result<()> {
    let trial = Trial::of(exim, source);
    for insertion in own::missing(exim, source, calls, &trial, &Fragments::installed()) {
        writeln!(out, "\n{}", insertion.shown(file))?;
    }
    Ok(())
}

/// Shows the lines by which greylisted recipients are refused for good, mended.
fn show_refusals(exim: &Exim, refusals: &[String], source: &Source, out: &mut impl Write) -> Result<()> {
    if refusals.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "\nMend a rule of yours: deferred recipients count as bad in it, so that the eleventh of a new sender gets a 550, \
         and his mail bounces."
    )?;
    let lines = own::refusing_lines(exim, source);
    for (file, line, text) in &lines {
        writeln!(out, "{}:{line}: in place of this line", file.display())?;
        writeln!(out, "    {}", bad_recipients::mended(text))?;
    }
    for rule in refusals.iter().filter(|_| lines.is_empty()) {
        writeln!(out, "    {}", bad_recipients::mended(rule))?;
    }
    Ok(())
}

fn disable(out: &mut impl Write) -> Result {
    let (exim, file) = find()?;
    let Some(layout) = Layout::of(&file) else {
        let whole = whole_configuration(&exim)?;
        if exim.calls(&whole) == Calls::default() {
            writeln!(out, "already disabled: no ACL of {} greylists", file.display())?;
            return Ok(Outcome::Done);
        }
        writeln!(out, "not disabled: {} is yours. Remove these lines, and reload Exim:", file.display())?;
        for (file, line, text) in own::ours(&exim.source(&whole)) {
            writeln!(out, "{}:{line}:{text}", file.display())?;
        }
        return Ok(Outcome::Negative);
    };
    match Change::of(&exim, layout, out).disable() {
        Ok(()) => Ok(Outcome::Done),
        Err(why) => {
            writeln!(out, "not disabled: {why}")?;
            Ok(Outcome::Negative)
        }
    }
}

/// The option that preloads the library: Exim's daemon expands it at each connection.
pub(super) const LIMIT: &str = "smtp_accept_max_per_host";

/// What to do where it is set besides.
pub(super) const LIMIT_HINT: &str =
    "the fragments set that option: set EXIMGREY_PRELOAD to its value, and remove your own line";

/// Why a change was not made, in words for the administrator.
type Refusal<T = ()> = std::result::Result<T, String>;

/// The library, the identities and the options that a configuration's calls have, as its macros say.
pub(super) fn macros(exim: &Exim) -> [String; 3] {
    let names = ["EXIMGREY_SO", "EXIMGREY_IDENTITIES", "EXIMGREY_OPTIONS"];
    names.map(|name| exim.macro_value(name).unwrap_or_default())
}

/// The call that asks the library about a mail that was never seen, and records nothing.
pub(super) fn question(library: &str, identities: &str, options: &str) -> String {
    format!(
        "${{dlfunc{{{library}}}{{greylist_peek}}{{{TEST_CLIENT}}}{{test@eximgrey.invalid}}\
         {{test@eximgrey.invalid}}{identities}{options}}}"
    )
}

/// Whether `eximgrey exim enable` can change this Exim's configuration, or only shows lines.
pub(super) fn can_enable(exim: &Exim) -> bool {
    let file = exim.option("configure_file");
    exim.config.is_none() && exim.dlfunc && file.is_some_and(|file| Layout::of(Path::new(&file)).is_some())
}

/// What the library answers Exim about a mail that was never seen, with the macros of the configuration of
/// `trial`: a mistake in them would be a 451 for everybody, and `-bV` does not notice it. An answer in another
/// mode than the one that is `wanted` is an error too.
fn answer(exim: &Exim, trial: &Exim, wanted: Option<Mode>) -> Refusal<String> {
    let [library, identities, options] = macros(trial);
    if !Path::new(&library).exists() {
        return Err(format!("there is no library {library} (EXIMGREY_SO)"));
    }
    let answer = exim.expand_as_its_user(&question(&library, &identities, &options));
    let answer = answer.map_err(|error| format!("Exim cannot ask the library: {error}"))?;
    if !answer.starts_with("action=") || answer.contains(" error=") {
        return Err(format!("the library answers {answer}; eximgrey doctor says more"));
    }
    if let Some(mode) = wanted.filter(|mode| *mode != mode::of_answer(&answer)) {
        return Err(format!(
            "the library answers {answer}, so its mode is not {}: EXIMGREY_OPTIONS names another mode or file",
            mode.word()
        ));
    }
    Ok(answer)
}
