//! `eximgrey check-config`

use crate::command::{self, Failure, Outcome, Result};
use crate::output::json;
use clap::Args;
use eximgrey::rules::Rules;
use eximgrey::settings::{DEFAULT_FILE, Problem, Settings};
use serde_json::{Map, json};
use std::io::Write;
use std::path::Path;

/// Check the configuration file, as Exim would read it, and show what is in force.
#[derive(Args)]
pub struct CheckConfig {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn run(command: &CheckConfig, config: Option<&Path>, out: &mut impl Write) -> Result {
    let path = config.unwrap_or_else(|| Path::new(DEFAULT_FILE));
    let settings = match Settings::load(config) {
        Ok(settings) => settings,
        Err(problems) if command.json => {
            let problems: Vec<_> = problems.iter().map(Problem::to_string).collect();
            let value = json!({"file": path.to_string_lossy(), "ok": false, "problems": problems});
            writeln!(out, "{value}")?;
            return Ok(Outcome::Negative);
        }
        Err(problems) => {
            out.flush()?;
            command::complain(&Failure::Configuration(problems));
            return Ok(Outcome::Negative);
        }
    };
    let policies = settings.policies.iter().map(|(name, changes)| {
        let mut rules = changes.on(settings.rules).shown();
        rules.retain(|(key, _)| *key != Rules::AT_TOP);
        (name, rules)
    });
    if command.json {
        let mut in_force: Map<_, _> = settings.shown().into_iter().map(json).collect();
        let object = |rules: Vec<_>| rules.into_iter().map(json).collect::<Map<_, _>>().into();
        let policies: Map<_, _> = policies.map(|(name, rules)| (name.clone(), object(rules))).collect();
        in_force.insert("policy".into(), policies.into());
        let recipients: Map<_, _> = settings
            .recipients
            .iter()
            .map(|(recipient, policy)| (String::from_utf8_lossy(recipient).into_owned(), json!(policy)))
            .collect();
        in_force.insert("recipients".into(), recipients.into());
        let value = json!({
            "file": path.to_string_lossy(), "exists": path.exists(), "ok": true, "problems": [], "in_force": in_force
        });
        writeln!(out, "{value}")?;
        return Ok(Outcome::Done);
    }
    writeln!(out, "{}. In force:", command::sound_file(config))?;
    for (key, value) in settings.shown() {
        writeln!(out, "{key} = {value}")?;
    }
    for (name, rules) in policies {
        writeln!(out, "\n[policy.{name}]")?;
        for (key, value) in rules {
            writeln!(out, "{key} = {value}")?;
        }
    }
    if !settings.recipients.is_empty() {
        writeln!(out, "\n[recipients]")?;
    }
    for (recipient, policy) in &settings.recipients {
        writeln!(out, "{} = {}", json!(String::from_utf8_lossy(recipient)), json!(policy))?;
    }
    Ok(Outcome::Done)
}
