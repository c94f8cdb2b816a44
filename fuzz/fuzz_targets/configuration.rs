//! Any text as a configuration file: no panic; each problem has a line of the file and is told in text without control
//! characters; settings that are taken give rules or say why not.
#![no_main]

use eximgrey::rules::RuleChanges;
use eximgrey::settings::Settings;
use libfuzzer_sys::fuzz_target;
use std::path::Path;

fuzz_target!(|text: &str| {
    match Settings::parse(Path::new("eximgrey.toml"), text) {
        Ok(settings) => {
            assert!(settings.rules_for(None, b"bob@rcpt.example", &RuleChanges::default()).is_ok());
            for (name, _) in &settings.policies {
                assert!(settings.rules_for(Some(name.as_bytes()), b"", &RuleChanges::default()).is_ok());
            }
            assert!(settings.shown().iter().all(|(key, _)| !key.is_empty()));
        }
        Err(problems) => {
            assert!(!problems.is_empty());
            let lines = text.lines().count().max(1) + 1;
            assert!(problems.iter().all(|problem| problem.line <= lines && !problem.message.is_empty()));
        }
    }
});
