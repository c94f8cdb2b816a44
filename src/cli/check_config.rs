//! `eximgrey check-config`

use super::{Failure, Outcome, Result};
use clap::Args;
use eximgrey::policy::{Mode, Rules};
use eximgrey::sender::Level;
use eximgrey::settings::{DEFAULT_FILE, Problem, Settings};
use std::io::Write;
use std::path::Path;

/// Reads the configuration file as Exim would, and shows what is in force.
#[derive(Args)]
pub(super) struct CheckConfig {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(command: &CheckConfig, config: Option<&Path>, out: &mut impl Write) -> Result {
    let path = config.unwrap_or_else(|| Path::new(DEFAULT_FILE));
    let loaded = Settings::load(config);
    if command.json {
        let problems: Vec<_> = match &loaded {
            Ok(_) => Vec::new(),
            Err(problems) => problems.iter().map(Problem::to_string).collect(),
        };
        writeln!(
            out,
            "{}",
            serde_json::json!({"file": path.to_string_lossy(), "ok": loaded.is_ok(), "problems": problems})
        )?;
    }
    let settings = match loaded {
        Ok(settings) => settings,
        Err(_) if command.json => return Ok(Outcome::NotSo),
        Err(problems) => {
            out.flush()?;
            super::complain(&Failure::Configuration(problems));
            return Ok(Outcome::NotSo);
        }
    };
    if !command.json {
        show(&settings, path, config.is_some() || path.exists(), out)?;
    }
    Ok(Outcome::Done)
}

fn show(settings: &Settings, path: &Path, there: bool, out: &mut impl Write) -> Result<()> {
    if there {
        writeln!(out, "{}: no problem found. In force:", path.display())?;
    } else {
        writeln!(out, "{}: no such file, and none is needed. In force:", path.display())?;
    }
    let Settings { rules, store, prefixes, policies } = settings;
    show_rules(rules, "", out)?;
    writeln!(out, "store = \"{}\"", store.path.display())?;
    writeln!(out, "ipv4_prefix = {}\nipv6_prefix = {}", prefixes.ipv4, prefixes.ipv6)?;
    writeln!(out, "lock_timeout = \"{}\"\nmax_pending = {}", store.lock_timeout, store.max_pending)?;
    writeln!(out, "privacy = {}", store.privacy)?;
    for (name, changes) in policies {
        writeln!(out, "\n[policy.{name}]")?;
        show_rules(&changes.on(*rules), "", out)?;
    }
    Ok(())
}

fn show_rules(rules: &Rules, indent: &str, out: &mut impl Write) -> Result<()> {
    let mode = match rules.mode {
        Mode::Enforce => "enforce",
        Mode::Observe => "observe",
        Mode::Off => "off",
    };
    let level = match rules.sender_key {
        Level::Full => "full",
        Level::Unwrap => "unwrap",
        Level::Exact => "exact",
    };
    writeln!(
        out,
        "{indent}mode = \"{mode}\"\n{indent}delay = \"{}\"\n{indent}window = \"{}\"",
        rules.delay, rules.window
    )?;
    writeln!(out, "{indent}lifetime = \"{}\"\n{indent}auto_after = {}", rules.lifetime, rules.auto_after)?;
    Ok(writeln!(out, "{indent}sender_key = \"{level}\"")?)
}
