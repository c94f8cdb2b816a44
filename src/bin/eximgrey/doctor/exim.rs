//! What the doctor asks Exim: what it was built with, whether its configuration calls us, whether it can load
//! the library.

use super::eyes::{self, Eyes};
use super::{Doctor, Findings, Health, quoted};
use crate::exim::daemon::{Exim, one_line, times_set};
use crate::exim::reach::Reach;
use crate::exim::{LIMIT, LIMIT_HINT, bad_recipients, can_enable, fragments, others, question, status};
use nix::unistd::AccessFlags;
use std::fs;
use std::path::{Path, PathBuf};

const LIBRARY: &str = "/usr/lib/exim4/eximgrey.so";

/// Checks Exim and its configuration; yields the Exim that was found.
pub(super) fn check(command: &Doctor, findings: &mut Findings) -> Option<Exim> {
    let exim = Exim::find(command.exim.clone(), command.exim_config.clone());
    let exim = exim
        .map_err(|error| match unread(&error) {
            Some((text, command)) => findings.with_command("exim", Health::Broken, text, command),
            None => findings.broken("exim", error),
        })
        .ok()?;
    let found = format!("{}: {}", exim.binary.display(), exim.version);
    if exim.dlfunc {
        findings.ok("exim", format!("{found}, with dlfunc"));
    } else {
        let hint = "on Debian install exim4-daemon-heavy";
        findings.broken("exim", format!("{found}, built without dlfunc; {hint}"));
    }
    fragment(&exim, findings);
    if let (Some(pid), status::RELOAD) = status::daemon(&exim) {
        let text = format!(
            "process {pid} has another library in memory than the one that is installed (a new one is put in the place \
             of the old one with mv or install, never with cp, which writes over it): reload Exim"
        );
        findings.with_command("daemon", Health::Warning, text, format!("kill -HUP {pid}"));
    }
    Some(exim)
}

/// What keeps Exim from a file that its configuration includes, by its complaint: it reads them as its user.
fn unread(complaint: &str) -> Option<(String, String)> {
    let (_, file) = complaint.split_once("included configuration file ")?;
    let (file, letter) = eyes::closed(Path::new(file.split_whitespace().next()?))?;
    let shown = eyes::place(&file, &fs::metadata(&file).ok()?);
    let text = format!("{complaint}; {shown}, and Exim's user may not use it");
    Some((text, format!("chmod a+{letter} {}", quoted(&file))))
}

/// The configuration file that the options of Exim's calls name.
pub(super) fn named_configuration(options: &str) -> Option<PathBuf> {
    options.split(['{', '}']).find_map(|option| option.trim().strip_prefix("config=")).map(PathBuf::from)
}

/// What Exim is asked about the library, as its user.
pub(super) struct Question {
    pub(super) library: PathBuf,
    call: String,
}

impl Question {
    /// As the configuration's own calls ask, by its `macros`; without them, as the fragments would.
    pub(super) fn new(command: &Doctor, macros: &[String; 3], config: Option<&Path>) -> Self {
        let [named, identities, options] = macros;
        let named = if named.is_empty() { LIBRARY } else { named };
        let library = command.library.clone().unwrap_or_else(|| named.into());
        let config = config.filter(|_| named_configuration(options).is_none());
        let config = config.map(|file| format!("{{config={}}}", file.display())).unwrap_or_default();
        let call = question(&library.display().to_string(), identities, &format!("{options}{config}"));
        Self { library, call }
    }
}

/// Whether Exim's configuration, with its macros and included files, calls us.
fn fragment(exim: &Exim, findings: &mut Findings) {
    let Ok(text) = exim.ask(&["-bP", "config"]) else {
        return findings.warning("fragment", "Exim does not tell its configuration; run doctor as root");
    };
    let calls = |name: &str| text.lines().any(|line| line.contains("${dlfunc") && line.contains(name));
    if !calls("{greylist}") {
        let text = "no ACL calls greylist";
        if can_enable(exim) {
            return findings.with_command("fragment", Health::Broken, text, "eximgrey exim enable");
        }
        let hint = "\"eximgrey exim enable\" shows the lines to insert into Exim's configuration, and where";
        return findings.broken("fragment", format!("{text}; {hint}"));
    }
    findings.ok("fragment", "an ACL of Exim's configuration calls greylist");
    fragments::clash(&text).into_iter().for_each(|clash| findings.broken("macro", clash));
    for rule in exim.refusals_of_deferred(&text) {
        let mended = bad_recipients::mended(&rule);
        let text = format!(
            "deferred recipients count as bad in \"{rule}\": the eleventh of a new sender gets a 550"
        );
        findings.broken("recipients", format!("{text}; mended: {mended}"));
    }
    if !calls("{greylist_preload}") {
        let text =
            "greylist_preload is not used: the first decision of each connection takes longer than it need";
        findings.warning("preload", text);
    }
    for other in others::at_work(exim, &text) {
        findings.warning("greylisters", other.line());
    }
    if times_set(&text, LIMIT) > 1 {
        findings.warning("preload", format!("{LIMIT} is set twice: {LIMIT_HINT}"));
    }
}

/// Whether a stranger's mail gets to greylisting, if Exim's configuration calls us at all. Only root can try.
pub(super) fn reach(exim: &Exim) -> Option<Reach> {
    let text = exim.ask(&["-bP", "config"]).ok()?;
    let calls = text.lines().any(|line| line.contains("${dlfunc") && line.contains("{greylist}"));
    calls.then(|| Reach::of(exim))
}

/// Says so. What else is broken may be why it is not known.
pub(super) fn say_reach(reach: &Reach, findings: &mut Findings) {
    let health = match reach {
        Reach::Asked(_) => Health::Ok,
        Reach::Not(_) => Health::Broken,
        Reach::Unknown(_) if findings.broken_count() > 0 => return,
        Reach::Unknown(_) => Health::Warning,
    };
    findings.add("reached", health, one_line(&reach.to_string()));
}

/// Whether Exim can load the library as its user, and which version it then has.
pub(super) fn library(asked: &Question, exim: Option<&Exim>, eyes: &Eyes, findings: &mut Findings) -> bool {
    let (shown, own) = (asked.library.display(), env!("CARGO_PKG_VERSION"));
    // Without Exim it is not known which library its configuration names.
    let Some(exim) = exim else { return false };
    if let Some(obstacle) = eyes::obstacle(&asked.library, AccessFlags::R_OK) {
        if obstacle.is_missing() && !eyes.lack(&asked.library) {
            findings.broken("library", format!("{shown} is missing: install eximgrey again"));
        } else {
            eyes.say("library", &obstacle, findings);
        }
        return false;
    }
    if !exim.dlfunc {
        return false;
    }
    let call = format!("${{dlfunc{{{shown}}}{{greylist_version}}{{$version_number}}}}");
    let answer = match exim.expand_as_we_are(&call) {
        Ok(answer) if answer.starts_with("version=") => answer,
        Ok(error) | Err(error) => {
            let error = one_line(&error);
            findings.broken("library", format!("Exim cannot load {shown} as {}: {error}", eyes.user));
            return false;
        }
    };
    if answer.starts_with(&format!("version={own} ")) {
        findings.ok("library", format!("{shown}: {answer}"));
    } else {
        findings.warning("library", format!("{shown}: {answer}, but this command is {own}"));
    }
    if let Some(generation) = answer.split(' ').find_map(|word| word.strip_prefix("exim=")) {
        interface(generation, findings);
    }
    true
}

/// What the library answers Exim's user about a mail that was never seen, from its configuration and store.
pub(super) fn answer(asked: &Question, exim: &Exim, eyes: &Eyes, findings: &mut Findings) {
    let place = eyes.apart.map(|pid| format!(", with the eyes of process {pid}")).unwrap_or_default();
    let who = format!("as {}{place}", eyes.user);
    let said = exim.expand_as_we_are(&asked.call);
    match said {
        Ok(answer) if answer.starts_with("action=") && !answer.contains(" error=") => {
            findings.ok("answer", format!("{who} the library answers {answer}"));
        }
        Ok(answer) | Err(answer) => {
            let why = if findings.broken_count() > 0 { "; the reason is above" } else { "" };
            findings.broken("answer", format!("{who} the library answers {}{why}", one_line(&answer)));
        }
    }
}

/// Whether the library knows this Exim well enough to call it.
fn interface(generation: &str, findings: &mut Findings) {
    match generation {
        "4.99" => findings.ok("interface", "the library uses Exim's symbols as in 4.92 to 4.99"),
        "4.100" => findings.ok("interface", "the library uses Exim's symbols as in 4.100"),
        _ => findings.warning(
            "interface",
            "the library does not know this Exim and calls nothing of it: mail is greylisted all the same, \
             but details of errors go to syslog (mail), and sessions of exim -bh are recorded",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of an Exim that the library does not know, the doctor says what is different there.
    #[test]
    fn the_doctor_says_whether_the_library_knows_this_exim() {
        for (generation, health) in [
            ("4.99", Health::Ok),
            ("4.100", Health::Ok),
            ("unknown", Health::Warning),
            ("9", Health::Warning),
        ] {
            let mut findings = Findings::default();
            interface(generation, &mut findings);
            assert_eq!(findings.0[0].health, health, "{generation}");
        }
        let mut findings = Findings::default();
        interface("unknown", &mut findings);
        assert!(findings.0[0].text.contains("syslog"));
    }
}
