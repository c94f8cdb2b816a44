//! `eximgrey check-config`

use crate::command::{self, Failure, Outcome, Result};
use clap::Args;
use eximgrey::policy::Rules;
use eximgrey::settings::{DEFAULT_FILE, Problem, Settings};
use serde_json::{Map, Value, json};
use std::io::Write;
use std::path::Path;

/// Reads the configuration file as Exim would, and shows what is in force.
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
            return Ok(Outcome::NotSo);
        }
        Err(problems) => {
            out.flush()?;
            command::complain(&Failure::Configuration(problems));
            return Ok(Outcome::NotSo);
        }
    };
    let policies = settings.policies.iter().map(|(name, changes)| (name, rules(&changes.on(settings.rules))));
    if command.json {
        let object = |lines: Lines| lines.into_iter().map(|(k, v)| (k.to_owned(), v)).collect::<Map<_, _>>();
        let mut in_force = object(in_force(&settings));
        let policies: Map<_, _> =
            policies.map(|(name, lines)| (name.clone(), object(lines).into())).collect();
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
    let found = if path.exists() { "no problem found" } else { "no such file, and none is needed" };
    writeln!(out, "{}: {found}. In force:", path.display())?;
    // A text, number or truth value is written alike in JSON and TOML.
    for (key, value) in in_force(&settings) {
        writeln!(out, "{key} = {value}")?;
    }
    for (name, lines) in policies {
        writeln!(out, "\n[policy.{name}]")?;
        for (key, value) in lines {
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

type Lines = Vec<(&'static str, Value)>;

fn in_force(settings: &Settings) -> Lines {
    let Settings { rules: top, store, prefixes, .. } = settings;
    let mut lines = rules(top);
    lines.extend([
        ("store", json!(store.path.to_string_lossy())),
        ("ipv4_prefix", json!(prefixes.ipv4)),
        ("ipv6_prefix", json!(prefixes.ipv6)),
        ("lock_timeout", json!(store.lock_timeout.to_string())),
        ("max_pending", json!(store.max_pending)),
        ("privacy", json!(store.privacy)),
    ]);
    lines
}

fn rules(rules: &Rules) -> Lines {
    vec![
        ("mode", json!(rules.mode.word())),
        ("delay", json!(rules.delay.to_string())),
        ("window", json!(rules.window.to_string())),
        ("lifetime", json!(rules.lifetime.to_string())),
        ("auto_after", json!(rules.auto_after)),
        ("sender_key", json!(rules.sender_key.word())),
        ("trust_known_domains", json!(rules.trust_known_domains)),
        ("replied_domain", json!(rules.replied_domain)),
        ("trap_time", json!(rules.trap_time.to_string())),
    ]
}
