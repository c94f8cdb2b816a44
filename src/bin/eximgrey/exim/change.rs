//! A change of Debian's configuration: tried as a whole, put in place, and undone if it does not work there.

use super::bad_recipients;
use super::daemon::{self, Calls, Exim};
use super::debian::{self, HOOK, Layout};
use super::files::{Saved, Scratch};
use super::fragments::{self, Fragments};
use super::own;
use super::reach::{Reach, guarded};
use super::session::TEST_CLIENT;
use super::trial::Trial;
use super::{LIMIT, LIMIT_HINT, Refusal, answer, refused};
use eximgrey::rules::Mode;
use std::io::Write;
use std::path::Path;
use std::process::Command;

/// A fault that was there before shall not look like ours.
const AS_IT_STANDS: &str = "the configuration as it stands, without anything new";

pub(super) struct Change<'a, W> {
    exim: &'a Exim,
    layout: Layout,
    /// What was there before.
    undo: Vec<Saved>,
    out: &'a mut W,
}

impl<'a, W: Write> Change<'a, W> {
    pub(super) fn of(exim: &'a Exim, layout: Layout, out: &'a mut W) -> Self {
        Self { exim, layout, undo: Vec::new(), out }
    }

    /// Switches greylisting on, in the mode that is `wanted`. What does not work is undone.
    pub(super) fn enable(&mut self, wanted: Option<Mode>) -> Refusal {
        self.try_to_enable(wanted).map_err(|why| self.undone(why))
    }

    /// Switches greylisting off.
    pub(super) fn disable(&mut self) -> Refusal {
        self.try_to_disable().map_err(|why| self.undone(why))
    }

    fn try_to_enable(&mut self, wanted: Option<Mode>) -> Refusal {
        let own_limit = self.exim.option(LIMIT).filter(|value| !value.contains("{greylist_preload}"));
        let mut fragments = Fragments::installed();
        fragments.preload = own_limit.is_none();
        let file = self.layout.file();
        let saved = note(&file)?;
        let scratch = self.scratch()?;
        let now = self.exim.calls(&self.exim.whole_configuration()?);

        // Somebody may have put the lines there by hand.
        let mut candidate = self.layout.try_out(saved.bytes(), &scratch)?;
        let mut new = saved.bytes().map(<[u8]>::to_vec);
        let (plain, calls) = self.tried(&candidate, AS_IT_STANDS)?;
        fragments::clash(&plain.whole_configuration()?).map_or(Ok(()), Err)?;
        if !calls.rcpt {
            fragments.names = own_template(&plain, &candidate)?;
            new = Some(self.layout.with_ours(&fragments, saved.bytes()));
            candidate = self.layout.try_out(new.as_deref(), &scratch)?;
        }
        let changed = new.as_deref() != saved.bytes();
        if !changed && now.rcpt {
            answer(self.exim, self.exim, wanted)
                .and_then(|_| no_refusals(self.exim))
                .and_then(|()| self.reached(self.exim).map(drop))
                .map_err(|why| format!("the lines are in place, but {why}"))?;
            return self.say(&format!("already enabled: {}", file.display()));
        }
        let (trial, calls) = self.tried(&candidate, "the new configuration")?;
        self.hooks_are_ours(&trial, calls)?;
        preload_works(self.exim, &trial)?;
        let words = answer(self.exim, &trial, wanted)?;
        self.say(&format!("tried: Exim accepts the new configuration; the library answers it {words}"))?;
        let recipient = self.reached(&trial)?;
        self.session_goes_well(&trial, recipient)?;
        if let Some(limit) = own_limit {
            self.say(&format!(
                "not preloaded: {LIMIT} = {limit} is yours. To load the library once for all connections, put \
                 EXIMGREY_PRELOAD = {limit} in its place"
            ))?;
        }
        self.put_in_place(saved, new.as_deref(), &candidate)?;
        answer(self.exim, self.exim, wanted)?;
        self.undo.clear();
        self.reload()?;
        self.say("enabled")
    }

    fn try_to_disable(&mut self) -> Refusal {
        let file = self.layout.file();
        let saved = note(&file)?;
        let scratch = self.scratch()?;
        let new = self.layout.without_ours(saved.bytes());
        let candidate = self.layout.try_out(new.as_deref(), &scratch)?;
        let (trial, calls) = self.tried(&candidate, "the configuration without greylisting")?;
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
        self.session_goes_well(&trial, None)?;
        self.put_in_place(saved, new.as_deref(), &candidate)?;
        self.undo.clear();
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

    /// Exim with the configuration `candidate`, of which `what` tells more, and which of its ACLs greylist.
    fn tried(&self, candidate: &Path, what: &str) -> Refusal<(Exim, Calls)> {
        let trial = self.exim.on(candidate);
        trial.ask(&["-bV"]).map_err(|error| {
            format!("Exim refuses {what}: {}", refused::explained(&error, candidate, self.layout))
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
        if let Some(lines) = own::for_template(trial, calls)? {
            let text = format!("the ACLs are yours, and have no {HOOK}. {lines}");
            return if calls.rcpt {
                self.say(&format!("bounces are not greylisted: {text}"))
            } else {
                Err(text)
            };
        }
        for (hook, name, called) in
            [(HOOK, "rcpt.conf", calls.rcpt), ("CHECK_DATA_LOCAL_ACL_FILE", "data.conf", calls.data)]
        {
            if called {
                continue;
            }
            let directory = trial.macro_value("EXIMGREY_DIR").unwrap_or_default();
            let Some(file) = trial.macro_value(hook).filter(|file| !file.starts_with(&directory)) else {
                return Err(format!("{hook} does not lead to {name}; is {directory} there?"));
            };
            // What it accepts must not be accepted before.
            let before = if name == "rcpt.conf" { own::entrance_of(trial, Path::new(&file))? } else { None };
            let place = match before {
                Some(line) => format!("Insert\n{file}:{line}: before this line"),
                None => format!("Add to {file}:"),
            };
            let lines = format!("{hook} is yours. {place}\n{}", guarded(name));
            if name == "rcpt.conf" {
                return Err(format!("{lines}\nand run this again"));
            }
            self.say(&format!("bounces are not greylisted: {lines}"))?;
        }
        Ok(())
    }

    /// A recipient that greylisting is asked about; where it is not reached, that is the reason to stop.
    fn reached(&mut self, trial: &Exim) -> Refusal<Option<String>> {
        match Reach::of(trial) {
            Reach::Asked(recipient) => Ok(Some(recipient)),
            Reach::Not(why) => Err(why),
            Reach::Unknown(why) => self.say(&why).map(|()| None),
        }
    }

    /// Compares the answers of a session that is not for real, before and after.
    fn session_goes_well(&mut self, trial: &Exim, recipient: Option<String>) -> Refusal {
        let host = self.exim.option("primary_hostname").unwrap_or_default();
        let recipient = recipient.unwrap_or_else(|| format!("root@{host}"));
        let before = self.exim.answers_to_recipients(&recipient);
        let after = trial.answers_to_recipients(&recipient);
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
            made.map_err(|error| format!("{}: {error}", file.display()))?;
            let verb = if new.is_some() { "wrote" } else { "removed" };
            self.say(&format!("{verb}: {}", file.display()))?;
        }
        self.undo.push(generated);
        debian::generate().map_err(|error| format!("update-exim4.conf: {error}"))?;
        let live = Path::new(debian::GENERATED);
        if !debian::same(live, candidate) {
            return Err(format!("{} is not what was tried", live.display()));
        }
        self.say(&format!("made: {} (update-exim4.conf)", live.display()))
    }

    /// Puts back what was there; the reason for it, with what became of it.
    fn undone(&mut self, why: String) -> String {
        let restored: Vec<_> = self.undo.drain(..).rev().map(|saved| saved.restore()).collect();
        let any = restored.iter().any(|changed| matches!(changed, Ok(true)));
        match restored.into_iter().find_map(Result::err) {
            Some(error) => format!("{why}\nNOT UNDONE: {error}; see /var/backups/eximgrey"),
            None if any => why + "\nundone: all files are as they were",
            None => why + "\nExim's configuration was not changed",
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

/// The macros for ACLs that are the administrator's own in a generated configuration; `None` where they are
/// Debian's.
fn own_template(exim: &Exim, generated: &Path) -> Refusal<Option<Vec<String>>> {
    if debian::has_hook(generated) {
        return Ok(None);
    }
    let source = exim.source(&exim.whole_configuration()?);
    Ok(Some(own::names(exim, &source, &Trial::of(exim, &source))))
}

fn note(file: &Path) -> Refusal<Saved> {
    Saved::of(file).map_err(|error| format!("{}: {error}", file.display()))
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
