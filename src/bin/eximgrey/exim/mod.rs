//! `eximgrey exim`: greylisting switched on and off in Exim's configuration.
//!
//! What is put in place has been tried before, as a whole, by Exim itself; what does not work then is undone. The order is
//! such that mail flows at every step: first the sources, which nothing reads until the configuration is made from them,
//! then the configuration, then the running daemon. Files of the administrator's own are never changed: he is shown the
//! lines.

pub(super) mod bad_recipients;
pub(super) mod daemon;
mod debian;
mod files;
mod fragments;
mod mode;
mod own;
pub(super) mod status;

use crate::command::{Failure, Outcome, Result};
use clap::{Args, Subcommand};
use daemon::{Calls, Exim, TEST_CLIENT};
use debian::Layout;
use eximgrey::store::sys;
use files::{Saved, Scratch};
use fragments::Fragments;
use mode::ModeChange;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Switches greylisting on and off in Exim's configuration.
#[derive(Args)]
pub(super) struct EximCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Switch greylisting on: on Debian by a drop-in; elsewhere the lines to insert are shown
    ///
    /// The new configuration is tried before it is put in place, and undone if it does not work.
    /// Exit status 1: greylisting is not enabled, and it is said why.
    Enable {
        /// Defer nothing yet, only say in the log what would be: sets mode = "observe" in the configuration file
        #[arg(long)]
        observe: bool,
    },
    /// Switch greylisting off
    Disable,
    /// Say whether greylisting is switched on and works
    Status(status::Status),
}

pub(super) fn run(command: &EximCommand, config: Option<&Path>, out: &mut impl Write) -> Result {
    if sys::effective_user() != 0 {
        return Err(Failure::Usage(
            "only root may see and change Exim's whole configuration: use sudo".into(),
        ));
    }
    match &command.action {
        Action::Enable { observe } => enable(*observe, config, out),
        Action::Disable => disable(out),
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

fn enable(observe: bool, config: Option<&Path>, out: &mut impl Write) -> Result {
    let (exim, file) = find()?;
    let mode = ModeChange::plan(config, observe)?;
    if !exim.dlfunc {
        writeln!(
            out,
            "not enabled: {} was built without dlfunc ({}); on Debian install exim4-daemon-heavy",
            exim.binary.display(),
            exim.version
        )?;
        return Ok(Outcome::NotSo);
    }
    // Before anything is deferred.
    mode.carry_out(out)?;
    let outcome = match Layout::of(&file) {
        Some(layout) => {
            let mut change = Change { exim: &exim, layout, undo: Vec::new(), out };
            match change.enable(observe) {
                Ok(()) => Outcome::Done,
                Err(why) => {
                    writeln!(out, "not enabled: {why}")?;
                    mode.undo(out)?;
                    return Ok(Outcome::NotSo);
                }
            }
        }
        None => show_lines(&exim, &file, out)?,
    };
    mode.say_how_to_go_on(out)?;
    Ok(outcome)
}

/// Shows what the administrator has to insert into his own configuration.
fn show_lines(exim: &Exim, file: &Path, out: &mut impl Write) -> Result {
    let whole = whole_configuration(exim)?;
    let calls = exim.calls(&whole);
    let refusals = exim.refusals_of_deferred(&whole);
    if calls.rcpt {
        writeln!(out, "already enabled: the RCPT ACL of {} greylists", file.display())?;
        show_refusals(exim, &refusals, file, out)?;
        return Ok(if refusals.is_empty() { Outcome::Done } else { Outcome::NotSo });
    }
    writeln!(out, "not enabled: {} is yours. Insert these lines, in this order:", file.display())?;
    show_refusals(exim, &refusals, file, out)?;
    for insertion in own::missing(exim, file, &whole, calls, &Fragments::installed()) {
        writeln!(out)?;
        match insertion.before {
            Some((file, line)) => {
                writeln!(out, "{}:{line}: before this line, {}", file.display(), insertion.place)?;
            }
            None => writeln!(out, "{}: {}", file.display(), insertion.place)?,
        }
        for line in insertion.lines {
            writeln!(out, "    {line}")?;
        }
    }
    let binary = exim.binary.display();
    writeln!(out, "\nThen: {binary} -bV, reload Exim, eximgrey exim status")?;
    Ok(Outcome::NotSo)
}

/// Shows the lines by which greylisted recipients are refused for good, mended.
fn show_refusals(exim: &Exim, refusals: &[String], file: &Path, out: &mut impl Write) -> Result<()> {
    if refusals.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "\nMend a rule of yours: deferred recipients count as bad in it, so that the eleventh of a new sender gets a 550, \
         and his mail bounces."
    )?;
    let lines = own::refusing_lines(file, &exim.option("acl_smtp_rcpt").unwrap_or_default());
    for (file, line, text) in &lines {
        writeln!(out, "{}:{line}: in place of this line", file.display())?;
        writeln!(out, "    {}", bad_recipients::mended(text))?;
    }
    if lines.is_empty() {
        for rule in refusals {
            writeln!(out, "    {}", bad_recipients::mended(rule))?;
        }
    }
    Ok(())
}

fn disable(out: &mut impl Write) -> Result {
    let (exim, file) = find()?;
    let Some(layout) = Layout::of(&file) else {
        if exim.calls(&whole_configuration(&exim)?) == Calls::default() {
            writeln!(out, "already disabled: no ACL of {} greylists", file.display())?;
            return Ok(Outcome::Done);
        }
        writeln!(out, "not disabled: {} is yours. Remove these lines, and reload Exim:", file.display())?;
        for (file, line, text) in own::includes(&file) {
            writeln!(out, "{}:{line}:{text}", file.display())?;
        }
        return Ok(Outcome::NotSo);
    };
    let mut change = Change { exim: &exim, layout, undo: Vec::new(), out };
    match change.disable() {
        Ok(()) => Ok(Outcome::Done),
        Err(why) => {
            writeln!(out, "not disabled: {why}")?;
            Ok(Outcome::NotSo)
        }
    }
}

/// A change of Debian's configuration.
struct Change<'a, W> {
    exim: &'a Exim,
    layout: Layout,
    /// What was there before.
    undo: Vec<Saved>,
    out: &'a mut W,
}

/// The option that preloads the library: Exim's daemon expands it at each connection.
pub(super) const LIMIT: &str = "smtp_accept_max_per_host";

/// What to do where it is set besides.
pub(super) const LIMIT_HINT: &str =
    "the fragments set that option: set EXIMGREY_PRELOAD to its value, and remove your own line";

/// Why a change was not made, in words for the administrator.
type Refusal<T = ()> = std::result::Result<T, String>;

impl<W: Write> Change<'_, W> {
    fn enable(&mut self, observe: bool) -> Refusal {
        let own_limit = self.exim.option(LIMIT).filter(|value| !value.contains("{greylist_preload}"));
        let fragments = match own_limit {
            Some(_) => Fragments::installed().without_preload(),
            None => Fragments::installed(),
        };
        let file = self.layout.file();
        let saved = note(&file)?;
        let scratch = self.scratch()?;
        let now = self.exim.calls(&self.exim.whole_configuration()?);

        // Somebody may have put the lines there by hand.
        let mut candidate = self.layout.try_out(saved.bytes(), &scratch)?;
        let mut new = saved.bytes().map(<[u8]>::to_vec);
        if !self.tried(&candidate)?.1.rcpt {
            new = Some(self.layout.with_ours(&fragments, saved.bytes()));
            candidate = self.layout.try_out(new.as_deref(), &scratch)?;
        }
        let changed = new.as_deref() != saved.bytes();
        if !changed && now.rcpt {
            answer(self.exim, self.exim, observe)
                .and_then(|_| no_refusals(self.exim))
                .map_err(|why| format!("the lines are in place, but {why}"))?;
            return self.say(&format!("already enabled: {}", file.display()));
        }
        let (trial, calls) = self.tried(&candidate)?;
        self.hooks_are_ours(&trial, calls)?;
        preload_works(self.exim, &trial)?;
        let words = answer(self.exim, &trial, observe)?;
        self.say(&format!("tried: Exim accepts the new configuration; the library answers it {words}"))?;
        self.session_goes_well(&trial, &scratch)?;
        if let Some(limit) = own_limit {
            self.say(&format!(
                "not preloaded: {LIMIT} = {limit} is yours. To load the library once for all connections, put \
                 EXIMGREY_PRELOAD = {limit} in its place"
            ))?;
        }
        self.put_in_place(saved, new.as_deref(), &candidate)?;
        if let Err(why) = answer(self.exim, self.exim, observe) {
            return Err(self.undone(why));
        }
        self.reload()?;
        self.say("enabled")
    }

    fn disable(&mut self) -> Refusal {
        let file = self.layout.file();
        let saved = note(&file)?;
        let scratch = self.scratch()?;
        let new = self.layout.without_ours(saved.bytes());
        let candidate = self.layout.try_out(new.as_deref(), &scratch)?;
        let (trial, calls) = self.tried(&candidate)?;
        if calls != Calls::default() {
            return Err(
                "lines of your own greylist as well; find them with: grep -r eximgrey /etc/exim4".into()
            );
        }
        let now = self.exim.calls(&self.exim.whole_configuration()?);
        if new.as_deref() == saved.bytes() && now == Calls::default() {
            return self.say("already disabled");
        }
        self.say("tried: Exim accepts the configuration without greylisting")?;
        self.session_goes_well(&trial, &scratch)?;
        self.put_in_place(saved, new.as_deref(), &candidate)?;
        self.reload()?;
        self.say("disabled")
    }

    fn say(&mut self, line: &str) -> Refusal {
        writeln!(self.out, "{line}").map_err(|error| error.to_string())
    }

    fn scratch(&self) -> Refusal<Scratch> {
        let group = self.exim.ids().map(|(_, group)| group);
        Scratch::new("trial", group).map_err(|error| format!("/run: {error}"))
    }

    /// Exim with the configuration `candidate`, and which of its ACLs greylist.
    fn tried(&self, candidate: &Path) -> Refusal<(Exim, Calls)> {
        let trial = self.exim.on(candidate);
        trial.ask(&["-bV"]).map_err(|error| {
            let hint = if error.contains(LIMIT) { LIMIT_HINT } else { "" };
            format!("Exim refuses the configuration: {error}\n{hint}")
        })?;
        let whole = trial.whole_configuration()?;
        // From 4.100 on Exim takes the last one without a word.
        if daemon::times_set(&whole, LIMIT) > 1 {
            return Err(format!("{LIMIT} is set twice: {LIMIT_HINT}"));
        }
        let calls = trial.calls(&whole);
        Ok((trial, calls))
    }

    /// Debian's hooks name one file each: where the administrator uses one, he has to include the fragment.
    fn hooks_are_ours(&mut self, trial: &Exim, calls: Calls) -> Refusal {
        for (hook, name, called) in [
            ("CHECK_RCPT_LOCAL_ACL_FILE", "rcpt.conf", calls.rcpt),
            ("CHECK_DATA_LOCAL_ACL_FILE", "data.conf", calls.data),
        ] {
            if called {
                continue;
            }
            let directory = trial.macro_value("EXIMGREY_DIR").unwrap_or_default();
            let Some(file) = trial.macro_value(hook).filter(|file| !file.starts_with(&directory)) else {
                return Err(format!("{hook} does not lead to {name}; is {directory} there?"));
            };
            let lines = format!(
                "{hook} is yours. Add to {file}:\n    \
                 .ifdef EXIMGREY_DIR\n    .include_if_exists EXIMGREY_DIR/{name}\n    .endif"
            );
            if name == "rcpt.conf" {
                return Err(format!("{lines}\nand run this again"));
            }
            self.say(&format!("bounces are not greylisted: {lines}"))?;
        }
        Ok(())
    }

    /// Compares the answers of a session that is not for real, before and after.
    fn session_goes_well(&mut self, trial: &Exim, scratch: &Scratch) -> Refusal {
        let before = self.exim.answers_to_recipients(scratch.path());
        let after = trial.answers_to_recipients(scratch.path());
        let (Some(before), Some(after)) = (before, after) else {
            return self.say(&format!("not tried: a session (exim -bh {TEST_CLIENT}) had no answer in time"));
        };
        let answers = after.iter().map(String::as_str).chain(std::iter::repeat("nothing"));
        for (number, (before, after)) in (1..).zip(before.iter().zip(answers)) {
            if after != before && !after.starts_with(['2', '3']) && !after.starts_with("451 4.7.1 ") {
                no_refusals(trial)?;
                return Err(format!(
                    "recipient {number} of a trial session (exim -bh {TEST_CLIENT}) was answered \"{before}\", and \
                     would be answered \"{after}\""
                ));
            }
        }
        let (first, count) = (after.first().map_or("", String::as_str), after.len());
        self.say(&format!(
            "tried: in a session that is not for real each of {count} recipients gets \"{first}\""
        ))
    }

    /// Changes the source, has the configuration made, and sees to it that it is the one that was tried.
    fn put_in_place(&mut self, saved: Saved, new: Option<&[u8]>, candidate: &Path) -> Refusal {
        let generated = note(Path::new(debian::GENERATED))?;
        let file = self.layout.file();
        let changed = new != saved.bytes();
        if changed {
            let copy =
                saved.back_up().map_err(|error| format!("no backup of {}: {error}", file.display()))?;
            if let Some(copy) = copy {
                self.say(&format!("backup: {}", copy.display()))?;
            }
            let made = saved.change(new);
            self.undo = vec![saved];
            if let Err(error) = made {
                return Err(self.undone(format!("{}: {error}", file.display())));
            }
            let verb = if new.is_some() { "wrote" } else { "removed" };
            self.say(&format!("{verb}: {}", file.display()))?;
        }
        self.undo.push(generated);
        if let Err(error) = debian::generate() {
            return Err(self.undone(format!("update-exim4.conf: {error}")));
        }
        let live = Path::new(debian::GENERATED);
        if !debian::same(live, candidate) {
            return Err(self.undone(format!("{} is not what was tried", live.display())));
        }
        self.say(&format!("made: {} (update-exim4.conf)", live.display()))
    }

    /// Puts back what was there; the reason for it, with what became of it.
    fn undone(&mut self, why: String) -> String {
        let restored: Vec<_> = self.undo.drain(..).rev().filter_map(|saved| saved.restore().err()).collect();
        match restored.first() {
            None => why + "\nundone: all files are as they were",
            Some(error) => format!("{why}\nNOT UNDONE: {error}; see /var/backups/eximgrey"),
        }
    }

    /// Has a running daemon read its configuration again.
    fn reload(&mut self) -> Refusal {
        let Some(pid) = self.exim.daemon() else {
            return self.say("not reloaded: no running Exim was found; if there is one, reload it");
        };
        let reload = ["--disclose-deny", "exim4", "reload"];
        let line = match daemon::printed(Command::new("/usr/sbin/invoke-rc.d").args(reload)) {
            Ok(_) => format!("reloaded: Exim, process {pid} (invoke-rc.d exim4 reload)"),
            Err(error) => format!(
                "NOT reloaded: {} (invoke-rc.d exim4 reload); reload Exim yourself, process {pid}",
                daemon::one_line(&error)
            ),
        };
        self.say(&line)
    }
}

fn note(file: &Path) -> Refusal<Saved> {
    Saved::of(file).map_err(|error| format!("{}: {error}", file.display()))
}

/// What the library answers Exim about a mail that was never seen, with the macros of the configuration of `trial`: a
/// mistake in them would be a 451 for everybody, and `-bV` does not notice it.
fn answer(exim: &Exim, trial: &Exim, observe: bool) -> Refusal<String> {
    let macros = ["EXIMGREY_SO", "EXIMGREY_IDENTITIES", "EXIMGREY_OPTIONS"];
    let [library, identities, options] = macros.map(|name| trial.macro_value(name).unwrap_or_default());
    if !Path::new(&library).exists() {
        return Err(format!("there is no library {library} (EXIMGREY_SO)"));
    }
    let call = format!(
        "${{dlfunc{{{library}}}{{greylist_peek}}{{{TEST_CLIENT}}}{{test@eximgrey.invalid}}\
         {{test@eximgrey.invalid}}{identities}{options}}}"
    );
    let answer = exim.expand_as_its_user(&call);
    let answer = answer.map_err(|error| format!("Exim cannot ask the library: {error}"))?;
    if !answer.starts_with("action=") || answer.contains(" error=") {
        return Err(format!("the library answers {answer}; eximgrey doctor says more"));
    }
    if observe && !answer.contains(" would=") {
        return Err(format!(
            "the library answers {answer}, and does not observe: EXIMGREY_OPTIONS names another mode or file"
        ));
    }
    Ok(answer)
}

/// A rule of the administrator's must not refuse for good whom greylisting has deferred.
fn no_refusals(exim: &Exim) -> Refusal {
    let refusals = exim.refusals_of_deferred(&exim.whole_configuration()?);
    refusals.first().map_or(Ok(()), |rule| {
        Err(format!(
            "recipients that are deferred count as bad in a rule of yours, and the eleventh of a new sender would get a \
             550:\n    {rule}\nMended:\n    {}",
            bad_recipients::mended(rule)
        ))
    })
}

/// The daemon expands this option for each connection; where that fails, nobody can connect.
fn preload_works(exim: &Exim, trial: &Exim) -> Refusal {
    let Some(value) = trial.option(LIMIT).filter(|value| value.contains("{greylist_preload}")) else {
        return Ok(());
    };
    let limit = exim.expand_as_its_user(&value).map_err(|error| format!("{LIMIT}: {error}"))?;
    if limit.parse::<u32>().is_ok() {
        return Ok(());
    }
    Err(format!("{LIMIT}: EXIMGREY_PRELOAD gives {limit:?}, which is no number"))
}
