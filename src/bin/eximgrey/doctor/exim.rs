//! What the doctor asks Exim: what it was built with, whether its configuration calls us, whether it can load
//! the library.

use super::{Doctor, Findings, Health};
use crate::exim::daemon::{Exim, one_line, times_set};
use crate::exim::reach::Reach;
use crate::exim::{LIMIT, LIMIT_HINT, bad_recipients, fragments, status};
use std::path::Path;

const LIBRARY: &str = "/usr/lib/exim4/eximgrey.so";

/// Checks Exim and what it has of ours; yields the Exim that was found.
pub(super) fn check(command: &Doctor, findings: &mut Findings) -> Option<Exim> {
    let exim = Exim::find(command.exim.clone(), command.exim_config.clone());
    let exim = exim.map_err(|error| findings.broken("exim", error)).ok();
    if let Some(exim) = &exim {
        let found = format!("{}: {}", exim.binary.display(), exim.version);
        if exim.dlfunc {
            findings.ok("exim", format!("{found}, with dlfunc"));
        } else {
            let hint = "on Debian install exim4-daemon-heavy";
            findings.broken("exim", format!("{found}, built without dlfunc; {hint}"));
        }
        fragment(exim, findings);
    }
    library(command, exim.as_ref(), findings);
    if let Some((Some(pid), status::RELOAD)) = exim.as_ref().map(status::daemon) {
        findings.warning(
            "daemon",
            format!(
                "process {pid} has another library in memory than the one that is installed: reload Exim. (A new library \
                 is put in the place of the old one with mv or install, never with cp, which writes over it)"
            ),
        );
    }
    exim
}

/// Whether Exim's configuration, with its macros and included files, calls us.
fn fragment(exim: &Exim, findings: &mut Findings) {
    let Ok(text) = exim.ask(&["-bP", "config"]) else {
        return findings.warning("fragment", "Exim does not tell its configuration; run doctor as root");
    };
    let calls = |name: &str| text.lines().any(|line| line.contains("${dlfunc") && line.contains(name));
    if !calls("{greylist}") {
        return findings.broken("fragment", "no ACL calls greylist; \"eximgrey exim enable\" mends that");
    }
    findings.ok("fragment", "an ACL of Exim's configuration calls greylist");
    fragments::clash(&text).into_iter().for_each(|clash| findings.broken("macro", clash));
    let reach = Reach::of(exim);
    let health = match reach {
        Reach::Asked(_) => Health::Ok,
        Reach::Not(_) => Health::Broken,
        Reach::Unknown(_) => Health::Warning,
    };
    findings.add("reached", health, one_line(&reach.to_string()));
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
    if times_set(&text, LIMIT) > 1 {
        findings.warning("preload", format!("{LIMIT} is set twice: {LIMIT_HINT}"));
    }
}

/// Whether Exim can load the library, and which version it then has.
fn library(command: &Doctor, exim: Option<&Exim>, findings: &mut Findings) {
    let path = command.library.as_deref().unwrap_or(Path::new(LIBRARY));
    let (shown, own) = (path.display(), env!("CARGO_PKG_VERSION"));
    if !path.exists() {
        return findings.broken("library", format!("{shown} is missing"));
    }
    let Some(exim) = exim.filter(|exim| exim.dlfunc) else {
        return;
    };
    let call = format!("${{dlfunc{{{shown}}}{{greylist_version}}{{$version_number}}}}");
    let answer = exim.ask(&["-be", &call]).unwrap_or_default();
    let answer = answer.trim();
    if answer.starts_with(&format!("version={own} ")) {
        findings.ok("library", format!("{shown}: {answer}"));
    } else if answer.starts_with("version=") {
        findings.warning("library", format!("{shown}: {answer}, but this command is {own}"));
    } else {
        findings.broken("library", format!("Exim cannot load {shown}: try {call} with exim -be"));
    }
    if let Some(generation) = answer.split(' ').find_map(|word| word.strip_prefix("exim=")) {
        interface(generation, findings);
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
